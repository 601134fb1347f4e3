// lease_credits and return_lease. Both have their effect on canonical alone: here they are
// remembered and pushed, and the lease is what canonical then shows.
#include "ledger.hpp"

namespace tally {

Code apply(Work& work, const LeaseCredits& op) {
  if (!work.user_exists()) return Code::user_not_found;
  const LeaseRow* open = work.store.leases.find(work.u());
  return open != nullptr && open->lease_id != op.lease_id ? Code::already_exists : Code::ok;
}

Code apply(Work& work, const ReturnLease& op) {
  const auto u = work.store.find_lease(op.lease_id);
  if (!u) return Code::lease_not_found;
  // From here on nothing is drawn on it.
  work.store.leases.edit(*u).closing = 1;
  return Code::ok;
}

}  // namespace tally
