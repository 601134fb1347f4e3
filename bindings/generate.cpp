// Writes the constants of every binding from the engine's and sync's tables, into the folders
// beside this file:
//
//   tally_constants FOLDER          writes them
//   tally_constants --check FOLDER  fails where one is not what the tables say

#include <algorithm>
#include <cctype>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "fields.hpp"
#include "generated.hpp"
#include "tally/engine.hpp"
#include "tally/syncer.hpp"

namespace tally {
namespace {

// ---- what the tables say, as texts ------------------------------------------------------------

/// A named list of words, of which a binding makes an enumeration.
struct WordList {
  std::string noun;  ///< `ENTRY` in TALLY_ENTRY_PURCHASE.
  std::string type;  ///< `EntryType` in Python and TypeScript.
  std::string sentence;
  std::vector<std::string> words;
};

template <class Range>
std::vector<std::string> texts(const Range& range) {
  return {std::begin(range), std::end(range)};
}

/// The names that `name_of` gives the enumerators up to the last.
template <class Enum>
std::vector<std::string> names_up_to(Enum last) {
  std::vector<std::string> names;
  for (int i = 0; i <= static_cast<int>(last); ++i)
    names.emplace_back(sync::name_of(static_cast<Enum>(i)));
  return names;
}

/// All but `each`, which only a batch's row says.
std::vector<std::string> capabilities_of_devices() {
  std::vector<std::string> names = texts(capability_names);
  names.resize(static_cast<std::size_t>(Capability::each));
  return names;
}

const std::vector<WordList>& word_lists() {
  static const std::vector<WordList> lists{
      {"JOB", "JobStatus", "A job's status; a stage is one from SCRIPTING to PACKAGING.",
       texts(job_status_names)},
      {"ENTRY", "EntryType", "What add_credits may add.", texts(entry_types_added)},
      {"NICHE", "NichePreset", "A project's niche.", texts(niche_presets)},
      {"TRANSCRIPT", "TranscriptMode", "Where a project's transcript comes from.",
       texts(transcript_modes)},
      {"ASSET", "AssetType", "What an asset is.", texts(asset_types)},
      {"CAPABILITY", "Capability", "What a device may do.", capabilities_of_devices()},
      {"SYNC", "SyncState", "What a syncer is at.", names_up_to(sync::SyncState::stopped)},
      {"SYNC_ERROR", "SyncErrorClass", "Why an attempt to sync failed, by what follows from it.",
       names_up_to(sync::ErrorClass::local)},
      {"DURABILITY", "Durability", "What an `ok` survives: a power cut, or the process' end.",
       texts(durability_names)},
      {"SPEND", "SpendPolicy", "From what a mirror that is a device lets its operations spend.",
       texts(spend_policy_names)},
      {"LOG", "LogLevel", "How much a line of the log matters.", texts(log_level_names)},
      {"CLASS", "CodeClass", "What an answer means for the caller.", texts(code_class_names)},
  };
  return lists;
}

/// Measurements are C's alone: the other languages have no callback for them yet.
std::vector<WordList> c_word_lists() {
  std::vector<WordList> lists = word_lists();
  std::vector<std::string> words;
  for (const MetricRow& row : metrics) words.emplace_back(row.word);
  lists.push_back({"METRIC", "", "What is measured.", std::move(words)});
  lists.push_back(
      {"METRIC_KIND", "", "What a host makes of a metric's values.", texts(metric_kind_names)});
  return lists;
}

enum class Presence : std::uint8_t { required, optional, not_null, change };

struct FieldText {
  std::string name;
  std::string type;  ///< `id`, `text`, `json`, `integer`, or a WordList's type.
  Presence presence;
};

struct OperationText {
  OperationRow row;
  std::vector<FieldText> fields;
};

std::string type_of_words(Words words) {
  for (const WordList& list : word_lists()) {
    if (std::equal(words.begin(), words.end(), list.words.begin(), list.words.end()))
      return list.type;
  }
  return "text";
}

template <class Value>
std::string type_of(Words words) {
  if constexpr (std::is_same_v<Value, Uuid>) return "id";
  if constexpr (std::is_same_v<Value, Json>) return "json";
  if constexpr (std::is_same_v<Value, JobStatus>) return "JobStatus";
  if constexpr (std::is_same_v<Value, std::string>)
    return words.empty() ? "text" : type_of_words(words);
  return "integer";
}

template <class M>
constexpr Presence presence_of() {
  using Traits = MemberTraits<M>;
  if (Traits::required) return Presence::required;
  if (Traits::change) return Presence::change;
  return Traits::nullable ? Presence::optional : Presence::not_null;
}

template <class T>
OperationText operation_text() {
  OperationText text{T::row, {}};
  T operation{};
  for_each_field(operation, [&](const auto& field, const auto& member) {
    using M = std::remove_cvref_t<decltype(member)>;
    text.fields.push_back({std::string(field.name),
                           type_of<typename MemberTraits<M>::Value>(field.words),
                           presence_of<M>()});
  });
  std::stable_partition(text.fields.begin(), text.fields.end(), [](const FieldText& field) {
    return field.presence == Presence::required;
  });
  return text;
}

template <class... Ts>
std::vector<OperationText> operation_texts(std::type_identity<std::variant<Ts...>>) {
  return {operation_text<Ts>()...};
}

/// All but the batch, whose form each binding has its own way with.
std::vector<OperationText> operations() {
  auto all = operation_texts(std::type_identity<Operation>{});
  std::erase_if(all, [](const OperationText& o) { return o.row.name == Batch::row.name; });
  return all;
}

std::string upper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return out;
}

/// `insufficient_credits` to `InsufficientCredits`.
std::string pascal(std::string_view text) {
  std::string out;
  bool start = true;
  for (const char c : text) {
    if (c == '_') {
      start = true;
      continue;
    }
    out += start ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    start = false;
  }
  return out;
}

std::string listed(const std::vector<std::string>& parts, std::string_view between = ", ") {
  std::string out;
  for (const std::string& part : parts) {
    if (!out.empty()) out += between;
    out += part;
  }
  return out;
}

/// `Capability author. Refusals: job_not_found, ...`
std::string summary(const OperationRow& row) {
  std::string out =
      "Capability " + std::string(capability_names[static_cast<std::size_t>(row.capability)]);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < row.code_count(); ++i) names.emplace_back(name_of(row.codes[i]));
  if (!names.empty()) out += ". Refusals: " + listed(names);
  return out + ".";
}

