#include "engine.hpp"

#include <string_view>
#include <utility>

namespace tally::node {
namespace {

/// Calls apply in the order in which they were made, so one thread does it. Under the spend policy
/// `online` each waits for canonical, and none is to wait for the others' round trips: then several
/// do, and the order is canonical's.
std::size_t writers(std::int32_t spend_policy) {
  return spend_policy == TALLY_SPEND_ONLINE ? 16 : 1;
}

/// The lines of a text, each without its end.
std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

}  // namespace

tally_options read_engine_options(const Properties& properties) {
  tally_options options = TALLY_OPTIONS_INIT;
  properties.read("durability", options.durability);
  properties.read("spend_policy", options.spend_policy);
  properties.read("must_exist", options.must_exist);
  properties.read("busy_timeout_ms", options.busy_timeout_ms);
  properties.read("verdict_timeout_ms", options.verdict_timeout_ms);
  properties.read("low_credits", options.low_credits);
  properties.read("cache_kib", options.cache_kib);
  return options;
}

Engine::Engine(std::shared_ptr<Host> host, double key, std::int32_t spend_policy, bool measures)
    : host_(std::move(host)),
      key_(key),
      measures_(measures),
      writer_(writers(spend_policy), [this](std::vector<Request>& requests) { serve(requests); }) {
  host_->add(*this);
}

Engine::~Engine() {
  end();
  host_->remove(*this);
}

tally_code Engine::open(const std::string& path, tally_options options, tally_error& error) {
  const tally_callbacks ears = callbacks();
  options.callbacks = &ears;
  tally_engine* engine = nullptr;
  const tally_code code = tally_engine_open(path.data(), path.size(), &options, &engine, &error);
  engine_ = engine;
  return code;
}

void Engine::end() noexcept {
  writer_.close(host_->has_ended() ? Lane::Rest::dropped : Lane::Rest::served);
  tally_engine_free(engine_.exchange(nullptr));
}

// ---- events -----------------------------------------------------------------------------------

void Engine::tell(Event event, std::vector<Value> values) const {
  if ((listens_ & (1U << static_cast<unsigned>(event))) != 0)
    host_->tell(key_, events[static_cast<std::size_t>(event)], std::move(values));
}

tally_callbacks Engine::callbacks() {
  tally_callbacks ears = TALLY_CALLBACKS_INIT;
  ears.context = this;
  ears.job_complete = [](void* context, const tally_uuid* user_id, const tally_uuid* job_id) {
    static_cast<Engine*>(context)->tell(Event::job_complete, {text_of(*user_id), text_of(*job_id)});
  };
  ears.job_failed = [](void* context, const tally_uuid* user_id, const tally_uuid* job_id) {
    static_cast<Engine*>(context)->tell(Event::job_failed, {text_of(*user_id), text_of(*job_id)});
  };
  ears.low_credits = [](void* context, const tally_uuid* user_id, std::int64_t balance) {
    static_cast<Engine*>(context)->tell(Event::low_credits, {text_of(*user_id), balance});
  };
  ears.log = [](void* context, std::int32_t level, const char* line, std::size_t length) {
    static_cast<Engine*>(context)->tell(Event::log,
                                        {std::int64_t{level}, std::string(line, length)});
  };
  if (!measures_) return ears;
  ears.metric = [](void* context, std::int32_t metric, double value,
                   const tally_attribute* attributes, std::size_t count) {
    std::vector<Value> values{std::int64_t{metric}, value};
    for (std::size_t i = 0; i < count; ++i) {
      values.emplace_back(std::string(attributes[i].name));
      values.emplace_back(std::string(attributes[i].value));
    }
    static_cast<Engine*>(context)->tell(Event::metric, std::move(values));
  };
  return ears;
}

// ---- operations -------------------------------------------------------------------------------

void Engine::serve(std::vector<Request>& requests) noexcept {
  if (requests.front().work) {
    host_->serve(requests);
  } else {
    apply_together(requests);
  }
}

// One commit, which syncs the disk once for all of them.
void Engine::apply_together(std::vector<Request>& requests) {
  std::string lines;
  for (const Request& request : requests) lines.append(request.line).push_back('\n');
  tally_error error = TALLY_ERROR_INIT;
  Text results;
  if (tally_submit(engine_, lines.data(), lines.size(), &results.text, &error) != TALLY_OK) {
    for (const Request& request : requests) host_->settle(request.id, failed(error));
    return;
  }
  std::vector<std::string> answers =
      lines_of({tally_text_data(results.text), tally_text_length(results.text)});
  answers.resize(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i)
    host_->settle(requests[i].id, {TALLY_OK, {std::move(answers[i])}});
}

}  // namespace tally::node
