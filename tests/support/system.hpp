#pragma once
// What only an operating system has, for tests: child processes, who may read a file, and what some
// systems lack, which the tests then say. One file for each system: system_posix.cpp,
// system_windows.cpp.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tally::test {

/// A child that runs a function and ends; it has a pipe to its parent and one from it. Make it
/// while this process has no engine open and no thread running. Where a process can be forked it
/// is; on Windows it is this program, started anew.
class ChildProcess {
 public:
  class Pipes {
   public:
    Pipes(std::intptr_t in, std::intptr_t out) : in_(in), out_(out) {}
    /// Waits for the parent's go_on(); false where the parent has gone.
    bool wait() const;
    void write(std::uint64_t value) const;

   private:
    std::intptr_t in_;
    std::intptr_t out_;
  };
  /// All that the function has from its parent.
  struct Given {
    std::filesystem::path path{};
    std::vector<std::uint64_t> numbers{};
    std::string text{};
  };
  /// The answer, 0 to 255, is the exit status. A lambda that captures nothing is one.
  using Body = int (*)(const Pipes& pipes, const Given& given);
  /// What wait() says of one that was killed.
  static constexpr int killed = -9;

  ChildProcess(Body body, const Given& given);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  void go_on() const;
  /// The next value that the child wrote; nothing at its end.
  std::optional<std::uint64_t> read() const;
  void kill_now();
  /// Waits for its end; the exit status, or minus the signal.
  int wait();

 private:
  static constexpr std::intptr_t none = -1;
  std::intptr_t process_ = none;
  std::intptr_t in_ = none;
  std::intptr_t out_ = none;
};

using Pipes = ChildProcess::Pipes;
using Given = ChildProcess::Given;

/// Several of them.
class Children {
 public:
  void add(ChildProcess::Body body, const ChildProcess::Given& given) {
    children_.push_back(std::make_unique<ChildProcess>(body, given));
  }
  const std::vector<std::unique_ptr<ChildProcess>>& all() const { return children_; }
  void go_on() const {
    for (const auto& child : children_) child->go_on();
  }
  /// What each one's end is, in their order.
  std::vector<int> wait() const {
    std::vector<int> statuses;
    for (const auto& child : children_) statuses.push_back(child->wait());
    return statuses;
  }

 private:
  std::vector<std::unique_ptr<ChildProcess>> children_{};
};

/// While it lives, what is made in the folder is everybody's to read and write, unless who makes it
/// says otherwise.
class EverybodysFolder {
 public:
  explicit EverybodysFolder(const std::filesystem::path& folder);
  ~EverybodysFolder();
  EverybodysFolder(const EverybodysFolder&) = delete;
  EverybodysFolder& operator=(const EverybodysFolder&) = delete;

 private:
  std::uint64_t before_ = 0;
};
/// Who may read or write the file but its owner, as text; empty where nobody may.
std::string others_who_may_use(const std::filesystem::path& file);

/// Why this process cannot become a user without rights; empty where it can.
std::string why_not_nobody();
/// Becomes it, for good.
bool become_nobody();

/// Why there is no limit on the sizes of files; empty where there is one.
std::string why_no_file_size_limit();
/// Limits this process's files, or takes the limit off again. A write beyond it fails.
bool limit_file_sizes(std::optional<std::uint64_t> bytes);

/// What the system's own sqlite3 program says to the SQL on a file that it opens read-only; nothing
/// where there is no such program, and no error.
std::optional<std::string> ask_sqlite3_program(const std::filesystem::path& file,
                                               const std::string& sql);

}  // namespace tally::test
