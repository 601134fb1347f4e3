begin;
\ir include/begin.sql
-- The PRD's functions, its sign-up trigger, and plain INSERTs, UPDATEs and DELETEs.

-- Runs one statement; its value, or the refusal's SQLSTATE class and message.
create function pg_temp.try(statement text) returns text language plpgsql as $$
declare
  v text;
begin
  execute statement into v;
  return coalesce(v, 'null');
exception when others then
  return case when sqlstate like 'TA%' then sqlerrm else sqlstate || ' ' || sqlerrm end;
end;
$$;
create temp table steps (n integer primary key, statement text, want text);
insert into auth.users (id, email, raw_user_meta_data) values
  ('00000000-0000-4000-8000-0000000000a1', 'p@x', '{"full_name": "Pat"}'),
  ('00000000-0000-4000-8000-0000000000a2', 'q@x', null),
  ('00000000-0000-4000-8000-0000000000a3', 'r@x', null);
set session_replication_role = replica;
insert into auth.users (id, email) values ('00000000-0000-4000-8000-0000000000a4', 's@x');
set session_replication_role = origin;
insert into steps values
  (1,  'select display_name from profiles where id = $a1', 'Pat'),
  (2,  'select get_credit_balance($a1)', '10'),
  (3,  'insert into projects (id, user_id, title, prompt_text, niche_preset) values ($b1, $a1, ''t'', ''p'', ''facts'') returning ''made''', 'made'),
  (4,  'insert into jobs (id, project_id, user_id) values ($c1, $b1, $a2)', 'not_owner'),
  (5,  'insert into jobs (id, project_id, user_id, status) values ($c1, $b1, $a1, ''READY'')', 'illegal_transition'),
  (6,  'insert into jobs (id, project_id, user_id, cost_credits_final) values ($c1, $b1, $a1, 7) returning cost_credits_final', 'null'),
  (7,  'update jobs set status = ''QUEUED'' where id = $c1', 'reservation_required'),
  (8,  'select reserve_credits($a1, $c1, 11)', 'false'),
  (9,  'select reserve_credits($a1, $c1, -1)', 'invalid_amount'),
  (10, 'select reserve_credits($a2, $c1, 1)', 'not_owner'),
  (11, 'select reserve_credits($a1, $c1, 8)', 'true'),
  (12, 'select reserve_credits($a1, $c1, 1)', 'already_reserved'),
  (13, 'delete from projects where id = $b1', 'illegal_transition'),
  (14, 'update jobs set status = ''QUEUED'' where id = $c1 returning status', 'QUEUED'),
  (15, 'update jobs set status = ''RENDERING'' where id = $c1', 'illegal_transition'),
  (16, 'update jobs set status = ''SCRIPTING'', cost_credits_reserved = 99 where id = $c1 returning cost_credits_reserved', '8'),
  (17, 'select count(*) from job_steps where job_id = $c1', '8'),
  (18, 'select finalize_job_credits($c1, 5)', ''),
  (19, 'select finalize_job_credits($c1, 5)', ''),
  (20, 'select finalize_job_credits($c1, 6)', 'already_finalized'),
  (21, 'select release_job_credits($c1)', ''),
  (22, 'select get_credit_balance($a1)', '5'),
  (23, 'select add_credits($a1, 5, ''purchase'', ''n'', ''pi_x'')', ''),
  (24, 'select add_credits($a1, 5, ''purchase'', ''n'', ''pi_x'')', ''),
  (25, 'select add_credits($a1, 6, ''purchase'', ''n'', ''pi_x'')', 'payment_conflict'),
  (26, 'select add_credits($a1, 5, ''usage'', ''n'')', 'invalid_type'),
  (27, 'insert into credit_ledger (user_id, type, amount, stripe_payment_id) values ($a1, ''grant'', 1, ''pi_y''), ($a1, ''grant'', 1, ''pi_y'')', 'payment_conflict'),
  (28, 'insert into credit_ledger (user_id, type, amount) values ($a1, ''reserve'', 1)', 'not_permitted'),
  (29, 'insert into credit_ledger (user_id, type, amount, job_id) values ($a1, ''grant'', 1, $c1)', 'not_permitted'),
  (30, 'insert into credit_ledger (user_id, type, amount) values ($a1, ''grant'', -1)', 'invalid_amount'),
  (31, 'insert into credit_ledger (user_id, type, amount) values (null, ''grant'', 1)', 'invalid_argument'),
  (32, 'insert into credit_ledger (user_id, type, amount) values ($a1, ''usage'', -6), ($a1, ''usage'', -5)', 'insufficient_credits'),
  (33, 'with i as (insert into credit_ledger (user_id, type, amount) values ($a1, ''usage'', -6), ($a1, ''grant'', 3) returning balance_after) select string_agg(balance_after::text, '','') from i', '4,7'),
  (34, 'insert into credit_ledger (id, user_id, type, amount) select id, user_id, ''grant'', 7 from credit_ledger where user_id = $a1 limit 1 on conflict do nothing returning 1', 'null'),
  (35, 'select get_credit_balance($a1)', '7'),
  (36, 'update credit_ledger set note = ''x'' where user_id = $a1', 'not_permitted'),
  (37, 'update credit_ledger set job_id = null where job_id = $c1', 'not_permitted'),
  (38, 'delete from credit_ledger where user_id = $a1', 'not_permitted'),
  (39, 'truncate credit_ledger', 'not_permitted'),
  (40, 'insert into jobs (id, project_id, user_id) values ($c2, $b1, $a1) returning status', 'PENDING'),
  (41, 'select reserve_credits($a1, $c2, 7)', 'true'),
  (42, 'update jobs set status = ''FAILED'' where id = $c2 returning status', 'FAILED'),
  (43, 'select get_credit_balance($a1)', '7'),
  (44, 'update jobs set status = ''QUEUED'' where id = $c2', 'illegal_transition'),
  (45, 'delete from projects where id = $b1 returning ''gone''', 'gone'),
  (46, 'select count(*) from credit_ledger where job_id is not null', '0'),
  (47, 'insert into draft_prompts (session_token, prompt_text, created_at) values (''z'', ''a'', ''2026-01-01''), (''z'', ''b'', ''2026-01-02'') returning 1', '1'),
  (48, 'select claim_draft_prompt(''z'', $a1) = (select id from draft_prompts where prompt_text = ''b'')', 'true'),
  (49, 'select claim_draft_prompt(''z'', $a1)', 'null'),
  (50, 'select count(*) from pg_auth_members where roleid = ''tally_owner''::regrole and not admin_option', '0'),
  -- a row keeps its user
  (51, 'insert into projects (id, user_id, title, prompt_text, niche_preset) values ($b2, $a2, ''t'', ''p'', ''facts''), ($b3, $a1, ''t'', ''p'', ''facts'') returning ''made''', 'made'),
  (52, 'insert into voice_profiles (id, user_id, name, audio_path) values ($d1, $a1, ''v'', ''p'') returning ''made''', 'made'),
  (53, 'update projects set user_id = $a1 where id = $b2', 'not_owner'),
  (54, 'update projects set voice_profile_id = $d1 where id = $b2', 'voice_profile_not_found'),
  (55, 'update projects set voice_profile_id = $d1 where id = $b3 returning ''ok''', 'ok'),
  (56, 'insert into projects (user_id, title, prompt_text, niche_preset, voice_profile_id) values ($a2, ''t'', ''p'', ''facts'', $d1)', 'voice_profile_not_found'),
  (57, 'delete from voice_profiles where id = $d1 returning ''gone''', 'gone'),
  (58, 'select voice_profile_id from projects where id = $b3', 'null'),
  (59, 'update draft_prompts set user_id = $a2 where prompt_text = ''a''', 'not_owner'),
  (60, 'update profiles set id = $a1 where id = $a2', 'not_owner'),
  (61, 'update jobs set user_id = $a2 returning 1', 'null'),
  (62, 'insert into jobs (id, project_id, user_id) values ($c3, $b3, $a1) returning status', 'PENDING'),
  (63, 'update jobs set project_id = $b2 where id = $c3', 'not_owner'),
  (64, 'select reserve_credits($a1, null, 1)', 'invalid_argument'),
  (65, 'select reserve_credits(null, $c3, 1)', 'invalid_argument'),
  (66, 'select finalize_job_credits(null, 1)', 'invalid_argument'),
  (67, 'select finalize_job_credits($c3, -1)', 'invalid_amount'),
  (68, 'select finalize_job_credits($c2, 1)', 'job_not_found'),
  (69, 'select finalize_job_credits($c3, 1)', 'no_reservation'),
  (70, 'select add_credits($a1, 2147483647, ''grant'', ''n'')', 'balance_overflow'),
  (71, 'select add_credits($c3, 1, ''grant'', ''n'')', 'user_not_found'),
  (72, 'select add_credits($a1, 0, ''grant'', null)', 'invalid_amount'),
  (73, 'select get_credit_balance($c3)', '0'),
  (74, 'select claim_draft_prompt(''none'', $c3)', 'user_not_found'),
  (75, 'select claim_draft_prompt(''none'', $a2)', 'null'),
  (76, 'update draft_prompts set expires_at = ''infinity'' where prompt_text = ''a'' returning tally.time_text(expires_at)', '9999-12-31T23:59:59.999999Z'),
  (77, 'select tally.repair(null)', 'user_not_found'),
  -- what a plain writer left on a job stops neither its reports nor a sweep
  (78, 'select reserve_credits($a1, $c3, 2)', 'true'),
  (79, 'update jobs set created_at = ''infinity'', status = ''QUEUED'' where id = $c3 returning status', 'QUEUED'),
  (80, 'update jobs set status = ''SCRIPTING'' where id = $c3 returning progress', '0'),
  (81, 'with made as (insert into job_steps (job_id, step_name, step_order, progress_pct, state) select $c3, ''X'' || n, 20 + n, 100, ''started'' from generate_series(1, 9) n returning 1) select count(*) from made', '9'),
  (82, 'select result from tally.apply_operations(array[''{"op":"report_progress","op_id":"00000000-0000-7000-8000-000000000082","at":"2026-01-18T00:00:00.000000Z","job_id":"'' || $c3 || ''","step_name":"SCRIPTING","progress_pct":40}''])', 'ok'),
  (83, 'update jobs set status = ''VOICE_GEN'' where id = $c3 returning progress', '100'),
  (84, 'select result from pg_sleep(1.1), tally.apply_operations(array[''{"op":"sweep","op_id":"00000000-0000-7000-8000-000000000084","at":"9999-01-18T00:00:00.000000Z","grace":1}''])', 'ok'),
  (85, 'select status || '' '' || failed_step || '' '' || error_code from jobs where id = $c3', 'FAILED VOICE_GEN WORKER_LOST'),
  -- a statement that calls a function that writes the same account
  (86, 'with f as (insert into credit_ledger (user_id, type, amount) values ($a1, ''grant'', 5) returning pg_temp.again($a1, $c3)) select again from f', 'insufficient_credits'),
  (87, 'select a.balance = l.balance_after and a.seq = l.seq from tally.accounts a join credit_ledger l on l.user_id = a.user_id where a.user_id = $a1 order by l.seq desc limit 1', 'true'),
  -- a plain entry: what it may be, and what it leaves on the account
  (100, 'insert into credit_ledger (user_id, type, amount) values ($c3, ''grant'', 1)', 'user_not_found'),
  (101, 'insert into credit_ledger (user_id, type, amount) values ($a3, ''usage'', 1)', 'invalid_amount'),
  (102, 'insert into credit_ledger (user_id, type, amount) values ($a3, ''usage'', 0) returning seq || '' '' || balance_after', '2 10'),
  (103, 'insert into credit_ledger (user_id, type, amount) values ($a3, ''expire'', 0)', 'invalid_amount'),
  (104, 'insert into credit_ledger (user_id, type, amount) values ($a3, ''expire'', -1) returning seq || '' '' || balance_after', '3 9'),
  (105, 'select balance || '' '' || seq from tally.accounts where user_id = $a3', '9 3'),
  (106, 'update credit_ledger set note = note where user_id = $a3', 'not_permitted'),
  (107, 'insert into credit_ledger (user_id, type, amount, stripe_payment_id) values ($a3, ''grant'', 1, ''pi_1'') returning balance_after', '10'),
  (108, 'insert into credit_ledger (user_id, type, amount, stripe_payment_id) values ($a3, ''usage'', 0, ''pi_2'') returning balance_after', '10'),
  (109, 'select string_agg(stripe_payment_id || '' '' || operation || '' '' || amount, '', '' order by stripe_payment_id) from tally.payments where user_id = $a3', 'pi_1 add_credits 1, pi_2 expire_credits 0'),
  (110, 'insert into credit_ledger (user_id, type, amount, stripe_payment_id) values ($a3, ''expire'', -99, ''pi_1'')', 'payment_conflict'),
  (111, 'insert into credit_ledger (user_id, type, amount) values ($a3, ''usage'', -11)', 'insufficient_credits'),
  (112, 'insert into credit_ledger (user_id, type, amount) values ($a3, ''usage'', -10) returning balance_after', '0'),
  -- what is held counts for the range
  (113, 'select add_credits($a3, 5, ''grant'', ''n'')', ''),
  (114, 'insert into projects (id, user_id, title, prompt_text, niche_preset) values ($b4, $a3, ''t'', ''p'', ''facts'') returning ''made''', 'made'),
  (115, 'insert into jobs (id, project_id, user_id) values ($c4, $b9, $a3)', 'project_not_found'),
  (116, 'insert into jobs (id, project_id, user_id, cost_credits_reserved) values ($c4, $b4, $a3, 9) returning cost_credits_reserved', '0'),
  (117, 'select reserve_credits($a3, $c4, 5)', 'true'),
  (118, 'insert into credit_ledger (user_id, type, amount) values ($a3, ''grant'', 2147483642) returning balance_after', '2147483642'),
  (119, 'insert into credit_ledger (user_id, type, amount) values ($a3, ''grant'', 1)', 'balance_overflow'),
  (120, 'insert into credit_ledger (user_id, type, amount) values ($a3, ''usage'', -2147483642) returning balance_after', '0'),
  -- a user from before there were accounts
  (121, 'insert into credit_ledger (user_id, type, amount) values ($a4, ''grant'', 5) returning seq || '' '' || balance_after', '1 5'),
  (122, 'select balance || '' '' || held || '' '' || seq from tally.accounts where user_id = $a4', '5 0 1'),
  -- a plain status: READY with what was held settled, and with nothing else
  (123, 'select add_credits($a3, 10, ''grant'', ''n'')', ''),
  (124, 'select pg_temp.worked($c4)', 'PACKAGING'),
  (125, 'select finalize_job_credits($c4, 3)', ''),
  (126, 'insert into jobs (id, project_id, user_id) values ($c5, $b4, $a3), ($c6, $b4, $a3) returning status', 'PENDING'),
  (127, 'select reserve_credits($a3, $c5, 1)', 'true'),
  (128, 'update jobs set status = ''READY'', cost_credits_final = 9, started_at = null where id = $c4 returning cost_credits_final || '' '' || progress || '' '' || (finished_at is not null)', '3 100 true'),
  (129, 'update jobs set status = ''QUEUED'' where id = $c4', 'illegal_transition'),
  (130, 'select pg_temp.worked($c5)', 'PACKAGING'),
  (131, 'update jobs set status = ''READY'' where id = $c5', 'illegal_transition'),
  (132, 'select release_job_credits($c5)', ''),
  (133, 'update jobs set status = ''READY'' where id = $c5', 'illegal_transition'),
  -- FAILED gives back what is held, and says where it stood
  (134, 'select reserve_credits($a3, $c6, 1)', 'true'),
  (135, 'update jobs set status = ''QUEUED'' where id = $c6 returning coalesce(started_at::text, ''no start'') || '' '' || progress', 'no start 0'),
  (136, 'update jobs set status = ''VOICE_GEN'' where id = $c6', 'illegal_transition'),
  (137, 'update jobs set status = ''SCRIPTING'' where id = $c6 returning started_at = now()', 'true'),
  (138, 'select string_agg(step_name || '' '' || state, '', '' order by step_order) from job_steps where job_id = $c6 and step_order < 3', 'SCRIPTING started, VOICE_GEN pending'),
  (139, 'insert into jobs (id, project_id, user_id) values ($c7, $b4, $a3) returning status', 'PENDING'),
  (140, 'select reserve_credits($a3, $c7, 1)', 'true'),
  (141, 'select count(*) from tally_sync.changes where user_id = $a3 and kind = ''job_steps'' and row_id = $c6 and not gone', '1'),
  (142, 'update jobs set status = ''FAILED'', error_message = ''m'', failed_step = ''X'' where id = $c6 returning failed_step || '' '' || (finished_at = now())', 'SCRIPTING true'),
  (143, 'select state || '' '' || error_message || '' '' || (finished_at = now()) from job_steps where job_id = $c6 and step_order = 1', 'failed m true'),
  (144, 'select string_agg(type || '' '' || amount || '' '' || balance_after || '' '' || coalesce(note, ''''), '', '' order by seq) from credit_ledger where job_id = $c6', 'reserve -1 11 Reserved for job, refund 1 11 Job failed - credits released'),
  (145, 'select balance || '' '' || held from tally.accounts where user_id = $a3', '11 1'),
  (146, 'select string_agg(hold::text, '' '' order by job_id) from tally.job_state where job_id in ($c6, $c7)', '0 1'),
  (147, 'select substr(id::text, 15, 2) from credit_ledger where job_id = $c6 and type = ''refund''', '80'),
  (148, 'select reserve_credits($a3, $c6, 1)', 'illegal_transition'),
  (149, 'delete from jobs where id = $c7', 'illegal_transition'),
  (150, 'update jobs set status = ''FAILED'' where id = $c7 returning status', 'FAILED'),
  (151, 'delete from jobs where id = $c7 returning ''gone''', 'gone'),
  (152, 'select result from tally.apply_operations(array[''{"op":"create_job","op_id":"00000000-0000-7000-8000-000000000152","at":"2026-01-18T00:00:00.000000Z","user_id":"'' || $a3 || ''","project_id":"'' || $b4 || ''","job_id":"'' || $c8 || ''"}''])', 'ok'),
  (153, 'update jobs set status = ''FAILED'' where id = $c8 returning status', 'FAILED'),
  (154, 'select count(*) from credit_ledger where job_id = $c8', '0'),
  (155, 'select active_at = now() from tally.job_state where job_id = $c8', 'true'),
  -- old data: an account below zero does whatever does not lower it, and a hold that was left over keeps a job from READY
  (156, 'select pg_temp.old_data($a5, $b5, $c9)', ''),
  (157, 'insert into credit_ledger (user_id, type, amount) values ($a5, ''usage'', 0) returning balance_after', '-3'),
  (158, 'insert into credit_ledger (user_id, type, amount) values ($a5, ''usage'', -1)', 'insufficient_credits'),
  (159, 'insert into tally.job_state (user_id, job_id, hold) values ($a5, $c9, 1) returning hold', '1'),
  (160, 'select pg_temp.applied(''advance_job'', $c9, ''{"to":"READY"}'')', 'illegal_transition'),
  (161, 'update jobs set status = ''READY'' where id = $c9', 'illegal_transition'),
  (162, 'update tally.job_state set hold = 0 where job_id = $c9 returning hold', '0'),
  (163, 'update jobs set status = ''READY'' where id = $c9 returning status', 'READY'),
  (164, 'insert into credit_ledger (user_id, type, amount) values ($a5, ''grant'', 3) returning balance_after', '0'),
  (165, 'update tally.accounts set held = 2147483647 where user_id = $a4 returning held', '2147483647'),
  (166, 'insert into credit_ledger (user_id, type, amount) values ($a4, ''usage'', 0) returning balance_after', '5'),
  (167, 'update tally.accounts set held = 0 where user_id = $a4 returning held', '0'),
  -- an operation on a job that was made plainly, or whose hold was released: as a plain status
  (168, 'select pg_temp.applied(''advance_job'', $c5, ''{"to":"READY"}'')', 'illegal_transition'),
  (169, 'insert into jobs (id, project_id, user_id) values ($c1, $b4, $a3) returning status', 'PENDING'),
  (170, 'select reserve_credits($a3, $c1, 1)', 'true'),
  (171, 'select pg_temp.applied(''advance_job'', $c1, ''{"to":"QUEUED"}'')', 'ok'),
  (172, 'select pg_temp.applied(''advance_job'', $c1, ''{"to":"SCRIPTING"}'')', 'ok'),
  (173, 'select count(*) || '' '' || count(*) filter (where state = ''started'') from job_steps where job_id = $c1', '8 1'),
  (174, 'delete from job_steps where job_id = $c1 and step_name = ''VOICE_GEN'' returning step_order', '2'),
  (175, 'select string_agg(pg_temp.applied(''advance_job'', $c1, json_build_object(''to'', s)), '' '') from unnest((tally.stage_names())[2:]) s', 'ok ok ok ok ok ok ok'),
  (176, 'select count(*) from job_steps where job_id = $c1', '7'),
  -- READY ends a claim
  (177, 'select pg_temp.applied(''claim_job'', $c1, ''{"ttl":60}'') || '' '' || pg_temp.applied(''finalize_job_credits'', $c1, ''{"final_cost":1}'')', 'ok ok'),
  (178, 'select claim_until > now() from tally.job_state where job_id = $c1', 'true'),
  (179, 'select pg_temp.applied(''advance_job'', $c1, ''{"to":"READY"}'')', 'ok'),
  (180, 'select claim_until from tally.job_state where job_id = $c1', 'null'),
  -- what the PRD's columns let be NULL and a mirror has; when a job was made; tables that are fed
  (181, 'update job_steps set state = null, progress_pct = null where job_id = $c1 and step_order = 1 returning state || '' '' || progress_pct', 'pending 0'),
  (182, 'update jobs set progress = null where id = $c1 returning progress', '0'),
  (183, 'update jobs set created_at = created_at - interval ''1 hour'' where id = $c1 returning created_at = now()', 'true'),
  (184, 'truncate assets', 'not_permitted'),
  (185, 'truncate projects cascade', 'not_permitted'),
  -- a job that was made with a step gets those it lacks
  (186, 'insert into jobs (id, project_id, user_id, progress) values ($c9, $b4, $a3, null) on conflict do nothing returning progress', 'null'),
  (187, 'insert into jobs (id, project_id, user_id, progress) values ($d1, $b4, $a3, null) returning progress', '0'),
  (188, 'insert into job_steps (job_id, step_name, step_order, state) values ($d1, ''SCRIPTING'', 1, null) returning state', 'pending'),
  (189, 'select reserve_credits($a3, $d1, 1)', 'true'),
  (190, 'select pg_temp.applied(''advance_job'', $d1, ''{"to":"QUEUED"}'') || pg_temp.applied(''advance_job'', $d1, ''{"to":"SCRIPTING"}'')', 'okok'),
  (191, 'select count(*) from job_steps where job_id = $d1', '8');

