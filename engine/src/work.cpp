#include "work.hpp"

#include <algorithm>
#include <cassert>
#include <map>

#include "fields.hpp"
#include "json.hpp"
#include "mirror.hpp"
#include "tally/replica.hpp"

namespace tally {

// ---- commands as bytes ----------------------------------------------------------------------

namespace {

template <std::size_t I = 0>
void emplace_operation(std::uint64_t number, Operation& operation) {
  if constexpr (I < std::variant_size_v<Operation>) {
    if (operation_table[I].number == number) {
      operation.emplace<I>();
    } else {
      emplace_operation<I + 1>(number, operation);
    }
  } else {
    throw Failure{Code::corrupt, "the outbox names an operation that this version does not know"};
  }
}

}  // namespace

void put_command(Encoder& out, const Command& command) {
  out.put_varint(row_of(command.operation).number);
  out.put(command.op_id);
  out.put(command.at);
  // One byte says which of the two there are.
  out.put_byte((command.reservation ? 1 : 0) | (command.lease ? 2 : 0));
  if (command.reservation) out.put(*command.reservation);
  if (command.lease) out.put(*command.lease);
  std::visit(
      [&](const auto& fields) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(fields)>, Batch>) {
          out.put_varint(fields.operations.size());
          for (const Command& inner : fields.operations) put_command(out, inner);
        } else {
          for_each_field(fields, [&](const auto&, const auto& member) { out.put(member); });
        }
      },
      command.operation);
}

Command get_command(Decoder& in, bool is_inner) {
  Command command;
  emplace_operation(in.get_varint(), command.operation);
  in.get(command.op_id);
  in.get(command.at);
  const int names = in.get_byte(3);
  if ((names & 1) != 0) in.get(command.reservation.emplace());
  if ((names & 2) != 0) in.get(command.lease.emplace());
  std::visit(
      [&](auto& fields) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(fields)>, Batch>) {
          const std::uint64_t count = in.get_varint();
          if (is_inner || count > batch_operations_max)
            throw Failure{Code::corrupt, "the outbox holds a batch that is too long or within one"};
          for (std::uint64_t i = 0; i < count; ++i)
            fields.operations.push_back(get_command(in, true));
        } else {
          for_each_field(fields, [&](const auto&, auto& member) { in.get(member); });
        }
      },
      command.operation);
  return command;
}

namespace {

/// Whether its line is short enough for a call; `bytes` is what it takes in the outbox. The line
/// has at least as many, and about six times as many at the most: few must be written to be
/// measured.
bool can_be_pushed(const Command& command, std::size_t bytes) {
  if (bytes <= pushed_line_max / 8) return true;
  return bytes <= pushed_line_max && trace_line(command).size() <= pushed_line_max;
}

}  // namespace

// ---- one operation --------------------------------------------------------------------------

Verdict Work::apply(Command& command) { return apply_call(command, true); }

Code Work::apply_own(Command command) {
  const std::size_t names = filled_in_.size();
  const Code code = apply_call(command, true).code;
  filled_in_.resize(names);  // The command ends here.
  return code;
}

void Work::fill_in(std::optional<Uuid>& name, const Uuid& id) {
  if (!name) filled_in_.push_back(&name);
  name = id;
}

void Work::apply_again(std::int64_t n, std::int64_t u, Command command) {
  const std::int64_t number = store.next_number();
  const Verdict verdict = apply_once_more(u, command, n);
  if (verdict.code == Code::ok && store.next_number() != number) return;
  // It has no effect: refused, or known already, or a report that changes nothing now. But
  // canonical may follow a refused one yet, and what it drew on the lease is not to be drawn once
  // more.
  const Store::Mark mark = store.mark();
  if (verdict.code != Code::ok) keep_drawn(u, command);
  Encoder record;
  record.put(u);
  record.put(number);  // It took none; that of a queued one would say that it waits unapplied.
  put_command(record, command);
  store.put_images(record, mark);
  record.put_varint(0);
  store.put_rebased(n, verdict.code, record.bytes());
}

void Work::apply_settled(std::int64_t u, Command command) { apply_once_more(u, command, 0); }

