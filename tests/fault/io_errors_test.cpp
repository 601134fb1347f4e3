// The n-th read, write, sync, truncation, lock or mapping fails, for every n and every call that
// writes: the answer is a failure of the world or the call's own, nothing is lost or half done, and
// the same call succeeds when the disk is well again.
#include <doctest/doctest.h>

#include <set>

#include "fault/device_steps.hpp"
#include "fault/fault_disk.hpp"

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

/// Makes the call while the disk fails, then again when it is well. False where the fault did not
/// come to pass.
bool ends_well(const Steps& steps, const Step& step, const Fault& fault) {
  CAPTURE(step.name);
  CAPTURE(fault.text());
  const TemporaryFolder folder;
  const auto path = folder.path() / "mirror.db";
  copy_mirror(step.before, path);
  auto engine = Engine::open(path, steps.options());
  REQUIRE(engine);

  FaultDisk::get().fail(fault.call, fault.nth, fault.error, fault.stays);
  auto answer = step.call(*engine);
  FaultDisk::get().heal();
  const bool came = FaultDisk::get().has_failed();

  if (!answer) {
    CHECK_MESSAGE(is_of_the_world(answer.error().code), name_of(answer.error().code));
    CHECK_FALSE(answer.error().detail.empty());
    CHECK(difference(step.rows_before, dump(path)).empty());
    CHECK(all_told(*engine) == step.told_before);
  }
  if (!answer || step.nature.repeats) answer = step.call(*engine);
  REQUIRE_MESSAGE(answer, answer.error().detail);
  CHECK(*answer == step.answer);
  CHECK(all_told(*engine) == step.told_after);
  const auto report = engine->audit();
  REQUIRE(report);
  CHECK(report->findings.empty());
  engine = Error{};
  CHECK(difference(step.rows_after, dump(path)).empty());
  return came;
}

int next(int nth) { return nth + 1; }

/// Where others have a lock for good SQLite asks for ten seconds before it gives up.
bool may_stay(int error) { return error != SQLITE_BUSY; }

int sweep(const Steps& steps, Call call, int error, int (*after)(int)) {
  int faults = 0;
  for (const Step& step : steps.all()) {
    for (const bool stays : {false, true}) {
      if (stays && !may_stay(error)) continue;
      for (int nth = 1; ends_well(steps, step, {call, nth, error, stays}); nth = after(nth))
        ++faults;
    }
  }
  MESSAGE(std::string(FaultDisk::name_of(call))
          << ": " << faults << " faults over " << steps.all().size() << " calls");
  return faults;
}

/// Every way in which the disk may fail a call.
void fail_each_way(const Steps& steps, int (*after)(int)) {
  for (const auto& [call, error] : {std::pair{Call::read, SQLITE_IOERR_READ},
                                    {Call::write, SQLITE_IOERR_WRITE},
                                    {Call::write, SQLITE_FULL},
                                    {Call::sync, SQLITE_IOERR_FSYNC},
                                    {Call::shm_lock, SQLITE_IOERR_SHMLOCK},
                                    {Call::shm_lock, SQLITE_BUSY}})
    CHECK(sweep(steps, call, error, after) > 0);
  // Only a call that reads on a connection of its own opens, maps or locks anything.
  for (const Call call : {Call::open, Call::truncate, Call::shm_map, Call::lock})
    sweep(steps, call, FaultDisk::error_of(call), after);
}

}  // namespace

TEST_CASE("io errors: what an operation asks of the disk fails") {
  fail_each_way(OperationSteps(), next);
}

TEST_CASE("io errors: what a device's lease, push, pull or rebase asks of the disk fails") {
  fail_each_way(DeviceSteps(), sparsely_after);
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
  const OperationSteps steps;
  const Dump& expected = steps.last().rows_before;
  int faults = 0;
  for (const Call call : FaultDisk::calls) {
    for (int nth = 1;; ++nth) {
      const TemporaryFolder folder;
      const auto path = folder.path() / "mirror.db";
      copy_mirror(steps.last().before, path);
      FaultDisk::get().fail(call, nth, FaultDisk::error_of(call), false);
      const Fault fault{call, nth, FaultDisk::error_of(call), false};
      CAPTURE(fault.text());
      bool came = false;
      {
        const auto failed = Engine::open(path, steps.options());
        came = FaultDisk::get().has_failed();
        FaultDisk::get().heal();
        if (!failed) CHECK_MESSAGE(is_of_the_world(failed.error().code), failed.error().detail);
      }
      {
        auto engine = Engine::open(path, steps.options());
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
