// Several processes at once apply and sync one mirror, and are killed with -9 at whatever they do,
// again and again: every operation that one of them acknowledged is on canonical at the end, once.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>
#include <thread>

#include "sync/world.hpp"

namespace tally::test {
namespace {

using std::chrono::milliseconds;

/// Of operations: so many that what is lost of them would show.
constexpr std::size_t acknowledged_enough = 500;

/// The op_ids of a process: its number, and which of its operations.
Uuid operation_of(std::uint64_t process, std::uint64_t n) { return id('k', process << 24U | n); }

/// Applies and syncs until it is killed; tells of every operation that it was told `ok` of.
int work_for_ever(const Pipes& pipes, const Given& given) {
  const std::size_t line_end = given.text.find('\n');
  sync::SyncOptions options;
  options.conninfo = given.text.substr(0, line_end);
  options.token = given.text.substr(line_end + 1);
  options.backoff_base = milliseconds{1};
  options.backoff_cap = milliseconds{20};
  options.operations_max = 5;
  Options engine_options;
  engine_options.durability = given.numbers[1] % 2 == 0 ? Durability::full : Durability::normal;
  auto engine = Engine::open(given.path, engine_options);
  if (!engine) return 1;
  sync::Syncer syncer(*engine, options);
  for (std::uint64_t n = 1;; ++n) {
    const sync::Wait wait = syncer.step();
    if (wait.state == sync::SyncState::stopped || wait.state == sync::SyncState::paused) return 2;
    CallId call;
    call.op_id = operation_of(given.numbers[0], n);
    if (!engine->apply(AddCredits{user_id(1), Credits{1}, "grant"}, call)) return 3;
    pipes.write(n);
    // What does not sync has less to do, and leaves the file to the one that does.
    std::this_thread::sleep_for(milliseconds{wait.state == sync::SyncState::standby ? 4 : 1});
  }
}

struct Worker {
  std::uint64_t number = 0;
  std::unique_ptr<ChildProcess> process{};
};

class Killing {
 public:
  explicit Killing(Device& device) : device_(device) {}

  Worker start() {
    const std::uint64_t number = ++started_;
    const std::string text = device_.options.conninfo + "\n" + device_.options.token;
    return {number, std::make_unique<ChildProcess>(
                        work_for_ever, Given{device_.mirror.path(), {number, number}, text})};
  }
  /// Answers how many operations it had acknowledged; one it may have applied without a word.
  void end(Worker& worker) {
    worker.process->kill_now();
    while (const auto n = worker.process->read())
      acknowledged.insert(operation_of(worker.number, *n).derived(0).text());
    REQUIRE(worker.process->wait() == ChildProcess::killed);
  }
  std::uint64_t started() const { return started_; }

  std::set<std::string> acknowledged{};

 private:
  Device& device_;
  std::uint64_t started_ = 0;
};

}  // namespace

TEST_CASE("kill -9 with sync running: what was acknowledged is on canonical, once") {
  World world;
  auto device = world.device({Capability::author, Capability::worker, Capability::service});
  device->syncer.reset();
  device->mirror.close();
  Killing killing(*device);
  std::mt19937_64 random(23);
  const int kills = long_run() ? 1'000 : 120;
  std::vector<Worker> workers;
  for (int i = 0; i < 3; ++i) workers.push_back(killing.start());
  // On a slow machine a process has hardly begun in that time: then there are more, and they live
  // longer.
  const auto bound = std::chrono::steady_clock::now() + 10 * patience;
  for (int i = 0; i < kills || (killing.acknowledged.size() <= acknowledged_enough &&
                                std::chrono::steady_clock::now() < bound);
       ++i) {
    std::this_thread::sleep_for((1 + i / kills) * std::chrono::microseconds(random() % 60'000));
    Worker& worker = workers[random() % workers.size()];
    killing.end(worker);
    worker = killing.start();
  }
  for (Worker& worker : workers) killing.end(worker);

  device->mirror.open();
  CHECK(device->mirror.findings() == std::vector<std::string>{});
  const std::int64_t pending = device->mirror->pending_operations().value();
  device->connect();
  device->sync();
  CHECK(difference(*device, *world.canonical) == "");
  CHECK(device->rejected == 0);
  CHECK(device->diverged == 0);
  const auto there = world.session.ask(
      "select id from credit_ledger where amount = 1 and type = 'grant' order by id");
  const std::set<std::string> ids(there.begin(), there.end());
  CHECK(ids.size() == there.size());
  CHECK(std::includes(ids.begin(), ids.end(), killing.acknowledged.begin(),
                      killing.acknowledged.end()));
  // What was applied without a word is at most one operation a process.
  CHECK(ids.size() <= killing.acknowledged.size() + killing.started());
  CHECK(world.balance() == 10 + static_cast<std::int64_t>(ids.size()));
  CHECK(device->mirror.balance() == world.balance());
  world.check_whole();
  MESSAGE(killing.started() << " processes killed, " << killing.acknowledged.size()
                            << " operations acknowledged, " << ids.size() << " there, of which "
                            << pending << " were still to be pushed");
  CHECK(killing.acknowledged.size() > acknowledged_enough);
}

}  // namespace tally::test
