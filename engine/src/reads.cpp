// The engine's readers over the file: accounts, history, rows of the views, digests, the audit.

#include <algorithm>
#include <array>
#include <boost/multiprecision/cpp_int.hpp>
#include <map>
#include <set>
#include <unordered_map>

#include "engine_impl.hpp"
#include "entry_reader.hpp"
#include "outbox.hpp"
#include "reads.hpp"

namespace tally {
namespace {

/// How each of the PRD's tables finds its user; the digest goes over them in this order.
struct UserTable {
  std::string_view name;
  std::string_view user;  ///< The user's id, from the view `t`; empty where it is the job's.
  bool digested = true;
};
constexpr std::array user_tables{
    UserTable{"profiles", "t.id"},
    UserTable{"credit_ledger", "t.user_id"},
    UserTable{"draft_prompts", "t.user_id"},
    UserTable{"projects", "t.user_id"},
    UserTable{"jobs", "t.user_id"},
    UserTable{"job_steps", {}},
    UserTable{"assets", {}},
    UserTable{"voice_profiles", "t.user_id"},
    UserTable{"users", "t.id", false},
};

std::string select_rows(const UserTable& table, bool of_one_user) {
  std::string sql = "select t.* from " + std::string(table.name) + " t";
  if (of_one_user && table.user.empty()) {
    sql += " where t.job_id in (select id from jobs where user_id = ?)";
  } else if (of_one_user) {
    sql += " where " + std::string(table.user) + " = ?";
  }
  return sql;
}

const UserTable* find_table(std::string_view name) {
  const auto table = std::find_if(user_tables.begin(), user_tables.end(),
                                  [&](const UserTable& row) { return row.name == name; });
  return table == user_tables.end() ? nullptr : &*table;
}

ViewRow read_view_row(const Query& query) {
  ViewRow row;
  for (int i = 0; i < query.column_count(); ++i) {
    row.emplace_back(query.column_name(i), query.column<std::optional<std::string>>(i));
  }
  return row;
}

std::vector<ViewRow> read_view_rows(Query& query) {
  const Rewind rewind(query);
  std::vector<ViewRow> rows;
  while (query.step()) rows.push_back(read_view_row(query));
  return rows;
}

/// Of the row's columns from `first` on.
std::uint64_t row_digest(std::string_view table, const Query& query, int first) {
  std::string text(table);
  for (int i = first; i < query.column_count(); ++i) {
    const auto value = query.column<std::optional<std::string>>(i);
    text += value ? std::to_string(value->size()) + ":" + *value : "-";
  }
  const platform::Sha256 hash = platform::sha256(text);
  std::uint64_t word = 0;
  for (int i = 0; i < 8; ++i) word = (word << 8U) | hash[static_cast<std::size_t>(i)];
  return word;
}

// ---- audit ------------------------------------------------------------------------------------

using Exact = boost::multiprecision::cpp_int;

/// Everything recomputed from the entries in one pass over the file, beside what the file says.
class Audit {
 public:
  Audit(SQLite::Database& db, const Watch& watch) : db_(db), watch_(watch) {}

  /// Nothing where the watch ended it.
  std::optional<AuditReport> run() {
    if (!watch_) return recomputed();
    total_ = count_entries();
    const Watched watched(db_, [&] { return watch_(report_.entries, total_); });
    try {
      return recomputed();
    } catch (const SQLite::Exception& e) {
      if (e.getErrorCode() == SQLITE_INTERRUPT) return std::nullopt;
      throw;
    }
  }

 private:
  std::optional<AuditReport> recomputed() {
    check_file();
    check_words();
    read_jobs();
    if (!walk_entries()) return std::nullopt;
    find_entries_of_nothing();
    find_forgotten_payments();
    compare_accounts();
    compare_jobs();
    compare_pending();
    return std::move(report_);
  }

  struct Sums {
    Exact balance = 0;
    Exact held = 0;
    std::int64_t seq = 0;
    std::int64_t head = 0;
  };
  struct Job {
    std::int64_t u = 0;
    std::int64_t hold = 0;  ///< As the row says.
    Exact computed = 0;     ///< As the entries say.
    JobStatus status = JobStatus::PENDING;
  };

