#pragma once
// The contract's section 4 as tables: lines in the short form, each with its code and balance. Any
// half that applies traces can be run over them.

#include <string>
#include <string_view>
#include <vector>

#include "support/fixture.hpp"

namespace tally::test {

struct OperationTable {
  std::string claim;
  Rows rows;
};

/// Users u1 to u<count> with 10 credits, each with project pN and a PENDING job jN.
Rows users_with_jobs(int count);
/// Brings the PENDING job jN of uN, who has 10 credits and no hold, to that status; a hold of 8 is
/// open then, except in PENDING, READY (settled at 5) and FAILED (released).
Rows job_to(std::string_view status, int n = 1);
Rows operator+(Rows a, const Rows& b);

std::vector<OperationTable> operation_tables();

}  // namespace tally::test
