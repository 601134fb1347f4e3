// status and rejected: what stands between a mirror and canonical, read from the mirror alone.

#include <algorithm>
#include <memory>

#include "sync_texts.hpp"
#include "tally/syncer.hpp"

namespace tally::cli {
namespace {

// ---- status -----------------------------------------------------------------------------------

Exit status_of_no_device(const Engine& engine, bool json) {
  const std::int64_t pending = take(engine.pending_operations());
  if (json) {
    print_json({{"device_id", nullptr}, {"in_sync", false}, {"pending", pending}});
  } else {
    print("no device yet: tally sync --token-file FILE makes the mirror one\npending  " +
          counted(pending, "operation", "operations") + "\n");
  }
  return Exit::refused;
}

void print_status_json(const LinkState& link, const std::vector<OpenLease>& leases, bool in_sync) {
  const JsonValue lag = link.synced_at
                            ? JsonValue(std::max<std::int64_t>(now().us - link.synced_at->us, 0))
                            : JsonValue(nullptr);
  const JsonValue state = parsed(texts::link_text(link));
  JsonValue out = JsonValue::object();
  for (const auto& [name, value] : state.items()) {
    out[name] = value;
    if (name == "scope") out["in_sync"] = in_sync;
    if (name == "synced_at") {
      out["lag_us"] = lag;
      out["leases"] = to_json(leases);
    }
  }
  print_json(out);
}

void print_status(const LinkState& link, const std::vector<OpenLease>& leases) {
  print("device        " + link.enrolment.device_id.text() + ", " +
        joined(names_of(link.enrolment.capabilities)) + " for " + scope_text(link.enrolment.scope) +
        "\n");
  print("pending       " + thousands(link.pending) + "\nblocked       " + thousands(link.blocked) +
        "\nrejected      " + thousands(link.rejected) +
        (link.rejected > 0 ? " (tally rejected list)" : "") + "\nacknowledged  " +
        thousands(link.acked) + "\ncursor        " + shown(link.cursor.value_or("none"), 100) +
        "\nlast answer   " + (link.synced_at ? ago(*link.synced_at) : "never") + "\n");
  if (link.error_class) {
    print("last error    " + *link.error_class + ": " +
          shown(on_one_line(link.error.value_or("")), 400) + "\n");
  }
  print("next attempt  " + next_attempt(link) + "\n");
  if (!leases.empty()) print("\n" + lease_table(leases));
  const std::string why = not_in_sync(link);
  print("\n" +
        (why.empty() ? paint(Paint::green, "in sync")
                     : paint(Paint::yellow, "not in sync") + ": " + why) +
        "\n");
}

Exit run_status(const std::string& db, bool json) {
  Engine engine = open_mirror(db);
  const Replica replica(engine);
  const auto link = take(replica.state());
  if (!link) return status_of_no_device(engine, json);
  const auto leases = take(replica.leases());
  const bool in_sync = not_in_sync(*link).empty();
  if (json) {
    print_status_json(*link, leases, in_sync);
  } else {
    print_status(*link, leases);
  }
  return in_sync ? Exit::fine : Exit::refused;
}

constexpr Manual status_manual{
    .name = "status",
    .what = "Say how far a mirror and canonical are",
    .section = Section::sync,
    .does =
        "Which device the mirror is, what is pending, blocked and rejected, when canonical "
        "last answered, the last error, when the next attempt is due, and the open leases. It "
        "reads the mirror alone and asks no server.",
    .on_disk = reads_mirror_only,
    .examples = {{{"A mirror's state", "tally status --db mirror.db"},
                  {"For a script: is it in sync?",
                   "tally status --db mirror.db --json > status.json && echo in sync"}}},
    .fine = "The mirror is in sync.",
    .refused =
        "Something is pending, blocked or rejected, the last attempt failed, or the mirror "
        "is no device yet.",
    .related = "sync, rejected list, lease list"};

}  // namespace

void add_status(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, status_manual);
  auto db = std::make_shared<std::string>();
  add_db(command, *db);
  command->callback([=, &run] { run.command = [=, &run] { return run_status(*db, run.json); }; });
}

