// Several processes on one file, and processes that are killed at work.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <set>
#include <thread>

#include "platform.hpp"
#include "support/operation_tables.hpp"

namespace tally::test {
namespace {

/// The operation number `n` of a stream that is the same each time, over u1 and its project p1.
Command numbered_operation(Engine& engine, std::uint64_t n) {
  const CallId call{op_id(n), time_at(static_cast<std::int64_t>(n % 1'000'000))};
  const Uuid job = job_id(n / 6 * 6 + 6);  // One job for each six operations.
  switch (n % 6) {
    case 0:
      return engine.make_command(CreateJob{job, project_id(1), user_id(1)}, call);
    case 1:
      return engine.make_command(ReserveCredits{user_id(1), job, Credits{1}}, call);
    case 2:
      return engine.make_command(AdvanceJob{job, JobStatus::QUEUED, "Next"}, call);
    case 3:
      return engine.make_command(FailJob{job, "CANCELLED", "Killed"}, call);
    case 4: {
      Batch batch;
      Command add = engine.make_command(AddCredits{user_id(1), Credits{2}, "grant", "In a batch"},
                                        {id('i', n), {}});
      Command expire = engine.make_command(ExpireCredits{user_id(1), Credits{2}}, {id('k', n), {}});
      batch.operations.push_back(std::move(add));
      batch.operations.push_back(std::move(expire));
      return engine.make_command(std::move(batch), call);
    }
    default:
      return engine.make_command(
          AddCredits{user_id(1), Credits{1}, "purchase", {}, "pi_" + std::to_string(n)}, call);
  }
}

/// What must not grow when an operation comes again.
std::vector<std::string> row_counts(const std::filesystem::path& path) {
  return query(
      path,
      "select (select count(*) from tally_operation), (select count(*) from credit_ledger), "
      "(select count(*) "
      "from jobs), (select coalesce(sum(operations), 0) from tally_outbox), (select count(*) from "
      "tally_payment)");
}

/// From a first number on, in so many threads, with a durability.
int work_until_killed(const Pipes& pipes, const Given& given) {
  const std::uint64_t first = given.numbers[0];
  Options options;
  options.durability = static_cast<Durability>(given.numbers[2]);
  auto engine = Engine::open(given.path, options);
  if (!engine) return 1;
  std::vector<std::thread> workers;
  std::atomic<int> status{0};
  for (std::uint64_t t = 0; t < given.numbers[1]; ++t) {
    workers.emplace_back([&, t] {
      for (std::uint64_t n = first + t * 60'000; n < first + (t + 1) * 60'000; ++n) {
        if (!engine->apply_command(numbered_operation(*engine, n))) {
          status = 2;
          return;
        }
        pipes.write(n);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  return status.load();
}

/// Kills processes at work: each applies numbered operations and writes down those acknowledged.
void kill_at_work(const Options& options, int rounds, std::uint64_t threads) {
  TemporaryMirror mirror(options);
  mirror.make_users(1);
  // A round that is killed early may leave a hold.
  mirror.check({{"add_credits user_id=u1 amount=5000 type=grant", "ok 5010"}});
  mirror.close();
  std::mt19937 random(static_cast<unsigned>(rounds) + static_cast<unsigned>(threads));
  std::size_t acknowledged_in_all = 0;
  for (int round = 1; round <= rounds; ++round) {
    CAPTURE(round);
    const auto first = static_cast<std::uint64_t>(round) * 600'000;
    const auto durability = static_cast<std::uint64_t>(options.durability);
    ChildProcess child(work_until_killed, {mirror.path(), {first, threads, durability}});
    std::vector<std::uint64_t> acknowledged;
    if (const auto n = child.read()) acknowledged.push_back(*n);
    REQUIRE_FALSE(acknowledged.empty());
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 25'000));
    child.kill_now();
    while (const auto n = child.read()) acknowledged.push_back(*n);
    REQUIRE(child.wait() == ChildProcess::killed);
    acknowledged_in_all += acknowledged.size();

    mirror.open();
    CHECK(mirror.findings() == std::vector<std::string>{});
    const auto counts = row_counts(mirror.path());
    const Dump before = round % 10 == 0 ? dump(mirror.path()) : Dump{};
    std::vector<Command> again;
    for (const std::uint64_t n : acknowledged)
      again.push_back(numbered_operation(mirror.engine(), n));
    int missing = 0;
    for (const Verdict& verdict : mirror.submit(std::move(again)))
      missing += verdict.code == Code::ok ? 0 : 1;
    CHECK(missing == 0);
    CHECK(row_counts(mirror.path()) == counts);
    if (round % 10 == 0) CHECK(difference(before, dump(mirror.path())) == "");
    mirror.close();
  }
  MESSAGE(rounds << " processes killed, " << acknowledged_in_all
                 << " acknowledged operations, none missing");
}

/// The op_ids of a process: its number, and which of its operations.
Uuid operation_of(std::uint64_t process, std::uint64_t n) { return id('k', process << 24U | n); }

/// Applies until it is killed; tells of every operation that it was told `ok` of.
int add_for_ever(const Pipes& pipes, const Given& given) {
  Options options;
  options.durability = given.numbers[0] % 2 == 0 ? Durability::full : Durability::normal;
  auto engine = Engine::open(given.path, options);
  if (!engine) return 1;
  for (std::uint64_t n = 1;; ++n) {
    if (!engine->apply(AddCredits{user_id(1), Credits{1}, "grant"},
                       {operation_of(given.numbers[0], n), {}}))
      return 2;
    pipes.write(n);
  }
}

/// Processes that work on one file at once.
class Crowd {
 public:
  explicit Crowd(std::filesystem::path path) : path_(std::move(path)) {
    for (Member& member : members_) start(member);
  }
  void replace_one(std::uint64_t random) {
    Member& member = members_[random % members_.size()];
    end(member);
    start(member);
  }
  void end_all() {
    for (Member& member : members_) end(member);
  }
  std::uint64_t started() const { return started_; }
  /// Entries' ids, of the operations that one of them was told `ok` of.
  const std::set<std::string>& acknowledged() const { return acknowledged_; }

 private:
  struct Member {
    std::uint64_t number = 0;
    std::unique_ptr<ChildProcess> process{};
  };
  void start(Member& member) {
    member.number = ++started_;
    member.process = std::make_unique<ChildProcess>(add_for_ever, Given{path_, {member.number}});
  }
  void end(Member& member) {
    member.process->kill_now();
    while (const auto n = member.process->read())
      acknowledged_.insert(operation_of(member.number, *n).derived(0).text());
    REQUIRE(member.process->wait() == ChildProcess::killed);
  }

  std::filesystem::path path_;
  std::array<Member, 4> members_{};
  std::uint64_t started_ = 0;
  std::set<std::string> acknowledged_{};
};

}  // namespace

TEST_CASE("kill -9: an acknowledged operation is there afterwards, and audit finds nothing") {
  kill_at_work(Options{}, long_run() ? 500 : 100, 1);
}

TEST_CASE("kill -9: so it is with four threads that share commits, and with normal durability") {
  kill_at_work(TemporaryMirror::fast(), long_run() ? 500 : 100, 4);
}

TEST_CASE(
    "kill -9: of four at work on one file any is killed: what was acknowledged is there once") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.close();
  std::mt19937_64 random(29);
  const int kills = long_run() ? 1'000 : 120;
  Crowd crowd(mirror.path());
  for (int i = 0; i < kills; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 30'000));
    crowd.replace_one(random());
  }
  crowd.end_all();

  mirror.open();
  CHECK(mirror.findings() == std::vector<std::string>{});
  const auto there =
      query(mirror.path(),
            "select id from credit_ledger where type = 'grant' and amount = 1 order by id");
  const std::set<std::string> ids(there.begin(), there.end());
  CHECK(ids.size() == there.size());
  CHECK(std::includes(ids.begin(), ids.end(), crowd.acknowledged().begin(),
                      crowd.acknowledged().end()));
  // What was applied without a word is at most one operation a process.
  CHECK(ids.size() <= crowd.acknowledged().size() + crowd.started());
  CHECK(mirror.balance() == 10 + static_cast<std::int64_t>(ids.size()));
  MESSAGE(crowd.started() << " processes killed, " << crowd.acknowledged().size()
                          << " operations acknowledged, " << ids.size() << " there");
  CHECK(crowd.acknowledged().size() > crowd.started());
}

TEST_CASE("kill -9: a process killed while it makes the mirror leaves one that opens") {
  std::mt19937 random(7);
  for (int round = 1; round <= (long_run() ? 100 : 15); ++round) {
    CAPTURE(round);
    TemporaryFolder folder;
    const std::filesystem::path path = folder.path() / "mirror.db";
    const auto makes_a_mirror = [](const Pipes& pipes, const Given& given) {
      pipes.write(1);
      auto engine = Engine::open(given.path);
      if (engine) pipes.write(engine->apply(CreateUser{user_id(1)}) ? 2 : 3);
      return pipes.wait() ? 0 : 1;
    };
    ChildProcess child(makes_a_mirror, {path});
    REQUIRE(child.read() == 1);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 15'000));
    child.kill_now();
    const bool acknowledged = child.read() == 2;
    child.wait();
    auto engine = Engine::open(path);
    REQUIRE(engine.has_value());
    if (acknowledged) CHECK(engine->balance(user_id(1))->value == 10);
    CHECK(engine->apply(CreateUser{user_id(2)}).has_value());
    CHECK(engine->audit()->findings.empty());
  }
}

TEST_CASE(
    "processes: a commit of another process is in balance() and check() as soon as it has returned "
    "there") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.close();
  const auto adds_when_told = [](const Pipes& pipes, const Given& given) {
    auto engine = Engine::open(given.path, TemporaryMirror::fast());
    if (!engine) return 1;
    std::uint64_t n = 0;
    while (pipes.wait()) {
      if (!engine->apply(AddCredits{user_id(1), Credits{1}, "grant"})) return 2;
      pipes.write(++n);
    }
    return 0;
  };
  ChildProcess child(adds_when_told, {mirror.path()});
  mirror.open();
  for (std::int64_t i = 1; i <= 200; ++i) {
    child.go_on();
    REQUIRE(child.read().has_value());
    // By turns, so that each has to notice by itself.
    if (i % 2 == 0) {
      REQUIRE(mirror.balance() == 10 + i);
    } else {
      const auto check = mirror->check(user_id(1));
      REQUIRE(check.has_value());
      REQUIRE(check->balance.value == 10 + i);
      REQUIRE(check->entries == 1 + i);
    }
  }
}

TEST_CASE("processes: two that write by turns each see the other's commits, and new users") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.close();
  const auto writes_by_turns = [](const Pipes& pipes, const Given& given) {
    auto engine = Engine::open(given.path, TemporaryMirror::fast());
    if (!engine) return 1;
    for (std::uint64_t n = 1; pipes.wait(); ++n) {
      const auto seen = engine->balance(user_id(1));
      pipes.write(seen ? static_cast<std::uint64_t>(seen->value) : 0);
      if (!engine->apply(AddCredits{user_id(1), Credits{1}, "grant"})) return 2;
      if (!engine->apply(CreateUser{user_id(n + 1)})) return 3;
      pipes.write(n);
    }
    return 0;
  };
  ChildProcess child(writes_by_turns, {mirror.path()});
  mirror.open();
  std::int64_t expected = 10;
  for (std::uint64_t n = 1; n <= 60; ++n) {
    const auto receipt = mirror->apply(AddCredits{user_id(1), Credits{1}, "grant"});
    REQUIRE(receipt.has_value());
    REQUIRE(receipt->balance == Credits{++expected});
    child.go_on();
    REQUIRE(child.read() == static_cast<std::uint64_t>(expected));
    REQUIRE(child.read() == n);
    REQUIRE(mirror.balance() == ++expected);
    REQUIRE(mirror.balance(n + 1) == 10);
  }
  CHECK(mirror.findings().empty());
}

TEST_CASE(
    "processes: while another commits without a pause, balances are current, never fall and match "
    "their entries") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.close();
  const auto adds_without_a_pause = [](const Pipes& pipes, const Given& given) {
    auto engine = Engine::open(given.path, TemporaryMirror::fast());
    if (!engine || !pipes.wait()) return 1;
    for (std::uint64_t n = 1; n <= 1'500; ++n) {
      if (!engine->apply(AddCredits{user_id(1), Credits{1}, "grant"})) return 2;
      pipes.write(n);
    }
    return 0;
  };
  ChildProcess child(adds_without_a_pause, {mirror.path()});
  mirror.open();
  std::atomic<bool> stop{false};
  std::atomic<int> odd{0};
  std::thread reader([&] {
    std::int64_t latest = 10;
    while (!stop) {
      const auto check = mirror->check(user_id(1));
      if (!check || check->balance.value < latest || check->entries != check->balance.value - 9) {
        ++odd;
      } else {
        latest = check->balance.value;
      }
    }
  });
  child.go_on();
  while (const auto n = child.read()) {
    const auto balance = mirror->balance(user_id(1));
    if (!balance || balance->value < 10 + static_cast<std::int64_t>(*n)) ++odd;
  }
  CHECK(child.wait() == 0);
  stop = true;
  reader.join();
  CHECK(odd == 0);
  CHECK(mirror.balance() == 1'510);
}

TEST_CASE("processes: four that write to one account without a pause lose nothing") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.close();
  const auto writes = [](const Pipes& pipes, const Given& given) {
    auto engine = Engine::open(given.path, TemporaryMirror::fast());
    if (!engine || !pipes.wait()) return 1;
    for (std::uint64_t n = 1; n <= 150; ++n) {
      if (!engine->apply(AddCredits{user_id(1), Credits{1}, "grant"},
                         {id('x', given.numbers[0] * 1'000 + n), {}}))
        return 2;
    }
    return 0;
  };
  Children children;
  for (std::uint64_t p = 0; p < 4; ++p) children.add(writes, {mirror.path(), {p}});
  children.go_on();
  for (const int status : children.wait()) CHECK(status == 0);
  mirror.open();
  CHECK(mirror.balance() == 610);
  CHECK(mirror->pending_operations().value() == 603);
  CHECK(mirror.findings().empty());
}

/// A child that is forked has a copy of it; one that is started anew, one that is not held.
platform::FileLock& lock_of_the_owner() {
  static platform::FileLock lock;
  return lock;
}
int outlive_the_owner(const Pipes& pipes, const Given&) {
  const bool has_it = lock_of_the_owner().held();
  lock_of_the_owner().release();
  pipes.write(has_it ? 1 : 0);
  (void)pipes.wait();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  return 0;
}
int own_the_lock(const Pipes& pipes, const Given& given) {
  if (!lock_of_the_owner().try_take(given.path)) return 1;
  const ChildProcess child(outlive_the_owner, {});
  pipes.write(child.read().value_or(2));
  (void)pipes.wait();
  return 0;
}

TEST_CASE("processes: a lock is its owner's, and no child's that is forked from it") {
  const TemporaryMirror mirror;
  std::filesystem::path path = mirror.path();
  path += "-lock";
  ChildProcess owner(own_the_lock, {path});
  CHECK(owner.read() == 0);
  platform::FileLock lock;
  CHECK(!lock.try_take(path));
  owner.kill_now();
  CHECK(owner.wait() == ChildProcess::killed);
  CHECK(lock.try_take(path));
}

TEST_CASE(
    "processes: the same operation from four processes at once is applied once and ok for each") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.close();
  const auto applies_the_same = [](const Pipes& pipes, const Given& given) {
    auto engine = Engine::open(given.path, TemporaryMirror::fast());
    if (!engine || !pipes.wait()) return 1;
    for (std::uint64_t n = 1; n <= 50; ++n) {
      if (!engine->apply(AddCredits{user_id(1), Credits{1}, "grant"}, {op_id(n), {}})) return 2;
    }
    return 0;
  };
  Children children;
  for (int p = 0; p < 4; ++p) children.add(applies_the_same, {mirror.path()});
  children.go_on();
  for (const int status : children.wait()) CHECK(status == 0);
  mirror.open();
  CHECK(mirror.balance() == 60);
}

}  // namespace tally::test
