// What stays as it is while history grows: throughput, the WAL, opening after a clean close and
// after a kill, memory, and bytes an entry.

#include <cstdio>
#include <ctime>
#include <thread>

#include "child.hpp"
#include "disk.hpp"
#include "workload.hpp"

namespace tally::bench {
namespace {

/// A stream in thirds: jobs are made, those of the commit before are reserved for, and those
/// reserved for then are settled. Three operations are four entries.
class Stream {
 public:
  explicit Stream(Ledger& ledger) : ledger_(ledger) {}

  std::vector<Command> next(std::size_t operations) {
    std::vector<Command> commands;
    commands.reserve(operations);
    for (const Ledger::Job& job : to_settle_)
      commands.push_back(ledger_.engine.make_command(FinalizeJobCredits{job.id, Credits{5}}));
    for (const Ledger::Job& job : to_reserve_) {
      commands.push_back(
          ledger_.engine.make_command(ReserveCredits{ledger_.users[job.user], job.id, Credits{8}}));
    }
    to_settle_ = std::exchange(to_reserve_, {});
    // The first commits make up what they lack of the others with more jobs.
    const std::size_t jobs = std::min(operations - commands.size(), (operations + 2) / 3);
    for (std::size_t i = 0; i < jobs; ++i) {
      const std::size_t user = random_.below(ledger_.users.size());
      to_reserve_.push_back({new_uuid_v7(), user});
      commands.push_back(ledger_.engine.make_command(
          CreateJob{to_reserve_.back().id, ledger_.projects[user], ledger_.users[user]}));
    }
    return commands;
  }

 private:
  Ledger& ledger_;
  Random random_{17};
  std::vector<Ledger::Job> to_reserve_{};
  std::vector<Ledger::Job> to_settle_{};
};

/// In megabytes of 2^20 bytes, as the WAL's limit is meant.
double wal_mib(const std::filesystem::path& mirror) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(mirror.string() + "-wal", error);
  return error ? 0 : static_cast<double>(bytes) / 1'048'576;
}

// ---- sustained ----------------------------------------------------------------------------------

/// Operations and the time that they took.
struct Work {
  double operations = 0;
  double seconds = 0;
  double cpu_seconds = 0;  ///< Of the whole process, in which nobody else works.
  double rate() const { return operations / seconds; }
  double cpu_us() const { return 1e6 * cpu_seconds / operations; }
};

/// A ledger that is given the same work again and again.
class Worked {
 public:
  /// Behind the first two commits all are alike.
  Worked(const std::filesystem::path& mirror, std::size_t users, std::size_t a_commit,
         std::size_t commits_before = 2)
      : ledger_(mirror, users), stream_(ledger_), a_commit_(a_commit) {
    Work before;
    for (std::size_t i = 0; i < commits_before; ++i) commit(before);
  }
  Clock::duration commit(Work& work) {
    std::vector<Command> commands = stream_.next(a_commit_);
    work.operations += static_cast<double>(commands.size());  // They are gone afterwards.
    const std::clock_t cpu = std::clock();
    const auto start = Clock::now();
    ledger_.submit(commands);
    const auto taken = Clock::now() - start;
    work.cpu_seconds += static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
    work.seconds += std::chrono::duration<double>(taken).count();
    return taken;
  }

