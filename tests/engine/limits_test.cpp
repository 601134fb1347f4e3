// What has a bound, at it and one beyond: README.md of the engine, "Limits", says the same.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "support/fixture.hpp"

namespace tally::test {
namespace {

std::vector<Command> grants(TemporaryMirror& mirror, int count) {
  std::vector<Command> commands;
  for (int i = 0; i < count; ++i)
    commands.push_back(mirror->make_command(AddCredits{user_id(1), Credits{1}, "grant"}));
  return commands;
}

}  // namespace

TEST_CASE("limits: a batch has 1 to 1,000 operations") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  CHECK(mirror->apply_batch(grants(mirror, 1'000)));
  CHECK(mirror.balance() == 1'010);
  for (const int count : {0, 1'001}) {
    const auto refused = mirror->apply_batch(grants(mirror, count));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Code::invalid_argument);
  }
  CHECK(mirror.balance() == 1'010);
}

TEST_CASE("limits: one call may bring more operations than a commit takes of many callers") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  const auto verdicts = mirror.submit(grants(mirror, 20'000));
  CHECK(verdicts.size() == 20'000);
  CHECK(verdicts.back().balance == Credits{20'010});
}

TEST_CASE(
    "limits: callers who wait behind more than a commit takes are in the next, and all are ok") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  std::vector<std::thread> callers;
  std::atomic<int> ok{0};
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&, commands = grants(mirror, 5'000)]() mutable {
      if (mirror->submit(std::move(commands))) ++ok;
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(ok == 4);
  CHECK(mirror.balance() == 20'010);
  CHECK(mirror.findings().empty());
}

TEST_CASE("limits: a page of history has 1 to 10,000 entries") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  (void)mirror.submit(grants(mirror, 10'100));
  CHECK(mirror->history(user_id(1), 10'000)->size() == 10'000);
  CHECK(mirror->history(user_id(1), 1)->size() == 1);
  for (const std::size_t limit : {std::size_t{0}, std::size_t{10'001}})
    CHECK(mirror->history(user_id(1), limit).error().code == Code::invalid_argument);
}

}  // namespace tally::test
