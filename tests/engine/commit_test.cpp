// Operations that share a commit see each other as if each had one of its own: what the first wrote
// is still in memory, and what one commit left there is not the next one's.
#include <doctest/doctest.h>
#include <tally/replica.hpp>

#include <algorithm>

#include "codec.hpp"
#include "support/broken_mirror.hpp"
#include "support/views.hpp"
#include "tally/trace.hpp"

namespace tally::test {
namespace {

using Lines = std::vector<std::string>;

/// The short answers of lines that share a commit.
Lines together(TemporaryMirror& mirror, const Lines& lines) {
  std::vector<Command> commands;
  for (const std::string& line : lines)
    commands.push_back(parse_trace_line(mirror.lines.line(line)).value());
  Lines answers;
  for (const Verdict& verdict : mirror.submit(std::move(commands)))
    answers.push_back(short_answer(result_line(verdict)));
  return answers;
}

/// The numbers of what is pending, in order.
std::vector<std::int64_t> pending_numbers(TemporaryMirror& mirror) {
  std::vector<std::int64_t> numbers;
  REQUIRE(Replica(mirror.engine()).each_pending([&](const PendingOperation& pending) {
    numbers.push_back(pending.number);
    return true;
  }));
  return numbers;
}

TEST_CASE("one commit: what was made in it is found by its text, its time and its stage") {
  TemporaryMirror mirror;
  CHECK(together(mirror, {"create_user user_id=u1 email=\"a@b\"",
                          "create_user user_id=u2 email=\"a@b\""}) ==
        Lines{"ok 10", "user_exists -"});
  CHECK(together(mirror, {"create_draft draft_id=d1 session_token=S prompt_text=P",
                          "purge_expired_drafts at=\"2026-03-01T00:00:00.000000Z\""}) ==
        Lines{"ok -", "ok -"});
  CHECK(query(mirror.path(), "select count(*) from draft_prompts") == Lines{"0"});
  CHECK(
      together(mirror,
               {"create_project project_id=p1 user_id=u1 title=T prompt_text=P niche_preset=facts "
                "target_minutes=1",
                "create_job job_id=j1 project_id=p1 user_id=u1",
                "reserve_credits user_id=u1 job_id=j1 amount=4", "advance_job job_id=j1 to=QUEUED",
                "advance_job job_id=j1 to=SCRIPTING",
                "sweep grace=60 at=\"2026-01-19T00:00:00.000000Z\""}) ==
      Lines{"ok 10", "ok 10", "ok 6", "ok 6", "ok 6", "ok -"});
  CHECK(query(mirror.path(), "select status, error_code from jobs") == Lines{"FAILED|WORKER_LOST"});
  CHECK(mirror.balance() == 10);
}

TEST_CASE("one commit: an op_id is known behind those that resemble it, whatever came before") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  const std::string add = "add_credits user_id=u1 amount=1 type=grant op_id=";
  // They differ in what an entry's id replaces.
  const std::string first = add + "\"12345678-1234-7aaa-9234-123456789abc\"";
  const std::string like = add + "\"12345678-1234-7baa-9234-123456789abc\"";
  const std::string third = add + "\"12345678-1234-7caa-9234-123456789abc\"";
  // The commit before has as many operations, none of which resembles another.
  CHECK(together(mirror, {add + "o1", add + "o2", add + "o3"}) == Lines{"ok 11", "ok 12", "ok 13"});
  CHECK(together(mirror, {first, like, first, like, third, first}) ==
        Lines{"ok 14", "ok 15", "ok 15", "ok 15", "ok 16", "ok 16"});
  // So it is with those that make no entry, of which nothing is written before the end.
  const auto name = [](const std::string& letter) {
    return "update_profile user_id=u1 display_name=" + letter + " op_id=\"12345678-4321-7" +
           letter + "aa-9234-123456789abc\"";
  };
  CHECK(together(mirror, {name("A"), name("B"), name("A")}) == Lines{"ok 16", "ok 16", "ok 16"});
  CHECK(query(mirror.path(), "select display_name from profiles") == Lines{"B"});
  // Nor is one taken for another where all are in the file.
  CHECK(together(mirror, {like, first, third, add + "o2"}) ==
        Lines{"ok 16", "ok 16", "ok 16", "ok 16"});
  CHECK(query(mirror.path(), "select count(distinct id), count(*) from credit_ledger") ==
        Lines{"7|7"});
  CHECK(mirror.findings() == Lines{});
}

TEST_CASE("one commit: an operation of a refused batch is not known by those that resemble it") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  const std::string add = "add_credits user_id=u1 amount=1 type=grant op_id=";
  const std::string first = add + "\"12345678-1234-7aaa-9234-123456789abc\"";
  const std::string like = add + "\"12345678-1234-7baa-9234-123456789abc\"";
  CHECK(together(mirror, {first, "batch ops=( " + like + " ; expire_credits user_id=u1 amount=99 )",
                          first, like, like}) ==
        Lines{"ok 11", "insufficient_credits 11 index=1", "ok 11", "ok 12", "ok 12"});
  CHECK(mirror.findings() == Lines{});
}

