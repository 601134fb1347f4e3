// What a host's work costs, durable, beside raw SQLite writing the same rows: reservations one at a
// time, in commits of every size, from many callers, at offered rates, whole jobs; and what it
// costs once there is a history of ten million entries.

#include "child.hpp"
#include "workload.hpp"

namespace tally::bench {
namespace {

void run(const Arguments& arguments) {
  const Folder folder;
  Results results("workload_bench", arguments, folder.path());
  if (arguments.wants("one")) bench_one_durable(results, folder);
  if (arguments.wants("commits")) bench_commit_sizes(results, folder);
  if (arguments.wants("jobs")) bench_whole_jobs(results, folder);
  if (arguments.wants("callers")) bench_callers(results, folder);
  if (arguments.wants("growth")) bench_growth(results, folder);
  results.finish();
}

}  // namespace
}  // namespace tally::bench

int main(int argc, char** argv) {
  using namespace tally::bench;
  if (const auto words = child_words(argc, argv)) return run_child(*words, growth_child);
  return run_benchmark(argc, argv, "workload_bench", run);
}
