#pragma once
// The store: everything one transaction reads and writes. Rows are in tables that write back;
// entries, operations and outbox records are appended. Bound to the writer's connection.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "id_window.hpp"
#include "table.hpp"

namespace tally {

/// The kinds of entries; their words are in the mirror's tally_entry_kind.
enum class EntryKind : std::uint8_t {
  sign_up = 1,
  purchase = 2,
  grant = 3,
  subscription = 4,
  refund = 5,
  expire = 6,
  reserve = 7,
  converted = 8,
  usage = 9,
  unused = 10,
  released = 11,
  // Fed by canonical, with words of their own.
  other_usage = 12,
  other_reserve = 13,
  // With leases.
  drawn = 14,
  reserve_second = 15,  ///< Behind an entry that gives back.
  converted_second = 16,
  usage_third = 17,
  back_second = 18,
  back_fourth = 19,
};

/// What an entry has of its own, beyond its kind.
struct EntryText {
  std::optional<Uuid> id{};
  std::optional<Timestamp> created_at{};  ///< Where it is not its operation's.
  std::optional<std::string> note{};
  std::optional<std::string> stripe_payment_id{};
};

/// An applied operation, as remembered for its op_id (I6).
struct AppliedOperation {
  std::int64_t o = 0;
  Uuid id{};  ///< Folded.
  std::int64_t u = 0;
  int kind = 0;
  Timestamp at{};
  std::uint64_t fingerprint = 0;
  std::optional<Uuid> result{};
};

class Store {
 public:
  explicit Store(Connection db);

  /// The writer's connection, for what has no table here.
  SQLite::Database& db() noexcept { return db_; }

  /// What a transaction may know from the one before.
  enum class Known : std::uint8_t {
    nothing,     ///< Another writer's commit, or a failure, lies between.
    everything,  ///< That was ours, and is committed or changed nothing.
  };
  /// Call at the begin of a transaction.
  void begin(Known known);
  /// Until the next begin() SQLite is asked for every id: rows come and go by other ways than the
  /// operations'.
  void ask_for_ids() noexcept { asks_for_ids_ = true; }
  /// Writes everything, with the outbox segment, into the open transaction.
  void flush();
  /// What was flushed is committed.
  void committed() noexcept;
  /// Whoever has rows in memory reads them anew after this transaction.
  void bump_epoch();

  Table<UserRow> users;
  Table<ProfileRow> profiles;
  Table<AccountRow> accounts;
  Table<PaymentRow> payments;
  Table<VoiceProfileRow> voice_profiles;
  Table<ProjectRow> projects;
  Table<DraftRow> drafts;
  Table<JobRow> jobs;
  Table<JobTextRow> job_texts;
  Table<StepRow> steps;
  Table<AssetRow> assets;
  Table<JobLinkRow> job_links;
  Table<LeaseRow> leases;

  // ---- operations ----
  /// Every applied operation whose folded id shares its first 15 bytes: the same op_id, or one
  /// whose derived ids clash. One of this transaction may come twice.
  void find_like(const Uuid& op_id, std::vector<AppliedOperation>& out);
  std::int64_t next_number() const noexcept { return next_number_; }
  /// Remembers an operation that took the numbers from o on.
  void add_operation(AppliedOperation operation, int numbers);
  std::int64_t last_operation() const noexcept { return last_operation_; }

  // ---- entries ----
  /// Appends entry number `ordinal` of operation `o`; the account's balance, seq and head follow.
  void append_entry(std::int64_t o, int ordinal, std::int64_t u, std::optional<std::int64_t> j,
                    EntryKind kind, std::int64_t amount, const EntryText& text);
  /// Appends an entry that canonical made: with an id and a time of its own.
  void append_fed_entry(std::int64_t u, std::optional<std::int64_t> j, const std::string& type,
                        std::int64_t amount, EntryText text);
  /// Whether some other row has taken that derived id.
  bool entry_id_taken(const Uuid& id, const std::vector<AppliedOperation>& like, int ordinal);

