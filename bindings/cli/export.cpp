// export: a mirror's entries, monthly statements and jobs, for spreadsheets and other programs.

#include <array>
#include <memory>
#include <utility>

#include "commands.hpp"
#include "platform.hpp"

namespace tally::cli {
namespace {

constexpr std::array<std::string_view, 3> contents{"entries", "statements", "jobs"};
constexpr std::array<std::string_view, 2> formats{"csv", "jsonl"};

struct Arguments {
  std::string what;
  std::string db;
  std::string format{formats.front()};
  std::string user;
  std::string month;
  std::string out;
};

/// A cell as a spreadsheet takes it. A text that begins like a formula gets an apostrophe in front,
/// which says that it is text: notes come from anybody.
std::string cell(const std::optional<std::string>& text) {
  if (!text) return "";
  std::string out;
  if (!text->empty() &&
      std::string_view("=+-@\t\r\n").find(text->front()) != std::string_view::npos)
    out = "'";
  out += *text;
  if (!out.empty() && out.find_first_of("\",\r\n") == std::string::npos) return out;
  std::string quoted = "\"";
  for (const char c : out) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

/// A value of a line: a number as it is, or a text, or none.
struct Value {
  std::string name;
  std::optional<std::string> text{};
  std::optional<std::int64_t> number{};
};
using Line = std::vector<Value>;

Value number(std::string name, std::int64_t value) { return {std::move(name), {}, value}; }
Value text(std::string name, std::optional<std::string> value) {
  return {std::move(name), std::move(value), {}};
}

/// Lines as they come, in one of the formats, and how far it is.
class Writer {
 public:
  Writer(const Arguments& arguments, bool json)
      : out_(arguments.out),
        csv_(arguments.format == formats.front()),
        progress_(arguments.what, !json && (out_.is_file() || !is_terminal_output())) {}

  /// In CSV the names are a line of their own, also where nothing follows; but not where the export
  /// fails before its first line.
  void begin(const std::vector<std::string>& names) {
    if (csv_) names_ = joined(names, ",") + "\r\n";
  }

  void write(const Line& line) {
    out_.write(std::exchange(names_, ""));
    csv_ ? write_csv(line) : write_json(line);
    progress_.show(static_cast<std::uint64_t>(++lines_));
    stop_if_asked("nothing was written under that name after " + thousands(lines_) + " lines");
  }

  std::int64_t finish() {
    out_.write(names_);
    out_.finish();
    progress_.clear();
    return lines_;
  }

 private:
  void write_csv(const Line& line) {
    std::string out;
    for (const Value& value : line) {
      if (&value != &line.front()) out += ',';
      out += value.number ? std::to_string(*value.number) : cell(value.text);
    }
    out_.write(out + "\r\n");
  }

  void write_json(const Line& line) {
    JsonValue object = JsonValue::object();
    for (const Value& value : line)
      object[value.name] = value.number ? JsonValue(*value.number) : to_json(value.text);
    out_.write(json_text(object) + "\n");
  }

  Output out_;
  bool csv_;
  std::string names_;  ///< While they are not written.
  Progress progress_;
  std::int64_t lines_ = 0;
};

bool is_in(const std::string& month, std::string_view time) {
  return month.empty() || time.substr(0, month.size()) == month;
}

std::optional<std::string> text_of(const std::optional<Uuid>& id) {
  return id ? std::optional(id->text()) : std::nullopt;
}

void export_entries(const Engine& engine, std::optional<Uuid> user, const std::string& month,
                    Writer& out) {
  out.begin({"user_id", "seq", "id", "created_at", "type", "amount", "balance_after", "note",
             "job_id", "stripe_payment_id"});
  Kept kept;
  take(engine.each_entry(user, [&](const Uuid& user_id, const Entry& entry) {
    return kept.run([&] {
      const std::string created_at = entry.created_at.text();
      if (!is_in(month, created_at)) return;
      out.write({text("user_id", user_id.text()), number("seq", entry.seq),
                 text("id", entry.id.text()), text("created_at", created_at),
                 text("type", entry.type), number("amount", entry.amount.value),
                 number("balance_after", entry.balance_after.value), text("note", entry.note),
                 text("job_id", text_of(entry.job_id)),
                 text("stripe_payment_id", entry.stripe_payment_id)});
    });
  }));
  kept.rethrow();
}

void export_statements(const Engine& engine, std::optional<Uuid> user, const std::string& month,
                       Writer& out) {
  std::vector<std::string> names{"user_id", "month", "opening_balance"};
  names.insert(names.end(), entry_types.begin(), entry_types.end());
  names.insert(names.end(), {"closing_balance", "entries"});
  out.begin(names);
  Kept kept;
  take(engine.each_statement(user, [&](const Statement& statement) {
    return kept.run([&] {
      if (!is_in(month, statement.month)) return;
      Line line{text("user_id", statement.user_id.text()), text("month", statement.month),
                number("opening_balance", statement.opening.value)};
      for (std::size_t i = 0; i < entry_types.size(); ++i)
        line.push_back(number(std::string(entry_types[i]), statement.sums[i].value));
      line.push_back(number("closing_balance", statement.closing.value));
      line.push_back(number("entries", statement.entries));
      out.write(line);
    });
  }));
  kept.rethrow();
}

void export_jobs(const Engine& engine, std::optional<Uuid> user, const std::string& month,
                 Writer& out) {
  constexpr std::array<std::string_view, 15> columns{"id",
                                                     "project_id",
                                                     "user_id",
                                                     "status",
                                                     "progress",
                                                     "status_message",
                                                     "cost_credits_reserved",
                                                     "cost_credits_final",
                                                     "failed_step",
                                                     "error_code",
                                                     "error_message",
                                                     "output_url",
                                                     "created_at",
                                                     "started_at",
                                                     "finished_at"};
  out.begin(words_of(columns));
  Kept kept;
  take(engine.each_row("jobs", user, [&](const ViewRow& row) {
    return kept.run([&] {
      if (!is_in(month, column(row, "created_at").value_or(""))) return;
      Line line;
      for (const std::string_view name : columns) {
        const auto value = column(row, name);
        const bool is_number = name == "progress" || name.starts_with("cost_");
        line.push_back(value && is_number ? number(std::string(name), std::stoll(*value))
                                          : text(std::string(name), value));
      }
      out.write(line);
    });
  }));
  kept.rethrow();
}

void check_month(const std::string& month) {
  if (month.empty() || Timestamp::parse(month + "-01T00:00:00.000000Z")) return;
  throw Stop{Exit::usage, "usage", "--month is a year and a month, as 2026-01, not " + month};
}

Exit run_export(const Arguments& arguments, bool json) {
  check_month(arguments.month);
  std::optional<Uuid> user;
  if (!arguments.user.empty()) user = uuid_argument(arguments.user, "--user");
  listen_for_the_end();
  must_not_be_read(arguments.out, "--out", {arguments.db});
  const Engine engine = open_mirror(arguments.db);
  Writer out(arguments, json);
  if (arguments.what == "entries") {
    export_entries(engine, user, arguments.month, out);
  } else if (arguments.what == "statements") {
    export_statements(engine, user, arguments.month, out);
  } else {
    export_jobs(engine, user, arguments.month, out);
  }
  const std::int64_t lines = out.finish();
  if (json)
    std::fprintf(stderr, "%s\n",
                 json_text({{"exported", arguments.what}, {"lines", lines}}).c_str());
  return Exit::fine;
}

constexpr Manual export_manual{
    .name = "export",
    .what = "Write entries, monthly statements or jobs as CSV or JSON Lines",
    .section = Section::mirror,
    .does =
        "entries are a line each, in the order in which the mirror got them, which for each user "
        "is "
        "that of their numbers. statements are a line for each month in which a user had entries: "
        "the opening balance, what each type of entry came to, the closing balance, which is their "
        "sum, and how many entries there were; a month is that of created_at, in UTC. Without a "
        "line "
        "a month had no entries, and its balances are the closing balance before it. jobs are the "
        "PRD's columns but for the manifest, by id; a job's month is when it was made.\n\n"
        "All is one moment of the mirror, written as it is read: it takes little memory however "
        "much "
        "there is. CSV is RFC 4180's, with a line of names, and nothing where there is no value. A "
        "text that begins with = + - @, a tab or a line's end gets an apostrophe in front, so that "
        "no "
        "spreadsheet takes it for a formula; numbers never do. JSON Lines have every text as it "
        "is.",
    .on_disk = "The export, whole, where --out names a file; the mirror is only read.",
    .examples = {{{"Every user's months, for the bookkeeping",
                   "tally export statements --db mirror.db --out statements.csv"},
                  {"Ada's entries of a month",
                   "tally export entries --db mirror.db --month 2026-01 \\\n"
                   "  --user ada00000-0000-4000-8000-000000000001"},
                  {"All jobs, for another program",
                   "tally export jobs --db mirror.db --format jsonl > jobs.jsonl"}}},
    .fine = "It is exported, also where there was nothing.",
    .refused = "The mirror knows no such user.",
    .related = "history, job, trace, backup"};

}  // namespace

void add_export(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, export_manual);
  auto arguments = std::make_shared<Arguments>();
  one_of(command->add_option("what", arguments->what, "What is exported"), run.manuals,
         words_of(contents))
      ->type_name("WHAT")
      ->required();
  add_db(command, arguments->db);
  one_of(command->add_option("--format", arguments->format, "How it is written"), run.manuals,
         words_of(formats))
      ->type_name("WORD")
      ->capture_default_str();
  command->add_option("--user", arguments->user, "Only this user's")->type_name("USER");
  command->add_option("--month", arguments->month, "Only this month, as 2026-01")
      ->type_name("MONTH");
  command->add_option("--out", arguments->out, "Where it goes, instead of standard output")
      ->type_name("FILE");
  command->callback(
      [=, &run] { run.command = [=, &run] { return run_export(*arguments, run.json); }; });
}

}  // namespace tally::cli
