// The office of minting: one word a domain, who may mint in it and until when. While the agent
// lives it renews its term every tick and clients find the office taken. When the term has run
// out, a refused client takes the office for a few milliseconds, mints for the limit that refused
// it, and lays it down.
//
// No promise of the bound depends on the office: the book's compare-and-swap protects the paid
// time, and the number on the bucket's word shuts out a mint that was overtaken. The office is
// thrift: it keeps refused clients from overtaking each other, and the agent, all the time.
//
//   bits 63..44  holder, never 0 while held; 1 is the agent
//   bits 43..0   expiry in units of 64 ns, modulo 2^44
#pragma once

#include <cstdint>

#include "shm/book.h"
#include "shm/layout.h"

namespace weir::shm {

inline constexpr std::uint32_t kAgentHolder = 1;
inline constexpr std::uint32_t kHolderMax = (1U << 20) - 1;
inline constexpr std::int64_t kOfficeTermMaxNs = 5'000'000'000;

constexpr std::uint64_t encode_office(std::uint32_t holder, std::int64_t expiry_ns) noexcept {
  return std::uint64_t{holder & kHolderMax} << 44 |
         ((static_cast<std::uint64_t>(expiry_ns) >> kBookUnitShift) & kBookTimeMask);
}

constexpr std::uint32_t office_holder(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> 44);
}

// Whether somebody holds the office now. A term longer than any that is ever taken is a forgery
// and does not count.
constexpr bool office_held(std::uint64_t word, std::int64_t now_ns) noexcept {
  if (office_holder(word) == 0) return false;
  const auto now_units = static_cast<std::uint64_t>(now_ns) >> kBookUnitShift;
  const std::uint64_t left = ((word & kBookTimeMask) - now_units) & kBookTimeMask;
  return left != 0 && left <= static_cast<std::uint64_t>(kOfficeTermMaxNs) >> kBookUnitShift;
}

// A term that this process holds. `word` is what lay_down compares with, so that a holder whose
// term ran out never takes the office from its successor.
struct Term {
  std::uint64_t word = 0;
  std::int64_t expiry_ns = 0;
  explicit operator bool() const noexcept { return word != 0; }
};

// Takes or renews the office. `mine` is the word of a term that the caller may renew early.
inline Term take_office(A64& office, std::uint32_t holder, std::int64_t now_ns,
                        std::int64_t term_ns, std::uint64_t mine = 0) noexcept {
  std::uint64_t seen = office.load(std::memory_order_relaxed);
  if (office_held(seen, now_ns) && (mine == 0 || seen != mine)) return {};
  Term term{encode_office(holder, now_ns + term_ns), now_ns + term_ns};
  // acquire: the former holder's deliveries are seen before this one reads a level.
  if (!office.compare_exchange_strong(seen, term.word, std::memory_order_acq_rel,
                                      std::memory_order_relaxed))
    return {};
  return term;
}

inline void lay_down_office(A64& office, const Term& term) noexcept {
  std::uint64_t seen = term.word;
  // release: what was minted under the term is visible to the next holder.
  office.compare_exchange_strong(seen, 0, std::memory_order_release, std::memory_order_relaxed);
}

}  // namespace weir::shm
