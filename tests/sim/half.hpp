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
  /// Entries by their seq, others in no order.
  virtual std::vector<Row> rows(const std::string& table, const Uuid& user_id) = 0;
  virtual std::vector<TableDigest> digest(const Uuid& user_id) = 0;
  virtual std::vector<Lease> open_leases() = 0;
  virtual std::vector<Account> accounts() = 0;
  /// What is restored later.
  virtual std::shared_ptr<const void> backup() = 0;
  virtual void restore(const std::shared_ptr<const void>& backup) = 0;
};

/// Both make the same ids and know the same clock, so that a seed does the same on either, line by
/// line and row for row.
std::unique_ptr<Half> make_model_half();

/// Canonical on a real server, made anew for every run.
class PostgresWorlds {
 public:
  /// Of a server whose superuser we are, without a database's name.
  PostgresWorlds(std::string conninfo, const std::string& clock_sql);
  /// The one before must be gone.
  std::unique_ptr<Half> make();

 private:
  std::string conninfo_;
};

}  // namespace tally::sim
