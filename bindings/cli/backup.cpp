// backup: a mirror copied while others write to it.

#include <memory>

#include "commands.hpp"
#include "platform.hpp"
#include "tally/replica.hpp"

namespace tally::cli {
namespace {

struct Arguments {
  std::string db;
  std::string to;
  bool force = false;
};

Result<std::optional<BackupReport>> copy(const Engine& engine, const Arguments& arguments,
                                         bool json) {
  Progress pages("pages", !json);
  std::optional<Progress> entries;  // Its rate counts from the audit's beginning on.
  BackupOptions options;
  options.replace = arguments.force;
  options.watch = [&](std::int64_t done, std::int64_t total) { return pages.watch(done, total); };
  options.audit_watch = [&](std::int64_t done, std::int64_t total) {
    if (!entries) {
      pages.clear();
      entries.emplace("entries", !json);
    }
    return entries->watch(done, total);
  };
  return engine.backup(arguments.to, options);
}

std::string_view hint(Code code) {
  switch (code) {
    case Code::already_exists:
      return "--force replaces it";
    case Code::busy:
      return "end that process; tally doctor --db puts a WAL that was left into its file; remove "
             "the -wal and -shm of a file that is lost";
    case Code::corrupt:
      return "tally doctor --db examines the mirror";
    default:
      return {};
  }
}

Exit run_backup(const Arguments& arguments, bool json) {
  listen_for_the_end();
  Engine engine = open_mirror(arguments.db);
  auto copied = copy(engine, arguments, json);
  if (!copied) throw stop_for(copied.error(), hint(copied.error().code));
  const auto report = std::move(copied).value();
  if (!report) throw Stop{Exit::interrupted, "interrupted", "interrupted: no backup was made"};
  const auto link = take(Replica(engine).state());
  if (json) {
    print_json({{"file", arguments.to},
                {"bytes", report->bytes},
                {"users", report->users},
                {"entries", report->entries},
                {"jobs", report->jobs},
                {"device_id", link ? JsonValue(link->enrolment.device_id.text()) : nullptr}});
    return Exit::fine;
  }
  print(arguments.to + ": " + thousands(report->bytes) + " bytes, " +
        counted(report->users, "user", "users") + ", " +
        counted(report->entries, "entry", "entries") + ", " + counted(report->jobs, "job", "jobs") +
        ", compared with the mirror and audited\n");
  if (link) {
    print("It is device " + link->enrolment.device_id.text() +
          ", as the mirror is. Restored after the mirror has synced again, it is device_forked:\n"
          "tally device add makes another device, and tally sync --enrol-anew makes it that.\n");
  }
  return Exit::fine;
}

constexpr Manual backup_manual{
    .name = "backup",
    .what = "Copy a mirror into a file, verified, while others write to it",
    .section = Section::mirror,
    .does =
        "The copy is the mirror as it was at one moment, with all that is pending. Before it gets "
        "its name SQLite checks its pages, its ledger is audited, and the digests of every user "
        "are "
        "compared with the mirror's of that moment. Writers go on meanwhile; the WAL grows as long "
        "as it takes.\n\n"
        "A backup is a mirror: tally audit and all others read it. To restore, end what has the "
        "mirror open and copy the other way, with --force; where the mirror has a -wal beside it, "
        "that is refused, since SQLite would mix the two.\n\n"
        "A copy of a device is that device, and holds its leases and numbers. Restored before the "
        "mirror synced again, it goes on as if nothing had happened. Restored after that, "
        "canonical "
        "knows more of the device than the copy does, and answers device_forked: nothing is lost "
        "or "
        "spent twice, but it must become another device (tally device add, tally sync "
        "--enrol-anew). What it had not pushed is kept as rejected, to be retried; the old "
        "device's "
        "leases stay set aside until it is revoked. Claims that it held end by themselves.",
    .on_disk =
        "The whole backup under its name, synced, its owner's alone; or, where it failed or was "
        "interrupted, what was there before.",
    .examples = {{{"Back a mirror up", "tally backup --db mirror.db --to backup.db"},
                  {"The same every night, over the last one",
                   "tally backup --db mirror.db --to backup.db --force"},
                  {"Restore it into a file that no process has open",
                   "tally backup --db backup.db --to restored.db"}}},
    .fine = "The backup is made and verified.",
    .refused = "There is a file of that name, and no --force.",
    .related = "doctor, audit, export, trace"};

}  // namespace

void add_backup(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, backup_manual);
  auto arguments = std::make_shared<Arguments>();
  add_db(command, arguments->db);
  command->add_option("--to", arguments->to, "The backup's file")->type_name("FILE")->required();
  command->add_flag("--force", arguments->force, "Replace the file where there is one");
  command->callback(
      [=, &run] { run.command = [=, &run] { return run_backup(*arguments, run.json); }; });
}

}  // namespace tally::cli
