#include "state.hpp"

#include <algorithm>
#include <utility>

namespace tally::model::half {
namespace {

const Answer ok_answer{ok_code};

}  // namespace

const std::map<std::string_view, State::Apply>& State::functions() {
  static const std::map<std::string_view, Apply> all{
      {"create_user", &State::create_user},
      {"update_profile", &State::update_profile},
      {"add_credits", &State::add_credits},
      {"expire_credits", &State::expire_credits},
      {"create_draft", &State::create_draft},
      {"update_draft", &State::update_draft},
      {"claim_draft", &State::claim_draft},
      {"purge_expired_drafts", &State::purge_expired_drafts},
      {"create_project", &State::create_project},
      {"update_project", &State::update_project},
      {"delete_project", &State::delete_project},
      {"create_voice_profile", &State::create_voice_profile},
      {"delete_voice_profile", &State::delete_voice_profile},
      {"create_job", &State::create_job},
      {"reserve_credits", &State::reserve_credits},
      {"advance_job", &State::advance_job},
      {"report_progress", &State::report_progress},
      {"add_asset", &State::add_asset},
      {"finalize_job_credits", &State::finalize_job_credits},
      {"release_job_credits", &State::release_job_credits},
      {"complete_job", &State::complete_job},
      {"fail_job", &State::fail_job},
      {"retry_job", &State::retry_job},
      {"lease_credits", &State::lease_credits},
      {"return_lease", &State::return_lease},
      {"claim_job", &State::claim_job},
      {"renew_claim", &State::renew_claim},
      {"drop_claim", &State::drop_claim},
      {"sweep", &State::sweep},
  };
  return all;
}

const Pusher& State::trace() {
  static const Pusher pusher;
  return pusher;
}

// ------------------------------------------------------------------------- lines and order of
// checks

Text State::apply(std::string_view line) {
  ++lines_;
  const std::optional<Json> json = parse_json(line);
  const std::optional<Operation> operation = read_line(json, clock_);
  if (!operation) {
    return R"({"op_id":null,"result":"invalid_argument","balance":null,"line":)" +
           std::to_string(lines_) + "}";
  }
  const Answer answer = judge(*operation, trace());
  const std::optional<std::int64_t> balance = balance_named(*json);
  Text out = R"({"op_id":")" + operation->op_id + R"(","result":")" + Text(answer.code) +
             R"(","balance":)" + (balance ? std::to_string(*balance) : "null");
  if (answer.id) out += R"(,"id":")" + *answer.id + "\"";
  if (answer.index) out += R"(,"index":)" + std::to_string(*answer.index);
  return out + "}";
}

/// Of the user whom the line names, else of its job's owner; for a batch of the first op that gives
/// one.
std::optional<std::int64_t> State::balance_named(const Json& line) const {
  if (line.find("op") != nullptr && line.find("op")->text == "batch") {
    const Json* ops = line.find("ops");
    if (ops == nullptr || ops->kind != Json::Kind::array) return std::nullopt;
    for (const Json& op : ops->items) {
      if (op.kind != Json::Kind::object) continue;
      const Json* name = op.find("op");
      if (name != nullptr && name->text == "batch") continue;
      if (const auto balance = balance_named(op)) return balance;
    }
    return std::nullopt;
  }
  if (const MaybeText user = uuid(line.find("user_id")); user && users_.count(*user) > 0) {
    return accounts_.at(*user).balance;
  }
  if (const MaybeText job_id = uuid(line.find("job_id")); job_id && jobs_.count(*job_id) > 0) {
    return accounts_.at(jobs_.at(*job_id).user_id).balance;
  }
  return std::nullopt;
}

Answer State::judge(const Operation& operation, const Pusher& pusher) {
  pusher_ = &pusher;
  const Answer answer = operation.name == "batch" ? perform_batch(operation) : perform(operation);
  pusher_ = &trace();
  return answer;
}

/// Whose op_id it is: "" for nobody's.
Text State::user_of(const Operation& operation) const {
  if (operation.name == "return_lease" && operation.envelope) return *operation.envelope;
  if (has_field(operation.name, "user_id")) {
    if (const MaybeText user = uuid(operation.line->find("user_id"))) return *user;
  }
  if (has_field(operation.name, "job_id")) {
    const MaybeText job_id = uuid(operation.line->find("job_id"));
    const auto job = job_id ? jobs_.find(*job_id) : jobs_.end();
    if (job != jobs_.end() && sees(operation, job->second.user_id)) return job->second.user_id;
  }
  return "";
}

bool State::lacks_capability(const Operation& op) const {
  static const std::set<std::string_view> of_service{"create_user", "add_credits",
                                                     "expire_credits"};
  static const std::set<std::string_view> of_worker{
      "advance_job",         "report_progress", "add_asset", "finalize_job_credits",
      "release_job_credits", "complete_job",    "claim_job", "renew_claim",
      "drop_claim"};
  const Pusher& by = *pusher_;
  if (!by.is_device()) return op.name == "lease_credits" || op.name == "return_lease";
  if (op.name == "sweep" || op.name == "purge_expired_drafts") return true;
  const bool is_good = op.field_error.empty();
  if (op.name == "fail_job" || (op.name == "advance_job" && !is_good))
    return !by.author && !by.worker;
  if (op.name == "advance_job" && op.text("to") == "QUEUED") return !by.author;
  if (op.name == "update_profile" && is_good && op.has("stripe_customer_id")) return !by.service;
  if (of_service.count(op.name) > 0) return !by.service;
  return of_worker.count(op.name) > 0 ? !by.worker : !by.author;
}

/// It names another user than the one whom its device says it concerns.
bool State::is_foreign(const Operation& op) const {
  if (!op.envelope || !has_field(op.name, "user_id")) return false;
  const MaybeText user = uuid(op.line->find("user_id"));
  return user && *user != *op.envelope;
}

std::string_view State::foreign_refusal(const Operation& op) {
  if (op.name == "create_user") return "not_permitted";
  if (op.name == "create_job" || op.name == "delete_project") return "project_not_found";
  if (op.name == "reserve_credits") return "job_not_found";
  return op.name == "update_draft" ? "draft_not_found" : "user_not_found";
}

