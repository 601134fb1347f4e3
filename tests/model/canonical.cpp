#include "model/canonical.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <set>
#include <utility>

#include "feed.hpp"
#include "platform.hpp"
#include "state.hpp"

namespace tally::model {
namespace {

using half::Change;
using half::Cursor;
using half::Job;
using half::Json;
using half::MaybeText;
using half::Micros;
using half::Operation;
using half::Pusher;
using half::RowKind;
using half::Text;

const Text no_user = "00000000-0000-0000-0000-000000000000";
constexpr Micros ttl_max_s = 2592000;

// The tables in the order of a digest, and in that of the feed.
constexpr std::array<std::string_view, 8> digest_tables{
    "profiles", "credit_ledger", "draft_prompts", "projects",
    "jobs",     "job_steps",     "assets",        "voice_profiles"};
constexpr std::array<std::string_view, 9> kind_names{"",         "profiles",      "voice_profiles",
                                                     "projects", "jobs",          "job_steps",
                                                     "assets",   "draft_prompts", "credit_ledger"};

std::string_view name_of(RowKind kind) { return kind_names[static_cast<std::size_t>(kind)]; }

Uuid id_of(const Text& text) { return Uuid::parse(text).value(); }

std::string sha256(std::string_view bytes) {
  const platform::Sha256 hash = platform::sha256(bytes);
  return {hash.begin(), hash.end()};
}

struct Verdict {
  std::string chain;  // the hash up to its operation
  std::string_view code;
  MaybeText id;
  std::optional<std::size_t> index;
};

struct Device {
  Text token;
  Pusher may;
  MaybeText scope, enrolled_from;
  std::optional<Micros> reclaim_after;
  bool is_revoked = false;
  std::int64_t watermark = 0, confirmed = 0;
  std::string confirmed_chain;
  std::map<std::int64_t, Verdict> verdicts;  // by number, until they are confirmed
  std::int64_t calls = 0;
  Text era = "first";
};

/// A pushed operation, read; none where the line is no operation. It points into its line.
struct Pushed {
  std::optional<Json> line;
  std::optional<Operation> operation;  // none: the line is none
  MaybeText envelope;                  // whose it is, as the device says
};

/// The lease of one of a batch's operations, of "place:id,place:id".
MaybeText lease_at(std::string_view leases, std::size_t place) {
  const std::string sought = std::to_string(place) + ":";
  while (!leases.empty()) {
    const std::string_view one = leases.substr(0, leases.find(','));
    if (one.substr(0, sought.size()) == sought) return half::uuid(one.substr(sought.size()));
    leases.remove_prefix(std::min(one.size() + 1, leases.size()));
  }
  return std::nullopt;
}

sync::Answer refused(Code code) {
  sync::Answer answer;
  answer.trouble = {
      code == Code::unauthorized ? sync::ErrorClass::authentication : sync::ErrorClass::protocol,
      {code, std::string(row_of(code).sentence)}};
  return answer;
}

/// As create_job makes it.
bool is_as_made(const Text& job_id, const half::Step& step, std::size_t i) {
  return step.state == "pending" && step.progress_pct == 0 && step.artifacts_json == "{}" &&
         !step.started_at && !step.finished_at && !step.status_message && !step.error_message &&
         !step.logs_url && step.id == half::derived_id(job_id, i + 1);
}

TableDigest digest_of(std::string_view table, const std::vector<Model::Row>& rows) {
  TableDigest digest{std::string(table), static_cast<std::int64_t>(rows.size()), 0};
  for (const Model::Row& row : rows) {
    std::string text(table);
    for (const MaybeText& column : row)
      text += column ? std::to_string(column->size()) + ":" + *column : "-";
    const platform::Sha256 hash = platform::sha256(text);
    std::uint64_t first = 0;
    for (std::size_t i = 0; i < 8; ++i) first = first << 8 | hash[i];
    digest.digest += first;
  }
  return digest;
}

/// More than canonical takes of one call.
bool is_too_much(const Push& push) {
  constexpr std::size_t count_max = 10'000, bytes_max = 33U << 20U, cursor_max = 1'024;
  // As arrays on the wire: a head, and each text behind its length.
  constexpr std::size_t head = 20, length = 4;
  std::size_t lines = head, leases = head;
  for (const PushedOperation& pushed : push.operations) {
    lines += length + pushed.line.size();
    leases += length + pushed.leases.size();
  }
  return push.operations.size() > count_max || lines > bytes_max || leases > bytes_max ||
         (push.subscriptions && push.subscriptions->size() > count_max) ||
         (push.cursor && push.cursor->size() > cursor_max);
}

}  // namespace

class Canonical::State final : public half::State {
 public:
  explicit State(std::uint64_t seed) : seed_(seed) {
    clock_ = 0;
    notes_changes_ = true;
  }

