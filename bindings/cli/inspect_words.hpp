#pragma once
// What the inspector says of entries and jobs, in sentences.

#include <string>
#include <vector>

#include "output.hpp"
#include "tally/inspection.hpp"

namespace tally::cli {

/// `−8 reserved for a job, balance 2`
std::string words_of(const Entry& entry);
/// Of a run of entries, how many, what came and went, and where the balance got.
std::string words_of(const ChartStep& step);
/// What the credits of a job did, a sentence each, and what that comes to.
std::vector<std::string> story_of(const JobView& view, const std::vector<Entry>& entries);

}  // namespace tally::cli
