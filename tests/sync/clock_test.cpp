// Clocks that are wrong: an hour ahead, an hour behind, backwards, stopped. What depends on time is
// judged by canonical's, the mirror is equal to canonical after push and pull all the same, and
// when to try again depends on no such clock.

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "sync/watched_device.hpp"

namespace tally::test {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t hour_s = 3'600;
constexpr std::int64_t day_s = 24 * hour_s;

Timestamp system_time() {
  return Timestamp{std::chrono::duration_cast<std::chrono::microseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count()};
}

/// A device's clock, which can be set.
struct WrongClock {
  std::string name = "right";
  std::atomic<std::int64_t> ahead_s{0};     ///< Of the present.
  std::atomic<std::int64_t> each_s{0};      ///< It goes so much further at each look.
  std::atomic<std::int64_t> stopped_us{0};  ///< Where not 0: it shows this.
  Timestamp now() {
    if (stopped_us != 0) return Timestamp{stopped_us};
    ahead_s += each_s;
    return system_time().plus_seconds(ahead_s);
  }
};

/// Canonical with user u1, project p1 and 1,000 credits, and how its devices' clocks are.
struct Scene {
  Database database{};
  std::optional<sync::Canonical> canonical{};
  std::uint64_t jobs = 0;

  Scene() {
    database.migrate();
    canonical.emplace(sync::Canonical::connect(database.conninfo()).value());
    LineMaker lines;
    apply_to_canonical(*canonical,
                       {lines.line("create_user user_id=u1"),
                        lines.line("add_credits user_id=u1 amount=990 type=grant"),
                        lines.line("create_project project_id=p1 user_id=u1 title=T prompt_text=P "
                                   "niche_preset=facts target_minutes=1")});
  }
  std::string ask_one(const std::string& sql) const { return database.session().ask_one(sql); }
  void check_whole() const {
    CHECK(database.session().ask("select explanation from tally.audit()").empty());
    CHECK(ask_one("select count(*) from credit_ledger where created_at > clock_timestamp()") ==
          "0");
    CHECK(ask_one("select count(*) from jobs where created_at > clock_timestamp() or started_at > "
                  "clock_timestamp()") == "0");
  }
};

/// A device whose engine looks at such a clock.
struct Skewed : Device {
  std::shared_ptr<WrongClock> clock;

