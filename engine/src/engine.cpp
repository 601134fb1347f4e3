#include "tally/engine.hpp"

#include <sqlite3.h>

#include <algorithm>

#include "engine_impl.hpp"
#include "fields.hpp"
#include "ids.hpp"
#include "trace_reading.hpp"

namespace tally {
namespace {

/// No commit of ours is under way: no counter, which has 32 bits, equals it.
constexpr std::uint64_t no_counter = 1ULL << 32U;

/// A commit takes so many operations at the most; those behind wait for the next.
constexpr std::size_t commit_operations_max = 8'192;

/// So many readers' connections stay open for those who read next; what more readers than that need
/// at once is closed behind them.
constexpr std::size_t idle_readers_max = 16;

std::filesystem::path prepared(const std::filesystem::path& path, const Options& options) {
  prepare_mirror(path, options);
  return path;
}

/// Reads once, so that the WAL-index is there.
SQLite::Database& opened(SQLite::Database& db) {
  Query query(db, "select value from tally_meta where name = 'epoch'");
  if (!query.step()) throw SQLite::Exception("the mirror has lost its epoch", SQLITE_CORRUPT);
  return db;
}

/// As Work has it for a verdict of its own: that of the user named, else of the job's owner; of a
/// batch, what the first of its operations gives that gives any.
std::optional<Credits> balance_in(SQLite::Database& db, const Command& command) {
  if (const auto* batch = std::get_if<Batch>(&command.operation)) {
    for (const Command& inner : batch->operations) {
      if (const auto balance = balance_in(db, inner)) return balance;
    }
    return std::nullopt;
  }
  Query balance(db,
                "select balance from tally_account where u = coalesce("
                "(select u from tally_user where id = ?), (select u from tally_job where id = ?))");
  const auto user_id = named_user(command);
  const auto job_id = named_job(command);
  const auto job = job_id ? std::optional(folded(*job_id)) : std::nullopt;
  if (!balance.bind(user_id, job).step()) return std::nullopt;
  return Credits{balance.column<std::int64_t>(0)};
}

/// For how many accounts there is to be room at once: the last key tells it without a look at all,
/// and where it is damaged, what the file has room for.
std::size_t expected_accounts(SQLite::Database& db) {
  constexpr std::int64_t max = 1'000'000;
  Query pages(db, "pragma page_count");
  pages.step();
  constexpr std::int64_t a_page = 512;  // Of accounts in a page fewer fit.
  const std::int64_t room = std::min(max, pages.column<std::int64_t>(0) * a_page);
  Query last(db, "select max(0, min(coalesce(max(u), 0), ?)) from tally_account");
  last.bind(room).step();
  return static_cast<std::size_t>(last.column<std::int64_t>(0));
}

}  // namespace

Engine::Impl::Impl(const std::filesystem::path& path, Options options)
    : open_mirror_(path),
      path_(std::filesystem::absolute(prepared(path, options))),  // Hosts change their folder.
      options_(std::move(options)),
      writer_(connect(path_, options_, true)),
      change_word_(opened(writer_)),
      seen_word_(change_word_.load()),
      own_counter_(no_counter),
      checkpoints_(writer_, path_, options_),
      transaction_(writer_, change_word_, checkpoints_),
      store_({writer_, &transaction_}),
      loader_(connect(path_, options_, false)),
      loader_begin_(loader_, "begin"),
      loader_end_(loader_, "commit"),
      changed_accounts_(opened(loader_), "select distinct u from tally_operation where o > ?"),
      load_account_(loader_,
                    "select balance, held, seq, head, pending, id from tally_account join "
                    "tally_user using (u)"
                    " where u = ?"),
      find_account_(loader_,
                    "select u, balance, held, seq, head, pending from tally_account"
                    " where u = (select u from tally_user where id = ?)"),
      latest_(loader_,
              "select coalesce((select max(o) from tally_operation), 0),"
              " (select value from tally_meta where name = 'epoch')"),
      balances_(expected_accounts(loader_)),
      work_(store_, *this, random_uuid_v4, options_.low_credits),
      link_(writer_, "select device_id, capabilities, scope from tally_link") {
  if (options_.durability == Durability::full && !options_.read_only) sync_wal(writer_);
  // Nothing is in memory yet, so memory is as current as the file was a moment ago.
  refresh(nullptr);
  work_.set_device(&device_);
  work_.set_spend_policy(options_.spend_policy);
  const Callbacks& host = options_.callbacks;
  work_.set_listens(
      {host.job_complete != nullptr, host.job_failed != nullptr, host.low_credits != nullptr});
}

// ---- memory -----------------------------------------------------------------------------------

std::optional<std::int64_t> Engine::Impl::find_user(const Uuid& user_id) const {
  return balances_.find_user(user_id);
}

std::optional<AccountRow> Engine::Impl::account(std::int64_t u) const {
  const std::lock_guard lock(memory_mutex_);
  return balances_.account(u);
}

void Engine::Impl::refresh(const Uuid* user_id) {
  const std::lock_guard lock(memory_mutex_);
  const std::uint64_t word = change_word_.load();  // Before the snapshot, which is at least as new.
  const auto read = [](Query& query, int first) {
    AccountRow row;
    row.balance = query.column<std::int64_t>(first);
    row.held = query.column<std::int64_t>(first + 1);
    row.seq = query.column<std::int64_t>(first + 2);
    row.head = query.column<std::int64_t>(first + 3);
    row.pending = query.column<std::int64_t>(first + 4);
    if (!row.is_sound())
      throw SQLite::Exception("an account has numbers that are none", SQLITE_CORRUPT);
    return row;
  };
  const auto reload = [&](std::int64_t u) {
    const Rewind rewind(load_account_);
    load_account_.bind(u);
    // Under a key that was given back there may be another user by now.
    if (load_account_.step() && balances_.is(u, load_account_.column<Uuid>(5))) {
      balances_.put(u, read(load_account_, 0));
    } else {
      balances_.forget(u);
    }
  };
  struct Snapshot {
    explicit Snapshot(Impl& impl) : end(impl.loader_end_) {
      // The one before may have had no memory to end.
      if (sqlite3_get_autocommit(impl.loader_.getHandle()) == 0) end.run();
      impl.loader_begin_.run();
    }
    ~Snapshot() {
      try {
        end.run();
      } catch (const SQLite::Exception&) {  // The next one ends it.
      }
    }
    Query& end;
  };
  const Snapshot snapshot(*this);
  const Rewind rewind_latest(latest_);
  latest_.step();
  const auto operation = latest_.column<std::int64_t>(0);
  const auto epoch = latest_.column<std::uint64_t>(1);
  if (epoch != seen_epoch_) {
    balances_.for_each(reload);
  } else if (operation > seen_operation_ && !balances_.empty()) {
    const Rewind rewind(changed_accounts_);
    changed_accounts_.bind(seen_operation_);
    while (changed_accounts_.step()) {
      const auto u = changed_accounts_.column<std::int64_t>(0);
      if (balances_.holds(u)) reload(u);
    }
  }
  if (user_id != nullptr && !balances_.find_user(*user_id)) {
    const Rewind rewind(find_account_);
    find_account_.bind(*user_id);
    if (find_account_.step()) {
      const auto u = find_account_.column<std::int64_t>(0);
      if (!Balances::is_sound(u))
        throw SQLite::Exception("a user has the number " + std::to_string(u), SQLITE_CORRUPT);
      balances_.put(u, *user_id, read(find_account_, 1));
    }
  }
  // With the epoch numbers may have been given back.
  seen_operation_ = epoch != seen_epoch_ ? operation : std::max(operation, seen_operation_);
  seen_epoch_ = epoch;
  seen_word_.store(word, std::memory_order_release);
}

// ---- the writer -------------------------------------------------------------------------------

// The first who waits commits for all who wait behind: while one group is on its way to the disk
// the next gathers in the queue.
void Engine::Impl::submit(std::vector<Command>& commands, std::vector<Verdict>& verdicts,
                          Error& failure) noexcept {
  Request request{commands, verdicts, failure};
  enqueue(request);
  if (options_.callbacks.metric) measure_answers(request);
}

void Engine::Impl::run(const Task& task, bool synced) {
  std::vector<Command> no_commands;
  std::vector<Verdict> no_verdicts;
  Error failure{Code::ok, {}};
  Request request{no_commands, no_verdicts, failure};
  request.task = &task;
  request.synced = synced;
  enqueue(request);
  if (failure.code != Code::ok) throw Failure{failure.code, failure.detail};
}

void Engine::Impl::load_device() {
  const Rewind rewind(link_);
  device_.reset();
  if (!link_.step()) return;
  device_.emplace();
  device_->device_id = link_.column<Uuid>(0);
  device_->capabilities = link_.column<unsigned>(1);
  device_->scope = link_.column<std::optional<Uuid>>(2);
}

void Engine::Impl::enqueue(Request& request) noexcept {
  std::unique_lock lock(queue_mutex_);
  const bool leads = queue_first_ == nullptr;
  (leads ? queue_first_ : queue_last_->next) = &request;
  queue_last_ = &request;
  if (!leads) {
    lock.unlock();
    if (request.await() == Turn::done) return;
    lock.lock();
  }
  const Group group = take_group();
  lock.unlock();
  const bool measures = options_.callbacks.metric != nullptr;
  std::size_t operations = 0;
  std::chrono::steady_clock::time_point started;
  if (measures) {
    started = std::chrono::steady_clock::now();
    group.for_each([&](const Request& each) { operations += each.commands.size(); });
  }
  const std::optional<Error> trouble = commit_for(group);
  const bool wrote = wrote_;
  const std::vector<Happening> happenings = work_.take_happenings();

  lock.lock();
  Request* last = group.first;
  for (std::size_t i = 1; i < group.count; ++i) last = last->next;
  Request* const next = last->next;
  queue_first_ = next;
  if (next == nullptr) queue_last_ = nullptr;
  lock.unlock();
  // The next leader first: its commit can be on its way while the others wake. A request may be
  // gone once its turn is set; only its address is used after that.
  if (next != nullptr) next->give(Turn::lead);
  group.for_each([&](Request& finished) {
    if (&finished != &request) finished.give(Turn::done);
  });
  if (measures && wrote) measure_commit(started, operations, trouble);
  tell_host(happenings);
  if (trouble) log(LogLevel::error, LogEvent::commit_failed, trouble->detail);
  checkpoints_.after_commit();
  if (const auto unmoved = checkpoints_.take_trouble())
    log(LogLevel::warning, LogEvent::wal_grows, unmoved->detail);
}

Engine::Impl::Group Engine::Impl::take_group() noexcept {
  Group group{queue_first_, 0};
  std::size_t operations = 0;
  for (const Request* request = queue_first_; request != nullptr; request = request->next) {
    operations += request->commands.size();
    const bool alone = request->task != nullptr;
    if (group.count > 0 && (alone || operations > commit_operations_max)) break;
    ++group.count;
    if (alone) break;
  }
  return group;
}

std::optional<Error> Engine::Impl::commit_for(const Group& group) noexcept {
  wrote_ = false;
  if (broken_.load(std::memory_order_relaxed)) {
    fail_group(group, Error{Code::internal, "an earlier invariant failed; reopen the mirror"});
    return std::nullopt;
  }
  const bool syncs = group.first->synced && options_.durability != Durability::full;
  struct Relax {  // What comes after is as durable as the host chose.
    Impl& impl;
    bool syncs;
    ~Relax() {
      if (syncs) (void)impl.writer_.tryExec("pragma synchronous = normal");
    }
  } const relax{*this, syncs};
  try {
    if (syncs) writer_.exec("pragma synchronous = full");
    if (!work_for(group)) {
      transaction_.roll_back();
      return std::nullopt;
    }
    wrote_ = true;
    own_counter_.store(ChangeWord::counter(transaction_.word()) + 1ULL, std::memory_order_release);
    transaction_.commit(syncs || options_.durability == Durability::full);
  } catch (...) {
    Error error = error_in_flight();
    own_counter_.store(no_counter, std::memory_order_release);
    if (transaction_.has_begun() && error.code == Code::internal)
      broken_.store(true, std::memory_order_relaxed);
    work_.drop_happenings();
    fail_group(group, error);
    abandon();
    return std::optional(std::move(error));  // A copy might not fit into memory.
  }
  try {
    publish(transaction_.word());
  } catch (...) {
    // It is committed, and the callers are told so; `seen` stays behind, so that readers refresh.
    written_before_ = false;
    own_counter_.store(no_counter, std::memory_order_release);
    return error_in_flight();
  }
  return std::nullopt;
}

/// Ends a transaction that failed; the next one reads everything anew.
void Engine::Impl::abandon() noexcept {
  written_before_ = false;
  if (sqlite3_get_autocommit(writer_.getHandle()) != 0) return transaction_.end();
  try {
    transaction_.roll_back();
  } catch (...) {
    broken_.store(true, std::memory_order_relaxed);
  }
}

/// False where nothing is to be written.
bool Engine::Impl::work_for(const Group& group) {
  const bool is_task = group.first->task != nullptr;
  const bool current = written_before_ && change_word_.load() == written_word_;
  try {
    if (current && !is_task) return apply_late(group);
  } catch (const Transaction::Overtaken&) {
    work_.take_back();
  }
  if (!transaction_.has_begun()) transaction_.begin();
  const std::uint64_t word = transaction_.word();  // Ours until we commit: we hold the write lock.
  const bool foreign = !written_before_ || word != written_word_;
  if (foreign) refresh(nullptr);
  work_.begin();
  store_.begin(Store::Known::nothing);
  if (is_task) store_.ask_for_ids();
  if (foreign) load_device();
  written_word_ = word;
  written_before_ = true;
  store_knows_ = !is_task;
  return apply_group(group);
}

/// On what memory has: it shows all that was committed up to the word.
bool Engine::Impl::apply_late(const Group& group) {
  transaction_.begin_late(written_word_);
  work_.begin();
  store_.begin(store_knows_ ? Store::Known::everything : Store::Known::nothing);
  store_knows_ = true;
  const bool writes = apply_group(group);
  // A reader may have brought balances up to another process's commit meanwhile: then rows of
  // before and after it were mixed.
  if (!transaction_.has_begun() && change_word_.load() != written_word_)
    throw Transaction::Overtaken{};
  return writes;
}

/// False where nothing is to be written.
bool Engine::Impl::apply_group(const Group& group) {
  if (const Task* task = group.first->task) {
    (*task)(store_, work_);
    load_device();
    store_.flush();
    return true;
  }
  const std::int64_t before = store_.next_number();
  const std::int64_t queued_before = store_.next_outbox_number();
  group.for_each([&](Request& request) {
    request.verdicts.resize(request.commands.size());
    for (std::size_t i = 0; i < request.commands.size(); ++i) {
      request.verdicts[i] = work_.apply(request.commands[i]);
    }
  });
  if (store_.next_number() == before && store_.next_outbox_number() == queued_before) return false;
  store_.flush();
  return true;
}

void Engine::Impl::fail_group(const Group& group, const Error& error) noexcept {
  group.for_each([&](Request& request) {
    request.verdicts.clear();
    request.failure.code = error.code;
    try {
      request.failure.detail = error.detail;
    } catch (const std::bad_alloc&) {
      request.failure.detail.clear();  // The code alone has to do.
    }
  });
}

void Engine::Impl::publish(std::uint64_t word_before) {
  store_.committed();
  const std::lock_guard lock(memory_mutex_);
  const std::uint64_t word = change_word_.load();
  written_before_ = ChangeWord::counter(word) ==
                    static_cast<std::uint32_t>(ChangeWord::counter(word_before) + 1U);
  written_word_ = word;
  if (!written_before_) {
    // Another process committed behind us, and a reader may have refreshed memory beyond our rows
    // already: they are not put, and `seen`, which is not our commit's, makes the next one refresh.
    own_counter_.store(no_counter, std::memory_order_release);
    return;
  }
  store_.accounts.for_each_touched([&](std::int64_t u, const AccountRow& row) {
    if (balances_.holds(u)) {
      balances_.put(u, row);
    } else if (store_.users.knows(u)) {  // Else nobody has asked for it: it is read when they do.
      if (const UserRow* user = store_.users.find(u)) balances_.put(u, user->id, row);
    }
  });
  store_.accounts.for_each_erased([&](std::int64_t u) {
    if (balances_.holds(u)) balances_.forget(u);
  });
  seen_operation_ = store_.last_operation();
  seen_word_.store(word, std::memory_order_release);
  // Last: until now readers took the file's word for ours and were answered without waiting.
  own_counter_.store(no_counter, std::memory_order_release);
}

void Engine::Impl::tell_host(const std::vector<Happening>& happenings) noexcept {
  const Callbacks& host = options_.callbacks;
  for (const Happening& happening : happenings) {
    switch (happening.kind) {
      case Happening::Kind::job_complete:
        if (host.job_complete) host.job_complete(happening.user_id, happening.job_id);
        break;
      case Happening::Kind::job_failed:
        if (host.job_failed) host.job_failed(happening.user_id, happening.job_id);
        break;
      case Happening::Kind::low_credits:
        if (host.low_credits) host.low_credits(happening.user_id, happening.balance);
        break;
    }
  }
}

void Engine::Impl::log(LogLevel level, LogEvent event, std::string_view what) noexcept {
  if (!options_.callbacks.log) return;
  try {
    options_.callbacks.log(level, std::string(name_of(event)) + ": " + std::string(what));
  } catch (const std::bad_alloc&) {
    options_.callbacks.log(level, name_of(event));
  }
}

// ---- measuring --------------------------------------------------------------------------------

void Engine::Impl::measure_answers(const Request& request) const noexcept {
  for (std::size_t i = 0; i < request.commands.size(); ++i) {
    const Code code = request.verdicts.empty() ? request.failure.code : request.verdicts[i].code;
    const std::array attributes{
        Attribute{"tally.operation", row_of(request.commands[i].operation).name},
        Attribute{"tally.result", name_of(code)}};
    measure(Metric::operations, 1, attributes);
  }
}

void Engine::Impl::measure_commit(std::chrono::steady_clock::time_point started,
                                  std::size_t operations,
                                  const std::optional<Error>& trouble) const noexcept {
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  const std::array error{Attribute{"error.type", trouble ? name_of(trouble->code) : ""}};
  measure(Metric::commit_duration, seconds, std::span(error).first(trouble ? 1 : 0));
  if (operations > 0) measure(Metric::commit_operations, static_cast<double>(operations));
}

// ---- online -----------------------------------------------------------------------------------

// Whoever syncs, in this process or another, takes the verdict into the file; it is read there.
bool Engine::Impl::read_verdict(Reader& reader, const Command& command, Verdict& verdict) {
  SQLite::Database& db = reader.db();
  Query judged(db,
               "select r.code, r.place from tally_link l left join tally_rejected r on r.n = ?1"
               " where l.acked >= ?1");
  judged.bind(verdict.number);
  if (!judged.step()) return false;
  if (!judged.is_null(0)) {
    verdict.code = static_cast<Code>(judged.column<int>(0));
    if (verdict.code == Code::ok || verdict.code == Code::pending)
      throw Failure{Code::corrupt, "an operation is kept as rejected and is not"};
    if (!judged.is_null(1)) verdict.index = judged.column<std::uint32_t>(1);
  } else if (recall_refusal(verdict)) {
    // Dismissed meanwhile, by a callback or whoever else looks after refusals.
  } else {
    Query known(db, "select result from tally_operation where id = ? order by o desc limit 1");
    const Uuid id = folded(command.op_id);
    if (!known.bind(id).step()) return false;  // Rejected, and dismissed by another process.
    verdict.code = Code::ok;
    verdict.id = known.column<std::optional<Uuid>>(0);
  }
  if (const auto balance = balance_in(db, command)) verdict.balance = balance;
  return true;
}

void Engine::Impl::remember_refusal(const Verdict& verdict) {
  if (verdict.code == Code::ok) return;
  constexpr std::size_t most = 1'024;
  const std::lock_guard lock(refusals_mutex_);
  refusals_[verdict.number] = verdict;
  if (refusals_.size() > most) refusals_.erase(refusals_.begin());
}

bool Engine::Impl::recall_refusal(Verdict& verdict) {
  const std::lock_guard lock(refusals_mutex_);
  const auto found = refusals_.find(verdict.number);
  if (found == refusals_.end()) return false;
  verdict.code = found->second.code;
  verdict.index = found->second.index;
  return true;
}

void Engine::Impl::await_verdicts(const std::vector<Command>& commands,
                                  std::vector<Verdict>& verdicts) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds other_process{20};  // How often its work is looked for.
  const auto is_pending = [](const Verdict& verdict) { return verdict.code == Code::pending; };
  auto next = std::find_if(verdicts.begin(), verdicts.end(), is_pending);
  if (next == verdicts.end()) return;
  queued_.give();
  constexpr std::chrono::milliseconds longest = std::chrono::hours{24 * 365};
  const auto deadline = Clock::now() + std::min(options_.verdict_timeout, longest);
  std::vector<std::int64_t> refused;
  while (next != verdicts.end()) {
    const std::uint64_t count = verdicts_came_.count();
    {
      Reader reader(*this);
      while (next != verdicts.end() &&
             read_verdict(reader, commands[static_cast<std::size_t>(next - verdicts.begin())],
                          *next)) {
        if (next->code != Code::ok) refused.push_back(next->number);
        next = std::find_if(next, verdicts.end(), is_pending);
      }
    }
    const auto now = Clock::now();
    if (next == verdicts.end() || now >= deadline) break;
    verdicts_came_.wait_until(count, std::min(deadline, now + other_process));
  }
  // The caller has the answer, as of any refusal; only what nobody waited for is kept.
  if (!refused.empty()) dismiss(refused);
}

