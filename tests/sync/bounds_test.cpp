// What sync has a bound for, at it and one beyond: README.md of sync, "Limits", says the same.

#include <doctest/doctest.h>

#include <stdexcept>

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

}  // namespace
}  // namespace tally::test
