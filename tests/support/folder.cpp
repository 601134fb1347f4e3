#include "support/folder.hpp"

#include <random>
#include <string>

namespace tally::test {

TemporaryFolder::TemporaryFolder(const std::filesystem::path& within) {
  std::random_device random;
  do {
    path_ = within / ("tally-test-" + std::to_string(random()));
  } while (!std::filesystem::create_directory(path_));
  std::filesystem::permissions(path_, std::filesystem::perms::owner_all);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace tally::test
