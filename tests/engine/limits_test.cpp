// What has a bound, at it and one beyond: README.md of the engine, "Limits", says the same.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <thread>

#include "engine/fed_device.hpp"
#include "support/fixture.hpp"
#include "tally/faults.hpp"
#include "tally/trace.hpp"

namespace tally::test {
namespace {

std::vector<Command> grants(TemporaryMirror& mirror, int count) {
  std::vector<Command> commands;
  for (int i = 0; i < count; ++i)
    commands.push_back(mirror->make_command(AddCredits{user_id(1), Credits{1}, "grant"}));
  return commands;
}

/// A batch of projects of u1, each with that prompt.
Command batch_of_projects(TemporaryMirror& mirror, std::size_t count, const std::string& prompt) {
  Batch batch;
  for (std::size_t i = 0; i < count; ++i)
    batch.operations.push_back(mirror->make_command(CreateProject{.project_id = id('q', i),
                                                                  .user_id = user_id(1),
                                                                  .title = "T",
                                                                  .prompt_text = prompt,
                                                                  .niche_preset = "facts"}));
  return mirror->make_command(batch);
}

/// One whose line has so many bytes.
Command batch_with_line(TemporaryMirror& mirror, std::size_t bytes) {
  constexpr std::size_t count = 17, prompt_bytes = 985'000;
  Command command = batch_of_projects(mirror, count, text_of(prompt_bytes));
  Command& last = std::get<Batch>(command.operation).operations.back();
  std::get<CreateProject>(last.operation).prompt_text +=
      text_of(bytes - trace_line(command).size());
  return command;
}

Code code_of(TemporaryMirror& mirror, Command command) {
  return mirror.submit({std::move(command)}).front().code;
}

/// Connections of this process that have the mirror's WAL open.
std::size_t connections_to(const TemporaryMirror& mirror) {
  const std::filesystem::path wal = mirror.path().string() + "-wal";
  std::size_t count = 0;
  for (const auto& open : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(open, gone) == wal) ++count;
  }
  return count;
}

/// So many readers at once, one within the other.
void read_within(const Engine& engine, int readers) {
  if (readers == 0) return;
  REQUIRE(engine.each_row("users", std::nullopt, [&](const ViewRow&) {
    read_within(engine, readers - 1);
    return false;
  }));
}

/// What an `online` call of so many operations hears, all of which canonical rejects, where each
/// rejection is dismissed as soon as it is there.
std::vector<Verdict> heard_of(int operations, std::chrono::milliseconds verdict_timeout) {
  FedDevice device(all, {{1}}, SpendPolicy::online);
  device.mirror.close();
  Options options = TemporaryMirror::fast();
  options.spend_policy = SpendPolicy::online;
  options.verdict_timeout = verdict_timeout;
  device.mirror.open(options);
  tamper(device.mirror.path(),
         "create trigger dismissed after insert on tally_rejected begin "
         "delete from tally_rejected where n = new.n; end");
  std::vector<Verdict> heard;
  std::thread caller([&] { heard = device.mirror.submit(grants(device.mirror, operations)); });
  while (device.mirror->pending_operations().value() < operations) std::this_thread::yield();
  Replica replica(device.mirror.engine());
  const auto push = replica.next_push(10'000, 16U << 20U);
  Reply reply;
  reply.asked = push->cursor;
  reply.cursor = "2";
  reply.watermark = operations;
  for (const PushedOperation& pushed : push->operations)
    reply.verdicts.push_back({pushed.number, Code::payment_conflict, {}, {}});
  CHECK(replica.take(reply));
  caller.join();
  return heard;
}

bool are_all(const std::vector<Verdict>& verdicts, Code code) {
  return std::all_of(verdicts.begin(), verdicts.end(),
                     [&](const Verdict& verdict) { return verdict.code == code; });
}

}  // namespace

TEST_CASE("limits: a batch has 1 to 1,000 operations") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  CHECK(mirror->apply_batch(grants(mirror, 1'000)));
  CHECK(mirror.balance() == 1'010);
  for (const int count : {0, 1'001}) {
    const auto refused = mirror->apply_batch(grants(mirror, count));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Code::invalid_argument);
  }
  CHECK(mirror.balance() == 1'010);
}

TEST_CASE("limits: one call may bring more operations than a commit takes of many callers") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  const auto verdicts = mirror.submit(grants(mirror, 20'000));
  CHECK(verdicts.size() == 20'000);
  CHECK(verdicts.back().balance == Credits{20'010});
}

TEST_CASE(
    "limits: callers who wait behind more than a commit takes are in the next, and all are ok") {
  Options options = TemporaryMirror::fast();
  std::atomic<int> most{0};  // Shared a commit.
  options.callbacks.metric = [&](const Measurement& measurement) {
    if (measurement.metric != Metric::commit_operations) return;
    const int shared = static_cast<int>(measurement.value);
    for (int seen = most; shared > seen && !most.compare_exchange_weak(seen, shared);) {
    }
  };
  TemporaryMirror mirror(options);
  mirror.make_users(1);
  std::vector<std::thread> callers;
  std::atomic<int> ok{0};
  {
    const RawTransaction other(mirror.path());  // The first caller waits for it, the rest behind.
    for (int t = 0; t < 5; ++t) {
      callers.emplace_back([&, commands = grants(mirror, 3'000)]() mutable {
        if (mirror->submit(std::move(commands))) ++ok;
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{200});
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(ok == 5);
  CHECK(most.load() <= 8'192);
  CHECK(mirror.balance() == 15'010);
  CHECK(mirror.findings().empty());
}

TEST_CASE("limits: a page of history has 1 to 10,000 entries") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  (void)mirror.submit(grants(mirror, 10'100));
  CHECK(mirror->history(user_id(1), 10'000)->size() == 10'000);
  CHECK(mirror->history(user_id(1), 1)->size() == 1);
  for (const std::size_t limit : {std::size_t{0}, std::size_t{10'001}})
    CHECK(mirror->history(user_id(1), limit).error().code == Code::invalid_argument);
}

TEST_CASE("limits: a batch's line has 16 MiB at the most, escapes included") {
  TemporaryMirror mirror;
  mirror.make_users(1);
  const Command too_long = batch_with_line(mirror, pushed_line_max + 1);
  CHECK(code_of(mirror, too_long) == Code::invalid_argument);
  CHECK(fault_in_line(trace_line(too_long)) == "batch: its line has more than 16 MiB");
  const std::string escaped(1U << 20U, '\x01');  // Six bytes each, in JSON.
  CHECK(code_of(mirror, batch_of_projects(mirror, 3, escaped)) == Code::invalid_argument);
  CHECK(mirror->project(id('q', 0)).error().code == Code::project_not_found);
  CHECK(code_of(mirror, batch_of_projects(mirror, 2, escaped)) == Code::ok);
  TemporaryMirror other;
  other.make_users(1);
  CHECK(code_of(other, batch_with_line(other, pushed_line_max)) == Code::ok);
}

TEST_CASE("limits: so it is where the batch waits for its verdict") {
  FedDevice device(all, {{1}}, SpendPolicy::online);
  CHECK(code_of(device.mirror, batch_with_line(device.mirror, pushed_line_max + 1)) ==
        Code::invalid_argument);
  CHECK(code_of(device.mirror, batch_with_line(device.mirror, pushed_line_max)) == Code::pending);
}

TEST_CASE("limits: a push takes operations until it has its bytes, and one in any case") {
  FedDevice device(all, {{1}}, SpendPolicy::optimistic);
  const std::string grant = "add_credits user_id=u1 amount=1 type=grant note=" + text_of(1'500);
  for (int i = 0; i < 4; ++i) CHECK(device.mirror.apply(grant).starts_with("ok"));
  CHECK(device.replica.next_push(1'000, 1)->operations.size() == 1);
  CHECK(device.replica.next_push(1'000, 2'000)->operations.size() == 2);
}

TEST_CASE("limits: a device subscribes to 10,000 users at the most") {
  FedDevice device(all, {{1}});
  std::vector<Uuid> users;
  for (std::uint64_t n = 1; n <= subscriptions_max + 1; ++n) users.push_back(user_id(n));
  CHECK(device.replica.subscribe(users).error().code == Code::invalid_argument);
  CHECK_FALSE(device.replica.subscriptions()->has_value());
  users.pop_back();
  CHECK(device.replica.subscribe(users));
  CHECK(device.replica.subscriptions()->value().size() == subscriptions_max);
}

TEST_CASE("limits: 16 connections of readers stay open") {
  if (!std::filesystem::exists("/proc/self/fd")) {
    MESSAGE("this system does not tell which files are open: not looked at");
    return;
  }
  TemporaryMirror mirror;
  mirror.make_users(1);
  const std::size_t others = connections_to(mirror);
  read_within(mirror.engine(), 16);
  CHECK(connections_to(mirror) == others + 16);
  read_within(mirror.engine(), 30);
  CHECK(connections_to(mirror) == others + 16);
}

TEST_CASE("limits: the refusals of 1,024 operations are kept for the calls that wait for them") {
  constexpr int kept = 1'024;
  CHECK(are_all(heard_of(kept, std::chrono::seconds{60}), Code::payment_conflict));
  CHECK(heard_of(kept + 1, std::chrono::seconds{1}).front().code == Code::pending);
}

}  // namespace tally::test
