// What operations write, as the PRD's tables show it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "support/operation_tables.hpp"

namespace tally::test {
namespace {

using Lines = std::vector<std::string>;

constexpr const char* ledger =
    "select seq, type, amount, balance_after, note, job_id is not null from credit_ledger order by "
    "seq";

std::string job_columns(TemporaryMirror& mirror, const std::string& columns) {
  return query(mirror.path(),
               "select " + columns + " from jobs where id = '" + job_id(1).text() + "'")
      .at(0);
}
std::string step_columns(TemporaryMirror& mirror, int order, const std::string& columns) {
  return query(mirror.path(),
               "select " + columns + " from job_steps where step_order = " + std::to_string(order))
      .at(0);
}

/// A mirror with j1 in a status.
TemporaryMirror& with_job(TemporaryMirror& mirror, std::string_view status) {
  mirror.check(users_with_jobs(1) + job_to(status));
  return mirror;
}

}  // namespace

TEST_CASE("sign-up appends the welcome bonus") {
  TemporaryMirror mirror;
  mirror.check({{"create_user user_id=u1", "ok 10"}});
  CHECK(query(mirror.path(), ledger) == Lines{"1|grant|10|10|Welcome bonus: 10 trial credits|0"});
}

TEST_CASE("a settlement below the hold appends reserve, usage and refund") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) + Rows{{"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                                         {"finalize_job_credits job_id=j1 final_cost=5", "ok 5"}});
  CHECK(query(mirror.path(), ledger) ==
        Lines{"1|grant|10|10|Welcome bonus: 10 trial credits|0",
              "2|reserve|-8|2|Reserved for job|1", "3|reserve|5|7|Reservation converted to usage|1",
              "4|usage|-5|2|Video generation|1", "5|refund|3|5|Unused credits refund|1"});
}

TEST_CASE("a settlement at the hold appends no refund") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) + Rows{{"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                                         {"finalize_job_credits job_id=j1 final_cost=8", "ok 2"}});
  CHECK(
      query(mirror.path(), std::string("select * from (") + ledger + ") where seq > 2") ==
      Lines{"3|reserve|8|10|Reservation converted to usage|1", "4|usage|-8|2|Video generation|1"});
}

TEST_CASE("a settlement above the hold converts all of it and charges the whole cost") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) + Rows{{"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                                         {"finalize_job_credits job_id=j1 final_cost=10", "ok 0"}});
  CHECK(
      query(mirror.path(), std::string("select * from (") + ledger + ") where seq > 2") ==
      Lines{"3|reserve|8|10|Reservation converted to usage|1", "4|usage|-10|0|Video generation|1"});
}

TEST_CASE("a settlement at 0 writes both first entries with amount 0") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) + Rows{{"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                                         {"finalize_job_credits job_id=j1 final_cost=0", "ok 10"}});
  CHECK(query(mirror.path(), std::string("select * from (") + ledger + ") where seq > 2") ==
        Lines{"3|reserve|0|2|Reservation converted to usage|1", "4|usage|0|2|Video generation|1",
              "5|refund|8|10|Unused credits refund|1"});
}

TEST_CASE("a release appends the refund of the hold") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) + Rows{{"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                                         {"release_job_credits job_id=j1", "ok 10"}});
  CHECK(query(mirror.path(), std::string("select * from (") + ledger + ") where seq > 2") ==
        Lines{"3|refund|8|10|Job failed - credits released|1"});
}

TEST_CASE("credits that come in or expire keep their type, note and payment") {
  TemporaryMirror mirror;
  mirror.check(
      {{"create_user user_id=u1", "ok 10"},
       {"add_credits user_id=u1 amount=5 type=purchase note=Hello stripe_payment_id=pi_1", "ok 15"},
       {"expire_credits user_id=u1 amount=3 stripe_payment_id=dp_1", "ok 12"}});
  CHECK(query(mirror.path(),
              "select type, amount, note, stripe_payment_id, created_at from credit_ledger "
              "where seq > 1 order by seq") ==
        Lines{"purchase|5|Hello|pi_1|2026-01-18T00:00:02.000000Z",
              "expire|-3|NULL|dp_1|2026-01-18T00:00:03.000000Z"});
}

TEST_CASE("an entry's id is its operation's op_id, version 8 and its number") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) +
               Rows{{"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"}});
  mirror.check(
      {{"finalize_job_credits job_id=j1 final_cost=5 "
        "op_id=\"12345678-1234-4aaa-9234-123456789abc\"",
        "ok 5"}});
  CHECK(query(mirror.path(), "select id from credit_ledger where seq > 2 order by seq") ==
        Lines{"12345678-1234-80aa-9234-123456789abc", "12345678-1234-81aa-9234-123456789abc",
              "12345678-1234-82aa-9234-123456789abc"});
}