  void find(std::string_view invariant, std::int64_t u, std::string detail) {
    Query user(db_, "select id from tally_user where u = ?");
    user.bind(u);
    Finding finding{std::string(invariant), {}, std::move(detail)};
    if (user.step()) finding.user_id = user.column<Uuid>(0);
    report_.findings.push_back(std::move(finding));
  }

  /// Pages, indexes and constraints as SQLite knows them, and rows that others refer to.
  void check_file() {
    Query pages(db_, "pragma integrity_check");
    while (pages.step()) {
      if (auto said = pages.column<std::string>(0); said != "ok") find("file", 0, std::move(said));
    }
    Query references(db_, "pragma foreign_key_check");
    while (references.step()) {
      find("file", 0,
           "row " + references.column<std::string>(1) + " of " + references.column<std::string>(0) +
               " refers to a row of " + references.column<std::string>(2) + " that is not there");
    }
  }

  /// The words that rows have their texts and places from are the same in every mirror.
  void check_words() {
    const auto words_of = [](SQLite::Database& db) {
      std::vector<std::vector<ViewRow>> words;
      for (const char* select : {"select * from tally_entry_kind order by kind",
                                 "select * from tally_step_name order by step_order"}) {
        Query rows(db, select);
        words.push_back(read_view_rows(rows));
      }
      return words;
    };
    static const auto words = [&] {
      SQLite::Database db = empty_mirror();
      return words_of(db);
    }();
    if (words_of(db_) != words)
      find("file", 0, "the kinds of entries or the names of steps are not the engine's");
  }

  void read_jobs() {
    Query jobs(db_, "select j, u, hold, status from tally_job");
    while (jobs.step()) {
      jobs_[jobs.column<std::int64_t>(0)] = Job{
          jobs.column<std::int64_t>(1), jobs.column<std::int64_t>(2), 0, jobs.column<JobStatus>(3)};
      ++report_.jobs;
    }
  }

  std::int64_t count_entries() {
    Query count(db_, "select count(*) from tally_entry");
    count.step();
    return count.column<std::int64_t>(0);
  }

  /// False where the watch ended it.
  bool walk_entries() {
    Query entries(
        db_,
        "select n.e, n.u, n.seq, n.prev, n.j, n.amount, n.balance_after, k.type"
        " from tally_entry n left join tally_entry_kind k on k.kind = n.kind order by n.e");
    while (entries.step()) {
      constexpr std::int64_t look_every = 10'000;
      if (watch_ && report_.entries % look_every == 0 && !watch_(report_.entries, total_))
        return false;
      ++report_.entries;
      const auto e = entries.column<std::int64_t>(0);
      const auto u = entries.column<std::int64_t>(1);
      const auto amount = entries.column<std::int64_t>(5);
      const auto type = entries.column<std::string>(7);
      const std::string which = "entry " + std::to_string(e);
      Sums& sums = sums_[u];
      if (entries.column<std::int64_t>(2) != sums.seq + 1) {
        find("I4", u,
             which + " has seq " + entries.column<std::string>(2) + " after " +
                 std::to_string(sums.seq));
      }
      if (const auto prev = entries.column<std::int64_t>(3);
          prev != (sums.head == 0 ? 0 : e - sums.head)) {
        find("I3", u, which + " does not follow the user's entry before it");
      }
      sums.balance += amount;
      if (Exact(entries.column<std::int64_t>(6)) != sums.balance) {
        find("I4", u,
             which + " says balance_after " + entries.column<std::string>(6) +
                 ", the entries add up to " + sums.balance.str());
      }
      if (sums.balance < 0) find("I2", u, which + " takes the balance below zero");
      if (entries.is_null(7)) find("I3", u, which + " is of no kind that there is");
      sums.seq = entries.column<std::int64_t>(2);
      sums.head = e;
      if (!entries.is_null(4)) walk_job(entries.column<std::int64_t>(4), u, type, amount, which);
    }
    return true;
  }

