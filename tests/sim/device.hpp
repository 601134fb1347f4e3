#pragma once
// A device of a run: a mirror's file on a disk that fails, up to two processes that have it open,
// and a host that calls, is told no, tries again, and remembers what it was promised.

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "exchange.hpp"
#include "fault/fault_disk.hpp"
#include "sim/agenda.hpp"
#include "sim/auditor.hpp"

namespace tally::sim {

class World;
struct SeenJob;

struct DeviceKind {
  std::vector<Capability> capabilities{};
  std::optional<Uuid> scope{};
  SpendPolicy policy = SpendPolicy::optimistic;
  Durability durability = Durability::full;
  std::optional<LeaseTarget> lease{};
  std::size_t operations_max = 1'000;  ///< Of one push.
  int rows_max = 20'000;               ///< Of one answer.
  std::size_t processes = 1;
  bool has(Capability capability) const {
    for (const Capability own : capabilities) {
      if (own == capability) return true;
    }
    return false;
  }
  /// Fed profiles and drafts, too.
  bool is_full() const { return has(Capability::author) || has(Capability::service); }
};

class Device {
 public:
  Device(World& world, std::size_t place, DeviceKind kind, const sync::DeviceToken& token);
  ~Device();

  const DeviceKind& kind() const { return kind_; }
  const Uuid& device_id() const { return device_id_; }
  Timestamp clock() const;
  bool is_up() const { return !processes_.empty(); }
  /// Opens the mirror; where the disk does not let it, it is tried again later.
  void start();
  /// The host calls: one operation.
  void apply(const Command& command);
  /// The host looks after what was in doubt, rejected or refused by the world.
  void look_after();
  /// Its processes end without a word; with the power, what was not synced may be gone.
  void crash(bool with_the_power);
  /// That comes at one of its next calls of the disk, often within a long call into the engine.
  enum class Trouble : std::uint8_t { io_error, power_cut, kill };
  void expect(Trouble trouble);
  void fill_disk(bool full) { is_full_ = full; }
  void set_clock_error(Micros error) { clock_error_ = error; }
  /// The file as it is; and back to it, as somebody does who restores a backup.
  void copy_file();
  void restore_copy();

  /// From now on everything goes well.
  void heal();
  /// The host calls once more what is in doubt.
  void come_to_terms();
  /// Nothing is on its way or waits to be.
  bool is_at_rest();
  /// What is behind is compared with what there should be.
  void check_mirror();
  void check_promises();
  void check_equal();
  std::optional<SeenJob> see(const Uuid& job_id);
  /// What happened to an operation that it had applied, when canonical is set back.
  void excuse(const std::set<Uuid>& op_ids);
  std::string describe() const;

 private:
  struct Process;
  struct Promise {
    Command command;
    enum class State : std::uint8_t { in_doubt, given, excused } state = State::in_doubt;
    bool was_sent = false;  ///< So it is on the disk.
  };

  struct Due {
    Trouble trouble;
    int nth;  ///< Call from now on, of those that it is about.
    test::FaultDisk::Call failing;
    bool stays;  ///< For the rest of a call into the engine.
    std::uint64_t seed;
  };

  template <class Work>
  bool with_disk(Work&& work);
  void arm(test::FaultDisk& disk);
  void look_back(const test::FaultDisk& disk);
  void tick(std::size_t process);
  void send(std::size_t process, const sync::Call& call);
  /// `life`: canonical's when it answered.
  void receive(std::size_t process, std::uint64_t number, const sync::Answer& answer,
               std::uint64_t life);
  void receive_late(std::size_t process, const sync::Answer& answer);
  void settle(std::size_t process, const std::optional<sync::Exchange::Rest>& rest);
  void schedule(std::size_t process, Micros delay);
  void enrol_anew(std::size_t process);
  /// From canonical, which was put back since it last told the mirror everything.
  bool may_differ() const;
  bool is_another_since_copy();
  void end_processes();
  void die(const test::FaultDisk::Image& image, bool with_the_power);
  void put_back(const test::FaultDisk::Image& image);
  test::FaultDisk::Image files() const;
  void retry_rejected(const RejectedOperation& operation);
  static std::string difference(std::string_view table, const std::vector<Half::Row>& here,
                                const std::vector<Half::Row>& there);
  sync::SyncOptions sync_options();
  Options engine_options();
  std::filesystem::path file() const;
  Engine& engine();

  World& world_;
  std::size_t place_;
  DeviceKind kind_;
  Uuid device_id_;
  std::string token_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::uint64_t generation_ = 0;
  std::uint64_t calls_ = 0;
  std::optional<Due> due_;
  bool is_full_ = false;
  bool is_tainted_ = false;     ///< The disk failed since the mirror was opened.
  bool may_be_forked_ = false;  ///< An old copy was put back, and it is no other device yet.
  Uuid device_id_at_copy_{};    ///< Who it was when the copy was put back.
  std::uint64_t life_ = 0;      ///< Canonical's, which last told it everything.
  int writes_ = 0;              ///< In the latest call.
  Micros clock_error_ = 0;
  std::uint64_t ids_ = 0;
  std::optional<test::FaultDisk::Image> left_;  ///< By a crash in the midst of a call.
  bool left_by_power_cut_ = false;
  std::optional<test::FaultDisk::Image> copy_;
  std::set<Uuid> promised_at_copy_;
  std::map<Uuid, Promise> promises_;  ///< By op_id.
  std::set<Uuid> dismissed_;          ///< Rejected, and the host has read it.
};

}  // namespace tally::sim
