// The rows of a half, and what each operation does to them: around it are the model, which is a
// half without a device, and canonical, which judges what devices push.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "model.hpp"
#include "operation.hpp"

namespace tally::model::half {

// ---- rows ---------------------------------------------------------------------------------------

struct Profile {
  MaybeText display_name, avatar_url, notification_prefs, stripe_customer_id;
  Micros created_at = 0, updated_at = 0;
};

struct User {
  MaybeText email;
  Text raw_user_meta_data;
};

struct Entry {
  Text id, type;
  std::int64_t amount = 0;
  MaybeText note;
  Micros created_at = 0;
  MaybeText job_id, stripe_payment_id;
  std::int64_t balance_after = 0;
};

struct Account {
  std::vector<Entry> entries;  // seq is the place, from 1
  std::int64_t balance = 0;
  std::int64_t held = 0;    // the sum of the open holds
  std::int64_t leased = 0;  // the sum of what is unspent in open leases
};

struct Draft {
  Text session_token;
  MaybeText user_id;
  Text prompt_text;
  MaybeText template_id, options;
  Micros created_at = 0, updated_at = 0, expires_at = 0;
};

struct Project {
  Text user_id, title, prompt_text, niche_preset, target_minutes;
  MaybeText voice_profile_id, transcript_mode, transcript_text, settings;
  Micros created_at = 0, updated_at = 0;
  std::set<Text> jobs;
};

struct Step {
  Text id, state = "pending";
  std::int64_t progress_pct = 0;
  MaybeText status_message, error_message, logs_url, artifacts_json = "{}";
  std::optional<Micros> started_at, finished_at;
};

struct Job {
  Text project_id, user_id, status = "PENDING";
  std::int64_t progress = 0;
  MaybeText status_message;
  std::int64_t cost_credits_reserved = 0;
  std::optional<std::int64_t> cost_credits_final;
  MaybeText failed_step, error_code, error_message, output_url, manifest_json;
  Micros created_at = 0;
  std::optional<Micros> started_at, finished_at;
  std::array<Step, 8> steps;

  std::vector<std::size_t> entries;  // places in its owner's account
  std::set<Text> assets;
  MaybeText reservation;              // op_id that opened the latest one
  MaybeText lease;                    // what it was drawn on
  std::optional<Micros> claim_until;  // until a claim ends or ended; none when dropped or over
  MaybeText claim_device;             // whose claim is the latest; none's where no device's
  Micros active_at = 0;               // the latest `at` of an operation that changed something
};

/// Credits set aside for a device and a user.
struct Lease {
  Text user_id, device_id;
  std::int64_t unspent = 0;
  Micros expires_at = 0;
  bool open = true;
};

struct Asset {
  Text job_id, type, url, storage_path;
  MaybeText size_bytes, mime_type, metadata_json;
  Micros created_at = 0;
};

struct VoiceProfile {
  Text user_id, name, audio_path;
  MaybeText provider, voice_id, settings;
  Micros created_at = 0;
};

struct Payment {
  Text operation, user_id, amount;
  MaybeText type;
  bool operator==(const Payment& other) const {
    return operation == other.operation && user_id == other.user_id && amount == other.amount &&
           type == other.type;
  }
};

/// What I6 keeps of an operation that was ok.
struct Record {
  Text operation;
  Values values;
  MaybeText id;
};

struct Answer {
  std::string_view code;
  MaybeText id = {};
  std::optional<std::size_t> index = {};
  bool remember = true;
};

/// Who an operation comes from. A trace is one device that may do everything, by its own clock.
struct Pusher {
  MaybeText device_id;
  bool author = true, worker = true, service = true;
  std::optional<Micros> now;  // by which claims are judged and leases run
  std::vector<Text> nobody{
      Text()};  // under whose ids it finds the operations of no user; first its own

  bool is_device() const { return device_id.has_value(); }
};

/// Where an amount is to be taken from, or why from nowhere.
struct Funds {
  bool from_lease = false;
  std::string_view refusal = {};
};

/// What the feed is told of: a row that changed or went, a job's steps as one under its id.
enum class RowKind {
  entries_behind,  // entries were appended: no row is named
  profiles,
  voice_profiles,
  projects,
  jobs,
  job_steps,
  assets,
  draft_prompts,
  credit_ledger
};
struct Change {
  RowKind kind;
  Text user_id, row_id;
  bool gone = false;
};

// ---- state --------------------------------------------------------------------------------------

class State {
 public:
  Text apply(std::string_view line);
  std::vector<Model::Row> rows(std::string_view table) const;
  std::optional<Model::JobView> job(const Text& job_id) const;
  std::optional<Model::AccountView> account(const Text& user_id) const;

 protected:
  /// An operation of that pusher's, a batch or not.
  Answer judge(const Operation& operation, const Pusher& pusher);
  /// Ends it: what is unspent goes back to its user, by an entry under that op_id. How much it was.
  std::int64_t close_lease(const Text& lease_id, const Text& op_id, Micros at);
  /// One row of a table, by its id, and whose it is; nothing where it is not that user's. Of no use
  /// for steps and entries, which are found with their job and user.
  std::optional<Model::Row> row(RowKind kind, const Text& user_id, const Text& row_id) const;
  static Model::Row step_row(const Text& job_id, const Job& job, std::size_t i);
  static Model::Row entry_row(const Text& user_id, const Account& account, std::size_t i);
  void note(RowKind kind, const Text& user_id, const Text& row_id, bool gone = false);
  static bool claimed(const Job& job, Micros at) {
    return job.claim_until && at < *job.claim_until;
  }
  static bool is_worked_on(const Job& job);
  std::int64_t hold(const Job& job) const;
  /// The operation's job, to be changed by it.
  Job& change_job(const Operation&);

