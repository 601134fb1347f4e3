// add_credits, expire_credits, reserve_credits, finalize_job_credits, release_job_credits.
#include <algorithm>
#include <cassert>

#include "ledger.hpp"

namespace tally {
namespace {

enum class Payment : std::uint8_t { none, first, repeated, conflict };

/// What the payment id says: the same payment again adds nothing, another one under its id is
/// refused.
template <class T>
Payment check_payment(Work& work, const T& op, std::string_view type) {
  if (!op.stripe_payment_id) return Payment::none;
  const auto k = work.store.find_payment(*op.stripe_payment_id);
  if (!k) return Payment::first;
  const PaymentRow& seen = work.store.payments.get(*k);
  const bool same = seen.kind == T::row.number && seen.u == work.u() &&
                    seen.amount == op.amount.value && seen.type == type;
  return same ? Payment::repeated : Payment::conflict;
}

template <class T>
void record_payment(Work& work, const T& op, std::string_view type) {
  if (!op.stripe_payment_id) return;
  Store& store = work.store;
  store.payments.insert(store.payments.new_key(),
                        PaymentRow{*op.stripe_payment_id, T::row.number, work.u(), op.amount.value,
                                   std::string(type)});
}

EntryKind kind_added(std::string_view type) noexcept {
  const auto at = std::find(entry_types_added.begin(), entry_types_added.end(), type);
  return static_cast<EntryKind>(static_cast<int>(EntryKind::purchase) +
                                (at - entry_types_added.begin()));
}

/// The account takes `amount` out of (or, below zero, into) what its open holds keep.
void change_held(Work& work, std::int64_t u, std::int64_t amount) {
  work.store.accounts.edit(u).held += amount;
}

}  // namespace

Code apply(Work& work, const AddCredits& op) {
  if (!work.user_exists()) return Code::user_not_found;
  const Payment payment = check_payment(work, op, op.type);
  if (payment == Payment::conflict) return Code::payment_conflict;
  if (payment == Payment::repeated) return Code::ok;
  if (work.would_overflow(work.u(), op.amount)) return Code::balance_overflow;
  record_payment(work, op, op.type);
  work.append(work.u(), std::nullopt, kind_added(op.type), op.amount,
              EntryText{std::nullopt, op.note, op.stripe_payment_id});
  return Code::ok;
}

Code apply(Work& work, const ExpireCredits& op) {
  if (!work.user_exists()) return Code::user_not_found;
  const Payment payment = check_payment(work, op, "expire");
  if (payment == Payment::conflict) return Code::payment_conflict;
  if (payment == Payment::repeated) return Code::ok;
  if (work.store.accounts.get(work.u()).balance < op.amount.value)
    return Code::insufficient_credits;
  record_payment(work, op, "expire");
  work.append(work.u(), std::nullopt, EntryKind::expire, -op.amount,
              EntryText{std::nullopt, op.note, op.stripe_payment_id});
  return Code::ok;
}

Code apply(Work& work, const ReserveCredits& op) {
  if (!work.job_exists()) return Code::job_not_found;
  const JobRow& job = work.store.jobs.get(work.j());
  if (job.u != work.u()) return Code::not_owner;
  if (job.status != JobStatus::PENDING) return Code::illegal_transition;
  if (job.hold > 0) return Code::already_reserved;
  if (work.store.accounts.get(job.u).balance < op.amount.value) return Code::insufficient_credits;
  open_hold(work, work.j(), op.amount);
  return Code::ok;
}

Code apply(Work& work, const FinalizeJobCredits& op) {
  if (!work.job_exists()) return Code::job_not_found;
  if (const Code code = work.check_reservation(); code != Code::ok) return code;
  if (const Code code = check_settle(work, work.j(), op.final_cost); code != Code::ok) return code;
  settle(work, work.j(), op.final_cost);
  return Code::ok;
}

Code apply(Work& work, const ReleaseJobCredits&) {
  if (!work.job_exists()) return Code::job_not_found;
  if (const Code code = work.check_reservation(); code != Code::ok) return code;
  if (work.store.jobs.get(work.j()).hold == 0) return Code::no_reservation;
  release(work, work.j());
  return Code::ok;
}

// ---- the ledger's moves -----------------------------------------------------------------------

void open_hold(Work& work, std::int64_t j, Credits amount) {
  JobRow& job = work.store.jobs.edit(j);
  assert(job.hold == 0);
  work.append(job.u, j, EntryKind::reserve, -amount);
  change_held(work, job.u, amount.value);
  job.hold = amount.value;
  job.cost_credits_reserved = amount.value;
  job.cost_credits_final.reset();
  job.reservation = work.command().op_id;
  touch(job, work.at());
}

Code check_settle(Work& work, std::int64_t j, Credits final_cost) {
  const JobRow& job = work.store.jobs.get(j);
  if (job.hold == 0) return job.cost_credits_final ? Code::already_finalized : Code::no_reservation;
  const std::int64_t more = final_cost.value - job.hold;
  if (more > 0 && work.store.accounts.get(job.u).balance < more) return Code::insufficient_credits;
  return Code::ok;
}

void settle(Work& work, std::int64_t j, Credits final_cost) {
  JobRow& job = work.store.jobs.edit(j);
  const Credits held{job.hold};
  assert(held.value > 0);
  work.append(job.u, j, EntryKind::converted, std::min(held, final_cost));
  work.append(job.u, j, EntryKind::usage, -final_cost);
  if (held > final_cost) work.append(job.u, j, EntryKind::unused, held - final_cost);
  change_held(work, job.u, -held.value);
  job.hold = 0;
  job.cost_credits_final = final_cost.value;
  touch(job, work.at());
}

void release(Work& work, std::int64_t j) {
  JobRow& job = work.store.jobs.edit(j);
  assert(job.hold > 0);
  work.append(job.u, j, EntryKind::released, Credits{job.hold});
  change_held(work, job.u, -job.hold);
  job.hold = 0;
  touch(job, work.at());
}

void touch(JobRow& job, Timestamp at) { job.active_at = std::max(job.active_at, at); }

}  // namespace tally
