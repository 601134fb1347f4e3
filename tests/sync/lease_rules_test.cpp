// What canonical does with leases, rule by rule: short scripts that PostgreSQL and the model of
// canonical are both put through, call for call as the random worlds of model_test.cpp are, so that
// each branch of the rules is taken by design and not by luck.
//
// A step says who does what and what comes of it: the verdicts, then the balance of u1 and what is
// unspent in its leases.

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "outbox.hpp"
#include "support/fixture.hpp"
#include "sync/canonicals.hpp"

namespace tally::test {
namespace {

/// Who does a step: devices A and B (who may do everything), R (and canonical takes back what is
/// left in its leases a minute after they expire), P (as R, fed in pages of few rows), W (a worker)
/// and S (whose scope is u1); or:
constexpr char straight = '-';  ///< A line is applied on canonical.
constexpr char operator_ =
    '@';  ///< `write_off l1`, `revoke A`, `enrol_anew A`, `after 60` seconds.

struct Step {
  char by;
  std::string line;     ///< In the short form; a device without one just calls, or asks for the
                        ///< next job: `claim_next`.
  std::string outcome;  ///< Empty where the operation goes in the call of the device's next one.
  std::string drawn{};  ///< Its lease, or `place:lease` of a batch's operations.
  std::uint64_t envelope = 1;
};
using Script = std::vector<Step>;

/// u1 has 30 credits and the jobs j1 to j3, u2 has 10 and j4.
const Script setup{
    {straight, "create_user user_id=u1", "ok 10+0"},
    {straight, "add_credits user_id=u1 amount=20 type=grant", "ok 30+0"},
    {straight, "create_user user_id=u2", "ok 30+0"},
    {straight,
     "create_project project_id=p1 user_id=u1 title=T prompt_text=P niche_preset=facts "
     "target_minutes=1",
     "ok 30+0"},
    {straight,
     "create_project project_id=p2 user_id=u2 title=T prompt_text=P niche_preset=facts "
     "target_minutes=1",
     "ok 30+0"},
    {straight, "create_job job_id=j1 project_id=p1 user_id=u1", "ok 30+0"},
    {straight, "create_job job_id=j2 project_id=p1 user_id=u1", "ok 30+0"},
    {straight, "create_job job_id=j3 project_id=p1 user_id=u1", "ok 30+0"},
    {straight, "create_job job_id=j4 project_id=p2 user_id=u2", "ok 30+0"},
};

/// A device without a mirror, which pushes what it is told to.
class Hand {
 public:
  Hand(Canonicals& canonicals, char name) : canonicals_(canonicals), name_(name) { enrol(); }

  const Uuid& device_id() const { return token_.device_id; }
  void enrol_anew() {
    before_ = token_.device_id;
    acked_ = 0;
    chain_.clear();
    here_.reset();
    there_.reset();
    enrol();
  }
  void add(const std::string& line, const std::string& leases, const Uuid& envelope) {
    PushedOperation& pushed = pending_.emplace_back();
    pushed.number = acked_ + static_cast<std::int64_t>(pending_.size());
    pushed.line = line;
    pushed.leases = leases;
    pushed.user_id = envelope;
  }
  /// The verdicts.
  std::string call(bool claims) {
    model::Call call;
    call.token = token_.token;
    call.device_id = token_.device_id;
    call.before = before_;
    call.push.acked = acked_;
    call.push.chain = chain_;
    call.push.cursor = here_;
    call.push.operations.assign(pending_.begin(), pending_.end());
    if (claims) call.claim_ttl_s = 60;
    if (name_ == 'P') call.rows_max = 11;
    const Answers answers = canonicals_.call(call, there_);
    if (answers.on_model.trouble.error_class != sync::ErrorClass::none)
      return std::string(name_of(answers.on_model.trouble.error.code)) + ' ';
    return take(answers);
  }

 private:
  void enrol() {
    sync::NewDevice made{"device", {Capability::worker}, {}, {}};
    if (name_ != 'W')
      made.capabilities = {Capability::author, Capability::worker, Capability::service};
    if (name_ == 'S') made.scope = user_id(1);
    if (name_ == 'R' || name_ == 'P') made.reclaim_after = std::chrono::seconds(60);
    token_ = canonicals_.add_device(made);
  }
  std::string take(const Answers& answers) {
    here_ = answers.on_model.reply.cursor;
    there_ = answers.on_postgres.reply.cursor;
    std::string codes = answers.on_model.claimed ? "claimed " : "";
    for (const PulledVerdict& verdict : answers.on_model.reply.verdicts) {
      if (verdict.number > acked_) codes += std::string(name_of(verdict.code)) + ' ';
    }
    acked_ = answers.on_model.reply.watermark;
    while (!pending_.empty() && pending_.front().number <= acked_) {
      chain_ = chained(chain_, pending_.front());
      pending_.pop_front();
    }
    return codes;
  }

