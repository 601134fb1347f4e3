#include "support/operation_tables.hpp"

#include <tally/job_machine.hpp>

namespace tally::test {

Rows operator+(Rows a, const Rows& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Rows users_with_jobs(int count) {
  Rows rows;
  for (int i = 1; i <= count; ++i) {
    const std::string n = std::to_string(i);
    rows.push_back({"create_user user_id=u" + n, "ok 10"});
    rows.push_back({"create_project project_id=p" + n + " user_id=u" + n +
                        " title=Whales prompt_text=Sing niche_preset=facts target_minutes=3",
                    "ok 10"});
    rows.push_back({"create_job job_id=j" + n + " project_id=p" + n + " user_id=u" + n, "ok 10"});
  }
  return rows;
}

Rows job_to(std::string_view status, int number) {
  const std::string n = std::to_string(number);
  if (status == "PENDING") return {};
  Rows rows{{"reserve_credits user_id=u" + n + " job_id=j" + n + " amount=8", "ok 2"}};
  if (status == "FAILED") {
    rows.push_back({"fail_job job_id=j" + n + " error_code=E", "ok 10"});
    return rows;
  }
  for (const std::string_view to : job_status_names) {
    if (to == "PENDING") continue;
    if (to == "READY")
      rows.push_back({"finalize_job_credits job_id=j" + n + " final_cost=5", "ok 5"});
    rows.push_back(
        {"advance_job job_id=j" + n + " to=" + std::string(to), to == "READY" ? "ok 5" : "ok 2"});
    if (to == status) break;
  }
  return rows;
}

namespace {

std::vector<OperationTable> users_and_credits() {
  return {
      {"create_user: its codes",
       {{"create_user user_id=u1 email=\"ada@example.com\" display_name=Ada", "ok 10"},
        {"create_user user_id=u1", "user_exists 10"},
        {"create_user user_id=u2 email=\"ada@example.com\"", "user_exists -"},
        {"create_user user_id=u2 email=\"bob@example.com\"", "ok 10"},
        {"create_user user_id=u3", "ok 10"},
        {"create_user user_id=u4", "ok 10"}}},
      {"update_profile: its codes",
       {{"update_profile user_id=u1 display_name=Ada", "user_not_found -"},
        {"create_user user_id=u1", "ok 10"},
        {"update_profile user_id=u1 display_name=Ada", "ok 10"},
        {"update_profile user_id=u1", "ok 10"},
        {"update_profile user_id=u1 display_name=null avatar_url=null notification_prefs=null "
         "stripe_customer_id=null",
         "ok 10"}}},
      {"add_credits: its codes in order, each before the later ones",
       {{"create_user user_id=u1", "ok 10"},
        {"create_user user_id=u2", "ok 10"},
        {"add_credits user_id=u9 amount=\"0\" type=usage", "invalid_argument -"},
        {"add_credits user_id=u9 amount=0 type=7", "invalid_argument -"},
        {"add_credits user_id=u9 amount=0 type=usage", "invalid_amount -"},
        {"add_credits user_id=u1 amount=-1 type=grant", "invalid_amount 10"},
        {"add_credits user_id=u1 amount=2147483648 type=grant", "invalid_amount 10"},
        {"add_credits user_id=u9 amount=1 type=usage", "invalid_type -"},
        {"add_credits user_id=u1 amount=1 type=reserve", "invalid_type 10"},
        {"add_credits user_id=u1 amount=1 type=expire", "invalid_type 10"},
        {"add_credits user_id=u9 amount=1 type=grant", "user_not_found -"},
        {"add_credits user_id=u1 amount=1 type=grant", "ok 11"},
        {"add_credits user_id=u1 amount=1 type=subscription note=Monthly", "ok 12"},
        {"add_credits user_id=u1 amount=1 type=refund", "ok 13"},
        {"add_credits user_id=u1 amount=5 type=purchase stripe_payment_id=pi_1", "ok 18"},
        {"add_credits user_id=u1 amount=5 type=purchase stripe_payment_id=pi_1", "ok 18"},
        {"add_credits user_id=u1 amount=5 type=purchase stripe_payment_id=pi_1 note=Other",
         "ok 18"},
        {"add_credits user_id=u1 amount=6 type=purchase stripe_payment_id=pi_1",
         "payment_conflict 18"},
        {"add_credits user_id=u1 amount=5 type=grant stripe_payment_id=pi_1",
         "payment_conflict 18"},
        {"add_credits user_id=u2 amount=5 type=purchase stripe_payment_id=pi_1",
         "payment_conflict 10"},
        {"add_credits user_id=u1 amount=2147483647 type=purchase stripe_payment_id=pi_1",
         "payment_conflict 18"},
        {"add_credits user_id=u1 amount=2147483647 type=purchase", "balance_overflow 18"},
        {"add_credits user_id=u1 amount=2147483630 type=purchase stripe_payment_id=pi_2",
         "balance_overflow 18"},
        {"add_credits user_id=u1 amount=2147483629 type=purchase stripe_payment_id=pi_2",
         "ok 2147483647"},
        {"add_credits user_id=u1 amount=1 type=purchase", "balance_overflow 2147483647"},
        {"add_credits user_id=u2 amount=1 type=purchase", "ok 11"}}},
      {"add_credits: open holds count against the bound",
       users_with_jobs(1) +
           Rows{{"reserve_credits user_id=u1 job_id=j1 amount=10", "ok 0"},
                {"add_credits user_id=u1 amount=2147483638 type=grant", "balance_overflow 0"},
                {"add_credits user_id=u1 amount=2147483637 type=grant", "ok 2147483637"},
                {"release_job_credits job_id=j1", "ok 2147483647"}}},
      {"expire_credits: its codes in order, each before the later ones",
       {{"create_user user_id=u1", "ok 10"},
        {"expire_credits user_id=u9 amount=1.0", "invalid_argument -"},
        {"expire_credits user_id=u9 amount=0", "invalid_amount -"},
        {"expire_credits user_id=u9 amount=99999999999999999999999", "invalid_amount -"},
        {"expire_credits user_id=u9 amount=1", "user_not_found -"},
        {"add_credits user_id=u1 amount=1 type=purchase stripe_payment_id=pi_1", "ok 11"},
        {"expire_credits user_id=u1 amount=100 stripe_payment_id=pi_1", "payment_conflict 11"},
        {"expire_credits user_id=u1 amount=1 stripe_payment_id=pi_1", "payment_conflict 11"},
        {"expire_credits user_id=u1 amount=12", "insufficient_credits 11"},
        {"expire_credits user_id=u1 amount=3 stripe_payment_id=dp_1", "ok 8"},
        {"expire_credits user_id=u1 amount=3 stripe_payment_id=dp_1", "ok 8"},
        {"expire_credits user_id=u1 amount=4 stripe_payment_id=dp_1", "payment_conflict 8"},
        {"expire_credits user_id=u1 amount=8 note=Old", "ok 0"},
        {"expire_credits user_id=u1 amount=1", "insufficient_credits 0"}}},
      {"expire_credits: a payment refused for lack of credits is not used up",
       {{"create_user user_id=u1", "ok 10"},
        {"expire_credits user_id=u1 amount=11 stripe_payment_id=dp_1", "insufficient_credits 10"},
        {"add_credits user_id=u1 amount=1 type=purchase stripe_payment_id=dp_1", "ok 11"}}},
  };
}

std::vector<OperationTable> drafts() {
  const std::string expired = "2026-01-25T00:00:02.000000Z";  // The draft is made two seconds in.
  return {
      {"create_draft: its codes, user before draft",
       {{"create_draft draft_id=d1 session_token=S prompt_text=P", "ok -"},
        {"create_draft draft_id=d1 session_token=S user_id=u1 prompt_text=P", "user_not_found -"},
        {"create_draft draft_id=d1 session_token=S prompt_text=P", "already_exists -"},
        {"create_user user_id=u1", "ok 10"},
        {"create_draft draft_id=d1 session_token=S user_id=u1 prompt_text=P", "already_exists 10"},
        {"create_draft draft_id=d2 session_token=S user_id=u1 prompt_text=P", "ok 10"}}},
      {"update_draft: its codes in order",
       {{"create_user user_id=u1", "ok 10"},
        {"create_draft draft_id=d1 session_token=S prompt_text=P", "ok -"},
        {"update_draft draft_id=d9 prompt_text=Q", "invalid_argument -"},
        {"update_draft draft_id=d9 session_token=null user_id=null prompt_text=Q",
         "invalid_argument -"},
        {"update_draft draft_id=d9 session_token=S prompt_text=Q", "draft_not_found -"},
        {"update_draft draft_id=d1 session_token=T prompt_text=Q", "not_owner -"},
        {"update_draft draft_id=d1 user_id=u1 prompt_text=Q", "not_owner 10"},
        {"update_draft draft_id=d1 session_token=S prompt_text=Q", "ok -"},
        {"update_draft draft_id=d1 session_token=T prompt_text=Q at=\"" + expired + "\"",
         "not_owner -"},
        {"update_draft draft_id=d1 session_token=S prompt_text=Q at=\"" + expired + "\"",
         "draft_expired -"},
        {"update_draft draft_id=d1 session_token=S prompt_text=Q "
         "at=\"2026-01-25T00:00:01.999999Z\"",
         "ok -"}}},
      {"update_draft: a session token proves nothing once the draft is claimed",
       {{"create_user user_id=u1", "ok 10"},
        {"create_user user_id=u2", "ok 10"},
        {"create_draft draft_id=d1 session_token=S prompt_text=P", "ok -"},
        {"claim_draft session_token=S user_id=u1", "ok 10 id=" + id('d', 1).text()},
        {"update_draft draft_id=d1 session_token=S prompt_text=Q", "not_owner -"},
        {"update_draft draft_id=d1 session_token=S user_id=u2 prompt_text=Q", "not_owner 10"},
        {"update_draft draft_id=d1 user_id=u1 prompt_text=Q", "ok 10"},
        {"update_draft draft_id=d1 user_id=u1 prompt_text=Q at=\"2027-01-01T00:00:00.000000Z\"",
         "ok 10"}}},
      {"claim_draft: its codes, and all the session's drafts are claimed at once",
       {{"create_draft draft_id=d1 session_token=S prompt_text=P", "ok -"},
        {"create_draft draft_id=d3 session_token=S prompt_text=P "
         "at=\"2026-01-18T01:00:00.000000Z\"",
         "ok -"},
        {"create_draft draft_id=d2 session_token=S prompt_text=P "
         "at=\"2026-01-18T01:00:00.000000Z\"",
         "ok -"},
        {"claim_draft session_token=S user_id=u1", "user_not_found -"},
        {"create_user user_id=u1", "ok 10"},
        {"claim_draft session_token=T user_id=u1", "draft_not_found 10"},
        {"claim_draft session_token=S user_id=u1", "ok 10 id=" + id('d', 3).text()},
        {"claim_draft session_token=S user_id=u1", "draft_not_found 10"}}},
      {"claim_draft: an expired draft is not claimed",
       {{"create_user user_id=u1", "ok 10"},
        {"create_draft draft_id=d1 session_token=S prompt_text=P", "ok -"},
        {"claim_draft session_token=S user_id=u1 at=\"" + expired + "\"", "draft_not_found 10"},
        {"claim_draft session_token=S user_id=u1 at=\"2026-01-25T00:00:01.999999Z\"",
         "ok 10 id=" + id('d', 1).text()}}},
      {"purge_expired_drafts: only unclaimed drafts that expired go, and their ids are free again",
       {{"create_user user_id=u1", "ok 10"},
        {"create_draft draft_id=d1 session_token=S prompt_text=P", "ok -"},
        {"create_draft draft_id=d2 session_token=S user_id=u1 prompt_text=P", "ok 10"},
        {"purge_expired_drafts at=\"2026-01-25T00:00:01.999999Z\"", "ok -"},
        {"create_draft draft_id=d1 session_token=S prompt_text=P", "already_exists -"},
        {"purge_expired_drafts at=\"" + expired + "\"", "ok -"},
        {"create_draft draft_id=d1 session_token=S prompt_text=P", "ok -"},
        {"create_draft draft_id=d2 session_token=S prompt_text=P", "already_exists -"}}},
  };
}

std::vector<OperationTable> projects() {
  const std::string rest = " title=T prompt_text=P niche_preset=facts target_minutes=1";
  const std::string voice_rest = " name=N audio_path=A";
  return {
      {"create_project: its codes in order",
       {{"create_user user_id=u1", "ok 10"},
        {"create_user user_id=u2", "ok 10"},
        {"create_voice_profile voice_profile_id=v1 user_id=u1" + voice_rest, "ok 10"},
        {"create_voice_profile voice_profile_id=v2 user_id=u2" + voice_rest, "ok 10"},
        {"create_project project_id=p1 user_id=u1" + rest, "ok 10"},
        {"create_project project_id=p1 user_id=u9 voice_profile_id=v9" + rest, "user_not_found -"},
        {"create_project project_id=p1 user_id=u1 voice_profile_id=v9" + rest,
         "voice_profile_not_found 10"},
        {"create_project project_id=p1 user_id=u1 voice_profile_id=v2" + rest,
         "voice_profile_not_found 10"},
        {"create_project project_id=p1 user_id=u1 voice_profile_id=v1" + rest, "already_exists 10"},
        {"create_project project_id=p2 user_id=u1 voice_profile_id=v1" + rest, "ok 10"}}},
      {"update_project: its codes in order",
       {{"create_user user_id=u1", "ok 10"},
        {"create_user user_id=u2", "ok 10"},
        {"create_voice_profile voice_profile_id=v2 user_id=u2" + voice_rest, "ok 10"},
        {"create_project project_id=p1 user_id=u1" + rest, "ok 10"},
        {"update_project project_id=p9 user_id=u9 voice_profile_id=v9", "project_not_found -"},
        {"update_project project_id=p1 user_id=u2 voice_profile_id=v9",
         "voice_profile_not_found 10"},
        {"update_project project_id=p1 user_id=u1 voice_profile_id=v2",
         "voice_profile_not_found 10"},
        {"update_project project_id=p1 user_id=u2 voice_profile_id=v2", "not_owner 10"},
        {"update_project project_id=p1 user_id=u9 title=T", "not_owner -"},
        {"update_project project_id=p1 user_id=u1 title=U", "ok 10"}}},
      {"delete_project: its codes in order; an open hold keeps it",
       users_with_jobs(2) +
           Rows{{"delete_project project_id=p9 user_id=u9", "project_not_found -"},
                {"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                {"delete_project project_id=p1 user_id=u2", "not_owner 10"},
                {"delete_project project_id=p1 user_id=u1", "illegal_transition 2"},
                {"fail_job job_id=j1 error_code=E", "ok 10"},
                {"delete_project project_id=p1 user_id=u1", "ok 10"},
                {"delete_project project_id=p1 user_id=u1", "project_not_found 10"},
                {"reserve_credits user_id=u1 job_id=j1 amount=8", "job_not_found 10"},
                {"create_project project_id=p1 user_id=u2" + rest, "ok 10"},
                {"create_job job_id=j1 project_id=p1 user_id=u2", "ok 10"}}},
      {"voice profiles: their codes in order",
       {{"create_voice_profile voice_profile_id=v1 user_id=u1" + voice_rest, "user_not_found -"},
        {"create_user user_id=u1", "ok 10"},
        {"create_user user_id=u2", "ok 10"},
        {"create_voice_profile voice_profile_id=v1 user_id=u1" + voice_rest, "ok 10"},
        {"create_voice_profile voice_profile_id=v1 user_id=u9" + voice_rest, "user_not_found -"},
        {"create_voice_profile voice_profile_id=v1 user_id=u2" + voice_rest, "already_exists 10"},
        {"delete_voice_profile voice_profile_id=v9 user_id=u9", "user_not_found -"},
        {"delete_voice_profile voice_profile_id=v9 user_id=u1", "voice_profile_not_found 10"},
        {"delete_voice_profile voice_profile_id=v1 user_id=u2", "not_owner 10"},
        {"delete_voice_profile voice_profile_id=v1 user_id=u1", "ok 10"},
        {"delete_voice_profile voice_profile_id=v1 user_id=u1", "voice_profile_not_found 10"},
        {"create_voice_profile voice_profile_id=v1 user_id=u2" + voice_rest, "ok 10"}}},
  };
}

std::vector<OperationTable> jobs() {
  return {
      {"create_job: its codes in order",
       users_with_jobs(2) +
           Rows{{"create_job job_id=j1 project_id=p9 user_id=u2", "project_not_found 10"},
                {"create_job job_id=j1 project_id=p1 user_id=u2", "already_exists 10"},
                {"create_job job_id=j9 project_id=p1 user_id=u2", "not_owner 10"},
                {"create_job job_id=j9 project_id=p1 user_id=u9", "not_owner -"},
                {"create_job job_id=\"0000006a-0000-8000-8000-000000000009\" project_id=p1 "
                 "user_id=u1",
                 "invalid_argument 10"},
                {"create_job job_id=\"0000006a-0000-0000-8000-000000000009\" project_id=p1 "
                 "user_id=u1",
                 "invalid_argument 10"},
                {"create_job job_id=j9 project_id=p1 user_id=u1", "ok 10"}}},
      {"reserve_credits: its codes in order",
       users_with_jobs(2) +
           Rows{{"reserve_credits user_id=u9 job_id=j9 amount=true", "invalid_argument -"},
                {"reserve_credits user_id=u9 job_id=j9 amount=0", "invalid_amount -"},
                {"reserve_credits user_id=u9 job_id=j9 amount=1", "job_not_found -"},
                {"reserve_credits user_id=u9 job_id=j1 amount=11", "not_owner 10"},
                {"reserve_credits user_id=u2 job_id=j1 amount=11", "not_owner 10"},
                {"reserve_credits user_id=u1 job_id=j1 amount=11", "insufficient_credits 10"},
                {"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                {"reserve_credits user_id=u2 job_id=j1 amount=100", "not_owner 10"},
                {"reserve_credits user_id=u1 job_id=j1 amount=100", "already_reserved 2"},
                {"advance_job job_id=j1 to=QUEUED", "ok 2"},
                {"reserve_credits user_id=u1 job_id=j1 amount=100", "illegal_transition 2"},
                {"release_job_credits job_id=j1", "ok 10"},
                {"reserve_credits user_id=u1 job_id=j1 amount=1", "illegal_transition 10"}}},
      {"reserve_credits: a PENDING job may be reserved for again after a release",
       users_with_jobs(1) + Rows{{"reserve_credits user_id=u1 job_id=j1 amount=10", "ok 0"},
                                 {"release_job_credits job_id=j1", "ok 10"},
                                 {"reserve_credits user_id=u1 job_id=j1 amount=3", "ok 7"},
                                 {"finalize_job_credits job_id=j1 final_cost=2", "ok 8"},
                                 {"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 0"},
                                 {"finalize_job_credits job_id=j1 final_cost=8", "ok 0"}}},
      {"advance_job: its codes in order",
       users_with_jobs(1) + Rows{{"advance_job job_id=j9 to=CANCELLED", "invalid_argument -"},
                                 {"advance_job job_id=j9 to=QUEUED", "job_not_found -"},
                                 {"advance_job job_id=j1 to=SCRIPTING", "illegal_transition 10"},
                                 {"advance_job job_id=j1 to=QUEUED", "reservation_required 10"},
                                 {"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                                 {"advance_job job_id=j1 to=QUEUED status_message=Soon", "ok 2"}}},
      {"advance_job: READY waits until the hold is settled, and a released one is not settled",
       users_with_jobs(1) + job_to("PACKAGING") +
           Rows{{"advance_job job_id=j1 to=READY", "illegal_transition 2"},
                {"release_job_credits job_id=j1", "ok 10"},
                {"advance_job job_id=j1 to=READY", "illegal_transition 10"}}},
      {"report_progress: its codes in order",
       users_with_jobs(1) +
           Rows{
               {"report_progress job_id=j9 step_name=MIXING progress_pct=101",
                "invalid_argument -"},
               {"report_progress job_id=j9 step_name=MIXING progress_pct=100", "job_not_found -"},
               {"report_progress job_id=j1 step_name=MIXING progress_pct=100", "step_not_found 10"},
               {"report_progress job_id=j1 step_name=PENDING progress_pct=100",
                "step_not_found 10"},
               {"report_progress job_id=j1 step_name=SCRIPTING progress_pct=1",
                "illegal_transition 10"}} +
           job_to("SCRIPTING") +
           Rows{{"report_progress job_id=j1 step_name=VOICE_GEN progress_pct=1",
                 "illegal_transition 2"},
                {"report_progress job_id=j1 step_name=SCRIPTING progress_pct=100", "ok 2"},
                {"report_progress job_id=j1 step_name=SCRIPTING progress_pct=3", "ok 2"}}},
      {"add_asset: its codes in order",
       users_with_jobs(1) +
           Rows{
               {"add_asset asset_id=a1 job_id=j9 type=movie url=U storage_path=S",
                "invalid_argument -"},
               {"add_asset asset_id=a1 job_id=j9 type=video url=U storage_path=S",
                "job_not_found -"},
               {"add_asset asset_id=a1 job_id=j1 type=video url=U storage_path=S size_bytes=0",
                "ok 10"},
               {"add_asset asset_id=a1 job_id=j9 type=zip url=U storage_path=S", "job_not_found -"},
               {"add_asset asset_id=a1 job_id=j1 type=zip url=U storage_path=S",
                "already_exists 10"}}},
      {"finalize_job_credits: its codes in order",
       users_with_jobs(1) +
           Rows{{"finalize_job_credits job_id=j9 final_cost=null", "invalid_argument -"},
                {"finalize_job_credits job_id=j9 final_cost=-1", "invalid_amount -"},
                {"finalize_job_credits job_id=j9 final_cost=0", "job_not_found -"},
                {"finalize_job_credits job_id=j1 final_cost=0", "no_reservation 10"},
                {"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                {"finalize_job_credits job_id=j1 final_cost=11", "insufficient_credits 2"},
                {"finalize_job_credits job_id=j1 final_cost=2147483647", "insufficient_credits 2"},
                {"finalize_job_credits job_id=j1 final_cost=10", "ok 0"},
                {"finalize_job_credits job_id=j1 final_cost=100", "already_finalized 0"},
                {"finalize_job_credits job_id=j1 final_cost=10", "already_finalized 0"},
                {"reserve_credits user_id=u1 job_id=j1 amount=1", "insufficient_credits 0"},
                {"finalize_job_credits job_id=j1 final_cost=10", "already_finalized 0"}}},
      {"finalize_job_credits: a new reservation clears what was settled, so a release leaves none",
       users_with_jobs(1) +
           Rows{{"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                {"finalize_job_credits job_id=j1 final_cost=0", "ok 10"},
                {"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                {"release_job_credits job_id=j1", "ok 10"},
                {"finalize_job_credits job_id=j1 final_cost=0", "no_reservation 10"}}},
      {"release_job_credits: its codes in order",
       users_with_jobs(1) + Rows{{"release_job_credits job_id=j9", "job_not_found -"},
                                 {"release_job_credits job_id=j1", "no_reservation 10"},
                                 {"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                                 {"release_job_credits job_id=j1", "ok 10"},
                                 {"release_job_credits job_id=j1", "no_reservation 10"}}},
      {"the contract's sums: reserve 8 and finalize 5 of 10 leaves 5; reserve 8 and release leaves "
       "10",
       users_with_jobs(1) + Rows{{"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                                 {"release_job_credits job_id=j1", "ok 10"},
                                 {"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
                                 {"finalize_job_credits job_id=j1 final_cost=5", "ok 5"}}},
      {"complete_job: its codes in order; the status counts before the hold",
       users_with_jobs(1) +
           Rows{{"complete_job job_id=j9 final_cost=2147483648", "invalid_amount -"},
                {"complete_job job_id=j9 final_cost=1", "job_not_found -"},
                {"complete_job job_id=j1 final_cost=1", "illegal_transition 10"}} +
           job_to("PACKAGING") +
           Rows{{"complete_job job_id=j1 final_cost=11", "insufficient_credits 2"},
                {"release_job_credits job_id=j1", "ok 10"},
                {"complete_job job_id=j1 final_cost=1", "no_reservation 10"}}},
      {"complete_job: already_finalized in PACKAGING after a settlement, illegal_transition once "
       "READY",
       users_with_jobs(1) + job_to("PACKAGING") +
           Rows{{"finalize_job_credits job_id=j1 final_cost=5", "ok 5"},
                {"complete_job job_id=j1 final_cost=5", "already_finalized 5"},
                {"advance_job job_id=j1 to=READY", "ok 5"},
                {"complete_job job_id=j1 final_cost=5", "illegal_transition 5"}}},
      {"complete_job: settles and is READY in one",
       users_with_jobs(1) + job_to("PACKAGING") +
           Rows{
               {"complete_job job_id=j1 final_cost=9 output_url=U manifest_json={\"a\":1}", "ok 1"},
               {"advance_job job_id=j1 to=READY", "illegal_transition 1"},
               {"fail_job job_id=j1 error_code=E", "illegal_transition 1"},
               {"retry_job job_id=j1 amount=1", "illegal_transition 1"}}},
      {"fail_job: its codes in order",
       users_with_jobs(1) + Rows{{"fail_job job_id=j9 error_code=\"\"", "invalid_argument -"},
                                 {"fail_job job_id=j9 error_code=E", "job_not_found -"},
                                 {"fail_job job_id=j1 error_code=E", "ok 10"},
                                 {"fail_job job_id=j1 error_code=E", "illegal_transition 10"}}},
      {"fail_job: releases an open hold, in any status before READY",
       users_with_jobs(1) + job_to("RENDERING") +
           Rows{{"fail_job job_id=j1 error_code=GPU", "ok 10"}}},
      {"retry_job: its codes in order",
       users_with_jobs(1) + Rows{{"retry_job job_id=j9 amount=0", "invalid_amount -"},
                                 {"retry_job job_id=j9 amount=11", "job_not_found -"},
                                 {"retry_job job_id=j1 amount=11", "illegal_transition 10"},
                                 {"fail_job job_id=j1 error_code=E", "ok 10"},
                                 {"retry_job job_id=j1 amount=11", "insufficient_credits 10"},
                                 {"retry_job job_id=j1 amount=10", "ok 0"},
                                 {"retry_job job_id=j1 amount=11", "illegal_transition 0"},
                                 {"advance_job job_id=j1 to=SCRIPTING", "ok 0"}}},
      {"retry_job: from QUEUED the job goes to its first step that has not succeeded, nowhere else",
       users_with_jobs(1) + job_to("TIMELINE") +
           Rows{{"fail_job job_id=j1 error_code=E", "ok 10"},
                {"retry_job job_id=j1 amount=4", "ok 6"},
                {"advance_job job_id=j1 to=SCRIPTING", "illegal_transition 6"},
                {"advance_job job_id=j1 to=RENDERING", "illegal_transition 6"},
                {"advance_job job_id=j1 to=TIMELINE", "ok 6"}}},
  };
}

std::vector<OperationTable> reservations() {
  // The reservation is named by the op_id that opened it.
  const Rows setup =
      users_with_jobs(1) + Rows{{"reserve_credits user_id=u1 job_id=j1 amount=8 op_id=o1", "ok 2"},
                                {"release_job_credits job_id=j1", "ok 10"},
                                {"reserve_credits user_id=u1 job_id=j1 amount=8 op_id=o2", "ok 2"}};
  return {
      {"stale_reservation: an operation that means an earlier reservation is refused",
       setup + Rows{{"finalize_job_credits job_id=j1 final_cost=5 reservation=o1",
                     "stale_reservation 2"},
                    {"release_job_credits job_id=j1 reservation=o1", "stale_reservation 2"},
                    {"fail_job job_id=j1 error_code=E reservation=o1", "stale_reservation 2"},
                    {"add_asset asset_id=a1 job_id=j1 type=zip url=U storage_path=S reservation=o1",
                     "stale_reservation 2"},
                    {"advance_job job_id=j1 to=QUEUED reservation=o1", "stale_reservation 2"},
                    {"finalize_job_credits job_id=j1 final_cost=5 reservation=o2", "ok 5"}}},
      {"stale_reservation: comes after existence and before state and credits",
       setup +
           Rows{{"finalize_job_credits job_id=j9 final_cost=5 reservation=o1", "job_not_found -"},
                {"finalize_job_credits job_id=j1 final_cost=500 reservation=o1",
                 "stale_reservation 2"},
                {"advance_job job_id=j1 to=READY reservation=o1", "stale_reservation 2"},
                {"complete_job job_id=j1 final_cost=5 reservation=o1", "stale_reservation 2"},
                {"retry_job job_id=j1 amount=5 reservation=o1", "stale_reservation 2"},
                {"report_progress job_id=j1 step_name=MIXING progress_pct=5 reservation=o1",
                 "step_not_found 2"},
                {"report_progress job_id=j1 step_name=SCRIPTING progress_pct=5 reservation=o1",
                 "stale_reservation 2"}}},
      {"stale_reservation: a job that never had a reservation has no such one",
       users_with_jobs(1) +
           Rows{{"release_job_credits job_id=j1 reservation=o1", "stale_reservation 10"}}},
      {"reservation: null is as if it were absent, and a closed one is still the latest",
       setup + Rows{{"release_job_credits job_id=j1 reservation=null", "ok 10"},
                    {"release_job_credits job_id=j1 reservation=o2", "no_reservation 10"}}},
      {"reservation: no field of operations that are none on a job's course",
       setup + Rows{{"reserve_credits user_id=u1 job_id=j1 amount=1 reservation=o2",
                     "invalid_argument 2"},
                    {"claim_job job_id=j1 ttl=60 reservation=o2", "invalid_argument 2"},
                    {"release_job_credits job_id=j1 reservation=word", "invalid_argument 2"}}},
      {"reservation: is not compared when an op_id comes again",
       setup + Rows{{"release_job_credits job_id=j1 reservation=o2 op_id=o3", "ok 10"},
                    {"release_job_credits job_id=j1 reservation=o1 op_id=o3", "ok 10"},
                    {"release_job_credits job_id=j1 op_id=o3", "ok 10"}}},
      {"reservation: retry_job opens one, under its own op_id",
       users_with_jobs(1) + job_to("FAILED") +
           Rows{{"retry_job job_id=j1 amount=3 op_id=o9", "ok 7"},
                {"release_job_credits job_id=j1 reservation=o9", "ok 10"}}},
  };
}

std::vector<OperationTable> claims() {
  return {
      {"claim_job: its codes in order",
       users_with_jobs(1) +
           Rows{{"claim_job job_id=j9 ttl=0", "invalid_argument -"},
                {"claim_job job_id=j9 ttl=2592001", "invalid_argument -"},
                {"claim_job job_id=j9 ttl=2592000", "job_not_found -"},
                {"claim_job job_id=j1 ttl=60", "illegal_transition 10"}} +
           job_to("QUEUED") +
           Rows{{"claim_job job_id=j1 ttl=60 op_id=o1", "ok 2"},
                {"claim_job job_id=j1 ttl=60", "already_claimed 2"},
                {"claim_job job_id=j1 ttl=60 op_id=o1", "ok 2"},
                {"advance_job job_id=j1 to=SCRIPTING", "ok 2"},
                {"claim_job job_id=j1 ttl=60", "already_claimed 2"},
                {"fail_job job_id=j1 error_code=E", "ok 10"},
                {"claim_job job_id=j1 ttl=60", "illegal_transition 10"}}},
      {"claims: without a live one, renewing and dropping are not_claim_holder in every status",
       users_with_jobs(1) +
           Rows{{"renew_claim job_id=j9 ttl=1", "job_not_found -"},
                {"drop_claim job_id=j9", "job_not_found -"},
                {"renew_claim job_id=j1 ttl=1", "not_claim_holder 10"},
                {"drop_claim job_id=j1", "not_claim_holder 10"}} +
           job_to("QUEUED") +
           Rows{{"renew_claim job_id=j1 ttl=1", "not_claim_holder 2"},
                {"claim_job job_id=j1 ttl=60", "ok 2"},
                {"renew_claim job_id=j1 ttl=60", "ok 2"},
                {"drop_claim job_id=j1", "ok 2"},
                {"drop_claim job_id=j1", "not_claim_holder 2"},
                {"claim_job job_id=j1 ttl=60", "ok 2"},
                {"fail_job job_id=j1 error_code=E", "ok 10"},
                {"renew_claim job_id=j1 ttl=60", "not_claim_holder 10"},
                {"drop_claim job_id=j1", "not_claim_holder 10"}}},
      {"claims: one lives until its ttl has passed, and not at that moment",
       users_with_jobs(1) + job_to("QUEUED") +
           Rows{{"claim_job job_id=j1 ttl=60 at=\"2026-01-18T01:00:00.000000Z\"", "ok 2"},
                {"claim_job job_id=j1 ttl=60 at=\"2026-01-18T01:00:59.999999Z\"",
                 "already_claimed 2"},
                {"renew_claim job_id=j1 ttl=60 at=\"2026-01-18T01:01:00.000000Z\"",
                 "not_claim_holder 2"},
                {"claim_job job_id=j1 ttl=60 at=\"2026-01-18T01:01:00.000000Z\"", "ok 2"},
                {"renew_claim job_id=j1 ttl=10 at=\"2026-01-18T01:01:30.000000Z\"", "ok 2"},
                {"claim_job job_id=j1 ttl=60 at=\"2026-01-18T01:01:40.000000Z\"", "ok 2"}}},
      {"sweep: fails jobs in a stage that nobody has touched for the grace, and no others",
       users_with_jobs(3) + job_to("SCRIPTING", 1) + job_to("QUEUED", 2) + job_to("VOICE_GEN", 3) +
           Rows{{"claim_job job_id=j3 ttl=2592000", "ok 2"},
                {"sweep grace=0", "invalid_argument -"},
                {"sweep grace=3600", "ok -"},
                {"release_job_credits job_id=j1 op_id=o1 at=\"2026-01-18T02:00:00.000000Z\"",
                 "ok 10"},
                {"sweep grace=3600 at=\"2026-01-18T02:59:59.999999Z\"", "ok -"},
                {"claim_job job_id=j1 ttl=1 at=\"2026-01-18T02:30:00.000000Z\"", "ok 10"},
                {"sweep grace=3600 at=\"2026-01-18T03:30:00.999999Z\"", "ok -"},
                {"renew_claim job_id=j1 ttl=1 at=\"2026-01-18T02:30:00.999999Z\"", "ok 10"},
                {"sweep grace=3600 at=\"2026-01-18T03:30:01.999998Z\"", "ok -"},
                {"advance_job job_id=j1 to=READY", "illegal_transition 10"},
                {"retry_job job_id=j1 amount=1", "illegal_transition 10"},
                {"sweep grace=3600 at=\"2026-01-18T03:30:01.999999Z\"", "ok -"},
                {"retry_job job_id=j1 amount=1", "ok 9"},
                {"retry_job job_id=j2 amount=1", "illegal_transition 2"},
                {"retry_job job_id=j3 amount=1", "illegal_transition 2"}}},
      {"sweep: releases what the lost jobs held",
       users_with_jobs(2) + job_to("SCRIPTING", 1) + job_to("PACKAGING", 2) +
           Rows{{"sweep grace=60 at=\"2026-01-19T00:00:00.000000Z\"", "ok -"},
                {"update_profile user_id=u1", "ok 10"},
                {"update_profile user_id=u2", "ok 10"}}},
      {"sweep: each fail_job's op_id is the sweep's XOR the job's, version 4, and is remembered",
       users_with_jobs(1) + job_to("SCRIPTING", 1) +
           Rows{// o77 XOR j1, version 4 and variant set: …6f XOR …6a is …05; 0x4d XOR 0x01 is 0x4c.
                {"sweep grace=60 op_id=o77 at=\"2026-01-19T00:00:00.000000Z\"", "ok -"},
                {"fail_job job_id=j1 error_code=WORKER_LOST "
                 "op_id=\"00000005-0000-4000-8000-00000000004c\"",
                 "ok 10"},
                {"fail_job job_id=j1 error_code=OTHER "
                 "op_id=\"00000005-0000-4000-8000-00000000004c\"",
                 "operation_conflict 10"},
                {"sweep grace=60 op_id=o77 at=\"2026-01-19T00:00:00.000000Z\"", "ok -"},
                {"sweep grace=61 op_id=o77", "operation_conflict -"}}},
      {"leases: a mirror without a device has none, whatever the line says",
       {{"lease_credits lease_id=l1 user_id=u1 amount=1 ttl=60", "not_permitted -"},
        {"lease_credits", "not_permitted -"},
        {"create_user user_id=u1", "ok 10"},
        {"lease_credits user_id=u1 amount=\"x\"", "not_permitted 10"},
        {"return_lease lease_id=l1", "not_permitted -"},
        {"return_lease lease_id=7", "not_permitted -"}}},
  };
}

std::vector<OperationTable> batches() {
  std::string thousand;
  std::string thousand_and_one;
  for (int i = 0; i <= 1000; ++i) {
    const std::string op = std::string(i == 0 ? "" : ";") +
                           "add_credits user_id=u1 amount=1 type=grant op_id=b" + std::to_string(i);
    if (i < 1000) thousand += op;
    thousand_and_one += op;
  }
  return {
      {"batch: applies all, or nothing with the first refusal's code and index",
       users_with_jobs(2) +
           Rows{{"batch ops=(reserve_credits user_id=u1 job_id=j1 amount=8; advance_job job_id=j1 "
                 "to=QUEUED)",
                 "ok 2"},
                {"batch ops=(advance_job job_id=j1 to=SCRIPTING; release_job_credits job_id=j1; "
                 "release_job_credits job_id=j1)",
                 "no_reservation 2 index=2"},
                {"advance_job job_id=j1 to=VOICE_GEN", "illegal_transition 2"},
                {"batch ops=(fail_job job_id=j1 error_code=\"\")", "invalid_argument 2 index=0"},
                {"batch ops=(reserve_credits user_id=u2 job_id=j2 amount=0)",
                 "invalid_amount 10 index=0"},
                {"batch ops=(add_credits user_id=u2 amount=1 type=usage)",
                 "invalid_type 10 index=0"}}},
      {"batch: 1 to 1,000 operations",
       {{"create_user user_id=u1", "ok 10"},
        {"batch ops=[]", "invalid_argument -"},
        {"batch ops=null", "invalid_argument -"},
        {"batch ops={}", "invalid_argument -"},
        {"batch", "invalid_argument -"},
        {"batch ops=[7]", "invalid_argument -"},
        {"batch ops=(" + thousand_and_one + ")", "invalid_argument 10"},
        {"batch ops=(" + thousand + ")", "ok 1010"}}},
      {"batch: what may not be in one makes it invalid_argument without an index",
       {{"create_user user_id=u1", "ok 10"},
        {"batch ops=(update_profile user_id=u1; sweep grace=1)", "invalid_argument 10"},
        {"batch ops=(update_profile user_id=u1; purge_expired_drafts)", "invalid_argument 10"},
        {"batch ops=(update_profile user_id=u1; batch ops=(update_profile user_id=u1))",
         "invalid_argument 10"},
        {"batch ops=(update_profile user_id=u1; lease_credits lease_id=l1 user_id=u1 amount=1 "
         "ttl=1)",
         "invalid_argument 10"},
        {"batch ops=(update_profile user_id=u1; return_lease lease_id=l1)", "invalid_argument 10"},
        {"batch ops=(update_profile user_id=u1; fly user_id=u1)", "invalid_argument 10"},
        {"batch ops=(update_profile user_id=u1; update_profile user_id=u1 op_id=7)",
         "invalid_argument 10"},
        {"batch ops=(update_profile user_id=u1 at=\"2026-01-18T00:00:00.000000Z\")",
         "invalid_argument 10"},
        {"batch note=N ops=(update_profile user_id=u1)", "invalid_argument 10"}}},
      {"batch: all of one user, judged before the first is applied",
       users_with_jobs(2) +
           Rows{
               {"batch ops=(update_profile user_id=u1; update_profile user_id=u2)",
                "invalid_argument 10"},
               {"batch ops=(update_profile user_id=u1; release_job_credits job_id=j2)",
                "invalid_argument 10"},
               {"batch ops=(add_credits user_id=u1 amount=0 type=grant; update_profile user_id=u2)",
                "invalid_argument 10"},
               {"batch ops=(create_draft draft_id=d1 session_token=S prompt_text=P; update_profile "
                "user_id=u1)",
                "invalid_argument 10"},
               {"batch ops=(update_profile user_id=u1; reserve_credits user_id=u1 job_id=j1 "
                "amount=1)",
                "ok 9"}}},
      {"batch: each is checked on what those before it left",
       {{"batch ops=(create_user user_id=u1; add_credits user_id=u1 amount=5 type=grant; "
         "create_project "
         "project_id=p1 user_id=u1 title=T prompt_text=P niche_preset=facts target_minutes=1; "
         "create_job "
         "job_id=j1 project_id=p1 user_id=u1; reserve_credits user_id=u1 job_id=j1 amount=15; "
         "advance_job job_id=j1 to=QUEUED)",
         "ok 0"}}},
      {"batch: the balance is that of the first operation that gives one",
       {{"batch ops=(create_draft draft_id=d1 session_token=S prompt_text=P; create_draft "
         "draft_id=d2 "
         "session_token=S prompt_text=P)",
         "ok -"},
        {"create_user user_id=u1", "ok 10"},
        {"batch ops=(release_job_credits job_id=j9; update_profile user_id=u1)",
         "job_not_found 10 index=0"}}},
      {"batch: the same again is ok, other fields are operation_conflict, and so are its "
       "operations'",
       {{"create_user user_id=u1", "ok 10"},
        {"batch op_id=o1 ops=(add_credits user_id=u1 amount=1 type=grant op_id=o2)", "ok 11"},
        {"batch op_id=o1 ops=(add_credits user_id=u1 amount=1 type=grant op_id=o2)", "ok 11"},
        {"batch op_id=o1 ops=(add_credits user_id=u1 amount=2 type=grant op_id=o2)",
         "operation_conflict 11"},
        {"batch op_id=o1 ops=(add_credits user_id=u1 amount=1 type=grant op_id=o3)",
         "operation_conflict 11"},
        {"add_credits user_id=u1 amount=1 type=grant op_id=o2", "ok 11"},
        {"add_credits user_id=u1 amount=2 type=grant op_id=o2", "operation_conflict 11"},
        {"add_credits user_id=u1 amount=1 type=grant op_id=o1", "operation_conflict 11"},
        {"batch op_id=o4 ops=(add_credits user_id=u1 amount=1 type=grant op_id=o2; add_credits "
         "user_id=u1 "
         "amount=1 type=grant op_id=o5)",
         "ok 12"},
        {"batch op_id=o6 ops=(add_credits user_id=u1 amount=1 type=grant op_id=o6)",
         "operation_conflict 12 index=0"},
        {"batch op_id=o7 ops=(add_credits user_id=u1 amount=1 type=grant op_id=o8; add_credits "
         "user_id=u1 "
         "amount=2 type=grant op_id=o8)",
         "operation_conflict 12 index=1"},
        {"batch op_id=o7 ops=(add_credits user_id=u1 amount=1 type=grant op_id=o8; add_credits "
         "user_id=u1 "
         "amount=1 type=grant op_id=o8)",
         "ok 13"}}},
      {"batch: a refused one may be tried again under its op_id",
       {{"create_user user_id=u1", "ok 10"},
        {"batch op_id=o1 ops=(expire_credits user_id=u1 amount=11 op_id=o2)",
         "insufficient_credits 10 index=0"},
        {"add_credits user_id=u1 amount=1 type=grant", "ok 11"},
        {"batch op_id=o1 ops=(expire_credits user_id=u1 amount=11 op_id=o2)", "ok 0"}}},
  };
}

std::vector<OperationTable> precedence() {
  return {
      {"an op_id that was seen comes before the fields by themselves",
       {{"create_user user_id=u1", "ok 10"},
        {"add_credits user_id=u1 amount=1 type=grant op_id=o1", "ok 11"},
        {"add_credits user_id=u1 amount=0 type=grant op_id=o1", "operation_conflict 11"},
        {"add_credits user_id=u1 amount=\"1\" type=grant op_id=o1", "operation_conflict 11"},
        {"add_credits user_id=u1 amount=1 type=usage op_id=o1", "operation_conflict 11"}}},
      {"an op_id that was seen comes before existence and state",
       users_with_jobs(1) +
           Rows{{"reserve_credits user_id=u1 job_id=j1 amount=8 op_id=o1", "ok 2"},
                {"reserve_credits user_id=u1 job_id=j9 amount=8 op_id=o1", "operation_conflict 2"},
                {"reserve_credits user_id=u1 job_id=j1 amount=8 op_id=o1", "ok 2"}}},
      {"an unknown or malformed field comes before everything that the ledger knows",
       {{"create_user user_id=u1 colour=red", "invalid_argument -"},
        {"create_user user_id=u1", "ok 10"},
        {"create_user user_id=u1 colour=red", "invalid_argument 10"},
        {"create_user user_id=u1 ttl=60", "invalid_argument 10"},
        {"expire_credits user_id=u1 amount=0 note=7", "invalid_argument 10"},
        {"add_credits user_id=u1 amount=0 type=usage note=7", "invalid_argument 10"}}},
      {"ownership comes before state, state before credits",
       users_with_jobs(2) + job_to("QUEUED", 1) +
           Rows{{"reserve_credits user_id=u2 job_id=j1 amount=1000", "not_owner 10"},
                {"reserve_credits user_id=u1 job_id=j1 amount=1000", "illegal_transition 2"}}},
      {"user comes before project before job",
       users_with_jobs(1) +
           Rows{{"create_project project_id=p1 user_id=u9 title=T prompt_text=P niche_preset=facts "
                 "target_minutes=1",
                 "user_not_found -"},
                {"create_job job_id=j1 project_id=p9 user_id=u1", "project_not_found 10"}}},
  };
}

}  // namespace

std::vector<OperationTable> operation_tables() {
  std::vector<OperationTable> all;
  for (auto* part :
       {users_and_credits, drafts, projects, jobs, reservations, claims, batches, precedence}) {
    for (OperationTable& table : part()) all.push_back(std::move(table));
  }
  return all;
}

}  // namespace tally::test
