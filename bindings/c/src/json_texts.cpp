#include "json_texts.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace tally::texts {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 12> number_columns{"progress",
                                                          "cost_credits_reserved",
                                                          "cost_credits_final",
                                                          "step_order",
                                                          "progress_pct",
                                                          "size_bytes",
                                                          "target_minutes",
                                                          "amount",
                                                          "balance_after",
                                                          "seq",
                                                          "balance",
                                                          "held"};
constexpr std::array<std::string_view, 6> json_columns{"manifest_json", "artifacts_json",
                                                       "metadata_json", "options",
                                                       "settings",      "notification_prefs"};

bool is_among(const auto& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::string_view null = "null";

/// A row's value; where a plain writer left something that is no JSON, a string.
std::string column_text(std::string_view name, const std::optional<std::string>& text) {
  const bool is_json = is_among(number_columns, name) || is_among(json_columns, name);
  return text && is_json && json::accept(*text) ? *text : optional_text(text);
}

}  // namespace

JsonObject& JsonObject::add(std::string_view key, std::string_view value) {
  if (text_.size() > 1) text_ += ',';
  text_ += '"';
  text_ += key;
  text_ += "\":";
  text_ += value;
  return *this;
}

void JsonArray::add(std::string_view value) {
  if (text_.size() > 1) text_ += ',';
  text_ += value;
}

std::string hex(std::uint64_t number) {
  std::array<char, 17> out{};
  std::snprintf(out.data(), out.size(), "%016llx", static_cast<unsigned long long>(number));
  return out.data();
}

std::string string_text(std::string_view text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}
std::string id_text(const Uuid& id) { return '"' + id.text() + '"'; }
std::string optional_text(const std::optional<std::string>& text) {
  return text ? string_text(*text) : std::string(null);
}
std::string optional_text(const std::optional<Uuid>& id) {
  return id ? id_text(*id) : std::string(null);
}
std::string optional_text(const std::optional<Timestamp>& time) {
  return time ? string_text(time->text()) : std::string(null);
}

std::string entry_text(const Entry& entry) {
  return JsonObject()
      .add("id", id_text(entry.id))
      .add("seq", std::to_string(entry.seq))
      .add("type", string_text(entry.type))
      .add("amount", std::to_string(entry.amount.value))
      .add("balance_after", std::to_string(entry.balance_after.value))
      .add("note", optional_text(entry.note))
      .add("created_at", string_text(entry.created_at.text()))
      .add("job_id", optional_text(entry.job_id))
      .add("stripe_payment_id", optional_text(entry.stripe_payment_id))
      .take();
}

std::string row_text(const ViewRow& row) {
  JsonObject object;
  for (const auto& [name, text] : row) object.add(name, column_text(name, text));
  return object.take();
}

std::string rows_text(const std::vector<ViewRow>& rows) { return array_text(rows, row_text); }

std::string job_text(const JobView& view) {
  return JsonObject()
      .add("job", row_text(view.job))
      .add("steps", rows_text(view.steps))
      .add("assets", rows_text(view.assets))
      .take();
}

std::string digest_text(const std::vector<TableDigest>& digest) {
  return array_text(digest, [](const TableDigest& table) {
    return JsonObject()
        .add("table", string_text(table.table))
        .add("rows", std::to_string(table.rows))
        .add("digest", string_text(hex(table.digest)))
        .take();
  });
}

std::string audit_text(const AuditReport& report) {
  const auto finding_text = [](const Finding& finding) {
    return JsonObject()
        .add("invariant", string_text(finding.invariant))
        .add("user_id", optional_text(finding.user_id))
        .add("detail", string_text(finding.detail))
        .take();
  };
  return JsonObject()
      .add("users", std::to_string(report.users))
      .add("entries", std::to_string(report.entries))
      .add("jobs", std::to_string(report.jobs))
      .add("findings", array_text(report.findings, finding_text))
      .take();
}

std::string backup_text(const BackupReport& report) {
  return JsonObject()
      .add("bytes", std::to_string(report.bytes))
      .add("users", std::to_string(report.users))
      .add("entries", std::to_string(report.entries))
      .add("jobs", std::to_string(report.jobs))
      .take();
}

std::string link_text(const LinkState& link) {
  const auto capability_text = [](Capability capability) {
    return string_text(capability_names[static_cast<std::size_t>(capability)]);
  };
  const bool has_cursor = link.cursor && json::accept(*link.cursor);
  return JsonObject()
      .add("device_id", id_text(link.enrolment.device_id))
      .add("capabilities", array_text(link.enrolment.capabilities, capability_text))
      .add("scope", optional_text(link.enrolment.scope))
      .add("acked", std::to_string(link.acked))
      .add("pending", std::to_string(link.pending))
      .add("blocked", std::to_string(link.blocked))
      .add("rejected", std::to_string(link.rejected))
      .add("cursor", has_cursor ? *link.cursor : optional_text(link.cursor))
      .add("synced_at", optional_text(link.synced_at))
      .add("attempts", std::to_string(link.attempts))
      .add("error_class", optional_text(link.error_class))
      .add("error", optional_text(link.error))
      .add("next_attempt_at", optional_text(link.next_attempt_at))
      .take();
}

std::string account_text(const Account& account) {
  return JsonObject()
      .add("balance", std::to_string(account.check.balance.value))
      .add("held", std::to_string(account.check.held.value))
      .add("entries", std::to_string(account.check.entries))
      .add("pending_operations", std::to_string(account.check.pending_operations))
      .add("holds", array_text(account.holds,
                               [](const OpenHold& hold) {
                                 return JsonObject()
                                     .add("job_id", id_text(hold.job_id))
                                     .add("reservation", optional_text(hold.reservation))
                                     .add("amount", std::to_string(hold.amount.value))
                                     .take();
                               }))
      .add("leases", leases_text(account.leases))
      .take();
}

std::string leases_text(const std::vector<OpenLease>& leases) {
  return array_text(leases, [](const OpenLease& lease) {
    return JsonObject()
        .add("lease_id", id_text(lease.lease_id))
        .add("user_id", id_text(lease.user_id))
        .add("unspent", std::to_string(lease.unspent.value))
        .add("expires_at", string_text(lease.expires_at.text()))
        .add("returning", lease.returning ? "true" : "false")
        .take();
  });
}

std::string rejected_text(const RejectedOperation& rejected) {
  return JsonObject()
      .add("number", std::to_string(rejected.number))
      .add("result", string_text(name_of(rejected.code)))
      .add("index", rejected.index ? std::to_string(*rejected.index) : std::string(null))
      .add("rejected_at", string_text(rejected.rejected_at.text()))
      .add("operation", trace_line(rejected.command))
      .take();
}

}  // namespace tally::texts
