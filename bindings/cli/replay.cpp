#include "replay.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <thread>

#include "commands.hpp"
#include "platform.hpp"
#include "telemetry.hpp"

namespace tally::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

/// Lines of one commit: its operations, and where among the lines they stood.
class Group {
 public:
  Group(const Half& half, const ReplayOptions& options, ReplaySummary& summary)
      : half_(half), options_(options), summary_(summary) {}

  void add(std::string line) {
    ++summary_.lines;
    summary_.bytes += line.size() + 1;
    auto command = parse_trace_line(line);
    is_operation_.push_back(command.has_value());
    if (!command) return;
    bytes_ += line.size();
    commands_.push_back(std::move(*command));
    lines_.push_back(std::move(line));
  }

  bool is_full() const {
    constexpr std::size_t bytes_max =
        64'000'000;  // Far from what one message to a server may hold.
    return is_operation_.size() >= options_.batch || bytes_ >= bytes_max;
  }

  void apply() {
    const std::uint64_t first = summary_.lines - is_operation_.size() + 1;
    std::vector<Verdict> verdicts;
    if (!lines_.empty()) verdicts = applied(first);
    std::size_t next = 0;
    for (std::size_t i = 0; i < is_operation_.size(); ++i) {
      answer(is_operation_[i] ? &verdicts[next++] : nullptr, first + i);
    }
    options_.progress(summary_);
    is_operation_.clear();
    commands_.clear();
    lines_.clear();
    bytes_ = 0;
  }

 private:
  std::vector<Verdict> applied(std::uint64_t first) {
    auto verdicts = half_(std::move(commands_), lines_);
    if (verdicts) return std::move(verdicts).value();
    Stop stop = stop_for(verdicts.error(), canonical_hint(verdicts.error().code));
    stop.exit = Exit::world;
    stop.sentence =
        "stopped before line " + thousands(static_cast<std::int64_t>(first)) + ": " + stop.sentence;
    // What was applied, even where the answer to it was lost, counts once.
    if (first > 1) stop.sentence += "; then run the whole trace again";
    throw stop;
  }

  void answer(const Verdict* verdict, std::uint64_t line) {
    // Canonical may find that a line is no operation where this program found one.
    const bool is_operation = verdict != nullptr && verdict->op_id != Uuid{};
    if (is_operation) ++summary_.operations;
    ++summary_.results[std::string(name_of(is_operation ? verdict->code : Code::invalid_argument))];
    options_.result(is_operation ? result_line(*verdict) : not_an_operation_line(line));
  }

  const Half& half_;
  const ReplayOptions& options_;
  ReplaySummary& summary_;
  std::vector<bool> is_operation_;
  std::vector<Command> commands_;
  std::vector<std::string> lines_;
  std::size_t bytes_ = 0;
};

// ---- the command ------------------------------------------------------------------------------

struct Arguments {
  std::string trace;
  std::string db;
  std::string pg;
  std::string schema = "public";
  std::string results;
  std::string metrics;
  std::string durability{durability_names.front()};
  std::size_t batch = 1'000;
};

std::unique_ptr<std::istream> open_trace(const std::string& path) {
  if (path == "-") {
    std::ios::sync_with_stdio(false);
    return std::make_unique<std::istream>(std::cin.rdbuf());
  }
  std::error_code error;
  if (fs::is_directory(path, error))
    throw Stop{Exit::world, "io", path + " is a folder, not a trace"};
  errno = 0;
  auto file = std::make_unique<std::ifstream>(path, std::ios::binary);
  if (!*file) throw Stop{Exit::world, "io", "cannot read " + path + ": " + std::strerror(errno)};
  return file;
}

/// Where the results go, one a line.
class Results {
 public:
  explicit Results(const std::string& path) : path_(path) {
    if (path.empty()) return;
    file_.reset(std::fopen(path.c_str(), "w"));
    if (!file_) fail();
  }

