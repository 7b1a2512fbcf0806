#include "adaptive/histogram.h"

#include <cmath>

namespace weir::adaptive {

TimeNs Histogram::upper_edge_ns(std::size_t cell) noexcept {
  cell = std::min(cell, kCells - 1);
  if (cell < kSteps) return static_cast<TimeNs>(cell);
  const auto exponent = static_cast<unsigned>(cell / kSteps - 1);
  const std::uint64_t first = (kSteps + cell % kSteps) << exponent;
  return static_cast<TimeNs>(first + (std::uint64_t{1} << exponent) - 1);
}

void Histogram::add(TimeNs value_ns, std::uint64_t count) noexcept {
  std::uint64_t& cell = cells_[cell_of(value_ns)];
  // The total is the sum of the cells, so both take the same amount or the percentiles would run
  // past the end.
  count = std::min(count, UINT64_MAX - total_);
  cell += count;
  total_ += count;
}

void Histogram::merge(const Histogram& other) noexcept {
  for (std::size_t i = 0; i < kCells; ++i) {
    const std::uint64_t count = std::min(other.cells_[i], UINT64_MAX - total_);
    cells_[i] += count;
    total_ += count;
  }
}

void Histogram::halve() noexcept {
  total_ = 0;
  for (std::uint64_t& cell : cells_) {
    cell /= 2;
    total_ += cell;
  }
}

TimeNs Histogram::percentile(double share) const noexcept {
  if (total_ == 0) return 0;
  share = within(share, 0.0, 1.0, 0.0);
  const double wanted = std::max(1.0, std::ceil(share * static_cast<double>(total_)));
  std::uint64_t seen = 0;
  std::size_t last = 0;
  for (std::size_t i = 0; i < kCells; ++i) {
    if (cells_[i] == 0) continue;
    seen += cells_[i];
    last = i;
    if (static_cast<double>(seen) >= wanted) break;
  }
  return upper_edge_ns(last);
}

}  // namespace weir::adaptive
