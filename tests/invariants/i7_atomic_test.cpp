// I7 atomic: an operation applies whole or not at all; a batch likewise.
#include <doctest/doctest.h>

#include "support/broken_mirror.hpp"

namespace tally::test {
namespace {

/// One operation of every kind that can be refused late, after others wrote.
const std::vector<std::string> inner_operations{
    "update_profile user_id=u1 display_name=New notification_prefs={}",
    "add_credits user_id=u1 amount=7 type=purchase stripe_payment_id=pi_7",
    "expire_credits user_id=u1 amount=1",
    "create_draft draft_id=d7 session_token=S user_id=u1 prompt_text=P",
    "update_draft draft_id=d1 user_id=u1 prompt_text=Q",
    "claim_draft session_token=T user_id=u1",
    "create_project project_id=p7 user_id=u1 title=T prompt_text=P niche_preset=facts "
    "target_minutes=1 "
    "voice_profile_id=v1",
    "update_project project_id=p1 user_id=u1 title=U voice_profile_id=null",
    "delete_project project_id=p7 user_id=u1",
    "create_voice_profile voice_profile_id=v7 user_id=u1 name=N audio_path=A",
    "delete_voice_profile voice_profile_id=v1 user_id=u1",
    "create_job job_id=j7 project_id=p1 user_id=u1",
    "reserve_credits user_id=u1 job_id=j7 amount=1",
    "advance_job job_id=j7 to=QUEUED status_message=M",
    "claim_job job_id=j7 ttl=60",
    "renew_claim job_id=j7 ttl=60",
    "drop_claim job_id=j7",
    "advance_job job_id=j7 to=SCRIPTING",
    "report_progress job_id=j7 step_name=SCRIPTING progress_pct=50",
    "add_asset asset_id=a7 job_id=j7 type=zip url=U storage_path=S",
    "fail_job job_id=j7 error_code=E error_message=M",
    "retry_job job_id=j7 amount=1",
    "release_job_credits job_id=j7",
    "finalize_job_credits job_id=j1 final_cost=8"};

void fill(TemporaryMirror& mirror) {
  mirror.check(
      users_with_jobs(1) + job_to("PACKAGING") +
      Rows{{"create_voice_profile voice_profile_id=v1 user_id=u1 name=N audio_path=A", "ok 2"},
           {"update_project project_id=p1 user_id=u1 voice_profile_id=v1", "ok 2"},
           {"create_draft draft_id=d1 session_token=S user_id=u1 prompt_text=P", "ok 2"},
           {"create_draft draft_id=d2 session_token=T prompt_text=P", "ok -"}});
}

}  // namespace

TEST_CASE("I7: a batch that is refused at its last operation leaves every row as it was") {
  TemporaryMirror mirror;
  fill(mirror);
  const Dump before = dump(mirror.path());
  std::string all;
  for (std::size_t n = 0; n < inner_operations.size(); ++n) {
    all += inner_operations[n];
    CAPTURE(inner_operations[n]);
    CHECK(mirror.apply("batch ops=(" + all + ";drop_claim job_id=j1)") ==
          "not_claim_holder 2 index=" + std::to_string(n + 1));
    CHECK(difference(before, dump(mirror.path())) == "");
    all += ";";
  }
  mirror.check({{"batch ops=(" + all + "update_profile user_id=u1)", "ok 8"}});
  CHECK(mirror.findings().empty());
}

TEST_CASE(
    "I7: the next operation after a refused batch sees nothing of it, in the same commit, too") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  std::vector<Command> commands;
  const auto add = [&](std::string_view text) {
    commands.push_back(parse_trace_line(mirror.lines.line(text)).value());
  };
  add("batch ops=(reserve_credits user_id=u1 job_id=j1 amount=8; add_credits user_id=u1 amount=1 "
      "type=grant "
      "stripe_payment_id=pi_1; reserve_credits user_id=u1 job_id=j1 amount=1)");
  add("expire_credits user_id=u1 amount=10");
  add("add_credits user_id=u1 amount=4 type=grant stripe_payment_id=pi_1");
  add("reserve_credits user_id=u1 job_id=j1 amount=3");
  const auto verdicts = mirror.submit(commands);
  REQUIRE(verdicts.size() == 4);
  CHECK(verdicts[0].code == Code::already_reserved);
  CHECK(verdicts[0].index == 2);
  CHECK(verdicts[0].balance == Credits{10});
  CHECK(verdicts[1].balance == Credits{0});
  CHECK(verdicts[2].code == Code::ok);
  CHECK(verdicts[2].balance == Credits{4});
  CHECK(verdicts[3].code == Code::ok);
  CHECK(mirror.findings().empty());
}

TEST_CASE("I7: every refused operation leaves every row as it was") {
  // Every table of the contract's section 4: whatever is refused there changes no row.
  for (const OperationTable& table : operation_tables()) {
    CAPTURE(table.claim);
    TemporaryMirror mirror;
    Dump before = dump(mirror.path());
    for (const Row& row : table.rows) {
      const bool refused = !row.answer.starts_with("ok");
      mirror.apply(row.line);
      Dump after = dump(mirror.path());
      CAPTURE(row.line);
      if (refused) CHECK(difference(before, after) == "");
      before = std::move(after);
    }
  }
}

TEST_CASE(
    "I7: where the disk has no more room, the operation is a failure, nothing of it is there, and "
    "it can be tried again") {
  if (!why_no_file_size_limit().empty()) {
    MESSAGE("skipped: " << why_no_file_size_limit());
    return;
  }
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.close();
  // A limit on file sizes is a disk that is full; in a child, since it holds for the process.
  const auto fills_the_disk = [](const Pipes& pipes, const Given& given) {
    auto engine = Engine::open(given.path, TemporaryMirror::fast());
    if (!engine) return 1;
    if (!limit_file_sizes(300'000)) return 2;
    std::uint64_t acknowledged = 0;
    bool failed = false;
    for (int i = 0; i < 200 && !failed; ++i) {
      const auto receipt =
          engine->apply(AddCredits{user_id(1), Credits{1}, "grant", std::string(20'000, 'n')});
      if (receipt) ++acknowledged;
      if (!receipt && !is_failure(receipt.error().code)) return 3;
      failed = !receipt.has_value();
    }
    if (!failed) return 4;
    if (engine->balance(user_id(1))->value != 10 + static_cast<std::int64_t>(acknowledged))
      return 5;
    if (!limit_file_sizes({})) return 6;
    if (!engine->apply(AddCredits{user_id(1), Credits{1}, "grant"})) return 7;
    pipes.write(acknowledged + 1);
    return 0;
  };
  ChildProcess child(fills_the_disk, {mirror.path()});
  const auto acknowledged = child.read();
  CHECK(child.wait() == 0);
  REQUIRE(acknowledged.has_value());
  mirror.open();
  CHECK(mirror.balance() == 10 + static_cast<std::int64_t>(*acknowledged));
  CHECK(mirror.findings().empty());
}

}  // namespace tally::test
