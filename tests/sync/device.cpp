#include "sync/device.hpp"
#include "support/views.hpp"

#include <algorithm>

namespace tally::test {
namespace {

std::string text_of(const ColumnTexts& row) {
  std::string text;
  for (const auto& column : row) text += (column ? *column : "NULL") + " | ";
  return text;
}

}  // namespace

Options telling(SpendPolicy policy) {
  Options options = TemporaryMirror::fast();
  options.spend_policy = policy;
  options.verdict_timeout = std::chrono::milliseconds{0};  // Who calls is who syncs.
  options.callbacks.log = [](LogLevel, std::string_view line) { MESSAGE(line); };
  return options;
}

std::vector<std::string> rejected_codes(Device& device) {
  const auto rejected = Replica(device.mirror.engine()).rejected();
  REQUIRE(rejected.has_value());
  std::vector<std::string> codes;
  for (const RejectedOperation& operation : *rejected)
    codes.push_back(std::string(row_of(operation.command.operation).name) + " " +
                    std::string(name_of(operation.code)));
  return codes;
}

std::string difference(Device& device, sync::Canonical& canonical) {
  const auto users = canonical.users();
  REQUIRE(users.has_value());
  for (const Uuid& user : *users) {
    if (device.kind.scope && *device.kind.scope != user) continue;
    for (const char* table : tables) {
      if (!device.kind.is_full() && is_of_full_devices(table)) continue;
      auto there = canonical.rows(table, user);
      REQUIRE(there.has_value());
      const auto viewed = device.mirror->rows(table, user);
      REQUIRE(viewed.has_value());
      auto here = texts_of(*viewed);
      std::sort(here.begin(), here.end());
      std::sort(there->begin(), there->end());
      for (std::size_t i = 0; i < std::max(here.size(), there->size()); ++i) {
        if (i < here.size() && i < there->size() && here[i] == (*there)[i]) continue;
        return std::string(table) + " of user " + user.text() +
               "\n  mirror:    " + (i < here.size() ? text_of(here[i]) : "no row") +
               "\n  canonical: " + (i < there->size() ? text_of((*there)[i]) : "no row");
      }
    }
    if (!device.kind.is_full()) continue;
    const auto equal = device.syncer->verify(user, patience);
    REQUIRE(equal.has_value());
    if (!*equal) return "the digests of user " + user.text();
  }
  return {};
}

}  // namespace tally::test
