// I6 exactly once: an operation whose op_id was already applied for its user has no further effect
// and returns ok again, with the id it returned first; with other fields it is operation_conflict.
#include <doctest/doctest.h>

#include "support/broken_mirror.hpp"

namespace tally::test {
namespace {

/// Everything but the op_ids that a mirror knows.
Dump rows_of(TemporaryMirror& mirror) { return dump(mirror.path()); }

}  // namespace

TEST_CASE("I6: every operation of a day is ok again and changes nothing") {
  TemporaryMirror mirror;
  std::vector<std::string> done;
  for (const Row& row : a_day()) {
    const std::string line = mirror.lines.line(row.line);
    if (short_answer(mirror.apply_line(line)).starts_with("ok")) done.push_back(line);
  }
  const Dump before = rows_of(mirror);
  for (const std::string& line : done) {
    CAPTURE(line);
    CHECK(short_answer(mirror.apply_line(line)).starts_with("ok"));
  }
  CHECK(difference(before, rows_of(mirror)) == "");
}

TEST_CASE("I6: so it is after the mirror was reopened") {
  TemporaryMirror mirror;
  std::vector<std::string> done;
  for (const Row& row : a_day()) {
    const std::string line = mirror.lines.line(row.line);
    if (short_answer(mirror.apply_line(line)).starts_with("ok")) done.push_back(line);
  }
  mirror.reopen();
  const Dump before = rows_of(mirror);
  for (const std::string& line : done) {
    CAPTURE(line);
    CHECK(short_answer(mirror.apply_line(line)).starts_with("ok"));
  }
  CHECK(difference(before, rows_of(mirror)) == "");
}

TEST_CASE("I6: a repeat within one submit is ok and changes nothing") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  std::vector<Command> commands;
  for (int i = 0; i < 3; ++i) {
    commands.push_back(
        mirror->make_command(AddCredits{user_id(1), Credits{5}, "grant"}, {op_id(1), {}}));
  }
  for (const Verdict& verdict : mirror.submit(commands)) {
    CHECK(verdict.code == Code::ok);
    CHECK(verdict.balance == Credits{15});
  }
  CHECK(mirror.balance() == 15);
}

TEST_CASE("I6: another time is no other operation") {
  TemporaryMirror mirror;
  mirror.check(
      {{"create_user user_id=u1", "ok 10"},
       {"add_credits user_id=u1 amount=5 type=grant op_id=o1", "ok 15"},
       {"add_credits user_id=u1 amount=5 type=grant op_id=o1 at=\"2030-01-01T00:00:00.000000Z\"",
        "ok 15"}});
}

TEST_CASE("I6: each other value of each field is operation_conflict") {
  TemporaryMirror mirror;
  mirror.check(
      {{"create_user user_id=u1", "ok 10"},
       {"add_credits user_id=u1 amount=5 type=grant op_id=o1", "ok 15"},
       {"add_credits user_id=u1 amount=6 type=grant op_id=o1", "operation_conflict 15"},
       {"add_credits user_id=u1 amount=5 type=refund op_id=o1", "operation_conflict 15"},
       {"add_credits user_id=u1 amount=5 type=grant note=N op_id=o1", "operation_conflict 15"},
       {"add_credits user_id=u1 amount=5 type=grant note=\"\" op_id=o1", "operation_conflict 15"},
       {"add_credits user_id=u1 amount=5 type=grant stripe_payment_id=pi_1 op_id=o1",
        "operation_conflict 15"},
       {"expire_credits user_id=u1 amount=5 op_id=o1", "operation_conflict 15"},
       {"add_credits user_id=u1 amount=5 type=grant note=null op_id=o1", "ok 15"}});
}

TEST_CASE("I6: fields are compared by value, after defaults") {
  TemporaryMirror mirror;
  const std::string project =
      " user_id=u1 title=T prompt_text=P niche_preset=facts target_minutes=1 op_id=o1";
  mirror.check(
      {{"create_user user_id=u1", "ok 10"},
       {"create_project project_id=\"0000abcd-0000-7000-8000-00000000000A\"" + project, "ok 10"},
       {"create_project project_id=\"0000ABCD-0000-7000-8000-00000000000a\"" + project, "ok 10"},
       {"create_project project_id=\"0000abcd-0000-7000-8000-00000000000a\" transcript_mode=auto "
        "settings={}" +
            project,
        "ok 10"},
       {"create_project project_id=\"0000abcd-0000-7000-8000-00000000000a\" "
        "transcript_mode=manual" +
            project,
        "operation_conflict 10"},
       {"create_voice_profile voice_profile_id=v1 user_id=u1 name=N audio_path=A "
        "settings={\"b\":1.0,\"a\":[1,2]} op_id=o2",
        "ok 10"},
       {"create_voice_profile voice_profile_id=v1 user_id=u1 name=N audio_path=A provider=custom "
        "settings={\"a\":[1,2],\"b\":1.0} op_id=o2",
        "ok 10"},
       {"create_voice_profile voice_profile_id=v1 user_id=u1 name=N audio_path=A "
        "settings={\"a\":[2,1],\"b\":1.0} op_id=o2",
        "operation_conflict 10"}});
}

