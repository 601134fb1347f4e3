#pragma once
// A day of work, and mirrors of it that are broken on purpose: a test that cannot fail shows
// nothing.

#include <string>

#include "support/operation_tables.hpp"

namespace tally::test {

/// Three users; jobs that are paid, settled below, at and above their hold, released, failed,
/// retried, cancelled; credits that come in and expire; refusals of several kinds. At its end j1 is
/// READY, u2 has an open hold of 3 on the QUEUED j2, and j3 is FAILED.
Rows a_day();

/// Whether audit() reports that invariant once `sql` was run on a copy of that day's mirror. False,
/// too, where it reported anything before.
bool found_after(const std::string& sql, const std::string& invariant);

}  // namespace tally::test
