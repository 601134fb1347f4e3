// Many real connections at once, on one account, one job, one payment. Each claim is shown twice:
// it holds as the functions are, and is seen to break when the one lock that it rests on is taken
// out.

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "support/database.hpp"

namespace tally::test {
namespace {

constexpr const char* user = "'00000000-0000-4000-8000-0000000000a1'";

std::string job(int n) {
  return "'00000000-0000-4000-8000-0000000000" + std::string(n < 16 ? "c" : "d") +
         std::string(1, "0123456789abcdef"[n % 16]) + "'";
}

/// A migrated database with one user and 20 PENDING jobs.
struct World {
  Database database{};
  World() {
    database.migrate();
    Session session = database.session();
    session.ask(std::string("insert into auth.users (id, email) values (") + user +
                ", 'ann@x');"
                "insert into projects (id, user_id, title, prompt_text, niche_preset) values"
                " ('00000000-0000-4000-8000-0000000000b1', " +
                user + ", 't', 'p', 'facts')");
    for (int n = 0; n < 20; ++n)
      session.ask("insert into jobs (id, project_id, user_id) values (" + job(n) +
                  ", '00000000-0000-4000-8000-0000000000b1', " + user + ")");
  }
};

/// Replaces a text in the source of a function; fails the test where it is not there.
void change_function(Session& session, const std::string& name, const std::string& from,
                     const std::string& to) {
  std::string source =
      session.ask_one("select pg_get_functiondef(oid) from pg_proc where proname = '" + name +
                      "' and pronamespace in ('tally'::regnamespace, 'public'::regnamespace)");
  const std::size_t at = source.find(from);
  REQUIRE_MESSAGE(at != std::string::npos, name, " does not say: ", from);
  source.replace(at, from.size(), to);
  session.ask(source);
}

/// The same statement on so many connections at the same moment; what each came to.
std::vector<Answer> at_once(const Database& database, int connections,
                            const std::function<std::string(int)>& statement) {
  std::vector<Answer> answers(static_cast<std::size_t>(connections));
  std::vector<std::thread> threads;
  std::atomic<int> ready = 0;
  for (int n = 0; n < connections; ++n) {
    threads.emplace_back([&, n] {
      Session session = database.session();
      session.run("select 1");
      ++ready;
      while (ready < connections) std::this_thread::yield();
      answers[static_cast<std::size_t>(n)] = session.run(statement(n));
    });
  }
  for (std::thread& thread : threads) thread.join();
  return answers;
}

int count(const std::vector<Answer>& answers, const std::string& text) {
  int n = 0;
  for (const Answer& answer : answers) n += answer.text() == text ? 1 : 0;
  return n;
}

/// What audit says, in words; empty where all invariants hold and no balance is below zero.
std::string broken(const Database& database) {
  Session session = database.session();
  const auto lines = session.ask("select explanation from tally.audit()");
  return lines.empty() ? "" : lines.front();
}

/// Runs an attack on the database as it is, where nothing may break, and then on one where a lock
/// was taken out, where something must, within some tries.
void shown(const std::function<std::string(World&)>& attack,
           const std::function<void(Session&)>& take_lock_out) {
  {
    World world;
    CHECK(attack(world) == "");
  }
  for (int attempt = 0; attempt < 20; ++attempt) {
    World world;
    Session session = world.database.session();
    take_lock_out(session);
    if (!attack(world).empty()) return;
  }
  CHECK_MESSAGE(false, "without its lock the attack did no harm: it shows nothing");
}

/// Between reading and writing, so that others come in between, however slow the machine is.
constexpr const char* wait_a_little = " perform pg_sleep(0.3); ";

/// Nobody waits for the account's row any more.
void without_account_lock(Session& session) {
  change_function(session, "lock_accounts", "order by t.user_id for update loop",
                  "order by t.user_id loop");
  change_function(session, "apply", "v_jobs := tally.load_jobs",
                  std::string(wait_a_little) + "v_jobs := tally.load_jobs");
}

/// What stands behind the locks: an account has one entry of a number, and an operation's entries
/// have its id. With these in place a missing lock costs an error, and no credits.
void without_second_defences(Session& session) {
  session.ask("drop index credit_ledger_user_seq");
  session.ask(
      "create or replace function tally.refuse_interference(p_user uuid) returns void language sql "
      "as 'select'");
  change_function(session, "write_entries",
                  "overlay(e.op_id::text placing '8' || e.place from 15 for 2)::uuid",
                  "gen_random_uuid()");
}

TEST_CASE("many reserving for one user hold no more than there is") {
  shown(
      [](World& world) -> std::string {
        const auto answers = at_once(world.database, 12, [](int n) {
          return std::string("select reserve_credits(") + user + ", " + job(n) + ", 3)";
        });
        if (count(answers, "t") != 3 || count(answers, "f") != 9)
          return std::to_string(count(answers, "t")) +
                 " of 12 got 3 of 10 credits: " + answers[0].text();
        return broken(world.database);
      },
      without_account_lock);
}

TEST_CASE("many reserving, finalizing and releasing one job open and close one hold") {
  shown(
      [](World& world) -> std::string {
        const auto reserved = at_once(world.database, 8, [](int) {
          return std::string("select reserve_credits(") + user + ", " + job(1) + ", 4)";
        });
        if (count(reserved, "t") != 1 || count(reserved, "already_reserved") != 7)
          return "more than one hold: " + std::to_string(count(reserved, "t"));
        const auto closed = at_once(world.database, 12, [](int n) {
          return n % 2 == 0 ? "select finalize_job_credits(" + job(1) + ", 3)"
                            : "select release_job_credits(" + job(1) + ")";
        });
        Session session = world.database.session();
        const std::string closings = session.ask_one(
            "select count(*) filter (where type = 'usage') + count(*) filter (where note like 'Job "
            "failed%')"
            " from credit_ledger where job_id = " +
            job(1));
        if (closings != "1") return "closed " + closings + " times";
        return broken(world.database);
      },
      [](Session& session) {
        without_account_lock(session);
        change_function(session, "lock_jobs", "order by b.id for no key update", "order by b.id");
      });
}

TEST_CASE("a webhook delivered by 20 at once is credited once") {
  shown(
      [](World& world) -> std::string {
        const auto answers = at_once(world.database, 20, [](int n) {
          return n % 4 != 0
                     ? std::string("select add_credits(") + user + ", 50, 'purchase', 'n', 'pi_1')"
                     : std::string(
                           "set role service_role; insert into credit_ledger (user_id, type, "
                           "amount,"
                           " stripe_payment_id) values (") +
                           user + ", 'purchase', 50, 'pi_1')";
        });
        Session session = world.database.session();
        const std::string times =
            session.ask_one("select count(*) from credit_ledger where stripe_payment_id = 'pi_1'");
        if (times != "1") return "credited " + times + " times: " + answers[1].text();
        return broken(world.database);
      },
      [](Session& session) {
        without_account_lock(session);
        without_second_defences(session);
        session.ask("alter table tally.payments drop constraint payments_pkey");
        change_function(session, "op_change_credits", "if v_adds and",
                        std::string(wait_a_little) + "if v_adds and");
        // The plain INSERTs, which are quicker, have a lock of their own.
        change_function(session, "entry_insert", "where a.user_id = new.user_id for update;",
                        std::string("where a.user_id = new.user_id;") + wait_a_little);
      });
}

TEST_CASE("the same payment for two users is one user's") {
  shown(
      [](World& world) -> std::string {
        Session session = world.database.session();
        session.ask(
            "insert into auth.users (id, email) select ('00000000-0000-4000-8000-0000000000f' || "
            "n)::uuid,"
            " n || '@x' from generate_series(0, 9) n");
        const auto answers = at_once(world.database, 10, [](int n) {
          return "select add_credits('00000000-0000-4000-8000-0000000000f" + std::to_string(n) +
                 "', 50, 'purchase', 'n', 'pi_2')";
        });
        if (count(answers, "payment_conflict") != 9)
          return std::to_string(10 - count(answers, "payment_conflict")) + " were credited";
        return broken(world.database);
      },
      [](Session& session) {
        session.ask("alter table tally.payments drop constraint payments_pkey");
        change_function(session, "op_change_credits", "if v_adds and",
                        std::string(wait_a_little) + "if v_adds and");
      });
}

TEST_CASE("one user who signs up many times at once gets one welcome grant") {
  shown(
      [](World& world) -> std::string {
        at_once(world.database, 10, [](int n) {
          return n % 2 == 0
                     ? std::string(
                           "select pg_sleep(random() * 0.4);"  // The others have more to plan.
                           "insert into auth.users (id) values "
                           "('00000000-0000-4000-8000-0000000000ee')"
                           " on conflict do nothing")
                     : "select result from "
                       "tally.apply_operations(array['{\"op\":\"create_user\",\"op_id\":"
                       "\"00000000-0000-7000-8000-00000000000" +
                           std::to_string(n) +
                           "\",\"at\":\"2026-01-18T00:00:00.000000Z\",\"user_id\":\"00000000-0000-"
                           "4000-8000-0000000000ee\"}'])";
        });
        Session session = world.database.session();
        const std::string grants = session.ask_one(
            "select count(*) from credit_ledger where user_id = "
            "'00000000-0000-4000-8000-0000000000ee'");
        return grants == "1" ? broken(world.database) : grants + " grants";
      },
      [](Session& session) {
        // The account's row is what tells who came first.
        change_function(session, "handle_new_user", "a.old_seq = -1", "false");
        without_second_defences(session);
      });
}

TEST_CASE("one operation replayed by many at once is applied once") {
  shown(
      [](World& world) -> std::string {
        const auto answers = at_once(world.database, 10, [](int) {
          return std::string(
              "select result from tally.apply_operations(array['{\"op\":\"add_credits\",\"op_id\":"
              "\"00000000-0000-7000-8000-000000000077\",\"at\":\"2026-01-18T00:00:00.000000Z\","
              "\"user_id\":\"00000000-0000-4000-8000-0000000000a1\",\"amount\":5,\"type\":"
              "\"grant\"}'])");
        });
        if (count(answers, "ok") != 10) return "not all were told ok: " + answers[0].text();
        Session session = world.database.session();
        const std::string balance =
            session.ask_one(std::string("select get_credit_balance(") + user + ")");
        return balance == "15" ? broken(world.database) : "the balance is " + balance;
      },
      [](Session& session) {
        without_account_lock(session);
        without_second_defences(session);
      });
}

/// Until some connection waits for a lock.
void wait_for_a_waiter(Session& session) {
  while (session.ask_one("select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
                         " and datname = current_database()") == "0") {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

TEST_CASE("a job that another user makes and pays while a call waits is that user's") {
  World world;
  Session session = world.database.session();
  const std::string bob = "'00000000-0000-4000-8000-0000000000a2'";
  session.ask(
      "insert into auth.users (id, email) values (" + bob +
      ", 'bob@x'); insert into projects (id, user_id, title, prompt_text, niche_preset) values"
      " ('00000000-0000-4000-8000-0000000000b2', " +
      bob + ", 't', 'p', 'facts')");
  Session holder = world.database.session();
  holder.ask(std::string("begin; select add_credits(") + user + ", 1, 'grant', 'n')");
  Answer answer;
  std::thread caller([&] {
    Session waiting = world.database.session();
    answer = waiting.run(
        "select string_agg(result, ' ') from tally.apply_operations(array["
        "'{\"op\":\"update_profile\",\"op_id\":\"00000000-0000-7000-8000-000000000001\",\"at\":"
        "\"2026-01-18T00:00:"
        "00.000000Z\",\"user_id\":\"00000000-0000-4000-8000-0000000000a1\"}',"
        "'{\"op\":\"release_job_credits\",\"op_id\":\"00000000-0000-7000-8000-000000000002\","
        "\"at\":\"2026-01-18T00:"
        "00:00.000000Z\",\"job_id\":\"00000000-0000-4000-8000-0000000000bb\"}'])");
  });
  wait_for_a_waiter(session);
  session.ask(
      "insert into jobs (id, project_id, user_id) values ('00000000-0000-4000-8000-0000000000bb',"
      " '00000000-0000-4000-8000-0000000000b2', " +
      bob + ")");
  session.ask("select reserve_credits(" + bob + ", '00000000-0000-4000-8000-0000000000bb', 10)");
  holder.ask("commit");
  caller.join();
  CHECK(answer.text() == "ok ok");
  CHECK(broken(world.database) == "");
  CHECK(session.ask_one("select get_credit_balance(" + bob + ")") == "10");
}

TEST_CASE("what another call has just made, or applied, is seen by the one that waited for it") {
  World world;
  Session session = world.database.session();
  Session holder = world.database.session();
  const std::string create =
      "'{\"op\":\"create_user\",\"op_id\":\"00000000-0000-7000-8000-000000000001\",\"at\":\"2026-"
      "01-18T00:00:00."
      "000000Z\",\"user_id\":\"00000000-0000-4000-8000-0000000000cc\"}'";
  const std::string add =
      "'{\"op\":\"add_credits\",\"op_id\":\"00000000-0000-7000-8000-000000000002\",\"at\":\"2026-"
      "01-18T00:00:00."
      "000000Z\",\"user_id\":\"00000000-0000-4000-8000-0000000000cc\",\"amount\":5,\"type\":"
      "\"grant\"}'";
  const auto draft = [](char n) {
    return std::string(
               "'{\"op\":\"create_draft\",\"op_id\":\"00000000-0000-7000-8000-000000000003\","
               "\"at\":\"2026-01-"
               "18T00:00:00.000000Z\",\"draft_id\":\"00000000-0000-4000-8000-0000000000d") +
           n + "\",\"session_token\":\"s\",\"prompt_text\":\"p\"}'";
  };
  const auto apply = [](const std::string& lines) {
    return "select string_agg(result || coalesce(' ' || balance, ''), ', ') from "
           "tally.apply_operations(array[" +
           lines + "])";
  };
  const auto waited = [&](const std::string& first, const std::string& second) {
    holder.ask("begin;" + apply(first));
    Answer answer;
    std::thread caller([&] {
      Session waiting = world.database.session();
      answer = waiting.run(apply(second));
    });
    wait_for_a_waiter(session);
    holder.ask("commit");
    caller.join();
    return answer;
  };
  CHECK(waited(create, create + "," + add).text() == "ok 10, ok 15");
  // Of no user, and so under no lock: the call fails as a whole, and the same call again is
  // answered.
  CHECK(waited(draft('1'), draft('2')).state == "40001");
  CHECK(session.ask_one(apply(draft('2'))) == "operation_conflict");
  CHECK(session.ask_one("select count(*) from draft_prompts") == "1");
  CHECK(broken(world.database) == "");
}

TEST_CASE("a project that is being deleted gets no job, and the call is answered") {
  World world;
  Session holder = world.database.session();
  Session session = world.database.session();
  holder.ask("begin; delete from projects where id = '00000000-0000-4000-8000-0000000000b1'");
  Answer answer;
  std::thread caller([&] {
    Session waiting = world.database.session();
    answer = waiting.run(
        "select result from tally.apply_operations(array['{\"op\":\"create_job\",\"op_id\":"
        "\"00000000-0000-7000-8000-000000000001\",\"at\":\"2026-01-18T00:00:00.000000Z\",\"job_"
        "id\":"
        "\"00000000-0000-4000-8000-0000000000bb\",\"project_id\":\"00000000-0000-4000-8000-"
        "0000000000b1\","
        "\"user_id\":\"00000000-0000-4000-8000-0000000000a1\"}'])");
  });
  wait_for_a_waiter(session);
  holder.ask("commit");
  caller.join();
  CHECK(answer.text() == "project_not_found");
}

TEST_CASE("plain updates of jobs and our functions do not wait for each other in a circle") {
  World world;
  Session session = world.database.session();
  session.ask(std::string("select add_credits(") + user + ", 1000, 'grant', 'n')");
  std::atomic<int> deadlocks = 0;
  for (int round = 0; round < 10; ++round) {
    for (int n = 0; n < 8; ++n)
      session.run(std::string("select reserve_credits(") + user + ", " + job(n) + ", 3)");
    const auto answers = at_once(world.database, 16, [](int n) {
      switch (n % 4) {
        case 0:
          return "update jobs set status = 'FAILED' where id = " + job(n / 4);
        case 1:
          return "select finalize_job_credits(" + job(n / 4) + ", 2)";
        case 2:
          return "select release_job_credits(" + job(n / 4 + 4) + ")";
        default:
          return "update jobs set status_message = 'x', status = 'FAILED' where id = " +
                 job(n / 4 + 4);
      }
    });
    for (const Answer& answer : answers) deadlocks += answer.state == "40P01" ? 1 : 0;
    session.ask(
        "select result from tally.apply_operations(array(select json_build_object('op', "
        "'retry_job', 'op_id',"
        " gen_random_uuid(), 'at', '2026-01-18T00:00:00.000000Z', 'job_id', id, 'amount', 3)::text"
        " from jobs where status = 'FAILED'))");
  }
  CHECK(deadlocks == 0);
  CHECK(broken(world.database) == "");
}

TEST_CASE("prune() gives way to a call that stays open, and nobody waits behind it for long") {
  World world;
  Session open = world.database.session();
  Session other = world.database.session();
  const std::string call =
      "select count(*) from tally_sync.sync(1, 'nobody', 0, '', '{}', '{}', '{}')";
  open.ask("begin");
  open.ask(call);
  const Answer pruned = other.run("select tally_sync.prune('90 days')");
  CHECK(pruned.text().find("prune again later") != std::string::npos);
  CHECK(other.ask_one(call) == "1");
  open.ask("rollback");
  CHECK(other.ask_one("select tally_sync.prune('90 days')") == "0");
}

TEST_CASE("all writers at once leave every invariant whole") {
  World world;
  Session session = world.database.session();
  session.ask(std::string("select add_credits(") + user + ", 500, 'grant', 'n')");
  const auto answers = at_once(world.database, 8, [](int n) {
    std::string body;
    switch (n % 4) {
      case 0:
        body = std::string("insert into credit_ledger (user_id, type, amount) values (") + user +
               ", 'grant', 3), (" + user + ", 'usage', -2);";
        break;
      case 1:
        body = std::string("perform reserve_credits(") + user +
               ", ('00000000-0000-4000-8000-0000000000c' ||"
               " to_hex((i + " +
               std::to_string(n) + ") % 16))::uuid, 2);";
        break;
      case 2:
        body =
            "perform release_job_credits(('00000000-0000-4000-8000-0000000000c' || to_hex(i % "
            "16))::uuid);";
        break;
      default:
        body = "insert into auth.users (email) values (" + std::to_string(n) +
               " || '-' || i || '@y');";
    }
    // Each turn commits by itself, and what is refused is part of the game.
    return "do $$ begin for i in 1..150 loop begin " + body +
           " exception when others then if sqlstate not like 'TA%' then raise; end if; end; "
           "commit; end loop; end $$";
  });
  for (const Answer& answer : answers)
    CHECK_MESSAGE(answer.ok(), answer.state, " ", answer.message);
  CHECK(broken(world.database) == "");
  CHECK(session.ask_one("select count(*) from auth.users") == "301");
  CHECK(session.ask_one("select count(*) from credit_ledger where note like 'Welcome%'") == "301");
}

}  // namespace
}  // namespace tally::test
