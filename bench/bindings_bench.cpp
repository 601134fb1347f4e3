// What the C ABI costs on top of the C++ that it is made of: the hot calls through the shared
// library beside the same calls in C++, by turns, each on a mirror of its own with the same users.

#include "results.hpp"
#include "support.hpp"
#include "tally.h"

namespace tally::bench {
namespace {

tally_uuid id_of(const Uuid& id) {
  tally_uuid out;
  std::copy(id.bytes.begin(), id.bytes.end(), out.bytes);
  return out;
}

/// The engine of the shared library on a mirror that a Ledger made.
class CEngine {
 public:
  explicit CEngine(const std::filesystem::path& path) {
    const std::string name = path.string();
    tally_error error = TALLY_ERROR_INIT;
    if (tally_engine_open(name.data(), name.size(), nullptr, &engine_, &error) != TALLY_OK)
      throw std::runtime_error(error.detail);
  }
  ~CEngine() { tally_engine_free(engine_); }
  CEngine(const CEngine&) = delete;
  CEngine& operator=(const CEngine&) = delete;
  operator tally_engine*() const { return engine_; }

 private:
  tally_engine* engine_ = nullptr;
};

/// The ids of a ledger that was made, and closed again, at that path.
struct Made {
  Made(const std::filesystem::path& path, std::size_t users, std::size_t job_count) {
    Random random(1);
    Ledger ledger(path, users);
    for (const auto& job : ledger.make_jobs(job_count, random)) {
      jobs.push_back(job.id);
      owners.push_back(ledger.users[job.user]);
    }
    this->users = ledger.users;
  }
  std::vector<Uuid> users{};
  std::vector<Uuid> jobs{};
  std::vector<Uuid> owners{};
};

struct World {
  World(const Folder& folder, std::size_t users, std::size_t jobs)
      : cpp_made(folder / "cpp.db", users, jobs),
        c_made(folder / "c.db", users, jobs),
        cpp(expect(Engine::open(folder / "cpp.db"))),
        c(folder / "c.db") {
    for (const Uuid& user : c_made.users) c_users.push_back(id_of(user));
  }
  Made cpp_made;
  Made c_made;
  Engine cpp;
  CEngine c;
  std::vector<tally_uuid> c_users{};
};

void add(Results& results, const std::string& name, const std::vector<double>& values,
         const std::vector<double>& ratios, const std::string& unit, const std::string& cpp_name,
         const std::string& note) {
  Row row{.group = "C ABI", .name = name, .value = Figure(values), .unit = unit, .note = note};
  if (!ratios.empty()) {
    row.ratio = median(ratios);
    row.ratio_to = cpp_name;
    row.target = at_most(1.1);
  }
  results.add(row);
}

std::vector<double> ratios_of(const std::vector<double>& of, const std::vector<double>& to) {
  std::vector<double> out;
  for (std::size_t i = 0; i < of.size(); ++i) out.push_back(of[i] / to[i]);
  return out;
}

// Windows by turns: what the machine does meanwhile hits both alike.
void bench_balance(Results& results, World& world) {
  const auto rounds = results.arguments().sized<std::size_t>(3, 200, 1'000);
  std::size_t at = 0;
  const std::size_t mask = world.c_users.size() - 1;
  const auto next = [&] { return at = (at + 7) & mask; };
  const auto cpp_call = [&] { keep(world.cpp.balance(world.cpp_made.users[next()])); };
  const auto c_call = [&] {
    std::int64_t balance = 0;
    tally_engine_balance(world.c, &world.c_users[next()], &balance, nullptr);
    keep(balance);
  };
  const auto c_value_call = [&] {
    keep(tally_engine_balance_value(world.c, &world.c_users[next()]));
  };
  for (std::size_t i = 0; i <= mask; ++i) {
    cpp_call();
    c_call();
  }
  std::vector<double> cpp;
  std::vector<double> c;
  std::vector<double> c_value;
  for (std::size_t i = 0; i < rounds; ++i) {
    cpp.push_back(window_ns(cpp_call));
    c.push_back(window_ns(c_call));
    c_value.push_back(window_ns(c_value_call));
  }
  add(results, "Engine::balance", cpp, {}, "ns", "", "the C++ call, of the static library");
  add(results, "tally_engine_balance", c, ratios_of(c, cpp), "ns", "Engine::balance",
      "the shared library's");
  add(results, "tally_engine_balance_value", c_value, ratios_of(c_value, cpp), "ns",
      "Engine::balance", "the shared library's");
}

void bench_reserve(Results& results, World& world) {
  std::vector<double> cpp;
  std::vector<double> c;
  const auto timed_us = [](auto&& call) {
    const auto start = Clock::now();
    call();
    return seconds_since(start) * 1e6;
  };
  for (std::size_t i = 0; i < world.c_made.jobs.size(); ++i) {
    cpp.push_back(timed_us([&] {
      expect(world.cpp.apply(
          ReserveCredits{world.cpp_made.owners[i], world.cpp_made.jobs[i], Credits{1}}));
    }));
    const tally_uuid user = id_of(world.c_made.owners[i]);
    const tally_uuid job = id_of(world.c_made.jobs[i]);
    c.push_back(timed_us([&] {
      tally_error error = TALLY_ERROR_INIT;
      if (tally_reserve_credits(world.c, &user, &job, 1, nullptr, nullptr, &error) != TALLY_OK)
        throw std::runtime_error(error.detail);
    }));
  }
  add(results, "Engine::apply, reserve_credits", cpp, {}, "us", "", "one at a time, on disk");
  add(results, "tally_reserve_credits", c, {median(c) / median(cpp)}, "us",
      "Engine::apply, reserve_credits", "one at a time, on disk; by turns with the C++ call");
}

void run(const Arguments& arguments) {
  const Folder folder;
  Results results("bindings_bench", arguments, folder.path());
  World world(folder, 1'024, arguments.sized<std::size_t>(20, 1'000, 5'000));
  if (arguments.wants("balance")) bench_balance(results, world);
  if (arguments.wants("reserve")) bench_reserve(results, world);
  results.finish();
}

}  // namespace
}  // namespace tally::bench

int main(int argc, char** argv) {
  return tally::bench::run_benchmark(argc, argv, "bindings_bench", tally::bench::run);
}
