// tally_sim: runs of the whole loop, one for each seed.
//
//   tally_sim --seeds N [--from SEED] [--operations N] [--postgres] [--thorough]
//             [--tell] [--expect INVARIANT]
//
// A seed that breaks an invariant is told with the last things that happened; the same seed does
// the same again. With --expect it is the other way round: the program was built to be wrong, and
// fails where nobody notices.

#include <CLI/CLI.hpp>
#include <iostream>
#include <sstream>

#include "sim/world.hpp"
#include "support/folder.hpp"
#include "throwaway_postgres.hpp"

namespace tally::sim {
namespace {

struct Wanted {
  std::uint64_t from = 1;
  std::uint64_t seeds = 100;
  std::size_t operations = 100;
  bool on_postgres = false;
  bool tells = false;
  bool is_thorough = false;
  std::string expect{};
};

struct RealCanonical {
  cli::ThrowawayPostgres server{};
  PostgresWorlds worlds{"host=" + server.folder().string() + " user=postgres", read_clock()};
  static std::string read_clock() {
    return test::bytes_of(TALLY_SOURCE_DIR "/tests/sync/still.sql");
  }
};

struct Ended {
  std::string broken{};  ///< The invariant that did not hold; nothing where all did.
  std::string story{};
};

Ended run_seed(std::uint64_t seed, const Wanted& wanted, const std::filesystem::path& folder,
               std::unique_ptr<Half> canonical, Probes& probes) {
  const RunOptions options{seed, wanted.operations, folder, wanted.tells, wanted.on_postgres};
  World world(options, std::move(canonical), probes);
  try {
    world.run();
    return {{}, world.story()};
  } catch (const Violation& violation) {
    std::cout << "seed " << seed << " breaks " << violation.what() << "\n";
    if (wanted.expect.empty())
      std::cout << world.story() << "again: ./dev sim --seeds 1 --from " << seed << " --operations "
                << wanted.operations << " --tell\n";
    return {violation.invariant, {}};
  } catch (const std::exception& error) {
    std::cout << "seed " << seed << " ends with " << error.what() << "\n" << world.story();
    return {"an error", {}};
  }
}

/// On PostgreSQL and on the model: what happened has to be the same, to the last row.
std::string run_on_both(std::uint64_t seed, const Wanted& wanted,
                        const std::filesystem::path& folder, PostgresWorlds& worlds,
                        Probes& probes) {
  const Ended real = run_seed(seed, wanted, folder, worlds.make(), probes);
  if (!real.broken.empty()) return real.broken;
  Probes of_model;
  const Ended model = run_seed(seed, wanted, folder, make_model_half(), of_model);
  if (!model.broken.empty()) return model.broken;
  if (real.story == model.story) return {};
  std::istringstream here(real.story);
  std::istringstream there(model.story);
  std::string on_postgres;
  std::string on_model;
  while (std::getline(here, on_postgres) && std::getline(there, on_model) &&
         on_postgres == on_model) {
  }
  std::cout << "seed " << seed << " is another run on the model\n  PostgreSQL: " << on_postgres
            << "\n  the model:  " << on_model << "\n";
  return "the model";
}

/// Where all was to be thorough: what never came up. A list, so that what is not tried any more is
/// missed.
std::size_t missed_probes(const Wanted& wanted, const Probes& probes) {
  constexpr std::string_view due[] = {
      "a call was given up",
      "a canonical behind its devices was noticed",
      "a claim that was over was another's",
      "a copy was found out",
      "a device was cut off",
      "a device was cut off in one direction",
      "a device was revoked",
      "a disk call failed",
      "a disk was full",
      "a failed job was tried again",
      "a hold was drawn on a lease",
      "a job became READY",
      "a job was settled above its hold",
      "a job was settled at its hold",
      "a job was settled below its hold",
      "a late answer was refused",
      "a late answer was taken",
      "a lease had been reclaimed",
      "a lease was returned",
      "a lease was written off",
      "a mirror did not open at first",
      "a process died in a call",
      "a process was killed",
      "a rejected operation was tried again",
      "a reservation was stale",
      "an old copy was put back",
      "an op_id meant something else",
      "an operation failed for the world's sake",
      "an operation was in doubt",
      "an operation was refused",
      "an operation was rejected",
      "canonical was put back to its backup",
      "credits went back to a lease",
      "somebody forged a call",
      "the power failed between calls",
      "the power failed in a call",
  };
  if (!wanted.is_thorough) return 0;
  std::size_t missed = 0;
  for (const std::string_view what : due) {
    if (probes.contains(what)) continue;
    std::cout << "never: " << what << "\n";
    ++missed;
  }
  return missed;
}

int run(const Wanted& wanted) {
  const test::TemporaryFolder folder(test::memory_folder());
  std::optional<RealCanonical> real;
  if (wanted.on_postgres) real.emplace();
  Probes probes;
  std::size_t broken = 0;
  for (std::uint64_t seed = wanted.from; seed < wanted.from + wanted.seeds; ++seed) {
    const std::string what =
        real ? run_on_both(seed, wanted, folder.path(), real->worlds, probes)
             : run_seed(seed, wanted, folder.path(), make_model_half(), probes).broken;
    if (what.empty()) continue;
    ++broken;
    if (what == wanted.expect) return 0;  // It was noticed.
    if (broken == 10) break;
  }
  if (!wanted.expect.empty()) {
    std::cout << "nobody noticed that " << wanted.expect << " is broken\n";
    return 1;
  }
  const std::size_t missed = missed_probes(wanted, probes);
  for (const auto& [what, times] : probes) std::cout << times << "  " << what << "\n";
  std::cout << wanted.seeds << " seeds of " << wanted.operations << " operations, " << broken
            << " broken\n";
  return broken == 0 && missed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tally::sim

int main(int argc, char** argv) {
  CLI::App app("Runs of mirrors, sync and canonical under faults, from a seed each.");
  tally::sim::Wanted wanted;
  app.add_option("--seeds", wanted.seeds, "how many");
  app.add_option("--from", wanted.from, "the first");
  app.add_option("--operations", wanted.operations, "of each");
  app.add_flag("--postgres", wanted.on_postgres,
               "on a real PostgreSQL as well, where each seed has to do the same");
  app.add_flag("--tell", wanted.tells, "everything that happens");
  app.add_flag("--thorough", wanted.is_thorough, "fails where something rare never came up");
  app.add_option("--expect", wanted.expect, "the invariant that this build breaks on purpose");
  CLI11_PARSE(app, argc, argv);
  try {
    return tally::sim::run(wanted);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 3;
  }
}
