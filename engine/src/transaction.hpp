#pragma once
// The writer's transaction. What memory decides alone, a refusal above all, needs none and leaves
// the file's lock to others: it begins with the first statement that is about to run.

#include <cstdint>

#include "checkpoints.hpp"
#include "mirror.hpp"
#include "sqlite.hpp"
#include "wal_file.hpp"

namespace tally {

class Transaction final : public Gate {
 public:
  /// Another process has committed since the word that memory stands for: what was decided until
  /// now does not hold. The transaction has begun all the same.
  struct Overtaken {};

  Transaction(SQLite::Database& db, const ChangeWord& change_word, Checkpoints& checkpoints)
      : db_(db),
        change_word_(change_word),
        checkpoints_(checkpoints),
        begin_(db, "begin immediate"),
        commit_(db, "commit"),
        rollback_(db, "rollback") {}

  /// Takes the file's write lock, for which it waits as long as the host allows.
  void begin() {
    checkpoints_.before_transaction();
    begin_.run();
    is_open_ = true;
    word_ = change_word_.load();
  }
  /// Does so with the first statement; that throws Overtaken where the word has moved.
  void begin_late(std::uint64_t word) noexcept {
    word_ = word;
    stands_by_ = true;
  }
  bool has_begun() const noexcept { return is_open_; }
  /// The file's before it.
  std::uint64_t word() const noexcept { return word_; }

  /// `full`: it is on disk then.
  void commit(bool full) {
    const GatheredCommit gathered(db_.getHandle(), full);
    commit_.run();
    end();
  }
  void roll_back() {
    if (is_open_) rollback_.run();
    end();
  }
  /// SQLite has ended it by itself.
  void end() noexcept { is_open_ = stands_by_ = false; }

 private:
  void open() override {
    if (!stands_by_) throw SQLite::Exception("a statement outside of its transaction");
    const std::uint64_t expected = word_;
    begin();
    if (word_ != expected) throw Overtaken{};
  }

  SQLite::Database& db_;
  const ChangeWord& change_word_;
  Checkpoints& checkpoints_;
  Query begin_;
  Query commit_;
  Query rollback_;
  std::uint64_t word_ = 0;
  bool stands_by_ = false;
};

}  // namespace tally
