#pragma once
// The canonical of a run: the model, or a real PostgreSQL.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "answer.hpp"
#include "model/canonical.hpp"

namespace tally::sim {

class Half {
 public:
  using Row = std::vector<std::optional<std::string>>;
  using Lease = model::Canonical::Lease;
  using Account = model::Canonical::Account;

  virtual ~Half() = default;
  virtual void set_clock(Timestamp now) = 0;
  virtual sync::Answer sync(const sync::Call& call) = 0;
  /// Straight on canonical, as one who may do everything; whether it was `ok`.
  virtual bool apply(const std::string& line) = 0;
  virtual sync::DeviceToken add_device(const sync::NewDevice& device) = 0;
  virtual void revoke_device(const Uuid& device_id) = 0;
  virtual void write_off(const Uuid& lease_id) = 0;
  /// All of them where no user is given; in no order.
  virtual std::vector<Row> rows(const std::string& table, const Uuid& user_id) = 0;
  virtual std::vector<TableDigest> digest(const Uuid& user_id) = 0;
  virtual std::vector<Lease> open_leases() = 0;
  virtual std::vector<Account> accounts() = 0;
  /// What is restored later; nothing where it cannot be.
  virtual std::shared_ptr<const void> backup() = 0;
  virtual void restore(const std::shared_ptr<const void>& backup) = 0;
};

std::unique_ptr<Half> make_model_half(std::uint64_t seed);

}  // namespace tally::sim
