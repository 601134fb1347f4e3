// Looking into a mirror: an engine that only reads, and the pages of what it shows.
#include <doctest/doctest.h>

#include <tally/inspection.hpp>

#include <algorithm>
#include <set>

#include "reads.hpp"
#include "support/operation_tables.hpp"

namespace tally::test {
namespace {

namespace fs = std::filesystem;

Options to_read() {
  Options options = TemporaryMirror::fast();
  options.read_only = true;
  return options;
}

}  // namespace

TEST_CASE("inspection: an engine that only reads answers, refuses operations and leaves the file") {
  TemporaryMirror mirror;
  mirror.make_users(2);
  mirror.close();
  const std::string before = bytes_of(mirror.path());
  {
    auto engine = Engine::open(mirror.path(), to_read());
    REQUIRE(engine.has_value());
    CHECK(engine->balance(user_id(2)).value() == Credits{10});
    CHECK(engine->job(job_id(1)).has_value());
    CHECK(engine->audit().value().findings.empty());
    const auto applied = engine->apply(CreateUser{user_id(9)});
    REQUIRE(!applied.has_value());
    CHECK(applied.error().code == Code::read_only);
    CHECK(!engine->balance(user_id(9)).has_value());
  }
  CHECK(bytes_of(mirror.path()) == before);
}

TEST_CASE("inspection: an engine that only reads makes no file and migrates none") {
  TemporaryMirror mirror;
  mirror.close();
  const auto missing = Engine::open(mirror.folder() / "missing.db", to_read());
  REQUIRE(!missing.has_value());
  CHECK(missing.error().code == Code::not_found);
  CHECK(!fs::exists(mirror.folder() / "missing.db"));
  tamper(mirror.path(), "pragma user_version = 2");
  const auto older = Engine::open(mirror.path(), to_read());
  REQUIRE(!older.has_value());
  CHECK(older.error().code == Code::read_only);
}

TEST_CASE("inspection: what others commit is seen, and changes the number") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  auto engine = Engine::open(mirror.path(), to_read());
  REQUIRE(engine.has_value());
  Inspection inspection(*engine);
  const auto before = inspection.change();
  CHECK(inspection.change() == before);
  const auto entries = inspection.overview().value().entries;
  mirror.check({{"add_credits user_id=u1 amount=7 type=grant", "ok 17"}});
  CHECK(inspection.change() != before);
  CHECK(inspection.overview().value().entries == entries + 1);
  CHECK(inspection.account(user_id(1)).value().check.balance == Credits{17});
}

