#include "throwaway_postgres.hpp"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>

namespace tally::cli {
namespace fs = std::filesystem;
namespace {

// The keeper does what it is told, one word a line, and answers with an exit status. When its
// input ends (we are gone, however that came about) or it is told to quit, it stops the server and
// removes the folder. It is a process of its own and no child of ours, so that what kills us and
// our children does not kill it.
constexpr const char* keeper_script = R"~(
trap '' INT HUP TERM PIPE
bin=$1 folder=$2
stop() { "$bin/pg_ctl" -D "$folder/data" -m immediate -w -t 60 stop; }
while read -r word; do
  case $word in
    init)
      "$bin/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --no-locale -N &&
      cat >>"$folder/data/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$folder'
unix_socket_permissions = 0700
port = 5432
max_connections = 64
shared_buffers = 64MB
fsync = on
END
      ;;
    start) "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w -t 120 start ;;
    stop) stop ;;
    quit) break ;;
    *) false ;;
  esac </dev/null >>"$folder/log" 2>&1
  echo $?
done
[ ! -f "$folder/data/postmaster.pid" ] || stop >>"$folder/log" 2>&1
rm -rf "$folder"
)~";

std::runtime_error system_failure(const std::string& what) {
  return std::runtime_error(what + ": " + std::generic_category().message(errno));
}

bool has_server(const fs::path& bin) {
  for (const char* name : {"initdb", "pg_ctl", "postgres"}) {
    if (access((bin / name).c_str(), X_OK) != 0) return false;
  }
  return true;
}

std::optional<fs::path> newest_of_debian() {
  std::optional<fs::path> newest;
  int newest_version = -1;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", ignored)) {
    const std::string name = entry.path().filename().string();
    int version = -1;
    std::from_chars(name.data(), name.data() + name.size(), version);
    if (version > newest_version && has_server(entry.path() / "bin")) {
      newest_version = version;
      newest = entry.path() / "bin";
    }
  }
  return newest;
}

std::optional<fs::path> from_pg_config() {
  FILE* pipe = popen("pg_config --bindir 2>/dev/null", "r");  // NOLINT: a fixed command
  if (pipe == nullptr) return std::nullopt;
  std::array<char, 4096> line{};
  const bool got = std::fgets(line.data(), static_cast<int>(line.size()), pipe) != nullptr;
  pclose(pipe);
  if (!got) return std::nullopt;
  std::string text = line.data();
  text.erase(text.find_last_not_of('\n') + 1);
  if (!has_server(text)) return std::nullopt;
  return text;
}

struct Owner {
  uid_t uid;
  gid_t gid;
};

/// Who runs the server, if it must not be us.
std::optional<Owner> unprivileged_owner() {
  if (geteuid() != 0) return std::nullopt;
  for (const char* name : {"postgres", "nobody"}) {
    if (const passwd* entry = getpwnam(name)) return Owner{entry->pw_uid, entry->pw_gid};
  }
  throw std::runtime_error(
      "PostgreSQL refuses to run as root, and there is no user postgres or nobody");
}

/// In the child of a process that may have threads: calls nothing that takes a lock.
[[noreturn]] void become_keeper(int channel, const std::optional<Owner>& owner, const char* bin,
                                const char* folder) {
  // Twice removed from us: init's child, and the leader of its own session.
  if (setsid() < 0 || fork() != 0) _exit(0);
  if (owner && (setgroups(0, nullptr) != 0 || setgid(owner->gid) != 0 || setuid(owner->uid) != 0)) {
    _exit(1);
  }
  const int null = open("/dev/null", O_RDWR);
  // First out of the way of 0 to 2, which the host may have closed.
  const int safe = fcntl(channel, F_DUPFD, 3);
  dup2(safe, STDIN_FILENO);
  dup2(safe, STDOUT_FILENO);
  dup2(null, STDERR_FILENO);
  // Whoever waits for our output to end, as ctest does, must not wait for the server's.
  for (int fd = 3; fd < 4096; ++fd) close(fd);
  // A test runner may have blocked or ignored signals, and PostgreSQL inherits that.
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGCHLD, SIG_DFL);
  if (chdir("/") != 0) _exit(1);
  umask(077);
  execl("/bin/sh", "sh", "-c", keeper_script, "tally-postgres-keeper", bin, folder, nullptr);
  _exit(127);
}

