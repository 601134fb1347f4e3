// migrate and verify: canonical's schema, and both halves compared.

#include <memory>

#include "commands.hpp"
#include "compare.hpp"

namespace tally::cli {
namespace {

// ---- migrate ----------------------------------------------------------------------------------

struct MigrateArguments {
  std::string pg;
  sync::MigrateOptions options;
  bool dump_sql = false;
};

JsonValue to_json(const sync::MigrationReport& report, bool dry_run) {
  JsonValue migrations = JsonValue::array();
  for (const sync::Migration& migration : report.migrations) {
    migrations.push_back({{"version", migration.version},
                          {"name", migration.name},
                          {"state", migration.recorded ? "recorded"
                                    : dry_run          ? "pending"
                                                       : "applied"}});
  }
  return {{"dry_run", dry_run}, {"shim", report.shim}, {"migrations", std::move(migrations)}};
}

void print_report(const sync::MigrationReport& report, bool dry_run) {
  const std::string done = dry_run ? "would be applied" : "applied";
  std::int64_t count = 0;
  if (report.shim) print("shim/auth.sql  " + done + "\n");
  for (const sync::Migration& migration : report.migrations) {
    if (!migration.recorded) ++count;
    print(migration.version + "_" + migration.name + "  " +
          (migration.recorded ? paint(Paint::dim, "recorded before") : done) + "\n");
  }
  print(count == 0 ? "The database is up to date.\n"
                   : counted(count, "migration ", "migrations ") + done + ".\n");
}

Exit run_migrate(const MigrateArguments& arguments, bool has_pg, bool json) {
  if (!has_pg) {
    if (!arguments.dump_sql) {
      throw Stop{Exit::usage, "usage",
                 "migrate wants --pg CONNINFO; tally migrate --help tells more"};
    }
    print(sync::migration_script(arguments.options.shim));
    return Exit::fine;
  }
  sync::MigrateOptions options = arguments.options;
  options.dry_run = options.dry_run || arguments.dump_sql;
  sync::Canonical canonical = connect(arguments.pg);
  auto migrated = canonical.migrate(options);
  if (!migrated) {
    const Code code = migrated.error().code;
    throw stop_for(migrated.error(), code == Code::not_found ? "run it again with --shim"
                                     : code == Code::illegal_transition
                                         ? "compare the record with sql/canonical"
                                         : canonical_hint(code));
  }
  const sync::MigrationReport report = take(std::move(migrated));
  if (arguments.dump_sql) {
    print(report.sql);
  } else if (json) {
    print_json(to_json(report, options.dry_run));
  } else {
    print_report(report, options.dry_run);
  }
  return Exit::fine;
}

void add_migrate(CLI::App& app, Run& run) {
  CLI::App* command =
      add_command(app, run, "migrate", "Bring canonical's database to this version's schema");
  auto arguments = std::make_shared<MigrateArguments>();
  CLI::Option* pg = command->add_option("--pg", arguments->pg, "Canonical's database");
  pg->type_name("CONNINFO");
  command->add_flag("--shim", arguments->options.shim,
                    "On plain Postgres, first make what Supabase provides");
  command->add_flag("--dry-run", arguments->options.dry_run,
                    "Change nothing; list what would be done");
  command->add_flag(
      "--dump-sql", arguments->dump_sql,
      "Change nothing; print all that would run (without --pg: on an empty database)");
  command->callback([=, &run] {
    run.command = [=, &run] { return run_migrate(*arguments, pg->count() > 0, run.json); };
  });
}

// ---- verify -----------------------------------------------------------------------------------

struct VerifyArguments {
  std::string db;
  std::string pg;
  std::vector<std::string> users;
};

std::string describe(const UserPair& user) {
  if (!user.on_canonical) return paint(Paint::red, "on the mirror only");
  if (!user.on_mirror) return paint(Paint::red, "on canonical only");
  std::string differing;
  for (const TablePair& pair : user.tables) {
    if (!pair.equal()) differing += (differing.empty() ? "" : ", ") + pair.mirror.table;
  }
  return differing.empty() ? paint(Paint::green, "equal")
                           : paint(Paint::red, "differs: " + differing);
}

/// A line a user, with the sum of the tables' digests; of many users those that differ.
void print_users(const Comparison& comparison) {
  constexpr std::size_t shown_max = 50;
  const bool all = comparison.users.size() <= shown_max;
  Table table({{"user"}, {"rows", true}, {"mirror"}, {"canonical"}, {""}});
  std::size_t lines = 0;
  for (const UserPair& user : comparison.users) {
    if ((!all && user.equal()) || lines++ >= shown_max) continue;
    std::int64_t rows = 0;
    std::uint64_t mirror = 0;
    std::uint64_t canonical = 0;
    for (const TablePair& pair : user.tables) {
      rows += pair.mirror.rows;
      mirror += pair.mirror.digest;
      canonical += pair.canonical.digest;
    }
    table.add({user.user_id.text(), thousands(rows), hex(mirror), hex(canonical), describe(user)});
  }
  if (lines > 0) print(table.text() + "\n");
}

Exit run_verify(const VerifyArguments& arguments, bool json) {
  std::vector<Uuid> only;
  for (const std::string& user : arguments.users) only.push_back(uuid_argument(user, "--user"));
  const Engine engine = open_mirror(arguments.db);
  sync::Canonical canonical = connect(arguments.pg);
  Progress progress("users compared", true);
  const Comparison comparison =
      compare(engine, canonical, only, [&](std::size_t count) { progress.show(count); });
  progress.clear();
  const Exit exit = comparison.equal() ? Exit::fine : Exit::refused;
  if (json) {
    print_json(to_json(comparison));
    return exit;
  }
  print_users(comparison);
  const auto users = static_cast<std::int64_t>(comparison.users.size());
  if (comparison.equal()) {
    print(counted(users, "user", "users") + ": " + paint(Paint::green, "both halves equal") + "\n");
  } else if (comparison.first) {
    print(paint(Paint::red, "The halves differ.") +
          " First difference: " + comparison.first->sentence() + "\n");
  } else {
    print(paint(Paint::red, "The halves differed") +
          " and changed while they were compared; run it again.\n");
  }
  return exit;
}

void add_verify(CLI::App& app, Run& run) {
  CLI::App* command =
      add_command(app, run, "verify", "Compare a mirror with canonical, user by user");
  auto arguments = std::make_shared<VerifyArguments>();
  add_db(command, arguments->db);
  command->add_option("--pg", arguments->pg, "Canonical's database")
      ->type_name("CONNINFO")
      ->required();
  command->add_option("--user", arguments->users, "Only this user; may be given again")
      ->type_name("USER");
  command->callback(
      [=, &run] { run.command = [=, &run] { return run_verify(*arguments, run.json); }; });
}

}  // namespace

void add_canonical_commands(CLI::App& app, Run& run) {
  add_migrate(app, run);
  add_verify(app, run);
}

}  // namespace tally::cli
