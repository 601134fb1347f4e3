#pragma once
// Memory that runs out when it is told to, for the thread that told it: what SQLite asks for (all
// of it by malloc(), for this program has no look-aside memory) or what C++ does by `new`.

#include <cstdint>

namespace tally::test {

class FaultyMemory {
 public:
  enum class Asker : std::uint8_t { sqlite, cpp };

  /// The n-th time from now on (from 1) that this thread asks there is none; where it `stays`, nor
  /// is there behind it.
  static void fail(Asker asker, int nth, bool stays) noexcept;
  static void heal() noexcept;
  /// Whether there was none, since fail().
  static bool has_failed() noexcept;
  /// While it lives there is memory, which does not count: for what a test does by itself beneath
  /// SQLite.
  class Reprieve {
   public:
    Reprieve() noexcept;
    ~Reprieve();
    Reprieve(const Reprieve&) = delete;
    Reprieve& operator=(const Reprieve&) = delete;

   private:
    bool was_armed_;
  };
  /// For who gives memory.
  static bool has(Asker asker) noexcept;
};

}  // namespace tally::test
