// The network at its worst. An exchange is cut at every byte in both directions, and stalled, and
// nothing is lost, doubled or told twice.
//
// By default every 61st byte is tried, and the first and last ones; TALLY_TEST_LONG=1 tries each,
// which takes about half an hour, so more than ctest allows: run sync_tests itself.

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <set>

#include "model/trace_generator.hpp"
#include "support/proxy.hpp"
#include "sync/watched_device.hpp"

namespace tally::test {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr const char* device_role = "cut_device";
constexpr int slowness = TALLY_TEST_SLOWNESS;  ///< How much longer everything takes here.

/// A database that a whole case uses, each of its devices for a user of its own.
struct Scene {
  Database database;
  std::optional<sync::Canonical> canonical{};
  std::optional<Session> operators{};
  Proxy proxy{Database::server_folder()};

  Scene() {
    database.migrate();
    canonical.emplace(sync::Canonical::connect(database.conninfo()).value());
    operators.emplace(database.conninfo());
    make_device_role(*operators, device_role);
  }
  std::string conninfo() const {
    return database.conninfo() + proxy.conninfo() + " user=" + device_role;
  }
};

/// User number n, its device, and the lines for both halves, whose ids are this user's alone.
class Story {
 public:
  Story(Scene& scene, std::uint64_t n) : scene_(scene), n_(n) {
    behind_its_back({"create_user user_id=U",
                     "create_project project_id=P1 user_id=U title=Whales "
                     "prompt_text=Sing niche_preset=facts target_minutes=3"});
    device_ = std::make_unique<WatchedDevice>(*scene.canonical, scene.conninfo(), user_id(n));
  }

  WatchedDevice& device() { return *device_; }
  Uuid user() const { return user_id(n_); }

  /// In lines, U is this user, and a capital letter with a digit is an id of this story.
  std::string line(const std::string& text) {
    std::string out;
    const std::string with_op_id = text + " op_id=O" + std::to_string(++operations_);
    for (std::size_t i = 0; i < with_op_id.size(); ++i) {
      const char c = with_op_id[i];
      const bool is_id = i > 0 && with_op_id[i - 1] == '=' && c >= 'A' && c <= 'Z';
      const bool is_user = is_id && c == 'U';
      const bool is_number = i + 1 < with_op_id.size() && std::isdigit(with_op_id[i + 1]) != 0;
      if (is_user) {
        out += "u" + std::to_string(n_);
      } else if (is_id && is_number) {
        std::size_t used = 0;
        const auto number = std::stoull(with_op_id.substr(i + 1), &used);
        out += static_cast<char>(std::tolower(c)) + std::to_string(n_ * 100 + number);
        i += used;
      } else {
        out += c;
      }
    }
    return lines_.line(out);
  }
  void behind_its_back(const std::vector<std::string>& texts) {
    std::vector<std::string> lines;
    for (const std::string& text : texts) lines.push_back(line(text));
    apply_to_canonical(*scene_.canonical, lines);
  }
  void offline(const std::vector<std::string>& texts) {
    for (const std::string& text : texts)
      REQUIRE_MESSAGE(short_answer(device_->mirror.apply_line(line(text))).starts_with("ok"), text);
  }

  /// First contact; a day offline, with work that canonical knows nothing of on both sides; the
  /// push and its verdicts; and a last call that confirms them.
  void exchange() {
    device_->sync();
    behind_its_back({"expire_credits user_id=U amount=5",
                     "create_job job_id=J9 project_id=P1 user_id=U",
                     "create_voice_profile voice_profile_id=V1 user_id=U name=Ada audio_path=a"});
    offline({"create_job job_id=J1 project_id=P1 user_id=U",
             "reserve_credits user_id=U job_id=J1 amount=3", "advance_job job_id=J1 to=QUEUED",
             "advance_job job_id=J1 to=SCRIPTING",
             "report_progress job_id=J1 step_name=SCRIPTING progress_pct=50",
             "add_asset asset_id=A1 job_id=J1 type=image url=u storage_path=s",
             "finalize_job_credits job_id=J1 final_cost=2",
             "batch ops=(add_credits user_id=U amount=2 type=grant op_id=I1; "
             "expire_credits user_id=U amount=1 op_id=I2)",
             "create_job job_id=J2 project_id=P1 user_id=U",
             // Here there are 9, on canonical 4.
             "reserve_credits user_id=U job_id=J2 amount=5", "advance_job job_id=J2 to=QUEUED",
             "update_profile user_id=U display_name=Ada"});
    device_->sync();
    device_->sync();
  }

