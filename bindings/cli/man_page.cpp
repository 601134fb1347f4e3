// A page for man, in roff.

#include <algorithm>
#include <sstream>

#include "manual.hpp"
#include "tally/engine.hpp"

namespace tally::cli {
namespace {

/// Text as roff shows it unchanged. In what is to be typed a hyphen is the one on the keyboard.
std::string escaped(std::string_view text, bool is_typed) {
  std::string out;
  if (text.starts_with('.')) out = "\\&";
  for (const char c : text) {
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-' && is_typed) {
      out += "\\-";
    } else if (c == '\'') {
      out += "\\(aq";
    } else if (c == '~' || c == '^' || c == '`') {
      out += c == '~' ? "\\(ti" : c == '^' ? "\\(ha" : "\\(ga";
    } else {
      out += c;
    }
  }
  return out;
}

std::string bold(std::string_view text) { return "\\fB" + escaped(text, true) + "\\fR"; }

/// Sentences; the options that they name are bold.
std::string prose(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::string out;
  for (std::string word; stream >> word;) {
    const std::size_t start = word.starts_with('(') ? 1 : 0;
    const std::size_t end = word.find_last_not_of(".,;:)") + 1;
    const bool is_option = word.size() > start + 2 && word.compare(start, 2, "--") == 0;
    if (!out.empty()) out += ' ';
    out += is_option && end > start
               ? word.substr(0, start) + bold(std::string_view(word).substr(start, end - start)) +
                     word.substr(end)
               : escaped(word, false);
  }
  return out.starts_with("\\fB") ? "\\&" + out : out;
}

std::string paragraphs(std::string_view text) {
  std::string out;
  for (const std::string& paragraph : split(text, "\n\n")) out += ".PP\n" + prose(paragraph) + "\n";
  return out;
}

std::string term(const std::string& name, std::string_view what) {
  return ".TP\n" + name + "\n" + prose(what) + "\n";
}

std::string name_of(const OptionText& option) {
  std::string out = option.short_name.empty() ? "" : bold(option.short_name) + ", ";
  if (option.is_argument) return "\\fI" + option.name + "\\fR";
  out += bold(option.name);
  if (!option.value.empty()) out += " \\fI" + option.value + "\\fR";
  return out;
}

/// What is in capitals stands for something else; the rest is to be typed.
std::string synopsis(const CommandText& command) {
  std::string out = ".HP\n" + bold(command.full_name());
  for (const std::string& piece : command.synopsis()) {
    std::string word;
    out += ' ';
    for (const char c : piece + '\0') {
      const bool is_part = (std::isalnum(static_cast<unsigned char>(c)) != 0) || c == '-';
      if (is_part) {
        word += c;
        continue;
      }
      const bool is_name = !word.empty() && std::isupper(static_cast<unsigned char>(word[0])) != 0;
      if (!word.empty()) out += is_name ? "\\fI" + word + "\\fR" : bold(word);
      word.clear();
      // A piece is not to be broken.
      if (c != '\0') out += c == ' ' ? "\\ " : std::string(1, c);
    }
  }
  return out + "\n";
}

std::string example_list(const std::vector<Example>& examples) {
  std::string out;
  for (const Example& example : examples) {
    out += ".PP\n" + prose(example.what) + ":\n.PP\n.RS 4\n.EX\n";
    for (const std::string& line : split(example.lines, "\n")) out += escaped(line, true) + "\n";
    out += ".EE\n.RE\n";
  }
  return out;
}

std::string see_also(const CommandText& command) {
  std::vector<std::string> pages;
  const auto add = [&](std::string page) {
    if (std::find(pages.begin(), pages.end(), page) == pages.end() &&
        page != "tally-" + command.path)
      pages.push_back(std::move(page));
  };
  if (!command.path.empty()) add("tally");
  for (const std::string& name : split(command.manual->related, ", "))
    add("tally-" + name.substr(0, name.find(' ')));
  for (const CommandText& each : command.commands) {
    if (command.path.empty()) add("tally-" + each.path);
    for (const std::string& name : split(each.manual->related, ", "))
      if (!command.path.empty()) add("tally-" + name.substr(0, name.find(' ')));
  }
  std::string out;
  for (const std::string& page : pages) {
    out += ".BR " + escaped(page, true) + " (1)" + (&page == &pages.back() ? "" : ",") + "\n";
  }
  return out;
}

/// What a page says of one command, each part under `heading(title)`.
template <class Heading>
std::string body(const CommandText& command, const Heading& heading) {
  const Manual& manual = *command.manual;
  std::string out;
  if (!manual.on_disk.empty())
    out += heading("On disk when it returns") + paragraphs(manual.on_disk);
  out += heading("Options");
  for (const OptionText& option : command.options) out += term(name_of(option), option.what);
  if (manual.terms != nullptr) {
    out += heading(manual.terms_title);
    for (const Term& each : manual.terms()) out += term(bold(each.name), each.what);
  }
  out += heading("Exit status");
  for (const Term& each : exit_terms(manual)) out += term(bold(each.name), each.what);
  return out;
}

/// The commands of a group, each with all that it has to say.
std::string group_commands(const CommandText& group) {
  std::string out = ".SH COMMANDS\n";
  const auto heading = [](std::string_view title) { return ".PP\n" + bold(title) + "\n"; };
  for (const CommandText& command : group.commands) {
    out += ".SS " + escaped("\"" + command.full_name() + "\"", true) + "\n" +
           prose(command.manual->what) + ".\n" + synopsis(command) +
           paragraphs(command.manual->does) + body(command, heading) + heading("Examples") +
           example_list(command.examples());
  }
  return out;
}

/// The program's commands under their headings; each has a page of its own.
std::string command_index(const CommandText& program) {
  std::string out = ".SH COMMANDS\n";
  for (std::size_t i = 0; i < section_titles.size(); ++i) {
    out += ".SS \"" + std::string(section_titles[i]) + "\"\n";
    for (const CommandText& command : program.commands) {
      if (static_cast<std::size_t>(command.manual->section) == i)
        out += term(bold(command.path), command.manual->what);
    }
  }
  return out;
}

std::string upper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return out;
}

}  // namespace

std::string man_page(const CommandText& command) {
  const std::string name = command.path.empty() ? "tally" : "tally-" + command.path;
  const auto heading = [](std::string_view title) { return ".SH " + upper(title) + "\n"; };
  std::string out = ".\\\" Written by tally itself, from the definitions of its commands.\n";
  out += ".TH " + escaped(upper(name), true) + " 1 \"\" \"tally " + std::string(version()) +
         "\" \"Tallystick\"\n.nh\n.ad l\n";
  out += ".SH NAME\n" + escaped(name, true) + " \\- " + prose(command.manual->what) + "\n";
  out += ".SH SYNOPSIS\n" + synopsis(command);
  out += ".SH DESCRIPTION\n" + paragraphs(command.manual->does);
  if (command.path.empty()) {
    out += command_index(command);
  } else if (!command.commands.empty()) {
    out += group_commands(command);
  }
  out += body(command, heading);
  if (command.path.empty() || command.commands.empty())
    out += heading("Examples") + example_list(command.examples());
  return out + heading("See also") + see_also(command);
}

}  // namespace tally::cli
