// A syncer by the C ABI alone, against a real canonical.

#include <poll.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "c/support.hpp"
#include "sync/world.hpp"

namespace tally::c_test {
namespace {

using test::eventually;
using test::World;

constexpr std::int64_t patience_ms = 30'000;

const tally_uuid u1 = id('u', 1);
const tally_uuid j1 = id('j', 1);
const tally_uuid j2 = id('j', 2);

/// A device of canonical's: a mirror and a syncer, with everything that the callbacks said.
class Device {
 public:
  Device(World& world, std::vector<Capability> capabilities, std::optional<Uuid> scope,
         tally_options options = fast())
      : conninfo_(world.database.conninfo()), mirror(0, options) {
    const auto made = world.canonical->add_device(
        {.name = "c", .capabilities = std::move(capabilities), .scope = scope});
    REQUIRE(made.has_value());
    token_ = made->token;
    callbacks_.context = this;
    callbacks_.rejected = [](void* context, const char* json, std::size_t length) {
      of(context).rejected.push_back(json::parse(std::string_view(json, length)));
    };
    callbacks_.verdict = [](void* context, std::int64_t number, const tally_uuid* op_id,
                            tally_code code) {
      CHECK(number > 0);
      of(context).verdicts.push_back(text_of(*op_id) + " " + tally_code_name(code));
    };
    callbacks_.progress = [](void* context, std::int64_t acked, std::int64_t) {
      of(context).acked = acked;
    };
    callbacks_.state = [](void* context, std::int32_t state, std::int32_t error_class, const char*,
                          std::size_t) {
      of(context).state = state;
      of(context).error_class = error_class;
      if (of(context).on_state) of(context).on_state();
    };
    callbacks_.changed = [](void* context, const tally_uuid* ids, std::size_t count) {
      for (std::size_t i = 0; i < count; ++i) of(context).changed.push_back(text_of(ids[i]));
    };
    connect();
  }
  explicit Device(World& world, tally_options options = fast())
      : Device(world, {Capability::author, Capability::worker}, test::user_id(1), options) {}
  ~Device() { tally_syncer_free(syncer); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  static Device& of(void* context) { return *static_cast<Device*>(context); }

  tally_sync_options options() {
    tally_sync_options made = TALLY_SYNC_OPTIONS_INIT;
    made.conninfo = conninfo_.data();
    made.conninfo_length = conninfo_.size();
    made.token = token_.data();
    made.token_length = token_.size();
    made.backoff_base_ms = 5;
    made.poll_interval_ms = 50;
    made.callbacks = &callbacks_;
    return made;
  }
  void connect() { connect(options()); }
  void connect(const tally_sync_options& with) {
    tally_syncer_free(syncer);
    syncer = nullptr;
    Told error;
    REQUIRE_MESSAGE(tally_syncer_new(mirror, &with, &syncer, &error) == TALLY_OK, error.detail);
  }
  std::int32_t run() {
    std::int32_t reached = -1;
    Told error;
    REQUIRE_MESSAGE(tally_syncer_run(syncer, patience_ms, &reached, &error) == TALLY_OK,
                    error.detail);
    return reached;
  }
  tally_code reserve(const tally_uuid& job, std::int64_t amount) {
    return tally_reserve_credits(mirror, &u1, &job, amount, nullptr, nullptr, nullptr);
  }
  json status() {
    return read_json(
        [&](tally_text** text) { return tally_engine_sync_status(mirror, text, nullptr); });
  }
  json rejected_kept() {
    return read_json(
        [&](tally_text** text) { return tally_engine_rejected(mirror, text, nullptr); });
  }
  const std::string& token() const { return token_; }

 private:
  std::string conninfo_;
  std::string token_;
  tally_sync_callbacks callbacks_ = TALLY_SYNC_CALLBACKS_INIT;

 public:
  Mirror mirror;
  tally_syncer* syncer = nullptr;
  std::vector<json> rejected{};
  std::vector<std::string> verdicts{};
  std::vector<std::string> changed{};
  std::atomic<std::int64_t> acked{-1};
  std::atomic<std::int32_t> state{-1};
  std::atomic<std::int32_t> error_class{-1};
  std::function<void()> on_state{};
};

TEST_CASE("run: a device is enrolled and fed, pushes what it did, and says how far it is") {
  World world;
  Device device(world);
  CHECK(device.status().is_null());
  CHECK(device.run() == TALLY_SYNC_SYNCED);
  CHECK(device.mirror.balance() == 10);
  CHECK(device.changed == std::vector<std::string>{text_of(u1)});
  CHECK(device.reserve(j1, 8) == TALLY_OK);
  CHECK(device.status()["pending"] == 1);
  CHECK(device.run() == TALLY_SYNC_SYNCED);
  CHECK(world.balance() == 2);
  CHECK(device.acked == 1);
  CHECK(device.state == TALLY_SYNC_SYNCED);
  const json status = device.status();
  CHECK(status["scope"] == text_of(u1));
  CHECK(status["capabilities"] == json{"author", "worker"});
  CHECK(status["acked"] == 1);
  CHECK(status["pending"] == 0);
  CHECK(status["rejected"] == 0);
  CHECK(status["error"].is_null());
  CHECK(status["synced_at"].is_string());
  CHECK(device.run() == TALLY_SYNC_SYNCED);
  CHECK(tally_syncer_run(device.syncer, patience_ms, nullptr, nullptr) == TALLY_OK);
}

TEST_CASE("step: a host's own loop waits for what it is told, and comes to the end") {
  World world;
  Device device(world);
  bool waited_for_socket = false;
  tally_wait wait = TALLY_WAIT_INIT;
  REQUIRE(eventually([&] {
    REQUIRE(tally_syncer_step(device.syncer, &wait, nullptr) == TALLY_OK);
    if (wait.state == TALLY_SYNC_SYNCED) return true;
    waited_for_socket = waited_for_socket || wait.socket >= 0;
    pollfd socket{
        static_cast<int>(wait.socket),
        static_cast<short>((wait.readable != 0 ? POLLIN : 0) | (wait.writable != 0 ? POLLOUT : 0)),
        0};
    poll(&socket, 1, static_cast<int>(wait.timeout_ms));
    return false;
  }));
  CHECK(waited_for_socket);
  CHECK(wait.socket == -1);
  CHECK(device.mirror.balance() == 10);
}

TEST_CASE(
    "start: a thread of its own syncs; other calls have their turn meanwhile; stop is asked") {
  World world;
  Device device(world);
  REQUIRE(tally_syncer_start(device.syncer, nullptr) == TALLY_OK);
  CHECK(eventually([&] { return device.state == TALLY_SYNC_SYNCED; }));
  CHECK(device.reserve(j1, 3) == TALLY_OK);
  CHECK(eventually([&] { return world.balance() == 7; }));
  // The thread rests while this has the syncer, and goes on then.
  std::int32_t equal = -1;
  CHECK(tally_syncer_verify(device.syncer, &u1, patience_ms, &equal, nullptr) == TALLY_OK);
  CHECK(equal == 1);
  CHECK(device.reserve(j2, 3) == TALLY_OK);
  CHECK(eventually([&] { return world.balance() == 4; }));
  std::thread([&] { tally_syncer_stop(device.syncer); }).join();
  tally_syncer_stop(device.syncer);
  // Stopped: what is done now stays here, also after a call that had a turn of its own.
  std::int32_t found = -1;
  tally_uuid job{};
  CHECK(tally_syncer_claim_next(device.syncer, 60, patience_ms, &job, &found, nullptr) == TALLY_OK);
  CHECK(device.mirror.apply({{"op", "release_job_credits"}, {"job_id", text_of(j1)}}) == TALLY_OK);
  std::this_thread::sleep_for(std::chrono::milliseconds{300});
  CHECK(world.balance() == 4);
  REQUIRE(tally_syncer_start(device.syncer, nullptr) == TALLY_OK);
  REQUIRE(tally_syncer_start(device.syncer, nullptr) == TALLY_OK);  // Once more is no more.
  CHECK(eventually([&] { return world.balance() == 7; }));
  tally_syncer_free(device.syncer);  // Waits for the thread.
  device.syncer = nullptr;
}

TEST_CASE("a callback may stop the syncer, which then ends; nothing else of it") {
  World world;
  Device device(world);
  std::atomic<int> refused{0};
  std::atomic<bool> stopped{false};
  device.on_state = [&] {
    std::int32_t state = 0;
    tally_wait wait = TALLY_WAIT_INIT;
    if (tally_syncer_run(device.syncer, 10, &state, nullptr) == TALLY_INVALID_ARGUMENT) ++refused;
    if (tally_syncer_step(device.syncer, &wait, nullptr) == TALLY_INVALID_ARGUMENT) ++refused;
    if (tally_syncer_start(device.syncer, nullptr) == TALLY_INVALID_ARGUMENT) ++refused;
    if (device.state != TALLY_SYNC_SYNCED) return;
    tally_syncer_stop(device.syncer);
    stopped = true;
  };
  REQUIRE(tally_syncer_start(device.syncer, nullptr) == TALLY_OK);
  CHECK(eventually([&] { return stopped.load(); }));
  CHECK(refused >= 6);
  CHECK(device.reserve(j1, 3) == TALLY_OK);
  std::this_thread::sleep_for(std::chrono::milliseconds{300});
  CHECK(world.balance() == 10);
}

TEST_CASE("an engine's callback within a step may not call the syncer, but stop it") {
  World world;
  struct Heard {
    tally_syncer* syncer = nullptr;
    std::vector<tally_code> answers{};
  } heard;
  tally_callbacks callbacks = TALLY_CALLBACKS_INIT;
  callbacks.context = &heard;
  callbacks.job_failed = [](void* context, const tally_uuid*, const tally_uuid*) {
    auto& of = *static_cast<Heard*>(context);
    of.answers.push_back(tally_syncer_run(of.syncer, 10, nullptr, nullptr));
    tally_syncer_stop(of.syncer);
  };
  tally_options options = fast();
  options.callbacks = &callbacks;
  Device device(world, options);
  heard.syncer = device.syncer;
  std::atomic<bool> failed{false};
  device.on_state = [&] {
    if (device.state != TALLY_SYNC_SYNCED || failed) return;
    CHECK(tally_fail_job(device.mirror, &j1, "X", 1, nullptr, 0, nullptr, nullptr, nullptr) ==
          TALLY_OK);
    failed = true;
  };
  SUBCASE("on the caller's thread") { device.run(); }
  SUBCASE("on its own") {
    REQUIRE(tally_syncer_start(device.syncer, nullptr) == TALLY_OK);
    CHECK(eventually([&] { return failed.load(); }));
    tally_syncer_free(device.syncer);
    device.syncer = nullptr;
  }
  REQUIRE(heard.answers.size() == 1);
  CHECK(heard.answers[0] == TALLY_INVALID_ARGUMENT);
}

TEST_CASE("what canonical rejects is told and kept, until it is retried or dismissed") {
  World world;
  Device device(world);
  device.run();
  CHECK(world.apply("expire_credits user_id=u1 amount=7") == "ok");
  CHECK(device.reserve(j1, 8) == TALLY_OK);
  CHECK(device.run() == TALLY_SYNC_IDLE);
  REQUIRE(device.rejected.size() == 1);
  const json kept = device.rejected_kept();
  CHECK(kept == json::array({device.rejected[0]}));
  CHECK(kept[0]["result"] == "insufficient_credits");
  CHECK(kept[0]["index"].is_null());
  CHECK(kept[0]["operation"]["op"] == "reserve_credits");
  CHECK(kept[0]["operation"]["amount"] == 8);
  CHECK(device.mirror.balance() == 3);

  const std::int64_t number = kept[0]["number"];
  Told error;
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  CHECK(tally_engine_retry(device.mirror, number, &receipt, &error) == TALLY_INSUFFICIENT_CREDITS);
  CHECK(text_of(receipt.op_id) == kept[0]["operation"]["op_id"]);
  CHECK(device.rejected_kept().size() == 1);
  CHECK(world.apply("add_credits user_id=u1 amount=9 type=grant") == "ok");
  device.run();
  CHECK(tally_engine_retry(device.mirror, number, &receipt, &error) == TALLY_OK);
  CHECK(receipt.balance == 4);
  CHECK(device.run() == TALLY_SYNC_SYNCED);
  CHECK(world.balance() == 4);

  CHECK(world.apply("expire_credits user_id=u1 amount=2") == "ok");
  CHECK(device.reserve(j2, 3) == TALLY_OK);
  CHECK(device.run() == TALLY_SYNC_IDLE);
  CHECK(tally_engine_dismiss(device.mirror, device.rejected_kept()[0]["number"], &error) ==
        TALLY_OK);
  CHECK(device.rejected_kept().empty());
  CHECK(device.run() == TALLY_SYNC_SYNCED);
}

TEST_CASE("claim_next brings a worker's next job, and says when there is none") {
  World world;
  CHECK(world.apply("reserve_credits user_id=u1 job_id=j1 amount=1") == "ok");
  CHECK(world.apply("advance_job job_id=j1 to=QUEUED") == "ok");
  Device worker(world, {Capability::worker}, std::nullopt);
  worker.run();
  tally_uuid job{};
  std::int32_t found = -1;
  Told error;
  const auto claim = [&](std::int64_t ttl_s) {
    return tally_syncer_claim_next(worker.syncer, ttl_s, patience_ms, &job, &found, &error);
  };
  CHECK(claim(60) == TALLY_OK);
  CHECK(found == 1);
  CHECK(job == j1);
  CHECK(claim(60) == TALLY_OK);
  CHECK(found == 0);
  CHECK(job == j1);
  for (const std::int64_t ttl_s : {std::int64_t{0}, std::int64_t{-1}, INT64_MAX})
    CHECK(claim(ttl_s) == TALLY_INVALID_ARGUMENT);
  CHECK(tally_advance_job(worker.mirror, &j1, TALLY_JOB_SCRIPTING, nullptr, 0, nullptr, nullptr,
                          nullptr) == TALLY_OK);
}

TEST_CASE("a token that canonical does not know pauses it, and another one goes on") {
  World world;
  Device device(world);
  tally_sync_options options = device.options();
  options.token = "no such token";
  options.token_length = 13;
  device.connect(options);
  std::int32_t state = -1;
  Told error;
  CHECK(tally_syncer_run(device.syncer, patience_ms, &state, &error) == TALLY_UNAUTHORIZED);
  CHECK(error.code == TALLY_UNAUTHORIZED);
  CHECK(state == -1);
  CHECK(device.state == TALLY_SYNC_PAUSED);
  CHECK(device.error_class == TALLY_SYNC_ERROR_AUTHENTICATION);
  CHECK(tally_syncer_resume(device.syncer, "a\0b", 3, nullptr) == TALLY_INVALID_ARGUMENT);
  SUBCASE("on the caller's thread") {
    CHECK(tally_syncer_resume(device.syncer, device.token().data(), device.token().size(),
                              nullptr) == TALLY_OK);
    CHECK(device.run() == TALLY_SYNC_SYNCED);
  }
  SUBCASE("on its own, which goes on with it") {
    REQUIRE(tally_syncer_start(device.syncer, nullptr) == TALLY_OK);
    CHECK(tally_syncer_resume(device.syncer, device.token().data(), device.token().size(),
                              nullptr) == TALLY_OK);
    CHECK(eventually([&] { return device.state == TALLY_SYNC_SYNCED; }));
  }
}

TEST_CASE("a server that is away, and a mirror that is synced by another, are told as such") {
  World world;
  Device device(world);
  tally_sync_options options = device.options();
  options.conninfo = "host=/nowhere connect_timeout=1";
  options.conninfo_length = std::strlen(options.conninfo);
  device.connect(options);
  Told error;
  CHECK(tally_syncer_run(device.syncer, 200, nullptr, &error) == TALLY_UNREACHABLE);
  CHECK(tally_syncer_run(device.syncer, -5, nullptr, &error) == TALLY_UNREACHABLE);
  CHECK(device.state == TALLY_SYNC_WAITING);
  CHECK(device.error_class == TALLY_SYNC_ERROR_TRANSIENT);

  device.connect();
  CHECK(device.run() == TALLY_SYNC_SYNCED);
  tally_syncer* other = nullptr;
  const tally_sync_options again = device.options();
  REQUIRE(tally_syncer_new(device.mirror, &again, &other, nullptr) == TALLY_OK);
  CHECK(tally_syncer_run(other, 400, nullptr, &error) == TALLY_BUSY);
  tally_syncer_free(other);
}

TEST_CASE("online: pending at once, with its op_id, and the verdict by the callback") {
  World world;
  tally_options options = fast();
  options.spend_policy = TALLY_SPEND_ONLINE;
  options.verdict_timeout_ms = 0;
  Device device(world, options);
  device.run();
  Told error;
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  CHECK(tally_reserve_credits(device.mirror, &u1, &j1, 8, nullptr, &receipt, &error) ==
        TALLY_PENDING);
  CHECK(error.code == TALLY_PENDING);
  CHECK(receipt.balance == 10);
  CHECK(device.run() == TALLY_SYNC_SYNCED);
  CHECK(device.verdicts == std::vector<std::string>{text_of(receipt.op_id) + " ok"});
  CHECK(device.mirror.balance() == 2);
}

TEST_CASE("leases are kept as the options say, and listed") {
  World world;
  Device device(world);
  tally_sync_options options = device.options();
  options.lease_size = 6;
  options.lease_low_water = 2;
  options.lease_ttl_s = 3'600;
  device.connect(options);
  device.run();
  const json leases = read_json(
      [&](tally_text** text) { return tally_engine_leases(device.mirror, text, nullptr); });
  REQUIRE(leases.size() == 1);
  CHECK(leases[0]["user_id"] == text_of(u1));
  CHECK(leases[0]["unspent"] == 6);
  CHECK(leases[0]["returning"] == false);
  CHECK(world.balance() == 4);
}

TEST_CASE("subscribe: a device over all users is fed those alone, and a device of one is refused") {
  World world;
  CHECK(world.apply("create_user user_id=u2") == "ok");
  Device all(world, {Capability::author, Capability::service}, std::nullopt);
  all.run();
  const auto users = [&] {
    return read_json(
        [&](tally_text** text) { return tally_engine_users(all.mirror, text, nullptr); });
  };
  CHECK(users().size() == 2);
  CHECK(tally_engine_subscribe(all.mirror, &u1, 1, nullptr) == TALLY_OK);
  all.run();
  CHECK(users() == json{text_of(u1)});
  CHECK(tally_engine_subscribe(all.mirror, nullptr, 0, nullptr) == TALLY_OK);
  all.run();
  CHECK(users().size() == 2);
  CHECK(tally_engine_subscribe(all.mirror, &u1, 0, nullptr) == TALLY_OK);  // Nobody.
  all.run();
  CHECK(users().empty());
  Device one(world);
  one.run();
  CHECK(tally_engine_subscribe(one.mirror, &u1, 1, nullptr) == TALLY_INVALID_ARGUMENT);
}

TEST_CASE("enrol_anew: a copy becomes a device of its own, and its work is kept to be retried") {
  World world;
  Device device(world);
  device.run();
  Told error;
  // Its own token makes it no other device.
  CHECK(tally_syncer_enrol_anew(device.syncer, patience_ms, &error) == TALLY_ALREADY_EXISTS);
  CHECK(device.reserve(j1, 2) == TALLY_OK);
  const auto other = world.canonical->add_device(
      {.name = "other", .capabilities = {Capability::author}, .scope = test::user_id(1)});
  REQUIRE(other.has_value());
  tally_sync_options options = device.options();
  options.token = other->token.data();
  options.token_length = other->token.size();
  device.connect(options);
  REQUIRE_MESSAGE(tally_syncer_enrol_anew(device.syncer, patience_ms, &error) == TALLY_OK,
                  error.detail);
  CHECK(device.status()["device_id"] == other->device_id.text());
  CHECK(device.rejected_kept()[0]["result"] == "device_forked");
}

TEST_CASE("options that no syncer can have are refused") {
  const Mirror mirror(0);
  const auto refuses = [&](auto change) {
    tally_sync_options options = TALLY_SYNC_OPTIONS_INIT;
    change(options);
    tally_syncer* syncer = nullptr;
    Told error;
    CHECK(tally_syncer_new(mirror, &options, &syncer, &error) == TALLY_INVALID_ARGUMENT);
    CHECK(syncer == nullptr);
    return std::string(error.detail);
  };
  CHECK(refuses([](auto& o) { o.operations_max = 0; }).find("operations_max") != std::string::npos);
  refuses([](auto& o) { o.bytes_max = -1; });
  refuses([](auto& o) { o.rows_max = 1'000'001; });
  refuses([](auto& o) { o.poll_interval_ms = -1; });
  refuses([](auto& o) { o.call_timeout_ms = 0; });
  refuses([](auto& o) { o.backoff_base_ms = INT64_MAX; });
  refuses([](auto& o) { o.backoff_cap_ms = INT64_MIN; });
  refuses([](auto& o) { o.digest_every = -1; });
  refuses([](auto& o) { o.lease_size = 5; });  // Without a ttl.
  refuses([](auto& o) {
    o.lease_size = 5;
    o.lease_ttl_s = 60;
    o.lease_low_water = 6;
  });
  refuses([](auto& o) { o.flags = 2; });
  refuses([](auto& o) { o.token_length = 4; });
  refuses([](auto& o) {
    o.conninfo = "a\0b";
    o.conninfo_length = 3;
  });
  refuses([](auto& o) {
    o.schema = "public\"; drop";
    o.schema_length = 13;
  });
}

}  // namespace
}  // namespace tally::c_test