TEST_CASE("an entry whose derived id is taken gets a random one, and both stay readable") {
  TemporaryMirror mirror;
  // These two op_ids differ only in what the derived id replaces.
  mirror.check({{"create_user user_id=u1 op_id=\"12345678-1234-4aaa-9234-123456789abc\"", "ok 10"},
                {"add_credits user_id=u1 amount=1 type=grant "
                 "op_id=\"12345678-1234-7baa-9234-123456789abc\"",
                 "ok 11"}});
  const Lines ids = query(mirror.path(), "select id from credit_ledger order by seq");
  REQUIRE(ids.size() == 2);
  CHECK(ids[0] == "12345678-1234-80aa-9234-123456789abc");
  CHECK(ids[1] != ids[0]);
  CHECK(Uuid::parse(ids[1]).value_or(Uuid{}).version() == 4);
}

TEST_CASE("a step's id is its job's id, version 8 and the step's order") {
  TemporaryMirror mirror;
  mirror.check(
      users_with_jobs(1) +
      Rows{{"create_job job_id=\"12345678-1234-4aaa-9234-123456789abc\" project_id=p1 user_id=u1",
            "ok 10"}});
  const Lines steps =
      query(mirror.path(),
            "select id, step_name, step_order, state, progress_pct, artifacts_json from job_steps "
            "where job_id = '12345678-1234-4aaa-9234-123456789abc' order by step_order");
  REQUIRE(steps.size() == 8);
  CHECK(steps.front() == "12345678-1234-81aa-9234-123456789abc|SCRIPTING|1|pending|0|{}");
  CHECK(steps.back() == "12345678-1234-88aa-9234-123456789abc|PACKAGING|8|pending|0|{}");
}

TEST_CASE("the steps of a job whose derived ids are taken get random ones") {
  TemporaryMirror mirror;
  mirror.check(
      users_with_jobs(1) +
      Rows{{"create_job job_id=\"12345678-1234-4aaa-9234-123456789abc\" project_id=p1 user_id=u1",
            "ok 10"},
           {"create_job job_id=\"12345678-1234-7baa-9234-123456789abc\" project_id=p1 user_id=u1",
            "ok 10"}});
  CHECK(query(mirror.path(), "select count(distinct id) from job_steps") == Lines{"24"});
}

TEST_CASE("create_user makes a user and a profile with the PRD's defaults") {
  TemporaryMirror mirror;
  mirror.check({{"create_user user_id=u1 email=\"a@b\" display_name=Ada", "ok 10"},
                {"create_user user_id=u2", "ok 10"}});
  CHECK(query(mirror.path(), "select id, email, raw_user_meta_data from users order by id") ==
        Lines{user_id(1).text() + "|a@b|{\"name\": \"Ada\"}", user_id(2).text() + "|NULL|{}"});
  CHECK(query(mirror.path(), "select * from profiles where display_name = 'User'") ==
        Lines{user_id(2).text() +
              "|User|NULL|2026-01-18T00:00:02.000000Z|{\"marketing\": false, "
              "\"job_failed\": true, \"low_credits\": true, \"job_complete\": true}|NULL|"
              "2026-01-18T00:00:02.000000Z"});
}