  void write(std::string_view line) {
    if (!file_) {
      print(line);
      print("\n");
    } else if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() ||
               std::fputc('\n', file_.get()) == EOF) {
      fail();
    }
  }

  void finish() {
    if (!file_) return finish_output();
    if (std::fflush(file_.get()) != 0) fail();
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  [[noreturn]] void fail() const {
    throw Stop{Exit::world, "io", "cannot write " + path_ + ": " + std::strerror(errno)};
  }

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

void check(const Arguments& arguments) {
  if (arguments.metrics == "-" && arguments.results.empty()) {
    throw Stop{
        Exit::usage, "usage",
        "--metrics - and the results would be mixed on standard output; give --results FILE"};
  }
  must_not_be_read(arguments.results, "--results", {arguments.trace, arguments.db});
  must_not_be_read(arguments.metrics, "--metrics", {arguments.trace, arguments.db});
}

void print_summary(const ReplaySummary& summary, bool json) {
  const double seconds = std::max(summary.seconds, 1e-9);
  const auto rate = static_cast<std::int64_t>(static_cast<double>(summary.operations) / seconds);
  if (json) {
    const JsonValue out{{"lines", summary.lines},
                        {"operations", summary.operations},
                        {"results", summary.results},
                        {"seconds", summary.seconds},
                        {"operations_per_second", rate}};
    std::fprintf(stderr, "%s\n", json_text(out).c_str());
  } else if (is_terminal_error()) {
    std::fprintf(stderr, "%s in %.2f s, %s operations/s\n",
                 counted(static_cast<std::int64_t>(summary.lines), "line", "lines").c_str(),
                 summary.seconds, thousands(rate).c_str());
    for (const auto& [code, count] : summary.results) {
      std::fprintf(stderr, "%12s %s\n", thousands(static_cast<std::int64_t>(count)).c_str(),
                   code.c_str());
    }
  }
}

Options options_of(const Arguments& arguments, Measurements& measurements) {
  Options options;
  options.callbacks.metric = measurements.listener();
  if (arguments.durability == durability_names[static_cast<std::size_t>(Durability::normal)])
    options.durability = Durability::normal;
  return options;
}

/// How long the trace is; 0 where that is not known, as of a pipe.
std::uint64_t bytes_of(const std::string& trace) {
  std::error_code error;
  const auto bytes = fs::file_size(trace, error);
  return error ? 0 : static_cast<std::uint64_t>(bytes);
}

/// As many as there are if what is left is like what was read.
std::uint64_t expected_operations(const ReplaySummary& summary, std::uint64_t bytes) {
  if (bytes == 0 || summary.bytes == 0) return 0;
  return static_cast<std::uint64_t>(static_cast<double>(summary.operations) *
                                    static_cast<double>(bytes) /
                                    static_cast<double>(summary.bytes));
}

Exit run_replay(const Arguments& arguments, bool has_pg, bool json) {
  const auto trace = open_trace(arguments.trace);
  std::error_code error;
  if (!has_pg && fs::is_directory(arguments.db, error)) {
    throw Stop{Exit::world, "io", arguments.db + " is a folder, not a mirror's file"};
  }
  Measurements measurements(arguments.metrics);
  std::optional<Engine> engine;
  std::optional<sync::Canonical> canonical;
  if (has_pg) {
    canonical.emplace(connect(arguments.pg, arguments.schema));
  } else {
    engine.emplace(take(Engine::open(arguments.db, options_of(arguments, measurements))));
  }
  Results results(arguments.results);
  Progress progress("operations", !arguments.results.empty() || !is_terminal_output());
  ReplayOptions options;
  options.batch = arguments.batch;
  options.result = [&](std::string_view line) { results.write(line); };
  // A terminal that is waited for would not be left by one signal.
  if (arguments.trace != "-" || !is_terminal_input()) listen_for_the_end();
  const std::uint64_t bytes = bytes_of(arguments.trace);
  options.progress = [&](const ReplaySummary& summary) {
    results.finish();  // A result is there when its commit is.
    progress.show(summary.operations, expected_operations(summary, bytes));
    stop_if_asked(counted(static_cast<std::int64_t>(summary.lines), "line is", "lines are") +
                  " applied and answered, and the file is whole; run the whole trace again");
  };
  const ReplaySummary summary =
      replay(*trace, has_pg ? canonical_half(*canonical) : mirror_half(*engine), options);
  progress.clear();
  measurements.flush();
  print_summary(summary, json);
  return Exit::fine;
}

}  // namespace

