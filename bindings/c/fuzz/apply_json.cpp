#include "apply_json.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "arguments.hpp"

namespace tally::fuzz {
namespace {

[[noreturn]] void broken(const std::string& what, std::string_view json) {
  throw std::logic_error(what + ": " + std::string(json));
}

template <class Read>
std::string text(Read read) {
  tally_text* text = nullptr;
  if (read(&text) != TALLY_OK) throw std::logic_error("the mirror cannot be read");
  std::string out(tally_text_data(text), tally_text_length(text));
  tally_text_free(text);
  return out;
}

/// As a caller might hand it in: a length, and no zero behind it.
std::unique_ptr<char[]> exact(std::string_view json) {
  auto bytes = std::make_unique_for_overwrite<char[]>(json.size());
  std::copy(json.begin(), json.end(), bytes.get());
  return bytes;
}

}  // namespace

ApplyJson::ApplyJson(std::filesystem::path path) : path_(std::move(path)) { make(); }

void ApplyJson::make() {
  engine_.reset();
  for (const char* of : {"", "-wal", "-shm"}) std::filesystem::remove(path_.string() + of);
  tally_options options = TALLY_OPTIONS_INIT;
  options.durability = TALLY_DURABILITY_NORMAL;
  tally_engine* engine = nullptr;
  const std::string name = path_.string();
  if (tally_engine_open(name.data(), name.size(), &options, &engine, nullptr) != TALLY_OK)
    throw std::logic_error("no mirror can be made");
  engine_.reset(engine);
  applied_ = 0;
  // The ids are the demo's: its trace is the corpus.
  const std::string user = "\"ada00000-0000-4000-8000-000000000001\"";
  must_apply(R"({"op":"create_user","user_id":)" + user + "}");
  must_apply(R"({"op":"create_user","user_id":"b0b00000-0000-4000-8000-000000000002"})");
  must_apply(R"({"op":"create_draft","draft_id":"d4af7000-0000-4000-8000-000000000009",)"
             R"("session_token":"session-ada-5e1f","prompt_text":"Rome"})");
  state_ = state();
}

void ApplyJson::must_apply(const std::string& json) {
  if (tally_apply(engine_.get(), json.data(), json.size(), nullptr, nullptr) != TALLY_OK)
    broken("this must be ok", json);
}

std::string ApplyJson::state() const {
  std::int64_t pending = 0;
  if (tally_engine_pending_operations(engine_.get(), &pending, nullptr) != TALLY_OK)
    throw std::logic_error("the mirror cannot be read");
  std::string state = std::to_string(pending);
  const std::string users =
      text([&](tally_text** out) { return tally_engine_users(engine_.get(), out, nullptr); });
  for (const auto& user : nlohmann::json::parse(users)) {
    tally_uuid id{};
    const auto& name = user.get_ref<const std::string&>();
    tally_uuid_parse(name.data(), name.size(), &id);
    state += name + std::to_string(tally_engine_balance_value(engine_.get(), &id)) +
             text([&](tally_text** out) {
               return tally_engine_digest(engine_.get(), &id, out, nullptr);
             });
  }
  return state;
}

tally_code ApplyJson::run(std::string_view json) {
  tally_error error = TALLY_ERROR_INIT;
  tally_receipt receipt = TALLY_RECEIPT_INIT;
  const auto bytes = exact(json);
  const tally_code code = tally_apply(engine_.get(), bytes.get(), json.size(), &receipt, &error);
  if (code == TALLY_OK) {
    state_ = state();
    check_round_trip(json, receipt);
    if (++applied_ >= 200) make();
    return code;
  }
  if (tally_code_class(code) != TALLY_CLASS_REFUSAL) broken("a failure of the world", json);
  if (error.code != code || error.detail[0] == '\0') broken("the error does not say why", json);
  if (std::string_view(error.detail).size() >= sizeof error.detail) broken("no end", json);
  if (!nlohmann::json::accept(nlohmann::json(error.detail).dump())) broken("no UTF-8", json);
  if (state() != state_) broken("a refusal changed something", json);
  return code;
}

void ApplyJson::check_round_trip(std::string_view json, const tally_receipt& receipt) {
  auto command = engine_->engine.parse_command(json);
  if (!command || command->malformed != Code::ok) broken("ok, but no operation", json);
  command->op_id = c::id_of(receipt.op_id);
  const std::string line = trace_line(*command);
  const auto read = parse_trace_line(line);
  if (!read || trace_line(*read) != line) broken("its line does not come back", line);
  // What its parts' op_ids were is known to the engine alone where they were not given.
  if (std::holds_alternative<Batch>(command->operation)) return;
  if (tally_apply(engine_.get(), line.data(), line.size(), nullptr, nullptr) != TALLY_OK)
    broken("once more, it is not ok", line);
  if (state() != state_) broken("once more, it had an effect", line);
}

}  // namespace tally::fuzz
