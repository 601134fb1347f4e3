#include "support/broken_mirror.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace tally::test {

Rows a_day() {
  return users_with_jobs(3) + job_to("READY", 1) + job_to("TIMELINE", 2) +
         Rows{{"fail_job job_id=j2 error_code=GPU error_message=Hot", "ok 10"},
              {"retry_job job_id=j2 amount=3", "ok 7"},
              {"add_credits user_id=u1 amount=20 type=purchase stripe_payment_id=pi_1", "ok 25"},
              {"add_credits user_id=u1 amount=20 type=purchase stripe_payment_id=pi_1", "ok 25"},
              {"create_job job_id=j4 project_id=p1 user_id=u1", "ok 25"},
              {"reserve_credits user_id=u1 job_id=j4 amount=5", "ok 20"},
              {"finalize_job_credits job_id=j4 final_cost=9", "ok 16"},
              {"expire_credits user_id=u1 amount=17", "insufficient_credits 16"},
              {"expire_credits user_id=u1 amount=6 note=Old", "ok 10"},
              {"reserve_credits user_id=u3 job_id=j3 amount=11", "insufficient_credits 10"},
              {"reserve_credits user_id=u3 job_id=j3 amount=10", "ok 0"},
              {"release_job_credits job_id=j3", "ok 10"},
              {"reserve_credits user_id=u3 job_id=j3 amount=10", "ok 0"},
              {"finalize_job_credits job_id=j3 final_cost=0", "ok 10"},
              {"batch ops=(reserve_credits user_id=u3 job_id=j3 amount=10; expire_credits "
               "user_id=u3 amount=1)",
               "insufficient_credits 10 index=1"},
              {"fail_job job_id=j3 error_code=CANCELLED", "ok 10"}};
}

bool found_after(const std::string& sql, const std::string& invariant) {
  TemporaryMirror mirror;
  mirror.check(a_day());
  REQUIRE(mirror.findings() == std::vector<std::string>{});
  mirror.close();
  const std::filesystem::path broken = mirror.folder() / "broken.db";
  copy_mirror(mirror.path(), broken);
  tamper(broken, sql);
  const auto engine = Engine::open(broken, TemporaryMirror::fast());
  REQUIRE(engine.has_value());
  const auto report = engine->audit();
  REQUIRE(report.has_value());
  std::string said;
  for (const Finding& finding : report->findings)
    said += finding.invariant + ": " + finding.detail + "\n";
  CAPTURE(said);
  const bool found =
      std::any_of(report->findings.begin(), report->findings.end(),
                  [&](const Finding& finding) { return finding.invariant == invariant; });
  if (!found) MESSAGE("audit said: " << said);
  return found;
}

}  // namespace tally::test
