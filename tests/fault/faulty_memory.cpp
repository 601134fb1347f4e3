#include "fault/faulty_memory.hpp"

#include <sqlite3.h>

#include <cstdlib>
#include <new>

namespace tally::test {
namespace {

struct State {
  bool armed;
  FaultyMemory::Asker asker;
  int nth;
  bool stays;
  int count;
  bool has_failed;
};
thread_local constinit State state{};

sqlite3_mem_methods base;

/// Before anything initializes SQLite, which takes these no more then.
const bool is_configured = [] {
  const auto set = [](int rc) {
    if (rc != SQLITE_OK) std::abort();
  };
  set(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &base));
  sqlite3_mem_methods methods = base;
  methods.xMalloc = [](int bytes) -> void* {
    return FaultyMemory::has(FaultyMemory::Asker::sqlite) ? base.xMalloc(bytes) : nullptr;
  };
  methods.xRealloc = [](void* memory, int bytes) -> void* {
    return FaultyMemory::has(FaultyMemory::Asker::sqlite) ? base.xRealloc(memory, bytes) : nullptr;
  };
  set(sqlite3_config(SQLITE_CONFIG_MALLOC, &methods));
  set(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0));
  return true;
}();

}  // namespace

void FaultyMemory::fail(Asker asker, int nth, bool stays) noexcept {
  state = {is_configured, asker, nth, stays, 0, false};
}
void FaultyMemory::heal() noexcept { state.armed = false; }
bool FaultyMemory::has_failed() noexcept { return state.has_failed; }
FaultyMemory::Reprieve::Reprieve() noexcept : was_armed_(state.armed) { state.armed = false; }
FaultyMemory::Reprieve::~Reprieve() { state.armed = was_armed_; }
bool FaultyMemory::has(Asker asker) noexcept {
  if (!state.armed || state.asker != asker) return true;
  ++state.count;
  if (state.count < state.nth || (state.count > state.nth && !state.stays)) return true;
  state.has_failed = true;
  return false;
}

}  // namespace tally::test

using tally::test::FaultyMemory;

// The other forms come down to these; AddressSanitizer has its own of those that do not throw.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  if (!FaultyMemory::has(FaultyMemory::Asker::cpp)) return nullptr;
  return std::malloc(bytes == 0 ? 1 : bytes);
}
void* operator new(std::size_t bytes) {
  void* const memory = operator new(bytes, std::nothrow);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return operator new(bytes, std::nothrow);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  if (!FaultyMemory::has(FaultyMemory::Asker::cpp)) throw std::bad_alloc();
  const auto whole = static_cast<std::size_t>(alignment);
  void* const memory = std::aligned_alloc(whole, (bytes + whole - 1) / whole * whole);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void* operator new[](std::size_t bytes) { return operator new(bytes); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
