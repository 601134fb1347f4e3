// Bugs that were found, each with the case that shows it.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>
#include <vector>

#include "mirror.hpp"
#include "support/fixture.hpp"
#include "tally/inspection.hpp"
#include "tally/replica.hpp"
#include "work.hpp"

namespace tally::test {

TEST_CASE("at rest, every engine's memory shows the file's balance, however commits interleaved") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  auto other = Engine::open(mirror.path(), TemporaryMirror::fast());
  REQUIRE(other.has_value());
  const Uuid user = user_id(1);
  for (int round = 0; round < 8; ++round) {
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (Engine* engine : {&mirror.engine(), &*other}) {
      threads.emplace_back([engine, user] {
        for (int i = 0; i < 60; ++i) {
          if (!engine->apply(AddCredits{user, Credits{1}, "grant"})) std::abort();
        }
      });
      threads.emplace_back([engine, user, &stop] {
        while (!stop) (void)engine->balance(user);
      });
    }
    threads[0].join();
    threads[2].join();
    stop = true;
    threads[1].join();
    threads[3].join();
    const auto account = mirror->account(user);
    REQUIRE(account.has_value());
    CHECK(mirror->balance(user)->value == account->check.balance.value);
    CHECK(other->balance(user)->value == account->check.balance.value);
  }
}

TEST_CASE("a batch of two users who do not exist is one of two users, as canonical has it") {
  TemporaryMirror mirror;
  const std::string of_two =
      "batch ops=(add_credits user_id=u8 amount=1 type=grant; add_credits user_id=u9 amount=1 "
      "type=grant)";
  CHECK(mirror.apply(of_two) == "invalid_argument -");
  CHECK(mirror.apply("batch ops=(create_job job_id=j1 project_id=p1 user_id=u8; fail_job job_id=j1 "
                     "error_code=C; add_credits user_id=u9 amount=1 type=grant)") ==
        "invalid_argument -");
  CHECK(mirror.apply("batch ops=(add_credits user_id=u8 amount=1 type=grant; add_credits "
                     "user_id=u8 amount=1 type=grant)") == "user_not_found - index=0");
}

TEST_CASE("a draft's token that comes with a user who is not here, again and again") {
  TemporaryMirror mirror;
  const auto update = [&](const std::string& op_id, const std::string& text) {
    return mirror.apply("update_draft draft_id=d1 session_token=s user_id=u9 prompt_text=" + text +
                        " op_id=" + op_id);
  };
  mirror.check({{"create_draft draft_id=d1 session_token=s prompt_text=p", "ok -"}});
  CHECK(update("o1", "a") == "ok -");
  CHECK(update("o1", "a") == "ok -");
  CHECK(update("o1", "b") == "operation_conflict -");
  mirror.check({{"create_user user_id=u9", "ok 10"},
                {"claim_draft session_token=s user_id=u9", "ok 10 id=" + id('d', 1).text()}});
  CHECK(update("o2", "c") == "ok 10");
  CHECK(update("o1", "a") == "ok 10");
  CHECK(query(mirror.path(), "select prompt_text from draft_prompts") ==
        std::vector<std::string>{"c"});
}

TEST_CASE("a key that a line repeats three hundred times is one key") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  std::string notes;
  for (int n = 0; n < 300; ++n) notes += R"("note":")" + std::to_string(n) + R"(",)";
  const std::string line = mirror.lines.line("add_credits user_id=u1 amount=1 type=grant");
  CHECK(short_answer(mirror.apply_line("{" + notes + line.substr(1))) == "ok 11");
  CHECK(mirror->history(user_id(1), 1)->at(0).note == "299");
}

TEST_CASE("a malformed line is answered with the balance of whom it names, whose job it may be") {
  TemporaryMirror mirror;
  mirror.make_users(2);
  mirror.check({{"expire_credits user_id=u2 amount=3", "ok 7"},
                {"release_job_credits job_id=j1 user_id=u2", "invalid_argument 7"}});
}

