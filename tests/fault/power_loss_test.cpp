// A power cut at any write, sync or truncation, which leaves any of the sectors that were not
// synced: every operation that was acknowledged is there, none is half there, and the audit finds
// nothing.
#include <SQLiteCpp/Database.h>
#include <doctest/doctest.h>
#include <tally/trace.hpp>

#include <atomic>
#include <random>
#include <thread>

#include "fault/device_steps.hpp"
#include "fault/fault_disk.hpp"
#include "model/trace_generator.hpp"
#include "support/fixture.hpp"

namespace tally::test {
namespace {

/// What a cut leaves, and how many operations had been acknowledged by then.
struct Cut {
  FaultDisk::Image image;
  std::size_t acknowledged = 0;
  bool came = false;
};

/// Applies commits of random size until all lines are applied; the power fails at one of its calls.
class Run {
 public:
  Run(std::uint64_t seed, const std::vector<std::string>& lines, Durability durability)
      : random_(seed), lines_(lines) {
    options_.durability = durability;
  }

  /// How many calls there are to fail at.
  int changes() {
    run(0);
    return FaultDisk::get().changes();
  }
  Cut cut_at(int nth) {
    run(nth);
    return std::move(cut_);
  }

 private:
  void run(int nth) {
    const TemporaryFolder folder;
    FaultDisk& disk = FaultDisk::get();
    std::mt19937_64 sizes(7);
    acknowledged_ = 0;
    cut_ = {};
    disk.remember();
    {
      auto engine = Engine::open(folder.path() / "mirror.db", options_);
      REQUIRE(engine);
      disk.cut_power_at(nth, random_(), [this](FaultDisk::Image image) {
        cut_ = {std::move(image), acknowledged_, true};
      });
      for (std::size_t i = 0; i < lines_.size();) {
        std::vector<Command> commands;
        for (std::size_t k = 1 + sizes() % 12; k > 0 && i + commands.size() < lines_.size(); --k)
          commands.push_back(*parse_trace_line(lines_[i + commands.size()]));
        i += commands.size();
        REQUIRE(engine->submit(std::move(commands)));
        acknowledged_ = i;
      }
    }
    disk.forget();
  }

  std::mt19937_64 random_;
  const std::vector<std::string>& lines_;
  Options options_{};
  std::size_t acknowledged_ = 0;
  Cut cut_{};
};

/// What the mirror is after each number of lines.
class Reference {
 public:
  explicit Reference(const std::vector<std::string>& lines) {
    TemporaryMirror mirror;
    states_.push_back(all_digests(mirror.engine()));
    for (const std::string& line : lines) {
      mirror.apply_line(line);
      states_.push_back(all_digests(mirror.engine()));
    }
  }
  /// The first number of lines, from `least` on, that leaves this.
  std::optional<std::size_t> find(const std::string& state, std::size_t least) const {
    for (std::size_t n = least; n < states_.size(); ++n) {
      if (states_[n] == state) return n;
    }
    return std::nullopt;
  }