  void set_clock(Micros now) { clock_ = now; }
  void reseed(std::uint64_t seed) {
    seed_ = seed;
    ids_ = 0;
  }
  sync::Answer sync(const Call& call);
  Text apply_line(std::string_view line);
  sync::DeviceToken add_device(const sync::NewDevice& device);
  bool revoke_device(const Text& device_id);
  std::optional<std::int64_t> write_off(const Text& lease_id);

  std::vector<Model::Row> rows_of(std::string_view table, const Text& user_id) const;
  std::vector<TableDigest> digest(const Text& user_id) const;
  std::vector<Lease> open_leases() const;
  std::vector<Account> accounts() const;
  std::int64_t watermark(const Text& device_id) const { return devices_.at(device_id).watermark; }

 private:
  Text next_id();
  void begin() { ++transaction_; }
  void end();
  std::int64_t close(const Text& lease_id);
  bool reclaim(const std::set<Text>& users, const MaybeText& but_of);
  bool reclaim_own(const Text& device_id);

  // a call
  std::optional<Code> refusal(const Call&, const Text& device_id) const;
  std::optional<Code> check_chain(const Call&, const Device&,
                                  std::vector<std::string>& chains) const;
  void adopt(const Call&, const Text& device_id, std::optional<Cursor>&);
  Pusher pusher_of(const Text& device_id) const;
  bool judge_new(const Call&, const Text& device_id, const std::optional<Cursor>&,
                 const half::Reader&, const std::vector<std::string>& chains);
  void read_pushed(const PushedOperation&, const MaybeText& scope, Pushed&) const;
  std::set<Text> users_of(const std::deque<Pushed>&) const;
  void add_users(const Json& line, const std::set<Text>& owners, std::set<Text>& users) const;
  MaybeText claim_next(const Pusher&, const half::Reader&, std::int64_t ttl_s);

  // what it is answered
  sync::Answer tell(const Call&, const Text& device_id, const half::Plan&,
                    const half::Reader&) const;
  PulledUser tell_user(const half::Since&, const half::Plan&, const half::Reader&) const;
  PulledUser tell_page(const half::Plan&) const;
  PulledState tell_state(const half::Since&, const half::Plan&, const half::Reader&) const;
  void tell_row(const Text& user_id, const half::Feed::Key&, bool gone, std::int64_t entries,
                PulledUser&) const;
  void tell_job(const Text& job_id, Model::Row row, PulledUser&) const;
  void tell_steps(const Text& user_id, const Text& job_id, PulledUser&) const;
  void tell_lost_job(const Text& user_id, const Text& entry_id, std::int64_t entries,
                     PulledUser&) const;
  void tell_entries(const Text& user_id, std::int64_t after, std::int64_t upto, PulledUser&) const;

