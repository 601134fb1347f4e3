#pragma once
// The codes: what an operation or a call can answer. One table, from which the constants of every
// binding, canonical's rows and the reference pages are made. A number is never reused.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tally {

/// What an answer means for the caller.
enum class CodeClass : std::uint8_t {
  ok,       ///< It happened.
  refusal,  ///< An everyday answer: deterministic, nothing changed; a retry as it is will not help.
  failure,  ///< The world (disk, lock, server): nothing was decided about the operation.
};
inline constexpr std::array<std::string_view, 3> code_class_names{"ok", "refusal", "failure"};

enum class Code : std::uint16_t {
  ok = 0,
  // Refusals, numbered in the order in which the checks are made.
  not_permitted = 1,
  operation_conflict = 2,
  invalid_argument = 3,
  invalid_amount = 4,
  invalid_type = 5,
  user_not_found = 10,
  draft_not_found = 11,
  project_not_found = 12,
  voice_profile_not_found = 13,
  job_not_found = 14,
  step_not_found = 15,
  lease_not_found = 16,
  user_exists = 20,
  already_exists = 21,
  not_owner = 22,
  already_claimed = 23,
  not_claim_holder = 24,
  stale_reservation = 25,
  illegal_transition = 30,
  draft_expired = 31,
  already_reserved = 32,
  already_finalized = 33,
  no_reservation = 34,
  reservation_required = 35,
  payment_conflict = 40,
  insufficient_credits = 41,
  balance_overflow = 42,
  lease_reclaimed = 43,
  internal_error = 50,
  // Failures.
  busy = 100,
  io = 101,
  full = 102,
  corrupt = 103,
  read_only = 104,
  not_found = 105,
  schema_too_new = 106,
  sqlite_unsafe = 107,
  unreachable = 108,
  internal = 109,
  unauthorized = 110,
  device_forked = 111,
  history_lost = 112,
  protocol = 113,
  pending = 114,
};

struct CodeRow {
  Code code;
  std::string_view name;
  CodeClass code_class;
  std::string_view sentence;
  std::string_view remedy;  ///< What whoever meets it does about it.
};

