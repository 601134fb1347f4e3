// Canonical twice, on a real PostgreSQL and as the model: devices push the same calls to both, and
// both answer the same. Each device has two mirrors that do the same work; one takes what
// PostgreSQL answers and one what the model does, and they stay equal. Another kind of device has
// no mirror: it pushes what no engine would.
//
// TALLY_TEST_SEED=N replays one seed; TALLY_TEST_OPERATIONS=N sets the steps of a world: 150, with
// TALLY_TEST_LONG=1 4,000 (ten minutes).

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "outbox.hpp"
#include "support/views.hpp"
#include "sync/canonicals.hpp"
#include "sync/device.hpp"
#include "tally/trace.hpp"

namespace tally::test {
namespace {

constexpr std::size_t user_count = 3, project_count = 4, job_count = 12;

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::size_t below(std::size_t bound) { return engine_() % bound; }
  std::size_t from(std::size_t low, std::size_t high) { return low + below(high - low + 1); }
  bool in(std::size_t chances) { return below(chances) == 0; }
  template <class List>
  const auto& pick(const List& list) {
    return list[below(list.size())];
  }

 private:
  std::mt19937_64 engine_;
};

// ---- what is done -------------------------------------------------------------------------------

/// Random lines in the short form, over few ids, so that they meet.
class Lines {
 public:
  Lines(Random& random, const model::Canonical& canonical, const std::int64_t& now_s)
      : random_(random), canonical_(canonical), now_s_(now_s) {}

  /// Mostly one that such a device may push.
  std::string line(const sync::NewDevice& device) {
    device_ = &device;
    const std::string made = line();
    device_ = nullptr;
    return made;
  }
  std::string line() {
    if (!lines_.empty() && random_.in(25)) return random_.pick(lines_);
    lines_.push_back(random_.in(12) ? batch() : maker_.line(one() + " " + at()));
    return lines_.back();
  }
  std::string make(const std::string& text) { return maker_.line(text + " " + at()); }

  /// Whose a project and its jobs are to be.
  static std::size_t owner(std::size_t project) { return (project - 1) % user_count + 1; }
  std::string user() {
    const bool is_own = device_ != nullptr && device_->scope && !random_.in(12);
    for (std::size_t n = 1; is_own && n <= user_count; ++n) {
      if (*device_->scope == user_id(n)) return "u" + std::to_string(n);
    }
    return "u" + std::to_string(random_.from(1, user_count));
  }

