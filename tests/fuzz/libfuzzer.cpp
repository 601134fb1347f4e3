// libFuzzer's entry to the target that TALLY_FUZZ_TARGET names; `./dev fuzz` runs it.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "fuzz/target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    static const auto target = tally::fuzz::make_target(std::getenv("TALLY_FUZZ_TARGET"));
    target->run({reinterpret_cast<const char*>(data), size});
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    std::abort();
  }
  return 0;
}
