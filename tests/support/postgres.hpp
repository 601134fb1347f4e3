#pragma once
// The demo's throw-away PostgreSQL, which is the tests' too.

#include "throwaway_postgres.hpp"

namespace tally::test {

using cli::ThrowawayPostgres;

}  // namespace tally::test
