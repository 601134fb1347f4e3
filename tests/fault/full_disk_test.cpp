// A disk that is full stays full for a while, and then gives space back; files that cannot be
// removed or cut shorter.
#include <doctest/doctest.h>

#include "fault/device_steps.hpp"
#include "fault/fault_disk.hpp"

namespace tally::test {
namespace {

using Call = FaultDisk::Call;

/// Makes every call, each again where the disk was full; space comes back once so many have failed
/// for the lack of it. Answers how many did.
int make_all(Engine& engine, const Steps& steps, int failures_max) {
  int failures = 0;
  for (const Step& step : steps.all()) {
    CAPTURE(step.name);
    auto answer = step.call(engine);
    while (!answer) {
      REQUIRE_MESSAGE(answer.error().code == Code::full, answer.error().detail);
      // What is there can be read, and a refusal that memory decides is one still.
      const bool is_first = &step == &steps.all().front();
      if (!is_first) CHECK(engine.balance(user_id(1)));
      if (!is_first) CHECK(engine.apply(CreateUser{user_id(1)}).error().code == Code::user_exists);
      if (++failures == failures_max) FaultDisk::get().heal();
      answer = step.call(engine);
    }
    CHECK(*answer == step.answer);
  }
  return failures;
}

void fill_at_every_write(const Steps& steps, int stride) {
  int rounds = 0;
  int failures = 0;
  for (int nth = 1;; nth += stride) {
    CAPTURE(nth);
    TemporaryMirror mirror(steps.options());
    FaultDisk::get().fail(Call::write, nth, SQLITE_FULL, true);
    const int failed = make_all(mirror.engine(), steps, 5);
    FaultDisk::get().heal();
    CHECK(mirror.findings().empty());
    CHECK(all_told(mirror.engine()) == steps.last().told_after);
    mirror.close();
    CHECK(difference(steps.last().rows_after, dump(mirror.path())).empty());
    if (failed == 0) break;
    failures += failed;
    ++rounds;
  }
  MESSAGE(rounds << " times full, " << failures << " calls that waited for space");
  CHECK(rounds > 10);
}

}  // namespace

TEST_CASE("full disk: it stays full from the n-th write on, and everything goes on behind it") {
  fill_at_every_write(OperationSteps(), long_run() ? 1 : 3);
}

TEST_CASE("full disk: so it is with a device, which leases, pushes, pulls and rebases") {
  fill_at_every_write(DeviceSteps(), long_run() ? 1 : 3);
}

TEST_CASE(
    "full disk: no WAL can be moved, then space comes back, and it is moved and starts anew") {
  FaultDisk& disk = FaultDisk::get();
  TemporaryMirror mirror;
  mirror.make_users(1'000);
  std::int64_t added = 0;
  const auto add = [&] {
    std::vector<Command> commands;
    for (std::uint64_t n = 1; n <= 1'000; n += 5)
      commands.push_back(mirror->make_command(AddCredits{user_id(n), Credits{1}, "grant"}));
    const auto verdicts = mirror->submit(std::move(commands));
    if (verdicts) added += 200;
    return verdicts ? Code::ok : verdicts.error().code;
  };
  while (add() == Code::ok && added < 4'000) {
  }
  disk.fail(Call::write, 1, SQLITE_FULL, true);
  for (int i = 0; i < 20; ++i) REQUIRE(add() == Code::full);
  disk.heal();
  auto wal = mirror.path();
  wal += "-wal";
  std::uintmax_t longest = 0;
  for (int i = 0; i < 400; ++i) {
    REQUIRE(add() == Code::ok);
    longest = std::max(longest, std::filesystem::file_size(wal));
  }
  // 400 commits of some 50 pages are many times what it holds before it is moved.
  CHECK(longest < 12'000U * 2'072U);
  CHECK(mirror.findings().empty());
  mirror.reopen();
  CHECK(query(mirror.path(), "select sum(balance) from tally_account") ==
        std::vector<std::string>{std::to_string(10'000 + added)});
}

TEST_CASE("full disk: while a mirror is opened that was left with a WAL") {
  FaultDisk& disk = FaultDisk::get();
  const OperationSteps steps;
  TemporaryMirror mirror(Options{});
  REQUIRE(make_all(mirror.engine(), steps, 0) == 0);
  const Credits balance = mirror->balance(user_id(1)).value();
  // As a killed process leaves it.
  const TemporaryFolder folder;
  const auto path = folder.path() / "mirror.db";
  copy_mirror(mirror.path(), path);
  disk.fail(Call::write, 1, SQLITE_FULL, true);
  {
    auto engine = Engine::open(path);
    if (!engine) CHECK(engine.error().code == Code::full);
    if (engine) CHECK(engine->balance(user_id(1)).value() == balance);
    if (engine) CHECK(engine->apply(CreateUser{user_id(2)}).error().code == Code::full);
  }
  disk.heal();
  auto engine = Engine::open(path);
  REQUIRE(engine);
  CHECK(engine->audit()->findings.empty());
  engine = Error{};
  CHECK(difference(steps.last().rows_after, dump(path)).empty());
}

TEST_CASE("io errors: closing fails at every call, and nothing is lost by it") {
  const OperationSteps steps;
  std::string told;
  for (const Call call : FaultDisk::calls) {
    int faults = 0;
    for (int nth = 1;; ++nth) {
      CAPTURE(std::string(FaultDisk::name_of(call)));
      CAPTURE(nth);
      TemporaryMirror mirror(Options{});
      REQUIRE(make_all(mirror.engine(), steps, 0) == 0);
      FaultDisk::get().fail(call, nth, FaultDisk::error_of(call), true);
      mirror.close();
      FaultDisk::get().heal();
      const bool came = FaultDisk::get().has_failed();
      mirror.open();
      CHECK(mirror.findings().empty());
      mirror.close();
      CHECK(difference(steps.last().rows_after, dump(mirror.path())).empty());
      if (!came) break;
      ++faults;
    }
    // It opens nothing and maps nothing anew.
    const bool is_due = call != Call::open && call != Call::shm_map && call != Call::shm_lock;
    CHECK((faults > 0 || !is_due));
    told += std::string(FaultDisk::name_of(call)) + " " + std::to_string(faults) + " ";
  }
  MESSAGE("faults: " << told);
}

TEST_CASE("io errors: a file that somebody vacuumed cannot be cut shorter, and nothing is lost") {
  FaultDisk& disk = FaultDisk::get();
  for (const bool stays : {false, true}) {
    TemporaryMirror mirror;
    mirror.make_users(300);
    for (int n = 1; n <= 300; ++n)
      REQUIRE(mirror.apply("delete_project project_id=p" + std::to_string(n) + " user_id=u" +
                           std::to_string(n)) == "ok 10");
    mirror.reopen();
    const auto before = std::filesystem::file_size(mirror.path());
    tamper(mirror.path(), "vacuum");
    const Dump expected = dump(mirror.path());
    disk.fail(Call::truncate, 1, FaultDisk::error_of(Call::truncate), stays);
    mirror.close();
    CHECK(disk.has_failed());
    disk.heal();
    mirror.open();
    CHECK(mirror.findings().empty());
    CHECK(mirror.apply("create_user user_id=u301") == "ok 10");
    mirror.close();
    CHECK(std::filesystem::file_size(mirror.path()) < before);
    CHECK(difference(expected, dump(mirror.path())).find("\n- tally_user ") == std::string::npos);
  }
}

}  // namespace tally::test