  std::uint64_t seed_;
  std::uint64_t ids_ = 0;
  std::int64_t transaction_ = 0;
  std::map<Text, Device> devices_;
  std::map<Text, Text> tokens_;  // token to device
  half::Feed feed_;
};

// ---- what every transaction does ----------------------------------------------------------------

/// A UUID of version 4, the same for a seed and a count.
Text Canonical::State::next_id() {
  const std::string hash = sha256(std::to_string(seed_) + " " + std::to_string(++ids_));
  Uuid id;
  for (std::size_t i = 0; i < id.bytes.size(); ++i)
    id.bytes[i] = static_cast<std::uint8_t>(hash[i]);
  id.bytes[6] = static_cast<std::uint8_t>((id.bytes[6] & 0x0fU) | 0x40U);
  id.bytes[8] = static_cast<std::uint8_t>((id.bytes[8] & 0x0fU) | 0x80U);
  return id.text();
}

void Canonical::State::end() {
  feed_.take(changes_, transaction_, accounts_);
  changes_.clear();
}

std::int64_t Canonical::State::close(const Text& lease_id) {
  const bool returns = leases_.at(lease_id).unspent > 0;
  // Its device is told with its user, also where nothing comes back.
  note(RowKind::entries_behind, leases_.at(lease_id).user_id, "");
  return close_lease(lease_id, returns ? next_id() : Text(), *clock_);
}

/// Ends the leases of these users that are overdue by more than their devices may; but for one
/// device's, whose pushes come first.
bool Canonical::State::reclaim(const std::set<Text>& users, const MaybeText& but_of) {
  std::vector<Text> overdue;
  for (const auto& [whose, lease_id] : open_leases_) {
    const auto& reclaim_after = devices_.at(whose.second).reclaim_after;
    if (users.count(whose.first) > 0 && whose.second != but_of && reclaim_after &&
        leases_.at(lease_id).expires_at + *reclaim_after < *clock_)
      overdue.push_back(lease_id);
  }
  for (const Text& lease_id : overdue) close(lease_id);
  return !overdue.empty();
}

bool Canonical::State::reclaim_own(const Text& device_id) {
  const auto& reclaim_after = devices_.at(device_id).reclaim_after;
  if (!reclaim_after) return false;
  std::vector<Text> overdue;
  for (const auto& [whose, lease_id] : open_leases_) {
    if (whose.second == device_id && leases_.at(lease_id).expires_at + *reclaim_after < *clock_)
      overdue.push_back(lease_id);
  }
  for (const Text& lease_id : overdue) close(lease_id);
  return !overdue.empty();
}

Text Canonical::State::apply_line(std::string_view line) {
  begin();
  std::deque<Pushed> trace(1);
  trace.front().line = half::parse_json(line);
  trace.front().operation = half::read_line(trace.front().line, clock_);
  reclaim(users_of(trace), std::nullopt);
  Text result = apply(line);
  end();
  return result;
}

// ---- devices ------------------------------------------------------------------------------------

sync::DeviceToken Canonical::State::add_device(const sync::NewDevice& made) {
  const Text device_id = next_id();
  Device device;
  device.token = "tally_" + next_id();
  device.token += next_id();
  device.token.erase(std::remove(device.token.begin(), device.token.end(), '-'),
                     device.token.end());
  const auto has = [&](Capability capability) {
    return std::count(made.capabilities.begin(), made.capabilities.end(), capability) > 0;
  };
  device.may.author = has(Capability::author);
  device.may.worker = has(Capability::worker);
  device.may.service = has(Capability::service);
  if (made.scope) device.scope = made.scope->text();
  if (made.reclaim_after) device.reclaim_after = made.reclaim_after->count() * half::second_us;
  tokens_[device.token] = device_id;
  return {id_of(device_id), devices_.emplace(device_id, std::move(device)).first->second.token};
}

bool Canonical::State::revoke_device(const Text& device_id) {
  const auto found = devices_.find(device_id);
  if (found == devices_.end() || found->second.is_revoked) return false;
  begin();
  found->second.is_revoked = true;
  std::vector<Text> leases;
  for (const auto& [whose, lease_id] : open_leases_) {
    if (whose.second == device_id) leases.push_back(lease_id);
  }
  for (const Text& lease_id : leases) close(lease_id);
  for (auto& [job_id, job] : jobs_) {
    if (job.claim_device != device_id || !claimed(job, *clock_)) continue;
    job.claim_until.reset();
    job.claim_device.reset();
    note(RowKind::jobs, job.user_id, job_id);
  }
  end();
  return true;
}

std::optional<std::int64_t> Canonical::State::write_off(const Text& lease_id) {
  const auto found = leases_.find(lease_id);
  if (found == leases_.end() || !found->second.open) return std::nullopt;
  begin();
  const std::int64_t unspent = close(lease_id);
  end();
  return unspent;
}

// ---- a call -------------------------------------------------------------------------------------

/// Why the call is refused, whoever the device is.
std::optional<Code> Canonical::State::refusal(const Call& call, const Text& device_id) const {
  const auto found = devices_.find(device_id);
  if (found == devices_.end() || found->second.is_revoked ||
      (call.device_id && call.device_id->text() != device_id))
    return Code::unauthorized;
  const auto is_within = [](std::int64_t value, std::int64_t most) {
    return value >= 1 && value <= most;
  };
  if (!is_within(call.users_max, 10'000) || !is_within(call.rows_max, 1'000'000) ||
      (call.claim_ttl_s && !is_within(*call.claim_ttl_s, ttl_max_s)) ||
      (call.push.cursor && !Cursor::parse(*call.push.cursor)) || is_too_much(call.push))
    return Code::protocol;
  return std::nullopt;
}

/// What canonical has judged must be what it had been sent.
std::optional<Code> Canonical::State::check_chain(const Call& call, const Device& device,
                                                  std::vector<std::string>& chains) const {
  const std::int64_t acked = call.push.acked;
  if (acked < device.confirmed) return Code::device_forked;
  if (acked > device.watermark) return Code::history_lost;
  const std::string& known =
      acked == device.confirmed ? device.confirmed_chain : device.verdicts.at(acked).chain;
  if (call.push.chain != known) return Code::device_forked;
  std::string chain = call.push.chain;
  std::int64_t number = acked;
  for (const PushedOperation& pushed : call.push.operations) {
    chain = sha256(chain + pushed.user_id.value_or(Uuid{}).text() + " " + pushed.leases + " " +
                   pushed.line);
    chains.push_back(chain);
    if (++number <= device.watermark && device.verdicts.at(number).chain != chain)
      return Code::device_forked;
  }
  return std::nullopt;
}

/// What a call says of the mirror's past: a cursor of another life of canonical's is none, and the
/// mirror may have been another device.
void Canonical::State::adopt(const Call& call, const Text& device_id,
                             std::optional<Cursor>& cursor) {
  Device& device = devices_.at(device_id);
  if (cursor && cursor->call > device.calls) device.era = next_id();
  if (cursor && cursor->era != device.era) cursor.reset();
  if (!call.before || call.before->text() == device_id || device.enrolled_from ||
      device.watermark > 0)
    return;
  const auto before = devices_.find(call.before->text());
  if (before != devices_.end() && before->second.scope == device.scope)
    device.enrolled_from = before->first;
}

Pusher Canonical::State::pusher_of(const Text& device_id) const {
  Pusher pusher = devices_.at(device_id).may;
  pusher.device_id = device_id;
  pusher.now = clock_;
  pusher.nobody = {device_id};
  for (MaybeText from = devices_.at(device_id).enrolled_from; from;
       from = devices_.at(*from).enrolled_from) {
    if (std::count(pusher.nobody.begin(), pusher.nobody.end(), *from) > 0) break;
    pusher.nobody.push_back(*from);
  }
  return pusher;
}

void Canonical::State::read_pushed(const PushedOperation& pushed, const MaybeText& scope,
                                   Pushed& out) const {
  out.line = half::parse_json(pushed.line);
  out.operation = half::read_line(out.line, clock_);
  const Text user = pushed.user_id.value_or(Uuid{}).text();
  // Outside its scope nobody exists.
  out.envelope = scope && user != *scope ? no_user : user;
  if (!out.operation) return;
  Operation& operation = *out.operation;
  operation.envelope = out.envelope;
  if (operation.name != "batch") operation.lease = half::uuid(pushed.leases);
  for (std::size_t i = 0; i < operation.ops.size(); ++i) {
    operation.ops[i].envelope = operation.envelope;
    operation.ops[i].lease = lease_at(pushed.leases, i);
  }
}

/// Those of the owners (all, where there are none) whom an operation names, itself or by its job or
/// project; also one that is malformed, as a batch's may be.
void Canonical::State::add_users(const Json& line, const std::set<Text>& owners,
                                 std::set<Text>& users) const {
  const auto add = [&](const Text& user) {
    if (owners.empty() || owners.count(user) > 0) users.insert(user);
  };
  if (const MaybeText user = half::uuid(line.find("user_id"))) add(*user);
  if (const MaybeText job_id = half::uuid(line.find("job_id"))) {
    if (const auto job = jobs_.find(*job_id); job != jobs_.end()) add(job->second.user_id);
  }
  const Json* name = line.find("op");
  const MaybeText project_id = half::uuid(line.find("project_id"));
  if (name != nullptr && name->text == "delete_project" && project_id) {
    const auto project = projects_.find(*project_id);
    if (project != projects_.end() && !project->second.jobs.empty()) add(project->second.user_id);
  }
  if (name != nullptr && name->text == "sweep") {
    for (const auto& [job_id, job] : jobs_) {
      if (half::stage_index(job.status)) add(job.user_id);
    }
  }
  const Json* ops = name != nullptr && name->text == "batch" ? line.find("ops") : nullptr;
  if (ops == nullptr) return;
  for (const Json& inner : ops->items) add_users(inner, owners, users);
}

std::set<Text> Canonical::State::users_of(const std::deque<Pushed>& pushed) const {
  std::set<Text> owners, users;
  for (const Pushed& one : pushed) {
    if (one.envelope) owners.insert(*one.envelope);
  }
  for (const Pushed& one : pushed) {
    if (!one.operation) continue;
    add_users(*one.line, owners, users);
    if (one.operation->name == "return_lease" && one.envelope) users.insert(*one.envelope);
  }
  return users;
}

/// Judges what is new of a push; false where there was nothing, or its users are behind.
bool Canonical::State::judge_new(const Call& call, const Text& device_id,
                                 const std::optional<Cursor>& cursor, const half::Reader& reader,
                                 const std::vector<std::string>& chains) {
  Device& device = devices_.at(device_id);
  const auto known = static_cast<std::size_t>(device.watermark - call.push.acked);
  const auto& operations = call.push.operations;
  if (operations.size() <= known) return false;
  std::set<Text> users;
  for (std::size_t i = known; i < operations.size(); ++i)
    users.insert(operations[i].user_id.value_or(Uuid{}).text());
  if (feed_.is_behind(reader, cursor, users, transaction_)) return false;

  std::deque<Pushed> pushed(operations.size() - known);
  for (std::size_t i = 0; i < pushed.size(); ++i)
    read_pushed(operations[known + i], device.scope, pushed[i]);
  reclaim(users_of(pushed), device_id);
  const Pusher pusher = pusher_of(device_id);
  for (std::size_t i = 0; i < pushed.size(); ++i) {
    const half::Answer judged = pushed[i].operation ? judge(*pushed[i].operation, pusher)
                                                    : half::Answer{"invalid_argument"};
    device.verdicts[++device.watermark] = {chains[known + i], judged.code, judged.id, judged.index};
  }
  return true;
}

/// The next job for a worker, claimed: the oldest one that is QUEUED or in a stage, without a live
/// claim.
MaybeText Canonical::State::claim_next(const Pusher& pusher, const half::Reader& reader,
                                       std::int64_t ttl_s) {
  const std::pair<const Text, Job>* next = nullptr;
  for (const auto& entry : jobs_) {
    const Job& job = entry.second;
    if (!is_worked_on(job) || claimed(job, *clock_) || !reader.wants(job.user_id)) continue;
    if (next == nullptr || job.created_at < next->second.created_at) next = &entry;
  }
  if (next == nullptr) return std::nullopt;
  const Text job_id = next->first;
  const std::optional<Json> line = half::parse_json(
      R"({"op":"claim_job","op_id":")" + next_id() + R"(","job_id":")" + job_id + R"(","at":")" +
      half::time_text(*clock_) + R"(","ttl":)" + std::to_string(ttl_s) + "}");
  Operation claim = half::read_line(line, clock_).value();
  claim.envelope = next->second.user_id;
  reclaim({next->second.user_id}, pusher.device_id);
  return judge(claim, pusher).code == half::ok_code ? MaybeText(job_id) : std::nullopt;
}

