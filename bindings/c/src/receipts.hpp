#pragma once
// What an operation answers.

#include <optional>
#include <string_view>

#include "tally.h"
#include "tally/engine.hpp"

namespace tally::c {

/// What is no operation's own fault is answered here, before there is one; then `wrong` says why.
bool is_callable(const tally_engine* engine, const tally_receipt* receipt,
                 std::string_view& wrong) noexcept;

/// Where there is a receipt.
void write_receipt(tally_receipt* receipt, const Uuid& op_id, const std::optional<Credits>& balance,
                   const std::optional<Uuid>& id) noexcept;

}  // namespace tally::c