/// Broken into lines of at most `width` characters behind `indent`.
std::string wrapped(const std::string& text, const std::string& indent, std::size_t width = 96) {
  std::istringstream words(text);
  std::string out;
  std::string line;
  for (std::string word; words >> word;) {
    if (!line.empty() && indent.size() + line.size() + 1 + word.size() > width) {
      out += indent + line + '\n';
      line.clear();
    }
    if (!line.empty()) line += ' ';
    line += word;
  }
  return out + indent + line;
}

constexpr const char* origin =
    "Generated by bindings/generate.cpp from the tables of engine/include/tally; do not edit.";

// ---- C ----------------------------------------------------------------------------------------

std::string c_header() {
  std::string out = "/* The constants of tally.h.\n * " + std::string(origin) +
                    "\n */\n#ifndef TALLY_CONSTANTS_H\n#define TALLY_CONSTANTS_H\n\n"
                    "/* What a call answers: 0, refusals from 1, failures of the world from 100. "
                    "Numbers are never\n * reused. */\nenum {\n";
  for (const CodeRow& row : codes) {
    out += "  /* " + wrapped(std::string(row.sentence), "     ").substr(5) + " */\n  TALLY_" +
           upper(row.name) + " = " + std::to_string(static_cast<int>(row.code)) + ",\n";
  }
  out += "};\n\n/* The operations, as mirrors number them. */\nenum {\n";
  for (const OperationRow& row : operation_table)
    out += "  TALLY_OPERATION_" + upper(row.name) + " = " + std::to_string(row.number) + ",\n";
  out += "};\n";
  for (const WordList& list : c_word_lists()) {
    out += "\n/* " + list.sentence + " */\nenum {\n";
    int number = 0;
    for (const std::string& word : list.words)
      out += "  TALLY_" + list.noun + "_" + upper(word) + " = " + std::to_string(number++) + ",\n";
    out += "};\n";
  }
  return out + "\n#endif\n";
}

