#pragma once
// Table<Row>: the rows of one table that the current transaction touches. Reads go through to
// SQLite once; writes stay here, journalled, until flush(), which may come in the middle of an
// operation. A journal mark can be returned to, which is how a refused operation or batch leaves
// nothing behind; the journal's before-images are also what the outbox keeps to undo an operation
// that canonical rejects.

#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "codec.hpp"
#include "flat_index.hpp"
#include "rows.hpp"
#include "sqlite.hpp"

namespace tally {

/// A number of the file's from which ours go on, and could overflow where it is damage.
inline std::int64_t sound_number(std::int64_t number, std::int64_t min = 0) {
  constexpr std::int64_t max = std::int64_t{1} << 40;
  if (number < min || number > max)
    throw SQLite::Exception("a row has the number " + std::to_string(number), SQLITE_CORRUPT);
  return number;
}

namespace detail {
/// The comma-separated columns, each through `format`.
template <class Row, class Format>
std::string column_list(Format&& format) {
  std::string out;
  int i = 0;
  std::apply(
      [&](const auto&... columns) {
        ((out += format(columns, ++i, out.empty() ? "" : ", ")), ...);
      },
      Row::columns());
  return out;
}
template <class Row>
constexpr std::size_t column_count = std::tuple_size_v<decltype(Row::columns())>;

/// `update … set …` of the columns that may change; the key is the last parameter.
template <class Row>
std::string update_sql(bool with_indexed) {
  const std::string set =
      column_list<Row>([&](const auto& column, int i, const char* comma) -> std::string {
        if (column.use == ColumnUse::fixed || (column.use == ColumnUse::indexed && !with_indexed))
          return "";
        return comma + std::string(column.name) + " = ?" + std::to_string(i);
      });
  return "update " + std::string(Row::table) + " set " + set + " where " + std::string(Row::key) +
         " = ?" + std::to_string(column_count<Row> + 1);
}
}  // namespace detail

template <class Row>
class Table {
 public:
  explicit Table(Connection db)
      : select_(db, "select " + names() + " from " + std::string(Row::table) + " where " +
                        std::string(Row::key) + " = ?"),
        insert_(db, "insert into " + std::string(Row::table) + " (" + names() + ", " +
                        std::string(Row::key) + ") " +
                        select_rows(static_cast<int>(detail::column_count<Row>) + 1)),
        update_(db, detail::update_sql<Row>(true)),
        delete_(db, "delete from " + std::string(Row::table) + " where " + std::string(Row::key) +
                        " = ?"),
        last_key_(db, "select max(" + std::string(Row::key) + ") from " + std::string(Row::table)) {
    if constexpr (has_indexed()) update_plain_.emplace(db, detail::update_sql<Row>(false));
    if constexpr (has_id()) {
      select_id_.emplace(db, "select " + std::string(Row::key) + ", " + names() + " from " +
                                 std::string(Row::table) + " where id = ?");
    }
  }

  /// Starts a transaction with nothing remembered from before.
  void clear() noexcept {
    clear_rows();
    next_key_ = 0;
    keys_end_ = unknown;
  }
  /// Starts one that follows ours, which was committed, or changed nothing: what keys there are is
  /// remembered, and so are up to so many rows.
  void follow(std::size_t rows_max) noexcept {
    if (used_ > rows_max || ids_.size() > 2 * rows_max || wrote_) {
      const bool undone = wrote_;
      clear_rows();
      if (undone) keys_end_ = unknown;
      return;
    }
    for (const std::uint32_t i : touched_) {
      slots_[i].touched = false;
      slots_[i].journal_end = 0;
    }
    touched_.clear();
    journal_.clear();
    latest_mark_ = 0;
  }
  /// The transaction is in the file.
  void committed() noexcept { wrote_ = false; }

