#pragma once
// Moving what the WAL holds into the mirror's file. SQLite would have the committing thread do it
// while all who wait for the next commit wait; here a caller does whose own commit is done, and
// others commit meanwhile.

#include <atomic>
#include <filesystem>
#include <mutex>
#include <optional>

#include "mirror.hpp"
#include "sqlite.hpp"

namespace tally {

class Checkpoints {
 public:
  /// `writer` tells after each of its commits how long the WAL is. All three outlive it.
  Checkpoints(SQLite::Database& writer, const std::filesystem::path& path, const Options& options);
  ~Checkpoints();
  Checkpoints(const Checkpoints&) = delete;
  Checkpoints& operator=(const Checkpoints&) = delete;

  /// By the thread that writes, before it begins a transaction: moves what is left, so that the
  /// transaction starts the WAL anew. Where the WAL has outgrown those who move it, waits for them.
  void before_transaction() noexcept;
  /// Behind a commit, by any thread, which others need not wait for: where the WAL is long and
  /// nobody else is at it, moves all but what commits keep adding.
  void after_commit() noexcept;
  /// What went wrong with moving it, for the log, once: nothing is lost by it.
  std::optional<Error> take_trouble() noexcept;

 private:
  /// How long the WAL was after the last commit, and how much of it is in the file.
  struct Pass {
    int frames = 0;
    int moved = 0;
  };
  /// Under mutex_.
  Pass pass();
  /// Under mutex_: what was moved is on disk. SQLite does so with the pass that moves the last of
  /// it, for which commits wait: there is less to do then.
  void sync_moved();
  template <class Body>
  void note_trouble(Body&& body) noexcept;
  void committed(int frames) noexcept;

  SQLite::Database& writer_;
  const std::filesystem::path& path_;
  const Options& options_;
  std::mutex mutex_;                    ///< Of those who move.
  std::optional<SQLite::Database> db_;  ///< Under mutex_.
  std::optional<Error> trouble_;        ///< Under mutex_.
  std::atomic<bool> has_trouble_{false};
  std::atomic<int> frames_{0};            ///< How many pages the WAL had after the last commit.
  std::atomic<bool> due_{false};          ///< A commit found it long.
  std::atomic<bool> nearly_done_{false};  ///< The next commit is to move the rest.
};

}  // namespace tally