  /// An entry has its id and its time from its operation, or of its own.
  void find_entries_of_nothing() {
    Query entries(db_,
                  "select e, u, is_nameless from"
                  " (select n.e, n.u, t.id is null and o.o is null as is_nameless,"
                  "    coalesce(t.created_at, o.at) as at"
                  "  from tally_entry n join tally_entry_kind k on k.kind = n.kind"
                  "  left join tally_operation o on o.o = n.e - k.ordinal"
                  "  left join tally_entry_text t on t.e = n.e)"
                  " where is_nameless or at not between ? and ?");
    entries.bind(Timestamp::us_min, Timestamp::us_max);
    while (entries.step())
      find("I3", entries.column<std::int64_t>(1),
           "entry " + entries.column<std::string>(0) +
               (entries.column<int>(2) != 0 ? " has lost its operation" : " is of no time"));
  }

  /// What an entry was paid with is not credited again.
  void find_forgotten_payments() {
    Query entries(db_,
                  "select n.u, t.stripe_payment_id from tally_entry_text t"
                  " join tally_entry n on n.e = t.e where t.stripe_payment_id is not null"
                  " and t.stripe_payment_id not in (select stripe_payment_id from tally_payment)");
    while (entries.step())
      find("I6", entries.column<std::int64_t>(0),
           "payment " + entries.column<std::string>(1) + " is forgotten");
  }

  void walk_job(std::int64_t j, std::int64_t u, const std::string& type, std::int64_t amount,
                const std::string& which) {
    const auto found = jobs_.find(j);
    if (found == jobs_.end()) return;  // The job was deleted.
    Job& job = found->second;
    if (job.u != u) find("I5", u, which + " is of a job of another user");
    if (type == "reserve" && amount < 0) {
      if (job.computed != 0) find("I5", u, which + " opens a second hold");
      job.computed = -amount;
    } else if (type == "reserve" || type == "refund") {
      // Settling above the hold takes the whole of it back first; within it, the price and the
      // rest.
      job.computed -= amount;
      if (job.computed < 0) find("I5", u, which + " closes more than was held");
    }
  }

  void compare_accounts() {
    Query accounts(db_, "select u, balance, held, seq, head from tally_account");
    std::map<std::int64_t, Exact> held;
    for (const auto& [j, job] : jobs_) held[job.u] += job.computed;
    // A device's account also counts what leases hold, which only canonical knows of all devices.
    Query link(db_, "select count(*) from tally_link");
    const bool has_leases = link.step() && link.column<int>(0) > 0;
    while (accounts.step()) {
      ++report_.users;
      const auto u = accounts.column<std::int64_t>(0);
      const Sums& sums = sums_[u];
      if (sums.balance != accounts.column<std::int64_t>(1)) {
        find("I1", u,
             "the balance is " + accounts.column<std::string>(1) + ", the entries add up to " +
                 sums.balance.str());
      }
      if (held[u] != accounts.column<std::int64_t>(2) &&
          !(has_leases && held[u] < accounts.column<std::int64_t>(2))) {
        find("I5", u,
             "the account says that " + accounts.column<std::string>(2) +
                 " are held, the entries " + held[u].str());
      }
      if (sums.seq != accounts.column<std::int64_t>(3) ||
          sums.head != accounts.column<std::int64_t>(4)) {
        find("I3", u, "the account's last entry is not the user's last entry");
      }
      sums_.erase(u);
    }
    for (const auto& [u, sums] : sums_) find("I1", u, "entries without an account");
  }

  void compare_jobs() {
    for (const auto& [j, job] : jobs_) {
      if (job.hold != job.computed) {
        find("I5", job.u,
             "job " + std::to_string(j) + " says that " + std::to_string(job.hold) +
                 " are held, its entries " + job.computed.str());
      }
      if (job.computed != 0 &&
          (job.status == JobStatus::READY || job.status == JobStatus::FAILED)) {
        find("I5", job.u, "job " + std::to_string(j) + " has ended with an open hold");
      }
    }
  }

