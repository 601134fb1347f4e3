begin;
\ir include/begin.sql
select plan(101 + 5);

-- A trace with the answer that each line must get. "@12" stands for an id, "#7" for an op_id; a line
-- that gives neither op_id nor at has those of its place (a second each).

create temp table trace (n integer primary key, line text, want text, balance integer, op_index integer);
insert into trace values
  -- what is no operation
  (1,  'junk', 'none', null, null),
  (2,  '', 'none', null, null),
  (3,  '[]', 'none', null, null),
  (4,  repeat('[', 100000), 'none', null, null),
  (5,  null, 'none', null, null),
  (6,  '{"op":"nope","user_id":"@11"}', 'none', null, null),
  (7,  '{"op":"sweep","op_id":"#7","at":"2026-02-30T00:00:00.000000Z","grace":1}', 'none', null, null),
  (8,  '{"op":"sweep","op_id":"00000000-0000-8000-8000-000000000000","at":"2026-02-01T00:00:00.000000Z","grace":1}', 'none', null, null),
  (9,  '{"op":"create_user","user_id":"@11","email":"\ud800"}', 'none', null, null),
  -- users and credits
  (10, '{"op":"create_user","user_id":"@11","email":"a@b","display_name":"Ann"}', 'ok', 10, null),
  (11, '{"op":"create_user","op_id":"#10","user_id":"@11","email":"a@b","display_name":"Ann"}', 'ok', 10, null),
  (12, '{"op":"create_user","op_id":"#10","user_id":"@11","email":"a@b"}', 'operation_conflict', 10, null),
  (13, '{"op":"create_user","user_id":"@12","email":"a@b"}', 'user_exists', null, null),
  (14, '{"op":"create_user","user_id":"@12"}', 'ok', 10, null),
  (15, '{"op":"add_credits","user_id":"@11","amount":8.0,"type":"grant"}', 'invalid_argument', 10, null),
  (16, '{"op":"add_credits","user_id":"@11","amount":1e1,"type":"grant"}', 'invalid_argument', 10, null),
  (17, '{"op":"add_credits","user_id":"@11","amount":0,"type":"gift"}', 'invalid_amount', 10, null),
  (18, '{"op":"add_credits","user_id":"@11","amount":21474836470000000000000,"type":"grant"}', 'invalid_amount', 10, null),
  (19, '{"op":"add_credits","user_id":"@11","amount":5,"type":"gift"}', 'invalid_type', 10, null),
  (20, '{"op":"add_credits","user_id":"@19","amount":5,"type":"grant"}', 'user_not_found', null, null),
  (21, '{"op":"add_credits","user_id":"@11","amount":5,"type":"grant","more":1}', 'invalid_argument', 10, null),
  (22, '{"op":"add_credits","user_id":"@11","amount":5,"type":"grant","note":"a\u0000b"}', 'invalid_argument', 10, null),
  (23, '{"op":"add_credits","user_id":"@11","amount":5,"amount":90,"type":"purchase","stripe_payment_id":"pi_1"}', 'ok', 100, null),
  (24, '{"op":"add_credits","user_id":"@11","amount":90,"type":"purchase","stripe_payment_id":"pi_1"}', 'ok', 100, null),
  (25, '{"op":"add_credits","user_id":"@12","amount":90,"type":"purchase","stripe_payment_id":"pi_1"}', 'payment_conflict', 10, null),
  (26, '{"op":"add_credits","user_id":"@11","amount":2147483647,"type":"grant"}', 'balance_overflow', 100, null),
  (27, '{"op":"expire_credits","user_id":"@11","amount":101}', 'insufficient_credits', 100, null),
  (28, '{"op":"expire_credits","user_id":"@11","amount":1,"note":null}', 'ok', 99, null),
  (29, '{"op":"update_profile","user_id":"@11","display_name":null,"notification_prefs":{"low_credits":false}}', 'ok', 99, null),
  -- drafts
  (30, '{"op":"create_draft","draft_id":"@41","session_token":"s","prompt_text":"x"}', 'ok', null, null),
  (31, '{"op":"create_draft","draft_id":"@41","session_token":"s","prompt_text":"x"}', 'already_exists', null, null),
  (32, '{"op":"update_draft","draft_id":"@41","session_token":"other","prompt_text":"y"}', 'not_owner', null, null),
  (33, '{"op":"update_draft","draft_id":"@41","session_token":"s","prompt_text":null}', 'invalid_argument', null, null),
  (34, '{"op":"update_draft","draft_id":"@41","at":"2026-02-18T00:00:00.000000Z","session_token":"s","options":null}', 'draft_expired', null, null),
  (35, '{"op":"claim_draft","session_token":"s","user_id":"@11"}', 'ok', 99, null),
  (36, '{"op":"claim_draft","session_token":"s","user_id":"@11"}', 'draft_not_found', 99, null),
  (37, '{"op":"update_draft","draft_id":"@41","session_token":"s","prompt_text":"y"}', 'not_owner', null, null),
  (38, '{"op":"update_draft","draft_id":"@41","user_id":"@11","prompt_text":"y"}', 'ok', 99, null),
  (39, '{"op":"purge_expired_drafts"}', 'ok', null, null),
  -- projects and voice profiles
  (40, '{"op":"create_voice_profile","voice_profile_id":"@51","user_id":"@11","name":"v","audio_path":"p"}', 'ok', 99, null),
  (41, '{"op":"create_project","project_id":"@21","user_id":"@12","title":"t","prompt_text":"p","niche_preset":"facts","target_minutes":3,"voice_profile_id":"@51"}', 'voice_profile_not_found', 10, null),
  (42, '{"op":"create_project","project_id":"@21","user_id":"@11","title":"t","prompt_text":"p","niche_preset":"facts","target_minutes":11}', 'invalid_argument', 99, null),
  (43, '{"op":"create_project","project_id":"@21","user_id":"@11","title":"t","prompt_text":"p","niche_preset":"facts","target_minutes":3,"settings":{"n":1e1000000}}', 'invalid_argument', 99, null),
  (44, '{"op":"create_project","project_id":"@21","user_id":"@11","title":"t","prompt_text":"p","niche_preset":"facts","target_minutes":3,"settings":' || repeat('[', 33) || repeat(']', 33) || '}', 'invalid_argument', 99, null),
  (45, '{"op":"create_project","project_id":"@21","user_id":"@11","title":"t","prompt_text":"p","niche_preset":"facts","target_minutes":3,"voice_profile_id":"@51","settings":{"bb":1e2,"a":[1.50]}}', 'ok', 99, null),
  (46, '{"op":"update_project","project_id":"@21","user_id":"@12","title":"t"}', 'not_owner', 10, null),
  (47, '{"op":"update_project","project_id":"@21","user_id":"@11","transcript_mode":null}', 'ok', 99, null),
  (48, '{"op":"delete_voice_profile","voice_profile_id":"@51","user_id":"@12"}', 'not_owner', 10, null),
  (49, '{"op":"delete_voice_profile","voice_profile_id":"@51","user_id":"@11"}', 'ok', 99, null),
  -- a job
  (50, '{"op":"create_job","job_id":"@31","project_id":"@21","user_id":"@12"}', 'not_owner', 10, null),
  (51, '{"op":"create_job","job_id":"@31","project_id":"@21","user_id":"@11"}', 'ok', 99, null),
  (52, '{"op":"advance_job","job_id":"@31","to":"QUEUED"}', 'reservation_required', 99, null),
  (53, '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":100}', 'insufficient_credits', 99, null),
  (54, '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":8}', 'ok', 91, null),
  (55, '{"op":"reserve_credits","user_id":"@11","job_id":"@31","amount":8}', 'already_reserved', 91, null),
  (56, '{"op":"delete_project","project_id":"@21","user_id":"@11"}', 'illegal_transition', 91, null),
  (57, '{"op":"advance_job","job_id":"@31","to":"QUEUED","reservation":"#53"}', 'stale_reservation', 91, null),
  (58, '{"op":"advance_job","job_id":"@31","to":"QUEUED","reservation":"#54"}', 'ok', 91, null),
  (59, '{"op":"advance_job","job_id":"@31","to":"VOICE_GEN"}', 'illegal_transition', 91, null),
  (60, '{"op":"claim_job","job_id":"@31","ttl":60}', 'ok', 91, null),
  (61, '{"op":"claim_job","job_id":"@31","ttl":60}', 'already_claimed', 91, null),
  (62, '{"op":"advance_job","job_id":"@31","to":"SCRIPTING"}', 'ok', 91, null),
  (63, '{"op":"report_progress","job_id":"@31","step_name":"SCRIPTING","progress_pct":50,"status_message":"m"}', 'ok', 91, null),
  (64, '{"op":"report_progress","job_id":"@31","step_name":"SCRIPTING","progress_pct":40}', 'ok', 91, null),
  (65, '{"op":"report_progress","job_id":"@31","step_name":"RENDERING","progress_pct":40}', 'illegal_transition', 91, null),
  (66, '{"op":"report_progress","job_id":"@31","step_name":"X","progress_pct":40}', 'step_not_found', 91, null),
  (67, '{"op":"add_asset","asset_id":"@61","job_id":"@31","type":"video","url":"u","storage_path":"s","size_bytes":9223372036854775807}', 'ok', 91, null),
  (68, '{"op":"add_asset","asset_id":"@61","job_id":"@31","type":"video","url":"u","storage_path":"s"}', 'already_exists', 91, null),
  (69, '{"op":"sweep","at":"2026-01-18T00:02:00.000000Z","grace":60}', 'ok', null, null),
  (70, '{"op":"drop_claim","job_id":"@31"}', 'ok', 91, null),
  (71, '{"op":"drop_claim","job_id":"@31"}', 'not_claim_holder', 91, null),
  (72, '{"op":"sweep","at":"2026-01-18T01:00:00.000000Z","grace":60}', 'ok', null, null),
  (73, '{"op":"fail_job","job_id":"@31","error_code":"E"}', 'illegal_transition', 99, null),
  (74, '{"op":"retry_job","job_id":"@31","amount":8}', 'ok', 91, null),
  -- batches
  (75, '{"op":"batch","ops":[{"op":"advance_job","op_id":"#751","job_id":"@31","to":"SCRIPTING"},{"op":"advance_job","op_id":"#752","job_id":"@31","to":"READY"}]}', 'illegal_transition', 91, 1),
  (76, '{"op":"batch","ops":[{"op":"advance_job","op_id":"#751","job_id":"@31","to":"SCRIPTING"},{"op":"add_credits","op_id":"#752","user_id":"@12","amount":1,"type":"grant"}]}', 'invalid_argument', 91, null),
  (77, '{"op":"batch","ops":[]}', 'invalid_argument', null, null),
  (78, '{"op":"batch","ops":[{"op":"advance_job","op_id":"#751","job_id":"@31","to":"SCRIPTING"},{"op":"advance_job","op_id":"#752","job_id":"@31","to":"VOICE_GEN"}]}', 'ok', 91, null),
  (79, '{"op":"batch","op_id":"#78","ops":[{"op":"advance_job","op_id":"#751","job_id":"@31","to":"SCRIPTING"},{"op":"advance_job","op_id":"#752","job_id":"@31","to":"VOICE_GEN"}]}', 'ok', 91, null),
  (80, '{"op":"batch","op_id":"#78","ops":[{"op":"advance_job","op_id":"#751","job_id":"@31","to":"SCRIPTING"}]}', 'operation_conflict', 91, null),
  -- settling
  (81, '{"op":"complete_job","job_id":"@31","final_cost":5}', 'illegal_transition', 91, null),
  (82, '{"op":"finalize_job_credits","job_id":"@31","final_cost":200}', 'insufficient_credits', 91, null),
  (83, '{"op":"finalize_job_credits","job_id":"@31","final_cost":5}', 'ok', 94, null),
  (84, '{"op":"finalize_job_credits","job_id":"@31","final_cost":5}', 'already_finalized', 94, null),
  (85, '{"op":"release_job_credits","job_id":"@31"}', 'no_reservation', 94, null),
  (86, '{"op":"lease_credits"}', 'not_permitted', null, null),
  (87, '{"op":"delete_project","project_id":"@21","user_id":"@11"}', 'ok', 94, null),
  -- its job is gone: what was applied stays applied
  (88, '{"op":"finalize_job_credits","op_id":"#83","job_id":"@31","final_cost":5}', 'ok', null, null),
  (89, '{"op":"finalize_job_credits","job_id":"@31","final_cost":5}', 'job_not_found', null, null),
  (90, '{"op":"batch","op_id":"#91","ops":[{"op":"add_credits","op_id":"#911","user_id":"@12","amount":1,"type":"grant"},{"op":"create_project","op_id":"#912","user_id":"@12"}]}', 'invalid_argument', 10, 1),
  (91, '{"op":"batch","ops":[{"op":"add_credits","op_id":"#911","user_id":"@12","amount":1,"type":"grant"}]}', 'ok', 11, null),
  (92, '{"op":"batch","op_id":"#91","more":1,"ops":[{"op":"add_credits","op_id":"#911","user_id":"@12","amount":1,"type":"grant"}]}', 'operation_conflict', 11, null),
  (93, '{"op":"batch","ops":[{"op":"add_credits","op_id":"#93","user_id":"@12","amount":1,"type":"grant"}]}', 'operation_conflict', 11, 0),
  -- of a job that is gone, by all that it says; where an op_id is nobody's too, by what is the same
  (94, '{"op":"finalize_job_credits","op_id":"#83","job_id":"@31","final_cost":6}', 'job_not_found', null, null),
  (95, '{"op":"create_draft","op_id":"#78","draft_id":"@42","session_token":"s","prompt_text":"x"}', 'ok', null, null),
  (96, '{"op":"batch","op_id":"#78","ops":[{"op":"advance_job","op_id":"#751","job_id":"@31","to":"SCRIPTING"},{"op":"advance_job","op_id":"#752","job_id":"@31","to":"VOICE_GEN"}]}', 'ok', null, null),
  (97, '{"op":"create_draft","op_id":"#78","draft_id":"@42","session_token":"s","prompt_text":"x"}', 'ok', null, null),
  (98, '{"op":"claim_draft","op_id":"#35","session_token":"s","user_id":"@11"}', 'ok', 94, null),
  (99, '{"op":"claim_draft","op_id":"#35","session_token":"t","user_id":"@11"}', 'operation_conflict', 94, null);

