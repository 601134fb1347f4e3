// help and completion: what is made from the definitions of all the commands.

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "commands.hpp"

namespace tally::cli {
namespace {

namespace fs = std::filesystem;

// ---- help --------------------------------------------------------------------------------------

struct HelpArguments {
  std::vector<std::string> path;
  bool man = false;
  std::string write_to;
};

const CommandText& command_at(const CommandText& program, const std::vector<std::string>& path) {
  const CommandText* command = &program;
  for (const std::string& name : path) {
    const auto next =
        std::find_if(command->commands.begin(), command->commands.end(),
                     [&](const CommandText& each) { return each.manual->name == name; });
    if (next == command->commands.end()) {
      throw Stop{Exit::usage, "usage",
                 command->no_command(name) + "; " + command->full_name() + " --help tells more"};
    }
    command = &*next;
  }
  return *command;
}

JsonValue to_json(const std::vector<Term>& terms, const char* name, const char* what) {
  JsonValue list = JsonValue::array();
  for (const Term& term : terms) list.push_back({{name, term.name}, {what, term.what}});
  return list;
}

JsonValue to_json(const OptionText& option) {
  JsonValue value{{"name", option.name}};
  if (!option.value.empty()) value["value"] = option.value;
  value["what"] = option.what;
  value["required"] = option.required;
  if (option.repeats) value["repeats"] = true;
  if (!option.words.empty()) value["words"] = option.words;
  return value;
}

JsonValue to_json(const CommandText& command) {
  const Manual& manual = *command.manual;
  JsonValue options = JsonValue::array();
  for (const OptionText& option : command.options) options.push_back(to_json(option));
  JsonValue examples = JsonValue::array();
  for (const Example& example : command.examples())
    examples.push_back({{"what", example.what}, {"lines", example.lines}});
  JsonValue commands = JsonValue::array();
  for (const CommandText& each : command.commands) commands.push_back(to_json(each));
  return {{"command", command.full_name()},
          {"what", manual.what},
          {"synopsis", command.full_name() + " " + joined(command.synopsis(), " ")},
          {"does", manual.does},
          {"on_disk", manual.on_disk},
          {"options", std::move(options)},
          {"examples", std::move(examples)},
          {"exit_statuses", to_json(exit_terms(manual), "status", "what")},
          {"related", split(manual.related, ", ")},
          {"commands", std::move(commands)}};
}

void write_file(const fs::path& path, const std::string& text) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush())
    throw Stop{Exit::world, "io", "cannot write " + path.string() + ": " + std::strerror(errno)};
}

/// Pages and completions as they are installed under a prefix' share folder.
void write_all(const CommandText& program, const fs::path& share) {
  write_file(share / "man/man1/tally.1", man_page(program));
  for (const CommandText& command : program.commands)
    write_file(share / "man/man1" / ("tally-" + command.path + ".1"), man_page(command));
  write_file(share / "bash-completion/completions/tally", completion_script(program, "bash"));
  write_file(share / "zsh/site-functions/_tally", completion_script(program, "zsh"));
  write_file(share / "fish/vendor_completions.d/tally.fish", completion_script(program, "fish"));
}

Exit run_help(const CLI::App& app, const Run& run, const HelpArguments& arguments) {
  const CommandText program = describe(app, run.manuals);
  if (!arguments.write_to.empty()) {
    write_all(program, arguments.write_to);
    return Exit::fine;
  }
  if (arguments.man) {
    // A command in a group is on its group's page.
    print(
        man_page(arguments.path.empty() ? program : command_at(program, {arguments.path.front()})));
    return Exit::fine;
  }
  const CommandText& command = command_at(program, arguments.path);
  if (run.json) {
    print_json(to_json(command));
  } else {
    print(help_text(command));
  }
  return Exit::fine;
}

constexpr Manual help_manual{
    .name = "help",
    .what = "Show what a command does, with examples",
    .section = Section::tools,
    .does =
        "The same page as --help behind the command. As JSON it is everything that is known of "
        "the command, its options and their values, for programs. The manual's pages "
        "(man tally-sync) and the completion of the shells come from the same definitions.",
    .on_disk = "What was there.",
    .examples = {{{"All commands", "tally help"},
                  {"One in a group", "tally help device add"},
                  {"Every command's synopsis, from the JSON",
                   "tally help --json | python3 -c 'import json, sys\n"
                   "for each in json.load(sys.stdin)[\"commands\"]: print(each[\"synopsis\"])'"}}},
    .fine = "The page is shown.",
    .related = "completion, codes, operations"};

void add_help(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, help_manual);
  auto arguments = std::make_shared<HelpArguments>();
  command->add_option("command", arguments->path, "Whose page; without it the program's")
      ->type_name("COMMAND");
  // For the build: nobody types these.
  command->add_flag("--man", arguments->man, "The page for man, in roff")->group("");
  command
      ->add_option("--write-to", arguments->write_to,
                   "Write all that is installed into a share folder")
      ->type_name("DIR")
      ->group("");
  command->callback([=, &app, &run] {
    run.command = [=, &app, &run] { return run_help(app, run, *arguments); };
  });
}

// ---- completion --------------------------------------------------------------------------------

constexpr Manual completion_manual{
    .name = "completion",
    .what = "Print what lets a shell complete tally's commands and options",
    .section = Section::tools,
    .does =
        "A script for bash, zsh or fish. It completes commands, options, what an option takes "
        "where that is one of few words, and files. A package installs it already; without "
        "one, put it where the shell looks. zsh looks into the folders of $fpath, so ~/.zshrc "
        "then needs fpath=(~/.zfunc $fpath) before compinit.",
    .on_disk = "What was there.",
    .examples = {{{"bash",
                   "mkdir -p ~/.local/share/bash-completion/completions\n"
                   "tally completion bash > ~/.local/share/bash-completion/completions/tally"},
                  {"zsh", "mkdir -p ~/.zfunc\ntally completion zsh > ~/.zfunc/_tally"},
                  {"fish",
                   "mkdir -p ~/.config/fish/completions\n"
                   "tally completion fish > ~/.config/fish/completions/tally.fish"}}},
    .fine = "The script is printed.",
    .related = "help"};

void add_completion(CLI::App& app, Run& run) {
  CLI::App* command = add_command(app, run, completion_manual);
  auto shell = std::make_shared<std::string>();
  one_of(command->add_option("shell", *shell, "Whose"), run.manuals, words_of(shells))
      ->type_name("SHELL")
      ->required();
  command->callback([=, &app, &run] {
    run.command = [=, &app, &run] {
      const std::string script = completion_script(describe(app, run.manuals), *shell);
      if (run.json) {
        print_json({{"shell", *shell}, {"script", script}});
      } else {
        print(script);
      }
      return Exit::fine;
    };
  });
}

}  // namespace

void add_help_commands(CLI::App& app, Run& run) {
  add_help(app, run);
  add_completion(app, run);
}

}  // namespace tally::cli