  Canonicals& canonicals_;
  char name_;
  sync::DeviceToken token_{};
  std::optional<Uuid> before_;
  std::int64_t acked_ = 0;
  std::string chain_;
  std::optional<std::string> here_, there_;
  std::deque<PushedOperation> pending_;
};

/// What one script is played on.
class Stage {
 public:
  explicit Stage(Canonicals& canonicals) : canonicals_(canonicals) {
    canonicals_.begin();
    play(setup);
  }
  ~Stage() { canonicals_.end(); }
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  void play(const Script& script) {
    for (const Step& step : script) {
      CAPTURE(std::string(1, step.by));
      CAPTURE(step.line);
      const std::string outcome = play(step);
      if (step.outcome.empty()) continue;
      REQUIRE(outcome + funds() == step.outcome);
      for (const std::uint64_t user : {1U, 2U}) canonicals_.compare(user_id(user));
      canonicals_.compare_leases_and_accounts();
    }
  }

 private:
  std::string play(const Step& step) {
    if (step.by == operator_) return operate(step.line);
    if (step.by == straight) {
      const std::string result = short_answer(canonicals_.apply(lines_.line(step.line)));
      return result.substr(0, result.find(' ') + 1);
    }
    Hand& device = hand(step.by);
    const bool claims = step.line == "claim_next";
    if (!step.line.empty() && !claims)
      device.add(lines_.line(step.line), with_ids(step.drawn), user_id(step.envelope));
    return step.outcome.empty() ? "" : device.call(claims);
  }
  std::string operate(const std::string& text) {
    const std::size_t space = text.find(' ');
    const std::string what = text.substr(0, space), on = text.substr(space + 1);
    if (what == "write_off")
      return canonicals_.write_off(id('l', std::stoull(on.substr(1)))) ? "done " : "none ";
    if (what == "after") {
      canonicals_.set_clock(now_s_ += std::stoll(on));
    } else if (what == "revoke") {
      canonicals_.revoke(hand(on.front()).device_id());
    } else {
      REQUIRE(what == "enrol_anew");
      hand(on.front()).enrol_anew();
    }
    return "done ";
  }
  Hand& hand(char name) { return hands_.try_emplace(name, canonicals_, name).first->second; }
  /// `0:l1` with the id that `l1` means; `0:L1` with its letters large.
  static std::string with_ids(const std::string& drawn) {
    std::string text;
    for (std::size_t i = 0; i < drawn.size(); ++i) {
      if (drawn[i] != 'l' && drawn[i] != 'L') {
        text += drawn[i];
        continue;
      }
      const bool is_large = drawn[i] == 'L';
      std::string lease = id('l', static_cast<std::uint64_t>(drawn[++i] - '0')).text();
      if (is_large) std::replace(lease.begin(), lease.end(), 'c', 'C');
      text += lease;
    }
    return text;
  }
  std::string funds() const {
    for (const auto& account : canonicals_.model().accounts()) {
      if (account.user_id == user_id(1))
        return std::to_string(account.balance) + '+' + std::to_string(account.leased);
    }
    return "nobody";
  }

