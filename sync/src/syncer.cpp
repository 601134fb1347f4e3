// The device's side of the sync function: connect, send, receive, all without blocking. What is
// said, and when, is the exchange's. One call is under way at a time; a connection that is in doubt
// is closed, and the same call made again.
#include "tally/syncer.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <stdexcept>
#include <thread>

#include "canonical_impl.hpp"
#include "exchange.hpp"
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

/// What follows from a database error that ended a call.
ErrorClass class_of_state(std::string_view state) {
  const std::string_view of = state.substr(0, 2);
  if (of == "28") return ErrorClass::authentication;
  if (of == "0A" || of == "42" || of == "XX" || state == "3F000") return ErrorClass::protocol;
  return ErrorClass::transient;
}

SyncOptions checked(SyncOptions options) {
  const auto check = [](const char* name, auto value, auto most) {
    if (value < 1 || value > most)
      throw std::invalid_argument(std::string(name) + " is 1 to " + std::to_string(most));
  };
  check("operations_max", options.operations_max, call_operations_max);
  check("bytes_max", options.bytes_max, call_bytes_max);
  check("rows_max", options.rows_max, call_rows_max);
  return options;
}

/// The system's.
Surroundings system_surroundings() {
  return {.steady_now = [] { return Clock::now(); },
          .system_now =
              [] {
                return Timestamp{std::chrono::duration_cast<std::chrono::microseconds>(
                                     std::chrono::system_clock::now().time_since_epoch())
                                     .count()};
              },
          .random =
              [random = std::mt19937_64(std::random_device{}())](std::int64_t most) mutable {
                return std::uniform_int_distribution<std::int64_t>(0, most)(random);
              }};
}

}  // namespace

class Syncer::Impl {
 public:
  Impl(Engine& engine, SyncOptions options)
      : replica_(engine),
        exchange_(engine, std::move(options), system_surroundings()),
        statement_(sync_statement) {
    if (options_.schema != "public") statement_ = moved_to_schema(statement_, options_.schema);
  }
  ~Impl() { stop(); }

