// The histogram beside sorted values: what it says of a quantile is the value, or up to 0.1 % more.

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "histogram.hpp"
#include "support.hpp"

namespace tally::bench {
namespace {

/// From nanoseconds to minutes, as many in each doubling.
std::vector<std::uint64_t> spread_values(std::size_t count, Random& random) {
  std::vector<std::uint64_t> values;
  for (std::size_t i = 0; i < count; ++i)
    values.push_back(random.next() >> (26 + random.below(38)));
  return values;
}

TEST_CASE("a quantile is that of the sorted values, to 0.1 %") {
  Random random(11);
  std::vector<std::uint64_t> values = spread_values(100'000, random);
  Histogram histogram;
  for (const std::uint64_t value : values) histogram.record(value);
  std::sort(values.begin(), values.end());
  for (const double share : {0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0}) {
    const auto place = static_cast<std::size_t>(
        std::max(1.0, std::ceil(share * static_cast<double>(values.size()))));
    const std::uint64_t exact = values[place - 1];
    CAPTURE(share);
    CHECK(histogram.at(share) >= exact);
    CHECK(static_cast<double>(histogram.at(share)) <= static_cast<double>(exact) * 1.001);
  }
  CHECK(histogram.max() == values.back());
  CHECK(histogram.count() == values.size());
}

TEST_CASE("merged histograms are that of all values") {
  Random random(12);
  Histogram all;
  Histogram parts[3];
  for (const std::uint64_t value : spread_values(30'000, random)) {
    all.record(value);
    parts[value % 3].record(value);
  }
  parts[0].merge(parts[1]);
  parts[0].merge(parts[2]);
  CHECK(parts[0].count() == all.count());
  for (const double share : {0.1, 0.5, 0.99, 1.0}) CHECK(parts[0].at(share) == all.at(share));
}

TEST_CASE("the ends: nothing, zero, and longer than it counts") {
  Histogram histogram;
  CHECK(histogram.at(0.5) == 0);
  histogram.record(std::uint64_t{0});
  CHECK(histogram.at(1.0) == 0);
  histogram.record(~std::uint64_t{0});
  CHECK(histogram.at(1.0) > 7'200'000'000'000U);
}

}  // namespace
}  // namespace tally::bench
