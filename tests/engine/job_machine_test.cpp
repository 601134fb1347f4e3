// The job machine as a matrix: every status, every operation that moves a job, every target.
#include <doctest/doctest.h>

#include <tally/job_machine.hpp>

#include "support/operation_tables.hpp"

namespace tally::test {
namespace {

std::string status_of(TemporaryMirror& mirror) {
  const auto job = mirror->job(job_id(1));
  REQUIRE(job.has_value());
  for (const auto& [name, value] : job->job) {
    if (name == "status") return value.value_or("NULL");
  }
  return "no status";
}

/// The contract's section 5, written out once more: from, then where advance_job may go with a hold
/// of 8 that is open (settled in READY, released in FAILED).
const std::vector<std::pair<std::string, std::string>> advances{
    {"PENDING", ""},  // Without a hold.
    {"QUEUED", "SCRIPTING"},
    {"SCRIPTING", "VOICE_GEN"},
    {"VOICE_GEN", "ALIGNMENT"},
    {"ALIGNMENT", "VISUAL_PLAN"},
    {"VISUAL_PLAN", "IMAGE_GEN"},
    {"IMAGE_GEN", "TIMELINE"},
    {"TIMELINE", "RENDERING"},
    {"RENDERING", "PACKAGING"},
    {"PACKAGING", ""},  // READY waits for the settlement.
    {"READY", ""},
    {"FAILED", ""}};

}  // namespace

TEST_CASE(
    "advance_job makes the moves of the contract and no other, from every status to every status") {
  for (const auto& row : advances) {
    const std::string& from = row.first;
    const std::string& only = row.second;
    TemporaryMirror mirror;
    mirror.check(users_with_jobs(1) + job_to(from));
    REQUIRE(status_of(mirror) == from);
    for (const std::string_view to : job_status_names) {
      if (to == only) continue;
      CAPTURE(from);
      CAPTURE(to);
      const std::string answer = mirror.apply("advance_job job_id=j1 to=" + std::string(to));
      const bool unpaid = from == "PENDING" && to == "QUEUED";
      CHECK(answer.substr(0, answer.find(' ')) ==
            (unpaid ? "reservation_required" : "illegal_transition"));
      CHECK(status_of(mirror) == from);
    }
    if (!only.empty()) {
      CHECK(mirror.apply("advance_job job_id=j1 to=" + only) == "ok 2");
      CHECK(status_of(mirror) == only);
    }
  }
}

TEST_CASE(
    "fail_job fails a job in every status but READY and FAILED, and gives back what it held") {
  for (const std::string_view from : job_status_names) {
    CAPTURE(from);
    TemporaryMirror mirror;
    mirror.check(users_with_jobs(1) + job_to(from));
    const bool ended = from == "READY" || from == "FAILED";
    CHECK(mirror.apply("fail_job job_id=j1 error_code=E") ==
          (from == "READY"    ? "illegal_transition 5"
           : from == "FAILED" ? "illegal_transition 10"
                              : "ok 10"));
    CHECK(status_of(mirror) == (ended ? std::string(from) : "FAILED"));
  }
}

TEST_CASE("retry_job is for FAILED alone") {
  for (const std::string_view from : job_status_names) {
    CAPTURE(from);
    TemporaryMirror mirror;
    mirror.check(users_with_jobs(1) + job_to(from));
    const std::string answer = mirror.apply("retry_job job_id=j1 amount=1");
    CHECK(answer.starts_with(from == "FAILED" ? "ok 9" : "illegal_transition"));
    CHECK(status_of(mirror) == (from == "FAILED" ? "QUEUED" : std::string(from)));
  }
}

TEST_CASE("complete_job is for PACKAGING alone") {
  for (const std::string_view from : job_status_names) {
    CAPTURE(from);
    TemporaryMirror mirror;
    mirror.check(users_with_jobs(1) + job_to(from));
    const std::string answer = mirror.apply("complete_job job_id=j1 final_cost=5");
    CHECK(answer.starts_with(from == "PACKAGING" ? "ok 5" : "illegal_transition"));
  }
}

TEST_CASE("claim_job is for QUEUED and the stages") {
  for (const std::string_view from : job_status_names) {
    CAPTURE(from);
    TemporaryMirror mirror;
    mirror.check(users_with_jobs(1) + job_to(from));
    const std::string answer = mirror.apply("claim_job job_id=j1 ttl=60");
    const bool worked = from != "PENDING" && from != "READY" && from != "FAILED";
    CHECK(answer.starts_with(worked ? "ok" : "illegal_transition"));
  }
}

TEST_CASE("a job that fails in any stage is retried in that stage, and finished steps stay") {
  for (int order = 1; order <= step_count; ++order) {
    const std::string stage(name_of(stage_of(order)));
    CAPTURE(stage);
    TemporaryMirror mirror;
    mirror.check(users_with_jobs(1) + job_to(stage));
    mirror.check({{"report_progress job_id=j1 step_name=" + stage + " progress_pct=50", "ok 2"},
                  {"fail_job job_id=j1 error_code=E", "ok 10"},
                  {"retry_job job_id=j1 amount=2", "ok 8"}});
    CHECK(query(mirror.path(), "select count(*) from job_steps where state = 'succeeded'") ==
          std::vector<std::string>{std::to_string(order - 1)});
    CHECK(query(mirror.path(), "select progress from jobs") ==
          std::vector<std::string>{std::to_string((order - 1) * 100 / 8)});
    for (const std::string_view to : job_status_names) {
      if (to == stage) continue;
      CAPTURE(to);
      CHECK(mirror.apply("advance_job job_id=j1 to=" + std::string(to)) == "illegal_transition 8");
    }
    CHECK(mirror.apply("advance_job job_id=j1 to=" + stage) == "ok 8");
  }
}

TEST_CASE("a job's making, its claim, failure and retry are signs of life") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1));
  CHECK(query(mirror.path(), "select active_at - created_at from tally_job") ==
        std::vector<std::string>{"0"});
  mirror.check(job_to("SCRIPTING"));
  const auto apply = [&](const std::string& line, std::int64_t seconds) {
    CAPTURE(line);
    CHECK(mirror.apply(line + " at=\"" + time_at(seconds).text() + "\"").starts_with("ok"));
  };
  const auto is_alive_at = [&](std::int64_t seconds) {
    return query(mirror.path(), "select active_at from tally_job") ==
           std::vector<std::string>{std::to_string(time_at(seconds).us)};
  };
  apply("claim_job job_id=j1 ttl=60", 100);
  CHECK(is_alive_at(100));
  apply("renew_claim job_id=j1 ttl=60", 130);
  CHECK(is_alive_at(130));
  apply("drop_claim job_id=j1", 140);
  CHECK(is_alive_at(140));
  apply("sweep grace=60", 199);
  CHECK(status_of(mirror) == "SCRIPTING");
  apply("sweep grace=60", 200);
  CHECK(status_of(mirror) == "FAILED");
  apply("retry_job job_id=j1 amount=1", 300);
  CHECK(is_alive_at(300));
  apply("release_job_credits job_id=j1", 305);
  apply("fail_job job_id=j1 error_code=E", 310);
  CHECK(is_alive_at(310));
}

