#pragma once
// How long things took, counted in buckets a thousandth wide: recording costs the same whatever
// there is already, histograms of several threads add up, and a quantile is right to 0.1 %.

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace tally::bench {

/// Of nanoseconds, from 1 ns to two hours; what is longer counts as that. Thread-compatible.
class Histogram {
 public:
  Histogram() : counts_(bucket(longest) + 1) {}

  void record(std::uint64_t ns) noexcept {
    ns = std::min(ns, longest);
    ++counts_[bucket(ns)];
    ++count_;
    max_ = std::max(max_, ns);
  }
  void record(std::chrono::steady_clock::duration taken) noexcept {
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(taken).count();
    record(ns < 0 ? 0 : static_cast<std::uint64_t>(ns));
  }
  void merge(const Histogram& other) noexcept {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    count_ += other.count_;
    max_ = std::max(max_, other.max_);
  }

  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t max() const noexcept { return max_; }
  /// The least value that is not below this share of all; 0 of none.
  std::uint64_t at(double share) const noexcept {
    const auto wanted = std::max<std::uint64_t>(
        1, static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_))));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen >= wanted) return std::min(greatest_in(i), max_);
    }
    return max_;
  }

 private:
  // Up to 2^11 a bucket holds one value; from there on each doubling has 2^10 buckets.
  static constexpr int exact_bits = 11;
  static constexpr std::uint64_t exact = 1ULL << exact_bits;
  static constexpr std::uint64_t longest = (1ULL << 43U) - 1;

  static std::size_t bucket(std::uint64_t ns) noexcept {
    if (ns < exact) return ns;
    const auto shift = static_cast<unsigned>(std::bit_width(ns) - exact_bits);
    return exact + (shift - 1) * (exact / 2) + ((ns >> shift) - exact / 2);
  }
  static std::uint64_t greatest_in(std::size_t bucket) noexcept {
    if (bucket < exact) return bucket;
    const std::uint64_t shift = (bucket - exact) / (exact / 2) + 1;
    const std::uint64_t place = (bucket - exact) % (exact / 2) + exact / 2;
    return ((place + 1) << shift) - 1;
  }

  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace tally::bench
