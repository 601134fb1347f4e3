#include "manual.hpp"

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "output.hpp"

namespace tally::cli {
namespace {

/// Insertions, deletions, exchanges and swaps of neighbours that make one word of the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), 0U);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] =
          std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = std::exchange(last, row);
  }
  return last[b.size()];
}

/// CLI11 keeps a range in the text of the type alone: `N:INT in [1 - 10]`.
std::string range_in(const std::string& type) {
  const std::size_t start = type.find(" in [");
  const std::size_t middle = type.find(" - ", start);
  const std::size_t end = type.find(']', start);
  if (start == std::string::npos || middle == std::string::npos || end == std::string::npos)
    return {};
  return type.substr(start + 5, middle - start - 5) + " to " +
         type.substr(middle + 3, end - middle - 3);
}

std::vector<std::string> names_of(const std::set<CLI::Option*>& options) {
  std::vector<std::string> names;
  for (const CLI::Option* option : options) names.push_back(option->get_name());
  std::sort(names.begin(), names.end());  // The parser's order is that of addresses.
  return names;
}

/// What a value is limited to and what else the option asks for, in brackets behind a blank.
std::string limits_of(const CLI::Option& option, const std::vector<std::string>& words) {
  std::vector<std::string> limits;
  if (!words.empty() && words.size() <= 8) limits.push_back(joined(words));
  if (std::string range = range_in(option.get_type_name()); !range.empty())
    limits.push_back(std::move(range));
  if (!option.get_needs().empty()) limits.push_back("with " + joined(names_of(option.get_needs())));
  if (!option.get_excludes().empty())
    limits.push_back("not with " + joined(names_of(option.get_excludes())));
  if (!option.get_default_str().empty()) limits.push_back("default " + option.get_default_str());
  return limits.empty() ? "" : " (" + joined(limits, "; ") + ")";
}

OptionText option_text(const CLI::Option& option, const Manuals& manuals, bool is_alternative) {
  OptionText text;
  const bool is_flag = option.get_items_expected_max() == 0;
  const std::string type = option.get_type_name();
  if (!is_flag) text.value = type.substr(0, type.find(':'));
  text.is_argument = option.get_positional();
  text.name = text.is_argument ? text.value : "--" + option.get_lnames().front();
  if (!option.get_snames().empty()) text.short_name = "-" + option.get_snames().front();
  if (const auto words = manuals.words.find(&option); words != manuals.words.end())
    text.words = words->second;
  text.what = option.get_description() + limits_of(option, text.words);
  text.excludes = names_of(option.get_excludes());
  text.required = option.get_required();
  text.is_alternative = is_alternative;
  text.between = option.get_delimiter();
  text.repeats = option.get_items_expected_max() > 1 && text.between == '\0';
  return text;
}

void add_options(CommandText& text, const CLI::App& app, const Manuals& manuals,
                 bool are_alternatives) {
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_group().empty())
      text.options.push_back(option_text(*option, manuals, are_alternatives));
  }
}

/// Arguments, then what must be there, then what may be; what every command has comes last.
int rank(const OptionText& option) {
  if (option.is_argument) return 0;
  if (option.required) return 1;
  if (option.is_alternative) return 2;
  if (option.name == "--json") return 4;
  return option.name == "--help" ? 5 : 3;
}

CommandText described(const CLI::App& app, const Manuals& manuals, const std::string& path) {
  CommandText text;
  text.path = path;
  text.manual = manuals.of.at(&app);
  add_options(text, app, manuals, false);
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (sub->get_name().empty()) {
      add_options(text, *sub, manuals, true);
    } else {
      text.commands.push_back(
          described(*sub, manuals, path.empty() ? sub->get_name() : path + " " + sub->get_name()));
    }
  }
  std::stable_sort(text.options.begin(), text.options.end(),
                   [](const OptionText& a, const OptionText& b) { return rank(a) < rank(b); });
  return text;
}

}  // namespace

CLI::Option* one_of(CLI::Option* option, Manuals& manuals, std::vector<std::string> words) {
  option->check([words](const std::string& value) {
    if (std::find(words.begin(), words.end(), value) != words.end()) return std::string();
    const std::string near = did_you_mean(value, words);
    return "'" + value + "' is none of its words" +
           (near.empty() && words.size() <= 8 ? ": " + joined(words) : near);
  });
  manuals.words[option] = std::move(words);
  return option;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known) {
  if (word.empty()) return {};
  // A third of the letters may be wrong; a beginning of three letters will do as well. Of two that
  // are as near the one with the same first letter is meant: that is seldom mistyped.
  const std::string* nearest = nullptr;
  std::size_t least = 2 * (std::max<std::size_t>(1, word.size() / 3) + 1);
  for (const std::string& candidate : known) {
    const bool is_beginning = word.size() >= 3 && candidate.starts_with(word);
    const std::size_t steps = 2 * (is_beginning ? 1 : distance(word, candidate)) +
                              (candidate.front() == word.front() ? 0 : 1);
    if (steps >= least) continue;
    least = steps;
    nearest = &candidate;
  }
  return nearest == nullptr ? "" : "; did you mean " + *nearest + "?";
}

std::vector<std::string> CommandText::command_names() const {
  std::vector<std::string> names;
  for (const CommandText& command : commands) names.emplace_back(command.manual->name);
  return names;
}

std::string CommandText::no_command(const std::string& name) const {
  return (path.empty() ? "there is" : full_name() + " has") + " no command '" + name + "'" +
         did_you_mean(name, command_names());
}

std::vector<std::string> CommandText::synopsis() const {
  if (!commands.empty()) return {"COMMAND", "[options]"};
  std::vector<std::string> pieces;
  std::string alternatives;
  const auto end_alternatives = [&] {
    if (!alternatives.empty()) pieces.push_back(std::exchange(alternatives, {}) + ")");
  };
  for (const OptionText& option : options) {
    std::string piece = option.name;
    if (!option.is_argument && !option.value.empty()) piece += " " + option.value;
    if (option.is_alternative) {
      alternatives += (alternatives.empty() ? "(" : " | ") + piece;
      continue;
    }
    end_alternatives();
    if (option.name == "--help") continue;
    if (!option.required) piece = "[" + piece + "]";
    pieces.push_back(piece + (option.repeats ? "..." : ""));
  }
  end_alternatives();
  return pieces;
}

std::vector<Example> CommandText::examples() const {
  std::vector<Example> all;
  for (const Example& example : manual->examples) {
    if (!example.lines.empty()) all.push_back(example);
  }
  if (!path.empty()) {
    for (const CommandText& command : commands) all.push_back(command.manual->examples.front());
  }
  return all;
}

CommandText describe(const CLI::App& app, const Manuals& manuals) {
  std::string path;
  for (const CLI::App* each = &app; each->get_parent() != nullptr; each = each->get_parent())
    path = each->get_name() + (path.empty() ? "" : " " + path);
  return described(app, manuals, path);
}

std::vector<Term> exit_terms(const Manual& manual) {
  std::vector<Term> terms;
  if (!manual.fine.empty()) terms.push_back({"0", std::string(manual.fine)});
  if (!manual.refused.empty()) terms.push_back({"1", std::string(manual.refused)});
  terms.push_back({"2", "The command line is wrong; nothing was done."});
  terms.push_back({"3", "A failure of the world: disk, server, memory, a closed output."});
  return terms;
}

std::vector<std::string> split(std::string_view text, std::string_view between) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(between), text.size());
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + between.size(), text.size()));
  }
  return parts;
}

}  // namespace tally::cli
