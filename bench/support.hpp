#pragma once
// What the benchmarks share: time and medians, a temporary folder, a ledger to work on, raw SQLite.

#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tally/engine.hpp"

namespace tally::bench {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The value below which that share of them is; the median is that of 0.5.
inline double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const auto place = static_cast<std::size_t>(share * static_cast<double>(values.size()));
  return values.at(std::min(place, values.size() - 1));
}
inline double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

/// Nanoseconds a call, of calls made for so long. A clock is read once in 64 calls, and a window is
/// shorter than a time slice: a median of many windows leaves out those in which the thread was
/// descheduled.
template <class Call>
double window_ns(Call&& call, std::chrono::microseconds length = std::chrono::milliseconds{1}) {
  constexpr int calls_a_look = 64;
  const auto start = Clock::now();
  std::size_t calls = 0;
  Clock::duration taken{};
  do {
    for (int i = 0; i < calls_a_look; ++i) call();
    calls += calls_a_look;
    taken = Clock::now() - start;
  } while (taken < length);
  return std::chrono::duration<double, std::nano>(taken).count() / static_cast<double>(calls);
}

/// Has the compiler make the value, and not look at what for.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

/// Small, fast, the same everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() noexcept {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31U);
  }
  std::size_t below(std::size_t n) noexcept { return static_cast<std::size_t>(next() % n); }

 private:
  std::uint64_t state_;
};

/// A folder that is gone with it; under TALLY_BENCH_DIR where that is set (to choose the disk).
class Folder {
 public:
  Folder() {
    const char* parent = std::getenv("TALLY_BENCH_DIR");
    std::string form =
        (parent != nullptr ? std::string(parent) : std::filesystem::current_path().string()) +
        "/tally-bench-XXXXXX";
    if (mkdtemp(form.data()) == nullptr) throw std::runtime_error("no temporary folder at " + form);
    path_ = form;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

/// Unwraps a result, or says what went wrong: a benchmark of failures measures nothing.
template <class T>
T expect(Result<T> result) {
  if (!result)
    throw std::runtime_error(std::string(name_of(result.error().code)) + ": " +
                             result.error().detail);
  return std::move(result).value();
}

/// Raw SQLite with the engine's settings.
class Raw {
 public:
  explicit Raw(const std::filesystem::path& path) {
    check(sqlite3_open_v2(path.c_str(), &db_,
                          SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                          nullptr));
    exec(
        "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on;"
        "pragma cache_size = -8192; pragma wal_autocheckpoint = 4000");
  }
  ~Raw() {
    for (sqlite3_stmt* statement : statements_) sqlite3_finalize(statement);
    sqlite3_close(db_);
  }
  Raw(const Raw&) = delete;
  Raw& operator=(const Raw&) = delete;

  /// Lets the WAL grow to what it grows to before a checkpoint, by doing and undoing the same:
  /// while it grows, each fsync costs more, and who has less of that behind it would look slower.
  void grow_wal(const std::string& change, const std::string& undo) {
    exec("pragma synchronous = off");
    const std::string wal = std::string(sqlite3_db_filename(db_, "main")) + "-wal";
    constexpr std::uintmax_t full = 4'000 * 4'096;
    for (int i = 0; i < 400 && std::filesystem::file_size(wal) < full; ++i) {
      exec(change);
      exec(undo);
    }
    exec("pragma synchronous = full; pragma wal_checkpoint");
  }
  void exec(const std::string& sql) {
    check(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr));
  }
  sqlite3_stmt* prepare(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v3(db_, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr));
    statements_.push_back(statement);
    return statement;
  }
  /// Binds whole numbers and 16-byte ids, runs, resets; the first column, as a number.
  template <class... Args>
  std::int64_t run(sqlite3_stmt* statement, const Args&... args) {
    int i = 0;
    (bind(statement, ++i, args), ...);
    const int rc = sqlite3_step(statement);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) check(rc);
    const std::int64_t first = rc == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_reset(statement);
    return first;
  }
  /// Calls row(column) for each row, where column(i) is its number.
  template <class Row>
  void each(const std::string& sql, Row&& row) {
    sqlite3_stmt* statement = prepare(sql);
    while (sqlite3_step(statement) == SQLITE_ROW)
      row([&](int i) { return sqlite3_column_int64(statement, i); });
    sqlite3_reset(statement);
  }
  /// The first column of all rows, as numbers.
  std::vector<std::int64_t> numbers(const std::string& sql) {
    std::vector<std::int64_t> out;
    each(sql, [&](auto column) { out.push_back(column(0)); });
    return out;
  }
  std::int64_t number(const std::string& sql) { return numbers(sql).at(0); }

 private:
  void bind(sqlite3_stmt* s, int i, std::int64_t v) { check(sqlite3_bind_int64(s, i, v)); }
  void bind(sqlite3_stmt* s, int i, const Uuid& v) {
    check(sqlite3_bind_blob(s, i, v.bytes.data(), 16, SQLITE_STATIC));
  }
  void bind(sqlite3_stmt* s, int i, const std::string& v) {
    check(sqlite3_bind_blob64(s, i, v.data(), v.size(), SQLITE_STATIC));
  }
  void bind(sqlite3_stmt* s, int i, std::nullptr_t) { check(sqlite3_bind_null(s, i)); }
  void check(int rc) const {
    if (rc != SQLITE_OK) throw std::runtime_error(sqlite3_errmsg(db_));
  }
  sqlite3* db_ = nullptr;
  std::vector<sqlite3_stmt*> statements_;
};

