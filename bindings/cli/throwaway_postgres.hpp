#pragma once
// A real PostgreSQL of one's own, for the demo and the tests: on a unix socket in a fresh folder,
// gone with the object, and gone too when the process is killed.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace tally::cli {

/// Thread-compatible. Takes about two seconds to make. The server runs as `postgres` or `nobody`
/// when we are root, because it refuses to run as root. Errors throw std::runtime_error with the
/// end of the server's log.
class ThrowawayPostgres {
 public:
  /// Where initdb, pg_ctl and postgres are, if they are installed: $TALLY_PG_BINDIR alone if set,
  /// else the newest of /usr/lib/postgresql/*/bin, else what pg_config says.
  static std::optional<std::filesystem::path> find_binaries();

  /// Initializes a cluster and starts it; it accepts connections on return.
  ThrowawayPostgres();
  /// Stops the server and removes its folder.
  ~ThrowawayPostgres();
  ThrowawayPostgres(const ThrowawayPostgres&) = delete;
  ThrowawayPostgres& operator=(const ThrowawayPostgres&) = delete;

  /// For libpq, as the superuser `postgres`, without a password.
  std::string conninfo(std::string_view database = "postgres") const;
  /// The socket's folder, which is also the cluster's.
  const std::filesystem::path& folder() const noexcept { return folder_; }

  /// At once, as in a crash: no checkpoint, connections dropped. Committed data stays.
  void stop();
  /// After stop(): recovers, and accepts connections on return.
  void start();
  /// stop() and start().
  void restart();

 private:
  /// Has the keeper, a small process that outlives us if need be, do one thing.
  void ask(std::string_view what);
  void close_keeper() noexcept;

  std::filesystem::path folder_;
  int keeper_ = -1;  // our end of the socket to the keeper
};

}  // namespace tally::cli