inline constexpr std::array codes{
    CodeRow{Code::ok, "ok", CodeClass::ok,
            "The operation was applied, now or the first time it came.",
            "Nothing: it counts once, and a repeat says so again."},
    CodeRow{Code::not_permitted, "not_permitted", CodeClass::refusal,
            "The caller lacks the capability that the operation or one of its fields needs.",
            "Call it where the capability is: give the device another (`tally device add "
            "--capabilities`), or leave it to whoever has it."},
    CodeRow{
        Code::operation_conflict, "operation_conflict", CodeClass::refusal,
        "This op_id was used before, for another operation or with other fields; make a new one.",
        "Make a new op_id; the old one belongs to what was first sent with it."},
    CodeRow{Code::invalid_argument, "invalid_argument", CodeClass::refusal,
            "A field is missing, unknown, malformed, too long, or out of its range or list.",
            "Correct the field that the detail names; `tally operations NAME` has its limits."},
    CodeRow{Code::invalid_amount, "invalid_amount", CodeClass::refusal,
            "An amount or cost is out of its range of whole credits.",
            "Pass whole credits within the operation's range."},
    CodeRow{Code::invalid_type, "invalid_type", CodeClass::refusal,
            "The entry type is none of purchase, grant, subscription and refund.",
            "Use one of the four types; the others are entries that operations make."},
    CodeRow{Code::user_not_found, "user_not_found", CodeClass::refusal,
            "No such user is known here.",
            "Call `create_user` first, or sync so that the mirror learns of the user."},
    CodeRow{Code::draft_not_found, "draft_not_found", CodeClass::refusal,
            "No such draft, or none of the session that can still be claimed.",
            "Show an empty draft: it was claimed, has expired, or is another session's."},
    CodeRow{Code::project_not_found, "project_not_found", CodeClass::refusal, "No such project.",
            "Call `create_project` first, or sync; it may have been deleted."},
    CodeRow{Code::voice_profile_not_found, "voice_profile_not_found", CodeClass::refusal,
            "No such voice profile, or it is another user's.",
            "Choose one of the user's own, or none."},
    CodeRow{Code::job_not_found, "job_not_found", CodeClass::refusal, "No such job.",
            "Call `create_job` first, or sync; its project may have been deleted."},
    CodeRow{Code::step_not_found, "step_not_found", CodeClass::refusal,
            "The job has no step of that name.",
            "Name one of the eight stages as the job machine has them."},
    CodeRow{Code::lease_not_found, "lease_not_found", CodeClass::refusal, "No such lease.",
            "Sync and look at `tally lease list`; it may have ended."},
    CodeRow{Code::user_exists, "user_exists", CodeClass::refusal,
            "The user exists already, or another user has this e-mail address.",
            "Go on with the user there is, or take another e-mail address."},
    CodeRow{Code::already_exists, "already_exists", CodeClass::refusal,
            "A row with this id exists already.",
            "Make a new id; to repeat a call, repeat its op_id too."},
    CodeRow{Code::not_owner, "not_owner", CodeClass::refusal, "The row belongs to another user.",
            "Name the row's own user; nothing lets one user act for another."},
    CodeRow{Code::already_claimed, "already_claimed", CodeClass::refusal,
            "The job has a live claim; its holder renews it, others wait for its end.",
            "Take another job, or wait until the claim ends."},
    CodeRow{Code::not_claim_holder, "not_claim_holder", CodeClass::refusal,
            "The job's live claim is another device's, or there is none to renew or drop.",
            "Stop working on the job: it may be another's. `claim_job` claims it anew."},
    CodeRow{Code::stale_reservation, "stale_reservation", CodeClass::refusal,
            "The operation means an earlier reservation of the job than its latest.",
            "Drop the operation: it belongs to work on an earlier reservation of the job."},
    CodeRow{Code::illegal_transition, "illegal_transition", CodeClass::refusal,
            "The job's status does not allow this.",
            "Read the job and go by the job machine; `tally why JOB` says what it waits for."},
    CodeRow{Code::draft_expired, "draft_expired", CodeClass::refusal,
            "The draft expired seven days after it was made.", "Make a new draft from the text."},
    CodeRow{Code::already_reserved, "already_reserved", CodeClass::refusal,
            "The job has an open hold already.",
            "Go on with the hold there is, or release it first."},
    CodeRow{Code::already_finalized, "already_finalized", CodeClass::refusal,
            "The job's credits were settled already.",
            "Nothing: it was charged already. Correct with new entries."},
    CodeRow{Code::no_reservation, "no_reservation", CodeClass::refusal, "The job has no open hold.",
            "Reserve first; where the job ended meanwhile, there is nothing to settle."},
    CodeRow{Code::reservation_required, "reservation_required", CodeClass::refusal,
            "The job needs an open hold before it can be queued.",
            "Call `reserve_credits` before `advance_job` to QUEUED."},
    CodeRow{Code::payment_conflict, "payment_conflict", CodeClass::refusal,
            "This payment id was used for another user, amount or type.",
            "Look the payment up at its provider; it is never credited twice."},
    CodeRow{Code::insufficient_credits, "insufficient_credits", CodeClass::refusal,
            "The balance does not cover it.",
            "Add credits or ask for less; the balance leaves out what jobs hold and leases keep."},
    CodeRow{Code::balance_overflow, "balance_overflow", CodeClass::refusal,
            "Balance, holds and leases together would pass 2,147,483,647 credits.",
            "Spend or expire credits before adding more."},
    CodeRow{Code::lease_reclaimed, "lease_reclaimed", CodeClass::refusal,
            "The lease was ended before this came, and the balance does not cover it.",
            "Retry it from `tally rejected` once there are credits, or dismiss it."},
    CodeRow{Code::internal_error, "internal_error", CodeClass::refusal,
            "Canonical met a database error while it applied this operation alone; it is kept, and "
            "nothing of it happened.",
            "Tell canonical's operator, who finds the database's error in the detail; retry from "
            "`tally rejected` afterwards."},
    CodeRow{Code::busy, "busy", CodeClass::failure,
            "Another process kept the mirror locked past the busy timeout; try again.",
            "Call again with the same op_id; find who holds the file, or raise the busy timeout."},
    CodeRow{Code::io, "io", CodeClass::failure, "The disk answered with an error.",
            "See the system's log, then call again with the same op_id; `tally doctor --db FILE` "
            "examines the file."},
    CodeRow{Code::full, "full", CodeClass::failure, "The disk is full; free space and try again.",
            "Free space, then call again with the same op_id."},
    CodeRow{Code::corrupt, "corrupt", CodeClass::failure,
            "The mirror file is damaged or is no mirror.",
            "Keep the file, run `tally doctor --db FILE`, and restore a backup or sync into a new "
            "mirror."},
    CodeRow{Code::read_only, "read_only", CodeClass::failure,
            "The mirror file or its folder cannot be written to.",
            "Give the process the right to write the file and its folder."},
    CodeRow{Code::not_found, "not_found", CodeClass::failure,
            "The file, or what was asked for by its id, does not exist.",
            "Check the path or the id; a mirror is made only where that was asked for."},
    CodeRow{Code::schema_too_new, "schema_too_new", CodeClass::failure,
            "A newer Tallystick wrote this; update this one.", "Update the program that says so."},
    CodeRow{Code::sqlite_unsafe, "sqlite_unsafe", CodeClass::failure,
            "This SQLite can lose a committed transaction (before 3.51.3, 3.50.7, 3.44.6).",
            "Build with the SQLite that comes along, or update the system's."},
    CodeRow{Code::unreachable, "unreachable", CodeClass::failure, "The server cannot be reached.",
            "Nothing: work goes on offline, and sync tries again by itself. Else check address and "
            "server."},
    CodeRow{Code::internal, "internal", CodeClass::failure,
            "An invariant did not hold; nothing was written. Reopen the mirror and run an audit.",
            "Reopen the mirror, run `tally audit --db FILE`, and report it with the log."},
    CodeRow{
        Code::unauthorized, "unauthorized", CodeClass::failure,
        "Canonical does not know this token, or the device was revoked.",
        "Have the operator add or rotate the device's token, and put it into the token's file."},
    CodeRow{
        Code::device_forked, "device_forked", CodeClass::failure,
        "This mirror is a copy, or was restored: enrol it anew; what it has not pushed is kept.",
        "Run `tally device add`, then `tally sync --enrol-anew` with the new token; retry what was "
        "kept."},
    CodeRow{
        Code::history_lost, "history_lost", CodeClass::failure,
        "Canonical is behind what this device has confirmed (restored from a backup?); an operator "
        "decides.",
        "Restore a newer backup of canonical; where there is none, enrol the mirror anew."},
    CodeRow{Code::protocol, "protocol", CodeClass::failure,
            "Canonical and this program do not understand each other; update the older one.",
            "Update the older of the two: `tally version`, `tally migrate --status`."},
    CodeRow{
        Code::pending, "pending", CodeClass::failure,
        "The operation is queued; canonical's verdict has not come yet, and a callback brings it.",
        "Wait for the verdict; a repeat with the same op_id counts once, too."},
};

constexpr const CodeRow& row_of(Code code) noexcept {
  for (const CodeRow& row : codes) {
    if (row.code == code) return row;
  }
  return codes.back();
}
constexpr std::string_view name_of(Code code) noexcept { return row_of(code).name; }
constexpr std::string_view name_of(CodeClass code_class) noexcept {
  return code_class_names[static_cast<std::size_t>(code_class)];
}
constexpr bool is_failure(Code code) noexcept {
  return row_of(code).code_class == CodeClass::failure;
}
constexpr std::optional<Code> code_named(std::string_view name) noexcept {
  for (const CodeRow& row : codes) {
    if (row.name == name) return row.code;
  }
  return std::nullopt;
}

}  // namespace tally
