// Sync between a mirror and a real PostgreSQL with durable settings: how fast a queue drains by
// operations a call, beside one call an operation; bootstrap beside raw COPY and raw SQLite; what a
// call costs when there is little; and what a local caller feels meanwhile. Every ratio is of
// figures taken in this run.

#include <libpq-fe.h>

#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Statement.h>
#include <SQLiteCpp/Transaction.h>
#include <unistd.h>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <thread>

#include "support.hpp"
#include "tally/syncer.hpp"
#include "throwaway_postgres.hpp"

namespace tally::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds patience{600};

struct Scale {
  bool tiny = std::getenv("TALLY_BENCH_TINY") != nullptr;
  int rounds = tiny ? 1 : 3;
  int pushed = tiny ? 100 : 10'000;
  int drained = tiny ? 200 : 100'000;
  int bootstrapped = tiny ? 200 : 50'000;
  int users = tiny ? 4 : 100;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Uuid numbered(char kind, std::uint64_t n) {
  Uuid id;
  id.bytes[3] = static_cast<std::uint8_t>(kind);
  id.bytes[6] = 0x70;
  id.bytes[8] = 0x80;
  for (int i = 0; i < 6; ++i)
    id.bytes[15 - static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(n >> (8 * i));
  return id;
}

/// A mirror in a folder of its own that is a device over all users.
struct Device {
  std::filesystem::path path;
  std::optional<Engine> engine;
  std::string token;
  std::string conninfo;

  Device(const std::filesystem::path& folder, sync::Canonical& canonical, std::string of_conninfo,
         int n)
      : path(folder / ("mirror" + std::to_string(n) + ".db")), conninfo(std::move(of_conninfo)) {
    token = expect(canonical.add_device({.name = "bench",
                                         .capabilities = {Capability::author, Capability::worker,
                                                          Capability::service}}))
                .token;
    engine.emplace(expect(Engine::open(path)));
  }
  sync::Syncer syncer(std::size_t operations_max) {
    return sync::Syncer(*engine, {.conninfo = conninfo,
                                  .token = token,
                                  .operations_max = operations_max,
                                  .bytes_max = 1U << 30U});
  }
};

class World {
 public:
  World(const cli::ThrowawayPostgres& server, const Scale& scale)
      : scale_(scale), conninfo_(server.conninfo("sync_bench")) {
    run(server.conninfo(), "create database sync_bench");
    canonical_.emplace(expect(sync::Canonical::connect(conninfo_)));
    expect(canonical_->migrate({.shim = true}));
    folder_ =
        std::filesystem::temp_directory_path() / ("tally_sync_bench_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    Device first = device();
    std::vector<Command> commands;
    for (int u = 0; u < scale.users; ++u) {
      commands.push_back(command(CreateUser{numbered('u', u)}));
      commands.push_back(command(AddCredits{numbered('u', u), Credits{1'000'000}, "grant"}));
      commands.push_back(
          command(CreateProject{numbered('p', u), numbered('u', u), "t", "p", "facts", 1}));
    }
    expect(first.engine->submit(std::move(commands)));
    expect(first.syncer(1'000).run_until_synced(patience));
  }
  ~World() { std::filesystem::remove_all(folder_); }

  static void run(const std::string& conninfo, const std::string& sql) {
    const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectdb(conninfo.c_str()),
                                                                  PQfinish);
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(
        PQexec(connection.get(), sql.c_str()), PQclear);
    const auto status = PQresultStatus(result.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
      throw std::runtime_error(PQerrorMessage(connection.get()));
  }
  Device device() { return Device(folder_, *canonical_, conninfo_, ++devices_); }
  Command command(Operation operation) {
    Command made;
    made.op_id = numbered('o', ++operations_);
    made.at = Timestamp{1'768'694'400'000'000 + static_cast<std::int64_t>(operations_) * 1'000};
    made.operation = std::move(operation);
    return made;
  }
  /// So many operations, applied to the device's mirror: reservations and their settlements.
  void work(Device& device, int operations) {
    std::vector<Command> commands;
    for (int i = 0; i < operations / 4; ++i, ++jobs_) {
      const Uuid user = numbered('u', jobs_ % scale_.users);
      const Uuid job = numbered('j', jobs_);
      commands.push_back(command(CreateJob{job, numbered('p', jobs_ % scale_.users), user}));
      commands.push_back(command(ReserveCredits{user, job, Credits{3}}));
      commands.push_back(command(AdvanceJob{job, JobStatus::QUEUED}));
      commands.push_back(command(FinalizeJobCredits{job, Credits{2}}));
      if (commands.size() >= 4'000) expect(device.engine->submit(std::exchange(commands, {})));
    }
    for (const Verdict& verdict : expect(device.engine->submit(std::move(commands)))) {
      if (verdict.code != Code::ok)
        throw std::runtime_error("refused: " + std::string(name_of(verdict.code)));
    }
  }
  void credits(Device& device, int operations) {
    std::vector<Command> commands;
    for (int i = 0; i < operations; ++i)
      commands.push_back(command(AddCredits{numbered('u', i % scale_.users), Credits{1}, "grant"}));
    expect(device.engine->submit(std::move(commands)));
  }
  const std::string& conninfo() const { return conninfo_; }
  const std::filesystem::path& folder() const { return folder_; }

 private:
  Scale scale_;
  std::string conninfo_;
  std::optional<sync::Canonical> canonical_;
  std::filesystem::path folder_;
  int devices_ = 0;
  std::uint64_t operations_ = 0;
  int jobs_ = 0;
};

void bench_push(World& world, const Scale& scale) {
  std::printf(
      "\npush, operations/s by operations a call, both halves durable; all of it: read, sent, "
      "applied, taken\n");
  std::printf("%-40s %8s %8s %8s %8s %8s %22s\n", "", "1", "10", "100", "1,000", "10,000",
              "1,000 a call / 1 a call");
  for (const bool jobs : {false, true}) {
    std::vector<double> medians;
    for (const std::size_t batch : {1, 10, 100, 1'000, 10'000}) {
      const int operations = std::max(scale.tiny ? 20 : 200, batch == 1    ? scale.pushed / 20
                                                             : batch == 10 ? scale.pushed / 5
                                                                           : scale.pushed);
      std::vector<double> figures;
      for (int round = 0; round < scale.rounds; ++round) {
        Device device = world.device();
        expect(device.syncer(1'000).run_until_synced(patience));
        jobs ? world.work(device, operations) : world.credits(device, operations);
        sync::Syncer syncer = device.syncer(batch);
        const auto start = Clock::now();
        expect(syncer.run_until_synced(patience));
        figures.push_back(operations / seconds_since(start));
      }
      medians.push_back(median(figures));
    }
    std::printf("%-40s %8.0f %8.0f %8.0f %8.0f %8.0f %22.1f\n",
                jobs ? "create, reserve, queue, finalize a job" : "add_credits, 100 users",
                medians[0], medians[1], medians[2], medians[3], medians[4],
                medians[3] / medians[0]);
    std::fflush(stdout);
  }
}

void bench_drain(World& world, const Scale& scale) {
  Device device = world.device();
  expect(device.syncer(1'000).run_until_synced(patience));
  world.work(device, scale.drained);
  sync::Syncer syncer = device.syncer(5'000);
  const auto start = Clock::now();
  expect(syncer.run_until_synced(patience));
  const double taken = seconds_since(start);
  std::printf("\ndrain of %d offline operations, 5,000 a call: %.1f s, %.0f/s\n", scale.drained,
              taken, scale.drained / taken);
}

void bench_bootstrap(World& world) {
  Device device = world.device();
  sync::Syncer syncer = device.syncer(1'000);
  const auto start = Clock::now();
  expect(syncer.run_until_synced(patience));
  const double ours = seconds_since(start);
  std::int64_t rows = 0;
  for (const char* table : {"profiles", "projects", "jobs", "job_steps", "credit_ledger"})
    rows += static_cast<std::int64_t>(expect(device.engine->rows(table)).size());

  // The floor: the same rows by COPY, and into SQLite tables of the same columns, one transaction.
  const auto floor_start = Clock::now();
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(
      PQconnectdb(world.conninfo().c_str()), PQfinish);
  SQLite::Database db((world.folder() / "floor.db").string(),
                      SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  db.exec("pragma journal_mode = wal; pragma synchronous = full");
  SQLite::Transaction transaction(db);
  for (const char* table : {"profiles", "projects", "jobs", "job_steps", "credit_ledger"}) {
    PQclear(PQexec(connection.get(), (std::string("copy ") + table + " to stdout").c_str()));
    char* line = nullptr;
    std::unique_ptr<SQLite::Statement> insert;
    int length = 0;
    while ((length = PQgetCopyData(connection.get(), &line, 0)) > 0) {
      const std::string text(line, static_cast<std::size_t>(length) - 1);
      PQfreemem(line);
      std::vector<std::string> fields{""};
      for (const char c : text) {
        if (c == '\t') {
          fields.emplace_back();
        } else {
          fields.back() += c;
        }
      }
      if (!insert) {
        std::string columns = "c0 text primary key";
        std::string places = "?";
        for (std::size_t i = 1; i < fields.size(); ++i) {
          columns += ", c" + std::to_string(i);
          places += ", ?";
        }
        db.exec(std::string("create table ") + table + " (" + columns + ")");
        insert = std::make_unique<SQLite::Statement>(
            db, std::string("insert into ") + table + " values (" + places + ")");
      }
      for (std::size_t i = 0; i < fields.size(); ++i)
        insert->bind(static_cast<int>(i) + 1, fields[i]);
      insert->exec();
      insert->reset();
    }
    while (PGresult* result = PQgetResult(connection.get())) PQclear(result);
  }
  transaction.commit();
  const double floor = seconds_since(floor_start);
  const double count = static_cast<double>(rows);
  std::printf(
      "\nbootstrap of %.0f rows: %.0f rows/s; raw COPY and raw SQLite insert: %.0f rows/s; ratio "
      "%.2f\n",
      count, count / ours, count / floor, floor / ours);
}

void bench_visible(World& world, const Scale& scale) {
  Device writer = world.device();
  Device reader = world.device();
  expect(writer.syncer(1'000).run_until_synced(patience));
  expect(reader.syncer(1'000).run_until_synced(patience));
  sync::Syncer push = writer.syncer(1'000);
  sync::Syncer pull = reader.syncer(1'000);
  expect(pull.run_until_synced(patience));
  std::vector<double> figures;
  for (int i = 0; i < (scale.tiny ? 2 : 100); ++i) {
    world.credits(writer, 1);
    expect(push.run_until_synced(patience));
    const auto start = Clock::now();
    expect(pull.run_until_synced(patience));
    figures.push_back(seconds_since(start) * 1'000);
  }
  std::printf("from committed on canonical to visible on a mirror, when asked at once: %.2f ms\n",
              median(figures));
}

void bench_local(World& world, const Scale& scale) {
  Device device = world.device();
  expect(device.syncer(1'000).run_until_synced(patience));
  const auto local = [&](double& check_ns, double& reserve_us) {
    std::vector<double> checks;
    std::vector<double> reserves;
    for (int i = 0; i < (scale.tiny ? 5 : 300); ++i) {
      auto start = Clock::now();
      for (int k = 0; k < 1'000; ++k) (void)device.engine->balance(numbered('u', k % scale.users));
      checks.push_back(seconds_since(start) * 1e6);
      start = Clock::now();
      expect(device.engine->apply(AddCredits{numbered('u', 0), Credits{1}, "grant"}));
      reserves.push_back(seconds_since(start) * 1e6);
    }
    check_ns = median(checks);
    reserve_us = median(reserves);
  };
  double check_alone = 0;
  double reserve_alone = 0;
  double check_syncing = 0;
  double reserve_syncing = 0;
  local(check_alone, reserve_alone);
  expect(device.syncer(1'000).run_until_synced(patience));
  world.work(device, scale.pushed);
  sync::Syncer syncer = device.syncer(1'000);
  syncer.start();
  local(check_syncing, reserve_syncing);
  syncer.stop();
  std::printf(
      "a caller meanwhile: balance check %.0f ns alone, %.0f ns while syncing (%.2f); durable "
      "operation %.0f us, %.0f us (%.2f)\n",
      check_alone, check_syncing, check_syncing / check_alone, reserve_alone, reserve_syncing,
      reserve_syncing / reserve_alone);
}

int run() {
  const Scale scale;
  const cli::ThrowawayPostgres server;
  World world(server, scale);
  std::printf(
      "sync over a unix socket, PostgreSQL with fsync, mirrors at full durability, %u cores, %d "
      "rounds, medians\n",
      std::thread::hardware_concurrency(), scale.rounds);
  bench_push(world, scale);
  bench_drain(world, scale);
  bench_bootstrap(world);
  bench_visible(world, scale);
  bench_local(world, scale);
  return 0;
}

}  // namespace
}  // namespace tally::bench

int main() {
  try {
    return tally::bench::run();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "sync_bench: %s\n", e.what());
    return 1;
  }
}
