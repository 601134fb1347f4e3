// The server fails. It is killed in the middle of pushes, again and again, and started again; and
// it is replaced by an older backup of itself, which has forgotten what devices know.
//
// The moments come from a seed, which is printed; TALLY_TEST_SEED=N replays one. By default the
// server is killed 6 times, with TALLY_TEST_LONG=1 100 times.

#include <doctest/doctest.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <random>
#include <thread>

#include "sync/watched_device.hpp"

namespace tally::test {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

/// A PostgreSQL of one's own, with fsync, to be killed and replaced. It has a canonical to copy.
class Server {
 public:
  Server() {
    session().ask("create database whole");
    auto canonical = sync::Canonical::connect(conninfo("whole"));
    REQUIRE(canonical.has_value());
    REQUIRE(canonical->migrate({.shim = true}).has_value());
  }
  std::string conninfo(std::string_view database = "postgres") const {
    return postgres_.conninfo(database);
  }
  Session session() const { return Session(conninfo()); }

  /// At once: no checkpoint, every process and connection gone.
  void stop() { postgres_.stop(); }
  void start() { postgres_.start(); }
  /// Kills the process that serves the device, at which the server ends all others, recovers, and
  /// takes connections again by itself. False where the device has none.
  bool kill_the_devices_process() {
    Session witness = session();
    const auto pids =
        witness.ask("select pid from pg_stat_activity where application_name = 'tally'");
    if (pids.empty() || kill(std::stoi(pids.front()), SIGKILL) != 0) return false;
    return eventually([&] { return !witness.run("select 1").ok(); });
  }
  bool comes_up() const {
    return eventually([&] {
      const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectdb(conninfo().c_str()),
                                                                    PQfinish);
      return PQstatus(connection.get()) == CONNECTION_OK;
    });
  }

  /// A copy of what is on disk, taken while no process has it.
  void back_up() {
    stop();
    copy("data", "backup");
    start();
  }
  void restore() {
    stop();
    copy("backup", "data");
    start();
  }

 private:
  void copy(const std::string& from, const std::string& to) {
    const std::string folder = postgres_.folder().string() + "/";
    const std::string command =
        "cd '" + folder + "' && rm -rf " + to + " && cp -a " + from + " " + to;
    REQUIRE(std::system(command.c_str()) == 0);  // NOLINT: a fixed command
  }

  ThrowawayPostgres postgres_;
};

/// The file's; its cases come one after another.
Server& the_server() {
  static Server server;
  return server;
}

/// A database on it that is canonical.
class Half {
 public:
  Half(const Server& server, const std::string& name) : conninfo_(server.conninfo(name)) {
    server.session().ask("create database " + name + " template whole");
  }
  const std::string& conninfo() const { return conninfo_; }
  Session session() const { return Session(conninfo_); }
  /// A new connection: the server may have been another one meanwhile.
  sync::Canonical canonical() const {
    auto connected = sync::Canonical::connect(conninfo_);
    REQUIRE_MESSAGE(connected.has_value(), (connected ? "" : connected.error().detail));
    return std::move(connected).value();
  }
  /// Each line in a transaction of its own.
  void apply(const std::vector<std::string>& texts) {
    auto connected = canonical();
    for (const std::string& text : texts) apply_to_canonical(connected, {lines_.line(text)});
  }

 private:
  std::string conninfo_;
  LineMaker lines_;
};

std::string difference(Device& device, const Half& half) {
  auto canonical = half.canonical();
  return difference(device, canonical);
}

// ---- killed -------------------------------------------------------------------------------------

/// Steps a device's syncer on a thread of its own, and looks at what it says.
class Stepping {
 public:
  explicit Stepping(WatchedDevice& device) {
    device.options.callbacks.progress = [this](std::int64_t acked, std::int64_t) {
      acked_ = acked;
    };
    device.connect();
    thread_ = std::thread([this, &device] {
      while (!ending_) {
        const sync::Wait wait = device.syncer->step();
        state_ = wait.state;
        if (wait.state == sync::SyncState::waiting) longest_ = std::max(longest_, wait.timeout);
        std::this_thread::sleep_for(std::min(wait.timeout, milliseconds{1}));
      }
    });
  }
  ~Stepping() { end(); }
  Stepping(const Stepping&) = delete;
  Stepping& operator=(const Stepping&) = delete;
  void end() {
    ending_ = true;
    if (thread_.joinable()) thread_.join();
  }