  /// The row, or null. Valid until clear().
  const Row* find(std::int64_t key) {
    const Slot& slot = slot_of(key);
    return slot.present ? &slot.row : nullptr;
  }
  const Row& get(std::int64_t key) {
    const Row* row = find(key);
    if (row == nullptr)
      throw SQLite::Exception("a row that others refer to is missing", SQLITE_CORRUPT);
    return *row;
  }
  /// The key of the row with that id, if there is one.
  std::optional<std::int64_t> find_id(const Uuid& id) requires requires(Row row) { row.id.bytes; }
  {
    if (const std::uint32_t i = ids_.find(id); i != ids_.none) {
      const bool is_there = i != no_row && slots_[i].present && slots_[i].row.id == id;
      return is_there ? std::optional(slots_[i].key) : std::nullopt;
    }
    const Rewind rewind(*select_id_);
    select_id_->bind(id);
    if (!select_id_->step()) {
      ids_.insert(id, no_row);
      return std::nullopt;
    }
    const auto key = sound_number(select_id_->template column<std::int64_t>(0), 1);
    if (index_.find(key) == index_.none) read_row(*select_id_, 1, new_slot(key));
    const Slot& slot = slots_[index_.find(key)];
    return slot.present && slot.row.id == id ? std::optional(key) : std::nullopt;
  }
  /// The row for writing; it must exist.
  Row& edit(std::int64_t key) {
    Slot& slot = slot_of(key);
    if (!slot.present)
      throw SQLite::Exception("a row that others refer to is missing", SQLITE_CORRUPT);
    remember(slot);
    return slot.row;
  }
  /// A new row under a key of the caller's.
  Row& insert(std::int64_t key, Row row) {
    Slot& slot = slot_of(key);
    if (slot.present) throw SQLite::Exception("a new row's number is another's", SQLITE_CORRUPT);
    remember(slot);
    erased_ = erased_ || slot.stored;  // Another row under a key that was used.
    slot.row = std::move(row);
    slot.present = true;
    if (keys_end_ != unknown) keys_end_ = std::max(keys_end_, key + 1);
    if constexpr (has_id()) ids_.insert(slot.row.id, index_.find(key));
    return slot.row;
  }
  /// The row for writing, made by default where there is none.
  Row& edit_or_insert(std::int64_t key) {
    return find(key) == nullptr ? insert(key, Row{}) : edit(key);
  }
  bool knows_id(const Uuid& id) const noexcept { return ids_.find(id) != ids_.none; }
  bool knows(std::int64_t key) const noexcept { return index_.find(key) != index_.none; }
  /// A row known from elsewhere (memory), as if it had been loaded.
  void adopt(std::int64_t key, const Row& row) {
    if (index_.find(key) != index_.none) return;
    Slot& slot = new_slot(key);
    slot.row = row;
    slot.present = slot.stored = true;
  }
  void erase(std::int64_t key) {
    Slot& slot = slot_of(key);
    if (!slot.present) return;
    remember(slot);
    slot.present = false;
    erased_ = true;
  }
  /// A key that no row has, above all others of this table.
  std::int64_t new_key(std::int64_t floor = 0) {
    if (next_key_ == 0) {
      next_key_ = new_key_end() - 1;
    }
    next_key_ = std::max(next_key_, floor) + 1;
    return next_key_;
  }

  /// Writes every changed row to SQLite, within its transaction.
  void flush() {
    if (dirty_.empty()) return;
    wrote_ = true;
    // Deletions first: the id of a deleted row is free again.
    for (std::size_t i = 0; erased_ && i < dirty_.size(); ++i) {
      Slot& slot = slots_[dirty_[i]];
      if (!slot.stored || (slot.present && !fixed_changed(slot))) continue;
      delete_.bind(slot.key).run();
      slot.stored = false;
    }
    erased_ = false;
    inserted_.clear();
    for (const std::uint32_t i : dirty_) {
      Slot& slot = slots_[i];
      slot.dirty = false;
      if (slot.present && !slot.stored) {
        inserted_.push_back(i);
      } else if (slot.present && !(slot.row == slot.loaded)) {
        update(slot);
      }
      slot.stored = slot.present;
      slot.loaded = slot.row;  // Also for a rollback() behind this flush, which journals nothing.
    }
    dirty_.clear();
    insert_rows();
  }

  /// The rows that were written to since clear(): visit(key, row).
  template <class Visit>
  void for_each_touched(Visit&& visit) const {
    for (const std::uint32_t i : touched_) {
      if (slots_[i].present) visit(slots_[i].key, slots_[i].row);
    }
  }

  /// Those that are gone since then: visit(key).
  template <class Visit>
  void for_each_erased(Visit&& visit) const {
    for (const std::uint32_t i : touched_) {
      if (!slots_[i].present) visit(slots_[i].key);
    }
  }

