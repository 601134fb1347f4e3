// A mirror that somebody edits by hand between two runs, with plain SQL: what finds each edit, and
// that none of them makes a credit on canonical.
#include <doctest/doctest.h>

#include <algorithm>

#include "sync/world.hpp"

namespace tally::test {
namespace {

/// Who finds an edit when the mirror is synced the next time.
enum class Found : std::uint8_t {
  by_the_push,   ///< It is not pushed, or no answer can be taken: `corrupt`.
  by_the_chain,  ///< `device_forked`.
  by_the_past,   ///< `history_lost`: the mirror claims verdicts that canonical never gave.
  by_the_feed,   ///< A count, a balance or a digest differs, and the user is fed anew.
  by_the_audit,  ///< Alone: it is not in the digest, and stays until the user is fed from the
                 ///< start.
};

struct Edit {
  std::string what;
  std::string sql;
  bool audit_finds;  ///< Without canonical.
  Found found;
  bool was_pushed = false;  ///< What is pending had reached canonical, and the answer was lost.
};

/// The blob with one text for another of the same length.
std::string replaced(const std::string& table, const std::string& from, const std::string& to) {
  return "update " + table + " set body = unhex(replace(hex(body), hex('" + from + "'), hex('" +
         to + "')))";
}
const std::string forget_operations =
    "delete from tally_operation where o >= (select max(o) from tally_operation) - 4;";

const std::vector<Edit> edits{
    {"a balance is raised", "update tally_account set balance = balance + 1000", true,
     Found::by_the_feed},
    {"an entry is inserted",
     "insert into tally_entry select max(e) + 1, max(u), (select seq + 1 from tally_account), 1,"
     " null, 3, 1000, (select balance + 1000 from tally_account) from tally_entry",
     true, Found::by_the_feed},
    {"an entry is inserted with all that belongs to it",
     "insert into tally_entry select a.head + 1, a.u, a.seq + 1, 1, null, 3, 1000, a.balance + 1000"
     " from tally_account a;"
     "insert into tally_entry_text (e, id, created_at) select head + 1, randomblob(16), 0"
     " from tally_account;"
     "update tally_account set balance = balance + 1000, seq = seq + 1, head = head + 1",
     false, Found::by_the_feed},
    {"an amount is changed", "update tally_entry set amount = amount + 5 where seq = 1", true,
     Found::by_the_feed},
    {"an amount is changed with all that follows from it",
     "update tally_entry set amount = amount + 5 where seq = 1;"
     "update tally_entry set balance_after = balance_after + 5;"
     "update tally_account set balance = balance + 5",
     false, Found::by_the_feed},
    {"an entry is deleted", "delete from tally_entry where seq = 2", true, Found::by_the_feed},
    {"a hold is taken off a job", "update tally_job set hold = 0", true, Found::by_the_audit},
    {"a job is called READY", "update tally_job set status = 10 where hold = 0", false,
     Found::by_the_feed},
    {"a pending operation is altered", replaced("tally_outbox", "Secret", "Sekret"), true,
     Found::by_the_push},
    {"a pending operation is altered, and what is remembered of it deleted",
     replaced("tally_outbox", "Secret", "Sekret") + ";" + forget_operations, true,
     Found::by_the_push},
    {"an operation that was pushed is altered, and what is remembered of it deleted",
     replaced("tally_outbox", "Secret", "Sekret") + ";" + forget_operations, true,
     Found::by_the_chain, true},
    {"a pending operation is removed",
     "delete from tally_outbox where n = (select min(n) + 1 from tally_outbox)", true,
     Found::by_the_push},
    {"the last pending operation is removed",
     "delete from tally_outbox where n = (select max(n) from tally_outbox)", true,
     Found::by_the_feed},
    {"the last operation that was pushed is removed",
     "delete from tally_outbox where n = (select max(n) from tally_outbox)", true,
     Found::by_the_chain, true},
    {"a pending operation is renumbered",
     "update tally_outbox set n = n + 1 where n = (select max(n) from tally_outbox)", true,
     Found::by_the_push},
    {"the acknowledged number is moved up", "update tally_link set acked = acked + 1", true,
     Found::by_the_past},
    {"the acknowledged number is moved down", "update tally_link set acked = acked - 1", true,
     Found::by_the_push},
    {"the acknowledged number is moved down, and the queue with it",
     "update tally_link set acked = acked - 1;"
     "update tally_outbox set n = -n; update tally_outbox set n = -n - 1",
     false, Found::by_the_chain},
    {"the chain is changed", "update tally_link set chain = zeroblob(32)", false,
     Found::by_the_chain},
    {"what is remembered of the operations is deleted", "delete from tally_operation", true,
     Found::by_the_push},
};

class Scene {
 public:
  World world{1'000};

  /// What came in, ever: nothing that a device without `service` does adds to it.
  std::int64_t issued() {
    return std::stoll(world.session.ask_one(
        "select sum(amount) from public.credit_ledger where type in ('grant', 'purchase',"
        " 'subscription')"));
  }
  /// A device with some work that canonical knows and some that is pending.
  std::unique_ptr<Device> device() {
    auto made = world.device();
    const std::string p = std::to_string(++serial_ + 100);
    const auto ok = [&](const std::string& line) {
      REQUIRE_MESSAGE(apply(*made, 'e', ++operations_, line).starts_with("ok"), line);
    };
    ok("create_project project_id=p" + p +
       " user_id=u1 title=Open prompt_text=P niche_preset=facts target_minutes=1");
    ok("create_job job_id=j" + p + " project_id=p" + p + " user_id=u1");
    ok("create_job job_id=j9" + p + " project_id=p" + p + " user_id=u1");
    ok("reserve_credits user_id=u1 job_id=j" + p + " amount=3");
    made->sync();
    ok("update_project project_id=p" + p + " user_id=u1 title=Secret");
    ok("reserve_credits user_id=u1 job_id=j9" + p + " amount=2");
    ok("advance_job job_id=j" + p + " to=QUEUED");
    return made;
  }
  /// Canonical has the pending operations, and this mirror does not know.
  void push_and_lose_the_answer(Device& device) {
    const TemporaryFolder folder;
    REQUIRE(Replica(device.mirror.engine()).next_push(1'000, 1'000'000));
    device.syncer.reset();
    device.mirror.close();
    copy_mirror(device.mirror.path(), folder.path() / "before.db");
    device.mirror.open();
    device.connect();
    device.sync();
    device.syncer.reset();
    device.mirror.close();
    copy_mirror(folder.path() / "before.db", device.mirror.path());
    device.mirror.open();
    device.connect();
  }

 private:
  int serial_ = 0;
  int operations_ = 1'000;
};

/// What a sync ends with then; none where it goes on to the end.
std::optional<Code> code_of(Found found) {
  switch (found) {
    case Found::by_the_push:
      return Code::corrupt;
    case Found::by_the_chain:
      return Code::device_forked;
    case Found::by_the_past:
      return Code::history_lost;
    case Found::by_the_feed:
    case Found::by_the_audit:
      break;
  }
  return std::nullopt;
}

/// What it ends with here. A slow machine has not come to an end at once, and says so; then it is
/// left to go on.
std::optional<Code> sync_code(Device& device, std::optional<Code> wanted) {
  std::optional<Code> code;
  eventually([&] {
    const auto done = device.syncer->run_until_synced(std::chrono::milliseconds{500});
    code = done ? std::nullopt : std::optional(done.error().code);
    return done || code == wanted;
  });
  return code;
}

void check_end(Scene& scene, Device& device, const Edit& edit) {
  // Whatever was edited, the user's rows come anew with what canonical has to say next.
  scene.world.apply("update_profile user_id=u1 display_name=Ann");
  const std::optional<Code> wanted = code_of(edit.found);
  REQUIRE(sync_code(device, wanted) == wanted);
  if (wanted) return;
  if (edit.found == Found::by_the_audit) {
    CHECK(device.mirror.findings() != std::vector<std::string>{});
    REQUIRE(Replica(device.mirror.engine()).forget_cursor());
    device.sync();
  }
  // A digest finds what counts and balances do not show, and has the user fed anew.
  const auto equal = device.syncer->verify(user_id(1), patience);
  REQUIRE(equal.has_value());
  if (!*equal) {
    device.sync();
    MESSAGE(edit.what << ": found by the digest");
  }
  CHECK(difference(device, *scene.world.canonical) == "");
  CHECK(device.mirror.findings() == std::vector<std::string>{});
}

}  // namespace

TEST_CASE("a mirror edited by hand: each edit is found, and none makes a credit on canonical") {
  Scene scene;
  for (const Edit& edit : edits) {
    CAPTURE(edit.what);
    CAPTURE(edit.sql);
    auto device = scene.device();
    if (edit.was_pushed) scene.push_and_lose_the_answer(*device);
    const std::int64_t issued = scene.issued();
    REQUIRE(device->mirror.findings() == std::vector<std::string>{});
    device->syncer.reset();
    device->mirror.close();
    tamper(device->mirror.path(), edit.sql);
    device->mirror.open();
    device->connect();
    const auto report = device->mirror->audit();
    CHECK((!report || !report->findings.empty()) == edit.audit_finds);
    check_end(scene, *device, edit);
    CHECK(scene.issued() == issued);
    CHECK(scene.world.balance() >= 0);
    scene.world.check_whole();
  }
  MESSAGE(edits.size() << " edits");
}

TEST_CASE("a mirror edited by hand: where what canonical feeds does not fit in, it is fed anew") {
  World world{1'000};
  auto device = world.device();
  device->sync();
  REQUIRE(
      apply(*device, 'g', 1, "create_job job_id=j91 project_id=p1 user_id=u1").starts_with("ok"));
  device->syncer.reset();
  device->mirror.close();
  tamper(device->mirror.path(), "delete from tally_project");
  device->mirror.open();
  device->connect();
  REQUIRE(world.apply("create_job job_id=j90 project_id=p1 user_id=u1") == "ok");
  device->sync();
  CHECK(difference(*device, *world.canonical) == "");
  CHECK(device->mirror.findings() == std::vector<std::string>{});
  CHECK(world.session.ask_one("select count(*) from jobs where id in ('" + job_id(90).text() +
                              "', '" + job_id(91).text() + "')") == "2");
}

TEST_CASE("a mirror edited by hand: a lease that says more than canonical knows is worth no more") {
  Scene scene;
  World& world = scene.world;
  auto device = world.device({Capability::author, Capability::worker}, SpendPolicy::leased);
  REQUIRE(apply(*device, 'f', 1, "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=3600")
              .starts_with("ok"));
  device->sync();
  // Everything else is spent by somebody else.
  REQUIRE(world.apply("reserve_credits user_id=u1 job_id=j4 amount=" +
                      std::to_string(world.balance())) == "ok");
  device->sync();
  device->syncer.reset();
  device->mirror.close();
  tamper(device->mirror.path(), "update tally_lease set unspent = unspent + 1000");
  device->mirror.open();
  device->connect();
  CHECK(apply(*device, 'f', 2, "reserve_credits user_id=u1 job_id=j1 amount=15").starts_with("ok"));
  CHECK(
      apply(*device, 'f', 3, "reserve_credits user_id=u1 job_id=j2 amount=900").starts_with("ok"));
  const std::int64_t issued = scene.issued();
  device->sync();
  CHECK(rejected_codes(*device).size() == 1);
  CHECK(world.balance() == 0);
  CHECK(scene.issued() == issued);
  CHECK(world.session.ask_one("select sum(-amount) from credit_ledger where type in ('reserve',"
                              " 'refund')") == "1000");
  CHECK(Replica(device->mirror.engine()).leases()->at(0).unspent == Credits{5});
  world.check_whole();
}

}  // namespace tally::test
