// One process syncs a mirror at a time, and when it goes, however it goes, another takes over.

#include <doctest/doctest.h>

#include <random>
#include <thread>

#include "sync/watched_device.hpp"

namespace tally::test {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

/// What a child tells its parent.
enum Told : std::uint64_t { on_standby = 1, leads, applied };

/// Steps until the parent goes or kills us; tells when it is on standby and when it leads. Where
/// asked to, it adds a credit after every step, and tells that, too.
int sync_for_ever(const Pipes& pipes, const Given& given) {
  const bool adds = given.numbers[0] != 0;
  const std::size_t line_end = given.text.find('\n');
  sync::SyncOptions options;
  options.conninfo = given.text.substr(0, line_end);
  options.token = given.text.substr(line_end + 1);
  options.backoff_base = milliseconds{1};
  options.backoff_cap = milliseconds{20};
  options.poll_interval = milliseconds{50};
  auto engine = Engine::open(given.path, TemporaryMirror::fast());
  if (!engine) return 1;
  sync::Syncer syncer(*engine, options);
  std::optional<bool> was_leader;
  for (;;) {
    const sync::Wait wait = syncer.step();
    if (wait.state == sync::SyncState::stopped || wait.state == sync::SyncState::paused) return 2;
    const bool is_leader = wait.state != sync::SyncState::standby;
    if (was_leader != is_leader) pipes.write(is_leader ? leads : on_standby);
    was_leader = is_leader;
    if (adds && is_leader) {
      if (!engine->apply(AddCredits{user_id(1), Credits{1}, "grant"})) return 3;
      pipes.write(applied);
    }
    // Not longer than the syncer says, and on a socket never long.
    const milliseconds longest{adds ? 1 : wait.socket < 0 ? 1'000 : 5};
    std::this_thread::sleep_for(std::min(wait.timeout, longest));
  }
}

struct Scene {
  Database database;
  std::optional<sync::Canonical> canonical{};
  std::unique_ptr<WatchedDevice> device{};

  Scene() {
    database.migrate();
    canonical.emplace(sync::Canonical::connect(database.conninfo()).value());
    Session session = database.session();
    make_device_role(session, "led_device");
    device = std::make_unique<WatchedDevice>(*canonical, database.conninfo() + " user=led_device");
    device->mirror.make_users(1);
    device->sync();
    // Children are made while nothing is open here.
    device->syncer.reset();
    device->mirror.close();
  }
  std::unique_ptr<ChildProcess> child(bool adds) {
    const std::string text = device->options.conninfo + "\n" + device->options.token;
    return std::make_unique<ChildProcess>(
        sync_for_ever, ChildProcess::Given{device->mirror.path(), {adds ? 1U : 0U}, text});
  }
  std::int64_t canonical_balance() {
    return std::stoll(database.session().ask_one(
        "select sum(amount) from public.credit_ledger where user_id = '" + user_id(1).text() +
        "'"));
  }
};

TEST_CASE("the leader is killed: the one on standby takes over within a second, and all arrives") {
  Scene scene;
  auto leader = scene.child(false);
  REQUIRE(leader->read() == leads);
  auto other = scene.child(false);
  REQUIRE(other->read() == on_standby);
  scene.device->mirror.open();
  Engine& engine = scene.device->mirror.engine();

  // What any process applies, the leader pushes.
  REQUIRE(engine.apply(AddCredits{user_id(1), Credits{7}, "grant"}).has_value());
  CHECK(eventually([&] { return scene.canonical_balance() == 17; }));

  leader->kill_now();
  const auto killed = Clock::now();
  REQUIRE(engine.apply(AddCredits{user_id(1), Credits{5}, "grant"}).has_value());
  REQUIRE(other->read() == leads);
  CHECK(Clock::now() - killed < milliseconds{1'000});
  CHECK(eventually([&] { return scene.canonical_balance() == 22; }));
  CHECK(leader->wait() == ChildProcess::killed);
  CHECK(eventually([&] { return engine.pending_operations().value() == 0; }));
  other->kill_now();
  CHECK(other->wait() == ChildProcess::killed);
  scene.device->connect();
  CHECK(difference(*scene.device, *scene.canonical) == "");
}

TEST_CASE("leaders killed in the middle of it, one after another, lose and double nothing") {
  Scene scene;
  std::mt19937 random(11);
  const int rounds = long_run() ? 200 : 25;
  auto leader = scene.child(true);
  REQUIRE(leader->read() == leads);
  std::int64_t acknowledged = 0;
  Clock::duration longest{};
  for (int round = 0; round < rounds; ++round) {
    CAPTURE(round);
    auto next = scene.child(true);
    REQUIRE(next->read() == on_standby);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 40'000));
    leader->kill_now();
    const auto killed = Clock::now();
    REQUIRE(next->read() == leads);
    longest = std::max(longest, Clock::now() - killed);
    while (const auto told = leader->read()) acknowledged += told == applied ? 1 : 0;
    REQUIRE(leader->wait() == ChildProcess::killed);
    leader = std::move(next);
  }
  leader->kill_now();
  while (const auto told = leader->read()) acknowledged += told == applied ? 1 : 0;
  REQUIRE(leader->wait() == ChildProcess::killed);
  CHECK(longest < milliseconds{1'000});

  scene.device->mirror.open();
  scene.device->connect();
  scene.device->sync();
  CHECK(difference(*scene.device, *scene.canonical) == "");
  const std::int64_t added = scene.device->mirror.balance() - 10;
  // Each leader can have been killed between an operation and its telling of it.
  CHECK(added >= acknowledged);
  CHECK(added <= acknowledged + rounds + 1);
  CHECK(scene.device->mirror->check(user_id(1))->entries == 1 + added);
  CHECK(scene.device->mirror.findings() == std::vector<std::string>{});
  CHECK(scene.device->diverged == 0);
  MESSAGE((rounds + 1), " leaders killed; the next took over after ",
          std::chrono::duration_cast<milliseconds>(longest).count(), " ms at most; ", added,
          " operations");
}

TEST_CASE("two syncers in one process: one is on standby, and says so, until the other goes") {
  Scene scene;
  WatchedDevice& device = *scene.device;
  device.mirror.open();
  auto engine = Engine::open(device.mirror.path(), TemporaryMirror::fast());
  REQUIRE(engine.has_value());
  device.connect();
  device.sync();
  sync::Syncer other(*engine, device.options);
  CHECK(other.step().state == sync::SyncState::standby);
  const auto refused = other.run_until_synced(milliseconds{50});
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == Code::busy);
  device.syncer.reset();
  REQUIRE(engine->apply(AddCredits{user_id(1), Credits{1}, "grant"}).has_value());
  REQUIRE(other.run_until_synced(patience).has_value());
  CHECK(scene.canonical_balance() == 11);
}

TEST_CASE("a syncer that is paused or stopped leaves the mirror to another") {
  Scene scene;
  WatchedDevice& device = *scene.device;
  device.mirror.open();
  auto engine = Engine::open(device.mirror.path(), TemporaryMirror::fast());
  REQUIRE(engine.has_value());
  sync::SyncOptions wrong = device.options;
  const auto is_left_by = [&](sync::SyncState state) {
    sync::Syncer halted(*engine, wrong);
    CHECK(!halted.run_until_synced(patience).has_value());
    CHECK(halted.step().state == state);
    device.connect();
    device.sync();
    // It stands behind the other then, as anybody does.
    halted.resume(device.options.token);
    CHECK(halted.step().state == sync::SyncState::standby);
    device.syncer.reset();
  };
  wrong.token = "tally_nonsense";
  is_left_by(sync::SyncState::paused);
  wrong = device.options;
  wrong.schema = "elsewhere";
  is_left_by(sync::SyncState::stopped);
}

}  // namespace
}  // namespace tally::test
