#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <stdexcept>

#include "support/system.hpp"

namespace tally::test {

// ---- processes ----------------------------------------------------------------------------------

namespace {
int as_fd(std::intptr_t handle) { return static_cast<int>(handle); }

std::optional<std::uint64_t> read_value(std::intptr_t from) {
  std::array<char, 8> bytes{};
  std::size_t had = 0;
  while (had < bytes.size()) {
    const ssize_t n = ::read(as_fd(from), bytes.data() + had, bytes.size() - had);
    if (n <= 0) return std::nullopt;
    had += static_cast<std::size_t>(n);
  }
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data(), bytes.size());
  return value;
}
bool write_value(std::intptr_t to, std::uint64_t value) {
  return ::write(as_fd(to), &value, sizeof value) == static_cast<ssize_t>(sizeof value);
}
}  // namespace

bool ChildProcess::Pipes::wait() const { return read_value(in_).has_value(); }
void ChildProcess::Pipes::write(std::uint64_t value) const {
  if (!write_value(out_, value)) _exit(90);
}

ChildProcess::ChildProcess(Body body, const Given& given) {
  static_assert(killed == -SIGKILL);
  std::array<int, 2> down{};
  std::array<int, 2> up{};
  if (pipe2(down.data(), O_CLOEXEC) != 0 || pipe2(up.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error("no pipe");
  }
  std::cout.flush();  // Lest the child writes what is buffered once more.
  process_ = fork();
  if (process_ < 0) throw std::runtime_error("no child process");
  if (process_ == 0) {
    ::close(down[1]);
    ::close(up[0]);
    int status = 91;
    try {
      status = body(Pipes{down[0], up[1]}, given);
    } catch (...) {
    }
    _exit(status);
  }
  ::close(down[0]);
  ::close(up[1]);
  out_ = down[1];
  in_ = up[0];
}

ChildProcess::~ChildProcess() {
  if (process_ > 0) {
    kill_now();
    wait();
  }
  ::close(as_fd(in_));
  ::close(as_fd(out_));
}

void ChildProcess::go_on() const {
  if (!write_value(out_, 1)) throw std::runtime_error("the child process has gone");
}
std::optional<std::uint64_t> ChildProcess::read() const { return read_value(in_); }
void ChildProcess::kill_now() { ::kill(static_cast<pid_t>(process_), SIGKILL); }
int ChildProcess::wait() {
  int status = 0;
  if (waitpid(static_cast<pid_t>(process_), &status, 0) != process_) return -1000;
  process_ = none;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// ---- files --------------------------------------------------------------------------------------

EverybodysFolder::EverybodysFolder(const std::filesystem::path& folder) : before_(umask(0)) {
  std::filesystem::permissions(folder, std::filesystem::perms::all);
}
EverybodysFolder::~EverybodysFolder() { umask(static_cast<mode_t>(before_)); }

std::string others_who_may_use(const std::filesystem::path& file) {
  using std::filesystem::perms;
  const perms given = std::filesystem::status(file).permissions();
  std::string text;
  if ((given & perms::group_all) != perms::none) text += "its group ";
  if ((given & perms::others_all) != perms::none) text += "others ";
  return text;
}

std::string why_no_file_size_limit() { return {}; }
bool limit_file_sizes(std::optional<std::uint64_t> bytes) {
  signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  limit.rlim_cur = bytes ? static_cast<rlim_t>(*bytes) : RLIM_INFINITY;
  limit.rlim_max = RLIM_INFINITY;
  return setrlimit(RLIMIT_FSIZE, &limit) == 0;
}

// ---- users, programs ----------------------------------------------------------------------------

std::string why_not_nobody() {
  return geteuid() == 0 ? "" : "only root can become a user without rights";
}
bool become_nobody() {
  constexpr unsigned nobody = 65'534;
  return setgid(nobody) == 0 && setuid(nobody) == 0;
}

std::optional<std::string> ask_sqlite3_program(const std::filesystem::path& file,
                                               const std::string& sql) {
  const std::string command = "sqlite3 -readonly '" + file.string() + "' '" + sql + "' 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("no pipe to sqlite3");
  std::string out;
  std::array<char, 4096> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) out += buffer.data();
  if (pclose(pipe) != 0) throw std::runtime_error("sqlite3: " + out);
  return out;
}

}  // namespace tally::test
