#pragma once
// What must hold for any bytes that the ledger is given, door by door. libFuzzer and the ordinary
// tests share the targets.

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace tally::fuzz {

enum class Outcome {
  refused,  ///< It was seen to be none of ours, and changed nothing.
  taken,
};

/// One door. What does not hold throws Broken.
class Target {
 public:
  Target() = default;
  virtual ~Target() = default;
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  virtual Outcome run(std::string_view bytes) = 0;
};

/// A rule that does not hold, with the bytes for which it does not.
class Broken : public std::logic_error {
 public:
  Broken(const std::string& what, std::string_view bytes)
      : std::logic_error(what + ": " + std::string(bytes)) {}
};

/// A line of a trace: it goes through its text form and back, and mirror and model answer it alike.
std::unique_ptr<Target> make_trace_line();
/// JSON for tally_apply(): an answer that says why, no effect of what is refused, or of a repeat.
std::unique_ptr<Target> make_c_json();
/// Rows that canonical's sync function might answer with: taken whole or not at all, and no
/// operation is lost.
std::unique_ptr<Target> make_server_reply();
/// A mirror in whose file bytes were changed: every answer blames the world or none; what fails
/// changes no entry, what is applied none of those before it, and balances add up or the audit says
/// that they do not.
std::unique_ptr<Target> make_mirror_file();
/// The same of a mirror whose rows were changed, in a file that is sound.
std::unique_ptr<Target> make_mirror_row();
/// Inputs for it, each with a single change: every cell of each table's first and last row, at the
/// values at whose other side something else may begin.
std::vector<std::string> single_row_changes();

struct NamedTarget {
  std::string_view name;
  std::unique_ptr<Target> (*make)();
};
inline constexpr std::array<NamedTarget, 5> targets{{{"trace_line", make_trace_line},
                                                     {"c_json", make_c_json},
                                                     {"server_reply", make_server_reply},
                                                     {"mirror_file", make_mirror_file},
                                                     {"mirror_row", make_mirror_row}}};

/// Throws std::out_of_range where there is none of that name.
std::unique_ptr<Target> make_target(std::string_view name);

}  // namespace tally::fuzz
