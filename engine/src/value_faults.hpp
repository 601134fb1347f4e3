#pragma once
#include <string>

#include "tally/operations.hpp"

namespace tally {

/// Which field check_fields() found wrong, and what is expected of it; empty where none is.
std::string fault_of(Command command);

}  // namespace tally
