// Several devices, each with a mirror of its own, do random work on the same users, offline from
// each other for a while, and sync now and then. At rest every mirror is equal to canonical, row
// for row.
//
// TALLY_TEST_SEED=N replays one seed; TALLY_TEST_OPERATIONS=N sets the length.

#include <doctest/doctest.h>

#include <cstdlib>

#include "model/trace_generator.hpp"
#include "sync/device.hpp"

namespace tally::test {
namespace {

/// Sees every committed balance from inside the database.
void watch(Session& session) {
  session.ask(
      "create table public.below_zero (user_id uuid, balance integer);"
      "create function public.watch() returns trigger language plpgsql security definer as $$ begin"
      " if new.balance < 0 then insert into public.below_zero values (new.user_id, new.balance); "
      "end if;"
      " return null; end $$;"
      "create constraint trigger watch after insert or update on tally.accounts deferrable "
      "initially deferred"
      " for each row execute function public.watch()");
}

/// Devices for one of the users that canonical has: who writes and works there with a lease, and
/// who only works.
void add_scoped(std::vector<std::unique_ptr<Device>>& devices, sync::Canonical& canonical,
                const Database& database, std::mt19937_64& random, Timestamp at) {
  const auto users = canonical.users();
  REQUIRE(users.has_value());
  if (users->empty()) return;
  const Uuid user = (*users)[random() % users->size()];
  Kind kind;
  kind.scope = user;
  if (random() % 2 == 0) kind.rows_max = static_cast<int>(1 + random() % 40);
  kind.capabilities = random() % 3 == 0 ? std::vector{Capability::worker}
                                        : std::vector{Capability::author, Capability::worker};
  constexpr SpendPolicy policies[] = {SpendPolicy::optimistic, SpendPolicy::leased,
                                      SpendPolicy::online};
  if (kind.is_full()) kind.policy = policies[random() % std::size(policies)];
  devices.push_back(std::make_unique<Device>(canonical, database, kind));
  Device& device = *devices.back();
  device.sync();
  if (kind.policy != SpendPolicy::leased) return;
  CallId call;
  call.at = at;
  (void)device.mirror->apply(
      LeaseCredits{new_uuid_v7(), user, Credits{static_cast<std::int64_t>(1 + random() % 20)},
                   2'000'000},
      call);
  device.sync();
}

void swarm(std::uint64_t seed, std::size_t operations, std::size_t devices_count) {
  CAPTURE(seed);
  Database database;
  database.migrate();
  auto canonical = sync::Canonical::connect(database.conninfo());
  REQUIRE(canonical.has_value());
  Session session = database.session();
  watch(session);
  std::vector<std::unique_ptr<Device>> devices;
  std::mt19937_64 random(seed);
  for (std::size_t i = 0; i < devices_count; ++i) {
    Kind kind;
    if (random() % 2 == 0) kind.rows_max = static_cast<int>(1 + random() % 40);
    devices.push_back(std::make_unique<Device>(*canonical, database, kind));
  }

  model::GeneratorOptions options;
  options.seed = seed;
  options.operations = operations;
  options.users = 5;
  for (const std::string& line : model::generate_trace(options)) {
    Device& device = *devices[random() % devices.size()];
    if (auto command = parse_trace_line(line)) {
      const Timestamp at = command->at;
      const auto verdicts = device.mirror->submit({std::move(*command)});
      REQUIRE_MESSAGE(verdicts.has_value(), (verdicts ? "" : verdicts.error().detail));
      if (devices_count > 1 && random() % 60 == 0 && devices.size() < devices_count + 4)
        add_scoped(devices, *canonical, database, random, at);
    }
    if (random() % 12 == 0) devices[random() % devices.size()]->sync();
    if (random() % 25 == 0) devices[random() % devices.size()]->restart(random);
  }
  // To rest: everything is pushed, then everything is pulled.
  for (int round = 0; round < 2; ++round) {
    for (auto& device : devices) device->sync();
  }

  std::size_t rejected = 0;
  for (auto& device : devices) {
    CAPTURE(device->kind.capabilities.size());
    CAPTURE(device->kind.scope.has_value());
    CHECK(difference(*device, *canonical) == "");
    CHECK(device->diverged == 0);
    CHECK(device->bounces == 0);
    CHECK(device->mirror->pending_operations().value() == 0);
    for (const std::string& finding : device->mirror.findings()) CHECK_MESSAGE(false, finding);
    rejected += device->rejected;
  }
  MESSAGE("seed ", seed, ": ", devices.size(), " devices, ", rejected, " operations were rejected");
  for (const std::string& finding : session.ask("select explanation from tally.audit()"))
    CHECK_MESSAGE(false, finding);
  CHECK(session.ask("select user_id from public.below_zero").empty());
}

TEST_CASE("devices that work offline from each other are equal to canonical at rest") {
  const auto operations =
      static_cast<std::size_t>(number_from_environment("TALLY_TEST_OPERATIONS", 400));
  if (std::getenv("TALLY_TEST_SEED") != nullptr)
    return swarm(number_from_environment("TALLY_TEST_SEED", 1), operations, 3);
  swarm(1, operations, 1);
  for (std::uint64_t seed = 2; seed < 8; ++seed) swarm(seed, operations, 3);
}

}  // namespace
}  // namespace tally::test
