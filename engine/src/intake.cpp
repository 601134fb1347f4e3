// A rebase goes user by user, whose rows are nobody else's: pending operations are undone with
// their before-images, canonical's rows are taken, and what is still pending is applied again.
#include "intake.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "fields.hpp"
#include "ids.hpp"
#include "ledger.hpp"
#include "outbox.hpp"

namespace tally {
namespace {

// ---- canonical's texts --------------------------------------------------------------------------

/// The columns of a fed row, read in order.
class Columns {
 public:
  explicit Columns(const PulledUser::Row& row) : row_(row) {}

  std::size_t count() const noexcept { return row_.texts.size(); }

  std::optional<std::string> text() {
    if (next_ >= row_.texts.size())
      refuse(Code::invalid_argument, "a fed row of " + row_.table + " is too short");
    return row_.texts[next_++];
  }
  std::string required() { return or_refuse(text()); }
  std::optional<Timestamp> time() {
    const auto value = text();
    if (!value) return std::nullopt;
    return or_refuse(Timestamp::parse(*value));
  }
  std::optional<Uuid> id() {
    const auto value = text();
    if (!value) return std::nullopt;
    return or_refuse(Uuid::parse(*value));
  }
  Uuid required_id() { return or_refuse(id()); }
  std::optional<std::int64_t> number() {
    if (next_ < row_.texts.size() && row_.texts[next_]) return number_at(next_++);
    (void)text();
    return std::nullopt;
  }
  /// The number in that column, wherever the reading is.
  std::int64_t number_at(std::size_t i) const {
    std::int64_t parsed = 0;
    const bool is_there = i < row_.texts.size() && row_.texts[i];
    const std::string_view value = is_there ? *row_.texts[i] : std::string_view();
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), parsed);
    if (!is_there || error != std::errc{} || end != value.data() + value.size())
      or_refuse(std::optional<int>{});
    return parsed;
  }
  std::int64_t required_number() { return or_refuse(number()); }
  /// One that no sum of such overflows.
  std::int64_t within(std::int64_t min, std::int64_t max, std::optional<std::int64_t> value) const {
    return or_refuse(value && *value >= min && *value <= max ? value : std::nullopt);
  }
  std::int64_t percentage() { return within(0, 100, number().value_or(0)); }
  std::int64_t amount_at(std::size_t i) const {
    return within(-Credits::max, Credits::max, number_at(i));
  }
  template <class T>
  T or_refuse(std::optional<T> value) const {
    if (!value)
      refuse(Code::invalid_argument, "canonical fed a row of " + row_.table + " that is none");
    return std::move(*value);
  }

 private:
  const PulledUser::Row& row_;
  std::size_t next_ = 0;
};

/// Columns of credit_ledger.
constexpr std::size_t entry_type = 2;
constexpr std::size_t entry_amount = 3;
constexpr std::size_t entry_job = 6;
constexpr std::size_t entry_payment = 7;
constexpr std::size_t entry_seq = 9;

// ---- pages --------------------------------------------------------------------------------------

std::string encoded(const PulledUser& page) {
  Encoder out;
  out.put_varint(page.gone.size());
  for (const auto& [table, id] : page.gone) {
    out.put(table);
    out.put(id);
  }
  for (const PulledUser::Row& row : page.rows) {
    out.put(row.table);
    out.put_varint(row.texts.size());
    for (const auto& text : row.texts) out.put(text);
  }
  return out.take();
}

PulledUser decoded_page(const Uuid& user_id, std::string_view bytes) {
  PulledUser page;
  page.user_id = user_id;
  Decoder in(bytes);
  page.gone.resize(in.get_size());
  for (auto& [table, id] : page.gone) {
    in.get(table);
    in.get(id);
  }
  while (!in.at_end()) {
    PulledUser::Row& row = page.rows.emplace_back();
    in.get(row.table);
    row.texts.resize(in.get_size());
    for (auto& text : row.texts) in.get(text);
  }
  return page;
}

void forget_pages(SQLite::Database& db, const Uuid& user_id) {
  Query query(db, "delete from tally_page where user_id = ?");
  query.bind(user_id).run();
}

// ---- taking an answer ---------------------------------------------------------------------------

/// One reply, taken within one transaction.
class Intake {
 public:
  Intake(Store& store, Work& work, SQLite::Database& db, const Reply& reply, Timestamp now)
      : store_(store),
        work_(work),
        db_(db),
        reply_(reply),
        now_(now),
        link_(require_link(db)),
        rebased_(read_rebased(db, link_.acked)),
        pending_users_(db),
        entries_(
            db,
            "select n.e, coalesce(t.id, o.id), t.id is null, k.ordinal, k.type, n.amount,"
            " coalesce(t.note, k.note), coalesce(t.created_at, o.at), y.id, t.stripe_payment_id,"
            " n.balance_after, n.seq from tally_entry n join tally_entry_kind k on k.kind = n.kind"
            " left join tally_operation o on o.o = n.e - k.ordinal"
            " left join tally_entry_text t on t.e = n.e left join tally_job y on y.j = n.j"
            " where n.e >= ? and n.e < ? order by n.e"),
        has_job_(db,
                 "select 1 from tally_entry n join tally_job y on y.j = n.j"
                 " where n.u = ? and n.seq = ?"),
        lost_job_(db, "update tally_entry set j = null where u = ? and seq = ? and j is not null"),
        orphans_(db,
                 "delete from tally_entry_text where id = ? and not exists"
                 " (select 1 from tally_entry n where n.e = tally_entry_text.e)") {}

  Taken run() {
    check();
    keep_pages();
    read_records();
    judge();
    settle_expected();
    include_holders();
    undo();
    for (auto& [u, user] : users_) take_rows(u, user);
    take_leases();
    remember_settled();
    apply_again();
    forget_unknown();
    settle_left_alone();
    forget_unsubscribed();
    tell_balances();
    settle_link();
    return std::move(taken_);
  }

 private:
  /// Of a job: those it has, and those whose rows are fed, a bit each.
  struct Steps {
    std::int64_t there = 0;
    int fed = 0;
  };
  static constexpr std::int64_t all_steps = (1 << step_count) - 1;
  /// How many of the entries that this mirror wrote itself canonical has the same, so far.
  struct LocalEntries {
    std::size_t taken = 0;
    bool same = true;
  };
  struct LocalEntry {
    std::int64_t e;
    std::vector<std::optional<std::string>> texts;
  };
  struct User {
    const PulledUser* pulled = nullptr;
    bool is_new = false;  ///< Nothing of it was here before.
    bool is_wiped = false;
    std::optional<std::int64_t> balance{};  ///< As it was shown here before.
    std::vector<Record> records{};
    std::vector<LocalEntry> entries{};  ///< Of its records that canonical judged ok, in order.
    std::map<std::pair<std::string, Uuid>, std::int64_t>
        keys{};  ///< Of the rows fed that are here.
    /// Of the jobs fed, as they were here before: a status is of the run that a reservation opened.
    std::map<Uuid, std::pair<JobStatus, std::optional<Uuid>>> runs{};
    /// Rows that went, by the last part that says so.
    std::map<std::pair<std::string, Uuid>, std::size_t> gone{};
  };

