#pragma once
// One run: devices, a network, canonical, and all chance, from one seed. First anything may happen,
// and whatever does, nothing is lost, doubled or minted; then all is well again, and within a bound
// both halves are equal.

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/agenda.hpp"
#include "sim/auditor.hpp"
#include "sim/device.hpp"
#include "sim/network.hpp"
#include "sim/workload.hpp"

namespace tally::sim {

struct RunOptions {
  std::uint64_t seed = 1;
  std::size_t operations = 100;
  std::filesystem::path folder{};  ///< For the mirrors' files.
  bool tells = false;              ///< Everything that happens, as it happens.
  bool keeps_all = false;          ///< Of the story, too.
};

/// How often rare things happened, over all runs.
using Probes = std::map<std::string_view, std::uint64_t>;

class World {
 public:
  World(const RunOptions& options, std::unique_ptr<Half> canonical, Probes& probes);
  /// Throws Violation.
  void run();
  /// The last things that happened, a line each.
  std::string story() const;

  // For the devices.
  Agenda agenda{};
  Random random;
  std::unique_ptr<Half> canonical;
  Auditor auditor{[this](std::string_view what) { probe(what); }};
  std::unique_ptr<Network> network{};
  const RunOptions options;
  std::uint64_t life = 0;  ///< Of canonical: how often it was put back to a backup.
  void probe(std::string_view name) { ++probes_[name]; }
  void tell(const std::string& what);
  /// Whether every call and its answer are told.
  bool is_detailed() const { return options.tells || options.keeps_all; }
  Timestamp time() const;
  /// A call arrives at canonical.
  sync::Answer call(std::size_t device, const sync::Call& call);
  sync::DeviceToken new_token(const DeviceKind& kind);

  /// An id that nobody has had.
  Uuid fresh_id(char letter);
  /// What it made is there, as far as whoever called it knows.
  void remember(const Operation& operation);

  /// What hosts know of.
  std::vector<Uuid> users{};
  std::vector<KnownJob> jobs{};
  std::vector<std::pair<Uuid, Uuid>> projects{};  ///< With their users.
  std::vector<Uuid> drafts{};
  std::vector<Uuid> voice_profiles{};
  std::vector<Uuid> leases{};
  std::deque<Command> recent{};  ///< To be called once more.

 private:
  static DeviceKind all_capable();
  void make_users();
  void make_devices();
  DeviceKind draw_kind();
  void draw_weather();
  void live();
  void host_calls(std::size_t place);
  void trouble_comes();
  void something_happens();
  void cut_network(std::size_t place);
  void someone_writes_to_canonical();
  void an_operator_acts(Device& device);
  void somebody_forges();
  void write_off_in_absence(const Half::Lease& lease);
  void restore_backup();
  void apply_to_canonical(Operation operation);
  void heal();
  void check_all();

  Probes& probes_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<Workload> hosts_;  ///< Of the devices.
  Workload anybody_;             ///< Who has no mirror.
  std::uint64_t ids_ = 0;
  std::deque<std::string> story_;
  std::size_t applied_ = 0;
  struct Backup {
    std::shared_ptr<const void> canonical;
    Auditor auditor;
  };
  std::optional<Backup> backup_;
};

}  // namespace tally::sim
