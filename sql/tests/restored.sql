begin;
\ir include/begin.sql
select plan(8);

-- A dump that was restored onto another server, and what else an operator or a login could do to devices.
select throws_ok($$select tally_sync.add_device('a', '{author}', null, '300000 years')$$, null, null, 'a reclaim_after has an end');
select throws_ok($$select tally_sync.add_device('a', '{author}', null, '-1 day')$$, null, null, 'and is not before the expiry');

insert into tally_sync.devices (device_id, created_at, name, token_sha256, capabilities)
values ('dddddddd-0000-4000-8000-000000000001', now(), 'd1', sha256('token1'), '{author}');
create temp table era as select era from tally_sync.devices;
update tally_sync.floor set server = server + 1, xid = '9000000000000';
insert into tally_sync.marks (user_id, xid, revision, entries) values (gen_random_uuid(), '9000000000000', 0, 0);
select count(*) from tally_sync.sync(1, 'token1', 0, '', '{}', '{}', '{}') \gset
select is((select count(*) from tally_sync.marks where xid = '9000000000000'), 0::bigint, 'another server''s marks go');
select is((select xid::text from tally_sync.floor), '0', 'and its floor');
select isnt((select era from tally_sync.devices), (select era from era), 'and every cursor is of another era');

-- A device's own overdue lease: while it pushes it may draw on it.
select count(*) from tally_sync.sync(1, 'token1', 0, '', '{}', '{}', '{}') \gset
insert into auth.users (id, email) values ('00000000-0000-4000-8000-000000000011', 'a@b.c');
update tally_sync.devices set reclaim_after = '0';
insert into tally_sync.leases (user_id, lease_id, device_id, unspent, expires_at)
values ('00000000-0000-4000-8000-000000000011', gen_random_uuid(), 'dddddddd-0000-4000-8000-000000000001', 0, now() - interval '1 day');
select count(*) from tally_sync.sync(1, 'token1', 0, '', array[null::uuid], array['{}'], array['']) \gset
select is((select closed_by from tally_sync.leases), null, 'a lease is not reclaimed in a call that pushes');
select count(*) from tally_sync.sync(1, 'token1', 0, '', '{}', '{}', '{}') \gset
select is((select closed_by from tally_sync.leases), 'reclaim', 'but in one that pushes nothing');

delete from tally_sync.revisions;
select count(*) from tally_sync.add_device('a', '{author}', '00000000-0000-4000-8000-000000000011') \gset
select is((select count(*) from tally_sync.revisions), 1::bigint, 'a device''s user has a revision, and so a cursor');

select * from finish();
rollback;
