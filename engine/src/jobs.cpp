// create_job, advance_job, report_progress, add_asset, complete_job, fail_job, retry_job.
#include <cassert>

#include "ledger.hpp"

namespace tally {
namespace {

/// Leaves the column as it is where the operation says nothing.
template <class T, class Column>
bool take(Column& column, const std::optional<T>& value) {
  if (!value) return false;
  if constexpr (std::is_same_v<T, Json>) {
    if (column == value->text) return false;
    column = value->text;
  } else {
    if (column == *value) return false;
    column = *value;
  }
  return true;
}

/// Sets one step's percentage; the job's progress is the floor of the mean of all eight.
void set_step_pct(JobRow& job, StepRow& step, std::int64_t pct) {
  job.steps_pct += pct - step.progress_pct;
  step.progress_pct = pct;
  job.progress = job.steps_pct / step_count;
}

void enter_stage(Work& work, std::int64_t j, JobRow& job, JobStatus stage) {
  StepRow& step = work.store.steps.edit_or_insert(step_key(j, step_order_of(stage)));
  step.state = StepState::started;
  set_step_pct(job, step, 0);
  step.started_at = work.at();
  if (!job.started_at) job.started_at = work.at();
}

/// A job that canonical fed may lack steps until it enters its first stage.
bool has_step(Work& work, std::int64_t j, int order) {
  const JobLinkRow* link = work.link(j);
  return link == nullptr || (link->steps >> (order - 1) & 1) != 0;
}

/// What others wrote on canonical may be in a stage whose step is as it was made, or is not there.
void leave_stage(Work& work, std::int64_t j, JobRow& job) {
  const int order = step_order_of(job.status);
  if (!has_step(work, j, order)) return;
  StepRow& step = work.store.steps.edit_or_insert(step_key(j, order));
  step.state = StepState::succeeded;
  set_step_pct(job, step, 100);
  step.finished_at = work.at();
}

/// READY and FAILED are the ends of a run: of its claim, too.
void finish(Work& work, JobRow& job, JobStatus status) {
  job.status = status;
  job.finished_at = work.at();
  job.claim_until.reset();
}

/// The first stage whose step has not succeeded.
JobStatus next_stage(Work& work, std::int64_t j) {
  for (int order = 1; order <= step_count; ++order) {
    const StepRow* step = work.store.steps.find(step_key(j, order));
    if (step == nullptr || step->state != StepState::succeeded) return stage_of(order);
  }
  return JobStatus::READY;
}

}  // namespace

Code apply(Work& work, const CreateJob& op) {
  Store& store = work.store;
  const auto p = store.projects.find_id(op.project_id);
  if (!p) return Code::project_not_found;
  if (work.job_exists()) return Code::already_exists;
  const std::int64_t u = store.projects.get(*p).u;
  if (u != work.u()) return Code::not_owner;
  const bool step_ids_taken = store.step_ids_taken(op.job_id);
  JobRow job;
  job.id = folded(op.job_id);
  job.u = u;
  job.p = *p;
  job.created_at = work.at();
  job.cost_credits_reserved = 0;
  job.active_at = work.at();
  const std::int64_t j = store.insert_job(job);
  for (int order = 1; step_ids_taken && order <= step_count; ++order) {
    store.steps.insert(step_key(j, order), StepRow{}).id = work.random_id();
  }
  return Code::ok;
}

Code apply(Work& work, const AdvanceJob& op) {
  if (!work.job_exists()) return Code::job_not_found;
  if (const Code code = work.check_claim_and_reservation(); code != Code::ok) return code;
  const std::int64_t j = work.j();
  const JobRow& now = work.store.jobs.get(j);
  const JobMove* move = find_job_move(now.status, op.to, AdvanceJob::row.name);
  if (move == nullptr) return Code::illegal_transition;
  if (now.status == JobStatus::QUEUED && op.to != next_stage(work, j))
    return Code::illegal_transition;
  if (move->hold == Hold::needs && now.hold == 0) return Code::reservation_required;
  if (move->hold == Hold::settled && (now.hold > 0 || !now.cost_credits_final)) {
    return Code::illegal_transition;
  }

  JobRow& job = work.store.jobs.edit(j);
  if (job.status == JobStatus::QUEUED && work.link(j) != nullptr)
    work.store.job_links.edit(j).steps = JobLinkRow::all_steps;  // It gets those it lacks.
  if (is_stage(job.status)) leave_stage(work, j, job);
  if (is_stage(op.to)) enter_stage(work, j, job, op.to);
  job.status = op.to;
  if (op.status_message) work.store.job_texts.edit_or_insert(j).status_message = op.status_message;
  touch(job, work.at());
  if (op.to == JobStatus::READY) {
    finish(work, job, JobStatus::READY);
    work.happened(Happening::Kind::job_complete, job.u, j);
  }
  return Code::ok;
}

Code apply(Work& work, const ReportProgress& op) {
  if (!work.job_exists()) return Code::job_not_found;
  const auto order = step_order_named(op.step_name);
  if (!order || !has_step(work, work.j(), *order)) return Code::step_not_found;
  if (const Code code = work.check_claim_and_reservation(); code != Code::ok) return code;
  const std::int64_t j = work.j();
  const JobRow& now = work.store.jobs.get(j);
  if (!is_stage(now.status) || step_order_of(now.status) != *order) return Code::illegal_transition;

  const StepRow* as_is = work.store.steps.find(step_key(j, *order));
  StepRow step = as_is == nullptr ? StepRow{} : *as_is;
  JobRow job = now;
  bool changed = take(step.status_message, op.status_message);
  changed = take(step.logs_url, op.logs_url) || changed;
  changed = take(step.artifacts_json, op.artifacts_json) || changed;
  if (op.progress_pct > step.progress_pct) {
    set_step_pct(job, step, op.progress_pct);
    changed = true;
  }
  if (!changed) {
    work.forget();
    return Code::ok;
  }
  touch(job, work.at());
  work.store.jobs.edit(j) = job;
  work.store.steps.edit_or_insert(step_key(j, *order)) = std::move(step);
  return Code::ok;
}

Code apply(Work& work, const AddAsset& op) {
  Store& store = work.store;
  if (!work.job_exists()) return Code::job_not_found;
  if (store.assets.find_id(op.asset_id)) return Code::already_exists;
  if (const Code code = work.check_claim_and_reservation(); code != Code::ok) return code;
  AssetRow asset;
  asset.id = op.asset_id;
  asset.j = work.j();
  asset.type = op.type;
  asset.url = op.url;
  asset.storage_path = op.storage_path;
  asset.size_bytes = op.size_bytes;
  asset.mime_type = op.mime_type;
  asset.metadata_json = op.metadata_json ? op.metadata_json->text : "{}";
  asset.created_at = work.at();
  store.assets.insert(store.new_key(store.assets), std::move(asset));
  touch(store.jobs.edit(work.j()), work.at());
  return Code::ok;
}

Code apply(Work& work, const CompleteJob& op) {
  if (!work.job_exists()) return Code::job_not_found;
  if (const Code code = work.check_claim_and_reservation(); code != Code::ok) return code;
  const std::int64_t j = work.j();
  const JobStatus status = work.store.jobs.get(j).status;
  if (find_job_move(status, JobStatus::READY, CompleteJob::row.name) == nullptr) {
    return Code::illegal_transition;
  }
  if (const Code code = check_settle(work, j, op.final_cost); code != Code::ok) return code;

  settle(work, j, op.final_cost);
  JobRow& job = work.store.jobs.edit(j);
  leave_stage(work, j, job);
  finish(work, job, JobStatus::READY);
  if (op.output_url || op.manifest_json) {
    JobTextRow& text = work.store.job_texts.edit_or_insert(j);
    take(text.output_url, op.output_url);
    take(text.manifest_json, op.manifest_json);
  }
  work.happened(Happening::Kind::job_complete, job.u, j);
  return Code::ok;
}

Code apply(Work& work, const FailJob& op) {
  if (!work.job_exists()) return Code::job_not_found;
  if (const Code code = work.check_claim_and_reservation(); code != Code::ok) return code;
  Store& store = work.store;
  const std::int64_t j = work.j();
  const JobStatus status = store.jobs.get(j).status;
  if (find_job_move(status, JobStatus::FAILED, FailJob::row.name) == nullptr) {
    return Code::illegal_transition;
  }
  // An author cancels what has not begun.
  const Device* device = work.device();
  if (status > JobStatus::QUEUED && device != nullptr && !device->has(Capability::worker)) {
    return Code::illegal_transition;
  }

  if (store.jobs.get(j).hold > 0) release(work, j);
  JobRow& job = store.jobs.edit(j);
  JobTextRow& text = store.job_texts.edit_or_insert(j);
  text.failed_step.reset();
  if (is_stage(status)) {
    if (const int order = step_order_of(status); has_step(work, j, order)) {
      StepRow& step = store.steps.edit_or_insert(step_key(j, order));
      step.state = StepState::failed;
      step.finished_at = work.at();
      step.error_message = op.error_message;
    }
    text.failed_step = name_of(status);
  }
  text.error_code = op.error_code;
  text.error_message = op.error_message;
  finish(work, job, JobStatus::FAILED);
  touch(job, work.at());
  work.happened(Happening::Kind::job_failed, job.u, j);
  return Code::ok;
}

Code apply(Work& work, const RetryJob& op) {
  if (!work.job_exists()) return Code::job_not_found;
  if (const Code code = work.check_claim_and_reservation(); code != Code::ok) return code;
  Store& store = work.store;
  const std::int64_t j = work.j();
  const JobRow& now = store.jobs.get(j);
  if (find_job_move(now.status, JobStatus::QUEUED, RetryJob::row.name) == nullptr) {
    return Code::illegal_transition;
  }
  // A FAILED job has no hold, but one that old data left on canonical: it is released first, and
  // the balance pays for the new one.
  const std::int64_t u = now.u;
  const bool releases = now.hold > 0;
  if (releases) {
    release(work, j);
    if (store.accounts.get(u).balance < op.amount.value) return Code::insufficient_credits;
  } else if (const Code code = work.check_credits(u, op.amount); code != Code::ok) {
    return code;
  }
  open_hold(work, j, op.amount, !releases && work.draw(u, op.amount), releases);
  JobRow& job = store.jobs.edit(j);
  job.status = JobStatus::QUEUED;
  job.finished_at.reset();
  JobTextRow& text = store.job_texts.edit_or_insert(j);
  text.failed_step.reset();
  text.error_code.reset();
  text.error_message.reset();
  text.status_message.reset();
  for (int order = 1; order <= step_count; ++order) {
    const StepRow* failed = store.steps.find(step_key(j, order));
    if (failed == nullptr || failed->state != StepState::failed) continue;
    StepRow& step = store.steps.edit(step_key(j, order));
    set_step_pct(job, step, 0);
    const auto id = step.id;
    step = StepRow{};
    step.id = id;
  }
  return Code::ok;
}

}  // namespace tally
