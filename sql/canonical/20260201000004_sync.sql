-- Migration: 20260201000004_sync.sql
-- What canonical knows of devices and of what it has told them. Every table is the user's first, so
-- that a user's rows stay together on a database of many nodes; times are set by the functions, and
-- nothing counts by a sequence. Re-runnable.

set local lock_timeout = '10s';
set local search_path = pg_catalog;

-- For this transaction only, as in the integrity migration.
grant tally_owner to current_user;

-- The group role of devices: it may use this schema and, of it, execute the sync function alone.
do $$
begin
  if not exists (select from pg_roles where rolname = 'tally_device') then
    create role tally_device nologin noinherit;
  end if;
end;
$$;

create schema if not exists tally_sync;
grant usage, create on schema tally_sync to tally_owner;
grant usage on schema tally_sync to tally_device;

-- A device: who it says it is (a token, of which only the hash is here), what it may do, and how far
-- its operations have come. scope_user is null for a device over all users. watermark is the number of
-- the last operation that canonical has judged, chain the hash over all up to it, confirmed the last
-- whose verdict the device has.
create table if not exists tally_sync.devices (
  device_id     uuid primary key,
  scope_user    uuid,
  name          text not null,
  token_sha256  bytea not null unique check (octet_length(token_sha256) = 32),
  capabilities  text[] not null check (capabilities <@ array['author', 'worker', 'service']),
  enrolled_from uuid references tally_sync.devices (device_id),
  watermark     bigint not null default 0,
  confirmed     bigint not null default 0,
  chain         bytea not null default '\x',
  created_at    timestamptz not null,
  revoked_at    timestamptz,
  check (confirmed between 0 and watermark)
);
create index if not exists devices_enrolled_from on tally_sync.devices (enrolled_from) where enrolled_from is not null;

-- Where each user's rows have got to: counted up under the account's lock, so that commit order is
-- revision order. A device over many users finds here who changed.
create table if not exists tally_sync.revisions (
  user_id    uuid primary key,
  revision   bigint not null,
  changed_at timestamptz not null
);
create index if not exists revisions_changed_at on tally_sync.revisions (changed_at);

-- Rows that are gone, for those that may still have them.
create table if not exists tally_sync.tombstones (
  user_id    uuid not null,
  revision   bigint not null,
  table_name text not null,
  row_id     uuid not null,
  primary key (user_id, revision, table_name, row_id)
);

-- The answers to a device's operations, kept until it confirms them; one that concerns no user is the
-- nil user's.
create table if not exists tally_sync.verdicts (
  user_id   uuid not null,
  device_id uuid not null references tally_sync.devices (device_id),
  number    bigint not null,
  op_id     uuid not null,
  result    text not null,
  id        uuid,
  index     integer,
  primary key (user_id, device_id, number)
);
create index if not exists verdicts_device on tally_sync.verdicts (device_id, number);

-- Credits set aside for one device and one user; a device has at most one open for a user.
create table if not exists tally_sync.leases (
  user_id    uuid not null,
  lease_id   uuid not null,
  device_id  uuid not null references tally_sync.devices (device_id),
  unspent    integer not null check (unspent >= 0),
  expires_at timestamptz not null,
  closed_at  timestamptz,
  closed_by  text check (closed_by in ('return', 'write_off', 'reclaim')),
  primary key (user_id, lease_id),
  check ((closed_at is null) = (closed_by is null))
);
create unique index if not exists leases_open on tally_sync.leases (user_id, device_id) where closed_at is null;
create index if not exists leases_device on tally_sync.leases (device_id);

-- Which device a job's live claim is of; until when is in tally.job_state.
create table if not exists tally_sync.claims (
  user_id   uuid not null,
  job_id    uuid not null,
  device_id uuid not null references tally_sync.devices (device_id),
  primary key (user_id, job_id)
);
create index if not exists claims_device on tally_sync.claims (device_id);

do $$
declare
  t text;
begin
  foreach t in array array['devices', 'revisions', 'tombstones', 'verdicts', 'leases', 'claims'] loop
    execute format('alter table tally_sync.%I owner to tally_owner', t);
    execute format('alter table tally_sync.%I enable row level security', t);
    execute format('revoke all on tally_sync.%I from public, anon, authenticated, service_role, tally_device', t);
  end loop;
end;
$$;

revoke create on schema tally_sync from tally_owner;
revoke tally_owner from current_user;
