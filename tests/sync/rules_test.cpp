// What sync promises, one promise a case, with a real PostgreSQL.

#include <SQLiteCpp/Database.h>

#include <atomic>
#include <filesystem>
#include <new>

#include "sync/world.hpp"

namespace tally::test {
namespace {

TEST_CASE(
    "I9: of two devices that spend the same credits offline one is told, and what depended on it "
    "with it") {
  World world;
  auto first = world.device();
  auto second = world.device();
  CHECK(apply(*first, 'f', 1, "reserve_credits user_id=u1 job_id=j1 amount=8").starts_with("ok 2"));
  CHECK(
      apply(*second, 's', 1, "reserve_credits user_id=u1 job_id=j2 amount=8").starts_with("ok 2"));
  CHECK(apply(*second, 's', 2, "advance_job job_id=j2 to=QUEUED").starts_with("ok"));
  CHECK(apply(*second, 's', 3,
              "create_voice_profile voice_profile_id=v1 user_id=u1 name=N audio_path=A")
            .starts_with("ok"));
  first->sync();
  second->sync();
  CHECK(rejected_codes(*first).empty());
  CHECK(rejected_codes(*second) == std::vector<std::string>{"reserve_credits insufficient_credits",
                                                            "advance_job stale_reservation"});
  CHECK(second->rejected == 2);
  CHECK(second->mirror.balance() == 2);
  CHECK(difference(*second, *world.canonical) == "");
  first->sync();
  CHECK(difference(*first, *world.canonical) == "");
  world.check_whole();

  // Retried once there is enough: it means the job as it is then.
  world.apply("add_credits user_id=u1 amount=20 type=grant");
  second->sync();
  Replica replica(second->mirror.engine());
  CHECK(replica.retry(replica.rejected()->at(0).number).has_value());
  CHECK(replica.retry(replica.rejected()->at(0).number).has_value());
  CHECK(replica.rejected()->empty());
  second->sync();
  CHECK(rejected_codes(*second).empty());
  CHECK(world.session.ask_one("select status from jobs where id = '" + job_id(2).text() + "'") ==
        "QUEUED");
  CHECK(difference(*second, *world.canonical) == "");
}

TEST_CASE("I8: what the web writes plainly arrives, and what it deletes goes") {
  World world;
  auto device = world.device();
  CHECK(difference(*device, *world.canonical) == "");
  world.session.ask(
      "update projects set title = 'Other'; update jobs set status_message = 'm' where id = '" +
      job_id(1).text() + "'; insert into credit_ledger (user_id, type, amount) values ('" +
      user_id(1).text() + "', 'purchase', 7); delete from jobs where id = '" + job_id(2).text() +
      "'; insert into draft_prompts (session_token, user_id, prompt_text) values ('t', '" +
      user_id(1).text() + "', 'p'); update auth.users set email = 'new@x'");
  world.session.ask("insert into assets (job_id, type, url, storage_path) values ('" +
                    job_id(3).text() + "', 'video', 'u', 's')");
  device->sync();
  CHECK(difference(*device, *world.canonical) == "");
  CHECK(device->mirror.balance() == 17);
  world.session.ask("delete from assets; delete from draft_prompts; delete from projects");
  device->sync();
  CHECK(difference(*device, *world.canonical) == "");
  CHECK(device->mirror->jobs(user_id(1))->empty());
}

TEST_CASE(
    "a pending operation that no longer applies is blocked, keeps its place, and canonical's "
    "verdict decides") {
  World world;
  auto device = world.device();
  CHECK(apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j1 amount=8").starts_with("ok"));
  CHECK(apply(*device, 'd', 2, "advance_job job_id=j1 to=QUEUED").starts_with("ok"));
  world.apply("expire_credits user_id=u1 amount=5");
  device->options.operations_max = 1;
  device->connect();
  std::size_t blocked = 0;
  device->options.callbacks.progress = [&](std::int64_t, std::int64_t) {
    Replica replica(device->mirror.engine());
    blocked = std::max(blocked, static_cast<std::size_t>((*replica.state())->blocked));
  };
  device->connect();
  device->sync();
  CHECK(blocked == 1);
  CHECK(rejected_codes(*device) == std::vector<std::string>{"reserve_credits insufficient_credits",
                                                            "advance_job stale_reservation"});
  CHECK(difference(*device, *world.canonical) == "");
}

TEST_CASE("I6: an operation that another device had applied before is ok, once") {
  World world(30);
  auto first = world.device();
  auto second = world.device();
  const std::string line =
      "reserve_credits user_id=u1 job_id=j1 amount=8 op_id=x1 at=\"2026-01-18T00:10:00.000000Z\"";
  CHECK(first->mirror.apply(line).starts_with("ok"));
  CHECK(second->mirror.apply(line).starts_with("ok"));
  first->sync();
  second->sync();
  CHECK(world.balance() == 22);
  CHECK(second->mirror.balance() == 22);
  CHECK(rejected_codes(*second).empty());
  CHECK(difference(*second, *world.canonical) == "");
  CHECK(second->mirror.apply(line).starts_with("ok"));
}

TEST_CASE("I6: one that another device had applied before has no effect on what came after it") {
  World world(30);
  auto first = world.device();
  auto second = world.device();
  const std::string line =
      "update_project project_id=p1 user_id=u1 title=A op_id=x1 "
      "at=\"2026-01-18T00:10:00.000000Z\"";
  CHECK(first->mirror.apply(line).starts_with("ok"));
  first->sync();
  CHECK(world.apply("update_project project_id=p1 user_id=u1 title=B") == "ok");
  second->sync();
  CHECK(second->mirror.apply(line).starts_with("ok"));
  second->sync();
  CHECK(rejected_codes(*second).empty());
  CHECK(difference(*second, *world.canonical) == "");
}

// ---- leases
// --------------------------------------------------------------------------------------

TEST_CASE("I11: what is drawn on a lease never bounces, whatever else is spent meanwhile") {
  World world(50);
  auto device = world.device({Capability::author, Capability::worker}, SpendPolicy::leased);
  CHECK(apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j1 amount=5")
            .starts_with("insufficient_credits"));
  CHECK(apply(*device, 'd', 2, "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=2000000")
            .starts_with("ok"));
  device->sync();
  CHECK(world.balance() == 30);
  // All that is left goes elsewhere.
  CHECK(world.apply("expire_credits user_id=u1 amount=30") == "ok");
  CHECK(apply(*device, 'd', 3, "reserve_credits user_id=u1 job_id=j1 amount=12").starts_with("ok"));
  CHECK(apply(*device, 'd', 4, "reserve_credits user_id=u1 job_id=j2 amount=12")
            .starts_with("insufficient_credits"));
  CHECK(apply(*device, 'd', 5, "finalize_job_credits job_id=j1 final_cost=15").starts_with("ok"));
  CHECK(apply(*device, 'd', 6, "reserve_credits user_id=u1 job_id=j2 amount=5").starts_with("ok"));
  CHECK(apply(*device, 'd', 7, "release_job_credits job_id=j2").starts_with("ok"));
  // What came back is drawn on again only when canonical has shown it in the lease.
  CHECK(apply(*device, 'd', 8, "reserve_credits user_id=u1 job_id=j3 amount=5")
            .starts_with("insufficient_credits"));
  device->sync();
  CHECK(rejected_codes(*device).empty());
  CHECK(difference(*device, *world.canonical) == "");
  CHECK(world.notes() ==
        std::vector<std::string>{
            "Welcome bonus: 10 trial credits 10", "grant 40", "Leased to device -20", "expire -30",
            "Drawn from lease 12", "Reserved for job -12", "Drawn from lease 3",
            "Reservation converted to usage 12", "Video generation -15", "Drawn from lease 5",
            "Reserved for job -5", "Job failed - credits released 5", "Back to lease -5"});
  CHECK(apply(*device, 'd', 9, "reserve_credits user_id=u1 job_id=j3 amount=5").starts_with("ok"));
  // Returned: from the call on nothing is drawn.
  CHECK(apply(*device, 'd', 10, "fail_job job_id=j3 error_code=E").starts_with("ok"));
  CHECK(apply(*device, 'd', 11, "return_lease lease_id=l1").starts_with("ok"));
  CHECK(apply(*device, 'd', 11, "return_lease lease_id=l1").starts_with("ok"));  // I6, here
  CHECK(apply(*device, 'd', 12, "reserve_credits user_id=u1 job_id=j4 amount=1")
            .starts_with("insufficient_credits"));
  device->sync();
  CHECK(world.balance() == 5);
  CHECK(rejected_codes(*device).empty());
  CHECK(difference(*device, *world.canonical) == "");
  world.check_whole();
}

TEST_CASE("a lease is filled up when it falls below the low water, as far as the balance goes") {
  World world(50);
  auto device = world.device({Capability::author, Capability::worker}, SpendPolicy::leased);
  device->options.lease = LeaseTarget{Credits{20}, Credits{10}, std::chrono::hours{700}};
  device->connect();
  const auto unspent = [&] {
    const auto leases = Replica(device->mirror.engine()).leases();
    REQUIRE(leases.has_value());
    return leases->empty() ? -1 : leases->front().unspent.value;
  };
  device->sync();
  CHECK(unspent() == 20);
  CHECK(world.balance() == 30);
  CHECK(apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j1 amount=10").starts_with("ok"));
  device->sync();
  CHECK(unspent() == 10);
  CHECK(apply(*device, 'd', 2, "reserve_credits user_id=u1 job_id=j2 amount=1").starts_with("ok"));
  device->sync();
  CHECK(unspent() == 20);
  CHECK(world.balance() == 19);
  // Canonical has less by now than the mirror knows: refused, told, and not kept.
  CHECK(world.apply("expire_credits user_id=u1 amount=18") == "ok");
  CHECK(apply(*device, 'd', 3, "reserve_credits user_id=u1 job_id=j3 amount=15").starts_with("ok"));
  device->sync();
  CHECK(device->rejected == 1);
  CHECK(rejected_codes(*device).empty());
  CHECK(unspent() == 5);
  const Uuid lease = Replica(device->mirror.engine()).leases()->front().lease_id;
  CHECK(device->mirror->apply(ReturnLease{lease}).has_value());
  device->sync();
  CHECK(device->bounces == 0);
  CHECK(difference(*device, *world.canonical) == "");
  world.check_whole();
}

TEST_CASE("a device whose clock is ahead does not renew its lease with every call") {
  World world(50);
  auto device = world.device({Capability::author, Capability::worker}, SpendPolicy::leased);
  Options ahead = telling(SpendPolicy::leased);
  ahead.clock = [] {
    const auto now = std::chrono::system_clock::now() + std::chrono::seconds{1'500};
    return Timestamp{
        std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count()};
  };
  device->syncer.reset();
  device->mirror.close();
  device->mirror.open(ahead);
  // By its clock less than a quarter is always left.
  device->options.lease = LeaseTarget{Credits{20}, Credits{10}, std::chrono::seconds{1'800}};
  device->connect();
  for (int n = 0; n < 5; ++n) device->sync();
  CHECK(world.balance() >= 28);
  CHECK(rejected_codes(*device).empty());
  CHECK(difference(*device, *world.canonical) == "");
}

TEST_CASE("what a blocked operation drew on the lease is not drawn once more") {
  World world(50);
  auto device = world.device({Capability::author, Capability::worker}, SpendPolicy::leased);
  CHECK(apply(*device, 'd', 1, "lease_credits lease_id=l1 user_id=u1 amount=8 ttl=2000000")
            .starts_with("ok"));
  device->sync();
  CHECK(apply(*device, 'd', 2,
              "create_voice_profile voice_profile_id=v1 user_id=u1 name=N "
              "audio_path=A")
            .starts_with("ok"));
  CHECK(apply(*device, 'd', 3, "reserve_credits user_id=u1 job_id=j1 amount=5").starts_with("ok"));
  CHECK(world.apply("reserve_credits user_id=u1 job_id=j1 amount=42") == "ok");
  device->options.operations_max = 1;
  bool blocked = false;
  device->options.callbacks.progress = [&](std::int64_t, std::int64_t pending) {
    if (pending == 0 || std::exchange(blocked, true)) return;
    CHECK((*Replica(device->mirror.engine()).state())->blocked == 1);
    CHECK(apply(*device, 'd', 4, "reserve_credits user_id=u1 job_id=j2 amount=6")
              .starts_with("insufficient_credits"));
    CHECK(
        apply(*device, 'd', 5, "reserve_credits user_id=u1 job_id=j2 amount=3").starts_with("ok"));
    // The job is free again, and all else is spent: both holds are covered by the lease alone.
    CHECK(world.apply("release_job_credits job_id=j1") == "ok");
    CHECK(world.apply("expire_credits user_id=u1 amount=42") == "ok");
  };
  device->connect();
  device->sync();
  CHECK(blocked);
  CHECK(rejected_codes(*device).empty());
  CHECK(world.balance() == 0);
  CHECK(difference(*device, *world.canonical) == "");
  world.check_whole();
}

TEST_CASE("what is pushed after a lease was written off is judged against the balance") {
  World world(50);
  auto device = world.device({Capability::author, Capability::worker}, SpendPolicy::leased);
  CHECK(apply(*device, 'd', 1, "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=2000000")
            .starts_with("ok"));
  device->sync();
  CHECK(apply(*device, 'd', 2, "reserve_credits user_id=u1 job_id=j1 amount=12").starts_with("ok"));
  CHECK(apply(*device, 'd', 3, "reserve_credits user_id=u1 job_id=j2 amount=8").starts_with("ok"));
  CHECK(world.canonical->write_off(id('l', 1))->value == 20);
  CHECK(world.apply("expire_credits user_id=u1 amount=35") == "ok");
  device->sync();
  CHECK(world.balance() == 3);
  CHECK(rejected_codes(*device) == std::vector<std::string>{"reserve_credits lease_reclaimed"});
  CHECK(difference(*device, *world.canonical) == "");
  CHECK(!world.canonical->write_off(id('l', 1)).has_value());
  world.check_whole();
}

// ---- copies
// --------------------------------------------------------------------------------------

/// The mirror's file as it is, put aside; and back.
void copy_mirror(TemporaryMirror& mirror, const std::string& from, const std::string& to) {
  mirror.close();
  for (const char* end : {"", "-wal", "-shm"}) {
    const std::filesystem::path source = mirror.path().string() + from + end;
    const std::filesystem::path target = mirror.path().string() + to + end;
    std::filesystem::remove(target);
    if (std::filesystem::exists(source)) std::filesystem::copy_file(source, target);
  }
  mirror.open();
}

Code sync_failure(Device& device) {
  const auto done = device.syncer->run_until_synced(std::chrono::seconds(5));
  return done ? Code::ok : done.error().code;
}

TEST_CASE(
    "a mirror that was restored from a copy is found out, spends nothing twice, and is enrolled "
    "anew") {
  World world(50);
  auto device = world.device({Capability::author, Capability::worker}, SpendPolicy::leased);
  CHECK(apply(*device, 'd', 1, "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=2000000")
            .starts_with("ok"));
  device->sync();
  device->syncer.reset();
  copy_mirror(device->mirror, "", ".copy");
  device->connect();
  CHECK(apply(*device, 'd', 2, "reserve_credits user_id=u1 job_id=j1 amount=20").starts_with("ok"));
  device->sync();
  const std::int64_t before = world.balance();

  device->syncer.reset();
  copy_mirror(device->mirror, ".copy", "");
  device->connect();
  CHECK(apply(*device, 'e', 2, "reserve_credits user_id=u1 job_id=j2 amount=20").starts_with("ok"));
  CHECK(sync_failure(*device) == Code::device_forked);
  CHECK(world.balance() == before);
  world.check_whole();

  // Anew: what it had not pushed is kept for the host.
  Replica replica(device->mirror.engine());
  const auto made = world.canonical->add_device(
      {.name = "again", .capabilities = device->kind.capabilities, .scope = device->kind.scope});
  REQUIRE(made.has_value());
  CHECK(replica.enrol_anew({made->device_id, device->kind.capabilities, device->kind.scope})
            .has_value());
  device->options.token = made->token;
  device->syncer.reset();
  device->mirror.reopen();
  device->connect();
  device->sync();
  CHECK(rejected_codes(*device) == std::vector<std::string>{"reserve_credits device_forked"});
  CHECK(difference(*device, *world.canonical) == "");
}

TEST_CASE("a project whose deletion is rejected is back, also where another was made meanwhile") {
  World world;
  const auto device = world.device();
  CHECK(world.apply("reserve_credits user_id=u1 job_id=j1 amount=5") == "ok");
  CHECK(apply(*device, 'd', 1, "delete_project project_id=p1 user_id=u1").starts_with("ok"));
  CHECK(apply(*device, 'd', 2,
              "create_project project_id=p2 user_id=u1 title=T prompt_text=P niche_preset=facts "
              "target_minutes=1")
            .starts_with("ok"));
  device->sync();
  CHECK(rejected_codes(*device) == std::vector<std::string>{"delete_project illegal_transition"});
  CHECK(difference(*device, *world.canonical) == "");
}

TEST_CASE("a mirror that is enrolled anew counts none of what it had as pending") {
  World world;
  const auto device = world.device();
  CHECK(apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j1 amount=2").starts_with("ok"));
  device->syncer.reset();
  const auto pending = [&] { return device->mirror->check(user_id(1))->pending_operations; };
  CHECK(pending() == 1);
  REQUIRE(Replica(device->mirror.engine())
              .enrol_anew({id('x', 9), {Capability::author, Capability::worker}, user_id(1)}));
  CHECK(pending() == 0);
  CHECK(apply(*device, 'd', 2, "reserve_credits user_id=u1 job_id=j2 amount=1").starts_with("ok"));
  CHECK(pending() == 1);
  CHECK(device->mirror.findings() == std::vector<std::string>{});
}

TEST_CASE("an op_id that is queued twice is pushed twice, whatever the first has become") {
  World world;
  const auto device = world.device({Capability::author, Capability::worker}, SpendPolicy::online);
  device->options.operations_max = 1;
  device->connect();
  (void)apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j1 amount=2");
  (void)apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j2 amount=3");
  device->sync();
  CHECK(rejected_codes(*device) == std::vector<std::string>{"reserve_credits operation_conflict"});
  CHECK(difference(*device, *world.canonical) == "");
}

TEST_CASE("an old copy without anything to push is found out, too") {
  World world;
  auto device = world.device();
  device->syncer.reset();
  copy_mirror(device->mirror, "", ".copy");
  device->connect();
  CHECK(apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j1 amount=2").starts_with("ok"));
  device->sync();
  device->syncer->run_until_synced(patience).value();
  device->syncer.reset();
  copy_mirror(device->mirror, ".copy", "");
  device->connect();
  CHECK(sync_failure(*device) == Code::device_forked);
}

TEST_CASE("a mirror does not take another file's verdict as its own operation's") {
  World world(50);
  auto device = world.device();
  // Its call has nothing to push when it is sent, and something under the number that the answer
  // has a verdict on when it is taken: a copy pushed meanwhile.
  Replica replica(device->mirror.engine());
  const auto push = replica.next_push(100, 1'000'000);
  REQUIRE(push.has_value());
  CHECK(apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j1 amount=2").starts_with("ok"));
  Reply reply;
  reply.acked = push->acked;
  reply.asked = push->cursor;
  reply.subscriptions = push->subscriptions;
  reply.watermark = push->acked + 1;
  reply.verdicts = {{reply.watermark, Code::ok, {}, {}}};
  const auto taken = replica.take(reply);
  REQUIRE(!taken.has_value());
  CHECK(taken.error().code == Code::device_forked);
  CHECK(device->mirror->pending_operations().value() == 1);
}

TEST_CASE("a canonical that is behind what a device has confirmed is not pushed to") {
  World world;
  auto device = world.device();
  CHECK(apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j1 amount=2").starts_with("ok"));
  device->sync();
  // As after a restored backup.
  world.session.ask(
      "update tally_sync.devices set watermark = 0, confirmed = 0, chain = '', confirmed_chain = "
      "''");
  CHECK(sync_failure(*device) == Code::history_lost);
}

// ---- devices
// -------------------------------------------------------------------------------------

TEST_CASE("a token that is unknown or ended pauses, and the queue is kept") {
  World world;
  auto device = world.device();
  CHECK(apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j1 amount=2").starts_with("ok"));
  const std::string token = device->options.token;
  device->options.token = "tally_nonsense";
  device->connect();
  CHECK(sync_failure(*device) == Code::unauthorized);
  CHECK(device->mirror->pending_operations().value() == 1);
  CHECK(device->syncer->step().state == sync::SyncState::paused);
  device->syncer->resume(token);
  device->sync();
  CHECK(world.balance() == 8);
  Replica replica(device->mirror.engine());
  CHECK(world.canonical->revoke_device((*replica.state())->enrolment.device_id).has_value());
  CHECK(sync_failure(*device) == Code::unauthorized);
}

TEST_CASE("memory that runs out on the thread of start() ends a step, not the process") {
  World world;
  auto device = world.device();
  std::atomic<int> steps{0};
  // In the midst of a step, as an allocation might.
  device->options.callbacks.state = [&](sync::SyncState, sync::ErrorClass, std::string_view) {
    if (steps++ == 0) throw std::bad_alloc();
  };
  device->connect();
  CHECK(apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j1 amount=2").starts_with("ok"));
  device->syncer->start();
  CHECK(eventually([&] { return world.balance() == 8; }));
  device->syncer->stop();
  CHECK(steps > 1);
}

TEST_CASE("a worker is fed no address, profile or draft, and may do a worker's work alone") {
  World world(50);
  world.session.ask(
      "insert into draft_prompts (session_token, user_id, prompt_text) values ('t', '" +
      user_id(1).text() + "', 'p')");
  CHECK(world.apply("reserve_credits user_id=u1 job_id=j1 amount=10") == "ok");
  CHECK(world.apply("advance_job job_id=j1 to=QUEUED") == "ok");
  auto device = world.device({Capability::worker});
  CHECK(query(device->mirror.path(), "select count(*) from profiles") ==
        std::vector<std::string>{"0"});
  CHECK(query(device->mirror.path(), "select count(*) from draft_prompts") ==
        std::vector<std::string>{"0"});
  CHECK(query(device->mirror.path(), "select coalesce(email, 'none') from users") ==
        std::vector<std::string>{"none"});
  CHECK(apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j2 amount=1")
            .starts_with("not_permitted"));
  CHECK(apply(*device, 'd', 2, "advance_job job_id=j1 to=SCRIPTING").starts_with("ok"));
  CHECK(apply(*device, 'd', 3, "finalize_job_credits job_id=j1 final_cost=11")
            .starts_with("not_permitted"));
  CHECK(apply(*device, 'd', 4, "finalize_job_credits job_id=j1 final_cost=10").starts_with("ok"));
  CHECK(apply(*device, 'd', 5, "sweep grace=1").starts_with("not_permitted"));
  device->sync();
  CHECK(rejected_codes(*device).empty());
  CHECK(difference(*device, *world.canonical) == "");
}

TEST_CASE("a claim keeps other devices from a job until it ends") {
  World world(50);
  CHECK(world.apply("reserve_credits user_id=u1 job_id=j1 amount=10") == "ok");
  CHECK(world.apply("advance_job job_id=j1 to=QUEUED") == "ok");
  auto first = world.device();
  auto second = world.device();
  const auto claimed = first->syncer->claim_next(1'000, patience);
  REQUIRE(claimed.has_value());
  CHECK(*claimed == job_id(1));
  CHECK(!second->syncer->claim_next(1'000, patience)->has_value());
  const std::string now = " at=\"" +
                          Timestamp{std::chrono::duration_cast<std::chrono::microseconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count()}
                              .text() +
                          "\"";
  second->sync();
  CHECK(apply(*second, 's', 1, "advance_job job_id=j1 to=SCRIPTING" + now)
            .starts_with("not_claim_holder"));
  first->sync();
  CHECK(apply(*first, 'f', 1, "advance_job job_id=j1 to=SCRIPTING" + now).starts_with("ok"));
  CHECK(apply(*first, 'f', 2, "drop_claim job_id=j1" + now).starts_with("ok"));
  first->sync();
  second->sync();
  CHECK(apply(*second, 's', 2, "advance_job job_id=j1 to=VOICE_GEN" + now).starts_with("ok"));
  second->sync();
  CHECK(rejected_codes(*first).empty());
  CHECK(rejected_codes(*second).empty());
  CHECK(difference(*second, *world.canonical) == "");
}

TEST_CASE("a mirror that worked before it was enrolled pushes what it did") {
  World world;
  auto device = std::make_unique<Device>(*world.canonical, world.database, Kind{});
  CHECK(apply(*device, 'd', 1, "create_user user_id=u2 email=bob@x").starts_with("ok"));
  CHECK(apply(*device, 'd', 2, "create_user user_id=u3 email=ann@x").starts_with("ok"));
  CHECK(apply(*device, 'd', 3, "add_credits user_id=u3 amount=5 type=grant").starts_with("ok"));
  device->sync();
  CHECK(rejected_codes(*device) ==
        std::vector<std::string>{"create_user user_exists", "add_credits user_not_found"});
  CHECK(!device->mirror->balance(user_id(3)).has_value());
  CHECK(device->mirror.balance(2) == 10);
  CHECK(difference(*device, *world.canonical) == "");
}

/// The device's mirror is one that version 1 wrote, with eleven operations pending.
void become_version_1(Device& device) {
  device.syncer.reset();
  device.mirror.close();
  for (const char* end : {"", "-wal", "-shm"})
    std::filesystem::remove(device.mirror.path().string() + end);
  SQLite::Database(device.mirror.path().string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE)
      .exec(read_source("tests/sync/mirror_v1.sql"));
  device.mirror.open();
  CHECK(device.mirror->pending_operations().value() == 11);
  CHECK(device.mirror.balance() == 41);
  device.connect();
}

TEST_CASE("a mirror of version 1 with pending operations is upgraded, pushes them, and converges") {
  World world;
  Device device(*world.canonical, world.database, Kind{});
  become_version_1(device);
  device.sync();
  // u1 and its job are canonical's already, made by others: their own ids decide.
  CHECK(difference(device, *world.canonical) == "");
  CHECK(device.mirror->pending_operations().value() == 0);
  for (const std::string& finding : device.mirror.findings()) CHECK_MESSAGE(false, finding);
  world.check_whole();

  // On a canonical that knows nothing of it all of it is new, and all of it is ok.
  Database fresh;
  fresh.migrate();
  auto canonical = sync::Canonical::connect(fresh.conninfo());
  REQUIRE(canonical.has_value());
  Device other(*canonical, fresh, Kind{});
  become_version_1(other);
  other.sync();
  CHECK(rejected_codes(other).empty());
  CHECK(other.mirror.balance() == 41);
  CHECK(difference(other, *canonical) == "");
}

TEST_CASE("the verdicts on what a mirror of version 1 did take no entry that was fed before them") {
  World world;
  std::vector<std::string> lines;
  for (int n = 1; n <= 200; ++n)  // Before u1, and as many as the first answer tells of.
    lines.push_back(world.lines.line("create_user user_id=a" + std::to_string(n)));
  REQUIRE(world.canonical->apply(lines).has_value());
  Device device(*world.canonical, world.database, Kind{});
  become_version_1(device);
  device.sync();
  CHECK(device.mirror.balance() == world.balance());
  CHECK(device.mirror.findings().empty());
  CHECK(query(device.mirror.path(), "select count(*) from credit_ledger") ==
        world.session.ask("select count(*) from credit_ledger"));
}

TEST_CASE("a mirror of version 1 that is enrolled anew has no entry, and retries what it did") {
  World world;
  Device device(*world.canonical, world.database, Kind{});
  become_version_1(device);
  Replica replica(device.mirror.engine());
  REQUIRE(replica.enrol({id('x', 1), device.kind.capabilities, std::nullopt}));
  REQUIRE(replica.enrol_anew({id('x', 2), device.kind.capabilities, std::nullopt}));
  CHECK(query(device.mirror.path(), "select e from tally_entry").empty());
  CHECK(query(device.mirror.path(), "select o from tally_operation").empty());
  CHECK(device.mirror.findings().empty());
  const auto rejected = replica.rejected();
  REQUIRE(rejected->size() == 11);
  CHECK(std::holds_alternative<CreateDraft>(rejected->at(9).command.operation));
  CHECK(replica.retry(rejected->at(9).number).has_value());
  CHECK(device.mirror->pending_operations().value() == 1);
}

TEST_CASE("a mirror that differs from canonical is found by its digest, and fed anew") {
  World world;
  auto device = world.device();
  device->mirror.close();
  tamper(device->mirror.path(),
         "update tally_project set title = 'Forged'; update tally_profile set display_name = 'x'");
  device->mirror.open();
  device->connect();
  CHECK(!device->syncer->verify(user_id(1), patience).value());
  CHECK(device->diverged == 1);
  device->sync();
  CHECK(device->syncer->verify(user_id(1), patience).value());
  CHECK(difference(*device, *world.canonical) == "");
}

TEST_CASE("the status never says synced while something is pending or rejected") {
  World world;
  auto device = world.device();
  CHECK(device->syncer->run_until_synced(patience).value() == sync::SyncState::synced);
  world.apply("expire_credits user_id=u1 amount=5");
  CHECK(apply(*device, 'd', 1, "reserve_credits user_id=u1 job_id=j1 amount=8").starts_with("ok"));
  CHECK(device->syncer->step().state != sync::SyncState::synced);
  CHECK(device->syncer->run_until_synced(patience).value() == sync::SyncState::idle);
  Replica replica(device->mirror.engine());
  CHECK(replica.dismiss(replica.rejected()->at(0).number).has_value());
  CHECK(!replica.dismiss(77).has_value());
  CHECK(device->syncer->run_until_synced(patience).value() == sync::SyncState::synced);
}

}  // namespace
}  // namespace tally::test
