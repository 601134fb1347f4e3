begin;
\ir include/begin.sql
create extension dblink schema tap;
select plan(10 + 5);

-- A call that waits for another one sees what that did. Both are connections of their own, so that what they write
-- stays in this database: users that no other file knows.

create function pg_temp.connected(name text) returns text language sql as $$
  select dblink_connect(name, format('dbname=%s host=%s port=%s', current_database(),
    split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'))) $$;

-- The first is in the midst of its transaction, in which it may do more while the second waits; the second's answer
-- when the first has committed.
create function pg_temp.answer_after(first text, second text, more text default null) returns text language plpgsql as $$
declare
  v_pid integer;
  v_answer text;
begin
  perform dblink_exec('first', 'begin');
  perform * from dblink('first', first) as t(answer text);
  select pid into v_pid from dblink('second', 'select pg_backend_pid()') as t(pid integer);
  perform dblink_send_query('second', second);
  for n in 1 .. 500 loop
    exit when cardinality(pg_blocking_pids(v_pid)) > 0 or dblink_is_busy('second') = 0;
    perform pg_sleep(0.01);
  end loop;
  if more is not null then
    perform * from dblink('first', more) as t(answer text);
  end if;
  perform dblink_exec('first', 'commit');
  select answer into v_answer from dblink_get_result('second', false) as t(answer text);
  if v_answer is null then
    v_answer := dblink_error_message('second');
  end if;
  perform * from dblink_get_result('second') as t(answer text);
  return v_answer;
end;
$$;

create function pg_temp.adding(p_user uuid, p_amount integer, p_payment text) returns text language sql as $$
  select format($f$select concat_ws(' ', a.result, a.balance) from tally.apply_operations(array[%L]) a$f$,
    json_strip_nulls(json_build_object('op', 'add_credits', 'op_id', gen_random_uuid(), 'at', '2026-01-18T00:00:00.000000Z',
      'user_id', p_user, 'amount', p_amount, 'type', 'purchase', 'stripe_payment_id', p_payment))::text) $$;

create temp table w as
select gen_random_uuid() as ann, gen_random_uuid() as ben, gen_random_uuid() as device, gen_random_uuid() as lease,
       'pi_' || gen_random_uuid() as payment;
create temp table connections as select pg_temp.connected(name) as answer from unnest(array['first', 'second']) name;
create temp table users as
select dblink_exec('first', format('insert into auth.users (id, email) values (%1$L, %1$L), (%2$L, %2$L)', ann, ben)) from w;

select is(pg_temp.answer_after(pg_temp.adding(ann, 50, payment), pg_temp.adding(ben, 50, payment)),
          'payment_conflict 10', 'a payment that another user''s call uses is that user''s') from w;
select is(pg_temp.answer_after(pg_temp.adding(ann, 50, payment || 2), pg_temp.adding(ann, 50, payment || 2)),
          'ok 110', 'a payment that comes twice at once is credited once') from w;

-- Who is made twice at once is made once, and keeps the account.
create temp table made as
select pg_temp.answer_after(x.call, x.call) as answer, x.user_id from (
  select user_id, format($f$select concat_ws(' ', a.result, a.balance) from tally.apply_operations(array[%L]) a$f$,
    json_build_object('op', 'create_user', 'op_id', gen_random_uuid(), 'at', '2026-01-18T00:00:00.000000Z',
      'user_id', user_id)::text) as call
    from (select gen_random_uuid() as user_id) u) x;
select is(answer, 'ok 10', 'the same call again') from made;
create temp table made_twice as
select pg_temp.answer_after(format(x.call, gen_random_uuid()), format(x.call, gen_random_uuid())) as answer, user_id from (
  select user_id, format($f$select concat_ws(' ', a.result, a.balance) from tally.apply_operations(array[%L]) a$f$,
    json_build_object('op', 'create_user', 'op_id', '%1$s', 'at', '2026-01-18T00:00:00.000000Z',
      'user_id', user_id)::text) as call
    from (select gen_random_uuid() as user_id) u) x;
select is(answer || ', ' || a.balance, 'user_exists 10, 10', 'a user whom two calls make at once')
  from made_twice left join tally.accounts a using (user_id);

-- A lease, made as sync() does, whose owner entries are appended by.
create temp table device as
select dblink_exec('first', format($$
  insert into tally_sync.devices (device_id, created_at, name, token_sha256, capabilities)
  values (%1$L, now(), 'd', sha256(%1$L), '{author,worker}')$$, device)) from w;
create function pg_temp.leased(p_device uuid, p_user uuid, p_lease uuid, p_amount integer) returns text language plpgsql as $f$
declare
  v_answer text;
begin
  perform dblink_exec('first', 'set role tally_owner');
  select answer into v_answer from dblink('first', format($$
    select concat_ws(' ', v.result, v.balance)
      from tally_sync.decode(array[%1$L], array[%2$L::uuid], array['']) x
     cross join lateral unnest(tally_sync.judge(row(%3$L, '{author,worker}', clock_timestamp(), false, null)::tally.pusher,
                                                x.operations, x.inner_operations)) v$$,
    json_build_object('op', 'lease_credits', 'op_id', gen_random_uuid(), 'at', '2026-01-18T00:00:00.000000Z', 'lease_id', p_lease,
                      'user_id', p_user, 'amount', p_amount, 'ttl', 60), p_user, p_device)) as t(answer text);
  perform dblink_exec('first', 'reset role');
  return v_answer;
end;
$f$;
select is(pg_temp.leased(device, ann, lease, 7), 'ok 103', 'a lease is opened') from w;
select is(pg_temp.answer_after(pg_temp.adding(ann, 5, null), format('select tally_sync.write_off(%L)::text', lease)),
          '7', 'a lease is written off while credits come in') from w;
select is(string_agg(format('%s %s', type, amount), ', ' order by seq),
          'grant 10, purchase 50, purchase 50, reserve -7, purchase 5, refund 7', 'and each is there once')
  from public.credit_ledger, w where user_id = ann;

-- Every call locks the account before it writes anything: nobody waits for one that waits for him.
select is(pg_temp.leased(device, ann, ann, 4), 'ok 111', 'another lease is opened') from w;
select is(pg_temp.answer_after(format($$select 'locked' from tally.accounts where user_id = %L for update$$, ann),
                               format('select tally_sync.write_off(%L)::text', ann), pg_temp.adding(ann, 5, null)),
          '4', 'a lease is written off while a call has its user''s account') from w;

-- A plain writer fails a job, and what it held comes back behind what came in meanwhile.
create temp table made_job as
select dblink_exec('first', format($$
  insert into projects (id, user_id, title, prompt_text, niche_preset) values (%1$L, %1$L, 't', 'p', 'facts');
  insert into jobs (id, project_id, user_id) values (%1$L, %1$L, %1$L)$$, ben)) from w;
create temp table held as
select answer from w, dblink('first', format('select reserve_credits(%1$L, %1$L, 3)', ben)) as t(answer boolean);
select is(pg_temp.answer_after(pg_temp.adding(ben, 5, null),
                               format($$update jobs set status = 'FAILED' where id = %L returning status::text$$, ben)),
          'FAILED', 'a job fails while credits come in') from w;

\ir include/invariants.sql
select * from finish();
rollback;
