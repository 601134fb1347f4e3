// migrate, audit and verify: canonical's schema and ledger, and both halves compared.

#include <memory>
#include <set>

#include "commands.hpp"
#include "compare.hpp"

namespace tally::cli {
namespace {

// ---- migrate ----------------------------------------------------------------------------------

struct MigrateArguments {
  std::string pg;
  std::string schema = "public";
  sync::MigrateOptions options;
  bool dump_sql = false;
  bool status = false;
  std::string from;
  std::string to;
};

std::string_view name_of(sync::MigrationState state, bool dry_run) {
  switch (state) {
    case sync::MigrationState::recorded:
      return "recorded";
    case sync::MigrationState::edited:
      return "edited";
    case sync::MigrationState::pending:
      break;
  }
  return dry_run ? "pending" : "applied";
}

JsonValue to_json(const sync::MigrationReport& report, bool dry_run) {
  JsonValue migrations = JsonValue::array();
  for (const sync::Migration& migration : report.migrations) {
    migrations.push_back({{"version", migration.version},
                          {"name", migration.name},
                          {"state", name_of(migration.state, dry_run)}});
  }
  return {{"dry_run", dry_run},
          {"shim", report.shim},
          {"migrations", std::move(migrations)},
          {"others", report.others}};
}

void print_report(const sync::MigrationReport& report, bool dry_run) {
  const std::string done = dry_run ? "would be applied" : "applied";
  std::int64_t count = 0;
  if (report.shim) print("shim/auth.sql  " + done + "\n");
  for (const sync::Migration& migration : report.migrations) {
    const bool recorded = migration.state == sync::MigrationState::recorded;
    if (!recorded) ++count;
    print(migration.version + "_" + migration.name + "  " +
          (recorded ? paint(Paint::dim, "recorded before") : done) + "\n");
  }
  print(count == 0 ? "The database is up to date.\n"
                   : counted(count, "migration ", "migrations ") + done + ".\n");
}

/// A line a migration; 1 where something is missing or edited.
Exit show_status(const sync::MigrationReport& report, bool json) {
  bool fine = true;
  Table table({{"version"}, {"name"}, {"state"}});
  for (const sync::Migration& migration : report.migrations) {
    const std::string state(name_of(migration.state, true));
    const bool recorded = migration.state == sync::MigrationState::recorded;
    fine = fine && recorded;
    table.add({migration.version, migration.name,
               recorded ? state
                        : paint(migration.state == sync::MigrationState::edited ? Paint::red
                                                                                : Paint::yellow,
                                state)});
  }
  for (const std::string& version : report.others) table.add({version, "", "not ours"});
  if (json) {
    print_json(to_json(report, true));
  } else {
    print(table.text());
  }
  return fine ? Exit::fine : Exit::refused;
}

Exit dump_script(const MigrateArguments& arguments) {
  print(take(sync::migration_script({.shim = arguments.options.shim,
                                     .schema = arguments.schema,
                                     .from = arguments.from,
                                     .to = arguments.to}),
             "tally migrate --dump-sql prints them all"));
  return Exit::fine;
}

Stop migration_stop(const Error& error) {
  return stop_for(error, error.code == Code::not_found ? "run it again with --shim"
                         : error.code == Code::illegal_transition
                             ? "compare the record with sql/canonical"
                             : canonical_hint(error.code));
}

Exit run_migrate(const MigrateArguments& arguments, bool has_pg, bool json) {
  const bool bounded = !arguments.from.empty() || !arguments.to.empty();
  if (bounded && (has_pg || !arguments.dump_sql)) {
    throw Stop{Exit::usage, "usage",
               "--from and --to are for --dump-sql without --pg: a database gets all, in order"};
  }
  if (!has_pg) {
    if (arguments.dump_sql) return dump_script(arguments);
    throw Stop{Exit::usage, "usage",
               "migrate wants --pg CONNINFO; tally migrate --help tells more"};
  }
  sync::Canonical canonical = connect(arguments.pg, arguments.schema);
  if (arguments.status) return show_status(take(canonical.migration_status()), json);
  sync::MigrateOptions options = arguments.options;
  options.dry_run = options.dry_run || arguments.dump_sql;
  auto migrated = canonical.migrate(options);
  if (!migrated) throw migration_stop(migrated.error());
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

constexpr Manual migrate_manual{
    .name = "migrate",
    .what = "Bring canonical's database to this version's schema",
    .section = Section::canonical,
    .does =
        "It applies, in order, the migrations that the database has not recorded: the PRD's, then "
        "those that hold its promises. An older database is upgraded in place, and its rows "
        "stay. What is recorded already is left alone; a migration that was edited after it was "
        "applied is said, and nothing is done.\n\n"
        "On Supabase it needs nothing else; on plain Postgres --shim first makes what Supabase "
        "provides (auth.users, auth.uid(), three roles), where it is not there. With --status, "
        "--dry-run and --dump-sql the database stays as it is.",
    .on_disk =
        "Each migration with its record, in one transaction; the server's own settings say "
        "how durable that is.",
    .examples = {{{"A database to try things on, on a plain Postgres",
                   "createdb tally\ntally migrate --pg tally --shim"},
                  {"What is applied, missing or edited", "tally migrate --pg tally --status"},
                  {"All the SQL, to be read or run by other means",
                   "tally migrate --dump-sql > canonical.sql"}}},
    .fine = "The schema is this version's; with --status, all is applied.",
    .refused = "With --status, something is missing or edited.",
    .related = "doctor, device add, replay"};

void add_migrate(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, migrate_manual);
  auto arguments = std::make_shared<MigrateArguments>();
  CLI::Option* pg = command->add_option("--pg", arguments->pg, "Canonical's database");
  pg->type_name("CONNINFO");
  add_schema(command, arguments->schema);
  command->add_flag("--shim", arguments->options.shim,
                    "On plain Postgres, first make what Supabase provides");
  command->add_flag("--seed", arguments->options.seed,
                    "Afterwards, the data that a developer starts with");
  command->add_flag("--status", arguments->status,
                    "Change nothing; say what is applied, missing or edited");
  command->add_flag("--dry-run", arguments->options.dry_run,
                    "Change nothing; list what would be done");
  command->add_flag(
      "--dump-sql", arguments->dump_sql,
      "Change nothing; print all that would run (without --pg: on an empty database)");
  command->add_option("--from", arguments->from, "With --dump-sql: the first migration wanted")
      ->type_name("VERSION");
  command->add_option("--to", arguments->to, "With --dump-sql: the last migration wanted")
      ->type_name("VERSION");
  command->callback([=, &run] {
    run.command = [=, &run] { return run_migrate(*arguments, pg->count() > 0, run.json); };
  });
}

// ---- audit ------------------------------------------------------------------------------------

/// Every user with a finding that can be repaired, each in a transaction of its own.
std::vector<sync::Correction> repair_all(sync::Canonical& canonical,
                                         const std::vector<sync::CanonicalFinding>& findings) {
  std::set<Uuid> users;
  for (const sync::CanonicalFinding& finding : findings) {
    if (finding.repairs && finding.user_id) users.insert(*finding.user_id);
  }
  std::vector<sync::Correction> all;
  for (const Uuid& user : users) {
    for (sync::Correction& correction : take(canonical.repair(user)))
      all.push_back(std::move(correction));
  }
  return all;
}

JsonValue to_json(const std::vector<sync::CanonicalFinding>& findings) {
  JsonValue list = JsonValue::array();
  for (const sync::CanonicalFinding& finding : findings) {
    list.push_back({{"user_id", cli::to_json(finding.user_id)},
                    {"subject", finding.subject},
                    {"kind", finding.kind},
                    {"difference", finding.difference},
                    {"repairs", finding.repairs},
                    {"explanation", finding.explanation}});
  }
  return list;
}

JsonValue to_json(const std::vector<sync::Correction>& corrections) {
  JsonValue list = JsonValue::array();
  for (const sync::Correction& correction : corrections) {
    list.push_back({{"user_id", correction.user_id.text()},
                    {"subject", correction.subject},
                    {"type", correction.type},
                    {"amount", correction.amount.value},
                    {"note", correction.note}});
  }
  return list;
}

void print_findings(const std::vector<sync::CanonicalFinding>& findings) {
  std::optional<Uuid> user;
  for (const sync::CanonicalFinding& finding : findings) {
    if (finding.user_id != user) {
      user = finding.user_id;
      print(paint(Paint::bold, "user " + (user ? user->text() : std::string("unknown"))) + "\n");
    }
    print("  " + shown(finding.explanation, 400) + "\n");
  }
}

}  // namespace

std::vector<sync::DoctorFinding> examine_canonical(sync::Canonical& canonical) {
  auto examined = canonical.doctor();
  if (!examined) throw stop_for(examined.error(), canonical_hint(examined.error().code));
  return take(std::move(examined));
}

Exit audit_canonical(const std::string& pg, const std::string& schema, bool repair, bool json) {
  sync::Canonical canonical = connect(pg, schema);
  auto audited = canonical.audit();
  if (!audited) throw stop_for(audited.error(), canonical_hint(audited.error().code));
  std::vector<sync::CanonicalFinding> findings = take(std::move(audited));
  std::vector<sync::Correction> corrections;
  if (repair) {
    corrections = repair_all(canonical, findings);
    findings = take(canonical.audit());
  }
  const Exit exit = findings.empty() ? Exit::fine : Exit::refused;
  if (json) {
    print_json({{"corrections", to_json(corrections)}, {"findings", to_json(findings)}});
    return exit;
  }
  for (const sync::Correction& correction : corrections) {
    print(paint(Paint::green, "posted ") + correction.type + " " +
          signed_credits(correction.amount.value) + " to user " + correction.user_id.text() + ": " +
          correction.note + "\n");
  }
  print_findings(findings);
  std::int64_t repairable = 0;
  for (const sync::CanonicalFinding& finding : findings) repairable += finding.repairs ? 1 : 0;
  print(findings.empty()
            ? paint(Paint::green, "nothing is wrong") + "\n"
            : paint(Paint::red,
                    counted(static_cast<std::int64_t>(findings.size()), "finding", "findings")) +
                  (repair || repairable == 0 ? ""
                                             : "; --repair corrects " + std::to_string(repairable) +
                                                   " of them by new entries") +
                  "\n");
  return exit;
}

namespace {

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
  Engine engine = open_mirror(arguments.db);
  sync::Canonical canonical = connect(arguments.pg);
  Progress progress("users compared", true);
  const Comparison comparison = compare(engine, canonical, only, told_to(engine),
                                        [&](std::size_t count) { progress.show(count); });
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

constexpr Manual verify_manual{
    .name = "verify",
    .what = "Compare a mirror with canonical, user by user",
    .section = Section::canonical,
    .does =
        "Both halves compute digests of each of a user's tables. Where two differ, the first "
        "row and column that do are named, with both values. What a mirror that is a device "
        "has pending is left out: it is compared as canonical last confirmed it, and with "
        "what canonical tells it: its user or those that it subscribes to, and, without author "
        "and service, neither profiles nor drafts. It writes to neither half.",
    .on_disk = "What was there, on both halves.",
    .examples = {{{"Every user", "tally verify --db mirror.db --pg tally"},
                  {"One of them",
                   "tally verify --db mirror.db --pg tally \\\n"
                   "  --user ada00000-0000-4000-8000-000000000001"}}},
    .fine = "Both halves are equal.",
    .refused = "They differ.",
    .related = "sync, audit, doctor"};

void add_verify(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, verify_manual);
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
