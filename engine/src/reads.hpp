#pragma once
// Readers over a connection, whichever snapshot it shows: for the engine's own, and for a copy that
// is to be compared with it.

#include <optional>
#include <span>
#include <vector>

#include "sqlite.hpp"
#include "tally/engine.hpp"

namespace tally {

/// The user's key; throws the refusal where there is none.
std::int64_t require_user(SQLite::Database& db, const Uuid& user_id);
/// In id order.
std::vector<Uuid> users_of(SQLite::Database& db);

/// See Engine::digests() and Engine::audit().
std::vector<std::vector<TableDigest>> digests_of(SQLite::Database& db,
                                                 std::span<const Uuid> user_ids);
std::optional<AuditReport> audit_of(SQLite::Database& db, const Watch& watch);

}  // namespace tally
