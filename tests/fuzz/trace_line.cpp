#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "fuzz/scratch.hpp"
#include "fuzz/setups.hpp"
#include "fuzz/target.hpp"
#include "model/model.hpp"
#include "support/views.hpp"
#include "tally/faults.hpp"
#include "tally/trace.hpp"

namespace tally::fuzz {
namespace {

/// What a line that comes back must be the same as.
void check_round_trip(std::string_view line) {
  const auto command = parse_trace_line(line);
  if (!command || command->malformed != Code::ok) return;
  const std::string written = trace_line(*command);
  const auto read = parse_trace_line(written);
  if (!read || read->malformed != Code::ok) throw Broken("its own line is none", written);
  if (trace_line(*read) != written) throw Broken("its line does not come back", written);
}

class TraceLine : public Target {
 public:
  TraceLine() { open(); }

  Outcome run(std::string_view bytes) override {
    check_round_trip(bytes);
    const std::string got = apply(bytes);
    const std::string expected = model_->apply(bytes);
    if (got != expected) throw Broken("mirror: " + got + " model: " + expected, bytes);
    const bool is_ok = got.find("\"result\":\"ok\"") != std::string::npos;
    const std::string fault = fault_in_line(bytes);
    if (is_ok && !fault.empty()) throw Broken("ok, but " + fault, bytes);
    if (!is_ok) {
      if (rewinder_->was_written()) throw Broken("a refusal wrote something", bytes);
      return Outcome::refused;
    }
    for (const char* table : test::tables) compare(table, bytes);
    start_anew();
    return Outcome::taken;
  }

 private:
  void open() {
    rewinder_.reset();
    engine_.reset();
    folder_ = std::make_unique<test::TemporaryFolder>(test::memory_folder());
    engine_.emplace(Engine::open(folder_->path() / "mirror.db", fixed_options()).value());
    apply_all(*engine_, setup_);
    rewinder_.emplace(folder_->path() / "mirror.db");
    make_model();
    taken_ = 0;
  }

  void make_model() {
    model_.emplace();
    for (const std::string& line : setup_) model_->apply(line);
    line_ = setup_.size();
  }

  /// Both halves as they were; now and then another engine, for what one keeps in memory of users
  /// who came and went.
  void start_anew() {
    constexpr int taken_max = 10'000;
    if (++taken_ >= taken_max) return open();
    rewinder_->rewind();
    make_model();
  }

  std::string apply(std::string_view line) {
    ++line_;
    auto command = parse_trace_line(line);
    if (!command) return not_an_operation_line(line_);
    auto verdicts = engine_->submit({std::move(*command)});
    if (!verdicts) throw Broken("a failure of the world: " + verdicts.error().detail, line);
    return result_line(verdicts->front());
  }

  void compare(const char* table, std::string_view bytes) {
    auto got = test::texts_of(engine_->rows(table).value());
    auto expected = model_->rows(table);
    if (got == expected) return;
    // An id that was taken already is a random one; but for that the rows are the same.
    for (auto* rows : {&got, &expected}) {
      for (auto& row : *rows) row.front().reset();
      std::sort(rows->begin(), rows->end());
    }
    if (got != expected) throw Broken(std::string("other rows of ") + table, bytes);
  }

  const std::vector<std::string> setup_ = lines_of("setup.jsonl");
  std::unique_ptr<test::TemporaryFolder> folder_;
  std::optional<Engine> engine_;
  std::optional<Rewinder> rewinder_;
  std::optional<model::Model> model_;
  std::size_t line_ = 0;
  int taken_ = 0;
};

}  // namespace

std::unique_ptr<Target> make_trace_line() { return std::make_unique<TraceLine>(); }

}  // namespace tally::fuzz