 private:
  std::vector<std::string> states_;
};

std::vector<std::string> some_lines(std::size_t count) {
  model::GeneratorOptions options;
  options.seed = 11;
  options.operations = count;
  options.users = 6;
  std::vector<std::string> lines = model::generate_trace(options);
  std::erase_if(lines, [](const std::string& line) { return !parse_trace_line(line); });
  return lines;
}

void check_cut(const Cut& cut, const Reference& reference, Durability durability) {
  const TemporaryFolder folder;
  const auto path = put(cut.image, folder.path());
  auto engine = Engine::open(path);
  REQUIRE_MESSAGE(engine, engine.error().detail);
  const auto report = engine->audit();
  REQUIRE(report);
  CHECK(report->findings.empty());
  const bool full = durability == Durability::full;
  const auto found = reference.find(all_digests(*engine), full ? cut.acknowledged : 0);
  CHECK_MESSAGE(found, "the mirror is as after none of the operations");
  if (found && full) CHECK(*found <= cut.acknowledged + 12);
}

void cut_everywhere(Durability durability) {
  const std::vector<std::string> lines = some_lines(long_run() ? 600 : 150);
  const Reference reference(lines);
  int cuts = 0;
  Run run(5, lines, durability);
  const int changes = run.changes();
  const int stride = long_run() || durability == Durability::full ? 1 : 5;
  for (int nth = 1; nth <= changes; nth += stride) {
    CAPTURE(nth);
    const Cut cut = run.cut_at(nth);
    REQUIRE(cut.came);
    check_cut(cut, reference, durability);
    ++cuts;
  }
  MESSAGE(cuts << " cuts over " << changes << " calls");
  CHECK(cuts > 80);
}

/// What a cut leaves in a call, or while the mirror is closed behind it.
struct LeftOfCall {
  FaultDisk::Image image{};
  bool is_acknowledged = false;
};

LeftOfCall cut_in_call(const Step& step, const Options& options, int nth) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "mirror.db";
  copy_mirror(step.before, path);
  FaultDisk& disk = FaultDisk::get();
  LeftOfCall left;
  bool is_acknowledged = false;
  disk.remember();
  {
    auto engine = Engine::open(path, options);
    REQUIRE(engine);
    disk.cut_power_at(nth, static_cast<std::uint64_t>(nth), [&](FaultDisk::Image image) {
      left = {std::move(image), is_acknowledged};
    });
    REQUIRE(step.call(*engine));
    is_acknowledged = true;
  }
  disk.forget();
  return left;
}

/// The call is there whole or not at all; where it is not, it can be made again.
void check_left(const Step& step, const Options& options, const LeftOfCall& left) {
  const TemporaryFolder folder;
  const auto path = put(left.image, folder.path());
  auto engine = Engine::open(path, options);
  REQUIRE_MESSAGE(engine, engine.error().detail);
  CHECK(engine->audit()->findings.empty());
  const bool is_there = difference(step.rows_after, dump(path)).empty();
  if (!is_there) {
    const bool is_promised = options.durability == Durability::full || step.nature.is_synced;
    CHECK_FALSE((left.is_acknowledged && is_promised));
    CHECK(difference(step.rows_before, dump(path)).empty());
    const auto answer = step.call(*engine);
    REQUIRE_MESSAGE(answer, answer.error().detail);
    CHECK(*answer == step.answer);
  }
  CHECK(all_told(*engine) == step.told_after);
  engine = Error{};
  CHECK(difference(step.rows_after, dump(path)).empty());
}

}  // namespace

TEST_CASE("power loss: a device's call is whole or can be made again; what is sent is on disk") {
  const DeviceSteps steps;
  for (const Durability durability : {Durability::full, Durability::normal}) {
    const Options options = steps.options(durability);
    int cuts = 0;
    for (const Step& step : steps.all()) {
      CAPTURE(step.name);
      for (int nth = 1;; nth = sparsely_after(nth)) {
        CAPTURE(nth);
        const LeftOfCall left = cut_in_call(step, options, nth);
        if (left.image.empty()) break;
        check_left(step, options, left);
        ++cuts;
      }
    }
    MESSAGE(cuts << " cuts over " << steps.all().size() << " calls");
    CHECK(cuts > 100);
  }
}

TEST_CASE("power loss: in full durability what was acknowledged is there") {
  FaultDisk::get();
  cut_everywhere(Durability::full);
}

TEST_CASE("power loss: in normal durability there is what some moment's operations left") {
  FaultDisk::get();
  cut_everywhere(Durability::normal);
}

TEST_CASE("power loss: while a mirror is made") {
  FaultDisk& disk = FaultDisk::get();
  int cuts = 0;
  for (int nth = 1;; ++nth) {
    CAPTURE(nth);
    const TemporaryFolder folder;
    const auto path = folder.path() / "mirror.db";
    FaultDisk::Image left;
    disk.remember();
    disk.cut_power_at(nth, static_cast<std::uint64_t>(nth),
                      [&](FaultDisk::Image image) { left = std::move(image); });
    REQUIRE(Engine::open(path));
    disk.forget();
    if (left.empty()) break;
    ++cuts;
    const TemporaryFolder after;
    auto engine = Engine::open(put(left, after.path()));
    REQUIRE_MESSAGE(engine, engine.error().detail);
    CHECK(engine->apply(CreateUser{user_id(1)}));
  }
  MESSAGE(cuts << " cuts");
  CHECK(cuts > 20);
}

