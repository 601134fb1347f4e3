#pragma once
// Node-API in the few forms that the addon needs: arguments in, values out, errors thrown.

#include <node_api.h>

#include <array>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "tally.h"

namespace tally::node {

class Engine;
class Host;
class Syncer;

/// An exception is pending in JavaScript; unwinds to the edge, which returns into it.
struct Thrown {};

void must(napi_env env, napi_status status);

/// What crosses from a thread of ours to JavaScript. Numbers of ours are below 2^53.
using Value =
    std::variant<std::monostate, bool, std::int64_t, double, std::string, std::shared_ptr<Engine>>;

/// A failure's values are its detail and, of a batch, which of its operations.
struct Answer {
  tally_code code = TALLY_OK;
  std::vector<Value> values{};
};
Answer failed(const tally_error& error);

/// What an opaque value in JavaScript stands for.
struct Handle {
  std::shared_ptr<Engine> engine{};
  std::shared_ptr<Syncer> syncer{};
};

napi_value to_js(napi_env env, const Value& value);
napi_value to_js(napi_env env, Handle handle);
napi_value to_js(napi_env env, const char* text);
napi_value to_js(napi_env env, const tally_uuid& id);
std::string text_of(const tally_uuid& id);

/// Throws, in JavaScript, what the layer above makes of a code that is not ok.
[[noreturn]] void throw_code(napi_env env, tally_code code, const char* detail);
[[noreturn]] void throw_error(napi_env env, const tally_error& error, napi_value op_id = nullptr);

/// One call from JavaScript.
class Call {
 public:
  Call(napi_env env, napi_callback_info info);

  napi_env env() const { return env_; }
  Host& host() const;
  napi_value operator[](std::size_t i) const { return arguments_.at(i); }

  Engine& engine(std::size_t i) const;  ///< One that is open.
  std::shared_ptr<Engine> shared_engine(std::size_t i) const;
  std::shared_ptr<Syncer> syncer(std::size_t i) const;
  double number(std::size_t i) const;
  std::int64_t integer(std::size_t i) const;
  std::string text(std::size_t i) const;
  bool is_absent(std::size_t i) const;  ///< Undefined or null.
  tally_uuid id(std::size_t i) const;   ///< Throws invalid_argument where it is none.
  bool is_id(std::size_t i, tally_uuid& id) const;
  std::vector<tally_uuid> ids(std::size_t i) const;

 private:
  Handle& handle(std::size_t i) const;

  napi_env env_;
  std::size_t count_ = 8;
  std::array<napi_value, 8> arguments_{};
};

/// An object's properties, each absent where it is undefined.
class Properties {
 public:
  Properties(napi_env env, napi_value object) : env_(env), object_(object) {}
  void read(const char* name, std::int64_t& number) const;
  void read(const char* name, std::int32_t& number) const;
  bool read(const char* name, std::string& text) const;

 private:
  bool find(const char* name, napi_value& value) const;

  napi_env env_;
  napi_value object_;
};

/// A function of the addon: `napi_value name(const Call&)`.
template <napi_value (*function)(const Call&)>
napi_value entry(napi_env env, napi_callback_info info) {
  try {
    return function(Call(env, info));
  } catch (const Thrown&) {
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
  }
  return nullptr;
}

}  // namespace tally::node
