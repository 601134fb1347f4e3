// trace: the operations that a mirror keeps, out again as a trace.

#include <limits>
#include <memory>

#include "fields.hpp"
#include "platform.hpp"
#include "sync_texts.hpp"

namespace tally::cli {
namespace {

struct Arguments {
  std::string db;
  std::string out;
};

struct Counts {
  std::int64_t pending = 0;
  std::int64_t blocked = 0;
  std::int64_t rejected = 0;
};

/// In the order of their numbers, which is that of the calls.
Counts write(Output& out, const Replica& replica) {
  Counts counts;
  const auto rejected = take(replica.rejected());
  auto next = rejected.begin();
  const auto write_rejected_before = [&](std::int64_t number) {
    for (; next != rejected.end() && next->number < number; ++next) {
      // As its host called it: it is judged anew wherever the line is applied.
      out.write(trace_line(as_called(next->command)) + "\n");
      ++counts.rejected;
    }
  };
  Kept kept;
  take(replica.each_pending([&](const PendingOperation& pending) {
    return kept.run([&] {
      write_rejected_before(pending.number);
      out.write(trace_line(pending.command) + "\n");
      ++(pending.code == Code::ok ? counts.pending : counts.blocked);
      stop_if_asked("the trace is not whole");
    });
  }));
  kept.rethrow();
  write_rejected_before(std::numeric_limits<std::int64_t>::max());
  return counts;
}

/// What a trace of this mirror cannot hold.
std::string what_is_missing(const std::optional<LinkState>& link) {
  if (!link) {
    return "it is all that took effect here, but for purges of drafts; a sweep is there as what it "
           "failed";
  }
  return "not in it: " + counted(link->acked, "operation", "operations") +
         " that canonical has acknowledged, which are canonical's to tell, and what was dismissed";
}

Exit run_trace(const Arguments& arguments, bool json) {
  listen_for_the_end();
  must_not_be_read(arguments.out, "--out", {arguments.db});
  Engine engine = open_mirror(arguments.db);
  const Replica replica(engine);
  const auto link = take(replica.state());
  Output out(arguments.out);
  const Counts counts = write(out, replica);
  out.finish();
  if (json) {
    const JsonValue summary{{"operations", counts.pending + counts.blocked + counts.rejected},
                            {"pending", counts.pending},
                            {"blocked", counts.blocked},
                            {"rejected", counts.rejected},
                            {"acknowledged", link ? link->acked : 0},
                            {"complete", !link}};
    std::fprintf(stderr, "%s\n", json_text(summary).c_str());
  } else {
    std::fprintf(stderr, "%s pending, %s blocked, %s rejected; %s\n",
                 thousands(counts.pending).c_str(), thousands(counts.blocked).c_str(),
                 thousands(counts.rejected).c_str(), what_is_missing(link).c_str());
  }
  return Exit::fine;
}

constexpr Manual trace_manual{
    .name = "trace",
    .what = "Write the operations that a mirror keeps as a trace",
    .section = Section::mirror,
    .does =
        "A mirror that is no device keeps every operation that took effect: its trace, replayed, "
        "makes the same mirror again, but for drafts that were purged. One that is a device keeps "
        "what is pending, and what canonical rejected until that is dismissed or retried; what "
        "canonical acknowledged is pruned, and its effects are canonical's. Standard error says "
        "how "
        "many of each are in the trace and what is not.\n\n"
        "Lines are in the order of the calls, each with its op_id, so that replaying them where "
        "they "
        "were applied before changes nothing. A pending line names the reservation that it means; "
        "a "
        "rejected one is as its host called it, and is judged anew.",
    .on_disk = "The trace, whole, where --out names a file; the mirror is only read.",
    .examples = {{{"A mirror made again from its own operations",
                   "tally operations --trace | tally replay - --db first.db\n"
                   "tally trace --db first.db --out first.jsonl\n"
                   "tally replay first.jsonl --db second.db"},
                  {"What a device has not got through, for a bug report",
                   "tally trace --db mirror.db > pending.jsonl"}}},
    .fine = "The trace is written.",
    .related = "replay, rejected, export, backup"};

}  // namespace

void add_trace(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, trace_manual);
  auto arguments = std::make_shared<Arguments>();
  add_db(command, arguments->db);
  command->add_option("--out", arguments->out, "Where the trace goes, instead of standard output")
      ->type_name("FILE");
  command->callback(
      [=, &run] { run.command = [=, &run] { return run_trace(*arguments, run.json); }; });
}

}  // namespace tally::cli