Verdict Work::apply_once_more(std::int64_t u, Command& command, std::int64_t again) {
  struct Restore {  // Also when an exception passes.
    Work& work;
    ~Restore() { work.user_before_ = 0; }
  } restore{*this};
  user_before_ = u;
  const std::size_t happenings = happenings_.size();
  const Verdict verdict = apply_call(command, again > 0, again);
  happenings_.resize(happenings, Happening{});  // The host was told the first time.
  return verdict;
}

std::int64_t Work::new_user_key() {
  const bool is_free = user_before_ > 0 && store.users.find(user_before_) == nullptr;
  return is_free ? user_before_ : store.new_user_key();
}

Verdict Work::apply_call(Command& command, bool pushed_by_itself, std::int64_t again) {
  Verdict verdict;
  verdict.op_id = command.op_id;
  Call call;
  if (!spare_calls_.empty()) {  // Spares the allocation of `like`.
    call.like = std::move(spare_calls_.back().like);
    spare_calls_.pop_back();
  }
  call.command = &command;
  call.pushed_by_itself = pushed_by_itself;
  call.again = again;
  call.o = store.next_number();
  Call* const outer = call_;
  call_ = &call;
  struct Restore {  // Also when an exception passes.
    Work& work;
    Call* outer;
    ~Restore() { work.call_ = outer; }
  } restore{*this, outer};
  const Store::Mark mark = store.mark();
  const std::size_t happenings = happenings_.size();
  verdict.code = check_and_apply(call, verdict.index);
  if (verdict.code == Code::ok) {
    verdict.id = call.result;
    if (call.reservation) fill_in(command.reservation, *call.reservation);
    const bool pushed = pushed_by_itself && call.remembered && row_of(command.operation).pushed;
    if (pushed && !put_outbox_record(call, mark)) verdict.code = Code::invalid_argument;
  }
  verdict.number = call.queued;
  if (verdict.code != Code::ok && call.queued == 0) {
    store.rollback(mark);
    happenings_.resize(happenings, Happening{});
  }
  if (outer == nullptr) {
    store.flush_large_outbox();
    const std::int64_t u = call.named_u == 0 && call.j > 0 ? call.u : call.named_u;
    // A malformed line may name a user for whom its operation has no field.
    const bool is_known = u > 0 && command.malformed == Code::ok;
    verdict.balance =
        is_known ? std::optional(Credits{store.accounts.get(u).balance}) : balance_for(command);
  }
  spare_calls_.push_back(std::move(call));
  return verdict;
}

std::optional<std::int64_t> Work::find_user(const Uuid& id) {
  // Memory has what was committed: a user whose making was undone since is there, too.
  if (const auto u = memory_.find_user(id);
      u && (!store.users.knows(*u) || store.users.find(*u) != nullptr)) {
    return u;
  }
  return store.users.find_id(id);
}

void Work::adopt_account(std::int64_t u) {
  if (store.accounts.knows(u)) return;
  if (const auto row = memory_.account(u)) store.accounts.adopt(u, *row);
}

/// One who is outside of the device's scope does not exist, so nor does what is his.
Code Work::refuse_outsider(const Command& command) const {
  if (device() == nullptr || !device()->scope) return Code::ok;
  const auto user_id = has_field(command.operation, "user_id") ? named_user(command) : std::nullopt;
  if (!user_id || *user_id == *device()->scope) return Code::ok;
  return std::visit(
      [](const auto& operation) {
        using T = std::remove_cvref_t<decltype(operation)>;
        if constexpr (std::is_same_v<T, CreateUser>) return Code::not_permitted;
        if constexpr (std::is_same_v<T, CreateJob> || std::is_same_v<T, DeleteProject>)
          return Code::project_not_found;
        if constexpr (std::is_same_v<T, ReserveCredits>) return Code::job_not_found;
        if constexpr (std::is_same_v<T, UpdateDraft>) return Code::draft_not_found;
        return Code::user_not_found;
      },
      command.operation);
}

