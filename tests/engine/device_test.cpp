// What a device's mirror does with what canonical fed it: leases, other devices' claims,
// capabilities, jobs with fewer steps. No server: the answers are made here.
#include <doctest/doctest.h>

#include <algorithm>

#include "engine/fed_device.hpp"
#include "tally/trace.hpp"

namespace tally::test {
namespace {

TEST_CASE("a hold is drawn on the lease, and its credits pass through the balance") {
  FedDevice device(all, {{1}, {2}});
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=6") == "ok 4");
  CHECK(device.latest(2) == Lines{"refund 6", "reserve -6 1"});
  CHECK(device.unspent() == 4);
  CHECK(device.held() == 10);
  // The balance would do, and the lease does not.
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j2 amount=5") ==
        "insufficient_credits 4");
  CHECK(device.unspent() == 4);
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j2 amount=4") == "ok 4");
  CHECK(device.unspent() == 0);
  CHECK(device.held() == 10);
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("a price above the hold draws what is missing, and one below gives back to the lease") {
  FedDevice device(all, {{1}, {2}, {3}});
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=3") == "ok 4");
  CHECK(device.mirror.apply("finalize_job_credits job_id=j1 final_cost=5") == "ok 4");
  CHECK(device.latest(3) == Lines{"refund 2", "reserve 3 1", "usage -5 1"});
  CHECK(device.unspent() == 5);
  CHECK(device.held() == 5);

  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j2 amount=3") == "ok 4");
  CHECK(device.mirror.apply("finalize_job_credits job_id=j2 final_cost=1") == "ok 4");
  CHECK(device.latest(4) == Lines{"reserve 1 2", "usage -1 2", "refund 2 2", "reserve -2"});
  CHECK(device.unspent() == 2);  // Canonical will show the two that came back.
  CHECK(device.held() == 4);

  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j3 amount=2") == "ok 4");
  CHECK(device.mirror.apply("release_job_credits job_id=j3") == "ok 4");
  CHECK(device.latest(2) == Lines{"refund 2 3", "reserve -2"});
  CHECK(device.unspent() == 0);
  CHECK(device.held() == 4);
  // Exactly the hold: nothing comes back, and nothing more is drawn.
  CHECK(device.mirror.findings().empty());
}

TEST_CASE(
    "a price above the hold and the lease is refused, and one that is the hold draws nothing") {
  FedDevice device(all, {{1}});
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=8") == "ok 4");
  CHECK(device.mirror.apply("finalize_job_credits job_id=j1 final_cost=11") ==
        "insufficient_credits 4");
  CHECK(device.mirror.apply("finalize_job_credits job_id=j1 final_cost=8") == "ok 4");
  CHECK(device.latest(3) == Lines{"reserve -8 1", "reserve 8 1", "usage -8 1"});
  CHECK(device.unspent() == 2);
  CHECK(device.held() == 2);
}

TEST_CASE("a lease that is over, or on its way back, is not drawn on") {
  FedDevice device(all, {{1}, {2}});
  CHECK(device.mirror.apply("lease_credits lease_id=l2 user_id=u1 amount=1 ttl=3600") ==
        "already_exists 4");
  CHECK(device.mirror.apply("lease_credits lease_id=l1 user_id=u1 amount=1 ttl=3600") == "ok 4");
  CHECK(device.mirror.apply("lease_credits lease_id=l3 user_id=u9 amount=1 ttl=3600") ==
        "user_not_found -");
  CHECK(device.mirror.apply("return_lease lease_id=l9") == "lease_not_found -");
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=1 at=\"" +
                            time_at(3600).text() + "\"") == "insufficient_credits 4");
  CHECK(device.mirror.apply("return_lease lease_id=l1") == "ok -");
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=1") ==
        "insufficient_credits 4");
  CHECK(device.unspent() == 10);
}

