#pragma once
// The mirror's rows as structs, one a table, each with its columns beside it: loading, writing back
// and before-images are made from these lists. See sql/mirror for what the columns mean.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "tally/job_machine.hpp"
#include "tally/values.hpp"

namespace tally {

/// How a column takes part in an UPDATE.
enum class ColumnUse : std::uint8_t {
  fixed,  ///< Set when the row is made.
  plain,
  indexed,  ///< In an index or its condition: left out of an UPDATE when unchanged.
};

template <class Row, class Member>
struct Column {
  std::string_view name;
  Member Row::*member;
  ColumnUse use = ColumnUse::plain;
};
template <class Row, class Member>
constexpr Column<Row, Member> column(std::string_view name, Member Row::*member,
                                     ColumnUse use = ColumnUse::plain) {
  return {name, member, use};
}

/// A UUID stored with byte 6 (the version digit and the digit after it) at the end: ids whose
/// derived ids clash share 15 leading bytes.
inline Uuid folded(const Uuid& id) noexcept {
  Uuid out = id;
  std::copy(id.bytes.begin() + 7, id.bytes.end(), out.bytes.begin() + 6);
  out.bytes[15] = id.bytes[6];
  return out;
}
inline Uuid unfolded(const Uuid& id) noexcept {
  Uuid out = id;
  std::copy(id.bytes.begin() + 6, id.bytes.end() - 1, out.bytes.begin() + 7);
  out.bytes[6] = id.bytes[15];
  return out;
}

struct UserRow {
  Uuid id{};
  std::optional<std::string> email{};
  std::optional<std::string> raw_user_meta_data{};
  bool operator==(const UserRow&) const = default;

  static constexpr std::string_view table = "tally_user", key = "u";
  static constexpr auto columns() {
    return std::tuple{column("id", &UserRow::id, ColumnUse::fixed),
                      column("email", &UserRow::email),
                      column("raw_user_meta_data", &UserRow::raw_user_meta_data)};
  }
};

struct ProfileRow {
  std::optional<std::string> display_name{};
  std::optional<std::string> avatar_url{};
  std::optional<Timestamp> created_at{};
  std::optional<std::string> notification_prefs{};
  std::optional<std::string> stripe_customer_id{};
  std::optional<Timestamp> updated_at{};
  bool operator==(const ProfileRow&) const = default;

  static constexpr std::string_view table = "tally_profile", key = "u";
  static constexpr auto columns() {
    return std::tuple{column("display_name", &ProfileRow::display_name),
                      column("avatar_url", &ProfileRow::avatar_url),
                      column("created_at", &ProfileRow::created_at, ColumnUse::fixed),
                      column("notification_prefs", &ProfileRow::notification_prefs),
                      column("stripe_customer_id", &ProfileRow::stripe_customer_id),
                      column("updated_at", &ProfileRow::updated_at)};
  }
};

struct AccountRow {
  std::int64_t balance = 0;
  std::int64_t held = 0;
  std::int64_t seq = 0;
  std::int64_t head = 0;
  std::int64_t pending = 0;
  bool operator==(const AccountRow&) const = default;
  bool is_sound() const noexcept { return seq >= 0 && head >= 0; }

  static constexpr std::string_view table = "tally_account", key = "u";
  static constexpr auto columns() {
    return std::tuple{column("balance", &AccountRow::balance), column("held", &AccountRow::held),
                      column("seq", &AccountRow::seq), column("head", &AccountRow::head),
                      column("pending", &AccountRow::pending)};
  }
};

struct PaymentRow {
  std::string stripe_payment_id;
  std::int64_t kind = 0;
  std::int64_t u = 0;
  std::int64_t amount = 0;
  std::string type;
  bool operator==(const PaymentRow&) const = default;

  static constexpr std::string_view table = "tally_payment", key = "k";
  static constexpr auto columns() {
    return std::tuple{column("stripe_payment_id", &PaymentRow::stripe_payment_id, ColumnUse::fixed),
                      column("kind", &PaymentRow::kind), column("u", &PaymentRow::u),
                      column("amount", &PaymentRow::amount), column("type", &PaymentRow::type)};
  }
};

struct DraftRow {
  Uuid id{};
  std::string session_token;
  std::optional<std::int64_t> u{};
  std::string prompt_text;
  std::optional<std::string> template_id{};
  std::optional<std::string> options{};
  std::optional<Timestamp> created_at{};
  std::optional<Timestamp> updated_at{};
  std::optional<Timestamp> expires_at{};
  bool operator==(const DraftRow&) const = default;

