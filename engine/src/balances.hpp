#pragma once
// The balances in memory: one cache line an account, found by open addressing, read without a
// lock. Each slot is a sequence lock: odd while it is written, and a reader that saw it change
// reads again. Each value is released after the odd version and acquired before the second look at
// it, so that whoever sees a new value sees that the version moved.
//
// Ordering: values are stored before the slot's version is released, and the version before the
// engine's `seen` word (see engine.cpp); a reader that finds `seen` current therefore finds values
// at least that new.

#include <array>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <unordered_map>
#include <vector>

#include "platform.hpp"
#include "rows.hpp"

namespace tally {

/// What takes a Uuid is lock-free, put() apart; what takes a u, and put(), needs a lock of the
/// caller's.
class Balances {
 public:
  explicit Balances(std::size_t accounts) { grow(accounts); }

  /// Lock-free; false where the user is not in memory. The answer goes where the caller wants it:
  /// an optional is copied through memory in pieces, which costs as much as the look-up.
  bool read(const Uuid& user_id, AccountRow& row) const noexcept {
    const Slot* slot = find(user_id);
    if (slot == nullptr) return false;
    copy(*slot, row);
    return row.head != gone;
  }
  bool read_balance(const Uuid& user_id, std::int64_t& balance) const noexcept {
    const Slot* slot = find(user_id);
    if (slot == nullptr || slot->head.load(std::memory_order_relaxed) == gone) return false;
    balance = slot->balance.load(std::memory_order_relaxed);  // One word needs no version.
    return true;
  }

  std::optional<std::int64_t> find_user(const Uuid& user_id) const noexcept {
    const Slot* slot = find(user_id);
    if (slot == nullptr || slot->head.load(std::memory_order_acquire) == gone) return std::nullopt;
    return slot->u.load(std::memory_order_relaxed);
  }
  std::optional<AccountRow> account(std::int64_t u) const {
    const Slot* slot = slot_of(u);
    if (slot == nullptr) return std::nullopt;
    AccountRow row;
    copy(*slot, row);
    return row;
  }

