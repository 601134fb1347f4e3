// SQL as text: what the runner records, compares and moves to another schema.

#include <doctest/doctest.h>

#include "sql/canonical.hpp"
#include "sql_text.hpp"
#include "support/database.hpp"

namespace tally::test {
namespace {

using Statements = std::vector<std::string>;

TEST_CASE("a script is cut at the semicolons that end statements, and at no other") {
  CHECK(sync::split_statements("select 1; select 2;\n\n") == Statements{"select 1", "select 2"});
  CHECK(sync::split_statements("select ';'';' ; select E'\\';' ;") ==
        Statements{"select ';'';'", "select E'\\';'"});
  CHECK(sync::split_statements("select \"a;b\"; -- c;d\nselect 2 /* e; /* f; */ g; */;") ==
        Statements{"select \"a;b\"", "-- c;d\nselect 2 /* e; /* f; */ g; */"});
  CHECK(sync::split_statements("do $$ begin; end; $$; do $x$ $$; $x$; select $1;") ==
        Statements{"do $$ begin; end; $$", "do $x$ $$; $x$", "select $1"});
  CHECK(sync::split_statements("; ;\n-- nothing\n").empty());
  CHECK(sync::split_statements("select 'open").size() == 1);
  CHECK(sync::split_statements("select 1 as a$b;").front() == "select 1 as a$b");
}

TEST_CASE(
    "texts are the same whatever their spaces and comments, and not where they say otherwise") {
  const std::string essence = sync::essence("select a, 'b  c' from d;");
  CHECK(sync::essence("-- x\nSELECT") != sync::essence("select"));
  CHECK(sync::essence("select  a ,\n'b  c' /* y */ from d") == essence);
  CHECK(sync::essence("select a, 'b c' from d;") != essence);
  CHECK(sync::essence("selecta, 'b  c' from d;") != essence);
  CHECK(sync::essence("select $$ a $$") != sync::essence("select $$ b $$"));
}

TEST_CASE("a script moves to another schema where it names ours, and nowhere else") {
  const auto moved = [](std::string_view text) { return sync::moved_to_schema(text, "cell_01"); };
  CHECK(moved("select public.f(tally.g()) from tally_sync.h") ==
        "select cell_01.f(cell_01.g()) from cell_01.h");
  CHECK(moved("revoke all on schema public, tally from public, tally_owner") ==
        "revoke all on schema cell_01, cell_01 from public, tally_owner");
  CHECK(moved("create schema if not exists tally_sync; grant x to public") ==
        "create schema if not exists cell_01; grant x to public");
  CHECK(moved("select 'tally'::regnamespace, 'public', 'republic.x', 'tally'' s'") ==
        "select 'cell_01'::regnamespace, 'cell_01', 'republic.x', 'tally'' s'");
  CHECK(moved("execute format('revoke all on public.%I from public')") ==
        "execute format('revoke all on cell_01.%I from public')");
  CHECK(moved("as $$ begin perform tally.f(); end $$") ==
        "as $$ begin perform cell_01.f(); end $$");
  CHECK(moved("drop trigger on_auth_user_created on auth.users; select public.f()") ==
        "select cell_01.f();\n");
}

TEST_CASE("our files leave nothing of the usual schemas when they move") {
  for (const sql::EmbeddedFile& file : sql::canonical::files) {
    const std::string moved = sync::essence(sync::moved_to_schema(file.text, "cell_01"));
    // A word and its dot are two lines of the essence; within literals and bodies they are one.
    for (const char* left :
         {"\npublic\n.", "\ntally\n.", "\ntally_sync\n.", "'tally'", "'public'", "'tally."})
      CHECK_MESSAGE(moved.find(left) == std::string::npos, file.name, " still has ", left);
  }
}

TEST_CASE("names that a cell may have") {
  for (const char* name : {"public", "cell_01", "_x", "a"})
    CHECK_MESSAGE(sync::is_schema_name(name), name);
  for (const char* name : {"", "Cell", "1a", "a-b", "a b", "a;drop", "tally", "tally_sync", "auth",
                           "pg_x", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"})
    CHECK_MESSAGE(!sync::is_schema_name(name), name);
}

TEST_CASE("one database holds the usual schema and two cells, and they do not see each other") {
  Database database;
  database.migrate();
  const std::vector<std::string> lines{
      R"({"op":"create_user","op_id":"00000000-0000-7000-8000-000000000001","at":"2026-01-18T00:00:00.000000Z","user_id":"00000000-0000-4000-8000-0000000000a1"})",
      R"({"op":"add_credits","op_id":"00000000-0000-7000-8000-000000000002","at":"2026-01-18T00:00:01.000000Z","user_id":"00000000-0000-4000-8000-0000000000a1","amount":5,"type":"grant"})"};
  const Uuid user = *Uuid::parse("00000000-0000-4000-8000-0000000000a1");
  std::vector<TableDigest> first;
  for (const char* schema : {"cell_01", "cell_02", "public"}) {
    CAPTURE(schema);
    auto canonical = sync::Canonical::connect(database.conninfo(), schema);
    REQUIRE(canonical.has_value());
    const auto migrated = canonical->migrate({});
    REQUIRE_MESSAGE(migrated.has_value(), (migrated ? "" : migrated.error().detail));
    CHECK(canonical->migration_status()->migrations.back().state == sync::MigrationState::recorded);
    const auto empty = canonical->digest(user);
    REQUIRE(empty.has_value());
    for (const TableDigest& digest : *empty)
      CHECK((digest.rows == 0 || std::string_view(schema) == "public"));
    const auto verdicts = canonical->apply(lines);
    REQUIRE_MESSAGE(verdicts.has_value(), (verdicts ? "" : verdicts.error().detail));
    const bool is_public = std::string_view(schema) == "public";
    // auth.users is one for all: in the usual schema whoever is there exists.
    CHECK((*verdicts)[0].code == (is_public ? Code::user_exists : Code::ok));
    CHECK((*verdicts)[1].code == Code::ok);
    const auto digest = canonical->digest(user);
    REQUIRE(digest.has_value());
    if (first.empty()) first = *digest;
    for (std::size_t i = 0; i < first.size() && !is_public; ++i)
      CHECK((*digest)[i].digest == first[i].digest);
    auto findings = canonical->doctor();
    REQUIRE_MESSAGE(findings.has_value(), (findings ? "" : findings.error().detail));
    for (const auto& finding : *findings) CHECK_MESSAGE(false, finding.what);
    CHECK(canonical->audit()->empty());
  }
  CHECK(!sync::Canonical::connect(database.conninfo(), "Robert'); drop").has_value());
}

TEST_CASE("doctor names what is missing or drifted, one breakage at a time") {
  const std::vector<std::pair<std::string, std::string>> breakages{
      {"drop index public.idx_credit_job", "index idx_credit_job"},
      {"alter table jobs disable trigger zz_tally_job_update", "trigger jobs.zz_tally_job_update"},
      {"alter table profiles disable row level security", "table profiles"},
      {"drop policy jobs_select on jobs", "policy jobs.jobs_select"},
      {"create policy more on jobs using (true)", "policy jobs.more"},
      {"alter table jobs alter progress set default 1", "column jobs.progress"},
      {"alter table assets drop constraint assets_type_check",
       "constraint assets.assets_type_check"},
      {"grant execute on function release_job_credits(uuid) to anon",
       "privilege release_job_credits"},
      {"revoke select on credit_ledger from authenticated", "privilege credit_ledger SELECT"},
      {"create or replace function tally.no_user() returns uuid language sql immutable as $$ "
       "select null::uuid $$",
       "function no_user"},
      {"drop trigger on_auth_user_created on auth.users", "on_auth_user_created"},
      {"delete from supabase_migrations.schema_migrations where name = 'audit'",
       "20260201000005_audit"},
      {"update supabase_migrations.schema_migrations set statements = array['select 1'] where name "
       "= 'jobs'",
       "20260118000005_jobs"},
  };
  Database database;
  database.migrate();
  auto canonical = sync::Canonical::connect(database.conninfo());
  REQUIRE(canonical.has_value());
  const auto healthy = canonical->doctor();
  REQUIRE(healthy.has_value());
  for (const auto& finding : *healthy) CHECK_MESSAGE(false, finding.what);
  Session session = database.session();
  std::size_t expected = 0;
  for (const auto& pair : breakages) {
    const auto& breakage = pair.first;  // Not structured bindings: clang 14's lambdas take none.
    const auto& name = pair.second;
    CAPTURE(breakage);
    session.ask(breakage);
    const auto findings = canonical->doctor();
    REQUIRE(findings.has_value());
    bool named = false;
    for (const auto& finding : *findings)
      named = named || finding.what.find(name) != std::string::npos;
    CHECK(named);
    CHECK(findings->size() > expected - (name.starts_with("2026") ? expected : 0));
    expected = findings->size();
  }
}

TEST_CASE("the seed is there once, however often it is applied") {
  Database database;
  database.migrate();
  Session session = database.session();
  session.ask("insert into auth.users (email) values ('test@example.com')");
  auto canonical = sync::Canonical::connect(database.conninfo());
  REQUIRE(canonical.has_value());
  for (int time = 0; time < 2; ++time) {
    const auto seeded = canonical->migrate({.seed = true});
    REQUIRE_MESSAGE(seeded.has_value(), (seeded ? "" : seeded.error().detail));
    CHECK(session.ask_one("select balance from tally.accounts") == "110");
    CHECK(session.ask_one("select count(*) from draft_prompts") == "1");
  }
}

}  // namespace
}  // namespace tally::test
