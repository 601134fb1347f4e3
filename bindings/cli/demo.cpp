// demo: a day of two customers, applied to a mirror and replayed to a real PostgreSQL.

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <sstream>
#include <system_error>

#include "commands.hpp"
#include "compare.hpp"
#include "embedded.hpp"
#include "platform.hpp"
#include "replay.hpp"
#include "reports.hpp"
#include "throwaway_postgres.hpp"

namespace tally::cli {
namespace {

namespace fs = std::filesystem;

/// Where the mirror lives: the folder to keep, or a temporary one that goes with the demo.
class Folder {
 public:
  explicit Folder(const std::string& keep) : keep_(!keep.empty()) {
    if (keep_) {
      path_ = keep;
      std::error_code error;
      fs::create_directories(path_, error);
      if (error)
        throw Stop{Exit::world, "io", "cannot make the folder " + keep + ": " + error.message()};
      if (!fs::is_empty(path_))
        throw Stop{Exit::usage, "usage", keep + " is not empty; name a new folder"};
      return;
    }
    try {
      path_ = make_temporary_folder("tally-demo");
    } catch (const std::system_error& e) {
      throw Stop{Exit::world, "io", e.what()};
    }
  }
  ~Folder() {
    std::error_code ignored;
    if (!keep_) fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  fs::path mirror() const { return path_ / "mirror.db"; }
  bool is_kept() const { return keep_; }

 private:
  fs::path path_;
  bool keep_;
};

/// The trace as one half answered it.
struct Answers {
  std::vector<std::string> lines;
  ReplaySummary summary;
};

Answers answers_of(const Half& half) {
  Answers answers;
  ReplayOptions options;
  options.result = [&](std::string_view line) { answers.lines.emplace_back(line); };
  std::istringstream trace{std::string(embedded("demo.jsonl"))};
  answers.summary = replay(trace, half, options);
  return answers;
}

/// Two lists of results that are to be the same, and where they first are not.
struct ResultsPair {
  std::string title;
  std::size_t lines = 0;
  std::optional<std::size_t> differing{};  ///< The line, from 1.
  std::string one{};
  std::string other{};
};

ResultsPair compare_results(std::string title, const std::vector<std::string>& one,
                            const std::vector<std::string>& other) {
  ResultsPair pair{std::move(title), one.size()};
  for (std::size_t i = 0; i < std::max(one.size(), other.size()) && !pair.differing; ++i) {
    pair.one = i < one.size() ? one[i] : "nothing";
    pair.other = i < other.size() ? other[i] : "nothing";
    if (pair.one != pair.other) pair.differing = i + 1;
  }
  return pair;
}

/// Everything the demo found.
struct Findings {
  std::vector<Uuid> users;
  Answers mirror;
  std::optional<Answers> canonical{};
  std::string left_out{};  ///< Why there is no canonical.
  std::vector<ResultsPair> results{};
  std::optional<Comparison> comparison{};
  AuditReport audit{};

