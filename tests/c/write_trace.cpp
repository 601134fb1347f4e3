// write_trace SEED OPERATIONS spoilt|clean: a random trace on standard output; a clean one has only
// lines that are operations, and none that is spoilt on purpose.

#include <iostream>
#include <string>

#include "model/trace_generator.hpp"
#include "tally/trace.hpp"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  tally::model::GeneratorOptions options;
  options.seed = std::stoull(argv[1]);
  options.operations = std::stoull(argv[2]);
  const bool clean = std::string(argv[3]) == "clean";
  if (clean) options.bad = 0;
  for (const std::string& line : tally::model::generate_trace(options)) {
    if (!clean || tally::parse_trace_line(line)) std::cout << line << '\n';
  }
  return std::cout.flush() ? 0 : 1;
}
