// why: what a mirror knows of a job, told in a paragraph.

#include <algorithm>
#include <memory>

#include "fields.hpp"
#include "sync_texts.hpp"
#include "why.hpp"

namespace tally::cli {
namespace {

struct Arguments {
  std::string id;
  std::string db;
  std::int64_t amount = 0;
};

bool is_about(const Command& command, const Uuid& job_id) {
  if (named_job(command) == job_id) return true;
  const auto* batch = std::get_if<Batch>(&command.operation);
  return batch != nullptr &&
         std::any_of(batch->operations.begin(), batch->operations.end(),
                     [&](const Command& inner) { return is_about(inner, job_id); });
}

void add_owner(JobFacts& facts, const Engine& engine, const Replica& replica) {
  const auto user = Uuid::parse(column(facts.view->job, "user_id").value_or(""));
  if (!user) return;
  facts.account = take(engine.account(*user));
  for (const OpenLease& lease : take(replica.leases())) {
    if (lease.user_id == *user && !lease.returning) facts.lease = lease;
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

JobFacts gather(Engine& engine, const Arguments& arguments) {
  const Replica replica(engine);
  JobFacts facts;
  facts.job_id = uuid_argument(arguments.id, "JOB");
  facts.db = arguments.db;
  facts.now = now();
  if (arguments.amount > 0) facts.amount = Credits{arguments.amount};
  facts.link = take(replica.state());
  auto view = engine.job(facts.job_id);
  add_operations(facts, replica);
  if (view) {
    facts.view = std::move(view).value();
    add_owner(facts, engine, replica);
  } else if (view.error().code != Code::job_not_found ||
             (facts.pending.empty() && facts.rejected.empty())) {
    throw stop_for(view.error(),
                   facts.link ? "if it was made elsewhere, tally sync brings it, where this device "
                                "is fed its user"
                              : "tally export jobs lists those that this mirror has");
  }
  return facts;
}

JsonValue json_of(const JobFacts& facts, const Why& why) {
  JsonValue remedies = JsonValue::array();
  for (const Remedy& remedy : why.remedies) {
    remedies.push_back(
        {{"what", remedy.what},
         {"command", remedy.command.empty() ? JsonValue(nullptr) : JsonValue(remedy.command)}});
  }
  JsonValue pending = JsonValue::array();
  for (const PendingOperation& operation : facts.pending) {
    pending.push_back({{"number", operation.number},
                       {"op", row_of(operation.command.operation).name},
                       {"blocked_by", operation.code == Code::ok ? JsonValue(nullptr)
                                                                 : name_of(operation.code)}});
  }
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

Exit run_why(const Arguments& arguments, bool json) {
  Engine engine = open_mirror(arguments.db);
  const JobFacts facts = gather(engine, arguments);
  const Why why = explain(facts);
  if (json) {
    print_json(json_of(facts, why));
    return Exit::fine;
  }
  print(wrapped(why.paragraph, page_width(), 0) + "\n");
  for (const Remedy& remedy : why.remedies) {
    print("\n" + paint(Paint::bold, remedy.what) + "\n");
    if (!remedy.command.empty()) print("  " + remedy.command + "\n");
  }
  return Exit::fine;
}

constexpr Manual why_manual{
    .name = "why",
    .what = "Say in a paragraph why a job is where it is, and what to do",
    .section = Section::mirror,
    .does =
        "What state the job is in and since when, what it waits for, what it cost, and which of "
        "its operations canonical has not heard of, or has rejected; then what can be done about "
        "it, as commands to be pasted. What they cannot know is in capitals: CONNINFO is "
        "canonical's "
        "database, and FILE the one that holds the device's token.\n\n"
        "A refusal changes nothing and leaves nothing behind: a job that was refused its credits "
        "is as PENDING as one that never asked. With --amount it says whether so many credits "
        "could be reserved for it now, and how many are missing.",
    .on_disk = reads_mirror_only,
    .examples = {{{"Why a job of the example trace is where it is",
                   "tally why 10b00000-0000-4000-8000-000000000001 --db mirror.db"},
                  {"Could it have 500 credits?",
                   "tally why 10b00000-0000-4000-8000-000000000003 --db mirror.db --amount 500"}}},
    .fine = "It is said.",
    .refused = "The mirror knows no such job, and nothing that is pending or rejected names it.",
    .related = "job, status, rejected, codes"};

}  // namespace

void add_why(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, why_manual);
  auto arguments = std::make_shared<Arguments>();
  command->add_option("id", arguments->id, "Its id, a UUID")->type_name("JOB")->required();
  add_db(command, arguments->db);
  command->add_option("--amount", arguments->amount, "How many credits it would reserve")
      ->type_name("CREDITS")
      ->check(CLI::Range(std::int64_t{1}, Credits::max));
  command->callback(
      [=, &run] { run.command = [=, &run] { return run_why(*arguments, run.json); }; });
}

}  // namespace tally::cli
