// What is shown of a mirror: lists in pages, a balance's line, a search by ids.

#include "tally/inspection.hpp"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "engine_impl.hpp"
#include "entry_reader.hpp"
#include "outbox.hpp"
#include "reads.hpp"

namespace tally {
namespace {

// ---- the beginning of an id ---------------------------------------------------------------------

/// The ids that begin with some hex digits, as the least and the greatest of them.
struct IdRange {
  Uuid low{};
  Uuid high{};

  bool holds(const Uuid& id) const { return low <= id && id <= high; }
};

std::optional<unsigned> hex_value(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  return std::nullopt;
}

std::optional<IdRange> id_range(std::string_view begin) {
  IdRange range;
  range.high.bytes.fill(0xff);
  std::size_t digits = 0;
  for (const char c : begin) {
    if (c == '-') continue;
    const auto value = hex_value(c);
    if (!value || digits == 32) return std::nullopt;
    const unsigned shift = digits % 2 == 0 ? 4 : 0;
    auto& low = range.low.bytes[digits / 2];
    auto& high = range.high.bytes[digits / 2];
    low = static_cast<std::uint8_t>(low | (*value << shift));
    high = static_cast<std::uint8_t>((high & ~(0xfU << shift)) | (*value << shift));
    ++digits;
  }
  return digits == 0 ? std::nullopt : std::optional(range);
}

/// Folded ids, and those derived of one id, agree with what is asked up to byte 6.
IdRange up_to_version(IdRange range) {
  std::fill(range.low.bytes.begin() + 6, range.low.bytes.end(), std::uint8_t{0});
  std::fill(range.high.bytes.begin() + 6, range.high.bytes.end(), std::uint8_t{0xff});
  return range;
}

// ---- lines of lists -----------------------------------------------------------------------------

constexpr std::string_view account_columns =
    "select x.id, x.email, f.display_name, a.balance, a.held, a.seq, a.pending,"
    "  coalesce(t.created_at, o.at)"
    " from (select u, balance, held, seq, pending, head from tally_account";
constexpr std::string_view account_joins =
    ") a join tally_user x on x.u = a.u left join tally_profile f on f.u = a.u"
    " left join tally_entry n on n.e = a.head left join tally_entry_kind k on k.kind = n.kind"
    " left join tally_operation o on o.o = n.e - k.ordinal"
    " left join tally_entry_text t on t.e = n.e";

std::string accounts_sql(AccountOrder order) {
  static constexpr std::array<std::string_view, account_order_names.size()> columns{
      "head desc", "balance desc", "held desc",
      "seq desc",  "pending desc", "(select id from tally_user x where x.u = tally_account.u)"};
  // What is behind the limit is joined with nothing; the same order again, since a join has none.
  const std::string by(columns[static_cast<std::size_t>(order)]);
  const std::string again = order == AccountOrder::id ? "x.id" : "a." + by;
  return std::string(account_columns) + " order by " + by + ", u limit ?1 offset ?2" +
         std::string(account_joins) + " order by " + again + ", a.u";
}

AccountLine read_account(const Query& query) {
  AccountLine line;
  line.user_id = query.column<Uuid>(0);
  line.email = query.column<std::optional<std::string>>(1);
  line.display_name = query.column<std::optional<std::string>>(2);
  line.check = {Credits{query.column<std::int64_t>(3)}, Credits{query.column<std::int64_t>(4)},
                query.column<std::int64_t>(5), query.column<std::int64_t>(6)};
  line.last_entry_at = query.column<std::optional<Timestamp>>(7);
  return line;
}

constexpr std::string_view job_columns =
    "select w.j, w.id, x.id, q.title, w.status, coalesce(w.progress, 0), w.hold,"
    "  w.cost_credits_final, w.created_at, w.started_at, w.finished_at,"
    "  t.status_message, t.failed_step, t.error_code"
    " from tally_job w join tally_user x on x.u = w.u"
    " join tally_project q on q.p = w.p left join tally_job_text t on t.j = w.j";

JobLine read_job(const Query& query) {
  JobLine line;
  line.number = query.column<std::int64_t>(0);
  line.job_id = unfolded(query.column<Uuid>(1));
  line.user_id = query.column<Uuid>(2);
  line.title = query.column<std::string>(3);
  line.status = query.column<JobStatus>(4);
  line.progress = query.column<std::int64_t>(5);
  line.hold = Credits{query.column<std::int64_t>(6)};
  if (!query.is_null(7)) line.cost_final = Credits{query.column<std::int64_t>(7)};
  line.created_at = query.column<std::optional<Timestamp>>(8);
  line.started_at = query.column<std::optional<Timestamp>>(9);
  line.finished_at = query.column<std::optional<Timestamp>>(10);
  line.status_message = query.column<std::optional<std::string>>(11);
  line.failed_step = query.column<std::optional<std::string>>(12);
  line.error_code = query.column<std::optional<std::string>>(13);
  return line;
}

}  // namespace

// ---- every entry, in little ---------------------------------------------------------------------

/// Each user's entries in account order, since the file has no index by user. What is appended to
/// the file is appended here; where entries were rewritten, by a rebase, all is read anew.
class Inspection::Steps {
 public:
  struct Step {
    std::int64_t e;
    std::int64_t j;  ///< 0: of no job.
    std::int32_t balance;
    std::int32_t held;
  };
  using Line = std::vector<Step>;