  void check() {
    if (reply_.acked != link_.acked - link_.base)
      refuse(Code::invalid_argument, "this is not the answer to the latest push");
    // Before anything is computed with them.
    if (reply_.watermark < reply_.acked || reply_.watermark > numbers_max)
      refuse(Code::invalid_argument, "canonical says that it has judged what there cannot be");
    check_form();
    last_ = last_number(db_, link_.acked);
    watermark_ = reply_.watermark + link_.base;
    // A verdict on what this file has not sent is another file's, whatever it holds under that
    // number.
    if (watermark_ > std::min(link_.sent, last_)) {
      refuse(Code::device_forked, "canonical has judged operation " +
                                      std::to_string(reply_.watermark) +
                                      " of this device; this file has sent none after " +
                                      std::to_string(std::min(link_.sent, last_) - link_.base));
    }
    for (std::size_t i = 0; i < reply_.verdicts.size(); ++i) {
      if (reply_.verdicts[i].number != reply_.acked + 1 + static_cast<std::int64_t>(i))
        refuse(Code::invalid_argument, "the verdicts have a gap");
    }
    if (reply_.acked + static_cast<std::int64_t>(reply_.verdicts.size()) != reply_.watermark)
      refuse(Code::invalid_argument, "a verdict is missing");
    if (reply_.asked != link_.cursor || reply_.subscriptions != read_subscriptions(db_))
      refuse(Code::busy, "what is to be fed has changed meanwhile, and is asked for again");
  }

  /// What no honest canonical says, whatever it knows.
  void check_form() const {
    for (const PulledVerdict& verdict : reply_.verdicts) {
      if (is_failure(verdict.code))
        refuse(Code::invalid_argument, "a verdict is neither ok nor a refusal");
    }
    for (const PulledLease& lease : reply_.leases) {
      check_scope(lease.user_id);
      check_credits(lease.unspent.value);
      if (lease.unspent.value < 0)
        refuse(Code::invalid_argument, "canonical told of a lease with less than nothing");
    }
    for (const PulledUser& user : reply_.users) {
      check_scope(user.user_id);
      for (const PulledUser::Row& row : user.rows) check_owner(user.user_id, row);
      if (!user.state) continue;
      check_credits(user.state->balance);
      check_credits(user.state->held);
      if (user.state->entries < 0 || user.state->entries > numbers_max)
        refuse(Code::invalid_argument, "canonical tells of more entries than there can be");
    }
  }
  void check_scope(const Uuid& user_id) const {
    if (link_.scope && *link_.scope != user_id)
      refuse(Code::invalid_argument, "canonical told of a user who is not this device's");
  }
  static void check_credits(std::int64_t credits) {
    if (credits < std::numeric_limits<std::int32_t>::min() ||
        credits > std::numeric_limits<std::int32_t>::max())
      refuse(Code::invalid_argument, "canonical told of credits beyond their range");
  }
  /// Rows come under their user, and no other's.
  static void check_owner(const Uuid& user_id, const PulledUser::Row& row) {
    const bool is_profile = row.table == "profiles";
    const bool is_third = row.table == "jobs" || row.table == "draft_prompts";
    if (row.table == "job_steps" || row.table == "assets") return;  // Their job says whose.
    const std::size_t place = is_profile ? 0 : is_third ? 2 : 1;
    const auto owner = place < row.texts.size() && row.texts[place] ? Uuid::parse(*row.texts[place])
                                                                    : std::nullopt;
    if (owner != user_id)
      refuse(Code::invalid_argument, "a row of " + row.table + " is not the user's it came under");
  }

  /// What is a part of a user's rows waits for the rest of them.
  void keep_pages() {
    for (const PulledUser& pulled : reply_.users) {
      if (pulled.page == PulledUser::Page::first || (pulled.state && !pulled.state->with_pages))
        forget_pages(db_, pulled.user_id);
      if (pulled.page == PulledUser::Page::none) continue;
      const std::string body = encoded(pulled);
      Query page(db_, "insert into tally_page (user_id, body) values (?, ?)");
      page.bind_one(1, pulled.user_id);
      page.bind_blob(2, body);
      page.run();
    }
  }

  /// Calls visit(part) for the pages of a user that came before, in order, then for what came now.
  template <class Visit>
  void for_each_part(const PulledUser& pulled, Visit&& visit) {
    if (pulled.state && pulled.state->with_pages) {
      Query pages(db_, "select body from tally_page where user_id = ? order by page");
      pages.bind(pulled.user_id);
      while (pages.step()) visit(kept_page(pulled.user_id, pages.column<std::string>(0)));
    }
    visit(pulled);
  }
  /// One that damage made none is as an answer that does not fit: all comes anew.
  static PulledUser kept_page(const Uuid& user_id, std::string_view bytes) {
    try {
      return decoded_page(user_id, bytes);
    } catch (const SQLite::Exception& e) {
      refuse(Code::invalid_argument, std::string("a page that was kept is damaged: ") + e.what());
    }
  }

  /// The key of a user; makes the user where canonical knows one who is not here.
  std::int64_t key_of(const PulledUser& pulled) {
    if (const auto u = store_.users.find_id(pulled.user_id)) return *u;
    if (!pulled.state) return 0;
    const auto former = former_key(pulled.user_id);
    const std::int64_t u = former ? *former : store_.new_user_key();
    store_.users.insert(u, UserRow{pulled.user_id, std::nullopt, std::nullopt});
    store_.accounts.insert(u, AccountRow{});
    users_[u].is_new = true;
    return u;
  }

  /// That of a user who was here before: the op_ids that this mirror applied are remembered under
  /// it.
  std::optional<std::int64_t> former_key(const Uuid& user_id) {
    if (!former_key_) former_key_.emplace(db_, "select value from tally_meta where name = ?");
    const Rewind rewind(*former_key_);
    const std::string name = former_name(user_id);
    if (!former_key_->bind(name).step()) return std::nullopt;
    return sound_number(former_key_->column<std::int64_t>(0), 1);
  }
  static std::string former_name(const Uuid& user_id) { return "user " + user_id.text(); }

  void read_records() {
    for (const PulledUser& pulled : reply_.users) {
      if (pulled.page != PulledUser::Page::none) continue;
      if (const std::int64_t u = key_of(pulled); u > 0) users_[u].pulled = &pulled;
    }
    store_.users.flush();
    // An id, an address or a payment that canonical gave to one user and this mirror, for now, to
    // another.
    for (const PulledUser& pulled : reply_.users) {
      if (pulled.state && pulled.state->email) {
        if (const auto owner = store_.find_email(*pulled.state->email)) users_[*owner];
      }
      if (pulled.page != PulledUser::Page::none) continue;
      for_each_part(pulled, [&](const PulledUser& part) {
        for (const PulledUser::Row& row : part.rows) {
          if (const auto owner = owner_here(row)) users_[*owner];
        }
      });
    }
    for_each_pending(db_, link_.acked,
                     [&](std::int64_t n, std::string_view bytes, const Body& body) {
                       Decoder header(bytes);
                       std::int64_t u = 0;
                       std::int64_t o = 0;
                       header.get(u);
                       header.get(o);
                       u = user_of(n, u, bytes, body);
                       const bool judged = n <= watermark_;
                       if (o == queued_operation) {
                         queued_.push_back(decode(n, bytes, body));
                         queued_.back().u = u;
                         if (judged) link_operation(queued_.back());
                         return true;
                       }
                       const bool rejected = judged && verdict(n).code != Code::ok;
                       if (judged) link_operation(decode(n, bytes, body));
                       if (users_.count(u) == 0 && !rejected) {
                         later_.emplace_back(n, u);
                         return true;
                       }
                       add_record(u, decode(n, bytes, body, rebased_));
                       return true;
                     });
    // One rejection makes its user one of those that are rebased, from the first of its records on.
    read_later();
  }

  void add_record(std::int64_t u, Record record) {
    record.u = u;
    users_[u].records.push_back(std::move(record));
  }

  /// Whose a record is that was first written for u: applied again, or made once more, its user may
  /// have another number.
  std::int64_t user_of(std::int64_t n, std::int64_t u, std::string_view bytes, const Body& body) {
    const bool stands = rebased_.count(n) == 0 && (u <= 0 || pending_users_.is_here(u));
    return stands ? u : pending_users_.key_of(decode(n, bytes, body, rebased_));
  }