TEST_CASE("update_profile: an absent field stays, null clears, a value sets; updated_at is at") {
  TemporaryMirror mirror;
  mirror.check(
      {{"create_user user_id=u1 display_name=Ada", "ok 10"},
       {"update_profile user_id=u1 avatar_url=\"/a\" stripe_customer_id=cus_1", "ok 10"},
       {"update_profile user_id=u1 avatar_url=null notification_prefs={\"b\":1,\"a\":[true]}",
        "ok 10"}});
  CHECK(query(mirror.path(),
              "select display_name, avatar_url, notification_prefs, stripe_customer_id, updated_at "
              "from profiles") ==
        Lines{"Ada|NULL|{\"a\": [true], \"b\": 1}|cus_1|2026-01-18T00:00:03.000000Z"});
}

TEST_CASE("create_project fills in the PRD's defaults") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1));
  CHECK(query(mirror.path(), "select * from projects") ==
        Lines{project_id(1).text() + "|" + user_id(1).text() +
              "|Whales|Sing|facts|3|NULL|auto|NULL|{}|2026-01-18T00:00:02.000000Z|"
              "2026-01-18T00:00:02.000000Z"});
}

TEST_CASE("deleting a voice profile clears it in its projects and sets their updated_at") {
  TemporaryMirror mirror;
  mirror.check(
      {{"create_user user_id=u1", "ok 10"},
       {"create_voice_profile voice_profile_id=v1 user_id=u1 name=N audio_path=A", "ok 10"},
       {"create_project project_id=p1 user_id=u1 title=T prompt_text=P niche_preset=facts "
        "target_minutes=1 voice_profile_id=v1",
        "ok 10"},
       {"create_project project_id=p2 user_id=u1 title=T prompt_text=P niche_preset=facts "
        "target_minutes=1",
        "ok 10"}});
  CHECK(query(mirror.path(), "select voice_profile_id from projects where id = '" +
                                 project_id(1).text() + "'") == Lines{id('v', 1).text()});
  mirror.check({{"delete_voice_profile voice_profile_id=v1 user_id=u1", "ok 10"}});
  CHECK(query(mirror.path(), "select voice_profile_id, updated_at from projects order by id") ==
        Lines{"NULL|2026-01-18T00:00:05.000000Z", "NULL|2026-01-18T00:00:04.000000Z"});
  CHECK(query(mirror.path(), "select count(*) from voice_profiles") == Lines{"0"});
}

TEST_CASE(
    "deleting a project deletes its jobs, steps and assets, and its entries lose their job only") {
  TemporaryMirror mirror;
  with_job(mirror, "READY");
  mirror.check({{"add_asset asset_id=a1 job_id=j1 type=video url=U storage_path=S", "ok 5"},
                {"delete_project project_id=p1 user_id=u1", "ok 5"}});
  CHECK(
      query(mirror.path(),
            "select (select count(*) from projects), (select count(*) from jobs), (select count(*) "
            "from job_steps), (select count(*) from assets)") == Lines{"0|0|0|0"});
  CHECK(query(mirror.path(), ledger) ==
        Lines{"1|grant|10|10|Welcome bonus: 10 trial credits|0",
              "2|reserve|-8|2|Reserved for job|0", "3|reserve|5|7|Reservation converted to usage|0",
              "4|usage|-5|2|Video generation|0", "5|refund|3|5|Unused credits refund|0"});
}

TEST_CASE("a job made anew under a deleted job's id does not take over its entries") {
  TemporaryMirror mirror;
  with_job(mirror, "READY");
  mirror.check({{"delete_project project_id=p1 user_id=u1", "ok 5"},
                {"create_project project_id=p1 user_id=u1 title=T prompt_text=P niche_preset=facts "
                 "target_minutes=1",
                 "ok 5"},
                {"create_job job_id=j1 project_id=p1 user_id=u1", "ok 5"}});
  CHECK(query(mirror.path(), "select count(*) from credit_ledger where job_id is not null") ==
        Lines{"0"});
  mirror.reopen();
  mirror.check({{"reserve_credits user_id=u1 job_id=j1 amount=1", "ok 4"}});
  CHECK(query(mirror.path(), "select count(*) from credit_ledger where job_id is not null") ==
        Lines{"1"});
}

