#include "sim/auditor.hpp"

#include <algorithm>
#include <utility>

#include "fields.hpp"
#include "tally/trace.hpp"

namespace tally::sim {
namespace {

constexpr std::size_t entry_type = 2;
constexpr std::size_t entry_amount = 3;
constexpr std::size_t entry_note = 4;
constexpr std::size_t entry_job = 6;
constexpr std::size_t entry_balance_after = 8;
constexpr std::size_t entry_seq = 9;
constexpr std::size_t job_status = 3;
constexpr std::int64_t credits_max = 2'147'483'647;

std::string number_text(std::int64_t n) { return std::to_string(n); }

}  // namespace

void Auditor::before_call(Half& canonical, const sync::Call& call) {
  leases_before_ = canonical.open_leases();
  rows_before_.clear();
  std::int64_t number = call.push.acked;
  for (const PushedOperation& pushed : call.push.operations) {
    const bool is_new = !numbers_.contains({call.token, ++number});
    if (is_new && pushed.user_id && !rows_before_.contains(*pushed.user_id))
      rows_before_[*pushed.user_id] = canonical.digest(*pushed.user_id);
  }
}

void Auditor::after_call(Half& canonical, std::size_t device, const sync::Call& call,
                         const sync::Answer& answer) {
  check_refusal(call, answer);
  if (answer.trouble.error_class != sync::ErrorClass::none) return;
  devices_[call.token].watermark = answer.reply.watermark;
  bool has_effect = canonical.open_leases().size() < leases_before_.size();  // Overdue ones.
  std::int64_t next = answer.reply.acked + 1;
  for (const PulledVerdict& verdict : answer.reply.verdicts) {
    demand(verdict.number == next, "I6", "verdicts have a gap at " + number_text(next));
    ++next;
    const auto place = static_cast<std::size_t>(verdict.number - call.push.acked - 1);
    const Judged judged{verdict.code, verdict.id};
    if (place >= call.push.operations.size()) {
      const auto told = numbers_.find({call.token, verdict.number});
      demand(told != numbers_.end() && told->second == judged, "I6",
             "a verdict on what was not pushed: " + number_text(verdict.number));
      continue;  // Of an earlier, longer push.
    }
    const PushedOperation& pushed = call.push.operations[place];
    const auto command = parse_trace_line(pushed.line);
    demand(command.has_value(), "I6", "a pushed line is no operation: " + pushed.line);
    const auto [known, is_new] = numbers_.emplace(std::pair(call.token, verdict.number), judged);
    demand(known->second == judged, "I6",
           "number " + number_text(verdict.number) +
               " was judged anew: " + std::string(name_of(verdict.code)));
    if (!is_new) continue;
    verdicts_[{device, command->op_id}] = verdict.code;
    if (verdict.code == Code::operation_conflict) probe_("an op_id meant something else");
    if (verdict.code == Code::ok) {
      has_effect = true;
      check_permitted(*command, pushed, answer.device);
      effect(*command, pushed.user_id, answer.device.device_id);
      continue;
    }
    const bool bounced =
        verdict.code == Code::insufficient_credits || verdict.code == Code::lease_reclaimed;
    if (!bounced) continue;
    for (const Half::Lease& lease : leases_before_) {
      demand(pushed.leases != lease.lease_id.text() || lease.device_id != answer.device.device_id,
             "I11", "a reservation on an open lease bounced: " + pushed.line);
    }
  }
  if (has_effect)
    check_books(canonical);
  else
    check_untouched(canonical);
}

void Auditor::check_untouched(Half& canonical) const {
  check_accounts(canonical.accounts());
  for (const auto& [user, rows] : rows_before_)
    demand(canonical.digest(user) == rows, "I7",
           "a rejected operation changed rows of " + user.text());
}

void Auditor::revoked(const Uuid& device_id) {
  for (auto& [token, device] : devices_) {
    if (device.device_id == device_id) device.is_revoked = true;
  }
}

void Auditor::check_refusal(const sync::Call& call, const sync::Answer& answer) const {
  const Code code =
      answer.trouble.error_class == sync::ErrorClass::none ? Code::ok : answer.trouble.error.code;
  const auto device = devices_.find(call.token);
  const bool is_known = device != devices_.end() && !device->second.is_revoked &&
                        (!call.device_id || *call.device_id == device->second.device_id);
  demand((code == Code::unauthorized) == !is_known, "I12",
         is_known ? "a device was turned away" : "a token was taken that is none");
  const bool is_behind = is_known && call.push.acked > device->second.watermark;
  demand((code == Code::history_lost) == is_behind, "I6",
         is_behind ? "canonical is behind its device and does not say so"
                   : "canonical is called behind its device, and is not");
  demand(code == Code::ok || code == Code::unauthorized || code == Code::history_lost ||
             code == Code::device_forked,
         "I6", "a call was refused: " + answer.trouble.error.detail);
}

/// Also what was applied before, which is ok again: it has to be the caller's to do.
void Auditor::check_permitted(const Command& command, const PushedOperation& pushed,
                              const Enrolment& device) const {
  if (const auto* batch = std::get_if<Batch>(&command.operation)) {
    // A batch that was applied before is known by its own op_id: nobody asks who may do what is in
    // it.
    if (applied_.contains({pushed.user_id, command.op_id})) return;
    for (const Command& inner : batch->operations) check_permitted(inner, pushed, device);
    return;
  }
  const auto may = [&](Capability capability) {
    return std::count(device.capabilities.begin(), device.capabilities.end(), capability) > 0;
  };
  const OperationRow& row = row_of(command.operation);
  const auto* advance = std::get_if<AdvanceJob>(&command.operation);
  const bool is_authors = advance != nullptr && advance->to == JobStatus::QUEUED;
  const bool is_cancelled = std::holds_alternative<FailJob>(command.operation);
  const bool is_permitted = may(is_authors ? Capability::author : row.capability) ||
                            (is_cancelled && may(Capability::author));
  demand(is_permitted, "I12", "a device did what it may not: " + trace_line(command));
  const auto user = user_of(command);
  demand(!user || user == pushed.user_id, "I12",
         "an operation was applied in another's envelope: " + trace_line(command));
  demand(!device.scope || !user || user == device.scope, "I12",
         "a device did something for another user: " + trace_line(command));
}

/// Whom it names, or whose job.
std::optional<Uuid> Auditor::user_of(const Command& command) const {
  const auto named = named_user(command);
  const auto job = named_job(command);
  const auto owner = job ? owners_.find(*job) : owners_.end();
  return named || owner == owners_.end() ? named : owner->second;
}

void Auditor::applied(const Command& command) { effect(command, user_of(command), {}); }

void Auditor::effect(const Command& command, const std::optional<Uuid>& user_id, const Uuid& by) {
  if (!applied_.insert({user_id, command.op_id}).second) return;
  if (const auto* batch = std::get_if<Batch>(&command.operation)) {
    for (const Command& inner : batch->operations) effect(inner, user_id, by);
    return;
  }
  effect_of(command.operation, by);
}

void Auditor::effect_of(const Operation& operation, const Uuid& by) {
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
    probe_("a job became READY");
  } else if (const auto* advanced = std::get_if<AdvanceJob>(&operation)) {
    if (advanced->to == JobStatus::READY) probe_("a job became READY");
  } else if (std::holds_alternative<RetryJob>(operation)) {
    probe_("a failed job was tried again");
  } else if (std::holds_alternative<ReturnLease>(operation)) {
    probe_("a lease was returned");
  } else if (const auto* claim = std::get_if<ClaimJob>(&operation)) {
    claimed(claim->job_id, by);
  } else if (const auto* dropped = std::get_if<DropClaim>(&operation)) {
    claims_.erase(dropped->job_id);
  }
}