const Record* State::record(const Text& user, const Text& op_id) const {
  const auto by_op_id = records_.find(op_id);
  if (by_op_id == records_.end()) return nullptr;
  const auto by_user = by_op_id->second.find(user);
  return by_user == by_op_id->second.end() ? nullptr : &by_user->second;
}

Answer State::repeated(const Record& before, const Operation& operation) {
  const bool same = operation.field_error.empty() && before.operation == operation.name &&
                    before.values == operation.values;
  if (!same) return {"operation_conflict"};
  return {ok_code, before.id};
}

void State::remember(const Text& user, const Operation& operation, const Answer& answer) {
  const Text& whose = user.empty() ? pusher_->nobody.front() : user;
  edit(records_, operation.op_id)[whose] = Record{operation.name, operation.values, answer.id};
}

/// What one that was applied before is answered now. A job that was deleted takes its owner with
/// it; what was applied on it, alone or in a batch, is still known by its op_id, and in an envelope
/// by whose that is.
std::optional<Answer> State::seen_before(const Text& user, const Operation& operation) const {
  const auto by_op_id = records_.find(operation.op_id);
  if (by_op_id == records_.end()) return std::nullopt;
  const bool of_nobody = user.empty() && operation.field_error.empty();
  const bool job_is_gone = of_nobody && has_field(operation.name, "job_id");
  if (job_is_gone || (of_nobody && operation.name == "batch")) {
    for (const auto& [owner, before] : by_op_id->second) {
      const Answer answer = repeated(before, operation);
      if (sees(operation, owner) && (operation.envelope || answer.code == ok_code)) return answer;
    }
  }
  if (job_is_gone) return std::nullopt;
  std::optional<Answer> answer;
  for (const Text& whose : user.empty() ? pusher_->nobody : std::vector<Text>{user}) {
    if (answer && answer->code == ok_code) break;
    if (const Record* before = record(whose, operation.op_id))
      answer = repeated(*before, operation);
  }
  return answer;
}

Answer State::perform(const Operation& operation) {
  if (lacks_capability(operation)) return {"not_permitted"};
  const bool foreign = is_foreign(operation);
  const Text user = user_of(operation);
  if (!foreign) {
    if (const auto before = seen_before(user, operation)) return *before;
  }
  if (!operation.field_error.empty()) return {operation.field_error};
  if (foreign) return {foreign_refusal(operation)};
  postings_ = 0;
  const Answer answer = (this->*functions().at(operation.name))(operation);
  if (answer.code == ok_code && answer.remember) remember(user, operation, answer);
  return answer;
}

/// The one user of a batch's ops ("" for nobody's); nothing where they differ.
MaybeText State::batch_user(const Operation& batch) const {
  std::map<Text, Text> made;  // jobs that the batch makes, and whose they will be
  std::set<Text> users;
  for (const Operation& op : batch.ops) {
    const MaybeText job_id =
        has_field(op.name, "job_id") ? uuid(op.line->find("job_id")) : std::nullopt;
    const bool names_user = has_field(op.name, "user_id") && uuid(op.line->find("user_id"));
    const Text user =
        made.count(job_id.value_or("")) > 0 && !names_user ? made.at(*job_id) : user_of(op);
    const bool counts = has_field(op.name, "user_id") || sees(op, user);
    if (counts && (names_user || !job_id || !user.empty())) users.insert(user);
    if (op.name == "create_job" && names_user && job_id) made[*job_id] = user_of(op);
  }
  if (users.size() > 1) return std::nullopt;
  return users.empty() ? Text() : *users.begin();
}

Answer State::perform_batch(const Operation& batch) {
  if (!batch.well_shaped) return {"invalid_argument"};
  const MaybeText user = batch_user(batch);
  if (!user) return {"invalid_argument"};
  const bool foreign = !user->empty() && !sees(batch, *user);
  if (!foreign) {
    if (const auto before = seen_before(*user, batch)) return *before;
  }
  if (!batch.field_error.empty()) return {batch.field_error};
  const std::size_t changes = changes_.size();
  in_batch_ = true;
  const Answer answer = apply_ops(batch);
  in_batch_ = false;
  if (answer.code == ok_code) {
    remember(*user, batch, answer);
  } else {
    for (auto step = undo_.rbegin(); step != undo_.rend(); ++step) (*step)();
    changes_.resize(changes);
  }
  undo_.clear();
  return answer;
}

Answer State::apply_ops(const Operation& batch) {
  for (std::size_t i = 0; i < batch.ops.size(); ++i) {
    const Operation& op = batch.ops[i];
    const Answer answer = op.op_id == batch.op_id ? Answer{"operation_conflict"} : perform(op);
    if (answer.code != ok_code) return {answer.code, {}, i};
  }
  return ok_answer;
}

// --------------------------------------------------------------------------------------------
// ledger

Text State::free_id(Text wanted, const std::unordered_set<Text>& taken) {
  while (taken.count(wanted) > 0) {  // splitmix64, as a version 4 UUID
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i] == '-') continue;
      std::uint64_t z = (random_ += 0x9e3779b97f4a7c15u);
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      wanted[i] = "0123456789abcdef"[(z ^ (z >> 31)) & 15];
    }
    wanted[version_at] = '4';
    wanted[19] = "89ab"[hex_value(wanted[19]) & 3];
  }
  return wanted;
}

void State::take_id(std::unordered_set<Text>& taken, const Text& id) {
  taken.insert(id);
  if (in_batch_) undo_.push_back([&taken, id] { taken.erase(id); });
}

void State::note(RowKind kind, const Text& user_id, const Text& row_id, bool gone) {
  if (notes_changes_) changes_.push_back({kind, user_id, row_id, gone});
}

