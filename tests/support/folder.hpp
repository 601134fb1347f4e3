#pragma once
// A folder of one's own for as long as the object lives, and what is in a file.

#include <filesystem>
#include <string>

namespace tally::test {

/// In memory where there is such a folder, for what is written over and over.
std::filesystem::path memory_folder();

class TemporaryFolder {
 public:
  explicit TemporaryFolder(
      const std::filesystem::path& within = std::filesystem::temp_directory_path());
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// All of a file; nothing where it cannot be read.
std::string bytes_of(const std::filesystem::path& file);

}  // namespace tally::test
