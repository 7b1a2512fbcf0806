// A limit's book: up to when tokens were minted, and the level at that moment, in one word, so
// that a minter claims an interval of time by one compare-and-swap and two minters can never be
// paid for the same time.
//
//   bits 63..20  time of the minted-up-to instant, in units of 64 ns, modulo 2^44 (13 days)
//   bits 19..0   level: 5 bits of exponent, 15 bits of mantissa, rounded up
//
// The encoding does not depend on the rule, so that a minter holding an outdated rule still reads
// the book right. Rounding the level up, like rounding the time up, only ever pays less.
#pragma once

#include <bit>
#include <cstdint>

namespace weir::shm {

inline constexpr int kBookUnitShift = 6;
inline constexpr std::int64_t kBookUnitNs = 1 << kBookUnitShift;
inline constexpr std::uint64_t kBookTimeMask = (1ULL << 44) - 1;
// A time that lies less than this ahead of now is a clock that is a little ahead or a hostile
// writer; anything else is the past. In nanoseconds: 1/16 of the range.
inline constexpr std::uint64_t kBookAheadUnits = 1ULL << 40;
inline constexpr int kLevelMantissaBits = 15;
inline constexpr std::uint64_t kLevelMax = ((1ULL << kLevelMantissaBits) - 1) << 31;

// The smallest encodable level that is at least `level`.
constexpr std::uint32_t encode_level(std::uint64_t level) noexcept {
  constexpr std::uint64_t kMantissaMax = (1ULL << kLevelMantissaBits) - 1;
  if (level > kLevelMax) level = kLevelMax;
  int exponent = static_cast<int>(std::bit_width(level)) - kLevelMantissaBits;
  if (exponent <= 0) return static_cast<std::uint32_t>(level);
  std::uint64_t mantissa = (level + (1ULL << exponent) - 1) >> exponent;
  if (mantissa > kMantissaMax) {
    ++exponent;
    mantissa = (level + (1ULL << exponent) - 1) >> exponent;
  }
  return static_cast<std::uint32_t>(exponent) << kLevelMantissaBits |
         static_cast<std::uint32_t>(mantissa);
}

constexpr std::uint64_t decode_level(std::uint32_t field) noexcept {
  const std::uint64_t mantissa = field & ((1U << kLevelMantissaBits) - 1);
  return mantissa << (field >> kLevelMantissaBits);
}

struct Book {
  std::int64_t time_ns = 0;  // not after now
  std::uint64_t level = 0;
};

// Times are rounded up to a unit: an interval may lose 64 ns, never gain any.
constexpr std::uint64_t encode_book(std::int64_t time_ns, std::uint64_t level) noexcept {
  const auto units =
      (static_cast<std::uint64_t>(time_ns) + (1U << kBookUnitShift) - 1) >> kBookUnitShift;
  return (units & kBookTimeMask) << 20 | encode_level(level);
}

// Reads a word that anybody may have written. A time ahead of now is taken as now, so a forged
// book can cost its limit tokens but never make any.
constexpr Book decode_book(std::uint64_t word, std::int64_t now_ns) noexcept {
  const auto now_units = static_cast<std::uint64_t>(now_ns) >> kBookUnitShift;
  const std::uint64_t behind = (now_units - (word >> 20)) & kBookTimeMask;
  Book book;
  book.level = decode_level(static_cast<std::uint32_t>(word & 0xfffff));
  book.time_ns = behind > kBookTimeMask - kBookAheadUnits
                     ? now_ns
                     : static_cast<std::int64_t>((now_units - behind) << kBookUnitShift);
  return book;
}

}  // namespace weir::shm
