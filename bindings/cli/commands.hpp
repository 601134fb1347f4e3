#pragma once
// Every command of the program: each adds itself to the parser, and sets what is to run.

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "manual.hpp"
#include "output.hpp"
#include "tally/sync.hpp"

namespace tally::cli {

/// What is on disk after a command that looks into a mirror.
inline constexpr std::string_view reads_mirror_only = "What was there: the mirror is only read.";

/// What the command line asked for.
struct Run {
  bool json = false;
  std::function<Exit()> command{};
  Manuals manuals{};  ///< Of all the commands that were added.
};

void add_replay(CLI::App& app, Run& run);
void add_read_commands(CLI::App& app, Run& run);
void add_why(CLI::App& app, Run& run);
void add_doctor(CLI::App& app, Run& run);
void add_export(CLI::App& app, Run& run);
void add_trace(CLI::App& app, Run& run);
void add_backup(CLI::App& app, Run& run);
void add_canonical_commands(CLI::App& app, Run& run);
void add_sync_commands(CLI::App& app, Run& run);
void add_demo(CLI::App& app, Run& run);
void add_inspect(CLI::App& app, Run& run);
void add_table_commands(CLI::App& app, Run& run);
void add_telemetry(CLI::App& app, Run& run);
void add_help_commands(CLI::App& app, Run& run);

/// A subcommand with --json. The manual is a constant: it is not copied.
CLI::App* add_command(CLI::App& app, Run& run, const Manual& manual);
/// A group, of whose subcommands one is required.
CLI::App* add_group(CLI::App& app, Run& run, const Manual& manual);
/// Required option --db.
void add_db(CLI::App* command, std::string& db);
/// Options --db and --pg, of which one is to be given.
struct Halves {
  CLI::Option* db;
  CLI::Option* pg;

  /// Throws a Stop where it is none or both.
  void check(std::string_view command) const;
};
Halves add_halves(CLI::App* command, std::string& db, std::string& pg, const std::string& what_db);
/// Option --schema, for a cell.
void add_schema(CLI::App* command, std::string& schema);
/// A UUID from the command line; anything else is wrong usage.
Uuid uuid_argument(const std::string& text, const std::string& name);

/// Opens a mirror that is there.
Engine open_mirror(const std::string& path, bool create = false, Callbacks callbacks = {});
/// The same, and its file is not written to by anything that is done with it.
Engine open_mirror_to_read(const std::string& path);
sync::Canonical connect(const std::string& conninfo, const std::string& schema = "public");
/// `audit` of canonical's ledger; with `repair`, what it corrects.
Exit audit_canonical(const std::string& pg, const std::string& schema, bool repair, bool json);
/// The second half of an error sentence about canonical.
std::string_view canonical_hint(Code code);
/// What canonical's database lacks or has otherwise than it should.
std::vector<sync::DoctorFinding> examine_canonical(sync::Canonical& canonical);

}  // namespace tally::cli
