#pragma once
// The calls of a device's life that write: the lease operations, and all of Replica's, with every
// kind of answer of canonical's. No server: the answers are made here.

#include <tally/replica.hpp>

#include "fault/steps.hpp"

namespace tally::test {

class DeviceSteps : public Steps {
 public:
  DeviceSteps();

 private:
  void work_before_enrolment();
  void be_fed();
  void have_one_rejected();
  void retry_and_dismiss();
  void be_fed_in_pages();
  void return_the_lease();
  void be_fed_anew();
  void unsubscribe_from_one();
  void become_another();

  template <class Call>
  void record_call(const std::string& name, Call call, Step::Nature nature);
  void subscribe(const std::vector<Uuid>& users);
  void push();
  void take(const std::string& name, const Reply& reply);
  /// To the latest push, without anything in it yet but the lease.
  Reply reply();
  /// Of that user, without rows yet; behind entry 0 is from the start.
  static PulledUser& tell_of(Reply& reply, const Uuid& user, std::int64_t since_entries,
                             std::int64_t entries, std::int64_t balance, std::int64_t held);

  std::optional<PulledLease> lease_;
};

}  // namespace tally::test
