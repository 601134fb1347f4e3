-- Who may do what: the whole matrix. A table or function that is not in it fails, and so does a
-- privilege that is there and should not be, or the other way round.
begin;
\ir include/begin.sql
select plan(7);

create temp table roles (role text primary key);
insert into roles values ('public'), ('anon'), ('authenticated'), ('service_role'), ('tally_device');

-- S select, I insert, U update, D delete, T truncate, R references, G trigger; an update of some columns
-- alone names them.
create temp table tables_allowed (name text, role text, allowed text);
insert into tables_allowed values
  ('profiles',       'authenticated', 'S U(avatar_url,display_name,notification_prefs)'),
  ('profiles',       'service_role',  'SIU'),
  ('credit_ledger',  'authenticated', 'S'),
  ('credit_ledger',  'service_role',  'SI'),
  ('draft_prompts',  'anon',          'SIU'),
  ('draft_prompts',  'authenticated', 'SIU'),
  ('draft_prompts',  'service_role',  'SIUD'),
  ('projects',       'authenticated', 'SIUD'),
  ('projects',       'service_role',  'SIUD'),
  ('jobs',           'authenticated', 'S'),
  ('jobs',           'service_role',  'SIUD'),
  ('job_steps',      'authenticated', 'S'),
  ('job_steps',      'service_role',  'SIUD'),
  ('assets',         'authenticated', 'S'),
  ('assets',         'service_role',  'SIUD'),
  ('voice_profiles', 'authenticated', 'SIUD'),
  ('voice_profiles', 'service_role',  'SIUD'),
  ('tally.codes',      'service_role', 'S'),
  ('tally.operations', 'service_role', 'S'),
  ('tally.fields',     'service_role', 'S'),
  ('tally.job_moves',  'service_role', 'S');

-- What each may execute; whoever is not named here, nothing.
create temp table functions_allowed (name text, role text);
insert into functions_allowed values
  ('get_credit_balance(uuid)',                  'authenticated'),
  ('get_credit_balance(uuid)',                  'service_role'),
  ('claim_draft_prompt(text,uuid)',             'authenticated'),
  ('claim_draft_prompt(text,uuid)',             'service_role'),
  ('reserve_credits(uuid,uuid,integer)',        'service_role'),
  ('finalize_job_credits(uuid,integer)',        'service_role'),
  ('release_job_credits(uuid)',                 'service_role'),
  ('add_credits(uuid,integer,text,text,text)',  'service_role'),
  ('tally.apply_operations(text[])',            'service_role'),
  ('tally.rows(text,uuid)',                     'service_role'),
  ('tally.digest(uuid)',                        'service_role'),
  ('tally.is_user(uuid)',                       'service_role'),
  ('tally.audit(uuid)',                         'service_role'),
  ('tally.repair(uuid)',                        'service_role'),
  ('tally_sync.sync(integer,text,bigint,bytea,uuid[],text[],text[],jsonb,integer,integer,uuid,uuid,integer,uuid[],uuid)', 'service_role'),
  ('tally_sync.sync(integer,text,bigint,bytea,uuid[],text[],text[],jsonb,integer,integer,uuid,uuid,integer,uuid[],uuid)', 'tally_device'),
  ('tally_sync.add_device(text,text[],uuid,interval,uuid)', 'service_role'),
  ('tally_sync.rotate_token(uuid)',             'service_role'),
  ('tally_sync.revoke_device(uuid)',            'service_role'),
  ('tally_sync.list_devices()',                 'service_role'),
  ('tally_sync.write_off(uuid)',                'service_role'),
  ('tally_sync.prune(interval)',                'service_role');

create temp table schemas_allowed (name text, role text, allowed text);
insert into schemas_allowed values
  ('public', 'public', 'U'), ('public', 'anon', 'U'), ('public', 'authenticated', 'U'), ('public', 'service_role', 'U'),
  ('public', 'tally_device', 'U'),
  ('tally', 'service_role', 'U'),
  ('tally_sync', 'service_role', 'U'),
  ('tally_sync', 'tally_device', 'U');

