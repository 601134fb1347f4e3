begin;
\ir include/begin.sql
\ir include/lines.sql
select plan(27 + 5);

-- What an operation on a job notes as changed: what is not noted, a device is not told, and keeps as it was.

create function pg_temp.noted(n integer, line text) returns text language plpgsql as $$
declare
  v_result text;
begin
  delete from tally_sync.changes;
  select a.result into v_result from tally.apply_operations(array[pg_temp.numbered(n, line)]) a;
  return format('%s: %s', v_result, (select string_agg(c.kind, ', ' order by c.kind) from tally_sync.changes c));
end;
$$;

create function pg_temp.notes(n integer, line text, want text) returns text language sql as $$
  select is(pg_temp.noted(n, line), want, n || ' ' || left(line, 60) || ' → ' || want) $$;

select pg_temp.notes(1,  '{"op":"create_user","user_id":"@11"}', 'ok: profiles');
select pg_temp.notes(2,  '{"op":"create_project","project_id":"@21","user_id":"@11","title":"t","prompt_text":"p","niche_preset":"facts","target_minutes":3}', 'ok: projects');
select pg_temp.notes(3,  '{"op":"create_job","job_id":"@31","project_id":"@21","user_id":"@11"}', 'ok: job_steps, jobs');
select pg_temp.notes(4,  '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":2}', 'ok: jobs');
select pg_temp.notes(5,  '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":2}', 'already_reserved: ');
select pg_temp.notes(6,  '{"op":"advance_job","job_id":"@31","to":"QUEUED"}', 'ok: jobs');
select pg_temp.notes(7,  '{"op":"claim_job","job_id":"@31","ttl":60}', 'ok: jobs');
select pg_temp.notes(8,  '{"op":"advance_job","job_id":"@31","to":"SCRIPTING"}', 'ok: job_steps, jobs');
select pg_temp.notes(9,  '{"op":"report_progress","job_id":"@31","step_name":"SCRIPTING","progress_pct":50}', 'ok: job_steps, jobs');
select pg_temp.notes(10, '{"op":"add_asset","asset_id":"@61","job_id":"@31","type":"video","url":"u","storage_path":"s"}', 'ok: assets, jobs');
select pg_temp.notes(11, '{"op":"fail_job","job_id":"@31","error_code":"E"}', 'ok: job_steps, jobs');
select pg_temp.notes(12, '{"op":"retry_job","job_id":"@31","amount":3}', 'ok: job_steps, jobs');
select pg_temp.notes(12 + n::integer, format('{"op":"advance_job","job_id":"@31","to":"%s"}', stage), 'ok: job_steps, jobs')
  from unnest(tally.stage_names()) with ordinality s(stage, n) order by n;
select pg_temp.notes(21, '{"op":"complete_job","job_id":"@31","final_cost":1}', 'ok: job_steps, jobs');
-- no step has begun
select pg_temp.notes(22, '{"op":"create_job","job_id":"@32","project_id":"@21","user_id":"@11"}', 'ok: job_steps, jobs');
select pg_temp.notes(23, '{"op":"reserve_credits","user_id":"@11","job_id":"@32","amount":2}', 'ok: jobs');
select pg_temp.notes(24, '{"op":"finalize_job_credits","job_id":"@32","final_cost":1}', 'ok: jobs');
select pg_temp.notes(25, '{"op":"reserve_credits","user_id":"@11","job_id":"@32","amount":2}', 'ok: jobs');
select pg_temp.notes(26, '{"op":"release_job_credits","job_id":"@32"}', 'ok: jobs');
select pg_temp.notes(27, '{"op":"fail_job","job_id":"@32","error_code":"E"}', 'ok: jobs');

\ir include/invariants.sql
select * from finish();
rollback;