TEST_CASE("a refused batch that deleted a project does not free the number of its job") {
  TemporaryMirror mirror;
  mirror.make_users(2);
  mirror.check({{"create_project project_id=p9 user_id=u1 title=T prompt_text=P niche_preset=facts "
                 "target_minutes=1",
                 "ok 10"},
                {"create_job job_id=j9 project_id=p9 user_id=u1", "ok 10"},
                {"reserve_credits user_id=u1 job_id=j9 amount=3", "ok 7"},
                {"release_job_credits job_id=j9", "ok 10"},
                {"batch ops=(delete_project project_id=p9 user_id=u1; expire_credits user_id=u1 "
                 "amount=999)",
                 "insufficient_credits 10 index=1"},
                {"delete_project project_id=p9 user_id=u1", "ok 10"}});
  mirror.reopen();
  mirror.check({{"create_job job_id=j8 project_id=p2 user_id=u2", "ok 10"}});
  CHECK(mirror.findings().empty());
  CHECK(query(mirror.path(), "select count(*) from credit_ledger where job_id is not null") ==
        std::vector<std::string>{"0"});
}

TEST_CASE("a batch that makes its own user is remembered as that user's") {
  TemporaryMirror mirror;
  const std::string id = " op_id=\"" + op_id(77).text() + "\"";
  const std::string made = "batch ops=(create_user user_id=u1" + (" op_id=\"" + op_id(78).text()) +
                           "\"; add_credits user_id=u1 amount=5 type=grant op_id=\"" +
                           op_id(79).text() + "\")" + id;
  CHECK(mirror.apply(made) == "ok 15");
  CHECK(mirror.apply(made) == "ok 15");
  CHECK(mirror->check(user_id(1))->pending_operations == 1);
  CHECK(mirror.apply("batch ops=(add_credits user_id=u1 amount=7 type=grant)" + id) ==
        "operation_conflict 15");
}

TEST_CASE("a batch repeated with a malformed operation in it is another batch") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  const std::string head = "batch op_id=\"" + op_id(77).text() + "\" ops=(add_credits user_id=u1 " +
                           "amount=5 type=grant op_id=\"" + op_id(78).text() + "\"";
  CHECK(mirror.apply(head + ")") == "ok 15");
  CHECK(mirror.apply(head + " surprise=1)") == "operation_conflict 15");
}

TEST_CASE("a batch is compared by its JSON's value") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  const auto batch = [&](std::string options) {
    std::vector<Command> operations(1);
    operations[0].op_id = op_id(78);
    CreateDraft draft{id('d', 1), "S", user_id(1), "P"};
    draft.options = Json{std::move(options)};
    operations[0].operation = draft;
    return mirror->apply_batch(std::move(operations), CallId{op_id(77), time_at(1'000)});
  };
  CHECK(batch(R"({"b":1,"aa":2})").has_value());
  CHECK(batch(R"({ "aa": 2, "b": 1 })").has_value());
}

TEST_CASE("the log callback may call the engine, also when a commit has failed") {
  Options options = TemporaryMirror::fast();
  options.busy_timeout = std::chrono::milliseconds(50);
  Engine* engine = nullptr;
  std::atomic<int> told{0};
  options.callbacks.log = [&](LogLevel, std::string_view) {
    if (told++ == 0 && engine != nullptr) {
      (void)engine->apply(AddCredits{user_id(1), Credits{1}, "grant"});
    }
  };
  TemporaryMirror mirror(options);
  mirror.make_users(1);
  engine = &mirror.engine();
  const RawTransaction locked(mirror.path());
  const auto receipt = mirror->apply(AddCredits{user_id(1), Credits{1}, "grant"});
  REQUIRE(!receipt.has_value());
  CHECK(receipt.error().code == Code::busy);
  CHECK(told >= 1);
}

TEST_CASE("a mirror that was taken out of WAL mode opens") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.close();
  tamper(mirror.path(), "pragma journal_mode = delete");
  mirror.open();
  CHECK(mirror.balance() == 10);
}

TEST_CASE("a file without tables that says it is another program's is left alone") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "theirs.db";
  std::ofstream{path};
  tamper(path, "pragma application_id = 99");
  const auto engine = Engine::open(path);
  REQUIRE(!engine.has_value());
  CHECK(engine.error().code == Code::corrupt);
  CHECK(query(path, "pragma application_id") == std::vector<std::string>{"99"});
}

