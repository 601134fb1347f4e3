// Sync between a mirror and a real PostgreSQL, both durable: how fast a queue drains by operations
// a call, near and 20 ms away, beside one call an operation; what of it goes over the wire;
// bootstrap beside raw COPY and raw SQLite; how soon a commit is visible elsewhere; and what a
// local caller feels meanwhile. Every ratio is of figures taken in this run.

#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Statement.h>
#include <SQLiteCpp/Transaction.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "link.hpp"
#include "results.hpp"
#include "support.hpp"
#include "support/proxy.hpp"
#include "tally/syncer.hpp"
#include "throwaway_postgres.hpp"

namespace tally::bench {
namespace {

using std::chrono::milliseconds;
using test::Direction;

constexpr std::chrono::seconds patience{600};
constexpr milliseconds each_way{10};
constexpr std::size_t batches[] = {1, 10, 100, 1'000, 10'000};

struct Scale {
  explicit Scale(const Arguments& arguments)
      : tiny(arguments.size == Size::tiny),
        quick(arguments.size == Size::quick),
        users(arguments.sized(4, 100, 100)),
        drained(arguments.sized(200, 20'000, 100'000)),
        looks(arguments.sized(2, 20, 50)),
        local_calls(arguments.sized(5, 150, 300)),
        local_backlog(arguments.sized(100, 10'000, 20'000)) {}
  bool tiny;
  bool quick;
  int users;
  int drained;
  int looks;        ///< At how soon a commit is visible.
  int local_calls;  ///< Durable operations beside a sync, and alone.
  int local_backlog;

  /// Operations of one measurement: enough for some calls, and far away not for minutes.
  int pushed(std::size_t batch, bool far) const {
    if (tiny) return 20;
    if (batch == 1) return far ? 40 : 200;
    if (batch == 10) return far ? 200 : 1'000;
    return batch == 100 ? 2'000 : batch == 1'000 ? 4'000 : 10'000;
  }
  /// The largest calls take long enough to be taken once.
  int rounds(std::size_t batch) const { return tiny || quick || batch == 10'000 ? 1 : 3; }
};

Uuid numbered(char kind, int n) {
  Uuid id;
  id.bytes[3] = static_cast<std::uint8_t>(kind);
  id.bytes[6] = 0x70;
  id.bytes[8] = 0x80;
  for (std::size_t i = 0; i < 4; ++i)
    id.bytes[15 - i] = static_cast<std::uint8_t>(static_cast<unsigned>(n) >> (8 * i));
  return id;
}

/// A mirror that is a device over all users, and its syncer, connected and at rest.
class Device {
 public:
  Device(const std::filesystem::path& path, std::string token, const std::string& conninfo)
      : engine(expect(Engine::open(path))), token_(std::move(token)) {
    options_.conninfo = conninfo;
    options_.token = token_;
  }
  /// From now on through such a connection, so many operations a call.
  void connect(const std::string& conninfo, std::size_t operations_max) {
    syncer.reset();
    options_.conninfo = conninfo;
    options_.operations_max = operations_max;
    options_.bytes_max = sync::call_bytes_max;
    syncer.emplace(engine, options_);
    sync();
  }
  void sync() { expect(syncer->run_until_synced(patience)); }
  /// A syncer of a thread of its own, which asks so often.
  void start(milliseconds poll_interval) {
    syncer.reset();
    options_.poll_interval = poll_interval;
    syncer.emplace(engine, options_);
    syncer->start();
  }

  Engine engine;
  std::optional<sync::Syncer> syncer{};

