#include "exchange.hpp"

#include <algorithm>
#include <array>

namespace tally::sync {

using std::chrono::milliseconds;

namespace {

/// So many users' digests wait to be compared; of more, time will tell.
constexpr std::size_t bootstrapped_max = 1'000;

}  // namespace

Exchange::Exchange(Engine& engine, SyncOptions options, Surroundings surroundings)
    : engine_(engine),
      replica_(engine),
      options_(std::move(options)),
      surroundings_(std::move(surroundings)) {}

// ---- when ---------------------------------------------------------------------------------------

Exchange::Next Exchange::next() {
  if (halted_) return {{}, halted()};
  auto leads = replica_.lead();
  if (!leads) return {{}, failed({ErrorClass::local, leads.error()})};
  if (!*leads) return {{}, {SyncState::standby, milliseconds{300}}};
  const auto now = surroundings_.steady_now();
  if (now < next_attempt_ && !(wake_ && trouble_.error_class == ErrorClass::none)) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(next_attempt_ - now) + milliseconds{1};
    if (trouble_.error_class != ErrorClass::none) return {{}, {SyncState::waiting, left}};
    // At rest: but what is applied here meanwhile is pushed.
    if (!has_more_to_push()) return {{}, {rest_state(), std::min(left, milliseconds{50})}};
  }
  wake_ = false;
  return begin_call();
}

