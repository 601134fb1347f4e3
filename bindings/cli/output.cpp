#include "output.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "engine/src/platform.hpp"
#include "platform.hpp"

namespace tally::cli {
namespace {

/// Where print() writes to.
std::FILE* answers = stdout;

[[noreturn]] void output_failed() {
  if (errno == EPIPE)
    throw Stop{Exit::world, "closed_output", ""};  // The reader has what it wanted.
  throw Stop{Exit::world, "io", std::string("cannot write the output: ") + std::strerror(errno)};
}

bool wants_colours() {
  static const bool wanted = [] {
    const char* no_color = std::getenv("NO_COLOR");
    const char* term = std::getenv("TERM");
    const bool is_terminal = answers == stdout ? is_terminal_output() : is_terminal_error();
    return is_terminal && (no_color == nullptr || *no_color == '\0') && term != nullptr &&
           std::string_view(term) != "dumb";
  }();
  return wanted;
}

/// Characters as a terminal shows them: without escape sequences, UTF-8 sequences as one.
std::size_t width(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      i = std::min(text.find('m', i), text.size());
    } else if ((static_cast<unsigned char>(text[i]) & 0xc0U) != 0x80U) {
      ++count;
    }
  }
  return count;
}

std::string padded(std::string_view text, std::size_t to, bool right) {
  const std::string gap(to - std::min(to, width(text)), ' ');
  return right ? gap + std::string(text) : std::string(text) + gap;
}

}  // namespace

Stop stop_for(const Error& error, std::string_view what_to_do) {
  std::string sentence =
      error.detail.empty() ? std::string(row_of(error.code).sentence) : error.detail;
  if (!what_to_do.empty()) {
    if (sentence.ends_with('.')) sentence.pop_back();
    sentence += "; " + std::string(what_to_do);
  }
  return {is_failure(error.code) ? Exit::world : Exit::refused, std::string(name_of(error.code)),
          std::move(sentence)};
}

// ---- writing ----------------------------------------------------------------------------------

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), answers) != text.size()) output_failed();
}

std::string json_text(const JsonValue& value) {
  return value.dump(-1, ' ', false, JsonValue::error_handler_t::replace);
}

void print_json(const JsonValue& value) { print(json_text(value) + "\n"); }

void finish_output() {
  if (std::fflush(answers) != 0) output_failed();
}

void print_to_standard_error() { answers = stderr; }

void print_error(const Stop& stop, bool as_json) {
  if (stop.sentence.empty()) return;
  std::string line = "tally: " + shown(stop.sentence, 4'000);
  if (as_json) {
    line = json_text({{"error", stop.code}, {"detail", stop.sentence}});
  }
  std::fprintf(stderr, "%s\n", line.c_str());
}

// ---- texts for people -------------------------------------------------------------------------

std::string paint(Paint paint, std::string_view text) {
  constexpr std::array<std::string_view, 6> codes{"0", "1", "2", "31", "32", "33"};
  if (paint == Paint::plain || !wants_colours()) return std::string(text);
  return "\x1b[" + std::string(codes[static_cast<std::size_t>(paint)]) + "m" + std::string(text) +
         "\x1b[0m";
}

std::string shown(std::string_view text, std::size_t width_max) {
  std::string out;
  std::size_t count = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0U) != 0x80U && ++count > width_max) return out + "…";
    out += byte < 0x20U || byte == 0x7fU ? ' ' : c;
  }
  return out;
}

std::string thousands(std::int64_t number) {
  std::string digits = std::to_string(number);
  const std::size_t first = digits[0] == '-' ? 1 : 0;
  for (std::size_t i = digits.size(); i > first + 3;) digits.insert(i -= 3, 1, ',');
  return digits;
}

std::string signed_credits(std::int64_t credits, std::string_view minus) {
  return (credits < 0 ? std::string(minus) : credits > 0 ? "+" : "") + thousands(std::abs(credits));
}

std::string credits_text(std::int64_t credits) { return counted(credits, "credit", "credits"); }

std::string short_time(std::string_view text) {
  std::string out(text.substr(0, 19));
  if (out.size() > 10) out[10] = ' ';
  return out;
}

