#pragma once
// What is wrong with an operation's fields, in words. For people, and after the engine's answer: it
// costs more than the check that found it.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tally/operations.hpp"

namespace tally {

/// Why a line, or the operation `index` of its batch, was answered invalid_argument,
/// invalid_amount or invalid_type, where that is seen in its fields: `reserve_credits: amount is
/// missing; there is no field 'amont'`. Else empty.
TALLY_API std::string fault_in_line(std::string_view line, std::optional<std::uint32_t> index = {});

/// The same of an operation that no line gave; only of its values.
TALLY_API std::string fault_in(const Operation& operation);

}  // namespace tally