void Work::find_named(const Command& command, Call& call) {
  const auto user_id = has_field(command.operation, "user_id") ? named_user(command) : std::nullopt;
  const auto job_id = has_field(command.operation, "job_id") ? named_job(command) : std::nullopt;
  if (user_id) {
    call.named_u = find_user(*user_id).value_or(-1);
    call.u = call.named_u;
  }
  if (job_id) {
    call.j = find_job(*job_id).value_or(0);
    if (call.j > 0 && device() != nullptr && device()->scope &&
        store.jobs.get(call.j).u != find_user(*device()->scope))
      call.j = 0;
    if (!user_id) call.u = call.j > 0 ? store.jobs.get(call.j).u : 0;
    if (call.j > 0 && row_of(command.operation).names_reservation && !command.reservation) {
      call.reservation = store.jobs.get(call.j).reservation.value_or(Uuid{});
    }
  }
  if (const auto* returned = std::get_if<ReturnLease>(&command.operation))
    call.u = store.find_lease(returned->lease_id).value_or(0);
  if (call.u > 0) adopt_account(call.u);
}

Code Work::check_and_apply(Call& call, std::optional<std::uint32_t>& index) {
  Command& command = *call.command;
  const OperationRow& row = row_of(command.operation);
  if (lacks_capability(command)) return Code::not_permitted;

  auto* batch = std::get_if<Batch>(&command.operation);
  bool one_user = true;
  if (batch != nullptr) {
    if (!has_operations(*batch)) return Code::invalid_argument;  // It is not asked whose it is.
    const auto user = user_of_batch(*batch);
    one_user = user.has_value();
    call.u = user.value_or(-1);
  } else {
    find_named(command, call);
  }

  const Code fields = check_fields(command);
  bool comparable = fields == Code::ok;  // One with a malformed field was never applied.
  if (batch != nullptr && comparable) {
    for (Command& inner : batch->operations)
      comparable = check_fields(inner) == Code::ok && comparable;
  }
  const std::uint64_t print = comparable ? fingerprint(command.operation) : 0;
  store.find_like(command.op_id, call.like);
  // A job that was deleted takes its user with it, and so does a lease that is closed: their
  // operations, and batches of such, are known by their op_id alone.
  const bool named_is_gone =
      batch == nullptr && call.u == 0 && call.j == 0 && fields == Code::ok &&
      (named_job(command).has_value() || std::holds_alternative<ReturnLease>(command.operation));
  const bool of_any_user = named_is_gone || (batch != nullptr && call.u == 0 && comparable);
  // Whoever holds a draft's token may name a user who is not here, and that is remembered as
  // nobody's.
  const auto has_token = [](const Command& one) {
    return std::holds_alternative<UpdateDraft>(one.operation);
  };
  const bool may_be_nobodys =
      has_token(command) ||
      (batch != nullptr && one_user &&
       std::any_of(batch->operations.begin(), batch->operations.end(), has_token));
  const std::int64_t u = call.u < 0 && may_be_nobodys ? 0 : call.u;
  const auto is_same = [&](const AppliedOperation& seen) {
    return comparable && seen.kind == row.number && seen.fingerprint == print;
  };
  const AppliedOperation* before = nullptr;
  for (const AppliedOperation& seen : call.like) {
    if (seen.id != folded(command.op_id)) continue;
    const bool is_its = seen.u == u || (may_be_nobodys && seen.u == 0 && is_same(seen));
    if ((of_any_user && is_same(seen)) || (!named_is_gone && before == nullptr && is_its))
      before = &seen;
  }
  if (before != nullptr) {
    call.remembered = false;
    call.result = before->result;
    return is_same(*before) ? Code::ok : Code::operation_conflict;
  }
  if (fields != Code::ok) return fields;
  if (!one_user) return Code::invalid_argument;
  if (const Code code = refuse_outsider(command); code != Code::ok) return code;
  if (is_online(call)) return queue(call, index);

  const AccountRow* account =
      call.u > 0 && batch == nullptr ? store.accounts.find(call.u) : nullptr;
  const bool had_enough = account != nullptr && account->balance >= low_credits_.value;
  Code code = Code::ok;
  if (batch != nullptr) {
    code = apply_batch(call, *batch, index);
    // One that made its own user is that user's.
    if (call.u < 0) call.u = user_of_batch(*batch).value_or(0);
  } else {
    code = std::visit(
        [&](const auto& operation) {
          using T = std::remove_cvref_t<decltype(operation)>;
          if constexpr (std::is_same_v<T, Batch>) {
            return Code::internal;  // Answered above.
          } else {
            return tally::apply(*this, operation);
          }
        },
        command.operation);
  }
  if (code != Code::ok || !call.remembered) return code;
  // The numbers of what it did itself (a sweep's operations) come first.
  const std::int64_t o = store.next_number();
  assert(call.entries == 0 || o == call.o);
  store.add_operation(AppliedOperation{o, folded(command.op_id), std::max<std::int64_t>(call.u, 0),
                                       row.number, command.at, print, call.result},
                      call.entries);
  if (call.u > 0 && row.pushed && call.pushed_by_itself) store.accounts.edit(call.u).pending += 1;
  if (had_enough && account->balance < low_credits_.value)
    happened(Happening::Kind::low_credits, call.u, std::nullopt);
  return code;
}

