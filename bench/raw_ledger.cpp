#include "raw_ledger.hpp"

#include <cmath>
#include <map>

#include "tally/job_machine.hpp"

namespace tally::bench {
namespace {

constexpr std::int64_t reserve_credits = ReserveCredits::row.number;
constexpr std::int64_t finalize_job_credits = FinalizeJobCredits::row.number;
constexpr int stages = 8;
constexpr int operations_a_job = 4 + stages;

std::vector<Uuid> new_ids(std::size_t count) {
  std::vector<Uuid> ids(count);
  for (Uuid& id : ids) id = new_uuid_v7();
  return ids;
}

}  // namespace

void copy_mirror(const std::filesystem::path& from, const std::filesystem::path& to) {
  Raw(from).exec("pragma wal_checkpoint(truncate)");
  std::filesystem::copy_file(from, to);
}

std::size_t outbox_bytes(const std::filesystem::path& mirror) {
  return static_cast<std::size_t>(Raw(mirror).number(
      "select length(body) / operations from tally_outbox order by n desc limit 1"));
}

void require_alike(const std::filesystem::path& ours, const std::filesystem::path& floor) {
  const char* sizes =
      "select name, ncell, payload from dbstat where aggregate = true and payload > 0 and "
      "name like '%tally%' order by name";
  const auto read = [&](const std::filesystem::path& path) {
    std::map<std::string, std::pair<double, double>> out;
    Raw raw(path);
    raw.exec("pragma wal_checkpoint(truncate)");
    sqlite3_stmt* statement = raw.prepare(sizes);
    while (sqlite3_step(statement) == SQLITE_ROW) {
      out[reinterpret_cast<const char*>(sqlite3_column_text(statement, 0))] = {
          sqlite3_column_double(statement, 1), sqlite3_column_double(statement, 2)};
    }
    return out;
  };
  const auto close = [](double a, double b) { return std::abs(a - b) <= 0.05 * a + 2'000; };
  const auto theirs = read(floor);
  for (const auto& [name, size] : read(ours)) {
    const auto found = theirs.find(name);
    if (found == theirs.end() || !close(size.first, found->second.first) ||
        !close(size.second, found->second.second))
      throw std::runtime_error("the floor does not write " + name + " as the engine does");
  }
}

RawLedger::RawLedger(const std::filesystem::path& mirror, std::size_t reserved)
    : raw_(mirror),
      begin_(raw_.prepare("begin immediate")),
      commit_(raw_.prepare("commit")),
      entry_(raw_.prepare("insert into tally_entry values (?, ?, ?, ?, ?, ?, ?, ?)")),
      operation_(raw_.prepare("insert into tally_operation values (?, ?, ?, ?, ?, ?, null)")),
      account_(raw_.prepare("update tally_account set balance = ?, held = ?, seq = ?, head = ?, "
                            "pending = ? where u = ?")),
      reserve_(raw_.prepare("update tally_job set hold = 8, cost_credits_reserved = 8, reservation "
                            "= ?, active_at = ? where j = ?")),
      settle_(raw_.prepare("update tally_job set hold = 0, cost_credits_final = 5, active_at = ? "
                           "where j = ?")),
      job_(raw_.prepare("insert into tally_job values (?, ?, ?, ?, ?, 10, 100, 800, 0, 8, 5, ?, ?, "
                        "?, null, ?)")),
      step_(raw_.prepare("insert into tally_step values (?, null, 2, 100, null, null, null, '{}', "
                         "?, ?)")),
      outbox_(raw_.prepare("insert into tally_outbox values (?, ?, ?)")),
      job_user_(raw_.numbers("select u from tally_job order by j")),
      reserved_(reserved),
      number_(raw_.number("select max(coalesce((select max(e) from tally_entry), 0), "
                          "coalesce((select max(o) from tally_operation), 0)) + 1")),
      outbox_number_(raw_.number("select max(n + operations) from tally_outbox")) {
  Ledger::grow_wal(raw_);
  const auto users = static_cast<std::size_t>(raw_.number("select max(u) + 1 from tally_user"));
  accounts_.resize(users);
  touched_in_.resize(users);
  project_of_.resize(users);
  raw_.each("select u, balance, held, seq, head, pending from tally_account", [&](auto column) {
    accounts_[static_cast<std::size_t>(column(0))] =
        Account{column(1), column(2), column(3), column(4), column(5)};
  });
  raw_.each("select u, p from tally_project",
            [&](auto column) { project_of_[static_cast<std::size_t>(column(0))] = column(1); });
}

void RawLedger::operation(std::int64_t u, std::int64_t kind, const Uuid& id) {
  ++at_;
  raw_.run(operation_, number_, id, u, kind, at_,
           static_cast<std::int64_t>(static_cast<std::uint64_t>(at_) * 0x9e3779b97f4a7c15ULL));
  const auto place = static_cast<std::size_t>(u);
  ++accounts_[place].pending;
  if (touched_in_[place] == round_) return;
  touched_in_[place] = round_;
  touched_.push_back(u);
}

void RawLedger::entry(std::int64_t u, std::int64_t j, std::int64_t kind, std::int64_t amount) {
  Account& account = accounts_[static_cast<std::size_t>(u)];
  account.balance += amount;
  raw_.run(entry_, number_, u, ++account.seq, number_ - account.head, j, kind, amount,
           account.balance);
  account.head = number_++;
}

void RawLedger::reserve(std::int64_t u, std::int64_t j, const Uuid& id) {
  operation(u, reserve_credits, id);
  entry(u, j, 7, -8);
  accounts_[static_cast<std::size_t>(u)].held += 8;
}

void RawLedger::settle(std::int64_t u, std::int64_t j, const Uuid& id) {
  operation(u, finalize_job_credits, id);
  entry(u, j, 8, 8);
  entry(u, j, 9, -5);
  entry(u, j, 10, 3);
  accounts_[static_cast<std::size_t>(u)].held -= 8;
}

void RawLedger::flush(std::size_t operations, std::size_t outbox_bytes_an_operation) {
  for (const std::int64_t u : touched_) {
    const Account& account = accounts_[static_cast<std::size_t>(u)];
    raw_.run(account_, account.balance, account.held, account.seq, account.head, account.pending,
             u);
  }
  touched_.clear();
  raw_.run(outbox_, outbox_number_, static_cast<std::int64_t>(operations),
           std::string(operations * outbox_bytes_an_operation, 'x'));
  outbox_number_ += static_cast<std::int64_t>(operations);
  raw_.run(commit_);
}

double RawLedger::two_phase(std::size_t operations, std::size_t outbox_bytes_an_operation) {
  const std::vector<Uuid> ids = new_ids(operations);
  const auto start = Clock::now();
  raw_.run(begin_);
  ++round_;
  for (const Uuid& id : ids) {
    const bool reserves = turn_++ % 2 == 0;
    const std::size_t job = reserves ? reserved_++ : settled_++;
    const std::int64_t u = job_user_[job];
    const auto j = static_cast<std::int64_t>(job) + 1;
    reserves ? reserve(u, j, id) : settle(u, j, id);
    if (reserves) {
      raw_.run(reserve_, id, at_, j);
    } else {
      raw_.run(settle_, at_, j);
    }
  }
  flush(operations, outbox_bytes_an_operation);
  return seconds_since(start);
}

void RawLedger::insert_job(std::int64_t j, std::int64_t u, const Uuid& id,
                           const Uuid& reservation) {
  raw_.run(job_, j, id, u, project_of_[static_cast<std::size_t>(u)], at_, reservation, at_, at_,
           at_);
  for (int stage = 0; stage < stages; ++stage) raw_.run(step_, j * stages + stage, at_, at_);
}

double RawLedger::whole_jobs(std::size_t jobs, std::size_t outbox_bytes_an_operation) {
  const std::vector<Uuid> ids = new_ids(jobs * operations_a_job);
  const auto start = Clock::now();
  raw_.run(begin_);
  ++round_;
  for (std::size_t job = 0; job < jobs; ++job) {
    const Uuid* id = &ids[job * operations_a_job];
    const std::int64_t u = 1 + static_cast<std::int64_t>(static_cast<std::size_t>(at_ * 7919) %
                                                         (project_of_.size() - 1));
    const auto j = static_cast<std::int64_t>(job_user_.size()) + 1;
    job_user_.push_back(u);
    operation(u, CreateJob::row.number, id[0]);
    ++number_;
    reserve(u, j, id[1]);
    for (int moved = 0; moved <= stages; ++moved, ++number_)
      operation(u, AdvanceJob::row.number, id[2 + moved]);
    settle(u, j, id[operations_a_job - 1]);
    insert_job(j, u, id[0], id[1]);
  }
  flush(jobs * operations_a_job, outbox_bytes_an_operation);
  return seconds_since(start);
}

}  // namespace tally::bench
