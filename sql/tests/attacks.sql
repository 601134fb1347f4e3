-- What users, devices and strangers try. Each attempt runs as that role, with the claims that the
-- gateway would set, and is undone; what it came to is compared: a refusal's code, a SQLSTATE, or how
-- many rows it reached.
begin;
\ir include/begin.sql

create function pg_temp.attempt(p_role text, p_user uuid, statement text) returns text language plpgsql as $$
declare
  n bigint;
  outcome text;
begin
  perform set_config('request.jwt.claims',
    coalesce(jsonb_build_object('sub', p_user, 'role', p_role)::text, ''), true);
  begin
    perform set_config('role', p_role, true);
    execute statement;
    get diagnostics n = row_count;
    raise exception using errcode = 'XDONE', message = n || ' rows';
  exception when others then
    outcome := case when sqlstate = 'XDONE' or sqlstate like 'TA%' then sqlerrm else sqlstate end;
  end;
  -- The exception has undone the role and the statement with it.
  return outcome;
end;
$$;

insert into auth.users (id, email) values
  ('00000000-0000-4000-8000-0000000000a1', 'ann@x'), ('00000000-0000-4000-8000-0000000000a2', 'bob@x');
insert into projects (id, user_id, title, prompt_text, niche_preset) values
  ('00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000a1', 't', 'p', 'facts'),
  ('00000000-0000-4000-8000-0000000000b2', '00000000-0000-4000-8000-0000000000a2', 't', 'p', 'facts');
insert into voice_profiles (id, user_id, name, audio_path) values
  ('00000000-0000-4000-8000-0000000000d1', '00000000-0000-4000-8000-0000000000a1', 'v', 'p'),
  ('00000000-0000-4000-8000-0000000000d2', '00000000-0000-4000-8000-0000000000a2', 'v', 'p');
insert into jobs (id, project_id, user_id) values
  ('00000000-0000-4000-8000-0000000000c1', '00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-0000000000a1'),
  ('00000000-0000-4000-8000-0000000000c2', '00000000-0000-4000-8000-0000000000b2', '00000000-0000-4000-8000-0000000000a2');
insert into assets (job_id, type, url, storage_path) select id, 'video', 'u', 's' from jobs;
insert into job_steps (job_id, step_name, step_order) select id, 'SCRIPTING', 1 from jobs;
insert into draft_prompts (session_token, user_id, prompt_text) values
  ('open', null, 'nobody''s'), ('hers', '00000000-0000-4000-8000-0000000000a1', 'Ann''s'),
  ('his', '00000000-0000-4000-8000-0000000000a2', 'Bob''s'), ('', null, 'without a token');

-- role, whose claims, statement, what it comes to. $a1 is Ann, $a2 Bob, and so on.
create temp table attacks (n integer generated always as identity, role text, who text, statement text, want text);
grant all on attacks to public;

-- Reading: Ann sees her own rows of each table, nobody else's; strangers and devices see none.
insert into attacks (role, who, statement, want)
select r.role, r.who, format('select * from %s', t.name),
       case when r.role = 'authenticated' then t.hers
            when r.role = 'anon' and t.name = 'draft_prompts' then '0 rows' else '42501' end
  from (values ('anon', null), ('authenticated', '$a1'), ('tally_device', '$a1')) r(role, who),
       (values ('profiles', '1 rows'), ('credit_ledger', '1 rows'), ('draft_prompts', '1 rows'), ('projects', '1 rows'),
               ('jobs', '1 rows'), ('job_steps', '1 rows'), ('assets', '1 rows'), ('voice_profiles', '1 rows')) t(name, hers);
-- Without claims a signed-in role sees nothing.
insert into attacks (role, who, statement, want)
select 'authenticated', null, format('select * from %s', t), '0 rows'
  from unnest(array['profiles', 'credit_ledger', 'draft_prompts', 'projects', 'jobs', 'job_steps', 'assets', 'voice_profiles']) t;
