// Counting what is in flight so that no death leaks anything.
//
// The truth is one word for each stripe of each process, which its owner alone writes; the total of
// the host is a cache, so that a client needs one word to decide. A client that enters marks its
// stripe `entering`, raises the total, and then raises its stripe and clears the mark in one store;
// leaving marks `leaving`, lowers its stripe, lowers the total, and clears the mark. The mark says
// of a dead owner that the total may be one too high or not, and of a living one that a difference
// is on its way and no leak.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "adaptive/units.h"

namespace weir::adaptive {

// count 20 bits | moves 10 | phase 2 | generation 16 | owner 16. All-zero is a free stripe.
using StripeWord = std::uint64_t;

enum class StripePhase : std::uint8_t { idle = 0, entering = 1, leaving = 2 };

struct Stripe {
  std::uint32_t count = 0;
  std::uint32_t moves = 0;  // grows with each enter and leave, and wraps
  StripePhase phase = StripePhase::idle;
  std::uint16_t generation = 0;  // of the owner's slot: one that was reused is another
  std::uint16_t owner = 0;
};

inline constexpr std::uint32_t kStripeCountMax = (1U << 20) - 1;
inline constexpr std::uint32_t kStripeMovesMask = 0x3ff;

constexpr StripeWord stripe_word(const Stripe& stripe) noexcept {
  return std::min(stripe.count, kStripeCountMax) |
         static_cast<std::uint64_t>(stripe.moves & kStripeMovesMask) << 20 |
         static_cast<std::uint64_t>(stripe.phase) << 30 |
         static_cast<std::uint64_t>(stripe.generation) << 32 |
         static_cast<std::uint64_t>(stripe.owner) << 48;
}
constexpr Stripe stripe_of(StripeWord word) noexcept {
  const auto phase = static_cast<std::uint32_t>(word >> 30) & 3U;
  return {.count = static_cast<std::uint32_t>(word) & kStripeCountMax,
          .moves = static_cast<std::uint32_t>(word >> 20) & kStripeMovesMask,
          .phase = phase <= 2 ? static_cast<StripePhase>(phase) : StripePhase::idle,
          .generation = static_cast<std::uint16_t>(word >> 32),
          .owner = static_cast<std::uint16_t>(word >> 48)};
}

// The four stores of the protocol.
constexpr StripeWord stripe_entering(StripeWord word) noexcept {
  Stripe stripe = stripe_of(word);
  stripe.phase = StripePhase::entering;
  return stripe_word(stripe);
}
constexpr StripeWord stripe_entered(StripeWord word, std::uint32_t permits) noexcept {
  Stripe stripe = stripe_of(word);
  const std::uint64_t count = std::uint64_t{stripe.count} + permits;
  stripe.count = count > kStripeCountMax ? kStripeCountMax : static_cast<std::uint32_t>(count);
  ++stripe.moves;
  stripe.phase = StripePhase::idle;
  return stripe_word(stripe);
}
constexpr StripeWord stripe_leaving(StripeWord word, std::uint32_t permits) noexcept {
  Stripe stripe = stripe_of(word);
  stripe.count -= stripe.count < permits ? stripe.count : permits;
  stripe.phase = StripePhase::leaving;
  return stripe_word(stripe);
}
constexpr StripeWord stripe_settled(StripeWord word) noexcept {
  Stripe stripe = stripe_of(word);
  ++stripe.moves;
  stripe.phase = StripePhase::idle;
  return stripe_word(stripe);
}

// A look at all stripes, read twice: before the total and after it. What a stripe claims above
// `stripe_max` is damage and counts as that many.
struct Headcount {
  std::uint64_t in_flight = 0;  // of living owners, the larger of both readings
  std::uint64_t moving = 0;     // living stripes that may have changed around the reading
  std::uint64_t dead = 0;       // claimed by owners that are gone
};

// `alive` says of (owner, generation) whether that process lives.
template <class Alive>
Headcount headcount(std::span<const StripeWord> before, std::span<const StripeWord> after,
                    std::uint32_t stripe_max, Alive&& alive) noexcept {
  Headcount sum;
  for (std::size_t i = 0; i < std::min(before.size(), after.size()); ++i) {
    const Stripe then = stripe_of(before[i]);
    const Stripe now = stripe_of(after[i]);
    const bool lives = alive(now.owner, now.generation);
    const std::uint64_t count =
        std::min(lives ? std::max(then.count, now.count) : now.count, stripe_max);
    if (!lives) {
      sum.dead = sat_add(sum.dead, count);
      continue;
    }
    sum.in_flight = sat_add(sum.in_flight, count);
    if (before[i] != after[i] || now.phase != StripePhase::idle) ++sum.moving;
  }
  return sum;
}

// Finds out by how much the total is off. Nobody can read all words at one instant; but a stripe
// that reads the same before and after the total, its number of moves included, had that count when
// the total was read, and one that does not was worth at most one move more. So a look never takes
// off more than the leak, unless a stripe made 1,024 moves in between, and the least of three looks
// is what counts. What a busy moment hides is found by the next recount.
class Recount {
 public:
  static constexpr int kLooks = 3;

  // `permits_max` is the most that one move may be worth.
  void look(std::uint64_t total, const Headcount& count, std::uint32_t permits_max) noexcept;
  bool ready() const noexcept { return looks_ >= kLooks; }
  // After kLooks looks: what to add to the total, by fetch_add, so that nobody's move is lost.
  std::int64_t correction() noexcept;

 private:
  int looks_ = 0;
  std::uint64_t surplus_ = UINT64_MAX;
  std::uint64_t deficit_ = UINT64_MAX;
};

// Has a holder had its permit for longer than allowed? A time in the future is damage: it begins
// to count when it is first seen, which the caller does by storing `now`.
constexpr bool lease_expired(TimeNs entered_ns, TimeNs now_ns, TimeNs lease_ns) noexcept {
  return lease_ns > 0 && since(entered_ns, now_ns) > lease_ns;
}

// How a limit is divided among tenants or classes without one starving: a part may use what others
// leave, but the reserved share of every other part stays free for it. Admits iff both hold. In
// contrast to partitions that count only once the whole limit is reached, the sum never exceeds it.
struct ReservedPart {
  std::uint64_t in_flight = 0;
  std::uint64_t reserved = 0;
};
bool reserved_admits(std::span<const ReservedPart> parts, std::size_t own,
                     std::uint64_t limit) noexcept;

}  // namespace weir::adaptive
