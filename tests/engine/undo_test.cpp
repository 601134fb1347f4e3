// White box: what the outbox keeps of each operation is enough to push it and to undo it. Rebase
// stands on this.
#include <doctest/doctest.h>

#include <SQLiteCpp/Database.h>

#include <set>

#include "codec.hpp"
#include "store.hpp"
#include "support/broken_mirror.hpp"
#include "support/views.hpp"
#include "work.hpp"

namespace tally::test {
namespace {

/// One record of an outbox segment, as work.cpp writes it.
struct Record {
  std::int64_t u = 0;
  std::int64_t first_number = 0;
  Command command;
  std::string images;
};

/// The segments' bodies in order, as hex.
std::vector<std::string> segments(const std::filesystem::path& path) {
  std::vector<std::string> bodies;
  for (const std::string& hex : query(path, "select hex(body) from tally_outbox order by n")) {
    std::string body;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
      body += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    }
    bodies.push_back(body);
  }
  return bodies;
}

std::vector<Record> records(const std::filesystem::path& path) {
  std::vector<Record> all;
  for (const std::string& body : segments(path)) {
    Decoder segment(body);
    while (!segment.at_end()) {
      Decoder in(segment.take(segment.get_varint()));
      Record record;
      in.get(record.u);
      in.get(record.first_number);
      record.command = get_command(in);
      while (!in.at_end()) record.images += in.take(1);
      all.push_back(std::move(record));
    }
  }
  return all;
}

void undo(const std::filesystem::path& path, const Record& record) {
  SQLite::Database db(utf8(path), SQLite::OPEN_READWRITE);
  db.exec("pragma foreign_keys = on; begin immediate");
  {
    Store store(db);
    store.begin(Store::Known::nothing);
    Decoder images(record.images);
    store.restore_images(images);
    // Behind them, how many numbers it took.
    CHECK(images.get_varint() >= 1);
    CHECK(images.at_end());
    store.erase_operations_from(record.first_number);
    store.flush();
  }
  db.exec("commit");
}

Dump dump_of(const std::filesystem::path& path) {
  return dump(path, {"tally_outbox", "tally_meta"});
}

/// Every operation that is pushed, each at least once where it has something to undo.
Rows every_operation() {
  const std::string early = " at=\"2026-01-18T00:00:00.500000Z\"";
  return users_with_jobs(2) +
         Rows{
             {"create_user user_id=u3 email=\"a@b\" display_name=Ada", "ok 10"},
             {"update_profile user_id=u3 avatar_url=\"/a\" "
              "notification_prefs={\"low_credits\":true}",
              "ok 10"},
             {"update_profile user_id=u3 avatar_url=null notification_prefs=null "
              "stripe_customer_id=cus_1",
              "ok 10"},
             {"add_credits user_id=u3 amount=5 type=purchase note=N stripe_payment_id=pi_1",
              "ok 15"},
             {"add_credits user_id=u3 amount=5 type=purchase stripe_payment_id=pi_1", "ok 15"},
             {"expire_credits user_id=u3 amount=2 stripe_payment_id=dp_1", "ok 13"},
             {"create_draft draft_id=d1 session_token=S prompt_text=P template_id=T options=[1]",
              "ok -"},
             {"create_draft draft_id=d2 session_token=S prompt_text=P", "ok -"},
             {"create_draft draft_id=d3 session_token=X user_id=u3 prompt_text=P" + early, "ok 13"},
             {"update_draft draft_id=d1 session_token=S prompt_text=Q template_id=null", "ok -"},
             {"claim_draft session_token=S user_id=u3", "ok 13 id=" + id('d', 2).text()},
             {"update_draft draft_id=d1 user_id=u3 options=null", "ok 13"},
             {"create_voice_profile voice_profile_id=v1 user_id=u1 name=N audio_path=A", "ok 10"},
             {"create_project project_id=p5 user_id=u1 title=T prompt_text=P niche_preset=facts "
              "target_minutes=1 "
              "voice_profile_id=v1 settings={\"a\":1.50}",
              "ok 10"},
             {"update_project project_id=p1 user_id=u1 voice_profile_id=v1 title=U "
              "transcript_text=X",
              "ok 10"},
             {"delete_voice_profile voice_profile_id=v1 user_id=u1", "ok 10"},
             {"update_project project_id=p1 user_id=u1 transcript_text=null settings=null",
              "ok 10"},
             {"reserve_credits user_id=u1 job_id=j1 amount=8", "ok 2"},
             {"advance_job job_id=j1 to=QUEUED status_message=Soon", "ok 2"},
             {"claim_job job_id=j1 ttl=60", "ok 2"},
             {"renew_claim job_id=j1 ttl=120", "ok 2"},
             {"advance_job job_id=j1 to=SCRIPTING", "ok 2"},
             {"drop_claim job_id=j1", "ok 2"},
             {"report_progress job_id=j1 step_name=SCRIPTING progress_pct=30 status_message=M "
              "logs_url=L "
              "artifacts_json={\"x\":[]}",
              "ok 2"},
             {"report_progress job_id=j1 step_name=SCRIPTING progress_pct=60", "ok 2"},
             {"add_asset asset_id=a1 job_id=j1 type=video url=U storage_path=S size_bytes=7",
              "ok 2"},
             {"advance_job job_id=j1 to=VOICE_GEN", "ok 2"},
             {"claim_job job_id=j1 ttl=60", "ok 2"},
             {"fail_job job_id=j1 error_code=GPU error_message=Hot", "ok 10"},
             {"retry_job job_id=j1 amount=4", "ok 6"},
             {"release_job_credits job_id=j1", "ok 10"},
             {"fail_job job_id=j1 error_code=E", "ok 10"},
             {"retry_job job_id=j1 amount=4", "ok 6"},
             {"advance_job job_id=j1 to=VOICE_GEN", "ok 6"},
             {"advance_job job_id=j1 to=ALIGNMENT", "ok 6"},
             {"advance_job job_id=j1 to=VISUAL_PLAN", "ok 6"},
             {"advance_job job_id=j1 to=IMAGE_GEN", "ok 6"},
             {"advance_job job_id=j1 to=TIMELINE", "ok 6"},
             {"advance_job job_id=j1 to=RENDERING", "ok 6"},
             {"advance_job job_id=j1 to=PACKAGING", "ok 6"},
             {"complete_job job_id=j1 final_cost=3 output_url=\"/o\" manifest_json=[]", "ok 7"},
             {"reserve_credits user_id=u2 job_id=j2 amount=2", "ok 8"},
             {"finalize_job_credits job_id=j2 final_cost=5", "ok 5"},
             {"batch ops=(create_voice_profile voice_profile_id=v2 user_id=u2 name=N audio_path=A; "
              "create_draft "
              "draft_id=d5 session_token=S user_id=u2 prompt_text=P)",
              "ok 5"},
             {"delete_project project_id=p1 user_id=u1", "ok 7"},
             {"create_project project_id=p1 user_id=u2 title=T prompt_text=P niche_preset=facts "
              "target_minutes=1",
              "ok 5"},
             {"create_job job_id=j1 project_id=p1 user_id=u2", "ok 5"}};
}

}  // namespace

