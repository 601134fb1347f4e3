#include "sim/auditor.hpp"

#include <algorithm>

#include "tally/trace.hpp"

namespace tally::sim {
namespace {

constexpr std::size_t entry_user = 1;
constexpr std::size_t entry_amount = 3;
constexpr std::size_t entry_job = 6;
constexpr std::size_t entry_balance_after = 8;
constexpr std::size_t entry_seq = 9;
constexpr std::int64_t credits_max = 2'147'483'647;

std::string number_text(std::int64_t n) { return std::to_string(n); }

}  // namespace

void Auditor::before_call(Half& canonical, const sync::Call&) {
  leases_before_ = canonical.open_leases();
}

void Auditor::after_call(Half& canonical, const sync::Call& call, const sync::Answer& answer) {
  if (answer.trouble.error_class != sync::ErrorClass::none) return;
  std::int64_t next = answer.reply.acked + 1;
  for (const PulledVerdict& verdict : answer.reply.verdicts) {
    demand(verdict.number == next, "I6", "verdicts have a gap at " + number_text(next));
    ++next;
    const auto place = static_cast<std::size_t>(verdict.number - call.push.acked - 1);
    if (place >= call.push.operations.size()) continue;  // Of an earlier, longer push.
    const PushedOperation& pushed = call.push.operations[place];
    const auto command = parse_trace_line(pushed.line);
    demand(command.has_value(), "I6", "a pushed line is no operation: " + pushed.line);
    const Judged judged{verdict.code, verdict.id};
    const auto [known, is_new] = numbers_.emplace(std::pair(call.token, verdict.number), judged);
    demand(known->second == judged, "I6",
           "number " + number_text(verdict.number) +
               " was judged anew: " + std::string(name_of(verdict.code)));
    if (!is_new) continue;
    verdicts_[command->op_id] = verdict.code;
    if (verdict.code == Code::ok) {
      effect(*command);
      continue;
    }
    const bool bounced =
        verdict.code == Code::insufficient_credits || verdict.code == Code::lease_reclaimed;
    if (!bounced || !command->lease) continue;
    for (const Half::Lease& lease : leases_before_) {
      demand(lease.lease_id != *command->lease || lease.device_id != answer.device.device_id, "I11",
             "a reservation on an open lease bounced: " + pushed.line);
    }
  }
  check_accounts(canonical);
}

void Auditor::effect(const Command& command) {
  if (!applied_.insert(command.op_id).second) return;
  if (const auto* batch = std::get_if<Batch>(&command.operation)) {
    for (const Command& inner : batch->operations) effect(inner);
    return;
  }
  effect_of(command.operation);
}

void Auditor::effect_of(const Operation& operation) {
  if (const auto* made = std::get_if<CreateUser>(&operation)) {
    expected_[made->user_id] += 10;
  } else if (const auto* added = std::get_if<AddCredits>(&operation)) {
    if (!added->stripe_payment_id || payments_.insert(*added->stripe_payment_id).second)
      expected_[added->user_id] += added->amount.value;
  } else if (const auto* expired = std::get_if<ExpireCredits>(&operation)) {
    if (!expired->stripe_payment_id || payments_.insert(*expired->stripe_payment_id).second)
      expected_[expired->user_id] -= expired->amount.value;
  } else if (const auto* job = std::get_if<CreateJob>(&operation)) {
    owners_[job->job_id] = job->user_id;
  } else if (const auto* settled = std::get_if<FinalizeJobCredits>(&operation)) {
    expected_[owners_.at(settled->job_id)] -= settled->final_cost.value;
  } else if (const auto* completed = std::get_if<CompleteJob>(&operation)) {
    expected_[owners_.at(completed->job_id)] -= completed->final_cost.value;
  }
}

void Auditor::check_accounts(Half& canonical) const {
  for (const Half::Account& account : canonical.accounts()) {
    const std::string who = account.user_id.text();
    demand(account.balance >= 0, "I2", who + " has " + number_text(account.balance));
    const auto expected = expected_.find(account.user_id);
    const std::int64_t all = account.balance + account.held + account.leased;
    demand(expected != expected_.end() && all == expected->second, "I1",
           who + " has " + number_text(account.balance) + " + " + number_text(account.held) +
               " held + " + number_text(account.leased) + " leased, and should have " +
               number_text(expected == expected_.end() ? 0 : expected->second) + " in all");
    demand(all <= credits_max, "I1", who + " has more than there can be");
  }
}

void Auditor::check_entries(Half& canonical) {
  for (const Half::Account& account : canonical.accounts()) {
    auto rows = canonical.rows("credit_ledger", account.user_id);
    std::sort(rows.begin(), rows.end(), [](const Half::Row& a, const Half::Row& b) {
      return std::stoll(*a[entry_seq]) < std::stoll(*b[entry_seq]);
    });
    std::int64_t sum = 0;
    std::int64_t seq = 0;
    for (Half::Row& row : rows) {
      const std::string id = row[0].value();
      sum += std::stoll(*row[entry_amount]);
      demand(std::stoll(*row[entry_seq]) == ++seq, "I4", "entry " + id + " has another seq");
      demand(std::stoll(*row[entry_balance_after]) == sum, "I4",
             "entry " + id + " has another balance_after");
      const auto [known, is_new] = entries_.emplace(id, row);
      if (is_new) continue;
      if (!row[entry_job]) known->second[entry_job].reset();  // Its job was deleted.
      demand(known->second == row, "I3", "entry " + id + " was changed");
    }
    std::size_t of_user = 0;
    for (const auto& [id, row] : entries_) of_user += row[entry_user] == account.user_id.text();
    demand(of_user == rows.size(), "I3", "an entry of " + account.user_id.text() + " is gone");
    demand(sum == account.balance, "I1",
           account.user_id.text() + " has " + number_text(account.balance) +
               ", and the entries come to " + number_text(sum));
  }
}

std::optional<Code> Auditor::verdict(const Uuid& op_id) const {
  const auto found = verdicts_.find(op_id);
  return found == verdicts_.end() ? std::nullopt : std::optional(found->second);
}

std::set<Uuid> Auditor::judged() const {
  std::set<Uuid> op_ids;
  for (const auto& [op_id, code] : verdicts_) op_ids.insert(op_id);
  return op_ids;
}

}  // namespace tally::sim
