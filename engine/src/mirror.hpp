#pragma once
// The mirror file: opening, migrating, connections, and the word that moves with every commit.

#include <sqlite3.h>

#include <SQLiteCpp/Database.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "tally/engine.hpp"

namespace tally {

/// The version of the schema that this library writes.
inline constexpr int mirror_version = 4;

/// 'Tall', so that `file` and others can tell a mirror from another SQLite file.
inline constexpr int application_id = 0x54616c6c;

/// Creates the file where it is missing and allowed, checks SQLite and the schema, migrates.
/// Throws Failure or SQLite::Exception.
void prepare_mirror(const std::filesystem::path& path, const Options& options);

/// A mirror without a user, in memory.
SQLite::Database empty_mirror();

/// SQLite's names of files, and those in texts, are UTF-8 on every system.
std::string utf8(const std::filesystem::path& path);
std::filesystem::path from_utf8(std::string_view text);

/// A connection with the engine's settings.
SQLite::Database connect(const std::filesystem::path& path, const Options& options, bool writes);

/// The mirror's file and its WAL as SQLite has them open; nullptr where there is none yet.
sqlite3_file* opened_file(sqlite3* db) noexcept;
sqlite3_file* opened_wal(sqlite3* db) noexcept;

/// What the WAL holds is on disk when it returns. A process that was killed between writing a
/// commit and syncing it has left one that is read from now on, and an op_id in it is answered
/// `ok`.
void sync_wal(SQLite::Database& db);

/// A failure with its code, for the edge.
struct Failure {
  Code code;
  std::string detail;
};

/// Turns the exception in flight into an Error: the one place where that is done.
Error error_in_flight() noexcept;

/// What may be thrown becomes the answer.
template <class T, class Body>
Result<T> guarded(Body&& body) noexcept {
  try {
    return body();
  } catch (...) {
    return error_in_flight();
  }
}

/// The WAL-index's header in shared memory: its change counter grows with every commit of every
/// process, so one load tells whether memory is current. Valid while its connection is open.
class ChangeWord {
 public:
  /// The connection must have read something before.
  explicit ChangeWord(SQLite::Database& db);

  /// Counter and frame checksum in one value; equal values mean that nothing was committed between.
  std::uint64_t load() const noexcept {
    return (static_cast<std::uint64_t>(words_[2].load(std::memory_order_acquire)) << 32U) |
           words_[6].load(std::memory_order_relaxed);
  }
  static std::uint32_t counter(std::uint64_t word) noexcept {
    return static_cast<std::uint32_t>(word >> 32U);
  }

 private:
  const std::atomic<std::uint32_t>* words_;
};

}  // namespace tally