sync::Answer Canonical::State::sync(const Call& call) {
  const auto token = tokens_.find(call.token);
  const Text device_id = token == tokens_.end() ? Text() : token->second;
  if (const auto code = refusal(call, device_id)) return refused(*code);
  Device& device = devices_.at(device_id);
  std::vector<std::string> chains;
  if (const auto code = check_chain(call, device, chains)) return refused(*code);

  begin();
  std::optional<Cursor> cursor = call.push.cursor ? Cursor::parse(*call.push.cursor) : std::nullopt;
  adopt(call, device_id, cursor);
  half::Reader reader{device.scope, device.may.author || device.may.service, call.users_max,
                      call.rows_max};
  if (call.push.subscriptions) {
    reader.only.emplace();
    for (const Uuid& user_id : *call.push.subscriptions) reader.only->insert(user_id.text());
  }
  const bool has_judged = judge_new(call, device_id, cursor, reader, chains);
  MaybeText claimed_job;
  if (call.claim_ttl_s && !has_judged && device.may.worker)
    claimed_job = claim_next(pusher_of(device_id), reader, *call.claim_ttl_s);
  // What is pushed, now or in the queue's next call, may draw on them.
  const bool has_reclaimed = call.push.operations.empty() && reclaim_own(device_id);
  device.verdicts.erase(device.verdicts.begin(), device.verdicts.upper_bound(call.push.acked));
  device.confirmed = call.push.acked;
  device.confirmed_chain = call.push.chain;
  ++device.calls;
  end();

  std::set<Text> judged;
  for (const PushedOperation& pushed : call.push.operations) {
    if (device.watermark > call.push.acked && pushed.user_id && *pushed.user_id != Uuid{})
      judged.insert(pushed.user_id->text());
  }
  if (claimed_job) {
    const Text& owner = jobs_.at(*claimed_job).user_id;
    if (!feed_.is_behind(reader, cursor, {owner}, transaction_)) judged.insert(owner);
  }
  half::Plan plan =
      feed_.plan(reader, cursor, judged,
                 call.digest_of ? MaybeText(call.digest_of->text()) : std::nullopt, transaction_);
  if (has_judged && !has_reclaimed && plan.cursor) plan.cursor->own = transaction_;
  sync::Answer answer = tell(call, device_id, plan, reader);
  if (claimed_job) answer.claimed = id_of(*claimed_job);
  return answer;
}

