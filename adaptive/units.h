// The units of this folder, and arithmetic that cannot overflow. Pure: time is a number that the
// caller passes in, nothing here knows a clock, and chance is a number that the caller draws.
//
//   times     int64, nanoseconds of any clock that the caller keeps to
//   shares    permille where they are measured, 1/65535 where a client tests them
#pragma once

#include <algorithm>
#include <cstdint>

namespace weir::adaptive {

using TimeNs = std::int64_t;

inline constexpr TimeNs kUs = 1'000;
inline constexpr TimeNs kMs = 1'000'000;
inline constexpr TimeNs kSecond = 1'000'000'000;
// Longer than any wait that means anything; sums of two of them still fit.
inline constexpr TimeNs kNever = INT64_MAX / 4;
// A response that claims to have taken longer counts as this one.
inline constexpr TimeNs kResponseMaxNs = 24 * 3600 * kSecond;

constexpr std::uint64_t sat_add(std::uint64_t a, std::uint64_t b) noexcept {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}
constexpr std::uint64_t sat_sub(std::uint64_t a, std::uint64_t b) noexcept {
  return a < b ? 0 : a - b;
}
// Times are cut to +-kNever first, so that neither sums nor differences overflow.
constexpr TimeNs bounded(TimeNs time_ns) noexcept { return std::clamp(time_ns, -kNever, kNever); }
constexpr TimeNs since(TimeNs then_ns, TimeNs now_ns) noexcept {
  return bounded(now_ns) - bounded(then_ns);
}
constexpr double seconds(TimeNs time_ns) noexcept { return static_cast<double>(time_ns) * 1e-9; }

// A double that came from elsewhere: NaN is `fallback`, everything else is inside the range.
constexpr double within(double value, double low, double high, double fallback) noexcept {
  if (!(value == value)) return fallback;
  return value < low ? low : value > high ? high : value;
}

// Turns the caller's clock into one that never runs back: a leap backwards is no time at all, and
// the count goes on from there. A window on a clock that was set back by an hour would otherwise
// stand still for that hour. A small step back is waited out instead, or two callers whose readings
// overtake each other would make time of it.
class ForwardTime {
 public:
  // Nanoseconds since the first call, at most kNever.
  TimeNs at(TimeNs now_ns) noexcept {
    now_ns = bounded(now_ns);
    if (!begun_) {
      begun_ = true;
      last_ns_ = now_ns;
    }
    if (now_ns > last_ns_) passed_ns_ = std::min(kNever, passed_ns_ + (now_ns - last_ns_));
    if (now_ns > last_ns_ || last_ns_ - now_ns > kTrembleNs) last_ns_ = now_ns;
    return passed_ns_;
  }
  bool begun() const noexcept { return begun_; }

 private:
  static constexpr TimeNs kTrembleNs = kSecond;

  TimeNs last_ns_ = 0;
  TimeNs passed_ns_ = 0;
  bool begun_ = false;
};

}  // namespace weir::adaptive