 private:
  static std::string with(const char* key, const std::string& value) {
    return " " + std::string(key) + "=" + value;
  }
  std::string amount(std::size_t most) {
    return with("amount", std::to_string(random_.from(1, most)));
  }
  std::string project() {
    const std::string whose = user();
    do {
      project_ = random_.from(1, project_count);
    } while (whose != "u" + std::to_string(owner(project_)));
    return "p" + std::to_string(project_);
  }
  std::string owner_of_project() {
    return random_.in(20) ? user() : "u" + std::to_string(owner(project_));
  }
  std::string job() {
    const std::string whose = user();
    do {
      job_ = random_.from(1, job_count);
      project_ = (job_ - 1) % project_count + 1;
    } while (whose != "u" + std::to_string(owner(project_)));
    return "j" + std::to_string(job_);
  }
  /// Mostly one that canonical has, and its status there.
  std::pair<std::string, std::string> job_and_status() {
    const auto rows = canonical_.rows("jobs");
    for (int tries = 0; tries < 4; ++tries) {
      const std::string name = job();
      for (const auto& row : rows) {
        if (row[0] == id('j', job_).text()) return {name, *row[3]};
      }
    }
    return {job(), ""};
  }
  std::string at() {
    const std::int64_t late =
        random_.in(15) ? 3'600 : -static_cast<std::int64_t>(random_.below(60));
    return "at=\"" + time_at(now_s_ + late).text() + "\"";
  }
  std::string text() { return "t" + std::string(random_.from(1, 3), 'x'); }
  /// Where a job would go next, or anywhere.
  std::string next_status(const std::string& status) {
    static const std::vector<std::string> statuses{
        "PENDING",   "QUEUED",   "SCRIPTING", "VOICE_GEN", "ALIGNMENT", "VISUAL_PLAN",
        "IMAGE_GEN", "TIMELINE", "RENDERING", "PACKAGING", "READY",     "FAILED"};
    const auto is = std::find(statuses.begin(), statuses.end(), status);
    if (statuses.end() - is > 2 && !random_.in(12)) return is[1];
    return random_.pick(statuses);
  }
  std::string batch() {
    std::string ops;
    for (std::size_t n = random_.from(1, 3); n > 0; --n) ops += (ops.empty() ? "" : ";") + one();
    return maker_.line("batch ops=(" + ops + ") " + at());
  }
  bool may(Capability capability) {
    if (device_ == nullptr || random_.in(12)) return true;
    const auto& has = device_->capabilities;
    return std::count(has.begin(), has.end(), capability) > 0;
  }
  std::string one() {
    const bool service = may(Capability::service), author = may(Capability::author),
               worker = may(Capability::worker);
    const std::size_t kind = random_.below(16);
    if (kind == 0 && service) return of_user();
    if (kind == 1 && author) return of_texts();
    if (kind < 4 && author) return of_project();
    if (kind < 7 && author) return of_lease();
    const auto [name, status] = job_and_status();
    if (author && (!worker || status == "PENDING" || status == "FAILED" || random_.in(12)))
      return of_author(name, status);
    return worker || !service ? of_worker(name, status) : of_user();
  }
  std::string of_user() {
    switch (random_.below(5)) {
      case 0:
        return "create_user" + with("user_id", user()) +
               (random_.in(2) ? with("email", "m" + std::string(random_.from(1, 3), 'x')) : "");
      case 1:
        return "expire_credits" + with("user_id", user()) + amount(20);
      case 2:
        return "add_credits" + with("user_id", user()) + amount(9) + with("type", "purchase") +
               with("stripe_payment_id", text());
      default:
        return "add_credits" + with("user_id", user()) + amount(12) + with("type", "grant");
    }
  }
  std::string of_texts() {
    const std::string draft = with("draft_id", "d" + std::to_string(random_.from(1, 4)));
    const std::string token = with("session_token", text());
    const std::string voice = with("voice_profile_id", "v" + std::to_string(random_.from(1, 3)));
    switch (random_.below(7)) {
      case 0:
        return "update_profile" + with("user_id", user()) + with("display_name", text()) +
               (random_.in(4) ? with("stripe_customer_id", text()) : "");
      case 1:
        return "create_draft" + draft + token + (random_.in(2) ? with("user_id", user()) : "") +
               with("prompt_text", text());
      case 2:
        return "update_draft" + draft + (random_.in(2) ? with("user_id", user()) : token) +
               with("prompt_text", text());
      case 3:
        return "claim_draft" + token + with("user_id", user());
      case 4:
        return "delete_voice_profile" + voice + with("user_id", user());
      default:
        return "create_voice_profile" + voice + with("user_id", user()) + with("name", text()) +
               with("audio_path", text());
    }
  }
  std::string of_project() {
    const std::string named = with("project_id", project());
    const std::string whose = with("user_id", owner_of_project());
    const std::string texts =
        with("title", text()) + with("prompt_text", text()) + with("niche_preset", "facts") +
        with("target_minutes", std::to_string(random_.from(1, 11))) +
        (random_.in(3) ? with("voice_profile_id", "v" + std::to_string(random_.from(1, 3))) : "");
    switch (random_.below(8)) {
      case 0:
        if (!random_.in(4)) return "create_project" + named + whose + texts;
        return "delete_project" + named + whose;
      case 1:
        return "update_project" + named + whose + texts;
      case 2:
        return "create_project" + named + whose + texts;
      default: {
        const std::string made = with("job_id", job());
        return "create_job" + made + with("project_id", "p" + std::to_string(project_)) +
               with("user_id", owner_of_project());
      }
    }
  }
  std::string of_lease() {
    const std::string whose = user();
    std::optional<std::string> lease;  // An open one of that user's, whosever it is.
    for (const auto& open : canonical_.open_leases()) {
      if (open.user_id == id('u', std::stoull(whose.substr(1))) && random_.in(2))
        lease = '"' + open.lease_id.text() + '"';
    }
    if (lease && random_.in(6)) return "return_lease" + with("lease_id", *lease);
    if (!lease) lease = "l" + std::to_string(random_.in(8) ? random_.from(1, 9) : ++leases_);
    return "lease_credits" + with("lease_id", *lease) + with("user_id", whose) + amount(25) +
           with("ttl", std::to_string(random_.from(1, 600)));
  }
  std::string of_author(const std::string& name, const std::string& status = "") {
    const std::string on = with("job_id", name) + reservation();
    if (status == "FAILED" && !random_.in(8)) return "retry_job" + on + amount(9);
    switch (random_.below(6)) {
      case 0:
        return "retry_job" + on + amount(9);
      case 1:
        return "fail_job" + on + with("error_code", text());
      case 2:
      case 3:
        return "advance_job" + on + with("to", "QUEUED");
      default:
        return "reserve_credits" + with("job_id", name) + with("user_id", owner_of_project()) +
               amount(12);
    }
  }
  /// An engine fills it in; here it is named now and then, and wrong.
  std::string reservation() {
    if (!random_.in(25)) return "";
    return with("reservation", "o" + std::to_string(random_.from(1'001, 1'100)));
  }
  std::string of_worker(const std::string& name, const std::string& status) {
    const std::string on = with("job_id", name);
    const std::string ttl = with("ttl", std::to_string(random_.from(1, 900)));
    const std::string cost = with("final_cost", std::to_string(random_.from(0, 15)));
    switch (status == "PACKAGING" ? random_.from(4, 11) : random_.below(22)) {
      case 0:
      case 1:
        return "claim_job" + on + ttl;
      case 2:
        return "renew_claim" + on + ttl;
      case 3:
        return "drop_claim" + on;
      case 4:
        return "add_asset" + on + with("asset_id", "a" + std::to_string(random_.from(1, 9))) +
               with("type", "video") + with("url", text()) + with("storage_path", text());
      case 5:
        return "fail_job" + on + with("error_code", text());
      case 6:
        return "release_job_credits" + on + reservation();
      case 7:
        return "finalize_job_credits" + on + reservation() + cost;
      case 8:
      case 9:
        return "complete_job" + on + cost;
      case 10:
      case 11:
      case 12:
      case 13:
        return "report_progress" + on + reservation() +
               with("step_name", status.empty() ? "SCRIPTING" : status) +
               with("progress_pct", std::to_string(random_.from(0, 101)));
      default:
        return "advance_job" + on + reservation() + with("to", next_status(status));
    }
  }