  /// The records that were left alone, of users that are rebased after all.
  void read_later() {
    const auto missing = std::partition(later_.begin(), later_.end(), [&](const auto& left) {
      return users_.count(left.second) == 0;
    });
    if (missing == later_.end()) return;
    const std::map<std::int64_t, std::int64_t> users(missing, later_.end());
    later_.erase(missing, later_.end());
    for_each_pending(db_, link_.acked,
                     [&](std::int64_t n, std::string_view bytes, const Body& body) {
                       if (const auto left = users.find(n); left != users.end())
                         add_record(left->second, decode(n, bytes, body, rebased_));
                       return true;
                     });
    for (auto& [u, user] : users_) {
      std::sort(user.records.begin(), user.records.end(),
                [](const Record& a, const Record& b) { return a.n < b.n; });
    }
  }

  std::optional<std::int64_t> owner_here(const PulledUser::Row& row) {
    if (row.texts.empty() || !row.texts.front()) return std::nullopt;
    const auto id = Uuid::parse(*row.texts.front());
    if (!id) return std::nullopt;
    if (row.table == "credit_ledger") {
      if (row.texts.size() <= entry_payment || !row.texts[entry_payment]) return std::nullopt;
      if (const auto y = store_.find_payment(*row.texts[entry_payment]))
        return store_.payments.get(*y).u;
    }
    const auto owner_of = [&](auto& table, const Uuid& under) -> std::optional<std::int64_t> {
      const auto key = table.find_id(under);
      return key ? std::optional(owner(table.get(*key)).value_or(0)) : std::nullopt;
    };
    if (row.table == "projects") return owner_of(store_.projects, *id);
    if (row.table == "voice_profiles") return owner_of(store_.voice_profiles, *id);
    if (row.table == "draft_prompts") return owner_of(store_.drafts, *id);
    if (row.table == "jobs") return owner_of(store_.jobs, folded(*id));
    if (row.table == "assets") return owner_of(store_.assets, *id);
    return std::nullopt;
  }

  const PulledVerdict& verdict(std::int64_t n) const {
    return reply_.verdicts[static_cast<std::size_t>(n - link_.acked - 1)];
  }

  /// The chain goes on with what was sent of it.
  void link_operation(const Record& record) {
    const Command command = record.command();
    PushedOperation sent{record.n, user_pushed(pending_users_, record, command, link_.scope),
                         trace_line(command), leases_of(command)};
    link_.chain = chained(link_.chain, sent);
  }

  void judge() {
    for (auto& [u, user] : users_) {
      for (Record& record : user.records) judge(record);
    }
    for (Record& record : queued_) judge(record);
    std::sort(taken_.rejected.begin(), taken_.rejected.end(),
              [](const auto& a, const auto& b) { return a.number < b.number; });
  }

  void judge(Record& record) {
    if (record.n > watermark_) return;
    const PulledVerdict& judged = verdict(record.n);
    record.code = judged.code;
    if (record.is_queued()) {
      taken_.settled.push_back(
          {record.n, {record.command().op_id, judged.code, {}, judged.id, judged.index, record.n}});
    }
    if (record.code == Code::ok) return;
    insert_rejected(db_, record, record.code, judged.index, now_);
    taken_.rejected.push_back({record.n, record.command(), record.code, judged.index, now_});
  }

  bool is_settled(const Record& record) const {
    return record.n <= watermark_ && record.code == Code::ok;
  }

  // ---- what was expected ----

  /// Of most users canonical says what this mirror had made of it: then nothing is undone, and only
  /// what was judged goes from the outbox.
  void settle_expected() {
    for (auto user = users_.begin(); user != users_.end();) {
      if (user->first <= 0 || !is_expected(user->first, user->second)) {
        ++user;
        continue;
      }
      const auto judged = std::count_if(user->second.records.begin(), user->second.records.end(),
                                        [&](const Record& record) { return is_settled(record); });
      if (judged > 0) store_.accounts.edit(user->first).pending -= judged;
      for (const Record& record : user->second.records) {
        if (record.n > watermark_) later_.emplace_back(record.n, record.u);
      }
      user = users_.erase(user);
      ++expected_;
    }
  }

  bool is_expected(std::int64_t u, User& user) {
    if (user.pulled == nullptr || !user.pulled->state) return false;
    const PulledState& state = *user.pulled->state;
    if ((state.since == 0 && state.since_entries == 0) || state.with_pages) return false;
    for (const Record& record : user.records) {
      if (record.n <= watermark_ && record.code != Code::ok) return false;
      if (is_settled(record) && is_blocked(record.n)) return false;
      // What it did with a draft that was nobody's lies on what nobody's operations did.
      if (users_.count(0) != 0 && wrote_drafts(record)) return false;
    }
    past_ = {};
    for (auto record = user.records.rbegin();
         record != user.records.rend() && record->n > watermark_; ++record) {
      Decoder images(record->images);
      store_.read_images(images,
                         [&]<class Row>(Table<Row>&, std::int64_t key, std::optional<Row> row) {
                           std::get<Past<Row>>(past_)[key] = std::move(row);
                         });
    }
    comparing_ = true;
    differs_ = false;
    compared_.clear();
    compare(u, user, state);
    if (!differs_) compare_written(user);
    comparing_ = false;
    user.entries.clear();
    return !differs_;
  }

  bool is_blocked(std::int64_t n) const {
    const auto again = rebased_.find(n);
    return again != rebased_.end() && again->second.first != Code::ok;
  }

  bool wrote_drafts(const Record& record) {
    bool wrote = false;
    Decoder images(record.images);
    store_.read_images(images, [&]<class Row>(Table<Row>&, std::int64_t, auto&&) {
      wrote = wrote || std::is_same_v<Row, DraftRow>;
    });
    return wrote;
  }

  void compare(std::int64_t u, User& user, const PulledState& state) {
    const auto row = row_at(store_.users, u);
    const auto account = row_at(store_.accounts, u);
    differs_ =
        !row || !account || account->seq != state.entries || account->balance != state.balance ||
        account->held != state.held ||
        (state.with_email && (row->email != state.email || row->raw_user_meta_data != state.meta));
    const auto lease = row_at(store_.leases, u);
    const auto shown =
        std::find_if(reply_.leases.begin(), reply_.leases.end(),
                     [&](const PulledLease& open) { return open.user_id == user.pulled->user_id; });
    if (shown == reply_.leases.end()) {
      differs_ = differs_ || lease;
    } else {
      differs_ = differs_ || !lease || lease->lease_id != shown->lease_id ||
                 lease->unspent != shown->unspent.value || lease->expires_at != shown->expires_at;
    }
    differs_ = differs_ || !user.pulled->gone.empty();
    if (!differs_) compare_entries(u, user, *account);
    if (!differs_) take_fed(u, user, *user.pulled);
  }

  /// A row that an operation wrote here and canonical does not feed is one that it did not write
  /// there: it was another device's before, and had its effect then.
  void compare_written(const User& user) {
    std::sort(compared_.begin(), compared_.end());
    for (const Record& record : user.records) {
      if (!is_settled(record)) continue;
      Decoder images(record.images);
      store_.read_images(images, [&]<class Row>(Table<Row>& table, std::int64_t key, auto&&) {
        // These are compared in any case.
        constexpr bool is_of_the_account =
            std::is_same_v<Row, UserRow> || std::is_same_v<Row, AccountRow> ||
            std::is_same_v<Row, PaymentRow> || std::is_same_v<Row, LeaseRow>;
        if (!is_of_the_account && !was_compared(&table, key)) differs_ = true;
      });
    }
  }

