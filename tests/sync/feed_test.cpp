// What a device over all users is fed: those it subscribes to, each change once, and compared.

#include "sync/world.hpp"

namespace tally::test {
namespace {

/// User u1 as everywhere, and users u2 and u3 with a project each.
struct Users : World {
  Users() {
    for (const std::string n : {"2", "3"}) {
      apply("create_user user_id=u" + n);
      apply("create_project project_id=p" + n + " user_id=u" + n +
            " title=T prompt_text=P niche_preset=facts target_minutes=1");
    }
    for (int n = 0; n < 2; ++n) {
      devices.push_back(std::make_unique<Device>(*canonical, database, Kind{}));
      devices.back()->mirror.lines = lines;
      devices.back()->sync();
    }
  }
  std::vector<std::unique_ptr<Device>> devices{};
};

std::vector<Uuid> users_of(Device& device) { return device.mirror->users().value(); }

TEST_CASE("a device over all users is fed those it subscribes to, and the others go") {
  Users world;
  Device& device = *world.devices[0];
  Replica replica(device.mirror.engine());
  CHECK(users_of(device).size() == 3);
  CHECK_FALSE(replica.subscriptions()->has_value());

  REQUIRE(replica.subscribe(std::vector{user_id(2), user_id(9)}).has_value());
  device.sync();
  CHECK(users_of(device) == std::vector{user_id(2)});
  CHECK(device.mirror->rows("projects")->size() == 1);
  CHECK(apply(device, 'd', 1, "reserve_credits user_id=u1 job_id=j1 amount=1")
            .starts_with("job_not_found"));
  // What others do to who is not subscribed to is not fed; to who is, it is.
  world.apply("add_credits user_id=u1 amount=5 type=grant");
  world.apply("add_credits user_id=u2 amount=5 type=grant");
  device.sync();
  CHECK(users_of(device) == std::vector{user_id(2)});
  CHECK(device.mirror.balance(2) == 15);
  // A user who is made later, too.
  world.apply("create_user user_id=u9");
  device.sync();
  CHECK(users_of(device) == std::vector{user_id(2), user_id(9)});

  REQUIRE(replica.subscribe(std::nullopt).has_value());
  device.sync();
  CHECK(users_of(device).size() == 4);
  CHECK(difference(device, *world.canonical) == "");
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("who has something pending cannot be unsubscribed from, nor the one user of a device") {
  Users world;
  Device& device = *world.devices[0];
  Replica replica(device.mirror.engine());
  CHECK(apply(device, 'd', 1, "update_profile user_id=u1 display_name=N").starts_with("ok"));
  const auto refused = replica.subscribe(std::vector{user_id(2)});
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == Code::illegal_transition);
  CHECK_FALSE(replica.subscriptions()->has_value());
  device.sync();
  CHECK(replica.subscribe(std::vector{user_id(2)}).has_value());

  auto scoped = world.device();
  Replica of_one(scoped->mirror.engine());
  const auto wrong = of_one.subscribe(std::vector{user_id(1)});
  REQUIRE_FALSE(wrong.has_value());
  CHECK(wrong.error().code == Code::invalid_argument);
}

TEST_CASE("what a device did is told to it once, and what comes behind it is not passed by") {
  Users world;
  Device& device = *world.devices[0];
  Device& other = *world.devices[1];
  std::size_t changed = 0;
  device.options.callbacks.changed = [&](const std::vector<Uuid>& users) {
    changed += users.size();
  };
  device.connect();
  device.sync();
  CHECK(changed == 0);
  for (int n = 1; n <= 4; ++n) {
    CHECK(apply(device, 'd', n, "add_credits user_id=u1 amount=1 type=grant").starts_with("ok"));
    device.sync();
    device.sync();
    if (n % 2 == 1) {
      CHECK(apply(other, 'o', n, "add_credits user_id=u1 amount=1 type=grant").starts_with("ok"));
      other.sync();
    }
  }
  device.sync();
  CHECK(device.mirror.balance() == 16);
  // Told of were the other's two.
  CHECK(changed == 2);
  CHECK(difference(device, *world.canonical) == "");
}

/// Transactions that stay open; each has an id and does nothing but what it is told to.
struct OpenTransactions {
  OpenTransactions(const World& world, int count) {
    for (int n = 0; n < count; ++n) {
      sessions.push_back(world.database.session());
      sessions.back().ask("begin; select pg_current_xact_id()");
    }
  }
  void grant(std::uint64_t user) {
    sessions.back().ask("select add_credits('" + user_id(user).text() + "', 5, 'grant', null)");
  }
  void commit() {
    for (Session& session : sessions) session.ask("commit");
  }
  std::vector<Session> sessions{};
};

TEST_CASE("a transaction that stays open has nothing told twice, or kept from being judged") {
  Users world;
  Database elsewhere;
  Device& device = *world.devices[0];
  device.options.rows_max = 5;
  std::size_t changed = 0, calls = 0;
  device.options.callbacks.changed = [&](const std::vector<Uuid>& users) {
    changed += users.size();
  };
  device.options.callbacks.progress = [&](std::int64_t, std::int64_t) { ++calls; };
  device.connect();
  device.sync();
  Session open = elsewhere.session();
  open.ask("begin; select pg_current_xact_id()");

  for (int n = 1; n <= 10; ++n) {
    CHECK(apply(device, 'd', n, "add_credits user_id=u1 amount=1 type=grant").starts_with("ok"));
    REQUIRE(device.syncer->run_until_synced(std::chrono::seconds{5}).has_value());
  }
  for (int n = 1; n <= 10; ++n) world.apply("add_credits user_id=u1 amount=1 type=grant");
  device.sync();
  changed = calls = 0;
  device.sync();
  CHECK(changed == 0);
  CHECK(apply(device, 'd', 11, "add_credits user_id=u1 amount=1 type=grant").starts_with("ok"));
  REQUIRE(device.syncer->run_until_synced(std::chrono::seconds{5}).has_value());
  CHECK(calls <= 3);
  CHECK(difference(device, *world.canonical) == "");
}

TEST_CASE("I10: of many transactions that stay open none is passed by when it commits") {
  Users world;
  Device& device = *world.devices[0];
  for (const int count : {1, 16, 20}) {
    CAPTURE(count);
    OpenTransactions open(world, count);
    open.grant(2);
    for (int n = 0; n < 3; ++n) {
      world.apply("add_credits user_id=u1 amount=1 type=grant");
      world.apply("add_credits user_id=u3 amount=1 type=grant");
      device.sync();
    }
    open.commit();
    device.sync();
    CHECK(difference(device, *world.canonical) == "");
  }
}

TEST_CASE(
    "a canonical that was restored goes on from no cursor of before, though its answer is lost") {
  Users world;
  auto device = world.device();
  const std::string cursor = *(*Replica(device->mirror.engine()).state())->cursor;
  const auto since = [&] {
    return world.session.ask_one("select fields[1] from tally_sync.sync(1, '" +
                                 device->options.token + "', 0, '', '{}', '{}', '{}', '" + cursor +
                                 "') where part = 'user'");
  };
  CHECK(since() != "0");
  // The backup is of before the device's first call.
  world.session.ask("update tally_sync.devices set calls = 0");
  CHECK(since() == "0");
  CHECK(since() == "0");
  CHECK(since() == "0");
}

TEST_CASE("what is subscribed to while an answer is on its way is what is fed") {
  Users world;
  Device& device = *world.devices[0];
  Replica replica(device.mirror.engine());
  world.apply("add_credits user_id=u1 amount=5 type=grant");
  while (device.syncer->step().state != sync::SyncState::syncing) {
  }
  REQUIRE(replica.subscribe(std::vector{user_id(2)}).has_value());
  device.sync();
  CHECK(users_of(device) == std::vector{user_id(2)});
  // Also when that is asked for from the start.
  REQUIRE(replica.subscribe(std::vector{user_id(3)}).has_value());
  while (device.syncer->step().state != sync::SyncState::syncing) {
  }
  REQUIRE(replica.subscribe(std::nullopt).has_value());
  device.sync();
  CHECK(users_of(device).size() == 3);
  CHECK(difference(device, *world.canonical) == "");
}

TEST_CASE("the host hears of jobs that end elsewhere, once, but not of a new user's") {
  World world;
  const auto apply_each = [&](const std::vector<std::string>& lines) {
    for (const std::string& line : lines) REQUIRE_MESSAGE(world.apply(line) == "ok", line);
  };
  const auto fail = [&](const std::string& job) {
    apply_each({"reserve_credits user_id=u1 amount=1 job_id=" + job,
                "advance_job to=QUEUED job_id=" + job, "advance_job to=SCRIPTING job_id=" + job,
                "fail_job error_code=E job_id=" + job});
  };
  fail("j1");
  Kind kind;
  kind.scope = user_id(1);
  auto device = std::make_unique<Device>(*world.canonical, world.database, kind);
  device->mirror.lines = world.lines;
  std::vector<std::string> told;
  Options options = TemporaryMirror::fast();
  options.callbacks.job_complete = [&](const Uuid&, const Uuid& job) {
    told.push_back("READY " + job.text().substr(35));
  };
  options.callbacks.job_failed = [&](const Uuid&, const Uuid& job) {
    told.push_back("FAILED " + job.text().substr(35));
  };
  device->syncer.reset();
  device->mirror.close();
  device->mirror.open(options);
  device->connect();
  device->sync();
  CHECK(told == std::vector<std::string>{});

  fail("j2");
  apply_each({"reserve_credits user_id=u1 amount=1 job_id=j3", "advance_job to=QUEUED job_id=j3"});
  for (auto stage = JobStatus::SCRIPTING; stage < JobStatus::READY;
       stage = static_cast<JobStatus>(static_cast<int>(stage) + 1))
    apply_each({"advance_job job_id=j3 to=" + std::string(name_of(stage))});
  apply_each({"complete_job job_id=j3 final_cost=1"});
  device->sync();
  CHECK(told == std::vector<std::string>{"FAILED 2", "READY 3"});
  REQUIRE(Replica(device->mirror.engine()).forget_cursor());
  REQUIRE(apply(*device, 'd', 1, "update_profile user_id=u1 display_name=N").starts_with("ok"));
  device->sync();
  CHECK(told.size() == 2);
}

TEST_CASE("a draft's token that comes with a user whom nobody knows is a proof on canonical, too") {
  Users world;
  Device& device = *world.devices[0];
  const std::string draft = "draft_id=d1 session_token=s prompt_text=";
  CHECK(apply(device, 'd', 1, "create_draft " + draft + "p") == "ok -");
  CHECK(apply(device, 'd', 2, "update_draft user_id=u9 " + draft + "q") == "ok -");
  device.sync();
  CHECK(device.rejected == 0);
  CHECK(world.session.ask("select prompt_text from draft_prompts") ==
        std::vector<std::string>{"q"});
}

TEST_CASE("I6: what was blocked and is canonical's after all is known by its op_id") {
  World world;
  auto device = world.device();
  device->sync();
  device->syncer.reset();
  device->options.operations_max = 1;
  bool paid = false;
  device->options.callbacks.changed = [&](const std::vector<Uuid>&) {
    if (!std::exchange(paid, true)) world.apply("add_credits user_id=u1 amount=20 type=grant");
  };
  device->connect();
  REQUIRE(apply(*device, 'd', 1, "update_profile user_id=u1 display_name=N").starts_with("ok"));
  const std::string line = "reserve_credits user_id=u1 job_id=j1 amount=8";
  REQUIRE(apply(*device, 'd', 2, line) == "ok 2");
  REQUIRE(world.apply("reserve_credits user_id=u1 job_id=j2 amount=9") == "ok");
  device->sync();
  REQUIRE(paid);
  CHECK(device->mirror.balance() == 13);
  CHECK(apply(*device, 'd', 2, line) == "ok 13");
  CHECK(difference(*device, *world.canonical) == "");
}

/// Its job j1 waits for a worker.
void queue_first_job(World& world) {
  CHECK(world.apply("reserve_credits user_id=u1 job_id=j1 amount=1") == "ok");
  CHECK(world.apply("advance_job job_id=j1 to=QUEUED") == "ok");
}

TEST_CASE("a device claims no job of a user whom it does not subscribe to") {
  Users world;
  Device& device = *world.devices[0];
  queue_first_job(world);
  REQUIRE(Replica(device.mirror.engine()).subscribe(std::vector{user_id(2)}).has_value());
  const auto claimed = [&] { return device.syncer->claim_next(60, patience).value(); };
  CHECK_FALSE(claimed().has_value());
  CHECK(world.apply("create_job job_id=j9 project_id=p2 user_id=u2") == "ok");
  CHECK(world.apply("reserve_credits user_id=u2 job_id=j9 amount=1") == "ok");
  CHECK(world.apply("advance_job job_id=j9 to=QUEUED") == "ok");
  CHECK(claimed() == job_id(9));
  CHECK_FALSE(claimed().has_value());
}

TEST_CASE("a claimed job is on the mirror, also where the round had passed its user by") {
  Users world;
  Device& device = *world.devices[0];
  world.apply("add_credits user_id=u1 amount=1 type=grant");
  for (int n = 0; n < 6; ++n) world.apply("add_credits user_id=u2 amount=1 type=grant");
  device.options.rows_max = 6;
  bool is_answered = false;
  device.options.callbacks.progress = [&](std::int64_t, std::int64_t) { is_answered = true; };
  device.connect();
  while (!is_answered) device.syncer->step();
  REQUIRE(device.mirror.balance(1) == 11);
  REQUIRE(device.mirror.balance(2) == 10);

  queue_first_job(world);
  device.connect();
  CHECK(device.syncer->claim_next(60, patience).value() == job_id(1));
  CHECK(difference(device, *world.canonical) == "");
}

TEST_CASE("a lease that ends with nothing left in it ends on a mirror of all users, too") {
  World world;
  Kind kind;
  kind.policy = SpendPolicy::leased;
  Device device(*world.canonical, world.database, kind);
  device.mirror.lines = world.lines;
  device.sync();
  CHECK(apply(device, 'd', 1, "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=2000000")
            .starts_with("ok"));
  device.sync();
  CHECK(apply(device, 'd', 2, "reserve_credits user_id=u1 job_id=j1 amount=5").starts_with("ok"));
  device.sync();
  Replica replica(device.mirror.engine());
  CHECK(replica.leases()->size() == 1);
  CHECK(world.canonical->write_off(id('l', 1))->value == 0);
  device.sync();
  CHECK(replica.leases()->empty());
}

TEST_CASE("I6: what concerns no user is known to its device, and to who that becomes") {
  Users world;
  Device& device = *world.devices[0];
  Device& other = *world.devices[1];
  const auto drafts = [&] {
    return world.session.ask_one(
        "select string_agg(session_token, ' ' order by session_token) "
        "from draft_prompts");
  };
  // The same op_id, on two devices, each with a draft of its own.
  CHECK(apply(device, 'd', 1, "create_draft draft_id=d1 session_token=a prompt_text=p") == "ok -");
  CHECK(apply(other, 'd', 1, "create_draft draft_id=d2 session_token=b prompt_text=p") == "ok -");
  device.sync();
  other.sync();
  CHECK(device.rejected + other.rejected == 0);
  CHECK(drafts() == "a b");

  const auto made = world.canonical->add_device(
      {.name = "anew", .capabilities = device.kind.capabilities, .scope = device.kind.scope});
  REQUIRE(made.has_value());
  const std::string old = (*Replica(device.mirror.engine()).state())->enrolment.device_id.text();
  device.options.token = made->token;
  device.connect();
  REQUIRE(device.syncer->enrol_anew(patience).has_value());
  device.sync();
  CHECK(world.session.ask_one("select enrolled_from from tally_sync.devices where device_id = '" +
                              made->device_id.text() + "'") == old);
  // The mirror forgets that it did it; canonical does not.
  device.syncer.reset();
  device.mirror.close();
  tamper(device.mirror.path(), "delete from tally_operation; delete from tally_draft");
  device.mirror.open(telling(SpendPolicy::optimistic));
  device.connect();
  CHECK(apply(device, 'd', 1, "create_draft draft_id=d3 session_token=c prompt_text=p") == "ok -");
  device.sync();
  CHECK(rejected_codes(device) == std::vector<std::string>{"create_draft operation_conflict"});
  CHECK(drafts() == "a b");
}

TEST_CASE("the digest finds what counts and balances do not show, of one user after another") {
  Users world;
  Device& device = *world.devices[0];
  device.options.digest_every = 1;
  device.connect();
  for (int i = 0; i < 8; ++i) device.sync();
  CHECK(device.diverged == 0);
  device.syncer.reset();
  device.mirror.close();
  tamper(device.mirror.path(), "update tally_project set title = 'Other' where p = 3");
  device.mirror.open(telling(SpendPolicy::optimistic));
  device.connect();
  for (int i = 0; i < 4; ++i) device.sync();
  CHECK(device.diverged == 1);
  device.sync();
  CHECK(difference(device, *world.canonical) == "");
}

}  // namespace
}  // namespace tally::test
