// Ids are chosen by whoever makes a row, and free again once it is deleted: what one user's row had
// may be another's when the deletion is taken back.
#include <tuple>

#include "engine/fed_device.hpp"

namespace tally::test {
namespace {

PulledUser::Row fed_project(std::uint64_t n, std::uint64_t user) {
  Texts texts{project_id(n).text(), user_id(user).text(), "T", "P", "facts", "1"};
  texts.resize(9);
  texts.insert(texts.end(), {std::nullopt, fed_at, std::nullopt});
  return row("projects", std::move(texts));
}

PulledUser::Row fed_asset(std::uint64_t n, std::uint64_t job) {
  return row("assets", {id('a', n).text(), job_id(job).text(), "video", "U", "S", std::nullopt,
                        std::nullopt, std::nullopt, fed_at});
}

PulledUser::Row fed_voice(std::uint64_t n, std::uint64_t user) {
  return row("voice_profiles", {id('v', n).text(), user_id(user).text(), "N", "A", "custom",
                                std::nullopt, "{}", fed_at});
}

/// Canonical tells of u2, from the start: a project, and a job of it with an asset.
void feed_second(FedDevice& device, std::uint64_t project, std::uint64_t job, std::uint64_t asset) {
  Reply reply = device.reply();
  reply.leases.push_back({user_id(1), id('l', 1), Credits{10}, time_at(3600)});
  PulledUser& user = reply.users.emplace_back();
  user.user_id = user_id(2);
  user.rows.push_back(fed_project(project, 2));
  add(user.rows, {job});
  user.rows[1].texts[1] = project_id(project).text();
  user.rows[1].texts[2] = user_id(2).text();
  user.rows.push_back(fed_asset(asset, job));
  user.state.emplace();
  device.take(reply);
}

/// The first rows are deleted on canonical, too.
void feed_deletion(FedDevice& device) {
  Reply reply = device.reply();
  reply.leases.push_back({user_id(1), id('l', 1), Credits{10}, time_at(3600)});
  PulledUser& user = reply.users.emplace_back();
  user.user_id = user_id(1);
  user.gone = {{"projects", project_id(1)},
               {"jobs", job_id(1)},
               {"job_steps", job_id(1)},
               {"assets", id('a', 1)}};
  PulledState& state = user.state.emplace();
  state.since = 1;
  state.since_entries = state.entries = device.entries;
  state.balance = 9;
  state.held = 10;
  device.take(reply);
}

/// u1's project, with its job and an asset, as canonical has them.
struct Deletion : FedDevice {
  Deletion() : FedDevice(all, {{1}}, SpendPolicy::optimistic) {
    feed(*this, {fed_asset(1, 1)}, 4, 10);
    REQUIRE(owners() == Lines{"p 1 u1", "j 1 u1", "a 1 j1"});
    REQUIRE(mirror.apply("delete_project project_id=p1 user_id=u1") == "ok 4");
    REQUIRE(owners().empty());
  }