  bool was_compared(const void* table, std::int64_t key) const {
    return std::binary_search(compared_.begin(), compared_.end(), std::pair(table, key));
  }

  /// Those behind the ones that canonical had confirmed before are this mirror's own, one for one.
  void compare_entries(std::int64_t u, User& user, const AccountRow& account) {
    for (const Record& record : user.records) {
      if (is_settled(record)) collect_entries(record, user.entries);
    }
    const std::int64_t confirmed = account.seq - static_cast<std::int64_t>(user.entries.size());
    std::size_t local = 0;
    for (const PulledUser::Row& row : user.pulled->rows) {
      if (row.table != "credit_ledger" || row.texts.size() != 10) continue;
      if (const auto seq = Columns(row).number_at(entry_seq); seq <= confirmed) {
        const Rewind rewind(has_job_);
        differs_ = differs_ || (!row.texts[entry_job] && has_job_.bind(u, seq).step());
        continue;
      }
      if (local >= user.entries.size() || !equals(user.entries[local++], row.texts))
        differs_ = true;
    }
    differs_ = differs_ || local != user.entries.size();
  }

  // ---- undo ----

  /// What an operation deleted here may have given its id to another user's row since: it could not
  /// come back beside that one, so that user's operations are undone as well.
  void include_holders() {
    for (std::size_t before = 0; before != users_.size();) {
      before = users_.size();
      std::set<std::int64_t> holders;
      for (const auto& [u, user] : users_) {
        for (const Record& record : user.records) add_holders(record, holders);
      }
      std::erase_if(holders, [&](std::int64_t u) { return users_.count(u) != 0; });
      for (const std::int64_t u : holders) users_[u];
      read_later();
      for (const std::int64_t u : holders) {
        for (Record& record : users_[u].records) judge(record);
      }
    }
  }

  void add_holders(const Record& record, std::set<std::int64_t>& holders) {
    Decoder images(record.images);
    store_.read_images(
        images, [&]<class Row>(Table<Row>& table, std::int64_t key, const std::optional<Row>& row) {
          const auto holder = row ? store_.other_holder(table, key, *row) : std::nullopt;
          if constexpr (requires { this->owner(*row); }) {
            if (holder) holders.insert(owner(table.get(*holder)).value_or(0));
          }
          if constexpr (std::is_same_v<Row, DraftRow>) {  // Made by nobody, claimed by a user.
            if (row) holders.insert(row->u.value_or(0));
            if (const Row* here = table.find(key)) holders.insert(here->u.value_or(0));
          }
        });
  }

  void undo() {
    for (auto& [u, user] : users_) {
      const AccountRow* account = u > 0 && !user.is_new ? store_.accounts.find(u) : nullptr;
      if (account != nullptr) user.balance = account->balance;
      const bool is_fed = user.pulled != nullptr && user.pulled->state.has_value();
      if (is_fed) find_keys(user);
      // Where the rows are not fed, as nobody's never are, what canonical took of them stays, up to
      // the first that it did not.
      std::size_t first = 0;
      while (!is_fed && first < user.records.size() && is_settled(user.records[first])) ++first;
      for (std::size_t i = first; i < user.records.size(); ++i) {
        Record& record = user.records[i];
        record.fed = is_fed;
        if (is_fed && is_settled(record)) collect_entries(record, user.entries);
        undone_.push_back(&record);
      }
    }
    std::sort(undone_.begin(), undone_.end(),
              [](const Record* a, const Record* b) { return a->n < b->n; });
    // The latest first, whosever it is: a draft is nobody's before it is a user's.
    for (auto record = undone_.rbegin(); record != undone_.rend(); ++record) {
      Decoder images((*record)->images);
      store_.restore_images(images);
      (*record)->count = get_count(images, **record, rebased_);
      if ((*record)->count > 0 && !((*record)->fed && is_settled(**record)))
        store_.erase_operations((*record)->o, (*record)->count);
      const std::int64_t u = (*record)->u;
      if (u > 0 && store_.users.find(u) == nullptr) store_.retire_user_key(u);
    }
  }

  void find_keys(User& user) {
    const auto remember = [&](const std::string& table, const Uuid& id) {
      std::optional<std::int64_t> key;
      if (table == "projects") key = store_.projects.find_id(id);
      if (table == "voice_profiles") key = store_.voice_profiles.find_id(id);
      if (table == "draft_prompts") key = store_.drafts.find_id(id);
      if (table == "assets") key = store_.assets.find_id(id);
      if (table == "jobs") key = store_.jobs.find_id(folded(id));
      if (key) user.keys[{table, id}] = *key;
      if (key && table == "jobs") {
        const JobRow& job = store_.jobs.get(*key);
        user.runs[id] = {job.status, job.reservation};
      }
    };
    std::size_t number = 0;
    for_each_part(*user.pulled, [&](const PulledUser& part) {
      for (const PulledUser::Row& row : part.rows) {
        if (row.texts.empty() || !row.texts.front() || row.table == "credit_ledger") continue;
        if (const auto id = Uuid::parse(*row.texts.front())) remember(row.table, *id);
      }
      for (const auto& gone : part.gone) {
        remember(gone.first, gone.second);
        user.gone[gone] = number;
      }
      ++number;
    });
  }

  /// The entries that an operation appended, as canonical would show them.
  void collect_entries(const Record& record, std::vector<LocalEntry>& out) {
    Decoder images(record.images);
    store_.read_images(images, [](auto&, std::int64_t, auto&&) {});
    const std::int64_t count = get_count(images, record, rebased_);
    if (count == 0) return;
    store_.flush_entries();
    store_.jobs.flush();
    const Rewind rewind(entries_);
    entries_.bind(record.o, record.o + count);
    while (entries_.step()) {
      const bool derived = entries_.column<int>(2) != 0;
      const Uuid id = entries_.column<Uuid>(1);
      const auto text = [&](int i) { return entries_.column<std::optional<std::string>>(i); };
      const auto job = entries_.column<std::optional<Uuid>>(8);
      out.push_back(
          {entries_.column<std::int64_t>(0),
           {derived ? unfolded(id).derived(entries_.column<unsigned>(3)).text() : id.text(),
            text(4), text(5), text(6), entries_.column<Timestamp>(7).text(),
            job ? std::optional(unfolded(*job).text()) : std::nullopt, text(9), text(10),
            text(11)}});
    }
  }

  // ---- rows ----

  void take_rows(std::int64_t u, User& user) {
    if (u <= 0 || user.pulled == nullptr) return;
    const PulledUser& pulled = *user.pulled;
    if (!pulled.state) return;
    if (store_.users.find(u) == nullptr)
      store_.users.insert(u, UserRow{pulled.user_id, std::nullopt, std::nullopt});
    if (store_.accounts.find(u) == nullptr) store_.accounts.insert(u, AccountRow{});
    if (pulled.state->with_email) {
      // Whoever else has the address here has another one by now, and is fed it in turn.
      const auto owner =
          pulled.state->email ? store_.find_email(*pulled.state->email) : std::nullopt;
      if (owner && *owner != u) {
        store_.users.edit(*owner).email.reset();
        store_.users.flush();
      }
      UserRow& row = store_.users.edit(u);
      row.email = pulled.state->email;
      row.raw_user_meta_data = pulled.state->meta;
    }
    if (pulled.state->since == 0 && pulled.state->since_entries == 0 && !user.is_new) wipe(u, user);
    LocalEntries local;
    part_ = 0;
    for_each_part(pulled, [&](const PulledUser& part) {
      in_page_ = &part != &pulled;
      for (const auto& gone : part.gone) {
        erase(u, gone.first, gone.second);
        user.keys.erase(gone);  // Under that id another row may follow.
      }
      take_fed(u, user, part);
      take_entries(u, user, part, local);
      ++part_;
    });
    if (local.same) drop_from(user, local.taken);
    if (pulled.state->with_pages) forget_pages(db_, pulled.user_id);
    AccountRow& account = store_.accounts.edit(u);
    account.held = pulled.state->held;
    if (account.seq != pulled.state->entries || account.balance != pulled.state->balance)
      taken_.diverged.push_back(pulled.user_id);
    taken_.changed.push_back(pulled.user_id);
    tell_ended(u, user);
    if (pulled.state->since == 0) taken_.bootstrapped.push_back(pulled.user_id);
  }

