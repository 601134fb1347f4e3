// What a database lacks, or has otherwise than the migrations make it. There is no list of what
// should be there: the migrations are run once more, into a schema of their own, in a transaction
// that is rolled back, and both catalogues are read by one query and compared.

#include <map>

#include "canonical_impl.hpp"

namespace tally::sync {
namespace {

constexpr const char* twin = "tally_doctor";

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

struct Object {
  std::string definition;
  std::string part_of;
};
using Catalogue = std::map<std::pair<std::string, std::string>, Object>;

Result<Catalogue> read_catalogue(Connection& connection, const std::vector<std::string>& schemas) {
  std::string names;
  for (const std::string& schema : schemas) names += (names.empty() ? "" : "|") + schema;
  const auto rows = connection.query(
      std::string(catalogue).c_str(),
      {text_array(schemas), text_parameter("\\m(" + names + ")\\."),
       text_parameter("'(" + names + ")'")});
  if (!rows) return rows.error();
  Catalogue found;
  for (int row = 0; row < rows->count(); ++row) {
    found.try_emplace({std::string(rows->text(row, 0)), std::string(rows->text(row, 1))},
                      Object{std::string(rows->text(row, 2)), std::string(rows->text(row, 3))});
  }
  return found;
}

constexpr std::string_view migrate_again =
    "run the SQL of sql/canonical that makes it again (our files can be run twice), or put it back by hand";

class Doctor {
 public:
  Doctor(Connection& connection, std::string schema)
      : connection_(connection), schema_(std::move(schema)) {}

  Result<std::vector<DoctorFinding>> run(const MigrationReport& report) {
    if (auto error = check_server()) return *error;
    if (auto error = check_roles()) return *error;
    const bool complete = check_record(report);
    // Without all migrations every object would be a finding.
    if (complete) {
      if (auto error = check_catalogue()) return *error;
    }
    return findings_;
  }

 private:
  void find(std::string what, std::string_view remedy) {
    findings_.push_back({std::move(what), std::string(remedy)});
  }

  Failure check_server() {
    const auto rows = connection_.query(
        "select current_setting('server_version_num')::integer / 10000,"
        " current_setting('server_encoding'), current_setting('fsync'),"
        " current_setting('synchronous_commit')");
    if (!rows) return rows.error();
    const std::string version(rows->text(0, 0));
    if (version < "13" || version.size() > 2)
      find("the server is PostgreSQL " + version, "PostgreSQL 13 to 17 are known to be good");
    if (rows->text(0, 1) != "UTF8")
      find("the database's encoding is " + std::string(rows->text(0, 1)),
           "make it anew with encoding UTF8");
    if (rows->text(0, 2) != "on")
      find("fsync is off: a power cut may lose everything", "turn fsync on");
    if (rows->text(0, 3) == "off")
      find("synchronous_commit is off: a crash may lose what was answered ok",
           "set synchronous_commit to on");
    return std::nullopt;
  }

  Failure check_roles() {
    const auto rows = connection_.query(
        "select w.role, r.rolname is not null, coalesce(r.rolcanlogin, false),"
        " (select string_agg(m.member::regrole::text, ', ') from pg_auth_members m"
        "   where m.roleid = r.oid and not m.admin_option)"
        " from unnest(array['anon', 'authenticated', 'service_role', 'tally_owner', 'tally_device'])"
        " w(role) left join pg_roles r on r.rolname = w.role");
    if (!rows) return rows.error();
    for (int row = 0; row < rows->count(); ++row) {
      const std::string role(rows->text(row, 0));
      if (rows->text(row, 1) != "t") {
        find("the role " + role + " does not exist",
             role.starts_with("tally") ? "run tally migrate" : "apply sql/shim/auth.sql");
      }
      if (role != "tally_owner") continue;
      if (rows->text(row, 2) == "t")
        find("the role tally_owner can log in", "alter role tally_owner nologin");
      if (!rows->is_null(row, 3))
        find("the role tally_owner has members: " + std::string(rows->text(row, 3)),
             "revoke tally_owner from each of them: who is one may write entries unchecked");
    }
    return std::nullopt;
  }

  bool check_record(const MigrationReport& report) {
    bool complete = true;
    for (const Migration& migration : report.migrations) {
      const std::string title = migration.version + "_" + migration.name;
      if (migration.state == MigrationState::pending) {
        complete = false;
        find("migration " + title + " is not applied", "run tally migrate");
      } else if (migration.state == MigrationState::edited) {
        find("migration " + title + " was applied with another text than this program's",
             "compare its statements in the record with sql/canonical");
      }
    }
    return complete;
  }

  Failure check_catalogue() {
    auto begun = connection_.script("begin; set local lock_timeout = '5s'");
    if (!begun) return begun.error();
    Failure failure = compare();
    auto ended = connection_.script("rollback");
    if (!failure && !ended) failure = ended.error();
    return failure;
  }

  Failure compare() {
    const std::vector<std::string> here =
        schema_ == "public" ? std::vector<std::string>{"public", "tally", "tally_sync"}
                            : std::vector<std::string>{schema_};
    if (auto error = install_for_comparison(connection_, twin)) return error;
    auto settled = connection_.script("set local search_path = pg_catalog");
    if (!settled) return settled.error();
    auto expected = read_catalogue(connection_, {twin});
    if (!expected) return expected.error();
    auto found = read_catalogue(connection_, here);
    if (!found) return found.error();
    for (const auto& [key, object] : *expected) {
      const auto at = found->find(key);
      const std::string title = key.first + " " + key.second;
      if (at == found->end()) {
        find(title + " is missing", migrate_again);
      } else if (at->second.definition != object.definition) {
        find(title + " differs from what the migrations make", migrate_again);
      }
    }
    for (const auto& [key, object] : *found) {
      // What somebody added to our tables and functions; other tables of theirs are their own.
      const bool ours = expected->contains({"table", object.part_of}) || is_our_function(object.part_of, *expected);
      const bool matters =
          key.first == "privilege" || key.first == "policy" || key.first == "trigger";
      if (matters && ours && !expected->contains(key))
        find(key.first + " " + key.second + " is more than the migrations give",
             key.first == "privilege" ? "revoke it, if nobody meant it" : "drop it, if nobody meant it");
    }
    return std::nullopt;
  }

  static bool is_our_function(const std::string& name, const Catalogue& expected) {
    const auto at = expected.lower_bound({"function", name + "("});
    return at != expected.end() && at->first.second.starts_with(name + "(");
  }

  Connection& connection_;
  std::string schema_;
  std::vector<DoctorFinding> findings_{};
};

}  // namespace

Result<std::vector<DoctorFinding>> Canonical::doctor() noexcept {
  return guarded([&]() -> Result<std::vector<DoctorFinding>> {
    auto status = migration_status();
    if (!status) return status.error();
    return Doctor(impl_->connection, impl_->schema).run(*status);
  });
}

}  // namespace tally::sync
