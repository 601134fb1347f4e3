// Everything that can happen, in small bounds. Two devices, a copy of one's mirror, one user and a
// lease: what they do, what the network does to their calls and what others do on canonical are
// interleaved in every order, up to a number of actions, on the real engine and the real rules.
// Where equal states meet they are explored once. From every state that is met everything is then
// driven to rest, and what the contract promises is looked at there.
//
// Each mirror step is a process of its own: it opens the file, does one thing and goes, so that a
// restart comes between any two. A request that is late for ever is one that was lost. An answer
// that comes late is not taken, as a Syncer closes the connection that it would come on.
//
// Scene::actions says how far each scene goes; TALLY_TEST_LONG=1 goes to Scene::actions_long, with
// two late requests at a time.

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

#include "sync/machines.hpp"

namespace tally::test {
namespace {

/// An operation of a device's or of the web's: each is done at most once.
struct Act {
  std::string name;  ///< As in `A reserves j1`.
  std::string text;  ///< The line; the web's: SQL.
};

/// What there is to interleave.
struct Scene {
  std::string name;
  std::vector<std::string> a{};    ///< A's operations, in the short form; A spends from leases.
  std::vector<std::string> b{};    ///< B's, who spends what its mirror shows.
  std::vector<std::string> c{};    ///< Those of a copy of A's mirror; none: it is not copied.
  std::vector<std::string> web{};  ///< Straight on canonical: operations, or SQL after a `!`.
  /// What is done first: `a0` is A's first operation, `w1` the web's second, `A` a whole call of
  /// A's, or in parts: `A>` it is sent, `A=` it arrives, `A<` the answer is taken.
  std::string prelude{};
  std::size_t actions = 6;
  std::size_t actions_long = 8;
  std::optional<std::string> reclaim_after{};
  std::size_t operations_max = 100;  ///< A call's.
};

/// So many requests of calls that were given up, or repeated ones, are on their way at a time.
constexpr std::size_t late_max = 1;
constexpr std::size_t late_max_long = 2;

constexpr std::size_t device_count = 3;
constexpr std::size_t copy = 2;
constexpr std::array<const char*, device_count> device_names{"A", "B", "the copy"};
/// A copy has A's identity.
constexpr std::array<std::size_t, device_count> own_identity{0, 1, 0};
constexpr std::size_t spare_identities = 2;

/// A device: its mirror, which of its operations it did, and its latest call.
struct DeviceState {
  int mirror = -1;  ///< -1: there is none.
  unsigned done = 0;
  int push = -1;    ///< Of the call that is under way.
  int answer = -1;  ///< To it, on its way back.
  std::size_t identity = 0;
  auto operator<=>(const DeviceState&) const = default;
};

/// A request of a call that was given up, or a repeated one.
struct LateRequest {
  std::size_t device = 0;
  std::size_t identity = 0;
  int push = -1;
  auto operator<=>(const LateRequest&) const = default;
};

struct WorldState {
  int canonical = 0;
  std::array<DeviceState, device_count> devices{};
  std::vector<LateRequest> late{};
  unsigned web_done = 0;
  bool copied = false;
  bool copy_used = false;  ///< It has called; then either of the two may be told so.
  auto operator<=>(const WorldState&) const = default;

  std::string key() const {
    std::string key;
    const auto put = [&](std::int64_t number) { key += std::to_string(number) + ' '; };
    put(canonical);
    for (const DeviceState& device : devices) {
      for (const int number : {device.mirror, static_cast<int>(device.done), device.push,
                               device.answer, static_cast<int>(device.identity)})
        put(number);
    }
    put(web_done);
    put(static_cast<int>(copied) + 2 * static_cast<int>(copy_used));
    for (const LateRequest& request : late) {
      put(static_cast<std::int64_t>(request.device));
      put(static_cast<std::int64_t>(request.identity));
      put(request.push);
    }
    return key;
  }
};

class Exploration {
 public:
  explicit Exploration(const Scene& scene)
      : scene_(scene),
        canonical_(messages_, user_id(1), setup()),
        mirrors_(messages_, user_id(1), scene.operations_max) {
    for (std::size_t i = 0; i < 2 + spare_identities; ++i)
      canonical_.add_identity(scene.reclaim_after);
    canonical_.begin();
    acts_ = {acts_of(scene.a, 'a', "A: "), acts_of(scene.b, 'b', "B: "),
             acts_of(scene.c, 'c', "the copy: ")};
    for (std::size_t i = 0; i < scene.web.size(); ++i) {
      const std::string& text = scene.web[i];
      const bool is_sql = text.front() == '!';
      web_.push_back({"the web: " + text.substr(is_sql ? 1 : 0), is_sql ? text.substr(1) : ""});
      if (is_sql) continue;
      const std::string line = lines_.line(text + " op_id=w" + std::to_string(i + 1));
      web_.back().text =
          "select string_agg(result, ' ') from tally.apply_operations(array['" + line + "'])";
    }
  }

