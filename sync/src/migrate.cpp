// The runner of sql/canonical: what is missing, in order, each file in a transaction of its own.

#include <algorithm>
#include <map>
#include <span>

#include "canonical_impl.hpp"
#include "sql/canonical.hpp"
#include "sql/seed.hpp"
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

/// The texts of the migrations for one schema: the usual one, or a cell's.
class Texts {
 public:
  explicit Texts(std::string schema) : schema_(std::move(schema)) {}

  bool is_cell() const { return schema_ != "public"; }
  std::string record() const {
    return (is_cell() ? schema_ : std::string("supabase_migrations")) + ".schema_migrations";
  }

  /// As the Supabase CLI makes it.
  std::string make_record() const {
    return "create schema if not exists " + (is_cell() ? schema_ : "supabase_migrations") +
           ";\ncreate table if not exists " + record() + " (version text not null primary key);\n" +
           "alter table " + record() + " add column if not exists statements text[];\n" +
           "alter table " + record() + " add column if not exists name text;\n";
  }

  std::string of(const EmbeddedFile& file) const {
    return is_cell() ? moved_to_schema(file.text, schema_) : std::string(file.text);
  }

  /// A migration with the record of it. In a cell the PRD's names, which have no schema in front,
  /// are found there.
  std::string recorded(const EmbeddedFile& file) const;

 private:
  std::string schema_;
};

Migration migration_of(const EmbeddedFile& file) {
  const std::string_view stem = file.name.substr(0, file.name.rfind(".sql"));
  const std::size_t end = stem.find('_');
  return {std::string(stem.substr(0, end)), std::string(stem.substr(end + 1)),
          MigrationState::pending};
}

/// A text as an SQL literal, between dollar signs and a word that it does not hold.
std::string as_literal(std::string_view text) {
  std::string underscores;
  const auto quote = [&] { return "$tally" + underscores + "$"; };
  while (text.find(quote()) != std::string_view::npos) underscores += '_';
  return quote() + std::string(text) + quote();
}

std::string Texts::recorded(const EmbeddedFile& file) const {
  const Migration migration = migration_of(file);
  const std::string text = of(file);
  std::string statements;
  for (const std::string& statement : split_statements(text))
    statements += (statements.empty() ? "" : ", ") + as_literal(statement);
  return (is_cell() ? "set local search_path = " + schema_ + ";\n" : std::string{}) + text +
         "\ninsert into " + record() + " (version, name, statements) values ('" +
         migration.version + "', '" + migration.name + "', array[" + statements + "]);\n";
}

std::string in_transaction(std::string_view title, std::string_view body) {
  std::string out = "-- " + std::string(title) + "\nbegin;\n";
  out += take_lock;
  out += body;
  out += "commit;\n\n";
  return out;
}

std::string text_of(std::span<const EmbeddedFile> files) {
  std::string out;
  for (const EmbeddedFile& file : files) out += std::string(file.text) + "\n";
  return out;
}

std::string script_of(const Texts& texts, bool shim, const std::vector<Migration>& migrations) {
  std::string out = "-- Made by tally migrate. Run with: psql -X -v ON_ERROR_STOP=1\n\n";
  if (shim) out += in_transaction("What Supabase provides", text_of(sql::shim::files));
  out += in_transaction("The record of what was applied", texts.make_record());
  for (std::size_t i = 0; i < migrations.size(); ++i) {
    const EmbeddedFile& file = sql::canonical::files[i];
    if (migrations[i].state == MigrationState::pending)
      out += in_transaction(file.name, texts.recorded(file));
  }
  return out;
}

/// Whether a migration was recorded with another text than ours. The baselines are anybody's; and
/// of the PRD's fourth, its own text, without the function that ours has in front, is as right. A
/// record without statements tells nothing.
bool is_edited(const Migration& migration, std::string_view ours, std::string_view recorded) {
  if (recorded.empty() || migration.version < "20260101000000") return false;
  const std::string expected = essence(ours);
  const std::string found = essence(recorded);
  if (found == expected) return false;
  return migration.version != "20260118000004" || !expected.ends_with(found) || found.empty();
}

