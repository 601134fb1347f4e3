#pragma once
// Readers over a connection, whichever snapshot it shows: for the engine's own, and for a copy that
// is to be compared with it.

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "sqlite.hpp"
#include "tally/engine.hpp"

namespace tally {

/// The jobs of user `?1` that have an open hold, by the index of holds: one look in each of its
/// eras.
inline constexpr std::string_view select_held_jobs =
    "with recursive era (n) as"
    " (select min(j >> 10) from tally_job where hold > 0 union all"
    "  select (select min(j >> 10) from tally_job where hold > 0 and j >> 10 > n)"
    "  from era where n is not null)"
    " select h.j from era cross join tally_job h on h.j >> 10 = n and h.u = ?1 and h.hold > 0";

/// The user's key; throws the refusal where there is none.
std::int64_t require_user(SQLite::Database& db, const Uuid& user_id);
/// In id order.
std::vector<Uuid> users_of(SQLite::Database& db);
/// That user's, or everybody's in the order of their ids.
std::vector<OpenLease> open_leases(SQLite::Database& db, std::optional<std::int64_t> u);

/// See Engine::digests() and Engine::audit().
std::vector<std::vector<TableDigest>> digests_of(SQLite::Database& db,
                                                 std::span<const Uuid> user_ids);
std::optional<AuditReport> audit_of(SQLite::Database& db, const Watch& watch);

}  // namespace tally
