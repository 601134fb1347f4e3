#pragma once
// What only an operating system has: random bytes, and files that are their owner's alone.

#include <atomic>
#include <cstddef>
#include <filesystem>

namespace tally::platform {

/// Fills with random bytes from the system's generator; throws std::system_error.
void random_bytes(void* out, std::size_t size);

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

/// An exclusive lock on a file, which the system gives back when the process ends, however it ends.
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
  bool held() const noexcept { return handle_ >= 0; }

 private:
  int handle_ = -1;
};

}  // namespace tally::platform
