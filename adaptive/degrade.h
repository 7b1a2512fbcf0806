// Levels of degradation: a signal selects how much of the work is left out, applications ask by
// feature. 0 is everything; a feature that is given up at level 2 is off at 2 and above.
//
// A level is entered when the signal has stayed at its threshold for the hold time, and left when
// it has stayed below a lower one for a longer time, one level at a time: what was given up in a
// hurry comes back with care. Drills send a small share of traffic down the degraded path on
// purpose, so that the path is known to work on the day it is needed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "adaptive/shed_word.h"
#include "adaptive/units.h"

namespace weir::adaptive {

inline constexpr std::size_t kDegradeLevelsMax = 8;

struct DegradeLevel {
  double enter = 0.0;  // of the signal, whatever its unit; more is worse
  double leave = 0.0;  // below `enter`
};

struct DegradeOptions {
  std::array<DegradeLevel, kDegradeLevelsMax> levels{};
  std::size_t level_count = 0;
  TimeNs enter_hold_ns = kSecond;
  TimeNs leave_hold_ns = 10 * kSecond;
  TimeNs stale_ns = 30 * kSecond;  // without a signal for so long the level goes back to 0
};

class Degrader {
 public:
  explicit Degrader(const DegradeOptions& options) noexcept;

  // A signal that is not a number counts as none.
  std::size_t on_signal(TimeNs now_ns, double value) noexcept;
  std::size_t on_time(TimeNs now_ns) noexcept;
  std::size_t level() const noexcept { return level_; }

 private:
  DegradeOptions options_;
  ForwardTime time_;
  std::size_t level_ = 0;
  TimeNs signal_ns_ = 0;
  // Since when the signal has asked for this level or a higher one; kNever: it does not.
  std::array<TimeNs, kDegradeLevelsMax> above_since_ns_{};
  TimeNs below_since_ns_ = kNever;
};

// What clients read: level 8 bits | drilled level 8 bits | share of the drill 16 bits, of 65,535.
using DegradeWord = std::uint64_t;

constexpr DegradeWord degrade_word(std::size_t level, std::size_t drill_level,
                                   std::uint32_t drill_share) noexcept {
  return std::min<std::uint64_t>(level, 255) | std::min<std::uint64_t>(drill_level, 255) << 8 |
         static_cast<std::uint64_t>(std::min(drill_share, kShareWhole)) << 16;
}

// Is the feature that is given up at `feature_level` off for this request? Level 0 is no level.
constexpr bool degraded(DegradeWord word, std::size_t feature_level, std::uint32_t draw) noexcept {
  if (feature_level == 0) return false;
  if ((word & 0xff) >= feature_level) return true;
  const auto share = static_cast<std::uint32_t>(word >> 16) & 0xffffU;
  return ((word >> 8) & 0xff) >= feature_level && share != 0 && draw % kShareWhole < share;
}

}  // namespace weir::adaptive