  /// Every pending operation is there, under its number, as it was applied.
  void compare_pending() {
    const auto link = read_link(db_);
    const std::int64_t acked = link ? link->acked : 0;
    std::int64_t last = acked;
    std::map<std::int64_t, std::int64_t> pending, from_before;
    RecordCheck applied(db_);
    PendingUsers users(db_);
    const Rebased rebased = read_rebased(db_, acked);
    std::set<std::int64_t> numbers;  // Where what stands begins.
    Query taken(db_, "select 1 from tally_operation where o = ? and id = ? and u = ?");
    for_each_pending(db_, acked, [&](std::int64_t n, std::string_view bytes, const Body& body) {
      const Record record = decode(n, bytes, body);
      if (n != last + 1)
        find("I9", record.u, "pending operation " + std::to_string(last + 1) + " is missing");
      const std::string which = "pending operation " + std::to_string(n);
      const Command command = record.command();
      if (!applied.is_as_applied(record, command))
        find("I6", record.u, which + " is not what was applied");
      const auto again = rebased.find(n);
      const bool is_rebased = again != rebased.end();
      const Record standing = is_rebased ? decode(n, bytes, body, rebased) : record;
      if (is_rebased && ((standing.u != record.u && users.is_here(record.u)) ||
                         standing.command().op_id != command.op_id))
        find("I6", record.u, which + " was applied as another");
      if (!standing.is_queued() && !standing.took_none() && !numbers.insert(standing.o).second)
        find("I6", record.u, which + " is another once more");
      // One without effect leaves its op_id to others; one that is ok does not.
      const Rewind rewind(taken);
      if (is_rebased && again->second.first == Code::ok && standing.took_none() &&
          taken.bind(standing.o, folded(command.op_id), standing.u).step())
        find("I6", record.u, which + " took a number, not none");
      const std::int64_t u = users.key_of(record);
      ++(u == record.u ? pending : from_before)[u];
      last = n;
      return true;
    });
    Query accounts(db_, "select u, pending from tally_account");
    while (accounts.step()) {
      const auto u = accounts.column<std::int64_t>(0);
      const auto counted = accounts.column<std::int64_t>(1);
      // What waits of a user who was made anew is counted when it is next applied again.
      if (counted < pending[u] || counted > pending[u] + from_before[u]) {
        find("I9", u,
             "the account says that " + accounts.column<std::string>(1) +
                 " operations are pending, there are " + std::to_string(pending[u]));
      }
    }
  }

