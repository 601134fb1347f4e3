// A bootstrap in pages: whatever happens between two of them, the mirror shows a user whole or not
// at all, and what it shows in the end is canonical's.

#include <functional>

#include "sync/world.hpp"

namespace tally::test {
namespace {

/// A canonical whose user u1 has more rows than an answer takes, of every kind.
struct Paged {
  World world{100};
  int made = 10;

  Paged() {
    for (int n = 1; n <= 3; ++n) {
      const std::string job = " job_id=j" + std::to_string(n);
      world.apply("reserve_credits user_id=u1 amount=3" + job);
      world.apply("advance_job to=QUEUED" + job);
      world.apply("advance_job to=SCRIPTING" + job);
      world.apply("report_progress step_name=SCRIPTING progress_pct=50" + job);
      world.apply("add_asset type=image url=u storage_path=s asset_id=a" + std::to_string(n) + job);
      world.apply("finalize_job_credits final_cost=2" + job);
    }
    world.apply("create_voice_profile voice_profile_id=v1 user_id=u1 name=Ada audio_path=a");
  }

  std::string project(const std::string& n) {
    return world.apply("create_project project_id=p" + n +
                       " user_id=u1 title=T prompt_text=P niche_preset=facts target_minutes=1");
  }
  /// A project with a job that has entries, an asset and steps: all made now.
  std::string make_job() {
    const std::string n = std::to_string(++made);
    CHECK(project(n) == "ok");
    const std::string job = " job_id=j" + n;
    CHECK(world.apply("create_job user_id=u1 project_id=p" + n + job) == "ok");
    CHECK(world.apply("reserve_credits user_id=u1 amount=1" + job) == "ok");
    CHECK(world.apply("advance_job to=QUEUED" + job) == "ok");
    CHECK(world.apply("advance_job to=SCRIPTING" + job) == "ok");
    CHECK(world.apply("add_asset type=image url=u storage_path=s asset_id=a" + n + job) == "ok");
    CHECK(world.apply("release_job_credits" + job) == "ok");
    return n;
  }
  void delete_project(const std::string& n) {
    CHECK(world.apply("delete_project user_id=u1 project_id=p" + n) == "ok");
  }

