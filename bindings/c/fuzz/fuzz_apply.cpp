// libFuzzer's entry to tally_apply(): fuzz_apply CORPUS…, where the build has -D TALLY_FUZZ=ON
// (clang). bindings/c/fuzz/corpus.py makes a corpus of the traces.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>
#include <string>

#include "apply_json.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static tally::fuzz::ApplyJson target(
      std::filesystem::temp_directory_path() /
      ("tally-fuzz-" + std::to_string(std::random_device{}()) + ".db"));
  try {
    target.run({reinterpret_cast<const char*>(data), size});
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    std::abort();
  }
  return 0;
}
