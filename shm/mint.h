// Minting: the one way in which tokens come to be. The agent runs this code every tick; a client
// that was refused and finds the agent gone runs the same code for its limit. Time is passed in.
//
// A mint reads the book, then the bucket, then the clock; plans what the time since the book's
// instant pays; claims that interval by one compare-and-swap on the book; and only then brings
// the tokens. Nobody is paid twice for an interval, and a minter that dies on the way has lost
// tokens, never doubled them.
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

inline constexpr std::uint64_t kStepNs = 4'000'000;
inline constexpr std::uint64_t kStepsMax = 64;
inline constexpr int kMintRoundsMax = 96;
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
  std::int64_t edge_mono_ns = 0;      // fixed windows
  std::int64_t until_mono_ns = kForever;  // the rule holds before this instant
};

// A limit's own rule and what follows it when nobody renews the lease.
struct LimitTerms {
  Algorithm algorithm = Algorithm::none;
  Fallback fallback = Fallback::closed;
  std::uint64_t amount = 0, period_ns = 0, burst = 0;
  std::uint64_t tail_amount = 0, tail_period_ns = 0;
  std::uint64_t safe_amount = 0, safe_period_ns = 0, safe_burst = 0;
  std::int64_t lease_end_mono_ns = 0, tail_end_mono_ns = 0, edge_mono_ns = 0;

