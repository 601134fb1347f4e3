// Reading, and what writes nothing: balance and account checks beside a flat hash map, a raw point
// read and a naive mirror's sum; by history; while another thread commits; while another process
// does; and a refused operation. Google Benchmark times the smallest; the rest is timed in windows
// of a millisecond that take turns.

#include <benchmark/benchmark.h>

#include <atomic>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "child.hpp"
#include "processors.hpp"
#include "results.hpp"
#include "support.hpp"

namespace tally::bench {
namespace {

// ---- balance checks ---------------------------------------------------------------------------

/// The floor: open addressing over the same keys with the engine's hash, one thread, no memory
/// order.
class FlatMap {
 public:
  explicit FlatMap(const std::vector<Uuid>& keys) {
    std::size_t capacity = 1024;
    while (capacity < keys.size() * 2 + 2) capacity *= 2;
    cells_.resize(capacity);
    for (std::size_t k = 0; k < keys.size(); ++k) {
      std::size_t i = std::hash<Uuid>{}(keys[k]) & (capacity - 1);
      while (cells_[i].used) i = (i + 1) & (capacity - 1);
      cells_[i] = Cell{keys[k], static_cast<std::int64_t>(k), true};
    }
  }
  std::int64_t at(const Uuid& key) const noexcept {
    std::size_t i = std::hash<Uuid>{}(key) & (cells_.size() - 1);
    while (!(cells_[i].key == key)) i = (i + 1) & (cells_.size() - 1);
    return cells_[i].value;
  }

 private:
  struct Cell {
    Uuid key;
    std::int64_t value = 0;
    bool used = false;
  };
  std::vector<Cell> cells_;
};

constexpr const char* point_read =
    "select balance from tally_account where u = (select u from tally_user where id = ?)";

/// A warm mirror of many accounts, and what is asked of it, in an order taken at random.
struct Readable {
  Readable(const Folder& folder, std::size_t users)
      : ledger(folder / "read.db", users),
        map(ledger.users),
        raw(folder / "read.db"),
        read(raw.prepare(point_read)) {
    Random random(7);
    for (std::size_t i = 0; i <= mask; ++i)
      asked.push_back(ledger.users[random.below(ledger.users.size())]);
    for (const Uuid& user : ledger.users) expect(ledger.engine.balance(user));
  }
  const Uuid& next() noexcept { return asked[i_++ & mask]; }

  void look_up() { keep(map.at(next())); }
  void balance() { keep(ledger.engine.balance(next())); }
  void check() { keep(ledger.engine.check(next())); }
  void raw_read() { raw.run(read, next()); }

  static constexpr std::size_t mask = 0xffffU;
  Ledger ledger;
  FlatMap map;
  Raw raw;
  sqlite3_stmt* read;
  std::vector<Uuid> asked{};

 private:
  std::size_t i_ = 0;
};

/// Keeps the repetitions of each benchmark beside printing them.
class Kept : public benchmark::ConsoleReporter {
 public:
  Kept() : ConsoleReporter(OO_None) {}
  void ReportRuns(const std::vector<Run>& runs) override {
    std::vector<Run> shown;
    std::copy_if(runs.begin(), runs.end(), std::back_inserter(shown),
                 [](const Run& run) { return run.aggregate_name == "median"; });
    if (!shown.empty()) ConsoleReporter::ReportRuns(shown);
    for (const Run& run : runs) {
      if (run.run_type == Run::RT_Iteration)
        ns_[run.run_name.function_name].push_back(run.GetAdjustedRealTime());
    }
  }
  /// Nothing where it was filtered out.
  std::optional<Figure> figure(const std::string& name) const {
    const auto found = ns_.find(name);
    return found == ns_.end() ? std::nullopt : std::optional(Figure(found->second));
  }

