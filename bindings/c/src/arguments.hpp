#pragma once
// What a caller hands in: ids, texts, handles.

#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "tally.h"
#include "tally/engine.hpp"

struct tally_engine {
  tally::Engine engine;
};

namespace tally::c {

inline Uuid id_of(const tally_uuid& id) noexcept {
  Uuid out;
  std::memcpy(out.bytes.data(), id.bytes, sizeof id.bytes);
  return out;
}
inline std::optional<Uuid> id_of(const tally_uuid* id) noexcept {
  return id == nullptr ? std::nullopt : std::optional(id_of(*id));
}
inline tally_uuid id_of(const Uuid& id) noexcept {
  tally_uuid out;
  std::memcpy(out.bytes, id.bytes.data(), sizeof out.bytes);
  return out;
}

/// Whether the two are a text or none: a length without a pointer is neither.
inline bool is_text(const char* text, std::size_t length) noexcept {
  return text != nullptr || length == 0;
}
/// As it stands; empty where it is absent.
inline std::string_view view_of(const char* text, std::size_t length) noexcept {
  return text == nullptr ? std::string_view() : std::string_view(text, length);
}

/// A file's name in UTF-8. Nothing, and `wrong` says why, where it is none.
inline std::optional<std::filesystem::path> path_of(const char* text, std::size_t length,
                                                    std::string_view& wrong) {
  const std::string_view name = view_of(text, length);
  if (name.empty()) wrong = "path is missing";
  if (name.find('\0') != std::string_view::npos) wrong = "path contains a zero";
  if (!wrong.empty()) return std::nullopt;
  return std::filesystem::path(std::u8string(name.begin(), name.end()));
}

}  // namespace tally::c