void State::append(const Operation& operation, const Text& user, Job* job, std::string_view type,
                   std::int64_t amount, MaybeText note_text, MaybeText stripe_payment_id) {
  Account& account = accounts_.at(user);
  if (in_batch_) {
    undo_.push_back([&account, balance = account.balance, held = account.held] {
      account.entries.pop_back();
      account.balance = balance;
      account.held = held;
    });
  }
  Entry entry;
  entry.id = free_id(derived_id(operation.op_id, postings_++), entry_ids_);
  take_id(entry_ids_, entry.id);
  entry.type = type;
  entry.amount = amount;
  entry.note = std::move(note_text);
  entry.created_at = operation.at;
  entry.stripe_payment_id = std::move(stripe_payment_id);
  entry.balance_after = account.balance += amount;
  note(RowKind::entries_behind, user, "");
  if (job == nullptr) {
    account.entries.push_back(std::move(entry));
    return;
  }
  entry.job_id = operation.text("job_id");
  const std::int64_t held_before = hold(*job);
  job->entries.push_back(account.entries.size());
  account.entries.push_back(std::move(entry));
  account.held += hold(*job) - held_before;
}

std::int64_t State::hold(const Job& job) const {
  const std::vector<Entry>& entries = accounts_.at(job.user_id).entries;
  std::int64_t sum = 0;
  bool opened = false;
  for (const std::size_t place : job.entries) {
    const Entry& entry = entries[place];
    if (entry.type == "reserve" && entry.amount < 0) {
      opened = true;
      sum = 0;
    }
    if (opened && (entry.type == "reserve" || entry.type == "refund")) sum += entry.amount;
  }
  return -sum;
}

Funds State::funds(const Operation& op, const Text& user, std::int64_t amount) const {
  const auto found = op.lease ? leases_.find(*op.lease) : leases_.end();
  const bool is_mine = found != leases_.end() && found->second.open &&
                       found->second.user_id == user &&
                       found->second.device_id == pusher_->device_id;
  if (is_mine && found->second.unspent >= amount) return {true};
  if (accounts_.at(user).balance >= amount) return {};
  return {false, op.lease && !is_mine ? "lease_reclaimed" : "insufficient_credits"};
}

void State::change_lease(const Text& lease_id, std::int64_t amount) {
  Lease& lease = edit(leases_, lease_id);
  lease.unspent += amount;
  Account& account = accounts_.at(lease.user_id);
  if (in_batch_) undo_.push_back([&account, amount] { account.leased -= amount; });
  account.leased += amount;
}

void State::draw(const Operation& op, const Text& user, std::int64_t amount) {
  change_lease(*op.lease, -amount);
  append(op, user, nullptr, "refund", amount, "Drawn from lease");
}

/// What a hold gives back goes back to the lease that it was drawn on, while that is open.
void State::give_back(const Operation& op, Job& job, std::int64_t amount,
                      std::string_view note_text) {
  append(op, job.user_id, &job, "refund", amount, Text(note_text));
  const auto lease = job.lease ? leases_.find(*job.lease) : leases_.end();
  if (lease == leases_.end() || !lease->second.open) return;
  change_lease(*job.lease, amount);
  append(op, job.user_id, nullptr, "reserve", -amount, "Back to lease");
}

std::int64_t State::close_lease(const Text& lease_id, const Text& op_id, Micros at) {
  Operation closing;
  closing.op_id = op_id;
  closing.at = at;
  const Lease lease = leases_.at(lease_id);
  change_lease(lease_id, -lease.unspent);
  edit(leases_, lease_id).open = false;
  remove(open_leases_, {lease.user_id, lease.device_id});
  postings_ = 0;
  if (lease.unspent > 0)
    append(closing, lease.user_id, nullptr, "refund", lease.unspent, "Lease returned");
  return lease.unspent;
}

void State::open_hold(const Operation& operation, Job& job) {
  const std::int64_t amount = operation.number("amount");
  const bool drawn = funds(operation, job.user_id, amount).from_lease;
  if (drawn) draw(operation, job.user_id, amount);
  append(operation, job.user_id, &job, "reserve", -amount, "Reserved for job");
  job.lease = drawn ? operation.lease : std::nullopt;
  job.cost_credits_reserved = amount;
  job.cost_credits_final.reset();
  job.reservation = operation.op_id;
}

/// Why the job's hold cannot be settled at this cost; empty where it can.
std::string_view State::settle_refusal(const Operation& op, const Job& job,
                                       std::int64_t cost) const {
  const std::int64_t held = hold(job);
  if (held == 0) return job.cost_credits_final ? "already_finalized" : "no_reservation";
  if (cost <= held) return {};
  if (!pusher_->author && !pusher_->service) return "not_permitted";
  return funds(op, job.user_id, cost - held).refusal;
}

void State::settle(const Operation& operation, Job& job, std::int64_t cost) {
  const std::int64_t held = hold(job);
  if (cost > held && funds(operation, job.user_id, cost - held).from_lease)
    draw(operation, job.user_id, cost - held);
  append(operation, job.user_id, &job, "reserve", std::min(held, cost),
         "Reservation converted to usage");
  append(operation, job.user_id, &job, "usage", -cost, "Video generation");
  if (held > cost) give_back(operation, job, held - cost, "Unused credits refund");
  job.cost_credits_final = cost;
}

void State::release(const Operation& operation, Job& job) {
  const std::int64_t held = hold(job);
  if (held > 0) give_back(operation, job, held, "Job failed - credits released");
}

// ----------------------------------------------------------------------------------- users,
// credits

Answer State::create_user(const Operation& op) {
  const Text& user_id = op.text("user_id");
  const MaybeText email = op.maybe("email");
  if (users_.count(user_id) > 0 || (email && emails_.count(*email) > 0)) return {"user_exists"};
  const MaybeText name = op.maybe("display_name");
  User& user = edit(users_, user_id);
  user.email = email;
  user.raw_user_meta_data = "{}";
  if (name) {
    user.raw_user_meta_data = R"({"name": )";
    write_json_string(*name, user.raw_user_meta_data);
    user.raw_user_meta_data += "}";
  }
  if (email) edit(emails_, *email) = user_id;
  Profile& profile = edit(profiles_, user_id);
  profile.display_name = name.value_or("User");
  profile.notification_prefs =
      R"({"marketing": false, "job_failed": true, "low_credits": true, "job_complete": true})";
  profile.created_at = profile.updated_at = op.at;
  edit(accounts_, user_id);
  note(RowKind::profiles, user_id, user_id);
  append(op, user_id, nullptr, "grant", 10, "Welcome bonus: 10 trial credits");
  return ok_answer;
}

