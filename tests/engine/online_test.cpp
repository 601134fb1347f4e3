// SpendPolicy::online: what the engine queues without effect, and what canonical's verdict makes of
// it. No server: the verdicts are made here.
#include "engine/fed_device.hpp"
#include "tally/trace.hpp"

namespace tally::test {
namespace {

Lines pushed_lines(FedDevice& device) {
  const auto push = device.replica.next_push(100, 1'000'000);
  Lines lines;
  for (const PushedOperation& operation : push.value().operations) lines.push_back(operation.line);
  return lines;
}

/// The reservation that an operation of a pushed batch means; `-` for none.
Lines reservations_in(const std::string& line) {
  const auto command = parse_trace_line(line);
  Lines ids;
  for (const Command& inner : std::get<Batch>(command.value().operation).operations)
    ids.push_back(inner.reservation ? inner.reservation->text() : "-");
  return ids;
}

std::int64_t pending_of(Engine& engine, std::uint64_t user) {
  return engine.check(user_id(user))->pending_operations;
}

TEST_CASE(
    "online: what is queued has no effect, is counted as pending, and is sent as it was called") {
  FedDevice device(all, {{1}}, SpendPolicy::online);
  const std::string line =
      device.mirror.lines.line("reserve_credits user_id=u1 job_id=j1 amount=3 op_id=o1");
  CHECK(short_answer(device.mirror.apply_line(line)) == "pending 4");
  CHECK(device.mirror.balance() == 4);
  CHECK(device.held() == 10);
  CHECK(pending_of(device.mirror.engine(), 1) == 1);
  const auto push = device.replica.next_push(10, 10'000);
  REQUIRE(push->operations.size() == 1);
  CHECK(push->operations[0].number == 1);
  CHECK(push->operations[0].user_id == user_id(1));
  CHECK(push->operations[0].line == trace_line(parse_trace_line(line).value()));
  REQUIRE(device.replica.each_pending([](const PendingOperation& operation) {
    CHECK(operation.queued);
    CHECK(operation.sent);
    return true;
  }));
  // It is there when the file is opened again, and so is its place.
  device.mirror.reopen();
  CHECK(device.mirror.apply("add_credits user_id=u1 amount=1 type=grant op_id=o2") == "pending 4");
  Replica replica(device.mirror.engine());
  CHECK(replica.next_push(10, 10'000)->operations.back().number == 2);
  CHECK(pending_of(device.mirror.engine(), 1) == 2);
  CHECK(device.mirror.findings().empty());
}

TEST_CASE(
    "online: operations that are queued in one commit have the numbers under which they wait") {
  FedDevice device(all, {{1}}, SpendPolicy::online);
  std::vector<Command> commands;
  for (int i = 0; i < 3; ++i)
    commands.push_back(device.mirror->make_command(AddCredits{user_id(1), Credits{1}, "grant"}));
  const auto verdicts = device.mirror.submit(std::move(commands));
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    CHECK(verdicts[i].code == Code::pending);
    CHECK(verdicts[i].number == static_cast<std::int64_t>(i) + 1);
  }
  CHECK(device.replica.state()->value().pending == 3);
  CHECK(device.replica.next_push(2, 10'000)->operations.back().number == 2);
}

TEST_CASE("online: another engine on the file sees at once how much is pending") {
  FedDevice device(all, {{1}}, SpendPolicy::online);
  auto other = Engine::open(device.mirror.path(), TemporaryMirror::fast());
  REQUIRE(other.has_value());
  CHECK(pending_of(*other, 1) == 0);
  CHECK(device.mirror.apply("add_credits user_id=u1 amount=1 type=grant") == "pending 4");
  CHECK(pending_of(*other, 1) == 1);
  CHECK(other->balance(user_id(1)).value() == Credits{4});
}

TEST_CASE("online: an operation means the hold that is open as it is called") {
  FedDevice device(all, {{.n = 1, .hold = 2, .reservation = id('o', 9).text()}, {2}},
                   SpendPolicy::online);
  CHECK(device.mirror.apply("release_job_credits job_id=j1") == "pending 2");
  CHECK(device.mirror.apply("release_job_credits job_id=j2") == "pending 2");
  const Lines lines = pushed_lines(device);
  CHECK(parse_trace_line(lines.at(0))->reservation == id('o', 9));
  CHECK(parse_trace_line(lines.at(1))->reservation == Uuid{});
}

TEST_CASE(
    "online: in a batch, an operation means the hold that is open, or that one before it opens") {
  FedDevice device(all, {{.n = 1, .hold = 2, .reservation = id('o', 9).text()}, {2}, {3}},
                   SpendPolicy::online);
  CHECK(
      device.mirror.apply("batch op_id=o1 ops=(advance_job op_id=o2 job_id=j2 to=QUEUED ; "
                          "release_job_credits op_id=o3 job_id=j1 ; "
                          "reserve_credits op_id=o4 user_id=u1 job_id=j2 amount=1 ; "
                          "report_progress op_id=o5 job_id=j2 step_name=SCRIPTING progress_pct=1 ; "
                          "release_job_credits op_id=o6 job_id=j3 ; "
                          "fail_job op_id=o7 job_id=j2 error_code=E ; "
                          "retry_job op_id=o8 job_id=j2 amount=1 ; "
                          "finalize_job_credits op_id=o9 job_id=j2 final_cost=1)") == "pending 2");
  const Lines lines = pushed_lines(device);
  const std::string none = Uuid{}.text();
  const std::string opened = op_id(4).text();
  CHECK(reservations_in(lines.at(0)) ==
        Lines{none, op_id(9).text(), "-", opened, none, opened, opened, op_id(8).text()});
}

TEST_CASE("online: a reservation that the caller names is left as it is") {
  FedDevice device(all, {{.n = 1, .hold = 2, .reservation = id('o', 9).text()}, {2}},
                   SpendPolicy::online);
  CHECK(device.mirror.apply("release_job_credits job_id=j1 reservation=o5") == "pending 2");
  CHECK(device.mirror.apply("batch ops=(reserve_credits op_id=o4 user_id=u1 job_id=j2 amount=1 ; "
                            "release_job_credits op_id=o6 job_id=j2 reservation=o7)") ==
        "pending 2");
  const Lines lines = pushed_lines(device);
  CHECK(parse_trace_line(lines.at(0))->reservation == op_id(5));
  CHECK(reservations_in(lines.at(1)) == Lines{"-", op_id(7).text()});
}

TEST_CASE("online: the operations of a batch are of the batch's time") {
  FedDevice device(all, {{1}}, SpendPolicy::online);
  const CallId call{op_id(1), time_at(77)};
  std::vector<Command> commands(2);
  for (Command& command : commands) command.operation = AddCredits{user_id(1), Credits{1}, "grant"};
  CHECK(device.mirror->apply_batch(commands, call).error().code == Code::pending);
  REQUIRE(device.replica.each_pending([](const PendingOperation& operation) {
    for (const Command& inner : std::get<Batch>(operation.command.operation).operations)
      CHECK(inner.at == time_at(77));
    return true;
  }));
}

TEST_CASE("online: what is no operation is refused at once, with its place, and is not queued") {
  FedDevice device(all, {{1}}, SpendPolicy::online);
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=0") == "invalid_amount 4");
  CHECK(device.mirror.apply("batch op_id=o1 ops=(report_progress op_id=o2 job_id=j1 "
                            "step_name=SCRIPTING progress_pct=1 ; "
                            "reserve_credits op_id=o3 user_id=u1 job_id=j1 amount=0)") ==
        "invalid_amount 4 index=1");
  CHECK(device.mirror.apply("batch op_id=o1 ops=(reserve_credits op_id=o1 user_id=u1 job_id=j1 "
                            "amount=1)") == "operation_conflict 4 index=0");
  CHECK(pushed_lines(device).empty());
  CHECK(pending_of(device.mirror.engine(), 1) == 0);
  CHECK(device.mirror.apply("batch op_id=o1 ops=(reserve_credits op_id=o2 user_id=u1 job_id=j1 "
                            "amount=1)") == "pending 4");
}

TEST_CASE(
    "online: a mirror without a device waits for nobody, nor does a half's own housekeeping") {
  Options online = TemporaryMirror::fast();
  online.spend_policy = SpendPolicy::online;
  TemporaryMirror alone(online);
  CHECK(alone.apply("create_user user_id=u1") == "ok 10");
  FedDevice device(all, {{1}}, SpendPolicy::online);
  CHECK(device.mirror.apply("purge_expired_drafts") == "ok -");
}

TEST_CASE("online: what was applied before the policy was this one is applied again, not queued") {
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  CHECK(device.mirror.apply("batch ops=(reserve_credits op_id=o2 user_id=u1 job_id=j1 amount=3 ; "
                            "finalize_job_credits op_id=o3 job_id=j1 final_cost=2)") == "ok 2");
  device.mirror.close();
  Options online = TemporaryMirror::fast();
  online.spend_policy = SpendPolicy::online;
  device.mirror.open(online);
  feed(device, {entry(3, "grant", 5, 9)}, 9, 10);
  CHECK(device.mirror.balance() == 7);
  CHECK(pending(device) == Lines{"1 ok"});
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("online: a verdict tells what became of it, and its effect comes with the rows") {
  FedDevice device(all, {{1}, {2}}, SpendPolicy::online);
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=3 op_id=o1") ==
        "pending 4");
  CHECK(device.mirror.apply("batch op_id=o2 ops=(reserve_credits op_id=o3 user_id=u1 job_id=j2 "
                            "amount=9)") == "pending 4");
  std::vector<PulledUser::Row> rows;
  add(rows, {.n = 1, .hold = 3, .reservation = op_id(1).text()});
  rows.push_back(entry(3, "reserve", -3, 1, job_id(1).text()));
  const Taken taken = feed(device, std::move(rows), 1, 13, id('l', 1),
                           {{1, Code::ok, {}, {}}, {2, Code::insufficient_credits, {}, 0}});
  REQUIRE(taken.settled.size() == 2);
  CHECK(taken.settled[0].number == 1);
  CHECK(taken.settled[0].verdict.code == Code::ok);
  CHECK(taken.settled[0].verdict.op_id == op_id(1));
  CHECK(taken.settled[1].number == 2);
  CHECK(taken.settled[1].verdict.code == Code::insufficient_credits);
  CHECK(taken.settled[1].verdict.index == 0U);
  CHECK(taken.rejected.size() == 1);
  CHECK(device.mirror.balance() == 1);
  CHECK(pending_of(device.mirror.engine(), 1) == 0);
  // Called again, it is known.
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=3 op_id=o1") == "ok 1");
  CHECK(device.mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=4 op_id=o1") ==
        "operation_conflict 1");
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("online: a report that changed nothing is not remembered, and one that did is") {
  for (const bool changed : {false, true}) {
    CAPTURE(changed);
    FedDevice device(all, {{1, "RENDERING", 3, id('r', 1).text()}}, SpendPolicy::online);
    const std::string report =
        "report_progress job_id=j1 step_name=RENDERING op_id=o5 progress_pct=";
    CHECK(device.mirror.apply(report + "1") == "pending 1");
    Reply reply = device.reply();
    reply.watermark = 1;
    reply.verdicts.push_back({1});
    reply.leases.push_back({user_id(1), id('l', 1), Credits{10}, time_at(3600)});
    PulledUser& user = reply.users.emplace_back();
    user.user_id = user_id(1);
    if (changed) {
      add(user.rows, {1, "RENDERING", 3, id('r', 1).text()});
      user.rows[0].texts[5] = "it goes on";
    }
    PulledState& state = user.state.emplace();
    state.since = 1;
    state.since_entries = state.entries = device.entries;
    state.balance = 1;
    state.held = 13;
    device.take(reply);
    CHECK(device.mirror.apply(report + "2") == (changed ? "operation_conflict 1" : "pending 1"));
    CHECK(device.mirror.findings().empty());
  }
}

}  // namespace
}  // namespace tally::test
