#pragma once
// The outbox's bytes: values one after another, numbers as zigzag varints, texts after their
// length. The order of values is the order of the tables' columns and of the operations' fields.

#include <sqlite3.h>

#include <SQLiteCpp/Exception.h>
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "fields.hpp"
#include "sqlite.hpp"
#include "tally/operations.hpp"

namespace tally {

class Encoder {
 public:
  std::string_view bytes() const noexcept { return {buffer_.data(), size_}; }
  std::string take() noexcept {
    buffer_.resize(size_);
    size_ = 0;
    return std::move(buffer_);
  }
  void clear() noexcept { size_ = 0; }
  /// Back to so many bytes.
  void truncate(std::size_t size) noexcept { size_ = size; }
  std::size_t capacity() const noexcept { return buffer_.capacity(); }

  void append(std::string_view bytes) {
    std::memcpy(room(bytes.size()), bytes.data(), bytes.size());
    size_ += bytes.size();
  }
  void put_byte(int v) {
    *room(1) = static_cast<char>(v);
    ++size_;
  }
  void put_varint(std::uint64_t v) {
    constexpr std::size_t bytes_max = 10;
    char* const start = room(bytes_max);
    char* at = start;
    for (; v >= 0x80; v >>= 7U) *at++ = static_cast<char>(v | 0x80U);
    *at++ = static_cast<char>(v);
    size_ += static_cast<std::size_t>(at - start);
  }
  void put(std::int64_t v) {
    put_varint((static_cast<std::uint64_t>(v) << 1U) ^ static_cast<std::uint64_t>(v >> 63));
  }
  void put(const std::string& v) {
    put_varint(v.size());
    append(v);
  }
  void put(const Uuid& v) {
    append({reinterpret_cast<const char*>(v.bytes.data()), v.bytes.size()});
  }
  void put(Timestamp v) { put(v.us); }
  void put(Credits v) { put(v.value); }
  void put(const Json& v) { put(v.text); }
  void put(JobStatus v) { put_byte(static_cast<int>(v)); }
  void put(StepState v) { put_byte(static_cast<int>(v)); }
  template <class T>
  void put(const std::optional<T>& v) {
    put_byte(v ? 1 : 0);
    if (v) put(*v);
  }
  template <class T>
  void put(const Change<T>& v) {
    put_byte(v.has_value() ? 1 : v.present() ? 2 : 0);
    if (v.has_value()) put(v.value());
  }

 private:
  /// Where the next bytes go, of which there are so many at least.
  char* room(std::size_t bytes) {
    if (buffer_.size() - size_ < bytes) buffer_.resize(std::max(buffer_.size() * 2, size_ + bytes));
    return buffer_.data() + size_;
  }
  std::string buffer_;  ///< Larger than what is in it.
  std::size_t size_ = 0;
};

/// Throws SQLITE_CORRUPT where the bytes are not what an Encoder wrote.
class Decoder {
 public:
  explicit Decoder(std::string_view bytes) noexcept : bytes_(bytes) {}
  bool at_end() const noexcept { return bytes_.empty(); }
  /// What has not been read yet.
  std::string_view rest() const noexcept { return bytes_; }
  /// From here on texts are passed over: who reads gets empty ones.
  void skip_texts(bool skips) noexcept { skips_texts_ = skips; }

  std::uint64_t get_varint() {
    std::uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1).front());
      v |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) return v;
    }
    throw SQLite::Exception("a record holds a number that is none", SQLITE_CORRUPT);
  }
  /// How many things follow, each of a byte at least: memory for them can be asked for at once.
  std::size_t get_size() {
    const std::uint64_t count = get_varint();
    if (count > bytes_.size())
      throw SQLite::Exception("a record holds less than it counts", SQLITE_CORRUPT);
    return count;
  }
  void get(std::int64_t& v) { v = bounded(get_number()); }
  /// As it is: an asset's size may be any.
  void get(std::optional<std::int64_t>& v) {
    v.reset();
    if (get_byte(1) == 1) v = get_number();
  }
  void get(std::string& v) {
    const std::string_view text = take(get_varint());
    if (!skips_texts_) v = text;
  }
  void get(Uuid& v) {
    const std::string_view from = take(v.bytes.size());
    std::copy(from.begin(), from.end(), v.bytes.begin());
  }
  void get(Timestamp& v) { get(v.us); }
  void get(Credits& v) { get(v.value); }
  void get(Json& v) { get(v.text); }
  void get(JobStatus& v) {
    v = static_cast<JobStatus>(get_byte(static_cast<int>(JobStatus::FAILED)));
  }
  void get(StepState& v) {
    v = static_cast<StepState>(get_byte(static_cast<int>(StepState::failed)));
  }
  template <class T>
  void get(std::optional<T>& v) {
    v.reset();
    if (get_byte(1) == 1) get(v.emplace());
  }
  template <class T>
  void get(Change<T>& v) {
    const int kind = get_byte(2);
    if (kind == 2) v = Change<T>::cleared();
    if (kind == 1) {
      T value{};
      get(value);
      v = std::move(value);
    }
  }
  std::int64_t get_number() {
    const std::uint64_t z = get_varint();
    return static_cast<std::int64_t>((z >> 1U) ^ (~(z & 1U) + 1U));
  }
  int get_byte(int max) {
    const int byte = static_cast<unsigned char>(take(1).front());
    if (byte > max)
      throw SQLite::Exception("a record holds a byte out of its range", SQLITE_CORRUPT);
    return byte;
  }
  std::string_view take(std::uint64_t length) {
    if (length > bytes_.size())
      throw SQLite::Exception("a record ends within a value", SQLITE_CORRUPT);
    const std::string_view taken = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return taken;
  }

 private:
  std::string_view bytes_;
  bool skips_texts_ = false;
};

}  // namespace tally
