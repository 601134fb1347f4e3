// The typed calls, tally_apply and tally_submit: what they do, refuse, and say of it.

#include <vector>

#include "c/support.hpp"

namespace tally::c_test {
namespace {

const tally_uuid u1 = id('u', 1);
const tally_uuid p1 = id('p', 1);
const tally_uuid j1 = id('j', 1);
const tally_uuid nobody = id('u', 99);

json job_of(const Mirror& mirror, const tally_uuid& job_id) {
  return read_json(
      [&](tally_text** text) { return tally_engine_job(mirror, &job_id, text, nullptr); });
}

/// Reserves, queues, and goes through all stages.
void work_off(const Mirror& mirror) {
  REQUIRE(tally_reserve_credits(mirror, &u1, &j1, 8, nullptr, nullptr, nullptr) == TALLY_OK);
  for (std::int32_t to = TALLY_JOB_QUEUED; to <= TALLY_JOB_PACKAGING; ++to)
    REQUIRE(tally_advance_job(mirror, &j1, to, nullptr, 0, nullptr, nullptr, nullptr) == TALLY_OK);
}

TEST_CASE("a job goes from its reservation to READY, and the receipts say the balance") {
  const Mirror mirror;
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  CHECK(tally_reserve_credits(mirror, &u1, &j1, 8, nullptr, &receipt, nullptr) == TALLY_OK);
  CHECK(receipt.flags == TALLY_RECEIPT_BALANCE);
  CHECK(receipt.balance == 2);
  CHECK((receipt.op_id.bytes[6] >> 4U) == 7);
  CHECK(tally_advance_job(mirror, &j1, TALLY_JOB_QUEUED, "in line", 7, nullptr, nullptr, nullptr) ==
        TALLY_OK);
  CHECK(job_of(mirror, j1)["job"]["status_message"] == "in line");
  CHECK(tally_advance_job(mirror, &j1, TALLY_JOB_SCRIPTING, nullptr, 0, nullptr, nullptr,
                          nullptr) == TALLY_OK);
  CHECK(tally_report_progress(mirror, &j1, TALLY_JOB_SCRIPTING, 40, "half", 4, nullptr, nullptr,
                              nullptr) == TALLY_OK);
  const json job = job_of(mirror, j1);
  CHECK(job["steps"][0]["step_name"] == "SCRIPTING");
  CHECK(job["steps"][0]["progress_pct"] == 40);
  CHECK(job["steps"].size() == 8);
  for (std::int32_t to = TALLY_JOB_VOICE_GEN; to <= TALLY_JOB_PACKAGING; ++to)
    REQUIRE(tally_advance_job(mirror, &j1, to, nullptr, 0, nullptr, nullptr, nullptr) == TALLY_OK);
  CHECK(tally_complete_job(mirror, &j1, 5, "https://cdn/x", 13, nullptr, &receipt, nullptr) ==
        TALLY_OK);
  CHECK(receipt.balance == 5);
  CHECK(job_of(mirror, j1)["job"]["status"] == "READY");
  CHECK(job_of(mirror, j1)["job"]["output_url"] == "https://cdn/x");
}

TEST_CASE("the other typed calls do what their operation does") {
  const Mirror mirror;
  SUBCASE("add_credits") {
    tally_receipt receipt = TALLY_RECEIPT_INIT;
    CHECK(tally_add_credits(mirror, &u1, 7, TALLY_ENTRY_REFUND, "sorry", 5, nullptr, &receipt,
                            nullptr) == TALLY_OK);
    CHECK(receipt.balance == 17);
    const json history = read_json(
        [&](tally_text** text) { return tally_engine_history(mirror, &u1, 1, 0, text, nullptr); });
    CHECK(history[0]["type"] == "refund");
    CHECK(history[0]["note"] == "sorry");
  }
  SUBCASE("create_job") {
    const tally_uuid j2 = id('j', 2);
    CHECK(tally_create_job(mirror, &j2, &p1, &u1, nullptr, nullptr, nullptr) == TALLY_OK);
    CHECK(job_of(mirror, j2)["job"]["status"] == "PENDING");
  }
  SUBCASE("finalize_job_credits") {
    work_off(mirror);
    CHECK(tally_finalize_job_credits(mirror, &j1, 3, nullptr, nullptr, nullptr) == TALLY_OK);
    CHECK(mirror.balance() == 7);
  }
  SUBCASE("release_job_credits") {
    work_off(mirror);
    CHECK(tally_release_job_credits(mirror, &j1, nullptr, nullptr, nullptr) == TALLY_OK);
    CHECK(mirror.balance() == 10);
  }
  SUBCASE("fail_job") {
    work_off(mirror);
    CHECK(tally_fail_job(mirror, &j1, "TTS_DOWN", 8, "no voice", 8, nullptr, nullptr, nullptr) ==
          TALLY_OK);
    CHECK(job_of(mirror, j1)["job"]["error_code"] == "TTS_DOWN");
    CHECK(job_of(mirror, j1)["job"]["error_message"] == "no voice");
    CHECK(mirror.balance() == 10);
  }
  SUBCASE("claim_job") {
    work_off(mirror);
    CHECK(tally_claim_job(mirror, &j1, 60, nullptr, nullptr, nullptr) == TALLY_OK);
    CHECK(tally_claim_job(mirror, &j1, 60, nullptr, nullptr, nullptr) == TALLY_ALREADY_CLAIMED);
  }
}

TEST_CASE("an op_id that is given makes a repeat harmless, and a time that is given is the row's") {
  const Mirror mirror;
  tally_call call = TALLY_CALL_INIT;
  call.flags = TALLY_CALL_OP_ID | TALLY_CALL_AT;
  call.op_id = id('o', 1);
  call.at_us = 1'768'694'400'000'000;  // 2026-01-18T00:00:00Z
  for (int i = 0; i < 2; ++i) {
    tally_receipt receipt = TALLY_RECEIPT_INIT;
    CHECK(tally_reserve_credits(mirror, &u1, &j1, 8, &call, &receipt, nullptr) == TALLY_OK);
    CHECK(receipt.op_id == call.op_id);
    CHECK(receipt.balance == 2);
  }
  Told error;
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  CHECK(tally_reserve_credits(mirror, &u1, &j1, 7, &call, &receipt, &error) ==
        TALLY_OPERATION_CONFLICT);
  CHECK(error.code == TALLY_OPERATION_CONFLICT);
  CHECK(receipt.op_id == call.op_id);
  CHECK(receipt.balance == 2);
  const json history = read_json(
      [&](tally_text** text) { return tally_engine_history(mirror, &u1, 1, 0, text, nullptr); });
  CHECK(history[0]["created_at"] == "2026-01-18T00:00:00.000000Z");
}

TEST_CASE(
    "a refusal says its code, its sentence and the balance, and an ok leaves the error alone") {
  const Mirror mirror;
  Told error;
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  CHECK(tally_reserve_credits(mirror, &u1, &j1, 11, nullptr, &receipt, &error) ==
        TALLY_INSUFFICIENT_CREDITS);
  CHECK(error.code == TALLY_INSUFFICIENT_CREDITS);
  CHECK(error.index == -1);
  CHECK(std::string(error.detail) == "The balance does not cover it.");
  CHECK(receipt.flags == TALLY_RECEIPT_BALANCE);
  CHECK(receipt.balance == 10);
  CHECK(tally_reserve_credits(mirror, &u1, &j1, 10, nullptr, &receipt, &error) == TALLY_OK);
  CHECK(error.code == TALLY_INSUFFICIENT_CREDITS);
}

TEST_CASE("what is no value is refused in the contract's order of checks") {
  const Mirror mirror;
  const auto add = [&](const tally_uuid* user, std::int64_t amount, std::int32_t type,
                       const tally_call* call = nullptr) {
    return tally_add_credits(mirror, user, amount, type, nullptr, 0, call, nullptr, nullptr);
  };
  CHECK(add(&u1, 0, TALLY_ENTRY_GRANT) == TALLY_INVALID_AMOUNT);
  CHECK(add(&u1, INT64_MIN, TALLY_ENTRY_GRANT) == TALLY_INVALID_AMOUNT);
  CHECK(add(&u1, 2'147'483'648, TALLY_ENTRY_GRANT) == TALLY_INVALID_AMOUNT);
  for (const std::int32_t type : {-1, 4, INT32_MAX, INT32_MIN}) {
    CHECK(add(&u1, 1, type) == TALLY_INVALID_TYPE);
    CHECK(add(&u1, 0, type) == TALLY_INVALID_AMOUNT);
    CHECK(add(&nobody, 1, type) == TALLY_INVALID_TYPE);
  }
  CHECK(add(&nobody, 1, TALLY_ENTRY_GRANT) == TALLY_USER_NOT_FOUND);
  CHECK(add(nullptr, 0, TALLY_ENTRY_GRANT) == TALLY_INVALID_ARGUMENT);
  // An op_id that was used for something else comes before its fields.
  tally_call call = TALLY_CALL_INIT;
  call.flags = TALLY_CALL_OP_ID;
  call.op_id = id('o', 1);
  CHECK(add(&u1, 1, TALLY_ENTRY_GRANT, &call) == TALLY_OK);
  CHECK(add(&u1, 0, 99, &call) == TALLY_OPERATION_CONFLICT);
  for (const std::int32_t status : {-1, 12, 255, 256, INT32_MAX, INT32_MIN}) {
    CHECK(tally_advance_job(mirror, &j1, status, nullptr, 0, nullptr, nullptr, nullptr) ==
          TALLY_INVALID_ARGUMENT);
    CHECK(tally_report_progress(mirror, &j1, status, 1, nullptr, 0, nullptr, nullptr, nullptr) ==
          TALLY_INVALID_ARGUMENT);
  }
  CHECK(tally_report_progress(mirror, &j1, TALLY_JOB_READY, 1, nullptr, 0, nullptr, nullptr,
                              nullptr) == TALLY_STEP_NOT_FOUND);
  CHECK(tally_report_progress(mirror, &j1, TALLY_JOB_SCRIPTING, 101, nullptr, 0, nullptr, nullptr,
                              nullptr) == TALLY_INVALID_ARGUMENT);
  call.op_id = {};  // No version.
  CHECK(add(&u1, 1, TALLY_ENTRY_GRANT, &call) == TALLY_INVALID_ARGUMENT);
  call.flags = TALLY_CALL_AT;
  call.at_us = INT64_MAX;
  CHECK(add(&u1, 1, TALLY_ENTRY_GRANT, &call) == TALLY_INVALID_ARGUMENT);
  call.flags = 4;
  CHECK(add(&u1, 1, TALLY_ENTRY_GRANT, &call) == TALLY_INVALID_ARGUMENT);
  CHECK(mirror.balance() == 11);
}

TEST_CASE("a malformed call tells the balance of whom it names all the same") {
  const Mirror mirror;
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  CHECK(tally_reserve_credits(mirror, &u1, nullptr, 1, nullptr, &receipt, nullptr) ==
        TALLY_INVALID_ARGUMENT);
  CHECK(receipt.flags == TALLY_RECEIPT_BALANCE);
  CHECK(receipt.balance == 10);
  receipt = TALLY_RECEIPT_INIT;
  CHECK(tally_fail_job(mirror, &j1, nullptr, 0, nullptr, 0, nullptr, &receipt, nullptr) ==
        TALLY_INVALID_ARGUMENT);
  CHECK(receipt.balance == 10);
}

TEST_CASE("texts: absent, empty, too long, and bytes that are no text") {
  const Mirror mirror;
  work_off(mirror);
  const auto advance = [&](const char* text, std::size_t length) {
    return tally_advance_job(mirror, &j1, TALLY_JOB_SCRIPTING, text, length, nullptr, nullptr,
                             nullptr);
  };
  const std::string longest(65'536, 'x');
  CHECK(advance(nullptr, 1) == TALLY_INVALID_ARGUMENT);
  CHECK(advance("a\0b", 3) == TALLY_INVALID_ARGUMENT);
  CHECK(advance("\xff", 1) == TALLY_INVALID_ARGUMENT);
  CHECK(advance((longest + "x").data(), longest.size() + 1) == TALLY_INVALID_ARGUMENT);
  // A length that no text has is not followed into memory.
  CHECK(advance("x", SIZE_MAX) == TALLY_INVALID_ARGUMENT);
  CHECK(tally_report_progress(mirror, &j1, TALLY_JOB_PACKAGING, 1, longest.data(), longest.size(),
                              nullptr, nullptr, nullptr) == TALLY_OK);
  CHECK(job_of(mirror, j1)["steps"][7]["status_message"].get<std::string>().size() ==
        longest.size());
  CHECK(tally_report_progress(mirror, &j1, TALLY_JOB_PACKAGING, 2, "", 0, nullptr, nullptr,
                              nullptr) == TALLY_OK);
  CHECK(job_of(mirror, j1)["steps"][7]["status_message"] == "");
  CHECK(tally_fail_job(mirror, &j1, "", 0, nullptr, 0, nullptr, nullptr, nullptr) ==
        TALLY_INVALID_ARGUMENT);  // error_code may not be empty.
}

// ---- tally_apply --------------------------------------------------------------------------------

TEST_CASE("tally_apply: what is absent of op_id and at is made, in a batch's operations, too") {
  const Mirror mirror;
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  CHECK(mirror.apply(
            {{"op", "batch"},
             {"ops",
              {{{"op", "add_credits"}, {"user_id", text_of(u1)}, {"amount", 5}, {"type", "grant"}},
               {{"op", "reserve_credits"},
                {"user_id", text_of(u1)},
                {"job_id", text_of(j1)},
                {"amount", 15}}}}},
            &receipt) == TALLY_OK);
  CHECK(receipt.balance == 0);
  CHECK((receipt.op_id.bytes[6] >> 4U) == 7);
  const json given{{"op", "add_credits"},
                   {"op_id", text_of(id('o', 1))},
                   {"at", "2026-01-18T00:00:00.000000Z"},
                   {"user_id", text_of(u1)},
                   {"amount", 1},
                   {"type", "grant"}};
  CHECK(mirror.apply(given, &receipt) == TALLY_OK);
  CHECK(mirror.apply(given, &receipt) == TALLY_OK);
  CHECK(receipt.op_id == id('o', 1));
  CHECK(mirror.balance() == 1);
}

TEST_CASE("tally_apply: claim_draft's receipt has the draft") {
  const Mirror mirror;
  mirror.must_apply({{"op", "create_draft"},
                     {"draft_id", text_of(id('d', 1))},
                     {"session_token", "s"},
                     {"prompt_text", "Rome"}});
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  CHECK(mirror.apply({{"op", "claim_draft"}, {"session_token", "s"}, {"user_id", text_of(u1)}},
                     &receipt) == TALLY_OK);
  CHECK(receipt.flags == (TALLY_RECEIPT_BALANCE | TALLY_RECEIPT_ID));
  CHECK(receipt.id == id('d', 1));
}

TEST_CASE("tally_apply: what is no operation says what is wrong") {
  const Mirror mirror;
  const auto apply = [&](std::string_view text, std::string_view part) {
    Told error;
    tally_receipt receipt = TALLY_RECEIPT_INIT;
    CAPTURE(text);
    CHECK(tally_apply(mirror, text.data(), text.size(), &receipt, &error) ==
          TALLY_INVALID_ARGUMENT);
    CHECK_MESSAGE(error.says(part), error.detail);
    CHECK(receipt.op_id == tally_uuid{});
  };
  apply("", "no JSON object");
  apply("[1]", "no JSON object");
  apply("{\"op\":", "no JSON object");
  apply("{}", "op is missing");
  apply("{\"op\":7}", "op is no text");
  apply("{\"op\":\"mint\"}", "no operation 'mint'");
  apply("{\"op\":\"sweep\",\"grace\":1,\"op_id\":\"x\"}", "op_id");
  apply("{\"op\":\"sweep\",\"grace\":1,\"op_id\":null}", "op_id");
  apply("{\"op\":\"sweep\",\"grace\":1,\"op_id\":\"00000000-0000-8000-8000-000000000000\"}",
        "op_id");
  apply("{\"op\":\"sweep\",\"grace\":1,\"at\":\"today\"}", "at is no time");
  apply("{\"op\":\"sweep\",\"grace\":1,\"at\":5}", "at is no time");
  CHECK(tally_apply(mirror, nullptr, 3, nullptr, nullptr) == TALLY_INVALID_ARGUMENT);
  CHECK(tally_apply(mirror, nullptr, 0, nullptr, nullptr) == TALLY_INVALID_ARGUMENT);
}

TEST_CASE("a field that is wrong is named, however the operation came") {
  const Mirror mirror;
  Told error;
  const auto says = [&](const json& operation, std::string_view detail) {
    const tally_code code = mirror.apply(operation, nullptr, &error);
    CHECK(tally_code_class(code) == TALLY_CLASS_REFUSAL);
    CHECK(std::string_view(error.detail) == detail);
  };
  const std::string user = text_of(u1);
  const std::string job = text_of(j1);
  says({{"op", "reserve_credits"}, {"user_id", user}, {"job_id", job}},
       "reserve_credits: amount is missing");
  says({{"op", "reserve_credits"}, {"user_id", user}, {"job_id", job}, {"amont", 8}},
       "reserve_credits: amount is missing; there is no field 'amont'");
  says({{"op", "reserve_credits"}, {"user_id", "x"}, {"job_id", job}, {"amount", 1.5}},
       "reserve_credits: user_id is expected to be a UUID; amount is expected to be a whole "
       "number");
  says({{"op", "reserve_credits"}, {"user_id", user}, {"job_id", job}, {"amount", 0}},
       "reserve_credits: amount is expected to be a whole number from 1 to 2147483647");
  says({{"op", "add_credits"}, {"user_id", user}, {"amount", 1}, {"type", "gift"}},
       "add_credits: type is expected to be one of purchase, grant, subscription, refund");
  // Of two wrong fields the one that the code means: invalid_argument comes before invalid_type.
  says({{"op", "add_credits"},
        {"user_id", user},
        {"amount", 1},
        {"type", "gift"},
        {"stripe_payment_id", std::string(256, 'x')}},
       "add_credits: stripe_payment_id is expected to be UTF-8 without U+0000, of 0 to 255 bytes");
  says({{"op", "create_user"}, {"user_id", user}, {"email", std::string(256, 'x')}},
       "create_user: email is expected to be UTF-8 without U+0000, of 0 to 255 bytes");
  says({{"op", "advance_job"}, {"job_id", job}, {"to", "DONE"}},
       "advance_job: to is expected to be a job's status");
  says({{"op", "batch"}}, "batch: ops is expected to be 1 to 1000 operations");
  says({{"op", "batch"}, {"ops", {{{"op", "sweep"}, {"grace", 1}}}}},
       "batch: operation 0: sweep: is none that a batch may hold");
  says({{"op", "batch"}, {"ops", {{{"op", "release_job_credits"}, {"job", job}}}}},
       "release_job_credits: job_id is missing; there is no field 'job'");
  CHECK(error.index == 0);
  CHECK(tally_reserve_credits(mirror, &u1, nullptr, 1, nullptr, nullptr, &error) ==
        TALLY_INVALID_ARGUMENT);
  CHECK(std::string_view(error.detail) == "reserve_credits: job_id is NULL");
  CHECK(tally_claim_job(mirror, &j1, 0, nullptr, nullptr, &error) == TALLY_INVALID_ARGUMENT);
  CHECK(std::string_view(error.detail) ==
        "claim_job: ttl is expected to be a whole number from 1 to 2592000");
  CHECK(tally_advance_job(mirror, &j1, 77, nullptr, 0, nullptr, nullptr, &error) ==
        TALLY_INVALID_ARGUMENT);
  CHECK(std::string_view(error.detail) == "advance_job: to is no TALLY_JOB_...");
}

// ---- tally_submit -------------------------------------------------------------------------------

TEST_CASE("tally_submit: a line a result, lines that are no operation among them") {
  const Mirror mirror;
  const std::string lines =
      "{\"op\":\"add_credits\",\"op_id\":\"019bd57b-8280-7005-8000-000000000005\","
      "\"at\":\"2026-01-19T09:00:00.000000Z\",\"user_id\":\"" +
      text_of(u1) +
      "\",\"amount\":3,\"type\":\"grant\"}\r\n"
      "\n"
      "{\"op\":\"add_credits\"}";
  tally_text* results = nullptr;
  REQUIRE(tally_submit(mirror, lines.data(), lines.size(), &results, nullptr) == TALLY_OK);
  CHECK(taken(results) ==
        "{\"op_id\":\"019bd57b-8280-7005-8000-000000000005\",\"result\":\"ok\",\"balance\":13}\n"
        "{\"op_id\":null,\"result\":\"invalid_argument\",\"balance\":null,\"line\":2}\n"
        "{\"op_id\":null,\"result\":\"invalid_argument\",\"balance\":null,\"line\":3}\n");
  REQUIRE(tally_submit(mirror, nullptr, 0, &results, nullptr) == TALLY_OK);
  CHECK(taken(results).empty());
  Told error;
  CHECK(tally_submit(mirror, nullptr, 1, &results, &error) == TALLY_INVALID_ARGUMENT);
  CHECK(tally_submit(mirror, lines.data(), 1, nullptr, &error) == TALLY_INVALID_ARGUMENT);
  CHECK(tally_submit(nullptr, lines.data(), 1, &results, &error) == TALLY_INVALID_ARGUMENT);
}

// ---- batches ------------------------------------------------------------------------------------

tally_operation operation(std::int32_t which) {
  tally_operation made{};
  made.struct_size = sizeof made;
  made.operation = which;
  made.user_id = u1;
  made.job_id = j1;
  made.project_id = p1;
  return made;
}
tally_operation reserve(std::int64_t amount) {
  tally_operation made = operation(TALLY_OPERATION_RESERVE_CREDITS);
  made.number = amount;
  return made;
}

TEST_CASE("tally_batch: every operation that it knows, all in one") {
  const Mirror mirror;
  const tally_uuid j2 = id('j', 2);
  const tally_uuid j3 = id('j', 3);
  std::vector<tally_operation> batch;
  const auto add = [&](std::int32_t which, std::int64_t number = 0, std::int32_t word = 0,
                       const char* text = nullptr) -> tally_operation& {
    batch.push_back(operation(which));
    batch.back().number = number;
    batch.back().word = word;
    batch.back().text = text;
    batch.back().text_length = text == nullptr ? 0 : std::strlen(text);
    return batch.back();
  };
  add(TALLY_OPERATION_ADD_CREDITS, 20, TALLY_ENTRY_PURCHASE, "paid");
  add(TALLY_OPERATION_CREATE_JOB).job_id = j2;
  add(TALLY_OPERATION_RESERVE_CREDITS, 6).job_id = j2;
  add(TALLY_OPERATION_FAIL_JOB, 0, 0, "CANCELLED").job_id = j2;
  batch.back().message = "by its user";
  batch.back().message_length = 11;
  add(TALLY_OPERATION_CREATE_JOB).job_id = j3;
  add(TALLY_OPERATION_RESERVE_CREDITS, 3).job_id = j3;
  add(TALLY_OPERATION_RELEASE_JOB_CREDITS).job_id = j3;
  add(TALLY_OPERATION_RESERVE_CREDITS, 8);
  add(TALLY_OPERATION_ADVANCE_JOB, 0, TALLY_JOB_QUEUED, "in line");
  add(TALLY_OPERATION_CLAIM_JOB, 60);
  add(TALLY_OPERATION_ADVANCE_JOB, 0, TALLY_JOB_SCRIPTING);
  add(TALLY_OPERATION_REPORT_PROGRESS, 50, TALLY_JOB_SCRIPTING, "half");
  add(TALLY_OPERATION_FINALIZE_JOB_CREDITS, 5);
  for (std::int32_t to = TALLY_JOB_VOICE_GEN; to <= TALLY_JOB_PACKAGING; ++to)
    add(TALLY_OPERATION_ADVANCE_JOB, 0, to);
  Told error;
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  CHECK_MESSAGE(
      tally_batch(mirror, batch.data(), batch.size(), nullptr, &receipt, &error) == TALLY_OK,
      error.detail);
  CHECK(receipt.balance == 25);
  CHECK(job_of(mirror, j2)["job"]["error_message"] == "by its user");
  CHECK(job_of(mirror, j2)["job"]["status"] == "FAILED");
  CHECK(job_of(mirror, j3)["job"]["status"] == "PENDING");
  CHECK(job_of(mirror, j1)["job"]["status"] == "PACKAGING");
  CHECK(job_of(mirror, j1)["steps"][0]["progress_pct"] == 100);
}

TEST_CASE("tally_batch: complete_job, with its address") {
  const Mirror mirror;
  work_off(mirror);
  tally_operation complete = operation(TALLY_OPERATION_COMPLETE_JOB);
  complete.number = 4;
  complete.text = "https://cdn/y";
  complete.text_length = 13;
  CHECK(tally_batch(mirror, &complete, 1, nullptr, nullptr, nullptr) == TALLY_OK);
  CHECK(job_of(mirror, j1)["job"]["output_url"] == "https://cdn/y");
  CHECK(mirror.balance() == 6);
}

TEST_CASE("tally_batch: a refusal names the operation, and nothing of the batch applies") {
  const Mirror mirror;
  mirror.make_job(2, 1);
  std::vector<tally_operation> batch{reserve(4), reserve(4)};
  Told error;
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  CHECK(tally_batch(mirror, batch.data(), 2, nullptr, &receipt, &error) == TALLY_ALREADY_RESERVED);
  CHECK(error.index == 1);
  CHECK(receipt.balance == 10);
  batch[1].job_id = id('j', 2);
  batch[1].number = 7;
  CHECK(tally_batch(mirror, batch.data(), 2, nullptr, nullptr, &error) ==
        TALLY_INSUFFICIENT_CREDITS);
  CHECK(error.index == 1);
  // A field that is no value is that operation's fault; what is no operation the batch's.
  batch[1].operation = TALLY_OPERATION_ADD_CREDITS;
  batch[1].word = 9;
  CHECK(tally_batch(mirror, batch.data(), 2, nullptr, nullptr, &error) == TALLY_INVALID_TYPE);
  CHECK(error.index == 1);
  for (const std::int32_t other : std::initializer_list<std::int32_t>{
           0, -1, TALLY_OPERATION_CREATE_USER, TALLY_OPERATION_SWEEP, TALLY_OPERATION_BATCH,
           INT32_MAX}) {
    batch[1].operation = other;
    CHECK(tally_batch(mirror, batch.data(), 2, nullptr, nullptr, &error) == TALLY_INVALID_ARGUMENT);
  }
  CHECK(mirror.balance() == 10);
}

TEST_CASE("tally_batch: its op_id and those of its operations make a repeat harmless") {
  const Mirror mirror;
  tally_operation one = reserve(4);
  one.op_id = id('o', 2);
  tally_call call = TALLY_CALL_INIT;
  call.flags = TALLY_CALL_OP_ID;
  call.op_id = id('o', 1);
  for (int i = 0; i < 2; ++i)
    CHECK(tally_batch(mirror, &one, 1, &call, nullptr, nullptr) == TALLY_OK);
  CHECK(mirror.balance() == 6);
  tally_call alone = TALLY_CALL_INIT;
  alone.flags = TALLY_CALL_OP_ID;
  alone.op_id = id('o', 2);
  CHECK(tally_reserve_credits(mirror, &u1, &j1, 4, &alone, nullptr, nullptr) == TALLY_OK);
  CHECK(mirror.balance() == 6);
}

TEST_CASE("tally_batch: none, too many, and strides") {
  const Mirror mirror;
  Told error;
  CHECK(tally_batch(mirror, nullptr, 0, nullptr, nullptr, &error) == TALLY_INVALID_ARGUMENT);
  CHECK(tally_batch(mirror, nullptr, 2, nullptr, nullptr, &error) == TALLY_INVALID_ARGUMENT);
  tally_operation add = operation(TALLY_OPERATION_ADD_CREDITS);
  add.number = 1;
  std::vector<tally_operation> batch(1'001, add);
  CHECK(tally_batch(mirror, batch.data(), 1'001, nullptr, nullptr, &error) ==
        TALLY_INVALID_ARGUMENT);
  CHECK(tally_batch(mirror, batch.data(), 1'000, nullptr, nullptr, &error) == TALLY_OK);
  CHECK(mirror.balance() == 1'010);
  // A caller with a longer struct: the stride is its own.
  struct Longer {
    tally_operation known;
    std::uint64_t newer;
  };
  std::vector<Longer> longer(3, Longer{add, 0});
  for (Longer& one : longer) one.known.struct_size = sizeof(Longer);
  CHECK(tally_batch(mirror, &longer[0].known, 3, nullptr, nullptr, &error) == TALLY_OK);
  CHECK(mirror.balance() == 1'013);
  longer[2].newer = 1;
  CHECK(tally_batch(mirror, &longer[0].known, 3, nullptr, nullptr, &error) ==
        TALLY_INVALID_ARGUMENT);
  longer[2].newer = 0;
  longer[1].known.struct_size = sizeof(tally_operation);
  CHECK(tally_batch(mirror, &longer[0].known, 3, nullptr, nullptr, &error) ==
        TALLY_INVALID_ARGUMENT);
  CHECK(mirror.balance() == 1'013);
}

}  // namespace
}  // namespace tally::c_test
