// What sync has a bound for, at it and one beyond: README.md of sync, "Limits", says the same.
//
// The model of canonical stands in for PostgreSQL where only the device's side is looked at.

#include <doctest/doctest.h>

#include <stdexcept>

#include "exchange.hpp"
#include "sync/canonicals.hpp"
#include "sync/world.hpp"

namespace tally::test {
namespace {

// ---- what canonical takes -----------------------------------------------------------------------

Push push_of(std::size_t operations, const std::string& line, const std::string& leases = {}) {
  Push push;
  for (std::size_t n = 1; n <= operations; ++n)
    push.operations.push_back({static_cast<std::int64_t>(n), user_id(1), line, leases});
  return push;
}

Push push_for(std::size_t subscriptions) {
  Push push;
  push.subscriptions.emplace();
  for (std::uint64_t n = 1; n <= subscriptions; ++n) push.subscriptions->push_back(user_id(n));
  return push;
}

/// What both canonicals answer to a device's first call: ok, or why it is refused.
Code answer_to(Canonicals& canonicals, Push push) {
  model::Call call;
  call.token = canonicals.add_device({"device", {Capability::author}, {}, {}}).token;
  call.push = std::move(push);
  const auto cursor = call.push.cursor;
  const sync::Answer answer = canonicals.call(call, cursor).on_model;
  return answer.trouble.error_class == sync::ErrorClass::none ? Code::ok
                                                              : answer.trouble.error.code;
}

TEST_CASE("bounds: canonical answers the largest call that a device makes, and none beyond it") {
  Canonicals canonicals;
  canonicals.begin();
  CHECK(answer_to(canonicals, push_of(sync::call_operations_max, "{}")) == Code::ok);
  CHECK(answer_to(canonicals, push_of(sync::call_operations_max + 1, "{}")) == Code::protocol);

  // As an array: 20 bytes, and each text behind 4.
  const std::string half(((33U << 20U) - 20) / 2 - 4, 'x');
  static_assert(sync::call_bytes_max + pushed_line_max + 4 * sync::call_operations_max <
                33U << 20U);
  CHECK(answer_to(canonicals, push_of(2, half)) == Code::ok);
  CHECK(answer_to(canonicals, push_of(2, half + 'x')) == Code::protocol);
  CHECK(answer_to(canonicals, push_of(2, "{}", half)) == Code::ok);
  CHECK(answer_to(canonicals, push_of(2, "{}", half + 'x')) == Code::protocol);

  CHECK(answer_to(canonicals, push_for(subscriptions_max)) == Code::ok);
  CHECK(answer_to(canonicals, push_for(subscriptions_max + 1)) == Code::protocol);

  Push push;
  push.cursor = R"({"padded": ")" + std::string(1'024, 'x') + R"("})";
  CHECK(answer_to(canonicals, push) == Code::protocol);
  canonicals.end();
}

TEST_CASE("bounds: the longest operation that a mirror takes goes through in one call") {
  World world;
  auto device = world.device();
  Batch batch;
  for (std::uint64_t n = 1; n <= 15; ++n)
    batch.operations.push_back(
        device->mirror->make_command(CreateProject{.project_id = id('q', n),
                                                   .user_id = user_id(1),
                                                   .title = "T",
                                                   .prompt_text = text_of(1U << 20U),
                                                   .niche_preset = "facts"}));
  CHECK(device->mirror.submit({device->mirror->make_command(batch)}).front().code == Code::ok);
  device->options.operations_max = sync::call_operations_max;
  device->options.bytes_max = 1;
  device->connect();
  device->sync();
  CHECK(device->rejected == 0);
  CHECK(world.session.ask_one("select count(*) from projects") == "16");
}

TEST_CASE("bounds: a syncer is not made with options that are outside their ranges") {
  TemporaryMirror mirror;
  const auto is_made = [&](auto&& set) {
    sync::SyncOptions options;
    set(options);
    try {
      const sync::Syncer syncer(mirror.engine(), options);
      return true;
    } catch (const std::invalid_argument&) {
      return false;
    }
  };
  for (const std::size_t value : {std::size_t{1}, sync::call_operations_max})
    CHECK(is_made([&](auto& options) { options.operations_max = value; }));
  for (const std::size_t value : {std::size_t{0}, sync::call_operations_max + 1})
    CHECK_FALSE(is_made([&](auto& options) { options.operations_max = value; }));
  for (const std::size_t value : {std::size_t{1}, sync::call_bytes_max})
    CHECK(is_made([&](auto& options) { options.bytes_max = value; }));
  for (const std::size_t value : {std::size_t{0}, sync::call_bytes_max + 1})
    CHECK_FALSE(is_made([&](auto& options) { options.bytes_max = value; }));
  for (const int value : {1, sync::call_rows_max})
    CHECK(is_made([&](auto& options) { options.rows_max = value; }));
  for (const int value : {-1, 0, sync::call_rows_max + 1})
    CHECK_FALSE(is_made([&](auto& options) { options.rows_max = value; }));
}

// ---- what a device asks for ---------------------------------------------------------------------

/// A device over all users, and what it says to canonical; time passes as it rests.
struct Talker {
  Talker() {
    sync::SyncOptions options;
    options.digest_every = 1;
    exchange.emplace(mirror.engine(), options,
                     sync::Surroundings{.steady_now = [this] { return now; },
                                        .system_now = [] { return time_at(0); },
                                        .random = [](std::int64_t) { return 0; }});
  }
  sync::Call next() {
    sync::Exchange::Next next;
    while (next = exchange->next(), !next.call) now += next.rest.timeout;
    return std::move(*next.call);
  }
  void take(const sync::Answer& answer) {
    exchange->answered(answer);
    REQUIRE_MESSAGE(exchange->trouble().error_class == sync::ErrorClass::none,
                    exchange->trouble().error.detail);
  }

