// The completion of bash, zsh and fish. Each script knows every command with its options, and what
// may follow an option: words, files, folders, or something that only the user knows.

#include <algorithm>

#include "commands.hpp"
#include "manual.hpp"

namespace tally::cli {
namespace {

/// The program, its groups and its commands, each before those in it.
std::vector<const CommandText*> all_of(const CommandText& program) {
  std::vector<const CommandText*> all{&program};
  for (const CommandText& command : program.commands) {
    for (const CommandText* each : all_of(command)) all.push_back(each);
  }
  return all;
}

/// A backslash before each of the characters.
std::string escaped(std::string_view text, std::string_view characters) {
  std::string out;
  for (const char c : text) {
    if (characters.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

/// One word of bash or zsh, whatever is in it.
std::string in_quotes(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

const OptionText* argument_of(const CommandText& command) {
  const auto found = std::find_if(command.options.begin(), command.options.end(),
                                  [](const OptionText& option) { return option.is_argument; });
  return found == command.options.end() ? nullptr : &*found;
}

constexpr std::string_view origin =
    "written by `tally completion` from the definitions of its commands";

/// The program's pages are told about by the name of a command; `help` is therefore followed by
/// commands as the program itself is.
bool is_help(const CommandText& command) { return command.path == "help"; }

// ---- bash -------------------------------------------------------------------------------------

std::string bash_value(const OptionText& option) {
  if (option.takes_file()) return "kind=files";
  if (option.takes_folder()) return "kind=folders";
  if (option.words.empty()) return "kind=unknown";
  return std::string(option.between == ',' ? "kind=list" : "kind=words") + " words='" +
         joined(option.words, " ") + "'";
}

/// A step from a command's path to the path of one in it.
std::string bash_steps(const CommandText& program) {
  std::string out;
  for (const CommandText* command : all_of(program)) {
    if (command->commands.empty()) continue;
    const std::string& path = command->path;
    std::vector<std::string> steps;
    for (const std::string& name : command->command_names()) {
      if (path.empty() && name == "help") continue;
      steps.push_back(path);
      steps.back().append("/").append(name);
    }
    out += "      " + joined(steps, " | ") + ") path=\"" + (path.empty() ? "" : path + " ") +
           "$word\" ;;\n";
  }
  return out;
}

std::string bash_values(const CommandText& program) {
  std::string out;
  for (const CommandText* command : all_of(program)) {
    for (const OptionText& option : command->options) {
      if (!option.is_argument && !option.value.empty())
        out += "    '" + command->path + " " + option.name + "') " + bash_value(option) + " ;;\n";
    }
  }
  return out;
}

std::string bash_commands(const CommandText& program) {
  std::string out;
  for (const CommandText* command : all_of(program)) {
    std::vector<std::string> options;
    std::vector<std::string> repeated;
    for (const OptionText& option : command->options) {
      if (option.is_argument) continue;
      options.push_back(option.name);
      if (option.repeats) repeated.push_back(option.name);
    }
    out += "    '" + command->path + "')\n      options='" + joined(options, " ") + "'";
    if (!repeated.empty()) out += " repeated='" + joined(repeated, " ") + "'";
    const OptionText* argument = argument_of(*command);
    if (!command->commands.empty()) {
      out += "\n      argument=commands names='" + joined(command->command_names(), " ") + "'";
    } else if (argument != nullptr) {
      const std::string value = bash_value(*argument);
      out += "\n      " + std::string("argument") + value.substr(4, value.find(' ') - 4);
      if (!argument->words.empty()) out += " names='" + joined(argument->words, " ") + "'";
    }
    out += "\n      ;;\n";
  }
  return out;
}

std::string bash_script(const CommandText& program) {
  return "# bash completion for tally, " + std::string(origin) + R"(.
# It needs nothing but bash.

_tally() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
  local path='' word i kind='' words='' options='' repeated='' argument=unknown names='' left=''
  local IFS=$' \t\n' helps=''
  COMPREPLY=()
  # bash hands over --option=value as three words.
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $prev == '=' ]]; then
    prev=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${COMP_WORDS[i]}
    case "$path/$word" in
      /help) helps=1 ;;
)" + bash_steps(program) +
         R"(    esac
  done
  case "$path $prev" in
)" + bash_values(program) +
         R"(  esac
  case $path in
)" + bash_commands(program) +
         R"(  esac
  if [[ -n $helps ]]; then
    # A page is wanted: commands follow, as if they were to be run.
    if [[ $cur == -* ]]; then
      words='--json --help'
    elif [[ $argument == commands ]]; then
      words=$names
    fi
    kind=words
  elif [[ -z $kind && $cur != -* && $argument != unknown ]]; then
    kind=$argument words=$names
  elif [[ -z $kind ]]; then
    # Options, each once.
    for word in $options; do
      [[ " ${COMP_WORDS[*]:0:COMP_CWORD} " == *" $word "* && " $repeated " != *" $word "* ]] ||
        left+=" $word"
    done
    kind=words words=$left
  fi
  case $kind in
    words | commands) COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;
    list)
      local before=''
      if [[ $cur == *,* ]]; then before=${cur%,*},; fi
      COMPREPLY=($(compgen -P "$before" -W "$words" -- "${cur##*,}"))
      ;;
    files | folders)
      IFS=$'\n'
      if [[ $kind == files ]]; then
        COMPREPLY=($(compgen -f -- "$cur"))
      else
        COMPREPLY=($(compgen -d -- "$cur"))
      fi
      compopt -o filenames 2>/dev/null
      ;;
  esac
  return 0
}

