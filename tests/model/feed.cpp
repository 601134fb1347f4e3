#include "feed.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

namespace tally::model::half {
namespace {

const Text before_all = "00000000-0000-0000-0000-000000000000";

void put(std::string& out, std::string_view key, std::string_view value) {
  out.append(key).append("=").append(value).append(";");
}
void put(std::string& out, std::string_view key, const std::optional<std::int64_t>& value) {
  if (value) put(out, key, std::to_string(*value));
}

using Members = std::map<std::string_view, std::string_view>;

std::optional<Members> members_of(std::string_view text) {
  Members members;
  while (!text.empty()) {
    const std::size_t equals = text.find('='), end = text.find(';');
    if (equals == std::string_view::npos || end == std::string_view::npos || equals > end)
      return std::nullopt;
    members[text.substr(0, equals)] = text.substr(equals + 1, end - equals - 1);
    text.remove_prefix(end + 1);
  }
  return members;
}

Text text_at(const Members& members, std::string_view key) {
  const auto found = members.find(key);
  return found == members.end() ? Text() : Text(found->second);
}

std::optional<std::int64_t> number_in(const Members& members, std::string_view key) {
  const auto found = members.find(key);
  std::int64_t number = 0;
  if (found == members.end()) return std::nullopt;
  std::from_chars(found->second.data(), found->second.data() + found->second.size(), number);
  return number;
}

}  // namespace

std::string Cursor::text() const {
  std::string out;
  put(out, "call", call);
  put(out, "era", era);
  put(out, "revision", revision);
  put(out, "entries", entries);
  put(out, "oldest", oldest);
  put(out, "next_oldest", next_oldest);
  put(out, "own", own);
  put(out, "after", after);
  if (from_start) put(out, "start", 1);
  if (!pages) return out;
  put(out, "user", pages->user_id);
  put(out, "page_revision", pages->revision);
  put(out, "page_entries", pages->entries);
  put(out, "from", pages->from);
  put(out, "to", pages->to);
  put(out, "told_entries", pages->told_entries);
  put(out, "kind", pages->kind);
  put(out, "row", pages->after);
  return out;
}

std::optional<Cursor> Cursor::parse(std::string_view text) {
  const auto members = members_of(text);
  if (!members || members->count("call") == 0 || members->count("era") == 0) return std::nullopt;
  const auto required = [&](std::string_view key) { return number_in(*members, key).value_or(0); };
  Cursor cursor;
  cursor.call = required("call");
  cursor.era = text_at(*members, "era");
  cursor.revision = number_in(*members, "revision");
  cursor.entries = number_in(*members, "entries");
  cursor.oldest = number_in(*members, "oldest");
  cursor.next_oldest = number_in(*members, "next_oldest");
  cursor.own = number_in(*members, "own");
  cursor.after = text_at(*members, "after");
  cursor.from_start = members->count("start") > 0;
  if (members->count("user") == 0) return cursor;
  cursor.pages = Pages{text_at(*members, "user"),
                       required("page_revision"),
                       required("page_entries"),
                       required("from"),
                       required("to"),
                       required("told_entries"),
                       static_cast<int>(required("kind")),
                       text_at(*members, "row")};
  return cursor;
}

bool Plan::tells(const Text& user_id) const {
  return std::any_of(users.begin(), users.end(),
                     [&](const Since& since) { return since.user_id == user_id; });
}

// ---- what is kept -------------------------------------------------------------------------------

void Feed::take(const std::vector<Change>& changes, std::int64_t transaction,
                const std::map<Text, Account>& accounts) {
  for (const Change& change : changes) {
    Kept& user = users_[change.user_id];
    if (user.marks.empty() || user.marks.back().transaction != transaction) {
      user.marks.push_back({transaction, user.revision, user.entries});
      ++user.revision;
    }
    user.entries = static_cast<std::int64_t>(accounts.at(change.user_id).entries.size());
    if (change.kind == RowKind::entries_behind) continue;
    const Key key{change.kind, change.row_id};
    Noted& noted = user.rows[key];
    user.by_revision.erase({noted.revision, key});
    noted = {user.revision, change.gone};
    user.by_revision.insert({user.revision, key});
  }
}

const Feed::Kept* Feed::kept(const Text& user_id) const {
  const auto found = users_.find(user_id);
  return found == users_.end() ? nullptr : &found->second;
}

const Feed::User* Feed::find(const Text& user_id) const { return kept(user_id); }

std::vector<std::pair<Feed::Key, bool>> Feed::changes_since(const Text& user_id,
                                                            std::int64_t revision) const {
  std::vector<std::pair<Key, bool>> out;
  const Kept* user = kept(user_id);
  if (user == nullptr) return out;
  for (auto row = user->by_revision.lower_bound({revision + 1, Key{}});
       row != user->by_revision.end(); ++row)
    out.emplace_back(row->second, user->rows.at(row->second).gone);
  return out;
}

/// Counted up to a bound, as far as rows go.
std::int64_t Feed::rows_since(const Since& since, std::int64_t rows_max) const {
  const Kept* user = kept(since.user_id);
  if (user == nullptr) return 0;
  std::int64_t rows = 0;
  for (auto row = user->by_revision.lower_bound({since.revision + 1, Key{}});
       row != user->by_revision.end() && rows <= rows_max; ++row)
    ++rows;
  return user->entries - since.entries + rows;
}

/// Where a device over one user has it; from the start, where canonical has not reached that.
Since Feed::place_of(const Text& user_id, const std::optional<std::int64_t>& revision,
                     const std::optional<std::int64_t>& entries) const {
  const Kept* user = kept(user_id);
  const bool is_known = user != nullptr && revision && entries && *revision <= user->revision &&
                        *entries <= user->entries;
  return is_known ? Since{user_id, *revision, *entries} : Since{user_id};
}

// ---- rounds over all users ----------------------------------------------------------------------

Feed::Round Feed::round_of(const std::optional<Cursor>& given, std::int64_t transaction) {
  const Cursor* cursor = given ? &*given : nullptr;
  Round round;
  if (cursor != nullptr) {
    round.oldest = cursor->oldest;
    round.from_start = cursor->from_start;
  }
  if (!round.oldest || *round.oldest > transaction || *round.oldest <= 0) {
    if (!round.from_start) cursor = nullptr;
    round.from_start = true;
  }
  round.next_oldest = cursor != nullptr && cursor->next_oldest ? *cursor->next_oldest : transaction;
  round.after = cursor != nullptr && !cursor->after.empty() ? cursor->after : before_all;
  if (cursor != nullptr) round.own = cursor->own;
  return round;
}

const Feed::Mark* Feed::first_mark(const Kept& user, const std::optional<std::int64_t>& oldest) {
  if (!oldest) return nullptr;
  const auto mark = std::lower_bound(
      user.marks.begin(), user.marks.end(), *oldest,
      [](const Mark& a, std::int64_t transaction) { return a.transaction < transaction; });
  return mark == user.marks.end() ? nullptr : &*mark;
}

Since Feed::place_in(const Round& round, const Text& user_id) const {
  const Kept* user = kept(user_id);
  if (round.from_start || user == nullptr) return {user_id};
  const Mark* mark = first_mark(*user, round.oldest);
  if (mark == nullptr) return {user_id, user->revision, user->entries};
  return {user_id, mark->revision, mark->entries};
}

/// The users whom the round comes to next: all, or those that changed, but for whom the device's
/// last call left as they are now.
std::vector<Since> Feed::candidates(const Reader& reader, const Round& round) const {
  std::vector<Since> out;
  for (auto user = users_.upper_bound(round.after); user != users_.end(); ++user) {
    if (out.size() == static_cast<std::size_t>(reader.users_max)) break;
    if (!reader.wants(user->first)) continue;
    if (round.from_start) {
      out.push_back({user->first});
      continue;
    }
    const Kept& is = user->second;
    const Mark* own = first_mark(is, round.own);
    const bool is_own =
        own != nullptr && own->transaction == *round.own && is.revision == own->revision + 1;
    if (first_mark(is, round.oldest) != nullptr && !is_own)
      out.push_back(place_in(round, user->first));
  }
  return out;
}

/// As many of them as one answer takes, but one in any case.
std::vector<Since> Feed::chosen(const Reader& reader, const std::vector<Since>& candidates) const {
  std::vector<Since> out;
  std::int64_t rows = 0;
  for (const Since& since : candidates) {
    rows += rows_since(since, reader.rows_max);
    if (!out.empty() && rows > reader.rows_max) break;
    out.push_back(since);
  }
  return out;
}

Plan Feed::plan_round(const Reader& reader, const Round& round, Cursor cursor,
                      const std::set<Text>& judged) const {
  const std::vector<Since> all = candidates(reader, round);
  const std::vector<Since> told = chosen(reader, all);
  Plan plan;
  if (!told.empty() && rows_since(told.front(), reader.rows_max) > reader.rows_max &&
      judged.count(told.front().user_id) == 0) {
    plan = plan_user(told.front(), std::nullopt, reader, reader.rows_max);
    cursor.after = round.after;
    cursor.pages = plan.cursor->pages;
    plan.cursor = cursor;
    plan.complete_to = plan.paged;
  } else {
    plan.users = told;
    plan.more =
        told.size() < all.size() || all.size() == static_cast<std::size_t>(reader.users_max);
    if (plan.more) {
      cursor.after = told.back().user_id;
      plan.complete_to = cursor.after;
    } else {
      cursor = Cursor{};
      cursor.oldest = round.next_oldest;
    }
    plan.cursor = cursor;
  }
  plan.is_complete = true;
  return plan;
}

// ---- pages --------------------------------------------------------------------------------------

Page Feed::next_page(Pages& pages, const Reader& reader) const {
  constexpr int kinds = static_cast<int>(RowKind::credit_ledger);
  const Kept& user = *kept(pages.user_id);
  Page page;
  page.entries_after = page.entries_upto = pages.told_entries;
  const auto left = [&] { return reader.rows_max - static_cast<std::int64_t>(page.rows.size()); };
  while (left() > 0 && pages.kind <= kinds) {
    const auto kind = static_cast<RowKind>(pages.kind);
    const bool is_told =
        reader.is_full || (kind != RowKind::profiles && kind != RowKind::draft_prompts);
    for (auto row = user.rows.upper_bound({kind, pages.after});
         is_told && left() > 0 && row != user.rows.end() && row->first.first == kind; ++row) {
      if (row->second.revision <= pages.from) continue;
      page.rows.push_back(row->first);
      pages.after = row->first.second;
    }
    if (left() == 0) return page;
    ++pages.kind;
    pages.after.clear();
  }
  page.entries_upto = std::min(user.entries, page.entries_after + left());
  pages.told_entries = page.entries_upto;
  if (page.entries_upto == user.entries) {
    pages.from = pages.to;
    pages.to = user.revision;
    pages.kind = 1;
    pages.after.clear();
  }
  return page;
}

Plan Feed::plan_user(const Since& from, std::optional<Pages> pages, const Reader& reader,
                     std::int64_t rows_max) const {
  Since since = from;
  const Kept* user = kept(since.user_id);
  if (pages && (user == nullptr || pages->to > user->revision)) {
    // Pages that canonical does not know any more are begun anew.
    pages.reset();
    since = {since.user_id};
  }
  Plan plan;
  if (pages) plan.paged = since.user_id;
  plan.pages = pages;
  const Since left = pages ? Since{since.user_id, pages->from, pages->told_entries} : since;
  if (rows_since(left, rows_max) <= rows_max &&
      (!pages || (pages->kind == 1 && pages->after.empty()))) {
    plan.users.push_back(left);
    return plan;
  }
  if (!pages) {
    pages = Pages{since.user_id,
                  since.revision,
                  since.entries,
                  since.revision,
                  user->revision,
                  since.entries,
                  1,
                  ""};
  }
  plan.page = next_page(*pages, reader);
  plan.paged = since.user_id;
  plan.cursor.emplace().pages = pages;
  plan.more = true;
  return plan;
}

// ---- a call -------------------------------------------------------------------------------------

bool Feed::is_behind(const Reader& reader, const std::optional<Cursor>& cursor,
                     const std::set<Text>& users, std::int64_t transaction) const {
  if (cursor && cursor->pages) {
    const Text& paged = cursor->pages->user_id;
    if (users.count(paged) > 0 || reader.scope == paged) return true;
  }
  const auto is_too_much = [&](const Since& since) {
    return rows_since(since, reader.rows_max) > reader.rows_max;
  };
  if (reader.scope) {
    return is_too_much(place_of(*reader.scope, cursor ? cursor->revision : std::nullopt,
                                cursor ? cursor->entries : std::nullopt));
  }
  const Round round = round_of(cursor, transaction);
  return std::any_of(users.begin(), users.end(),
                     [&](const Text& user_id) { return is_too_much(place_in(round, user_id)); });
}

Plan Feed::plan(const Reader& reader, const std::optional<Cursor>& cursor, std::set<Text> judged,
                const MaybeText& digest_of, std::int64_t transaction) const {
  const std::optional<Pages> pages = cursor ? cursor->pages : std::nullopt;
  if (reader.scope) {
    const Since since = pages ? place_of(*reader.scope, pages->revision, pages->entries)
                              : place_of(*reader.scope, cursor ? cursor->revision : std::nullopt,
                                         cursor ? cursor->entries : std::nullopt);
    const bool is_under_way = pages && pages->user_id == *reader.scope;
    return plan_user(since, is_under_way ? pages : std::nullopt, reader,
                     judged.empty() || is_under_way ? reader.rows_max
                                                    : std::numeric_limits<std::int32_t>::max());
  }
  const Round round = round_of(cursor, transaction);
  Cursor next;
  next.oldest = round.oldest.value_or(0);
  next.next_oldest = round.next_oldest;
  next.from_start = round.from_start;
  Plan plan;
  if (pages && round.from_start == cursor->from_start) {
    plan = plan_user({pages->user_id, pages->revision, pages->entries}, pages, reader,
                     reader.rows_max);
    next.after = plan.more ? round.after : pages->user_id;
    if (plan.cursor) next.pages = plan.cursor->pages;
    plan.cursor = next;
    plan.more = true;
  } else {
    plan = plan_round(reader, round, next, judged);
  }
  if (round.from_start && plan.is_complete) plan.complete_after = round.after;
  if (digest_of && rows_since(place_in(round, *digest_of), reader.rows_max) <= reader.rows_max)
    judged.insert(*digest_of);
  for (const Text& user_id : judged) {
    if (!plan.tells(user_id) && plan.paged != user_id && reader.wants(user_id))
      plan.users.push_back(place_in(round, user_id));
  }
  return plan;
}

}  // namespace tally::model::half
