// The device's side of the sync function: connect, send, receive, take, all without blocking. One
// call is under way at a time; a connection that is in doubt is closed, and the same call made
// again.
#include "tally/syncer.hpp"

#include <algorithm>
#include <atomic>
#include <deque>
#include <random>
#include <set>
#include <thread>

#include "answer.hpp"
#include "canonical_impl.hpp"
#include "sockets.hpp"

namespace tally::sync {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::string_view name_of(ErrorClass error_class) noexcept {
  constexpr std::string_view names[] = {"none", "transient", "authentication", "protocol", "local"};
  return names[static_cast<std::size_t>(error_class)];
}

std::string_view name_of(SyncState state) noexcept {
  constexpr std::string_view names[] = {"standby", "connecting", "syncing", "synced",
                                        "idle",    "waiting",    "paused",  "stopped"};
  return names[static_cast<std::size_t>(state)];
}

namespace {

/// Of a device over all users, in one call.
constexpr int users_max = 200;
/// So many users' digests wait to be compared; of more, time will tell.
constexpr std::size_t bootstrapped_max = 1'000;

/// What follows from a database error that ended a call.
ErrorClass class_of_state(std::string_view state) {
  const std::string_view of = state.substr(0, 2);
  if (of == "28") return ErrorClass::authentication;
  if (of == "0A" || of == "42" || of == "XX" || state == "3F000") return ErrorClass::protocol;
  return ErrorClass::transient;
}

}  // namespace

class Syncer::Impl {
  static constexpr std::string_view call =
      "select part, user_id, fields from tally_sync.sync($1::integer, $2::text, $3::bigint, "
      "$4::bytea, $5::uuid[], $6::text[], $7::text[], $8::jsonb, $9::integer, $10::integer, "
      "$11::uuid, $12::uuid, $13::integer, $14::uuid[], $15::uuid)";

 public:
  Impl(Engine& engine, SyncOptions options)
      : engine_(engine),
        replica_(engine),
        options_(std::move(options)),
        statement_(options_.schema == "public" ? std::string(call)
                                               : moved_to_schema(call, options_.schema)),
        random_(std::random_device{}()) {}
  ~Impl() { stop(); }

  Wait step() {
    const Wait wait = advance();
    if (wait.state != told_ && options_.callbacks.state)
      options_.callbacks.state(wait.state, trouble_.error_class, trouble_.error.detail);
    told_ = wait.state;
    return wait;
  }

  Result<SyncState> run_until(const std::function<bool(SyncState)>& done, milliseconds timeout) {
    const auto deadline = Clock::now() + timeout;
    stop_asked_ = false;
    for (;;) {
      const Wait wait = step();
      if (done(wait.state)) return wait.state;
      if (wait.state == SyncState::paused || wait.state == SyncState::stopped)
        return trouble_.error;
      const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
      if (left <= milliseconds{0} || stop_asked_) {
        if (wait.state == SyncState::standby)
          return Error{Code::busy, "another process syncs this mirror"};
        if (trouble_.error_class != ErrorClass::none) return trouble_.error;
        return Error{Code::unreachable, "canonical did not answer in time"};
      }
      sleep(wait, std::min({left, wait.timeout, stop_latency}));
    }
  }

  /// At rest, with a call behind it that began after now.
  Result<SyncState> run_until_synced(milliseconds timeout) {
    const std::uint64_t calls = calls_;
    wake_ = true;
    return run_until(
        [&](SyncState state) {
          return calls_ > calls && (state == SyncState::synced || state == SyncState::idle);
        },
        timeout);
  }

  Result<bool> enrol_anew(milliseconds timeout) {
    anew_ = true;
    auto done = run_until([&](SyncState) { return !anew_; }, timeout);
    anew_ = false;
    if (!done) return done.error();
    return true;
  }

  Result<std::optional<Uuid>> claim_next(std::int64_t ttl_s, milliseconds timeout) {
    claim_ttl_ = ttl_s;
    claimed_.reset();
    auto done = run_until_synced(timeout);
    claim_ttl_.reset();
    if (!done) return done.error();
    return std::exchange(claimed_, std::nullopt);
  }

