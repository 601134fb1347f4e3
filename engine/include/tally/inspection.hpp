#pragma once
// What a person wants to see of a mirror, in pages of bounded size, also where it has a million
// entries. The program's `tally inspect` is its user; a host that shows the same may be, too.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tally/engine.hpp"

namespace tally {

/// A mirror at a glance.
struct MirrorOverview {
  std::int64_t users = 0;
  std::int64_t entries = 0;
  std::int64_t projects = 0;
  std::int64_t drafts = 0;
  std::int64_t balance = 0;  ///< The sum of all; it may be more than Credits::max.
  std::int64_t held = 0;     ///< The same of open holds.
  std::int64_t pending_operations = 0;
  std::array<std::int64_t, job_status_names.size()> jobs{};  ///< How many are in each status.
};

/// By what accounts are listed, the greatest first; ids from the smallest on.
enum class AccountOrder : std::uint8_t { active, balance, held, entries, pending, id };
inline constexpr std::array<std::string_view, 6> account_order_names{"active",  "balance", "held",
                                                                     "entries", "pending", "id"};

struct AccountLine {
  Uuid user_id{};
  std::optional<std::string> email{};
  std::optional<std::string> display_name{};
  AccountCheck check{};
  std::optional<Timestamp> last_entry_at{};
};

struct JobLine {
  std::int64_t number = 0;  ///< The mirror's own, to page by.
  Uuid job_id{};
  Uuid user_id{};
  std::string title;  ///< Its project's.
  JobStatus status = JobStatus::PENDING;
  std::int64_t progress = 0;
  Credits hold{};  ///< Its open hold; 0 without one.
  std::optional<Credits> cost_final{};
  std::optional<Timestamp> created_at{};
  std::optional<Timestamp> started_at{};
  std::optional<Timestamp> finished_at{};
  std::optional<std::string> status_message{};
  std::optional<std::string> failed_step{};
  std::optional<std::string> error_code{};
};

/// A step of a balance's line: one entry, or a run of entries where there are too many.
struct ChartStep {
  std::int64_t first_seq = 0;
  std::int64_t last_seq = 0;
  Timestamp from{};   ///< When the first was made,
  Timestamp to{};     ///< and the last.
  Credits balance{};  ///< After the last.
  Credits low{};      ///< The least and the greatest balance of the run.
  Credits high{};
  Credits held{};                ///< What open holds held after the last.
  Credits came{};                ///< What the entries added,
  Credits went{};                ///< and what they took.
  std::optional<Entry> entry{};  ///< Where it is one.
};

struct Chart {
  Credits before{};  ///< The balance before the first step.
  Credits held_before{};
  std::vector<ChartStep> steps{};
};

enum class FoundKind : std::uint8_t {
  user,
  job,
  project,
  entry,
  operation,
  draft,
  voice_profile,
  asset,
  lease,
  device,
};
inline constexpr std::array<std::string_view, 10> found_kind_names{
    "user",  "job",           "project", "entry", "operation",
    "draft", "voice_profile", "asset",   "lease", "device"};

/// Something whose id begins as was asked.
struct Found {
  FoundKind kind = FoundKind::user;
  Uuid id{};
  std::optional<Uuid> user_id{};      ///< Whose it is,
  std::optional<Uuid> job_id{};       ///< and of which job.
  std::optional<std::int64_t> seq{};  ///< Of an entry; of an operation its first entry.
};

/// Thread-compatible; of an engine that must outlive it. It keeps 24 bytes in memory for each of
/// the mirror's entries, read by the first call that needs them and kept up with the file. Each
/// call reads in one snapshot and never blocks a writer. Failures of all: busy, io, corrupt.
class TALLY_API Inspection {
 public:
  explicit Inspection(const Engine& engine);
  ~Inspection();
  Inspection(const Inspection&) = delete;
  Inspection& operator=(const Inspection&) = delete;

  /// Another number after every commit, of whatever process.
  std::uint64_t change() const noexcept;
  Result<MirrorOverview> overview() noexcept;
  /// At most `limit` accounts, behind the first `offset`.
  Result<std::vector<AccountLine>> accounts(AccountOrder order, std::size_t offset,
                                            std::size_t limit) noexcept;
  /// Refusals: user_not_found.
  Result<AccountLine> account(const Uuid& user_id) noexcept;
  /// The entries from one seq to another, in order; seqs that there are none of are left out.
  /// Refusals: user_not_found.
  Result<std::vector<Entry>> entries(const Uuid& user_id, std::int64_t from_seq,
                                     std::int64_t to_seq) noexcept;
  /// The balance from one entry to another in at most `steps_max` steps, alike in their numbers of
  /// entries. Refusals: user_not_found.
  Result<Chart> chart(const Uuid& user_id, std::int64_t from_seq, std::int64_t to_seq,
                      std::size_t steps_max) noexcept;
  /// At most `limit` jobs in the statuses whose bits are set, the latest that came first, from
  /// below `before_number` on where given; of one user where one is given.
  Result<std::vector<JobLine>> jobs(std::uint32_t statuses,
                                    std::optional<std::int64_t> before_number,
                                    std::optional<Uuid> user_id, std::size_t limit) noexcept;
  /// At most `limit` jobs of a user that have an open hold. Refusals: user_not_found.
  Result<std::vector<JobLine>> held_jobs(const Uuid& user_id, std::size_t limit) noexcept;
  /// A job's entries in account order. Refusals: job_not_found.
  Result<std::vector<Entry>> entries_of_job(const Uuid& job_id) noexcept;
  /// Whose ids begin with those hex digits (dashes and case do not matter): at most `limit` of each
  /// kind. Refusals: invalid_argument (another character, more than 32 digits, or none).
  Result<std::vector<Found>> find(std::string_view id_begin, std::size_t limit) noexcept;

 private:
  class Steps;
  const Engine& engine_;
  std::unique_ptr<Steps> steps_;
};

}  // namespace tally
