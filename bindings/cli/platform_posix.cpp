#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <system_error>

#include "platform.hpp"

namespace tally::cli {

bool is_terminal_input() { return isatty(STDIN_FILENO) == 1; }
bool is_terminal_output() { return isatty(STDOUT_FILENO) == 1; }
bool is_terminal_error() { return isatty(STDERR_FILENO) == 1; }

std::size_t terminal_columns() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

void report_closed_outputs() { std::signal(SIGPIPE, SIG_IGN); }

namespace {
volatile std::sig_atomic_t end_asked = 0;
}

void listen_for_the_end() {
  struct sigaction action {};
  action.sa_handler = [](int) { end_asked = 1; };
  // What is being written goes on; a wait ends all the same.
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}
bool end_is_asked() { return end_asked != 0; }

void wait_for_socket(int socket, bool readable, bool writable, std::chrono::milliseconds timeout) {
  pollfd asked{};
  asked.fd = socket;
  asked.events = static_cast<short>((readable ? POLLIN : 0) | (writable ? POLLOUT : 0));
  poll(&asked, socket < 0 ? 0 : 1, static_cast<int>(timeout.count()));
}

bool may_write(const std::filesystem::path& path) {
  const bool is_folder = std::filesystem::is_directory(path);
  return access(path.c_str(), is_folder ? W_OK | X_OK : W_OK) == 0;
}

std::optional<long> process_that_has_open(const std::filesystem::path& mirror) {
  // SQLite holds a shared lock on one byte of the WAL-index for as long as a connection is open.
  std::filesystem::path index = mirror;
  const int fd = open((index += "-shm").c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  constexpr off_t connected = 128;  // UNIX_SHM_DMS
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = connected;
  lock.l_len = 1;
  const bool asked = fcntl(fd, F_GETLK, &lock) == 0;
  close(fd);
  if (!asked || lock.l_type == F_UNLCK) return std::nullopt;
  return lock.l_pid;
}

std::filesystem::path make_temporary_folder(const char* name) {
  std::string path = (std::filesystem::temp_directory_path() / name).string() + "-XXXXXX";
  if (mkdtemp(path.data()) == nullptr)
    throw std::system_error(errno, std::generic_category(), "cannot make a temporary folder");
  return path;
}

}  // namespace tally::cli