-- Our own tables and functions are out of everybody's reach.
insert into attacks (role, who, statement, want)
select r, '$a1', format('select * from %s', c.oid::regclass), '42501'
  from unnest(array['anon', 'authenticated', 'tally_device']) r, pg_class c
 where c.relkind = 'r' and c.relnamespace in ('tally'::regnamespace, 'tally_sync'::regnamespace);
insert into attacks (role, who, statement, want)
select r, '$a1', format('select %s(%s)', p.oid::regproc,
         (select string_agg('null::' || format_type(a.type, null), ', ' order by a.n) from unnest(p.proargtypes::oid[]) with ordinality a(type, n))),
       '42501'
  from unnest(array['anon', 'authenticated', 'tally_device']) r, pg_proc p
 where p.prokind = 'f'
   and (p.pronamespace in ('tally'::regnamespace, 'tally_sync'::regnamespace)
        or (p.pronamespace = 'public'::regnamespace
            and not (r = 'authenticated' and p.proname in ('get_credit_balance', 'claim_draft_prompt'))))
   and not (r = 'tally_device' and p.proname = 'sync');

insert into attacks (role, who, statement, want) values
  -- minting
  ('authenticated', '$a1', 'insert into credit_ledger (user_id, type, amount) values ($a1, ''grant'', 1000)', '42501'),
  ('authenticated', '$a1', 'update credit_ledger set amount = 1000', '42501'),
  ('authenticated', '$a1', 'delete from credit_ledger', '42501'),
  ('authenticated', '$a1', 'truncate credit_ledger', '42501'),
  ('authenticated', '$a1', 'update tally.accounts set balance = 1000', '42501'),
  ('service_role', null, 'insert into credit_ledger (user_id, type, amount) values ($a1, ''usage'', 5)', 'invalid_amount'),
  ('service_role', null, 'insert into credit_ledger (user_id, type, amount) values ($a1, ''expire'', 5)', 'invalid_amount'),
  ('service_role', null, 'insert into credit_ledger (user_id, type, amount) values ($a1, ''refund'', -5)', 'invalid_amount'),
  ('service_role', null, 'insert into credit_ledger (user_id, type, amount) values ($a1, ''reserve'', 5)', 'not_permitted'),
  ('service_role', null, 'insert into credit_ledger (user_id, type, amount, job_id) values ($a1, ''refund'', 5, $c1)', 'not_permitted'),
  ('service_role', null, 'insert into credit_ledger (user_id, type, amount) values ($a1, ''usage'', -11)', 'insufficient_credits'),
  ('service_role', null, 'insert into credit_ledger (user_id, type, amount, seq, balance_after) values ($a1, ''grant'', 1, 99, 99) returning seq', '1 rows'),
  ('service_role', null, 'update credit_ledger set balance_after = 1000', '42501'),
  ('service_role', null, 'delete from credit_ledger', '42501'),
  ('service_role', null, 'truncate credit_ledger', '42501'),
  ('service_role', null, 'truncate jobs cascade', '42501'),
  ('service_role', null, 'select reserve_credits($a1, $c1, -5)', 'invalid_amount'),
  ('service_role', null, 'select finalize_job_credits($c1, -5)', 'invalid_amount'),
  ('service_role', null, 'select add_credits($a1, -5, ''grant'', null)', 'invalid_amount'),
  ('service_role', null, 'update jobs set status = ''READY''', 'illegal_transition'),
  ('service_role', null, 'insert into tally.accounts (user_id, balance) values ($a1, 5)', '42501'),
  ('service_role', null, 'alter table credit_ledger disable trigger all', '42501'),
  ('service_role', null, 'set session_replication_role = replica', '42501'),
  ('service_role', null, 'create function tally.refuse(code text) returns void language sql as ''''', '42501'),
  -- other people's rows
  ('authenticated', '$a1', 'select get_credit_balance($a1)', '1 rows'),
  ('authenticated', '$a1', 'select get_credit_balance($a2)', 'not_permitted'),
  ('authenticated', '$a1', 'select get_credit_balance(null)', 'not_permitted'),
  ('authenticated', null,  'select get_credit_balance($a1)', 'not_permitted'),
  ('authenticated', '$a1', 'update jobs set status = ''READY''', '42501'),
  ('authenticated', '$a1', 'insert into jobs (project_id, user_id) values ($b1, $a1)', '42501'),
  ('authenticated', '$a1', 'insert into job_steps (job_id, step_name, step_order) values ($c1, ''x'', 9)', '42501'),
  ('authenticated', '$a1', 'insert into assets (job_id, type, url, storage_path) values ($c1, ''video'', ''u'', ''s'')', '42501'),
  ('authenticated', '$a1', 'update projects set title = ''x''', '1 rows'),
  ('authenticated', '$a1', 'update projects set user_id = $a2', 'not_owner'),
  ('authenticated', '$a1', 'update projects set title = ''x'' where id = $b2', '0 rows'),
  ('authenticated', '$a1', 'delete from projects where id = $b2', '0 rows'),
  ('authenticated', '$a1', 'insert into projects (user_id, title, prompt_text, niche_preset) values ($a1, ''t'', ''p'', ''facts'')', '1 rows'),
  ('authenticated', '$a1', 'insert into projects (user_id, title, prompt_text, niche_preset) values ($a2, ''t'', ''p'', ''facts'')', '42501'),
  ('authenticated', '$a1', 'update projects set voice_profile_id = $d2', 'voice_profile_not_found'),
  ('authenticated', '$a1', 'update projects set voice_profile_id = $d1', '1 rows'),
  ('authenticated', '$a1', 'insert into voice_profiles (user_id, name, audio_path) values ($a2, ''v'', ''p'')', '42501'),
  ('authenticated', '$a1', 'delete from voice_profiles', '1 rows'),
  ('authenticated', '$a1', 'update profiles set display_name = ''x''', '1 rows'),
  ('authenticated', '$a1', 'update profiles set stripe_customer_id = ''x''', '42501'),
  ('authenticated', '$a1', 'insert into profiles (id) values ($a1)', '42501'),
  ('authenticated', '$a1', 'delete from profiles', '42501'),
  -- drafts: for oneself or for nobody; a token is proof only of an unclaimed one
  ('anon', null, 'insert into draft_prompts (session_token, prompt_text) values (''n'', ''p'')', '1 rows'),
  ('anon', null, 'insert into draft_prompts (session_token, prompt_text, user_id) values (''n'', ''p'', $a1)', '42501'),
  ('anon', null, 'select * from draft_prompts where session_token = ''open''', '0 rows'),
  ('anon', null, 'with s as (select set_config(''app.session_token'', ''open'', true)) select d.* from s, draft_prompts d', '1 rows'),
  ('anon', null, 'do $x$ begin perform set_config(''app.session_token'', ''open'', true); if (select count(*) from draft_prompts) <> 1 then raise division_by_zero; end if; end $x$', '0 rows'),
  ('anon', null, 'do $x$ begin perform set_config(''app.session_token'', ''hers'', true); if exists (select from draft_prompts) then raise division_by_zero; end if; end $x$', '0 rows'),
  ('anon', null, 'do $x$ begin perform set_config(''app.session_token'', '''', true); if exists (select from draft_prompts) then raise division_by_zero; end if; end $x$', '0 rows'),
  ('anon', null, 'do $x$ begin perform set_config(''app.session_token'', ''open'', true); update draft_prompts set user_id = $a1; end $x$', '42501'),
  ('anon', null, 'do $x$ begin perform set_config(''app.session_token'', ''open'', true); update draft_prompts set prompt_text = ''x''; end $x$', '0 rows'),
  ('anon', null, 'delete from draft_prompts', '42501'),
  ('anon', null, 'select claim_draft_prompt(''open'', $a1)', '42501'),
  ('authenticated', '$a1', 'insert into draft_prompts (session_token, prompt_text, user_id) values (''n'', ''p'', $a1)', '1 rows'),
  ('authenticated', '$a1', 'insert into draft_prompts (session_token, prompt_text, user_id) values (''n'', ''p'', $a2)', '42501'),
  ('authenticated', '$a1', 'update draft_prompts set prompt_text = ''x'' where session_token <> ''hers''', '0 rows'),
  ('authenticated', '$a1', 'select claim_draft_prompt(''open'', $a2)', 'not_permitted'),
  ('authenticated', '$a1', 'select claim_draft_prompt(''open'', null)', 'invalid_argument'),
  ('authenticated', '$a1', 'select claim_draft_prompt('''', $a1)', 'invalid_argument'),
  ('authenticated', '$a1', 'do $x$ begin if claim_draft_prompt(''his'', $a1) is not null then raise division_by_zero; end if; end $x$', '0 rows'),
  ('authenticated', '$a1', 'do $x$ begin if claim_draft_prompt(''open'', $a1) is null then raise division_by_zero; end if; end $x$', '0 rows'),
  ('authenticated', '$a1', 'do $x$ begin perform claim_draft_prompt(''open'', $a1); if current_setting(''app.session_token'') <> '''' then raise division_by_zero; end if; end $x$', '0 rows'),
  -- names in the way: what a caller puts before our schemas is not looked at
  ('service_role', null, 'do $x$ begin create temp table accounts (user_id uuid, balance integer, held bigint, seq bigint); insert into pg_temp.accounts values ($a1, 1000000, 0, 1); set local search_path = pg_temp, public; if reserve_credits($a1, $c1, 11) then raise division_by_zero; end if; end $x$', '0 rows'),
  ('service_role', null, 'do $x$ begin create function pg_temp.now() returns timestamptz language sql as $f$ select timestamptz ''1970-01-01'' $f$; set local search_path = pg_temp, public; perform add_credits($a1, 1, ''grant'', null); if exists (select from credit_ledger where created_at < ''2020-01-01'') then raise division_by_zero; end if; end $x$', '0 rows');

