#pragma once
// What is between devices and canonical: it loses, delays, doubles and reorders messages, stands
// still, and is cut in one direction or both.

#include <array>
#include <functional>
#include <vector>

#include "sim/agenda.hpp"
#include "sim/random.hpp"

namespace tally::sim {

enum class Direction : std::uint8_t { to_canonical, to_device };

/// Of one run.
struct Weather {
  double loss = 0;
  double doubling = 0;
  Micros delay_most = 20 * millisecond;
  double stalls = 0;  ///< Of the messages, and for up to ten times the longest delay.
};

class Network {
 public:
  Network(Agenda& agenda, Random& random, std::size_t devices)
      : agenda_(agenda), random_(random), cut_(devices) {}

  void set_weather(const Weather& weather) { weather_ = weather; }
  void set_cut(std::size_t device, Direction direction, bool cut) {
    cut_[device][static_cast<std::size_t>(direction)] = cut;
  }
  /// Perhaps once, perhaps twice, perhaps never.
  void carry(std::size_t device, Direction direction, const std::function<void()>& deliver) {
    if (cut_[device][static_cast<std::size_t>(direction)] || random_.chance(weather_.loss)) return;
    const int copies = random_.chance(weather_.doubling) ? 2 : 1;
    for (int copy = 0; copy < copies; ++copy) {
      const Micros most = weather_.delay_most * (random_.chance(weather_.stalls) ? 10 : 1);
      agenda_.after(random_.between(1, most), deliver);
    }
  }

 private:
  Agenda& agenda_;
  Random& random_;
  Weather weather_{};
  std::vector<std::array<bool, 2>> cut_;
};

}  // namespace tally::sim
