#pragma once
// An answer of canonical's, taken into the mirror.

#include "tally/replica.hpp"
#include "work.hpp"

namespace tally {

/// Takes one answer, within the open transaction; throws to undo it. See Replica::take().
Taken take_reply(Store& store, Work& work, const Reply& reply, Timestamp now);

}  // namespace tally
