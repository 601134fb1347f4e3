#pragma once
// A device's mirror that is fed by hand: what canonical would answer is made here, without a
// server.

#include <doctest/doctest.h>
#include <tally/replica.hpp>

#include "support/fixture.hpp"

namespace tally::test {

using Lines = std::vector<std::string>;

inline const std::vector<Capability> all{Capability::author, Capability::worker,
                                         Capability::service};
inline const std::string fed_at = "2026-01-17T00:00:00.000000Z";

inline PulledUser::Row row(std::string table, Texts texts) {
  return {std::move(table), std::move(texts)};
}

inline PulledUser::Row entry(std::uint64_t n, const std::string& type, std::int64_t amount,
                             std::int64_t balance, Texts::value_type job = {}) {
  return row("credit_ledger",
             {id('e', n).text(), user_id(1).text(), type, std::to_string(amount), std::nullopt,
              fed_at, job, std::nullopt, std::to_string(balance), std::to_string(n)});
}

/// A job of u1 as canonical feeds it: with all its steps, nothing held and nobody's claim.
struct FedJob {
  std::uint64_t n;
  std::string status = "PENDING";
  std::int64_t hold = 0;
  Texts::value_type reservation{};
  Texts::value_type claim_until{};
  Texts::value_type claimed_by{};
  int steps = 255;
  Texts::value_type lease{};
};

inline void add(std::vector<PulledUser::Row>& rows, const FedJob& job) {
  Texts texts{job_id(job.n).text(), project_id(1).text(), user_id(1).text(), job.status, "0"};
  texts.resize(13);
  texts.insert(texts.end(), {fed_at, std::nullopt, std::nullopt, std::to_string(job.hold),
                             job.reservation, job.lease, job.claim_until, job.claimed_by, fed_at});
  rows.push_back(row("jobs", std::move(texts)));
  rows.push_back(row("job_steps", {job_id(job.n).text(), std::to_string(job.steps)}));
}

/// A device with these capabilities. User u1 has 14 credits, of which it has leased 10 for an hour.
struct FedDevice {
  FedDevice(std::vector<Capability> capabilities, const std::vector<FedJob>& jobs,
            SpendPolicy policy = SpendPolicy::leased)
      : mirror([&] {
          Options options = TemporaryMirror::fast();
          options.spend_policy = policy;
          options.verdict_timeout = std::chrono::milliseconds{0};
          return options;
        }()),
        replica(mirror.engine()) {
    REQUIRE(replica.enrol({id('x', 1), std::move(capabilities), std::nullopt}));
    REQUIRE(replica.next_push(10, 10'000));
    Reply reply;
    reply.cursor = "1";
    reply.leases.push_back({user_id(1), id('l', 1), Credits{10}, time_at(3600)});
    PulledUser& user = reply.users.emplace_back();
    user.user_id = user_id(1);
    Texts project{project_id(1).text(), user_id(1).text(), "T", "P", "facts", "1"};
    project.resize(9);
    project.insert(project.end(), {std::nullopt, fed_at, std::nullopt});
    user.rows.push_back(row("projects", project));
    std::int64_t held = 10;
    std::int64_t balance = 4;
    for (const FedJob& job : jobs) add(user.rows, job);
    user.rows.push_back(entry(1, "grant", 14, 14));
    user.rows.push_back(entry(2, "reserve", -10, 4));
    for (const FedJob& job : jobs) {
      if (job.hold == 0) continue;
      held += job.hold;
      balance -= job.hold;
      user.rows.push_back(entry(static_cast<std::uint64_t>(++entries), "reserve", -job.hold,
                                balance, job_id(job.n).text()));
    }
    PulledState& state = user.state.emplace();
    state.entries = entries;
    state.balance = balance;
    state.held = held;
    const auto taken = replica.take(reply);
    REQUIRE(taken.has_value());
    REQUIRE(taken->diverged.empty());
  }

  std::int64_t unspent() { return replica.leases()->at(0).unspent.value; }
  std::int64_t held() { return mirror->check(user_id(1))->held.value; }
  /// The latest entries, oldest first: `reserve -4 1`, the job behind the amount.
  Lines latest(std::size_t count) {
    Lines out;
    const auto entries = mirror->history(user_id(1), count);
    for (const Entry& made : entries.value()) {
      out.insert(out.begin(),
                 made.type + " " + std::to_string(made.amount.value) +
                     (made.job_id ? " " + std::to_string(made.job_id->bytes[15]) : ""));
    }
    return out;
  }

  /// An answer to the next push, without anything in it yet.
  Reply reply() {
    const auto push = replica.next_push(10, 10'000);
    REQUIRE(push.has_value());
    Reply reply;
    reply.asked = push->cursor;
    reply.subscriptions = push->subscriptions;
    reply.cursor = push->cursor.value_or("") + "1";
    return reply;
  }
  Taken take(const Reply& reply) {
    const auto taken = replica.take(reply);
    REQUIRE_MESSAGE(taken.has_value(), (taken ? "" : taken.error().detail));
    CHECK(taken->diverged.empty());
    return *taken;
  }

  TemporaryMirror mirror;
  Replica replica;
  std::int64_t entries = 2;  ///< Of u1's, as far as canonical has fed them.
};

/// Answers the latest push: u1's rows that changed since the answer before, and verdicts up to the
/// last of these.
inline Taken feed(FedDevice& device, std::vector<PulledUser::Row> rows, std::int64_t balance,
                  std::int64_t held, const Uuid& lease = id('l', 1),
                  std::vector<PulledVerdict> verdicts = {}) {
  Reply reply = device.reply();
  if (!verdicts.empty()) reply.watermark = verdicts.back().number;
  reply.verdicts = std::move(verdicts);
  reply.leases.push_back({user_id(1), lease, Credits{10}, time_at(3600)});
  PulledUser& user = reply.users.emplace_back();
  user.user_id = user_id(1);
  user.rows = std::move(rows);
  PulledState& state = user.state.emplace();
  state.since = 1;
  state.since_entries = device.entries;
  for (const PulledUser::Row& fed : user.rows) device.entries += fed.table == "credit_ledger";
  state.entries = device.entries;
  state.balance = balance;
  state.held = held;
  return device.take(reply);
}

/// What is pending: `1 ok`, or the code that it met when it was applied again.
inline Lines pending(FedDevice& device) {
  Lines lines;
  REQUIRE(device.replica.each_pending([&](const PendingOperation& operation) {
    lines.push_back(std::to_string(operation.number) + " " + std::string(name_of(operation.code)));
    return true;
  }));
  return lines;
}

}  // namespace tally::test
