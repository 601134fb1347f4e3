// The runner of sql/canonical: what is missing, in order, each file in a transaction of its own.

#include <algorithm>
#include <set>

#include "canonical_impl.hpp"
#include "sql/canonical.hpp"
#include "sql/shim.hpp"

namespace tally::sync {
namespace {

using sql::EmbeddedFile;

// Held by whoever migrates, until its transaction ends: "tally mi" in bytes. Whoever waited for it
// may remember from before the wait that a schema does not exist; locking a table brings its caches
// up to date, waiting for an advisory lock does not.
constexpr std::string_view take_lock =
    "select pg_advisory_xact_lock(8386103194285010281);\n"
    "select from pg_catalog.pg_namespace limit 0;\n";

constexpr std::string_view make_record =
    "create schema if not exists supabase_migrations;\n"
    "create table if not exists supabase_migrations.schema_migrations"
    " (version text not null primary key, statements text[], name text);\n"
    "alter table supabase_migrations.schema_migrations add column if not exists statements "
    "text[];\n"
    "alter table supabase_migrations.schema_migrations add column if not exists name text;\n";

Migration migration_of(const EmbeddedFile& file) {
  const std::string_view stem = file.name.substr(0, file.name.rfind(".sql"));
  const std::size_t end = stem.find('_');
  return {std::string(stem.substr(0, end)), std::string(stem.substr(end + 1)), false};
}

/// A text as an SQL literal, between dollar signs and a word that it does not hold.
std::string quoted(std::string_view text) {
  std::string word = "$tally$";
  while (text.find(word) != std::string_view::npos) word.insert(word.size() - 1, "_");
  return word + std::string(text) + word;
}

/// A migration with the record of it.
std::string recorded_text(const EmbeddedFile& file) {
  const Migration migration = migration_of(file);
  return std::string(file.text) +
         "\ninsert into supabase_migrations.schema_migrations (version, name, statements) values "
         "('" +
         migration.version + "', '" + migration.name + "', array[" + quoted(file.text) + "]);\n";
}

std::string in_transaction(std::string_view title, std::string_view body) {
  std::string out = "-- " + std::string(title) + "\nbegin;\n";
  out += take_lock;
  out += body;
  out += "commit;\n\n";
  return out;
}

std::string shim_text() {
  std::string out;
  for (const EmbeddedFile& file : sql::shim::files) out += std::string(file.text) + "\n";
  return out;
}

std::string script_of(bool shim, const std::vector<Migration>& migrations) {
  std::string out = "-- Made by tally migrate. Run with: psql -X -v ON_ERROR_STOP=1\n\n";
  if (shim) out += in_transaction("What Supabase provides", shim_text());
  out += in_transaction("The record of what was applied", make_record);
  for (std::size_t i = 0; i < migrations.size(); ++i) {
    const EmbeddedFile& file = sql::canonical::files[i];
    if (!migrations[i].recorded) out += in_transaction(file.name, recorded_text(file));
  }
  return out;
}

class Runner {
 public:
  explicit Runner(Connection& connection) : connection_(connection) {}

  Result<MigrationReport> run(const MigrateOptions& options) {
    MigrationReport report;
    if (auto error = plan(options, report)) return *error;
    if (options.dry_run) {
      report.sql = script_of(report.shim, report.migrations);
      return report;
    }
    if (report.shim) {
      if (auto error = apply_shim()) return *error;
    }
    for (std::size_t i = 0; i < report.migrations.size(); ++i) {
      if (report.migrations[i].recorded) continue;
      if (auto error = apply(i, report.migrations[i])) return *error;
    }
    return report;
  }

 private:
  using Failure = std::optional<Error>;

  Failure plan(const MigrateOptions& options, MigrationReport& report) {
    auto has_auth = exists("to_regnamespace('auth')");
    if (!has_auth) return has_auth.error();
    if (!*has_auth && !options.shim) {
      return Error{Code::not_found,
                   "the database has no schema auth, so it is no Supabase project"};
    }
    report.shim = !*has_auth;
    auto recorded = read_recorded();
    if (!recorded) return recorded.error();
    for (const EmbeddedFile& file : sql::canonical::files) {
      report.migrations.push_back(migration_of(file));
      report.migrations.back().recorded = recorded->contains(report.migrations.back().version);
    }
    return check_order(report.migrations);
  }

  static Failure check_order(const std::vector<Migration>& migrations) {
    const auto gap =
        std::find_if_not(migrations.begin(), migrations.end(),
                         [](const Migration& migration) { return migration.recorded; });
    const auto late = std::find_if(gap, migrations.end(),
                                   [](const Migration& migration) { return migration.recorded; });
    if (late == migrations.end()) return std::nullopt;
    return Error{Code::illegal_transition, "migration " + late->version + "_" + late->name +
                                               " is recorded as applied, but " + gap->version +
                                               "_" + gap->name + ", which comes before it, is not"};
  }

  Failure apply_shim() {
    return transaction([&]() -> Failure {
      auto has_auth = exists("to_regnamespace('auth')");
      if (!has_auth) return has_auth.error();
      if (*has_auth) return std::nullopt;  // Another runner was faster.
      return execute(shim_text(), "shim");
    });
  }

  Failure apply(std::size_t i, Migration& migration) {
    return transaction([&]() -> Failure {
      if (auto error = execute(std::string(make_record), "schema_migrations")) return error;
      auto recorded = read_recorded();
      if (!recorded) return recorded.error();
      if (recorded->contains(migration.version)) {
        migration.recorded = true;
        return std::nullopt;
      }
      return execute(recorded_text(sql::canonical::files[i]),
                     migration.version + "_" + migration.name);
    });
  }

  /// `body` under the lock, whole or not at all.
  template <class Body>
  Failure transaction(Body body) {
    auto begun = connection_.script("begin;" + std::string(take_lock));
    Failure failure = begun ? body() : Failure(begun.error());
    auto ended = connection_.script(failure ? "rollback" : "commit");
    if (!failure && !ended) failure = ended.error();
    return failure;
  }

  Failure execute(const std::string& text, const std::string& title) {
    auto done = connection_.script(text);
    if (done) return std::nullopt;
    return Error{done.error().code, title + ": " + done.error().detail};
  }

  /// Whether an expression that names an object finds one.
  Result<bool> exists(const std::string& expression) {
    auto rows = connection_.query(("select " + expression + " is not null").c_str());
    if (!rows) return rows.error();
    return rows->text(0, 0) == "t";
  }

  Result<std::set<std::string, std::less<>>> read_recorded() {
    std::set<std::string, std::less<>> versions;
    auto has_record = exists("to_regclass('supabase_migrations.schema_migrations')");
    if (!has_record) return has_record.error();
    if (!*has_record) return versions;
    auto rows = connection_.query("select version from supabase_migrations.schema_migrations");
    if (!rows) return rows.error();
    for (int row = 0; row < rows->count(); ++row) versions.emplace(rows->text(row, 0));
    return versions;
  }

  Connection& connection_;
};

}  // namespace

Result<MigrationReport> Canonical::migrate(const MigrateOptions& options) noexcept {
  return guarded([&] { return Runner(impl_->connection).run(options); });
}

std::string migration_script(bool shim) {
  std::vector<Migration> migrations;
  for (const EmbeddedFile& file : sql::canonical::files) migrations.push_back(migration_of(file));
  return script_of(shim, migrations);
}

}  // namespace tally::sync
