begin;
\ir include/begin.sql

-- An app has triggers of its own on the tables, and they write to the ledger.
create function public.app_writes() returns trigger language plpgsql as $$
begin
  execute format(tg_argv[0], case tg_table_name when 'users' then new.id
                             when 'profiles' then new.id else (to_jsonb(new) ->> 'user_id')::uuid end);
  return new;
end;
$$;
create function public.app_writes_definer() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  execute format(tg_argv[0], case tg_table_name when 'users' then new.id
                             when 'profiles' then new.id else (to_jsonb(new) ->> 'user_id')::uuid end);
  return new;
end;
$$;

-- In the midst of an operation, from each of its writes: all of it is refused, and what was there stays.
create table app (n integer primary key, head text, body text, op text);
insert into app values
  (1, 'after insert on credit_ledger for each row when (new.type = ''purchase'') execute function app_writes_definer',
      'insert into public.credit_ledger (user_id, type, amount, note) values (%L, ''grant'', 1, ''bonus'')',
      '"op":"add_credits","user_id":"$u","amount":3,"type":"purchase"'),
  (2, 'after insert on credit_ledger for each row when (new.type = ''purchase'') execute function app_writes',
      'insert into public.credit_ledger (user_id, type, amount, note) values (%L, ''grant'', 1, ''bonus'')',
      '"op":"add_credits","user_id":"$u","amount":3,"type":"purchase"'),
  (3, 'after insert on credit_ledger for each row when (new.type = ''purchase'') execute function app_writes_definer',
      'select public.add_credits(%L, 1, ''grant'', ''bonus'')',
      '"op":"add_credits","user_id":"$u","amount":3,"type":"purchase"'),
  (4, 'before update on jobs for each row when (new.status = ''FAILED'') execute function app_writes_definer',
      'insert into public.credit_ledger (user_id, type, amount, note) values (%L, ''grant'', 1, ''sorry'')',
      '"op":"fail_job","job_id":"$j","error_code":"E"'),
  (5, 'after update on profiles for each row execute function app_writes_definer',
      'insert into public.credit_ledger (user_id, type, amount, note) values (%L, ''grant'', 1, ''complete'')',
      '"op":"update_profile","user_id":"$u","display_name":"A"'),
  (6, 'after update on profiles for each row execute function app_writes_definer',
      'update public.jobs set user_id = user_id, status = ''FAILED'' where user_id = %L',
      '"op":"update_profile","user_id":"$u","display_name":"A"'),
  (7, 'after insert on profiles for each row execute function app_writes_definer',
      'insert into public.credit_ledger (user_id, type, amount, note) values (%L, ''grant'', 1, ''welcome, too'')',
      '"op":"create_user","user_id":"00000000-0000-4000-8000-00000000a00f"');

create function pg_temp.told(p_fields text) returns text language plpgsql as $$
declare
  v text;
begin
  select result into v from tally.apply_operations(array[format(
    '{"op_id":"%s","at":"2026-01-18T00:00:00.000000Z",%s}', gen_random_uuid(),
    replace(replace(p_fields, '$u', '00000000-0000-4000-8000-00000000a001'), '$j', '00000000-0000-4000-8000-00000000c001'))]);
  return v;
exception when triggered_data_change_violation then
  return 'interference';
end;
$$;
create function pg_temp.with_trigger(p_n integer, p_kind text, p_when text) returns text language plpgsql as $$
declare
  v text;
begin
  execute (select format('create %s t %s(%L)', p_kind, replace(a.head, 'for each row', p_when), a.body) from app a where a.n = p_n);
  v := pg_temp.told((select a.op from app a where a.n = p_n));
  set constraints all immediate;
  set constraints all deferred;
  execute 'drop trigger t on ' || substring((select a.head from app a where a.n = p_n) from ' on (\S+)');
  return v;
end;
$$;
create function pg_temp.all_there() returns text language sql as $$
  select concat_ws(' ', (select string_agg(a::text, ' ' order by a.user_id) from tally.accounts a),
                   (select count(*) from credit_ledger), (select string_agg(j.status::text, ' ' order by j.id) from jobs j),
                   (select count(*) from auth.users), (select string_agg(p.display_name, ' ' order by p.id) from profiles p));
$$;

select plan(4 + 2 * 7 + 2 + 4 + 5);
select is(pg_temp.told('"op":"create_user","user_id":"$u"'), 'ok');
select is(pg_temp.told('"op":"create_project","user_id":"$u","project_id":"$j","title":"t","prompt_text":"p",'
                       '"niche_preset":"facts","target_minutes":1'), 'ok');
select is(pg_temp.told('"op":"create_job","user_id":"$u","project_id":"$j","job_id":"$j"'), 'ok');
select is(pg_temp.told('"op":"reserve_credits","user_id":"$u","job_id":"$j","amount":4'), 'ok');

create table before as select pg_temp.all_there() as t;
select is(pg_temp.with_trigger(n, 'trigger', 'for each row'), 'interference', head || ': ' || body) from app order by n;
select is(pg_temp.all_there(), (select t from before), 'nothing was written') from app;

-- At the end of the transaction it is right. 10 - 4, and 3 and a bonus.
select is(pg_temp.with_trigger(1, 'constraint trigger', 'deferrable initially deferred for each row'), 'ok',
          'a constraint trigger, deferred, writes behind the operation');
select is(get_credit_balance('00000000-0000-4000-8000-00000000a001'), 10, 'and its credits count');

-- On sign-ups, before ours and behind it.
create trigger a_referral after insert on auth.users for each row
  execute function public.app_writes_definer('select public.add_credits(%L, 5, ''grant'', ''Referral'')');
create trigger z_referral after insert on auth.users for each row
  execute function public.app_writes_definer('select public.add_credits(%L, 2, ''grant'', ''Referral'')');
insert into auth.users (id, email) values ('00000000-0000-4000-8000-00000000a009', 'a@x');
select is(get_credit_balance('00000000-0000-4000-8000-00000000a009'), 17, 'a sign-up that was given credits has its welcome');
select is((select count(*) from profiles where id = '00000000-0000-4000-8000-00000000a009'), 1::bigint, 'and its profile');
drop trigger a_referral on auth.users;
drop trigger z_referral on auth.users;
create trigger a_profile after insert on auth.users for each row
  execute function public.app_writes_definer('insert into public.profiles (id, display_name) values (%L, ''Mine'')');
insert into auth.users (id, email) values ('00000000-0000-4000-8000-00000000a008', 'b@x');
select is(get_credit_balance('00000000-0000-4000-8000-00000000a008'), 10, 'one whose profile another trigger made has its welcome');
select is((select display_name from profiles where id = '00000000-0000-4000-8000-00000000a008'), 'Mine', 'and keeps that profile');

\ir include/invariants.sql
select * from finish();
rollback;