  /// What there must be after exchange(), however it went.
  void check() {
    CHECK(difference(*device_, *scene_.canonical) == "");
    CHECK(device_->mirror->balance(user())->value == 10 - 5 - 3 + 1 + 2 - 1);
    // One each of the user, both expiries, the hold and the grant; finalizing appends three.
    CHECK(device_->mirror->check(user())->entries == 8);
    CHECK(device_->mirror->pending_operations().value() == 0);
    CHECK(device_->mirror.findings() == std::vector<std::string>{});
    CHECK(device_->told == "reserve_credits insufficient_credits; advance_job stale_reservation; ");
    CHECK(device_->diverged == 0);
    CHECK(scene_.operators->ask_one(
              "select watermark || ' of which ' || confirmed || ' confirmed, verdicts ' || (select "
              "count(*) from tally_sync.verdicts v where v.device_id = d.device_id) from "
              "tally_sync.devices d where scope_user = '" +
              user().text() + "'") == "12 of which 12 confirmed, verdicts 0");
  }

 private:
  Scene& scene_;
  std::uint64_t n_;
  std::uint64_t operations_ = 0;
  LineMaker lines_;
  std::unique_ptr<WatchedDevice> device_{};
};

void check_ledger(Session& operators) {
  for (const std::string& finding : operators.ask("select explanation from tally.audit()"))
    CHECK_MESSAGE(false, finding);
}

std::vector<std::uint64_t> offsets(std::uint64_t bytes) {
  std::vector<std::uint64_t> out;
  const std::uint64_t stride = long_run() ? 1 : 61;
  for (std::uint64_t at = 0; at <= bytes; ++at) {
    const bool at_an_end = at < 3 || at + 3 > bytes;
    if (at_an_end || at % stride == 0) out.push_back(at);
  }
  return out;
}

TEST_CASE(
    "an exchange that is cut at any byte loses nothing, doubles nothing, tells nothing twice") {
  Scene scene;
  std::uint64_t n = 1;
  Story uncut(scene, n);
  uncut.exchange();
  uncut.check();
  const std::uint64_t bytes[] = {scene.proxy.bytes(Direction::to_server),
                                 scene.proxy.bytes(Direction::to_client)};
  std::uint64_t cuts = 0;
  for (const Direction direction : {Direction::to_server, Direction::to_client}) {
    const bool up = direction == Direction::to_server;
    for (const std::uint64_t at : offsets(bytes[up ? 0 : 1])) {
      CAPTURE(up);
      CAPTURE(at);
      Story story(scene, ++n);
      scene.proxy.cut_after(direction, at);
      story.exchange();
      // Where it was too short by a byte or two, it was not cut, and the next one must not be.
      scene.proxy.resume();
      story.check();
      cuts = scene.proxy.cuts();
    }
  }
  MESSAGE("bytes to the server ", bytes[0], ", to the client ", bytes[1], "; cut ", cuts, " times");
  // The bytes are the first exchange's; another may be shorter, and its last offsets are behind its
  // end.
  CHECK(cuts * 10 >= (n - 1) * 8);
  check_ledger(*scene.operators);
}

TEST_CASE("a network that is cut again and again: two devices over all users converge") {
  const char* given = std::getenv("TALLY_TEST_SEED");
  const std::uint64_t first = given == nullptr ? 1 : std::strtoull(given, nullptr, 10);
  const std::uint64_t seeds = given != nullptr ? 1 : long_run() ? 40 : 4;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    CAPTURE(seed);
    Scene scene;
    std::mt19937_64 random(seed);
    std::vector<std::unique_ptr<WatchedDevice>> devices;
    std::set<std::pair<std::size_t, std::int64_t>> told;
    for (std::size_t d = 0; d < 2; ++d) {
      devices.push_back(std::make_unique<WatchedDevice>(*scene.canonical, scene.conninfo()));
      devices[d]->options.callbacks.rejected = [&told, d](const RejectedOperation& rejected) {
        const bool is_new = told.insert({d, rejected.number}).second;
        CHECK(is_new);
      };
      // Two calls at a time for what there is to push.
      devices[d]->options.operations_max = 5;
      devices[d]->connect();
    }
    model::GeneratorOptions options;
    options.seed = seed;
    options.operations = 300;
    options.users = 3;
    for (const std::string& line : model::generate_trace(options)) {
      WatchedDevice& device = *devices[random() % 2];
      if (auto command = parse_trace_line(line)) device.mirror.submit({std::move(*command)});
      if (random() % 10 != 0) continue;
      const Direction direction = random() % 2 == 0 ? Direction::to_server : Direction::to_client;
      scene.proxy.cut_after(direction, random() % 8'000);
      devices[random() % 2]->sync();
    }
    scene.proxy.resume();
    for (int round = 0; round < 2; ++round) {
      for (auto& device : devices) device->sync();
    }
    for (auto& device : devices) {
      CHECK(difference(*device, *scene.canonical) == "");
      CHECK(device->diverged == 0);
      CHECK(device->mirror->pending_operations().value() == 0);
      CHECK(device->mirror.findings() == std::vector<std::string>{});
    }
    check_ledger(*scene.operators);
    MESSAGE("seed ", seed, ": ", scene.proxy.cuts(), " cuts, ", told.size(), " rejected");
  }
}

/// The device works on while its syncer's call hangs; then the network is there again.
void stall(Story& story, Scene& scene, Direction direction, std::uint64_t at) {
  WatchedDevice& device = story.device();
  device.options.call_timeout = slowness * milliseconds{150};
  device.connect();
  device.sync();
  story.offline({"create_job job_id=J1 project_id=P1 user_id=U",
                 "reserve_credits user_id=U job_id=J1 amount=3"});
  scene.proxy.stall_after(direction, at);
  device.syncer->start();
  REQUIRE(scene.proxy.wait_until_stalled(patience));

  // For some call timeouts, so that calls are given up and made again, into the stall as well.
  std::int64_t added = 0;
  Clock::duration longest{};
  for (const auto end = Clock::now() + slowness * milliseconds{700}; Clock::now() < end; ++added) {
    const auto began = Clock::now();
    story.offline({"add_credits user_id=U amount=1 type=grant"});
    REQUIRE(device.mirror->balance(story.user())->value == 7 + added + 1);
    longest = std::max(longest, Clock::now() - began);
    std::this_thread::sleep_for(milliseconds{5});
  }
  CHECK(longest < slowness * milliseconds{500});
  CHECK(scene.proxy.stalled());
  const auto state = Replica(device.mirror.engine()).state();
  REQUIRE(state.has_value());
  CHECK((*state)->error_class == "transient");
  CHECK((*state)->pending >= added);

  scene.proxy.resume();
  const auto end = Clock::now() + patience;
  while (device.mirror->pending_operations().value() > 0 && Clock::now() < end)
    std::this_thread::sleep_for(milliseconds{5});
  device.syncer->stop();
  device.sync();
  CHECK(device.error_class == sync::ErrorClass::transient);
  CHECK(device.told == "");
  CHECK(device.diverged == 0);
  CHECK(device.mirror->balance(story.user())->value == 7 + added);
  CHECK(device.mirror->check(story.user())->entries == 2 + added);
  CHECK(difference(device, *scene.canonical) == "");
}

TEST_CASE(
    "a server that stalls blocks nothing here, and is given up, asked again and synced with") {
  Scene scene;
  std::uint64_t n = 0;
  // Before the call's first byte (which arrives when nobody waits for its answer any more, and
  // must not fork the device), in the midst of it, and in its answer, when canonical has committed
  // what the device does not know of.
  for (const std::uint64_t at : {0U, 1U, 400U, 900U}) {
    CAPTURE(at);
    Story up(scene, ++n);
    stall(up, scene, Direction::to_server, at);
    Story down(scene, ++n);
    stall(down, scene, Direction::to_client, at);
  }
  check_ledger(*scene.operators);
}

TEST_CASE("a stall within the last bytes of an answer is given up like any other") {
  Scene scene;
  std::uint64_t n = 0;
  const auto pull = [&](Story& story) {
    const std::uint64_t before = scene.proxy.bytes(Direction::to_client);
    story.device().sync();
    return scene.proxy.bytes(Direction::to_client) - before;
  };
  Story model(scene, ++n);
  model.device().sync();
  const std::uint64_t bytes = pull(model);
  // Until before its last byte: with that it is whole.
  for (std::uint64_t left = 1; left <= 40; left += long_run() ? 1 : 3) {
    CAPTURE(left);
    Story story(scene, ++n);
    WatchedDevice& device = story.device();
    device.options.call_timeout = milliseconds{50};
    device.connect();
    device.sync();
    scene.proxy.stall_after(Direction::to_client, bytes - left);
    const auto began = Clock::now();
    const auto done = device.syncer->run_until_synced(milliseconds{150});
    CHECK(!done.has_value());
    CHECK(Clock::now() - began < milliseconds{1'000});
    CHECK(scene.proxy.stalled());
    scene.proxy.resume();
    device.sync();
    CHECK(difference(device, *scene.canonical) == "");
  }
}

/// Until the device's call gives up, canonical having executed it; then the answer may come.
template <class Call>
void answered_late(Scene& scene, Call&& call) {
  scene.proxy.stall_after(Direction::to_client, 1);
  CHECK(!call(milliseconds{300}).has_value());
  REQUIRE(scene.proxy.wait_until_stalled(patience));
}

TEST_CASE("synced is what canonical had when it was asked for, not what a call before it found") {
  Scene scene;
  Story story(scene, 1);
  WatchedDevice& device = story.device();
  device.sync();
  answered_late(scene, [&](milliseconds time) { return device.syncer->run_until_synced(time); });
  story.behind_its_back({"add_credits user_id=U amount=5 type=grant"});
  scene.proxy.resume();
  device.sync();
  CHECK(device.mirror->balance(story.user())->value == 15);
}

TEST_CASE("an enrol_anew that is not answered in time has no effect later, and can be made again") {
  Scene scene;
  Story story(scene, 1);
  WatchedDevice& device = story.device();
  device.sync();
  const std::string old = device.options.token;
  const auto made = scene.canonical->add_device(
      {.name = "anew", .capabilities = device.kind.capabilities, .scope = device.kind.scope});
  REQUIRE(made.has_value());
  device.options.token = made->token;
  device.connect();
  const auto is_device = [&] {
    return (*Replica(device.mirror.engine()).state())->enrolment.device_id;
  };
  const Uuid before = is_device();
  const auto enrol_anew = [&](milliseconds time) { return device.syncer->enrol_anew(time); };

  answered_late(scene, enrol_anew);
  scene.proxy.resume();
  device.syncer->resume(old);
  device.sync();
  CHECK(is_device() == before);

  // With the other's token and not anew it is refused, and halted.
  device.syncer->resume(made->token);
  answered_late(scene, enrol_anew);
  scene.proxy.resume();
  CHECK(!device.syncer->run_until_synced(patience).has_value());
  CHECK(device.syncer->step().state == sync::SyncState::paused);
  const auto done = device.syncer->enrol_anew(patience);
  CHECK_MESSAGE(done.has_value(), (done ? "" : done.error().detail));
  CHECK(is_device() == made->device_id);
  device.sync();
  CHECK(difference(device, *scene.canonical) == "");
}

TEST_CASE("a job whose claim is answered too late is the next claim's, and no other is claimed") {
  Scene scene;
  Story story(scene, 1);
  WatchedDevice& device = story.device();
  device.sync();
  const auto claim_next = [&](milliseconds time) { return device.syncer->claim_next(3'600, time); };
  const auto queue = [&](const std::string& job) {
    story.behind_its_back({"create_job job_id=" + job + " project_id=P1 user_id=U",
                           "reserve_credits user_id=U job_id=" + job + " amount=1",
                           "advance_job job_id=" + job + " to=QUEUED"});
  };
  const auto claimed = [&] {
    return scene.operators->ask_one(
        "select count(*) from tally.job_state where claim_until > now()");
  };
  // There was none when it was asked for; now there is.
  answered_late(scene, claim_next);
  queue("J1");
  scene.proxy.resume();
  CHECK(claim_next(patience).value() == job_id(101));
  CHECK(claimed() == "1");

  // The answer is taken by a call that asks for none, then by the next that asks.
  queue("J2");
  queue("J3");
  answered_late(scene, claim_next);
  scene.proxy.resume();
  device.sync();
  const std::optional<Uuid> second = claim_next(patience).value();
  CHECK(claimed() == "2");
  answered_late(scene, claim_next);
  scene.proxy.resume();
  const std::optional<Uuid> third = claim_next(patience).value();
  CHECK(claimed() == "3");
  REQUIRE(second.has_value());
  REQUIRE(third.has_value());
  CHECK(std::set{*second, *third} == std::set{job_id(102), job_id(103)});
  CHECK(!claim_next(patience)->has_value());
}

TEST_CASE("a slow network is not a stalled one: what takes longer than a call's timeout arrives") {
  Scene scene;
  Story story(scene, 1);
  WatchedDevice& device = story.device();
  device.options.call_timeout =
      slowness * milliseconds{3'000};  // PostgreSQL's own time is in it, too.
  device.connect();
  device.sync();
  scene.proxy.throttle(333 / slowness);
  for (std::uint64_t n = 1; n <= 3; ++n) {
    REQUIRE(device.mirror->apply(CreateDraft{id('d', n), "session", story.user(), text_of(700'000)})
                .has_value());
  }
  const auto began = Clock::now();
  device.sync();
  CHECK(Clock::now() - began > 2 * device.options.call_timeout);
  CHECK_MESSAGE(device.error == "", device.error);
  CHECK(difference(device, *scene.canonical) == "");
}

TEST_CASE("a delayed network takes its time and changes nothing") {
  Scene scene;
  scene.proxy.delay(milliseconds{20});
  Story story(scene, 1);
  const auto began = Clock::now();
  story.exchange();
  // Three calls and the making of the connection, each there and back.
  CHECK(Clock::now() - began >= milliseconds{4 * 2 * 20});
  story.check();
}

}  // namespace
}  // namespace tally::test
