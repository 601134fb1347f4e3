#pragma once
// The WAL of the writing connection. SQLite writes each page of a commit by two calls to the
// system, then syncs; here the commit's pages are gathered, and the sync writes them by one.

#include <sqlite3.h>

namespace tally {

/// The name of the VFS whose WAL files can gather; all else is the default one's.
inline constexpr char gathering_vfs[] = "tally-gathering";
/// Registers it, once a process; throws SQLite::Exception.
void add_gathering_vfs();

/// While it lives, the connection's WAL gathers what is appended, until it is synced or read. For
/// commits that sync before they are shown, and for nothing else: other processes read the file as
/// soon as the WAL-index tells of it. What was not synced by the end belongs to a commit that
/// failed, and is dropped.
class GatheredCommit {
 public:
  /// `full`: the commit syncs. Without, or where the WAL does not gather, it does nothing.
  GatheredCommit(sqlite3* db, bool full) noexcept;
  ~GatheredCommit();
  GatheredCommit(const GatheredCommit&) = delete;
  GatheredCommit& operator=(const GatheredCommit&) = delete;

 private:
  sqlite3_file* wal_ = nullptr;
};

}  // namespace tally
