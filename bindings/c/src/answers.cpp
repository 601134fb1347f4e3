#include "answers.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>

#include "structs.hpp"

namespace tally::c {
namespace {

/// The longest beginning of at most so many bytes that cuts no character in two.
std::string_view cut(std::string_view text, std::size_t bytes_max) noexcept {
  if (text.size() <= bytes_max) return text;
  const auto continues = [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xc0U) == 0x80U;
  };
  std::size_t end = bytes_max;
  while (end > 0 && continues(text[end])) --end;
  return text.substr(0, end);
}

}  // namespace

bool is_writable(const tally_error* error) noexcept {
  return error == nullptr || has_known_size(error);
}

tally_code fail(tally_error* error, Code code, std::string_view detail,
                std::int64_t index) noexcept {
  if (error == nullptr) return number_of(code);
  if (!is_writable(error)) return TALLY_INVALID_ARGUMENT;
  tally_error told = TALLY_ERROR_INIT;
  told.code = number_of(code);
  told.index = index;
  const std::string_view shown =
      cut(detail.empty() ? row_of(code).sentence : detail, sizeof told.detail - 1);
  std::memcpy(told.detail, shown.data(), shown.size());
  write_struct(error, told);
  return told.code;
}

tally_code fail_in_flight(tally_error* error) noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return fail(error, Code::internal, "out of memory");
  } catch (const std::exception& e) {
    return fail(error, Code::internal, e.what());
  } catch (...) {  // A host's callback may throw anything.
    return fail(error, Code::internal, "an exception of an unknown kind");
  }
}

}  // namespace tally::c