TEST_CASE("power loss: what a killed process did not sync is on disk before an ok rests on it") {
  FaultDisk& disk = FaultDisk::get();
  const Command addition{id('a', 1), Timestamp{}, AddCredits{user_id(1), Credits{5}, "grant"}};
  int recovered = 0;
  for (int nth = 1;; ++nth) {
    CAPTURE(nth);
    const TemporaryFolder folder;
    const TemporaryFolder after;
    bool is_killed = false;
    disk.remember();
    {
      auto engine = Engine::open(folder.path() / "mirror.db");
      REQUIRE(engine);
      REQUIRE(engine->apply(CreateUser{user_id(1)}));
      // As the process would leave the files if it were killed at that call: all that it wrote.
      disk.cut_power_at(nth, 1, [&](const FaultDisk::Image&) {
        is_killed = true;
        for (const char* name : {"mirror.db", "mirror.db-wal"})
          std::filesystem::copy_file(folder.path() / name, after.path() / name);
      });
      REQUIRE(engine->submit({addition}));
    }
    disk.forget();
    if (!is_killed) break;
    // Somebody looks at it meanwhile. Else the first connection that is closed moves the WAL.
    SQLite::Database onlooker((after.path() / "mirror.db").string());
    onlooker.execAndGet("select count(*) from tally_user");
    disk.heal();
    auto engine = Engine::open(after.path() / "mirror.db");
    REQUIRE(engine);
    CHECK(disk.count(FaultDisk::Call::sync) >= 1);
    const int writes = disk.count(FaultDisk::Call::write);
    const auto verdicts = engine->submit({addition});
    REQUIRE(verdicts);
    CHECK(verdicts->front().code == Code::ok);
    if (disk.count(FaultDisk::Call::write) == writes) ++recovered;
  }
  CHECK(recovered > 0);
}

TEST_CASE("power loss: four callers, while the WAL is moved into the file") {
  FaultDisk& disk = FaultDisk::get();
  std::mt19937_64 random(3);
  const int rounds = long_run() ? 200 : 6;
  for (int round = 0; round < rounds; ++round) {
    CAPTURE(round);
    const TemporaryFolder folder;
    constexpr std::uint64_t callers = 4;
    std::array<std::atomic<int>, callers> acknowledged{};
    std::array<int, callers> at_cut{};
    FaultDisk::Image left;
    std::atomic<bool> is_cut{false};
    disk.remember();
    {
      auto engine = Engine::open(folder.path() / "mirror.db");
      REQUIRE(engine);
      std::vector<Command> users;
      for (std::uint64_t n = 1; n <= 1'000; ++n)
        users.push_back(engine->make_command(CreateUser{user_id(n)}));
      REQUIRE(engine->submit(std::move(users)));
      // Somewhere in what follows, of which the first 4,000 pages fill the WAL.
      disk.cut_power_at(300 + static_cast<int>(random() % 6'000), random(),
                        [&](FaultDisk::Image image) {
                          left = std::move(image);
                          for (std::size_t t = 0; t < callers; ++t) at_cut[t] = acknowledged[t];
                          is_cut = true;
                        });
      std::vector<std::thread> threads;
      for (std::uint64_t t = 0; t < callers; ++t) {
        threads.emplace_back([&, t] {
          for (int i = 1; i <= 4'000 && !is_cut; ++i) {
            std::vector<Command> commands;
            for (std::uint64_t n = t + 1; n <= 1'000; n += 4 * callers)
              commands.push_back(engine->make_command(AddCredits{user_id(n), Credits{1}, "grant"}));
            if (engine->submit(std::move(commands))) acknowledged[t] = i;
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
    }
    disk.forget();
    REQUIRE(is_cut);
    const TemporaryFolder after;
    auto engine = Engine::open(put(left, after.path()));
    REQUIRE_MESSAGE(engine, engine.error().detail);
    CHECK(engine->audit()->findings.empty());
    for (std::uint64_t n = 1; n <= 1'000; ++n) {
      const std::uint64_t t = (n - 1) % (4 * callers);
      const auto balance = engine->balance(user_id(n));
      REQUIRE(balance);
      const std::int64_t least = t < callers ? 10 + at_cut[t] : 10;
      const std::int64_t most = t < callers ? least + 1 : 10;
      CHECK(balance->value >= least);
      CHECK(balance->value <= most);
    }
  }
}

}  // namespace tally::test
