#include "fuzz/row_damage.hpp"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <variant>

namespace tally::fuzz {
namespace {

constexpr std::int64_t two_to(int n) { return std::int64_t{1} << n; }

/// Numbers at whose other side something else may begin.
constexpr std::array<std::int64_t, 24> edges{0,
                                             1,
                                             -1,
                                             2,
                                             7,
                                             16,
                                             100,
                                             255,
                                             65536,
                                             two_to(31) - 1,
                                             two_to(31),
                                             -two_to(31),
                                             -two_to(31) - 1,
                                             two_to(32) - 1,
                                             two_to(32),
                                             two_to(48),
                                             two_to(53),
                                             two_to(60) - 1,
                                             two_to(60),
                                             -two_to(60),
                                             two_to(60) + 1,
                                             -two_to(60) - 1,
                                             std::numeric_limits<std::int64_t>::max(),
                                             std::numeric_limits<std::int64_t>::min()};

const std::array<std::string, 8> texts{"",   "{",    std::string("a\0b", 3),    "\xff",
                                       "[]", "null", std::string(100'000, 'x'), "pending"};

enum class What : unsigned char { edge, nudge, bytes, cut, other_rows, null, erase_row };
constexpr unsigned whats = 7;

struct Change {
  std::size_t table, row, column;
  What what;
  std::size_t argument;
  std::string_view bytes;
};

/// Takes it off the front; there is none in fewer bytes than its head.
std::optional<Change> next_change(std::string_view& changes) {
  constexpr std::size_t head = 7;
  if (changes.size() < head) return std::nullopt;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(changes[i]); };
  const Change change{byte(0),
                      byte(1),
                      byte(2),
                      static_cast<What>(byte(3) % whats),
                      byte(4) * std::size_t{256} + byte(5),
                      changes.substr(head, byte(6) % 16U)};
  changes.remove_prefix(head + change.bytes.size());
  return change;
}

std::string text_of(const Change& change) {
  std::string out;
  for (const std::size_t value :
       {change.table, change.row, change.column, static_cast<std::size_t>(change.what),
        change.argument >> 8, change.argument & 255, change.bytes.size()})
    out += static_cast<char>(value);
  return out += change.bytes;
}

struct Blob {
  std::string bytes;
};
using Cell = std::variant<std::monostate, std::int64_t, std::string, Blob>;

Cell cell_of(const SQLite::Column& column) {
  if (column.isInteger()) return column.getInt64();
  if (column.isText()) return column.getString();
  if (column.isBlob()) return Blob{column.getString()};
  return std::monostate{};
}

void bind(SQLite::Statement& statement, const Cell& cell) {
  if (const auto* number = std::get_if<std::int64_t>(&cell)) {
    statement.bind(1, *number);
  } else if (const auto* text = std::get_if<std::string>(&cell)) {
    statement.bind(1, *text);
  } else if (const auto* blob = std::get_if<Blob>(&cell)) {
    statement.bind(1, blob->bytes.data(), static_cast<int>(blob->bytes.size()));
  }
}

std::int64_t number_of(std::string_view bytes) {
  std::uint64_t number = 0;
  for (const char byte : bytes.substr(0, 8))
    number = number << 8 | static_cast<unsigned char>(byte);
  return static_cast<std::int64_t>(number);
}

std::int64_t changed(std::int64_t number, const Change& change) {
  if (change.what == What::edge) return edges[change.argument % edges.size()];
  if (change.what == What::bytes) return number_of(change.bytes);
  const auto by = static_cast<std::int8_t>(change.argument & 255);
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(number) +
                                   static_cast<std::uint64_t>(std::int64_t{by}));
}

std::string changed(std::string bytes, const Change& change) {
  const std::size_t at = bytes.empty() ? 0 : change.argument % bytes.size();
  switch (change.what) {
    case What::edge:
      return texts[change.argument % texts.size()];
    case What::nudge:
      if (!bytes.empty()) ++bytes[at];
      return bytes;
    case What::bytes:
      return bytes.replace(at, change.bytes.size(), change.bytes);
    default:
      return bytes.substr(0, at);
  }
}

std::vector<std::string> names(SQLite::Statement&& statement) {
  std::vector<std::string> names;
  while (statement.executeStep()) names.push_back(statement.getColumn(0).getString());
  return names;
}

std::vector<std::string> columns_of(const SQLite::Database& db, const std::string& table,
                                    const std::string& which) {
  SQLite::Statement columns(db, "select name from pragma_table_info(?) where " + which);
  columns.bind(1, table);
  return names(std::move(columns));
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

}  // namespace

RowDamage::RowDamage(const std::filesystem::path& mirror) {
  const SQLite::Database db(mirror.string(), SQLite::OPEN_READWRITE);
  for (const std::string& name : names(SQLite::Statement(
           db, "select name from sqlite_schema where type = 'table' order by name"))) {
    SQLite::Statement count(db, "select count(*) from " + name);
    count.executeStep();
    const auto rows = static_cast<std::size_t>(count.getColumn(0).getInt64());
    if (rows > 0)
      tables_.push_back(
          {name, joined(columns_of(db, name, "pk > 0")), columns_of(db, name, "true"), rows});
  }
}

void RowDamage::inflict(const std::filesystem::path& mirror, std::string_view changes) const {
  SQLite::Database db(mirror.string(), SQLite::OPEN_READWRITE);
  db.exec("pragma ignore_check_constraints = on");
  SQLite::Transaction transaction(db);
  while (const auto change = next_change(changes)) {
    const Table& table = tables_[change->table % tables_.size()];
    const std::string& column = table.columns[change->column % table.columns.size()];
    const auto nth = [&](std::size_t row) {
      return " from " + table.name + " order by " + table.key + " limit 1 offset " +
             std::to_string(row % table.rows);
    };
    const std::string this_row =
        " where (" + table.key + ") = (select " + table.key + nth(change->row) + ")";
    if (change->what == What::erase_row) {
      db.exec("delete from " + table.name + this_row);
      continue;
    }
    SQLite::Statement read(
        db, "select " + column +
                nth(change->what == What::other_rows ? change->argument : change->row));
    if (!read.executeStep()) continue;
    Cell cell = cell_of(read.getColumn(0));
    if (change->what == What::null) {
      cell = std::monostate{};
    } else if (change->what != What::other_rows) {
      if (auto* number = std::get_if<std::int64_t>(&cell)) *number = changed(*number, *change);
      if (auto* text = std::get_if<std::string>(&cell)) *text = changed(*text, *change);
      if (auto* blob = std::get_if<Blob>(&cell)) blob->bytes = changed(blob->bytes, *change);
      if (std::holds_alternative<std::monostate>(cell)) cell = changed(0, *change);
    }
    read.reset();
    SQLite::Statement write(
        db, "update or ignore " + table.name + " set " + column + " = ?1" + this_row);
    bind(write, cell);
    const int code = write.tryExecuteStep();
    if (code != SQLITE_DONE && code != SQLITE_CONSTRAINT && code != SQLITE_MISMATCH)
      throw SQLite::Exception(db.getHandle(), code);
  }
  transaction.commit();
}

std::vector<std::string> RowDamage::single_changes(const std::filesystem::path& mirror) const {
  const SQLite::Database db(mirror.string(), SQLite::OPEN_READWRITE);
  std::vector<std::string> out;
  for (std::size_t t = 0; t < tables_.size(); ++t) {
    const Table& table = tables_[t];
    for (const std::size_t row : {std::size_t{0}, table.rows - 1}) {
      out.push_back(text_of({t, row, 0, What::erase_row, 0, {}}));
      SQLite::Statement read(db, "select " + joined(table.columns) + " from " + table.name +
                                     " order by " + table.key + " limit 1 offset " +
                                     std::to_string(row));
      read.executeStep();
      for (std::size_t column = 0; column < table.columns.size(); ++column) {
        const auto add = [&](What what, std::size_t argument, std::string_view bytes = {}) {
          out.push_back(text_of({t, row, column, what, argument, bytes}));
        };
        const SQLite::Column cell = read.getColumn(static_cast<int>(column));
        add(What::null, 0);
        add(What::other_rows, row + 1);
        if (cell.isText() || cell.isBlob()) {
          const auto bytes = static_cast<std::size_t>(cell.getBytes());
          for (std::size_t i = 0; i < texts.size(); ++i) add(What::edge, i);
          for (std::size_t at = 0; at < bytes; at += cell.isBlob() ? 1 : bytes) {
            add(What::nudge, at);
            add(What::cut, at);
            for (const std::string_view value : {"\0", "\x7f", "\x80", "\xff"})
              add(What::bytes, at, std::string_view(value.data(), 1));
            add(What::bytes, at, "\xff\xff\xff\xff\xff\xff\xff\xff\x7f");
          }
        } else {
          for (std::size_t i = 0; i < edges.size(); ++i) add(What::edge, i);
          for (const std::size_t by : {1U, 2U, 255U}) add(What::nudge, by);
        }
      }
      if (table.rows == 1) break;
    }
  }
  return out;
}

}  // namespace tally::fuzz
