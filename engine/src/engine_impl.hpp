#pragma once
// The engine behind its facade: one writer that commits for all who wait, memory of balances, and
// connections for readers.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "balances.hpp"
#include "checkpoints.hpp"
#include "mirror.hpp"
#include "open_mirror.hpp"
#include "platform.hpp"
#include "transaction.hpp"
#include "work.hpp"

namespace tally {

/// Wakes threads that wait for something to happen. Thread-safe.
class Signal {
 public:
  std::uint64_t count() const {
    const std::lock_guard lock(mutex_);
    return count_;
  }
  void give() {
    {
      const std::lock_guard lock(mutex_);
      ++count_;
    }
    given_.notify_all();
  }
  /// Until it was given after that count was read, or the time has come.
  void wait_until(std::uint64_t count, std::chrono::steady_clock::time_point time) const {
    std::unique_lock lock(mutex_);
    given_.wait_until(lock, time, [&] { return count_ != count; });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable given_;
  std::uint64_t count_ = 0;
};

class Engine::Impl final : private AccountMemory {
 public:
  Impl(const std::filesystem::path& path, Options options);

  /// Applies the commands in one commit with those of other callers; blocks until it is durable.
  /// A failure of the commit leaves `verdicts` empty.
  void submit(std::vector<Command>& commands, std::vector<Verdict>& verdicts,
              Error& failure) noexcept;

  /// What a transaction of the engine's own does, alone in its commit; it throws to undo it all.
  using Task = std::function<void(Store&, Work&)>;
  /// Runs it, blocks until it is committed, and, where `synced`, on disk in either durability.
  void run(const Task& task, bool synced);
  /// The identity of the mirror has changed: read it anew.
  void load_device();

  /// Waits, as long as the options say, for canonical's verdicts on those that are `pending`.
  void await_verdicts(const std::vector<Command>& commands, std::vector<Verdict>& verdicts);
  /// For calls that wait: a refusal may be dismissed before they have read it in the file.
  void remember_refusal(const Verdict& verdict);
  Signal& verdicts_came() noexcept { return verdicts_came_; }
  Signal& queued() noexcept { return queued_; }

  bool check(const Uuid& user_id, AccountRow& row) {
    if (memory_is_current() && balances_.read(user_id, row)) [[likely]]
      return true;
    refresh(&user_id);
    return balances_.read(user_id, row);
  }
  bool balance(const Uuid& user_id, std::int64_t& balance) {
    if (balance_in_memory(user_id, balance)) [[likely]]
      return true;
    refresh(&user_id);
    return balances_.read_balance(user_id, balance);
  }
  /// False where memory cannot tell. A call within the call would be a good part of its time.
  [[gnu::always_inline]] bool balance_in_memory(const Uuid& user_id,
                                                std::int64_t& balance) const noexcept {
    return memory_is_current() && balances_.read_balance(user_id, balance);
  }

  /// A connection for one reader, inside one read transaction; given back by the destructor.
  class Reader {
   public:
    explicit Reader(Impl& impl);
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    SQLite::Database& db() noexcept { return *db_; }

   private:
    Impl& impl_;
    std::unique_ptr<SQLite::Database> db_;
  };

  const Options& options() const noexcept { return options_; }
  /// Only where the host has ears for it.
  void measure(Metric metric, double value,
               std::span<const Attribute> attributes = {}) const noexcept {
    options_.callbacks.metric({metric, value, attributes});
  }
  /// Moves with every commit of every process.
  std::uint64_t change() const noexcept { return change_word_.load(); }
  Uuid new_id() const;
  Timestamp now() const;
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  /// What a caller in the queue is to do: wait, commit for all who wait, or take its result.
  enum Turn : int { wait, lead, done };
  struct Request {
    std::vector<Command>& commands;
    std::vector<Verdict>& verdicts;
    Error& failure;
    const Task* task = nullptr;  ///< Instead of commands.
    bool synced = false;
    Request* next = nullptr;  ///< Who waits behind.
    std::atomic<int> turn{Turn::wait};
    void give(Turn given) noexcept {
      turn.store(given, std::memory_order_release);
      platform::wake_one(turn);
    }
    Turn await() noexcept {
      int given = turn.load(std::memory_order_acquire);
      for (; given == Turn::wait; given = turn.load(std::memory_order_acquire))
        platform::sleep_on(turn, Turn::wait);
      return static_cast<Turn>(given);
    }
  };

