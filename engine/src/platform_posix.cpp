#include <fcntl.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

#include <atomic>
#include <cerrno>
#include <mutex>
#include <system_error>

#include "platform.hpp"

namespace tally::platform {

void random_bytes(void* out, std::size_t size) {
  auto* at = static_cast<unsigned char*>(out);
  while (size > 0) {
    const ssize_t n = getrandom(at, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw std::system_error(errno, std::generic_category(), "no random bytes");
    at += n;
    size -= static_cast<std::size_t>(n);
  }
}

Sha256 sha256(std::string_view bytes) {
  Sha256 hash{};
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), hash.data());
  return hash;
}

unsigned forks() noexcept {
  static std::atomic<unsigned> count{0};
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { count.fetch_add(1, std::memory_order_relaxed); });
  // Where it could not be noted (out of memory), every look is one at a new process.
  if (registered != 0) count.fetch_add(1, std::memory_order_relaxed);
  return count.load(std::memory_order_relaxed);
}

void prefer_large_pages(void* memory, std::size_t bytes) noexcept {
#ifdef MADV_HUGEPAGE
  (void)madvise(memory, bytes, MADV_HUGEPAGE);  // Refused, it is memory all the same.
#else
  (void)memory;
  (void)bytes;
#endif
}

#ifdef __linux__
namespace {
long futex(const std::atomic<int>& address, int what, int value) noexcept {
  static_assert(sizeof(address) == sizeof(int) && std::atomic<int>::is_always_lock_free);
  return syscall(SYS_futex, &address, what | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr, 0);
}
}  // namespace
void sleep_on(const std::atomic<int>& address, int value) noexcept {
  (void)futex(address, FUTEX_WAIT, value);  // Whatever it says, the caller looks again.
}
void wake_one(const std::atomic<int>& address) noexcept { (void)futex(address, FUTEX_WAKE, 1); }
#else
void sleep_on(const std::atomic<int>& address, int value) noexcept { address.wait(value); }
void wake_one(const std::atomic<int>& address) noexcept {
  const_cast<std::atomic<int>&>(address).notify_one();
}
#endif

bool create_private_file(const std::filesystem::path& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 && errno == EEXIST) return false;
  if (fd < 0) throw std::system_error(errno, std::generic_category(), path.string());
  close(fd);
  return true;
}

namespace {
/// A file or a folder.
void sync_path(const std::filesystem::path& path, int flags) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC);
  const bool synced = fd >= 0 && fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  if (!synced) throw std::system_error(error, std::generic_category(), path.string());
}
}  // namespace

void sync_file(const std::filesystem::path& path) { sync_path(path, O_RDWR); }

void rename_synced(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::filesystem::rename(from, to);
  const std::filesystem::path folder = to.parent_path();
  sync_path(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY);
}

/// A forked child has every open file of its parent's, and a lock is the open file's: until the
/// last of the two has closed it, it is held. So the child closes what its parent holds at once.
class HeldLocks {
 public:
  /// Excludes a fork, and everybody else.
  static std::unique_lock<std::mutex> guard() {
    static const int registered = pthread_atfork([] { mutex().lock(); }, [] { mutex().unlock(); },
                                                 [] {
                                                   close_all();
                                                   mutex().unlock();
                                                 });
    if (registered != 0)
      throw std::system_error(registered, std::generic_category(), "no handler for forks");
    return std::unique_lock(mutex());
  }
  static void add(FileLock& lock) noexcept {
    lock.next_ = first_;
    first_ = &lock;
  }
  static void remove(FileLock& lock) noexcept {
    FileLock** at = &first_;
    while (*at != &lock) at = &(*at)->next_;
    *at = lock.next_;
  }

 private:
  /// Never destroyed: a host may fork as late as it likes.
  static std::mutex& mutex() {
    static std::mutex& one = *new std::mutex;
    return one;
  }
  /// Allocates nothing: another thread may have been at it when the process was forked.
  static void close_all() noexcept {
    for (FileLock* lock = first_; lock != nullptr; lock = lock->next_) {
      close(static_cast<int>(lock->handle_));
      lock->handle_ = FileLock::none;
    }
    first_ = nullptr;
  }

  static FileLock* first_;
};
FileLock* HeldLocks::first_ = nullptr;

bool FileLock::try_take(const std::filesystem::path& path) {
  const auto guard = HeldLocks::guard();
  if (held()) return true;
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), path.string());
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
    handle_ = fd;
    HeldLocks::add(*this);
    return true;
  }
  const int error = errno;
  close(fd);
  if (error == EWOULDBLOCK) return false;
  throw std::system_error(error, std::generic_category(), path.string());
}

void FileLock::release() noexcept {
  if (!held()) return;
  const auto guard = HeldLocks::guard();
  HeldLocks::remove(*this);
  // A child that was made without the C library's fork() may have it open still.
  (void)flock(static_cast<int>(handle_), LOCK_UN);
  close(static_cast<int>(handle_));
  handle_ = none;
}

}  // namespace tally::platform