/// What the server and its tools last said.
std::string end_of_log(const fs::path& folder) {
  std::ifstream file(folder / "log");
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  constexpr std::size_t shown_max = 2000;
  return text.size() > shown_max ? "…" + text.substr(text.size() - shown_max) : text;
}

}  // namespace

std::optional<fs::path> ThrowawayPostgres::find_binaries() {
  if (const char* given = std::getenv("TALLY_PG_BINDIR")) {
    if (has_server(given)) return given;
    return std::nullopt;
  }
  if (auto found = newest_of_debian()) return found;
  return from_pg_config();
}

ThrowawayPostgres::ThrowawayPostgres() {
  const auto bin = find_binaries();
  if (!bin)
    throw std::runtime_error("no PostgreSQL server is installed (initdb, pg_ctl, postgres)");
  const auto owner = unprivileged_owner();

  // Not $TMPDIR: a socket's path must be short, and root's may be closed to the server's user.
  std::string name = "/tmp/tally-pg-XXXXXX";
  static_assert(sizeof("/tmp/tally-pg-XXXXXX/.s.PGSQL.5432") < sizeof(sockaddr_un::sun_path));
  if (mkdtemp(name.data()) == nullptr) throw system_failure("cannot make a folder in /tmp");
  folder_ = name;

  std::array<int, 2> channel{};
  if ((owner && chown(name.c_str(), owner->uid, owner->gid) != 0) ||
      socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel.data()) != 0) {
    const auto failure = system_failure("cannot prepare " + name);
    rmdir(name.c_str());
    throw failure;
  }
  const pid_t child = fork();
  if (child == 0) become_keeper(channel[1], owner, bin->c_str(), folder_.c_str());
  close(channel[1]);
  keeper_ = channel[0];
  if (child < 0) {
    const auto failure = system_failure("fork");
    close(keeper_);
    rmdir(name.c_str());
    throw failure;
  }
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }

  try {
    ask("init");
    ask("start");
  } catch (...) {
    close_keeper();
    throw;
  }
}

ThrowawayPostgres::~ThrowawayPostgres() { close_keeper(); }

std::string ThrowawayPostgres::conninfo(std::string_view database) const {
  return "host=" + folder_.string() + " port=5432 user=postgres dbname=" + std::string(database);
}

void ThrowawayPostgres::stop() { ask("stop"); }

void ThrowawayPostgres::start() { ask("start"); }

void ThrowawayPostgres::restart() {
  stop();
  start();
}

void ThrowawayPostgres::ask(std::string_view what) {
  const std::string line = std::string(what) + "\n";
  std::string answer;
  if (send(keeper_, line.data(), line.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(line.size())) {
    char c = 0;
    for (;;) {
      const ssize_t got = read(keeper_, &c, 1);
      if (got < 0 && errno == EINTR) continue;
      if (got != 1 || c == '\n') break;
      answer += c;
    }
  }
  if (answer != "0") {
    throw std::runtime_error("throw-away PostgreSQL: " + std::string(what) + " failed (" +
                             (answer.empty() ? "its keeper is gone" : answer) + ")\n" +
                             end_of_log(folder_));
  }
}

void ThrowawayPostgres::close_keeper() noexcept {
  // Told, and not only left: a forked child of ours may hold the channel open.
  constexpr std::string_view quit = "quit\n";
  if (send(keeper_, quit.data(), quit.size(), MSG_NOSIGNAL) > 0) {
    char c = 0;
    for (;;) {
      const ssize_t got = read(keeper_, &c, 1);  // its end: the keeper is done
      if (got == 0 || (got < 0 && errno != EINTR)) break;
    }
  }
  close(keeper_);
}

}  // namespace tally::cli
