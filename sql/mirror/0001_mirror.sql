-- The mirror, version 1. Dense integer keys beneath, the PRD's tables as views above.
--
-- Keys: u user, d draft, p project, v voice profile, j job, a asset, o operation, e entry. They are
-- this file's own and mean nothing outside it. Times are microseconds since 1970-01-01, UTC. Ids
-- are the 16 bytes of the UUID; those of operations and jobs are kept 'folded', byte 6 (version
-- and the digit after it) moved to the end, so that ids whose derived ids would clash stand side by
-- side in the index. An operation's number o is the number e of its first entry; one without
-- entries takes a number all the same.

create table tally_meta (
  name text primary key,
  value any
) strict, without rowid;
-- epoch: grows when rows were rewritten rather than appended, and memory of them must go.
insert into tally_meta values ('epoch', 0);

create table tally_user (
  u integer primary key,
  id blob not null unique check (length(id) = 16),
  email text unique,
  raw_user_meta_data text
) strict;

create table tally_profile (
  u integer primary key references tally_user deferrable initially deferred,
  display_name text,
  avatar_url text,
  created_at integer,
  notification_prefs text,
  stripe_customer_id text,
  updated_at integer
) strict;

-- The account: what a balance check needs, so that it never reads history. `head` is the user's
-- last entry, `seq` its number; `held` the sum of open holds; `pending` counts the operations not
-- yet confirmed by canonical.
create table tally_account (
  u integer primary key references tally_user deferrable initially deferred,
  balance integer not null check (balance between -2147483648 and 2147483647),
  held integer not null check (held between 0 and 2147483647),
  seq integer not null,
  head integer not null,
  pending integer not null
) strict;

create table tally_operation (
  o integer primary key,
  id blob not null check (length(id) = 16),
  u integer not null,  -- 0: of no user.
  kind integer not null,
  at integer not null,
  fingerprint integer not null,
  result blob
) strict;
create unique index tally_operation_id on tally_operation (id, u);

-- What the kinds of entries mean: the words that every entry of a kind shares.
create table tally_entry_kind (
  kind integer primary key,
  type text not null check (type in ('purchase', 'usage', 'refund', 'grant', 'expire', 'reserve', 'subscription')),
  ordinal integer not null,  -- The entry's number in its operation.
  note text
) strict;
insert into tally_entry_kind values
  (1, 'grant', 0, 'Welcome bonus: 10 trial credits'),
  (2, 'purchase', 0, null),
  (3, 'grant', 0, null),
  (4, 'subscription', 0, null),
  (5, 'refund', 0, null),
  (6, 'expire', 0, null),
  (7, 'reserve', 0, 'Reserved for job'),
  (8, 'reserve', 0, 'Reservation converted to usage'),
  (9, 'usage', 1, 'Video generation'),
  (10, 'refund', 2, 'Unused credits refund'),
  (11, 'refund', 0, 'Job failed - credits released');

-- Entries form one chain a user: `prev` is the distance to the user's entry before, 0 at the first.
-- There is no index by user or job: paging back follows the chain, and an index would cost every
-- writer. Whose job was deleted shows none, since its number is never used again.
create table tally_entry (
  e integer primary key,
  u integer not null,
  seq integer not null,
  prev integer not null,
  j integer,
  kind integer not null,
  amount integer not null,
  balance_after integer not null
) strict;

-- What only some entries have: a note or payment of their own, or an id that could not be derived.
create table tally_entry_text (
  e integer primary key,
  id blob unique check (length(id) = 16),
  created_at integer,
  note text,
  stripe_payment_id text
) strict;

create table tally_payment (
  k integer primary key,
  stripe_payment_id text not null unique,
  kind integer not null,
  u integer not null,
  amount integer not null,
  type text not null
) strict;

create table tally_draft (
  d integer primary key,
  id blob not null unique check (length(id) = 16),
  session_token text not null,
  u integer references tally_user deferrable initially deferred,
  prompt_text text not null,
  template_id text,
  options text,
  created_at integer,
  updated_at integer,
  expires_at integer
) strict;
create index tally_draft_session on tally_draft (session_token) where u is null;
create index tally_draft_expires on tally_draft (expires_at) where u is null;

create table tally_voice_profile (
  v integer primary key,
  id blob not null unique check (length(id) = 16),
  u integer not null references tally_user deferrable initially deferred,
  name text not null,
  audio_path text not null,
  provider text,
  voice_id text,
  settings text,
  created_at integer
) strict;

create table tally_project (
  p integer primary key,
  id blob not null unique check (length(id) = 16),
  u integer not null references tally_user deferrable initially deferred,
  title text not null,
  prompt_text text not null,
  niche_preset text not null
    check (niche_preset in ('motivation', 'explainer', 'facts', 'history', 'finance', 'science')),
  target_minutes integer not null check (target_minutes between 1 and 10),
  v integer references tally_voice_profile deferrable initially deferred,
  transcript_mode text check (transcript_mode in ('auto', 'manual')),
  transcript_text text,
  settings text,
  created_at integer,
  updated_at integer
) strict;
create index tally_project_voice on tally_project (v) where v is not null;

