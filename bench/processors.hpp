#pragma once
// Which processor a thread runs on.

#include <sched.h>

#include <vector>

namespace tally::bench {

/// The processors that this program may use, in order.
inline std::vector<int> processors() {
  cpu_set_t set;
  std::vector<int> out;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return out;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) out.push_back(i);
  }
  return out;
}

/// Keeps the calling thread on these, until it goes out of scope. A failure changes no result, but
/// its spread.
class Pinned {
 public:
  explicit Pinned(const std::vector<int>& processors) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int i : processors) CPU_SET(i, &set);
    sched_getaffinity(0, sizeof before_, &before_);
    sched_setaffinity(0, sizeof set, &set);
  }
  ~Pinned() { sched_setaffinity(0, sizeof before_, &before_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  cpu_set_t before_{};
};

}  // namespace tally::bench