  std::map<Text, User> users_;
  std::map<Text, Profile> profiles_;
  std::map<Text, Account> accounts_;
  std::map<Text, Draft> drafts_;
  std::map<Text, Project> projects_;
  std::map<Text, Job> jobs_;
  std::map<Text, Asset> assets_;
  std::map<Text, VoiceProfile> voice_profiles_;
  std::map<Text, Lease> leases_;
  std::map<std::pair<Text, Text>, Text> open_leases_;  // of a user and a device
  std::optional<Micros> clock_;                        // no operation's `at` is later
  bool notes_changes_ = false;
  std::vector<Change> changes_;

 private:
  using Apply = Answer (State::*)(const Operation&);
  static const std::map<std::string_view, Apply>& functions();
  static const Pusher& trace();

  // I6 and the order of checks
  Answer perform(const Operation& operation);
  Answer perform_batch(const Operation& batch);
  Answer apply_ops(const Operation& batch);
  Text user_of(const Operation& operation) const;
  MaybeText batch_user(const Operation& batch) const;
  bool lacks_capability(const Operation& operation) const;
  bool is_foreign(const Operation& operation) const;
  static std::string_view foreign_refusal(const Operation& operation);
  const Record* record(const Text& user, const Text& op_id) const;
  static Answer repeated(const Record& before, const Operation& operation);
  std::optional<Answer> seen_before(const Text& user, const Operation& operation) const;
  void remember(const Text& user, const Operation& operation, const Answer& answer);
  std::optional<std::int64_t> balance_named(const Json& line) const;

  // one function an operation
  Answer create_user(const Operation&);
  Answer update_profile(const Operation&);
  Answer add_credits(const Operation&);
  Answer expire_credits(const Operation&);
  Answer create_draft(const Operation&);
  Answer update_draft(const Operation&);
  Answer claim_draft(const Operation&);
  Answer purge_expired_drafts(const Operation&);
  Answer create_project(const Operation&);
  Answer update_project(const Operation&);
  Answer delete_project(const Operation&);
  Answer create_voice_profile(const Operation&);
  Answer delete_voice_profile(const Operation&);
  Answer create_job(const Operation&);
  Answer reserve_credits(const Operation&);
  Answer advance_job(const Operation&);
  Answer report_progress(const Operation&);
  Answer add_asset(const Operation&);
  Answer finalize_job_credits(const Operation&);
  Answer release_job_credits(const Operation&);
  Answer complete_job(const Operation&);
  Answer fail_job(const Operation&);
  Answer retry_job(const Operation&);
  Answer lease_credits(const Operation&);
  Answer return_lease(const Operation&);
  Answer claim_job(const Operation&);
  Answer renew_claim(const Operation&);
  Answer drop_claim(const Operation&);
  Answer sweep(const Operation&);

  // what they share
  /// A row of another user does not exist for what a device pushed.
  static bool sees(const Operation& op, const Text& owner) {
    return !op.envelope || owner == *op.envelope;
  }
  const Job* find_job(const Operation&) const;
  const Project* find_project(const Operation&) const;
  std::string_view late_refusal(const Job& job, const Operation&) const;
  bool holds_claim(const Job& job, const Operation&) const;
  Micros claims_at(const Operation& op) const { return pusher_->now.value_or(op.at); }
  static Text next_status(const Job& job);
  static void recompute_progress(Job& job);
  Job& change_job_and_steps(const Operation&);
  void remove_job(const Text& job_id);
  Funds funds(const Operation&, const Text& user, std::int64_t amount) const;
  std::string_view settle_refusal(const Operation&, const Job& job, std::int64_t cost) const;
  void draw(const Operation&, const Text& user, std::int64_t amount);
  void give_back(const Operation&, Job& job, std::int64_t amount, std::string_view note);
  void change_lease(const Text& lease_id, std::int64_t amount);
  void open_hold(const Operation&, Job& job);
  void settle(const Operation&, Job& job, std::int64_t cost);
  void release(const Operation&, Job& job);
  void append(const Operation&, const Text& user, Job* job, std::string_view type,
              std::int64_t amount, MaybeText note, MaybeText stripe_payment_id = {});
  Text free_id(Text wanted, const std::unordered_set<Text>& taken);
  void take_id(std::unordered_set<Text>& taken, const Text& id);
  bool voice_profile_missing(const Operation&) const;

  /// A map's value, to be changed or made; while a batch runs, remembered as it was.
  template <class Map>
  typename Map::mapped_type& edit(Map& map, const typename Map::key_type& key) {
    if (in_batch_) {
      const auto found = map.find(key);
      if (found == map.end()) {
        undo_.push_back([&map, key] { map.erase(key); });
      } else {
        undo_.push_back([&map, key, old = found->second] { map[key] = old; });
      }
    }
    return map[key];
  }
  template <class Map>
  void remove(Map& map, const typename Map::key_type& key) {
    edit(map, key);
    map.erase(key);
  }

  std::map<Text, Payment> payments_;
  std::map<Text, Text> emails_;                               // e-mail to user
  std::unordered_map<Text, std::map<Text, Record>> records_;  // op_id, then user ("" for none)
  std::unordered_set<Text> entry_ids_, step_ids_;
  const Pusher* pusher_ = &trace();
  std::size_t postings_ = 0;  // of the operation that is being applied, so far
  bool in_batch_ = false;
  std::vector<std::function<void()>> undo_;
  std::uint64_t random_ = 0;
  std::uint64_t lines_ = 0;
};

}  // namespace tally::model::half
