#pragma once
// The one seam for sync: what is to be pushed comes out of the mirror here, and what canonical
// answers goes in. It knows no network; `tally::sync` is its user, and a host need not look at it.

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

struct Push {
  std::int64_t acked = 0;
  std::string chain;  ///< The hash of the chain up to `acked`; 32 bytes, none at 0.
  std::vector<PushedOperation> operations{};
  std::optional<std::string> cursor{};
};

using Texts = std::vector<std::optional<std::string>>;

/// What canonical says of one user. The rows are in an order in which each finds those it refers
/// to.
struct PulledUser {
  Uuid user_id{};
  struct Row {
    std::string table;
    Texts texts;  ///< The view's columns; of a job, then hold, reservation, lease, claim, device,
                  ///< activity.
  };
  std::vector<Row> rows{};
  std::vector<std::pair<std::string, Uuid>> gone{};
  /// Where the user has got to; absent where canonical does not know the user.
  struct State {
    std::int64_t since = 0;          ///< The rows are all that changed since this revision,
    std::int64_t since_entries = 0;  ///< and the entries all behind this one.
    std::int64_t entries = 0;
    std::int64_t balance = 0;
    std::int64_t held = 0;
    std::optional<std::string> email{};
    std::optional<std::string> meta{};
    bool with_email = false;
  };
  std::optional<State> state{};
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

/// The answer to one push.
struct Reply {
  std::int64_t acked = 0;  ///< The push's: a reply to another one than the latest is not taken.
  std::int64_t watermark = 0;
  std::vector<PulledVerdict>
      verdicts{};                     ///< Of the operations behind `acked`, in order, without gaps.
  std::vector<PulledLease> leases{};  ///< All that the device has open.
  std::vector<PulledUser> users{};
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

/// A lease of this device's, as canonical last showed it, less what pending operations drew.
struct OpenLease {
  Uuid user_id{};
  Uuid lease_id{};
  Credits unspent{};
  Timestamp expires_at{};
  bool returning = false;  ///< return_lease was called: nothing more is drawn on it.
};

struct Taken {
  std::vector<RejectedOperation> rejected{};
  std::vector<Uuid> changed{};  ///< Users whose rows canonical had otherwise.
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
  Result<Taken> take(const Reply& reply) noexcept;
  /// The next push asks for everything from the start.
  Result<bool> forget_cursor() noexcept;
  /// An attempt failed: for the status, which other processes read, too. take() ends it.
  Result<bool> note_failure(std::string_view error_class, std::string_view error,
                            std::optional<Timestamp> next_attempt_at) noexcept;

  /// In the order of their users' ids.
  Result<std::vector<OpenLease>> leases() const noexcept;

  Result<std::vector<RejectedOperation>> rejected() const noexcept;
  /// Refusals: not_found.
  Result<bool> dismiss(std::int64_t number) noexcept;
  /// Applies it anew, under its op_id, on the mirror as it is; then it is pending again. Refusals:
  /// not_found, and the operation's: then it stays rejected.
  Result<Receipt> retry(std::int64_t number) noexcept;

 private:
  class Lock;
  Engine& engine_;
  std::unique_ptr<Lock> lock_;
};

}  // namespace tally
