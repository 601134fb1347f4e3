// SpendPolicy::online: an operation waits for canonical's verdict, and has no effect here before.

#include <thread>

#include "sync/world.hpp"

namespace tally::test {
namespace {

using std::chrono::milliseconds;

/// A device whose calls wait for their verdicts; `device` syncs when it is told to.
struct Online {
  explicit Online(World& world, milliseconds verdict_timeout)
      : device(world.device({Capability::author, Capability::worker}, SpendPolicy::online)) {
    options = telling(SpendPolicy::online);
    options.verdict_timeout = verdict_timeout;
    device->options.callbacks.verdict = [this](const SettledOperation& settled) {
      told.push_back(std::string(name_of(settled.verdict.code)));
    };
    reopen(options);
  }
  ~Online() { device->syncer->stop(); }
  void reopen(const Options& with) {
    device->syncer.reset();
    device->mirror.close();
    device->mirror.open(with);
    device->connect();
  }
  std::string apply(int n, const std::string& line) { return test::apply(*device, 'd', n, line); }

  std::unique_ptr<Device> device;
  Options options{};
  std::vector<std::string> told{};
};

TEST_CASE("online: the call answers with canonical's verdict, and its effects are here then") {
  World world;
  Online online(world, patience);
  online.device->syncer->start();
  CHECK(online.apply(1, "reserve_credits user_id=u1 job_id=j1 amount=8") == "ok 2");
  CHECK(online.device->mirror.balance() == 2);
  CHECK(world.balance() == 2);
  CHECK(online.apply(2, "advance_job job_id=j1 to=QUEUED") == "ok 2");
  CHECK(online.apply(3, "finalize_job_credits job_id=j1 final_cost=5") == "ok 5");
  online.device->syncer->stop();
  CHECK(difference(*online.device, *world.canonical) == "");
  world.check_whole();
}

TEST_CASE("online: canonical's balance decides, and a refusal that was answered is not kept") {
  World world;
  Online online(world, patience);
  // The mirror shows 10; canonical has 3 by now.
  CHECK(world.apply("expire_credits user_id=u1 amount=7") == "ok");
  online.device->syncer->start();
  CHECK(online.apply(1, "reserve_credits user_id=u1 job_id=j1 amount=8") ==
        "insufficient_credits 3");
  CHECK(online.apply(2, "reserve_credits user_id=u1 job_id=j9 amount=1") == "job_not_found 3");
  CHECK(online.apply(3, "reserve_credits user_id=u1 job_id=j1 amount=0") == "invalid_amount 3");
  CHECK(online.apply(4,
                     "batch ops=(reserve_credits op_id=e1 user_id=u1 job_id=j1 amount=2 ; "
                     "finalize_job_credits op_id=e2 job_id=j2 final_cost=1)") ==
        "no_reservation 3 index=1");
  CHECK(online.apply(5,
                     "batch ops=(reserve_credits op_id=e3 user_id=u1 job_id=j1 amount=2 ; "
                     "reserve_credits op_id=e4 user_id=u1 job_id=j2 amount=0)") ==
        "invalid_amount 3 index=1");
  CHECK(online.apply(6, "batch ops=(reserve_credits op_id=d6 user_id=u1 job_id=j1 amount=2)") ==
        "operation_conflict 3 index=0");
  online.device->syncer->stop();
  CHECK(rejected_codes(*online.device).empty());
  CHECK(online.device->syncer->run_until_synced(patience).value() == sync::SyncState::synced);
  CHECK(difference(*online.device, *world.canonical) == "");
}

TEST_CASE(
    "online: without a verdict in time it is pending, without effect, and the callback brings it") {
  World world;
  Online online(world, milliseconds{0});
  CHECK(online.apply(1, "reserve_credits user_id=u1 job_id=j1 amount=8") == "pending 10");
  CHECK(online.apply(2, "reserve_credits user_id=u1 job_id=j2 amount=8") == "pending 10");
  CHECK(online.device->mirror.balance() == 10);
  CHECK(online.device->mirror->check(user_id(1))->pending_operations == 2);
  // They survive the process, whatever it spends from next.
  Options optimistic = telling(SpendPolicy::optimistic);
  online.reopen(optimistic);
  CHECK(online.told.empty());
  CHECK(online.apply(3, "update_profile user_id=u1 display_name=N") == "ok 10");
  CHECK(online.device->mirror->check(user_id(1))->pending_operations == 3);
  online.device->sync();
  CHECK(online.told == std::vector<std::string>{"ok", "insufficient_credits"});
  CHECK(online.device->rejected == 1);
  CHECK(rejected_codes(*online.device) ==
        std::vector<std::string>{"reserve_credits insufficient_credits"});
  CHECK(online.device->mirror.balance() == 2);
  CHECK(online.device->mirror->check(user_id(1))->pending_operations == 0);
  CHECK(difference(*online.device, *world.canonical) == "");

  // Retried, it waits again.
  world.apply("add_credits user_id=u1 amount=20 type=grant");
  online.reopen(online.options);
  Replica replica(online.device->mirror.engine());
  const auto retried = replica.retry(replica.rejected()->at(0).number);
  REQUIRE_FALSE(retried.has_value());
  CHECK(retried.error().code == Code::pending);
  CHECK(replica.rejected()->empty());
  online.device->sync();
  CHECK(online.device->mirror.balance() == 14);
  CHECK(difference(*online.device, *world.canonical) == "");
}

TEST_CASE("online: the same op_id again has no second effect and the same answer") {
  World world;
  world.session.ask("insert into draft_prompts (session_token, prompt_text) values ('tok', 'p')");
  Online online(world, patience);
  online.device->syncer->start();
  const std::string claimed = online.apply(1, "claim_draft session_token=tok user_id=u1");
  CHECK(claimed == "ok 10 id=" + world.session.ask_one("select id from draft_prompts"));
  CHECK(online.apply(1, "claim_draft session_token=tok user_id=u1") == claimed);
  CHECK(online.apply(2, "reserve_credits user_id=u1 job_id=j1 amount=2") == "ok 8");
  CHECK(online.apply(2, "reserve_credits user_id=u1 job_id=j1 amount=2") == "ok 8");
  CHECK(online.apply(2, "reserve_credits user_id=u1 job_id=j1 amount=3") == "operation_conflict 8");
  online.device->syncer->stop();
  CHECK(difference(*online.device, *world.canonical) == "");
}

TEST_CASE("online: the one that syncs may be another engine on the file") {
  World world;
  Online online(world, patience);
  online.device->syncer.reset();
  auto other = Engine::open(online.device->mirror.path(), telling(SpendPolicy::optimistic));
  REQUIRE(other.has_value());
  sync::Syncer syncer(*other, online.device->options);
  syncer.start();
  CHECK(online.apply(1, "reserve_credits user_id=u1 job_id=j1 amount=8") == "ok 2");
  CHECK(online.apply(2, "reserve_credits user_id=u1 job_id=j2 amount=8") ==
        "insufficient_credits 2");
  CHECK(rejected_codes(*online.device).empty());
  syncer.stop();
  online.device->connect();
}

TEST_CASE("online: many callers at once each get their own verdict") {
  World world(100);
  Online online(world, patience);
  online.device->syncer->start();
  std::vector<std::thread> callers;
  std::atomic<int> ok{0};
  std::atomic<int> refused{0};
  for (int n = 1; n <= 4; ++n) {
    callers.emplace_back([&, n] {
      for (int i = 0; i < 5; ++i) {
        const auto receipt = online.device->mirror->apply(
            ReserveCredits{user_id(1), job_id(static_cast<std::uint64_t>(n)), Credits{1}});
        if (receipt) ++ok;
        if (!receipt && receipt.error().code == Code::already_reserved) ++refused;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(ok == 4);
  CHECK(refused == 16);
  online.device->syncer->stop();
  CHECK(world.balance() == 96);
  CHECK(difference(*online.device, *world.canonical) == "");
}

TEST_CASE("online: operations of one batch on one job mean the hold that the batch opens") {
  World world;
  Online online(world, patience);
  online.device->syncer->start();
  CHECK(online.apply(1,
                     "batch ops=(reserve_credits op_id=e1 user_id=u1 job_id=j1 amount=4 ; "
                     "advance_job op_id=e2 job_id=j1 to=QUEUED)") == "ok 6");
  CHECK(online.apply(2,
                     "batch ops=(release_job_credits op_id=e3 job_id=j1 ; "
                     "reserve_credits op_id=e4 user_id=u1 job_id=j2 amount=2 ; "
                     "finalize_job_credits op_id=e5 job_id=j2 final_cost=1)") == "ok 9");
  CHECK(online.apply(3,
                     "batch ops=(fail_job op_id=e6 job_id=j1 error_code=E ; "
                     "retry_job op_id=e7 job_id=j1 amount=3 ; "
                     "advance_job op_id=e8 job_id=j1 to=SCRIPTING)") == "ok 6");
  online.device->syncer->stop();
  CHECK(difference(*online.device, *world.canonical) == "");
  world.check_whole();
}

TEST_CASE("online: a user, and what is hers, may be made before any of it has a verdict") {
  World world;
  Device device(*world.canonical, world.database,
                Kind{{Capability::author, Capability::worker, Capability::service},
                     std::nullopt,
                     SpendPolicy::online});
  device.sync();
  for (const char* line : {"create_user user_id=u7 op_id=d1",
                           "create_project project_id=p7 user_id=u7 title=T prompt_text=P "
                           "niche_preset=facts target_minutes=1 op_id=d2",
                           "create_job job_id=j7 project_id=p7 user_id=u7 op_id=d3",
                           "reserve_credits job_id=j7 user_id=u7 amount=3 op_id=d4",
                           "create_user user_id=u7 op_id=d1"})
    CHECK(device.mirror.apply(line) == "pending -");
  CHECK_FALSE(device.mirror->balance(user_id(7)).has_value());
  device.sync();
  CHECK(device.rejected == 0);
  CHECK(device.mirror.balance(7) == 7);
  CHECK(device.mirror->check(user_id(7))->pending_operations == 0);
  CHECK(device.mirror.apply("create_user user_id=u7 op_id=d1") == "ok 7");
  CHECK(difference(device, *world.canonical) == "");
}

TEST_CASE("online: one op_id queued, then applied by who spends otherwise, has one effect") {
  World world;
  Online online(world, milliseconds{0});
  const std::string line = "reserve_credits user_id=u1 job_id=j1 amount=8";
  CHECK(online.apply(1, line) == "pending 10");
  online.reopen(telling(SpendPolicy::optimistic));
  CHECK(online.apply(1, line) == "ok 2");
  CHECK(online.apply(1, "reserve_credits user_id=u1 job_id=j1 amount=7") == "operation_conflict 2");
  online.reopen(online.options);
  CHECK(online.apply(1, line) == "ok 2");
  online.device->sync();
  CHECK(world.balance() == 2);
  CHECK(online.device->mirror.balance() == 2);
  CHECK(online.device->mirror->check(user_id(1))->pending_operations == 0);
  CHECK(rejected_codes(*online.device).empty());
  CHECK(difference(*online.device, *world.canonical) == "");
  CHECK(online.device->mirror.findings() == std::vector<std::string>{});
}

TEST_CASE("online: a call may wait for ever") {
  World world;
  Online online(world, milliseconds::max());
  online.device->syncer->start();
  CHECK(online.apply(1, "reserve_credits user_id=u1 job_id=j1 amount=8") == "ok 2");
}

TEST_CASE("online: a verdict that its callback dismisses is told to the call that waits") {
  World world;
  Online online(world, patience);
  online.device->options.callbacks.rejected = [&](const RejectedOperation& operation) {
    // The call that waits reads it in the file as soon as it is there, and may be the first.
    const auto dismissed = Replica(online.device->mirror.engine()).dismiss(operation.number);
    CHECK((dismissed.has_value() || dismissed.error().code == Code::not_found));
  };
  online.device->connect();
  online.device->syncer->start();
  const auto began = std::chrono::steady_clock::now();
  CHECK(online.apply(1, "reserve_credits user_id=u1 job_id=j1 amount=11") ==
        "insufficient_credits 10");
  CHECK(std::chrono::steady_clock::now() - began < patience / 2);
}

}  // namespace
}  // namespace tally::test