TEST_CASE("a commit on a user whom nobody has asked for yet reaches memory without trouble") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=4");
  for (const char* line : {"advance_job job_id=j1 to=SCRIPTING", "release_job_credits job_id=j1"}) {
    std::string told;
    Options options = TemporaryMirror::fast();
    options.callbacks.log = [&](LogLevel, std::string_view text) { told += text; };
    mirror.close();
    mirror.open(options);
    mirror.apply(line);
    CHECK(told == "");
    CHECK(mirror->balance(user_id(1)).has_value());
  }
}

TEST_CASE("a record that holds a batch within a batch is corrupt") {
  const auto code_of_record = [](Operation inner) {
    Batch batch;
    batch.operations.push_back(Command{.op_id = id('o', 1), .operation = std::move(inner)});
    Encoder out;
    put_command(out, Command{.op_id = id('o', 2), .operation = std::move(batch)});
    Decoder in(out.bytes());
    try {
      get_command(in);
    } catch (const Failure& failure) {
      return failure.code;
    }
    return Code::ok;
  };
  CHECK(code_of_record(AddCredits{user_id(1), Credits{1}, "grant"}) == Code::ok);
  CHECK(code_of_record(Batch{}) == Code::corrupt);
}

/// A mirror with a hold of 4 for job 1, whose rows were damaged while nobody had it open.
static void open_damaged(TemporaryMirror& mirror, const char* damage) {
  mirror.make_users(2);
  mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=4");
  mirror.close();
  tamper(mirror.path(), damage);
  mirror.open();
}

TEST_CASE("what damage put into a row is corrupt, and not counted on") {
  const auto code_after = [](const char* damage, const char* line) {
    TemporaryMirror mirror;
    open_damaged(mirror, damage);
    const auto command = parse_trace_line(mirror.lines.line(line));
    REQUIRE(command.has_value());
    const auto receipt = mirror->apply_command(*command);
    return receipt ? Code::ok : receipt.error().code;
  };
  CHECK(code_after("select 1", "finalize_job_credits job_id=j1 final_cost=0") == Code::ok);
  for (const char* line :
       {"finalize_job_credits job_id=j1 final_cost=0", "release_job_credits job_id=j1",
        "reserve_credits user_id=u1 job_id=j1 amount=4"}) {
    const std::string told = line;
    CAPTURE(told);
    CHECK(code_after("update tally_job set hold = -4", line) == Code::corrupt);
  }
  using Damage = std::pair<const char*, const char*>;
  for (const auto& [damage, line] : std::vector<Damage>{
           {"update tally_profile set u = 3 where u = 2", "create_user user_id=u3"},
           {"update tally_user set u = -3 where u = 2", "create_user user_id=u2"},
           {"update tally_meta set value = 4294967295 where name = 'user_floor'",
            "create_user user_id=u3"},
           {"update tally_user set u = 0 where u = 2",
            "add_credits user_id=u2 amount=1 type=grant"},
           {"update tally_job set j = 9223372036854775807 where j = 1",
            "delete_project project_id=p1 user_id=u1"},
           {"update tally_job set j = 1 << 61 where j = 1", "advance_job job_id=j1 to=SCRIPTING"},
           {"update tally_job set j = -5 where j = 1",
            "create_job job_id=j1 project_id=p1 user_id=u1"},
           {"update tally_job set status = 12 where j = 1", "release_job_credits job_id=j1"},
           {"update tally_job set active_at = 9223372036854775807, status = 3, hold = 0",
            "sweep grace=1"},
           {"update tally_account set seq = 9223372036854775807",
            "add_credits user_id=u1 amount=1 type=grant"},
           {"update tally_account set pending = 9223372036854775807",
            "add_credits user_id=u1 amount=1 type=grant"},
           {"update tally_account set head = -9223372036854775807",
            "add_credits user_id=u1 amount=1 type=grant"},
           {"update tally_account set head = -1", "add_credits user_id=u1 amount=1 type=grant"},
           {"update tally_account set balance = -9223372036854775807",
            "reserve_credits user_id=u1 job_id=j1 amount=4"},
           {"update tally_outbox set operations = 0",
            "add_credits user_id=u1 amount=1 type=grant"}}) {
    const std::string told = damage;
    CAPTURE(told);
    CHECK(code_after(damage, line) == Code::corrupt);
  }
  CHECK(code_after("update tally_outbox set n = 9223372036854775000"
                   " where n = (select max(n) from tally_outbox)",
                   "add_credits user_id=u1 amount=1 type=grant") == Code::corrupt);
  CHECK(code_after("update tally_project set p = 9223372036854775807 where p = 1",
                   "create_project project_id=p3 user_id=u1 title=Whales prompt_text=Sing"
                   " niche_preset=facts target_minutes=3") == Code::corrupt);
}