  // ---- outbox ----
  /// The largest record: only a batch of hundreds of very long texts is larger.
  static constexpr std::size_t outbox_record_max = 512U << 20U;
  /// Appends one, and answers the number it will have; the next one's, before.
  std::int64_t put_outbox_record(std::string_view record);
  std::int64_t next_outbox_number() const noexcept { return next_outbox_ + outbox_records_; }
  /// A pending operation that was applied again: this record stands for the one under its number.
  void put_rebased(std::int64_t n, Code code, std::string_view record);
  /// Writes the segment when it has grown large; between operations only.
  void flush_large_outbox();

  // ---- queries over what was flushed ----
  std::optional<std::int64_t> find_email(const std::string& email);
  std::optional<std::int64_t> find_payment(const std::string& stripe_payment_id);
  std::vector<std::int64_t> unclaimed_drafts(const std::string& session_token);
  std::vector<std::int64_t> expired_drafts(Timestamp at);
  std::vector<std::int64_t> projects_with_voice(std::int64_t v);
  std::vector<std::int64_t> jobs_of_project(std::int64_t p);
  std::vector<std::int64_t> assets_of_job(std::int64_t j);
  std::optional<std::int64_t> find_lease(const Uuid& lease_id);
  /// Jobs in a stage.
  std::vector<std::int64_t> working_jobs();
  /// Never one that a deleted row had: what is pending may bring it back.
  template <class Row>
  std::int64_t new_key(Table<Row>& table) {
    return table.new_key(key_floor_);
  }
  template <class Row>
  void erase_for_good(Table<Row>& table, std::int64_t key) {
    table.erase(key);
    retire_key(key);
  }
  std::optional<std::int64_t> find_job(const Uuid& job_id);
  /// A new job; its key.
  std::int64_t insert_job(JobRow job);
  /// Whether another job's steps have taken this job's derived step ids.
  bool step_ids_taken(const Uuid& job_id);
  std::int64_t new_user_key();
  /// A user is no more: the number is never given out again.
  void retire_user_key(std::int64_t u);
  /// A job number was deleted: it is never given out again.
  void retire_key(std::int64_t key) { key_floor_ = std::max(key_floor_, sound_number(key)); }

  // ---- journal ----
  static constexpr std::size_t table_count = 13;
  struct Mark {
    std::array<std::size_t, table_count> tables{};
    std::size_t entries = 0;
    std::size_t entry_texts = 0;
    std::size_t operations = 0;
    std::size_t outbox_bytes = 0;
    std::int64_t outbox_records = 0;
    std::int64_t next_number = 0;
    std::int64_t last_operation = 0;
    std::int64_t key_floor = 0;
  };
  Mark mark() noexcept;
  /// Back to the mark, whatever was written or flushed since.
  void rollback(const Mark& mark);
  /// Appends a count and the before-images of every row written since the mark.
  void put_images(Encoder& out, const Mark& mark);
  /// Takes before-images back, last first. A row whose id is another's by now stays away, and with
  /// it what belongs to it.
  void restore_images(Decoder& in);
  /// Reads them, in their order: visit(table, key, the row as it was).
  template <class Visit>
  void read_images(Decoder& in, Visit&& visit) {
    const std::uint64_t count = in.get_varint();
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t number = image_table(in);
      for_each_table([&](int n, auto& table) {
        if (static_cast<std::uint64_t>(n) != number) return;
        auto [key, row] = table.read_image(in);
        visit(table, key, std::move(row));
      });
    }
  }
  /// The key of the other row that has this one's id by now.
  template <class Row>
  static std::optional<std::int64_t> other_holder(Table<Row>& table, std::int64_t key,
                                                  const Row& row) {
    if constexpr (requires { row.id.bytes; }) {
      const Row* here = table.find(key);
      if (here != nullptr && here->id == row.id) return std::nullopt;
      const auto holder = table.find_id(row.id);
      return holder == key ? std::nullopt : holder;
    }
    return std::nullopt;
  }
  /// Removes the entries and the memory of the operations from o on.
  void erase_operations_from(std::int64_t o);
  /// Those of the numbers from o to o + count; all that this transaction appended is in SQLite
  /// then.
  void erase_operations(std::int64_t o, std::int64_t count);
  void erase_entry(std::int64_t e);
  void flush_entries();