  Canonicals& canonicals_;
  LineMaker lines_;
  std::map<char, Hand> hands_;
  std::int64_t now_s_ = still_start_s;
};

/// A row each, more than P is told in a call.
const std::string twelve_credits = [] {
  std::string line = "batch ops=(";
  for (int n = 0; n < 12; ++n) line += " add_credits user_id=u1 amount=1 type=grant ;";
  line.back() = ')';
  return line;
}();

struct Rule {
  std::string name;
  Script script;
};

// ---- opened, filled up, returned ----------------------------------------------------------------

const std::vector<Rule> of_opening{
    {"a lease is opened and added to, within the balance",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=31 ttl=60", "insufficient_credits 30+0"},
      {'A', "lease_credits lease_id=l1 user_id=u1 amount=10 ttl=60", "ok 20+10"},
      {'A', "lease_credits lease_id=l1 user_id=u1 amount=21 ttl=60", "insufficient_credits 20+10"},
      {'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 0+30"},
      {'A', "lease_credits lease_id=l9 user_id=u9 amount=1 ttl=60", "user_not_found 0+30", "", 9}}},
    {"adding to a lease never brings its expiry forward",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=600", "ok 25+5"},
      {'A', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "ok 20+10"},
      {operator_, "after 30", "done 20+10"},
      {'A', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=600", "ok 15+15"}}},
    {"a device has one open lease for a user, and one for another user",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "ok 25+5"},
      {'A', "lease_credits lease_id=l2 user_id=u1 amount=5 ttl=60", "already_exists 25+5"},
      {'A', "lease_credits lease_id=l2 user_id=u2 amount=5 ttl=60", "ok 25+5", "", 2},
      {'A', "lease_credits lease_id=l1 user_id=u2 amount=5 ttl=60", "already_exists 25+5", "", 2},
      {'B', "lease_credits lease_id=l3 user_id=u1 amount=5 ttl=60", "ok 20+10"}}},
    {"a lease is one device's, and is opened once",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "ok 25+5"},
      {'B', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "already_exists 25+5"},
      {'B', "lease_credits lease_id=l1 user_id=u2 amount=5 ttl=60", "already_exists 25+5", "", 2},
      {'B', "return_lease lease_id=l1", "lease_not_found 25+5"},
      {'A', "return_lease lease_id=l1", "ok 30+0"},
      {'A', "return_lease lease_id=l1", "lease_not_found 30+0"},
      {'A', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "already_exists 30+0"},
      {'B', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "already_exists 30+0"},
      {'A', "lease_credits lease_id=l2 user_id=u1 amount=5 ttl=60", "ok 25+5"},
      {'A', "return_lease lease_id=l1", "lease_not_found 25+5"}}},
    {"a lease is returned under its user's name",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "ok 25+5"},
      {'A', "return_lease lease_id=l1", "lease_not_found 25+5", "", 2},
      {'A', "return_lease lease_id=l1", "ok 30+0"}}},
    {"a lease that is spent returns nothing",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "ok 25+5"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=5", "ok 25+0", "l1"},
      {'A', "return_lease lease_id=l1", "ok 25+0"},
      {'A', "lease_credits lease_id=l2 user_id=u1 amount=5 ttl=60", "ok 20+5"}}},
    {"a repeated lease operation has no further effect",
     {{'A', "lease_credits op_id=o1 lease_id=l1 user_id=u1 amount=5 ttl=60", "ok 25+5"},
      {'A', "lease_credits op_id=o1 lease_id=l1 user_id=u1 amount=5 ttl=60", "ok 25+5"},
      {'A', "lease_credits op_id=o1 lease_id=l1 user_id=u1 amount=6 ttl=60",
       "operation_conflict 25+5"},
      {'A', "return_lease op_id=o2 lease_id=l1", "ok 30+0"},
      {'A', "return_lease op_id=o2 lease_id=l1", "ok 30+0"},
      {'A', "return_lease op_id=o2 lease_id=l1", "lease_not_found 30+0", "", 2},
      {'A', "lease_credits op_id=o1 lease_id=l1 user_id=u1 amount=5 ttl=60", "ok 30+0"}}},
    {"leases are for devices, of authors, within their scope",
     {{straight, "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "not_permitted 30+0"},
      {straight, "return_lease lease_id=l1", "not_permitted 30+0"},
      {'W', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "not_permitted 30+0"},
      {'W', "return_lease lease_id=l1", "not_permitted 30+0"},
      {'S', "lease_credits lease_id=l1 user_id=u2 amount=5 ttl=60", "user_not_found 30+0", "", 2},
      {'A', "lease_credits lease_id=l1 user_id=u2 amount=5 ttl=60", "user_not_found 30+0"},
      {'S', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "ok 25+5"}}},
    {"what is leased counts where credits come in",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=10 ttl=60", "ok 20+10"},
      {straight, "add_credits user_id=u1 amount=2147483618 type=grant", "balance_overflow 20+10"},
      {straight, "add_credits user_id=u1 amount=2147483617 type=grant", "ok 2147483637+10"},
      {'A', "return_lease lease_id=l1", "ok 2147483647+0"}}},
};

// ---- drawn on -----------------------------------------------------------------------------------

