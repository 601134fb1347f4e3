// What only one user can have (an e-mail address, a payment), taken here by a pending operation and
// at canonical by another user's.

#include <doctest/doctest.h>

#include "sync/watched_device.hpp"

namespace tally::test {
namespace {

struct Scene {
  Database database;
  std::optional<sync::Canonical> canonical{};
  std::unique_ptr<WatchedDevice> first{};
  std::unique_ptr<WatchedDevice> second{};

  Scene() {
    database.migrate();
    canonical.emplace(sync::Canonical::connect(database.conninfo()).value());
    first = std::make_unique<WatchedDevice>(*canonical, database.conninfo());
    second = std::make_unique<WatchedDevice>(*canonical, database.conninfo());
    // Others' rows come while the operation in question still waits for its turn.
    second->options.operations_max = 1;
    second->connect();
  }
  void check() {
    first->sync();
    for (WatchedDevice* device : {first.get(), second.get()}) {
      CHECK(difference(*device, *canonical) == "");
      CHECK(device->mirror.findings() == std::vector<std::string>{});
      CHECK(device->diverged == 0);
    }
  }
};

TEST_CASE("an e-mail address that another user got first at canonical: pending, the user falls") {
  Scene scene;
  REQUIRE(scene.first->mirror.apply("create_user user_id=u1 email=\"a@b.example\"") == "ok 10");
  scene.first->sync();
  REQUIRE(scene.second->mirror.apply("create_user user_id=u3 op_id=o1") == "ok 10");
  REQUIRE(scene.second->mirror.apply("create_user user_id=u2 email=\"a@b.example\" op_id=o2") ==
          "ok 10");
  scene.second->sync();
  CHECK(scene.second->told == "create_user user_exists; ");
  CHECK(scene.second->mirror->balance(user_id(2)).error().code == Code::user_not_found);
  scene.check();
}

TEST_CASE("e-mail addresses that two users exchanged at canonical are exchanged here") {
  Scene scene;
  for (const char* line : {"create_user user_id=u1 email=\"a@b.example\"",
                           "create_user user_id=u2 email=\"c@d.example\""})
    REQUIRE(scene.first->mirror.apply(line) == "ok 10");
  scene.first->sync();
  scene.second->sync();
  scene.database.session().ask(
      "begin; set constraints all deferred;"
      "update auth.users set email = 'x@y.example' where id = '" +
      user_id(1).text() +
      "';"
      "update auth.users set email = 'a@b.example' where id = '" +
      user_id(2).text() +
      "';"
      "update auth.users set email = 'c@d.example' where id = '" +
      user_id(1).text() +
      "';"
      "update public.profiles set avatar_url = 'new'; commit");
  scene.second->sync();
  const auto email = [&](std::uint64_t n) {
    return query(scene.second->mirror.path(),
                 "select email from users where id = '" + user_id(n).text() + "'");
  };
  CHECK(email(1) == std::vector<std::string>{"c@d.example"});
  CHECK(email(2) == std::vector<std::string>{"a@b.example"});
  scene.check();
}

TEST_CASE("a payment that another user's entry has at canonical stays known when ours falls") {
  Scene scene;
  for (const char* line : {"create_user user_id=u1", "create_user user_id=u2"})
    REQUIRE(scene.first->mirror.apply(line) == "ok 10");
  scene.first->sync();
  scene.second->sync();
  const std::string payment = " amount=5 type=purchase stripe_payment_id=pi_1";
  REQUIRE(scene.first->mirror.apply("add_credits user_id=u1" + payment) == "ok 15");
  scene.first->sync();
  REQUIRE(scene.second->mirror.apply("create_user user_id=u3 op_id=o1") == "ok 10");
  REQUIRE(scene.second->mirror.apply("add_credits user_id=u2 op_id=o2" + payment) == "ok 15");
  scene.second->sync();
  CHECK(scene.second->told == "add_credits payment_conflict; ");
  CHECK(scene.second->mirror.apply("add_credits user_id=u2 op_id=o3" + payment) ==
        "payment_conflict 10");
  scene.check();
}

TEST_CASE("a payment stays known when what its operation did is fed") {
  Scene scene;
  const std::string payment = " amount=5 type=purchase stripe_payment_id=pi_1";
  REQUIRE(scene.first->mirror.apply("create_user user_id=u1") == "ok 10");
  REQUIRE(scene.first->mirror.apply("add_credits user_id=u1" + payment) == "ok 15");
  scene.first->sync();
  CHECK(scene.first->mirror.apply("add_credits user_id=u1" + payment) == "ok 15");
  scene.first->sync();
  scene.second->sync();
  scene.check();
  tamper(scene.first->mirror.path(), "delete from tally_payment");
  CHECK(scene.first->mirror.findings() == std::vector<std::string>{"I6 payment pi_1 is forgotten"});
}

}  // namespace
}  // namespace tally::test
