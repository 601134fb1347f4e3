// Every field of every operation with everything that it must not hold, on a mirror without rows:
// what is wrong with a field is answered before the mirror is asked what it knows.
#include <doctest/doctest.h>

#include <cstdint>
#include <map>

#include "support/fixture.hpp"

namespace tally::test {
namespace {

enum class Kind { uuid, text, free_text, word, number, credits, json };
enum class Presence {
  required,
  optional,  ///< null is as absent
  cleared,   ///< null clears a column
  not_null,  ///< may be absent, may not be null
};
struct FieldSpec {
  std::string name;
  Kind kind;
  Presence presence;
  std::string valid;     ///< A value, as JSON.
  std::int64_t min = 0;  ///< Of a number.
  std::int64_t max = 0;  ///< Of a number; of a text, its limit in bytes.
  std::string out_of_range = "invalid_argument";
};
struct OperationSpec {
  std::string name;
  std::vector<FieldSpec> fields;
  bool reservation = false;
};

using enum Kind;
using enum Presence;

// The contract's section 4 once more: what each field may hold.
const std::string some_id = "\"0000ffff-0000-7000-8000-000000000001\"";
FieldSpec uuid_field(std::string name, Presence presence = required) {
  return {std::move(name), uuid, presence, some_id};
}
FieldSpec text_field(std::string name, Presence presence, std::int64_t max = 255) {
  return {std::move(name),
          presence == required || presence == not_null ? text : free_text,
          presence,
          "\"x\"",
          0,
          max};
}
FieldSpec word_field(std::string name, Presence presence, std::string valid) {
  return {std::move(name), word, presence, "\"" + valid + "\"", 0, 255};
}
FieldSpec number_field(std::string name, Presence presence, std::int64_t min, std::int64_t max) {
  return {std::move(name), number, presence, std::to_string(max), min, max};
}
FieldSpec credits_field(std::string name, std::int64_t min) {
  return {std::move(name), credits, required, "8", min, 2'147'483'647, "invalid_amount"};
}
FieldSpec json_field(std::string name, Presence presence) {
  return {std::move(name), json, presence, "{\"a\":1}"};
}

constexpr std::int64_t prompt = 1'048'576;
constexpr std::int64_t path = 65'536;

std::vector<OperationSpec> operations() {
  std::vector<OperationSpec> all{
      {"create_user",
       {uuid_field("user_id"), text_field("email", optional),
        text_field("display_name", optional)}},
      {"update_profile",
       {uuid_field("user_id"), text_field("display_name", cleared),
        text_field("avatar_url", cleared, path), json_field("notification_prefs", cleared),
        text_field("stripe_customer_id", cleared)}},
      {"add_credits",
       {uuid_field("user_id"), credits_field("amount", 1), word_field("type", required, "grant"),
        text_field("note", optional, path), text_field("stripe_payment_id", optional)}},
      {"expire_credits",
       {uuid_field("user_id"), credits_field("amount", 1), text_field("note", optional, path),
        text_field("stripe_payment_id", optional)}},
      {"create_draft",
       {uuid_field("draft_id"), text_field("session_token", required),
        uuid_field("user_id", optional), text_field("prompt_text", required, prompt),
        text_field("template_id", optional), json_field("options", optional)}},
      {"update_draft",
       {uuid_field("draft_id"), uuid_field("user_id", optional),
        text_field("prompt_text", not_null, prompt), text_field("template_id", cleared),
        json_field("options", cleared)}},
      {"claim_draft", {text_field("session_token", required), uuid_field("user_id")}},
      {"purge_expired_drafts", {}},
      {"create_project",
       {uuid_field("project_id"), uuid_field("user_id"), text_field("title", required),
        text_field("prompt_text", required, prompt),
        word_field("niche_preset", required, "science"),
        number_field("target_minutes", required, 1, 10), uuid_field("voice_profile_id", optional),
        word_field("transcript_mode", optional, "manual"),
        text_field("transcript_text", optional, prompt), json_field("settings", optional)}},
      {"update_project",
       {uuid_field("project_id"), uuid_field("user_id"), text_field("title", not_null),
        text_field("prompt_text", not_null, prompt),
        word_field("niche_preset", not_null, "science"),
        number_field("target_minutes", not_null, 1, 10), uuid_field("voice_profile_id", cleared),
        word_field("transcript_mode", cleared, "manual"),
        text_field("transcript_text", cleared, prompt), json_field("settings", cleared)}},
      {"delete_project", {uuid_field("project_id"), uuid_field("user_id")}},
      {"create_voice_profile",
       {uuid_field("voice_profile_id"), uuid_field("user_id"), text_field("name", required),
        text_field("audio_path", required, path), text_field("provider", optional),
        text_field("voice_id", optional), json_field("settings", optional)}},
      {"delete_voice_profile", {uuid_field("voice_profile_id"), uuid_field("user_id")}},
      {"create_job", {uuid_field("job_id"), uuid_field("project_id"), uuid_field("user_id")}},
      {"reserve_credits",
       {uuid_field("user_id"), uuid_field("job_id"), credits_field("amount", 1)}},
      {"advance_job",
       {uuid_field("job_id"), word_field("to", required, "READY"),
        text_field("status_message", optional, path)},
       true},
      {"report_progress",
       {uuid_field("job_id"), text_field("step_name", required),
        number_field("progress_pct", required, 0, 100),
        text_field("status_message", optional, path), text_field("logs_url", optional, path),
        json_field("artifacts_json", optional)},
       true},
      {"add_asset",
       {uuid_field("asset_id"), uuid_field("job_id"), word_field("type", required, "thumbnail"),
        text_field("url", required, path), text_field("storage_path", required, path),
        number_field("size_bytes", optional, 0, INT64_MAX), text_field("mime_type", optional),
        json_field("metadata_json", optional)},
       true},
      {"finalize_job_credits", {uuid_field("job_id"), credits_field("final_cost", 0)}, true},
      {"release_job_credits", {uuid_field("job_id")}, true},
      {"complete_job",
       {uuid_field("job_id"), credits_field("final_cost", 0),
        text_field("output_url", optional, path), json_field("manifest_json", optional)},
       true},
      {"fail_job",
       {uuid_field("job_id"), text_field("error_code", required),
        text_field("error_message", optional, path)},
       true},
      {"retry_job", {uuid_field("job_id"), credits_field("amount", 1)}, true},
      {"claim_job", {uuid_field("job_id"), number_field("ttl", required, 1, 2'592'000)}},
      {"renew_claim", {uuid_field("job_id"), number_field("ttl", required, 1, 2'592'000)}},
      {"drop_claim", {uuid_field("job_id")}},
      {"sweep", {number_field("grace", required, 1, 2'592'000)}},
  };
  return all;
}

/// A mirror without rows, and lines with one field replaced.
class Bench {
 public:
  /// The code of `operation` with `name` set to `value`, as JSON text; absent where that is empty.
  std::string code(const OperationSpec& operation, const std::string& name,
                   const std::string& value) {
    std::string line = "{\"op\":\"" + operation.name + "\",\"op_id\":\"" +
                       op_id(++operations_).text() + "\",\"at\":\"2026-01-18T00:00:00.000000Z\"";
    bool given = false;
    for (const FieldSpec& field : operation.fields) {
      const bool changed = field.name == name;
      given = given || changed;
      if (changed && value.empty()) continue;
      if (!changed && field.presence != required) continue;
      line += ",\"" + field.name + "\":" + (changed ? value : field.valid);
    }
    if (!given && !value.empty()) line += ",\"" + name + "\":" + value;
    // A draft is updated by somebody.
    if (operation.name == "update_draft") line += ",\"session_token\":\"x\"";
    line += "}";
    const std::string answer = short_answer(mirror_.apply_line(line));
    return answer.substr(0, answer.find(' '));
  }
  bool accepts(const OperationSpec& operation, const std::string& name, const std::string& value) {
    const std::string got = code(operation, name, value);
    return got != "invalid_argument" && got != "invalid_amount" && got != "invalid_type";
  }
  std::string answer(const std::string& line) { return short_answer(mirror_.apply_line(line)); }

 private:
  TemporaryMirror mirror_;
  std::uint64_t operations_ = 0;
};

template <class Check>
void for_each_field(Check&& check) {
  Bench bench;
  for (const OperationSpec& operation : operations()) {
    CAPTURE(operation.name);
    for (const FieldSpec& field : operation.fields) {
      CAPTURE(field.name);
      check(bench, operation, field);
    }
  }
}

bool is_text(const FieldSpec& field) {
  return field.kind == text || field.kind == free_text || field.kind == word;
}

std::string repeated(const std::string& part, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) all += part;
  return all;
}

}  // namespace

TEST_CASE("bad input: each operation's own example is accepted") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    CHECK(bench.accepts(operation, field.name, field.valid));
  });
}