  /// The host hears of a job that ended elsewhere, but for those of a user who is new here.
  void tell_ended(std::int64_t u, const User& user) {
    const PulledState& state = *user.pulled->state;
    const bool is_first = state.since == 0 && state.since_entries == 0;
    for (const auto& [id, j] : user.keys) {
      const JobRow* job = id.first == "jobs" ? store_.jobs.find(j) : nullptr;
      if (job == nullptr) continue;
      const auto before = user.runs.find(id.second);
      const bool was_here = before != user.runs.end();
      if (was_here ? before->second == std::pair(job->status, job->reservation) : is_first)
        continue;
      if (job->status == JobStatus::READY) work_.happened(Happening::Kind::job_complete, u, j);
      if (job->status == JobStatus::FAILED) work_.happened(Happening::Kind::job_failed, u, j);
    }
  }

  /// Once all is taken, and what is still pending is applied again.
  void tell_balances() {
    for (const auto& [u, user] : users_) {
      if (user.balance && store_.accounts.find(u) != nullptr) work_.balance_was(*user.balance, u);
    }
  }

  /// The rows that are fed, but for the entries.
  void take_fed(std::int64_t u, User& user, const PulledUser& part) {
    std::set<std::int64_t> jobs;
    std::map<std::int64_t, Steps> with_steps;
    for (const PulledUser::Row& row : part.rows) {
      if (in_page_ && went_since(user, row)) continue;
      Columns columns(row);
      if (row.table == "profiles") take_profile(u, columns);
      if (row.table == "voice_profiles") take_voice_profile(u, user, columns);
      if (row.table == "projects") take_project(u, user, columns);
      if (row.table == "jobs") {
        if (const auto j = take_job(u, user, columns)) jobs.insert(*j);
      }
      if (row.table == "job_steps") take_step(u, columns, with_steps);
      if (row.table == "assets") take_asset(u, user, columns);
      if (row.table == "draft_prompts") take_draft(u, user, columns);
    }
    for (const auto& [j, steps] : with_steps) {
      jobs.insert(j);
      for (int order = 1; order <= step_count; ++order) {
        if ((steps.fed >> (order - 1) & 1) == 0) drop(store_.steps, step_key(j, order));
      }
      JobLinkRow link = row_at(store_.job_links, j).value_or(JobLinkRow{});
      link.steps = steps.there;
      put_link(j, link);
    }
    if (comparing_) return;
    for (const std::int64_t j : jobs) sum_steps(j);
  }

  /// Of a row in a page from before: its id may be another user's by now, who was told of behind
  /// the page.
  bool went_since(const User& user, const PulledUser::Row& row) const {
    if (row.texts.empty() || !row.texts.front()) return false;
    const auto id = Uuid::parse(*row.texts.front());
    const auto gone = id ? user.gone.find({row.table, *id}) : user.gone.end();
    return gone != user.gone.end() && gone->second > part_;
  }
  /// So may what a row there refers to.
  bool is_anothers(std::int64_t owner, std::int64_t u) const { return in_page_ && owner != u; }

  /// A feed from the start has everything: what else the user has here is not canonical's.
  void wipe(std::int64_t u, User& user) {
    user.is_wiped = true;
    store_.flush();
    const auto keys = [&](const char* sql) {
      Query query(db_, sql);
      query.bind(u);
      std::vector<std::int64_t> out;
      while (query.step()) out.push_back(query.column<std::int64_t>(0));
      return out;
    };
    std::set<std::int64_t> fed_jobs;
    for (const auto& [id, key] : user.keys) {
      if (id.first == "jobs") fed_jobs.insert(key);
    }
    for (const auto j : keys("select j from tally_job where u = ?")) {
      if (fed_jobs.count(j) == 0) {
        delete_job(store_, j);
      } else {
        for (const auto a : store_.assets_of_job(j)) store_.erase_for_good(store_.assets, a);
      }
    }
    for (const auto p : keys("select p from tally_project where u = ?"))
      store_.erase_for_good(store_.projects, p);
    for (const auto v : keys("select v from tally_voice_profile where u = ?"))
      store_.erase_for_good(store_.voice_profiles, v);
    for (const auto d : keys("select d from tally_draft where u = ?"))
      store_.erase_for_good(store_.drafts, d);
    store_.profiles.erase(u);
    std::set<std::int64_t> kept;
    for (const LocalEntry& entry : user.entries) kept.insert(entry.e);
    for (const auto e : keys("select e from tally_entry where u = ?")) {
      if (kept.count(e) == 0) store_.erase_entry(e);
    }
    AccountRow& account = store_.accounts.edit(u);
    account = AccountRow{};
  }

  /// The row is that from now on; also its columns that no operation changes. Where it is only
  /// compared: whether it is that already.
  template <class Row>
  void put(Table<Row>& table, std::int64_t key, Row row) {
    if (comparing_) {
      compared_.emplace_back(&table, key);
      differs_ = differs_ || row_at(table, key) != row;
      return;
    }
    const Row* before = table.find(key);
    if (before != nullptr && *before == row) return;
    table.erase(key);
    table.insert(key, std::move(row));
  }
  template <class Row>
  void drop(Table<Row>& table, std::int64_t key) {
    if (comparing_) {
      compared_.emplace_back(&table, key);
      differs_ = differs_ || row_at(table, key).has_value();
    } else {
      table.erase(key);
    }
  }
  /// The row as it is, or, where rows are compared, as it was before what is still pending.
  template <class Row>
  std::optional<Row> row_at(Table<Row>& table, std::int64_t key) {
    if (comparing_) {
      const auto& past = std::get<Past<Row>>(past_);
      if (const auto found = past.find(key); found != past.end()) return found->second;
    }
    const Row* row = table.find(key);
    return row == nullptr ? std::nullopt : std::optional(*row);
  }

  /// What a fed row refers to. It is left alone where that is not here and rows are only compared,
  /// or in a page that was made before it: then both are fed again behind the pages.
  template <class Row>
  std::optional<std::int64_t> find_or_leave(Table<Row>& table, const Columns& in, const Uuid& id) {
    const auto key = table.find_id(id);
    if (key) return key;
    if (!comparing_ && !in_page_) in.or_refuse(key);
    differs_ = true;
    return std::nullopt;
  }

  /// The key of a fed row: that of the row under its id, as it is, or as it was before the undoing.
  template <class Row>
  std::int64_t key_for(Table<Row>& table, std::int64_t u, User& user, const char* name,
                       const Uuid& id) {
    if (const auto here = table.find_id(std::is_same_v<Row, JobRow> ? folded(id) : id)) {
      if (comparing_ || owner(table.get(*here)).value_or(u) == u) return *here;
      remove(table, *here);
      user.keys.erase({name, id});
    }
    if (comparing_) {
      differs_ = true;
      return 0;
    }
    const auto found = user.keys.find({name, id});
    if (found != user.keys.end()) return found->second;
    const std::int64_t key = store_.new_key(table);
    user.keys[{name, id}] = key;
    return key;
  }

