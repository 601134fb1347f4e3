// What a mirror knows of a job, gathered for the paragraph, and both as JSON.

#include <algorithm>

#include "fields.hpp"
#include "sync_texts.hpp"
#include "why.hpp"

namespace tally::cli {
namespace {

bool is_about(const Command& command, const Uuid& job_id) {
  if (named_job(command) == job_id) return true;
  const auto* batch = std::get_if<Batch>(&command.operation);
  return batch != nullptr &&
         std::any_of(batch->operations.begin(), batch->operations.end(),
                     [&](const Command& inner) { return is_about(inner, job_id); });
}

void add_owner(JobFacts& facts, const Engine& engine) {
  const auto user = Uuid::parse(column(facts.view->job, "user_id").value_or(""));
  if (!user) return;
  facts.account = take(engine.account(*user));
  for (const OpenLease& lease : facts.account->leases) {
    if (!lease.returning) facts.lease = lease;
  }
}

/// On a mirror without a device all is pending; that says nothing of a job.
void add_operations(JobFacts& facts, const Replica& replica) {
  for (RejectedOperation& rejected : take(replica.rejected())) {
    if (is_about(rejected.command, facts.job_id)) facts.rejected.push_back(std::move(rejected));
  }
  if (!facts.link) return;
  take(replica.each_pending([&](const PendingOperation& pending) {
    if (is_about(pending.command, facts.job_id)) facts.pending.push_back(pending);
    return true;
  }));
}

}  // namespace

JobFacts facts_of(Engine& engine, const Uuid& job_id, std::string db,
                  std::optional<Credits> amount) {
  const Replica replica(engine);
  JobFacts facts;
  facts.job_id = job_id;
  facts.db = std::move(db);
  facts.now = now();
  facts.amount = amount;
  facts.link = take(replica.state());
  auto view = engine.job(facts.job_id);
  add_operations(facts, replica);
  if (view) {
    facts.view = std::move(view).value();
    add_owner(facts, engine);
  } else if (view.error().code != Code::job_not_found ||
             (facts.pending.empty() && facts.rejected.empty())) {
    throw stop_for(view.error(),
                   facts.link ? "if it was made elsewhere, tally sync brings it, where this device "
                                "is fed its user"
                              : "tally export jobs lists those that this mirror has");
  }
  return facts;
}

JsonValue to_json(const JobFacts& facts, const Why& why) {
  JsonValue remedies = JsonValue::array();
  for (const Remedy& remedy : why.remedies) {
    remedies.push_back(
        {{"what", remedy.what},
         {"command", remedy.command.empty() ? JsonValue(nullptr) : JsonValue(remedy.command)}});
  }
  JsonValue pending = JsonValue::array();
  for (const PendingOperation& operation : facts.pending) pending.push_back(to_json(operation));
  const JobView* view = facts.view ? &*facts.view : nullptr;
  return {{"job_id", facts.job_id.text()},
          {"status", why.status},
          {"since", to_json(why.since)},
          {"waits_for", why.waits_for.empty() ? JsonValue(nullptr) : JsonValue(why.waits_for)},
          {"why", why.paragraph},
          {"held", view != nullptr ? JsonValue(view->hold.value) : JsonValue(nullptr)},
          {"claim_until", view != nullptr ? to_json(view->claim_until) : JsonValue(nullptr)},
          {"job", view != nullptr ? to_json(view->job) : JsonValue(nullptr)},
          {"pending", std::move(pending)},
          {"rejected", to_json(facts.rejected)},
          {"synced_at", facts.link ? to_json(facts.link->synced_at) : JsonValue(nullptr)},
          {"remedies", std::move(remedies)}};
}

}  // namespace tally::cli
