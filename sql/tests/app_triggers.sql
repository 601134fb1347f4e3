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
      '"op":"create_user","user_id":"00000000-0000-4000-8000-00000000a00f"'),
  (8, 'after insert on credit_ledger for each row when (new.note like ''Welcome%'') execute function app_writes_definer',
      'insert into public.credit_ledger (user_id, type, amount, note) values (%L, ''grant'', 1, ''welcome, too'')',
      '"op":"create_user","user_id":"00000000-0000-4000-8000-00000000a00f"'),
  (9, 'after update on profiles for each row execute function app_writes_definer',
      'insert into public.credit_ledger (user_id, type, amount, note) values (%L, ''grant'', 1, ''complete'')',
      '"op":"batch","ops":[{"op":"add_credits","op_id":"00000000-0000-7000-8000-0000000000b1","user_id":"$u","amount":1,"type":"grant"},'
        '{"op":"update_profile","op_id":"00000000-0000-7000-8000-0000000000b2","user_id":"$u","display_name":"A"}]');

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

select plan(4 + 2 * 9 + 2 + 2 + 6 + 2 + 1 + 2 + 2 + 5);
select is(pg_temp.told('"op":"create_user","user_id":"$u"'), 'ok');
select is(pg_temp.told('"op":"create_project","user_id":"$u","project_id":"$j","title":"t","prompt_text":"p",'
                       '"niche_preset":"facts","target_minutes":1'), 'ok');
select is(pg_temp.told('"op":"create_job","user_id":"$u","project_id":"$j","job_id":"$j"'), 'ok');
select is(pg_temp.told('"op":"reserve_credits","user_id":"$u","job_id":"$j","amount":4'), 'ok');

create table before as select pg_temp.all_there() as t;
select is(pg_temp.with_trigger(n, 'trigger', 'for each row'), 'interference', head || ': ' || body) from app order by n;
select is(pg_temp.all_there(), (select t from before), 'nothing was written') from app;

-- An entry that a trigger takes away is missed.
create function public.app_drops() returns trigger language plpgsql as 'begin return null; end';
create trigger t before insert on credit_ledger for each row when (new.type = 'purchase') execute function app_drops();
select throws_like('select add_credits(''00000000-0000-4000-8000-00000000a001'', 3, ''purchase'', ''n'')',
                   '%does not go with its ledger%', 'an entry that a trigger takes away is missed');
select is(pg_temp.all_there(), (select t from before), 'nothing was written');
drop trigger t on credit_ledger;

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
create trigger a_profile after insert on auth.users for each row
  execute function public.app_writes_definer('insert into public.profiles (id, display_name) values (%L, ''Mine'')');
insert into auth.users (id, email) values ('00000000-0000-4000-8000-00000000a008', 'b@x');
select is((select p.display_name || ' ' || get_credit_balance(p.id) from profiles p
            where p.id = '00000000-0000-4000-8000-00000000a008'), 'Mine 17', 'so has one whose profile another trigger made');
drop trigger a_referral on auth.users;
drop trigger z_referral on auth.users;
insert into auth.users (id, email) values ('00000000-0000-4000-8000-00000000a007', 'c@x');
select is((select p.display_name || ' ' || get_credit_balance(p.id) from profiles p
            where p.id = '00000000-0000-4000-8000-00000000a007'), 'Mine 10', 'and one that was given no credits');
select is(pg_temp.told('"op":"create_user","user_id":"00000000-0000-4000-8000-00000000a006","display_name":"Ann"'), 'ok');
select is((select display_name from profiles where id = '00000000-0000-4000-8000-00000000a006'), 'Ann',
          'create_user names a profile that another trigger made');
drop trigger a_profile on auth.users;

-- A plain failure, of which a trigger releases the hold, too.
update jobs set status = 'QUEUED' where id = '00000000-0000-4000-8000-00000000c001';
update jobs set status = 'SCRIPTING' where id = '00000000-0000-4000-8000-00000000c001';
create function public.app_releases() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform public.release_job_credits(new.job_id);
  return null;