TEST_CASE(
    "bad input: a required field that is missing is invalid_argument, an optional one may be") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (field.presence == required) {
      CHECK(bench.code(operation, field.name, "") == "invalid_argument");
    } else {
      CHECK(bench.accepts(operation, field.name, ""));
    }
  });
}

TEST_CASE("bad input: null is invalid_argument where a value is needed") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (field.presence == required || field.presence == not_null) {
      CHECK(bench.code(operation, field.name, "null") == "invalid_argument");
    } else {
      CHECK(bench.accepts(operation, field.name, "null"));
    }
  });
}

TEST_CASE("bad input: a value of another JSON type is invalid_argument") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    for (const std::string value :
         {"7", "7.5", "true", "false", "[]", "{}", "\"x\"", "[7]", "[\"x\"]"}) {
      CAPTURE(value);
      const bool is_string = value.front() == '"';
      const bool is_number = value == "7";
      if (field.kind == json) {
        CHECK(bench.accepts(operation, field.name, value));
      } else if (is_text(field) && is_string) {
        continue;
      } else if ((field.kind == number || field.kind == credits) && is_number) {
        CHECK(bench.accepts(operation, field.name, value));
      } else {
        CHECK(bench.code(operation, field.name, value) == "invalid_argument");
      }
    }
  });
}