Answer State::update_profile(const Operation& op) {
  if (users_.count(op.text("user_id")) == 0) return {"user_not_found"};
  Profile& profile = edit(profiles_, op.text("user_id"));
  if (op.has("display_name")) profile.display_name = op.maybe("display_name");
  if (op.has("avatar_url")) profile.avatar_url = op.maybe("avatar_url");
  if (op.has("notification_prefs")) profile.notification_prefs = op.maybe("notification_prefs");
  if (op.has("stripe_customer_id")) profile.stripe_customer_id = op.maybe("stripe_customer_id");
  profile.updated_at = op.at;
  note(RowKind::profiles, op.text("user_id"), op.text("user_id"));
  return ok_answer;
}

Answer State::add_credits(const Operation& op) {
  const Text& user_id = op.text("user_id");
  if (users_.count(user_id) == 0) return {"user_not_found"};
  const MaybeText payment_id = op.maybe("stripe_payment_id");
  const Payment payment{op.name, user_id, op.text("amount"), op.text("type")};
  if (payment_id && payments_.count(*payment_id) > 0) {
    return payments_.at(*payment_id) == payment ? ok_answer : Answer{"payment_conflict"};
  }
  const Account& account = accounts_.at(user_id);
  if (account.balance + account.held + account.leased + op.number("amount") > credits_max)
    return {"balance_overflow"};
  if (payment_id) edit(payments_, *payment_id) = payment;
  append(op, user_id, nullptr, op.text("type"), op.number("amount"), op.maybe("note"), payment_id);
  return ok_answer;
}

Answer State::expire_credits(const Operation& op) {
  const Text& user_id = op.text("user_id");
  if (users_.count(user_id) == 0) return {"user_not_found"};
  const MaybeText payment_id = op.maybe("stripe_payment_id");
  const Payment payment{op.name, user_id, op.text("amount"), {}};
  if (payment_id && payments_.count(*payment_id) > 0) {
    return payments_.at(*payment_id) == payment ? ok_answer : Answer{"payment_conflict"};
  }
  if (accounts_.at(user_id).balance < op.number("amount")) return {"insufficient_credits"};
  if (payment_id) edit(payments_, *payment_id) = payment;
  append(op, user_id, nullptr, "expire", -op.number("amount"), op.maybe("note"), payment_id);
  return ok_answer;
}

// --------------------------------------------------------------------------------------------
// drafts

Answer State::create_draft(const Operation& op) {
  const MaybeText user_id = op.maybe("user_id");
  if (user_id && users_.count(*user_id) == 0) return {"user_not_found"};
  if (drafts_.count(op.text("draft_id")) > 0) return {"already_exists"};
  Draft& draft = edit(drafts_, op.text("draft_id"));
  draft.session_token = op.text("session_token");
  draft.user_id = user_id;
  draft.prompt_text = op.text("prompt_text");
  draft.template_id = op.maybe("template_id");
  draft.options = op.maybe("options");
  draft.created_at = draft.updated_at = op.at;
  draft.expires_at = std::min(op.at + 7 * day_us, *time_of("9999-12-31T23:59:59.999999Z"));
  if (user_id) note(RowKind::draft_prompts, *user_id, op.text("draft_id"));
  return ok_answer;
}

Answer State::update_draft(const Operation& op) {
  const auto found = drafts_.find(op.text("draft_id"));
  if (found == drafts_.end() || (found->second.user_id && !sees(op, *found->second.user_id)))
    return {"draft_not_found"};
  const Draft& before = found->second;
  if (before.user_id) {  // a token proves nothing once a draft is claimed
    if (op.maybe("user_id") != before.user_id) return {"not_owner"};
  } else {
    if (op.maybe("session_token") != before.session_token) return {"not_owner"};
    if (before.expires_at <= op.at) return {"draft_expired"};
  }
  Draft& draft = edit(drafts_, op.text("draft_id"));
  if (op.has("prompt_text")) draft.prompt_text = op.text("prompt_text");
  if (op.has("template_id")) draft.template_id = op.maybe("template_id");
  if (op.has("options")) draft.options = op.maybe("options");
  draft.updated_at = op.at;
  if (draft.user_id) note(RowKind::draft_prompts, *draft.user_id, op.text("draft_id"));
  return ok_answer;
}

Answer State::claim_draft(const Operation& op) {
  if (users_.count(op.text("user_id")) == 0) return {"user_not_found"};
  std::vector<Text> claimable;
  for (const auto& [draft_id, draft] : drafts_) {
    if (!draft.user_id && draft.session_token == op.text("session_token") &&
        draft.expires_at > op.at) {
      claimable.push_back(draft_id);
    }
  }
  if (claimable.empty()) return {"draft_not_found"};
  Text newest = claimable.front();
  for (const Text& draft_id : claimable) {  // by ascending id, so that the greatest wins a tie
    if (drafts_.at(draft_id).created_at >= drafts_.at(newest).created_at) newest = draft_id;
    Draft& draft = edit(drafts_, draft_id);
    draft.user_id = op.text("user_id");
    draft.updated_at = op.at;
    note(RowKind::draft_prompts, op.text("user_id"), draft_id);
  }
  return {ok_code, newest};
}

Answer State::purge_expired_drafts(const Operation& op) {
  for (auto draft = drafts_.begin(); draft != drafts_.end();) {
    const bool over = !draft->second.user_id && draft->second.expires_at <= op.at;
    draft = over ? drafts_.erase(draft) : std::next(draft);
  }
  return ok_answer;
}

// -------------------------------------------------------------------------- projects, voice
// profiles

bool State::voice_profile_missing(const Operation& op) const {
  const MaybeText wanted = op.maybe("voice_profile_id");
  if (!wanted) return false;
  const auto found = voice_profiles_.find(*wanted);
  return found == voice_profiles_.end() || found->second.user_id != op.text("user_id");
}