-- What old data left: a balance below zero, a price as the first entry, a reservation of nothing, a job yet to be READY.
create function pg_temp.old_data(p_user uuid, p_project uuid, p_job uuid) returns void language plpgsql as $$
begin
  set local session_replication_role = replica;
  insert into auth.users (id, email) values (p_user, 't@x');
  insert into projects (id, user_id, title, prompt_text, niche_preset) values (p_project, p_user, 't', 'p', 'facts');
  insert into jobs (id, project_id, user_id, status, cost_credits_final) values (p_job, p_project, p_user, 'PACKAGING', 3);
  insert into credit_ledger (user_id, type, amount, job_id, balance_after, seq) values
    (p_user, 'usage', -3, p_job, -3, 1), (p_user, 'reserve', 0, p_job, -3, 2);
  insert into tally.accounts (user_id, balance, seq, old_seq) values (p_user, -3, 2, 2);
  set local session_replication_role = origin;
end;
$$;

-- Takes a job with a hold from stage to stage, to the last one.
create function pg_temp.worked(p_job uuid) returns text language plpgsql as $$
declare
  v_status text;
begin
  foreach v_status in array array['QUEUED'] || tally.stage_names() loop
    update jobs set status = v_status::job_status where id = p_job returning status into v_status;
  end loop;
  return v_status;