  // The rule in force at an instant: the lease's, then the tail's, then the safe rate.
  constexpr MintRule at(std::int64_t mono_ns) const noexcept {
    if (mono_ns < lease_end_mono_ns)
      return {algorithm, amount, period_ns, burst, edge_mono_ns, lease_end_mono_ns};
    if (mono_ns < tail_end_mono_ns)
      return {algorithm, tail_amount, tail_period_ns, burst, edge_mono_ns, tail_end_mono_ns};
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
  std::uint64_t pay = 0;      // tokens to deliver after the claim
  std::uint64_t fold = 0;     // of these, refunds taken over
  std::uint64_t drop = 0;     // refunds that came when the bucket was full again: void
  std::int64_t time_ns = 0;   // the book's new entries
  std::uint64_t level = 0;
  std::uint64_t cut_to = UINT64_MAX;  // what the bucket may hold at most; above it is forged
  bool write = false;         // the book has to change
  bool more = false;          // a further round is needed to catch up with now
};

// The newest edge that is not after `now`, or the instant before all edges.
constexpr std::int64_t newest_edge(const MintRule& rule, std::int64_t now_ns) noexcept {
  if (now_ns < rule.edge_mono_ns || rule.period_ns == 0) return INT64_MIN;
  const auto past = static_cast<std::uint64_t>(now_ns - rule.edge_mono_ns);
  return now_ns - static_cast<std::int64_t>(past % rule.period_ns);
}

// The largest amount that one claim may bring: what a minter that is stopped between its claim
// and its delivery can at worst bring late.
constexpr std::uint64_t step_tokens(const MintRule& rule) noexcept {
  if (rule.period_ns == 0) return 1;
  const std::uint64_t of_rate = mul_div_up(kStepNs, rule.amount, rule.period_ns);
  return std::max<std::uint64_t>({1, of_rate, (rule.burst + kStepsMax - 1) / kStepsMax});
}

namespace detail {

constexpr void plan_bucket(MintPlan& plan, const MintRule& rule, const Book& book,
                           std::uint64_t left, std::int64_t now_ns) noexcept {
  const std::uint64_t room = rule.burst - std::min(book.level, rule.burst);
  const auto elapsed = static_cast<std::uint64_t>(now_ns - book.time_ns);
  const std::uint64_t accrued =
      rule.amount == 0 ? 0 : mul_div_down(elapsed, rule.amount, rule.period_ns);
  const std::uint64_t step = step_tokens(rule);
  if (accrued > step && room > step) {
    // Too much for one claim. The level is not lowered by what was spent meanwhile: the next
    // round's room has to be what this one's would have been.
    plan.pay = step;
    plan.time_ns = book.time_ns +
                   static_cast<std::int64_t>(mul_div_up(step, rule.period_ns, rule.amount));
    plan.level = std::min(book.level, rule.burst) + step;
    plan.more = true;
    return;
  }
  plan.pay = std::min(accrued, room);
  // Clipped: the bucket was full for a while, and that time is gone. Otherwise what is not yet a
  // whole token stays in the time.
  plan.time_ns = accrued >= room ? now_ns
                 : plan.pay == 0
                     ? book.time_ns
                     : book.time_ns + static_cast<std::int64_t>(
                                          mul_div_up(plan.pay, rule.period_ns, rule.amount));
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
// after the book and before the clock; `returned` are refunds that wait to be folded in.
constexpr MintPlan plan_mint(const MintRule& rule, const Book& book, std::uint64_t level,
                             std::uint64_t returned, std::int64_t now_ns) noexcept {
  MintPlan plan;
  const std::uint64_t most = std::min(book.level, rule.burst);
  // More than the last mint left there: forged, brought late by a frozen minter, or a burst that
  // was just lowered. It is cut off.
  const std::uint64_t left = std::min(level, most);
  if (level > most) plan.cut_to = most;
  const bool cut_short = now_ns > rule.until_mono_ns;
  const std::int64_t end_ns = std::max(cut_short ? rule.until_mono_ns : now_ns, book.time_ns);
  switch (rule.algorithm) {
    case Algorithm::token_bucket:
    case Algorithm::leaky_bucket: detail::plan_bucket(plan, rule, book, left, end_ns); break;
    case Algorithm::fixed_window: detail::plan_fixed(plan, rule, book, left, end_ns); break;
    case Algorithm::sliding_window: detail::plan_sliding(plan, rule, book, left, end_ns); break;
    case Algorithm::none: plan.time_ns = end_ns; plan.level = left; break;
  }
  if (cut_short && !plan.more) {
    // The next rule starts at its own instant; a fraction of a token is lost between the two.
    plan.time_ns = end_ns;
    plan.more = true;
  }
  if (!plan.more) {
    // A refund goes through the same clip as time does. What finds no room under the last level,
    // but would find some now, waits for the next mint; what would not is void.
    const std::uint64_t room = rule.burst - std::min(most + plan.pay, rule.burst);
    plan.fold = std::min(returned, room);
    plan.pay += plan.fold;
    plan.level += plan.fold;
    const std::uint64_t waits = rule.burst - std::min(plan.level, rule.burst);
    plan.drop = returned - plan.fold - std::min(returned - plan.fold, waits);
  }
  plan.write = plan.pay > 0 || plan.more || encode_level(plan.level) != encode_level(book.level) ||
               now_ns - book.time_ns > kBookRefreshNs ||
               (plan.time_ns > book.time_ns && plan.level < rule.burst &&
                rule.algorithm != Algorithm::fixed_window);
  return plan;
}

struct MintResult {
  std::uint64_t delivered = 0;
  std::uint64_t lost = 0;   // claimed, then too late to deliver
  std::uint64_t cut = 0;    // forged or late tokens taken out
  std::uint64_t level = 0;  // as entered in the book
};

// Takes tokens above `most` out of the bucket; returns how many.
inline std::uint64_t cut_bucket(CounterSlot& slot, std::uint64_t most) noexcept {
  std::int64_t tokens = slot.tokens.load(std::memory_order_relaxed);
  for (int i = 0; i < kSpendAttemptsMax && tokens > static_cast<std::int64_t>(most); ++i)
    if (slot.tokens.compare_exchange_weak(tokens, static_cast<std::int64_t>(most),
                                          std::memory_order_relaxed))
      return static_cast<std::uint64_t>(tokens) - most;
  return 0;
}

// Brings tokens, and heals what losers left below zero. Healing is by compare-and-swap, or by what
// this very addition found: two deliveries that meet never heal the same losers twice.
inline void deliver(CounterSlot& slot, std::uint64_t pay) noexcept {
  const auto add = static_cast<std::int64_t>(pay);
  std::int64_t tokens = slot.tokens.load(std::memory_order_relaxed);
  for (int i = 0; i < kSpendAttemptsMax && tokens < 0; ++i)
    if (slot.tokens.compare_exchange_weak(tokens, add, std::memory_order_relaxed)) return;
  if (add == 0) return;
  const std::int64_t before = slot.tokens.fetch_add(add, std::memory_order_relaxed);
  if (before < 0) slot.tokens.fetch_add(-before, std::memory_order_relaxed);
}

// Opens the gate: after tokens were added, never before.
inline void open_gate(CounterSlot& slot) noexcept {
  // release: a caller who sees the new epoch sees the tokens.
  slot.epoch.fetch_add(1, std::memory_order_release);
}

inline std::uint64_t bucket_level(const CounterSlot& slot) noexcept {
  const std::int64_t tokens = slot.tokens.load(std::memory_order_relaxed);
  return tokens <= 0 ? 0 : std::min<std::uint64_t>(static_cast<std::uint64_t>(tokens), kBurstMax);
}

// Takes `fold` refunds over, before the claim: a minter that dies in between loses them.
inline std::uint64_t take_returned(CounterSlot& slot, std::uint64_t fold) noexcept {
  std::uint64_t returned = slot.returned.load(std::memory_order_relaxed);
  for (int i = 0; i < kSpendAttemptsMax && fold > 0 && returned > 0; ++i) {
    const std::uint64_t take = std::min(fold, returned);
    if (slot.returned.compare_exchange_weak(returned, returned - take, std::memory_order_relaxed))
      return take;
  }
  return 0;
}

// Mints for one limit under a term of the office. `elsewhere()` is the part of the level that lies
// outside the bucket's word (stripes, and what is put by for waiters); `place(pay)` brings the
// tokens, the plain way being deliver().
template <class Clock, class Elsewhere, class Place>
MintResult mint(CounterSlot& slot, const LimitTerms& terms, const Elsewhere& elsewhere,
                const Term& term, const Clock& clock_mono_ns, const Place& place) noexcept {
  MintResult result;
  for (int round = 0; round < kMintRoundsMax; ++round) {
    // acquire: the level read next is at least as new as the book.
    std::uint64_t word = slot.book.load(std::memory_order_acquire);
    const std::uint64_t outside = elsewhere();
    const std::uint64_t level = bucket_level(slot) + outside;
    const std::uint64_t returned = slot.returned.load(std::memory_order_relaxed);
    const std::int64_t now_ns = clock_mono_ns();  // after the words, never before
    const Book book = decode_book(word, now_ns);
    MintPlan plan = plan_mint(terms.rule_for(book, now_ns), book, level, returned, now_ns);
    if (plan.cut_to != UINT64_MAX)
      result.cut += cut_bucket(slot, plan.cut_to - std::min(plan.cut_to, outside));
    result.level = plan.level;
    if (plan.drop > 0) take_returned(slot, plan.drop);
    if (!plan.write) break;
    if (plan.fold > 0) {
      const std::uint64_t taken = take_returned(slot, plan.fold);
      plan.pay -= plan.fold - taken;
      plan.level -= plan.fold - taken;
    }
    if (!slot.book.compare_exchange_strong(word, encode_book(plan.time_ns, plan.level),
                                           std::memory_order_acq_rel, std::memory_order_relaxed))
      continue;
    if (plan.pay > 0) {
      // A minter that was stopped since its claim may no longer be alone: it drops what it holds.
      if (clock_mono_ns() >= term.expiry_ns) {
        result.lost += plan.pay;
        break;
      }
      place(plan.pay);
      slot.minted_total.fetch_add(plan.pay, std::memory_order_relaxed);
      result.delivered += plan.pay;
    }
    if (!plan.more) break;
  }
  return result;
}

}  // namespace weir::shm