  void follow(SQLite::Database& db) {
    Query epoch(db, "select value from tally_meta where name = 'epoch'");
    epoch.step();
    if (const auto now = epoch.column<std::uint64_t>(0); now != epoch_) {
      *this = Steps();
      epoch_ = now;
    }
    Query entries(db,
                  "select n.e, n.u, n.j, n.amount, n.balance_after, k.type in ('reserve', 'refund')"
                  " from tally_entry n join tally_entry_kind k on k.kind = n.kind"
                  " where n.e > ? order by n.e");
    entries.bind(last_);
    while (entries.step()) add(entries);
  }

  const Line& of(std::int64_t u) const {
    static const Line none;
    const auto found = lines_.find(u);
    return found == lines_.end() ? none : found->second;
  }
  std::int64_t count() const noexcept { return count_; }

 private:
  /// What a job's entries hold counts from its latest negative reserve on; older ones do not.
  std::int64_t held_after(std::int64_t held_before, std::int64_t j, std::int64_t amount) {
    std::int64_t& hold = holds_[j];
    const std::int64_t before = hold;
    hold = amount < 0 ? -amount : std::max<std::int64_t>(before - amount, 0);
    const std::int64_t change = hold - before;
    if (hold == 0) holds_.erase(j);
    return held_before + change;
  }

  void add(const Query& entry) {
    last_ = entry.column<std::int64_t>(0);
    const auto j = entry.column<std::int64_t>(2);
    Line& line = lines_[entry.column<std::int64_t>(1)];
    std::int64_t held = line.empty() ? 0 : line.back().held;
    if (j != 0 && entry.column<int>(5) != 0)
      held = held_after(held, j, entry.column<std::int64_t>(3));
    line.push_back({last_, j, entry.column<std::int32_t>(4), static_cast<std::int32_t>(held)});
    ++count_;
  }

  std::uint64_t epoch_ = std::numeric_limits<std::uint64_t>::max();  ///< None.
  std::int64_t last_ = 0;
  std::int64_t count_ = 0;
  std::unordered_map<std::int64_t, Line> lines_;
  std::unordered_map<std::int64_t, std::int64_t> holds_;  ///< Open ones, by job.
};

namespace {

/// Places in a line, of the seqs asked for: the first, and the one behind the last.
std::pair<std::size_t, std::size_t> places(std::size_t count, std::int64_t from_seq,
                                           std::int64_t to_seq) {
  const auto end = static_cast<std::size_t>(
      std::clamp<std::int64_t>(to_seq, 0, static_cast<std::int64_t>(count)));
  const auto first = static_cast<std::size_t>(
      std::clamp<std::int64_t>(from_seq - 1, 0, static_cast<std::int64_t>(end)));
  return {first, end};
}

/// The entries from one place of a line to another, as one step of a chart.
template <class Line>
ChartStep chart_step(EntryReader& reader, const Line& line, std::size_t first, std::size_t end) {
  ChartStep step;
  step.first_seq = static_cast<std::int64_t>(first) + 1;
  step.last_seq = static_cast<std::int64_t>(end);
  std::int64_t balance = first == 0 ? 0 : line[first - 1].balance;
  step.low = step.high = Credits{line[first].balance};
  for (std::size_t i = first; i < end; ++i) {
    const Credits after{line[i].balance};
    const std::int64_t amount = after.value - balance;
    (amount < 0 ? step.went : step.came).value += std::abs(amount);
    step.low = std::min(step.low, after);
    step.high = std::max(step.high, after);
    balance = after.value;
  }
  step.balance = Credits{balance};
  step.held = Credits{line[end - 1].held};
  if (reader.seek(line[first].e)) step.from = reader.created_at();
  if (end - first == 1) step.entry = reader.entry();
  if (reader.seek(line[end - 1].e)) step.to = reader.created_at();
  return step;
}

// ---- the search ---------------------------------------------------------------------------------

/// One search, by an open snapshot.
class Search {
 public:
  Search(SQLite::Database& db, const IdRange& range, std::size_t limit)
      : db_(db), range_(range), limit_(limit) {}

