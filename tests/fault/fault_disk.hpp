#pragma once
// A disk that fails when it is told to: a VFS under SQLite's, the default one of this program. Any
// call can answer with an error; and it knows what was written and not yet synced, so that it can
// say what a power cut at any call would have left.

#include <sqlite3.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace tally::test {

/// Thread-safe, as VFSs have to be.
class FaultDisk {
 public:
  enum class Call : std::uint8_t {
    open,
    read,
    write,
    sync,
    truncate,
    lock,
    shm_map,
    shm_lock,
    remove
  };
  static constexpr std::array calls{Call::open,    Call::read,     Call::write,
                                    Call::sync,    Call::truncate, Call::lock,
                                    Call::shm_map, Call::shm_lock, Call::remove};
  static constexpr int disk_full = SQLITE_FULL;
  static const char* name_of(Call call);
  /// The error that SQLite expects of such a call when the disk is bad.
  static int error_of(Call call);

  /// Registers it the first time; before any engine opens.
  static FaultDisk& get();

  /// The n-th such call from now on (from 1) answers with that error; where it `stays`, those
  /// behind it, too.
  void fail(Call call, int nth, int error, bool stays);
  /// Every write to the database itself, which is what moving the WAL does, answers with that.
  void fail_database_writes(int error);
  /// Whether one did since then.
  bool has_failed() const;
  /// How many such calls there were since fail() or heal().
  int count(Call call) const;
  void heal();

  /// Called once, when a commit next is in the file and its caller does not know it yet.
  void at_commit(std::function<void()> stop);

  /// What a power cut leaves, file by file.
  using Image = std::map<std::string, std::string>;
  /// Begins to remember what is synced; files that are open already are not looked at.
  void remember();
  /// At the n-th write, sync or truncation from now on (from 1), before it is done in full, calls
  /// `cut` with what is on the disk then: all that was synced, and any of the sectors that were
  /// not.
  void cut_power_at(int nth, std::uint64_t seed, std::function<void(Image)> cut);
  /// What one now would leave of the files in that folder.
  Image image_of(const std::filesystem::path& folder, std::uint64_t seed);
  /// They are another's now, or somebody else wrote them: looked at anew when they are opened.
  void forget_files(const std::filesystem::path& folder);
  /// How many of these calls there were since then.
  int changes() const;
  void forget();

  // For the VFS.
  int answer(Call call);
  int answer_database_write();
  void opened(const std::string& name);
  void wrote(const std::string& name, const void* data, int amount, std::int64_t at);
  void truncated(const std::string& name, std::int64_t size);
  void synced(const std::string& name);
  void removed(const char* name);
  void gave_write_lock_back();
  bool remembers() const { return remembers_; }

 private:
  /// A write of at most a sector, or a truncation (`data` is nothing).
  struct Change {
    std::int64_t at;
    std::optional<std::string> data;
  };
  struct File {
    std::string synced;
    std::vector<Change> pending;
  };
  static void apply(std::string& content, const Change& change);
  void count_change();
  Image image();

  mutable std::mutex mutex_;
  std::array<int, calls.size()> counts_{};
  std::optional<Call> failing_;
  int nth_ = 0;
  int error_ = 0;
  bool stays_ = false;
  bool has_failed_ = false;
  int database_error_ = 0;

  bool remembers_ = false;
  std::map<std::string, File> files_;
  int changes_ = 0;
  int cut_at_ = 0;
  std::mt19937_64 random_;
  std::function<void(Image)> cut_;
  std::function<void()> at_commit_;
};

/// Those of its files that are in that folder.
FaultDisk::Image within(const FaultDisk::Image& image, const std::filesystem::path& folder);
/// Writes an image into a folder under the files' own names; the mirror's path there.
std::filesystem::path put(const FaultDisk::Image& image, const std::filesystem::path& folder);

}  // namespace tally::test