  Random& random_;
  const model::Canonical& canonical_;
  const std::int64_t& now_s_;
  const sync::NewDevice* device_ = nullptr;
  LineMaker maker_;
  std::vector<std::string> lines_;
  std::size_t project_ = 1, job_ = 1, leases_ = 0;
};

// ---- devices ------------------------------------------------------------------------------------

struct Identity {
  sync::NewDevice made{"device", {}, {}, {}};
  sync::DeviceToken token{};
  int users_max = 200;
  int rows_max = 20'000;
};

/// A random one, of a kind that there is in the field or not.
Identity identity(Random& random, Canonicals& canonicals) {
  static const std::vector<Capability> all{Capability::author, Capability::worker,
                                           Capability::service};
  static const std::vector<std::vector<Capability>> kinds{{Capability::author, Capability::worker},
                                                          {Capability::author, Capability::worker},
                                                          {Capability::author, Capability::worker},
                                                          all,
                                                          all,
                                                          {Capability::worker},
                                                          {Capability::worker},
                                                          {Capability::author},
                                                          {Capability::service}};
  Identity identity;
  identity.made.capabilities = random.pick(kinds);
  if (!random.in(3)) identity.made.scope = user_id(random.from(1, user_count));
  if (random.in(2)) identity.made.reclaim_after = std::chrono::seconds(random.from(0, 300));
  if (random.in(2)) identity.users_max = static_cast<int>(random.from(1, 2));
  if (random.in(2)) identity.rows_max = static_cast<int>(random.from(1, 40));
  identity.token = canonicals.add_device(identity.made);
  return identity;
}

/// What is asked beside the push.
model::Call call_of(Random& random, const Identity& identity) {
  model::Call call;
  call.token = identity.token.token;
  call.device_id = identity.token.device_id;
  call.users_max = identity.users_max;
  call.rows_max = identity.rows_max;
  if (random.in(4)) call.claim_ttl_s = static_cast<std::int64_t>(random.from(1, 900));
  if (random.in(3)) call.digest_of = user_id(random.from(1, user_count + 1));
  return call;
}

/// A device with two mirrors.
class Twins {
 public:
  Twins(Random& random, Canonicals& canonicals, Lines& lines, const std::int64_t& now_s)
      : random_(random),
        canonicals_(canonicals),
        lines_(lines),
        identity_(identity(random, canonicals)),
        on_postgres_(options(random, now_s)),
        on_model_(options_) {
    // What a mirror did before it was a device is pushed like anything else.
    for (std::size_t n = random.in(3) ? random.from(1, 8) : 0; n > 0; --n) apply();
    const Enrolment enrolment = enrolled();
    both([&](TemporaryMirror& mirror) { return Replica(mirror.engine()).enrol(enrolment); });
  }

