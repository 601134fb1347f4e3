// Memory runs out: the n-th time that SQLite or C++ asks for some, for every n, in every operation,
// in every call that reads, and while a mirror is made, opened and closed. The answer is a failure,
// the file is as it was, and the engine either goes on or refuses writes until it is opened again.
#include <doctest/doctest.h>
#include <tally/replica.hpp>

#include <functional>
#include <set>

#include "fault/device_steps.hpp"
#include "fault/faulty_memory.hpp"

namespace tally::test {
namespace {

using Asker = FaultyMemory::Asker;

struct Shortage {
  Asker asker;
  bool stays;
  std::string text() const {
    return std::string(asker == Asker::sqlite ? "SQLite" : "C++") + " gets no memory" +
           (stays ? " any more" : "");
  }
};
constexpr Shortage shortages[] = {
    {Asker::sqlite, false}, {Asker::sqlite, true}, {Asker::cpp, false}, {Asker::cpp, true}};

/// Never that the file is damaged or not there: the host would throw it away.
bool is_honest(Code code) {
  return std::set{Code::internal, Code::io, Code::busy, Code::read_only}.contains(code);
}

/// The short form tries each of the first few, then ever fewer.
int soon_after(int nth) {
  constexpr int each_up_to = 16;
  return long_run() || nth < each_up_to ? nth + 1 : nth + nth / 4;
}

/// One call while memory is short; the engine on a file that is opened as often as it has to be.
class Trial {
 public:
  Trial(const Steps& steps, const Step& step, Shortage shortage)
      : options_(steps.options(Durability::normal)), step_(step), shortage_(shortage) {
    start();
  }

  /// How often there was none.
  int run(int (*after)(int)) {
    int faults = 0;
    for (int nth = 1; attempt(nth); nth = after(nth)) ++faults;
    return faults;
  }

 private:
  void start() {
    engine_.reset();
    copy_mirror(step_.before, path_);
    open();
  }
  void open() {
    engine_.reset();
    auto opened = Engine::open(path_, options_);
    REQUIRE_MESSAGE(opened, opened.error().detail);
    engine_.emplace(std::move(opened).value());
  }
  /// False where the fault did not come to pass.
  bool attempt(int nth) {
    CAPTURE(nth);
    FaultyMemory::fail(shortage_.asker, nth, shortage_.stays);
    const auto answer = step_.call(*engine_);
    FaultyMemory::heal();
    if (answer) return check_made(*answer);
    if (!FaultyMemory::has_failed()) return check_refused(answer.error(), nth);
    CHECK_MESSAGE(is_honest(answer.error().code), name_of(answer.error().code));
    CHECK(difference(step_.rows_before, dump(path_)).empty());
    CHECK(all_told(*engine_) == step_.told_before);
    CHECK_NOTHROW(RawTransaction{path_});
    return true;
  }
  bool check_made(const std::string& answer) {
    const bool came = FaultyMemory::has_failed();
    CHECK(answer == step_.answer);
    CHECK(engine_->audit()->findings.empty());
    CHECK(all_told(*engine_) == step_.told_after);
    engine_.reset();
    CHECK(difference(step_.rows_after, dump(path_)).empty());
    if (came) start();
    return came;
  }
  /// What was short before has left an engine that refuses writes; a new one does not.
  bool check_refused(const Error& error, int nth) {
    CHECK(error.code == Code::internal);
    CHECK(error.detail.find("reopen") != std::string::npos);
    open();
    return attempt(nth);
  }

