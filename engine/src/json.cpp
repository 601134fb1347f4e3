#include "json.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <limits>

#include "tally/operations.hpp"

namespace tally::json {
namespace {

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// The length of the UTF-8 sequence at `text[i]`, or 0 where there is none.
std::size_t utf8_length(std::string_view text, std::size_t i) noexcept {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
  const unsigned char lead = byte(i);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || i + length > text.size()) return 0;
  for (std::size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xc0U) != 0x80U) return 0;
  }
  const unsigned char next = byte(i + 1);
  if (lead == 0xe0 && next < 0xa0) return 0;  // Overlong.
  if (lead == 0xed && next > 0x9f) return 0;  // A surrogate.
  if (lead == 0xf0 && next < 0x90) return 0;  // Overlong.
  if (lead == 0xf4 && next > 0x8f) return 0;  // Beyond U+10FFFF.
  return length;
}

void append_utf8(std::string& out, std::uint32_t point) {
  if (point < 0x80) {
    out += static_cast<char>(point);
  } else if (point < 0x800) {
    out += static_cast<char>(0xc0U | (point >> 6U));
    out += static_cast<char>(0x80U | (point & 0x3fU));
  } else if (point < 0x10000) {
    out += static_cast<char>(0xe0U | (point >> 12U));
    out += static_cast<char>(0x80U | ((point >> 6U) & 0x3fU));
    out += static_cast<char>(0x80U | (point & 0x3fU));
  } else {
    out += static_cast<char>(0xf0U | (point >> 18U));
    out += static_cast<char>(0x80U | ((point >> 12U) & 0x3fU));
    out += static_cast<char>(0x80U | ((point >> 6U) & 0x3fU));
    out += static_cast<char>(0x80U | (point & 0x3fU));
  }
}

