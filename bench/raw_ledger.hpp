#pragma once
// The floor of what writes: raw SQLite on a copy of the engine's own file, row for row what the
// engine writes, with prepared statements and the same settings, and without a look-up or decision.

#include "support.hpp"

namespace tally::bench {

/// The mirror as it is on disk now, page for page; its engine must be at rest.
void copy_mirror(const std::filesystem::path& from, const std::filesystem::path& to);

/// The outbox bytes that the engine wrote for an operation of its last commit.
std::size_t outbox_bytes(const std::filesystem::path& mirror);

/// Throws where the floor's file is not like the engine's: as many rows in each table, and as many
/// bytes of rows and keys in each table and index, give or take a twentieth (they number other
/// users).
void require_alike(const std::filesystem::path& ours, const std::filesystem::path& floor);

class RawLedger {
 public:
  /// `mirror`: such a copy, in which the first `reserved` jobs are reserved.
  RawLedger(const std::filesystem::path& mirror, std::size_t reserved);

  /// One commit of reservations and settlements in turns, as TwoPhase makes them. Seconds.
  double two_phase(std::size_t operations, std::size_t outbox_bytes_an_operation);
  /// One commit of whole jobs: created, reserved, queued, through eight stages, complete. Seconds.
  double whole_jobs(std::size_t jobs, std::size_t outbox_bytes_an_operation);

 private:
  struct Account {
    std::int64_t balance;
    std::int64_t held;
    std::int64_t seq;
    std::int64_t head;
    std::int64_t pending;
  };
  void operation(std::int64_t u, std::int64_t kind, const Uuid& id);
  void entry(std::int64_t u, std::int64_t j, std::int64_t kind, std::int64_t amount);
  void reserve(std::int64_t u, std::int64_t j, const Uuid& id);
  void settle(std::int64_t u, std::int64_t j, const Uuid& id);
  void insert_job(std::int64_t j, std::int64_t u, const Uuid& id, const Uuid& reservation);
  void flush(std::size_t operations, std::size_t outbox_bytes_an_operation);

  Raw raw_;
  sqlite3_stmt *begin_, *commit_, *entry_, *operation_, *account_, *reserve_, *settle_, *job_,
      *step_, *outbox_;
  std::vector<std::int64_t> job_user_;    ///< By j - 1.
  std::vector<std::int64_t> project_of_;  ///< By u.
  std::vector<Account> accounts_;         ///< By u.
  std::vector<std::uint32_t> touched_in_;
  std::vector<std::int64_t> touched_{};
  std::uint32_t round_ = 0;
  std::size_t turn_ = 0;
  std::size_t reserved_;
  std::size_t settled_ = 0;
  std::int64_t number_;  ///< Of the next entry, or operation without one.
  std::int64_t outbox_number_;
  std::int64_t at_ = 1'768'000'000'000'000;
};

}  // namespace tally::bench
