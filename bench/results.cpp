#include "results.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "support.hpp"

namespace tally::bench {
namespace {

using Json = nlohmann::ordered_json;

/// The first line's value in /proc/cpuinfo, /proc/meminfo or the like.
std::string proc_value(const char* file, const std::string& name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const std::size_t colon = line.find(':');
    if (line.rfind(name, 0) != 0 || colon == std::string::npos) continue;
    const std::size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "unknown";
}

/// Type and device of the file system that the folder is on: the mount with the longest path.
std::string file_system_of(const std::filesystem::path& folder) {
  const std::string path = std::filesystem::weakly_canonical(folder).string();
  std::ifstream in("/proc/self/mounts");
  std::string found = "unknown";
  std::size_t longest = 0;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string device;
    std::string point;
    std::string type;
    std::string options;
    words >> device >> point >> type >> options;
    if (path.rfind(point, 0) != 0 || point.size() < longest) continue;
    longest = point.size();
    found = type + " on " + device + " (" + options + ")";
  }
  return found;
}

std::string kernel() {
  utsname name{};
  return uname(&name) == 0 ? std::string(name.sysname) + " " + name.release : "unknown";
}

std::string now() {
  const std::time_t time = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &parts);
  return text.data();
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "unknown";
}

std::string load() {
  std::array<double, 3> averages{};
  if (getloadavg(averages.data(), 3) < 1) return "unknown";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2f", averages[0]);
  return text.data();
}

Json describe_machine(const std::filesystem::path& folder) {
  return {{"cpu", proc_value("/proc/cpuinfo", "model name")},
          {"cores", std::to_string(std::thread::hardware_concurrency())},
          {"memory", proc_value("/proc/meminfo", "MemTotal")},
          {"kernel", kernel()},
          {"file system", file_system_of(folder)},
          {"compiler", TALLY_BENCH_COMPILER},
          {"flags", TALLY_BENCH_FLAGS},
          {"SQLite", sqlite3_libversion()},
          {"durability", "full (fdatasync before a call returns), unless a row says otherwise"},
          {"version", std::string(version())},
          {"commit", environment("TALLY_BENCH_COMMIT")},
          {"date", now()},
          {"load before", load()}};
}

const char* name_of_size(Size size) {
  return size == Size::tiny ? "tiny" : size == Size::quick ? "quick" : "full";
}

/// Three significant digits, and whole numbers as they are.
std::string short_number(double value) {
  std::array<char, 40> text{};
  const double size = std::abs(value);
  std::snprintf(text.data(), text.size(),
                size >= 100  ? "%.0f"
                : size >= 10 ? "%.1f"
                : size >= 1  ? "%.2f"
                             : "%.3g",
                value);
  return text.data();
}

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::optional<bool> is_met(const Row& row) {
  if (!row.target) return {};
  const double judged = row.ratio ? *row.ratio : row.value.value;
  return judged >= row.target->low && judged <= row.target->high;
}

}  // namespace

Arguments parse_arguments(int argc, char** argv) {
  Arguments out;
  if (std::getenv("TALLY_BENCH_TINY") != nullptr) out.size = Size::tiny;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto value = [&]() -> std::string {
      if (++i == argc) throw std::runtime_error(argument + " wants a value");
      return argv[i];
    };
    if (argument == "--quick") {
      if (out.size == Size::full) out.size = Size::quick;
    } else if (argument == "--out") {
      out.out = value();
    } else if (argument == "--only") {
      out.only = value();
    } else {
      out.others.push_back(argument);
    }
  }
  return out;
}

int run_benchmark(int argc, char** argv, const char* name, void (*run)(const Arguments&)) noexcept {
  try {
    run(parse_arguments(argc, argv));
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", name, e.what());
    return 1;
  }
}

Figure::Figure(std::vector<double> values)
    : value(median(values)),
      low(quantile(values, 0.25)),
      high(quantile(values, 0.75)),
      repetitions(values.size()) {}

std::string counted(std::uint64_t count) {
  std::string text = std::to_string(count);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

Target at_most(double bound) {
  return {"<= " + short_number(bound), -std::numeric_limits<double>::infinity(), bound};
}
Target at_least(double bound) {
  return {">= " + short_number(bound), bound, std::numeric_limits<double>::infinity()};
}
Target between(double low, double high) {
  return {short_number(low) + " to " + short_number(high), low, high};
}

Results::Results(std::string program, Arguments arguments, const std::filesystem::path& folder)
    : program_(std::move(program)),
      arguments_(std::move(arguments)),
      machine_(describe_machine(folder)) {
  std::printf("%s, %s\n", program_.c_str(), name_of_size(arguments_.size));
  for (const auto& [name, value] : machine_.items())
    std::printf("  %-12s %s\n", name.c_str(), value.get<std::string>().c_str());
}

void Results::add(const Row& row) {
  if (row.group != group_) {
    group_ = row.group;
    std::printf("\n%-74s %10s %-8s %15s %8s %12s\n", group_.c_str(), "median", "", "quartiles",
                "ratio", "target");
  }
  const std::optional<bool> met = is_met(row);
  const std::string spread =
      row.value.low && row.value.high && row.value.repetitions > 1
          ? short_number(*row.value.low) + "-" + short_number(*row.value.high)
          : "";
  std::printf("%-74s %10s %-8s %15s %8s %12s %s\n", row.name.c_str(),
              short_number(row.value.value).c_str(), row.unit.c_str(), spread.c_str(),
              row.ratio ? short_number(*row.ratio).c_str() : "",
              row.target ? row.target->text.c_str() : "",
              !met   ? ""
              : *met ? "met"
                     : "MISSED");
  std::fflush(stdout);
  keep_row(row);
}

void Results::keep_row(const Row& row) {
  rows_.push_back({{"program", program_},
                   {"group", row.group},
                   {"name", row.name},
                   {"value", row.value.value},
                   {"unit", row.unit},
                   {"low", or_null(row.value.low)},
                   {"high", or_null(row.value.high)},
                   {"repetitions", row.value.repetitions},
                   {"ratio", or_null(row.ratio)},
                   {"ratio_to", row.ratio_to.empty() ? Json(nullptr) : Json(row.ratio_to)},
                   {"target", row.target ? Json(row.target->text) : Json(nullptr)},
                   {"met", or_null(is_met(row))},
                   {"note", row.note},
                   {"size", name_of_size(arguments_.size)}});
}

void Results::point(const std::string& chart, const std::string& series, double x, double y) {
  charts_[chart][series].push_back({x, y});
}

void Results::curve(const std::string& chart, const std::string& series,
                    const Histogram& histogram) {
  const auto count = static_cast<double>(histogram.count());
  for (const double tail :
       {2.0, 4.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 1e5}) {
    if (tail > count) break;
    point(chart, series, tail, static_cast<double>(histogram.at(1 - 1 / tail)) / 1e3);
  }
}

void Results::fact(const std::string& name, const std::string& value) {
  machine_[name] = value;
  std::printf("  %-12s %s\n", name.c_str(), value.c_str());
}

void Results::finish() const {
  if (arguments_.out.empty()) return;
  std::filesystem::create_directories(arguments_.out);
  const Json all{{"program", program_},
                 {"size", name_of_size(arguments_.size)},
                 {"machine", machine_},
                 {"rows", rows_},
                 {"charts", charts_}};
  const auto path = arguments_.out / (program_ + ".json");
  std::ofstream out(path);
  out << all.dump(1) << '\n';
  if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
}

}  // namespace tally::bench
