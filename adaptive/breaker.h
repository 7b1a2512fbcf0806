// A circuit breaker whose whole state is one word, shared by all processes of a host.
//
// Every change is a pure function from a word to the next one; whoever makes it stores it by
// compare-and-swap, and starts again from what it found if it lost. An all-zero word is closed. A
// word that nobody could have written is closed or due, so damage heals by itself.
//
//   closed   everything passes. Whoever sees the counts cross the policy trips it.
//   open     everything is refused until the time is up, which grows with each trip in a row.
//   probing  one request of the whole host is under way, with an owner and a deadline. Everybody
//            else is refused. If its owner dies, the next one takes over; if nobody notices the
//            death, the deadline does.
//   forced   by an operator; nothing else changes it.
//
// The states are those of Nygard, "Release It!", chapter 5. The generation is what sony/gobreaker
// has: the result of a request that began before the last change counts for nothing.
#pragma once

#include <cstdint>

#include "adaptive/units.h"

namespace weir::adaptive {

enum class BreakerState : std::uint8_t {
  closed = 0,
  open = 1,
  probing = 2,
  forced_open = 3,
  forced_closed = 4,
};

struct BreakerPolicy {
  // Counts over the window, of all processes. 0 turns a rule off.
  TimeNs window_ns = 10 * kSecond;
  std::uint64_t volume_min = 20;
  std::uint32_t failed_permille = 500;
  std::uint32_t slow_permille = 0;  // of requests slower than the caller's threshold
  std::uint32_t consecutive_failures = 5;

  TimeNs open_ns = 5 * kSecond;
  TimeNs open_max_ns = 300 * kSecond;
  double growth = 2.0;
  double jitter = 0.5;              // open for 1 - jitter/2 .. 1 + jitter/2 of the time
  TimeNs probe_ns = 2 * kSecond;    // then a probe without an answer counts as lost
  std::uint32_t probes_needed = 1;  // good ones in a row, at most 7
  TimeNs calm_ns = 60 * kSecond;    // closed for so long, the next trip starts from open_ns again
};

enum class BreakerVerdict : std::uint8_t { admit, refuse, probe };

using BreakerWord = std::uint64_t;

// state 3 | trips 4 | good probes 3 | generation 10 | owner 12 | time 32, in units of 8 ms.
struct BreakerFields {
  BreakerState state = BreakerState::closed;
  std::uint32_t trips = 0;
  std::uint32_t good_probes = 0;
  std::uint32_t generation = 0;
  std::uint32_t owner = 0;  // of the probe: the number of a process' slot
  std::uint32_t due = 0;    // when an open one may be probed, a probe is lost, a closed one closed
};

inline constexpr TimeNs kBreakerUnitNs = 8 * kMs;
inline constexpr std::uint32_t kBreakerOwnerMax = 4095;

BreakerFields breaker_fields(BreakerWord word) noexcept;
BreakerWord breaker_word(const BreakerFields& fields) noexcept;

constexpr std::uint32_t breaker_generation(BreakerWord word) noexcept {
  return static_cast<std::uint32_t>(word >> 10) & 0x3ffU;
}
// The hot path: one comparison, and nothing else is looked at.
constexpr bool breaker_passes(BreakerWord word) noexcept {
  const auto state = static_cast<std::uint32_t>(word & 7U);
  return state == 0 || state >= 4;
}

struct BreakerStep {
  BreakerWord word = 0;  // store it if it differs; who loses the race asks again
  BreakerVerdict verdict = BreakerVerdict::admit;
  TimeNs retry_after_ns = 0;  // of a refusal
};

BreakerStep breaker_ask(BreakerWord word, TimeNs now_ns, std::uint32_t owner,
                        const BreakerPolicy& policy) noexcept;

// `chance` is drawn by the caller from 0..1; anything else counts as the middle. Only a closed word
// trips, and only by counts of its own generation.
BreakerWord breaker_trip(BreakerWord word, std::uint32_t generation, TimeNs now_ns, double chance,
                         const BreakerPolicy& policy) noexcept;

// The answer to a probe. It changes nothing unless this owner's probe of this generation is the one
// that is under way.
BreakerWord breaker_probed(BreakerWord word, std::uint32_t generation, std::uint32_t owner,
                           bool good, TimeNs now_ns, double chance,
                           const BreakerPolicy& policy) noexcept;

// The owner's process is gone, or gives its probe up unused: the next request probes.
BreakerWord breaker_abandon(BreakerWord word, std::uint32_t owner, TimeNs now_ns) noexcept;

// forced_open, forced_closed, or closed to let go.
BreakerWord breaker_force(BreakerWord word, BreakerState state, TimeNs now_ns) noexcept;

TimeNs breaker_open_ns(std::uint32_t trips, double chance, const BreakerPolicy& policy) noexcept;

}  // namespace weir::adaptive
