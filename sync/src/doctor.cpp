// What a database lacks, or has otherwise than the migrations make it. There is no list of what
// should be there: the migrations are run once more, into a schema of their own, in a transaction
// that is rolled back, and both catalogues are compared.

#include "canonical_impl.hpp"
#include "catalogue.hpp"

namespace tally::sync {
namespace {

constexpr const char* twin = "tally_doctor";

constexpr std::string_view migrate_again =
    "run the SQL of sql/canonical that makes it again (our files can be run twice), or put it back "
    "by hand";

class Doctor {
 public:
  Doctor(Connection& connection, std::string schema)
      : connection_(connection), schema_(std::move(schema)) {}

  Result<std::vector<DoctorFinding>> run(const MigrationReport& report) {
    if (auto error = check_server()) return *error;
    if (auto error = check_roles()) return *error;
    if (auto error = check_schema()) return *error;
    const bool complete = check_record(report);
    // Without all migrations every object would be a finding.
    if (complete) {
      if (auto error = check_sign_up()) return *error;
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
        " from unnest(array['anon', 'authenticated', 'service_role', 'tally_owner', "
        "'tally_device'])"
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

  /// Before PostgreSQL 15 everybody may make things in public, and only its owner can end that.
  Failure check_schema() {
    const auto rows = connection_.query("select has_schema_privilege('anon', $1, 'create')",
                                        {text_parameter(schema_)});
    if (!rows) return rows.error();
    if (rows->text(0, 0) == "t")
      find("everybody may make objects in the schema " + schema_,
           "as its owner: revoke create on schema " + schema_ + " from public");
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

  /// The one object of ours on a table that is not; a cell has none.
  Failure check_sign_up() {
    if (schema_ != "public") return std::nullopt;
    const auto rows = connection_.query(
        "select from pg_trigger where tgname = 'on_auth_user_created' and tgenabled in ('O', 'A')"
        " and tgrelid = 'auth.users'::regclass and tgfoid = "
        "'public.handle_new_user()'::regprocedure");
    if (!rows) return rows.error();
    if (rows->count() == 0)
      find(
          "the trigger on_auth_user_created on auth.users is missing or disabled: who signs up "
          "gets "
          "no profile and no credits until something of theirs is touched",
          "create it as in sql/canonical/20260118000010_triggers.sql");
    return std::nullopt;
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
      const bool ours = expected->contains({"table", object.part_of}) ||
                        is_our_function(object.part_of, *expected);
      const bool matters =
          key.first == "privilege" || key.first == "policy" || key.first == "trigger";
      if (matters && ours && !expected->contains(key))
        find(key.first + " " + key.second + " is more than the migrations give",
             key.first == "privilege" ? "revoke it, if nobody meant it"
                                      : "drop it, if nobody meant it");
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
