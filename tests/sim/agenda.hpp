#pragma once
// Simulated time: what is to happen, in order.

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

namespace tally::sim {

using Micros = std::int64_t;
constexpr Micros millisecond = 1'000;
constexpr Micros second = 1'000'000;

class Agenda {
 public:
  Micros now() const { return now_; }
  void after(Micros delay, std::function<void()> work) {
    events_.push({now_ + delay, order_++, std::move(work)});
  }
  /// Does the next thing; false where there is none.
  bool step() {
    if (events_.empty()) return false;
    const Event event = events_.top();
    events_.pop();
    now_ = event.at;
    event.work();
    return true;
  }

 private:
  struct Event {
    Micros at;
    std::uint64_t order;  ///< What comes at the same time comes in the order of its making.
    std::function<void()> work;
    bool operator<(const Event& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  Micros now_ = 0;
  std::uint64_t order_ = 0;
  std::priority_queue<Event> events_;
};

}  // namespace tally::sim
