#pragma once
// All chance of a run, from its seed; the same on every platform.

#include <algorithm>
#include <cstdint>
#include <random>

namespace tally::sim {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::uint64_t next() { return engine_(); }
  /// From 0 to n - 1; of 0, 0.
  std::size_t below(std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(next() % n); }
  std::int64_t between(std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(below(static_cast<std::size_t>(most - least + 1)));
  }
  bool one_in(std::size_t n) { return below(n) == 0; }
  bool chance(double of_1) { return static_cast<double>(next() >> 11U) * 0x1p-53 < of_1; }
  template <class Values>
  auto& pick(Values& values) {
    return values[below(std::size(values))];
  }
  /// One of the last few.
  template <class Values>
  auto& pick_late(Values& values, std::size_t few) {
    return values[std::size(values) - 1 - below(std::min(few, std::size(values)))];
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace tally::sim
