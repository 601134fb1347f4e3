#include "fault/steps.hpp"

#include <doctest/doctest.h>
#include <tally/replica.hpp>
#include <tally/trace.hpp>

#include "fault/fault_disk.hpp"
#include "fault/faulty_memory.hpp"

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

namespace {

Options unwaiting(Options options) {
  options.busy_timeout = std::chrono::milliseconds(20);
  return options;
}

}  // namespace

Steps::Steps(const Options& options)
    : options_(unwaiting(options)), mirror_((FaultDisk::get(), options_)) {}

Options Steps::options(Durability durability) const {
  Options options = options_;
  options.durability = durability;
  return options;
}

void Steps::record(Step step) {
  CAPTURE(step.name);
  step.told_before = all_told(mirror_.engine());
  mirror_.close();
  step.before = folder_.path() / (std::to_string(all_.size()) + ".db");
  copy_mirror(mirror_.path(), step.before);
  step.rows_before = dump(mirror_.path());
  mirror_.open();
  const auto answer = step.call(mirror_.engine());
  REQUIRE_MESSAGE(answer, answer.error().detail);
  step.answer = *answer;
  step.told_after = all_told(mirror_.engine());
  REQUIRE(mirror_.findings().empty());
  mirror_.close();
  step.rows_after = dump(mirror_.path());
  mirror_.open();
  all_.push_back(std::move(step));
}

void Steps::record_line(const std::string& short_line, const std::string& answer) {
  const std::string line = mirror_.lines.line(short_line);
  record({short_line,
          [line](Engine& engine) -> Result<std::string> {
            std::vector<Command> commands;
            {
              const FaultyMemory::Reprieve memory;
              commands.push_back(*parse_trace_line(line));
            }
            const auto verdicts = engine.submit(std::move(commands));
            const FaultyMemory::Reprieve memory;
            if (!verdicts) return verdicts.error();
            return short_answer(result_line(verdicts->at(0)));
          },
          {.repeats = true}});
  REQUIRE_MESSAGE(last().answer == answer, short_line);
}

OperationSteps::OperationSteps() : Steps(Options{}) {
  for (const Row& row : all_operations()) record_line(row.line, row.answer);
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

std::string all_told(Engine& engine) {
  std::string text = all_digests(engine);
  const auto add = [&](const auto&... parts) {
    ((text += parts, text += ' '), ...);
    text += '\n';
  };
  const std::vector<Uuid> users = engine.users().value();
  for (const Uuid& user : users) {
    const AccountCheck check = engine.check(user).value();
    add(user.text(), std::to_string(check.balance.value), std::to_string(check.held.value),
        std::to_string(check.entries), std::to_string(check.pending_operations));
  }
  const Replica replica(engine);
  const std::vector<OpenLease> leases = replica.leases().value();
  for (const OpenLease& lease : leases)
    add("lease", lease.lease_id.text(), std::to_string(lease.unspent.value),
        lease.returning ? "on its way back" : "");
  const std::vector<RejectedOperation> all_rejected = replica.rejected().value();
  for (const RejectedOperation& rejected : all_rejected)
    add("rejected", std::to_string(rejected.number), std::string(name_of(rejected.code)));
  if (const auto state = replica.state().value())
    add("device", state->enrolment.device_id.text(), std::to_string(state->acked),
        std::to_string(state->pending), std::to_string(state->blocked),
        std::to_string(state->attempts), state->cursor.value_or("from the start"));
  return text;
}

int sparsely_after(int nth) { return long_run() ? nth + 1 : nth + 1 + nth / 2; }

}  // namespace tally::test
