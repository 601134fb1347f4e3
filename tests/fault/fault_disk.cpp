#include "fault/fault_disk.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>

#include "fault/faulty_memory.hpp"
#include "support/folder.hpp"

namespace tally::test {
namespace {

using Call = FaultDisk::Call;

constexpr int sector_bytes = 512;
constexpr int wal_write_lock = 0;  // Of the WAL-index's locks, by SQLite's file format.

/// SQLite gives the memory, for this and, behind it, for the real VFS's file.
struct DiskFile : sqlite3_file {
  sqlite3_file* base;
  std::string name;
  bool is_database;
  bool is_kept;  ///< A power cut is to be survived by it.
};
DiskFile& as_disk(sqlite3_file* file) { return static_cast<DiskFile&>(*file); }

/// Calls the real file's method, unless the disk answers with an error.
template <Call call, auto method, class... Args>
int ask(sqlite3_file* file, Args... args) {
  const int error = FaultDisk::get().answer(call);
  if (error != SQLITE_OK) return error;
  sqlite3_file* const base = as_disk(file).base;
  return (base->pMethods->*method)(base, args...);
}
template <auto method, class... Args>
auto pass(sqlite3_file* file, Args... args) {
  sqlite3_file* const base = as_disk(file).base;
  return (base->pMethods->*method)(base, args...);
}

int close_file(sqlite3_file* file) {
  DiskFile& disk = as_disk(file);
  const int rc = disk.base->pMethods->xClose(disk.base);
  disk.~DiskFile();
  return rc;
}

int write_file(sqlite3_file* file, const void* data, int amount, sqlite3_int64 at) {
  const DiskFile& disk = as_disk(file);
  int error = FaultDisk::get().answer(Call::write);
  if (error == SQLITE_OK && disk.is_database) error = FaultDisk::get().answer_database_write();
  if (error != SQLITE_OK) return error;
  if (disk.is_kept) FaultDisk::get().wrote(disk.name, data, amount, at);
  return disk.base->pMethods->xWrite(disk.base, data, amount, at);
}

int truncate_file(sqlite3_file* file, sqlite3_int64 size) {
  const DiskFile& disk = as_disk(file);
  const int error = FaultDisk::get().answer(Call::truncate);
  if (error != SQLITE_OK) return error;
  if (disk.is_kept) FaultDisk::get().truncated(disk.name, size);
  return disk.base->pMethods->xTruncate(disk.base, size);
}

/// The machine's own disk need not be waited for: what is synced is known here.
int sync_file(sqlite3_file* file, int) {
  const DiskFile& disk = as_disk(file);
  const int error = FaultDisk::get().answer(Call::sync);
  if (error == SQLITE_OK && disk.is_kept) FaultDisk::get().synced(disk.name);
  return error;
}

const sqlite3_io_methods disk_methods = [] {
  using M = sqlite3_io_methods;
  M methods{};
  methods.iVersion = 2;  // Without memory-mapped reads, which no VFS sees.
  methods.xClose = close_file;
  methods.xRead = ask<Call::read, &M::xRead, void*, int, sqlite3_int64>;
  methods.xWrite = write_file;
  methods.xTruncate = truncate_file;
  methods.xSync = sync_file;
  methods.xFileSize = pass<&M::xFileSize, sqlite3_int64*>;
  methods.xLock = ask<Call::lock, &M::xLock, int>;
  methods.xUnlock = pass<&M::xUnlock, int>;
  methods.xCheckReservedLock = pass<&M::xCheckReservedLock, int*>;
  methods.xFileControl = pass<&M::xFileControl, int, void*>;
  methods.xSectorSize = [](sqlite3_file*) { return sector_bytes; };
  methods.xDeviceCharacteristics = pass<&M::xDeviceCharacteristics>;
  methods.xShmMap = ask<Call::shm_map, &M::xShmMap, int, int, int, void volatile**>;
  // Giving a lock back cannot fail.
  methods.xShmLock = [](sqlite3_file* file, int offset, int n, int flags) {
    if ((flags & SQLITE_SHM_UNLOCK) != 0) {
      const int rc = pass<&M::xShmLock>(file, offset, n, flags);
      if (offset == wal_write_lock) FaultDisk::get().gave_write_lock_back();
      return rc;
    }
    return ask<Call::shm_lock, &M::xShmLock>(file, offset, n, flags);
  };
  methods.xShmBarrier = pass<&M::xShmBarrier>;
  methods.xShmUnmap = pass<&M::xShmUnmap, int>;
  return methods;
}();

struct DiskVfs : sqlite3_vfs {
  sqlite3_vfs* base;
  DiskVfs() : sqlite3_vfs(*sqlite3_vfs_find(nullptr)), base(sqlite3_vfs_find(nullptr)) {
    szOsFile += static_cast<int>(sizeof(DiskFile));
    pNext = nullptr;
    zName = "tally-fault";
    xOpen = [](sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* flags_out) {
      sqlite3_vfs* const real = static_cast<DiskVfs*>(vfs)->base;
      const int error = FaultDisk::get().answer(Call::open);
      file->pMethods = nullptr;
      if (error != SQLITE_OK) return error;
      auto* const disk = new (static_cast<void*>(file)) DiskFile{};
      disk->base =
          reinterpret_cast<sqlite3_file*>(reinterpret_cast<char*>(file) + sizeof(DiskFile));
      {
        const FaultyMemory::Reprieve reprieve;
        disk->name = name == nullptr ? "" : name;
      }
      disk->is_database = (flags & SQLITE_OPEN_MAIN_DB) != 0;
      disk->is_kept = disk->is_database || (flags & SQLITE_OPEN_WAL) != 0;
      const int rc = real->xOpen(real, name, disk->base, flags, flags_out);
      if (disk->base->pMethods == nullptr) {
        disk->~DiskFile();
        file->pMethods = nullptr;
      } else {
        disk->pMethods = &disk_methods;
        if (rc == SQLITE_OK && disk->is_kept) FaultDisk::get().opened(disk->name);
      }
      return rc;
    };
    xDelete = [](sqlite3_vfs* vfs, const char* name, int sync) {
      sqlite3_vfs* const real = static_cast<DiskVfs*>(vfs)->base;
      const int error = FaultDisk::get().answer(Call::remove);
      if (error != SQLITE_OK) return error;
      FaultDisk::get().removed(name);
      return real->xDelete(real, name, sync);
    };
  }
};

bool is_in(const std::string& name, const std::filesystem::path& folder) {
  return std::filesystem::path(name).parent_path() == folder;
}

}  // namespace

const char* FaultDisk::name_of(Call call) {
  constexpr const char* names[] = {"open", "read",    "write",    "sync",  "truncate",
                                   "lock", "shm_map", "shm_lock", "remove"};
  return names[static_cast<std::size_t>(call)];
}

int FaultDisk::error_of(Call call) {
  constexpr int errors[] = {SQLITE_CANTOPEN,     SQLITE_IOERR_READ,     SQLITE_IOERR_WRITE,
                            SQLITE_IOERR_FSYNC,  SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_LOCK,
                            SQLITE_IOERR_SHMMAP, SQLITE_IOERR_SHMLOCK,  SQLITE_IOERR_DELETE};
  return errors[static_cast<std::size_t>(call)];
}

FaultDisk& FaultDisk::get() {
  // Files may be closed by whatever ends last, so neither ever ends.
  static FaultDisk* const disk = new FaultDisk;
  static const int registered = [] {
    if (sqlite3_initialize() != SQLITE_OK) std::abort();
    return sqlite3_vfs_register(new DiskVfs, 1);
  }();
  if (registered != SQLITE_OK) std::abort();
  return *disk;
}

void FaultDisk::fail(Call call, int nth, int error, bool stays) {
  const std::lock_guard lock(mutex_);
  counts_ = {};
  failing_ = call;
  nth_ = nth;
  error_ = error;
  stays_ = stays;
  has_failed_ = false;
}

void FaultDisk::heal() {
  const std::lock_guard lock(mutex_);
  failing_.reset();
  database_error_ = SQLITE_OK;
  counts_ = {};
}

void FaultDisk::fail_database_writes(int error) {
  const std::lock_guard lock(mutex_);
  database_error_ = error;
  has_failed_ = false;
}

void FaultDisk::at_commit(std::function<void()> stop) {
  const std::lock_guard lock(mutex_);
  at_commit_ = std::move(stop);
}

void FaultDisk::gave_write_lock_back() {
  std::function<void()> stop;
  {
    const std::lock_guard lock(mutex_);
    stop.swap(at_commit_);
  }
  if (stop) stop();
}

int FaultDisk::answer_database_write() {
  const std::lock_guard lock(mutex_);
  has_failed_ = has_failed_ || database_error_ != SQLITE_OK;
  return database_error_;
}

bool FaultDisk::has_failed() const {
  const std::lock_guard lock(mutex_);
  return has_failed_;
}

int FaultDisk::count(Call call) const {
  const std::lock_guard lock(mutex_);
  return counts_[static_cast<std::size_t>(call)];
}

int FaultDisk::answer(Call call) {
  const std::lock_guard lock(mutex_);
  const int count = ++counts_[static_cast<std::size_t>(call)];
  if (failing_ != call || count < nth_ || (count > nth_ && !stays_)) return SQLITE_OK;
  has_failed_ = true;
  return error_;
}

// ---- power cuts -------------------------------------------------------------------------------

void FaultDisk::remember() {
  const std::lock_guard lock(mutex_);
  files_.clear();
  changes_ = 0;
  cut_at_ = 0;
  remembers_ = true;
}

void FaultDisk::forget() {
  const std::lock_guard lock(mutex_);
  remembers_ = false;
  cut_ = nullptr;
  files_.clear();
}

void FaultDisk::cut_power_at(int nth, std::uint64_t seed, std::function<void(Image)> cut) {
  const std::lock_guard lock(mutex_);
  changes_ = 0;
  cut_at_ = nth;
  random_.seed(seed);
  cut_ = std::move(cut);
}

int FaultDisk::changes() const {
  const std::lock_guard lock(mutex_);
  return changes_;
}

void FaultDisk::count_change() {
  if (++changes_ != cut_at_ || !cut_) return;
  cut_(image());
}

void FaultDisk::apply(std::string& content, const Change& change) {
  const auto at = static_cast<std::size_t>(change.at);
  if (!change.data) {
    content.resize(at);
    return;
  }
  if (content.size() < at + change.data->size()) content.resize(at + change.data->size());
  std::memcpy(content.data() + at, change.data->data(), change.data->size());
}

/// Each pending sector has come to the disk or has not; now and then all of them, or none.
FaultDisk::Image FaultDisk::image() {
  Image image;
  const std::uint64_t kept_of_4 = random_() % 5;
  for (const auto& [name, file] : files_) {
    std::string content = file.synced;
    for (const Change& change : file.pending) {
      if (random_() % 4 < kept_of_4) apply(content, change);
    }
    image[name] = std::move(content);
  }
  return image;
}

FaultDisk::Image FaultDisk::image_of(const std::filesystem::path& folder, std::uint64_t seed) {
  const std::lock_guard lock(mutex_);
  random_.seed(seed);
  return within(image(), folder);
}

void FaultDisk::forget_files(const std::filesystem::path& folder) {
  const std::lock_guard lock(mutex_);
  std::erase_if(files_, [&](const auto& file) { return is_in(file.first, folder); });
}

void FaultDisk::opened(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (!remembers_ || files_.contains(name)) return;
  files_[name].synced = bytes_of(name);
}

void FaultDisk::wrote(const std::string& name, const void* data, int amount, std::int64_t at) {
  const std::lock_guard lock(mutex_);
  if (!remembers_) return;
  File& file = files_[name];
  const auto* bytes = static_cast<const char*>(data);
  while (amount > 0) {
    const int piece = std::min<int>(amount, sector_bytes - static_cast<int>(at % sector_bytes));
    file.pending.push_back({at, std::string(bytes, static_cast<std::size_t>(piece))});
    bytes += piece;
    at += piece;
    amount -= piece;
  }
  count_change();
}

void FaultDisk::truncated(const std::string& name, std::int64_t size) {
  const std::lock_guard lock(mutex_);
  if (!remembers_) return;
  files_[name].pending.push_back({size, std::nullopt});
  count_change();
}

void FaultDisk::synced(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (!remembers_) return;
  count_change();
  File& file = files_[name];
  for (const Change& change : file.pending) apply(file.synced, change);
  file.pending.clear();
}

void FaultDisk::removed(const char* name) {
  const std::lock_guard lock(mutex_);
  if (!remembers_) return;
  files_.erase(name);
}

FaultDisk::Image within(const FaultDisk::Image& image, const std::filesystem::path& folder) {
  FaultDisk::Image found;
  for (const auto& [name, content] : image) {
    if (is_in(name, folder)) found[name] = content;
  }
  return found;
}

std::filesystem::path put(const FaultDisk::Image& image, const std::filesystem::path& folder) {
  std::filesystem::path mirror;
  for (const auto& [name, content] : image) {
    const auto path = folder / std::filesystem::path(name).filename();
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    if (!name.ends_with("-wal")) mirror = path;
  }
  return mirror;
}

}  // namespace tally::test
