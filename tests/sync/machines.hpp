#pragma once
// Sync as machines that do a thing once and remember: mirrors on the real engine, and canonical on
// a real PostgreSQL. Their states are numbered and equal ones have one number, so that whoever
// explores what they do together pays for each step of each of them once.

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "answer.hpp"
#include "support/database.hpp"
#include "support/fixture.hpp"

namespace tally::test {

/// Values by number: equal ones have one.
template <class Value>
class Numbered {
 public:
  int number_of(const std::string& key, Value value) {
    const auto [found, is_new] = numbers_.emplace(key, static_cast<int>(values_.size()));
    if (is_new) values_.push_back(std::move(value));
    return found->second;
  }
  std::optional<int> find(const std::string& key) const {
    const auto found = numbers_.find(key);
    return found == numbers_.end() ? std::nullopt : std::optional(found->second);
  }
  const Value& operator[](int number) const { return values_[static_cast<std::size_t>(number)]; }
  std::size_t size() const { return values_.size(); }

 private:
  std::map<std::string, int> numbers_;
  std::deque<Value> values_;  ///< What was given out stays where it is.
};

/// What is sent, and what is answered.
struct Messages {
  Numbered<Push> pushes{};
  Numbered<sync::Answer> answers{};
};

/// The rows of the one user, a text each, table by table.
using RowTexts = std::vector<std::string>;

// ---- mirrors ------------------------------------------------------------------------------------

class Mirrors {
 public:
  struct Step {
    int to = -1;
    Code code = Code::ok;
    int push = -1;
    std::vector<RejectedOperation> rejected{};
    bool diverged = false;
    std::int64_t pending = 0;  ///< Operations to be pushed, then.
  };
  /// What one state shows.
  struct Facts {
    std::int64_t pending = 0;
    std::int64_t acked = 0;
    std::string chain;
    std::set<std::string> rejected{};              ///< By op_id.
    std::map<std::string, std::int64_t> leases{};  ///< What is unspent, by lease_id.
    RowTexts rows{};
    std::vector<std::string> digest{};
    std::vector<std::string> findings{};
  };

  Mirrors(Messages& messages, const Uuid& user_id, std::size_t operations_max)
      : messages_(messages), user_id_(user_id), operations_max_(operations_max) {}

  /// An empty mirror that is enrolled as that device.
  int enrolled(const Enrolment& enrolment, SpendPolicy policy);
  const Step& apply(int mirror, const std::string& line);
  const Step& next_push(int mirror);
  const Step& take(int mirror, int answer);
  const Step& enrol_anew(int mirror, const Enrolment& enrolment);
  /// The host retries what was rejected because the device was forked.
  const Step& retry_forked(int mirror);
  const Facts& facts(int mirror);
  std::size_t states() const { return states_.size(); }
  std::size_t steps() const { return steps_.size(); }

 private:
  using Page = std::shared_ptr<const std::string>;
  /// A file, whose pages are shared with the states that it came from.
  struct State {
    SpendPolicy policy = SpendPolicy::optimistic;
    std::vector<Page> pages{};
  };

  template <class Work>
  const Step& step(int mirror, const std::string& name, Work&& work);
  template <class Work>
  void with_engine(const State& state, Work&& work);
  std::vector<Page> read_pages(const std::vector<Page>& before) const;
  /// The state that the file is in; none where it is as it was.
  std::optional<int> keep(SpendPolicy policy, const std::vector<Page>& before);
  std::filesystem::path file() const { return folder_.path() / "mirror.db"; }

  Messages& messages_;
  Uuid user_id_;
  std::size_t operations_max_;  ///< Of a push.
  TemporaryFolder folder_{memory_folder()};
  Numbered<State> states_;
  std::map<std::pair<int, std::string>, Step> steps_;
  std::map<int, Facts> facts_;
};

// ---- canonical ----------------------------------------------------------------------------------

/// One call of the sync function on that session. `told`: what came back, as text; an error's
/// message, where the answer's trouble is `unreachable`.
sync::Answer call_canonical(Session& session, const sync::Call& call, std::string& told);

class CanonicalStates {
 public:
  struct Step {
    int to = -1;
    int answer = -1;   ///< Of a call.
    std::string text;  ///< Of an operator's statement; an error's, which changes nothing.
  };
  struct State {
    std::vector<std::string> wrong{};
    std::map<std::string, std::int64_t> watermarks{};  ///< By device_id.
    /// Open ones: lease_id, device_id, and what is unspent.
    std::map<std::pair<std::string, std::string>, std::int64_t> leases{};
    std::map<std::string, std::string> reservations{};  ///< By job_id: the latest.
    std::set<std::string> applied{};                    ///< By op_id.
  };

  /// `setup` is run once, and committed: state 0 is what it leaves.
  CanonicalStates(Messages& messages, const Uuid& user_id, const std::vector<std::string>& setup);

  struct Identity {
    Enrolment enrolment;
    std::string token;
  };
  const std::vector<Identity>& identities() const { return identities_; }
  /// Two devices and spare ones, in the setup.
  void add_identity(const std::optional<std::string>& reclaim_after);
  /// The setup is over.
  void begin();

  const Step& call(int state, std::size_t identity, int push);
  const Step& operate(int state, const std::string& sql);
  /// The states from 0 to it, each a step from the one before.
  std::vector<int> way_to(int state) const;
  const State& state(int number) const { return states_[number]; }
  const RowTexts& rows(int state);
  const std::vector<std::string>& digest(int state);
  std::size_t states() const { return states_.size(); }
  std::size_t steps() const { return steps_.size(); }
  std::size_t replayed() const { return replayed_; }

 private:
  /// An identity's push; an operator's statement where there is none.
  struct Input {
    std::size_t identity = 0;
    int push = -1;
    std::string sql{};
    auto operator<=>(const Input&) const = default;
  };

  const Step& step(int state, const Input& input);
  /// Does it, in the state that the session is in.
  Step perform(const Input& input);
  Step perform_alone(const Input& input);
  sync::Answer send(std::size_t identity, const Push& push, std::string& key);
  int observe();
  /// Brings the session into that state: back to the savepoint of the last one on the way there
  /// that it passed, and on.
  void go_to(int state);
  void start_anew();
  void save(int state);

  Messages& messages_;
  Uuid user_id_;
  Database database_;
  Session session_;
  std::vector<Identity> identities_;
  Numbered<State> states_;
  std::map<int, std::pair<int, Input>> first_step_to_;
  std::map<std::pair<int, Input>, Step> steps_;
  std::map<int, RowTexts> rows_;
  std::map<int, std::vector<std::string>> digests_;
  std::vector<int> way_;  ///< The states that the session has passed, with a savepoint each.
  std::size_t performed_ = 0;
  std::size_t replayed_ = 0;
};

}  // namespace tally::test