TEST_CASE("undo: each operation's record, taken back, leaves every table as it was before") {
  TemporaryMirror mirror;
  mirror.close();
  std::set<std::string> undone;
  for (const Row& row : every_operation()) {
    CAPTURE(row.line);
    const Dump before = dump_of(mirror.path());
    const std::size_t records_before = records(mirror.path()).size();
    mirror.open();
    REQUIRE(mirror.apply(row.line) == row.answer);
    mirror.close();
    REQUIRE(difference(before, dump_of(mirror.path())) != "");

    const std::filesystem::path copy = mirror.folder() / "copy.db";
    copy_mirror(mirror.path(), copy);
    const std::vector<Record> all = records(copy);
    REQUIRE(all.size() == records_before + 1);
    undo(copy, all.back());
    CHECK(difference(before, dump_of(copy)) == "");
    undone.insert(row.line.substr(0, row.line.find(' ')));
  }
  // All but the housekeeping of a half and what needs a device.
  for (const OperationRow& row : operation_table) {
    CAPTURE(row.name);
    CHECK(undone.contains(std::string(row.name)) == (row.pushed && !row.needs_device));
  }
}

TEST_CASE(
    "undo: a batch whose operations write the same rows, taken back, leaves every table as it was "
    "before") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1));
  mirror.close();
  const Dump before = dump_of(mirror.path());
  mirror.open();
  mirror.check(
      {{"batch ops=(reserve_credits user_id=u1 job_id=j1 amount=5; advance_job job_id=j1 "
        "to=QUEUED; "
        "advance_job job_id=j1 to=SCRIPTING; fail_job job_id=j1 error_code=E; retry_job job_id=j1 "
        "amount=2; "
        "add_credits user_id=u1 amount=1 type=grant)",
        "ok 9"}});
  mirror.close();
  undo(mirror.path(), records(mirror.path()).back());
  CHECK(difference(before, dump_of(mirror.path())) == "");
}

