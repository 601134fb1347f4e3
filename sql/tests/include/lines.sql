-- Lines in a short form: "@12" stands for an id, and the op_id and time are those of the line's number.

create function pg_temp.expanded(t text) returns text language sql as $$
  select regexp_replace(t, '@([0-9]+)', '00000000-0000-4000-8000-0000000000\1', 'g') $$;

create function pg_temp.numbered(n integer, line text) returns text language sql as $$
  select replace(pg_temp.expanded(line), '{"op":"', format(
    '{"op_id":"11111111-0000-7000-8000-0000000000%s","at":"2026-01-18T00:00:%s.000000Z","op":"', lpad(n::text, 2, '0'), lpad(n::text, 2, '0'))) $$;