TEST_CASE("bad input: a UUID is 8-4-4-4-12 hex digits in any case and nothing else") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (field.kind != uuid) return;
    for (const std::string value :
         {"", " ", "0000ffff-0000-7000-8000-00000000000", "0000ffff-0000-7000-8000-0000000000011",
          "0000ffff00007000800000000000000001", "{0000ffff-0000-7000-8000-000000000001}",
          "urn:uuid:0000ffff-0000-7000-8000-000000000001", "0000fffg-0000-7000-8000-000000000001",
          "0000ffff-0000-7000-8000-000000000001 ", " 0000ffff-0000-7000-8000-000000000001",
          "0000ffff-00007-000-8000-000000000001", "0000ffff_0000_7000_8000_000000000001",
          "0000ffff-0000-7000-8000-00000000000\\u0000", "0x00ffff-0000-7000-8000-000000000001",
          "+000ffff-0000-7000-8000-000000000001"}) {
      CAPTURE(value);
      CHECK(bench.code(operation, field.name, "\"" + value + "\"") == "invalid_argument");
    }
    CHECK(bench.accepts(operation, field.name, "\"0000FFFF-aAaA-7000-8000-0000000000CD\""));
    const bool makes_job = operation.name == "create_job" && field.name == "job_id";
    for (const char version : {'0', '1', '4', '7', '8', 'f'}) {
      CAPTURE(version);
      const std::string value =
          std::string("\"0000ffff-0000-") + version + "000-8000-000000000001\"";
      CHECK(bench.accepts(operation, field.name, value) ==
            (!makes_job || (version >= '1' && version <= '7')));
    }
  });
}

TEST_CASE("bad input: a text may have its limit in bytes and not one more") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (field.kind != text && field.kind != free_text) return;
    const auto limit = static_cast<std::size_t>(field.max);
    CHECK(bench.accepts(operation, field.name, "\"" + text_of(limit) + "\""));
    CHECK(bench.code(operation, field.name, "\"" + text_of(limit + 1) + "\"") ==
          "invalid_argument");
    // Bytes of UTF-8, not characters, nor bytes of the JSON.
    const std::string half = repeated("\u00e9", limit / 2);
    const std::string rest = limit % 2 == 1 ? "x" : "";
    CHECK(bench.accepts(operation, field.name, "\"" + half + rest + "\""));
    CHECK(bench.code(operation, field.name, "\"" + half + rest + "x\"") == "invalid_argument");
    if (limit < 1000) {
      CHECK(bench.accepts(operation, field.name, "\"" + repeated("\\u0041", limit) + "\""));
      CHECK(bench.code(operation, field.name, "\"" + repeated("\\u0041", limit + 1) + "\"") ==
            "invalid_argument");
    }
  });
}

