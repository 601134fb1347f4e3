#pragma once
// The operations: every named command there is, one struct each, with its row of the contract's
// table beside its fields. Parsing, validation, comparison, storage, dispatch, the reference pages
// and canonical's rows all come from these rows: adding an operation is adding a struct here and
// its function in the engine.

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <variant>
#include <vector>

#include "tally/code.hpp"
#include "tally/job_machine.hpp"
#include "tally/values.hpp"

namespace tally {

/// Who may call an operation; of a batch, each operation says. A mirror without a device has all.
enum class Capability : std::uint8_t { author, worker, service, each };
inline constexpr std::array<std::string_view, 4> capability_names{"author", "worker", "service",
                                                                  "each"};

/// The row of an operation in the table of the contract's section 4.
struct OperationRow {
  std::uint8_t number;  ///< Stored in mirrors; never reused.
  std::string_view name;
  Capability capability;
  std::array<Code, 10>
      codes;  ///< Beyond ok and the codes of every operation, in check order; ok fills up.
  bool names_reservation =
      false;           ///< From advance_job to retry_job: carries the job's reservation.
  bool pushed = true;  ///< False for a half's own housekeeping.
  bool needs_device = false;

  constexpr std::size_t code_count() const noexcept {
    std::size_t n = 0;
    while (n < codes.size() && codes[n] != Code::ok) ++n;
    return n;
  }
};

/// The words a field may take.
using Words = std::span<const std::string_view>;

/// One field of an operation: its name in traces, its member, and what it may hold.
template <class Operation, class Member>
struct Field {
  std::string_view name;
  Member Operation::*member;
  std::int64_t min = 0;  ///< Least number; for a text, 1 where it may not be empty.
  std::int64_t max = 0;  ///< Greatest number; for a text, its limit in bytes.
  Code out_of_range = Code::invalid_argument;
  Words words{};                     ///< The list that the text must be in.
  std::string_view default_value{};  ///< What an absent field means, where that is a value.
  bool service_only = false;
};

inline constexpr std::int64_t text_max = 255;
inline constexpr std::int64_t long_text_max = 65'536;
inline constexpr std::int64_t prompt_max = 1'048'576;
inline constexpr std::int64_t json_max = 65'536;
inline constexpr int json_depth_max = 32;
inline constexpr int json_number_max = 40;
inline constexpr std::int64_t ttl_max_s = 2'592'000;
inline constexpr std::size_t batch_operations_max = 1'000;

inline constexpr std::array<std::string_view, 4> entry_types_added{"purchase", "grant",
                                                                   "subscription", "refund"};
/// All that an entry may be (contract, section 3).
inline constexpr std::array<std::string_view, 7> entry_types{
    "purchase", "grant", "subscription", "refund", "usage", "expire", "reserve"};
inline constexpr std::array<std::string_view, 6> niche_presets{
    "motivation", "explainer", "facts", "history", "finance", "science"};
inline constexpr std::array<std::string_view, 2> transcript_modes{"auto", "manual"};
inline constexpr std::array<std::string_view, 7> asset_types{
    "video", "audio", "image", "captions", "manifest", "zip", "thumbnail"};

namespace field {
template <class T, class M>
constexpr Field<T, M> id(std::string_view name, M T::*member) {
  return {.name = name, .member = member};
}
/// A text that may not be empty.
template <class T, class M>
constexpr Field<T, M> text(std::string_view name, M T::*member, std::int64_t bytes_max = text_max) {
  return {.name = name, .member = member, .min = 1, .max = bytes_max};
}
/// A text that may be empty.
template <class T, class M>
constexpr Field<T, M> free_text(std::string_view name, M T::*member,
                                std::int64_t bytes_max = text_max,
                                std::string_view default_value = {}) {
  return {.name = name, .member = member, .max = bytes_max, .default_value = default_value};
}
template <class T, class M>
constexpr Field<T, M> word(std::string_view name, M T::*member, Words words,
                           Code out_of_range = Code::invalid_argument,
                           std::string_view default_value = {}) {
  return {.name = name,
          .member = member,
          .min = 1,
          .max = text_max,
          .out_of_range = out_of_range,
          .words = words,
          .default_value = default_value};
}
template <class T, class M>
constexpr Field<T, M> json(std::string_view name, M T::*member,
                           std::string_view default_value = {}) {
  return {.name = name, .member = member, .max = json_max, .default_value = default_value};
}
template <class T, class M>
constexpr Field<T, M> number(std::string_view name, M T::*member, std::int64_t min,
                             std::int64_t max) {
  return {.name = name, .member = member, .min = min, .max = max};
}
template <class T, class M>
constexpr Field<T, M> credits(std::string_view name, M T::*member, std::int64_t min) {
  return {.name = name,
          .member = member,
          .min = min,
          .max = Credits::max,
          .out_of_range = Code::invalid_amount};
}
}  // namespace field

// Members: a plain one is required, an optional one may be absent, a Change is a column that an
// update leaves, clears or sets; Change of a column that cannot be NULL is an optional that must
// not be null in a trace (`NotNull`).

/// An optional field of an update whose column cannot be cleared.
template <class T>
struct NotNull : std::optional<T> {
  using std::optional<T>::optional;
};

struct CreateUser {
  Uuid user_id;
  std::optional<std::string> email{};
  std::optional<std::string> display_name{};

