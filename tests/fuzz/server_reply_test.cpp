// An answer of canonical's is given the corpus, and thousands of seeded mutations of it.
#include "fuzz/run_corpus.hpp"
#include "fuzz/scratch.hpp"
#include "fuzz/setups.hpp"

namespace tally::fuzz {
namespace {

TEST_CASE(
    "an answer of canonical's: the rules hold for the corpus, and both kinds of answers come") {
  const Outcomes outcomes = run_corpus("server_reply");
  CHECK(outcomes.taken > 20);
  CHECK(outcomes.refused > 5);
}

TEST_CASE("an answer of canonical's: the rules hold for mutations of the corpus") {
  const Outcomes outcomes = run_mutations("server_reply", 3'000);
  CHECK(outcomes.taken > 50);
  CHECK(outcomes.refused > 50);
}

TEST_CASE("a text[] is read whole, or seen to be none") {
  using sync::parse_text_array;
  CHECK(parse_text_array("{}") == Texts{});
  CHECK(parse_text_array(R"({a,"b \"c\\,",NULL,"NULL",""})") ==
        Texts{"a", "b \"c\\,", std::nullopt, "NULL", ""});
  for (const std::string text :
       {"", "a", "{", "}", "{a", "a}", R"({"a)", R"({"a"})", R"({"a\"})", R"({"\})", "{a,}", "{,a}",
        "{,}", "{{a}}", R"({a"b"})", R"({"a"b})"}) {
    CAPTURE(text);
    CHECK(parse_text_array(text).has_value() == (text == R"({"a"})"));
  }
}

/// The device's state, which every answer has, with so many operations judged.
std::string state_line(const std::string& watermark) {
  return "state||{" + watermark +
         ",NULL,false,NULL,c2,00000078-0000-7000-8000-000000000001,NULL,author,NULL,NULL}";
}

TEST_CASE("an answer with a number that is none is not understood") {
  for (const std::string number : {"x", "", "1x", "99999999999999999999"}) {
    CAPTURE(number);
    const auto answer = read_answer(rows_of({state_line("\"" + number + "\"")}), Push{});
    CHECK(answer.trouble.error.code == Code::protocol);
  }
  CHECK(read_answer(rows_of({state_line("7")}), Push{}).reply.watermark == 7);
}

TEST_CASE("rows that no mirror can hold are refused, and the engine goes on") {
  const test::TemporaryFolder folder(test::memory_folder());
  Engine engine = Engine::open(folder.path() / "mirror.db", fixed_options()).value();
  Replica replica(engine);
  make_device(engine, replica);
  const std::string user = "00000075-0000-7000-8000-000000000001";
  const std::string job = "0000006a-0000-7000-8000-000000000001";
  const std::string project = "00000070-0000-7000-8000-000000000001";
  const std::string at = "2026-01-18T00:00:10.000000Z";
  const auto job_line = [&](const std::string& progress, const std::string& hold) {
    return "row|" + user + "|{jobs," + job + "," + project + "," + user + ",PENDING," + progress +
           ",NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL," + at + ",NULL,NULL," + hold +
           ",NULL,NULL,NULL,NULL," + at + "}";
  };
  const auto step_line = [&](const std::string& state) {
    return "row|" + user + "|{job_steps,0000006a-0000-8100-8000-000000000001," + job +
           ",SCRIPTING,1," + state + ",5,NULL,NULL,NULL,NULL,NULL,NULL}";
  };
  const auto entry_line = [&](const std::string& type, const std::string& amount) {
    return "row|" + user + "|{credit_ledger,00000065-0000-7000-8000-000000000077," + user + "," +
           type + "," + amount + ",NULL," + at + ",NULL,NULL,0,5}";
  };
  const std::string end = "user|" + user + "|{9,4,11,4,36,14,false,ada@example.com,NULL}";
  for (const std::string& row :
       {job_line("101", "0"), job_line("5", "-1"), job_line("5", "9223372036854775807"),
        step_line("skipped"), entry_line("grant", "9223372036854775807"),
        entry_line("grant", "-9223372036854775808"), entry_line("gift", "5"),
        // A project refers to it.
        "gone|" + user + "|{voice_profiles,00000076-0000-7000-8000-000000000001}"}) {
    CAPTURE(row);
    const auto answer = read_answer(rows_of({state_line("0"), row, end}), push_of(replica));
    REQUIRE(answer.trouble.error_class == sync::ErrorClass::none);
    const auto taken = replica.take(answer.reply);
    REQUIRE_FALSE(taken.has_value());
    CHECK(taken.error().code == Code::invalid_argument);
  }
  CHECK(engine.apply(AddCredits{Uuid::parse(user).value(), Credits{1}, "grant"}).has_value());
}

}  // namespace
}  // namespace tally::fuzz
