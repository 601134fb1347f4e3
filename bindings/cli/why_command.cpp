// why: what a mirror knows of a job, told in a paragraph.

#include <memory>

#include "commands.hpp"
#include "why.hpp"

namespace tally::cli {
namespace {

struct Arguments {
  std::string id;
  std::string db;
  std::int64_t amount = 0;
};

Exit run_why(const Arguments& arguments, bool json) {
  Engine engine = open_mirror(arguments.db);
  const auto amount =
      arguments.amount > 0 ? std::optional(Credits{arguments.amount}) : std::nullopt;
  const JobFacts facts = facts_of(engine, uuid_argument(arguments.id, "JOB"), arguments.db, amount);
  const Why why = explain(facts);
  if (json) {
    print_json(to_json(facts, why));
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
