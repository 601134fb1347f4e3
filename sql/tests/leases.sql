begin;
\ir include/begin.sql
\ir include/lines.sql
\ir include/devices.sql
select plan(73 + 5);

-- What devices do with leases, each line with the lease that its envelope says it drew on, and the verdict
-- and balance that it must get.

create temp table trace (n integer primary key, device integer, lease text, line text, want text, balance integer);
insert into trace values
  (1,  1, '',     '{"op":"create_user","user_id":"@11"}', 'ok', 10),
  (2,  1, '',     '{"op":"add_credits","user_id":"@11","amount":90,"type":"grant"}', 'ok', 100),
  (3,  1, '',     '{"op":"create_project","project_id":"@21","user_id":"@11","title":"t","prompt_text":"p","niche_preset":"facts","target_minutes":3}', 'ok', 100),
  (4,  1, '',     '{"op":"create_job","job_id":"@31","project_id":"@21","user_id":"@11"}', 'ok', 100),
  (5,  1, '',     '{"op":"create_job","job_id":"@32","project_id":"@21","user_id":"@11"}', 'ok', 100),
  (6,  1, '',     '{"op":"create_job","job_id":"@33","project_id":"@21","user_id":"@11"}', 'ok', 100),
  -- opened, and filled up
  (7,  1, '',     '{"op":"lease_credits","lease_id":"@71","user_id":"@11","amount":101,"ttl":3600}', 'insufficient_credits', 100),
  (8,  1, '',     '{"op":"lease_credits","lease_id":"@71","user_id":"@11","amount":20,"ttl":3600}', 'ok', 80),
  (9,  1, '',     '{"op":"lease_credits","lease_id":"@72","user_id":"@11","amount":20,"ttl":3600}', 'already_exists', 80),
  (10, 2, '',     '{"op":"lease_credits","lease_id":"@71","user_id":"@11","amount":20,"ttl":3600}', 'already_exists', 80),
  (11, 1, '',     '{"op":"lease_credits","lease_id":"@71","user_id":"@11","amount":80,"ttl":7200}', 'ok', 0),
  (12, 2, '',     '{"op":"expire_credits","user_id":"@11","amount":1}', 'insufficient_credits', 0),
  (13, 1, '',     '{"op":"add_credits","user_id":"@11","amount":5,"type":"grant"}', 'ok', 5),
  -- drawn on: what it holds, and no more
  (14, 1, '@71',  '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":101}', 'insufficient_credits', 5),
  (15, 1, '@71',  '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":30}', 'ok', 5),
  (16, 1, '@71',  '{"op":"finalize_job_credits","job_id":"@31","final_cost":101}', 'insufficient_credits', 5),
  (17, 3, '@71',  '{"op":"finalize_job_credits","job_id":"@31","final_cost":31}', 'not_permitted', 5),
  (18, 1, '@71',  '{"op":"finalize_job_credits","job_id":"@31","final_cost":40}', 'ok', 5),
  -- given back: to the lease
  (19, 1, '@71',  '{"op":"reserve_credits","user_id":"@11","job_id":"@32","amount":60}', 'ok', 5),
  (20, 1, '',     '{"op":"finalize_job_credits","job_id":"@32","final_cost":10}', 'ok', 5),
  (21, 1, '@71',  '{"op":"reserve_credits","user_id":"@11","job_id":"@33","amount":50}', 'ok', 5),
  (22, 3, '',     '{"op":"release_job_credits","job_id":"@33"}', 'ok', 5),
  -- another's lease is not drawn on: the balance pays
  (23, 2, '@71',  '{"op":"reserve_credits","user_id":"@11","job_id":"@33","amount":6}', 'lease_reclaimed', 5),
  (24, 2, '',     '{"op":"reserve_credits","user_id":"@11","job_id":"@33","amount":6}', 'insufficient_credits', 5),
  (25, 2, '@71',  '{"op":"reserve_credits","user_id":"@11","job_id":"@33","amount":5}', 'ok', 0),
  (26, 2, '',     '{"op":"release_job_credits","job_id":"@33"}', 'ok', 5),
  -- drawn, returned, and then settled: what is left over is the account's
  (27, 1, '@71',  '{"op":"reserve_credits","user_id":"@11","job_id":"@33","amount":8}', 'ok', 5),
  (28, 2, '',     '{"op":"return_lease","lease_id":"@71"}', 'lease_not_found', 5),
  (29, 1, '',     '{"op":"return_lease","lease_id":"@71"}', 'ok', 47),
  (30, 1, '',     '{"op":"return_lease","lease_id":"@71"}', 'lease_not_found', 47),
  (31, 1, '@71',  '{"op":"finalize_job_credits","job_id":"@33","final_cost":3}', 'ok', 52),
  -- who may do what with a hold
  (32, 2, '',     '{"op":"create_job","job_id":"@34","project_id":"@21","user_id":"@11"}', 'ok', 52),
  (33, 4, '',     '{"op":"reserve_credits","user_id":"@11","job_id":"@34","amount":4}', 'ok', 48),
  (34, 4, '',     '{"op":"advance_job","job_id":"@34","to":"QUEUED"}', 'ok', 48),
  (35, 3, '',     '{"op":"advance_job","job_id":"@34","to":"SCRIPTING"}', 'ok', 48),
  (36, 4, '',     '{"op":"fail_job","job_id":"@34","error_code":"E"}', 'illegal_transition', 48),
  (37, 3, '',     '{"op":"finalize_job_credits","job_id":"@34","final_cost":4}', 'ok', 48),
  -- of nobody, and of one credit, which comes back; another device's stays open
  (39, 1, '',     '{"op":"lease_credits","lease_id":"@75","user_id":"@19","amount":1,"ttl":60}', 'user_not_found', null),
  (41, 2, '',     '{"op":"lease_credits","lease_id":"@76","user_id":"@11","amount":3,"ttl":60}', 'ok', 45),
  (42, 1, '',     '{"op":"lease_credits","lease_id":"@77","user_id":"@11","amount":1,"ttl":60}', 'ok', 44),
  (43, 1, '',     '{"op":"return_lease","lease_id":"@77"}', 'ok', 45),
  -- drawn to the end: a price that is the hold draws nothing more, and nothing comes back
  (44, 1, '',     '{"op":"lease_credits","lease_id":"@78","user_id":"@11","amount":5,"ttl":60}', 'ok', 40),
  (45, 1, '@78',  '{"op":"reserve_credits","user_id":"@11","job_id":"@33","amount":5}', 'ok', 40),
  (46, 1, '@78',  '{"op":"finalize_job_credits","job_id":"@33","final_cost":5}', 'ok', 40),
  (47, 1, '',     '{"op":"return_lease","lease_id":"@78"}', 'ok', 40);