TEST_CASE("undo: a batch that makes a row and deletes it, taken back, leaves no such row") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1));
  mirror.close();
  const Dump before = dump_of(mirror.path());
  mirror.open();
  mirror.check(
      {{"batch ops=(create_voice_profile voice_profile_id=v1 user_id=u1 name=N audio_path=A; "
        "delete_voice_profile voice_profile_id=v1 user_id=u1; delete_project project_id=p1 "
        "user_id=u1; "
        "create_project project_id=p1 user_id=u1 title=T prompt_text=P niche_preset=facts "
        "target_minutes=1; create_job job_id=j1 project_id=p1 user_id=u1)",
        "ok 10"}});
  mirror.close();
  undo(mirror.path(), records(mirror.path()).back());
  CHECK(difference(before, dump_of(mirror.path())) == "");
}

TEST_CASE("undo: everything taken back, latest first, leaves the mirror as it was made") {
  TemporaryMirror mirror;
  const Dump before = dump_of(mirror.path());
  mirror.check(every_operation());
  mirror.close();
  const std::vector<Record> all = records(mirror.path());
  CHECK(all.size() == every_operation().size());
  for (auto record = all.rbegin(); record != all.rend(); ++record) undo(mirror.path(), *record);
  CHECK(difference(before, dump_of(mirror.path())) == "");
}

TEST_CASE(
    "undo: so it is where many operations shared one commit, and with those of several users "
    "between") {
  TemporaryMirror mirror;
  const Dump before = dump_of(mirror.path());
  std::vector<Command> commands;
  for (const Row& row : every_operation())
    commands.push_back(parse_trace_line(mirror.lines.line(row.line)).value());
  for (const Verdict& verdict : mirror.submit(std::move(commands)))
    REQUIRE(verdict.code == Code::ok);
  mirror.close();
  CHECK(segments(mirror.path()).size() == 1);
  const std::vector<Record> all = records(mirror.path());
  CHECK(all.size() == every_operation().size());
  for (auto record = all.rbegin(); record != all.rend(); ++record) undo(mirror.path(), *record);
  CHECK(difference(before, dump_of(mirror.path())) == "");
}

TEST_CASE(
    "undo: one commit of many operations and many commits of one keep the same records of them") {
  TemporaryMirror apart;
  TemporaryMirror together;
  std::vector<Command> commands;
  for (const Row& row : every_operation()) {
    const std::string line = apart.lines.line(row.line);
    apart.apply_line(line);
    commands.push_back(parse_trace_line(line).value());
  }
  (void)together.submit(std::move(commands));
  const std::vector<Record> a = records(apart.path());
  const std::vector<Record> b = records(together.path());
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(trace_line(a[i].command) == trace_line(b[i].command));
    CHECK(a[i].u == b[i].u);
  }
  // The mirror's own keys may differ; what it shows may not.
  for (const char* view : views) {
    CAPTURE(view);
    const std::string rows = std::string("select * from ") + view + " order by id";
    CHECK(query(apart.path(), rows) == query(together.path(), rows));
  }
}

TEST_CASE("outbox: each record's command is the operation that was applied, in order") {
  TemporaryMirror mirror;
  std::vector<std::string> applied;
  for (const Row& row : every_operation()) {
    const std::string line = mirror.lines.line(row.line);
    REQUIRE(short_answer(mirror.apply_line(line)) == row.answer);
    Command command = parse_trace_line(line).value();
    command.reservation.reset();
    applied.push_back(trace_line(command));
  }
  std::vector<std::string> kept;
  for (Record& record : records(mirror.path())) {
    record.command.reservation.reset();
    if (auto* batch = std::get_if<Batch>(&record.command.operation)) {
      for (Command& inner : batch->operations) inner.reservation.reset();
    }
    kept.push_back(trace_line(record.command));
  }
  REQUIRE(kept.size() == applied.size());
  for (std::size_t i = 0; i < kept.size(); ++i) CHECK(kept[i] == applied[i]);
}