TEST_CASE("a user's holds are all found, however many jobs and others' holds lie between") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.apply("create_user user_id=u2");
  mirror.apply(
      "create_project project_id=p2 user_id=u2 title=T prompt_text=P niche_preset=facts "
      "target_minutes=1");
  mirror.apply("add_credits user_id=u2 amount=9000 type=grant");
  constexpr std::uint64_t jobs = 5'000;  // Of eras of 1,024.
  const std::set<std::uint64_t> ours{1, 1'024, 1'025, 4'999, 5'000};
  for (std::uint64_t n = 2; n <= jobs; ++n) {
    const std::string user = std::to_string(ours.contains(n) ? 1 : 2);
    const std::string job = "j" + std::to_string(n);
    mirror.apply("create_job job_id=" + job + " project_id=p" + user + " user_id=u" + user);
    // No hold at all in one era: the look at the next one goes past it.
    if (user == "2" && (n < 2'000 || n > 4'200))
      REQUIRE(
          mirror.apply("reserve_credits user_id=u2 job_id=" + job + " amount=1").starts_with("ok"));
  }
  Inspection inspection(mirror.engine());
  const auto holds = [&](std::uint64_t user) {
    const Account account = mirror->account(user_id(user)).value();
    std::vector<Uuid> found;
    for (const OpenHold& hold : account.holds) found.push_back(hold.job_id);
    auto newest_first = inspection.held_jobs(user_id(user), jobs).value();
    REQUIRE(newest_first.size() == found.size());
    CHECK(std::equal(found.rbegin(), found.rend(), newest_first.begin(),
                     [](const Uuid& job, const JobLine& line) { return job == line.job_id; }));
    return found;
  };
  CHECK(holds(1).empty());
  std::vector<Uuid> expected;
  for (const std::uint64_t n : ours) {
    REQUIRE(mirror.apply("reserve_credits user_id=u1 job_id=j" + std::to_string(n) + " amount=2")
                .starts_with("ok"));
    expected.push_back(job_id(n));
  }
  CHECK(holds(1) == expected);
  CHECK(holds(2).size() ==
        static_cast<std::size_t>(mirror->account(user_id(2)).value().check.held.value));
  REQUIRE(mirror.apply("release_job_credits job_id=j1025").starts_with("ok"));
  expected.erase(expected.begin() + 2);
  CHECK(holds(1) == expected);
  CHECK(inspection.held_jobs(user_id(1), 1).value().at(0).job_id == job_id(5'000));
  // By the index of holds in each step: the jobs that hold nothing are not looked at.
  int searches = 0;
  for (const std::string& step :
       query(mirror.path(), "explain query plan " + std::string(select_held_jobs))) {
    CAPTURE(step);
    CHECK((step.find("SCAN") == std::string::npos || step.ends_with("|SCAN era")));
    searches += step.find("INDEX tally_job_hold") != std::string::npos;
  }
  CHECK(searches == 3);
}

TEST_CASE("inspection: entries and charts are the history, in steps that leave nothing out") {
  TemporaryMirror mirror;
  mirror.make_users(2);
  for (int n = 1; n <= 60; ++n)
    mirror.apply("add_credits user_id=u1 amount=" + std::to_string(n) + " type=grant");
  mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=30");
  Inspection inspection(mirror.engine());
  auto history = mirror->history(user_id(1)).value();
  std::reverse(history.begin(), history.end());
  const auto entries = inspection.entries(user_id(1), 1, 1'000).value();
  REQUIRE(entries.size() == history.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    CHECK(entries[i].id == history[i].id);
    CHECK(entries[i].seq == static_cast<std::int64_t>(i) + 1);
  }
  for (const std::size_t most : {1U, 7U, 61U, 1'000U}) {
    const Chart chart = inspection.chart(user_id(1), 2, 1'000, most).value();
    CHECK(chart.before == history[0].balance_after);
    CHECK(chart.steps.size() <= most);
    std::int64_t next = 2;
    Credits balance = chart.before;
    for (const ChartStep& step : chart.steps) {
      CHECK(step.first_seq == next);
      CHECK(step.balance == balance + step.came - step.went);
      CHECK(step.entry.has_value() == (step.first_seq == step.last_seq));
      balance = step.balance;
      next = step.last_seq + 1;
    }
    CHECK(next == static_cast<std::int64_t>(history.size()) + 1);
    CHECK(chart.steps.back().held == Credits{30});
  }
  CHECK(inspection.chart(user_id(9), 1, 2, 3).error().code == Code::user_not_found);
  CHECK(inspection.entries(user_id(1), 100, 50).value().empty());
}

TEST_CASE("inspection: jobs come in pages, by status and user, with their entries") {
  TemporaryMirror mirror;
  mirror.make_users(3);
  mirror.apply("reserve_credits user_id=u2 job_id=j2 amount=4");
  mirror.check({{"fail_job job_id=j3 error_code=E", "ok 10"}});
  Inspection inspection(mirror.engine());
  constexpr std::uint32_t all = 0xfff;
  const auto first = inspection.jobs(all, {}, {}, 2).value();
  REQUIRE(first.size() == 2);
  const auto second = inspection.jobs(all, first.back().number, {}, 2).value();
  REQUIRE(second.size() == 1);
  CHECK(second[0].job_id == job_id(1));
  const auto failed =
      inspection.jobs(1U << static_cast<unsigned>(JobStatus::FAILED), {}, {}, 9).value();
  REQUIRE(failed.size() == 1);
  CHECK(failed[0].job_id == job_id(3));
  CHECK(inspection.jobs(all, {}, user_id(2), 9).value().size() == 1);
  CHECK(inspection.held_jobs(user_id(2), 9).value().at(0).hold == Credits{4});
  const auto entries = inspection.entries_of_job(job_id(2)).value();
  REQUIRE(!entries.empty());
  CHECK(entries.back().amount == Credits{-4});
}

TEST_CASE("inspection: ids are found by how they begin, and nothing else is") {
  TemporaryMirror mirror;
  mirror.make_users(2);
  Inspection inspection(mirror.engine());
  const auto kinds = [&](std::string_view begin) {
    std::vector<FoundKind> out;
    const std::vector<Found> all = inspection.find(begin, 8).value();
    for (const Found& found : all) out.push_back(found.kind);
    return out;
  };
  CHECK(kinds(user_id(2).text()) == std::vector{FoundKind::user});
  CHECK(kinds(job_id(1).text()) == std::vector{FoundKind::job});
  CHECK(kinds("ffffffff").empty());
  const Entry entry = mirror->history(user_id(1)).value().front();
  const auto found = inspection.find(entry.id.text(), 8).value();
  REQUIRE(found.size() == 1);
  CHECK(found[0].kind == FoundKind::entry);
  CHECK(found[0].seq == entry.seq);
  for (const char* wrong : {"", "-", "xyz", "000000000000000000000000000000000"})
    CHECK(inspection.find(wrong, 8).error().code == Code::invalid_argument);
}

}  // namespace tally::test
