// The typed calls: what the engine fills in, what it answers, and what it refuses of values that
// C++ can hold and the ledger cannot.
#include <doctest/doctest.h>

#include "support/operation_tables.hpp"

namespace tally::test {
namespace {

template <class T>
Code code_of(const Result<T>& result) {
  return result ? Code::ok : result.error().code;
}

}  // namespace

TEST_CASE("typed: a receipt has the op_id and the balance after it") {
  TemporaryMirror mirror;
  const auto receipt = mirror->apply(CreateUser{user_id(1)}, {op_id(1), time_at(0)});
  REQUIRE(receipt.has_value());
  CHECK(receipt->op_id == op_id(1));
  CHECK(receipt->balance == Credits{10});
  CHECK_FALSE(receipt->id.has_value());
}

TEST_CASE(
    "typed: the engine makes an op_id of version 7 and takes the present where none is given") {
  TemporaryMirror mirror;
  const auto receipt = mirror->apply(CreateUser{user_id(1)});
  REQUIRE(receipt.has_value());
  CHECK(receipt->op_id.version() == 7);
  CHECK(query(mirror.path(),
              "select created_at > '2026-01-01' and created_at < '2200-01-01' from profiles") ==
        std::vector<std::string>{"1"});
}

TEST_CASE("typed: an injected clock and source of ids are used") {
  std::uint64_t made = 0;
  Options options = TemporaryMirror::fast();
  options.clock = [] { return time_at(86'400); };
  options.new_id = [&made] { return id('n', ++made); };
  TemporaryMirror mirror(options);
  const auto receipt = mirror->apply(CreateUser{user_id(1)});
  REQUIRE(receipt.has_value());
  CHECK(receipt->op_id == id('n', 1));
  CHECK(query(mirror.path(), "select created_at from profiles") ==
        std::vector<std::string>{"2026-01-19T00:00:00.000000Z"});
}

TEST_CASE("typed: new_uuid_v7 makes increasing ids of version 7") {
  Uuid before = new_uuid_v7();
  for (int i = 0; i < 10'000; ++i) {
    const Uuid next = new_uuid_v7();
    REQUIRE(next > before);
    REQUIRE(next.version() == 7);
    REQUIRE((next.bytes[8] & 0xc0U) == 0x80U);
    before = next;
  }
}

TEST_CASE("typed: claim_draft's receipt has the draft's id") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  REQUIRE(mirror->apply(CreateDraft{id('d', 1), "S", {}, "P"}).has_value());
  const auto receipt = mirror->apply(ClaimDraft{"S", user_id(1)});
  REQUIRE(receipt.has_value());
  CHECK(receipt->id == id('d', 1));
}

TEST_CASE("typed: apply_batch applies all or none and makes op_ids for those without") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  std::vector<Command> commands(2);
  commands[0].operation = AddCredits{user_id(1), Credits{5}, "grant"};
  commands[1].operation = ReserveCredits{user_id(1), job_id(1), Credits{15}};
  const auto receipt = mirror->apply_batch(commands);
  REQUIRE(receipt.has_value());
  CHECK(receipt->balance == Credits{0});

  const auto refused = mirror->apply_batch(commands);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == Code::already_reserved);
  CHECK(mirror.balance() == 0);
  CHECK(code_of(mirror->apply_batch({})) == Code::invalid_argument);
}

TEST_CASE("typed: the operations of a batch are of the batch's time") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  std::vector<Command> commands(1);
  commands[0].operation = AddCredits{user_id(1), Credits{5}, "grant"};
  commands[0].at = time_at(5);
  REQUIRE(mirror->apply_batch(commands, {op_id(1), time_at(77)}));
  CHECK(mirror->history(user_id(1), 1)->at(0).created_at == time_at(77));
}

