// Texts that want to be SQL, in every text and JSON field of every operation, on both halves: each
// comes back byte for byte, and there are as many rows of everything as with harmless ones.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <variant>

#include "support/views.hpp"
#include "sync/world.hpp"

namespace tally::test {
namespace {

constexpr const char* harmless = "x";
const std::vector<std::string> hostile{
    "'; drop table jobs; --",
    "'); delete from credit_ledger; commit; --",
    "\"; truncate tally.accounts; --",
    "x' or '1'='1",
    "$1 $$; select pg_sleep(9); $$",
    "\\'; update tally.accounts set balance = 1000000; --",
    "{\"a\",NULL,\"b\\\\\"}",
    "(1,2)::text[]",
    "NULL",
    "\\x00ff \\. \\N",
    "/* */ -- %s %n %1$I ${x} #{x}",
    "line one\nline two\r\n\ttab",
    "\xe2\x80\xae\xf0\x9f\x92\xa9 \xcc\x81\xef\xbf\xbd\xef\xbb\xbf",
    "<script>alert(1)</script> & '' \"\" `` ;",
};

/// Every operation that has a text of the caller's, each on what those before it left. `@` is the
/// text, `#` the text as a key and a value of an object; ids are the user's own.
const std::vector<std::string> script{
    "create_user user_id=u1 email=@ display_name=@",
    "update_profile user_id=u1 display_name=@ avatar_url=@ notification_prefs=#"
    " stripe_customer_id=@",
    "add_credits user_id=u1 amount=90 type=purchase stripe_payment_id=@ note=@",
    "create_draft draft_id=d1 session_token=@ prompt_text=x template_id=x options=#",
    "update_draft draft_id=d1 session_token=@ prompt_text=@ template_id=@ options=#",
    "claim_draft session_token=@ user_id=u1",
    "create_draft draft_id=d2 user_id=u1 session_token=@ prompt_text=@ template_id=@ options=#",
    "create_voice_profile voice_profile_id=v1 user_id=u1 name=@ audio_path=@ provider=@ voice_id=@"
    " settings=#",
    "create_project project_id=p1 user_id=u1 title=@ prompt_text=@ niche_preset=facts"
    " target_minutes=3 transcript_mode=manual transcript_text=@ settings=#",
    "create_project project_id=p2 user_id=u1 title=x prompt_text=x niche_preset=facts"
    " target_minutes=3",
    "update_project project_id=p2 user_id=u1 title=@ prompt_text=@ transcript_text=@ settings=#",
    "create_job job_id=j1 project_id=p1 user_id=u1",
    "create_job job_id=j2 project_id=p1 user_id=u1",
    "reserve_credits user_id=u1 job_id=j1 amount=8",
    "advance_job job_id=j1 to=QUEUED status_message=@",
    "advance_job job_id=j1 to=SCRIPTING status_message=@",
    "report_progress job_id=j1 step_name=SCRIPTING progress_pct=40 status_message=@ logs_url=@"
    " artifacts_json=#",
    "add_asset asset_id=a1 job_id=j1 type=image url=@ storage_path=@ mime_type=@ metadata_json=#",
    "advance_job job_id=j1 to=VOICE_GEN",
    "advance_job job_id=j1 to=ALIGNMENT",
    "advance_job job_id=j1 to=VISUAL_PLAN",
    "advance_job job_id=j1 to=IMAGE_GEN",
    "advance_job job_id=j1 to=TIMELINE",
    "advance_job job_id=j1 to=RENDERING",
    "advance_job job_id=j1 to=PACKAGING",
    "complete_job job_id=j1 final_cost=4 output_url=@ manifest_json=#",
    "reserve_credits user_id=u1 job_id=j2 amount=8",
    "fail_job job_id=j2 error_code=@ error_message=@",
    "expire_credits user_id=u1 amount=1 note=@ stripe_payment_id=@-2",
};

/// The lines for the k-th user.
class Script {
 public:
  Script(std::uint64_t k, std::string text) : k_(k), text_(std::move(text)) {}

  std::vector<std::string> lines() {
    std::vector<std::string> all;
    for (const std::string& line : script) all.push_back(json(line));
    return all;
  }
  /// `create_user.email` …: the fields that the text was put into.
  const std::set<std::string>& fields() const { return fields_; }
  Uuid user() const { return own_id('u', 1); }

