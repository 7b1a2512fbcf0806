// Minting: the one way in which tokens come to be. The agent runs this code every tick; a client
// that was refused and finds the agent gone runs the same code for its limit. Time is passed in.
//
// A mint reads the book; puts its number on the bucket's word, reading the level by the same
// instruction; reads the clock; plans what the time since the book's instant pays; claims that
// interval by one compare-and-swap on the book; and delivers by a compare-and-swap that succeeds
// only while its number is still on the word. So nobody is paid twice for an interval, and a
// minter that stops anywhere for any time, or dies, has lost tokens and never doubled them: the
// next mint's number shuts it out. tests/models has this as a Spin model, with a mutant for
// every rule.
//
// The rule that holds the bound: what an interval pays is clipped to
//     burst - level at the END of the previous mint,
// not to the room there is now. Time in which the bucket was full is not paid for, and a minter
// cannot see when in the interval the bucket was emptied. Clipping to the present room admits up
// to one more interval's worth, see docs/semantics.md.
#pragma once

#include <algorithm>
#include <cstdint>

#include "shm/book.h"
#include "shm/bucket.h"
#include "shm/layout.h"
#include "shm/office.h"
#include "shm/wide.h"

namespace weir::shm {

inline constexpr int kMintRoundsMax = 8;  // a lease, its tail, what follows, and lost races
// A delivery that loses this often against callers is given up; its tokens are lost.
inline constexpr int kDeliverAttemptsMax = 4096;
// A book whose time is older than this is rewritten even when nothing changed, long before the
// modulus of its time could make old look recent.
inline constexpr std::int64_t kBookRefreshNs = 3'600'000'000'000;
inline constexpr std::int64_t kForever = INT64_MAX;

// A rate and a capacity, as one policy uses them.
struct MintRule {
  Algorithm algorithm = Algorithm::none;
  std::uint64_t amount = 0;
  std::uint64_t period_ns = 0;
  std::uint64_t burst = 0;
  std::int64_t edge_mono_ns = 0;          // fixed windows
  std::int64_t until_mono_ns = kForever;  // the rule holds before this instant
};

inline constexpr std::uint64_t kTailBurstAsRule = UINT64_MAX;

// A limit's own rule and what follows it when nobody renews the lease.
struct LimitTerms {
  Algorithm algorithm = Algorithm::none;
  Fallback fallback = Fallback::closed;
  std::uint64_t amount = 0, period_ns = 0, burst = 0;
  std::uint64_t tail_amount = 0, tail_period_ns = 0;
  std::uint64_t tail_burst = kTailBurstAsRule;
  std::uint64_t safe_amount = 0, safe_period_ns = 0, safe_burst = 0;
  std::int64_t lease_end_mono_ns = 0, tail_end_mono_ns = 0, edge_mono_ns = 0;

