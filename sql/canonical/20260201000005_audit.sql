-- Migration: 20260201000005_audit.sql
-- What the PRD's original functions minted or charged twice: found, explained, and corrected by new
-- entries. Re-runnable.
--
-- What they did, with R reserved and F the final cost: finalize deleted the reservation and then gave
-- R − F back all the same; release deleted it and gave R back; a second reservation was deleted with the
-- first; a second finalize charged again; a negative amount put credits in. A reservation that was
-- deleted leaves no trace, so what is right for a job is: what it was charged, once, and what it then
-- still held. Anything else that its entries came to is the difference; the integrity migration kept the
-- three (tally.old_jobs). Entries made since are right by construction, and are only checked.

set local lock_timeout = '10s';
set local search_path = pg_catalog;

-- For this transaction only, as in the integrity migration.
grant tally_owner to current_user;
grant usage, create on schema tally to tally_owner;

-- What has been posted about what, in all: it is not posted again, whatever becomes of the job.
create table if not exists tally.repairs (
  user_id uuid not null,
  subject text not null,
  posted  integer not null,
  at      timestamptz not null,
  primary key (user_id, subject)
);
alter table tally.repairs owner to tally_owner;
alter table tally.repairs enable row level security;
revoke all on tally.repairs from public, anon, authenticated, service_role;

do $$
begin
  if to_regtype('tally.finding') is null then
    -- expected and actual are what the entries in question should come to and do; posted is what
    -- corrections have come to. What is missing from expected is to be posted, where it repairs.
    create type tally.finding as (
      user_id uuid, subject text, job_id uuid, kind text, expected bigint, actual bigint, posted bigint,
      repairs boolean, explanation text
    );
    create type tally.correction as (user_id uuid, subject text, job_id uuid, type text, amount integer, note text);
  end if;
end;
$$;

-- Jobs whose entries from before the migration came to something else than one charge and the hold that
-- was open, whether or not the job is still there.
create or replace function tally.audit_jobs(p_user uuid)
returns setof tally.finding
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select o.user_id, 'job:' || o.job_id, o.job_id,
         case when o.actual + r.posted > o.charge - o.hold then 'given_twice' else 'charged_twice' end,
         o.charge - o.hold, o.actual, r.posted, true,
         format('Job %s: its old entries come to %s credits; right is %s (charged once %s, then still held %s), so %s were %s.%s',
                o.job_id, o.actual, o.charge - o.hold, -o.charge, o.hold, abs(o.actual - o.charge + o.hold),
                case when o.actual > o.charge - o.hold
                     then 'given twice: a refund for a reservation that was deleted as well, or a negative amount'
                     else 'taken twice: settled again, or reserved again while a reservation was open' end,
                case when r.posted <> 0 then format(' Corrected so far: %s.', r.posted) else '' end)
    from tally.old_jobs o
   cross join lateral (
     select coalesce((select p.posted from tally.repairs p
                       where p.user_id = o.user_id and p.subject = 'job:' || o.job_id), 0)::bigint as posted) r
   where o.actual + r.posted <> o.charge - o.hold and (p_user is null or o.user_id = p_user);
end;
$$;

-- Payments from before the migration that were credited more than once, less what was taken back in
-- their name.
create or replace function tally.audit_payments(p_user uuid)
returns setof tally.finding
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  with
  payment as (
    select l.user_id, l.stripe_payment_id, 'payment:' || l.stripe_payment_id as subject, min(l.type) filter (where l.amount > 0) as type,
           max(l.amount)::bigint as once, count(*) filter (where l.amount > 0) as times, sum(l.amount) as actual
      from public.credit_ledger l
      join tally.accounts a on a.user_id = l.user_id and l.seq <= a.old_seq
     where l.stripe_payment_id <> '' and (p_user is null or l.user_id = p_user)
     group by l.user_id, l.stripe_payment_id
    having count(distinct (l.type, l.amount)) filter (where l.amount > 0) = 1
  )
  select p.user_id, p.subject, null::uuid, 'paid_twice', p.once, p.actual, r.posted, true,
         format('Payment %s: %s credits (%s) were added %s times.%s', p.stripe_payment_id, p.once, p.type, p.times,
                case when r.posted <> 0 then format(' Corrected so far: %s.', r.posted) else '' end)
    from payment p
   cross join lateral (
     select coalesce((select x.posted from tally.repairs x
                       where x.user_id = p.user_id and x.subject = p.subject), 0)::bigint as posted) r
   where p.times > 1 and p.actual + r.posted > p.once
  union all
  select u.user_id, 'payment:' || u.stripe_payment_id, null, 'payment_reused', 0, 0, 0, false,
         format('Payment %s was used for other users, amounts or types as well; which of them is right, its provider knows.',
                u.stripe_payment_id)
    from (select distinct l.user_id, l.stripe_payment_id from public.credit_ledger l
           where l.stripe_payment_id <> '' and l.amount > 0 and l.user_id is not null
             and (p_user is null or l.user_id = p_user)) u
   where exists (
     select from public.credit_ledger x, public.credit_ledger y
      where x.stripe_payment_id = u.stripe_payment_id and y.stripe_payment_id = u.stripe_payment_id
        and x.amount > 0 and y.amount > 0
        and x.id < y.id and (x.user_id, x.type, x.amount) is distinct from (y.user_id, y.type, y.amount));
