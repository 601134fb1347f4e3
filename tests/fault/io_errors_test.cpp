// The n-th read, write, sync, truncation, lock or mapping fails, for every n and every operation:
// the answer is a failure of the world or the operation's own, nothing is lost or half done, and
// the same line applies when the disk is well again.
#include <doctest/doctest.h>
#include <tally/trace.hpp>

#include <set>

#include "fault/fault_disk.hpp"
#include "fault/steps.hpp"

namespace tally::test {
namespace {

using Call = FaultDisk::Call;

bool is_of_the_world(Code code) {
  return std::set{Code::io, Code::full, Code::busy, Code::read_only}.contains(code);
}

struct Fault {
  Call call;
  int nth;
  int error;
  bool stays;
  std::string text() const {
    return std::string(FaultDisk::name_of(call)) + " " + std::to_string(nth) + " answers " +
           std::to_string(error) + (stays ? ", and so do those behind it" : "");
  }
};

/// Applies the line while the disk fails, then when it is well again. False where the fault did not
/// come to pass.
bool applies_in_the_end(const Steps& steps, std::size_t step, const Fault& fault) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "mirror.db";
  copy_mirror(steps.befores[step], path);
  Options options;
  options.busy_timeout = std::chrono::milliseconds(20);
  auto engine = Engine::open(path, options);
  REQUIRE(engine);
  const std::string& line = steps.lines[step];
  const std::string& expected = all_operations()[step].answer;

  FaultDisk::get().fail(fault.call, fault.nth, fault.error, fault.stays);
  const auto answer = apply(*engine, line);
  FaultDisk::get().heal();
  const bool came = FaultDisk::get().has_failed();

  CAPTURE(all_operations()[step].line);
  CAPTURE(fault.text());
  if (answer) {
    CHECK(short_answer(result_line(*answer)) == expected);
  } else {
    CHECK_MESSAGE(is_of_the_world(answer.error().code), name_of(answer.error().code));
    CHECK_FALSE(answer.error().detail.empty());
  }
  const auto again = apply(*engine, line);
  REQUIRE_MESSAGE(again, again.error().detail);
  CHECK(short_answer(result_line(*again)) == expected);
  const auto report = engine->audit();
  REQUIRE(report);
  CHECK(report->findings.empty());
  if (const auto balance = engine->balance(user_id(1)))
    CHECK(query(path, "select balance from tally_account") ==
          std::vector<std::string>{std::to_string(balance->value)});
  engine = Error{};
  CHECK(difference(steps.afters[step], dump(path)).empty());
  return came;
}

void sweep(Call call, int error) {
  const Steps steps;
  int faults = 0;
  // Where others have the lock for good SQLite asks for ten seconds before it gives up.
  const std::vector<bool> staying =
      error == SQLITE_BUSY ? std::vector{false} : std::vector{false, true};
  for (std::size_t step = 0; step < steps.lines.size(); ++step) {
    for (const bool stays : staying) {
      for (int nth = 1; applies_in_the_end(steps, step, {call, nth, error, stays}); ++nth) ++faults;
    }
  }
  MESSAGE(std::string(FaultDisk::name_of(call))
          << ": " << faults << " faults over " << steps.lines.size() << " operations");
  // A single operation opens nothing, and truncates and maps nothing either.
  const bool is_for_opening =
      call == Call::open || call == Call::truncate || call == Call::shm_map || call == Call::lock;
  CHECK((faults > 0 || is_for_opening));
}

}  // namespace

TEST_CASE("io errors: a read that fails") { sweep(Call::read, SQLITE_IOERR_READ); }
TEST_CASE("io errors: a write that fails") { sweep(Call::write, SQLITE_IOERR_WRITE); }
TEST_CASE("io errors: a write that finds the disk full") { sweep(Call::write, SQLITE_FULL); }
TEST_CASE("io errors: a sync that fails") { sweep(Call::sync, SQLITE_IOERR_FSYNC); }
TEST_CASE("io errors: a lock of the shared memory that fails") {
  sweep(Call::shm_lock, SQLITE_IOERR_SHMLOCK);
}
TEST_CASE("io errors: a lock of the shared memory that another one has") {
  sweep(Call::shm_lock, SQLITE_BUSY);
}
TEST_CASE("io errors: whatever else a single operation may ask for") {
  for (const Call call : {Call::open, Call::truncate, Call::shm_map, Call::lock})
    sweep(call, FaultDisk::error_of(call));
}