  void run() {
    WorldState start;
    for (std::size_t d = 0; d < 2; ++d) {
      start.devices[d].identity = own_identity[d];
      start.devices[d].mirror =
          mirrors_.enrolled(canonical_.identities()[d].enrolment,
                            d == 0 ? SpendPolicy::leased : SpendPolicy::optimistic);
    }
    for (std::size_t d = 0; d < 2; ++d) start = whole_call(start, d);
    met_.push_back({prelude(std::move(start)), 0, "", {}});
    numbers_.emplace(met_.front().state.key(), 0);
    if (problems_ > 0) tell_path("and no more");
    const std::size_t actions = long_run() ? scene_.actions_long : scene_.actions;
    for (std::size_t n = 0, first = 0; n <= actions && problems_ == 0; ++n) {
      const std::vector<std::size_t> layer = near_each_other(first);
      first = met_.size();
      for (const std::size_t at : layer) at_rest(at);
      if (n == actions) break;
      for (const std::size_t at : layer) go_on_from(at);
      actions_done_ = n + 1;
    }
    MESSAGE(scene_.name, ": ", met_.size(), " states, ", paths(), " paths of ", actions_done_,
            " actions; ", rests_.size(), " states of rest; canonical ", canonical_.states(),
            " states in ", canonical_.steps(), " steps (", canonical_.replayed(),
            " repeated), mirrors ", mirrors_.states(), " in ", mirrors_.steps(), "; ", rejected_,
            " rejections, ", forks_, " forks");
  }

 private:
  // ---- the scene ----

  /// User u1 with 20 credits, project p1 and jobs j1 and j2.
  static std::vector<std::string> setup() {
    LineMaker lines;
    std::string all = "'" + lines.line("create_user user_id=u1") + "'";
    const auto add = [&](const char* line) { all += ", '" + lines.line(line) + "'"; };
    add("add_credits user_id=u1 amount=10 type=grant");
    add("create_project project_id=p1 user_id=u1 title=T prompt_text=P niche_preset=facts "
        "target_minutes=1");
    add("create_job job_id=j1 project_id=p1 user_id=u1");
    add("create_job job_id=j2 project_id=p1 user_id=u1");
    return {"select * from tally.apply_operations(array[" + all + "])"};
  }

  std::vector<Act> acts_of(const std::vector<std::string>& texts, char letter,
                           const std::string& who) {
    std::vector<Act> acts;
    for (std::size_t i = 0; i < texts.size(); ++i)
      acts.push_back(
          {who + texts[i], lines_.line(texts[i] + " op_id=" + letter + std::to_string(i + 1))});
    return acts;
  }

  WorldState prelude(WorldState state) {
    std::istringstream words(scene_.prelude);
    for (std::string word; words >> word;) {
      const WorldState before = state;
      const std::size_t d = word[0] == 'A' || word[0] == 'a' ? 0 : 1;
      const auto n = static_cast<std::size_t>(word.back() - '0');
      if (word == "A" || word == "B") {
        state = whole_call(state, d);
      } else if (word[0] == 'A' || word[0] == 'B') {
        state = word[1] == '>'   ? sent(state, d)
                : word[1] == '=' ? arrived(state, d)
                                 : taken(state, d);
      } else {
        state = word[0] == 'w' ? with_web(state, n) : with_act(state, d, n);
      }
      REQUIRE_MESSAGE(state != before, scene_.name, ": ", word, " has no effect");
    }
    return state;
  }

  // ---- actions ----

  /// The state itself where the operation was refused.
  WorldState with_act(WorldState state, std::size_t d, std::size_t n) {
    DeviceState& device = state.devices[d];
    const Mirrors::Step& step = mirrors_.apply(device.mirror, acts_[d][n].text);
    if (step.code != Code::ok) return state;
    device.mirror = step.to;
    device.done |= 1U << n;
    return state;
  }