/// A mirror with users, one project each, and jobs to spend on.
class Ledger {
 public:
  Ledger(const std::filesystem::path& path, std::size_t users,
         Durability durability = Durability::full)
      : engine(expect(Engine::open(path, options(durability)))) {
    std::vector<Command> commands;
    for (std::size_t i = 0; i < users; ++i) {
      const Uuid user = new_uuid_v7();
      const Uuid project = new_uuid_v7();
      this->users.push_back(user);
      projects.push_back(project);
      commands.push_back(engine.make_command(CreateUser{user}));
      commands.push_back(engine.make_command(AddCredits{user, Credits{1'000'000'000}, "purchase"}));
      commands.push_back(
          engine.make_command(CreateProject{project, user, "Bench", "p", "facts", 1}));
      if (commands.size() >= 7'500) submit(commands);
    }
    submit(commands);
  }

  /// New PENDING jobs, each of a user taken at random.
  struct Job {
    Uuid id;
    std::size_t user;
  };
  std::vector<Job> make_jobs(std::size_t count, Random& random) {
    std::vector<Job> jobs;
    std::vector<Command> commands;
    for (std::size_t i = 0; i < count; ++i) {
      const Job job{new_uuid_v7(), random.below(users.size())};
      jobs.push_back(job);
      commands.push_back(
          engine.make_command(CreateJob{job.id, projects[job.user], users[job.user]}));
      if (commands.size() >= 8'000) submit(commands);
    }
    submit(commands);
    return jobs;
  }
  /// See Raw::grow_wal.
  static void grow_wal(Raw& raw) {
    raw.grow_wal("update tally_account set balance = balance - 1",
                 "update tally_account set balance = balance + 1");
  }
  void submit(std::vector<Command>& commands) {
    if (commands.empty()) return;
    for (const Verdict& verdict : expect(engine.submit(std::move(commands)))) {
      if (verdict.code != Code::ok) throw std::runtime_error(std::string(name_of(verdict.code)));
    }
    commands.clear();
  }

  Engine engine;
  std::vector<Uuid> users;
  std::vector<Uuid> projects;

 private:
  static Options options(Durability durability) {
    Options options;
    options.durability = durability;
    return options;
  }
};

}  // namespace tally::bench
