// The program tally: the command line of the engine and of canonical. Here: the parser, what its
// commands share, and the one place where errors become messages and exit statuses.

#include <algorithm>
#include <exception>
#include <filesystem>
#include <new>

#include "commands.hpp"
#include "platform.hpp"

namespace tally::cli {

namespace fs = std::filesystem;

namespace {

CLI::App* add(CLI::App& app, Run& run, const Manual& manual) {
  CLI::App* command = app.add_subcommand(std::string(manual.name), std::string(manual.what));
  run.manuals.of[command] = &manual;
  return command;
}

}  // namespace

CLI::App* add_command(CLI::App& app, Run& run, const Manual& manual) {
  CLI::App* command = add(app, run, manual);
  command->add_flag("--json", run.json, "Answer in JSON");
  return command;
}

CLI::App* add_group(CLI::App& app, Run& run, const Manual& manual) {
  CLI::App* group = add(app, run, manual);
  group->require_subcommand(1);
  return group;
}

void add_db(CLI::App* command, std::string& db) {
  command->add_option("--db", db, "The mirror's file")->type_name("FILE")->required();
}

Halves add_halves(CLI::App* command, std::string& db, std::string& pg, const std::string& what_db) {
  CLI::Option_group* half = command->add_option_group("half");
  half->set_help_flag();
  return {half->add_option("--db", db, what_db)->type_name("FILE"),
          half->add_option("--pg", pg, "Canonical's database")->type_name("CONNINFO")};
}

void Halves::check(std::string_view command) const {
  if ((db->count() > 0) != (pg->count() > 0)) return;
  const std::string name(command);
  throw Stop{Exit::usage, "usage",
             name + " wants --db FILE or --pg CONNINFO, one of them; tally " + name +
                 " --help tells more"};
}

void add_schema(CLI::App* command, std::string& schema) {
  command->add_option("--schema", schema, "The schema of a cell")
      ->type_name("NAME")
      ->capture_default_str();
}

Uuid uuid_argument(const std::string& text, const std::string& name) {
  const auto id = Uuid::parse(text);
  if (!id) throw Stop{Exit::usage, "usage", name + " is not an id (a UUID): " + text};
  return *id;
}

namespace {

Engine open_with(const std::string& path, Options options) {
  std::error_code error;
  if (fs::is_directory(path, error))
    throw Stop{Exit::world, "io", path + " is a folder, not a mirror's file"};
  if (fs::is_regular_file(path, error) && fs::file_size(path, error) == 0) {
    throw Stop{Exit::world, "corrupt", path + " is empty, not a mirror"};
  }
  auto opened = Engine::open(path, std::move(options));
  if (!opened && opened.error().code == Code::not_found) {
    throw stop_for(opened.error(), "tally replay TRACE --db " + path + " makes one");
  }
  return take(std::move(opened));
}

}  // namespace

Engine open_mirror(const std::string& path, bool create, Callbacks callbacks) {
  Options options;
  options.create = create;
  options.callbacks = std::move(callbacks);
  return open_with(path, std::move(options));
}

Engine open_mirror_to_read(const std::string& path) {
  Options options;
  options.create = false;
  options.read_only = true;
  return open_with(path, std::move(options));
}

std::string_view canonical_hint(Code code) {
  switch (code) {
    case Code::unreachable:
      return "check --pg, and that the server is up";
    case Code::not_found:
      return "run tally migrate --pg CONNINFO first (with --shim where it is no Supabase)";
    case Code::busy:
      return "try again";
    default:
      return {};
  }
}

sync::Canonical connect(const std::string& conninfo, const std::string& schema) {
  auto connected = sync::Canonical::connect(conninfo, schema);
  if (!connected) throw stop_for(connected.error(), canonical_hint(connected.error().code));
  return std::move(connected).value();
}

namespace {

constexpr Manual version_manual{
    .name = "version",
    .what = "Print the versions of tally and of what it carries",
    .section = Section::tools,
    .does =
        "The version of the program, of the SQLite that it brings, and of the libpq that it "
        "found here.",
    .on_disk = "What was there.",
    .examples = {{{"For a bug report", "tally version"}}},
    .fine = "They are printed.",
    .related = "help, doctor"};

void add_version(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, version_manual);
  command->callback([&run] {
    run.command = [&run] {
      if (run.json) {
        print_json(
            {{"tally", version()}, {"sqlite", sqlite_version()}, {"libpq", sync::libpq_version()}});
      } else {
        print("tally " + std::string(version()) + " (SQLite " + std::string(sqlite_version()) +
              ", libpq " + sync::libpq_version() + ")\n");
      }
      return Exit::fine;
    };
  });
}

Exit run_command(const Run& run) {
  try {
    const Exit exit = run.command();
    finish_output();
    return exit;
  } catch (const Stop& stop) {
    std::fflush(stdout);  // What was answered before it; a failure here is of no more use.
    print_error(stop, run.json);
    return stop.exit;
  } catch (const std::bad_alloc&) {
    print_error({Exit::world, "internal", "out of memory"}, run.json);
  } catch (const std::exception& e) {
    print_error({Exit::world, "internal", e.what()}, run.json);
  }
  return Exit::world;
}

// ---- a command line that is not right ----------------------------------------------------------

/// The command that the line came to.
const CLI::App& deepest(const CLI::App& app) {
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : deepest(*chosen.front());
}

std::vector<std::string> option_names(const CommandText& command) {
  std::vector<std::string> names;
  for (const OptionText& option : command.options) {
    if (!option.is_argument) names.push_back(option.name);
  }
  return names;
}

/// What of the line was not understood, and what it may have been meant for; else what the parser
/// says of it.
std::string complaint(const CommandText& command, const std::vector<std::string>& unknown,
                      const CLI::ParseError& error) {
  const auto is_option = [](const std::string& word) { return word.size() > 1 && word[0] == '-'; };
  const bool is_about_words =
      error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError) ||
      error.get_exit_code() == static_cast<int>(CLI::ExitCodes::RequiredError);
  if (unknown.empty() || !is_about_words) return error.what();
  if (!command.commands.empty() && !is_option(unknown.front()))
    return command.no_command(unknown.front());
  const auto option = std::find_if(unknown.begin(), unknown.end(), is_option);
  if (option == unknown.end())
    return command.full_name() + " does not take the argument '" + unknown.front() + "'";
  const std::string name = option->substr(0, option->find('='));
  return command.full_name() + " has no option '" + name + "'" +
         did_you_mean(name, option_names(command));
}

