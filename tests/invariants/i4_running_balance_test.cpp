// I4 running balance: every entry carries seq, 1, 2, 3 … in account order per user, and
// balance_after, which equals the one before plus amount.
#include <doctest/doctest.h>

#include "support/broken_mirror.hpp"

namespace tally::test {

TEST_CASE("I4: seq counts from 1 and balance_after runs along, for every user of a day") {
  TemporaryMirror mirror;
  mirror.check(a_day());
  CHECK(query(mirror.path(),
              "select * from (select user_id, seq, balance_after, row_number() over w as n, "
              "sum(amount) over w as "
              "running from credit_ledger window w as (partition by user_id order by seq)) where "
              "seq <> n or "
              "balance_after <> running") == std::vector<std::string>{});
  CHECK(query(mirror.path(), "select count(distinct user_id), count(*) > 20 from credit_ledger") ==
        std::vector<std::string>{"3|1"});
}

TEST_CASE("I4: users that write at the same time have their own sequences") {
  TemporaryMirror mirror;
  mirror.make_users(2);
  for (int i = 0; i < 5; ++i) {
    mirror.apply("add_credits user_id=u1 amount=1 type=grant");
    mirror.apply("add_credits user_id=u2 amount=2 type=grant");
  }
  CHECK(query(mirror.path(), "select seq, balance_after from credit_ledger where user_id = '" +
                                 user_id(2).text() + "' order by seq") ==
        std::vector<std::string>{"1|10", "2|12", "3|14", "4|16", "5|18", "6|20"});
}

TEST_CASE("I4: audit reports a balance_after that does not follow") {
  CHECK(found_after(
      "update tally_entry set balance_after = balance_after + 1 where u = 1 and seq = 3", "I4"));
}

TEST_CASE("I4: audit reports a seq that was skipped") {
  CHECK(
      found_after("update tally_entry set seq = seq + 1 where u = 1 and seq = (select max(seq) "
                  "from tally_entry "
                  "where u = 1)",
                  "I4"));
}

TEST_CASE("I4: audit reports two entries in each other's place") {
  CHECK(
      found_after("update tally_entry set seq = case seq when 2 then 3 else 2 end where u = 1 and "
                  "seq in (2, 3)",
                  "I4"));
}

}  // namespace tally::test