TEST_CASE("a draft expires seven days after it was made, and an update does not change that") {
  TemporaryMirror mirror;
  mirror.check(
      {{"create_draft draft_id=d1 session_token=S prompt_text=P", "ok -"},
       {"update_draft draft_id=d1 session_token=S prompt_text=Q template_id=T options=[1,2]",
        "ok -"}});
  CHECK(query(mirror.path(), "select * from draft_prompts") ==
        Lines{id('d', 1).text() +
              "|S|NULL|Q|T|[1, 2]|2026-01-18T00:00:01.000000Z|2026-01-18T00:00:02.000000Z|"
              "2026-01-25T00:00:01.000000Z"});
}

TEST_CASE("a draft made at the end of time expires at its very end") {
  TemporaryMirror mirror;
  mirror.check(
      {{"create_draft draft_id=d1 session_token=S prompt_text=P at=\"9999-12-30T00:00:00.000000Z\"",
        "ok -"}});
  CHECK(query(mirror.path(), "select expires_at from draft_prompts") ==
        Lines{"9999-12-31T23:59:59.999999Z"});
}

TEST_CASE("times before 1970 are shown right") {
  TemporaryMirror mirror;
  mirror.check({{"create_user user_id=u1 at=\"0001-01-01T00:00:00.000000Z\"", "ok 10"},
                {"update_profile user_id=u1 at=\"1969-12-31T23:59:59.999999Z\"", "ok 10"}});
  CHECK(query(mirror.path(), "select created_at, updated_at from profiles") ==
        Lines{"0001-01-01T00:00:00.000000Z|1969-12-31T23:59:59.999999Z"});
}

TEST_CASE(
    "claim_draft gives every live draft of the session to the user, and its updated_at is at") {
  TemporaryMirror mirror;
  mirror.check({{"create_user user_id=u1", "ok 10"},
                {"create_draft draft_id=d1 session_token=S prompt_text=P", "ok -"},
                {"create_draft draft_id=d2 session_token=S prompt_text=P", "ok -"},
                {"create_draft draft_id=d3 session_token=T prompt_text=P", "ok -"},
                {"claim_draft session_token=S user_id=u1", "ok 10 id=" + id('d', 2).text()}});
  CHECK(query(mirror.path(), "select user_id, updated_at from draft_prompts order by id") ==
        Lines{user_id(1).text() + "|2026-01-18T00:00:05.000000Z",
              user_id(1).text() + "|2026-01-18T00:00:05.000000Z",
              "NULL|2026-01-18T00:00:04.000000Z"});
}

TEST_CASE(
    "reserve_credits sets cost_credits_reserved; finalizing sets cost_credits_final; a new one "
    "clears it") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) +
               Rows{{"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"}});
  CHECK(job_columns(mirror, "cost_credits_reserved, cost_credits_final") == "8|NULL");
  mirror.check({{"finalize_job_credits job_id=j1 final_cost=5", "ok 5"}});
  CHECK(job_columns(mirror, "cost_credits_reserved, cost_credits_final") == "8|5");
  mirror.check({{"reserve_credits user_id=u1 job_id=j1 amount=4", "ok 1"}});
  CHECK(job_columns(mirror, "cost_credits_reserved, cost_credits_final") == "4|NULL");
}

TEST_CASE("releasing changes no column of the job") {
  TemporaryMirror mirror;
  with_job(mirror, "SCRIPTING");
  const std::string before = job_columns(mirror, "*");
  mirror.check({{"release_job_credits job_id=j1", "ok 10"}});
  CHECK(job_columns(mirror, "*") == before);
}

TEST_CASE("entering a stage starts its step; leaving it forward finishes it at 100") {
  TemporaryMirror mirror;
  with_job(mirror,
           "SCRIPTING");  // At 00:00:06: three for the user, then reserve, QUEUED, SCRIPTING.
  CHECK(step_columns(mirror, 1, "state, progress_pct, started_at, finished_at") ==
        "started|0|2026-01-18T00:00:06.000000Z|NULL");
  CHECK(job_columns(mirror, "status, progress, started_at, finished_at") ==
        "SCRIPTING|0|2026-01-18T00:00:06.000000Z|NULL");
  mirror.check({{"advance_job job_id=j1 to=VOICE_GEN", "ok 2"}});
  CHECK(step_columns(mirror, 1, "state, progress_pct, started_at, finished_at") ==
        "succeeded|100|2026-01-18T00:00:06.000000Z|2026-01-18T00:00:07.000000Z");
  CHECK(step_columns(mirror, 2, "state, progress_pct, started_at, finished_at") ==
        "started|0|2026-01-18T00:00:07.000000Z|NULL");
  CHECK(job_columns(mirror, "status, progress, started_at, finished_at") ==
        "VOICE_GEN|12|2026-01-18T00:00:06.000000Z|NULL");
}

