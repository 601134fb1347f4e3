#pragma once
// The mirrors that targets start from: a few users with a job in each interesting state, and a
// device with a lease and operations on their way.

#include <string>
#include <string_view>
#include <vector>

#include "answer.hpp"
#include "tally/engine.hpp"
#include "tally/replica.hpp"

namespace tally::fuzz {

/// Of a file beside this one.
std::vector<std::string> lines_of(std::string_view file);

/// Applies each line; each must be ok.
void apply_all(Engine& engine, const std::vector<std::string>& lines);

/// Rows of canonical's sync function as lines `part|user_id|fields`, the fields as PostgreSQL shows
/// a text[]; an empty user_id is NULL.
sync::Rows rows_of(const std::vector<std::string>& lines);

/// A device that was fed setup.reply and then did what pending.jsonl says, all of which has been
/// sent.
void make_device(Engine& engine, Replica& replica);

/// The same amid everything: one of its operations was rejected, another with it; it subscribes to
/// users, of one of whom it has the first page; rest.reply has the rest.
void make_busy_device(Engine& engine, Replica& replica);

/// All that is to be pushed.
Push push_of(Replica& replica);

}  // namespace tally::fuzz