  bool fine() const {
    for (const ResultsPair& pair : results) {
      if (pair.differing) return false;
    }
    return (!comparison || comparison->equal()) && audit.findings.empty();
  }
};

/// The job that failed once and was taken up again, and what the trace says of that.
struct RetriedJob {
  Uuid id;
  std::vector<std::string> story{};
};

std::optional<RetriedJob> retried_job() {
  std::vector<Command> commands;
  std::optional<RetriedJob> found;
  for (const std::string& line : lines_of(embedded("demo.jsonl"))) {
    if (auto command = parse_trace_line(line)) commands.push_back(std::move(*command));
    if (commands.empty()) continue;
    if (const auto* retry = std::get_if<RetryJob>(&commands.back().operation))
      found = RetriedJob{retry->job_id};
  }
  for (const Command& command : commands) {
    const std::string at = short_time(command.at.text()) + "  ";
    if (const auto* fail = std::get_if<FailJob>(&command.operation);
        fail && found && fail->job_id == found->id) {
      found->story.push_back(at + "fail_job: " + fail->error_code + ", " +
                             fail->error_message.value_or(""));
    }
    if (const auto* retry = std::get_if<RetryJob>(&command.operation);
        retry && found && retry->job_id == found->id) {
      found->story.push_back(at + "retry_job: " + thousands(retry->amount.value) +
                             " credits held anew");
    }
  }
  return found;
}

std::unique_ptr<ThrowawayPostgres> start_postgres() {
  try {
    return std::make_unique<ThrowawayPostgres>();
  } catch (const std::exception& e) {
    throw Stop{Exit::world, "unreachable",
               std::string("the throw-away PostgreSQL did not start: ") + e.what()};
  }
}

void replay_on_canonical(const Engine& engine, Findings& findings) {
  if (!ThrowawayPostgres::find_binaries()) {
    findings.left_out =
        "no PostgreSQL server is installed here (on Debian: apt-get install postgresql)";
    return;
  }
  const auto postgres = start_postgres();
  sync::Canonical canonical = connect(postgres->conninfo());
  sync::MigrateOptions options;
  options.shim = true;
  take(canonical.migrate(options));
  findings.canonical = answers_of(canonical_half(canonical));
  findings.results.push_back(
      compare_results("mirror and canonical", findings.mirror.lines, findings.canonical->lines));
  findings.comparison = compare(engine, canonical);
}

// ---- what a person sees -----------------------------------------------------------------------

void heading(const std::string& text) { print("\n" + paint(Paint::bold, text) + "\n\n"); }

std::string person(const Engine& engine, const Uuid& user_id) {
  for (const ViewRow& row : take(engine.rows("profiles", user_id))) {
    if (const auto name = column(row, "display_name")) return shown(*name);
  }
  return user_id.text();
}

void print_opening(const Findings& findings) {
  const ReplaySummary& summary = findings.mirror.summary;
  const auto ok = summary.results.find("ok");
  const auto count = [](std::uint64_t n) { return static_cast<std::int64_t>(n); };
  const std::uint64_t fine = ok == summary.results.end() ? 0 : ok->second;
  print(paint(Paint::bold, "A day of two customers, an edge node and a desktop, on one mirror") +
        "\n\n  " + counted(count(summary.operations), "operation", "operations") + ": " +
        thousands(count(fine)) + " ok; refused, with nothing changed:\n");
  for (const auto& [code, n] : summary.results) {
    if (code == "ok") continue;
    const auto known = code_named(code);
    print("  " + std::string(n < 10 ? "  " : " ") + thousands(count(n)) + "  " + code + ": " +
          std::string(known ? row_of(*known).sentence : "") + "\n");
  }
}

void print_statements(const Engine& engine, const Findings& findings) {
  for (const Uuid& user : findings.users) {
    const AccountCheck check = take(engine.check(user));
    heading("Statement of " + person(engine, user) + ": " + thousands(check.balance.value) +
            " credits, " + thousands(check.held.value) + " held");
    print(statement(engine, user, 1'000));
  }
}

void print_retried_job(const Engine& engine) {
  const auto job = retried_job();
  if (!job) return;
  heading("The job that failed in RENDERING and was retried; finished stages were not run again");
  for (const std::string& line : job->story) print("  " + line + "\n");
  print("\n" + job_report(engine, take(engine.job(job->id)), job->id));
}

void print_digests(const Engine& engine, const Comparison& comparison) {
  Table table({{"digest of"}, {"rows", true}, {"mirror"}, {"canonical"}, {""}});
  for (const UserPair& user : comparison.users) {
    for (const TablePair& pair : user.tables) {
      table.add({person(engine, user.user_id) + ", " + pair.mirror.table,
                 thousands(pair.mirror.rows), hex(pair.mirror.digest), hex(pair.canonical.digest),
                 pair.equal() ? paint(Paint::green, "=") : paint(Paint::red, "differs")});
    }
  }
  heading("The embedded mirror (SQLite) and canonical (PostgreSQL), side by side");
  print(table.text(2));
}

void print_verdict(const Findings& findings) {
  print("\n");
  for (const ResultsPair& pair : findings.results) {
    if (!pair.differing) {
      print("  " + paint(Paint::green, "✓") + " " + pair.title + ": " +
            thousands(static_cast<std::int64_t>(pair.lines)) + " results, line by line the same\n");
    } else {
      print("  " + paint(Paint::red, "✗") + " " + pair.title + ": line " +
            std::to_string(*pair.differing) + " differs:\n      " + shown(pair.one, 300) +
            "\n      " + shown(pair.other, 300) + "\n");
    }
  }
  print("  " +
        (findings.audit.findings.empty() ? paint(Paint::green, "✓") : paint(Paint::red, "✗")) +
        " audit of the mirror: " +
        (findings.audit.findings.empty() ? "nothing is wrong"
                                         : shown(findings.audit.findings.front().detail, 200)) +
        "\n");
  if (!findings.comparison) {
    print("\n" + paint(Paint::yellow, "Left out: ") +
          "the replay to PostgreSQL and the comparison of both halves; " + findings.left_out +
          ".\n");
  } else if (findings.fine()) {
    print("\n" + paint(Paint::green, "Both halves equal, to the credit.") + "\n");
  }
  if (findings.comparison && findings.comparison->first) {
    print("  " + paint(Paint::red, "✗") +
          " first difference: " + findings.comparison->first->sentence() + "\n");
  }
  if (!findings.fine()) print("\n" + paint(Paint::red, "Something is wrong.") + "\n");
}

void print_ways_on(const Folder& folder, const Findings& findings) {
  if (!folder.is_kept() || findings.users.empty()) return;
  const std::string db = folder.mirror().string();
  print("\nThe mirror is kept. Look into it:\n  tally account " + findings.users.front().text() +
        " --db " + db + "\n  sqlite3 " + db + " 'select * from credit_ledger'\n");
}

JsonValue to_json(const Engine& engine, const Findings& findings) {
  JsonValue users = JsonValue::array();
  for (const Uuid& user : findings.users) {
    JsonValue entries = JsonValue::array();
    for (const Entry& entry : take(engine.history(user, 1'000)))
      entries.push_back(cli::to_json(entry));
    users.push_back({{"user_id", user.text()},
                     {"balance", take(engine.balance(user)).value},
                     {"entries", std::move(entries)}});
  }
  JsonValue results = JsonValue::array();
  for (const ResultsPair& pair : findings.results) {
    results.push_back(
        {{"compared", pair.title},
         {"lines", pair.lines},
         {"differing_line", pair.differing ? JsonValue(*pair.differing) : JsonValue(nullptr)}});
  }
  return {
      {"fine", findings.fine()},
      {"results", findings.mirror.summary.results},
      {"users", std::move(users)},
      {"compared", std::move(results)},
      {"audit_findings", findings.audit.findings.size()},
      {"left_out", findings.left_out.empty() ? JsonValue(nullptr) : JsonValue(findings.left_out)},
      {"halves", findings.comparison ? cli::to_json(*findings.comparison) : JsonValue(nullptr)}};
}

Exit run_demo(const std::string& keep, bool json) {
  const Folder folder(keep);
  Engine engine = take(Engine::open(folder.mirror()));
  Findings findings;
  findings.mirror = answers_of(mirror_half(engine));
  findings.users = take(engine.users());
  findings.audit = take(engine.audit());
  findings.results.push_back(compare_results("mirror and what the trace is known to give",
                                             findings.mirror.lines,
                                             lines_of(embedded("demo.expected.jsonl"))));
  if (!json) {
    print_opening(findings);
    print_statements(engine, findings);
    print_retried_job(engine);
    finish_output();  // The server takes a moment to start.
  }
  replay_on_canonical(engine, findings);
  if (json) {
    print_json(to_json(engine, findings));
  } else {
    if (findings.comparison) print_digests(engine, *findings.comparison);
    print_verdict(findings);
    print_ways_on(folder, findings);
  }
  return findings.fine() ? Exit::fine : Exit::refused;
}

constexpr Manual demo_manual{
    .name = "demo",
    .what = "Show a day of two customers on both halves, and that they agree",
    .section = Section::tools,
    .does =
        "It applies a trace to a new mirror, prints statements and a job that failed and was "
        "retried, replays the same trace to a PostgreSQL that it starts for itself, and "
        "compares both halves. Where no PostgreSQL server is installed that part is left out, "
        "and it says so. No other database is touched.",
    .on_disk = "Nothing; with --keep the mirror, in a folder that was new or empty.",
    .examples = {{{"The whole story", "tally demo"},
                  {"Keep the mirror, and look into it",
                   "tally demo --keep demo\ntally audit --db demo/mirror.db"}}},
    .fine = "Both halves agree.",
    .refused = "They differ, or the audit found something.",
    .related = "replay, verify, operations"};

}  // namespace

void add_demo(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, demo_manual);
  auto keep = std::make_shared<std::string>();
  command->add_option("--keep", *keep, "Keep the mirror in this folder")->type_name("DIR");
  command->callback([=, &run] { run.command = [=, &run] { return run_demo(*keep, run.json); }; });
}

}  // namespace tally::cli
