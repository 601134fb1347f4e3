#pragma once
// What a device says to canonical and when, and what it does with the answer. It has no network, no
// clock and no chance of its own: the syncer gives it libpq and the system's, the simulator others.

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "answer.hpp"

namespace tally::sync {

/// Where time and chance come from.
struct Surroundings {
  using SteadyTime = std::chrono::steady_clock::time_point;
  std::function<SteadyTime()> steady_now;
  std::function<Timestamp()> system_now;
  /// Evenly from 0 to that, inclusive.
  std::function<std::int64_t(std::int64_t most)> random;
};

/// Thread-compatible. One call is under way at a time: what next() gave is answered() or failed(),
/// or will never be, before next() is asked again.
class Exchange {
 public:
  Exchange(Engine& engine, SyncOptions options, Surroundings surroundings);

  /// Nothing to do until then, but look again.
  struct Rest {
    SyncState state = SyncState::connecting;
    std::chrono::milliseconds timeout{0};
  };
  struct Next {
    std::optional<Call> call{};
    Rest rest{};  ///< Where there is no call.
  };
  Next next();
  /// Takes an answer, whole or not at all. Without a value: go on at once.
  std::optional<Rest> answered(const Answer& answer);
  /// The call came to nothing.
  Rest failed(Trouble trouble);

  const SyncOptions& options() const { return options_; }
  /// The last error, until a call succeeds.
  const Trouble& trouble() const { return trouble_; }
  /// The number of the latest call that began, and of the latest whose answer was taken.
  std::uint64_t begun() const { return begun_; }
  std::uint64_t taken() const { return taken_; }
  /// The next call does not wait for its time, unless an error makes it wait.
  void wake() { wake_ = true; }
  /// After an error that halted it: another token, and on.
  void resume(std::string token);
  /// Whether the next contact makes the mirror another device; that is also the way on after an
  /// error that halted it. Ended, it needs the call under way to be dropped.
  void become_another(bool another);
  bool becomes_another() const { return anew_; }
  /// A job is asked for by the next call that pushes nothing; without a ttl none is.
  void ask_for_job(std::optional<std::int64_t> ttl_s);
  /// What was claimed and not taken, be it by a call whose answer nobody waited for, while it is.
  std::optional<Uuid> take_job();
  /// The user's digest is compared by the next call that pushes nothing.
  void compare(const Uuid& user_id);
  /// Without a value: something was applied here meanwhile.
  std::optional<bool> compared() const { return digest_equal_; }

 private:
  Next begin_call();
  std::optional<Rest> refill();
  void choose_digest();
  std::optional<Rest> not_taken(Error error);
  std::optional<Rest> enrol(const Enrolment& device);
  Result<bool> enrol_as_another(const Enrolment& device);
  void took(const Answer& answer, const Taken& taken);
  void tell(const Taken& taken);
  void measure(const Reply& reply);
  void tell_diverged(const Uuid& user_id);
  void forget_refill(const RejectedOperation& rejected);
  void compare_digest(const std::vector<TableDigest>& there);
  bool has_more_to_push();
  SyncState rest_state();
  Rest halted() const;
  void go_on();
  void note(std::optional<std::chrono::milliseconds> delay);

  Engine& engine_;
  Replica replica_;
  SyncOptions options_;
  Surroundings surroundings_;
  bool enrolled_ = false;
  bool anew_ = false;
  Uuid device_id_{};
  Surroundings::SteadyTime next_attempt_{};
  Trouble trouble_{};
  std::uint64_t failures_ = 0;
  std::uint64_t begun_ = 0;
  std::uint64_t taken_ = 0;
  bool halted_ = false;
  bool wake_ = false;
  int since_digest_ = 0;
  std::optional<Uuid> digest_of_;
  std::optional<Uuid> scope_;
  bool has_diverged_ = false;      ///< By the answer before.
  bool was_unfit_ = false;         ///< An answer was, since all was fed.
  std::deque<Uuid> bootstrapped_;  ///< Whose digests are still to be compared.
  bool more_ = false;              ///< The last answer was not all.
  bool after_bootstrap_ = false;   ///< So is the digest that is asked for.
  Uuid compared_{};                ///< Whose was compared last.
  std::optional<bool> digest_equal_;
  std::optional<std::int64_t> claim_ttl_;
  bool asks_claim_ = false;  ///< The call under way does, as it was asked last.
  std::optional<Uuid> claimed_;
  Surroundings::SteadyTime claim_ends_{};  ///< Of the latest that was asked for, at the earliest.
  std::set<Uuid> refills_;                 ///< Of leases, by op_id.
  Surroundings::SteadyTime next_refill_{};
  Surroundings::SteadyTime next_renewal_{};
};

}  // namespace tally::sync
