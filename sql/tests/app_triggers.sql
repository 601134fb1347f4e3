begin;
\ir include/begin.sql

-- An app has triggers of its own on the tables, and they write to the ledger: from sign-up on, accounts and
-- entries go on from what they left.
create function public.app_writes() returns trigger language plpgsql as $$
begin
  execute format(tg_argv[0], case tg_table_name when 'users' then new.id else (to_jsonb(new) ->> 'user_id')::uuid end);
  return new;
end;
$$;
create function public.app_writes_definer() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  execute format(tg_argv[0], case tg_table_name when 'users' then new.id else (to_jsonb(new) ->> 'user_id')::uuid end);
  return new;
end;
$$;

create table app (n integer primary key, trigger text);
insert into app values
  (1, 'trigger t after insert on credit_ledger for each row when (new.type = ''purchase'') execute function app_writes_definer('
      '''insert into public.credit_ledger (user_id, type, amount, note) values (%L, ''''grant'''', 1, ''''bonus'''')'')'),
  (2, 'trigger t after insert on credit_ledger for each row when (new.type = ''purchase'') execute function app_writes('
      '''insert into public.credit_ledger (user_id, type, amount, note) values (%L, ''''grant'''', 1, ''''bonus'''')'')'),
  (3, 'trigger t after insert on credit_ledger for each row when (new.type = ''purchase'') execute function app_writes_definer('
      '''select public.add_credits(%L, 1, ''''grant'''', ''''bonus'''')'')'),
  (4, 'trigger t after update on jobs for each row when (new.status = ''FAILED'') execute function app_writes_definer('
      '''insert into public.credit_ledger (user_id, type, amount, note) values (%L, ''''grant'''', 1, ''''sorry'''')'')');

-- Buys, makes a job, has it fail, and buys again, in a batch and alone: the balance, and how many entries there are.
create function pg_temp.life(p_n integer, p_fields text) returns text language plpgsql as $$
declare
  v_user uuid := overlay('00000000-0000-4000-8000-00000000a000' placing p_n::text from 36);
  v_job uuid := overlay('00000000-0000-4000-8000-00000000c000' placing p_n::text from 36);
  v_lines text[];
  v_codes text;
begin
  select array_agg(format('{"op_id":"%s","at":"2026-01-18T00:00:00.000000Z",%s}',
                          overlay('00000000-0000-7000-8000-000000000000' placing p_n::text || n from 35),
                          replace(replace(f, '$u', v_user::text), '$j', v_job::text)) order by n)
    into v_lines from unnest(string_to_array(p_fields, E'\n')) with ordinality x(f, n);
  select string_agg(result, ' ' order by ordinality) into v_codes
    from tally.apply_operations(v_lines) with ordinality;
  perform public.add_credits(v_user, 5, 'purchase', 'n', 'pi_' || p_n);
  return v_codes || ' ' || get_credit_balance(v_user) || ' ' || (select count(*) from credit_ledger where user_id = v_user);
end;
$$;

create function pg_temp.with_trigger(p_n integer) returns text language plpgsql as $$
declare
  v text;
begin
  execute 'create ' || (select a.trigger from app a where a.n = p_n);
  v := pg_temp.life(p_n,
    '"op":"create_user","user_id":"$u"' || E'\n' ||
    '"op":"create_project","user_id":"$u","project_id":"$j","title":"t","prompt_text":"p","niche_preset":"facts","target_minutes":1' || E'\n' ||
    '"op":"batch","ops":[{"op":"create_job","op_id":"00000000-0000-7000-8000-00000000b1' || p_n || '0","user_id":"$u","project_id":"$j","job_id":"$j"},'
      '{"op":"reserve_credits","op_id":"00000000-0000-7000-8000-00000000b1' || p_n || '1","user_id":"$u","job_id":"$j","amount":4},'
      '{"op":"add_credits","op_id":"00000000-0000-7000-8000-00000000b1' || p_n || '2","user_id":"$u","amount":2,"type":"purchase"}]' || E'\n' ||
    '"op":"fail_job","job_id":"$j","error_code":"E"' || E'\n' ||
    '"op":"add_credits","user_id":"$u","amount":3,"type":"purchase"' || E'\n' ||
    '"op":"expire_credits","user_id":"$u","amount":1');
  execute 'drop trigger t on ' || substring((select a.trigger from app a where a.n = p_n) from ' on (\S+)');
  return v;
end;
$$;

select plan(4 + 2 + 5);
-- 10 and 2 and 3 - 1 and 5, and one for each purchase or failure.
select is(pg_temp.with_trigger(n), 'ok ok ok ok ok ok ' || case n when 4 then '20 8' else '22 10' end, trigger) from app order by n;

create trigger a_referral after insert on auth.users for each row
  execute function public.app_writes_definer('select public.add_credits(%L, 5, ''grant'', ''Referral'')');
insert into auth.users (id, email) values ('00000000-0000-4000-8000-00000000a009', 'a@x');
select is(get_credit_balance('00000000-0000-4000-8000-00000000a009'), 15, 'a sign-up that was given credits before has its welcome');
select is((select count(*) from profiles where id = '00000000-0000-4000-8000-00000000a009'), 1::bigint, 'and its profile');

\ir include/invariants.sql
select * from finish();
rollback;
