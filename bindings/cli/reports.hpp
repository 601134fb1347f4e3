#pragma once
// What a person wants to read about an account or a job.

#include <map>
#include <string>

#include "output.hpp"
#include "tally/engine.hpp"

namespace tally::cli {

/// The titles of the user's projects, by their jobs' ids.
std::map<Uuid, std::string> titles_of_jobs(const Engine& engine, const Uuid& user_id);

/// The newest `limit` entries, oldest first: date, what, amount, balance.
std::string statement(const Engine& engine, const Uuid& user_id, std::size_t limit);

/// A job's entries, oldest first.
std::vector<Entry> entries_of_job(const Engine& engine, const JobView& view, const Uuid& job_id);

/// A job: where it stands, and what happened when, credits and stages in one column.
std::string job_report(const Engine& engine, const JobView& view, const Uuid& job_id);

}  // namespace tally::cli
