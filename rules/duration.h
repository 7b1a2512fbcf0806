// Durations, counts, rates and shares: from the text of a rules file to exact integers, and back.
// An error is a phrase that continues "rate '300/x': ".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir {

inline constexpr std::uint64_t kSecondNs = 1'000'000'000;
inline constexpr std::uint64_t kMinuteNs = 60 * kSecondNs;
inline constexpr std::uint64_t kHourNs = 60 * kMinuteNs;
inline constexpr std::uint64_t kDayNs = 24 * kHourNs;

inline constexpr std::uint64_t kDurationMaxNs = 366 * kDayNs;
inline constexpr std::uint64_t kRatePeriodMinNs = 1'000;
inline constexpr std::uint64_t kRatePeriodMaxNs = 31 * kDayNs;
inline constexpr std::uint64_t kRateMaxPerS = 1'000'000'000;
inline constexpr std::uint64_t kTokenMaxNs = kDayNs;  // the longest that one token may take

template <class T>
struct Parsed {
  std::optional<T> value;
  std::string error;
};

// `amount` tokens in each `period_ns`. An amount of zero lets nothing pass.
struct Rate {
  std::uint64_t amount = 0;
  std::uint64_t period_ns = kSecondNs;

  bool operator==(const Rate&) const = default;
};

// 500ms, 10s, 1m30s, 1.5h, 7d; a bare 0 needs no unit.
Parsed<std::uint64_t> parse_duration_ns(std::string_view text);
// 300, 10k, 1.5M, 2G: whole numbers alone.
Parsed<std::uint64_t> parse_count(std::string_view text);
// 300/s, 10k/m, 0.5/s, 100/10s, 300 per 10s, 5 per 1m30s.
Parsed<Rate> parse_rate(std::string_view text);
// 20%, 12.5%, 0: a share below the whole, in thousandths.
Parsed<std::uint32_t> parse_permille(std::string_view text);

std::string format_duration_ns(std::uint64_t duration_ns);
std::string format_rate(Rate rate);
std::string format_permille(std::uint32_t permille);

// The tokens of `rate` in a stretch of time, rounded up.
std::uint64_t tokens_in(Rate rate, std::uint64_t duration_ns) noexcept;
// Whether `a` brings more tokens than `b`. Exact.
bool is_faster(Rate a, Rate b) noexcept;
// Why a bucket cannot be minted at this rate; empty when it can.
std::string rate_problem(Rate rate);

}  // namespace weir