Answer State::create_project(const Operation& op) {
  if (users_.count(op.text("user_id")) == 0) return {"user_not_found"};
  if (voice_profile_missing(op)) return {"voice_profile_not_found"};
  if (projects_.count(op.text("project_id")) > 0) return {"already_exists"};
  Project& project = edit(projects_, op.text("project_id"));
  project.user_id = op.text("user_id");
  project.title = op.text("title");
  project.prompt_text = op.text("prompt_text");
  project.niche_preset = op.text("niche_preset");
  project.target_minutes = op.text("target_minutes");
  project.voice_profile_id = op.maybe("voice_profile_id");
  project.transcript_mode = op.maybe("transcript_mode");
  project.transcript_text = op.maybe("transcript_text");
  project.settings = op.maybe("settings");
  project.created_at = project.updated_at = op.at;
  note(RowKind::projects, project.user_id, op.text("project_id"));
  return ok_answer;
}

const Project* State::find_project(const Operation& op) const {
  const auto found = projects_.find(op.text("project_id"));
  return found == projects_.end() || !sees(op, found->second.user_id) ? nullptr : &found->second;
}

Answer State::update_project(const Operation& op) {
  const Project* before = find_project(op);
  if (before == nullptr) return {"project_not_found"};
  if (voice_profile_missing(op)) return {"voice_profile_not_found"};
  if (before->user_id != op.text("user_id")) return {"not_owner"};
  Project& project = edit(projects_, op.text("project_id"));
  if (op.has("title")) project.title = op.text("title");
  if (op.has("prompt_text")) project.prompt_text = op.text("prompt_text");
  if (op.has("niche_preset")) project.niche_preset = op.text("niche_preset");
  if (op.has("target_minutes")) project.target_minutes = op.text("target_minutes");
  if (op.has("voice_profile_id")) project.voice_profile_id = op.maybe("voice_profile_id");
  if (op.has("transcript_mode")) project.transcript_mode = op.maybe("transcript_mode");
  if (op.has("transcript_text")) project.transcript_text = op.maybe("transcript_text");
  if (op.has("settings")) project.settings = op.maybe("settings");
  project.updated_at = op.at;
  note(RowKind::projects, project.user_id, op.text("project_id"));
  return ok_answer;
}

Answer State::delete_project(const Operation& op) {
  const Project* before = find_project(op);
  if (before == nullptr) return {"project_not_found"};
  if (before->user_id != op.text("user_id")) return {"not_owner"};
  const std::set<Text> doomed = before->jobs;
  for (const Text& job_id : doomed) {
    if (hold(jobs_.at(job_id)) != 0) return {"illegal_transition"};
  }
  for (const Text& job_id : doomed) remove_job(job_id);
  remove(projects_, op.text("project_id"));
  note(RowKind::projects, op.text("user_id"), op.text("project_id"), true);
  return ok_answer;
}

/// With what is the job's; its entries stay, and name it no more.
void State::remove_job(const Text& job_id) {
  const Job job = jobs_.at(job_id);
  std::vector<Entry>& entries = accounts_.at(job.user_id).entries;
  for (const std::size_t place : job.entries) {
    if (in_batch_) undo_.push_back([&entries, place, job_id] { entries[place].job_id = job_id; });
    entries[place].job_id.reset();
    note(RowKind::credit_ledger, job.user_id, entries[place].id);
  }
  for (const Text& asset_id : job.assets) {
    remove(assets_, asset_id);
    note(RowKind::assets, job.user_id, asset_id, true);
  }
  for (const Step& step : job.steps) {
    step_ids_.erase(step.id);
    if (in_batch_) undo_.push_back([this, step_id = step.id] { step_ids_.insert(step_id); });
  }
  remove(jobs_, job_id);
  note(RowKind::job_steps, job.user_id, job_id);
  note(RowKind::jobs, job.user_id, job_id, true);
}

Answer State::create_voice_profile(const Operation& op) {
  if (users_.count(op.text("user_id")) == 0) return {"user_not_found"};
  if (voice_profiles_.count(op.text("voice_profile_id")) > 0) return {"already_exists"};
  VoiceProfile& voice = edit(voice_profiles_, op.text("voice_profile_id"));
  voice.user_id = op.text("user_id");
  voice.name = op.text("name");
  voice.audio_path = op.text("audio_path");
  voice.provider = op.maybe("provider");
  voice.voice_id = op.maybe("voice_id");
  voice.settings = op.maybe("settings");
  voice.created_at = op.at;
  note(RowKind::voice_profiles, voice.user_id, op.text("voice_profile_id"));
  return ok_answer;
}

Answer State::delete_voice_profile(const Operation& op) {
  const Text& voice_profile_id = op.text("voice_profile_id");
  if (users_.count(op.text("user_id")) == 0) return {"user_not_found"};
  const auto found = voice_profiles_.find(voice_profile_id);
  if (found == voice_profiles_.end() || !sees(op, found->second.user_id))
    return {"voice_profile_not_found"};
  if (found->second.user_id != op.text("user_id")) return {"not_owner"};
  for (const auto& [project_id, project] : projects_) {
    if (project.voice_profile_id != voice_profile_id) continue;
    Project& cleared = edit(projects_, project_id);
    cleared.voice_profile_id.reset();
    cleared.updated_at = op.at;
    note(RowKind::projects, cleared.user_id, project_id);
  }
  remove(voice_profiles_, voice_profile_id);
  note(RowKind::voice_profiles, op.text("user_id"), voice_profile_id, true);
  return ok_answer;
}

// ----------------------------------------------------------------------------------------------
// jobs

const Job* State::find_job(const Operation& op) const {
  const auto found = jobs_.find(op.text("job_id"));
  return found == jobs_.end() || !sees(op, found->second.user_id) ? nullptr : &found->second;
}

bool State::is_worked_on(const Job& job) {
  return job.status == "QUEUED" || stage_index(job.status).has_value();
}

/// Why a worker's operation, or one that means another reservation, comes too late; empty where it
/// does not.
std::string_view State::late_refusal(const Job& job, const Operation& op) const {
  const bool of_author = op.name == "retry_job" ||
                         (op.name == "advance_job" && op.text("to") == "QUEUED") ||
                         (op.name == "fail_job" && pusher_->author &&
                          (job.status == "PENDING" || job.status == "QUEUED"));
  const bool is_elsewhere = claimed(job, claims_at(op)) && job.claim_device != pusher_->device_id;
  if (is_elsewhere && pusher_->worker && !of_author) return "not_claim_holder";
  static const Text none = "00000000-0000-0000-0000-000000000000";
  if (op.reservation && *op.reservation != job.reservation.value_or(none))
    return "stale_reservation";
  return {};
}

