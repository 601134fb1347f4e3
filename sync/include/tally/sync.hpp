#pragma once
// Start here: canonical, the half that has the last word, from C++. Connect, migrate the database,
// apply operations to it, and compare what it holds with a mirror.
//
//   auto canonical = tally::sync::Canonical::connect("postgresql://localhost/product");
//   auto verdicts = canonical->apply(lines);

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tally/engine.hpp"

namespace tally::sync {

/// Whether a cell may have that name: a letter or underscore, then letters, digits and underscores,
/// all lower case, 41 at most; not one of PostgreSQL's or ours.
TALLY_API bool is_schema_name(std::string_view name);

/// A row as canonical shows it: its columns as texts, in the mirror's view's order, the id first.
using RowTexts = std::vector<std::optional<std::string>>;

struct MigrateOptions {
  /// Where the database has no schema `auth` (plain Postgres), first make what Supabase provides.
  bool shim = false;
  /// Afterwards, the data that a developer starts with (sql/seed/development.sql).
  bool seed = false;
  /// Change nothing; report what would be done.
  bool dry_run = false;
};

enum class MigrationState : std::uint8_t {
  pending,  ///< Not recorded before this call.
  recorded,
  edited,  ///< Recorded, but with another text than ours.
};

struct Migration {
  std::string version;  ///< `20260118000001`
  std::string name;     ///< `modify_profiles`
  MigrationState state = MigrationState::pending;
};

struct MigrationReport {
  bool shim = false;                    ///< The shim was (in a dry run: would be) applied.
  std::vector<Migration> migrations{};  ///< All of ours, in order.
  std::vector<std::string> others{};    ///< Recorded versions that are not ours.
  std::string sql{};  ///< In a dry run: everything that would run, as a script for psql.
};

/// Something that the database lacks, or has otherwise than the migrations make it.
struct DoctorFinding {
  std::string what;
  std::string remedy;
};

/// Credits that are not as they should be: what a finding is about, and in plain words why.
struct CanonicalFinding {
  std::optional<Uuid> user_id;
  std::string subject;  ///< `job:…`, `payment:…`, `entry:…`, `hold:…` or `account`.
  std::string kind;
  std::int64_t difference = 0;  ///< What corrections still have to come to, in credits.
  bool repairs = false;         ///< repair() corrects it, as far as the balance goes.
  std::string explanation;
};

/// An entry that repair() posted.
struct Correction {
  Uuid user_id;
  std::string subject;
  std::string type;
  Credits amount;
  std::string note;
};

/// A device to be made: a mirror's identity at canonical.
struct NewDevice {
  std::string name;
  std::vector<Capability> capabilities;
  std::optional<Uuid> scope{};  ///< None: all users.
  std::optional<std::chrono::seconds> reclaim_after{};
};
struct DeviceToken {
  Uuid device_id;
  std::string token;
};
struct DeviceInfo {
  Uuid device_id;
  std::string name;
  std::optional<Uuid> scope{};
  std::vector<std::string> capabilities;
  std::int64_t watermark = 0;
  Credits leased{};
  std::string created_at;
  std::optional<std::string> seen_at{};
  std::optional<std::string> revoked_at{};
};

/// One connection to canonical. Thread-compatible: one call at a time. It keeps no state in the
/// session and prepares nothing, so that it works through a pooler in transaction mode.
///
/// Failures of every call: `unreachable` (the server or the connection is gone), `busy` (it ended
/// the call because of a lock, a deadlock or a lack of resources; nothing happened, try again),
/// `full`, `read_only`, `not_found` (the database lacks our schema: migrate it), `internal`
/// (anything else, with the server's message).
class TALLY_API Canonical {
 public:
  /// Connects. `conninfo` is a URI, a conninfo string, a database's name, or empty for libpq's PG*
  /// environment; libpq gets it as it is. Failures: unreachable.
  /// `schema` is `public`, or that of a cell (see MigrateOptions and sql/README.md). Refusals:
  /// invalid_argument (no plain lower-case name).
  static Result<Canonical> connect(const std::string& conninfo,
                                   const std::string& schema = "public") noexcept;
  Canonical(Canonical&&) noexcept;
  Canonical& operator=(Canonical&&) noexcept;
  ~Canonical();

