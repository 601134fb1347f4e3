// Durable results: one at a time, by operations a commit, whole jobs, from many callers that wait,
// and at offered rates that do not wait.

#include <atomic>
#include <barrier>
#include <map>
#include <thread>

#include "disk.hpp"
#include "raw_ledger.hpp"
#include "workload.hpp"

namespace tally::bench {
namespace {

void grow_wal(const std::filesystem::path& mirror) {
  Raw raw(mirror);
  Ledger::grow_wal(raw);
}

/// A mirror in which jobs are reserved and, later, settled, in turns.
class TwoPhase {
 public:
  /// `jobs` beyond those that are reserved at once, `ahead` of their settlement.
  TwoPhase(const std::filesystem::path& path, std::size_t users, std::size_t ahead,
           std::size_t jobs)
      : ledger(path, users) {
    Random random(3);
    jobs_ = ledger.make_jobs(ahead + jobs, random);
    std::vector<Command> commands;
    while (reserved_ < ahead) commands.push_back(reservation());
    ledger.submit(commands);
  }
  std::vector<Command> next(std::size_t operations) {
    std::vector<Command> commands;
    commands.reserve(operations);
    for (std::size_t i = 0; i < operations; ++i)
      commands.push_back(turn_++ % 2 == 0 ? reservation() : settlement());
    return commands;
  }
  /// One commit; seconds.
  double commit(std::size_t operations) {
    std::vector<Command> commands = next(operations);
    const auto start = Clock::now();
    ledger.submit(commands);
    return seconds_since(start);
  }

  Ledger ledger;

 private:
  Command reservation() {
    const Ledger::Job& job = jobs_.at(reserved_++);
    return ledger.engine.make_command(ReserveCredits{ledger.users[job.user], job.id, Credits{8}});
  }
  Command settlement() {
    return ledger.engine.make_command(FinalizeJobCredits{jobs_.at(settled_++).id, Credits{5}});
  }
  std::vector<Ledger::Job> jobs_{};
  std::size_t reserved_ = 0;
  std::size_t settled_ = 0;
  std::size_t turn_ = 0;
};

// ---- one at a time ------------------------------------------------------------------------------

/// One transaction of one insert and one update, the least that a ledger can do.
class RawPair {
 public:
  RawPair(const std::filesystem::path& path, std::size_t users) : raw_(path) {
    raw_.exec(
        "create table account (u integer primary key, balance integer not null) strict;"
        "create table entry (e integer primary key, u integer not null, amount integer not null,"
        " balance_after integer not null) strict; begin");
    sqlite3_stmt* account = raw_.prepare("insert into account values (?, 1000000000)");
    for (std::size_t u = 0; u < users; ++u) raw_.run(account, static_cast<std::int64_t>(u));
    raw_.exec("commit");
    raw_.grow_wal("update account set balance = balance - 1",
                  "update account set balance = balance + 1");
    begin_ = raw_.prepare("begin immediate");
    insert_ = raw_.prepare("insert into entry values (null, ?, -8, 999999992)");
    update_ = raw_.prepare("update account set balance = balance - 8 where u = ?");
    commit_ = raw_.prepare("commit");
  }
  void transaction(std::int64_t u) {
    raw_.run(begin_);
    raw_.run(insert_, u);
    raw_.run(update_, u);
    raw_.run(commit_);
  }

