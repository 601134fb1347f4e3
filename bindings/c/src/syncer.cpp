// A syncer, on the caller's thread or on one of its own.

#include "tally/syncer.hpp"

#include <atomic>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "answers.hpp"
#include "arguments.hpp"
#include "json_texts.hpp"
#include "structs.hpp"

using namespace tally;
using namespace tally::c;
using std::chrono::milliseconds;

// ---- options ----------------------------------------------------------------------------------

namespace {

std::vector<tally_uuid> ids_of(const std::vector<Uuid>& ids) {
  std::vector<tally_uuid> out;
  out.reserve(ids.size());
  for (const Uuid& id : ids) out.push_back(id_of(id));
  return out;
}

/// The syncer's callbacks, of those that the host has.
sync::SyncCallbacks callbacks_of(const tally_sync_callbacks& host) {
  sync::SyncCallbacks out;
  void* const context = host.context;
  if (const auto told = host.rejected) {
    out.rejected = [=](const RejectedOperation& rejected) {
      const std::string json = texts::rejected_text(rejected);
      told(context, json.c_str(), json.size());
    };
  }
  if (const auto told = host.verdict) {
    out.verdict = [=](const SettledOperation& settled) {
      const tally_uuid op_id = id_of(settled.verdict.op_id);
      told(context, settled.number, &op_id, number_of(settled.verdict.code));
    };
  }
  if (const auto told = host.progress) {
    out.progress = [=](std::int64_t acked, std::int64_t pending) { told(context, acked, pending); };
  }
  if (const auto told = host.state) {
    out.state = [=](sync::SyncState state, sync::ErrorClass error_class, std::string_view error) {
      const std::string text(error);
      told(context, static_cast<std::int32_t>(state), static_cast<std::int32_t>(error_class),
           text.c_str(), text.size());
    };
  }
  if (const auto told = host.changed) {
    out.changed = [=](const std::vector<Uuid>& user_ids) {
      const std::vector<tally_uuid> ids = ids_of(user_ids);
      told(context, ids.data(), ids.size());
    };
  }
  if (const auto told = host.diverged) {
    out.diverged = [=](const Uuid& user_id) {
      const tally_uuid id = id_of(user_id);
      told(context, &id);
    };
  }
  return out;
}

/// So long nobody waits, and the clocks can count with it.
constexpr std::int64_t ms_max = std::int64_t{1'000} * 60 * 60 * 24 * 366;

/// Reads the options into SyncOptions; what is no value leaves the reason in `wrong`.
class OptionsReader {
 public:
  OptionsReader(const tally_sync_options& host, sync::SyncOptions& options)
      : host_(host), options_(options) {}

  std::string_view read() {
    read_texts();
    if ((host_.flags & ~TALLY_SYNC_DEVICE_ID) != 0) wrong_ = "flags has one that is not known";
    if ((host_.flags & TALLY_SYNC_DEVICE_ID) != 0) options_.device_id = id_of(host_.device_id);
    number(options_.operations_max, host_.operations_max, 1, sync::call_operations_max,
           "operations_max");
    number(options_.bytes_max, host_.bytes_max, 1, sync::call_bytes_max, "bytes_max");
    number(options_.rows_max, host_.rows_max, 1, sync::call_rows_max, "rows_max");
    time(options_.poll_interval, host_.poll_interval_ms, 0, "poll_interval_ms");
    time(options_.call_timeout, host_.call_timeout_ms, 1, "call_timeout_ms");
    time(options_.backoff_base, host_.backoff_base_ms, 0, "backoff_base_ms");
    time(options_.backoff_cap, host_.backoff_cap_ms, 0, "backoff_cap_ms");
    number(options_.digest_every, host_.digest_every, 0, std::numeric_limits<int>::max(),
           "digest_every");
    read_lease();
    return wrong_;
  }

 private:
  void read_texts() {
    text(options_.conninfo, host_.conninfo, host_.conninfo_length, "conninfo");
    text(options_.token, host_.token, host_.token_length, "token");
    text(options_.schema, host_.schema, host_.schema_length, "schema");
    if (!sync::is_schema_name(options_.schema)) wrong_ = "schema is no name that a cell can have";
  }
  void read_lease() {
    LeaseTarget target;
    std::int64_t ttl_s = 0;
    number(target.size.value, host_.lease_size, 0, Credits::max, "lease_size");
    number(target.low_water.value, host_.lease_low_water, 0, host_.lease_size, "lease_low_water");
    number(ttl_s, host_.lease_ttl_s, host_.lease_size == 0 ? 0 : 1, ttl_max_s, "lease_ttl_s");
    target.ttl = std::chrono::seconds(ttl_s);
    if (target.size.value > 0) options_.lease = target;
  }

  /// What goes to libpq ends at a zero.
  void text(std::string& out, const char* given, std::size_t length, std::string_view name) {
    const std::string_view read = view_of(given, length);
    if (!is_text(given, length) || read.find('\0') != std::string_view::npos) wrong_ = name;
    if (given != nullptr && wrong_.empty()) out = read;
  }
  template <class Number>
  void number(Number& out, std::int64_t given, std::int64_t min, std::int64_t max,
              std::string_view name) {
    if (given < min || given > max) {
      wrong_ = name;
    } else {
      out = static_cast<Number>(given);
    }
  }
  void time(milliseconds& out, std::int64_t ms, std::int64_t min, std::string_view name) {
    std::int64_t count = 0;
    number(count, ms, min, ms_max, name);
    out = milliseconds(count);
  }

  const tally_sync_options& host_;
  sync::SyncOptions& options_;
  std::string_view wrong_;
};

}  // namespace

// ---- the handle -------------------------------------------------------------------------------

struct tally_syncer {
  tally_syncer(Engine& engine, sync::SyncOptions options) : syncer(engine, std::move(options)) {}

