// add_credits, expire_credits, reserve_credits, finalize_job_credits, release_job_credits.
#include <algorithm>

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
  store.payments.insert(store.new_key(store.payments),
                        PaymentRow{*op.stripe_payment_id, T::row.number, work.u(), op.amount.value,
                                   std::string(type)});
}

EntryKind kind_added(std::string_view type) noexcept {
  const auto at = std::find(entry_types_added.begin(), entry_types_added.end(), type);
  return static_cast<EntryKind>(static_cast<int>(EntryKind::purchase) +
                                (at - entry_types_added.begin()));
}

/// The account takes `amount` out of (or, below zero, into) what its open holds and leases keep.
void change_held(Work& work, std::int64_t u, std::int64_t amount) {
  work.store.accounts.edit(u).held += amount;
}

/// The lease's credits come back to the account, for the operation to spend.
void take_from_lease(Work& work, std::int64_t u, Credits amount) {
  work.append(u, std::nullopt, EntryKind::drawn, amount);
  change_held(work, u, -amount.value);
}

void set_lease(Work& work, std::int64_t j, const std::optional<Uuid>& lease) {
  const JobLinkRow* link = work.link(j);
  if (link == nullptr ? !lease : link->lease == lease) return;
  work.store.job_links.edit_or_insert(j).lease = lease;
}

/// What a hold drawn on the open lease gave back goes back to it. It is not drawn on again before
/// canonical has shown it there.
void give_back(Work& work, std::int64_t j, Credits amount, EntryKind kind) {
  const JobLinkRow* link = work.link(j);
  if (link == nullptr || !link->lease) return;
  const std::int64_t u = work.store.jobs.get(j).u;
  const LeaseRow* lease = work.store.leases.find(u);
  if (lease == nullptr || lease->lease_id != *link->lease) return;
  work.append(u, std::nullopt, kind, -amount);
  change_held(work, u, amount.value);
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
              EntryText{.note = op.note, .stripe_payment_id = op.stripe_payment_id});
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
              EntryText{.note = op.note, .stripe_payment_id = op.stripe_payment_id});
  return Code::ok;
}

Code apply(Work& work, const ReserveCredits& op) {
  if (!work.job_exists()) return Code::job_not_found;
  const JobRow& job = work.store.jobs.get(work.j());
  if (job.u != work.u()) return Code::not_owner;
  if (job.status != JobStatus::PENDING) return Code::illegal_transition;
  if (job.hold > 0) return Code::already_reserved;
  if (const Code code = work.check_credits(job.u, op.amount); code != Code::ok) return code;
  open_hold(work, work.j(), op.amount, work.draw(job.u, op.amount));
  return Code::ok;
}

Code apply(Work& work, const FinalizeJobCredits& op) {
  if (!work.job_exists()) return Code::job_not_found;
  if (const Code code = work.check_claim_and_reservation(); code != Code::ok) return code;
  if (const Code code = check_settle(work, work.j(), op.final_cost); code != Code::ok) return code;
  settle(work, work.j(), op.final_cost);
  return Code::ok;
}

Code apply(Work& work, const ReleaseJobCredits&) {
  if (!work.job_exists()) return Code::job_not_found;
  if (const Code code = work.check_claim_and_reservation(); code != Code::ok) return code;
  if (work.store.jobs.get(work.j()).hold == 0) return Code::no_reservation;
  release(work, work.j());
  return Code::ok;
}

// ---- the ledger's moves -----------------------------------------------------------------------

namespace {

/// Only damage to the file makes a hold anything else.
void require_hold(bool is_sound) {
  if (!is_sound) throw SQLite::Exception("a job's hold is out of range", SQLITE_CORRUPT);
}

}  // namespace

void open_hold(Work& work, std::int64_t j, Credits amount, bool drawn, bool second) {
  JobRow& job = work.store.jobs.edit(j);
  require_hold(job.hold == 0);
  if (drawn) take_from_lease(work, job.u, amount);
  set_lease(work, j, drawn ? work.command().lease : std::nullopt);
  work.append(job.u, j, drawn || second ? EntryKind::reserve_second : EntryKind::reserve, -amount);
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
  if (more <= 0) return Code::ok;
  if (!work.may_exceed_hold()) return Code::not_permitted;
  return work.check_credits(job.u, Credits{more});
}

void settle(Work& work, std::int64_t j, Credits final_cost) {
  JobRow& job = work.store.jobs.edit(j);
  const Credits held{job.hold};
  require_hold(held.value > 0);
  const bool drawn = final_cost > held && work.draw(job.u, final_cost - held);
  if (drawn) take_from_lease(work, job.u, final_cost - held);
  work.append(job.u, j, drawn ? EntryKind::converted_second : EntryKind::converted,
              std::min(held, final_cost));
  work.append(job.u, j, drawn ? EntryKind::usage_third : EntryKind::usage, -final_cost);
  change_held(work, job.u, -held.value);
  if (held > final_cost) {
    work.append(job.u, j, EntryKind::unused, held - final_cost);
    give_back(work, j, held - final_cost, EntryKind::back_fourth);
  }
  job.hold = 0;
  job.cost_credits_final = final_cost.value;
  touch(job, work.at());
}

void release(Work& work, std::int64_t j) {
  JobRow& job = work.store.jobs.edit(j);
  require_hold(job.hold > 0);
  const Credits held{job.hold};
  work.append(job.u, j, EntryKind::released, held);
  change_held(work, job.u, -held.value);
  give_back(work, j, held, EntryKind::back_second);
  job.hold = 0;
  touch(job, work.at());
}

void touch(JobRow& job, Timestamp at) { job.active_at = std::max(job.active_at, at); }

}  // namespace tally