 private:
  Uuid own_id(char letter, std::uint64_t n) const { return id(letter, 100'000 * k_ + n); }
  nlohmann::json value(const std::string& word) const {
    if (word == "#") return {{text_, text_}};
    if (word.front() == '@') return text_ + word.substr(1);
    if (std::isdigit(static_cast<unsigned char>(word.front())) != 0) return std::stoi(word);
    const bool is_id = word.size() == 2 && std::isdigit(static_cast<unsigned char>(word[1])) != 0;
    return is_id ? own_id(word[0], static_cast<std::uint64_t>(word[1] - '0')).text() : word;
  }
  std::string json(const std::string& line) {
    std::istringstream words(line);
    std::string op;
    words >> op;
    nlohmann::json object{{"op", op},
                          {"op_id", own_id('o', ++operations_).text()},
                          {"at", time_at(static_cast<std::int64_t>(operations_)).text()}};
    for (std::string word; words >> word;) {
      const std::size_t equals = word.find('=');
      const std::string given = word.substr(equals + 1);
      object[word.substr(0, equals)] = value(given);
      if (given.front() == '@' || given == "#") fields_.insert(op + "." + word.substr(0, equals));
    }
    return object.dump();
  }

  std::uint64_t k_;
  std::string text_;
  std::uint64_t operations_ = 0;
  std::set<std::string> fields_{};
};

// ---- the operation table
// --------------------------------------------------------------------------

template <class T>
constexpr bool holds_text =
    std::is_same_v<T, std::string> || std::is_same_v<T, Json> ||
    std::is_same_v<T, std::optional<std::string>> || std::is_same_v<T, std::optional<Json>> ||
    std::is_same_v<T, NotNull<std::string>> || std::is_same_v<T, Change<std::string>> ||
    std::is_same_v<T, Change<Json>>;

template <class Operation, class Member>
void note_field(std::set<std::string>& out, const Field<Operation, Member>& field) {
  if constexpr (holds_text<Member>) {
    if (field.words.empty())
      out.insert(std::string(Operation::row.name) + "." + std::string(field.name));
  }
}
template <class... Operations>
std::set<std::string> text_fields(const std::variant<Operations...>*) {
  std::set<std::string> out;
  const auto add = [&]<class Operation>(std::type_identity<Operation>) {
    if constexpr (requires { Operation::fields(); }) {
      std::apply([&](const auto&... fields) { (note_field(out, fields), ...); },
                 Operation::fields());
    }
  };
  (add(std::type_identity<Operations>{}), ...);
  return out;
}

// ---- what became of it
// ------------------------------------------------------------------------------

using Table = std::vector<ColumnTexts>;

Table on_mirror(const Engine& engine, const char* table, const Uuid& user) {
  const auto viewed = engine.rows(table, user);
  REQUIRE(viewed.has_value());
  Table rows = texts_of(*viewed);
  std::sort(rows.begin(), rows.end());
  return rows;
}
Table on_canonical(sync::Canonical& canonical, const char* table, const Uuid& user) {
  auto rows = canonical.rows(table, user);
  REQUIRE(rows.has_value());
  std::sort(rows->begin(), rows->end());
  return std::move(*rows);
}
std::string text_of(const Table& rows) {
  std::string text;
  for (const auto& row : rows) {
    for (const auto& column : row) text += column.value_or("NULL") + " | ";
    text += "\n";
  }
  return text;
}
/// How often the text is a column's value, or a key and a value of a column's JSON.
std::size_t count_of(const Table& rows, const std::string& text) {
  std::size_t count = 0;
  const std::string json = nlohmann::json({{text, text}}).dump();
  for (const auto& row : rows) {
    for (const auto& column : row) {
      if (!column) continue;
      if (*column == text || *column == text + "-2") ++count;
      if (column->starts_with("{") && nlohmann::json::parse(*column, nullptr, false).dump() == json)
        ++count;
    }
  }
  return count;
}

}  // namespace

TEST_CASE("texts: the script puts one into every text field that the operation table has") {
  Script one(1, harmless);
  (void)one.lines();
  std::set<std::string> missing;
  const auto there = text_fields(static_cast<const Operation*>(nullptr));
  std::set_difference(there.begin(), there.end(), one.fields().begin(), one.fields().end(),
                      std::inserter(missing, missing.end()));
  // A step that there is not: it is refused, below.
  CHECK(missing == std::set<std::string>{"report_progress.step_name"});
}

TEST_CASE("texts: what wants to be SQL is a text, in every field, on both halves") {
  World world;
  TemporaryMirror mirror;
  std::vector<std::string> texts{harmless};
  texts.insert(texts.end(), hostile.begin(), hostile.end());
  std::map<std::string, std::pair<std::size_t, std::size_t>> expected;
  for (std::size_t k = 0; k < texts.size(); ++k) {
    CAPTURE(texts[k]);
    Script own(k + 1, texts[k]);
    const std::vector<std::string> lines = own.lines();
    const auto verdicts = world.canonical->apply(lines);
    REQUIRE_MESSAGE(verdicts.has_value(), (verdicts ? "" : verdicts.error().detail));
    for (std::size_t i = 0; i < lines.size(); ++i) {
      CAPTURE(lines[i]);
      CHECK(name_of((*verdicts)[i].code) == "ok");
      CHECK(short_answer(mirror.apply_line(lines[i])).starts_with("ok"));
    }
    for (const char* table : tables) {
      CAPTURE(std::string(table));
      const Table here = on_mirror(mirror.engine(), table, own.user());
      const Table there = on_canonical(*world.canonical, table, own.user());
      CHECK_MESSAGE(here == there, text_of(here) << "\nand\n" << text_of(there));
      const std::pair found{here.size(), count_of(here, texts[k])};
      if (k == 0) expected[table] = found;
      CHECK(found == expected[table]);
    }
  }
  CHECK(mirror.findings() == std::vector<std::string>{});
  world.check_whole();
}

TEST_CASE("texts: one that wants to be SQL where only a word of a list may be is refused") {
  World world;
  TemporaryMirror mirror;
  mirror.make_users(1);
  const std::int64_t balance = world.balance();
  for (const std::string& text : hostile) {
    for (const std::string& line :
         {"advance_job job_id=j1 to=" + json_string(text),
          "report_progress job_id=j1 progress_pct=1 step_name=" + json_string(text),
          "add_credits user_id=u1 amount=1 type=" + json_string(text),
          "create_project project_id=p9 user_id=u1 title=T prompt_text=P target_minutes=1"
          " niche_preset=" +
              json_string(text),
          "claim_draft user_id=u1 session_token=" + json_string(text)}) {
      CAPTURE(line);
      const std::string there = world.apply(line);
      const std::string here = mirror.apply(line);
      CHECK(there != "ok");
      CHECK(here.substr(0, here.find(' ')) == there);
    }
  }
  CHECK(world.balance() == balance);
  world.check_whole();
}

}  // namespace tally::test