TEST_CASE(
    "io errors: moving the WAL fails: no operation is blamed, the log tells it, nothing is lost") {
  FaultDisk& disk = FaultDisk::get();
  std::vector<std::string> log;
  Options options = TemporaryMirror::fast();
  options.callbacks.log = [&](LogLevel, std::string_view line) { log.emplace_back(line); };
  TemporaryMirror mirror(options);
  mirror.make_users(1'000);
  std::int64_t added = 0;
  const auto add = [&](int commits) {
    for (int i = 0; i < commits; ++i, added += 200) {
      std::vector<Command> commands;
      for (std::uint64_t n = 1; n <= 1'000; n += 5)
        commands.push_back(mirror->make_command(AddCredits{user_id(n), Credits{1}, "grant"}));
      for (const Verdict& verdict : mirror.submit(std::move(commands)))
        REQUIRE(verdict.code == Code::ok);
    }
  };
  for (const int error : {SQLITE_FULL, SQLITE_IOERR_WRITE}) {
    CAPTURE(error);
    log.clear();
    disk.fail_database_writes(error);
    add(120);
    CHECK(disk.has_failed());
    disk.heal();
    REQUIRE_FALSE(log.empty());
    CHECK(log.front().starts_with("tally.wal.grows: "));
    // What it could not move stays in the WAL, and is moved now.
    add(1);
    log.clear();
    add(1);
    CHECK(log.empty());
  }
  CHECK(mirror.findings().empty());
  CHECK(query(mirror.path(), "select sum(balance) from tally_account") ==
        std::vector<std::string>{std::to_string(10'000 + added)});
  mirror.reopen();
  CHECK(mirror.findings().empty());
}

TEST_CASE("io errors: opening fails at every call, then opens, and nothing has changed") {
  const Steps steps;
  const std::size_t last = steps.lines.size() - 1;
  const Dump expected = dump(steps.befores[last]);
  int faults = 0;
  for (const Call call : FaultDisk::calls) {
    for (int nth = 1;; ++nth) {
      const TemporaryFolder folder;
      const auto path = folder.path() / "mirror.db";
      copy_mirror(steps.befores[last], path);
      Options options;
      options.busy_timeout = std::chrono::milliseconds(20);
      FaultDisk::get().fail(call, nth, FaultDisk::error_of(call), false);
      const Fault fault{call, nth, FaultDisk::error_of(call), false};
      CAPTURE(fault.text());
      bool came = false;
      {
        const auto failed = Engine::open(path, options);
        came = FaultDisk::get().has_failed();
        FaultDisk::get().heal();
        if (!failed) CHECK_MESSAGE(is_of_the_world(failed.error().code), failed.error().detail);
      }
      {
        auto engine = Engine::open(path, options);
        REQUIRE_MESSAGE(engine, engine.error().detail);
        CHECK(engine->balance(user_id(1)).value() == Credits{73});
      }
      CHECK(difference(expected, dump(path)).empty());
      if (!came) break;
      ++faults;
    }
  }
  MESSAGE(faults << " faults");
  CHECK(faults > 20);
}

TEST_CASE("io errors: making a mirror fails at every call, then is made") {
  FaultDisk::get();
  int faults = 0;
  for (const Call call : FaultDisk::calls) {
    for (int nth = 1;; ++nth) {
      const TemporaryFolder folder;
      const auto path = folder.path() / "mirror.db";
      Options options;
      options.busy_timeout = std::chrono::milliseconds(20);
      const Fault fault{call, nth, FaultDisk::error_of(call), false};
      CAPTURE(fault.text());
      FaultDisk::get().fail(call, nth, fault.error, false);
      bool came = false;
      {
        const auto failed = Engine::open(path, options);
        came = FaultDisk::get().has_failed();
        FaultDisk::get().heal();
        if (!failed) CHECK_MESSAGE(is_of_the_world(failed.error().code), failed.error().detail);
      }
      auto engine = Engine::open(path, options);
      REQUIRE_MESSAGE(engine, engine.error().detail);
      CHECK(engine->apply(CreateUser{user_id(1)}));
      if (!came) break;
      ++faults;
    }
  }
  MESSAGE(faults << " faults");
  CHECK(faults > 50);
}

}  // namespace tally::test
