-- Devices, and what they push. d1 is author, worker and service, d2 too, d3 a worker alone, d4 an author.

insert into tally_sync.devices (device_id, created_at, name, token_sha256, capabilities)
select ('dddddddd-0000-4000-8000-00000000000' || n)::uuid, now(), 'd' || n, sha256(convert_to('token' || n, 'UTF8')),
       case n when 3 then '{worker}' when 4 then '{author}' else '{author,worker,service}' end::text[]
  from generate_series(1, 4) n;

-- The verdict on a line that one of them pushes, with the lease that its envelope names. Of user 11, where the line
-- names none.
create function pg_temp.pushed_by(p_device integer, p_lease text, p_line text, p_now timestamptz) returns tally.verdict
language plpgsql as $$
declare
  d tally_sync.devices;
  v_ops tally.op[];
  v_inner tally.op[];
  v_verdict tally.verdict;
begin
  select * into d from tally_sync.devices x where x.name = 'd' || p_device;
  select x.operations, x.inner_operations into v_ops, v_inner
    from tally_sync.decode(array[p_line], array[coalesce(substring(p_line from '"user_id":"([^"]*)"'), pg_temp.expanded('@11'))::uuid],
                           array[pg_temp.expanded(p_lease)]) x;
  -- As sync() does, whose owner entries are appended by.
  perform set_config('role', 'tally_owner', true);
  v_verdict := (tally_sync.judge(row(d.device_id, d.capabilities, p_now, false, null)::tally.pusher, v_ops, v_inner))[1];
  perform set_config('role', 'none', true);
  return v_verdict;
end;
$$;