TEST_CASE("I6: in an update an absent field and a null one differ") {
  TemporaryMirror mirror;
  mirror.check({{"create_user user_id=u1", "ok 10"},
                {"update_profile user_id=u1 op_id=o1", "ok 10"},
                {"update_profile user_id=u1 avatar_url=null op_id=o1", "operation_conflict 10"},
                {"update_profile user_id=u1 op_id=o1", "ok 10"}});
}

TEST_CASE("I6: the same op_id for another user is another operation") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(2) +
               Rows{{"add_credits user_id=u1 amount=5 type=grant op_id=o1", "ok 15"},
                    {"add_credits user_id=u2 amount=5 type=grant op_id=o1", "ok 15"},
                    {"add_credits user_id=u2 amount=5 type=grant op_id=o1", "ok 15"},
                    {"reserve_credits user_id=u1 job_id=j1 amount=5 op_id=o2", "ok 10"},
                    {"reserve_credits user_id=u2 job_id=j2 amount=5 op_id=o2", "ok 10"},
                    {"release_job_credits job_id=j1 op_id=o3", "ok 15"},
                    {"release_job_credits job_id=j2 op_id=o3", "ok 15"}});
  CHECK(mirror.findings().empty());
}

TEST_CASE("I6: an operation of no user has op_ids of its own") {
  TemporaryMirror mirror;
  mirror.check(
      {{"create_user user_id=u1 op_id=o1", "ok 10"},
       {"purge_expired_drafts op_id=o1", "ok -"},
       {"purge_expired_drafts op_id=o1", "ok -"},
       {"sweep grace=1 op_id=o1", "operation_conflict -"},
       {"create_draft draft_id=d1 session_token=S prompt_text=P op_id=o1", "operation_conflict -"},
       {"create_draft draft_id=d1 session_token=S user_id=u1 prompt_text=P op_id=o2", "ok 10"}});
}

TEST_CASE("I6: claim_draft returns the same id again, though there is nothing left to claim") {
  TemporaryMirror mirror;
  mirror.check(
      {{"create_user user_id=u1", "ok 10"},
       {"create_draft draft_id=d1 session_token=S prompt_text=P", "ok -"},
       {"claim_draft session_token=S user_id=u1 op_id=o1", "ok 10 id=" + id('d', 1).text()},
       {"create_draft draft_id=d2 session_token=S prompt_text=P", "ok -"},
       {"claim_draft session_token=S user_id=u1 op_id=o1", "ok 10 id=" + id('d', 1).text()}});
  mirror.reopen();
  mirror.check(
      {{"claim_draft session_token=S user_id=u1 op_id=o1", "ok 10 id=" + id('d', 1).text()},
       {"claim_draft session_token=S user_id=u1", "ok 10 id=" + id('d', 2).text()}});
}

TEST_CASE("I6: an operation on a job is known after the job was deleted") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) +
               Rows{{"reserve_credits user_id=u1 job_id=j1 amount=5 op_id=o1", "ok 5"},
                    {"release_job_credits job_id=j1 op_id=o2", "ok 10"},
                    {"delete_project project_id=p1 user_id=u1", "ok 10"},
                    {"reserve_credits user_id=u1 job_id=j1 amount=5 op_id=o1", "ok 10"},
                    {"release_job_credits job_id=j1 op_id=o2", "ok -"},
                    {"release_job_credits job_id=j1 op_id=o3", "job_not_found -"},
                    {"fail_job job_id=j1 error_code=E op_id=o2", "job_not_found -"}});
}

TEST_CASE("I6: so is a batch, with an operation in it that changed nothing") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) + job_to("SCRIPTING"));
  const std::string job = R"("job_id":")" + id('j', 1).text() + "\"";
  const auto batch = [&](const std::string& code) {
    return R"({"op":"batch","op_id":")" + op_id(900).text() +
           R"(","at":"2026-01-18T01:00:00.000000Z","ops":[{"op":"report_progress","op_id":")" +
           op_id(901).text() + R"(",)" + job +
           R"(,"step_name":"SCRIPTING","progress_pct":0},{"op":"fail_job","op_id":")" +
           op_id(902).text() + R"(",)" + job + R"(,"error_code":")" + code + R"("}]})";
  };
  CHECK(short_answer(mirror.apply_line(batch("E"))).starts_with("ok"));
  mirror.check({{"delete_project project_id=p1 user_id=u1", "ok 10"}});
  CHECK(short_answer(mirror.apply_line(batch("E"))).starts_with("ok"));
  CHECK(short_answer(mirror.apply_line(batch("F"))).starts_with("job_not_found"));
}

