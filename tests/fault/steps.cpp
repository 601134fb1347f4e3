#include "fault/steps.hpp"

#include <doctest/doctest.h>
#include <tally/trace.hpp>

#include "fault/fault_disk.hpp"

namespace tally::test {

const Rows& all_operations() {
  static const Rows rows{
      {"create_user user_id=u1 display_name=Ada", "ok 10"},
      {"update_profile user_id=u1 avatar_url=\"x\"", "ok 10"},
      {"add_credits user_id=u1 amount=90 type=purchase stripe_payment_id=pay_1 note=Thanks",
       "ok 100"},
      {"expire_credits user_id=u1 amount=10", "ok 90"},
      {"create_draft draft_id=d1 session_token=s1 prompt_text=Whales", "ok -"},
      {"update_draft draft_id=d1 session_token=s1 prompt_text=Sing", "ok -"},
      {"claim_draft session_token=s1 user_id=u1", "ok 90 id=00000064-0000-7000-8000-000000000001"},
      {"purge_expired_drafts", "ok -"},
      {"create_voice_profile voice_profile_id=v1 user_id=u1 name=Ada audio_path=a", "ok 90"},
      {"create_project project_id=p1 user_id=u1 title=T prompt_text=P niche_preset=facts"
       " target_minutes=3 voice_profile_id=v1",
       "ok 90"},
      {"create_project project_id=p2 user_id=u1 title=T prompt_text=P niche_preset=facts"
       " target_minutes=3",
       "ok 90"},
      {"update_project project_id=p1 user_id=u1 title=U", "ok 90"},
      {"delete_voice_profile voice_profile_id=v1 user_id=u1", "ok 90"},
      {"delete_project project_id=p2 user_id=u1", "ok 90"},
      {"create_job job_id=j1 project_id=p1 user_id=u1", "ok 90"},
      {"create_job job_id=j2 project_id=p1 user_id=u1", "ok 90"},
      {"create_job job_id=j3 project_id=p1 user_id=u1", "ok 90"},
      {"create_job job_id=j4 project_id=p1 user_id=u1", "ok 90"},
      {"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 82"},
      {"advance_job job_id=j1 to=QUEUED", "ok 82"},
      {"claim_job job_id=j1 ttl=600", "ok 82"},
      {"renew_claim job_id=j1 ttl=900", "ok 82"},
      {"drop_claim job_id=j1", "ok 82"},
      {"advance_job job_id=j1 to=SCRIPTING", "ok 82"},
      {"report_progress job_id=j1 step_name=SCRIPTING progress_pct=40", "ok 82"},
      {"add_asset asset_id=a1 job_id=j1 type=image url=u storage_path=s", "ok 82"},
      {"fail_job job_id=j1 error_code=E", "ok 90"},
      {"retry_job job_id=j1 amount=7", "ok 83"},
      {"reserve_credits user_id=u1 job_id=j2 amount=5", "ok 78"},
      {"finalize_job_credits job_id=j2 final_cost=6", "ok 77"},
      {"reserve_credits user_id=u1 job_id=j3 amount=5", "ok 72"},
      {"release_job_credits job_id=j3", "ok 77"},
      {"batch ops=( reserve_credits user_id=u1 job_id=j4 amount=9 ; advance_job job_id=j4 "
       "to=QUEUED ;"
       " advance_job job_id=j4 to=SCRIPTING ; advance_job job_id=j4 to=VOICE_GEN ;"
       " advance_job job_id=j4 to=ALIGNMENT ; advance_job job_id=j4 to=VISUAL_PLAN ;"
       " advance_job job_id=j4 to=IMAGE_GEN ; advance_job job_id=j4 to=TIMELINE ;"
       " advance_job job_id=j4 to=RENDERING ; advance_job job_id=j4 to=PACKAGING )",
       "ok 68"},
      {"complete_job job_id=j4 final_cost=4 output_url=u", "ok 73"},
      {"advance_job job_id=j1 to=SCRIPTING", "ok 73"},
      {"sweep grace=1", "ok -"},
  };
  return rows;
}

Steps::Steps() {
  FaultDisk::get();
  TemporaryMirror mirror(Options{});
  for (const Row& row : all_operations()) {
    mirror.close();
    befores.push_back(folder.path() / (std::to_string(befores.size()) + ".db"));
    copy_mirror(mirror.path(), befores.back());
    mirror.open();
    lines.push_back(mirror.lines.line(row.line));
    REQUIRE_MESSAGE(short_answer(mirror.apply_line(lines.back())) == row.answer, row.line);
    mirror.close();
    afters.push_back(dump(mirror.path()));
    mirror.open();
  }
}

Result<Verdict> apply(Engine& engine, const std::string& line) {
  std::vector<Command> commands;
  commands.push_back(*parse_trace_line(line));
  auto verdicts = engine.submit(std::move(commands));
  if (!verdicts) return verdicts.error();
  return verdicts->at(0);
}

std::string all_digests(const Engine& engine) {
  std::string text;
  const auto users = engine.users();
  REQUIRE(users);
  for (const Uuid& user : *users) {
    const auto digest = engine.digest(user);
    REQUIRE(digest);
    text += user.text();
    for (const TableDigest& table : *digest)
      text += ' ' + std::to_string(table.rows) + ':' + std::to_string(table.digest);
    text += '\n';
  }
  return text;
}

}  // namespace tally::test
