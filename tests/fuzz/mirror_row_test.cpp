// A mirror whose rows were changed is given the corpus, seeded mutations of it, and each single
// change (TALLY_TEST_LONG=1: all of them).
#include "fuzz/run_corpus.hpp"
#include "support/fixture.hpp"

namespace tally::fuzz {
namespace {

TEST_CASE("a mirror whose rows were changed: the rules hold for the corpus") {
  CHECK(run_corpus("mirror_row").taken > 20);
}

TEST_CASE("a mirror whose rows were changed: the rules hold for mutations of the corpus") {
  const Outcomes outcomes = run_mutations("mirror_row", 300);
  CHECK(outcomes.taken > 50);
  CHECK(outcomes.refused > 10);
}

TEST_CASE("a mirror whose rows were changed: the rules hold for each single change") {
  const auto target = make_target("mirror_row");
  const std::vector<std::string> inputs = single_row_changes();
  REQUIRE(inputs.size() > 1000);
  Outcomes outcomes;
  const std::size_t stride = test::long_run() ? 1 : 37;
  for (std::size_t i = 0; i < inputs.size(); i += stride) {
    CAPTURE(i);
    CHECK_NOTHROW(outcomes.count(target->run(inputs[i])));
  }
  CHECK(outcomes.taken > outcomes.refused);
}

}  // namespace
}  // namespace tally::fuzz
