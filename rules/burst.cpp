#include "rules/burst.h"

#include <algorithm>

namespace weir {

std::uint64_t full_use_burst(Rate rate) noexcept {
  if (rate.amount == 0) return 0;
  if (!is_faster(rate, {5, kSecondNs})) return 1;  // two ticks are 1 % of a token
  if (!is_faster(rate, {1, 4 * kTickNs})) return 2;
  return tokens_in(rate, 4 * kTickNs) + 2;
}

std::uint32_t usable_permille(Rate rate, std::uint64_t burst) noexcept {
  // What the minter does while somebody takes every token at once: at each tick it may bring the
  // bucket no further than to the burst above the level that the tick before left. Real ticks
  // come late now and then; a tenth reproduces what was measured at 1, 2 and 4 ticks of burst.
  if (rate.amount == 0 || rate.period_ns == 0 || burst == 0) return 0;
  constexpr double kTicksMin = 4000;
  constexpr double kTokensMin = 400;
  const double per_tick = 1.1 * static_cast<double>(kTickNs) * static_cast<double>(rate.amount) /
                          static_cast<double>(rate.period_ns);
  if (per_tick < 0.005) return 1000;
  const int ticks = static_cast<int>(std::max(kTicksMin, kTokensMin / per_tick));
  double saved = 0;
  double level = 0;
  double minted = 0;
  for (int i = 0; i < ticks; ++i) {
    saved = std::min(saved + per_tick, static_cast<double>(burst) - level);
    level = static_cast<double>(static_cast<std::uint64_t>(saved + 1e-9));
    saved = std::max(0.0, saved - level);
    minted += level;
  }
  const double share = minted / (per_tick * ticks);
  return static_cast<std::uint32_t>(std::clamp(share, 0.0, 1.0) * 1000.0);
}

}  // namespace weir