/// What the mirror shows, and what it is to push.
Lines shown(TemporaryMirror& mirror) {
  Lines lines;
  for (const char* table : views) {
    for (const std::string& row :
         query(mirror.path(), std::string("select * from ") + table + " order by id"))
      lines.push_back(std::string(table) + ": " + row);
  }
  REQUIRE(Replica(mirror.engine()).each_pending([&](const PendingOperation& pending) {
    lines.push_back(std::to_string(pending.number) + ": " + trace_line(pending.command));
    return true;
  }));
  return lines;
}

TEST_CASE(
    "one commit: what is refused between operations takes nothing with it and leaves nothing") {
  TemporaryMirror apart;
  TemporaryMirror shared;
  const Rows rows =
      a_day() + Rows{{"create_draft draft_id=d1 session_token=S prompt_text=P", "ok -"},
                     {"delete_project project_id=p3 user_id=u3", "ok 10"},
                     {"create_job job_id=j9 project_id=p1 user_id=u1", "ok 10"}};
  std::vector<Command> commands;
  std::vector<std::string> expected;
  LineMaker refused;
  int days = 10;
  for (const Row& row : rows) {
    const std::string line = apart.lines.line(row.line);
    expected.push_back(apart.apply_line(line));
    commands.push_back(parse_trace_line(line).value());
    commands.push_back(
        parse_trace_line(refused.line("batch ops=( create_user user_id=u9 email=\"a@b\" ; "
                                      "create_user user_id=u9 ; sweep grace=1 )"))
            .value());
    // An id of a later day has what this commit did flushed, in the midst of a batch.
    const std::string id = "\"01" + std::to_string(days++) + "0000-0000-7000-8000-000000000001\"";
    commands.push_back(
        parse_trace_line(
            refused.line("batch ops=( add_credits user_id=u1 amount=5 type=grant note=N ; "
                         "add_credits user_id=u1 amount=6 type=grant op_id=" +
                         id +
                         " ; claim_draft session_token=S user_id=u1 ; "
                         "expire_credits user_id=u1 amount=999 )"))
            .value());
    commands.push_back(parse_trace_line(line).value());  // Once more: known, or refused again.
  }
  const auto verdicts = shared.submit(std::move(commands));
  REQUIRE(verdicts.size() == 4 * expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CHECK(result_line(verdicts[4 * i]) == expected[i]);
    CHECK(verdicts[4 * i + 1].code != Code::ok);
    CHECK(verdicts[4 * i + 2].code != Code::ok);
    CHECK(verdicts[4 * i + 3].code == verdicts[4 * i].code);
  }
  CHECK(shown(shared) == shown(apart));
  CHECK(shared.findings() == Lines{});
  shared.reopen();
  CHECK(shown(shared) == shown(apart));
}

TEST_CASE("one commit: behind a refused batch an op_id is known past one that resembles it") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  // They make no entry, so that nothing of them is written before the end.
  const auto name = [](const std::string& letter) {
    return "update_profile user_id=u1 display_name=" + letter + " op_id=\"12345678-4321-7" +
           letter + "aa-9234-123456789abc\"";
  };
  const std::string refused =
      "batch ops=( update_profile user_id=u1 ; expire_credits user_id=u1 amount=99 )";
  CHECK(together(mirror, {name("A"), refused, name("B"), name("A")}) ==
        Lines{"ok 10", "insufficient_credits 10 index=1", "ok 10", "ok 10"});
  CHECK(query(mirror.path(), "select display_name from profiles") == Lines{"B"});
}

TEST_CASE("one commit: what another engine did behind a refused batch is seen") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  auto other = Engine::open(mirror.path(), TemporaryMirror::fast());
  REQUIRE(other.has_value());
  CHECK(together(mirror,
                 {"add_credits user_id=u1 amount=1 type=grant",
                  "batch ops=( add_credits user_id=u1 amount=1 type=grant ; add_credits "
                  "user_id=u1 amount=1 type=grant ; expire_credits user_id=u1 amount=99 )"}) ==
        Lines{"ok 11", "insufficient_credits 11 index=2"});
  CHECK(other->apply(AddCredits{user_id(1), Credits{1}, "grant"}));
  CHECK(mirror.balance() == 12);
}

TEST_CASE("a refusal does not free the numbers of rows that went before") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  const std::string make = "create_voice_profile user_id=u1 name=N audio_path=A voice_profile_id=";
  CHECK(together(mirror, {make + "v1", "delete_voice_profile voice_profile_id=v1 user_id=u1"}) ==
        Lines{"ok 10", "ok 10"});
  CHECK(together(mirror, {"expire_credits user_id=u1 amount=99", "update_profile user_id=u1"}) ==
        Lines{"insufficient_credits 10", "ok 10"});
  mirror.reopen();
  CHECK(mirror.apply(make + "v2") == "ok 10");
  CHECK(query(mirror.path(), "select v from tally_voice_profile") == Lines{"2"});
}

