// What a bucket's burst means for the share of its rate that can be used.
#pragma once

#include <cstdint>

#include "rules/duration.h"

namespace weir {

inline constexpr std::uint64_t kTickNs = 1'000'000;  // of the agent, while a bucket is in use

// Tokens arrive in ticks, and what arrives while the bucket is full is lost, so a burst of less
// than a few ticks cannot be used fully. This is the smallest burst that can.
std::uint64_t full_use_burst(Rate rate) noexcept;
// The share of the rate that a bucket with this burst lets through, roughly, in permille.
std::uint32_t usable_permille(Rate rate, std::uint64_t burst) noexcept;

}  // namespace weir
