#pragma once
// Statements over SQLite: bind and read whole rows of our value types. Errors throw
// SQLite::Exception; the engine's edge turns them into codes.

#include <sqlite3.h>

#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Exception.h>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "row_source.hpp"
#include "tally/job_machine.hpp"
#include "tally/values.hpp"

namespace tally {

/// No number of a mirror's comes near the bound, so that what is read can be added up and counted
/// on from. Beyond it is damage.
inline std::int64_t bounded(std::int64_t number) {
  constexpr std::int64_t max = std::int64_t{1} << 60;
  if (number < -max || number > max)
    throw SQLite::Exception("a row has the number " + std::to_string(number), SQLITE_CORRUPT);
  return number;
}

/// What statements pass before they run: the first of them opens it.
class Gate {
 public:
  void pass() {
    if (!is_open_) open();
  }

 protected:
  ~Gate() = default;
  /// Throws to keep the statement from running.
  virtual void open() = 0;
  bool is_open_ = false;
};

/// A connection with the gate of its statements, where they have one.
struct Connection {
  Connection(SQLite::Database& db, Gate* gate = nullptr) noexcept : db(db), gate(gate) {}
  SQLite::Database& db;
  Gate* gate;
};

/// A prepared statement, kept for the life of its connection. Bound to its connection's thread.
class Query {
 public:
  Query(Connection connection, std::string_view sql)
      : db_(connection.db.getHandle()), gate_(connection.gate) {
    check(sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()),
                             SQLITE_PREPARE_PERSISTENT, &statement_, nullptr));
  }
  ~Query() { sqlite3_finalize(statement_); }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  /// Binds parameters 1, 2, …. Texts and blobs must outlive the next step or reset.
  template <class... Args>
  Query& bind(const Args&... args) {
    int i = 0;
    (bind_one(++i, args), ...);
    return *this;
  }
  /// The next row, if there is one; resets after the last.
  bool step() {
    if (gate_ != nullptr) gate_->pass();
    const int rc = sqlite3_step(statement_);
    if (rc == SQLITE_ROW) return true;
    const int reset_rc = sqlite3_reset(statement_);
    if (rc != SQLITE_DONE) check(reset_rc == SQLITE_OK ? rc : reset_rc);
    return false;
  }
  /// Runs to the end.
  void run() {
    while (step()) {
    }
  }
  void reset() noexcept { sqlite3_reset(statement_); }

  template <class T>
  T column(int i) const {
    T value{};
    read(i, value);
    return value;
  }
  bool is_null(int i) const noexcept { return sqlite3_column_type(statement_, i) == SQLITE_NULL; }
  int column_count() const noexcept { return sqlite3_column_count(statement_); }
  const char* column_name(int i) const noexcept { return sqlite3_column_name(statement_, i); }

  void bind_one(int i, std::int64_t v) { check(sqlite3_bind_int64(statement_, i, v)); }
  void bind_one(int i, int v) { check(sqlite3_bind_int(statement_, i, v)); }
  void bind_one(int i, std::nullopt_t) { check(sqlite3_bind_null(statement_, i)); }
  void bind_one(int i, std::string_view v) {
    check(sqlite3_bind_text64(statement_, i, v.data(), v.size(), SQLITE_STATIC, SQLITE_UTF8));
  }
  void bind_one(int i, const std::string& v) { bind_one(i, std::string_view(v)); }
  void bind_one(int i, const Uuid& v) {
    check(sqlite3_bind_blob(statement_, i, v.bytes.data(), 16, SQLITE_STATIC));
  }
  void bind_one(int i, Timestamp v) { bind_one(i, v.us); }
  void bind_one(int i, JobStatus v) { bind_one(i, static_cast<int>(v)); }
  void bind_one(int i, StepState v) { bind_one(i, static_cast<int>(v)); }
  template <class T>
  void bind_one(int i, const std::optional<T>& v) {
    if (v) {
      bind_one(i, *v);
    } else {
      bind_one(i, std::nullopt);
    }
  }
  void bind_blob(int i, std::string_view v) {
    check(sqlite3_bind_blob64(statement_, i, v.data(), v.size(), SQLITE_STATIC));
  }

  void bind_rows(int i, const RowSource& v) {
    // SQLite hands the pointer back as it is, to the source's reader.
    check(
        sqlite3_bind_pointer(statement_, i, const_cast<RowSource*>(&v), row_source_type, nullptr));
  }

  void read(int i, std::int64_t& v) const { v = bounded(sqlite3_column_int64(statement_, i)); }
  /// As it is: a fingerprint.
  void read(int i, std::uint64_t& v) const noexcept {
    v = static_cast<std::uint64_t>(sqlite3_column_int64(statement_, i));
  }
  /// As it is: an asset's size may be any.
  void read(int i, std::optional<std::int64_t>& v) const noexcept {
    v.reset();
    if (!is_null(i)) v = sqlite3_column_int64(statement_, i);
  }
  void read(int i, int& v) const noexcept { v = sqlite3_column_int(statement_, i); }
  void read(int i, unsigned& v) const noexcept {
    v = static_cast<unsigned>(sqlite3_column_int(statement_, i));
  }
  void read(int i, std::string& v) const {
    const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, i));
    v.assign(bytes == nullptr ? "" : bytes,
             static_cast<std::size_t>(sqlite3_column_bytes(statement_, i)));
  }
  void read(int i, Uuid& v) const {
    const void* bytes = sqlite3_column_blob(statement_, i);
    if (bytes == nullptr || sqlite3_column_bytes(statement_, i) != 16) {
      throw SQLite::Exception("a UUID is not 16 bytes", SQLITE_CORRUPT);
    }
    std::memcpy(v.bytes.data(), bytes, 16);
  }
  void read(int i, Timestamp& v) const { v.us = within(i, Timestamp::us_min, Timestamp::us_max); }
  void read(int i, JobStatus& v) const {
    v = static_cast<JobStatus>(within(i, 0, static_cast<int>(JobStatus::FAILED)));
  }
  void read(int i, StepState& v) const {
    v = static_cast<StepState>(within(i, 0, static_cast<int>(StepState::failed)));
  }
  template <class T>
  void read(int i, std::optional<T>& v) const {
    if (is_null(i)) {
      v.reset();
    } else {
      read(i, v.emplace());
    }
  }

 private:
  std::int64_t within(int i, std::int64_t min, std::int64_t max) const {
    const std::int64_t v = sqlite3_column_int64(statement_, i);
    if (v < min || v > max)
      throw SQLite::Exception("a row has what its column cannot be: " + std::to_string(v),
                              SQLITE_CORRUPT);
    return v;
  }
  void check(int rc) const {
    if (rc != SQLITE_OK) throw SQLite::Exception(db_, rc);
  }
  sqlite3* db_;
  Gate* gate_;
  sqlite3_stmt* statement_ = nullptr;
};