  /// What it was at when memory ran out is found by the next step.
  Wait guarded_step() noexcept {
    const auto wait = guarded([&]() -> Result<Wait> { return step(); });
    return wait ? *wait : Wait{SyncState::waiting, -1, false, false, milliseconds{1'000}};
  }

  Wait step() {
    const Wait wait = advance();
    const Trouble& trouble = exchange_.trouble();
    if (wait.state != told_ && options_.callbacks.state)
      options_.callbacks.state(wait.state, trouble.error_class, trouble.error.detail);
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
        return exchange_.trouble().error;
      const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
      if (left <= milliseconds{0} || stop_asked_) {
        if (wait.state == SyncState::standby)
          return Error{Code::busy, "another process syncs this mirror"};
        if (exchange_.trouble().error_class != ErrorClass::none) return exchange_.trouble().error;
        return not_in_time();
      }
      sleep(wait, std::min({left, wait.timeout, stop_latency}));
    }
  }

  /// At rest, with a call behind it that began after now.
  Result<SyncState> run_until_synced(milliseconds timeout) {
    const std::uint64_t begun = exchange_.begun();
    exchange_.wake();
    return run_until(
        [&](SyncState state) {
          return exchange_.taken() > begun &&
                 (state == SyncState::synced || state == SyncState::idle);
        },
        timeout);
  }

  Result<bool> enrol_anew(milliseconds timeout) {
    exchange_.become_another(true);
    auto done = run_until([&](SyncState) { return !exchange_.becomes_another(); }, timeout);
    exchange_.become_another(false);
    if (!done) {
      drop_call();
      return done.error();
    }
    return true;
  }

  Result<std::optional<Uuid>> claim_next(std::int64_t ttl_s, milliseconds timeout) {
    if (const auto untaken = exchange_.take_job()) return untaken;
    exchange_.ask_for_job(ttl_s);
    auto done = run_until_synced(timeout);
    exchange_.ask_for_job(std::nullopt);
    if (!done) return done.error();
    return exchange_.take_job();
  }

  Result<bool> verify(const Uuid& user_id, milliseconds timeout) {
    const auto deadline = Clock::now() + timeout;
    for (;;) {
      exchange_.compare(user_id);
      auto done =
          run_until_synced(std::chrono::duration_cast<milliseconds>(deadline - Clock::now()));
      if (!done) return done.error();
      if (const auto equal = exchange_.compared()) return *equal;  // Else: see there.
    }
  }

  void start() {
    stop();
    stopping_ = false;
    thread_ = std::thread([this] {
      own_thread_ = std::this_thread::get_id();
      while (!stopping_) {
        const std::uint64_t queued = replica_.queued();
        const Wait wait = guarded_step();
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

  void resume(std::string token) { exchange_.resume(std::move(token)); }

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

  static Error not_in_time() { return {Code::unreachable, "canonical did not answer in time"}; }
  static Wait at_rest(const Exchange::Rest& rest) {
    return {rest.state, -1, false, false, rest.timeout};
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
    for (;;) {
      if (phase_ != Phase::away && Clock::now() > call_deadline_)
        return fail({ErrorClass::transient, not_in_time()});
      switch (phase_) {
        case Phase::away: {
          Exchange::Next next = exchange_.next();
          if (!next.call) return at_rest(next.rest);
          call_ = std::move(*next.call);
          if (auto wait = connect()) return *wait;
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

  std::optional<Wait> connect() {
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

  std::optional<Wait> send() {
    const std::vector<std::optional<Parameter>> parameters = parameters_of(call_);
    const BoundParameters bound(parameters);
    if (PQsendQueryParams(connection_.get(), statement_.c_str(), bound.count(), nullptr,
                          bound.values(), bound.lengths(), bound.formats(), 0) == 0) {
      return fail(connection_trouble());
    }
    phase_ = Phase::sending;
    if (replica_.measures()) call_started_ = Clock::now();
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
    return take(read_answer(rows, call_.push));
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

  /// `trouble`: none where it was answered.
  void measure_call(std::string_view trouble) {
    if (!call_started_) return;
    const double seconds =
        std::chrono::duration<double>(Clock::now() - *std::exchange(call_started_, {})).count();
    const std::array attributes{Attribute{"db.system.name", "postgresql"},
                                Attribute{"db.stored_procedure.name", "tally_sync.sync"},
                                Attribute{"error.type", trouble}};
    replica_.measure(
        {Metric::client_duration, seconds, std::span(attributes).first(trouble.empty() ? 2 : 3)});
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

  /// Without a value: go on at once.
  std::optional<Wait> take(const Answer& answer) {
    phase_ = Phase::away;
    const auto rest = exchange_.answered(answer);
    const ErrorClass trouble = exchange_.trouble().error_class;
    measure_call(trouble == ErrorClass::none ? "" : name_of(trouble));
    if (trouble != ErrorClass::none) connection_.reset();
    if (!rest) return std::nullopt;
    return at_rest(*rest);
  }

  Wait fail(Trouble trouble) {
    measure_call(name_of(trouble.error_class));
    connection_.reset();  // It is in doubt.
    phase_ = Phase::away;
    return at_rest(exchange_.failed(std::move(trouble)));
  }

  /// Its answer is nobody's any more.
  void drop_call() {
    call_started_.reset();
    connection_.reset();
    phase_ = Phase::away;
  }

  struct Finish {
    void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
  };

  Replica replica_;  ///< To sleep until its mirror has something.
  Exchange exchange_;
  const SyncOptions& options_ = exchange_.options();
  std::string statement_;
  std::unique_ptr<PGconn, Finish> connection_;
  Phase phase_ = Phase::away;
  std::optional<Clock::time_point> call_started_{};  ///< Only where somebody measures.
  Readiness connect_waits_for_{};
  Call call_{};
  Clock::time_point call_deadline_{};
  std::optional<Rows> rows_;  ///< What has come of the call's answer.
  Trouble call_trouble_{};
  std::optional<SyncState> told_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> stop_asked_{false};  ///< Of the call that is under way.
  std::thread thread_;
  std::atomic<std::thread::id> own_thread_{};
};

Syncer::Syncer(Engine& engine, SyncOptions options)
    : impl_(std::make_unique<Impl>(engine, checked(std::move(options)))) {}
Syncer::Syncer(Syncer&&) noexcept = default;
Syncer::~Syncer() = default;

Wait Syncer::step() noexcept { return impl_->guarded_step(); }

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
