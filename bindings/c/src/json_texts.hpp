#pragma once
// The libraries' values as JSON texts, for the program and the C library. Numbers and JSON columns
// keep the text that the ledger has: what goes through a double loses digits.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tally/replica.hpp"

namespace tally::texts {

/// An object or array in the making: the text is complete when it was taken.
class JsonObject {
 public:
  /// `value` is JSON.
  JsonObject& add(std::string_view key, std::string_view value);
  std::string take() { return std::move(text_) + '}'; }

 private:
  std::string text_{"{"};
};

class JsonArray {
 public:
  void add(std::string_view value);
  std::string take() { return std::move(text_) + ']'; }

 private:
  std::string text_{"["};
};

template <class Range, class Text>
std::string array_text(const Range& values, Text text_of) {
  JsonArray array;
  for (const auto& value : values) array.add(text_of(value));
  return array.take();
}

/// 16 hex digits.
std::string hex(std::uint64_t number);
/// A string literal; what is not UTF-8 in it is replaced.
std::string string_text(std::string_view text);
std::string optional_text(const std::optional<std::string>& text);
std::string id_text(const Uuid& id);
std::string optional_text(const std::optional<Uuid>& id);
std::string optional_text(const std::optional<Timestamp>& time);

std::string account_text(const Account& account);
std::string entry_text(const Entry& entry);
/// Numbers as numbers and JSON columns as JSON, by the column's name.
std::string row_text(const ViewRow& row);
std::string rows_text(const std::vector<ViewRow>& rows);
std::string job_text(const JobView& view);
std::string digest_text(const std::vector<TableDigest>& digest);
std::string audit_text(const AuditReport& report);
std::string backup_text(const BackupReport& report);

std::string link_text(const LinkState& link);
std::string leases_text(const std::vector<OpenLease>& leases);
std::string rejected_text(const RejectedOperation& rejected);

}  // namespace tally::texts