end;
$$;
create trigger t after update on job_steps for each row when (new.state = 'failed') execute function app_releases();
create table balances as select get_credit_balance('00000000-0000-4000-8000-00000000a001') as was;
update jobs set status = 'FAILED' where id = '00000000-0000-4000-8000-00000000c001';
select is(get_credit_balance('00000000-0000-4000-8000-00000000a001') - was, 4, 'a hold is given back once') from balances;
select is((select held from tally.accounts where user_id = '00000000-0000-4000-8000-00000000a001'), 0::bigint);
drop trigger t on job_steps;

-- A user from before there was a sign-up trigger has no entries.
alter table auth.users disable trigger on_auth_user_created;
insert into auth.users (id, email) values ('00000000-0000-4000-8000-00000000a005', 'd@x');
alter table auth.users enable trigger on_auth_user_created;
insert into profiles (id, display_name) values ('00000000-0000-4000-8000-00000000a005', 'Old');
select is(pg_temp.told('"op":"update_profile","user_id":"00000000-0000-4000-8000-00000000a005","display_name":"B"'), 'ok',
          'an account without entries goes with its empty ledger');

-- A sign-up writes its own account alone; it is refused where a trigger writes to the ledger within it.
create table others as select a.* from tally.accounts a;
insert into auth.users (id, email) values ('00000000-0000-4000-8000-00000000a004', 'e@x');
select is_empty('select a.* from tally.accounts a where user_id <> ''00000000-0000-4000-8000-00000000a004'' except select * from others',
                'a sign-up writes its own account alone');
create trigger t after insert on credit_ledger for each row when (new.note like 'Welcome%') execute function
  app_writes_definer('insert into public.credit_ledger (user_id, type, amount, note) values (%L, ''grant'', 1, ''bonus'')');
select throws_ok('insert into auth.users (id, email) values (''00000000-0000-4000-8000-00000000a003'', ''f@x'')', '27000', null,
                 'and is refused where a trigger writes to the ledger within it');
drop trigger t on credit_ledger;

-- A device pushes for a user whose account is damaged, and for another.
create function pg_temp.judged(p_users uuid[]) returns text language sql security definer as $$
  select string_agg(concat_ws(' ', v.result, v.balance), ', ' order by v.n)
    from tally_sync.decode(array(
           select format('{"op_id":"%s","at":"2026-01-18T00:00:00.000000Z","op":"add_credits","user_id":"%s","amount":4,"type":"grant"}',
                         gen_random_uuid(), u) from unnest(p_users) u), p_users, array_fill(null::text, array[cardinality(p_users)])) x,
         unnest(tally_sync.judge(row('dddddddd-0000-4000-8000-000000000001', '{author,worker,service}', now(), false, null)::tally.pusher,
                                 x.operations, x.inner_operations)) with ordinality v(op_id, result, balance, id, index, n) $$;
alter function pg_temp.judged(uuid[]) owner to tally_owner;
savepoint damaged;
update tally.accounts set balance = 0, seq = 0 where user_id = '00000000-0000-4000-8000-00000000a008';
select is(pg_temp.judged('{00000000-0000-4000-8000-00000000a008,00000000-0000-4000-8000-00000000a007}'), 'internal_error, ok 14',
          'a damaged account stops its user alone');
rollback to damaged;
create trigger t after insert on credit_ledger for each row when (new.amount = 4) execute function
  app_writes_definer('insert into public.credit_ledger (user_id, type, amount, note) values (%L, ''grant'', 1, ''bonus'')');
select throws_ok('select pg_temp.judged(''{00000000-0000-4000-8000-00000000a008}'')', '27000', null,
                 'what a trigger interferes with is not rejected for good: the push comes again');
drop trigger t on credit_ledger;

\ir include/invariants.sql
select * from finish();
rollback;
