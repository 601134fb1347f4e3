#pragma once
// A hash table from keys to slot numbers.

#include <cstdint>
#include <vector>

#include "tally/values.hpp"

namespace tally {

/// Open addressing from a key to a slot number; clearing costs nothing.
template <class Key>
class FlatIndex {
 public:
  static constexpr std::uint32_t none = 0xffffffff;

  std::uint32_t find(const Key& key) const noexcept {
    if (cells_.empty()) return none;
    for (std::size_t i = start(key);; i = (i + 1) & (cells_.size() - 1)) {
      if (cells_[i].epoch != epoch_) return none;
      if (cells_[i].key == key) return cells_[i].slot;
    }
  }
  void insert(const Key& key, std::uint32_t slot) {
    if ((used_ + 1) * 2 > cells_.size()) grow();
    std::size_t i = start(key);
    while (cells_[i].epoch == epoch_ && !(cells_[i].key == key)) i = (i + 1) & (cells_.size() - 1);
    if (cells_[i].epoch != epoch_) ++used_;
    cells_[i] = Cell{key, slot, epoch_};
  }
  std::size_t size() const noexcept { return used_; }
  void clear() noexcept {
    used_ = 0;
    if (++epoch_ == 0) {
      cells_.clear();
      epoch_ = 1;
    }
  }

 private:
  struct Cell {
    Key key{};
    std::uint32_t slot = 0;
    std::uint32_t epoch = 0;
  };
  static std::size_t hash(const Uuid& key) noexcept { return std::hash<Uuid>{}(key); }
  static std::size_t hash(std::int64_t key) noexcept {
    const std::uint64_t h = static_cast<std::uint64_t>(key) * 0x9e3779b97f4a7c15ULL;
    return static_cast<std::size_t>(h ^ (h >> 29U));
  }
  std::size_t start(const Key& key) const noexcept { return hash(key) & (cells_.size() - 1); }
  void grow() {
    std::vector<Cell> old(cells_.empty() ? 64 : cells_.size() * 2);
    old.swap(cells_);
    used_ = 0;
    for (const Cell& cell : old) {
      if (cell.epoch == epoch_) insert(cell.key, cell.slot);
    }
  }
  std::vector<Cell> cells_;
  std::size_t used_ = 0;
  std::uint32_t epoch_ = 1;
};

}  // namespace tally