  /// The last number that the device knows canonical has judged.
  std::int64_t acked() const { return acked_; }
  sync::SyncState state() const { return state_; }
  /// After end(): the longest that the syncer wanted to wait after a failure.
  milliseconds longest_wait() const { return longest_; }

 private:
  std::atomic<bool> ending_{false};
  std::atomic<std::int64_t> acked_{0};
  std::atomic<sync::SyncState> state_{sync::SyncState::connecting};
  milliseconds longest_{0};
  std::thread thread_;
};

/// Work for three users, of which it is known what must come of it: each job is five operations
/// and five entries, and costs what was added for it.
class Work {
 public:
  explicit Work(WatchedDevice& device) : device_(device) {
    for (std::uint64_t u = 1; u <= users; ++u) {
      apply("create_user user_id=u" + std::to_string(u));
      apply("create_project project_id=p" + std::to_string(u) + " user_id=u" + std::to_string(u) +
            " title=T prompt_text=P niche_preset=facts target_minutes=1");
    }
  }
  void do_a_job() {
    const std::string n = std::to_string(++jobs_);
    const std::string u = std::to_string(jobs_ % users + 1);
    apply("add_credits user_id=u" + u + " amount=2 type=grant");
    apply("create_job job_id=j" + n + " project_id=p" + u + " user_id=u" + u);
    apply("reserve_credits user_id=u" + u + " job_id=j" + n + " amount=3");
    apply("advance_job job_id=j" + n + " to=QUEUED");
    apply("finalize_job_credits job_id=j" + n + " final_cost=2");
  }
  std::int64_t operations() const { return static_cast<std::int64_t>(2 * users + 5 * jobs_); }
  void check(Session& session) const {
    CHECK(session.ask_one("select count(*) from credit_ledger") ==
          std::to_string(users + 5 * jobs_));
    CHECK(session.ask_one("select count(*) from jobs where cost_credits_final = 2") ==
          std::to_string(jobs_));
    CHECK(session.ask("select distinct get_credit_balance(id) from auth.users") ==
          std::vector<std::string>{"10"});
  }

 private:
  static constexpr std::uint64_t users = 3;
  void apply(const std::string& text) {
    const std::string answer = device_.mirror.apply(text);
    REQUIRE_MESSAGE(answer.starts_with("ok"), text, ": ", answer);
  }
  WatchedDevice& device_;
  std::uint64_t jobs_ = 0;
};