void Auditor::claimed(const Uuid& job_id, const Uuid& by) {
  const auto [claim, is_first] = claims_.emplace(job_id, by);
  if (claim->second != by) probe_("a claim that was over was another's");
  claim->second = by;
}

void Auditor::check_books(Half& canonical) {
  const std::vector<Half::Account> accounts = canonical.accounts();
  check_accounts(accounts);
  for (const Half::Account& account : accounts) check_entries(canonical, account);
}

void Auditor::check_accounts(const std::vector<Half::Account>& accounts) const {
  demand(accounts.size() == expected_.size(), "I1", "an account is gone, or nobody's");
  for (const Half::Account& account : accounts) {
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

void Auditor::check_entries(Half& canonical, const Half::Account& account) {
  const std::string who = account.user_id.text();
  Books& books = books_[account.user_id];
  const auto entries = canonical.rows("credit_ledger", account.user_id);
  std::map<std::string, std::string> jobs;  // With their statuses.
  for (const Half::Row& job : canonical.rows("jobs", account.user_id))
    jobs.emplace(*job[0], *job[job_status]);
  demand(entries.size() >= books.entries.size(), "I3", "an entry of " + who + " is gone");
  for (std::size_t place = 0; place < entries.size(); ++place) {
    if (place < books.entries.size())
      check_unchanged(books, place, entries[place], jobs);
    else
      book(books, entries[place]);
  }
  demand(books.sum == account.balance, "I1",
         who + " has " + number_text(account.balance) + ", and the entries come to " +
             number_text(books.sum));
  std::int64_t held = 0;
  for (const auto& [job, hold] : books.holds) {
    const auto found = jobs.find(job);
    const bool is_over =
        found == jobs.end() || found->second == "READY" || found->second == "FAILED";
    demand(!is_over || hold == 0, "I5", "job " + job + " is over and has a hold");
    held += hold;
  }
  demand(held == account.held, "I5", who + "'s holds are not those of the entries");
}

void Auditor::check_unchanged(Books& books, std::size_t place, const Half::Row& entry,
                              const std::map<std::string, std::string>& jobs) {
  Half::Row& known = books.entries[place];
  if (known == entry) return;
  const std::string id = known[0].value();
  if (!entry[entry_job] && known[entry_job]) {
    const std::string lost = *std::exchange(known[entry_job], std::nullopt);
    demand(!jobs.contains(lost), "I3", "entry " + id + " lost a job that there is");
    books.holds.erase(lost);
  }
  demand(known == entry, "I3", "entry " + id + " was changed");
}

void Auditor::book(Books& books, const Half::Row& entry) {
  const std::string id = entry[0].value();
  books.entries.push_back(entry);
  books.sum += std::stoll(*entry[entry_amount]);
  demand(std::stoull(*entry[entry_seq]) == books.entries.size(), "I4",
         "entry " + id + " has another seq");
  demand(std::stoll(*entry[entry_balance_after]) == books.sum, "I4",
         "entry " + id + " has another balance_after");
  if (entry[entry_job]) book_hold(books, entry, *entry[entry_job]);
  if (entry[entry_note] == "Drawn from lease") probe_("a hold was drawn on a lease");
  if (entry[entry_note] == "Back to lease") probe_("credits went back to a lease");
}

void Auditor::book_hold(Books& books, const Half::Row& entry, const std::string& job) {
  const std::int64_t amount = std::stoll(*entry[entry_amount]);
  std::int64_t& hold = books.holds[job];
  if (entry[entry_type] == "reserve" && amount < 0) {
    demand(hold == 0, "I5", "a second hold on job " + job);
    hold = -amount;
  } else if (entry[entry_type] == "reserve" || entry[entry_type] == "refund") {
    hold -= amount;
    demand(hold >= 0, "I5", "the hold of job " + job + " was closed twice");
  } else if (hold > 0) {
    probe_("a job was settled below its hold");
  } else {
    const Half::Row& converted = books.entries.end()[-2];
    const bool is_at = std::stoll(*converted[entry_amount]) == -amount;
    probe_(is_at ? "a job was settled at its hold" : "a job was settled above its hold");
  }
}

std::optional<Code> Auditor::verdict(std::size_t device, const Uuid& op_id) const {
  const auto found = verdicts_.find({device, op_id});
  return found == verdicts_.end() ? std::nullopt : std::optional(found->second);
}

std::set<Uuid> Auditor::judged_since(std::size_t device, const Auditor& earlier) const {
  std::set<Uuid> op_ids;
  for (const auto& [of, code] : verdicts_) {
    if (of.first == device && earlier.verdict(device, of.second) != code) op_ids.insert(of.second);
  }
  return op_ids;
}

}  // namespace tally::sim
