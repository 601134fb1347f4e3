-- The mirror, version 2: what a mirror that is enrolled as a device at a canonical keeps beside its rows.

-- The link to canonical: who this mirror is there, and how far both have come. acked: the last operation
-- whose verdict is here, with the hash of the chain up to it; sent: the last that may have reached it. The
-- device counts its operations from base on.
-- capabilities: author 1, worker 2, service 4. scope: the one user it is for, or all.
create table tally_link (
  link integer primary key check (link = 1),
  device_id blob not null check (length(device_id) = 16),
  scope blob check (length(scope) = 16),
  capabilities integer not null,
  base integer not null,
  acked integer not null,
  chain blob not null,
  sent integer not null,
  cursor text,
  synced_at integer,     -- When canonical last answered.
  attempts integer not null,  -- Failed ones since.
  error_class text,
  error text,
  next_attempt_at integer
) strict;

-- The greatest key of a user whose making canonical rejected: what is pending may still name it, so it is
-- nobody else's ever.
insert into tally_meta values ('user_floor', 0);

-- Pending operations that were applied again on canonical's rows: these records stand for those of the
-- outbox under the same number. code: 0, or what such an operation, which has no effect here, met.
create table tally_rebased (
  n integer primary key,
  code integer not null,
  body blob not null
) strict;

-- What canonical has fed of a user whose rows are too many for one answer, until the last of it is there:
-- then all of it is taken at once.
create table tally_page (
  page integer primary key,
  user_id blob not null check (length(user_id) = 16),
  body blob not null
) strict;

-- The users that a device over all users is fed; all, where tally_meta's 'subscribes' is 0.
create table tally_subscription (
  user_id blob primary key check (length(user_id) = 16)
) strict, without rowid;
insert into tally_meta values ('subscribes', 0);

-- What canonical rejected, until the host dismisses or retries it.
create table tally_rejected (
  n integer primary key,
  u integer not null,
  code integer not null,
  place integer,  -- Of a batch: which of its operations.
  command blob not null,
  rejected_at integer not null
) strict;

-- The device's open lease for a user, as canonical last showed it, less what pending operations drew.
create table tally_lease (
  u integer primary key references tally_user deferrable initially deferred,
  id blob not null check (length(id) = 16),
  unspent integer not null,
  expires_at integer not null,
  closing integer not null
) strict;

-- What only some jobs have: the lease that the hold was drawn on, a claim of another device, fewer steps
-- than eight (a bit each).
create table tally_job_link (
  j integer primary key references tally_job deferrable initially deferred,
  lease blob,
  claimed_elsewhere integer not null,
  steps integer not null
) strict;

insert into tally_entry_kind values
  (12, 'usage', 0, null),
  (13, 'reserve', 0, null),
  (14, 'refund', 0, 'Drawn from lease'),
  (15, 'reserve', 1, 'Reserved for job'),
  (16, 'reserve', 1, 'Reservation converted to usage'),
  (17, 'usage', 2, 'Video generation'),
  (18, 'reserve', 1, 'Back to lease'),
  (19, 'reserve', 3, 'Back to lease');

drop view job_steps;
create view job_steps (id, job_id, step_name, step_order, state, progress_pct, status_message, error_message, logs_url, artifacts_json, started_at, finished_at) as
select
  case when s.id is not null then
    substr(lower(hex(s.id)), 1, 8) || '-' || substr(lower(hex(s.id)), 9, 4) || '-' || substr(lower(hex(s.id)), 13, 4) || '-' || substr(lower(hex(s.id)), 17, 4) || '-' || substr(lower(hex(s.id)), 21)
  else substr(y.id, 1, 14) || '8' || n.step_order || substr(y.id, 17) end,
  y.id, n.step_name, n.step_order,
  case coalesce(s.state, 0) when 0 then 'pending' when 1 then 'started' when 2 then 'succeeded' else 'failed' end,
  coalesce(s.progress_pct, 0), s.status_message, s.error_message, s.logs_url,
  case when s.k is null then '{}' else s.artifacts_json end,
  strftime('%Y-%m-%dT%H:%M:%S', (s.started_at - (s.started_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (s.started_at % 1000000 + 1000000) % 1000000), strftime('%Y-%m-%dT%H:%M:%S', (s.finished_at - (s.finished_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (s.finished_at % 1000000 + 1000000) % 1000000)
from tally_job w
join tally_step_name n
join tally_job_id_text y on y.j = w.j
left join tally_job_link l on l.j = w.j
left join tally_step s on s.k = w.j * 8 + n.step_order - 1
where (coalesce(l.steps, 255) >> (n.step_order - 1)) & 1;
