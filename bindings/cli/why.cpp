#include "why.hpp"

#include <algorithm>
#include <cctype>

#include "sync_texts.hpp"

namespace tally::cli {
namespace {

std::string credits_are(std::int64_t number) { return counted(number, "credit is", "credits are"); }

std::optional<Timestamp> time_of(const ViewRow& row, std::string_view name) {
  return Timestamp::parse(word(row, name));
}

std::int64_t number_of(const ViewRow& row, std::string_view name) {
  const std::string text = word(row, name);
  return text.empty() ? 0 : std::stoll(text);
}

std::string at(Timestamp time) { return short_time(time.text()); }

/// `insufficient_credits: The balance does not cover it.`, from the table of codes.
std::string code_text(Code code) {
  return std::string(name_of(code)) + ": " + std::string(row_of(code).sentence);
}

std::optional<Credits> amount_of(const Operation& operation) {
  if (const auto* reserve = std::get_if<ReserveCredits>(&operation)) return reserve->amount;
  if (const auto* retry = std::get_if<RetryJob>(&operation)) return retry->amount;
  return std::nullopt;
}

/// The paragraph grows sentence by sentence, in the order in which a reader asks.
class Explanation {
 public:
  explicit Explanation(const JobFacts& facts) : facts_(facts) {}

  Why run() {
    if (facts_.view) {
      say_state();
    } else {
      why_.status = "unknown";
      say("The mirror has no such job.");
    }
    say_rejected();
    say_pending();
    say_sync();
    return std::move(why_);
  }

 private:
  const ViewRow& job() const { return facts_.view->job; }

  void say(const std::string& sentence) {
    why_.paragraph += (why_.paragraph.empty() ? "" : " ") + sentence;
  }
  void advise(std::string what, std::string command) {
    why_.remedies.push_back({std::move(what), std::move(command)});
  }

  std::string db() const { return "--db " + cli::quoted(facts_.db); }

  /// A trace of one line, applied to the mirror or to canonical.
  std::string apply(const Operation& operation, bool to_canonical = false) const {
    Command command;
    command.op_id = new_uuid_v7();
    command.at = facts_.now;
    command.operation = operation;
    return "echo " + cli::quoted(trace_line(command)) + " | tally replay - " +
           (to_canonical ? "--pg CONNINFO" : db());
  }

  /// Whether a mirror that is a device has the capability.
  bool may(Capability capability) const {
    const auto& has = facts_.link->enrolment.capabilities;
    return std::find(has.begin(), has.end(), capability) != has.end();
  }

  // ---- the job's state --------------------------------------------------------------------------

  void say_state() {
    why_.status = word(job(), "status");
    const auto status = job_status_named(why_.status);
    if (!status) throw Stop{Exit::world, "corrupt", "the job has the status " + why_.status};
    switch (*status) {
      case JobStatus::PENDING:
        return say_pending_job();
      case JobStatus::QUEUED:
        return say_queued();
      case JobStatus::READY:
        return say_ready();
      case JobStatus::FAILED:
        return say_failed();
      default:
        return say_stage();
    }
  }

  void say_pending_job() {
    why_.since = time_of(job(), "created_at");
    say("The job is PENDING since " + at(why_.since.value_or(facts_.view->active_at)) + ".");
    if (facts_.view->hold.value > 0) {
      why_.waits_for = "to be queued";
      say(credits_are(facts_.view->hold.value) + " held for it; it waits to be queued.");
      advise("queue it", apply(AdvanceJob{facts_.job_id, JobStatus::QUEUED, {}}));
      return;
    }
    why_.waits_for = "a reservation";
    say("No credits are held for it, so it cannot be queued; it waits for a reservation.");
    say_means(facts_.amount, "reserve");
    const Credits amount = facts_.amount.value_or(Credits{1});
    if (const auto user = Uuid::parse(word(job(), "user_id")); user && can_pay(amount)) {
      advise(facts_.amount ? "reserve" : "reserve, with the amount that it costs",
             apply(ReserveCredits{*user, facts_.job_id, amount}));
    }
  }

  void say_queued() {
    why_.since = facts_.view->active_at;
    say("The job is QUEUED, and the last that was done with it was at " + at(*why_.since) + ".");
    say_hold();
    if (say_live_claim("has not begun")) return;
    why_.waits_for = "a worker";
    say("It waits for a worker: " + claim_that_was() + ".");
    advise_to_work();
  }

