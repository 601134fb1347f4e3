#include "checkpoints.hpp"

#include <sqlite3.h>

#include <utility>

namespace tally {
namespace {

/// From so many pages on the WAL is moved: 8 MiB (16 of a mirror with pages of 4 KiB). Opening
/// after a kill reads as much.
constexpr int frames_long = 4'000;
/// So few are left to the thread that commits next, which all others wait for.
constexpr int frames_few = 256;
/// Behind so many a commit waits until they are moved.
constexpr int frames_most = 3 * frames_long;
/// Each pass finds what was added during the one before.
constexpr int passes_max = 4;

}  // namespace

Checkpoints::Checkpoints(SQLite::Database& writer, const std::filesystem::path& path,
                         const Options& options)
    : writer_(writer), path_(path), options_(options) {
  sqlite3_wal_hook(
      writer_.getHandle(),
      [](void* self, sqlite3*, const char*, int frames) {
        static_cast<Checkpoints*>(self)->committed(frames);
        return SQLITE_OK;
      },
      this);
}

Checkpoints::~Checkpoints() { sqlite3_wal_hook(writer_.getHandle(), nullptr, nullptr); }

void Checkpoints::committed(int frames) noexcept {
  frames_.store(frames, std::memory_order_relaxed);
  if (frames >= frames_long) due_.store(true, std::memory_order_relaxed);
}

template <class Body>
void Checkpoints::note_trouble(Body&& body) noexcept {
  try {
    body();
  } catch (...) {
    trouble_ = error_in_flight();
    has_trouble_.store(true, std::memory_order_relaxed);
  }
}

void Checkpoints::before_transaction() noexcept {
  const bool too_long = frames_.load(std::memory_order_relaxed) >= frames_most;
  if (!nearly_done_.load(std::memory_order_relaxed) && !too_long) return;
  const std::lock_guard lock(mutex_);
  nearly_done_.store(false, std::memory_order_relaxed);
  note_trouble([this] { pass(); });
}

void Checkpoints::after_commit() noexcept {
  if (!due_.load(std::memory_order_relaxed)) return;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock || nearly_done_.load(std::memory_order_relaxed)) return;
  due_.store(false, std::memory_order_relaxed);
  note_trouble([this] {
    for (int i = 1; i <= passes_max; ++i) {
      const Pass done = pass();
      // A reader or another process is in its way: behind the next commit it is tried again.
      if (done.moved < done.frames) return;
      const int left = frames_.load(std::memory_order_relaxed) - done.moved;
      if (left <= 0) return;
      sync_moved();
      if (left <= frames_few) break;
    }
    nearly_done_.store(true, std::memory_order_relaxed);
  });
}

std::optional<Error> Checkpoints::take_trouble() noexcept {
  if (!has_trouble_.load(std::memory_order_relaxed)) return std::nullopt;
  const std::lock_guard lock(mutex_);
  has_trouble_.store(false, std::memory_order_relaxed);
  return std::exchange(trouble_, std::nullopt);
}

void Checkpoints::sync_moved() {
  sqlite3_file* file = opened_file(db_->getHandle());
  const int rc =
      file == nullptr ? SQLITE_IOERR_FSYNC : file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
  if (rc != SQLITE_OK) throw SQLite::Exception(db_->getHandle(), rc);
}

Checkpoints::Pass Checkpoints::pass() {
  if (!db_) db_.emplace(connect(path_, options_, false));
  Pass done;
  const int rc = sqlite3_wal_checkpoint_v2(db_->getHandle(), "main", SQLITE_CHECKPOINT_PASSIVE,
                                           &done.frames, &done.moved);
  if (rc == SQLITE_BUSY || rc == SQLITE_LOCKED) return {1, 0};  // Another process moves it.
  if (rc != SQLITE_OK) throw SQLite::Exception(db_->getHandle(), rc);
  return done;
}

}  // namespace tally