  std::optional<std::int64_t> owner(const DraftRow& row) { return row.u; }
  std::optional<std::int64_t> owner(const AssetRow& row) { return store_.jobs.get(row.j).u; }
  template <class Row>
  requires requires(Row row) { row.u; }
  std::optional<std::int64_t> owner(const Row& row) { return row.u; }
  /// A row of another user's, under an id that canonical gave to this one: it went, and with it
  /// what belonged to it.
  template <class Row>
  void remove(Table<Row>& table, std::int64_t key) {
    if constexpr (std::is_same_v<Row, JobRow>) return delete_job(store_, key);
    if constexpr (std::is_same_v<Row, ProjectRow>) {
      for (const std::int64_t j : store_.jobs_of_project(key)) delete_job(store_, j);
    }
    if constexpr (std::is_same_v<Row, VoiceProfileRow>) {
      for (const std::int64_t p : store_.projects_with_voice(key))
        store_.projects.edit(p).v.reset();
    }
    store_.erase_for_good(table, key);
  }

  /// What went, where it is the user's: the id may be another's by now.
  void erase(std::int64_t u, const std::string& table, const Uuid& id) {
    const auto erase_from = [&](auto& rows) {
      if (const auto key = rows.find_id(id); key && rows.get(*key).u == u)
        store_.erase_for_good(rows, *key);
    };
    if (table == "profiles" && store_.users.get(u).id == id) store_.profiles.erase(u);
    if (table == "projects") erase_from(store_.projects);
    if (table == "voice_profiles") erase_from(store_.voice_profiles);
    if (table == "draft_prompts") erase_from(store_.drafts);
    if (table == "assets") {
      const auto a = store_.assets.find_id(id);
      if (a && store_.jobs.get(store_.assets.get(*a).j).u == u)
        store_.erase_for_good(store_.assets, *a);
    }
    if (table != "jobs" && table != "job_steps") return;
    const auto j = store_.jobs.find_id(folded(id));
    if (!j || store_.jobs.get(*j).u != u) return;
    if (table == "jobs") {
      delete_job(store_, *j);
      return;
    }
    for (int order = 1; order <= step_count; ++order) store_.steps.erase(step_key(*j, order));
    JobLinkRow link;
    if (const JobLinkRow* had = store_.job_links.find(*j)) link = *had;
    link.steps = 0;
    put_link(*j, link);
  }

  void take_profile(std::int64_t u, Columns& in) {
    in.required_id();
    ProfileRow row;
    row.display_name = in.text();
    row.avatar_url = in.text();
    row.created_at = in.time();
    row.notification_prefs = in.text();
    row.stripe_customer_id = in.text();
    row.updated_at = in.time();
    put(store_.profiles, u, std::move(row));
  }

  void take_voice_profile(std::int64_t u, User& user, Columns& in) {
    VoiceProfileRow row;
    row.id = in.required_id();
    in.text();
    row.u = u;
    row.name = in.required();
    row.audio_path = in.required();
    row.provider = in.text();
    row.voice_id = in.text();
    row.settings = in.text();
    row.created_at = in.time();
    const Uuid id = row.id;
    put(store_.voice_profiles, key_for(store_.voice_profiles, u, user, "voice_profiles", id),
        std::move(row));
  }

  void take_project(std::int64_t u, User& user, Columns& in) {
    ProjectRow row;
    row.id = in.required_id();
    in.text();
    row.u = u;
    row.title = in.required();
    row.prompt_text = in.required();
    row.niche_preset = in.required();
    row.target_minutes = in.required_number();
    if (const auto voice = in.id()) row.v = store_.voice_profiles.find_id(*voice);
    if (row.v && is_anothers(store_.voice_profiles.get(*row.v).u, u)) row.v.reset();
    row.transcript_mode = in.text();
    row.transcript_text = in.text();
    row.settings = in.text();
    row.created_at = in.time();
    row.updated_at = in.time();
    const Uuid id = row.id;
    put(store_.projects, key_for(store_.projects, u, user, "projects", id), std::move(row));
  }

  std::optional<std::int64_t> take_job(std::int64_t u, User& user, Columns& in) {
    const Uuid id = in.required_id();
    const auto p = find_or_leave(store_.projects, in, in.required_id());
    if (!p || is_anothers(store_.projects.get(*p).u, u)) return std::nullopt;
    JobRow row;
    row.id = folded(id);
    row.u = u;
    row.p = *p;
    in.text();
    row.status = in.or_refuse(job_status_named(in.required()));
    row.progress = in.percentage();
    JobTextRow text;
    text.status_message = in.text();
    row.cost_credits_reserved = in.number();
    row.cost_credits_final = in.number();
    text.failed_step = in.text();
    text.error_code = in.text();
    text.error_message = in.text();
    text.output_url = in.text();
    text.manifest_json = in.text();
    row.created_at = in.time();
    row.started_at = in.time();
    row.finished_at = in.time();
    row.hold = in.within(0, Credits::max, in.number());
    row.reservation = in.id();
    std::int64_t j = key_for(store_.jobs, u, user, "jobs", id);
    std::optional<JobRow> before = row_at(store_.jobs, j);
    if (before && before->created_at != row.created_at && !comparing_) {
      // The job that was here went, and this is another under its id: the entries of the one that
      // went are not this one's, but those that were written for it here before the undoing are.
      delete_job(store_, j);
      if (const auto here = user.keys.find({"jobs", id});
          here != user.keys.end() && here->second == j)
        user.keys.erase(here);
      j = key_for(store_.jobs, u, user, "jobs", id);
      before.reset();
    }
    row.steps_pct = before ? before->steps_pct : 0;
    JobLinkRow link = row_at(store_.job_links, j).value_or(JobLinkRow{});
    if (!before) link.steps = 0;  // Until they are fed.
    link.lease = in.id();
    row.claim_until = in.time();
    const auto holder = in.id();
    link.claimed_elsewhere = row.claim_until && holder != link_.device_id ? 1 : 0;
    row.active_at = in.time().value_or(Timestamp{});
    put(store_.jobs, j, row);
    if (text == JobTextRow{}) {
      drop(store_.job_texts, j);
    } else {
      put(store_.job_texts, j, std::move(text));
    }
    put_link(j, link);
    return j;
  }

  void put_link(std::int64_t j, const JobLinkRow& link) {
    if (link == JobLinkRow{}) {
      drop(store_.job_links, j);
    } else {
      put(store_.job_links, j, link);
    }
  }

  /// A job's steps: which there are, then those that are not as they were made.
  void take_step(std::int64_t u, Columns& in, std::map<std::int64_t, Steps>& with_steps) {
    const Uuid id = in.required_id();
    if (in.count() == 2) {
      const auto j = store_.jobs.find_id(folded(id));
      if (j && is_anothers(store_.jobs.get(*j).u, u)) return;
      if (j) with_steps[*j].there = in.required_number() & all_steps;
      differs_ = differs_ || !j;  // Where rows are taken it comes with the job.
      return;
    }
    const Uuid job_id = in.required_id();
    const auto j = store_.jobs.find_id(folded(job_id));
    const auto order = step_order_named(in.required());
    in.text();
    if (!j || !order) return;  // A step of a plain writer's own making: the digest tells.
    if (is_anothers(store_.jobs.get(*j).u, u)) return;
    StepRow row;
    if (id != job_id.derived(static_cast<unsigned>(*order))) row.id = id;
    row.state = in.or_refuse(step_state_named(in.required()));
    row.progress_pct = in.percentage();
    row.status_message = in.text();
    row.error_message = in.text();
    row.logs_url = in.text();
    row.artifacts_json = in.text();
    row.started_at = in.time();
    row.finished_at = in.time();
    if (row == StepRow{}) return;
    with_steps[*j].fed |= 1 << (*order - 1);
    put(store_.steps, step_key(*j, *order), std::move(row));
  }