create function pg_temp.push(t trace) returns tally.verdict language sql as $$
  select pg_temp.pushed_by(t.device, t.lease, pg_temp.numbered(t.n, t.line), clock_timestamp()) $$;

create temp table answers as
select t.n, p.result, p.balance
  from (select * from trace order by n) t cross join lateral pg_temp.push(t::trace) p;

select is(format('%s, balance %s', a.result, a.balance), format('%s, balance %s', t.want, t.balance),
          t.n || ' ' || left(t.line, 60) || ' → ' || t.want)
  from trace t join answers a using (n) order by t.n;

select is(string_agg(format('%s %s%s', type, amount, case when job_id is null then '' else ' of a job' end), ', ' order by seq),
  'grant 10, grant 90, reserve -20, reserve -80, grant 5, '
  'refund 30, reserve -30 of a job, refund 10, reserve 30 of a job, usage -40 of a job, '
  'refund 60, reserve -60 of a job, reserve 10 of a job, usage -10 of a job, refund 50 of a job, reserve -50, '
  'refund 50, reserve -50 of a job, refund 50 of a job, reserve -50, '
  'reserve -5 of a job, refund 5 of a job, '
  'refund 8, reserve -8 of a job, refund 42, reserve 3 of a job, usage -3 of a job, refund 5 of a job, '
  'reserve -4 of a job, reserve 4 of a job, usage -4 of a job, '
  'reserve -3, reserve -1, refund 1, '
  'reserve -5, refund 5, reserve -5 of a job, reserve 5 of a job, usage -5 of a job',
  'the entries')
  from public.credit_ledger where user_id = '00000000-0000-4000-8000-000000000011';

