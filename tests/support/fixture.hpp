#pragma once
// What the engine's tests share: a mirror in a folder of its own, a short way to write trace lines,
// and the file's rows as text.

#include <tally/engine.hpp>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/folder.hpp"
#include "support/system.hpp"

namespace tally::test {

// ---- ids and times that a person can read -------------------------------------------------------

/// `letter` and `n` as a UUID of version 7: id('u', 3) is 00000075-0000-7000-8000-000000000003.
Uuid id(char letter, std::uint64_t n);
inline Uuid user_id(std::uint64_t n) { return id('u', n); }
inline Uuid project_id(std::uint64_t n) { return id('p', n); }
inline Uuid job_id(std::uint64_t n) { return id('j', n); }
inline Uuid op_id(std::uint64_t n) { return id('o', n); }

/// 2026-01-18T00:00:00Z and so many seconds.
Timestamp time_at(std::int64_t seconds);

// ---- lines --------------------------------------------------------------------------------------

/// Makes trace lines of a short form: `reserve_credits user_id=u1 job_id=j1 amount=8`. A value that
/// is a letter and a number is that id; a bare word is a string; anything else is JSON as it is.
/// `op_id` and `at` are added where the line does not give them: op_ids are counted from
/// id('o', 1001), and each line is a second later than the one before. In a batch, `ops=` is
/// followed by `( … ; … )`, lines again.
class LineMaker {
 public:
  std::string line(std::string_view text);
  /// The op_id of the latest line that did not give one.
  Uuid latest_op_id() const { return op_id(operations_ + 1000); }

 private:
  std::string object(std::string_view text, bool inner);
  std::uint64_t operations_ = 0;
  std::int64_t seconds_ = 0;
};

/// A line in the short form, and `<code> <balance>` as its answer; a missing balance is `-`, and
/// `index=N` and `id=…` follow where the result has them.
struct Row {
  std::string line;
  std::string answer;
};
using Rows = std::vector<Row>;

/// The short form of a result line: `ok 2`.
std::string short_answer(const std::string& result_line);

/// A text of so many bytes.
inline std::string text_of(std::size_t bytes) { return std::string(bytes, 'x'); }
/// A JSON string literal.
std::string json_string(std::string_view text);

// ---- a mirror -----------------------------------------------------------------------------------

/// A mirror in a private folder, and an engine on it. Aborts the test where it cannot be opened.
class TemporaryMirror {
 public:
  explicit TemporaryMirror(Options options = fast());
  /// Without an fsync for each commit; most tests do not look at the disk.
  static Options fast();

  Engine& engine() { return *engine_; }
  Engine* operator->() { return &*engine_; }
  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& folder() const { return folder_.path(); }
  void close() { engine_.reset(); }
  void open();
  void open(Options options);
  void reopen() {
    close();
    open();
  }

  /// The verdicts of a submit that must not fail as a whole.
  std::vector<Verdict> submit(std::vector<Command> commands);
  /// Applies a whole trace line; the answer is the result line.
  std::string apply_line(std::string_view trace_line);
  /// Applies a line in the short form; the answer is short, too.
  std::string apply(std::string_view text) { return short_answer(apply_line(lines.line(text))); }
  /// Applies each row's line and checks its answer.
  void check(const Rows& rows);
  /// Users u1 … with their 10 credits, each with project p1 … and jobs j1 …: job jN is user uN's.
  void make_users(int count);
  std::int64_t balance(std::uint64_t user = 1);
  /// What audit() found, one text a finding: `I1 …`.
  std::vector<std::string> findings();

  LineMaker lines;

 private:
  TemporaryFolder folder_;
  std::filesystem::path path_;
  Options options_;
  std::optional<Engine> engine_;
  std::uint64_t line_number_ = 0;
};

// ---- the file itself ----------------------------------------------------------------------------

/// The path as SQLite wants it.
std::string utf8(const std::filesystem::path& path);
/// Every row of every table (not view), as text, by table.
using Dump = std::map<std::string, std::vector<std::string>>;
Dump dump(const std::filesystem::path& file, const std::vector<std::string>& without = {});
/// Where two dumps differ; empty where they do not.
std::string difference(const Dump& before, const Dump& after);
/// The rows of a query, columns joined with `|`, NULL as `NULL`.
std::vector<std::string> query(const std::filesystem::path& file, const std::string& sql);
/// Runs statements on the file behind the engine's back, foreign keys and triggers off.
void tamper(const std::filesystem::path& file, const std::string& sql);
/// An open write transaction of somebody else's; rolled back at its end.
class RawTransaction {
 public:
  explicit RawTransaction(const std::filesystem::path& file);
  ~RawTransaction();
  RawTransaction(const RawTransaction&) = delete;
  RawTransaction& operator=(const RawTransaction&) = delete;

 private:
  void* db_ = nullptr;
};
/// Copies a mirror that nobody has open.
void copy_mirror(const std::filesystem::path& from, const std::filesystem::path& to);

/// The number that this variable gives to a test, if any.
std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise);
/// Whether TALLY_TEST_LONG=1 asks for the long form of tests that repeat themselves.
bool long_run();

}  // namespace tally::test
