#include "model.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <nlohmann/json.hpp>

namespace tally::model {
namespace {

using Text = std::string;
using MaybeText = std::optional<std::string>;
using Micros = std::int64_t;

constexpr std::int64_t credits_max = 2147483647;
constexpr Micros second_us = 1000000;
constexpr Micros day_us = 86400 * second_us;
constexpr std::size_t json_bytes_max = 65536;
constexpr std::size_t json_depth_max = 32;
constexpr std::size_t json_digits_max = 40;
constexpr std::size_t parse_depth_max =
    64;  // a batch's envelope and 32 levels fit with room to spare
constexpr std::size_t batch_operations_max = 1000;

// ----------------------------------------------------------------------------------------------
// JSON

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

bool is_digit(char c) { return c >= '0' && c <= '9'; }

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

/// numeric_out(numeric_in(written)): all digits written out, as many after the point as were meant.
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

MaybeText jsonb(const Json& value) {
  Text out;
  if (!write_jsonb(value, 0, out) || out.size() > json_bytes_max) return std::nullopt;
  return out;
}

// ------------------------------------------------------------------------------------ UUIDs and
// times

// Where hex digits 13 and 14 stand in the text.
constexpr std::size_t version_at = 14;
constexpr std::size_t number_at = 15;

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Lower case, or nothing.
MaybeText uuid(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  Text out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (text[i] != '-') return std::nullopt;
      out += '-';
    } else {
      const int digit = hex_value(text[i]);
      if (digit < 0) return std::nullopt;
      out += "0123456789abcdef"[digit];
    }
  }
  return out;
}

MaybeText uuid(const Json* value) {
  if (value == nullptr || value->kind != Json::Kind::string) return std::nullopt;
  return uuid(value->text);
}

/// A UUID with a version digit from 1 to 7, as an op_id and a new job's id need it.
MaybeText made_uuid(const Json* value) {
  MaybeText id = uuid(value);
  if (id && ((*id)[version_at] < '1' || (*id)[version_at] > '7')) return std::nullopt;
  return id;
}

Text derived_id(Text base, std::size_t number) {
  base[version_at] = '8';
  base[number_at] = "0123456789abcdef"[number & 15];
  return base;
}

/// The op_id of the fail_job by which a sweep fails a job.
Text swept_op_id(const Text& sweep, const Text& job) {
  Text out = sweep;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i] == '-') continue;
    int digit = hex_value(sweep[i]) ^ hex_value(job[i]);
    if (i == version_at) digit = 4;
    if (i == 19) digit = 8 | (digit & 3);
    out[i] = "0123456789abcdef"[digit];
  }
  return out;
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
std::int64_t days_since_epoch(std::int64_t year, std::int64_t month, std::int64_t day) {
  const std::int64_t y = month <= 2 ? year - 1 : year;
  const std::int64_t shifted = (month + 9) % 12;
  return 365 * y + y / 4 - y / 100 + y / 400 + (153 * shifted + 2) / 5 + day - 1 - 719468;
}

