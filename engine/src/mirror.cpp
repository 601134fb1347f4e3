#include "mirror.hpp"

#include <sqlite3.h>

#include <SQLiteCpp/Transaction.h>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "outbox.hpp"
#include "platform.hpp"
#include "sql/mirror.hpp"
#include "sqlite.hpp"
#include "wal_file.hpp"

namespace tally {
namespace {

int pragma_int(SQLite::Database& db, const char* name) {
  Query query(db, std::string("pragma ") + name);
  return query.step() ? query.column<int>(0) : 0;
}

struct FileState {
  int version;
  int application;
  bool empty;
};

FileState read_state(SQLite::Database& db) {
  Query objects(db, "select count(*) from sqlite_schema");
  objects.step();
  const bool empty = objects.column<int>(0) == 0;
  objects.reset();
  return {pragma_int(db, "user_version"), pragma_int(db, "application_id"), empty};
}

/// Throws where the file is another program's, or of a newer version.
void check_ours(const FileState& state, const std::filesystem::path& path, bool creates) {
  const bool untouched = state.empty && state.application == 0 && state.version == 0;
  if (untouched && !creates) {
    throw Failure{Code::corrupt, utf8(path) + " is empty, and no mirror"};
  }
  if (!untouched && (state.application != application_id || state.version < 1)) {
    throw Failure{Code::corrupt, utf8(path) + " is an SQLite file but no mirror"};
  }
  if (state.version > mirror_version) {
    throw Failure{Code::schema_too_new,
                  "the mirror has schema version " + std::to_string(state.version) +
                      ", this library knows " + std::to_string(mirror_version)};
  }
}

/// Throws where the file would have to be migrated first.
void check_current(const FileState& state, const std::filesystem::path& path) {
  if (state.version == mirror_version) return;
  throw Failure{Code::read_only, utf8(path) + " has the older schema version " +
                                     std::to_string(state.version) +
                                     ", which is migrated when it is opened for writing"};
}

/// From one version of the schema to this one's, within the caller's transaction.
void migrate(SQLite::Database& db, int version) {
  for (int v = version; v < mirror_version; ++v)
    db.exec(std::string(sql::mirror::files[static_cast<std::size_t>(v)].text));
  if (version == 1) write_counts(db);
}

/// SQLite does not wait for others who open the new file at the same time; we do.
void enter_wal(SQLite::Database& db, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const int rc = db.tryExec("pragma journal_mode = wal");
    if (rc == SQLITE_OK) return;
    if (rc != SQLITE_BUSY || std::chrono::steady_clock::now() >= deadline) {
      throw SQLite::Exception(db.getHandle(), rc);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

Code code_of(int sqlite_code) noexcept {
  switch (sqlite_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_INTERRUPT:
      return Code::busy;
    case SQLITE_FULL:
      return Code::full;
    case SQLITE_IOERR:
      return Code::io;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    // Our statements fit the schema of the file's version: one that they do not fit is not ours.
    case SQLITE_ERROR:
      return Code::corrupt;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      return Code::read_only;
    default:
      return Code::internal;
  }
}

sqlite3_file* opened(sqlite3* db, int which) noexcept {
  sqlite3_file* file = nullptr;
  if (sqlite3_file_control(db, "main", which, &file) != SQLITE_OK) return nullptr;
  return file == nullptr || file->pMethods == nullptr ? nullptr : file;
}

}  // namespace

// Versions from 3.7.0 to 3.51.2 can lose a committed transaction when two connections write and
// checkpoint at once; these have the fix.
bool sqlite_is_safe() noexcept {
  const int v = sqlite3_libversion_number();
  return v >= 3'051'003 || (v >= 3'050'007 && v < 3'051'000) || (v >= 3'044'006 && v < 3'045'000);
}

int mirror_schema() noexcept { return mirror_version; }

Error error_in_flight() noexcept {
  try {
    try {
      throw;
    } catch (const Failure& failure) {
      return {failure.code, failure.detail};
    } catch (const SQLite::Exception& e) {
      const Code code = code_of(e.getErrorCode());
      // Also where a row's damaged size is beyond what SQLite would ever allocate, and where rows
      // contradict each other.
      const bool may_be_damage =
          e.getErrorCode() == SQLITE_NOMEM || (e.getErrorCode() & 0xff) == SQLITE_CONSTRAINT;
      return {code, std::string("SQLite: ") + e.what() +
                        (may_be_damage ? ", or the file is damaged; an audit tells" : "")};
    } catch (const std::system_error& e) {
      const bool missing = e.code() == std::errc::no_such_file_or_directory;
      const bool denied =
          e.code() == std::errc::permission_denied || e.code() == std::errc::read_only_file_system;
      return {missing ? Code::not_found : denied ? Code::read_only : Code::io, e.what()};
    } catch (const std::bad_alloc&) {
      return {Code::internal, "out of memory"};
    } catch (const std::exception& e) {
      return {Code::internal, e.what()};
    }
  } catch (...) {
    return {Code::internal, {}};  // Even the text did not fit into memory.
  }
}

std::string utf8(const std::filesystem::path& path) {
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
}
std::filesystem::path from_utf8(std::string_view text) {
  return std::u8string(text.begin(), text.end());
}

SQLite::Database connect(const std::filesystem::path& path, const Options& options, bool writes) {
  const bool gathers = writes || !platform::companions_have_the_rights_of_the_file;
  if (gathers) add_gathering_vfs();
  const int mode = options.read_only ? SQLite::OPEN_READONLY : SQLite::OPEN_READWRITE;
  SQLite::Database db(utf8(path), mode | SQLite::OPEN_NOMUTEX,
                      static_cast<int>(options.busy_timeout.count()), gathers ? gathering_vfs : "");
  const bool full = options.durability == Durability::full;
  db.exec(full ? "pragma synchronous = full" : "pragma synchronous = normal");
  db.exec("pragma foreign_keys = on");
  db.exec("pragma trusted_schema = off");
  if (writes) db.exec("pragma cache_size = -" + std::to_string(options.cache_kib));
  return db;
}

void prepare_mirror(const std::filesystem::path& path, const Options& options) {
  if (!sqlite_is_safe()) {
    throw Failure{Code::sqlite_unsafe,
                  std::string("SQLite ") + sqlite3_libversion() +
                      " can lose committed work; build with the SQLite that the build "
                      "brings, or with 3.51.3 or later"};
  }
  const bool creates = options.create && !options.read_only;
  if (creates) {
    platform::create_private_file(path);
  } else if (!std::filesystem::exists(path)) {
    throw Failure{Code::not_found, "there is no mirror at " + utf8(path)};
  }
  SQLite::Database db = connect(path, options, false);
  // SQLite opens what it may only read all the same, and fails at the first write.
  if (!options.read_only && sqlite3_db_readonly(db.getHandle(), "main") != 0)
    throw Failure{Code::read_only, utf8(path) + " may only be read"};
  // Looked at before anything is changed, and once more under the lock: another process may have
  // migrated it while this one waited.
  const FileState before = read_state(db);
  check_ours(before, path, creates);
  if (options.read_only) return check_current(before, path);
  // Of a new mirror: a commit of one operation changes a few bytes on each of seven pages, and its
  // time is that of writing them. Large commits cost the same with either size.
  db.exec("pragma page_size = 2048");
  enter_wal(db, options.busy_timeout);
  if (read_state(db).version == mirror_version) return;
  SQLite::Transaction transaction(db, SQLite::TransactionBehavior::IMMEDIATE);
  const FileState state = read_state(db);
  check_ours(state, path, creates);
  if (state.version == mirror_version) return;
  migrate(db, state.version);
  db.exec("pragma application_id = " + std::to_string(application_id));
  db.exec("pragma user_version = " + std::to_string(mirror_version));
  transaction.commit();
}

SQLite::Database empty_mirror() {
  SQLite::Database db(":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  migrate(db, 0);
  return db;
}

sqlite3_file* opened_file(sqlite3* db) noexcept { return opened(db, SQLITE_FCNTL_FILE_POINTER); }
sqlite3_file* opened_wal(sqlite3* db) noexcept { return opened(db, SQLITE_FCNTL_JOURNAL_POINTER); }

void sync_wal(SQLite::Database& db) {
  sqlite3_file* wal = opened_wal(db.getHandle());
  if (wal == nullptr) return;
  sqlite3_int64 bytes = 0;
  int rc = wal->pMethods->xFileSize(wal, &bytes);
  if (rc == SQLITE_OK && bytes > 0) rc = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL);
  if (rc != SQLITE_OK) throw SQLite::Exception(db.getHandle(), rc);
}

ChangeWord::ChangeWord(SQLite::Database& db) {
  sqlite3_file* file = opened_file(db.getHandle());
  if (file == nullptr || file->pMethods->iVersion < 2) {
    throw Failure{Code::io, "this file system has no shared memory for the mirror"};
  }
  constexpr int region_bytes = 32'768;
  void volatile* region = nullptr;
  if (file->pMethods->xShmMap(file, 0, region_bytes, 0, &region) != SQLITE_OK ||
      region == nullptr) {
    throw Failure{Code::io, "the mirror's shared memory cannot be mapped"};
  }
  // SQLite maps it for the connection's life; the header's first copy starts the region, with the
  // change counter as its third word and the last frame's checksum as its seventh.
  words_ = static_cast<const std::atomic<std::uint32_t>*>(const_cast<const void*>(region));
}

}  // namespace tally
