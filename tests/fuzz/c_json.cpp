#include <algorithm>
#include <nlohmann/json.hpp>

#include "arguments.hpp"
#include "fuzz/scratch.hpp"
#include "fuzz/setups.hpp"
#include "fuzz/target.hpp"
#include "tally.h"

namespace tally::fuzz {
namespace {

/// As a caller might hand it in: a length, and no zero behind it.
std::unique_ptr<char[]> exact(std::string_view json) {
  auto bytes = std::make_unique_for_overwrite<char[]>(json.size());
  std::copy(json.begin(), json.end(), bytes.get());
  return bytes;
}

class CJson : public Target {
 public:
  CJson() { open(); }

  Outcome run(std::string_view json) override {
    tally_error error = TALLY_ERROR_INIT;
    tally_receipt receipt = TALLY_RECEIPT_INIT;
    const auto bytes = exact(json);
    const tally_code code = tally_apply(engine_.get(), bytes.get(), json.size(), &receipt, &error);
    if (code == TALLY_OK) {
      check_round_trip(json, receipt);
      start_anew();
      return Outcome::taken;
    }
    if (tally_code_class(code) != TALLY_CLASS_REFUSAL) throw Broken("a failure of the world", json);
    if (error.code != code || error.detail[0] == '\0')
      throw Broken("the error does not say why", json);
    if (std::string_view(error.detail).size() >= sizeof error.detail) throw Broken("no end", json);
    if (!nlohmann::json::accept(nlohmann::json(error.detail).dump()))
      throw Broken("no UTF-8", json);
    if (rewinder_->was_written()) throw Broken("a refusal wrote something", json);
    if (balance() != balance_) throw Broken("a refusal changed a balance in memory", json);
    return Outcome::refused;
  }

 private:
  struct Free {
    void operator()(tally_engine* engine) const { tally_engine_free(engine); }
  };

  void open() {
    rewinder_.reset();
    engine_.reset();
    folder_ = std::make_unique<test::TemporaryFolder>(test::memory_folder());
    const std::filesystem::path path = folder_->path() / "mirror.db";
    tally_options options = TALLY_OPTIONS_INIT;
    options.durability = TALLY_DURABILITY_NORMAL;
    tally_engine* engine = nullptr;
    const std::string name = path.string();
    if (tally_engine_open(name.data(), name.size(), &options, &engine, nullptr) != TALLY_OK)
      throw std::runtime_error("no mirror can be made");
    engine_.reset(engine);
    for (const std::string& line : lines_of("setup.jsonl")) must_apply(line);
    rewinder_.emplace(path);
    balance_ = balance();
    taken_ = 0;
  }

  /// Rows as they were; now and then another engine, for what one keeps in memory of users who came
  /// and went.
  void start_anew() {
    constexpr int taken_max = 10'000;
    if (++taken_ >= taken_max) return open();
    rewinder_->rewind();
  }

  void must_apply(const std::string& json) {
    if (tally_apply(engine_.get(), json.data(), json.size(), nullptr, nullptr) != TALLY_OK)
      throw Broken("this must be ok", json);
  }

  std::int64_t balance() {
    constexpr std::string_view user = "00000075-0000-7000-8000-000000000001";
    tally_uuid id{};
    tally_uuid_parse(user.data(), user.size(), &id);
    return tally_engine_balance_value(engine_.get(), &id);
  }

  void check_round_trip(std::string_view json, const tally_receipt& receipt) {
    auto command = engine_->engine.parse_command(json);
    if (!command || command->malformed != Code::ok) throw Broken("ok, but no operation", json);
    command->op_id = c::id_of(receipt.op_id);
    const std::string line = trace_line(*command);
    const auto read = parse_trace_line(line);
    if (!read || trace_line(*read) != line) throw Broken("its line does not come back", line);
    // What its parts' op_ids were is known to the engine alone where they were not given.
    if (std::holds_alternative<Batch>(command->operation)) return;
    rewinder_->was_written();
    if (tally_apply(engine_.get(), line.data(), line.size(), nullptr, nullptr) != TALLY_OK)
      throw Broken("once more, it is not ok", line);
    if (rewinder_->was_written()) throw Broken("once more, it wrote something", line);
  }

  std::unique_ptr<test::TemporaryFolder> folder_;
  std::unique_ptr<tally_engine, Free> engine_{};
  std::optional<Rewinder> rewinder_;
  std::int64_t balance_ = 0;
  int taken_ = 0;
};

}  // namespace

std::unique_ptr<Target> make_c_json() { return std::make_unique<CJson>(); }

}  // namespace tally::fuzz
