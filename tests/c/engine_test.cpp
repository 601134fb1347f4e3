// Opening, reading, callbacks, and many threads on one engine.

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "c/support.hpp"

namespace tally::c_test {
namespace {

const tally_uuid u1 = id('u', 1);
const tally_uuid u2 = id('u', 2);
const tally_uuid j1 = id('j', 1);
const tally_uuid nobody = id('u', 99);

// ---- opening ------------------------------------------------------------------------------------

TEST_CASE("opening: what is no value, no file, no mirror") {
  const Mirror mirror(0);
  const std::string path = (mirror.path().parent_path() / "other.db").string();
  tally_engine* engine = nullptr;
  Told error;
  const auto open = [&](const tally_options& options, std::string_view name) {
    return tally_engine_open(name.data(), name.size(), &options, &engine, &error);
  };
  tally_options options = fast();
  options.must_exist = 1;
  CHECK(open(options, path) == TALLY_NOT_FOUND);
  CHECK(!std::filesystem::exists(path));
  CHECK(open(options, std::string_view("a\0b", 3)) == TALLY_INVALID_ARGUMENT);
  CHECK(open(options, std::string_view("", 0)) == TALLY_INVALID_ARGUMENT);
  const auto refuses = [&](auto member, std::initializer_list<std::int64_t> values) {
    for (const std::int64_t value : values) {
      tally_options wrong = fast();
      wrong.*member = static_cast<std::remove_reference_t<decltype(wrong.*member)>>(value);
      CHECK(open(wrong, path) == TALLY_INVALID_ARGUMENT);
    }
  };
  refuses(&tally_options::durability, {-1, 2, INT32_MAX});
  refuses(&tally_options::spend_policy, {-1, 3, INT32_MIN});
  refuses(&tally_options::busy_timeout_ms, {-1, INT64_MIN});
  refuses(&tally_options::verdict_timeout_ms, {-1, INT64_MIN});
  refuses(&tally_options::low_credits, {-1, 2'147'483'648});
  refuses(&tally_options::cache_kib, {0, -1, 2'147'483'648});
  CHECK(!std::filesystem::exists(path));
  std::ofstream(path)
      << "this is no mirror, but long enough to be looked at for one, if at all ...";
  CHECK(open(fast(), path) == TALLY_CORRUPT);
  CHECK(error.code == TALLY_CORRUPT);
  CHECK(engine == nullptr);
}

TEST_CASE("opening: the longest times are taken, and a path is UTF-8") {
  const Mirror mirror(0);
  const std::string path = (mirror.path().parent_path() / "ä ☕.db").string();
  tally_options options = fast();
  options.busy_timeout_ms = INT64_MAX;
  options.verdict_timeout_ms = INT64_MAX;
  tally_engine_free(opened(path, options));
  CHECK(std::filesystem::exists(path));
}

TEST_CASE("options that are absent are those of TALLY_OPTIONS_INIT, and two engines share a file") {
  const Mirror mirror;
  tally_engine* other = nullptr;
  const std::string path = mirror.path().string();
  REQUIRE(tally_engine_open(path.data(), path.size(), nullptr, &other, nullptr) == TALLY_OK);
  CHECK(tally_engine_balance_value(other, &u1) == 10);
  CHECK(tally_add_credits(other, &u1, 5, TALLY_ENTRY_GRANT, nullptr, 0, nullptr, nullptr,
                          nullptr) == TALLY_OK);
  CHECK(mirror.balance() == 15);
  tally_engine_free(other);
}

/// The code that opening the mirror has in a child of this process, and what it does with it then.
tally_code in_child(const std::filesystem::path& path, std::int64_t amount) {
  const pid_t pid = fork();
  if (pid == 0) {
    tally_engine* engine = nullptr;
    const std::string name = path.string();
    tally_code code = tally_engine_open(name.data(), name.size(), nullptr, &engine, nullptr);
    if (code == TALLY_OK) {
      code = tally_add_credits(engine, &u1, amount, TALLY_ENTRY_GRANT, nullptr, 0, nullptr, nullptr,
                               nullptr);
      tally_engine_free(engine);
    }
    _exit(code);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("a forked child opens no mirror that its parent has open, and any other") {
  Mirror mirror;
  CHECK(in_child(mirror.path(), 5) == TALLY_INVALID_ARGUMENT);
  // By another name it is the same file.
  const auto link = mirror.path().parent_path() / "link.db";
  std::filesystem::create_symlink(mirror.path(), link);
  CHECK(in_child(link, 5) == TALLY_INVALID_ARGUMENT);
  CHECK(mirror.balance() == 10);
  const auto fresh = mirror.path().parent_path() / "fresh.db";
  tally_engine_free(opened(fresh, fast()));  // Closed again before the fork.
  CHECK(in_child(fresh, 5) == TALLY_USER_NOT_FOUND);
  // The parent has lost nothing by it.
  CHECK(tally_add_credits(mirror, &u1, 1, TALLY_ENTRY_GRANT, nullptr, 0, nullptr, nullptr,
                          nullptr) == TALLY_OK);
  mirror.reopen();
  CHECK(mirror.balance() == 11);
}

// ---- reading ------------------------------------------------------------------------------------

TEST_CASE("balance, check and account, of a user and of nobody") {
  const Mirror mirror;
  mirror.make_job(2, 1);
  const tally_uuid j2 = id('j', 2);
  tally_receipt first = TALLY_RECEIPT_INIT;
  REQUIRE(tally_reserve_credits(mirror, &u1, &j1, 3, nullptr, &first, nullptr) == TALLY_OK);
  REQUIRE(tally_reserve_credits(mirror, &u1, &j2, 4, nullptr, nullptr, nullptr) == TALLY_OK);
  std::int64_t balance = 0;
  CHECK(tally_engine_balance(mirror, &u1, &balance, nullptr) == TALLY_OK);
  CHECK(balance == 3);
  CHECK(tally_engine_balance_value(mirror, &u1) == 3);
  tally_check check = TALLY_CHECK_INIT;
  CHECK(tally_engine_check(mirror, &u1, &check, nullptr) == TALLY_OK);
  CHECK(check.balance == 3);
  CHECK(check.held == 7);
  CHECK(check.entries == 3);
  CHECK(check.pending_operations > 0);

  std::array<tally_hold, 3> holds{};
  std::size_t count = 0;
  tally_check again = TALLY_CHECK_INIT;
  CHECK(tally_engine_account(mirror, &u1, &again, nullptr, 0, &count, nullptr) == TALLY_OK);
  CHECK(count == 2);
  CHECK(again.held == 7);
  CHECK(tally_engine_account(mirror, &u1, &again, holds.data(), 1, &count, nullptr) == TALLY_OK);
  CHECK(count == 2);
  CHECK(holds[1].amount == 0);  // Beyond the room nothing is written.
  CHECK(tally_engine_account(mirror, &u1, &again, holds.data(), 3, &count, nullptr) == TALLY_OK);
  const tally_hold& of_j1 = holds[0].job_id == j1 ? holds[0] : holds[1];
  CHECK(of_j1.job_id == j1);
  CHECK(of_j1.amount == 3);
  CHECK(of_j1.reservation == first.op_id);
  CHECK(holds[0].amount + holds[1].amount == 7);
  const json state = read_json(
      [&](tally_text** out) { return tally_engine_account_state(mirror, &u1, out, nullptr); });
  CHECK(state["balance"] == 3);
  CHECK(state["held"] == 7);
  CHECK(state["entries"] == 3);
  CHECK(state["pending_operations"] == check.pending_operations);
  CHECK(state["holds"].size() == 2);
  CHECK(state["holds"][0]["amount"].get<int>() + state["holds"][1]["amount"].get<int>() == 7);
  CHECK(state["leases"] == json::array());

  Told error;
  CHECK(tally_engine_balance(mirror, &nobody, &balance, &error) == TALLY_USER_NOT_FOUND);
  CHECK(error.code == TALLY_USER_NOT_FOUND);
  CHECK(error.says(text_of(nobody)));
  CHECK(balance == 3);
  CHECK(tally_engine_balance_value(mirror, &nobody) == INT64_MIN + TALLY_USER_NOT_FOUND);
  CHECK(tally_engine_balance_value(mirror, &nobody) < TALLY_BALANCE_NONE);
  CHECK(tally_engine_check(mirror, &nobody, &check, &error) == TALLY_USER_NOT_FOUND);
  CHECK(tally_engine_account(mirror, &nobody, &check, nullptr, 0, &count, &error) ==
        TALLY_USER_NOT_FOUND);
  CHECK(check.balance == 3);
}

TEST_CASE("history: newest first, paged") {
  const Mirror mirror;
  for (int i = 1; i <= 5; ++i)
    REQUIRE(tally_add_credits(mirror, &u1, i, TALLY_ENTRY_GRANT, nullptr, 0, nullptr, nullptr,
                              nullptr) == TALLY_OK);
  const auto history = [&](std::size_t limit, std::int64_t before) {
    return read_json([&](tally_text** text) {
      return tally_engine_history(mirror, &u1, limit, before, text, nullptr);
    });
  };
  const json page = history(2, 0);
  CHECK(page.size() == 2);
  CHECK(page[0]["seq"] == 6);
  CHECK(page[0]["balance_after"] == 25);
  CHECK(page[0]["note"].is_null());
  CHECK(history(10'000, page[1]["seq"])[0]["seq"] == 4);
  tally_text* text = nullptr;
  for (const std::size_t limit : {std::size_t{0}, std::size_t{10'001}, SIZE_MAX})
    CHECK(tally_engine_history(mirror, &u1, limit, 0, &text, nullptr) == TALLY_INVALID_ARGUMENT);
  CHECK(tally_engine_history(mirror, &nobody, 1, 0, &text, nullptr) == TALLY_USER_NOT_FOUND);
  CHECK(text == nullptr);
}

TEST_CASE("rows are objects in their columns' order, and JSON in them keeps every digit") {
  const Mirror mirror;
  const std::string settings = R"({"big": 123456789012345678901234567890, "small": 1.10})";
  const std::string operation = R"({"op":"update_project","project_id":")" + text_of(id('p', 1)) +
                                R"(","user_id":")" + text_of(u1) + R"(","settings":)" + settings +
                                "}";
  REQUIRE(tally_apply(mirror, operation.data(), operation.size(), nullptr, nullptr) == TALLY_OK);
  mirror.must_apply({{"op", "add_asset"},
                     {"asset_id", text_of(id('a', 1))},
                     {"job_id", text_of(j1)},
                     {"type", "video"},
                     {"url", "u"},
                     {"storage_path", "\"quoted\"\n\u0001é"},
                     {"size_bytes", INT64_MAX}});
  tally_text* text = nullptr;
  const tally_uuid p1 = id('p', 1);
  REQUIRE(tally_engine_project(mirror, &p1, &text, nullptr) == TALLY_OK);
  const std::string project = taken(text);
  CHECK(project.starts_with("{\"id\":\"" + text_of(p1) + "\""));
  CHECK(project.find("\"settings\":" + settings) != std::string::npos);
  REQUIRE(tally_engine_job(mirror, &j1, &text, nullptr) == TALLY_OK);
  const std::string job = taken(text);
  CHECK(job.find("\"size_bytes\":9223372036854775807") != std::string::npos);
  CHECK(json::parse(job)["assets"][0]["storage_path"] == "\"quoted\"\n\u0001é");
  CHECK(json::parse(job)["job"]["cost_credits_final"].is_null());
  CHECK(tally_engine_project(mirror, &nobody, &text, nullptr) == TALLY_PROJECT_NOT_FOUND);
  CHECK(tally_engine_job(mirror, &nobody, &text, nullptr) == TALLY_JOB_NOT_FOUND);
}

TEST_CASE("the other reads") {
  const Mirror mirror(2);
  mirror.must_apply({{"op", "create_draft"},
                     {"draft_id", text_of(id('d', 1))},
                     {"session_token", "s"},
                     {"user_id", text_of(u1)},
                     {"prompt_text", "Rome"}});
  const auto of_user = [&](auto function) {
    return read_json([&](tally_text** text) { return function(mirror, &u1, text, nullptr); });
  };
  CHECK(of_user(tally_engine_jobs).size() == 1);
  CHECK(of_user(tally_engine_drafts)[0]["prompt_text"] == "Rome");
  CHECK(read_json([&](tally_text** text) { return tally_engine_users(mirror, text, nullptr); }) ==
        json{text_of(u1), text_of(u2)});
  const auto rows = [&](std::string_view table, const tally_uuid* user) {
    return read_json([&](tally_text** text) {
      return tally_engine_rows(mirror, table.data(), table.size(), user, text, nullptr);
    });
  };
  CHECK(rows("jobs", nullptr).size() == 2);
  CHECK(rows("jobs", &u2)[0]["id"] == text_of(id('j', 2)));
  tally_text* text = nullptr;
  CHECK(tally_engine_rows(mirror, "sqlite_master", 13, nullptr, &text, nullptr) == TALLY_NOT_FOUND);
  const json digest = of_user(tally_engine_digest);
  CHECK(digest.size() >= 8);
  CHECK(digest[0]["digest"].get<std::string>().size() == 16);
  const json audit =
      read_json([&](tally_text** out) { return tally_engine_audit(mirror, out, nullptr); });
  CHECK(audit["users"] == 2);
  CHECK(audit["jobs"] == 2);
  CHECK(audit["findings"] == json::array());
  std::int64_t pending = 0;
  CHECK(tally_engine_pending_operations(mirror, &pending, nullptr) == TALLY_OK);
  CHECK(pending == 7);
  for (const auto function : {tally_engine_sync_status})
    CHECK(read_json([&](tally_text** out) { return function(mirror, out, nullptr); }).is_null());
  for (const auto function : {tally_engine_leases, tally_engine_rejected})
    CHECK(read_json([&](tally_text** out) { return function(mirror, out, nullptr); }) ==
          json::array());
  for (const auto function : {tally_engine_jobs, tally_engine_drafts}) {
    CHECK(read_json([&](tally_text** out) { return function(mirror, &nobody, out, nullptr); }) ==
          json::array());
  }
  CHECK(tally_engine_dismiss(mirror, 5, nullptr) == TALLY_NOT_FOUND);
  CHECK(tally_engine_retry(mirror, 5, nullptr, nullptr) == TALLY_NOT_FOUND);
}

// ---- callbacks ----------------------------------------------------------------------------------

struct Heard {
  tally_engine* engine = nullptr;
  std::vector<std::string> events{};

  static Heard& of(void* context) { return *static_cast<Heard*>(context); }
  tally_callbacks callbacks() {
    tally_callbacks made = TALLY_CALLBACKS_INIT;
    made.context = this;
    made.job_complete = [](void* context, const tally_uuid* user, const tally_uuid* job) {
      of(context).events.push_back("complete " + text_of(*user) + " " + text_of(*job));
    };
    made.job_failed = [](void* context, const tally_uuid* user, const tally_uuid* job) {
      of(context).events.push_back("failed " + text_of(*user) + " " + text_of(*job));
    };
    made.low_credits = [](void* context, const tally_uuid* user, std::int64_t balance) {
      // A callback may call the engine.
      CHECK(tally_engine_balance_value(of(context).engine, user) == balance);
      of(context).events.push_back("low " + text_of(*user) + " " + std::to_string(balance));
    };
    made.log = [](void* context, std::int32_t level, const char* line, std::size_t length) {
      of(context).events.push_back("log " + std::to_string(level) + " " +
                                   std::string(line, length));
    };
    return made;
  }
};

TEST_CASE("callbacks tell what happened, from a struct that is gone") {
  Heard heard;
  Mirror mirror;
  {
    tally_callbacks callbacks = heard.callbacks();
    tally_options options = fast();
    options.low_credits = 4;
    options.callbacks = &callbacks;
    mirror.reopen(options);
    std::memset(static_cast<void*>(&callbacks), 0xff, sizeof callbacks);
    std::memset(static_cast<void*>(&options), 0xff, sizeof options);
  }
  heard.engine = mirror;
  REQUIRE(tally_reserve_credits(mirror, &u1, &j1, 6, nullptr, nullptr, nullptr) == TALLY_OK);
  CHECK(heard.events.empty());  // 4 are left.
  REQUIRE(tally_fail_job(mirror, &j1, "X", 1, nullptr, 0, nullptr, nullptr, nullptr) == TALLY_OK);
  mirror.must_apply({{"op", "retry_job"}, {"job_id", text_of(j1)}, {"amount", 7}});
  for (std::int32_t to = TALLY_JOB_SCRIPTING; to <= TALLY_JOB_PACKAGING; ++to)
    REQUIRE(tally_advance_job(mirror, &j1, to, nullptr, 0, nullptr, nullptr, nullptr) == TALLY_OK);
  REQUIRE(tally_complete_job(mirror, &j1, 7, nullptr, 0, nullptr, nullptr, nullptr) == TALLY_OK);
  CHECK(heard.events == std::vector<std::string>{"failed " + text_of(u1) + " " + text_of(j1),
                                                 "low " + text_of(u1) + " 3",
                                                 "complete " + text_of(u1) + " " + text_of(j1)});
}

TEST_CASE("measurements name the operation, its result and the commit; without a callback none") {
  std::vector<std::string> told;
  tally_callbacks callbacks = TALLY_CALLBACKS_INIT;
  callbacks.context = &told;
  callbacks.metric = [](void* context, std::int32_t metric, double value,
                        const tally_attribute* attributes, std::size_t count) {
    std::string text = tally_metric_name(metric);
    if (metric != TALLY_METRIC_COMMIT_DURATION) text += " " + std::to_string(int(value));
    for (std::size_t i = 0; i < count; ++i)
      text += " " + std::string(attributes[i].name) + "=" + attributes[i].value;
    static_cast<std::vector<std::string>*>(context)->push_back(text);
  };
  Mirror mirror;
  tally_options options = fast();
  options.callbacks = &callbacks;
  mirror.reopen(options);
  REQUIRE(tally_reserve_credits(mirror, &u1, &j1, 6, nullptr, nullptr, nullptr) == TALLY_OK);
  CHECK(told == std::vector<std::string>{
                    "tally.commit.duration", "tally.commit.operations 1",
                    "tally.operations 1 tally.operation=reserve_credits tally.result=ok"});
  told.clear();
  CHECK(tally_reserve_credits(mirror, &u1, &j1, 6, nullptr, nullptr, nullptr) ==
        TALLY_ALREADY_RESERVED);
  CHECK(told == std::vector<std::string>{"tally.operations 1 tally.operation=reserve_credits "
                                         "tally.result=already_reserved"});
  told.clear();
  CHECK(tally_engine_balance_value(mirror, &u1) == 4);
  CHECK(mirror.balance() == 4);
  CHECK(told.empty());
  // A caller whose tally.h ends before it has none.
  callbacks.struct_size = offsetof(tally_callbacks, metric);
  mirror.reopen(options);
  CHECK(tally_release_job_credits(mirror, &j1, nullptr, nullptr, nullptr) == TALLY_OK);
  CHECK(told.empty());
}

TEST_CASE("metrics have names, units and kinds") {
  CHECK(std::string(tally_metric_name(TALLY_METRIC_CLIENT_DURATION)) ==
        "db.client.operation.duration");
  CHECK(std::string(tally_metric_unit(TALLY_METRIC_COMMIT_DURATION)) == "s");
  CHECK(tally_metric_kind(TALLY_METRIC_OPERATIONS) == TALLY_METRIC_KIND_COUNTER);
  CHECK(tally_metric_kind(TALLY_METRIC_OUTBOX_PENDING) == TALLY_METRIC_KIND_GAUGE);
  for (const std::int32_t none : {-1, 1'000}) {
    CHECK(std::string(tally_metric_name(none)) == "unknown");
    CHECK(std::string(tally_metric_unit(none)).empty());
    CHECK(tally_metric_kind(none) == -1);
  }
}

TEST_CASE("a backup is the mirror; it overwrites nothing unasked") {
  const Mirror mirror;
  const test::TemporaryFolder folder;
  const std::string path = (folder.path() / "backup.db").string();
  const auto back_up = [&](std::int32_t replace, tally_text** json, Told& told) {
    return tally_engine_backup(mirror, path.data(), path.size(), replace, json, &told);
  };
  Told told;
  const json made = read_json([&](tally_text** json) { return back_up(0, json, told); });
  CHECK(made["users"] == 1);
  CHECK(made["bytes"] == std::filesystem::file_size(path));
  tally_text* untouched = nullptr;
  CHECK(back_up(0, &untouched, told) == TALLY_ALREADY_EXISTS);
  CHECK(untouched == nullptr);
  tally_engine* copy = nullptr;
  REQUIRE(tally_engine_open(path.data(), path.size(), nullptr, &copy, nullptr) == TALLY_OK);
  const auto digest_of = [&](tally_engine* engine) {
    return read_json(
        [&](tally_text** json) { return tally_engine_digest(engine, &u1, json, nullptr); });
  };
  CHECK(digest_of(copy) == digest_of(mirror));
  CHECK(back_up(1, &untouched, told) == TALLY_BUSY);  // It is open.
  tally_engine_free(copy);
  (void)read_json([&](tally_text** json) { return back_up(1, json, told); });
}

// ---- failures of the world ----------------------------------------------------------------------

/// As long as it lives no write to a file succeeds, as on a disk that is gone.
class NoWrites {
 public:
  NoWrites() : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit none = before_;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_FSIZE, &none);
  }
  ~NoWrites() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  NoWrites(const NoWrites&) = delete;
  NoWrites& operator=(const NoWrites&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST_CASE("a failure of the world: the receipt has the op_id to try again with, the log a line") {
  Heard heard;
  Mirror mirror;
  const tally_callbacks callbacks = heard.callbacks();
  tally_options options = fast();
  options.callbacks = &callbacks;
  mirror.reopen(options);
  heard.engine = mirror;
  const std::string line = json{
      {"op", "add_credits"},
      {"op_id", text_of(id('o', 1))},
      {"at", "2026-01-18T00:00:00.000000Z"},
      {"user_id", text_of(u1)},
      {"amount", 1},
      {"type", "grant"}}.dump();
  Told of_call;
  Told of_json;
  Told of_lines;
  tally_receipt call_receipt = TALLY_RECEIPT_INIT;
  tally_receipt json_receipt = TALLY_RECEIPT_INIT;
  tally_text* results = nullptr;
  {
    const NoWrites disk;
    tally_reserve_credits(mirror, &u1, &j1, 8, nullptr, &call_receipt, &of_call);
    tally_apply(mirror, line.data(), line.size(), &json_receipt, &of_json);
    tally_submit(mirror, line.data(), line.size(), &results, &of_lines);
  }
  for (const Told* told : {&of_call, &of_json, &of_lines}) {
    CHECK(told->name() == "io");
    CHECK(told->detail[0] != '\0');
  }
  CHECK(results == nullptr);
  CHECK(json_receipt.op_id == id('o', 1));
  CHECK((call_receipt.op_id.bytes[6] >> 4U) == 7);
  CHECK((call_receipt.flags & TALLY_RECEIPT_ID) == 0);
  REQUIRE(heard.events.size() == 3);
  CHECK(heard.events[0] ==
        "log " + std::to_string(TALLY_LOG_ERROR) + " tally.commit.failed: " + of_call.detail);
  // Nothing was decided: the same call is made with the op_id, and has its effect once.
  CHECK(mirror.balance() == 10);
  tally_call again = TALLY_CALL_INIT;
  again.flags = TALLY_CALL_OP_ID;
  again.op_id = call_receipt.op_id;
  for (int i = 0; i < 2; ++i)
    CHECK(tally_reserve_credits(mirror, &u1, &j1, 8, &again, nullptr, nullptr) == TALLY_OK);
  CHECK(mirror.balance() == 2);
}

// ---- threads ------------------------------------------------------------------------------------

TEST_CASE("many threads spend one balance: it is spent once, and the ids are all different") {
  constexpr std::uint64_t threads_count = 8;
  constexpr std::uint64_t jobs_each = 12;
  const Mirror mirror;
  for (std::uint64_t job = 2; job <= threads_count * jobs_each; ++job) mirror.make_job(job, 1);
  REQUIRE(tally_add_credits(mirror, &u1, 40, TALLY_ENTRY_GRANT, nullptr, 0, nullptr, nullptr,
                            nullptr) == TALLY_OK);
  std::atomic<int> spent{0};
  std::atomic<int> refused{0};
  std::atomic<int> wrong{0};
  std::mutex mutex;
  std::set<std::string> op_ids;
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < threads_count; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 1; i <= jobs_each; ++i) {
        const tally_uuid job = id('j', t * jobs_each + i);
        Told error;
        tally_receipt receipt = TALLY_RECEIPT_INIT;
        const tally_code code =
            tally_reserve_credits(mirror, &u1, &job, 1, nullptr, &receipt, &error);
        if (code == TALLY_OK) ++spent;
        if (code == TALLY_INSUFFICIENT_CREDITS && error.code == code) ++refused;
        const std::int64_t balance = tally_engine_balance_value(mirror, &u1);
        if (balance < 0 || balance > receipt.balance) ++wrong;
        tally_text* text = nullptr;
        if (tally_engine_job(mirror, &job, &text, &error) != TALLY_OK) ++wrong;
        tally_text_free(text);
        const std::lock_guard lock(mutex);
        op_ids.insert(text_of(receipt.op_id));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(spent == 50);
  CHECK(refused == static_cast<int>(threads_count * jobs_each) - 50);
  CHECK(wrong == 0);
  CHECK(op_ids.size() == threads_count * jobs_each);
  CHECK(mirror.balance() == 0);
  CHECK(read_json([&](tally_text** text) {
          return tally_engine_audit(mirror, text, nullptr);
        })["findings"] == json::array());
}

}  // namespace
}  // namespace tally::c_test
