begin;
\ir include/begin.sql
\ir include/lines.sql
select plan(40 + 5 + 5);

-- Amounts at their bounds: exactly the balance, exactly the hold, exactly the ledger's most, and one more.

create function pg_temp.answer(n integer, line text) returns text language sql as $$
  select format('%s, balance %s', a.result, a.balance) from tally.apply_operations(array[pg_temp.numbered(n, line)]) a $$;

create function pg_temp.expect(n integer, line text, want text, balance integer) returns text language sql as $$
  select is(pg_temp.answer(n, line), format('%s, balance %s', want, balance), n || ' ' || left(line, 60) || ' → ' || want) $$;

select pg_temp.expect(1,  '{"op":"create_user","user_id":"@11"}', 'ok', 10);
select pg_temp.expect(2,  '{"op":"create_project","project_id":"@21","user_id":"@11","title":"t","prompt_text":"p","niche_preset":"facts","target_minutes":3}', 'ok', 10);
select pg_temp.expect(3,  '{"op":"create_job","job_id":"@31","project_id":"@21","user_id":"@11"}', 'ok', 10);
select pg_temp.expect(4,  '{"op":"create_job","job_id":"@32","project_id":"@21","user_id":"@11"}', 'ok', 10);
select pg_temp.expect(5,  '{"op":"expire_credits","user_id":"@11","amount":11}', 'insufficient_credits', 10);
select pg_temp.expect(6,  '{"op":"expire_credits","user_id":"@11","amount":10}', 'ok', 0);
select pg_temp.expect(7,  '{"op":"add_credits","user_id":"@11","amount":5,"type":"grant"}', 'ok', 5);
select pg_temp.expect(8,  '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":6}', 'insufficient_credits', 5);
select pg_temp.expect(9,  '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":5}', 'ok', 0);
select pg_temp.expect(10, '{"op":"release_job_credits","job_id":"@31"}', 'ok', 5);
-- a hold of one credit is a hold
select pg_temp.expect(11, '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":1}', 'ok', 4);
select pg_temp.expect(12, '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":1}', 'already_reserved', 4);
select pg_temp.expect(13, '{"op":"finalize_job_credits","job_id":"@31","final_cost":1}', 'ok', 4);
select pg_temp.expect(14, '{"op":"finalize_job_credits","job_id":"@31","final_cost":1}', 'already_finalized', 4);
-- a new hold forgets the price of the one before
select pg_temp.expect(15, '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":2}', 'ok', 2);
select pg_temp.expect(16, '{"op":"release_job_credits","job_id":"@31"}', 'ok', 4);
select pg_temp.expect(17, '{"op":"finalize_job_credits","job_id":"@31","final_cost":0}', 'no_reservation', 4);
select pg_temp.expect(18, '{"op":"release_job_credits","job_id":"@31"}', 'no_reservation', 4);
-- a price above the hold takes the last credit, and no more
select pg_temp.expect(19, '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":3}', 'ok', 1);
select pg_temp.expect(20, '{"op":"finalize_job_credits","job_id":"@31","final_cost":5}', 'insufficient_credits', 1);
select pg_temp.expect(21, '{"op":"finalize_job_credits","job_id":"@31","final_cost":4}', 'ok', 0);
-- what is held counts towards the most that the ledger takes
select pg_temp.expect(22, '{"op":"add_credits","user_id":"@11","amount":6,"type":"grant"}', 'ok', 6);
select pg_temp.expect(23, '{"op":"reserve_credits","user_id":"@11","job_id":"@32","amount":4}', 'ok', 2);
select pg_temp.expect(24, '{"op":"add_credits","user_id":"@11","amount":2147483642,"type":"grant"}', 'balance_overflow', 2);
select pg_temp.expect(25, '{"op":"add_credits","user_id":"@11","amount":2147483641,"type":"grant"}', 'ok', 2147483643);
select pg_temp.expect(26, '{"op":"add_credits","user_id":"@11","amount":1,"type":"grant"}', 'balance_overflow', 2147483643);
select pg_temp.expect(27, '{"op":"expire_credits","user_id":"@11","amount":2147483641}', 'ok', 2);
-- failed, and retried with all that there is
select pg_temp.expect(28, '{"op":"advance_job","job_id":"@32","to":"QUEUED"}', 'ok', 2);
select pg_temp.expect(29, '{"op":"advance_job","job_id":"@32","to":"SCRIPTING","status_message":"m"}', 'ok', 2);
select pg_temp.expect(30, '{"op":"report_progress","job_id":"@32","step_name":"SCRIPTING","progress_pct":50,"status_message":"m","logs_url":"l"}', 'ok', 2);
select pg_temp.expect(31, '{"op":"retry_job","job_id":"@32","amount":1}', 'illegal_transition', 2);
select pg_temp.expect(32, '{"op":"fail_job","job_id":"@32","error_code":"E","error_message":"e"}', 'ok', 6);
select pg_temp.expect(33, '{"op":"retry_job","job_id":"@32","amount":7}', 'insufficient_credits', 6);
select is(state::text, 'failed', 'a step is as it was where there is too little for the retry')
  from public.job_steps where job_id = pg_temp.expanded('@32')::uuid and step_name = 'SCRIPTING';
