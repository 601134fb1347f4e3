// One hot operation, many times, for callgrind to count: `instructions OPERATION` prints how many
// times. instructions.py divides the count by it and compares the quotient with instructions.json.
//
// All that could make one run differ from the next is fixed: ids, times, the order of users. Set-up
// and warming are outside of what is counted.

#include <array>
#include <cstdio>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "support.hpp"
#include "tally/replica.hpp"

/// Callgrind counts while this runs (--toggle-collect), so its name has to survive as it is.
extern "C" [[gnu::noinline]] void tally_measured(const std::function<void()>& work) {
  work();
  asm volatile("");  // Or it is a jump, and callgrind sees no return.
}

namespace tally::bench {
namespace {

/// A mirror with users, one project each. Its commits are few enough that none moves the
/// write-ahead log into the file: where that falls would be a matter of chance.
class Mirror {
 public:
  explicit Mirror(std::size_t users) {
    reopen();
    std::vector<Operation> operations;
    for (std::size_t i = 0; i < users; ++i) {
      const Uuid user = users_.emplace_back(new_id());
      const Uuid project = projects_.emplace_back(new_id());
      operations.emplace_back(CreateUser{user});
      operations.emplace_back(AddCredits{user, Credits{1'000'000}, "purchase"});
      operations.emplace_back(CreateProject{project, user, "Bench", "p", "facts", 1});
    }
    submit(commands(std::move(operations)));
  }

  Engine& engine() { return *engine_; }
  const std::vector<Uuid>& users() const { return users_; }
  const Uuid& any_user() { return users_[random_.below(users_.size())]; }

  /// Closing moves the write-ahead log into the file.
  void reopen(Durability durability = Durability::normal) {
    close();
    Options options;
    options.durability = durability;
    options.clock = [this] { return now(); };
    options.new_id = [this] { return new_id(); };
    engine_.emplace(expect(Engine::open(folder_ / "mirror.db", std::move(options))));
  }
  void close() { engine_.reset(); }

  struct Job {
    Uuid id;
    Uuid user;
    Uuid project;
  };
  /// A job that is yet to be created.
  Job new_job() {
    const std::size_t i = random_.below(users_.size());
    return {new_id(), users_[i], projects_[i]};
  }
  /// New PENDING jobs, each of a user taken at random.
  std::vector<Job> make_jobs(std::size_t count) {
    std::vector<Job> jobs;
    std::vector<Operation> operations;
    for (std::size_t i = 0; i < count; ++i) {
      const Job& job = jobs.emplace_back(new_job());
      operations.emplace_back(CreateJob{job.id, job.project, job.user});
    }
    submit(commands(std::move(operations)));
    return jobs;
  }

  std::vector<Command> commands(std::vector<Operation> operations) {
    std::vector<Command> commands;
    for (Operation& operation : operations) {
      commands.push_back(engine_->make_command(std::move(operation)));
    }
    return commands;
  }
  std::vector<Command> reservations(std::span<const Job> jobs) {
    std::vector<Operation> operations;
    for (const Job& job : jobs) {
      operations.emplace_back(ReserveCredits{job.user, job.id, Credits{8}});
    }
    return commands(std::move(operations));
  }
  void submit(std::vector<Command> commands) {
    for (const Verdict& verdict : expect(engine_->submit(std::move(commands)))) {
      if (verdict.code != Code::ok) throw std::runtime_error(std::string(name_of(verdict.code)));
    }
  }