void Engine::Impl::dismiss(const std::vector<std::int64_t>& numbers) {
  run(
      [&](Store& store, Work&) {
        Query query(store.db(), "delete from tally_rejected where n = ?");
        for (const std::int64_t n : numbers) query.bind(n).run();
      },
      false);
}

// ---- readers ----------------------------------------------------------------------------------

Engine::Impl::Reader::Reader(Impl& impl) : impl_(impl) {
  {
    const std::lock_guard lock(impl_.readers_mutex_);
    if (!impl_.idle_readers_.empty()) {
      db_ = std::move(impl_.idle_readers_.back());
      impl_.idle_readers_.pop_back();
    }
  }
  if (!db_) db_ = std::make_unique<SQLite::Database>(connect(impl_.path_, impl_.options_, false));
  db_->exec("begin");
}

Engine::Impl::Reader::~Reader() {
  impl_.await_publication();
  if (db_->tryExec("commit") != SQLITE_OK) return;  // A connection in doubt is closed.
  const std::lock_guard lock(impl_.readers_mutex_);
  if (impl_.idle_readers_.size() >= idle_readers_max) return;
  try {
    impl_.idle_readers_.push_back(std::move(db_));
  } catch (const std::bad_alloc&) {
    db_.reset();  // The next reader opens another.
  }
}

