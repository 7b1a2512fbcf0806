// How much a host wants of a limit, from totals that only grow: what was spent and what was
// refused the first time. Retries do not count, so that a storm of them grabs nothing.
//
// The estimate is a mean over about a second, and longer where there is little to count. A change
// that chance does not explain ends it: a large one at once, a smaller one as soon as the last few
// windows together are unlikely after those before them. Then it begins anew, with short windows.
#pragma once

#include <array>
#include <cstdint>

#include "lease/units.h"

namespace weir::lease {

class Demand {
 public:
  static constexpr TimeNs kWindowNs = 250 * kMs;
  static constexpr TimeNs kWindowLeastNs = 60 * kMs;  // right after a change
  static constexpr std::size_t kWindows = 4;          // of a mean, when there is much to count
  static constexpr std::size_t kWindowsMost = 16;     // and when there is little
  static constexpr std::uint64_t kEventsEnough = 10;
  static constexpr std::size_t kWindowsFresh = 8;

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
  Window sum(std::size_t from, std::size_t to) const noexcept;  // of windows, the newest is 0
  static bool unlikely(const Window& now, const Window& before) noexcept;
  Window before_now() const noexcept { return sum(0, filled_); }

  std::array<Window, kWindowsMost> windows_{};
  std::size_t newest_ = 0;
  std::size_t filled_ = 0;
  bool started_ = false;
  bool jumped_ = false;
  bool mixed_ = false;  // the newest window began before the change
  TimeNs window_ns_ = kWindowNs;
  std::uint64_t total_ = 0;
  std::uint64_t window_total_ = 0;
  TimeNs window_start_ns_ = 0;
  Micro rate_ = 0;
};

}  // namespace weir::lease
