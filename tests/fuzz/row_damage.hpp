#pragma once
// Damage that is whole SQL: rows which no mirror of ours would hold, in a file that SQLite finds
// sound.

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace tally::fuzz {

class RowDamage {
 public:
  /// Of that mirror's tables as they are now.
  explicit RowDamage(const std::filesystem::path& mirror);

  /// The changes are a sequence of: a table, a row, a column, what happens to it, two bytes of
  /// which value, how many bytes follow, and those bytes. What a table's constraints refuse, but
  /// for its CHECKs, is left out.
  void inflict(const std::filesystem::path& mirror, std::string_view changes) const;

  /// Each single change to a cell of the first or the last row of a table: a number to each edge, a
  /// byte of a blob to another, a text to one that is none.
  std::vector<std::string> single_changes(const std::filesystem::path& mirror) const;

 private:
  struct Table {
    std::string name;
    std::string key;  ///< The columns that tell a row from another, as SQL.
    std::vector<std::string> columns;
    std::size_t rows = 0;
  };

  std::vector<Table> tables_;  ///< Those that have rows, by name.
};

}  // namespace tally::fuzz
