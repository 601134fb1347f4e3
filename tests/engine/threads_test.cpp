// Many threads on one engine.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "support/operation_tables.hpp"

namespace tally::test {
namespace {

/// Runs the function in so many threads at once; each gets its number from 0.
void in_threads(std::uint64_t count, const std::function<void(std::uint64_t)>& body) {
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < count; ++t) threads.emplace_back([&, t] { body(t); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

TEST_CASE("threads: 16 callers share commits, and each gets its own operation's result") {
  TemporaryMirror mirror(Options{});
  constexpr std::uint64_t each = 20;
  std::atomic<int> odd{0};
  in_threads(16, [&](std::uint64_t t) {
    const Uuid user = user_id(t + 1);
    if (!mirror->apply(CreateUser{user})) ++odd;
    for (std::uint64_t i = 1; i <= each; ++i) {
      const Uuid op = op_id(t * 1'000 + i);
      const auto receipt = mirror->apply(
          AddCredits{user, Credits{static_cast<std::int64_t>(t) + 1}, "grant"}, {op, {}});
      const std::int64_t expected = 10 + static_cast<std::int64_t>(i * (t + 1));
      if (!receipt || receipt->op_id != op || receipt->balance != Credits{expected}) ++odd;
      const auto refused = mirror->apply(ExpireCredits{user, Credits{1'000'000}});
      if (refused || refused.error().code != Code::insufficient_credits) ++odd;
    }
  });
  CHECK(odd == 0);
  CHECK(query(mirror.path(), "select count(*) from credit_ledger") ==
        std::vector<std::string>{std::to_string(16 * (each + 1))});
  CHECK(mirror.findings().empty());
}

TEST_CASE("threads: the balances that 16 callers of one account get back are each of one moment") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  std::vector<std::vector<std::int64_t>> got(16);
  in_threads(16, [&](std::uint64_t t) {
    for (int i = 0; i < 25; ++i) {
      const auto receipt = mirror->apply(AddCredits{user_id(1), Credits{1}, "grant"});
      got[t].push_back(receipt && receipt->balance ? receipt->balance->value : -1);
    }
  });
  std::set<std::int64_t> all;
  for (const auto& mine : got) {
    CHECK(std::is_sorted(mine.begin(), mine.end()));
    all.insert(mine.begin(), mine.end());
  }
  CHECK(all.size() == 400);
  CHECK(*all.begin() == 11);
  CHECK(*all.rbegin() == 410);
}

TEST_CASE("threads: the same operation from 16 threads at once is applied once and ok for each") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  for (std::uint64_t round = 1; round <= 20; ++round) {
    std::atomic<int> fine{0};
    in_threads(16, [&](std::uint64_t) {
      const auto receipt =
          mirror->apply(AddCredits{user_id(1), Credits{1}, "grant"}, {op_id(round), {}});
      if (receipt && receipt->balance == Credits{10 + static_cast<std::int64_t>(round)}) ++fine;
    });
    CHECK(fine == 16);
  }
  CHECK(mirror.balance() == 30);
}

TEST_CASE(
    "threads: readers see only balances that existed, and balance and holds of the same moment") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  std::atomic<bool> stop{false};
  std::atomic<int> odd{0};
  std::atomic<std::int64_t> reads{0};
  std::vector<std::thread> readers;
  for (int r = 0; r < 3; ++r) {
    readers.emplace_back([&, r] {
      std::int64_t entries = 0;
      while (!stop) {
        const auto balance = mirror->balance(user_id(1));
        if (!balance || (balance->value != 10 && balance->value != 2)) ++odd;
        const auto check = mirror->check(user_id(1));
        if (!check || check->balance.value + check->held.value != 10 || check->entries < entries) {
          ++odd;
        } else {
          entries = check->entries;
        }
        if (r == 0) {
          const auto account = mirror->account(user_id(1));
          if (!account || account->check.balance.value + account->check.held.value != 10 ||
              account->holds.size() != (account->check.held.value == 8 ? 1U : 0U)) {
            ++odd;
          }
        }
        ++reads;
      }
    });
  }
  for (int i = 0; i < 200; ++i) {
    if (!mirror->apply(ReserveCredits{user_id(1), job_id(1), Credits{8}})) ++odd;
    if (!mirror->apply(ReleaseJobCredits{job_id(1)})) ++odd;
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(odd == 0);
  CHECK(reads > 0);
  CHECK(mirror.findings().empty());
}

TEST_CASE("threads: a caller sees its own operation in the balance as soon as it has its answer") {
  TemporaryMirror mirror;
  mirror.make_users(8);
  std::atomic<int> odd{0};
  in_threads(8, [&](std::uint64_t t) {
    const Uuid user = user_id(t + 1);
    for (std::int64_t i = 1; i <= 100; ++i) {
      if (!mirror->apply(AddCredits{user, Credits{1}, "grant"})) ++odd;
      const auto balance = mirror->balance(user);
      const auto check = mirror->check(user);
      if (!balance || balance->value != 10 + i || !check || check->entries != 1 + i) ++odd;
    }
  });
  CHECK(odd == 0);
}

TEST_CASE("threads: balances only grow where every writer only adds") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  std::atomic<bool> stop{false};
  std::atomic<int> odd{0};
  std::vector<std::thread> readers;
  for (int r = 0; r < 2; ++r) {
    readers.emplace_back([&] {
      std::int64_t latest = 10;
      while (!stop) {
        const auto balance = mirror->balance(user_id(1));
        if (!balance || balance->value < latest) ++odd;
        if (balance) latest = balance->value;
      }
    });
  }
  in_threads(4, [&](std::uint64_t) {
    for (int i = 0; i < 100; ++i) {
      if (!mirror->apply(AddCredits{user_id(1), Credits{1}, "grant"})) ++odd;
    }
  });
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(odd == 0);
  CHECK(mirror.balance() == 410);
}

TEST_CASE("threads: submits of many commands from many threads keep each caller's order") {
  TemporaryMirror mirror;
  mirror.make_users(8);
  std::atomic<int> odd{0};
  in_threads(8, [&](std::uint64_t t) {
    for (std::uint64_t round = 0; round < 10; ++round) {
      std::vector<Command> commands;
      for (std::uint64_t i = 0; i < 30; ++i) {
        commands.push_back(mirror->make_command(AddCredits{user_id(t + 1), Credits{1}, "grant"},
                                                {id('x', t * 1'000 + round * 30 + i + 1), {}}));
      }
      const auto verdicts = mirror.submit(commands);
      if (verdicts.size() != 30) ++odd;
      for (std::uint64_t i = 0; i < verdicts.size(); ++i) {
        const auto balance = 10 + static_cast<std::int64_t>(round * 30 + i + 1);
        if (verdicts[i].code != Code::ok || verdicts[i].balance != Credits{balance} ||
            verdicts[i].op_id != id('x', t * 1'000 + round * 30 + i + 1)) {
          ++odd;
        }
      }
    }
  });
  CHECK(odd == 0);
  CHECK(mirror.findings().empty());
}

TEST_CASE("threads: reading, auditing and digests go on while others write") {
  TemporaryMirror mirror;
  mirror.make_users(4);
  std::atomic<bool> stop{false};
  std::atomic<int> odd{0};
  std::thread reader([&] {
    while (!stop) {
      const auto report = mirror->audit();
      if (!report || !report->findings.empty()) ++odd;
      if (!mirror->digest(user_id(1)) || !mirror->history(user_id(2)) || !mirror->job(job_id(3)) ||
          !mirror->rows("credit_ledger") || !mirror->pending_operations()) {
        ++odd;
      }
    }
  });
  in_threads(4, [&](std::uint64_t t) {
    for (int i = 0; i < 50; ++i) {
      if (!mirror->apply(ReserveCredits{user_id(t + 1), job_id(t + 1), Credits{8}})) ++odd;
      if (!mirror->apply(ReleaseJobCredits{job_id(t + 1)})) ++odd;
    }
  });
  stop = true;
  reader.join();
  CHECK(odd == 0);
}

}  // namespace tally::test
