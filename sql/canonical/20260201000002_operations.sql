-- Migration: 20260201000002_operations.sql
-- The contract's operations on canonical. tally.apply_operations takes the raw lines of a trace and
-- answers each; the PRD's functions are thin wrappers over the same functions. Reading order: decode
-- (a line becomes a tally.op, or no operation), one function op_… per operation (its checks in the
-- contract's order, then what it does), run (a list of operations, in turn), apply_operations, the
-- PRD's functions, rows and digest. Re-runnable.
--
-- How it is fast: every line is decoded by one statement, which knows only what is plainly right; the rest has
-- a slower one, which knows what is wrong. The jobs and accounts that are named are
-- locked and read by one statement each, and then kept in variables; entries, jobs, new ones too, and records of
-- what was applied are written once, at the end, by one statement each. A row that were written once
-- an operation would grow a chain of versions that every later look-up walks. Nothing is looked up that an
-- index will refuse anyway: where it does, the call begins again, and looks (apply).
--
-- Everything is planned once a connection, without a look at how long the arrays are, and by the
-- indexes, however small a table was then: that is what the planner's settings on the functions say. A
-- plan made while the tables were empty would otherwise stay until somebody analyzes them. For the same reason
-- the rows that an array names are looked up each by itself (lateral, with an offset or limit that keeps it a
-- subquery) and written by an upsert on their key: a join could become a walk through the whole table.

set local lock_timeout = '10s';
set local search_path = pg_catalog;

-- For this transaction only, as in the integrity migration.
grant tally_owner to current_user;
grant usage, create on schema tally to tally_owner;
grant create on schema public to tally_owner;

-- Types -----------------------------------------------------------------------------------------

do $$
begin
  if to_regtype('tally.op') is null then
    -- One operation. fields holds its own fields, checked, with defaults filled in; in an update,
    -- null clears. error: what the fields by themselves are refused for. user_id and job_id are what
    -- the line names, of whatever use to this operation (has_user, has_job), and user_n and job_n
    -- their places in what run() keeps. A batch's operations are inner_count from inner_first on.
    -- seen: this op_id was applied before, or comes twice. op is null for a line that is no operation.
    -- Of what a device pushed: the user whom its envelope names, and the lease that its mirror drew on.
    -- late: what it is refused for once the rows that it names are found (its claim, its reservation).
    create type tally.op as (
      op text, op_id uuid, at timestamptz, fields jsonb, error text, fingerprint bytea, reservation uuid,
      has_user boolean, user_id uuid, user_n integer, has_job boolean, job_id uuid, job_n integer,
      in_batch boolean, inner_first integer, inner_count integer, seen boolean,
      capability text, envelope uuid, lease uuid, late text
    );
    -- A job with its state, and the place of its user's account. id is null where there is none. created_at: of
    -- one that has still to be inserted, otherwise null. steps: they have changed, too.
    create type tally.job as (
      id uuid, user_id uuid, user_n integer, project_id uuid, status text, progress integer, status_message text,
      cost_credits_reserved integer, cost_credits_final integer, failed_step text, error_code text,
      error_message text, output_url text, manifest_json jsonb, started_at timestamptz, finished_at timestamptz,
      hold integer, reservation uuid, lease uuid, claim_until timestamptz, claim_device uuid, active_at timestamptz,
      created_at timestamptz, steps boolean
    );
    -- Who pushes: null for a trace and for the PRD's functions, which may do everything. now: canonical's
    -- clock, by which claims of devices are judged. careful: an id that is made here may be taken.
    -- nobody: under whose ids it finds the operations of no user, its own being the first.
    create type tally.pusher as (device_id uuid, capabilities text[], now timestamptz, careful boolean, nobody uuid[]);
    -- An entry to append. of_job: it names the operation's job; what moves between account and lease does not.
    create type tally.posting as (type text, amount integer, note text, of_job boolean);
    -- What an operation decided: its result, the job as it is then, the entries to append with what
    -- they add to the user's holds and leases, and whether it is to be remembered. steps: those of the job
    -- have changed, too.
    create type tally.outcome as (
      result text, id uuid, forget boolean, job tally.job, steps boolean, postings tally.posting[], held bigint, stripe_payment_id text
    );
    create type tally.verdict as (op_id uuid, result text, balance integer, id uuid, index integer);
  end if;
end;
$$;

-- Decoding --------------------------------------------------------------------------------------

-- How deep the brackets of a JSON text nest, those in strings aside.
create or replace function tally.nesting(t text)
returns bigint
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(max(depth), 0)
    from (select sum(case when c in ('[', '{') then 1 else -1 end) over (order by n) as depth
            from unnest(string_to_array(
                   regexp_replace(regexp_replace(t, '"(?:[^"\\]|\\.)*"', '', 'g'), '[^][{}]', '', 'g'), null))
                 with ordinality b(c, n)) d;
$$;

-- A line as a JSON object, or null: no JSON, no object, an escape that is no character, or nested
-- deeper than 1000. U+0000, which JSON may escape and Postgres cannot hold, becomes the escape nul,
-- which occurs nowhere else in the line.
create or replace function tally.parse(line text, out doc json, out nul text)
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_escapes boolean := strpos(line, '\u') > 0;
begin
  if line is null then
    return;
  end if;
  if length(line) > 1000
     and 2 * length(line) - length(replace(line, '[', '')) - length(replace(line, '{', '')) > 1000
     and tally.nesting(line) > 1000 then
    return;
  end if;
  begin
    if v_escapes and strpos(line, '\u0000') > 0 then
      nul := (select '\u' || to_hex(57344 + n) from generate_series(0, 6399) n
              except
              select m[1] from regexp_matches(lower(line), '\\u(?:e[0-9a-f]{3}|f[0-8][0-9a-f]{2})', 'g') m
              limit 1);
      line := regexp_replace(line, '(?<!\\)((\\\\)*)\\u0000', '\1\' || nul, 'g');
    end if;
    doc := line::json;
    if json_typeof(doc) <> 'object' then
      doc := null;
    elsif v_escapes then
      -- Reads every escape, and so fails on half a surrogate pair.
      perform from json_object_keys(doc);
    end if;
  exception when others then
    doc := null;
  end;
end;
$$;

-- A JSON field as jsonb, or null where it is beyond the contract's limits. Costly numbers are
-- refused before anything expands them.
create or replace function tally.read_json(field json)
returns jsonb
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_raw text := field::text;
  v_json jsonb;
  v_text text;
begin
  if length(v_raw) > 65536 or v_raw ~ '[0-9][eE][-+]?[0-9]{3}' then
    begin
      if exists (
        select from regexp_matches(regexp_replace(v_raw, '"(?:[^"\\]|\\.)*"', '""', 'g'),
                                   '([0-9.]+)[eE][-+]?0*([0-9]*)', 'g') m
         where length(m[2]) > 2 and length(m[1]) <= 60 and m[1] ~ '[1-9]') then
        return null;
      end if;
      v_json := v_raw::jsonb;
      v_text := v_json::text;
    exception when others then
      return null;
    end;
  else
    v_json := v_raw::jsonb;
    v_text := v_json::text;
  end if;
  if octet_length(v_text) > 65536 then
    return null;
  end if;
  if length(v_text) > 40 and v_text ~ '[0-9](\.?[0-9]){40}' and exists (
    select from regexp_matches(regexp_replace(v_text, '"(?:[^"\\]|\\.)*"', '""', 'g'), '[0-9.]+', 'g') m
     where length(replace(m[1], '.', '')) > 40) then
    return null;
  end if;
  if 2 * length(v_text) - length(replace(v_text, '[', '')) - length(replace(v_text, '{', '')) > 32
     and tally.nesting(v_text) > 32 then
    return null;
  end if;
  return v_json;
end;
$$;

-- Many lines at once: those that are plainly JSON by one cast, and where one of them is not, or has
-- an escape, each by itself.
create or replace function tally.parse_all(lines text[], out docs json[], out nuls text[])
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from unnest(lines) l where l is null or length(l) > 1000 or strpos(l, '\u') > 0) then
    begin
      docs := array(select case when json_typeof(j.doc) = 'object' then j.doc end
                      from unnest(lines) with ordinality l(line, n)
                     cross join lateral (select l.line::json offset 0) j(doc)
                     order by l.n);
      nuls := array_fill(null::text, array[cardinality(lines)]);
      return;
    exception when data_exception then
      null;  -- One of them is no JSON. Which, is seen below.
    end;
  end if;
  select array_agg(p.doc order by l.n), array_agg(p.nul order by l.n) into docs, nuls
    from unnest(lines) with ordinality l(line, n)
   cross join lateral tally.parse(l.line) p;
end;
$$;

-- JSON objects as operations, in their order; op is null in one that is none. Where the time is given
-- (inside a batch, and for the PRD's functions) an at of its own makes it none; otherwise one later
-- than latest is lowered to it. A field that is malformed is left out of fields, and makes the error.
create or replace function tally.decode_each(docs json[], nuls text[], given_at timestamptz, latest timestamptz)
returns tally.op[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    with
    -- What makes an object an operation: only texts count, and those have a quote in front. at is null
    -- in one that is none.
    header as (
      select d.n, d.doc, d.nul, p.number, p.name, p.in_batch, p.required, p.defaults, p.has_user, p.has_job,
             p.capability, p.reservation as may_name_reservation,
             h.op_id, h.user_id, h.job_id, h.reservation,
             case when p.number is null or substr(h.op_id::text, 15, 1) not between '1' and '7' then null
                  when given_at is not null then
                    case when not exists (select from json_object_keys(d.doc) k where k = 'at') then given_at end
                  when h.at ~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z$'
                       and left(h.at, 4) <> '0000' then
                    case when substr(h.at, 9, 2) <= '28'
                           or substr(h.at, 9, 2)::integer <= extract(day from
                                make_date(left(h.at, 4)::integer, substr(h.at, 6, 2)::integer, 1)
                                + interval '1 month' - interval '1 day')
                         then least(h.at::timestamptz, latest) end
             end as at
        from unnest(docs, nuls) with ordinality d(doc, nul, n)
       cross join lateral (
         select case when left(r.op::text, 1) = '"' then r.op #>> '{}' end as op,
                case when left(r.at::text, 1) = '"' then r.at #>> '{}' end as at,
                case when r.op_id::text like '"________-____-____-____-____________"'
                          and r.op_id::text !~ '[^0-9A-Fa-f"-]' and length(replace(r.op_id::text, '-', '')) = 34 then (r.op_id #>> '{}')::uuid end as op_id,
                case when r.user_id::text like '"________-____-____-____-____________"'
                          and r.user_id::text !~ '[^0-9A-Fa-f"-]' and length(replace(r.user_id::text, '-', '')) = 34 then (r.user_id #>> '{}')::uuid end as user_id,
                case when r.job_id::text like '"________-____-____-____-____________"'
                          and r.job_id::text !~ '[^0-9A-Fa-f"-]' and length(replace(r.job_id::text, '-', '')) = 34 then (r.job_id #>> '{}')::uuid end as job_id,
                case when r.reservation::text like '"________-____-____-____-____________"'
                          and r.reservation::text !~ '[^0-9A-Fa-f"-]' and length(replace(r.reservation::text, '-', '')) = 34 then (r.reservation #>> '{}')::uuid end as reservation
           from json_to_record(d.doc) r(op json, op_id json, at json, user_id json, job_id json, reservation json)
         offset 0) h
        left join tally.operations p on p.name = h.op and h.op_id is not null
       where d.doc is not null
    ),
    -- Every key of it. refused: 1 for a value that is malformed, or for a key that the operation does
    -- not have; 2 for an amount, 4 for a type out of range; 0 for one that is right. bit: the key's, to
    -- find those that are missing or come twice.
    field as (
      select h.n, e.key, e.value, f.kind, f.presence,
             case when f.name is not null then 1 << f.place
                  else case e.key when 'reservation' then 1 << 20 when 'op' then 1 << 21 when 'op_id' then 1 << 22
                                  when 'at' then 1 << 23 else 0 end end as bit,
             case when f.name is null then
                    case when e.key in ('op', 'op_id', 'at') then 0
                         when e.key = 'reservation' and h.may_name_reservation
                              and (h.reservation is not null or e.value::text = 'null') then 0
                         else 1 end
                  when e.value::text = 'null' then case when f.presence in ('required', 'not_null') then 1 else 0 end
                  when f.kind = 'id' then
                    case when e.value::text like '"________-____-____-____-____________"'
                              and e.value::text !~ '[^0-9A-Fa-f"-]' and length(replace(e.value::text, '-', '')) = 34 then 0 else 1 end
                  when f.kind in ('integer', 'credits') then
                    case when e.value::text !~ '^-?(0|[1-9][0-9]*)$' then 1
                         when length(e.value::text) <= 18 and e.value::text::bigint between f.least and f.most then 0
                         when length(e.value::text) = 19 and e.value::text::numeric between f.least and f.most then 0
                         when f.out_of_range = 'invalid_amount' then 2 else 1 end
                  when f.kind in ('text', 'word') then
                    case when left(e.value::text, 1) <> '"' or strpos(e.value::text, h.nul) > 0
                              or octet_length(e.value #>> '{}') not between f.least and f.most then 1
                         when f.words is null or e.value #>> '{}' = any (f.words) then 0
                         when f.out_of_range = 'invalid_type' then 4 else 1 end
                  when f.kind = 'json' then
                    case when strpos(e.value::text, h.nul) > 0 or tally.read_json(e.value) is null then 1 else 0 end
                  else 0
             end as refused
        from header h
       cross join lateral json_each(h.doc) e
        left join tally.fields f on f.operation = h.number and f.name = e.key
       where h.at is not null
      offset 0
    ),
    line as (
      select f.n, bit_or(f.refused) as refused, bit_or(f.bit) as bits, sum(f.bit) <> bit_or(f.bit) as twice,
             -- Null for a field that an update would clear is a value; otherwise it is absent.
             array_agg(f.key) filter (where f.value::text = 'null' and f.presence <> 'change') as absent,
             jsonb_object_agg(f.key, lower(f.value #>> '{}'))
               filter (where f.kind = 'id' and lower(f.value::text collate "C") <> f.value::text) as lowered
        from field f
       group by f.n
    )
    select array_agg(
             row(case when h.at is not null then h.name end, h.op_id, h.at, y.fields, x.error,
                 sha256(convert_to(h.name || y.fields::text, 'UTF8')), h.reservation, coalesce(h.has_user, false), h.user_id, null,
                 coalesce(h.has_job, false), h.job_id, null, h.in_batch, null, null, false,
                 h.capability, null, null, null)::tally.op
             order by d.n)
      from generate_series(1, cardinality(docs)) d(n)
      left join header h on h.n = d.n
      left join line l on l.n = d.n
      left join lateral (
        select case when l.twice then 'a key twice'
                    when l.refused & 1 <> 0 or coalesce(l.bits, 0) & h.required <> h.required then 'invalid_argument'
                    when h.name = 'update_draft' and h.user_id is null and h.doc ->> 'session_token' is null then 'invalid_argument'
                    when h.name = 'create_user' and h.user_id = tally.no_user() then 'invalid_argument'
                    when h.name = 'create_job' and substr(h.job_id::text, 15, 1) not between '1' and '7' then 'invalid_argument'
                    when l.refused & 2 <> 0 then 'invalid_amount'
                    when l.refused <> 0 then 'invalid_type' end as error
        offset 0) x on true
      left join lateral (
        -- As jsonb only now: a number that nobody looked at may be as long as it likes.
        select case when x.error is null and h.at is not null and h.name <> 'batch' then
                 (h.defaults || (h.doc::jsonb - array['op', 'op_id', 'at', 'reservation'] - coalesce(l.absent, '{}')))
                 || coalesce(l.lowered, '{}') end as fields
        offset 0) y on true);
end;
$$;

-- The same for what is plainly right: every value as the engine writes it (ids in lower case, whole numbers
-- without a sign), no null but where it clears. Anything else is null, whether it is an operation or not; so
-- this only has to tell right from other, and does it several times as fast. An error that a value brings
-- about is the caller's to catch.
create or replace function tally.decode_plain(docs json[], nuls text[], given_at timestamptz, latest timestamptz)
returns tally.op[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    with
    line as (
      select d.n, d.doc, d.j, p.number, p.name, p.keys, p.defaults, p.has_user, p.has_job, p.in_batch, p.capability,
             d.j ->> 'op_id' as op_id, (d.j ->> 'user_id')::uuid as user_id, (d.j ->> 'job_id')::uuid as job_id,
             (d.j ->> 'reservation')::uuid as reservation,
             case when given_at is not null then case when not d.j ? 'at' then given_at end
                  when d.j ->> 'at' like '____-__-__T__:__:__.______Z' and translate(d.j ->> 'at', '0123456789', '') = '--T::.Z'
                       and substr(d.j ->> 'at', 12, 2) < '24' and substr(d.j ->> 'at', 18, 2) < '60'
                    then least((d.j ->> 'at')::timestamptz, latest) end as at
        from (select d.n, d.doc, d.doc::jsonb as j, d.nul from unnest(docs, nuls) with ordinality d(doc, nul, n) offset 0) d
        -- A nul stands for a character that no text may have.
        left join tally.operations p on p.name = d.j ->> 'op' and p.name not in ('batch', 'update_draft') and d.nul is null),
    other as (
      select l.n from line l
       where (l.at is not null and l.op_id::uuid::text = l.op_id and substr(l.op_id, 15, 1) between '1' and '7'
              and (l.name <> 'create_job' or substr(l.job_id::text, 15, 1) between '1' and '7')
              and (l.name <> 'create_user' or l.user_id <> tally.no_user())
              and (l.reservation is null or l.reservation::text = l.j ->> 'reservation')
              and l.j - l.keys = '{}') is not true
      union all
      select v.n
        from (select l.n, l.doc, f.name, f.kind, f.presence, f.least, f.most, f.words, l.j -> f.name as value, l.j ->> f.name as text
                from line l join tally.fields f on f.operation = l.number offset 0) v
       where not case
         when v.text is null then case when v.value is null then v.presence <> 'required' else v.presence = 'change' end
         when v.kind = 'id' then v.text::uuid::text = v.text
         when v.kind in ('integer', 'credits') then
           -- As it came: jsonb writes 1e2 as 100.
           jsonb_typeof(v.value) = 'number' and v.doc ->> v.name ~ '^[0-9]{1,18}$' and v.text::bigint between v.least and v.most
         when v.kind in ('text', 'word') then
           jsonb_typeof(v.value) = 'string' and octet_length(v.text) between v.least and v.most
           and (v.words is null or v.text = any (v.words))
         when v.kind = 'json' then tally.read_json(v.doc -> v.name) is not null
         else false end)
    select array_agg(case when l.n <> all (array(select o.n from other o)) then
             row(l.name, l.op_id, l.at, l.fields, null, sha256(convert_to(l.name || l.fields::text, 'UTF8')), l.reservation,
                 l.has_user, l.user_id, null, l.has_job, l.job_id, null, l.in_batch, null, null, false,
                 l.capability, null, null, null)::tally.op end order by l.n)
      from (select l.*, l.defaults || (l.j - array['op', 'op_id', 'at', 'reservation']) as fields from line l offset 0) l);
end;
$$;

-- JSON objects as operations. Of a key that comes twice the last counts.
create or replace function tally.decode(docs json[], nuls text[], given_at timestamptz, latest timestamptz)
returns tally.op[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_ops tally.op[];
  v_rest integer[];
  v_docs json[];
  v_nuls text[];
  v_others tally.op[];
begin
  begin
    v_ops := tally.decode_plain(docs, nuls, given_at, latest);
  exception when data_exception or program_limit_exceeded then
    v_ops := array_fill(null::tally.op, array[cardinality(docs)]);
  end;
  if array_position(v_ops, null) is null then
    return v_ops;
  end if;

  v_rest := array_positions(v_ops, null);
  v_docs := array(select docs[r.n] from unnest(v_rest) with ordinality r(n, k) order by r.k);
  v_nuls := array(select nuls[r.n] from unnest(v_rest) with ordinality r(n, k) order by r.k);
  v_others := tally.decode_each(v_docs, v_nuls, given_at, latest);
  if exists (select from unnest(v_others) o where o.error = 'a key twice') then
    v_others := tally.decode_each(
      array(select (select json_object_agg(e.key, e.value order by e.place)
                      from (select distinct on (x.key) x.*
                              from json_each(d.doc) with ordinality x(key, value, place)
                             order by x.key, x.place desc) e)
              from unnest(v_docs) with ordinality d(doc, n) order by d.n),
      v_nuls, given_at, latest);
  end if;
  for k in 1 .. cardinality(v_rest) loop
    v_ops[v_rest[k]] := v_others[k];
  end loop;
  return v_ops;
end;
$$;

-- The nil UUID: the user of an operation that concerns none, where a key needs one.
create or replace function tally.no_user()
returns uuid
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return '00000000-0000-0000-0000-000000000000'::uuid;
end;
$$;

-- Jobs as operations find them -------------------------------------------------------------------

-- Locks the rows of those of these jobs that exist and are one of the owners' (null: anybody's), in the order
-- of ids, and answers with their ids.
create or replace function tally.lock_jobs(ids uuid[], owners uuid[] default null)
returns uuid[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_id uuid;
  v_locked uuid[] := array[]::uuid[];
begin
  for v_id in select b.id from (select u.id from unnest(ids) u(id) order by u.id) i
               cross join lateral (
                 select x.id from public.jobs x where x.id = i.id and (owners is null or x.user_id = any (owners)) offset 0) b
               order by b.id for no key update loop
    v_locked := v_locked || v_id;
  end loop;
  return v_locked;
end;
$$;

-- These jobs in the order of ids, each with the place of its user in users; one that is not among those
-- locked (all three are sorted) is all null.
create or replace function tally.load_jobs(ids uuid[], locked uuid[], users uuid[])
returns tally.job[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select row(
             b.id, b.user_id, width_bucket(b.user_id, users), b.project_id, b.status::text, b.progress, b.status_message, b.cost_credits_reserved,
             b.cost_credits_final, b.failed_step, b.error_code, b.error_message, b.output_url, b.manifest_json,
             b.started_at, b.finished_at, coalesce(s.hold, 0), s.reservation, s.lease, s.claim_until, s.claim_device,
             coalesce(s.active_at, least(b.created_at, now())), null, false)::tally.job
      from unnest(ids) with ordinality i(id, n)
      left join lateral (
        select x.* from public.jobs x where x.id = i.id and locked[width_bucket(i.id, locked)] = i.id limit 1) b on true
      left join lateral (
        select x.* from tally.job_state x where x.user_id = b.user_id and x.job_id = b.id limit 1) s on true
     order by i.n);
end;
$$;

-- Inserts the jobs in these places, which operations made, as they are by now and with their steps.
create or replace function tally.insert_jobs(jobs tally.job[], places integer[], p_careful boolean)
returns tally.job[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_new tally.job[] := array(select jobs[n] from unnest(places) n);
  j tally.job;
begin
  insert into public.jobs (id, project_id, user_id, status, progress, status_message, cost_credits_reserved, cost_credits_final,
                           failed_step, error_code, error_message, output_url, manifest_json, created_at, started_at, finished_at)
  select x.id, x.project_id, x.user_id, x.status::public.job_status, x.progress, x.status_message, x.cost_credits_reserved, x.cost_credits_final,
         x.failed_step, x.error_code, x.error_message, x.output_url, x.manifest_json, x.created_at, x.started_at, x.finished_at
    from unnest(v_new) x order by x.id;
  if p_careful then
    perform tally.make_steps(x.user_id, x.id) from unnest(v_new) x;
  else
    insert into public.job_steps (id, job_id, step_name, step_order)
    select overlay(x.id::text placing '8' || s.n from 15 for 2)::uuid, x.id, s.name, s.n
      from unnest(v_new) x cross join unnest(tally.stage_names()) with ordinality s(name, n);
  end if;
  for k in 1 .. cardinality(places) loop
    j := jobs[places[k]];
    j.created_at := null;
    jobs[places[k]] := j;
  end loop;
  return jobs;
end;
$$;

-- Writes jobs that operations changed; of those that were just inserted, the state.
create or replace function tally.write_jobs(p_jobs tally.job[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into public.jobs as b (id, project_id, user_id, status, progress, status_message, cost_credits_reserved, cost_credits_final,
                                failed_step, error_code, error_message, output_url, manifest_json, started_at, finished_at)
  select x.id, x.project_id, x.user_id, x.status::public.job_status, x.progress, x.status_message, x.cost_credits_reserved, x.cost_credits_final,
         x.failed_step, x.error_code, x.error_message, x.output_url, x.manifest_json, x.started_at, x.finished_at
    from unnest(p_jobs) x where x.created_at is null
  on conflict (id) do update
     set status = excluded.status, progress = excluded.progress, status_message = excluded.status_message,
         cost_credits_reserved = excluded.cost_credits_reserved, cost_credits_final = excluded.cost_credits_final,
         failed_step = excluded.failed_step, error_code = excluded.error_code, error_message = excluded.error_message,
         output_url = excluded.output_url, manifest_json = excluded.manifest_json,
         started_at = excluded.started_at, finished_at = excluded.finished_at
   where b.user_id = excluded.user_id
     and (b.status, b.progress, b.status_message, b.cost_credits_reserved, b.cost_credits_final, b.failed_step,
          b.error_code, b.error_message, b.output_url, b.manifest_json::text, b.started_at, b.finished_at)
         is distinct from
         (excluded.status, excluded.progress, excluded.status_message, excluded.cost_credits_reserved, excluded.cost_credits_final, excluded.failed_step,
          excluded.error_code, excluded.error_message, excluded.output_url, excluded.manifest_json::text, excluded.started_at, excluded.finished_at);
  insert into tally.job_state as s (user_id, job_id, hold, reservation, lease, claim_until, claim_device, active_at)
  select x.user_id, x.id, x.hold, x.reservation, x.lease, x.claim_until, x.claim_device, x.active_at from unnest(p_jobs) x
  on conflict (user_id, job_id) do update
    set hold = excluded.hold, reservation = excluded.reservation, lease = excluded.lease,
        claim_until = excluded.claim_until, claim_device = excluded.claim_device, active_at = excluded.active_at;
end;
$$;

create or replace function tally.is_stage(status text)
returns boolean
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return status in ('SCRIPTING', 'VOICE_GEN', 'ALIGNMENT', 'VISUAL_PLAN', 'IMAGE_GEN', 'TIMELINE', 'RENDERING', 'PACKAGING');
end;
$$;

-- Users, profiles, credits -----------------------------------------------------------------------

-- Each takes the user that it is for, the operation, the job that it names and the user's account,
-- both as they are now and locked, and decides. What concerns jobs and credits it returns, for run()
-- to keep; all other rows it writes.

create or replace function tally.op_create_user(p_user uuid, o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
begin
  r.result := 'user_exists';
  if a.user_id is not null then
    return r;
  end if;
  -- The account comes before the user, with a mark: that tells the sign-up trigger to leave the rest to us.
  insert into tally.accounts (user_id, old_seq) values (p_user, -1) on conflict (user_id) do nothing;
  if not found then
    return r;
  end if;
  if not tally.insert_user(p_user, o.fields ->> 'email',
       jsonb_strip_nulls(jsonb_build_object('name', o.fields -> 'display_name')), o.at) then
    delete from tally.accounts t where t.user_id = p_user;
    return r;
  end if;
  update tally.accounts t set old_seq = 0 where t.user_id = p_user;
  insert into public.profiles (id, display_name, created_at, updated_at)
  values (p_user, coalesce(o.fields ->> 'display_name', 'User'), o.at, o.at)
  on conflict (id) do update  -- Another trigger on sign-ups made it.
    set display_name = excluded.display_name, created_at = excluded.created_at, updated_at = excluded.updated_at;
  r.result := 'ok';
  r.postings := array[row('grant', 10, 'Welcome bonus: 10 trial credits', false)::tally.posting];
  return r;
end;
$$;

create or replace function tally.op_update_profile(p_user uuid, o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
begin
  if a.user_id is null then
    r.result := 'user_not_found';
    return r;
  end if;
  update public.profiles p
     set display_name       = case when o.fields ? 'display_name' then o.fields ->> 'display_name' else p.display_name end,
         avatar_url         = case when o.fields ? 'avatar_url' then o.fields ->> 'avatar_url' else p.avatar_url end,
         notification_prefs = case when o.fields ? 'notification_prefs' then nullif(o.fields -> 'notification_prefs', 'null')
                                   else p.notification_prefs end,
         stripe_customer_id = case when o.fields ? 'stripe_customer_id' then o.fields ->> 'stripe_customer_id'
                                   else p.stripe_customer_id end,
         updated_at         = o.at
   where p.id = p_user;
  r.result := 'ok';
  return r;
end;
$$;

-- add_credits and expire_credits: they differ in sign, type and in what can go wrong last.
create or replace function tally.op_change_credits(p_user uuid, o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  p tally.payments;
  v_adds boolean := o.op = 'add_credits';
  v_amount integer := (o.fields ->> 'amount')::integer;
  v_type text := case when o.op = 'add_credits' then o.fields ->> 'type' else 'expire' end;
begin
  r.stripe_payment_id := o.fields ->> 'stripe_payment_id';
  if a.user_id is null then
    r.result := 'user_not_found';
    return r;
  end if;
  if r.stripe_payment_id is not null then
    select * into p from tally.payments t where t.stripe_payment_id = r.stripe_payment_id;
    if found then
      r.result := case when p.operation = o.op and p.user_id = p_user and p.amount = v_amount and p.type = v_type
                       then 'ok' else 'payment_conflict' end;
      return r;
    end if;
  end if;
  if v_adds and a.balance + a.held + v_amount > 2147483647 then
    r.result := 'balance_overflow';
    return r;
  elsif not v_adds and a.balance < v_amount then
    r.result := 'insufficient_credits';
    return r;
  end if;
  if r.stripe_payment_id is not null then
    insert into tally.payments (stripe_payment_id, operation, user_id, amount, type)
    values (r.stripe_payment_id, o.op, p_user, v_amount, v_type)
    on conflict do nothing;
    if not found then
      -- Another call, of another user, has used it while this one waited here: it is seen now.
      return tally.op_change_credits(p_user, o, a);
    end if;
  end if;
  r.result := 'ok';
  r.postings := array[row(v_type, case when v_adds then v_amount else -v_amount end, o.fields ->> 'note', false)::tally.posting];
  return r;
end;
$$;

-- Drafts -----------------------------------------------------------------------------------------

create or replace function tally.op_create_draft(p_user uuid, o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
begin
  if p_user is not null and a.user_id is null then
    r.result := 'user_not_found';
    return r;
  end if;
  insert into public.draft_prompts
    (id, session_token, user_id, prompt_text, template_id, options, created_at, updated_at, expires_at)
  values ((o.fields ->> 'draft_id')::uuid, o.fields ->> 'session_token', p_user, o.fields ->> 'prompt_text',
          o.fields ->> 'template_id', o.fields -> 'options', o.at, o.at,
          least(o.at + interval '168 hours', timestamptz '9999-12-31 23:59:59.999999Z'))
  on conflict (id) do nothing;
  r.result := case when found then 'ok' else 'already_exists' end;
  return r;
end;
$$;

create or replace function tally.op_update_draft(p_user uuid, o tally.op)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  d public.draft_prompts;
begin
  select * into d from public.draft_prompts t
   where t.id = (o.fields ->> 'draft_id')::uuid and (o.envelope is null or t.user_id is null or t.user_id = o.envelope)
     for update;
  if not found then
    r.result := 'draft_not_found';
  elsif (d.user_id is not null and d.user_id is distinct from p_user)
     or (d.user_id is null and d.session_token is distinct from o.fields ->> 'session_token') then
    r.result := 'not_owner';
  elsif d.user_id is null and d.expires_at <= o.at then
    r.result := 'draft_expired';
  else
    update public.draft_prompts t
       set prompt_text = coalesce(o.fields ->> 'prompt_text', t.prompt_text),
           template_id = case when o.fields ? 'template_id' then o.fields ->> 'template_id' else t.template_id end,
           options     = case when o.fields ? 'options' then nullif(o.fields -> 'options', 'null') else t.options end,
           updated_at  = o.at
     where t.id = d.id;
    r.result := 'ok';
  end if;
  return r;
end;
$$;

create or replace function tally.op_claim_draft(p_user uuid, o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
begin
  if a.user_id is null then
    r.result := 'user_not_found';
    return r;
  end if;
  with
  claimable as (
    select t.id from public.draft_prompts t
     where t.session_token = o.fields ->> 'session_token' and t.user_id is null and t.expires_at > o.at
     order by t.id for no key update),
  claimed as (
    update public.draft_prompts t set user_id = p_user, updated_at = o.at
      from claimable c
     where t.id = c.id
    returning t.id, t.created_at)
  select c.id into r.id from claimed c order by c.created_at desc, c.id desc limit 1;
  r.result := case when found then 'ok' else 'draft_not_found' end;
  return r;
end;
$$;

create or replace function tally.op_purge_expired_drafts(o tally.op)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
begin
  delete from public.draft_prompts t where t.user_id is null and t.expires_at <= o.at;
  r.result := 'ok';
  return r;
end;
$$;

-- Projects and voice profiles --------------------------------------------------------------------

create or replace function tally.op_create_project(p_user uuid, o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  v_voice_profile uuid := (o.fields ->> 'voice_profile_id')::uuid;
begin
  if a.user_id is null then
    r.result := 'user_not_found';
  elsif v_voice_profile is not null and not exists (
    select from public.voice_profiles v where v.id = v_voice_profile and v.user_id = p_user for key share) then
    r.result := 'voice_profile_not_found';
  else
    insert into public.projects (id, user_id, title, prompt_text, niche_preset, target_minutes, voice_profile_id,
                                 transcript_mode, transcript_text, settings, created_at, updated_at)
    values ((o.fields ->> 'project_id')::uuid, p_user, o.fields ->> 'title', o.fields ->> 'prompt_text',
            o.fields ->> 'niche_preset', (o.fields ->> 'target_minutes')::integer, v_voice_profile,
            o.fields ->> 'transcript_mode', o.fields ->> 'transcript_text', o.fields -> 'settings', o.at, o.at)
    on conflict (id) do nothing;
    r.result := case when found then 'ok' else 'already_exists' end;
  end if;
  return r;
end;
$$;

create or replace function tally.op_update_project(p_user uuid, o tally.op)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  v_owner uuid;
  v_project uuid := (o.fields ->> 'project_id')::uuid;
  v_voice_profile uuid := (o.fields ->> 'voice_profile_id')::uuid;
begin
  select p.user_id into v_owner from public.projects p
   where p.id = v_project and (o.envelope is null or p.user_id = o.envelope) for no key update;
  if not found then
    r.result := 'project_not_found';
  elsif v_voice_profile is not null and not exists (
    select from public.voice_profiles v where v.id = v_voice_profile and v.user_id = p_user for key share) then
    r.result := 'voice_profile_not_found';
  elsif v_owner <> p_user then
    r.result := 'not_owner';
  else
    update public.projects p
       set title            = coalesce(o.fields ->> 'title', p.title),
           prompt_text      = coalesce(o.fields ->> 'prompt_text', p.prompt_text),
           niche_preset     = coalesce(o.fields ->> 'niche_preset', p.niche_preset),
           target_minutes   = coalesce((o.fields ->> 'target_minutes')::integer, p.target_minutes),
           voice_profile_id = case when o.fields ? 'voice_profile_id' then v_voice_profile else p.voice_profile_id end,
           transcript_mode  = case when o.fields ? 'transcript_mode' then o.fields ->> 'transcript_mode' else p.transcript_mode end,
           transcript_text  = case when o.fields ? 'transcript_text' then o.fields ->> 'transcript_text' else p.transcript_text end,
           settings         = case when o.fields ? 'settings' then nullif(o.fields -> 'settings', 'null') else p.settings end,
           updated_at       = o.at
     where p.user_id = p_user and p.id = v_project;
    r.result := 'ok';
  end if;
  return r;
end;
$$;

-- run() has written what it kept of the project's jobs before, and forgets them after.
create or replace function tally.op_delete_project(p_user uuid, o tally.op)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  v_owner uuid;
  v_project uuid := (o.fields ->> 'project_id')::uuid;
begin
  select p.user_id into v_owner from public.projects p
   where p.id = v_project and (o.envelope is null or p.user_id = o.envelope) for update;
  if not found then
    r.result := 'project_not_found';
  elsif v_owner <> p_user then
    r.result := 'not_owner';
  elsif exists (select from public.jobs j join tally.job_state s on s.user_id = j.user_id and s.job_id = j.id
                 where j.project_id = v_project and s.hold > 0) then
    r.result := 'illegal_transition';
  else
    delete from public.projects p where p.user_id = p_user and p.id = v_project;
    r.result := 'ok';
  end if;
  return r;
end;
$$;

create or replace function tally.op_create_voice_profile(p_user uuid, o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
begin
  if a.user_id is null then
    r.result := 'user_not_found';
  else
    insert into public.voice_profiles (id, user_id, name, audio_path, provider, voice_id, settings, created_at)
    values ((o.fields ->> 'voice_profile_id')::uuid, p_user, o.fields ->> 'name', o.fields ->> 'audio_path',
            o.fields ->> 'provider', o.fields ->> 'voice_id', o.fields -> 'settings', o.at)
    on conflict (id) do nothing;
    r.result := case when found then 'ok' else 'already_exists' end;
  end if;
  return r;
end;
$$;

create or replace function tally.op_delete_voice_profile(p_user uuid, o tally.op, a tally.accounts)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  v_owner uuid;
  v_voice_profile uuid := (o.fields ->> 'voice_profile_id')::uuid;
begin
  if a.user_id is null then
    r.result := 'user_not_found';
    return r;
  end if;
  select v.user_id into v_owner from public.voice_profiles v
   where v.id = v_voice_profile and (o.envelope is null or v.user_id = o.envelope) for update;
  if not found then
    r.result := 'voice_profile_not_found';
  elsif v_owner <> p_user then
    r.result := 'not_owner';
  else
    -- Before the foreign key does it, so that updated_at is the operation's.
    update public.projects p set voice_profile_id = null, updated_at = o.at
     where p.voice_profile_id = v_voice_profile;
    delete from public.voice_profiles v where v.user_id = p_user and v.id = v_voice_profile;
    r.result := 'ok';
  end if;
  return r;
end;
$$;

-- Jobs: author -----------------------------------------------------------------------------------

-- The rows are inserted later, with those of the call's other jobs: by write(), or before an operation that
-- looks at them.
create or replace function tally.op_create_job(p_user uuid, o tally.op, j tally.job, p_taken boolean, p_careful boolean)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  v_owner uuid;
  v_project uuid := (o.fields ->> 'project_id')::uuid;
begin
  select p.user_id into v_owner from public.projects p
   where p.id = v_project and (o.envelope is null or p.user_id = o.envelope) for key share;
  if not found then
    r.result := 'project_not_found';
  elsif j.id is not null then
    r.result := 'already_exists';
  elsif v_owner <> p_user then
    r.result := 'not_owner';
  elsif p_taken or (p_careful and exists (select from public.jobs b where b.id = o.job_id)) then
    -- By another user, whose rows are not there for what a device pushed, but in this. That one is in the
    -- table is found out by inserting, and then looked for.
    r.result := 'already_exists';
  else
    j.id := o.job_id;
    j.user_id := p_user;
    j.user_n := o.user_n;
    j.project_id := v_project;
    j.status := 'PENDING';
    j.progress := 0;
    j.cost_credits_reserved := 0;
    j.hold := 0;
    j.active_at := o.at;
    j.created_at := o.at;
    r.result := 'ok';
    r.job := j;
    r.steps := true;
  end if;
  return r;
end;
$$;

-- Takes the amount out of the lease that the operation names, where it is open, this device's and has it:
-- all of it or nothing.
create or replace function tally.draw(p_user uuid, p_device uuid, p_lease uuid, p_amount integer)
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  update tally_sync.leases l set unspent = l.unspent - p_amount
   where l.user_id = p_user and l.lease_id = p_lease and l.device_id = p_device and l.closed_at is null
     and l.unspent >= p_amount;
  return found;
end;
$$;

-- Why credits are short: an operation that drew on a lease which has ended is told so.
create or replace function tally.short_of_credits(p_user uuid, p_device uuid, p_lease uuid)
returns text
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return case when p_lease is not null and not exists (
    select from tally_sync.leases l
     where l.user_id = p_user and l.lease_id = p_lease and l.device_id = p_device and l.closed_at is null)
    then 'lease_reclaimed' else 'insufficient_credits' end;
end;
$$;

-- What a hold gives back: a refund of the job, and from there to the lease that it was drawn on, while that
-- is open. Adds the entries to the outcome, with what they change of holds and leases.
create or replace function tally.give_back(p_user uuid, r tally.outcome, p_amount integer, p_note text, p_lease uuid)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  r.postings := r.postings || row('refund', p_amount, p_note, true)::tally.posting;
  if p_lease is not null then
    update tally_sync.leases l set unspent = l.unspent + p_amount
     where l.user_id = p_user and l.lease_id = p_lease and l.closed_at is null;
    if found then
      r.postings := r.postings || row('reserve', -p_amount, 'Back to lease', false)::tally.posting;
      r.held := r.held + p_amount;
    end if;
  end if;
  return r;
end;
$$;

-- A new hold, from the lease that the operation names or from the balance; r.result says whether there was
-- enough.
create or replace function tally.open_hold(
  p_user uuid, o tally.op, r tally.outcome, p_amount integer, p_balance integer, w tally.pusher)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  j tally.job := r.job;
  v_drawn boolean := o.lease is not null and tally.draw(p_user, w.device_id, o.lease, p_amount);
begin
  if v_drawn then
    r.postings := r.postings || row('refund', p_amount, 'Drawn from lease', false)::tally.posting;
    r.held := coalesce(r.held, 0) - p_amount;
  elsif p_balance < p_amount then
    r.result := tally.short_of_credits(p_user, w.device_id, o.lease);
    return r;
  end if;
  r.postings := r.postings || row('reserve', -p_amount, 'Reserved for job', true)::tally.posting;
  r.held := coalesce(r.held, 0) + p_amount;
  j.hold := p_amount;
  j.reservation := o.op_id;
  j.lease := case when v_drawn then o.lease end;
  j.cost_credits_reserved := p_amount;
  j.cost_credits_final := null;
  r.job := j;
  return r;
end;
$$;

create or replace function tally.op_reserve_credits(p_user uuid, o tally.op, j tally.job, a tally.accounts, w tally.pusher)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
begin
  r.result := case
    when j.id is null then 'job_not_found'
    when j.user_id <> p_user then 'not_owner'
    when j.status <> 'PENDING' then 'illegal_transition'
    when j.hold > 0 then 'already_reserved'
    else 'ok' end;
  if r.result = 'ok' then
    r.job := j;
    r := tally.open_hold(p_user, o, r, (o.fields ->> 'amount')::integer, a.balance, w);
  end if;
  return r;
end;
$$;

create or replace function tally.op_retry_job(p_user uuid, o tally.op, j tally.job, a tally.accounts, w tally.pusher)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
begin
  if j.status <> 'FAILED' then
    r.result := 'illegal_transition';
    return r;
  end if;
  r.result := 'ok';
  if j.hold > 0 then
    -- A FAILED job has none, but one that old data left: it is released first.
    r.postings := array[row('refund', j.hold, 'Job failed - credits released', true)::tally.posting];
    r.held := (-j.hold)::bigint;
  end if;
  r.job := j;
  r := tally.open_hold(p_user, o, r, (o.fields ->> 'amount')::integer, a.balance + j.hold, w);
  if r.result <> 'ok' then
    return r;
  end if;
  update public.job_steps t
     set state = 'pending', progress_pct = 0, status_message = null, error_message = null, logs_url = null,
         artifacts_json = '{}', started_at = null, finished_at = null
   where t.job_id = j.id and j.user_id = p_user and t.state = 'failed';
  j := r.job;
  j.status := 'QUEUED';
  j.progress := tally.progress_of(j.id);
  j.status_message := null;
  j.failed_step := null;
  j.error_code := null;
  j.error_message := null;
  j.finished_at := null;
  r.job := j;
  r.steps := true;
  return r;
end;
$$;

-- Jobs: worker -----------------------------------------------------------------------------------

create or replace function tally.op_advance_job(p_user uuid, o tally.op, j tally.job)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  v_to text := o.fields ->> 'to';
  v_move text := (select m.hold from tally.job_moves m
                   where m.from_status = j.status and m.to_status = v_to and m.by_operation = 'advance_job');
begin
  r.result := case
    when v_move is null then 'illegal_transition'
    when v_move = 'needs' and j.hold = 0 then 'reservation_required'
    when v_move = 'settled' and (j.hold > 0 or j.cost_credits_final is null) then 'illegal_transition'
    when j.status = 'QUEUED' and v_to is distinct from tally.first_stage(j.id) then 'illegal_transition'
    else 'ok' end;
  if r.result <> 'ok' then
    return r;
  end if;
  if v_to <> 'QUEUED' then
    if j.status = 'QUEUED' and 8 > (
      select count(*) from public.job_steps t where t.job_id = j.id and t.step_name = any (tally.stage_names())) then
      perform tally.make_steps(p_user, j.id);
    end if;
    j.progress := tally.move_steps(p_user, j.id, j.status, v_to, o.at);
    if v_to = 'READY' then
      j.finished_at := o.at;
      j.claim_until := null;
    else
      j.started_at := coalesce(j.started_at, o.at);
    end if;
  end if;
  r.steps := v_to <> 'QUEUED';
  j.status := v_to;
  j.status_message := coalesce(o.fields ->> 'status_message', j.status_message);
  r.job := j;
  return r;
end;
$$;

create or replace function tally.op_report_progress(p_user uuid, o tally.op, j tally.job)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  t public.job_steps;
  v_pct integer := (o.fields ->> 'progress_pct')::integer;
  v_artifacts jsonb := o.fields -> 'artifacts_json';
begin
  select * into t from public.job_steps x where x.job_id = j.id and x.step_name = o.fields ->> 'step_name';
  r.result := case
    when t.id is null then 'step_not_found'
    when o.late is not null then o.late
    when t.state is distinct from 'started' then 'illegal_transition'
    else 'ok' end;
  if r.result <> 'ok' then
    return r;
  end if;
  if coalesce(t.progress_pct, 0) >= v_pct
     and coalesce(o.fields ->> 'status_message', t.status_message) is not distinct from t.status_message
     and coalesce(o.fields ->> 'logs_url', t.logs_url) is not distinct from t.logs_url
     and coalesce(v_artifacts, t.artifacts_json)::text is not distinct from t.artifacts_json::text then
    r.forget := true;
    return r;
  end if;
  update public.job_steps x
     set progress_pct   = greatest(x.progress_pct, v_pct),
         status_message = coalesce(o.fields ->> 'status_message', x.status_message),
         logs_url       = coalesce(o.fields ->> 'logs_url', x.logs_url),
         artifacts_json = coalesce(v_artifacts, x.artifacts_json)
   where x.id = t.id and j.user_id = p_user;
  if v_pct > coalesce(t.progress_pct, 0) then
    j.progress := tally.progress_of(j.id);
  end if;
  r.job := j;
  r.steps := true;
  return r;
end;
$$;

create or replace function tally.op_add_asset(p_user uuid, o tally.op, j tally.job)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  v_asset uuid := (o.fields ->> 'asset_id')::uuid;
begin
  r.result := case
    when exists (select from public.assets x where x.id = v_asset) then 'already_exists'
    when o.late is not null then o.late
    else 'ok' end;
  if r.result = 'ok' then
    insert into public.assets (id, job_id, type, url, storage_path, size_bytes, mime_type, metadata_json, created_at)
    select v_asset, j.id, o.fields ->> 'type', o.fields ->> 'url', o.fields ->> 'storage_path',
            (o.fields ->> 'size_bytes')::bigint, o.fields ->> 'mime_type', o.fields -> 'metadata_json', o.at
     where j.user_id = p_user
    on conflict (id) do nothing;
    if not found then
      r.result := 'already_exists';
      return r;
    end if;
    r.job := j;
  end if;
  return r;
end;
$$;

-- finalize_job_credits and complete_job, which is the same and READY.
create or replace function tally.op_finalize(p_user uuid, o tally.op, j tally.job, a tally.accounts, w tally.pusher)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  v_completes boolean := o.op = 'complete_job';
  v_final integer := (o.fields ->> 'final_cost')::integer;
begin
  r.result := case
    when v_completes and j.status <> 'PACKAGING' then 'illegal_transition'
    when j.hold = 0 and j.cost_credits_final is not null then 'already_finalized'
    when j.hold = 0 then 'no_reservation'
    when v_final > j.hold and not (w.capabilities && array['author', 'service']) then 'not_permitted'
    else 'ok' end;
  if r.result <> 'ok' then
    return r;
  end if;
  r.held := (-j.hold)::bigint;
  if v_final > j.hold then
    if o.lease is not null and tally.draw(p_user, w.device_id, o.lease, v_final - j.hold) then
      r.postings := array[row('refund', v_final - j.hold, 'Drawn from lease', false)::tally.posting];
      r.held := r.held - (v_final - j.hold);
    elsif a.balance < v_final - j.hold then
      r.result := tally.short_of_credits(p_user, w.device_id, o.lease);
      return r;
    end if;
  end if;
  r.postings := r.postings || array[
    row('reserve', least(j.hold, v_final), 'Reservation converted to usage', true)::tally.posting,
    row('usage', -v_final, 'Video generation', true)::tally.posting];
  if j.hold > v_final then
    r := tally.give_back(p_user, r, j.hold - v_final, 'Unused credits refund', j.lease);
  end if;
  j.hold := 0;
  j.cost_credits_final := v_final;
  if v_completes then
    j.progress := tally.move_steps(p_user, j.id, j.status, null, o.at);
    r.steps := true;
    j.status := 'READY';
    j.finished_at := o.at;
    j.output_url := coalesce(o.fields ->> 'output_url', j.output_url);
    j.manifest_json := coalesce(o.fields -> 'manifest_json', j.manifest_json);
    j.claim_until := null;
  end if;
  r.job := j;
  return r;
end;
$$;

-- What release_job_credits and fail_job do with the hold that there is.
create or replace function tally.release_hold(p_user uuid, r tally.outcome)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  j tally.job := r.job;
begin
  r.held := (-j.hold)::bigint;
  r := tally.give_back(p_user, r, j.hold, 'Job failed - credits released', j.lease);
  j.hold := 0;
  r.job := j;
  return r;
end;
$$;

create or replace function tally.op_release_job_credits(p_user uuid, j tally.job)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
begin
  r.result := case when j.hold = 0 then 'no_reservation' else 'ok' end;
  if r.result = 'ok' then
    r.job := j;
    r := tally.release_hold(p_user, r);
  end if;
  return r;
end;
$$;

create or replace function tally.op_fail_job(p_user uuid, o tally.op, j tally.job, w tally.pusher)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
begin
  r.result := case
    when j.status in ('READY', 'FAILED') then 'illegal_transition'
    -- An author cancels what has not begun.
    when j.status not in ('PENDING', 'QUEUED') and not ('worker' = any (w.capabilities)) then 'illegal_transition'
    else 'ok' end;
  if r.result <> 'ok' then
    return r;
  end if;
  r.job := j;
  if j.hold > 0 then
    r := tally.release_hold(p_user, r);
    j := r.job;
  end if;
  j.failed_step := null;
  if tally.is_stage(j.status) then
    j.failed_step := tally.fail_step(p_user, j.id, j.status, o.at, o.fields ->> 'error_message');
    r.steps := true;
  end if;
  j.status := 'FAILED';
  j.error_code := o.fields ->> 'error_code';
  j.error_message := o.fields ->> 'error_message';
  j.finished_at := o.at;
  j.claim_until := null;
  r.job := j;
  return r;
end;
$$;

-- Claims ------------------------------------------------------------------------------------------

-- claim_job, renew_claim and drop_claim. A trace is one device. What a device pushed is judged by canonical's
-- clock.
create or replace function tally.op_claim(o tally.op, j tally.job, w tally.pusher)
returns tally.outcome
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  v_at timestamptz := coalesce(w.now, o.at);
  v_live boolean := coalesce(v_at < j.claim_until, false);
begin
  r.result := case
    when o.op = 'claim_job' and v_live then 'already_claimed'
    when o.op <> 'claim_job' and (not v_live or j.claim_device is distinct from w.device_id) then 'not_claim_holder'
    when o.op = 'claim_job' and j.status <> 'QUEUED' and not tally.is_stage(j.status) then 'illegal_transition'
    else 'ok' end;
  if r.result = 'ok' then
    j.claim_until := case when o.op <> 'drop_claim' then v_at + (o.fields ->> 'ttl')::integer * interval '1 second' end;
    j.claim_device := case when o.op <> 'drop_claim' then w.device_id end;
    r.job := j;
  end if;
  return r;
end;
$$;

-- Leases ------------------------------------------------------------------------------------------

-- lease_credits: opens the device's lease for the user, or adds to it.
create or replace function tally.op_lease_credits(p_user uuid, o tally.op, a tally.accounts, w tally.pusher)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  v_lease uuid := (o.fields ->> 'lease_id')::uuid;
  v_amount integer := (o.fields ->> 'amount')::integer;
  v_mine boolean;
begin
  if a.user_id is null then
    r.result := 'user_not_found';
    return r;
  end if;
  select l.user_id = p_user and l.device_id = w.device_id and l.closed_at is null into v_mine
    from tally_sync.leases l where l.lease_id = v_lease;
  r.result := case
    when not coalesce(v_mine, true) then 'already_exists'
    when v_mine is null and exists (
      select from tally_sync.leases l
       where l.user_id = p_user and l.device_id = w.device_id and l.closed_at is null) then 'already_exists'
    when a.balance < v_amount then 'insufficient_credits'
    else 'ok' end;
  if r.result <> 'ok' then
    return r;
  end if;
  insert into tally_sync.leases as l (user_id, lease_id, device_id, unspent, expires_at)
  values (p_user, v_lease, w.device_id, v_amount, w.now + (o.fields ->> 'ttl')::integer * interval '1 second')
  on conflict (user_id, lease_id) do update
    set unspent = l.unspent + excluded.unspent, expires_at = greatest(l.expires_at, excluded.expires_at);
  r.postings := array[row('reserve', -v_amount, 'Leased to device', false)::tally.posting];
  r.held := v_amount::bigint;
  return r;
end;
$$;

create or replace function tally.op_return_lease(p_user uuid, o tally.op, w tally.pusher)
returns tally.outcome
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  v_unspent integer;
begin
  select l.unspent into v_unspent from tally_sync.leases l
   where l.user_id = p_user and l.lease_id = (o.fields ->> 'lease_id')::uuid and l.device_id = w.device_id
     and l.closed_at is null;
  if not found then
    r.result := 'lease_not_found';
    return r;
  end if;
  update tally_sync.leases l set unspent = 0, closed_at = w.now, closed_by = 'return'
   where l.user_id = p_user and l.lease_id = (o.fields ->> 'lease_id')::uuid;
  r.result := 'ok';
  if v_unspent > 0 then
    r.postings := array[row('refund', v_unspent, 'Lease returned', false)::tally.posting];
    r.held := (-v_unspent)::bigint;
  end if;
  return r;
end;
$$;

-- What a device may not do, by its capabilities. A batch is judged op by op; a trace has all.
create or replace function tally.lacks_capability(o tally.op, w tally.pusher)
returns boolean
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return case
      when w.device_id is null then o.op in ('lease_credits', 'return_lease')
      when o.op in ('sweep', 'purge_expired_drafts') then true
      when o.op = 'batch' then false
      when o.op = 'advance_job' and o.fields is null then not (w.capabilities && array['author', 'worker'])
      when o.op = 'advance_job' then not ((case when o.fields ->> 'to' = 'QUEUED' then 'author' else 'worker' end) = any (w.capabilities))
      when o.op = 'fail_job' then not (w.capabilities && array['author', 'worker'])
      when o.op = 'update_profile' and coalesce(o.fields ? 'stripe_customer_id', false) then not ('service' = any (w.capabilities))
      else not (o.capability = any (w.capabilities)) end;
end;
$$;

-- What a job's operation is refused for when the job is found: another device's live claim, for what a
-- worker does; then a reservation that is not the job's latest.
create or replace function tally.late_refusal(o tally.op, j tally.job, w tally.pusher)
returns text
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return case
      when o.capability = 'worker' and 'worker' = any (w.capabilities) and o.op not in ('claim_job', 'renew_claim', 'drop_claim')
           and coalesce(w.now, o.at) < j.claim_until and j.claim_device is distinct from w.device_id
           and not (o.op = 'advance_job' and o.fields ->> 'to' = 'QUEUED')
           and not (o.op = 'fail_job' and 'author' = any (w.capabilities) and j.status in ('PENDING', 'QUEUED'))
        then 'not_claim_holder'
      when o.reservation is not null and o.reservation is distinct from coalesce(j.reservation, tally.no_user())
        then 'stale_reservation' end;
end;
$$;

-- Operations, in turn ------------------------------------------------------------------------------

-- What an operation that was applied before is answered now; null where it was not. The user is the
-- one it is for; a job's operation whose job is gone, or a batch of such, is looked up by its op_id alone, or as
-- the envelope's.
create or replace function tally.seen_before(p_user uuid, o tally.op, w tally.pusher)
returns tally.outcome
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  r tally.outcome;
  p tally.applied_operations;
  v_job_is_gone boolean := p_user is null and o.error is null and o.has_job and o.job_id is not null;
  v_any_user boolean := v_job_is_gone or (p_user is null and o.error is null and o.op = 'batch');
begin
  select * into p from tally.applied_operations t
   where t.op_id = o.op_id
     and ((not v_job_is_gone and t.user_id = any (case when p_user is null then w.nobody else array[p_user] end))
          or (v_any_user
              and case when o.envelope is null then t.operation = o.op and t.fingerprint = o.fingerprint
                       else t.user_id = o.envelope end))
   order by t.fingerprint = o.fingerprint desc limit 1;
  if found then
    r.result := case when p.operation = o.op and p.fingerprint = o.fingerprint then 'ok' else 'operation_conflict' end;
    r.id := case when r.result = 'ok' then p.id end;
  end if;
  return r;
end;
$$;

-- The user that a batch's operations are all of, or null for none; agree is false where they differ.
-- A job that does not exist has no say; where an earlier one of them makes it, that one has.
create or replace function tally.batch_user(operations tally.op[], jobs tally.job[], out user_id uuid, out user_n integer, out agree boolean)
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  o tally.op;
  j tally.job;
  v_user uuid;
  v_user_n integer;
  v_any boolean := false;
begin
  agree := true;
  for n in 1 .. cardinality(operations) loop
    o := operations[n];
    v_user := null;
    v_user_n := null;
    if o.has_user and o.user_id is not null then
      v_user := o.user_id;
      v_user_n := o.user_n;
    elsif o.has_job and o.job_id is not null then
      j := jobs[o.job_n];
      continue when j.user_id is null;
      v_user := j.user_id;
      v_user_n := j.user_n;
    end if;
    continue when not o.has_user and o.envelope is not null and v_user is distinct from o.envelope;
    if v_any and v_user is distinct from user_id then
      agree := false;
      user_id := null;
      user_n := null;
      return;
    end if;
    user_id := v_user;
    user_n := v_user_n;
    v_any := true;
  end loop;
end;
$$;

-- The op_id of the fail_job by which a sweep fails a job: sweep XOR job, version 4, variant 10.
create or replace function tally.sweep_op_id(sweep uuid, job uuid)
returns uuid
language sql
immutable
set search_path = pg_catalog, pg_temp
as $$
  select overlay(overlay(h placing '4' from 13 for 1)
                 placing substr('89ab', (strpos('0123456789abcdef', substr(h, 17, 1)) - 1) % 4 + 1, 1) from 17 for 1)::uuid
    from (select string_agg(to_hex(get_byte(uuid_send(sweep), n) # get_byte(uuid_send(job), n) + 256), '' order by n) as hh
            from generate_series(0, 15) n) x,
         lateral (select regexp_replace(x.hh, '1(..)', '\1', 'g') as h) y;
$$;

-- A sweep's fail_jobs, by job id: of every job in a stage that has no live claim, and neither claim
-- nor operation for the grace. apply() has locked them all.
create or replace function tally.swept(o tally.op, jobs tally.job[])
returns tally.op[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_ops tally.op[] := array[]::tally.op[];
  f tally.op;
  j record;
begin
  for j in
    select t.id, t.user_id, t.user_n, t.n
      from unnest(jobs) with ordinality as t(
             id, user_id, user_n, project_id, status, progress, status_message, cost_credits_reserved,
             cost_credits_final, failed_step, error_code, error_message, output_url, manifest_json, started_at,
             finished_at, hold, reservation, lease, claim_until, claim_device, active_at, created_at, steps, n)
     where tally.is_stage(t.status) and (t.claim_until is null or t.claim_until <= o.at)
       and greatest(t.active_at, t.claim_until) <= o.at - (o.fields ->> 'grace')::integer * interval '1 second'
     order by t.id
  loop
    f := (tally.decode(array[json_build_object('op', 'fail_job', 'op_id', tally.sweep_op_id(o.op_id, j.id),
                                               'job_id', j.id, 'error_code', 'WORKER_LOST')], array[null], o.at, o.at))[1];
    f.job_n := j.n::integer;
    f.seen := true;  -- Or may be: it is looked up.
    v_ops := v_ops || f;
  end loop;
  return v_ops;
end;
$$;

-- Writes what run() kept.
-- The triggers that note what changed leave jobs, steps and assets that our functions write to this.
create or replace function tally.write(
  p_jobs tally.job[], p_asset_users uuid[], p_assets uuid[], p_entries tally.entry[], p_applied tally.applied_operations[],
  p_careful boolean)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if cardinality(p_jobs) > 0 then
    perform tally_sync.note('jobs', array(select x.user_id from unnest(p_jobs) x), array(select x.id from unnest(p_jobs) x), false);
    perform tally_sync.note('job_steps', array(select x.user_id from unnest(p_jobs) x where x.steps),
                            array(select x.id from unnest(p_jobs) x where x.steps), false);
    perform tally.write_jobs(p_jobs);
  end if;
  perform tally_sync.note('assets', p_asset_users, p_assets, false);
  if cardinality(p_entries) > 0 then
    perform tally.write_entries(p_entries, p_careful);
  end if;
  insert into tally.applied_operations select * from unnest(p_applied);
end;
$$;

-- Applies operations in turn to jobs and accounts, which the caller has locked and read, and writes
-- everything but the accounts. jobs[k] is that of job_ids[k], accounts[k] that of users[k], null where
-- there is none. whole: a batch, which ends at the first refusal; the caller then rolls it back.
create or replace function tally.run(
  w tally.pusher, operations tally.op[], inner_operations tally.op[], users uuid[], job_ids uuid[], whole boolean,
  inout jobs tally.job[], inout accounts tally.accounts[], out verdicts tally.verdict[])
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  o tally.op;
  j tally.job;
  a tally.accounts;
  r tally.outcome;
  r_before tally.outcome;
  e tally.posting;
  v tally.verdict;
  v_batch tally.op[];
  v_jobs tally.job[];
  v_accounts tally.accounts[];
  v_verdicts tally.verdict[];
  v_user uuid;
  v_user_n integer;
  v_agree boolean;
  v_is_foreign boolean;
  -- What is still to be written: of jobs, whether, by their place, and the places of those to be inserted.
  v_unchanged constant boolean[] := array_fill(false, array[coalesce(cardinality(jobs), 0)]);
  v_changed boolean[] := v_unchanged;
  v_new integer[] := array[]::integer[];
  v_asset_users uuid[] := array[]::uuid[];
  v_assets uuid[] := array[]::uuid[];
  v_entries tally.entry[] := array[]::tally.entry[];
  v_entry_count integer := 0;
  v_applied tally.applied_operations[] := array[]::tally.applied_operations[];
  v_applied_count integer := 0;
begin
  verdicts := array[]::tally.verdict[];
  for n in 1 .. cardinality(operations) loop
    o := operations[n];
    if o.op is null then
      verdicts[n] := row(null, 'invalid_argument', null, null, null)::tally.verdict;
      continue;
    end if;

    -- Whose it is, and of which job. A row of another user does not exist for what a device pushed, though it
    -- is loaded for another operation of the same call.
    j := jobs[o.job_n];
    if o.envelope is not null and j.user_id is distinct from o.envelope then
      j := null;
    end if;
    v_user := null;
    v_user_n := null;
    v_is_foreign := false;
    if o.op = 'batch' then
      v_batch := inner_operations[o.inner_first : o.inner_first + o.inner_count - 1];
      select b.user_id, b.user_n, b.agree into v_user, v_user_n, v_agree from tally.batch_user(v_batch, jobs) b;
      if not v_agree then
        o.error := 'no batch';
      end if;
    elsif o.has_user and o.user_id is not null then
      v_user := o.user_id;
      v_user_n := o.user_n;
    elsif o.has_job then
      v_user := j.user_id;
      v_user_n := j.user_n;
    end if;
    if o.envelope is not null and v_user is distinct from o.envelope then
      v_user_n := null;
      v_is_foreign := o.has_user and o.user_id is not null;
    end if;
    a := accounts[v_user_n];

    -- Seen before? The fields by themselves? Is the job there, and the reservation the one that is meant?
    r := null;
    if (w.device_id is not null or o.op in ('lease_credits', 'return_lease')) and tally.lacks_capability(o, w) then
      r.result := 'not_permitted';
    elsif o.error = 'no batch' then
      r.result := 'invalid_argument';
    elsif o.seen and not v_is_foreign and (o.op <> 'batch' or o.envelope is null or coalesce(v_user = o.envelope, true)) then
      perform tally.write('{}', '{}', '{}', '{}', v_applied, w.careful);
      v_applied := array[]::tally.applied_operations[];
      v_applied_count := 0;
      r := tally.seen_before(v_user, o, w);
    end if;
    if r.result is null then
      r.result := case
        when o.error is not null then o.error
        when v_is_foreign then case
          when o.op = 'create_user' then 'not_permitted'
          when o.op in ('create_job', 'delete_project') then 'project_not_found'
          when o.op = 'reserve_credits' then 'job_not_found'
          when o.op = 'update_draft' then 'draft_not_found'
          else 'user_not_found' end
        when not o.has_job or o.op = 'create_job' then null
        when j.id is null then 'job_not_found'
      end;
      if r.result is null and j.id is not null
         and (j.claim_until is not null or coalesce(o.reservation <> j.reservation, o.reservation is not null)) then
        o.late := tally.late_refusal(o, j, w);
        if o.op not in ('create_job', 'reserve_credits', 'report_progress', 'add_asset', 'claim_job', 'renew_claim', 'drop_claim') then
          r.result := o.late;
        end if;
      end if;
      if r.result is null then
        if cardinality(v_new) > 0 and (
             o.op in ('delete_project', 'batch', 'report_progress', 'add_asset', 'retry_job')
             or (o.op = 'advance_job' and j.status <> 'PENDING')) then
          -- It looks at the rows of jobs.
          jobs := tally.insert_jobs(jobs, v_new, w.careful);
          v_new := array[]::integer[];
          j.created_at := null;
        end if;
        if o.op in ('delete_project', 'batch') then
          -- It looks at all rows, or undoes what it wrote: nothing may be left to write.
          perform tally.write(array(select jobs[c.n] from unnest(v_changed) with ordinality c(changed, n) where c.changed),
                              v_asset_users, v_assets, v_entries, v_applied, w.careful);
          v_changed := v_unchanged;
          v_asset_users := array[]::uuid[];
          v_assets := array[]::uuid[];
          v_entries := array[]::tally.entry[];
          v_entry_count := 0;
          v_applied := array[]::tally.applied_operations[];
          v_applied_count := 0;
        end if;

        case o.op
          when 'report_progress' then r := tally.op_report_progress(v_user, o, j);
          when 'advance_job' then r := tally.op_advance_job(v_user, o, j);
          when 'reserve_credits' then r := tally.op_reserve_credits(v_user, o, j, a, w);
          when 'finalize_job_credits', 'complete_job' then r := tally.op_finalize(v_user, o, j, a, w);
          when 'release_job_credits' then r := tally.op_release_job_credits(v_user, j);
          when 'fail_job' then r := tally.op_fail_job(v_user, o, j, w);
          when 'retry_job' then r := tally.op_retry_job(v_user, o, j, a, w);
          when 'add_asset' then r := tally.op_add_asset(v_user, o, j);
          when 'claim_job', 'renew_claim', 'drop_claim' then r := tally.op_claim(o, j, w);
          when 'create_job' then r := tally.op_create_job(v_user, o, j, (jobs[o.job_n]).id is not null, w.careful);
          when 'add_credits', 'expire_credits' then r := tally.op_change_credits(v_user, o, a);
          when 'create_user' then r := tally.op_create_user(v_user, o, a);
          when 'update_profile' then r := tally.op_update_profile(v_user, o, a);
          when 'create_draft' then r := tally.op_create_draft(v_user, o, a);
          when 'update_draft' then r := tally.op_update_draft(v_user, o);
          when 'claim_draft' then r := tally.op_claim_draft(v_user, o, a);
          when 'purge_expired_drafts' then r := tally.op_purge_expired_drafts(o);
          when 'create_project' then r := tally.op_create_project(v_user, o, a);
          when 'update_project' then r := tally.op_update_project(v_user, o);
          when 'create_voice_profile' then r := tally.op_create_voice_profile(v_user, o, a);
          when 'delete_voice_profile' then r := tally.op_delete_voice_profile(v_user, o, a);
          when 'lease_credits' then r := tally.op_lease_credits(v_user, o, a, w);
          when 'return_lease' then r := tally.op_return_lease(v_user, o, w);
          when 'delete_project' then
            r := tally.op_delete_project(v_user, o);
            if r.result = 'ok' then
              for k in 1 .. cardinality(jobs) loop
                j := jobs[k];
                if j.project_id = (o.fields ->> 'project_id')::uuid then
                  jobs[k] := null;
                end if;
              end loop;
            end if;
          when 'sweep' then
            select x.jobs, x.accounts into jobs, accounts
              from tally.run(w, tally.swept(o, jobs), null, users, job_ids, false, jobs, accounts) x;
            r.result := 'ok';
          when 'batch' then
            begin
              select x.jobs, x.accounts, x.verdicts into v_jobs, v_accounts, v_verdicts
                from tally.run(w, v_batch, null, users, job_ids, true, jobs, accounts) x;
              v := v_verdicts[cardinality(v_verdicts)];
              if v.result <> 'ok' then
                raise exception using errcode = 'TAB00', message = 'batch refused';
              end if;
              jobs := v_jobs;
              accounts := v_accounts;
              r.result := 'ok';
            exception when sqlstate 'TAB00' then
              r.result := v.result;
            end;
        end case;

        if r.result <> 'ok' and a.user_id is null and o.op <> 'batch' and not v_is_foreign then
          -- No account was locked, so the same operation may have come first while this one waited.
          r_before := tally.seen_before(v_user, o, w);
          if r_before.result is not null then
            r := r_before;
          end if;
          if o.op = 'create_user' then
            select * into a from tally.lock_accounts(array[v_user]);
            accounts[v_user_n] := a;
          end if;
        elsif r.result = 'ok' then
          if o.op = 'create_user' then
            a := row(v_user, 0, 0::bigint, 0::bigint, 0::bigint)::tally.accounts;
          end if;
          if r.postings is not null then
            for k in 1 .. cardinality(r.postings) loop
              e := r.postings[k];
              a.seq := a.seq + 1;
              a.balance := a.balance + e.amount;
              v_entry_count := v_entry_count + 1;
              v_entries[v_entry_count] := row(v_user, a.seq, o.op_id, k - 1, e.type, e.amount, a.balance,
                                              e.note, o.at, case when e.of_job then o.job_id end,
                                              r.stripe_payment_id)::tally.entry;
            end loop;
            a.held := a.held + coalesce(r.held, 0);
            accounts[v_user_n] := a;
          end if;
          if (r.job).id is not null then
            j := r.job;
            j.active_at := greatest(j.active_at, o.at);
            j.steps := j.steps or coalesce(r.steps, false);
            jobs[o.job_n] := j;
            v_changed[o.job_n] := true;
            if o.op = 'create_job' then
              v_new := v_new || o.job_n;
            elsif o.op = 'add_asset' then
              v_asset_users := v_asset_users || v_user;
              v_assets := v_assets || (o.fields ->> 'asset_id')::uuid;
            end if;
          end if;
          if r.forget is not true then
            v_applied_count := v_applied_count + 1;
            v_applied[v_applied_count] := row(o.op_id, coalesce(v_user, w.nobody[1]), o.op, o.fingerprint, r.id,
                                              o.at)::tally.applied_operations;
          end if;
        end if;
      end if;
    end if;

    -- The answer, with the balance of the user whom the line names, else of its job's owner.
    v := row(o.op_id, r.result, null::integer, r.id, null::integer)::tally.verdict;
    if o.op = 'batch' then
      if r.result <> 'ok' and v_verdicts is not null then
        v.index := cardinality(v_verdicts) - 1;
      end if;
      v_verdicts := null;
      a := null;
      for k in 1 .. cardinality(v_batch) loop
        o := v_batch[k];
        a := accounts[o.user_n];
        if a.user_id is null then
          j := jobs[o.job_n];
          a := accounts[j.user_n];
        end if;
        exit when a.user_id is not null;
      end loop;
    elsif a.user_id is null or o.user_id <> a.user_id then
      a := accounts[o.user_n];
      if a.user_id is null then
        j := jobs[o.job_n];
        a := accounts[j.user_n];
      end if;
    end if;
    v.balance := a.balance;
    verdicts[n] := v;
    if whole and r.result <> 'ok' then
      return;
    end if;
  end loop;

  v_jobs := array(select jobs[c.n] from unnest(v_changed) with ordinality c(changed, n) where c.changed);
  if cardinality(v_new) > 0 then
    jobs := tally.insert_jobs(jobs, v_new, w.careful);
  end if;
  perform tally.write(v_jobs, v_asset_users, v_assets, v_entries, v_applied, w.careful);
end;
$$;

-- The place of each operation's user and job in users and job_ids, and whether its op_id is among those
-- seen. The three are sorted, and searched in halves: a join would be planned for few rows or for many.
create or replace function tally.placed(operations tally.op[], users uuid[], job_ids uuid[], known uuid[])
returns tally.op[]
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select row(o.op, o.op_id, o.at, o.fields, o.error, o.fingerprint, o.reservation,
               o.has_user, o.user_id, width_bucket(o.user_id, users),
               o.has_job, o.job_id, width_bucket(o.job_id, job_ids),
               o.in_batch, o.inner_first, o.inner_count,
               coalesce(known[width_bucket(o.op_id, known)] = o.op_id, false), o.capability, o.envelope, o.lease, null)::tally.op
      from unnest(operations) with ordinality as o(
             op, op_id, at, fields, error, fingerprint, reservation, has_user, user_id, user_n, has_job, job_id,
             job_n, in_batch, inner_first, inner_count, seen, capability, envelope, lease, late, n)
     order by o.n);
end;
$$;

drop function if exists tally.write_accounts(tally.accounts[]);

-- p_before: the accounts as they were read, null where there was none. An account goes with the end of its ledger;
-- one that does not was written to by a trigger since, or is damaged.
create or replace function tally.write_accounts(p_accounts tally.accounts[], p_before tally.accounts[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_user uuid;
  v_is_damaged boolean;
begin
  select x.user_id, (t.balance, t.held, t.seq) is not distinct from (x.balance_before, x.held_before, x.seq_before)
    into v_user, v_is_damaged
    from rows from (unnest(p_accounts), unnest(p_before)) as x(
           user_id, balance, held, seq, old_seq, user_before, balance_before, held_before, seq_before, old_seq_before)
   cross join lateral (select a.* from tally.accounts a where a.user_id = x.user_id offset 0) t
    left join lateral (
      select l.seq, l.balance_after from public.credit_ledger l
       where l.user_id = x.user_id and l.seq is not null order by l.seq desc limit 1) e on true
   where (coalesce(e.seq, 0), coalesce(e.balance_after, 0)) <> (x.seq, x.balance)
      or (x.user_before is not null
          and (t.balance, t.held, t.seq) <> (x.balance_before, x.held_before, x.seq_before))
   limit 1;
  if v_is_damaged then
    raise exception 'the account of user % does not go with its ledger; tally audit --pg tells more', v_user;
  elsif found then
    perform tally.refuse_interference(v_user);
  end if;
  insert into tally.accounts as t (user_id, balance, held, seq)
  select x.user_id, x.balance, x.held, x.seq from unnest(p_accounts) x where x.user_id is not null
  on conflict (user_id) do update
    set balance = excluded.balance, held = excluded.held, seq = excluded.seq
    where (t.balance, t.held, t.seq) is distinct from (excluded.balance, excluded.held, excluded.seq);
end;
$$;

-- Applies decoded operations, in one transaction with whatever the caller does. It first locks the
-- projects that get jobs, so that none is being deleted, then the jobs that they concern, then the accounts of
-- all users concerned, each in the order of ids: a plain UPDATE of a job, too, holds the job's row when it
-- comes to the account. p_user is the one user whom
-- they concern, or null for a trace, which may be of many. w: who pushes.
create or replace function tally.apply(p_user uuid, w tally.pusher, operations tally.op[], inner_operations tally.op[])
returns tally.verdict[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_all tally.op[] := operations || inner_operations;
  v_seen uuid[];
  -- What a device pushes concerns the users of its envelopes: nobody else is locked, or there.
  v_owners uuid[] := case when w.device_id is not null then array(select distinct o.envelope from unnest(operations) o where o.envelope is not null) end;
  v_job_ids uuid[];
  v_projects uuid[];
  v_locked uuid[];
  v_users uuid[];
  v_jobs tally.job[];
  v_accounts tally.accounts[];
  v_before tally.accounts[];
  v_verdicts tally.verdict[];
  v_table text;
  v_constraint text;
  a tally.accounts;
begin
  -- The jobs named, those of projects that are deleted, and those that a sweep may fail.
  v_job_ids := array(
    select o.job_id from unnest(v_all) o where o.job_id is not null
    union
    select b.id from unnest(v_all) o
     cross join lateral (select x.id from public.jobs x where x.project_id = (o.fields ->> 'project_id')::uuid offset 0) b
     where o.op = 'delete_project'
    union
    select b.id from public.jobs b
     where b.status in ('SCRIPTING', 'VOICE_GEN', 'ALIGNMENT', 'VISUAL_PLAN', 'IMAGE_GEN', 'TIMELINE', 'RENDERING', 'PACKAGING')
       and exists (select from unnest(v_all) o where o.op = 'sweep')
    order by 1);
  v_projects := array(
    select (o.fields ->> 'project_id')::uuid from unnest(v_all) o where o.op = 'create_job' and o.error is null order by 1);
  if cardinality(v_projects) > 0 then
    perform from public.projects p
      where p.id = any (v_projects) and (v_owners is null or p.user_id = any (v_owners)) order by p.id for key share;
  end if;
  loop
    v_locked := tally.lock_jobs(v_job_ids, v_owners);
    v_users := array(
      select p_user where p_user is not null
      union
      select o.user_id from unnest(v_all) o where o.user_id is not null and (v_owners is null or o.user_id = any (v_owners))
      union
      select b.user_id from unnest(v_locked) l(id)
       cross join lateral (select x.user_id from public.jobs x where x.id = l.id limit 1) b
      order by 1);
    v_accounts := array_fill(null::tally.accounts, array[cardinality(v_users)]);
    for a in select * from tally.lock_accounts(v_users) loop
      v_accounts[width_bucket(a.user_id, v_users)] := a;
    end loop;
    -- Again where one of the jobs was made while this call waited: nothing of it is locked yet.
    exit when cardinality(v_locked) = cardinality(v_job_ids) or not exists (
      select from unnest(v_job_ids) i(id)
       cross join lateral (
         select x.id from public.jobs x where x.id = i.id and (v_owners is null or x.user_id = any (v_owners)) limit 1) b
       where v_locked[width_bucket(b.id, v_locked)] is distinct from b.id);
  end loop;
  if tally_sync.reclaim(v_users, w.device_id) then
    for a in select * from tally.lock_accounts(v_users) loop
      v_accounts[width_bucket(a.user_id, v_users)] := a;
    end loop;
  end if;

  -- Applied before, or more than once here.
  v_seen := array(
    select o.op_id from unnest(v_all) o
     cross join lateral (select from tally.applied_operations t where t.op_id = o.op_id limit 1) t
    union
    select o.op_id from unnest(v_all) o where o.op_id is not null group by o.op_id having count(*) > 1
    order by 1);
  v_jobs := tally.load_jobs(v_job_ids, v_locked, v_users);
  v_before := v_accounts;
  select r.accounts, r.verdicts into v_accounts, v_verdicts
    from tally.run(w, tally.placed(operations, v_users, v_job_ids, v_seen),
                   tally.placed(inner_operations, v_users, v_job_ids, v_seen),
                   v_users, v_job_ids, false, v_jobs, v_accounts) r;

  perform tally.write_accounts(v_accounts, v_before);
  return v_verdicts;
exception when unique_violation then
  get stacked diagnostics v_table = table_name, v_constraint = constraint_name;
  if v_constraint = 'credit_ledger_user_seq' then
    -- Under the lock on the account nobody else takes its next number; a damaged one has no next number.
    if exists (
      select from unnest(v_before) b
       cross join lateral (
         select l.seq from public.credit_ledger l
          where l.user_id = b.user_id and l.seq is not null order by l.seq desc limit 1) e
       where e.seq <> b.seq) then
      raise;
    end if;
    perform tally.refuse_interference(null);
  elsif v_table = 'applied_operations' or (w.careful and v_table = 'jobs') then
    -- Of no user, so under no lock: another call has just applied one of them. The same call again sees it.
    raise exception using errcode = '40001', message = 'another call did the same at the same time';
  elsif w.careful then
    raise;
  end if;
  -- An id that is made here is taken, or another call has just made the same job: it is seen now.
  w.careful := true;
  return tally.apply(p_user, w, operations, inner_operations);
end;
$$;

-- Who a trace and the PRD's functions are: no device, everything allowed.
create or replace function tally.anybody()
returns tally.pusher
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return row(null, array['author', 'worker', 'service'], null, false, array[tally.no_user()])::tally.pusher;
end;
$$;

-- The ops of a batch, decoded; an element that is no operation has a null op.
create or replace function tally.decode_batch(ops json, nul text, batch_op_id uuid, at timestamptz)
returns tally.op[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_docs json[];
  v_ops tally.op[];
  o tally.op;
begin
  if json_typeof(ops) is distinct from 'array' then
    return array[]::tally.op[];
  end if;
  v_docs := array(select case when json_typeof(e) = 'object' then e end from json_array_elements(ops) e limit 1001);
  if cardinality(v_docs) = 0 then
    return array[]::tally.op[];
  end if;
  v_ops := tally.decode(v_docs, array_fill(nul, array[cardinality(v_docs)]), at, at);
  for n in 1 .. cardinality(v_ops) loop
    o := v_ops[n];
    if o.op_id = batch_op_id then
      o.error := 'operation_conflict';
      v_ops[n] := o;
    end if;
  end loop;
  return v_ops;
end;
$$;

-- Operations with their batches decoded: the ops of all batches in one list, and each batch's part of it. What holds
-- no operations is 'no batch', as is later one of several users: nobody's, so that it is not asked who knows its op_id.
create or replace function tally.with_batches(
  inout operations tally.op[], docs json[], nuls text[], out inner_operations tally.op[])
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  v_batch tally.op[];
  o tally.op;
  n integer;
begin
  inner_operations := array[]::tally.op[];
  for n in select b.n::integer from unnest(operations) with ordinality as b(
                    op, op_id, at, fields, error, fingerprint, reservation, has_user, user_id, user_n, has_job, job_id,
                    job_n, in_batch, inner_first, inner_count, seen, capability, envelope, lease, late, n)
            where b.op = 'batch' order by b.n loop
    o := operations[n];
    v_batch := tally.decode_batch(docs[n] -> 'ops', nuls[n], o.op_id, o.at);
    o.inner_first := cardinality(inner_operations) + 1;
    o.inner_count := cardinality(v_batch);
    if o.inner_count not between 1 and 1000
       or exists (select from unnest(v_batch) x where x.op is null or not x.in_batch) then
      o.error := 'no batch';
    end if;
    if o.error is null then
      o.fingerprint := sha256((
        select string_agg(uuid_send(x.op_id) || coalesce(x.fingerprint, '') || convert_to(coalesce(x.error, ''), 'UTF8'), '')
          from unnest(v_batch) x));
    end if;
    operations[n] := o;
    inner_operations := inner_operations || v_batch;
  end loop;
end;
$$;

-- Applies the lines of a trace in their order and answers each; no line is an error. One row a line:
-- op_id is null for a line that is no operation, index is that of a batch's failing op, line counts from 1.
create or replace function tally.apply_operations(operations text[])
returns table (op_id uuid, result text, balance integer, id uuid, index integer, line integer)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
  v_docs json[];
  v_nuls text[];
  v_ops tally.op[];
  v_inner tally.op[];
begin
  if coalesce(cardinality(operations), 0) = 0 then
    return;
  end if;
  select p.docs, p.nuls into v_docs, v_nuls from tally.parse_all(operations) p;
  v_ops := tally.decode(v_docs, v_nuls, null, clock_timestamp());

  select l.operations, l.inner_operations into v_ops, v_inner from tally.with_batches(v_ops, v_docs, v_nuls) l;
  return query
    select v.op_id, v.result, v.balance, v.id, v.index, v.n::integer
      from unnest(tally.apply(null, tally.anybody(), v_ops, v_inner)) with ordinality as v(op_id, result, balance, id, index, n)
     order by v.n;
end;
$$;

-- The PRD's functions ----------------------------------------------------------------------------

-- Whose a job is; null where there is none.
create or replace function tally.owner_of(p_job_id uuid)
returns uuid
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return (select j.user_id from public.jobs j where j.id = p_job_id);
end;
$$;

-- One operation of canonical's own making, for a user: its op_id is new and its time is now(). What the
-- fields by themselves are refused for comes first, as everywhere.
create or replace function tally.apply_alone(p_user uuid, p_op text, p_fields jsonb)
returns tally.verdict
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  v_doc json := (jsonb_build_object('op', p_op, 'op_id', gen_random_uuid()) || p_fields)::json;
begin
  return (tally.apply(p_user, tally.anybody(), tally.decode(array[v_doc], array[null::text], now(), now()), '{}'))[1];
end;
$$;

create or replace function public.reserve_credits(p_user_id uuid, p_job_id uuid, p_amount integer)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  v_result text := (tally.apply_alone(p_user_id, 'reserve_credits',
    jsonb_build_object('user_id', p_user_id, 'job_id', p_job_id, 'amount', p_amount))).result;
begin
  if v_result not in ('ok', 'insufficient_credits') then
    perform tally.refuse(v_result);
  end if;
  return v_result = 'ok';
end;
$$;
create or replace function public.finalize_job_credits(p_job_id uuid, p_final_cost integer)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  v_result text := (tally.apply_alone(tally.owner_of(p_job_id), 'finalize_job_credits',
    jsonb_build_object('job_id', p_job_id, 'final_cost', p_final_cost))).result;
begin
  if v_result <> 'ok' and not (v_result = 'already_finalized' and exists (
    select from public.jobs j where j.id = p_job_id and j.cost_credits_final = p_final_cost)) then
    perform tally.refuse(v_result);
  end if;
end;
$$;

create or replace function public.release_job_credits(p_job_id uuid)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  v_result text := (tally.apply_alone(tally.owner_of(p_job_id), 'release_job_credits',
    jsonb_build_object('job_id', p_job_id))).result;
begin
  if v_result not in ('ok', 'no_reservation') then
    perform tally.refuse(v_result);
  end if;
end;
$$;

-- For the caller below, who may not look into our tables.
create or replace function tally.is_user(p_user uuid)
returns boolean
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select exists (select from tally.accounts a where a.user_id = p_user)
      or exists (select from tally.known_users(array[p_user]));
$$;

-- The operation claim_draft: a draft is no credit, so nothing of the account is locked. It runs with the
-- caller's own rights. The token, as a setting, is what the policies ask for; when the function returns it
-- is what it was.
create or replace function public.claim_draft_prompt(p_session_token text, p_user_id uuid)
returns uuid
language plpgsql
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
  v_draft uuid;
  v_token text := coalesce(current_setting('app.session_token', true), '');
begin
  if p_user_id is null or coalesce(octet_length(p_session_token), 0) not between 1 and 255 then
    raise exception using errcode = 'TA003', message = 'invalid_argument',
      detail = 'A session token of 1 to 255 bytes and a user are needed.';
  elsif row_security_active('public.draft_prompts') then
    if p_user_id is distinct from auth.uid() then
      raise exception using errcode = 'TA001', message = 'not_permitted', detail = 'A draft is claimed for oneself.';
    end if;
  elsif not tally.is_user(p_user_id) then
    raise exception using errcode = 'TA010', message = 'user_not_found', detail = 'No such user is known here.';
  end if;
  perform set_config('app.session_token', p_session_token, true);
  with
  claimable as (
    select d.id from public.draft_prompts d
     where d.session_token = p_session_token and d.user_id is null and d.expires_at > now()
     order by d.id for no key update),
  claimed as (
    update public.draft_prompts d set user_id = p_user_id
      from claimable c
     where d.id = c.id
    returning d.id, d.created_at)
  select c.id into v_draft from claimed c order by c.created_at desc, c.id desc limit 1;
  perform set_config('app.session_token', v_token, true);
  return v_draft;
exception
  when foreign_key_violation then
    -- Somebody signed in whose user is gone.
    raise exception using errcode = 'TA010', message = 'user_not_found', detail = 'No such user is known here.';
end;
$$;

create or replace function public.add_credits(
  p_user_id uuid, p_amount integer, p_type text, p_note text, p_stripe_payment_id text default null)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set jit = off
as $$
declare
  v_result text := (tally.apply_alone(p_user_id, 'add_credits', jsonb_build_object(
    'user_id', p_user_id, 'amount', p_amount, 'type', p_type, 'note', p_note,
    'stripe_payment_id', nullif(p_stripe_payment_id, '')))).result;
begin
  if v_result <> 'ok' then
    perform tally.refuse(v_result);
  end if;
end;
$$;

-- Rows and digest --------------------------------------------------------------------------------

-- The functions down to row_text() are of a kind that becomes a part of the statement that calls them,
-- which one with a search_path of its own does not; only functions that have one may call them.

-- A time as both halves show it. One that a plain writer put beyond the years 1 to 9999 is shown as the
-- nearest that is not.
create or replace function tally.time_text(t timestamptz)
returns text
language sql
stable
as $$
  select case when t is not null then
      pg_catalog.to_char(pg_catalog.timezone('UTC',
          least(greatest(t, '0001-01-01 00:00:00Z'::pg_catalog.timestamptz), '9999-12-31 23:59:59.999999Z'::pg_catalog.timestamptz)),
        'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') end;
$$;

-- A row of one of the PRD's tables as the mirror's view shows it, every column as text. The digest is made
-- of these texts, so what is compared is what is hashed.

create or replace function tally.row_text(t public.profiles)
returns text[]
language sql
stable
as $$
  select array[t.id::text, t.display_name, t.avatar_url, tally.time_text(t.created_at), t.notification_prefs::text,
               t.stripe_customer_id, tally.time_text(t.updated_at)];
$$;

create or replace function tally.row_text(t public.credit_ledger)
returns text[]
language sql
stable
as $$
  select array[t.id::text, t.user_id::text, t.type, t.amount::text, t.note, tally.time_text(t.created_at), t.job_id::text,
               t.stripe_payment_id, t.balance_after::text, t.seq::text];
$$;

create or replace function tally.row_text(t public.draft_prompts)
returns text[]
language sql
stable
as $$
  select array[t.id::text, t.session_token, t.user_id::text, t.prompt_text, t.template_id, t.options::text,
               tally.time_text(t.created_at), tally.time_text(t.updated_at), tally.time_text(t.expires_at)];
$$;

create or replace function tally.row_text(t public.projects)
returns text[]
language sql
stable
as $$
  select array[t.id::text, t.user_id::text, t.title, t.prompt_text, t.niche_preset, t.target_minutes::text,
               t.voice_profile_id::text, t.transcript_mode, t.transcript_text, t.settings::text,
               tally.time_text(t.created_at), tally.time_text(t.updated_at)];
$$;

create or replace function tally.row_text(t public.jobs)
returns text[]
language sql
stable
as $$
  select array[t.id::text, t.project_id::text, t.user_id::text, t.status::text, t.progress::text, t.status_message,
               t.cost_credits_reserved::text, t.cost_credits_final::text, t.failed_step, t.error_code, t.error_message,
               t.output_url, t.manifest_json::text, tally.time_text(t.created_at), tally.time_text(t.started_at),
               tally.time_text(t.finished_at)];
$$;

create or replace function tally.row_text(t public.job_steps)
returns text[]
language sql
stable
as $$
  select array[t.id::text, t.job_id::text, t.step_name, t.step_order::text, t.state::text, t.progress_pct::text,
               t.status_message, t.error_message, t.logs_url, t.artifacts_json::text,
               tally.time_text(t.started_at), tally.time_text(t.finished_at)];
$$;

create or replace function tally.row_text(t public.assets)
returns text[]
language sql
stable
as $$
  select array[t.id::text, t.job_id::text, t.type, t.url, t.storage_path, t.size_bytes::text, t.mime_type,
               t.metadata_json::text, tally.time_text(t.created_at)];
$$;

create or replace function tally.row_text(t public.voice_profiles)
returns text[]
language sql
stable
as $$
  select array[t.id::text, t.user_id::text, t.name, t.audio_path, t.provider, t.voice_id, t.settings::text,
               tally.time_text(t.created_at)];
$$;

-- A user's rows of one of the PRD's tables, by primary key.
create or replace function tally.rows(table_name text, user_id uuid)
returns setof text[]
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_user alias for user_id;
begin
  case table_name
    when 'profiles' then return query
      select tally.row_text(t) from public.profiles t where t.id = v_user order by t.id;
    when 'credit_ledger' then return query
      select tally.row_text(t) from public.credit_ledger t where t.user_id = v_user order by t.id;
    when 'draft_prompts' then return query
      select tally.row_text(t) from public.draft_prompts t where t.user_id = v_user order by t.id;
    when 'projects' then return query
      select tally.row_text(t) from public.projects t where t.user_id = v_user order by t.id;
    when 'jobs' then return query
      select tally.row_text(t) from public.jobs t where t.user_id = v_user order by t.id;
    when 'job_steps' then return query
      select tally.row_text(t) from public.job_steps t join public.jobs j on j.id = t.job_id
       where j.user_id = v_user order by t.id;
    when 'assets' then return query
      select tally.row_text(t) from public.assets t join public.jobs j on j.id = t.job_id
       where j.user_id = v_user order by t.id;
    when 'voice_profiles' then return query
      select tally.row_text(t) from public.voice_profiles t where t.user_id = v_user order by t.id;
    else
      perform tally.refuse('invalid_argument');
  end case;
end;
$$;

-- Per table the sum, modulo 2^64, of the first eight bytes (big-endian) of SHA-256 over each row.
create or replace function tally.digest(user_id uuid)
returns table (table_name text, rows bigint, digest numeric)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
as $$
  select n.name, count(h.hash),
         coalesce(sum(get_byte(h.hash, 0) * 72057594037927936::numeric + get_byte(h.hash, 1) * 281474976710656
                    + get_byte(h.hash, 2) * 1099511627776 + get_byte(h.hash, 3) * 4294967296
                    + get_byte(h.hash, 4) * 16777216::bigint + get_byte(h.hash, 5) * 65536
                    + get_byte(h.hash, 6) * 256 + get_byte(h.hash, 7)), 0) % 18446744073709551616
    from unnest(array['profiles', 'credit_ledger', 'draft_prompts', 'projects', 'jobs', 'job_steps', 'assets', 'voice_profiles'])
         with ordinality n(name, place)
    left join lateral (
      select sha256(convert_to(n.name || (
               select string_agg(coalesce(octet_length(c.text) || ':' || c.text, '-'), '' order by c.place)
                 from unnest(r.texts) with ordinality c(text, place)), 'UTF8')) as hash
        from tally.rows(n.name, $1) as r(texts)) h on true
   group by n.name, n.place
   order by n.place;
$$;

-- Owners and grants ------------------------------------------------------------------------------

do $$
declare
  f record;
begin
  for f in
    select p.oid::regprocedure as name, p.proname from pg_proc p
     where (p.pronamespace = 'tally'::regnamespace and p.proname not in ('known_users', 'insert_user', 'user_text', 'update_updated_at'))
        or p.oid in ('public.reserve_credits(uuid,uuid,integer)'::regprocedure,
                     'public.finalize_job_credits(uuid,integer)'::regprocedure,
                     'public.release_job_credits(uuid)'::regprocedure,
                     'public.claim_draft_prompt(text,uuid)'::regprocedure,
                     'public.add_credits(uuid,integer,text,text,text)'::regprocedure)
  loop
    execute format('alter function %s owner to tally_owner', f.name);
  end loop;
end;
$$;

revoke execute on all functions in schema tally from public;

-- The migration role may replay traces and compare rows; who else may, the security migration says.
grant usage on schema tally to current_user;
grant select on tally.operations, tally.fields, tally.job_moves, tally.codes to current_user;
grant execute on function tally.apply_operations(text[]), tally.rows(text, uuid), tally.digest(uuid), tally.is_user(uuid)
  to current_user;

revoke create on schema public, tally from tally_owner;
revoke tally_owner from current_user;
