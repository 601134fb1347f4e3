// The checks written in SQL (sql/tests) pass on a fresh PostgreSQL.

#include <doctest/doctest.h>

#include <array>
#include <cstdio>
#include <string>

#include "support/postgres.hpp"

namespace tally::test {
namespace {

TEST_CASE("the checks of sql/tests pass") {
  const ThrowawayPostgres server;
  const std::string command =
      "'" TALLY_SOURCE_DIR "/sql/tests/run' \"" + server.conninfo() + "\" 2>&1";
  std::FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string output;
  std::array<char, 4096> piece{};
  while (std::fgets(piece.data(), static_cast<int>(piece.size()), pipe) != nullptr)
    output += piece.data();
  const int status = pclose(pipe);
  INFO(output);
  CHECK(status == 0);
  CHECK(output.find("not ok") == std::string::npos);
  CHECK(output.find("ok") != std::string::npos);
}

}  // namespace
}  // namespace tally::test