/// A pushdown reader: containers wait on a stack of its own, so depth costs heap and not stack.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::optional<Value> read() {
    bool value_next = true;  // A value is due; otherwise a separator or an end.
    for (;;) {
      skip_space();
      if (value_next) {
        Value value;
        if (at_ == text_.size()) return std::nullopt;
        const char c = text_[at_];
        if (c == '{' || c == '[') {
          if (open_.size() == static_cast<std::size_t>(nesting_max)) return std::nullopt;
          ++at_;
          value.kind = c == '{' ? Value::Kind::object : Value::Kind::array;
          open_.push_back(Open{std::move(value), {}});
          skip_space();
          if (at_ < text_.size() && text_[at_] == (c == '{' ? '}' : ']')) {
            ++at_;
            if (!close(value_next)) return std::move(root_);
            continue;
          }
          if (c == '{' && !read_key()) return std::nullopt;
          continue;
        }
        if (!read_scalar(value)) return std::nullopt;
        if (!put(std::move(value))) return finish();
        value_next = false;
        continue;
      }
      if (open_.empty()) return finish();
      if (at_ == text_.size()) return std::nullopt;
      const char c = text_[at_++];
      const bool object = open_.back().value.kind == Value::Kind::object;
      if (c == ',') {
        if (object && !read_key()) return std::nullopt;
        value_next = true;
      } else if (c == (object ? '}' : ']')) {
        if (!close(value_next)) return finish();
      } else {
        return std::nullopt;
      }
    }
  }

 private:
  struct Open {
    Value value;
    std::string key;
  };

  void skip_space() noexcept {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }

  /// The document is over when nothing but white space follows.
  std::optional<Value> finish() {
    skip_space();
    if (at_ != text_.size()) return std::nullopt;
    return std::move(root_);
  }

  /// Gives a finished value to the container that waits for it; false where it is the root.
  bool put(Value&& value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return false;
    }
    Open& parent = open_.back();
    if (open_.size() > static_cast<std::size_t>(depth_max)) return true;  // Checked, not kept.
    if (parent.value.kind == Value::Kind::array) {
      // More than any limit lets through: checked, but memory is not spent on it.
      if (parent.value.items.size() <= static_cast<std::size_t>(json_max)) {
        parent.value.items.push_back(std::move(value));
      }
      return true;
    }
    parent.value.members.emplace_back(std::move(parent.key), std::move(value));
    return true;
  }

  /// Ends the innermost container; false (with the document checked to its end) where it was the
  /// root.
  bool close(bool& value_next) {
    Value value = std::move(open_.back().value);
    open_.pop_back();
    if (open_.size() >= static_cast<std::size_t>(depth_max))
      value = Value{.kind = Value::Kind::too_deep};
    value_next = false;
    if (put(std::move(value))) return true;
    const bool clean = finish_is_clean();
    if (!clean) root_.reset();
    return false;
  }
  bool finish_is_clean() {
    skip_space();
    return at_ == text_.size();
  }

  bool read_key() {
    skip_space();
    if (at_ == text_.size() || text_[at_] != '"') return false;
    open_.back().key.clear();
    if (!read_string(open_.back().key)) return false;
    skip_space();
    if (at_ == text_.size() || text_[at_] != ':') return false;
    ++at_;
    return true;
  }

  bool read_scalar(Value& value) {
    const auto word = [&](std::string_view w) {
      if (text_.substr(at_, w.size()) != w) return false;
      at_ += w.size();
      return true;
    };
    switch (text_[at_]) {
      case '"':
        value.kind = Value::Kind::string;
        return read_string(value.text);
      case 't':
        value.kind = Value::Kind::boolean;
        value.boolean = true;
        return word("true");
      case 'f':
        value.kind = Value::Kind::boolean;
        return word("false");
      case 'n':
        return word("null");
      default:
        value.kind = Value::Kind::number;
        return read_number(value.text);
    }
  }

  bool read_number(std::string& out) {
    const std::size_t begin = at_;
    const auto digits = [&] {
      const std::size_t from = at_;
      while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
      return at_ > from;
    };
    if (text_[at_] == '-') ++at_;
    if (at_ < text_.size() && text_[at_] == '0') {
      ++at_;
    } else if (!digits()) {
      return false;
    }
    if (at_ < text_.size() && text_[at_] == '.') {
      ++at_;
      if (!digits()) return false;
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      ++at_;
      if (at_ < text_.size() && (text_[at_] == '+' || text_[at_] == '-')) ++at_;
      if (!digits()) return false;
    }
    out = text_.substr(begin, at_ - begin);
    return true;
  }

  bool read_hex4(std::uint32_t& unit) {
    if (at_ + 4 > text_.size()) return false;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + at_ + 4, unit, 16);
    if (error != std::errc{} || end != text_.data() + at_ + 4) return false;
    at_ += 4;
    return true;
  }

  bool read_string(std::string& out) {
    ++at_;  // The opening quote.
    for (;;) {
      if (at_ == text_.size()) return false;
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return true;
      }
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c != '\\') {
        const std::size_t length = utf8_length(text_, at_);
        if (length == 0) return false;
        out.append(text_, at_, length);
        at_ += length;
        continue;
      }
      if (++at_ == text_.size()) return false;
      switch (text_[at_++]) {
        case '"':
          out += '"';
          break;
        case '\\':
          out += '\\';
          break;
        case '/':
          out += '/';
          break;
        case 'b':
          out += '\b';
          break;
        case 'f':
          out += '\f';
          break;
        case 'n':
          out += '\n';
          break;
        case 'r':
          out += '\r';
          break;
        case 't':
          out += '\t';
          break;
        case 'u': {
          std::uint32_t unit = 0;
          if (!read_hex4(unit)) return false;
          if (unit >= 0xdc00 && unit <= 0xdfff) return false;
          if (unit >= 0xd800 && unit <= 0xdbff) {
            std::uint32_t low = 0;
            if (text_.substr(at_, 2) != "\\u") return false;
            at_ += 2;
            if (!read_hex4(low) || low < 0xdc00 || low > 0xdfff) return false;
            unit = 0x10000 + ((unit - 0xd800) << 10U) + (low - 0xdc00);
          }
          append_utf8(out, unit);
          break;
        }
        default:
          return false;
      }
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<Open> open_;
  std::optional<Value> root_;
};

