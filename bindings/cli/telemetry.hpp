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
  /// Throws a Stop where some could not be written.
  void finish();

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  void write(const Measurement& measured) noexcept;
  [[noreturn]] void fail() const;

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::FILE* out_ = nullptr;
  bool failed_ = false;
};

/// Option --metrics.
CLI::Option* add_metrics(CLI::App* command, std::string& path);

}  // namespace tally::cli
