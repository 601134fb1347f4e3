#pragma once
// What is on its way to canonical, as the file has it: pending operations with what undoes them,
// the link, and what canonical rejected. For the seam for sync alone.

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "sqlite.hpp"
#include "tally/replica.hpp"
#include "work.hpp"

namespace tally {

[[noreturn]] void refuse(Code code, std::string detail);

/// Bytes that several records lie in.
using Body = std::shared_ptr<const std::string>;

/// A pending operation with what undoes it. Of most only the before-images are looked at.
struct Record {
  std::int64_t n = 0;
  std::int64_t u = 0;
  std::int64_t o = 0;  ///< The numbers that it took, and how many.
  std::int64_t count = 0;
  std::string_view operation;
  std::string_view images;
  Body body;             ///< Keeps both.
  Code code = Code::ok;  ///< Its verdict, once there is one.
  bool fed = false;      ///< Its user's rows come with the reply.

  /// It waits for canonical's verdict without effect here.
  bool is_queued() const noexcept { return o == queued_operation; }
  /// Its count, which ends it, is 0: of other numbers the last byte is not.
  bool took_none() const noexcept { return !images.empty() && images.back() == '\0'; }
  Command command() const {
    Decoder in(operation);
    return get_command(in);
  }
};

Record decode(std::int64_t n, std::string_view bytes, Body body);

/// Pending operations that were applied again, by number: what they met, and their record.
using Rebased = std::map<std::int64_t, std::pair<Code, Body>>;

Rebased read_rebased(SQLite::Database& db, std::int64_t after);

/// The record as it stands: that of the outbox, or the one that was made when it was applied again.
Record decode(std::int64_t n, std::string_view bytes, const Body& body, const Rebased& rebased);

/// Calls visit(n, bytes, body) for the pending records behind number `after`, in order, each as it
/// was first written; until it answers false.
template <class Visit>
void for_each_pending(SQLite::Database& db, std::int64_t after, Visit&& visit) {
  Query segments(db,
                 "select n, body, operations from tally_outbox where n + operations - 1 > ?"
                 " order by n");
  segments.bind(after);
  while (segments.step()) {
    auto n = segments.column<std::int64_t>(0);
    const std::int64_t end = n + segments.column<std::int64_t>(2);
    const auto body = std::make_shared<const std::string>(segments.column<std::string>(1));
    for (Decoder segment(*body); !segment.at_end(); ++n) {
      const std::string_view bytes = segment.take(segment.get_varint());
      if (n > after && !visit(n, bytes, body)) return;
    }
    if (n != end)
      throw SQLite::Exception("the outbox does not hold as many operations as it counts",
                              SQLITE_CORRUPT);
  }
}

/// How many numbers an operation took: it stands behind its images, and ends the record. None took
/// who is queued, or had no effect when applied again.
inline std::int64_t get_count(Decoder& behind_images, const Record& record,
                              const Rebased& rebased) {
  const std::int64_t count = sound_number(static_cast<std::int64_t>(behind_images.get_varint()));
  const bool may_be_none = record.is_queued() || rebased.count(record.n) != 0;
  if (!behind_images.at_end() || (count == 0 && !may_be_none))
    throw SQLite::Exception("a record does not count what it holds", SQLITE_CORRUPT);
  return count;
}

/// For a mirror of version 1, whose records have no counts yet. It was never fed: all numbers are
/// its own operations', and each took those up to the next one's. Of a sweep or a purge between two
/// there are no entries.
void write_counts(SQLite::Database& db);

/// Whose pending operations are, by the numbers of users that their records hold. A user is no more
/// under a number where what made it was taken back; then an operation that names it tells who it
/// was. To be asked for records in their order.
class PendingUsers {
 public:
  explicit PendingUsers(SQLite::Database& db);
  /// Whether somebody has that number.
  bool is_here(std::int64_t u) { return here(u).has_value(); }
  /// None for nobody's, and where no operation named the user.
  std::optional<Uuid> id_of(const Record& record);
  /// The number by which the user is here now; the record's own where it is not.
  std::int64_t key_of(const Record& record);

 private:
  std::optional<Uuid> here(std::int64_t u);
  Query id_;
  Query key_;
  std::map<std::int64_t, std::optional<Uuid>> here_;
  std::map<std::int64_t, Uuid> gone_;
};

std::int64_t last_number(SQLite::Database& db, std::int64_t otherwise);

std::string leases_of(const Command& command);

/// Looks whether pending records are what was applied: of each operation that has its effect here
/// the file remembers a fingerprint, and a record that was changed behind the engine's back has
/// another.
class RecordCheck {
 public:
  explicit RecordCheck(SQLite::Database& db);
  bool is_as_applied(const Record& record, const Command& command);

 private:
  bool is_as_applied(std::int64_t u, const Command& command);
  Query seen_;
  Query blocked_;
};

/// The chain's next hash: what was sent of the operation, after the hash before it.
std::string chained(const std::string& chain, const PushedOperation& operation);

struct Link {
  Uuid device_id{};
  std::int64_t base = 0;
  std::int64_t acked = 0;
  std::string chain;
  std::int64_t sent = 0;
  std::optional<std::string> cursor{};
  std::optional<Uuid> scope{};
};

std::optional<Link> read_link(SQLite::Database& db);

/// Whose canonical is told that an operation is; none: nobody's. Who made a user says who it would
/// be though that is blocked, and what the mirror has not, canonical may: where an operation waits
/// for its verdict, and where it had a draft's token.
std::optional<Uuid> user_pushed(PendingUsers& users, const Record& record, const Command& command,
                                const std::optional<Uuid>& scope);

Link require_link(SQLite::Database& db);

/// None: all users.
std::optional<std::vector<Uuid>> read_subscriptions(SQLite::Database& db);

void execute(SQLite::Database& db, std::string_view sql);

void insert_rejected(SQLite::Database& db, const Record& record, Code code,
                     std::optional<std::uint32_t> index, Timestamp at);

RejectedOperation read_rejected(const Query& query);

inline constexpr const char* rejected_columns =
    "select n, code, place, command, rejected_at from tally_rejected";

}  // namespace tally
