// I3 append-only: a ledger entry is never updated or deleted, except that its job_id is cleared
// when the job is deleted. Corrections are new entries.
#include <doctest/doctest.h>

#include <algorithm>

#include "support/broken_mirror.hpp"

namespace tally::test {

TEST_CASE("I3: no operation of a day changes or removes an entry that was there before") {
  TemporaryMirror mirror;
  std::vector<std::string> before;
  for (const Row& row : a_day()) {
    mirror.apply(row.line);
    const auto after = query(mirror.path(), "select * from credit_ledger order by user_id, seq");
    CAPTURE(row.line);
    for (const std::string& entry : before) {
      CHECK(std::find(after.begin(), after.end(), entry) != after.end());
    }
    before = after;
  }
}

TEST_CASE("I3: deleting a job clears its entries' job_id and no other column") {
  TemporaryMirror mirror;
  mirror.check(a_day());
  const char* all_but_job =
      "select id, user_id, type, amount, note, created_at, stripe_payment_id, balance_after, "
      "seq from credit_ledger order by user_id, seq";
  const auto before = query(mirror.path(), all_but_job);
  mirror.check({{"delete_project project_id=p1 user_id=u1", "ok 10"}});
  CHECK(query(mirror.path(), all_but_job) == before);
  CHECK(query(mirror.path(), "select count(job_id) from credit_ledger where user_id = '" +
                                 user_id(1).text() + "'") == std::vector<std::string>{"0"});
  CHECK(mirror.findings().empty());
}

TEST_CASE("I3: a job with an open hold is not deleted") {
  TemporaryMirror mirror;
  mirror.check(a_day());
  mirror.check({{"delete_project project_id=p2 user_id=u2", "illegal_transition 7"}});
}

TEST_CASE("I3: audit reports an entry that was deleted from the end of an account") {
  CHECK(found_after("delete from tally_entry where e = (select max(e) from tally_entry)", "I3"));
}

TEST_CASE("I3: audit reports an entry that was deleted from the middle of an account") {
  CHECK(found_after("delete from tally_entry where seq = 2 and u = 1", "I3"));
}

TEST_CASE("I3: audit reports an entry of a kind that there is not") {
  CHECK(found_after("update tally_entry set kind = 93 where seq = 2 and u = 1", "I3"));
}

}  // namespace tally::test
