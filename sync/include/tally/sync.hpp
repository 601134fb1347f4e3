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

/// A row as canonical shows it: its columns as texts, in the mirror's view's order, the id first.
using RowTexts = std::vector<std::optional<std::string>>;

struct MigrateOptions {
  /// Where the database has no schema `auth` (plain Postgres), first make what Supabase provides.
  bool shim = false;
  /// Change nothing; report what would be done.
  bool dry_run = false;
};

struct Migration {
  std::string version;    ///< `20260118000001`
  std::string name;       ///< `modify_profiles`
  bool recorded = false;  ///< It had been applied before this call.
};

struct MigrationReport {
  bool shim = false;                    ///< The shim was (in a dry run: would be) applied.
  std::vector<Migration> migrations{};  ///< All there are, in order.
  std::string sql{};  ///< In a dry run: everything that would run, as a script for psql.
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
  static Result<Canonical> connect(const std::string& conninfo) noexcept;
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

  /// Brings the database to this version's schema: each migration that
  /// `supabase_migrations.schema_migrations` does not name, in a transaction of its own, recorded
  /// there as the Supabase CLI does. Two at once are safe: the second waits and finds the work
  /// done. After a failure those before it stay applied, and the next call goes on from there.
  /// Refusals: illegal_transition (a later migration is recorded before an earlier one). Failures:
  /// not_found (no schema `auth`, and no shim asked for).
  Result<MigrationReport> migrate(const MigrateOptions& options) noexcept;

 private:
  class Impl;
  explicit Canonical(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

/// What migrate() runs on an empty database, as a script for psql; with the shim where asked for.
TALLY_API std::string migration_script(bool shim);

/// The version of the libpq in use, `15.18`.
TALLY_API std::string libpq_version();

}  // namespace tally::sync
