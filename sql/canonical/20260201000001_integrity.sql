-- Migration: 20260201000001_integrity.sql
-- I1 to I6 of the contract, held against every writer: an account row per user that is the lock
-- and the balance, entries that are numbered and never change, overdraft refused, holds known per
-- job, job moves checked. What the functions of the next file write is told apart by their owner,
-- the role tally_owner: it cannot log in and nobody is a member of it once a migration is done.
-- Re-runnable. Everything of ours is in the schema tally, which is not to be exposed.
--
-- Every function looks for names in pg_catalog, and pg_temp comes last because it is named last: left
-- out, it would come first for types, and a caller's own pg_temp.text, with a CHECK of the caller's,
-- would run with our rights.

set local lock_timeout = '10s';
set local search_path = pg_catalog;

-- The owner of our functions ------------------------------------------------------------------

do $$
begin
  if not exists (select from pg_roles where rolname = 'tally_owner') then
    create role tally_owner nologin noinherit;
  end if;
end;
$$;

-- For this transaction only (revoked at the end): without being a member, a migration role that is
-- no superuser (Supabase's postgres) cannot give an object away.
grant tally_owner to current_user;

create schema if not exists tally;
revoke all on schema tally from public;
grant usage, create on schema tally to tally_owner;
grant usage, create on schema public to tally_owner;

-- The contract's tables, as rows --------------------------------------------------------------

create table if not exists tally.codes (
  number   integer primary key,
  name     text not null unique,
  class    text not null,
  sentence text not null
);

insert into tally.codes (number, name, class, sentence) values
  (0, 'ok', 'ok', 'The operation was applied, now or the first time it came.'),
  (1, 'not_permitted', 'refusal', 'The caller lacks the capability that the operation or one of its fields needs.'),
  (2, 'operation_conflict', 'refusal', 'This op_id was used before, for another operation or with other fields; make a new one.'),
  (3, 'invalid_argument', 'refusal', 'A field is missing, unknown, malformed, too long, or out of its range or list.'),
  (4, 'invalid_amount', 'refusal', 'An amount or cost is out of its range of whole credits.'),
  (5, 'invalid_type', 'refusal', 'The entry type is none of purchase, grant, subscription and refund.'),
  (10, 'user_not_found', 'refusal', 'No such user is known here.'),
  (11, 'draft_not_found', 'refusal', 'No such draft, or none of the session that can still be claimed.'),
  (12, 'project_not_found', 'refusal', 'No such project.'),
  (13, 'voice_profile_not_found', 'refusal', 'No such voice profile, or it is another user''s.'),
  (14, 'job_not_found', 'refusal', 'No such job.'),
  (15, 'step_not_found', 'refusal', 'The job has no step of that name.'),
  (16, 'lease_not_found', 'refusal', 'No such lease.'),
  (20, 'user_exists', 'refusal', 'The user exists already, or another user has this e-mail address.'),
  (21, 'already_exists', 'refusal', 'A row with this id exists already.'),
  (22, 'not_owner', 'refusal', 'The row belongs to another user.'),
  (23, 'already_claimed', 'refusal', 'The job has a live claim; its holder renews it, others wait for its end.'),
  (24, 'not_claim_holder', 'refusal', 'The job''s live claim is another device''s, or there is none to renew or drop.'),
  (25, 'stale_reservation', 'refusal', 'The operation means an earlier reservation of the job than its latest.'),
  (30, 'illegal_transition', 'refusal', 'The job''s status does not allow this.'),
  (31, 'draft_expired', 'refusal', 'The draft expired seven days after it was made.'),
  (32, 'already_reserved', 'refusal', 'The job has an open hold already.'),
  (33, 'already_finalized', 'refusal', 'The job''s credits were settled already.'),
  (34, 'no_reservation', 'refusal', 'The job has no open hold.'),
  (35, 'reservation_required', 'refusal', 'The job needs an open hold before it can be queued.'),
  (40, 'payment_conflict', 'refusal', 'This payment id was used for another user, amount or type.'),
  (41, 'insufficient_credits', 'refusal', 'The balance does not cover it.'),
  (42, 'balance_overflow', 'refusal', 'Balance, holds and leases together would pass 2,147,483,647 credits.'),
  (43, 'lease_reclaimed', 'refusal', 'The lease was ended before this came, and the balance does not cover it.'),
  (50, 'internal_error', 'refusal', 'Canonical met a database error while it applied this operation alone; it is kept, and nothing of it happened.'),
  (100, 'busy', 'failure', 'Another process kept the mirror locked past the busy timeout; try again.'),
  (101, 'io', 'failure', 'The disk answered with an error.'),
  (102, 'full', 'failure', 'The disk is full; free space and try again.'),
  (103, 'corrupt', 'failure', 'The mirror file is damaged or is no mirror.'),
  (104, 'read_only', 'failure', 'The mirror file or its folder cannot be written to.'),
  (105, 'not_found', 'failure', 'The file, or what was asked for by its id, does not exist.'),
  (106, 'schema_too_new', 'failure', 'A newer Tallystick wrote this; update this one.'),
  (107, 'sqlite_unsafe', 'failure', 'This SQLite can lose a committed transaction (before 3.51.3, 3.50.7, 3.44.6).'),
  (108, 'unreachable', 'failure', 'The server cannot be reached.'),
  (109, 'internal', 'failure', 'An invariant did not hold; nothing was written. Reopen the mirror and run an audit.'),
  (110, 'unauthorized', 'failure', 'Canonical does not know this token, or the device was revoked.'),
  (111, 'device_forked', 'failure', 'This mirror is a copy, or was restored: enrol it anew; what it has not pushed is kept.'),
  (112, 'history_lost', 'failure', 'Canonical is behind what this device has confirmed (restored from a backup?); an operator decides.'),
  (113, 'protocol', 'failure', 'Canonical and this program do not understand each other; update the older one.'),
  (114, 'pending', 'failure', 'The operation is queued; canonical''s verdict has not come yet, and a callback brings it.')
on conflict (number) do update
  set name = excluded.name, class = excluded.class, sentence = excluded.sentence;

create table if not exists tally.operations (
  number        integer primary key,
  name          text not null unique,
  capability    text not null,
  in_batch      boolean not null,
  -- May carry the name of the reservation that it means.
  reservation   boolean not null,
  -- Made from its fields, below: the keys that its line may have, a bit for the place of each required
  -- field, the values that absent ones stand for, and whether it names a user and a job.
  keys          text[] not null default '{}',
  required      integer not null default 0,
  defaults      jsonb not null default '{}',
  has_user      boolean not null default false,
  has_job       boolean not null default false
);

insert into tally.operations (number, name, capability, in_batch, reservation) values
  (1,  'create_user', 'service', true, false),
  (2,  'update_profile', 'author', true, false),
  (3,  'add_credits', 'service', true, false),
  (4,  'expire_credits', 'service', true, false),
  (5,  'create_draft', 'author', true, false),
  (6,  'update_draft', 'author', true, false),
  (7,  'claim_draft', 'author', true, false),
  (8,  'purge_expired_drafts', 'service', false, false),
  (9,  'create_project', 'author', true, false),
  (10, 'update_project', 'author', true, false),
  (11, 'delete_project', 'author', true, false),
  (12, 'create_voice_profile', 'author', true, false),
  (13, 'delete_voice_profile', 'author', true, false),
  (14, 'create_job', 'author', true, false),
  (15, 'reserve_credits', 'author', true, false),
  (16, 'advance_job', 'worker', true, true),
  (17, 'report_progress', 'worker', true, true),
  (18, 'add_asset', 'worker', true, true),
  (19, 'finalize_job_credits', 'worker', true, true),
  (20, 'release_job_credits', 'worker', true, true),
  (21, 'complete_job', 'worker', true, true),
  (22, 'fail_job', 'worker', true, true),
  (23, 'retry_job', 'author', true, true),
  (24, 'claim_job', 'worker', true, false),
  (25, 'renew_claim', 'worker', true, false),
  (26, 'drop_claim', 'worker', true, false),
  (27, 'lease_credits', 'author', false, false),
  (28, 'return_lease', 'author', false, false),
  (29, 'sweep', 'service', false, false),
  (30, 'batch', 'each', false, false)
on conflict (number) do update
  set name = excluded.name, capability = excluded.capability,
      in_batch = excluded.in_batch, reservation = excluded.reservation;

-- What each operation's fields may hold. presence: optional (null is the same as absent), not_null
-- (of an update: absent leaves it, null is refused), change (absent leaves it, null clears it).
-- least and most bound a number's value or a text's bytes.
create table if not exists tally.fields (
  operation     integer not null references tally.operations (number),
  place         integer not null,
  name          text not null,
  kind          text not null check (kind in ('id', 'text', 'word', 'integer', 'credits', 'json', 'ops')),
  presence      text not null check (presence in ('required', 'optional', 'not_null', 'change')),
  least         bigint,
  most          bigint,
  words         text[],
  out_of_range  text not null,
  default_value jsonb,
  primary key (operation, name)
);

insert into tally.fields
  (operation, place, name, kind, presence, least, most, words, out_of_range, default_value) values
  (1, 1, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (1, 2, 'email', 'text', 'optional', 0, 255, null, 'invalid_argument', null),
  (1, 3, 'display_name', 'text', 'optional', 0, 255, null, 'invalid_argument', null),
  (2, 1, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (2, 2, 'display_name', 'text', 'change', 0, 255, null, 'invalid_argument', null),
  (2, 3, 'avatar_url', 'text', 'change', 0, 65536, null, 'invalid_argument', null),
  (2, 4, 'notification_prefs', 'json', 'change', 0, 65536, null, 'invalid_argument', null),
  (2, 5, 'stripe_customer_id', 'text', 'change', 0, 255, null, 'invalid_argument', null),
  (3, 1, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (3, 2, 'amount', 'credits', 'required', 1, 2147483647, null, 'invalid_amount', null),
  (3, 3, 'type', 'word', 'required', 1, 255, '{purchase,grant,subscription,refund}', 'invalid_type', null),
  (3, 4, 'note', 'text', 'optional', 0, 65536, null, 'invalid_argument', null),
  (3, 5, 'stripe_payment_id', 'text', 'optional', 0, 255, null, 'invalid_argument', null),
  (4, 1, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (4, 2, 'amount', 'credits', 'required', 1, 2147483647, null, 'invalid_amount', null),
  (4, 3, 'note', 'text', 'optional', 0, 65536, null, 'invalid_argument', null),
  (4, 4, 'stripe_payment_id', 'text', 'optional', 0, 255, null, 'invalid_argument', null),
  (5, 1, 'draft_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (5, 2, 'session_token', 'text', 'required', 1, 255, null, 'invalid_argument', null),
  (5, 3, 'user_id', 'id', 'optional', null, null, null, 'invalid_argument', null),
  (5, 4, 'prompt_text', 'text', 'required', 1, 1048576, null, 'invalid_argument', null),
  (5, 5, 'template_id', 'text', 'optional', 0, 255, null, 'invalid_argument', null),
  (5, 6, 'options', 'json', 'optional', 0, 65536, null, 'invalid_argument', '{}'),
  (6, 1, 'draft_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (6, 2, 'session_token', 'text', 'optional', 0, 255, null, 'invalid_argument', null),
  (6, 3, 'user_id', 'id', 'optional', null, null, null, 'invalid_argument', null),
  (6, 4, 'prompt_text', 'text', 'not_null', 1, 1048576, null, 'invalid_argument', null),
  (6, 5, 'template_id', 'text', 'change', 0, 255, null, 'invalid_argument', null),
  (6, 6, 'options', 'json', 'change', 0, 65536, null, 'invalid_argument', null),
  (7, 1, 'session_token', 'text', 'required', 1, 255, null, 'invalid_argument', null),
  (7, 2, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (9, 1, 'project_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (9, 2, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (9, 3, 'title', 'text', 'required', 1, 255, null, 'invalid_argument', null),
  (9, 4, 'prompt_text', 'text', 'required', 1, 1048576, null, 'invalid_argument', null),
  (9, 5, 'niche_preset', 'word', 'required', 1, 255, '{motivation,explainer,facts,history,finance,science}', 'invalid_argument', null),
  (9, 6, 'target_minutes', 'integer', 'required', 1, 10, null, 'invalid_argument', null),
  (9, 7, 'voice_profile_id', 'id', 'optional', null, null, null, 'invalid_argument', null),
  (9, 8, 'transcript_mode', 'word', 'optional', 1, 255, '{auto,manual}', 'invalid_argument', '"auto"'),
  (9, 9, 'transcript_text', 'text', 'optional', 0, 1048576, null, 'invalid_argument', null),
  (9, 10, 'settings', 'json', 'optional', 0, 65536, null, 'invalid_argument', '{}'),
  (10, 1, 'project_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (10, 2, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (10, 3, 'title', 'text', 'not_null', 1, 255, null, 'invalid_argument', null),
  (10, 4, 'prompt_text', 'text', 'not_null', 1, 1048576, null, 'invalid_argument', null),
  (10, 5, 'niche_preset', 'word', 'not_null', 1, 255, '{motivation,explainer,facts,history,finance,science}', 'invalid_argument', null),
  (10, 6, 'target_minutes', 'integer', 'not_null', 1, 10, null, 'invalid_argument', null),
  (10, 7, 'voice_profile_id', 'id', 'change', null, null, null, 'invalid_argument', null),
  (10, 8, 'transcript_mode', 'word', 'change', 1, 255, '{auto,manual}', 'invalid_argument', null),
  (10, 9, 'transcript_text', 'text', 'change', 0, 1048576, null, 'invalid_argument', null),
  (10, 10, 'settings', 'json', 'change', 0, 65536, null, 'invalid_argument', null),
  (11, 1, 'project_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (11, 2, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (12, 1, 'voice_profile_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (12, 2, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (12, 3, 'name', 'text', 'required', 1, 255, null, 'invalid_argument', null),
  (12, 4, 'audio_path', 'text', 'required', 1, 65536, null, 'invalid_argument', null),
  (12, 5, 'provider', 'text', 'optional', 0, 255, null, 'invalid_argument', '"custom"'),
  (12, 6, 'voice_id', 'text', 'optional', 0, 255, null, 'invalid_argument', null),
  (12, 7, 'settings', 'json', 'optional', 0, 65536, null, 'invalid_argument', '{}'),
  (13, 1, 'voice_profile_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (13, 2, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (14, 1, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (14, 2, 'project_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (14, 3, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (15, 1, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (15, 2, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (15, 3, 'amount', 'credits', 'required', 1, 2147483647, null, 'invalid_amount', null),
  (16, 1, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (16, 2, 'to', 'word', 'required', 1, 255, '{PENDING,QUEUED,SCRIPTING,VOICE_GEN,ALIGNMENT,VISUAL_PLAN,IMAGE_GEN,TIMELINE,RENDERING,PACKAGING,READY,FAILED}', 'invalid_argument', null),
  (16, 3, 'status_message', 'text', 'optional', 0, 65536, null, 'invalid_argument', null),
  (17, 1, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (17, 2, 'step_name', 'text', 'required', 1, 255, null, 'invalid_argument', null),
  (17, 3, 'progress_pct', 'integer', 'required', 0, 100, null, 'invalid_argument', null),
  (17, 4, 'status_message', 'text', 'optional', 0, 65536, null, 'invalid_argument', null),
  (17, 5, 'logs_url', 'text', 'optional', 0, 65536, null, 'invalid_argument', null),
  (17, 6, 'artifacts_json', 'json', 'optional', 0, 65536, null, 'invalid_argument', null),
  (18, 1, 'asset_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (18, 2, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (18, 3, 'type', 'word', 'required', 1, 255, '{video,audio,image,captions,manifest,zip,thumbnail}', 'invalid_argument', null),
  (18, 4, 'url', 'text', 'required', 1, 65536, null, 'invalid_argument', null),
  (18, 5, 'storage_path', 'text', 'required', 1, 65536, null, 'invalid_argument', null),
  (18, 6, 'size_bytes', 'integer', 'optional', 0, 9223372036854775807, null, 'invalid_argument', null),
  (18, 7, 'mime_type', 'text', 'optional', 0, 255, null, 'invalid_argument', null),
  (18, 8, 'metadata_json', 'json', 'optional', 0, 65536, null, 'invalid_argument', '{}'),
  (19, 1, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (19, 2, 'final_cost', 'credits', 'required', 0, 2147483647, null, 'invalid_amount', null),
  (20, 1, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (21, 1, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (21, 2, 'final_cost', 'credits', 'required', 0, 2147483647, null, 'invalid_amount', null),
  (21, 3, 'output_url', 'text', 'optional', 0, 65536, null, 'invalid_argument', null),
  (21, 4, 'manifest_json', 'json', 'optional', 0, 65536, null, 'invalid_argument', null),
  (22, 1, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (22, 2, 'error_code', 'text', 'required', 1, 255, null, 'invalid_argument', null),
  (22, 3, 'error_message', 'text', 'optional', 0, 65536, null, 'invalid_argument', null),
  (23, 1, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (23, 2, 'amount', 'credits', 'required', 1, 2147483647, null, 'invalid_amount', null),
  (24, 1, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (24, 2, 'ttl', 'integer', 'required', 1, 2592000, null, 'invalid_argument', null),
  (25, 1, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (25, 2, 'ttl', 'integer', 'required', 1, 2592000, null, 'invalid_argument', null),
  (26, 1, 'job_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (27, 1, 'lease_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (27, 2, 'user_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (27, 3, 'amount', 'credits', 'required', 1, 2147483647, null, 'invalid_amount', null),
  (27, 4, 'ttl', 'integer', 'required', 1, 2592000, null, 'invalid_argument', null),
  (28, 1, 'lease_id', 'id', 'required', null, null, null, 'invalid_argument', null),
  (29, 1, 'grace', 'integer', 'required', 1, 2592000, null, 'invalid_argument', null),
  (30, 1, 'ops', 'ops', 'required', null, null, null, 'invalid_argument', null)
on conflict (operation, name) do update
  set place = excluded.place, kind = excluded.kind, presence = excluded.presence, least = excluded.least,
      most = excluded.most, words = excluded.words, out_of_range = excluded.out_of_range,
      default_value = excluded.default_value;

update tally.operations o
   set keys = f.names || array['op', 'op_id', 'at'] || case when o.reservation then array['reservation'] end,
       required = f.required, defaults = f.defaults, has_user = f.has_user, has_job = f.has_job
  from (select operation, array_agg(name order by place) as names, coalesce(bit_or(1 << place) filter (where presence = 'required'), 0) as required,
               coalesce(jsonb_object_agg(name, default_value) filter (where default_value is not null), '{}') as defaults,
               bool_or(name = 'user_id') as has_user, bool_or(name = 'job_id') as has_job
          from tally.fields group by operation) f
 where f.operation = o.number;

-- Which moves of a job there are, by which operation, and what the move does to its hold.
create table if not exists tally.job_moves (
  from_status  text not null,
  to_status    text not null,
  by_operation text not null,
  hold         text not null check (hold in ('keeps', 'needs', 'settled', 'settles', 'releases', 'opens')),
  primary key (from_status, to_status, by_operation)
);

insert into tally.job_moves (from_status, to_status, by_operation, hold)
select 'PENDING', 'QUEUED', 'advance_job', 'needs'
union all
-- After a retry the first stage is the one whose step has not succeeded; which one, advance_job knows.
select 'QUEUED', s, 'advance_job', 'keeps'
  from unnest(array['SCRIPTING','VOICE_GEN','ALIGNMENT','VISUAL_PLAN','IMAGE_GEN','TIMELINE','RENDERING','PACKAGING']) s
union all
select f, t, 'advance_job', 'keeps'
  from unnest(array['SCRIPTING','VOICE_GEN','ALIGNMENT','VISUAL_PLAN','IMAGE_GEN','TIMELINE','RENDERING'],
              array['VOICE_GEN','ALIGNMENT','VISUAL_PLAN','IMAGE_GEN','TIMELINE','RENDERING','PACKAGING']) m(f, t)
union all select 'PACKAGING', 'READY', 'advance_job', 'settled'
union all select 'PACKAGING', 'READY', 'complete_job', 'settles'
union all
select s, 'FAILED', 'fail_job', 'releases'
  from unnest(array['PENDING','QUEUED','SCRIPTING','VOICE_GEN','ALIGNMENT','VISUAL_PLAN','IMAGE_GEN','TIMELINE','RENDERING','PACKAGING']) s
union all select 'FAILED', 'QUEUED', 'retry_job', 'opens'
on conflict do nothing;

-- Our own data --------------------------------------------------------------------------------

-- One row per user: the balance, what open holds and leases have taken out of it, and the last entry's number.
-- It is the lock under which anything of the user's credits or jobs is decided. Entries up to
-- old_seq are older than this migration: audit judges them by what the original functions did.
create table if not exists tally.accounts (
  user_id uuid primary key,
  balance integer not null default 0,
  held    bigint  not null default 0,
  seq     bigint  not null default 0,
  old_seq bigint  not null default 0
) with (fillfactor = 50);

-- What the PRD's jobs table has no column for. A job inserted plainly gets its row when needed. lease: the
-- one that the open hold was drawn on. claim_device: whose the live claim is, null for a trace's.
create table if not exists tally.job_state (
  user_id      uuid not null,
  job_id       uuid not null,
  hold         integer not null default 0,
  reservation  uuid,
  lease        uuid,
  claim_until  timestamptz,
  claim_device uuid,
  active_at    timestamptz,
  primary key (user_id, job_id)
) with (fillfactor = 50);

-- Used payments, over all users, kept when a user's rows are not looked at.
create table if not exists tally.payments (
  stripe_payment_id text primary key,
  operation text not null,
  user_id   uuid not null,
  amount    integer not null,
  type      text not null
);

-- Exactly once: what was applied, per user; an operation that concerns none is under the id of the device that
-- pushed it, or the nil user's.
-- The op_id leads the key because the operations of a job that is gone are looked up by it alone.
create table if not exists tally.applied_operations (
  op_id       uuid not null,
  user_id     uuid not null,
  operation   text not null,
  fingerprint bytea not null,
  id          uuid,
  at          timestamptz not null,
  primary key (op_id, user_id)
);

-- What a job's entries came to when this migration numbered them, for audit: actual is the sum of what
-- the original functions wrote, charge the first usage after the latest reservation, hold what was open.
-- Kept here because a job that is deleted later takes its name off its entries.
create table if not exists tally.old_jobs (
  user_id uuid    not null,
  job_id  uuid    not null,
  actual  bigint  not null,
  charge  bigint  not null,
  hold    integer not null,
  primary key (user_id, job_id)
);

-- Entries that named no job then, though they are a job's: what becomes of them, nobody can tell.
create table if not exists tally.old_strays (
  entry_id uuid primary key,
  user_id  uuid not null
);

-- An entry on its way to the ledger. place: which of its operation's entries it is, from 0.
do $$
begin
  if to_regtype('tally.entry') is null then
    create type tally.entry as (
      user_id uuid, seq bigint, op_id uuid, place integer, type text, amount integer, balance_after integer,
      note text, at timestamptz, job_id uuid, stripe_payment_id text
    );
  end if;
end;
$$;

do $$
declare
  t text;
begin
  foreach t in array array['codes', 'operations', 'fields', 'job_moves', 'accounts', 'job_state', 'payments', 'applied_operations',
                           'old_jobs', 'old_strays'] loop
    execute format('alter table tally.%I owner to tally_owner', t);
    execute format('revoke all on tally.%I from public', t);
  end loop;
end;
$$;

-- What our functions may do with the PRD's tables: through row-level security by policies of their
-- own, because a role that bypasses it is not ours to make everywhere.
do $$
declare
  t text;
begin
  foreach t in array array['profiles', 'credit_ledger', 'draft_prompts', 'projects', 'jobs', 'job_steps', 'assets', 'voice_profiles'] loop
    if t = 'credit_ledger' then
      execute format('grant select, insert on public.%I to tally_owner', t);
    else
      execute format('grant select, insert, update, delete on public.%I to tally_owner', t);
    end if;
    execute format('drop policy if exists tally_owner_all on public.%I', t);
    execute format('create policy tally_owner_all on public.%I to tally_owner using (true) with check (true)', t);
  end loop;
end;
$$;

-- The foreign key from projects is followed when a voice profile is deleted.
create index if not exists idx_projects_voice_profile on public.projects (voice_profile_id)
  where voice_profile_id is not null;

-- Jobs and steps change often and, but for a job's status, in columns without an index: with room on the page
-- the new version needs no entries in the indexes.
alter table public.jobs set (fillfactor = 70);
alter table public.job_steps set (fillfactor = 70);

-- Whether these files were installed under another schema than the usual one, as one cell of many
-- (the runner rewrites the first name, and cannot see the second). The users of a cell are those that
-- have an account in it; otherwise, those in auth.users.
create or replace function tally.is_cell()
returns boolean
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select 'public' <> 'pub' || 'lic';
$$;

create or replace function tally.stage_names()
returns text[]
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select array['SCRIPTING','VOICE_GEN','ALIGNMENT','VISUAL_PLAN','IMAGE_GEN','TIMELINE','RENDERING','PACKAGING'];
$$;

-- Old rows --------------------------------------------------------------------------------------

alter table public.credit_ledger add column if not exists seq bigint;

do $$
declare
  v_user uuid;
  v_entry uuid;
  v_sum numeric;
begin
  -- On a second run there is nothing left to do, and the triggers below would refuse it.
  if exists (select from tally.accounts) then
    return;
  end if;

  select r.user_id, r.id, r.running into v_user, v_entry, v_sum
    from (select l.user_id, l.id, l.created_at, sum(l.amount::numeric) over w as running from public.credit_ledger l
           where l.user_id is not null
          window w as (partition by l.user_id order by l.created_at, l.id rows unbounded preceding)) r
   where r.running not between -2147483648 and 2147483647
   order by r.user_id, r.created_at, r.id limit 1;
  if found then
    raise exception using errcode = '22003',
      message = format('user %s: with entry %s the balance is %s, which is no INTEGER', v_user, v_entry, v_sum),
      hint = 'The original add_credits and reserve_credits took any amount from anybody. Delete or lower the '
             'entry that is not meant, and run this migration again.';
  end if;

  update public.credit_ledger l
     set seq = n.seq, balance_after = n.balance_after
    from (select id,
                 row_number() over w as seq,
                 sum(amount) over (w rows unbounded preceding) as balance_after
            from public.credit_ledger
           where user_id is not null
          window w as (partition by user_id order by created_at, id)) n
   where l.id = n.id;

  -- Hold: minus the job's reserve and refund entries from its latest negative reserve on. Entries that
  -- somebody gave by hand are meant; what somebody took by hand, from a job, corrects it.
  insert into tally.old_jobs (user_id, job_id, actual, charge, hold)
  select e.user_id, e.job_id,
         coalesce(sum(e.amount) filter (where e.amount < 0 or e.type in ('reserve', 'usage')
                                           or (e.type = 'refund' and e.seq >= e.reserved_at)
                                           or e.note in ('Unused credits refund', 'Job failed - credits released')), 0),
         coalesce(sum(e.amount) filter (where e.seq = e.charged_at), 0),
         least(greatest(-coalesce(sum(e.amount) filter (
           where e.type in ('reserve', 'refund') and e.seq >= e.reserved_at), 0), 0), 2147483647)
    from (select l.user_id, l.job_id, l.seq, l.type, l.amount, l.note,
                 max(l.seq) filter (where l.type = 'reserve' and l.amount < 0) over job as reserved_at,
                 min(l.seq) filter (where l.type = 'usage' and l.amount <= 0) over job as charged_at
            from public.credit_ledger l
            join public.jobs j on j.id = l.job_id and j.user_id = l.user_id
          window job as (partition by l.user_id, l.job_id)) e
   group by e.user_id, e.job_id;

  insert into tally.old_strays (entry_id, user_id)
  select l.id, l.user_id from public.credit_ledger l
   where l.job_id is null and l.user_id is not null
     and (l.type = 'reserve' or l.note in ('Unused credits refund', 'Job failed - credits released'));

  insert into tally.job_state (user_id, job_id, hold, reservation, active_at)
  select j.user_id, j.id, coalesce(o.hold, 0), r.id, now()
    from public.jobs j
    left join tally.old_jobs o on o.user_id = j.user_id and o.job_id = j.id
    left join lateral (
      select l.id from public.credit_ledger l
       where l.job_id = j.id and l.user_id = j.user_id and l.type = 'reserve' and l.amount < 0
       order by l.seq desc limit 1) r on true
  on conflict do nothing;

  -- The original functions settled without saying so on the job.
  update public.jobs j
     set cost_credits_final = least(-o.charge, 2147483647)
    from tally.old_jobs o
   where o.user_id = j.user_id and o.job_id = j.id and o.hold = 0 and j.cost_credits_final is null
     and exists (select from public.credit_ledger l
                  where l.job_id = j.id and l.user_id = j.user_id and l.type = 'usage' and l.amount <= 0);

  insert into tally.payments (stripe_payment_id, operation, user_id, amount, type)
  select distinct on (stripe_payment_id) stripe_payment_id,
         case when type = 'expire' then 'expire_credits' else 'add_credits' end,
         user_id, least(abs(amount::bigint), 2147483647), type
    from public.credit_ledger
   where stripe_payment_id <> '' and user_id is not null
   order by stripe_payment_id, created_at, id
  on conflict do nothing;

  -- A job in the midst of its stages has its steps: those before its own have succeeded.
  insert into public.job_steps (id, job_id, step_name, step_order, state, progress_pct, started_at)
  select overlay(j.id::text placing '8' || s.n from 15 for 2)::uuid, j.id, s.name, s.n,
         (case when s.n < c.n then 'succeeded' when s.n = c.n then 'started' else 'pending' end)::public.step_state,
         case when s.n < c.n then 100 else 0 end, case when s.n = c.n then j.started_at end
    from public.jobs j
    join unnest(tally.stage_names()) with ordinality c(name, n) on c.name = j.status::text
   cross join unnest(tally.stage_names()) with ordinality s(name, n)
  on conflict do nothing;

  -- Users from before there was a sign-up trigger have a profile like everybody.
  insert into public.profiles (id, display_name)
  select u.id, coalesce(u.raw_user_meta_data ->> 'name', u.raw_user_meta_data ->> 'full_name', 'User')
    from auth.users u
   where not tally.is_cell()
  on conflict do nothing;
end;
$$;

create unique index if not exists credit_ledger_user_seq on public.credit_ledger (user_id, seq);

insert into tally.accounts (user_id, balance, held, seq, old_seq)
select u.id, coalesce(e.balance, 0), coalesce(h.held, 0), coalesce(e.seq, 0), coalesce(e.seq, 0)
  from auth.users u
  left join (select user_id, sum(amount) as balance, max(seq) as seq
               from public.credit_ledger where user_id is not null group by user_id) e on e.user_id = u.id
  left join (select s.user_id, sum(s.hold) as held from tally.job_state s group by s.user_id) h on h.user_id = u.id
 where not tally.is_cell()
on conflict (user_id) do nothing;

-- With what is held a balance must be an INTEGER, too, or its holds could never be released.
do $$
declare
  a tally.accounts;
begin
  select t.* into a from tally.accounts t where t.balance + t.held > 2147483647 order by t.user_id limit 1;
  if found then
    raise exception using errcode = '22003',
      message = format('user %s: the balance is %s, and with the %s that jobs hold it is no INTEGER', a.user_id, a.balance, a.held),
      hint = 'Settle or fail the jobs that hold credits, or lower an entry that is not meant, and run this migration again.';
  end if;
end;
$$;

-- Functions that the triggers need --------------------------------------------------------------

-- Refuses with a code of the contract: the SQLSTATE is TA and its number, the message its name.
create or replace function tally.refuse(code text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using
    errcode = 'TA' || lpad((select c.number from tally.codes c where c.name = code)::text, 3, '0'),
    message = code,
    detail = (select c.sentence from tally.codes c where c.name = code);
end;
$$;

-- Which of these users exist though they may have no account yet. auth.users is another owner's on
-- Supabase, so this function and the next two stay with the migration role; only tally_owner may call them.
create or replace function tally.known_users(ids uuid[])
returns setof uuid
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select u.id from auth.users u where u.id = any (ids) and not tally.is_cell();
$$;

create or replace function tally.user_text(p_user uuid, out email text, out meta text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select u.email, u.raw_user_meta_data::text from auth.users u where u.id = p_user;
$$;

create or replace function tally.insert_user(p_user uuid, p_email text, p_meta jsonb, p_at timestamptz)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into auth.users (id, email, raw_user_meta_data, created_at)
  values (p_user, p_email, p_meta, p_at)
  on conflict do nothing;
  return found or (tally.is_cell() and exists (select from auth.users u where u.id = p_user));
end;
$$;

-- Locks the accounts of those users that exist, in id order, and makes the row of one that has none. Each
-- is looked for by itself: a plan for all of them at once, made while there were few, would go through them all.
create or replace function tally.lock_accounts(ids uuid[])
returns setof tally.accounts
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  a tally.accounts;
  v_locked uuid[] := array[]::uuid[];
begin
  for a in select t.* from (select u.id from unnest(ids) u(id) order by u.id) i
            cross join lateral (select x.* from tally.accounts x where x.user_id = i.id offset 0) t
            order by t.user_id for update loop
    v_locked := v_locked || a.user_id;
    return next a;
  end loop;
  if cardinality(v_locked) < cardinality(ids) then
    insert into tally.accounts (user_id)
    select k from tally.known_users(ids) k where k <> all (v_locked) order by k
    on conflict (user_id) do nothing;
    return query
      select t.* from tally.accounts t
       where t.user_id = any (ids) and t.user_id <> all (v_locked) order by t.user_id for update;
  end if;
end;
$$;

-- What an operation knows of an account, it has read once. A trigger of an app's own that wrote to the ledger
-- while the operation ran has made it untrue: nothing of the call is applied.
create or replace function tally.refuse_interference(p_user uuid)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using
    errcode = 'triggered_data_change_violation',
    message = format('the ledger of %s was written to by a trigger while an operation ran',
                     coalesce('user ' || p_user, 'a user')),
    detail = 'Nothing of the call was applied.',
    hint = 'A trigger that writes to the ledger is to be a constraint trigger, deferrable initially deferred, with a '
           'function that is security definer.';
end;
$$;

-- Writes entries that are numbered already. An entry's id is derived from its operation's (version
-- digit 8, then the entry's number in the operation, from 0); where it is taken, it is a random one. Who is not
-- careful gets a unique_violation then, and has them written faster.
create or replace function tally.write_entries(p_entries tally.entry[], p_careful boolean default true)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_written integer;
begin
  if not p_careful then
    insert into public.credit_ledger
      (id, user_id, type, amount, note, created_at, job_id, stripe_payment_id, balance_after, seq)
    select overlay(e.op_id::text placing '8' || e.place from 15 for 2)::uuid, e.user_id, e.type, e.amount, e.note,
           e.at, e.job_id, e.stripe_payment_id, e.balance_after, e.seq
      from unnest(p_entries) e;
    return;
  end if;
  insert into public.credit_ledger
    (id, user_id, type, amount, note, created_at, job_id, stripe_payment_id, balance_after, seq)
  select overlay(e.op_id::text placing '8' || e.place from 15 for 2)::uuid, e.user_id, e.type, e.amount, e.note,
         e.at, e.job_id, e.stripe_payment_id, e.balance_after, e.seq
    from unnest(p_entries) e
  on conflict (id) do nothing;
  get diagnostics v_written = row_count;
  if v_written < cardinality(p_entries) then
    insert into public.credit_ledger
      (user_id, type, amount, note, created_at, job_id, stripe_payment_id, balance_after, seq)
    select e.user_id, e.type, e.amount, e.note, e.at, e.job_id, e.stripe_payment_id, e.balance_after, e.seq
      from unnest(p_entries) e
     where not exists (select from public.credit_ledger l where l.user_id = e.user_id and l.seq = e.seq);
  end if;
end;
$$;

-- Appends the entries of one operation to an account that the caller has locked. What they open or
-- close of the user's holds is added to held.
create or replace function tally.append_entries(
  p_user uuid, op_id uuid, at timestamptz, job_id uuid, types text[], amounts integer[], notes text[],
  held bigint default 0, stripe_payment_id text default null)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  a tally.accounts;
  v_entries tally.entry[] := array[]::tally.entry[];
begin
  select * into strict a from tally.accounts t where t.user_id = p_user;
  for n in 1 .. cardinality(types) loop
    a.seq := a.seq + 1;
    a.balance := a.balance + amounts[n];
    v_entries[n] := row(a.user_id, a.seq, op_id, n - 1, types[n], amounts[n], a.balance, notes[n], at, job_id,
                        stripe_payment_id)::tally.entry;
  end loop;
  perform tally.write_entries(v_entries);
  update tally.accounts t
     set balance = a.balance, seq = a.seq, held = t.held + append_entries.held
   where t.user_id = p_user and t.seq = a.seq - cardinality(types);
  if not found then
    perform tally.refuse_interference(p_user);
  end if;
end;
$$;

-- Entries ---------------------------------------------------------------------------------------

-- A plain INSERT. The account row is only locked here; it is written once a statement, below,
-- because a row that ON CONFLICT skips has been here too.
create or replace function tally.entry_insert()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_seq bigint;
  v_balance bigint;
  v_held bigint;
begin
  -- Callers write '' where there is no payment; taken as one, it would be the same for the whole database.
  new.stripe_payment_id := nullif(new.stripe_payment_id, '');
  if new.user_id is null or new.amount is null then
    perform tally.refuse('invalid_argument');
  end if;
  if new.type = 'reserve' or new.job_id is not null then
    perform tally.refuse('not_permitted');
  end if;
  if (new.type in ('purchase', 'grant', 'subscription', 'refund') and new.amount < 1)
     or (new.type = 'usage' and new.amount > 0) or (new.type = 'expire' and new.amount > -1) then
    perform tally.refuse('invalid_amount');
  end if;

  select a.held into v_held from tally.accounts a where a.user_id = new.user_id for update;
  if not found then
    select a.held into v_held from tally.lock_accounts(array[new.user_id]) a;
    if not found then
      perform tally.refuse('user_not_found');
    end if;
  end if;

  if new.stripe_payment_id is not null
     and exists (select from tally.payments p where p.stripe_payment_id = new.stripe_payment_id) then
    perform tally.refuse('payment_conflict');
  end if;

  -- From the ledger, not from the account: rows before this one in the same statement count.
  select l.seq, l.balance_after::bigint into v_seq, v_balance
    from public.credit_ledger l
   where l.user_id = new.user_id and l.seq is not null
   order by l.seq desc limit 1;
  v_balance := coalesce(v_balance, 0) + new.amount;
  if new.amount < 0 and v_balance < 0 then
    perform tally.refuse('insufficient_credits');
  end if;
  if new.amount > 0 and v_balance + v_held > 2147483647 then
    perform tally.refuse('balance_overflow');
  end if;
  new.seq := coalesce(v_seq, 0) + 1;
  new.balance_after := v_balance::integer;
  return new;
end;
$$;

create or replace function tally.entries_inserted()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_payments bigint;
  v_recorded bigint;
begin
  -- From the ledger, not by adding: a function that the statement called may have moved the account on.
  update tally.accounts a
     set balance = e.balance_after, seq = e.seq
    from (select distinct user_id from inserted) i
   cross join lateral (
     select l.balance_after, l.seq from public.credit_ledger l
      where l.user_id = i.user_id and l.seq is not null
      order by l.seq desc limit 1) e
   where a.user_id = i.user_id;

  select count(*) into v_payments from inserted where stripe_payment_id is not null;
  if v_payments > 0 then
    insert into tally.payments (stripe_payment_id, operation, user_id, amount, type)
    select stripe_payment_id, case when amount > 0 then 'add_credits' else 'expire_credits' end,
           user_id, abs(amount), type
      from inserted where stripe_payment_id is not null
    on conflict do nothing;
    get diagnostics v_recorded = row_count;
    if v_recorded <> v_payments then
      perform tally.refuse('payment_conflict');
    end if;
  end if;
  return null;
end;
$$;

-- An entry is history: it is never updated or deleted. The one exception is the foreign key, which
-- clears job_id once the job is gone; no UPDATE can look like that while the job is there.
create or replace function tally.entry_change()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op = 'UPDATE' and old.job_id is not null and new.job_id is null then
    if not exists (select from public.jobs j where j.id = old.job_id) then
      new.job_id := old.job_id;
      if new is not distinct from old then
        new.job_id := null;
        return new;
      end if;
    end if;
  end if;
  perform tally.refuse('not_permitted');
  return null;
end;
$$;

drop trigger if exists tally_entry_insert on public.credit_ledger;
create trigger tally_entry_insert
  before insert on public.credit_ledger
  for each row when (current_user <> 'tally_owner')
  execute function tally.entry_insert();

-- Ours are numbered: this one is a trigger's, which runs within an operation and with our rights.
create or replace function tally.entry_interferes()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform tally.refuse_interference(new.user_id);
  return null;
end;
$$;

drop trigger if exists tally_entry_interferes on public.credit_ledger;
create trigger tally_entry_interferes
  before insert on public.credit_ledger
  for each row when (current_user = 'tally_owner' and new.seq is null)
  execute function tally.entry_interferes();

drop trigger if exists tally_entries_inserted on public.credit_ledger;
create trigger tally_entries_inserted
  after insert on public.credit_ledger
  referencing new table as inserted
  for each statement when (current_user <> 'tally_owner')
  execute function tally.entries_inserted();

drop trigger if exists tally_entry_change on public.credit_ledger;
create trigger tally_entry_change
  before update or delete on public.credit_ledger
  for each row execute function tally.entry_change();

drop trigger if exists tally_entry_truncate on public.credit_ledger;
create trigger tally_entry_truncate
  before truncate on public.credit_ledger
  for each statement execute function tally.entry_change();

-- Sign-up ---------------------------------------------------------------------------------------

-- The PRD's trigger function. create_user makes the account row before it inserts the user, marked by an
-- old_seq of -1, and then writes profile and entry itself, at its own time.
create or replace function public.handle_new_user()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into tally.accounts (user_id) values (new.id)
  on conflict (user_id) do nothing;
  if not found and exists (select from tally.accounts a where a.user_id = new.id and a.old_seq = -1) then
    return new;
  end if;
  -- Another trigger on sign-ups may have come first, and have given the user a profile or credits.
  insert into public.profiles (id, display_name)
  values (new.id, coalesce(new.raw_user_meta_data ->> 'name', new.raw_user_meta_data ->> 'full_name', 'User'))
  on conflict (id) do nothing;
  perform tally.append_entries(new.id, gen_random_uuid(), now(), null,
                               array['grant'], array[10], array['Welcome bonus: 10 trial credits']);
  return new;
end;
$$;

-- The PRD's function, which leaves alone what our functions write: that carries its operation's time.
create or replace function public.update_updated_at()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_user <> 'tally_owner' then
    new.updated_at = now();
  end if;
  return new;
end;
$$;

-- The PRD's function, in constant time: the latest entry has the balance. It runs with the caller's own
-- rights, so what row-level security lets through is all that a user can see.
create or replace function public.get_credit_balance(p_user_id uuid)
returns integer
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $$
begin
  if row_security_active('public.credit_ledger') and p_user_id is distinct from auth.uid() then
    raise exception using errcode = 'TA001', message = 'not_permitted', detail = 'The balance is another user''s.';
  end if;
  return coalesce((select l.balance_after from public.credit_ledger l
                    where l.user_id = p_user_id and l.seq is not null
                    order by l.seq desc limit 1), 0);
end;
$$;

-- Jobs ------------------------------------------------------------------------------------------

-- The eight steps of a job, or those that it lacks: under derived ids (version digit 8, then the
-- step's order), under random ones where those are taken.
create or replace function tally.make_steps(p_user uuid, p_job_id uuid)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_made integer;
begin
  insert into public.job_steps (id, job_id, step_name, step_order)
  select overlay(p_job_id::text placing '8' || s.n from 15 for 2)::uuid, p_job_id, s.name, s.n
    from unnest(tally.stage_names()) with ordinality s(name, n), public.jobs b
   where b.user_id = p_user and b.id = p_job_id
  on conflict do nothing;
  get diagnostics v_made = row_count;
  if v_made < 8 then
    insert into public.job_steps (job_id, step_name, step_order)
    select p_job_id, s.name, s.n
      from unnest(tally.stage_names()) with ordinality s(name, n), public.jobs b
     where b.user_id = p_user and b.id = p_job_id
    on conflict (job_id, step_name) do nothing;
  end if;
end;
$$;

-- A job's progress, from its steps; a plain writer may have added some.
create or replace function tally.progress_of(p_job_id uuid)
returns integer
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return (select least(coalesce(sum(s.progress_pct), 0) / 8, 100)::integer
            from public.job_steps s where s.job_id = p_job_id);
end;
$$;

-- Marks the started step failed, and answers with its name. Where a plain writer started several, the
-- one of the job's stage is named.
create or replace function tally.fail_step(p_user uuid, p_job_id uuid, p_stage text, p_at timestamptz, p_message text)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_name text;
begin
  with failed as (
    update public.job_steps s
       set state = 'failed', finished_at = p_at, error_message = p_message
      from public.jobs b
     where b.user_id = p_user and b.id = p_job_id and s.job_id = b.id and s.state = 'started'
    returning s.step_name, s.step_order)
  select f.step_name into v_name from failed f order by f.step_name <> p_stage, f.step_order limit 1;
  return v_name;
end;
$$;

-- Leaves one stage (succeeded) and enters the next (started); either may be none.
create or replace function tally.move_steps(p_user uuid, p_job_id uuid, p_from text, p_to text, p_at timestamptz)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  update public.job_steps s
     set state        = (case when s.step_name = p_to then 'started' else 'succeeded' end)::public.step_state,
         progress_pct = case when s.step_name = p_to then 0 else 100 end,
         started_at   = case when s.step_name = p_to then p_at else s.started_at end,
         finished_at  = case when s.step_name = p_to then s.finished_at else p_at end
    from public.jobs b
   where b.user_id = p_user and b.id = p_job_id and s.job_id = b.id and s.step_name in (p_from, p_to);
  return tally.progress_of(p_job_id);
end;
$$;

-- The first stage whose step has not succeeded: the only one that a QUEUED job may enter.
create or replace function tally.first_stage(p_job_id uuid)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select g.name
    from unnest(tally.stage_names()) with ordinality g(name, n)
    left join public.job_steps s on s.job_id = p_job_id and s.step_name = g.name
   where s.state is distinct from 'succeeded'
   order by g.n limit 1;
$$;

create or replace function tally.job_insert()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_user uuid;
begin
  select p.user_id into v_user from public.projects p where p.id = new.project_id;
  if not found then
    perform tally.refuse('project_not_found');
  end if;
  if new.user_id is distinct from v_user then
    perform tally.refuse('not_owner');
  end if;
  if new.status <> 'PENDING' then
    perform tally.refuse('illegal_transition');
  end if;
  new.cost_credits_reserved := 0;
  new.cost_credits_final := null;
  new.progress := coalesce(new.progress, 0);
  return new;
end;
$$;

create or replace function tally.job_update()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  s tally.job_state;
  v_move text;
  v_from text := old.status::text;
  v_to text := new.status::text;
  v_at timestamptz := now();
  v_to_lease boolean;
begin
  if new.id is distinct from old.id or new.project_id is distinct from old.project_id
     or new.user_id is distinct from old.user_id then
    perform tally.refuse('not_owner');
  end if;
  new.cost_credits_reserved := old.cost_credits_reserved;
  new.cost_credits_final := old.cost_credits_final;
  new.created_at := old.created_at;  -- By it a mirror knows the job from one that was made under its id later.
  new.progress := coalesce(new.progress, 0);
  if v_from = v_to then
    return new;
  end if;

  select m.hold into v_move from tally.job_moves m
   where m.from_status = v_from and m.to_status = v_to and m.by_operation in ('advance_job', 'fail_job');
  if not found then
    perform tally.refuse('illegal_transition');
  end if;

  perform tally.lock_accounts(array[old.user_id]);
  insert into tally.job_state (user_id, job_id) values (old.user_id, old.id) on conflict do nothing;
  select * into s from tally.job_state t where t.user_id = old.user_id and t.job_id = old.id;

  if v_move = 'needs' and s.hold = 0 then
    perform tally.refuse('reservation_required');
  elsif v_move = 'settled' then
    -- By the ledger: the original functions settled without setting cost_credits_final.
    if s.hold > 0 or not exists (
      select from public.credit_ledger l
       where l.job_id = old.id and l.user_id = old.user_id and l.type = 'usage'
         and l.seq > coalesce((select max(r.seq) from public.credit_ledger r
                                where r.job_id = old.id and r.user_id = old.user_id
                                  and r.type = 'reserve' and r.amount < 0), 0)) then
      perform tally.refuse('illegal_transition');
    end if;
  elsif v_from = 'QUEUED' and v_move = 'keeps' then
    if v_to is distinct from tally.first_stage(old.id) then
      perform tally.refuse('illegal_transition');
    end if;
    perform tally.make_steps(old.user_id, old.id);
  end if;

  if v_move = 'releases' then
    if s.hold > 0 then
      -- First, so that no trigger on what follows releases it once more.
      update tally.job_state t set hold = 0 where t.user_id = old.user_id and t.job_id = old.id;
      -- As tally.release_hold does: to the job, and from there back to the lease that it was drawn on.
      update tally_sync.leases l set unspent = l.unspent + s.hold
       where l.user_id = old.user_id and l.lease_id = s.lease and l.closed_at is null;
      v_to_lease := found;
      perform tally.append_entries(old.user_id, gen_random_uuid(), v_at, old.id, array['refund'], array[s.hold],
                                   array['Job failed - credits released'], -s.hold);
      if v_to_lease then
        perform tally.append_entries(old.user_id, gen_random_uuid(), v_at, null, array['reserve'], array[-s.hold],
                                     array['Back to lease'], s.hold);
      end if;
    end if;
    new.failed_step := tally.fail_step(old.user_id, old.id, v_from, v_at, new.error_message);
    new.finished_at := v_at;
  else
    if v_to <> 'QUEUED' then
      new.progress := tally.move_steps(old.user_id, old.id, v_from, v_to, v_at);
    end if;
    if v_to = 'READY' then
      new.finished_at := v_at;
    elsif v_to <> 'QUEUED' then
      new.started_at := coalesce(old.started_at, v_at);
    end if;
  end if;

  perform tally_sync.note('job_steps', array[old.user_id], array[old.id], false);
  update tally.job_state t
     set claim_until = case when v_to in ('READY', 'FAILED') then null else t.claim_until end,
         active_at = greatest(t.active_at, v_at)
   where t.user_id = old.user_id and t.job_id = old.id;
  return new;
end;
$$;

-- Whoever deletes it, also through its project: a job with an open hold stays.
create or replace function tally.job_delete()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_hold integer;
begin
  delete from tally.job_state s where s.user_id = old.user_id and s.job_id = old.id returning s.hold into v_hold;
  if v_hold > 0 then
    perform tally.refuse('illegal_transition');
  end if;
  return old;
end;
$$;

-- Named so as to come last: no other trigger may take back what they did.
drop trigger if exists zz_tally_job_insert on public.jobs;
create trigger zz_tally_job_insert
  before insert on public.jobs
  for each row when (current_user <> 'tally_owner')
  execute function tally.job_insert();

drop trigger if exists zz_tally_job_update on public.jobs;
create trigger zz_tally_job_update
  before update on public.jobs
  for each row when (current_user <> 'tally_owner')
  execute function tally.job_update();

drop trigger if exists zz_tally_job_delete on public.jobs;
create trigger zz_tally_job_delete
  before delete on public.jobs
  for each row execute function tally.job_delete();

-- Other rows -------------------------------------------------------------------------------------

-- A row keeps its user for good, because a user's rows are what is locked, fed and compared: its key
-- and what says whose it is are not changed by a plain UPDATE. A draft may be claimed, once.
create or replace function tally.row_update()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_old jsonb := to_jsonb(old);
  v_new jsonb := to_jsonb(new);
begin
  -- tg_argv: the columns that stay.
  for n in 0 .. tg_nargs - 1 loop
    if v_new ->> tg_argv[n] is distinct from v_old ->> tg_argv[n]
       and not (tg_argv[n] = 'user_id' and v_old ->> 'user_id' is null) then
      perform tally.refuse('not_owner');
    end if;
  end loop;
  return new;
end;
$$;

-- A step has a state and a percentage, which the PRD's columns do not say.
create or replace function tally.step_write()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  new.state := coalesce(new.state, 'pending');
  new.progress_pct := coalesce(new.progress_pct, 0);
  return new;
end;
$$;

-- What is fed is told row by row, and an emptied table has none left to tell.
create or replace function tally.no_truncate()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  perform tally.refuse('not_permitted');
  return null;
end;
$$;

-- A project names a voice profile of its own user, or none.
create or replace function tally.project_voice_profile()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from public.voice_profiles v
                  where v.id = new.voice_profile_id and v.user_id = new.user_id) then
    perform tally.refuse('voice_profile_not_found');
  end if;
  return new;
end;
$$;

do $$
declare
  t record;
begin
  for t in
    select * from (values ('profiles', array['id']), ('draft_prompts', array['id', 'user_id']),
                          ('projects', array['id', 'user_id']), ('voice_profiles', array['id', 'user_id']),
                          ('job_steps', array['id', 'job_id']), ('assets', array['id', 'job_id']))
           as v(name, stays)
  loop
    execute format('drop trigger if exists zz_tally_row_update on public.%I', t.name);
    execute format(
      'create trigger zz_tally_row_update before update of %s on public.%I for each row '
      'when (current_user <> ''tally_owner'') execute function tally.row_update(%s)',
      (select string_agg(quote_ident(c), ', ') from unnest(t.stays) c), t.name,
      (select string_agg(quote_literal(c), ', ') from unnest(t.stays) c));
  end loop;
end;
$$;

do $$
declare
  v_table text;
begin
  foreach v_table in array array['profiles', 'draft_prompts', 'projects', 'voice_profiles', 'jobs', 'job_steps', 'assets'] loop
    execute format('drop trigger if exists tally_no_truncate on public.%I', v_table);
    execute format('create trigger tally_no_truncate before truncate on public.%I for each statement '
                   'execute function tally.no_truncate()', v_table);
  end loop;
end;
$$;

update public.jobs set progress = 0 where progress is null;
update public.job_steps set state = coalesce(state, 'pending'), progress_pct = coalesce(progress_pct, 0)
 where state is null or progress_pct is null;
drop trigger if exists zz_tally_step_write on public.job_steps;
create trigger zz_tally_step_write
  before insert or update of state, progress_pct on public.job_steps
  for each row when (new.state is null or new.progress_pct is null)
  execute function tally.step_write();

drop trigger if exists zz_tally_project_voice_profile on public.projects;
create trigger zz_tally_project_voice_profile
  before insert or update of voice_profile_id on public.projects
  for each row when (new.voice_profile_id is not null and current_user <> 'tally_owner')
  execute function tally.project_voice_profile();

-- Owners and grants -----------------------------------------------------------------------------

do $$
declare
  f record;
begin
  for f in
    select p.oid::regprocedure as name, p.proname from pg_proc p
     where p.pronamespace = 'tally'::regnamespace
        or p.oid in ('public.handle_new_user()'::regprocedure, 'public.get_credit_balance(uuid)'::regprocedure)
  loop
    if f.proname in ('known_users', 'insert_user', 'user_text') then
      execute format('grant execute on function %s to tally_owner', f.name);
    elsif f.proname <> 'update_updated_at' then  -- In a cell it is among ours.
      execute format('alter function %s owner to tally_owner', f.name);
    end if;
  end loop;
end;
$$;

revoke execute on all functions in schema tally from public;
-- The two that stay with the migration role ask it.
grant execute on function tally.is_cell() to current_user;

revoke create on schema public, tally from tally_owner;
revoke tally_owner from current_user;
