// Writes the reference pages beside this file from the engine's tables:
//
//   tally_reference FOLDER          writes them
//   tally_reference --check FOLDER  fails where one is not what the tables say

#include <iostream>
#include <string>

#include "fields.hpp"
#include "generated.hpp"
#include "tally/telemetry.hpp"

namespace tally {
namespace {

std::string code_word(std::string_view name) { return "`" + std::string(name) + "`"; }

std::string codes_page() {
  std::string page =
      "# Codes\n\nGenerated from `include/tally/code.hpp`. A refusal changed nothing and is "
      "decided; a "
      "failure decided nothing. Numbers are never reused.\n\n| number | code | class | meaning |\n"
      "| --- | --- | --- | --- |\n";
  for (const CodeRow& row : codes) {
    page += "| " + std::to_string(static_cast<int>(row.code)) + " | " + code_word(row.name) +
            " | " + std::string(name_of(row.code_class)) + " | " + std::string(row.sentence) +
            " |\n";
  }
  page += "\n## What to do\n\n| code | what to do about it |\n| --- | --- |\n";
  for (const CodeRow& row : codes)
    page += "| " + code_word(row.name) + " | " + std::string(row.remedy) + " |\n";
  return page;
}

template <class T>
std::string fields_cell() {
  std::string cell;
  T operation{};
  for_each_field(operation, [&](const auto& field, const auto& member) {
    using Traits = MemberTraits<std::remove_cvref_t<decltype(member)>>;
    if (!cell.empty()) cell += ", ";
    cell += std::string(field.name) + (Traits::required ? "" : "?");
  });
  if (T::row.name == Batch::row.name) cell = "ops";
  return cell;
}

template <class... Ts>
std::string operations_page(std::type_identity<std::variant<Ts...>>) {
  std::string page =
      "# Operations\n\nGenerated from `include/tally/operations.hpp`. Every operation also carries "
      "`op_id` "
      "and `at`; `?` marks a field that may be absent. Besides the codes named, any may answer "
      "`operation_conflict`, `invalid_argument` and `not_permitted`.\n\n"
      "| number | operation | fields | capability | codes, in check order |\n| --- | --- | --- | "
      "--- | --- |\n";
  const auto add = [&](const OperationRow& row, const std::string& fields) {
    page += "| " + std::to_string(row.number) + " | " + code_word(row.name) + " | " + fields +
            " | " + std::string(capability_names[static_cast<std::size_t>(row.capability)]) + " | ";
    for (std::size_t i = 0; i < row.code_count(); ++i) {
      page += (i == 0 ? "" : ", ") + code_word(name_of(row.codes[i]));
    }
    page += " |\n";
  };
  (add(Ts::row, fields_cell<Ts>()), ...);
  return page;
}

/// The table as a Mermaid diagram, one arrow a move. READY and FAILED are where nobody works on a
/// job any more, though a retry leaves FAILED.
std::string job_diagram() {
  std::string diagram = "```mermaid\nstateDiagram-v2\n  [*] --> PENDING: create_job\n";
  for (const JobMove& move : job_moves) {
    diagram += "  " + std::string(name_of(move.from)) + " --> " + std::string(name_of(move.to)) +
               ": " + std::string(move.by) + " (" + std::string(name_of(move.hold)) + ")\n";
  }
  for (const JobStatus last : {JobStatus::READY, JobStatus::FAILED})
    diagram += "  " + std::string(name_of(last)) + " --> [*]\n";
  return diagram + "```\n";
}

std::string job_machine_page() {
  std::string page =
      "# The job machine\n\nGenerated from `include/tally/job_machine.hpp`. What is not here is "
      "`illegal_transition`.\n\n| from | to | by | the hold | why |\n| --- | --- | --- | --- | --- "
      "|\n";
  for (const JobMove& move : job_moves) {
    page += "| " + std::string(name_of(move.from)) + " | " + std::string(name_of(move.to)) + " | " +
            code_word(move.by) + " | " + std::string(name_of(move.hold)) + " | " +
            std::string(move.why) + " |\n";
  }
  page +=
      "\n## Drawn\n\nEach arrow is a row of the table: the operation, and what it asks of the hold "
      "or does to it.\n\n" +
      job_diagram();
  return page;
}

std::string telemetry_page() {
  std::string page =
      "# Telemetry\n\nGenerated from `include/tally/telemetry.hpp`. Measurements come through the "
      "callback `metric` of the engine's options, on the thread whose call they are about; where "
      "there is none, nothing is measured. Names and units are OpenTelemetry's.\n\n"
      "| number | metric | kind | unit | attributes | what it is |\n| --- | --- | --- | --- | --- "
      "| "
      "--- |\n";
  for (const MetricRow& row : metrics) {
    page += "| " + std::to_string(static_cast<int>(row.metric)) + " | " + code_word(row.name) +
            " | " + std::string(name_of(row.kind)) + " | " + code_word(row.unit) + " | " +
            (row.attributes.empty() ? "" : code_word(row.attributes)) + " | " +
            std::string(row.sentence) + " |\n";
  }
  page +=
      "\nA line of the log begins with its event and a colon.\n\n| event | what it is |\n"
      "| --- | --- |\n";
  for (const LogEventRow& row : log_events)
    page += "| " + code_word(row.name) + " | " + std::string(row.sentence) + " |\n";
  return page;
}

}  // namespace
}  // namespace tally

int main(int argc, char** argv) {
  using namespace tally;
  const bool check = argc == 3 && std::string_view(argv[1]) == "--check";
  if (argc != 2 && !check) {
    std::cerr << "usage: tally_reference [--check] FOLDER\n";
    return 2;
  }
  const std::string folder = argv[argc - 1];
  bool fine = true;
  const auto page = [&](const char* name, const std::string& text) {
    fine = write_or_check(folder + name, text, check, "run tally_reference on its folder") && fine;
  };
  page("/codes.md", codes_page());
  page("/operations.md", operations_page(std::type_identity<Operation>{}));
  page("/job_machine.md", job_machine_page());
  page("/telemetry.md", telemetry_page());
  return fine ? 0 : 1;
}
