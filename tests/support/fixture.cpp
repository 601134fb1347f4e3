#include "support/fixture.hpp"

#include <doctest/doctest.h>
#include <sqlite3.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace tally::test {

// ---- ids and times ------------------------------------------------------------------------------

Uuid id(char letter, std::uint64_t n) {
  Uuid made;
  made.bytes[3] = static_cast<std::uint8_t>(letter);
  made.bytes[6] = 0x70;
  made.bytes[8] = 0x80;
  for (std::size_t i = 0; i < 6; ++i) made.bytes[15 - i] = static_cast<std::uint8_t>(n >> (8 * i));
  return made;
}

Timestamp time_at(std::int64_t seconds) {
  return Timestamp::parse("2026-01-18T00:00:00.000000Z").value().plus_seconds(seconds);
}

// ---- lines --------------------------------------------------------------------------------------

namespace {

/// Splits at `separator` outside quotes and brackets.
std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts(1);
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      parts.back() += c;
      if (++i < text.size()) parts.back() += text[i];
      continue;
    }
    if (c == '"') in_string = !in_string;
    if (!in_string && (c == '(' || c == '{' || c == '[')) ++depth;
    if (!in_string && (c == ')' || c == '}' || c == ']')) --depth;
    if (c == separator && depth == 0 && !in_string) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  std::erase_if(parts, [](const std::string& part) {
    return part.find_first_not_of(' ') == std::string::npos;
  });
  return parts;
}

bool is_id(std::string_view value) {
  return value.size() >= 2 && std::islower(static_cast<unsigned char>(value[0])) != 0 &&
         std::all_of(value.begin() + 1, value.end(),
                     [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; });
}

bool is_word(std::string_view value) {
  if (value == "true" || value == "false" || value == "null") return false;
  return !value.empty() && std::isalpha(static_cast<unsigned char>(value[0])) != 0;
}

std::string json_value(const std::string& value) {
  if (is_id(value)) return json_string(id(value[0], std::stoull(value.substr(1))).text());
  return is_word(value) ? json_string(value) : value;
}

}  // namespace

std::string json_string(std::string_view text) { return nlohmann::json(text).dump(); }

std::string LineMaker::line(std::string_view text) { return object(text, false); }

std::string LineMaker::object(std::string_view text, bool inner) {
  const std::vector<std::string> words = split(text, ' ');
  std::string given;
  bool has_op_id = false;
  bool has_at = inner;
  for (std::size_t i = 1; i < words.size(); ++i) {
    const std::size_t equals = words[i].find('=');
    const std::string key = words[i].substr(0, equals);
    const std::string value = words[i].substr(equals + 1);
    has_op_id = has_op_id || key == "op_id";
    has_at = has_at || key == "at";
    given += ",\"" + key + "\":";
    if (!value.empty() && value.front() == '(') {
      std::string items;
      for (const std::string& item : split(value.substr(1, value.size() - 2), ';')) {
        items += (items.empty() ? "" : ",") + object(item, true);
      }
      given += "[" + items + "]";
    } else {
      given += json_value(value);
    }
  }
  std::string line = "{\"op\":" + json_string(words.at(0));
  if (!has_op_id) line += ",\"op_id\":" + json_string(op_id(++operations_ + 1000).text());
  if (!has_at) line += ",\"at\":" + json_string(time_at(++seconds_).text());
  return line + given + "}";
}

std::string short_answer(const std::string& result_line) {
  const auto result = nlohmann::json::parse(result_line);
  std::string answer = result.at("result").get<std::string>();
  answer += " " + (result.at("balance").is_null() ? "-" : result.at("balance").dump());
  if (result.contains("index")) answer += " index=" + result.at("index").dump();
  if (result.contains("id")) answer += " id=" + result.at("id").get<std::string>();
  if (result.contains("line")) answer += " line";
  return answer;
}

// ---- a mirror -----------------------------------------------------------------------------------

Options TemporaryMirror::fast() {
  Options options;
  options.durability = Durability::normal;
  return options;
}

TemporaryMirror::TemporaryMirror(Options options)
    : path_(folder_.path() / "mirror.db"), options_(std::move(options)) {
  open();
}

void TemporaryMirror::open() {
  auto opened = Engine::open(path_, options_);
  if (!opened) {
    throw std::runtime_error("open: " + std::string(name_of(opened.error().code)) + " " +
                             opened.error().detail);
  }
  engine_.emplace(std::move(opened).value());
}

void TemporaryMirror::open(Options options) {
  options_ = std::move(options);
  open();
}

std::string TemporaryMirror::apply_line(std::string_view line) {
  ++line_number_;
  std::optional<Command> command = parse_trace_line(line);
  if (!command) return not_an_operation_line(line_number_);
  std::vector<Command> commands;
  commands.push_back(std::move(*command));
  return result_line(submit(std::move(commands)).at(0));
}

std::vector<Verdict> TemporaryMirror::submit(std::vector<Command> commands) {
  auto verdicts = engine().submit(std::move(commands));
  if (!verdicts) {
    throw std::runtime_error("submit: " + std::string(name_of(verdicts.error().code)) + " " +
                             verdicts.error().detail);
  }
  return std::move(verdicts).value();
}

void TemporaryMirror::check(const Rows& rows) {
  for (const Row& row : rows) {
    CAPTURE(row.line);
    CHECK(apply(row.line) == row.answer);
  }
}

