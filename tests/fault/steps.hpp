#pragma once
// One line of every kind of operation, each on a mirror as the ones before it left it: where a
// fault is to come, and what is to be there when it is over.

#include <filesystem>
#include <string>
#include <vector>

#include "support/fixture.hpp"

namespace tally::test {

/// One line an operation, each ok on what those before it left. The lease operations are a device's
/// alone; tests/sync has them.
const Rows& all_operations();

/// Before each line a mirror that nobody has open, and behind it what its tables then are.
struct Steps {
  Steps();
  TemporaryFolder folder;
  std::vector<std::filesystem::path> befores;
  std::vector<std::string> lines;
  std::vector<Dump> afters;
};

Result<Verdict> apply(Engine& engine, const std::string& line);

/// The digests of every user, as text.
std::string all_digests(const Engine& engine);

}  // namespace tally::test
