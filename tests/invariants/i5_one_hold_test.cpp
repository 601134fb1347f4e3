// I5 one hold, closed once: a job has at most one open hold; READY and FAILED jobs have none; each
// reservation is closed exactly once.
#include <doctest/doctest.h>

#include "support/broken_mirror.hpp"

namespace tally::test {

TEST_CASE("I5: a second reservation while one is open is refused") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) +
               Rows{{"reserve_credits user_id=u1 job_id=j1 amount=2", "ok 8"},
                    {"reserve_credits user_id=u1 job_id=j1 amount=2", "already_reserved 8"}});
  CHECK(mirror->account(user_id(1))->holds.size() == 1);
}

TEST_CASE("I5: a reservation is closed once, whichever way it is tried again") {
  for (const std::string close :
       {"release_job_credits job_id=j1", "finalize_job_credits job_id=j1 final_cost=8",
        "fail_job job_id=j1 error_code=E", "complete_job job_id=j1 final_cost=8"}) {
    TemporaryMirror mirror;
    mirror.check(users_with_jobs(1) + job_to("PACKAGING"));
    CAPTURE(close);
    CHECK(mirror.apply(close).starts_with("ok"));
    const std::int64_t left = mirror.balance();
    for (const std::string again :
         {"release_job_credits job_id=j1", "finalize_job_credits job_id=j1 final_cost=0",
          "complete_job job_id=j1 final_cost=0"}) {
      CAPTURE(again);
      CHECK_FALSE(mirror.apply(again).starts_with("ok"));
      CHECK(mirror.balance() == left);
    }
    CHECK(mirror->account(user_id(1))->holds.empty());
    CHECK(mirror->check(user_id(1))->held.value == 0);
    CHECK(mirror.findings().empty());
  }
}

TEST_CASE("I5: the holds shown are the holds that the entries give") {
  TemporaryMirror mirror;
  mirror.check(a_day());
  // The contract's own rule: entries of the job from its latest negative reserve on.
  CHECK(query(mirror.path(),
              "select job_id, -sum(amount) from credit_ledger c where type in ('reserve', "
              "'refund') and seq >= "
              "(select max(seq) from credit_ledger d where d.job_id = c.job_id and d.type = "
              "'reserve' and d.amount < "
              "0) group by job_id having sum(amount) <> 0") ==
        std::vector<std::string>{job_id(2).text() + "|3"});
  const auto account = mirror->account(user_id(2));
  REQUIRE(account->holds.size() == 1);
  CHECK(account->holds[0].job_id == job_id(2));
  CHECK(account->holds[0].amount.value == 3);
}

TEST_CASE("I5: audit reports a READY job with an open hold") {
  CHECK(found_after("update tally_job set status = 10 where hold > 0", "I5"));
}

TEST_CASE("I5: audit reports a FAILED job with an open hold") {
  CHECK(found_after("update tally_job set status = 11 where hold > 0", "I5"));
}

TEST_CASE("I5: audit reports a hold that is not what the entries give") {
  CHECK(found_after("update tally_job set hold = hold + 1 where hold > 0", "I5"));
}

TEST_CASE("I5: audit reports a hold that no entry opened") {
  CHECK(found_after("update tally_job set hold = 1 where hold = 0 and status = 11", "I5"));
}

TEST_CASE("I5: audit reports an account whose held credits are not the sum of its open holds") {
  CHECK(found_after("update tally_account set held = held + 1 where u = 2", "I5"));
}

TEST_CASE("I5: audit reports a reservation that was closed twice") {
  // A refund that a second release would have appended, with the account as it would then be.
  CHECK(found_after(
      "insert into tally_entry select e + 1000, u, seq + 1, 1000, j, kind, amount, balance_after + "
      "amount from tally_entry where kind = 11 and u = 3; update tally_account set balance = "
      "balance, "
      "seq = seq where u = 3",
      "I5"));
}

}  // namespace tally::test