void TemporaryMirror::make_users(int count) {
  for (int n = 1; n <= count; ++n) {
    const std::string number = std::to_string(n);
    REQUIRE(apply("create_user user_id=u" + number) == "ok 10");
    REQUIRE(apply("create_project project_id=p" + number + " user_id=u" + number +
                  " title=Whales prompt_text=Sing niche_preset=facts target_minutes=3") == "ok 10");
    REQUIRE(apply("create_job job_id=j" + number + " project_id=p" + number + " user_id=u" +
                  number) == "ok 10");
  }
}

std::int64_t TemporaryMirror::balance(std::uint64_t user) {
  const auto balance = engine().balance(user_id(user));
  REQUIRE(balance.has_value());
  return balance->value;
}

std::vector<std::string> TemporaryMirror::findings() {
  const auto report = engine().audit();
  REQUIRE(report.has_value());
  std::vector<std::string> texts;
  for (const Finding& finding : report->findings) {
    texts.push_back(finding.invariant + " " + finding.detail);
  }
  return texts;
}

// ---- the file itself ----------------------------------------------------------------------------

std::string utf8(const std::filesystem::path& path) {
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
}

namespace {

class Connection {
 public:
  explicit Connection(const std::filesystem::path& file) {
    if (sqlite3_open_v2(utf8(file).c_str(), &db_, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK)
      fail();
    sqlite3_busy_timeout(db_, 10'000);
  }
  ~Connection() { sqlite3_close(db_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  std::vector<std::string> rows(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) fail();
    std::vector<std::string> rows;
    int rc = 0;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
      std::string& row = rows.emplace_back();
      for (int i = 0; i < sqlite3_column_count(statement); ++i) {
        if (i > 0) row += '|';
        const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, i));
        row += text == nullptr ? "NULL" : text;
      }
    }
    sqlite3_finalize(statement);
    if (rc != SQLITE_DONE) fail();
    return rows;
  }
  void run(const std::string& sql) {
    if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) fail();
  }

 private:
  [[noreturn]] void fail() {
    throw std::runtime_error(std::string("raw SQLite: ") + sqlite3_errmsg(db_));
  }
  sqlite3* db_ = nullptr;
};

}  // namespace

Dump dump(const std::filesystem::path& file, const std::vector<std::string>& without) {
  Connection connection(file);
  Dump tables;
  for (const std::string& table :
       connection.rows("select name from sqlite_schema where type = 'table' order by name")) {
    if (std::find(without.begin(), without.end(), table) != without.end()) continue;
    std::string columns;
    for (const std::string& column :
         connection.rows("select name from pragma_table_info('" + table + "') order by cid")) {
      columns += (columns.empty() ? "quote(\"" : ", quote(\"") + column + "\")";
    }
    tables[table] = connection.rows("select " + columns + " from \"" + table + "\"");
    std::sort(tables[table].begin(), tables[table].end());
  }
  return tables;
}

std::string difference(const Dump& before, const Dump& after) {
  std::string text;
  for (const auto& [table, rows] : before) {
    const auto other = after.find(table);
    const std::vector<std::string> others =
        other == after.end() ? std::vector<std::string>{} : other->second;
    std::vector<std::string> only;
    std::set_difference(rows.begin(), rows.end(), others.begin(), others.end(),
                        std::back_inserter(only));
    for (const std::string& row : only) text += "\n- " + table + " " + row.substr(0, 400);
    only.clear();
    std::set_difference(others.begin(), others.end(), rows.begin(), rows.end(),
                        std::back_inserter(only));
    for (const std::string& row : only) text += "\n+ " + table + " " + row.substr(0, 400);
  }
  for (const auto& [table, rows] : after) {
    if (!before.contains(table)) text += "\n+ table " + table;
  }
  return text;
}

std::vector<std::string> query(const std::filesystem::path& file, const std::string& sql) {
  return Connection(file).rows(sql);
}

void tamper(const std::filesystem::path& file, const std::string& sql) {
  Connection connection(file);
  connection.run("pragma foreign_keys = off; pragma ignore_check_constraints = on;");
  connection.run(sql);
}

RawTransaction::RawTransaction(const std::filesystem::path& file) {
  sqlite3* db = nullptr;
  const bool begun =
      sqlite3_open_v2(utf8(file).c_str(), &db, SQLITE_OPEN_READWRITE, nullptr) == SQLITE_OK &&
      sqlite3_exec(db, "begin immediate", nullptr, nullptr, nullptr) == SQLITE_OK;
  db_ = db;
  if (!begun) throw std::runtime_error("no transaction on " + utf8(file));
}
RawTransaction::~RawTransaction() { sqlite3_close(static_cast<sqlite3*>(db_)); }

void copy_mirror(const std::filesystem::path& from, const std::filesystem::path& to) {
  for (const char* suffix : {"", "-wal"}) {
    std::filesystem::path part = from;
    std::filesystem::path copy = to;
    if (!std::filesystem::exists(part += suffix)) continue;
    // Not by overwrite_existing, which the libstdc++ of mingw-w64 refuses.
    std::filesystem::remove(copy += suffix);
    std::filesystem::copy_file(part, copy);
  }
}

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

bool long_run() {
  const char* value = std::getenv("TALLY_TEST_LONG");
  return value != nullptr && std::string_view(value) == "1";
}

}  // namespace tally::test