select is(string_agg(format('%s %s %s', right(lease_id::text, 2), unspent, closed_by), ', ' order by lease_id),
          '71 0 return, 76 3 , 77 0 return, 78 0 return', 'what is left of the leases') from tally_sync.leases;
select is(state::text, 'started', 'a step is as it was where its job was not to be failed')
  from public.job_steps where job_id = pg_temp.expanded('@34')::uuid and step_name = 'SCRIPTING';
select ok(bool_and(expires_at - now() > case right(lease_id::text, 2) when '71' then interval '119 minutes' else interval '50 seconds' end),
          'a lease lasts as long as was asked for, and filling it up only makes it longer') from tally_sync.leases;

-- Ended from here: with what it had, once, and by the first who does it.
create function pg_temp.closed(lease text, p_by text) returns text language plpgsql as $$
declare
  v_user uuid := pg_temp.expanded('@11');
  v_lease uuid := pg_temp.expanded(lease);
  v_before bigint := (select a.seq from tally.accounts a where a.user_id = v_user);
  v_had integer;
begin
  perform set_config('role', 'tally_owner', true);
  v_had := tally_sync.close_lease(v_user, v_lease, p_by);
  perform set_config('role', 'none', true);
  return format('had %s, has %s, %s:%s', v_had, l.unspent, l.closed_by,
                (select string_agg(format(' %s %s %s', e.type, e.amount, e.note), ',' order by e.seq)
                   from public.credit_ledger e where e.user_id = v_user and e.seq > v_before))
    from tally_sync.leases l where l.user_id = v_user and l.lease_id = v_lease;
end;
$$;
insert into trace values
  (48, 1, '',    '{"op":"lease_credits","lease_id":"@73","user_id":"@11","amount":7,"ttl":60}', 'ok', 33),
  (49, 1, '',    '{"op":"lease_credits","lease_id":"@74","user_id":"@11","amount":1,"ttl":60}', 'ok', 39),
  (50, 1, '',    '{"op":"lease_credits","lease_id":"@75","user_id":"@11","amount":2,"ttl":60}', 'ok', 38),
  (51, 1, '@75', '{"op":"reserve_credits","user_id":"@11","job_id":"@33","amount":2}', 'ok', 38),
  (52, 1, '',    '{"op":"create_job","job_id":"@35","project_id":"@21","user_id":"@11"}', 'ok', 38),
  (53, 1, '',    '{"op":"lease_credits","lease_id":"@79","user_id":"@11","amount":7,"ttl":60}', 'ok', 31),
  (54, 1, '@79', '{"op":"reserve_credits","user_id":"@11","job_id":"@35","amount":4}', 'ok', 31);
create function pg_temp.pushed(p_n integer) returns text language sql as $$
  select is(format('%s, balance %s', p.result, p.balance), format('%s, balance %s', t.want, t.balance), p_n || ' ' || left(t.line, 60))
    from trace t cross join lateral pg_temp.push(t) p where t.n = p_n $$;

