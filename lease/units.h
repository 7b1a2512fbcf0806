// The units of this folder, and the margins that two clocks may differ by. Pure: time is a number
// that the caller passes in, nothing here knows a clock.
//
//   tokens    int64, micro-tokens: 1'000'000 are one token
//   rates     int64, micro-tokens a second
//   times     int64, nanoseconds of the caller's own boot clock (it goes on while suspended)
#pragma once

#include <algorithm>
#include <cstdint>

namespace weir::lease {

using Micro = std::int64_t;
using TimeNs = std::int64_t;

inline constexpr Micro kToken = 1'000'000;
inline constexpr TimeNs kMs = 1'000'000;
inline constexpr TimeNs kSecond = 1'000'000'000;
inline constexpr TimeNs kNever = INT64_MAX / 4;
// Rates and bursts above this are refused where rules are read: sums of 2^20 of them still fit.
inline constexpr Micro kMicroMax = std::int64_t{1} << 60;

// How far two clocks may drift apart, in parts of a million, and what a message's stamp may be off.
inline constexpr std::int64_t kDriftPpm = 1'000;
inline constexpr TimeNs kClockSlackNs = 10 * kMs;

// What a holder may rely on, and what the server waits before it relies on the end of it.
constexpr TimeNs shortened(TimeNs ttl_ns) noexcept {
  return ttl_ns - ttl_ns / 1'000'000 * kDriftPpm;
}
constexpr TimeNs lengthened(TimeNs ttl_ns) noexcept {
  return ttl_ns + (ttl_ns / 1'000'000 + 1) * kDriftPpm + kClockSlackNs;
}

__extension__ typedef __int128 Wide;

// amount * time / second and the like, without overflow; saturates.
constexpr Micro mul_div(Micro a, std::int64_t b, std::int64_t c) noexcept {
  // Nearly all products fit into one word, and a division of that is many times cheaper.
  std::int64_t product = 0;
  if (!__builtin_mul_overflow(a, b, &product)) {
    const std::int64_t small = product / c;
    if (small <= kMicroMax * 2 && small >= -(kMicroMax * 2)) return small;
  }
  const Wide wide = static_cast<Wide>(a) * b / c;
  if (wide > kMicroMax * 2) return kMicroMax * 2;
  if (wide < -(kMicroMax * 2)) return -(kMicroMax * 2);
  return static_cast<Micro>(wide);
}
constexpr Micro minted(Micro rate, TimeNs elapsed_ns) noexcept {
  return elapsed_ns <= 0 ? 0 : mul_div(rate, elapsed_ns, kSecond);
}
constexpr Micro whole_tokens(Micro amount) noexcept { return amount - amount % kToken; }

}  // namespace weir::lease
