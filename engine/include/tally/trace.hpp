#pragma once
// Traces: operations as JSON Lines, the one text form of everything that can be done to a ledger.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tally/operations.hpp"

namespace tally {

/// What became of one operation of a trace.
struct Verdict {
  Uuid op_id{};
  Code code = Code::internal;
  std::optional<Credits> balance{};      ///< Of the user it names, else of its job's owner; now.
  std::optional<Uuid> id{};              ///< The id that claim_draft returns.
  std::optional<std::uint32_t> index{};  ///< Of a batch that was refused: which of its operations.
  std::int64_t number = 0;               ///< Of one that is `pending`: its place in the outbox.
};

/// Reads one line. Nothing where it is no operation: no JSON object, an unknown `op`, a missing or
/// malformed `op_id` or `at`. Fields that do not parse make a command whose `malformed` says so,
/// which the engine then answers in its order of checks.
TALLY_API std::optional<Command> parse_trace_line(std::string_view line);

/// The line of a command whose fields are valid; without the newline.
TALLY_API std::string trace_line(const Command& command);

/// `{"op_id":"…","result":"ok","balance":2}`; without the newline.
TALLY_API std::string result_line(const Verdict& verdict);

/// The answer to line `number` (from 1) that is no operation.
TALLY_API std::string not_an_operation_line(std::uint64_t number);

}  // namespace tally