 private:
  std::string token_;
  sync::SyncOptions options_{};
};

/// A canonical with users who have credits and a project each, near and, through a proxy, far.
class World {
 public:
  World(const cli::ThrowawayPostgres& server, const Scale& scale)
      : scale_(scale), near_(server.conninfo("sync_bench")), proxy_(server.folder()) {
    Link(server.conninfo()).run("create database sync_bench");
    canonical_.emplace(expect(sync::Canonical::connect(near_)));
    expect(canonical_->migrate({.shim = true}));
    proxy_.delay(each_way);
    auto first = device();
    std::vector<Command> commands;
    for (int u = 0; u < scale.users; ++u) {
      const Uuid user = numbered('u', u);
      commands.push_back(first->engine.make_command(CreateUser{user}));
      commands.push_back(first->engine.make_command(AddCredits{user, Credits{1'000'000}, "grant"}));
      commands.push_back(
          first->engine.make_command(CreateProject{numbered('p', u), user, "t", "p", "facts", 1}));
    }
    submit(first->engine, commands);
    first->connect(near_, 1'000);
  }

  std::unique_ptr<Device> device() {
    const auto made = expect(canonical_->add_device(
        {.name = "bench",
         .capabilities = {Capability::author, Capability::worker, Capability::service}}));
    const std::string name = "mirror" + std::to_string(++devices_) + ".db";
    return std::make_unique<Device>(folder_ / name.c_str(), made.token, near_);
  }
  static void submit(Engine& engine, std::vector<Command>& commands) {
    for (const Verdict& verdict : expect(engine.submit(std::exchange(commands, {})))) {
      if (verdict.code != Code::ok)
        throw std::runtime_error("refused: " + std::string(name_of(verdict.code)));
    }
  }
  /// So many operations on the mirror: jobs made, reserved for, queued and settled.
  void jobs(Engine& engine, int operations) {
    std::vector<Command> commands;
    for (int i = 0; i < operations / 4; ++i, ++jobs_) {
      const Uuid user = numbered('u', jobs_ % scale_.users);
      const Uuid job = numbered('j', jobs_);
      commands.push_back(
          engine.make_command(CreateJob{job, numbered('p', jobs_ % scale_.users), user}));
      commands.push_back(engine.make_command(ReserveCredits{user, job, Credits{3}}));
      commands.push_back(engine.make_command(AdvanceJob{job, JobStatus::QUEUED}));
      commands.push_back(engine.make_command(FinalizeJobCredits{job, Credits{2}}));
      if (commands.size() >= 4'000) submit(engine, commands);
    }
    submit(engine, commands);
  }
  void credits(Engine& engine, int operations) {
    std::vector<Command> commands;
    for (int i = 0; i < operations; ++i) {
      commands.push_back(
          engine.make_command(AddCredits{numbered('u', i % scale_.users), Credits{1}, "grant"}));
    }
    submit(engine, commands);
  }

  const std::string& near() const { return near_; }
  std::string far() const { return near_ + proxy_.conninfo(); }
  const test::Proxy& proxy() const { return proxy_; }
  const Folder& folder() const { return folder_; }

 private:
  Scale scale_;
  std::string near_;
  test::Proxy proxy_;
  Folder folder_;
  std::optional<sync::Canonical> canonical_;
  int devices_ = 0;
  int jobs_ = 0;
};

// ---- push ---------------------------------------------------------------------------------------

/// A row of the tables: a workload, near or far, by operations a call.
struct Pushed {
  std::vector<double> per_second;
  std::vector<Figure> figures;
  std::vector<double> bytes_up;  ///< An operation; only of the far one.
  std::vector<double> bytes_down;
};

Pushed push(World& world, Device& device, const Scale& scale, bool of_jobs, bool far) {
  Pushed out;
  for (const std::size_t batch : batches) {
    const int operations = scale.pushed(batch, far);
    const int rounds = scale.rounds(batch);
    std::vector<double> per_second;
    std::uint64_t bytes[2] = {0, 0};
    for (int round = 0; round < rounds; ++round) {
      device.connect(far ? world.far() : world.near(), batch);
      of_jobs ? world.jobs(device.engine, operations) : world.credits(device.engine, operations);
      const std::uint64_t up = world.proxy().bytes(Direction::to_server);
      const std::uint64_t down = world.proxy().bytes(Direction::to_client);
      const auto start = Clock::now();
      device.sync();
      per_second.push_back(operations / seconds_since(start));
      bytes[0] += world.proxy().bytes(Direction::to_server) - up;
      bytes[1] += world.proxy().bytes(Direction::to_client) - down;
    }
    out.per_second.push_back(median(per_second));
    out.figures.push_back(Figure(per_second));
    out.bytes_up.push_back(static_cast<double>(bytes[0]) / (operations * rounds));
    out.bytes_down.push_back(static_cast<double>(bytes[1]) / (operations * rounds));
  }
  return out;
}

void print_row(const std::string& name, const std::vector<double>& values) {
  std::printf("%-40s", name.c_str());
  for (const double value : values) std::printf(" %8.0f", value);
}

void keep_pushed(Results& results, const std::string& workload, bool far, const Pushed& pushed) {
  const std::string wire = far ? ", 20 ms" : ", 0 ms";
  for (std::size_t b = 0; b < std::size(batches); ++b) {
    results.keep_row({.group = "sync: push of a mirror's outbox",
                      .name = workload + wire + ", " + std::to_string(batches[b]) + " a call",
                      .value = pushed.figures[b],
                      .unit = "ops/s",
                      .ratio = pushed.per_second[b] / pushed.per_second[0],
                      .ratio_to = "one a call",
                      .note = "read, sent, applied, verdicts taken"});
    results.point("sync_push", workload + wire, static_cast<double>(batches[b]),
                  pushed.per_second[b]);
    if (!far) continue;
    for (const bool up : {true, false}) {
      results.keep_row({.group = "sync: bytes an operation",
                        .name = workload + (up ? ", to server, " : ", to client, ") +
                                std::to_string(batches[b]) + " a call",
                        .value = (up ? pushed.bytes_up : pushed.bytes_down)[b],
                        .unit = "bytes"});
    }
  }
}

void bench_push(Results& results, World& world, Device& device, const Scale& scale) {
  std::printf("\npush, operations/s by operations a call: read, sent, applied, taken\n%-40s", "");
  for (const std::size_t batch : batches) std::printf(" %8zu", batch);
  std::printf(" %12s\n", "1,000 / 1");
  std::vector<std::pair<const char*, Pushed>> wires;
  for (const bool of_jobs : {false, true}) {
    const char* workload = of_jobs ? "create, reserve, queue, settle a job" : "add_credits";
    for (const bool far : {false, true}) {
      const Pushed pushed = push(world, device, scale, of_jobs, far);
      keep_pushed(results, workload, far, pushed);
      print_row(std::string(workload) + (far ? ", 20 ms" : ", 0 ms"), pushed.per_second);
      std::printf(" %12.1f\n", pushed.per_second[3] / pushed.per_second[0]);
      std::fflush(stdout);
      if (far) wires.emplace_back(workload, pushed);
    }
  }
  std::printf("bytes an operation, by operations a call\n");
  for (const auto& [workload, pushed] : wires) {
    print_row(std::string(workload) + ", to server", pushed.bytes_up);
    print_row("\n" + std::string(workload) + ", to client", pushed.bytes_down);
    std::printf("\n");
  }
}

void bench_drain(Results& results, World& world, Device& device, const Scale& scale) {
  device.connect(world.near(), 5'000);
  world.jobs(device.engine, scale.drained);
  const auto start = Clock::now();
  device.sync();
  const double taken = seconds_since(start);
  std::printf("\ndrain of %d offline operations, 5,000 a call, 0 ms: %.1f s, %.0f/s\n",
              scale.drained, taken, scale.drained / taken);
  results.keep_row({.group = "sync: drain and bootstrap",
                    .name = "drain of " + std::to_string(scale.drained) +
                            " offline operations, 5,000 a call, 0 ms",
                    .value = scale.drained / taken,
                    .unit = "ops/s"});
  std::fflush(stdout);
}

// ---- bootstrap ----------------------------------------------------------------------------------

constexpr const char* fed_tables[] = {"profiles", "projects", "jobs", "job_steps", "credit_ledger"};

std::vector<std::string> split(std::string_view line) {
  std::vector<std::string> fields{""};
  for (const char c : line) {
    if (c == '\t') {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

/// A SQLite table of so many columns, and the statement that inserts into it.
SQLite::Statement table_to_fill(SQLite::Database& db, const std::string& name,
                                std::size_t columns) {
  std::string names = "c0 text primary key";
  std::string places = "?";
  for (std::size_t i = 1; i < columns; ++i) {
    names += ", c" + std::to_string(i);
    places += ", ?";
  }
  db.exec("create table " + name + " (" + names + ")");
  return {db, "insert into " + name + " values (" + places + ")"};
}

/// The table's rows by COPY, each inserted; how many.
int copy_table(PGconn* connection, SQLite::Database& db, const std::string& name) {
  PQclear(PQexec(connection, ("copy " + name + " to stdout").c_str()));
  std::optional<SQLite::Statement> insert;
  int rows = 0;
  char* line = nullptr;
  for (int length = 0; (length = PQgetCopyData(connection, &line, 0)) > 0; ++rows) {
    const auto fields = split({line, static_cast<std::size_t>(length) - 1});
    PQfreemem(line);
    if (!insert) insert.emplace(table_to_fill(db, name, fields.size()));
    for (std::size_t i = 0; i < fields.size(); ++i)
      insert->bind(static_cast<int>(i) + 1, fields[i]);
    insert->exec();
    insert->reset();
  }
  while (PGresult* result = PQgetResult(connection)) PQclear(result);
  return rows;
}

void bench_bootstrap(Results& results, World& world, Device& device) {
  auto start = Clock::now();
  device.connect(world.near(), 1'000);
  const double ours = seconds_since(start);

  start = Clock::now();
  const Link link(world.near());
  SQLite::Database db((world.folder() / "floor.db").string(),
                      SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  db.exec("pragma journal_mode = wal; pragma synchronous = full");
  SQLite::Transaction transaction(db);
  int rows = 0;
  for (const char* table : fed_tables) rows += copy_table(link.handle(), db, table);
  transaction.commit();
  const double floor = seconds_since(start);
  std::printf(
      "\nbootstrap of %d rows: %.0f rows/s; raw COPY and raw SQLite insert: %.0f rows/s; ratio "
      "%.2f\n",
      rows, rows / ours, rows / floor, floor / ours);
  results.keep_row({.group = "sync: drain and bootstrap",
                    .name = "bootstrap of " + std::to_string(rows) + " rows",
                    .value = rows / ours,
                    .unit = "rows/s",
                    .ratio = floor / ours,
                    .ratio_to = "raw COPY and raw SQLite inserts of the same rows"});
  std::fflush(stdout);
}

// ---- how soon, and meanwhile --------------------------------------------------------------------

/// Milliseconds from canonical's commit, as its writer hears of it, to the other mirror's showing.
double visible_after(World& world, Device& writer, const Scale& scale,
                     const std::function<void(std::int64_t balance)>& await) {
  std::vector<double> figures;
  for (int i = 0; i < scale.looks; ++i) {
    world.credits(writer.engine, 1);
    writer.sync();
    const auto start = Clock::now();
    await(expect(writer.engine.balance(numbered('u', 0))).value);
    figures.push_back(seconds_since(start) * 1'000);
  }
  return median(figures);
}

void bench_visible(Results& results, World& world, Device& writer, Device& reader,
                   const Scale& scale) {
  writer.connect(world.near(), 1'000);
  std::printf("\nfrom committed on canonical to visible on another mirror, ms\n");
  for (const bool far : {false, true}) {
    const std::string where = far ? world.far() : world.near();
    reader.connect(where, 1'000);
    const double asked = visible_after(world, writer, scale, [&](auto) { reader.sync(); });
    reader.start(milliseconds{100});
    const double polled = visible_after(world, writer, scale, [&](std::int64_t balance) {
      while (expect(reader.engine.balance(numbered('u', 0))).value != balance)
        std::this_thread::sleep_for(std::chrono::microseconds{200});
    });
    std::printf("%-40s %8.1f when asked at once, %8.1f when asked every 100 ms\n",
                far ? "20 ms" : "0 ms", asked, polled);
    const std::string wire = far ? ", 20 ms" : ", 0 ms";
    for (const bool polls : {false, true}) {
      results.keep_row({.group = "sync: from committed on canonical to visible on another mirror",
                        .name = (polls ? "asked every 100 ms" : "asked at once") + wire,
                        .value = polls ? polled : asked,
                        .unit = "ms"});
    }
    std::fflush(stdout);
  }
}

struct Local {
  std::vector<double> check_ns;
  std::vector<double> operation_us;
};

/// Balance checks and durable operations in turns, for as long as it goes on.
Local local_calls(Engine& engine, const Scale& scale, const std::function<bool()>& goes_on) {
  Local out;
  for (int i = 0; i < scale.local_calls && goes_on(); ++i) {
    auto start = Clock::now();
    for (int k = 0; k < 1'000; ++k) (void)engine.balance(numbered('u', k % scale.users));
    out.check_ns.push_back(seconds_since(start) * 1e6);
    start = Clock::now();
    expect(engine.apply(AddCredits{numbered('u', 0), Credits{1}, "grant"}));
    out.operation_us.push_back(seconds_since(start) * 1e6);
  }
  return out;
}

void bench_local(Results& results, World& world, Device& device, const Scale& scale) {
  device.connect(world.near(), 1'000);
  const Local alone = local_calls(device.engine, scale, [] { return true; });
  device.sync();
  world.jobs(device.engine, scale.local_backlog);
  device.start(milliseconds{2'000});
  const std::int64_t rest = scale.local_backlog / 20;
  const Local syncing = local_calls(
      device.engine, scale, [&] { return expect(device.engine.pending_operations()) > rest; });
  device.syncer->stop();
  const double check = median(alone.check_ns);
  std::printf("\na caller while %d operations are pushed, %zu of its own among them\n",
              scale.local_backlog, syncing.operation_us.size());
  std::printf("%-40s %8.0f ns alone, %8.0f ns meanwhile (%.2f)\n", "balance check, median", check,
              median(syncing.check_ns), median(syncing.check_ns) / check);
  const auto keep = [&](const char* name, Figure meanwhile, double before, const char* unit) {
    results.keep_row({.group = "sync: a local caller while the outbox is pushed",
                      .name = name,
                      .value = meanwhile,
                      .unit = unit,
                      .ratio = meanwhile.value / before,
                      .ratio_to = "alone"});
  };
  keep("balance check, median", Figure(syncing.check_ns), check, "ns");
  for (const double share : {0.5, 0.99}) {
    const double before = quantile(alone.operation_us, share);
    const double meanwhile = quantile(syncing.operation_us, share);
    std::printf("%-40s %8.0f us alone, %8.0f us meanwhile (%.2f)\n",
                share == 0.5 ? "durable operation, median" : "durable operation, 99th percentile",
                before, meanwhile, meanwhile / before);
    keep(share == 0.5 ? "durable operation, median" : "durable operation, p99", meanwhile, before,
         "us");
  }
}

void run(const Arguments& arguments) {
  const Scale scale(arguments);
  const cli::ThrowawayPostgres server;
  World world(server, scale);
  Results results("sync_bench", arguments, world.folder().path());
  std::printf(
      "sync over a unix socket, 20 ms: through a proxy that delays 10 ms each way; PostgreSQL with "
      "fsync, mirrors at full durability, %d users; medians of %d, of 10,000 a call once\n",
      scale.users, scale.rounds(1));
  const auto device = world.device();
  const auto other = world.device();
  bench_push(results, world, *device, scale);
  bench_bootstrap(results, world, *other);
  bench_visible(results, world, *device, *other, scale);
  other->syncer.reset();
  bench_local(results, world, *device, scale);
  bench_drain(results, world, *device, scale);
  results.finish();
}

}  // namespace
}  // namespace tally::bench

int main(int argc, char** argv) {
  using namespace tally::bench;
  return run_benchmark(argc, argv, "sync_bench", run);
}