TEST_CASE("READY finishes the last step, and progress is 100") {
  TemporaryMirror mirror;
  with_job(mirror, "PACKAGING");
  mirror.check(
      {{"complete_job job_id=j1 final_cost=5 output_url=\"/o\" manifest_json={\"b\":1.0,\"a\":-0} "
        "at=\"2026-01-19T00:00:00.000000Z\"",
        "ok 5"}});
  CHECK(job_columns(mirror, "status, progress, output_url, manifest_json, finished_at") ==
        "READY|100|/o|{\"a\": 0, \"b\": 1.0}|2026-01-19T00:00:00.000000Z");
  CHECK(step_columns(mirror, 8, "state, progress_pct, finished_at") ==
        "succeeded|100|2026-01-19T00:00:00.000000Z");
}

TEST_CASE("report_progress: a lower percentage is ignored, and progress is the floor of the mean") {
  TemporaryMirror mirror;
  with_job(mirror, "SCRIPTING");
  mirror.check(
      {{"report_progress job_id=j1 step_name=SCRIPTING progress_pct=47 status_message=Writing",
        "ok 2"}});
  CHECK(step_columns(mirror, 1, "progress_pct, status_message") == "47|Writing");
  CHECK(job_columns(mirror, "progress, status_message") == "5|NULL");
  mirror.check(
      {{"report_progress job_id=j1 step_name=SCRIPTING progress_pct=40 logs_url=\"/l\"", "ok 2"}});
  CHECK(step_columns(mirror, 1, "progress_pct, status_message, logs_url") == "47|Writing|/l");
  mirror.check(
      {{"report_progress job_id=j1 step_name=SCRIPTING progress_pct=48 status_message=null "
        "artifacts_json={\"n\":2}",
        "ok 2"}});
  CHECK(step_columns(mirror, 1, "progress_pct, status_message, artifacts_json") ==
        "48|Writing|{\"n\": 2}");
  CHECK(job_columns(mirror, "progress") == "6");
  // The same again changes no column, and is not even remembered.
  const auto operations = query(mirror.path(), "select count(*) from tally_operation");
  mirror.check(
      {{"report_progress job_id=j1 step_name=SCRIPTING progress_pct=48 status_message=Writing "
        "logs_url=\"/l\" artifacts_json={\"n\":2}",
        "ok 2"}});
  CHECK(query(mirror.path(), "select count(*) from tally_operation") == operations);
}

TEST_CASE("advance_job's status_message is the job's, and an absent one leaves it") {
  TemporaryMirror mirror;
  with_job(mirror, "QUEUED");
  mirror.check({{"advance_job job_id=j1 to=SCRIPTING status_message=Hello", "ok 2"},
                {"advance_job job_id=j1 to=VOICE_GEN", "ok 2"}});
  CHECK(job_columns(mirror, "status_message") == "Hello");
  CHECK(step_columns(mirror, 1, "status_message") == "NULL");
}

TEST_CASE(
    "fail_job marks the started step failed and records it; without one failed_step is null") {
  TemporaryMirror mirror;
  with_job(mirror, "VOICE_GEN");
  mirror.check(
      {{"report_progress job_id=j1 step_name=VOICE_GEN progress_pct=60", "ok 2"},
       {"fail_job job_id=j1 error_code=GPU error_message=Hot at=\"2026-01-19T00:00:00.000000Z\"",
        "ok 10"}});
  CHECK(job_columns(mirror,
                    "status, failed_step, error_code, error_message, progress, finished_at") ==
        "FAILED|VOICE_GEN|GPU|Hot|20|2026-01-19T00:00:00.000000Z");
  CHECK(step_columns(mirror, 2, "state, progress_pct, error_message, finished_at") ==
        "failed|60|Hot|2026-01-19T00:00:00.000000Z");

  TemporaryMirror queued;
  with_job(queued, "QUEUED");
  queued.check({{"fail_job job_id=j1 error_code=CANCELLED", "ok 10"}});
  CHECK(job_columns(queued, "status, failed_step, error_code, error_message") ==
        "FAILED|NULL|CANCELLED|NULL");
}

