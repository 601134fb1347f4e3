// balance, account, history, job, audit: what a mirror holds. None of them writes to it.

#include <memory>

#include "commands.hpp"
#include "platform.hpp"
#include "reports.hpp"
#include "sync_texts.hpp"

namespace tally::cli {
namespace {

struct Arguments {
  std::string id;
  std::string db;
  std::size_t limit = 100;
  std::int64_t before = 0;
};

/// A subcommand over what an id names in one mirror, which runs `body(engine, id, arguments,
/// json)`.
template <class Body>
std::pair<CLI::App*, std::shared_ptr<Arguments>> add_reader(CLI::App& app, Run& run,
                                                            const Manual& manual,
                                                            const std::string& id_name, Body body) {
  CLI::App* command = add_command(app, run, manual);
  auto arguments = std::make_shared<Arguments>();
  command->add_option("id", arguments->id, "Its id, a UUID")->type_name(id_name)->required();
  add_db(command, arguments->db);
  command->callback([=, &run] {
    run.command = [=, &run] {
      const Uuid id = uuid_argument(arguments->id, id_name);
      return body(open_mirror(arguments->db), id, *arguments, run.json);
    };
  });
  return {command, arguments};
}

Exit balance(const Engine& engine, const Uuid& user_id, const Arguments&, bool json) {
  const Credits balance = take(engine.balance(user_id));
  if (json) {
    print_json({{"user_id", user_id.text()}, {"balance", balance.value}});
  } else {
    print(std::to_string(balance.value) + "\n");
  }
  return Exit::fine;
}

void print_account_json(const Uuid& user_id, const Account& account) {
  JsonValue holds = JsonValue::array();
  for (const OpenHold& hold : account.holds) {
    holds.push_back({{"job_id", hold.job_id.text()},
                     {"amount", hold.amount.value},
                     {"reservation", to_json(hold.reservation)}});
  }
  print_json({{"user_id", user_id.text()},
              {"balance", account.check.balance.value},
              {"held", account.check.held.value},
              {"entries", account.check.entries},
              {"pending_operations", account.check.pending_operations},
              {"holds", std::move(holds)},
              {"leases", to_json(account.leases)}});
}

Exit account(const Engine& engine, const Uuid& user_id, const Arguments&, bool json) {
  const Account account = take(engine.account(user_id));
  if (json) {
    print_account_json(user_id, account);
    return Exit::fine;
  }
  print("balance             " + paint(Paint::bold, thousands(account.check.balance.value)) +
        "\nheld                " + thousands(account.check.held.value) + "\nentries             " +
        thousands(account.check.entries) + "\npending operations  " +
        thousands(account.check.pending_operations) + "\n");
  if (!account.holds.empty()) {
    Table table({{"open hold of job"}, {"credits", true}, {"reservation"}});
    for (const OpenHold& hold : account.holds) {
      table.add({hold.job_id.text(), thousands(hold.amount.value),
                 hold.reservation ? hold.reservation->text() : ""});
    }
    print("\n" + table.text());
  }
  if (!account.leases.empty()) print("\n" + lease_table(account.leases));
  return Exit::fine;
}

Exit history(const Engine& engine, const Uuid& user_id, const Arguments& arguments, bool json) {
  std::optional<std::int64_t> before;
  if (arguments.before > 0) before = arguments.before;
  const auto entries = take(engine.history(user_id, arguments.limit, before));
  if (json) {
    JsonValue rows = JsonValue::array();
    for (const Entry& entry : entries) rows.push_back(to_json(entry));
    print_json({{"user_id", user_id.text()}, {"entries", std::move(rows)}});
    return Exit::fine;
  }
  Table table({{"seq", true}, {"date"}, {"type"}, {"amount", true}, {"balance", true}, {"note"}});
  for (const Entry& entry : entries) {
    table.add({std::to_string(entry.seq), short_time(entry.created_at.text()), entry.type,
               signed_credits(entry.amount.value), thousands(entry.balance_after.value),
               shown(entry.note.value_or(""))});
  }
  print(table.text());
  if (entries.size() == arguments.limit && entries.back().seq > 1) {
    print(paint(Paint::dim, "older ones: --before " + std::to_string(entries.back().seq)) + "\n");
  }
  return Exit::fine;
}

Exit job(const Engine& engine, const Uuid& job_id, const Arguments&, bool json) {
  const JobView view = take(engine.job(job_id));
  if (!json) {
    print(job_report(engine, view, job_id));
    return Exit::fine;
  }
  JsonValue entries = JsonValue::array();
  for (const Entry& entry : entries_of_job(engine, view, job_id)) entries.push_back(to_json(entry));
  print_json({{"job", to_json(view.job)},
              {"steps", to_json(view.steps)},
              {"assets", to_json(view.assets)},
              {"entries", std::move(entries)}});
  return Exit::fine;
}

AuditReport audited(const Engine& engine, bool json) {
  listen_for_the_end();
  Progress progress("entries", !json);
  auto report = take(engine.audit(
      [&](std::int64_t done, std::int64_t total) { return progress.watch(done, total); }));
  progress.clear();
  if (!report)
    throw Stop{Exit::interrupted, "interrupted", "interrupted: the audit is not complete"};
  return std::move(*report);
}

Exit audit(const Engine& engine, bool json) {
  const AuditReport report = audited(engine, json);
  const Exit exit = report.findings.empty() ? Exit::fine : Exit::refused;
  JsonValue findings = JsonValue::array();
  Table table({{"invariant"}, {"user"}, {"what is wrong"}});
  for (const Finding& finding : report.findings) {
    findings.push_back({{"invariant", finding.invariant},
                        {"user_id", to_json(finding.user_id)},
                        {"detail", finding.detail}});
    table.add({finding.invariant, finding.user_id ? finding.user_id->text() : "",
               shown(finding.detail, 200)});
  }
  if (json) {
    print_json({{"users", report.users},
                {"entries", report.entries},
                {"jobs", report.jobs},
                {"findings", std::move(findings)}});
    return exit;
  }
  if (!report.findings.empty()) print(table.text() + "\n");
  print(counted(report.users, "user", "users") + ", " +
        counted(report.entries, "entry", "entries") + ", " + counted(report.jobs, "job", "jobs") +
        " recomputed: " +
        (report.findings.empty()
             ? paint(Paint::green, "nothing is wrong")
             : paint(Paint::red, counted(static_cast<std::int64_t>(report.findings.size()),
                                         "finding", "findings"))) +
        "\n");
  return exit;
}

constexpr Manual audit_manual{
    .name = "audit",
    .what = "Recompute balances, numbers and holds from a half's entries",
    .section = Section::mirror,
    .does =
        "It adds up every user's entries anew and compares: balance and sum, each entry's number "
        "and the balance after it, each job's hold, status and costs. What does not agree is a "
        "finding, told in a sentence.\n\n"
        "With --db a mirror is read, and never written to. With --pg canonical is, and --repair "
        "posts entries that correct what the PRD's original functions gave or took twice: no "
        "entry is changed or deleted, and at most a user's balance is taken back.",
    .on_disk = "What was there; with --repair also the correcting entries, a transaction a user.",
    .examples = {{{"A mirror's entries, added up anew", "tally audit --db mirror.db"},
                  {"Canonical's", "tally audit --pg tally"},
                  {"The same, with corrections posted where credits were minted",
                   "tally audit --pg tally --repair"}}},
    .fine = "Nothing is wrong.",
    .refused = "There are findings; with --repair, some are left.",
    .related = "verify, doctor, history"};

/// Of a mirror, or of canonical.
void add_audit(CLI::App& app, Run& run) {
  struct AuditArguments {
    std::string db;
    std::string pg;
    std::string schema = "public";
    bool repair = false;
  };
  CLI::App* command = add_command(app, run, audit_manual);
  auto arguments = std::make_shared<AuditArguments>();
  const Halves halves = add_halves(command, arguments->db, arguments->pg, "The mirror's file");
  command
      ->add_flag("--repair", arguments->repair,
                 "Post entries that correct what the PRD's original functions gave or took twice")
      ->needs(halves.pg);
  add_schema(command, arguments->schema);
  command->callback([=, &run] {
    run.command = [=, &run] {
      halves.check("audit");
      if (halves.pg->count() > 0)
        return audit_canonical(arguments->pg, arguments->schema, arguments->repair, run.json);
      return audit(open_mirror(arguments->db), run.json);
    };
  });
}

constexpr Manual balance_manual{
    .name = "balance",
    .what = "Print a user's balance",
    .section = Section::mirror,
    .does =
        "It prints one number, the credits that the user can spend: what is held for jobs is "
        "taken off already. The sum of the user's entries is the same number, always.\n\n"
        "Operations that canonical has not confirmed count; tally account says how many of "
        "them there are.",
    .on_disk = reads_mirror_only,
    .examples = {{{"How many credits Ada of the example trace has",
                   "tally balance ada00000-0000-4000-8000-000000000001 --db mirror.db"},
                  {"For a script",
                   "tally balance ada00000-0000-4000-8000-000000000001 --db mirror.db --json"}}},
    .fine = "The balance is printed.",
    .refused = "The mirror knows no such user.",
    .related = "account, history"};

constexpr Manual account_manual{
    .name = "account",
    .what = "Show a user's balance, open holds and leases",
    .section = Section::mirror,
    .does =
        "Balance, what is held, how many entries there are and how many operations wait to be "
        "pushed; then each job with an open hold, and the op_id of the reservation that opened "
        "it, and this device's lease of the user's credits. All of it is read in one instant.",
    .on_disk = reads_mirror_only,
    .examples = {{{"Ada's account",
                   "tally account ada00000-0000-4000-8000-000000000001 --db mirror.db"}}},
    .fine = "The account is shown.",
    .refused = "The mirror knows no such user.",
    .related = "balance, history, job"};

constexpr Manual history_manual{
    .name = "history",
    .what = "List a user's entries, newest first",
    .section = Section::mirror,
    .does =
        "An entry a line: its number, date, type, amount, the balance after it, and its note. "
        "Entries are never changed; a correction is another entry.\n\n"
        "Where there are older ones the last line says how to go on.",
    .on_disk = reads_mirror_only,
    .examples =
        {{{"The newest five entries",
           "tally history ada00000-0000-4000-8000-000000000001 --db mirror.db --limit 5"},
          {"Those before entry 6",
           "tally history ada00000-0000-4000-8000-000000000001 --db mirror.db --before 6"}}},
    .fine = "The entries are listed.",
    .refused = "The mirror knows no such user.",
    .related = "account, job, audit"};

constexpr Manual job_manual{
    .name = "job",
    .what = "Show a job: its stages, credits and assets in time",
    .section = Section::mirror,
    .does =
        "The job's status and what it costs, its eight steps with their times, what was "
        "reserved, settled and released for it, and the assets that it made.",
    .on_disk = reads_mirror_only,
    .examples = {{{"A job of the example trace",
                   "tally job 10b00000-0000-4000-8000-000000000001 --db mirror.db"}}},
    .fine = "The job is shown.",
    .refused = "The mirror knows no such job.",
    .related = "account, history, claim-next"};

}  // namespace

void add_read_commands(CLI::App& app, Run& run) {
  add_reader(app, run, balance_manual, "USER", balance);
  add_reader(app, run, account_manual, "USER", account);
  const auto [command, arguments] = add_reader(app, run, history_manual, "USER", history);
  command->add_option("--limit", arguments->limit, "How many at the most")
      ->type_name("N")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  command->add_option("--before", arguments->before, "Only entries with a lower seq")
      ->type_name("SEQ")
      ->check(CLI::PositiveNumber);
  add_reader(app, run, job_manual, "JOB", job);
  add_audit(app, run);
}

}  // namespace tally::cli
