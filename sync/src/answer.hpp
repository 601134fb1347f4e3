#pragma once
// What canonical's sync function answers, read from its rows.

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

/// The rows of the sync function, as the answer to a push.
Answer read_answer(const Rows& rows, const Push& push);

}  // namespace tally::sync
