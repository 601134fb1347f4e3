#pragma once
// JSON as the ledger needs it: numbers keep their text (8.0 is no 8, and 500 digits are still a
// number), nothing recurses, and values come out in jsonb's own text form. The libraries at hand
// turn numbers into doubles or refuse large ones, so this one is ours.

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tally::json {

struct Value {
  enum class Kind : unsigned char { null, boolean, number, string, array, object, too_deep };
  Kind kind = Kind::null;
  std::string text{};  ///< A string's content; a number as written.
  bool boolean = false;
  std::vector<Value> items{};  ///< An array's.
  std::vector<std::pair<std::string, Value>>
      members{};  ///< An object's; of equal keys the last counts.

  const Value* find(std::string_view key) const noexcept;
  /// An integer by its text: `-?(0|[1-9][0-9]*)`.
  bool is_integer() const noexcept;
  /// Its value, held at the ends of 64 bits; `fits` says whether it had to be.
  long long integer(bool& fits) const noexcept;
};

/// Deepest nesting that is kept; what lies deeper is checked and becomes `too_deep`.
inline constexpr int depth_max = 48;
/// What nests deeper is no JSON, as on canonical.
inline constexpr int nesting_max = 1'000;

/// RFC 8259, UTF-8 checked, one value and white space around it; nothing where it is anything else.
std::optional<Value> parse(std::string_view text);

/// The value as jsonb prints it; nothing where it breaks the contract's limits (65,536 bytes, 32
/// levels, 40 digits a number, no U+0000).
std::optional<std::string> jsonb_text(const Value& value);
/// The same from text.
std::optional<std::string> jsonb_text(std::string_view text);

/// Appends a JSON string literal, escaped as Postgres does.
void append_string(std::string& out, std::string_view text);

/// Whether the bytes are UTF-8.
bool is_utf8(std::string_view text) noexcept;

}  // namespace tally::json