  void sum_steps(std::int64_t j) {
    std::int64_t sum = 0;
    for (int order = 1; order <= step_count; ++order) {
      if (const StepRow* step = store_.steps.find(step_key(j, order))) sum += step->progress_pct;
    }
    if (store_.jobs.find(j) != nullptr) store_.jobs.edit(j).steps_pct = sum;
  }

  void take_asset(std::int64_t u, User& user, Columns& in) {
    AssetRow row;
    row.id = in.required_id();
    const auto j = find_or_leave(store_.jobs, in, folded(in.required_id()));
    if (!j || is_anothers(store_.jobs.get(*j).u, u)) return;
    row.j = *j;
    row.type = in.required();
    row.url = in.required();
    row.storage_path = in.required();
    row.size_bytes = in.number();
    row.mime_type = in.text();
    row.metadata_json = in.text();
    row.created_at = in.time();
    const Uuid id = row.id;
    put(store_.assets, key_for(store_.assets, u, user, "assets", id), std::move(row));
  }

  void take_draft(std::int64_t u, User& user, Columns& in) {
    DraftRow row;
    row.id = in.required_id();
    row.session_token = in.required();
    in.text();
    row.u = u;
    row.prompt_text = in.required();
    row.template_id = in.text();
    row.options = in.text();
    row.created_at = in.time();
    row.updated_at = in.time();
    row.expires_at = in.time();
    const Uuid id = row.id;
    put(store_.drafts, key_for(store_.drafts, u, user, "draft_prompts", id), std::move(row));
  }

  // ---- entries ----

  /// Those that this mirror wrote itself stay where canonical has the same; from the first that
  /// differs on, canonical's stand in their place.
  void take_entries(std::int64_t u, User& user, const PulledUser& part, LocalEntries& local) {
    AccountRow& account = store_.accounts.edit(u);
    for (const PulledUser::Row& row : part.rows) {
      if (row.table != "credit_ledger") continue;
      Columns in(row);
      const Texts& texts = row.texts;
      if (texts.size() != 10) in.or_refuse(std::optional<int>{});
      const std::int64_t seq = in.number_at(entry_seq);
      if (seq <= account.seq) {  // Here already, and told again because it lost its job.
        if (!texts[entry_job]) lost_job_.bind(u, seq).run();
        continue;
      }
      if (seq != account.seq + 1) return;  // A gap: the check finds it.
      if (local.same && local.taken < user.entries.size() &&
          equals(user.entries[local.taken], texts)) {
        const std::int64_t e = user.entries[local.taken++].e;
        account.seq = seq;
        account.balance += in.amount_at(entry_amount);
        account.head = e;
        remember_payment(u, row);
        continue;
      }
      if (local.same) drop_from(user, local.taken);
      local.same = false;
      append_fed(u, user, row);
    }
  }

  static bool equals(const LocalEntry& entry, const Texts& fed) {
    // id, type, amount, note, time, job, payment, balance after, seq.
    constexpr std::size_t places[] = {0, 2, 3, 4, 5, 6, 7, 8, 9};
    for (std::size_t i = 0; i < entry.texts.size(); ++i) {
      if (entry.texts[i] != fed[places[i]]) return false;
    }
    return true;
  }

  void drop_from(const User& user, std::size_t local) {
    for (; local < user.entries.size(); ++local) store_.erase_entry(user.entries[local].e);
  }

  void append_fed(std::int64_t u, User& user, const PulledUser::Row& row) {
    Columns in(row);
    EntryText text;
    text.id = in.required_id();
    in.text();
    const std::string type = in.required();
    const std::int64_t amount = in.amount_at(entry_amount);
    in.text();
    text.note = in.text();
    text.created_at = in.time();
    const auto job_id = in.id();
    text.stripe_payment_id = in.text();
    std::optional<std::int64_t> j;
    if (job_id) j = store_.jobs.find_id(folded(*job_id));
    if (j && is_anothers(store_.jobs.get(*j).u, u)) {
      j = store_.new_key(store_.jobs);
      store_.retire_key(*j);
    } else if (job_id && !j && in_page_) {
      // Made after the jobs' pages, it is fed behind them, unless it went before: under this key,
      // which is no other's then.
      j = key_for(store_.jobs, u, user, "jobs", *job_id);
      store_.retire_key(*j);
    }
    // Of an entry that somebody deleted by hand the text is still here, under the id that is fed.
    if (user.is_wiped) orphans_.bind(*text.id).run();
    store_.append_fed_entry(u, j, type, amount, text);
    remember_payment(u, row);
  }

  /// Also that of an entry that stayed: undoing its operation took the payment back.
  void remember_payment(std::int64_t u, const PulledUser::Row& row) {
    const auto& payment = row.texts[entry_payment];
    if (!payment || store_.find_payment(*payment)) return;
    const std::int64_t amount = Columns(row).amount_at(entry_amount);
    const int kind = amount > 0 ? AddCredits::row.number : ExpireCredits::row.number;
    store_.payments.insert(
        store_.new_key(store_.payments),
        PaymentRow{*payment, kind, u, std::abs(amount), row.texts[entry_type].value()});
  }

  // ---- leases, and what is pending ----

  void take_leases() {
    std::map<std::int64_t, const PulledLease*> open;
    for (const PulledLease& lease : reply_.leases) {
      if (const auto u = store_.users.find_id(lease.user_id)) open[*u] = &lease;
    }
    for (const auto& [u, user] : users_) {
      if (u <= 0) continue;
      const auto found = open.find(u);
      if (found == open.end()) {
        store_.leases.erase(u);
        continue;
      }
      const PulledLease& lease = *found->second;
      const LeaseRow* had = store_.leases.find(u);
      const bool returning = had != nullptr && had->lease_id == lease.lease_id && had->closing != 0;
      put(store_.leases, u,
          LeaseRow{lease.lease_id, lease.unspent.value, lease.expires_at, returning ? 1 : 0});
    }
  }

  /// What waited without effect, queued or blocked, and is canonical's now is known by its op_id
  /// from here on.
  void remember_settled() {
    for (const Record& record : queued_) {
      if (is_settled(record) && had_effect(record)) remember_operation(record);
    }
    for (const Record* record : undone_) {
      if (is_settled(*record) && record->fed && record->count == 0) remember_operation(*record);
    }
  }

  /// A report that changed nothing is not remembered, here as there. One that did has its job fed
  /// with its verdict.
  bool had_effect(const Record& record) const {
    const Command command = record.command();
    const auto* report = std::get_if<ReportProgress>(&command.operation);
    if (report == nullptr) return true;
    return std::any_of(users_.begin(), users_.end(), [&](const auto& user) {
      return user.second.keys.count({"jobs", report->job_id}) != 0;
    });
  }

  void remember_operation(const Record& record) {
    const Command command = record.command();
    const auto user_id = named_user(command);
    const auto named = user_id && record.u <= 0 ? store_.users.find_id(*user_id) : std::nullopt;
    const std::int64_t u = named.value_or(std::max<std::int64_t>(record.u, 0));
    // Called again while it waited, it was queued again, or applied under another spend policy.
    std::vector<AppliedOperation> like;
    store_.find_like(command.op_id, like);
    const Uuid id = folded(command.op_id);
    const bool known = std::any_of(like.begin(), like.end(), [&](const AppliedOperation& seen) {
      return seen.id == id && seen.u == u;
    });
    if (known) return;
    store_.add_operation(
        AppliedOperation{store_.next_number(), id, u, row_of(command.operation).number, command.at,
                         fingerprint(command.operation), verdict(record.n).id},
        1);
  }