// ---- what it is answered ------------------------------------------------------------------------

sync::Answer Canonical::State::tell(const Call& call, const Text& device_id, const half::Plan& plan,
                                    const half::Reader& reader) const {
  const Device& device = devices_.at(device_id);
  sync::Answer answer;
  answer.reply.acked = call.push.acked;
  answer.reply.asked = call.push.cursor;
  answer.reply.subscriptions = call.push.subscriptions;
  answer.reply.watermark = device.watermark;
  answer.more = plan.more;
  answer.device.device_id = id_of(device_id);
  if (device.scope) answer.device.scope = id_of(*device.scope);
  if (device.may.author) answer.device.capabilities.push_back(Capability::author);
  if (device.may.worker) answer.device.capabilities.push_back(Capability::worker);
  if (device.may.service) answer.device.capabilities.push_back(Capability::service);
  if (plan.complete_after) {
    answer.reply.complete = {
        id_of(*plan.complete_after),
        plan.complete_to ? std::optional(id_of(*plan.complete_to)) : std::nullopt};
  }
  Cursor cursor = plan.cursor.value_or(Cursor{});
  if (!plan.cursor && !plan.users.empty()) {
    const half::Feed::User* user = feed_.find(plan.users.front().user_id);
    cursor.revision = user != nullptr ? user->revision : 0;
    cursor.entries = user != nullptr ? user->entries : 0;
  }
  cursor.call = device.calls;
  cursor.era = device.era;
  answer.reply.cursor = cursor.text();
  for (const auto& [number, verdict] : device.verdicts) {
    PulledVerdict& told = answer.reply.verdicts.emplace_back();
    told.number = number;
    told.code = code_named(verdict.code).value();
    if (verdict.id) told.id = id_of(*verdict.id);
    if (verdict.index) told.index = static_cast<std::uint32_t>(*verdict.index);
  }
  for (const auto& [whose, lease_id] : open_leases_) {
    if (whose.second != device_id) continue;
    const half::Lease& lease = leases_.at(lease_id);
    answer.reply.leases.push_back(
        {id_of(whose.first), id_of(lease_id), Credits{lease.unspent}, Timestamp{lease.expires_at}});
  }
  if (call.digest_of && plan.tells(call.digest_of->text())) {
    for (TableDigest& table : digest(call.digest_of->text())) {
      if (reader.is_full || (table.table != "profiles" && table.table != "draft_prompts"))
        answer.digest.push_back(std::move(table));
    }
  }
  for (const half::Since& since : plan.users) {
    if (feed_.find(since.user_id) != nullptr)
      answer.reply.users.push_back(tell_user(since, plan, reader));
  }
  if (plan.page) answer.reply.users.push_back(tell_page(plan));
  std::sort(answer.reply.users.begin(), answer.reply.users.end(),
            [](const PulledUser& a, const PulledUser& b) { return a.user_id < b.user_id; });
  return answer;
}