bool leap(std::int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

std::int64_t days_in(std::int64_t year, std::int64_t month) {
  constexpr std::array<int, 12> days{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return days[static_cast<std::size_t>(month - 1)] + (month == 2 && leap(year) ? 1 : 0);
}

std::optional<Micros> time_of(std::string_view text) {
  constexpr std::string_view form = "dddd-dd-ddTdd:dd:dd.ddddddZ";
  if (text.size() != form.size()) return std::nullopt;
  for (std::size_t i = 0; i < form.size(); ++i) {
    if (form[i] == 'd' ? !is_digit(text[i]) : text[i] != form[i]) return std::nullopt;
  }
  const auto number = [&](std::size_t from, std::size_t count) {
    std::int64_t value = 0;
    for (std::size_t i = from; i < from + count; ++i) value = value * 10 + (text[i] - '0');
    return value;
  };
  const std::int64_t year = number(0, 4), month = number(5, 2), day = number(8, 2);
  const std::int64_t hour = number(11, 2), minute = number(14, 2), second = number(17, 2);
  if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in(year, month))
    return std::nullopt;
  if (hour > 23 || minute > 59 || second > 59) return std::nullopt;
  return days_since_epoch(year, month, day) * day_us +
         ((hour * 60 + minute) * 60 + second) * second_us + number(20, 6);
}

Text time_text(Micros at) {
  std::int64_t day = at / day_us;
  if (at % day_us < 0) --day;
  const Micros rest = at - day * day_us;
  std::int64_t year =
      1970 + day / 366 - 1;  // not after the year that is sought, before or after 1970
  if (day < 0) year = 1970 + day / 365 - 1;
  while (days_since_epoch(year + 1, 1, 1) <= day) ++year;
  std::int64_t month = 1;
  while (month < 12 && days_since_epoch(year, month + 1, 1) <= day) ++month;
  const std::int64_t seconds = rest / second_us;
  std::array<char, 96> out{};
  std::snprintf(out.data(), out.size(), "%04lld-%02lld-%02lldT%02lld:%02lld:%02lld.%06lldZ",
                static_cast<long long>(year), static_cast<long long>(month),
                static_cast<long long>(day - days_since_epoch(year, month, 1) + 1),
                static_cast<long long>(seconds / 3600), static_cast<long long>(seconds / 60 % 60),
                static_cast<long long>(seconds % 60), static_cast<long long>(rest % second_us));
  return out.data();
}

MaybeText time_text(std::optional<Micros> at) {
  return at ? MaybeText(time_text(*at)) : std::nullopt;
}

// -------------------------------------------------------------------------------- operations'
// fields

using Choices = std::vector<std::string_view>;

const Choices& stages() {
  static const Choices list{"SCRIPTING", "VOICE_GEN", "ALIGNMENT", "VISUAL_PLAN",
                            "IMAGE_GEN", "TIMELINE",  "RENDERING", "PACKAGING"};
  return list;
}

/// 0 to 7 for a stage or its step.
std::optional<std::size_t> stage_index(std::string_view name) {
  const auto found = std::find(stages().begin(), stages().end(), name);
  if (found == stages().end()) return std::nullopt;
  return static_cast<std::size_t>(found - stages().begin());
}

enum class Kind { uuid, made_uuid, text, integer, amount, json, choice, credit_type, ops };

/// How a field may be missing. `kept` and `cleared` are those of the update operations: absent
/// stays, and null is refused (kept) or clears (cleared).
enum class Need { required, optional, kept, cleared };

struct Field {
  std::string_view name;
  Kind kind;
  Need need;
  std::int64_t low = 0;   // of integers
  std::int64_t high = 0;  // of integers; bytes of texts
  Choices choices = {};
  const char* fallback = nullptr;  // the default by which an absent field is compared
};

Field id(std::string_view name, Need need = Need::required) { return {name, Kind::uuid, need}; }
Field text(std::string_view name, std::int64_t bytes, Need need = Need::required) {
  return {name, Kind::text, need, 0, bytes};
}
Field integer(std::string_view name, std::int64_t low, std::int64_t high,
              Need need = Need::required) {
  return {name, Kind::integer, need, low, high};
}
Field amount(std::string_view name, std::int64_t low) {
  return {name, Kind::amount, Need::required, low, credits_max};
}
Field json(std::string_view name, Need need = Need::optional, const char* fallback = nullptr) {
  return {name, Kind::json, need, 0, 0, {}, fallback};
}
Field choice(std::string_view name, Choices choices, Need need = Need::required,
             const char* fallback = nullptr) {
  return {name, Kind::choice, need, 0, 0, std::move(choices), fallback};
}
Field with_default(Field field, const char* fallback) {
  field.fallback = fallback;
  return field;
}

using Fields = std::vector<Field>;

Fields project_fields(bool update) {
  const Need given = update ? Need::kept : Need::required;
  const Need free = update ? Need::cleared : Need::optional;
  return {id("project_id"),
          id("user_id"),
          text("title", 255, given),
          text("prompt_text", 1048576, given),
          choice("niche_preset",
                 {"motivation", "explainer", "facts", "history", "finance", "science"}, given),
          integer("target_minutes", 1, 10, given),
          id("voice_profile_id", free),
          choice("transcript_mode", {"auto", "manual"}, free, update ? nullptr : "auto"),
          text("transcript_text", 1048576, free),
          json("settings", free, update ? nullptr : "{}")};
}

/// On the operations from advance_job to retry_job a trace may name the reservation that is meant.
Fields on_job(Fields fields) {
  fields.push_back(id("job_id"));
  fields.push_back(id("reservation", Need::optional));
  return fields;
}

const std::map<std::string_view, Fields>& operations() {
  constexpr auto opt = Need::optional;
  constexpr std::int64_t ttl_max = 2592000;
  static const std::map<std::string_view, Fields> all{
      {"create_user", {id("user_id"), text("email", 255, opt), text("display_name", 255, opt)}},
      {"update_profile",
       {id("user_id"), text("display_name", 255, Need::cleared),
        text("avatar_url", 65536, Need::cleared), json("notification_prefs", Need::cleared),
        text("stripe_customer_id", 255, Need::cleared)}},
      {"add_credits",
       {id("user_id"),
        amount("amount", 1),
        {"type", Kind::credit_type, Need::required, 0, 255},
        text("note", 65536, opt),
        text("stripe_payment_id", 255, opt)}},
      {"expire_credits",
       {id("user_id"), amount("amount", 1), text("note", 65536, opt),
        text("stripe_payment_id", 255, opt)}},
      {"create_draft",
       {id("draft_id"), text("session_token", 255), id("user_id", opt),
        text("prompt_text", 1048576), text("template_id", 255, opt), json("options", opt, "{}")}},
      {"update_draft",
       {id("draft_id"), text("session_token", 255, opt), id("user_id", opt),
        text("prompt_text", 1048576, Need::kept), text("template_id", 255, Need::cleared),
        json("options", Need::cleared)}},
      {"claim_draft", {text("session_token", 255), id("user_id")}},
      {"purge_expired_drafts", {}},
      {"create_project", project_fields(false)},
      {"update_project", project_fields(true)},
      {"delete_project", {id("project_id"), id("user_id")}},
      {"create_voice_profile",
       {id("voice_profile_id"), id("user_id"), text("name", 255), text("audio_path", 65536),
        with_default(text("provider", 255, opt), "custom"), text("voice_id", 255, opt),
        json("settings", opt, "{}")}},
      {"delete_voice_profile", {id("voice_profile_id"), id("user_id")}},
      {"create_job",
       {{"job_id", Kind::made_uuid, Need::required}, id("project_id"), id("user_id")}},
      {"reserve_credits", {id("user_id"), id("job_id"), amount("amount", 1)}},
      {"advance_job", on_job({choice("to", {"PENDING", "QUEUED", "SCRIPTING", "VOICE_GEN",
                                            "ALIGNMENT", "VISUAL_PLAN", "IMAGE_GEN", "TIMELINE",
                                            "RENDERING", "PACKAGING", "READY", "FAILED"}),
                              text("status_message", 65536, opt)})},
      {"report_progress", on_job({text("step_name", 255), integer("progress_pct", 0, 100),
                                  text("status_message", 65536, opt), text("logs_url", 65536, opt),
                                  json("artifacts_json")})},
      {"add_asset", on_job({id("asset_id"),
                            choice("type", {"video", "audio", "image", "captions", "manifest",
                                            "zip", "thumbnail"}),
                            text("url", 65536), text("storage_path", 65536),
                            integer("size_bytes", 0, std::numeric_limits<std::int64_t>::max(), opt),
                            text("mime_type", 255, opt), json("metadata_json", opt, "{}")})},
      {"finalize_job_credits", on_job({amount("final_cost", 0)})},
      {"release_job_credits", on_job({})},
      {"complete_job",
       on_job({amount("final_cost", 0), text("output_url", 65536, opt), json("manifest_json")})},
      {"fail_job", on_job({text("error_code", 255), text("error_message", 65536, opt)})},
      {"retry_job", on_job({amount("amount", 1)})},
      {"claim_job", {id("job_id"), integer("ttl", 1, ttl_max)}},
      {"renew_claim", {id("job_id"), integer("ttl", 1, ttl_max)}},
      {"drop_claim", {id("job_id")}},
      {"lease_credits",
       {id("lease_id"), id("user_id"), amount("amount", 1), integer("ttl", 1, ttl_max)}},
      {"return_lease", {id("lease_id")}},
      {"sweep", {integer("grace", 1, ttl_max)}},
      {"batch", {{"ops", Kind::ops, Need::required}}},
  };
  return all;
}

bool has_field(std::string_view operation, std::string_view name) {
  const Fields& fields = operations().at(operation);
  return std::any_of(fields.begin(), fields.end(),
                     [&](const Field& field) { return field.name == name; });
}

bool never_in_batch(std::string_view operation) {
  return operation == "batch" || operation == "sweep" || operation == "purge_expired_drafts" ||
         operation == "lease_credits" || operation == "return_lease";
}

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

struct FieldRead {
  MaybeText value;         // where the field is good
  std::string_view error;  // where it is not
};

FieldRead read_integer(const Field& field, const Json& value) {
  if (value.kind != Json::Kind::number) return {{}, invalid_argument};
  if (value.text.find_first_of(".eE") != Text::npos) return {{}, invalid_argument};
  const Text digits = numeric_text(value.text);
  const std::string_view error = field.kind == Kind::amount ? invalid_amount : invalid_argument;
  if (digits.front() == '-' || digits.size() > 19) return {{}, error};
  // 19 digits may pass 64 bits signed, never unsigned.
  const std::uint64_t number = std::stoull(digits);
  if (number < static_cast<std::uint64_t>(field.low) ||
      number > static_cast<std::uint64_t>(field.high)) {
    return {{}, error};
  }
  return {digits, {}};
}

FieldRead read_field(const Field& field, const Json& value) {
  const FieldRead refused{{}, invalid_argument};
  switch (field.kind) {
    case Kind::integer:
    case Kind::amount:
      return read_integer(field, value);
    case Kind::json: {
      const MaybeText out = jsonb(value);
      return out ? FieldRead{out, {}} : refused;
    }
    case Kind::uuid: {
      const MaybeText out = uuid(&value);
      return out ? FieldRead{out, {}} : refused;
    }
    case Kind::made_uuid: {
      const MaybeText out = made_uuid(&value);
      return out ? FieldRead{out, {}} : refused;
    }
    case Kind::ops:
      return {Text(), {}};  // a batch's own matter
    case Kind::text:
    case Kind::choice:
    case Kind::credit_type:
      break;
  }
  if (value.kind != Json::Kind::string || has_nul(value.text)) return refused;
  if (field.kind == Kind::choice) {
    const bool listed =
        std::find(field.choices.begin(), field.choices.end(), value.text) != field.choices.end();
    return listed ? FieldRead{value.text, {}} : refused;
  }
  if (value.text.size() > static_cast<std::size_t>(field.high)) return refused;
  if (value.text.empty() && (field.need == Need::required || field.need == Need::kept))
    return refused;
  if (field.kind == Kind::credit_type) {
    constexpr std::array<std::string_view, 4> types{"purchase", "grant", "subscription", "refund"};
    if (std::find(types.begin(), types.end(), value.text) == types.end()) return {{}, invalid_type};
  }
  return {value.text, {}};
}

/// invalid_argument beats invalid_amount beats invalid_type.
void note_error(std::string_view& worst, std::string_view error) {
  const auto rank = [](std::string_view code) {
    return code == invalid_argument ? 3 : code == invalid_amount ? 2 : code == invalid_type ? 1 : 0;
  };
  if (rank(error) > rank(worst)) worst = error;
}

void read_one(const Field& field, const Json* given, Operation& operation) {
  const bool null = given != nullptr && given->kind == Json::Kind::null;
  // null is itself a JSON value, but no reading makes it one here: it is absence, or it clears.
  if (given == nullptr || null) {
    if (null && field.need == Need::cleared) operation.values[Text(field.name)] = std::nullopt;
    if (field.need == Need::required || (null && field.need == Need::kept)) {
      note_error(operation.field_error, invalid_argument);
    }
    if (field.fallback != nullptr) operation.values[Text(field.name)] = field.fallback;
    return;
  }
  FieldRead read = read_field(field, *given);
  if (!read.error.empty()) {
    note_error(operation.field_error, read.error);
  } else if (field.name == "reservation") {
    operation.reservation = std::move(read.value);
  } else {
    operation.values[Text(field.name)] = std::move(read.value);
  }
}

void read_ops(Operation& batch);

/// `line` has a known op and a good op_id.
Operation read_operation(const Json& line, Micros at) {
  Operation operation;
  operation.name = line.find("op")->text;
  operation.op_id = *made_uuid(line.find("op_id"));
  operation.at = at;
  operation.line = &line;
  for (const Text& key : line.keys) {
    if (key == "op" || key == "op_id" || key == "at") continue;
    if (!has_field(operation.name, key)) note_error(operation.field_error, invalid_argument);
  }
  for (const Field& field : operations().at(operation.name)) {
    read_one(field, line.find(field.name), operation);
  }
  if (operation.name == "update_draft" && !operation.has("session_token") &&
      !operation.has("user_id")) {
    // Where either was given but is malformed, that was noted already.
    note_error(operation.field_error, invalid_argument);
  }
  if (operation.name == "batch") read_ops(operation);
  return operation;
}

bool names_operation(const Json& line) {
  const Json* op = line.find("op");
  return op != nullptr && op->kind == Json::Kind::string && operations().count(op->text) > 0 &&
         made_uuid(line.find("op_id"));
}

/// The operations' names, op_ids and fields as one text, by which batches are compared.
Text ops_text(const std::vector<Operation>& ops) {
  Text out;
  const auto put = [&](std::string_view part) {
    out += std::to_string(part.size()) + ":" + Text(part);
  };
  for (const Operation& op : ops) {
    put(op.name);
    put(op.op_id);
    put(op.field_error);
    for (const auto& [name, value] : op.values) {
      put(name);
      if (value) {
        put(*value);
      } else {
        out += "-";
      }
    }
    out += ";";
  }
  return out;
}

void read_ops(Operation& batch) {
  batch.values.clear();
  const Json* ops = batch.line->find("ops");
  if (ops == nullptr || ops->kind != Json::Kind::array || ops->items.empty() ||
      ops->items.size() > batch_operations_max) {
    batch.well_shaped = false;
    return;
  }
  for (const Json& item : ops->items) {
    if (item.kind != Json::Kind::object || !names_operation(item) || item.find("at") != nullptr ||
        never_in_batch(item.find("op")->text)) {
      batch.well_shaped = false;
      return;
    }
    batch.ops.push_back(read_operation(item, batch.at));
  }
  batch.values["ops"] = ops_text(batch.ops);
}

// ----------------------------------------------------------------------------------------------
// rows

struct Profile {
  MaybeText display_name, avatar_url, notification_prefs, stripe_customer_id;
  Micros created_at = 0, updated_at = 0;
};

struct User {
  MaybeText email;
  Text raw_user_meta_data;
};

struct Entry {
  Text id, type;
  std::int64_t amount = 0;
  MaybeText note;
  Micros created_at = 0;
  MaybeText job_id, stripe_payment_id;
  std::int64_t balance_after = 0;
};

struct Account {
  std::vector<Entry> entries;  // seq is the place, from 1
  std::int64_t balance = 0;
  std::int64_t held = 0;  // the sum of the open holds
};

struct Draft {
  Text session_token;
  MaybeText user_id;
  Text prompt_text;
  MaybeText template_id, options;
  Micros created_at = 0, updated_at = 0, expires_at = 0;
};

struct Project {
  Text user_id, title, prompt_text, niche_preset, target_minutes;
  MaybeText voice_profile_id, transcript_mode, transcript_text, settings;
  Micros created_at = 0, updated_at = 0;
  std::set<Text> jobs;
};

struct Step {
  Text id, state = "pending";
  std::int64_t progress_pct = 0;
  MaybeText status_message, error_message, logs_url, artifacts_json = "{}";
  std::optional<Micros> started_at, finished_at;
};

struct Job {
  Text project_id, user_id, status = "PENDING";
  std::int64_t progress = 0;
  MaybeText status_message;
  std::int64_t cost_credits_reserved = 0;
  std::optional<std::int64_t> cost_credits_final;
  MaybeText failed_step, error_code, error_message, output_url, manifest_json;
  Micros created_at = 0;
  std::optional<Micros> started_at, finished_at;
  std::array<Step, 8> steps;

  std::vector<std::size_t> entries;  // places in its owner's account
  std::set<Text> assets;
  MaybeText reservation;              // op_id that opened the latest one
  std::optional<Micros> claim_until;  // until a claim ends or ended; none when dropped or over
  Micros active_at = 0;               // the latest `at` of an operation that changed something
};

struct Asset {
  Text job_id, type, url, storage_path;
  MaybeText size_bytes, mime_type, metadata_json;
  Micros created_at = 0;
};

struct VoiceProfile {
  Text user_id, name, audio_path;
  MaybeText provider, voice_id, settings;
  Micros created_at = 0;
};

struct Payment {
  Text operation, user_id, amount;
  MaybeText type;
  bool operator==(const Payment& other) const {
    return operation == other.operation && user_id == other.user_id && amount == other.amount &&
           type == other.type;
  }
};

/// What I6 keeps of an operation that was ok.
struct Record {
  Text operation;
  Values values;
  MaybeText id;
};

struct Answer {
  std::string_view code;
  MaybeText id = {};
  std::optional<std::size_t> index = {};
  bool remember = true;
};

const Answer ok_answer{ok_code};

}  // namespace

