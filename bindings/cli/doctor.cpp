// doctor: a mirror's file and canonical's database, examined; each finding with its remedy.

#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>

#include "platform.hpp"
#include "sync_texts.hpp"

namespace tally::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t mib = std::int64_t{1} << 20U;

struct Arguments {
  std::string db;
  std::string pg;
  std::string schema = "public";
};

/// One thing that was looked at. It is a finding where there is a remedy.
struct Check {
  std::string name;
  std::string what;
  std::string remedy{};

  bool is_fine() const { return remedy.empty(); }
};

std::string mebibytes(std::int64_t bytes) {
  return bytes < mib ? thousands((bytes + 1'023) / 1'024) + " KiB"
                     : thousands(bytes / mib) + " MiB";
}

class Doctor {
 public:
  explicit Doctor(const Arguments& arguments) : arguments_(arguments) {}

  void examine_file() {
    if (!look_at_file()) return;
    look_at_permissions();
    look_at_processes();
    look_at_space();
    look_at_sqlite();
    if (look_inside()) look_at_mirror();
  }

  void examine_canonical() {
    sync::Canonical canonical = connect(arguments_.pg, arguments_.schema);
    fine("connection", "canonical answers");
    look_at_clock(canonical);
    const auto findings = cli::examine_canonical(canonical);
    for (const sync::DoctorFinding& finding : findings)
      checks_.push_back({"canonical", finding.what, finding.remedy});
    if (findings.empty()) fine("canonical", "nothing is missing or drifted");
  }

  const std::vector<Check>& checks() const { return checks_; }

 private:
  void fine(std::string name, std::string what) {
    checks_.push_back({std::move(name), std::move(what), {}});
  }
  void find(std::string name, std::string what, std::string remedy) {
    checks_.push_back({std::move(name), std::move(what), std::move(remedy)});
  }

  std::string db() const { return "--db " + cli::quoted(arguments_.db); }
  fs::path folder() const {
    const fs::path folder = fs::path(arguments_.db).parent_path();
    return folder.empty() ? "." : folder;
  }
  fs::path wal() const { return arguments_.db + "-wal"; }

  // ---- from outside -----------------------------------------------------------------------------

  /// False where there is nothing more to look at.
  bool look_at_file() {
    std::error_code error;
    const fs::file_status status = fs::status(arguments_.db, error);
    if (!fs::exists(status)) {
      find("file", "there is no file " + arguments_.db,
           "check --db; tally replay TRACE " + db() + " makes a mirror, tally backup " +
               "brings one back");
      return false;
    }
    if (!fs::is_regular_file(status)) {
      find("file", arguments_.db + " is no file", "give the mirror's file as --db");
      return false;
    }
    fine("file", arguments_.db + ", " +
                     mebibytes(static_cast<std::int64_t>(fs::file_size(arguments_.db, error))));
    return true;
  }

  void look_at_permissions() {
    const std::size_t before = checks_.size();
    if (!may_write(arguments_.db)) {
      find("permissions", "you may not write to " + arguments_.db,
           "run as its owner, or: chmod u+w " + cli::quoted(arguments_.db));
    }
    if (!may_write(folder())) {
      find("permissions",
           "you may not make files in " + folder().string() + ", where SQLite keeps its WAL",
           "run as its owner, or: chmod u+wx " + cli::quoted(folder().string()));
    }
    constexpr fs::perms others = fs::perms::group_read | fs::perms::group_write |
                                 fs::perms::others_read | fs::perms::others_write;
    std::error_code error;
    if ((fs::status(arguments_.db, error).permissions() & others) != fs::perms::none) {
      find("permissions", "others on this machine may read or write it",
           "chmod 600 " + cli::quoted(arguments_.db) + ", unless that is meant");
    }
    if (checks_.size() == before) fine("permissions", "its owner alone may read and write it");
  }

  void look_at_processes() {
    const auto process = process_that_has_open(arguments_.db);
    std::error_code error;
    const auto bytes = fs::file_size(wal(), error);
    const std::int64_t wal_bytes = error ? 0 : static_cast<std::int64_t>(bytes);
    const std::string size = "its WAL has " + mebibytes(wal_bytes);
    constexpr std::int64_t long_bytes = 64 * mib;
    if (process && wal_bytes >= long_bytes) {
      find("WAL", "process " + std::to_string(*process) + " has it open, and " + size,
           "end the program that keeps a read open on it (a sqlite3 shell, a copying tool)");
    } else if (process) {
      fine("WAL", "process " + std::to_string(*process) + " has it open; " + size);
    } else if (wal_bytes > 0) {
      fine("WAL", "no process has it open; one ended without closing it, and " + size +
                      ", which belongs to it: never copy or move one without the other");
    } else {
      fine("WAL", "no process has it open");
    }
  }

  void look_at_space() {
    std::error_code error;
    const fs::space_info space = fs::space(folder(), error);
    if (error)
      return find("space", "the disk does not tell its space: " + error.message(),
                  "check that " + folder().string() + " is mounted");
    const auto available = static_cast<std::int64_t>(
        std::min<std::uintmax_t>(space.available, std::numeric_limits<std::int64_t>::max()));
    const std::string what = mebibytes(available) + " are free on its disk";
    constexpr std::int64_t least = 100 * mib;
    if (available < least) {
      find("space", "only " + what, "free some; a full disk refuses operations, and harms none");
    } else {
      fine("space", what);
    }
  }

  void look_at_sqlite() {
    const std::string version = "SQLite " + std::string(sqlite_version());
    if (sqlite_is_safe()) return fine("SQLite", version + ", which keeps what it commits");
    find("SQLite", version + ": " + std::string(row_of(Code::sqlite_unsafe).sentence),
         "build with the SQLite that the build brings (TALLY_SQLITE=bundled)");
  }

  // ---- the file's inside ------------------------------------------------------------------------

  std::string restore() const {
    return "put a backup in its place: tally backup --db BACKUP --to " +
           cli::quoted(arguments_.db) + " --force";
  }

  /// True where it is a whole mirror of this program's schema.
  bool look_inside() {
    const auto examined = Engine::examine(arguments_.db);
    if (!examined) {
      const bool is_damaged = examined.error().code == Code::corrupt;
      find("integrity",
           is_damaged ? arguments_.db + " is no SQLite file, or its first page is damaged"
                      : "it cannot be read: " + examined.error().detail,
           is_damaged ? "check --db; where it was a mirror, " + restore()
                      : std::string(row_of(examined.error().code).sentence));
      return false;
    }
    const MirrorFile& file = *examined;
    if (file.is_empty || !file.is_mirror || file.schema < 1) {
      find("schema",
           file.is_empty ? "it is empty, and no mirror" : "it is an SQLite file but no mirror",
           "check --db");
      return false;
    }
    if (!file.damage.empty()) {
      find("integrity", "SQLite finds it damaged: " + shown(file.damage.front(), 200), restore());
      return false;
    }
    fine("integrity", "SQLite finds its pages whole");
    const std::string version = "its schema is version " + std::to_string(file.schema);
    if (file.schema > mirror_schema()) {
      find("schema", version + ", and this program knows " + std::to_string(mirror_schema()),
           "update this program (tally version tells which it is)");
      return false;
    }
    if (file.schema < mirror_schema()) {
      find("schema",
           version + ", which is migrated to " + std::to_string(mirror_schema()) +
               " when it is next opened",
           "back it up, then: tally audit " + db());
      return false;
    }
    fine("schema", version + ", this program's");
    return true;
  }

  void look_at_mirror() {
    auto opened = Engine::open(arguments_.db, Options{.create = false});
    if (!opened) {
      find("mirror", "it cannot be opened: " + opened.error().detail,
           std::string(row_of(opened.error().code).sentence));
      return;
    }
    Engine& engine = *opened;
    look_at_audit(take(engine.audit()));
    const Replica replica(engine);
    const auto link = take(replica.state());
    const Outbox outbox = read_outbox(replica);
    link ? look_at_link(*link) : look_at_no_device(outbox.pending);
    look_at_times(outbox.latest);
  }

  struct Outbox {
    std::int64_t pending = 0;
    Timestamp latest{};  ///< The time of the operation that is furthest ahead.
  };

  static Outbox read_outbox(const Replica& replica) {
    Outbox outbox;
    outbox.pending = take(replica.each_pending([&](const PendingOperation& pending) {
      outbox.latest = std::max(outbox.latest, pending.command.at);
      return true;
    }));
    return outbox;
  }

  void look_at_audit(const AuditReport& report) {
    for (const Finding& finding : report.findings) {
      find("audit", finding.invariant + ": " + finding.detail,
           "stop writing to it, keep a copy, and " + restore());
    }
    if (report.findings.empty()) {
      fine("audit", counted(report.entries, "entry", "entries") + " of " +
                        counted(report.users, "user", "users") + " add up");
    }
  }

  void look_at_no_device(std::int64_t pending) {
    fine("sync", "it is no device; " + counted(pending, "operation waits", "operations wait") +
                     " to be pushed if it becomes one");
  }

  void look_at_link(const LinkState& link) {
    const std::string sync = "tally sync " + db() + " --pg CONNINFO --token-file FILE";
    if (link.rejected > 0) {
      find("sync", counted(link.rejected, "operation", "operations") + " rejected by canonical",
           "tally rejected list " + db() + ", then retry or dismiss each");
    }
    if (link.blocked > 0) {
      find("sync",
           counted(link.blocked, "pending operation has", "pending operations have") +
               " no effect here any more",
           sync + " has canonical decide");
    }
    if (link.error_class) {
      find("sync",
           "the last attempt failed (" + *link.error_class +
               "): " + shown(on_one_line(link.error.value_or("")), 200),
           "tally status " + db() + " tells more");
    }
    const std::string heard =
        link.synced_at ? "canonical answered " + ago(*link.synced_at) : "canonical never answered";
    const std::string pending = counted(link.pending, "operation", "operations") + " pending";
    if (is_stale(link, now())) {
      find("sync", heard + ", " + pending, sync);
    } else {
      fine("sync", heard + ", " + pending);
    }
  }

  // ---- clocks -----------------------------------------------------------------------------------

  /// Canonical lowers what lies in the future to its own clock; then the halves' times differ.
  void look_at_times(Timestamp latest) {
    constexpr std::int64_t tolerance_us = 1'000'000;
    if (latest.us > now().us + tolerance_us) {
      find("times",
           "an operation that waits to be pushed is of " + short_time(latest.text()) +
               ", which is in the future",
           "set this machine's clock; canonical will take its own time instead");
    } else {
      fine("times", "no operation lies in the future");
    }
  }

  void look_at_clock(sync::Canonical& canonical) {
    const Timestamp before = now();
    const auto there = canonical.now();
    if (!there) throw stop_for(there.error(), canonical_hint(there.error().code));
    const Timestamp after = now();
    // What cannot be the way there and back.
    const std::int64_t ahead = before.us - there->us;
    const std::int64_t behind = there->us - after.us;
    constexpr std::int64_t tolerance_us = 2'000'000;
    if (std::max(ahead, behind) < tolerance_us)
      return fine("clock", "this machine's clock and canonical's agree");
    find("clock",
         "this machine's clock is " + duration(std::max(ahead, behind)) +
             (ahead > behind ? " ahead of" : " behind") + " canonical's",
         "set it (timedatectl set-ntp true); claims are judged by canonical's");
  }

  const Arguments& arguments_;
  std::vector<Check> checks_{};
};

void print_checks(const std::vector<Check>& checks, std::int64_t findings) {
  const std::size_t width = page_width();
  for (const Check& check : checks) {
    const std::string text = check.name + ": " + shown(check.what, 400);
    print(paint(check.is_fine() ? Paint::green : Paint::red, check.is_fine() ? "✓" : "✗") + " " +
          wrapped(text, width, 2) + "\n");
    if (!check.is_fine()) print("  → " + check.remedy + "\n");
  }
  print(findings == 0 ? "nothing is wrong\n" : counted(findings, "finding", "findings") + "\n");
}

Exit run_doctor(const Arguments& arguments, bool has_db, bool has_pg, bool json) {
  if (!has_db && !has_pg) {
    throw Stop{Exit::usage, "usage",
               "doctor wants --db FILE or --pg CONNINFO, or both; tally doctor --help tells more"};
  }
  Doctor doctor(arguments);
  if (has_db) doctor.examine_file();
  if (has_pg) doctor.examine_canonical();
  const auto& checks = doctor.checks();
  const auto count = std::count_if(checks.begin(), checks.end(),
                                   [](const Check& check) { return !check.is_fine(); });
  const Exit exit = count == 0 ? Exit::fine : Exit::refused;
  if (!json) {
    print_checks(checks, count);
    return exit;
  }
  JsonValue fine = JsonValue::array();
  JsonValue findings = JsonValue::array();
  for (const Check& check : checks) {
    JsonValue line{{"check", check.name}, {"what", check.what}};
    if (!check.is_fine()) line["remedy"] = check.remedy;
    (check.is_fine() ? fine : findings).push_back(std::move(line));
  }
  print_json({{"fine", std::move(fine)}, {"findings", std::move(findings)}});
  return exit;
}

constexpr Manual doctor_manual{
    .name = "doctor",
    .what = "Examine a mirror's file, or canonical's database, and name the remedies",
    .section = Section::tools,
    .does =
        "With --db it looks at the file, who may read and write it, which process has it open, the "
        "disk's space, SQLite, the pages' integrity, the schema, the ledger (as tally audit does), "
        "what is pending, blocked and rejected, when canonical last answered, and at times that "
        "lie "
        "in the future. It migrates and repairs nothing.\n\n"
        "With --pg it makes canonical's whole schema once more in a transaction that it rolls "
        "back, and compares every table, function, policy and grant with what is there; sign-ups "
        "wait meanwhile, about a second. This machine's clock is compared with the server's. With "
        "both, it does both.\n\n"
        "Each line says what was looked at; each finding comes with its remedy.",
    .on_disk =
        "What was there. A WAL that a killed process left may be moved into the mirror's file, as "
        "by "
        "every opening.",
    .examples = {{{"Examine a mirror", "tally doctor --db mirror.db"},
                  {"Examine the database tally", "tally doctor --pg tally"},
                  {"Both, for a script", "tally doctor --db mirror.db --pg tally --json"}}},
    .fine = "There is no finding.",
    .refused = "There are findings.",
    .related = "audit, status, why, migrate"};

}  // namespace

void add_doctor(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, doctor_manual);
  auto arguments = std::make_shared<Arguments>();
  CLI::Option* db =
      command->add_option("--db", arguments->db, "The mirror's file")->type_name("FILE");
  CLI::Option* pg =
      command->add_option("--pg", arguments->pg, "Canonical's database")->type_name("CONNINFO");
  add_schema(command, arguments->schema);
  command->callback([=, &run] {
    run.command = [=, &run] {
      return run_doctor(*arguments, db->count() > 0, pg->count() > 0, run.json);
    };
  });
}

}  // namespace tally::cli
