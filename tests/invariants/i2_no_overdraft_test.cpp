// I2 no overdraft: no sequence of operations, from any number of threads, processes or connections,
// takes a balance below zero.
#include <doctest/doctest.h>

#include <memory>
#include <thread>

#include "support/broken_mirror.hpp"

namespace tally::test {
namespace {

constexpr int jobs = 64;
constexpr std::int64_t balance = 10;

/// u1 with 10 credits and many PENDING jobs.
void fill(TemporaryMirror& mirror) {
  mirror.make_users(1);
  for (int n = 2; n <= jobs; ++n) {
    REQUIRE(mirror.apply("create_job job_id=j" + std::to_string(n) + " project_id=p1 user_id=u1") ==
            "ok 10");
  }
}

/// Reserves 1 credit for every job that is this worker's turn; how many it got, 255 on anything
/// odd.
int reserve_every(Engine& engine, int first, int step) {
  int got = 0;
  for (int n = first; n <= jobs; n += step) {
    const auto receipt =
        engine.apply(ReserveCredits{user_id(1), job_id(static_cast<std::uint64_t>(n)), Credits{1}});
    if (receipt) ++got;
    if (!receipt && receipt.error().code != Code::insufficient_credits) return 255;
    const auto now = engine.balance(user_id(1));
    if (!now || now->value < 0) return 255;
  }
  return got;
}

void check_spent(TemporaryMirror& mirror, int got) {
  CHECK(got == balance);
  CHECK(mirror.balance() == 0);
  CHECK(query(mirror.path(),
              "select count(*), min(balance_after) from credit_ledger where type = 'reserve'") ==
        std::vector<std::string>{std::to_string(balance) + "|0"});
  CHECK(mirror.findings().empty());
}

}  // namespace

TEST_CASE("I2: 16 threads reserving against one account get what the balance allows and no more") {
  TemporaryMirror mirror;
  fill(mirror);
  std::vector<int> got(16);
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back(
        [&, t] { got[static_cast<std::size_t>(t)] = reserve_every(mirror.engine(), t + 1, 16); });
  }
  int sum = 0;
  for (std::size_t t = 0; t < threads.size(); ++t) {
    threads[t].join();
    sum += got[t];
  }
  check_spent(mirror, sum);
}

TEST_CASE("I2: 4 processes reserving against one account get what the balance allows and no more") {
  TemporaryMirror mirror;
  fill(mirror);
  mirror.close();
  const auto reserves = [](const Pipes& pipes, const Given& given) {
    auto engine = Engine::open(given.path, TemporaryMirror::fast());
    if (!engine) return 255;
    pipes.write(1);
    if (!pipes.wait()) return 255;
    return reserve_every(*engine, static_cast<int>(given.numbers[0]) + 1, 4);
  };
  Children children;
  for (std::uint64_t p = 0; p < 4; ++p) children.add(reserves, {mirror.path(), {p}});
  for (const auto& child : children.all()) REQUIRE(child->read().has_value());
  children.go_on();
  int sum = 0;
  for (const int got : children.wait()) sum += got;
  mirror.open();
  check_spent(mirror, sum);
}

TEST_CASE("I2: 4 processes of 4 threads each never overdraw one account") {
  TemporaryMirror mirror;
  fill(mirror);
  mirror.close();
  const auto reserves = [](const Pipes& pipes, const Given& given) {
    auto engine = Engine::open(given.path, TemporaryMirror::fast());
    if (!engine || !pipes.wait()) return 255;
    const int p = static_cast<int>(given.numbers[0]);
    std::vector<int> got(4);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back(
          [&, t] { got[static_cast<std::size_t>(t)] = reserve_every(*engine, p * 4 + t + 1, 16); });
    }
    for (std::thread& thread : threads) thread.join();
    return got[0] + got[1] + got[2] + got[3];
  };
  Children children;
  for (std::uint64_t p = 0; p < 4; ++p) children.add(reserves, {mirror.path(), {p}});
  children.go_on();
  int sum = 0;
  for (const int got : children.wait()) sum += got;
  mirror.open();
  check_spent(mirror, sum);
}

TEST_CASE("I2: every way to spend more than the balance is refused and changes nothing") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(2) + job_to("PACKAGING", 1) + job_to("FAILED", 2));
  const Dump before = dump(mirror.path());
  mirror.check({{"expire_credits user_id=u1 amount=3", "insufficient_credits 2"},
                {"finalize_job_credits job_id=j1 final_cost=11", "insufficient_credits 2"},
                {"complete_job job_id=j1 final_cost=11", "insufficient_credits 2"},
                {"retry_job job_id=j2 amount=11", "insufficient_credits 10"}});
  CHECK(difference(before, dump(mirror.path())) == "");
}

TEST_CASE("I2: the file itself refuses a balance outside Postgres INTEGER") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  CHECK_THROWS(query(mirror.path(), "update tally_account set balance = 2147483648"));
}

}  // namespace tally::test