// ---------------------------------------------------------------------------------------------
// state

class Model::State {
 public:
  Text apply(std::string_view line);
  std::vector<Row> rows(std::string_view table) const;
  std::optional<JobView> job(const Text& job_id) const;
  std::optional<AccountView> account(const Text& user_id) const;

 private:
  using Apply = Answer (State::*)(const Operation&);
  static const std::map<std::string_view, Apply>& functions();

  // I6 and the order of checks
  Answer perform(const Operation& operation);
  Answer perform_batch(const Operation& batch);
  Answer apply_ops(const Operation& batch);
  Text user_of(const Operation& operation) const;
  MaybeText batch_user(const Operation& batch) const;
  const Record* record(const Text& user, const Text& op_id) const;
  static Answer repeated(const Record& before, const Operation& operation);
  Answer job_is_gone(const Operation& operation) const;
  void remember(const Text& user, const Operation& operation, const Answer& answer);
  std::optional<std::int64_t> balance_named(const Json& line) const;

  // one function an operation
  Answer create_user(const Operation&);
  Answer update_profile(const Operation&);
  Answer add_credits(const Operation&);
  Answer expire_credits(const Operation&);
  Answer create_draft(const Operation&);
  Answer update_draft(const Operation&);
  Answer claim_draft(const Operation&);
  Answer purge_expired_drafts(const Operation&);
  Answer create_project(const Operation&);
  Answer update_project(const Operation&);
  Answer delete_project(const Operation&);
  Answer create_voice_profile(const Operation&);
  Answer delete_voice_profile(const Operation&);
  Answer create_job(const Operation&);
  Answer reserve_credits(const Operation&);
  Answer advance_job(const Operation&);
  Answer report_progress(const Operation&);
  Answer add_asset(const Operation&);
  Answer finalize_job_credits(const Operation&);
  Answer release_job_credits(const Operation&);
  Answer complete_job(const Operation&);
  Answer fail_job(const Operation&);
  Answer retry_job(const Operation&);
  Answer claim_job(const Operation&);
  Answer renew_claim(const Operation&);
  Answer drop_claim(const Operation&);
  Answer sweep(const Operation&);