  static constexpr OperationRow row{1, "create_user", Capability::service, {Code::user_exists}};
  static constexpr auto fields() {
    return std::tuple{field::id("user_id", &CreateUser::user_id),
                      field::free_text("email", &CreateUser::email),
                      field::free_text("display_name", &CreateUser::display_name)};
  }
};

struct UpdateProfile {
  Uuid user_id;
  Change<std::string> display_name{};
  Change<std::string> avatar_url{};
  Change<Json> notification_prefs{};
  Change<std::string> stripe_customer_id{};

  static constexpr OperationRow row{
      2, "update_profile", Capability::author, {Code::user_not_found}};
  static constexpr auto fields() {
    auto stripe = field::free_text("stripe_customer_id", &UpdateProfile::stripe_customer_id);
    stripe.service_only = true;
    return std::tuple{field::id("user_id", &UpdateProfile::user_id),
                      field::free_text("display_name", &UpdateProfile::display_name),
                      field::free_text("avatar_url", &UpdateProfile::avatar_url, long_text_max),
                      field::json("notification_prefs", &UpdateProfile::notification_prefs),
                      stripe};
  }
};

struct AddCredits {
  Uuid user_id;
  Credits amount;
  std::string type;
  std::optional<std::string> note{};
  std::optional<std::string> stripe_payment_id{};

  static constexpr OperationRow row{3,
                                    "add_credits",
                                    Capability::service,
                                    {Code::invalid_amount, Code::invalid_type, Code::user_not_found,
                                     Code::payment_conflict, Code::balance_overflow}};
  static constexpr auto fields() {
    return std::tuple{field::id("user_id", &AddCredits::user_id),
                      field::credits("amount", &AddCredits::amount, 1),
                      field::word("type", &AddCredits::type, entry_types_added, Code::invalid_type),
                      field::free_text("note", &AddCredits::note, long_text_max),
                      field::free_text("stripe_payment_id", &AddCredits::stripe_payment_id)};
  }
};

struct ExpireCredits {
  Uuid user_id;
  Credits amount;
  std::optional<std::string> note{};
  std::optional<std::string> stripe_payment_id{};

  static constexpr OperationRow row{4,
                                    "expire_credits",
                                    Capability::service,
                                    {Code::invalid_amount, Code::user_not_found,
                                     Code::payment_conflict, Code::insufficient_credits}};
  static constexpr auto fields() {
    return std::tuple{field::id("user_id", &ExpireCredits::user_id),
                      field::credits("amount", &ExpireCredits::amount, 1),
                      field::free_text("note", &ExpireCredits::note, long_text_max),
                      field::free_text("stripe_payment_id", &ExpireCredits::stripe_payment_id)};
  }
};

struct CreateDraft {
  Uuid draft_id;
  std::string session_token;
  std::optional<Uuid> user_id{};
  std::string prompt_text;
  std::optional<std::string> template_id{};
  std::optional<Json> options{};

  static constexpr OperationRow row{
      5, "create_draft", Capability::author, {Code::user_not_found, Code::already_exists}};
  static constexpr auto fields() {
    return std::tuple{field::id("draft_id", &CreateDraft::draft_id),
                      field::text("session_token", &CreateDraft::session_token),
                      field::id("user_id", &CreateDraft::user_id),
                      field::text("prompt_text", &CreateDraft::prompt_text, prompt_max),
                      field::free_text("template_id", &CreateDraft::template_id),
                      field::json("options", &CreateDraft::options, "{}")};
  }
};

/// session_token or user_id, or both, as proof.
struct UpdateDraft {
  Uuid draft_id;
  std::optional<std::string> session_token{};
  std::optional<Uuid> user_id{};
  NotNull<std::string> prompt_text{};
  Change<std::string> template_id{};
  Change<Json> options{};

