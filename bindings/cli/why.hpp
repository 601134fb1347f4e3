#pragma once
// Why a job is where it is, in plain words: what is known of it, and the paragraph made of that.

#include <optional>
#include <string>
#include <vector>

#include "output.hpp"
#include "tally/replica.hpp"

namespace tally::cli {

/// All that a mirror knows of a job, and of what stands between it and canonical.
struct JobFacts {
  Uuid job_id{};
  std::optional<JobView> view{};              ///< Absent: the mirror has no such job.
  std::optional<Account> account{};           ///< Its owner's.
  std::optional<OpenLease> lease{};           ///< Its owner's.
  std::optional<LinkState> link{};            ///< Absent: the mirror is no device.
  std::vector<PendingOperation> pending{};    ///< Those on this job.
  std::vector<RejectedOperation> rejected{};  ///< Those on this job.
  std::optional<Credits> amount{};            ///< What somebody would reserve for it.
  std::string db;                             ///< The mirror's file, for commands.
  Timestamp now{};
};

/// A command that can be pasted, and what it is good for.
struct Remedy {
  std::string what;
  std::string command;
};

struct Why {
  std::string status;  ///< As the mirror has it; `unknown` where it has no such job.
  std::optional<Timestamp> since{};
  std::string waits_for;  ///< In a few words; empty: for nothing.
  std::string paragraph;
  std::vector<Remedy> remedies{};  ///< The first is the one to try first.
};

/// Throws a Stop where neither the mirror nor what is pending or rejected names the job.
JobFacts facts_of(Engine& engine, const Uuid& job_id, std::string db,
                  std::optional<Credits> amount = {});
Why explain(const JobFacts& facts);
JsonValue to_json(const JobFacts& facts, const Why& why);

}  // namespace tally::cli
