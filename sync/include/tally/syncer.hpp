#pragma once
// A mirror kept equal to canonical: pushes what the mirror has pending, takes what canonical
// answers. Nothing here blocks on the network, and no thread runs unless the host asks for one.
//
//   tally::sync::Syncer syncer(engine, {.conninfo = "postgresql://…", .token = token});
//   syncer.run_until_synced(std::chrono::seconds(30));   // or step() from a loop, or start()

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tally/replica.hpp"
#include "tally/sync.hpp"

namespace tally::sync {

/// Why an attempt failed, by what follows from it.
enum class ErrorClass : std::uint8_t {
  none,
  transient,       ///< Tried again, later and later.
  authentication,  ///< Paused until the host gives another token or calls resume(); the queue is
                   ///< kept.
  protocol,  ///< Stopped: the halves do not understand each other, or an operator has to decide.
  local,     ///< The mirror's own trouble (busy, disk full); no operation is blamed for it.
};
TALLY_API std::string_view name_of(ErrorClass error_class) noexcept;

enum class SyncState : std::uint8_t {
  standby,  ///< Another process syncs this mirror.
  connecting,
  syncing,  ///< A call is on its way.
  synced,   ///< Nothing pending, blocked or rejected, and all was pulled.
  idle,     ///< All was pushed and pulled, and something is rejected.
  waiting,  ///< For the next attempt after a transient or local error.
  paused,   ///< After an authentication error.
  stopped,  ///< After a protocol error.
};
TALLY_API std::string_view name_of(SyncState state) noexcept;

/// Called from the thread that calls step() (with start(), that one). They must not throw.
struct SyncCallbacks {
  std::function<void(const RejectedOperation&)> rejected{};
  /// Canonical's verdict on an operation that was queued under SpendPolicy::online, whether or not
  /// its call still waits. In the process that syncs; a refusal is told to `rejected`, too.
  std::function<void(const SettledOperation&)> verdict{};
  std::function<void(std::int64_t acked, std::int64_t pending)> progress{};
  std::function<void(SyncState, ErrorClass, std::string_view error)> state{};
  /// The users whose rows came with an answer.
  std::function<void(const std::vector<Uuid>& user_ids)> changed{};
  /// A user's rows were not canonical's, found by a count, a balance or a digest; they are fed
  /// anew.
  std::function<void(const Uuid& user_id)> diverged{};
};

/// The most that one call may be asked for, in operations and, but for its last one, in bytes of
/// their lines. Canonical refuses more (`protocol`).
inline constexpr std::size_t call_operations_max = 10'000;
inline constexpr std::size_t call_bytes_max = 16U << 20U;
inline constexpr int call_rows_max = 1'000'000;

struct SyncOptions {
  /// A URI, a conninfo string, or empty for libpq's PG* environment; libpq gets it as it is.
  std::string conninfo;
  std::string token;
  std::string schema = "public";
  /// Where given, a token of another device's makes the mirror no device: the first contact stops
  /// with invalid_argument.
  std::optional<Uuid> device_id{};
  /// Of one call: from 1 up to call_operations_max and call_bytes_max.
  std::size_t operations_max = 1'000;
  std::size_t bytes_max = 4U << 20U;
  /// Rows that one call brings, about; from 1 up to call_rows_max. What a user has beyond it comes
  /// in pages, which are kept and taken when the last is there: a bootstrap that is cut goes on
  /// where it was.
  int rows_max = 20'000;
  /// Between calls when there is nothing to push.
  std::chrono::milliseconds poll_interval{2'000};
  /// A call for which nothing moves for so long, out or in, is given up, and made again; so is a
  /// connection that is not made in that time.
  std::chrono::milliseconds call_timeout{60'000};
  /// After the k-th transient error in a row: a random time up to the least of cap and base times
  /// 2^k.
  std::chrono::milliseconds backoff_base{250};
  std::chrono::milliseconds backoff_cap{60'000};
  /// Keeps the device's leases at that size: more is asked for, with the next call, when one has
  /// fallen below the low water or ends soon (Replica::refill). What canonical cannot give is asked
  /// for again after backoff_cap; `rejected` is told, and nothing is kept of it. One that is
  /// returned is opened anew: end this first.
  std::optional<LeaseTarget> lease{};
  /// Every so many calls without anything to do the digest of a user is compared, of one after
  /// another, those first who were fed from the start; of a device's one user that is done as soon
  /// as it was. What differs is fed anew. 0: only that one.
  int digest_every = 100;
  SyncCallbacks callbacks{};
};

/// What step() leaves to wait for.
struct Wait {
  SyncState state = SyncState::connecting;
  int socket = -1;  ///< None: only the time.
  bool readable = false;
  bool writable = false;
  std::chrono::milliseconds timeout{0};
};

/// Thread-compatible, but for request_stop(): one thread at a time. The engine must outlive it.
class TALLY_API Syncer {
 public:
  /// Throws std::invalid_argument where an option that has a range is outside it.
  Syncer(Engine& engine, SyncOptions options);
  Syncer(Syncer&&) noexcept;
  ~Syncer();

  /// Does what can be done without waiting for the network, and says what to wait for. Commits to
  /// the mirror's file happen in here. One reply is taken whole or not at all.
  Wait step() noexcept;
  /// step() until everything is pushed and pulled, or the time is over. ok: `synced` or `idle`.
  /// Failures: busy (another process syncs this mirror), unreachable (the time was over),
  /// unauthorized, device_forked, history_lost, protocol, and the mirror's own.
  Result<SyncState> run_until_synced(std::chrono::milliseconds timeout) noexcept;
  /// The same for as long as no stop is asked for, on a thread of its own. Throws
  /// std::system_error where there can be none.
  void start();
  /// Ends that thread and waits for it; not from a callback.
  void stop() noexcept;
  /// From any thread, callbacks included: has it end soon, without waiting. A call that is under
  /// way on another thread then answers as if its time were over.
  void request_stop() noexcept;
  /// From any thread: whether it is that one.
  bool is_own_thread() const noexcept;

  /// After authentication errors: another token, and on.
  void resume(std::string token);
  /// A mirror that is forked becomes another device, whose token the options have. What it has not
  /// pushed is kept as rejected, with the code device_forked, for the host to retry. Refusals:
  /// already_exists (the token is that of the device that the mirror is). Failures as
  /// run_until_synced.
  Result<bool> enrol_anew(std::chrono::milliseconds timeout) noexcept;
  /// The next job for a worker, claimed for so many seconds, in one call; none where there is none.
  /// First one that an earlier claim_next claimed whose time was over before it was answered, for
  /// as long as it is claimed. Failures as run_until_synced.
  Result<std::optional<Uuid>> claim_next(std::int64_t ttl_s,
                                         std::chrono::milliseconds timeout) noexcept;
  /// Compares the user's digest with canonical's, once everything is pushed and pulled. Failures as
  /// run_until_synced.
  Result<bool> verify(const Uuid& user_id, std::chrono::milliseconds timeout) noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tally::sync
