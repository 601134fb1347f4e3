#pragma once
// The one seam for sync: what is to be pushed comes out of the mirror here, and what canonical
// answers goes in. It knows no network; `tally::sync` is its user, and a host need not look at it.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tally/engine.hpp"

namespace tally {

/// Who a mirror is at canonical.
struct Enrolment {
  Uuid device_id{};
  std::vector<Capability> capabilities{};
  std::optional<Uuid> scope{};  ///< The one user it is for; none: all.
};

/// How far a mirror and canonical have come, and how the last attempts went.
struct LinkState {
  Enrolment enrolment;
  std::int64_t acked = 0;     ///< The last operation whose verdict is here.
  std::int64_t pending = 0;   ///< Operations behind it.
  std::int64_t blocked = 0;   ///< Those of them that have no effect here any more.
  std::int64_t rejected = 0;  ///< Kept until they are dismissed or retried.
  std::optional<std::string> cursor{};
  std::optional<Timestamp> synced_at{};  ///< When canonical last answered.
  std::int64_t attempts = 0;             ///< Failed ones since.
  std::optional<std::string> error_class{};
  std::optional<std::string> error{};
  std::optional<Timestamp> next_attempt_at{};
};

/// An operation on its way: its line, the user whom it concerns, and the leases that it drew on.
struct PushedOperation {
  std::int64_t number = 0;
  std::optional<Uuid> user_id{};
  std::string line;
  std::string leases;
};

/// The longest line of one, in bytes: an operation with a longer one is invalid_argument when it is
/// applied, so that none gets into the outbox that canonical would not take. Only a batch can be.
inline constexpr std::size_t pushed_line_max = 16U << 20U;

/// So many users a device over all can subscribe to; each call names them.
inline constexpr std::size_t subscriptions_max = 10'000;

struct Push {
  std::int64_t acked = 0;
  std::string chain;  ///< The hash of the chain up to `acked`; 32 bytes, none at 0.
  std::vector<PushedOperation> operations{};
  std::optional<std::string> cursor{};
  std::optional<std::vector<Uuid>> subscriptions{};  ///< Only these are to be fed; none: all.
};

using Texts = std::vector<std::optional<std::string>>;

/// Where a user of canonical's has got to.
struct PulledState {
  std::int64_t since = 0;          ///< The rows are all that changed since this revision,
  std::int64_t since_entries = 0;  ///< and the entries all behind this one,
  bool with_pages = false;         ///< together with those of the pages that came before.
  std::int64_t entries = 0;
  std::int64_t balance = 0;
  std::int64_t held = 0;
  std::optional<std::string> email{};
  std::optional<std::string> meta{};
  bool with_email = false;
};

/// What canonical says of one user. The rows are in an order in which each finds those it refers
/// to. Of a job's steps first comes a row of two columns, the job's id and which steps there are (a
/// bit each), then those that are not as they were made. Where it is too much for one answer it
/// comes in pages, which are kept until the state comes and only then taken, all at once.
struct PulledUser {
  Uuid user_id{};
  struct Row {
    std::string table;
    Texts texts;  ///< The view's columns; of a job, then hold, reservation, lease, claim, device,
                  ///< activity.
  };
  enum class Page : std::uint8_t { none, first, next };
  Page page = Page::none;  ///< These rows are one; it has no state.
  std::vector<Row> rows{};
  std::vector<std::pair<std::string, Uuid>> gone{};
  /// Absent where canonical does not know the user.
  std::optional<PulledState> state{};
};

struct PulledVerdict {
  std::int64_t number = 0;
  Code code = Code::ok;
  std::optional<Uuid> id{};
  std::optional<std::uint32_t> index{};
};

struct PulledLease {
  Uuid user_id{};
  Uuid lease_id{};
  Credits unspent{};
  Timestamp expires_at{};
};

/// Of the users behind `after` up to `to`, by their ids, canonical knows none but those told of.
struct CompleteRange {
  Uuid after{};
  std::optional<Uuid> to{};  ///< None: all that are behind.
};

/// The answer to one push.
struct Reply {
  std::int64_t acked = 0;  ///< The push's: a reply to another one than the latest is not taken.
  std::optional<std::string> asked{};                ///< The push's cursor,
  std::optional<std::vector<Uuid>> subscriptions{};  ///< and what it subscribed to.
  std::int64_t watermark = 0;
  std::vector<PulledVerdict>
      verdicts{};                     ///< Of the operations behind `acked`, in order, without gaps.
  std::vector<PulledLease> leases{};  ///< All that the device has open.
  std::vector<PulledUser> users{};
  std::optional<CompleteRange> complete{};
  std::string cursor;
};

/// An operation that canonical did not apply.
struct RejectedOperation {
  std::int64_t number = 0;
  Command command;
  Code code = Code::ok;
  std::optional<std::uint32_t> index{};
  Timestamp rejected_at{};
};

/// An operation that waits for canonical's verdict; on a mirror without a device, every one that
/// took effect.
struct PendingOperation {
  std::int64_t number = 0;  ///< As in RejectedOperation.
  Command command;
  Code code = Code::ok;  ///< Not ok: it is blocked, and met this when it was applied again.
  bool queued = false;   ///< It has no effect here until the verdict (SpendPolicy::online).
  bool sent = false;     ///< It may have reached canonical.
};

/// Canonical's verdict on an operation that was queued without effect (SpendPolicy::online).
struct SettledOperation {
  std::int64_t number = 0;
  Verdict verdict{};  ///< Without a balance.
};

/// How much a lease is to hold; see Replica::refill().
struct LeaseTarget {
  Credits size{};
  Credits low_water{};
  std::chrono::seconds ttl{};
  bool renews = true;  ///< Also those of which less than a quarter of the ttl is left.
};

struct Taken {
  std::vector<RejectedOperation> rejected{};
  std::vector<SettledOperation> settled{};
  std::vector<Uuid> changed{};       ///< Users whose rows canonical had otherwise.
  std::vector<Uuid> bootstrapped{};  ///< Those of them who were fed from the start.
  std::vector<Uuid>
      diverged{};  ///< Users whose entries do not add up to what canonical says: to be fed anew.
};

/// Thread-safe, like the engine that it is of and that must outlive it.
class TALLY_API Replica {
 public:
  explicit Replica(Engine& engine);
  ~Replica();
  Replica(const Replica&) = delete;
  Replica& operator=(const Replica&) = delete;

