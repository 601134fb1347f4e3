// The mirror, canonical and the independent model, given the same random trace, give the same
// results and hold the same rows.
//
// TALLY_TEST_SEED=N replays one seed; TALLY_TEST_OPERATIONS=N sets the length.

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "model/model.hpp"
#include "model/trace_generator.hpp"
#include "support/operation_tables.hpp"
#include "support/postgres.hpp"
#include "support/views.hpp"
#include "tally/sync.hpp"

namespace tally::test {
namespace {

constexpr std::size_t lines_per_call = 1'000;

using Row = model::Model::Row;

std::vector<Row> of_mirror(const Engine& engine, const char* table) {
  const auto rows = engine.rows(table);
  REQUIRE(rows.has_value());
  return texts_of(*rows);
}

/// Canonical shows rows by user; a draft without one is shown to nobody.
std::vector<Row> of_canonical(sync::Canonical& canonical, const char* table) {
  std::vector<Row> out;
  const auto users = canonical.users();
  REQUIRE(users.has_value());
  for (const Uuid& user : *users) {
    auto rows = canonical.rows(table, user);
    REQUIRE(rows.has_value());
    out.insert(out.end(), rows->begin(), rows->end());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string text_of(const Row& row) {
  std::string text;
  for (const auto& column : row) text += (column ? *column : "NULL") + " | ";
  return text;
}

void check_equal(const std::string& table, const std::vector<Row>& got,
                 const std::vector<Row>& expected, const std::string& half) {
  INFO(half, ", table ", table);
  CHECK(got.size() == expected.size());
  for (std::size_t i = 0; i < std::min(got.size(), expected.size()); ++i) {
    if (got[i] == expected[i]) continue;
    FAIL_CHECK("first difference in ", table, "\n  ", half, ": ", text_of(got[i]),
               "\n  model: ", text_of(expected[i]));
    return;
  }
}

/// The results of a mirror, as `tally replay` writes them.
std::vector<std::string> replay_on_mirror(Engine& engine, const std::vector<std::string>& trace) {
  std::vector<std::string> results;
  for (std::size_t from = 0; from < trace.size(); from += lines_per_call) {
    std::vector<Command> commands;
    std::vector<bool> is_operation;
    for (std::size_t i = from; i < std::min(from + lines_per_call, trace.size()); ++i) {
      auto command = parse_trace_line(trace[i]);
      is_operation.push_back(command.has_value());
      if (command) commands.push_back(std::move(*command));
    }
    const auto verdicts = engine.submit(std::move(commands));
    REQUIRE_MESSAGE(verdicts.has_value(), (verdicts ? "" : verdicts.error().detail));
    std::size_t next = 0;
    for (std::size_t i = 0; i < is_operation.size(); ++i) {
      results.push_back(is_operation[i] ? result_line((*verdicts)[next++])
                                        : not_an_operation_line(from + i + 1));
    }
  }
  return results;
}

std::vector<std::string> replay_on_canonical(sync::Canonical& canonical,
                                             const std::vector<std::string>& trace) {
  std::vector<std::string> results;
  for (std::size_t from = 0; from < trace.size(); from += lines_per_call) {
    std::vector<std::string> lines(
        trace.begin() + static_cast<std::ptrdiff_t>(from),
        trace.begin() + static_cast<std::ptrdiff_t>(std::min(from + lines_per_call, trace.size())));
    for (std::string& line : lines) {
      if (!parse_trace_line(line)) line.clear();  // As the program does: never sent.
    }
    const auto verdicts = canonical.apply(lines);
    REQUIRE_MESSAGE(verdicts.has_value(), (verdicts ? "" : verdicts.error().detail));
    REQUIRE(verdicts->size() == lines.size());
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const Verdict& verdict = (*verdicts)[i];
      results.push_back(verdict.op_id == Uuid{} ? not_an_operation_line(from + i + 1)
                                                : result_line(verdict));
    }
  }
  return results;
}

/// Where they differ first; the trace's line is what one needs to see.
void check_results(const std::vector<std::string>& trace, const std::vector<std::string>& got,
                   const std::vector<std::string>& expected, const std::string& half) {
  REQUIRE(got.size() == expected.size());
  int differences = 0;
  for (std::size_t i = 0; i < got.size() && differences < 5; ++i) {
    if (got[i] == expected[i]) continue;
    ++differences;
    FAIL_CHECK(half, " answers line ", i + 1, "\n  ", trace[i].substr(0, 2'000), "\n  with ",
               got[i], "\n  the model with ", expected[i]);
  }
}

void compare_results(const std::vector<std::string>& trace, model::Model& model, Engine& engine,
                     sync::Canonical& canonical) {
  std::vector<std::string> expected;
  for (const std::string& line : trace) expected.push_back(model.apply(line));
  check_results(trace, replay_on_mirror(engine, trace), expected, "the mirror");
  check_results(trace, replay_on_canonical(canonical, trace), expected, "canonical");
}

void compare(const std::vector<std::string>& trace, sync::Canonical& canonical) {
  model::Model model;
  TemporaryMirror mirror;
  auto opened = Engine::open(mirror.path());
  REQUIRE(opened.has_value());
  Engine& engine = *opened;
  compare_results(trace, model, engine, canonical);

  for (const char* table : tables) {
    auto rows = model.rows(table);
    check_equal(table, of_mirror(engine, table), rows, "the mirror");
    if (std::string_view(table) == "draft_prompts") {
      std::erase_if(rows, [](const Row& row) { return !row[2]; });  // Without a user.
    }
    check_equal(table, of_canonical(canonical, table), rows, "canonical");
  }

  const auto audit = engine.audit();
  REQUIRE(audit.has_value());
  CHECK(audit->findings.empty());
  const auto users = engine.users();
  REQUIRE(users.has_value());
  for (const Uuid& user : *users) {
    const auto here = engine.digest(user);
    const auto there = canonical.digest(user);
    REQUIRE(here.has_value());
    REQUIRE(there.has_value());
    REQUIRE(here->size() == there->size());
    for (std::size_t i = 0; i < here->size(); ++i) {
      CAPTURE((*here)[i].table);
      CHECK((*here)[i].digest == (*there)[i].digest);
      CHECK((*here)[i].rows == (*there)[i].rows);
    }
  }
}

void compare(std::uint64_t seed, std::size_t operations, sync::Canonical& canonical) {
  CAPTURE(seed);
  model::GeneratorOptions options;
  options.seed = seed;
  options.operations = operations;
  compare(model::generate_trace(options), canonical);
}

/// Three users with their jobs, and then these lines, in the short form or as they are.
std::vector<std::string> trace_of(const std::vector<std::string>& texts) {
  LineMaker lines;
  std::vector<std::string> trace;
  for (const auto& row : users_with_jobs(3)) trace.push_back(lines.line(row.line));
  for (const std::string& text : texts)
    trace.push_back(text.starts_with('{') ? text : lines.line(text));
  return trace;
}

std::string batch(const Uuid& op_id, const std::string& operations) {
  return "{\"op\":\"batch\",\"op_id\":\"" + op_id.text() +
         "\",\"at\":\"2026-01-18T01:00:00.000000Z\",\"ops\":[" + operations + "]}";
}

/// So many operations of u1.
std::string many(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) {
    out += (i == 0 ? "" : ",") +
           ("{\"op\":\"expire_credits\",\"op_id\":\"" +
            id('m', static_cast<std::uint64_t>(i)).text() + "\",\"user_id\":\"") +
           user_id(1).text() + "\",\"amount\":1}";
  }
  return out;
}

sync::Canonical fresh_canonical(const ThrowawayPostgres& server) {
  auto connected = sync::Canonical::connect(server.conninfo());
  REQUIRE(connected.has_value());
  const auto migrated = connected->migrate({.shim = true});
  REQUIRE_MESSAGE(migrated.has_value(), (migrated ? "" : migrated.error().detail));
  return std::move(connected).value();
}

TEST_CASE("the halves and the model agree on a random trace, result for result and row for row") {
  const ThrowawayPostgres server;
  auto canonical = fresh_canonical(server);
  const auto seed = number_from_environment("TALLY_TEST_SEED", 1'001);
  const auto operations = number_from_environment("TALLY_TEST_OPERATIONS", 100'000);
  compare(seed, static_cast<std::size_t>(operations), canonical);
}

TEST_CASE("they agree when the trace is cut into other commits and seeds") {
  const ThrowawayPostgres server;
  auto canonical = fresh_canonical(server);
  compare(7, 2'500, canonical);
}

std::string nested(std::size_t levels) {
  return std::string(levels, '[') + std::string(levels, ']');
}

TEST_CASE("they agree on lines that are not as they should be") {
  const ThrowawayPostgres server;
  auto canonical = fresh_canonical(server);
  const std::string one = "release_job_credits job_id=j1 op_id=o1";
  const std::string own =
      "batch op_id=o5 ops=(create_user user_id=u4 op_id=o6 ; add_credits user_id=u4 amount=5 "
      "type=grant op_id=o7)";
  compare(
      trace_of({
          // Fields that are another operation's, come twice, or are of another kind.
          "release_job_credits job_id=j1 user_id=u2",
          "release_job_credits user_id=u2",
          "finalize_job_credits job_id=j1 user_id=u2 final_cost=1",
          "finalize_job_credits job_id=j1 final_cost=-1",
          "finalize_job_credits job_id=j9 user_id=u2 final_cost=x",
          "reserve_credits user_id=u1 job_id=j1 job_id=j2 amount=1",
          "reserve_credits user_id=u1 job_id=j1 amount=\"1\"",
          "reserve_credits user_id=u1 job_id=j1 amount=1.5",
          "reserve_credits user_id=u1 job_id=j1 amount=1e0",
          "reserve_credits user_id=u1 job_id=j1 amount=99999999999999999999",
          "reserve_credits user_id=u1 job_id=j1 amount=null",
          "reserve_credits user_id=u1 job_id=[] amount=1",
          "reserve_credits user_id=\"\" job_id=j1 amount=1",
          "reserve_credits user_id=u1 amount=1",
          "reserve_credits job_id=j2 amount=1",
          "add_credits user_id=u1 amount=1 type=grant job_id=j2",
          "add_credits user_id=u1 amount=0 type=gift",
          "add_credits user_id=u9 amount=0 type=gift",
          "advance_job job_id=j1 to=NOWHERE",
          "advance_job job_id=j1 to=1 user_id=u2",
          "sweep grace=0 user_id=u1",
          "purge_expired_drafts user_id=u1",
          "purge_expired_drafts job_id=j1",
          "create_user user_id=00000000-0000-0000-0000-000000000000",
          // The deepest JSON that there is, and deeper.
          "update_profile user_id=u1 notification_prefs=" + nested(999),
          "update_profile user_id=u1 notification_prefs=" + nested(1'000),
          // Batches whose operations are none, or another user's, or that say whose they are.
          "batch ops=()",
          "batch ops=null user_id=u1",
          "batch ops=(" + one + ") user_id=u1",
          "batch ops=(" + one + ") job_id=j2",
          "batch ops=(release_job_credits job_id=j1 user_id=u2 op_id=o1)",
          "batch ops=(" + one + " ; release_job_credits job_id=j2 op_id=o2)",
          "batch ops=(add_credits user_id=u8 amount=1 type=grant op_id=o1 ; add_credits user_id=u9 "
          "amount=1 type=grant op_id=o2)",
          // The same behind an op_id that is known.
          "add_credits user_id=u1 amount=5 type=grant op_id=o3",
          "batch op_id=o3 ops=()",
          "batch op_id=o3 ops=null",
          "batch op_id=o3 ops=(" + one + ")",
          "batch op_id=o3 ops=(" + one + ") user_id=u1",
          "batch op_id=o3 ops=(" + one + ") user_id=u2",
          "batch op_id=o3 ops=(" + one + " ; expire_credits user_id=u1 amount=1 op_id=null)",
          "batch op_id=o3 ops=(" + one + " ; expire_credits user_id=u2 amount=1 op_id=null)",
          "batch op_id=o3 ops=(" + one + " ; expire_credits user_id=u1 amount=1 op_id=o4 at=x)",
          "batch op_id=o3 ops=(" + one + " ; nothing user_id=u1 op_id=o4)",
          "batch op_id=o3 ops=(" + one + " ; sweep grace=1 op_id=o4)",
          "batch op_id=o3 ops=(" + one + " ; purge_expired_drafts op_id=o4)",
          "batch op_id=o3 ops=(" + one + " ; return_lease lease_id=l1 op_id=o4)",
          "batch op_id=o3 ops=(" + one + " ; batch ops=(" + one + ") op_id=o4)",
          "batch op_id=o3 ops=(" + one + " ; expire_credits user_id=u1 amount=x op_id=o4)",
          "batch op_id=o3 ops=(" + one + " ; expire_credits user_id=u2 amount=x op_id=o4)",
          "batch op_id=o3 ops=(" + one + " ; expire_credits user_id=u1 amount=0 op_id=o4)",
          "batch op_id=o3 ops=(" + one + " ; expire_credits user_id=u2 amount=0 op_id=o4)",
          "batch op_id=o3 ops=(" + one + " ; release_job_credits job_id=j9 op_id=o4)",
          batch(op_id(3), "1"),
          batch(op_id(3), "null,{},[]"),
          batch(op_id(3), "{\"user_id\":\"" + user_id(1).text() + "\"}"),
          batch(op_id(3), "{\"user_id\":\"" + user_id(2).text() + "\"},1"),
          batch(op_id(3), many(1'001)),
          batch(op_id(900), many(1'001)),
          // The same behind one that is known of nobody.
          "purge_expired_drafts op_id=o8",
          "batch op_id=o8 ops=()",
          "batch op_id=o8 ops=(" + one + " ; release_job_credits job_id=j2 op_id=o2)",
          "batch op_id=o8 ops=(sweep grace=1 op_id=o4)",
          "batch op_id=o8 ops=(purge_expired_drafts op_id=o4)",
          "batch op_id=o8 ops=(release_job_credits job_id=j9 op_id=o4)",
          "batch op_id=o8 ops=(update_draft draft_id=d1 session_token=S prompt_text=P op_id=o4)",
          batch(op_id(8), "1"),
          // One that makes its own user.
          own,
          "add_credits user_id=u4 amount=5 type=grant op_id=o5",
          own,
          "batch op_id=o5 ops=(create_user user_id=u4 op_id=o6)",
          "batch op_id=o5 ops=(create_user user_id=u4 op_id=o6) user_id=u4",
          "batch op_id=o5 ops=(create_user user_id=u4 email=1 op_id=o6)",
      }),
      canonical);
}

// Who gets an id of another's entry has a random one, so that rows are not compared.
TEST_CASE("they agree on operations of a job that was another user's, and of one that went") {
  const ThrowawayPostgres server;
  auto canonical = fresh_canonical(server);
  const std::string release = "release_job_credits job_id=j1 op_id=o11";
  const std::string batch = "batch op_id=o12 ops=(release_job_credits job_id=j1 op_id=o13)";
  const std::string reserve = "reserve_credits user_id=u2 job_id=j1 amount=5";
  model::Model model;
  TemporaryMirror mirror;
  compare_results(trace_of({"reserve_credits user_id=u1 job_id=j1 amount=5", release,
                            "reserve_credits user_id=u1 job_id=j1 amount=5", batch,
                            "delete_project project_id=p1 user_id=u1", release,
                            "release_job_credits job_id=j1 op_id=o12", batch,
                            "create_job job_id=j1 project_id=p2 user_id=u2", release, batch,
                            reserve, release, release, reserve, batch, batch}),
                  model, mirror.engine(), canonical);
}

}  // namespace
}  // namespace tally::test
