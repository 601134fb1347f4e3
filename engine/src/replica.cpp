// The seam for sync.
#include "tally/replica.hpp"

#include <algorithm>
#include <set>

#include "engine_impl.hpp"
#include "fields.hpp"
#include "ids.hpp"
#include "intake.hpp"
#include "outbox.hpp"
#include "platform.hpp"
#include "reads.hpp"

namespace tally {
namespace {

unsigned bits_of(const std::vector<Capability>& capabilities) {
  unsigned bits = 0;
  for (const Capability capability : capabilities) bits |= 1U << static_cast<unsigned>(capability);
  return bits;
}

/// The users on whose leases an operation is pending.
std::set<std::int64_t> users_with_pending_leases(SQLite::Database& db, std::int64_t acked) {
  std::set<std::int64_t> users;
  for_each_pending(db, acked, [&](std::int64_t, std::string_view bytes, const Body&) {
    Decoder header(bytes);
    std::int64_t u = 0;
    std::int64_t o = 0;
    header.get(u);
    header.get(o);
    const std::uint64_t operation = header.get_varint();
    if (operation == LeaseCredits::row.number || operation == ReturnLease::row.number)
      users.insert(u);
    return true;
  });
  return users;
}

/// What has to be asked for so that every lease holds what it should.
std::vector<LeaseCredits> lacking_leases(SQLite::Database& db, const LeaseTarget& target,
                                         Timestamp now) {
  std::vector<LeaseCredits> out;
  const auto link = read_link(db);
  if (!link) return out;
  const std::int64_t soon =
      target.renews
          ? now.us + std::chrono::duration_cast<std::chrono::microseconds>(target.ttl).count() / 4
          : std::numeric_limits<std::int64_t>::min();
  Query low(db,
            "select y.u, y.id, l.id, coalesce(l.unspent, 0), a.balance from tally_user y"
            " join tally_account a on a.u = y.u left join tally_lease l on l.u = y.u"
            " where (l.u is not null or y.id = (select scope from tally_link)) and a.balance > 0"
            " and coalesce(l.closing, 0) = 0"
            " and (l.u is null or l.unspent < ? or l.expires_at < ?) order by y.id");
  low.bind(target.low_water.value, soon);
  std::optional<std::set<std::int64_t>> pending;
  while (low.step()) {
    if (!pending) pending = users_with_pending_leases(db, link->acked);
    if (pending->count(low.column<std::int64_t>(0)) != 0) continue;
    const std::int64_t lacks =
        std::max<std::int64_t>(target.size.value - low.column<std::int64_t>(3), 1);
    const Uuid lease = low.column<std::optional<Uuid>>(2).value_or(new_uuid_v7());
    out.push_back(LeaseCredits{lease, low.column<Uuid>(1),
                               Credits{std::min(lacks, low.column<std::int64_t>(4))},
                               target.ttl.count()});
  }
  return out;
}

void write_link(SQLite::Database& db, const Enrolment& enrolment, std::int64_t base) {
  Query query(
      db,
      "insert or replace into tally_link (link, device_id, scope, capabilities, base, acked, chain,"
      " sent, attempts) values (1, ?, ?, ?, ?, ?4, x'', ?4, 0)");
  query.bind(enrolment.device_id, enrolment.scope,
             static_cast<int>(bits_of(enrolment.capabilities)), base);
  query.run();
}

}  // namespace

class Replica::Lock {
 public:
  platform::FileLock file{};
};

Replica::Replica(Engine& engine) : engine_(engine), lock_(std::make_unique<Lock>()) {}
Replica::~Replica() = default;

Result<bool> Replica::lead() noexcept {
  return guarded<bool>([&]() -> Result<bool> {
    std::filesystem::path file = engine_.impl_->path();
    return lock_->file.try_take(file += "-sync");
  });
}

void Replica::step_down() noexcept { lock_->file.release(); }

Result<bool> Replica::enrol(const Enrolment& enrolment) noexcept {
  return guarded<bool>([&]() -> Result<bool> {
    engine_.impl_->run(
        [&](Store& store, Work&) {
          SQLite::Database& db = store.db();
          if (const auto link = read_link(db)) {
            if (link->device_id == enrolment.device_id) return;
            refuse(Code::already_exists,
                   "this mirror is enrolled as device " + link->device_id.text());
          }
          write_link(db, enrolment, 0);
        },
        true);
    return true;
  });
}

Result<bool> Replica::enrol_anew(const Enrolment& enrolment) noexcept {
  return guarded<bool>([&]() -> Result<bool> {
    engine_.impl_->run(
        [&](Store& store, Work&) {
          SQLite::Database& db = store.db();
          const Link link = require_link(db);
          const Timestamp now = engine_.impl_->now();
          std::vector<Record> records;
          const Rebased rebased = read_rebased(db, link.acked);
          for_each_pending(db, link.acked,
                           [&](std::int64_t n, std::string_view bytes, const Body& body) {
                             records.push_back(decode(n, bytes, body, rebased));
                             return true;
                           });
          for (auto record = records.rbegin(); record != records.rend(); ++record) {
            Decoder images(record->images);
            store.restore_images(images);
            record->count = get_count(images, *record, rebased);
            if (record->count > 0) store.erase_operations(record->o, record->count);
            if (record->u > 0 && store.users.find(record->u) == nullptr)
              store.retire_user_key(record->u);
            insert_rejected(db, *record, Code::device_forked, {}, now);
          }
          Query accounts(db, "select u from tally_account where pending <> 0");
          while (accounts.step()) {
            // Who was made by an operation that is taken back is there no more.
            const auto u = accounts.column<std::int64_t>(0);
            if (store.accounts.find(u) != nullptr) store.accounts.edit(u).pending = 0;
          }
          store.flush();
          const std::int64_t last = last_number(db, link.acked);
          execute(db, "delete from tally_outbox");
          execute(db, "delete from tally_rebased");
          execute(db, "delete from tally_lease");
          execute(db, "delete from tally_page");
          Query next(db, "insert or replace into tally_meta values ('outbox_next', ?)");
          next.bind(sound_number(last) + 1).run();
          write_link(db, enrolment, last);
          store.bump_epoch();
        },
        true);
    return true;
  });
}

Result<std::optional<LinkState>> Replica::state() const noexcept {
  return guarded<std::optional<LinkState>>([&]() -> Result<std::optional<LinkState>> {
    Engine::Impl::Reader reader(*engine_.impl_);
    Query query(reader.db(),
                "select device_id, scope, capabilities, acked - base, cursor, synced_at, attempts, "
                "error_class,"
                " error, next_attempt_at,"
                " coalesce((select n + operations - 1 from tally_outbox order by n desc limit 1), "
                "acked) - acked,"
                " (select count(*) from tally_rebased where code <> 0), (select count(*) from "
                "tally_rejected)"
                " from tally_link");
    if (!query.step()) return std::optional<LinkState>{};
    LinkState state;
    state.enrolment.device_id = query.column<Uuid>(0);
    state.enrolment.scope = query.column<std::optional<Uuid>>(1);
    for (const Capability capability :
         {Capability::author, Capability::worker, Capability::service}) {
      if ((query.column<unsigned>(2) >> static_cast<unsigned>(capability) & 1U) != 0)
        state.enrolment.capabilities.push_back(capability);
    }
    state.acked = query.column<std::int64_t>(3);
    state.cursor = query.column<std::optional<std::string>>(4);
    state.synced_at = query.column<std::optional<Timestamp>>(5);
    state.attempts = query.column<std::int64_t>(6);
    state.error_class = query.column<std::optional<std::string>>(7);
    state.error = query.column<std::optional<std::string>>(8);
    state.next_attempt_at = query.column<std::optional<Timestamp>>(9);
    state.pending = query.column<std::int64_t>(10);
    state.blocked = query.column<std::int64_t>(11);
    state.rejected = query.column<std::int64_t>(12);
    return std::optional(std::move(state));
  });
}

Result<Push> Replica::next_push(std::size_t operations_max, std::size_t bytes_max) noexcept {
  return guarded<Push>([&]() -> Result<Push> {
    Push push;
    std::int64_t last = 0;
    std::int64_t sent = 0;
    {
      Engine::Impl::Reader reader(*engine_.impl_);
      const Link link = require_link(reader.db());
      sent = link.sent;
      push.acked = link.acked - link.base;
      push.chain = link.chain;
      push.cursor = link.cursor;
      push.subscriptions = read_subscriptions(reader.db());
      last = link.acked;
      std::size_t size = 0;
      RecordCheck applied(reader.db());
      PendingUsers users(reader.db());
      for_each_pending(
          reader.db(), link.acked, [&](std::int64_t n, std::string_view bytes, const Body& body) {
            // What may have reached canonical is sent again whole: it is compared.
            const bool again = n <= link.sent;
            if (!again &&
                (push.operations.size() >= operations_max || (size >= bytes_max && size > 0)))
              return false;
            const Record record = decode(n, bytes, body);
            const Command command = record.command();
            if (n != last + 1 || !applied.is_as_applied(record, command))
              refuse(Code::corrupt, "pending operation " + std::to_string(n - link.base) +
                                        " is not what was applied; run an audit");
            PushedOperation operation;
            operation.number = n - link.base;
            operation.user_id = user_pushed(users, record, command, link.scope);
            operation.line = trace_line(command);
            operation.leases = leases_of(command);
            size += operation.line.size();
            push.operations.push_back(std::move(operation));
            last = n;
            return true;
          });
    }
    if (last > sent) {
      engine_.impl_->run(
          [&](Store& store, Work&) {
            SQLite::Database& db = store.db();
            Query query(db, "update tally_link set sent = max(sent, ?)");
            query.bind(last).run();
          },
          true);
    }
    return push;
  });
}

Result<Taken> Replica::take(const Reply& reply) noexcept {
  return guarded<Taken>([&]() -> Result<Taken> {
    Taken taken;
    engine_.impl_->run(
        [&](Store& store, Work& work) {
          taken = take_reply(store, work, reply, engine_.impl_->now());
        },
        !reply.verdicts.empty());
    if (!taken.settled.empty()) {
      for (const SettledOperation& settled : taken.settled)
        engine_.impl_->remember_refusal(settled.verdict);
      engine_.impl_->verdicts_came().give();
    }
    return taken;
  });
}

bool Replica::measures() const noexcept {
  return engine_.impl_->options().callbacks.metric != nullptr;
}

void Replica::measure(const Measurement& measurement) const noexcept {
  if (measures())
    engine_.impl_->measure(measurement.metric, measurement.value, measurement.attributes);
}

std::uint64_t Replica::queued() const noexcept { return engine_.impl_->queued().count(); }

void Replica::wait_for_queued(std::uint64_t queued,
                              std::chrono::milliseconds timeout) const noexcept {
  engine_.impl_->queued().wait_until(queued, std::chrono::steady_clock::now() + timeout);
}

Result<bool> Replica::forget_cursor() noexcept {
  return guarded<bool>([&]() -> Result<bool> {
    engine_.impl_->run(
        [](Store& store, Work&) {
          SQLite::Database& db = store.db();
          execute(db, "update tally_link set cursor = null");
          execute(db, "delete from tally_page");
        },
        false);
    return true;
  });
}

Result<bool> Replica::note_failure(std::string_view error_class, std::string_view error,
                                   std::optional<Timestamp> next_attempt_at) noexcept {
  return guarded<bool>([&]() -> Result<bool> {
    engine_.impl_->run(
        [&](Store& store, Work&) {
          SQLite::Database& db = store.db();
          Query query(db,
                      "update tally_link set attempts = min(attempts, 1000000) + 1, error_class = "
                      "?, error = ?,"
                      " next_attempt_at = ?");
          query.bind(error_class, error, next_attempt_at).run();
        },
        false);
    return true;
  });
}

Result<bool> Replica::subscribe(const std::optional<std::vector<Uuid>>& user_ids) noexcept {
  return guarded<bool>([&]() -> Result<bool> {
    engine_.impl_->run(
        [&](Store& store, Work& work) {
          SQLite::Database& db = store.db();
          if (user_ids && user_ids->size() > subscriptions_max)
            refuse(Code::invalid_argument, "a device subscribes to " +
                                               std::to_string(subscriptions_max) +
                                               " users at the most, or to all");
          if (work.device() != nullptr && work.device()->scope)
            refuse(Code::invalid_argument, "this device is for one user, who is fed in any case");
          execute(db, "delete from tally_subscription");
          for (const Uuid& id : user_ids.value_or(std::vector<Uuid>{})) {
            Query add(db, "insert or ignore into tally_subscription values (?)");
            add.bind(id).run();
          }
          Query meta(db, "insert or replace into tally_meta values ('subscribes', ?)");
          meta.bind(user_ids ? 1 : 0).run();
          Query pending(db,
                        "select y.id from tally_user y join tally_account a on a.u = y.u"
                        " where a.pending > 0 and ?1 and y.id not in (select user_id from "
                        "tally_subscription)");
          if (pending.bind(user_ids ? 1 : 0).step())
            refuse(Code::illegal_transition, "operations of user " +
                                                 pending.column<Uuid>(0).text() +
                                                 " are pending; push them first");
          // Everything is told anew, and who is not told of goes.
          execute(db, "update tally_link set cursor = null");
          execute(db, "delete from tally_page");
        },
        false);
    return true;
  });
}

Result<std::optional<std::vector<Uuid>>> Replica::subscriptions() const noexcept {
  using Answer = std::optional<std::vector<Uuid>>;
  return guarded<Answer>([&]() -> Result<Answer> {
    Engine::Impl::Reader reader(*engine_.impl_);
    return read_subscriptions(reader.db());
  });
}

Result<std::optional<Uuid>> Replica::next_user(const Uuid& after) const noexcept {
  return guarded<std::optional<Uuid>>([&]() -> Result<std::optional<Uuid>> {
    Engine::Impl::Reader reader(*engine_.impl_);
    Query next(reader.db(),
               "select coalesce((select min(id) from tally_user where id > ?),"
               " (select min(id) from tally_user))");
    if (!next.bind(after).step()) return std::optional<Uuid>{};
    return next.column<std::optional<Uuid>>(0);
  });
}

Result<std::vector<OpenLease>> Replica::leases() const noexcept {
  return guarded<std::vector<OpenLease>>([&]() -> Result<std::vector<OpenLease>> {
    Engine::Impl::Reader reader(*engine_.impl_);
    return open_leases(reader.db(), std::nullopt);
  });
}

Result<std::vector<Uuid>> Replica::refill(const LeaseTarget& target) noexcept {
  return guarded<std::vector<Uuid>>([&]() -> Result<std::vector<Uuid>> {
    if (engine_.impl_->options().spend_policy == SpendPolicy::online) return std::vector<Uuid>{};
    if (target.low_water > target.size)
      return Error{Code::invalid_argument, "the low water of a lease is above its size"};
    std::vector<Command> commands;
    {
      Engine::Impl::Reader reader(*engine_.impl_);
      for (LeaseCredits& lacking : lacking_leases(reader.db(), target, engine_.impl_->now()))
        commands.push_back(engine_.make_command(std::move(lacking)));
    }
    std::vector<Uuid> asked;
    if (commands.empty()) return asked;
    const auto verdicts = engine_.submit(std::move(commands));
    if (!verdicts) return verdicts.error();
    for (const Verdict& verdict : *verdicts) {
      if (verdict.code != Code::ok)
        return Error{verdict.code,
                     "no lease can be asked for: " + std::string(row_of(verdict.code).sentence)};
      asked.push_back(verdict.op_id);
    }
    return asked;
  });
}

Result<std::vector<RejectedOperation>> Replica::rejected() const noexcept {
  return guarded<std::vector<RejectedOperation>>([&]() -> Result<std::vector<RejectedOperation>> {
    Engine::Impl::Reader reader(*engine_.impl_);
    Query query(reader.db(), std::string(rejected_columns) + " order by n");
    std::vector<RejectedOperation> out;
    while (query.step()) out.push_back(read_rejected(query));
    return out;
  });
}

Result<std::int64_t> Replica::each_pending(
    const std::function<bool(const PendingOperation&)>& visit, std::int64_t after) const noexcept {
  return guarded<std::int64_t>([&]() -> Result<std::int64_t> {
    Engine::Impl::Reader reader(*engine_.impl_);
    const auto link = read_link(reader.db());
    const std::int64_t from = std::max(after, link ? link->acked : 0);
    const Rebased rebased = read_rebased(reader.db(), from);
    std::int64_t count = 0;
    for_each_pending(reader.db(), from,
                     [&](std::int64_t n, std::string_view bytes, const Body& body) {
                       const Record record = decode(n, bytes, body);
                       const auto again = rebased.find(n);
                       PendingOperation pending{n, record.command(), Code::ok, record.is_queued(),
                                                link && n <= link->sent};
                       if (again != rebased.end()) pending.code = again->second.first;
                       ++count;
                       return visit(pending);
                     });
    return count;
  });
}

Result<bool> Replica::dismiss(std::int64_t number) noexcept {
  return guarded<bool>([&]() -> Result<bool> {
    engine_.impl_->run(
        [&](Store& store, Work&) {
          SQLite::Database& db = store.db();
          Query query(db, "delete from tally_rejected where n = ? returning n");
          query.bind(number);
          if (!query.step())
            refuse(Code::not_found, "no rejected operation " + std::to_string(number));
          query.run();
        },
        false);
    return true;
  });
}

Result<Receipt> Replica::retry(std::int64_t number) noexcept {
  return guarded<Receipt>([&]() -> Result<Receipt> {
    Verdict verdict;
    engine_.impl_->run(
        [&](Store& store, Work& work) {
          SQLite::Database& db = store.db();
          Query query(db, std::string(rejected_columns) + " where n = ?");
          query.bind(number);
          if (!query.step())
            refuse(Code::not_found, "no rejected operation " + std::to_string(number));
          RejectedOperation rejected = read_rejected(query);
          query.reset();
          // It means the job as it is now, and draws on what there is now.
          rejected.command = as_called(std::move(rejected.command));
          verdict = work.apply(rejected.command);
          if (verdict.code != Code::ok && verdict.code != Code::pending) return;
          Query erase(db, "delete from tally_rejected where n = ?");
          erase.bind(number).run();
        },
        true);
    if (verdict.code != Code::ok)
      return Error{verdict.code, std::string(row_of(verdict.code).sentence)};
    return Receipt{verdict.op_id, verdict.balance, verdict.id};
  });
}

}  // namespace tally
