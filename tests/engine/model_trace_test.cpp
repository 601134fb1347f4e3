// The mirror answers random traces as the independent model does, and holds the same rows; the same
// as canonical/halves_test.cpp without its server, and shorter.
#include <doctest/doctest.h>

#include "model/model.hpp"
#include "model/trace_generator.hpp"
#include "support/fixture.hpp"
#include "support/views.hpp"

namespace tally::test {
namespace {

TEST_CASE("random traces: mirror and model answer alike and hold the same rows") {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    CAPTURE(seed);
    model::GeneratorOptions options;
    options.seed = seed;
    options.operations = 3'000;
    options.users = 8;
    TemporaryMirror mirror;
    model::Model model;
    for (const std::string& line : model::generate_trace(options))
      REQUIRE(mirror.apply_line(line) == model.apply(line));
    for (const char* table : tables) {
      CAPTURE(table);
      CHECK(texts_of(mirror->rows(table).value()) == model.rows(table));
    }
    CHECK(mirror.findings().empty());
  }
}

}  // namespace
}  // namespace tally::test
