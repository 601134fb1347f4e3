#pragma once
#include "tally/values.hpp"

namespace tally {

Timestamp system_now();
/// For rows whose derived id is taken.
Uuid random_uuid_v4();

}  // namespace tally
