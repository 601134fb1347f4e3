// claim_job, renew_claim, drop_claim, sweep. A mirror without a device counts as one device.
#include <algorithm>

#include "ledger.hpp"

namespace tally {
namespace {

bool live(const JobRow& job, Timestamp at) { return job.claim_until && at < *job.claim_until; }

bool can_be_worked_on(JobStatus status) { return status == JobStatus::QUEUED || is_stage(status); }

/// When the job last showed life: its latest operation, or the end of its last claim if later.
Timestamp last_alive(const JobRow& job) {
  return job.claim_until ? std::max(job.active_at, *job.claim_until) : job.active_at;
}

/// Whether the job's claim, if any, is another device's.
bool is_elsewhere(Work& work) {
  const JobLinkRow* link = work.link(work.j());
  return link != nullptr && link->claimed_elsewhere != 0;
}

/// The op_id of the fail_job that a sweep makes for a job: the same wherever the sweep is applied.
Uuid swept_op_id(const Uuid& sweep, const Uuid& job) {
  Uuid id;
  for (std::size_t i = 0; i < id.bytes.size(); ++i) {
    id.bytes[i] = static_cast<std::uint8_t>(sweep.bytes[i] ^ job.bytes[i]);
  }
  id.bytes[6] = static_cast<std::uint8_t>((id.bytes[6] & 0x0fU) | 0x40U);
  id.bytes[8] = static_cast<std::uint8_t>((id.bytes[8] & 0x3fU) | 0x80U);
  return id;
}

}  // namespace

Code apply(Work& work, const ClaimJob& op) {
  if (!work.job_exists()) return Code::job_not_found;
  const JobRow& now = work.store.jobs.get(work.j());
  if (live(now, work.at())) return Code::already_claimed;
  if (!can_be_worked_on(now.status)) return Code::illegal_transition;
  JobRow& job = work.store.jobs.edit(work.j());
  job.claim_until = work.at().plus_seconds(op.ttl_s);
  if (is_elsewhere(work)) work.store.job_links.edit(work.j()).claimed_elsewhere = 0;
  touch(job, work.at());
  return Code::ok;
}

Code apply(Work& work, const RenewClaim& op) {
  if (!work.job_exists()) return Code::job_not_found;
  if (!live(work.store.jobs.get(work.j()), work.at()) || is_elsewhere(work))
    return Code::not_claim_holder;
  JobRow& job = work.store.jobs.edit(work.j());
  job.claim_until = work.at().plus_seconds(op.ttl_s);
  touch(job, work.at());
  return Code::ok;
}

Code apply(Work& work, const DropClaim&) {
  if (!work.job_exists()) return Code::job_not_found;
  if (!live(work.store.jobs.get(work.j()), work.at()) || is_elsewhere(work))
    return Code::not_claim_holder;
  JobRow& job = work.store.jobs.edit(work.j());
  job.claim_until.reset();
  touch(job, work.at());
  return Code::ok;
}

Code apply(Work& work, const Sweep& op) {
  Store& store = work.store;
  const Timestamp at = work.at();
  std::vector<Uuid> lost;
  for (const std::int64_t j : store.working_jobs()) {
    const JobRow& job = store.jobs.get(j);
    const bool idle = last_alive(job).plus_seconds(op.grace_s) <= at;
    if (!live(job, at) && idle) lost.push_back(unfolded(job.id));
  }
  std::sort(lost.begin(), lost.end());
  for (const Uuid& job_id : lost) {
    Command fail;
    fail.op_id = swept_op_id(work.command().op_id, job_id);
    fail.at = at;
    fail.operation = FailJob{job_id, "WORKER_LOST", std::nullopt};
    // One whose op_id is known already was failed by this sweep before, and is left alone.
    work.apply_own(std::move(fail));
  }
  return Code::ok;
}

}  // namespace tally
