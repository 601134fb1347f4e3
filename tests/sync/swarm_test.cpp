// Several devices, each with a mirror of its own, do random work on the same users, offline from
// each other for a while, and sync now and then. At rest every mirror is equal to canonical, row
// for row.
//
// TALLY_TEST_SEED=N replays one seed; TALLY_TEST_OPERATIONS=N sets the length.

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "model/trace_generator.hpp"
#include "support/database.hpp"
#include "support/fixture.hpp"
#include "tally/syncer.hpp"

namespace tally::test {
namespace {

constexpr const char* tables[] = {"profiles", "credit_ledger", "draft_prompts", "projects",
                                  "jobs",     "job_steps",     "assets",        "voice_profiles"};
constexpr std::chrono::seconds patience{30};

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

using Texts = std::vector<std::optional<std::string>>;

std::string text_of(const Texts& row) {
  std::string text;
  for (const auto& column : row) text += (column ? *column : "NULL") + " | ";
  return text;
}

Options telling(SpendPolicy policy) {
  Options options = TemporaryMirror::fast();
  options.spend_policy = policy;
  options.callbacks.log = [](LogLevel, std::string_view line) { MESSAGE(line); };
  return options;
}

struct Kind {
  std::vector<Capability> capabilities{Capability::author, Capability::worker, Capability::service};
  std::optional<Uuid> scope{};
  SpendPolicy policy = SpendPolicy::optimistic;
  bool is_full() const { return capabilities != std::vector{Capability::worker}; }
};

/// A device: its mirror and its syncer.
struct Device {
  Device(sync::Canonical& canonical, const Database& database, Kind of_kind)
      : kind(std::move(of_kind)), mirror(telling(kind.policy)) {
    const auto made = canonical.add_device(
        {.name = "device", .capabilities = kind.capabilities, .scope = kind.scope});
    REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().detail));
    options.conninfo = database.conninfo();
    options.token = made->token;
    options.backoff_base = std::chrono::milliseconds{5};
    options.callbacks.rejected = [this](const RejectedOperation& operation) {
      ++rejected;
      // I11: what was drawn on a lease that the device has does not bounce.
      const bool bounced = operation.code == Code::insufficient_credits || operation.code == Code::lease_reclaimed;
      if (operation.command.lease && bounced) ++bounces;
    };
    options.callbacks.diverged = [this](const Uuid&) { ++diverged; };
    connect();
  }

  void connect() { syncer = std::make_unique<sync::Syncer>(mirror.engine(), options); }
  void sync() {
    const auto done = syncer->run_until_synced(patience);
    REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().detail));
  }
  /// The process ends, at whatever it is doing, with a call of its on its way or not.
  void restart(std::mt19937_64& random) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 30'000);
    while (std::chrono::steady_clock::now() < until) syncer->step();
    syncer.reset();
    mirror.reopen();
    connect();
  }

  Kind kind;
  TemporaryMirror mirror;
  sync::SyncOptions options{};
  std::unique_ptr<sync::Syncer> syncer{};
  std::size_t rejected = 0;
  std::size_t bounces = 0;
  std::size_t diverged = 0;
};

/// The first difference between what a mirror shows and what canonical has of what it is fed, in words.
std::string difference(Device& device, sync::Canonical& canonical) {
  const auto users = canonical.users();
  REQUIRE(users.has_value());
  for (const Uuid& user : *users) {
    if (device.kind.scope && *device.kind.scope != user) continue;
    for (const char* table : tables) {
      const std::string name = table;
      if (!device.kind.is_full() && (name == "profiles" || name == "draft_prompts")) continue;
      auto there = canonical.rows(table, user);
      REQUIRE(there.has_value());
      const auto viewed = device.mirror->rows(table, user);
      REQUIRE(viewed.has_value());
      std::vector<Texts> here;
      for (const ViewRow& row : *viewed) {
        Texts texts;
        for (const auto& [column, text] : row) texts.push_back(text);
        here.push_back(std::move(texts));
      }
      std::sort(here.begin(), here.end());
      std::sort(there->begin(), there->end());
      for (std::size_t i = 0; i < std::max(here.size(), there->size()); ++i) {
        if (i < here.size() && i < there->size() && here[i] == (*there)[i]) continue;
        return name + " of user " + user.text() + "\n  mirror:    " +
               (i < here.size() ? text_of(here[i]) : "no row") + "\n  canonical: " +
               (i < there->size() ? text_of((*there)[i]) : "no row");
      }
    }
    if (!device.kind.is_full()) continue;
    const auto equal = device.syncer->verify(user, patience);
    REQUIRE(equal.has_value());
    if (!*equal) return "the digests of user " + user.text();
  }
  return {};
}

/// Sees every committed balance from inside the database.
void watch(Session& session) {
  session.ask("create table public.below_zero (user_id uuid, balance integer);"
              "create function public.watch() returns trigger language plpgsql security definer as $$ begin"
              " if new.balance < 0 then insert into public.below_zero values (new.user_id, new.balance); end if;"
              " return null; end $$;"
              "create constraint trigger watch after insert or update on tally.accounts deferrable initially deferred"
              " for each row execute function public.watch()");
}

/// Devices for one of the users that canonical has: who writes and works there with a lease, and who only
/// works.
void add_scoped(std::vector<std::unique_ptr<Device>>& devices, sync::Canonical& canonical, const Database& database,
                std::mt19937_64& random, Timestamp at) {
  const auto users = canonical.users();
  REQUIRE(users.has_value());
  if (users->empty()) return;
  const Uuid user = (*users)[random() % users->size()];
  Kind kind;
  kind.scope = user;
  kind.capabilities = random() % 3 == 0 ? std::vector{Capability::worker}
                                        : std::vector{Capability::author, Capability::worker};
  if (kind.is_full() && random() % 2 == 0) kind.policy = SpendPolicy::leased;
  devices.push_back(std::make_unique<Device>(canonical, database, kind));
  Device& device = *devices.back();
  device.sync();
  if (kind.policy != SpendPolicy::leased) return;
  CallId call;
  call.at = at;
  (void)device.mirror->apply(LeaseCredits{new_uuid_v7(), user, Credits{static_cast<std::int64_t>(1 + random() % 20)}, 2'000'000}, call);
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
  for (std::size_t i = 0; i < devices_count; ++i)
    devices.push_back(std::make_unique<Device>(*canonical, database, Kind{}));

  std::mt19937_64 random(seed);
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
  for (const std::string& finding : session.ask("select explanation from tally.audit()")) CHECK_MESSAGE(false, finding);
  CHECK(session.ask("select user_id from public.below_zero").empty());
}

TEST_CASE("devices that work offline from each other are equal to canonical at rest") {
  const auto operations = static_cast<std::size_t>(number_from_environment("TALLY_TEST_OPERATIONS", 400));
  if (std::getenv("TALLY_TEST_SEED") != nullptr) return swarm(number_from_environment("TALLY_TEST_SEED", 1), operations, 3);
  swarm(1, operations, 1);
  for (std::uint64_t seed = 2; seed < 8; ++seed) swarm(seed, operations, 3);
}

}  // namespace
}  // namespace tally::test