 private:
  std::map<std::string, std::vector<double>> ns_;
};

void register_refused(Readable& readable, Size size) {
  Random random(1);
  const Ledger::Job job = readable.ledger.make_jobs(1, random).front();
  const auto body = [&readable, job](benchmark::State& state) {
    for (auto _ : state) {
      const auto receipt = readable.ledger.engine.apply(
          ReserveCredits{readable.ledger.users[job.user], job.id, Credits{2'000'000'000}});
      if (receipt || receipt.error().code != Code::insufficient_credits)
        state.SkipWithError("not refused");
    }
  };
  benchmark::RegisterBenchmark("refused", body)
      ->Repetitions(size == Size::tiny ? 1 : 9)
      ->MinTime(size == Size::tiny ? 0.001 : 0.05);
}

Kept run_small(Readable& readable, Size size) {
  const auto add = [&](const char* name, void (Readable::*call)()) {
    benchmark::RegisterBenchmark(name,
                                 [&readable, call](benchmark::State& state) {
                                   for (auto _ : state) (readable.*call)();
                                 })
        ->Repetitions(size == Size::tiny    ? 1
                      : size == Size::quick ? 9
                                            : 21)
        ->MinTime(size == Size::tiny ? 0.001 : 0.05);
  };
  add("flat_map", &Readable::look_up);
  add("engine_balance", &Readable::balance);
  add("engine_check", &Readable::check);
  add("raw_point_read", &Readable::raw_read);
  register_refused(readable, size);
  Kept reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  return reporter;
}

void bench_small(Results& results, Readable& readable) {
  const std::string accounts = counted(readable.ledger.users.size()) + " accounts, warm";
  const std::int64_t written = expect(readable.ledger.engine.pending_operations());
  const Kept kept = run_small(readable, results.arguments().size);
  const auto map = kept.figure("flat_map");
  const auto add = [&](const char* benchmark, const std::string& name, const auto& floor,
                       std::string floor_name, std::optional<Target> target) {
    const auto figure = kept.figure(benchmark);
    if (!figure || !floor) return;
    results.add({.group = "reading",
                 .name = name,
                 .value = *figure,
                 .unit = "ns",
                 .ratio = figure->value / floor->value,
                 .ratio_to = std::move(floor_name),
                 .target = std::move(target)});
  };
  add("flat_map", "look-up in a flat hash map, " + accounts, map, "itself", {});
  add("engine_balance", "balance check, " + accounts, map, "look-up in a flat hash map",
      at_most(2));
  add("engine_check", "account check, " + accounts, map, "look-up in a flat hash map", {});
  add("raw_point_read", "raw SQLite point read, autocommit", map, "look-up in a flat hash map", {});
  if (const auto refused = kept.figure("refused")) {
    const bool wrote = expect(readable.ledger.engine.pending_operations()) != written + 1;
    if (wrote) throw std::runtime_error("a refused operation was queued");
    results.add({.group = "refused",
                 .name = "reservation beyond the balance",
                 .value = refused->value / 1e3,
                 .unit = "us",
                 .target = at_most(2),
                 .note = "nothing was queued for sync by it"});
  }
}

// ---- while another thread commits ---------------------------------------------------------------

/// A thread that does it again and again, until it goes out of scope.
class Meanwhile {
 public:
  explicit Meanwhile(std::function<void()> work)
      : thread_([this, work = std::move(work)] {
          while (!stop_) {
            work();
            ++done_;
          }
        }) {
    while (done_ == 0) std::this_thread::yield();
  }
  ~Meanwhile() {
    stop_ = true;
    thread_.join();
  }
  Meanwhile(const Meanwhile&) = delete;
  Meanwhile& operator=(const Meanwhile&) = delete;

 private:
  std::atomic<bool> stop_ = false;
  std::atomic<std::size_t> done_ = 0;
  std::thread thread_;
};

/// Windows of one call alone, and beside the other thread's work, in turns. The reader has a
/// processor of its own, where there are two: a scheduler that puts a writer, who sleeps most of
/// its time, beside it would take half of every window, and that would be no cost of sharing.
std::pair<Figure, Figure> alone_and_beside(int rounds, int windows_each, int readers_processor,
                                           const std::function<void()>& read,
                                           const std::function<void()>& other) {
  std::vector<double> alone;
  std::vector<double> beside;
  const auto windows = [&](std::vector<double>& out) {
    for (int i = 0; i < windows_each; ++i) out.push_back(window_ns(read));
  };
  std::vector<int> others = processors();
  if (others.size() > 1) std::erase(others, readers_processor);
  const Pinned reader({readers_processor});
  const int warm_up = rounds / 2;
  for (int round = -warm_up; round < rounds; ++round) {
    if (round == 0) alone.clear(), beside.clear();
    windows(alone);
    const Meanwhile writer([&] {
      const thread_local Pinned to(others);
      other();
    });
    windows(beside);
  }
  return {Figure(alone), Figure(beside)};
}

/// The processor on which a reader is least slowed by commits to a file that is none of its: the
/// kernel serves the disk's interrupts on another.
int quiet_processor(const std::function<void()>& read, const std::function<void()>& commit) {
  int best = -1;
  double least = 0;
  for (const int processor : processors()) {
    const double ns = alone_and_beside(2, 100, processor, read, commit).second.value;
    if (best >= 0 && ns >= least) continue;
    best = processor;
    least = ns;
  }
  return best;
}

void bench_readers(Results& results, const Folder& folder, Readable& readable) {
  Engine& engine = readable.ledger.engine;
  Random random(8);
  const auto single = [&] {
    const Uuid& user = readable.ledger.users[random.below(readable.ledger.users.size())];
    expect(engine.apply(AddCredits{user, Credits{1}, "grant"}));
  };
  const auto many = [&] {
    std::vector<Command> commands;
    for (int i = 0; i < 8'000; ++i) {
      const Uuid& user = readable.ledger.users[random.below(readable.ledger.users.size())];
      commands.push_back(engine.make_command(AddCredits{user, Credits{1}, "grant"}));
    }
    readable.ledger.submit(commands);
  };
  Raw elsewhere(folder / "elsewhere.db");
  elsewhere.exec("create table t (x integer primary key, y integer not null)");
  sqlite3_stmt* insert = elsewhere.prepare("insert into t values (null, 1)");
  const auto commit_elsewhere = [&] { elsewhere.run(insert); };
  const auto balance = [&] { readable.balance(); };
  const int processor = quiet_processor(balance, commit_elsewhere);
  const auto compare = [&](const std::string& what, const std::function<void()>& read,
                           const std::function<void()>& other, std::optional<Target> target,
                           const std::string& note = "") {
    const Arguments& arguments = results.arguments();
    const auto [alone, beside] = alone_and_beside(
        arguments.sized(1, 8, 20), arguments.sized(2, 60, 150), processor, read, other);
    results.add({.group = "readers while a thread commits",
                 .name = what,
                 .value = beside,
                 .unit = "ns",
                 .ratio = beside.value / alone.value,
                 .ratio_to = "alone",
                 .target = std::move(target),
                 .note = note});
  };
  compare("balance check, beside durable commits of one operation", balance, single, at_most(1.15),
          "medians of windows of 1 ms; the reader has a processor of its own");
  compare("balance check, beside durable commits of 8,000", balance, many, {});
  compare("balance check, beside raw SQLite's commits to another file", balance, commit_elsewhere,
          {}, "shares nothing with the writer but the machine");
  compare(
      "flat map look-up, beside durable commits of one operation", [&] { readable.look_up(); },
      single, {}, "shares nothing with the writer: what the machine itself costs");
  compare(
      "flat map look-up, beside durable commits of 8,000", [&] { readable.look_up(); }, many, {},
      "shares nothing with the writer: what the machine itself costs");
}

// ---- while another process commits --------------------------------------------------------------

/// In the other process: `count` commits, each told with its number and the balance it left.
int child_commit(const std::vector<std::string>& words) {
  Engine engine = expect(Engine::open(words.at(1)));
  const std::chrono::microseconds interval(std::stol(words.at(2)));
  const long count = std::stol(words.at(3));
  const std::vector<Uuid> users = expect(engine.users());
  for (long i = 0; i < count; ++i) {
    std::this_thread::sleep_for(interval);
    const std::size_t user = static_cast<std::size_t>(i) % users.size();
    const Receipt receipt = expect(engine.apply(AddCredits{users[user], Credits{1}, "grant"}));
    std::printf("%zu %lld\n", user, static_cast<long long>(receipt.balance.value().value));
    std::fflush(stdout);
  }
  return 0;
}

/// Takes what the other process says of its commits, and asks for each balance at once.
class Watcher {
 public:
  Watcher(const Engine& engine, Child& child)
      : engine_(engine), child_(child), users_(expect(engine.users())) {}

  /// False at the end.
  bool look() {
    const auto line = child_.line();
    if (!line) return false;
    std::size_t end = 0;
    const std::size_t user = std::stoul(*line, &end);
    const std::int64_t balance = std::stoll(line->substr(end));
    const auto start = Clock::now();
    const Credits shown = expect(engine_.balance(users_[user]));
    first_us_.push_back(seconds_since(start) * 1e6);
    shown.value == balance ? ++noticed_ : ++missed_;
    return true;
  }
  std::size_t noticed() const { return noticed_; }
  std::size_t missed() const { return missed_; }
  Figure first_us() const { return Figure(first_us_); }

 private:
  const Engine& engine_;
  Child& child_;
  std::vector<Uuid> users_;
  std::vector<double> first_us_{};
  std::size_t noticed_ = 0;
  std::size_t missed_ = 0;
};

std::vector<std::string> commits_of(const Folder& folder, long interval_us, long count) {
  return {"commit", (folder / "read.db").string(), std::to_string(interval_us),
          std::to_string(count)};
}

/// A window after another that is not counted: the other kind of read has emptied the caches.
template <class Call>
double warm_window_ns(Call&& call) {
  window_ns(call, std::chrono::milliseconds{5});
  return window_ns(call, std::chrono::milliseconds{2});
}

/// Checks and raw reads in turns while commits come from another process.
void bench_processes(Results& results, const Folder& folder, Readable& readable) {
  const long count = results.arguments().sized(5, 400, 2'000);
  Child child(commits_of(folder, 2'000, count));
  Watcher watcher(readable.ledger.engine, child);
  std::vector<double> check_ns;
  std::vector<double> raw_ns;
  for (bool goes_on = true; goes_on;) {
    check_ns.push_back(warm_window_ns([&] { readable.balance(); }));
    raw_ns.push_back(warm_window_ns([&] { readable.raw_read(); }));
    while (goes_on && child.is_ready()) goes_on = watcher.look();
  }
  if (child.wait() != 0) throw std::runtime_error("the other process failed");
  double sum = 0;
  for (const double ns : check_ns) sum += ns;
  const double mean = sum / static_cast<double>(check_ns.size());
  const Figure raw(raw_ns);
  const std::string group = "another process commits";
  const auto add = [&](const std::string& name, Figure figure, std::optional<Target> target,
                       const std::string& note) {
    results.add({.group = group,
                 .name = name,
                 .value = figure,
                 .unit = "ns",
                 .ratio = figure.value / raw.value,
                 .ratio_to = "raw autocommit point read, in turns",
                 .target = std::move(target),
                 .note = note});
  };
  add("balance check, median of windows", Figure(check_ns), at_most(0.02),
      "a durable commit of another process every 2 ms and its fsync");
  add("balance check, mean", mean, {}, "with the rereads that noticing costs");
  add("raw SQLite point read, autocommit", raw, {}, "");
  const auto told = static_cast<double>(watcher.noticed() + watcher.missed());
  results.add({.group = group,
               .name = "commits noticed at the first check, of those the other process made",
               .value = static_cast<double>(watcher.noticed()),
               .unit = "commits",
               .ratio = static_cast<double>(watcher.noticed()) / told,
               .ratio_to = "commits made",
               .target = Target{"all", 1, 1}});
}

/// What the first check after another process' commit costs, nothing else going on.
void bench_noticing(Results& results, const Folder& folder, Readable& readable) {
  Child child(commits_of(folder, 500, results.arguments().sized(5, 200, 1'000)));
  Watcher watcher(readable.ledger.engine, child);
  while (watcher.look()) {
  }
  if (child.wait() != 0 || watcher.missed() != 0)
    throw std::runtime_error("a commit of another process was missed");
  results.add({.group = "another process commits",
               .name = "first check after a commit of another process",
               .value = watcher.first_us(),
               .unit = "us"});
}

// ---- by history ---------------------------------------------------------------------------------

/// One account with so many entries, and a naive mirror of them: one table, no balance kept.
struct Aged {
  Aged(const Folder& folder, std::size_t entries, bool with_naive)
      : entries(entries),
        ledger(folder / ("aged" + std::to_string(entries) + ".db"), 1, Durability::normal),
        raw(folder / ("aged" + std::to_string(entries) + ".db")),
        read(raw.prepare(point_read)),
        naive(folder / ("naive" + std::to_string(entries) + ".db")) {
    std::vector<Command> commands;
    for (std::size_t i = 1; i < entries; ++i) {
      commands.push_back(ledger.engine.make_command(ExpireCredits{ledger.users[0], Credits{1}}));
      if (commands.size() == 8'000) ledger.submit(commands);
    }
    ledger.submit(commands);
    if (!with_naive) return;
    naive.exec(
        "create table credit_ledger (id integer primary key, user_id integer not null, amount "
        "integer not null); insert into credit_ledger with recursive n (i) as (select 1 union all "
        "select i + 1 from n where i < " +
        std::to_string(entries) +
        ") select i, 1, case i when 1 then 1000000000 else -1 end from n;"
        "create index credit_ledger_user on credit_ledger (user_id, amount)");
    sum = naive.prepare("select sum(amount) from credit_ledger where user_id = ?");
  }

  std::size_t entries;
  Ledger ledger;
  Raw raw;
  sqlite3_stmt* read;
  Raw naive;
  sqlite3_stmt* sum = nullptr;
  std::vector<double> balance_ns{};
  std::vector<double> check_ns{};
  std::vector<double> raw_ns{};
  std::vector<double> sum_ns{};
};

void measure(Aged& aged, int windows) {
  const Uuid user = aged.ledger.users[0];
  for (int i = 0; i < windows; ++i) {
    aged.balance_ns.push_back(window_ns([&] { keep(aged.ledger.engine.balance(user)); }));
    aged.check_ns.push_back(window_ns([&] { keep(aged.ledger.engine.check(user)); }));
    aged.raw_ns.push_back(window_ns([&] { aged.raw.run(aged.read, user); }));
  }
  if (aged.sum == nullptr) return;
  const auto start = Clock::now();
  keep(aged.naive.run(aged.sum, std::int64_t{1}));
  aged.sum_ns.push_back(seconds_since(start) * 1e9);
}

void report_history(Results& results, const std::vector<std::unique_ptr<Aged>>& all) {
  const auto add = [&](const std::string& name, std::vector<double> Aged::*member,
                       std::optional<Target> target) {
    for (const auto& aged : all) {
      const std::vector<double>& ns = (*aged).*member;
      if (ns.empty()) continue;
      const bool is_last = aged == all.back();
      const double first = median((*all.front()).*member);
      results.add({.group = "by history",
                   .name = name + ", " + counted(aged->entries) + " entries",
                   .value = Figure(ns),
                   .unit = "ns",
                   .ratio = median(ns) / first,
                   .ratio_to = "the same at " + counted(all.front()->entries) + " entries",
                   .target = is_last ? target : std::nullopt});
      results.point("cost_by_history", name, static_cast<double>(aged->entries), median(ns));
    }
  };
  add("balance check", &Aged::balance_ns, between(0.9, 1.1));
  add("account check", &Aged::check_ns, between(0.9, 1.1));
  add("raw SQLite point read", &Aged::raw_ns, {});
  add("naive mirror: SUM(amount) by an index that covers it", &Aged::sum_ns, {});
}

void bench_history(Results& results, const Folder& folder) {
  const Arguments& arguments = results.arguments();
  std::vector<std::unique_ptr<Aged>> all;
  const auto last = arguments.sized<std::size_t>(10'000, 1'000'000, 10'000'000);
  for (std::size_t entries = 1'000; entries <= last; entries *= 10)
    all.push_back(std::make_unique<Aged>(folder, entries, entries <= 1'000'000));
  for (int round = 0; round < arguments.sized(1, 10, 30); ++round) {
    for (const auto& aged : all) measure(*aged, arguments.sized(1, 8, 20));
  }
  report_history(results, all);
}

void run(const Arguments& arguments) {
  const Folder folder;
  Results results("engine_bench", arguments, folder.path());
  if (arguments.wants("small") || arguments.wants("readers") || arguments.wants("processes")) {
    Readable readable(folder, arguments.sized<std::size_t>(100, 100'000, 100'000));
    if (arguments.wants("small")) bench_small(results, readable);
    if (arguments.wants("readers")) bench_readers(results, folder, readable);
    if (arguments.wants("processes")) bench_processes(results, folder, readable);
    if (arguments.wants("processes")) bench_noticing(results, folder, readable);
  }
  if (arguments.wants("history")) bench_history(results, folder);
  results.finish();
}

/// What is not ours goes to Google Benchmark, in turns unless that is said otherwise.
void initialize(const std::vector<std::string>& others) {
  // Google Benchmark keeps the first.
  static std::vector<std::string> words{"engine_bench",
                                        "--benchmark_enable_random_interleaving=true"};
  words.insert(words.end(), others.begin(), others.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  int argc = static_cast<int>(argv.size());
  benchmark::Initialize(&argc, argv.data());
  if (benchmark::ReportUnrecognizedArguments(argc, argv.data()))
    throw std::runtime_error("an argument that nobody knows");
}

}  // namespace
}  // namespace tally::bench

int main(int argc, char** argv) {
  using namespace tally::bench;
  if (const auto words = child_words(argc, argv)) return run_child(*words, child_commit);
  return run_benchmark(argc, argv, "engine_bench", [](const Arguments& arguments) {
    initialize(arguments.others);
    run(arguments);
  });
}