end;
$$;

-- What an operation on a job is answered, now.
create function pg_temp.applied(p_op text, p_job uuid, p_fields json) returns text language sql as $$
  select result from tally.apply_operations(array[(
    jsonb_build_object('op', p_op, 'op_id', gen_random_uuid(), 'at', tally.time_text(now()), 'job_id', p_job) || p_fields::jsonb)::text]) $$;

-- Gives one credit more, and then reserves all that there is and one.
create function pg_temp.again(p_user uuid, p_job uuid) returns text language plpgsql as $$
begin
  insert into credit_ledger (user_id, type, amount) values (p_user, 'grant', 1);
  return (select result from tally.apply_operations(array[
    format('{"op":"retry_job","op_id":"00000000-0000-7000-8000-000000000086","at":"2026-01-18T00:00:00.000000Z","job_id":"%s","amount":%s}',
           p_job, get_credit_balance(p_user) + 1)]));
end;
$$;
select plan(count(*)::integer + 1 + 5) from steps;

select is(got, want, n || ' ' || left(statement, 90))
  from (select s.*, pg_temp.try(regexp_replace(statement, '\$([a-d][0-9])', '''00000000-0000-4000-8000-0000000000\1''', 'g')) as got
          from (select * from steps order by n offset 0) s) x;

-- An empty payment is none: the second call and the second row count as well.
insert into auth.users (id) values ('00000000-0000-4000-8000-0000000000e7');
select add_credits('00000000-0000-4000-8000-0000000000e7', 1, 'purchase', 'n', '') from generate_series(1, 2) \g /dev/null
insert into credit_ledger (user_id, type, amount, stripe_payment_id)
select '00000000-0000-4000-8000-0000000000e7', 'grant', 1, '' from generate_series(1, 2);
select is(get_credit_balance('00000000-0000-4000-8000-0000000000e7'), 14, 'an empty stripe_payment_id is no payment');

\ir include/invariants.sql
select * from finish();
rollback;