TEST_CASE("typed: submit answers in the commands' order, each for itself") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  std::vector<Command> commands;
  for (int i = 0; i < 12; ++i) {
    commands.push_back(mirror->make_command(ExpireCredits{user_id(1), Credits{3}},
                                            {op_id(static_cast<std::uint64_t>(i) + 1), {}}));
  }
  const auto verdicts = mirror.submit(commands);
  REQUIRE(verdicts.size() == 12);
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    CAPTURE(i);
    CHECK(verdicts[i].op_id == op_id(i + 1));
    CHECK(verdicts[i].code == (i < 3 ? Code::ok : Code::insufficient_credits));
    CHECK(verdicts[i].balance == Credits{i < 3 ? 10 - 3 * (static_cast<std::int64_t>(i) + 1) : 1});
  }
  CHECK(mirror.submit({}).empty());
}

TEST_CASE("typed: a text that is no UTF-8, has U+0000 or is too long is invalid_argument") {
  TemporaryMirror mirror;
  for (const std::string& text : {std::string("\xff"), std::string("a\0b", 3),
                                  std::string("\xed\xa0\x80"), std::string(256, 'x')}) {
    CHECK(code_of(mirror->apply(CreateUser{user_id(1), text})) == Code::invalid_argument);
    CHECK(code_of(mirror->apply(ClaimDraft{text, user_id(1)})) == Code::invalid_argument);
    CHECK(code_of(mirror->apply(UpdateProfile{user_id(1), Change<std::string>(text)})) ==
          Code::invalid_argument);
  }
  CHECK(code_of(mirror->apply(ClaimDraft{"", user_id(1)})) == Code::invalid_argument);
  CHECK(code_of(mirror->balance(user_id(1))) == Code::user_not_found);
}

TEST_CASE("typed: amounts outside Postgres INTEGER are invalid_amount") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  for (const std::int64_t amount :
       {std::int64_t{0}, std::int64_t{-1}, std::int64_t{2'147'483'648}, INT64_MAX, INT64_MIN}) {
    CAPTURE(amount);
    CHECK(code_of(mirror->apply(AddCredits{user_id(1), Credits{amount}, "grant"})) ==
          Code::invalid_amount);
    CHECK(code_of(mirror->apply(ExpireCredits{user_id(1), Credits{amount}})) ==
          Code::invalid_amount);
    CHECK(code_of(mirror->apply(ReserveCredits{user_id(1), job_id(1), Credits{amount}})) ==
          Code::invalid_amount);
    CHECK(code_of(mirror->apply(RetryJob{job_id(1), Credits{amount}})) == Code::invalid_amount);
    if (amount == 0) continue;
    CHECK(code_of(mirror->apply(FinalizeJobCredits{job_id(1), Credits{amount}})) ==
          Code::invalid_amount);
    CHECK(code_of(mirror->apply(CompleteJob{job_id(1), Credits{amount}})) == Code::invalid_amount);
  }
  CHECK(mirror.balance() == 10);
}

TEST_CASE("typed: numbers and words out of their range or list are refused") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  CHECK(code_of(mirror->apply(ClaimJob{job_id(1), 0})) == Code::invalid_argument);
  CHECK(code_of(mirror->apply(ClaimJob{job_id(1), 2'592'001})) == Code::invalid_argument);
  CHECK(code_of(mirror->apply(Sweep{INT64_MIN})) == Code::invalid_argument);
  CHECK(code_of(mirror->apply(ReportProgress{job_id(1), "SCRIPTING", 101})) ==
        Code::invalid_argument);
  CHECK(code_of(mirror->apply(ReportProgress{job_id(1), "SCRIPTING", -1})) ==
        Code::invalid_argument);
  CHECK(code_of(mirror->apply(AddCredits{user_id(1), Credits{1}, "usage"})) == Code::invalid_type);
  CHECK(code_of(mirror->apply(AddAsset{id('a', 1), job_id(1), "movie", "U", "S"})) ==
        Code::invalid_argument);
  CHECK(code_of(mirror->apply(AddAsset{id('a', 1), job_id(1), "zip", "U", "S", -1})) ==
        Code::invalid_argument);
  CHECK(code_of(mirror->apply(AdvanceJob{job_id(1), static_cast<JobStatus>(12)})) ==
        Code::invalid_argument);
  CHECK(code_of(mirror->apply(AdvanceJob{job_id(1), static_cast<JobStatus>(255)})) ==
        Code::invalid_argument);
}

