#pragma once
// A syncer as JavaScript has it, and the one thread that its calls are made on.

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "engine.hpp"
#include "host.hpp"
#include "lane.hpp"

namespace tally::node {

class Syncer final : public Ending, public std::enable_shared_from_this<Syncer> {
 public:
  /// Throws Thrown where the options are none.
  Syncer(napi_env env, std::shared_ptr<Engine> engine, double key, const Properties& options);
  ~Syncer() override;

  tally_syncer* get() const { return syncer_; }
  Host& host() const { return engine_->host(); }
  Lane& lane() { return lane_; }

  /// Which events somebody listens to, a bit each in the order of `events`.
  void listen(std::uint32_t events) { listens_ = events; }
  static constexpr const char* events[] = {"rejected", "verdict", "progress",
                                           "state",    "changed", "diverged"};

  void hurry() noexcept override { tally_syncer_stop(syncer_); }
  void end() noexcept override;

 private:
  enum class Event : std::uint8_t { rejected, verdict, progress, state, changed, diverged };
  tally_sync_callbacks callbacks();
  void tell(Event event, std::vector<Value> values) const;

  const std::shared_ptr<Engine> engine_;  // Which must outlive it.
  const double key_;
  std::atomic<std::uint32_t> listens_{0};
  std::atomic<tally_syncer*> syncer_{nullptr};
  Lane lane_;
};

}  // namespace tally::node
