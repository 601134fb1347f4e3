#pragma once
// A device whose syncer's words are kept, the role that devices connect as, and what it may do.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sync/device.hpp"

namespace tally::test {

/// Its backoff is short.
struct WatchedDevice : Device {
  WatchedDevice(sync::Canonical& canonical, const std::string& conninfo,
                std::optional<Uuid> scope = {});

  std::string told{};  ///< Rejections: `reserve_credits insufficient_credits; `.
  /// The latest state in which there was an error, and that error.
  sync::ErrorClass error_class = sync::ErrorClass::none;
  std::string error{};
};

/// Makes a login role that is a member of tally_device and of nothing else, if there is none yet.
void make_device_role(Session& session, const std::string& role);
/// Every table, view and function of canonical that the role may use, but for the sync function;
/// found by trying (tables) and by asking the catalogue (functions).
std::vector<std::string> open_to(Session& operators, const std::string& conninfo_of_role);

/// Applies trace lines to canonical; one that is not `ok` fails the test.
void apply_to_canonical(sync::Canonical& canonical, const std::vector<std::string>& lines);

}  // namespace tally::test
