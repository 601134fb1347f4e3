#pragma once
// The ledger's own moves, of which the operations on credits and jobs are made.

#include "work.hpp"

namespace tally {

/// Opens the job's hold: `reserve −amount`; sets cost_credits_reserved and the reservation's name.
/// drawn: from the lease. second: behind another entry of the operation's.
void open_hold(Work& work, std::int64_t j, Credits amount, bool drawn, bool second = false);
/// Whether the job's hold can be settled at that price: already_finalized, no_reservation,
/// insufficient_credits, or ok.
Code check_settle(Work& work, std::int64_t j, Credits final_cost);
/// Settles it: `reserve`, `usage`, and `refund` of what was not used. check_settle said ok.
void settle(Work& work, std::int64_t j, Credits final_cost);
/// Releases the job's open hold: `refund`.
void release(Work& work, std::int64_t j);

/// The job with all that is its own.
void delete_job(Store& store, std::int64_t j);

/// Every operation on a job that did something is a sign of life (see sweep).
void touch(JobRow& job, Timestamp at);

}  // namespace tally
