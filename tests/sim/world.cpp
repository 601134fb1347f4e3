#include "sim/world.hpp"

#include <algorithm>
#include <set>

#include "fields.hpp"
#include "tally/trace.hpp"

namespace tally::sim {
namespace {

constexpr std::size_t story_max = 80;
constexpr Micros heal_bound = 600 * second;
constexpr Micros long_enough = 8 * second;

/// 2026-01-18T00:00:00Z.
const Timestamp beginning = Timestamp::parse("2026-01-18T00:00:00.000000Z").value();

std::string words_of(std::size_t device, const sync::Call& call, const sync::Answer& answer) {
  std::string words = "canonical is called by device " + std::to_string(device) + " with " +
                      std::to_string(call.push.operations.size()) + " behind " +
                      std::to_string(call.push.acked);
  if (answer.trouble.error_class != sync::ErrorClass::none)
    return words + ": " + std::string(name_of(answer.trouble.error.code));
  for (const PulledVerdict& verdict : answer.reply.verdicts)
    words += "; " + std::to_string(verdict.number) + " " + std::string(name_of(verdict.code));
  for (const PulledUser& user : answer.reply.users) {
    // In what order they are told is canonical's own.
    std::multiset<std::string> fed;
    for (const PulledUser::Row& row : user.rows)
      fed.insert(row.table + (row.texts[0] ? " " + row.texts[0]->substr(34) : ""));
    for (const auto& [table, id] : user.gone) fed.insert("gone " + table + " " + id.text());
    words += "; feeds";
    for (const std::string& row : fed) words += " " + row;
  }
  return words;
}

}  // namespace

World::World(const RunOptions& options, std::unique_ptr<Half> half, Probes& probes)
    : random(options.seed),
      canonical(std::move(half)),
      options(options),
      probes_(probes),
      anybody_(*this, all_capable(), [](const Uuid&) { return std::nullopt; }) {}

Timestamp World::time() const { return Timestamp{beginning.us + agenda.now()}; }

void World::tell(const std::string& what) {
  story_.push_back(time().text() + "  " + what);
  if (options.tells) std::fprintf(stderr, "%s\n", story_.back().c_str());
  if (story_.size() > story_max && !options.keeps_all) story_.pop_front();
}

std::string World::story() const {
  std::string all;
  for (const std::string& line : story_) all += line + "\n";
  return all;
}

void World::run() {
  test::FaultDisk::get().remember();
  make_users();
  make_devices();
  draw_weather();
  live();
  heal();
  check_all();
  for (auto& device : devices_) device.reset();
}

// ---- who there is -------------------------------------------------------------------------------

Uuid World::fresh_id(char letter) {
  Uuid id;
  id.bytes[3] = static_cast<std::uint8_t>(letter);
  id.bytes[6] = 0x70;
  id.bytes[8] = 0x80;
  const std::uint64_t n = ++ids_;
  for (std::size_t i = 0; i < 6; ++i) id.bytes[15 - i] = static_cast<std::uint8_t>(n >> (8 * i));
  return id;
}

void World::remember(const Operation& operation) {
  if (const auto* batch = std::get_if<Batch>(&operation)) {
    for (const Command& inner : batch->operations) remember(inner.operation);
  } else if (const auto* job = std::get_if<CreateJob>(&operation)) {
    jobs.push_back({job->job_id, job->project_id, job->user_id});
  } else if (const auto* project = std::get_if<CreateProject>(&operation)) {
    projects.emplace_back(project->project_id, project->user_id);
  } else if (const auto* deleted = std::get_if<DeleteProject>(&operation)) {
    std::erase(projects, std::pair(deleted->project_id, deleted->user_id));
  } else if (const auto* draft = std::get_if<CreateDraft>(&operation)) {
    drafts.push_back(draft->draft_id);
  } else if (const auto* profile = std::get_if<CreateVoiceProfile>(&operation)) {
    voice_profiles.push_back(profile->voice_profile_id);
  } else if (const auto* lease = std::get_if<LeaseCredits>(&operation)) {
    leases.push_back(lease->lease_id);
  }
}

DeviceKind World::all_capable() {
  DeviceKind kind;
  kind.capabilities = {Capability::author, Capability::worker, Capability::service};
  return kind;
}

void World::make_users() {
  const std::size_t count = 1 + random.below(3);
  for (std::size_t n = 0; n < count; ++n) {
    users.push_back(fresh_id('u'));
    apply_to_canonical(CreateUser{users.back()});
    if (random.one_in(2))
      apply_to_canonical(AddCredits{users.back(), Credits{random.between(1, 60)}, "grant"});
    apply_to_canonical(CreateProject{fresh_id('p'), users.back(), "T", "P", "facts"});
  }
}

void World::apply_to_canonical(Operation operation) {
  canonical->set_clock(time());
  Command command;
  command.op_id = fresh_id('o');
  command.at = time();
  command.operation = std::move(operation);
  const bool done = canonical->apply(trace_line(command));
  if (is_detailed()) tell("canonical: " + trace_line(command) + (done ? " ok" : " refused"));
  if (done) {
    auditor.applied(command);
    remember(command.operation);
  }
  auditor.check_books(*canonical);
}

DeviceKind World::draw_kind() {
  using enum Capability;
  constexpr SpendPolicy policies[] = {SpendPolicy::optimistic, SpendPolicy::leased,
                                      SpendPolicy::online};
  DeviceKind kind;
  if (random.one_in(2)) kind.scope = random.pick(users);
  kind.capabilities = {author, worker};
  if (random.one_in(5)) kind.capabilities = {worker};
  if (!kind.scope && random.one_in(2)) kind.capabilities = {author, worker, service};
  if (kind.has(author)) kind.policy = random.pick(policies);
  if (kind.policy == SpendPolicy::leased && random.one_in(2))
    kind.lease = LeaseTarget{Credits{random.between(2, 12)}, Credits{2},
                             std::chrono::seconds(random.between(2, random.one_in(3) ? 4 : 600)),
                             random.one_in(2)};
  if (random.one_in(2)) kind.durability = Durability::normal;
  if (random.one_in(2)) kind.operations_max = 1 + random.below(12);
  if (random.one_in(3)) kind.rows_max = static_cast<int>(1 + random.below(30));
  if (random.one_in(4)) kind.processes = 2;
  return kind;
}

sync::DeviceToken World::new_token(const DeviceKind& kind) {
  sync::NewDevice device{"device", kind.capabilities, kind.scope, {}};
  if (random.one_in(4))
    device.reclaim_after = std::chrono::seconds(random.between(1, random.one_in(2) ? 3 : 60));
  canonical->set_clock(time());
  const sync::DeviceToken token = canonical->add_device(device);
  auditor.enrolled(token);
  return token;
}

void World::make_devices() {
  const std::size_t count = 1 + random.below(4);
  network = std::make_unique<Network>(agenda, random, count);
  for (std::size_t place = 0; place < count; ++place) {
    const DeviceKind kind = draw_kind();
    devices_.push_back(std::make_unique<Device>(*this, place, kind, new_token(kind)));
    hosts_.emplace_back(*this, kind, [device = devices_.back().get()](const Uuid& job_id) {
      return device->see(job_id);
    });
    devices_.back()->start();
  }
}

void World::draw_weather() {
  Weather weather;
  if (random.one_in(2)) weather.loss = static_cast<double>(random.below(30)) / 100;
  if (random.one_in(2)) weather.doubling = static_cast<double>(random.below(30)) / 100;
  if (random.one_in(3)) weather.stalls = static_cast<double>(random.below(20)) / 100;
  weather.delay_most = random.between(1, 400) * millisecond;
  network->set_weather(weather);
}

// ---- the time of troubles -----------------------------------------------------------------------

void World::live() {
  for (std::size_t place = 0; place < devices_.size(); ++place) host_calls(place);
  trouble_comes();
  while (applied_ < options.operations && agenda.step()) {
  }
}

void World::host_calls(std::size_t place) {
  agenda.after(random.between(5, 300) * millisecond, [this, place] {
    if (applied_ >= options.operations) return;
    Device& device = *devices_[place];
    if (device.is_up()) {
      ++applied_;
      if (random.one_in(8)) {
        device.look_after();
      } else {
        device.apply(hosts_[place].next(device.clock()));
      }
      if (random.one_in(16)) device.check_mirror();
    }
    host_calls(place);
  });
}

void World::trouble_comes() {
  agenda.after(random.between(50, 900) * millisecond, [this] {
    if (applied_ >= options.operations) return;
    something_happens();
    trouble_comes();
  });
}

void World::something_happens() {
  const std::size_t place = random.below(devices_.size());
  Device& device = *devices_[place];
  switch (random.below(17)) {
    case 0:
    case 1:
      return cut_network(place);
    case 2:
      return device.crash(true);
    case 3:
      return device.crash(false);
    case 4:
    case 5:
      return device.expect(Device::Trouble::io_error);
    case 6:
      return device.expect(Device::Trouble::power_cut);
    case 7:
      return device.expect(Device::Trouble::kill);
    case 8:
      tell(device.describe() + "'s disk is full");
      probe("a disk was full");
      device.fill_disk(true);
      agenda.after(random.between(50, 800) * millisecond, [&device] { device.fill_disk(false); });
      return;
    case 9:
      return device.set_clock_error(random.between(-3'600, 3'600) * second);
    case 10:
      return draw_weather();
    case 11:
      return random.one_in(2) ? device.copy_file() : device.restore_copy();
    case 12:
      return an_operator_acts(device);
    case 13:
      return somebody_forges();
    default:
      return someone_writes_to_canonical();
  }
}

void World::cut_network(std::size_t place) {
  const auto direction = random.one_in(2) ? Direction::to_canonical : Direction::to_device;
  const bool both = random.one_in(2);
  tell(devices_[place]->describe() + " is cut off");
  probe(both ? "a device was cut off" : "a device was cut off in one direction");
  const auto cut = [this, place, direction, both](bool is_cut) {
    network->set_cut(place, direction, is_cut);
    if (both) {
      network->set_cut(place, Direction::to_canonical, is_cut);
      network->set_cut(place, Direction::to_device, is_cut);
    }
  };
  cut(true);
  agenda.after(random.between(100, 5'000) * millisecond, [cut] { cut(false); });
}

/// As the web product does.
void World::someone_writes_to_canonical() {
  Operation operation = anybody_.next(time()).operation;
  const bool is_a_devices = std::holds_alternative<LeaseCredits>(operation) ||
                            std::holds_alternative<ReturnLease>(operation) ||
                            std::holds_alternative<Batch>(operation);
  if (is_a_devices) operation = AddCredits{random.pick(users), Credits{3}, "grant"};
  apply_to_canonical(std::move(operation));
}

/// Who has a token and no mirror sends what no mirror would.
void World::somebody_forges() {
  probe("somebody forged a call");
  const DeviceKind kind = draw_kind();
  sync::Call forged;
  forged.token = new_token(kind).token;
  for (std::int64_t number = 1; number <= 3; ++number) {
    // Others' operations, too, as they called them, and under anybody's name.
    const Command command =
        !recent.empty() && random.one_in(3) ? random.pick(recent) : anybody_.next(time());
    const auto named = named_user(command);
    forged.push.operations.push_back(
        {number, named ? named : random.pick(users), trace_line(command), ""});
  }
  call(devices_.size(), forged);
}

void World::an_operator_acts(Device& device) {
  canonical->set_clock(time());
  const auto leases = canonical->open_leases();
  switch (random.below(6)) {
    case 0:
      tell(device.describe() + " is revoked");
      probe("a device was revoked");
      canonical->revoke_device(device.device_id());
      auditor.revoked(device.device_id());
      break;
    case 1:
    case 2:
      if (!leases.empty()) write_off_in_absence(random.pick(leases));
      break;
    case 3:
      if (random.one_in(2) && backup_) return restore_backup();
      [[fallthrough]];
    default:
      tell("canonical is backed up");
      backup_ = Backup{canonical->backup(), auditor};
  }
  auditor.check_books(*canonical);
}

/// Of a device that is away: what it draws on it meanwhile may be spent when it is back.
void World::write_off_in_absence(const Half::Lease& lease) {
  for (std::size_t place = 0; place < devices_.size(); ++place) {
    if (devices_[place]->device_id() == lease.device_id) cut_network(place);
  }
  agenda.after(random.between(1, 1'500) * millisecond, [this, lease] {
    if (applied_ >= options.operations) return;
    tell("a lease is written off");
    probe("a lease was written off");
    canonical->set_clock(time());
    canonical->write_off(lease.lease_id);
    for (const Half::Account& account : canonical->accounts()) {
      if (account.user_id == lease.user_id && account.balance > 0)
        apply_to_canonical(ExpireCredits{account.user_id, Credits{account.balance}});
    }
  });
}

/// What canonical had judged since is gone, and nobody is to blame.
void World::restore_backup() {
  tell("canonical is put back to its backup");
  probe("canonical was put back to its backup");
  for (std::size_t place = 0; place < devices_.size(); ++place)
    devices_[place]->excuse(auditor.judged_since(place, backup_->auditor));
  canonical->restore(backup_->canonical);
  auditor = backup_->auditor;
  ++life;
}

// ---- and then all is well -----------------------------------------------------------------------

void World::heal() {
  tell("all is well again");
  network->set_weather({});
  for (std::size_t place = 0; place < devices_.size(); ++place) {
    network->set_cut(place, Direction::to_canonical, false);
    network->set_cut(place, Direction::to_device, false);
    devices_[place]->heal();
  }
  // What was on its way still comes; at rest is who stays so for longer than that takes.
  const Micros bound = agenda.now() + heal_bound;
  std::size_t leases = canonical->open_leases().size();
  for (Micros rest_since = agenda.now(); agenda.now() < rest_since + long_enough;) {
    const Micros next_look = agenda.now() + 250 * millisecond;
    while (agenda.now() < next_look) demand(agenda.step(), "I8", "nobody does anything any more");
    demand(agenda.now() < bound, "I8", "the halves are not equal within a bound");
    // What ends by itself is to be told to all.
    if (leases != canonical->open_leases().size()) rest_since = agenda.now();
    leases = canonical->open_leases().size();
    for (auto& device : devices_) {
      device->heal();
      if (device->is_at_rest()) continue;
      rest_since = agenda.now();
      device->come_to_terms();
    }
  }
}

void World::check_all() {
  auditor.check_books(*canonical);
  for (auto& device : devices_) {
    device->check_mirror();
    device->check_promises();
    device->check_equal();
  }
  for (const Uuid& user : users) {
    for (const TableDigest& table : canonical->digest(user))
      tell(user.text() + " " + table.table + " " + std::to_string(table.digest));
  }
}

sync::Answer World::call(std::size_t device, const sync::Call& call) {
  canonical->set_clock(time());
  auditor.before_call(*canonical, call);
  sync::Answer answer = canonical->sync(call);
  auditor.after_call(*canonical, device, call, answer);
  if (is_detailed()) tell(words_of(device, call, answer));
  return answer;
}

}  // namespace tally::sim