 private:
  Raw raw_;
  sqlite3_stmt *begin_, *insert_, *update_, *commit_;
};

template <class Work>
void timed(Histogram& histogram, Work&& work) {
  const auto start = Clock::now();
  work();
  histogram.record(Clock::now() - start);
}

double us(const Histogram& histogram, double share) {
  return static_cast<double>(histogram.at(share)) / 1e3;
}

void add_latency(Results& results, const std::string& group, const std::string& what,
                 const Histogram& histogram, const std::string& note = "") {
  for (const auto& [share, name] :
       {std::pair{0.5, "median"}, {0.99, "p99"}, {0.999, "p99.9"}, {1.0, "longest"}}) {
    results.add(
        {.group = group,
         .name = what + ", " + name,
         .value = us(histogram, share),
         .unit = "us",
         .note = counted(histogram.count()) + " calls" + (note.empty() ? "" : "; " + note)});
  }
}

// ---- by operations a commit
// ----------------------------------------------------------------------

void report_commit_size(Results& results, std::size_t size, const Figure& ours,
                        const Figure& floor) {
  const std::string group = "reservation and finalize by operations a commit";
  const std::string a_commit = ", " + counted(size) + " a commit";
  const bool judged = size == 8'000;
  results.add({.group = group,
               .name = "engine" + a_commit,
               .value = ours,
               .unit = "ops/s",
               .ratio = ours.value / floor.value,
               .ratio_to = "raw SQLite writing the same rows, in turns",
               .target = judged ? std::optional(at_least(0.7)) : std::nullopt,
               .note = judged ? "aim beyond: ahead of a ledger server's 130,000-350,000/s" : ""});
  results.add({.group = group,
               .name = "raw SQLite, the same rows" + a_commit,
               .value = floor,
               .unit = "ops/s"});
  results.point("throughput_by_batch", "engine: reserve and finalize", static_cast<double>(size),
                ours.value);
  results.point("throughput_by_batch", "raw SQLite, the same rows", static_cast<double>(size),
                floor.value);
}

// ---- whole jobs ---------------------------------------------------------------------------------

/// create, reserve, queue, eight stages, complete: one operation after another.
std::vector<Command> whole_jobs(Ledger& ledger, Random& random, std::size_t count) {
  std::vector<Command> commands;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t user = random.below(ledger.users.size());
    const Uuid job = new_uuid_v7();
    const auto add = [&](Operation operation) {
      commands.push_back(ledger.engine.make_command(std::move(operation)));
    };
    add(CreateJob{job, ledger.projects[user], ledger.users[user]});
    add(ReserveCredits{ledger.users[user], job, Credits{8}});
    for (int status = 1; status <= static_cast<int>(JobStatus::PACKAGING); ++status)
      add(AdvanceJob{job, static_cast<JobStatus>(status)});
    add(CompleteJob{job, Credits{5}});
  }
  return commands;
}

// ---- many callers -------------------------------------------------------------------------------

/// Jobs to reserve for, taken by any thread.
class Reservations {
 public:
  Reservations(Ledger& ledger, std::size_t count) : ledger_(ledger) { require(count); }
  /// While no thread makes any: there are at least so many.
  void require(std::size_t count) {
    if (next_ + count <= jobs_.size()) return;
    const auto more = ledger_.make_jobs(count, random_);
    jobs_.insert(jobs_.end(), more.begin(), more.end());
  }
  void make_one() {
    const Ledger::Job& job = jobs_.at(next_++);
    expect(ledger_.engine.apply(ReserveCredits{ledger_.users[job.user], job.id, Credits{8}}));
  }

