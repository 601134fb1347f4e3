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

Options telling() {
  Options options = TemporaryMirror::fast();
  options.callbacks.log = [](LogLevel, std::string_view line) { MESSAGE(line); };
  return options;
}

/// A device: its mirror and its syncer.
struct Device {
  TemporaryMirror mirror{telling()};
  sync::SyncOptions options;
  std::unique_ptr<sync::Syncer> syncer;
  std::size_t rejected = 0;
  std::size_t diverged = 0;

  void connect() { syncer = std::make_unique<sync::Syncer>(mirror.engine(), options); }
  void sync() {
    const auto done = syncer->run_until_synced(patience);
    REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().detail));
  }
};

std::unique_ptr<Device> make_device(sync::Canonical& canonical, const Database& database,
                                    const std::string& name) {
  const auto made = canonical.add_device(
      {.name = name,
       .capabilities = {Capability::author, Capability::worker, Capability::service}});
  REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().detail));
  auto device = std::make_unique<Device>();
  device->options.conninfo = database.conninfo();
  device->options.token = made->token;
  Device* self = device.get();
  device->options.callbacks.rejected = [self](const RejectedOperation&) { ++self->rejected; };
  device->options.callbacks.diverged = [self](const Uuid&) { ++self->diverged; };
  device->connect();
  return device;
}

/// The first difference between a mirror and canonical, in words.
std::string difference(Engine& engine, sync::Canonical& canonical) {
  const auto users = canonical.users();
  REQUIRE(users.has_value());
  for (const Uuid& user : *users) {
    for (const char* table : tables) {
      auto there = canonical.rows(table, user);
      REQUIRE(there.has_value());
      const auto viewed = engine.rows(table, user);
      REQUIRE(viewed.has_value());
      std::vector<Texts> here;
      for (const ViewRow& row : *viewed) {
        Texts texts;
        for (const auto& [name, text] : row) texts.push_back(text);
        here.push_back(std::move(texts));
      }
      std::sort(here.begin(), here.end());
      std::sort(there->begin(), there->end());
      for (std::size_t i = 0; i < std::max(here.size(), there->size()); ++i) {
        if (i < here.size() && i < there->size() && here[i] == (*there)[i]) continue;
        return std::string(table) + " of user " + user.text() +
               "\n  mirror:    " + (i < here.size() ? text_of(here[i]) : "no row") +
               "\n  canonical: " + (i < there->size() ? text_of((*there)[i]) : "no row");
      }
    }
  }
  return {};
}

void swarm(std::uint64_t seed, std::size_t operations, std::size_t devices_count) {
  CAPTURE(seed);
  Database database;
  database.migrate();
  auto canonical = sync::Canonical::connect(database.conninfo());
  REQUIRE(canonical.has_value());
  std::vector<std::unique_ptr<Device>> devices;
  for (std::size_t i = 0; i < devices_count; ++i)
    devices.push_back(make_device(*canonical, database, "device " + std::to_string(i)));

  std::mt19937_64 random(seed);
  model::GeneratorOptions options;
  options.seed = seed;
  options.operations = operations;
  options.users = 5;
  for (const std::string& line : model::generate_trace(options)) {
    Device& device = *devices[random() % devices.size()];
    if (auto command = parse_trace_line(line)) {
      const auto verdicts = device.mirror->submit({std::move(*command)});
      REQUIRE_MESSAGE(verdicts.has_value(), (verdicts ? "" : verdicts.error().detail));
    }
    if (random() % 12 == 0) devices[random() % devices.size()]->sync();
  }
  // To rest: everything is pushed, then everything is pulled.
  for (int round = 0; round < 2; ++round) {
    for (auto& device : devices) device->sync();
  }

  std::size_t rejected = 0;
  for (auto& device : devices) {
    CHECK(difference(device->mirror.engine(), *canonical) == "");
    CHECK(device->diverged == 0);
    CHECK(device->mirror->pending_operations().value() == 0);
    for (const std::string& finding : device->mirror.findings()) CHECK_MESSAGE(false, finding);
    rejected += device->rejected;
  }
  MESSAGE("seed ", seed, ": ", rejected, " operations were rejected");
  Session session = database.session();
  for (const std::string& finding : session.ask("select explanation from tally.audit()"))
    CHECK_MESSAGE(false, finding);
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
