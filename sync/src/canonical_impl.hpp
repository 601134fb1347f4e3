#pragma once
// What the parts of Canonical share.

#include <new>
#include <utility>

#include "postgres.hpp"
#include "tally/sync.hpp"

namespace tally::sync {

class Canonical::Impl {
 public:
  explicit Impl(Connection opened) : connection(std::move(opened)) {}
  Connection connection;
};

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
