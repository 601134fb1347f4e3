// The calls that only read.

#include <functional>
#include <optional>

#include "json_texts.hpp"
#include "reading.hpp"
#include "structs.hpp"

using namespace tally;
using namespace tally::c;

namespace {

tally_check check_of(const AccountCheck& check) {
  tally_check out = TALLY_CHECK_INIT;
  out.balance = check.balance.value;
  out.held = check.held.value;
  out.entries = check.entries;
  out.pending_operations = check.pending_operations;
  return out;
}

tally_hold hold_of(const OpenHold& hold) {
  return {id_of(hold.job_id), id_of(hold.reservation.value_or(Uuid{})), hold.amount.value};
}

}  // namespace

tally_code tally_engine_check(const tally_engine* engine, const tally_uuid* user_id,
                              tally_check* check, tally_error* error) {
  return guarded(error, [&]() -> tally_code {
    if (engine == nullptr || user_id == nullptr || check == nullptr)
      return invalid(error, "engine, user_id or check is NULL");
    if (!has_known_size(check))
      return invalid(error, "tally_check: struct_size is none that this library knows");
    const auto read = engine->engine.check(id_of(*user_id));
    if (!read) return fail(error, read.error());
    write_struct(check, check_of(*read));
    return TALLY_OK;
  });
}

tally_code tally_engine_account(const tally_engine* engine, const tally_uuid* user_id,
                                tally_check* check, tally_hold* holds, size_t capacity,
                                size_t* count, tally_error* error) {
  return guarded(error, [&]() -> tally_code {
    if (engine == nullptr || user_id == nullptr || check == nullptr || count == nullptr ||
        (holds == nullptr && capacity > 0)) {
      return invalid(error, "engine, user_id, check, holds or count is NULL");
    }
    if (!has_known_size(check))
      return invalid(error, "tally_check: struct_size is none that this library knows");
    const auto read = engine->engine.account(id_of(*user_id));
    if (!read) return fail(error, read.error());
    write_struct(check, check_of(read->check));
    *count = read->holds.size();
    for (std::size_t i = 0; i < std::min(capacity, read->holds.size()); ++i)
      holds[i] = hold_of(read->holds[i]);
    return TALLY_OK;
  });
}

tally_code tally_engine_account_state(const tally_engine* engine, const tally_uuid* user_id,
                                      tally_text** json, tally_error* error) {
  return read_of(engine, user_id, json, error, std::mem_fn(&Engine::account), texts::account_text);
}

tally_code tally_engine_history(const tally_engine* engine, const tally_uuid* user_id, size_t limit,
                                int64_t before_seq, tally_text** json, tally_error* error) {
  return read_of(
      engine, user_id, json, error,
      [&](const Engine& asked, const Uuid& id) {
        return asked.history(id, limit, before_seq == 0 ? std::nullopt : std::optional(before_seq));
      },
      [](const auto& entries) { return texts::array_text(entries, texts::entry_text); });
}

tally_code tally_engine_project(const tally_engine* engine, const tally_uuid* project_id,
                                tally_text** json, tally_error* error) {
  return read_of(engine, project_id, json, error, std::mem_fn(&Engine::project), texts::row_text);
}

tally_code tally_engine_job(const tally_engine* engine, const tally_uuid* job_id, tally_text** json,
                            tally_error* error) {
  return read_of(engine, job_id, json, error, std::mem_fn(&Engine::job), texts::job_text);
}

tally_code tally_engine_jobs(const tally_engine* engine, const tally_uuid* user_id,
                             tally_text** json, tally_error* error) {
  return read_of(engine, user_id, json, error, std::mem_fn(&Engine::jobs), texts::rows_text);
}

tally_code tally_engine_drafts(const tally_engine* engine, const tally_uuid* user_id,
                               tally_text** json, tally_error* error) {
  return read_of(engine, user_id, json, error, std::mem_fn(&Engine::drafts), texts::rows_text);
}

tally_code tally_engine_users(const tally_engine* engine, tally_text** json, tally_error* error) {
  return read(engine, json, error, std::mem_fn(&Engine::users),
              [](const auto& users) { return texts::array_text(users, texts::id_text); });
}

tally_code tally_engine_rows(const tally_engine* engine, const char* table, size_t table_length,
                             const tally_uuid* user_id, tally_text** json, tally_error* error) {
  return read(
      engine, json, error,
      [&](const Engine& asked) -> Result<std::vector<ViewRow>> {
        if (table == nullptr) return Error{Code::invalid_argument, "table is NULL"};
        return asked.rows(view_of(table, table_length), id_of(user_id));
      },
      texts::rows_text);
}

tally_code tally_engine_digest(const tally_engine* engine, const tally_uuid* user_id,
                               tally_text** json, tally_error* error) {
  return read_of(engine, user_id, json, error, std::mem_fn(&Engine::digest), texts::digest_text);
}

tally_code tally_engine_audit(const tally_engine* engine, tally_text** json, tally_error* error) {
  return read(
      engine, json, error, [](const Engine& asked) { return asked.audit(); }, texts::audit_text);
}

tally_code tally_engine_backup(const tally_engine* engine, const char* path, size_t path_length,
                               int32_t replace, tally_text** json, tally_error* error) {
  using Made = std::optional<BackupReport>;
  const auto back_up = [&](const Engine& from) -> Result<Made> {
    std::string_view wrong;
    const auto to = path_of(path, path_length, wrong);
    if (!to) return Error{Code::invalid_argument, std::string(wrong)};
    return from.backup(*to, {.replace = replace != 0});
  };
  // There always is a report: nothing ends it early.
  return read(engine, json, error, back_up,
              [](const Made& made) { return texts::backup_text(*made); });
}

tally_code tally_engine_pending_operations(const tally_engine* engine, int64_t* count,
                                           tally_error* error) {
  return guarded(error, [&]() -> tally_code {
    if (engine == nullptr || count == nullptr) return invalid(error, "engine or count is NULL");
    return answer(error, engine->engine.pending_operations(), count,
                  [](std::int64_t value) { return value; });
  });
}
