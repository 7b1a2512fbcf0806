// A rolling window: a ring of cells of equal length, of which the newest is still being filled.
//
// The cell of an instant is the number of whole lengths since the first use. After a gap the cells
// in between are empty; after a gap longer than the window all are, at the cost of one pass over
// the ring and never of one step for each cell that was missed.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "adaptive/units.h"

namespace weir::adaptive {

template <class Cell, std::size_t kCells>
class Window {
  static_assert(kCells >= 2);

 public:
  explicit Window(TimeNs cell_ns = 100 * kMs) noexcept
      : cell_ns_(std::clamp<TimeNs>(cell_ns, 1, kNever / static_cast<TimeNs>(kCells))) {}

  // The cell that is being filled.
  Cell& at(TimeNs now_ns) noexcept {
    roll(now_ns);
    return cells_[slot_of(head_)];
  }

  void roll(TimeNs now_ns) noexcept {
    const auto index = static_cast<std::uint64_t>(time_.at(now_ns) / cell_ns_);
    const std::uint64_t missed = std::min<std::uint64_t>(index - head_, kCells);
    for (std::uint64_t i = 1; i <= missed; ++i)
      cells_[slot_of(head_ + i)] = Cell{};
    // After a long gap the ring was cleared from the old head on; what counts is that it is clear.
    head_ = index;
  }

  // Calls f(cell) for each complete cell, the oldest first. The one that is being filled is not
  // among them: a count over half a cell reads like half the rate.
  template <class F>
  void each_complete(F&& f) const noexcept {
    const std::uint64_t count = complete();
    for (std::uint64_t i = count; i >= 1; --i)
      f(cells_[slot_of(head_ - i)]);
  }

  // The complete cell that ended `back` cells ago; 0 is the newest. Needs back < complete().
  const Cell& newest(std::size_t back = 0) const noexcept {
    return cells_[slot_of(head_ - 1 - back)];
  }

  // How many complete cells there are: fewer than kCells - 1 only right after the start.
  std::size_t complete() const noexcept {
    return static_cast<std::size_t>(std::min<std::uint64_t>(head_, kCells - 1));
  }
  // The cell at a place of the ring, for tests of the rolling itself.
  const Cell& place(std::size_t index) const noexcept { return cells_[slot_of(index)]; }
  std::size_t head() const noexcept { return static_cast<std::size_t>(head_ % kCells); }
  std::uint64_t rolled() const noexcept { return head_; }
  TimeNs cell_ns() const noexcept { return cell_ns_; }

 private:
  static constexpr std::size_t slot_of(std::uint64_t number) noexcept {
    return static_cast<std::size_t>(number % kCells);
  }

  ForwardTime time_;
  TimeNs cell_ns_;
  std::uint64_t head_ = 0;
  std::array<Cell, kCells> cells_{};
};

// The largest and the newest sum over `span` neighbouring complete cells. A maximum over single
// cells of a Poisson count is biased upwards by up to several times where a cell holds few; over a
// second or more the bias is a few percent.
template <class Cell, std::size_t kCells, class Value>
double max_sum(const Window<Cell, kCells>& window, std::size_t span, Value&& value) noexcept {
  double sum = 0.0;
  double best = 0.0;
  const std::size_t count = window.complete();
  span = std::max<std::size_t>(span, 1);
  for (std::size_t i = 0; i < count; ++i) {
    sum += value(window.newest(count - 1 - i));
    if (i >= span) sum -= value(window.newest(count - 1 - (i - span)));
    best = std::max(best, sum);
  }
  return best;
}

template <class Cell, std::size_t kCells, class Value>
double newest_sum(const Window<Cell, kCells>& window, std::size_t span, Value&& value) noexcept {
  double sum = 0.0;
  const std::size_t count = std::min(span, window.complete());
  for (std::size_t i = 0; i < count; ++i)
    sum += value(window.newest(i));
  return sum;
}

}  // namespace weir::adaptive
