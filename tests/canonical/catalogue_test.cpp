// After the PRD's ten migrations the catalogue is the PRD's: tables, columns, types, defaults,
// checks, keys, indexes, policies, triggers and functions. And our own take none of it away.

#include "catalogue.hpp"

#include <doctest/doctest.h>

#include <set>

#include "support/database.hpp"

namespace tally::test {
namespace {

using sync::Catalogue;

constexpr const char* last_of_the_prd = "20260118000010";

/// Of schema public, and the trigger on auth.users.
Catalogue catalogue_of(const Database& database) {
  auto connection = sync::Connection::open(database.conninfo());
  REQUIRE(connection.has_value());
  REQUIRE(connection->script("set search_path = pg_catalog").has_value());
  auto catalogue = sync::read_catalogue(*connection, {"public"});
  REQUIRE(catalogue.has_value());
  auto trigger = connection->query(
      "select pg_get_triggerdef(oid) from pg_trigger"
      " where tgrelid = 'auth.users'::regclass and not tgisinternal and tgname <> "
      "'tally_user_changed'");
  REQUIRE(trigger.has_value());
  REQUIRE(trigger->count() == 1);
  catalogue->try_emplace({"trigger", "on auth.users"},
                         sync::CatalogueObject{std::string(trigger->text(0, 0)), ""});
  return std::move(catalogue).value();
}

/// The first difference, or nothing.
std::string first_difference(const Catalogue& expected, const Catalogue& found) {
  for (const auto& [key, object] : expected) {
    const auto at = found.find(key);
    if (at == found.end()) return key.first + " " + key.second + " is missing";
    if (at->second.definition != object.definition)
      return key.first + " " + key.second + ": " + at->second.definition + " instead of " +
             object.definition;
  }
  for (const auto& [key, object] : found) {
    if (!expected.contains(key)) return key.first + " " + key.second + " is more";
  }
  return {};
}

/// The PRD's own SQL, to the letter.
Catalogue prd() {
  const Database database;
  Session session = database.session();
  session.ask("begin;" + read_source("sql/shim/auth.sql") + "commit");
  session.ask(read_source("tests/canonical/prd.sql"));
  return catalogue_of(database);
}

TEST_CASE("after the ten migrations the catalogue is the PRD's") {
  const Catalogue expected = prd();
  CHECK(expected.size() > 150);
  Database database;
  database.migrate_to(last_of_the_prd);
  CHECK(first_difference(expected, catalogue_of(database)) == "");

  // The comparison sees each of these.
  const std::vector<std::string> breakages{
      "alter table jobs alter column progress set default 1",
      "alter table jobs alter column progress set not null",
      "alter table projects alter column title type varchar(20)",
      "alter table assets drop constraint assets_type_check",
      "alter table credit_ledger drop constraint credit_ledger_job_fk",
      "drop index idx_credit_stripe",
      "drop policy draft_select on draft_prompts",
      "alter policy jobs_select on jobs to anon",
      "alter table voice_profiles disable row level security",
      "drop trigger draft_prompts_updated_at on draft_prompts",
      "alter function release_job_credits(uuid) security invoker",
      "alter type step_state add value 'skipped'",
      "alter table profiles add column more text",
      "drop trigger on_auth_user_created on auth.users;"
      " create trigger on_auth_user_created before insert on auth.users"
      " for each row execute function handle_new_user()",
  };
  for (const std::string& breakage : breakages) {
    Database broken;
    broken.migrate_to(last_of_the_prd);
    broken.session().ask(breakage);
    CHECK_MESSAGE(first_difference(expected, catalogue_of(broken)) != "", breakage);
  }
}

TEST_CASE("our own migrations take nothing of the PRD's away") {
  const Catalogue before = prd();
  Database database;
  database.migrate();
  const Catalogue after = catalogue_of(database);
  // Policies, bodies of functions and privileges are what the security migration is for.
  const std::set<std::string> kept{"column", "constraint", "index", "trigger", "type"};
  for (const auto& entry : before) {
    const auto& key = entry.first;  // Not a structured binding: clang 14's lambdas take none.
    if (kept.contains(key.first)) {
      const auto at = after.find(key);
      REQUIRE_MESSAGE(at != after.end(), key.first, " ", key.second);
      CHECK_MESSAGE(at->second.definition == entry.second.definition, key.first, " ", key.second);
    } else if (key.first == "policy" || key.first == "function" || key.first == "table") {
      CHECK_MESSAGE(after.contains(key), key.first, " ", key.second);
    }
  }
}

TEST_CASE("the PRD's functions keep names, arguments and return types") {
  const std::string signatures =
      "select p.oid::regprocedure || ' ' || pg_get_function_arguments(p.oid) || ' '"
      " || pg_get_function_result(p.oid) from pg_proc p"
      " where p.pronamespace = 'public'::regnamespace order by 1";
  Database prd_database;
  prd_database.migrate_to(last_of_the_prd);
  Database ours;
  ours.migrate();
  CHECK(ours.session().ask(signatures) == prd_database.session().ask(signatures));
}

}  // namespace
}  // namespace tally::test
