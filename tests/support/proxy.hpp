#pragma once
// The network at its worst: between a client and a PostgreSQL, it cuts, delays and stalls on
// command, to the byte.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "support/folder.hpp"

namespace tally::test {

enum class Direction : std::uint8_t { to_server, to_client };

/// Listens on a unix socket in a folder of its own and forwards to the server's. Thread-safe. It
/// has one thread, holds back at most 256 KiB a connection and direction, and ends, with its
/// connections, with the object.
class Proxy {
 public:
  /// `server_folder`: where PostgreSQL's socket of port 5432 is.
  explicit Proxy(const std::filesystem::path& server_folder);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  /// To be put behind a conninfo string of the server's: of two hosts, libpq takes the last.
  std::string conninfo() const { return " host=" + folder_.path().string() + " port=5432"; }

  /// Lets exactly so many bytes more through in that direction, over all connections, then closes
  /// the one that is at it, both ways. Once; what comes after is forwarded.
  void cut_after(Direction direction, std::uint64_t bytes);
  /// Lets exactly so many bytes more through in that direction; then nothing more in either, on
  /// any connection, until resume(). They stay open, and new ones are accepted.
  void stall_after(Direction direction, std::uint64_t bytes);
  void stall() { stall_after(Direction::to_client, 0); }
  /// Ends a stall (what was held back is forwarded, also what nobody waits for any more), and takes
  /// back a cut or a stall that was not reached.
  void resume();
  /// So many bytes a millisecond, each way and connection; 0: as many as there are.
  void throttle(std::size_t bytes_each_ms);
  /// What comes from now on is forwarded so much later, each way.
  void delay(std::chrono::milliseconds each_way);

  /// Bytes forwarded so far.
  std::uint64_t bytes(Direction direction) const;
  /// Connections that cut_after() closed.
  std::uint64_t cuts() const;
  bool stalled() const;
  /// Until it is, for at most that long; false where it is not.
  bool wait_until_stalled(std::chrono::milliseconds timeout) const;

 private:
  struct Link;
  struct Flow;
  enum class Fault : std::uint8_t { none, cut, stall };

  void run();
  void accept_one();
  void read_into(Link& link, Flow& flow);
  void write_from(Link& link, Flow& flow);
  void wake() const;

  TemporaryFolder folder_;
  std::filesystem::path server_;
  int listener_ = -1;
  int wake_read_ = -1;
  int wake_write_ = -1;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool stopping_ = false;
  bool stalled_ = false;
  Fault fault_ = Fault::none;
  Direction fault_direction_ = Direction::to_server;
  std::uint64_t fault_left_ = 0;  ///< Bytes to let through before it.
  std::chrono::milliseconds delay_{0};
  std::size_t bytes_each_ms_ = 0;
  std::uint64_t forwarded_[2] = {0, 0};
  std::uint64_t cuts_ = 0;
  std::vector<std::unique_ptr<Link>> links_;
  std::thread thread_;
};

}  // namespace tally::test