  // ---- journal ----
  /// From here on each row is journalled once, before its first write.
  std::size_t mark() noexcept { return latest_mark_ = journal_.size(); }
  void rollback(std::size_t mark) {
    latest_mark_ = mark;
    while (journal_.size() > mark) {
      Before& before = journal_.back();
      Slot& slot = slots_[before.slot];
      slot.present = before.present;
      slot.journal_end = 0;
      make_dirty(before.slot);
      erased_ = erased_ || !slot.present;
      if (before.present) {
        slot.row = std::move(before.row);
        if constexpr (has_id()) ids_.insert(slot.row.id, before.slot);
      }
      journal_.pop_back();
    }
  }
  /// Appends the before-images since the mark: number of table, key, whether it existed, columns.
  /// The oldest of a row comes last, so that restoring them in order ends with it.
  void put_images(Encoder& out, std::size_t mark, int table_number) const {
    for (std::size_t i = journal_.size(); i-- > mark;) {
      const Before& before = journal_[i];
      out.put_varint(static_cast<std::uint64_t>(table_number));
      out.put(slots_[before.slot].key);
      out.put_varint(before.present ? 1 : 0);
      if (!before.present) continue;
      std::apply([&](const auto&... columns) { (out.put(before.row.*(columns.member)), ...); },
                 Row::columns());
    }
  }
  std::size_t image_count(std::size_t mark) const noexcept { return journal_.size() - mark; }
  /// Reads one image: the key, and the row as it was, if it was there.
  static std::pair<std::int64_t, std::optional<Row>> read_image(Decoder& in) {
    std::pair<std::int64_t, std::optional<Row>> image;
    in.get(image.first);
    sound_number(image.first);
    if (in.get_byte(1) == 0) return image;
    Row& row = image.second.emplace();
    std::apply([&](const auto&... columns) { (in.get(row.*(columns.member)), ...); },
               Row::columns());
    return image;
  }
  /// Takes an image back: the row becomes what it was.
  void restore(std::int64_t key, std::optional<Row> row) {
    if (!row) {
      erase(key);
    } else if (find(key) == nullptr) {
      insert(key, std::move(*row));
    } else {
      edit(key) = std::move(*row);
      if constexpr (has_id()) ids_.insert(get(key).id, index_.find(key));
    }
  }

 private:
  struct Slot {
    std::int64_t key = 0;
    Row row{};
    Row loaded{};          ///< As SQLite has it, where stored.
    bool present = false;  ///< Exists for the transaction.
    bool stored = false;   ///< Exists in SQLite.
    bool dirty = false;
    bool touched = false;
    std::size_t journal_end = 0;  ///< Behind its latest record in the journal.
  };
  struct Before {
    std::uint32_t slot;
    bool present;
    Row row;
  };