  Result<bool> verify(const Uuid& user_id, milliseconds timeout) {
    const auto deadline = Clock::now() + timeout;
    for (;;) {
      digest_of_ = user_id;
      after_bootstrap_ = false;
      digest_equal_.reset();
      auto done =
          run_until_synced(std::chrono::duration_cast<milliseconds>(deadline - Clock::now()));
      if (!done) return done.error();
      if (digest_equal_) return *digest_equal_;  // Else something was applied here meanwhile.
    }
  }

  void start() {
    stop();
    stopping_ = false;
    thread_ = std::thread([this] {
      own_thread_ = std::this_thread::get_id();
      while (!stopping_) {
        const std::uint64_t queued = replica_.queued();
        const Wait wait = step();
        const milliseconds timeout = std::min(wait.timeout, stop_latency);
        if (wait.state == SyncState::synced || wait.state == SyncState::idle) {
          replica_.wait_for_queued(queued, timeout);
        } else {
          sleep(wait, timeout);
        }
      }
    });
  }

  void request_stop() noexcept {
    stopping_ = true;
    stop_asked_ = true;
  }
  bool is_own_thread() const noexcept { return own_thread_.load() == std::this_thread::get_id(); }

  void stop() noexcept {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
    own_thread_ = std::thread::id();  // The system gives it to another.
  }

  void resume(std::string token) {
    options_.token = std::move(token);
    trouble_ = {};
    failures_ = 0;
    halted_ = false;
  }

 private:
  enum class Phase { away, connecting, sending, receiving };

  /// Whoever asks for a stop waits no longer than about this.
  static constexpr milliseconds stop_latency{100};

  static void sleep(const Wait& wait, milliseconds timeout) {
    const milliseconds time = std::max(timeout, milliseconds{0});
    if (wait.socket < 0) {
      std::this_thread::sleep_for(time);
    } else {
      await_socket(wait.socket, {wait.readable, wait.writable}, time);
    }
  }

  SyncState halted_state() const {
    return trouble_.error_class == ErrorClass::authentication ? SyncState::paused
                                                              : SyncState::stopped;
  }

  Wait rest(SyncState state, milliseconds timeout) const {
    return {state, -1, false, false, timeout};
  }
  /// What the phase waits for.
  Wait on_socket(SyncState state) const {
    const auto left = std::chrono::duration_cast<milliseconds>(call_deadline_ - Clock::now());
    Readiness wanted{.readable = true, .writable = phase_ == Phase::sending};
    if (phase_ == Phase::connecting) wanted = connect_waits_for_;
    return {state, PQsocket(connection_.get()), wanted.readable, wanted.writable,
            std::max(left, milliseconds{1})};
  }

