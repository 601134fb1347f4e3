// The contract once more, as plain maps and vectors: what the engine and canonical are compared
// with.
//
// Written from the contract alone, without sight of engine/ or sql/. Clarity over speed: nothing
// here is durable, concurrent or clever. A model is a half without a device: it has every
// capability.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tally::model {

/// Thread-compatible.
class Model {
 public:
  Model();
  ~Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;

  /// Applies one trace line; returns the result line as the contract's §9 words it, without a
  /// newline. Lines are counted from 1 over the model's life, for the "line" of what is no
  /// operation.
  std::string apply(std::string_view line);

  using Row = std::vector<std::optional<std::string>>;
  /// The rows of "users" or of one of the PRD's tables, every value as the mirror's view shows it
  /// as text, columns in the PRD's order (credit_ledger: with seq last), sorted by id. An unknown
  /// table has no rows.
  std::vector<Row> rows(std::string_view table) const;

  /// What a trace generator asks in order to write operations that make sense.
  struct JobView {
    std::string owner;
    std::string status;
    std::int64_t hold = 0;
    bool finalized = false;
    bool claimed = false;                    ///< A claim is recorded; it may have expired.
    std::optional<std::string> reservation;  ///< op_id that opened the latest reservation.
    std::string next_status;                 ///< Where advance_job would take it, empty if nowhere.
  };
  std::optional<JobView> job(const std::string& job_id) const;
  struct AccountView {
    std::int64_t balance = 0;
    std::int64_t held = 0;
  };
  std::optional<AccountView> account(const std::string& user_id) const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

/// The text that jsonb would show for this JSON; nothing where it is no JSON or passes a limit of
/// §4.
std::optional<std::string> jsonb_text(std::string_view json);

}  // namespace tally::model
