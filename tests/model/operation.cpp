#include "operation.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <utility>

namespace tally::model::half {
namespace {

constexpr std::size_t batch_operations_max = 1000;

}  // namespace

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

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

namespace {

/// A UUID with a version digit from 1 to 7, as an op_id and a new job's id need it.
MaybeText made_uuid(const Json* value) {
  MaybeText id = uuid(value);
  if (id && ((*id)[version_at] < '1' || (*id)[version_at] > '7')) return std::nullopt;
  return id;
}

}  // namespace

Text derived_id(Text base, std::size_t number) {
  base[version_at] = '8';
  base[number_at] = "0123456789abcdef"[number & 15];
  return base;
}

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

namespace {

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

}  // namespace

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

const std::vector<std::string_view>& stages() {
  static const std::vector<std::string_view> list{"SCRIPTING",   "VOICE_GEN", "ALIGNMENT",
                                                  "VISUAL_PLAN", "IMAGE_GEN", "TIMELINE",
                                                  "RENDERING",   "PACKAGING"};
  return list;
}

std::optional<std::size_t> stage_index(std::string_view name) {
  const auto found = std::find(stages().begin(), stages().end(), name);
  if (found == stages().end()) return std::nullopt;
  return static_cast<std::size_t>(found - stages().begin());
}

namespace {

using Choices = std::vector<std::string_view>;

enum class Kind {
  uuid,
  some_uuid,
  made_uuid,
  text,
  integer,
  amount,
  json,
  choice,
  credit_type,
  ops
};

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
      {"create_user",
       {{"user_id", Kind::some_uuid, Need::required},
        text("email", 255, opt),
        text("display_name", 255, opt)}},
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

}  // namespace

bool has_field(std::string_view operation, std::string_view name) {
  const Fields& fields = operations().at(operation);
  return std::any_of(fields.begin(), fields.end(),
                     [&](const Field& field) { return field.name == name; });
}

namespace {

bool never_in_batch(std::string_view operation) {
  return operation == "batch" || operation == "sweep" || operation == "purge_expired_drafts" ||
         operation == "lease_credits" || operation == "return_lease";
}

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
    case Kind::some_uuid: {  // not that of nobody
      const MaybeText out = uuid(&value);
      return out && out->find_first_not_of("0-") != Text::npos ? FieldRead{out, {}} : refused;
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

}  // namespace

std::optional<Operation> read_line(const std::optional<Json>& line, std::optional<Micros> latest) {
  if (!line || line->kind != Json::Kind::object || !names_operation(*line)) return std::nullopt;
  const Json* text = line->find("at");
  const std::optional<Micros> at =
      text != nullptr && text->kind == Json::Kind::string ? time_of(text->text) : std::nullopt;
  if (!at) return std::nullopt;
  return read_operation(*line, latest ? std::min(*at, *latest) : *at);
}

}  // namespace tally::model::half