  static constexpr OperationRow row{6,
                                    "update_draft",
                                    Capability::author,
                                    {Code::draft_not_found, Code::not_owner, Code::draft_expired}};
  static constexpr auto fields() {
    return std::tuple{field::id("draft_id", &UpdateDraft::draft_id),
                      field::free_text("session_token", &UpdateDraft::session_token),
                      field::id("user_id", &UpdateDraft::user_id),
                      field::text("prompt_text", &UpdateDraft::prompt_text, prompt_max),
                      field::free_text("template_id", &UpdateDraft::template_id),
                      field::json("options", &UpdateDraft::options)};
  }
};

struct ClaimDraft {
  std::string session_token;
  Uuid user_id;

  static constexpr OperationRow row{
      7, "claim_draft", Capability::author, {Code::user_not_found, Code::draft_not_found}};
  static constexpr auto fields() {
    return std::tuple{field::text("session_token", &ClaimDraft::session_token),
                      field::id("user_id", &ClaimDraft::user_id)};
  }
};

struct PurgeExpiredDrafts {
  static constexpr OperationRow row{8,    "purge_expired_drafts", Capability::service, {}, false,
                                    false};
  static constexpr auto fields() { return std::tuple{}; }
};

struct CreateProject {
  Uuid project_id;
  Uuid user_id;
  std::string title;
  std::string prompt_text;
  std::string niche_preset;
  std::int64_t target_minutes = 1;
  std::optional<Uuid> voice_profile_id{};
  std::optional<std::string> transcript_mode{};
  std::optional<std::string> transcript_text{};
  std::optional<Json> settings{};

  static constexpr OperationRow row{
      9,
      "create_project",
      Capability::author,
      {Code::user_not_found, Code::voice_profile_not_found, Code::already_exists}};
  static constexpr auto fields() {
    return std::tuple{
        field::id("project_id", &CreateProject::project_id),
        field::id("user_id", &CreateProject::user_id),
        field::text("title", &CreateProject::title),
        field::text("prompt_text", &CreateProject::prompt_text, prompt_max),
        field::word("niche_preset", &CreateProject::niche_preset, niche_presets),
        field::number("target_minutes", &CreateProject::target_minutes, 1, 10),
        field::id("voice_profile_id", &CreateProject::voice_profile_id),
        field::word("transcript_mode", &CreateProject::transcript_mode, transcript_modes,
                    Code::invalid_argument, "auto"),
        field::free_text("transcript_text", &CreateProject::transcript_text, prompt_max),
        field::json("settings", &CreateProject::settings, "{}")};
  }
};

struct UpdateProject {
  Uuid project_id;
  Uuid user_id;
  NotNull<std::string> title{};
  NotNull<std::string> prompt_text{};
  NotNull<std::string> niche_preset{};
  NotNull<std::int64_t> target_minutes{};
  Change<Uuid> voice_profile_id{};
  Change<std::string> transcript_mode{};
  Change<std::string> transcript_text{};
  Change<Json> settings{};

  static constexpr OperationRow row{
      10,
      "update_project",
      Capability::author,
      {Code::project_not_found, Code::voice_profile_not_found, Code::not_owner}};
  static constexpr auto fields() {
    return std::tuple{
        field::id("project_id", &UpdateProject::project_id),
        field::id("user_id", &UpdateProject::user_id),
        field::text("title", &UpdateProject::title),
        field::text("prompt_text", &UpdateProject::prompt_text, prompt_max),
        field::word("niche_preset", &UpdateProject::niche_preset, niche_presets),
        field::number("target_minutes", &UpdateProject::target_minutes, 1, 10),
        field::id("voice_profile_id", &UpdateProject::voice_profile_id),
        field::word("transcript_mode", &UpdateProject::transcript_mode, transcript_modes),
        field::free_text("transcript_text", &UpdateProject::transcript_text, prompt_max),
        field::json("settings", &UpdateProject::settings)};
  }
};

struct DeleteProject {
  Uuid project_id;
  Uuid user_id;

