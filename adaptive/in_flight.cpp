#include "adaptive/in_flight.h"

#include <algorithm>

namespace weir::adaptive {

void Recount::look(std::int64_t total, const Headcount& count) noexcept {
  constexpr std::int64_t kMost = std::int64_t{1} << 60;
  const auto cut = [](std::uint64_t n) {
    return static_cast<std::int64_t>(std::min<std::uint64_t>(n, kMost));
  };
  total = std::clamp(total, -kMost, kMost);
  surplus_ = std::min(surplus_, total - cut(count.high) - cut(count.moving));
  deficit_ = std::min(deficit_, cut(count.low) - cut(count.moving) - total);
  ++looks_;
}

std::int64_t Recount::correction() noexcept {
  const std::int64_t correction = !ready()       ? 0
                                  : surplus_ > 0 ? -surplus_
                                                 : std::max<std::int64_t>(0, deficit_);
  *this = Recount{};
  return correction;
}

bool reserved_admits(std::span<const ReservedPart> parts, std::size_t own,
                     std::uint64_t limit) noexcept {
  if (own >= parts.size()) return false;
  std::uint64_t taken = 0;
  for (std::size_t i = 0; i < parts.size(); ++i)
    taken = sat_add(
        taken, i == own ? parts[i].in_flight : std::max(parts[i].in_flight, parts[i].reserved));
  return taken < limit;
}

}  // namespace weir::adaptive
