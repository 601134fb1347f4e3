// codes and operations: the tables that everything is made from, as the program itself has them.

#include <algorithm>
#include <memory>

#include "commands.hpp"
#include "embedded.hpp"
#include "fields.hpp"
#include "tally/trace.hpp"

namespace tally::cli {
namespace {

// ---- operations, as texts ----------------------------------------------------------------------

struct FieldText {
  std::string_view name;
  std::string_view type;  ///< `uuid`, `text`, `word`, `json` or `integer`.
  bool required = false;
  bool nullable = false;
  std::int64_t min = 0;
  std::int64_t max = 0;
  std::vector<std::string> words{};
  std::string_view default_value{};
  bool service_only = false;
};

struct OperationText {
  OperationRow row;
  std::vector<FieldText> fields{};
};

template <class Value>
std::string_view type_of(Words words) {
  if constexpr (std::is_same_v<Value, Uuid>) return "uuid";
  if constexpr (std::is_same_v<Value, Json>) return "json";
  if constexpr (std::is_same_v<Value, JobStatus>) return "word";
  if constexpr (std::is_same_v<Value, std::string>) return words.empty() ? "text" : "word";
  return "integer";
}

template <class T>
OperationText operation_text() {
  OperationText text{T::row};
  T operation{};
  for_each_field(operation, [&](const auto& field, const auto& member) {
    using Traits = MemberTraits<std::remove_cvref_t<decltype(member)>>;
    text.fields.push_back({field.name, type_of<typename Traits::Value>(field.words),
                           Traits::required, Traits::nullable, field.min, field.max,
                           words_of(field.words), field.default_value, field.service_only});
  });
  // A batch's one field is a list of commands, which the table has no type for.
  if (T::row.name == Batch::row.name)
    text.fields.push_back({"ops", "operations", true, false, 1, batch_operations_max});
  return text;
}

template <class... Ts>
std::vector<OperationText> operation_texts(std::type_identity<std::variant<Ts...>>) {
  return {operation_text<Ts>()...};
}

std::vector<OperationText> operations() { return operation_texts(std::type_identity<Operation>{}); }

std::vector<std::string> operation_names() {
  std::vector<std::string> names;
  for (const OperationRow& row : operation_table) names.emplace_back(row.name);
  return names;
}

/// What any operation may answer besides its own codes.
constexpr std::array common_codes{Code::ok, Code::not_permitted, Code::operation_conflict,
                                  Code::invalid_argument};

std::vector<Code> own_codes(const OperationRow& row) {
  return {row.codes.begin(), row.codes.begin() + static_cast<std::ptrdiff_t>(row.code_count())};
}

/// Those, what every operation may answer, and what a worker's may: a claim is another device's,
/// the reservation another one. Codes are numbered in the order of the checks.
std::vector<Code> all_codes(const OperationRow& row) {
  std::vector<Code> all = own_codes(row);
  all.insert(all.end(), common_codes.begin(), common_codes.end());
  if (row.capability == Capability::worker) all.push_back(Code::not_claim_holder);
  if (row.names_reservation) all.push_back(Code::stale_reservation);
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

std::string_view capability_of(const OperationRow& row) {
  return capability_names[static_cast<std::size_t>(row.capability)];
}

/// `1 to 2,147,483,647`, `at most 255 bytes`, `author, worker`; nothing where all goes.
std::string limits_of(const FieldText& field) {
  if (field.type == "word") return field.words.empty() ? "" : joined(field.words);
  if (field.type == "integer") return thousands(field.min) + " to " + thousands(field.max);
  if (field.type == "operations")
    return thousands(field.min) + " to " + thousands(field.max) + ", each with its own op_id";
  if (field.type == "text" || field.type == "json")
    return "at most " + thousands(field.max) + " bytes";
  return {};
}

std::string meaning_of(const FieldText& field) {
  std::string out(field.type == "word" ? "one of" : field.type);
  if (const std::string limits = limits_of(field); !limits.empty())
    out += (field.type == "word" ? " " : ", ") + limits;
  if (!field.required) out += "; may be absent";
  if (!field.required && field.nullable) out += " or null";
  if (!field.default_value.empty()) out += ", which means " + std::string(field.default_value);
  if (field.service_only) out += "; needs the capability service";
  return out;
}

// ---- the examples ------------------------------------------------------------------------------

/// The lines of the trace that shows every operation, with what each is of.
struct ExampleLine {
  std::string line;
  OperationRow row;
};

const std::vector<ExampleLine>& example_trace() {
  static const std::vector<ExampleLine> trace = [] {
    std::vector<ExampleLine> lines;
    for (std::string& line : lines_of(embedded("operations.jsonl"))) {
      if (const auto command = parse_trace_line(line))
        lines.push_back({std::move(line), row_of(command->operation)});
    }
    return lines;
  }();
  return trace;
}

std::size_t example_of(std::string_view name) {
  const auto& trace = example_trace();
  const auto found = std::find_if(trace.begin(), trace.end(), [&](const ExampleLine& example) {
    return example.row.name == name;
  });
  return static_cast<std::size_t>(found - trace.begin());
}

/// The example and all that must come before it; of none the whole trace, but for what a mirror
/// that is no device refuses.
void print_trace(const std::string& name) {
  const auto& trace = example_trace();
  const std::size_t end = name.empty() ? trace.size() : example_of(name) + 1;
  for (std::size_t i = 0; i < end; ++i) {
    if (!name.empty() || !trace[i].row.needs_device) print(trace[i].line + "\n");
  }
}

// ---- codes -------------------------------------------------------------------------------------

std::vector<std::string> answered_by(Code code) {
  std::vector<std::string> names;
  for (const OperationRow& row : operation_table) {
    const auto of_row = all_codes(row);
    if (std::find(of_row.begin(), of_row.end(), code) != of_row.end()) names.emplace_back(row.name);
  }
  return names;
}

JsonValue to_json(const CodeRow& row) {
  return {{"number", static_cast<int>(row.code)},
          {"code", row.name},
          {"class", name_of(row.code_class)},
          {"sentence", row.sentence},
          {"remedy", row.remedy}};
}

std::string_view meaning_of(CodeClass code_class) {
  switch (code_class) {
    case CodeClass::ok:
      return "it happened";
    case CodeClass::refusal:
      return "decided, and nothing changed; the same again gives the same answer";
    case CodeClass::failure:
      break;
  }
  return "nothing was decided; try again when the world is better";
}

/// By its name or by its number.
const CodeRow& code_row(const std::string& wanted) {
  std::vector<std::string> names;
  for (const CodeRow& row : codes) {
    if (row.name == wanted || std::to_string(static_cast<int>(row.code)) == wanted) return row;
    names.emplace_back(row.name);
  }
  throw Stop{Exit::usage, "usage",
             "there is no code '" + wanted + "'" + did_you_mean(wanted, names) +
                 "; tally codes lists them"};
}

Exit show_code(const std::string& wanted, bool json) {
  const CodeRow& row = code_row(wanted);
  const std::vector<std::string> names = answered_by(row.code);
  if (json) {
    JsonValue value = to_json(row);
    value["operations"] = names;
    print_json(value);
    return Exit::fine;
  }
  print("code      " + paint(Paint::bold, row.name) + "\nnumber    " +
        std::to_string(static_cast<int>(row.code)) + "\nclass     " +
        std::string(name_of(row.code_class)) + ": " + std::string(meaning_of(row.code_class)) +
        "\nmeaning   " + wrapped(row.sentence, page_width(), 10) + "\nto do     " +
        wrapped(row.remedy, page_width(), 10) + "\n");
  if (names.size() == operation_table.size()) {
    print("from      every operation\n");
  } else if (!names.empty()) {
    print("from      " + wrapped(joined(names), page_width(), 10) + "\n");
  }
  return Exit::fine;
}

Exit list_codes(bool json) {
  if (json) {
    JsonValue list = JsonValue::array();
    for (const CodeRow& row : codes) list.push_back(to_json(row));
    print_json({{"codes", std::move(list)}});
    return Exit::fine;
  }
  Table table({{"number", true}, {"code"}, {"class"}, {"meaning"}});
  for (const CodeRow& row : codes) {
    table.add({std::to_string(static_cast<int>(row.code)), std::string(row.name),
               std::string(name_of(row.code_class)), std::string(row.sentence)});
  }
  print(table.text());
  return Exit::fine;
}

// ---- operations --------------------------------------------------------------------------------

JsonValue to_json(const FieldText& field) {
  JsonValue value{{"name", field.name},
                  {"type", field.type},
                  {"required", field.required},
                  {"nullable", field.nullable}};
  if (field.type == "integer" || field.type == "operations") {
    value["min"] = field.min;
    value["max"] = field.max;
  } else if (field.type == "word") {
    value["words"] = field.words;
  } else if (field.type != "uuid") {
    value["bytes_max"] = field.max;
  }
  if (!field.default_value.empty()) value["default"] = field.default_value;
  if (field.service_only) value["capability"] = "service";
  return value;
}

JsonValue to_json(const OperationText& operation) {
  JsonValue fields = JsonValue::array();
  for (const FieldText& field : operation.fields) fields.push_back(to_json(field));
  JsonValue names = JsonValue::array();
  for (const Code code : own_codes(operation.row)) names.push_back(name_of(code));
  JsonValue all = JsonValue::array();
  for (const Code code : all_codes(operation.row)) all.push_back(name_of(code));
  return {{"number", operation.row.number},
          {"operation", operation.row.name},
          {"capability", capability_of(operation.row)},
          {"needs_device", operation.row.needs_device},
          {"fields", std::move(fields)},
          {"codes", std::move(names)},
          {"all_codes", std::move(all)},
          {"example", JsonValue::parse(example_trace()[example_of(operation.row.name)].line)}};
}

OperationText operation_named(const std::string& wanted) {
  for (OperationText& operation : operations()) {
    if (operation.row.name == wanted) return std::move(operation);
  }
  throw Stop{Exit::usage, "usage",
             "there is no operation '" + wanted + "'" + did_you_mean(wanted, operation_names()) +
                 "; tally operations lists them"};
}

void print_operation(const OperationText& operation) {
  const OperationRow& row = operation.row;
  print("operation   " + paint(Paint::bold, row.name) + "\ncapability  " +
        std::string(row.capability == Capability::each ? "each operation's own"
                                                       : capability_of(row)) +
        (row.needs_device ? ", on a mirror that is a device" : "") + "\n");
  Table fields({{"field"}, {"what it holds"}});
  for (const FieldText& field : operation.fields)
    fields.add({std::string(field.name), meaning_of(field)});
  fields.add({"op_id", "uuid; the operation counts once by it"});
  fields.add({"at", "time, in UTC with microseconds"});
  print("\n" + fields.text());
  Table answers({{"code, in the order of checks"}, {"meaning"}});
  for (const Code code : all_codes(row))
    answers.add({std::string(name_of(code)), std::string(row_of(code).sentence)});
  print("\n" + answers.text() + "\nexample, on its line of a trace:\n" +
        example_trace()[example_of(row.name)].line + "\n");
}

void list_operations(bool json) {
  JsonValue list = JsonValue::array();
  Table table({{"operation"}, {"capability"}, {"fields"}});
  for (const OperationText& operation : operations()) {
    list.push_back(to_json(operation));
    std::vector<std::string> fields;
    for (const FieldText& field : operation.fields)
      fields.push_back(std::string(field.name) + (field.required ? "" : "?"));
    table.add({std::string(operation.row.name), std::string(capability_of(operation.row)),
               joined(fields)});
  }
  if (json) {
    print_json({{"operations", std::move(list)}});
  } else {
    print(table.text());
  }
}

Exit run_operations(const std::string& name, bool trace, bool json) {
  if (!name.empty()) {
    const OperationText operation = operation_named(name);
    if (!trace && json) print_json(to_json(operation));
    if (!trace && !json) print_operation(operation);
  } else if (!trace) {
    list_operations(json);
  }
  if (trace) print_trace(name);
  return Exit::fine;
}

// ---- the commands ------------------------------------------------------------------------------

std::vector<Term> code_terms() {
  std::vector<Term> terms;
  for (const CodeRow& row : codes) {
    terms.push_back({std::string(row.name), std::string(name_of(row.code_class)) + " " +
                                                std::to_string(static_cast<int>(row.code)) + ": " +
                                                std::string(row.sentence)});
  }
  return terms;
}

std::vector<Term> operation_terms() {
  std::vector<Term> terms;
  for (const OperationText& operation : operations()) {
    std::vector<std::string> fields;
    for (const FieldText& field : operation.fields)
      fields.push_back(std::string(field.name) + (field.required ? "" : "?"));
    std::vector<std::string> names;
    for (const Code code : own_codes(operation.row)) names.emplace_back(name_of(code));
    terms.push_back({std::string(operation.row.name),
                     "Capability " + std::string(capability_of(operation.row)) + "." +
                         (fields.empty() ? "" : " Fields: " + joined(fields) + ".") +
                         (names.empty() ? "" : " Codes: " + joined(names) + ".")});
  }
  return terms;
}

constexpr Manual codes_manual{
    .name = "codes",
    .what = "List the codes that an operation or a call can answer",
    .section = Section::tools,
    .does =
        "A code a line: its number, name, class and meaning; of one code also the operations "
        "that answer it. A refusal was decided and changed nothing, and the same again gives "
        "the same answer. A failure is the world's: nothing was decided. Names and numbers "
        "are the same in every binding, and no number is used again.",
    .on_disk = "What was there: no file is read.",
    .examples = {{{"All codes", "tally codes"},
                  {"One of them", "tally codes insufficient_credits"},
                  {"By the number that a C function gave back", "tally codes 41 --json"}}},
    .fine = "They are listed.",
    .related = "operations, rejected show",
    .terms_title = "Codes",
    .terms = code_terms};

constexpr Manual operations_manual{
    .name = "operations",
    .what = "List the operations, with fields, capability, codes and examples",
    .section = Section::tools,
    .does =
        "Everything that can be done to a ledger is one of these. Of one operation it shows "
        "what each field holds, the codes in the order in which they are checked, and a line "
        "of a trace that really applies. Every operation also carries op_id and at, and may "
        "answer not_permitted, operation_conflict and invalid_argument. A field with a "
        "question mark may be absent.\n\n"
        "With --trace it prints the examples alone, as a trace: of one operation all that "
        "must come before it, too.",
    .on_disk = "What was there: no file is read.",
    .examples = {{{"All operations", "tally operations"},
                  {"One of them, with its example", "tally operations reserve_credits"},
                  {"Try it: its example, and what that needs, on a new mirror",
                   "tally operations reserve_credits --trace | tally replay - --db try.db"}}},
    .fine = "They are listed.",
    .related = "replay, codes",
    .terms_title = "Operations",
    .terms = operation_terms};

void add_codes(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, codes_manual);
  auto code = std::make_shared<std::string>();
  std::vector<std::string> names;
  for (const CodeRow& row : codes) names.emplace_back(row.name);
  run.manuals.words[command->add_option("code", *code, "Only this one, by name or number")
                        ->type_name("CODE")] = std::move(names);
  command->callback([=, &run] {
    run.command = [=, &run] {
      return code->empty() ? list_codes(run.json) : show_code(*code, run.json);
    };
  });
}

void add_operations(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, operations_manual);
  auto name = std::make_shared<std::string>();
  auto trace = std::make_shared<bool>(false);
  run.manuals.words[command->add_option("name", *name, "Only this one")->type_name("NAME")] =
      operation_names();
  command->add_flag("--trace", *trace, "Print the examples as a trace, for tally replay");
  command->callback(
      [=, &run] { run.command = [=, &run] { return run_operations(*name, *trace, run.json); }; });
}

}  // namespace

void add_table_commands(CLI::App& app, Run& run) {
  add_codes(app, run);
  add_operations(app, run);
}

}  // namespace tally::cli