/// Help goes to standard output, and is no error; anything else is wrong usage.
Exit explain(const CLI::App& app, const Run& run, const CLI::ParseError& error) {
  const CommandText command = describe(deepest(app), run.manuals);
  if (error.get_exit_code() != 0) {
    print_error({Exit::usage, "usage",
                 complaint(command, app.remaining(true), error) + "; " + command.full_name() +
                     " --help tells more"},
                false);
    return Exit::usage;
  }
  try {
    const bool is_version = error.get_name() == "CallForVersion";
    print(is_version ? std::string(error.what()) + "\n" : help_text(command));
    finish_output();
  } catch (const Stop& stop) {
    print_error(stop, false);
    return stop.exit;
  }
  return Exit::fine;
}

std::vector<Term> environment() {
  return {{"PGHOST, PGUSER, PGPASSWORD",
           "What CONNINFO leaves open is libpq's, with all its "
           "variables and ~/.pgpass. --pg '' leaves all open."},
          {"NO_COLOR", "Set to anything, it ends colours; a pipe never has them."},
          {"COLUMNS", "How wide help is."}};
}

constexpr Manual program_manual{
    .name = "tally",
    .what = "credits and jobs that work offline, on a mirror of a Postgres ledger",
    .does =
        "A mirror is one SQLite file, which needs no network; canonical is a Postgres database, "
        "which has the last word. An operation is applied to the mirror at once and whole, waits "
        "in its outbox, and counts once on canonical, however often it is sent.\n\n"
        "tally help COMMAND tells of one command what it does, what is on disk when it returns, "
        "and how to use it. FILE is a mirror's file. CONNINFO is a URI, a conninfo string or a "
        "database's name. Ids are UUIDs; times are UTC. Answers go to standard output and errors "
        "to standard error, as JSON with --json.",
    .examples = {{{"A mirror to try things on, and what is in it",
                   "tally operations --trace | tally replay - --db mirror.db\n"
                   "tally account ada00000-0000-4000-8000-000000000001 --db mirror.db"},
                  {"Canonical beside it, on a Postgres of yours",
                   "createdb tally\ntally migrate --pg tally --shim"},
                  {"The mirror as a device of canonical",
                   "(umask 077; tally device add --pg tally --name mine \\\n"
                   "  --capabilities author,worker,service | sed -n 's/^token *//p' > token)\n"
                   "tally sync --db mirror.db --pg tally --token-file token"}}},
    .fine = "It is done.",
    .refused =
        "Refused, or the halves differ, or an audit found something, or a mirror is not in "
        "sync.",
    .terms_title = "Environment",
    .terms = environment};

Exit run_program(int argc, char** argv) {
  CLI::App app(std::string(program_manual.what), "tally");
  app.require_subcommand(1);
  app.set_help_flag("-h,--help", "Show this page");
  app.set_version_flag("--version", "tally " + std::string(version()), "Print the version");
  Run run;
  run.manuals.of[&app] = &program_manual;
  add_replay(app, run);
  add_read_commands(app, run);
  add_why(app, run);
  add_export(app, run);
  add_trace(app, run);
  add_backup(app, run);
  add_doctor(app, run);
  add_canonical_commands(app, run);
  add_sync_commands(app, run);
  add_inspect(app, run);
  add_demo(app, run);
  add_table_commands(app, run);
  add_telemetry(app, run);
  add_help_commands(app, run);
  add_version(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return explain(app, run, error);
  }
  return run_command(run);
}

}  // namespace
}  // namespace tally::cli

int main(int argc, char** argv) {
  tally::cli::report_closed_outputs();
  return static_cast<int>(tally::cli::run_program(argc, argv));
}