// ---- the facade -------------------------------------------------------------------------------

Engine::Engine(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

Result<Engine> Engine::open(const std::filesystem::path& path, Options options) noexcept {
  try {
    return Engine(std::make_unique<Impl>(path, std::move(options)));
  } catch (...) {
    return error_in_flight();
  }
}

Uuid Engine::Impl::new_id() const { return options_.new_id ? options_.new_id() : new_uuid_v7(); }
Timestamp Engine::Impl::now() const { return options_.clock ? options_.clock() : system_now(); }

Command Engine::make_command(Operation operation, CallId call) const {
  Command command;
  command.op_id = call.op_id ? *call.op_id : impl_->new_id();
  command.at = call.at ? *call.at : impl_->now();
  command.operation = std::move(operation);
  return command;
}

Result<Command> Engine::parse_command(std::string_view json) const noexcept {
  try {
    return read_command(
        json, [this] { return impl_->new_id(); }, [this] { return impl_->now(); });
  } catch (...) {
    return error_in_flight();
  }
}

Result<Receipt> Engine::apply_operation(Operation operation, CallId call) noexcept {
  try {
    return apply_command(make_command(std::move(operation), call));
  } catch (...) {
    return error_in_flight();
  }
}

Result<Receipt> Engine::apply_command(Command command) noexcept {
  try {
    std::vector<Command> commands;
    commands.push_back(std::move(command));
    std::vector<Verdict> verdicts;
    Error failure;
    impl_->submit(commands, verdicts, failure);
    if (verdicts.empty()) return failure;
    impl_->await_verdicts(commands, verdicts);
    const Verdict& verdict = verdicts.front();
    if (verdict.code == Code::ok) return Receipt{verdict.op_id, verdict.balance, verdict.id};
    std::string detail(row_of(verdict.code).sentence);
    if (verdict.index) detail += " (operation " + std::to_string(*verdict.index) + " of the batch)";
    return Error{verdict.code, std::move(detail)};
  } catch (...) {
    return error_in_flight();
  }
}

Result<Receipt> Engine::apply_batch(std::vector<Command> operations, CallId call) noexcept {
  try {
    for (Command& command : operations) {
      if (command.op_id == Uuid{}) command.op_id = make_command(ReleaseJobCredits{}).op_id;
    }
    return apply_command(make_command(Batch{std::move(operations)}, call));
  } catch (...) {
    return error_in_flight();
  }
}

Result<std::vector<Verdict>> Engine::submit(std::vector<Command> commands) noexcept {
  try {
    std::vector<Verdict> verdicts;
    Error failure;
    impl_->submit(commands, verdicts, failure);
    if (verdicts.size() != commands.size()) return failure;
    impl_->await_verdicts(commands, verdicts);
    return verdicts;
  } catch (...) {
    return error_in_flight();
  }
}

Result<Credits> Engine::balance(const Uuid& user_id) const noexcept {
  try {
    Credits balance;
    if (impl_->balance(user_id, balance.value)) [[likely]]
      return balance;
    return Error{Code::user_not_found, "no user " + user_id.text()};
  } catch (...) {
    return error_in_flight();
  }
}

Result<AccountCheck> Engine::check(const Uuid& user_id) const noexcept {
  try {
    AccountRow row;
    if (impl_->check(user_id, row)) [[likely]]
      return AccountCheck{Credits{row.balance}, Credits{row.held}, row.seq, row.pending};
    return Error{Code::user_not_found, "no user " + user_id.text()};
  } catch (...) {
    return error_in_flight();
  }
}

std::string_view version() noexcept { return TALLY_VERSION; }
std::string_view sqlite_version() noexcept { return sqlite3_libversion(); }

}  // namespace tally
