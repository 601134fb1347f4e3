#pragma once
// Which ids are certainly new. Ids of version 7 grow with time, so one above all that the file had
// when it was asked, and not among those that came since, was never there: SQLite need not be
// asked. An id of which this cannot be said (an older one, a random one, one met before) is looked
// for in SQLite, which has the truth.

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "flat_index.hpp"
#include "ids.hpp"
#include "tally/values.hpp"

namespace tally {

/// Of folded ids, compared by their first 15 bytes: those that share them count as the same.
class IdWindow {
 public:
  /// Every id below `end` that SQLite has is at most `last`; those that it gets from now on are
  /// added.
  void load(const std::optional<Uuid>& last, const Uuid& end) noexcept {
    last_ = last ? prefix(*last) : Uuid{};
    end_ = end;
    greatest_ = {};
    for (Generation& generation : generations_) generation.clear();
  }
  /// Nothing is certain any more.
  void forget() noexcept { end_ = Uuid{}; }

  /// The first id that a load() for the sake of this one should not tell about, where one would
  /// help: a day after it. Ids of another version are all over the place, and a clock that runs
  /// ahead by more loses the advantage alone.
  std::optional<Uuid> end_for(const Uuid& folded_id) const noexcept {
    const bool is_version_7 = folded_id.bytes[15] >> 4U == 7;
    if (!is_version_7 || folded_id < end_) return std::nullopt;
    constexpr std::uint64_t day_ms = 86'400'000;
    std::uint64_t ms = 0;
    for (std::size_t i = 0; i < 6; ++i) ms = ms << 8U | folded_id.bytes[i];
    Uuid end;
    for (std::size_t i = 0; i < 6; ++i)
      end.bytes[i] = static_cast<std::uint8_t>((ms + day_ms) >> (40 - 8 * i));
    return end;
  }
  /// Whether certainly no id with these 15 bytes is there.
  bool is_new(const Uuid& folded_id) const noexcept {
    const Uuid id = prefix(folded_id);
    if (!(last_ < id) || !(id < end_)) return false;
    if (greatest_[0] < id && greatest_[1] < id) return true;  // As ids mostly come.
    return generations_[0].find(id) == Generation::none &&
           generations_[1].find(id) == Generation::none;
  }
  /// To be called for each that SQLite gets; one that it does not get after all does no harm.
  void add(const Uuid& folded_id) {
    const Uuid id = prefix(folded_id);
    if (!(last_ < id) || !(id < end_)) return;
    if (generations_[0].size() >= ids_max) {
      std::swap(generations_[0], generations_[1]);
      std::swap(greatest_[0], greatest_[1]);
      // What is forgotten is old: from now on the window begins behind it.
      last_ = std::max(last_, greatest_[0]);
      generations_[0].clear();
      greatest_[0] = Uuid{};
      if (!(last_ < id)) return;
    }
    generations_[0].insert(id, 0);
    greatest_[0] = std::max(greatest_[0], id);
  }

 private:
  using Generation = FlatIndex<Uuid>;
  static constexpr std::size_t ids_max = 16'384;  ///< In each of two generations.
  static Uuid prefix(const Uuid& folded_id) noexcept { return masked(folded_id, 0); }

  Uuid last_{};
  Uuid end_{};  ///< Nil: nothing is certain.
  std::array<Generation, 2> generations_{};
  std::array<Uuid, 2> greatest_{};  ///< Of each generation.
};

}  // namespace tally
