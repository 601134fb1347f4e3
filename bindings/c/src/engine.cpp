// Opening and ending an engine.

#include <algorithm>
#include <array>
#include <limits>
#include <memory>

#include "answers.hpp"
#include "arguments.hpp"
#include "structs.hpp"

using namespace tally;
using namespace tally::c;

namespace {

/// The engine's callbacks, of those that the host has.
Callbacks callbacks_of(const tally_callbacks& host) {
  Callbacks out;
  void* const context = host.context;
  if (const auto told = host.job_complete) {
    out.job_complete = [=](const Uuid& user_id, const Uuid& job_id) {
      const tally_uuid user = id_of(user_id);
      const tally_uuid job = id_of(job_id);
      told(context, &user, &job);
    };
  }
  if (const auto told = host.job_failed) {
    out.job_failed = [=](const Uuid& user_id, const Uuid& job_id) {
      const tally_uuid user = id_of(user_id);
      const tally_uuid job = id_of(job_id);
      told(context, &user, &job);
    };
  }
  if (const auto told = host.low_credits) {
    out.low_credits = [=](const Uuid& user_id, Credits balance) {
      const tally_uuid user = id_of(user_id);
      told(context, &user, balance.value);
    };
  }
  if (const auto told = host.log) {
    out.log = [=](LogLevel level, std::string_view line) {
      told(context, static_cast<std::int32_t>(level), line.data(), line.size());
    };
  }
  if (const auto told = host.metric) {
    out.metric = [=](const Measurement& measured) {
      constexpr std::size_t most = 8;  // No metric has so many.
      std::array<tally_attribute, most> attributes{};
      const std::size_t count = std::min(measured.attributes.size(), most);
      for (std::size_t i = 0; i < count; ++i)
        attributes[i] = {measured.attributes[i].name.data(), measured.attributes[i].value.data()};
      told(context, static_cast<std::int32_t>(measured.metric), measured.value, attributes.data(),
           count);
    };
  }
  return out;
}

/// A time to wait that SQLite and the clocks can count with.
std::optional<std::chrono::milliseconds> timeout_of(std::int64_t ms) {
  constexpr std::int64_t longest = std::numeric_limits<std::int32_t>::max();
  if (ms < 0) return std::nullopt;
  return std::chrono::milliseconds(std::min(ms, longest));
}

/// Nothing, and `wrong` says why, where one of them is no value.
std::optional<Options> options_of(const tally_options* given, std::string_view& wrong) {
  tally_options host = TALLY_OPTIONS_INIT;
  const auto refuse = [&](std::string_view why) {
    wrong = why;
    return std::nullopt;
  };
  if (given != nullptr && !read_struct(given, host))
    return refuse("tally_options: struct_size is none that this library knows");
  if (host.durability < TALLY_DURABILITY_FULL || host.durability > TALLY_DURABILITY_NORMAL)
    return refuse("there is no such durability");
  if (host.spend_policy < TALLY_SPEND_OPTIMISTIC || host.spend_policy > TALLY_SPEND_ONLINE)
    return refuse("there is no such spend_policy");
  const auto busy_timeout = timeout_of(host.busy_timeout_ms);
  const auto verdict_timeout = timeout_of(host.verdict_timeout_ms);
  if (!busy_timeout || !verdict_timeout) return refuse("a timeout is below 0");
  if (host.low_credits < 0 || host.low_credits > Credits::max)
    return refuse("low_credits is 0 to 2147483647");
  if (host.cache_kib < 1 || host.cache_kib > std::numeric_limits<std::int32_t>::max())
    return refuse("cache_kib is 1 to 2147483647");
  tally_callbacks callbacks = TALLY_CALLBACKS_INIT;
  if (host.callbacks != nullptr && !read_struct(host.callbacks, callbacks))
    return refuse("tally_callbacks: struct_size is none that this library knows");
  Options options;
  options.durability = static_cast<Durability>(host.durability);
  options.create = host.must_exist == 0;
  options.busy_timeout = *busy_timeout;
  options.spend_policy = static_cast<SpendPolicy>(host.spend_policy);
  options.verdict_timeout = *verdict_timeout;
  options.low_credits = Credits{host.low_credits};
  options.cache_kib = static_cast<int>(host.cache_kib);
  options.callbacks = callbacks_of(callbacks);
  return options;
}

}  // namespace

tally_code tally_engine_open(const char* path, size_t path_length, const tally_options* options,
                             tally_engine** engine, tally_error* error) {
  return guarded(error, [&]() -> tally_code {
    if (engine == nullptr) return invalid(error, "engine is NULL");
    std::string_view wrong;
    const auto file = path_of(path, path_length, wrong);
    if (!file) return invalid(error, wrong);
    auto read = options_of(options, wrong);
    if (!read) return invalid(error, wrong);
    auto opened = Engine::open(*file, std::move(*read));
    if (!opened) return fail(error, opened.error());
    *engine = std::make_unique<tally_engine>(tally_engine{std::move(*opened)}).release();
    return TALLY_OK;
  });
}

void tally_engine_free(tally_engine* engine) { delete engine; }
