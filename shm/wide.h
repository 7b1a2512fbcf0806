// 64 x 64 / 64 arithmetic with a 128-bit middle, saturating, also where the compiler has no
// 128-bit integer (32-bit clients).
#pragma once

#include <cstdint>

namespace weir::shm {

namespace detail {

struct Wide {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
};

constexpr Wide multiply(std::uint64_t a, std::uint64_t b) noexcept {
  const std::uint64_t al = a & 0xffffffff, ah = a >> 32, bl = b & 0xffffffff, bh = b >> 32;
  const std::uint64_t mid = ah * bl + (al * bl >> 32);
  const std::uint64_t mid2 = al * bh + (mid & 0xffffffff);
  return {ah * bh + (mid >> 32) + (mid2 >> 32), a * b};
}

constexpr std::uint64_t fold_portable(std::uint64_t a, std::uint64_t b) noexcept {
  const Wide product = multiply(a, b);
  return product.low ^ product.high;
}

// value / divisor for a quotient that fits 64 bits; remainder through `rest`.
constexpr std::uint64_t divide(Wide value, std::uint64_t divisor, std::uint64_t& rest) noexcept {
  std::uint64_t remainder = value.high, quotient = 0;
  for (int bit = 63; bit >= 0; --bit) {
    const bool carry = remainder >> 63;
    remainder = remainder << 1 | (value.low >> bit & 1);
    if (carry || remainder >= divisor) {
      remainder -= divisor;
      quotient |= 1ULL << bit;
    }
  }
  rest = remainder;
  return quotient;
}

constexpr std::uint64_t mul_div_portable(std::uint64_t a, std::uint64_t b, std::uint64_t c,
                                         bool up) noexcept {
  const Wide product = multiply(a, b);
  if (product.high >= c) return UINT64_MAX;
  std::uint64_t rest = 0;
  const std::uint64_t quotient = divide(product, c, rest);
  return up && rest != 0 && quotient != UINT64_MAX ? quotient + 1 : quotient;
}

constexpr std::uint64_t mul_div(std::uint64_t a, std::uint64_t b, std::uint64_t c,
                                bool up) noexcept {
  if (c == 0) return UINT64_MAX;
#ifdef __SIZEOF_INT128__
  __extension__ using Native = unsigned __int128;
  const Native product = static_cast<Native>(a) * b;
  if (product >> 64 == 0) {  // the common case divides in 64 bits
    const auto low = static_cast<std::uint64_t>(product);
    return low / c + (up && low % c != 0 ? 1 : 0);
  }
  const Native quotient = product / c;
  if (quotient >> 64 != 0) return UINT64_MAX;
  const auto low = static_cast<std::uint64_t>(quotient);
  return up && quotient * c != product && low != UINT64_MAX ? low + 1 : low;
#else
  return mul_div_portable(a, b, c, up);
#endif
}

}  // namespace detail

// The lower half of a * b by exclusive or with its upper half.
constexpr std::uint64_t fold_product(std::uint64_t a, std::uint64_t b) noexcept {
#ifdef __SIZEOF_INT128__
  __extension__ using Native = unsigned __int128;
  const Native product = static_cast<Native>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
#else
  return detail::fold_portable(a, b);
#endif
}

// a * b / c, rounded down or up; UINT64_MAX when it does not fit or c is 0.
constexpr std::uint64_t mul_div_down(std::uint64_t a, std::uint64_t b, std::uint64_t c) noexcept {
  return detail::mul_div(a, b, c, false);
}
constexpr std::uint64_t mul_div_up(std::uint64_t a, std::uint64_t b, std::uint64_t c) noexcept {
  return detail::mul_div(a, b, c, true);
}

}  // namespace weir::shm
