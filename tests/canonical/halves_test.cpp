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
#include "support/fixture.hpp"
#include "support/postgres.hpp"
#include "tally/sync.hpp"

namespace tally::test {
namespace {

constexpr std::size_t lines_per_call = 1'000;
constexpr const char* tables[] = {"profiles", "credit_ledger", "draft_prompts", "projects",
                                  "jobs",     "job_steps",     "assets",        "voice_profiles"};

using Row = model::Model::Row;

std::vector<Row> of_mirror(const Engine& engine, const char* table) {
  std::vector<Row> out;
  const auto rows = engine.rows(table);
  REQUIRE(rows.has_value());
  for (const ViewRow& view_row : *rows) {
    Row row;
    for (const auto& [name, text] : view_row) row.push_back(text);
    out.push_back(std::move(row));
  }
  return out;
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

void check_equal(const char* table, const std::vector<Row>& got, const std::vector<Row>& expected,
                 const char* half) {
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

/// Where the first two differ; the trace's line is what one needs to see.
void check_results(const std::vector<std::string>& trace, const std::vector<std::string>& got,
                   const std::vector<std::string>& expected, const char* half) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i] == expected[i]) continue;
    FAIL_CHECK(half, " answers line ", i + 1, "\n  ", trace[i].substr(0, 2'000), "\n  with ",
               got[i], "\n  the model with ", expected[i]);
    return;
  }
}

void compare(std::uint64_t seed, std::size_t operations, sync::Canonical& canonical) {
  CAPTURE(seed);
  model::GeneratorOptions options;
  options.seed = seed;
  options.operations = operations;
  const auto trace = model::generate_trace(options);
  model::Model model;
  std::vector<std::string> expected;
  for (const std::string& line : trace) expected.push_back(model.apply(line));

  TemporaryMirror mirror;
  auto opened = Engine::open(mirror.path());
  REQUIRE(opened.has_value());
  Engine& engine = *opened;
  check_results(trace, replay_on_mirror(engine, trace), expected, "the mirror");
  check_results(trace, replay_on_canonical(canonical, trace), expected, "canonical");

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

}  // namespace
}  // namespace tally::test
