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
  action.sa_flags = static_cast<int>(SA_RESETHAND);
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

std::filesystem::path make_temporary_folder(const char* name) {
  return make_temporary_folder_in(std::filesystem::temp_directory_path(), name);
}

std::filesystem::path make_temporary_folder_in(const std::filesystem::path& within,
                                               const char* name) {
  std::string path = (within / name).string() + "-XXXXXX";
  if (mkdtemp(path.data()) == nullptr)
    throw std::system_error(errno, std::generic_category(), "cannot make a temporary folder");
  return path;
}

}  // namespace tally::cli