  static constexpr std::string_view table = "tally_draft", key = "d";
  static constexpr auto columns() {
    return std::tuple{column("id", &DraftRow::id, ColumnUse::fixed),
                      column("session_token", &DraftRow::session_token, ColumnUse::fixed),
                      column("u", &DraftRow::u, ColumnUse::indexed),
                      column("prompt_text", &DraftRow::prompt_text),
                      column("template_id", &DraftRow::template_id),
                      column("options", &DraftRow::options),
                      column("created_at", &DraftRow::created_at, ColumnUse::fixed),
                      column("updated_at", &DraftRow::updated_at),
                      column("expires_at", &DraftRow::expires_at, ColumnUse::fixed)};
  }
};

struct VoiceProfileRow {
  Uuid id{};
  std::int64_t u = 0;
  std::string name;
  std::string audio_path;
  std::optional<std::string> provider{};
  std::optional<std::string> voice_id{};
  std::optional<std::string> settings{};
  std::optional<Timestamp> created_at{};
  bool operator==(const VoiceProfileRow&) const = default;

  static constexpr std::string_view table = "tally_voice_profile", key = "v";
  static constexpr auto columns() {
    return std::tuple{column("id", &VoiceProfileRow::id, ColumnUse::fixed),
                      column("u", &VoiceProfileRow::u, ColumnUse::fixed),
                      column("name", &VoiceProfileRow::name),
                      column("audio_path", &VoiceProfileRow::audio_path),
                      column("provider", &VoiceProfileRow::provider),
                      column("voice_id", &VoiceProfileRow::voice_id),
                      column("settings", &VoiceProfileRow::settings),
                      column("created_at", &VoiceProfileRow::created_at, ColumnUse::fixed)};
  }
};

struct ProjectRow {
  Uuid id{};
  std::int64_t u = 0;
  std::string title;
  std::string prompt_text;
  std::string niche_preset;
  std::int64_t target_minutes = 1;
  std::optional<std::int64_t> v{};
  std::optional<std::string> transcript_mode{};
  std::optional<std::string> transcript_text{};
  std::optional<std::string> settings{};
  std::optional<Timestamp> created_at{};
  std::optional<Timestamp> updated_at{};
  bool operator==(const ProjectRow&) const = default;

  static constexpr std::string_view table = "tally_project", key = "p";
  static constexpr auto columns() {
    return std::tuple{column("id", &ProjectRow::id, ColumnUse::fixed),
                      column("u", &ProjectRow::u, ColumnUse::fixed),
                      column("title", &ProjectRow::title),
                      column("prompt_text", &ProjectRow::prompt_text),
                      column("niche_preset", &ProjectRow::niche_preset),
                      column("target_minutes", &ProjectRow::target_minutes),
                      column("v", &ProjectRow::v, ColumnUse::indexed),
                      column("transcript_mode", &ProjectRow::transcript_mode),
                      column("transcript_text", &ProjectRow::transcript_text),
                      column("settings", &ProjectRow::settings),
                      column("created_at", &ProjectRow::created_at, ColumnUse::fixed),
                      column("updated_at", &ProjectRow::updated_at)};
  }
};

struct JobRow {
  Uuid id{};  ///< Folded.
  std::int64_t u = 0;
  std::int64_t p = 0;
  std::optional<Timestamp> created_at{};
  JobStatus status = JobStatus::PENDING;
  std::int64_t progress = 0;
  std::int64_t steps_pct = 0;
  std::int64_t hold = 0;
  std::optional<std::int64_t> cost_credits_reserved{};
  std::optional<std::int64_t> cost_credits_final{};
  std::optional<Uuid> reservation{};
  std::optional<Timestamp> started_at{};
  std::optional<Timestamp> finished_at{};
  std::optional<Timestamp> claim_until{};
  Timestamp active_at{};
  bool operator==(const JobRow&) const = default;

  static constexpr std::string_view table = "tally_job", key = "j";
  static constexpr auto columns() {
    return std::tuple{column("id", &JobRow::id, ColumnUse::fixed),
                      column("u", &JobRow::u, ColumnUse::fixed),
                      column("p", &JobRow::p, ColumnUse::fixed),
                      column("created_at", &JobRow::created_at, ColumnUse::fixed),
                      column("status", &JobRow::status, ColumnUse::indexed),
                      column("progress", &JobRow::progress),
                      column("steps_pct", &JobRow::steps_pct),
                      column("hold", &JobRow::hold, ColumnUse::indexed),
                      column("cost_credits_reserved", &JobRow::cost_credits_reserved),
                      column("cost_credits_final", &JobRow::cost_credits_final),
                      column("reservation", &JobRow::reservation),
                      column("started_at", &JobRow::started_at),
                      column("finished_at", &JobRow::finished_at),
                      column("claim_until", &JobRow::claim_until),
                      column("active_at", &JobRow::active_at)};
  }
};

struct JobTextRow {
  std::optional<std::string> status_message{};
  std::optional<std::string> failed_step{};
  std::optional<std::string> error_code{};
  std::optional<std::string> error_message{};
  std::optional<std::string> output_url{};
  std::optional<std::string> manifest_json{};
  bool operator==(const JobTextRow&) const = default;

