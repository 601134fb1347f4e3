#pragma once
// Both halves beside each other.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "output.hpp"
#include "tally/sync.hpp"

namespace tally::cli {

struct TablePair {
  TableDigest mirror;
  TableDigest canonical;
  bool equal() const { return mirror.rows == canonical.rows && mirror.digest == canonical.digest; }
};

struct UserPair {
  Uuid user_id;
  bool on_mirror = true;
  bool on_canonical = true;
  std::vector<TablePair> tables;
  bool equal() const;
};

/// Where the halves differ: a row that one lacks (`column` empty), or a column's two values.
struct Difference {
  Uuid user_id;
  std::string table;
  std::string row;
  std::string column{};
  std::optional<std::string> mirror{};
  std::optional<std::string> canonical{};
  std::string sentence() const;
};

struct Comparison {
  std::vector<UserPair> users;
  std::optional<Difference> first{};
  bool equal() const;
};

/// What a mirror is told of canonical: all, where it is no device.
struct Told {
  std::optional<std::vector<Uuid>> users{};  ///< Only of these; none: of all.
  bool with_texts = true;                    ///< Profiles and drafts as well.
};
Told told_to(Engine& engine);

/// Compares every user of either half that the mirror is told of, or those given. `progress` is
/// told how many are done.
Comparison compare(
    const Engine& engine, sync::Canonical& canonical, const std::vector<Uuid>& only = {},
    const Told& told = {}, const std::function<void(std::size_t)>& progress = [](std::size_t) {});

JsonValue to_json(const Comparison& comparison);

}  // namespace tally::cli