  WorldState with_web(WorldState state, std::size_t n) {
    const CanonicalStates::Step& step = canonical_.operate(state.canonical, web_[n].text);
    if (step.to == state.canonical) return state;
    move(state, step.to);
    state.web_done |= 1U << n;
    return state;
  }

  WorldState sent(WorldState state, std::size_t d) {
    DeviceState& device = state.devices[d];
    const Mirrors::Step& step = mirrors_.next_push(device.mirror);
    device.mirror = step.to;
    device.push = step.push;
    check_returned(messages_.pushes[step.push]);
    return state;
  }

  /// Canonical judges a request.
  int judge(WorldState& state, std::size_t d, std::size_t identity, int push) {
    if (d == copy && identity == own_identity[copy]) state.copy_used = true;
    const CanonicalStates::Step& step = canonical_.call(state.canonical, identity, push);
    const sync::Answer& answer = messages_.answers[step.answer];
    if (answer.trouble.error_class != sync::ErrorClass::none) {
      if (step.to != state.canonical) problem("a call that was refused changed something");
    } else {
      check_verdicts(state.canonical, identity, messages_.pushes[push], answer.reply);
    }
    move(state, step.to);
    return step.answer;
  }

  void move(WorldState& state, int canonical) {
    state.canonical = canonical;
    for (const std::string& wrong : canonical_.state(canonical).wrong) problem(wrong);
  }

  WorldState arrived(WorldState state, std::size_t d) {
    DeviceState& device = state.devices[d];
    device.answer = judge(state, d, device.identity, device.push);
    return state;
  }

  /// The device takes the answer. Where it is told that it is forked, it is enrolled anew.
  WorldState taken(WorldState state, std::size_t d) {
    DeviceState& device = state.devices[d];
    const sync::Answer& answer = messages_.answers[device.answer];
    const int number = device.answer;
    device.push = -1;
    device.answer = -1;
    Code code = answer.trouble.error.code;
    if (answer.trouble.error_class == sync::ErrorClass::none) {
      const Mirrors::Step& step = mirrors_.take(device.mirror, number);
      code = step.code;
      device.mirror = step.to;
      pending_ = step.pending;
      rejected_ += step.rejected.size();
      if (step.diverged) problem(who(d) + " found that its entries do not add up");
      if (code == Code::ok) return state;
    }
    if (code != Code::device_forked)
      problem(who(d) + " was answered " + std::string(name_of(code)) + ' ' +
              answer.trouble.error.detail);
    if (code == Code::device_forked) enrol_anew(state, d);
    return state;
  }

  void enrol_anew(WorldState& state, std::size_t d) {
    DeviceState& device = state.devices[d];
    const bool may_be = state.copy_used && d != 1 && device.identity == own_identity[d];
    if (!may_be) return problem("an honest device, " + who(d) + ", was called forked");
    ++forks_;
    device.identity = d == copy ? 3 : 2;
    device.mirror =
        mirrors_.enrol_anew(device.mirror, canonical_.identities()[device.identity].enrolment).to;
    const Mirrors::Step& retried = mirrors_.retry_forked(device.mirror);
    device.mirror = retried.to;
    pending_ = std::max<std::int64_t>(retried.pending, 1);  // There is to be a call in any case.
  }

  WorldState given_up(WorldState state, std::size_t d) {
    DeviceState& device = state.devices[d];
    if (device.answer < 0) add_late(state, {d, device.identity, device.push});
    device.push = -1;
    device.answer = -1;
    return state;
  }

  static void add_late(WorldState& state, LateRequest request) {
    state.late.push_back(request);
    std::sort(state.late.begin(), state.late.end());
  }

  WorldState late_arrived(WorldState state, std::size_t n) {
    const LateRequest request = state.late[n];
    state.late.erase(state.late.begin() + static_cast<std::ptrdiff_t>(n));
    judge(state, request.device, request.identity,
          request.push);  // Nobody waits for the answer any more.
    return state;
  }

  WorldState whole_call(WorldState state, std::size_t d) {
    return taken(arrived(sent(std::move(state), d), d), d);
  }