// ---- batches --------------------------------------------------------------------------------

std::optional<std::int64_t> Work::user_of_batch(const Batch& batch) {
  struct Whose {
    std::int64_t u = 0;
    std::optional<Uuid> unknown{};  // Who is not here has no key, and is somebody all the same.
    bool operator==(const Whose&) const = default;
  };
  std::optional<Whose> user;
  for (const Command& inner : batch.operations) {
    Call named;
    find_named(inner, named);
    const auto user_id = named_user(inner);
    // A job that is not here is nobody's, and answered so in its turn; or the batch makes it, and
    // then it is that user's already.
    if (!user_id && named_job(inner) && named.j == 0) continue;
    const Whose whose{named.u, named.u < 0 ? user_id : std::nullopt};
    if (user && *user != whose) return std::nullopt;
    user = whose;
  }
  return user ? user->u : 0;
}

Code Work::apply_batch(Call& call, Batch& batch, std::optional<std::uint32_t>& index) {
  std::uint32_t i = 0;
  for (Command& inner : batch.operations) {
    inner.at = call.command->at;
    Verdict verdict;
    if (inner.op_id == call.command->op_id) {
      verdict.code = Code::operation_conflict;
    } else {
      verdict = apply_call(inner, false, call.again);
    }
    if (verdict.code != Code::ok) {
      index = i;
      return verdict.code;
    }
    ++i;
  }
  return Code::ok;
}

// ---- online ---------------------------------------------------------------------------------

bool Work::is_online(const Call& call) const noexcept {
  return spend_policy_ == SpendPolicy::online && device() != nullptr && call.again == 0 &&
         call.pushed_by_itself && row_of(call.command->operation).pushed;
}

Code Work::queue(Call& call, std::optional<std::uint32_t>& index) {
  Command& command = *call.command;
  if (auto* batch = std::get_if<Batch>(&command.operation)) {
    // What is no operation has no line to be sent. Those behind one that opens a hold mean that
    // hold.
    std::map<Uuid, Uuid> opened;
    for (std::uint32_t i = 0; i < batch->operations.size(); ++i) {
      Command& inner = batch->operations[i];
      inner.at = command.at;
      Code code = check_fields(inner);
      if (inner.op_id == command.op_id) code = Code::operation_conflict;
      if (code != Code::ok) {
        index = i;
        return code;
      }
      Call named;
      find_named(inner, named);
      const auto job_id = named_job(inner);
      const auto hold = job_id ? opened.find(*job_id) : opened.end();
      if (hold != opened.end() && !inner.reservation && row_of(inner.operation).names_reservation) {
        fill_in(inner.reservation, hold->second);
      } else if (named.reservation) {
        fill_in(inner.reservation, *named.reservation);
      }
      if (job_id && (std::holds_alternative<ReserveCredits>(inner.operation) ||
                     std::holds_alternative<RetryJob>(inner.operation)))
        opened[*job_id] = inner.op_id;
    }
  }
  if (call.reservation) fill_in(command.reservation, *call.reservation);
  Encoder record;
  record.put(call.u);
  record.put(queued_operation);
  put_command(record, command);
  if (!can_be_pushed(command, record.bytes().size())) return Code::invalid_argument;
  record.put_varint(0);
  record.put_varint(0);
  call.queued = store.put_outbox_record(record.bytes());
  if (call.u > 0) store.accounts.edit(call.u).pending += 1;
  store.bump_epoch();  // Its number is no operation's: other processes would not see the account.
  return Code::pending;
}

// ---- outbox ---------------------------------------------------------------------------------

