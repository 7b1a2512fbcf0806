#include "adaptive/shed_classes.h"

#include <algorithm>
#include <cmath>

#include "adaptive/units.h"

namespace weir::adaptive {
namespace {

std::uint32_t limit_field(double limit) noexcept {
  const double whole = std::floor(within(limit, 0.0, kShedLimitMax, kShedLimitMax) + 0.5);
  return static_cast<std::uint32_t>(whole) + 1;
}

}  // namespace

ShedWords plan_classes(double limit, const ClassDemand& demand,
                       const ClassOptions& options) noexcept {
  limit = within(limit, 1.0, kShedLimitMax, kShedLimitMax);
  const double fade = within(options.fade, 0.01, 1.0, 0.15);
  const double safe_until = within(options.safe_until, 0.0, 2.0, 0.95);
  const double capacity = within(demand.capacity_per_second, 0.0, 1e12, 0.0);
  double all = 0.0;
  for (const double asked : demand.asked_per_second)
    all += within(asked, 0.0, 1e12, 0.0);
  const double calm_until = within(options.calm_until, 0.0, 2.0, 0.7);
  const double calm =
      capacity > 0.0 ? within((calm_until + fade - all / capacity) / fade, 0.0, 1.0, 0.0) : 0.0;
  const double calm_limit = within(demand.calm_limit, 0.0, kShedLimitMax, 0.0);
  std::array<std::uint32_t, kClasses> limits{};
  std::array<std::uint32_t, kClasses> refusals{};
  double above = 0.0;  // what more important classes ask for, as a share of the capacity
  for (std::size_t i = 0; i < kClasses; ++i) {
    const double asked = within(demand.asked_per_second[i], 0.0, 1e12, 0.0);
    // Without an estimate of the capacity all classes are marginal: the limit alone decides.
    const double with_own = capacity > 0.0 ? above + asked / capacity : safe_until + fade;
    const double safe = within((safe_until + fade - with_own) / fade, 0.0, 1.0, 0.0);
    const double overshoot = within(options.overshoot[i], 1.0, 100.0, 1.0) - 1.0;
    const double busy = limit * (1.0 + safe * overshoot);
    limits[i] = limit_field(busy + calm * std::max(0.0, calm_limit - busy));
    // The most important class with any demand is never refused outright: something must fill the
    // machine even if the estimate of its capacity is far too low.
    const double kept = capacity > 0.0 ? within((1.0 - above) / fade, 0.0, 1.0, 1.0) : 1.0;
    refusals[i] = static_cast<std::uint32_t>((1.0 - kept) * kShareWhole + 0.5);
    if (capacity > 0.0) above = with_own;
  }
  return {.limits = pack_classes(limits), .refusals = pack_classes(refusals)};
}

}  // namespace weir::adaptive