// ---- Python -----------------------------------------------------------------------------------

std::string python_type(const FieldText& field) {
  std::string type = field.type;
  if (type == "id") {
    type = "Id";
  } else if (type == "text") {
    type = "str";
  } else if (type == "json") {
    type = "Json";
  } else if (type == "integer") {
    type = "int";
  } else {
    type += " | str";  // The enumeration's member, or its word.
  }
  switch (field.presence) {
    case Presence::required:
      return type;
    case Presence::optional:
      return type + " | None = None";
    case Presence::not_null:
      return type + " | Unchanged = UNCHANGED";
    case Presence::change:
      return type + " | None | Unchanged = UNCHANGED";
  }
  return type;
}

void add_python_operation(std::string& out, const OperationText& operation) {
  const std::string name(operation.row.name);
  std::string items;
  out += "\n    def " + name + "(\n        self,\n        *,\n";
  for (const FieldText& field : operation.fields) {
    out += "        " + field.name + ": " + python_type(field) + ",\n";
    items += "                \"" + field.name + "\": " + field.name + ",\n";
  }
  out +=
      "        op_id: Id | None = None,\n        at: datetime | None = None,\n    ) -> Answer:\n" +
      ("        \"\"\"" + wrapped(summary(operation.row), "        ").substr(8)) + "\"\"\"\n" +
      "        return self._apply(\n            \"" + name + "\",\n            {" +
      (items.empty() ? "" : "\n" + items + "            ") +
      "},\n            op_id,\n            at,\n        )\n";
}

/// What the fields hold, so that a value of another kind is refused before it becomes JSON.
std::string python_fields() {
  std::string out =
      "\n\n#: The fields of each operation, and what each holds.\n"
      "FIELDS: dict[str, dict[str, str]] = {\n";
  for (const OperationText& operation : operations()) {
    std::vector<std::string> items;
    for (const FieldText& field : operation.fields) {
      const bool plain = field.type == "id" || field.type == "json" || field.type == "integer";
      items.push_back("\"" + field.name + "\": \"" + (plain ? field.type : "text") + "\"");
    }
    const std::string head = "    \"" + std::string(operation.row.name) + "\": {";
    const std::string list = listed(items);
    out += head.size() + list.size() + 2 <= 100
               ? head + list + "},\n"
               : head + "\n" + wrapped(list, "        ") + ",\n    },\n";
  }
  return out + "}\n";
}

/// The names that the package shows as its own.
std::string python_all() {
  std::vector<std::string> names{"Code"};
  for (const WordList& list : word_lists()) names.push_back(list.type);
  for (const CodeRow& row : codes)
    if (row.code_class != CodeClass::ok) names.push_back(pascal(row.name));
  std::string out = "\n\n__all__ = [\n";
  for (const std::string& name : names) out += "    \"" + name + "\",\n";
  return out + "]\n";
}