  static constexpr std::string_view table = "tally_job_text", key = "j";
  static constexpr auto columns() {
    return std::tuple{column("status_message", &JobTextRow::status_message),
                      column("failed_step", &JobTextRow::failed_step),
                      column("error_code", &JobTextRow::error_code),
                      column("error_message", &JobTextRow::error_message),
                      column("output_url", &JobTextRow::output_url),
                      column("manifest_json", &JobTextRow::manifest_json)};
  }
};

struct StepRow {
  std::optional<Uuid> id{};
  StepState state = StepState::pending;
  std::int64_t progress_pct = 0;
  std::optional<std::string> status_message{};
  std::optional<std::string> error_message{};
  std::optional<std::string> logs_url{};
  std::optional<std::string> artifacts_json{"{}"};
  std::optional<Timestamp> started_at{};
  std::optional<Timestamp> finished_at{};
  bool operator==(const StepRow&) const = default;

  static constexpr std::string_view table = "tally_step", key = "k";
  static constexpr auto columns() {
    return std::tuple{column("id", &StepRow::id, ColumnUse::fixed),
                      column("state", &StepRow::state),
                      column("progress_pct", &StepRow::progress_pct),
                      column("status_message", &StepRow::status_message),
                      column("error_message", &StepRow::error_message),
                      column("logs_url", &StepRow::logs_url),
                      column("artifacts_json", &StepRow::artifacts_json),
                      column("started_at", &StepRow::started_at),
                      column("finished_at", &StepRow::finished_at)};
  }
};
constexpr std::int64_t step_key(std::int64_t j, int order) noexcept { return j * 8 + order - 1; }
constexpr std::int64_t job_of_step(std::int64_t key) noexcept { return key / 8; }

/// What only some jobs have.
struct JobLinkRow {
  std::optional<Uuid> lease{};         ///< That the hold was drawn on.
  std::int64_t claimed_elsewhere = 0;  ///< The claim is another device's.
  std::int64_t steps = all_steps;      ///< Which of the eight there are, a bit each.
  bool operator==(const JobLinkRow&) const = default;

  static constexpr std::int64_t all_steps = 255;
  static constexpr std::string_view table = "tally_job_link", key = "j";
  static constexpr auto columns() {
    return std::tuple{column("lease", &JobLinkRow::lease),
                      column("claimed_elsewhere", &JobLinkRow::claimed_elsewhere),
                      column("steps", &JobLinkRow::steps)};
  }
};

/// The device's open lease for a user, less what pending operations drew.
struct LeaseRow {
  Uuid lease_id{};
  std::int64_t unspent = 0;
  Timestamp expires_at{};
  std::int64_t closing = 0;
  bool operator==(const LeaseRow&) const = default;

  static constexpr std::string_view table = "tally_lease", key = "u";
  static constexpr auto columns() {
    return std::tuple{column("id", &LeaseRow::lease_id), column("unspent", &LeaseRow::unspent),
                      column("expires_at", &LeaseRow::expires_at),
                      column("closing", &LeaseRow::closing)};
  }
};

struct AssetRow {
  Uuid id{};
  std::int64_t j = 0;
  std::string type;
  std::string url;
  std::string storage_path;
  std::optional<std::int64_t> size_bytes{};
  std::optional<std::string> mime_type{};
  std::optional<std::string> metadata_json{};
  std::optional<Timestamp> created_at{};
  bool operator==(const AssetRow&) const = default;

  static constexpr std::string_view table = "tally_asset", key = "a";
  static constexpr auto columns() {
    return std::tuple{column("id", &AssetRow::id, ColumnUse::fixed),
                      column("j", &AssetRow::j, ColumnUse::fixed),
                      column("type", &AssetRow::type),
                      column("url", &AssetRow::url),
                      column("storage_path", &AssetRow::storage_path),
                      column("size_bytes", &AssetRow::size_bytes),
                      column("mime_type", &AssetRow::mime_type),
                      column("metadata_json", &AssetRow::metadata_json),
                      column("created_at", &AssetRow::created_at, ColumnUse::fixed)};
  }
};

}  // namespace tally
