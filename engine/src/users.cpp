// create_user, update_profile.
#include "json.hpp"
#include "work.hpp"

namespace tally {
namespace {

constexpr std::string_view default_notification_prefs =
    R"({"marketing": false, "job_failed": true, "low_credits": true, "job_complete": true})";
constexpr Credits trial_credits{10};

}  // namespace

Code apply(Work& work, const CreateUser& op) {
  Store& store = work.store;
  if (work.user_exists()) return Code::user_exists;
  if (op.email && store.find_email(*op.email)) return Code::user_exists;

  const std::int64_t u = work.new_user_key();
  std::string meta = "{";
  if (op.display_name) {
    meta += "\"name\": ";
    json::append_string(meta, *op.display_name);
  }
  meta += '}';
  store.users.insert(u, UserRow{op.user_id, op.email, std::move(meta)});
  ProfileRow profile;
  profile.display_name = op.display_name.value_or("User");
  profile.created_at = profile.updated_at = work.at();
  profile.notification_prefs = default_notification_prefs;
  store.profiles.insert(u, std::move(profile));
  store.accounts.insert(u, AccountRow{});
  work.concerns(u);
  work.append(u, std::nullopt, EntryKind::sign_up, trial_credits);
  return Code::ok;
}

Code apply(Work& work, const UpdateProfile& op) {
  if (!work.user_exists()) return Code::user_not_found;
  ProfileRow& profile = work.store.profiles.edit_or_insert(work.u());
  op.display_name.apply_to(profile.display_name);
  op.avatar_url.apply_to(profile.avatar_url);
  op.stripe_customer_id.apply_to(profile.stripe_customer_id);
  if (op.notification_prefs.present()) {
    profile.notification_prefs.reset();
    if (op.notification_prefs.has_value())
      profile.notification_prefs = op.notification_prefs.value().text;
  }
  profile.updated_at = work.at();
  return Code::ok;
}

}  // namespace tally
