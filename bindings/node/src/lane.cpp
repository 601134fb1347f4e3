#include "lane.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

namespace tally::node {
namespace {

/// So many operations, and about so many bytes, go to the engine at once: enough to share a sync
/// of the disk, few enough that the first of them need not wait long for the last.
constexpr std::size_t operations_max = 1'000;
constexpr std::size_t bytes_max = 4U << 20U;

}  // namespace

void Lane::post(Request request) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(request));
    if (queue_.size() > idle_ && threads_.size() < threads_max_) {
      try {
        threads_.emplace_back([this] { run(); });
      } catch (const std::system_error&) {
        if (threads_.empty()) {
          queue_.pop_back();
          throw;
        }
      }
    }
  }
  came_.notify_one();
}

bool Lane::cancel(double id) {
  Request gone;  // Its destructor runs without the lock.
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(queue_.begin(), queue_.end(), [&](const Request& r) { return r.id == id; });
  if (found == queue_.end()) return false;
  gone = std::move(*found);
  queue_.erase(found);
  return true;
}

void Lane::come_to_rest() {
  std::unique_lock lock(mutex_);
  rested_.wait(lock, [&] { return rests(); });
}

bool Lane::comes_to_rest(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return rested_.wait_for(lock, timeout, [&] { return rests(); });
}

void Lane::close(Rest rest) {
  std::deque<Request> dropped;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    if (rest == Rest::dropped) dropped.swap(queue_);
  }
  came_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Lane::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    came_.wait(lock, [&] { return closing_ || !queue_.empty(); });
    --idle_;
    if (queue_.empty()) return;
    std::vector<Request> taken = take();
    ++serving_;
    lock.unlock();
    serve_(taken);
    taken.clear();
    lock.lock();
    --serving_;
    rested_.notify_all();
  }
}

std::vector<Request> Lane::take() {
  std::vector<Request> taken;
  std::size_t bytes = 0;
  do {
    bytes += queue_.front().line.size();
    taken.push_back(std::move(queue_.front()));
    queue_.pop_front();
  } while (!taken.back().work && !queue_.empty() && !queue_.front().work &&
           taken.size() < operations_max && bytes + queue_.front().line.size() <= bytes_max);
  return taken;
}

}  // namespace tally::node
