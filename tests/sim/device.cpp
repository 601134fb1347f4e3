#include "sim/device.hpp"

#include <algorithm>
#include <fstream>

#include "sim/world.hpp"
#include "support/folder.hpp"
#include "support/views.hpp"
#include "tally/trace.hpp"

namespace tally::sim {

using std::chrono::milliseconds;
using test::FaultDisk;

namespace {

constexpr Micros call_timeout = 2 * second;
constexpr Micros poll_interval = 500 * millisecond;

/// A column that is not NULL.
std::string_view text_of(const ViewRow& row, std::string_view column) {
  const auto found =
      std::find_if(row.begin(), row.end(), [&](const auto& cell) { return cell.first == column; });
  return *found->second;
}

/// An empty mirror's file, made once.
const std::string& empty_mirror(const std::filesystem::path& folder) {
  static const std::string content = [&] {
    const auto file = folder / "empty.db";
    std::filesystem::remove(file);
    if (!Engine::open(file)) throw std::runtime_error("no empty mirror");
    return test::bytes_of(file);
  }();
  return content;
}

}  // namespace

/// One that has the mirror open.
struct Device::Process {
  explicit Process(Engine opened) : engine(std::move(opened)) {}
  Engine engine;
  std::unique_ptr<sync::Exchange> exchange{};
  std::optional<std::uint64_t> call{};  ///< The one that is under way.
  Code told = Code::ok;                 ///< By canonical, at last.
  std::uint64_t ticks = 0;
};

Device::Device(World& world, std::size_t place, DeviceKind kind, const sync::DeviceToken& token)
    : world_(world),
      place_(place),
      kind_(std::move(kind)),
      device_id_(token.device_id),
      token_(token.token) {
  std::filesystem::remove_all(file().parent_path());
  std::filesystem::create_directories(file().parent_path());
  if (!world_.random.one_in(30))
    std::ofstream(file(), std::ios::binary) << empty_mirror(world_.options.folder);
}

Device::~Device() { end_processes(); }

std::filesystem::path Device::file() const {
  return world_.options.folder / ("device" + std::to_string(place_)) / "mirror.db";
}

Engine& Device::engine() { return processes_[world_.random.below(processes_.size())]->engine; }

Timestamp Device::clock() const { return Timestamp{world_.time().us + clock_error_}; }

Options Device::engine_options() {
  Options options;
  options.durability = kind_.durability;
  options.spend_policy = kind_.policy;
  options.verdict_timeout = milliseconds{0};
  options.busy_timeout = milliseconds{0};
  options.cache_kib = 256;
  options.clock = [this] { return clock(); };
  options.new_id = [this] {
    Uuid id;
    id.bytes[3] = 'x';
    id.bytes[4] = static_cast<std::uint8_t>(place_);
    id.bytes[6] = 0x70;
    id.bytes[8] = 0x80;
    const std::uint64_t n = ++ids_;
    for (std::size_t i = 0; i < 6; ++i) id.bytes[15 - i] = static_cast<std::uint8_t>(n >> (8 * i));
    return id;
  };
  return options;
}

sync::SyncOptions Device::sync_options() {
  sync::SyncOptions options;
  options.token = token_;
  options.operations_max = kind_.operations_max;
  options.rows_max = kind_.rows_max;
  options.poll_interval = milliseconds{poll_interval / millisecond};
  options.backoff_base = milliseconds{20};
  options.backoff_cap = milliseconds{1'000};
  options.lease = kind_.lease;
  options.digest_every = 20;
  options.callbacks.rejected = [this](const RejectedOperation& rejected) {
    world_.probe("an operation was rejected");
    if (rejected.code == Code::stale_reservation) world_.probe("a reservation was stale");
    if (rejected.code == Code::lease_reclaimed) world_.probe("a lease had been reclaimed");
  };
  options.callbacks.diverged = [this](const Uuid& user) {
    demand(may_differ(), "I8", "the mirror's rows of " + user.text() + " are not canonical's");
  };
  return options;
}

// ---- processes ----------------------------------------------------------------------------------

void Device::start() {
  if (is_up()) return;
  for (std::size_t n = 0; n < kind_.processes; ++n) {
    std::optional<Result<Engine>> opened;
    if (!with_disk([&] { opened.emplace(Engine::open(file(), engine_options())); })) return;
    if (!*opened) {
      const Error& error = opened->error();
      world_.tell(describe() + " does not open: " + std::string(name_of(error.code)));
      demand(is_tainted_, "I7", "the mirror does not open: " + error.detail);
      world_.probe("a mirror did not open at first");
      opened.reset();
      end_processes();
      world_.agenda.after(50 * millisecond, [this] { start(); });
      return;
    }
    processes_.push_back(std::make_unique<Process>(std::move(*opened).value()));
    processes_.back()->exchange = std::make_unique<sync::Exchange>(
        processes_.back()->engine, sync_options(),
        sync::Surroundings{
            .steady_now =
                [this] {
                  return sync::Surroundings::SteadyTime{} +
                         std::chrono::microseconds(world_.agenda.now() + second);
                },
            .system_now = [this] { return clock(); },
            .random = [this](std::int64_t most) { return world_.random.between(0, most); }});
    schedule(n, 1);
  }
  world_.tell(describe() + " is up");
}

void Device::end_processes() {
  ++generation_;
  processes_.clear();
  is_tainted_ = false;
}

FaultDisk::Image Device::files() const {
  FaultDisk::Image image;
  for (const char* suffix : {"", "-wal"}) {
    const std::string name = file().string() + suffix;
    if (std::filesystem::exists(name)) image[name] = test::bytes_of(name);
  }
  return image;
}

void Device::put_back(const FaultDisk::Image& image) {
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(file().string() + suffix);
  FaultDisk::get().forget_files(file().parent_path());
  test::put(image, file().parent_path());
}

void Device::crash(bool with_the_power) {
  if (!is_up()) return;
  world_.tell(describe() + (with_the_power ? " loses its power" : " is killed"));
  world_.probe(with_the_power ? "the power failed between calls" : "a process was killed");
  const FaultDisk::Image image =
      with_the_power ? FaultDisk::get().image_of(file().parent_path(), world_.random.next())
                     : files();
  die(image, with_the_power);
}

void Device::die(const FaultDisk::Image& image, bool with_the_power) {
  end_processes();
  put_back(image);
  if (with_the_power && kind_.durability == Durability::normal) {
    // An `ok` survives the process, not a power cut; what was on its way does.
    for (auto& [op_id, promise] : promises_) {
      if (promise.state == Promise::State::given && !promise.was_sent)
        promise.state = Promise::State::in_doubt;
    }
  }
  world_.agenda.after(world_.random.between(1, 300) * millisecond, [this] { start(); });
}

void Device::expect(Trouble trouble) {
  Random& random = world_.random;
  // Most come soon; some in the midst of a long take, a checkpoint or an opening.
  const auto nth = static_cast<int>(1 + random.below(std::size_t{2} << random.below(9)));
  due_ = Due{trouble, nth, random.pick(FaultDisk::calls), random.one_in(3), random.next()};
}

/// Does it on the disk as it is now; false where the process died in it.
template <class Work>
bool Device::with_disk(Work&& work) {
  FaultDisk& disk = FaultDisk::get();
  disk.heal();
  arm(disk);
  work();
  writes_ = disk.count(FaultDisk::Call::write) + disk.count(FaultDisk::Call::truncate);
  look_back(disk);
  disk.cut_power_at(0, 0, nullptr);
  disk.heal();
  if (!left_) return true;
  const auto image = *std::exchange(left_, std::nullopt);
  world_.tell(describe() + (left_by_power_cut_ ? " loses its power in a call" : " dies in a call"));
  world_.probe(left_by_power_cut_ ? "the power failed in a call" : "a process died in a call");
  die(image, left_by_power_cut_);
  return false;
}

void Device::arm(FaultDisk& disk) {
  if (is_full_) disk.fail(FaultDisk::Call::write, 1, FaultDisk::disk_full, true);
  if (!due_) return;
  switch (due_->trouble) {
    case Trouble::io_error:
      if (!is_full_)
        disk.fail(due_->failing, due_->nth, FaultDisk::error_of(due_->failing), due_->stays);
      break;
    case Trouble::power_cut:
      disk.cut_power_at(due_->nth, due_->seed, [this](const FaultDisk::Image& image) {
        left_ = test::within(image, file().parent_path());
        left_by_power_cut_ = true;
      });
      break;
    case Trouble::kill:
      disk.cut_power_at(due_->nth, 0, [this](const FaultDisk::Image&) {
        left_ = files();
        left_by_power_cut_ = false;
      });
      break;
  }
}

/// What was due has come, or is nearer.
void Device::look_back(const FaultDisk& disk) {
  const bool is_error_due = due_ && due_->trouble == Trouble::io_error && !is_full_;
  const bool has_failed = (is_full_ || is_error_due) && disk.has_failed();
  is_tainted_ = is_tainted_ || has_failed;
  if (is_error_due && has_failed) world_.probe("a disk call failed");
  if ((is_error_due && has_failed) || left_)
    due_.reset();
  else if (is_error_due)
    due_->nth -= disk.count(due_->failing);
  else if (due_ && due_->trouble != Trouble::io_error)
    due_->nth -= disk.changes();
}

// ---- sync ---------------------------------------------------------------------------------------

void Device::schedule(std::size_t process, Micros delay) {
  const std::uint64_t number = ++processes_[process]->ticks;
  world_.agenda.after(delay, [this, generation = generation_, process, number] {
    if (generation == generation_ && processes_[process]->ticks == number) tick(process);
  });
}

void Device::tick(std::size_t place) {
  Process& process = *processes_[place];
  if (process.call) {
    process.call.reset();
    world_.probe("a call was given up");
    std::optional<sync::Exchange::Rest> rest;
    const sync::Trouble trouble{sync::ErrorClass::transient, {Code::unreachable, "no answer"}};
    if (with_disk([&] { rest = process.exchange->failed(trouble); })) settle(place, rest);
    return;
  }
  sync::Exchange::Next next;
  if (!with_disk([&] { next = process.exchange->next(); })) return;
  if (next.call) {
    send(place, *next.call);
  } else {
    settle(place, next.rest);
  }
}

void Device::send(std::size_t place, const sync::Call& call) {
  Process& process = *processes_[place];
  process.call = ++calls_;
  schedule(place, call_timeout);
  for (const PushedOperation& pushed : call.push.operations) {
    const auto command = parse_trace_line(pushed.line);
    const auto promise = command ? promises_.find(command->op_id) : promises_.end();
    if (promise != promises_.end()) promise->second.was_sent = true;
  }
  world_.network->carry(place_, Direction::to_canonical,
                        [this, place, call, number = calls_, generation = generation_] {
                          const sync::Answer answer = world_.call(place_, call);
                          world_.network->carry(
                              place_, Direction::to_device,
                              [this, place, answer, number, generation, life = world_.life] {
                                if (generation == generation_) receive(place, number, answer, life);
                              });
                        });
}

void Device::receive(std::size_t place, std::uint64_t number, const sync::Answer& answer,
                     std::uint64_t life) {
  Process& process = *processes_[place];
  if (process.call != number) return receive_late(place, answer);
  process.call.reset();
  process.told = answer.trouble.error.code;
  std::optional<sync::Exchange::Rest> rest;
  if (!with_disk([&] { rest = process.exchange->answered(answer); })) return;
  if (process.exchange->trouble().error_class == sync::ErrorClass::none && !answer.more)
    life_ = life;
  if (may_be_forked_) may_be_forked_ = !is_another_since_copy();
  settle(place, rest);
}

/// An answer to a call that was given up, or the same once more: taken only where it answers the
/// latest call as well.
void Device::receive_late(std::size_t place, const sync::Answer& answer) {
  if (answer.trouble.error_class != sync::ErrorClass::none) return;
  Replica replica(processes_[place]->engine);
  const auto state = replica.state();
  if (!state || !*state || (*state)->enrolment.device_id != answer.device.device_id) return;
  std::optional<Result<Taken>> taken;
  if (!with_disk([&] { taken.emplace(replica.take(answer.reply)); })) return;
  world_.probe(*taken ? "a late answer was taken" : "a late answer was refused");
  // What is under way answers an older question, then.
  if (*taken && processes_[place]->call) tick(place);
  if (*taken)
    demand((*taken)->diverged.empty() || may_differ(), "I8",
           "a late answer made the mirror another's");
  else
    demand(taken->error().code != Code::device_forked || may_be_forked_, "I6",
           "a late answer forked the mirror");
}

void Device::settle(std::size_t place, const std::optional<sync::Exchange::Rest>& rest) {
  if (!rest) return schedule(place, millisecond);
  if (rest->state != sync::SyncState::paused && rest->state != sync::SyncState::stopped) {
    // At rest a syncer sleeps until somebody calls; here it looks now and then.
    const bool is_at_rest =
        rest->state == sync::SyncState::synced || rest->state == sync::SyncState::idle;
    const Micros delay = is_at_rest ? 300 * millisecond : rest->timeout.count() * millisecond;
    return schedule(place, std::clamp(delay, millisecond, second));
  }
  const Error& error = processes_[place]->exchange->trouble().error;
  world_.tell(describe() + " is told " + std::string(name_of(error.code)));
  // Why canonical said so is the auditor's to know; a fork the mirror sees itself.
  demand(error.code == Code::device_forked || error.code == processes_[place]->told, "I6",
         "sync stopped: " + error.detail);
  demand(error.code != Code::device_forked || may_be_forked_, "I6",
         "an honest mirror was called forked");
  if (error.code == Code::device_forked) world_.probe("a copy was found out");
  if (error.code == Code::history_lost) world_.probe("a canonical behind its devices was noticed");
  enrol_anew(place);
}

bool Device::may_differ() const { return life_ != world_.life; }

/// A power cut may still bring back who it was; with that one's name its token is refused.
bool Device::is_another_since_copy() {
  const auto state = Replica(processes_.front()->engine).state();
  return state && *state && device_id_ != device_id_at_copy_ &&
         (*state)->enrolment.device_id == device_id_;
}

void Device::enrol_anew(std::size_t place) {
  const sync::DeviceToken token = world_.new_token(kind_);
  device_id_ = token.device_id;
  token_ = token.token;
  for (auto& process : processes_) process->exchange->resume(token_);
  processes_[place]->exchange->become_another(true);
  schedule(place, millisecond);
}

// ---- the host -----------------------------------------------------------------------------------

void Device::apply(const Command& command) {
  if (!is_up()) return;
  const auto promise = promises_.emplace(command.op_id, Promise{command}).first;
  std::optional<Result<Receipt>> result;
  Engine& by = engine();
  if (!with_disk([&] { result.emplace(by.apply_command(command)); })) return;
  const Code code = *result ? Code::ok : result->error().code;
  if (world_.is_detailed())
    world_.tell(describe() + ": " + trace_line(command) + " " + std::string(name_of(code)));
  if (code == Code::ok || code == Code::pending) {
    world_.remember(command.operation);
    // It ends here, or has perhaps changed nothing and is no more to be told of.
    const bool is_report = std::holds_alternative<ReportProgress>(command.operation);
    if (is_report || !row_of(command.operation).pushed)
      promises_.erase(promise);
    else if (promise->second.state == Promise::State::in_doubt)
      promise->second.state = Promise::State::given;
    return;
  }
  if (is_failure(code)) {
    demand(is_tainted_, "I7",
           "without a cause: " + std::string(name_of(code)) + ", " + result->error().detail);
    world_.probe("an operation failed for the world's sake");
    // Some errors end all writing until the mirror is opened again.
    end_processes();
    world_.agenda.after(20 * millisecond, [this] { start(); });
    return;
  }
  world_.probe("an operation was refused");
  demand(writes_ == 0, "I7", "a refused operation wrote: " + trace_line(command));
  if (promise->second.state == Promise::State::in_doubt) promises_.erase(promise);
}

/// What is applied already, and not rejected since, is `ok` again and nothing more.
void Device::look_after() {
  if (!is_up()) return;
  come_to_terms();
  if (!is_up()) return;
  std::optional<Result<std::vector<RejectedOperation>>> rejected;
  if (!with_disk([&] { rejected.emplace(Replica(processes_.front()->engine).rejected()); })) return;
  if (!*rejected || (*rejected)->empty()) return;
  const RejectedOperation& one = world_.random.pick(rejected->value());
  if (world_.random.one_in(3)) {
    retry_rejected(one);
  } else if (world_.random.one_in(3)) {
    bool done = false;
    if (!with_disk(
            [&] { done = Replica(processes_.front()->engine).dismiss(one.number).has_value(); }))
      done = true;  // Or not; the host has read it.
    if (done) dismissed_.insert(one.command.op_id);
    world_.tell(describe() + " dismisses number " + std::to_string(one.number));
  }
}

void Device::come_to_terms() {
  for (const auto& [op_id, promise] : promises_) {
    if (promise.state != Promise::State::in_doubt) continue;
    const Command again = promise.command;  // It may be forgotten in there.
    world_.probe("an operation was in doubt");
    return apply(again);
  }
}

void Device::retry_rejected(const RejectedOperation& operation) {
  const Uuid op_id = operation.command.op_id;
  std::optional<Result<Receipt>> result;
  if (!with_disk(
          [&] { result.emplace(Replica(processes_.front()->engine).retry(operation.number)); }))
    return;
  if (!*result && result->error().code != Code::pending) return;
  world_.probe("a rejected operation was tried again");
  world_.tell(describe() + " tries number " + std::to_string(operation.number) + " again");
  auto& promise = promises_.try_emplace(op_id, Promise{operation.command}).first->second;
  promise.state = Promise::State::given;
  // Where it was applied meanwhile, called once more, it is ok and not judged again.
  if (world_.auditor.verdict(place_, op_id) == Code::ok) return;
  promise.was_sent = false;
  world_.auditor.forget_verdict(place_, op_id);
}

std::optional<SeenJob> Device::see(const Uuid& job_id) {
  if (!is_up()) return std::nullopt;
  const auto job = processes_.front()->engine.job(job_id);
  if (!job) return std::nullopt;
  const auto is_unfinished = [](const ViewRow& step) {
    return text_of(step, "state") != name_of(StepState::succeeded);
  };
  const auto next = std::find_if(job->steps.begin(), job->steps.end(), is_unfinished);
  SeenJob seen;
  seen.status = job_status_named(text_of(job->job, "status")).value();
  seen.stage = stage_of(static_cast<int>(next - job->steps.begin()) + 1);
  seen.hold = job->hold.value;
  return seen;
}

void Device::copy_file() {
  copy_ = files();
  promised_at_copy_.clear();
  for (const auto& [op_id, promise] : promises_) {
    if (promise.state == Promise::State::given) promised_at_copy_.insert(op_id);
  }
}

void Device::restore_copy() {
  if (!copy_ || !is_up()) return;
  world_.tell(describe() + " is put back to an old copy");
  world_.probe("an old copy was put back");
  may_be_forked_ = true;
  device_id_at_copy_ = device_id_;
  die(*copy_, false);
  for (auto& [op_id, promise] : promises_) {
    const bool is_in_copy =
        promised_at_copy_.contains(op_id) && !world_.auditor.verdict(place_, op_id);
    if (promise.state == Promise::State::given && !is_in_copy)
      promise.state = Promise::State::excused;
    // What was sent was in another file.
    promise.was_sent = is_in_copy;
  }
}

void Device::excuse(const std::set<Uuid>& op_ids) {
  for (auto& [op_id, promise] : promises_) {
    if (op_ids.contains(op_id)) promise.state = Promise::State::excused;
  }
}

// ---- checks -------------------------------------------------------------------------------------

void Device::heal() {
  due_.reset();
  is_full_ = false;
  clock_error_ = 0;
  // Leases that are filled up by themselves would never let it come to rest.
  if (std::exchange(kind_.lease, std::nullopt)) end_processes();
  if (!is_up()) start();
}

bool Device::is_at_rest() {
  if (!is_up()) return false;
  for (const auto& [op_id, promise] : promises_) {
    if (promise.state == Promise::State::in_doubt) return false;
  }
  const auto state = Replica(processes_.front()->engine).state();
  return state && *state && (*state)->pending == 0 && (*state)->enrolment.device_id == device_id_;
}

void Device::check_mirror() {
  if (!is_up()) return;
  for (const auto& process : processes_) {
    const auto report = process->engine.audit();
    demand(report.has_value(), "I7",
           "a mirror cannot be audited: " + (report ? "" : report.error().detail));
    demand(report->findings.empty(), report->findings.empty() ? "" : report->findings[0].invariant,
           report->findings.empty() ? "" : "on a mirror: " + report->findings[0].detail);
    for (const Uuid& user : world_.users) {
      const auto at_once = process->engine.balance(user);
      const auto from_file = process->engine.account(user);
      demand(at_once.has_value() == from_file.has_value() &&
                 (at_once || at_once.error().code == Code::user_not_found),
             "I1", "a balance cannot be read: " + (at_once ? "" : at_once.error().detail));
      if (at_once)
        demand(*at_once == from_file->check.balance, "I1", "a balance is not the file's");
    }
  }
}

void Device::check_promises() {
  Replica replica(processes_.front()->engine);
  const auto rejected = replica.rejected();
  demand(rejected.has_value(), "I9", "the rejected operations cannot be read");
  std::set<Uuid> kept;
  for (const RejectedOperation& operation : *rejected) kept.insert(operation.command.op_id);
  for (const auto& [op_id, promise] : promises_) {
    if (promise.state == Promise::State::excused) continue;
    const auto verdict = world_.auditor.verdict(place_, op_id);
    const bool is_told = kept.contains(op_id) || dismissed_.contains(op_id);
    demand(verdict.has_value() || is_told, "I7",
           describe() + " lost an operation: " + trace_line(promise.command));
    demand(verdict == Code::ok || is_told, "I9",
           describe() + " was not told of " + trace_line(promise.command));
  }
}

void Device::check_equal() {
  Engine& by = engine();
  Half& canonical = *world_.canonical;
  for (const Uuid& user : world_.users) {
    if (kind_.scope && *kind_.scope != user) continue;
    for (const char* table : test::tables) {
      if (!kind_.is_full() && test::is_of_full_devices(table)) continue;
      const auto viewed = by.rows(table, user);
      demand(viewed.has_value(), "I8", "rows cannot be read");
      auto here = test::texts_of(*viewed);
      auto there = canonical.rows(table, user);
      std::sort(here.begin(), here.end());
      std::sort(there.begin(), there.end());
      demand(here == there, "I8", describe() + ": " + difference(table, here, there));
    }
    if (kind_.is_full()) {
      const auto digest = by.digest(user);
      demand(digest && *digest == canonical.digest(user), "I8", "the digests differ");
    }
    const auto balance = by.balance(user);
    for (const Half::Account& account : canonical.accounts()) {
      if (account.user_id == user)
        demand(balance && balance->value == account.balance, "I8", "a balance is not canonical's");
    }
  }
  std::vector<std::pair<Uuid, std::int64_t>> there;
  for (const Half::Lease& lease : canonical.open_leases()) {
    if (lease.device_id == device_id_) there.emplace_back(lease.lease_id, lease.unspent);
  }
  std::vector<std::pair<Uuid, std::int64_t>> here;
  const auto leases = Replica(by).leases();
  demand(leases.has_value(), "I8", "leases cannot be read");
  for (const OpenLease& lease : *leases) here.emplace_back(lease.lease_id, lease.unspent.value);
  std::sort(here.begin(), here.end());
  std::sort(there.begin(), there.end());
  demand(here == there, "I8", describe() + " sees other leases than canonical");
}

std::string Device::difference(std::string_view table, const std::vector<Half::Row>& here,
                               const std::vector<Half::Row>& there) {
  const auto text = [](const std::vector<Half::Row>& rows, std::size_t i) {
    if (i >= rows.size()) return std::string("no row");
    std::string all;
    for (const auto& column : rows[i]) all += column.value_or("NULL") + " | ";
    return all;
  };
  std::size_t i = 0;
  while (i < here.size() && i < there.size() && here[i] == there[i]) ++i;
  return std::string(table) + "\n  mirror:    " + text(here, i) +
         "\n  canonical: " + text(there, i);
}

std::string Device::describe() const { return "device " + std::to_string(place_); }

}  // namespace tally::sim