TEST_CASE("what damage put into a row is corrupt to who reads it, and ends") {
  const auto read_after = [](const char* damage, auto&& read) {
    TemporaryMirror mirror;
    open_damaged(mirror, damage);
    const auto answer = read(mirror.engine());
    return answer ? Code::ok : answer.error().code;
  };
  const auto history = [](Engine& engine) { return engine.history(user_id(1), 10, 1); };
  CHECK(read_after("select 1", history) == Code::ok);
  CHECK(read_after("update tally_entry set prev = -1 where seq = 2", history) == Code::corrupt);
  CHECK(read_after("update tally_entry set prev = e + 1", history) == Code::corrupt);
  const auto balance = [](Engine& engine) { return engine.balance(user_id(1)); };
  CHECK(read_after("update tally_account set head = -1", balance) == Code::corrupt);
  CHECK(read_after("update tally_account set seq = 1 << 62", balance) == Code::corrupt);
  const auto held = [](Engine& engine) { return Inspection(engine).held_jobs(user_id(1), 9); };
  CHECK(read_after("update tally_job set status = 12", held) == Code::corrupt);
  const auto overview = [](Engine& engine) { return Inspection(engine).overview(); };
  CHECK(read_after("update tally_job set status = 12", overview) == Code::corrupt);
  const auto statements = [](Engine& engine) {
    return engine.each_statement({}, [](const Statement&) { return true; });
  };
  CHECK(read_after("update tally_entry set amount = 1 << 59", statements) == Code::ok);
  CHECK(read_after("update tally_entry set amount = (1 << 60) - e", statements) == Code::corrupt);
  const auto pending = [](Engine& engine) {
    return Replica(engine).each_pending([](const PendingOperation&) { return true; });
  };
  CHECK(read_after("select 1", pending) == Code::ok);
  CHECK(read_after("update tally_outbox set operations = 99", pending) == Code::corrupt);
  CHECK(read_after("update tally_outbox set n = 9223372036854775806 where n = 1", pending) ==
        Code::corrupt);
}

