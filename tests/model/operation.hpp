// A line read as an operation: ids, times, the fields that each operation has, and what is wrong
// with them by themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json.hpp"

namespace tally::model::half {

using Micros = std::int64_t;

constexpr std::int64_t credits_max = 2147483647;
constexpr Micros second_us = 1000000;
constexpr Micros day_us = 86400 * second_us;

// ---- UUIDs and times ----------------------------------------------------------------------------

// Where hex digits 13 and 14 stand in the text.
constexpr std::size_t version_at = 14;
constexpr std::size_t number_at = 15;

int hex_value(char c);
/// Lower case, or nothing.
MaybeText uuid(std::string_view text);
MaybeText uuid(const Json* value);
Text derived_id(Text base, std::size_t number);
/// The op_id of the fail_job by which a sweep fails a job.
Text swept_op_id(const Text& sweep, const Text& job);

std::optional<Micros> time_of(std::string_view text);
Text time_text(Micros at);
MaybeText time_text(std::optional<Micros> at);

// ---- operations ---------------------------------------------------------------------------------

const std::vector<std::string_view>& stages();
/// 0 to 7 for a stage or its step.
std::optional<std::size_t> stage_index(std::string_view name);

bool has_field(std::string_view operation, std::string_view name);

/// Values by name, as compared by I6: no entry where absent, nothing where null clears.
using Values = std::map<std::string, MaybeText, std::less<>>;

constexpr std::string_view ok_code = "ok";
constexpr std::string_view invalid_argument = "invalid_argument";
constexpr std::string_view invalid_amount = "invalid_amount";
constexpr std::string_view invalid_type = "invalid_type";

struct Operation {
  Text name;
  Text op_id;
  Micros at = 0;
  const Json* line = nullptr;
  std::string_view field_error;  // empty where the fields are good
  Values values;
  MaybeText reservation;
  MaybeText envelope;          // of one that was pushed: the user whom alone it finds
  MaybeText lease;             // what the mirror drew on
  std::vector<Operation> ops;  // of a batch
  bool well_shaped = true;     // of a batch: its user can be told

  bool has(std::string_view field) const { return values.find(field) != values.end(); }
  const Text& text(std::string_view field) const { return *values.find(field)->second; }
  MaybeText maybe(std::string_view field) const {
    const auto found = values.find(field);
    return found == values.end() ? std::nullopt : found->second;
  }
  std::int64_t number(std::string_view field) const { return std::stoll(text(field)); }
};

/// The line as an operation, which points into it; nothing where it is none. Its `at` is no later
/// than `latest`.
std::optional<Operation> read_line(const std::optional<Json>& line, std::optional<Micros> latest);

}  // namespace tally::model::half