 private:
  /// The number of the table that the next image is of.
  static std::uint64_t image_table(Decoder& in) {
    const std::uint64_t number = in.get_varint();
    if (number >= table_count)
      throw SQLite::Exception("a record is of a table that there is not", SQLITE_CORRUPT);
    return number;
  }

  /// Whether a row may come back as it was; what it refers to and is no more, it refers to no more.
  template <class Row>
  bool can_return(Table<Row>& table, std::int64_t key, Row& row);
  struct Entry {
    std::int64_t e;
    std::int64_t u;
    std::int64_t seq;
    std::int64_t prev;
    std::optional<std::int64_t> j;
    EntryKind kind;
    std::int64_t amount;
    std::int64_t balance_after;
  };
  struct TextOfEntry {
    std::int64_t e;
    EntryText text;
  };
  template <class Visit>
  void for_each_table(Visit&& visit) {
    int n = 0;
    visit(n++, users);
    visit(n++, profiles);
    visit(n++, accounts);
    visit(n++, payments);
    visit(n++, voice_profiles);
    visit(n++, projects);
    visit(n++, drafts);
    visit(n++, jobs);
    visit(n++, job_texts);
    visit(n++, steps);
    visit(n++, assets);
    visit(n++, job_links);
    visit(n++, leases);
  }
  struct KindOfEntry {
    EntryKind kind;
    std::string type;
    std::optional<std::string> note;
  };
  std::vector<KindOfEntry> read_kinds();
  const KindOfEntry& kind_of(const std::string& type, const std::optional<std::string>& note);
  void flush_outbox();
  std::vector<std::int64_t> keys(Query& query);
  bool is_new(IdWindow& window, const Uuid& folded_id, Query& last_id);

  SQLite::Database& db_;
  Query insert_entries_;
  Query insert_entry_text_;
  Query insert_operations_;
  Query insert_outbox_;
  Query like_operations_;
  Query last_operation_id_;
  Query last_job_id_;
  Query numbers_;
  Query entry_kind_at_;
  Query entry_text_id_;
  Query email_;
  Query payment_;
  Query unclaimed_drafts_;
  Query expired_drafts_;
  Query voice_projects_;
  Query project_jobs_;
  Query job_assets_;
  Query working_jobs_;
  Query like_jobs_;
  Query set_meta_;
  Query bump_epoch_;
  Query erase_entries_;
  Query erase_entry_texts_;
  Query erase_operations_;
  Query erase_entry_range_;
  Query erase_entry_text_range_;
  Query erase_operation_range_;
  Query insert_rebased_;
  Query lease_;
  Query entry_kinds_;

  std::vector<KindOfEntry> kinds_;  ///< As the file has them; read when first asked for.

  std::vector<Entry> entries_;
  std::vector<TextOfEntry> entry_texts_;
  std::vector<AppliedOperation> operations_;
  std::vector<std::uint32_t>
      earlier_like_;  ///< Per operation: the one before with the same 15 bytes.
  FlatIndex<Uuid> operation_index_;
  IdWindow operation_ids_;
  IdWindow job_ids_;
  bool asks_for_ids_ = false;
  std::size_t flushed_entries_ = 0;
  std::size_t flushed_entry_texts_ = 0;
  std::size_t flushed_operations_ = 0;
  Encoder outbox_;
  std::int64_t outbox_records_ = 0;
  bool epoch_bumped_ = false;  ///< By this transaction.
  std::int64_t next_number_ = 0;
  std::int64_t last_operation_ = 0;
  std::int64_t next_outbox_ = 0;
  std::int64_t key_floor_ = 0;         ///< No new row but a user gets a key up to this one.
  std::int64_t stored_key_floor_ = 0;  ///< As SQLite has it, under `job_floor`.
  std::int64_t user_floor_ = 0;
  bool has_stored_entry_ids_ = false;
};

}  // namespace tally