class Runner {
 public:
  Runner(Connection& connection, const std::string& schema)
      : connection_(connection), texts_(schema) {}

  /// What is recorded, and nothing refused.
  Result<MigrationReport> status() {
    MigrationReport report;
    if (auto error = read_states(report)) return *error;
    return report;
  }

  Result<MigrationReport> run(const MigrateOptions& options) {
    MigrationReport report;
    if (auto error = plan(options, report)) return *error;
    if (options.dry_run) {
      report.sql = script_of(texts_, report.shim, report.migrations);
      if (options.seed) report.sql += in_transaction("Development data", seed_text());
      return report;
    }
    if (report.shim) {
      if (auto error = apply_shim()) return *error;
    }
    for (std::size_t i = 0; i < report.migrations.size(); ++i) {
      if (report.migrations[i].state == MigrationState::recorded) continue;
      if (auto error = apply(i, report.migrations[i])) return *error;
    }
    if (options.seed) {
      if (auto error = transaction([&] { return execute(seed_text(), "seed"); })) return *error;
    }
    return report;
  }

 private:
  Failure plan(const MigrateOptions& options, MigrationReport& report) {
    auto has_auth = exists("to_regnamespace('auth')");
    if (!has_auth) return has_auth.error();
    if (!*has_auth && !options.shim) {
      return Error{Code::not_found,
                   "the database has no schema auth, so it is no Supabase project"};
    }
    report.shim = !*has_auth;
    if (auto error = read_states(report)) return error;
    return check_order(report.migrations);
  }

  Failure read_states(MigrationReport& report) {
    auto recorded = read_recorded();
    if (!recorded) return recorded.error();
    for (const EmbeddedFile& file : sql::canonical::files) {
      Migration migration = migration_of(file);
      if (const auto found = recorded->find(migration.version); found != recorded->end()) {
        migration.state = is_edited(migration, texts_.of(file), found->second)
                              ? MigrationState::edited
                              : MigrationState::recorded;
        recorded->erase(found);
      }
      report.migrations.push_back(std::move(migration));
    }
    for (const auto& [version, text] : *recorded) report.others.push_back(version);
    return std::nullopt;
  }

  static Failure check_order(const std::vector<Migration>& migrations) {
    const auto title = [](const Migration& migration) {
      return migration.version + "_" + migration.name;
    };
    const auto is_pending = [](const Migration& migration) {
      return migration.state == MigrationState::pending;
    };
    const auto edited = std::find_if(
        migrations.begin(), migrations.end(),
        [](const Migration& migration) { return migration.state == MigrationState::edited; });
    if (edited != migrations.end()) {
      return Error{Code::illegal_transition,
                   "migration " + title(*edited) +
                       " was applied with another text than this program's; look at what differs "
                       "(its row in the record has the statements), bring the database to ours, "
                       "and then set the row's statements to NULL"};
    }
    const auto gap = std::find_if(migrations.begin(), migrations.end(), is_pending);
    const auto late = std::find_if_not(gap, migrations.end(), is_pending);
    if (late == migrations.end()) return std::nullopt;
    return Error{Code::illegal_transition, "migration " + title(*late) +
                                               " is recorded as applied, but " + title(*gap) +
                                               ", which comes before it, is not"};
  }

  Failure apply_shim() {
    return transaction([&]() -> Failure {
      auto has_auth = exists("to_regnamespace('auth')");
      if (!has_auth) return has_auth.error();
      if (*has_auth) return std::nullopt;  // Another runner was faster.
      return execute(text_of(sql::shim::files), "shim");
    });
  }