  void for_each_successor(const WorldState& state) {
    for (std::size_t d = 0; d < device_count; ++d) {
      const DeviceState& device = state.devices[d];
      // One that does nothing of its own calls at rest alone.
      if (device.mirror < 0 || acts_[d].empty()) continue;
      for (std::size_t n = 0; n < acts_[d].size(); ++n) {
        if ((device.done >> n & 1U) == 0) go(with_act(state, d, n), acts_[d][n].name);
      }
      for_each_part_of_a_call(state, d);
    }
    for (std::size_t n = 0; n < state.late.size(); ++n) {
      go(late_arrived(state, n), "a late request of " + who(state.late[n].device) + " arrives");
    }
    for (std::size_t n = 0; n < web_.size(); ++n) {
      if ((state.web_done >> n & 1U) == 0) go(with_web(state, n), web_[n].name);
    }
    if (!scene_.c.empty() && !state.copied) {
      WorldState next = state;
      next.copied = true;
      next.devices[copy] = {state.devices[0].mirror, 0, -1, -1, own_identity[copy]};
      go(next, "A's mirror is copied");
    }
  }

  void for_each_part_of_a_call(const WorldState& state, std::size_t d) {
    const DeviceState& device = state.devices[d];
    const bool room = state.late.size() < (long_run() ? late_max_long : late_max);
    if (device.push < 0) {
      go(sent(state, d), who(d) + " sends");
      go(whole_call(state, d), who(d) + " makes a whole call");
    } else if (device.answer < 0) {
      go(arrived(state, d), who(d) + "'s request arrives");
      // One that never arrives is one that is late for ever.
      if (room) go(given_up(state, d), who(d) + "'s request is late; it gives up, or is restarted");
      if (room) {
        WorldState next = arrived(state, d);
        add_late(next, {d, device.identity, device.push});
        go(next, who(d) + "'s request arrives, and is on its way once more");
      }
    } else {
      go(taken(state, d), who(d) + " takes the answer");
      go(given_up(state, d), who(d) + "'s answer is lost, or it is restarted");
    }
  }

  // ---- states ----

  /// The states from there on, so that canonical need not go far from one to the next.
  std::vector<std::size_t> near_each_other(std::size_t first) const {
    std::vector<std::size_t> layer;
    for (std::size_t at = first; at < met_.size(); ++at) layer.push_back(at);
    std::map<int, std::vector<int>> ways;
    for (const std::size_t at : layer) {
      const int canonical = met_[at].state.canonical;
      if (!ways.contains(canonical)) ways[canonical] = canonical_.way_to(canonical);
    }
    std::stable_sort(layer.begin(), layer.end(), [&](std::size_t a, std::size_t b) {
      return ways.at(met_[a].state.canonical) < ways.at(met_[b].state.canonical);
    });
    return layer;
  }

  void at_rest(std::size_t at) {
    if (problems_ > 0) return;
    at_ = at;
    check_rest(met_[at].state);
    if (problems_ > 0) tell_path("and then to rest");
  }

  void go_on_from(std::size_t at) {
    if (problems_ > 0) return;
    at_ = at;
    for_each_successor(met_[at].state);
  }

  struct Met {
    WorldState state;
    std::size_t from;
    std::string action;
    std::vector<std::size_t> next;
  };

  void go(WorldState next, const std::string& action) {
    if (problems_ > 0) return tell_path(action);
    if (next == met_[at_].state) return;
    const auto [found, is_new] = numbers_.emplace(next.key(), met_.size());
    if (is_new) met_.push_back({std::move(next), at_, action, {}});
    met_[at_].next.push_back(found->second);
  }

  std::string who(std::size_t d) const { return device_names[d]; }

  // ---- what is promised ----

  void problem(const std::string& text) {
    ++problems_;
    problem_ += (problem_.empty() ? "" : "; ") + text;
  }

  void tell_path(const std::string& last) {
    if (told_) return;
    told_ = true;
    std::vector<std::string> path{last};
    for (std::size_t n = at_; n > 0; n = met_[n].from) path.push_back(met_[n].action);
    std::string text = scene_.name + ": " + problem_ + "\n  after: " + scene_.prelude;
    for (auto action = path.rbegin(); action != path.rend(); ++action) text += "\n  " + *action;
    FAIL_CHECK(text);
  }

