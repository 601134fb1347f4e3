#pragma once
// The values of the ledger: ids, times, credits, JSON. Plain, comparable, without I/O.

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "tally/api.hpp"

namespace tally {

/// A UUID as its 16 bytes in network order.
struct TALLY_API Uuid {
  std::array<std::uint8_t, 16> bytes{};

  /// As two words: balance checks spend a good part of their time here.
  friend bool operator==(const Uuid& a, const Uuid& b) noexcept {
    std::uint64_t x[2];
    std::uint64_t y[2];
    std::memcpy(x, a.bytes.data(), sizeof x);
    std::memcpy(y, b.bytes.data(), sizeof y);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
  }
  friend auto operator<=>(const Uuid& a, const Uuid& b) noexcept { return a.bytes <=> b.bytes; }

  /// From `8-4-4-4-12` hex digits in any case; nothing else is one.
  static std::optional<Uuid> parse(std::string_view text) noexcept;
  /// 36 characters, lower case.
  std::string text() const;
  /// The version digit (0 to 15; RFC 9562 defines 1 to 8).
  unsigned version() const noexcept { return bytes[6] >> 4; }
  /// The id that a row made by this operation (or job) takes: version 8, then `n` (0 to 15).
  Uuid derived(unsigned n) const noexcept {
    Uuid id = *this;
    id.bytes[6] = static_cast<std::uint8_t>(0x80U | n);
    return id;
  }
};

/// A point in time, UTC, in microseconds since 1970-01-01; years 0001 to 9999.
struct TALLY_API Timestamp {
  std::int64_t us = 0;

  auto operator<=>(const Timestamp&) const = default;

  static constexpr std::int64_t us_min = -62135596800'000'000;  ///< 0001-01-01T00:00:00.000000Z
  static constexpr std::int64_t us_max = 253402300799'999'999;  ///< 9999-12-31T23:59:59.999999Z

  /// From exactly `YYYY-MM-DDThh:mm:ss.ffffffZ`.
  static std::optional<Timestamp> parse(std::string_view text) noexcept;
  std::string text() const;
  /// This time plus whole seconds, held within the years 0001 to 9999.
  Timestamp plus_seconds(std::int64_t seconds) const noexcept;
};

/// Whole credits. 64 bits wide so that a sum of two of Postgres' INTEGERs never overflows.
struct Credits {
  std::int64_t value = 0;

  auto operator<=>(const Credits&) const = default;

  static constexpr std::int64_t max = 2'147'483'647;  ///< Postgres INTEGER, the ledger's bound.

  friend constexpr Credits operator+(Credits a, Credits b) noexcept { return {a.value + b.value}; }
  friend constexpr Credits operator-(Credits a, Credits b) noexcept { return {a.value - b.value}; }
  constexpr Credits operator-() const noexcept { return {-value}; }
};

/// A JSON value as text. The engine brings it into jsonb's own text form.
struct Json {
  std::string text;
  bool operator==(const Json&) const = default;
};

/// A field of an `update_…` operation: left as it is, cleared to NULL, or set.
template <class T>
class Change {
 public:
  Change() = default;
  Change(T value)
      : kind_(Kind::set), value_(std::move(value)) {}  // NOLINT: a value is a change to it.
  static Change cleared() {
    Change change;
    change.kind_ = Kind::cleared;
    return change;
  }

  bool present() const noexcept { return kind_ != Kind::absent; }
  bool has_value() const noexcept { return kind_ == Kind::set; }
  const T& value() const noexcept { return value_; }
  T& value() noexcept { return value_; }
  /// Writes this change to a column; an absent one leaves it.
  void apply_to(std::optional<T>& column) const {
    if (kind_ == Kind::set) column = value_;
    if (kind_ == Kind::cleared) column.reset();
  }
  bool operator==(const Change&) const = default;

 private:
  enum class Kind : std::uint8_t { absent, cleared, set };
  Kind kind_ = Kind::absent;
  T value_{};
};

}  // namespace tally

template <>
struct std::hash<tally::Uuid> {
  std::size_t operator()(const tally::Uuid& id) const noexcept {
    std::uint64_t a = 0;
    std::uint64_t b = 0;
    std::memcpy(&a, id.bytes.data(), 8);
    std::memcpy(&b, id.bytes.data() + 8, 8);
    // Ids of version 7 share their leading bits and random ones their few fixed bits: fold both.
    a = (a ^ (b * 0x9e3779b97f4a7c15ULL)) * 0xbf58476d1ce4e5b9ULL;
    return static_cast<std::size_t>(a ^ (a >> 32U));
  }
};