  std::vector<Found> run() {
    // Queries answer an id, and where they have them the user, the job (folded) and an entry's seq.
    plain(FoundKind::user,
          "select id, id, null, null from tally_user where id between ? and ? order by id");
    folded_ids(FoundKind::job,
               "select w.id, x.id, w.id, null from tally_job w join tally_user x on x.u = w.u"
               " where w.id between ? and ? order by w.id");
    plain(FoundKind::project,
          "select q.id, x.id, null, null from tally_project q join tally_user x on x.u = q.u"
          " where q.id between ? and ? order by q.id");
    entries();
    folded_ids(FoundKind::operation,
               "select o.id, x.id, w.id, n.seq from tally_operation o"
               " left join tally_user x on x.u = o.u left join tally_entry n on n.e = o.o"
               " left join tally_job w on w.j = n.j where o.id between ? and ? order by o.id");
    plain(FoundKind::draft,
          "select d.id, x.id, null, null from tally_draft d left join tally_user x on x.u = d.u"
          " where d.id between ? and ? order by d.id");
    plain(FoundKind::voice_profile,
          "select v.id, x.id, null, null from tally_voice_profile v join tally_user x on x.u = v.u"
          " where v.id between ? and ? order by v.id");
    plain(FoundKind::asset,
          "select a.id, x.id, w.id, null from tally_asset a join tally_job w on w.j = a.j"
          " join tally_user x on x.u = w.u where a.id between ? and ? order by a.id");
    plain(FoundKind::lease,
          "select l.id, x.id, null, null from tally_lease l join tally_user x on x.u = l.u"
          " where l.id between ? and ? order by l.id");
    plain(FoundKind::device,
          "select device_id, null, null, null from tally_link where device_id between ? and ?");
    return std::move(found_);
  }

 private:
  void plain(FoundKind kind, std::string_view sql) {
    Query query(db_, sql);
    query.bind(range_.low, range_.high);
    for (std::size_t n = 0; n < limit_ && query.step(); ++n)
      found_.push_back(read(kind, query, query.column<Uuid>(0)));
  }

  void folded_ids(FoundKind kind, std::string_view sql) {
    Query query(db_, sql);
    const IdRange wide = up_to_version(range_);
    query.bind(wide.low, wide.high);
    for (std::size_t n = 0; n < limit_ && query.step();) {
      const Uuid id = unfolded(query.column<Uuid>(0));
      if (!range_.holds(id)) continue;
      found_.push_back(read(kind, query, id));
      ++n;
    }
  }

  /// Operations first, in the order of their index: of many it is read no further than the limit.
  /// Their ids are derived of their operations', but for those that have one of their own.
  void entries() {
    constexpr std::string_view of_operation =
        "select o.id, x.id, w.id, n.seq, k.ordinal from tally_operation o"
        " cross join tally_entry n on n.e between o.o and o.o + 3"
        " cross join tally_entry_kind k on k.kind = n.kind and n.e - k.ordinal = o.o"
        " left join tally_entry_text t on t.e = n.e"
        " join tally_user x on x.u = n.u left join tally_job w on w.j = n.j"
        " where o.id between ? and ? and t.id is null order by o.id";
    Query query(db_, of_operation);
    const IdRange wide = up_to_version(range_);
    query.bind(wide.low, wide.high);
    std::size_t n = 0;
    while (n < limit_ && query.step()) {
      const Uuid id = unfolded(query.column<Uuid>(0)).derived(query.column<unsigned>(4));
      if (!range_.holds(id)) continue;
      found_.push_back(read(FoundKind::entry, query, id));
      ++n;
    }
    plain(FoundKind::entry,
          "select t.id, x.id, w.id, n.seq from tally_entry_text t join tally_entry n on n.e = t.e"
          " join tally_user x on x.u = n.u left join tally_job w on w.j = n.j"
          " where t.id between ? and ? order by t.id");
  }

