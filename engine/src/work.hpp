#pragma once
// One commit's work: applies operations to the store, each in the contract's order of checks.
// Nothing here knows threads, files or memory of balances.

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "store.hpp"
#include "tally/engine.hpp"
#include "tally/operations.hpp"
#include "tally/trace.hpp"

namespace tally {

/// Something that the host may want to hear of, once it is committed.
struct Happening {
  enum class Kind : std::uint8_t { job_complete, job_failed, low_credits };
  static constexpr std::size_t kinds = 3;
  Kind kind;
  Uuid user_id;
  Uuid job_id;      ///< Zero for low_credits.
  Credits balance;  ///< After the operation.
  std::int64_t j;   ///< Likewise zero, and the run of the job that ended.
  std::optional<Uuid> reservation;
};

/// Who this mirror is at canonical; a mirror without a device has every capability.
struct Device {
  Uuid device_id{};
  unsigned capabilities = 0;  ///< A bit for each Capability.
  std::optional<Uuid> scope{};

  bool has(Capability capability) const noexcept {
    return (capabilities >> static_cast<unsigned>(capability) & 1U) != 0;
  }
};

/// What memory knows of accounts, as of the begin of the transaction.
class AccountMemory {
 public:
  virtual ~AccountMemory() = default;
  virtual std::optional<std::int64_t> find_user(const Uuid& user_id) const = 0;
  virtual std::optional<AccountRow> account(std::int64_t u) const = 0;
};

class Work {
 public:
  /// `random_id` makes ids of version 4, for rows whose derived id is taken.
  Work(Store& store, const AccountMemory& memory, std::function<Uuid()> random_id,
       Credits low_credits)
      : store(store),
        memory_(memory),
        random_id_(std::move(random_id)),
        low_credits_(low_credits) {}

  /// Starts a transaction.
  void begin() noexcept {
    constexpr std::size_t kept_max = 1U << 20U;
    if (record_.capacity() > kept_max) record_ = Encoder{};
    happenings_.clear();
    filled_in_.clear();
  }
  /// Makes the transaction's commands again what they were, so that they can be applied anew.
  void take_back() noexcept {
    for (std::optional<Uuid>* name : filled_in_) name->reset();
  }

  /// Applies one operation or batch whole, or changes nothing. Names in the command the reservation
  /// and the lease that it meant here.
  Verdict apply(Command& command);

  /// Applies a pending operation once more, on rows that canonical has changed, and keeps its
  /// record under its number. Where it does not apply any more it has no effect here, and that is
  /// kept.
  void apply_again(std::int64_t n, std::int64_t u, Command command);
  /// The same for one that canonical has judged ok already: its record is gone.
  void apply_settled(std::int64_t u, Command command);

  /// Null for a mirror that is enrolled nowhere. Must outlive its use here.
  void set_device(const std::optional<Device>* device) noexcept { device_ = device; }
  const Device* device() const noexcept {
    return device_ != nullptr && device_->has_value() ? &**device_ : nullptr;
  }
  void set_spend_policy(SpendPolicy policy) noexcept { spend_policy_ = policy; }
  /// What the host wants to hear of; nothing else is noted.
  void set_listens(std::array<bool, Happening::kinds> listens) noexcept { listens_ = listens; }

  /// What happened since it was last asked, for the host to be told: it is committed.
  std::vector<Happening> take_happenings() noexcept;
  /// The same where nothing was committed.
  void drop_happenings() noexcept { happenings_.clear(); }

  // ---- for the operations' functions ----

  Store& store;

  const Command& command() const noexcept { return *call_->command; }
  Timestamp at() const noexcept { return call_->command->at; }
  /// The user, the job that the operation names; asked for only after they were found.
  std::int64_t u() const noexcept { return call_->named_u; }
  std::int64_t j() const noexcept { return call_->j; }
  bool user_exists() const noexcept { return call_->named_u > 0; }
  bool job_exists() const noexcept { return call_->j > 0; }
  /// The user whose account the operation concerns.
  void concerns(std::int64_t u) noexcept { call_->u = u; }
  /// What the operation on the job is refused for beyond its state: `not_claim_holder` where
  /// another device has a live claim on it, `stale_reservation` where it names another one than the
  /// latest.
  Code check_claim_and_reservation();
  /// Whether there is as much to take: on the lease that is drawn on, or in the balance.
  Code check_credits(std::int64_t u, Credits amount);
  /// Takes it from the lease where check_credits found it there; false where the balance is to pay.
  bool draw(std::int64_t u, Credits amount);
  /// What only some jobs have, null for others; on a mirror without a device, for all, without a
  /// look.
  const JobLinkRow* link(std::int64_t j) {
    return device() == nullptr ? nullptr : store.job_links.find(j);
  }
  bool may_exceed_hold() const noexcept {
    return device() == nullptr || device()->has(Capability::author) ||
           device()->has(Capability::service);
  }
  /// Whether so many credits more would take balance and holds past the bound.
  bool would_overflow(std::int64_t u, Credits amount);
  void append(std::int64_t u, std::optional<std::int64_t> j, EntryKind kind, Credits amount,
              EntryText text = {});
  /// The id that the operation returns, now and when it is repeated.
  void returns(const Uuid& id) { call_->result = id; }
  /// The operation changed nothing: it is not remembered.
  void forget() noexcept { call_->remembered = false; }
  void happened(Happening::Kind kind, std::int64_t u, std::optional<std::int64_t> j);
  /// The user's balance was that: the host hears of it where it fell below the setting.
  void balance_was(std::int64_t before, std::int64_t u);
  /// Applies another operation of the engine's own making, as sweep does.
  Code apply_own(Command command);
  Uuid random_id() const { return random_id_(); }
  /// For a user who is made. Made once more, a user has the number of before, by which the pending
  /// operations know whose they are.
  std::int64_t new_user_key();

