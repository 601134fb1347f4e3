// A commit that is in the file and not yet in memory.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "fault/fault_disk.hpp"
#include "support/operation_tables.hpp"

namespace tally::test {

TEST_CASE("publication: what a read of the file has shown, the next balance shows") {
  FaultDisk& disk = FaultDisk::get();
  TemporaryMirror mirror(Options{});
  mirror.make_users(1);
  Credits shown, next;
  std::atomic<bool> has_read{false};
  std::thread reader;
  disk.at_commit([&] {
    reader = std::thread([&] {
      shown = mirror->account(user_id(1))->check.balance;
      next = mirror->balance(user_id(1)).value();
      has_read = true;
    });
    // As a committing thread that the system stops here; where readers wait for it, for good.
    const auto stopped_until = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
    while (!has_read && std::chrono::steady_clock::now() < stopped_until) std::this_thread::yield();
  });
  REQUIRE(mirror->apply(AddCredits{user_id(1), Credits{1}, "grant"}));
  REQUIRE(reader.joinable());
  reader.join();
  CHECK(shown == Credits{11});
  CHECK(next == Credits{11});
}

}  // namespace tally::test
