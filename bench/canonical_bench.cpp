// The canonical half, on a real PostgreSQL of its own with durable settings: reservations through
// the RPC functions beside the PRD's own bodies, and replay through the array function beside one
// call an operation. Every ratio is of figures taken in this run, in turns, and is a median.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "link.hpp"
#include "support.hpp"
#include "tally/sync.hpp"
#include "throwaway_postgres.hpp"

namespace tally::bench {
namespace {

/// How much is done: tiny for the test run.
struct Scale {
  bool tiny = std::getenv("TALLY_BENCH_TINY") != nullptr;
  int users = tiny ? 4 : 100;
  int rounds = tiny ? 1 : 5;
  double seconds = tiny ? 0.05 : 0.6;  ///< One measurement of calls.
  int replayed = tiny ? 100 : 5'000;   ///< Operations of one measurement of replay.
  std::vector<int> histories =
      tiny ? std::vector<int>{10, 100} : std::vector<int>{10, 1'000, 100'000, 1'000'000};
  int jobs_a_user = tiny ? 800 : 400;
  int hot_jobs = tiny ? 4'000 : 40'000;
};

std::string numbered(char kind, int n) {
  char text[40];
  std::snprintf(text, sizeof text, "%08x-0000-7000-8000-%012x", static_cast<unsigned>(kind),
                static_cast<unsigned>(n));
  return text;
}

constexpr const char* sql_id =
    "(lpad(to_hex(%d), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(%s), 12, '0'))::uuid";

std::string id_of(char kind, const std::string& expression) {
  char text[160];
  std::snprintf(text, sizeof text, sql_id, static_cast<int>(kind), expression.c_str());
  return text;
}

/// Users 1 to n, each with history and with PENDING jobs; user 0 is the hot one. Jobs are numbered
/// through: first the hot user's.
void fill(Link& link, const Scale& scale, int history) {
  const std::string users = std::to_string(scale.users);
  link.run("insert into auth.users (id, email) select " + id_of('u', "n") +
           ", n || '@x' from generate_series(0, " + users + ") n");
  link.run("insert into projects (id, user_id, title, prompt_text, niche_preset) select " +
           id_of('p', "n") + ", " + id_of('u', "n") +
           ", 't', 'p', 'facts' from generate_series(0, " + users + ") n");
  // Enough to spend, and the history: on the hot user in full, shared out among the others.
  link.run("insert into credit_ledger (user_id, type, amount, note, created_at) select " +
           id_of('u', "u") +
           ", 'grant', 1000000, 'n', timestamptz '2025-01-01' from generate_series(0, " + users +
           ") u");
  link.run("insert into credit_ledger (user_id, type, amount, note, created_at) select " +
           id_of('u', "0") +
           ", 'grant', 1, 'n', timestamptz '2025-01-02' + n * interval '1 second' from "
           "generate_series(1, " +
           std::to_string(history) + ") n");
  link.run("insert into credit_ledger (user_id, type, amount, note, created_at) select " +
           id_of('u', "u") +
           ", 'grant', 1, 'n', timestamptz '2025-01-02' + n * interval '1 second' from "
           "generate_series(1, " +
           users + ") u, generate_series(1, " +
           std::to_string(std::max(10, history / scale.users)) + ") n");
  link.run("insert into jobs (id, project_id, user_id) select " + id_of('j', "n") + ", " +
           id_of('p', "0") + ", " + id_of('u', "0") + " from generate_series(0, " +
           std::to_string(scale.hot_jobs - 1) + ") n");
  link.run("insert into jobs (id, project_id, user_id) select " +
           id_of('j', std::to_string(scale.hot_jobs) + " + n") + ", " +
           id_of('p', "1 + n % " + users) + ", " + id_of('u', "1 + n % " + users) +
           " from generate_series(0, " + std::to_string(scale.users * scale.jobs_a_user - 1) +
           ") n");
}

/// Two databases with the same rows: the PRD's own functions, and ours after an upgrade in place.
class Pair {
 public:
  Pair(const cli::ThrowawayPostgres& server, const Scale& scale, int history) : scale_(scale) {
    for (const char* kind : {"prd", "ours"}) {
      const std::string name = std::string(kind) + "_" + std::to_string(history);
      Link(server.conninfo()).run("create database " + name);
      (kind[0] == 'p' ? prd_ : ours_) = server.conninfo(name);
      Link link(server.conninfo(name));
      link.run(expect(sync::migration_script({.shim = true, .to = "20260118000010"})));
      fill(link, scale, history);
      if (kind[0] == 'o') expect(expect(sync::Canonical::connect(ours_)).migrate({}));
      link.run("vacuum analyze");
    }
  }
  const std::string& prd() const { return prd_; }
  const std::string& ours() const { return ours_; }