  TemporaryMirror mirror;
  sync::Surroundings::SteadyTime now{};
  std::optional<sync::Exchange> exchange{};
};

TEST_CASE("bounds: a call tells of 200 users, and the next one follows") {
  model::Canonical canonical{1};
  LineMaker lines;
  for (int n = 1; n <= 201; ++n)
    canonical.apply(lines.line("create_user user_id=u" + std::to_string(n)));
  Talker device;
  device.exchange->resume(canonical.add_device({"device", {Capability::author}, {}, {}}).token);
  for (const std::size_t told : {std::size_t{200}, std::size_t{1}}) {
    const sync::Answer answer = canonical.sync(device.next());
    CHECK(answer.reply.users.size() == told);
    device.take(answer);
  }
}

TEST_CASE("bounds: the digests of 1,000 users wait after a bootstrap; of more, each has its turn") {
  constexpr std::uint64_t waiting = 1'000;
  Talker device;
  int cursor = 0;
  /// An answer without anything in it.
  const auto answer_to = [&](const sync::Call& call) {
    sync::Answer answer;
    answer.device = {id('x', 1), {Capability::author}, {}};
    answer.reply.asked = call.push.cursor;
    answer.reply.cursor = std::to_string(++cursor);
    return answer;
  };
  sync::Answer bootstrap = answer_to(device.next());
  for (std::uint64_t n = 1; n <= waiting + 1; ++n) {
    PulledUser& user = bootstrap.reply.users.emplace_back();
    user.user_id = user_id(n);
    user.state.emplace();
  }
  device.take(bootstrap);
  std::vector<Uuid> compared;
  while (compared.size() <= waiting) {
    const sync::Call call = device.next();
    sync::Answer answer = answer_to(call);
    if (call.digest_of) {
      compared.push_back(*call.digest_of);
      answer.digest.push_back({"profiles", 0, 0});
    }
    device.take(answer);
  }
  CHECK(compared[waiting - 1] == user_id(waiting));
  CHECK(compared[waiting] == user_id(1));  // None waits any more: it begins with the first.
}

}  // namespace
}  // namespace tally::test
