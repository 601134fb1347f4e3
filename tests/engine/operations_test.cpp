// Every operation with every code of the contract's section 4, in the stated order, on the mirror.
#include <doctest/doctest.h>

#include "support/operation_tables.hpp"

namespace tally::test {

TEST_CASE("each operation answers its codes in the contract's order") {
  for (const OperationTable& table : operation_tables()) {
    CAPTURE(table.claim);
    TemporaryMirror mirror;
    mirror.check(table.rows);
    CHECK(mirror.findings() == std::vector<std::string>{});
  }
}

TEST_CASE("each operation of the contract is in the engine's table, and no other") {
  const std::vector<std::string_view> names{"create_user",
                                            "update_profile",
                                            "add_credits",
                                            "expire_credits",
                                            "create_draft",
                                            "update_draft",
                                            "claim_draft",
                                            "purge_expired_drafts",
                                            "create_project",
                                            "update_project",
                                            "delete_project",
                                            "create_voice_profile",
                                            "delete_voice_profile",
                                            "create_job",
                                            "reserve_credits",
                                            "advance_job",
                                            "report_progress",
                                            "add_asset",
                                            "finalize_job_credits",
                                            "release_job_credits",
                                            "complete_job",
                                            "fail_job",
                                            "retry_job",
                                            "claim_job",
                                            "renew_claim",
                                            "drop_claim",
                                            "lease_credits",
                                            "return_lease",
                                            "sweep",
                                            "batch"};
  std::vector<std::string_view> built;
  for (const OperationRow& row : operation_table) built.push_back(row.name);
  CHECK(built == names);
}

TEST_CASE("a result line has op_id, result, balance, then id or index, in this order") {
  TemporaryMirror mirror;
  CHECK(mirror.apply_line(mirror.lines.line("create_user user_id=u1 op_id=o1")) ==
        R"({"op_id":"0000006f-0000-7000-8000-000000000001","result":"ok","balance":10})");
  mirror.apply("create_draft draft_id=d1 session_token=S prompt_text=P");
  CHECK(mirror.apply_line(mirror.lines.line("claim_draft session_token=S user_id=u1 op_id=o2")) ==
        R"({"op_id":"0000006f-0000-7000-8000-000000000002","result":"ok","balance":10,)"
        R"("id":"00000064-0000-7000-8000-000000000001"})");
  CHECK(
      mirror.apply_line(mirror.lines.line("batch op_id=o3 ops=(drop_claim job_id=j1)")) ==
      R"({"op_id":"0000006f-0000-7000-8000-000000000003","result":"job_not_found","balance":null,)"
      R"("index":0})");
  CHECK(mirror.apply_line("nothing") ==
        R"({"op_id":null,"result":"invalid_argument","balance":null,"line":5})");
}

TEST_CASE("an op_id is printed in lower case, whatever case it came in") {
  TemporaryMirror mirror;
  CHECK(mirror.apply_line(
            R"({"op":"purge_expired_drafts","op_id":"ABCDEFAB-CDEF-4BCD-8BCD-ABCDEFABCDEF",)"
            R"("at":"2026-01-18T00:00:00.000000Z"})") ==
        R"({"op_id":"abcdefab-cdef-4bcd-8bcd-abcdefabcdef","result":"ok","balance":null})");
}

}  // namespace tally::test
