#pragma once
// A target without a fuzzer: its corpus, then mutations of it.

#include <doctest/doctest.h>

#include "fuzz/mutator.hpp"
#include "fuzz/target.hpp"

namespace tally::fuzz {

/// How often a target's answer was that one.
struct Outcomes {
  int taken = 0;
  int refused = 0;
  void count(Outcome outcome) { ++(outcome == Outcome::taken ? taken : refused); }
};

inline Outcomes run_corpus(const std::string& name) {
  const auto target = make_target(name);
  Outcomes outcomes;
  for (const std::string& input : corpus(name)) outcomes.count(target->run(input));
  return outcomes;
}

inline Outcomes run_mutations(const std::string& name, int count) {
  const auto target = make_target(name);
  Mutator mutator(corpus(name));
  Outcomes outcomes;
  for (int i = 0; i < count; ++i) {
    CAPTURE(i);
    outcomes.count(target->run(mutator.next()));
  }
  return outcomes;
}

}  // namespace tally::fuzz
