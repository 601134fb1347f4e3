#include "sim/workload.hpp"

#include <algorithm>
#include <array>

#include "sim/world.hpp"

namespace tally::sim {
namespace {

using enum JobStatus;

constexpr std::array texts{"a", "", "späte Änderung", "line\nline", "{}", "'; drop table jobs; --"};

JobStatus behind(JobStatus status) { return static_cast<JobStatus>(static_cast<int>(status) + 1); }

}  // namespace

Command Workload::next(Timestamp at) {
  Random& random = world_.random;
  if (!world_.recent.empty() && random.one_in(20)) {
    Command again = random.pick(world_.recent);
    again.at = at;
    again.reservation.reset();
    again.lease.reset();
    // Now and then the same op_id means something else, which is a conflict.
    if (random.one_in(5)) again.operation = draw();
    return again;
  }
  Command command;
  command.op_id = world_.fresh_id('o');
  command.at = at;
  std::vector<Operation> stretch;
  if (random.one_in(16)) stretch = stretch_of_life();
  if (!stretch.empty())
    command.operation = as_batch(std::move(stretch), at);
  else
    command.operation = random.one_in(25) ? Operation(anything(at)) : draw();
  world_.recent.push_back(command);
  if (world_.recent.size() > 40) world_.recent.pop_front();
  return command;
}

Operation Workload::draw() {
  const std::size_t kind = world_.random.below(100);
  if (kind < 55) {
    if (auto step = drive()) return *std::move(step);
  }
  return kind < 75 ? job_operation() : other_operation();
}

// ---- a job's life -------------------------------------------------------------------------------

/// Its next step, most of the time; nothing where there is no job to be worked on.
std::optional<Operation> Workload::drive() {
  Random& random = world_.random;
  const auto at_hand = take_up();
  if (!at_hand) return std::nullopt;
  const auto& [job, seen, is_new] = *at_hand;
  const Operation step = rest_of_life(*at_hand).front();
  if (is_new) return step;
  switch (random.below(24)) {
    case 0:
      return FailJob{job.job_id, "E", {}};
    case 1:
      return RenewClaim{job.job_id, random.between(1, 10)};
    case 2:
      return ReportProgress{job.job_id, std::string(name_of(seen.status)), random.between(0, 100),
                            std::string(random.pick(texts))};
    case 3:
      return AddAsset{world_.fresh_id('a'), job.job_id, "image", "u", "s"};
    case 4:
      return ClaimJob{job.job_id, random.between(1, 5)};
    default:
      return step;
  }
}

/// The job at hand; where that is over or not to be seen, another or a new one.
std::optional<Workload::AtHand> Workload::take_up() {
  Random& random = world_.random;
  const bool is_author = kind_.has(Capability::author);
  const auto is_over = [&](const SeenJob& seen) {
    const bool is_an_authors = seen.status == PENDING || seen.status == FAILED;
    return seen.status == READY || (is_an_authors && !is_author) ||
           (seen.status == FAILED && random.one_in(3));
  };
  for (int tries = 0; tries < 3; ++tries) {
    const auto seen = at_hand_ ? sight_(at_hand_->job_id) : std::nullopt;
    if (seen && !is_over(*seen) && !random.one_in(20)) return AtHand{*at_hand_, *seen};
    at_hand_.reset();
    if (is_author && (world_.jobs.empty() || random.one_in(3))) return new_job();
    if (world_.jobs.empty()) return std::nullopt;
    at_hand_ = random.pick_late(world_.jobs, 4);
  }
  return std::nullopt;
}

std::optional<Workload::AtHand> Workload::new_job() {
  for (int tries = 0; tries < 4 && !world_.projects.empty(); ++tries) {
    const auto& [project, owner] = world_.random.pick(world_.projects);
    if (!is_mine(owner)) continue;
    at_hand_ = KnownJob{world_.fresh_id('j'), project, owner};
    return AtHand{*at_hand_, {}, true};
  }
  return std::nullopt;
}

/// All that is left of it; never nothing.
std::vector<Operation> Workload::rest_of_life(const AtHand& at_hand) {
  Random& random = world_.random;
  const Uuid& job_id = at_hand.job.job_id;
  auto [status, stage, hold] = at_hand.seen;
  std::vector<Operation> rest;
  if (at_hand.is_new)
    rest.emplace_back(CreateJob{job_id, at_hand.job.project_id, at_hand.job.user_id});
  if (status == PENDING && hold == 0) {
    const Credits amount = reservation();
    rest.emplace_back(ReserveCredits{at_hand.job.user_id, job_id, amount});
    hold = amount.value;
  }
  if (status == PENDING) rest.emplace_back(AdvanceJob{job_id, QUEUED});
  if (status == FAILED) {
    const Credits amount = reservation();
    rest.emplace_back(RetryJob{job_id, amount});
    hold = amount.value;
  }
  const bool is_before_stages = !is_stage(status);
  if (is_before_stages && random.one_in(3))
    rest.emplace_back(ClaimJob{job_id, random.between(1, 5)});
  for (JobStatus to = is_before_stages ? stage : behind(status); is_stage(to); to = behind(to))
    rest.emplace_back(AdvanceJob{job_id, to});
  if (hold > 0 && random.one_in(2)) {
    rest.emplace_back(CompleteJob{job_id, price(hold)});
    return rest;
  }
  if (hold > 0) rest.emplace_back(FinalizeJobCredits{job_id, price(hold)});
  rest.emplace_back(AdvanceJob{job_id, READY});
  return rest;
}

/// As of somebody who was offline for the whole of it, or for some steps.
std::vector<Operation> Workload::stretch_of_life() {
  const auto at_hand = take_up();
  if (!at_hand) return {};
  auto stretch = rest_of_life(*at_hand);
  stretch.resize(std::min(stretch.size(), 1 + world_.random.below(20)));
  return stretch;
}

Credits Workload::reservation() {
  return Credits{world_.random.between(1, world_.random.one_in(10) ? 60 : 6)};
}

Credits Workload::price(std::int64_t hold) {
  switch (world_.random.below(8)) {
    case 0:
      return Credits{hold + world_.random.between(1, 4)};
    case 1:
    case 2:
      return Credits{hold};
    default:
      return Credits{world_.random.between(0, hold)};
  }
}

Batch Workload::as_batch(std::vector<Operation> operations, Timestamp at) {
  Batch made;
  for (Operation& operation : operations) {
    Command inner;
    inner.op_id = world_.fresh_id('o');
    inner.at = at;
    inner.operation = std::move(operation);
    made.operations.push_back(std::move(inner));
  }
  return made;
}

// ---- anything -----------------------------------------------------------------------------------

Batch Workload::anything(Timestamp at) {
  std::vector<Operation> operations;
  for (std::size_t n = 1 + world_.random.below(4); operations.size() < n;)
    operations.push_back(draw());
  return as_batch(std::move(operations), at);
}

Uuid Workload::user() {
  return kind_.scope && !world_.random.one_in(20) ? *kind_.scope : world_.random.pick(world_.users);
}

KnownJob Workload::job() {
  Random& random = world_.random;
  if (world_.jobs.empty() || random.one_in(40))
    return {world_.fresh_id('j'), world_.fresh_id('p'), user()};  // There is no such job.
  KnownJob job = random.pick_late(world_.jobs, 4);
  for (int tries = 0; !is_mine(job.user_id) && tries < 4; ++tries)
    job = random.pick_late(world_.jobs, 8);
  return job;
}

/// What makes no sense as often as what does.
Operation Workload::job_operation() {
  Random& random = world_.random;
  const KnownJob of = job();
  const auto seen = [&] { return sight_(of.job_id).value_or(SeenJob{}); };
  switch (random.below(12)) {
    case 0:
    case 1:
      return ReserveCredits{of.user_id, of.job_id, reservation()};
    case 2:
      return FinalizeJobCredits{of.job_id, price(seen().hold)};
    case 3:
      return ReleaseJobCredits{of.job_id};
    case 4:
      return FailJob{of.job_id, "E", {}};
    case 5:
      return ClaimJob{of.job_id, random.between(1, 30)};
    case 6:
      return random.one_in(2) ? Operation(RenewClaim{of.job_id, 10}) : DropClaim{of.job_id};
    case 7:
      return ReportProgress{of.job_id, std::string(name_of(seen().status)), random.between(0, 100),
                            std::string(random.pick(texts))};
    case 8: {
      AddAsset asset{world_.fresh_id('a'), of.job_id, "image", "u", "s"};
      asset.size_bytes = random.between(0, 5'000'000'000);
      return asset;
    }
    case 9:
      return RetryJob{of.job_id, reservation()};
    case 10:
      return CompleteJob{of.job_id, price(seen().hold)};
    default:
      return AdvanceJob{of.job_id, static_cast<JobStatus>(random.below(12))};
  }
}

Operation Workload::other_operation() {
  Random& random = world_.random;
  const Uuid of = user();
  switch (random.below(18)) {
    case 0: {
      CreateProject project{world_.fresh_id('p'), of, "T", "P", "facts"};
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
      return CreateDraft{world_.fresh_id('d'), "s" + std::to_string(random.below(4)),
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
      return CreateVoiceProfile{world_.fresh_id('v'), of, "V", "path"};
    case 11:
      if (world_.voice_profiles.empty()) return PurgeExpiredDrafts{};
      return DeleteVoiceProfile{random.pick(world_.voice_profiles), of};
    default:
      return lease_operation(of);
  }
}

Operation Workload::lease_operation(const Uuid& of) {
  Random& random = world_.random;
  if (!world_.leases.empty() && random.one_in(5))
    return ReturnLease{random.pick_late(world_.leases, 3)};
  const Uuid lease_id = world_.leases.empty() || random.one_in(2)
                            ? world_.fresh_id('l')
                            : random.pick_late(world_.leases, 3);
  // Some expire, and may be reclaimed, while the run goes on.
  const std::int64_t ttl_s = random.one_in(3) ? random.between(1, 3) : random.between(5, 3'600);
  return LeaseCredits{lease_id, of, Credits{random.between(1, 12)}, ttl_s};
}

}  // namespace tally::sim