  /// Of the operations that were judged in this call and not before.
  void check_verdicts(int before, std::size_t identity, const Push& push, const Reply& reply) {
    const CanonicalStates::State& state = canonical_.state(before);
    const std::string device = canonical_.identities()[identity].enrolment.device_id.text();
    std::map<std::string, std::string> reservations = state.reservations;
    for (const PulledVerdict& verdict : reply.verdicts) {
      const auto sent = std::find_if(
          push.operations.begin(), push.operations.end(),
          [&](const PushedOperation& operation) { return operation.number == verdict.number; });
      if (verdict.number <= state.watermarks.at(device) || sent == push.operations.end()) continue;
      check_bounce(state, device, *sent, verdict.code);
      const auto line = nlohmann::json::parse(sent->line);
      // One that was applied before is ok, whatever became of its job since.
      const bool is_new = !state.applied.contains(line.at("op_id").get<std::string>());
      if (verdict.code == Code::ok && is_new && line.contains("job_id"))
        check_reservation(line, reservations);
    }
  }

  /// From return_lease on nothing is drawn on that lease.
  void check_returned(const Push& push) {
    std::set<std::string> returned;
    for (const PushedOperation& operation : push.operations) {
      if (returned.contains(operation.leases)) problem("drawn after its return: " + operation.line);
      const auto line = nlohmann::json::parse(operation.line);
      if (line.at("op") == "return_lease") returned.insert(line.at("lease_id").get<std::string>());
    }
  }

  /// I11: what was drawn on a lease that is open on canonical and this device's does not bounce.
  void check_bounce(const CanonicalStates::State& state, const std::string& device,
                    const PushedOperation& sent, Code code) {
    if (code != Code::insufficient_credits && code != Code::lease_reclaimed) return;
    if (state.leases.contains({sent.leases, device})) problem("I11: bounced: " + sent.line);
  }

  /// I5: it meant the reservation that the job had. What it opens is the job's from then on.
  void check_reservation(const nlohmann::json& line,
                         std::map<std::string, std::string>& reservations) {
    std::string& latest = reservations[line.at("job_id").get<std::string>()];
    if (line.contains("reservation") && line["reservation"].get<std::string>() != latest)
      problem("I5: it meant another reservation: " + line.dump());
    const std::string op = line.at("op").get<std::string>();
    if (op == "reserve_credits" || op == "retry_job") latest = line.at("op_id").get<std::string>();
  }

  /// Everything is pushed and pulled from here, with what is on its way lost, and then with what is
  /// late arriving after all of that; first without the copy, where it has not called, then with
  /// it.
  void check_rest(WorldState state) {
    for (std::size_t d = 0; d < device_count; ++d) {
      DeviceState& device = state.devices[d];
      if (device.push >= 0 && device.answer < 0) add_late(state, {d, device.identity, device.push});
      device.push = -1;
      device.answer = -1;
    }
    if (!rests_.insert(state.key()).second) return;
    std::vector<LateRequest> late;
    std::swap(late, state.late);
    for (const bool with_copy : {false, true}) {
      if (with_copy ? !state.copied : state.copy_used) continue;
      settle(state, with_copy);
      check(state, with_copy);
      for (const LateRequest& request : late)
        judge(state, request.device, request.identity, request.push);
      settle(state, with_copy);
      check(state, with_copy);
    }
  }

  /// Calls, until another round of them changes nothing.
  void settle(WorldState& state, bool with_copy) {
    constexpr int rounds_max = 8;
    for (int round = 0; problems_ == 0; ++round) {
      const WorldState before = state;
      for (std::size_t d = 0; d < device_count; ++d) {
        if (state.devices[d].mirror >= 0 && (d != copy || with_copy)) run_until_synced(state, d);
      }
      if (state == before) return;
      if (round == rounds_max) return problem("it does not come to rest");
    }
  }

  void run_until_synced(WorldState& state, std::size_t d) {
    constexpr int calls_max = 8;
    pending_ = 1;
    for (int n = 0; pending_ > 0 && problems_ == 0; ++n) {
      if (n == calls_max) return problem(who(d) + " does not get rid of what it has pending");
      state = whole_call(std::move(state), d);
    }
  }

  void check(const WorldState& state, bool with_copy) {
    if (problems_ > 0) return;
    for (std::size_t d = 0; d < device_count; ++d) {
      if (state.devices[d].mirror >= 0 && (d != copy || with_copy)) check_device(state, d);
    }
    // Two files under one name that nobody found: what they had judged is the same.
    const DeviceState& a = state.devices[0];
    const DeviceState& other = state.devices[copy];
    if (!with_copy || a.identity != own_identity[0] || other.identity != own_identity[copy]) return;
    const Mirrors::Facts& one = mirrors_.facts(a.mirror);
    const Mirrors::Facts& two = mirrors_.facts(other.mirror);
    if (one.acked != two.acked || one.chain != two.chain) problem("a copy was used and not found");
  }

