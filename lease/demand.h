// How much a host wants of a limit, from totals that only grow: what was spent and what was
// refused the first time. Retries do not count, so that a storm of them grabs nothing.
//
// The estimate is a mean over about a second, so that even small rates are known well; a change
// that chance does not explain is followed within one quarter of that.
#pragma once

#include <array>
#include <cstdint>

#include "lease/units.h"

namespace weir::lease {

class Demand {
 public:
  static constexpr TimeNs kWindowNs = 250 * kMs;
  static constexpr std::size_t kWindows = 4;       // of a mean, when there is much to count
  static constexpr std::size_t kWindowsMost = 16;  // and when there is little
  static constexpr std::uint64_t kEventsEnough = 32;

  // `total` as of `now`; a smaller one than before starts over.
  void sample(std::uint64_t total, TimeNs now_ns) noexcept;
  // Tokens a second, in micro-tokens.
  Micro rate() const noexcept { return rate_; }
  bool jumped() const noexcept { return jumped_; }  // with the last window
  void reset() noexcept { *this = Demand{}; }

 private:
  struct Window {
    std::uint64_t count = 0;
    TimeNs length_ns = 0;
  };
  void close_window(TimeNs now_ns) noexcept;

  std::array<Window, kWindowsMost> windows_{};
  std::size_t newest_ = 0;
  std::size_t filled_ = 0;
  bool started_ = false;
  bool jumped_ = false;
  std::uint64_t total_ = 0;
  std::uint64_t window_total_ = 0;
  TimeNs window_start_ns_ = 0;
  Micro rate_ = 0;
};

}  // namespace weir::lease