TEST_CASE(
    "outbox: a record names the reservation that was the job's latest when the host made the "
    "call") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(1) +
               Rows{{"reserve_credits user_id=u1 job_id=j1 amount=3 op_id=o1", "ok 7"},
                    {"release_job_credits job_id=j1", "ok 10"},
                    {"reserve_credits user_id=u1 job_id=j1 amount=4 op_id=o2", "ok 6"},
                    {"advance_job job_id=j1 to=QUEUED", "ok 6"},
                    {"fail_job job_id=j1 error_code=E", "ok 10"},
                    {"retry_job job_id=j1 amount=5 op_id=o3", "ok 5"},
                    {"release_job_credits job_id=j1", "ok 10"}});
  const std::vector<Record> all = records(mirror.path());
  REQUIRE(all.size() == 10);
  CHECK(all[4].command.reservation == op_id(1));
  CHECK(all[6].command.reservation == op_id(2));
  CHECK(all[7].command.reservation == op_id(2));
  CHECK(all[8].command.reservation == op_id(2));
  CHECK(all[9].command.reservation == op_id(3));
}

TEST_CASE("outbox: numbers have no gaps, and pending_operations counts the records") {
  TemporaryMirror mirror;
  mirror.check(every_operation());
  mirror.check({{"expire_credits user_id=u1 amount=1000", "insufficient_credits 7"},
                {"purge_expired_drafts", "ok -"},
                {"update_profile user_id=u1 op_id=o1", "ok 7"},
                {"update_profile user_id=u1 op_id=o1", "ok 7"}});
  CHECK(
      query(mirror.path(),
            "select count(*) from (select n, coalesce(lag(n + operations) over (order by n), 1) as "
            "expected from tally_outbox) where n <> expected") == std::vector<std::string>{"0"});
  CHECK(mirror->pending_operations().value() ==
        static_cast<std::int64_t>(every_operation().size() + 1));
  CHECK(records(mirror.path()).size() == every_operation().size() + 1);
}

TEST_CASE("outbox: a sweep is pushed as its fail_jobs, never as itself") {
  TemporaryMirror mirror;
  mirror.check(users_with_jobs(2) + job_to("SCRIPTING", 1) + job_to("SCRIPTING", 2));
  const std::size_t before = records(mirror.path()).size();
  mirror.check({{"sweep grace=60 at=\"2026-01-19T00:00:00.000000Z\"", "ok -"}});
  const std::vector<Record> all = records(mirror.path());
  REQUIRE(all.size() == before + 2);
  for (std::size_t i = before; i < all.size(); ++i) {
    REQUIRE(std::holds_alternative<FailJob>(all[i].command.operation));
    const auto& fail = std::get<FailJob>(all[i].command.operation);
    CHECK(fail.error_code == "WORKER_LOST");
    CHECK(fail.job_id == job_id(i - before + 1));
    CHECK(all[i].command.op_id.version() == 4);
  }
}

TEST_CASE(
    "undo: operations that used one key twice, taken back in one transaction, leave the first "
    "row") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  mirror.check(
      {{"create_voice_profile voice_profile_id=v1 user_id=u1 name=A audio_path=A", "ok 10"}});
  mirror.close();
  const Dump before = dump_of(mirror.path());
  mirror.open();
  mirror.check(
      {{"delete_voice_profile voice_profile_id=v1 user_id=u1", "ok 10"},
       {"create_voice_profile voice_profile_id=v2 user_id=u1 name=B audio_path=B", "ok 10"}});
  mirror.close();
  const std::vector<Record> all = records(mirror.path());
  SQLite::Database db(utf8(mirror.path()), SQLite::OPEN_READWRITE);
  db.exec("pragma foreign_keys = on; begin immediate");
  {
    Store store(db);
    store.begin(Store::Known::nothing);
    for (std::size_t i = all.size(); i-- > all.size() - 2;) {
      Decoder images(all[i].images);
      store.restore_images(images);
    }
    store.erase_operations_from(all[all.size() - 2].first_number);
    store.flush();
  }
  db.exec("commit");
  CHECK(difference(before, dump_of(mirror.path())) == "");
}

}  // namespace tally::test