Job& State::change_job(const Operation& op) {
  Job& job = edit(jobs_, op.text("job_id"));
  job.active_at = std::max(job.active_at, op.at);
  note(RowKind::jobs, job.user_id, op.text("job_id"));
  return job;
}

Job& State::change_job_and_steps(const Operation& op) {
  Job& job = change_job(op);
  note(RowKind::job_steps, job.user_id, op.text("job_id"));
  return job;
}

void State::recompute_progress(Job& job) {
  std::int64_t sum = 0;
  for (const Step& step : job.steps) sum += step.progress_pct;
  job.progress = sum / 8;
}

/// Where advance_job may take the job, its hold aside; empty where nowhere.
Text State::next_status(const Job& job) {
  if (job.status == "PENDING") return "QUEUED";
  if (job.status == "PACKAGING") return "READY";
  if (job.status == "QUEUED") {
    for (std::size_t i = 0; i < job.steps.size(); ++i) {
      if (job.steps[i].state != "succeeded") return Text(stages()[i]);
    }
  }
  const auto stage = stage_index(job.status);
  return stage ? Text(stages()[*stage + 1]) : Text();
}

Answer State::create_job(const Operation& op) {
  const Text& job_id = op.text("job_id");
  const Project* project = find_project(op);
  if (project == nullptr) return {"project_not_found"};
  if (jobs_.count(job_id) > 0) return {"already_exists"};
  if (project->user_id != op.text("user_id")) return {"not_owner"};
  edit(projects_, op.text("project_id")).jobs.insert(job_id);
  Job& job = edit(jobs_, job_id);
  job.project_id = op.text("project_id");
  job.user_id = op.text("user_id");
  job.created_at = job.active_at = op.at;
  for (std::size_t i = 0; i < job.steps.size(); ++i) {
    job.steps[i].id = free_id(derived_id(job_id, i + 1), step_ids_);
    take_id(step_ids_, job.steps[i].id);
  }
  note(RowKind::jobs, job.user_id, job_id);
  note(RowKind::job_steps, job.user_id, job_id);
  return ok_answer;
}

Answer State::reserve_credits(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (before->user_id != op.text("user_id")) return {"not_owner"};
  if (before->status != "PENDING") return {"illegal_transition"};
  if (hold(*before) != 0) return {"already_reserved"};
  const Funds found = funds(op, before->user_id, op.number("amount"));
  if (!found.refusal.empty()) return {found.refusal};
  open_hold(op, change_job(op));
  return ok_answer;
}

Answer State::advance_job(const Operation& op) {
  const Job* before = find_job(op);
  const Text& to = op.text("to");
  if (before == nullptr) return {"job_not_found"};
  if (const auto late = late_refusal(*before, op); !late.empty()) return {late};
  if (next_status(*before) != to) return {"illegal_transition"};
  if (to == "QUEUED" && hold(*before) == 0) return {"reservation_required"};
  if (to == "READY" && (hold(*before) != 0 || !before->cost_credits_final))
    return {"illegal_transition"};

  Job& job = to == "QUEUED" ? change_job(op) : change_job_and_steps(op);
  if (const auto left = stage_index(job.status)) {
    Step& step = job.steps[*left];
    step.state = "succeeded";
    step.progress_pct = 100;
    step.finished_at = op.at;
  }
  if (const auto entered = stage_index(to)) {
    Step& step = job.steps[*entered];
    step.state = "started";
    step.progress_pct = 0;
    step.started_at = op.at;
    if (!job.started_at) job.started_at = op.at;
  }
  if (to == "READY") {
    job.finished_at = op.at;
    job.claim_until.reset();
  }
  job.status = to;
  if (op.has("status_message")) job.status_message = op.text("status_message");
  recompute_progress(job);
  return ok_answer;
}

Answer State::report_progress(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  const auto stage = stage_index(op.text("step_name"));
  if (!stage) return {"step_not_found"};
  if (const auto late = late_refusal(*before, op); !late.empty()) return {late};
  const Step& old = before->steps[*stage];
  if (old.state != "started") return {"illegal_transition"};

  Step step = old;
  step.progress_pct = std::max(old.progress_pct, op.number("progress_pct"));
  if (op.has("status_message")) step.status_message = op.text("status_message");
  if (op.has("logs_url")) step.logs_url = op.text("logs_url");
  if (op.has("artifacts_json")) step.artifacts_json = op.text("artifacts_json");
  if (step.progress_pct == old.progress_pct && step.status_message == old.status_message &&
      step.logs_url == old.logs_url && step.artifacts_json == old.artifacts_json) {
    return {ok_code, {}, {}, false};
  }
  Job& job = change_job_and_steps(op);
  job.steps[*stage] = step;
  recompute_progress(job);
  return ok_answer;
}

Answer State::add_asset(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (assets_.count(op.text("asset_id")) > 0) return {"already_exists"};
  if (const auto late = late_refusal(*before, op); !late.empty()) return {late};
  Job& job = change_job(op);
  job.assets.insert(op.text("asset_id"));
  note(RowKind::assets, job.user_id, op.text("asset_id"));
  Asset& asset = edit(assets_, op.text("asset_id"));
  asset.job_id = op.text("job_id");
  asset.type = op.text("type");
  asset.url = op.text("url");
  asset.storage_path = op.text("storage_path");
  asset.size_bytes = op.maybe("size_bytes");
  asset.mime_type = op.maybe("mime_type");
  asset.metadata_json = op.maybe("metadata_json");
  asset.created_at = op.at;
  return ok_answer;
}

Answer State::finalize_job_credits(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (const auto late = late_refusal(*before, op); !late.empty()) return {late};
  const std::string_view refusal = settle_refusal(op, *before, op.number("final_cost"));
  if (!refusal.empty()) return {refusal};
  settle(op, change_job(op), op.number("final_cost"));
  return ok_answer;
}

Answer State::release_job_credits(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (const auto late = late_refusal(*before, op); !late.empty()) return {late};
  if (hold(*before) == 0) return {"no_reservation"};
  release(op, change_job(op));
  return ok_answer;
}

