// Sync through a real PgBouncer in transaction mode, where two devices share one connection to the
// server.

#include <doctest/doctest.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <thread>

#include "sync/watched_device.hpp"

#ifdef __linux__
#include <sys/prctl.h>
#endif

namespace tally::test {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr const char* device_role = "pooled_device";

/// A PgBouncer on a unix socket in a folder of its own, run by whoever runs the PostgreSQL, because
/// it refuses to run as root, too.
class PgBouncer {
 public:
  PgBouncer(const Database& database, const std::string& user) : database_(database.name()) {
    const std::string program = find_program();
    REQUIRE_MESSAGE(program != "", "PgBouncer is not installed; ./dev test installs it");
    const std::string folder = folder_.path().string();
    struct stat owner {};
    REQUIRE(stat((Database::server_folder() / "data").c_str(), &owner) == 0);
    std::ofstream(folder_.path() / "users") << '"' << user << "\" \"\"\n";
    std::ofstream(folder_.path() / "ini")
        << "[databases]\n"
        << database_ << " = host=" << Database::server_folder().string() << " port=5432\n"
        << "[pgbouncer]\n"
           "listen_addr =\n"
           "listen_port = 6432\n"
           "unix_socket_dir = "
        << folder << "\nauth_type = trust\nauth_file = " << folder << "/users\nlogfile = " << folder
        << "/log\npool_mode = transaction\n"
           "default_pool_size = 1\n";
    for (const char* file : {"", "users", "ini"})
      REQUIRE(chown((folder_.path() / file).c_str(), owner.st_uid, owner.st_gid) == 0);
    const std::string ini = folder + "/ini";
    const pid_t parent = getpid();
    pid_ = fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      if (geteuid() == 0 &&
          (setgroups(0, nullptr) != 0 || setgid(owner.st_gid) != 0 || setuid(owner.st_uid) != 0))
        _exit(126);
#ifdef __linux__
      // A test that is killed leaves nothing behind.
      if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(125);
#endif
      execl(program.c_str(), "pgbouncer", "-q", ini.c_str(), nullptr);
      _exit(127);
    }
    const auto end = Clock::now() + patience;
    // The socket is there before somebody listens on it.
    while (PQping(conninfo(user).c_str()) != PQPING_OK) {
      const bool gone = waitpid(pid_, nullptr, WNOHANG) == pid_;
      if (gone) pid_ = -1;
      REQUIRE_MESSAGE((!gone && Clock::now() < end), log());
      std::this_thread::sleep_for(milliseconds{10});
    }
  }
  ~PgBouncer() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  PgBouncer(const PgBouncer&) = delete;
  PgBouncer& operator=(const PgBouncer&) = delete;

  std::string conninfo(const std::string& user) const {
    return "host=" + folder_.path().string() + " port=6432 dbname=" + database_ + " user=" + user;
  }
  std::string log() const { return bytes_of(folder_.path() / "log"); }

 private:
  static std::string find_program() {
    // Debian puts it where only root's PATH leads.
    for (const char* path : {"/usr/sbin/pgbouncer", "/usr/bin/pgbouncer",
                             "/usr/local/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"}) {
      if (access(path, X_OK) == 0) return path;
    }
    return "";
  }

  TemporaryFolder folder_;
  std::string database_;
  pid_t pid_ = -1;
};

TEST_CASE("PgBouncer in transaction mode: two devices on one server connection converge") {
  Database database;
  database.migrate();
  auto canonical = sync::Canonical::connect(database.conninfo());
  REQUIRE(canonical.has_value());
  Session operators = database.session();
  make_device_role(operators, device_role);
  const PgBouncer bouncer(database, device_role);
  const std::string conninfo = bouncer.conninfo(device_role);
  auto first = std::make_unique<WatchedDevice>(*canonical, conninfo);
  auto second = std::make_unique<WatchedDevice>(*canonical, conninfo);
  first->mirror.make_users(3);
  first->sync();
  second->sync();
  REQUIRE(second->mirror.balance(3) == 10);

  // Both at once, and each offline from the other while it writes.
  for (auto* device : {first.get(), second.get()}) {
    device->options.poll_interval = milliseconds{5};
    device->connect();
    device->syncer->start();
  }
  std::int64_t added = 0;
  for (; added < 150; ++added) {
    for (auto* device : {first.get(), second.get()}) {
      const std::uint64_t user = static_cast<std::uint64_t>(added) % 3 + 1;
      REQUIRE(device->mirror->apply(AddCredits{user_id(user), Credits{2}, "grant"}).has_value());
      if (added % 10 == 0) {
        const Uuid job = new_uuid_v7();
        REQUIRE(device->mirror->apply(CreateJob{job, project_id(user), user_id(user)}).has_value());
        REQUIRE(device->mirror->apply(ReserveCredits{user_id(user), job, Credits{3}}).has_value());
        REQUIRE(device->mirror->apply(FinalizeJobCredits{job, Credits{1}}).has_value());
      }
    }
    std::this_thread::sleep_for(milliseconds{2});
  }
  first->syncer->stop();
  second->syncer->stop();
  for (int round = 0; round < 2; ++round) {
    first->sync();
    second->sync();
  }
  CHECK(operators.ask_one("select count(*) from pg_stat_activity where usename = '" +
                          std::string(device_role) + "'") == "1");
  std::int64_t sum = 0;
  for (std::uint64_t user = 1; user <= 3; ++user) sum += first->mirror.balance(user);
  CHECK(sum == 3 * 10 + 2 * 2 * added - 2 * 15);
  for (auto* device : {first.get(), second.get()}) {
    CHECK(difference(*device, *canonical) == "");
    CHECK(device->mirror->pending_operations().value() == 0);
    CHECK(device->told == "");
    CHECK(device->diverged == 0);
    CHECK_MESSAGE(device->error == "", device->error);
    CHECK(device->mirror.findings() == std::vector<std::string>{});
  }
  for (const std::string& finding : operators.ask("select explanation from tally.audit()"))
    CHECK_MESSAGE(false, finding);
}

TEST_CASE("a device's role can sync, and can read no table and call no other function") {
  Database database;
  database.migrate();
  Session operators = database.session();
  make_device_role(operators, device_role);
  const PgBouncer bouncer(database, device_role);
  for (const std::string& found : open_to(operators, bouncer.conninfo(device_role)))
    CHECK_MESSAGE(false, found);
  // So much would be found.
  CHECK(open_to(operators, database.conninfo()).size() > 50);
}

}  // namespace
}  // namespace tally::test