  /// Whether it can be a user's number; damage may have made it another.
  static bool is_sound(std::int64_t u) noexcept {
    return u > 0 && u <= std::numeric_limits<std::uint32_t>::max();
  }
  bool empty() const noexcept { return count_ == 0; }
  bool holds(std::int64_t u) const noexcept { return slot_of(u) != nullptr; }
  bool is(std::int64_t u, const Uuid& user_id) const noexcept {
    const Slot* slot = slot_of(u);
    return slot != nullptr && slot->user_id == user_id;
  }
  /// Whose number is not sound is left out.
  void put(std::int64_t u, const Uuid& user_id, const AccountRow& row) {
    if (!is_sound(u)) return;
    if (holds(u)) {
      put(u, row);
    } else if (const Slot* slot = find(user_id)) {
      // It was gone, and has come back, perhaps under another key.
      place(u, static_cast<std::size_t>(slot - cells_));
      put(u, row);
    } else {
      insert(u, user_id, row);
    }
  }
  /// The user exists no more: canonical rejected the operation that made it.
  void forget(std::int64_t u) noexcept {
    AccountRow row;
    row.head = gone;
    put(u, row);
    place_of(u) = 0;
  }
  /// Only for one that is held.
  void put(std::int64_t u, const AccountRow& row) noexcept {
    Slot& slot = cells_[place_of(u) - 1];
    const std::uint32_t version = slot.version.load(std::memory_order_relaxed);
    if (version != 0) slot.version.store(version + 1, std::memory_order_relaxed);
    slot.balance.store(row.balance, std::memory_order_release);
    slot.held.store(row.held, std::memory_order_release);
    slot.seq.store(row.seq, std::memory_order_release);
    slot.head.store(row.head, std::memory_order_release);
    slot.pending.store(row.pending, std::memory_order_release);
    // 0 is a slot that is empty: the count leaves it out when it comes round.
    slot.version.store(version + 2 == 0 ? 2 : version + 2, std::memory_order_release);
  }
  /// Calls visit(u) for every account held.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [page, places] : by_user_) {
      for (std::size_t i = 0; i < places.size(); ++i) {
        if (places[i] != 0) visit(page * page_size + static_cast<std::int64_t>(i));
      }
    }
  }

 private:
  static constexpr std::int64_t gone = -1;  ///< As the head of an account.

  // Numbers are close together; damage can make one that is far from all others.
  static constexpr std::int64_t page_size = 1024;
  using Places = std::array<std::uint32_t, page_size>;

  struct alignas(64) Slot {
    Uuid user_id{};  ///< Written once, before the version leaves 0.
    std::atomic<std::uint32_t> version{0};
    std::atomic<std::uint32_t> u{0};
    std::atomic<std::int64_t> balance{0};
    std::atomic<std::int64_t> held{0};
    std::atomic<std::int64_t> seq{0};
    std::atomic<std::int64_t> head{0};
    std::atomic<std::int64_t> pending{0};
  };
  static_assert(sizeof(Slot) == 64);
  /// Never freed before the end, for readers hold no lock.
  class Slots {
   public:
    explicit Slots(std::size_t capacity) : mask(capacity - 1) {
      const std::size_t bytes = capacity * sizeof(Slot);
      const bool is_large = bytes >= platform::large_page_bytes;
      const auto alignment =
          static_cast<std::align_val_t>(is_large ? platform::large_page_bytes : alignof(Slot));
      cells = Cells(static_cast<Slot*>(::operator new(bytes, alignment)), Free{alignment});
      if (is_large) platform::prefer_large_pages(cells.get(), bytes);
      std::uninitialized_value_construct_n(cells.get(), capacity);
    }

   private:
    struct Free {
      std::align_val_t alignment{};
      void operator()(Slot* memory) const noexcept { ::operator delete(memory, alignment); }
    };
    using Cells = std::unique_ptr<Slot, Free>;

   public:
    Cells cells{nullptr, Free{}};
    std::size_t mask;
  };

  /// Inlined, as a call would be a good part of the time of check().
  [[gnu::always_inline]] static void copy(const Slot& slot, AccountRow& row) noexcept {
    for (;;) {
      const std::uint32_t before = slot.version.load(std::memory_order_acquire);
      row.balance = slot.balance.load(std::memory_order_acquire);
      row.held = slot.held.load(std::memory_order_acquire);
      row.seq = slot.seq.load(std::memory_order_acquire);
      row.head = slot.head.load(std::memory_order_acquire);
      row.pending = slot.pending.load(std::memory_order_acquire);
      if ((before & 1U) == 0 && slot.version.load(std::memory_order_relaxed) == before) return;
    }
  }
  const Slot* find(const Uuid& user_id) const noexcept {
    const Slots* slots = slots_.load(std::memory_order_acquire);
    for (std::size_t i = std::hash<Uuid>{}(user_id)&slots->mask;; i = (i + 1) & slots->mask) {
      const Slot& slot = slots->cells.get()[i];
      if (slot.version.load(std::memory_order_acquire) == 0) return nullptr;
      if (slot.user_id == user_id) return &slot;
    }
  }
  const Slot* slot_of(std::int64_t u) const noexcept {
    if (!is_sound(u)) return nullptr;
    const auto page = by_user_.find(u / page_size);
    if (page == by_user_.end()) return nullptr;
    const std::uint32_t place = page->second[static_cast<std::size_t>(u % page_size)];
    return place != 0 ? &cells_[place - 1] : nullptr;
  }
  /// Of one whose page there is.
  std::uint32_t& place_of(std::int64_t u) noexcept {
    return by_user_.find(u / page_size)->second[static_cast<std::size_t>(u % page_size)];
  }
  void place(std::int64_t u, std::size_t i) {
    by_user_[u / page_size][static_cast<std::size_t>(u % page_size)] =
        static_cast<std::uint32_t>(i) + 1;
    cells_[i].u.store(static_cast<std::uint32_t>(u), std::memory_order_relaxed);
  }
  void insert(std::int64_t u, const Uuid& user_id, const AccountRow& row) {
    if ((count_ + 1) * 2 > mask_ + 1) grow(count_ + 1);
    std::size_t i = std::hash<Uuid>{}(user_id)&mask_;
    while (cells_[i].version.load(std::memory_order_relaxed) != 0) i = (i + 1) & mask_;
    cells_[i].user_id = user_id;
    place(u, i);
    ++count_;
    put(u, row);  // Its release of the version makes the slot's key visible, too.
  }
  /// Readers of the old slots may go on: what they read was current when they began.
  void grow(std::size_t accounts) {
    std::size_t capacity = 1024;
    while (capacity < accounts * 2 + 2) capacity *= 2;
    generations_.push_back(std::make_unique<Slots>(capacity));
    Slot* const old = cells_;
    const std::size_t old_size = old == nullptr ? 0 : mask_ + 1;
    cells_ = generations_.back()->cells.get();
    mask_ = capacity - 1;
    count_ = 0;
    for (std::size_t i = 0; i < old_size; ++i) {
      if (old[i].version.load(std::memory_order_relaxed) == 0) continue;
      AccountRow row;
      copy(old[i], row);
      if (row.head == gone) continue;
      insert(old[i].u.load(std::memory_order_relaxed), old[i].user_id, row);
    }
    slots_.store(generations_.back().get(), std::memory_order_release);
  }

  alignas(64) std::atomic<const Slots*> slots_{nullptr};  ///< Alone on what readers read.
  alignas(64) Slot* cells_ = nullptr;                     ///< Of the newest generation.
  std::size_t mask_ = 0;
  std::size_t count_ = 0;
  std::unordered_map<std::int64_t, Places> by_user_;  ///< u to slot + 1, in pages.
  std::vector<std::unique_ptr<Slots>> generations_;
};

}  // namespace tally
