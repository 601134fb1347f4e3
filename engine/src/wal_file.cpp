#include "wal_file.hpp"

#include <SQLiteCpp/Exception.h>

#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "mirror.hpp"
#include "platform.hpp"

namespace tally {
namespace {

/// Bytes; a larger commit is written in such pieces. SQLite's own files take no more at once.
constexpr int gathered_max = (1 << 17) - 1;

/// SQLite gives the memory, for this and, behind it, for the default VFS's file.
struct WalFile : sqlite3_file {
  sqlite3_file* base;
  std::unique_ptr<char[]> bytes;  ///< Null until it first gathers.
  sqlite3_int64 offset;           ///< Where they go.
  int size;                       ///< How many are gathered.
  bool gathers;

  /// Whether these bytes are kept for later.
  bool take(const void* data, int amount, sqlite3_int64 at) noexcept {
    if (!gathers || bytes == nullptr || size + amount > gathered_max) return false;
    if (size > 0 && at != offset + size) return false;
    if (size == 0) offset = at;
    std::memcpy(bytes.get() + size, data, static_cast<std::size_t>(amount));
    size += amount;
    return true;
  }
  int write_gathered() noexcept {
    const int amount = size;
    size = 0;  // Where it fails the commit does, and they are nobody's.
    return amount == 0 ? SQLITE_OK : base->pMethods->xWrite(base, bytes.get(), amount, offset);
  }
};
WalFile& as_wal(sqlite3_file* file) noexcept { return static_cast<WalFile&>(*file); }

int close_wal(sqlite3_file* file) {
  WalFile& wal = as_wal(file);
  const int rc = wal.base->pMethods->xClose(wal.base);
  wal.~WalFile();
  return rc;
}
int write_wal(sqlite3_file* file, const void* data, int amount, sqlite3_int64 at) {
  WalFile& wal = as_wal(file);
  if (wal.take(data, amount, at)) return SQLITE_OK;
  const int rc = wal.write_gathered();
  if (rc != SQLITE_OK || wal.take(data, amount, at)) return rc;
  return wal.base->pMethods->xWrite(wal.base, data, amount, at);
}
/// Calls the default VFS's file, on which all that was gathered is first.
template <class... Args>
int pass(sqlite3_file* file, int (*sqlite3_io_methods::*method)(sqlite3_file*, Args...),
         Args... args) {
  WalFile& wal = as_wal(file);
  const int rc = wal.write_gathered();
  return rc != SQLITE_OK ? rc : (wal.base->pMethods->*method)(wal.base, args...);
}

const sqlite3_io_methods wal_methods = [] {
  sqlite3_io_methods methods{};
  methods.iVersion = 1;
  methods.xClose = close_wal;
  methods.xWrite = write_wal;
  methods.xRead = [](sqlite3_file* file, void* out, int amount, sqlite3_int64 at) {
    return pass(file, &sqlite3_io_methods::xRead, out, amount, at);
  };
  methods.xTruncate = [](sqlite3_file* file, sqlite3_int64 size) {
    return pass(file, &sqlite3_io_methods::xTruncate, size);
  };
  methods.xSync = [](sqlite3_file* file, int flags) {
    return pass(file, &sqlite3_io_methods::xSync, flags);
  };
  methods.xFileSize = [](sqlite3_file* file, sqlite3_int64* out) {
    return pass(file, &sqlite3_io_methods::xFileSize, out);
  };
  methods.xLock = [](sqlite3_file* file, int level) {
    return pass(file, &sqlite3_io_methods::xLock, level);
  };
  methods.xUnlock = [](sqlite3_file* file, int level) {
    return pass(file, &sqlite3_io_methods::xUnlock, level);
  };
  methods.xCheckReservedLock = [](sqlite3_file* file, int* out) {
    return pass(file, &sqlite3_io_methods::xCheckReservedLock, out);
  };
  methods.xFileControl = [](sqlite3_file* file, int what, void* argument) {
    return pass(file, &sqlite3_io_methods::xFileControl, what, argument);
  };
  methods.xSectorSize = [](sqlite3_file* file) {
    return as_wal(file).base->pMethods->xSectorSize(as_wal(file).base);
  };
  methods.xDeviceCharacteristics = [](sqlite3_file* file) {
    return as_wal(file).base->pMethods->xDeviceCharacteristics(as_wal(file).base);
  };
  return methods;
}();

int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* flags_out);

/// The default VFS with another way to open files.
struct GatheringVfs : sqlite3_vfs {
  sqlite3_vfs* base;
  GatheringVfs() : sqlite3_vfs(*sqlite3_vfs_find(nullptr)), base(sqlite3_vfs_find(nullptr)) {
    szOsFile += static_cast<int>(sizeof(WalFile));
    pNext = nullptr;
    zName = gathering_vfs;
    xOpen = open_file;
  }
};

/// Makes the WAL and, of the name that SQLite will give it, the WAL-index, their owner's alone.
[[maybe_unused]] void make_companions(const char* wal_name) noexcept {
  try {
    std::string name(wal_name);
    platform::create_private_file(from_utf8(name));
    name.replace(name.size() - 4, 4, "-shm");
    platform::create_private_file(from_utf8(name));
  } catch (const std::exception&) {
    // SQLite opens them next, and says what is wrong.
  }
}

int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* flags_out) {
  sqlite3_vfs* const base = static_cast<GatheringVfs*>(vfs)->base;
  if ((flags & SQLITE_OPEN_WAL) == 0) return base->xOpen(base, name, file, flags, flags_out);
  if constexpr (!platform::companions_have_the_rights_of_the_file) make_companions(name);
  auto* const wal = new (static_cast<void*>(file)) WalFile{};
  wal->base = reinterpret_cast<sqlite3_file*>(reinterpret_cast<char*>(file) + sizeof(WalFile));
  const int rc = base->xOpen(base, name, wal->base, flags, flags_out);
  // Without methods SQLite does not close it.
  if (wal->base->pMethods != nullptr) wal->pMethods = &wal_methods;
  return rc;
}

}  // namespace

void add_gathering_vfs() {
  static GatheringVfs vfs;
  static const int rc = sqlite3_vfs_register(&vfs, 0);
  if (rc != SQLITE_OK) throw SQLite::Exception("SQLite takes no VFS", rc);
}

GatheredCommit::GatheredCommit(sqlite3* db, bool full) noexcept {
  sqlite3_file* wal = full ? opened_wal(db) : nullptr;
  if (wal == nullptr || wal->pMethods != &wal_methods) return;
  // Else SQLite fills the sector up behind the sync, with pages that are shown with the others.
  if ((wal_methods.xDeviceCharacteristics(wal) & SQLITE_IOCAP_POWERSAFE_OVERWRITE) == 0) return;
  wal_ = wal;
  WalFile& file = as_wal(wal_);
  if (file.bytes == nullptr) file.bytes.reset(new (std::nothrow) char[gathered_max]);
  file.gathers = true;
}

GatheredCommit::~GatheredCommit() {
  if (wal_ == nullptr) return;
  as_wal(wal_).gathers = false;
  as_wal(wal_).size = 0;
}

}  // namespace tally