create temp table sent as
select n, regexp_replace(regexp_replace(
         case when line like '{"op":%' then
           replace(line, '{"op":"' || split_part(line, '"', 4) || '"',
                   '{"op":"' || split_part(line, '"', 4) || '"'
                   || case when line like '{"op":"' || split_part(line, '"', 4) || '","op_id"%' then '' else ',"op_id":"#' || n || '"' end
                   || case when line like '%"at":%' then ''
                           else ',"at":"' || to_char(timestamp '2026-01-18' + n * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"' end)
         else line end,
         '"@([0-9]+)"', '"00000000-0000-4000-8000-0000000000\1"', 'g'),
         '"#([0-9]+)"', '"11111111-0000-7000-8000-\1"', 'g') as line
  from trace;
-- The op_ids, made long enough.
update sent set line = regexp_replace(line, '("11111111-0000-7000-8000-)([0-9]{1})"', '\100000000000\2"', 'g');
update sent set line = regexp_replace(line, '("11111111-0000-7000-8000-)([0-9]{2})"', '\10000000000\2"', 'g');
update sent set line = regexp_replace(line, '("11111111-0000-7000-8000-)([0-9]{3})"', '\1000000000\2"', 'g');

create temp table answers as
select * from tally.apply_operations(array(select line from sent order by n));

select is(format('%s, balance %s, index %s', case when a.op_id is null then 'none' else a.result end, a.balance, a.index),
          format('%s, balance %s, index %s', t.want, t.balance, t.op_index),
          t.n || ' ' || coalesce(left(t.line, 60), '(null)') || ' → ' || t.want)
  from trace t join answers a on a.line = t.n order by t.n;

select is(string_agg(line || ' ' || coalesce(right(id::text, 2), 'none'), ', ' order by line), '35 41, 98 41, 99 none',
          'what was applied before is answered with the id that it made') from answers where line in (35, 98, 99);

select is(string_agg(format('%s %s %s', type, amount, balance_after), ', ' order by seq),
  'grant 10 10, purchase 90 100, expire -1 99, reserve -8 91, refund 8 99, reserve -8 91, reserve 5 96, usage -5 91, refund 3 94',
  'the entries of user 11')
  from public.credit_ledger where user_id = '00000000-0000-4000-8000-000000000011';

\ir include/invariants.sql
select * from finish();
rollback;
