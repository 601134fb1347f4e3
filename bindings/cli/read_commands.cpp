// balance, account, history, job, audit: what a mirror holds. None of them writes to it.

#include <memory>

#include "commands.hpp"
#include "reports.hpp"

namespace tally::cli {
namespace {

struct Arguments {
  std::string id;
  std::string db;
  std::size_t limit = 100;
  std::int64_t before = 0;
};

/// A subcommand over one mirror that runs `body(engine, arguments, json)`.
template <class Body>
std::shared_ptr<Arguments> add_reader(CLI::App& app, Run& run, const std::string& name,
                                      const std::string& what, const std::string& id_name,
                                      Body body, CLI::App** out = nullptr) {
  CLI::App* command = add_command(app, run, name, what);
  auto arguments = std::make_shared<Arguments>();
  if (!id_name.empty())
    command->add_option("id", arguments->id, "Its id, a UUID")->type_name(id_name)->required();
  add_db(command, arguments->db);
  command->callback([=, &run] {
    run.command = [=, &run] {
      std::optional<Uuid> id;
      if (!id_name.empty()) id = uuid_argument(arguments->id, id_name);
      const Engine engine = open_mirror(arguments->db);
      return body(engine, id.value_or(Uuid{}), *arguments, run.json);
    };
  });
  if (out != nullptr) *out = command;
  return arguments;
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
              {"holds", std::move(holds)}});
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
  if (account.holds.empty()) return Exit::fine;
  Table table({{"open hold of job"}, {"credits", true}, {"reservation"}});
  for (const OpenHold& hold : account.holds) {
    table.add({hold.job_id.text(), thousands(hold.amount.value),
               hold.reservation ? hold.reservation->text() : ""});
  }
  print("\n" + table.text());
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

Exit audit(const Engine& engine, const Uuid&, const Arguments&, bool json) {
  const AuditReport report = take(engine.audit());
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

/// Of a mirror, or of canonical.
void add_audit(CLI::App& app, Run& run) {
  struct AuditArguments {
    std::string db;
    std::string pg;
    std::string schema = "public";
    bool repair = false;
  };
  CLI::App* command =
      add_command(app, run, "audit", "Recompute balances, numbers and holds from a half's entries");
  auto arguments = std::make_shared<AuditArguments>();
  CLI::Option_group* half = command->add_option_group("half");
  CLI::Option* db = half->add_option("--db", arguments->db, "The mirror's file");
  db->type_name("FILE");
  CLI::Option* pg = half->add_option("--pg", arguments->pg, "Canonical's database");
  pg->type_name("CONNINFO");
  half->require_option(1);
  command
      ->add_flag("--repair", arguments->repair,
                 "Post entries that correct what the PRD's original functions gave or took twice")
      ->needs(pg);
  add_schema(command, arguments->schema);
  command->callback([=, &run] {
    run.command = [=, &run] {
      if (pg->count() > 0)
        return audit_canonical(arguments->pg, arguments->schema, arguments->repair, run.json);
      return audit(open_mirror(arguments->db), Uuid{}, Arguments{}, run.json);
    };
  });
}

}  // namespace

void add_read_commands(CLI::App& app, Run& run) {
  add_reader(app, run, "balance", "Print a user's balance", "USER", balance);
  add_reader(app, run, "account", "Show a user's balance and open holds", "USER", account);
  CLI::App* command = nullptr;
  const auto arguments = add_reader(app, run, "history", "List a user's entries, newest first",
                                    "USER", history, &command);
  command->add_option("--limit", arguments->limit, "How many at the most")
      ->type_name("N")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  command->add_option("--before", arguments->before, "Only entries with a lower seq")
      ->type_name("SEQ")
      ->check(CLI::PositiveNumber);
  add_reader(app, run, "job", "Show a job: its stages, credits and assets in time", "JOB", job);
  add_audit(app, run);
}

}  // namespace tally::cli