  Options options_;
  const Step& step_;
  Shortage shortage_;
  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "mirror.db";
  std::optional<Engine> engine_;
};

void run_short(const Steps& steps, int (*after)(int)) {
  for (const Shortage shortage : shortages) {
    CAPTURE(shortage.text());
    int faults = 0;
    for (const Step& step : steps.all()) {
      CAPTURE(step.name);
      faults += Trial(steps, step, shortage).run(after);
    }
    MESSAGE(shortage.text() << ": " << faults << " faults over " << steps.all().size() << " calls");
    CHECK(faults > 100);
  }
}

/// Calls `body` to have the n-th memory not there, until it says that it was not asked for.
void for_each_shortage(const std::function<bool(int nth, Shortage)>& body) {
  for (const Shortage shortage : shortages) {
    CAPTURE(shortage.text());
    int faults = 0;
    for (int nth = 1; body(nth, shortage); nth = soon_after(nth)) ++faults;
    MESSAGE(shortage.text() << ": " << faults << " faults");
    CHECK(faults > 0);
  }
}

/// While it is checked there is memory.
template <class T>
void check_answer(const Result<T>& answer) {
  const FaultyMemory::Reprieve reprieve;
  if (answer) return;
  CHECK_MESSAGE(is_honest(answer.error().code), answer.error().detail);
  CHECK_MESSAGE(FaultyMemory::has_failed(), answer.error().detail);
}

/// Makes each of the calls with the n-th memory of its own not there; whether any needed as much.
template <class... Calls>
bool all_short(int nth, Shortage shortage, Calls&&... calls) {
  bool came = false;
  const auto make = [&](auto& call) {
    FaultyMemory::fail(shortage.asker, nth, shortage.stays);
    check_answer(call());
    FaultyMemory::heal();
    came = came || FaultyMemory::has_failed();
  };
  (make(calls), ...);
  return came;
}

}  // namespace

TEST_CASE("memory runs out in an operation: it fails whole or is ok whole") {
  run_short(OperationSteps(), soon_after);
}

TEST_CASE("memory runs out in a device's lease, push, pull or rebase: it is whole or not at all") {
  run_short(DeviceSteps(), sparsely_after);
}

TEST_CASE("memory runs out while a mirror is opened and closed: nothing has changed") {
  const OperationSteps steps;
  const Dump& expected = steps.last().rows_before;
  const TemporaryFolder folder;
  const auto path = folder.path() / "mirror.db";
  copy_mirror(steps.last().before, path);
  for_each_shortage([&](int nth, Shortage shortage) {
    {
      FaultyMemory::fail(shortage.asker, nth, shortage.stays);
      const auto engine = Engine::open(path);
      if (engine) (void)engine->balance(user_id(1));
      check_answer(engine);
    }
    FaultyMemory::heal();
    const bool came = FaultyMemory::has_failed();
    CHECK(difference(expected, dump(path)).empty());
    CHECK_NOTHROW(RawTransaction{path});
    return came;
  });
}

TEST_CASE("memory runs out while a mirror is made: it is made the next time") {
  for_each_shortage([&](int nth, Shortage shortage) {
    const TemporaryFolder folder;
    const auto path = folder.path() / "mirror.db";
    {
      FaultyMemory::fail(shortage.asker, nth, shortage.stays);
      check_answer(Engine::open(path));
    }
    FaultyMemory::heal();
    auto engine = Engine::open(path);
    REQUIRE_MESSAGE(engine, engine.error().detail);
    CHECK(engine->apply(CreateUser{user_id(1)}));
    return FaultyMemory::has_failed();
  });
}

TEST_CASE("memory runs out in a call that reads: it fails, and the next one answers") {
  const OperationSteps steps;
  TemporaryMirror mirror;
  mirror.close();
  copy_mirror(steps.last().before, mirror.path());
  mirror.open();
  REQUIRE(mirror->apply(CreateUser{user_id(2)}));
  REQUIRE(Replica(mirror.engine()).enrol({id('x', 1), {Capability::author}, user_id(1)}));
  const std::string digests = all_digests(mirror.engine());
  const std::string line = mirror.lines.line("create_user user_id=u3");
  for_each_shortage([&](int nth, Shortage shortage) {
    mirror.reopen();  // A push that ran short while it wrote has ended all writing.
    Replica replica(mirror.engine());
    const bool came = all_short(
        nth, shortage, [&] { return mirror->balance(user_id(2)); },
        [&] { return mirror->account(user_id(1)); },
        [&] { return mirror->history(user_id(1), 100); }, [&] { return mirror->job(job_id(1)); },
        [&] { return mirror->rows("assets", user_id(1)); },
        [&] { return mirror->digest(user_id(1)); }, [&] { return mirror->audit(); },
        [&] { return mirror->parse_command(line); }, [&] { return replica.state(); },
        [&] { return replica.leases(); }, [&] { return replica.rejected(); },
        [&] { return replica.next_push(100, 1'000'000); });
    CHECK(all_digests(mirror.engine()) == digests);
    CHECK(mirror.findings().empty());
    return came;
  });
}

}  // namespace tally::test