TEST_CASE("bad input: a required text is not empty, an optional one may be") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (field.kind == text || field.kind == word) {
      CHECK(bench.code(operation, field.name, "\"\"") == "invalid_argument");
    }
    if (field.kind == free_text) CHECK(bench.accepts(operation, field.name, "\"\""));
  });
}

TEST_CASE("bad input: a text with U+0000 is invalid_argument") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (!is_text(field)) return;
    CHECK(bench.code(operation, field.name, "\"\\u0000\"") == "invalid_argument");
    CHECK(bench.code(operation, field.name, "\"a\\u0000b\"") == "invalid_argument");
    CHECK(bench.code(operation, field.name, std::string("\"a\0b\"", 5)) == "invalid_argument");
  });
}

TEST_CASE("bad input: a text that is not UTF-8, or half a surrogate pair, is invalid_argument") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (!is_text(field) && field.kind != json) return;
    for (const std::string value :
         {"\xff", "\x80", "\xc0\x80", "\xc1\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
          "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe2\x82", "\\ud800", "\\udc00",
          "\\ud800\\u0041", "\\udc00\\ud800", "\x01", "\\x41", "\\u12"}) {
      CAPTURE(value);
      CHECK(bench.code(operation, field.name, "\"" + value + "\"") == "invalid_argument");
    }
    if (field.kind == word) return;
    CHECK(bench.accepts(operation, field.name, "\"\\ud83d\\ude00\""));
    CHECK(bench.accepts(operation, field.name, "\"\xf0\x9f\x98\x80\""));
  });
}

TEST_CASE("bad input: a word that is not in its list is refused, whatever its case") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (field.kind != word) return;
    const std::string code = operation.name == "add_credits" ? "invalid_type" : "invalid_argument";
    for (const std::string value :
         {"nothing", "Grant", "GRANT", "ready", " READY", "READY ", "Facts", "video,zip"}) {
      CAPTURE(value);
      CHECK(bench.code(operation, field.name, "\"" + value + "\"") == code);
    }
    CHECK(bench.code(operation, field.name, "\"" + text_of(255) + "\"") == code);
    CHECK(bench.code(operation, field.name, "\"" + text_of(256) + "\"") == "invalid_argument");
  });
}

TEST_CASE("bad input: every word of every list is accepted") {
  Bench bench;
  const std::map<std::string, std::vector<std::string>> words{
      {"add_credits.type", {"purchase", "grant", "subscription", "refund"}},
      {"create_project.niche_preset",
       {"motivation", "explainer", "facts", "history", "finance", "science"}},
      {"create_project.transcript_mode", {"auto", "manual"}},
      {"add_asset.type", {"video", "audio", "image", "captions", "manifest", "zip", "thumbnail"}},
      {"advance_job.to",
       {"PENDING", "QUEUED", "SCRIPTING", "VOICE_GEN", "ALIGNMENT", "VISUAL_PLAN", "IMAGE_GEN",
        "TIMELINE", "RENDERING", "PACKAGING", "READY", "FAILED"}}};
  for (const OperationSpec& operation : operations()) {
    for (const FieldSpec& field : operation.fields) {
      const auto list = words.find(operation.name + "." + field.name);
      if (list == words.end()) continue;
      for (const std::string& value : list->second) {
        CAPTURE(value);
        CHECK(bench.accepts(operation, field.name, "\"" + value + "\""));
      }
    }
  }
}

TEST_CASE("bad input: a number is an integer by its text") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (field.kind != number && field.kind != credits) return;
    for (const std::string value :
         {"8.0", "1e2", "1E0", "8.", ".8", "08", "+8", "0x8", "- 8", "--8", "1_0", "Infinity",
          "NaN", "\"8\"", "1e400", "0.0", "1e-1"}) {
      CAPTURE(value);
      CHECK(bench.code(operation, field.name, value) == "invalid_argument");
    }
  });
}

