#pragma once
// What a benchmark found: rows, and points of the report's charts. A table is printed, and where
// --out says a folder, the same is written there as <program>.json for report.py.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "histogram.hpp"

namespace tally::bench {

/// How much is done: so that it does not rot, to have an idea, to believe it.
enum class Size : std::uint8_t { tiny, quick, full };

/// What the programs are called with.
struct Arguments {
  Size size = Size::full;
  std::filesystem::path out{};  ///< Empty: nothing is written.
  std::string only{};           ///< The parts whose name begins so; empty: all.
  std::vector<std::string> others{};

  template <class T>
  T sized(T tiny, T quick, T full) const {
    return size == Size::tiny ? tiny : size == Size::quick ? quick : full;
  }
  bool wants(const std::string& part) const { return part.rfind(only, 0) == 0; }
};
/// --quick, --out DIR and --only PART are taken, the others kept; TALLY_BENCH_TINY is tiny.
Arguments parse_arguments(int argc, char** argv);

/// The program: its exit status. What it throws is told.
int run_benchmark(int argc, char** argv, const char* name, void (*run)(const Arguments&)) noexcept;

/// Medians of repetitions, and how far apart these were.
struct Figure {
  double value = 0;
  std::optional<double> low{};  ///< The quarter below, and the one above.
  std::optional<double> high{};
  std::size_t repetitions = 1;

  Figure(double value) : value(value) {}
  /// The median and the quartiles.
  explicit Figure(std::vector<double> values);
};

/// What is aimed at: the ratio, or the value where there is none, lies between.
struct Target {
  std::string text;
  double low;
  double high;
};
Target at_most(double bound);
Target at_least(double bound);
Target between(double low, double high);

/// A count with commas, as in 100,000.
std::string counted(std::uint64_t count);

struct Row {
  std::string group;
  std::string name;
  Figure value;
  std::string unit;
  std::optional<double> ratio{};
  std::string ratio_to{};
  std::optional<Target> target{};
  std::string note{};  ///< What it says and does not; the durability where it is not full.
};

class Results {
 public:
  /// Prints the machine that it is on, with the disk of that folder.
  Results(std::string program, Arguments arguments, const std::filesystem::path& folder);

  /// Keeps the row, and prints it.
  void add(const Row& row);
  /// Keeps it, for a program that prints tables of its own.
  void keep_row(const Row& row);
  /// A point of a line of a chart.
  void point(const std::string& chart, const std::string& series, double x, double y);
  /// The line of a histogram in the chart of latencies: microseconds by 1 / (1 - quantile).
  void curve(const std::string& chart, const std::string& series, const Histogram& histogram);
  /// A fact of the program's own for the box about the machine.
  void fact(const std::string& name, const std::string& value);
  /// Writes the file.
  void finish() const;

  const Arguments& arguments() const noexcept { return arguments_; }

 private:
  std::string program_;
  Arguments arguments_;
  nlohmann::ordered_json machine_;
  nlohmann::ordered_json rows_ = nlohmann::ordered_json::array();
  nlohmann::ordered_json charts_ = nlohmann::ordered_json::object();
  std::string group_{};
};

}  // namespace tally::bench