complete -F _tally tally
)";
}

// ---- zsh --------------------------------------------------------------------------------------

/// With what _arguments would take for its own syntax escaped.
std::string zsh_text(std::string_view text) { return escaped(text, "[]:\\"); }

std::string zsh_action(const OptionText& option) {
  if (option.takes_file()) return "_files";
  if (option.takes_folder()) return "_path_files -/";
  if (option.words.empty()) return " ";
  const std::string words = joined(option.words, " ");
  return option.between == ',' ? "_sequence compadd - " + words : "(" + words + ")";
}

/// The options that are of no use beside this one.
std::vector<std::string> zsh_rivals(const CommandText& command, const OptionText& option) {
  if (option.name == "--help" || option.name == "--version") return {"- *"};
  std::vector<std::string> rivals = option.excludes;
  for (const OptionText& other : command.options) {
    if (option.is_alternative && other.is_alternative && other.name != option.name)
      rivals.push_back(other.name);
  }
  return rivals;
}

std::string zsh_option(const CommandText& command, const OptionText& option) {
  if (option.is_argument) return in_quotes("1:" + option.name + ":" + zsh_action(option));
  const std::vector<std::string> rivals = zsh_rivals(command, option);
  std::string start = rivals.empty() ? "" : "(" + joined(rivals, " ") + ")";
  if (option.repeats) start += "*";
  const std::string what = "[" + zsh_text(option.what) + "]";
  std::string out;
  if (!option.short_name.empty()) out = in_quotes(start + option.short_name + what) + " ";
  if (option.value.empty()) return out + in_quotes(start + option.name + what);
  return out + in_quotes(start + option.name + "=" + what + ":" + option.value + ":" +
                         zsh_action(option));
}

std::string zsh_function_name(const CommandText& command) {
  std::string name = "_tally";
  if (!command.path.empty()) name += "_" + command.path;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == ' ' || c == '-'; }, '_');
  return name;
}

std::string zsh_options(const CommandText& command) {
  std::string out;
  for (const OptionText& option : command.options) {
    if (!is_help(command) || !option.is_argument) out += " \\\n    " + zsh_option(command, option);
  }
  return out;
}

/// The commands in one, with what they do; then what follows each.
std::string zsh_group(const CommandText& command) {
  const std::string name = zsh_function_name(command);
  std::string out = name + "_commands() {\n  local -a commands=(\n";
  std::string cases;
  for (const CommandText& each : command.commands) {
    out += "    " + in_quotes(std::string(each.manual->name) + ":" + zsh_text(each.manual->what)) +
           "\n";
    cases += "        " + std::string(each.manual->name) + ") " + zsh_function_name(each) + " ;;\n";
  }
  return out + "  )\n  _describe -t commands 'command' commands\n}\n\n" + name +
         "() {\n  local curcontext=\"$curcontext\" context state state_descr line\n  typeset -A "
         "opt_args\n  _arguments -C" +
         zsh_options(command) + " \\\n    '1:command:" + name + "_commands' \\\n    " +
         "'*::argument:->arguments' && return\n  case $state in\n    arguments)\n      case "
         "$words[1] in\n" +
         cases + "      esac\n      ;;\n  esac\n}\n\n";
}

