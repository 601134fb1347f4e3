#pragma once
// The traces that the program carries.

#include <string>
#include <string_view>
#include <vector>

namespace tally::cli {

/// `demo.jsonl`, `demo.expected.jsonl`, `operations.jsonl`
std::string_view embedded(std::string_view name);
std::vector<std::string> lines_of(std::string_view text);

}  // namespace tally::cli
