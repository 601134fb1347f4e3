// What of canonical's rows a device is told in a call: what changed since where it was, in pages
// where that is too much for one answer, and the cursor that it has then.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "state.hpp"

namespace tally::model::half {

/// The place of a device in the pages of a user whose rows are too many for one answer: they are
/// gone over by kind and id, then the entries; what changed meanwhile is gone over again.
struct Pages {
  Text user_id;
  std::int64_t revision = 0, entries = 0;  // where the device was before the first of them
  std::int64_t from = 0, to = 0;           // the revisions that this round is about
  std::int64_t told_entries = 0;           // how many the device has by now
  int kind = 1;
  Text after;  // the last row told of that kind
};

/// A place in the feed: of a device over one user its revision and entries; of one over all where
/// its round is.
struct Cursor {
  std::int64_t call = 0;  // the number of the call that answered with it
  Text era;
  std::optional<std::int64_t> revision, entries;
  std::optional<std::int64_t> oldest;  // the oldest transaction that the round is about
  std::optional<std::int64_t> next_oldest;
  std::optional<std::int64_t> own;  // the device's call before, which told of all that it changed
  Text after;                       // the last user told
  bool from_start = false;
  std::optional<Pages> pages;

  std::string text() const;
  static std::optional<Cursor> parse(std::string_view text);
};

/// Who is told, and how much at most.
struct Reader {
  MaybeText scope;
  bool is_full = true;  // has profiles, drafts and addresses
  int users_max = 0, rows_max = 0;
  std::optional<std::set<Text>> only = {};

  bool wants(const Text& user_id) const {
    return scope ? scope == user_id : !only || only->count(user_id) > 0;
  }
};

/// A user who is told whole, since where the device is.
struct Since {
  Text user_id;
  std::int64_t revision = 0, entries = 0;
};

struct Page {
  std::vector<std::pair<RowKind, Text>> rows;
  std::int64_t entries_after = 0, entries_upto = 0;
};

struct Plan {
  std::vector<Since> users;
  MaybeText paged;             // one of them whose pages came before, or of whom a page is told
  std::optional<Pages> pages;  // its place before this call
  std::optional<Page> page;
  std::optional<Cursor> cursor;  // none: of one user, told whole
  bool more = false;
  MaybeText complete_after, complete_to;
  bool is_complete = false;

  bool tells(const Text& user_id) const;
};

/// The revisions at which rows last changed, or went. A transaction is one call; they follow each
/// other.
class Feed {
 public:
  struct Noted {
    std::int64_t revision = 0;
    bool gone = false;
  };
  using Key = std::pair<RowKind, Text>;
  struct User {
    std::int64_t revision = 0, entries = 0;
    std::map<Key, Noted> rows;
  };

  /// What a transaction did.
  void take(const std::vector<Change>& changes, std::int64_t transaction,
            const std::map<Text, Account>& accounts);

  /// Whether one of these users has more to be fed than one answer takes.
  bool is_behind(const Reader&, const std::optional<Cursor>&, const std::set<Text>& users,
                 std::int64_t transaction) const;
  /// `judged`: the users of whom verdicts are told, or a claimed job, who are told whole, but for
  /// pages under way.
  Plan plan(const Reader&, const std::optional<Cursor>&, std::set<Text> judged,
            const MaybeText& digest_of, std::int64_t transaction) const;

  const User* find(const Text& user_id) const;
  /// Of the rows that changed since that revision, each with whether it is gone.
  std::vector<std::pair<Key, bool>> changes_since(const Text& user_id, std::int64_t revision) const;

 private:
  /// What a transaction found: the user's revision and number of entries before it.
  struct Mark {
    std::int64_t transaction = 0, revision = 0, entries = 0;
  };
  struct Kept : User {
    std::set<std::pair<std::int64_t, Key>> by_revision;
    std::vector<Mark> marks;
  };
  struct Round {
    bool from_start = true;
    std::optional<std::int64_t> oldest;
    std::int64_t next_oldest = 0;
    Text after;
    std::optional<std::int64_t> own;
  };

  const Kept* kept(const Text& user_id) const;
  std::int64_t rows_since(const Since& since, std::int64_t rows_max) const;
  Since place_of(const Text& user_id, const std::optional<std::int64_t>& revision,
                 const std::optional<std::int64_t>& entries) const;
  Since place_in(const Round& round, const Text& user_id) const;
  static Round round_of(const std::optional<Cursor>&, std::int64_t transaction);
  static const Mark* first_mark(const Kept& user, const std::optional<std::int64_t>& oldest);
  std::vector<Since> candidates(const Reader&, const Round&) const;
  std::vector<Since> chosen(const Reader&, const std::vector<Since>& candidates) const;
  Plan plan_user(const Since& since, std::optional<Pages> pages, const Reader&,
                 std::int64_t rows_max) const;
  Page next_page(Pages& pages, const Reader&) const;
  Plan plan_round(const Reader&, const Round&, Cursor cursor, const std::set<Text>& judged) const;

  std::map<Text, Kept> users_;
};

}  // namespace tally::model::half