  /// Whether this one syncs the mirror. One in all processes does, whichever asked first; when it
  /// goes, however it goes, the next that asks does.
  Result<bool> lead() noexcept;
  void step_down() noexcept;

  /// Makes the mirror a device. What it did before is pushed like anything else. Refusals:
  /// already_exists (it is another device; enrol_anew is for that).
  Result<bool> enrol(const Enrolment& enrolment) noexcept;
  /// A mirror that is forked becomes another device: what it has not pushed is kept as rejected,
  /// with the code device_forked, for the host to retry.
  Result<bool> enrol_anew(const Enrolment& enrolment) noexcept;

  Result<std::optional<LinkState>> state() const noexcept;

  /// What to push next: at most so many operations and, but for one, bytes. It is on disk that they
  /// are on their way, in either durability, when this returns.
  Result<Push> next_push(std::size_t operations_max, std::size_t bytes_max) noexcept;
  /// Takes an answer, whole or not at all: verdicts, rows, then what is still pending applied
  /// again. Refusals: invalid_argument (a reply to another push than the latest, or not in the form
  /// that canonical gives it), device_forked (canonical has judged more than this file has sent).
  /// Failures: busy (the cursor is another one by now, since somebody forgot it or subscribed: push
  /// again).
  Result<Taken> take(const Reply& reply) noexcept;
  /// How many times calls of this engine's began to wait for a verdict; and sleeps, but no longer
  /// than until there was another.
  std::uint64_t queued() const noexcept;
  void wait_for_queued(std::uint64_t queued, std::chrono::milliseconds timeout) const noexcept;
  /// The next push asks for everything from the start.
  Result<bool> forget_cursor() noexcept;
  /// For Callbacks::metric, where the engine's host has one.
  bool measures() const noexcept;
  void measure(const Measurement& measurement) const noexcept;
  /// An attempt failed: for the status, which other processes read, too. take() ends it.
  Result<bool> note_failure(std::string_view error_class, std::string_view error,
                            std::optional<Timestamp> next_attempt_at) noexcept;

  /// A device over all users is fed these alone from its next call on; without a value, all. Those
  /// who are here and are not among them go then. Refusals: invalid_argument (a device for one
  /// user, or more than subscriptions_max), illegal_transition (an operation of one who would go is
  /// still pending: push it first).
  Result<bool> subscribe(const std::optional<std::vector<Uuid>>& user_ids) noexcept;
  /// In id order; without a value, all are fed.
  Result<std::optional<std::vector<Uuid>>> subscriptions() const noexcept;
  /// The user behind that one by id, from the first again behind the last; none where there is
  /// none.
  Result<std::optional<Uuid>> next_user(const Uuid& after) const noexcept;

  /// In the order of their users' ids.
  Result<std::vector<OpenLease>> leases() const noexcept;
  /// Applies a lease_credits for every lease of this device that has fallen below the low water,
  /// or, where the target renews, has less than a quarter of the ttl left by this clock: for what
  /// it lacks to its size, as far as the balance here shows as much. A device for one user opens a
  /// lease where there is none. Nothing where an operation on that lease is still pending, where it
  /// is being returned, or under SpendPolicy::online. Answers the op_ids. Refusals: not_permitted
  /// (no author), invalid_argument (a ttl out of its range, a low water above the size).
  Result<std::vector<Uuid>> refill(const LeaseTarget& target) noexcept;

  Result<std::vector<RejectedOperation>> rejected() const noexcept;
  /// Those behind a number, in order, in one snapshot and in little memory, until `visit`, which
  /// must not throw, answers false. Answers how many were visited.
  Result<std::int64_t> each_pending(const std::function<bool(const PendingOperation&)>& visit,
                                    std::int64_t after = 0) const noexcept;
  /// Refusals: not_found.
  Result<bool> dismiss(std::int64_t number) noexcept;
  /// Applies it anew, under its op_id, on the mirror as it is; then it is pending again. Refusals:
  /// not_found, and the operation's: then it stays rejected. Failures: pending (under
  /// SpendPolicy::online: it waits for its verdict again).
  Result<Receipt> retry(std::int64_t number) noexcept;

 private:
  class Lock;
  Engine& engine_;
  std::unique_ptr<Lock> lock_;
};

}  // namespace tally
