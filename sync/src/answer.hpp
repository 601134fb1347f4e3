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

/// The function's parameters $1 to $8: who asks, and the push.
std::vector<std::optional<Parameter>> push_parameters(const Push& push, const std::string& token);

/// The rows of the sync function, as the answer to a push.
Answer read_answer(const Rows& rows, const Push& push);

}  // namespace tally::sync