TEST_CASE("one commit: an id of another version is not new behind one that is asked for") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  // As ids of version 7 of that time would begin.
  const std::string strange = "\"019bd000-0000-4000-8000-000000000001\"";
  const std::string usual = "\"019bd000-0001-7000-8000-000000000001\"";
  const std::string add = "add_credits user_id=u1 amount=1 type=grant op_id=";
  CHECK(together(mirror, {add + strange, add + usual, add + strange}) ==
        Lines{"ok 11", "ok 12", "ok 12"});
  const auto make = [](const std::string& id) {
    return "create_job project_id=p1 user_id=u1 job_id=" + id;
  };
  CHECK(together(mirror, {make(strange), make(usual), make(strange)}) ==
        Lines{"ok 12", "ok 12", "already_exists 12"});
  // It differs from the first in what its steps' ids replace.
  CHECK(together(mirror, {make("\"019be000-0000-4000-8000-000000000001\""),
                          make("\"019be000-0001-7000-8000-000000000001\""),
                          make("\"019be000-0000-5a00-8000-000000000001\"")}) ==
        Lines{"ok 12", "ok 12", "ok 12"});
  CHECK(query(mirror.path(), "select count(distinct id), count(*) from job_steps") ==
        Lines{"48|48"});
  CHECK(mirror.findings() == Lines{});
}

TEST_CASE("one commit: each operation takes one number, and one for each entry that it makes") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  const Lines before = query(mirror.path(), "select max(o) from tally_operation");
  together(mirror, {"update_profile user_id=u1 display_name=A", "update_profile user_id=u1",
                    "reserve_credits user_id=u1 job_id=j1 amount=4",
                    "finalize_job_credits job_id=j1 final_cost=1",
                    "update_profile user_id=u1 display_name=B"});
  CHECK(query(mirror.path(),
              "select o - " + before.at(0) + " from tally_operation order by o desc limit 5") ==
        Lines{"7", "4", "3", "2", "1"});
}

/// The bytes of the outbox's segments.
std::vector<std::int64_t> segment_sizes(const TemporaryMirror& mirror) {
  std::vector<std::int64_t> sizes;
  for (const std::string& size :
       query(mirror.path(), "select length(body) from tally_outbox order by n"))
    sizes.push_back(std::stoll(size));
  return sizes;
}

TEST_CASE("one commit: an outbox that grows large is written in pieces, each record once") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  const std::size_t before = segment_sizes(mirror).size();
  std::vector<Command> commands;
  for (int i = 0; i < 400; ++i) {
    UpdateProfile update{user_id(1)};
    update.notification_prefs = Json{json_string(text_of(60'000))};
    commands.push_back(mirror->make_command(update));
  }
  for (const Verdict& verdict : mirror.submit(std::move(commands)))
    REQUIRE(verdict.code == Code::ok);
  std::vector<std::int64_t> sizes = segment_sizes(mirror);
  sizes.erase(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(before));
  CHECK(sizes.size() == 3);
  constexpr std::int64_t large = 16 << 20;
  for (const std::int64_t size : sizes) CHECK(size < large + 200'000);
  const std::vector<std::int64_t> numbers = pending_numbers(mirror);
  CHECK(numbers.size() == 403);
  for (std::size_t i = 0; i < numbers.size(); ++i)
    CHECK(numbers[i] == static_cast<std::int64_t>(i) + 1);
  CHECK(mirror.findings() == Lines{});
}

TEST_CASE("a commit that fails leaves nothing of its own to the next") {
  Options options = TemporaryMirror::fast();
  options.busy_timeout = std::chrono::milliseconds{20};
  TemporaryMirror mirror(options);
  mirror.make_users(1);
  const std::vector<std::int64_t> before = pending_numbers(mirror);
  const AddCredits add{user_id(1), Credits{1}, "grant"};
  {
    const RawTransaction other(mirror.path());
    const auto added = mirror->apply(add, {op_id(1), time_at(1)});
    REQUIRE_FALSE(added);
    CHECK(added.error().code == Code::busy);
  }
  CHECK(mirror->apply(add, {op_id(2), time_at(2)}));
  CHECK(mirror->apply(add, {op_id(1), time_at(1)}));
  std::vector<std::int64_t> expected = before;
  for (int i = 0; i < 2; ++i) expected.push_back(expected.back() + 1);
  CHECK(pending_numbers(mirror) == expected);
  CHECK(mirror.balance() == 12);
  mirror.reopen();
  CHECK(mirror.balance() == 12);
  CHECK(mirror.findings() == Lines{});
}

}  // namespace
}  // namespace tally::test