 private:
  Ledger ledger_;
  Stream stream_;
  std::size_t a_commit_;
};

/// A run of commits by fifths, each commit's time, the WAL's size.
struct Sustained {
  std::vector<Work> fifths{};
  std::vector<Work> control{};    ///< The same on a mirror that stays small, in turns.
  std::vector<double> disk_us{};  ///< A write of 4 KiB and fdatasync, after each fifth.
  Histogram latency{};
  double wal_max_mib = 0;
  double last_to_first() const { return fifths.back().rate() / fifths.front().rate(); }
  /// Without what the machine's own speed did meanwhile.
  double last_to_first_of_control() const {
    return last_to_first() / (control.back().rate() / control.front().rate());
  }
};

Sustained sustain(Results& results, const std::filesystem::path& mirror, std::size_t users,
                  std::size_t operations, std::size_t a_commit) {
  Sustained out;
  Disk disk(mirror.parent_path());
  const std::string series = counted(a_commit) + " operations a commit";
  const std::size_t commits = operations / a_commit;
  Worked grown(mirror, users, a_commit);
  std::filesystem::path beside = mirror;
  // It begins with what the other one has in the midst of its first fifth.
  Worked small(beside += "-small", users, a_commit, std::max<std::size_t>(commits / 10, 2));
  const std::size_t shown = std::max<std::size_t>(1, commits / 200);
  // After so many commits the control makes one: 20 a fifth or more.
  const std::size_t controlled = std::clamp<std::size_t>(commits / 200, 1, 12);
  Work fifth;
  Work control;
  for (std::size_t commit = 1; commit <= commits; ++commit) {
    out.latency.record(grown.commit(fifth));
    const double wal = wal_mib(mirror);
    out.wal_max_mib = std::max(out.wal_max_mib, wal);
    if (commit % controlled == 0) small.commit(control);
    if (commit % shown == 0)
      results.point("wal", series,
                    100.0 * static_cast<double>(commit) / static_cast<double>(commits), wal);
    if (commit * 5 / commits == (commit - 1) * 5 / commits) continue;
    if (control.operations == 0) small.commit(control);
    out.fifths.push_back(std::exchange(fifth, {}));
    out.control.push_back(std::exchange(control, {}));
    std::vector<double> us;
    disk.sync(40, us);
    out.disk_us.push_back(median(us));
    const auto place = static_cast<double>(out.fifths.size());
    results.point("sustained", series, place, out.fifths.back().rate());
    results.point("sustained", series + ", on a small mirror in turns", place,
                  out.control.back().rate());
  }
  return out;
}

void report_sustained(Results& results, const Sustained& run, std::size_t operations,
                      std::size_t a_commit, double longest_ms) {
  const std::string group =
      "sustained: " + counted(operations) + " operations, " + counted(a_commit) + " a commit";
  std::string note = "create, reserve, finalize in thirds; the disk's fdatasync after each fifth:";
  for (const double us : run.disk_us) note += " " + counted(static_cast<std::uint64_t>(us));
  note += " us";
  results.add({.group = group,
               .name = "throughput of the last fifth",
               .value = run.fifths.back().rate(),
               .unit = "ops/s",
               .ratio = run.last_to_first(),
               .ratio_to = "the first fifth",
               .note = note});
  results.add({.group = group,
               .name = "processor time an operation, last fifth",
               .value = run.fifths.back().cpu_us(),
               .unit = "us",
               .ratio = run.fifths.back().cpu_us() / run.fifths.front().cpu_us(),
               .ratio_to = "the first fifth"});
  results.add({.group = group,
               .name = "throughput on a small mirror, in turns",
               .value = run.control.back().rate(),
               .unit = "ops/s",
               .ratio = run.control.back().rate() / run.control.front().rate(),
               .ratio_to = "its first fifth: what the machine itself did"});
  results.add({.group = group,
               .name = "what history costs: last fifth to first, of those of the small mirror",
               .value = run.last_to_first_of_control(),
               .unit = "",
               .ratio = run.last_to_first_of_control(),
               .ratio_to = "a machine that keeps its speed",
               .target = at_least(0.9)});
  for (const auto& [share, name] :
       {std::pair{0.5, "median"}, {0.99, "p99"}, {0.9999, "p99.99"}, {1.0, "longest"}}) {
    const auto ms = static_cast<double>(run.latency.at(share)) / 1e6;
    const bool judged = share == 0.9999;
    results.add(
        {.group = group,
         .name = std::string("commit, ") + name,
         .value = ms,
         .unit = "ms",
         .target = judged ? std::optional(at_most(longest_ms)) : std::nullopt,
         .note = counted(run.latency.count()) + " commits" +
                 (judged && run.latency.count() < 10'000 ? ": p99.99 is the longest" : "")});
  }
  results.add({.group = group,
               .name = "WAL, largest after any commit",
               .value = run.wal_max_mib,
               .unit = "MiB",
               .target = at_most(32)});
  results.curve("commit_latency", counted(a_commit) + " operations a commit", run.latency);
}

// ---- other processes ----------------------------------------------------------------------------

void tell(const char* what) {
  std::printf("%s %.2f %.2f\n", what, memory_mb("VmRSS"), memory_mb("VmHWM"));
  std::fflush(stdout);
}

/// Opens a mirror, checks every account, applies operations; tells its memory after each.
int child_memory(const std::string& mirror) {
  tell("bare");
  Engine engine = expect(Engine::open(mirror));
  tell("open");
  const std::vector<Uuid> users = expect(engine.users());
  for (const Uuid& user : users) expect(engine.balance(user));
  tell("all accounts checked");
  Random random(23);
  for (int commit = 0; commit < 20; ++commit) {
    std::vector<Command> commands;
    for (int i = 0; i < 1'000; ++i) {
      commands.push_back(
          engine.make_command(AddCredits{users[random.below(users.size())], Credits{1}, "grant"}));
    }
    expect(engine.submit(std::move(commands)));
  }
  tell("20 commits of 1,000");
  return 0;
}

/// Commits until it is killed, telling each.
int child_load(const std::string& mirror) {
  Engine engine = expect(Engine::open(mirror));
  const std::vector<Uuid> users = expect(engine.users());
  Random random(static_cast<std::uint64_t>(Clock::now().time_since_epoch().count()));
  for (;;) {
    std::vector<Command> commands;
    for (int i = 0; i < 2'000; ++i) {
      commands.push_back(
          engine.make_command(AddCredits{users[random.below(users.size())], Credits{1}, "grant"}));
    }
    expect(engine.submit(std::move(commands)));
    std::puts("commit");
    std::fflush(stdout);
  }
}

// ---- opening ------------------------------------------------------------------------------------

/// Opens and closes; milliseconds to open.
double open_ms(const std::filesystem::path& mirror) {
  const auto start = Clock::now();
  const Engine engine = expect(Engine::open(mirror));
  return seconds_since(start) * 1e3;
}

/// Kills a process amid its commits, then opens. The WAL's size at the kill goes to `wal_mib`.
double open_after_kill_ms(const std::filesystem::path& mirror, int commits,
                          std::vector<double>& wal) {
  Child child({"load", mirror.string()});
  for (int i = 0; i < commits; ++i) {
    if (!child.line()) throw std::runtime_error("the loading process failed");
  }
  std::this_thread::sleep_for(std::chrono::milliseconds{3});
  child.kill();
  wal.push_back(wal_mib(mirror));
  return open_ms(mirror);
}

struct Mirror {
  std::filesystem::path path;
  std::size_t entries;
};

void bench_open(Results& results, const std::vector<Mirror>& mirrors) {
  const Arguments& arguments = results.arguments();
  for (const Mirror& mirror : mirrors) {
    const bool judged = mirror.path == mirrors.back().path;
    std::vector<double> clean;
    std::vector<double> killed;
    std::vector<double> wal;
    for (int i = 0; i < arguments.sized(2, 9, 21); ++i) clean.push_back(open_ms(mirror.path));
    for (int i = 0; i < arguments.sized(1, 5, 11); ++i)
      killed.push_back(
          open_after_kill_ms(mirror.path, arguments.sized(1, 3 + 7 * i, 3 + 7 * i), wal));
    char note[96];
    std::snprintf(note, sizeof note, "WAL at the kill: up to %.1f MiB; slowest open %.1f ms",
                  quantile(wal, 1), quantile(killed, 1));
    for (const bool kill : {false, true}) {
      const Figure figure(kill ? killed : clean);
      results.add(
          {.group = "open",
           .name = std::string(kill ? "after kill -9 mid-load, " : "after a clean close, ") +
                   counted(mirror.entries) + " entries",
           .value = figure,
           .unit = "ms",
           .target = judged ? std::optional(at_most(20)) : std::nullopt,
           .note = kill ? note : "the file is in the page cache"});
      results.point("open_by_history", kill ? "after kill -9 mid-load" : "after a clean close",
                    static_cast<double>(mirror.entries), figure.value);
    }
  }
}

// ---- memory and disk ----------------------------------------------------------------------------

void bench_memory(Results& results, const std::vector<Mirror>& mirrors) {
  std::optional<double> smaller;
  for (const Mirror& mirror : mirrors) {
    Child child({"memory", mirror.path.string()});
    const std::string entries = ", " + counted(mirror.entries) + " entries";
    double peak = 0;
    while (const auto line = child.line()) {
      const std::size_t digits = line->find_last_of(' ', line->find_last_of(' ') - 1);
      const std::string what = line->substr(0, digits);
      std::size_t end = 0;
      const double now = std::stod(line->substr(digits), &end);
      peak = std::stod(line->substr(digits + end));
      results.add({.group = "memory",
                   .name = (what == "bare" ? "a bare process" : what) + entries,
                   .value = now,
                   .unit = "MB"});
    }
    if (child.wait() != 0) throw std::runtime_error("the measuring process failed");
    results.add({.group = "memory",
                 .name = "peak of the whole process" + entries,
                 .value = peak,
                 .unit = "MB",
                 .target = smaller ? std::nullopt : std::optional(at_most(64)),
                 .note = "nothing subtracted; the page cache of 8 MiB included"});
    if (smaller) {
      results.add({.group = "memory",
                   .name = "peak" + entries,
                   .value = peak,
                   .unit = "MB",
                   .ratio = peak / *smaller,
                   .ratio_to = "with the smaller history",
                   .target = at_most(1.05)});
    }
    smaller = peak;
  }
}

/// The smaller mirrors are mostly users, each of them made by three operations: the largest is
/// judged.
void bench_disk(Results& results, const Mirror& mirror, std::optional<Target> target) {
  Raw raw(mirror.path);
  raw.exec("pragma wal_checkpoint(truncate)");
  const auto entries = static_cast<double>(raw.number("select count(*) from tally_entry"));
  const auto bytes = [&](const std::string& condition) {
    return static_cast<double>(raw.number(
        "select coalesce(sum(pgsize), 0) from dbstat where aggregate = true and " + condition));
  };
  const auto add = [&](const std::string& name, double total, std::optional<Target> target,
                       const std::string& note) {
    results.add({.group = "disk: bytes an entry, " + counted(mirror.entries) + " entries",
                 .name = name,
                 .value = total / entries,
                 .unit = "bytes",
                 .target = std::move(target),
                 .note = note});
  };
  const std::string pruned = "name not in ('tally_outbox', 'tally_rejected', 'tally_rebased')";
  add("entries, operations and accounts, with their indexes",
      bytes("name in ('tally_entry', 'tally_operation', 'tally_operation_id', 'tally_account')"),
      target, "what grows with each entry");
  add("everything but the outbox", bytes(pruned), {},
      "with users, projects, and a job every 4 entries, and all indexes");
  add("entries alone", bytes("name = 'tally_entry'"), {}, "");
  add("operations with their index", bytes("name in ('tally_operation', 'tally_operation_id')"), {},
      "");
  add("jobs with their indexes", bytes("name like '%tally_job%'"), {}, "");
  add("the outbox, while nothing is pushed", bytes("name = 'tally_outbox'"), {},
      "goes as canonical confirms");
}

// ---- the mirrors --------------------------------------------------------------------------------

constexpr std::size_t users_max = 100'000;

/// About so many entries by the same stream, in 8,000 a commit.
Mirror build(const Folder& folder, std::size_t entries) {
  const auto path = folder / ("grown" + std::to_string(entries) + ".db");
  const std::size_t users = std::min(users_max, entries / 10);
  Ledger ledger(path, users, Durability::normal);
  Stream stream(ledger);
  for (std::size_t left = (entries - users) / 4 * 3; left > 0;) {
    const std::size_t operations = std::min<std::size_t>(left, 8'000);
    std::vector<Command> commands = stream.next(operations);
    left -= std::min(left, commands.size());
    ledger.submit(commands);
  }
  return {path, entries};
}

/// The long run, whose mirror is the largest.
Mirror bench_sustained(Results& results, const Folder& folder) {
  const Arguments& arguments = results.arguments();
  const std::size_t users = arguments.sized<std::size_t>(100, users_max, users_max);
  const auto small = arguments.sized<std::size_t>(500, 100'000, 1'000'000);
  report_sustained(results, sustain(results, folder / "sustained100.db", users, small, 100), small,
                   100, 50);
  const auto path = folder / "sustained.db";
  const auto large = arguments.sized<std::size_t>(400'000 / 10, 800'000, 10'000'000);
  report_sustained(results, sustain(results, path, users, large, 8'000), large, 8'000, 200);
  const auto entries =
      static_cast<std::size_t>(Raw(path).number("select count(*) from tally_entry"));
  return {path, entries};
}

}  // namespace

int growth_child(const std::vector<std::string>& words) {
  if (words.at(0) == "memory") return child_memory(words.at(1));
  return child_load(words.at(1));
}

void bench_growth(Results& results, const Folder& folder) {
  const Arguments& arguments = results.arguments();
  const Mirror largest = bench_sustained(results, folder);
  std::vector<Mirror> mirrors;
  for (std::size_t entries = 1'000;
       entries <= arguments.sized<std::size_t>(1'000, 1'000'000, 1'000'000); entries *= 10)
    mirrors.push_back(build(folder, entries));
  const Mirror million = mirrors.back();
  if (largest.entries > million.entries) mirrors.push_back(largest);
  for (const Mirror& mirror : mirrors) {
    const bool is_largest = mirror.path == mirrors.back().path;
    if (is_largest || mirror.path == million.path)
      bench_disk(results, mirror, is_largest ? std::optional(at_most(120)) : std::nullopt);
  }
  bench_memory(results, mirrors.back().path == million.path
                            ? std::vector<Mirror>{million}
                            : std::vector<Mirror>{million, mirrors.back()});
  bench_open(results, mirrors);
}

}  // namespace tally::bench
