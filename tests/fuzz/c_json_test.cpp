// Tally_apply() is given the corpus, and thousands of seeded mutations of it.
#include "fuzz/run_corpus.hpp"

namespace tally::fuzz {
namespace {

TEST_CASE("tally_apply(): the rules hold for the corpus, and both kinds of answers come") {
  const Outcomes outcomes = run_corpus("c_json");
  CHECK(outcomes.taken > 20);
  CHECK(outcomes.refused > 5);
}

TEST_CASE("tally_apply(): the rules hold for mutations of the corpus") {
  const Outcomes outcomes = run_mutations("c_json", 4'000);
  CHECK(outcomes.taken > 50);
  CHECK(outcomes.refused > 50);
}

}  // namespace
}  // namespace tally::fuzz
