// The WAL is moved into the file by callers whose own commit is done, while others commit.
#include <doctest/doctest.h>
#include <sqlite3.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "support/fixture.hpp"

namespace tally::test {
namespace {

/// A connection of somebody else's, with plain SQLite.
class Onlooker {
 public:
  explicit Onlooker(const std::filesystem::path& path) {
    REQUIRE(sqlite3_open(path.c_str(), &db_) == SQLITE_OK);
  }
  ~Onlooker() { sqlite3_close(db_); }
  Onlooker(const Onlooker&) = delete;
  Onlooker& operator=(const Onlooker&) = delete;
  void run(const char* sql) {
    REQUIRE(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK);
  }
  /// How many pages the WAL holds from its start on.
  int frames() {
    int frames = -1;
    int moved = -1;
    const int rc =
        sqlite3_wal_checkpoint_v2(db_, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &moved);
    REQUIRE(rc == SQLITE_OK);
    return frames;
  }

 private:
  sqlite3* db_ = nullptr;
};

std::uintmax_t wal_bytes(const std::filesystem::path& path) {
  std::error_code none;
  const auto bytes = std::filesystem::file_size(path.string() + "-wal", none);
  return none ? 0 : bytes;
}

/// Each thread adds credits to its own users, so that commits touch many pages.
void write_from(TemporaryMirror& mirror, std::uint64_t threads, std::uint64_t each,
                std::atomic<int>& odd) {
  std::vector<std::thread> running;
  for (std::uint64_t t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < each; ++i) {
        std::vector<Command> commands;
        for (std::uint64_t k = 0; k < 50; ++k) {
          const Uuid user = user_id(1 + (t * 7919 + i * 50 + k) % 2'000);
          commands.push_back(mirror->make_command(AddCredits{user, Credits{1}, "grant"}));
        }
        const auto verdicts = mirror->submit(std::move(commands));
        if (!verdicts) {
          ++odd;
          continue;
        }
        for (const Verdict& verdict : *verdicts) odd += verdict.code == Code::ok ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : running) thread.join();
}

constexpr std::uintmax_t wal_bytes_most = 32U << 20U;
constexpr std::uintmax_t frames_long = 4'000;
constexpr std::uintmax_t frame_bytes = 2'048 + 24;

}  // namespace

TEST_CASE("checkpoints: under eight callers the WAL starts anew again and again") {
  TemporaryMirror mirror;
  mirror.make_users(2'000);
  std::atomic<int> odd{0};
  write_from(mirror, 8, 150, odd);
  CHECK(odd == 0);
  // All that was written would fill it several times over.
  CHECK(std::filesystem::file_size(mirror.path()) > (4U << 20U));
  CHECK(wal_bytes(mirror.path()) > frames_long * frame_bytes);
  CHECK(wal_bytes(mirror.path()) < wal_bytes_most);
  CHECK(mirror.findings().empty());
  CHECK(query(mirror.path(), "select count(*), sum(amount) from credit_ledger") ==
        std::vector<std::string>{"62000|80000"});
}

TEST_CASE("checkpoints: a reader that stays keeps the WAL, and stops nobody") {
  TemporaryMirror mirror;
  mirror.make_users(2'000);
  Onlooker reader(mirror.path());
  reader.run("begin; select count(*) from credit_ledger;");
  std::atomic<int> odd{0};
  write_from(mirror, 4, 300, odd);
  CHECK(odd == 0);
  CHECK(wal_bytes(mirror.path()) > 2 * frames_long * frame_bytes);
  reader.run("commit");
  // From now on it is moved, and the next commit starts it anew.
  write_from(mirror, 1, 3, odd);
  Onlooker onlooker(mirror.path());
  CHECK(onlooker.frames() < 4'000);
  CHECK(mirror.findings().empty());
}

TEST_CASE("checkpoints: of two engines on one file each moves what both wrote") {
  TemporaryMirror mirror;
  mirror.make_users(2'000);
  auto second = Engine::open(mirror.path(), TemporaryMirror::fast());
  REQUIRE(second);
  std::atomic<int> odd{0};
  std::thread other([&] {
    for (std::uint64_t i = 0; i < 2'000; ++i) {
      if (!second->apply(AddCredits{user_id(1 + i), Credits{1}, "grant"})) ++odd;
    }
  });
  write_from(mirror, 2, 100, odd);
  other.join();
  CHECK(odd == 0);
  CHECK(wal_bytes(mirror.path()) < wal_bytes_most);
  CHECK(mirror.findings().empty());
  CHECK(query(mirror.path(), "select sum(amount) from credit_ledger") ==
        std::vector<std::string>{"32000"});
}

}  // namespace tally::test
