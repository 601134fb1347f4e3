#pragma once
// What a host calls: most of the time the next step in the life of the job that it has at hand,
// often too late, twice, out of order, or while somebody else does so as well.

#include <functional>
#include <optional>
#include <vector>

#include "sim/device.hpp"

namespace tally::sim {

class World;

/// A job that hosts know of.
struct KnownJob {
  Uuid job_id;
  Uuid project_id;
  Uuid user_id;
};

/// What a mirror shows of one.
struct SeenJob {
  JobStatus status = JobStatus::PENDING;
  JobStatus stage = JobStatus::SCRIPTING;  ///< The first that has not succeeded.
  std::int64_t hold = 0;
};

class Workload {
 public:
  /// Nothing of a job that the mirror does not show.
  using Sight = std::function<std::optional<SeenJob>(const Uuid& job_id)>;

  Workload(World& world, DeviceKind kind, Sight sight)
      : world_(world), kind_(std::move(kind)), sight_(std::move(sight)) {}
  Command next(Timestamp at);

 private:
  struct AtHand {
    KnownJob job;
    SeenJob seen;
    bool is_new = false;  ///< It is to be made first.
  };

  Operation draw();
  std::optional<Operation> drive();
  std::optional<AtHand> take_up();
  std::optional<AtHand> new_job();
  std::vector<Operation> rest_of_life(const AtHand& at_hand);
  std::vector<Operation> stretch_of_life();
  Operation job_operation();
  Operation other_operation();
  Operation lease_operation(const Uuid& of);
  Batch as_batch(std::vector<Operation> operations, Timestamp at);
  Batch anything(Timestamp at);

  Credits reservation();
  /// Of a job with that hold: below it, at it, now and then above it.
  Credits price(std::int64_t hold);
  bool is_mine(const Uuid& user_id) const { return !kind_.scope || *kind_.scope == user_id; }
  Uuid user();
  KnownJob job();

  World& world_;
  DeviceKind kind_;
  Sight sight_;
  std::optional<KnownJob> at_hand_;
};

}  // namespace tally::sim
