#include <algorithm>
#include <optional>
#include <set>

#include "fuzz/scratch.hpp"
#include "fuzz/setups.hpp"
#include "fuzz/target.hpp"

namespace tally::fuzz {
namespace {

/// Replies are apart by a line of two hyphens; more of them than this say nothing new.
constexpr std::size_t replies_max = 4;

std::vector<std::vector<std::string>> replies_of(std::string_view bytes) {
  std::vector<std::vector<std::string>> replies(1);
  while (!bytes.empty()) {
    const std::size_t end = std::min(bytes.find('\n'), bytes.size());
    const std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    if (line != "--") {
      replies.back().emplace_back(line);
    } else if (replies.size() < replies_max) {
      replies.emplace_back();
    }
  }
  return replies;
}

class ServerReply : public Target {
 public:
  ServerReply() { open(); }

  Outcome run(std::string_view bytes) override {
    Outcome outcome = Outcome::refused;
    fed_.clear();
    diverged_.clear();
    for (const auto& lines : replies_of(bytes)) {
      const Push push = push_of(*replica_);
      rewinder_->was_written();
      const sync::Answer answer = read_answer(rows_of(lines), push);
      if (answer.trouble.error_class != sync::ErrorClass::none) continue;
      const auto taken = replica_->take(answer.reply);
      if (taken) {
        outcome = Outcome::taken;
        check_pending(push, answer.reply, bytes);
        fed_.insert(taken->changed.begin(), taken->changed.end());
        diverged_.insert(taken->diverged.begin(), taken->diverged.end());
        check_audit(bytes);
      } else {
        check_refusal(taken.error(), push, bytes);
      }
    }
    if (outcome == Outcome::taken) start_anew();
    return outcome;
  }

 private:
  void open() {
    replica_.reset();
    rewinder_.reset();
    engine_.reset();
    folder_ = std::make_unique<test::TemporaryFolder>(test::memory_folder());
    engine_.emplace(Engine::open(folder_->path() / "mirror.db", fixed_options()).value());
    replica_.emplace(*engine_);
    make_device(*engine_, *replica_);
    rewinder_.emplace(folder_->path() / "mirror.db");
    taken_ = 0;
  }

  void start_anew() {
    constexpr int taken_max = 10'000;
    if (++taken_ >= taken_max) return open();
    rewinder_->rewind();
  }

  /// A refusal is one that the syncer knows what to do with, and leaves all as it was.
  void check_refusal(const Error& error, const Push& push, std::string_view bytes) {
    const bool is_known = error.code == Code::invalid_argument || error.code == Code::busy ||
                          error.code == Code::device_forked;
    if (!is_known) {
      throw Broken("refused as " + std::string(name_of(error.code)) + " " + error.detail, bytes);
    }
    if (rewinder_->was_written()) throw Broken("a refusal wrote something", bytes);
    if (push_of(*replica_).operations.size() != push.operations.size())
      throw Broken("a refusal lost an operation", bytes);
  }

  /// What had no verdict goes on waiting, as it was sent; what was rejected is kept.
  void check_pending(const Push& before, const Reply& reply, std::string_view bytes) {
    const Push after = push_of(*replica_);
    const std::size_t judged = reply.verdicts.size();
    if (after.operations.size() + judged != before.operations.size())
      throw Broken("an operation was lost", bytes);
    for (std::size_t i = 0; i < after.operations.size(); ++i) {
      const PushedOperation& was = before.operations[i + judged];
      if (after.operations[i].line != was.line || after.operations[i].leases != was.leases)
        throw Broken("it is not pushed as it was before: " + was.line, bytes);
    }
    std::set<std::string> kept;
    const auto all_rejected = replica_->rejected();
    for (const RejectedOperation& rejected : all_rejected.value())
      kept.insert(trace_line(rejected.command));
    for (std::size_t i = 0; i < judged; ++i) {
      if (reply.verdicts[i].code != Code::ok && kept.count(before.operations[i].line) == 0)
        throw Broken("what was rejected is not kept: " + before.operations[i].line, bytes);
    }
  }

  /// Canonical may contradict itself about a job's hold, or send a ledger that goes below zero;
  /// that is its users' only. What the mirror adds up itself is right, or it says that it is not.
  void check_audit(std::string_view bytes) {
    const auto report = engine_->audit();
    if (!report) throw Broken("no audit: " + report.error().detail, bytes);
    for (const Finding& finding : report->findings) {
      const Uuid user = finding.user_id.value_or(Uuid{});
      const bool adds_up = finding.invariant == "I2" || finding.invariant == "I5";
      if (diverged_.count(user) != 0 || (adds_up && fed_.count(user) != 0)) continue;
      throw Broken("the audit finds " + finding.invariant + ", " + finding.detail, bytes);
    }
  }

  std::unique_ptr<test::TemporaryFolder> folder_;
  std::optional<Engine> engine_;
  std::optional<Replica> replica_;
  std::optional<Rewinder> rewinder_;
  std::set<Uuid> fed_{};  ///< By the replies of this run.
  std::set<Uuid> diverged_{};
  int taken_ = 0;
};

}  // namespace

std::unique_ptr<Target> make_server_reply() { return std::make_unique<ServerReply>(); }

}  // namespace tally::fuzz
