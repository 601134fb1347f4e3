#pragma once
// What both halves show, by name, and a mirror's rows of them without their columns' names.

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tally/engine.hpp"

namespace tally::test {

inline constexpr std::array<const char*, 9> views{"users",         "profiles", "credit_ledger",
                                                  "draft_prompts", "projects", "jobs",
                                                  "job_steps",     "assets",   "voice_profiles"};
/// All but the users, whom the host keeps on canonical.
inline constexpr std::span<const char* const, 8> tables = std::span(views).subspan<1>();

/// Those that a device without author and service is not told.
constexpr bool is_of_full_devices(std::string_view table) {
  return table == "profiles" || table == "draft_prompts";
}

using ColumnTexts = std::vector<std::optional<std::string>>;

inline std::vector<ColumnTexts> texts_of(const std::vector<ViewRow>& rows) {
  std::vector<ColumnTexts> out;
  out.reserve(rows.size());
  for (const ViewRow& row : rows) {
    ColumnTexts& texts = out.emplace_back();
    for (const auto& [column, text] : row) texts.push_back(text);
  }
  return out;
}

}  // namespace tally::test
