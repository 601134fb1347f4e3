// The program tally: the command line of the engine and of canonical. Here: the parser, what its
// commands share, and the one place where errors become messages and exit statuses.

#include <exception>
#include <filesystem>
#include <new>

#include "commands.hpp"
#include "platform.hpp"

namespace tally::cli {

namespace fs = std::filesystem;

CLI::App* add_command(CLI::App& app, Run& run, const std::string& name, const std::string& what) {
  CLI::App* command = app.add_subcommand(name, what);
  command->add_flag("--json", run.json, "Answer in JSON");
  return command;
}

void add_db(CLI::App* command, std::string& db) {
  command->add_option("--db", db, "The mirror's file")->type_name("FILE")->required();
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

Engine open_mirror(const std::string& path, bool create) {
  std::error_code error;
  if (fs::is_directory(path, error))
    throw Stop{Exit::world, "io", path + " is a folder, not a mirror's file"};
  if (fs::is_regular_file(path, error) && fs::file_size(path, error) == 0) {
    throw Stop{Exit::world, "corrupt", path + " is empty, not a mirror"};
  }
  Options options;
  options.create = create;
  auto opened = Engine::open(path, std::move(options));
  if (!opened && opened.error().code == Code::not_found) {
    throw stop_for(opened.error(), "tally replay TRACE --db " + path + " makes one");
  }
  return take(std::move(opened));
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

void add_version(CLI::App& app, Run& run) {
  CLI::App* command =
      add_command(app, run, "version", "Print the versions of tally and of what it carries");
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

/// Help goes to standard output, and is no error; anything else is wrong usage.
Exit explain(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) {
    std::ostringstream help;
    app.exit(error, help, help);
    try {
      print(help.str());
      finish_output();
    } catch (const Stop& stop) {
      return stop.exit;
    }
    return Exit::fine;
  }
  const auto chosen = app.get_subcommands();
  print_error({Exit::usage, "usage",
               std::string(error.what()) + "; tally " +
                   (chosen.empty() ? "" : chosen.front()->get_name() + " ") + "--help tells more"},
              false);
  return Exit::usage;
}

Exit run_program(int argc, char** argv) {
  CLI::App app("Tallystick: credits and jobs that work offline, on a mirror of a Postgres ledger.",
               "tally");
  app.require_subcommand(1);
  app.set_version_flag("--version", "tally " + std::string(version()));
  app.footer(
      "Exit status: 0 fine, 1 refused or different, 2 wrong usage, 3 a failure of the world\n"
      "(disk, server, closed output). Errors go to standard error.\n"
      "CONNINFO is a URI, a conninfo string or a database's name; '' takes libpq's PG* "
      "environment.");
  Run run;
  add_replay(app, run);
  add_read_commands(app, run);
  add_canonical_commands(app, run);
  add_sync_commands(app, run);
  add_demo(app, run);
  add_version(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return explain(app, error);
  }
  return run_command(run);
}

}  // namespace
}  // namespace tally::cli

int main(int argc, char** argv) {
  tally::cli::report_closed_outputs();
  return static_cast<int>(tally::cli::run_program(argc, argv));
}