std::string python_module() {
  std::string out = "# " + std::string(origin) +
                    "\n\"\"\"Codes and their exceptions, words, and the operations.\"\"\"\n\n"
                    "from __future__ import annotations\n\nimport enum\nfrom datetime import "
                    "datetime\nfrom typing import TYPE_CHECKING, Any, Generic, TypeVar\n\n"
                    "from ._errors import Failure, Refusal, TallyError\n"
                    "from ._values import UNCHANGED, Unchanged\n\nif TYPE_CHECKING:\n"
                    "    from ._values import Id, Json\n\nAnswer = TypeVar(\"Answer\")\n";
  out += "\n\nclass Code(enum.IntEnum):\n    \"\"\"What a call answers.\"\"\"\n\n";
  for (const CodeRow& row : codes)
    out +=
        "    " + std::string(row.name) + " = " + std::to_string(static_cast<int>(row.code)) + "\n";
  for (const WordList& list : word_lists()) {
    out +=
        "\n\nclass " + list.type + "(str, enum.Enum):\n    \"\"\"" + list.sentence + "\"\"\"\n\n";
    for (const std::string& word : list.words) out += "    " + word + " = \"" + word + "\"\n";
  }
  std::string by_code;
  for (const CodeRow& row : codes) {
    if (row.code_class == CodeClass::ok) continue;
    const std::string type = pascal(row.name);
    out += "\n\nclass " + type + "(" +
           (row.code_class == CodeClass::refusal ? "Refusal" : "Failure") + "):\n    \"\"\"" +
           wrapped(std::string(row.sentence), "    ").substr(4) + "\"\"\"\n\n    code = Code." +
           std::string(row.name) + "\n    name = \"" + std::string(row.name) + "\"\n";
    by_code += "    " + std::to_string(static_cast<int>(row.code)) + ": " + type + ",\n";
  }
  out +=
      "\n\n#: The exception of each code.\nEXCEPTIONS: dict[int, type[TallyError]] = {\n" +
      by_code + "}\n" + python_fields() +
      "\n\nclass Operations(Generic[Answer]):\n"
      "    \"\"\"Every operation but the batch; what they answer is the subclass' choice.\"\"\"\n"
      "\n    def _apply(\n        self, operation: str, fields: dict[str, Any], op_id: Id | "
      "None, at: datetime | None\n    ) -> Answer:\n        raise NotImplementedError\n";
  for (const OperationText& operation : operations()) add_python_operation(out, operation);
  return out + python_all();
}

// ---- JavaScript and TypeScript ----------------------------------------------------------------

/// What JavaScript has to know of a field: how it is checked and written.
std::string js_kind(const std::string& type) {
  return type == "json" || type == "integer" ? type : "text";
}

std::string js_module() {
  std::string out =
      "// " + std::string(origin) + "\n'use strict';\n\nexports.Code = Object.freeze({\n";
  for (const CodeRow& row : codes)
    out += "  " + std::string(row.name) + ": " + std::to_string(static_cast<int>(row.code)) + ",\n";
  out += "});\n";
  for (const WordList& list : word_lists()) {
    out += "\nexports." + list.type + " = Object.freeze({\n";
    for (const std::string& word : list.words) out += "  " + word + ": '" + word + "',\n";
    out += "});\n";
  }
  out +=
      "\n// Every operation but the batch, with the kinds of its fields.\nexports.operations = "
      "Object.freeze({\n";
  for (const OperationText& operation : operations()) {
    std::vector<std::string> fields;
    for (const FieldText& field : operation.fields)
      fields.push_back(field.name + ": '" + js_kind(field.type) + "'");
    const std::string head = "  " + std::string(operation.row.name) + ": {";
    const std::string list = listed(fields);
    if (fields.empty()) {
      out += head + "},\n";
    } else if (head.size() + list.size() + 4 <= 100) {
      out += head + ' ' + list + " },\n";
    } else {
      out += head + "\n    " + listed(fields, ",\n    ") + ",\n  },\n";
    }
  }
  return out + "});\n";
}

std::string ts_type(const FieldText& field) {
  if (field.name == "step_name") return "Stage";
  if (field.type == "id") return "Id";
  if (field.type == "text") return "string";
  if (field.type == "json") return "Json";
  if (field.type == "integer") return "number";
  return field.type;
}

/// `'a'`, each on a line of its own.
std::string ts_union(const std::string& type, const std::vector<std::string>& words) {
  std::string out = "export type " + type + " =";
  for (const std::string& word : words) out += "\n  | '" + word + "'";
  return out + ";\n";
}

/// The job statuses that have a step.
std::vector<std::string> stages() {
  std::vector<std::string> words;
  for (int i = 0; i < static_cast<int>(job_status_names.size()); ++i) {
    if (is_stage(static_cast<JobStatus>(i)))
      words.emplace_back(job_status_names[static_cast<std::size_t>(i)]);
  }
  return words;
}