  void apply() {
    const auto command = parse_trace_line(lines_.line(identity_.made));
    REQUIRE(command.has_value());
    const Code here = on_postgres_.submit({*command}).front().code;
    REQUIRE(on_model_.submit({*command}).front().code == here);
  }

  /// True where there is nothing left to push or to be told.
  bool sync(bool is_calm) {
    Push there = push_of(on_postgres_);
    Push here = push_of(on_model_);
    REQUIRE(sent(there) == sent(here));
    model::Call call = call_of(random_, identity_);
    call.before = before_;
    call.push = here;
    const Answers answers = canonicals_.call(call, there.cursor);
    if (!is_calm && random_.in(12)) late_ = {call, there.cursor};
    if (answers.on_model.trouble.error_class != sync::ErrorClass::none) return trouble(answers);
    if (!is_calm && random_.in(6)) return false;  // The answer is lost.
    take(answers);
    return here.operations.empty() && !answers.on_model.more;
  }

  /// A request that was late arrives once more; nobody waits for the answer.
  void arrive_late() {
    if (late_) canonicals_.call(late_->first, late_->second);
  }

  void retry() {
    const auto rejected = Replica(on_postgres_.engine()).rejected();
    REQUIRE(rejected.has_value());
    if (rejected->empty()) return;
    const std::int64_t number = random_.pick(*rejected).number;
    both([&](TemporaryMirror& mirror) { return Replica(mirror.engine()).retry(number); });
  }

  void subscribe() {
    if (identity_.made.scope) return;
    std::optional<std::vector<Uuid>> users;
    if (!random_.in(3)) users = {user_id(random_.from(1, user_count))};
    both([&](TemporaryMirror& mirror) { return Replica(mirror.engine()).subscribe(users); });
  }

  void revoke() { canonicals_.revoke(identity_.token.device_id); }

  void compare() {
    for (const char* table : tables) {
      const auto there = rows_of(on_postgres_, table);
      CHECK_MESSAGE(difference(there, rows_of(on_model_, table)) == "", table);
    }
  }

 private:
  Options options(Random& random, const std::int64_t& now_s) {
    options_ = TemporaryMirror::fast();
    options_.spend_policy = random.in(2) ? SpendPolicy::leased : SpendPolicy::optimistic;
    options_.clock = [&now_s] { return time_at(now_s); };
    return options_;
  }
  Enrolment enrolled() const {
    return {identity_.token.device_id, identity_.made.capabilities, identity_.made.scope};
  }

