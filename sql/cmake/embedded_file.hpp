#pragma once
// What tally_embed_sql() makes of a .sql file.

#include <string_view>

namespace tally::sql {

struct EmbeddedFile {
  std::string_view name;  // without its folder
  std::string_view text;
};

}  // namespace tally::sql