select pg_temp.pushed(48);
select is(pg_temp.closed('@73', 'reclaim'), 'had 7, has 0, reclaim: refund 7 Lease returned', 'a lease is closed');
select is(pg_temp.closed('@73', 'write_off'), 'had , has 0, reclaim:', 'and not once more');
select pg_temp.pushed(49);
select is(pg_temp.closed('@74', 'write_off'), 'had 1, has 0, write_off: refund 1 Lease returned', 'its last credit comes back');
select pg_temp.pushed(50);
select pg_temp.pushed(51);
select is(pg_temp.closed('@75', 'reclaim'), 'had 0, has 0, reclaim:', 'nothing comes back of one that is drawn to the end');

-- A plain writer's FAILED gives back as fail_job does: to the lease, or where that has ended to the account.
create function pg_temp.failed(p_job text) returns text language plpgsql as $$
declare
  v_before bigint := (select a.seq from tally.accounts a where a.user_id = pg_temp.expanded('@11')::uuid);
begin
  update public.jobs set status = 'FAILED' where id = pg_temp.expanded(p_job)::uuid;
  return string_agg(concat_ws(' ', e.type, e.amount, e.note), ', ' order by e.seq)
    from public.credit_ledger e where e.user_id = pg_temp.expanded('@11')::uuid and e.seq > v_before;
end;
$$;
select pg_temp.pushed(n) from generate_series(52, 54) n;
select is(pg_temp.failed('@35'), 'refund 4 Job failed - credits released, reserve -4 Back to lease', 'a job that drew on a lease');
select is(pg_temp.failed('@33'), 'refund 2 Job failed - credits released', 'and one whose lease has ended');
select is(string_agg(format('%s %s', right(lease_id::text, 2), unspent), ', ' order by lease_id),
          '71 0, 73 0, 74 0, 75 0, 76 3, 77 0, 78 0, 79 7', 'and no other lease has more') from tally_sync.leases;

-- Overdue by more than its device may: then another's push ends it first. The pushing device's own stays.
create function pg_temp.overdue(p_lease text, p_by interval) returns text language sql as $$
  update tally_sync.leases set expires_at = now() - p_by where lease_id = pg_temp.expanded(p_lease)::uuid returning p_lease $$;
update tally_sync.devices set reclaim_after = case name when 'd3' then interval '0' else interval '1 hour' end;
create temp table own as select pg_temp.overdue('@79', '2 hours');
insert into trace
select n, 1, '', '{"op":"expire_credits","user_id":"@11","amount":1}', 'ok', balance
  from (values (55, 32), (56, 31), (57, 33)) x(n, balance);
create temp table early as select pg_temp.overdue('@76', '-30 minutes');
select pg_temp.pushed(55);
create temp table late as select pg_temp.overdue('@76', '30 minutes');
select pg_temp.pushed(56);
create temp table overdue as select pg_temp.overdue('@76', '61 minutes');
select pg_temp.pushed(57);
select is(string_agg(format('%s %s %s', right(lease_id::text, 2), unspent, closed_by), ', ' order by lease_id),
          '76 0 reclaim, 79 7 ', 'one is reclaimed') from tally_sync.leases where right(lease_id::text, 2) in ('76', '79');

-- Its device is told of its end, also where nothing comes back.
insert into trace values
  (58, 1, '@79', '{"op":"reserve_credits","user_id":"@11","job_id":"@36","amount":7}', 'ok', 33),
  (59, 1, '',    '{"op":"create_job","job_id":"@36","project_id":"@21","user_id":"@11"}', 'ok', 33);
select pg_temp.pushed(n) from unnest(array[59, 58]) n;
delete from tally_sync.revisions where user_id = pg_temp.expanded('@11')::uuid;
select is(tally_sync.write_off(pg_temp.expanded('@79')::uuid), 0, 'a lease that is drawn to the end is written off');
select is(count(*)::integer, 1, 'and told') from tally_sync.revisions where user_id = pg_temp.expanded('@11')::uuid;
select throws_ok(format('select tally_sync.write_off(%L)', pg_temp.expanded(lease)), null, 'lease_not_found', lease || ' is no open lease')
  from unnest(array['@79', '@70']) lease;

\ir include/invariants.sql
select * from finish();
rollback;
