#pragma once
// What the parts of Canonical share.

#include <new>
#include <utility>

#include "postgres.hpp"
#include "sql_text.hpp"
#include "tally/sync.hpp"

namespace tally::sync {

class Canonical::Impl {
 public:
  Impl(Connection opened, std::string in_schema)
      : connection(std::move(opened)), schema(std::move(in_schema)) {}
  /// A statement of ours where the schemas have their usual names.
  std::string here(std::string_view sql) const {
    return schema == "public" ? std::string(sql) : moved_to_schema(sql, schema);
  }
  Connection connection;
  std::string schema;
};

using Failure = std::optional<Error>;

/// All migrations, once more, in a schema of that name; within the caller's transaction.
Failure install_for_comparison(Connection& connection, const std::string& schema);

/// The edge of a noexcept function: `work` may run out of memory.
template <class Work>
auto guarded(Work work) noexcept -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Error{Code::internal, "out of memory"};
  } catch (const std::exception& e) {
    return Error{Code::internal, e.what()};
  }
}

}  // namespace tally::sync