const std::vector<Rule> of_drawing{
    {"a hold is drawn on a lease whole, or not at all",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=10 ttl=60", "ok 20+10"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=11", "ok 9+10", "l1"},
      {'A', "reserve_credits user_id=u1 job_id=j2 amount=10", "ok 9+0", "l1"},
      {'A', "reserve_credits user_id=u1 job_id=j3 amount=10", "insufficient_credits 9+0", "l1"},
      {'A', "reserve_credits user_id=u1 job_id=j3 amount=9", "ok 0+0", "l1"}}},
    {"a hold that names no lease is the balance's",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=25 ttl=60", "ok 5+25"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=6", "insufficient_credits 5+25"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=5", "ok 0+25"}}},
    {"a lease that is drawn on beyond its expiry covers, while it is open",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=30 ttl=60", "ok 0+30"},
      {operator_, "after 1000", "done 0+30"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=10", "ok 0+20", "l1"}}},
    {"another device's lease is not drawn on",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'B', "reserve_credits user_id=u1 job_id=j1 amount=11", "lease_reclaimed 10+20", "l1"},
      {'B', "reserve_credits user_id=u1 job_id=j1 amount=10", "ok 0+20", "l1"},
      {'B', "release_job_credits job_id=j1", "ok 10+20"}}},
    {"another user's lease is not drawn on",
     {{'A', "lease_credits lease_id=l1 user_id=u2 amount=9 ttl=60", "ok 30+0", "", 2},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=9", "ok 21+0", "l1"},
      {'A', "reserve_credits user_id=u1 job_id=j2 amount=22", "lease_reclaimed 21+0", "l1"}}},
    {"a lease that nobody has, or has ended, is not drawn on",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=11", "lease_reclaimed 10+20", "l2"},
      {'A', "return_lease lease_id=l1", "ok 30+0"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=31", "lease_reclaimed 30+0", "l1"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=5", "ok 25+0", "l1"},
      {'A', "release_job_credits job_id=j1", "ok 30+0"}}},
    {"a lease of who the mirror was is not drawn on",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {operator_, "enrol_anew A", "done 10+20"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=11", "lease_reclaimed 10+20", "l1"},
      {'A', "return_lease lease_id=l1", "lease_not_found 10+20"},
      {'A', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "already_exists 10+20"}}},
    {"what names no lease as it should names none",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=25 ttl=60", "ok 5+25"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=6", "insufficient_credits 5+25", "l1x"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=6", "insufficient_credits 5+25", "0:l1"},
      {'A', "batch ops=(reserve_credits user_id=u1 job_id=j1 amount=6)",
       "insufficient_credits 5+25", "l1"},
      {'A', "batch ops=(reserve_credits user_id=u1 job_id=j1 amount=6)",
       "insufficient_credits 5+25", "10:l1"},
      {'A', "batch ops=(reserve_credits user_id=u1 job_id=j1 amount=6)",
       "insufficient_credits 5+25", "0:l1x"},
      {'A', "batch ops=(reserve_credits user_id=u1 job_id=j1 amount=6)",
       "insufficient_credits 5+25", "1:l1"}}},
    {"a lease is named in large letters or small",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=25 ttl=60", "ok 5+25"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=6", "ok 5+19", "L1"},
      {'A', "batch ops=(reserve_credits user_id=u1 job_id=j2 amount=6)", "ok 5+13", "0:L1"}}},
    {"a retry is drawn on a lease as a first hold is",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'A', "fail_job job_id=j1 error_code=E", "ok 10+20"},
      {'A', "retry_job job_id=j1 amount=20", "ok 10+0", "l1"},
      {'A', "fail_job job_id=j1 error_code=E", "ok 10+20"},
      {'A', "retry_job job_id=j1 amount=21", "insufficient_credits 10+20", "l1"},
      {'B', "retry_job job_id=j1 amount=11", "lease_reclaimed 10+20", "l1"}}},
};

// ---- settled and given back ---------------------------------------------------------------------

