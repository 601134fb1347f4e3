// JSON as canonical keeps it: numbers as they were written, objects in jsonb's order, and jsonb's
// own text form within the contract's limits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tally::model::half {

using Text = std::string;
using MaybeText = std::optional<std::string>;

constexpr std::size_t json_bytes_max = 65536;

struct Json {
  enum class Kind { null, boolean, number, string, array, object, too_deep };
  Kind kind = Kind::null;
  Text text;               // a string's value, a number as it was written, "true" or "false"
  std::vector<Text> keys;  // of an object: jsonb's order, each key once
  std::vector<Json> items;

  const Json* find(std::string_view key) const {
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (keys[i] == key) return &items[i];
    }
    return nullptr;
  }
};

inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::optional<Json> parse_json(std::string_view text);

/// numeric_out(numeric_in(written)): all digits written out, as many after the point as were meant.
Text numeric_text(std::string_view written);

void write_json_string(std::string_view value, Text& out);

bool has_nul(std::string_view text);

/// Nothing where a limit of §4 is passed.
MaybeText jsonb(const Json& value);

}  // namespace tally::model::half