  /// Both do the same, and come to the same.
  template <class Work>
  void both(Work&& work) {
    const auto there = work(on_postgres_);
    const auto here = work(on_model_);
    REQUIRE(there.has_value() == here.has_value());
    if (!there) REQUIRE(there.error().code == here.error().code);
  }

  static Push push_of(TemporaryMirror& mirror) {
    auto push = Replica(mirror.engine()).next_push(7, 1'000'000);
    REQUIRE_MESSAGE(push.has_value(), (push ? "" : push.error().detail));
    return std::move(push).value();
  }
  static std::string sent(const Push& push) {
    std::string text = std::to_string(push.acked) + push.chain + text_of(push.operations);
    for (const Uuid& user : push.subscriptions.value_or(std::vector<Uuid>{})) text += user.text();
    return text;
  }

  void take(const Answers& answers) {
    const auto there = Replica(on_postgres_.engine()).take(answers.on_postgres.reply);
    const auto here = Replica(on_model_.engine()).take(answers.on_model.reply);
    REQUIRE_MESSAGE(there.has_value(), (there ? "" : there.error().detail));
    REQUIRE_MESSAGE(here.has_value(), (here ? "" : here.error().detail));
    CHECK(there->rejected.size() == here->rejected.size());
    CHECK(there->changed == here->changed);
    CHECK(there->bootstrapped == here->bootstrapped);
    CHECK(there->diverged.empty());
    CHECK(here->diverged.empty());
  }

  /// A device that was ended is enrolled anew.
  bool trouble(const Answers& answers) {
    REQUIRE(answers.on_model.trouble.error.code == Code::unauthorized);
    if (random_.in(2)) return false;
    before_ = identity_.token.device_id;
    identity_.token = canonicals_.add_device(identity_.made);
    const Enrolment enrolment = enrolled();
    both([&](TemporaryMirror& mirror) {
      auto enrolled = Replica(mirror.engine()).enrol_anew(enrolment);
      REQUIRE_MESSAGE(enrolled.has_value(), (enrolled ? "" : enrolled.error().detail));
      return enrolled;
    });
    return false;
  }

  static std::vector<std::string> rows_of(TemporaryMirror& mirror, const char* table) {
    std::vector<std::string> texts;
    for (std::size_t n = 1; n <= user_count; ++n) {
      const auto rows = mirror->rows(table, user_id(n));
      REQUIRE(rows.has_value());
      for (const ViewRow& row : *rows) {
        std::string text;
        for (const auto& [column, value] : row) text += value.value_or("NULL") + " | ";
        texts.push_back(text);
      }
    }
    std::sort(texts.begin(), texts.end());
    return texts;
  }

  Random& random_;
  Canonicals& canonicals_;
  Lines& lines_;
  Identity identity_;
  Options options_;
  TemporaryMirror on_postgres_, on_model_;
  std::optional<Uuid> before_;
  std::optional<std::pair<model::Call, std::optional<std::string>>> late_;
};

/// A device without a mirror, which pushes anything: lines that are none, operations of other
/// users, leases of others, wrong numbers and hashes.
class Stranger {
 public:
  Stranger(Random& random, Canonicals& canonicals, Lines& lines)
      : random_(random),
        canonicals_(canonicals),
        lines_(lines),
        identity_(identity(random, canonicals)) {}

  void push() {
    for (std::size_t n = random_.below(4); n > 0; --n) pending_.push_back(operation());
    model::Call call = call_of(random_, identity_);
    call.push.acked = acked_;
    call.push.chain = chain_;
    call.push.cursor = on_model_;
    call.push.operations = pending_;
    std::optional<std::string> there = on_postgres_;
    if (random_.in(15)) spoil(call);
    const Answers answers = canonicals_.call(call, there);
    if (answers.on_model.trouble.error.code == Code::device_forked) return begin_anew();
    if (answers.on_model.trouble.error_class != sync::ErrorClass::none || random_.in(6)) return;
    on_postgres_ = answers.on_postgres.reply.cursor;
    on_model_ = answers.on_model.reply.cursor;
    while (!pending_.empty() && pending_.front().number <= answers.on_model.reply.watermark) {
      chain_ = chained(chain_, pending_.front());
      acked_ = pending_.front().number;
      pending_.erase(pending_.begin());
    }
  }