std::string duration(std::int64_t us) {
  constexpr std::int64_t second = 1'000'000;
  const auto two = [](std::int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  if (us < second) return std::to_string(us / 1'000) + " ms";
  const std::int64_t s = us / second;
  if (s < 60) return std::to_string(s) + " s";
  if (s < 3'600) return std::to_string(s / 60) + " min " + two(s % 60) + " s";
  if (s < 86'400) return std::to_string(s / 3'600) + " h " + two(s % 3'600 / 60) + " min";
  return thousands(s / 86'400) + " d " + two(s % 86'400 / 3'600) + " h";
}

std::string counted(std::int64_t number, std::string_view one, std::string_view many) {
  return thousands(number) + " " + std::string(number == 1 ? one : many);
}

std::string joined(const std::vector<std::string>& words, std::string_view between) {
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += between;
    out += word;
  }
  return out;
}

std::size_t page_width() {
  constexpr std::size_t usual = 80;
  constexpr std::size_t least = 30;
  constexpr std::size_t most = 100;  // Longer lines are hard to read.
  std::size_t columns = 0;
  if (const char* given = std::getenv("COLUMNS")) columns = std::strtoul(given, nullptr, 10);
  if (columns == 0) columns = terminal_columns();
  return columns == 0 ? usual : std::clamp(columns, least, most);
}

namespace {

/// The first line goes on from `column`.
std::string wrapped_from(std::size_t column, const std::vector<std::string>& words,
                         std::size_t width, std::size_t indent) {
  std::string out;
  bool is_first = true;
  for (const std::string& word : words) {
    const std::size_t end = column + 1 + cli::width(word);
    if (!is_first) out += end > width ? '\n' + std::string(indent, ' ') : " ";
    column = is_first ? end - 1 : end > width ? indent + cli::width(word) : end;
    is_first = false;
    out += word;
  }
  return out;
}

}  // namespace

std::string wrapped(const std::vector<std::string>& words, std::size_t width, std::size_t indent) {
  return wrapped_from(0, words, width, indent);
}

std::string wrapped(std::string_view text, std::size_t width, std::size_t indent) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return wrapped_from(indent, words, width, indent);
}

namespace {

/// How many characters the last column may have so that a line fits the terminal; none where the
/// output is no terminal, or so narrow that a table is no use on it.
std::optional<std::size_t> room_of_last(const std::vector<std::size_t>& widths,
                                        std::size_t indent) {
  constexpr std::size_t least = 10;
  const std::size_t columns = is_terminal_output() ? terminal_columns() : 0;
  std::size_t taken = indent;
  for (std::size_t c = 0; c + 1 < widths.size(); ++c) taken += widths[c] + 2;
  if (columns < taken + least) return std::nullopt;
  return columns - taken;
}

/// Cut to fit, where it is words: half an id or a painted text is none.
std::string fitting(const std::string& cell, std::size_t room) {
  const bool is_words =
      cell.find(' ') != std::string::npos && cell.find('\x1b') == std::string::npos;
  return width(cell) <= room || !is_words ? cell : shown(cell, room - 1);
}

}  // namespace

std::string Table::text(std::size_t indent) const {
  std::vector<std::size_t> widths(columns_.size());
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    widths[c] = width(columns_[c].title);
    for (const auto& row : rows_) widths[c] = std::max(widths[c], width(row[c]));
  }
  const std::size_t last = columns_.size() - 1;
  const auto room = columns_[last].right ? std::nullopt : room_of_last(widths, indent);
  std::string out;
  const auto add_line = [&](const auto& cell_of) {
    std::string line(indent, ' ');
    for (std::size_t c = 0; c < last; ++c)
      line += padded(cell_of(c), widths[c], columns_[c].right) + "  ";
    line += columns_[last].right ? padded(cell_of(last), widths[last], true)
            : room               ? fitting(cell_of(last), *room)
                                 : cell_of(last);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };
  add_line([&](std::size_t c) { return paint(Paint::dim, columns_[c].title); });
  for (const auto& row : rows_) add_line([&](std::size_t c) { return row[c]; });
  return out;
}

Progress::Progress(std::string what, bool wanted)
    : what_(std::move(what)),
      wanted_(wanted && is_terminal_error()),
      started_(Clock::now()),
      last_(started_) {}

void Progress::show(std::uint64_t count, std::uint64_t total) {
  if (!wanted_) return;
  const auto now = Clock::now();
  if (now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  shown_ = true;
  const double seconds = std::chrono::duration<double>(now - started_).count();
  const double rate = static_cast<double>(count) / seconds;
  std::string line = thousands(static_cast<std::int64_t>(count));
  if (total > 0) line += " of " + thousands(static_cast<std::int64_t>(total));
  line += " " + what_ + ", " + thousands(static_cast<std::int64_t>(rate)) + "/s";
  if (total > count && rate > 0) {
    const double left_us = static_cast<double>(total - count) / rate * 1e6;
    line += ", " + duration(static_cast<std::int64_t>(left_us)) + " left";
  }
  // A line that is broken cannot be taken back.
  std::fprintf(stderr, "\r\x1b[K%s", shown(line, page_width() - 2).c_str());
}

bool Progress::watch(std::int64_t count, std::int64_t total) {
  show(static_cast<std::uint64_t>(count), static_cast<std::uint64_t>(total));
  return !end_is_asked();
}

void Progress::clear() {
  if (shown_) std::fputs("\r\x1b[K", stderr);
  shown_ = false;
}

void stop_if_asked(const std::string& how_far) {
  if (end_is_asked()) throw Stop{Exit::interrupted, "interrupted", "interrupted: " + how_far};
}

// ---- files ------------------------------------------------------------------------------------

void must_not_be_read(const std::string& out, std::string_view option,
                      const std::vector<std::string>& inputs) {
  if (out.empty() || out == "-") return;
  std::error_code ignored;
  for (const std::string& input : inputs) {
    for (const char* companion : {"", "-wal", "-shm"}) {
      if (input.empty() || !std::filesystem::equivalent(out, input + companion, ignored)) continue;
      throw Stop{
          Exit::usage, "usage",
          std::string(option) + " would overwrite " + input + companion + "; name another file"};
    }
  }
}

Output::Output(const std::string& path) : path_(path) {
  if (path.empty()) return;
  part_ = path + "-" + new_uuid_v7().text();
  file_ = std::fopen(part_.c_str(), "wbx");
  if (file_ == nullptr) fail(errno);
  std::error_code ignored;  // Not every file system knows owners.
  std::filesystem::permissions(
      part_, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write, ignored);
}

Output::~Output() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::remove(part_.c_str());
}

void Output::write(std::string_view text) {
  if (file_ == nullptr) return print(text);
  if (std::fwrite(text.data(), 1, text.size(), file_) != text.size()) fail(errno);
}

void Output::finish() {
  if (file_ == nullptr) return finish_output();
  if (std::fflush(file_) != 0) fail(errno);
  try {
    platform::sync_file(part_);
    platform::rename_synced(part_, path_);
  } catch (const std::system_error& e) {
    fail(e.code().value());
  }
  std::fclose(std::exchange(file_, nullptr));
}

void Output::fail(int error) const {
  throw Stop{Exit::world, "io", "cannot write " + path_ + ": " + std::strerror(error)};
}

std::string quoted(std::string_view text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("-_./:@%+,").find(c) != std::string_view::npos;
  });
  if (plain) return std::string(text);
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// ---- the libraries' values as JSON ------------------------------------------------------------

JsonValue to_json(const std::optional<std::string>& text) {
  return text ? JsonValue(*text) : JsonValue(nullptr);
}

JsonValue to_json(const std::optional<Uuid>& id) {
  return id ? JsonValue(id->text()) : JsonValue(nullptr);
}

JsonValue parsed(const std::string& text) {
  JsonValue value = JsonValue::parse(text, nullptr, false);
  return value.is_discarded() ? JsonValue(text) : value;
}

JsonValue to_json(const Entry& entry) { return parsed(texts::entry_text(entry)); }
JsonValue to_json(const ViewRow& row) { return parsed(texts::row_text(row)); }
JsonValue to_json(const std::vector<ViewRow>& rows) { return parsed(texts::rows_text(rows)); }

std::optional<std::string> column(const ViewRow& row, std::string_view name) {
  for (const auto& [column_name, text] : row) {
    if (column_name == name) return text;
  }
  return std::nullopt;
}

std::string word(const ViewRow& row, std::string_view name) {
  return column(row, name).value_or("");
}

}  // namespace tally::cli