select pg_temp.expect(34, '{"op":"retry_job","job_id":"@32","amount":6}', 'ok', 0);
select is(format('%s %s %s %s %s %s %s %s', status, progress, status_message, failed_step, error_code, error_message, finished_at, cost_credits_reserved),
          'QUEUED 0      6', 'nothing of the failure is left on a job that is retried')
  from public.jobs where id = pg_temp.expanded('@32')::uuid;
select is(format('%s %s %s %s %s %s %s', state, progress_pct, status_message, error_message, logs_url, started_at, finished_at),
          'pending 0     ', 'nor on its step')
  from public.job_steps where job_id = pg_temp.expanded('@32')::uuid and step_name = 'SCRIPTING';
-- one that old data left failed with a hold: that is released first
select pg_temp.expect(35, '{"op":"fail_job","job_id":"@32","error_code":"E"}', 'ok', 6);
update tally.job_state set hold = 2 where job_id = pg_temp.expanded('@32')::uuid;
update tally.accounts set held = 2 where user_id = pg_temp.expanded('@11')::uuid;
select pg_temp.expect(36, '{"op":"retry_job","job_id":"@32","amount":9}', 'insufficient_credits', 6);
select pg_temp.expect(37, '{"op":"retry_job","job_id":"@32","amount":8}', 'ok', 0);
select pg_temp.expect(38, '{"op":"fail_job","job_id":"@32","error_code":"E"}', 'ok', 8);
update tally.job_state set hold = 1 where job_id = pg_temp.expanded('@32')::uuid;
update tally.accounts set held = 1 where user_id = pg_temp.expanded('@11')::uuid;
select pg_temp.expect(39, '{"op":"retry_job","job_id":"@32","amount":9}', 'ok', 0);

select is(string_agg(format('%s %s %s', type, amount, note), ', ' order by seq) filter (where seq > 18),
  'reserve -6 Reserved for job, refund 6 Job failed - credits released, '
  'refund 2 Job failed - credits released, reserve -8 Reserved for job, refund 8 Job failed - credits released, '
  'refund 1 Job failed - credits released, reserve -9 Reserved for job', 'the entries of the retries')
  from public.credit_ledger where user_id = pg_temp.expanded('@11')::uuid and job_id = pg_temp.expanded('@32')::uuid;

-- where somebody wrote by hand: what fails before its first stage failed in none
update public.jobs set failed_step = 'RENDERING' where id = pg_temp.expanded('@31')::uuid;
select pg_temp.expect(40, '{"op":"fail_job","job_id":"@31","error_code":"E"}', 'ok', 0);
select is(failed_step, null, 'a job that is cancelled failed in no step')
  from public.jobs where id = pg_temp.expanded('@31')::uuid;

\ir include/invariants.sql
select * from finish();
rollback;
