// When a breaker trips: counts over a rolling window of all processes together, and failures in a
// row. Twenty failures spread over 32 processes are twenty failures; none of the 32 alone would see
// its minimum volume.
#pragma once

#include <cstdint>

#include "adaptive/breaker.h"
#include "adaptive/window.h"

namespace weir::adaptive {

enum class TripReason : std::uint8_t { none, failed_share, slow_share, consecutive };

struct BreakerTally {
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
  std::uint64_t slow = 0;  // among both; not more than their sum
  std::uint64_t consecutive_failures = 0;
};

TripReason breaker_should_trip(const BreakerTally& tally, const BreakerPolicy& policy) noexcept;

// Failures in a row over all processes, in a word of its own: the generation of the breaker above,
// the count below. A success of a healthy resource finds 0 and writes nothing.
constexpr std::uint64_t next_consecutive(std::uint64_t word, std::uint32_t generation,
                                         bool failed) noexcept {
  const std::uint64_t own = static_cast<std::uint64_t>(generation) << 32;
  if (!failed) return (word & 0xffffffffU) == 0 ? word : own;
  const std::uint64_t count = (word >> 32) == generation ? word & 0xffffffffU : 0;
  return own | (count == 0xffffffffU ? count : count + 1);
}

// The agent's view of one resource. Ten cells over the policy's window.
class BreakerCounts {
 public:
  explicit BreakerCounts(const BreakerPolicy& policy = {}) noexcept;

  // Results of another generation than the current one are of another time, and are dropped.
  void add(TimeNs now_ns, std::uint32_t generation, const BreakerTally& results) noexcept;
  void begin(TimeNs now_ns, std::uint32_t generation) noexcept;
  BreakerTally tally(TimeNs now_ns) noexcept;
  TripReason should_trip(TimeNs now_ns) noexcept {
    return breaker_should_trip(tally(now_ns), policy_);
  }

 private:
  static constexpr std::size_t kCells = 11;  // ten complete ones and the one being filled

  BreakerPolicy policy_;
  Window<BreakerTally, kCells> window_;
  std::uint32_t generation_ = 0;
  std::uint64_t consecutive_ = 0;
};

}  // namespace weir::adaptive
