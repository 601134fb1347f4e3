// write_trace SEED OPERATIONS spoilt|clean: a random trace on standard output; a clean one has no
// line that is spoilt on purpose.

#include <iostream>
#include <string>

#include "model/trace_generator.hpp"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  tally::model::GeneratorOptions options;
  options.seed = std::stoull(argv[1]);
  options.operations = std::stoull(argv[2]);
  if (std::string(argv[3]) == "clean") options.bad = 0;
  for (const std::string& line : tally::model::generate_trace(options)) std::cout << line << '\n';
  return std::cout.flush() ? 0 : 1;
}
