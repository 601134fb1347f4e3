begin;
\ir include/begin.sql
create extension dblink schema tap;
select plan(8 + 5);

-- A call that waits for another one sees what that did. Both are connections of their own, so that what they write
-- stays in this database: users that no other file knows.

create function pg_temp.connected(name text) returns text language sql as $$
  select dblink_connect(name, format('dbname=%s host=%s port=%s', current_database(),
    split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'))) $$;

-- The first is in the midst of its transaction; the second's answer when the first has committed.
create function pg_temp.answer_after(first text, second text) returns text language plpgsql as $$
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

-- A lease of seven credits, made as sync() does, whose owner entries are appended by.
create temp table device as
select dblink_exec('first', format($$
  insert into tally_sync.devices (device_id, created_at, name, token_sha256, capabilities)
  values (%1$L, now(), 'd', sha256(%1$L), '{author,worker}');
  set role tally_owner$$, device)) from w;
select is(answer, 'ok 103', 'a lease is opened') from w, dblink('first', format($$
  select concat_ws(' ', v.result, v.balance)
    from tally_sync.decode(array[%1$L], array[%2$L::uuid], array['']) x
   cross join lateral unnest(tally_sync.judge(row(%3$L, '{author,worker}', clock_timestamp(), false, null)::tally.pusher,
                                              x.operations, x.inner_operations)) v$$,
  json_build_object('op', 'lease_credits', 'op_id', gen_random_uuid(), 'at', '2026-01-18T00:00:00.000000Z', 'lease_id', lease,
                    'user_id', ann, 'amount', 7, 'ttl', 60), ann, device)) as t(answer text);
create temp table done as select dblink_exec('first', 'reset role');
select is(pg_temp.answer_after(pg_temp.adding(ann, 5, null), format('select tally_sync.write_off(%L)::text', lease)),
          '7', 'a lease is written off while credits come in') from w;
select is(string_agg(format('%s %s', type, amount), ', ' order by seq),
          'grant 10, purchase 50, purchase 50, reserve -7, purchase 5, refund 7', 'and each is there once')
  from public.credit_ledger, w where user_id = ann;

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