  // what they share
  const Job* find_job(const Operation&) const;
  static bool stale(const Job& job, const Operation&);
  static bool claimed(const Job& job, Micros at) {
    return job.claim_until && at < *job.claim_until;
  }
  static Text next_status(const Job& job);
  static void recompute_progress(Job& job);
  Job& change_job(const Operation&);
  std::int64_t hold(const Job& job) const;
  std::string_view settle_refusal(const Job& job, std::int64_t cost) const;
  void open_hold(const Operation&, Job& job);
  void settle(const Operation&, Job& job, std::int64_t cost);
  std::size_t release(const Operation&, Job& job);
  void append(const Operation&, std::size_t number, const Text& user, Job* job,
              std::string_view type, std::int64_t amount, MaybeText note,
              MaybeText stripe_payment_id);
  Text free_id(Text wanted, const std::unordered_set<Text>& taken);
  void take_id(std::unordered_set<Text>& taken, const Text& id);
  bool voice_profile_missing(const Operation&) const;

  /// A map's value, to be changed or made; while a batch runs, remembered as it was.
  template <class Map>
  typename Map::mapped_type& edit(Map& map, const typename Map::key_type& key) {
    if (in_batch_) {
      const auto found = map.find(key);
      if (found == map.end()) {
        undo_.push_back([&map, key] { map.erase(key); });
      } else {
        undo_.push_back([&map, key, old = found->second] { map[key] = old; });
      }
    }
    return map[key];
  }
  template <class Map>
  void remove(Map& map, const typename Map::key_type& key) {
    edit(map, key);
    map.erase(key);
  }

  std::map<Text, User> users_;
  std::map<Text, Profile> profiles_;
  std::map<Text, Account> accounts_;
  std::map<Text, Draft> drafts_;
  std::map<Text, Project> projects_;
  std::map<Text, Job> jobs_;
  std::map<Text, Asset> assets_;
  std::map<Text, VoiceProfile> voice_profiles_;
  std::map<Text, Payment> payments_;
  std::map<Text, Text> emails_;                               // e-mail to user
  std::unordered_map<Text, std::map<Text, Record>> records_;  // op_id, then user ("" for none)
  std::unordered_set<Text> entry_ids_, step_ids_;
  bool in_batch_ = false;
  std::vector<std::function<void()>> undo_;
  std::uint64_t random_ = 0;
  std::uint64_t lines_ = 0;
};

const std::map<std::string_view, Model::State::Apply>& Model::State::functions() {
  static const std::map<std::string_view, Apply> all{
      {"create_user", &State::create_user},
      {"update_profile", &State::update_profile},
      {"add_credits", &State::add_credits},
      {"expire_credits", &State::expire_credits},
      {"create_draft", &State::create_draft},
      {"update_draft", &State::update_draft},
      {"claim_draft", &State::claim_draft},
      {"purge_expired_drafts", &State::purge_expired_drafts},
      {"create_project", &State::create_project},
      {"update_project", &State::update_project},
      {"delete_project", &State::delete_project},
      {"create_voice_profile", &State::create_voice_profile},
      {"delete_voice_profile", &State::delete_voice_profile},
      {"create_job", &State::create_job},
      {"reserve_credits", &State::reserve_credits},
      {"advance_job", &State::advance_job},
      {"report_progress", &State::report_progress},
      {"add_asset", &State::add_asset},
      {"finalize_job_credits", &State::finalize_job_credits},
      {"release_job_credits", &State::release_job_credits},
      {"complete_job", &State::complete_job},
      {"fail_job", &State::fail_job},
      {"retry_job", &State::retry_job},
      {"claim_job", &State::claim_job},
      {"renew_claim", &State::renew_claim},
      {"drop_claim", &State::drop_claim},
      {"sweep", &State::sweep},
  };
  return all;
}

// ------------------------------------------------------------------------- lines and order of
// checks

Text Model::State::apply(std::string_view line) {
  ++lines_;
  const std::optional<Json> json = parse_json(line);
  const Json* at_text = json && json->kind == Json::Kind::object ? json->find("at") : nullptr;
  const std::optional<Micros> at = at_text != nullptr && at_text->kind == Json::Kind::string
                                       ? time_of(at_text->text)
                                       : std::nullopt;
  if (!at || !names_operation(*json)) {
    return R"({"op_id":null,"result":"invalid_argument","balance":null,"line":)" +
           std::to_string(lines_) + "}";
  }
  const Operation operation = read_operation(*json, *at);
  const Answer answer = operation.name == "batch" ? perform_batch(operation) : perform(operation);
  const std::optional<std::int64_t> balance = balance_named(*json);
  Text out = R"({"op_id":")" + operation.op_id + R"(","result":")" + Text(answer.code) +
             R"(","balance":)" + (balance ? std::to_string(*balance) : "null");
  if (answer.id) out += R"(,"id":")" + *answer.id + "\"";
  if (answer.index) out += R"(,"index":)" + std::to_string(*answer.index);
  return out + "}";
}

/// Of the user whom the line names, else of its job's owner; for a batch of the first op that gives
/// one.
std::optional<std::int64_t> Model::State::balance_named(const Json& line) const {
  if (line.find("op") != nullptr && line.find("op")->text == "batch") {
    const Json* ops = line.find("ops");
    if (ops == nullptr || ops->kind != Json::Kind::array) return std::nullopt;
    for (const Json& op : ops->items) {
      if (op.kind != Json::Kind::object) continue;
      const Json* name = op.find("op");
      if (name != nullptr && name->text == "batch") continue;
      if (const auto balance = balance_named(op)) return balance;
    }
    return std::nullopt;
  }
  if (const MaybeText user = uuid(line.find("user_id")); user && users_.count(*user) > 0) {
    return accounts_.at(*user).balance;
  }
  if (const MaybeText job_id = uuid(line.find("job_id")); job_id && jobs_.count(*job_id) > 0) {
    return accounts_.at(jobs_.at(*job_id).user_id).balance;
  }
  return std::nullopt;
}

/// Whose op_id it is: "" for nobody's.
Text Model::State::user_of(const Operation& operation) const {
  if (has_field(operation.name, "user_id")) {
    if (const MaybeText user = uuid(operation.line->find("user_id"))) return *user;
  }
  if (has_field(operation.name, "job_id")) {
    const MaybeText job_id = uuid(operation.line->find("job_id"));
    if (job_id && jobs_.count(*job_id) > 0) return jobs_.at(*job_id).user_id;
  }
  return "";
}

const Record* Model::State::record(const Text& user, const Text& op_id) const {
  const auto by_op_id = records_.find(op_id);
  if (by_op_id == records_.end()) return nullptr;
  const auto by_user = by_op_id->second.find(user);
  return by_user == by_op_id->second.end() ? nullptr : &by_user->second;
}

Answer Model::State::repeated(const Record& before, const Operation& operation) {
  const bool same = operation.field_error.empty() && before.operation == operation.name &&
                    before.values == operation.values;
  if (!same) return {"operation_conflict"};
  return {ok_code, before.id};
}

void Model::State::remember(const Text& user, const Operation& operation, const Answer& answer) {
  edit(records_, operation.op_id)[user] = Record{operation.name, operation.values, answer.id};
}

/// A job that was deleted takes its owner with it; what was applied on it is still known by its
/// op_id.
Answer Model::State::job_is_gone(const Operation& operation) const {
  const auto by_op_id = records_.find(operation.op_id);
  if (by_op_id != records_.end()) {
    for (const auto& [user, before] : by_op_id->second) {
      if (repeated(before, operation).code == ok_code) return ok_answer;
    }
  }
  return {"job_not_found"};
}

