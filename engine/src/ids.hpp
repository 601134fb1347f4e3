#pragma once
#include "tally/values.hpp"

namespace tally {

Timestamp system_now();
/// For rows whose derived id is taken.
Uuid random_uuid_v4();

/// A folded id with that as its last byte: under its first 15 clashing ids meet.
inline Uuid masked(Uuid folded_id, std::uint8_t last) noexcept {
  folded_id.bytes[15] = last;
  return folded_id;
}

}  // namespace tally
