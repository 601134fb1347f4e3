#pragma once
// Threads of our own for what touches the disk or the network, each lane with its queue. libuv's
// pool is left alone: it has four threads, which Node needs for files and names, and a call that
// waits for another process' transaction would keep one of them for ten seconds.

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "js.hpp"

namespace tally::node {

/// An operation has a line, which may share a commit with others; anything else has work.
struct Request {
  double id = 0;
  std::string line{};
  std::function<Answer()> work{};
};

/// A queue and its threads, which start when they are needed and live until the lane is closed.
/// Thread-safe, but for close().
class Lane {
 public:
  /// Gets what is taken at once: one request with work, or all operations that wait, in order.
  using Serve = std::function<void(std::vector<Request>& requests)>;

  Lane(std::size_t threads_max, Serve serve)
      : threads_max_(threads_max), serve_(std::move(serve)) {}
  ~Lane() { close(Rest::dropped); }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  /// Throws std::system_error where there is no thread to serve it and none can be made.
  void post(Request request);
  /// True where it was still waiting: then it never happens.
  bool cancel(double id);
  /// Requests are served one behind the other.
  bool keeps_order() const { return threads_max_ == 1; }
  /// Waits until nothing waits and nothing is being served.
  void come_to_rest();
  /// The same; false when the time is over.
  bool comes_to_rest(std::chrono::milliseconds timeout);
  enum class Rest : std::uint8_t { served, dropped };
  /// Waits for what is being served; no post() afterwards. Closing again is nothing.
  void close(Rest rest);

 private:
  void run();
  std::vector<Request> take();
  bool rests() const { return serving_ == 0 && queue_.empty(); }

  const std::size_t threads_max_;
  const Serve serve_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::condition_variable rested_;
  std::deque<Request> queue_;
  std::vector<std::thread> threads_;
  std::size_t idle_ = 0;
  std::size_t serving_ = 0;
  bool closing_ = false;
};

}  // namespace tally::node
