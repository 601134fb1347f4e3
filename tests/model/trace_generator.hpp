// Random traces: every operation, every code, every kind of bad line, in the shape of real work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tally::model {

struct GeneratorOptions {
  std::uint64_t seed = 1;
  std::size_t operations = 1000;  ///< Lines of the trace.
  std::size_t users = 20;         ///< About so many are made.
  double bad = 0.15;              ///< The share of lines that are spoilt on purpose.
  /// Now and then an op_id (or job_id) that differs from an earlier one in hex digits 13 and 14
  /// only, or is another user's: the rows derived from it find their id taken and get a random one,
  /// so that rows compare by everything but their id. Without it no row of the trace has a random
  /// id.
  bool derived_collisions = false;
};

/// The lines of a trace, without newlines; the same for a seed on every platform. Times are from
/// 2025-01-05 on and before 2026-11-01.
std::vector<std::string> generate_trace(const GeneratorOptions&);

}  // namespace tally::model
