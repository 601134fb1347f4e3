-- What must hold whatever a file did. Five tests.

select is_empty($$
  select a.user_id from tally.accounts a
   where a.balance < 0 or a.balance <> (select coalesce(sum(l.amount), 0) from public.credit_ledger l where l.user_id = a.user_id)
      or a.seq <> (select count(*) from public.credit_ledger l where l.user_id = a.user_id) $$,
  'I1, I2: balance is the sum of the entries, and not below zero');
select is_empty($$
  select * from (select user_id, seq, balance_after, row_number() over w as n, sum(amount) over w as running
                   from public.credit_ledger window w as (partition by user_id order by seq)) l
   where seq <> n or balance_after <> running $$,
  'I4: entries are numbered 1, 2, 3 … and carry the running balance');
select is_empty($$
  select j.id from public.jobs j join tally.job_state s on s.job_id = j.id
   where j.status in ('READY', 'FAILED') and s.hold <> 0 $$,
  'I5: READY and FAILED jobs have no hold');
select is_empty($$
  select s.job_id from tally.job_state s
   where s.hold <> (select coalesce(-sum(l.amount), 0) from public.credit_ledger l
                     where l.job_id = s.job_id and l.type in ('reserve', 'refund')
                       and l.seq >= (select max(r.seq) from public.credit_ledger r
                                      where r.job_id = s.job_id and r.type = 'reserve' and r.amount < 0)) $$,
  'holds are what the entries say');
select is_empty($$
  select a.user_id from tally.accounts a
   where a.held <> (select coalesce(sum(s.hold), 0) from tally.job_state s where s.user_id = a.user_id)
                 + (select coalesce(sum(l.unspent), 0) from tally_sync.leases l where l.user_id = a.user_id and l.closed_at is null) $$,
  'an account''s held is the sum of its open holds and leases');