  /// Reservations a second, each of a job of its own, on so many connections.
  double reservations(const std::string& conninfo, int connections, bool hot) {
    std::atomic<int>& next =
        hot ? hot_[&conninfo == &prd_ ? 0 : 1] : cold_[&conninfo == &prd_ ? 0 : 1];
    std::atomic<int> done = 0;
    std::atomic<int> ready = 0;
    std::atomic<bool> stop = false;
    std::mutex mutex;
    std::string error;
    const auto caller = [&] {
      Link link(conninfo);
      link.prepare("r", "select reserve_credits($1, $2, 1)");
      for (int warm = 0; warm < 6; ++warm) reserve(link, next++, hot);  // The plans are made.
      ++ready;
      while (ready < connections) std::this_thread::yield();
      while (!stop) {
        reserve(link, next++, hot);
        ++done;
      }
    };
    std::vector<std::thread> threads;
    for (int c = 0; c < connections; ++c) {
      threads.emplace_back([&] {
        try {
          caller();
        } catch (const std::exception& e) {
          const std::lock_guard lock(mutex);
          error = e.what();
          ready += connections;  // Nobody waits for it.
        }
      });
    }
    while (ready < connections) std::this_thread::yield();
    const auto start = Clock::now();
    std::this_thread::sleep_for(std::chrono::duration<double>(scale_.seconds));
    stop = true;
    for (std::thread& thread : threads) thread.join();
    if (!error.empty()) throw std::runtime_error(error);
    return done / seconds_since(start);
  }

 private:
  void reserve(Link& link, int n, bool hot) {
    const int cold_jobs = scale_.users * scale_.jobs_a_user;
    if (n >= (hot ? scale_.hot_jobs : cold_jobs)) throw std::runtime_error("too few jobs prepared");
    const int user = hot ? 0 : 1 + n % scale_.users;
    const std::string answer =
        link.call("r", {numbered('u', user), numbered('j', hot ? n : scale_.hot_jobs + n)});
    if (answer != "t") throw std::runtime_error("a reservation was refused");
  }

  Scale scale_;
  std::string prd_;
  std::string ours_;
  std::atomic<int> hot_[2]{};
  std::atomic<int> cold_[2]{};
};

void print_header(const std::string& title) { std::printf("\n%s\n", title.c_str()); }

void bench_reservations(const cli::ThrowawayPostgres& server, const Scale& scale) {
  print_header(
      "reservations/s through reserve_credits, each durable; ours | the PRD's own function | "
      "ratio");
  std::printf("%12s %12s %8s %10s %10s %8s\n", "entries", "accounts", "callers", "ours", "PRD",
              "ratio");
  std::vector<double> by_history;
  double random_8 = 0;
  double hot_8 = 0;
  for (const int history : scale.histories) {
    Pair pair(server, scale, history);
    for (const bool hot : {false, true}) {
      for (const int connections : {1, 8}) {
        std::vector<double> ours;
        std::vector<double> prd;
        for (int round = 0; round < scale.rounds; ++round) {
          ours.push_back(pair.reservations(pair.ours(), connections, hot));
          prd.push_back(pair.reservations(pair.prd(), connections, hot));
        }
        std::printf("%12d %12s %8d %10.0f %10.0f %8.2f\n", history, hot ? "one hot" : "random",
                    connections, median(ours), median(prd), median(ours) / median(prd));
        std::fflush(stdout);
        if (hot && connections == 1) by_history.push_back(median(ours));
        if (connections == 8) (hot ? hot_8 : random_8) = median(ours);
      }
    }
  }
  std::printf("constant in history: %d entries / %d entries = %.2f\n", scale.histories.back(),
              scale.histories.front(), by_history.back() / by_history.front());
  std::printf("one hot account against random ones, 8 callers: %.2f of it\n", hot_8 / random_8);
}

/// Lines of a workload for jobs from `first` on.
using Workload = std::function<std::vector<std::string>(int first, int operations)>;

std::string line(const std::string& op, int n, const std::string& fields) {
  return R"({"op":")" + op + R"(","op_id":")" + numbered('o', n) +
         R"(","at":"2026-01-18T00:00:00.000000Z",)" + fields + "}";
}