  static Found read(FoundKind kind, const Query& query, const Uuid& id) {
    Found found;
    found.kind = kind;
    found.id = id;
    found.user_id = query.column<std::optional<Uuid>>(1);
    if (!query.is_null(2)) found.job_id = unfolded(query.column<Uuid>(2));
    found.seq = query.column<std::optional<std::int64_t>>(3);
    return found;
  }

  SQLite::Database& db_;
  IdRange range_;
  std::size_t limit_;
  std::vector<Found> found_;
};

}  // namespace

// ---- the facade ---------------------------------------------------------------------------------

Inspection::Inspection(const Engine& engine) : engine_(engine), steps_(std::make_unique<Steps>()) {}
Inspection::~Inspection() = default;

std::uint64_t Inspection::change() const noexcept { return engine_.impl_->change(); }

Result<MirrorOverview> Inspection::overview() noexcept {
  return guarded<MirrorOverview>([&]() -> Result<MirrorOverview> {
    Engine::Impl::Reader reader(*engine_.impl_);
    steps_->follow(reader.db());
    MirrorOverview out;
    out.entries = steps_->count();
    Query accounts(reader.db(),
                   "select count(*), coalesce(sum(balance), 0), coalesce(sum(held), 0),"
                   " (select count(*) from tally_project), (select count(*) from tally_draft),"
                   " coalesce((select n + operations - 1 from tally_outbox order by n desc limit 1)"
                   " - coalesce((select acked from tally_link), 0), 0) from tally_account");
    accounts.step();
    out.users = accounts.column<std::int64_t>(0);
    out.balance = accounts.column<std::int64_t>(1);
    out.held = accounts.column<std::int64_t>(2);
    out.projects = accounts.column<std::int64_t>(3);
    out.drafts = accounts.column<std::int64_t>(4);
    out.pending_operations = accounts.column<std::int64_t>(5);
    Query jobs(reader.db(), "select status, count(*) from tally_job group by status");
    while (jobs.step()) {
      const auto status = static_cast<std::size_t>(jobs.column<JobStatus>(0));
      out.jobs[status] = jobs.column<std::int64_t>(1);
    }
    return out;
  });
}

Result<std::vector<AccountLine>> Inspection::accounts(AccountOrder order, std::size_t offset,
                                                      std::size_t limit) noexcept {
  return guarded<std::vector<AccountLine>>([&]() -> Result<std::vector<AccountLine>> {
    Engine::Impl::Reader reader(*engine_.impl_);
    Query query(reader.db(), accounts_sql(order));
    query.bind(static_cast<std::int64_t>(limit), static_cast<std::int64_t>(offset));
    std::vector<AccountLine> lines;
    while (query.step()) lines.push_back(read_account(query));
    return lines;
  });
}

Result<AccountLine> Inspection::account(const Uuid& user_id) noexcept {
  return guarded<AccountLine>([&]() -> Result<AccountLine> {
    Engine::Impl::Reader reader(*engine_.impl_);
    const std::int64_t u = require_user(reader.db(), user_id);
    Query query(reader.db(),
                std::string(account_columns) + " where u = ?" + std::string(account_joins));
    if (!query.bind(u).step()) refuse(Code::user_not_found, "no account " + user_id.text());
    return read_account(query);
  });
}

Result<std::vector<Entry>> Inspection::entries(const Uuid& user_id, std::int64_t from_seq,
                                               std::int64_t to_seq) noexcept {
  return guarded<std::vector<Entry>>([&]() -> Result<std::vector<Entry>> {
    Engine::Impl::Reader reader(*engine_.impl_);
    steps_->follow(reader.db());
    const Steps::Line& line = steps_->of(require_user(reader.db(), user_id));
    const auto [first, end] = places(line.size(), from_seq, to_seq);
    EntryReader reading(reader.db());
    std::vector<Entry> out;
    for (std::size_t i = first; i < end; ++i) {
      if (reading.seek(line[i].e)) out.push_back(reading.entry());
    }
    return out;
  });
}

Result<Chart> Inspection::chart(const Uuid& user_id, std::int64_t from_seq, std::int64_t to_seq,
                                std::size_t steps_max) noexcept {
  return guarded<Chart>([&]() -> Result<Chart> {
    Engine::Impl::Reader reader(*engine_.impl_);
    steps_->follow(reader.db());
    const Steps::Line& line = steps_->of(require_user(reader.db(), user_id));
    const auto [first, end] = places(line.size(), from_seq, to_seq);
    Chart chart;
    if (first > 0) {
      chart.before = Credits{line[first - 1].balance};
      chart.held_before = Credits{line[first - 1].held};
    }
    const std::size_t most = std::max<std::size_t>(steps_max, 1);
    const std::size_t each = std::max<std::size_t>((end - first + most - 1) / most, 1);
    EntryReader reading(reader.db());
    for (std::size_t i = first; i < end; i += each)
      chart.steps.push_back(chart_step(reading, line, i, std::min(i + each, end)));
    return chart;
  });
}

Result<std::vector<JobLine>> Inspection::jobs(std::uint32_t statuses,
                                              std::optional<std::int64_t> before_number,
                                              std::optional<Uuid> user_id,
                                              std::size_t limit) noexcept {
  return guarded<std::vector<JobLine>>([&]() -> Result<std::vector<JobLine>> {
    Engine::Impl::Reader reader(*engine_.impl_);
    std::optional<std::int64_t> u;
    if (user_id) u = require_user(reader.db(), *user_id);
    Query query(reader.db(),
                std::string(job_columns) +
                    " where w.j < ?1 and (?2 >> w.status) & 1 and (?3 is null or w.u = ?3)"
                    " order by w.j desc limit ?4");
    query.bind(before_number.value_or(std::numeric_limits<std::int64_t>::max()),
               static_cast<std::int64_t>(statuses), u, static_cast<std::int64_t>(limit));
    std::vector<JobLine> lines;
    while (query.step()) lines.push_back(read_job(query));
    return lines;
  });
}

Result<std::vector<JobLine>> Inspection::held_jobs(const Uuid& user_id,
                                                   std::size_t limit) noexcept {
  return guarded<std::vector<JobLine>>([&]() -> Result<std::vector<JobLine>> {
    Engine::Impl::Reader reader(*engine_.impl_);
    Query query(reader.db(), std::string(job_columns) + " where w.j in (" +
                                 std::string(select_held_jobs) + ") order by w.j desc limit ?2");
    query.bind(require_user(reader.db(), user_id), static_cast<std::int64_t>(limit));
    std::vector<JobLine> lines;
    while (query.step()) lines.push_back(read_job(query));
    return lines;
  });
}

Result<std::vector<Entry>> Inspection::entries_of_job(const Uuid& job_id) noexcept {
  return guarded<std::vector<Entry>>([&]() -> Result<std::vector<Entry>> {
    Engine::Impl::Reader reader(*engine_.impl_);
    steps_->follow(reader.db());
    Query job(reader.db(), "select j, u from tally_job where id = ?");
    const Uuid key = folded(job_id);
    if (!job.bind(key).step()) refuse(Code::job_not_found, "no job " + job_id.text());
    EntryReader reading(reader.db());
    std::vector<Entry> out;
    for (const Steps::Step& step : steps_->of(job.column<std::int64_t>(1))) {
      if (step.j == job.column<std::int64_t>(0) && reading.seek(step.e))
        out.push_back(reading.entry());
    }
    return out;
  });
}

Result<std::vector<Found>> Inspection::find(std::string_view id_begin, std::size_t limit) noexcept {
  return guarded<std::vector<Found>>([&]() -> Result<std::vector<Found>> {
    const auto range = id_range(id_begin);
    if (!range) refuse(Code::invalid_argument, "an id begins with up to 32 hex digits");
    Engine::Impl::Reader reader(*engine_.impl_);
    return Search(reader.db(), *range, limit).run();
  });
}

}  // namespace tally