PulledUser Canonical::State::tell_user(const half::Since& since, const half::Plan& plan,
                                       const half::Reader& reader) const {
  PulledUser told;
  told.user_id = id_of(since.user_id);
  auto changes = feed_.changes_since(since.user_id, since.revision);
  std::sort(changes.begin(), changes.end());
  for (const auto& [key, gone] : changes) {
    const bool is_told = key.first != RowKind::profiles && key.first != RowKind::draft_prompts;
    if (reader.is_full || is_told) tell_row(since.user_id, key, gone, since.entries, told);
  }
  tell_entries(since.user_id, since.entries, feed_.find(since.user_id)->entries, told);
  told.state = tell_state(since, plan, reader);
  return told;
}

PulledUser Canonical::State::tell_page(const half::Plan& plan) const {
  PulledUser told;
  told.user_id = id_of(*plan.paged);
  told.page = plan.pages ? PulledUser::Page::next : PulledUser::Page::first;
  const half::Feed::User& user = *feed_.find(*plan.paged);
  for (const half::Feed::Key& key : plan.page->rows)
    tell_row(*plan.paged, key, user.rows.at(key).gone, plan.page->entries_after, told);
  tell_entries(*plan.paged, plan.page->entries_after, plan.page->entries_upto, told);
  return told;
}

