begin;
\ir include/begin.sql
\ir include/lines.sql
\ir include/devices.sql
select plan(27 + 5);

-- What a live claim of d1's keeps from other devices: a worker's operations, and no author's. And what was applied
-- before. At so many seconds, by canonical's clock.

create temp table trace (n integer primary key, device integer, seconds integer, line text, want text);
insert into trace values
  (1,  1, 0,   '{"op":"create_user","user_id":"@11"}', 'ok'),
  (2,  1, 0,   '{"op":"create_project","project_id":"@21","user_id":"@11","title":"t","prompt_text":"p","niche_preset":"facts","target_minutes":3}', 'ok'),
  (3,  1, 0,   '{"op":"create_job","job_id":"@31","project_id":"@21","user_id":"@11"}', 'ok'),
  (4,  1, 0,   '{"op":"create_job","job_id":"@32","project_id":"@21","user_id":"@11"}', 'ok'),
  (5,  1, 0,   '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":2}', 'ok'),
  (6,  1, 0,   '{"op":"reserve_credits","user_id":"@11","job_id":"@32","amount":2}', 'ok'),
  (7,  1, 0,   '{"op":"advance_job","job_id":"@31","to":"QUEUED"}', 'ok'),
  (8,  1, 0,   '{"op":"advance_job","job_id":"@32","to":"QUEUED"}', 'ok'),
  -- before the first stage
  (9,  1, 0,   '{"op":"claim_job","job_id":"@31","ttl":60}', 'ok'),
  (10, 3, 0,   '{"op":"renew_claim","job_id":"@31","ttl":90}', 'not_claim_holder'),
  (11, 1, 0,   '{"op":"renew_claim","job_id":"@31","ttl":60}', 'ok'),
  (12, 3, 59,  '{"op":"claim_job","job_id":"@31","ttl":60}', 'already_claimed'),
  (13, 2, 0,   '{"op":"advance_job","job_id":"@31","to":"QUEUED"}', 'illegal_transition'),
  (14, 2, 0,   '{"op":"advance_job","job_id":"@31","to":"SCRIPTING"}', 'not_claim_holder'),
  (15, 3, 59,  '{"op":"advance_job","job_id":"@31","to":"SCRIPTING"}', 'not_claim_holder'),
  (16, 1, 0,   '{"op":"claim_job","job_id":"@32","ttl":60}', 'ok'),
  (17, 3, 0,   '{"op":"fail_job","job_id":"@32","error_code":"E"}', 'not_claim_holder'),
  (18, 2, 0,   '{"op":"fail_job","job_id":"@32","error_code":"E"}', 'ok'),
  -- in a stage, until it ends
  (19, 1, 0,   '{"op":"advance_job","job_id":"@31","to":"SCRIPTING"}', 'ok'),
  (20, 2, 0,   '{"op":"fail_job","job_id":"@31","error_code":"E"}', 'not_claim_holder'),
  (21, 3, 60,  '{"op":"advance_job","job_id":"@31","to":"VOICE_GEN"}', 'ok'),
  (22, 1, 60,  '{"op":"fail_job","job_id":"@31","error_code":"E"}', 'ok'),
  -- seen before: by the user of the envelope where the job is gone, and not where the line says of nobody
  (23, 1, 60,  '{"op":"delete_project","project_id":"@21","user_id":"@11"}', 'ok'),
  (24, 1, 60,  '#22', 'ok'),
  (25, 1, 60,  '{"op":"fail_job","job_id":"@31","error_code":"E"}', 'job_not_found'),
  (26, 1, 60,  '#1{"op":"add_credits","amount":1,"type":"grant"}', 'invalid_argument'),
  (27, 1, 60,  '#1{"op":"create_user","user_id":"@11"}', 'ok');

-- "#22" is line 22 once more; with a line behind it, that one under the op_id of line 22.
create function pg_temp.sent(t trace) returns text language sql as $$
  select pg_temp.numbered(x.n, coalesce(nullif(x.line, ''), (select b.line from trace b where b.n = x.n)))
    from (select coalesce(substring(t.line from '^#([0-9]+)')::integer, t.n) as n, regexp_replace(t.line, '^#[0-9]+', '') as line) x $$;

create temp table answers as
select t.n, p.result
  from (select * from trace order by n) t
 cross join lateral pg_temp.pushed_by(t.device, '', pg_temp.sent(t::trace), timestamptz '2026-02-01 00:00:00Z' + t.seconds * interval '1 second') p;

select is(a.result, t.want, t.n || ' ' || left(t.line, 60) || ' → ' || t.want)
  from trace t join answers a using (n) order by t.n;

\ir include/invariants.sql
select * from finish();
rollback;