TEST_CASE("a job is not READY while it holds a single credit") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) + job_to("PACKAGING"));
  mirror.close();
  // As a plain writer of canonical may leave it: priced, and holding still.
  tamper(mirror.path(), "update tally_job set hold = 1, cost_credits_final = 1");
  mirror.open();
  CHECK(mirror.apply("advance_job job_id=j1 to=READY") == "illegal_transition 2");
}

TEST_CASE("a queued job whose steps have all succeeded enters no stage again") {
  // Only plain writers of canonical make one, and the feed brings it.
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) + job_to("QUEUED"));
  mirror.close();
  tamper(mirror.path(),
         "insert into tally_step (k, state) select 8 * j + value, 2 from tally_job,"
         " json_each('[0, 1, 2, 3, 4, 5, 6, 7]')");
  mirror.open();
  for (const std::string_view to : job_status_names) {
    CAPTURE(to);
    CHECK(mirror.apply("advance_job job_id=j1 to=" + std::string(to)) == "illegal_transition 2");
  }
  CHECK(mirror.apply("fail_job job_id=j1 error_code=E") == "ok 10");
}

TEST_CASE("the engine's table has each move once") {
  for (const JobMove& move : job_moves) {
    int same = 0;
    for (const JobMove& other : job_moves) {
      same += move.from == other.from && move.to == other.to && move.by == other.by ? 1 : 0;
    }
    CHECK(same == 1);
    CHECK_FALSE(move.why.empty());
  }
}

}  // namespace tally::test