PulledState Canonical::State::tell_state(const half::Since& since, const half::Plan& plan,
                                         const half::Reader& reader) const {
  const half::Account& account = accounts_.at(since.user_id);
  const bool with_pages = plan.pages && plan.paged == since.user_id;
  PulledState state;
  state.since = with_pages ? plan.pages->revision : since.revision;
  state.since_entries = with_pages ? plan.pages->entries : since.entries;
  state.with_pages = with_pages;
  state.entries = static_cast<std::int64_t>(account.entries.size());
  state.balance = account.balance;
  state.held = account.held + account.leased;
  state.with_email = reader.is_full;
  if (reader.is_full) {
    state.email = users_.at(since.user_id).email;
    state.meta = users_.at(since.user_id).raw_user_meta_data;
  }
  return state;
}

/// `entries`: how many of the user's the device has.
void Canonical::State::tell_row(const Text& user_id, const half::Feed::Key& key, bool gone,
                                std::int64_t entries, PulledUser& told) const {
  const auto& [kind, row_id] = key;
  if (gone) {
    told.gone.emplace_back(name_of(kind), id_of(row_id));
  } else if (kind == RowKind::job_steps) {
    tell_steps(user_id, row_id, told);
  } else if (kind == RowKind::credit_ledger) {
    tell_lost_job(user_id, row_id, entries, told);
  } else if (auto fed = row(kind, user_id, row_id)) {
    if (kind == RowKind::jobs) {
      tell_job(row_id, std::move(*fed), told);
    } else {
      told.rows.push_back({std::string(name_of(kind)), std::move(*fed)});
    }
  }
}

void Canonical::State::tell_job(const Text& job_id, Model::Row fed, PulledUser& told) const {
  const Job& job = jobs_.at(job_id);
  fed.insert(fed.end(),
             {std::to_string(hold(job)), job.reservation, job.lease,
              half::time_text(job.claim_until), job.claim_device, half::time_text(job.active_at)});
  told.rows.push_back({"jobs", std::move(fed)});
}

/// Of a job's steps, which there are; then those that are not as they were made.
void Canonical::State::tell_steps(const Text& user_id, const Text& job_id, PulledUser& told) const {
  const auto found = jobs_.find(job_id);
  if (found == jobs_.end() || found->second.user_id != user_id) return;
  const Job& job = found->second;
  told.rows.push_back({"job_steps", {job_id, std::to_string((1 << job.steps.size()) - 1)}});
  for (std::size_t i = 0; i < job.steps.size(); ++i) {
    if (!is_as_made(job_id, job.steps[i], i))
      told.rows.push_back({"job_steps", step_row(job_id, job, i)});
  }
}

/// An entry that the device has is fed again where it lost its job.
void Canonical::State::tell_lost_job(const Text& user_id, const Text& entry_id,
                                     std::int64_t entries, PulledUser& told) const {
  const half::Account& account = accounts_.at(user_id);
  for (std::size_t i = 0; i < static_cast<std::size_t>(entries); ++i) {
    if (account.entries[i].id == entry_id)
      told.rows.push_back({"credit_ledger", entry_row(user_id, account, i)});
  }
}

