// A database at any earlier step, with rows in it, is upgraded in place: nothing is lost, old
// entries are numbered, and operations go on from the old jobs.

#include <doctest/doctest.h>

#include <set>

#include "sql/canonical.hpp"
#include "support/database.hpp"

namespace tally::test {
namespace {

constexpr const char* ann = "'00000000-0000-4000-8000-0000000000a1'";
constexpr const char* bob = "'00000000-0000-4000-8000-0000000000a2'";

/// Rows as the PRD's world wrote them at that step, the original functions' doings among them.
void write_old_rows(Session& session, const std::string& step) {
  const auto from = [&](const char* version) { return step >= version; };
  const bool is_old = step < "20260201000001";
  session.ask(std::string("insert into auth.users (id, email) values (") + ann + ", 'ann@x'), (" +
              bob + ", 'bob@x')");
  if (from("20240102000000")) {
    session.ask(std::string("insert into profiles (id, display_name) values (") + ann +
                ", 'Ann') on conflict do nothing");
  }
  if (from("20240103000000")) {
    session.ask(
        std::string("insert into credit_ledger (user_id, type, amount, note, created_at) select ") +
        ann + "::uuid, 'grant', 50, 'old', timestamptz '2025-01-01' from generate_series(1, 3)");
    if (is_old) {
      session.ask("insert into credit_ledger (user_id, type, amount) values (null, 'grant', 5)");
      session.ask(std::string("insert into credit_ledger (user_id, type, amount) values (") + bob +
                  ", 'usage', -20)");
    }
  }
  if (from("20260118000003"))
    session.ask("insert into draft_prompts (session_token, prompt_text) values ('t', 'p')");
  if (from("20260118000004")) {
    session.ask(
        std::string("insert into projects (id, user_id, title, prompt_text, niche_preset) values"
                    " ('00000000-0000-4000-8000-0000000000b1', ") +
        ann + ", 't', 'p', 'facts')");
  }
  if (from("20260118000005")) {
    session.ask(std::string("insert into jobs (id, project_id, user_id) select"
                            " ('00000000-0000-4000-8000-0000000000c' || n)::uuid,"
                            " '00000000-0000-4000-8000-0000000000b1', ") +
                ann + " from generate_series(1, 5) n");
  }
  if (from("20260118000007")) {
    session.ask(
        "insert into assets (job_id, type, url, storage_path) values"
        " ('00000000-0000-4000-8000-0000000000c1', 'video', 'u', 's')");
  }
  if (from("20260118000008")) {
    session.ask(std::string("insert into voice_profiles (user_id, name, audio_path) values (") +
                ann + ", 'v', 'p')");
  }
  if (from("20260118000009") && is_old) {
    // c1: open; c2: released (and given back twice); c3: finalized at 5 of 8; c4: reserved twice.
    for (const char* call :
         {"reserve_credits(ann, c1, 10)", "reserve_credits(ann, c2, 8)", "release_job_credits(c2)",
          "reserve_credits(ann, c3, 8)", "finalize_job_credits(c3, 5)",
          "reserve_credits(ann, c4, 6)", "reserve_credits(ann, c4, 7)",
          "reserve_credits(ann, c5, -9)", "add_credits(ann, 30, 'purchase', 'n', 'pi_1')",
          "add_credits(ann, 30, 'purchase', 'n', 'pi_1')"}) {
      std::string sql = call;
      for (std::size_t at; (at = sql.find("ann")) != std::string::npos;) sql.replace(at, 3, ann);
      for (char n = '1'; n <= '5'; ++n) {
        const std::string name = std::string("c") + n;
        const std::size_t at = sql.find("(" + name) != std::string::npos ? sql.find("(" + name) + 1
                               : sql.find(" " + name) != std::string::npos
                                   ? sql.find(" " + name) + 1
                                   : std::string::npos;
        if (at != std::string::npos)
          sql.replace(at, 2, "'00000000-0000-4000-8000-0000000000" + name + "'");
      }
      session.ask("select " + sql);
    }
    session.ask(
        "update jobs set status = 'FAILED' where id = '00000000-0000-4000-8000-0000000000c4'");
    session.ask(
        "update jobs set status = 'READY' where id = '00000000-0000-4000-8000-0000000000c3'");
  }
}

constexpr const char* all_rows =
    "select string_agg(t.row_, E'\\n' order by t.row_) from ("
    " select 'l' || (jsonb_strip_nulls(to_jsonb(l)) - 'seq' - 'balance_after')::text as row_ from "
    "credit_ledger l"
    ") t";

void check_invariants(Session& session) {
  CHECK(session.ask("select explanation from tally.audit() where kind = 'invariant'").empty());
  CHECK(session
            .ask("select id from credit_ledger where user_id is not null and (seq is null or "
                 "balance_after is null)")
            .empty());
  CHECK(session
            .ask("select user_id from credit_ledger where user_id is not null group by user_id"
                 " having max(seq) <> count(*) or min(seq) <> 1"
                 " or sum(amount) <> (array_agg(balance_after order by seq desc))[1]")
            .empty());
}

TEST_CASE("a database at every earlier step, with rows in it, is upgraded in place") {
  for (const sql::EmbeddedFile& file : sql::canonical::files) {
    const std::string step(file.name.substr(0, 14));
    // Between integrity and operations the PRD's functions are refused; nobody stops there for
    // long.
    CAPTURE(step);
    Database database;
    database.migrate_to(step);
    Session session = database.session();
    write_old_rows(session, step);
    const bool has_ledger = step >= "20240103000000";
    const std::string before = has_ledger ? session.ask_one(all_rows) : "";
    database.migrate();
    if (has_ledger) CHECK(session.ask_one(all_rows) == before);
    check_invariants(session);
    CHECK(session.ask_one("select count(*) from tally.accounts") == "2");
    CHECK(session.ask_one(std::string("select tally.apply_operations(array[]::text[]) is null from "
                                      "(values (1)) v union all select true limit 1")) == "t");

    // Whoever had credits can spend them, on jobs that were there before.
    if (step >= "20260118000005") {
      if (step < "20260118000009" || step >= "20260201000001") {
        CHECK(session.ask_one(std::string("select reserve_credits(") + ann +
                              ", '00000000-0000-4000-8000-0000000000c1', 10)") == "t");
      }
      session.ask("select finalize_job_credits('00000000-0000-4000-8000-0000000000c1', 4)");
      CHECK(session.ask_one(
                "select string_agg(type || ' ' || amount, ', ' order by seq) from credit_ledger"
                " where job_id = '00000000-0000-4000-8000-0000000000c1'") ==
            "reserve -10, reserve 4, usage -4, refund 6");
    }
    // An overdrawn account may receive and not spend.
    if (has_ledger && step < "20260201000001") {
      CHECK(session
                .run(std::string("insert into credit_ledger (user_id, type, amount) values (") +
                     bob + ", 'usage', -1)")
                .message == "insufficient_credits");
      session.ask(std::string("select add_credits(") + bob + ", 1, 'grant', 'n')");
    }
    check_invariants(session);
  }
}

TEST_CASE("what the original functions left is known: holds, names of reservations, payments") {
  Database database;
  database.migrate_to("20260118000010");
  Session session = database.session();
  write_old_rows(session, "20260118000010");
  database.migrate();
  CHECK(session.ask("select j.id || ' ' || s.hold from jobs j join tally.job_state s on s.job_id = "
                    "j.id order by j.id") ==
        std::vector<std::string>{
            "00000000-0000-4000-8000-0000000000c1 10", "00000000-0000-4000-8000-0000000000c2 0",
            "00000000-0000-4000-8000-0000000000c3 0", "00000000-0000-4000-8000-0000000000c4 7",
            "00000000-0000-4000-8000-0000000000c5 0"});
  // An old reservation is named by its entry's id.
  CHECK(session.ask_one("select s.reservation = l.id from tally.job_state s join credit_ledger l "
                        "on l.job_id = s.job_id"
                        " where s.job_id = '00000000-0000-4000-8000-0000000000c1'") == "t");
  // The payment was used: again it adds nothing, with another amount it is refused.
  const std::string balance =
      session.ask_one(std::string("select get_credit_balance(") + ann + ")");
  session.ask(std::string("select add_credits(") + ann + ", 30, 'purchase', 'n', 'pi_1')");
  CHECK(session.ask_one(std::string("select get_credit_balance(") + ann + ")") == balance);
  CHECK(session.run(std::string("select add_credits(") + ann + ", 31, 'purchase', 'n', 'pi_1')")
            .message == "payment_conflict");
  // A FAILED job with an old hold can be retried, and what it held comes back first.
  const long before =
      std::stol(session.ask_one(std::string("select get_credit_balance(") + ann + ")"));
  CHECK(session.ask("select result from "
                    "tally.apply_operations(array['{\"op\":\"retry_job\",\"op_id\":\"00000000-0000-"
                    "7000-8000-000000000001\","
                    "\"at\":\"2026-01-18T00:00:00.000000Z\",\"job_id\":\"00000000-0000-4000-8000-"
                    "0000000000c4\",\"amount\":3}'])") == std::vector<std::string>{"ok"});
  CHECK(std::stol(session.ask_one(std::string("select get_credit_balance(") + ann + ")")) ==
        before + 7 - 3);
  check_invariants(session);
  // c3 was settled by the original function: nothing is left to do but to say READY.
  CHECK(session.ask_one("select cost_credits_final from jobs where id = "
                        "'00000000-0000-4000-8000-0000000000c3'") == "5");
}

TEST_CASE("jobs and users that old data left halfway are whole after the upgrade") {
  Database database;
  database.migrate_to("20260118000010");
  Session session = database.session();
  session.ask(
      std::string("alter table auth.users disable trigger on_auth_user_created;"
                  "insert into auth.users (id, raw_user_meta_data) values (") +
      ann +
      ", '{\"name\": \"Ann\"}'); alter table auth.users enable trigger on_auth_user_created;"
      "insert into credit_ledger (user_id, type, amount, stripe_payment_id) values (" +
      ann + ", 'purchase', 50, ''), (" + ann +
      ", 'purchase', 50, '');"
      "insert into projects (id, user_id, title, prompt_text, niche_preset) values"
      " ('00000000-0000-4000-8000-0000000000b1', " +
      ann +
      ", 't', 'p', 'facts');"
      "insert into jobs (id, project_id, user_id, status, cost_credits_reserved) values"
      " ('00000000-0000-4000-8000-0000000000c1', '00000000-0000-4000-8000-0000000000b1', " +
      ann +
      ", 'VOICE_GEN', 6), ('00000000-0000-4000-8000-0000000000c2',"
      " '00000000-0000-4000-8000-0000000000b1', " +
      ann +
      ", 'PACKAGING', 4);"
      "select reserve_credits(" +
      ann +
      ", '00000000-0000-4000-8000-0000000000c1', 6);"
      "select finalize_job_credits('00000000-0000-4000-8000-0000000000c2', 4)");
  database.migrate();
  CHECK(session.ask_one(std::string("select display_name from profiles where id = ") + ann) ==
        "Ann");
  const auto apply = [&](const std::string& n, const std::string& fields) {
    return session.ask_one(
        "select result from "
        "tally.apply_operations(array['{\"op_id\":\"00000000-0000-7000-8000-0000000000" +
        n + "\",\"at\":\"2026-01-18T00:00:00.000000Z\"," + fields + "}'])");
  };
  const std::string c1 = "\"job_id\":\"00000000-0000-4000-8000-0000000000c1\"";
  const std::string c2 = "\"job_id\":\"00000000-0000-4000-8000-0000000000c2\"";
  CHECK(apply("01", R"("op":"report_progress","step_name":"VOICE_GEN","progress_pct":50,)" + c1) ==
        "ok");
  CHECK(session.ask_one(
            "select progress from jobs where id = '00000000-0000-4000-8000-0000000000c1'") == "18");
  CHECK(apply("02", R"("op":"advance_job","to":"ALIGNMENT",)" + c1) == "ok");
  CHECK(apply("03", R"("op":"advance_job","to":"READY",)" + c2) == "ok");
  CHECK(session.ask_one(
            "select progress from jobs where id = '00000000-0000-4000-8000-0000000000c2'") ==
        "100");
  // An empty payment id names no payment.
  CHECK(session.ask("select kind from tally.audit()").empty());
  check_invariants(session);
}

TEST_CASE(
    "an account that left INTEGER stops the upgrade with its name, and is upgraded once it is "
    "mended") {
  Database database;
  database.migrate_to("20260118000010");
  Session session = database.session();
  write_old_rows(session, "20260118000010");
  // What anybody could do with the original functions.
  session.ask(std::string("select add_credits(") + bob + ", 2147483647, 'grant', 'x')," +
              "add_credits(" + bob + ", 2147483647, 'grant', 'x')");
  auto canonical = sync::Canonical::connect(database.conninfo());
  REQUIRE(canonical.has_value());
  const auto refused = canonical->migrate({});
  REQUIRE(!refused.has_value());
  CHECK(refused.error().detail.find("00000000-0000-4000-8000-0000000000a2") != std::string::npos);
  session.ask("delete from credit_ledger where amount = 2147483647");
  CHECK(canonical->migrate({}).has_value());
  check_invariants(session);
}

TEST_CASE("a balance that leaves INTEGER with what is held stops the upgrade with its user") {
  Database database;
  database.migrate_to("20260118000010");
  Session session = database.session();
  write_old_rows(session, "20260118000010");
  session.ask(std::string("select add_credits(") + ann +
              ", (2147483647 - (select sum(amount) from credit_ledger where user_id = " + ann +
              "))::integer, 'grant', 'unlimited')");
  auto canonical = sync::Canonical::connect(database.conninfo());
  REQUIRE(canonical.has_value());
  const auto refused = canonical->migrate({});
  REQUIRE(!refused.has_value());
  CHECK(refused.error().detail.find(std::string(ann).substr(1, 36)) != std::string::npos);
  CHECK(refused.error().detail.find("the balance is 2147483647") != std::string::npos);
  session.ask("delete from credit_ledger where note = 'unlimited'");
  CHECK(canonical->migrate({}).has_value());
  check_invariants(session);
}

TEST_CASE("what old rows left NULL and a mirror has is what the columns begin with") {
  Database database;
  database.migrate_to("20260118000010");
  Session session = database.session();
  write_old_rows(session, "20260118000010");
  session.ask(
      "update jobs set progress = null;"
      "insert into job_steps (job_id, step_name, step_order, state, progress_pct)"
      " select id, 'SCRIPTING', 1, null, null from jobs where id::text like '%c1'");
  database.migrate();
  CHECK(session.ask_one("select count(*) from jobs where progress is null") == "0");
  CHECK(session.ask_one("select state || ' ' || progress_pct from job_steps"
                        " where job_id::text like '%c1' and step_order = 1") == "pending 0");
  check_invariants(session);
}

/// Everything in our tables and the PRD's, and the catalogue's definitions, as one text.
std::string dump(Session& session) {
  std::string all;
  for (const std::string& table :
       session.ask("select oid::regclass from pg_class where relkind = 'r' and relnamespace in"
                   " ('public'::regnamespace, 'tally'::regnamespace, 'tally_sync'::regnamespace) "
                   "order by 1")) {
    for (const std::string& row :
         session.ask("select to_jsonb(t)::text from " + table + " t order by 1"))
      all += table + row + "\n";
  }
  for (const std::string& row :
       session.ask("select p.oid::regprocedure || pg_get_functiondef(p.oid) || p.proowner::regrole "
                   "|| coalesce(p.proacl::text, '') from pg_proc p"
                   " where p.pronamespace in ('public'::regnamespace, 'tally'::regnamespace) and "
                   "p.prokind = 'f' order by 1"))
    all += row + "\n";
  for (const std::string& row : session.ask("select (p.*)::text from pg_policies p order by 1"))
    all += row + "\n";
  for (const std::string& row : session.ask(
           "select relname || relacl::text from pg_class where relkind = 'r'"
           " and relnamespace in ('public'::regnamespace, 'tally'::regnamespace) order by 1"))
    all += row + "\n";
  return all;
}

void run_ours_again(Session& session) {
  for (const sql::EmbeddedFile& file : sql::canonical::files) {
    if (file.name >= "20260201") session.ask("begin;" + std::string(file.text) + "commit");
  }
}

TEST_CASE("our migrations run a second time, each alone and all in order, change nothing") {
  Database database;
  database.migrate_to("20260118000010");
  Session session = database.session();
  write_old_rows(session, "20260118000010");
  database.migrate();
  const std::string before = dump(session);
  for (const sql::EmbeddedFile& file : sql::canonical::files) {
    if (file.name < "20260201") continue;
    session.ask("begin;" + std::string(file.text) + "commit");
    CHECK_MESSAGE(dump(session) == before, file.name);
  }
  run_ours_again(session);
  CHECK(dump(session) == before);
}

TEST_CASE("a role that is no superuser can install, upgrade and run them again") {
  const ThrowawayPostgres server;  // Its own: roles are a server's, and here this role makes them.
  Session admin(server.conninfo());
  admin.ask("begin;" + read_source("sql/shim/auth.sql") + "commit");
  // As on Supabase: the migrating role may make roles and owns the database, but neither auth nor
  // its table.
  admin.ask(
      "create role migrator login createrole createdb bypassrls; create role auth_admin;"
      "grant anon, authenticated, service_role to migrator;"
      "do $$ begin execute format('alter database %I owner to migrator', current_database()); end "
      "$$;"
      "alter schema auth owner to auth_admin; alter table auth.users owner to auth_admin;"
      "alter function auth.uid() owner to auth_admin;"
      "grant usage on schema auth to migrator; grant all on auth.users to migrator");
  const std::string conninfo = server.conninfo() + " user=migrator";
  auto canonical = sync::Canonical::connect(conninfo);
  REQUIRE(canonical.has_value());
  const auto migrated = canonical->migrate({});
  REQUIRE_MESSAGE(migrated.has_value(), (migrated ? "" : migrated.error().detail));
  Session session(conninfo);
  run_ours_again(session);

  admin.ask(std::string("set role auth_admin; insert into auth.users (id, email) values (") + ann +
            ", 'ann@x'); reset role");
  CHECK(session.ask_one(std::string("select get_credit_balance(") + ann + ")") == "10");
  session.ask("set role service_role");
  CHECK(session.ask("select result from "
                    "tally.apply_operations(array['{\"op\":\"create_user\",\"op_id\":\"00000000-"
                    "0000-7000-8000-000000000001\","
                    "\"at\":\"2026-01-18T00:00:00.000000Z\",\"user_id\":\"00000000-0000-4000-8000-"
                    "0000000000a2\"}'])") == std::vector<std::string>{"ok"});
  CHECK(session.ask_one(std::string("select get_credit_balance(") + bob + ")") == "10");
  session.ask("reset role");
  CHECK(session
            .ask("select member::regrole from pg_auth_members where roleid = "
                 "'tally_owner'::regrole and not admin_option")
            .empty());
  const auto findings = canonical->doctor();
  REQUIRE_MESSAGE(findings.has_value(), (findings ? "" : findings.error().detail));
  for (const auto& finding : *findings) CHECK_MESSAGE(false, finding.what);
}

TEST_CASE("an upgrade that cannot have its locks is refused whole, and can be repeated") {
  Database database;
  database.migrate_to("20260118000010");
  Session writer = database.session();
  write_old_rows(writer, "20260118000010");
  writer.ask(std::string("begin; insert into credit_ledger (user_id, type, amount) values (") +
             ann + ", 'grant', 1)");
  auto canonical =
      sync::Canonical::connect(database.conninfo() + " options='-c deadlock_timeout=50ms'");
  REQUIRE(canonical.has_value());
  const auto refused = canonical->migrate({});
  REQUIRE(!refused.has_value());
  CHECK(refused.error().code == Code::busy);
  Session other = database.session();
  CHECK(other.ask_one("select to_regnamespace('tally') is null") == "t");
  writer.ask("commit");
  CHECK(canonical->migrate({}).has_value());
  check_invariants(other);
}

}  // namespace
}  // namespace tally::test
