#pragma once
// What every command says and how: exit statuses, errors, texts for people, tables, progress.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json_texts.hpp"
#include "tally/engine.hpp"

namespace tally::cli {

using texts::hex;

/// Keys stay in the order in which they were set.
using JsonValue = nlohmann::ordered_json;

enum class Exit : int {
  fine = 0,
  refused = 1,  ///< A refusal, or the halves differ, or an audit found something.
  usage = 2,
  world = 3,          ///< Disk, server, memory, a closed output.
  interrupted = 130,  ///< By SIGINT or SIGTERM, as shells have it; everything is whole.
};

/// Thrown to end a command. An empty sentence ends it silently.
struct Stop {
  Exit exit = Exit::world;
  std::string code;
  std::string sentence;
};

/// The exit status and the sentence that an Error of the libraries ends a command with.
Stop stop_for(const Error& error, std::string_view what_to_do = {});

/// The value, or the end of the command. `what_to_do` is the second half of the sentence.
template <class T>
T take(Result<T> result, std::string_view what_to_do = {}) {
  if (!result) throw stop_for(result.error(), what_to_do);
  return std::move(result).value();
}

// ---- writing ----------------------------------------------------------------------------------

/// To standard output. Throws a silent Stop when nobody reads it any more.
void print(std::string_view text);
void print_json(const JsonValue& value);
/// On one line; bytes that are no text come as the replacement character.
std::string json_text(const JsonValue& value);
/// Flushes standard output; throws a Stop when that fails.
void finish_output();
/// From here on what is printed goes to standard error: something else has standard output alone.
void print_to_standard_error();
/// To standard error: a sentence, or with `as_json` an object of one line.
void print_error(const Stop& stop, bool as_json);

// ---- texts for people -------------------------------------------------------------------------

enum class Paint : std::uint8_t { plain, bold, dim, red, green, yellow };
/// Coloured where standard output is a terminal that wants colours.
std::string paint(Paint paint, std::string_view text);

/// Without control characters, which a terminal would obey, and cut to `width_max` characters.
std::string shown(std::string_view text, std::size_t width_max = 60);
/// `1,234,567`
std::string thousands(std::int64_t number);
/// `+8`, `-8`, `0`; a page's minus lines up with the plus, and a shell takes it for none.
std::string signed_credits(std::int64_t credits, std::string_view minus = "-");
/// `1 credit`, `8 credits`
std::string credits_text(std::int64_t credits);
/// `2026-01-19 09:00:00`, from a time's text in full.
std::string short_time(std::string_view text);
/// `350 ms`, `19 s`, `2 min 05 s`, `1 h 02 min`, `3 d 01 h`
std::string duration(std::int64_t us);
/// `1 row`, `2 rows`
std::string counted(std::int64_t number, std::string_view one, std::string_view many);

std::string joined(const std::vector<std::string>& words, std::string_view between = ", ");
/// The characters that a line may have: COLUMNS, else the terminal's width, else 80.
std::size_t page_width();
/// Broken between words into lines of at most `width`; all but the first behind `indent` spaces.
/// Of a text the first is taken to start there, too.
std::string wrapped(const std::vector<std::string>& words, std::size_t width, std::size_t indent);
std::string wrapped(std::string_view text, std::size_t width, std::size_t indent);

/// Columns aligned by what they hold.
class Table {
 public:
  struct Column {
    std::string title;
    bool right = false;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  /// Each line behind `indent` spaces.
  std::string text(std::size_t indent = 0) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// One line on a terminal's standard error that says how far a command is; nothing on a pipe.
class Progress {
 public:
  Progress(std::string what, bool wanted);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Shows the count, ten times a second at the most, and where the total is known how much time is
  /// left at the rate so far.
  void show(std::uint64_t count, std::uint64_t total = 0);
  /// As a watch of the engine's: shows the count, and ends the call where a signal asks for it.
  bool watch(std::int64_t count, std::int64_t total);
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  bool wanted_;
  bool shown_ = false;
  Clock::time_point started_;
  Clock::time_point last_;
};

/// Ends the command where a signal asked for it: `how_far` it came is the sentence.
void stop_if_asked(const std::string& how_far);

// ---- files ------------------------------------------------------------------------------------

/// Stops, before anything is opened, where the file that `option` names is one that the command
/// reads: of a mirror, its companions, too. An empty name and `-` are none.
void must_not_be_read(const std::string& out, std::string_view option,
                      const std::vector<std::string>& inputs);

/// What a command writes: to standard output, or into a file of its owner's alone (texts of a
/// mirror are in it) that is there whole, under its name and on disk, or not at all.
class Output {
 public:
  /// Standard output where the path is empty. Throws a Stop.
  explicit Output(const std::string& path);
  /// Removes what was not finished.
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(std::string_view text);
  void finish();
  bool is_file() const noexcept { return file_ != nullptr; }

 private:
  [[noreturn]] void fail(int error) const;

  std::string path_;
  std::string part_;  ///< The name until it is finished.
  std::FILE* file_ = nullptr;
};

/// For callbacks of the engine, which may not throw: what they threw comes when it has returned.
class Kept {
 public:
  template <class Body>
  bool run(Body&& body) {
    try {
      body();
      return true;
    } catch (...) {
      thrown_ = std::current_exception();
      return false;
    }
  }
  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  std::exception_ptr thrown_;
};

/// One word of a shell's.
std::string quoted(std::string_view text);

// ---- the libraries' values as JSON ------------------------------------------------------------

/// JSON as it is, other text as a string.
JsonValue parsed(const std::string& text);
JsonValue to_json(const std::optional<std::string>& text);
JsonValue to_json(const std::optional<Uuid>& id);
JsonValue to_json(const Entry& entry);
/// Numbers as numbers and JSON columns as JSON, by the column's name.
JsonValue to_json(const ViewRow& row);
JsonValue to_json(const std::vector<ViewRow>& rows);

/// A column of a view's row; nothing where it is NULL.
std::optional<std::string> column(const ViewRow& row, std::string_view name);
/// The same, empty where it is NULL.
std::string word(const ViewRow& row, std::string_view name);

}  // namespace tally::cli