 private:
  Timestamp now() { return Timestamp{now_us_ += 1'000}; }
  /// Version 7, in time's order like the engine's own: where they come to lie in an index costs.
  Uuid new_id() {
    Uuid id;
    const std::int64_t ms = now().us / 1'000;
    for (std::size_t i = 0; i < 6; ++i) {
      id.bytes[i] = static_cast<std::uint8_t>(ms >> (40 - 8 * i));
    }
    id.bytes[6] = 0x70;
    const std::uint64_t random = random_.next();
    std::memcpy(id.bytes.data() + 8, &random, 8);
    id.bytes[8] = static_cast<std::uint8_t>(0x80U | (id.bytes[8] & 0x3fU));
    return id;
  }

  Random random_{11};
  std::int64_t now_us_ = 1'768'000'000'000'000;
  Folder folder_;
  std::optional<Engine> engine_;
  std::vector<Uuid> users_;
  std::vector<Uuid> projects_;
};

/// Each sets its mirror up, does its work once uncounted, and answers how many times it then did
/// it.

template <class Read>
std::size_t read_from_memory(Read&& read) {
  constexpr std::size_t rounds = 10;
  Mirror mirror(500);
  const auto all = [&] {
    for (const Uuid& user : mirror.users()) read(mirror.engine(), user);
  };
  all();
  tally_measured([&] {
    for (std::size_t i = 0; i < rounds; ++i) all();
  });
  return rounds * mirror.users().size();
}
std::size_t balance() {
  return read_from_memory(
      [](const Engine& engine, const Uuid& user) { expect(engine.balance(user)); });
}
std::size_t check() {
  return read_from_memory(
      [](const Engine& engine, const Uuid& user) { expect(engine.check(user)); });
}

std::size_t refused() {
  constexpr std::size_t times = 500;
  Mirror mirror(100);
  const auto jobs = mirror.make_jobs(100);
  const auto refuse = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      const Mirror::Job& job = jobs[i % jobs.size()];
      const auto receipt =
          mirror.engine().apply(ReserveCredits{job.user, job.id, Credits{2'000'000}});
      if (receipt || receipt.error().code != Code::insufficient_credits) {
        throw std::runtime_error("not refused");
      }
    }
  };
  refuse(jobs.size());
  tally_measured([&] { refuse(times); });
  return times;
}

std::size_t one_durable() {
  constexpr std::size_t warming = 50;
  constexpr std::size_t times = 200;
  Mirror mirror(100);
  const auto jobs = mirror.make_jobs(warming + times);
  mirror.reopen(Durability::full);
  const auto reserve = [&](std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) {
      expect(mirror.engine().apply(ReserveCredits{jobs[i].user, jobs[i].id, Credits{8}}));
    }
  };
  reserve(0, warming);
  tally_measured([&] { reserve(warming, warming + times); });
  return times;
}

constexpr std::size_t per_commit = 1'000;

std::size_t reserve_1000() {
  Mirror mirror(500);
  const auto jobs = mirror.make_jobs(3 * per_commit);
  mirror.reopen();
  for (std::size_t commit = 0; commit < 3; ++commit) {
    auto commands = mirror.reservations(std::span(jobs).subspan(commit * per_commit, per_commit));
    const auto work = [&] { mirror.submit(std::move(commands)); };
    if (commit == 0) {
      work();
    } else {
      tally_measured(work);
    }
  }
  return 2 * per_commit;
}

std::size_t finalize_1000() {
  Mirror mirror(500);
  const auto jobs = mirror.make_jobs(3 * per_commit);
  mirror.submit(mirror.reservations(jobs));
  mirror.reopen();
  for (std::size_t commit = 0; commit < 3; ++commit) {
    std::vector<Operation> operations;
    for (std::size_t i = 0; i < per_commit; ++i) {
      operations.emplace_back(FinalizeJobCredits{jobs[commit * per_commit + i].id, Credits{5}});
    }
    auto commands = mirror.commands(std::move(operations));
    const auto work = [&] { mirror.submit(std::move(commands)); };
    if (commit == 0) {
      work();
    } else {
      tally_measured(work);
    }
  }
  return 2 * per_commit;
}

/// Twelve operations, from its creation to its completion; a hundred jobs a commit.
std::size_t whole_job() {
  constexpr std::size_t jobs = 100;
  Mirror mirror(500);
  mirror.reopen();
  for (const bool counted : {false, true}) {
    std::vector<Operation> operations;
    for (std::size_t i = 0; i < jobs; ++i) {
      const Mirror::Job job = mirror.new_job();
      operations.emplace_back(CreateJob{job.id, job.project, job.user});
      operations.emplace_back(ReserveCredits{job.user, job.id, Credits{8}});
      for (int status = 1; status <= static_cast<int>(JobStatus::PACKAGING); ++status) {
        operations.emplace_back(AdvanceJob{job.id, static_cast<JobStatus>(status)});
      }
      operations.emplace_back(CompleteJob{job.id, Credits{5}});
    }
    auto commands = mirror.commands(std::move(operations));
    const auto work = [&] { mirror.submit(std::move(commands)); };
    if (counted) {
      tally_measured(work);
    } else {
      work();
    }
  }
  return jobs;
}

/// The same op_id again: answered from what is recorded.
std::size_t repeated() {
  constexpr std::size_t times = 500;
  Mirror mirror(100);
  const auto first = mirror.reservations(mirror.make_jobs(times));
  mirror.submit(first);
  const auto repeat = [&](std::vector<Command> commands) {
    for (Command& command : commands) expect(mirror.engine().apply_command(std::move(command)));
  };
  repeat(first);
  auto again = first;
  tally_measured([&] { repeat(std::move(again)); });
  return times;
}

std::size_t open_close() {
  constexpr std::size_t times = 5;
  Mirror mirror(100);
  mirror.submit(mirror.reservations(mirror.make_jobs(1'000)));
  const auto open = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      mirror.reopen();
      mirror.close();
    }
  };
  open(1);
  tally_measured([&] { open(times); });
  return times;
}

/// An operation's way out of the outbox: decoded, written as its line, chained.
std::size_t push() {
  constexpr std::size_t rounds = 2;
  Mirror mirror(100);
  mirror.submit(mirror.reservations(mirror.make_jobs(per_commit)));
  Replica replica(mirror.engine());
  expect(replica.enrol(Enrolment{mirror.any_user(), {Capability::author, Capability::service}}));
  const auto next = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      if (expect(replica.next_push(per_commit, 64U << 20U)).operations.size() != per_commit) {
        throw std::runtime_error("another push than expected");
      }
    }
  };
  next(1);
  tally_measured([&] { next(rounds); });
  return rounds * per_commit;
}