Half mirror_half(Engine& engine) {
  return [&engine](std::vector<Command> commands, std::span<const std::string>) {
    return engine.submit(std::move(commands));
  };
}

Half canonical_half(sync::Canonical& canonical) {
  return [&canonical](const std::vector<Command>&, std::span<const std::string> lines) {
    auto verdicts = canonical.apply(lines);
    // A deadlock with plain writers ends one of them, which is to try again.
    for (int attempt = 0; attempt < 5 && !verdicts && verdicts.error().code == Code::busy;
         ++attempt) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20 << attempt));
      verdicts = canonical.apply(lines);
    }
    return verdicts;
  };
}

ReplaySummary replay(std::istream& trace, const Half& half, const ReplayOptions& options) {
  ReplaySummary summary;
  const auto started = Clock::now();
  Group group(half, options, summary);
  std::string line;
  while (std::getline(trace, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    group.add(std::move(line));
    if (group.is_full()) group.apply();
  }
  if (trace.bad()) throw Stop{Exit::world, "io", "the trace cannot be read on"};
  group.apply();
  summary.seconds = std::chrono::duration<double>(Clock::now() - started).count();
  return summary;
}

namespace {

constexpr Manual replay_manual{
    .name = "replay",
    .what = "Apply a trace to a mirror or to canonical",
    .section = Section::mirror,
    .does =
        "A trace is JSON Lines, one operation a line, as tally operations shows them. Each line is "
        "applied in its turn and answered by one line: op_id, result (ok, or the code of what was "
        "refused) and the balance afterwards. A refusal is an answer, not an error: it changed "
        "nothing, and the next line follows. A line that is no operation is answered too.\n\n"
        "Every operation counts once, by its op_id: after a kill or a lost answer run the whole "
        "trace again. With --db a mirror is made where there is none; canonical must have been "
        "made by tally migrate.",
    .on_disk =
        "Every operation that was answered: a batch of lines is one commit, and its answers "
        "are written after it. With --durability normal the commits survive the end of "
        "the process, not a power cut.",
    .examples = {{{"A mirror to try things on, made of every operation's example",
                   "tally operations --trace | tally replay - --db mirror.db"},
                  {"The results into a file, and how many of each as JSON",
                   "tally operations --trace > trace.jsonl\n"
                   "tally replay trace.jsonl --db other.db --results results.jsonl --json"},
                  {"A trace on canonical, in the database tally",
                   "tally operations add_credits --trace | tally replay - --pg tally"}}},
    .fine = "The whole trace was applied and answered, refusals included.",
    .related = "operations, codes, audit, verify"};

}  // namespace

void add_replay(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, replay_manual);
  auto arguments = std::make_shared<Arguments>();
  command
      ->add_option("trace", arguments->trace, "The trace, an operation a line; - is standard input")
      ->type_name("TRACE")
      ->required();
  const Halves halves = add_halves(command, arguments->db, arguments->pg,
                                   "The mirror's file; made where there is none");
  add_schema(command, arguments->schema);
  command
      ->add_option("--results", arguments->results,
                   "Where the results go, instead of standard output")
      ->type_name("FILE");
  add_metrics(command, arguments->metrics, "the results need --results")->excludes(halves.pg);
  command->add_option("--batch", arguments->batch, "Lines a commit")
      ->type_name("N")
      ->check(CLI::Range(std::size_t{1}, std::size_t{100'000}))
      ->capture_default_str();
  one_of(command->add_option("--durability", arguments->durability, "What a mirror's ok survives"),
         run.manuals, words_of(durability_names))
      ->type_name("WORD")
      ->excludes(halves.pg)
      ->capture_default_str();
  command->callback([=, &run] {
    run.command = [=, &run] {
      halves.check("replay");
      check(*arguments);
      return run_replay(*arguments, halves.pg->count() > 0, run.json);
    };
  });
}

}  // namespace tally::cli
