-- Canonical with a clock that stands still until it is set: the rules as they are, but for where they get the time
-- from. For the simulator only.

create schema sim;
grant usage on schema sim to public;

create table sim.clock (at timestamptz not null);
insert into sim.clock values ('2026-01-18T00:00:00Z');
grant select on sim.clock to public;

create function sim.now() returns timestamptz language sql stable security definer
as 'select c.at from sim.clock c';

do $$
declare
  f record;
begin
  for f in select pg_get_functiondef(p.oid) as text from pg_proc p
            where p.pronamespace in ('tally'::regnamespace, 'tally_sync'::regnamespace) and p.prokind = 'f'
              and p.prosrc ~ '\m(clock_timestamp|now)\(\)' loop
    execute regexp_replace(f.text, '\m(clock_timestamp|now)\(\)', 'sim.now()', 'g');
  end loop;
end;
$$;