/// `help` takes the name of a command, and of one in a group two words.
std::string zsh_help(const CommandText& help, const CommandText& program) {
  std::string cases;
  for (const CommandText& command : program.commands) {
    if (!command.commands.empty())
      cases += "    " + command.path + ") " + zsh_function_name(command) + "_commands ;;\n";
  }
  return "_tally_help_second() {\n  case $words[CURRENT-1] in\n" + cases + "  esac\n}\n\n" +
         zsh_function_name(help) + "() {\n  _arguments" + zsh_options(help) +
         " \\\n    '1:command:_tally_commands' \\\n    '2:command:_tally_help_second'\n}\n\n";
}

std::string zsh_script(const CommandText& program) {
  std::string out = "#compdef tally\n# zsh completion for tally, " + std::string(origin) + ".\n\n";
  for (const CommandText* command : all_of(program)) {
    if (!command->commands.empty()) {
      out += zsh_group(*command);
    } else if (is_help(*command)) {
      out += zsh_help(*command, program);
    } else {
      out += zsh_function_name(*command) + "() {\n  _arguments" + zsh_options(*command) + "\n}\n\n";
    }
  }
  // Autoloaded, the file is the function's body; sourced, it tells the completion of it.
  return out +
         "if [[ $funcstack[1] == _tally ]]; then\n  _tally \"$@\"\nelse\n  compdef _tally "
         "tally\nfi\n";
}

// ---- fish -------------------------------------------------------------------------------------

std::string fish_text(std::string_view text) { return "'" + escaped(text, "'\\") + "'"; }

std::string fish_value(const OptionText& option) {
  if (option.takes_file()) return " -r -F";
  if (option.takes_folder()) return " -x -a '(__fish_complete_directories)'";
  if (option.words.empty()) return " -x";
  const std::string words = joined(option.words, " ");
  return option.between == ',' ? " -x -a '(__tally_list " + words + ")'" : " -x -a '" + words + "'";
}

std::string fish_command(const CommandText& command) {
  const std::string at = "complete -c tally -n \"__tally_at '" + command.path + "'\"";
  std::string out;
  for (const CommandText& each : command.commands) {
    out += "complete -c tally -n \"__tally_names '" + command.path + "'\" -a " +
           std::string(each.manual->name) + " -d " + fish_text(each.manual->what) + "\n";
  }
  for (const OptionText& option : command.options) {
    if (option.is_argument) {
      if (is_help(command)) continue;
      if (option.takes_file()) out += at + " -F\n";
      if (!option.words.empty()) out += at + " -a '" + joined(option.words, " ") + "'\n";
      continue;
    }
    out += at + " -l " + option.name.substr(2);
    if (!option.short_name.empty()) out += " -s " + option.short_name.substr(1);
    if (!option.value.empty()) out += fish_value(option);
    out += " -d " + fish_text(option.what) + "\n";
  }
  return out;
}

std::string fish_script(const CommandText& program) {
  std::string out = "# fish completion for tally, " + std::string(origin) + R"(.

# The command that the line has come to, and what stands before it: nothing or help.
function __tally_path
    set -l path
    for word in (commandline -opc)[2..-1]
        switch "$path/$word"
)";
  for (const CommandText* command : all_of(program)) {
    if (command->commands.empty()) continue;
    out += "            case";
    for (const std::string& name : command->command_names()) {
      if (name != "help") out += " '" + command->path + "/" + name + "'";
    }
    out += "\n                set path \"" + command->path + (command->path.empty() ? "" : " ") +
           "$word\"\n";
  }
  out += R"(        end
    end
    echo $path
end

function __tally_helps
    set -l words (commandline -opc)
    test "$words[2]" = help
end

function __tally_at
    if __tally_helps
        test "$argv[1]" = help
    else
        test (__tally_path) = "$argv[1]"
    end
end

# Names of commands follow a group, the program, and help.
function __tally_names
    test (__tally_path) = "$argv[1]"
end

# Words with commas between: those before the last comma stay.
function __tally_list
    set -l before (commandline -ct | string replace -r '^--[^=]*=' '' | string match -r '.*,')
    printf '%s\n' "$before"$argv
end

complete -c tally -f
)";
  for (const CommandText* command : all_of(program)) out += fish_command(*command);
  return out;
}

}  // namespace

std::string completion_script(const CommandText& program, std::string_view shell) {
  if (shell == "bash") return bash_script(program);
  return shell == "zsh" ? zsh_script(program) : fish_script(program);
}

}  // namespace tally::cli
