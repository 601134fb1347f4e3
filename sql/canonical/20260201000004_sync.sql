-- Migration: 20260201000004_sync.sql
-- Devices, and the one function that they call: it takes the operations that they push and says what has
-- changed since they last asked. Every table is the user's first, so that a user's rows stay together on
-- a database of many nodes; times are set by the functions, and nothing counts by a sequence. Re-runnable.

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

-- Tables ------------------------------------------------------------------------------------------

-- A device: who it says it is (a token, of which only the hash is here), what it may do, and how far
-- its operations have come. scope_user is null for a device over all users. watermark is the number of
-- the last operation that canonical has judged, confirmed the last whose verdict the device has, and each
-- has the hash of the chain up to it. calls counts its calls: a cursor of a later one than canonical knows of
-- was given before canonical was restored from a backup; from then on cursors are of another era.
create table if not exists tally_sync.devices (
  device_id       uuid primary key,
  scope_user      uuid,
  name            text not null,
  token_sha256    bytea not null unique check (octet_length(token_sha256) = 32),
  capabilities    text[] not null check (capabilities <@ array['author', 'worker', 'service'] and cardinality(capabilities) > 0),
  enrolled_from   uuid references tally_sync.devices (device_id),
  watermark       bigint not null default 0,
  chain           bytea not null default '\x',
  confirmed       bigint not null default 0,
  confirmed_chain bytea not null default '\x',
  calls           bigint not null default 0,
  era             uuid not null default gen_random_uuid(),
  -- Its leases end by themselves so long after their expiry; null: never.
  reclaim_after   interval check (reclaim_after between interval '0' and interval '100 years'),
  created_at      timestamptz not null,
  seen_at         timestamptz,
  revoked_at      timestamptz,
  check (confirmed between 0 and watermark)
);
create index if not exists devices_enrolled_from on tally_sync.devices (enrolled_from) where enrolled_from is not null;

-- Where each user's rows have got to. It is counted up once a transaction, under its row's lock, which is
-- held to the commit: so commit order is revision order. xid: the transaction that did it last.
-- pruned: the latest revision of a tombstone that was removed; who asks for what is older is told everything.
create table if not exists tally_sync.revisions (
  user_id  uuid primary key,
  revision bigint not null,
  xid      xid8 not null,
  pruned   bigint not null default 0
) with (fillfactor = 50);

-- What a transaction found: the user's revision and number of entries before it. A device over many users
-- finds here, by xid, who has changed and since when.
create table if not exists tally_sync.marks (
  user_id  uuid not null,
  xid      xid8 not null,
  revision bigint not null,
  entries  bigint not null,
  at       timestamptz not null default now(),
  primary key (user_id, xid)
);
create index if not exists marks_xid on tally_sync.marks (xid);

-- Marks up to here were removed: who asks from before is told everything. server: whose transaction ids
-- these tables have; a dump that was restored onto another has ids which say nothing there.
create table if not exists tally_sync.floor (
  only_one boolean primary key default true check (only_one),
  xid      xid8 not null,
  server   bigint not null default ((pg_control_system()).system_identifier)
);
insert into tally_sync.floor (xid) values ('0') on conflict do nothing;

-- The revision at which each row last changed, or went. Entries are told by their seq, and are here only
-- when they lost their job; a job's steps are one, under the job's id.
create table if not exists tally_sync.changes (
  user_id  uuid not null,
  kind     text not null,
  row_id   uuid not null,
  revision bigint not null,
  gone     boolean not null,
  at       timestamptz not null default now(),
  primary key (user_id, kind, row_id)
) with (fillfactor = 70);
create index if not exists changes_revision on tally_sync.changes (user_id, revision);
-- Whose an asset or a job's steps were, when their job went with them.
create index if not exists changes_row on tally_sync.changes (row_id) where kind in ('assets', 'job_steps') and not gone;

-- The answers to a device's operations, kept until it confirms them, each with the chain's hash up to it;
-- one that concerns no user is the nil user's.
create table if not exists tally_sync.verdicts (
  user_id   uuid not null,
  device_id uuid not null references tally_sync.devices (device_id),
  number    bigint not null,
  chain     bytea not null,
  op_id     uuid,
  result    text not null,
  id        uuid,
  index     integer,
  -- One index for both: a device's verdicts are read and removed by their numbers.
  primary key (device_id, number, user_id)
);

-- Credits set aside for one device and one user; a device has at most one open for a user.
create table if not exists tally_sync.leases (
  user_id    uuid not null,
  lease_id   uuid not null unique,
  device_id  uuid not null references tally_sync.devices (device_id),
  unspent    integer not null check (unspent >= 0),
  expires_at timestamptz not null,
  closed_at  timestamptz,
  closed_by  text check (closed_by in ('return', 'write_off', 'reclaim')),
  primary key (user_id, lease_id),
  check ((closed_at is null) = (closed_by is null))
) with (fillfactor = 70);
create unique index if not exists leases_open on tally_sync.leases (user_id, device_id) where closed_at is null;
create index if not exists leases_device on tally_sync.leases (device_id);

do $$
declare
  t text;
begin
  foreach t in array array['devices', 'revisions', 'marks', 'floor', 'changes', 'verdicts', 'leases'] loop
    execute format('alter table tally_sync.%I owner to tally_owner', t);
    execute format('alter table tally_sync.%I enable row level security', t);
    execute format('revoke all on tally_sync.%I from public, anon, authenticated, service_role, tally_device', t);
  end loop;
end;
$$;

-- What changed ------------------------------------------------------------------------------------

