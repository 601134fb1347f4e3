// A queue that cannot be pushed never looks healthy, and a failed push is always tried again: as
// step() tells it and as the status in the mirror does, in every kind of trouble. What of it needs
// TLS or a password is in tls_test.

#include <doctest/doctest.h>

#include <set>
#include <thread>

#include "support/proxy.hpp"
#include "sync/watched_device.hpp"

namespace tally::test {
namespace {

using std::chrono::milliseconds;
using sync::ErrorClass;
using sync::SyncState;
using Clock = std::chrono::steady_clock;

constexpr const char* device_role = "health_device";

/// A device whose way to the server, and its mirror, can be put out of order.
struct Scene {
  Database database{};
  std::optional<sync::Canonical> canonical{};
  std::optional<Session> operators{};
  Proxy proxy{Database::server_folder()};
  TemporaryFolder gate{};
  std::optional<WatchedDevice> device{};
  std::optional<RawTransaction> busy{};

  Scene() {
    database.migrate();
    canonical.emplace(sync::Canonical::connect(database.conninfo()).value());
    operators.emplace(database.conninfo());
    make_device_role(*operators, device_role);
    open_gate();
    device.emplace(*canonical, database.conninfo() + " host=" + gate.path().string() +
                                   " port=5432 user=" + device_role);
    Options short_patience = telling(SpendPolicy::optimistic);
    short_patience.busy_timeout = milliseconds{5};
    device->syncer.reset();
    device->mirror.open(short_patience);
    device->options.poll_interval = milliseconds{10};
    device->options.call_timeout = milliseconds{100};
    device->connect();
    device->mirror.make_users(1);
    device->sync();
  }
  /// Where the device looks for the server's socket.
  std::filesystem::path socket() const { return gate.path() / ".s.PGSQL.5432"; }
  void open_gate() {
    const std::string server = proxy.conninfo();  // " host=<its folder> port=5432"
    const auto begins = server.find('/');
    std::filesystem::create_symlink(
        server.substr(begins, server.find(' ', begins) - begins) + "/.s.PGSQL.5432", socket());
  }
  void end_connections() {
    operators->ask("select pg_terminate_backend(pid) from pg_stat_activity where usename = '" +
                   std::string(device_role) + "'");
  }
};

/// No file of this process may be written to any more, as on a full disk.
void limit_files(std::optional<std::uint64_t> bytes) { REQUIRE(limit_file_sizes(bytes)); }

struct Trouble {
  std::string name;
  ErrorClass error_class;
  SyncState state;  ///< In which the syncer is between attempts, or stays.
  std::function<void(Scene&)> begin;
  std::function<void(Scene&)> end;
  bool in_the_mirror = true;  ///< Whether the mirror can take it down.
};

const std::vector<Trouble>& troubles() {
  static const std::vector<Trouble> all{
      {"the server is away", ErrorClass::transient, SyncState::waiting,
       [](Scene& scene) {
         std::filesystem::remove(scene.socket());
         scene.end_connections();
       },
       [](Scene& scene) { scene.open_gate(); }},
      {"the server ends its connections", ErrorClass::transient, SyncState::waiting,
       [](Scene& scene) {
         scene.operators->ask("alter role health_device connection limit 0");
         scene.end_connections();
       },
       [](Scene& scene) { scene.operators->ask("alter role health_device connection limit -1"); }},
      {"the network stalls", ErrorClass::transient, SyncState::waiting,
       [](Scene& scene) { scene.proxy.stall(); }, [](Scene& scene) { scene.proxy.resume(); }},
      {"the server answers with an error that passes", ErrorClass::transient, SyncState::waiting,
       [](Scene& scene) {
         scene.operators->ask("alter role health_device set statement_timeout = '20ms'");
         scene.end_connections();
         scene.operators->ask("begin; lock table tally_sync.devices");
       },
       [](Scene& scene) {
         scene.operators->ask("commit; alter role health_device reset statement_timeout");
         scene.end_connections();
       }},
      {"a trigger of the app's writes to the ledger", ErrorClass::transient, SyncState::waiting,
       [](Scene& scene) {
         scene.operators->ask(
             "create function bonus() returns trigger language plpgsql security definer "
             "set search_path = '' as $$ begin if new.type = 'grant' then "
             "insert into public.credit_ledger (user_id, type, amount, note) "
             "values (new.user_id, 'purchase', 1, 'bonus'); end if; return null; end $$");
         scene.operators->ask(
             "create trigger bonus after insert on credit_ledger for each row "
             "execute function bonus()");
       },
       [](Scene& scene) { scene.operators->ask("drop function bonus() cascade"); }},
      {"the role may not log in", ErrorClass::authentication, SyncState::paused,
       [](Scene& scene) {
         scene.operators->ask("alter role health_device nologin");
         scene.end_connections();
       },
       [](Scene& scene) { scene.operators->ask("alter role health_device login"); }},
      {"the token is another by now", ErrorClass::authentication, SyncState::paused,
       [](Scene& scene) {
         const auto device = Replica(scene.device->mirror.engine()).state().value();
         scene.device->options.token =
             scene.canonical->rotate_token(device->enrolment.device_id).value();
       },
       [](Scene&) {}},
      {"canonical has no such function", ErrorClass::protocol, SyncState::stopped,
       [](Scene& scene) { scene.operators->ask("alter function tally_sync.sync rename to gone"); },
       [](Scene& scene) { scene.operators->ask("alter function tally_sync.gone rename to sync"); }},
      {"the mirror is busy", ErrorClass::local, SyncState::waiting,
       [](Scene& scene) { scene.busy.emplace(scene.device->mirror.path()); },
       [](Scene& scene) { scene.busy.reset(); }, false},
      {"the disk is full", ErrorClass::local, SyncState::waiting, [](Scene&) { limit_files(0); },
       [](Scene&) { limit_files({}); }, false}};
  return all;
}

/// The states that the syncer is in over so many failed attempts, or until it rests for good.
std::set<SyncState> states_in_trouble(WatchedDevice& device, int attempts) {
  std::set<SyncState> seen;
  int failed = 0;
  for (const auto end = Clock::now() + patience; failed < attempts && Clock::now() < end;) {
    const sync::Wait wait = device.syncer->step();
    seen.insert(wait.state);
    // Between attempts, and when it has stopped, there is nothing to wait for but time.
    if (wait.socket < 0) ++failed;
    std::this_thread::sleep_for(std::min(wait.timeout, milliseconds{25}));
  }
  return seen;
}

bool becomes_synced(WatchedDevice& device) {
  for (const auto end = Clock::now() + patience; Clock::now() < end;) {
    const sync::Wait wait = device.syncer->step();
    if (wait.state == SyncState::synced) return true;
    std::this_thread::sleep_for(std::min(wait.timeout, milliseconds{5}));
  }
  return false;
}

TEST_CASE("a queue that cannot be pushed never looks healthy, and a failed push is tried again") {
  Scene scene;
  WatchedDevice& device = *scene.device;
  std::int64_t added = 0;
  for (const Trouble& trouble : troubles()) {
    CAPTURE(trouble.name);
    device.error_class = ErrorClass::none;
    REQUIRE(device.mirror->apply(AddCredits{user_id(1), Credits{1}, "grant"}).has_value());
    ++added;
    trouble.begin(scene);
    const auto seen = states_in_trouble(device, 6);
    const auto link = Replica(device.mirror.engine()).state().value();
    CHECK(!seen.contains(SyncState::synced));
    CHECK(!seen.contains(SyncState::idle));
    CHECK(seen.contains(trouble.state));
    CHECK(device.error_class == trouble.error_class);
    CHECK(device.error != "");
    CHECK(link->pending == 1);
    if (trouble.in_the_mirror) {
      CHECK(link->error_class == sync::name_of(trouble.error_class));
      CHECK(link->error.value_or("") != "");
      CHECK(link->next_attempt_at.has_value() == (trouble.state == SyncState::waiting));
    }
    CHECK(device.mirror->balance(user_id(1))->value == 10 + added);

    trouble.end(scene);
    if (trouble.state != SyncState::waiting) {
      // Until the host has seen to it.
      CHECK(states_in_trouble(device, 3) == std::set{trouble.state});
      device.syncer->resume(device.options.token);
    }
    CHECK(becomes_synced(device));
    CHECK(device.mirror->pending_operations().value() == 0);
    CHECK(!Replica(device.mirror.engine()).state().value()->error_class.has_value());
    CHECK(difference(device, *scene.canonical) == "");
  }
  CHECK(device.told == "");
  CHECK(device.diverged == 0);
}

}  // namespace
}  // namespace tally::test