  // The rule in force at an instant: the lease's, then the tail's, then the safe rate.
  constexpr MintRule at(std::int64_t mono_ns) const noexcept {
    if (mono_ns < lease_end_mono_ns)
      return {algorithm, amount, period_ns, burst, edge_mono_ns, lease_end_mono_ns};
    if (mono_ns < tail_end_mono_ns)
      return {algorithm,    tail_amount,     tail_period_ns, std::min(tail_burst, burst),
              edge_mono_ns, tail_end_mono_ns};
    if (fallback != Fallback::local)
      return {algorithm, 0, period_ns, burst, edge_mono_ns, kForever};
    return {algorithm, safe_amount, safe_period_ns, safe_burst, edge_mono_ns, kForever};
  }
  // The rule that the mint of an interval starting at the book's instant goes by. A sliding window
  // pays for quiet, not for an interval, so only its rule of now counts.
  constexpr MintRule rule_for(const Book& book, std::int64_t now_ns) const noexcept {
    return at(algorithm == Algorithm::sliding_window ? now_ns : book.time_ns);
  }
  // Whether the limit lets everything through now, for want of anybody who could say otherwise.
  constexpr bool opened(std::int64_t mono_ns) const noexcept {
    return fallback == Fallback::open && mono_ns >= lease_end_mono_ns &&
           mono_ns >= tail_end_mono_ns;
  }
};

struct MintPlan {
  std::uint64_t pay = 0;     // tokens to deliver after the claim
  std::uint64_t fold = 0;    // of them refunds
  std::uint64_t left = 0;    // what of the level is believed
  std::int64_t time_ns = 0;  // the book's new entries
  std::uint64_t level = 0;
  bool forged = false;        // the level was above anything that a mint left there
  std::uint64_t lowered = 0;  // tokens that a lowered burst takes out
  bool write = false;         // the book has to change
  bool more = false;          // a further round is needed to catch up with now
};

// The newest edge that is not after `now`, or the instant before all edges.
constexpr std::int64_t newest_edge(const MintRule& rule, std::int64_t now_ns) noexcept {
  if (now_ns < rule.edge_mono_ns || rule.period_ns == 0) return INT64_MIN;
  const auto past = static_cast<std::uint64_t>(now_ns - rule.edge_mono_ns);
  return now_ns - static_cast<std::int64_t>(past % rule.period_ns);
}

namespace detail {

constexpr void plan_bucket(MintPlan& plan, const MintRule& rule, const Book& book,
                           std::uint64_t left, std::int64_t now_ns) noexcept {
  const std::uint64_t room = rule.burst - std::min(book.level, rule.burst);
  const auto elapsed = static_cast<std::uint64_t>(now_ns - book.time_ns);
  const std::uint64_t accrued =
      rule.amount == 0 ? 0 : mul_div_down(elapsed, rule.amount, rule.period_ns);
  plan.pay = std::min(accrued, room);
  // Clipped: the bucket was full for a while, and that time is gone. Otherwise what is not yet a
  // whole token stays in the time.
  plan.time_ns = accrued >= room ? now_ns
                 : plan.pay == 0 ? book.time_ns
                                 : book.time_ns + static_cast<std::int64_t>(mul_div_up(
                                                      plan.pay, rule.period_ns, rule.amount));
  plan.level = left + plan.pay;
}

constexpr void plan_fixed(MintPlan& plan, const MintRule& rule, const Book& book,
                          std::uint64_t left, std::int64_t now_ns) noexcept {
  // At the edge: what was left at the last mint before it counts, not what is left now, since
  // tokens of the old window may have been spent after the edge.
  if (book.time_ns < newest_edge(rule, now_ns))
    plan.pay = rule.burst - std::min(book.level, rule.burst);
  plan.time_ns = now_ns;
  plan.level = left + plan.pay;
}

// Without the agent's record of what was spent when, a sliding window is refilled once nothing
// was spent from it for a whole window: then all that was spent has left every window.
constexpr void plan_sliding(MintPlan& plan, const MintRule& rule, const Book& book,
                            std::uint64_t left, std::int64_t now_ns) noexcept {
  const bool quiet = encode_level(left) == encode_level(book.level);
  const auto elapsed = static_cast<std::uint64_t>(now_ns - book.time_ns);
  plan.time_ns = quiet ? book.time_ns : now_ns;
  if (quiet && elapsed >= rule.period_ns && left < rule.burst) {
    // The book's level is rounded up, so what was spent unseen in its rounding is not paid.
    plan.pay = rule.burst - std::min(book.level, rule.burst);
    plan.time_ns = now_ns;
  }
  plan.level = left + plan.pay;
}

}  // namespace detail

// What the time from the book's instant to `now` pays. `level` is what was in the bucket, read
// after the book and before the clock; `returned` are the refunds since the last mint.
constexpr MintPlan plan_mint(const MintRule& rule, const Book& book, std::uint64_t level,
                             std::uint64_t returned, std::int64_t now_ns) noexcept {
  MintPlan plan;
  const std::uint64_t most = std::min(book.level, rule.burst);
  // More than the last mint left there is forged, and more than the burst was minted under a
  // larger one. Both are cut off.
  const std::uint64_t left = std::min(level, most);
  plan.left = left;
  plan.forged = level > book.level;
  plan.lowered = std::min(level, book.level) - left;
  const bool cut_short = now_ns > rule.until_mono_ns;
  const std::int64_t end_ns = std::max(cut_short ? rule.until_mono_ns : now_ns, book.time_ns);
  switch (rule.algorithm) {
    case Algorithm::token_bucket:
    case Algorithm::leaky_bucket:
      detail::plan_bucket(plan, rule, book, left, end_ns);
      break;
    case Algorithm::fixed_window:
      detail::plan_fixed(plan, rule, book, left, end_ns);
      break;
    case Algorithm::sliding_window:
      detail::plan_sliding(plan, rule, book, left, end_ns);
      break;
    case Algorithm::none:
      plan.time_ns = end_ns;
      plan.level = left;
      break;
  }
  if (cut_short) {
    // The next rule starts at its own instant; a fraction of a token is lost between the two.
    plan.time_ns = end_ns;
    plan.more = true;
  }
  // A refund goes through the same clip as time does; what has no room under the last level is
  // void. Kept for later, a refund into a full bucket would be paid beside what time pays.
  const std::uint64_t room = rule.burst - std::min(most + plan.pay, rule.burst);
  const std::uint64_t fold = std::min(returned, room);
  plan.fold = fold;
  plan.pay += fold;
  plan.level += fold;
  // Filled by a refund: the time since the last whole token is gone like any time when full.
  if (fold > 0 && fold == room) plan.time_ns = std::max(plan.time_ns, end_ns);
  // A claim always moves the book's time on, so that a word never comes back.
  if (fold > 0 && plan.time_ns <= book.time_ns) plan.time_ns = book.time_ns + kBookUnitNs;
  plan.write = plan.pay > 0 || plan.more || level > most ||
               encode_level(plan.level) != encode_level(book.level) ||
               now_ns - book.time_ns > kBookRefreshNs ||
               (plan.time_ns > book.time_ns && plan.level < rule.burst &&
                rule.algorithm != Algorithm::fixed_window);
  return plan;
}

// Puts a new mint number on the bucket's word; returns the word as it is now. From here on no
// earlier mint can deliver.
inline std::uint64_t fence(CounterSlot& slot) noexcept {
  // acq_rel: the level read is at least as new as the book read before, and the clock is read
  // after it.
  return slot.tokens.fetch_add(kMintUnit, std::memory_order_acq_rel) + kMintUnit;
}

// Brings tokens under the number of `fenced`: what is there, at least nothing and at most `keep`,
// and `add` more. Heals losers, cuts what is forged and pays in one step. False when a later mint
// has put its number there; then nothing happened.
inline bool deliver(CounterSlot& slot, std::uint64_t fenced, std::uint64_t keep,
                    std::uint64_t add) noexcept {
  std::uint64_t word = slot.tokens.load(std::memory_order_relaxed);
  for (int i = 0; i < kDeliverAttemptsMax; ++i) {
    if (mint_of(word) != mint_of(fenced)) return false;
    const std::int64_t there =
        std::clamp<std::int64_t>(tokens_of(word), 0, static_cast<std::int64_t>(keep));
    const std::uint64_t next =
        token_word(mint_of(word), there + static_cast<std::int64_t>(std::min(add, kBurstMax)));
    if (slot.tokens.compare_exchange_weak(word, next, std::memory_order_acq_rel,
                                          std::memory_order_relaxed))
      return true;
  }
  return false;
}

// Opens the gate: after tokens were added, never before.
inline void open_gate(CounterSlot& slot) noexcept {
  // release: a caller who sees the new epoch sees the tokens.
  slot.epoch.fetch_add(1, std::memory_order_release);
}

// Whether the newest refusal is noted and nothing was added since.
inline bool gate_shut(const CounterSlot& slot) noexcept {
  return slot.closed.load(std::memory_order_relaxed) >> 24 ==
         (slot.epoch.load(std::memory_order_relaxed) & (~0ULL >> 24));
}

// Opens a gate that is shut over more than it shows, whoever filled the bucket: a minter that was
// killed between its delivery and this would otherwise leave a full bucket shut for ever.
inline void reopen_gate(CounterSlot& slot) noexcept {
  const std::uint64_t noted = slot.closed.load(std::memory_order_relaxed) & kGateLevelMax;
  if (gate_shut(slot) && bucket_level(slot) > noted) open_gate(slot);
}

struct MintResult {
  std::uint64_t delivered = 0;
  std::uint64_t folded = 0;  // of them refunds
  std::uint64_t lost = 0;    // claimed, and then a later mint was first
  bool forged = false;       // tokens that nobody minted were taken out
  bool moved_in = false;
  std::uint64_t level = 0;  // as entered in the book
};

// Mints for one limit. `elsewhere()` is the part of the level that lies outside the bucket's word
// (stripes, and what is put by for waiters); `move_in` of it goes into the bucket on this occasion.
// To be followed by finish_mint.
template <class Clock, class Elsewhere>
MintResult mint(CounterSlot& slot, const LimitTerms& terms, const Elsewhere& elsewhere,
                std::uint64_t move_in, const Clock& clock_mono_ns) noexcept {
  MintResult result;
  for (int round = 0; round < kMintRoundsMax; ++round) {
    // acquire: what is read next is at least as new as the book.
    std::uint64_t word = slot.book.load(std::memory_order_acquire);
    const std::uint64_t outside = elsewhere();
    const auto plan_with = [&](std::uint64_t level, std::uint64_t returned) {
      const std::int64_t now_ns = clock_mono_ns();  // after the words, never before
      Book book = decode_book(word, now_ns);
      // What lies elsewhere was there at the last mint, whatever a forged book says.
      book.level = std::max(book.level, outside);
      return plan_mint(terms.rule_for(book, now_ns), book, level + outside, returned, now_ns);
    };
    // Most ticks find nothing to do; they write nothing.
    const std::uint64_t waiting = slot.returned.load(std::memory_order_relaxed);
    const MintPlan glance = plan_with(bucket_level(slot), waiting);
    result.level = glance.level;
    if (!glance.write && move_in == 0) {
      if (waiting != 0) slot.returned.store(0, std::memory_order_relaxed);
      break;
    }
    const std::uint64_t fenced = fence(slot);
    const std::int64_t seen = tokens_of(fenced);
    const std::uint64_t returned = slot.returned.exchange(0, std::memory_order_relaxed);
    const MintPlan plan =
        plan_with(seen <= 0 ? 0 : std::min(static_cast<std::uint64_t>(seen), kBurstMax), returned);
    result.forged = result.forged || plan.forged;
    result.level = plan.level;
    if (!slot.book.compare_exchange_strong(word, encode_book(plan.time_ns, plan.level),
                                           std::memory_order_acq_rel, std::memory_order_relaxed))
      break;
    const std::uint64_t keep = plan.left - std::min(plan.left, outside);
    if (!deliver(slot, fenced, keep, plan.pay + move_in)) {
      result.lost += plan.pay;
      break;
    }
    if (plan.pay > 0) slot.minted_total.fetch_add(plan.pay, std::memory_order_relaxed);
    if (plan.lowered > 0) slot.cut_total.fetch_add(plan.lowered, std::memory_order_relaxed);
    result.delivered += plan.pay;
    result.folded += plan.fold;
    result.moved_in = result.moved_in || move_in > 0;
    move_in = 0;
    if (!plan.more) break;
  }
  return result;
}

// The last step of a mint: whoever waits or has a stripe has been served by now.
inline void finish_mint(CounterSlot& slot, const MintResult& result) noexcept {
  if (result.delivered > 0 || result.moved_in)
    open_gate(slot);
  else
    reopen_gate(slot);
}

}  // namespace weir::shm
