#pragma once
// How a call answers: what it says beyond its code goes into the caller's structs, and what is
// thrown anywhere below ends here.

#include <cstdint>
#include <string>
#include <string_view>

#include "tally.h"
#include "tally/engine.hpp"

struct tally_text {
  std::string text;
};

namespace tally::c {

inline tally_code number_of(Code code) noexcept { return static_cast<tally_code>(code); }

/// Writes the error where there is one, and answers its code.
tally_code fail(tally_error* error, Code code, std::string_view detail,
                std::int64_t index = -1) noexcept;
inline tally_code fail(tally_error* error, const Error& of) noexcept {
  return fail(error, of.code, of.detail);
}
inline tally_code invalid(tally_error* error, std::string_view detail) noexcept {
  return fail(error, Code::invalid_argument, detail);
}

/// Whether it can be written to, where there is one.
bool is_writable(const tally_error* error) noexcept;

/// The code of the exception that is being handled.
tally_code fail_in_flight(tally_error* error) noexcept;

/// The edge of every function but the fastest: nothing thrown passes it. `work` answers the code.
template <class Work>
tally_code guarded(tally_error* error, Work work) noexcept {
  if (!is_writable(error)) return TALLY_INVALID_ARGUMENT;
  try {
    return work();
  } catch (...) {
    return fail_in_flight(error);
  }
}

/// Sets `out` to the value, as `made` turns it into one of C's; a Result without a value fails.
template <class T, class Out, class Make>
tally_code answer(tally_error* error, const Result<T>& result, Out* out, Make made) {
  if (!result) return fail(error, result.error());
  *out = made(*result);
  return TALLY_OK;
}

/// A text that the caller frees.
inline tally_text* new_text(std::string text) { return new tally_text{std::move(text)}; }

}  // namespace tally::c