std::string on_job(int job) { return R"("job_id":")" + numbered('j', job) + R"(")"; }
std::string of_user(int user) { return R"("user_id":")" + numbered('u', user) + R"(")"; }

/// Operations/s in calls of `batch` lines.
double replay(sync::Canonical& canonical, const std::vector<std::string>& lines,
              std::size_t batch) {
  const auto start = Clock::now();
  for (std::size_t at = 0; at < lines.size(); at += batch) {
    const std::span<const std::string> part(lines.data() + at, std::min(batch, lines.size() - at));
    for (const Verdict& verdict : expect(canonical.apply(part))) {
      if (verdict.code != Code::ok)
        throw std::runtime_error("refused: " + std::string(name_of(verdict.code)));
    }
  }
  return static_cast<double>(lines.size()) / seconds_since(start);
}

void bench_replay(const cli::ThrowawayPostgres& server, const Scale& scale) {
  Link(server.conninfo()).run("create database replay");
  sync::Canonical canonical = expect(sync::Canonical::connect(server.conninfo("replay")));
  expect(canonical.migrate({.shim = true}));
  Scale few = scale;
  few.hot_jobs = 10;
  few.jobs_a_user = 1;
  Link link(server.conninfo("replay"));
  fill(link, few, 10);
  link.run("vacuum analyze");
  int job = 1'000'000;
  int op = 1'000'000;
  const int stages = 8;
  constexpr const char* names[stages] = {"SCRIPTING", "VOICE_GEN", "ALIGNMENT", "VISUAL_PLAN",
                                         "IMAGE_GEN", "TIMELINE",  "RENDERING", "PACKAGING"};
  const auto user_of = [&](int j) { return 1 + j % scale.users; };
  const auto create = [&](std::vector<std::string>& lines, int j) {
    lines.push_back(line("create_job", op++,
                         on_job(j) + "," + of_user(user_of(j)) + R"(,"project_id":")" +
                             numbered('p', user_of(j)) + R"(")"));
  };
  struct Kind {
    const char* name;
    std::function<std::vector<std::string>(int)> prepare;
    std::function<std::vector<std::string>(int)> lines;
  };
  const auto nothing = [](int) { return std::vector<std::string>{}; };
  const std::vector<Kind> kinds{
      {"add_credits, 100 users", nothing,
       [&](int n) {
         std::vector<std::string> lines;
         for (int i = 0; i < n; ++i)
           lines.push_back(
               line("add_credits", op++, of_user(user_of(i)) + R"(,"amount":1,"type":"grant")"));
         return lines;
       }},
      {"add_credits, one user", nothing,
       [&](int n) {
         std::vector<std::string> lines;
         for (int i = 0; i < n; ++i)
           lines.push_back(line("add_credits", op++, of_user(0) + R"(,"amount":1,"type":"grant")"));
         return lines;
       }},
      {"reserve and finalize",
       [&](int n) {
         std::vector<std::string> lines;
         for (int i = 0; i < n / 2; ++i) create(lines, job + i);
         return lines;
       },
       [&](int n) {
         std::vector<std::string> lines;
         for (int i = 0; i < n / 2; ++i, ++job) {
           lines.push_back(line("reserve_credits", op++,
                                of_user(user_of(job)) + "," + on_job(job) + R"(,"amount":3)"));
           lines.push_back(line("finalize_job_credits", op++, on_job(job) + R"(,"final_cost":2)"));
         }
         return lines;
       }},
      {"whole jobs, 21 operations each", nothing, [&](int n) {
         std::vector<std::string> lines;
         for (; static_cast<int>(lines.size()) < n; ++job) {
           create(lines, job);
           lines.push_back(line("reserve_credits", op++,
                                of_user(user_of(job)) + "," + on_job(job) + R"(,"amount":3)"));
           lines.push_back(line("advance_job", op++, on_job(job) + R"(,"to":"QUEUED")"));
           for (const char* stage : names) {
             lines.push_back(
                 line("advance_job", op++, on_job(job) + R"(,"to":")" + stage + R"(")"));
             lines.push_back(
                 line("report_progress", op++,
                      on_job(job) + R"(,"step_name":")" + stage + R"(","progress_pct":50)"));
           }
           lines.push_back(line("add_asset", op++,
                                on_job(job) + R"(,"asset_id":")" + numbered('a', job) +
                                    R"(","type":"video","url":"u","storage_path":"s")"));
           lines.push_back(line("complete_job", op++, on_job(job) + R"(,"final_cost":2)"));
         }
         return lines;
       }}};
  print_header(
      "replay through tally.apply_operations, operations/s by operations a call, unix socket");
  std::printf("%-32s %8s %8s %8s %8s %22s\n", "", "1", "100", "1,000", "5,000",
              "1,000 a call / 1 a call");
  for (const Kind& kind : kinds) {
    std::vector<double> medians;
    std::vector<std::vector<double>> figures(4);
    for (int round = 0; round < scale.rounds; ++round) {
      for (std::size_t b = 0; b < 4; ++b) {
        const std::size_t batch = std::vector<std::size_t>{1, 100, 1'000, 5'000}[b];
        const int operations = batch == 1 ? std::max(20, scale.replayed / 10) : scale.replayed;
        const auto before = kind.prepare(operations);
        if (!before.empty()) replay(canonical, before, 1'000);
        figures[b].push_back(replay(canonical, kind.lines(operations), batch));
      }
    }
    for (const auto& of_batch : figures) medians.push_back(median(of_batch));
    std::printf("%-32s %8.0f %8.0f %8.0f %8.0f %22.1f\n", kind.name, medians[0], medians[1],
                medians[2], medians[3], medians[2] / medians[0]);
    std::fflush(stdout);
  }

  // The floor: the same entries, by one statement with nothing decided, and the account with it.
  std::vector<double> floor;
  for (int round = 0; round < scale.rounds; ++round) {
    const auto start = Clock::now();
    link.run(
        "begin; set local role tally_owner;"
        "insert into credit_ledger (user_id, type, amount, note, balance_after, seq) select " +
        id_of('u', "0") +
        ", 'grant', 1, 'n', a.balance + n, a.seq + n from tally.accounts a, generate_series(1, " +
        std::to_string(scale.replayed) + ") n where a.user_id = " + id_of('u', "0") +
        ";"
        "update tally.accounts set balance = balance + " +
        std::to_string(scale.replayed) + ", seq = seq + " + std::to_string(scale.replayed) +
        " where user_id = " + id_of('u', "0") + "; commit");
    floor.push_back(scale.replayed / seconds_since(start));
  }
  std::printf("floor: %d entries of one user by one INSERT … SELECT, nothing decided: %.0f/s\n",
              scale.replayed, median(floor));
}

void bench_balance(const cli::ThrowawayPostgres& server, const Scale& scale) {
  print_header("get_credit_balance, calls/s on one connection; ours | the PRD's own function");
  for (const int history : {scale.histories.front(), scale.histories.back()}) {
    std::vector<double> figures[2];
    const int calls = scale.tiny ? 10 : 400;
    for (int round = 0; round < scale.rounds; ++round) {
      for (int kind = 0; kind < 2; ++kind) {
        Link link(server.conninfo((kind == 0 ? "ours_" : "prd_") + std::to_string(history)));
        link.prepare("b", "select get_credit_balance($1)");
        const int n = kind == 1 && history > 10'000 ? std::min(calls, 10) : calls;
        link.call("b", {numbered('u', 0)});
        const auto start = Clock::now();
        for (int i = 0; i < n; ++i) link.call("b", {numbered('u', 0)});
        figures[kind].push_back(n / seconds_since(start));
      }
    }
    std::printf("%12d entries %10.0f %10.0f\n", history, median(figures[0]), median(figures[1]));
  }
}

int run() {
  const Scale scale;
  const cli::ThrowawayPostgres server;
  Link link(server.conninfo());
  std::printf(
      "PostgreSQL %s, fsync %s, synchronous_commit %s, shared_buffers %s, %u cores, %d rounds, "
      "medians\n",
      link.run("show server_version").c_str(), link.run("show fsync").c_str(),
      link.run("show synchronous_commit").c_str(), link.run("show shared_buffers").c_str(),
      std::thread::hardware_concurrency(), scale.rounds);
  bench_replay(server, scale);
  bench_reservations(server, scale);
  bench_balance(server, scale);
  return 0;
}

}  // namespace
}  // namespace tally::bench

int main() { return tally::bench::run_benchmark("canonical_bench", tally::bench::run); }