TEST_CASE(
    "typed: JSON that is none, too deep or too long is invalid_argument; good JSON is normalised") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("nothing"), std::string("{} {}"),
        std::string("{'a':1}"), std::string(33, '[') + std::string(33, ']'),
        "\"" + std::string(65'535, 'x') + "\"", std::string("\"\\u0000\"")}) {
    UpdateProfile update{user_id(1)};
    update.notification_prefs = Json{text};
    CHECK(code_of(mirror->apply(update)) == Code::invalid_argument);
  }
  UpdateProfile update{user_id(1)};
  update.notification_prefs = Json{" { \"b\":1e1,\"a\":[]} "};
  CHECK(code_of(mirror->apply(update)) == Code::ok);
  CHECK(query(mirror.path(), "select notification_prefs from profiles") ==
        std::vector<std::string>{"{\"a\": [], \"b\": 10}"});
}

TEST_CASE("typed: an op_id or a new job's id of another version than 1 to 7 is invalid_argument") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  for (const unsigned version : {0U, 8U, 15U}) {
    CAPTURE(version);
    Uuid odd = id('x', 1);
    odd.bytes[6] = static_cast<std::uint8_t>(version << 4U);
    CHECK(code_of(mirror->apply(CreateUser{user_id(2)}, {odd, {}})) == Code::invalid_argument);
    CHECK(code_of(mirror->apply(CreateJob{odd, project_id(1), user_id(1)})) ==
          Code::invalid_argument);
  }
}

TEST_CASE("typed: a time outside the years 0001 to 9999 is invalid_argument") {
  TemporaryMirror mirror;
  for (const std::int64_t us :
       {Timestamp::us_min - 1, Timestamp::us_max + 1, INT64_MIN, INT64_MAX}) {
    CAPTURE(us);
    CHECK(code_of(mirror->apply(CreateUser{user_id(1)}, {op_id(1), Timestamp{us}})) ==
          Code::invalid_argument);
  }
  CHECK(code_of(mirror->apply(CreateUser{user_id(1)}, {op_id(1), Timestamp{Timestamp::us_max}})) ==
        Code::ok);
}

TEST_CASE("typed: a batch within a batch, and one of 1,001 operations, are invalid_argument") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  std::vector<Command> many(1'001);
  for (Command& command : many) command.operation = AddCredits{user_id(1), Credits{1}, "grant"};
  CHECK(code_of(mirror->apply_batch(many)) == Code::invalid_argument);
  many.resize(1'000);
  CHECK(code_of(mirror->apply_batch(many)) == Code::ok);
  std::vector<Command> nested(1);
  nested[0].operation = Batch{{mirror->make_command(AddCredits{user_id(1), Credits{1}, "grant"})}};
  CHECK(code_of(mirror->apply_batch(nested)) == Code::invalid_argument);
  CHECK(mirror.balance() == 1'010);
}

TEST_CASE("typed: a command's line, read again, is the same operation") {
  TemporaryMirror mirror;
  UpdateProfile update{user_id(1), Change<std::string>("A \"quoted\"\n\u00e9"),
                       Change<std::string>::cleared()};
  update.notification_prefs = Json{"{\"a\": [1, 2.50]}"};
  const std::string line = trace_line(mirror->make_command(update, {op_id(1), time_at(1)}));
  const auto again = parse_trace_line(line);
  REQUIRE(again.has_value());
  CHECK(again->op_id == op_id(1));
  CHECK(again->at == time_at(1));
  REQUIRE(std::holds_alternative<UpdateProfile>(again->operation));
  const auto& read = std::get<UpdateProfile>(again->operation);
  CHECK(read.display_name == update.display_name);
  CHECK(read.avatar_url == update.avatar_url);
  CHECK(read.notification_prefs == update.notification_prefs);
  CHECK(read.stripe_customer_id == update.stripe_customer_id);
  CHECK(trace_line(*again) == line);
}

TEST_CASE("typed: codes have one number, one name and one sentence each") {
  for (const CodeRow& row : codes) {
    CHECK(code_named(row.name) == row.code);
    CHECK(name_of(row.code) == row.name);
    CHECK_FALSE(row.sentence.empty());
  }
  CHECK_FALSE(code_named("no_such_code").has_value());
}

}  // namespace tally::test
