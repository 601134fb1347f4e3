#include "support/folder.hpp"

#include <stdlib.h>

#include <stdexcept>
#include <string>

namespace tally::test {

TemporaryFolder::TemporaryFolder(const std::filesystem::path& within) {
  std::string name = (within / "tally-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder for a test: " + name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace tally::test
