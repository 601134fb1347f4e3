#pragma once
// Canonical twice, on a real PostgreSQL and as the model: each call is made of both, and both
// answer the same.
//
// The clock stands still until it is set and ids are counted (still.sql), so nothing is left out of
// the comparison but the cursors, which are each side's own.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/canonical.hpp"
#include "support/database.hpp"

namespace tally::test {

/// Of time_at(): 2026-03-01, where the clock of still.sql stands at first.
constexpr std::int64_t still_start_s = 42 * 86'400;

/// The first line in which they differ; empty where none does.
std::string difference(const std::vector<std::string>& there,
                       const std::vector<std::string>& model);

/// A push's operations, a line each, for who reads why a test failed.
std::string text_of(const std::vector<PushedOperation>& operations);

/// What two canonicals answered to one call.
struct Answers {
  sync::Answer on_postgres, on_model;
};

/// Everything done to it is done to both, and aborts the test where they do not answer alike.
class Canonicals {
 public:
  Canonicals();

  /// Empty, both.
  void begin();
  void end();

  const model::Canonical& model() const { return model_; }
  std::size_t calls() const { return calls_; }
  /// What answers had, by name, and how often: codes, pages, jobs claimed.
  const std::map<std::string, std::size_t>& met() const { return met_; }

  void set_clock(std::int64_t now_s);
  /// The push is the same but for its cursor.
  Answers call(const model::Call& call, const std::optional<std::string>& cursor_on_postgres);
  /// Straight on canonical: a trace's line, and its result line.
  std::string apply(const std::string& line);
  sync::DeviceToken add_device(const sync::NewDevice& device);
  void revoke(const Uuid& device_id);
  /// False where there is no such open lease.
  bool write_off(const Uuid& lease_id);

  void compare(const Uuid& user_id);
  void compare_leases_and_accounts();
  /// Canonical's own audit finds nothing.
  void check_audit();

 private:
  void note(const sync::Answer& answer);

  Database database_;
  Session session_;
  model::Canonical model_{0};
  std::map<std::string, std::size_t> met_;
  std::size_t calls_ = 0;
};

}  // namespace tally::test