Exchange::Rest Exchange::halted() const {
  return {
      trouble_.error_class == ErrorClass::authentication ? SyncState::paused : SyncState::stopped,
      milliseconds{1'000}};
}

bool Exchange::has_more_to_push() {
  const auto pending = engine_.pending_operations();
  return pending && *pending > 0;
}

SyncState Exchange::rest_state() {
  const auto state = replica_.state();
  if (!state || !*state) return SyncState::idle;
  return (*state)->pending == 0 && (*state)->blocked == 0 && (*state)->rejected == 0
             ? SyncState::synced
             : SyncState::idle;
}

void Exchange::resume(std::string token) {
  options_.token = std::move(token);
  go_on();
}

void Exchange::become_another(bool another) {
  anew_ = another;
  if (another && halted_) go_on();
  if (another) wake_ = true;
}

void Exchange::go_on() {
  trouble_ = {};
  failures_ = 0;
  halted_ = false;
}

Exchange::Rest Exchange::failed(Trouble trouble) {
  failures_ = trouble.error_class == trouble_.error_class ? failures_ + 1 : 1;
  trouble_ = std::move(trouble);
  if (trouble_.error_class == ErrorClass::authentication ||
      trouble_.error_class == ErrorClass::protocol) {
    halted_ = true;
    note(std::nullopt);
    replica_.step_down();  // Another process may have what this one lacks, a token say.
    return halted();
  }
  const double most =
      std::min<double>(static_cast<double>(options_.backoff_cap.count()),
                       static_cast<double>(options_.backoff_base.count()) *
                           static_cast<double>(1ULL << std::min<std::uint64_t>(failures_, 20)));
  const milliseconds delay{surroundings_.random(static_cast<std::int64_t>(most)) + 1};
  next_attempt_ = surroundings_.steady_now() + delay;
  note(delay);
  return {SyncState::waiting, delay};
}

/// For the status that other processes read; what the mirror cannot take down now is told by
/// the syncer's steps alone.
void Exchange::note(std::optional<milliseconds> delay) {
  std::optional<Timestamp> next;
  if (delay)
    next = Timestamp{surroundings_.system_now().us +
                     std::chrono::duration_cast<std::chrono::microseconds>(*delay).count()};
  (void)replica_.note_failure(name_of(trouble_.error_class), trouble_.error.detail, next);
}

// ---- what is said -------------------------------------------------------------------------------

Exchange::Next Exchange::begin_call() {
  auto state = replica_.state();
  if (!state) return {{}, failed({ErrorClass::local, state.error()})};
  enrolled_ = state->has_value() && !anew_;
  Call call;
  call.token = options_.token;
  call.rows_max = options_.rows_max;
  if (anew_ && state->has_value()) call.before = (*state)->enrolment.device_id;
  if (enrolled_) {
    device_id_ = (*state)->enrolment.device_id;
    if (auto rest = refill()) return {{}, *rest};
    auto push = replica_.next_push(options_.operations_max, options_.bytes_max);
    if (!push) return {{}, failed({ErrorClass::local, push.error()})};
    call.push = std::move(push).value();
    scope_ = (*state)->enrolment.scope;
    if (!digest_of_ && !more_ && call.push.operations.empty()) choose_digest();
    // So that nothing is judged under the name of another device whose token this is.
    call.device_id = device_id_;
  } else {
    auto subscriptions = replica_.subscriptions();
    if (!subscriptions) return {{}, failed({ErrorClass::local, subscriptions.error()})};
    call.push.subscriptions = std::move(subscriptions).value();
  }
  // A digest is compared where nothing is on its way, and a job is claimed by a device that the
  // mirror is already.
  asks_claim_ = claim_ttl_ && enrolled_ && call.push.operations.empty();
  if (asks_claim_) {
    call.claim_ttl_s = claim_ttl_;
    claim_ends_ = surroundings_.steady_now() +
                  std::chrono::seconds(std::clamp<std::int64_t>(*claim_ttl_, 0, ttl_max_s));
  }
  if (call.push.operations.empty()) call.digest_of = digest_of_;
  ++begun_;
  return {std::move(call), {}};
}

/// Options that no lease can follow stop the sync: a host that counts on leases has to know.
std::optional<Exchange::Rest> Exchange::refill() {
  const auto now = surroundings_.steady_now();
  if (!options_.lease || now < next_refill_) return std::nullopt;
  // By a clock that is ahead of canonical's a lease always ends soon: each renewal takes a credit
  // more, so the next one waits for half of what was to be left.
  LeaseTarget target = *options_.lease;
  target.renews = target.renews && now >= next_renewal_;
  auto asked = replica_.refill(target);
  if (!asked) {
    const bool world = is_failure(asked.error().code);
    return failed({world ? ErrorClass::local : ErrorClass::protocol, asked.error()});
  }
  if (target.renews && !asked->empty()) next_renewal_ = now + target.ttl / 8;
  refills_.insert(asked->begin(), asked->end());
  return std::nullopt;
}

/// The digest that is compared next, if any: of the one user of a device once it was fed from the
/// start; from time to time of one user after another, those who were first. A mirror goes over
/// all its rows for it.
void Exchange::choose_digest() {
  const bool is_due = options_.digest_every > 0 && ++since_digest_ >= options_.digest_every;
  after_bootstrap_ = !bootstrapped_.empty() && (is_due || scope_);
  if (after_bootstrap_) {
    digest_of_ = bootstrapped_.front();
    bootstrapped_.pop_front();
  } else if (is_due) {
    if (const auto next = replica_.next_user(compared_)) digest_of_ = scope_ ? scope_ : *next;
    compared_ = digest_of_.value_or(Uuid{});
  }
  if (digest_of_) since_digest_ = 0;
}

void Exchange::ask_for_job(std::optional<std::int64_t> ttl_s) {
  claim_ttl_ = ttl_s;
  // The call under way asks for whoever asked before. What it claims is good for this one, too;
  // that there was none is not.
  asks_claim_ = false;
}

std::optional<Uuid> Exchange::take_job() {
  const bool is_over = surroundings_.steady_now() >= claim_ends_;
  const auto job = std::exchange(claimed_, std::nullopt);
  return is_over ? std::nullopt : job;
}

void Exchange::compare(const Uuid& user_id) {
  digest_of_ = user_id;
  after_bootstrap_ = false;
  digest_equal_.reset();
}

// ---- what is answered ---------------------------------------------------------------------------

std::optional<Exchange::Rest> Exchange::answered(const Answer& answer) {
  if (answer.trouble.error_class != ErrorClass::none) return failed(answer.trouble);
  const bool first = !enrolled_;
  if (first) {
    const bool another = anew_;
    if (auto rest = enrol(answer.device)) return rest;
    if (another) {
      // Asked as somebody without a past; what that one is told is asked for again.
      wake_ = true;
      return std::nullopt;
    }
  }
  if (answer.device.device_id != device_id_) {
    return failed({ErrorClass::protocol,
                   {Code::protocol, "the token is device " + answer.device.device_id.text() +
                                        "'s, and this mirror is device " + device_id_.text()}});
  }
  auto taken = replica_.take(answer.reply);
  if (!taken) return not_taken(taken.error());
  took(answer, *taken);
  // What differs again where it was just fed anew is no better asked for at once: it may be the
  // server's own trouble, and everything comes from the start each time.
  const bool had_diverged = std::exchange(has_diverged_, !taken->diverged.empty());
  const bool feeds_anew = has_diverged_ && !had_diverged;
  const bool again = more_ || (first && options_.lease) || (scope_ && !bootstrapped_.empty()) ||
                     feeds_anew || has_more_to_push() || claim_ttl_;
  next_attempt_ = surroundings_.steady_now() + (again ? milliseconds{0} : options_.poll_interval);
  if (!again) return Rest{rest_state(), milliseconds{1}};
  wake_ = true;
  return std::nullopt;
}

/// What does not fit into the mirror may be right, and what the mirror holds be wrong: it is fed
/// from the start. Where that does not fit either, it is for a person to look at.
std::optional<Exchange::Rest> Exchange::not_taken(Error error) {
  const bool is_unfit = error.code == Code::invalid_argument;
  if (is_unfit && !std::exchange(was_unfit_, true) && replica_.forget_cursor()) {
    wake_ = true;
    return std::nullopt;
  }
  const bool wrong = is_unfit || error.code == Code::device_forked;
  return failed({wrong ? ErrorClass::protocol : ErrorClass::local, std::move(error)});
}

/// The first contact says who the mirror is.
std::optional<Exchange::Rest> Exchange::enrol(const Enrolment& device) {
  if (options_.device_id && *options_.device_id != device.device_id) {
    return failed({ErrorClass::protocol,
                   {Code::invalid_argument, "the token is device " + device.device_id.text() +
                                                "'s, not " + options_.device_id->text() + "'s"}});
  }
  auto enrolled = anew_ ? enrol_as_another(device) : replica_.enrol(device);
  if (!enrolled) {
    const bool refused = !is_failure(enrolled.error().code);
    return failed({refused ? ErrorClass::protocol : ErrorClass::local, enrolled.error()});
  }
  if (std::exchange(anew_, false)) {
    claimed_.reset();  // It is the other one's.
  } else {
    device_id_ = device.device_id;
    enrolled_ = true;
  }
  return std::nullopt;
}

Result<bool> Exchange::enrol_as_another(const Enrolment& device) {
  auto state = replica_.state();
  if (!state) return state.error();
  if (!*state) return replica_.enrol(device);
  if ((*state)->enrolment.device_id == device.device_id)
    return Error{Code::already_exists, "the mirror is this token's device already"};
  return replica_.enrol_anew(device);
}

void Exchange::took(const Answer& answer, const Taken& taken) {
  taken_ = begun_;
  trouble_ = {};
  failures_ = 0;
  more_ = answer.more;
  was_unfit_ = was_unfit_ && more_;
  if (asks_claim_ || answer.claimed) claim_ttl_.reset();
  if (answer.claimed) claimed_ = answer.claimed;
  for (const Uuid& user : taken.bootstrapped) {
    if (bootstrapped_.size() < bootstrapped_max) bootstrapped_.push_back(user);
  }
  tell(taken);
  if (!answer.digest.empty() && digest_of_) compare_digest(answer.digest);
  const auto pending = engine_.pending_operations();
  if (pending && *pending == 0) refills_.clear();
  if (options_.callbacks.progress)
    options_.callbacks.progress(answer.reply.watermark, pending ? *pending : 0);
  measure(answer.reply);
}

void Exchange::measure(const Reply& reply) {
  if (!replica_.measures()) return;
  for (const PulledVerdict& verdict : reply.verdicts) {
    const std::array attributes{Attribute{"tally.result", tally::name_of(verdict.code)}};
    replica_.measure({Metric::sync_verdicts, 1, attributes});
  }
  const auto state = replica_.state();
  if (!state || !*state) return;
  const std::array gauges{std::pair(Metric::outbox_pending, (*state)->pending),
                          std::pair(Metric::outbox_blocked, (*state)->blocked),
                          std::pair(Metric::outbox_rejected, (*state)->rejected)};
  for (const auto& [metric, value] : gauges)
    replica_.measure({metric, static_cast<double>(value), {}});
}

void Exchange::tell(const Taken& taken) {
  for (const SettledOperation& settled : taken.settled) {
    if (options_.callbacks.verdict) options_.callbacks.verdict(settled);
  }
  for (const RejectedOperation& rejected : taken.rejected) {
    if (options_.callbacks.rejected) options_.callbacks.rejected(rejected);
    forget_refill(rejected);
  }
  if (options_.callbacks.changed && !taken.changed.empty())
    options_.callbacks.changed(taken.changed);
  for (const Uuid& user : taken.diverged) tell_diverged(user);
}

void Exchange::tell_diverged(const Uuid& user_id) {
  if (options_.callbacks.diverged) options_.callbacks.diverged(user_id);
}

/// Whether it was asked for by ourselves; then it is forgotten.
void Exchange::forget_refill(const RejectedOperation& rejected) {
  if (refills_.erase(rejected.command.op_id) == 0) return;
  next_refill_ = surroundings_.steady_now() + options_.backoff_cap;
  (void)replica_.dismiss(rejected.number);  // Else it stays, for the host to dismiss.
}

void Exchange::compare_digest(const std::vector<TableDigest>& there) {
  const Uuid user = *std::exchange(digest_of_, std::nullopt);
  const auto here = engine_.digest(user);
  const auto pending = engine_.pending_operations();
  if (!here || !pending || *pending > 0) return;  // Applied here meanwhile: another time.
  digest_equal_ = true;
  for (const TableDigest& table : there) {
    const auto same = std::find_if(here->begin(), here->end(), [&](const TableDigest& mine) {
      return mine.table == table.table;
    });
    if (same == here->end() || same->digest != table.digest || same->rows != table.rows)
      digest_equal_ = false;
  }
  if (*digest_equal_) return;
  // What was just fed from the start is no better fed once more: the host is told.
  if (!after_bootstrap_) (void)replica_.forget_cursor();
  tell_diverged(user);
}

}  // namespace tally::sync