  static constexpr OperationRow row{
      11,
      "delete_project",
      Capability::author,
      {Code::project_not_found, Code::not_owner, Code::illegal_transition}};
  static constexpr auto fields() {
    return std::tuple{field::id("project_id", &DeleteProject::project_id),
                      field::id("user_id", &DeleteProject::user_id)};
  }
};

struct CreateVoiceProfile {
  Uuid voice_profile_id;
  Uuid user_id;
  std::string name;
  std::string audio_path;
  std::optional<std::string> provider{};
  std::optional<std::string> voice_id{};
  std::optional<Json> settings{};

  static constexpr OperationRow row{
      12, "create_voice_profile", Capability::author, {Code::user_not_found, Code::already_exists}};
  static constexpr auto fields() {
    return std::tuple{
        field::id("voice_profile_id", &CreateVoiceProfile::voice_profile_id),
        field::id("user_id", &CreateVoiceProfile::user_id),
        field::text("name", &CreateVoiceProfile::name),
        field::text("audio_path", &CreateVoiceProfile::audio_path, long_text_max),
        field::free_text("provider", &CreateVoiceProfile::provider, text_max, "custom"),
        field::free_text("voice_id", &CreateVoiceProfile::voice_id),
        field::json("settings", &CreateVoiceProfile::settings, "{}")};
  }
};

struct DeleteVoiceProfile {
  Uuid voice_profile_id;
  Uuid user_id;

  static constexpr OperationRow row{
      13,
      "delete_voice_profile",
      Capability::author,
      {Code::user_not_found, Code::voice_profile_not_found, Code::not_owner}};
  static constexpr auto fields() {
    return std::tuple{field::id("voice_profile_id", &DeleteVoiceProfile::voice_profile_id),
                      field::id("user_id", &DeleteVoiceProfile::user_id)};
  }
};

struct CreateJob {
  Uuid job_id;
  Uuid project_id;
  Uuid user_id;

  static constexpr OperationRow row{
      14,
      "create_job",
      Capability::author,
      {Code::project_not_found, Code::already_exists, Code::not_owner}};
  static constexpr auto fields() {
    return std::tuple{field::id("job_id", &CreateJob::job_id),
                      field::id("project_id", &CreateJob::project_id),
                      field::id("user_id", &CreateJob::user_id)};
  }
};

struct ReserveCredits {
  Uuid user_id;
  Uuid job_id;
  Credits amount;

  static constexpr OperationRow row{
      15,
      "reserve_credits",
      Capability::author,
      {Code::invalid_amount, Code::job_not_found, Code::not_owner, Code::illegal_transition,
       Code::already_reserved, Code::insufficient_credits}};
  static constexpr auto fields() {
    return std::tuple{field::id("user_id", &ReserveCredits::user_id),
                      field::id("job_id", &ReserveCredits::job_id),
                      field::credits("amount", &ReserveCredits::amount, 1)};
  }
};

/// Capability `author` where `to` is QUEUED, `worker` for the rest.
struct AdvanceJob {
  Uuid job_id;
  JobStatus to = JobStatus::QUEUED;
  std::optional<std::string> status_message{};

  static constexpr OperationRow row{
      16,
      "advance_job",
      Capability::worker,
      {Code::job_not_found, Code::illegal_transition, Code::reservation_required},
      true};
  static constexpr auto fields() {
    return std::tuple{
        field::id("job_id", &AdvanceJob::job_id),
        field::word("to", &AdvanceJob::to, job_status_names),
        field::free_text("status_message", &AdvanceJob::status_message, long_text_max)};
  }
};

struct ReportProgress {
  Uuid job_id;
  std::string step_name;
  std::int64_t progress_pct = 0;
  std::optional<std::string> status_message{};
  std::optional<std::string> logs_url{};
  std::optional<Json> artifacts_json{};

  static constexpr OperationRow row{
      17,
      "report_progress",
      Capability::worker,
      {Code::job_not_found, Code::step_not_found, Code::illegal_transition},
      true};
  static constexpr auto fields() {
    return std::tuple{
        field::id("job_id", &ReportProgress::job_id),
        field::text("step_name", &ReportProgress::step_name),
        field::number("progress_pct", &ReportProgress::progress_pct, 0, 100),
        field::free_text("status_message", &ReportProgress::status_message, long_text_max),
        field::free_text("logs_url", &ReportProgress::logs_url, long_text_max),
        field::json("artifacts_json", &ReportProgress::artifacts_json)};
  }
};

struct AddAsset {
  Uuid asset_id;
  Uuid job_id;
  std::string type;
  std::string url;
  std::string storage_path;
  std::optional<std::int64_t> size_bytes{};
  std::optional<std::string> mime_type{};
  std::optional<Json> metadata_json{};