 private:
  struct Call {
    Command* command = nullptr;
    std::int64_t named_u = 0;  ///< 0: no user named; -1: named, but unknown.
    std::int64_t j = 0;        ///< 0: no job named or found.
    std::int64_t u = 0;        ///< Whose operation it is; 0 of nobody, -1 of an unknown user.
    std::int64_t o = 0;
    int entries = 0;
    std::optional<Uuid> result;
    bool remembered = true;
    bool pushed_by_itself = true;     ///< Not as a part of its batch.
    std::optional<Uuid> reservation;  ///< The job's latest before the call; nil where it had none.
    std::int64_t again = 0;           ///< The number under which it is applied once more.
    std::int64_t queued = 0;          ///< Its number, where it has no effect before canonical's.
    std::vector<AppliedOperation> like;
  };

  Verdict apply_call(Command& command, bool pushed_by_itself, std::int64_t again = 0);
  /// `u`: whose it was before; `again`: its number, where it is pending.
  Verdict apply_once_more(std::int64_t u, Command& command, std::int64_t again);
  bool lacks_capability(const Command& command) const;
  /// The lease from which so much can be drawn for that user, if any.
  const LeaseRow* drawable(std::int64_t u, Credits amount);
  /// Takes out of the user's lease what an operation drew on it that has no effect here for now.
  void keep_drawn(std::int64_t u, const Command& command);
  Credits drawn_at_most(const Command& command);
  Code check_and_apply(Call& call, std::optional<std::uint32_t>& index);
  Code apply_batch(Call& call, Batch& batch, std::optional<std::uint32_t>& index);
  /// The user of a batch: nothing where its operations are not all of one.
  std::optional<std::int64_t> user_of_batch(const Batch& batch);
  Code refuse_outsider(const Command& command) const;
  void find_named(const Command& command, Call& call);
  std::optional<Credits> balance_for(const Command& command);
  std::optional<std::int64_t> find_user(const Uuid& id);
  /// Spares the load where memory has the account.
  void adopt_account(std::int64_t u);
  std::optional<std::int64_t> find_job(const Uuid& id) { return store.find_job(id); }
  bool is_online(const Call& call) const noexcept;
  /// Leaves the operation to canonical: pending, or what keeps it from being sent.
  Code queue(Call& call, std::optional<std::uint32_t>& index);
  /// False where the record would be larger than the outbox takes.
  bool put_outbox_record(const Call& call, const Store::Mark& mark);
  bool wants(std::int64_t u, std::string_view preference);
  void fill_in(std::optional<Uuid>& name, const Uuid& id);

  const AccountMemory& memory_;
  const std::optional<Device>* device_ = nullptr;
  SpendPolicy spend_policy_ = SpendPolicy::optimistic;
  std::function<Uuid()> random_id_;
  Credits low_credits_;
  std::array<bool, Happening::kinds> listens_{};
  Call* call_ = nullptr;
  std::vector<Happening> happenings_;
  /// How a job's latest run ended, as the host was told: what it was told of an operation here
  /// comes once more from canonical, where the operation had to be taken back meanwhile.
  std::map<std::int64_t, std::pair<Happening::Kind, std::optional<Uuid>>> told_;
  std::int64_t user_before_ = 0;  ///< Whose operation is applied once more; 0 for none.
  std::vector<std::optional<Uuid>*> filled_in_;  ///< Names in this transaction's commands.
  std::vector<Call> spare_calls_;
  Encoder record_;  ///< For the outbox.
};

// The operations, one function each; called with the fields checked and the named user and job
// looked up. Each returns ok after its writes, or a code and no writes.
Code apply(Work&, const CreateUser&);
Code apply(Work&, const UpdateProfile&);
Code apply(Work&, const AddCredits&);
Code apply(Work&, const ExpireCredits&);
Code apply(Work&, const CreateDraft&);
Code apply(Work&, const UpdateDraft&);
Code apply(Work&, const ClaimDraft&);
Code apply(Work&, const PurgeExpiredDrafts&);
Code apply(Work&, const CreateProject&);
Code apply(Work&, const UpdateProject&);
Code apply(Work&, const DeleteProject&);
Code apply(Work&, const CreateVoiceProfile&);
Code apply(Work&, const DeleteVoiceProfile&);
Code apply(Work&, const CreateJob&);
Code apply(Work&, const ReserveCredits&);
Code apply(Work&, const AdvanceJob&);
Code apply(Work&, const ReportProgress&);
Code apply(Work&, const AddAsset&);
Code apply(Work&, const FinalizeJobCredits&);
Code apply(Work&, const ReleaseJobCredits&);
Code apply(Work&, const CompleteJob&);
Code apply(Work&, const FailJob&);
Code apply(Work&, const RetryJob&);
Code apply(Work&, const ClaimJob&);
Code apply(Work&, const RenewClaim&);
Code apply(Work&, const DropClaim&);
Code apply(Work&, const LeaseCredits&);
Code apply(Work&, const ReturnLease&);
Code apply(Work&, const Sweep&);

/// The first number of an operation in the outbox that was queued without effect.
constexpr std::int64_t queued_operation = 0;

/// Appends a command to the outbox's bytes; reads it back.
void put_command(Encoder& out, const Command& command);
Command get_command(Decoder& in, bool is_inner = false);

}  // namespace tally
