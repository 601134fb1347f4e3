#include "host.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace tally::node {
namespace {

/// Reads block on the disk, seldom and shortly; an audit takes long. So a few at once.
constexpr std::size_t pool_threads = 4;

}  // namespace

void Host::make(napi_env env) {
  auto host = std::make_unique<std::shared_ptr<Host>>(std::make_shared<Host>(env));
  const auto gone = [](napi_env, void* data, void*) {
    delete static_cast<std::shared_ptr<Host>*>(data);
  };
  must(env, napi_set_instance_data(env, host.get(), gone, nullptr));
  Host& made = **host.release();
  napi_value name = to_js(env, "tally");
  must(env, napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr,
                                            &made, deliver, &made.wake_));
  must(env, napi_unref_threadsafe_function(env, made.wake_));
  // After the function was made: hooks run in reverse, and ours still tells it what ended.
  must(env, napi_add_env_cleanup_hook(env, environment_ends, &made));
}

Host& Host::of(napi_env env) {
  void* data = nullptr;
  must(env, napi_get_instance_data(env, &data));
  return **static_cast<std::shared_ptr<Host>*>(data);
}

Host::Host(napi_env env)
    : env_(env), pool_(pool_threads, [this](std::vector<Request>& requests) { serve(requests); }) {}

void Host::listen(napi_value settle, napi_value tell, napi_value make_error) {
  must(env_, napi_create_reference(env_, settle, 1, &settle_));
  must(env_, napi_create_reference(env_, tell, 1, &tell_));
  must(env_, napi_create_reference(env_, make_error, 1, &make_error_));
}

napi_value Host::function(napi_ref reference) const {
  napi_value value = nullptr;
  must(env_, napi_get_reference_value(env_, reference, &value));
  return value;
}

napi_value Host::make_error(const tally_error& error, napi_value op_id) const {
  napi_value undefined = nullptr;
  must(env_, napi_get_undefined(env_, &undefined));
  napi_value arguments[] = {to_js(env_, Value(std::int64_t{error.code})), to_js(env_, error.detail),
                            to_js(env_, Value(error.index)), op_id != nullptr ? op_id : undefined};
  napi_value made = nullptr;
  must(env_, napi_call_function(env_, undefined, function(make_error_), std::size(arguments),
                                arguments, &made));
  return made;
}

void Host::keep_alive() {
  if (awaited_++ == 0) must(env_, napi_ref_threadsafe_function(env_, wake_));
}

void Host::let_go() {
  if (--awaited_ == 0) must(env_, napi_unref_threadsafe_function(env_, wake_));
}

void Host::post(Lane& lane, Request request) {
  lane.post(std::move(request));
  keep_alive();
}

// ---- to JavaScript ----------------------------------------------------------------------------

void Host::serve(std::vector<Request>& requests) noexcept {
  for (Request& request : requests) {
    Answer answer;
    try {
      answer = request.work();
    } catch (const std::exception& error) {
      answer = {TALLY_INTERNAL, {std::string(error.what()), std::int64_t{-1}}};
    }
    if (request.id != 0) settle(request.id, std::move(answer));
  }
}

void Host::settle(double id, Answer answer) noexcept { send({id, nullptr, std::move(answer)}); }

void Host::tell(double key, const char* event, std::vector<Value> values) noexcept {
  send({key, event, {TALLY_OK, std::move(values)}});
}

// Whatever gathers before the JavaScript thread looks is brought by one wake-up.
void Host::send(Message message) noexcept {
  {
    const std::lock_guard lock(mutex_);
    outbox_.push_back(std::move(message));
    if (std::exchange(woken_, true)) return;
  }
  napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

void Host::deliver(napi_env env, napi_value, void* context, void*) {
  if (env != nullptr) static_cast<Host*>(context)->deliver_all(env);
}

void Host::deliver_all(napi_env env) {
  std::vector<Message> messages;
  {
    const std::lock_guard lock(mutex_);
    messages.swap(outbox_);
    woken_ = false;
  }
  for (const Message& message : messages) {
    napi_handle_scope scope = nullptr;
    if (napi_open_handle_scope(env, &scope) != napi_ok) return;
    try {
      deliver_one(env, message);
    } catch (const Thrown&) {
      // A listener's exception is as fatal as that of any other event's.
      napi_value exception = nullptr;
      if (napi_get_and_clear_last_exception(env, &exception) == napi_ok)
        napi_fatal_exception(env, exception);
    }
    napi_close_handle_scope(env, scope);
  }
}

void Host::deliver_one(napi_env env, const Message& message) {
  if (message.event == nullptr) let_go();
  napi_value undefined = nullptr;
  must(env, napi_get_undefined(env, &undefined));
  napi_value id = nullptr;
  must(env, napi_create_double(env, message.id, &id));
  std::vector<napi_value> arguments{id};
  arguments.push_back(message.event != nullptr
                          ? to_js(env, message.event)
                          : to_js(env, Value(std::int64_t{message.answer.code})));
  for (const Value& value : message.answer.values) arguments.push_back(to_js(env, value));
  must(env, napi_call_function(env, undefined, function(message.event != nullptr ? tell_ : settle_),
                               arguments.size(), arguments.data(), nullptr));
}

// ---- the end ----------------------------------------------------------------------------------

void Host::add(Ending& ending) {
  const std::lock_guard lock(mutex_);
  endings_.push_back(&ending);
}

void Host::remove(Ending& ending) noexcept {
  const std::lock_guard lock(mutex_);
  endings_.erase(std::remove(endings_.begin(), endings_.end(), &ending), endings_.end());
}

void Host::drop(Handle handle) noexcept {
  if (ended_) return;
  try {
    pool_.post({0, {}, [held = std::move(handle)] { return Answer{}; }});
  } catch (const std::exception&) {
    // Without a thread it ends here and now.
  }
}

void Host::environment_ends(void* host) { static_cast<Host*>(host)->end_all(); }

// No JavaScript runs any more. What waits in a queue never happens; what is under way is waited
// for, since the code that it runs and the file that it writes must not go from under it.
void Host::end_all() noexcept {
  ended_ = true;
  {
    const std::lock_guard lock(mutex_);
    for (Ending* ending : endings_) ending->hurry();
  }
  pool_.close(Lane::Rest::dropped);
  while (!endings_.empty()) {
    Ending* const latest = endings_.back();
    latest->end();
    remove(*latest);
  }
  std::vector<Message>().swap(outbox_);
  napi_release_threadsafe_function(wake_, napi_tsfn_abort);
}

}  // namespace tally::node