  void check_device(const WorldState& state, std::size_t d) {
    const DeviceState& device = state.devices[d];
    const Mirrors::Facts& facts = mirrors_.facts(device.mirror);
    if (facts.pending != 0) problem(who(d) + " has something pending");
    for (const std::string& finding : facts.findings) problem(who(d) + ": " + finding);
    const RowTexts& there = canonical_.rows(state.canonical);
    if (facts.rows != there)
      problem("I8: " + who(d) + difference({{"", there}}, {{"", facts.rows}}));
    if (facts.digest != canonical_.digest(state.canonical))
      problem("I8: the digests of " + who(d) + " and canonical differ");
    check_leases(state, d);
    const std::set<std::string>& applied = canonical_.state(state.canonical).applied;
    for (std::size_t n = 0; n < acts_[d].size(); ++n) {
      if ((device.done >> n & 1U) == 0) continue;
      const std::string op_id = id("abc"[d], n + 1).text();
      const bool is_applied = applied.contains(op_id);
      const bool is_rejected = facts.rejected.contains(op_id);
      if (!is_applied && !is_rejected) problem("lost without a word: " + acts_[d][n].name);
      // A copy may have pushed what was pending when it was made.
      if (is_applied && is_rejected && device.identity == own_identity[d])
        problem("applied, and called rejected: " + acts_[d][n].name);
    }
  }

  /// It shows in its leases what canonical has in them.
  void check_leases(const WorldState& state, std::size_t d) {
    const DeviceState& device = state.devices[d];
    const std::string name = canonical_.identities()[device.identity].enrolment.device_id.text();
    std::map<std::string, std::int64_t> there;
    for (const auto& [lease, unspent] : canonical_.state(state.canonical).leases) {
      if (lease.second == name) there[lease.first] = unspent;
    }
    if (mirrors_.facts(device.mirror).leases != there)
      problem(who(d) + " shows other leases than canonical has");
  }

  /// How many ways there are to take so many actions, each with an effect.
  double paths() const {
    std::map<std::size_t, double> ways{{0, 1.0}};
    double all = 1;
    for (std::size_t n = 0; n < actions_done_; ++n) {
      std::map<std::size_t, double> longer;
      all = 0;
      for (const auto& [from, count] : ways) {
        for (const std::size_t to : met_[from].next) {
          longer[to] += count;
          all += count;
        }
      }
      ways = std::move(longer);
    }
    return all;
  }