  Failure apply(std::size_t i, Migration& migration) {
    return transaction([&]() -> Failure {
      if (auto error = execute(texts_.make_record(), "schema_migrations")) return error;
      auto recorded = read_recorded();
      if (!recorded) return recorded.error();
      if (recorded->contains(migration.version)) {
        migration.state = MigrationState::recorded;
        return std::nullopt;
      }
      return execute(texts_.recorded(sql::canonical::files[i]),
                     migration.version + "_" + migration.name);
    });
  }

  /// `body` under the lock, whole or not at all. On a database at work the locks of a migration and
  /// of a call can meet in a circle, and the server ends one of them: then again.
  template <class Body>
  Failure transaction(Body body) {
    constexpr int attempts = 5;
    Failure failure;
    for (int attempt = 0; attempt < attempts; ++attempt) {
      auto begun = connection_.script("begin;" + std::string(take_lock));
      failure = begun ? body() : Failure(begun.error());
      auto ended = connection_.script(failure ? "rollback" : "commit");
      if (!failure && !ended) failure = ended.error();
      if (!failure || !connection_.was_deadlock()) break;
    }
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

  std::string seed_text() const {
    std::string out;
    for (const EmbeddedFile& file : sql::seed::files) out += texts_.of(file) + "\n";
    return out;
  }

  /// Version to text; an empty text where the record has none.
  Result<std::map<std::string, std::string, std::less<>>> read_recorded() {
    std::map<std::string, std::string, std::less<>> versions;
    auto has_record = exists("to_regclass('" + texts_.record() + "')");
    if (!has_record) return has_record.error();
    if (!*has_record) return versions;
    // A record that the CLI made long ago may have the version alone: to_jsonb takes what there is.
    auto rows = connection_.query(
        ("select m.version, coalesce((select string_agg(s.text, ';') from"
         " jsonb_array_elements_text(nullif(to_jsonb(m) -> 'statements', 'null')) s(text)), '')"
         " from " +
         texts_.record() + " m")
            .c_str());
    if (!rows) return rows.error();
    for (int row = 0; row < rows->count(); ++row)
      versions.emplace(rows->text(row, 0), rows->text(row, 1));
    return versions;
  }

  Connection& connection_;
  Texts texts_;
};

}  // namespace

Result<MigrationReport> Canonical::migrate(const MigrateOptions& options) noexcept {
  return guarded([&] { return Runner(impl_->connection, impl_->schema).run(options); });
}

Result<MigrationReport> Canonical::migration_status() noexcept {
  return guarded([&] { return Runner(impl_->connection, impl_->schema).status(); });
}

Result<std::string> migration_script(const ScriptOptions& options) {
  if (!is_schema_name(options.schema)) {
    return Error{Code::invalid_argument, "'" + options.schema + "' cannot be a cell's schema"};
  }
  std::vector<Migration> migrations;
  migrations.reserve(std::size(sql::canonical::files));
  for (const EmbeddedFile& file : sql::canonical::files) migrations.push_back(migration_of(file));
  for (const std::string& bound : {options.from, options.to}) {
    if (!bound.empty() && std::none_of(migrations.begin(), migrations.end(),
                                       [&](const auto& m) { return m.version == bound; })) {
      return Error{Code::invalid_argument, "there is no migration " + bound + "; they go from " +
                                               migrations.front().version + " to " +
                                               migrations.back().version};
    }
  }
  for (Migration& migration : migrations) {
    if (migration.version < options.from || (!options.to.empty() && migration.version > options.to))
      migration.state = MigrationState::recorded;  // Not wanted: as if it were there.
  }
  return script_of(Texts(options.schema), options.shim, migrations);
}

Failure install_for_comparison(Connection& connection, const std::string& schema) {
  const Texts texts(schema);
  auto made = connection.script("create schema " + schema);
  if (!made) return made.error();
  for (const EmbeddedFile& file : sql::canonical::files) {
    auto done = connection.script("set local search_path = " + schema + ";\n" + texts.of(file));
    if (!done) return done.error();
  }
  return std::nullopt;
}

}  // namespace tally::sync
