// I1 conservation: for every user, balance = sum of that user's ledger entries, always.
#include <doctest/doctest.h>

#include "support/broken_mirror.hpp"

namespace tally::test {

TEST_CASE("I1: every balance is the sum of its entries, after every operation of a day") {
  TemporaryMirror mirror;
  for (const Row& row : a_day()) {
    mirror.apply(row.line);
    const auto sums =
        query(mirror.path(), "select user_id, sum(amount) from credit_ledger group by user_id");
    for (const std::string& sum : sums) {
      const auto user = Uuid::parse(sum.substr(0, 36));
      REQUIRE(user.has_value());
      CAPTURE(row.line);
      CHECK(std::to_string(mirror->balance(*user)->value) == sum.substr(37));
    }
  }
  CHECK(mirror.findings().empty());
}

TEST_CASE("I1: audit reports a balance that is not the sum of its entries") {
  CHECK(found_after("update tally_account set balance = balance + 1 where u = 1", "I1"));
}

TEST_CASE("I1: audit reports an entry whose amount was changed") {
  CHECK(found_after(
      "update tally_entry set amount = amount + 1 where e = (select max(e) from tally_entry)",
      "I1"));
}

TEST_CASE("I1: audit reports a user without an account") {
  CHECK(found_after("delete from tally_account where u = 1", "I1"));
}

}  // namespace tally::test