end;
$$;

-- Holds and entries that old data left where no operation finds them.
create or replace function tally.audit_leftovers(p_user uuid)
returns setof tally.finding
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select s.user_id, 'hold:' || s.job_id, s.job_id,
         case when j.status = 'FAILED' then 'hold_left' else 'unsettled' end,
         case when j.status = 'FAILED' then s.hold::bigint else 0 end, 0::bigint, 0::bigint, j.status = 'FAILED',
         case when j.status = 'FAILED'
              then format('Job %s is FAILED and still holds %s credits: they are to be released.', s.job_id, s.hold)
              else format('Job %s is READY and still holds %s credits: settle it with finalize_job_credits(job, cost), or release it.',
                          s.job_id, s.hold) end
    from tally.job_state s join public.jobs j on j.user_id = s.user_id and j.id = s.job_id
   where s.hold > 0 and j.status in ('READY', 'FAILED') and (p_user is null or s.user_id = p_user)
  union all
  select null, 'entry:' || l.id, l.job_id, 'no_user', 0, 0, 0, false,
         format('Entry %s (%s %s) has no user, so it is in no account.', l.id, l.type, l.amount)
    from public.credit_ledger l where l.user_id is null and p_user is null
  union all
  select l.user_id, 'entry:' || l.id, l.job_id, 'foreign_job', 0, 0, 0, false,
         format('Entry %s (%s %s) names job %s, which is user %s''s.', l.id, l.type, l.amount, l.job_id, j.user_id)
    from public.credit_ledger l join public.jobs j on j.id = l.job_id
   where l.user_id is not null and j.user_id <> l.user_id and (p_user is null or l.user_id = p_user)
  union all
  select l.user_id, 'entry:' || l.id, null, 'no_job', 0, 0, 0, false,
         format(case when l.type = 'reserve'
                     then 'Entry %s reserved %s credits for no job, or for one that was deleted; nothing will settle or release them.'
                     else 'Entry %s gave %s credits back for a job that was deleted; whether they were given twice, nobody can tell.' end,
                l.id, abs(l.amount::bigint))
    from tally.old_strays o join public.credit_ledger l on l.id = o.entry_id
   where p_user is null or o.user_id = p_user
  union all
  select a.user_id, 'account', null, 'below_zero', 0, a.balance, 0, false,
         format('The balance is %s: old reservations at the same time overdrew it. It may rise, and is not spent from.', a.balance)
    from tally.accounts a where a.balance < 0 and (p_user is null or a.user_id = p_user);
end;
$$;

-- The invariants, computed anew. None of these is repaired: it should be impossible.
create or replace function tally.audit_invariants(p_user uuid)
returns setof tally.finding
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  with
  entry as (
    select l.user_id, l.seq, l.balance_after, row_number() over account as place, sum(l.amount) over account as running
      from public.credit_ledger l
     where l.user_id is not null and (p_user is null or l.user_id = p_user)
    window account as (partition by l.user_id order by l.seq)
  ),
  account as (
    select e.user_id, count(*) as entries, max(e.running) filter (where e.place = e.seq) as any_running,
           min(e.place) filter (where e.seq is distinct from e.place or e.balance_after is distinct from e.running) as wrong_at,
           (array_agg(e.running order by e.place desc))[1] as balance
      from entry e group by e.user_id
  )
  select a.user_id, 'account', null::uuid, 'invariant', coalesce(e.balance, 0)::bigint, a.balance::bigint, 0::bigint, false,
         format('I1, I4: the account says balance %s after %s entries; its entries say %s after %s%s.', a.balance, a.seq,
                coalesce(e.balance, 0), coalesce(e.entries, 0), coalesce(', and the first wrong one is number ' || e.wrong_at, ''))
    from tally.accounts a left join account e on e.user_id = a.user_id
   where (p_user is null or a.user_id = p_user)
     and (a.balance <> coalesce(e.balance, 0) or a.seq <> coalesce(e.entries, 0) or e.wrong_at is not null)
  union all
  select s.user_id, 'hold:' || s.job_id, s.job_id, 'invariant', x.hold, s.hold, 0, false,
         format('I5: job %s holds %s credits; its entries say %s.', s.job_id, s.hold, x.hold)
    from tally.job_state s
   cross join lateral (
     select greatest(coalesce(-sum(l.amount), 0), 0)::bigint as hold from public.credit_ledger l
      where l.job_id = s.job_id and l.user_id = s.user_id and l.type in ('reserve', 'refund')
        and l.seq >= (select max(r.seq) from public.credit_ledger r
                       where r.job_id = s.job_id and r.user_id = s.user_id and r.type = 'reserve' and r.amount < 0)) x
   where s.hold <> x.hold and (p_user is null or s.user_id = p_user)
  union all
  select a.user_id, 'account', null, 'invariant', coalesce(h.held, 0)::bigint, a.held, 0, false,
         format('The account says that holds and leases come to %s; they come to %s.', a.held, coalesce(h.held, 0))
    from tally.accounts a
    left join (select x.user_id, sum(x.held) as held
                 from (select s.user_id, s.hold::bigint as held from tally.job_state s
                       union all
                       select l.user_id, l.unspent from tally_sync.leases l where l.closed_at is null) x
                group by x.user_id) h on h.user_id = a.user_id
   where a.held <> coalesce(h.held, 0) and (p_user is null or a.user_id = p_user);