Answer Model::State::perform(const Operation& operation) {
  if (operation.name == "lease_credits" || operation.name == "return_lease")
    return {"not_permitted"};
  const Text user = user_of(operation);
  const bool by_job_alone =
      has_field(operation.name, "job_id") && !has_field(operation.name, "user_id");
  if (by_job_alone && operation.field_error.empty() && jobs_.count(operation.text("job_id")) == 0) {
    return job_is_gone(operation);
  }
  if (const Record* before = record(user, operation.op_id)) return repeated(*before, operation);
  if (!operation.field_error.empty()) return {operation.field_error};
  const Answer answer = (this->*functions().at(operation.name))(operation);
  if (answer.code == ok_code && answer.remember) remember(user, operation, answer);
  return answer;
}

/// The one user of a batch's ops ("" for nobody's); nothing where they differ.
MaybeText Model::State::batch_user(const Operation& batch) const {
  std::map<Text, Text> made;  // jobs that the batch makes, and whose they will be
  std::set<Text> users;
  for (const Operation& op : batch.ops) {
    const MaybeText job_id =
        has_field(op.name, "job_id") ? uuid(op.line->find("job_id")) : std::nullopt;
    const bool names_user = has_field(op.name, "user_id") && uuid(op.line->find("user_id"));
    if (names_user || !job_id) {
      users.insert(user_of(op));
    } else if (made.count(*job_id) > 0) {
      users.insert(made.at(*job_id));
    } else if (jobs_.count(*job_id) > 0) {
      users.insert(jobs_.at(*job_id).user_id);
    }
    if (op.name == "create_job" && names_user && job_id) made[*job_id] = user_of(op);
  }
  if (users.size() > 1) return std::nullopt;
  return users.empty() ? Text() : *users.begin();
}

Answer Model::State::perform_batch(const Operation& batch) {
  if (!batch.well_shaped) return {invalid_argument};
  const MaybeText user = batch_user(batch);
  if (!user) return {invalid_argument};
  // Of nobody, it may be of jobs that are gone, as one operation may be.
  if (user->empty() && batch.field_error.empty() && job_is_gone(batch).code == ok_code)
    return ok_answer;
  if (const Record* before = record(*user, batch.op_id)) return repeated(*before, batch);
  if (!batch.field_error.empty()) return {batch.field_error};
  in_batch_ = true;
  const Answer answer = apply_ops(batch);
  in_batch_ = false;
  if (answer.code == ok_code) {
    remember(*user, batch, answer);
  } else {
    for (auto step = undo_.rbegin(); step != undo_.rend(); ++step) (*step)();
  }
  undo_.clear();
  return answer;
}

Answer Model::State::apply_ops(const Operation& batch) {
  for (std::size_t i = 0; i < batch.ops.size(); ++i) {
    const Operation& op = batch.ops[i];
    const Answer answer = op.op_id == batch.op_id ? Answer{"operation_conflict"} : perform(op);
    if (answer.code != ok_code) return {answer.code, {}, i};
  }
  return ok_answer;
}

// --------------------------------------------------------------------------------------------
// ledger

Text Model::State::free_id(Text wanted, const std::unordered_set<Text>& taken) {
  while (taken.count(wanted) > 0) {  // splitmix64, as a version 4 UUID
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i] == '-') continue;
      std::uint64_t z = (random_ += 0x9e3779b97f4a7c15u);
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      wanted[i] = "0123456789abcdef"[(z ^ (z >> 31)) & 15];
    }
    wanted[version_at] = '4';
    wanted[19] = "89ab"[hex_value(wanted[19]) & 3];
  }
  return wanted;
}

void Model::State::take_id(std::unordered_set<Text>& taken, const Text& id) {
  taken.insert(id);
  if (in_batch_) undo_.push_back([&taken, id] { taken.erase(id); });
}

void Model::State::append(const Operation& operation, std::size_t number, const Text& user,
                          Job* job, std::string_view type, std::int64_t amount, MaybeText note,
                          MaybeText stripe_payment_id) {
  Account& account = accounts_.at(user);
  if (in_batch_) {
    undo_.push_back([&account, balance = account.balance, held = account.held] {
      account.entries.pop_back();
      account.balance = balance;
      account.held = held;
    });
  }
  Entry entry;
  entry.id = free_id(derived_id(operation.op_id, number), entry_ids_);
  take_id(entry_ids_, entry.id);
  entry.type = type;
  entry.amount = amount;
  entry.note = std::move(note);
  entry.created_at = operation.at;
  entry.stripe_payment_id = std::move(stripe_payment_id);
  entry.balance_after = account.balance += amount;
  if (job == nullptr) {
    account.entries.push_back(std::move(entry));
    return;
  }
  entry.job_id = operation.text("job_id");
  const std::int64_t held_before = hold(*job);
  job->entries.push_back(account.entries.size());
  account.entries.push_back(std::move(entry));
  account.held += hold(*job) - held_before;
}

std::int64_t Model::State::hold(const Job& job) const {
  const std::vector<Entry>& entries = accounts_.at(job.user_id).entries;
  std::int64_t sum = 0;
  bool opened = false;
  for (const std::size_t place : job.entries) {
    const Entry& entry = entries[place];
    if (entry.type == "reserve" && entry.amount < 0) {
      opened = true;
      sum = 0;
    }
    if (opened && (entry.type == "reserve" || entry.type == "refund")) sum += entry.amount;
  }
  return -sum;
}

void Model::State::open_hold(const Operation& operation, Job& job) {
  const std::int64_t amount = operation.number("amount");
  append(operation, 0, job.user_id, &job, "reserve", -amount, "Reserved for job", {});
  job.cost_credits_reserved = amount;
  job.cost_credits_final.reset();
  job.reservation = operation.op_id;
}

/// Why the job's hold cannot be settled at this cost; empty where it can.
std::string_view Model::State::settle_refusal(const Job& job, std::int64_t cost) const {
  const std::int64_t held = hold(job);
  if (held == 0) return job.cost_credits_final ? "already_finalized" : "no_reservation";
  if (accounts_.at(job.user_id).balance < cost - held) return "insufficient_credits";
  return {};
}

void Model::State::settle(const Operation& operation, Job& job, std::int64_t cost) {
  const std::int64_t held = hold(job);
  append(operation, 0, job.user_id, &job, "reserve", std::min(held, cost),
         "Reservation converted to usage", {});
  append(operation, 1, job.user_id, &job, "usage", -cost, "Video generation", {});
  if (held > cost) {
    append(operation, 2, job.user_id, &job, "refund", held - cost, "Unused credits refund", {});
  }
  job.cost_credits_final = cost;
}

/// Returns the number of entries that it appended.
std::size_t Model::State::release(const Operation& operation, Job& job) {
  const std::int64_t held = hold(job);
  if (held == 0) return 0;
  append(operation, 0, job.user_id, &job, "refund", held, "Job failed - credits released", {});
  return 1;
}

// ----------------------------------------------------------------------------------- users,
// credits

Answer Model::State::create_user(const Operation& op) {
  const Text& user_id = op.text("user_id");
  const MaybeText email = op.maybe("email");
  if (users_.count(user_id) > 0 || (email && emails_.count(*email) > 0)) return {"user_exists"};
  const MaybeText name = op.maybe("display_name");
  User& user = edit(users_, user_id);
  user.email = email;
  user.raw_user_meta_data = "{}";
  if (name) {
    user.raw_user_meta_data = R"({"name": )";
    write_json_string(*name, user.raw_user_meta_data);
    user.raw_user_meta_data += "}";
  }
  if (email) edit(emails_, *email) = user_id;
  Profile& profile = edit(profiles_, user_id);
  profile.display_name = name.value_or("User");
  profile.notification_prefs =
      R"({"marketing": false, "job_failed": true, "low_credits": true, "job_complete": true})";
  profile.created_at = profile.updated_at = op.at;
  edit(accounts_, user_id);
  append(op, 0, user_id, nullptr, "grant", 10, "Welcome bonus: 10 trial credits", {});
  return ok_answer;
}