TEST_CASE("retry_job clears the failure and sets the failed step back to its defaults") {
  TemporaryMirror mirror;
  with_job(mirror, "VOICE_GEN");
  mirror.check(
      {{"report_progress job_id=j1 step_name=VOICE_GEN progress_pct=60 status_message=S logs_url=L "
        "artifacts_json=[1]",
        "ok 2"},
       {"fail_job job_id=j1 error_code=GPU error_message=Hot", "ok 10"},
       {"retry_job job_id=j1 amount=3", "ok 7"}});
  CHECK(job_columns(mirror,
                    "status, progress, status_message, cost_credits_reserved, cost_credits_final, "
                    "failed_step, error_code, error_message, finished_at") ==
        "QUEUED|12|NULL|3|NULL|NULL|NULL|NULL|NULL");
  CHECK(
      step_columns(mirror, 2,
                   "state, progress_pct, status_message, error_message, logs_url, artifacts_json, "
                   "started_at, finished_at") == "pending|0|NULL|NULL|NULL|{}|NULL|NULL");
  CHECK(step_columns(mirror, 1, "state") == "succeeded");
}

TEST_CASE("a job keeps the time at which it first entered a stage over a retry") {
  TemporaryMirror mirror;
  with_job(mirror, "SCRIPTING");
  mirror.check({{"fail_job job_id=j1 error_code=E", "ok 10"},
                {"retry_job job_id=j1 amount=3", "ok 7"},
                {"advance_job job_id=j1 to=SCRIPTING", "ok 7"}});
  CHECK(job_columns(mirror, "started_at") == "2026-01-18T00:00:06.000000Z");
}

TEST_CASE("sweep fails a lost job with WORKER_LOST and no message") {
  TemporaryMirror mirror;
  with_job(mirror, "RENDERING");
  mirror.check({{"sweep grace=60 at=\"2026-01-19T00:00:00.000000Z\"", "ok -"}});
  CHECK(job_columns(mirror, "status, failed_step, error_code, error_message, finished_at") ==
        "FAILED|RENDERING|WORKER_LOST|NULL|2026-01-19T00:00:00.000000Z");
  CHECK(mirror.balance() == 10);
}

TEST_CASE("add_asset writes a row with its defaults") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) +
               Rows{{"add_asset asset_id=a1 job_id=j1 type=zip url=U storage_path=S", "ok 10"},
                    {"add_asset asset_id=a2 job_id=j1 type=video url=U storage_path=S "
                     "size_bytes=9223372036854775807 mime_type=M metadata_json=7",
                     "ok 10"}});
  CHECK(query(mirror.path(),
              "select id, job_id, type, url, storage_path, size_bytes, mime_type, metadata_json, "
              "created_at from assets order by id") ==
        Lines{id('a', 1).text() + "|" + job_id(1).text() +
                  "|zip|U|S|NULL|NULL|{}|2026-01-18T00:00:04.000000Z",
              id('a', 2).text() + "|" + job_id(1).text() +
                  "|video|U|S|9223372036854775807|M|7|2026-01-18T00:00:05.000000Z"});
}

TEST_CASE("a batch's rows all take its at") {
  TemporaryMirror mirror;
  mirror.check(
      {{"batch at=\"2026-02-01T00:00:00.000000Z\" ops=(create_user user_id=u1; add_credits "
        "user_id=u1 "
        "amount=1 type=grant)",
        "ok 11"}});
  CHECK(query(mirror.path(), "select distinct created_at from credit_ledger") ==
        Lines{"2026-02-01T00:00:00.000000Z"});
}