const std::vector<Rule> of_settling{
    {"what a hold gives back goes to its lease",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=10", "ok 10+10", "l1"},
      {'A', "release_job_credits job_id=j1", "ok 10+20"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=10", "ok 10+10", "l1"},
      {'A', "fail_job job_id=j1 error_code=E", "ok 10+20"},
      {'A', "reserve_credits user_id=u1 job_id=j2 amount=10", "ok 10+10", "l1"},
      {'A', "finalize_job_credits job_id=j2 final_cost=7", "ok 10+13"},
      {'A', "reserve_credits user_id=u1 job_id=j3 amount=10", "ok 10+3", "l1"},
      {'A', "finalize_job_credits job_id=j3 final_cost=10", "ok 10+3"}}},
    {"a completed job gives back to its lease",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'A',
       "batch ops=(reserve_credits user_id=u1 job_id=j1 amount=10;advance_job job_id=j1 to=QUEUED;"
       "advance_job job_id=j1 to=SCRIPTING;advance_job job_id=j1 to=VOICE_GEN;"
       "advance_job job_id=j1 to=ALIGNMENT;advance_job job_id=j1 to=VISUAL_PLAN;"
       "advance_job job_id=j1 to=IMAGE_GEN;advance_job job_id=j1 to=TIMELINE;"
       "advance_job job_id=j1 to=RENDERING;advance_job job_id=j1 to=PACKAGING)",
       "ok 10+10", "0:l1"},
      {'A', "complete_job job_id=j1 final_cost=4", "ok 10+16"}}},
    {"whoever settles, the hold's lease gets the rest",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=10 ttl=60", "ok 20+10"},
      {'B', "lease_credits lease_id=l2 user_id=u1 amount=10 ttl=60", "ok 10+20"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=10", "ok 10+10", "l1"},
      {'B', "finalize_job_credits job_id=j1 final_cost=4", "ok 10+16", "l2"},
      {'A', "reserve_credits user_id=u1 job_id=j2 amount=6", "ok 10+10", "l1"},
      {'W', "release_job_credits job_id=j2", "ok 10+16"},
      {'A', "reserve_credits user_id=u1 job_id=j2 amount=6", "ok 10+10", "l1"},
      {straight, "release_job_credits job_id=j2", "ok 10+16"}}},
    {"a lease that has ended gets nothing back, nor does the next one",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=5", "ok 10+15", "l1"},
      {'A', "reserve_credits user_id=u1 job_id=j2 amount=5", "ok 10+10", "l1"},
      {'A', "return_lease lease_id=l1", "ok 20+0"},
      {'A', "release_job_credits job_id=j1", "ok 25+0"},
      {'A', "lease_credits lease_id=l2 user_id=u1 amount=10 ttl=60", "ok 15+10"},
      {'A', "finalize_job_credits job_id=j2 final_cost=1", "ok 19+10", "l2"}}},
    {"a second hold from the balance gives back to the balance",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=10 ttl=60", "ok 20+10"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=10", "ok 20+0", "l1"},
      {'A', "fail_job job_id=j1 error_code=E", "ok 20+10"},
      {'A', "retry_job job_id=j1 amount=10", "ok 10+10"},
      {'A', "fail_job job_id=j1 error_code=E", "ok 20+10"},
      {'A', "retry_job job_id=j1 amount=11", "ok 9+10", "l1"},
      {'A', "release_job_credits job_id=j1", "ok 20+10"}}},
    {"settling above the hold is drawn on the lease whole, or not at all",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=5", "ok 10+15", "l1"},
      {'A', "finalize_job_credits job_id=j1 final_cost=21", "insufficient_credits 10+15", "l1"},
      {'B', "finalize_job_credits job_id=j1 final_cost=16", "lease_reclaimed 10+15", "l1"},
      {'W', "finalize_job_credits job_id=j1 final_cost=6", "not_permitted 10+15", "l1"},
      {'A', "finalize_job_credits job_id=j1 final_cost=20", "ok 10+0", "l1"}}},
    {"settling above the hold without a lease takes the balance's",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=5", "ok 10+15", "l1"},
      {'A', "finalize_job_credits job_id=j1 final_cost=8", "ok 7+15"},
      {'A', "reserve_credits user_id=u1 job_id=j2 amount=12", "ok 7+3", "l1"},
      {'A', "finalize_job_credits job_id=j2 final_cost=16", "ok 3+3", "l1"}}},
    {"a hold from the balance that is settled above takes the rest from the lease",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=10", "ok 0+20"},
      {'A', "finalize_job_credits job_id=j1 final_cost=15", "ok 0+15", "l1"},
      {'A', "reserve_credits user_id=u1 job_id=j2 amount=5", "ok 0+10", "l1"},
      {'A', "finalize_job_credits job_id=j2 final_cost=1", "ok 0+14"}}},
};

// ---- in batches ---------------------------------------------------------------------------------