Answer Model::State::update_profile(const Operation& op) {
  if (users_.count(op.text("user_id")) == 0) return {"user_not_found"};
  Profile& profile = edit(profiles_, op.text("user_id"));
  if (op.has("display_name")) profile.display_name = op.maybe("display_name");
  if (op.has("avatar_url")) profile.avatar_url = op.maybe("avatar_url");
  if (op.has("notification_prefs")) profile.notification_prefs = op.maybe("notification_prefs");
  if (op.has("stripe_customer_id")) profile.stripe_customer_id = op.maybe("stripe_customer_id");
  profile.updated_at = op.at;
  return ok_answer;
}

Answer Model::State::add_credits(const Operation& op) {
  const Text& user_id = op.text("user_id");
  if (users_.count(user_id) == 0) return {"user_not_found"};
  const MaybeText payment_id = op.maybe("stripe_payment_id");
  const Payment payment{op.name, user_id, op.text("amount"), op.text("type")};
  if (payment_id && payments_.count(*payment_id) > 0) {
    return payments_.at(*payment_id) == payment ? ok_answer : Answer{"payment_conflict"};
  }
  const Account& account = accounts_.at(user_id);
  if (account.balance + account.held + op.number("amount") > credits_max)
    return {"balance_overflow"};
  if (payment_id) edit(payments_, *payment_id) = payment;
  append(op, 0, user_id, nullptr, op.text("type"), op.number("amount"), op.maybe("note"),
         payment_id);
  return ok_answer;
}

Answer Model::State::expire_credits(const Operation& op) {
  const Text& user_id = op.text("user_id");
  if (users_.count(user_id) == 0) return {"user_not_found"};
  const MaybeText payment_id = op.maybe("stripe_payment_id");
  const Payment payment{op.name, user_id, op.text("amount"), {}};
  if (payment_id && payments_.count(*payment_id) > 0) {
    return payments_.at(*payment_id) == payment ? ok_answer : Answer{"payment_conflict"};
  }
  if (accounts_.at(user_id).balance < op.number("amount")) return {"insufficient_credits"};
  if (payment_id) edit(payments_, *payment_id) = payment;
  append(op, 0, user_id, nullptr, "expire", -op.number("amount"), op.maybe("note"), payment_id);
  return ok_answer;
}

// --------------------------------------------------------------------------------------------
// drafts

Answer Model::State::create_draft(const Operation& op) {
  const MaybeText user_id = op.maybe("user_id");
  if (user_id && users_.count(*user_id) == 0) return {"user_not_found"};
  if (drafts_.count(op.text("draft_id")) > 0) return {"already_exists"};
  Draft& draft = edit(drafts_, op.text("draft_id"));
  draft.session_token = op.text("session_token");
  draft.user_id = user_id;
  draft.prompt_text = op.text("prompt_text");
  draft.template_id = op.maybe("template_id");
  draft.options = op.maybe("options");
  draft.created_at = draft.updated_at = op.at;
  draft.expires_at = std::min(op.at + 7 * day_us, *time_of("9999-12-31T23:59:59.999999Z"));
  return ok_answer;
}

Answer Model::State::update_draft(const Operation& op) {
  const auto found = drafts_.find(op.text("draft_id"));
  if (found == drafts_.end()) return {"draft_not_found"};
  const Draft& before = found->second;
  if (before.user_id) {  // a token proves nothing once a draft is claimed
    if (op.maybe("user_id") != before.user_id) return {"not_owner"};
  } else {
    if (op.maybe("session_token") != before.session_token) return {"not_owner"};
    if (before.expires_at <= op.at) return {"draft_expired"};
  }
  Draft& draft = edit(drafts_, op.text("draft_id"));
  if (op.has("prompt_text")) draft.prompt_text = op.text("prompt_text");
  if (op.has("template_id")) draft.template_id = op.maybe("template_id");
  if (op.has("options")) draft.options = op.maybe("options");
  draft.updated_at = op.at;
  return ok_answer;
}

Answer Model::State::claim_draft(const Operation& op) {
  if (users_.count(op.text("user_id")) == 0) return {"user_not_found"};
  std::vector<Text> claimable;
  for (const auto& [draft_id, draft] : drafts_) {
    if (!draft.user_id && draft.session_token == op.text("session_token") &&
        draft.expires_at > op.at) {
      claimable.push_back(draft_id);
    }
  }
  if (claimable.empty()) return {"draft_not_found"};
  Text newest = claimable.front();
  for (const Text& draft_id : claimable) {  // by ascending id, so that the greatest wins a tie
    if (drafts_.at(draft_id).created_at >= drafts_.at(newest).created_at) newest = draft_id;
    Draft& draft = edit(drafts_, draft_id);
    draft.user_id = op.text("user_id");
    draft.updated_at = op.at;
  }
  return {ok_code, newest};
}

Answer Model::State::purge_expired_drafts(const Operation& op) {
  for (auto draft = drafts_.begin(); draft != drafts_.end();) {
    const bool over = !draft->second.user_id && draft->second.expires_at <= op.at;
    draft = over ? drafts_.erase(draft) : std::next(draft);
  }
  return ok_answer;
}

// -------------------------------------------------------------------------- projects, voice
// profiles

bool Model::State::voice_profile_missing(const Operation& op) const {
  const MaybeText wanted = op.maybe("voice_profile_id");
  if (!wanted) return false;
  const auto found = voice_profiles_.find(*wanted);
  return found == voice_profiles_.end() || found->second.user_id != op.text("user_id");
}

Answer Model::State::create_project(const Operation& op) {
  if (users_.count(op.text("user_id")) == 0) return {"user_not_found"};
  if (voice_profile_missing(op)) return {"voice_profile_not_found"};
  if (projects_.count(op.text("project_id")) > 0) return {"already_exists"};
  Project& project = edit(projects_, op.text("project_id"));
  project.user_id = op.text("user_id");
  project.title = op.text("title");
  project.prompt_text = op.text("prompt_text");
  project.niche_preset = op.text("niche_preset");
  project.target_minutes = op.text("target_minutes");
  project.voice_profile_id = op.maybe("voice_profile_id");
  project.transcript_mode = op.maybe("transcript_mode");
  project.transcript_text = op.maybe("transcript_text");
  project.settings = op.maybe("settings");
  project.created_at = project.updated_at = op.at;
  return ok_answer;
}

Answer Model::State::update_project(const Operation& op) {
  const auto found = projects_.find(op.text("project_id"));
  if (found == projects_.end()) return {"project_not_found"};
  if (voice_profile_missing(op)) return {"voice_profile_not_found"};
  if (found->second.user_id != op.text("user_id")) return {"not_owner"};
  Project& project = edit(projects_, op.text("project_id"));
  if (op.has("title")) project.title = op.text("title");
  if (op.has("prompt_text")) project.prompt_text = op.text("prompt_text");
  if (op.has("niche_preset")) project.niche_preset = op.text("niche_preset");
  if (op.has("target_minutes")) project.target_minutes = op.text("target_minutes");
  if (op.has("voice_profile_id")) project.voice_profile_id = op.maybe("voice_profile_id");
  if (op.has("transcript_mode")) project.transcript_mode = op.maybe("transcript_mode");
  if (op.has("transcript_text")) project.transcript_text = op.maybe("transcript_text");
  if (op.has("settings")) project.settings = op.maybe("settings");
  project.updated_at = op.at;
  return ok_answer;
}

Answer Model::State::delete_project(const Operation& op) {
  const auto found = projects_.find(op.text("project_id"));
  if (found == projects_.end()) return {"project_not_found"};
  if (found->second.user_id != op.text("user_id")) return {"not_owner"};
  const std::set<Text> doomed = found->second.jobs;
  for (const Text& job_id : doomed) {
    if (hold(jobs_.at(job_id)) != 0) return {"illegal_transition"};
  }
  std::vector<Entry>& entries = accounts_.at(op.text("user_id")).entries;
  for (const Text& job_id : doomed) {
    const Job job = jobs_.at(job_id);
    for (const std::size_t place : job.entries) {
      if (in_batch_) undo_.push_back([&entries, place, job_id] { entries[place].job_id = job_id; });
      entries[place].job_id.reset();
    }
    for (const Text& asset_id : job.assets) remove(assets_, asset_id);
    for (const Step& step : job.steps) {
      step_ids_.erase(step.id);
      if (in_batch_) undo_.push_back([this, step_id = step.id] { step_ids_.insert(step_id); });
    }
    remove(jobs_, job_id);
  }
  remove(projects_, op.text("project_id"));
  return ok_answer;
}