Answer State::complete_job(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (const auto late = late_refusal(*before, op); !late.empty()) return {late};
  if (before->status != "PACKAGING") return {"illegal_transition"};
  const std::string_view refusal = settle_refusal(op, *before, op.number("final_cost"));
  if (!refusal.empty()) return {refusal};

  Job& job = change_job_and_steps(op);
  settle(op, job, op.number("final_cost"));
  Step& packaging = job.steps.back();
  packaging.state = "succeeded";
  packaging.progress_pct = 100;
  packaging.finished_at = op.at;
  if (op.has("output_url")) job.output_url = op.text("output_url");
  if (op.has("manifest_json")) job.manifest_json = op.text("manifest_json");
  job.status = "READY";
  job.finished_at = op.at;
  job.claim_until.reset();
  recompute_progress(job);
  return ok_answer;
}

Answer State::fail_job(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (const auto late = late_refusal(*before, op); !late.empty()) return {late};
  const bool has_begun = stage_index(before->status).has_value();
  if (before->status == "READY" || before->status == "FAILED" || (has_begun && !pusher_->worker))
    return {"illegal_transition"};

  Job& job = has_begun ? change_job_and_steps(op) : change_job(op);
  release(op, job);
  job.failed_step.reset();
  if (const auto stage = stage_index(job.status)) {
    Step& step = job.steps[*stage];
    step.state = "failed";
    step.finished_at = op.at;
    step.error_message = op.maybe("error_message");
    job.failed_step = stages()[*stage];
  }
  job.status = "FAILED";
  job.error_code = op.text("error_code");
  job.error_message = op.maybe("error_message");
  job.finished_at = op.at;
  job.claim_until.reset();
  return ok_answer;
}

Answer State::retry_job(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (const auto late = late_refusal(*before, op); !late.empty()) return {late};
  if (before->status != "FAILED") return {"illegal_transition"};
  const Funds found = funds(op, before->user_id, op.number("amount"));
  if (!found.refusal.empty()) return {found.refusal};

  Job& job = change_job_and_steps(op);
  open_hold(op, job);
  for (Step& step : job.steps) {
    if (step.state != "failed") continue;
    const Text step_id = step.id;
    step = Step{};
    step.id = step_id;
  }
  job.failed_step.reset();
  job.error_code.reset();
  job.error_message.reset();
  job.status_message.reset();
  job.finished_at.reset();
  job.status = "QUEUED";
  recompute_progress(job);
  return ok_answer;
}

// --------------------------------------------------------------------------------------------
// claims

bool State::holds_claim(const Job& job, const Operation& op) const {
  return claimed(job, claims_at(op)) && job.claim_device == pusher_->device_id;
}

Answer State::claim_job(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (claimed(*before, claims_at(op))) return {"already_claimed"};
  if (!is_worked_on(*before)) return {"illegal_transition"};
  Job& job = change_job(op);
  job.claim_until = claims_at(op) + op.number("ttl") * second_us;
  job.claim_device = pusher_->device_id;
  return ok_answer;
}

Answer State::renew_claim(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (!holds_claim(*before, op)) return {"not_claim_holder"};
  change_job(op).claim_until = claims_at(op) + op.number("ttl") * second_us;
  return ok_answer;
}

Answer State::drop_claim(const Operation& op) {
  const Job* before = find_job(op);
  if (before == nullptr) return {"job_not_found"};
  if (!holds_claim(*before, op)) return {"not_claim_holder"};
  Job& job = change_job(op);
  job.claim_until.reset();
  job.claim_device.reset();
  return ok_answer;
}

Answer State::sweep(const Operation& op) {
  std::vector<Text> lost;
  for (const auto& [job_id, job] : jobs_) {
    if (!stage_index(job.status) || claimed(job, op.at)) continue;
    const Micros active = std::max(job.active_at, job.claim_until.value_or(job.active_at));
    if (op.at - active >= op.number("grace") * second_us) lost.push_back(job_id);
  }
  for (const Text& job_id : lost) {
    Operation fail;
    fail.name = "fail_job";
    fail.op_id = swept_op_id(op.op_id, job_id);
    fail.at = op.at;
    fail.values = {{"job_id", job_id}, {"error_code", "WORKER_LOST"}};
    postings_ = 0;
    const Text owner = jobs_.at(job_id).user_id;
    if (record(owner, fail.op_id) != nullptr) continue;
    remember(owner, fail, fail_job(fail));
  }
  return ok_answer;
}

// -------------------------------------------------------------------------------------------
// leases

Answer State::lease_credits(const Operation& op) {
  const Text& user_id = op.text("user_id");
  const Text& lease_id = op.text("lease_id");
  if (users_.count(user_id) == 0) return {"user_not_found"};
  const std::pair<Text, Text> whose{user_id, *pusher_->device_id};
  const auto open = open_leases_.find(whose);
  const bool is_mine = open != open_leases_.end() && open->second == lease_id;
  if (!is_mine && (open != open_leases_.end() || leases_.count(lease_id) > 0))
    return {"already_exists"};
  const std::int64_t amount = op.number("amount");
  if (accounts_.at(user_id).balance < amount) return {"insufficient_credits"};
  Lease& lease = edit(leases_, lease_id);
  lease.user_id = user_id;
  lease.device_id = *pusher_->device_id;
  lease.expires_at = std::max(lease.expires_at, claims_at(op) + op.number("ttl") * second_us);
  edit(open_leases_, whose) = lease_id;
  change_lease(lease_id, amount);
  append(op, user_id, nullptr, "reserve", -amount, "Leased to device");
  return ok_answer;
}

Answer State::return_lease(const Operation& op) {
  const auto open = open_leases_.find({user_of(op), *pusher_->device_id});
  if (open == open_leases_.end() || open->second != op.text("lease_id")) return {"lease_not_found"};
  close_lease(op.text("lease_id"), op.op_id, op.at);
  return ok_answer;
}

// -------------------------------------------------------------------------------------------
// reading

