-- A canonical whose states can be compared, made of one that stands still (still.sql): what there is has one hash.
-- For tests/sync/explore_test.cpp only.

create schema explore;
grant usage on schema explore to public;

-- A device's calls are not counted: that is for a canonical that was restored from a backup, which is not
-- explored, and no state would be met twice.
do $$
declare
  f record;
begin
  for f in select pg_get_functiondef(p.oid) as text from pg_proc p
            where p.pronamespace = 'tally_sync'::regnamespace and p.prokind = 'f' and strpos(p.prosrc, 'd.calls + 1') > 0 loop
    execute replace(f.text, 'd.calls + 1', 'd.calls');
  end loop;
end;
$$;

-- All that what follows depends on. Which transaction did what, and defaults of the clock, do not count: what
-- depends on them is for devices over all users, which are not explored.
do $$
declare
  v_text text;
begin
  select string_agg(format('(select coalesce(jsonb_agg(x order by x), ''[]'') from (select to_jsonb(t) %s as x from %s t) y)',
                           v.without, v.name), ', ')
    into v_text
    from (values ('public.credit_ledger', ''), ('public.jobs', ''), ('public.job_steps', ''), ('tally.accounts', ''),
                 ('tally.job_state', ''), ('tally.applied_operations', ''), ('tally_sync.devices', ''),
                 ('tally_sync.revisions', '- ''xid'''), ('tally_sync.changes', '- ''at'''), ('tally_sync.verdicts', ''),
                 ('tally_sync.leases', ''), ('still.world', '')) v(name, without);
  execute format('create function explore.hash() returns text language plpgsql as $f$ begin'
                 ' return encode(sha256(convert_to(jsonb_build_array(%s)::text, ''UTF8'')), ''hex''); end; $f$', v_text);
end;
$$;

-- What must hold in every state, beside what audit finds.
create function explore.wrong() returns setof text language plpgsql stable
as $$
begin
  return query
  select a.explanation from tally.audit() a
  union all
  select 'I2: the balance is ' || a.balance from tally.accounts a where a.balance < 0
  union all
  select format('I1: of %s credits that came in, %s are accounted for', x.came, x.balance + x.holds + x.leased + x.used)
    from (select sum(l.amount) filter (where l.type in ('purchase', 'grant', 'subscription', 'expire')) as came,
                 coalesce(-sum(l.amount) filter (where l.type = 'usage'), 0) as used,
                 (select sum(a.balance) from tally.accounts a) as balance,
                 (select coalesce(sum(s.hold), 0) from tally.job_state s) as holds,
                 (select coalesce(sum(l.unspent), 0) from tally_sync.leases l) as leased
            from public.credit_ledger l) x
   where x.came <> x.balance + x.holds + x.leased + x.used
  union all
  select format('I6: %s reservations by %s operations, %s settlements by %s', x.reserved, x.reserving, x.settled, x.settling)
    from (select (select count(*) from public.credit_ledger l where l.type = 'reserve' and l.amount < 0 and l.job_id is not null)
                   as reserved,
                 (select count(*) from tally.applied_operations o where o.operation in ('reserve_credits', 'retry_job')) as reserving,
                 (select count(*) from public.credit_ledger l where l.type = 'usage') as settled,
                 (select count(*) from tally.applied_operations o where o.operation = 'finalize_job_credits') as settling) x
   where x.reserved <> x.reserving or x.settled <> x.settling
  union all
  select format('lease %s gave out more than it had, or kept some when it ended', l.lease_id)
    from tally_sync.leases l where l.unspent < 0 or (l.closed_at is not null and l.unspent > 0);
end;
$$;

-- A call's transaction is over: what comes next is another one.
create function explore.end_of_transaction() returns void language sql
as $$
  update tally_sync.revisions set xid = '3'
$$;

-- What a test asks of a state: what is wrong with it, how far each device has come, the open leases and whose they
-- are, each job's latest reservation, and which operations were applied.
create function explore.state(out wrong text[], out watermarks text[], out leases text[], out reservations text[],
                              out applied text[])
language plpgsql
as $$
begin
  wrong := array(select explore.wrong());
  watermarks := array(select d.device_id || ' ' || d.watermark from tally_sync.devices d);
  leases := array(select l.lease_id || ' ' || l.device_id || ' ' || l.unspent from tally_sync.leases l where l.closed_at is null);
  reservations := array(select s.job_id || ' ' || coalesce(s.reservation, tally.no_user()) from tally.job_state s);
  applied := array(select o.op_id::text from tally.applied_operations o);
end;
$$;

-- The user's rows of every table that is fed.
create function explore.rows(p_user uuid) returns table (table_name text, fields text[]) language sql
as $$
  select t.name, r.* from unnest(array['profiles', 'credit_ledger', 'draft_prompts', 'projects', 'jobs', 'job_steps',
                                       'assets', 'voice_profiles']) t(name) cross join lateral tally.rows(t.name, p_user) r
$$;
