// A log-linear histogram of times: eight equal steps between one power of two and the next, so that
// a percentile is right to one part in eight from a nanosecond to a day, in a fixed 3 KB.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "adaptive/units.h"

namespace weir::adaptive {

class Histogram {
 public:
  static constexpr unsigned kStepBits = 3;
  static constexpr std::size_t kSteps = std::size_t{1} << kStepBits;
  // 2^47 ns is 39 hours; what takes longer counts into the last cell.
  static constexpr std::size_t kCells = (48 - kStepBits + 1) * kSteps;

  // Negative values count as 0. Counts saturate.
  void add(TimeNs value_ns, std::uint64_t count = 1) noexcept;
  void merge(const Histogram& other) noexcept;
  // Halves every count, so that the past fades.
  void halve() noexcept;
  void clear() noexcept { *this = Histogram{}; }

  // The upper edge of the cell in which the share (0..1) is reached; 0 without samples.
  TimeNs percentile(double share) const noexcept;
  std::uint64_t count() const noexcept { return total_; }

  static constexpr std::size_t cell_of(TimeNs value_ns) noexcept {
    if (value_ns < 0) return 0;
    const auto value = static_cast<std::uint64_t>(value_ns);
    if (value < kSteps) return static_cast<std::size_t>(value);
    const auto exponent = static_cast<unsigned>(std::bit_width(value)) - 1 - kStepBits;
    const auto step = static_cast<std::size_t>((value >> exponent) & (kSteps - 1));
    return std::min(kCells - 1, (exponent + 1) * kSteps + step);
  }
  static TimeNs upper_edge_ns(std::size_t cell) noexcept;

 private:
  std::array<std::uint64_t, kCells> cells_{};
  std::uint64_t total_ = 0;
};

}  // namespace weir::adaptive
