// How one limit is divided among its holders: exact weighted max-min, with floors, in strict bands.
//
// Every holder first gets its floor, but never more than it wants. What is left goes to the bands
// in strict order, the larger number first: in a band the rest is divided so that share =
// clamp(level * weight, floor, want) under one common level. Where the floors together do not fit,
// they are divided in that same way, as if each were all that its holder wants.
//
// So nobody gets more than it wants, and nothing stays undivided that anybody wants, but for the
// rounding: a share is the exact rational share rounded down, and the sum of all falls short by
// less than one unit a holder. Nothing is kept as a running fraction, so nothing drifts, and equal
// holders have equal shares whatever happened before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace weir::lease {

// Not for two threads at once: even share() may write, for it works out the level on first use.
class FairShare {
 public:
  // Names a holder from add() to remove(); then the next add() may give it out again. A slot that
  // names no holder is our own mistake, and aborts.
  using Slot = std::uint32_t;

  // A larger amount counts as this one. With it and with at most 2^30 holders every product that
  // is compared stays below 2^127.
  static constexpr std::int64_t kAmountMax = std::int64_t{1} << 62;
  static constexpr std::uint32_t kHoldersMax = std::uint32_t{1} << 30;

  // In any unit that all amounts share; negative amounts count as 0, and so does a floor above the
  // want for its excess.
  struct Holder {
    std::int64_t want = 0;
    std::uint32_t weight = 1;  // 0 counts as 1
    std::uint32_t band = 0;    // the larger number is served first
    std::int64_t floor = 0;

    friend bool operator==(const Holder&, const Holder&) = default;
  };

  FairShare() noexcept;
  ~FairShare();
  FairShare(FairShare&&) noexcept;
  FairShare& operator=(FairShare&&) noexcept;

  // A change costs O(log n), however many bands there are, and nothing at all if nothing changes.
  // Without memory for a new holder or its events the process ends.
  Slot add(const Holder& holder) noexcept;
  void set(Slot slot, const Holder& holder) noexcept;
  void remove(Slot slot) noexcept;
  void set_capacity(std::int64_t capacity) noexcept;

  // The first call after a change finds the level, in O(log n); the others only look at it.
  std::int64_t share(Slot slot) const noexcept;
  void refresh() const noexcept;
  // What such a holder would get at the level of the last refresh, whatever has changed since.
  std::int64_t share_of(const Holder& holder) const noexcept;

  // As it counts: amounts and weight inside their ranges.
  const Holder& holder(Slot slot) const noexcept;
  std::int64_t want_total() const noexcept;  // at most INT64_MAX
  std::uint64_t weight_total() const noexcept { return weight_total_; }
  std::size_t size() const noexcept { return size_; }
  std::int64_t capacity() const noexcept { return capacity_; }

 private:
  __extension__ typedef __int128 Wide;
  class Tree;
  struct Event;
  struct Events;

  // Where the capacity runs out: in `band`, at the level whole + part / slope. Bands above it have
  // all that they want, bands below it their floors.
  struct Level {
    bool plenty = true;   // everybody has what it wants; the rest of this means nothing
    bool floors = false;  // the floors do not fit, so that they are what is divided
    std::uint32_t band = 0;
    std::int64_t whole = 0;
    std::int64_t part = 0;
    std::int64_t slope = 1;
  };

  static Events events_of(const Holder& holder) noexcept;
  void replace(const Holder& before, const Holder& after) noexcept;
  Level find_level() const noexcept;

  std::vector<Holder> holders_;  // a free one has no weight, and wants the slot that is free next
  std::unique_ptr<Tree> tree_;
  Wide want_total_ = 0;
  Wide floor_total_ = 0;  // of min(floor, want)
  std::uint64_t weight_total_ = 0;
  std::int64_t capacity_ = 0;
  std::size_t size_ = 0;
  Slot free_ = kHoldersMax;  // kHoldersMax: none
  mutable bool stale_ = false;
  mutable Level level_;
};

}  // namespace weir::lease
