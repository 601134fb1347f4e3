#pragma once
// A process of this program's own beside it, and what /proc says of a process.

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

extern char** environ;

namespace tally::bench {

/// This program again, with `--child` and these words; what it prints comes through a pipe. Killed
/// where it has not ended before.
class Child {
 public:
  explicit Child(std::vector<std::string> words) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    words.insert(words.begin(), {"bench", "--child"});
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    const int rc = posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    out_ = ends[0];
    if (rc != 0) throw std::runtime_error("cannot start a process");
  }
  ~Child() {
    if (pid_ > 0) kill();
    close(out_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// The next line, waited for; nothing at the end.
  std::optional<std::string> line() {
    for (;;) {
      const std::size_t end = read_.find('\n');
      if (end != std::string::npos) {
        std::string line = read_.substr(0, end);
        read_.erase(0, end + 1);
        return line;
      }
      char bytes[512];
      const ssize_t got = ::read(out_, bytes, sizeof bytes);
      if (got <= 0) return {};
      read_.append(bytes, static_cast<std::size_t>(got));
    }
  }
  /// Whether line() has something to read at once, the end included.
  bool is_ready() const {
    pollfd look{out_, POLLIN, 0};
    return !read_.empty() || poll(&look, 1, 0) > 0;
  }
  void kill() {
    ::kill(pid_, SIGKILL);
    (void)wait();
  }
  /// Its exit status, or -1 where it was killed.
  int wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = 0;
  int out_ = -1;
  std::string read_{};
};

/// What follows `--child`, where this process is one.
inline std::optional<std::vector<std::string>> child_words(int argc, char** argv) {
  if (argc < 3 || std::string(argv[1]) != "--child") return {};
  return std::vector<std::string>(argv + 2, argv + argc);
}

/// The child's exit status; what it throws is told.
inline int run_child(const std::vector<std::string>& words,
                     int (*run)(const std::vector<std::string>&)) noexcept {
  try {
    return run(words);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "child %s: %s\n", words[0].c_str(), e.what());
    return 1;
  }
}

/// A line of /proc/self/status in MB (10^6 bytes): VmRSS is the memory now, VmHWM the most so far.
inline double memory_mb(const std::string& name) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(name + ":", 0) == 0)
      return std::stod(line.substr(name.size() + 1)) * 1'024 / 1e6;
  }
  throw std::runtime_error("no " + name + " in /proc/self/status");
}

}  // namespace tally::bench
