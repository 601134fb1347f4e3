// A server that lies: answers of a real canonical, changed on their way. Each is taken whole or
// refused whole; what is pending stays; the engine goes on, and takes the honest answer afterwards.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <random>

#include "answer.hpp"
#include "postgres.hpp"
#include "sync/machines.hpp"
#include "sync/world.hpp"

namespace tally::test {
namespace {

using Page = PulledUser::Page;

/// What canonical answers to a push.
Reply honest_reply(Session& session, const std::string& token, const Push& push) {
  std::string told;
  const sync::Answer answer = call_canonical(session, {.push = push, .token = token}, told);
  REQUIRE_MESSAGE(answer.trouble.error_class == sync::ErrorClass::none, told);
  return answer.reply;
}

/// A mirror that waits for an answer with more pending behind what it has sent, and that answer.
class Scene {
 public:
  explicit Scene(bool of_one_user) : world_(500) {
    Kind kind;
    kind.capabilities = {Capability::author, Capability::worker};
    if (of_one_user) kind.scope = user_id(1);
    device_ = std::make_unique<Device>(*world_.canonical, world_.database, kind);
    device_->mirror.lines = world_.lines;
    world_.apply("create_user user_id=u2 email=bob@x");
    device_->sync();
    work();
    device_->syncer.reset();
    const auto push = Replica(engine()).next_push(9, 1'000'000);
    REQUIRE(push.has_value());
    REQUIRE(push->operations.size() == 9);
    honest = honest_reply(world_.session, device_->options.token, *push);
    REQUIRE(honest.verdicts.size() == 9);
    REQUIRE(honest.users.size() == 1);
    last_ = Replica(engine()).state().value()->acked + pending();
    device_->mirror.close();
    copy_mirror(device_->mirror.path(), base_);
    start();
    digests_ = digests();
  }

  /// As it was before any answer.
  void start() {
    device_->mirror.close();
    copy_mirror(base_, device_->mirror.path());
    device_->mirror.open();
  }
  /// The code that the answer is refused with; nothing where it is taken.
  std::optional<Code> give(const Reply& reply) {
    const auto taken = Replica(engine()).take(reply);
    if (!taken) {
      CHECK_MESSAGE(taken.error().code != Code::internal, taken.error().detail);
      CHECK(digests() == digests_);
      check_pending(honest.acked);
      return taken.error().code;
    }
    check_pending(reply.watermark);
    const auto report = device_->mirror->audit();
    REQUIRE_MESSAGE(report.has_value(), (report ? "" : report.error().detail));
    for (const Finding& finding : report->findings) {
      // What canonical says of the ledger may be wrong by itself: then it is said.
      const bool is_told = finding.invariant == "I2" || finding.invariant == "I5";
      CHECK_MESSAGE((is_told || !taken->diverged.empty()),
                    finding.invariant << " " << finding.detail);
      CHECK(finding.invariant != "I1");
      CHECK(finding.invariant != "file");
    }
    return std::nullopt;
  }
  /// The engine goes on, and the honest answer is taken, after one that was refused.
  void check_goes_on() {
    REQUIRE(engine().apply(UpdateProject{.project_id = project_id(1), .user_id = user_id(1)}));
    const auto taken = Replica(engine()).take(honest);
    REQUIRE_MESSAGE(taken.has_value(), (taken ? "" : taken.error().detail));
    CHECK(taken->diverged.empty());
    CHECK(device_->mirror.findings() == std::vector<std::string>{});
  }
  Engine& engine() { return device_->mirror.engine(); }

  Reply honest;