  /// Whose each row is, in the order of their kinds and ids.
  Lines owners() {
    const auto last = [](const std::string& text) { return text.substr(text.size() - 1); };
    Lines lines;
    for (const auto& [table, kind, whose, owner] : {std::tuple{"projects", "p ", "user_id", " u"},
                                                    {"jobs", "j ", "user_id", " u"},
                                                    {"assets", "a ", "job_id", " j"}}) {
      for (const std::string& ids :
           query(mirror.path(),
                 std::string("select id || ' ' || ") + whose + " from " + table + " order by id")) {
        const auto space = ids.find(' ');
        lines.push_back(kind + last(ids.substr(0, space)) + owner + last(ids));
      }
    }
    return lines;
  }
};

TEST_CASE("a deletion is taken back though another user's rows have the ids by now") {
  Deletion device;
  for (const char* line :
       {"create_user user_id=u2",
        "create_project project_id=p1 user_id=u2 title=T prompt_text=P niche_preset=facts"
        " target_minutes=1",
        "create_job job_id=j1 project_id=p1 user_id=u2",
        "add_asset asset_id=a1 job_id=j1 type=video url=U storage_path=S"})
    CHECK(device.mirror.apply(line).substr(0, 2) == "ok");
  const Lines taken{"p 1 u2", "j 1 u2", "a 1 j1"};
  REQUIRE(device.owners() == taken);
  // Nothing is said of u2, whose operations have to give way all the same.
  feed(device, {entry(3, "grant", 5, 9)}, 9, 10);
  CHECK(device.owners() == taken);
  CHECK(pending(device) == Lines{"1 ok", "2 ok", "3 ok", "4 ok", "5 ok"});
  CHECK(device.mirror->check(user_id(2))->pending_operations == 4);
  CHECK(device.mirror.findings().empty());
  const auto push = device.replica.next_push(10, 10'000);
  REQUIRE(push.has_value());
  for (const PushedOperation& sent : push->operations)
    CHECK(sent.user_id == user_id(sent.number == 1 ? 1 : 2));

  SUBCASE("and stays taken back") {
    Reply reply = device.reply();
    reply.watermark = 1;
    reply.verdicts.push_back({1, Code::not_permitted});
    CHECK(device.take(reply).rejected.size() == 1);
    CHECK(device.owners() == Lines{"p 1 u1", "j 1 u1", "a 1 j1"});
    CHECK(pending(device) ==
          Lines{"2 ok", "3 already_exists", "4 already_exists", "5 already_exists"});
  }
  SUBCASE("and becomes another device's") {
    REQUIRE(device.replica.enrol_anew({id('x', 2), all, std::nullopt}));
    CHECK(device.owners() == Lines{"p 1 u1", "j 1 u1", "a 1 j1"});
  }
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("a row whose id canonical gave to another user stays away, with what belongs to it") {
  Deletion device;
  Lines taken;
  std::string again = "1 project_not_found";
  SUBCASE("an asset's") {
    taken = {"p 2 u2", "j 2 u2", "a 1 j2"};
    feed_second(device, 2, 2, 1);
  }
  SUBCASE("a job's") {
    taken = {"p 2 u2", "j 1 u2", "a 2 j1"};
    feed_second(device, 2, 1, 2);
  }
  SUBCASE("a project's") {
    taken = {"p 1 u2", "j 2 u2", "a 2 j2"};
    again = "1 not_owner";
    feed_second(device, 1, 2, 2);
  }
  REQUIRE(device.owners() == taken);
  feed(device, {entry(3, "grant", 5, 9)}, 9, 10);
  CHECK(device.owners() == taken);
  feed_deletion(device);
  CHECK(device.owners() == taken);
  CHECK(pending(device) == Lines{again});
  CHECK(device.mirror.balance() == 9);
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("a page does not take what canonical gave to another user since it was made") {
  FedDevice device(all, {}, SpendPolicy::optimistic);
  // u1 is told of from the start: a first page with rows that are deleted before the last comes.
  Reply first = device.reply();
  PulledUser& page = first.users.emplace_back();
  page.user_id = user_id(1);
  page.page = PulledUser::Page::first;
  page.rows = {fed_voice(1, 1), fed_project(1, 1), fed_project(3, 1)};
  page.rows[1].texts[6] = page.rows[2].texts[6] = id('v', 1).text();
  add(page.rows, {1});
  page.rows.push_back(row("job_steps", {job_id(1).derived(1).text(), job_id(1).text(), "SCRIPTING",
                                        "1", "running", "50", std::nullopt, std::nullopt,
                                        std::nullopt, "{}", std::nullopt, std::nullopt}));
  page.rows.push_back(fed_asset(1, 1));
  page.rows.push_back(entry(1, "grant", 14, 14));
  page.rows.push_back(entry(2, "reserve", -3, 11, job_id(1).text()));
  device.take(first);

  Reply second = device.reply();
  PulledUser& other = second.users.emplace_back();
  other.user_id = user_id(2);
  other.rows = {fed_voice(1, 2), fed_project(1, 2)};
  other.rows[1].texts[6] = id('v', 1).text();
  add(other.rows, {1});
  other.rows[2].texts[2] = user_id(2).text();
  other.rows.push_back(fed_asset(1, 1));
  other.state.emplace();
  device.take(second);
  const auto all_but_p3 = [&] {
    Lines lines;
    for (const char* view : {"voice_profiles", "projects", "jobs", "job_steps", "assets"}) {
      for (const std::string& texts :
           query(device.mirror.path(), std::string("select * from ") + view + " order by id")) {
        if (texts.find(project_id(3).text()) != 0) lines.push_back(texts);
      }
    }
    return lines;
  };
  const Lines of_second = all_but_p3();
  REQUIRE(of_second.size() == 12);

  Reply last = device.reply();
  PulledUser& user = last.users.emplace_back();
  user.user_id = user_id(1);
  user.rows = {fed_project(3, 1), entry(3, "refund", 3, 14)};
  user.gone = {{"voice_profiles", id('v', 1)},
               {"projects", project_id(1)},
               {"jobs", job_id(1)},
               {"job_steps", job_id(1)},
               {"assets", id('a', 1)}};
  PulledState& state = user.state.emplace();
  state.with_pages = true;
  state.entries = 3;
  state.balance = 14;
  device.take(last);
  CHECK(query(device.mirror.path(), "select user_id, voice_profile_id from projects where id = '" +
                                        project_id(3).text() + "'") ==
        Lines{user_id(1).text() + "|NULL"});
  CHECK(all_but_p3() == of_second);
  CHECK(query(device.mirror.path(), "select count(job_id) from credit_ledger") == Lines{"0"});
  CHECK(device.mirror.findings().empty());
}

TEST_CASE("a row that canonical gave to another user leaves the first one's, and what was its") {
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  PulledUser::Row project = fed_project(1, 1);
  project.texts[6] = id('v', 1).text();
  feed(device, {fed_voice(1, 1), project, fed_asset(1, 1)}, 4, 10);
  const auto given_to = [&](std::vector<PulledUser::Row> rows) {
    Reply reply = device.reply();
    reply.leases.push_back({user_id(1), id('l', 1), Credits{10}, time_at(3600)});
    PulledUser& user = reply.users.emplace_back();
    user.user_id = user_id(2);
    user.rows = std::move(rows);
    user.state.emplace();
    device.take(reply);
  };
  const auto of_first = [&](const char* view, const char* column) {
    return query(device.mirror.path(), std::string("select ") + column + " from " + view +
                                           " where user_id = '" + user_id(1).text() + "'");
  };
  given_to({fed_voice(1, 2)});
  CHECK(of_first("projects", "voice_profile_id") == Lines{"NULL"});
  CHECK(of_first("voice_profiles", "id").empty());
  given_to({fed_voice(1, 2), fed_project(1, 2)});
  CHECK(of_first("jobs", "id").empty());
  CHECK(query(device.mirror.path(), "select id from assets").empty());
  // Told from the start, the second has nothing of the first one's to lose.
  given_to({});
  CHECK(query(device.mirror.path(), "select id from projects").empty());
  CHECK(device.mirror.findings().empty());
}

}  // namespace
}  // namespace tally::test