end;
$$;

-- Everything that is wrong, for one user or (null) for all.
create or replace function tally.audit(p_user uuid default null)
returns setof tally.finding
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  return query
  select f.* from (
    select * from tally.audit_jobs(p_user)
    union all
    select * from tally.audit_payments(p_user)
    union all
    select * from tally.audit_leftovers(p_user)
    union all
    select * from tally.audit_invariants(p_user)) f
   order by f.user_id nulls first, f.kind, f.subject;
end;
$$;

-- Posts what is missing for one user, and answers with what it posted. Credits that were given twice are
-- taken back as far as the balance goes; the rest stays a finding, and is taken when there is more.
create or replace function tally.repair(p_user uuid)
returns setof tally.correction
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  a tally.accounts;
  f tally.finding;
  v_amount integer;
  v tally.correction;
begin
  -- Jobs before accounts, as everywhere: a hold that is released is a job's.
  perform tally.lock_jobs(array(select s.job_id from tally.job_state s where s.user_id = p_user and s.hold > 0));
  perform tally.lock_accounts(array[p_user]);
  if not exists (select from tally.accounts t where t.user_id = p_user) then
    perform tally.refuse('user_not_found');
  end if;

  for f in
    -- What is given comes before what is taken.
    select * from tally.audit(p_user) x where x.repairs order by x.expected - x.actual - x.posted desc, x.subject
  loop
    select * into strict a from tally.accounts t where t.user_id = p_user;
    v_amount := least(greatest(f.expected - f.actual - f.posted, -2147483647), 2147483647)::integer;
    v := row(p_user, f.subject, f.job_id, null::text, v_amount, null::text)::tally.correction;
    if f.kind = 'hold_left' then
      v.type := 'refund';
      v.note := 'Job failed - credits released';
      continue when a.balance + v_amount > 2147483647;
      perform tally.append_entries(p_user, gen_random_uuid(), now(), f.job_id, array[v.type], array[v_amount], array[v.note],
                                   (-v_amount)::bigint);
      update tally.job_state s set hold = 0 where s.user_id = p_user and s.job_id = f.job_id;
      perform tally_sync.note('jobs', array[p_user], array[f.job_id], false);
      return next v;
      continue;
    elsif v_amount > 0 then
      v.type := 'grant';
      continue when a.balance + a.held + v_amount > 2147483647;
    else
      v.type := 'expire';
      v.amount := -least(-v_amount, greatest(a.balance, 0));
      continue when v.amount = 0;
    end if;
    v.note := format('Correction for %s', replace(replace(f.subject, 'job:', 'job '), 'payment:', 'payment '));
    perform tally.append_entries(p_user, gen_random_uuid(), now(), null::uuid, array[v.type], array[v.amount], array[v.note]);
    insert into tally.repairs as r (user_id, subject, posted, at)
    values (p_user, f.subject, v.amount, now())
    on conflict (user_id, subject) do update set posted = r.posted + excluded.posted, at = excluded.at;
    return next v;
  end loop;
end;
$$;

do $$
declare
  f text;
begin
  foreach f in array array['audit_jobs', 'audit_payments', 'audit_leftovers', 'audit_invariants', 'audit', 'repair'] loop
    execute format('alter function tally.%I(uuid) owner to tally_owner', f);
    execute format('revoke all on function tally.%I(uuid) from public, anon, authenticated, service_role', f);
  end loop;
end;
$$;
grant execute on function tally.audit(uuid), tally.repair(uuid) to current_user, service_role;

revoke create on schema tally from tally_owner;
revoke tally_owner from current_user;