/// While it lives, `goes_on` is asked ten times a second at the most, also within one long
/// statement, which false ends with SQLITE_INTERRUPT. It must not throw.
class Watched {
 public:
  Watched(SQLite::Database& db, std::function<bool()> goes_on)
      : db_(db.getHandle()), goes_on_(std::move(goes_on)) {
    constexpr int instructions = 4'096;
    sqlite3_progress_handler(
        db_, instructions,
        [](void* self) { return static_cast<Watched*>(self)->is_over() ? 1 : 0; }, this);
  }
  ~Watched() { sqlite3_progress_handler(db_, 0, nullptr, nullptr); }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

 private:
  using Clock = std::chrono::steady_clock;

  bool is_over() {
    const auto now = Clock::now();
    if (now - asked_ < std::chrono::milliseconds(100)) return false;
    asked_ = now;
    return !goes_on_();
  }

  sqlite3* db_;
  std::function<bool()> goes_on_;
  Clock::time_point asked_ = Clock::now();
};

/// Resets a statement that may be left between rows.
class Rewind {
 public:
  explicit Rewind(Query& query) noexcept : query_(query) {}
  ~Rewind() { query_.reset(); }
  Rewind(const Rewind&) = delete;
  Rewind& operator=(const Rewind&) = delete;

 private:
  Query& query_;
};

}  // namespace tally