TEST_CASE("an epoch that damage made is no matter, and is a number again with the next") {
  for (const char* value : {"1 << 60", "9223372036854775807", "-5", "'x'", "null"}) {
    CAPTURE(value);
    TemporaryMirror mirror;
    const std::string epoch = " where name = 'epoch'";
    open_damaged(mirror, ("update tally_meta set value = " + (value + epoch)).c_str());
    const auto other = Engine::open(mirror.path(), TemporaryMirror::fast());
    REQUIRE(other.has_value());
    CHECK(other->balance(user_id(1))->value == 6);
    Enrolment enrolment;
    enrolment.device_id = id('x', 1);
    REQUIRE(Replica(mirror.engine()).enrol(enrolment).has_value());
    enrolment.device_id = id('x', 2);
    REQUIRE(Replica(mirror.engine()).enrol_anew(enrolment).has_value());
    // All that was pending was taken back, the user with it, and each engine knows.
    CHECK(other->balance(user_id(1)).error().code == Code::user_not_found);
    CHECK(mirror->balance(user_id(1)).error().code == Code::user_not_found);
    CHECK(query(mirror.path(), "select typeof(value) from tally_meta" + epoch +
                                   " and value between 0 and 1 << 40") ==
          std::vector<std::string>{"integer"});
  }
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.close();
  tamper(mirror.path(), "delete from tally_meta where name = 'epoch'");
  CHECK(Engine::open(mirror.path(), TemporaryMirror::fast()).error().code == Code::corrupt);
}

TEST_CASE("an audit finds an entry whose time damage made none") {
  for (const char* damage :
       {"update tally_operation set at = 1 << 59",
        "insert or replace into tally_entry_text (e, created_at) values (1, -(1 << 59))"}) {
    CAPTURE(damage);
    TemporaryMirror mirror;
    open_damaged(mirror, damage);
    CHECK(mirror->history(user_id(1), 10).error().code == Code::corrupt);
    const auto report = mirror->audit();
    REQUIRE(report.has_value());
    REQUIRE_FALSE(report->findings.empty());
    CHECK(report->findings.front().detail.find("is of no time") != std::string::npos);
  }
}

TEST_CASE("an audit finds words that are not the engine's") {
  for (const char* damage : {"update tally_entry_kind set ordinal = 16 where kind = 1",
                             "update tally_step_name set step_name = 'X' where step_order = 1",
                             "delete from tally_step_name where step_order = 8"}) {
    CAPTURE(damage);
    TemporaryMirror mirror;
    open_damaged(mirror, damage);
    const auto report = mirror->audit();
    REQUIRE(report.has_value());
    REQUIRE_FALSE(report->findings.empty());
    CHECK(report->findings.front().detail ==
          "the kinds of entries or the names of steps are not the engine's");
  }
}

TEST_CASE("an audit finds an operation's record in the place of another's") {
  TemporaryMirror mirror;
  open_damaged(mirror,
               "update tally_outbox set body = (select body from tally_outbox where n = 2)"
               " where n = 3");
  const auto report = mirror->audit();
  REQUIRE(report.has_value());
  REQUIRE(report->findings.size() == 1);
  CHECK(report->findings.front().detail == "pending operation 3 is another once more");
}

TEST_CASE("a number that damage gave a user does not ask for memory") {
  // Of a user who could be, but for all those there are not; and of users who cannot be.
  for (const std::string number : {"2000000000", "549755813888", "9223372036854775807", "-3"}) {
    CAPTURE(number);
    TemporaryMirror mirror;
    mirror.make_users(2);
    mirror.close();
    for (const std::string table : {"user", "account", "profile", "entry"})
      tamper(mirror.path(), "update tally_" + table + " set u = " + number + " where u = 2");
    mirror.open();
    CHECK(mirror->balance(user_id(1))->value == 10);
    const auto balance = mirror->balance(user_id(2));
    (void)mirror->apply(AddCredits{user_id(2), Credits{1}, "grant"});
    if (number == "2000000000") {
      CHECK(balance->value == 10);
      CHECK(mirror->balance(user_id(2))->value == 11);
    } else {
      CHECK(balance.error().code == Code::corrupt);
      CHECK(mirror->balance(user_id(2)).error().code == Code::corrupt);
    }
    CHECK(mirror->balance(user_id(1))->value == 10);
    const auto report = mirror->audit();
    CHECK((report ? !report->findings.empty() : report.error().code == Code::corrupt));
  }
}

}  // namespace tally::test