create temp view tables_found as
select c.oid::regclass::text as name, r.role,
       concat(case when has_table_privilege(r.role, c.oid, 'select') then 'S' end,
              case when has_table_privilege(r.role, c.oid, 'insert') then 'I' end,
              case when has_table_privilege(r.role, c.oid, 'update') then 'U' end,
              case when has_table_privilege(r.role, c.oid, 'delete') then 'D' end,
              case when has_table_privilege(r.role, c.oid, 'truncate') then 'T' end,
              case when has_table_privilege(r.role, c.oid, 'references') then 'R' end,
              case when has_table_privilege(r.role, c.oid, 'trigger') then 'G' end,
              ' ' || p.command || '(' || p.columns || ')') as allowed
  from pg_class c
 cross join roles r
  left join lateral (
    select upper(left(v.command, 1)) as command, string_agg(a.attname, ',' order by a.attname) as columns
      from pg_attribute a, unnest(array['select', 'insert', 'update', 'references']) v(command)
     where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
       and has_column_privilege(r.role, c.oid, a.attnum, v.command)
       and not has_table_privilege(r.role, c.oid, v.command)
     group by v.command) p on true
 where c.relkind in ('r', 'v', 'm', 'f', 'p', 'S')
   and c.relnamespace in ('public'::regnamespace, 'tally'::regnamespace, 'tally_sync'::regnamespace);

create temp view functions_found as
select p.oid::regprocedure::text as name, r.role
  from pg_proc p cross join roles r
 where p.pronamespace in ('public'::regnamespace, 'tally'::regnamespace, 'tally_sync'::regnamespace)
   and has_function_privilege(r.role, p.oid, 'execute');

select is_empty('select * from tables_found where allowed <> '''' except select * from tables_allowed',
                'nobody has more of a table than the matrix says');
select is_empty('select * from tables_allowed except select * from tables_found', 'nor less');
select is_empty('select * from functions_found except select * from functions_allowed',
                'nobody may execute more than the matrix says');
select is_empty('select * from functions_allowed except select * from functions_found', 'nor less');
select set_eq($$
  select n.nspname::text, r.role, concat(case when has_schema_privilege(r.role, n.oid, 'usage') then 'U' end,
                                         case when has_schema_privilege(r.role, n.oid, 'create') then 'C' end)
    from pg_namespace n cross join roles r
   where n.nspname in ('public', 'tally', 'tally_sync')
     and (has_schema_privilege(r.role, n.oid, 'usage') or has_schema_privilege(r.role, n.oid, 'create')) $$,
  'select * from schemas_allowed', 'schemas are open to those of the matrix');

-- Owners: what runs with its owner's rights is tally_owner's, but for the few that look into auth.
select is_empty($$
  select p.oid::regprocedure from pg_proc p
   where p.pronamespace in ('public'::regnamespace, 'tally'::regnamespace, 'tally_sync'::regnamespace)
     and p.prosecdef and p.proowner <> 'tally_owner'::regrole
     and p.oid not in ('tally.known_users(uuid[])'::regprocedure, 'tally.insert_user(uuid,text,jsonb,timestamptz)'::regprocedure,
                       'tally.user_text(uuid)'::regprocedure) $$,
  'functions that run with their owner''s rights are tally_owner''s');
select is_empty($$
  select r.rolname from pg_roles r
   where r.rolname in ('tally_owner', 'tally_device') and (r.rolcanlogin or r.rolsuper or r.rolcreaterole or r.rolbypassrls)
  union all
  select m.member::regrole::text from pg_auth_members m where m.roleid = 'tally_owner'::regrole and not m.admin_option $$,
  'our roles cannot log in, are above nobody, and nobody is tally_owner');

select * from finish();
rollback;
