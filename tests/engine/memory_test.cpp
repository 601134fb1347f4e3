// What the engine keeps in memory between commits spares questions to SQLite. Whatever others do to
// the file meanwhile, its answers are those that the file alone would give.
#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <thread>

#include "id_window.hpp"
#include "rows.hpp"
#include "support/fixture.hpp"
#include "tally/trace.hpp"

namespace tally::test {
namespace {

/// An id of version 7 as it is stored: of that millisecond, the n-th.
Uuid stored_id(std::uint64_t ms, std::uint8_t n) {
  Uuid id;
  for (std::size_t i = 0; i < 6; ++i) id.bytes[i] = static_cast<std::uint8_t>(ms >> (40 - 8 * i));
  id.bytes[6] = 0x70;
  id.bytes[7] = n;
  id.bytes[8] = 0x80;
  return folded(id);
}

TEST_CASE("window: an id above all that SQLite has, and not met since, is new") {
  IdWindow window;
  const Uuid id = stored_id(1'000, 5);
  CHECK_FALSE(window.is_new(id));  // Nothing is known yet.
  const auto end = window.end_for(id);
  REQUIRE(end.has_value());
  window.load(stored_id(1'000, 4), *end);
  CHECK(window.is_new(id));
  CHECK_FALSE(window.end_for(id).has_value());
  CHECK_FALSE(window.is_new(stored_id(1'000, 4)));
  CHECK_FALSE(window.is_new(stored_id(999, 9)));
  window.add(id);
  CHECK_FALSE(window.is_new(id));
  CHECK(window.is_new(stored_id(1'000, 6)));
  Uuid clashes = id;
  clashes.bytes[15] = 0x71;  // Shares the first 15 bytes.
  CHECK_FALSE(window.is_new(clashes));
  window.forget();
  CHECK_FALSE(window.is_new(stored_id(1'000, 6)));
}

TEST_CASE("window: ids of another version, and those of days to come, are not judged") {
  IdWindow window;
  const Uuid id = stored_id(1'000, 5);
  window.load(std::nullopt, *window.end_for(id));
  Uuid random = stored_id(0x0190'0000'0000, 1);
  random.bytes[15] = 0x40;
  CHECK_FALSE(window.end_for(random).has_value());
  CHECK_FALSE(window.is_new(random));
  const Uuid later = stored_id(1'000 + 2 * 86'400'000, 1);
  CHECK_FALSE(window.is_new(later));
  CHECK(window.end_for(later).has_value());
}

TEST_CASE("window: what it forgets is not called new") {
  IdWindow window;
  window.load(std::nullopt, *window.end_for(stored_id(1, 0)));
  for (std::uint64_t ms = 1; ms <= 100'000; ++ms) window.add(stored_id(ms, 0));
  for (std::uint64_t ms = 1; ms <= 100'000; ms += 7) {
    CAPTURE(ms);
    REQUIRE_FALSE(window.is_new(stored_id(ms, 0)));
  }
  CHECK(window.is_new(stored_id(100'001, 0)));
}

TEST_CASE("memory: a refusal that it decides does not wait for another's transaction") {
  Options options = TemporaryMirror::fast();
  options.busy_timeout = std::chrono::milliseconds{50};
  TemporaryMirror mirror(options);
  mirror.make_users(1);
  const RawTransaction other(mirror.path());
  CHECK(mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=11") ==
        "insufficient_credits 10");
  const auto reserved = mirror->apply(ReserveCredits{user_id(1), job_id(1), Credits{1}});
  REQUIRE_FALSE(reserved.has_value());
  CHECK(reserved.error().code == Code::busy);
}

TEST_CASE("memory: what another engine did between two operations is seen by the second") {
  TemporaryMirror mirror;
  mirror.make_users(2);
  auto other = Engine::open(mirror.path(), TemporaryMirror::fast());
  REQUIRE(other.has_value());
  CHECK(other->apply(ReserveCredits{user_id(1), job_id(1), Credits{8}}, {op_id(1), {}}));
  CHECK(mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=11") == "already_reserved 2");
  // The same operation again, from the engine that did not see it the first time.
  CHECK(mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=8 op_id=o1") == "ok 2");
  CHECK(mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=7 op_id=o1") ==
        "operation_conflict 2");
  CHECK(other->apply(CreateJob{job_id(9), project_id(1), user_id(1)}));
  CHECK(mirror.apply("create_job job_id=j9 project_id=p1 user_id=u1") == "already_exists 2");
  CHECK(mirror.apply("finalize_job_credits job_id=j1 final_cost=8") == "ok 2");
  CHECK(other->apply(ExpireCredits{user_id(1), Credits{2}}));
  CHECK(mirror.apply("reserve_credits user_id=u1 job_id=j9 amount=1") == "insufficient_credits 0");
  CHECK(mirror.findings() == std::vector<std::string>{});
}

TEST_CASE("memory: engines that overtake one another take their commands back whole") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.apply("add_credits user_id=u1 amount=10000 type=grant");
  auto other = Engine::open(mirror.path(), TemporaryMirror::fast());
  REQUIRE(other.has_value());
  constexpr int rounds = 400;
  std::atomic<int> refused{0};
  const auto work = [&](Engine& engine) {
    for (int i = 0; i < rounds; ++i) {
      // The settlement names the reservation that it meant: that of this round, not of one before.
      std::vector<Command> commands;
      commands.push_back(engine.make_command(ReserveCredits{user_id(1), job_id(1), Credits{1}}));
      commands.push_back(engine.make_command(FinalizeJobCredits{job_id(1), Credits{1}}));
      const auto verdicts = engine.submit(std::move(commands));
      if (!verdicts) ++refused;
      for (const Verdict& verdict : verdicts ? *verdicts : std::vector<Verdict>{})
        if (verdict.code != Code::ok) ++refused;
    }
  };
  std::thread beside([&] { work(*other); });
  work(mirror.engine());
  beside.join();
  CHECK(refused == 0);
  CHECK(mirror.balance() == 10'010 - 2 * rounds);
  CHECK(mirror.findings() == std::vector<std::string>{});
}

TEST_CASE("memory: what a refused batch had flushed is taken back in the file, too") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  CHECK(mirror.apply("create_draft draft_id=d1 session_token=tok prompt_text=first")
            .starts_with("ok"));
  // Claiming looks for drafts in SQLite, so what the batch changed before is written there. Another
  // operation has the transaction committed.
  std::vector<Command> commands;
  for (const char* line : {"batch ops=(claim_draft session_token=tok user_id=u1 ; "
                           "claim_draft session_token=tok user_id=u1)",
                           "add_credits user_id=u1 amount=1 type=grant"})
    commands.push_back(parse_trace_line(mirror.lines.line(line)).value());
  const auto verdicts = mirror.submit(std::move(commands));
  CHECK(verdicts.at(0).code != Code::ok);
  CHECK(verdicts.at(1).code == Code::ok);
  mirror.reopen();
  CHECK(query(mirror.path(), "select count(*) from tally_draft where u is null") ==
        std::vector<std::string>{"1"});
}

TEST_CASE("memory: an operation is known after tens of thousands of others") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  const CallId first{new_uuid_v7(), time_at(1)};
  CHECK(mirror->apply(AddCredits{user_id(1), Credits{5}, "grant"}, first));
  for (int commit = 0; commit < 6; ++commit) {
    std::vector<Command> commands;
    for (int i = 0; i < 8'000; ++i)
      commands.push_back(mirror->make_command(AddCredits{user_id(1), Credits{1}, "grant"}));
    for (const Verdict& verdict : mirror.submit(std::move(commands)))
      REQUIRE(verdict.code == Code::ok);
  }
  CHECK(mirror.balance() == 48'015);
  CHECK(mirror->apply(AddCredits{user_id(1), Credits{5}, "grant"}, first));
  CHECK(mirror.balance() == 48'015);
  const auto other = mirror->apply(AddCredits{user_id(1), Credits{6}, "grant"}, first);
  REQUIRE_FALSE(other.has_value());
  CHECK(other.error().code == Code::operation_conflict);
}

TEST_CASE("memory: a durable commit of many pages is in the file, whoever reads it") {
  TemporaryMirror mirror(Options{});
  mirror.make_users(1);
  std::vector<Command> commands;
  for (int i = 0; i < 6'000; ++i)
    commands.push_back(mirror->make_command(AddCredits{user_id(1), Credits{1}, "grant"}));
  mirror.submit(std::move(commands));
  CHECK(query(mirror.path(), "select balance from tally_account") ==
        std::vector<std::string>{"6010"});
  CHECK(query(mirror.path(), "pragma integrity_check") == std::vector<std::string>{"ok"});
  mirror.reopen();
  CHECK(mirror.findings() == std::vector<std::string>{});
}

TEST_CASE("memory: a project's jobs are found in every era") {
  TemporaryMirror mirror;
  mirror.make_users(2);
  mirror.close();
  tamper(mirror.path(), "update tally_job set j = 200000 where j = 2");
  mirror.open();
  CHECK(mirror.apply("create_job job_id=j7 project_id=p1 user_id=u1") == "ok 10");
  CHECK(query(mirror.path(), "select max(j) from tally_job") == std::vector<std::string>{"200001"});
  CHECK(mirror.apply("delete_project project_id=p1 user_id=u1") == "ok 10");
  CHECK(query(mirror.path(), "select j from tally_job") == std::vector<std::string>{"200000"});
  CHECK(mirror.findings() == std::vector<std::string>{});
}

/// The eight bytes behind the version and the count.
std::uint64_t random_part() {
  std::uint64_t part = 0;
  const Uuid id = new_uuid_v7();
  std::memcpy(&part, id.bytes.data() + 8, sizeof part);
  return part;
}

TEST_CASE("memory: a forked process makes other ids than its parent") {
  random_part();  // From here on this thread has random bytes of its own.
  const auto makes_one = [](const Pipes& pipes, const Given&) {
    pipes.write(random_part());
    return 0;
  };
  ChildProcess child(makes_one, {});
  const auto theirs = child.read();
  REQUIRE(theirs.has_value());
  const std::uint64_t ours = random_part();
  CHECK((*theirs >> 16U) != (ours >> 16U));  // Beyond what counts within a millisecond.
  CHECK(child.wait() == 0);
}

}  // namespace
}  // namespace tally::test
