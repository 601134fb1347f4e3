#pragma once
// What the commands say of themselves. Each has one Manual beside its definition; with what the
// parser knows of its options that is the one source of its help, its man page, the completion of
// every shell and `tally help --json`.

#include <CLI/CLI.hpp>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace tally::cli {

/// The headings that the commands stand under.
enum class Section : std::uint8_t { mirror, canonical, sync, tools };
inline constexpr std::array<std::string_view, 4> section_titles{
    "Work on a mirror", "Canonical, the Postgres half", "Sync: a mirror as a device", "Tools"};

/// Lines that can be pasted into a shell; a test runs every one of them.
struct Example {
  std::string_view what;
  std::string_view lines;
};

/// A name and what it means, for the lists of a man page.
struct Term {
  std::string name;
  std::string what;
};

struct Manual {
  std::string_view name{};
  std::string_view what{};  ///< One line, without a full stop.
  Section section = Section::tools;
  std::string_view does{};  ///< What it does and what it leaves alone; empty lines part paragraphs.
  std::string_view on_disk{};         ///< What is on disk when it returns.
  std::array<Example, 3> examples{};  ///< Empty ones fill up.
  std::string_view fine{};            ///< What exit status 0 means.
  std::string_view refused{};         ///< What 1 means; empty where it never ends so.
  std::string_view related{};         ///< Commands, with commas between.
  std::string_view terms_title{};
  std::vector<Term> (*terms)() = nullptr;  ///< A list for the man page.
};

/// What the parser does not keep of its commands and options.
struct Manuals {
  std::map<const CLI::App*, const Manual*> of{};
  std::map<const CLI::Option*, std::vector<std::string>> words{};
};

/// The value must be one of the words; another one is wrong usage, with the nearest word named.
CLI::Option* one_of(CLI::Option* option, Manuals& manuals, std::vector<std::string> words);

template <class Range>
std::vector<std::string> words_of(const Range& range) {
  return {std::begin(range), std::end(range)};
}

/// `; did you mean WORD?`, or nothing where none is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known);

// ---- what is known of a command, put together --------------------------------------------------

struct OptionText {
  std::string name{};                ///< `--db`; of an argument what its value is called, `USER`.
  std::string short_name{};          ///< `-h`
  std::string value{};               ///< `FILE`; empty for a flag.
  std::string what{};                ///< Its description, and in brackets its limits.
  std::vector<std::string> words{};  ///< All that it takes, where these are few.
  std::vector<std::string> excludes{};  ///< Options that cannot stand beside it.
  bool is_argument = false;
  bool required = false;
  bool is_alternative = false;  ///< One of several, of which one is required.
  bool repeats = false;
  char between = '\0';  ///< What stands between several values of one.

  bool takes_file() const { return value == "FILE" || value == "TRACE"; }
  bool takes_folder() const { return value == "DIR"; }
};

struct CommandText {
  std::string path{};  ///< `device add`; empty for the program.
  const Manual* manual = nullptr;
  std::vector<OptionText> options{};  ///< Arguments first; without those that are hidden.
  std::vector<CommandText> commands{};

  /// `tally device add`
  std::string full_name() const { return path.empty() ? "tally" : "tally " + path; }
  std::vector<std::string> command_names() const;
  /// That it has no such command, and which may have been meant.
  std::string no_command(const std::string& name) const;
  /// What follows the name, in pieces that are not to be broken.
  std::vector<std::string> synopsis() const;
  /// Its examples; of a group the first of each of its commands.
  std::vector<Example> examples() const;
};

CommandText describe(const CLI::App& app, const Manuals& manuals);

/// The meanings of the exit statuses, in order; of a command or of all.
std::vector<Term> exit_terms(const Manual& manual);

std::vector<std::string> split(std::string_view text, std::string_view between);

/// For people, as wide as the terminal.
std::string help_text(const CommandText& command);
/// The page in roff of the program or of one of its commands.
std::string man_page(const CommandText& command);
/// The completion of a shell; `shells` has their names.
inline constexpr std::array<std::string_view, 3> shells{"bash", "zsh", "fish"};
std::string completion_script(const CommandText& program, std::string_view shell);

}  // namespace tally::cli