TEST_CASE("what a hold gives back goes to the lease that it was drawn on, and to no other") {
  FedDevice device(all, {{.n = 1, .hold = 2, .lease = id('l', 9).text()},
                         {.n = 2, .hold = 1, .lease = id('l', 1).text()}});
  CHECK(device.held() == 13);
  CHECK(device.mirror.apply("release_job_credits job_id=j1") == "ok 3");
  CHECK(device.latest(1) == Lines{"refund 2 1"});
  CHECK(device.held() == 11);
  CHECK(device.mirror.apply("release_job_credits job_id=j2") == "ok 3");
  CHECK(device.latest(2) == Lines{"refund 1 2", "reserve -1"});
  CHECK(device.held() == 11);
  // Its next hold is drawn on another lease than its first.
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=4") == "ok 3");
  CHECK(device.mirror.apply("release_job_credits job_id=j1") == "ok 3");
  CHECK(device.latest(2) == Lines{"refund 4 1", "reserve -4"});
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("an optimistic device spends the balance and leaves the lease alone") {
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=5") ==
        "insufficient_credits 4");
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=4") == "ok 0");
  CHECK(device.held() == 14);
  CHECK(device.mirror.apply("finalize_job_credits job_id=j1 final_cost=1") == "ok 3");
  CHECK(device.unspent() == 10);
  CHECK(device.held() == 10);
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("a FAILED job that old data left with a hold is released as it is retried") {
  FedDevice device(all, {{1, "FAILED", 3}}, SpendPolicy::optimistic);
  CHECK(device.mirror.balance() == 1);
  CHECK(device.mirror.apply("retry_job job_id=j1 amount=5") == "insufficient_credits 1");
  CHECK(device.mirror.apply("retry_job job_id=j1 amount=4") == "ok 0");
  CHECK(device.latest(2) == Lines{"refund 3 1", "reserve -4 1"});
  CHECK(device.held() == 14);

  FedDevice least(all, {{1, "FAILED", 1}}, SpendPolicy::optimistic);
  CHECK(least.mirror.apply("retry_job job_id=j1 amount=4") == "ok 0");
  CHECK(least.latest(2) == Lines{"refund 1 1", "reserve -4 1"});
  CHECK(least.held() == 14);
}

TEST_CASE("while another device has the claim, a worker's operations are not this one's") {
  const std::string until = time_at(3600).text();
  const std::string other = id('x', 2).text();
  FedDevice device(all, {{1, "QUEUED", 2, id('r', 1).text(), until, other},
                         {2, "SCRIPTING", 2, id('r', 2).text(), until, id('x', 1).text()}});
  for (const std::string line :
       {"claim_job job_id=j1 ttl=60", "renew_claim job_id=j1 ttl=60", "drop_claim job_id=j1",
        "advance_job job_id=j1 to=SCRIPTING", "finalize_job_credits job_id=j1 final_cost=1",
        "release_job_credits job_id=j1"}) {
    CAPTURE(line);
    const bool claims = line.starts_with("claim");
    CHECK(device.mirror.apply(line) == (claims ? "already_claimed 0" : "not_claim_holder 0"));
  }
  // Its own claim it may renew and drop.
  CHECK(device.mirror.apply("renew_claim job_id=j2 ttl=7200") == "ok 0");
  CHECK(device.mirror.apply("drop_claim job_id=j2") == "ok 0");
  CHECK(device.mirror.apply("renew_claim job_id=j2 ttl=60") == "not_claim_holder 0");
  // At its end the other's claim is nobody's, and can be taken.
  const std::string at = " at=\"" + until + "\"";
  CHECK(device.mirror.apply("renew_claim job_id=j1 ttl=60" + at) == "not_claim_holder 0");
  CHECK(device.mirror.apply("claim_job job_id=j1 ttl=60" + at) == "ok 0");
  CHECK(device.mirror.apply("advance_job job_id=j1 to=SCRIPTING" + at) == "ok 0");
}

TEST_CASE("who is no worker is not told of the claim on a job that is worked on") {
  FedDevice device({Capability::author}, {{1, "SCRIPTING", 2, id('r', 1).text(),
                                           time_at(3600).text(), id('x', 2).text()}});
  CHECK(device.mirror.apply("fail_job job_id=j1 error_code=E") == "illegal_transition 2");
}

TEST_CASE("an author cancels what has not begun, whoever has the claim, and nothing that has") {
  const std::string until = time_at(3600).text();
  const std::string other = id('x', 2).text();
  FedDevice device(
      {Capability::author},
      {{1, "QUEUED", 2, id('r', 1).text(), until, other}, {2, "SCRIPTING", 2, id('r', 2).text()}},
      SpendPolicy::optimistic);
  CHECK(device.mirror.apply("fail_job job_id=j2 error_code=C") == "illegal_transition 0");
  CHECK(device.mirror.apply("finalize_job_credits job_id=j2 final_cost=1") == "not_permitted 0");
  CHECK(device.mirror.apply("fail_job job_id=j1 error_code=C") == "ok 2");
}

TEST_CASE("a worker alone settles up to the hold, and not above it") {
  FedDevice device({Capability::worker}, {{1, "SCRIPTING", 2, id('r', 1).text()}},
                   SpendPolicy::optimistic);
  CHECK(device.mirror.apply("finalize_job_credits job_id=j1 final_cost=3") == "not_permitted 2");
  CHECK(device.mirror.apply("finalize_job_credits job_id=j1 final_cost=2") == "ok 2");
}

TEST_CASE("an operation that names another reservation than the job's is stale") {
  FedDevice device(all, {{1, "SCRIPTING", 2, id('r', 1).text()}});
  CHECK(device.mirror.apply("finalize_job_credits job_id=j1 final_cost=1 reservation=r2") ==
        "stale_reservation 2");
  CHECK(device.mirror.apply("finalize_job_credits job_id=j1 final_cost=1 reservation=r1") ==
        "ok 3");
}

TEST_CASE("a job that lacks steps takes no report for them, and has all once it starts") {
  FedDevice device(all, {{1, "SCRIPTING", 2, id('r', 1).text(), {}, {}, 254},
                         {2, "QUEUED", 1, id('r', 2).text(), {}, {}, 0}});
  CHECK(device.mirror.apply("report_progress job_id=j1 step_name=SCRIPTING progress_pct=5") ==
        "step_not_found 1");
  CHECK(device.mirror.apply("advance_job job_id=j2 to=SCRIPTING") == "ok 1");
  CHECK(device.mirror.apply("report_progress job_id=j2 step_name=SCRIPTING progress_pct=5") ==
        "ok 1");
  CHECK(device.mirror->job(job_id(2))->steps.size() == 8);
}

TEST_CASE("a job that others put into a stage without its step is worked on all the same") {
  FedDevice device(all, {{1, "SCRIPTING", 2, id('r', 1).text()},
                         {2, "SCRIPTING", 1, id('r', 2).text()},
                         {3, "SCRIPTING", 1, id('r', 3).text(), {}, {}, 254}});
  CHECK(device.mirror.apply("report_progress job_id=j1 step_name=SCRIPTING progress_pct=5") ==
        "ok 0");
  CHECK(device.mirror.apply("advance_job job_id=j2 to=VOICE_GEN") == "ok 0");
  CHECK(device.mirror.apply("fail_job job_id=j1 error_code=E") == "ok 2");
  CHECK(device.mirror.apply("fail_job job_id=j3 error_code=E") == "ok 3");
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("what is pending is applied again on what was fed, as soon as and as long as it can be") {
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=3") == "ok 1");
  CHECK(device.mirror.apply("finalize_job_credits job_id=j1 final_cost=2") == "ok 2");
  feed(device, {entry(3, "grant", 5, 9)}, 9, 10);
  CHECK(device.mirror.balance() == 7);
  CHECK(device.latest(5) ==
        Lines{"grant 5", "reserve -3 1", "reserve 2 1", "usage -2 1", "refund 1 1"});
  CHECK(pending(device) == Lines{"1 ok", "2 ok"});
  feed(device, {entry(4, "expire", -8, 1)}, 1, 10);
  CHECK(device.mirror.balance() == 1);
  CHECK(device.latest(2) == Lines{"grant 5", "expire -8"});
  CHECK(pending(device) == Lines{"1 insufficient_credits", "2 stale_reservation"});
  CHECK(device.replica.state()->value().blocked == 2);
  CHECK(device.mirror.findings().empty());
  feed(device, {entry(5, "grant", 9, 10)}, 10, 10);
  CHECK(device.mirror.balance() == 8);
  CHECK(device.held() == 10);
  CHECK(pending(device) == Lines{"1 ok", "2 ok"});
  // What is applied again can be taken back again.
  feed(device, {entry(6, "grant", 1, 11)}, 11, 10);
  CHECK(device.mirror.balance() == 9);
  CHECK(device.replica.state()->value().blocked == 0);
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("what a blocked operation drew on the lease stays drawn, and nothing else does") {
  FedDevice device(all, {{1}, {2}});
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=3") == "ok 4");
  CHECK(device.mirror.apply("finalize_job_credits job_id=j1 final_cost=5") == "ok 4");
  CHECK(device.mirror.apply("batch ops=(update_profile user_id=u1 ; reserve_credits user_id=u1 "
                            "job_id=j2 amount=1)") == "ok 4");
  CHECK(device.unspent() == 4);
  std::vector<PulledUser::Row> rows;
  add(rows, {1, "FAILED"});
  add(rows, {2, "FAILED"});
  feed(device, std::move(rows), 4, 10);
  CHECK(pending(device) ==
        Lines{"1 illegal_transition", "2 stale_reservation", "3 illegal_transition"});
  CHECK(device.unspent() == 1);
  CHECK(device.mirror.balance() == 4);
}

TEST_CASE("the host is told once of what happened, however often it is applied again") {
  Options options = TemporaryMirror::fast();
  int told = 0;
  options.callbacks.job_failed = [&](const Uuid&, const Uuid&) { ++told; };
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("update_profile user_id=u1 notification_prefs={\"job_failed\":true}") ==
        "ok 4");
  device.mirror.close();
  device.mirror.open(options);
  CHECK(device.mirror.apply("fail_job job_id=j1 error_code=E") == "ok 4");
  CHECK(told == 1);
  feed(device, {entry(3, "grant", 1, 5)}, 5, 10);
  CHECK(query(device.mirror.path(), "select status from jobs") == Lines{"FAILED"});
  CHECK(told == 1);
}

TEST_CASE("a fed entry keeps its words, and those that the mirror knows are not written again") {
  FedDevice device(all, {});
  const std::pair<std::string, Texts::value_type> words[] = {
      {"purchase", std::nullopt},
      {"grant", "Welcome bonus: 10 trial credits"},
      {"grant", "Sorry"},
      {"refund", "Unused credits refund"},
      {"refund", std::nullopt},
      {"refund", "Job failed - credits released"},
      {"reserve", "Reserved for job"},
      {"reserve", std::nullopt},
      {"reserve", "Leased to device"},
      {"usage", "Video generation"},
      {"usage", "By hand"},
      {"usage", std::nullopt},
      {"expire", std::nullopt},
      {"subscription", "May"}};
  std::vector<PulledUser::Row> rows;
  Lines expected;
  std::int64_t balance = 4;
  std::uint64_t n = 3;
  for (const auto& [type, note] : words) {
    PulledUser::Row fed = entry(n++, type, 1, ++balance);
    fed.texts.at(4) = note;
    rows.push_back(fed);
    expected.push_back(type + "|" + note.value_or("NULL"));
  }
  feed(device, rows, balance, 10);
  CHECK(query(device.mirror.path(),
              "select type, note from credit_ledger where seq > 2 order by seq") == expected);
  CHECK(query(device.mirror.path(),
              "select note from tally_entry_text where note is not null order by e") ==
        Lines{"Sorry", "Leased to device", "By hand", "May"});
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("an entry of a type that there is not is refused, and nothing of the answer is taken") {
  FedDevice device(all, {});
  Reply reply = device.reply();
  PulledUser& user = reply.users.emplace_back();
  user.user_id = user_id(1);
  user.rows.push_back(entry(3, "gift", 1, 5));
  user.state.emplace();
  user.state->since = 1;
  user.state->since_entries = 2;
  const auto taken = device.replica.take(reply);
  REQUIRE_FALSE(taken.has_value());
  CHECK(taken.error().code == Code::invalid_argument);
  CHECK(device.mirror.balance() == 4);
}

TEST_CASE(
    "an entry that canonical made under an id that one here would have: this one gets its own") {
  FedDevice device(all, {}, SpendPolicy::optimistic);
  std::vector<PulledUser::Row> rows{entry(3, "grant", 1, 5), entry(4, "grant", 1, 6)};
  rows[0].texts[0] = "12345678-1234-80aa-9234-123456789abc";
  rows[1].texts[0] = "12345678-1234-80aa-9234-123456789abd";
  feed(device, rows, 6, 10);
  const std::string grant = "add_credits user_id=u1 amount=1 type=grant op_id=";
  CHECK(device.mirror.apply(grant + "\"12345678-1234-7aaa-9234-123456789abc\"") == "ok 7");
  device.mirror.reopen();
  CHECK(device.mirror.apply(grant + "\"12345678-1234-7aaa-9234-123456789abd\"") == "ok 8");
  CHECK(query(device.mirror.path(),
              "select count(distinct id), count(*) from credit_ledger where seq > 2") ==
        Lines{"4|4"});
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("so does one that is applied again behind the first entry that was ever fed") {
  TemporaryMirror mirror;
  Replica replica(mirror.engine());
  REQUIRE(replica.enrol({id('x', 1), all, std::nullopt}));
  CHECK(mirror.apply("create_user user_id=u1") == "ok 10");
  CHECK(mirror.apply("add_credits user_id=u1 amount=1 type=grant "
                     "op_id=\"12345678-1234-7aaa-9234-123456789abc\"") == "ok 11");
  REQUIRE(replica.next_push(10, 10'000));
  Reply reply;
  reply.cursor = "1";
  PulledUser& user = reply.users.emplace_back();
  user.user_id = user_id(1);
  user.rows.push_back(entry(1, "grant", 10, 10));
  user.rows[0].texts[0] = "12345678-1234-80aa-9234-123456789abc";
  user.state.emplace();
  user.state->entries = 1;
  user.state->balance = 10;
  REQUIRE(replica.take(reply));
  CHECK(mirror.balance() == 11);
  CHECK(query(mirror.path(), "select count(distinct id), count(*) from credit_ledger") ==
        Lines{"2|2"});
}

TEST_CASE("a return of a lease does not end the one that canonical opened in its place") {
  FedDevice device(all, {});
  CHECK(device.mirror.apply("return_lease lease_id=l1") == "ok -");
  CHECK(device.replica.leases()->at(0).returning);
  CHECK(device.mirror->account(user_id(1))->leases.at(0).returning);
  feed(device, {}, 4, 10, id('l', 2));
  CHECK(pending(device) == Lines{"1 lease_not_found"});
  CHECK(device.replica.leases()->at(0).lease_id == id('l', 2));
  CHECK_FALSE(device.replica.leases()->at(0).returning);
}

TEST_CASE("what canonical rejected leaves no words to the entries that take its numbers") {
  FedDevice device(all, {}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("add_credits user_id=u1 amount=1 type=grant note=Mine") == "ok 5");
  Reply reply = device.reply();
  reply.watermark = 1;
  reply.verdicts.push_back({1, Code::balance_overflow});
  CHECK(device.take(reply).rejected.size() == 1);
  CHECK(device.mirror.balance() == 4);
  CHECK(device.mirror.apply("add_credits user_id=u1 amount=2 type=grant") == "ok 6");
  CHECK(query(device.mirror.path(), "select amount, note from credit_ledger where seq > 2") ==
        Lines{"2|NULL"});
  CHECK(query(device.mirror.path(),
              "select count(*) from tally_entry_text where e not in"
              " (select e from tally_entry)") == Lines{"0"});
}

TEST_CASE("a refused batch whose first entries were written already leaves none of them") {
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=3") == "ok 1");
  // Where ids were fed, each entry's own is looked for among those that are written.
  std::vector<Command> commands;
  for (const char* line : {"batch ops=( finalize_job_credits job_id=j1 final_cost=1 ; "
                           "expire_credits user_id=u1 amount=99 )",
                           "add_credits user_id=u1 amount=1 type=grant"})
    commands.push_back(parse_trace_line(device.mirror.lines.line(line)).value());
  const auto verdicts = device.mirror.submit(std::move(commands));
  CHECK(verdicts.at(0).code == Code::insufficient_credits);
  CHECK(verdicts.at(1).balance == Credits{2});
  CHECK(device.latest(2) == Lines{"reserve -3 1", "grant 1"});
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("what one engine is fed, another on the same file shows, each time") {
  FedDevice device(all, {});
  const auto other = Engine::open(device.mirror.path(), TemporaryMirror::fast());
  REQUIRE(other.has_value());
  CHECK(other->balance(user_id(1)).value() == Credits{4});
  for (std::uint64_t n = 3; n < 6; ++n) {
    const auto balance = static_cast<std::int64_t>(n) + 2;
    feed(device, {entry(n, "grant", 1, balance)}, balance, 10);
    CHECK(other->balance(user_id(1)).value() == Credits{balance});
  }
}

TEST_CASE("what another engine did is seen behind a commit without operations") {
  Options online = TemporaryMirror::fast();
  online.spend_policy = SpendPolicy::online;
  online.verdict_timeout = std::chrono::milliseconds{0};
  online.busy_timeout = std::chrono::milliseconds{20};
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  device.mirror.close();
  auto other = Engine::open(device.mirror.path(), TemporaryMirror::fast());
  auto here = Engine::open(device.mirror.path(), online);
  REQUIRE(other.has_value());
  REQUIRE(here.has_value());
  // Pending ones have numbers, and are no operations yet.
  for (int i = 0; i < 5; ++i) {
    const auto queued = here->apply(AddCredits{user_id(1), Credits{1}, "grant"});
    REQUIRE_FALSE(queued);
    CHECK(queued.error().code == Code::pending);
  }
  CHECK(here->balance(user_id(1)).value() == Credits{4});
  Replica replica(*here);
  CHECK(replica.forget_cursor());
  CHECK(other->apply(AddCredits{user_id(1), Credits{1}, "grant"}));
  CHECK(here->balance(user_id(1)).value() == Credits{5});
}

TEST_CASE("what another engine did is seen behind a commit that failed") {
  Options options = TemporaryMirror::fast();
  options.busy_timeout = std::chrono::milliseconds{20};
  FedDevice device(all, {}, SpendPolicy::optimistic);
  device.mirror.close();
  device.mirror.open(options);
  Replica replica(device.mirror.engine());
  auto other = Engine::open(device.mirror.path(), TemporaryMirror::fast());
  REQUIRE(other.has_value());
  CHECK(device.mirror.apply("update_profile user_id=u1") == "ok 4");
  {
    // It writes nothing before the end, so that it has its number when the commit fails.
    const RawTransaction holder(device.mirror.path());
    CHECK_FALSE(device.mirror->apply(UpdateProfile{user_id(1)}));
  }
  CHECK(replica.forget_cursor());
  CHECK(device.mirror.balance() == 4);
  CHECK(other->apply(AddCredits{user_id(1), Credits{1}, "grant"}));
  CHECK(device.mirror.balance() == 5);
}

/// Canonical tells of these users from the start, each with an address; `complete`: of no others.
void tell(FedDevice& device, const std::vector<std::pair<std::uint64_t, std::string>>& users,
          bool complete = false) {
  Reply reply = device.reply();
  for (const auto& [n, email] : users) {
    PulledUser& user = reply.users.emplace_back();
    user.user_id = user_id(n);
    PulledState& state = user.state.emplace();
    state.with_email = true;
    state.email = email;
  }
  if (complete) reply.complete.emplace();
  device.take(reply);
}

TEST_CASE("the numbers of users who went are never given out again") {
  FedDevice device(all, {});
  const auto numbers = [&] {
    return query(device.mirror.path(), "select id, u from tally_user_id_text order by u");
  };
  tell(device, {{3, "c@x"}});
  tell(device, {{2, "b@x"}});
  REQUIRE(numbers() ==
          Lines{user_id(1).text() + "|1", user_id(3).text() + "|2", user_id(2).text() + "|3"});
  // They go in the order of their ids: the highest number is not the last to go.
  tell(device, {}, true);
  REQUIRE(numbers().empty());
  device.mirror.reopen();
  CHECK(device.mirror.apply("create_user user_id=u4") == "ok 10");
  CHECK(numbers() == Lines{user_id(4).text() + "|4"});
}

TEST_CASE("an entry that canonical has otherwise takes the place of this one, and of no other's") {
  FedDevice device(all, {}, SpendPolicy::optimistic);
  tell(device, {{2, "b@x"}});
  CHECK(device.mirror.apply("add_credits user_id=u1 amount=1 type=grant note=Mine") == "ok 5");
  CHECK(device.mirror.apply("add_credits user_id=u2 amount=1 type=grant note=Theirs") == "ok 1");
  Reply reply = device.reply();
  reply.watermark = 1;
  reply.verdicts.push_back({1});
  PulledUser& user = reply.users.emplace_back();
  user.user_id = user_id(1);
  user.rows.push_back(entry(3, "grant", 1, 5));
  PulledState& state = user.state.emplace();
  state.since = 1;
  state.since_entries = 2;
  state.entries = 3;
  state.balance = 5;
  state.held = 10;
  device.take(reply);
  CHECK(
      query(device.mirror.path(),
            "select user_id, seq, amount, note from credit_ledger where note is not null or seq > 2"
            " order by user_id") ==
      Lines{user_id(1).text() + "|3|1|NULL", user_id(2).text() + "|1|1|Theirs"});
  CHECK(query(device.mirror.path(),
              "select count(*) from tally_entry_text where e not in"
              " (select e from tally_entry)") == Lines{"0"});
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("an address that canonical gave to somebody else is taken from who had it") {
  FedDevice device(all, {});
  tell(device, {{2, "b@x"}, {3, "c@x"}});
  tell(device, {{3, "b@x"}});
  CHECK(query(device.mirror.path(), "select email from users order by id") ==
        Lines{"NULL", "NULL", "b@x"});
}

TEST_CASE(
    "what was taken back with a rejected one, and is canonical's, has its effect again, alone") {
  FedDevice device(all, {}, SpendPolicy::optimistic);
  std::vector<std::int64_t> told;
  device.mirror.close();
  Options options = TemporaryMirror::fast();
  options.callbacks.low_credits = [&](const Uuid&, Credits balance) {
    told.push_back(balance.value);
  };
  device.mirror.open(options);
  CHECK(device.mirror.apply(
            R"(update_profile user_id=u1 notification_prefs={"low_credits":true})") == "ok 4");
  CHECK(device.mirror.apply("add_credits user_id=u1 amount=3 type=grant") == "ok 7");
  CHECK(device.mirror.apply("add_credits user_id=u1 amount=3 type=grant") == "ok 10");
  CHECK(device.mirror.apply("expire_credits user_id=u1 amount=6") == "ok 4");
  REQUIRE(told == std::vector<std::int64_t>{4});
  // The user's rows are not among what is fed.
  Reply reply = device.reply();
  reply.watermark = 4;
  reply.verdicts = {{1, Code::ok, {}, {}},
                    {2, Code::ok, {}, {}},
                    {3, Code::balance_overflow, {}, {}},
                    {4, Code::ok, {}, {}}};
  CHECK(device.take(reply).settled.empty());
  CHECK(device.mirror.balance() == 1);
  CHECK(device.latest(2) == Lines{"grant 3", "expire -6"});
  CHECK(pending(device).empty());
  CHECK(device.mirror->check(user_id(1))->pending_operations == 0);
  CHECK(told == std::vector<std::int64_t>{4});
  CHECK(device.mirror.findings().empty());
}

TEST_CASE(
    "what a blocked one drew on the lease stays drawn, and once, however often it is taken back") {
  FedDevice device(all, {{1}});
  CHECK(device.mirror.apply("add_credits user_id=u1 amount=3 type=grant") == "ok 7");
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=6") == "ok 7");
  std::vector<PulledUser::Row> rows;
  add(rows, {.n = 1, .hold = 1, .reservation = id('o', 9).text()});
  rows.push_back(entry(3, "reserve", -1, 3, job_id(1).text()));
  feed(device, rows, 3, 11);
  REQUIRE(pending(device) == Lines{"1 ok", "2 already_reserved"});
  CHECK(device.unspent() == 4);
  // The user's rows are not among what is fed.
  Reply reply = device.reply();
  reply.watermark = 1;
  reply.verdicts.push_back({1, Code::balance_overflow});
  reply.leases.push_back({user_id(1), id('l', 1), Credits{10}, time_at(3600)});
  device.take(reply);
  CHECK(device.mirror.balance() == 3);
  CHECK(pending(device) == Lines{"2 already_reserved"});
  CHECK(device.unspent() == 4);
  CHECK(device.mirror.findings().empty());
}

TEST_CASE(
    "a blocked price keeps drawn what it is above the hold that it means, where that is open") {
  for (const bool is_open : {true, false}) {
    CAPTURE(is_open);
    FedDevice device(all, {{1}});
    CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=3 op_id=o1") == "ok 4");
    CHECK(device.mirror.apply("finalize_job_credits job_id=j1 final_cost=5") == "ok 4");
    CHECK(device.unspent() == 5);
    FedJob job{.n = 1, .hold = 1, .reservation = id('o', 9).text()};
    if (is_open) {
      job.reservation = op_id(1).text();
      job.claim_until = time_at(3600).text();
      job.claimed_by = id('x', 2).text();
    }
    std::vector<PulledUser::Row> rows;
    add(rows, job);
    rows.push_back(entry(3, "reserve", -1, 3, job_id(1).text()));
    feed(device, rows, 3, 11);
    CHECK(pending(device) == (is_open ? Lines{"1 already_reserved", "2 not_claim_holder"}
                                      : Lines{"1 already_reserved", "2 stale_reservation"}));
    CHECK(device.unspent() == (is_open ? 10 - 3 - (5 - 1) : 10 - 3 - 5));
  }
}

TEST_CASE("another device's claim holds up to its last moment, and not in it") {
  FedDevice device(all,
                   {{.n = 1, .claim_until = time_at(3600).text(), .claimed_by = id('x', 2).text()}},
                   SpendPolicy::optimistic);
  const std::string price = "finalize_job_credits job_id=j1 final_cost=1 at=";
  CHECK(device.mirror.apply(price + json_string(time_at(3599).text())) == "not_claim_holder 4");
  CHECK(device.mirror.apply(price + json_string(time_at(3600).text())) == "no_reservation 4");
}

TEST_CASE("what a device may call is what its capabilities say") {
  // The answers of a device that is author, worker and service alone, and of one that is all.
  const std::vector<std::pair<std::string, Lines>> calls{
      {"sweep grace=1",
       {"not_permitted -", "not_permitted -", "not_permitted -", "not_permitted -"}},
      {"fail_job job_id=j1 error_code=\"\"",
       {"invalid_argument 4", "invalid_argument 4", "not_permitted 4", "invalid_argument 4"}},
      {"advance_job job_id=j2 to=SCRIPTING",
       {"not_permitted 4", "illegal_transition 4", "not_permitted 4", "illegal_transition 4"}},
      {"advance_job job_id=j2 to=QUEUED",
       {"reservation_required 4", "not_permitted 4", "not_permitted 4", "reservation_required 4"}},
      {"advance_job job_id=j2 to=NOWHERE",
       {"invalid_argument 4", "invalid_argument 4", "not_permitted 4", "invalid_argument 4"}},
      {"update_profile user_id=u1 display_name=N",
       {"ok 4", "not_permitted 4", "not_permitted 4", "ok 4"}},
      {"update_profile user_id=u1 stripe_customer_id=cus_1",
       {"not_permitted 4", "not_permitted 4", "ok 4", "ok 4"}},
      {"add_credits user_id=u1 amount=0 type=grant",
       {"not_permitted 4", "not_permitted 4", "invalid_amount 4", "invalid_amount 4"}}};
  const std::vector<std::vector<Capability>> devices{
      {Capability::author}, {Capability::worker}, {Capability::service}, all};
  for (std::size_t i = 0; i < devices.size(); ++i) {
    FedDevice device(devices[i], {{1}, {2}}, SpendPolicy::optimistic);
    for (const auto& call : calls) {
      CAPTURE(call.first);
      CAPTURE(i);
      CHECK(device.mirror.apply(call.first) == call.second[i]);
    }
  }
}

TEST_CASE("one that is blocked was not queued, and its verdict is told as its rejection alone") {
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=3") == "ok 1");
  feed(device, {entry(3, "expire", -4, 0)}, 0, 10);
  REQUIRE(pending(device) == Lines{"1 insufficient_credits"});
  // Taken back, it leaves the number that it did not take to who has it.
  CHECK(device.mirror.apply("purge_expired_drafts op_id=o5") == "ok -");
  Reply reply = device.reply();
  reply.watermark = 1;
  reply.verdicts.push_back({1, Code::insufficient_credits});
  const Taken taken = device.take(reply);
  CHECK(taken.settled.empty());
  CHECK(taken.rejected.size() == 1);
  CHECK(device.mirror.apply("create_draft draft_id=d1 session_token=S prompt_text=P op_id=o5") ==
        "operation_conflict -");
}

TEST_CASE("a user without a profile, or without preferences, is told nothing") {
  FedDevice device(all, {}, SpendPolicy::optimistic);
  device.mirror.close();
  int told = 0;
  Options options = TemporaryMirror::fast();
  options.callbacks.low_credits = [&](const Uuid&, Credits) { ++told; };
  device.mirror.open(options);
  CHECK(device.mirror.apply("add_credits user_id=u1 amount=3 type=grant") == "ok 7");
  CHECK(device.mirror.apply("expire_credits user_id=u1 amount=4") == "ok 3");
  CHECK(device.mirror.apply("update_profile user_id=u1 notification_prefs=null") == "ok 3");
  CHECK(device.mirror.apply("add_credits user_id=u1 amount=4 type=grant") == "ok 7");
  CHECK(device.mirror.apply("expire_credits user_id=u1 amount=4") == "ok 3");
  CHECK(told == 0);
}

TEST_CASE("what was done for a user whose making was rejected is blocked: there is no such user") {
  FedDevice device(all, {}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("create_user user_id=u2 email=a@x") == "ok 10");
  CHECK(device.mirror.apply("add_credits user_id=u2 amount=5 type=grant") == "ok 15");
  Reply reply = device.reply();
  reply.watermark = 1;
  reply.verdicts.push_back({1, Code::user_exists});
  CHECK(device.take(reply).rejected.size() == 1);
  CHECK(pending(device) == Lines{"2 user_not_found"});
  CHECK_FALSE(device.mirror->balance(user_id(2)).has_value());
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("what waited for a user whose making was rejected is the user's who is made behind it") {
  FedDevice device(all, {}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("create_user user_id=u2 email=a@x") == "ok 10");
  CHECK(device.mirror.apply("add_credits user_id=u2 amount=5 type=grant") == "ok 15");
  Reply rejection = device.reply();
  rejection.watermark = 1;
  rejection.verdicts.push_back({1, Code::user_exists});
  device.take(rejection);
  CHECK(device.mirror.apply("create_user user_id=u2") == "ok 10");
  CHECK(device.mirror.findings().empty());
  const auto push = device.replica.next_push(10, 10'000);
  REQUIRE(push.has_value());
  for (const PushedOperation& sent : push->operations) CHECK(sent.user_id == user_id(2));

  // Canonical took both, in their order.
  Reply reply = device.reply();
  reply.acked = 1;
  reply.watermark = 3;
  reply.verdicts = {{2, Code::user_not_found}, {3}};
  device.take(reply);
  CHECK(device.mirror.balance(2) == 10);
  CHECK(pending(device).empty());
  CHECK(device.mirror->check(user_id(2))->pending_operations == 0);
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("a user who is not subscribed to goes as soon as nothing is pending of that user") {
  FedDevice device(all, {}, SpendPolicy::optimistic);
  REQUIRE(device.replica.subscribe(std::vector{user_id(1)}));
  CHECK(device.mirror.apply("create_user user_id=u2") == "ok 10");
  CHECK(device.mirror.apply("add_credits user_id=u2 amount=1 type=grant") == "ok 11");
  Reply reply = device.reply();
  reply.leases.push_back({user_id(1), id('l', 1), Credits{10}, time_at(3600)});
  reply.watermark = 1;
  reply.verdicts.push_back({1});
  device.take(reply);
  CHECK(device.mirror.balance(2) == 11);
  reply = device.reply();
  reply.acked = 1;
  reply.watermark = 2;
  reply.verdicts.push_back({2});
  const Taken taken = device.take(reply);
  CHECK(taken.changed == std::vector{user_id(2)});
  CHECK_FALSE(device.mirror->balance(user_id(2)).has_value());
  CHECK(device.mirror.balance() == 4);
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("a user's draft that canonical has stays, though nobody's was made under its id here") {
  FedDevice device(all, {}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("create_draft draft_id=d1 session_token=s prompt_text=p") == "ok -");
  CHECK(device.mirror.apply("update_draft draft_id=d1 session_token=s prompt_text=q") == "ok -");
  int rejected = 2;
  SUBCASE("") {}
  SUBCASE("and was claimed by that user") {
    REQUIRE(device.mirror.apply("claim_draft session_token=s user_id=u1").substr(0, 4) == "ok 4");
    rejected = 3;
  }
  feed(device,
       {row("draft_prompts", {id('d', 1).text(), "t", user_id(1).text(), "p", std::nullopt, "{}",
                              fed_at, fed_at, fed_at})},
       4, 10);
  Reply reply = device.reply();
  reply.watermark = rejected;
  reply.verdicts = {{1, Code::already_exists}, {2, Code::draft_not_found}};
  if (rejected == 3) reply.verdicts.push_back({3, Code::draft_not_found});
  reply.leases.push_back({user_id(1), id('l', 1), Credits{10}, time_at(3600)});
  device.take(reply);
  CHECK(query(device.mirror.path(), "select session_token, user_id from draft_prompts") ==
        Lines{"t|" + user_id(1).text()});
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("an entry that lost its job has none, though another job has that one's id and time") {
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  std::vector<PulledUser::Row> rows{entry(3, "reserve", -2, 2, job_id(1).text()),
                                    entry(4, "refund", 2, 4, job_id(1).text())};
  feed(device, rows, 4, 10);
  const auto with_job = [&] {
    return query(device.mirror.path(), "select seq from credit_ledger where job_id is not null");
  };
  REQUIRE(with_job() == Lines{"3", "4"});
  for (PulledUser::Row& row : rows) row.texts[6].reset();
  device.entries = 2;  // They are told again.
  feed(device, rows, 4, 10);
  CHECK(with_job().empty());
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("the entries of a job that was made again under its id are its own") {
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  const std::string at = " at=\"" + time_at(60).text() + "\"";
  CHECK(device.mirror.apply("delete_project project_id=p1 user_id=u1" + at) == "ok 4");
  CHECK(device.mirror.apply("create_project project_id=p1 user_id=u1 title=T prompt_text=P"
                            " niche_preset=facts target_minutes=1" +
                            at) == "ok 4");
  CHECK(device.mirror.apply("create_job job_id=j1 project_id=p1 user_id=u1" + at) == "ok 4");
  CHECK(device.mirror.apply("reserve_credits op_id=o1 user_id=u1 job_id=j1 amount=3" + at) ==
        "ok 1");
  Reply reply = device.reply();
  reply.watermark = 4;
  reply.verdicts = {{1}, {2}, {3}, {4}};
  reply.leases.push_back({user_id(1), id('l', 1), Credits{10}, time_at(3600)});
  PulledUser& user = reply.users.emplace_back();
  user.user_id = user_id(1);
  add(user.rows, {1, "PENDING", 3, id('o', 1).text()});
  user.rows[0].texts[13] = time_at(60).text();
  user.rows.push_back(entry(3, "reserve", -3, 1, job_id(1).text()));
  user.rows.back().texts[0] = id('o', 1).derived(0).text();
  user.rows.back().texts[5] = time_at(60).text();
  PulledState& state = user.state.emplace();
  state.since = 1;
  state.since_entries = 2;
  state.entries = 3;
  state.balance = 1;
  state.held = 13;
  device.take(reply);
  CHECK(query(device.mirror.path(), "select job_id from credit_ledger where seq = 3") ==
        Lines{job_id(1).text()});
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("a mirror becomes another device though it made a user that nobody was told of") {
  FedDevice device(all, {}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("create_user user_id=u2") == "ok 10");
  CHECK(device.mirror.apply("add_credits user_id=u1 amount=1 type=grant") == "ok 5");
  const auto enrolled = device.replica.enrol_anew({id('x', 2), all, std::nullopt});
  REQUIRE_MESSAGE(enrolled.has_value(), (enrolled ? "" : enrolled.error().detail));
  CHECK(device.replica.state()->value().enrolment.device_id == id('x', 2));
  CHECK(device.replica.rejected()->size() == 2);
  CHECK(device.mirror.balance() == 4);
  CHECK(device.mirror->check(user_id(1))->pending_operations == 0);
  CHECK_FALSE(device.mirror->balance(user_id(2)).has_value());
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("a return of a lease that is gone is known, whosever the lease was") {
  FedDevice device(all, {});
  tell(device, {{2, "b@x"}});
  Reply reply = device.reply();
  reply.leases.push_back({user_id(2), id('l', 2), Credits{1}, time_at(3600)});
  PulledUser& user = reply.users.emplace_back();
  user.user_id = user_id(2);
  user.rows.push_back(entry(1, "grant", 1, 1));
  user.rows.push_back(entry(2, "reserve", -1, 0));
  user.rows[0].texts[1] = user.rows[1].texts[1] = user_id(2).text();
  user.rows[0].texts[0] = id('f', 1).text();
  user.rows[1].texts[0] = id('f', 2).text();
  PulledState& state = user.state.emplace();
  state.entries = 2;
  state.held = 1;
  device.take(reply);
  CHECK(device.mirror.apply("return_lease lease_id=l2 op_id=o1") == "ok -");
  Reply returned = device.reply();
  returned.watermark = 1;
  returned.verdicts.push_back({1});
  PulledUser& after = returned.users.emplace_back();
  after.user_id = user_id(2);
  after.rows.push_back(entry(3, "refund", 1, 1));
  after.rows[0].texts[1] = user_id(2).text();
  after.rows[0].texts[0] = id('f', 3).text();
  PulledState& now = after.state.emplace();
  now.since = 1;
  now.since_entries = 2;
  now.entries = 3;
  now.balance = 1;
  device.take(returned);
  CHECK(device.mirror.apply("return_lease lease_id=l2 op_id=o1") == "ok -");
  CHECK(device.mirror.apply("return_lease lease_id=l2 op_id=o2") == "lease_not_found -");
}

TEST_CASE("a device for one user knows no other, nor what is his") {
  TemporaryMirror mirror;
  mirror.make_users(2);
  Replica replica(mirror.engine());
  REQUIRE(replica.enrol({id('x', 1), all, user_id(1)}));
  CHECK(mirror.apply("create_user user_id=u9") == "not_permitted -");
  for (const auto& [line, code] : std::vector<std::pair<std::string, std::string>>{
           {"add_credits user_id=u2 amount=5 type=grant", "user_not_found"},
           {"add_credits user_id=u2 amount=0 type=grant", "invalid_amount"},
           {"create_job job_id=j3 project_id=p2 user_id=u2", "project_not_found"},
           {"delete_project project_id=p2 user_id=u2", "project_not_found"},
           {"reserve_credits user_id=u2 job_id=j2 amount=1", "job_not_found"},
           {"reserve_credits user_id=u1 job_id=j2 amount=1", "job_not_found"},
           {"fail_job job_id=j2 error_code=E error_message=m", "job_not_found"},
           {"update_draft draft_id=d1 session_token=t user_id=u2", "draft_not_found"}}) {
    const std::string answer = mirror.apply(line);
    const std::string told = line + ": " + answer;
    CAPTURE(told);
    CHECK(answer.starts_with(code + " "));
  }
  CHECK(mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=1") == "ok 9");
}

TEST_CASE(
    "an author cancels what waits in the queue, whoever claimed it, and not what is worked on") {
  for (const auto& [status, answer] :
       {std::pair{"QUEUED", "ok 4"}, std::pair{"SCRIPTING", "not_claim_holder 1"}}) {
    FedDevice device(all,
                     {{1, status, 3, id('r', 1).text(), time_at(9'000).text(), id('y', 1).text()}});
    CHECK(device.mirror.apply("fail_job job_id=j1 error_code=E") == answer);
  }
}

TEST_CASE("what is held anew where old data left a hold is paid by the balance, not by the lease") {
  for (const SpendPolicy policy : {SpendPolicy::leased, SpendPolicy::optimistic}) {
    FedDevice device(all, {{1, "FAILED", 3, id('r', 1).text()}}, policy);
    CHECK(device.mirror.apply("retry_job job_id=j1 amount=9") == "insufficient_credits 1");
    CHECK(device.unspent() == 10);
    CHECK(device.mirror.apply("retry_job job_id=j1 amount=4") == "ok 0");
    CHECK(device.unspent() == 10);
    CHECK(device.mirror.findings().empty());
  }
}

/// u2 with its sign-up entry and, where there are two, 5 credits of operation o7.
PulledUser granted(std::size_t entries) {
  PulledUser user;
  user.user_id = user_id(2);
  user.rows.push_back(
      row("credit_ledger", {id('f', 1).text(), user_id(2).text(), "grant", "10", std::nullopt,
                            fed_at, std::nullopt, std::nullopt, "10", "1"}));
  user.rows.push_back(row(
      "credit_ledger", {op_id(7).derived(0).text(), user_id(2).text(), "grant", "5", std::nullopt,
                        time_at(1).text(), std::nullopt, std::nullopt, "15", "2"}));
  user.rows.resize(entries);
  PulledState& state = user.state.emplace();
  state.entries = static_cast<std::int64_t>(entries);
  state.balance = entries == 2 ? 15 : 10;
  return user;
}

/// A device whose operation o7 on u2 canonical has confirmed.
struct Granted {
  FedDevice device{all, {}, SpendPolicy::optimistic};
  CallId call{op_id(7), time_at(1)};

  Granted() {
    Reply first = device.reply();
    first.users.push_back(granted(1));
    device.take(first);
    CHECK(add(5) == "ok 15");
    Reply confirmed = device.reply();
    confirmed.watermark = 1;
    confirmed.verdicts.push_back({1});
    PulledUser& user = confirmed.users.emplace_back(granted(2));
    user.rows.erase(user.rows.begin());
    user.state->since = user.state->since_entries = 1;
    device.take(confirmed);
    CHECK(add(5) == "ok 15");
  }
  std::string add(std::int64_t amount) {
    const auto receipt =
        device.mirror->apply(AddCredits{user_id(2), Credits{amount}, "grant"}, call);
    return receipt ? "ok " + std::to_string(receipt->balance->value)
                   : std::string(name_of(receipt.error().code));
  }
  Reply reply() {
    Reply reply = device.reply();
    reply.acked = reply.watermark = 1;
    return reply;
  }
  void come_back() {
    Reply reply = this->reply();
    reply.users.push_back(granted(2));
    device.take(reply);
  }
};

TEST_CASE("the op_ids of a user who is unsubscribed and comes back are known") {
  Granted granted;
  FedDevice& device = granted.device;
  for (int times = 0; times < 2; ++times) {
    REQUIRE(device.replica.subscribe(std::vector{user_id(3)}));
    device.take(granted.reply());
    CHECK_FALSE(device.mirror->balance(user_id(2)).has_value());
    device.mirror.reopen();
    REQUIRE(device.replica.subscribe(std::nullopt));
    granted.come_back();
    CHECK(granted.add(5) == "ok 15");
    CHECK(granted.add(6) == "operation_conflict");
    CHECK(device.mirror.findings().empty());
  }
  // Nobody else has the number meanwhile.
  REQUIRE(device.replica.subscribe(std::vector{user_id(3)}));
  device.take(granted.reply());
  REQUIRE(device.replica.subscribe(std::nullopt));
  CHECK(device.mirror.apply("create_user user_id=u4 op_id=o7") == "ok 10");
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("the op_ids of a user whom canonical did not know for a while are known") {
  Granted granted;
  FedDevice& device = granted.device;
  Reply lost = granted.reply();
  lost.complete.emplace();
  device.take(lost);
  CHECK_FALSE(device.mirror->balance(user_id(2)).has_value());
  granted.come_back();
  CHECK(granted.add(5) == "ok 15");
  CHECK(device.mirror.findings().empty());
}

PulledUser::Row profile_of_u1(const std::string& name) {
  return row("profiles", {user_id(1).text(), name, std::nullopt, fed_at,
                          R"({"low_credits": true, "job_failed": true, "job_complete": true})",
                          std::nullopt, fed_at});
}

/// u1's profile went, and then, where a row is given, came again.
void lose_profile(FedDevice& device, std::vector<PulledUser::Row> rows = {}) {
  Reply reply = device.reply();
  reply.leases.push_back({user_id(1), id('l', 1), Credits{10}, time_at(3600)});
  PulledUser& user = reply.users.emplace_back();
  user.user_id = user_id(1);
  user.gone = {{"profiles", user_id(1)}};
  user.rows = std::move(rows);
  PulledState& state = user.state.emplace();
  state.since = 1;
  state.since_entries = state.entries = device.entries;
  state.balance = 4;
  state.held = 10;
  device.take(reply);
}

TEST_CASE("a profile that canonical deleted goes from the mirror, and its user can do without") {
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  const auto names = [&] {
    return query(device.mirror.path(), "select display_name from profiles");
  };
  feed(device, {profile_of_u1("A")}, 4, 10);
  CHECK(names() == Lines{"A"});
  lose_profile(device, {profile_of_u1("B")});
  CHECK(names() == Lines{"B"});
  // Also what is still pending on it does not bring it back as it was.
  CHECK(device.mirror.apply("update_profile user_id=u1 display_name=C") == "ok 4");
  lose_profile(device);
  CHECK(names() == Lines{"C"});
  Reply reply = device.reply();
  reply.watermark = 1;
  reply.verdicts.push_back({1});
  reply.leases.push_back({user_id(1), id('l', 1), Credits{10}, time_at(3600)});
  PulledUser& user = reply.users.emplace_back();
  user.user_id = user_id(1);
  PulledState& state = user.state.emplace();
  state.since = 1;
  state.since_entries = state.entries = device.entries;
  state.balance = 4;
  state.held = 10;
  device.take(reply);
  CHECK(names().empty());
  CHECK(device.mirror->account(user_id(1)).has_value());
  CHECK(device.mirror.apply("fail_job job_id=j1 error_code=E") == "ok 4");
  CHECK(device.mirror.findings().empty());
}

/// What the engine of a device tells of jobs and balances.
struct Ears {
  Lines heard;

  Options options(SpendPolicy policy = SpendPolicy::optimistic) {
    Options options = TemporaryMirror::fast();
    options.spend_policy = policy;
    options.verdict_timeout = std::chrono::milliseconds{0};
    options.callbacks.job_failed = [this](const Uuid&, const Uuid& job) {
      heard.push_back("failed " + std::to_string(job.bytes[15]));
    };
    options.callbacks.job_complete = [this](const Uuid&, const Uuid& job) {
      heard.push_back("complete " + std::to_string(job.bytes[15]));
    };
    options.callbacks.low_credits = [this](const Uuid& user, Credits balance) {
      heard.push_back("low " + std::to_string(user.bytes[15]) + " " +
                      std::to_string(balance.value));
    };
    return options;
  }
  void listen_to(FedDevice& device, SpendPolicy policy = SpendPolicy::optimistic) {
    device.mirror.close();
    device.mirror.open(options(policy));
  }
};

TEST_CASE("each run of a job that failed elsewhere is told, and told once") {
  FedDevice device(all, {{1, "RENDERING", 3, id('r', 1).text()}}, SpendPolicy::optimistic);
  feed(device, {profile_of_u1("A")}, 1, 13);
  Ears ears;
  ears.listen_to(device);
  std::vector<PulledUser::Row> rows;
  add(rows, {1, "FAILED", 0, id('r', 1).text()});
  rows.push_back(entry(4, "refund", 3, 4, job_id(1).text()));
  feed(device, rows, 4, 10);
  CHECK(ears.heard == Lines{"failed 1"});
  // Retried, and failed again before the next pull.
  rows.clear();
  add(rows, {1, "FAILED", 0, id('r', 2).text()});
  rows.push_back(entry(5, "reserve", -2, 2, job_id(1).text()));
  rows.push_back(entry(6, "refund", 2, 4, job_id(1).text()));
  feed(device, rows, 4, 10);
  CHECK(ears.heard == Lines{"failed 1", "failed 1"});
  feed(device, {rows.front()}, 4, 10);
  CHECK(ears.heard.size() == 2);
}

TEST_CASE("a run that ended here is not told again when canonical feeds its end") {
  FedDevice device(all, {{1, "PACKAGING", 3, id('r', 1).text()}}, SpendPolicy::optimistic);
  feed(device, {profile_of_u1("A")}, 1, 13);
  Ears ears;
  ears.listen_to(device);
  CHECK(device.mirror.apply("complete_job job_id=j1 final_cost=3") == "ok 1");
  // Another device's claim keeps it from its effect here, until canonical judges it.
  std::vector<PulledUser::Row> rows;
  add(rows, {1, "PACKAGING", 3, id('r', 1).text(), time_at(100).text(), id('y', 1).text()});
  feed(device, rows, 1, 13);
  CHECK(pending(device) == Lines{"1 not_claim_holder"});
  CHECK(query(device.mirror.path(), "select status from jobs") == Lines{"PACKAGING"});
  Reply reply = device.reply();
  reply.watermark = 1;
  reply.verdicts.push_back({1});
  reply.leases.push_back({user_id(1), id('l', 1), Credits{10}, time_at(3600)});
  PulledUser& user = reply.users.emplace_back();
  user.user_id = user_id(1);
  add(user.rows, {1, "READY", 0, id('r', 1).text()});
  user.rows.push_back(entry(4, "reserve", 3, 4, job_id(1).text()));
  user.rows.push_back(entry(5, "usage", -3, 1, job_id(1).text()));
  PulledState& state = user.state.emplace();
  state.since = 1;
  state.since_entries = 3;
  state.entries = 5;
  state.balance = 1;
  state.held = 10;
  device.take(reply);
  CHECK(query(device.mirror.path(), "select status from jobs") == Lines{"READY"});
  CHECK(std::count(ears.heard.begin(), ears.heard.end(), "complete 1") == 1);
}

TEST_CASE("low_credits is told of what is pulled, where the balance falls below the setting") {
  FedDevice device(all, {}, SpendPolicy::online);
  std::vector<PulledUser::Row> rows{profile_of_u1("A"), entry(3, "grant", 5, 9)};
  feed(device, rows, 9, 10);
  Ears ears;
  ears.listen_to(device, SpendPolicy::online);
  feed(device, {entry(4, "expire", -4, 5)}, 5, 10);
  CHECK(ears.heard.empty());
  feed(device, {entry(5, "expire", -1, 4)}, 4, 10);
  CHECK(ears.heard == Lines{"low 1 4"});
  feed(device, {entry(6, "expire", -1, 3)}, 3, 10);
  CHECK(ears.heard.size() == 1);
  feed(device, {entry(7, "grant", 5, 8)}, 8, 10);
  feed(device, {entry(8, "expire", -8, 0)}, 0, 10);
  CHECK(ears.heard == Lines{"low 1 4", "low 1 0"});
}

TEST_CASE("low_credits is not told of a user who is fed for the first time, nor of a fall twice") {
  Ears ears;
  FedDevice device(all, {}, SpendPolicy::optimistic);
  feed(device, {profile_of_u1("A"), entry(3, "grant", 5, 9)}, 9, 10);
  ears.listen_to(device);
  // It is what the host was shown that falls: with what was spent here, and is spent again.
  CHECK(device.mirror.apply("expire_credits user_id=u1 amount=6") == "ok 3");
  CHECK(ears.heard == Lines{"low 1 3"});
  feed(device, {entry(4, "expire", -1, 8)}, 8, 10);
  CHECK(device.mirror.balance() == 2);
  CHECK(ears.heard.size() == 1);
  Reply reply = device.reply();
  PulledUser& user = reply.users.emplace_back();
  user.user_id = user_id(2);
  user.rows = {profile_of_u1("B"), entry(1, "grant", 1, 1)};
  user.rows[0].texts[0] = user.rows[1].texts[1] = user_id(2).text();
  user.rows[1].texts[0] = id('f', 1).text();
  user.state.emplace();
  user.state->entries = user.state->balance = 1;
  device.take(reply);
  CHECK(device.mirror->balance(user_id(2)).value() == Credits{1});
  CHECK(ears.heard.size() == 1);
}

TEST_CASE("a number that a blocked operation did not take may be its op_id's, of another user") {
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("create_user user_id=u2") == "ok 10");
  CHECK(device.mirror.apply("expire_credits user_id=u1 amount=4 op_id=o1") == "ok 0");
  feed(device, {entry(3, "expire", -3, 1)}, 1, 10);
  CHECK(pending(device) == Lines{"1 ok", "2 insufficient_credits"});
  CHECK(device.mirror.apply("expire_credits user_id=u2 amount=4 op_id=o1") == "ok 6");
  CHECK(device.mirror.findings().empty());
  feed(device, {entry(4, "grant", 1, 2)}, 2, 10);
  CHECK(device.mirror.balance() == 2);
  CHECK(device.mirror.balance(2) == 6);
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("a number that a blocked operation did not take may be its own, called again") {
  const std::string hold = id('r', 1).text();
  FedDevice device(all, {{1, "QUEUED", 2, hold}}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("claim_job job_id=j1 ttl=60 op_id=o1") == "ok 2");
  std::vector<PulledUser::Row> rows;
  add(rows, {1, "QUEUED", 2, hold, time_at(3600).text(), id('x', 2).text()});
  rows.push_back(entry(4, "grant", 5, 7));
  feed(device, std::move(rows), 7, 12);
  CHECK(device.mirror.apply("claim_job job_id=j1 ttl=60 op_id=o1 at=\"" + time_at(3600).text() +
                            "\"") == "ok 7");
  CHECK(pending(device) == Lines{"1 already_claimed", "2 ok"});
  CHECK(device.mirror.findings().empty());
  rows.clear();
  add(rows, {1, "QUEUED", 2, hold, time_at(3660).text(), id('x', 1).text()});
  feed(device, std::move(rows), 7, 12, id('l', 1),
       {{1, Code::already_claimed, {}, {}}, {2, Code::ok, {}, {}}});
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("an entry that canonical gave no time is no finding") {
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  PulledUser::Row timeless = entry(3, "grant", 5, 9);
  timeless.texts[5] = std::nullopt;
  feed(device, {timeless}, 9, 10);
  CHECK(device.mirror.balance() == 9);
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("an operation that was applied again is looked at as it stands") {
  const auto with_damage = [](const char* damage, auto&& look) {
    FedDevice device(all, {{1}}, SpendPolicy::optimistic);
    CHECK(device.mirror.apply("add_credits user_id=u1 amount=1 type=grant") == "ok 5");
    feed(device, {entry(3, "grant", 2, 6)}, 6, 10);
    CHECK(pending(device) == Lines{"1 ok"});
    device.mirror.close();
    tamper(device.mirror.path(), damage);
    device.mirror.open();
    look(device.mirror);
  };
  const auto finding_after = [&](const char* damage) {
    Lines found;
    with_damage(damage, [&](TemporaryMirror& mirror) { found = mirror.findings(); });
    return found.empty() ? "" : found.front();
  };
  const auto code_after = [&](const char* damage) {
    Code code{};
    with_damage(damage, [&](TemporaryMirror& mirror) {
      const auto anew = Replica(mirror.engine()).enrol_anew({id('x', 2), all, std::nullopt});
      code = anew ? Code::ok : anew.error().code;
    });
    return code;
  };
  const auto ends_in = [](const std::string& text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
  };
  CHECK(finding_after("select 1") == "");
  const char* of_nobody = "update tally_rebased set body = cast(x'00' || substr(body, 2) as blob)";
  CHECK(ends_in(finding_after(of_nobody), "was applied as another"));
  const char* counts_none =
      "update tally_rebased"
      " set body = cast(substr(body, 1, length(body) - 1) || x'00' as blob)";
  CHECK(ends_in(finding_after(counts_none), "took a number, not none"));
  CHECK(code_after("select 1") == Code::ok);
  CHECK(code_after("update tally_rebased set body = cast(body || x'01' as blob)") == Code::corrupt);
  // Of a record that was not applied again, none is none of the counts that there are.
  CHECK(code_after("delete from tally_rebased; update tally_outbox"
                   " set body = cast(substr(body, 1, length(body) - 1) || x'00' as blob)") ==
        Code::corrupt);
}

}  // namespace
}  // namespace tally::test
