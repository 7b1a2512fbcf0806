#include "adaptive/breaker_counts.h"

namespace weir::adaptive {
namespace {

__extension__ typedef unsigned __int128 Wide;

bool reaches(std::uint64_t part, std::uint64_t whole, std::uint32_t permille) noexcept {
  return permille != 0 && Wide{part} * 1000U >= Wide{whole} * permille;
}

TimeNs cell_of(TimeNs window_ns) noexcept {
  return std::clamp<TimeNs>(window_ns, 10 * kMs, 24 * 3600 * kSecond) / 10;
}

}  // namespace

TripReason breaker_should_trip(const BreakerTally& tally, const BreakerPolicy& policy) noexcept {
  if (policy.consecutive_failures != 0 && tally.consecutive_failures >= policy.consecutive_failures)
    return TripReason::consecutive;
  const std::uint64_t whole = sat_add(tally.succeeded, tally.failed);
  if (whole == 0 || whole < policy.volume_min) return TripReason::none;
  if (reaches(tally.failed, whole, policy.failed_permille)) return TripReason::failed_share;
  if (reaches(std::min(tally.slow, whole), whole, policy.slow_permille))
    return TripReason::slow_share;
  return TripReason::none;
}

BreakerCounts::BreakerCounts(const BreakerPolicy& policy) noexcept
    : policy_(policy), window_(cell_of(policy.window_ns)) {}

void BreakerCounts::begin(TimeNs now_ns, std::uint32_t generation) noexcept {
  generation_ = generation;
  consecutive_ = 0;
  window_ = Window<BreakerTally, kCells>(cell_of(policy_.window_ns));
  window_.roll(now_ns);
}

void BreakerCounts::add(TimeNs now_ns, std::uint32_t generation,
                        const BreakerTally& results) noexcept {
  if (generation != generation_) return;
  BreakerTally& cell = window_.at(now_ns);
  cell.succeeded = sat_add(cell.succeeded, results.succeeded);
  cell.failed = sat_add(cell.failed, results.failed);
  cell.slow = sat_add(cell.slow, results.slow);
  // Within one batch the order is lost, so a single success ends the row.
  consecutive_ = results.succeeded > 0 ? 0 : sat_add(consecutive_, results.failed);
}

BreakerTally BreakerCounts::tally(TimeNs now_ns) noexcept {
  BreakerTally sum = window_.at(now_ns);
  window_.each_complete([&sum](const BreakerTally& cell) {
    sum.succeeded = sat_add(sum.succeeded, cell.succeeded);
    sum.failed = sat_add(sum.failed, cell.failed);
    sum.slow = sat_add(sum.slow, cell.slow);
  });
  sum.consecutive_failures = consecutive_;
  return sum;
}

}  // namespace weir::adaptive
