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

inline constexpr std::uint32_t kStripeCountMask = (1U << 20) - 1;
inline constexpr std::uint32_t kStripeMovesMask = 0x3ff;

constexpr StripeWord stripe_word(const Stripe& stripe) noexcept {
  return (stripe.count & kStripeCountMask) |
         static_cast<std::uint64_t>(stripe.moves & kStripeMovesMask) << 20 |
         static_cast<std::uint64_t>(stripe.phase) << 30 |
         static_cast<std::uint64_t>(stripe.generation) << 32 |
         static_cast<std::uint64_t>(stripe.owner) << 48;
}
constexpr Stripe stripe_of(StripeWord word) noexcept {
  const auto phase = static_cast<std::uint32_t>(word >> 30) & 3U;
  return {.count = static_cast<std::uint32_t>(word) & kStripeCountMask,
          .moves = static_cast<std::uint32_t>(word >> 20) & kStripeMovesMask,
          .phase = phase <= 2 ? static_cast<StripePhase>(phase) : StripePhase::idle,
          .generation = static_cast<std::uint16_t>(word >> 32),
          .owner = static_cast<std::uint16_t>(word >> 48)};
}

// The four stores of the protocol, on the bits themselves: they are on the hot path. Counts wrap: a
// permit that one thread took and another gives back leaves the one's stripe a count too high for
// ever and the other's one too low, and only their sum means anything.
inline constexpr StripeWord kStripeMove = StripeWord{1} << 20;
inline constexpr StripeWord kStripeMovesField = StripeWord{kStripeMovesMask} << 20;
inline constexpr StripeWord kStripePhaseField = StripeWord{3} << 30;

constexpr StripeWord stripe_counting(StripeWord word, std::uint64_t permits) noexcept {
  return (word & ~StripeWord{kStripeCountMask}) | ((word + permits) & kStripeCountMask);
}
constexpr StripeWord stripe_in_phase(StripeWord word, StripePhase phase) noexcept {
  return (word & ~kStripePhaseField) | static_cast<StripeWord>(phase) << 30;
}
constexpr StripeWord stripe_settled(StripeWord word) noexcept {
  return (word & ~(kStripeMovesField | kStripePhaseField)) |
         ((word + kStripeMove) & kStripeMovesField);
}
constexpr StripeWord stripe_entering(StripeWord word) noexcept {
  return stripe_in_phase(word, StripePhase::entering);
}
constexpr StripeWord stripe_entered(StripeWord word, std::uint32_t permits) noexcept {
  return stripe_settled(stripe_counting(word, permits));
}
constexpr StripeWord stripe_leaving(StripeWord word, std::uint32_t permits) noexcept {
  return stripe_in_phase(stripe_counting(word, std::uint64_t{0} - permits), StripePhase::leaving);
}

// A count as the number nearest to none that it may stand for.
constexpr std::int32_t signed_count(std::uint32_t count) noexcept {
  const std::uint32_t cut = count & kStripeCountMask;
  return static_cast<std::int32_t>(cut) - ((cut >> 19) != 0 ? 1 << 20 : 0);
}

// A look at all stripes, read twice: before the total and after it. What they held in between, when
// the total was read, lies between `low - moving` and `high + moving`.
struct Headcount {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  std::uint64_t moving = 0;  // what living stripes may have been off both readings in between
  std::uint64_t dead = 0;    // claimed by owners that are gone

  friend bool operator==(const Headcount&, const Headcount&) = default;
};

// Adds stripes up one by one, so that nobody needs memory for all of them. Not more than `most` are
// ever counted.
class HeadSum {
 public:
  constexpr void add(StripeWord before, StripeWord after, bool alive) noexcept {
    const Stripe then = stripe_of(before);
    const Stripe now = stripe_of(after);
    if (!alive) {
      dead_ += now.count;
      return;
    }
    base_ += then.count;
    const std::int32_t change = signed_count(now.count - then.count);
    (change > 0 ? rise_ : fall_) += static_cast<std::uint64_t>(change > 0 ? change : -change);
    // A stripe that made k moves was never further than half of them beyond both of its ends.
    if (before != after || now.phase != StripePhase::idle)
      moving_ += 1 + ((now.moves - then.moves) & kStripeMovesMask) / 2;
  }
  constexpr Headcount sum(std::uint64_t most) const noexcept {
    const std::int64_t base = signed_count(base_);
    const auto cut = [most](std::int64_t value) {
      return std::min(static_cast<std::uint64_t>(std::max<std::int64_t>(0, value)), most);
    };
    return {.high = cut(base + static_cast<std::int64_t>(rise_)),
            .low = cut(base - static_cast<std::int64_t>(fall_)),
            .moving = moving_,
            .dead = cut(signed_count(dead_))};
  }

 private:
  std::uint32_t base_ = 0;
  std::uint32_t dead_ = 0;
  std::uint64_t rise_ = 0;
  std::uint64_t fall_ = 0;
  std::uint64_t moving_ = 0;
};

// Finds out by how much the total is off. Nobody can read all words at one instant; but a stripe
// that reads the same before and after the total, its number of moves included, had that count when
// the total was read, and of one that does not the moves say how far it may have been. So a look
// never takes off more than the leak, unless a stripe made 1,024 moves in between, and the least of
// three looks is what counts. What a busy moment hides is found by the next recount.
class Recount {
 public:
  static constexpr int kLooks = 3;

  void look(std::int64_t total, const Headcount& count) noexcept;
  bool ready() const noexcept { return looks_ >= kLooks; }
  // After kLooks looks: what to add to the total, by fetch_add, so that nobody's move is lost.
  std::int64_t correction() noexcept;

 private:
  int looks_ = 0;
  std::int64_t surplus_ = INT64_MAX;
  std::int64_t deficit_ = INT64_MAX;
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
