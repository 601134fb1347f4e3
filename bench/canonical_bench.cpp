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
#include "results.hpp"
#include "support.hpp"
#include "tally/sync.hpp"
#include "throwaway_postgres.hpp"

namespace tally::bench {
namespace {

/// How much is done.
struct Scale {
  explicit Scale(const Arguments& arguments)
      : tiny(arguments.size == Size::tiny),
        users(arguments.sized(4, 100, 100)),
        rounds(arguments.sized(1, 3, 5)),
        seconds(arguments.sized(0.05, 0.15, 0.6)),
        replayed(arguments.sized(100, 2'000, 5'000)),
        histories(arguments.sized<std::vector<int>>({10, 100}, {10, 1'000, 100'000},
                                                    {10, 1'000, 100'000, 1'000'000})),
        jobs_a_user(arguments.sized(800, 150, 400)),
        hot_jobs(arguments.sized(4'000, 15'000, 40'000)) {}
  bool tiny;
  int users;
  int rounds;
  double seconds;  ///< One measurement of calls.
  int replayed;    ///< Operations of one measurement of replay.
  std::vector<int> histories;
  int jobs_a_user;
  int hot_jobs;
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

/// One cell of the table, as a row and in the charts.
void keep_reservations(Results& results, int history, bool hot, int connections,
                       const std::vector<double>& ours, const std::vector<double>& prd) {
  const std::string where =
      std::to_string(history) + " entries, " + (hot ? "one hot account, " : "random accounts, ") +
      std::to_string(connections) + (connections == 1 ? " caller" : " callers");
  const std::string group = "canonical: reserve_credits, each call durable";
  results.keep_row({.group = group,
                    .name = "ours, " + where,
                    .value = Figure(ours),
                    .unit = "calls/s",
                    .ratio = median(ours) / median(prd),
                    .ratio_to = "the PRD's own function, in turns"});
  results.keep_row(
      {.group = group, .name = "the PRD's own, " + where, .value = Figure(prd), .unit = "calls/s"});
  if (hot && connections == 1) {
    results.point("canonical_by_history", "reserve_credits, ours", history, median(ours));
    results.point("canonical_by_history", "reserve_credits, the PRD's own", history, median(prd));
  }
  if (!hot && history == 10)
    results.point("throughput_by_callers", "canonical: reserve_credits", connections, median(ours));
}

void bench_reservations(Results& results, const cli::ThrowawayPostgres& server,
                        const Scale& scale) {
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
        keep_reservations(results, history, hot, connections, ours, prd);
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

void bench_replay(Results& results, const cli::ThrowawayPostgres& server, const Scale& scale) {
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
    bool is_two_phase = false;
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
       },
       true},
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
    const std::vector<std::size_t> batches{1, 100, 1'000, 5'000};
    std::vector<std::vector<double>> figures(batches.size());
    for (int round = 0; round < scale.rounds; ++round) {
      for (std::size_t b = 0; b < batches.size(); ++b) {
        const std::size_t batch = batches[b];
        const int operations = batch == 1 ? std::max(20, scale.replayed / 10) : scale.replayed;
        const auto before = kind.prepare(operations);
        if (!before.empty()) replay(canonical, before, 1'000);
        figures[b].push_back(replay(canonical, kind.lines(operations), batch));
      }
    }
    for (const auto& of_batch : figures) medians.push_back(median(of_batch));
    for (std::size_t b = 0; b < batches.size(); ++b) {
      results.keep_row(
          {.group = "canonical: replay by tally.apply_operations",
           .name = std::string(kind.name) + ", " + std::to_string(batches[b]) + " a call",
           .value = Figure(figures[b]),
           .unit = "ops/s",
           .ratio = medians[b] / medians[0],
           .ratio_to = "one a call"});
      if (kind.is_two_phase)
        results.point("throughput_by_batch", "canonical: apply_operations",
                      static_cast<double>(batches[b]), medians[b]);
    }
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
  results.keep_row({.group = "canonical: replay by tally.apply_operations",
                    .name = "floor: entries of one user by one INSERT … SELECT, nothing decided",
                    .value = Figure(floor),
                    .unit = "entries/s"});
}

// ---- the alternatives to replay -----------------------------------------------------------------

using Calls = std::vector<std::vector<std::string>>;

/// Calls in turns on the functions named "reserve" and "finalize", each job's two in order.
struct TwoPhaseCalls {
  Calls reserve;
  Calls finalize;
};

/// New PENDING jobs, and the calls that reserve for and settle them.
TwoPhaseCalls two_phase_calls(sync::Canonical& canonical, const Scale& scale, int first,
                              int count) {
  std::vector<std::string> made;
  TwoPhaseCalls calls;
  for (int j = first; j < first + count; ++j) {
    const int user = 1 + j % scale.users;
    made.push_back(line(
        "create_job", j + 100'000'000,
        on_job(j) + "," + of_user(user) + R"(,"project_id":")" + numbered('p', user) + R"(")"));
    calls.reserve.push_back({numbered('u', user), numbered('j', j), "3"});
    calls.finalize.push_back({numbered('j', j), "2"});
  }
  replay(canonical, made, 1'000);
  return calls;
}

/// canonical's functions called one by one, and pipelined: what there is without tally's replay.
void bench_alternatives(Results& results, const cli::ThrowawayPostgres& server,
                        const Scale& scale) {
  sync::Canonical canonical = expect(sync::Canonical::connect(server.conninfo("replay")));
  Link link(server.conninfo("replay"));
  link.prepare("reserve", "select reserve_credits($1, $2, $3)");
  link.prepare("finalize", "select finalize_job_credits($1, $2)");
  const int jobs = scale.tiny ? 10 : 100;
  int first = 50'000'000;
  const std::vector<std::pair<const char*, std::function<void(const TwoPhaseCalls&)>>> ways{
      {"functions one by one",
       [&](const TwoPhaseCalls& calls) {
         for (std::size_t i = 0; i < calls.reserve.size(); ++i) {
           link.call("reserve", calls.reserve[i]);
           link.call("finalize", calls.finalize[i]);
         }
       }},
      {"pipelined, each call its own transaction",
       [&](const TwoPhaseCalls& calls) {
         link.pipeline("reserve", calls.reserve, true);
         link.pipeline("finalize", calls.finalize, true);
       }},
      {"pipelined, 100 calls a transaction", [&](const TwoPhaseCalls& calls) {
         link.pipeline("reserve", calls.reserve, false);
         link.pipeline("finalize", calls.finalize, false);
       }}};
  std::vector<std::vector<double>> figures(ways.size());
  for (int round = 0; round <= scale.rounds; ++round) {
    for (std::size_t w = 0; w < ways.size(); ++w, first += jobs) {
      const TwoPhaseCalls calls = two_phase_calls(canonical, scale, first, jobs);
      const auto start = Clock::now();
      ways[w].second(calls);
      if (round > 0) figures[w].push_back(2 * jobs / seconds_since(start));  // 0 warms up.
    }
  }
  print_header("the same reservations and settlements by canonical's own functions, calls/s");
  for (std::size_t w = 0; w < ways.size(); ++w) {
    std::printf("%-44s %8.0f %8.2f of one by one\n", ways[w].first, median(figures[w]),
                median(figures[w]) / median(figures[0]));
    results.keep_row({.group = "canonical: reserve_credits and finalize_job_credits, alternatives",
                      .name = ways[w].first,
                      .value = Figure(figures[w]),
                      .unit = "calls/s",
                      .ratio = median(figures[w]) / median(figures[0]),
                      .ratio_to = "one by one, in turns"});
    const double a_transaction = w == 2 ? jobs : 1;
    results.point("throughput_by_batch", "canonical: " + std::string(ways[w].first), a_transaction,
                  median(figures[w]));
  }
}

void bench_balance(Results& results, const cli::ThrowawayPostgres& server, const Scale& scale) {
  print_header("get_credit_balance, calls/s on one connection; ours | the PRD's own function");
  for (const int history : scale.histories) {
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
    for (int kind = 0; kind < 2; ++kind) {
      const std::string whose = kind == 0 ? "ours" : "the PRD's own";
      results.keep_row({.group = "canonical: get_credit_balance",
                        .name = whose + ", " + std::to_string(history) + " entries",
                        .value = Figure(figures[kind]),
                        .unit = "calls/s"});
      results.point("cost_by_history", "canonical get_credit_balance, " + whose, history,
                    1e9 / median(figures[kind]));
    }
  }
}

void run(const Arguments& arguments) {
  const Scale scale(arguments);
  const cli::ThrowawayPostgres server;
  Results results("canonical_bench", arguments, server.folder());
  Link link(server.conninfo());
  for (const char* setting : {"server_version", "fsync", "synchronous_commit", "shared_buffers"}) {
    results.fact("PostgreSQL's " + std::string(setting), link.run("show " + std::string(setting)));
  }
  std::printf("medians of %d rounds\n", scale.rounds);
  if (arguments.wants("replay")) bench_replay(results, server, scale);
  if (arguments.wants("replay")) bench_alternatives(results, server, scale);
  if (arguments.wants("functions")) bench_reservations(results, server, scale);
  if (arguments.wants("functions")) bench_balance(results, server, scale);
  results.finish();
}

}  // namespace
}  // namespace tally::bench

int main(int argc, char** argv) {
  using namespace tally::bench;
  return run_benchmark(argc, argv, "canonical_bench", run);
}