Answer Model::State::create_voice_profile(const Operation& op) {
  if (users_.count(op.text("user_id")) == 0) return {"user_not_found"};
  if (voice_profiles_.count(op.text("voice_profile_id")) > 0) return {"already_exists"};
  VoiceProfile& voice = edit(voice_profiles_, op.text("voice_profile_id"));
  voice.user_id = op.text("user_id");
  voice.name = op.text("name");
  voice.audio_path = op.text("audio_path");
  voice.provider = op.maybe("provider");
  voice.voice_id = op.maybe("voice_id");
  voice.settings = op.maybe("settings");
  voice.created_at = op.at;
  return ok_answer;
}

Answer Model::State::delete_voice_profile(const Operation& op) {
  const Text& voice_profile_id = op.text("voice_profile_id");
  if (users_.count(op.text("user_id")) == 0) return {"user_not_found"};
  const auto found = voice_profiles_.find(voice_profile_id);
  if (found == voice_profiles_.end()) return {"voice_profile_not_found"};
  if (found->second.user_id != op.text("user_id")) return {"not_owner"};
  for (const auto& [project_id, project] : projects_) {
    if (project.voice_profile_id != voice_profile_id) continue;
    Project& cleared = edit(projects_, project_id);
    cleared.voice_profile_id.reset();
    cleared.updated_at = op.at;
  }
  remove(voice_profiles_, voice_profile_id);
  return ok_answer;
}

// ----------------------------------------------------------------------------------------------
// jobs

const Job* Model::State::find_job(const Operation& op) const {
  const auto found = jobs_.find(op.text("job_id"));
  return found == jobs_.end() ? nullptr : &found->second;
}

bool Model::State::stale(const Job& job, const Operation& op) {
  return op.reservation && op.reservation != job.reservation;
}

/// The operation's job, to be changed by it.
Job& Model::State::change_job(const Operation& op) {
  Job& job = edit(jobs_, op.text("job_id"));
  job.active_at = std::max(job.active_at, op.at);
  return job;
}

void Model::State::recompute_progress(Job& job) {
  std::int64_t sum = 0;
  for (const Step& step : job.steps) sum += step.progress_pct;
  job.progress = sum / 8;
}

/// Where advance_job may take the job, its hold aside; empty where nowhere.
Text Model::State::next_status(const Job& job) {
  if (job.status == "PENDING") return "QUEUED";
  if (job.status == "PACKAGING") return "READY";
  if (job.status == "QUEUED") {
    for (std::size_t i = 0; i < job.steps.size(); ++i) {
      if (job.steps[i].state != "succeeded") return Text(stages()[i]);
    }
  }
  const auto stage = stage_index(job.status);
  return stage ? Text(stages()[*stage + 1]) : Text();
}

Answer Model::State::create_job(const Operation& op) {
  const Text& job_id = op.text("job_id");
  const auto found = projects_.find(op.text("project_id"));
  if (found == projects_.end()) return {"project_not_found"};
  if (jobs_.count(job_id) > 0) return {"already_exists"};
  if (found->second.user_id != op.text("user_id")) return {"not_owner"};
  edit(projects_, op.text("project_id")).jobs.insert(job_id);
  Job& job = edit(jobs_, job_id);
  job.project_id = op.text("project_id");
  job.user_id = op.text("user_id");
  job.created_at = job.active_at = op.at;
  for (std::size_t i = 0; i < job.steps.size(); ++i) {
    job.steps[i].id = free_id(derived_id(job_id, i + 1), step_ids_);
    take_id(step_ids_, job.steps[i].id);
  }
  return ok_answer;
}

Answer Model::State::reserve_credits(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (before->user_id != op.text("user_id")) return {"not_owner"};
  if (before->status != "PENDING") return {"illegal_transition"};
  if (hold(*before) != 0) return {"already_reserved"};
  if (accounts_.at(before->user_id).balance < op.number("amount")) return {"insufficient_credits"};
  open_hold(op, change_job(op));
  return ok_answer;
}

Answer Model::State::advance_job(const Operation& op) {
  const Job* before = find_job(op);
  const Text& to = op.text("to");
  if (before == nullptr) return {"job_not_found"};
  if (stale(*before, op)) return {"stale_reservation"};
  if (next_status(*before) != to) return {"illegal_transition"};
  if (to == "QUEUED" && hold(*before) == 0) return {"reservation_required"};
  if (to == "READY" && (hold(*before) != 0 || !before->cost_credits_final))
    return {"illegal_transition"};

  Job& job = change_job(op);
  if (const auto left = stage_index(job.status)) {
    Step& step = job.steps[*left];
    step.state = "succeeded";
    step.progress_pct = 100;
    step.finished_at = op.at;
  }
  if (const auto entered = stage_index(to)) {
    Step& step = job.steps[*entered];
    step.state = "started";
    step.progress_pct = 0;
    step.started_at = op.at;
    if (!job.started_at) job.started_at = op.at;
  }
  if (to == "READY") {
    job.finished_at = op.at;
    job.claim_until.reset();
  }
  job.status = to;
  if (op.has("status_message")) job.status_message = op.text("status_message");
  recompute_progress(job);
  return ok_answer;
}

Answer Model::State::report_progress(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  const auto stage = stage_index(op.text("step_name"));
  if (!stage) return {"step_not_found"};
  if (stale(*before, op)) return {"stale_reservation"};
  const Step& old = before->steps[*stage];
  if (old.state != "started") return {"illegal_transition"};

  Step step = old;
  step.progress_pct = std::max(old.progress_pct, op.number("progress_pct"));
  if (op.has("status_message")) step.status_message = op.text("status_message");
  if (op.has("logs_url")) step.logs_url = op.text("logs_url");
  if (op.has("artifacts_json")) step.artifacts_json = op.text("artifacts_json");
  if (step.progress_pct == old.progress_pct && step.status_message == old.status_message &&
      step.logs_url == old.logs_url && step.artifacts_json == old.artifacts_json) {
    return {ok_code, {}, {}, false};
  }
  Job& job = change_job(op);
  job.steps[*stage] = step;
  recompute_progress(job);
  return ok_answer;
}

Answer Model::State::add_asset(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (assets_.count(op.text("asset_id")) > 0) return {"already_exists"};
  if (stale(*before, op)) return {"stale_reservation"};
  change_job(op).assets.insert(op.text("asset_id"));
  Asset& asset = edit(assets_, op.text("asset_id"));
  asset.job_id = op.text("job_id");
  asset.type = op.text("type");
  asset.url = op.text("url");
  asset.storage_path = op.text("storage_path");
  asset.size_bytes = op.maybe("size_bytes");
  asset.mime_type = op.maybe("mime_type");
  asset.metadata_json = op.maybe("metadata_json");
  asset.created_at = op.at;
  return ok_answer;
}

Answer Model::State::finalize_job_credits(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (stale(*before, op)) return {"stale_reservation"};
  const std::string_view refusal = settle_refusal(*before, op.number("final_cost"));
  if (!refusal.empty()) return {refusal};
  settle(op, change_job(op), op.number("final_cost"));
  return ok_answer;
}

Answer Model::State::release_job_credits(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (stale(*before, op)) return {"stale_reservation"};
  if (hold(*before) == 0) return {"no_reservation"};
  release(op, change_job(op));
  return ok_answer;
}

Answer Model::State::complete_job(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (stale(*before, op)) return {"stale_reservation"};
  if (before->status != "PACKAGING") return {"illegal_transition"};
  const std::string_view refusal = settle_refusal(*before, op.number("final_cost"));
  if (!refusal.empty()) return {refusal};

  Job& job = change_job(op);
  settle(op, job, op.number("final_cost"));
  Step& packaging = job.steps.back();
  packaging.state = "succeeded";
  packaging.progress_pct = 100;
  packaging.finished_at = op.at;
  if (op.has("output_url")) job.output_url = op.text("output_url");
  if (op.has("manifest_json")) job.manifest_json = op.text("manifest_json");
  job.status = "READY";
  job.finished_at = op.at;
  job.claim_until.reset();
  recompute_progress(job);
  return ok_answer;
}

