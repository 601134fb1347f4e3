// What hosts call: mostly what makes sense, often too late, twice, or by somebody else as well.

#include <array>

#include "sim/world.hpp"

namespace tally::sim {
namespace {

using StatusOf = std::function<std::optional<JobStatus>(const Uuid&)>;

constexpr std::array texts{"a", "", "späte Änderung", "line\nline", "{}", "'; drop table jobs; --"};

/// Where a job goes from there, most of the time.
JobStatus next_of(JobStatus status) {
  return status == JobStatus::READY || status == JobStatus::FAILED
             ? JobStatus::QUEUED
             : static_cast<JobStatus>(static_cast<int>(status) + 1);
}

}  // namespace

Uuid Workload::fresh(char letter) {
  Uuid id;
  id.bytes[3] = static_cast<std::uint8_t>(letter);
  id.bytes[6] = 0x70;
  id.bytes[8] = 0x80;
  const std::uint64_t n = world_.next_id++;
  for (std::size_t i = 0; i < 6; ++i) id.bytes[15 - i] = static_cast<std::uint8_t>(n >> (8 * i));
  return id;
}

Uuid Workload::user(const DeviceKind& kind) {
  return kind.scope && !world_.random.one_in(20) ? *kind.scope : world_.random.pick(world_.users);
}

World::Job Workload::job(const DeviceKind& kind) {
  if (world_.jobs.empty() || world_.random.one_in(40))
    return {fresh('j'), fresh('p'), user(kind)};  // There is no such job.
  World::Job job = world_.random.pick(world_.jobs);
  for (int tries = 0; kind.scope && job.user_id != *kind.scope && tries < 4; ++tries)
    job = world_.random.pick(world_.jobs);
  return job;
}

Command Workload::next(const DeviceKind& kind, Timestamp at, const StatusOf& status_of) {
  Random& random = world_.random;
  if (!world_.recent.empty() && random.one_in(20)) {
    Command again = random.pick(world_.recent);
    again.at = at;
    again.reservation.reset();
    again.lease.reset();
    // Now and then the same op_id means something else, which is a conflict.
    if (random.one_in(5)) again.operation = draw(kind, status_of);
    return again;
  }
  Command command;
  command.op_id = fresh('o');
  command.at = at;
  if (random.one_in(25)) {
    command.operation = batch(kind, at, status_of);
  } else {
    command.operation = draw(kind, status_of);
  }
  world_.recent.push_back(command);
  if (world_.recent.size() > 40) world_.recent.pop_front();
  return command;
}

Batch Workload::batch(const DeviceKind& kind, Timestamp at, const StatusOf& status_of) {
  Batch made;
  for (std::size_t n = world_.random.below(4); made.operations.size() <= n;) {
    Command inner;
    inner.op_id = fresh('o');
    inner.at = at;
    inner.operation = draw(kind, status_of);
    made.operations.push_back(std::move(inner));
  }
  return made;
}

Operation Workload::draw(const DeviceKind& kind, const StatusOf& status_of) {
  return world_.random.below(100) < 75 ? job_operation(kind, status_of) : other_operation(kind);
}

Operation Workload::job_operation(const DeviceKind& kind, const StatusOf& status_of) {
  Random& random = world_.random;
  const auto credits = [&] { return Credits{random.between(1, random.one_in(8) ? 60 : 6)}; };
  if (!world_.projects.empty() && (world_.jobs.empty() || random.one_in(6))) {
    const auto& [project, owner] = random.pick(world_.projects);
    const Uuid made = fresh('j');
    world_.jobs.push_back({made, project, owner});
    return CreateJob{made, project, owner};
  }
  const World::Job of = job(kind);
  const JobStatus status = status_of(of.job_id).value_or(JobStatus::PENDING);
  if (status == JobStatus::PENDING && random.one_in(2))
    return ReserveCredits{of.user_id, of.job_id, credits()};
  if (status == JobStatus::FAILED && random.one_in(2)) return RetryJob{of.job_id, credits()};
  if (status == JobStatus::PACKAGING && random.one_in(2))
    return CompleteJob{of.job_id, Credits{random.between(0, 8)}};
  switch (random.below(16)) {
    case 0:
      return ReserveCredits{of.user_id, of.job_id, credits()};
    case 1:
      return FinalizeJobCredits{of.job_id, Credits{random.between(0, 8)}};
    case 2:
      return ReleaseJobCredits{of.job_id};
    case 3:
      return FailJob{of.job_id, "E", {}};
    case 4:
      return ClaimJob{of.job_id, random.between(1, 30)};
    case 5:
      return random.one_in(2) ? Operation(RenewClaim{of.job_id, 10}) : DropClaim{of.job_id};
    case 6:
      return ReportProgress{of.job_id, std::string(name_of(status)), random.between(0, 100),
                            std::string(random.pick(texts))};
    case 7: {
      AddAsset asset{fresh('a'), of.job_id, "image", "u", "s"};
      asset.size_bytes = random.between(0, 5'000'000'000);
      return asset;
    }
    default:
      return AdvanceJob{of.job_id, random.one_in(10) ? static_cast<JobStatus>(random.below(12))
                                                     : next_of(status)};
  }
}

Operation Workload::other_operation(const DeviceKind& kind) {
  Random& random = world_.random;
  const Uuid of = user(kind);
  switch (random.below(18)) {
    case 0: {
      world_.projects.emplace_back(fresh('p'), of);
      CreateProject project{world_.projects.back().first, of, "T", "P", "facts"};
      if (!world_.voice_profiles.empty() && random.one_in(2))
        project.voice_profile_id = random.pick(world_.voice_profiles);
      return project;
    }
    case 1: {
      if (world_.projects.empty()) return Sweep{3'600};
      const auto& [project, owner] = random.pick(world_.projects);
      UpdateProject update{project, owner};
      update.title = "new";
      return update;
    }
    case 2: {
      if (world_.projects.empty() || !random.one_in(3)) return Sweep{random.between(1, 60)};
      const auto& [project, owner] = random.pick(world_.projects);
      return DeleteProject{project, owner};
    }
    case 3: {
      UpdateProfile update{of};
      update.display_name = std::string(random.pick(texts));
      return update;
    }
    case 4:
    case 5: {
      AddCredits add{of, Credits{random.between(1, 15)}, "purchase"};
      // Few, so that some come twice.
      if (random.one_in(2)) add.stripe_payment_id = "pay" + std::to_string(random.below(30));
      return add;
    }
    case 6: {
      ExpireCredits expire{of, Credits{random.between(1, 6)}};
      if (random.one_in(4)) expire.stripe_payment_id = "back" + std::to_string(random.below(30));
      return expire;
    }
    case 7:
      world_.drafts.push_back(fresh('d'));
      return CreateDraft{world_.drafts.back(), "s" + std::to_string(random.below(4)),
                         random.one_in(2) ? std::optional(of) : std::nullopt, "draft"};
    case 8: {
      if (world_.drafts.empty()) return PurgeExpiredDrafts{};
      UpdateDraft update{random.pick(world_.drafts)};
      update.user_id = of;
      update.session_token = "s" + std::to_string(random.below(4));
      update.prompt_text = "later";
      return update;
    }
    case 9:
      return ClaimDraft{"s" + std::to_string(random.below(4)), of};
    case 10:
      world_.voice_profiles.push_back(fresh('v'));
      return CreateVoiceProfile{world_.voice_profiles.back(), of, "V", "path"};
    case 11:
      if (world_.voice_profiles.empty()) return PurgeExpiredDrafts{};
      return DeleteVoiceProfile{random.pick(world_.voice_profiles), of};
    case 12:
      if (!world_.leases.empty() && random.one_in(3))
        return ReturnLease{random.pick(world_.leases)};
      [[fallthrough]];
    default: {
      if (world_.leases.empty() || random.one_in(3)) world_.leases.push_back(fresh('l'));
      return LeaseCredits{random.pick(world_.leases), of, Credits{random.between(1, 12)},
                          random.between(5, 3'600)};
    }
  }
}

}  // namespace tally::sim