bool Work::put_outbox_record(const Call& call, const Store::Mark& mark) {
  Encoder& record = record_;  // Spares the allocation.
  record.clear();
  record.put(call.u);
  record.put(mark.next_number);
  put_command(record, *call.command);
  if (!can_be_pushed(*call.command, record.bytes().size())) return false;
  store.put_images(record, mark);
  record.put_varint(static_cast<std::uint64_t>(store.next_number() - mark.next_number));
  if (record.bytes().size() > Store::outbox_record_max) return false;
  if (call.again > 0) {
    store.put_rebased(call.again, Code::ok, record.bytes());
    return true;
  }
  store.put_outbox_record(record.bytes());
  return true;
}

// ---- for the operations' functions ----------------------------------------------------------

bool Work::would_overflow(std::int64_t u, Credits amount) {
  const AccountRow& account = store.accounts.get(u);
  return account.balance + account.held + amount.value > Credits::max;
}

void Work::append(std::int64_t u, std::optional<std::int64_t> j, EntryKind kind, Credits amount,
                  EntryText text) {
  const Uuid id = command().op_id.derived(static_cast<unsigned>(call_->entries));
  if (store.entry_id_taken(id, call_->like, call_->entries)) text.id = random_id_();
  store.append_entry(call_->o, call_->entries, u, j, kind, amount.value, text);
  ++call_->entries;
}

bool Work::lacks_capability(const Command& command) const {
  const OperationRow& row = row_of(command.operation);
  const Device* here = device();
  // A mirror without a device has every capability, but none of a device's.
  if (here == nullptr) return row.needs_device;
  const bool author = here->has(Capability::author);
  const bool worker = here->has(Capability::worker);
  if (std::holds_alternative<Sweep>(command.operation)) return true;
  if (std::holds_alternative<FailJob>(command.operation)) return !author && !worker;
  if (const auto* advance = std::get_if<AdvanceJob>(&command.operation)) {
    if (command.malformed != Code::ok) return !author && !worker;
    return advance->to == JobStatus::QUEUED ? !author : !worker;
  }
  if (const auto* update = std::get_if<UpdateProfile>(&command.operation);
      update != nullptr && update->stripe_customer_id.present()) {
    return !here->has(Capability::service);
  }
  return row.capability != Capability::each && !here->has(row.capability);
}

Code Work::check_claim_and_reservation() {
  const JobRow& job = store.jobs.get(j());
  const Operation& operation = command().operation;
  if (const JobLinkRow* more = link(j());
      more != nullptr && more->claimed_elsewhere != 0 && job.claim_until &&
      at() < *job.claim_until && row_of(operation).capability == Capability::worker &&
      (device() == nullptr || device()->has(Capability::worker))) {
    const auto* advance = std::get_if<AdvanceJob>(&operation);
    const bool queues = advance != nullptr && advance->to == JobStatus::QUEUED;
    const bool cancels = std::holds_alternative<FailJob>(operation) && device() != nullptr &&
                         device()->has(Capability::author) && job.status <= JobStatus::QUEUED;
    if (!queues && !cancels) return Code::not_claim_holder;
  }
  if (!command().reservation) return Code::ok;
  return job.reservation.value_or(Uuid{}) == *command().reservation ? Code::ok
                                                                    : Code::stale_reservation;
}

const LeaseRow* Work::drawable(std::int64_t u, Credits amount) {
  if (device() == nullptr) return nullptr;
  const LeaseRow* lease = store.leases.find(u);
  if (lease == nullptr || lease->unspent < amount.value) return nullptr;
  if (command().lease) return *command().lease == lease->lease_id ? lease : nullptr;
  // The first time: what the policy says. Afterwards the operation names the lease that it drew on.
  const bool first = call_->again == 0 && spend_policy_ == SpendPolicy::leased;
  return first && lease->closing == 0 && at() < lease->expires_at ? lease : nullptr;
}

Code Work::check_credits(std::int64_t u, Credits amount) {
  if (drawable(u, amount) != nullptr) return Code::ok;
  if (device() != nullptr && spend_policy_ == SpendPolicy::leased && call_->again == 0)
    return Code::insufficient_credits;
  return store.accounts.get(u).balance < amount.value ? Code::insufficient_credits : Code::ok;
}