  SQLite::Database& db_;
  const Watch& watch_;
  std::int64_t total_ = 0;  ///< Entries; counted for a watch alone.
  std::map<std::int64_t, Sums> sums_;
  std::map<std::int64_t, Job> jobs_;
  AuditReport report_;
};

/// A view's rows of one row of the table beneath it. The view's ids are texts that it makes, which
/// no index finds: so this is the view's own select, in which that table is cut down to the row.
Query narrowed(SQLite::Database& db, std::string_view view, std::string_view table,
               std::string_view key, std::string_view order = {}) {
  Query definition(db, "select sql from sqlite_schema where type = 'view' and name = ?");
  if (!definition.bind(view).step())
    throw Failure{Code::corrupt, "the mirror has no view " + std::string(view)};
  const auto sql = definition.column<std::string>(0);
  // create view NAME (COLUMNS) as SELECT
  constexpr std::string_view as = ") as";
  const std::size_t columns = sql.find('(');
  const std::size_t select = sql.find(as);
  if (columns == std::string::npos || select == std::string::npos || select < columns)
    throw Failure{Code::corrupt, "the view " + std::string(view) + " is not the engine's"};
  return Query(db, "with " + std::string(table) + " as (select * from main." + std::string(table) +
                       " where " + std::string(key) + " = ?), narrowed " +
                       sql.substr(columns, select - columns) + ") as (" +
                       sql.substr(select + as.size()) + ") select * from narrowed" +
                       std::string(order));
}

constexpr std::string_view of_the_user = " where (?1 is null or n.u = ?1)";

}  // namespace

std::int64_t require_user(SQLite::Database& db, const Uuid& user_id) {
  Query query(db, "select u from tally_user where id = ?");
  if (!query.bind(user_id).step()) throw Failure{Code::user_not_found, "no user " + user_id.text()};
  return query.column<std::int64_t>(0);
}

std::vector<OpenLease> open_leases(SQLite::Database& db, std::optional<std::int64_t> u) {
  const std::string_view whose = u ? " where l.u = ?" : "";
  Query query(db,
              "select y.id, l.id, l.unspent, l.expires_at, l.closing from tally_lease l"
              " join tally_user y on y.u = l.u" +
                  std::string(whose) + " order by y.id");
  if (u) query.bind(*u);
  std::vector<OpenLease> leases;
  while (query.step()) {
    leases.push_back({query.column<Uuid>(0), query.column<Uuid>(1),
                      Credits{query.column<std::int64_t>(2)}, query.column<Timestamp>(3),
                      query.column<int>(4) != 0});
  }
  return leases;
}

std::optional<AuditReport> audit_of(SQLite::Database& db, const Watch& watch) {
  return Audit(db, watch).run();
}

Result<Account> Engine::account(const Uuid& user_id) const noexcept {
  try {
    Impl::Reader reader(*impl_);
    Query row(reader.db(),
              "select u, balance, held, seq, pending from tally_account"
              " where u = (select u from tally_user where id = ?)");
    if (!row.bind(user_id).step()) return Error{Code::user_not_found, "no user " + user_id.text()};
    Account account;
    account.check = {Credits{row.column<std::int64_t>(1)}, Credits{row.column<std::int64_t>(2)},
                     row.column<std::int64_t>(3), row.column<std::int64_t>(4)};
    const auto u = row.column<std::int64_t>(0);
    account.leases = open_leases(reader.db(), u);
    if (account.check.held == Credits{0}) return account;
    Query holds(reader.db(), "select id, hold, reservation from tally_job where j in (" +
                                 std::string(select_held_jobs) + ") order by j");
    holds.bind(u);
    while (holds.step()) {
      account.holds.push_back({unfolded(holds.column<Uuid>(0)),
                               Credits{holds.column<std::int64_t>(1)},
                               holds.column<std::optional<Uuid>>(2)});
    }
    return account;
  } catch (...) {
    return error_in_flight();
  }
}

Result<std::vector<Entry>> Engine::history(const Uuid& user_id, std::size_t limit,
                                           std::optional<std::int64_t> before_seq) const noexcept {
  try {
    if (limit < 1 || limit > 10'000) return Error{Code::invalid_argument, "limit is 1 to 10,000"};
    Impl::Reader reader(*impl_);
    Query account(
        reader.db(),
        "select head from tally_account where u = (select u from tally_user where id = ?)");
    if (!account.bind(user_id).step())
      return Error{Code::user_not_found, "no user " + user_id.text()};
    // The user's chain, newest first.
    EntryReader reading(reader.db());
    std::vector<Entry> entries;
    for (auto e = account.column<std::int64_t>(0); e > 0 && entries.size() < limit;) {
      if (!reading.seek(e))
        return Error{Code::corrupt, "the chain of entries is broken; run an audit"};
      if (!before_seq || reading.seq() < *before_seq) entries.push_back(reading.entry());
      const std::int64_t distance = reading.distance();
      if (distance < 0 || distance >= e)
        return Error{Code::corrupt, "the chain of entries is broken; run an audit"};
      e = distance == 0 ? 0 : e - distance;
    }
    return entries;
  } catch (...) {
    return error_in_flight();
  }
}

Result<ViewRow> Engine::project(const Uuid& project_id) const noexcept {
  try {
    Impl::Reader reader(*impl_);
    Query query = narrowed(reader.db(), "projects", "tally_project", "id");
    if (!query.bind(project_id).step())
      return Error{Code::project_not_found, "no project " + project_id.text()};
    return read_view_row(query);
  } catch (...) {
    return error_in_flight();
  }
}

Result<JobView> Engine::job(const Uuid& job_id) const noexcept {
  try {
    Impl::Reader reader(*impl_);
    SQLite::Database& db = reader.db();
    Query beneath(db,
                  "select w.j, w.hold, w.claim_until, w.active_at,"
                  " coalesce(l.claimed_elsewhere, 0)"
                  " from tally_job w left join tally_job_link l on l.j = w.j where w.id = ?");
    const Uuid key = folded(job_id);
    if (!beneath.bind(key).step()) return Error{Code::job_not_found, "no job " + job_id.text()};
    const auto j = beneath.column<std::int64_t>(0);
    Query job = narrowed(db, "jobs", "tally_job", "j");
    Query steps = narrowed(db, "job_steps", "tally_job", "j", " order by step_order");
    Query assets = narrowed(db, "assets", "tally_asset", "j", " order by created_at, id");
    JobView view;
    if (job.bind(j).step()) view.job = read_view_row(job);
    view.steps = read_view_rows(steps.bind(j));
    view.assets = read_view_rows(assets.bind(j));
    view.hold = Credits{beneath.column<std::int64_t>(1)};
    view.claim_until = beneath.column<std::optional<Timestamp>>(2);
    view.active_at = beneath.column<Timestamp>(3);
    view.claimed_elsewhere = beneath.column<int>(4) != 0;
    return view;
  } catch (...) {
    return error_in_flight();
  }
}

Result<std::vector<ViewRow>> Engine::jobs(const Uuid& user_id) const noexcept {
  return rows("jobs", user_id);
}

Result<std::vector<ViewRow>> Engine::drafts(const Uuid& user_id) const noexcept {
  return rows("draft_prompts", user_id);
}

std::vector<Uuid> users_of(SQLite::Database& db) {
  Query query(db, "select id from tally_user order by id");
  std::vector<Uuid> ids;
  while (query.step()) ids.push_back(query.column<Uuid>(0));
  return ids;
}

Result<std::vector<Uuid>> Engine::users() const noexcept {
  try {
    Impl::Reader reader(*impl_);
    return users_of(reader.db());
  } catch (...) {
    return error_in_flight();
  }
}

Result<std::vector<ViewRow>> Engine::rows(std::string_view table,
                                          std::optional<Uuid> user_id) const noexcept {
  std::vector<ViewRow> all;
  const auto visited = each_row(table, user_id, [&](const ViewRow& row) {
    all.push_back(row);
    return true;
  });
  if (!visited) return visited.error();
  return all;
}

Result<std::int64_t> Engine::each_row(
    std::string_view table, std::optional<Uuid> user_id,
    const std::function<bool(const ViewRow&)>& visit) const noexcept {
  try {
    const UserTable* found = find_table(table);
    if (found == nullptr)
      return Error{Code::not_found, "the mirror has no table " + std::string(table)};
    Impl::Reader reader(*impl_);
    Query query(reader.db(), select_rows(*found, user_id.has_value()) + " order by t.id");
    const std::string user = user_id ? user_id->text() : "";
    if (user_id) query.bind(user);
    const Rewind rewind(query);
    std::int64_t count = 0;
    while (query.step()) {
      ++count;
      if (!visit(read_view_row(query))) break;
    }
    return count;
  } catch (...) {
    return error_in_flight();
  }
}

Result<std::int64_t> Engine::each_entry(
    std::optional<Uuid> user_id,
    const std::function<bool(const Uuid& user_id, const Entry&)>& visit) const noexcept {
  try {
    Impl::Reader reader(*impl_);
    std::optional<std::int64_t> u;
    if (user_id) u = require_user(reader.db(), *user_id);
    Query query(reader.db(), select_entries(", (select y.id from tally_user y where y.u = n.u)",
                                            std::string(of_the_user) + " order by n.e"));
    query.bind(u);
    const Rewind rewind(query);
    std::int64_t count = 0;
    while (query.step()) {
      ++count;
      if (!visit(query.column<Uuid>(12), read_entry(query))) break;
    }
    return count;
  } catch (...) {
    return error_in_flight();
  }
}

namespace {

/// What each type of entry came to, by user and month; SQLite sorts on disk what is too much for
/// its memory.
std::string select_months() {
  return "select y.id, strftime('%Y-%m', (at - (at % 1000000 + 1000000) % 1000000) / 1000000,"
         " 'unixepoch') as month, type, sum(amount), count(*) from ("
         "select n.u as u, coalesce(t.created_at, o.at) as at, k.type as type, n.amount as amount"
         " from tally_entry n cross join tally_entry_kind k on k.kind = n.kind"
         " left join tally_operation o on o.o = n.e - k.ordinal"
         " left join tally_entry_text t on t.e = n.e" +
         std::string(of_the_user) +
         ") x join tally_user y on y.u = x.u group by y.id, month, type order by y.id, month";
}

void add_to(Statement& statement, const Query& query) {
  const auto type = query.column<std::string>(2);
  const auto at = std::find(entry_types.begin(), entry_types.end(), type);
  if (at == entry_types.end()) throw Failure{Code::corrupt, "an entry has the type " + type};
  const Credits sum{query.column<std::int64_t>(3)};
  statement.sums[static_cast<std::size_t>(at - entry_types.begin())] = sum;
  statement.closing = Credits{bounded(statement.closing.value + sum.value)};
  statement.entries += query.column<std::int64_t>(4);
}

}  // namespace

Result<std::int64_t> Engine::each_statement(
    std::optional<Uuid> user_id,
    const std::function<bool(const Statement&)>& visit) const noexcept {
  try {
    Impl::Reader reader(*impl_);
    std::optional<std::int64_t> u;
    if (user_id) u = require_user(reader.db(), *user_id);
    Query query(reader.db(), select_months());
    query.bind(u);
    const Rewind rewind(query);
    Statement statement;
    std::int64_t count = 0;
    while (query.step()) {
      const auto user = query.column<Uuid>(0);
      const auto month = query.column<std::string>(1);
      if (statement.entries > 0 && (statement.user_id != user || statement.month != month)) {
        ++count;
        if (!visit(statement)) return count;
      }
      if (statement.user_id != user || statement.month != month) {
        const Credits opening = statement.user_id == user ? statement.closing : Credits{};
        statement = Statement{user, month, opening, {}, opening, 0};
      }
      add_to(statement, query);
    }
    if (statement.entries == 0) return count;
    visit(statement);
    return count + 1;
  } catch (...) {
    return error_in_flight();
  }
}

std::vector<std::vector<TableDigest>> digests_of(SQLite::Database& db,
                                                 std::span<const Uuid> user_ids) {
  std::vector<std::vector<TableDigest>> digests(user_ids.size());
  std::unordered_map<std::string, std::size_t> wanted;
  for (std::size_t i = 0; i < user_ids.size(); ++i) wanted.emplace(user_ids[i].text(), i);
  std::unordered_map<std::string, std::size_t> owner_of_job;
  Query jobs(db, "select id, user_id from jobs");
  while (jobs.step()) {
    const auto owner = wanted.find(jobs.column<std::string>(1));
    if (owner != wanted.end()) owner_of_job.emplace(jobs.column<std::string>(0), owner->second);
  }
  for (const UserTable& table : user_tables) {
    if (!table.digested) continue;
    for (auto& digest : digests) digest.push_back({std::string(table.name), 0, 0});
    const std::string_view owner = table.user.empty() ? "t.job_id" : table.user;
    const auto& owners = table.user.empty() ? owner_of_job : wanted;
    Query query(db,
                "select " + std::string(owner) + ", t.* from " + std::string(table.name) + " t");
    while (query.step()) {
      const auto found = owners.find(query.column<std::string>(0));
      if (found == owners.end()) continue;
      TableDigest& digest = digests[found->second].back();
      ++digest.rows;
      digest.digest += row_digest(table.name, query, 1);
    }
  }
  return digests;
}

Result<std::vector<std::vector<TableDigest>>> Engine::digests(
    std::span<const Uuid> user_ids) const noexcept {
  try {
    Impl::Reader reader(*impl_);
    return digests_of(reader.db(), user_ids);
  } catch (...) {
    return error_in_flight();
  }
}

Result<std::vector<TableDigest>> Engine::digest(const Uuid& user_id) const noexcept {
  auto all = digests(std::span(&user_id, 1));
  if (!all) return all.error();
  return std::move(all->front());
}

Result<AuditReport> Engine::audit() const noexcept {
  auto report = audit({});
  if (!report) return report.error();
  return std::move(**report);
}

Result<std::optional<AuditReport>> Engine::audit(const Watch& watch) const noexcept {
  try {
    Impl::Reader reader(*impl_);
    return audit_of(reader.db(), watch);
  } catch (...) {
    return error_in_flight();
  }
}

Result<std::int64_t> Engine::pending_operations() const noexcept {
  try {
    Impl::Reader reader(*impl_);
    Query query(
        reader.db(),
        "select coalesce((select n + operations - 1 from tally_outbox order by n desc limit 1)"
        " - coalesce((select acked from tally_link), 0), 0)");
    query.step();
    return query.column<std::int64_t>(0);
  } catch (...) {
    return error_in_flight();
  }
}

}  // namespace tally