const std::vector<Rule> of_batches{
    {"each of a batch's operations names its own lease",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'A',
       "batch ops=(reserve_credits user_id=u1 job_id=j1 amount=5;"
       "reserve_credits user_id=u1 job_id=j2 amount=6;"
       "reserve_credits user_id=u1 job_id=j3 amount=7)",
       "ok 4+8", "2:l1,0:l1"},
      {'A', "batch ops=(release_job_credits job_id=j1;release_job_credits job_id=j2)",
       "ok 10+13"}}},
    {"a batch that is refused draws and gives back nothing",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'A',
       "batch ops=(reserve_credits user_id=u1 job_id=j1 amount=5;"
       "reserve_credits user_id=u1 job_id=j2 amount=26)",
       "insufficient_credits 10+20", "0:l1,1:l1"},
      {'A', "reserve_credits user_id=u1 job_id=j3 amount=8", "ok 10+12", "l1"},
      {'A',
       "batch ops=(release_job_credits job_id=j3;reserve_credits user_id=u1 job_id=j1 amount=20;"
       "release_job_credits job_id=j3)",
       "no_reservation 10+12", "1:l1"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=12", "ok 10+0", "l1"},
      {'A', "return_lease lease_id=l1", "ok 10+0"}}},
};

// ---- ended by others ----------------------------------------------------------------------------

