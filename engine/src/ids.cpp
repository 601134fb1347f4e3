#include <array>
#include <atomic>
#include <chrono>
#include <cstring>

#include "ids.hpp"
#include "platform.hpp"
#include "tally/engine.hpp"

namespace tally {
namespace {

/// The system's random bytes, fetched by the hundred. A forked process starts with none, so that
/// it makes other ids than its parent.
class RandomBytes {
 public:
  void fill(void* out, std::size_t size) {
    const unsigned forks = platform::forks();
    if (forks != forks_ || left_ < size) {
      left_ = 0;
      platform::random_bytes(bytes_.data(), bytes_.size());
      left_ = bytes_.size();
      forks_ = forks;
    }
    std::memcpy(out, bytes_.data() + bytes_.size() - left_, size);
    left_ -= size;
  }

 private:
  std::array<unsigned char, 512> bytes_;
  std::size_t left_ = 0;
  unsigned forks_ = 0;
};

void random_bytes(void* out, std::size_t size) {
  thread_local RandomBytes bytes;
  bytes.fill(out, size);
}

}  // namespace

Timestamp system_now() {
  using namespace std::chrono;
  return Timestamp{duration_cast<microseconds>(system_clock::now().time_since_epoch()).count()};
}

Uuid random_uuid_v4() {
  Uuid id;
  random_bytes(id.bytes.data(), id.bytes.size());
  id.bytes[6] = static_cast<std::uint8_t>((id.bytes[6] & 0x0fU) | 0x40U);
  id.bytes[8] = static_cast<std::uint8_t>((id.bytes[8] & 0x3fU) | 0x80U);
  return id;
}

Uuid new_uuid_v7() {
  // 48 bits of milliseconds, then 12 + 12 bits that count within one: `ticks` only ever grows, so
  // ids increase even when the clock stands still or goes back. The digit behind the version stays
  // 0: derived ids use it.
  constexpr int counter_bits = 18;
  static std::atomic<std::uint64_t> latest{0};
  const auto now_ms = static_cast<std::uint64_t>(system_now().us / 1'000);
  std::uint64_t last = latest.load(std::memory_order_relaxed);
  std::uint64_t ticks = 0;
  do {
    ticks = std::max(last + 1, now_ms << counter_bits);
  } while (!latest.compare_exchange_weak(last, ticks, std::memory_order_relaxed));

  Uuid id;
  random_bytes(id.bytes.data() + 8, 8);
  const std::uint64_t ms = ticks >> counter_bits;
  const std::uint64_t count = ticks & ((1U << counter_bits) - 1);
  for (int i = 0; i < 6; ++i)
    id.bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(ms >> (40 - 8 * i));
  id.bytes[6] = 0x70;
  id.bytes[7] = static_cast<std::uint8_t>(count >> 10U);
  id.bytes[8] = static_cast<std::uint8_t>(0x80U | ((count >> 4U) & 0x3fU));
  id.bytes[9] = static_cast<std::uint8_t>(((count & 0x0fU) << 4U) | (id.bytes[9] & 0x0fU));
  return id;
}

}  // namespace tally
