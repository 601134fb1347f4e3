#include "syncer.hpp"

#include <chrono>
#include <utility>

namespace tally::node {
namespace {

/// The texts that the options point to.
struct SyncTexts {
  std::string conninfo;
  std::string token;
  std::string schema;
  std::string device_id;
};

/// What is present goes in, an empty text too.
void give(const std::string& text, bool is_present, const char*& data, std::size_t& length) {
  if (!is_present) return;
  data = text.data();
  length = text.size();
}

void read_texts(napi_env env, const Properties& properties, SyncTexts& texts,
                tally_sync_options& options) {
  give(texts.conninfo, properties.read("conninfo", texts.conninfo), options.conninfo,
       options.conninfo_length);
  give(texts.token, properties.read("token", texts.token), options.token, options.token_length);
  give(texts.schema, properties.read("schema", texts.schema), options.schema,
       options.schema_length);
  if (!properties.read("device_id", texts.device_id)) return;
  options.flags |= TALLY_SYNC_DEVICE_ID;
  if (tally_uuid_parse(texts.device_id.data(), texts.device_id.size(), &options.device_id) !=
      TALLY_OK)
    throw_code(env, TALLY_INVALID_ARGUMENT, "device_id is no UUID");
}

void read_numbers(const Properties& properties, tally_sync_options& options) {
  properties.read("operations_max", options.operations_max);
  properties.read("bytes_max", options.bytes_max);
  properties.read("rows_max", options.rows_max);
  properties.read("poll_interval_ms", options.poll_interval_ms);
  properties.read("call_timeout_ms", options.call_timeout_ms);
  properties.read("backoff_base_ms", options.backoff_base_ms);
  properties.read("backoff_cap_ms", options.backoff_cap_ms);
  properties.read("digest_every", options.digest_every);
  properties.read("lease_size", options.lease_size);
  properties.read("lease_low_water", options.lease_low_water);
  properties.read("lease_ttl_s", options.lease_ttl_s);
}

}  // namespace

Syncer::Syncer(napi_env env, std::shared_ptr<Engine> engine, double key,
               const Properties& properties)
    : engine_(std::move(engine)),
      key_(key),
      lane_(1, [this](std::vector<Request>& requests) { host().serve(requests); }) {
  tally_sync_options options = TALLY_SYNC_OPTIONS_INIT;
  SyncTexts texts;
  read_texts(env, properties, texts, options);
  read_numbers(properties, options);
  const tally_sync_callbacks ears = callbacks();
  options.callbacks = &ears;
  tally_error error = TALLY_ERROR_INIT;
  tally_syncer* syncer = nullptr;
  if (tally_syncer_new(engine_->get(), &options, &syncer, &error) != TALLY_OK)
    throw_error(env, error);
  syncer_ = syncer;
  host().add(*this);
}

Syncer::~Syncer() {
  end();
  host().remove(*this);
}

// Asked again and again: a call that begins just now has not heard it yet.
void Syncer::end() noexcept {
  tally_syncer* const syncer = syncer_.exchange(nullptr);
  if (syncer == nullptr) return;
  do {
    tally_syncer_stop(syncer);
  } while (!lane_.comes_to_rest(std::chrono::milliseconds{20}));
  lane_.close(Lane::Rest::dropped);
  tally_syncer_free(syncer);
}

void Syncer::tell(Event event, std::vector<Value> values) const {
  if ((listens_ & (1U << static_cast<unsigned>(event))) != 0)
    host().tell(key_, events[static_cast<std::size_t>(event)], std::move(values));
}

tally_sync_callbacks Syncer::callbacks() {
  tally_sync_callbacks ears = TALLY_SYNC_CALLBACKS_INIT;
  ears.context = this;
  ears.rejected = [](void* context, const char* json, std::size_t length) {
    static_cast<Syncer*>(context)->tell(Event::rejected, {std::string(json, length)});
  };
  ears.verdict = [](void* context, std::int64_t number, const tally_uuid* op_id, tally_code code) {
    static_cast<Syncer*>(context)->tell(
        Event::verdict, {number, text_of(*op_id), std::string(tally_code_name(code))});
  };
  ears.progress = [](void* context, std::int64_t acked, std::int64_t pending) {
    static_cast<Syncer*>(context)->tell(Event::progress, {acked, pending});
  };
  ears.state = [](void* context, std::int32_t state, std::int32_t error_class, const char* error,
                  std::size_t length) {
    static_cast<Syncer*>(context)->tell(
        Event::state, {std::int64_t{state}, std::int64_t{error_class}, std::string(error, length)});
  };
  ears.changed = [](void* context, const tally_uuid* user_ids, std::size_t count) {
    std::vector<Value> ids;
    for (std::size_t i = 0; i < count; ++i) ids.emplace_back(text_of(user_ids[i]));
    static_cast<Syncer*>(context)->tell(Event::changed, std::move(ids));
  };
  ears.diverged = [](void* context, const tally_uuid* user_id) {
    static_cast<Syncer*>(context)->tell(Event::diverged, {text_of(*user_id)});
  };
  return ears;
}

}  // namespace tally::node