  std::unique_ptr<Device> device(int rows_max, std::optional<Uuid> scope = user_id(1)) {
    auto made_device =
        std::make_unique<Device>(*world.canonical, world.database,
                                 Kind{{Capability::author, Capability::worker, Capability::service},
                                      scope,
                                      SpendPolicy::optimistic,
                                      rows_max});
    made_device->mirror.lines = world.lines;
    return made_device;
  }
  int rows() {
    return std::stoi(world.session.ask_one(
        "select (select count(*) from tally_sync.changes) + (select count(*) from credit_ledger)"));
  }
};

/// Syncs; between its calls, before the next is sent, `between` is told how many there were.
void sync(Device& device, const std::function<void(int)>& between) {
  int calls = 0;
  device.options.callbacks.progress = [&](std::int64_t, std::int64_t) { between(++calls); };
  device.connect();
  device.sync();
  device.options.callbacks.progress = {};
  device.connect();
}

/// Steps until so many calls were answered; a step may take more than one answer. Says how many.
int step(Device& device, int calls) {
  int answered = 0;
  device.options.callbacks.progress = [&](std::int64_t, std::int64_t) { ++answered; };
  device.connect();
  while (answered < calls) device.syncer->step();
  device.options.callbacks.progress = {};
  return answered;
}

std::size_t pages(Device& device) {
  return std::stoul(query(device.mirror.path(), "select count(*) from tally_page").front());
}

/// Until its rows are there; the digest is another call.
int calls_of_a_bootstrap(Paged& paged, int rows_max) {
  auto device = paged.device(rows_max);
  int calls = 0;
  sync(*device, [&](int n) {
    if (calls == 0 && device->mirror->balance(user_id(1)).has_value()) calls = n;
  });
  CHECK(difference(*device, *paged.world.canonical) == "");
  return calls;
}

TEST_CASE("a bootstrap that is cut goes on where it was, and fetches no page again") {
  Paged paged;
  for (const int rows_max : {1, 4}) {
    CAPTURE(rows_max);
    const int whole = calls_of_a_bootstrap(paged, rows_max);
    REQUIRE(whole > 4);
    auto device = paged.device(rows_max);
    int calls = 0;
    while (calls < whole - 1) {
      calls += step(*device, 1);
      if (calls >= whole) break;
      CHECK(pages(*device) == static_cast<std::size_t>(calls));
      CHECK_FALSE(device->mirror->balance(user_id(1)).has_value());
      device->syncer.reset();
      device->mirror.reopen();
    }
    if (calls < whole) step(*device, 1);
    CHECK(pages(*device) == 0);
    CHECK(device->mirror.balance() == paged.world.balance());
    device->connect();
    CHECK(difference(*device, *paged.world.canonical) == "");
    CHECK(device->diverged == 0);
  }
}

using Change = std::pair<const char*, std::function<void(Paged&)>>;

/// What may happen between two pages.
const std::vector<Change>& changes() {
  static const std::vector<Change> all{
      {"a project, a job, entries and an asset are made", [](Paged& paged) { paged.make_job(); }},
      {"entries lose their job",
       [](Paged& paged) { paged.delete_project(std::to_string(paged.made)); }},
      {"a job is made, and goes", [](Paged& paged) { paged.delete_project(paged.make_job()); }},
      {"entries lose their job, whose id is another's then",
       [](Paged& paged) {
         const std::string n = std::to_string(paged.made);
         paged.delete_project(n);
         paged.project(n);
         CHECK(paged.world.apply("create_job user_id=u1 project_id=p" + n + " job_id=j" + n) ==
               "ok");
       }},
      {"a voice is made, and a project's",
       [](Paged& paged) {
         const std::string n = std::to_string(++paged.made);
         CHECK(paged.world.apply("create_voice_profile name=Ada audio_path=a user_id=u1 "
                                 "voice_profile_id=v" +
                                 n) == "ok");
         CHECK(paged.world.apply("update_project user_id=u1 project_id=p1 voice_profile_id=v" +
                                 n) == "ok");
         paged.make_job();
       }},
      {"a row goes, and its tombstone",
       [](Paged& paged) {
         paged.delete_project(paged.make_job());
         paged.world.session.ask("select tally_sync.prune('0')");
       }},
      {"a row goes that may have been told of, and its tombstone",
       [](Paged& paged) {
         paged.delete_project(std::to_string(paged.made));
         paged.world.session.ask("select tally_sync.prune('0')");
       }},
  };
  return all;
}

TEST_CASE(
    "whatever changes between two pages, the mirror shows whole states, the last canonical's") {
  Paged paged;
  for (const Change& made : changes()) {
    CAPTURE(std::string(made.first));
    for (const std::optional<Uuid>& scope : {std::optional(user_id(1)), std::optional<Uuid>{}}) {
      CAPTURE(scope.has_value());
      const int stride = long_run() ? 1 : 3;
      int place = 1;
      for (bool reached = true; reached; place += stride) {
        CAPTURE(place);
        paged.make_job();
        auto device = paged.device(paged.rows() / 8, scope);
        reached = false;
        sync(*device, [&](int calls) {
          if (calls != place || device->mirror->balance(user_id(1))) return;
          CHECK(device->mirror->rows("jobs", user_id(1))->empty());
          reached = true;
          made.second(paged);
        });
        CHECK(difference(*device, *paged.world.canonical) == "");
        CHECK(device->diverged == 0);
        CHECK(device->mirror.findings() == std::vector<std::string>{});
      }
      CHECK(place > 2 * stride);
    }
  }
  paged.world.check_whole();
}

TEST_CASE("a page that damage made count more than it has asks for no memory, and comes anew") {
  Paged paged;
  for (const std::string number : {"ff7f", "ffffffffffffffff7f"}) {
    CAPTURE(number);
    auto device = paged.device(4);
    step(*device, 1);
    REQUIRE(pages(*device) == 1);
    device->syncer.reset();
    device->mirror.close();
    tamper(device->mirror.path(), "update tally_page set body = x'" + number + "'");
    device->mirror.open();
    device->connect();
    device->sync();
    CHECK(difference(*device, *paged.world.canonical) == "");
  }
}

TEST_CASE("a delta in pages leaves what was there as it was until its last page is there") {
  Paged paged;
  for (const Change& made : changes()) {
    CAPTURE(std::string(made.first));
    auto device = paged.device(5);
    device->sync();
    for (int place = 1; place <= 4; ++place) {
      CAPTURE(place);
      const std::int64_t before = paged.world.balance();
      paged.make_job();
      paged.make_job();
      paged.world.apply("add_credits user_id=u1 amount=1 type=grant");
      const auto jobs = device->mirror->rows("jobs", user_id(1));
      bool reached = false;
      sync(*device, [&](int calls) {
        if (calls < place + 1 && pages(*device) > 0) {
          CHECK(device->mirror.balance() == before);
          CHECK(device->mirror->rows("jobs", user_id(1)).value() == jobs.value());
        }
        if (calls != place || pages(*device) == 0) return;
        reached = true;
        made.second(paged);
      });
      CHECK((reached || place > 1));
      CHECK(difference(*device, *paged.world.canonical) == "");
      CHECK(device->diverged == 0);
    }
  }
}

TEST_CASE("what a device applies while pages come is pushed behind them, and judged once") {
  Paged paged;
  auto device = paged.device(4);
  device->sync();
  for (int n = 0; n < 3; ++n) paged.make_job();
  int applied = 0;
  sync(*device, [&](int calls) {
    if (pages(*device) == 0 || calls > 4) return;
    ++applied;
    CHECK(
        apply(*device, 'd', calls, "add_credits user_id=u1 amount=1 type=grant").starts_with("ok"));
    CHECK(Replica(device->mirror.engine()).state().value()->acked == 0);
  });
  CHECK(applied > 1);
  CHECK(device->mirror->pending_operations().value() == 0);
  CHECK(device->rejected == 0);
  CHECK(difference(*device, *paged.world.canonical) == "");
  CHECK(paged.world.session.ask_one("select count(*) from credit_ledger where type = 'grant' and "
                                    "amount = 1") == std::to_string(applied));
  CHECK(device->diverged == 0);
}

TEST_CASE("one user's pages do not hold up what another's operations come to, or make it vanish") {
  Paged paged;
  paged.world.apply("create_user user_id=u9");
  // u1 comes in pages. The new user's id is before it.
  auto device = paged.device(5, std::nullopt);
  const Uuid before = id('a', 1);
  int seen = 0;
  bool made = false;
  sync(*device, [&](int calls) {
    if (calls == 1) {
      CHECK(device->mirror->apply(CreateUser{before, std::nullopt, std::nullopt}).has_value());
      made = true;
      return;
    }
    seen += pages(*device) > 0 && device->mirror->pending_operations().value() == 0 ? 1 : 0;
    CHECK(device->mirror->balance(before).has_value());
  });
  CHECK(made);
  CHECK(seen > 0);
  CHECK(difference(*device, *paged.world.canonical) == "");
  CHECK(device->diverged == 0);
}

TEST_CASE("a digest is compared where a user's rows are whole here") {
  Paged paged;
  for (const std::optional<Uuid>& scope : {std::optional(user_id(1)), std::optional<Uuid>{}}) {
    CAPTURE(scope.has_value());
    auto device = paged.device(5, scope);
    CHECK(device->syncer->verify(user_id(1), patience).value());
    CHECK(device->diverged == 0);

    auto often = paged.device(2, scope);
    often->options.digest_every = 2;
    often->connect();
    often->sync();
    CHECK(often->diverged == 0);
    CHECK(difference(*often, *paged.world.canonical) == "");
  }
}

TEST_CASE("a worker's first contact may be that it asks for a job") {
  Paged paged;
  CHECK(paged.world.apply("reserve_credits user_id=u1 job_id=j4 amount=1") == "ok");
  CHECK(paged.world.apply("advance_job job_id=j4 to=QUEUED") == "ok");
  for (const int rows_max : {3, 20'000}) {
    Device device(*paged.world.canonical, paged.world.database,
                  Kind{{Capability::worker}, user_id(1), SpendPolicy::optimistic, rows_max});
    const auto claimed = device.syncer->claim_next(60, patience);
    REQUIRE(claimed.has_value());
    REQUIRE(claimed->has_value());
    CHECK(device.mirror->rows("jobs", user_id(1))->size() == 4);
    CHECK(difference(device, *paged.world.canonical) == "");
  }
}

}  // namespace
}  // namespace tally::test
