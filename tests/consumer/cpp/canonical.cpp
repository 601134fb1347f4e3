// The library for sync is linked whole: a connection to a server that is not there, and its answer.
#include <cstdio>
#include <tally/sync.hpp>
#include <tally/syncer.hpp>

int main() {
  const auto canonical = tally::sync::Canonical::connect("host=/nonexistent dbname=none");
  if (canonical) return std::puts("connected to nothing"), 1;
  const auto name = tally::name_of(canonical.error().code);
  std::printf("%.*s\n", static_cast<int>(name.size()), name.data());  // unreachable
}
