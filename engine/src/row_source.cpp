#include "row_source.hpp"

#include <SQLiteCpp/Exception.h>
#include <new>

namespace tally {
namespace {

struct Cursor : sqlite3_vtab_cursor {
  const RowSource* source = nullptr;
  std::size_t row = 0;
};
Cursor& as_cursor(sqlite3_vtab_cursor* cursor) noexcept { return static_cast<Cursor&>(*cursor); }

// No exception passes through SQLite's own frames: a statement of theirs would stay open.
int connect(sqlite3* db, void*, int, const char* const*, sqlite3_vtab** out, char**) try {
  std::string columns;
  for (int i = 0; i < RowSource::columns_max; ++i) columns += "c" + std::to_string(i) + ", ";
  const int rc = sqlite3_declare_vtab(db, ("create table x(" + columns + "source hidden)").c_str());
  if (rc != SQLITE_OK) return rc;
  *out = new (std::nothrow) sqlite3_vtab{};
  return *out == nullptr ? SQLITE_NOMEM : SQLITE_OK;
} catch (const std::bad_alloc&) {
  return SQLITE_NOMEM;
}
int disconnect(sqlite3_vtab* table) {
  delete table;
  return SQLITE_OK;
}
int best_index(sqlite3_vtab*, sqlite3_index_info* info) {
  for (int i = 0; i < info->nConstraint; ++i) {
    const auto& constraint = info->aConstraint[i];
    const bool is_source =
        constraint.iColumn == RowSource::columns_max && constraint.op == SQLITE_INDEX_CONSTRAINT_EQ;
    if (!is_source || constraint.usable == 0) continue;
    info->aConstraintUsage[i].argvIndex = 1;
    info->aConstraintUsage[i].omit = 1;
    return SQLITE_OK;
  }
  return SQLITE_CONSTRAINT;  // Without a source there is no plan.
}
int open_cursor(sqlite3_vtab*, sqlite3_vtab_cursor** out) {
  *out = new (std::nothrow) Cursor{};
  return *out == nullptr ? SQLITE_NOMEM : SQLITE_OK;
}
int close_cursor(sqlite3_vtab_cursor* cursor) {
  delete &as_cursor(cursor);
  return SQLITE_OK;
}
int filter(sqlite3_vtab_cursor* cursor, int, const char*, int, sqlite3_value** values) {
  as_cursor(cursor).source =
      static_cast<const RowSource*>(sqlite3_value_pointer(values[0], row_source_type));
  as_cursor(cursor).row = 0;
  return SQLITE_OK;
}
int next(sqlite3_vtab_cursor* cursor) {
  ++as_cursor(cursor).row;
  return SQLITE_OK;
}
int is_at_end(sqlite3_vtab_cursor* cursor) {
  const Cursor& at = as_cursor(cursor);
  return at.source == nullptr || at.row >= at.source->row_count() ? 1 : 0;
}
int column(sqlite3_vtab_cursor* cursor, sqlite3_context* context, int i) {
  const Cursor& at = as_cursor(cursor);
  at.source->column(context, at.row, i);
  return SQLITE_OK;
}
int rowid(sqlite3_vtab_cursor* cursor, sqlite3_int64* out) {
  *out = static_cast<sqlite3_int64>(as_cursor(cursor).row);
  return SQLITE_OK;
}

/// Without xCreate: a table-valued function, there for whoever is connected.
constexpr sqlite3_module rows_module = [] {
  sqlite3_module module{};
  module.xConnect = connect;
  module.xBestIndex = best_index;
  module.xDisconnect = disconnect;
  module.xOpen = open_cursor;
  module.xClose = close_cursor;
  module.xFilter = filter;
  module.xNext = next;
  module.xEof = is_at_end;
  module.xColumn = column;
  module.xRowid = rowid;
  return module;
}();

}  // namespace

void add_row_sources(sqlite3* db) {
  const int rc = sqlite3_create_module_v2(db, "tally_rows", &rows_module, nullptr, nullptr);
  if (rc != SQLITE_OK) throw SQLite::Exception(db, rc);
}

std::string select_rows(int columns) {
  std::string sql = "select ";
  for (int i = 0; i < columns; ++i) sql += (i == 0 ? "c" : ", c") + std::to_string(i);
  return sql + " from tally_rows(?)";
}

}  // namespace tally
