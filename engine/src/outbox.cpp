#include "outbox.hpp"

#include <algorithm>
#include <vector>

#include "fields.hpp"
#include "ids.hpp"
#include "mirror.hpp"
#include "platform.hpp"

namespace tally {

void refuse(Code code, std::string detail) { throw Failure{code, std::move(detail)}; }

Record decode(std::int64_t n, std::string_view bytes, Body body) {
  Decoder in(bytes);
  Record record;
  record.n = n;
  record.body = std::move(body);
  in.get(record.u);
  in.get(record.o);
  record.operation = in.rest();
  in.skip_texts(true);
  get_command(in);
  record.images = in.rest();
  return record;
}

Rebased read_rebased(SQLite::Database& db, std::int64_t after) {
  Rebased rebased;
  Query query(db, "select n, code, body from tally_rebased where n > ?");
  query.bind(after);
  while (query.step()) {
    rebased[query.column<std::int64_t>(0)] = {
        static_cast<Code>(query.column<int>(1)),
        std::make_shared<const std::string>(query.column<std::string>(2))};
  }
  return rebased;
}

Record decode(std::int64_t n, std::string_view bytes, const Body& body, const Rebased& rebased) {
  const auto again = rebased.find(n);
  if (again == rebased.end()) return decode(n, bytes, body);
  return decode(n, *again->second.second, again->second.second);
}

namespace {

/// The segment, each record with its count behind it. `end`: the first number behind the segment;
/// then the segment's own first.
std::string with_counts(std::string_view body, std::int64_t& end) {
  std::vector<std::pair<std::int64_t, std::string_view>> records;
  for (Decoder segment(body); !segment.at_end();) {
    auto& [o, bytes] = records.emplace_back();
    bytes = segment.take(segment.get_varint());
    Decoder header(bytes);
    std::int64_t u = 0;
    header.get(u);
    header.get(o);
  }
  records.emplace_back(end, std::string_view());
  end = records.front().first;
  Encoder out;
  for (auto record = records.begin(); record + 1 != records.end(); ++record) {
    const auto& [o, bytes] = *record;
    Encoder count;
    count.put_varint(static_cast<std::uint64_t>(record[1].first - o));
    out.put_varint(bytes.size() + count.bytes().size());
    out.append(bytes);
    out.append(count.bytes());
  }
  return out.take();
}

}  // namespace

void write_counts(SQLite::Database& db) {
  Query next(db,
             "select max(coalesce((select max(e) from tally_entry), 0),"
             " coalesce((select max(o) from tally_operation), 0)) + 1");
  next.step();
  auto end = next.column<std::int64_t>(0);
  Query segments(db, "select n, body from tally_outbox order by n desc");
  Query rewrite(db, "update tally_outbox set body = ?2 where n = ?1");
  while (segments.step()) {
    const std::string body = with_counts(segments.column<std::string>(1), end);
    rewrite.bind_one(1, segments.column<std::int64_t>(0));
    rewrite.bind_blob(2, body);
    rewrite.run();
  }
}

PendingUsers::PendingUsers(SQLite::Database& db)
    : id_(db, "select id from tally_user where u = ?"),
      key_(db, "select u from tally_user where id = ?") {}

std::optional<Uuid> PendingUsers::here(std::int64_t u) {
  const auto [known, is_new] = here_.try_emplace(u);
  if (is_new) {
    const Rewind rewind(id_);
    if (id_.bind(u).step()) known->second = id_.column<Uuid>(0);
  }
  return known->second;
}

std::optional<Uuid> PendingUsers::id_of(const Record& record) {
  if (record.u <= 0) return std::nullopt;
  if (const auto id = here(record.u)) return id;
  if (const auto known = gone_.find(record.u); known != gone_.end()) return known->second;
  const Command command = record.command();
  std::optional<Uuid> named = named_user(command);
  if (const auto* batch = std::get_if<Batch>(&command.operation)) {
    for (auto inner = batch->operations.begin(); !named && inner != batch->operations.end();
         ++inner)
      named = named_user(*inner);
  }
  if (named) gone_.emplace(record.u, *named);
  return named;
}

std::int64_t PendingUsers::key_of(const Record& record) {
  const auto id = record.u <= 0 || is_here(record.u) ? std::nullopt : id_of(record);
  if (!id) return record.u;
  const Rewind rewind(key_);
  return key_.bind(*id).step() ? key_.column<std::int64_t>(0) : record.u;
}

std::int64_t last_number(SQLite::Database& db, std::int64_t otherwise) {
  Query last(db, "select n + operations - 1 from tally_outbox order by n desc limit 1");
  return last.step() ? last.column<std::int64_t>(0) : otherwise;
}

RecordCheck::RecordCheck(SQLite::Database& db)
    : seen_(db, "select kind, fingerprint from tally_operation where id = ? and u = ?"),
      blocked_(db, "select 1 from tally_rebased where n = ? and code <> 0") {}

bool RecordCheck::is_as_applied(const Record& record, const Command& command) {
  if (is_as_applied(record.u, command)) return true;
  // One without effect here has left nothing to compare with: its op_id may be another's by now.
  if (record.is_queued()) return true;
  const Rewind rewind(blocked_);
  return blocked_.bind(record.n).step();
}

bool RecordCheck::is_as_applied(std::int64_t u, const Command& command) {
  {
    const Rewind rewind(seen_);
    const Uuid id = folded(command.op_id);
    const bool is_known = seen_.bind(id, std::max<std::int64_t>(u, 0)).step();
    if (is_known && (seen_.column<int>(0) != row_of(command.operation).number ||
                     seen_.column<std::uint64_t>(1) != fingerprint(command.operation)))
      return false;
  }
  const auto* batch = std::get_if<Batch>(&command.operation);
  return batch == nullptr ||
         std::all_of(batch->operations.begin(), batch->operations.end(),
                     [&](const Command& inner) { return is_as_applied(u, inner); });
}

std::string leases_of(const Command& command) {
  if (const auto* batch = std::get_if<Batch>(&command.operation)) {
    std::string out;
    for (std::size_t i = 0; i < batch->operations.size(); ++i) {
      if (!batch->operations[i].lease) continue;
      out +=
          (out.empty() ? "" : ",") + std::to_string(i) + ":" + batch->operations[i].lease->text();
    }
    return out;
  }
  return command.lease ? command.lease->text() : "";
}

std::string chained(const std::string& chain, const PushedOperation& operation) {
  const std::string bytes = chain + operation.user_id.value_or(Uuid{}).text() + " " +
                            operation.leases + " " + operation.line;
  const platform::Sha256 hash = platform::sha256(bytes);
  return {hash.begin(), hash.end()};
}

std::optional<Link> read_link(SQLite::Database& db) {
  Query query(db, "select device_id, base, acked, chain, sent, cursor, scope from tally_link");
  if (!query.step()) return std::nullopt;
  return Link{query.column<Uuid>(0),
              query.column<std::int64_t>(1),
              query.column<std::int64_t>(2),
              query.column<std::string>(3),
              query.column<std::int64_t>(4),
              query.column<std::optional<std::string>>(5),
              query.column<std::optional<Uuid>>(6)};
}

namespace {

/// A draft's token may stand beside a user who is not here, in a batch, too.
std::optional<Uuid> user_beside_token(const Command& command) {
  if (std::holds_alternative<UpdateDraft>(command.operation)) return named_user(command);
  const auto* batch = std::get_if<Batch>(&command.operation);
  if (batch == nullptr) return std::nullopt;
  for (const Command& inner : batch->operations) {
    if (const auto user = user_beside_token(inner)) return user;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Uuid> user_pushed(PendingUsers& users, const Record& record, const Command& command,
                                const std::optional<Uuid>& scope) {
  if (const auto* made = std::get_if<CreateUser>(&command.operation)) return made->user_id;
  if (record.u <= 0) {
    if (record.is_queued()) {
      const auto named = named_user(command);
      return named ? named : scope;
    }
    if (const auto named = user_beside_token(command)) return named;
  }
  return users.id_of(record);
}

Link require_link(SQLite::Database& db) {
  auto link = read_link(db);
  if (!link) refuse(Code::not_found, "this mirror is enrolled as no device yet");
  return std::move(*link);
}

std::optional<std::vector<Uuid>> read_subscriptions(SQLite::Database& db) {
  Query subscribes(db, "select value from tally_meta where name = 'subscribes'");
  if (!subscribes.step() || subscribes.column<int>(0) == 0) return std::nullopt;
  std::vector<Uuid> ids;
  Query query(db, "select user_id from tally_subscription order by user_id");
  while (query.step()) ids.push_back(query.column<Uuid>(0));
  return ids;
}

void execute(SQLite::Database& db, std::string_view sql) {
  Query query(db, sql);
  query.run();
}

void insert_rejected(SQLite::Database& db, const Record& record, Code code,
                     std::optional<std::uint32_t> index, Timestamp at) {
  Query query(db, "insert or replace into tally_rejected values (?, ?, ?, ?, ?, ?)");
  query.bind(record.n, record.u, static_cast<int>(code));
  query.bind_one(4, index ? std::optional<std::int64_t>(*index) : std::nullopt);
  const std::string command(
      record.operation.substr(0, record.operation.size() - record.images.size()));
  query.bind_blob(5, command);
  query.bind_one(6, at);
  query.run();
}

RejectedOperation read_rejected(const Query& query) {
  RejectedOperation rejected;
  rejected.number = query.column<std::int64_t>(0);
  rejected.code = static_cast<Code>(query.column<int>(1));
  if (!query.is_null(2)) rejected.index = query.column<unsigned>(2);
  const auto bytes = query.column<std::string>(3);
  Decoder in(bytes);
  rejected.command = get_command(in);
  rejected.rejected_at = query.column<Timestamp>(4);
  return rejected;
}

}  // namespace tally