Answer Model::State::fail_job(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (stale(*before, op)) return {"stale_reservation"};
  if (before->status == "READY" || before->status == "FAILED") return {"illegal_transition"};

  Job& job = change_job(op);
  release(op, job);
  job.failed_step.reset();
  if (const auto stage = stage_index(job.status)) {
    Step& step = job.steps[*stage];
    step.state = "failed";
    step.finished_at = op.at;
    step.error_message = op.maybe("error_message");
    job.failed_step = stages()[*stage];
  }
  job.status = "FAILED";
  job.error_code = op.text("error_code");
  job.error_message = op.maybe("error_message");
  job.finished_at = op.at;
  job.claim_until.reset();
  return ok_answer;
}

Answer Model::State::retry_job(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (stale(*before, op)) return {"stale_reservation"};
  if (before->status != "FAILED") return {"illegal_transition"};
  if (accounts_.at(before->user_id).balance < op.number("amount")) return {"insufficient_credits"};

  Job& job = change_job(op);
  open_hold(op, job);
  for (Step& step : job.steps) {
    if (step.state != "failed") continue;
    const Text step_id = step.id;
    step = Step{};
    step.id = step_id;
  }
  job.failed_step.reset();
  job.error_code.reset();
  job.error_message.reset();
  job.status_message.reset();
  job.finished_at.reset();
  job.status = "QUEUED";
  recompute_progress(job);
  return ok_answer;
}

// --------------------------------------------------------------------------------------------
// claims

Answer Model::State::claim_job(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (claimed(*before, op.at)) return {"already_claimed"};
  if (before->status != "QUEUED" && !stage_index(before->status)) return {"illegal_transition"};
  change_job(op).claim_until = op.at + op.number("ttl") * second_us;
  return ok_answer;
}

Answer Model::State::renew_claim(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (!claimed(*before, op.at)) return {"not_claim_holder"};
  change_job(op).claim_until = op.at + op.number("ttl") * second_us;
  return ok_answer;
}

Answer Model::State::drop_claim(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (!claimed(*before, op.at)) return {"not_claim_holder"};
  change_job(op).claim_until.reset();
  return ok_answer;
}

Answer Model::State::sweep(const Operation& op) {
  std::vector<Text> lost;
  for (const auto& [job_id, job] : jobs_) {
    if (!stage_index(job.status) || claimed(job, op.at)) continue;
    const Micros active = std::max(job.active_at, job.claim_until.value_or(job.active_at));
    if (op.at - active >= op.number("grace") * second_us) lost.push_back(job_id);
  }
  for (const Text& job_id : lost) {
    Operation fail;
    fail.name = "fail_job";
    fail.op_id = swept_op_id(op.op_id, job_id);
    fail.at = op.at;
    fail.values = {{"job_id", job_id}, {"error_code", "WORKER_LOST"}};
    const Text owner = jobs_.at(job_id).user_id;
    if (record(owner, fail.op_id) != nullptr) continue;
    remember(owner, fail, fail_job(fail));
  }
  return ok_answer;
}

// -------------------------------------------------------------------------------------------
// reading

std::vector<Model::Row> Model::State::rows(std::string_view table) const {
  std::vector<Row> out;
  const auto number = [](std::int64_t value) { return std::to_string(value); };
  if (table == "users") {
    for (const auto& [id, user] : users_) out.push_back({id, user.email, user.raw_user_meta_data});
  } else if (table == "profiles") {
    for (const auto& [id, p] : profiles_) {
      out.push_back({id, p.display_name, p.avatar_url, time_text(p.created_at),
                     p.notification_prefs, p.stripe_customer_id, time_text(p.updated_at)});
    }
  } else if (table == "credit_ledger") {
    for (const auto& [user_id, account] : accounts_) {
      std::int64_t seq = 0;
      for (const Entry& e : account.entries) {
        out.push_back({e.id, user_id, e.type, number(e.amount), e.note, time_text(e.created_at),
                       e.job_id, e.stripe_payment_id, number(e.balance_after), number(++seq)});
      }
    }
  } else if (table == "draft_prompts") {
    for (const auto& [id, d] : drafts_) {
      out.push_back({id, d.session_token, d.user_id, d.prompt_text, d.template_id, d.options,
                     time_text(d.created_at), time_text(d.updated_at), time_text(d.expires_at)});
    }
  } else if (table == "projects") {
    for (const auto& [id, p] : projects_) {
      out.push_back({id, p.user_id, p.title, p.prompt_text, p.niche_preset, p.target_minutes,
                     p.voice_profile_id, p.transcript_mode, p.transcript_text, p.settings,
                     time_text(p.created_at), time_text(p.updated_at)});
    }
  } else if (table == "jobs") {
    for (const auto& [id, j] : jobs_) {
      out.push_back({id, j.project_id, j.user_id, j.status, number(j.progress), j.status_message,
                     number(j.cost_credits_reserved),
                     j.cost_credits_final ? MaybeText(number(*j.cost_credits_final)) : std::nullopt,
                     j.failed_step, j.error_code, j.error_message, j.output_url, j.manifest_json,
                     time_text(j.created_at), time_text(j.started_at), time_text(j.finished_at)});
    }
  } else if (table == "job_steps") {
    for (const auto& [job_id, job] : jobs_) {
      for (std::size_t i = 0; i < job.steps.size(); ++i) {
        const Step& s = job.steps[i];
        out.push_back({s.id, job_id, Text(stages()[i]), std::to_string(i + 1), s.state,
                       number(s.progress_pct), s.status_message, s.error_message, s.logs_url,
                       s.artifacts_json, time_text(s.started_at), time_text(s.finished_at)});
      }
    }
  } else if (table == "assets") {
    for (const auto& [id, a] : assets_) {
      out.push_back({id, a.job_id, a.type, a.url, a.storage_path, a.size_bytes, a.mime_type,
                     a.metadata_json, time_text(a.created_at)});
    }
  } else if (table == "voice_profiles") {
    for (const auto& [id, v] : voice_profiles_) {
      out.push_back({id, v.user_id, v.name, v.audio_path, v.provider, v.voice_id, v.settings,
                     time_text(v.created_at)});
    }
  }
  std::sort(out.begin(), out.end(), [](const Row& a, const Row& b) { return a[0] < b[0]; });
  return out;
}

std::optional<Model::JobView> Model::State::job(const Text& job_id) const {
  const auto found = jobs_.find(job_id);
  if (found == jobs_.end()) return std::nullopt;
  const Job& job = found->second;
  return JobView{job.user_id,
                 job.status,
                 hold(job),
                 job.cost_credits_final.has_value(),
                 job.claim_until.has_value(),
                 job.reservation,
                 next_status(job)};
}

std::optional<Model::AccountView> Model::State::account(const Text& user_id) const {
  const auto found = accounts_.find(user_id);
  if (found == accounts_.end()) return std::nullopt;
  return AccountView{found->second.balance, found->second.held};
}

// ------------------------------------------------------------------------------------------ the
// model

Model::Model() : state_(std::make_unique<State>()) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

std::string Model::apply(std::string_view line) { return state_->apply(line); }
std::vector<Model::Row> Model::rows(std::string_view table) const { return state_->rows(table); }
std::optional<Model::JobView> Model::job(const std::string& job_id) const {
  return state_->job(job_id);
}
std::optional<Model::AccountView> Model::account(const std::string& user_id) const {
  return state_->account(user_id);
}

std::optional<std::string> jsonb_text(std::string_view text) {
  const std::optional<Json> value = parse_json(text);
  return value ? jsonb(*value) : std::nullopt;
}

}  // namespace tally::model