-- Counts these users' revisions up, unless this transaction did before. Called before it writes their
-- accounts, so that the account still has the number of entries from before.
create or replace function tally_sync.bump(users uuid[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  with
  bumped as (
    insert into tally_sync.revisions as r (user_id, revision, xid)
    select u, 1, pg_current_xact_id() from unnest(users) u
     where (select x.xid from tally_sync.revisions x where x.user_id = u) is distinct from pg_current_xact_id() order by u
    on conflict (user_id) do update set revision = r.revision + 1, xid = excluded.xid where r.xid <> excluded.xid
    returning r.user_id, r.revision, r.xid)
  insert into tally_sync.marks (user_id, xid, revision, entries)
  select b.user_id, b.xid, b.revision - 1, coalesce((select a.seq from tally.accounts a where a.user_id = b.user_id), 0)
    from bumped b
  on conflict do nothing;
end;
$$;

-- Notes rows of users that changed or went, under their present revision.
create or replace function tally_sync.note(p_kind text, p_users uuid[], p_rows uuid[], p_gone boolean)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if coalesce(cardinality(p_users), 0) = 0 then
    return;
  end if;
  perform tally_sync.bump(array(select distinct u from unnest(p_users) u));
  insert into tally_sync.changes as c (user_id, kind, row_id, revision, gone)
  select x.user_id, p_kind, x.row_id, (select r.revision from tally_sync.revisions r where r.user_id = x.user_id), p_gone
    from (select distinct u.user_id, u.row_id from unnest(p_users, p_rows) u(user_id, row_id)) x
   order by 1, 3
  on conflict (user_id, kind, row_id) do update
    set revision = excluded.revision, gone = excluded.gone, at = excluded.at
    where (c.revision, c.gone) <> (excluded.revision, excluded.gone);
end;
$$;

-- Two trigger functions a table: its rows changed (inserted or updated), or went. Whose they are is in
-- a column, or, for steps and assets, with their job; where the job went with them, in what was noted before.
-- What our functions do to jobs, steps and assets tally.write() notes, once a call.
do $$
declare
  t record;
begin
  for t in
    select v.*, case when v.name in ('jobs', 'job_steps', 'assets', 'job_state') then 'when (current_user <> ''tally_owner'')' else '' end as condition
      from (values
      ('public', 'profiles', 'profiles', 'x.id', 'x.id', ''),
      ('public', 'draft_prompts', 'draft_prompts', 'x.user_id', 'x.id', ' where x.user_id is not null'),
      ('public', 'projects', 'projects', 'x.user_id', 'x.id', ''),
      ('public', 'voice_profiles', 'voice_profiles', 'x.user_id', 'x.id', ''),
      ('public', 'jobs', 'jobs', 'x.user_id', 'x.id', ''),
      ('public', 'job_steps', 'job_steps', 'j.user_id', 'x.job_id', ' join public.jobs j on j.id = x.job_id'),
      ('public', 'assets', 'assets', 'j.user_id', 'x.id', ' join public.jobs j on j.id = x.job_id'),
      ('tally', 'job_state', 'jobs', 'x.user_id', 'x.job_id', ''),
      ('public', 'credit_ledger', 'credit_ledger', 'x.user_id', 'x.id', ' where x.user_id is not null'))
      as v(space, name, kind, user_column, id_column, rest)
  loop
    execute format($f$
      create or replace function tally_sync.%1$s_changed()
      returns trigger
      language plpgsql
      security definer
      set search_path = pg_catalog, pg_temp
      as $body$
      declare
        v_users uuid[];
        v_ids uuid[];
      begin
        select array_agg(%3$s), array_agg(%4$s) into v_users, v_ids from new_rows x%5$s;
        perform tally_sync.note(%2$L, v_users, v_ids, false);
        return null;
      end;
      $body$ $f$, t.name, t.kind, t.user_column, t.id_column, t.rest);
    execute format('drop trigger if exists tally_changed_update on %I.%I', t.space, t.name);
    execute format('create trigger tally_changed_update after update on %I.%I referencing new table as new_rows '
                   'for each statement %s execute function tally_sync.%s_changed()', t.space, t.name, t.condition, t.name);
    continue when t.name = 'credit_ledger';
    execute format('drop trigger if exists tally_changed_insert on %I.%I', t.space, t.name);
    execute format('create trigger tally_changed_insert after insert on %I.%I referencing new table as new_rows '
                   'for each statement %s execute function tally_sync.%s_changed()', t.space, t.name, t.condition, t.name);
    continue when t.name = 'job_state';  -- It goes with its job.
    execute format($f$
      create or replace function tally_sync.%1$s_gone()
      returns trigger
      language plpgsql
      security definer
      set search_path = pg_catalog, pg_temp
      as $body$
      declare
        v_users uuid[];
        v_ids uuid[];
      begin
        select array_agg(%3$s), array_agg(%4$s) into v_users, v_ids from old_rows x%5$s;
        perform tally_sync.note(%2$L, v_users, v_ids, %6$s);
        return null;
      end;
      $body$ $f$, t.name, t.kind,
      case when t.user_column = 'j.user_id' then 'coalesce(j.user_id, c.user_id)' else t.user_column end, t.id_column,
      case when t.user_column = 'j.user_id'
           then format(' left join public.jobs j on j.id = x.job_id left join tally_sync.changes c on c.row_id = %s'
                       ' and c.kind = %L and not c.gone where coalesce(j.user_id, c.user_id) is not null', t.id_column, t.kind)
           else t.rest end,
      -- A job's steps are one: some of them went, and it has changed.
      (t.kind <> 'job_steps')::text);
    execute format('drop trigger if exists tally_changed_delete on %I.%I', t.space, t.name);
    execute format('create trigger tally_changed_delete after delete on %I.%I referencing old table as old_rows '
                   'for each statement execute function tally_sync.%s_gone()', t.space, t.name, t.name);
  end loop;
end;
$$;

-- Entries only count the revision up: their seq says the rest.
create or replace function tally_sync.entries_appended()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform tally_sync.bump(array(select distinct n.user_id from new_rows n where n.user_id is not null));
  return null;
end;
$$;

-- Named so as to come before the trigger that writes the account: bump() wants it as it was.
drop trigger if exists tally_appended on public.credit_ledger;
create trigger tally_appended
  after insert on public.credit_ledger
  referencing new table as new_rows
  for each statement execute function tally_sync.entries_appended();

-- A changed address or name is the user's, and so fed.
create or replace function tally_sync.user_changed()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform tally_sync.bump(array(
    select n.id from new_rows n join tally.accounts a on a.user_id = n.id));
  return null;
end;
$$;

do $$
begin
  -- The users of a cell are shared, and it has no trigger on them.
  if not tally.is_cell() then
    -- Not ours to drop.
    if not exists (select from pg_trigger t where t.tgrelid = 'auth.users'::regclass and t.tgname = 'tally_user_changed') then
      create trigger tally_user_changed after update on auth.users referencing new table as new_rows
        for each statement execute function tally_sync.user_changed();
    end if;
  end if;
end;
$$;

-- What was there before there were revisions is revision 1.
do $$
begin
  if exists (select from tally_sync.revisions) then
    return;
  end if;
  insert into tally_sync.revisions (user_id, revision, xid) select a.user_id, 1, pg_current_xact_id() from tally.accounts a;
  insert into tally_sync.marks (user_id, xid, revision, entries) select r.user_id, r.xid, 0, 0 from tally_sync.revisions r;
  insert into tally_sync.changes (user_id, kind, row_id, revision, gone)
  select t.id, 'profiles', t.id, 1, false from public.profiles t
  union all
  select t.user_id, 'draft_prompts', t.id, 1, false from public.draft_prompts t where t.user_id is not null
  union all
  select t.user_id, 'projects', t.id, 1, false from public.projects t
  union all
  select t.user_id, 'voice_profiles', t.id, 1, false from public.voice_profiles t
  union all
  select t.user_id, 'jobs', t.id, 1, false from public.jobs t
  union all
  select j.user_id, 'job_steps', j.id, 1, false from public.jobs j where exists (select from public.job_steps s where s.job_id = j.id)
  union all
  select j.user_id, 'assets', t.id, 1, false from public.assets t join public.jobs j on j.id = t.job_id;
end;
$$;

-- Leases ------------------------------------------------------------------------------------------

-- Ends an open lease: what is unspent goes back to the user. The caller says why.
create or replace function tally_sync.close_lease(p_user uuid, p_lease uuid, p_by text)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_unspent integer;
begin
  perform tally.lock_accounts(array[p_user]);
  select l.unspent into v_unspent from tally_sync.leases l
   where l.user_id = p_user and l.lease_id = p_lease and l.closed_at is null for update;
  if not found then
    return null;
  end if;
  -- Its device is told with its user, also where nothing comes back.
  perform tally_sync.bump(array[p_user]);
  update tally_sync.leases l set unspent = 0, closed_at = clock_timestamp(), closed_by = p_by
   where l.user_id = p_user and l.lease_id = p_lease;
  if v_unspent > 0 then
    perform tally.append_entries(p_user, gen_random_uuid(), now(), null, array['refund'], array[v_unspent],
                                 array['Lease returned'], (-v_unspent)::bigint);
  end if;
  return v_unspent;
end;
$$;

-- Ends the leases of these users that are overdue by more than their devices may; but for the calling
-- device's, whose pushes come first. True where there was one. The caller has locked the accounts.
create or replace function tally_sync.reclaim(users uuid[], p_device uuid)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  l record;
  v_any boolean := false;
begin
  for l in select x.user_id, x.lease_id
             from tally_sync.leases x join tally_sync.devices d on d.device_id = x.device_id
            where x.user_id = any (users) and x.closed_at is null and x.device_id is distinct from p_device
              and x.expires_at + d.reclaim_after < clock_timestamp()
            order by x.user_id loop
    perform tally_sync.close_lease(l.user_id, l.lease_id, 'reclaim');
    v_any := true;
  end loop;
  return v_any;
end;
$$;

-- Where the ids are another server's, forgets them, and every cursor with them: all devices are told everything.
create or replace function tally_sync.settle()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_server bigint := (select c.system_identifier from pg_control_system() c);
begin
  if (select f.server from tally_sync.floor f) = v_server then
    return;
  end if;
  -- By one; who waited finds it done.
  perform from tally_sync.floor f for update;
  if (select f.server from tally_sync.floor f) = v_server then
    return;
  end if;
  delete from tally_sync.marks;
  update tally_sync.revisions set xid = '0';
  update tally_sync.devices set era = gen_random_uuid();
  update tally_sync.floor set xid = '0', server = v_server;
end;
$$;

-- Removes marks and tombstones older than that; a device that has not asked for longer is told everything
-- anew. Answers how many rows went.
create or replace function tally_sync.prune(p_keep interval)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '5s'
as $$
declare
  v_marks bigint;
  v_tombstones bigint;
begin
  begin
    lock table tally_sync.floor in exclusive mode;
  exception when lock_not_available then
    raise exception using errcode = 'lock_not_available', message = 'A device''s call is still going on: prune again later';
  end;
  perform tally_sync.settle();
  with
  old as (delete from tally_sync.marks m where m.at < now() - p_keep returning m.xid),
  floor as (update tally_sync.floor f set xid = greatest(f.xid, (select o.xid from old o order by o.xid desc limit 1)) where exists (select from old))
  select count(*) into v_marks from old;
  with
  old as (delete from tally_sync.changes c where c.gone and c.at < now() - p_keep returning c.user_id, c.revision),
  pruned as (
    update tally_sync.revisions r set pruned = greatest(r.pruned, o.revision)
      from (select user_id, max(revision) as revision from old group by user_id) o where o.user_id = r.user_id)
  select count(*) into v_tombstones from old;
  return v_marks + v_tombstones;
end;
$$;

-- An operator writes a lease off.
create or replace function tally_sync.write_off(p_lease uuid)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_user uuid;
  v_unspent integer;
begin
  select l.user_id into v_user from tally_sync.leases l where l.lease_id = p_lease;
  v_unspent := tally_sync.close_lease(v_user, p_lease, 'write_off');
  if v_unspent is null then
    perform tally.refuse('lease_not_found');
  end if;
  return v_unspent;
end;
$$;

-- Devices -----------------------------------------------------------------------------------------

-- A new device and its token, which is nowhere else. scope: one user, or null for all. from: the device
-- whose mirror is enrolled anew.
create or replace function tally_sync.add_device(
  p_name text, p_capabilities text[], p_user uuid default null, p_reclaim_after interval default null, p_from uuid default null)
returns table (device_id uuid, token text)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_id uuid := gen_random_uuid();
  -- 244 random bits.
  v_token text := 'tally_' || replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
begin
  if coalesce(octet_length(p_name), 0) not between 1 and 255 or coalesce(cardinality(p_capabilities), 0) = 0
     or not p_capabilities <@ array['author', 'worker', 'service']
     or p_reclaim_after not between interval '0' and interval '100 years' then
    perform tally.refuse('invalid_argument');
  elsif p_user is not null and not tally.is_user(p_user) then
    perform tally.refuse('user_not_found');
  end if;
  insert into tally_sync.devices (device_id, scope_user, name, token_sha256, capabilities, enrolled_from, reclaim_after, created_at)
  values (v_id, p_user, p_name, sha256(convert_to(v_token, 'UTF8')), array(select distinct unnest(p_capabilities) order by 1),
          p_from, p_reclaim_after, clock_timestamp());
  -- Whose row was replicated has no revision yet, and so no cursor.
  if p_user is not null and not exists (select from tally_sync.revisions r where r.user_id = p_user) then
    perform tally_sync.bump(array[p_user]);
  end if;
  return query select v_id, v_token;
end;
$$;

-- Keeps the device, with a new token.
create or replace function tally_sync.rotate_token(p_device uuid)
returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  v_token text := 'tally_' || replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
begin
  update tally_sync.devices d set token_sha256 = sha256(convert_to(v_token, 'UTF8'))
   where d.device_id = p_device and d.revoked_at is null;
  if not found then
    perform tally.refuse('unauthorized');
  end if;
  return v_token;
end;
$$;

-- Ends a device: its token, its claims and its leases.
create or replace function tally_sync.revoke_device(p_device uuid)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  l record;
  v_users uuid[];
  v_jobs uuid[];
begin
  update tally_sync.devices d set revoked_at = clock_timestamp() where d.device_id = p_device and d.revoked_at is null;
  if not found then
    perform tally.refuse('unauthorized');
  end if;
  for l in select x.user_id, x.lease_id from tally_sync.leases x
            where x.device_id = p_device and x.closed_at is null order by x.user_id loop
    perform tally_sync.close_lease(l.user_id, l.lease_id, 'write_off');
  end loop;
  with ended as (
    update tally.job_state s set claim_until = null, claim_device = null
     where s.claim_device = p_device and s.claim_until > clock_timestamp()
    returning s.user_id, s.job_id)
  select array_agg(e.user_id), array_agg(e.job_id) into v_users, v_jobs from ended e;
  perform tally_sync.note('jobs', v_users, v_jobs, false);
end;
$$;

create or replace function tally_sync.list_devices()
returns table (device_id uuid, name text, scope_user uuid, capabilities text[], watermark bigint, leased bigint,
               created_at timestamptz, seen_at timestamptz, revoked_at timestamptz)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select d.device_id, d.name, d.scope_user, d.capabilities, d.watermark,
         (select coalesce(sum(l.unspent), 0) from tally_sync.leases l where l.device_id = d.device_id and l.closed_at is null),
         d.created_at, d.seen_at, d.revoked_at
    from tally_sync.devices d order by d.created_at, d.device_id;
$$;

-- A device, and those that its mirror was enrolled anew from.
create or replace function tally_sync.kin(d tally_sync.devices)
returns uuid[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_kin uuid[] := array[d.device_id];
  v_from uuid := d.enrolled_from;
begin
  while v_from is not null and v_from <> all (v_kin) loop
    v_kin := v_kin || v_from;
    v_from := (select x.enrolled_from from tally_sync.devices x where x.device_id = v_from);
  end loop;
  return v_kin;
end;
$$;

-- One step of a device -----------------------------------------------------------------------------

-- Applies what is new of a push. A database error that one of them brings about is that one's verdict; any
-- other ends the call.
create or replace function tally_sync.judge(w tally.pusher, operations tally.op[], inner_operations tally.op[])
returns tally.verdict[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_verdicts tally.verdict[] := array[]::tally.verdict[];
  v_inner tally.op[];
  o tally.op;
begin
  begin
    return tally.apply(null, w, operations, inner_operations);
  exception when others then
    if left(sqlstate, 2) not in ('21', '22', '23', '44', '54', 'P0') then
      raise;
    end if;
  end;
  -- One after another, to find it.
  for n in 1 .. cardinality(operations) loop
    o := operations[n];
    begin
      v_inner := inner_operations[o.inner_first : o.inner_first + o.inner_count - 1];
      o.inner_first := case when o.op = 'batch' then 1 end;
      v_verdicts := v_verdicts || tally.apply(null, w, array[o], coalesce(v_inner, '{}'));
    exception when others then
      if left(sqlstate, 2) not in ('21', '22', '23', '44', '54', 'P0') then
        raise;
      end if;
      v_verdicts := v_verdicts || row(o.op_id, 'internal_error', null, null, null)::tally.verdict;
    end;
  end loop;
  return v_verdicts;
end;
$$;

-- The operations of a push, decoded, each with its envelope and the leases that it drew on: a lease's id,
-- or, for a batch, place:id of each of its ops that drew, with commas between.
create or replace function tally_sync.decode(
  p_lines text[], p_users uuid[], p_leases text[], out operations tally.op[], out inner_operations tally.op[])
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_docs json[];
  v_nuls text[];
  o tally.op;
  i tally.op;
  v_id constant text := '[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}';
begin
  select p.docs, p.nuls into v_docs, v_nuls from tally.parse_all(p_lines) p;
  operations := tally.decode(v_docs, v_nuls, null, clock_timestamp());
  select l.operations, l.inner_operations into operations, inner_operations
    from tally.with_batches(operations, v_docs, v_nuls) l;
  operations := array(
    select row(t.op, t.op_id, t.at, t.fields, t.error, t.fingerprint, t.reservation,
               t.has_user or t.op = 'return_lease', case when t.op = 'return_lease' then p_users[t.n] else t.user_id end, null,
               t.has_job, t.job_id, null, t.in_batch, t.inner_first, t.inner_count, false, t.capability, p_users[t.n],
               case when p_leases[t.n] <> '' and t.op <> 'batch' and p_leases[t.n] ~ ('^' || v_id || '$') then p_leases[t.n]::uuid end,
               null)::tally.op
      from unnest(operations) with ordinality as t(
             op, op_id, at, fields, error, fingerprint, reservation, has_user, user_id, user_n, has_job, job_id,
             job_n, in_batch, inner_first, inner_count, seen, capability, envelope, lease, late, n)
     order by t.n);
  for n in 1 .. case when cardinality(inner_operations) > 0 then cardinality(operations) else 0 end loop
    o := operations[n];
    continue when o.op is distinct from 'batch';
    for k in o.inner_first .. o.inner_first + o.inner_count - 1 loop
      i := inner_operations[k];
      i.envelope := o.envelope;
      i.lease := substring(p_leases[n] from '(?:^|,)' || (k - o.inner_first) || ':(' || v_id || ')(?:,|$)')::uuid;
      inner_operations[k] := i;
    end loop;
  end loop;
end;
$$;

-- The next job for a worker, claimed: a QUEUED one or one in a stage, without a live claim, the oldest of these
-- users' (null: of all) that nobody else is just about to take.
create or replace function tally_sync.claim_next(w tally.pusher, p_users uuid[], p_ttl integer)
returns uuid
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_job uuid;
  v_user uuid;
  v_ops tally.op[];
  o tally.op;
begin
  select b.id, b.user_id into v_job, v_user
    from public.jobs b left join tally.job_state s on s.user_id = b.user_id and s.job_id = b.id
   where b.status in ('QUEUED', 'SCRIPTING', 'VOICE_GEN', 'ALIGNMENT', 'VISUAL_PLAN', 'IMAGE_GEN', 'TIMELINE', 'RENDERING', 'PACKAGING')
     and (s.claim_until is null or s.claim_until <= w.now)
     and (p_users is null or b.user_id = any (p_users))
   order by b.created_at, b.id limit 1
   for no key update of b skip locked;
  if not found then
    return null;
  end if;
  v_ops := tally.decode(
    array[json_build_object('op', 'claim_job', 'op_id', gen_random_uuid(), 'job_id', v_job, 'ttl', p_ttl)],
    array[null::text], w.now, w.now);
  o := v_ops[1];
  o.envelope := v_user;
  v_ops[1] := o;
  return case when (tally.apply(null, w, v_ops, '{}'))[1].result = 'ok' then v_job end;
end;
$$;

-- A cursor is what a call answered with: {"r", "e"} for one user, the revision and the number of entries;
-- for all {"x"}, with "to" and "after", and "start" where everything is told, in the midst of a round: see
-- tally_sync.round(). In the midst of a user's pages it has "w", too: see tally_sync.page(). Each has {"n", "era"},
-- the number of the call and canonical's life that it was made in.
create or replace function tally_sync.is_cursor(c jsonb)
returns boolean
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select c is null
      or (jsonb_typeof(c) = 'object'
          and (not c ? 'r' or (c ->> 'r' ~ '^[0-9]{1,18}$' and coalesce(c ->> 'e' ~ '^[0-9]{1,18}$', false)))
          and (not c ? 'own' or c ->> 'own' ~ '^[0-9]{1,18}$')
          and (not c ? 'n' or c ->> 'n' ~ '^[0-9]{1,18}$')
          and (not c ? 'era' or c ->> 'era' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$')
          and (not c ? 'x' or c ->> 'x' ~ '^[0-9]{1,18}( [0-9]{1,18}){0,16}$')
          and (not c ? 'to' or c ->> 'to' ~ '^[0-9]{1,18}( [0-9]{1,18}){0,16}$')
          and (not c ? 'after' or c ->> 'after' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$')
          and (not c ? 'w'
               or coalesce(c #>> '{w,u}' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                           and c #>> '{w,r}' ~ '^[0-9]{1,18}$' and c #>> '{w,e}' ~ '^[0-9]{1,18}$'
                           and c #>> '{w,from}' ~ '^[0-9]{1,18}$' and c #>> '{w,to}' ~ '^[0-9]{1,18}$'
                           and c #>> '{w,entries}' ~ '^[0-9]{1,18}$' and c #>> '{w,kind}' ~ '^[1-9]$'
                           and coalesce(c #>> '{w,after}' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', true), false)));
$$;

-- How many rows that changed since then a user has, and entries behind that one; counted up to a bound.
create or replace function tally_sync.rows_since(p_user uuid, p_revision bigint, p_entries bigint, p_rows_max integer)
returns bigint
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce((select a.seq - p_entries from tally.accounts a where a.user_id = p_user), 0)
         + (select count(*) from (select from tally_sync.changes c
                                   where c.user_id = p_user and c.revision > p_revision limit p_rows_max::bigint + 1) x);
$$;

-- The next page of a user's rows that are too many for one call. They are gone over by kind and id, then the
-- entries, in the state that they have when they are read; what changed meanwhile is gone over again, until
-- what is left fits into one answer, which then is of one moment. In the cursor: u, the user; r and e, where
-- the device was; from and to, the revisions that this round is about; entries, how many it has by now; kind
-- and after, the place.
create or replace function tally_sync.page(
  w jsonb, p_full boolean, p_rows_max integer,
  out kinds text[], out row_ids uuid[], out entries_after bigint, out entries_upto bigint, out next jsonb)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  c_kinds constant text[] := array['profiles', 'voice_profiles', 'projects', 'jobs', 'job_steps', 'assets', 'draft_prompts', 'credit_ledger'];
  v_user uuid := (w ->> 'u')::uuid;
  v_after uuid := (w ->> 'after')::uuid;
  v_kind integer := (w ->> 'kind')::integer;
  v_left integer := p_rows_max;
  v_ids uuid[];
  v_entries bigint;
begin
  kinds := '{}';
  row_ids := '{}';
  entries_after := (w ->> 'entries')::bigint;
  entries_upto := entries_after;
  while v_left > 0 and v_kind <= cardinality(c_kinds) loop
    if p_full or c_kinds[v_kind] not in ('profiles', 'draft_prompts') then
      v_ids := array(select c.row_id from tally_sync.changes c
                      where c.user_id = v_user and c.kind = c_kinds[v_kind] and (v_after is null or c.row_id > v_after)
                        and c.revision > (w ->> 'from')::bigint
                      order by c.row_id limit v_left);
      kinds := kinds || array_fill(c_kinds[v_kind], array[cardinality(v_ids)]);
      row_ids := row_ids || v_ids;
      v_left := v_left - cardinality(v_ids);
      v_after := v_ids[cardinality(v_ids)];
    end if;
    if v_left > 0 then
      v_kind := v_kind + 1;
      v_after := null;
    end if;
  end loop;
  next := w || jsonb_build_object('kind', v_kind, 'after', v_after);
  if v_left = 0 then
    return;
  end if;
  select a.seq into v_entries from tally.accounts a where a.user_id = v_user;
  entries_upto := least(v_entries, entries_after + v_left);
  next := next || jsonb_build_object('entries', entries_upto);
  if entries_upto = v_entries then
    -- Round again, over what changed since this one began.
    next := next || jsonb_build_object('from', w -> 'to', 'kind', 1, 'after', null, 'to',
      (select r.revision from tally_sync.revisions r where r.user_id = v_user));
  end if;
end;
$$;

-- Of whom a call tells: of users whole, each since where the device has them, which for one whose pages came
-- before is behind these; or a page of one; and the cursor that the device has then.
do $$
begin
  if to_regtype('tally_sync.feed') is null then
    create type tally_sync.feed as (
      users         uuid[],
      revisions     bigint[],
      entries       bigint[],
      paged         uuid,     -- One of them, or the one of whom a page is told.
      pages         jsonb,    -- Its place before this call.
      kinds         text[],
      row_ids       uuid[],
      entries_after bigint,
      entries_upto  bigint,
      cursor        jsonb,    -- Null: of one user, told whole.
      more          boolean,
      is_complete   boolean,  -- Told of are all users behind complete_after up to complete_to, null being the last.
      complete_after uuid,
      complete_to   uuid);
  end if;
end;
$$;

-- Where a device that is over one user has it; from the start, where canonical has not reached that (it was
-- restored), or tombstones behind it are gone.
create or replace function tally_sync.place_of(p_user uuid, p_revision bigint, p_entries bigint, out revision bigint, out entries bigint)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  select p_revision, p_entries into revision, entries
    from tally_sync.revisions r join tally.accounts a on a.user_id = r.user_id
   where r.user_id = p_user and p_revision between r.pruned and r.revision and p_entries <= a.seq;
  revision := coalesce(revision, 0);
  entries := coalesce(entries, 0);
end;
$$;

-- A user's page, where it is in the midst of its pages or its rows are too many for one answer; otherwise it
-- is told whole.
create or replace function tally_sync.feed_user(
  p_user uuid, p_revision bigint, p_entries bigint, w jsonb, p_full boolean, p_rows_max integer)
returns tally_sync.feed
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  f tally_sync.feed;
  p record;
begin
  -- Pages that canonical does not know any more, or has removed tombstones behind, are begun anew.
  if w is not null and not exists (
      select from tally_sync.revisions r
       where r.user_id = p_user and (w ->> 'to')::bigint <= r.revision
         and ((w ->> 'from')::bigint = 0 or (w ->> 'from')::bigint >= r.pruned)) then
    w := null;
    p_revision := 0;
    p_entries := 0;
  end if;
  f.paged := case when w is not null then p_user end;
  f.pages := w;
  f.more := false;
  if tally_sync.rows_since(p_user, coalesce((w ->> 'from')::bigint, p_revision), coalesce((w ->> 'entries')::bigint, p_entries),
                           p_rows_max) <= p_rows_max
     and coalesce((w ->> 'kind')::integer, 1) = 1 and w ->> 'after' is null then
    f.users := array[p_user];
    f.revisions := array[coalesce((w ->> 'from')::bigint, p_revision)];
    f.entries := array[coalesce((w ->> 'entries')::bigint, p_entries)];
    return f;
  end if;
  f.users := '{}';
  f.revisions := '{}';
  f.entries := '{}';
  if w is null then
    w := jsonb_build_object('u', p_user, 'r', p_revision, 'e', p_entries, 'from', p_revision, 'entries', p_entries, 'kind', 1, 'to',
      (select r.revision from tally_sync.revisions r where r.user_id = p_user));
  end if;
  select x.* into p from tally_sync.page(w, p_full, p_rows_max) x;
  f.paged := p_user;
  f.kinds := p.kinds;
  f.row_ids := p.row_ids;
  f.entries_after := p.entries_after;
  f.entries_upto := p.entries_upto;
  f.cursor := jsonb_build_object('w', p.next);
  f.more := true;
  return f;
end;
$$;

-- The transactions that are not over: the first that has not begun, then those under way, this one among them. One
-- that stays open, be it in another database, so holds up nothing but itself. A cursor does not grow with them: of
-- more than 16 the later ones count as not begun.
create or replace function tally_sync.not_over()
returns xid8[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(u.xids[17], pg_snapshot_xmax(s)) || u.xids[: 16]
    from pg_current_snapshot() s
   cross join lateral (
     select array(select o.xid from (select pg_snapshot_xip(s) union select pg_current_xact_id()) o(xid)
                   where o.xid < pg_snapshot_xmax(s) order by o.xid)) u(xids);
$$;

-- Where a round over all users is: start, everything is told; x, the transactions that it is about, which were
-- not over as the round before began; upto, those of the next one; after, the last user told; own, the device's
-- call before, which told of all that it changed. A cursor that canonical does not know (it was restored),
-- or behind which marks were removed, begins from the start.
create or replace function tally_sync.round(c jsonb, out start boolean, out x xid8[], out upto xid8[], out after uuid, out own xid8)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  x := string_to_array(c ->> 'x', ' ')::xid8[];
  start := coalesce(c ? 'start', true);
  if x is null or x[1] > pg_snapshot_xmax(pg_current_snapshot()) or (select f.xid from tally_sync.floor f) >= any (x) then
    c := case when start then c end;
    start := true;
  end if;
  upto := coalesce(string_to_array(c ->> 'to', ' ')::xid8[], tally_sync.not_over());
  after := coalesce((c ->> 'after')::uuid, tally.no_user());
  own := (c ->> 'own')::xid8;
end;
$$;

-- Where a device over all users has these.
create or replace function tally_sync.places(p_users uuid[], p_start boolean, p_x xid8[])
returns table (user_id uuid, revision bigint, entries bigint)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  select p.u, case when p_start or p.revision < p.pruned then 0 else p.revision end,
         case when p_start or p.revision < p.pruned then 0 else p.entries end
    from (select u, coalesce(r.pruned, 0) as pruned, coalesce(min(m.revision), r.revision, 0) as revision,
                 coalesce(min(m.entries), a.seq, 0) as entries
            from unnest(p_users) u
            left join tally_sync.revisions r on r.user_id = u
            left join tally.accounts a on a.user_id = u
            left join tally_sync.marks m on m.user_id = u and (m.xid >= p_x[1] or m.xid = any (p_x))
           group by u, r.pruned, r.revision, a.seq) p;
$$;

-- Whether one of these users has more to be fed to the device than one answer takes: then nothing is judged,
-- since a verdict comes with all that its user has.
create or replace function tally_sync.is_behind(d tally_sync.devices, p_cursor jsonb, p_users uuid[], p_rows_max integer)
returns boolean
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_round record;
begin
  if p_cursor ? 'w' and (p_cursor #>> '{w,u}')::uuid = any (p_users || d.scope_user) then
    return true;
  end if;
  if d.scope_user is not null then
    return (select tally_sync.rows_since(d.scope_user, x.revision, x.entries, p_rows_max) > p_rows_max
              from tally_sync.place_of(d.scope_user, (p_cursor ->> 'r')::bigint, (p_cursor ->> 'e')::bigint) x);
  end if;
  select x.* into v_round from tally_sync.round(p_cursor) x;
  return exists (
    select from tally_sync.places(array(select distinct u from unnest(p_users) u), v_round.start, v_round.x) x
     where tally_sync.rows_since(x.user_id, x.revision, x.entries, p_rows_max) > p_rows_max);
end;
$$;

-- Of which users a device is told in this call, and the cursor that it has then. A device over all goes round:
-- the users whose rows the transactions of x changed, by their ids, a page a call; the next round's x are those
-- that were not over when this round began, so that none is passed by. judged: the
-- users of whom verdicts are told, or a claimed job. They are told of whole in any case, however much it is: an
-- operation may have been applied before, by another device.
create or replace function tally_sync.plan(
  d tally_sync.devices, p_cursor jsonb, p_judged uuid[], p_digest uuid, p_users_max integer, p_rows_max integer, p_only uuid[])
returns tally_sync.feed
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  f tally_sync.feed;
  v_full boolean := d.capabilities && array['author', 'service'];
  v_place record;
  v_round record;
  v_cursor jsonb;
  v_turn record;
  v_pages jsonb;
begin
  if d.scope_user is not null then
    select x.* into v_place
      from tally_sync.place_of(d.scope_user, (coalesce(p_cursor -> 'w', p_cursor) ->> 'r')::bigint,
                               (coalesce(p_cursor -> 'w', p_cursor) ->> 'e')::bigint) x;
    v_pages := case when (p_cursor #>> '{w,u}')::uuid = d.scope_user then p_cursor -> 'w' end;
    return tally_sync.feed_user(d.scope_user, v_place.revision, v_place.entries, v_pages, v_full,
                                case when p_judged = '{}' or v_pages is not null then p_rows_max else 2147483647 end);
  end if;

  select x.* into v_round from tally_sync.round(p_cursor) x;
  v_cursor := jsonb_build_object('x', array_to_string(coalesce(v_round.x, '{0}'), ' '), 'to', array_to_string(v_round.upto, ' '))
              || case when v_round.start then '{"start": true}' else '{}' end::jsonb;
  if p_cursor ? 'w' and (v_round.start = coalesce(p_cursor ? 'start', false)) then
    f := tally_sync.feed_user((p_cursor #>> '{w,u}')::uuid, (p_cursor #>> '{w,r}')::bigint, (p_cursor #>> '{w,e}')::bigint,
                              p_cursor -> 'w', v_full, p_rows_max);
    f.cursor := v_cursor || jsonb_build_object('after', case when f.more then v_round.after else (p_cursor #>> '{w,u}')::uuid end)
                || coalesce(f.cursor, '{}');
    f.more := true;
  else
    with
    changed as (
      select m.user_id, min(m.revision) as revision, min(m.entries) as entries
        from tally_sync.marks m
       where not v_round.start and (m.xid >= v_round.x[1] or m.xid = any (v_round.x))
         -- By xid: 'is true' keeps the planner from going through all the marks of the users behind that one.
         and (m.user_id > v_round.after) is true and (p_only is null or m.user_id = any (p_only))
         -- Not those who are as the device's last call left and told them.
         and not exists (
           select from tally_sync.marks o join tally_sync.revisions r on r.user_id = o.user_id
            where o.user_id = m.user_id and o.xid = v_round.own and r.revision = o.revision + 1)
       group by m.user_id),
    candidate as (
      (select a.user_id, 0::bigint as revision, 0::bigint as entries from tally.accounts a
        where v_round.start and a.user_id > v_round.after and (p_only is null or a.user_id = any (p_only))
        order by a.user_id limit p_users_max)
      union all
      (select c.* from changed c order by c.user_id limit p_users_max)),
    place as (
      select c.user_id, case when c.revision < coalesce(r.pruned, 0) then 0 else c.revision end as revision,
             case when c.revision < coalesce(r.pruned, 0) then 0 else c.entries end as entries
        from candidate c left join tally_sync.revisions r on r.user_id = c.user_id),
    counted as (
      select p.*, x.rows, sum(x.rows) over (order by p.user_id) as upto, row_number() over (order by p.user_id) as nth
        from place p, tally_sync.rows_since(p.user_id, p.revision, p.entries, p_rows_max) x(rows)),
    chosen as (select c.* from counted c where c.nth = 1 or c.upto <= p_rows_max)
    select coalesce(array_agg(c.user_id order by c.nth), '{}') as users, array_agg(c.revision order by c.nth) as revisions,
           array_agg(c.entries order by c.nth) as entries, max(c.rows) filter (where c.nth = 1) as first_rows,
           (select count(*) from candidate) as candidates
      into v_turn from chosen c;
    if v_turn.first_rows > p_rows_max and not v_turn.users[1] = any (p_judged) then
      f := tally_sync.feed_user(v_turn.users[1], v_turn.revisions[1], v_turn.entries[1], null, v_full, p_rows_max);
      f.cursor := v_cursor || jsonb_build_object('after', v_round.after) || f.cursor;
      -- Now, not when the last page is told: until then users may be made whose ids come before this one's.
      f.is_complete := true;
      f.complete_to := f.paged;
    else
      f.users := v_turn.users;
      f.revisions := v_turn.revisions;
      f.entries := v_turn.entries;
      f.more := cardinality(f.users) < v_turn.candidates or v_turn.candidates = p_users_max;
      f.cursor := case when f.more then v_cursor || jsonb_build_object('after', f.users[cardinality(f.users)])
                       else jsonb_build_object('x', array_to_string(v_round.upto, ' ')) end;
      f.is_complete := true;
      f.complete_to := case when f.more then f.users[cardinality(f.users)] end;
    end if;
  end if;
  f.complete_after := case when v_round.start and f.is_complete then v_round.after end;
  -- A digest says nothing of a user of whom not all is there: what the round has not come to is told with it.
  if p_digest is not null
     and (select tally_sync.rows_since(x.user_id, x.revision, x.entries, p_rows_max) <= p_rows_max
            from tally_sync.places(array[p_digest], v_round.start, v_round.x) x) then
    p_judged := p_judged || p_digest;
  end if;
  select f.users || coalesce(array_agg(p.user_id), '{}'), f.revisions || array_agg(p.revision), f.entries || array_agg(p.entries)
    into f.users, f.revisions, f.entries
    from tally_sync.places(array(select distinct u from unnest(p_judged) u
                                  where not u = any (f.users) and u is distinct from f.paged and (p_only is null or u = any (p_only))),
                           v_round.start, v_round.x) p;
  return f;
end;
$$;

-- Whether a job's step is as create_job makes it, its place among the stages being that one. As row_text() it
-- becomes a part of the statement.
create or replace function tally_sync.is_as_made(t public.job_steps, place integer)
returns boolean
language sql
stable
as $$
  select coalesce(t.state = 'pending' and t.progress_pct = 0 and t.artifacts_json = '{}' and t.started_at is null
                  and t.finished_at is null and t.status_message is null and t.error_message is null and t.logs_url is null
                  and t.id = overlay(t.job_id::text placing '8' || place from 15 for 2)::uuid, place is null);
$$;

-- What a call answers with, read by one statement. Few users and rows are looked up in tables of many: whatever
-- the planner thinks of them, by index.
create or replace function tally_sync.tell(
  d tally_sync.devices, f tally_sync.feed, p_acked bigint, p_digest uuid, p_now timestamptz, p_claimed uuid)
returns table (part text, user_id uuid, fields text[])
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set max_parallel_workers_per_gather = 0
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
  -- Who has neither is told no addresses, profiles and drafts.
  v_full constant boolean := d.capabilities && array['author', 'service'];
  v_stages constant text[] := tally.stage_names();
begin
  return query
  with
  here as (
    select p.user_id, p.revision as since, p.entries as since_entries, coalesce(r.revision, 0) as revision, a.seq, a.balance, a.held,
           case when p.user_id = f.paged then f.pages end as pages
      from unnest(f.users, f.revisions, f.entries) p(user_id, revision, entries)
      join tally.accounts a on a.user_id = p.user_id
      left join tally_sync.revisions r on r.user_id = p.user_id),
  change as (
    select h.user_id, c.kind, c.row_id, c.gone, h.since_entries as entries
      from here h join tally_sync.changes c on c.user_id = h.user_id and c.revision > h.since
     where v_full or c.kind not in ('profiles', 'draft_prompts')
    union all
    select c.user_id, c.kind, c.row_id, c.gone, f.entries_after
      from unnest(f.kinds, f.row_ids) k(kind, row_id)
      join tally_sync.changes c on c.user_id = f.paged and c.kind = k.kind and c.row_id = k.row_id),
  steps as materialized (
    select c.user_id, c.row_id as job_id, coalesce(x.there, 0) as there, coalesce(x.some_changed, false) as some_changed
      from change c join public.jobs j on j.id = c.row_id and j.user_id = c.user_id
     cross join lateral (
       select bit_or(1 << (n.place - 1)) as there, bool_or(not tally_sync.is_as_made(t, n.place)) as some_changed
         from public.job_steps t
        cross join lateral (
          select case when v_stages[t.step_order] = t.step_name then t.step_order else array_position(v_stages, t.step_name) end
          ) n(place)
        where t.job_id = j.id) x
     where c.kind = 'job_steps' and not c.gone),
  behind as (
    select h.user_id, h.since_entries as after, h.seq as upto from here h
    union all
    select f.paged, f.entries_after, f.entries_upto where f.kinds is not null),
  told (place, part, user_id, kind, sub, fields) as (
    select 0, 'state', null::uuid, 0, 0::bigint,
           array[d.watermark::text, tally.time_text(p_now), f.more::text, p_claimed::text,
                 (coalesce(f.cursor, (select jsonb_build_object('r', h.revision, 'e', h.seq) from here h), '{"r": 0, "e": 0}')
                  || jsonb_build_object('n', d.calls + 1, 'era', d.era))::text,
                 d.device_id::text, d.scope_user::text, array_to_string(d.capabilities, ','),
                 f.complete_after::text, f.complete_to::text]
    union all
    select 1, 'verdict', null, 0, v.number, array[v.number::text, v.op_id::text, v.result, v.id::text, v.index::text]
      from tally_sync.verdicts v where v.device_id = d.device_id and v.number > p_acked
    union all
    select 2, 'lease', l.user_id, 0, 0, array[l.lease_id::text, l.unspent::text, tally.time_text(l.expires_at)]
      from tally_sync.leases l where l.device_id = d.device_id and l.closed_at is null
    union all
    select 2, 'digest', p_digest, 1, 0, array[g.table_name, g.rows::text, g.digest::text]
      from tally.digest(p_digest) g
     where p_digest = any (f.users) and (v_full or g.table_name not in ('profiles', 'draft_prompts'))
    union all
    select 3, 'gone', c.user_id, 1, 0, array[c.kind, c.row_id::text] from change c where c.gone
    union all
    select 3, 'row', c.user_id, 2, 0, array[c.kind] || tally.row_text(t)
      from change c join public.profiles t on t.id = c.row_id and t.id = c.user_id where c.kind = 'profiles' and not c.gone
    union all
    select 3, 'row', c.user_id, 3, 0, array[c.kind] || tally.row_text(t)
      from change c join public.voice_profiles t on t.id = c.row_id and t.user_id = c.user_id where c.kind = 'voice_profiles' and not c.gone
    union all
    select 3, 'row', c.user_id, 4, 0, array[c.kind] || tally.row_text(t)
      from change c join public.projects t on t.id = c.row_id and t.user_id = c.user_id where c.kind = 'projects' and not c.gone
    union all
    select 3, 'row', c.user_id, 5, 0,
           array[c.kind] || tally.row_text(t)
           || array[coalesce(s.hold, 0)::text, s.reservation::text, s.lease::text, tally.time_text(s.claim_until),
                    s.claim_device::text, tally.time_text(coalesce(s.active_at, least(t.created_at, now())))]
      from change c join public.jobs t on t.id = c.row_id and t.user_id = c.user_id
      left join tally.job_state s on s.user_id = t.user_id and s.job_id = t.id
     where c.kind = 'jobs' and not c.gone
    union all
    -- Of a job's steps, which there are; then those that are not as they were made.
    select 3, 'row', s.user_id, 6, 0, array['job_steps', s.job_id::text, s.there::text] from steps s
    union all
    select 3, 'row', s.user_id, 6, t.step_order, array['job_steps'] || tally.row_text(t)
      from steps s join public.job_steps t on t.job_id = s.job_id
     where s.some_changed and not tally_sync.is_as_made(t, array_position(v_stages, t.step_name))
    union all
    select 3, 'row', c.user_id, 7, 0, array[c.kind] || tally.row_text(t)
      from change c join public.assets t on t.id = c.row_id
      join public.jobs j on j.id = t.job_id and j.user_id = c.user_id where c.kind = 'assets' and not c.gone
    union all
    select 3, 'row', c.user_id, 8, 0, array[c.kind] || tally.row_text(t)
      from change c join public.draft_prompts t on t.id = c.row_id and t.user_id = c.user_id where c.kind = 'draft_prompts' and not c.gone
    union all
    select 3, 'row', c.user_id, 9, t.seq, array[c.kind] || tally.row_text(t)
      from change c join public.credit_ledger t on t.id = c.row_id and t.user_id = c.user_id and t.seq <= c.entries
     where c.kind = 'credit_ledger' and not c.gone
    union all
    select 3, 'row', b.user_id, 10, t.seq, array['credit_ledger'] || tally.row_text(t)
      from behind b join public.credit_ledger t on t.user_id = b.user_id and t.seq > b.after and t.seq <= b.upto
    union all
    select 3, 'page', f.paged, 11, 0, array[case when f.pages is null then 'first' else 'next' end] where f.kinds is not null
    union all
    select 3, 'user', h.user_id, 11, 0,
           array[coalesce(h.pages ->> 'r', h.since::text), coalesce(h.pages ->> 'e', h.since_entries::text), h.revision::text,
                 h.seq::text, h.balance::text, h.held::text, (h.pages is not null)::text]
           || case when v_full then array[m.email, m.meta] end
      from here h left join lateral tally.user_text(h.user_id) m(email, meta) on v_full)
  select t.part, t.user_id, t.fields from told t order by t.place, t.user_id, t.kind, t.sub;
end;
$$;

-- One call, one round trip. In go the number of the last operation whose verdict the device has, with the
-- hash of its chain up to it; the operations behind it, each with its user and leases; and the cursor.
-- Out come a row 'state', or 'refused' alone; a 'verdict' for every operation behind the acknowledged one;
-- the device's open leases; where asked for, a user's digest; and for every user told of the rows that changed or went, with, last, where
-- the user has got to. All of that is read by one statement after the effects.
create or replace function tally_sync.sync(
  p_protocol integer, p_token text, p_acked bigint, p_chain bytea, p_users uuid[], p_operations text[], p_leases text[],
  p_cursor jsonb default null, p_users_max integer default 200, p_claim_ttl integer default null,
  p_digest uuid default null, p_device uuid default null, p_rows_max integer default 20000, p_only uuid[] default null,
  p_from uuid default null)
returns table (part text, user_id uuid, fields text[])
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  d tally_sync.devices;
  w tally.pusher;
  v_refusal text;
  v_number integer;
  v_chain bytea := p_chain;
  v_chains bytea[] := array[]::bytea[];
  v_known bytea[];
  v_new integer;
  v_ops tally.op[];
  v_inner tally.op[];
  v_verdicts tally.verdict[];
  v_claimed uuid;
  v_judged uuid[] := array[]::uuid[];
  l record;
  f tally_sync.feed;
  v_now timestamptz;
begin
  -- What this call is about to tell of is not pruned meanwhile.
  lock table tally_sync.floor in row share mode;
  -- Before the device's row is locked: it writes those of all.
  perform tally_sync.settle();
  select x.* into d from tally_sync.devices x where x.token_sha256 = sha256(convert_to(p_token, 'UTF8')) for update;
  if not found or d.revoked_at is not null or p_device <> d.device_id then
    -- No such token, or another device's: nothing is judged under its name.
    v_refusal := 'unauthorized';
  elsif p_protocol is distinct from 1 or p_acked is null or p_chain is null
        or coalesce(cardinality(p_operations), 0) <> coalesce(cardinality(p_users), 0)
        or coalesce(cardinality(p_operations), 0) <> coalesce(cardinality(p_leases), 0)
        or array_ndims(p_operations) > 1 or array_lower(p_operations, 1) <> 1 or array_lower(p_users, 1) <> 1
        or array_lower(p_leases, 1) <> 1 or array_position(p_operations, null) is not null
        or array_position(p_leases, null) is not null or coalesce(p_users_max, 0) not between 1 and 10000
        or coalesce(p_rows_max, 0) not between 1 and 1000000
        or cardinality(p_operations) > 10000 or cardinality(p_only) > 10000
        -- 33 MiB as they are sent: what a device may ask for, behind it the longest line, and the lengths of all.
        or octet_length(array_send(p_operations)) > 34603008 or octet_length(array_send(p_leases)) > 34603008
        or octet_length(p_cursor::text) > 1024
        or not tally_sync.is_cursor(p_cursor) or p_claim_ttl not between 1 and 2592000 then
    v_refusal := 'protocol';
  elsif p_acked < d.confirmed then
    v_refusal := 'device_forked';
  elsif p_acked > d.watermark then
    v_refusal := 'history_lost';
  elsif p_chain is distinct from (case when p_acked = d.confirmed then d.confirmed_chain
                                       else (select v.chain from tally_sync.verdicts v
                                              where v.device_id = d.device_id and v.number = p_acked) end) then
    v_refusal := 'device_forked';
  else
    -- What canonical has judged must be what it had been sent.
    v_known := array(select v.chain from tally_sync.verdicts v
                      where v.device_id = d.device_id and v.number > p_acked order by v.number);
    for n in 1 .. coalesce(cardinality(p_operations), 0) loop
      v_chain := sha256(v_chain || convert_to(coalesce(p_users[n], tally.no_user()) || ' ' || p_leases[n] || ' ' || p_operations[n], 'UTF8'));
      v_chains[n] := v_chain;
      if n <= cardinality(v_known) and v_known[n] <> v_chain then
        v_refusal := 'device_forked';
        exit;
      end if;
    end loop;
  end if;
  if v_refusal is not null then
    return query select 'refused', null::uuid, array[v_refusal, (select c.sentence from tally.codes c where c.name = v_refusal)];
    return;
  end if;

  if (p_cursor ->> 'n')::bigint > d.calls then
    d.era := gen_random_uuid();
  end if;
  if (p_cursor ->> 'era')::uuid <> d.era then
    -- What a canonical that is no more has told is nothing to go on from, even where this one has got as far.
    p_cursor := null;
  end if;
  if p_from <> d.device_id and d.enrolled_from is null and d.watermark = 0 then
    -- The mirror was another device before, of the same scope.
    d.enrolled_from := (select x.device_id from tally_sync.devices x
                         where x.device_id = p_from and x.scope_user is not distinct from d.scope_user);
  end if;
  v_now := clock_timestamp();
  w := row(d.device_id, d.capabilities, v_now, false, tally_sync.kin(d))::tally.pusher;
  v_new := greatest(coalesce(cardinality(p_operations), 0) - cardinality(v_known), 0);
  if v_new > 0 and tally_sync.is_behind(d, p_cursor, p_users[cardinality(v_known) + 1 :], p_rows_max) then
    v_new := 0;
  end if;
  if v_new > 0 then
    v_number := cardinality(v_known);
    select x.operations, x.inner_operations into v_ops, v_inner
      from tally_sync.decode(
        p_operations[v_number + 1 :],
        -- Outside its scope nobody exists.
        array(select case when u is null or u <> d.scope_user then tally.no_user() else u end
                from unnest(p_users[v_number + 1 :]) with ordinality x(u, n) order by x.n),
        p_leases[v_number + 1 :]) x;
    v_verdicts := tally_sync.judge(w, v_ops, v_inner);
    insert into tally_sync.verdicts (user_id, device_id, number, chain, op_id, result, id, index)
    select coalesce(p_users[v_number + n], tally.no_user()), d.device_id, p_acked + v_number + n, v_chains[v_number + n],
           v.op_id, v.result, v.id, v.index
      from unnest(v_verdicts) with ordinality v(op_id, result, balance, id, index, n);
    d.watermark := p_acked + v_number + v_new;
    d.chain := v_chain;
  end if;

  -- In a call that pushes nothing: the job's rows are locked before any account's.
  if p_claim_ttl is not null and v_new = 0 and 'worker' = any (d.capabilities) then
    v_claimed := tally_sync.claim_next(w, case when d.scope_user is null then p_only else array[d.scope_user] end, p_claim_ttl);
  end if;
  -- In a call that pushes nothing: what is pushed, now or in the queue's next call, may draw on them.
  for l in select x.user_id, x.lease_id from tally_sync.leases x
            where x.device_id = d.device_id and x.closed_at is null and x.expires_at + d.reclaim_after < v_now
              and coalesce(cardinality(p_operations), 0) = 0
            order by x.user_id loop
    perform tally_sync.close_lease(l.user_id, l.lease_id, 'reclaim');
  end loop;

  if p_acked > d.confirmed then
    delete from tally_sync.verdicts v where v.device_id = d.device_id and v.number <= p_acked;
  end if;
  update tally_sync.devices x
     set watermark = d.watermark, chain = d.chain, confirmed = p_acked, confirmed_chain = p_chain, calls = d.calls + 1,
         era = d.era, enrolled_from = d.enrolled_from, seen_at = v_now
   where x.device_id = d.device_id;

  if d.watermark > p_acked then
    v_judged := array_remove(p_users, tally.no_user());
  end if;
  -- The round may have passed a claimed job's user by; one with too much for an answer comes in pages.
  v_judged := v_judged || array(select b.user_id from public.jobs b
                                 where b.id = v_claimed and not tally_sync.is_behind(d, p_cursor, array[b.user_id], p_rows_max));
  f := tally_sync.plan(d, p_cursor, v_judged, p_digest, p_users_max, p_rows_max, p_only);
  if v_new > 0 then
    -- It told of all whom it changed; a device over one user goes by the revision.
    f.cursor := f.cursor || jsonb_build_object('own', pg_current_xact_id()::text);
  end if;
  return query select t.part, t.user_id, t.fields from tally_sync.tell(d, f, p_acked, p_digest, v_now, v_claimed) t;
end;
$$;

-- Owners and grants -------------------------------------------------------------------------------

do $$
declare
  f regprocedure;
begin
  -- A cell has one schema for all: there the earlier migrations' functions stay as they are.
  for f in select p.oid::regprocedure from pg_proc p
            where p.pronamespace = 'tally_sync'::regnamespace and p.proowner <> 'tally_owner'::regrole
              and p.proname not in ('known_users', 'insert_user', 'user_text', 'update_updated_at') loop
    execute format('alter function %s owner to tally_owner', f);
    execute format('revoke all on function %s from public, anon, authenticated, service_role, tally_device', f);
  end loop;
end;
$$;

grant usage on schema tally_sync to service_role, current_user;
-- Devices, and a gateway that calls for them: the token says who it is.
grant execute on function
  tally_sync.sync(integer, text, bigint, bytea, uuid[], text[], text[], jsonb, integer, integer, uuid, uuid, integer, uuid[], uuid)
  to tally_device, service_role, current_user;
-- Operators.
grant execute on function
  tally_sync.add_device(text, text[], uuid, interval, uuid), tally_sync.rotate_token(uuid),
  tally_sync.revoke_device(uuid), tally_sync.list_devices(), tally_sync.write_off(uuid), tally_sync.prune(interval)
  to service_role, current_user;

revoke create on schema tally_sync from tally_owner;
revoke tally_owner from current_user;