namespace {

// ---- rejected ---------------------------------------------------------------------------------

struct RejectedArguments {
  std::string db;
  std::int64_t number = 0;
};

[[noreturn]] void no_such_rejected(std::int64_t number) {
  throw Stop{Exit::refused, "not_found",
             "no rejected operation " + std::to_string(number) +
                 " is kept; tally rejected list shows those that are"};
}

Exit list_rejected(Replica& replica, const RejectedArguments&, bool json) {
  const auto rejected = take(replica.rejected());
  if (json) {
    print_json({{"rejected", to_json(rejected)}});
  } else {
    print(rejected.empty() ? "Nothing is rejected.\n" : rejected_table(rejected));
  }
  return Exit::fine;
}

Exit show_rejected(Replica& replica, const RejectedArguments& arguments, bool json) {
  for (const RejectedOperation& rejected : take(replica.rejected())) {
    if (rejected.number != arguments.number) continue;
    if (json) {
      print_json(to_json(rejected));
      return Exit::fine;
    }
    const CodeRow& row = row_of(rejected.code);
    print("number     " + std::to_string(rejected.number) + "\ncode       " +
          paint(Paint::red, row.name) + ": " + std::string(row.sentence) + "\n");
    if (rejected.index) {
      print("of batch   its operation " + std::to_string(*rejected.index) + ", from 0\n");
    }
    print("rejected   " + short_time(rejected.rejected_at.text()) + "\noperation  " +
          trace_line(rejected.command) + "\n");
    return Exit::fine;
  }
  no_such_rejected(arguments.number);
}

Exit dismiss_rejected(Replica& replica, const RejectedArguments& arguments, bool json) {
  auto dismissed = replica.dismiss(arguments.number);
  if (!dismissed && dismissed.error().code == Code::not_found) no_such_rejected(arguments.number);
  take(std::move(dismissed));
  if (json) {
    print_json({{"number", arguments.number}, {"dismissed", true}});
  } else {
    print("dismissed operation " + std::to_string(arguments.number) + "\n");
  }
  return Exit::fine;
}

Exit retry_rejected(Replica& replica, const RejectedArguments& arguments, bool json) {
  auto retried = replica.retry(arguments.number);
  if (!retried && retried.error().code == Code::not_found) no_such_rejected(arguments.number);
  if (!retried && !is_failure(retried.error().code)) {
    const Code code = retried.error().code;
    throw Stop{Exit::refused, std::string(name_of(code)),
               "operation " + std::to_string(arguments.number) + " stays rejected, " +
                   std::string(name_of(code)) + " here too: " + std::string(row_of(code).sentence)};
  }
  const Receipt receipt = take(std::move(retried));
  if (json) {
    print_json({{"number", arguments.number},
                {"op_id", receipt.op_id.text()},
                {"balance", receipt.balance ? JsonValue(receipt.balance->value) : nullptr}});
  } else {
    print("operation " + std::to_string(arguments.number) +
          " is applied again here, and pending; the next sync pushes it\n");
  }
  return Exit::fine;
}

using RejectedBody = Exit (*)(Replica&, const RejectedArguments&, bool);

void add_rejected_command(CLI::App& group, Run& run, const Manual& manual, RejectedBody body,
                          bool with_number) {
  CLI::App* command = add_command(group, run, manual);
  auto arguments = std::make_shared<RejectedArguments>();
  if (with_number) {
    command->add_option("number", arguments->number, "Its number, as tally rejected list has it")
        ->type_name("N")
        ->required();
  }
  add_db(command, arguments->db);
  command->callback([=, &run] {
    run.command = [=, &run] {
      Engine engine = open_mirror(arguments->db);
      Replica replica(engine);
      return body(replica, *arguments, run.json);
    };
  });
}

constexpr std::string_view none_of_that_number = "No rejected operation of that number is kept.";

constexpr Manual rejected_manual{
    .name = "rejected",
    .what = "What canonical did not apply: list, show, settle",
    .section = Section::sync,
    .does =
        "An operation that canonical rejects is undone on the mirror and kept, with its code, "
        "until somebody has seen to it: dismiss it or retry it. While one is kept the mirror "
        "is not in sync.",
    .related = "sync, status, codes"};

constexpr Manual rejected_list_manual{
    .name = "list",
    .what = "List the rejected operations",
    .does =
        "A line each: its number, what it was, the code that canonical answered, when it was "
        "made and when it was rejected.",
    .on_disk = reads_mirror_only,
    .examples = {{{"What a mirror keeps", "tally rejected list --db mirror.db"}}},
    .fine = "They are listed, also where there are none.",
    .related = "rejected show, status"};

constexpr Manual rejected_show_manual{
    .name = "show",
    .what = "Show one, and why",
    .does =
        "Its code with the sentence that explains it, and the whole operation as a line of a "
        "trace.",
    .on_disk = reads_mirror_only,
    .examples = {{{"The first that is kept",
                   "N=$(tally rejected list --db mirror.db | awk 'NR == 2 {print $1}')\n"
                   "tally rejected show \"$N\" --db mirror.db"}}},
    .fine = "It is shown.",
    .refused = none_of_that_number,
    .related = "rejected list, codes"};

constexpr Manual rejected_dismiss_manual{
    .name = "dismiss",
    .what = "Keep it no longer",
    .does = "The operation is forgotten; neither half's balances change, since it had no effect.",
    .on_disk = "That it is dismissed.",
    .examples = {{{"The first that is kept",
                   "N=$(tally rejected list --db mirror.db | awk 'NR == 2 {print $1}')\n"
                   "tally rejected dismiss \"$N\" --db mirror.db"}}},
    .fine = "It is dismissed.",
    .refused = none_of_that_number,
    .related = "rejected retry, rejected list"};

constexpr Manual rejected_retry_manual{
    .name = "retry",
    .what = "Apply it anew on the mirror as it is, to be pushed",
    .does =
        "The operation is judged by the mirror as it is now. Where it is ok it is pending "
        "again, under a new number, and the next sync pushes it; where it is refused here too "
        "it stays rejected.",
    .on_disk = "The operation's effects on the mirror, and its place in the outbox.",
    .examples = {{{"The first that is kept, after the reason is gone",
                   "N=$(tally rejected list --db mirror.db | awk 'NR == 2 {print $1}')\n"
                   "tally rejected retry \"$N\" --db mirror.db"}}},
    .fine = "It is applied here, and pending.",
    .refused = "It is refused here too and stays rejected, or no such number is kept.",
    .related = "rejected dismiss, sync"};

}  // namespace

void add_rejected_commands(CLI::App& app, Run& run) {
  CLI::App& group = *add_group(app, run, rejected_manual);
  add_rejected_command(group, run, rejected_list_manual, list_rejected, false);
  add_rejected_command(group, run, rejected_show_manual, show_rejected, true);
  add_rejected_command(group, run, rejected_dismiss_manual, dismiss_rejected, true);
  add_rejected_command(group, run, rejected_retry_manual, retry_rejected, true);
}

}  // namespace tally::cli
