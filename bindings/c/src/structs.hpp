#pragma once
// Structs of callers who were built with an older or a newer tally.h: each says its own size, and
// no more of it is read or written than both know.

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "tally.h"

namespace tally::c {

/// What a struct measured when it was first published: up to the end of the field that was its
/// last. These never change; fields behind are optional.
template <class T>
inline constexpr std::size_t first_size = 0;
// NOLINTBEGIN(bugprone-macro-parentheses): a type takes none.
#define TALLY_FIRST_LAST(type, last) \
  template <>                        \
  inline constexpr std::size_t first_size<type> = offsetof(type, last) + sizeof(type::last)
// NOLINTEND(bugprone-macro-parentheses)
TALLY_FIRST_LAST(tally_error, detail);
TALLY_FIRST_LAST(tally_callbacks, log);
TALLY_FIRST_LAST(tally_options, callbacks);
TALLY_FIRST_LAST(tally_call, at_us);
TALLY_FIRST_LAST(tally_receipt, balance);
TALLY_FIRST_LAST(tally_operation, message_length);
TALLY_FIRST_LAST(tally_check, pending_operations);
TALLY_FIRST_LAST(tally_sync_callbacks, diverged);
TALLY_FIRST_LAST(tally_sync_options, callbacks);
TALLY_FIRST_LAST(tally_wait, timeout_ms);
#undef TALLY_FIRST_LAST

/// No struct will be longer; what says so was never set.
inline constexpr std::size_t size_max = 4'096;

template <class T>
bool has_known_size(const T* given) noexcept {
  static_assert(first_size<T> > 0);
  // Published were that one, ours, and perhaps longer ones since: none that ends within a field.
  const std::size_t size = given->struct_size;
  // NOLINTNEXTLINE(misc-redundant-expression): of some structs both are the same.
  return (size == first_size<T> || size >= sizeof(T)) && size <= size_max;
}

/// Copies what both know over `known`, which has the defaults of the rest. False where the size is
/// none, or where the caller uses a field that is not known here.
template <class T>
bool read_struct(const T* given, T& known) noexcept {
  if (!has_known_size(given)) return false;
  const std::size_t size = given->struct_size;
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  std::memcpy(&known, bytes, std::min(size, sizeof known));
  known.struct_size = sizeof known;
  return size <= sizeof known || std::all_of(bytes + sizeof known, bytes + size,
                                             [](unsigned char byte) { return byte == 0; });
}

/// Writes what both know; the caller's own size stays.
template <class T>
void write_struct(T* given, T known) noexcept {
  known.struct_size = given->struct_size;
  std::memcpy(given, &known, std::min<std::size_t>(given->struct_size, sizeof known));
}

}  // namespace tally::c
