// What the mirror knows of its sync, whoever syncs it.

#include <algorithm>

#include "json_texts.hpp"
#include "reading.hpp"
#include "receipts.hpp"
#include "structs.hpp"
#include "tally/replica.hpp"

using namespace tally;
using namespace tally::c;

namespace {

/// No engine here is const: every one was made by tally_engine_open().
Replica replica_of(const Engine& engine) { return Replica(const_cast<Engine&>(engine)); }

/// So that a refusal of a retry has it, too.
std::optional<Uuid> op_id_of_rejected(const Replica& replica, std::int64_t number) {
  const auto rejected = replica.rejected();
  if (!rejected) return std::nullopt;
  for (const RejectedOperation& operation : *rejected) {
    if (operation.number == number) return operation.command.op_id;
  }
  return std::nullopt;
}

}  // namespace

tally_code tally_engine_sync_status(const tally_engine* engine, tally_text** json,
                                    tally_error* error) {
  return read(
      engine, json, error, [](const Engine& asked) { return replica_of(asked).state(); },
      [](const std::optional<LinkState>& link) {
        return link ? texts::link_text(*link) : std::string("null");
      });
}

tally_code tally_engine_leases(const tally_engine* engine, tally_text** json, tally_error* error) {
  return read(
      engine, json, error, [](const Engine& asked) { return replica_of(asked).leases(); },
      texts::leases_text);
}

tally_code tally_engine_rejected(const tally_engine* engine, tally_text** json,
                                 tally_error* error) {
  return read(
      engine, json, error, [](const Engine& asked) { return replica_of(asked).rejected(); },
      [](const auto& rejected) { return texts::array_text(rejected, texts::rejected_text); });
}

tally_code tally_engine_dismiss(tally_engine* engine, int64_t number, tally_error* error) {
  return guarded(error, [&]() -> tally_code {
    if (engine == nullptr) return invalid(error, "engine is NULL");
    const auto dismissed = replica_of(engine->engine).dismiss(number);
    return dismissed ? TALLY_OK : fail(error, dismissed.error());
  });
}

tally_code tally_engine_retry(tally_engine* engine, int64_t number, tally_receipt* receipt,
                              tally_error* error) {
  return guarded(error, [&]() -> tally_code {
    std::string_view wrong;
    if (!is_callable(engine, receipt, wrong)) return invalid(error, wrong);
    Replica replica = replica_of(engine->engine);
    if (receipt != nullptr) {
      if (const auto op_id = op_id_of_rejected(replica, number))
        write_receipt(receipt, *op_id, {}, {});
    }
    const auto retried = replica.retry(number);
    if (!retried) return fail(error, retried.error());
    write_receipt(receipt, retried->op_id, retried->balance, retried->id);
    return TALLY_OK;
  });
}

tally_code tally_engine_subscribe(tally_engine* engine, const tally_uuid* user_ids, size_t count,
                                  tally_error* error) {
  return guarded(error, [&]() -> tally_code {
    if (engine == nullptr) return invalid(error, "engine is NULL");
    if (user_ids == nullptr && count > 0) return invalid(error, "user_ids is NULL");
    std::optional<std::vector<Uuid>> users;
    if (user_ids != nullptr) {
      users.emplace();
      std::transform(user_ids, user_ids + count, std::back_inserter(*users),
                     [](const tally_uuid& id) { return id_of(id); });
    }
    const auto subscribed = replica_of(engine->engine).subscribe(users);
    return subscribed ? TALLY_OK : fail(error, subscribed.error());
  });
}
