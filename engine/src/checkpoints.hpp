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

  /// Behind a commit, by any thread, which others need not wait for: where the WAL is long and
  /// nobody else is at it, moves all but what commits keep adding. Answers what went wrong, for the
  /// log: nothing is lost by it.
  std::optional<Error> after_commit() noexcept;
  /// By the thread that commits next, before it begins: moves the rest, so that its transaction
  /// starts the WAL anew. Where the WAL has outgrown those who move it, waits for them.
  std::optional<Error> before_commit() noexcept;

 private:
  /// How long the WAL was after the last commit, and how much of it is in the file.
  struct Pass {
    int frames = 0;
    int moved = 0;
  };
  Pass pass();
  void committed(int frames) noexcept;

  SQLite::Database& writer_;
  const std::filesystem::path& path_;
  const Options& options_;
  std::mutex mutex_;                      ///< Of those who move.
  std::optional<SQLite::Database> db_;    ///< Under mutex_.
  std::atomic<int> frames_{0};            ///< How many pages the WAL had after the last commit.
  std::atomic<bool> due_{false};          ///< A commit found it long.
  std::atomic<bool> nearly_done_{false};  ///< The next commit is to move the rest.
};

}  // namespace tally
