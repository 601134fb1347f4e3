#pragma once
// Databases on a throw-away PostgreSQL that a whole test file shares, and plain SQL on them.

#include <libpq-fe.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "support/postgres.hpp"
#include "tally/sync.hpp"

namespace tally::test {

/// What a statement came to: its rows' first column, or the error's SQLSTATE and message.
struct Answer {
  std::vector<std::string> lines{};
  std::string state{};
  std::string message{};
  bool ok() const { return state.empty(); }
  /// The only value; the error where there was one.
  std::string text() const { return ok() ? (lines.empty() ? "" : lines.front()) : message; }
};

/// A connection that fails the test when it cannot be made. Thread-compatible.
class Session {
 public:
  explicit Session(const std::string& conninfo);
  /// One statement or many.
  Answer run(const std::string& sql);
  /// The same; an error fails the test.
  std::vector<std::string> ask(const std::string& sql);
  std::string ask_one(const std::string& sql);
  PGconn* handle() const { return connection_.get(); }

 private:
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

/// A fresh, empty database on the file's server.
class Database {
 public:
  Database();
  const std::string& conninfo() const { return conninfo_; }
  const std::string& name() const { return name_; }
  /// Of the file's server, where its socket is.
  static const std::filesystem::path& server_folder();
  Session session() const { return Session(conninfo_); }
  /// The migrations up to that version, or all; on plain Postgres.
  void migrate_to(const std::string& version);
  void migrate();

 private:
  std::string name_;
  std::string conninfo_;
};

/// The text of a file of this repository.
std::string read_source(const std::string& path);

}  // namespace tally::test