TEST_CASE(
    "a server killed in the midst of pushes is come back to within the backoff's cap, and nothing "
    "is lost or doubled") {
  const char* given = std::getenv("TALLY_TEST_SEED");
  const std::uint64_t seed = given == nullptr ? 1 : std::strtoull(given, nullptr, 10);
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  Server& server = the_server();
  Half half(server, "killed");
  auto canonical = half.canonical();
  WatchedDevice device(canonical, half.conninfo());
  device.options.backoff_cap = milliseconds{100};
  device.options.operations_max = 20;
  Stepping stepping(device);
  Work work(device);
  Clock::duration longest{};
  int in_a_call = 0;
  int unanswered = 0;
  const int kills = long_run() ? 100 : 6;
  for (int round = 0; round < kills; ++round) {
    CAPTURE(round);
    for (const auto until = Clock::now() + milliseconds{20 + random() % 100};
         Clock::now() < until;) {
      work.do_a_job();
      std::this_thread::sleep_for(milliseconds{1});
    }
    const bool stops = random() % 2 == 0;
    in_a_call += stepping.state() == sync::SyncState::syncing ? 1 : 0;
    const bool killed = !stops && server.kill_the_devices_process();
    if (!killed) server.stop();
    const std::int64_t acked = stepping.acked();
    work.do_a_job();
    // As of its next step, which may already have pushed to a server that came up by itself.
    CHECK(eventually(
        [&] { return stepping.state() != sync::SyncState::synced || stepping.acked() > acked; }));
    if (!killed) server.start();
    REQUIRE(server.comes_up());
    const auto up = Clock::now();
    Session session = half.session();
    const std::int64_t there =
        std::stoll(session.ask_one("select watermark from tally_sync.devices"));
    CHECK(there >= acked);
    unanswered += there > acked ? 1 : 0;
    REQUIRE(eventually([&] { return stepping.acked() > acked; }));
    longest = std::max(longest, Clock::now() - up);
  }
  REQUIRE(eventually([&] { return device.mirror->pending_operations().value() == 0; }));
  stepping.end();
  CHECK(stepping.longest_wait() > milliseconds{0});
  CHECK(stepping.longest_wait() <= device.options.backoff_cap + milliseconds{1});
  CHECK(longest < milliseconds{5'000});
  MESSAGE("seed ", seed, ": ", kills, " kills, ", in_a_call, " of them within a call, ", unanswered,
          " with verdicts that the device had not heard; pushed again after ",
          std::chrono::duration_cast<milliseconds>(longest).count(), " ms at most; ",
          work.operations(), " operations");

  CHECK(device.told == "");
  CHECK(device.diverged == 0);
  Session session = half.session();
  work.check(session);
  CHECK(session.ask_one("select watermark from tally_sync.devices") ==
        std::to_string(work.operations()));
  CHECK(session.ask("select explanation from tally.audit()").empty());
  device.sync();
  CHECK(difference(device, half) == "");
  CHECK(device.mirror.findings() == std::vector<std::string>{});
  canonical = half.canonical();
  WatchedDevice other(canonical, half.conninfo());
  other.sync();
  CHECK(difference(other, half) == "");
}

// ---- restored -----------------------------------------------------------------------------------

/// What a device fails with, which stops or pauses it, and that its status says so.
void check_stopped(WatchedDevice& device, Code code, sync::ErrorClass error_class,
                   std::int64_t pending) {
  const auto done = device.syncer->run_until_synced(patience);
  REQUIRE(!done.has_value());
  CHECK(done.error().code == code);
  CHECK(device.error_class == error_class);
  CHECK(device.syncer->step().state == (error_class == sync::ErrorClass::protocol
                                            ? sync::SyncState::stopped
                                            : sync::SyncState::paused));
  const auto state = Replica(device.mirror.engine()).state();
  REQUIRE(state.has_value());
  CHECK((*state)->error_class == sync::name_of(error_class));
  CHECK((*state)->error->find(row_of(code).sentence) != std::string::npos);
  CHECK(!(*state)->next_attempt_at.has_value());
  CHECK((*state)->pending == pending);
}

/// A canonical with users u1, u2 … with project p1, p2 …
Half half_with_users(const Server& server, const std::string& name, std::size_t users) {
  Half half(server, name);
  for (std::size_t u = 1; u <= users; ++u) {
    const std::string n = std::to_string(u);
    half.apply({"create_user user_id=u" + n,
                "create_project project_id=p" + n + " user_id=u" + n +
                    " title=T prompt_text=P niche_preset=facts target_minutes=1"});
  }
  return half;
}

TEST_CASE(
    "a server replaced by a backup: who has pushed since is stopped, loudly, with what it has, "
    "until an operator enrols it anew") {
  Server& server = the_server();
  Half half = half_with_users(server, "pushed", 1);
  auto canonical = half.canonical();
  WatchedDevice device(canonical, half.conninfo(), user_id(1));
  device.sync();
  server.back_up();
  canonical = half.canonical();
  WatchedDevice late(canonical, half.conninfo());
  for (WatchedDevice* one : {&device, &late}) {
    one->sync();
    REQUIRE(one->mirror->apply(CreateJob{new_uuid_v7(), project_id(1), user_id(1)}).has_value());
    one->sync();
  }
  REQUIRE(device.mirror->apply(CreateJob{job_id(1), project_id(1), user_id(1)}).has_value());
  REQUIRE(late.mirror->apply(CreateUser{user_id(2)}).has_value());
  server.restore();

  for (int attempt = 0; attempt < 2; ++attempt) {
    CAPTURE(attempt);
    check_stopped(device, Code::history_lost, sync::ErrorClass::protocol, 1);
    // A device that the backup does not know.
    check_stopped(late, Code::unauthorized, sync::ErrorClass::authentication, 1);
    CHECK(half.session().ask_one("select count(*) from jobs") == std::to_string(attempt));
    // Nor does it look better in another process, or when canonical has gone on.
    device.connect();
    late.connect();
    half.apply({"create_job project_id=p1 user_id=u1 job_id=j" + std::to_string(9 - attempt)});
  }
  // The mirror works on.
  CHECK(device.mirror->apply(ReserveCredits{user_id(1), job_id(1), Credits{3}}).has_value());

  canonical = half.canonical();
  const auto made = canonical.add_device(
      {.name = "again", .capabilities = device.kind.capabilities, .scope = device.kind.scope});
  REQUIRE(made.has_value());
  device.options.token = made->token;
  device.connect();
  REQUIRE(device.syncer->enrol_anew(patience).has_value());
  device.sync();
  CHECK(rejected_codes(device) ==
        std::vector<std::string>{"create_job device_forked", "reserve_credits device_forked"});
  CHECK(difference(device, half) == "");
  Replica replica(device.mirror.engine());
  const auto kept = replica.rejected().value();
  for (const RejectedOperation& one : kept) REQUIRE(replica.retry(one.number).has_value());
  device.sync();
  CHECK(rejected_codes(device).empty());
  CHECK(difference(device, half) == "");
  CHECK(device.mirror.balance() == 7);
}

/// What is applied for one user after the backup, pulled, and lost; and what is applied after it
/// was restored, before a device asks.
struct Lost {
  std::string claim;
  std::vector<std::string> lost;
  std::vector<std::string> since;
};

/// The case n is user n's. Nowhere does a number of entries or a balance tell.
std::vector<Lost> lost_cases() {
  const auto times = [](std::size_t n, const std::string& line) {
    return std::vector<std::string>(n, line);
  };
  return {{"canonical is behind",
           {"add_credits user_id=u1 amount=5 type=grant",
            "update_project project_id=p1 user_id=u1 title=Lost"},
           {}},
          {"as many entries, and the same balance",
           times(2, "add_credits user_id=u2 amount=5 type=grant note=lost"),
           times(2, "add_credits user_id=u2 amount=5 type=grant note=kept")},
          {"as many entries, and further on",
           {"update_project project_id=p3 user_id=u3 title=Lost"},
           times(5, "update_profile user_id=u3 display_name=Ann")},
          {"a row is back that was deleted",
           {"delete_project project_id=p4 user_id=u4"},
           times(3, "update_profile user_id=u4 display_name=Bob")},
          {"another user is lost, and yet another made, with the same address",
           {"create_user user_id=u8 email=ann@x", "add_credits user_id=u8 amount=5 type=grant"},
           {"create_user user_id=u9 email=ann@x"}}};
}

void check_pulled(Device& device, const Half& half) {
  device.sync();
  CHECK(difference(device, half) == "");
  CHECK(device.mirror.findings() == std::vector<std::string>{});
  CHECK(device.diverged == 0);
}

TEST_CASE("a server replaced by a backup: who has only pulled since is fed canonical's truth") {
  Server& server = the_server();
  const std::vector<Lost> cases = lost_cases();
  Half half = half_with_users(server, "pulled", cases.size());
  auto canonical = half.canonical();
  std::vector<std::unique_ptr<Device>> devices;
  for (std::size_t n = 1; n <= cases.size(); ++n) {
    const Kind worker{.capabilities = {Capability::worker}, .scope = user_id(n)};
    devices.push_back(
        std::make_unique<Device>(canonical, half.conninfo(), Kind{.scope = user_id(n)}));
    devices.push_back(std::make_unique<Device>(canonical, half.conninfo(), worker));
  }
  Device over_all(canonical, half.conninfo(), Kind{});
  const auto sync_all = [&] {
    for (auto& device : devices) device->sync();
    over_all.sync();
  };
  sync_all();
  server.back_up();
  for (const Lost& one : cases) half.apply(one.lost);
  sync_all();
  server.restore();
  for (const Lost& one : cases) half.apply(one.since);
  // So that canonical is further on than the devices are, by any count of its transactions.
  for (int n = 0; n < 30; ++n) half.apply({"add_credits user_id=u9 amount=1 type=grant"});

  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    for (std::size_t i = 0; i < devices.size(); ++i) {
      CAPTURE(cases[i / 2].claim);
      CAPTURE(devices[i]->kind.is_full());
      check_pulled(*devices[i], half);
    }
    check_pulled(over_all, half);
    // One text, so that a failure shows it.
    CHECK(query(over_all.mirror.path(),
                "select group_concat(id) from (select id from users order by id)")
              .front() ==
          half.session().ask_one("select string_agg(id::text, ',' order by id) from auth.users"));
    // And from then on as ever.
    half.apply({"add_credits user_id=u1 amount=3 type=grant"});
  }
}

}  // namespace
}  // namespace tally::test