  Scene scene_;
  LineMaker lines_{};
  std::array<std::vector<Act>, device_count> acts_{};
  std::vector<Act> web_{};
  Messages messages_{};
  CanonicalStates canonical_;
  Mirrors mirrors_;
  std::deque<Met> met_{};  ///< In the order of their distance from the start.
  std::unordered_map<std::string, std::size_t> numbers_{};
  std::unordered_set<std::string> rests_{};  ///< From where all was driven to rest.
  std::size_t at_ = 0;                       ///< Where it is being gone on from.
  std::int64_t pending_ = 0;                 ///< What the device of the latest step has.
  std::size_t actions_done_ = 0;
  std::size_t rejected_ = 0;
  std::size_t forks_ = 0;
  std::size_t problems_ = 0;
  std::string problem_{};
  bool told_ = false;
};

std::string write_off() { return "!select tally_sync.write_off('" + id('l', 1).text() + "')"; }
constexpr const char* leases_8 = "lease_credits lease_id=l1 user_id=u1 amount=8 ttl=1000000";

TEST_CASE("a lease that is drawn on, settled below and returned, while all else is spent") {
  Exploration({.name = "lease",
               .a = {leases_8, "reserve_credits user_id=u1 job_id=j1 amount=5",
                     "finalize_job_credits job_id=j1 final_cost=3",
                     "reserve_credits user_id=u1 job_id=j2 amount=4", "return_lease lease_id=l1"},
               .web = {"expire_credits user_id=u1 amount=12"},
               .prelude = "a0 A",
               .actions_long = 10})
      .run();
}

TEST_CASE("a lease that is written off while it is drawn on") {
  Exploration(
      {.name = "write-off",
       .a = {leases_8, "reserve_credits user_id=u1 job_id=j1 amount=5",
             "release_job_credits job_id=j1", "reserve_credits user_id=u1 job_id=j2 amount=3",
             "lease_credits lease_id=l2 user_id=u1 amount=6 ttl=1000000"},
       .web = {write_off(), "expire_credits user_id=u1 amount=12"},
       .prelude = "a0 A",
       .actions = 5})
      .run();
}

TEST_CASE("a lease that canonical takes back by itself") {
  Exploration({.name = "reclaim",
               .a = {leases_8, "reserve_credits user_id=u1 job_id=j1 amount=5",
                     "finalize_job_credits job_id=j1 final_cost=3",
                     "lease_credits lease_id=l1 user_id=u1 amount=2 ttl=1000000"},
               .b = {"reserve_credits user_id=u1 job_id=j2 amount=9"},
               .web = {"!update still.world set at = at + interval '30 days'"},
               .prelude = "a0 A B",
               .actions = 5,
               .reclaim_after = "1 day"})
      .run();
}

TEST_CASE("a hold that canonical refuses for a while, and what is drawn on the lease behind it") {
  Exploration({.name = "blocked",
               .a = {leases_8, "reserve_credits user_id=u1 job_id=j1 amount=5",
                     "reserve_credits user_id=u1 job_id=j2 amount=6"},
               .web = {"reserve_credits user_id=u1 job_id=j1 amount=12",
                       "release_job_credits job_id=j1", "expire_credits user_id=u1 amount=12"},
               .prelude = "a0 A A> a1 w0 A= A<",
               .actions = 8,
               .actions_long = 10})
      .run();
}

TEST_CASE("one job of two devices that fail, settle and retry it") {
  Exploration({.name = "one job",
               .a = {leases_8, "reserve_credits user_id=u1 job_id=j1 amount=5",
                     "advance_job job_id=j1 to=QUEUED", "fail_job job_id=j1 error_code=E",
                     "retry_job job_id=j1 amount=4"},
               .b = {"finalize_job_credits job_id=j1 final_cost=2",
                     "fail_job job_id=j1 error_code=F", "retry_job job_id=j1 amount=6"},
               .prelude = "a0 A a1 a2 A B",
               .actions_long = 10})
      .run();
}

TEST_CASE("a queue that is pushed one operation a call, while canonical changes beneath it") {
  Exploration({.name = "one a call",
               .a = {leases_8, "reserve_credits user_id=u1 job_id=j1 amount=5",
                     "reserve_credits user_id=u1 job_id=j2 amount=3",
                     "finalize_job_credits job_id=j1 final_cost=6", "return_lease lease_id=l1"},
               .web = {"reserve_credits user_id=u1 job_id=j1 amount=2",
                       "release_job_credits job_id=j1", "expire_credits user_id=u1 amount=12"},
               .prelude = "a0 A",
               .actions = 5,
               .operations_max = 1})
      .run();
}

TEST_CASE("a sweep and a retry by the author, while the worker goes on") {
  Exploration({.name = "sweep",
               .a = {leases_8, "reserve_credits user_id=u1 job_id=j1 amount=5",
                     "advance_job job_id=j1 to=QUEUED", "advance_job job_id=j1 to=SCRIPTING",
                     "finalize_job_credits job_id=j1 final_cost=3",
                     "fail_job job_id=j1 error_code=E", "retry_job job_id=j1 amount=4"},
               .b = {"retry_job job_id=j1 amount=6"},
               .web = {"sweep grace=1", "retry_job job_id=j1 amount=7"},
               .prelude = "a0 A a1 a2 a3 A B",
               .actions = 5,
               .actions_long = 10})
      .run();
}

TEST_CASE("a copy of a mirror that is used") {
  Exploration({.name = "copy",
               .a = {leases_8, "reserve_credits user_id=u1 job_id=j1 amount=5",
                     "release_job_credits job_id=j1"},
               .c = {"reserve_credits user_id=u1 job_id=j2 amount=6",
                     "lease_credits lease_id=l2 user_id=u1 amount=6 ttl=1000000"},
               .prelude = "a0 A",
               .actions = 8,
               .actions_long = 10})
      .run();
}

}  // namespace
}  // namespace tally::test