struct Counted {
  const char* name;
  std::size_t (*run)();
};
constexpr std::array counted{
    Counted{"balance", balance},
    Counted{"check", check},
    Counted{"refused", refused},
    Counted{"repeated", repeated},
    Counted{"one_durable", one_durable},
    Counted{"reserve_1000", reserve_1000},
    Counted{"finalize_1000", finalize_1000},
    Counted{"whole_job", whole_job},
    Counted{"open_close", open_close},
    Counted{"push", push},
};

/// What the counts hold for; the names are those of instructions.json.
void print_build() {
  std::puts(TALLY_BENCH_BUILD);
  const std::string_view sqlite = sqlite_version();
  std::printf("sqlite_version: %.*s\n", static_cast<int>(sqlite.size()), sqlite.data());
}

int run(const char* wanted) {
  if (std::strcmp(wanted, "--build") == 0) {
    print_build();
    return 0;
  }
  for (const Counted& operation : counted) {
    if (std::strcmp(wanted, "--list") == 0) std::puts(operation.name);
    if (std::strcmp(wanted, operation.name) != 0) continue;
    std::printf("%zu\n", operation.run());
    return 0;
  }
  if (std::strcmp(wanted, "--list") == 0) return 0;
  std::fputs("usage: instructions OPERATION | --list | --build\n", stderr);
  return 2;
}

}  // namespace
}  // namespace tally::bench

int main(int argc, char** argv) {
  try {
    return tally::bench::run(argc == 2 ? argv[1] : "");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "instructions: %s\n", e.what());
    return 1;
  }
}