const std::vector<Rule> of_ending{
    {"a lease that is written off gives back what is unspent, once",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=5", "ok 10+15", "l1"},
      {operator_, "write_off l2", "none 10+15"},
      {operator_, "write_off l1", "done 25+0"},
      {operator_, "write_off l1", "none 25+0"},
      {'A', "reserve_credits user_id=u1 job_id=j2 amount=26", "lease_reclaimed 25+0", "l1"},
      {'A', "return_lease lease_id=l1", "lease_not_found 25+0"},
      {'A', "release_job_credits job_id=j1", "ok 30+0"},
      {'A', "lease_credits lease_id=l2 user_id=u1 amount=5 ttl=60", "ok 25+5"},
      {'A', "reserve_credits user_id=u1 job_id=j2 amount=5", "ok 25+0", "l2"},
      {operator_, "write_off l2", "done 25+0"}}},
    {"revoking a device ends its leases and nobody else's",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=5 ttl=60", "ok 25+5"},
      {'A', "lease_credits lease_id=l2 user_id=u2 amount=5 ttl=60", "ok 25+5", "", 2},
      {'B', "lease_credits lease_id=l3 user_id=u1 amount=7 ttl=60", "ok 18+12"},
      {operator_, "revoke A", "done 23+7"},
      {'A', "", "unauthorized 23+7"},
      {'B', "reserve_credits user_id=u1 job_id=j1 amount=7", "ok 23+0", "l3"}}},
    {"an overdue lease goes back when another's operation concerns its user",
     {{'R', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {operator_, "after 120", "done 10+20"},
      {'B', "update_profile user_id=u1 display_name=N", "ok 10+20"},
      {operator_, "after 1", "done 10+20"},
      {'B', "update_profile user_id=u2 display_name=N", "ok 10+20", "", 2},
      {'B', "", "10+20"},
      {'B', "update_profile user_id=u1 display_name=M", "ok 30+0"},
      {'R', "reserve_credits user_id=u1 job_id=j1 amount=31", "lease_reclaimed 30+0", "l1"}}},
    {"only a device that may be reclaimed from loses its lease",
     {{'A', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {operator_, "after 100000", "done 10+20"},
      {'B', "update_profile user_id=u1 display_name=N", "ok 10+20"},
      {'A', "", "10+20"}}},
    {"a line straight on canonical takes back what is overdue",
     {{'R', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {operator_, "after 121", "done 10+20"},
      {straight, "reserve_credits user_id=u1 job_id=j1 amount=30", "ok 0+0"}}},
    {"a job names whose overdue lease goes back, and so does returning one",
     {{'R', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {operator_, "after 121", "done 10+20"},
      {'B', "return_lease lease_id=l2", "lease_not_found 10+20", "", 2},
      {'B', "fail_job job_id=j4 error_code=E", "ok 10+20", "", 2},
      {'B', "return_lease lease_id=l2", "lease_not_found 30+0"},
      {'R', "lease_credits lease_id=l2 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {operator_, "after 121", "done 10+20"},
      {'B', "fail_job job_id=j1 error_code=E", "ok 30+0"}}},
    {"an overdue lease covers what its own device pushes, and goes back then",
     {{'R', "lease_credits lease_id=l1 user_id=u1 amount=30 ttl=60", "ok 0+30"},
      {operator_, "after 121", "done 0+30"},
      {'R', "reserve_credits user_id=u1 job_id=j1 amount=10", "ok 0+20", "l1"},
      {'R', "release_job_credits job_id=j1", "ok 0+30"},
      {'R', "", "30+0"}}},
    {"an overdue lease stays while what its device pushes is not judged, the device being behind",
     {{'P', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'P', "", "10+20"},
      {straight, twelve_credits, "ok 22+20"},
      {operator_, "after 121", "done 22+20"},
      {'P', "reserve_credits user_id=u1 job_id=j1 amount=15", "22+20", "l1"},
      {'P', "", "22+20"},
      {'P', "", "22+20"},
      {'P', "", "22+20"},
      {'P', "", "ok 22+5"},
      {'P', "", "27+0"}}},
    {"an overdue lease goes back when its device calls",
     {{'R', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'R', "lease_credits lease_id=l2 user_id=u2 amount=5 ttl=61", "ok 10+20", "", 2},
      {operator_, "after 120", "done 10+20"},
      {'R', "", "10+20"},
      {operator_, "after 1", "done 10+20"},
      {'R', "", "30+0"}}},
    {"a claim takes back what is overdue of its job's owner",
     {{'R', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'A', "reserve_credits user_id=u1 job_id=j1 amount=5", "ok 5+20"},
      {'A', "advance_job job_id=j1 to=QUEUED", "ok 5+20"},
      {operator_, "after 121", "done 5+20"},
      {'W', "claim_next", "claimed 25+0"},
      {'W', "claim_next", "25+0"}}},
    {"a lease that is spent and overdue is over without an entry",
     {{'R', "lease_credits lease_id=l1 user_id=u1 amount=20 ttl=60", "ok 10+20"},
      {'R', "reserve_credits user_id=u1 job_id=j1 amount=20", "ok 10+0", "l1"},
      {operator_, "after 121", "done 10+0"},
      {'B', "update_profile user_id=u1 display_name=N", "ok 10+0"},
      {'R', "release_job_credits job_id=j1", "ok 30+0"}}},
};

// ---- whose an operation is ----------------------------------------------------------------------

const std::vector<Rule> of_envelopes{
    {"under another's envelope a batch is not known either",
     {{'A', "batch op_id=o1 ops=(update_profile op_id=o2 user_id=u2 display_name=N)", "ok 30+0", "",
       2},
      {'A', "batch op_id=o1 ops=(update_profile op_id=o2 user_id=u2 display_name=N)",
       "user_not_found 30+0"},
      {'A', "batch op_id=o1 ops=(update_profile op_id=o2 user_id=u2 display_name=N)", "ok 30+0", "",
       2}}},
    {"under another's envelope a job does not exist, nor what was applied on it",
     {{'A', "reserve_credits op_id=o1 user_id=u2 job_id=j4 amount=5", "ok 30+0", "", 2},
      {'A', "advance_job op_id=o2 job_id=j4 to=QUEUED", "ok 30+0", "", 2},
      {'A', "advance_job op_id=o2 job_id=j4 to=QUEUED", "job_not_found 30+0", "", 1},
      {'A', "update_profile user_id=u2 display_name=N", "", "", 2},
      {'A', "advance_job op_id=o2 job_id=j4 to=QUEUED", "", "", 1},
      {'A', "advance_job op_id=o2 job_id=j4 to=FAILED", "", "", 1},
      {'A', "reserve_credits op_id=o1 user_id=u2 job_id=j4 amount=5", "", "", 1},
      {'A', "advance_job op_id=o2 job_id=j4 to=QUEUED",
       "ok job_not_found job_not_found "
       "job_not_found ok 30+0",
       "", 2}}},
};

TEST_CASE("what canonical does with leases, PostgreSQL and the model alike") {
  Canonicals canonicals;
  for (const auto* rules :
       {&of_opening, &of_drawing, &of_settling, &of_batches, &of_ending, &of_envelopes}) {
    for (const Rule& rule : *rules) {
      CAPTURE(rule.name);
      Stage(canonicals).play(rule.script);
      canonicals.check_audit();
    }
  }
}

}  // namespace
}  // namespace tally::test
