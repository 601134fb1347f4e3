-- A canonical on which nothing happens by itself: the clock stands still until it is set, and ids are counted
-- instead of random.

create schema still;
grant usage on schema still to public;

create table still.world (
  only_one boolean primary key default true check (only_one),
  at       timestamptz not null,
  ids      bigint not null
);
insert into still.world (at, ids) values ('2026-03-01T00:00:00Z', 0);
grant select, update on still.world to public;

create function still.now() returns timestamptz language sql stable
as 'select w.at from still.world w';

-- As the model of canonical makes them of the seed 0.
create function still.next_id() returns uuid language sql volatile
as $$
  update still.world set ids = ids + 1
  returning overlay(overlay(substr(encode(sha256(convert_to('0 ' || ids, 'UTF8')), 'hex'), 1, 32)
                            placing '4' from 13) placing '8' from 17)::uuid
$$;

-- The rules as they are, but for where they get the time and new ids from.
do $$
declare
  f record;
begin
  for f in select pg_get_functiondef(p.oid) as text from pg_proc p
            where p.pronamespace in ('tally'::regnamespace, 'tally_sync'::regnamespace) and p.prokind = 'f'
              and p.prosrc ~ '\m(clock_timestamp|now|gen_random_uuid)\(\)' loop
    execute regexp_replace(regexp_replace(f.text, '\m(clock_timestamp|now)\(\)', 'still.now()', 'g'),
                           '\mgen_random_uuid\(\)', 'still.next_id()', 'g');
  end loop;
end;
$$;
