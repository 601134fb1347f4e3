#pragma once
// Reading an operation whose op_id and time may be left to the engine.

#include <functional>
#include <string_view>

#include "tally/operations.hpp"
#include "tally/result.hpp"

namespace tally {

using MakeId = std::function<Uuid()>;

/// What Engine::parse_command() does.
Result<Command> read_command(std::string_view json, const MakeId& make_id,
                             const std::function<Timestamp()>& now);

}  // namespace tally
