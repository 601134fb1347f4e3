#include "json.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>

namespace tally::model::half {
namespace {

constexpr std::size_t json_depth_max = 32;
constexpr std::size_t json_digits_max = 40;
constexpr std::size_t parse_depth_max =
    64;  // a batch's envelope and 32 levels fit with room to spare
constexpr std::size_t nesting_max = 1'000;  // what nests deeper is no JSON
bool is_json_number(std::string_view text) {
  std::size_t i = 0;
  const auto digits = [&] {
    const std::size_t from = i;
    while (i < text.size() && is_digit(text[i])) ++i;
    return i > from;
  };
  if (i < text.size() && text[i] == '-') ++i;
  if (i < text.size() && text[i] == '0') {
    ++i;
  } else if (!digits()) {
    return false;
  }
  if (i < text.size() && text[i] == '.') {
    ++i;
    if (!digits()) return false;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    if (!digits()) return false;
  }
  return i == text.size();
}

/// Puts 0 for every number and hands out the numbers as they were written: the parser would round
/// them, and refuse 1e400, which is good JSON. Nothing where one is no JSON number.
MaybeText take_numbers_out(std::string_view json, std::deque<Text>& numbers) {
  Text out;
  bool in_string = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string || (c != '-' && !is_digit(c))) {
      out += c;
      if (in_string && c == '\\' && i + 1 < json.size()) out += json[++i];
      if (c == '"') in_string = !in_string;
      continue;
    }
    std::size_t end = json.find_first_not_of("+-.eE0123456789", i);
    if (end == std::string_view::npos) end = json.size();
    const std::string_view token = json.substr(i, end - i);
    if (!is_json_number(token)) return std::nullopt;
    numbers.emplace_back(token);
    out += '0';
    i = end - 1;
  }
  return out;
}

class JsonBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit JsonBuilder(std::deque<Text> numbers) : numbers_(std::move(numbers)) {}
  Json take() { return std::move(root_); }

  bool null() override { return add({}); }
  bool boolean(bool value) override {
    return add(leaf(Json::Kind::boolean, value ? "true" : "false"));
  }
  bool number_integer(number_integer_t) override { return number(); }
  bool number_unsigned(number_unsigned_t) override { return number(); }
  bool number_float(number_float_t, const string_t&) override { return number(); }
  bool string(string_t& value) override { return add(leaf(Json::Kind::string, std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return start(Json::Kind::object); }
  bool start_array(std::size_t) override { return start(Json::Kind::array); }
  bool end_object() override { return end(); }
  bool end_array() override { return end(); }
  bool key(string_t& value) override {
    if (too_deep_ == 0) open_.back().keys.push_back(std::move(value));
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  static Json leaf(Json::Kind kind, Text text) {
    Json value;
    value.kind = kind;
    value.text = std::move(text);
    return value;
  }
  bool number() {
    Text written = std::move(numbers_.front());
    numbers_.pop_front();
    return add(leaf(Json::Kind::number, std::move(written)));
  }
  bool add(Json value) {
    if (too_deep_ > 0) return true;
    if (open_.empty()) {
      root_ = std::move(value);
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return true;
  }
  bool start(Json::Kind kind) {
    if (open_.size() + too_deep_ == nesting_max) return false;
    if (too_deep_ > 0 || open_.size() == parse_depth_max) {
      if (too_deep_ == 0) add(leaf(Json::Kind::too_deep, ""));
      ++too_deep_;
      return true;
    }
    open_.push_back(leaf(kind, ""));
    return true;
  }
  bool end() {
    if (too_deep_ > 0) {
      --too_deep_;
      return true;
    }
    Json value = std::move(open_.back());
    open_.pop_back();
    if (value.kind == Json::Kind::object) keep_last_in_order(value);
    return add(std::move(value));
  }
  static void keep_last_in_order(Json& object) {
    std::map<std::pair<std::size_t, Text>, Json> members;
    for (std::size_t i = 0; i < object.keys.size(); ++i) {
      members.insert_or_assign({object.keys[i].size(), object.keys[i]}, std::move(object.items[i]));
    }
    object.keys.clear();
    object.items.clear();
    for (auto& [key, value] : members) {
      object.keys.push_back(key.second);
      object.items.push_back(std::move(value));
    }
  }

  std::deque<Text> numbers_;
  std::vector<Json> open_;
  std::size_t too_deep_ = 0;
  Json root_;
};

}  // namespace

std::optional<Json> parse_json(std::string_view text) {
  // The parser takes a NUL byte for the end and skips a byte order mark; neither is JSON.
  if (text.find('\0') != std::string_view::npos || text.substr(0, 1) == "\xEF") return std::nullopt;
  std::deque<Text> numbers;
  const MaybeText rest = take_numbers_out(text, numbers);
  if (!rest) return std::nullopt;
  JsonBuilder builder(std::move(numbers));
  if (!nlohmann::json::sax_parse(*rest, &builder)) return std::nullopt;
  return builder.take();
}

Text numeric_text(std::string_view written) {
  const bool negative = written.front() == '-';
  if (negative) written.remove_prefix(1);
  const std::size_t mark = written.find_first_of("eE");
  std::string_view exponent_text = mark == std::string_view::npos ? "" : written.substr(mark + 1);
  const std::string_view mantissa = written.substr(0, mark);
  const std::size_t dot = mantissa.find('.');
  const Text whole(mantissa.substr(0, dot));
  const Text fraction(dot == std::string_view::npos ? "" : mantissa.substr(dot + 1));

  std::int64_t exponent = 0;
  const bool smaller = exponent_text.substr(0, 1) == "-";
  for (const char c : exponent_text) {
    if (is_digit(c)) exponent = std::min<std::int64_t>(exponent * 10 + (c - '0'), 200000);
  }
  if (smaller) exponent = -exponent;

  Text digits = whole + fraction;
  std::int64_t point = static_cast<std::int64_t>(whole.size()) + exponent;
  if (point < 0) {
    digits.insert(0, static_cast<std::size_t>(-point), '0');
    point = 0;
  }
  const auto split = static_cast<std::size_t>(point);
  if (digits.size() < split) digits.append(split - digits.size(), '0');
  Text before = digits.substr(0, split);
  before.erase(0, std::min(before.find_first_not_of('0'), before.size()));
  if (before.empty()) before = "0";
  const Text after = digits.substr(split);
  const bool zero = digits.find_first_not_of('0') == Text::npos;
  return (negative && !zero ? "-" : "") + before + (after.empty() ? "" : "." + after);
}

void write_json_string(std::string_view value, Text& out) {
  out += '"';
  for (const char c : value) {
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
          std::array<char, 8> escape{};
          std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(c));
          out += escape.data();
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

namespace {

/// False where a limit on depth, digits or characters is passed.
bool write_jsonb(const Json& value, std::size_t depth, Text& out) {
  switch (value.kind) {
    case Json::Kind::too_deep:
      return false;
    case Json::Kind::null:
      out += "null";
      return true;
    case Json::Kind::boolean:
      out += value.text;
      return true;
    case Json::Kind::number: {
      const Text text = numeric_text(value.text);
      out += text;
      return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), is_digit)) <=
             json_digits_max;
    }
    case Json::Kind::string:
      write_json_string(value.text, out);
      return !has_nul(value.text);
    case Json::Kind::array:
    case Json::Kind::object:
      break;
  }
  if (depth == json_depth_max) return false;
  const bool object = value.kind == Json::Kind::object;
  out += object ? '{' : '[';
  for (std::size_t i = 0; i < value.items.size(); ++i) {
    if (i > 0) out += ", ";
    if (object) {
      if (has_nul(value.keys[i])) return false;
      write_json_string(value.keys[i], out);
      out += ": ";
    }
    if (!write_jsonb(value.items[i], depth + 1, out)) return false;
  }
  out += object ? '}' : ']';
  return true;
}

}  // namespace

MaybeText jsonb(const Json& value) {
  Text out;
  if (!write_jsonb(value, 0, out) || out.size() > json_bytes_max) return std::nullopt;
  return out;
}

}  // namespace tally::model::half