  static constexpr OperationRow row{
      18, "add_asset", Capability::worker, {Code::job_not_found, Code::already_exists}, true};
  static constexpr auto fields() {
    return std::tuple{field::id("asset_id", &AddAsset::asset_id),
                      field::id("job_id", &AddAsset::job_id),
                      field::word("type", &AddAsset::type, asset_types),
                      field::text("url", &AddAsset::url, long_text_max),
                      field::text("storage_path", &AddAsset::storage_path, long_text_max),
                      field::number("size_bytes", &AddAsset::size_bytes, 0,
                                    std::numeric_limits<std::int64_t>::max()),
                      field::free_text("mime_type", &AddAsset::mime_type),
                      field::json("metadata_json", &AddAsset::metadata_json, "{}")};
  }
};

struct FinalizeJobCredits {
  Uuid job_id;
  Credits final_cost;

  static constexpr OperationRow row{
      19,
      "finalize_job_credits",
      Capability::worker,
      {Code::invalid_amount, Code::job_not_found, Code::already_finalized, Code::no_reservation,
       Code::insufficient_credits},
      true};
  static constexpr auto fields() {
    return std::tuple{field::id("job_id", &FinalizeJobCredits::job_id),
                      field::credits("final_cost", &FinalizeJobCredits::final_cost, 0)};
  }
};

struct ReleaseJobCredits {
  Uuid job_id;

  static constexpr OperationRow row{20,
                                    "release_job_credits",
                                    Capability::worker,
                                    {Code::job_not_found, Code::no_reservation},
                                    true};
  static constexpr auto fields() {
    return std::tuple{field::id("job_id", &ReleaseJobCredits::job_id)};
  }
};

/// finalize_job_credits and READY in one.
struct CompleteJob {
  Uuid job_id;
  Credits final_cost;
  std::optional<std::string> output_url{};
  std::optional<Json> manifest_json{};

  static constexpr OperationRow row{
      21,
      "complete_job",
      Capability::worker,
      {Code::invalid_amount, Code::job_not_found, Code::illegal_transition, Code::already_finalized,
       Code::no_reservation, Code::insufficient_credits},
      true};
  static constexpr auto fields() {
    return std::tuple{field::id("job_id", &CompleteJob::job_id),
                      field::credits("final_cost", &CompleteJob::final_cost, 0),
                      field::free_text("output_url", &CompleteJob::output_url, long_text_max),
                      field::json("manifest_json", &CompleteJob::manifest_json)};
  }
};

/// Releases an open hold and ends in FAILED. Capability `author` will do while PENDING or QUEUED.
struct FailJob {
  Uuid job_id;
  std::string error_code;
  std::optional<std::string> error_message{};

  static constexpr OperationRow row{
      22, "fail_job", Capability::worker, {Code::job_not_found, Code::illegal_transition}, true};
  static constexpr auto fields() {
    return std::tuple{field::id("job_id", &FailJob::job_id),
                      field::text("error_code", &FailJob::error_code),
                      field::free_text("error_message", &FailJob::error_message, long_text_max)};
  }
};

/// A new hold and FAILED to QUEUED in one.
struct RetryJob {
  Uuid job_id;
  Credits amount;

  static constexpr OperationRow row{23,
                                    "retry_job",
                                    Capability::author,
                                    {Code::invalid_amount, Code::job_not_found,
                                     Code::illegal_transition, Code::insufficient_credits},
                                    true};
  static constexpr auto fields() {
    return std::tuple{field::id("job_id", &RetryJob::job_id),
                      field::credits("amount", &RetryJob::amount, 1)};
  }
};

struct ClaimJob {
  Uuid job_id;
  std::int64_t ttl_s = 0;

  static constexpr OperationRow row{
      24,
      "claim_job",
      Capability::worker,
      {Code::job_not_found, Code::already_claimed, Code::illegal_transition}};
  static constexpr auto fields() {
    return std::tuple{field::id("job_id", &ClaimJob::job_id),
                      field::number("ttl", &ClaimJob::ttl_s, 1, ttl_max_s)};
  }
};

struct RenewClaim {
  Uuid job_id;
  std::int64_t ttl_s = 0;