TEST_CASE("I6: one on a job that is another user's by now is that user's operation") {
  TemporaryMirror mirror;
  const std::string release = "release_job_credits job_id=j1 op_id=o3";
  const std::string reserve = "reserve_credits user_id=u2 job_id=j1 amount=5";
  const std::string batch = "batch op_id=o4 ops=(release_job_credits job_id=j1 op_id=o5)";
  mirror.check(users_with_jobs(2) + Rows{{"reserve_credits user_id=u1 job_id=j1 amount=5", "ok 5"},
                                         {release, "ok 10"},
                                         {"reserve_credits user_id=u1 job_id=j1 amount=5", "ok 5"},
                                         {batch, "ok 10"},
                                         {"delete_project project_id=p1 user_id=u1", "ok 10"},
                                         {"create_job job_id=j1 project_id=p2 user_id=u2", "ok 10"},
                                         {reserve, "ok 5"},
                                         {release, "ok 10"},
                                         {release, "ok 10"},
                                         {reserve, "ok 5"},
                                         {batch, "ok 10"},
                                         {batch, "ok 10"}});
}

TEST_CASE("I6: a batch that makes its own user is that user's") {
  TemporaryMirror mirror;
  const std::string batch =
      "batch op_id=o1 ops=(create_user user_id=u1 op_id=o2 ; "
      "add_credits user_id=u1 amount=5 type=grant op_id=o3)";
  mirror.check({{batch, "ok 15"},
                {"add_credits user_id=u1 amount=5 type=grant op_id=o1", "operation_conflict 15"}});
  CHECK(mirror->check(user_id(1))->pending_operations == 1);
  mirror.check({{batch, "ok 15"}});
  CHECK(mirror->check(user_id(1))->pending_operations == 1);
}

TEST_CASE("I6: a batch that holds what is no operation is refused before its op_id is looked for") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) +
               Rows{{"add_credits user_id=u1 amount=5 type=grant op_id=o1", "ok 15"},
                    {"batch op_id=o1 ops=(expire_credits user_id=u1 amount=1 op_id=null)",
                     "invalid_argument 15"},
                    {"batch op_id=o1 ops=(expire_credits user_id=u1 amount=x op_id=o2)",
                     "operation_conflict 15"}});
}

TEST_CASE("I6: an operation that was refused may be tried again under its op_id") {
  TemporaryMirror mirror;
  mirror.check(
      users_with_jobs(1) +
      Rows{{"reserve_credits user_id=u1 job_id=j1 amount=11 op_id=o1", "insufficient_credits 10"},
           {"add_credits user_id=u1 amount=1 type=grant", "ok 11"},
           {"reserve_credits user_id=u1 job_id=j1 amount=11 op_id=o1", "ok 0"},
           {"fail_job job_id=j1 error_code=\"\" op_id=o2", "invalid_argument 0"},
           {"release_job_credits job_id=j1 op_id=o2", "ok 11"}});
}

TEST_CASE("I6: a report that changes nothing is not remembered") {
  TemporaryMirror mirror;
  mirror.check(
      users_with_jobs(1) + job_to("SCRIPTING") +
      Rows{{"report_progress job_id=j1 step_name=SCRIPTING progress_pct=50", "ok 2"},
           {"report_progress job_id=j1 step_name=SCRIPTING progress_pct=40 op_id=o1", "ok 2"}});
  const Dump before = rows_of(mirror);
  mirror.check(
      {{"report_progress job_id=j1 step_name=SCRIPTING progress_pct=50 op_id=o2", "ok 2"}});
  CHECK(difference(before, rows_of(mirror)) == "");
  mirror.check({{"report_progress job_id=j1 step_name=SCRIPTING progress_pct=60 op_id=o1", "ok 2"},
                {"report_progress job_id=j1 step_name=SCRIPTING progress_pct=61 op_id=o1",
                 "operation_conflict 2"}});
}

TEST_CASE(
    "I6: a payment that came twice is remembered under both op_ids and adds nothing the second "
    "time") {
  TemporaryMirror mirror;
  const std::string payment =
      "add_credits user_id=u1 amount=5 type=purchase stripe_payment_id=pi_1";
  mirror.check({{"create_user user_id=u1", "ok 10"},
                {payment + " op_id=o1", "ok 15"},
                {payment + " op_id=o2", "ok 15"},
                {payment + " op_id=o2", "ok 15"},
                {"add_credits user_id=u1 amount=5 type=grant op_id=o2", "operation_conflict 15"}});
  CHECK(query(mirror.path(), "select count(*) from credit_ledger") ==
        std::vector<std::string>{"2"});
}

}  // namespace tally::test
