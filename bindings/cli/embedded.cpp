#include "embedded.hpp"

#include "manual.hpp"
#include "sql/traces.hpp"

namespace tally::cli {

std::string_view embedded(std::string_view name) {
  for (const sql::EmbeddedFile& file : traces::files) {
    if (file.name == name) return file.text;
  }
  return {};
}

std::vector<std::string> lines_of(std::string_view text) { return split(text, "\n"); }

}  // namespace tally::cli