-- `status` counts from PENDING 0 to FAILED 11. `hold` is the open hold, 0 without one; `reservation`
-- the op_id that opened the latest. `steps_pct` is the sum of the steps' percentages. `active_at` is
-- the latest of the job's operations and of the end of its last claim.
create table tally_job (
  j integer primary key,
  id blob not null unique check (length(id) = 16),
  u integer not null references tally_user deferrable initially deferred,
  p integer not null references tally_project deferrable initially deferred,
  created_at integer,
  status integer not null check (status between 0 and 11),
  progress integer check (progress between 0 and 100),
  steps_pct integer not null,
  hold integer not null check (hold between 0 and 2147483647),
  cost_credits_reserved integer,
  cost_credits_final integer,
  reservation blob,
  started_at integer,
  finished_at integer,
  claim_until integer,
  active_at integer not null
) strict;
create index tally_job_project on tally_job (p);
create index tally_job_hold on tally_job (u) where hold > 0;
create index tally_job_working on tally_job (status) where status between 1 and 9;

create table tally_job_text (
  j integer primary key references tally_job deferrable initially deferred,
  status_message text,
  failed_step text,
  error_code text,
  error_message text,
  output_url text,
  manifest_json text
) strict;

-- A step that is as it was made has no row; key k is 8 j + order - 1.
create table tally_step (
  k integer primary key,
  id blob check (length(id) = 16),
  state integer not null check (state between 0 and 3),
  progress_pct integer check (progress_pct between 0 and 100),
  status_message text,
  error_message text,
  logs_url text,
  artifacts_json text,
  started_at integer,
  finished_at integer
) strict;

create table tally_step_name (
  step_order integer primary key,
  step_name text not null
) strict;
insert into tally_step_name values
  (1, 'SCRIPTING'), (2, 'VOICE_GEN'), (3, 'ALIGNMENT'), (4, 'VISUAL_PLAN'),
  (5, 'IMAGE_GEN'), (6, 'TIMELINE'), (7, 'RENDERING'), (8, 'PACKAGING');

create table tally_asset (
  a integer primary key,
  id blob not null unique check (length(id) = 16),
  j integer not null references tally_job deferrable initially deferred,
  type text not null
    check (type in ('video', 'audio', 'image', 'captions', 'manifest', 'zip', 'thumbnail')),
  url text not null,
  storage_path text not null,
  size_bytes integer,
  mime_type text,
  metadata_json text,
  created_at integer
) strict;
create index tally_asset_job on tally_asset (j);

-- The outbox: one segment a commit, holding the operations to be pushed, in order, each with what
-- undoes it. `n` is the number of the segment's first operation, counted from 1 without gaps.
create table tally_outbox (
  n integer primary key,
  operations integer not null,
  body blob not null
) strict;

-- Numbers given out before and never again: the greatest job number ever deleted.
insert into tally_meta values ('job_floor', 0);

-- ---- the PRD's tables, as canonical shows them -------------------------------------------------

create view users (id, email, raw_user_meta_data) as
select substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21),
  email, raw_user_meta_data
from (select *, lower(hex(id)) as h from tally_user);

create view tally_user_id_text (u, id) as
select u, substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21)
from (select u, lower(hex(id)) as h from tally_user);

create view tally_job_id_text (j, id) as
select j, substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 31, 2) || substr(h, 13, 2) || '-' || substr(h, 15, 4) || '-' || substr(h, 19, 12)
from (select j, lower(hex(id)) as h from tally_job);

create view tally_project_id_text (p, id) as
select p, substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21)
from (select p, lower(hex(id)) as h from tally_project);

