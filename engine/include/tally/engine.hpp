#pragma once
// Start here: the engine over one mirror file. Open it, apply operations, read balances.
//
//   auto engine = tally::Engine::open("mirror.db");
//   auto receipt = engine->apply(tally::ReserveCredits{user, job, tally::Credits{8}});
//
// Every function is noexcept and answers with a Result: a value, or an Error whose code says
// whether it is a refusal (an everyday answer; nothing changed) or a failure of the world.

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tally/operations.hpp"
#include "tally/result.hpp"
#include "tally/telemetry.hpp"
#include "tally/trace.hpp"

namespace tally {

/// What an `ok` survives.
enum class Durability : std::uint8_t {
  full,    ///< It is on disk when the call returns.
  normal,  ///< It survives the end of the process, not a power cut.
};
inline constexpr std::array<std::string_view, 2> durability_names{"full", "normal"};

/// From what a mirror that is enrolled as a device lets its operations spend.
enum class SpendPolicy : std::uint8_t {
  optimistic,  ///< What the balance here shows; canonical may reject it later.
  leased,      ///< The device's lease alone: what is ok here is never rejected for lack of credits.
  online,      ///< Canonical's balance: an operation is queued without effect here, and the call
               ///< waits for canonical's verdict.
};
inline constexpr std::array<std::string_view, 3> spend_policy_names{"optimistic", "leased",
                                                                    "online"};

enum class LogLevel : std::uint8_t { debug, info, warning, error };
inline constexpr std::array<std::string_view, 4> log_level_names{"debug", "info", "warning",
                                                                 "error"};

/// The host's ears. Called from the thread whose call made the commit, after it, with no lock of
/// the engine's held; they may call the engine. They must not throw.
struct Callbacks {
  /// Jobs that ended, here or as it is pulled; of a user who is new here, those that end from now
  /// on.
  std::function<void(const Uuid& user_id, const Uuid& job_id)> job_complete{};
  std::function<void(const Uuid& user_id, const Uuid& job_id)> job_failed{};
  std::function<void(const Uuid& user_id, Credits balance)> low_credits{};
  /// A line begins with the name of its event (telemetry.hpp).
  std::function<void(LogLevel level, std::string_view line)> log{};
  /// Where none is given nothing is measured. It also gets what sync measures, on the thread that
  /// syncs.
  std::function<void(const Measurement&)> metric{};
};

struct Options {
  Durability durability = Durability::full;
  /// False: a file that does not exist is `not_found`.
  bool create = true;
  /// For looking into a mirror that others use: no call writes to its file. Operations fail with
  /// `read_only`, and so does opening a mirror of an older schema, which would have to be migrated.
  bool read_only = false;
  /// How long a call waits for another process' transaction before it fails with `busy`.
  std::chrono::milliseconds busy_timeout{10'000};
  SpendPolicy spend_policy = SpendPolicy::optimistic;
  /// Under `online`: how long a call waits for the verdict before it answers `pending`. Somebody
  /// else has to sync meanwhile: a thread (Syncer::start()) or process other than the caller's. 0:
  /// every call answers at once, and SyncCallbacks::verdict brings what it asked for.
  std::chrono::milliseconds verdict_timeout{10'000};
  /// low_credits is told when a balance falls below this.
  Credits low_credits{5};
  /// SQLite's page cache, in KiB, for the writing connection.
  int cache_kib = 8'192;
  /// The present; the system's clock by default. Must be safe to call from any thread.
  std::function<Timestamp()> clock{};
  /// New ids, version 7 by default. Must be safe to call from any thread.
  std::function<Uuid()> new_id{};
  Callbacks callbacks{};
};

/// What identifies a call; the engine makes what is absent.
struct CallId {
  std::optional<Uuid> op_id{};
  std::optional<Timestamp> at{};
};

/// An operation that is `ok`.
struct Receipt {
  Uuid op_id;
  std::optional<Credits> balance{};  ///< Of the user whom it concerns; after it.
  std::optional<Uuid> id{};          ///< The draft that claim_draft found.
};

/// An account at a glance, from memory.
struct AccountCheck {
  Credits balance;
  Credits held;  ///< Its open holds, and what is unspent in leases, this device's and others'.
  std::int64_t entries = 0;             ///< How many entries it has.
  std::int64_t pending_operations = 0;  ///< Not yet confirmed by canonical.
};

struct OpenHold {
  Uuid job_id;
  Credits amount;
  std::optional<Uuid> reservation{};
};

/// A lease of this device's, as canonical last showed it, less what pending operations drew.
struct OpenLease {
  Uuid user_id{};
  Uuid lease_id{};
  Credits unspent{};
  Timestamp expires_at{};
  bool returning = false;  ///< return_lease was called: nothing more is drawn on it.
};

struct Account {
  AccountCheck check;
  std::vector<OpenHold> holds{};
  std::vector<OpenLease> leases{};
};

struct Entry {
  Uuid id;
  std::int64_t seq = 0;
  std::string type;
  Credits amount;
  Credits balance_after;
  std::optional<std::string> note{};
  Timestamp created_at{};
  std::optional<Uuid> job_id{};
  std::optional<std::string> stripe_payment_id{};
};

/// A row of one of the PRD's tables as its view shows it: names and texts, in the view's order.
using ViewRow = std::vector<std::pair<std::string, std::optional<std::string>>>;

struct JobView {
  ViewRow job;
  std::vector<ViewRow> steps;   ///< In order; each says what step, state, times.
  std::vector<ViewRow> assets;  ///< As they were added.
  // What the PRD's columns do not show.
  Credits hold{};                          ///< The open hold; 0 without one.
  std::optional<Timestamp> claim_until{};  ///< Of the latest claim, which may be over.
  bool claimed_elsewhere = false;          ///< That claim is another device's.
  Timestamp active_at{};                   ///< The latest of its operations and its claim's end.
};

/// One table's digest for one user (contract, section 8).
struct TableDigest {
  std::string table;
  std::int64_t rows = 0;
  std::uint64_t digest = 0;

  bool operator==(const TableDigest&) const = default;
};

/// Something an audit found wrong.
struct Finding {
  std::string invariant;  ///< I1 to I6, I9, or `file`: what SQLite finds.
  std::optional<Uuid> user_id{};
  std::string detail;
};

struct AuditReport {
  std::int64_t users = 0;
  std::int64_t entries = 0;
  std::int64_t jobs = 0;
  std::vector<Finding> findings{};
};

/// A user's month (UTC), from the entries' `created_at`: what was there before it, what each type
/// of entry came to in it, and what was there after it. Exact; nothing where a user has no entry.
struct Statement {
  Uuid user_id{};
  std::string month;  ///< `2026-01`
  Credits opening{};
  std::array<Credits, entry_types.size()> sums{};  ///< By type, in the order of entry_types.
  Credits closing{};                               ///< The opening balance and all the sums.
  std::int64_t entries = 0;
};

/// A mirror's file, as it is found, before anything is changed in it.
struct MirrorFile {
  int schema = 0;          ///< Its version of the schema; 0: none.
  bool is_mirror = false;  ///< It has our application id.
  bool is_empty = false;   ///< No bytes, or an SQLite file in which nothing was made.
  std::int64_t bytes = 0;  ///< The file, without its WAL.
  std::int64_t wal_bytes = 0;
  std::vector<std::string> damage{};  ///< What SQLite's quick_check says, at most 20 lines.
};

/// How far a long call is, in steps of its own, about ten times a second or less often; false ends
/// it. It must not throw.
using Watch = std::function<bool(std::int64_t done, std::int64_t total)>;

struct BackupOptions {
  /// Replace the file where there is one; else it is `already_exists`.
  bool replace = false;
  /// Of the copy, in pages.
  Watch watch{};
  /// Of the audit of what was copied, in entries; the other one where this is empty.
  Watch audit_watch{};
};

struct BackupReport {
  std::int64_t bytes = 0;
  std::int64_t users = 0;
  std::int64_t entries = 0;
  std::int64_t jobs = 0;
};

/// Thread-safe. Any number of engines, in any number of processes, may be open on one file; each
/// sees what the others commit. Closing is the destructor's; it waits for nothing. An engine is of
/// the process that opened it: a child that fork() made has none, and cannot open a mirror that its
/// parent had open then.
class TALLY_API Engine {
 public:
  /// Opens, and by default creates, the mirror at `path`. A new file is readable by its owner
  /// alone. An older schema is migrated in one transaction. Reads no history. Refusals:
  /// invalid_argument (after a fork, see above). Failures: not_found, corrupt, schema_too_new,
  /// sqlite_unsafe, read_only, busy, io, full.
  static Result<Engine> open(const std::filesystem::path& path, Options options = {}) noexcept;
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();

  // ---- operations ----

  /// Applies one operation: whole or not at all. Callers that wait at the same time share one
  /// commit. When it returns, an `ok` is as durable as Options::durability says.
  /// Refusals: the operation's codes. Failures: busy, io, full, corrupt, internal; pending (under
  /// SpendPolicy::online: it is queued, as durably as an `ok`).
  template <class T>
  requires requires(Operation o, T t) { o = std::move(t); }
  Result<Receipt> apply(T operation, CallId call = {}) noexcept {
    return apply_operation(Operation(std::move(operation)), call);
  }
  /// The same with everything given, as a trace gives it.
  Result<Receipt> apply_command(Command command) noexcept;
  /// Applies all or none: `operations` without their op_id (zero) get one each.
  Result<Receipt> apply_batch(std::vector<Command> operations, CallId call = {}) noexcept;
  /// Applies many in order, each whole or not at all, in one commit (with other callers'). The
  /// verdicts, refusals among them, are in the commands' order. Failures are the commit's: then
  /// nothing of it happened.
  Result<std::vector<Verdict>> submit(std::vector<Command> commands) noexcept;
  /// A command with op_id and time filled in. Throws what Options::clock and new_id throw.
  Command make_command(Operation operation, CallId call = {}) const;
  /// Reads an operation in a trace's form, in which `op_id` and `at` may be absent, also in a
  /// batch's operations; then they are made. As with parse_trace_line(), fields that do not parse
  /// are the engine's to answer. Refusals: invalid_argument, with what is wrong (no JSON object, an
  /// unknown `op`, a malformed `op_id` or `at`).
  Result<Command> parse_command(std::string_view json) const noexcept;

  // ---- reading ----
  // Balance and check are answered from memory without a lock. They see every commit of this
  // engine that returned before the call, and every other process' commit that was visible in the
  // file when the call began. Failures: user_not_found, busy, io, corrupt.

  Result<Credits> balance(const Uuid& user_id) const noexcept;
  Result<AccountCheck> check(const Uuid& user_id) const noexcept;

  // The others read the file, each in one snapshot, and never block a writer. What one of them has
  // shown, balance() and check() show from its return on.

  Result<Account> account(const Uuid& user_id) const noexcept;
  /// Newest first; at most `limit` entries (1 to 10,000), from below `before_seq` on where given.
  /// Costs a step for every entry from the newest to the last one returned.
  Result<std::vector<Entry>> history(const Uuid& user_id, std::size_t limit = 100,
                                     std::optional<std::int64_t> before_seq = {}) const noexcept;
  Result<ViewRow> project(const Uuid& project_id) const noexcept;
  Result<JobView> job(const Uuid& job_id) const noexcept;
  Result<std::vector<ViewRow>> jobs(const Uuid& user_id) const noexcept;
  Result<std::vector<ViewRow>> drafts(const Uuid& user_id) const noexcept;
  /// Every user's id, in id order.
  Result<std::vector<Uuid>> users() const noexcept;
  /// All rows of one of the PRD's tables, in id order; of one user where one is given.
  Result<std::vector<ViewRow>> rows(std::string_view table,
                                    std::optional<Uuid> user_id = {}) const noexcept;

  /// The digest of each of the PRD's tables for each user, in their order, computed now in one
  /// snapshot: one pass over each table, however many users. Of no rows for one who does not exist.
  Result<std::vector<std::vector<TableDigest>>> digests(
      std::span<const Uuid> user_ids) const noexcept;
  /// The same for one.
  Result<std::vector<TableDigest>> digest(const Uuid& user_id) const noexcept;
  /// Recomputes I1, I3, I4 and I5 from the entries, in one snapshot.
  Result<AuditReport> audit() const noexcept;
  /// The same; nothing where the watch ended it. Its steps are entries.
  Result<std::optional<AuditReport>> audit(const Watch& watch) const noexcept;

  // Everything of a kind, one after another, in one snapshot and in little memory however many
  // there are. `visit` answers false to end it; it must not throw and may not call this engine to
  // write. Each answers how many were visited.

  /// The rows of one of the PRD's tables in id order; of one user where one is given. Failures:
  /// not_found (no such table).
  Result<std::int64_t> each_row(std::string_view table, std::optional<Uuid> user_id,
                                const std::function<bool(const ViewRow&)>& visit) const noexcept;
  /// The entries of all users, or one, in the order in which the mirror got them: each user's by
  /// `seq`.
  Result<std::int64_t> each_entry(
      std::optional<Uuid> user_id,
      const std::function<bool(const Uuid& user_id, const Entry&)>& visit) const noexcept;
  /// A statement for each month in which a user had entries, by user and month.
  Result<std::int64_t> each_statement(
      std::optional<Uuid> user_id,
      const std::function<bool(const Statement&)>& visit) const noexcept;

  // ---- the file ----

  /// Copies the mirror as it is now into a new file, while others read and write. The copy is one
  /// snapshot; SQLite's integrity check, an audit and the digests of every user, compared with
  /// those of the same snapshot here, must be right before it gets its name. Then it is on disk. It
  /// is its owner's alone. Until then nothing is under that name but what was there before. The
  /// WAL grows while it runs. Nothing where a watch ended it.
  /// A copy of a mirror that is a device is that device, too: where both go on the second to sync
  /// is `device_forked`. Refusals: already_exists, invalid_argument (the mirror itself). Failures:
  /// not_found (its folder is not there), busy (the file that is to be replaced is open, or has a
  /// WAL that was left behind), corrupt (the copy is not right: it is removed, and the mirror is to
  /// be audited), io, full, read_only.
  Result<std::optional<BackupReport>> backup(const std::filesystem::path& to,
                                             const BackupOptions& options = {}) const noexcept;
  /// Looks at a file and changes nothing in it: no migration. Failures: not_found, corrupt (no
  /// SQLite file, or too damaged to be read), busy, read_only, io.
  static Result<MirrorFile> examine(const std::filesystem::path& path) noexcept;

  /// The number of operations that wait to be pushed.
  Result<std::int64_t> pending_operations() const noexcept;

 private:
  class Impl;
  friend class Inspection;
  friend class Replica;
  friend struct BalanceInMemory;
  Result<Receipt> apply_operation(Operation operation, CallId call) noexcept;
  explicit Engine(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

/// The library's version, `major.minor.patch`, and that of the SQLite it carries.
TALLY_API std::string_view version() noexcept;
TALLY_API std::string_view sqlite_version() noexcept;
/// Whether that SQLite keeps all that it commits (see the code sqlite_unsafe).
TALLY_API bool sqlite_is_safe() noexcept;
/// The schema that this library writes; an older one is migrated when it is opened.
TALLY_API int mirror_schema() noexcept;

/// A UUID of version 7: time-ordered, and increasing within this process.
TALLY_API Uuid new_uuid_v7();

}  // namespace tally