  /// Whether this thread steps it already: then it is in a callback, of the syncer's or of the
  /// engine's.
  bool is_stepped_here() const {
    return syncer.is_own_thread() || caller.load() == std::this_thread::get_id();
  }
  /// Starts the thread of its own where it is wanted; a stop may be asked for meanwhile.
  void go_on() {
    if (!wants_thread) return;
    syncer.start();
    if (!wants_thread) syncer.request_stop();
  }

  std::atomic<std::thread::id> caller{};  ///< The thread whose call has the syncer.
  std::atomic<bool> wants_thread{false};
  sync::Syncer syncer;
};

namespace {

/// A call of one thread at a time: while it has the syncer, the thread of its own is at rest.
template <class Work>
tally_code with_syncer(tally_syncer* syncer, bool has_arguments, tally_error* error,
                       Work work) noexcept {
  return guarded(error, [&]() -> tally_code {
    if (syncer == nullptr || !has_arguments) return invalid(error, "a pointer is NULL");
    if (syncer->is_stepped_here())
      return invalid(error, "a callback may only call the engine and tally_syncer_stop()");
    syncer->syncer.stop();
    syncer->caller = std::this_thread::get_id();
    const tally_code code = guarded(error, [&] { return work(syncer->syncer); });
    syncer->caller = std::thread::id();
    syncer->go_on();
    return code;
  });
}

milliseconds timeout_of(std::int64_t ms) {
  return milliseconds(std::min(std::max<std::int64_t>(ms, 0), ms_max));
}

}  // namespace

tally_code tally_syncer_new(tally_engine* engine, const tally_sync_options* options,
                            tally_syncer** syncer, tally_error* error) {
  return guarded(error, [&]() -> tally_code {
    if (engine == nullptr || syncer == nullptr) return invalid(error, "engine or syncer is NULL");
    tally_sync_options host = TALLY_SYNC_OPTIONS_INIT;
    if (options != nullptr && !read_struct(options, host))
      return invalid(error, "tally_sync_options: struct_size is none that this library knows");
    tally_sync_callbacks callbacks = TALLY_SYNC_CALLBACKS_INIT;
    if (host.callbacks != nullptr && !read_struct(host.callbacks, callbacks))
      return invalid(error, "tally_sync_callbacks: struct_size is none that this library knows");
    sync::SyncOptions read;
    const std::string_view wrong = OptionsReader(host, read).read();
    if (!wrong.empty())
      return invalid(error, "tally_sync_options: " + std::string(wrong) + " is out of its range");
    read.callbacks = callbacks_of(callbacks);
    *syncer = std::make_unique<tally_syncer>(engine->engine, std::move(read)).release();
    return TALLY_OK;
  });
}

void tally_syncer_free(tally_syncer* syncer) { delete syncer; }

tally_code tally_syncer_step(tally_syncer* syncer, tally_wait* wait, tally_error* error) {
  return with_syncer(syncer, wait != nullptr, error, [&](sync::Syncer& of) -> tally_code {
    if (!has_known_size(wait))
      return invalid(error, "tally_wait: struct_size is none that this library knows");
    const sync::Wait left = of.step();
    tally_wait told = TALLY_WAIT_INIT;
    told.state = static_cast<std::int32_t>(left.state);
    told.socket = left.socket;
    told.readable = left.readable ? 1 : 0;
    told.writable = left.writable ? 1 : 0;
    told.timeout_ms = left.timeout.count();
    write_struct(wait, told);
    return TALLY_OK;
  });
}

tally_code tally_syncer_run(tally_syncer* syncer, int64_t timeout_ms, int32_t* state,
                            tally_error* error) {
  return with_syncer(syncer, true, error, [&](sync::Syncer& of) -> tally_code {
    const auto reached = of.run_until_synced(timeout_of(timeout_ms));
    if (!reached) return fail(error, reached.error());
    if (state != nullptr) *state = static_cast<std::int32_t>(*reached);
    return TALLY_OK;
  });
}

tally_code tally_syncer_start(tally_syncer* syncer, tally_error* error) {
  return with_syncer(syncer, true, error, [&](sync::Syncer&) -> tally_code {
    syncer->wants_thread = true;
    return TALLY_OK;
  });
}

void tally_syncer_stop(tally_syncer* syncer) {
  if (syncer == nullptr) return;
  syncer->wants_thread = false;
  syncer->syncer.request_stop();
}

tally_code tally_syncer_resume(tally_syncer* syncer, const char* token, size_t token_length,
                               tally_error* error) {
  return with_syncer(syncer, token != nullptr, error, [&](sync::Syncer& of) -> tally_code {
    const std::string_view read = view_of(token, token_length);
    if (read.find('\0') != std::string_view::npos) return invalid(error, "token contains a zero");
    of.resume(std::string(read));
    return TALLY_OK;
  });
}

tally_code tally_syncer_enrol_anew(tally_syncer* syncer, int64_t timeout_ms, tally_error* error) {
  return with_syncer(syncer, true, error, [&](sync::Syncer& of) -> tally_code {
    const auto enrolled = of.enrol_anew(timeout_of(timeout_ms));
    return enrolled ? TALLY_OK : fail(error, enrolled.error());
  });
}

tally_code tally_syncer_claim_next(tally_syncer* syncer, int64_t ttl_s, int64_t timeout_ms,
                                   tally_uuid* job_id, int32_t* found, tally_error* error) {
  const bool has_arguments = job_id != nullptr && found != nullptr;
  return with_syncer(syncer, has_arguments, error, [&](sync::Syncer& of) -> tally_code {
    if (ttl_s < 1 || ttl_s > ttl_max_s) return invalid(error, "ttl_s is 1 to 2592000");
    const auto claimed = of.claim_next(ttl_s, timeout_of(timeout_ms));
    if (!claimed) return fail(error, claimed.error());
    *found = claimed->has_value() ? 1 : 0;
    if (*claimed) *job_id = id_of(**claimed);
    return TALLY_OK;
  });
}

tally_code tally_syncer_verify(tally_syncer* syncer, const tally_uuid* user_id, int64_t timeout_ms,
                               int32_t* equal, tally_error* error) {
  const bool has_arguments = user_id != nullptr && equal != nullptr;
  return with_syncer(syncer, has_arguments, error, [&](sync::Syncer& of) -> tally_code {
    return answer(error, of.verify(id_of(*user_id), timeout_of(timeout_ms)), equal,
                  [](bool value) { return value ? 1 : 0; });
  });
}