create view profiles (id, display_name, avatar_url, created_at, notification_prefs, stripe_customer_id, updated_at) as
select x.id, f.display_name, f.avatar_url, strftime('%Y-%m-%dT%H:%M:%S', (f.created_at - (f.created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (f.created_at % 1000000 + 1000000) % 1000000), f.notification_prefs, f.stripe_customer_id, strftime('%Y-%m-%dT%H:%M:%S', (f.updated_at - (f.updated_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (f.updated_at % 1000000 + 1000000) % 1000000)
from tally_profile f join tally_user_id_text x on x.u = f.u;

create view credit_ledger (id, user_id, type, amount, note, created_at, job_id, stripe_payment_id, balance_after, seq) as
select
  case when length(h) = 32 and stored then
    substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21)
  else
    substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-8' || ordinal || substr(h, 13, 2) || '-' || substr(h, 15, 4) || '-' || substr(h, 19, 12)
  end,
  user_id, type, amount, note, strftime('%Y-%m-%dT%H:%M:%S', (created_us - (created_us % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (created_us % 1000000 + 1000000) % 1000000), job_id, stripe_payment_id, balance_after, seq
from (
  select
    lower(hex(coalesce(t.id, o.id))) as h, t.id is not null as stored, k.ordinal as ordinal,
    x.id as user_id, k.type as type, n.amount as amount, coalesce(t.note, k.note) as note,
    coalesce(t.created_at, o.at) as created_us, y.id as job_id,
    t.stripe_payment_id as stripe_payment_id, n.balance_after as balance_after, n.seq as seq
  from tally_entry n
  join tally_entry_kind k on k.kind = n.kind
  join tally_user_id_text x on x.u = n.u
  left join tally_operation o on o.o = n.e - k.ordinal
  left join tally_entry_text t on t.e = n.e
  left join tally_job_id_text y on y.j = n.j
);

create view draft_prompts (id, session_token, user_id, prompt_text, template_id, options, created_at, updated_at, expires_at) as
select substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21),
  session_token, user_id, prompt_text, template_id, options, strftime('%Y-%m-%dT%H:%M:%S', (created_at - (created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (created_at % 1000000 + 1000000) % 1000000), strftime('%Y-%m-%dT%H:%M:%S', (updated_at - (updated_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (updated_at % 1000000 + 1000000) % 1000000), strftime('%Y-%m-%dT%H:%M:%S', (expires_at - (expires_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (expires_at % 1000000 + 1000000) % 1000000)
from (select d.*, lower(hex(d.id)) as h, x.id as user_id from tally_draft d left join tally_user_id_text x on x.u = d.u);

create view projects (id, user_id, title, prompt_text, niche_preset, target_minutes, voice_profile_id, transcript_mode, transcript_text, settings, created_at, updated_at) as
select y.id, x.id, q.title, q.prompt_text, q.niche_preset, q.target_minutes,
  (select w.id from tally_voice_profile_id_text w where w.v = q.v),
  q.transcript_mode, q.transcript_text, q.settings, strftime('%Y-%m-%dT%H:%M:%S', (q.created_at - (q.created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (q.created_at % 1000000 + 1000000) % 1000000), strftime('%Y-%m-%dT%H:%M:%S', (q.updated_at - (q.updated_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (q.updated_at % 1000000 + 1000000) % 1000000)
from tally_project q join tally_user_id_text x on x.u = q.u join tally_project_id_text y on y.p = q.p;

create view tally_voice_profile_id_text (v, id) as
select v, substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21)
from (select v, lower(hex(id)) as h from tally_voice_profile);

create view voice_profiles (id, user_id, name, audio_path, provider, voice_id, settings, created_at) as
select y.id, x.id, w.name, w.audio_path, w.provider, w.voice_id, w.settings, strftime('%Y-%m-%dT%H:%M:%S', (w.created_at - (w.created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (w.created_at % 1000000 + 1000000) % 1000000)
from tally_voice_profile w join tally_user_id_text x on x.u = w.u join tally_voice_profile_id_text y on y.v = w.v;

create view jobs (id, project_id, user_id, status, progress, status_message, cost_credits_reserved, cost_credits_final, failed_step, error_code, error_message, output_url, manifest_json, created_at, started_at, finished_at) as
select y.id, q.id, x.id,
  case w.status when 0 then 'PENDING' when 1 then 'QUEUED' when 10 then 'READY' when 11 then 'FAILED'
    else (select step_name from tally_step_name where step_order = w.status - 1) end,
  w.progress, t.status_message, w.cost_credits_reserved, w.cost_credits_final, t.failed_step,
  t.error_code, t.error_message, t.output_url, t.manifest_json,
  strftime('%Y-%m-%dT%H:%M:%S', (w.created_at - (w.created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (w.created_at % 1000000 + 1000000) % 1000000), strftime('%Y-%m-%dT%H:%M:%S', (w.started_at - (w.started_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (w.started_at % 1000000 + 1000000) % 1000000), strftime('%Y-%m-%dT%H:%M:%S', (w.finished_at - (w.finished_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (w.finished_at % 1000000 + 1000000) % 1000000)
from tally_job w
join tally_job_id_text y on y.j = w.j
join tally_project_id_text q on q.p = w.p
join tally_user_id_text x on x.u = w.u
left join tally_job_text t on t.j = w.j;

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
left join tally_step s on s.k = w.j * 8 + n.step_order - 1;

create view assets (id, job_id, type, url, storage_path, size_bytes, mime_type, metadata_json, created_at) as
select substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-' || substr(h, 21),
  job_id, type, url, storage_path, size_bytes, mime_type, metadata_json, strftime('%Y-%m-%dT%H:%M:%S', (created_at - (created_at % 1000000 + 1000000) % 1000000) / 1000000, 'unixepoch') || printf('.%06dZ', (created_at % 1000000 + 1000000) % 1000000)
from (select s.*, lower(hex(s.id)) as h, y.id as job_id from tally_asset s join tally_job_id_text y on y.j = s.j);
