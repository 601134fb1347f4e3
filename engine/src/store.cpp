#include "store.hpp"

#include <algorithm>

#include "balances.hpp"

namespace tally {
namespace {

Connection with_row_sources(Connection connection) {
  add_row_sources(connection.db.getHandle());
  return connection;
}

}  // namespace

Store::Store(Connection db)
    : users(with_row_sources(db)),
      profiles(db),
      accounts(db),
      payments(db),
      voice_profiles(db),
      projects(db),
      drafts(db),
      jobs(db),
      job_texts(db),
      steps(db),
      assets(db),
      job_links(db),
      leases(db),
      db_(db.db),
      insert_entries_(db, "insert into tally_entry " + select_rows(8)),
      insert_entry_text_(db, "insert into tally_entry_text values (?, ?, ?, ?, ?)"),
      insert_operations_(db, "insert into tally_operation " + select_rows(7)),
      insert_outbox_(db, "insert into tally_outbox values (?, ?, ?)"),
      like_operations_(db,
                       "select o, id, u, kind, at, fingerprint, result from tally_operation"
                       " where id between ? and ?"),
      last_operation_id_(db, "select max(id) from tally_operation where id < ?"),
      last_job_id_(db, "select max(id) from tally_job where id < ?"),
      numbers_(db,
               "select max(coalesce((select max(e) from tally_entry), 0),"
               "           coalesce((select max(o) from tally_operation), 0)) + 1,"
               "  coalesce((select max(o) from tally_operation), 0),"
               "  coalesce((select iif(operations > 0, n + operations, -1) from tally_outbox"
               "            order by n desc limit 1),"
               "           (select value from tally_meta where name = 'outbox_next'), 1),"
               "  (select value from tally_meta where name = 'job_floor'),"
               "  exists (select 1 from tally_entry_text where id is not null),"
               "  (select value from tally_meta where name = 'user_floor')"),
      entry_kind_at_(db,
                     "select 1 from tally_entry n join tally_entry_kind k on k.kind = n.kind"
                     " left join tally_entry_text t on t.e = n.e"
                     " where n.e = ?1 + ?2 and k.ordinal = ?2 and t.id is null"),
      entry_text_id_(db, "select 1 from tally_entry_text where id = ?"),
      email_(db, "select u from tally_user where email = ?"),
      payment_(db, "select k from tally_payment where stripe_payment_id = ?"),
      unclaimed_drafts_(db, "select d from tally_draft where session_token = ? and u is null"),
      expired_drafts_(db, "select d from tally_draft where u is null and expires_at <= ?"),
      voice_projects_(db, "select p from tally_project where v = ?"),
      project_jobs_(db,
                    "with recursive era (n) as (select min(j >> 16) from tally_job union all"
                    " select (select min(j >> 16) from tally_job where j >> 16 > n) from era"
                    "  where n is not null)"
                    " select j from era cross join tally_job on j >> 16 = n and p = ?"),
      job_assets_(db, "select a from tally_asset where j = ?"),
      working_jobs_(db, "select j from tally_job where status between 2 and 9"),
      like_jobs_(db, "select 1 from tally_job where id between ? and ?"),
      set_meta_(db, "insert or replace into tally_meta values (?, ?)"),
      // It has to differ, no more: damage must not let it grow out of what is a number.
      bump_epoch_(db,
                  "update tally_meta set value = (coalesce(value, 0) + 1) & 0xffffffffff"
                  " where name = 'epoch'"),
      erase_entries_(db, "delete from tally_entry where e >= ?"),
      erase_entry_texts_(db, "delete from tally_entry_text where e >= ?"),
      erase_operations_(db, "delete from tally_operation where o >= ?"),
      erase_entry_range_(db, "delete from tally_entry where e >= ? and e < ?"),
      erase_entry_text_range_(db, "delete from tally_entry_text where e >= ? and e < ?"),
      erase_operation_range_(db, "delete from tally_operation where o >= ? and o < ?"),
      insert_rebased_(db, "insert or replace into tally_rebased values (?, ?, ?)"),
      lease_(db, "select u from tally_lease where id = ?"),
      entry_kinds_(db, "select kind, type, note from tally_entry_kind order by kind") {}

void Store::begin(Known known) {
  const bool knows = known == Known::everything;
  asks_for_ids_ = false;
  if (knows) {
    // Those that hold no texts, so that what is kept is small.
    constexpr std::size_t rows_max = 16'384;
    for_each_table([&]<class Row>(int, Table<Row>& table) {
      const bool is_small = std::is_same_v<Row, JobRow> || std::is_same_v<Row, AccountRow>;
      table.follow(is_small ? rows_max : 0);
    });
  } else {
    for_each_table([](int, auto& table) { table.clear(); });
    operation_ids_.forget();
    job_ids_.forget();
  }
  entries_.clear();
  entry_texts_.clear();
  operations_.clear();
  earlier_like_.clear();
  operation_index_.clear();
  flushed_entries_ = flushed_entry_texts_ = flushed_operations_ = 0;
  outbox_.clear();
  outbox_records_ = 0;
  epoch_bumped_ = false;
  if (knows) return;
  const Rewind rewind(numbers_);
  numbers_.step();
  next_number_ = sound_number(numbers_.column<std::int64_t>(0));
  last_operation_ = numbers_.column<std::int64_t>(1);
  next_outbox_ = sound_number(numbers_.column<std::int64_t>(2));
  key_floor_ = stored_key_floor_ = sound_number(numbers_.column<std::int64_t>(3));
  has_stored_entry_ids_ = numbers_.column<int>(4) != 0;
  user_floor_ = sound_number(numbers_.column<std::int64_t>(5));
}

void Store::committed() noexcept {
  for_each_table([](int, auto& table) { table.committed(); });
}

void Store::flush_entries() {
  if (flushed_entries_ < entries_.size()) {
    const Rows rows(entries_.size() - flushed_entries_, [&](sqlite3_context* context,
                                                            std::size_t row, int column) {
      const Entry& entry = entries_[flushed_entries_ + row];
      RowSource::give_one(context, column, entry.e, entry.u, entry.seq, entry.prev, entry.j,
                          static_cast<std::int64_t>(entry.kind), entry.amount, entry.balance_after);
    });
    insert_entries_.bind_rows(1, rows);
    insert_entries_.run();
    flushed_entries_ = entries_.size();
  }
  for (; flushed_entry_texts_ < entry_texts_.size(); ++flushed_entry_texts_) {
    const auto& [e, text] = entry_texts_[flushed_entry_texts_];
    insert_entry_text_.bind(e, text.id, text.created_at, text.note, text.stripe_payment_id).run();
  }
  if (flushed_operations_ < operations_.size()) {
    const Rows rows(operations_.size() - flushed_operations_, [&](sqlite3_context* context,
                                                                  std::size_t row, int column) {
      const AppliedOperation& applied = operations_[flushed_operations_ + row];
      RowSource::give_one(context, column, applied.o, applied.id, applied.u,
                          static_cast<std::int64_t>(applied.kind), applied.at,
                          static_cast<std::int64_t>(applied.fingerprint), applied.result);
    });
    insert_operations_.bind_rows(1, rows);
    insert_operations_.run();
    flushed_operations_ = operations_.size();
  }
}

void Store::flush() {
  if (key_floor_ != stored_key_floor_) {
    set_meta_.bind(std::string_view("job_floor"), key_floor_).run();
    stored_key_floor_ = key_floor_;
  }
  for_each_table([](int, auto& table) { table.flush(); });
  flush_entries();
  flush_outbox();
}

void Store::put_rebased(std::int64_t n, Code code, std::string_view record) {
  insert_rebased_.bind(n, static_cast<int>(code));
  insert_rebased_.bind_blob(3, record);
  insert_rebased_.run();
}

std::int64_t Store::put_outbox_record(std::string_view record) {
  outbox_.put_varint(record.size());
  outbox_.append(record);
  return next_outbox_ + outbox_records_++;
}

void Store::bump_epoch() {
  if (!std::exchange(epoch_bumped_, true)) bump_epoch_.run();
}

void Store::flush_large_outbox() {
  constexpr std::size_t large = 16U << 20U;
  if (outbox_.bytes().size() > large) flush_outbox();
}

void Store::flush_outbox() {
  if (outbox_records_ == 0) return;
  insert_outbox_.bind(next_outbox_, outbox_records_);
  insert_outbox_.bind_blob(3, outbox_.bytes());
  insert_outbox_.run();
  next_outbox_ += outbox_records_;
  outbox_records_ = 0;
  outbox_.clear();
}

// ---- operations ---------------------------------------------------------------------------------

/// Whether certainly nothing has the id's first 15 bytes, in the file or in this transaction.
bool Store::is_new(IdWindow& window, const Uuid& folded_id, Query& last_id) {
  if (asks_for_ids_) return false;
  if (const auto end = window.end_for(folded_id)) {
    flush_entries();
    jobs.flush();
    const Rewind rewind(last_id);
    last_id.bind(*end).step();
    window.load(last_id.column<std::optional<Uuid>>(0), *end);
  }
  return window.is_new(folded_id);
}

void Store::find_like(const Uuid& op_id, std::vector<AppliedOperation>& out) {
  out.clear();
  const Uuid id = folded(op_id);
  if (is_new(operation_ids_, id, last_operation_id_)) return;
  const Uuid low = masked(id, 0x00);
  const Uuid high = masked(id, 0xff);
  for (std::uint32_t i = operation_index_.find(low); i != FlatIndex<Uuid>::none;
       i = earlier_like_[i]) {
    out.push_back(operations_[i]);
  }
  const Rewind rewind(like_operations_);
  like_operations_.bind(low, high);
  while (like_operations_.step()) {
    AppliedOperation found;
    found.o = like_operations_.column<std::int64_t>(0);
    found.id = like_operations_.column<Uuid>(1);
    found.u = like_operations_.column<std::int64_t>(2);
    found.kind = like_operations_.column<int>(3);
    found.at = like_operations_.column<Timestamp>(4);
    found.fingerprint = like_operations_.column<std::uint64_t>(5);
    found.result = like_operations_.column<std::optional<Uuid>>(6);
    out.push_back(found);
  }
}

void Store::add_operation(AppliedOperation operation, int numbers) {
  operation_ids_.add(operation.id);
  const Uuid key = masked(operation.id, 0x00);
  earlier_like_.push_back(operation_index_.find(key));
  operation_index_.insert(key, static_cast<std::uint32_t>(operations_.size()));
  last_operation_ = operation.o;
  next_number_ = operation.o + std::max(1, numbers);
  operations_.push_back(operation);
}

// ---- entries ------------------------------------------------------------------------------------

void Store::append_entry(std::int64_t o, int ordinal, std::int64_t u, std::optional<std::int64_t> j,
                         EntryKind kind, std::int64_t amount, const EntryText& text) {
  AccountRow& account = accounts.edit(u);
  const std::int64_t e = o + ordinal;
  account.balance += amount;
  account.seq += 1;
  entries_.push_back(Entry{e, u, account.seq, account.head == 0 ? 0 : e - account.head, j, kind,
                           amount, account.balance});
  account.head = e;
  if (text.id || text.note || text.stripe_payment_id) {
    has_stored_entry_ids_ = has_stored_entry_ids_ || text.id;
    entry_texts_.push_back(TextOfEntry{e, text});
  }
}

std::vector<Store::KindOfEntry> Store::read_kinds() {
  const Rewind rewind(entry_kinds_);
  std::vector<KindOfEntry> kinds;
  while (entry_kinds_.step()) {
    kinds.push_back({static_cast<EntryKind>(entry_kinds_.column<int>(0)),
                     entry_kinds_.column<std::string>(1),
                     entry_kinds_.column<std::optional<std::string>>(2)});
  }
  return kinds;
}

/// The kind that has these words, or the one without any.
const Store::KindOfEntry& Store::kind_of(const std::string& type,
                                         const std::optional<std::string>& note) {
  if (kinds_.empty()) kinds_ = read_kinds();
  const KindOfEntry* wordless = nullptr;
  for (const KindOfEntry& kind : kinds_) {
    if (kind.type != type) continue;
    if (kind.note && kind.note == note) return kind;
    if (!kind.note && wordless == nullptr) wordless = &kind;
  }
  if (wordless == nullptr)
    throw SQLite::Exception("an entry of a type that there is not", SQLITE_CONSTRAINT);
  return *wordless;
}

void Store::append_fed_entry(std::int64_t u, std::optional<std::int64_t> j, const std::string& type,
                             std::int64_t amount, EntryText text) {
  const KindOfEntry& kind = kind_of(type, text.note);
  if (text.note == kind.note) text.note.reset();
  const std::int64_t e = next_number_++;
  AccountRow& account = accounts.edit(u);
  account.balance += amount;
  account.seq += 1;
  entries_.push_back(Entry{e, u, account.seq, account.head == 0 ? 0 : e - account.head, j,
                           kind.kind, amount, account.balance});
  account.head = e;
  has_stored_entry_ids_ = true;
  entry_texts_.push_back(TextOfEntry{e, std::move(text)});
}

bool Store::entry_id_taken(const Uuid& id, const std::vector<AppliedOperation>& like, int ordinal) {
  if (like.empty() && !has_stored_entry_ids_) return false;
  flush_entries();
  for (const AppliedOperation& other : like) {
    const Rewind rewind(entry_kind_at_);
    if (entry_kind_at_.bind(other.o, ordinal).step()) return true;
  }
  const Rewind rewind(entry_text_id_);
  return entry_text_id_.bind(id).step();
}

// ---- queries ------------------------------------------------------------------------------------

std::vector<std::int64_t> Store::keys(Query& query) {
  const Rewind rewind(query);
  std::vector<std::int64_t> out;
  while (query.step()) out.push_back(query.column<std::int64_t>(0));
  return out;
}

std::optional<std::int64_t> Store::find_email(const std::string& email) {
  users.flush();
  const Rewind rewind(email_);
  return email_.bind(email).step() ? std::optional(email_.column<std::int64_t>(0)) : std::nullopt;
}

std::optional<std::int64_t> Store::find_payment(const std::string& stripe_payment_id) {
  payments.flush();
  const Rewind rewind(payment_);
  return payment_.bind(stripe_payment_id).step() ? std::optional(payment_.column<std::int64_t>(0))
                                                 : std::nullopt;
}

std::vector<std::int64_t> Store::unclaimed_drafts(const std::string& session_token) {
  drafts.flush();
  return keys(unclaimed_drafts_.bind(session_token));
}
std::vector<std::int64_t> Store::expired_drafts(Timestamp at) {
  drafts.flush();
  return keys(expired_drafts_.bind(at));
}
std::vector<std::int64_t> Store::projects_with_voice(std::int64_t v) {
  projects.flush();
  return keys(voice_projects_.bind(v));
}
std::vector<std::int64_t> Store::jobs_of_project(std::int64_t p) {
  jobs.flush();
  return keys(project_jobs_.bind(p));
}
std::vector<std::int64_t> Store::assets_of_job(std::int64_t j) {
  assets.flush();
  return keys(job_assets_.bind(j));
}
std::vector<std::int64_t> Store::working_jobs() {
  jobs.flush();
  return keys(working_jobs_);
}

std::optional<std::int64_t> Store::find_lease(const Uuid& lease_id) {
  leases.flush();
  const Rewind rewind(lease_);
  return lease_.bind(lease_id).step() ? std::optional(lease_.column<std::int64_t>(0))
                                      : std::nullopt;
}

std::optional<std::int64_t> Store::find_job(const Uuid& job_id) {
  const Uuid id = folded(job_id);
  if (!jobs.knows_id(id) && is_new(job_ids_, id, last_job_id_)) return std::nullopt;
  return jobs.find_id(id);
}

std::int64_t Store::insert_job(JobRow job) {
  const std::int64_t j = new_key(jobs);
  job_ids_.add(job.id);
  jobs.insert(j, job);
  return j;
}

bool Store::step_ids_taken(const Uuid& job_id) {
  const Uuid id = folded(job_id);
  if (is_new(job_ids_, id, last_job_id_)) return false;
  jobs.flush();
  const Rewind rewind(like_jobs_);
  return like_jobs_.bind(masked(id, 0x00), masked(id, 0xff)).step();
}

std::int64_t Store::new_user_key() {
  const std::int64_t u = users.new_key(user_floor_);
  if (!Balances::is_sound(u))
    throw SQLite::Exception("a user's number is damaged: the next would be " + std::to_string(u),
                            SQLITE_CORRUPT);
  return u;
}

void Store::retire_user_key(std::int64_t u) {
  if (u <= user_floor_) return;
  user_floor_ = sound_number(u);
  set_meta_.bind(std::string_view("user_floor"), user_floor_).run();
}

// ---- journal ------------------------------------------------------------------------------------

Store::Mark Store::mark() noexcept {
  Mark mark;
  mark.tables = {users.mark(),          profiles.mark(), accounts.mark(), payments.mark(),
                 voice_profiles.mark(), projects.mark(), drafts.mark(),   jobs.mark(),
                 job_texts.mark(),      steps.mark(),    assets.mark(),   job_links.mark(),
                 leases.mark()};
  mark.entries = entries_.size();
  mark.entry_texts = entry_texts_.size();
  mark.operations = operations_.size();
  mark.outbox_bytes = outbox_.bytes().size();
  mark.outbox_records = outbox_records_;
  mark.next_number = next_number_;
  mark.last_operation = last_operation_;
  mark.key_floor = key_floor_;
  return mark;
}

void Store::rollback(const Mark& mark) {
  for_each_table(
      [&](int n, auto& table) { table.rollback(mark.tables[static_cast<std::size_t>(n)]); });
  if (flushed_entries_ > mark.entries || flushed_operations_ > mark.operations) {
    erase_operations_from(mark.next_number);
    flushed_entries_ = std::min(flushed_entries_, mark.entries);
    flushed_entry_texts_ = std::min(flushed_entry_texts_, mark.entry_texts);
    flushed_operations_ = std::min(flushed_operations_, mark.operations);
  }
  entries_.resize(mark.entries, Entry{});
  entry_texts_.resize(mark.entry_texts);
  while (operations_.size() > mark.operations) {
    operation_index_.insert(masked(operations_.back().id, 0x00), earlier_like_.back());
    operations_.pop_back();
    earlier_like_.pop_back();
  }
  outbox_.truncate(mark.outbox_bytes);
  outbox_records_ = mark.outbox_records;
  next_number_ = mark.next_number;
  last_operation_ = mark.last_operation;
  key_floor_ = mark.key_floor;
}

void Store::put_images(Encoder& out, const Mark& mark) {
  std::size_t count = 0;
  for_each_table([&](int n, const auto& table) {
    count += table.image_count(mark.tables[static_cast<std::size_t>(n)]);
  });
  out.put_varint(count);
  for_each_table([&](int n, const auto& table) {
    table.put_images(out, mark.tables[static_cast<std::size_t>(n)], n);
  });
}

template <class Row>
bool Store::can_return(Table<Row>& table, std::int64_t key, Row& row) {
  if (other_holder(table, key, row)) return false;
  if constexpr (std::is_same_v<Row, ProjectRow>) {
    if (row.v && voice_profiles.find(*row.v) == nullptr) row.v.reset();
  } else if constexpr (std::is_same_v<Row, JobRow>) {
    return projects.find(row.p) != nullptr;
  } else if constexpr (std::is_same_v<Row, JobTextRow> || std::is_same_v<Row, JobLinkRow>) {
    return jobs.find(key) != nullptr;
  } else if constexpr (std::is_same_v<Row, StepRow>) {
    return jobs.find(job_of_step(key)) != nullptr;
  } else if constexpr (std::is_same_v<Row, AssetRow>) {
    return jobs.find(row.j) != nullptr;
  }
  return true;
}

void Store::restore_images(Decoder& in) {
  const std::uint64_t count = in.get_varint();
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t number = image_table(in);
    for_each_table([&](int n, auto& table) {
      if (static_cast<std::uint64_t>(n) != number) return;
      auto [key, row] = table.read_image(in);
      if (row && !can_return(table, key, *row)) row.reset();
      table.restore(key, std::move(row));
    });
  }
}

void Store::erase_operations_from(std::int64_t o) {
  erase_entries_.bind(o).run();
  erase_entry_texts_.bind(o).run();
  erase_operations_.bind(o).run();
}

void Store::erase_operations(std::int64_t o, std::int64_t count) {
  if (o <= 0 || o + count > next_number_)
    throw SQLite::Exception("an operation took numbers that there are not", SQLITE_CORRUPT);
  flush_entries();
  erase_entry_range_.bind(o, o + count).run();
  erase_entry_text_range_.bind(o, o + count).run();
  erase_operation_range_.bind(o, o + count).run();
}

void Store::erase_entry(std::int64_t e) {
  flush_entries();
  erase_entry_range_.bind(e, e + 1).run();
  erase_entry_text_range_.bind(e, e + 1).run();
}

}  // namespace tally
