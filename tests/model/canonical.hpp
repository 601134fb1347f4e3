// Canonical once more, as plain maps: devices, their numbers and verdicts, leases, claims and the
// feed, around the model of a half. It answers what the sync function on PostgreSQL answers, and a
// test holds the two equal; the simulator has a canonical for every seed of it.
//
// Written from the contract; what the contract leaves open is as the sync function does it. Nothing
// here is durable or concurrent, and nothing is random but what the seed gives.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "answer.hpp"
#include "model/model.hpp"
#include "tally/sync.hpp"

namespace tally::model {

using sync::Call;

/// A value: a copy is the backup that is restored later. Thread-compatible.
class Canonical {
 public:
  /// The seed of the ids, tokens and eras that canonical makes.
  explicit Canonical(std::uint64_t seed);
  Canonical(const Canonical&);
  Canonical& operator=(const Canonical&);
  Canonical(Canonical&&) noexcept;
  Canonical& operator=(Canonical&&) noexcept;
  ~Canonical();

  /// What canonical's clock shows from now on; it never goes back by itself.
  void set_clock(Timestamp now);

  /// The seed from here on. A copy that is restored needs another than it had: it would make the
  /// ids, and the eras of cursors, once more that were made since it was taken.
  void reseed(std::uint64_t seed);

  /// The sync function: effects, verdicts and the feed of one call, in one transaction.
  sync::Answer sync(const Call& call);

  /// Straight on canonical, as one who may do everything: a trace's line; its result line.
  std::string apply(std::string_view line);

  sync::DeviceToken add_device(const sync::NewDevice& device);
  /// False where there is none, or it is ended already.
  bool revoke_device(const Uuid& device_id);
  /// None where there is no such open lease.
  std::optional<Credits> write_off(const Uuid& lease_id);

  using Row = Model::Row;
  std::vector<Row> rows(std::string_view table) const;  ///< As Model::rows().
  std::vector<Row> entries(const Uuid& user_id) const;  ///< By their seq.
  std::vector<TableDigest> digest(const Uuid& user_id) const;

  /// What the simulator checks after every step.
  struct Lease {
    Uuid lease_id{};
    Uuid user_id{};
    Uuid device_id{};
    std::int64_t unspent = 0;
  };
  std::vector<Lease> open_leases() const;
  struct Account {
    Uuid user_id{};
    std::int64_t balance = 0;  ///< As it is kept, beside the entries.
    std::int64_t held = 0;     ///< Of open holds.
    std::int64_t leased = 0;   ///< Unspent, in open leases.
  };
  std::vector<Account> accounts() const;
  std::int64_t watermark(const Uuid& device_id) const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace tally::model