TEST_CASE("bad input: a number at an end of its range is accepted, the one beyond is refused") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (field.kind != number && field.kind != credits) return;
    CHECK(bench.accepts(operation, field.name, std::to_string(field.min)));
    CHECK(bench.accepts(operation, field.name, std::to_string(field.max)));
    CHECK(bench.code(operation, field.name, std::to_string(field.min - 1)) == field.out_of_range);
    const std::string beyond =
        field.max == INT64_MAX ? "9223372036854775808" : std::to_string(field.max + 1);
    CHECK(bench.code(operation, field.name, beyond) == field.out_of_range);
    for (const std::string value : {"99999999999999999999999", "-99999999999999999999999",
                                    "18446744073709551617", "4294967297", "-1"}) {
      CAPTURE(value);
      if (field.max == INT64_MAX && value == "4294967297") continue;
      CHECK(bench.code(operation, field.name, value) == field.out_of_range);
    }
    CHECK(bench.code(operation, field.name, std::string(5000, '9')) == field.out_of_range);
    // -0 is the integer 0.
    if (field.min == 0) {
      CHECK(bench.accepts(operation, field.name, "-0"));
    } else {
      CHECK(bench.code(operation, field.name, "-0") == field.out_of_range);
    }
  });
}

TEST_CASE("bad input: JSON may be 65,536 bytes in jsonb's own text and not one more") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (field.kind != json) return;
    CHECK(bench.accepts(operation, field.name, "\"" + text_of(65'534) + "\""));
    CHECK(bench.code(operation, field.name, "\"" + text_of(65'535) + "\"") == "invalid_argument");
    // White space and what is written twice do not count; the blanks that jsonb adds do.
    CHECK(bench.accepts(operation, field.name, "{\"a\":" + std::string(70'000, ' ') + "1}"));
    CHECK(bench.accepts(operation, field.name,
                        "{\"a\":\"" + text_of(40'000) + "\",\"a\":\"" + text_of(40'000) + "\"}"));
    // [0, 0, …] has three bytes an item: 21,845 of them are 65,535 bytes, one more is 65,538.
    CHECK(bench.accepts(operation, field.name, "[0" + repeated(",0", 21'844) + "]"));
    CHECK(bench.code(operation, field.name, "[0" + repeated(",0", 21'845) + "]") ==
          "invalid_argument");
    CHECK(bench.code(operation, field.name, "1e65536") == "invalid_argument");
  });
}

TEST_CASE("bad input: JSON may be 32 levels deep and not one more") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (field.kind != json) return;
    CHECK(bench.accepts(operation, field.name, repeated("[", 32) + repeated("]", 32)));
    CHECK(bench.code(operation, field.name, repeated("[", 33) + repeated("]", 33)) ==
          "invalid_argument");
    CHECK(bench.accepts(operation, field.name, repeated("{\"a\":", 32) + "1" + repeated("}", 32)));
    CHECK(bench.code(operation, field.name, repeated("{\"a\":", 33) + "1" + repeated("}", 33)) ==
          "invalid_argument");
    CHECK(
        bench.accepts(operation, field.name, repeated("[{\"a\":", 16) + "1" + repeated("}]", 16)));
  });
}

TEST_CASE("bad input: a number within JSON has 40 digits written out and not one more") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (field.kind != json) return;
    const std::string forty(40, '7');
    for (const std::string& value : std::vector<std::string>{
             forty, "-" + forty, std::string("1e39"), "0." + std::string(39, '7'),
             "1." + std::string(38, '7') + "0", std::string("1e-39"), "12e38"}) {
      CAPTURE(value);
      CHECK(bench.accepts(operation, field.name, "[" + value + "]"));
    }
    for (const std::string& value : std::vector<std::string>{
             forty + "7", "-" + forty + "7", std::string("1e40"), "0." + std::string(40, '7'),
             std::string("1e-40"), std::string("1e999999999"), std::string("1e-999999999"),
             std::string("1e99999999999999999999"), "12e39"}) {
      CAPTURE(value);
      CHECK(bench.code(operation, field.name, "[" + value + "]") == "invalid_argument");
    }
  });
}

TEST_CASE("bad input: a text within JSON has no U+0000, a key neither") {
  for_each_field([](Bench& bench, const OperationSpec& operation, const FieldSpec& field) {
    if (field.kind != json) return;
    CHECK(bench.code(operation, field.name, "[\"\\u0000\"]") == "invalid_argument");
    CHECK(bench.code(operation, field.name, "{\"\\u0000\":1}") == "invalid_argument");
    CHECK(bench.code(operation, field.name, "{\"a\":{\"b\":\"x\\u0000\"}}") == "invalid_argument");
    CHECK(bench.accepts(operation, field.name, "{\"\":\"\"}"));
  });
}

TEST_CASE("bad input: an unknown field is invalid_argument in every operation") {
  Bench bench;
  for (const OperationSpec& operation : operations()) {
    CAPTURE(operation.name);
    for (const std::string name :
         {"colour", "index", "Amount", "", "user_id ", "ops", "lease_id"}) {
      CAPTURE(name);
      CHECK(bench.code(operation, name, "null") == "invalid_argument");
      CHECK(bench.code(operation, name, "1") == "invalid_argument");
    }
  }
}

TEST_CASE("bad input: reservation is a UUID where it is a field, and unknown where it is none") {
  Bench bench;
  for (const OperationSpec& operation : operations()) {
    CAPTURE(operation.name);
    CHECK(bench.accepts(operation, "reservation", some_id) == operation.reservation);
    CHECK(bench.accepts(operation, "reservation", "null") == operation.reservation);
    CHECK(bench.code(operation, "reservation", "\"x\"") == "invalid_argument");
    CHECK(bench.code(operation, "reservation", "7") == "invalid_argument");
  }
}

TEST_CASE("bad input: of equal keys the last one counts") {
  Bench bench;
  const std::string start = R"({"op":"sweep","op_id":"0000006f-0000-7000-8000-000000000001",)"
                            R"("at":"2026-01-18T00:00:00.000000Z",)";
  CHECK(bench.answer(start + R"("grace":5,"grace":0})") == "invalid_argument -");
  CHECK(bench.answer(start + R"("grace":0,"grace":"x","grace":5})") == "ok -");
  CHECK(bench.answer(
            R"({"op":"fly","op":"sweep","op_id":7,"op_id":"0000006f-0000-7000-8000-000000000002",)"
            R"("at":"2026-01-18T00:00:00.000000Z","grace":5})") == "ok -");
}

TEST_CASE(
    "bad input: a line that is no operation is answered as such, with its number, and the rest "
    "goes on") {
  TemporaryMirror mirror;
  const std::string good = mirror.lines.line("create_user user_id=u1");
  std::vector<std::string> lines{"",
                                 " ",
                                 "{",
                                 "}",
                                 "{}",
                                 "[]",
                                 "7",
                                 "null",
                                 "\"x\"",
                                 "nothing",
                                 "{\"op\":\"sweep\"}",
                                 good + good,
                                 good + "x",
                                 "[" + good + "]",
                                 "\xef\xbb\xbf" + good,
                                 good.substr(0, good.size() - 1),
                                 "'" + good + "'",
                                 "// " + good,
                                 good.substr(0, good.size() - 1) + ",}"};
  const auto without = [&](const std::string& key) {
    const std::size_t at = good.find("\"" + key + "\"");
    const std::size_t end = good.find(',', at);
    return good.substr(0, at) + good.substr(end + 1);
  };
  for (const char* key : {"op", "op_id", "at"}) lines.push_back(without(key));
  for (const char* op :
       {"\"Create_user\"", "\"create_users\"", "\"\"", "7", "null", "[\"create_user\"]"}) {
    lines.push_back(R"({"op":)" + std::string(op) + good.substr(good.find(",")));
  }
  std::size_t number = 0;
  for (const std::string& line : lines) {
    CAPTURE(line);
    CHECK(mirror.apply_line(line) ==
          R"({"op_id":null,"result":"invalid_argument","balance":null,"line":)" +
              std::to_string(++number) + "}");
  }
  CHECK(short_answer(mirror.apply_line(good)) == "ok 10");
}

TEST_CASE("bad input: white space around a line and in it is no matter") {
  TemporaryMirror mirror;
  CHECK(short_answer(mirror.apply_line(
            " \t{ \"op\" : \"create_user\" ,\"op_id\":\"0000006f-0000-7000-8000-00000000000"
            "1\", \"at\":\"2026-01-18T00:00:00.000000Z\",\r \"user_id\":"
            "\"00000075-0000-7000-8000-000000000001\" } \r")) == "ok 10");
}

TEST_CASE("bad input: an op_id has a version digit from 1 to 7") {
  Bench bench;
  for (const char version : std::string("0123456789abcdefABCDEF")) {
    CAPTURE(version);
    const std::string line =
        std::string(R"({"op":"sweep","op_id":"0000006f-0000-)") + version +
        R"(000-8000-000000000001","at":"2026-01-18T00:00:00.000000Z","grace":5})";
    CHECK(bench.answer(line) ==
          (version >= '1' && version <= '7' ? "ok -" : "invalid_argument - line"));
  }
}

TEST_CASE("bad input: at has exactly the contract's form and is a real time") {
  Bench bench;
  int n = 100;
  const auto answer = [&](const std::string& at) {
    return bench.answer(
        R"({"op":"purge_expired_drafts","op_id":"0000006f-0000-7000-8000-000000000)" +
        std::to_string(++n) + R"(","at":)" + at + "}");
  };
  for (const std::string at : {"2026-01-18T00:00:00.000000Z", "2024-02-29T00:00:00.000000Z",
                               "2000-02-29T23:59:59.999999Z", "0001-01-01T00:00:00.000000Z",
                               "9999-12-31T23:59:59.999999Z", "0004-02-29T12:00:00.000001Z"}) {
    CAPTURE(at);
    CHECK(answer("\"" + at + "\"") == "ok -");
  }
  for (const std::string at : {"2023-02-29T00:00:00.000000Z",
                               "1900-02-29T00:00:00.000000Z",
                               "2026-02-30T00:00:00.000000Z",
                               "2026-04-31T00:00:00.000000Z",
                               "2026-00-10T00:00:00.000000Z",
                               "2026-13-10T00:00:00.000000Z",
                               "2026-01-00T00:00:00.000000Z",
                               "2026-01-32T00:00:00.000000Z",
                               "0000-01-01T00:00:00.000000Z",
                               "10000-01-01T00:00:00.000000Z",
                               "-001-01-01T00:00:00.000000Z",
                               "2026-01-18T24:00:00.000000Z",
                               "2026-01-18T23:60:00.000000Z",
                               "2026-06-30T23:59:60.000000Z",
                               "2026-01-18T00:00:00Z",
                               "2026-01-18T00:00:00.000Z",
                               "2026-01-18T00:00:00.0000000Z",
                               "2026-01-18T00:00:00.000000",
                               "2026-01-18T00:00:00.000000+00:00",
                               "2026-01-18T00:00:00.000000z",
                               "2026-01-18t00:00:00.000000Z",
                               "2026-01-18 00:00:00.000000Z",
                               " 2026-01-18T00:00:00.000000Z",
                               "2026-01-18T00:00:00.000000Z ",
                               "2026-01-18T00:00:00,000000Z",
                               "2026-1-18T00:00:00.000000Z",
                               "2026-01-18T-1:00:00.000000Z",
                               "2026-01-18T+1:00:00.000000Z",
                               "20260118T000000.000000Z",
                               "",
                               "now",
                               "2026-W03-7T00:00:00.000000Z"}) {
    CAPTURE(at);
    CHECK(answer("\"" + at + "\"") == "invalid_argument - line");
  }
  for (const std::string at : {"7", "null", "[]", "1768694400"})
    CHECK(answer(at) == "invalid_argument - line");
}

TEST_CASE("bad input: a line of 10 MB is answered like any other") {
  Bench bench;
  const OperationSpec create_project = operations()[8];
  REQUIRE(create_project.name == "create_project");
  CHECK(bench.code(create_project, "prompt_text", "\"" + text_of(10'000'000) + "\"") ==
        "invalid_argument");
  const std::size_t items =
      long_run() ? 5'000'000 : 500'000;  // Five million take a minute under a sanitizer.
  CHECK(bench.code(create_project, "settings", "[0" + repeated(",0", items) + "]") ==
        "invalid_argument");
  CHECK(bench.code(create_project, "settings", std::string(10'000'000, '7')) == "invalid_argument");
  CHECK(bench.accepts(create_project, "settings", std::string(10'000'000, ' ') + "7"));
  CHECK(bench.answer(text_of(10'000'000)) == "invalid_argument - line");
}

TEST_CASE("bad input: nesting 100,000 deep is answered like any other") {
  Bench bench;
  const OperationSpec create_project = operations()[8];
  CHECK(bench.code(create_project, "settings", repeated("[", 100'000) + repeated("]", 100'000)) ==
        "invalid_argument");
  CHECK(bench.code(create_project, "settings",
                   repeated("{\"a\":", 100'000) + "1" + repeated("}", 100'000)) ==
        "invalid_argument");
  CHECK(bench.code(create_project, "title", repeated("[", 100'000) + repeated("]", 100'000)) ==
        "invalid_argument");
  CHECK(bench.answer(repeated("[", 100'000)) == "invalid_argument - line");
  CHECK(bench.answer(repeated("{\"op\":", 100'000)) == "invalid_argument - line");
}

TEST_CASE("bad input: what is refused writes nothing") {
  TemporaryMirror mirror;
  const Dump before = dump(mirror.path());
  LineMaker lines;
  for (const std::string line :
       {"create_user user_id=7", "create_user user_id=u1 email=7",
        "create_draft draft_id=d1 session_token=S", "purge_expired_drafts all=true",
        "sweep grace=0", "batch ops=(create_user user_id=u1 email=7)"}) {
    CAPTURE(line);
    CHECK(short_answer(mirror.apply_line(lines.line(line))).starts_with("invalid_argument"));
  }
  CHECK(difference(before, dump(mirror.path())) == "");
}

TEST_CASE("JSON is kept in jsonb's own text form") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  // What `select '…'::jsonb::text` answers in PostgreSQL.
  const std::vector<std::pair<std::string, std::string>> forms{
      {"true", "true"},
      {"8", "8"},
      {"8.0", "8.0"},
      {"-0", "0"},
      {"-0.0", "0.0"},
      {"1e2", "100"},
      {"1.0e2", "100"},
      {"1.50", "1.50"},
      {"1.230e-5", "0.00001230"},
      {"12.345e1", "123.45"},
      {"1E+3", "1000"},
      {"0e5", "0"},
      {"0.00", "0.00"},
      {"-12.5e-1", "-1.25"},
      {"[]", "[]"},
      {"{}", "{}"},
      {"[ 1,2 ,{} ]", "[1, 2, {}]"},
      {"{\"b\":1,\"a\":2}", "{\"a\": 2, \"b\": 1}"},
      {"{\"bb\":1,\"c\":2}", "{\"c\": 2, \"bb\": 1}"},
      {"{\"a\":1,\"a\":{\"z\":2}}", "{\"a\": {\"z\": 2}}"},
      {"{\"\u00e9\":1,\"zz\":2,\"z\":3}", "{\"z\": 3, \"zz\": 2, \"\u00e9\": 1}"},
      {"\"\\u00e9\\/\\\"\\\\\"", "\"\u00e9/\\\"\\\\\""},
      {"\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\"", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\""},
      {"\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\""},
      {"[null,false,[null]]", "[null, false, [null]]"}};
  for (std::size_t i = 0; i < forms.size(); ++i) {
    const std::string& written = forms[i].first;
    const std::string& kept = forms[i].second;
    CAPTURE(written);
    const std::string line = "{\"op\":\"update_profile\",\"op_id\":\"" + op_id(i + 1).text() +
                             "\",\"at\":\"2026-01-18T00:00:00.000000Z\",\"user_id\":\"" +
                             user_id(1).text() + "\",\"notification_prefs\":" + written + "}";
    CHECK(short_answer(mirror.apply_line(line)) == "ok 10");
    CHECK(query(mirror.path(), "select notification_prefs from profiles") ==
          std::vector<std::string>{kept});
  }
}

}  // namespace tally::test
