#include "adaptive/in_flight.h"

#include <algorithm>

namespace weir::adaptive {

void Recount::look(std::uint64_t total, const Headcount& count,
                   std::uint32_t permits_max) noexcept {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 62;
  const std::uint64_t each = std::max(permits_max, 1U);
  const std::uint64_t moving = count.moving > kMost / each ? kMost : count.moving * each;
  const std::uint64_t truth = std::min(count.in_flight, kMost);
  total = std::min(total, kMost);
  surplus_ = std::min(surplus_, sat_sub(total, sat_add(truth, moving)));
  deficit_ = std::min(deficit_, sat_sub(sat_sub(truth, moving), total));
  ++looks_;
}

std::int64_t Recount::correction() noexcept {
  const std::int64_t correction =
      !ready()        ? 0
      : surplus_ != 0 ? -static_cast<std::int64_t>(std::min<std::uint64_t>(surplus_, INT64_MAX))
                      : static_cast<std::int64_t>(std::min<std::uint64_t>(deficit_, INT64_MAX));
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
