#include "sync_texts.hpp"

#include <algorithm>
#include <chrono>

#include "tally/syncer.hpp"

namespace tally::cli {

void add_pg(CLI::App* command, CanonicalArguments& arguments) {
  command->add_option("--pg", arguments.pg, "Canonical's database")
      ->type_name("CONNINFO")
      ->required();
  add_schema(command, arguments.schema);
}

Timestamp now() {
  return {std::chrono::duration_cast<std::chrono::microseconds>(
              std::chrono::system_clock::now().time_since_epoch())
              .count()};
}

std::string ago(Timestamp time) {
  return duration(std::max<std::int64_t>(now().us - time.us, 0)) + " ago";
}

JsonValue to_json(const std::optional<Timestamp>& time) {
  return time ? JsonValue(time->text()) : JsonValue(nullptr);
}

std::string on_one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool is_space = c == ' ' || c == '\n' || c == '\t';
    if (!is_space) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::vector<std::string> names_of(const std::vector<Capability>& capabilities) {
  std::vector<std::string> out;
  for (const Capability capability : capabilities)
    out.emplace_back(capability_names[static_cast<std::size_t>(capability)]);
  return out;
}

std::string scope_text(const std::optional<Uuid>& scope) {
  return scope ? "user " + scope->text() : "all users";
}

bool is_stale(const LinkState& link, Timestamp now) {
  constexpr std::int64_t day_us = 86'400'000'000;
  return !link.synced_at || now.us - link.synced_at->us >= day_us;
}

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

std::string next_attempt(const LinkState& link) {
  if (link.next_attempt_at) {
    const std::int64_t left = link.next_attempt_at->us - now().us;
    return left > 0 ? "in " + duration(left) : "due, as soon as a process syncs the mirror";
  }
  if (link.error_class == name_of(sync::ErrorClass::authentication))
    return "after another token is in the token file";
  return link.error_class ? "none before an operator has decided" : "at the next sync";
}

namespace {

std::string_view state_of(const PendingOperation& pending) {
  if (pending.code != Code::ok) return "blocked";
  if (pending.queued) return "queued";
  return pending.sent ? "sent" : "waiting";
}

}  // namespace

JsonValue to_json(const PendingOperation& pending) {
  return {{"number", pending.number},
          {"state", state_of(pending)},
          {"op", row_of(pending.command.operation).name},
          {"op_id", pending.command.op_id.text()},
          {"at", pending.command.at.text()},
          {"code", pending.code == Code::ok ? JsonValue(nullptr) : name_of(pending.code)},
          {"operation", parsed(trace_line(pending.command))}};
}

JsonValue to_json(const RejectedOperation& rejected) {
  const JsonValue operation = parsed(trace_line(rejected.command));
  return {{"number", rejected.number},
          {"op", row_of(rejected.command.operation).name},
          {"op_id", rejected.command.op_id.text()},
          {"code", name_of(rejected.code)},
          {"index", rejected.index ? JsonValue(*rejected.index) : JsonValue(nullptr)},
          {"rejected_at", rejected.rejected_at.text()},
          {"operation", operation}};
}

JsonValue to_json(const std::vector<RejectedOperation>& rejected) {
  JsonValue list = JsonValue::array();
  for (const RejectedOperation& operation : rejected) list.push_back(to_json(operation));
  return list;
}

std::string rejected_table(const std::vector<RejectedOperation>& rejected) {
  Table table({{"number", true}, {"operation"}, {"code"}, {"made"}, {"rejected"}});
  for (const RejectedOperation& operation : rejected) {
    table.add({std::to_string(operation.number),
               std::string(row_of(operation.command.operation).name),
               std::string(name_of(operation.code)), short_time(operation.command.at.text()),
               short_time(operation.rejected_at.text())});
  }
  return table.text();
}

JsonValue to_json(const std::vector<OpenLease>& leases) {
  return parsed(texts::leases_text(leases));
}

std::string lease_table(const std::vector<OpenLease>& leases) {
  Table table({{"lease"}, {"user"}, {"unspent", true}, {"expires"}, {""}});
  for (const OpenLease& lease : leases) {
    table.add({lease.lease_id.text(), lease.user_id.text(), thousands(lease.unspent.value),
               short_time(lease.expires_at.text()),
               lease.returning                  ? "is being returned"
               : lease.expires_at.us < now().us ? paint(Paint::yellow, "expired")
                                                : ""});
  }
  return table.text();
}

}  // namespace tally::cli
