// status and rejected: what stands between a mirror and canonical, read from the mirror alone.

#include <algorithm>
#include <memory>

#include "sync_texts.hpp"
#include "tally/syncer.hpp"

namespace tally::cli {
namespace {

// ---- status -----------------------------------------------------------------------------------

/// Why a mirror is not in sync, in words; empty where it is.
std::string not_in_sync(const LinkState& link) {
  std::vector<std::string> why;
  if (link.pending > 0) why.push_back(thousands(link.pending) + " pending");
  if (link.blocked > 0) why.push_back(thousands(link.blocked) + " blocked");
  if (link.rejected > 0) why.push_back(thousands(link.rejected) + " rejected");
  if (link.error_class) {
    why.push_back(link.attempts == 1 ? std::string("the last attempt failed")
                                     : "the last " + thousands(link.attempts) + " attempts failed");
  }
  if (!link.synced_at) why.emplace_back("canonical has not answered yet");
  return joined(why);
}

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

std::string next_attempt(const LinkState& link) {
  if (link.next_attempt_at) {
    const std::int64_t left = link.next_attempt_at->us - now().us;
    return left > 0 ? "in " + duration(left) : "due, as soon as a process syncs the mirror";
  }
  if (link.error_class == name_of(sync::ErrorClass::authentication))
    return "after another token is in the token file";
  return link.error_class ? "none before an operator has decided" : "at the next sync";
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

}  // namespace

void add_status(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, "status", "Say how far a mirror and canonical are");
  auto db = std::make_shared<std::string>();
  add_db(command, *db);
  command->footer(
      "Reads the mirror only. Exit status: 0 in sync; 1 something is pending, blocked or rejected, "
      "the last attempt failed, or the mirror is no device yet.");
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

void add_rejected_command(CLI::App& group, Run& run, const std::string& name,
                          const std::string& what, RejectedBody body, bool with_number) {
  CLI::App* command = add_command(group, run, name, what);
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

}  // namespace

void add_rejected_commands(CLI::App& app, Run& run) {
  CLI::App& group = *add_group(app, "rejected", "What canonical did not apply: list, show, settle");
  add_rejected_command(group, run, "list", "List the rejected operations", list_rejected, false);
  add_rejected_command(group, run, "show", "Show one, and why", show_rejected, true);
  add_rejected_command(group, run, "dismiss", "Keep it no longer", dismiss_rejected, true);
  add_rejected_command(group, run, "retry", "Apply it anew on the mirror as it is, to be pushed",
                       retry_rejected, true);
}

}  // namespace tally::cli