  /// Those who share a commit: `count` requests from `first` on. What waits behind the last may
  /// grow meanwhile.
  struct Group {
    Request* first;
    std::size_t count;
    template <class Visit>
    void for_each(Visit&& visit) const {
      Request* request = first;
      for (std::size_t i = 0; i < count; ++i) {
        Request* const next = i + 1 < count ? request->next : nullptr;
        visit(*request);
        request = next;
      }
    }
  };

  // The writer's side; only the leader of the queue is in here.
  Group take_group() noexcept;
  /// What went wrong, for the log; it is told once the lead is handed over.
  std::optional<Error> commit_for(const Group& group) noexcept;
  bool work_for(const Group& group);
  bool apply_late(const Group& group);
  bool apply_group(const Group& group);
  void enqueue(Request& request) noexcept;
  void fail_group(const Group& group, const Error& error) noexcept;
  /// The commit is in the file: memory follows.
  void publish(std::uint64_t word_before);
  void abandon() noexcept;
  void tell_host(const std::vector<Happening>& happenings) noexcept;
  void log(LogLevel level, LogEvent event, std::string_view what) noexcept;
  void measure_answers(const Request& request) const noexcept;
  void measure_commit(std::chrono::steady_clock::time_point started, std::size_t operations,
                      const std::optional<Error>& trouble) const noexcept;

  /// Reads canonical's verdict on what was queued; false where it has not come.
  bool read_verdict(Reader& reader, const Command& command, Verdict& verdict);
  bool recall_refusal(Verdict& verdict);
  void dismiss(const std::vector<std::int64_t>& numbers);

  // Memory.
  std::optional<std::int64_t> find_user(const Uuid& user_id) const override;
  std::optional<AccountRow> account(std::int64_t u) const override;
  // A reader's two loads: the word of the file, then what memory has seen. While our own commit is
  // under way the file may show it before memory does; memory then still answers with the balance
  // of before, as if the read had come first: the commit's caller has no answer yet.
  bool memory_is_current() const noexcept {
    const std::uint64_t word = change_word_.load();
    return word == seen_word_.load(std::memory_order_acquire) ||
           ChangeWord::counter(word) == own_counter_.load(std::memory_order_acquire);
  }
  /// Returns once memory shows what a reader may have seen in the file. That takes microseconds,
  /// where a commit of ours is between the two.
  void await_publication() const noexcept {
    while (ChangeWord::counter(change_word_.load()) == own_counter_.load(std::memory_order_acquire))
      std::this_thread::yield();
  }
  /// Brings memory up to what the file shows; loads that user where one is given.
  void refresh(const Uuid* user_id);

  OpenMirror open_mirror_;  ///< First: before any connection, until after the last.
  std::filesystem::path path_;
  Options options_;

  SQLite::Database writer_;

  // What balance checks read besides balances_, on a cache line that nothing else writes to.
  alignas(64) ChangeWord change_word_;
  std::atomic<std::uint64_t> seen_word_;    ///< Memory shows all that is committed up to it.
  std::atomic<std::uint64_t> own_counter_;  ///< Of the commit under way; 2^32 without one.

  alignas(64) Checkpoints checkpoints_;
  Transaction transaction_;
  Store store_;

  SQLite::Database loader_;  ///< Under memory_mutex_.
  Query loader_begin_;
  Query loader_end_;
  Query changed_accounts_;
  Query load_account_;
  Query find_account_;
  Query latest_;

  mutable std::mutex memory_mutex_;
  Balances balances_;
  Work work_;
  Query link_;
  std::int64_t seen_operation_ = 0;  ///< Under memory_mutex_, as the next.
  std::uint64_t seen_epoch_ = 0;
  std::optional<Device> device_;    ///< The writer's.
  std::uint64_t written_word_ = 0;  ///< After the writer's last transaction.
  bool written_before_ = false;
  bool store_knows_ = false;  ///< What the last transaction left in the store is as in the file.
  bool wrote_ = false;        ///< The leader's: its group had something to commit.
  std::atomic<bool> broken_{false};

  std::mutex queue_mutex_;
  Request* queue_first_ = nullptr;  ///< The leader, while there is one.
  Request* queue_last_ = nullptr;

  Signal verdicts_came_;  ///< In this process; another one's are seen in the file.
  std::mutex refusals_mutex_;
  std::map<std::int64_t, Verdict> refusals_;  ///< The latest, by number.
  Signal queued_;                             ///< Something that waits for its verdict.

  std::mutex readers_mutex_;
  std::vector<std::unique_ptr<SQLite::Database>> idle_readers_;
};

}  // namespace tally
