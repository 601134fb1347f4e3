#include "catalogue.hpp"

namespace tally::sync {
namespace {

/// Every object of a schema as a name and a definition, without the schema's own name.
constexpr std::string_view catalogue = R"~(
with
space as (select n.oid, n.nspname from pg_catalog.pg_namespace n where n.nspname = any ($1::text[])),
relation as (select c.* from pg_catalog.pg_class c join space s on s.oid = c.relnamespace where c.relkind = 'r'),
found as (
  select 'table' as kind, r.relname::text as name,
         'row-level security ' || r.relrowsecurity || ' ' || r.relforcerowsecurity as definition, r.relname::text as part_of
    from relation r
  union all
  select 'column', r.relname || '.' || a.attname,
         concat_ws(' ', pg_catalog.format_type(a.atttypid, a.atttypmod), case when a.attnotnull then 'not null' end,
                   pg_catalog.pg_get_expr(d.adbin, d.adrelid)), r.relname
    from relation r
    join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    left join pg_catalog.pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
  union all
  select 'constraint', r.relname || '.' || c.conname, pg_catalog.pg_get_constraintdef(c.oid) || ' ' || c.convalidated, r.relname
    from relation r join pg_catalog.pg_constraint c on c.conrelid = r.oid and c.contype <> 'n'
  union all
  select 'index', i.indexrelid::pg_catalog.regclass::text, pg_catalog.pg_get_indexdef(i.indexrelid) || ' ' || i.indisvalid, r.relname
    from relation r join pg_catalog.pg_index i on i.indrelid = r.oid
  union all
  select 'trigger', r.relname || '.' || t.tgname, pg_catalog.pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text, r.relname
    from relation r join pg_catalog.pg_trigger t on t.tgrelid = r.oid and not t.tgisinternal
  union all
  select 'policy', r.relname || '.' || p.polname,
         concat_ws(' ', p.polcmd::text, p.polpermissive::text,
                   (select string_agg(x.role::pg_catalog.regrole::text, ',' order by x.role::pg_catalog.regrole::text)
                      from unnest(p.polroles) x(role)),
                   pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)), r.relname
    from relation r join pg_catalog.pg_policy p on p.polrelid = r.oid
  union all
  select 'function', p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')',
         concat_ws(' ', pg_catalog.pg_get_function_result(p.oid), l.lanname, p.provolatile::text, p.prosecdef::text,
                   p.proowner::pg_catalog.regrole::text, p.proconfig::text, p.prosrc), null
    from pg_catalog.pg_proc p join space s on s.oid = p.pronamespace join pg_catalog.pg_language l on l.oid = p.prolang
  union all
  select 'privilege', r.relname || ' ' || a.privilege_type || ' of '
         || case when a.grantee = 0 then 'everybody' else a.grantee::pg_catalog.regrole::text end, '', r.relname
    from relation r, pg_catalog.aclexplode(r.relacl) a where a.grantee <> r.relowner
  union all
  select 'privilege', p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ') ' || a.privilege_type || ' of '
         || case when a.grantee = 0 then 'everybody' else a.grantee::pg_catalog.regrole::text end, '', p.proname
    from pg_catalog.pg_proc p join space s on s.oid = p.pronamespace,
         pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
   where a.grantee <> p.proowner
  union all
  select 'type', t.typname, (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_catalog.pg_enum e where e.enumtypid = t.oid), null
    from pg_catalog.pg_type t join space s on s.oid = t.typnamespace where t.typtype = 'e'
)
select kind,
       pg_catalog.regexp_replace(name, $2, '', 'g'),
       pg_catalog.regexp_replace(pg_catalog.regexp_replace(coalesce(definition, ''), $2, '', 'g'), $3, '''here''', 'g'),
       coalesce(part_of, '')
  from found)~";

}  // namespace

Result<Catalogue> read_catalogue(Connection& connection, const std::vector<std::string>& schemas) {
  // Ours in any case: comments keep their names when a script is moved to another schema.
  std::string names = "public|tally|tally_sync";
  for (const std::string& schema : schemas) names += "|" + schema;
  const auto rows = connection.query(std::string(catalogue).c_str(),
                                     {text_array(schemas), text_parameter("\\m(" + names + ")\\."),
                                      text_parameter("'(" + names + ")'")});
  if (!rows) return rows.error();
  Catalogue found;
  for (int row = 0; row < rows->count(); ++row) {
    found.try_emplace(
        {std::string(rows->text(row, 0)), std::string(rows->text(row, 1))},
        CatalogueObject{std::string(rows->text(row, 2)), std::string(rows->text(row, 3))});
  }
  return found;
}

}  // namespace tally::sync
