#include "js.hpp"

#include <cstdio>

#include "engine.hpp"
#include "host.hpp"
#include "syncer.hpp"

namespace tally::node {

void must(napi_env env, napi_status status) {
  if (status == napi_ok) return;
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_type_error(env, nullptr, "tally: an argument is not of its type");
  throw Thrown{};
}

Answer failed(const tally_error& error) {
  return {error.code, {std::string(error.detail), error.index}};
}

napi_value to_js(napi_env env, const char* text) {
  napi_value value = nullptr;
  must(env, napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value));
  return value;
}

napi_value to_js(napi_env env, Handle handle) {
  auto held = std::make_unique<Handle>(std::move(handle));
  const auto collected = [](napi_env, void* data, void*) {
    const std::unique_ptr<Handle> gone(static_cast<Handle*>(data));
    Host& host = gone->syncer ? gone->syncer->host() : gone->engine->host();
    host.drop(std::move(*gone));
  };
  napi_value value = nullptr;
  must(env, napi_create_external(env, held.get(), collected, nullptr, &value));
  held.release();  // JavaScript's now.
  return value;
}

napi_value to_js(napi_env env, const Value& value) {
  struct Visitor {
    napi_env env;
    napi_value made = nullptr;
    napi_status operator()(std::monostate) { return napi_get_null(env, &made); }
    napi_status operator()(bool is) { return napi_get_boolean(env, is, &made); }
    napi_status operator()(std::int64_t number) { return napi_create_int64(env, number, &made); }
    napi_status operator()(double number) { return napi_create_double(env, number, &made); }
    napi_status operator()(const std::string& text) {
      return napi_create_string_utf8(env, text.data(), text.size(), &made);
    }
    napi_status operator()(const std::shared_ptr<Engine>& engine) {
      made = to_js(env, Handle{engine, {}});
      return napi_ok;
    }
  } visitor{env};
  must(env, std::visit(visitor, value));
  return visitor.made;
}

napi_value to_js(napi_env env, const tally_uuid& id) {
  char text[37];
  tally_uuid_format(&id, text);
  napi_value value = nullptr;
  must(env, napi_create_string_latin1(env, text, 36, &value));
  return value;
}

std::string text_of(const tally_uuid& id) {
  char text[37];
  tally_uuid_format(&id, text);
  return text;
}

void throw_code(napi_env env, tally_code code, const char* detail) {
  tally_error error = TALLY_ERROR_INIT;
  error.code = code;
  std::snprintf(error.detail, sizeof error.detail, "%s", detail);
  throw_error(env, error);
}

void throw_error(napi_env env, const tally_error& error, napi_value op_id) {
  napi_throw(env, Host::of(env).make_error(error, op_id));
  throw Thrown{};
}

// ---- arguments --------------------------------------------------------------------------------

Call::Call(napi_env env, napi_callback_info info) : env_(env) {
  must(env, napi_get_cb_info(env, info, &count_, arguments_.data(), nullptr, nullptr));
}

Host& Call::host() const { return Host::of(env_); }

Handle& Call::handle(std::size_t i) const {
  void* data = nullptr;
  must(env_, napi_get_value_external(env_, arguments_.at(i), &data));
  return *static_cast<Handle*>(data);
}

Engine& Call::engine(std::size_t i) const {
  Engine* engine = handle(i).engine.get();
  if (engine == nullptr || !engine->is_open()) {
    napi_throw_error(env_, "ERR_INVALID_STATE", "the engine is closed");
    throw Thrown{};
  }
  return *engine;
}

std::shared_ptr<Engine> Call::shared_engine(std::size_t i) const {
  return engine(i).shared_from_this();
}

std::shared_ptr<Syncer> Call::syncer(std::size_t i) const { return handle(i).syncer; }

double Call::number(std::size_t i) const {
  double number = 0;
  must(env_, napi_get_value_double(env_, arguments_.at(i), &number));
  return number;
}

std::int64_t Call::integer(std::size_t i) const {
  std::int64_t number = 0;
  must(env_, napi_get_value_int64(env_, arguments_.at(i), &number));
  return number;
}

static std::string text_of(napi_env env, napi_value value) {
  std::size_t length = 0;
  must(env, napi_get_value_string_utf8(env, value, nullptr, 0, &length));
  std::string text(length, '\0');
  must(env, napi_get_value_string_utf8(env, value, text.data(), length + 1, &length));
  return text;
}

std::string Call::text(std::size_t i) const { return text_of(env_, arguments_.at(i)); }

bool Call::is_absent(std::size_t i) const {
  if (i >= count_) return true;
  napi_valuetype type = napi_undefined;
  must(env_, napi_typeof(env_, arguments_.at(i), &type));
  return type == napi_undefined || type == napi_null;
}

/// An id, or in which way it is none.
static napi_status read_id(napi_env env, napi_value value, tally_uuid& id) {
  // One more than an id has, so that a longer text is seen to be none.
  char text[38];
  std::size_t length = 0;
  if (napi_get_value_string_utf8(env, value, text, sizeof text, &length) != napi_ok)
    return napi_string_expected;
  return tally_uuid_parse(text, length, &id) == TALLY_OK ? napi_ok : napi_invalid_arg;
}

static tally_uuid id_of(napi_env env, napi_value value) {
  tally_uuid id;
  const napi_status status = read_id(env, value, id);
  if (status == napi_string_expected) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "an id is a string");
    throw Thrown{};
  }
  if (status != napi_ok) throw_code(env, TALLY_INVALID_ARGUMENT, "an id is 8-4-4-4-12 hex digits");
  return id;
}

tally_uuid Call::id(std::size_t i) const { return id_of(env_, arguments_.at(i)); }

bool Call::is_id(std::size_t i, tally_uuid& id) const {
  return read_id(env_, arguments_.at(i), id) == napi_ok;
}

std::vector<tally_uuid> Call::ids(std::size_t i) const {
  std::uint32_t length = 0;
  must(env_, napi_get_array_length(env_, arguments_.at(i), &length));
  std::vector<tally_uuid> ids;
  for (std::uint32_t k = 0; k < length; ++k) {
    napi_value element = nullptr;
    must(env_, napi_get_element(env_, arguments_.at(i), k, &element));
    ids.push_back(id_of(env_, element));
  }
  return ids;
}

bool Properties::find(const char* name, napi_value& value) const {
  must(env_, napi_get_named_property(env_, object_, name, &value));
  napi_valuetype type = napi_undefined;
  must(env_, napi_typeof(env_, value, &type));
  return type != napi_undefined && type != napi_null;
}

void Properties::read(const char* name, std::int64_t& number) const {
  napi_value value = nullptr;
  if (find(name, value)) must(env_, napi_get_value_int64(env_, value, &number));
}

void Properties::read(const char* name, std::int32_t& number) const {
  napi_value value = nullptr;
  if (find(name, value)) must(env_, napi_get_value_int32(env_, value, &number));
}

bool Properties::read(const char* name, std::string& text) const {
  napi_value value = nullptr;
  if (!find(name, value)) return false;
  text = text_of(env_, value);
  return true;
}

}  // namespace tally::node
