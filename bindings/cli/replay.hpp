#pragma once
// A trace applied to a half, in groups, its results in the order of its lines.

#include <cstdint>
#include <functional>
#include <istream>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "output.hpp"
#include "tally/sync.hpp"
#include "tally/trace.hpp"

namespace tally::cli {

/// Applies operations in order; both arguments hold the same ones.
using Half = std::function<Result<std::vector<Verdict>>(std::vector<Command> commands,
                                                        std::span<const std::string> lines)>;
Half mirror_half(Engine& engine);
Half canonical_half(sync::Canonical& canonical);

struct ReplaySummary {
  std::uint64_t lines = 0;
  std::uint64_t bytes = 0;                                      ///< Of the lines.
  std::uint64_t operations = 0;                                 ///< The lines that are operations.
  std::map<std::string, std::uint64_t, std::less<>> results{};  ///< How many of each.
  double seconds = 0;
};

struct ReplayOptions {
  std::size_t batch = 1'000;  ///< Lines a commit.
  std::function<void(std::string_view line)> result{};
  std::function<void(const ReplaySummary&)> progress = [](const ReplaySummary&) {};
};

/// Throws a Stop where the half or the trace fails; what came before is applied and answered.
ReplaySummary replay(std::istream& trace, const Half& half, const ReplayOptions& options);

}  // namespace tally::cli
