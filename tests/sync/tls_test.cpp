// Sync over TCP with sslmode=verify-full and a certificate authority of the test's own; and what a
// certificate that must not be trusted, or a wrong password, come to.

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "sync/watched_device.hpp"

namespace tally::test {
namespace {

constexpr const char* device_role = "tls_device";
constexpr const char* server_name = "canonical.example";

/// A certificate authority, and the servers' certificates that it signs; made with openssl.
class Authority {
 public:
  explicit Authority(const std::string& name) : name_(name) {
    openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=" +
            name + " -keyout " + name + ".key -out " + name + ".crt");
  }
  std::string certificate() const { return path(name_ + ".crt"); }
  /// `name`.key and `name`.crt, in the authority's folder.
  void sign(const std::string& name) {
    std::ofstream(path("extensions")) << "subjectAltName=DNS:" << name << "\n";
    openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=" + name +
            " -keyout " + name + ".key -out " + name + ".csr");
    openssl("x509 -req -days 2 -in " + name + ".csr -CA " + name_ + ".crt -CAkey " + name_ +
            ".key -CAcreateserial -extfile extensions -out " + name + ".crt");
  }
  std::string path(const std::string& file) const { return (folder_.path() / file).string(); }

 private:
  void openssl(const std::string& arguments) {
    const std::string log = path("log");
    const std::string command =
        "cd '" + folder_.path().string() + "' && openssl " + arguments + " >>'" + log + "' 2>&1";
    const int status = std::system(command.c_str());  // NOLINT: a fixed command
    std::ifstream said(log);
    REQUIRE_MESSAGE(status == 0, std::string(std::istreambuf_iterator<char>(said), {}));
  }

  TemporaryFolder folder_;
  std::string name_;
};

int free_port() {
  const int probe = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  const bool got = bind(probe, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                   getsockname(probe, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  close(probe);
  REQUIRE(got);
  return ntohs(address.sin_port);
}

/// A PostgreSQL that listens on 127.0.0.1 and takes devices there over TLS alone, by a password.
class TlsServer {
 public:
  TlsServer() {
    std::ofstream(data() / "pg_hba.conf") << "local all postgres trust\n"
                                             "hostssl all all 127.0.0.1/32 scram-sha-256\n";
    port_ = std::to_string(free_port());
    std::ofstream(data() / "postgresql.conf", std::ios::app)
        << "listen_addresses = '127.0.0.1'\nport = " << port_ << "\n";
  }
  /// Restarts it with a certificate that the authority signed.
  void use(const Authority& authority, const std::string& name) {
    struct stat owner {};
    REQUIRE(stat(data().c_str(), &owner) == 0);
    for (const std::string end : {".key", ".crt"}) {
      const auto file = data() / ("server" + end);
      std::filesystem::copy_file(authority.path(name + end), file,
                                 std::filesystem::copy_options::overwrite_existing);
      REQUIRE(chmod(file.c_str(), 0600) == 0);
      REQUIRE(chown(file.c_str(), owner.st_uid, owner.st_gid) == 0);
    }
    if (!ssl_) std::ofstream(data() / "postgresql.conf", std::ios::app) << "ssl = on\n";
    ssl_ = true;
    postgres_.restart();
  }
  std::string operators_conninfo() const {
    return "host=" + postgres_.folder().string() + " port=" + port_ + " user=postgres";
  }
  std::string device_conninfo(const Authority& trusted) const {
    return "host=" + std::string(server_name) + " hostaddr=127.0.0.1 port=" + port_ +
           " dbname=postgres user=" + device_role +
           " password='a device\\'s' sslmode=verify-full sslrootcert=" + trusted.certificate();
  }

 private:
  std::filesystem::path data() const { return postgres_.folder() / "data"; }
  ThrowawayPostgres postgres_;
  std::string port_;
  bool ssl_ = false;
};

/// Tries to sync; what it fails with, and that nothing is lost by it.
void check_failure(WatchedDevice& device, sync::ErrorClass expected, const std::string& part) {
  const auto pending = device.mirror->pending_operations().value();
  const auto balance = device.mirror.balance(1);
  device.error_class = sync::ErrorClass::none;
  device.error.clear();
  device.connect();
  const auto done = device.syncer->run_until_synced(std::chrono::milliseconds{500});
  REQUIRE(!done.has_value());
  CHECK_MESSAGE(done.error().detail.find(part) != std::string::npos, done.error().detail);
  CHECK(device.error_class == expected);
  CHECK_MESSAGE(device.error.find(part) != std::string::npos, device.error);
  CHECK(device.mirror->pending_operations().value() == pending);
  CHECK(device.mirror.balance(1) == balance);
  const auto state = Replica(device.mirror.engine()).state();
  REQUIRE(state.has_value());
  if (*state) CHECK((*state)->error_class == sync::name_of(expected));
}

TEST_CASE(
    "sslmode=verify-full: a trusted server syncs, one that must not be trusted gets nothing") {
  Authority authority("authority");
  Authority other("other");
  authority.sign(server_name);
  authority.sign("elsewhere.example");
  other.sign(server_name);
  TlsServer server;
  server.use(authority, server_name);
  auto canonical = sync::Canonical::connect(server.operators_conninfo());
  REQUIRE_MESSAGE(canonical.has_value(), (canonical ? "" : canonical.error().detail));
  REQUIRE(canonical->migrate({.shim = true}).has_value());
  auto device = [&] {
    Session operators(server.operators_conninfo());
    make_device_role(operators, device_role);
    return std::make_unique<WatchedDevice>(*canonical, server.device_conninfo(authority));
  }();
  device->mirror.make_users(1);
  device->sync();
  CHECK(
      Session(server.operators_conninfo())
          .ask_one("select s.version from pg_stat_ssl s join pg_stat_activity a using (pid) where "
                   "a.usename = '" +
                   std::string(device_role) + "'")
          .starts_with("TLSv1."));

  REQUIRE(device->mirror.apply("reserve_credits user_id=u1 job_id=j1 amount=8") == "ok 2");
  SUBCASE("a certificate of another name") {
    server.use(authority, "elsewhere.example");
    check_failure(*device, sync::ErrorClass::transient, "does not match host name");
  }
  SUBCASE("a certificate of another authority") {
    server.use(other, server_name);
    check_failure(*device, sync::ErrorClass::transient, "certificate verify failed");
  }
  SUBCASE("no encryption") {
    device->options.conninfo += " sslmode=disable";
    check_failure(*device, sync::ErrorClass::authentication, "no encryption");
  }
  SUBCASE("a wrong password") {
    device->options.conninfo += " password=guessed";
    check_failure(*device, sync::ErrorClass::authentication, "password authentication failed");
  }

  // With the right one again, all of it arrives.
  server.use(authority, server_name);
  device->options.conninfo = server.device_conninfo(authority);
  device->connect();
  device->sync();
  canonical = sync::Canonical::connect(server.operators_conninfo());
  CHECK(difference(*device, *canonical) == "");
  CHECK(device->mirror.balance(1) == 2);
  CHECK(device->told == "");
  Session operators(server.operators_conninfo());
  for (const std::string& found : open_to(operators, server.device_conninfo(authority)))
    CHECK_MESSAGE(false, found);
}

}  // namespace
}  // namespace tally::test
