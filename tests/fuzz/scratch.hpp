#pragma once
// Mirrors that are soon as they were: putting the rows back costs a fraction of opening another.

#include <sqlite3.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "support/folder.hpp"
#include "tally/engine.hpp"

namespace tally::fuzz {

/// Options under which nothing is left to chance: a clock that stands, and ids in a row.
Options fixed_options();
/// The time that such a clock shows.
Timestamp fixed_time();

/// Puts a mirror's rows back, beneath engines that have it open: to them it is the commit of
/// another process, after which memory is read anew.
class Rewinder {
 public:
  /// Remembers what the mirror is now.
  explicit Rewinder(const std::filesystem::path& mirror);

  /// Whether somebody committed since this was last asked, or the rows were put back.
  bool was_written();
  void rewind();

 private:
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close(db); }
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Close>;
  void execute(const std::string& sql);
  Statement prepare(const std::string& sql);
  int step(sqlite3_stmt* statement);
  sqlite3_int64 data_version();

  std::unique_ptr<sqlite3, Close> db_;
  Statement data_version_;
  std::vector<Statement> rewind_;
  Statement set_epoch_;
  sqlite3_int64 seen_ = 0;
  sqlite3_int64 epoch_ = 0;
};

}  // namespace tally::fuzz