-- A type of the caller's own in the way of a name in our functions: its CHECK would run with our rights.
insert into attacks (role, who, statement, want)
select a.role, a.who, format(
         'do $x$ begin create function pg_temp.evil() returns boolean language plpgsql as $f$ begin '
         'if current_user = ''tally_owner'' then raise exception ''it runs''; end if; return true; end $f$; '
         'create domain pg_temp.%1$I as pg_catalog.%1$I check (pg_temp.evil()); '
         'perform set_config(''app.session_token'', ''open'', true); %2$s; end $x$', t.name, a.statement),
       '0 rows'
  from unnest(array['text', 'uuid', 'jsonb', 'json', 'int4', 'int8', 'bool', 'bytea', 'timestamptz', 'interval', 'numeric']) t(name),
       (values ('anon', null, 'update draft_prompts set id = id'),
               ('authenticated', '$a1', 'update projects set user_id = user_id'),
               ('authenticated', '$a1', 'delete from projects'),
               ('service_role', null, 'perform reserve_credits($a1, $c1, 2)'),
               ('service_role', null, 'perform tally.apply_operations(array[''{"op":"add_credits","op_id":"00000000-0000-7000-8000-000000000001","at":"2026-01-18T00:00:00.000000Z","user_id":"'' || $a1 || ''","amount":1,"type":"grant"}''])'),
               ('service_role', null, 'insert into credit_ledger (user_id, type, amount) values ($a1, ''grant'', 1)'),
               ('service_role', null, 'perform tally.repair($a1); perform tally.digest($a1)')) a(role, who, statement);

select plan(count(*)::integer + 1) from attacks;
select cmp_ok(count(*)::integer, '>', 200, 'there is something to try') from attacks;
select is(pg_temp.attempt(a.role, regexp_replace(a.who, '\$([a-d][0-9])', '00000000-0000-4000-8000-0000000000\1')::uuid,
                          regexp_replace(a.statement, '\$([a-d][0-9])', '''00000000-0000-4000-8000-0000000000\1''', 'g')),
          a.want, format('%s%s: %s', a.role, coalesce(' ' || a.who, ''), left(a.statement, 110)))
  from attacks a order by n;

select * from finish();
rollback;
