#include "compare.hpp"

#include <algorithm>
#include <iterator>
#include <span>

#include "commands.hpp"

namespace tally::cli {
namespace {

template <class T>
T take_canonical(Result<T> result) {
  if (!result) throw stop_for(result.error(), canonical_hint(result.error().code));
  return std::move(result).value();
}

std::vector<UserPair> users_of_both(const Engine& engine, sync::Canonical& canonical,
                                    const std::optional<std::vector<Uuid>>& only) {
  const auto mirror = take(engine.users());
  const auto there = take_canonical(canonical.users());
  std::vector<Uuid> ids = only.value_or(std::vector<Uuid>{});
  if (!only)
    std::set_union(mirror.begin(), mirror.end(), there.begin(), there.end(),
                   std::back_inserter(ids));
  std::vector<UserPair> users;
  users.reserve(ids.size());
  for (const Uuid& id : ids) {
    users.push_back({id,
                     std::binary_search(mirror.begin(), mirror.end(), id),
                     std::binary_search(there.begin(), there.end(), id),
                     {}});
  }
  return users;
}

std::vector<TablePair> paired(const std::vector<TableDigest>& mirror,
                              const std::vector<TableDigest>& canonical, bool with_texts) {
  std::vector<TablePair> tables;
  for (const TableDigest& digest : mirror) {
    if (!with_texts && (digest.table == "profiles" || digest.table == "draft_prompts")) continue;
    const auto other =
        std::find_if(canonical.begin(), canonical.end(),
                     [&](const TableDigest& candidate) { return candidate.table == digest.table; });
    tables.push_back({digest, other == canonical.end() ? TableDigest{digest.table, 0, 0} : *other});
  }
  return tables;
}

std::string quoted(const std::optional<std::string>& value) {
  return value ? "'" + shown(*value, 200) + "'" : "NULL";
}

/// The first column that differs, of a row that both have.
std::optional<Difference> differing_column(const Difference& where, const ViewRow& mirror,
                                           const sync::RowTexts& canonical) {
  Difference out = where;
  for (std::size_t c = 0; c < std::max(mirror.size(), canonical.size()); ++c) {
    out.column = c < mirror.size() ? mirror[c].first : "column " + std::to_string(c + 1);
    out.mirror = c < mirror.size() ? mirror[c].second : std::nullopt;
    out.canonical = c < canonical.size() ? canonical[c] : std::nullopt;
    if (out.mirror != out.canonical) return out;
  }
  return std::nullopt;
}

/// Both in id order. Nothing where they are equal by now.
std::optional<Difference> differing_row(const Uuid& user_id, const std::string& table,
                                        const std::vector<ViewRow>& mirror,
                                        const std::vector<sync::RowTexts>& canonical) {
  std::size_t m = 0;
  std::size_t c = 0;
  while (m < mirror.size() || c < canonical.size()) {
    const auto id_m = m < mirror.size() ? mirror[m].front().second : std::nullopt;
    const auto id_c = c < canonical.size() ? canonical[c].front() : std::nullopt;
    if (!id_c || (id_m && *id_m < *id_c)) return Difference{user_id, table, *id_m, {}, id_m, {}};
    if (!id_m || *id_c < *id_m) return Difference{user_id, table, *id_c, {}, {}, id_c};
    if (auto found = differing_column({user_id, table, *id_m}, mirror[m], canonical[c]))
      return found;
    ++m;
    ++c;
  }
  return std::nullopt;
}

std::optional<Difference> first_difference(const Engine& engine, sync::Canonical& canonical,
                                           const std::vector<UserPair>& users) {
  for (const UserPair& user : users) {
    if (user.on_mirror != user.on_canonical) {
      const std::string id = user.user_id.text();
      return Difference{user.user_id,
                        "users",
                        id,
                        {},
                        user.on_mirror ? std::optional(id) : std::nullopt,
                        user.on_canonical ? std::optional(id) : std::nullopt};
    }
    for (const TablePair& pair : user.tables) {
      if (pair.equal()) continue;
      const std::string& table = pair.mirror.table;
      auto found = differing_row(user.user_id, table, take(engine.rows(table, user.user_id)),
                                 take_canonical(canonical.rows(table, user.user_id)));
      if (found) return found;
    }
  }
  return std::nullopt;
}

JsonValue to_json(const TableDigest& digest) {
  return {{"rows", digest.rows}, {"digest", hex(digest.digest)}};
}

}  // namespace

bool UserPair::equal() const {
  return on_mirror == on_canonical &&
         std::all_of(tables.begin(), tables.end(),
                     [](const TablePair& pair) { return pair.equal(); });
}

bool Comparison::equal() const {
  return std::all_of(users.begin(), users.end(), [](const UserPair& user) { return user.equal(); });
}

std::string Difference::sentence() const {
  if (column.empty()) {
    return "user " + user_id.text() + ", table " + table + ", row " + row + ": on " +
           (mirror ? "the mirror" : "canonical") + " only";
  }
  return "user " + user_id.text() + ", table " + table + ", row " + row + ", column " + column +
         ": mirror " + quoted(mirror) + ", canonical " + quoted(canonical);
}

Told told_to(Engine& engine) {
  const Replica replica(engine);
  const auto state = take(replica.state());
  if (!state) return {};
  const auto has = [&](Capability capability) {
    const auto& all = state->enrolment.capabilities;
    return std::find(all.begin(), all.end(), capability) != all.end();
  };
  Told told{take(replica.subscriptions()), has(Capability::author) || has(Capability::service)};
  if (state->enrolment.scope) told.users = {*state->enrolment.scope};
  return told;
}

Comparison compare(const Engine& engine, sync::Canonical& canonical, const std::vector<Uuid>& only,
                   const Told& told, const std::function<void(std::size_t)>& progress) {
  std::optional<std::vector<Uuid>> users;
  if (!only.empty()) {
    users = only;
  } else if (told.users) {
    // And whom the mirror has beyond: those should have gone.
    users.emplace();
    const auto here = take(engine.users());
    std::set_union(here.begin(), here.end(), told.users->begin(), told.users->end(),
                   std::back_inserter(*users));
  }
  Comparison comparison{users_of_both(engine, canonical, users)};
  std::vector<Uuid> all;
  for (const UserPair& user : comparison.users) all.push_back(user.user_id);
  const auto mirror = take(engine.digests(all));  // One pass, where one user would cost the same.
  constexpr std::size_t users_a_call = 100;
  for (std::size_t first = 0; first < comparison.users.size(); first += users_a_call) {
    const auto part = std::span(comparison.users)
                          .subspan(first, std::min(users_a_call, comparison.users.size() - first));
    const auto digests =
        take_canonical(canonical.digests(std::span(all).subspan(first, part.size())));
    for (std::size_t i = 0; i < part.size(); ++i) {
      part[i].tables = paired(mirror[first + i], digests[i], told.with_texts);
      progress(first + i + 1);
    }
  }
  if (!comparison.equal()) comparison.first = first_difference(engine, canonical, comparison.users);
  return comparison;
}

JsonValue to_json(const Comparison& comparison) {
  JsonValue users = JsonValue::array();
  for (const UserPair& user : comparison.users) {
    JsonValue tables = JsonValue::object();
    for (const TablePair& pair : user.tables) {
      tables[pair.mirror.table] = {{"equal", pair.equal()},
                                   {"mirror", to_json(pair.mirror)},
                                   {"canonical", to_json(pair.canonical)}};
    }
    users.push_back({{"user_id", user.user_id.text()},
                     {"equal", user.equal()},
                     {"on_mirror", user.on_mirror},
                     {"on_canonical", user.on_canonical},
                     {"tables", std::move(tables)}});
  }
  JsonValue first = nullptr;
  if (comparison.first) {
    const Difference& d = *comparison.first;
    first = {{"user_id", d.user_id.text()},
             {"table", d.table},
             {"row", d.row},
             {"column", d.column.empty() ? JsonValue(nullptr) : JsonValue(d.column)},
             {"mirror", to_json(d.mirror)},
             {"canonical", to_json(d.canonical)}};
  }
  return {{"equal", comparison.equal()},
          {"users", std::move(users)},
          {"first_difference", std::move(first)}};
}

}  // namespace tally::cli
