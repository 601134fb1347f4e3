// A mirror's file from outside: copied whole while others write, and examined without being opened
// as a mirror.

#include "engine_impl.hpp"
#include "reads.hpp"

namespace tally {
namespace {

namespace fs = std::filesystem;

fs::path beside(const fs::path& path, std::string_view suffix) {
  fs::path out = path;
  return out += suffix;
}

/// Throws where something is there that must stay.
void check_target(const fs::path& mirror, const fs::path& to, bool replace) {
  std::error_code ignored;
  if (fs::equivalent(mirror, to, ignored))
    throw Failure{Code::invalid_argument, "a mirror cannot be copied onto itself"};
  if (!fs::exists(fs::symlink_status(to))) return;
  if (!replace) throw Failure{Code::already_exists, utf8(to) + " exists already"};
  if (!fs::is_regular_file(to)) throw Failure{Code::io, utf8(to) + " is no file"};
  // SQLite would take the old file's WAL for the new one's.
  if (fs::exists(beside(to, "-wal")) || fs::exists(beside(to, "-shm"))) {
    throw Failure{Code::busy, utf8(to) +
                                  " is open in some process, or one was killed that had it open "
                                  "(there is a -wal or -shm beside it)"};
  }
}

/// A file of its owner's beside the one that it is to become; gone, unless it became that.
class Draft {
 public:
  explicit Draft(const fs::path& to) : to_(to), path_(beside(to, "-" + new_uuid_v7().text())) {
    platform::create_private_file(path_);
  }
  ~Draft() {
    std::error_code ignored;
    for (const char* suffix : {"", "-wal", "-shm", "-journal"})
      fs::remove(beside(path_, suffix), ignored);
  }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;

  const fs::path& path() const noexcept { return path_; }
  void publish() const {
    platform::sync_file(path_);
    platform::rename_synced(path_, to_);
  }

 private:
  fs::path to_;
  fs::path path_;
};

/// The pages as this connection's snapshot has them. False where the watch ended it.
bool copy_pages(SQLite::Database& from, const fs::path& to, const Watch& watch) {
  SQLite::Database copy(utf8(to), SQLite::OPEN_READWRITE | SQLite::OPEN_NOMUTEX);
  copy.exec("pragma synchronous = off");  // It is synced whole, before it gets its name.
  copy.exec("pragma journal_mode = off");
  struct Finish {
    void operator()(sqlite3_backup* backup) const noexcept { sqlite3_backup_finish(backup); }
  };
  const std::unique_ptr<sqlite3_backup, Finish> backup(
      sqlite3_backup_init(copy.getHandle(), "main", from.getHandle(), "main"));
  if (!backup) throw SQLite::Exception(copy.getHandle());
  constexpr int pages_a_step = 2'048;
  for (;;) {
    const int rc = sqlite3_backup_step(backup.get(), pages_a_step);
    if (rc == SQLITE_DONE) return true;
    if (rc != SQLITE_OK) throw SQLite::Exception(copy.getHandle(), rc);
    const std::int64_t total = sqlite3_backup_pagecount(backup.get());
    if (watch && !watch(total - sqlite3_backup_remaining(backup.get()), total)) return false;
  }
}

/// What SQLite's check says but for `ok`.
std::vector<std::string> damage(SQLite::Database& db) {
  std::vector<std::string> lines;
  Query query(db, "pragma quick_check(20)");
  while (query.step()) {
    auto line = query.column<std::string>(0);
    if (line != "ok") lines.push_back(std::move(line));
  }
  return lines;
}

[[noreturn]] void copy_is_wrong(const std::string& why) {
  throw Failure{Code::corrupt, "the copy is not right and was removed: " + why};
}

/// What the copy holds; throws where it is not what the snapshot is. Nothing where the watch ended
/// it.
std::optional<BackupReport> verified(SQLite::Database& original, const fs::path& path,
                                     const Options& options, const Watch& watch) {
  SQLite::Database copy = connect(path, options, false);
  const auto audit = audit_of(copy, watch);
  if (!audit) return std::nullopt;
  if (!audit->findings.empty()) copy_is_wrong(audit->findings.front().detail);
  const std::vector<Uuid> users = users_of(original);
  const auto here = digests_of(original, users);
  const auto there = digests_of(copy, users);
  if (here != there || users_of(copy) != users) copy_is_wrong("its rows are not the mirror's");
  return BackupReport{static_cast<std::int64_t>(fs::file_size(path)), audit->users, audit->entries,
                      audit->jobs};
}

int pragma_number(SQLite::Database& db, const char* pragma) {
  Query query(db, pragma);
  return query.step() ? query.column<int>(0) : 0;
}

std::int64_t size_of(const fs::path& path) {
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  return error ? 0 : static_cast<std::int64_t>(bytes);
}

}  // namespace

Result<std::optional<BackupReport>> Engine::backup(const fs::path& to,
                                                   const BackupOptions& options) const noexcept {
  try {
    check_target(impl_->path(), to, options.replace);
    const Draft draft(to);
    Impl::Reader reader(*impl_);
    users_of(reader.db());  // From here on the reader sees one snapshot.
    if (!copy_pages(reader.db(), draft.path(), options.watch)) return std::optional<BackupReport>{};
    const auto report = verified(reader.db(), draft.path(), impl_->options(),
                                 options.audit_watch ? options.audit_watch : options.watch);
    if (!report) return report;
    check_target(impl_->path(), to, options.replace);
    draft.publish();
    return report;
  } catch (...) {
    return error_in_flight();
  }
}

Result<MirrorFile> Engine::examine(const fs::path& path) noexcept {
  try {
    if (!fs::exists(path)) return Error{Code::not_found, "there is no file " + utf8(path)};
    if (!fs::is_regular_file(path)) return Error{Code::io, utf8(path) + " is no file"};
    const OpenMirror open(path);
    MirrorFile file;
    file.bytes = size_of(path);
    file.wal_bytes = size_of(beside(path, "-wal"));
    constexpr int busy_ms = 10'000;
    SQLite::Database db(utf8(path), SQLite::OPEN_READWRITE | SQLite::OPEN_NOMUTEX, busy_ms);
    file.schema = pragma_number(db, "pragma user_version");
    const int application = pragma_number(db, "pragma application_id");
    file.is_mirror = application == application_id;
    file.is_empty = application == 0 && file.schema == 0 &&
                    pragma_number(db, "select count(*) from sqlite_schema") == 0;
    try {
      file.damage = damage(db);
    } catch (const SQLite::Exception& e) {
      file.damage.emplace_back(e.what());
    }
    return file;
  } catch (...) {
    return error_in_flight();
  }
}

}  // namespace tally
