#pragma once
// The job machine: every move there is, in one table. The engine, canonical's check, the tests and
// the reference page read it.

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tally {

/// The statuses in the order of a job's life; a stage is one of the eight from SCRIPTING on.
enum class JobStatus : std::uint8_t {
  PENDING,
  QUEUED,
  SCRIPTING,
  VOICE_GEN,
  ALIGNMENT,
  VISUAL_PLAN,
  IMAGE_GEN,
  TIMELINE,
  RENDERING,
  PACKAGING,
  READY,
  FAILED,
};

enum class StepState : std::uint8_t { pending, started, succeeded, failed };

inline constexpr std::array<std::string_view, 12> job_status_names{
    "PENDING",   "QUEUED",   "SCRIPTING", "VOICE_GEN", "ALIGNMENT", "VISUAL_PLAN",
    "IMAGE_GEN", "TIMELINE", "RENDERING", "PACKAGING", "READY",     "FAILED"};
inline constexpr std::array<std::string_view, 4> step_state_names{"pending", "started", "succeeded",
                                                                  "failed"};

constexpr std::string_view name_of(JobStatus status) noexcept {
  return job_status_names[static_cast<std::size_t>(status)];
}
constexpr std::string_view name_of(StepState state) noexcept {
  return step_state_names[static_cast<std::size_t>(state)];
}
constexpr std::optional<JobStatus> job_status_named(std::string_view name) noexcept {
  for (std::size_t i = 0; i < job_status_names.size(); ++i) {
    if (job_status_names[i] == name) return static_cast<JobStatus>(i);
  }
  return std::nullopt;
}
constexpr std::optional<StepState> step_state_named(std::string_view name) noexcept {
  for (std::size_t i = 0; i < step_state_names.size(); ++i) {
    if (step_state_names[i] == name) return static_cast<StepState>(i);
  }
  return std::nullopt;
}

/// Steps have orders 1 (SCRIPTING) to 8 (PACKAGING).
inline constexpr int step_count = 8;
constexpr bool is_stage(JobStatus status) noexcept {
  return status >= JobStatus::SCRIPTING && status <= JobStatus::PACKAGING;
}
constexpr int step_order_of(JobStatus stage) noexcept { return static_cast<int>(stage) - 1; }
constexpr JobStatus stage_of(int step_order) noexcept {
  return static_cast<JobStatus>(step_order + 1);
}
constexpr std::optional<int> step_order_named(std::string_view step_name) noexcept {
  const auto status = job_status_named(step_name);
  if (!status || !is_stage(*status)) return std::nullopt;
  return step_order_of(*status);
}

/// What a move asks of the job's hold, or does to it.
enum class Hold : std::uint8_t {
  keeps,     ///< The move neither needs nor changes it.
  needs,     ///< There must be an open hold: `reservation_required`.
  settled,   ///< The hold must have been settled before.
  settles,   ///< The move settles it.
  releases,  ///< An open hold is released by the move.
  opens,     ///< The move opens a new one.
};
inline constexpr std::array<std::string_view, 6> hold_names{"keeps",   "needs",    "settled",
                                                            "settles", "releases", "opens"};
constexpr std::string_view name_of(Hold hold) noexcept {
  return hold_names[static_cast<std::size_t>(hold)];
}

struct JobMove {
  JobStatus from;
  JobStatus to;
  std::string_view by;  ///< The operation that makes the move.
  Hold hold;
  std::string_view why;
};

namespace detail {
using enum JobStatus;
constexpr auto make_job_moves() noexcept {
  // One row for the queue, one for each stage entered from QUEUED (a retry enters the first step
  // that has not succeeded), seven from stage to stage, READY twice, FAILED from ten, the retry.
  std::array<JobMove, 1 + 8 + 7 + 2 + 10 + 1> moves{};
  std::size_t n = 0;
  moves[n++] = {PENDING, QUEUED, "advance_job", Hold::needs,
                "A job is queued once it is paid for."};
  for (int order = 1; order <= step_count; ++order) {
    moves[n++] = {QUEUED, stage_of(order), "advance_job", Hold::keeps,
                  "Work starts at the first step that has not succeeded."};
  }
  for (int order = 1; order < step_count; ++order) {
    moves[n++] = {stage_of(order), stage_of(order + 1), "advance_job", Hold::keeps,
                  "The stage is done; the next one starts."};
  }
  moves[n++] = {PACKAGING, READY, "advance_job", Hold::settled,
                "All is made and was settled before."};
  moves[n++] = {PACKAGING, READY, "complete_job", Hold::settles,
                "All is made and is settled with it."};
  for (int status = 0; status <= static_cast<int>(PACKAGING); ++status) {
    moves[n++] = {static_cast<JobStatus>(status), FAILED, "fail_job", Hold::releases,
                  "The job failed or was cancelled; what it held is released."};
  }
  moves[n++] = {FAILED, QUEUED, "retry_job", Hold::opens,
                "A retry is paid for anew; finished steps stay."};
  return moves;
}
}  // namespace detail

inline constexpr auto job_moves = detail::make_job_moves();

/// The move, or null where the machine has none.
constexpr const JobMove* find_job_move(JobStatus from, JobStatus to, std::string_view by) noexcept {
  for (const JobMove& move : job_moves) {
    if (move.from == from && move.to == to && move.by == by) return &move;
  }
  return nullptr;
}

}  // namespace tally