 private:
  PushedOperation operation() {
    PushedOperation operation;
    operation.number = acked_ + static_cast<std::int64_t>(pending_.size()) + 1;
    operation.line = lines_.line(identity_.made);
    operation.user_id = named(operation.line);
    if (random_.in(8)) operation.user_id = user_id(random_.from(1, user_count));
    if (random_.in(20)) operation.user_id.reset();
    if (!random_.in(4)) {
      const std::string lease = drawn_on();
      const bool is_batch = operation.line.find("\"batch\"") != std::string::npos;
      operation.leases = is_batch ? "0:" + lease + ",2:" + lease : lease;
    }
    if (random_.in(40)) {
      operation.line = "no operation";
    } else if (random_.in(40)) {
      operation.line.replace(operation.line.find(','), 1, R"(,"more":1,)");
    }
    return operation;
  }
  /// A lease: mostly one that the device has or had.
  std::string drawn_on() {
    for (const auto& open : canonicals_.model().open_leases()) {
      if (open.device_id == identity_.token.device_id && (lease_.empty() || random_.in(2)))
        lease_ = open.lease_id.text();
    }
    return lease_.empty() || random_.in(12) ? id('l', random_.from(1, 9)).text() : lease_;
  }
  /// Whom the line names, by its user or its job.
  static std::optional<Uuid> named(const std::string& line) {
    for (const char letter : {'u', 'j'}) {
      for (std::size_t n = 1; n <= job_count; ++n) {
        if (line.find(id(letter, n).text()) == std::string::npos) continue;
        const std::size_t owner = letter == 'u' ? n : Lines::owner((n - 1) % project_count + 1);
        return user_id(owner);
      }
    }
    return std::nullopt;
  }
  void begin_anew() {
    identity_ = identity(random_, canonicals_);
    acked_ = 0;
    chain_.clear();
    pending_.clear();
    on_postgres_.reset();
    on_model_.reset();
  }
  void spoil(model::Call& call) {
    switch (random_.below(8)) {
      case 0:
        ++call.push.acked;
        break;
      case 1:
        --call.push.acked;
        break;
      case 2:
        call.push.chain = std::string(32, 'c');
        break;
      case 3:
        call.token += "x";
        break;
      case 4:
        call.device_id = id('x', 1);
        break;
      case 5:
        call.users_max = 0;
        break;
      case 6:
        call.claim_ttl_s = 0;
        break;
      default:
        if (!call.push.operations.empty()) call.push.operations.front().leases += "x";
    }
  }

  Random& random_;
  Canonicals& canonicals_;
  Lines& lines_;
  Identity identity_;
  std::int64_t acked_ = 0;
  std::string chain_;
  std::string lease_;
  std::vector<PushedOperation> pending_;
  std::optional<std::string> on_postgres_, on_model_;
};

// ---- a world ------------------------------------------------------------------------------------

class World {
 public:
  World(std::uint64_t seed, Canonicals& canonicals)
      : random_(seed), canonicals_(canonicals), lines_(random_, canonicals.model(), now_s_) {
    canonicals_.begin();
    for (std::size_t n = 1; n <= user_count; ++n) populate(std::to_string(n));
    for (int n = 0; n < 3; ++n)
      twins_.push_back(std::make_unique<Twins>(random_, canonicals_, lines_, now_s_));
    for (int n = 0; n < 2; ++n)
      strangers_.push_back(std::make_unique<Stranger>(random_, canonicals_, lines_));
  }

