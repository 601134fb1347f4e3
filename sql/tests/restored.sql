begin;
\ir include/begin.sql
select plan(5);

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

select * from finish();
rollback;