void Canonical::State::tell_entries(const Text& user_id, std::int64_t after, std::int64_t upto,
                                    PulledUser& told) const {
  for (std::int64_t i = after; i < upto; ++i)
    told.rows.push_back(
        {"credit_ledger", entry_row(user_id, accounts_.at(user_id), static_cast<std::size_t>(i))});
}

// ---- reading ------------------------------------------------------------------------------------

std::vector<Model::Row> Canonical::State::rows_of(std::string_view table,
                                                  const Text& user_id) const {
  std::vector<Model::Row> rows;
  const half::Feed::User* user = feed_.find(user_id);
  if (user == nullptr) return rows;
  if (table == "credit_ledger") {
    const half::Account& account = accounts_.at(user_id);
    for (std::size_t i = 0; i < account.entries.size(); ++i)
      rows.push_back(entry_row(user_id, account, i));
    return rows;
  }
  for (const auto& [key, noted] : user->rows) {
    if (noted.gone || name_of(key.first) != table) continue;
    const auto job = jobs_.find(key.second);
    if (key.first != RowKind::job_steps) {
      if (auto found = row(key.first, user_id, key.second)) rows.push_back(std::move(*found));
    } else if (job != jobs_.end() && job->second.user_id == user_id) {
      for (std::size_t i = 0; i < job->second.steps.size(); ++i)
        rows.push_back(step_row(key.second, job->second, i));
    }
  }
  return rows;
}

std::vector<TableDigest> Canonical::State::digest(const Text& user_id) const {
  std::vector<TableDigest> out;
  for (const std::string_view table : digest_tables)
    out.push_back(digest_of(table, rows_of(table, user_id)));
  return out;
}

std::vector<Canonical::Lease> Canonical::State::open_leases() const {
  std::vector<Lease> out;
  for (const auto& [whose, lease_id] : open_leases_)
    out.push_back(
        {id_of(lease_id), id_of(whose.first), id_of(whose.second), leases_.at(lease_id).unspent});
  return out;
}

std::vector<Canonical::Account> Canonical::State::accounts() const {
  std::vector<Account> out;
  for (const auto& [user_id, account] : accounts_)
    out.push_back({id_of(user_id), account.balance, account.held, account.leased});
  return out;
}

// ---- canonical ----------------------------------------------------------------------------------

Canonical::Canonical(std::uint64_t seed) : state_(std::make_unique<State>(seed)) {}
Canonical::Canonical(const Canonical& other) : state_(std::make_unique<State>(*other.state_)) {}
Canonical& Canonical::operator=(const Canonical& other) {
  if (this != &other) state_ = std::make_unique<State>(*other.state_);
  return *this;
}
Canonical::Canonical(Canonical&&) noexcept = default;
Canonical& Canonical::operator=(Canonical&&) noexcept = default;
Canonical::~Canonical() = default;

void Canonical::set_clock(Timestamp now) { state_->set_clock(now.us); }
void Canonical::reseed(std::uint64_t seed) { state_->reseed(seed); }
sync::Answer Canonical::sync(const Call& call) { return state_->sync(call); }
std::string Canonical::apply(std::string_view line) { return state_->apply_line(line); }
sync::DeviceToken Canonical::add_device(const sync::NewDevice& device) {
  return state_->add_device(device);
}
bool Canonical::revoke_device(const Uuid& device_id) {
  return state_->revoke_device(device_id.text());
}
std::optional<Credits> Canonical::write_off(const Uuid& lease_id) {
  const auto unspent = state_->write_off(lease_id.text());
  return unspent ? std::optional(Credits{*unspent}) : std::nullopt;
}
std::vector<Canonical::Row> Canonical::rows(std::string_view table) const {
  return state_->rows(table);
}
std::vector<Canonical::Row> Canonical::entries(const Uuid& user_id) const {
  return state_->rows_of("credit_ledger", user_id.text());
}
std::vector<TableDigest> Canonical::digest(const Uuid& user_id) const {
  return state_->digest(user_id.text());
}
std::vector<Canonical::Lease> Canonical::open_leases() const { return state_->open_leases(); }
std::vector<Canonical::Account> Canonical::accounts() const { return state_->accounts(); }
std::int64_t Canonical::watermark(const Uuid& device_id) const {
  return state_->watermark(device_id.text());
}

}  // namespace tally::model