 private:
  Ledger& ledger_;
  Random random_{3};
  std::vector<Ledger::Job> jobs_{};
  std::atomic<std::size_t> next_ = 0;
};

/// Runs it on so many threads at once; what one throws is thrown here.
template <class Work>
void on_threads(std::size_t count, Work&& work) {
  std::barrier start(static_cast<std::ptrdiff_t>(count));
  std::vector<std::thread> threads;
  std::vector<std::exception_ptr> failures(count);
  for (std::size_t t = 0; t < count; ++t) {
    threads.emplace_back([&, t] {
      start.arrive_and_wait();
      try {
        work(t);
      } catch (...) {
        failures[t] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

Histogram merged(const std::vector<Histogram>& parts) {
  Histogram all;
  for (const Histogram& part : parts) all.merge(part);
  return all;
}

/// Each caller asks again as soon as it has its answer; operations a second.
double closed_loop(Reservations& reservations, std::size_t callers, double seconds,
                   Histogram& latency) {
  constexpr double most_per_second = 200'000;
  reservations.require(static_cast<std::size_t>(most_per_second * seconds));
  std::vector<Histogram> parts(callers);
  const auto start = Clock::now();
  on_threads(callers, [&](std::size_t t) {
    while (seconds_since(start) < seconds) timed(parts[t], [&] { reservations.make_one(); });
  });
  const double taken = seconds_since(start);
  const Histogram all = merged(parts);
  latency.merge(all);
  return static_cast<double>(all.count()) / taken;
}

/// Requests come at random at that rate, whether the ones before have their answers or not, and
/// each is timed from when it should have started: waiting for a caller counts. (What a closed loop
/// leaves out where the system stalls: it asks less often just then.)
Histogram open_loop(Reservations& reservations, double per_second, double seconds) {
  constexpr std::size_t callers = 64;
  Random random(13);
  std::vector<double> due;
  for (double at = 0; at < seconds;) {
    due.push_back(at);
    const double uniform = (static_cast<double>(random.next() >> 11U) + 1) / 9007199254740993.0;
    at -= std::log(uniform) / per_second;
  }
  std::atomic<std::size_t> next = 0;
  std::vector<Histogram> parts(callers);
  const auto start = Clock::now() + std::chrono::milliseconds{20};
  on_threads(callers, [&](std::size_t t) {
    for (std::size_t i = next++; i < due.size(); i = next++) {
      const auto intended = start + std::chrono::duration_cast<Clock::duration>(
                                        std::chrono::duration<double>(due[i]));
      std::this_thread::sleep_until(intended);
      reservations.make_one();
      parts[t].record(Clock::now() - intended);
    }
  });
  return merged(parts);
}

/// The throughput of each round's block.
using ByCallers = std::map<std::size_t, std::vector<double>>;

/// Of the blocks of one round, which followed each other: the disk was the same for both, nearly.
Figure ratios(const std::vector<double>& many, const std::vector<double>& one) {
  std::vector<double> out;
  for (std::size_t round = 0; round < one.size(); ++round) out.push_back(many[round] / one[round]);
  return Figure(out);
}

void report_callers(Results& results, const ByCallers& per_second,
                    const std::vector<double>& fsync_us) {
  const Figure fsync(fsync_us);
  for (const auto& [callers, figures] : per_second) {
    const bool most = callers == 64;
    const Figure ratio = ratios(figures, per_second.at(1));
    char note[128];
    std::snprintf(note, sizeof note,
                  "ratio's quartiles %.1f-%.1f; 4 KiB and fdatasync: %.0f us meanwhile%s",
                  *ratio.low, *ratio.high, fsync.value, most ? "; aim beyond: 20" : "");
    results.add({.group = "callers, each waiting for its own durable result",
                 .name = std::to_string(callers) + (callers == 1 ? " caller" : " callers"),
                 .value = Figure(figures),
                 .unit = "ops/s",
                 .ratio = ratio.value,
                 .ratio_to = "one caller, round by round",
                 .target = most ? std::optional(at_least(8)) : std::nullopt,
                 .note = note});
    results.point("throughput_by_callers", "engine: durable reservations",
                  static_cast<double>(callers), median(figures));
  }
  results.add({.group = "callers, each waiting for its own durable result",
               .name = "the disk: write 4 KiB and fdatasync",
               .value = fsync,
               .unit = "us",
               .note = "in turns with the callers"});
}

void bench_offered(Results& results, Reservations& reservations, double capacity) {
  const double seconds = results.arguments().sized(0.05, 2.0, 8.0);
  for (const int share : {10, 25, 50, 75, 90}) {
    const double rate = capacity * share / 100;
    reservations.require(static_cast<std::size_t>(rate * seconds * 1.2) + 100);
    const Histogram latency = open_loop(reservations, rate, seconds);
    char name[64];
    std::snprintf(name, sizeof name, "open loop, %d %% of capacity (%s/s)", share,
                  counted(static_cast<std::uint64_t>(rate)).c_str());
    add_latency(results, "offered rates, timed from when a request should have started", name,
                latency);
    results.curve("latency", name, latency);
  }
}

}  // namespace

// Engine and floor take turns, 25 commits each, so that the disk's moods hit both alike.
void bench_one_durable(Results& results, const Folder& folder) {
  const Arguments& arguments = results.arguments();
  const std::size_t blocks = arguments.sized<std::size_t>(1, 80, 400);
  const std::size_t users = arguments.sized<std::size_t>(10, 10'000, 10'000);
  constexpr std::size_t commits = 25;
  Ledger ledger(folder / "one.db", users);
  Reservations reservations(ledger, (blocks + 1) * commits);
  grow_wal(folder / "one.db");
  RawPair raw(folder / "one-raw.db", users);
  Random random(4);
  Histogram ours;
  Histogram floor;
  for (std::size_t block = 0; block <= blocks; ++block) {
    Histogram warm;
    for (std::size_t i = 0; i < commits; ++i) {
      const auto u = static_cast<std::int64_t>(random.below(users));
      timed(block == 0 ? warm : floor, [&] { raw.transaction(u); });
    }
    for (std::size_t i = 0; i < commits; ++i)
      timed(block == 0 ? warm : ours, [&] { reservations.make_one(); });
  }
  const std::string group = "one durable reservation, one caller";
  for (const auto& [share, name] : {std::pair{0.5, "median"}, {0.99, "p99"}}) {
    results.add({.group = group,
                 .name = std::string("reservation, ") + name,
                 .value = us(ours, share),
                 .unit = "us",
                 .ratio = us(ours, share) / us(floor, share),
                 .ratio_to = "raw SQLite: one insert and one update in a transaction, in turns",
                 .target = share == 0.5 ? std::optional(at_most(1.15)) : std::nullopt,
                 .note = counted(ours.count()) + " calls"});
  }
  add_latency(results, group, "raw SQLite, one insert and one update", floor);
  results.curve("latency", "closed loop, 1 caller", ours);
  results.curve("latency", "closed loop, raw SQLite, insert and update", floor);
}

void bench_commit_sizes(Results& results, const Folder& folder) {
  const Arguments& arguments = results.arguments();
  const auto sizes = arguments.sized<std::vector<std::size_t>>(
      {1, 40}, {1, 16, 256, 2'048, 8'000}, {1, 4, 16, 64, 256, 1'024, 2'048, 4'096, 8'000, 8'192});
  const auto commits = [&](std::size_t size) {
    const std::size_t most = arguments.sized<std::size_t>(2, 200, 800);
    const std::size_t operations = arguments.sized<std::size_t>(80, 120'000, 320'000);
    return std::clamp<std::size_t>(operations / size, 2, most);
  };
  const std::size_t ahead = arguments.sized<std::size_t>(60, 16'000, 16'000);
  std::size_t jobs = 0;
  for (const std::size_t size : sizes) jobs += (commits(size) + 1) * size / 2 + 1;
  TwoPhase ours(folder / "commits.db", arguments.sized<std::size_t>(100, 100'000, 100'000), ahead,
                jobs);
  const std::size_t bytes = outbox_bytes(folder / "commits.db");
  copy_mirror(folder / "commits.db", folder / "commits-raw.db");
  grow_wal(folder / "commits.db");
  RawLedger raw(folder / "commits-raw.db", ahead);
  for (const std::size_t size : sizes) {
    std::vector<double> ours_per_second;
    std::vector<double> raw_per_second;
    for (std::size_t commit = 0; commit <= commits(size); ++commit) {
      const double floor = raw.two_phase(size, bytes);
      const double taken = ours.commit(size);
      if (commit == 0) continue;  // Warms up.
      raw_per_second.push_back(static_cast<double>(size) / floor);
      ours_per_second.push_back(static_cast<double>(size) / taken);
    }
    report_commit_size(results, size, Figure(ours_per_second), Figure(raw_per_second));
  }
  require_alike(folder / "commits.db", folder / "commits-raw.db");
}

void bench_whole_jobs(Results& results, const Folder& folder) {
  const Arguments& arguments = results.arguments();
  const std::size_t a_commit = arguments.sized<std::size_t>(4, 600, 600);
  const std::size_t commits = arguments.sized<std::size_t>(2, 12, 60);
  Ledger ledger(folder / "jobs.db", arguments.sized<std::size_t>(10, 10'000, 10'000));
  Random random(4);
  std::vector<Command> commands = whole_jobs(ledger, random, a_commit);
  ledger.submit(commands);
  const std::size_t bytes = outbox_bytes(folder / "jobs.db");
  copy_mirror(folder / "jobs.db", folder / "jobs-raw.db");
  grow_wal(folder / "jobs.db");
  RawLedger raw(folder / "jobs-raw.db", 0);
  std::vector<double> ours_per_second;
  std::vector<double> raw_per_second;
  for (std::size_t commit = 0; commit <= commits; ++commit) {
    const double floor = raw.whole_jobs(a_commit, bytes);
    commands = whole_jobs(ledger, random, a_commit);
    const auto start = Clock::now();
    ledger.submit(commands);
    if (commit == 0) continue;  // Warms up.
    ours_per_second.push_back(static_cast<double>(a_commit) / seconds_since(start));
    raw_per_second.push_back(static_cast<double>(a_commit) / floor);
  }
  require_alike(folder / "jobs.db", folder / "jobs-raw.db");
  const std::string group = "whole jobs: create, reserve, queue, 8 stages, complete";
  results.add({.group = group,
               .name = "engine, " + std::to_string(a_commit) + " jobs a commit",
               .value = Figure(ours_per_second),
               .unit = "jobs/s",
               .ratio = median(ours_per_second) / median(raw_per_second),
               .ratio_to = "raw SQLite writing the same rows, in turns",
               .target = at_least(0.6),
               .note = "12 operations a job"});
  results.add({.group = group,
               .name = "raw SQLite, the same rows",
               .value = Figure(raw_per_second),
               .unit = "jobs/s"});
}

void bench_callers(Results& results, const Folder& folder) {
  const Arguments& arguments = results.arguments();
  const auto levels =
      arguments.sized<std::vector<std::size_t>>({1, 64, 8}, {1, 64, 8}, {1, 64, 8, 2, 4, 16, 32});
  Ledger ledger(folder / "callers.db", arguments.sized<std::size_t>(10, 10'000, 10'000));
  Reservations reservations(ledger, 1'000);
  Disk disk(folder.path());
  const double seconds = arguments.sized(0.02, 0.3, 0.5);
  std::map<std::size_t, std::vector<double>> per_second;
  std::map<std::size_t, Histogram> latency;
  std::vector<double> fsync_us;
  for (int round = 0; round < arguments.sized(1, 7, 15); ++round) {
    for (const std::size_t callers : levels) {
      disk.sync(arguments.sized(2, 20, 40), fsync_us);
      per_second[callers].push_back(closed_loop(reservations, callers, seconds, latency[callers]));
    }
  }
  report_callers(results, per_second, fsync_us);
  for (const std::size_t callers : {1U, 8U, 64U}) {
    add_latency(results, "callers: how long each waits",
                std::to_string(callers) + (callers == 1 ? " caller" : " callers"), latency[callers],
                "closed loop");
  }
  results.curve("latency", "closed loop, 8 callers", latency[8]);
  results.curve("latency", "closed loop, 64 callers", latency[64]);
  bench_offered(results, reservations, median(per_second.at(64)));
}

}  // namespace tally::bench
