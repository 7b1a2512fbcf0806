// The bucket: how a client spends. Three words, three rules. Who adds tokens is in shm/mint.h.
//
//  1. Clients only subtract. A loser does not give back what it subtracted: an undo that comes
//     late lands on top of a bucket that was refilled meanwhile. Below zero means losers.
//  2. A loser shuts the gate: it notes, under the refill epoch that it read BEFORE it tried, the
//     level that it saw. Later calls that this level could not serve are refused from the gate's
//     line, which is shared and read-only while the bucket is dry. An epoch read after the failing
//     subtraction would shut the gate over a bucket that was refilled in between.
//  3. Minters add tokens first and raise the epoch after it, so an open gate always means that
//     the tokens are there.
//
// reference: the twenty ways in which simpler buckets over-admit are in docs/internals.md.
#pragma once

#include <algorithm>
#include <cstdint>

#include "shm/layout.h"

namespace weir::shm {

inline constexpr int kSpendAttemptsMax = 64;
inline constexpr std::uint64_t kGateLevelMax = (1ULL << 24) - 1;

enum class Spend : std::uint32_t { ok, refused };

// Whether the gate already knows that `n` tokens above `reserve` cannot be had. `epoch` is
// handed out for shut_gate.
inline bool gate_refuses(const CounterSlot& slot, std::uint64_t n, std::uint64_t reserve,
                         std::uint64_t& epoch) noexcept {
  // acquire: whoever sees the new epoch also sees the tokens that were added before it.
  epoch = slot.epoch.load(std::memory_order_acquire);
  const std::uint64_t closed = slot.closed.load(std::memory_order_relaxed);
  // `closed` is 0 before the first loss, and epochs start at 1.
  return closed >> 24 == (epoch & (~0ULL >> 24)) && n + reserve > (closed & kGateLevelMax);
}

inline void shut_gate(CounterSlot& slot, std::uint64_t epoch, std::int64_t seen) noexcept {
  // A level that does not fit would shut out requests that it could serve: leave the gate open.
  if (seen > static_cast<std::int64_t>(kGateLevelMax)) return;
  const std::uint64_t word = epoch << 24 | (seen <= 0 ? 0 : static_cast<std::uint64_t>(seen));
  // Thousands of losers see the same level; only the first of them needs to own the line.
  if (slot.closed.load(std::memory_order_relaxed) != word)
    slot.closed.store(word, std::memory_order_relaxed);
}

// One token, no reserve: one atomic.
inline Spend spend_one(CounterSlot& slot) noexcept {
  std::uint64_t epoch;
  if (gate_refuses(slot, 1, 0, epoch)) [[unlikely]]
    return Spend::refused;
  // relaxed: the word itself is all that is decided here; nothing else is published by it.
  const std::int64_t before = tokens_of(slot.tokens.fetch_sub(1, std::memory_order_relaxed));
  if (before >= 1) [[likely]]
    return Spend::ok;
  shut_gate(slot, epoch, before);
  return Spend::refused;
}

// Any number of tokens, leaving `reserve` to the classes above: compare-and-swap, because a
// subtraction that fails would hide tokens from callers who could have had them.
inline Spend spend_many(CounterSlot& slot, std::uint64_t n, std::uint64_t reserve) noexcept {
  std::uint64_t epoch;
  if (n > kBurstMax || reserve > kBurstMax) return Spend::refused;
  if (gate_refuses(slot, n, reserve, epoch)) return Spend::refused;
  const auto need = static_cast<std::int64_t>(n + reserve);
  std::uint64_t word = slot.tokens.load(std::memory_order_relaxed);
  for (int i = 0; i < kSpendAttemptsMax; ++i) {
    if (tokens_of(word) < need) {
      shut_gate(slot, epoch, tokens_of(word));
      return Spend::refused;
    }
    if (slot.tokens.compare_exchange_weak(word, word - n, std::memory_order_relaxed))
      return Spend::ok;
  }
  // Lost to 64 others in a row: they were served. A refusal here is spurious but bounded.
  return Spend::refused;
}

// Takes at most `most` of what is there; returns how many tokens that was.
inline std::uint64_t spend_up_to(CounterSlot& slot, std::uint64_t most) noexcept {
  std::uint64_t word = slot.tokens.load(std::memory_order_relaxed);
  for (int i = 0; i < kSpendAttemptsMax && tokens_of(word) > 0; ++i) {
    const std::uint64_t take = std::min(most, static_cast<std::uint64_t>(tokens_of(word)));
    if (slot.tokens.compare_exchange_weak(word, word - take, std::memory_order_relaxed))
      return take;
  }
  return 0;
}

// What a caller could take, at least 0.
inline std::uint64_t bucket_level(const CounterSlot& slot) noexcept {
  const std::int64_t tokens = tokens_of(slot.tokens.load(std::memory_order_relaxed));
  return tokens <= 0 ? 0 : std::min(static_cast<std::uint64_t>(tokens), kBurstMax);
}

}  // namespace weir::shm