  Wait advance() {
    if (halted_) return rest(halted_state(), milliseconds{1'000});
    auto leads = replica_.lead();
    if (!leads) return fail({ErrorClass::local, leads.error()});
    if (!*leads) return rest(SyncState::standby, milliseconds{300});
    for (;;) {
      if (phase_ != Phase::away && Clock::now() > call_deadline_) {
        return fail(
            {ErrorClass::transient, {Code::unreachable, "canonical did not answer in time"}});
      }
      switch (phase_) {
        case Phase::away: {
          const auto now = Clock::now();
          if (now < next_attempt_ && !(wake_ && trouble_.error_class == ErrorClass::none)) {
            const auto left =
                std::chrono::duration_cast<milliseconds>(next_attempt_ - now) + milliseconds{1};
            if (trouble_.error_class != ErrorClass::none) return rest(SyncState::waiting, left);
            // At rest: but what is applied here meanwhile is pushed.
            if (!has_more_to_push()) return rest(rest_state(), std::min(left, milliseconds{50}));
          }
          wake_ = false;
          if (auto wait = begin_call()) return *wait;
          break;
        }
        case Phase::connecting:
          // Too early it would take a connection that is still being made for one that is.
          if (!is_ready(connect_waits_for_)) return on_socket(SyncState::connecting);
          switch (PQconnectPoll(connection_.get())) {
            case PGRES_POLLING_READING:
              connect_waits_for_ = {.readable = true};
              return on_socket(SyncState::connecting);
            case PGRES_POLLING_WRITING:
              connect_waits_for_ = {.writable = true};
              return on_socket(SyncState::connecting);
            case PGRES_POLLING_OK:
              PQsetnonblocking(connection_.get(), 1);
              if (auto wait = send()) return *wait;
              break;
            default:
              return fail(connection_trouble());
          }
          break;
        case Phase::sending: {
          // Written to before it is ready it takes a little all the same, and then is never seen to
          // be ready: what moves would look like a call that stands still.
          if (!is_ready({.readable = true, .writable = true})) return on_socket(SyncState::syncing);
          extend();
          const int flushed = PQflush(connection_.get());
          if (flushed < 0) return fail(connection_trouble());
          if (flushed == 0) {
            phase_ = Phase::receiving;
            break;
          }
          if (PQconsumeInput(connection_.get()) == 0) return fail(connection_trouble());
          return on_socket(SyncState::syncing);
        }
        case Phase::receiving:
          if (is_ready({.readable = true})) extend();
          if (PQconsumeInput(connection_.get()) == 0) return fail(connection_trouble());
          if (auto wait = receive()) return *wait;
          break;
      }
    }
  }

  bool is_ready(Readiness wanted) const {
    return await_socket(PQsocket(connection_.get()), wanted, milliseconds{0});
  }
  /// Something moves: a network may need longer for a call than call_timeout.
  void extend() { call_deadline_ = Clock::now() + options_.call_timeout; }

  bool has_more_to_push() {
    const auto pending = engine_.pending_operations();
    return pending && *pending > pending_seen_;
  }

  SyncState rest_state() {
    const auto state = replica_.state();
    if (!state || !*state) return SyncState::idle;
    return (*state)->pending == 0 && (*state)->blocked == 0 && (*state)->rejected == 0
               ? SyncState::synced
               : SyncState::idle;
  }

  std::optional<Wait> begin_call() {
    auto state = replica_.state();
    if (!state) return fail({ErrorClass::local, state.error()});
    enrolled_ = state->has_value() && !anew_;
    before_.reset();
    if (anew_ && state->has_value()) before_ = (*state)->enrolment.device_id;
    push_ = {};
    if (enrolled_) {
      device_id_ = (*state)->enrolment.device_id;
      if (auto wait = refill()) return wait;
      auto next = replica_.next_push(options_.operations_max, options_.bytes_max);
      if (!next) return fail({ErrorClass::local, next.error()});
      push_ = std::move(next).value();
      scope_ = (*state)->enrolment.scope;
      if (!digest_of_ && !more_ && push_.operations.empty()) choose_digest();
    }
    call_deadline_ = Clock::now() + options_.call_timeout;
    if (connection_ != nullptr && PQstatus(connection_.get()) == CONNECTION_OK) return send();
    const std::array<const char*, 4> words{"fallback_application_name", "dbname", "client_encoding",
                                           nullptr};
    const std::array<const char*, 4> values{"tally", options_.conninfo.c_str(), "UTF8", nullptr};
    connection_.reset(PQconnectStartParams(words.data(), values.data(), 1));
    if (connection_ == nullptr)
      return fail({ErrorClass::local, {Code::internal, "no memory for a connection"}});
    if (PQstatus(connection_.get()) == CONNECTION_BAD) return fail(connection_trouble());
    PQsetNoticeProcessor(
        connection_.get(), [](void*, const char*) {}, nullptr);
    phase_ = Phase::connecting;
    connect_waits_for_ = {.writable = true};
    return on_socket(SyncState::connecting);
  }

  /// The digest that is compared next, if any: of the one user of a device once it was fed from the
  /// start; from time to time of one user after another, those who were first. A mirror goes over
  /// all its rows for it.
  void choose_digest() {
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

  /// Options that no lease can follow stop the sync: a host that counts on leases has to know.
  std::optional<Wait> refill() {
    if (!options_.lease || Clock::now() < next_refill_) return std::nullopt;
    // By a clock that is ahead of canonical's a lease always ends soon: each renewal takes a credit
    // more, so the next one waits for half of what was to be left.
    const auto now = Clock::now();
    LeaseTarget target = *options_.lease;
    target.renews = target.renews && now >= next_renewal_;
    auto asked = replica_.refill(target);
    if (!asked) {
      const bool world = is_failure(asked.error().code);
      return fail({world ? ErrorClass::local : ErrorClass::protocol, asked.error()});
    }
    if (target.renews && !asked->empty()) next_renewal_ = now + target.ttl / 8;
    refills_.insert(asked->begin(), asked->end());
    return std::nullopt;
  }

  /// Whether it was asked for by ourselves; then it is forgotten.
  void forget_refill(const RejectedOperation& rejected) {
    if (refills_.erase(rejected.command.op_id) == 0) return;
    next_refill_ = Clock::now() + options_.backoff_cap;
    (void)replica_.dismiss(rejected.number);  // Else it stays, for the host to dismiss.
  }

  std::optional<Wait> send() {
    // The digest is compared where nothing is on its way.
    const bool asks_digest = digest_of_ && push_.operations.empty();
    // A job is claimed by a device that the mirror is already, in a call that pushes nothing.
    asks_claim_ = claim_ttl_ && enrolled_ && push_.operations.empty();
    std::vector<std::optional<Parameter>> parameters = push_parameters(push_, options_.token);
    parameters.insert(
        parameters.end(),
        {text_parameter(std::to_string(users_max)),
         asks_claim_ ? std::optional(text_parameter(std::to_string(*claim_ttl_))) : std::nullopt,
         asks_digest ? std::optional(text_parameter(digest_of_->text())) : std::nullopt,
         // So that nothing is judged under the name of another device whose token this is.
         enrolled_ ? std::optional(text_parameter(device_id_.text())) : std::nullopt,
         text_parameter(std::to_string(options_.rows_max)),
         push_.subscriptions ? std::optional(uuid_array(*push_.subscriptions)) : std::nullopt,
         before_ ? std::optional(text_parameter(before_->text())) : std::nullopt});
    std::vector<const char*> values;
    std::vector<int> lengths;
    std::vector<int> formats;
    for (const auto& parameter : parameters) {
      values.push_back(parameter ? parameter->bytes.c_str() : nullptr);
      lengths.push_back(parameter ? static_cast<int>(parameter->bytes.size()) : 0);
      formats.push_back(parameter && parameter->binary ? 1 : 0);
    }
    if (PQsendQueryParams(connection_.get(), statement_.c_str(), static_cast<int>(values.size()),
                          nullptr, values.data(), lengths.data(), formats.data(), 0) == 0) {
      return fail(connection_trouble());
    }
    phase_ = Phase::sending;
    rows_.reset();
    call_trouble_ = {};
    return std::nullopt;
  }

  std::optional<Wait> receive() {
    // PQgetResult waits where it is busy: between the rows and the end of the answer, too.
    for (;;) {
      if (PQisBusy(connection_.get()) != 0) return on_socket(SyncState::syncing);
      PGresult* result = PQgetResult(connection_.get());
      if (result == nullptr) break;
      receive_result(result);
    }
    if (call_trouble_.error_class != ErrorClass::none) return fail(call_trouble_);
    if (!rows_) return fail(connection_trouble());
    const Rows rows = *std::exchange(rows_, std::nullopt);
    return take(read_answer(rows, push_));
  }

  void receive_result(PGresult* result) {
    Rows got(result);
    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
      rows_.emplace(std::move(got));
      return;
    }
    const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char* message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    call_trouble_.error_class = class_of_state(state == nullptr ? "" : state);
    call_trouble_.error = {
        call_trouble_.error_class == ErrorClass::protocol ? Code::protocol : Code::unreachable,
        std::string(message == nullptr ? PQerrorMessage(connection_.get()) : message) +
            (state == nullptr ? "" : " (SQLSTATE " + std::string(state) + ")")};
    if (call_trouble_.error_class == ErrorClass::authentication)
      call_trouble_.error.code = Code::unauthorized;
  }

  std::optional<Wait> take(const Answer& answer) {
    if (answer.trouble.error_class != ErrorClass::none) return fail(answer.trouble);
    const bool first = !enrolled_;
    if (first) {
      if (options_.device_id && *options_.device_id != answer.device.device_id) {
        return fail(
            {ErrorClass::protocol,
             {Code::invalid_argument, "the token is device " + answer.device.device_id.text() +
                                          "'s, not " + options_.device_id->text() + "'s"}});
      }
      // The first contact says who we are.
      auto enrolled = anew_ ? enrol_as_another(answer.device) : replica_.enrol(answer.device);
      if (!enrolled) {
        const bool refused = !is_failure(enrolled.error().code);
        return fail({refused ? ErrorClass::protocol : ErrorClass::local, enrolled.error()});
      }
      if (std::exchange(anew_, false)) {
        // Asked as somebody without a past; what that one is told is asked for again.
        phase_ = Phase::away;
        wake_ = true;
        return std::nullopt;
      }
      device_id_ = answer.device.device_id;
      enrolled_ = true;
    }
    if (answer.device.device_id != device_id_) {
      return fail({ErrorClass::protocol,
                   {Code::protocol, "the token is device " + answer.device.device_id.text() +
                                        "'s, and this mirror is device " + device_id_.text()}});
    }
    auto taken = replica_.take(answer.reply);
    if (!taken) {
      const Code code = taken.error().code;
      const bool wrong = code == Code::device_forked || code == Code::invalid_argument;
      return fail({wrong ? ErrorClass::protocol : ErrorClass::local, taken.error()});
    }
    ++calls_;
    trouble_ = {};
    failures_ = 0;
    phase_ = Phase::away;
    if (asks_claim_) claim_ttl_.reset();
    if (answer.claimed) claimed_ = answer.claimed;
    for (const SettledOperation& settled : taken->settled) {
      if (options_.callbacks.verdict) options_.callbacks.verdict(settled);
    }
    for (const RejectedOperation& rejected : taken->rejected) {
      if (options_.callbacks.rejected) options_.callbacks.rejected(rejected);
      forget_refill(rejected);
    }
    if (options_.callbacks.changed && !taken->changed.empty())
      options_.callbacks.changed(taken->changed);
    for (const Uuid& user : taken->diverged) tell_diverged(user);
    if (!answer.digest.empty()) compare_digest(answer.digest);
    const auto pending = engine_.pending_operations();
    pending_seen_ = 0;
    if (pending && *pending == 0) refills_.clear();
    if (options_.callbacks.progress)
      options_.callbacks.progress(answer.reply.watermark, pending ? *pending : 0);
    for (const Uuid& user : taken->bootstrapped) {
      if (bootstrapped_.size() < bootstrapped_max) bootstrapped_.push_back(user);
    }
    more_ = answer.more;
    const bool again = more_ || (first && options_.lease) || (scope_ && !bootstrapped_.empty()) ||
                       !taken->diverged.empty() || (pending && *pending > 0) || claim_ttl_;
    next_attempt_ = Clock::now() + (again ? milliseconds{0} : options_.poll_interval);
    if (again) {
      wake_ = true;
      return std::nullopt;
    }
    return rest(rest_state(), milliseconds{1});
  }

  Result<bool> enrol_as_another(const Enrolment& device) {
    auto state = replica_.state();
    if (!state) return state.error();
    if (!*state) return replica_.enrol(device);
    if ((*state)->enrolment.device_id == device.device_id)
      return Error{Code::already_exists, "the mirror is this token's device already"};
    return replica_.enrol_anew(device);
  }

  void compare_digest(const std::vector<TableDigest>& there) {
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

  void tell_diverged(const Uuid& user) {
    if (options_.callbacks.diverged) options_.callbacks.diverged(user);
  }

  /// The server says so before there is a session, without a code.
  static bool refuses_the_role(std::string_view text) {
    constexpr std::string_view says[] = {"authentication failed", "no pg_hba.conf entry",
                                         "permission denied for database",
                                         "is not permitted to log in"};
    const bool no_role = text.find("role \"") != std::string_view::npos &&
                         text.find("does not exist") != std::string_view::npos;
    return no_role || std::any_of(std::begin(says), std::end(says), [&](std::string_view part) {
             return text.find(part) != std::string_view::npos;
           });
  }

  Trouble connection_trouble() const {
    std::string text = connection_ == nullptr ? "" : PQerrorMessage(connection_.get());
    std::replace(text.begin(), text.end(), '\n', ' ');
    const bool password =
        connection_ != nullptr && PQstatus(connection_.get()) != CONNECTION_OK &&
        (PQconnectionNeedsPassword(connection_.get()) != 0 || refuses_the_role(text));
    return {password ? ErrorClass::authentication : ErrorClass::transient,
            {password ? Code::unauthorized : Code::unreachable, text}};
  }

  Wait fail(Trouble trouble) {
    // A connection in doubt is not used again, but where canonical answered on it.
    if (phase_ != Phase::away) connection_.reset();
    phase_ = Phase::away;
    failures_ = trouble.error_class == trouble_.error_class ? failures_ + 1 : 1;
    trouble_ = std::move(trouble);
    if (trouble_.error_class == ErrorClass::authentication ||
        trouble_.error_class == ErrorClass::protocol) {
      halted_ = true;
      note(std::nullopt);
      return rest(halted_state(), milliseconds{1'000});
    }
    const double most =
        std::min<double>(static_cast<double>(options_.backoff_cap.count()),
                         static_cast<double>(options_.backoff_base.count()) *
                             static_cast<double>(1ULL << std::min<std::uint64_t>(failures_, 20)));
    const milliseconds delay{
        static_cast<std::int64_t>(std::uniform_real_distribution<>(0, most)(random_)) + 1};
    next_attempt_ = Clock::now() + delay;
    note(delay);
    return rest(SyncState::waiting, delay);
  }

  /// For the status that other processes read; what the mirror cannot take down now is told by
  /// step() alone.
  void note(std::optional<milliseconds> delay) {
    std::optional<Timestamp> next;
    if (delay) {
      const auto at = std::chrono::system_clock::now() + *delay;
      next = Timestamp{
          std::chrono::duration_cast<std::chrono::microseconds>(at.time_since_epoch()).count()};
    }
    (void)replica_.note_failure(name_of(trouble_.error_class), trouble_.error.detail, next);
  }

  struct Finish {
    void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
  };

  Engine& engine_;
  Replica replica_;
  SyncOptions options_;
  std::string statement_;
  std::mt19937_64 random_;
  std::unique_ptr<PGconn, Finish> connection_;
  Phase phase_ = Phase::away;
  Readiness connect_waits_for_{};
  Push push_{};
  bool enrolled_ = false;
  bool anew_ = false;  ///< The next contact makes the mirror another device.
  Uuid device_id_{};
  std::optional<Uuid> before_;  ///< Who the mirror was that becomes another device.
  Clock::time_point call_deadline_{};
  std::optional<Rows> rows_;  ///< What has come of the call's answer.
  Trouble call_trouble_{};
  Clock::time_point next_attempt_{};
  Trouble trouble_{};
  std::uint64_t failures_ = 0;
  std::uint64_t calls_ = 0;
  bool halted_ = false;
  bool wake_ = false;
  std::int64_t pending_seen_ = 0;
  int since_digest_ = 0;
  std::optional<Uuid> digest_of_;
  std::optional<Uuid> scope_;
  std::deque<Uuid> bootstrapped_;  ///< Whose digests are still to be compared.
  bool more_ = false;              ///< The last answer was not all.
  bool after_bootstrap_ = false;   ///< So is the digest that is asked for.
  Uuid compared_{};                ///< Whose was compared last.
  std::optional<bool> digest_equal_;
  std::optional<std::int64_t> claim_ttl_;
  bool asks_claim_ = false;  ///< The call under way does.
  std::optional<Uuid> claimed_;
  std::set<Uuid> refills_;  ///< Of leases, by op_id.
  Clock::time_point next_refill_{};
  Clock::time_point next_renewal_{};
  std::optional<SyncState> told_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> stop_asked_{false};  ///< Of the call that is under way.
  std::thread thread_;
  std::atomic<std::thread::id> own_thread_{};
};

Syncer::Syncer(Engine& engine, SyncOptions options)
    : impl_(std::make_unique<Impl>(engine, std::move(options))) {}
Syncer::Syncer(Syncer&&) noexcept = default;
Syncer::~Syncer() = default;

Wait Syncer::step() noexcept {
  auto wait = guarded([&]() -> Result<Wait> { return impl_->step(); });
  if (wait) return *wait;
  return Wait{SyncState::waiting, -1, false, false, milliseconds{1'000}};
}

Result<SyncState> Syncer::run_until_synced(milliseconds timeout) noexcept {
  return guarded([&] { return impl_->run_until_synced(timeout); });
}

void Syncer::start() { impl_->start(); }
void Syncer::stop() noexcept { impl_->stop(); }
void Syncer::request_stop() noexcept { impl_->request_stop(); }
bool Syncer::is_own_thread() const noexcept { return impl_->is_own_thread(); }
void Syncer::resume(std::string token) { impl_->resume(std::move(token)); }

Result<bool> Syncer::enrol_anew(milliseconds timeout) noexcept {
  return guarded([&] { return impl_->enrol_anew(timeout); });
}

Result<std::optional<Uuid>> Syncer::claim_next(std::int64_t ttl_s, milliseconds timeout) noexcept {
  return guarded([&] { return impl_->claim_next(ttl_s, timeout); });
}

Result<bool> Syncer::verify(const Uuid& user_id, milliseconds timeout) noexcept {
  return guarded([&] { return impl_->verify(user_id, timeout); });
}

}  // namespace tally::sync
