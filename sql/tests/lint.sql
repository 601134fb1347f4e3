-- What database linters look for, here as tests: no error, no warning.
begin;
\ir include/begin.sql
select plan(14);

create temp view ours as
select c.oid, n.nspname, c.relname, c.relkind, c.relrowsecurity
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('public', 'tally', 'tally_sync') and c.relkind in ('r', 'v', 'm', 'f', 'p');

create temp view functions as
select p.oid, p.oid::regprocedure as name, p.prosecdef, p.proconfig, l.lanname, p.prorettype
  from pg_proc p join pg_language l on l.oid = p.prolang
 where p.pronamespace in ('public'::regnamespace, 'tally'::regnamespace, 'tally_sync'::regnamespace);

select is_empty('select relname from ours where relkind <> ''r''', 'there are only plain tables');
select is_empty('select nspname, relname from ours where not relrowsecurity', 'every table has row-level security');
select is_empty($$
  select o.relname from ours o where not exists (select from pg_constraint c where c.conrelid = o.oid and c.contype = 'p') $$,
  'every table has a primary key');
select is_empty($$
  select c.conrelid::regclass, c.conname from pg_constraint c join ours o on o.oid = c.conrelid
   where c.contype = 'f' and not exists (
     select from pg_index i where i.indrelid = c.conrelid and (i.indkey::smallint[])[0 : cardinality(c.conkey) - 1] = c.conkey) $$,
  'every foreign key has an index that it leads');
select is_empty($$
  select a.indexrelid::regclass, b.indexrelid::regclass from pg_index a join pg_index b
      on a.indrelid = b.indrelid and a.indexrelid < b.indexrelid and a.indkey = b.indkey and a.indclass = b.indclass
     and a.indpred is not distinct from b.indpred and a.indexprs is not distinct from b.indexprs
    join ours o on o.oid = a.indrelid $$,
  'no index is there twice');
select is_empty($$
  select p.schemaname, p.tablename, r.role, c.command
    from pg_policies p
   cross join unnest(p.roles) r(role)
   cross join unnest(case p.cmd when 'ALL' then array['SELECT', 'INSERT', 'UPDATE', 'DELETE'] else array[p.cmd] end) c(command)
   where p.permissive = 'PERMISSIVE' and p.schemaname in ('public', 'tally', 'tally_sync')
   group by 1, 2, 3, 4 having count(*) > 1 $$,
  'a role has one policy a command');
select is_empty($$
  select p.tablename, p.policyname from pg_policies p
   where p.roles && array['public', 'anon', 'authenticated']::name[] and p.cmd <> 'SELECT'
     and 'true' in (lower(trim(both '()' from coalesce(p.qual, ''))), lower(trim(both '()' from coalesce(p.with_check, '')))) $$,
  'no policy for users that lets every write through');
select is_empty($$
  select p.tablename, p.policyname from pg_policies p,
         regexp_replace(coalesce(p.qual, '') || coalesce(p.with_check, ''), '\( SELECT .*? AS ["a-z_]+\)', '', 'g') rest
   where rest ~ '(auth\.\w+|current_setting)\('
      -- As Supabase's linter looks for it, letter by letter.
      or (coalesce(p.qual, '') like '%current\_setting(%)%' and lower(p.qual) not like '%select current\_setting(%)%')
      or (coalesce(p.with_check, '') like '%current\_setting(%)%' and lower(p.with_check) not like '%select current\_setting(%)%') $$,
  'policies ask who is calling once a statement, not once a row');
select is_empty($$
  select name from functions where not coalesce('search_path=pg_catalog, pg_temp' = any (proconfig), false)
     -- These become a part of the statements of functions that have one: a call of each a row would cost more
     -- than the row.
     and name::text not like all (array['tally.time\_text(%', 'tally.row\_text(%', 'tally\_sync.is\_as\_made(%']) $$,
  'every function has a fixed search_path');
select is_empty($$
  select name from functions where name::text like any (array['tally.time\_text(%', 'tally.row\_text(%', 'tally\_sync.is\_as\_made(%'])
     and (prosecdef or has_function_privilege('service_role', oid, 'execute')) $$,
  'what has none is nobody''s to call, and runs with nobody''s rights');
select is_empty($$
  select name, r from functions, unnest(array['anon', 'authenticated', 'tally_device']) r
   where prosecdef and has_function_privilege(r, oid, 'execute') and not (r = 'tally_device' and name::text like 'tally_sync.sync(%') $$,
  'no user can execute a function that runs with its owner''s rights, but devices theirs');
select is_empty($$
  select e.extname from pg_extension e where e.extnamespace = 'public'::regnamespace $$,
  'no extension is in public');
select is_empty($$
  select s.oid::regclass from pg_class s
   where s.relkind = 'S' and s.relnamespace in ('public'::regnamespace, 'tally'::regnamespace, 'tally_sync'::regnamespace) $$,
  'nothing counts by a sequence or an identity column');

-- Read closely: types, unused and shadowed names, volatility, statements that cannot work.
select is_empty($$
  select f.name, c.lineno, c.level, c.message
    from functions f
    left join pg_trigger t on t.tgfoid = f.oid and not t.tgisinternal
   cross join lateral plpgsql_check_function_tb(
     f.oid, coalesce(t.tgrelid, 0), newtable => t.tgnewtable, oldtable => t.tgoldtable,
     extra_warnings => true, performance_warnings => true, security_warnings => true) c
   where f.lanname = 'plpgsql' $$,
  'plpgsql_check finds nothing');

select * from finish();
rollback;