  static constexpr bool has_id() {
    return requires(Row row) { row.id.bytes; };
  }
  static constexpr bool has_indexed() {
    return std::apply(
        [](const auto&... columns) { return ((columns.use == ColumnUse::indexed) || ...); },
        Row::columns());
  }
  static std::string names() {
    return detail::column_list<Row>([](const auto& column, int, const char* comma) {
      return comma + std::string(column.name);
    });
  }
  Slot& new_slot(std::int64_t key) {
    if (used_ == slots_.size()) slots_.emplace_back();
    Slot& slot = slots_[used_];
    slot.key = key;
    slot.present = slot.stored = slot.dirty = slot.touched = false;
    slot.journal_end = 0;
    index_.insert(key, static_cast<std::uint32_t>(used_++));
    return slot;
  }
  void clear_rows() noexcept {
    index_.clear();
    ids_.clear();
    used_ = 0;
    dirty_.clear();
    touched_.clear();
    journal_.clear();
    latest_mark_ = 0;
    erased_ = wrote_ = false;
  }
  Slot& slot_of(std::int64_t key) {
    if (const std::uint32_t i = index_.find(key); i != index_.none) return slots_[i];
    if (keys_end_ == unknown) keys_end_ = new_key_end();
    Slot& slot = new_slot(key);
    if (key >= keys_end_) return slot;
    const Rewind rewind(select_);
    select_.bind(key);
    if (select_.step()) read_row(select_, 0, slot);
    return slot;
  }
  void read_row(const Query& query, int first, Slot& slot) {
    slot.present = slot.stored = true;
    int i = first;
    std::apply([&](const auto&... columns) { (query.read(i++, slot.row.*(columns.member)), ...); },
               Row::columns());
    if constexpr (requires { slot.row.is_sound(); }) {
      if (!slot.row.is_sound())
        throw SQLite::Exception("a row has numbers that are none", SQLITE_CORRUPT);
    }
    if constexpr (has_id()) {
      ids_.insert(slot.row.id, index_.find(slot.key));
    }
  }
  void remember(Slot& slot) {
    if (!slot.dirty && slot.stored) slot.loaded = slot.row;
    const std::uint32_t i = index_.find(slot.key);
    make_dirty(i);
    if (!std::exchange(slot.touched, true)) touched_.push_back(i);
    if (slot.journal_end > latest_mark_) return;
    journal_.push_back(Before{i, slot.present, slot.present ? slot.row : Row{}});
    slot.journal_end = journal_.size();
  }
  void make_dirty(std::uint32_t i) {
    if (!std::exchange(slots_[i].dirty, true)) dirty_.push_back(i);
  }
  std::int64_t last_stored_key() {
    const Rewind rewind(last_key_);
    return last_key_.step() ? sound_number(last_key_.template column<std::int64_t>(0)) : 0;
  }
  /// Behind the last key of the rows that are stored or here.
  std::int64_t new_key_end() {
    std::int64_t last = last_stored_key();
    for (std::size_t i = 0; i < used_; ++i) last = std::max(last, slots_[i].key);
    return sound_number(last) + 1;
  }
  static bool changed(const Slot& slot, ColumnUse use) {
    return std::apply(
        [&](const auto&... columns) {
          return ((columns.use == use &&
                   !(slot.row.*(columns.member) == slot.loaded.*(columns.member))) ||
                  ...);
        },
        Row::columns());
  }
  static bool indexed_changed(const Slot& slot) { return changed(slot, ColumnUse::indexed); }
  static bool fixed_changed(const Slot& slot) { return changed(slot, ColumnUse::fixed); }
  void update(const Slot& slot) {
    bool with_indexed = true;
    Query* query = &update_;
    if constexpr (has_indexed()) {
      with_indexed = indexed_changed(slot);
      if (!with_indexed) query = &*update_plain_;
    }
    int i = 0;
    std::apply(
        [&](const auto&... columns) {
          const auto bind = [&](const auto& column) {
            ++i;
            const bool used = column.use != ColumnUse::fixed &&
                              (column.use != ColumnUse::indexed || with_indexed);
            if (used) query->bind_one(i, slot.row.*(column.member));
          };
          (bind(columns), ...);
        },
        Row::columns());
    query->bind_one(i + 1, slot.key);
    query->run();
  }
  void insert_rows() {
    if (inserted_.empty()) return;
    static_assert(detail::column_count<Row> < RowSource::columns_max);
    const Rows rows(inserted_.size(), [&](sqlite3_context* context, std::size_t row, int column) {
      const Slot& slot = slots_[inserted_[row]];
      std::apply(
          [&](const auto&... columns) {
            RowSource::give_one(context, column, slot.row.*(columns.member)..., slot.key);
          },
          Row::columns());
    });
    insert_.bind_rows(1, rows);
    insert_.run();
  }

  Query select_;
  Query insert_;
  Query update_;
  Query delete_;
  Query last_key_;
  std::optional<Query> update_plain_;
  std::optional<Query> select_id_;
  static constexpr std::uint32_t no_row = FlatIndex<Uuid>::none - 1;  ///< For an id nobody has.
  static constexpr std::int64_t unknown = std::numeric_limits<std::int64_t>::max();

  std::deque<Slot> slots_;
  std::size_t used_ = 0;
  std::vector<std::uint32_t> dirty_;     ///< Slots to be flushed.
  std::vector<std::uint32_t> inserted_;  ///< Scratch of flush().
  std::vector<std::uint32_t> touched_;   ///< Slots written to in this transaction.
  std::int64_t keys_end_ = unknown;      ///< No row has a key from here on, but those in slots.
  FlatIndex<std::int64_t> index_;
  FlatIndex<Uuid> ids_;
  std::vector<Before> journal_;
  std::size_t latest_mark_ = 0;
  std::int64_t next_key_ = 0;
  bool erased_ = false;  ///< Some row that was stored may be gone.
  bool wrote_ = false;   ///< To SQLite, in a transaction that is not committed yet.
};

}  // namespace tally