  /// Applies operations, given as the lines of a trace, in order, each whole or not at all, in one
  /// transaction and one round trip. The verdicts are in the lines' order; the verdict of a line
  /// that is no operation for canonical has an op_id of zeros. When it returns, the effects are
  /// committed as durably as the server is set up to. Lost connections leave it open whether that
  /// happened; the same call again is safe, since every operation is applied once.
  /// Refusals: invalid_argument (a line with a NUL or that is no UTF-8, or 1 GB of lines).
  Result<std::vector<Verdict>> apply(std::span<const std::string> lines) noexcept;

  /// Every user's id, in id order.
  Result<std::vector<Uuid>> users() noexcept;
  /// The digest of each of the PRD's tables, computed now; for a user who does not exist, of no
  /// rows.
  Result<std::vector<TableDigest>> digest(const Uuid& user_id) noexcept;
  /// The same for many users in one round trip and one snapshot.
  Result<std::vector<std::vector<TableDigest>>> digests(std::span<const Uuid> user_ids) noexcept;
  /// The user's rows of one of the PRD's tables, in id order.
  Result<std::vector<RowTexts>> rows(std::string_view table, const Uuid& user_id) noexcept;

  /// Brings the database to this version's schema: each migration that the record does not name, in
  /// a transaction of its own, recorded as the Supabase CLI does
  /// (`supabase_migrations.schema_migrations`; a cell has a `schema_migrations` of its own). Two at
  /// once are safe: the second waits and finds the work done. After a failure those before it stay
  /// applied, and the next call goes on from there. Refusals: illegal_transition (a later migration
  /// is recorded before an earlier one, or one with another text than ours). Failures: not_found
  /// (no schema `auth`, and no shim asked for).
  Result<MigrationReport> migrate(const MigrateOptions& options) noexcept;
  /// What is recorded; changes nothing, and refuses nothing.
  Result<MigrationReport> migration_status() noexcept;

  /// What is missing or drifted: the server, roles, the record, and every table, column,
  /// constraint, index, trigger, policy, function and privilege that is not as the migrations make
  /// it. For that it installs them once more beside the real ones, in a transaction that it rolls
  /// back, and compares; sign-ups wait as long (about a second). Empty where all is well.
  Result<std::vector<DoctorFinding>> doctor() noexcept;

  /// The server's clock.
  Result<Timestamp> now() noexcept;

  /// What in the ledger is not as it should be, for all users: credits that the PRD's original
  /// functions gave or took twice, what old data left behind, and every invariant, computed anew.
  Result<std::vector<CanonicalFinding>> audit() noexcept;
  /// Posts the entries that correct one user's findings, in one transaction; again, it posts
  /// nothing more. History is never changed. Takes back at most the balance; the rest stays a
  /// finding.
  Result<std::vector<Correction>> repair(const Uuid& user_id) noexcept;

  /// A new device, and its token, of which canonical keeps only the hash. Refusals:
  /// invalid_argument, user_not_found (no such user to be its scope).
  Result<DeviceToken> add_device(const NewDevice& device) noexcept;
  Result<std::vector<DeviceInfo>> devices() noexcept;
  /// Ends its token, its claims and its leases. Failures: unauthorized (no such device, or ended
  /// before).
  Result<bool> revoke_device(const Uuid& device_id) noexcept;
  /// Another token for the same device.
  Result<std::string> rotate_token(const Uuid& device_id) noexcept;
  /// Ends a lease whose device does not return; what canonical knows to be unspent goes back to the
  /// user. Answers how much. Refusals: lease_not_found.
  Result<Credits> write_off(const Uuid& lease_id) noexcept;

 private:
  class Impl;
  explicit Canonical(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

struct ScriptOptions {
  bool shim = false;
  std::string schema = "public";
  /// The first and the last version wanted; empty: from the start, to the end.
  std::string from{};
  std::string to{};
};

/// What migrate() runs on an empty database, as a script for psql. Refusals: invalid_argument (a
/// version that there is not, or no plain lower-case name for a schema).
TALLY_API Result<std::string> migration_script(const ScriptOptions& options);

/// The version of the libpq in use, `15.18`.
TALLY_API std::string libpq_version();

}  // namespace tally::sync