  void say_stage() {
    const std::string status = why_.status;
    for (const ViewRow& step : facts_.view->steps) {
      if (word(step, "step_name") != status) continue;
      why_.since = time_of(step, "started_at");
      say("The job is in " + status + " since " + at(why_.since.value_or(facts_.view->active_at)) +
          ", with " + word(step, "progress_pct") + " percent of the stage and " +
          word(job(), "progress") + " percent of the whole done.");
      say_quote("The stage says", step, "status_message");
    }
    say_hold();
    if (say_live_claim("works on it")) return;
    why_.waits_for = "a worker";
    say("Nobody works on it: " + claim_that_was() + ", and the last that was heard of it was at " +
        at(facts_.view->active_at) + ".");
    advise_to_work();
    if (!facts_.link) {
      advise("or fail it, which gives back what it holds",
             apply(FailJob{facts_.job_id, "WORKER_LOST", {}}));
    } else {
      advise("or have canonical fail what no worker was heard of for a day",
             apply(Sweep{86'400}, true));
    }
  }

  void say_ready() {
    why_.since = time_of(job(), "finished_at");
    say("The job is READY since " + at(why_.since.value_or(facts_.view->active_at)) +
        ": it is done.");
    const std::int64_t reserved = number_of(job(), "cost_credits_reserved");
    const std::int64_t charged = number_of(job(), "cost_credits_final");
    say("It cost " + credits_text(charged) + "; " + credits_text(reserved) + " had been reserved.");
  }

  void say_failed() {
    why_.since = time_of(job(), "finished_at");
    const std::string step = word(job(), "failed_step");
    say("The job FAILED at " + at(why_.since.value_or(facts_.view->active_at)) +
        (step.empty() ? "" : ", in " + step) + ", with the error code " +
        shown(word(job(), "error_code")) + ".");
    say_quote("Its message", job(), "error_message");
    const auto charged = column(job(), "cost_credits_final");
    say(charged ? "It cost " + credits_text(std::stoll(*charged)) + "."
                : "It cost nothing: what was held for it was given back.");
    why_.waits_for = "a retry";
    const Credits amount = facts_.amount.value_or(
        Credits{std::max<std::int64_t>(number_of(job(), "cost_credits_reserved"), 1)});
    say("A retry makes a new reservation; steps that succeeded are not done again.");
    say_means(amount, "retry with");
    if (can_pay(amount)) advise("retry it", apply(RetryJob{facts_.job_id, amount}));
  }

  // ---- parts of it ------------------------------------------------------------------------------

  void say_quote(const std::string& who, const ViewRow& row, std::string_view name) {
    if (const std::string text = word(row, name); !text.empty())
      say(who + ": “" + shown(text, 200) + "”.");
  }

  void say_hold() {
    const std::int64_t held = facts_.view->hold.value;
    if (const auto charged = column(job(), "cost_credits_final"); charged && held == 0) {
      say("It is settled, at " + credits_text(std::stoll(*charged)) + ".");
    } else {
      say(held > 0 ? credits_are(held) + " held for it." : std::string("Nothing is held for it."));
    }
  }

  std::int64_t balance() const { return facts_.account ? facts_.account->check.balance.value : 0; }
  bool can_pay(Credits amount) const { return balance() >= amount.value; }

  /// What its user has, and how much of the amount is missing.
  void say_means(std::optional<Credits> amount, const std::string& verb) {
    std::string means = "Its user can spend " + credits_text(balance());
    if (facts_.lease)
      means += ", and the lease here has " + credits_text(facts_.lease->unspent.value);
    say(means + ".");
    if (!amount) return;
    if (can_pay(*amount)) {
      say("That covers the " + credits_text(amount->value) + " to " + verb + ".");
      return;
    }
    say("To " + verb + " " + credits_text(amount->value) + ", " +
        credits_are(amount->value - balance()) + " missing, and the answer is " +
        code_text(Code::insufficient_credits));
    if (const auto user = Uuid::parse(word(job(), "user_id"))) {
      advise("add what is missing, once it is paid for",
             apply(AddCredits{*user, Credits{amount->value - balance()}, "purchase", {}, {}},
                   facts_.link && !may(Capability::service)));
    }
  }

  std::string whose_claim() const {
    return facts_.view->claimed_elsewhere ? "another device" : "a worker of this mirror";
  }

  bool say_live_claim(const std::string& does) {
    const auto until = facts_.view->claim_until;
    if (!until || *until <= facts_.now) return false;
    std::string whose = whose_claim();
    whose[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(whose[0])));
    say(whose + " has claimed it until " + at(*until) + " and " + does + ".");
    why_.waits_for = whose_claim();
    advise("wait for its worker; after that time any other may claim it", "");
    return true;
  }

  std::string claim_that_was() const {
    const auto until = facts_.view->claim_until;
    return until ? "the claim of " + whose_claim() + " ended at " + at(*until)
                 : std::string("nobody has claimed it");
  }

  void advise_to_work() {
    if (facts_.link) {
      advise("start a worker, or claim it by hand",
             "tally claim-next " + db() + " --pg CONNINFO --token-file FILE --ttl 600");
    } else {
      advise("start a worker, or claim it by hand", apply(ClaimJob{facts_.job_id, 600}));
    }
  }

  // ---- between here and canonical ---------------------------------------------------------------

  void say_rejected() {
    for (const RejectedOperation& rejected : facts_.rejected) {
      const std::string number = std::to_string(rejected.number);
      const std::string name(row_of(rejected.command.operation).name);
      say("Canonical rejected " + name + " (number " + number + ") at " + at(rejected.rejected_at) +
          " with " + code_text(rejected.code));
      const bool about_credits =
          rejected.code == Code::insufficient_credits || rejected.code == Code::lease_reclaimed;
      if (const auto amount = amount_of(rejected.command.operation); amount && about_credits)
        say(missing_now(*amount));
      advise(
          about_credits ? "retry it, once there are credits" : "retry it, once the reason is gone",
          "tally rejected retry " + number + " " + db());
      advise("or forget it", "tally rejected dismiss " + number + " " + db());
    }
    if (!facts_.rejected.empty()) {
      why_.waits_for = "a decision on what was rejected";
      bring_to_front(2 * facts_.rejected.size());
    }
  }

  /// The last so many remedies are to be tried first.
  void bring_to_front(std::size_t count) {
    std::rotate(why_.remedies.begin(), why_.remedies.end() - static_cast<std::ptrdiff_t>(count),
                why_.remedies.end());
  }

  std::string missing_now(Credits amount) const {
    if (!facts_.account) return "It asked for " + credits_text(amount.value) + ".";
    const std::int64_t missing = amount.value - balance();
    return "It asked for " + credits_text(amount.value) + "; " +
           (missing > 0 ? credits_are(missing) + " missing now."
                        : "the balance of " + credits_text(balance()) + " covers that now.");
  }

  void say_pending() {
    if (!facts_.link) return;  // Everything is pending where there is no canonical yet.
    std::int64_t waiting = 0;
    for (const PendingOperation& pending : facts_.pending) {
      const std::string name(row_of(pending.command.operation).name);
      const std::string which = name + " (number " + std::to_string(pending.number) + ")";
      if (pending.code != Code::ok) {
        say("Here " + which + " has no effect any more, with " + code_text(pending.code) +
            " Canonical decides about it.");
      } else if (pending.queued) {
        say("It is queued for canonical's verdict and has no effect here until then: " + which +
            ".");
      } else {
        ++waiting;
      }
    }
    if (waiting > 0) {
      say(counted(waiting, "operation on it waits", "operations on it wait") +
          " to be pushed; canonical does not know of " + (waiting == 1 ? "it" : "them") + " yet.");
    }
    if (facts_.pending.empty()) return;
    if (why_.status == "unknown" && why_.waits_for.empty()) why_.waits_for = "canonical's verdict";
    advise("push what is pending", sync_command());
  }

  std::string sync_command() const {
    return "tally sync " + db() + " --pg CONNINFO --token-file FILE";
  }

  void say_sync() {
    if (!facts_.link) return;
    const LinkState& link = *facts_.link;
    const bool has_been_silent = is_stale(link, facts_.now);
    if (!has_been_silent && !link.error_class) return;
    if (has_been_silent) {
      say(link.synced_at ? "The mirror has not heard from canonical for " +
                               duration(facts_.now.us - link.synced_at->us) +
                               ", so canonical may know more of the job."
                         : std::string("The mirror has never heard from canonical."));
    }
    if (link.error_class) {
      say("The last attempt to sync failed (" + *link.error_class +
          "): " + shown(on_one_line(link.error.value_or("")), 200) + ".");
    }
    const bool advised =
        std::any_of(why_.remedies.begin(), why_.remedies.end(),
                    [&](const Remedy& remedy) { return remedy.command == sync_command(); });
    if (!advised) advise("hear what canonical knows", sync_command());
  }

  const JobFacts& facts_;
  Why why_{};
};

}  // namespace

Why explain(const JobFacts& facts) { return Explanation(facts).run(); }

}  // namespace tally::cli
