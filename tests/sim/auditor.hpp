#pragma once
// Who believes nobody: what canonical answered, what hosts were told and what they were promised,
// written down and compared with what there is. Each check names the invariant that it is of.

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/half.hpp"

namespace tally::sim {

/// An invariant did not hold.
class Violation : public std::runtime_error {
 public:
  Violation(std::string_view invariant, const std::string& what)
      : std::runtime_error(std::string(invariant) + ": " + what), invariant(invariant) {}
  std::string invariant;
};

inline void demand(bool holds, std::string_view invariant, const std::string& what) {
  if (!holds) throw Violation(invariant, what);
}

/// A value, as canonical is: both are restored together.
class Auditor {
 public:
  /// Is told of what rarely happens.
  using Probe = std::function<void(std::string_view)>;
  explicit Auditor(Probe probe) : probe_(std::move(probe)) {}
  /// What canonical is about to be asked, and what it then answered.
  void before_call(Half& canonical, const sync::Call& call);
  void after_call(Half& canonical, std::size_t device, const sync::Call& call,
                  const sync::Answer& answer);
  /// A device's token, and that it holds no more.
  void enrolled(const sync::DeviceToken& token) {
    devices_[token.token].device_id = token.device_id;
  }
  void revoked(const Uuid& device_id);
  /// A line that was applied to canonical straight.
  void applied(const Command& command);
  /// The accounts as they must be after what was applied (conservation, no overdraft), and their
  /// entries (append-only, numbered, adding up, one hold a job). All of them.
  void check_books(Half& canonical);

  /// Canonical's latest verdict on a device's operation; none where it has not judged it.
  std::optional<Code> verdict(std::size_t device, const Uuid& op_id) const;
  /// It is to be judged anew.
  void forget_verdict(std::size_t device, const Uuid& op_id) { verdicts_.erase({device, op_id}); }
  /// Those of the device's that were judged, or judged otherwise, since it was that.
  std::set<Uuid> judged_since(std::size_t device, const Auditor& earlier) const;

 private:
  /// Why canonical refuses a call, and that it does where it has to.
  void check_refusal(const sync::Call& call, const sync::Answer& answer) const;
  void check_permitted(const Command& command, const PushedOperation& pushed,
                       const Enrolment& device) const;
  std::optional<Uuid> user_of(const Command& command) const;
  /// Of a user: the entries as they were read, and what they add up to.
  struct Books {
    std::vector<Half::Row> entries{};
    std::int64_t sum = 0;
    std::map<std::string, std::int64_t> holds{};  ///< By job.
  };
  void check_accounts(const std::vector<Half::Account>& accounts) const;
  void check_entries(Half& canonical, const Half::Account& account);
  /// Nothing of what a call brought was applied.
  void check_untouched(Half& canonical) const;
  static void check_unchanged(Books& books, std::size_t place, const Half::Row& entry,
                              const std::map<std::string, std::string>& jobs);
  void book(Books& books, const Half::Row& entry);
  void book_hold(Books& books, const Half::Row& entry, const std::string& job);
  /// `by`: the device; the nil UUID where it was none.
  void effect(const Command& command, const std::optional<Uuid>& user_id, const Uuid& by);
  void effect_of(const Operation& operation, const Uuid& by);
  void claimed(const Uuid& job_id, const Uuid& by);

  Probe probe_;
  std::map<Uuid, std::int64_t> expected_;  ///< Balance, holds and leases together, by user.
  std::map<Uuid, Uuid> owners_;            ///< Of jobs.
  std::set<std::pair<std::optional<Uuid>, Uuid>> applied_;  ///< By user and op_id.
  struct Device {
    Uuid device_id{};
    bool is_revoked = false;
    std::int64_t watermark = 0;
  };
  std::map<std::string, Device> devices_;  ///< By token.
  std::set<std::string> payments_;
  std::map<std::pair<std::size_t, Uuid>, Code> verdicts_;  ///< By device and op_id.
  struct Judged {
    Code code;
    std::optional<Uuid> id;
    bool operator==(const Judged&) const = default;
  };
  std::map<std::pair<std::string, std::int64_t>, Judged> numbers_;  ///< By token and number.
  std::map<Uuid, Books> books_;
  std::map<Uuid, Uuid> claims_;  ///< Who claimed a job last.
  std::vector<Half::Lease> leases_before_;
  std::map<Uuid, std::vector<TableDigest>> rows_before_;  ///< Of whom a call's operations concern.
};

}  // namespace tally::sim