  Skewed(Scene& scene, std::shared_ptr<WrongClock> of_clock,
         SpendPolicy policy = SpendPolicy::optimistic)
      : Device(*scene.canonical, scene.database, Kind{.scope = user_id(1), .policy = policy}),
        clock(std::move(of_clock)) {
    Options engine_options = telling(kind.policy);
    engine_options.clock = [shown = clock] { return shown->now(); };
    syncer.reset();
    mirror.close();
    mirror.open(engine_options);
    connect();
    sync();
  }
  /// ok, or the refusal's name.
  std::string apply(Operation operation) {
    const auto receipt = mirror->apply(std::move(operation));
    return std::string(name_of(receipt ? Code::ok : receipt.error().code));
  }
  void check_equal(Scene& scene) {
    sync();
    CHECK(difference(*this, *scene.canonical) == "");
    CHECK(mirror->pending_operations().value() == 0);
    CHECK(mirror.findings() == std::vector<std::string>{});
    CHECK(diverged == 0);
  }
};

std::vector<std::shared_ptr<WrongClock>> wrong_clocks() {
  const auto made = [](const char* name, std::int64_t ahead_s, std::int64_t each_s, bool stopped) {
    auto clock = std::make_shared<WrongClock>();
    clock->name = name;
    clock->ahead_s = ahead_s;
    clock->each_s = each_s;
    if (stopped) clock->stopped_us = system_time().us;
    return clock;
  };
  return {made("right", 0, 0, false),
          made("an hour ahead", hour_s, 0, false),
          made("an hour behind", -hour_s, 0, false),
          made("backwards from ahead", hour_s, -60, false),
          made("backwards", 0, -60, false),
          made("stopped", 0, 0, true),
          made("years ahead", 900 * day_s, 0, false)};
}

/// A job from its making to READY, and one that fails and is tried again; each `ok` here.
void work(Skewed& device, Scene& scene) {
  const Uuid user = user_id(1);
  const Uuid job = job_id(++scene.jobs);
  const Uuid other = job_id(++scene.jobs);
  const auto ok = [&](Operation operation) { REQUIRE(device.apply(std::move(operation)) == "ok"); };
  ok(CreateDraft{id('d', scene.jobs), "session", user, "prompt"});
  ok(CreateDraft{id('d', scene.jobs + 1'000), "session of " + job.text(), std::nullopt, "prompt"});
  ok(ClaimDraft{"session of " + job.text(), user});
  ok(CreateJob{job, project_id(1), user});
  ok(ReserveCredits{user, job, Credits{8}});
  ok(AdvanceJob{job, JobStatus::QUEUED});
  ok(ClaimJob{job, 600});
  for (int stage = static_cast<int>(JobStatus::SCRIPTING);
       stage <= static_cast<int>(JobStatus::PACKAGING); ++stage)
    ok(AdvanceJob{job, static_cast<JobStatus>(stage)});
  ok(AddAsset{id('a', scene.jobs), job, "video", "url", "path"});
  ok(CompleteJob{job, Credits{5}});
  ok(CreateJob{other, project_id(1), user});
  ok(ReserveCredits{user, other, Credits{8}});
  ok(AdvanceJob{other, JobStatus::QUEUED});
  ok(AdvanceJob{other, JobStatus::SCRIPTING});
  ok(FailJob{other, "E"});
  ok(RetryJob{other, Credits{4}});
}

TEST_CASE("whatever a device's clock shows, its work arrives, and no time on canonical is ahead") {
  Scene scene;
  for (const auto& clock : wrong_clocks()) {
    CAPTURE(clock->name);
    Skewed device(scene, clock);
    Skewed watcher(scene, std::make_shared<WrongClock>());
    work(device, scene);
    device.check_equal(scene);
    // Once more, upon rows that canonical has fed with its own times.
    work(device, scene);
    device.check_equal(scene);
    CHECK(rejected_codes(device).empty());
    watcher.check_equal(scene);
    scene.check_whole();
  }
}

TEST_CASE("a lease is drawn on until the device's clock passes its expiry, and never bounces") {
  for (const auto& clock : wrong_clocks()) {
    CAPTURE(clock->name);
    Scene scene;
    Skewed device(scene, clock, SpendPolicy::leased);
    const Uuid user = user_id(1);
    REQUIRE(device.apply(CreateJob{job_id(1), project_id(1), user}) == "ok");
    REQUIRE(device.apply(LeaseCredits{id('l', 1), user, Credits{100}, 600}) == "ok");
    device.check_equal(scene);
    CHECK(scene.ask_one("select expires_at <= clock_timestamp() + interval '600 s' from "
                        "tally_sync.leases") == "t");
    // All else is spent, so what is drawn on nothing would bounce.
    LineMaker lines;
    apply_to_canonical(*scene.canonical,
                       {lines.line("expire_credits user_id=u1 amount=900 op_id=x1")});
    const bool is_over = clock->now() > system_time().plus_seconds(600);
    CHECK(device.apply(ReserveCredits{user, job_id(1), Credits{40}}) ==
          (is_over ? "insufficient_credits" : "ok"));
    device.check_equal(scene);
    CHECK(device.apply(ReturnLease{id('l', 1)}) == "ok");
    device.check_equal(scene);
    CHECK(rejected_codes(device).empty());
    CHECK(device.bounces == 0);
    CHECK(scene.ask_one("select get_credit_balance('" + user.text() + "')") ==
          (is_over ? "100" : "60"));
    scene.check_whole();
  }
}

/// A job that waits for a worker.
Uuid queued_job(Scene& scene) {
  const std::string j = "j" + std::to_string(++scene.jobs);
  LineMaker lines;
  const auto line = [&](const std::string& text, unsigned n) {
    return lines.line(text + " op_id=q" + std::to_string(scene.jobs * 10 + n));
  };
  apply_to_canonical(*scene.canonical, {line("create_job project_id=p1 user_id=u1 job_id=" + j, 1),
                                        line("reserve_credits user_id=u1 amount=5 job_id=" + j, 2),
                                        line("advance_job to=QUEUED job_id=" + j, 3)});
  return job_id(scene.jobs);
}

TEST_CASE("a claim ends by canonical's clock, whatever the devices' show") {
  Scene scene;
  auto right = std::make_shared<WrongClock>();
  for (const auto& clock : wrong_clocks()) {
    CAPTURE(clock->name);
    const Uuid job = queued_job(scene);
    Skewed holder(scene, clock);
    Skewed other(scene, right);
    const auto claimed = holder.syncer->claim_next(1'000, patience);
    REQUIRE(claimed.has_value());
    CHECK(*claimed == job);
    holder.check_equal(scene);
    CHECK(scene.ask_one("select claim_until - clock_timestamp() between interval '0' and interval "
                        "'1000 s' from tally.job_state where claim_until is not null") == "t");
    CHECK(!other.syncer->claim_next(1'000, patience)->has_value());
    CHECK(other.apply(AdvanceJob{job, JobStatus::SCRIPTING}) == "not_claim_holder");
    // The holder's work is its own, also where its clock says that the claim is over.
    CHECK(holder.apply(AdvanceJob{job, JobStatus::SCRIPTING}) == "ok");
    holder.check_equal(scene);
    CHECK(rejected_codes(holder).empty());
    other.check_equal(scene);
    // So that the next one has a job to claim.
    CHECK(holder.apply(FailJob{job, "E"}) == "ok");
    holder.check_equal(scene);
    CHECK(rejected_codes(holder).empty());
    scene.check_whole();
  }
}

TEST_CASE("who takes a claim to be over too early, or to live on too long, is told by canonical") {
  Scene scene;
  const Uuid job = queued_job(scene);
  auto right = std::make_shared<WrongClock>();
  auto ahead = std::make_shared<WrongClock>();
  ahead->ahead_s = hour_s;
  Skewed holder(scene, right);
  Skewed early(scene, ahead);
  REQUIRE(holder.syncer->claim_next(1'000, patience).value() == job);
  early.sync();
  CHECK(early.apply(AdvanceJob{job, JobStatus::SCRIPTING}) == "ok");
  CHECK(early.apply(ClaimJob{job, 60}) == "ok");
  early.check_equal(scene);
  CHECK(rejected_codes(early) ==
        std::vector<std::string>{"advance_job not_claim_holder", "claim_job already_claimed"});

  // Stopped while its claim of a second lives.
  CHECK(holder.apply(DropClaim{job}) == "ok");
  holder.sync();
  auto stopped = std::make_shared<WrongClock>();
  stopped->stopped_us = system_time().us;
  Skewed late(scene, stopped);
  REQUIRE(late.syncer->claim_next(1, patience).value() == job);
  late.sync();
  std::this_thread::sleep_for(milliseconds{1'100});
  CHECK(late.apply(RenewClaim{job, 60}) == "ok");
  CHECK(late.apply(DropClaim{job}) == "ok");
  late.check_equal(scene);
  CHECK(rejected_codes(late) ==
        std::vector<std::string>{"renew_claim not_claim_holder", "drop_claim not_claim_holder"});
  scene.check_whole();
}

TEST_CASE("a draft expires by each half's clock, and what is claimed is canonical's") {
  Scene scene;
  auto clock = std::make_shared<WrongClock>();
  Skewed device(scene, clock);
  const Uuid user = user_id(1);
  CHECK(device.apply(CreateDraft{id('d', 1), "token", std::nullopt, "old"}) == "ok");
  device.check_equal(scene);
  // Here the first has expired; canonical, where no week has passed, claims both.
  clock->ahead_s = 8 * day_s;
  CHECK(device.apply(UpdateDraft{id('d', 1), "token", std::nullopt, std::string("new")}) ==
        "draft_expired");
  CHECK(device.apply(CreateDraft{id('d', 2), "token", std::nullopt, "new"}) == "ok");
  CHECK(device.apply(ClaimDraft{"token", user}) == "ok");
  device.check_equal(scene);
  CHECK(scene.ask_one("select count(*) from draft_prompts where user_id is not null") == "2");

  // Made long ago, as its clock shows: canonical takes it so, and claims it as of then.
  clock->ahead_s = -8 * day_s;
  CHECK(device.apply(CreateDraft{id('d', 3), "other", std::nullopt, "prompt"}) == "ok");
  CHECK(device.apply(ClaimDraft{"other", user}) == "ok");
  device.check_equal(scene);
  CHECK(rejected_codes(device).empty());
  CHECK(scene.ask_one("select expires_at < clock_timestamp() from draft_prompts where id = '" +
                      id('d', 3).text() + "'") == "t");
}

TEST_CASE("when to try again and when to ask depends on no clock of the device's") {
  Scene scene;
  for (const auto& clock : wrong_clocks()) {
    CAPTURE(clock->name);
    Skewed device(scene, clock);
    device.options.poll_interval = milliseconds{20};
    device.options.backoff_cap = milliseconds{40};
    const std::string there = device.options.conninfo;
    device.options.conninfo += " host=/nowhere";
    device.connect();
    REQUIRE(device.apply(CreateJob{job_id(++scene.jobs), project_id(1), user_id(1)}) == "ok");
    Replica replica(device.mirror.engine());
    const auto began = Clock::now();
    while (replica.state().value()->attempts < 5) {
      const sync::Wait wait = device.syncer->step();
      REQUIRE(wait.timeout <= milliseconds{41});
      REQUIRE(Clock::now() - began < patience);
      std::this_thread::sleep_for(wait.timeout);
    }
    CHECK(replica.state().value()->next_attempt_at > system_time().plus_seconds(-1));
    CHECK(replica.state().value()->next_attempt_at < system_time().plus_seconds(1));

    device.options.conninfo = there;
    device.connect();
    device.check_equal(scene);
    device.syncer->start();
    scene.database.session().ask("update projects set title = '" + clock->name + "'");
    const auto changed = [&] {
      return query(device.mirror.path(), "select title from projects").front() == clock->name;
    };
    while (!changed() && Clock::now() - began < patience)
      std::this_thread::sleep_for(milliseconds{5});
    CHECK(changed());
    device.syncer->stop();
  }
}

}  // namespace
}  // namespace tally::test
