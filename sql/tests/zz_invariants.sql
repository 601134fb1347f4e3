-- After the other files: what must hold whatever they did.

select case when count(*) = 0 then 'ok' else 'not ok' end || ' - I1, I2: balance is the sum of the entries, and not below zero'
  from tally.accounts a
 where a.balance < 0 or a.balance <> (select coalesce(sum(l.amount), 0) from public.credit_ledger l where l.user_id = a.user_id)
    or a.seq <> (select count(*) from public.credit_ledger l where l.user_id = a.user_id);
select case when count(*) = 0 then 'ok' else 'not ok' end || ' - I4: entries are numbered 1, 2, 3 … and carry the running balance'
  from (select seq, balance_after, row_number() over w as n, sum(amount) over w as running
          from public.credit_ledger window w as (partition by user_id order by seq)) l
 where seq <> n or balance_after <> running;
select case when count(*) = 0 then 'ok' else 'not ok' end || ' - I5: READY and FAILED jobs have no hold'
  from public.jobs j join tally.job_state s on s.job_id = j.id where j.status in ('READY', 'FAILED') and s.hold <> 0;
select case when count(*) = 0 then 'ok' else 'not ok' end || ' - holds are what the entries say'
  from tally.job_state s
 where s.hold <> (select coalesce(-sum(l.amount), 0) from public.credit_ledger l
                   where l.job_id = s.job_id and l.type in ('reserve', 'refund')
                     and l.seq >= (select max(r.seq) from public.credit_ledger r
                                    where r.job_id = s.job_id and r.type = 'reserve' and r.amount < 0));
select case when count(*) = 0 then 'ok' else 'not ok' end || ' - an account''s held is the sum of its open holds'
  from tally.accounts a
 where a.held <> (select coalesce(sum(s.hold), 0) from tally.job_state s join public.jobs j on j.id = s.job_id
                   where j.user_id = a.user_id);
select case when count(*) = 0 then 'ok' else 'not ok' end || ' - every function of ours has a fixed search_path and is not public''s'
  from pg_proc p
 where p.pronamespace = 'tally'::regnamespace
   and (p.proconfig is null or not 'search_path=""' = any (p.proconfig) or has_function_privilege('anon', p.oid, 'execute'));
