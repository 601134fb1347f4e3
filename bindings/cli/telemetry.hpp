#pragma once
// Measurements as JSON Lines, for commands that work long.

#include <memory>
#include <string>

#include "commands.hpp"

namespace tally::cli {

/// Where measurements go: nowhere, to standard output (`-`), or to the end of a file.
class Measurements {
 public:
  explicit Measurements(const std::string& path);

  /// What the engine's host listens with; nothing where they go nowhere. Outlived by this.
  std::function<void(const Measurement&)> listener();
  /// What was measured so far is written when it returns. Throws a Stop where some could not be, a
  /// silent one where nobody reads standard output any more.
  void flush();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  void write(const Measurement& measured) noexcept;
  [[noreturn]] void fail(int error) const;

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::FILE* out_ = nullptr;
  int error_ = 0;  ///< The errno of the first that could not be written.
};

/// Option --metrics; with `-`, standard output is the measurements' alone, and `instead` says what
/// becomes of the command's own.
CLI::Option* add_metrics(CLI::App* command, std::string& path, std::string_view instead);

}  // namespace tally::cli