/// A number as Postgres' numeric writes it: no exponent, the scale as given. Nothing where that
/// takes more than 40 digits.
std::optional<std::string> numeric_text(std::string_view number) {
  const bool negative = number.front() == '-';
  if (negative) number.remove_prefix(1);
  long long exponent = 0;
  if (const auto e = number.find_first_of("eE"); e != std::string_view::npos) {
    std::string_view text = number.substr(e + 1);
    if (text.front() == '+') text.remove_prefix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), exponent);
    if (error != std::errc{} || exponent > 1'000 || exponent < -1'000) return std::nullopt;
    number = number.substr(0, e);
  }
  const auto point = number.find('.');
  std::string digits(number.substr(0, point));
  long long scale = 0;
  if (point != std::string_view::npos) {
    digits += number.substr(point + 1);
    scale = static_cast<long long>(number.size() - point - 1);
  }
  scale -= exponent;
  if (scale < 0) {
    // An exponent on zero adds no digits.
    if (digits.find_first_not_of('0') != std::string::npos) {
      digits.append(static_cast<std::size_t>(-scale), '0');
    }
    scale = 0;
  }
  if (static_cast<long long>(digits.size()) <= scale) {
    digits.insert(0, static_cast<std::size_t>(scale + 1) - digits.size(), '0');
  }
  const std::size_t whole = digits.size() - static_cast<std::size_t>(scale);
  const std::size_t leading = std::min(digits.find_first_not_of('0'), whole - 1);
  digits.erase(0, leading);
  if (digits.size() > static_cast<std::size_t>(json_number_max)) return std::nullopt;
  const bool zero = digits.find_first_not_of('0') == std::string::npos;
  if (scale > 0) digits.insert(digits.size() - static_cast<std::size_t>(scale), 1, '.');
  return negative && !zero ? "-" + digits : digits;
}

/// Writes the value; false where a limit is broken. Depth is bounded by depth_max, so recursion is.
bool write(std::string& out, const Value& value, int depth) {
  if (out.size() > static_cast<std::size_t>(json_max)) return false;
  switch (value.kind) {
    case Value::Kind::null:
      out += "null";
      return true;
    case Value::Kind::boolean:
      out += value.boolean ? "true" : "false";
      return true;
    case Value::Kind::string:
      if (value.text.find('\0') != std::string::npos) return false;
      append_string(out, value.text);
      return true;
    case Value::Kind::number: {
      const auto text = numeric_text(value.text);
      if (text) out += *text;
      return text.has_value();
    }
    case Value::Kind::too_deep:
      return false;
    case Value::Kind::array: {
      if (depth == json_depth_max) return false;
      out += '[';
      for (std::size_t i = 0; i < value.items.size(); ++i) {
        if (i > 0) out += ", ";
        if (!write(out, value.items[i], depth + 1)) return false;
      }
      out += ']';
      return true;
    }
    case Value::Kind::object: {
      if (depth == json_depth_max) return false;
      std::vector<const std::pair<std::string, Value>*> members;
      members.reserve(value.members.size());
      for (const auto& member : value.members) members.push_back(&member);
      std::stable_sort(members.begin(), members.end(), [](const auto* a, const auto* b) {
        if (a->first.size() != b->first.size()) return a->first.size() < b->first.size();
        return a->first < b->first;
      });
      out += '{';
      bool first = true;
      for (std::size_t i = 0; i < members.size(); ++i) {
        if (i + 1 < members.size() && members[i + 1]->first == members[i]->first) continue;
        if (!first) out += ", ";
        first = false;
        if (members[i]->first.find('\0') != std::string::npos) return false;
        append_string(out, members[i]->first);
        out += ": ";
        if (!write(out, members[i]->second, depth + 1)) return false;
      }
      out += '}';
      return true;
    }
  }
  return false;
}

}  // namespace

const Value* Value::find(std::string_view key) const noexcept {
  for (auto member = members.rbegin(); member != members.rend(); ++member) {
    if (member->first == key) return &member->second;
  }
  return nullptr;
}

bool Value::is_integer() const noexcept {
  if (kind != Kind::number) return false;
  const std::string_view digits = text.front() == '-' ? std::string_view(text).substr(1) : text;
  return std::all_of(digits.begin(), digits.end(), is_digit);
}

long long Value::integer(bool& fits) const noexcept {
  long long value = 0;
  fits = std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc{};
  if (fits) return value;
  return text.front() == '-' ? std::numeric_limits<long long>::min()
                             : std::numeric_limits<long long>::max();
}

std::optional<Value> parse(std::string_view text) { return Reader(text).read(); }

std::optional<std::string> jsonb_text(const Value& value) {
  std::string out;
  if (!write(out, value, 0) || out.size() > static_cast<std::size_t>(json_max)) return std::nullopt;
  return out;
}

std::optional<std::string> jsonb_text(std::string_view text) {
  if (text == "{}") return std::string(text);
  const auto value = parse(text);
  if (!value) return std::nullopt;
  return jsonb_text(*value);
}

void append_string(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          char escaped[8];
          std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
          out += escaped;
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

bool is_utf8(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

}  // namespace tally::json
