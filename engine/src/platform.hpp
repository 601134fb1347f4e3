#pragma once
// What only an operating system has: random bytes, and files that are their owner's alone. One file
// for each of them: platform_posix.cpp, platform_windows.cpp.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace tally::platform {

/// Fills with random bytes from the system's generator; throws std::system_error.
void random_bytes(void* out, std::size_t size);

using Sha256 = std::array<unsigned char, 32>;
/// By the system's own code where it has some (Windows), else by OpenSSL's.
Sha256 sha256(std::string_view bytes);

/// How often this process's line was forked: what must not be the same in two processes is made
/// anew where this has changed. Lock-free.
unsigned forks() noexcept;

/// The system may back it by large pages: random reads of a large table then find its pages
/// without looking for them. A wish, with no effect where it is not known. For memory aligned to
/// `large_page_bytes`.
constexpr std::size_t large_page_bytes = std::size_t{2} << 20U;
void prefer_large_pages(void* memory, std::size_t bytes) noexcept;

/// Sleeps until somebody wakes the address, unless the value is another by then; may wake without
/// cause. Unlike std::atomic's own wait it does not spin: with more threads than processors that
/// takes the time of those that work.
void sleep_on(const std::atomic<int>& address, int value) noexcept;
/// Wakes one that sleeps on it. Nothing is read there: it may be gone already.
void wake_one(const std::atomic<int>& address) noexcept;

/// Makes an empty file that only its owner can read or write; false where one is there already.
/// Throws std::system_error.
bool create_private_file(const std::filesystem::path& path);

/// Returns when what the file holds is on disk. Throws std::system_error.
void sync_file(const std::filesystem::path& path);
/// Gives the file that name, in one step, whatever had it before; on disk when it returns. Throws
/// std::system_error.
void rename_synced(const std::filesystem::path& from, const std::filesystem::path& to);

/// Whether SQLite gives the files beside the mirror (`-wal`, `-shm`) the mirror's own rights. Where
/// it does not, the folder says who may read them, and the engine makes them before SQLite does.
#if defined(_WIN32)
inline constexpr bool companions_have_the_rights_of_the_file = false;
#else
inline constexpr bool companions_have_the_rights_of_the_file = true;
#endif

/// An exclusive lock on a file, which the system gives back when the process ends, however it ends.
/// A child that is forked from it does not have it.
class FileLock {
 public:
  FileLock() = default;
  ~FileLock() { release(); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  /// Takes it without waiting; false where another holder has it. Makes the file where it is
  /// missing. Throws std::system_error.
  bool try_take(const std::filesystem::path& path);
  void release() noexcept;
  bool held() const noexcept { return handle_ != none; }

 private:
  static constexpr std::intptr_t none = -1;
  std::intptr_t handle_ = none;  ///< A descriptor, or a HANDLE.
  friend class HeldLocks;
  FileLock* next_ = nullptr;  ///< Of those that are held, where a process can be forked.
};

}  // namespace tally::platform
