#include "fuzz/target.hpp"

#include <algorithm>

namespace tally::fuzz {

std::unique_ptr<Target> make_target(std::string_view name) {
  const auto* found = std::find_if(targets.begin(), targets.end(),
                                   [&](const NamedTarget& target) { return target.name == name; });
  if (found == targets.end()) throw std::out_of_range("no target " + std::string(name));
  return found->make();
}

}  // namespace tally::fuzz