  void step() {
    if (random_.in(4)) pass_time();
    Twins& twins = *random_.pick(twins_);
    switch (random_.below(16)) {
      case 0:
        canonicals_.apply(lines_.line());
        break;
      case 1:
        operate(twins);
        break;
      case 2:
        twins.retry();
        break;
      case 3:
        twins.arrive_late();
        break;
      case 4:
      case 5:
      case 6:
      case 7:
        random_.pick(strangers_)->push();
        break;
      case 8:
      case 9:
      case 10:
      case 11:
        twins.sync(false);
        break;
      default:
        for (std::size_t n = random_.from(1, 4); n > 0; --n) twins.apply();
    }
    canonicals_.compare(user_id(random_.from(1, user_count)));
  }

  void rest() {
    constexpr int calls_max = 400;
    for (auto& twins : twins_) {
      int calls = 0;
      while (!twins->sync(true) && calls < calls_max) ++calls;
      CHECK(calls < calls_max);
      twins->compare();
    }
    for (std::size_t n = 1; n <= user_count; ++n) canonicals_.compare(user_id(n));
    canonicals_.compare_leases_and_accounts();
    canonicals_.check_audit();
    canonicals_.end();
  }

 private:
  void populate(const std::string& n) {
    canonicals_.apply(lines_.make("create_user user_id=u" + n));
    canonicals_.apply(lines_.make("add_credits user_id=u" + n + " amount=9 type=grant"));
    canonicals_.apply(lines_.make("create_project project_id=p" + n + " user_id=u" + n +
                                  " title=T prompt_text=P niche_preset=facts target_minutes=1"));
    canonicals_.apply(
        lines_.make("create_job job_id=j" + n + " project_id=p" + n + " user_id=u" + n));
  }
  void pass_time() {
    now_s_ +=
        static_cast<std::int64_t>(random_.in(20) ? random_.below(9 * 86'400) : random_.below(400));
    canonicals_.set_clock(now_s_);
  }
  void operate(Twins& twins) {
    switch (random_.below(4)) {
      case 0:
        if (random_.in(3)) twins.revoke();
        break;
      case 1:
        twins.subscribe();
        break;
      default:
        write_off();
    }
  }

  void write_off() {
    const auto leases = canonicals_.model().open_leases();
    canonicals_.write_off(leases.empty() || random_.in(6) ? id('l', 1)
                                                          : random_.pick(leases).lease_id);
  }

  Random random_;
  Canonicals& canonicals_;
  std::int64_t now_s_ = still_start_s;
  Lines lines_;
  std::vector<std::unique_ptr<Twins>> twins_;
  std::vector<std::unique_ptr<Stranger>> strangers_;
};

/// What the worlds have to meet: where they no longer do, they compare less than they did.
const char* const rare[] = {"already_claimed",
                            "already_exists",
                            "claimed",
                            "complete",
                            "device_forked",
                            "gone",
                            "insufficient_credits",
                            "lease_not_found",
                            "next page",
                            "not_claim_holder",
                            "not_permitted",
                            "payment_conflict",
                            "protocol",
                            "stale_reservation",
                            "reservation_required",
                            "unauthorized",
                            "user_exists",
                            "user_not_found"};

TEST_CASE("canonical on PostgreSQL and as a model answer the same") {
  constexpr std::uint64_t steps_enough = 150, steps_long = 4'000;
  const auto steps =
      number_from_environment("TALLY_TEST_OPERATIONS", long_run() ? steps_long : steps_enough);
  const bool is_given = std::getenv("TALLY_TEST_SEED") != nullptr;
  const auto first = number_from_environment("TALLY_TEST_SEED", 1);
  Canonicals canonicals;
  for (std::uint64_t seed = first; seed < first + (is_given ? 1 : 8); ++seed) {
    CAPTURE(seed);
    World world(seed, canonicals);
    for (std::uint64_t n = 0; n < steps; ++n) {
      CAPTURE(n);
      world.step();
    }
    world.rest();
  }
  for (const char* what : rare)
    CHECK_MESSAGE((is_given || steps < steps_enough || canonicals.met().count(what) > 0),
                  "never met: ", what);
  std::string met;
  for (const auto& [what, times] : canonicals.met())
    met += ' ' + what + ' ' + std::to_string(times);
  MESSAGE(canonicals.calls(), " calls, which met:", met);
}

}  // namespace
}  // namespace tally::test