bool Work::draw(std::int64_t u, Credits amount) {
  const LeaseRow* lease = drawable(u, amount);
  if (lease == nullptr) return false;
  fill_in(call_->command->lease, lease->lease_id);
  store.leases.edit(u).unspent -= amount.value;
  return true;
}

void Work::keep_drawn(std::int64_t u, const Command& command) {
  if (const auto* batch = std::get_if<Batch>(&command.operation)) {
    for (const Command& inner : batch->operations) keep_drawn(u, inner);
    return;
  }
  const LeaseRow* lease = u > 0 && command.lease ? store.leases.find(u) : nullptr;
  if (lease == nullptr || lease->lease_id != *command.lease) return;
  const std::int64_t drawn = std::min(lease->unspent, drawn_at_most(command).value);
  if (drawn > 0) store.leases.edit(u).unspent -= drawn;
}

Credits Work::drawn_at_most(const Command& command) {
  return std::visit(
      [&](const auto& operation) {
        if constexpr (requires { operation.final_cost; }) {
          // More than the hold that it means, which may be one that is not open here.
          const auto j = find_job(operation.job_id);
          const JobRow* job = j ? store.jobs.find(*j) : nullptr;
          const bool is_open = job != nullptr && job->reservation == command.reservation;
          return Credits{operation.final_cost.value - (is_open ? job->hold : 0)};
        } else if constexpr (requires { operation.amount; }) {
          return Credits{operation.amount.value};
        } else {
          return Credits{};
        }
      },
      command.operation);
}

void Work::happened(Happening::Kind kind, std::int64_t u, std::optional<std::int64_t> j) {
  constexpr std::array<std::string_view, Happening::kinds> preferences{"job_complete", "job_failed",
                                                                       "low_credits"};
  const auto k = static_cast<std::size_t>(kind);
  if (!listens_[k] || !wants(u, preferences[k])) return;
  Happening happening{};
  happening.kind = kind;
  happening.user_id = store.users.get(u).id;
  if (j) {
    const JobRow& job = store.jobs.get(*j);
    const auto told = told_.find(*j);
    if (told != told_.end() && told->second == std::pair(kind, job.reservation)) return;
    happening.job_id = unfolded(job.id);
    happening.j = *j;
    happening.reservation = job.reservation;
  }
  happening.balance = Credits{store.accounts.get(u).balance};
  happenings_.push_back(happening);
}

void Work::balance_was(std::int64_t before, std::int64_t u) {
  if (before >= low_credits_.value && store.accounts.get(u).balance < low_credits_.value)
    happened(Happening::Kind::low_credits, u, std::nullopt);
}

std::vector<Happening> Work::take_happenings() noexcept {
  constexpr std::size_t told_max = 10'000;
  try {
    for (const Happening& happening : happenings_) {
      if (device() == nullptr || happening.j == 0) continue;  // Alone it takes back nothing.
      told_[happening.j] = {happening.kind, happening.reservation};
      if (told_.size() > told_max) told_.erase(told_.begin());  // The job that was made first.
    }
  } catch (const std::bad_alloc&) {  // Told once more is better than not told.
    told_.clear();
  }
  return std::exchange(happenings_, {});
}

bool Work::wants(std::int64_t u, std::string_view preference) {
  const ProfileRow* profile = store.profiles.find(u);
  if (profile == nullptr || !profile->notification_prefs) return false;
  const auto prefs = json::parse(*profile->notification_prefs);
  const json::Value* wanted = prefs ? prefs->find(preference) : nullptr;
  return wanted != nullptr && wanted->kind == json::Value::Kind::boolean && wanted->boolean;
}

std::optional<Credits> Work::balance_for(const Command& command) {
  if (const auto* batch = std::get_if<Batch>(&command.operation)) {
    for (const Command& inner : batch->operations) {
      if (const auto balance = balance_for(inner)) return balance;
    }
    return std::nullopt;
  }
  std::optional<std::int64_t> u;
  if (const auto user_id = named_user(command)) u = find_user(*user_id);
  if (!u) {
    if (const auto job_id = named_job(command)) {
      if (const auto j = find_job(*job_id)) u = store.jobs.get(*j).u;
    }
  }
  if (!u) return std::nullopt;
  adopt_account(*u);
  return Credits{store.accounts.get(*u).balance};
}

}  // namespace tally