namespace {

Text number(std::int64_t value) { return std::to_string(value); }

Model::Row row_of(const Text& id, const Profile& p) {
  return {id,
          p.display_name,
          p.avatar_url,
          time_text(p.created_at),
          p.notification_prefs,
          p.stripe_customer_id,
          time_text(p.updated_at)};
}

Model::Row row_of(const Text& id, const Draft& d) {
  return {id,
          d.session_token,
          d.user_id,
          d.prompt_text,
          d.template_id,
          d.options,
          time_text(d.created_at),
          time_text(d.updated_at),
          time_text(d.expires_at)};
}

Model::Row row_of(const Text& id, const Project& p) {
  return {id,
          p.user_id,
          p.title,
          p.prompt_text,
          p.niche_preset,
          p.target_minutes,
          p.voice_profile_id,
          p.transcript_mode,
          p.transcript_text,
          p.settings,
          time_text(p.created_at),
          time_text(p.updated_at)};
}

Model::Row row_of(const Text& id, const Job& j) {
  return {id,
          j.project_id,
          j.user_id,
          j.status,
          number(j.progress),
          j.status_message,
          number(j.cost_credits_reserved),
          j.cost_credits_final ? MaybeText(number(*j.cost_credits_final)) : std::nullopt,
          j.failed_step,
          j.error_code,
          j.error_message,
          j.output_url,
          j.manifest_json,
          time_text(j.created_at),
          time_text(j.started_at),
          time_text(j.finished_at)};
}

Model::Row row_of(const Text& id, const Asset& a) {
  return {id,          a.job_id,        a.type,
          a.url,       a.storage_path,  a.size_bytes,
          a.mime_type, a.metadata_json, time_text(a.created_at)};
}

Model::Row row_of(const Text& id, const VoiceProfile& v) {
  return {id,         v.user_id,  v.name,     v.audio_path,
          v.provider, v.voice_id, v.settings, time_text(v.created_at)};
}

template <class Map>
std::vector<Model::Row> rows_of(const Map& map) {
  std::vector<Model::Row> out;
  for (const auto& [id, row] : map) out.push_back(row_of(id, row));
  return out;
}

template <class Map>
const typename Map::mapped_type* find(const Map& map, const Text& id) {
  const auto found = map.find(id);
  return found == map.end() ? nullptr : &found->second;
}

}  // namespace

Model::Row State::step_row(const Text& job_id, const Job& job, std::size_t i) {
  const Step& s = job.steps[i];
  return {s.id,
          job_id,
          Text(stages()[i]),
          std::to_string(i + 1),
          s.state,
          number(s.progress_pct),
          s.status_message,
          s.error_message,
          s.logs_url,
          s.artifacts_json,
          time_text(s.started_at),
          time_text(s.finished_at)};
}

Model::Row State::entry_row(const Text& user_id, const Account& account, std::size_t i) {
  const Entry& e = account.entries[i];
  return {e.id,
          user_id,
          e.type,
          number(e.amount),
          e.note,
          time_text(e.created_at),
          e.job_id,
          e.stripe_payment_id,
          number(e.balance_after),
          std::to_string(i + 1)};
}

std::optional<Model::Row> State::row(RowKind kind, const Text& user_id, const Text& row_id) const {
  std::optional<Model::Row> row;
  const auto take = [&](const auto* found, const MaybeText& owner) {
    if (found != nullptr && owner == user_id) row = row_of(row_id, *found);
  };
  if (kind == RowKind::profiles) {
    take(find(profiles_, row_id), row_id);
  } else if (kind == RowKind::voice_profiles) {
    const VoiceProfile* voice = find(voice_profiles_, row_id);
    take(voice, voice != nullptr ? MaybeText(voice->user_id) : std::nullopt);
  } else if (kind == RowKind::projects) {
    const Project* project = find(projects_, row_id);
    take(project, project != nullptr ? MaybeText(project->user_id) : std::nullopt);
  } else if (kind == RowKind::jobs) {
    const Job* job = find(jobs_, row_id);
    take(job, job != nullptr ? MaybeText(job->user_id) : std::nullopt);
  } else if (kind == RowKind::assets) {
    const Asset* asset = find(assets_, row_id);
    take(asset, asset != nullptr ? MaybeText(jobs_.at(asset->job_id).user_id) : std::nullopt);
  } else if (kind == RowKind::draft_prompts) {
    const Draft* draft = find(drafts_, row_id);
    take(draft, draft != nullptr ? draft->user_id : std::nullopt);
  }
  return row;
}

std::vector<Model::Row> State::rows(std::string_view table) const {
  std::vector<Model::Row> out;
  if (table == "users") {
    for (const auto& [id, user] : users_) out.push_back({id, user.email, user.raw_user_meta_data});
  } else if (table == "profiles") {
    out = rows_of(profiles_);
  } else if (table == "credit_ledger") {
    for (const auto& [user_id, account] : accounts_) {
      for (std::size_t i = 0; i < account.entries.size(); ++i)
        out.push_back(entry_row(user_id, account, i));
    }
  } else if (table == "draft_prompts") {
    out = rows_of(drafts_);
  } else if (table == "projects") {
    out = rows_of(projects_);
  } else if (table == "jobs") {
    out = rows_of(jobs_);
  } else if (table == "job_steps") {
    for (const auto& [job_id, job] : jobs_) {
      for (std::size_t i = 0; i < job.steps.size(); ++i) out.push_back(step_row(job_id, job, i));
    }
  } else if (table == "assets") {
    out = rows_of(assets_);
  } else if (table == "voice_profiles") {
    out = rows_of(voice_profiles_);
  }
  std::sort(out.begin(), out.end(),
            [](const Model::Row& a, const Model::Row& b) { return a[0] < b[0]; });
  return out;
}

std::optional<Model::JobView> State::job(const Text& job_id) const {
  const auto found = jobs_.find(job_id);
  if (found == jobs_.end()) return std::nullopt;
  const Job& job = found->second;
  return Model::JobView{job.user_id,
                        job.status,
                        hold(job),
                        job.cost_credits_final.has_value(),
                        job.claim_until.has_value(),
                        job.reservation,
                        next_status(job)};
}

std::optional<Model::AccountView> State::account(const Text& user_id) const {
  const auto found = accounts_.find(user_id);
  if (found == accounts_.end()) return std::nullopt;
  return Model::AccountView{found->second.balance, found->second.held};
}

}  // namespace tally::model::half
