#include "adaptive/breaker.h"

#include <algorithm>
#include <cmath>

namespace weir::adaptive {
namespace {

constexpr std::uint32_t kTripsMax = 15;
constexpr std::uint32_t kGoodMax = 7;
constexpr std::uint32_t kGenerationMask = 0x3ff;
constexpr TimeNs kOpenLongestNs = 24 * 3600 * kSecond;

// Times wrap after a year; only differences of less than half of that are ever taken.
std::uint32_t unit_of(TimeNs now_ns) noexcept {
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(bounded(now_ns) / kBreakerUnitNs));
}

std::uint32_t units(TimeNs span_ns) noexcept {
  span_ns = std::clamp<TimeNs>(span_ns, 0, kOpenLongestNs);
  return static_cast<std::uint32_t>((span_ns + kBreakerUnitNs - 1) / kBreakerUnitNs);
}

// Nobody plans further ahead than the longest time allowed: such a word is damaged, or the clock
// was set back, and either way it is due.
TimeNs left_ns(std::uint32_t due, TimeNs now_ns, TimeNs longest_ns) noexcept {
  const auto left = static_cast<std::int32_t>(due - unit_of(now_ns));
  if (left <= 0 || static_cast<std::uint32_t>(left) > units(longest_ns) + 1) return 0;
  return left * kBreakerUnitNs;
}

TimeNs open_longest_ns(const BreakerPolicy& policy) noexcept {
  const double most = 1.0 + within(policy.jitter, 0.0, 1.0, 0.0) / 2.0;
  const TimeNs bound =
      std::clamp<TimeNs>(std::max(policy.open_max_ns, policy.open_ns), kMs, kOpenLongestNs);
  return static_cast<TimeNs>(static_cast<double>(bound) * most);
}

BreakerFields opened(BreakerFields fields, TimeNs now_ns, double chance,
                     const BreakerPolicy& policy) noexcept {
  fields.state = BreakerState::open;
  fields.good_probes = 0;
  fields.owner = 0;
  fields.generation = (fields.generation + 1) & kGenerationMask;
  fields.due = unit_of(now_ns) + units(breaker_open_ns(fields.trips, chance, policy));
  return fields;
}

}  // namespace

BreakerFields breaker_fields(BreakerWord word) noexcept {
  BreakerFields fields;
  const auto state = static_cast<std::uint8_t>(word & 7U);
  fields.state = state <= 4 ? static_cast<BreakerState>(state) : BreakerState::closed;
  fields.trips = static_cast<std::uint32_t>(word >> 3) & 0xfU;
  fields.good_probes = static_cast<std::uint32_t>(word >> 7) & 7U;
  fields.generation = breaker_generation(word);
  fields.owner = static_cast<std::uint32_t>(word >> 20) & kBreakerOwnerMax;
  fields.due = static_cast<std::uint32_t>(word >> 32);
  return fields;
}

BreakerWord breaker_word(const BreakerFields& fields) noexcept {
  return static_cast<std::uint64_t>(fields.state) |
         static_cast<std::uint64_t>(std::min(fields.trips, kTripsMax)) << 3 |
         static_cast<std::uint64_t>(std::min(fields.good_probes, kGoodMax)) << 7 |
         static_cast<std::uint64_t>(fields.generation & kGenerationMask) << 10 |
         static_cast<std::uint64_t>(fields.owner & kBreakerOwnerMax) << 20 |
         static_cast<std::uint64_t>(fields.due) << 32;
}

TimeNs breaker_open_ns(std::uint32_t trips, double chance, const BreakerPolicy& policy) noexcept {
  const TimeNs longest = std::clamp<TimeNs>(policy.open_max_ns, kMs, kOpenLongestNs);
  const TimeNs first = std::clamp<TimeNs>(policy.open_ns, kMs, longest);
  const double growth = within(policy.growth, 1.0, 100.0, 2.0);
  const double grown =
      std::min(static_cast<double>(first) * std::pow(growth, std::min(trips, kTripsMax)),
               static_cast<double>(longest));
  const double jitter = within(policy.jitter, 0.0, 1.0, 0.0);
  const double drawn = chance >= 0.0 && chance <= 1.0 ? chance : 0.5;
  return static_cast<TimeNs>(grown * (1.0 - jitter / 2.0 + jitter * drawn));
}

