#pragma once
// What one Node environment has of ours: the main thread and every worker thread have one each, and
// nothing is shared between them. It brings answers and events to its JavaScript thread, and ends
// engines and syncers when the environment ends.

#include <atomic>
#include <mutex>
#include <vector>

#include "js.hpp"
#include "lane.hpp"

namespace tally::node {

/// What has a thread or a file, and is to be ended before its environment is gone.
class Ending {
 public:
  virtual ~Ending() = default;
  /// Has whatever is under way come to its end soon. Returns at once.
  virtual void hurry() noexcept = 0;
  /// Waits for what is under way, and ends it. Again is nothing.
  virtual void end() noexcept = 0;
};

class Host : public std::enable_shared_from_this<Host> {
 public:
  /// Makes the environment's; throws Thrown.
  static void make(napi_env env);
  static Host& of(napi_env env);
  explicit Host(napi_env env);
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // ---- the JavaScript thread's ----

  /// settle(id, code, ...values), tell(key, event, ...values), make_error(code, detail, index,
  /// op_id).
  void listen(napi_value settle, napi_value tell, napi_value make_error);
  /// `op_id` null: of no operation.
  napi_value make_error(const tally_error& error, napi_value op_id) const;
  /// Something is waited for, which keeps the process alive; or no longer.
  void keep_alive();
  void let_go();
  /// Serves reads, opening, and ending. `id` is waited for until it is settled.
  void post(Lane& lane, Request request);
  Lane& pool() { return pool_; }
  /// Lets go of what JavaScript has collected on a thread of the pool: ending it may take a while.
  void drop(Handle handle) noexcept;

  // ---- any thread's ----

  /// The environment is ending: what waits is not to happen any more.
  bool has_ended() const { return ended_; }
  void settle(double id, Answer answer) noexcept;
  void tell(double key, const char* event, std::vector<Value> values) noexcept;
  void serve(std::vector<Request>& requests) noexcept;
  void add(Ending& ending);
  void remove(Ending& ending) noexcept;

 private:
  struct Message {
    double id = 0;                ///< Of the request, or the key of who tells.
    const char* event = nullptr;  ///< Null: it settles a request.
    Answer answer{};
  };

  static void deliver(napi_env env, napi_value function, void* context, void* data);
  static void environment_ends(void* host);
  void send(Message message) noexcept;
  void deliver_all(napi_env env);
  void deliver_one(napi_env env, const Message& message);
  void end_all() noexcept;
  napi_value function(napi_ref reference) const;

  napi_env env_;
  napi_ref settle_ = nullptr;
  napi_ref tell_ = nullptr;
  napi_ref make_error_ = nullptr;
  napi_threadsafe_function wake_ = nullptr;
  std::size_t awaited_ = 0;
  std::atomic<bool> ended_{false};

  std::mutex mutex_;
  std::vector<Message> outbox_;
  bool woken_ = false;
  std::vector<Ending*> endings_;  ///< A syncer behind its engine.

  Lane pool_;
};

}  // namespace tally::node