TEST_CASE("reading: account, history, job, project, drafts show what the tables hold") {
  TemporaryMirror mirror;
  with_job(mirror, "QUEUED");
  mirror.check({{"create_draft draft_id=d1 session_token=S user_id=u1 prompt_text=P", "ok 2"},
                {"add_asset asset_id=a1 job_id=j1 type=zip url=U storage_path=S", "ok 2"}});
  const auto account = mirror->account(user_id(1));
  REQUIRE(account.has_value());
  CHECK(account->check.balance.value == 2);
  CHECK(account->check.held.value == 8);
  CHECK(account->check.entries == 2);
  CHECK(account->check.pending_operations == 7);
  REQUIRE(account->holds.size() == 1);
  CHECK(account->holds[0].job_id == job_id(1));
  CHECK(account->holds[0].amount.value == 8);
  CHECK(account->holds[0].reservation == op_id(1004));

  const auto job = mirror->job(job_id(1));
  REQUIRE(job.has_value());
  CHECK(job->steps.size() == 8);
  CHECK(job->assets.size() == 1);
  CHECK(mirror->project(project_id(1)).has_value());
  CHECK(mirror->drafts(user_id(1))->size() == 1);
  CHECK(mirror->jobs(user_id(1))->size() == 1);
  CHECK(mirror->users()->size() == 1);
}

TEST_CASE("history pages from the newest entry back") {
  TemporaryMirror mirror;
  mirror.check({{"create_user user_id=u1", "ok 10"}, {"create_user user_id=u2", "ok 10"}});
  for (int i = 1; i <= 9; ++i) {
    mirror.apply("add_credits user_id=u1 amount=1 type=grant");
    mirror.apply("add_credits user_id=u2 amount=1 type=grant");
  }
  const auto newest = mirror->history(user_id(1), 4);
  REQUIRE(newest.has_value());
  REQUIRE(newest->size() == 4);
  CHECK(newest->front().seq == 10);
  CHECK(newest->front().balance_after.value == 19);
  CHECK(newest->back().seq == 7);
  const auto older = mirror->history(user_id(1), 100, newest->back().seq);
  REQUIRE(older.has_value());
  REQUIRE(older->size() == 6);
  CHECK(older->front().seq == 6);
  CHECK(older->back().seq == 1);
  CHECK(older->back().note == "Welcome bonus: 10 trial credits");
}

TEST_CASE("reading what is not there says so") {
  TemporaryMirror mirror;
  CHECK(mirror->balance(user_id(9)).error().code == Code::user_not_found);
  CHECK(mirror->check(user_id(9)).error().code == Code::user_not_found);
  CHECK(mirror->account(user_id(9)).error().code == Code::user_not_found);
  CHECK(mirror->history(user_id(9)).error().code == Code::user_not_found);
  CHECK_FALSE(mirror->job(job_id(9)).has_value());
  CHECK_FALSE(mirror->project(project_id(9)).has_value());
}

TEST_CASE("every PRD table reads through the system's sqlite3 program") {
  if (std::system("sqlite3 --version > /dev/null 2>&1") != 0) {
    MESSAGE("skipped: no sqlite3 program is installed");
    return;
  }
  TemporaryMirror mirror;
  with_job(mirror, "READY");
  mirror.check({{"create_draft draft_id=d1 session_token=S prompt_text=P", "ok -"},
                {"create_voice_profile voice_profile_id=v1 user_id=u1 name=N audio_path=A", "ok 5"},
                {"add_asset asset_id=a1 job_id=j1 type=zip url=U storage_path=S", "ok 5"}});
  const std::vector<std::pair<std::string, int>> tables{
      {"users", 1},         {"profiles", 1},  {"credit_ledger", 5},
      {"draft_prompts", 1}, {"projects", 1},  {"voice_profiles", 1},
      {"jobs", 1},          {"job_steps", 8}, {"assets", 1}};
  for (const auto& expected : tables) {
    const std::string& table = expected.first;
    CAPTURE(table);
    const auto out = ask_sqlite3_program(mirror.path(), "select * from " + table);
    if (!out) {
      MESSAGE("skipped: this system has no sqlite3 program");
      return;
    }
    CHECK(std::count(out->begin(), out->end(), '\n') == expected.second);
    CHECK(out->find("rror") == std::string::npos);
  }
}

}  // namespace tally::test
