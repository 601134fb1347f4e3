#pragma once
// What goes into canonical's sync function of a push, and what it answers, read from its rows.

#include "postgres.hpp"
#include "tally/replica.hpp"
#include "tally/syncer.hpp"

namespace tally::sync {

/// Why a call came to nothing.
struct Trouble {
  ErrorClass error_class = ErrorClass::none;
  Error error{};
};

/// The answer to one call; with trouble, nothing else of it counts.
struct Answer {
  Reply reply{};
  Enrolment device{};
  bool more = false;
  std::optional<Uuid> claimed{};
  std::vector<TableDigest> digest{};
  Trouble trouble{};
};

/// What one call of the function is given.
struct Call {
  Push push{};
  std::string token{};
  std::optional<Uuid> device_id{};            ///< Who the mirror is, where it is anybody.
  std::optional<std::int64_t> claim_ttl_s{};  ///< The next job is to be claimed for so long.
  std::optional<Uuid> digest_of{};
  std::optional<Uuid> before{};  ///< Who the mirror was, on its way to be another.
  int users_max = 200;           ///< Of a device over all users, in one call.
  int rows_max = 20'000;
};

/// The call, where canonical's schemas have their usual names.
extern const char* const sync_statement;
/// Its parameters, $1 to $15.
std::vector<std::optional<Parameter>> parameters_of(const Call& call);

/// The rows of the sync function, as the answer to a push.
Answer read_answer(const Rows& rows, const Push& push);

}  // namespace tally::sync