std::string ts_module() {
  std::string out = "// " + std::string(origin) + "\n\nexport declare const Code: Readonly<{\n";
  for (const CodeRow& row : codes) {
    out += "  /** " + std::string(row.sentence) + " */\n  " + std::string(row.name) + ": " +
           std::to_string(static_cast<int>(row.code)) + ";\n";
  }
  out += "}>;\nexport type CodeName = keyof typeof Code;\n";
  for (const WordList& list : word_lists()) {
    const std::string& type = list.type;
    out += "\n/** " + list.sentence + " */\n" + ts_union(type, list.words) +
           "export declare const " + type + ": Readonly<{ [Word in " + type + "]: Word }>;\n";
  }
  out +=
      "\n/** A status in which somebody works at the job; a step has its name. */\n" +
      ts_union("Stage", stages()) +
      "\n/** A UUID: 8-4-4-4-12 hex digits. */\nexport type Id = string;\n"
      "\n/** Whole numbers beyond 2^53 are BigInts. */\nexport type Json =\n  | null\n  | boolean"
      "\n  | number\n  | bigint\n  | string\n  | readonly Json[]\n"
      "  | { readonly [key: string]: Json | undefined };\n";
  std::string calls;
  std::string all;
  for (const OperationText& operation : operations()) {
    const std::string name(operation.row.name);
    const std::string type = pascal(name);
    bool all_optional = true;
    out += operation.fields.empty() ? "\nexport type " + type + " = Record<never, never>;\n"
                                    : "\nexport interface " + type + " {\n";
    for (const FieldText& field : operation.fields) {
      const bool required = field.presence == Presence::required;
      all_optional = all_optional && !required;
      const bool nullable =
          field.presence == Presence::optional || field.presence == Presence::change;
      out += "  " + field.name + (required ? ": " : "?: ") + ts_type(field) +
             (nullable ? " | null" : "") + (required ? "" : " | undefined") + ";\n";
    }
    if (!operation.fields.empty()) out += "}\n";
    calls += "  /** " + wrapped(summary(operation.row), "   * ").substr(5) + " */\n  " + name +
             "(fields" + (all_optional ? "?" : "") + ": " + type +
             ", call?: Call): Promise<Receipt>;\n";
    all += "  | ({ op: '" + name + "' } & " + type + ")\n";
  }
  all.pop_back();
  return out + "\n/** Any operation but the batch. */\nexport type Operation =\n" + all +
         ";\n\n/** What identifies a call; the engine makes what is absent. */\nexport interface "
         "Call {\n  op_id?: Id | undefined;\n  at?: Date | string | undefined;\n  signal?: "
         "AbortSignal | undefined;\n}\n\n"
         "/** An operation that is ok. */\nexport interface Receipt {\n  op_id: Id;\n  /** Of "
         "the user whom it concerns, after it. */\n  balance: number | null;\n  /** The draft that "
         "claim_draft found. */\n  id: Id | null;\n}\n\n"
         "/** Each applies whole or not at all, and rejects with a TallyError where it is not ok. "
         "*/\nexport interface Operations {\n" +
         calls + "}\n";
}

}  // namespace
}  // namespace tally

int main(int argc, char** argv) {
  using namespace tally;
  const bool check = argc == 3 && std::string_view(argv[1]) == "--check";
  if (argc != 2 && !check) {
    std::cerr << "usage: tally_constants [--check] FOLDER\n";
    return 2;
  }
  const std::string folder = argv[argc - 1];
  bool fine = true;
  const auto page = [&](const char* name, const std::string& text) {
    fine = write_or_check(folder + name, text, check, "run tally_constants on bindings/") && fine;
  };
  page("/c/tally_constants.h", c_header());
  page("/python/tally/_tables.py", python_module());
  page("/node/lib/tables.js", js_module());
  page("/node/lib/tables.d.ts", ts_module());
  return fine ? 0 : 1;
}
