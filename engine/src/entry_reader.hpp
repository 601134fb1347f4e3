#pragma once
// Entries with all that is shown of them.

#include "rows.hpp"
#include "sqlite.hpp"
#include "tally/engine.hpp"

namespace tally {

/// `more` are columns behind those that read_entry() reads. The entries come first in the join:
/// they are in the order that is asked for already.
inline std::string select_entries(std::string_view more, std::string_view which) {
  return "select n.seq, n.prev, k.type, n.amount, n.balance_after, coalesce(t.note, k.note),"
         "  coalesce(t.created_at, o.at), j.id, t.stripe_payment_id, t.id, o.id, k.ordinal" +
         std::string(more) +
         " from tally_entry n cross join tally_entry_kind k on k.kind = n.kind"
         " left join tally_operation o on o.o = n.e - k.ordinal"
         " left join tally_entry_text t on t.e = n.e left join tally_job j on j.j = n.j" +
         std::string(which);
}

inline Entry read_entry(const Query& query) {
  Entry out;
  out.seq = query.column<std::int64_t>(0);
  out.type = query.column<std::string>(2);
  out.amount = Credits{query.column<std::int64_t>(3)};
  out.balance_after = Credits{query.column<std::int64_t>(4)};
  out.note = query.column<std::optional<std::string>>(5);
  out.created_at = query.column<Timestamp>(6);
  if (!query.is_null(7)) out.job_id = unfolded(query.column<Uuid>(7));
  out.stripe_payment_id = query.column<std::optional<std::string>>(8);
  out.id = query.is_null(9) ? unfolded(query.column<Uuid>(10)).derived(query.column<unsigned>(11))
                            : query.column<Uuid>(9);
  return out;
}

/// One after another, each by its number.
class EntryReader {
 public:
  explicit EntryReader(SQLite::Database& db) : query_(db, select_entries("", " where n.e = ?")) {}

  /// False where there is none of that number; else the next calls are of it.
  bool seek(std::int64_t e) {
    query_.reset();
    return query_.bind(e).step();
  }
  std::int64_t seq() const { return query_.column<std::int64_t>(0); }
  /// How far the user's entry before is; 0 at the first.
  std::int64_t distance() const { return query_.column<std::int64_t>(1); }
  Timestamp created_at() const { return query_.column<Timestamp>(6); }
  Entry entry() const { return read_entry(query_); }

 private:
  Query query_;
};

}  // namespace tally