BreakerStep breaker_ask(BreakerWord word, TimeNs now_ns, std::uint32_t owner,
                        const BreakerPolicy& policy) noexcept {
  if (breaker_passes(word)) return {word, BreakerVerdict::admit, 0};
  BreakerFields fields = breaker_fields(word);
  if (fields.state == BreakerState::forced_open)
    return {word, BreakerVerdict::refuse, std::clamp<TimeNs>(policy.open_ns, kMs, kOpenLongestNs)};
  const bool probing = fields.state == BreakerState::probing;
  const TimeNs probe_ns = std::clamp<TimeNs>(policy.probe_ns, kMs, kOpenLongestNs);
  const TimeNs left = left_ns(fields.due, now_ns, probing ? probe_ns : open_longest_ns(policy));
  if (left > 0) return {word, BreakerVerdict::refuse, left};
  fields.state = BreakerState::probing;
  fields.owner = owner & kBreakerOwnerMax;
  // A new number for each probe: the answer to one that was given up is not taken for this one's.
  fields.generation = (fields.generation + 1) & kGenerationMask;
  fields.due = unit_of(now_ns) + units(probe_ns);
  return {breaker_word(fields), BreakerVerdict::probe, 0};
}

BreakerWord breaker_trip(BreakerWord word, std::uint32_t generation, TimeNs now_ns, double chance,
                         const BreakerPolicy& policy) noexcept {
  BreakerFields fields = breaker_fields(word);
  if (fields.state != BreakerState::closed || fields.generation != generation) return word;
  const TimeNs calm_ns = std::clamp<TimeNs>(policy.calm_ns, 0, kOpenLongestNs);
  const std::uint32_t closed_for = unit_of(now_ns) - fields.due;
  const bool first = word == 0 || closed_for >= units(calm_ns);
  fields.trips = first ? 0 : std::min(fields.trips + 1, kTripsMax);
  return breaker_word(opened(fields, now_ns, chance, policy));
}

BreakerWord breaker_probed(BreakerWord word, std::uint32_t generation, std::uint32_t owner,
                           bool good, TimeNs now_ns, double chance,
                           const BreakerPolicy& policy) noexcept {
  BreakerFields fields = breaker_fields(word);
  if (fields.state != BreakerState::probing || fields.generation != generation ||
      fields.owner != (owner & kBreakerOwnerMax))
    return word;
  if (!good) {
    fields.trips = std::min(fields.trips + 1, kTripsMax);
    return breaker_word(opened(fields, now_ns, chance, policy));
  }
  ++fields.good_probes;
  fields.owner = 0;
  fields.due = unit_of(now_ns);
  if (fields.good_probes >= std::clamp(policy.probes_needed, 1U, kGoodMax)) {
    fields.state = BreakerState::closed;
    fields.good_probes = 0;
    fields.generation = (fields.generation + 1) & kGenerationMask;
  } else {
    fields.state = BreakerState::open;  // and due: the next request is the next probe
  }
  return breaker_word(fields);
}

BreakerWord breaker_abandon(BreakerWord word, std::uint32_t owner, TimeNs now_ns) noexcept {
  BreakerFields fields = breaker_fields(word);
  if (fields.state != BreakerState::probing || fields.owner != (owner & kBreakerOwnerMax))
    return word;
  fields.state = BreakerState::open;
  fields.owner = 0;
  fields.due = unit_of(now_ns);
  return breaker_word(fields);
}

BreakerWord breaker_force(BreakerWord word, BreakerState state, TimeNs now_ns) noexcept {
  if (state == BreakerState::open || state == BreakerState::probing) return word;
  BreakerFields fields = breaker_fields(word);
  fields.state = state;
  fields.trips = 0;
  fields.good_probes = 0;
  fields.owner = 0;
  fields.generation = (fields.generation + 1) & kGenerationMask;
  fields.due = unit_of(now_ns);
  return breaker_word(fields);
}

}  // namespace weir::adaptive
