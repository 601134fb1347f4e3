// What every call does with NULL, and with structs of callers that are older or newer.

#include <functional>
#include <vector>

#include "c/support.hpp"

namespace tally::c_test {
namespace {

const tally_uuid u1 = id('u', 1);
const tally_uuid j1 = id('j', 1);

/// A struct of a caller whose tally.h has one more field than ours.
template <class T>
struct Newer {
  Newer(const T& of) : known(of) { known.struct_size = sizeof(Newer); }
  T known;
  std::uint64_t added = 0;
};

TEST_CASE("NULL where a pointer is needed is invalid_argument, in every function") {
  const Mirror mirror;
  tally_engine* const e = mirror;
  tally_text* text = nullptr;
  std::int64_t number = 77;
  std::size_t count = 77;
  tally_check check = TALLY_CHECK_INIT;
  tally_syncer* syncer = nullptr;
  REQUIRE(tally_syncer_new(e, nullptr, &syncer, nullptr) == TALLY_OK);
  tally_wait wait = TALLY_WAIT_INIT;
  std::int32_t flag = 77;
  tally_uuid job{};
  using Call = std::function<tally_code(tally_error*)>;
  const std::vector<Call> calls{
      [&](tally_error* error) { return tally_engine_open(nullptr, 0, nullptr, nullptr, error); },
      [&](tally_error* error) { return tally_engine_open("x", 1, nullptr, nullptr, error); },
      [&](tally_error* error) {
        tally_engine* engine = nullptr;
        return tally_engine_open(nullptr, 1, nullptr, &engine, error);
      },
      [&](tally_error* error) { return tally_apply(nullptr, "{}", 2, nullptr, error); },
      [&](tally_error* error) {
        return tally_add_credits(nullptr, &u1, 1, 0, nullptr, 0, nullptr, nullptr, error);
      },
      [&](tally_error* error) {
        return tally_add_credits(e, nullptr, 1, 0, nullptr, 0, nullptr, nullptr, error);
      },
      [&](tally_error* error) {
        return tally_create_job(e, nullptr, nullptr, nullptr, nullptr, nullptr, error);
      },
      [&](tally_error* error) {
        return tally_reserve_credits(e, nullptr, &j1, 1, nullptr, nullptr, error);
      },
      [&](tally_error* error) {
        return tally_advance_job(e, nullptr, TALLY_JOB_QUEUED, nullptr, 0, nullptr, nullptr, error);
      },
      [&](tally_error* error) {
        return tally_report_progress(e, nullptr, TALLY_JOB_SCRIPTING, 1, nullptr, 0, nullptr,
                                     nullptr, error);
      },
      [&](tally_error* error) {
        return tally_finalize_job_credits(e, nullptr, 1, nullptr, nullptr, error);
      },
      [&](tally_error* error) {
        return tally_release_job_credits(e, nullptr, nullptr, nullptr, error);
      },
      [&](tally_error* error) {
        return tally_complete_job(e, nullptr, 1, nullptr, 0, nullptr, nullptr, error);
      },
      [&](tally_error* error) {
        return tally_fail_job(e, nullptr, "X", 1, nullptr, 0, nullptr, nullptr, error);
      },
      [&](tally_error* error) {
        return tally_fail_job(e, &j1, nullptr, 0, nullptr, 0, nullptr, nullptr, error);
      },
      [&](tally_error* error) { return tally_claim_job(e, nullptr, 1, nullptr, nullptr, error); },
      [&](tally_error* error) { return tally_batch(nullptr, nullptr, 0, nullptr, nullptr, error); },
      [&](tally_error* error) { return tally_engine_balance(nullptr, &u1, &number, error); },
      [&](tally_error* error) { return tally_engine_balance(e, nullptr, &number, error); },
      [&](tally_error* error) { return tally_engine_balance(e, &u1, nullptr, error); },
      [&](tally_error* error) { return tally_engine_check(nullptr, &u1, &check, error); },
      [&](tally_error* error) { return tally_engine_check(e, nullptr, &check, error); },
      [&](tally_error* error) { return tally_engine_check(e, &u1, nullptr, error); },
      [&](tally_error* error) {
        return tally_engine_account(nullptr, &u1, &check, nullptr, 0, &count, error);
      },
      [&](tally_error* error) {
        return tally_engine_account(e, nullptr, &check, nullptr, 0, &count, error);
      },
      [&](tally_error* error) {
        return tally_engine_account(e, &u1, nullptr, nullptr, 0, &count, error);
      },
      [&](tally_error* error) {
        return tally_engine_account(e, &u1, &check, nullptr, 1, &count, error);
      },
      [&](tally_error* error) {
        return tally_engine_account(e, &u1, &check, nullptr, 0, nullptr, error);
      },
      [&](tally_error* error) { return tally_engine_history(nullptr, &u1, 1, 0, &text, error); },
      [&](tally_error* error) { return tally_engine_history(e, nullptr, 1, 0, &text, error); },
      [&](tally_error* error) { return tally_engine_history(e, &u1, 1, 0, nullptr, error); },
      [&](tally_error* error) { return tally_engine_project(e, nullptr, &text, error); },
      [&](tally_error* error) { return tally_engine_job(e, nullptr, &text, error); },
      [&](tally_error* error) { return tally_engine_jobs(e, nullptr, &text, error); },
      [&](tally_error* error) { return tally_engine_drafts(e, nullptr, &text, error); },
      [&](tally_error* error) { return tally_engine_users(e, nullptr, error); },
      [&](tally_error* error) { return tally_engine_users(nullptr, &text, error); },
      [&](tally_error* error) { return tally_engine_rows(e, nullptr, 0, nullptr, &text, error); },
      [&](tally_error* error) { return tally_engine_rows(e, nullptr, 4, nullptr, &text, error); },
      [&](tally_error* error) { return tally_engine_digest(e, nullptr, &text, error); },
      [&](tally_error* error) { return tally_engine_audit(e, nullptr, error); },
      [&](tally_error* error) { return tally_engine_backup(nullptr, "x", 1, 0, &text, error); },
      [&](tally_error* error) { return tally_engine_backup(e, nullptr, 1, 0, &text, error); },
      [&](tally_error* error) { return tally_engine_backup(e, "x", 1, 0, nullptr, error); },
      [&](tally_error* error) { return tally_engine_pending_operations(e, nullptr, error); },
      [&](tally_error* error) { return tally_engine_pending_operations(nullptr, &number, error); },
      [&](tally_error* error) { return tally_engine_sync_status(nullptr, &text, error); },
      [&](tally_error* error) { return tally_engine_leases(e, nullptr, error); },
      [&](tally_error* error) { return tally_engine_rejected(e, nullptr, error); },
      [&](tally_error* error) { return tally_engine_dismiss(nullptr, 1, error); },
      [&](tally_error* error) { return tally_engine_retry(nullptr, 1, nullptr, error); },
      [&](tally_error* error) { return tally_engine_subscribe(nullptr, nullptr, 0, error); },
      [&](tally_error* error) { return tally_engine_subscribe(e, nullptr, 1, error); },
      [&](tally_error* error) { return tally_syncer_new(nullptr, nullptr, &syncer, error); },
      [&](tally_error* error) { return tally_syncer_new(e, nullptr, nullptr, error); },
      [&](tally_error* error) { return tally_syncer_step(nullptr, &wait, error); },
      [&](tally_error* error) { return tally_syncer_step(syncer, nullptr, error); },
      [&](tally_error* error) { return tally_syncer_run(nullptr, 0, nullptr, error); },
      [&](tally_error* error) { return tally_syncer_start(nullptr, error); },
      [&](tally_error* error) { return tally_syncer_resume(nullptr, "x", 1, error); },
      [&](tally_error* error) { return tally_syncer_resume(syncer, nullptr, 1, error); },
      [&](tally_error* error) { return tally_syncer_enrol_anew(nullptr, 0, error); },
      [&](tally_error* error) {
        return tally_syncer_claim_next(nullptr, 1, 0, &job, &flag, error);
      },
      [&](tally_error* error) {
        return tally_syncer_claim_next(syncer, 1, 0, nullptr, &flag, error);
      },
      [&](tally_error* error) {
        return tally_syncer_claim_next(syncer, 1, 0, &job, nullptr, error);
      },
      [&](tally_error* error) { return tally_syncer_verify(syncer, nullptr, 0, &flag, error); },
      [&](tally_error* error) { return tally_syncer_verify(syncer, &u1, 0, nullptr, error); },
  };
  for (std::size_t i = 0; i < calls.size(); ++i) {
    CAPTURE(i);
    Told error;
    CHECK(calls[i](&error) == TALLY_INVALID_ARGUMENT);
    CHECK(error.code == TALLY_INVALID_ARGUMENT);
    CHECK(error.detail[0] != '\0');
    CHECK(calls[i](nullptr) == TALLY_INVALID_ARGUMENT);
  }
  CHECK(tally_engine_balance_value(nullptr, &u1) == INT64_MIN + TALLY_INVALID_ARGUMENT);
  CHECK(tally_engine_balance_value(e, nullptr) == INT64_MIN + TALLY_INVALID_ARGUMENT);
  // What the pointers point to is as it was.
  CHECK(text == nullptr);
  CHECK(number == 77);
  CHECK(count == 77);
  CHECK(flag == 77);
  CHECK(check.entries == 0);
  tally_syncer_free(syncer);
}

/// Calls with a struct of each size that was never published; each must be refused.
template <class T, class Call>
void refuses_sizes(T given, Call call, std::uint32_t first = sizeof(T)) {
  for (const std::uint32_t size :
       {0U, 1U, first - 8U, first - 1U, static_cast<std::uint32_t>(sizeof(T)) - 1U, 4'097U,
        UINT32_MAX}) {
    CAPTURE(size);
    given.struct_size = size;
    CHECK(call(&given) == TALLY_INVALID_ARGUMENT);
  }
}

TEST_CASE("a size that was never published is refused, of every struct") {
  const Mirror mirror;
  tally_engine* const e = mirror;
  tally_engine* engine = nullptr;
  tally_syncer* syncer = nullptr;
  const std::string path = (mirror.path().parent_path() / "other.db").string();
  const auto open = [&](const tally_options* options) {
    return tally_engine_open(path.data(), path.size(), options, &engine, nullptr);
  };
  const auto reserve = [&](const tally_call* call, tally_receipt* receipt, tally_error* error) {
    return tally_reserve_credits(e, &u1, &j1, 1, call, receipt, error);
  };
  refuses_sizes<tally_options>(TALLY_OPTIONS_INIT, open);
  refuses_sizes<tally_callbacks>(
      TALLY_CALLBACKS_INIT,
      [&](const tally_callbacks* callbacks) {
        tally_options options = TALLY_OPTIONS_INIT;
        options.callbacks = callbacks;
        return open(&options);
      },
      offsetof(tally_callbacks, metric));
  CHECK(!std::filesystem::exists(path));
  refuses_sizes<tally_call>(TALLY_CALL_INIT,
                            [&](tally_call* call) { return reserve(call, nullptr, nullptr); });
  refuses_sizes<tally_receipt>(TALLY_RECEIPT_INIT, [&](tally_receipt* receipt) {
    CHECK(mirror.apply({{"op", "release_job_credits"}}, receipt) == TALLY_INVALID_ARGUMENT);
    CHECK(tally_engine_retry(e, 1, receipt, nullptr) == TALLY_INVALID_ARGUMENT);
    return reserve(nullptr, receipt, nullptr);
  });
  refuses_sizes<tally_error>(TALLY_ERROR_INIT, [&](tally_error* error) {
    std::int64_t balance = 0;
    const tally_uuid nobody = id('u', 9);
    CHECK(tally_engine_balance(e, &nobody, &balance, error) == TALLY_INVALID_ARGUMENT);
    return reserve(nullptr, nullptr, error);
  });
  refuses_sizes<tally_check>(TALLY_CHECK_INIT, [&](tally_check* check) {
    std::size_t count = 0;
    CHECK(tally_engine_account(e, &u1, check, nullptr, 0, &count, nullptr) ==
          TALLY_INVALID_ARGUMENT);
    return tally_engine_check(e, &u1, check, nullptr);
  });
  tally_operation operation{};
  operation.operation = TALLY_OPERATION_RESERVE_CREDITS;
  operation.user_id = u1;
  operation.job_id = j1;
  operation.number = 1;
  refuses_sizes(operation, [&](const tally_operation* one) {
    return tally_batch(e, one, 1, nullptr, nullptr, nullptr);
  });
  CHECK(mirror.balance() == 10);  // Nothing of it happened.
  refuses_sizes<tally_sync_options>(TALLY_SYNC_OPTIONS_INIT,
                                    [&](const tally_sync_options* options) {
                                      return tally_syncer_new(e, options, &syncer, nullptr);
                                    });
  refuses_sizes<tally_sync_callbacks>(TALLY_SYNC_CALLBACKS_INIT,
                                      [&](const tally_sync_callbacks* callbacks) {
                                        tally_sync_options options = TALLY_SYNC_OPTIONS_INIT;
                                        options.callbacks = callbacks;
                                        return tally_syncer_new(e, &options, &syncer, nullptr);
                                      });
  REQUIRE(tally_syncer_new(e, nullptr, &syncer, nullptr) == TALLY_OK);
  refuses_sizes<tally_wait>(
      TALLY_WAIT_INIT, [&](tally_wait* wait) { return tally_syncer_step(syncer, wait, nullptr); });
  tally_syncer_free(syncer);
}

TEST_CASE("a newer caller's structs are read where what this library does not know is not in use") {
  const Mirror mirror;
  Newer<tally_call> call{TALLY_CALL_INIT};
  Newer<tally_receipt> receipt{TALLY_RECEIPT_INIT};
  receipt.added = 5;
  CHECK(tally_reserve_credits(mirror, &u1, &j1, 8, &call.known, &receipt.known, nullptr) ==
        TALLY_OK);
  CHECK(receipt.known.balance == 2);
  CHECK(receipt.known.struct_size == sizeof receipt);
  CHECK(receipt.added == 5);  // Not ours to write.
  call.added = 1;
  CHECK(tally_release_job_credits(mirror, &j1, &call.known, nullptr, nullptr) ==
        TALLY_INVALID_ARGUMENT);
  CHECK(mirror.balance() == 2);

  Newer<tally_error> error{TALLY_ERROR_INIT};
  error.added = 5;
  CHECK(tally_reserve_credits(mirror, &u1, &j1, 1, nullptr, nullptr, &error.known) ==
        TALLY_ALREADY_RESERVED);
  CHECK(error.known.code == TALLY_ALREADY_RESERVED);
  CHECK(error.known.struct_size == sizeof error);
  CHECK(error.added == 5);

  Newer<tally_check> check{TALLY_CHECK_INIT};
  CHECK(tally_engine_check(mirror, &u1, &check.known, nullptr) == TALLY_OK);
  CHECK(check.known.held == 8);

  const std::string path = (mirror.path().parent_path() / "other.db").string();
  tally_engine* engine = nullptr;
  Newer<tally_callbacks> callbacks{TALLY_CALLBACKS_INIT};
  Newer<tally_options> options{fast()};
  options.known.callbacks = &callbacks.known;
  callbacks.added = 1;
  CHECK(tally_engine_open(path.data(), path.size(), &options.known, &engine, nullptr) ==
        TALLY_INVALID_ARGUMENT);
  callbacks.added = 0;
  options.added = 1;
  CHECK(tally_engine_open(path.data(), path.size(), &options.known, &engine, nullptr) ==
        TALLY_INVALID_ARGUMENT);
  options.added = 0;
  CHECK(tally_engine_open(path.data(), path.size(), &options.known, &engine, nullptr) == TALLY_OK);
  tally_engine_free(engine);

  tally_syncer* syncer = nullptr;
  Newer<tally_sync_options> sync{TALLY_SYNC_OPTIONS_INIT};
  sync.added = 1;
  CHECK(tally_syncer_new(mirror, &sync.known, &syncer, nullptr) == TALLY_INVALID_ARGUMENT);
  sync.added = 0;
  CHECK(tally_syncer_new(mirror, &sync.known, &syncer, nullptr) == TALLY_OK);
  tally_syncer_free(syncer);
}

}  // namespace
}  // namespace tally::c_test
