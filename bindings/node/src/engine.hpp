#pragma once
// An engine as JavaScript has it: the file, and the one thread that applies operations to it.

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "host.hpp"
#include "lane.hpp"

namespace tally::node {

/// A text that the library brought, freed where this ends.
struct Text {
  Text() = default;
  ~Text() { tally_text_free(text); }
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;
  std::string value() const { return {tally_text_data(text), tally_text_length(text)}; }
  tally_text* text = nullptr;
};

/// What an object says; the library's defaults for what it does not.
tally_options read_engine_options(const Properties& properties);

class Engine final : public Ending, public std::enable_shared_from_this<Engine> {
 public:
  /// Not open yet. `key` is JavaScript's name for it. Measuring takes time: only where asked for.
  Engine(std::shared_ptr<Host> host, double key, std::int32_t spend_policy, bool measures);
  ~Engine() override;

  tally_code open(const std::string& path, tally_options options, tally_error& error);
  bool is_open() const { return engine_ != nullptr; }
  tally_engine* get() const { return engine_; }
  Host& host() const { return *host_; }
  Lane& writer() { return writer_; }
  /// For a call on the JavaScript thread itself: waits for what was posted before, so that calls
  /// apply in the order in which they were made. The writer needs nothing of that thread.
  void await_turn() {
    if (writer_.keeps_order()) writer_.come_to_rest();
  }

  /// Which events somebody listens to, a bit each in the order of `events`.
  void listen(std::uint32_t events) { listens_ = events; }
  static constexpr const char* events[] = {"job_complete", "job_failed", "low_credits", "log",
                                           "metric"};

  void hurry() noexcept override {}
  void end() noexcept override;

 private:
  enum class Event : std::uint8_t { job_complete, job_failed, low_credits, log, metric };
  tally_callbacks callbacks();
  void tell(Event event, std::vector<Value> values) const;
  void serve(std::vector<Request>& requests) noexcept;
  void apply_together(std::vector<Request>& requests);

  const std::shared_ptr<Host> host_;
  const double key_;
  const bool measures_;
  std::atomic<std::uint32_t> listens_{0};
  std::atomic<tally_engine*> engine_{nullptr};
  Lane writer_;
};

}  // namespace tally::node
