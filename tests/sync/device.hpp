#pragma once
// A device for tests: a mirror of its own and a syncer, enrolled at a canonical.

#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/database.hpp"
#include "support/fixture.hpp"
#include "tally/syncer.hpp"

namespace tally::test {

constexpr std::chrono::seconds patience{30 * TALLY_TEST_SLOWNESS};

/// Waits for something that takes a moment; false where it does not come.
template <class Condition>
bool eventually(Condition&& condition) {
  using Clock = std::chrono::steady_clock;
  for (const auto end = Clock::now() + patience; Clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return false;
}

/// The default for tests; what the engine logs is part of the test's output.
Options telling(SpendPolicy policy);

/// What a device may do, for whom, and from what it spends.
struct Kind {
  std::vector<Capability> capabilities{Capability::author, Capability::worker, Capability::service};
  std::optional<Uuid> scope{};
  SpendPolicy policy = SpendPolicy::optimistic;
  int rows_max = 20'000;  ///< Of one answer; what a user has beyond it comes in pages.
  bool is_full() const { return capabilities != std::vector{Capability::worker}; }
};

/// A device: its mirror and its syncer.
struct Device {
  Device(sync::Canonical& canonical, const Database& database, Kind of_kind)
      : Device(canonical, database.conninfo(), std::move(of_kind)) {}
  Device(sync::Canonical& canonical, const std::string& conninfo, Kind of_kind)
      : kind(std::move(of_kind)), mirror(telling(kind.policy)) {
    const auto made = canonical.add_device(
        {.name = "device", .capabilities = kind.capabilities, .scope = kind.scope});
    REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().detail));
    options.conninfo = conninfo;
    options.token = made->token;
    options.rows_max = kind.rows_max;
    options.backoff_base = std::chrono::milliseconds{5};
    options.callbacks.rejected = [this](const RejectedOperation& operation) {
      ++rejected;
      // I11: what was drawn on a lease that the device has does not bounce.
      const bool bounced =
          operation.code == Code::insufficient_credits || operation.code == Code::lease_reclaimed;
      if (operation.command.lease && bounced) ++bounces;
    };
    options.callbacks.diverged = [this](const Uuid&) { ++diverged; };
    connect();
  }

  void connect() { syncer = std::make_unique<sync::Syncer>(mirror.engine(), options); }
  void sync() {
    const auto done = syncer->run_until_synced(patience);
    REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().detail));
  }
  /// The process ends, at whatever it is doing, with a call of its on its way or not.
  void restart(std::mt19937_64& random) {
    const auto until =
        std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 30'000);
    while (std::chrono::steady_clock::now() < until) syncer->step();
    syncer.reset();
    mirror.reopen();
    connect();
  }

  Kind kind;
  TemporaryMirror mirror;
  sync::SyncOptions options{};
  std::unique_ptr<sync::Syncer> syncer{};
  std::size_t rejected = 0;
  std::size_t bounces = 0;
  std::size_t diverged = 0;
};

/// What canonical did not apply of it: `reserve_credits insufficient_credits`.
std::vector<std::string> rejected_codes(Device& device);

/// The first difference between what a mirror shows and what canonical has of what it is fed, in
/// words.
std::string difference(Device& device, sync::Canonical& canonical);

}  // namespace tally::test
