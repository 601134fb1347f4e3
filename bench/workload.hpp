#pragma once
// The parts of workload_bench.

#include "results.hpp"
#include "support.hpp"

namespace tally::bench {

// durable.cpp: what a durable result costs, one at a time, by commit, by callers, at an offered
// rate
void bench_one_durable(Results& results, const Folder& folder);
void bench_commit_sizes(Results& results, const Folder& folder);
void bench_whole_jobs(Results& results, const Folder& folder);
void bench_callers(Results& results, const Folder& folder);

// growth.cpp: what stays as it is while history grows
void bench_growth(Results& results, const Folder& folder);
/// The other processes of it.
int growth_child(const std::vector<std::string>& words);

}  // namespace tally::bench
