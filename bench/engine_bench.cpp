// The engine beside its floors, in one run: a flat hash map for balance checks, raw SQLite writing
// the same physical rows for operations. Every figure that is judged is a ratio of medians; the
// table at the end says which. With TALLY_BENCH_TINY set each runs once, small: the tests keep it
// alive that way, and its figures mean nothing.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <thread>

#include "support.hpp"

namespace tally::bench {
namespace {

bool tiny = false;
std::size_t scaled(std::size_t n) { return tiny ? std::max<std::size_t>(n / 1000, 4) : n; }

Folder& folder() {
  static Folder folder;
  return folder;
}

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

struct Readable {
  Readable()
      : ledger(folder() / "read.db", scaled(100'000), Durability::normal), map(ledger.users) {
    Random random(7);
    for (std::size_t i = 0; i < (1U << 16U); ++i) {
      asked.push_back(ledger.users[random.below(ledger.users.size())]);
    }
    for (const Uuid& user : ledger.users) expect(ledger.engine.balance(user));  // Warm.
  }
  Ledger ledger;
  FlatMap map;
  std::vector<Uuid> asked;
};
Readable& readable() {
  static Readable readable;
  return readable;
}

void flat_map(benchmark::State& state) {
  Readable& r = readable();
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(r.map.at(r.asked[i++ & 0xffffU]));
}
void engine_balance(benchmark::State& state) {
  Readable& r = readable();
  std::size_t i = 0;
  for (auto _ : state) {
    auto balance = r.ledger.engine.balance(r.asked[i++ & 0xffffU]);
    benchmark::DoNotOptimize(balance);
  }
}
void engine_check(benchmark::State& state) {
  Readable& r = readable();
  std::size_t i = 0;
  for (auto _ : state) {
    auto check = r.ledger.engine.check(r.asked[i++ & 0xffffU]);
    benchmark::DoNotOptimize(check);
  }
}
void raw_point_read(benchmark::State& state) {
  Readable& r = readable();
  Raw raw(folder() / "read.db");
  sqlite3_stmt* read = raw.prepare(
      "select balance from tally_account where u = (select u from tally_user where id = ?)");
  std::size_t i = 0;
  for (auto _ : state) raw.run(read, r.asked[i++ & 0xffffU]);
}

/// One account with so many entries.
void balance_by_entries(benchmark::State& state) {
  const auto entries = scaled(static_cast<std::size_t>(state.range(0)));
  static std::map<std::size_t, std::unique_ptr<Ledger>> ledgers;
  auto& ledger = ledgers[entries];
  if (!ledger) {
    const std::string name = "entries" + std::to_string(entries) + ".db";
    ledger = std::make_unique<Ledger>(folder() / name.c_str(), 1, Durability::normal);
    std::vector<Command> commands;
    for (std::size_t i = 0; i < entries; ++i) {
      commands.push_back(ledger->engine.make_command(ExpireCredits{ledger->users[0], Credits{1}}));
      if (commands.size() == 8'000) ledger->submit(commands);
    }
    ledger->submit(commands);
  }
  for (auto _ : state) {
    auto balance = ledger->engine.balance(ledger->users[0]);
    benchmark::DoNotOptimize(balance);
  }
}

// ---- one durable operation ---------------------------------------------------------------------

// Engine and floor take turns, 25 commits each, so that the disk's moods hit both alike.
void one_durable(benchmark::State& state) {
  const std::size_t blocks = scaled(2'000) / 25 + 1;
  Random random(3);
  Ledger ledger(folder() / "durable.db", scaled(10'000));
  const auto jobs = ledger.make_jobs(blocks * 25, random);
  Raw raw(folder() / "durable-raw.db");
  raw.exec(
      "create table account (u integer primary key, balance integer not null) strict;"
      "create table entry (e integer primary key, u integer not null, amount integer not null,"
      " balance_after integer not null) strict; begin");
  sqlite3_stmt* account = raw.prepare("insert into account values (?, 1000000000)");
  for (std::size_t i = 0; i < ledger.users.size(); ++i)
    raw.run(account, static_cast<std::int64_t>(i));
  raw.exec("commit");
  sqlite3_stmt* begin = raw.prepare("begin immediate");
  sqlite3_stmt* insert = raw.prepare("insert into entry values (null, ?, -8, 999999992)");
  sqlite3_stmt* update = raw.prepare("update account set balance = balance - 8 where u = ?");
  sqlite3_stmt* commit = raw.prepare("commit");

  const auto timed_us = [](auto&& work) {
    const auto start = Clock::now();
    work();
    return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  };
  std::vector<double> engine_us;
  std::vector<double> raw_us;
  std::size_t next = 0;
  for (auto _ : state) {
    for (std::size_t block = 0; block < blocks; ++block) {
      for (int i = 0; i < 25; ++i) {
        const auto u = static_cast<std::int64_t>(random.below(ledger.users.size()));
        raw_us.push_back(timed_us([&] {
          raw.run(begin);
          raw.run(insert, u);
          raw.run(update, u);
          raw.run(commit);
        }));
      }
      for (int i = 0; i < 25; ++i) {
        const Ledger::Job& job = jobs[next++];
        engine_us.push_back(timed_us([&] {
          expect(ledger.engine.apply(ReserveCredits{ledger.users[job.user], job.id, Credits{8}}));
        }));
      }
    }
  }
  const auto at = [](std::vector<double>& v, double q) {
    std::sort(v.begin(), v.end());
    return v[static_cast<std::size_t>(q * static_cast<double>(v.size() - 1))];
  };
  state.counters["engine_p50_us"] = at(engine_us, 0.5);
  state.counters["engine_p99_us"] = at(engine_us, 0.99);
  state.counters["raw_p50_us"] = at(raw_us, 0.5);
  state.counters["raw_p99_us"] = at(raw_us, 0.99);
  state.counters["ratio"] = at(engine_us, 0.5) / at(raw_us, 0.5);
}

// ---- reservation and finalize in large commits
// ---------------------------------------------------

constexpr std::size_t per_commit = 8'000;

/// Raw SQLite writing what the engine writes, row for row, into a copy of its schema.
class RawLedger {
 public:
  RawLedger(const std::filesystem::path& path, std::size_t users, std::size_t jobs) : raw_(path) {
    raw_.exec(
        "create table account (u integer primary key, balance integer not null, held integer not "
        "null,"
        " seq integer not null, head integer not null, pending integer not null) strict;"
        "create table operation (o integer primary key, id blob not null, u integer not null,"
        " kind integer not null, at integer not null, fingerprint integer not null, result blob) "
        "strict;"
        "create unique index operation_id on operation (id, u);"
        "create table entry (e integer primary key, u integer not null, seq integer not null,"
        " prev integer not null, j integer, kind integer not null, amount integer not null,"
        " balance_after integer not null) strict;"
        "create table job (j integer primary key, id blob not null unique, u integer not null, p "
        "integer"
        " not null, created_at integer, status integer not null, progress integer, steps_pct "
        "integer not"
        " null, hold integer not null, cost_credits_reserved integer, cost_credits_final integer,"
        " reservation blob, started_at integer, finished_at integer, claim_until integer, active_at"
        " integer not null) strict;"
        "create index job_hold on job (u) where hold > 0;"
        "create table outbox (n integer primary key, operations integer not null, body blob not "
        "null)"
        " strict; begin");
    sqlite3_stmt* account = raw_.prepare("insert into account values (?, 1000000000, 0, 2, 1, 2)");
    for (std::size_t u = 0; u < users; ++u) raw_.run(account, static_cast<std::int64_t>(u));
    sqlite3_stmt* job = raw_.prepare(
        "insert into job values (?, ?, ?, ?, 1768000000000000, 0, 0, 0, 0, 0, null, null, null, "
        "null, null,"
        " 1768000000000000)");
    Random random(5);
    for (std::size_t j = 1; j <= jobs; ++j) {
      const auto u = static_cast<std::int64_t>(random.below(users));
      job_user_.push_back(u);
      raw_.run(job, static_cast<std::int64_t>(j), new_uuid_v7(), u, u);
    }
    raw_.exec("commit");
    begin_ = raw_.prepare("begin immediate");
    commit_ = raw_.prepare("commit");
    entry_ = raw_.prepare("insert into entry values (?, ?, ?, ?, ?, ?, ?, ?)");
    operation_ = raw_.prepare("insert into operation values (?, ?, ?, ?, ?, ?, null)");
    account_ = raw_.prepare(
        "update account set balance = ?1, held = ?2, seq = ?3, head = ?4, pending = ?5 where u = "
        "?6");
    job_ = raw_.prepare(
        "update job set status = ?1, progress = 0, steps_pct = 0, hold = ?2, cost_credits_reserved "
        "= 8,"
        " cost_credits_final = ?3, reservation = ?4, active_at = ?5 where j = ?6");
    outbox_ = raw_.prepare("insert into outbox values (?, ?, ?)");
    touched_.resize(users);
  }

  /// Half reservations, half settlements of those before; one commit.
  void commit(std::size_t operations, std::size_t outbox_bytes_per_operation) {
    raw_.run(begin_);
    ++round_;
    std::vector<std::int64_t> users;
    for (std::size_t i = 0; i < operations; ++i) {
      const bool reserve = i % 2 == 0;
      const std::size_t job = reserve ? reserved_++ : settled_++;
      const std::int64_t u = job_user_[job];
      const auto j = static_cast<std::int64_t>(job) + 1;
      const Uuid id = new_uuid_v7();
      const std::int64_t o = next_;
      const int entries = reserve ? 1 : 3;
      for (int k = 0; k < entries; ++k, ++next_) {
        raw_.run(entry_, next_, u, next_ % 1000, next_ % 100'000, j, std::int64_t{7} + k,
                 std::int64_t{-8}, std::int64_t{999'999'992});
      }
      raw_.run(operation_, o, id, u, std::int64_t{15}, std::int64_t{1'768'000'000'000'000} + o,
               static_cast<std::int64_t>(o * 0x9e3779b97f4a7c1LL));
      if (reserve) {
        raw_.run(job_, std::int64_t{0}, std::int64_t{8}, nullptr, id,
                 std::int64_t{1'768'000'000'000'000}, j);
      } else {
        raw_.run(job_, std::int64_t{0}, std::int64_t{0}, std::int64_t{5}, id,
                 std::int64_t{1'768'000'000'000'000}, j);
      }
      if (touched_[static_cast<std::size_t>(u)] != round_) {
        touched_[static_cast<std::size_t>(u)] = round_;
        users.push_back(u);
      }
    }
    for (const std::int64_t u : users) {
      raw_.run(account_, std::int64_t{999'999'992}, std::int64_t{8}, next_ % 1000, next_,
               next_ % 1000, u);
    }
    raw_.run(outbox_, next_, static_cast<std::int64_t>(operations),
             std::string(operations * outbox_bytes_per_operation, 'x'));
    raw_.run(commit_);
  }
  void skip_reservations(std::size_t count) { reserved_ += count; }

 private:
  Raw raw_;
  sqlite3_stmt *begin_, *commit_, *entry_, *operation_, *account_, *job_, *outbox_;
  std::vector<std::int64_t> job_user_;
  std::vector<std::uint32_t> touched_;
  std::uint32_t round_ = 0;
  std::size_t reserved_ = 0;
  std::size_t settled_ = 0;
  std::int64_t next_ = 1;
};

/// The outbox bytes that the engine really wrote, an operation.
std::size_t outbox_bytes(const std::filesystem::path& path) {
  sqlite3* db = nullptr;
  sqlite3_stmt* query = nullptr;
  std::size_t bytes = 0;
  if (sqlite3_open(path.c_str(), &db) == SQLITE_OK &&
      sqlite3_prepare_v2(
          db, "select length(body) / operations from tally_outbox order by n desc limit 1", -1,
          &query, nullptr) == SQLITE_OK &&
      sqlite3_step(query) == SQLITE_ROW) {
    bytes = static_cast<std::size_t>(sqlite3_column_int64(query, 0));
  }
  sqlite3_finalize(query);
  sqlite3_close(db);
  return bytes;
}

void large_commits(benchmark::State& state) {
  const std::size_t commits = tiny ? 2 : 24;
  const std::size_t per = tiny ? 40 : per_commit;
  const std::size_t users = scaled(100'000);
  Random random(3);
  Ledger ledger(folder() / "large.db", users);
  const auto jobs = ledger.make_jobs((commits + 1) * per, random);
  const auto reserve = [&](std::size_t job) {
    return ledger.engine.make_command(
        ReserveCredits{ledger.users[jobs[job].user], jobs[job].id, Credits{8}});
  };
  std::size_t reserved = 0;
  std::size_t settled = 0;
  std::vector<Command> commands;
  while (reserved < per / 2) commands.push_back(reserve(reserved++));
  ledger.submit(commands);
  const std::size_t bytes = outbox_bytes(folder() / "large.db");
  RawLedger raw(folder() / "large-raw.db", users, jobs.size());
  raw.skip_reservations(per / 2);

  std::vector<double> engine_s;
  std::vector<double> raw_s;
  for (auto _ : state) {
    for (std::size_t commit = 0; commit < commits; ++commit) {
      auto start = Clock::now();
      raw.commit(per, bytes);
      raw_s.push_back(std::chrono::duration<double>(Clock::now() - start).count());

      for (std::size_t i = 0; i < per; ++i) {
        commands.push_back(i % 2 == 0 ? reserve(reserved++)
                                      : ledger.engine.make_command(
                                            FinalizeJobCredits{jobs[settled++].id, Credits{5}}));
      }
      start = Clock::now();
      ledger.submit(commands);
      engine_s.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
  }
  state.counters["engine_ops_per_s"] = static_cast<double>(per) / median(engine_s);
  state.counters["raw_ops_per_s"] = static_cast<double>(per) / median(raw_s);
  state.counters["ratio"] = median(raw_s) / median(engine_s);
  state.counters["outbox_bytes_per_op"] = static_cast<double>(bytes);
}

// ---- many callers, each waiting for its own durable result
// ----------------------------------------

void callers(benchmark::State& state) {
  const auto threads = static_cast<std::size_t>(state.range(0));
  const std::size_t each = tiny ? 2 : threads == 1 ? 1'000 : 200;
  Random random(3);
  const std::string name = "callers" + std::to_string(threads) + ".db";
  Ledger ledger(folder() / name.c_str(), scaled(10'000));
  const auto jobs = ledger.make_jobs(threads * each, random);
  for (auto _ : state) {
    std::vector<std::thread> running;
    for (std::size_t t = 0; t < threads; ++t) {
      running.emplace_back([&, t] {
        for (std::size_t i = 0; i < each; ++i) {
          const Ledger::Job& job = jobs[t * each + i];
          const auto receipt =
              ledger.engine.apply(ReserveCredits{ledger.users[job.user], job.id, Credits{8}});
          if (!receipt) std::abort();
        }
      });
    }
    for (std::thread& thread : running) thread.join();
  }
  state.counters["ops_per_s"] =
      benchmark::Counter(static_cast<double>(threads * each), benchmark::Counter::kIsRate);
}

// ---- the rest
// --------------------------------------------------------------------------------------

void refused(benchmark::State& state) {
  Ledger ledger(folder() / "refused.db", 1);
  Random random(1);
  const Ledger::Job job = ledger.make_jobs(1, random).front();
  for (auto _ : state) {
    auto receipt =
        ledger.engine.apply(ReserveCredits{ledger.users[0], job.id, Credits{2'000'000'000}});
    if (receipt || receipt.error().code != Code::insufficient_credits)
      state.SkipWithError("not refused");
  }
}

void open_mirror(benchmark::State& state) {
  const auto entries = scaled(static_cast<std::size_t>(state.range(0)));
  const std::string name = "open" + std::to_string(entries) + ".db";
  const auto path = folder() / name.c_str();
  if (!std::filesystem::exists(path)) {
    Ledger ledger(path, scaled(10'000), Durability::normal);
    Random random(9);
    std::vector<Command> commands;
    for (std::size_t i = 0; i < entries; ++i) {
      const Uuid& user = ledger.users[random.below(ledger.users.size())];
      commands.push_back(ledger.engine.make_command(ExpireCredits{user, Credits{1}}));
      if (commands.size() == 8'000) ledger.submit(commands);
    }
    ledger.submit(commands);
  }
  for (auto _ : state) {
    auto engine = Engine::open(path);
    if (!engine) state.SkipWithError("not opened");
    benchmark::DoNotOptimize(engine);
  }
}

/// create, reserve, queue, eight stages, complete: one operation after another in one commit.
void whole_jobs(benchmark::State& state) {
  Ledger ledger(folder() / "jobs.db", scaled(10'000));
  Random random(4);
  const std::size_t per = tiny ? 4 : 600;
  for (auto _ : state) {
    std::vector<Command> commands;
    for (std::size_t i = 0; i < per; ++i) {
      const std::size_t user = random.below(ledger.users.size());
      const Uuid job = new_uuid_v7();
      const auto add = [&](Operation operation) {
        commands.push_back(ledger.engine.make_command(std::move(operation)));
      };
      add(CreateJob{job, ledger.projects[user], ledger.users[user]});
      add(ReserveCredits{ledger.users[user], job, Credits{8}});
      for (int status = 1; status <= static_cast<int>(JobStatus::PACKAGING); ++status) {
        add(AdvanceJob{job, static_cast<JobStatus>(status)});
      }
      add(CompleteJob{job, Credits{5}});
    }
    ledger.submit(commands);
  }
  state.counters["jobs_per_s"] =
      benchmark::Counter(static_cast<double>(per) * static_cast<double>(state.iterations()),
                         benchmark::Counter::kIsRate);
}

// ---- the table of ratios
// ---------------------------------------------------------------------------

class Ratios : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      const bool median = run.run_type == Run::RT_Aggregate && run.aggregate_name == "median";
      if (!median && !(run.run_type == Run::RT_Iteration && run.repetitions <= 1)) continue;
      times_[run.run_name.function_name +
             (run.run_name.args.empty() ? "" : "/" + run.run_name.args)] =
          run.GetAdjustedRealTime();
      for (const auto& [name, counter] : run.counters) {
        counters_[run.run_name.function_name +
                  (run.run_name.args.empty() ? "" : "/" + run.run_name.args) + "." + name] =
            counter.value;
      }
    }
  }
  void Finalize() override {
    ConsoleReporter::Finalize();
    std::printf("\n%-66s %10s %10s\n", "ratio (medians of this run)", "reached", "aim");
    line("balance check / flat hash map look-up, 100,000 accounts",
         quotient("engine_balance", "flat_map"), "<= 3");
    line("account check / flat hash map look-up", quotient("engine_check", "flat_map"), "<= 3");
    line("balance check / raw SQLite point read", quotient("engine_balance", "raw_point_read"),
         "<= 0.02");
    line("balance check at 10^6 entries / at 10^3",
         quotient("balance_by_entries/1000000", "balance_by_entries/1000"), "0.9-1.1");
    line("one durable reservation / raw insert and update, p50", counter("one_durable.ratio"),
         "<= 1.3");
    line("commits of 8,000: engine / raw SQLite writing the same rows",
         counter("large_commits.ratio"), ">= 0.5");
    line("64 callers / one caller, operations a second",
         counter("callers/64.ops_per_s") / counter("callers/1.ops_per_s"), ">= 8");
    line("open at 10^6 entries, ms", time("open_mirror/1000000") / 1e6, "<= 20");
    line("refused operation, us", time("refused") / 1e3, "<= 2");
  }

 private:
  double time(const std::string& name) const { return find(times_, name); }
  double counter(const std::string& name) const { return find(counters_, name); }
  double quotient(const std::string& a, const std::string& b) const { return time(a) / time(b); }
  static double find(const std::map<std::string, double>& map, const std::string& name) {
    const auto found = map.find(name);
    return found == map.end() ? 0.0 / 0.0 : found->second;
  }
  static void line(const char* what, double value, const char* aim) {
    if (value == value) std::printf("%-66s %10.3f %10s\n", what, value, aim);
  }
  std::map<std::string, double> times_;
  std::map<std::string, double> counters_;
};

void register_all() {
  using benchmark::kMillisecond;
  using benchmark::RegisterBenchmark;
  const int reads = tiny ? 1 : 9;
  const auto repeated = [&](const char* name, void (*body)(benchmark::State&)) {
    return RegisterBenchmark(name, body)->Repetitions(reads)->ReportAggregatesOnly(true);
  };
  const auto read = [&](const char* name, void (*body)(benchmark::State&)) {
    return repeated(name, body)->MinTime(tiny ? 0.001 : 0.1);
  };
  read("flat_map", flat_map);
  read("engine_balance", engine_balance);
  read("engine_check", engine_check);
  read("raw_point_read", raw_point_read);
  read("balance_by_entries", balance_by_entries)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
  RegisterBenchmark("one_durable", one_durable)->Iterations(1)->Unit(kMillisecond);
  RegisterBenchmark("large_commits", large_commits)->Iterations(1)->Unit(kMillisecond);
  RegisterBenchmark("callers", callers)
      ->Arg(1)
      ->Arg(8)
      ->Arg(64)
      ->Iterations(1)
      ->UseRealTime()
      ->Unit(kMillisecond);
  RegisterBenchmark("whole_jobs", whole_jobs)
      ->Iterations(tiny ? 1 : 20)
      ->UseRealTime()
      ->Unit(kMillisecond);
  RegisterBenchmark("refused", refused)->MinTime(tiny ? 0.001 : 0.5);
  repeated("open_mirror", open_mirror)->Arg(1'000'000)->Iterations(tiny ? 1 : 10);
}

}  // namespace
}  // namespace tally::bench

int main(int argc, char** argv) {
  tally::bench::tiny = std::getenv("TALLY_BENCH_TINY") != nullptr;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  try {
    tally::bench::register_all();
    tally::bench::Ratios reporter;
    benchmark::RunSpecifiedBenchmarks(&reporter);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "engine_bench: %s\n", e.what());
    return 3;
  }
  return 0;
}
