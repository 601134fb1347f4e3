// The balance check. What memory has is answered in a few nanoseconds, of which the public C++ call
// within another would take half as many again: so this alone looks behind it.

#include "answers.hpp"
#include "arguments.hpp"
#include "engine_impl.hpp"

namespace tally {

struct BalanceInMemory {
  [[gnu::always_inline]] static bool read(const Engine& engine, const tally_uuid& user_id,
                                          std::int64_t& balance) noexcept {
    // Both are their 16 bytes, which Uuid reads as bytes; a copy would wait for its own writes.
    // NOLINTNEXTLINE(misc-redundant-expression): that they are the same is what is asserted.
    static_assert(sizeof(Uuid) == sizeof(tally_uuid) && alignof(Uuid) == alignof(tally_uuid));
    return engine.impl_->balance_in_memory(reinterpret_cast<const Uuid&>(user_id), balance);
  }
};

}  // namespace tally

using namespace tally;
using namespace tally::c;

namespace {

/// What memory does not have, or nobody has.
[[gnu::noinline]] tally_code read_balance(const tally_engine* engine, const tally_uuid* user_id,
                                          std::int64_t* balance, tally_error* error) noexcept {
  if (engine == nullptr || user_id == nullptr || balance == nullptr)
    return invalid(error, "engine, user_id or balance is NULL");
  return answer(error, engine->engine.balance(id_of(*user_id)), balance,
                [](Credits credits) { return credits.value; });
}

[[gnu::noinline]] std::int64_t read_balance_value(const tally_engine* engine,
                                                  const tally_uuid* user_id) noexcept {
  std::int64_t balance = 0;
  const tally_code code = read_balance(engine, user_id, &balance, nullptr);
  return code == TALLY_OK ? balance : INT64_MIN + code;
}

}  // namespace

tally_code tally_engine_balance(const tally_engine* engine, const tally_uuid* user_id,
                                int64_t* balance, tally_error* error) {
  if (engine != nullptr && user_id != nullptr && balance != nullptr) [[likely]] {
    std::int64_t value = 0;
    if (BalanceInMemory::read(engine->engine, *user_id, value)) [[likely]] {
      *balance = value;
      return TALLY_OK;
    }
  }
  return read_balance(engine, user_id, balance, error);
}

int64_t tally_engine_balance_value(const tally_engine* engine, const tally_uuid* user_id) {
  if (engine != nullptr && user_id != nullptr) [[likely]] {
    std::int64_t value = 0;
    if (BalanceInMemory::read(engine->engine, *user_id, value)) [[likely]]
      return value;
  }
  return read_balance_value(engine, user_id);
}