 private:
  void work() {
    const auto ok = [&](const std::string& line) {
      REQUIRE_MESSAGE(device_->mirror.apply(line).starts_with("ok"), line);
    };
    ok("lease_credits lease_id=l1 user_id=u1 amount=50 ttl=3600");
    ok("update_profile user_id=u1 display_name=Ann");
    ok("create_voice_profile voice_profile_id=v1 user_id=u1 name=N audio_path=A");
    ok("create_project project_id=p2 user_id=u1 title=T prompt_text=P niche_preset=facts"
       " target_minutes=1 voice_profile_id=v1");
    ok("reserve_credits user_id=u1 job_id=j1 amount=8");
    ok("advance_job job_id=j1 to=QUEUED");
    ok("advance_job job_id=j1 to=SCRIPTING");
    ok("report_progress job_id=j1 step_name=SCRIPTING progress_pct=40");
    ok("add_asset asset_id=a1 job_id=j1 type=image url=u storage_path=s");
    ok("create_draft draft_id=d1 user_id=u1 session_token=s prompt_text=P");
    ok("reserve_credits user_id=u1 job_id=j2 amount=7");
    ok("release_job_credits job_id=j2");
    ok("create_job job_id=j7 project_id=p2 user_id=u1");
  }
  std::int64_t pending() { return Replica(engine()).state().value()->pending; }
  std::string digests() {
    std::string text;
    const auto digest = engine().digest(user_id(1));
    REQUIRE(digest.has_value());
    for (const TableDigest& table : *digest)
      text += std::to_string(table.rows) + ":" + std::to_string(table.digest) + " ";
    return text + std::to_string(engine().balance(user_id(1)).value().value);
  }
  /// All that had no verdict is pending, under its number.
  void check_pending(std::int64_t acked) {
    CHECK(Replica(engine()).state().value()->acked == acked);
    const auto push = Replica(engine()).next_push(1'000, 100'000'000);
    REQUIRE_MESSAGE(push.has_value(), (push ? "" : push.error().detail));
    std::int64_t n = acked;
    for (const PushedOperation& operation : push->operations) CHECK(operation.number == ++n);
    CHECK(n >= last_);
  }

  World world_;
  std::unique_ptr<Device> device_{};
  TemporaryFolder folder_;
  std::filesystem::path base_ = folder_.path() / "base.db";
  std::int64_t last_ = 0;
  std::string digests_{};
};

struct Lie {
  std::string what;
  std::function<void(Reply&)> tell;
  bool is_refused = true;
};

PulledUser::Row& row_of_table(Reply& reply, const std::string& table) {
  auto& rows = reply.users.at(0).rows;
  const auto found = std::find_if(rows.begin(), rows.end(),
                                  [&](const PulledUser::Row& row) { return row.table == table; });
  REQUIRE_MESSAGE(found != rows.end(), table);
  return *found;
}

std::vector<Lie> lies() {
  constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  const auto set = [](const std::string& table, std::size_t place,
                      std::optional<std::string> text) {
    return [=](Reply& reply) { row_of_table(reply, table).texts.at(place) = text; };
  };
  return {
      {"a verdict is missing in the middle",
       [](Reply& r) { r.verdicts.erase(r.verdicts.begin() + 3); }},
      {"a verdict is missing at the end", [](Reply& r) { r.verdicts.pop_back(); }},
      {"verdicts come in another order", [](Reply& r) { std::swap(r.verdicts[0], r.verdicts[1]); }},
      {"a verdict comes twice", [](Reply& r) { r.verdicts.push_back(r.verdicts.back()); }},
      {"a verdict on what was never sent",
       [](Reply& r) {
         r.verdicts.push_back({++r.watermark, Code::ok, {}, {}});
       }},
      {"a verdict on a number far from any", [](Reply& r) { r.verdicts[0].number = huge; }},
      {"a verdict that is no refusal", [](Reply& r) { r.verdicts[0].code = Code::busy; }},
      {"a verdict that is no answer", [](Reply& r) { r.verdicts[0].code = Code::pending; }},
      {"the watermark is huge", [](Reply& r) { r.watermark = huge; }},
      {"the watermark is behind what was acknowledged", [](Reply& r) { r.watermark = -1; }},
      {"it is the answer to another push", [](Reply& r) { ++r.acked; }},
      {"it is the answer to another cursor", [](Reply& r) { r.asked = "{}"; }},
      {"the balance is huge", [](Reply& r) { r.users[0].state->balance = huge; }},
      {"what is held is huge", [](Reply& r) { r.users[0].state->held = -huge; }},
      {"there are more entries than can be", [](Reply& r) { r.users[0].state->entries = huge; }},
      {"a lease of less than nothing", [](Reply& r) { r.leases.at(0).unspent = Credits{-5}; }},
      {"a lease beyond an INTEGER",
       [](Reply& r) { r.leases.at(0).unspent = Credits{2'147'483'648}; }},
      {"rows of another user", set("projects", 1, user_id(2).text())},
      {"an entry of another user", set("credit_ledger", 1, user_id(2).text())},
      {"a profile of another user", set("profiles", 0, user_id(2).text())},
      {"a job of another user", set("jobs", 2, user_id(2).text())},
      {"an entry beyond an INTEGER", set("credit_ledger", 3, "99999999999")},
      {"an entry whose amount is no number", set("credit_ledger", 3, "8 credits")},
      {"an entry whose number is none", set("credit_ledger", 9, "one")},
      {"an entry of a type that there is not", set("credit_ledger", 2, "gift")},
      {"an entry without an id", set("credit_ledger", 0, std::nullopt)},
      {"a job of a project that there is not", set("jobs", 1, project_id(99).text())},
      {"a job in a state that there is not", set("jobs", 3, "DONE")},
      {"a job that holds less than nothing", set("jobs", 16, "-1")},
      {"a job that is 101 % done", set("jobs", 4, "101")},
      {"a project for 99 minutes", set("projects", 5, "99")},
      {"a time that is none", set("projects", 10, "yesterday")},
      {"a row that is too short", [](Reply& r) { row_of_table(r, "projects").texts.resize(3); }},
      {"a row without columns", [](Reply& r) { row_of_table(r, "projects").texts.clear(); }},
      {"the balance is another", [](Reply& r) { r.users[0].state->balance += 100; }, false},
      {"the entries do not add up", set("credit_ledger", 3, "77"), false},
      {"the number of entries is another", [](Reply& r) { r.users[0].state->entries += 2; }, false},
      {"a tombstone for what there is not",
       [](Reply& r) { r.users[0].gone.emplace_back("projects", id('p', 4'711)); }, false},
      {"a tombstone for a table that there is not",
       [](Reply& r) { r.users[0].gone.emplace_back("sqlite_schema", id('p', 1)); }, false},
      {"a row of a table that there is not",
       [](Reply& r) { row_of_table(r, "profiles").table = "sqlite_schema"; }},
      {"every id is the same",
       [](Reply& r) {
         for (auto& row : r.users[0].rows) {
           if (row.table != "credit_ledger" && row.table != "profiles")
             row.texts.at(0) = project_id(1).text();
         }
       },
       false},
      {"a page comes behind its user's state",
       [](Reply& r) {
         PulledUser page = r.users[0];
         page.state.reset();
         page.page = Page::next;
         r.users.push_back(page);
       },
       false},
      {"the state says that pages came, and none did",
       [](Reply& r) { r.users[0].state->with_pages = true; }, false},
      {"everything is rejected",
       [](Reply& r) {
         for (auto& verdict : r.verdicts) verdict.code = Code::not_permitted;
       },
       false},
  };
}

// ---- random ones --------------------------------------------------------------------------------

class Mutator {
 public:
  Mutator(std::uint64_t seed, const Reply& honest) : random_(seed) {
    for (const PulledUser& user : honest.users) {
      for (const PulledUser::Row& row : user.rows) {
        for (const auto& text : row.texts) texts_.push_back(text);
      }
    }
    for (const char* text : {"", "-1", "9223372036854775807", "0", "2147483648", "\xff\xfe", "{}",
                             "00000000-0000-0000-0000-000000000000", "9999-12-31T23:59:59.999999Z"})
      texts_.emplace_back(text);
    texts_.emplace_back(std::nullopt);
  }
  Reply mutated(const Reply& honest) {
    Reply reply = honest;
    for (std::uint64_t i = 1 + pick(3); i > 0; --i) mutate(reply);
    return reply;
  }

 private:
  std::uint64_t pick(std::uint64_t n) { return random_() % n; }
  std::int64_t number() {
    constexpr std::int64_t numbers[] = {0,
                                        1,
                                        -1,
                                        7,
                                        500,
                                        2'147'483'647,
                                        2'147'483'648,
                                        std::numeric_limits<std::int64_t>::max(),
                                        std::numeric_limits<std::int64_t>::min()};
    return numbers[pick(std::size(numbers))];
  }
  void mutate_row(PulledUser& user) {
    if (user.rows.empty()) return;
    const auto at = static_cast<std::ptrdiff_t>(pick(user.rows.size()));
    PulledUser::Row& row = user.rows[static_cast<std::size_t>(at)];
    switch (pick(7)) {
      case 0:
        user.rows.erase(user.rows.begin() + at);
        break;
      case 1:
        user.rows.push_back(PulledUser::Row(row));
        break;
      case 2:
        std::swap(row, user.rows[pick(user.rows.size())]);
        break;
      case 3:
        row.texts.resize(pick(row.texts.size() + 2));
        break;
      case 4:
        row.table = user.rows[pick(user.rows.size())].table;
        break;
      default:
        if (!row.texts.empty()) row.texts[pick(row.texts.size())] = texts_[pick(texts_.size())];
    }
  }
  void mutate_user(Reply& reply) {
    if (reply.users.empty()) return;
    PulledUser& user = reply.users[pick(reply.users.size())];
    if (user.state && pick(8) == 0) {
      PulledState& state = *user.state;
      std::int64_t* const fields[] = {&state.since, &state.since_entries, &state.entries,
                                      &state.balance, &state.held};
      *fields[pick(5)] = number();
      return;
    }
    switch (pick(24)) {
      case 0:
        user.state.reset();
        break;
      case 1:
        user.page = static_cast<Page>(pick(3));
        break;
      case 2:
        if (user.state) user.state->with_pages = !user.state->with_pages;
        break;
      case 3:
        user.gone.emplace_back(pick(2) == 0 ? "jobs" : "projects", project_id(1 + pick(3)));
        break;
      case 4:
        user.user_id = user_id(pick(4));
        break;
      case 5:
        reply.users.push_back(PulledUser(user));
        break;
      default:
        mutate_row(user);
    }
  }
  void mutate(Reply& reply) {
    switch (pick(20)) {
      case 0:
        reply.watermark = pick(2) == 0 ? number() : reply.watermark + 1;
        break;
      case 1:
        reply.acked = number();
        break;
      case 2:
        if (!reply.verdicts.empty())
          reply.verdicts[pick(reply.verdicts.size())].code = codes[pick(std::size(codes))].code;
        break;
      case 3:
        if (!reply.verdicts.empty()) reply.verdicts[pick(reply.verdicts.size())].number = number();
        break;
      case 4:
        if (!reply.verdicts.empty()) reply.verdicts.pop_back();
        break;
      case 5:
        reply.leases.push_back({user_id(pick(3)), id('l', pick(3)), Credits{number()}, {}});
        break;
      case 6:
        reply.complete = CompleteRange{user_id(pick(3)), user_id(pick(3))};
        break;
      case 7:
        reply.cursor = "\"";
        break;
      default:
        mutate_user(reply);
    }
  }

  std::mt19937_64 random_;
  std::vector<std::optional<std::string>> texts_{};
};

}  // namespace

TEST_CASE("a lying server: each lie is taken whole or refused whole, and the device goes on") {
  for (const bool of_one_user : {true, false}) {
    CAPTURE(of_one_user);
    Scene scene(of_one_user);
    for (const Lie& lie : lies()) {
      CAPTURE(lie.what);
      Reply reply = scene.honest;
      lie.tell(reply);
      const auto refused = scene.give(reply);
      CHECK(refused.has_value() == lie.is_refused);
      if (refused) scene.check_goes_on();
      scene.start();
    }
  }
}

TEST_CASE("a lying server: what it says of a user who is not the device's is refused") {
  Scene scene(true);
  Reply reply = scene.honest;
  PulledUser other;
  other.user_id = user_id(2);
  other.state.emplace();
  reply.users.push_back(other);
  CHECK(scene.give(reply) == Code::invalid_argument);
  reply = scene.honest;
  reply.leases.push_back({user_id(2), id('l', 9), Credits{5}, time_at(100'000)});
  CHECK(scene.give(reply) == Code::invalid_argument);
  scene.check_goes_on();
}

TEST_CASE("a lying server: honest answers changed at random, by the thousand") {
  int refused = 0;
  int taken = 0;
  for (const bool of_one_user : {true, false}) {
    Scene scene(of_one_user);
    Mutator mutator(of_one_user ? 7 : 8, scene.honest);
    const int rounds = long_run() ? 50'000 : 750;
    for (int round = 0; round < rounds; ++round) {
      CAPTURE(of_one_user);
      CAPTURE(round);
      if (scene.give(mutator.mutated(scene.honest))) {
        ++refused;
        continue;
      }
      ++taken;
      scene.start();
    }
    scene.check_goes_on();
  }
  MESSAGE(refused << " refused whole, " << taken << " taken whole");
  CHECK(refused > 100);
  CHECK(taken > 100);
}

}  // namespace tally::test
