// Histories written by the PRD's original functions, at random: audit finds to the credit what each
// user has too much or too little, repair posts it, and a second repair posts nothing.

#include <doctest/doctest.h>

#include <map>
#include <random>

#include "support/database.hpp"

namespace tally::test {
namespace {

std::string quoted_id(char kind, int n) {
  return std::string("'00000000-0000-4000-8000-00000000") + kind + "0" + (n < 10 ? "0" : "") +
         std::to_string(n) + "'";
}

/// What a user should have been charged, and what is still held, worked out from the calls alone.
struct RightJob {
  long charged = 0;
  bool settled = false;
  long held = 0;
};

struct OldWorld {
  std::map<int, std::map<int, RightJob>> jobs{};  ///< By user and job.
  std::map<int, long> paid_twice{};
};

/// Random calls of the original functions, for four users with three jobs each.
OldWorld write_history(Session& session, unsigned seed, bool honest) {
  std::mt19937 random(seed);
  const auto between = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  OldWorld world;
  for (int user = 1; user <= 4; ++user) {
    session.ask("insert into auth.users (id, email) values (" + quoted_id('a', user) + ", 'u" +
                std::to_string(user) + "@x')");
    session.ask("insert into projects (id, user_id, title, prompt_text, niche_preset) values (" +
                quoted_id('b', user) + ", " + quoted_id('a', user) + ", 't', 'p', 'facts')");
    session.ask("select add_credits(" + quoted_id('a', user) + ", 100, 'purchase', 'n', 'pi_" +
                std::to_string(user) + "')");
    for (int job = 1; job <= 3; ++job) {
      session.ask("insert into jobs (id, project_id, user_id) values (" +
                  quoted_id('c', user * 10 + job) + ", " + quoted_id('b', user) + ", " +
                  quoted_id('a', user) + ")");
      world.jobs[user][job] = {};
    }
  }
  for (int call = 0; call < 60; ++call) {
    const int user = between(1, 4);
    const int job = between(1, 3);
    RightJob& right = world.jobs[user][job];
    const std::string job_id = quoted_id('c', user * 10 + job);
    const int kind = between(0, 9);
    if (kind < 5) {
      const int amount = honest ? between(1, 8) : between(-3, 8);
      if (honest && (right.held > 0 || right.settled)) continue;
      const bool held = session.ask_one("select reserve_credits(" + quoted_id('a', user) + ", " +
                                        job_id + ", " + std::to_string(amount) + ")") == "t";
      if (!held) continue;
      if (amount > 0) right.held = amount;
      if (amount < 0) right.held = std::max(0L, right.held + amount);
      if (!honest) {
        session.ask("update jobs set cost_credits_reserved = " + std::to_string(amount) +
                    " where id = " + job_id);
      }
    } else if (kind < 7) {
      const int cost = honest ? between(0, 8) : between(-2, 8);
      if (honest && (right.held == 0 || right.settled)) continue;
      session.ask("select finalize_job_credits(" + job_id + ", " + std::to_string(cost) + ")");
      right.held = 0;
      if (!right.settled && cost >= 0) {
        right.settled = true;
        right.charged = cost;
      }
    } else if (kind < 9) {
      if (honest) continue;  // The original release always gives back twice.
      session.ask("select release_job_credits(" + job_id + ")");
      right.held = 0;
    } else if (!honest) {
      session.ask("select add_credits(" + quoted_id('a', user) + ", 100, 'purchase', 'n', 'pi_" +
                  std::to_string(user) + "')");
      world.paid_twice[user] += 100;
    }
  }
  return world;
}

/// The balance that a user should have.
long right_balance(const OldWorld& world, int user) {
  long balance = 10 + 100;
  for (const auto& [job, right] : world.jobs.at(user)) balance -= right.charged + right.held;
  return balance;
}

long balance_of(Session& session, int user) {
  return std::stol(session.ask_one("select get_credit_balance(" + quoted_id('a', user) + ")"));
}

std::vector<sync::CanonicalFinding> audit(sync::Canonical& canonical) {
  auto findings = canonical.audit();
  REQUIRE_MESSAGE(findings.has_value(), (findings ? "" : findings.error().detail));
  return std::move(findings).value();
}

TEST_CASE("audit finds what the original functions gave and took twice, and repair corrects it") {
  for (const unsigned seed : {1U, 2U, 3U, 4U, 5U, 6U}) {
    CAPTURE(seed);
    Database database;
    database.migrate_to("20260118000010");
    Session session = database.session();
    const OldWorld world = write_history(session, seed, false);
    database.migrate();
    // Deleting a job hides nothing of what it was given.
    session.run("delete from jobs where id = " + quoted_id('c', 11));
    session.run("delete from jobs where id = " + quoted_id('c', 22));
    auto canonical = sync::Canonical::connect(database.conninfo());
    REQUIRE(canonical.has_value());

    std::map<std::string, long> missing;
    for (const auto& finding : audit(*canonical)) {
      CHECK_MESSAGE(finding.kind != "invariant", finding.explanation);
      if (finding.user_id) missing[finding.user_id->text()] += finding.difference;
    }
    for (int user = 1; user <= 4; ++user) {
      const std::string id = quoted_id('a', user).substr(1, 36);
      CHECK_MESSAGE(balance_of(session, user) + missing[id] == right_balance(world, user), user);
    }

    // Entries are only added.
    const std::string history =
        session.ask_one("select md5(string_agg(l::text, ',' order by id)) from credit_ledger l");
    const std::string last = session.ask_one("select now()");
    for (int user = 1; user <= 4; ++user) {
      const auto posted = canonical->repair(*Uuid::parse(quoted_id('a', user).substr(1, 36)));
      REQUIRE_MESSAGE(posted.has_value(), (posted ? "" : posted.error().detail));
      CHECK(balance_of(session, user) == std::max(0L, right_balance(world, user)));
      const auto again = canonical->repair(*Uuid::parse(quoted_id('a', user).substr(1, 36)));
      REQUIRE(again.has_value());
      CHECK(again->empty());
    }
    CHECK(session.ask_one("select md5(string_agg(l::text, ',' order by id)) from credit_ledger l "
                          "where created_at <= '" +
                          last + "'") == history);
    for (const auto& finding : audit(*canonical))
      CHECK_MESSAGE(finding.kind != "invariant", finding.explanation);
  }
}

TEST_CASE("an honest history gives no finding, nor does what our functions write after it") {
  for (const unsigned seed : {11U, 12U}) {
    CAPTURE(seed);
    Database database;
    database.migrate_to("20260118000010");
    Session session = database.session();
    const OldWorld world = write_history(session, seed, true);
    database.migrate();
    auto canonical = sync::Canonical::connect(database.conninfo());
    REQUIRE(canonical.has_value());
    for (const auto& finding : audit(*canonical)) CHECK_MESSAGE(false, finding.explanation);
    for (int user = 1; user <= 4; ++user)
      CHECK(balance_of(session, user) == right_balance(world, user));
    session.ask("select release_job_credits(id) from jobs");
    session.ask("insert into jobs (id, project_id, user_id) values (" + quoted_id('c', 19) + ", " +
                quoted_id('b', 1) + ", " + quoted_id('a', 1) + ")");
    session.ask("select reserve_credits(" + quoted_id('a', 1) + ", " + quoted_id('c', 19) + ", 7)");
    session.ask("select finalize_job_credits(" + quoted_id('c', 19) + ", 5)");
    for (const auto& finding : audit(*canonical)) CHECK_MESSAGE(false, finding.explanation);
  }
}

TEST_CASE("what somebody gave or corrected by hand is meant") {
  Database database;
  database.migrate_to("20260118000010");
  Session session = database.session();
  write_history(session, 11, true);
  const std::string user = quoted_id('a', 2);
  const auto job = [&](int n) {
    session.ask("insert into jobs (id, project_id, user_id) values (" + quoted_id('c', n) + ", " +
                quoted_id('b', 2) + ", " + user + ")");
    return quoted_id('c', n);
  };
  const auto entry = [&](const std::string& type, int amount, const std::string& rest) {
    session.ask(
        "insert into credit_ledger (user_id, type, amount, note, job_id, stripe_payment_id) values "
        "(" +
        user + ", '" + type + "', " + std::to_string(amount) + ", " + rest + ")");
  };
  const std::string given = job(51);
  entry("refund", 1, "'Goodwill: a bad render', " + given + ", null");
  entry("grant", 20, "'Launch promotion', " + given + ", null");
  const std::string corrected = job(52);
  session.ask("select reserve_credits(" + user + ", " + corrected + ", 8)");
  session.ask("select release_job_credits(" + corrected + ")");
  entry("expire", -8, "'Given twice', " + corrected + ", null");
  entry("purchase", 5, "'n', null, ''");
  entry("purchase", 5, "'n', null, ''");
  entry("purchase", 30, "'n', null, 'pi_hand'");
  entry("purchase", 30, "'n', null, 'pi_hand'");
  entry("expire", -30, "'Paid twice', null, 'pi_hand'");
  const std::string held = job(53);
  session.ask("select reserve_credits(" + user + ", " + held + ", 8)");
  entry("refund", 3, "'Goodwill', " + held + ", null");
  database.migrate();
  auto canonical = sync::Canonical::connect(database.conninfo());
  REQUIRE(canonical.has_value());
  for (const auto& finding : audit(*canonical)) CHECK_MESSAGE(false, finding.explanation);
  CHECK(canonical->repair(*Uuid::parse(user.substr(1, 36)))->empty());
  CHECK(!canonical->repair(Uuid{}).has_value());
}

TEST_CASE("what cannot be taken back stays a finding, and is taken when there are credits") {
  Database database;
  database.migrate_to("20260118000010");
  Session session = database.session();
  write_history(session, 1, true);
  // Reserved 50 and released: 50 too many, all of it spent.
  session.ask("insert into jobs (id, project_id, user_id) values (" + quoted_id('c', 19) + ", " +
              quoted_id('b', 1) + ", " + quoted_id('a', 1) + ")");
  session.ask("select reserve_credits(" + quoted_id('a', 1) + ", " + quoted_id('c', 19) + ", 50)");
  session.ask("select release_job_credits(" + quoted_id('c', 19) + ")");
  session.ask("insert into credit_ledger (user_id, type, amount) select " + quoted_id('a', 1) +
              ", 'usage', -get_credit_balance(" + quoted_id('a', 1) + ") + 20");
  database.migrate();
  auto canonical = sync::Canonical::connect(database.conninfo());
  REQUIRE(canonical.has_value());
  const Uuid user = *Uuid::parse(quoted_id('a', 1).substr(1, 36));
  CHECK(canonical->repair(user)->size() == 1);
  CHECK(balance_of(session, 1) == 0);
  REQUIRE(audit(*canonical).size() == 1);
  CHECK(audit(*canonical).front().difference == -30);
  session.ask("select add_credits(" + quoted_id('a', 1) + ", 100, 'purchase', 'n', 'pi_new')");
  CHECK(canonical->repair(user)->size() == 1);
  CHECK(balance_of(session, 1) == 70);
  CHECK(audit(*canonical).empty());
  // A job that is deleted later changes nothing of it.
  session.ask("delete from jobs where id = " + quoted_id('c', 19));
  CHECK(audit(*canonical).empty());
  CHECK(canonical->repair(user)->empty());
}

}  // namespace
}  // namespace tally::test