  static constexpr OperationRow row{
      25, "renew_claim", Capability::worker, {Code::job_not_found, Code::not_claim_holder}};
  static constexpr auto fields() {
    return std::tuple{field::id("job_id", &RenewClaim::job_id),
                      field::number("ttl", &RenewClaim::ttl_s, 1, ttl_max_s)};
  }
};

struct DropClaim {
  Uuid job_id;

  static constexpr OperationRow row{
      26, "drop_claim", Capability::worker, {Code::job_not_found, Code::not_claim_holder}};
  static constexpr auto fields() { return std::tuple{field::id("job_id", &DropClaim::job_id)}; }
};

struct LeaseCredits {
  Uuid lease_id;
  Uuid user_id;
  Credits amount;
  std::int64_t ttl_s = 0;

  static constexpr OperationRow row{27,
                                    "lease_credits",
                                    Capability::author,
                                    {Code::invalid_amount, Code::user_not_found,
                                     Code::already_exists, Code::insufficient_credits},
                                    false,
                                    true,
                                    true};
  static constexpr auto fields() {
    return std::tuple{field::id("lease_id", &LeaseCredits::lease_id),
                      field::id("user_id", &LeaseCredits::user_id),
                      field::credits("amount", &LeaseCredits::amount, 1),
                      field::number("ttl", &LeaseCredits::ttl_s, 1, ttl_max_s)};
  }
};

struct ReturnLease {
  Uuid lease_id;

  static constexpr OperationRow row{
      28, "return_lease", Capability::author, {Code::lease_not_found}, false, true, true};
  static constexpr auto fields() {
    return std::tuple{field::id("lease_id", &ReturnLease::lease_id)};
  }
};

/// Fails, with WORKER_LOST, every job in a stage that nobody has worked on for `grace` seconds.
struct Sweep {
  std::int64_t grace_s = 0;

  static constexpr OperationRow row{29, "sweep", Capability::service, {}, false, false};
  static constexpr auto fields() {
    return std::tuple{field::number("grace", &Sweep::grace_s, 1, ttl_max_s)};
  }
};

struct Command;

/// 1 to 1,000 operations of one user, all or none.
struct Batch {
  std::vector<Command> operations;

  static constexpr OperationRow row{30, "batch", Capability::each, {}};
  static constexpr auto fields() { return std::tuple{}; }  // Its one field is `ops`.
};

using Operation =
    std::variant<CreateUser, UpdateProfile, AddCredits, ExpireCredits, CreateDraft, UpdateDraft,
                 ClaimDraft, PurgeExpiredDrafts, CreateProject, UpdateProject, DeleteProject,
                 CreateVoiceProfile, DeleteVoiceProfile, CreateJob, ReserveCredits, AdvanceJob,
                 ReportProgress, AddAsset, FinalizeJobCredits, ReleaseJobCredits, CompleteJob,
                 FailJob, RetryJob, ClaimJob, RenewClaim, DropClaim, LeaseCredits, ReturnLease,
                 Sweep, Batch>;

/// An operation with what every operation carries.
struct Command {
  Uuid op_id{};
  Timestamp at{};
  Operation operation;
  /// The reservation that a job operation means, as the op_id that opened it; not checked when
  /// absent.
  std::optional<Uuid> reservation{};
  /// The lease that the mirror drew on for it, if any; the engine fills it in.
  std::optional<Uuid> lease{};
  /// The code of what was wrong with the fields where they did not even parse; ok otherwise.
  Code malformed = Code::ok;
  /// Which of the fields below were readable in a malformed command, so that its user can be told.
  std::optional<Uuid> malformed_user_id{};
  std::optional<Uuid> malformed_job_id{};
};

namespace detail {
template <class... Ts>
constexpr std::array<OperationRow, sizeof...(Ts)> rows_of(std::type_identity<std::variant<Ts...>>) {
  return {Ts::row...};
}
}  // namespace detail

/// The table of operations, in the contract's order.
inline constexpr auto operation_table = detail::rows_of(std::type_identity<Operation>{});

inline const OperationRow& row_of(const Operation& operation) noexcept {
  return operation_table[operation.index()];
}

}  // namespace tally
