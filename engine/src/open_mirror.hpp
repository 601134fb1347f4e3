#pragma once
// Which mirrors this process has open. SQLite remembers for a whole process which files it has
// locked. A child that fork() made inherits what it remembers, but not the locks: a mirror that its
// parent had open then it would use without one, and what it commits would be lost when the parent
// closes. So such a mirror is not opened there.

#include <filesystem>
#include <string>

namespace tally {

/// One engine's mirror, for as long as it is open.
class OpenMirror {
 public:
  /// Throws Failure where the parent of this process had the file open when it forked.
  explicit OpenMirror(const std::filesystem::path& path);
  ~OpenMirror();
  OpenMirror(const OpenMirror&) = delete;
  OpenMirror& operator=(const OpenMirror&) = delete;

 private:
  std::string name_;
};

}  // namespace tally
