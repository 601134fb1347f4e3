// A command's help, as a terminal shows it.

#include <algorithm>

#include "manual.hpp"
#include "output.hpp"

namespace tally::cli {
namespace {

std::string heading(std::string_view text) { return "\n" + paint(Paint::bold, text) + "\n"; }

/// Terms with what they mean beside them; below them where the page is narrow or a term long.
std::string term_list(const std::vector<Term>& terms, std::size_t width) {
  constexpr std::size_t indent = 2;
  constexpr std::size_t column_max = 26;
  std::size_t column = 0;
  for (const Term& term : terms) {
    const std::size_t end = indent + term.name.size() + 2;
    if (end <= column_max) column = std::max(column, end);
  }
  const bool is_narrow = width < 60 && column > 6;
  if (is_narrow || column == 0) column = 6;
  std::string out;
  for (const Term& term : terms) {
    out += std::string(indent, ' ') + term.name;
    const std::size_t end = indent + term.name.size();
    out += end + 2 <= column ? std::string(column - end, ' ') : "\n" + std::string(column, ' ');
    out += wrapped(term.what, width, column) + "\n";
  }
  return out;
}

std::string usage_line(const CommandText& command, std::size_t width) {
  std::vector<std::string> pieces = command.synopsis();
  pieces.insert(pieces.begin(), "usage: " + command.full_name());
  const std::size_t indent = std::min<std::size_t>(pieces.front().size() + 1, width / 3);
  return wrapped(pieces, width, indent) + "\n";
}

std::string paragraphs(std::string_view text, std::size_t width) {
  std::string out;
  for (const std::string& paragraph : split(text, "\n\n"))
    out += "\n" + wrapped(paragraph, width, 0) + "\n";
  return out;
}

std::vector<Term> terms_of(const std::vector<OptionText>& options) {
  std::vector<Term> terms;
  for (const OptionText& option : options) {
    std::string name = option.short_name.empty() ? "" : option.short_name + ", ";
    name += option.name;
    if (!option.is_argument && !option.value.empty()) name += " " + option.value;
    terms.push_back({std::move(name), option.what});
  }
  return terms;
}

std::string command_lists(const CommandText& command, std::size_t width) {
  if (command.commands.empty()) return {};
  const auto list = [&](const auto& is_wanted) {
    std::vector<Term> terms;
    for (const CommandText& each : command.commands) {
      if (is_wanted(each))
        terms.push_back({std::string(each.manual->name), std::string(each.manual->what)});
    }
    return term_list(terms, width);
  };
  if (!command.path.empty()) return heading("Commands") + list([](const auto&) { return true; });
  std::string out;
  for (std::size_t i = 0; i < section_titles.size(); ++i) {
    out += heading(section_titles[i]) + list([i](const CommandText& each) {
             return static_cast<std::size_t>(each.manual->section) == i;
           });
  }
  return out;
}

/// Examples are to be pasted, so none of their lines is broken.
std::string example_list(const std::vector<Example>& examples, std::size_t width) {
  std::string out;
  for (const Example& example : examples) {
    if (!out.empty()) out += "\n";
    for (const std::string& line : split(wrapped(example.what, width - 4, 0), "\n"))
      out += "  " + paint(Paint::dim, "# " + line) + "\n";
    for (const std::string& line : split(example.lines, "\n")) out += "  " + line + "\n";
  }
  return out;
}

std::string related_list(const Manual& manual, std::size_t width) {
  std::vector<std::string> names;
  for (const std::string& name : split(manual.related, ", "))
    names.push_back("tally " + name + ",");
  if (names.empty()) return {};
  names.back().pop_back();
  return "  " + wrapped(names, width - 2, 2) + "\n";
}

}  // namespace

std::string help_text(const CommandText& command) {
  const std::size_t width = page_width();
  const Manual& manual = *command.manual;
  const std::string title = command.full_name() + ": " + std::string(manual.what);
  std::string out = paint(Paint::bold, wrapped(title, width, 0)) + "\n\n";
  out += usage_line(command, width) + paragraphs(manual.does, width);
  if (!manual.on_disk.empty())
    out += heading("On disk when it returns") + "  " + wrapped(manual.on_disk, width, 2) + "\n";
  out += command_lists(command, width);
  out += heading("Options") + term_list(terms_of(command.options), width);
  if (command.path.empty()) out += heading(manual.terms_title) + term_list(manual.terms(), width);
  out += heading("Examples") + example_list(command.examples(), width);
  if (!manual.fine.empty()) out += heading("Exit status") + term_list(exit_terms(manual), width);
  if (const std::string related = related_list(manual, width); !related.empty())
    out += heading("See also") + related;
  return out;
}

}  // namespace tally::cli
