#pragma once
// Rows in memory as a table of SQLite's, so that one INSERT … SELECT writes all of them: a
// statement a row costs more than what it writes.

#include <sqlite3.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "tally/job_machine.hpp"
#include "tally/values.hpp"

namespace tally {

/// What a statement reads that selects columns c0, c1, … from tally_rows(?), bound to it.
class RowSource {
 public:
  static constexpr int columns_max = 16;

  virtual std::size_t row_count() const noexcept = 0;
  /// Gives SQLite that value; what it refers to stays until the statement has run.
  virtual void column(sqlite3_context* context, std::size_t row, int column) const noexcept = 0;

  static void give(sqlite3_context* context, std::int64_t v) noexcept {
    sqlite3_result_int64(context, v);
  }
  static void give(sqlite3_context* context, const std::string& v) noexcept {
    sqlite3_result_text64(context, v.data(), v.size(), SQLITE_STATIC, SQLITE_UTF8);
  }
  static void give(sqlite3_context* context, const Uuid& v) noexcept {
    sqlite3_result_blob(context, v.bytes.data(), 16, SQLITE_STATIC);
  }
  static void give(sqlite3_context* context, Timestamp v) noexcept { give(context, v.us); }
  static void give(sqlite3_context* context, JobStatus v) noexcept {
    give(context, static_cast<std::int64_t>(v));
  }
  static void give(sqlite3_context* context, StepState v) noexcept {
    give(context, static_cast<std::int64_t>(v));
  }
  template <class T>
  static void give(sqlite3_context* context, const std::optional<T>& v) noexcept {
    if (v) give(context, *v);  // Else it is null.
  }
  /// Gives the value that stands at that place.
  template <class... Values>
  static void give_one(sqlite3_context* context, int place, const Values&... values) noexcept {
    int i = 0;
    ((i++ == place ? give(context, values) : void()), ...);
  }

 protected:
  ~RowSource() = default;
};

/// So many rows; `column(context, row, column)` gives their values.
template <class Column>
class Rows final : public RowSource {
 public:
  Rows(std::size_t count, Column column) : count_(count), column_(std::move(column)) {}
  std::size_t row_count() const noexcept override { return count_; }
  void column(sqlite3_context* context, std::size_t row, int column) const noexcept override {
    column_(context, row, column);
  }

 private:
  std::size_t count_;
  Column column_;
};

/// The type of pointer under which a source is bound.
inline constexpr char row_source_type[] = "tally::RowSource";

/// Makes tally_rows known to the connection; throws SQLite::Exception.
void add_row_sources(sqlite3* db);

/// `select c0, c1, … from tally_rows(?)`.
std::string select_rows(int columns);

}  // namespace tally