  void apply_again() {
    std::map<std::int64_t, std::int64_t> pending;
    for (const auto& [u, user] : users_) pending[u] = 0;
    for (const Record& record : queued_) {
      const auto user = pending.find(record.u);
      if (user != pending.end()) user->second += record.n > watermark_ ? 1 : 0;
    }
    for (Record* record : undone_) {
      if (record->n > watermark_) {
        ++pending[record->u];
        work_.apply_again(record->n, record->u, record->command());
      } else if (!record->fed && record->code == Code::ok) {
        work_.apply_settled(record->u, record->command());
      }
    }
    for (const auto& [u, count] : pending) {
      if (u > 0 && store_.accounts.find(u) != nullptr) store_.accounts.edit(u).pending = count;
    }
  }

  /// A canonical that was restored from a backup may have lost users: where it told of all that
  /// there are, who is not among them, and of whom nothing is pending, goes from here, too.
  void forget_unknown() {
    if (!reply_.complete) return;
    store_.flush();
    std::set<Uuid> told;
    for (const PulledUser& pulled : reply_.users) told.insert(pulled.user_id);
    Uuid to;
    to.bytes.fill(0xff);
    if (reply_.complete->to) to = *reply_.complete->to;
    Query here(db_,
               "select y.u, y.id from tally_user y join tally_account a on a.u = y.u where y.id > ?"
               " and y.id <= ? and a.pending = 0");
    here.bind(reply_.complete->after, to);
    std::vector<std::pair<std::int64_t, Uuid>> unknown;
    while (here.step()) {
      if (const Uuid id = here.column<Uuid>(1); told.count(id) == 0)
        unknown.emplace_back(here.column<std::int64_t>(0), id);
    }
    for (const auto& [u, id] : unknown) forget(u, id);
  }

  void forget(std::int64_t u, const Uuid& id) {
    User nothing;
    wipe(u, nothing);
    Query payments(db_, "select k from tally_payment where u = ?");
    payments.bind(u);
    std::vector<std::int64_t> keys;
    while (payments.step()) keys.push_back(payments.column<std::int64_t>(0));
    for (const std::int64_t y : keys) store_.erase_for_good(store_.payments, y);
    store_.leases.erase(u);
    store_.accounts.erase(u);
    store_.users.erase(u);
    store_.retire_user_key(u);
    Query former(db_, "insert or replace into tally_meta values (?, ?)");
    const std::string name = former_name(id);
    former.bind(name, u).run();
    taken_.changed.push_back(id);
  }

  /// Of users whose rows stay, and who have verdicts: fewer are pending.
  void settle_left_alone() {
    const auto settle = [&](std::int64_t n, std::int64_t u) {
      if (n > watermark_ || u <= 0 || users_.count(u) != 0) return;
      if (store_.accounts.find(u) != nullptr) store_.accounts.edit(u).pending -= 1;
    };
    for (const auto& [n, u] : later_) settle(n, u);
    for (const Record& record : queued_) settle(record.n, record.u);
  }

  /// A user of whom canonical does not tell stays no longer than operations on it are pending: the
  /// rows would be wrong one day, and nothing would say so.
  void forget_unsubscribed() {
    Query subscribes(db_, "select 1 from tally_meta where name = 'subscribes' and value <> 0");
    if (link_.scope || !subscribes.step()) return;
    store_.flush();
    Query others(db_,
                 "select y.u, y.id from tally_user y join tally_account a on a.u = y.u where "
                 "a.pending = 0 and y.id not in (select user_id from tally_subscription)");
    std::vector<std::pair<std::int64_t, Uuid>> users;
    while (others.step())
      users.emplace_back(others.column<std::int64_t>(0), others.column<Uuid>(1));
    for (const auto& [u, id] : users) forget(u, id);
  }

  void settle_link() {
    store_.flush();
    Query outbox(db_, "delete from tally_outbox where n + operations - 1 <= ?");
    outbox.bind(watermark_).run();
    Query next(db_, "insert or replace into tally_meta values ('outbox_next', ?)");
    next.bind(sound_number(last_) + 1).run();
    Query rebased(db_, "delete from tally_rebased where n <= ?");
    rebased.bind(watermark_).run();
    Query link(db_,
               "update tally_link set acked = ?1, chain = ?2, cursor = ?3, sent = max(sent, ?1), "
               "synced_at = ?4,"
               " attempts = 0, error_class = null, error = null, next_attempt_at = null");
    link.bind_one(4, now_);
    link.bind_one(1, watermark_);
    link.bind_blob(2, link_.chain);
    if (taken_.diverged.empty()) {
      link.bind_one(3, reply_.cursor);
    } else {
      link.bind_one(3, std::nullopt);
      execute(db_, "delete from tally_page");
    }
    link.run();
    // Rows were rewritten, and memory of them must go; but not at a poll that brought nothing.
    if (!users_.empty() || expected_ > 0 || !taken_.settled.empty() || !taken_.changed.empty())
      store_.bump_epoch();
  }

  /// Beyond what any mirror counts to, and far from where sums would overflow.
  static constexpr std::int64_t numbers_max = std::int64_t{1} << 53U;

  Store& store_;
  Work& work_;
  SQLite::Database& db_;
  const Reply& reply_;
  Timestamp now_;
  Link link_;
  const Rebased rebased_;
  PendingUsers pending_users_;
  Query entries_;  ///< Of an operation, by their numbers.
  Query has_job_;
  Query lost_job_;
  Query orphans_;
  std::optional<Query> former_key_;  ///< Made when somebody is not here.
  std::int64_t last_ = 0;
  std::int64_t watermark_ = 0;
  std::map<std::int64_t, User> users_;
  std::vector<Record*> undone_;
  template <class Row>
  using Past = std::map<std::int64_t, std::optional<Row>>;
  /// Rows as they were before what is still pending of one user.
  std::tuple<Past<UserRow>, Past<ProfileRow>, Past<AccountRow>, Past<PaymentRow>,
             Past<VoiceProfileRow>, Past<ProjectRow>, Past<DraftRow>, Past<JobRow>,
             Past<JobTextRow>, Past<StepRow>, Past<AssetRow>, Past<JobLinkRow>, Past<LeaseRow>>
      past_;
  bool comparing_ = false;  ///< Rows are looked at, and none is written.
  bool differs_ = false;
  std::vector<std::pair<const void*, std::int64_t>>
      compared_;                ///< The rows looked at: table and key.
  std::size_t part_ = 0;        ///< Of what is taken: pages from before, then what came now.
  bool in_page_ = false;        ///< It is a page from before.
  std::vector<Record> queued_;  ///< Pending ones that wait for their verdict without effect.
  std::size_t expected_ = 0;    ///< Users of whom canonical said what was expected.
  std::vector<std::pair<std::int64_t, std::int64_t>>
      later_;  ///< Records left alone: number and user.
  Taken taken_;
};

/// Those that are looked at when the transaction is committed: then it would be too late to refuse.
void check_references(const SQLite::Database& db) {
  int unresolved = 0;
  int highest = 0;
  sqlite3_db_status(db.getHandle(), SQLITE_DBSTATUS_DEFERRED_FKS, &unresolved, &highest, 0);
  if (unresolved > 0)
    refuse(Code::invalid_argument, "canonical fed rows that refer to what went, or never came");
}

}  // namespace

Taken take_reply(Store& store, Work& work, const Reply& reply, Timestamp now) {
  try {
    Taken taken = Intake(store, work, store.db(), reply, now).run();
    check_references(store.db());
    return taken;
  } catch (const SQLite::Exception& e) {
    // What the mirror's tables do not take was not for them: the mirror is as sound as before.
    if ((e.getErrorCode() & 0xff) != SQLITE_CONSTRAINT) throw;
    refuse(Code::invalid_argument,
           "canonical fed what no mirror can hold: " + std::string(e.what()));
  }
}

}  // namespace tally
