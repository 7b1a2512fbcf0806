#include "rules/duration.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

namespace weir {
namespace {

__extension__ using U128 = unsigned __int128;

constexpr std::size_t kDigitsMax = 18;
constexpr std::size_t kFractionDigitsMax = 9;
constexpr const char* kTooLarge = "is too large";

struct Unit {
  std::string_view name;
  std::uint64_t ns;
};
constexpr std::array<Unit, 8> kUnits{{{"w", 7 * kDayNs},
                                      {"d", kDayNs},
                                      {"h", kHourNs},
                                      {"m", kMinuteNs},
                                      {"s", kSecondNs},
                                      {"ms", 1'000'000},
                                      {"us", 1'000},
                                      {"ns", 1}}};
constexpr std::array<Unit, 8> kLongUnits{{{"second", kSecondNs},
                                          {"sec", kSecondNs},
                                          {"minute", kMinuteNs},
                                          {"min", kMinuteNs},
                                          {"hour", kHourNs},
                                          {"day", kDayNs},
                                          {"week", 7 * kDayNs},
                                          {"hr", kHourNs}}};

std::uint64_t power_of_ten(std::size_t exponent) noexcept {
  std::uint64_t value = 1;
  while (exponent-- > 0)
    value *= 10;
  return value;
}

// digits / 10^fraction_digits
struct Decimal {
  std::uint64_t digits = 0;
  std::size_t fraction_digits = 0;
};

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

void skip_spaces(std::string_view& text) noexcept {
  while (!text.empty() && text.front() == ' ')
    text.remove_prefix(1);
}

std::string_view take_word(std::string_view& text) noexcept {
  std::size_t length = 0;
  while (length < text.size() && is_letter(text[length]))
    ++length;
  const std::string_view word = text.substr(0, length);
  text.remove_prefix(length);
  return word;
}

// Takes an unsigned decimal number off the front.
Parsed<Decimal> take_decimal(std::string_view& text) {
  if (text.empty()) return {std::nullopt, "needs a number"};
  if (text.front() == '-') return {std::nullopt, "must not be negative"};
  if (!is_digit(text.front())) return {std::nullopt, "must start with a number"};
  Decimal decimal;
  std::size_t digits = 0;
  bool in_fraction = false;
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if (text[at] == '.' && !in_fraction && at + 1 < text.size() && is_digit(text[at + 1])) {
      in_fraction = true;
      continue;
    }
    if (!is_digit(text[at])) break;
    if (decimal.digits != 0 || text[at] != '0') ++digits;
    if (digits > kDigitsMax) return {std::nullopt, kTooLarge};
    decimal.digits = decimal.digits * 10 + static_cast<std::uint64_t>(text[at] - '0');
    if (in_fraction && ++decimal.fraction_digits > kFractionDigitsMax) {
      return {std::nullopt, "has more than 9 digits after the point"};
    }
  }
  text.remove_prefix(at);
  return {decimal, {}};
}

// k, M or G, and only if no other letter follows it. The factor is 1 without one.
std::uint64_t take_count_suffix(std::string_view& text) noexcept {
  if (text.empty() || (text.size() > 1 && is_letter(text[1]))) return 1;
  const char c = text.front();
  const std::uint64_t factor = c == 'k' || c == 'K' ? 1'000
                               : c == 'M'           ? 1'000'000
                               : c == 'G'           ? 1'000'000'000
                                                    : 1;
  if (factor != 1) text.remove_prefix(1);
  return factor;
}

std::optional<std::uint64_t> unit_ns(std::string_view word, bool long_names) noexcept {
  for (const Unit& unit : kUnits) {
    if (word == unit.name) return unit.ns;
  }
  if (!long_names) return std::nullopt;
  for (const Unit& unit : kLongUnits) {
    if (word == unit.name) return unit.ns;
  }
  return std::nullopt;
}

std::string unknown_unit(std::string_view word, std::string_view rest) {
  if (word.empty() && rest.empty()) {
    return "needs a unit: ms, s, m, h or d, for example 10s";
  }
  if (word == "mo" || word == "month" || word == "y" || word == "year") {
    return "has a unit that is not a fixed length; use algorithm fixed_window with "
           "calendar: month, or days (d)";
  }
  const std::string shown{word.empty() ? rest.substr(0, 1) : word.substr(0, 20)};
  return "has the unknown unit '" + shown + "'; allowed: ns, us, ms, s, m, h, d, w";
}

// The part behind the slash or "per": a duration, or a unit alone.
Parsed<std::uint64_t> parse_period_ns(std::string_view text) {
  if (!text.empty() && is_digit(text.front())) return parse_duration_ns(text);
  std::string_view rest = text;
  const std::string_view word = take_word(rest);
  const auto ns = rest.empty() ? unit_ns(word, true) : std::nullopt;
  if (!ns) return {std::nullopt, unknown_unit(word, rest.empty() ? word : rest)};
  return {ns, {}};
}

}  // namespace

Parsed<std::uint64_t> parse_duration_ns(std::string_view text) {
  if (text == "0") return {0, {}};
  U128 total = 0;
  std::uint64_t previous_ns = std::numeric_limits<std::uint64_t>::max();
  do {
    const Parsed<Decimal> number = take_decimal(text);
    if (!number.value) return {std::nullopt, number.error};
    skip_spaces(text);
    const std::string_view word = take_word(text);
    const auto ns = unit_ns(word, false);
    if (!ns) return {std::nullopt, unknown_unit(word, text)};
    if (*ns >= previous_ns) {
      return {std::nullopt, "must have its units from large to small, each once, like 1h30m"};
    }
    previous_ns = *ns;
    const U128 scaled = U128{number.value->digits} * *ns;
    const std::uint64_t divisor = power_of_ten(number.value->fraction_digits);
    if (scaled % divisor != 0) return {std::nullopt, "is not a whole number of nanoseconds"};
    total += scaled / divisor;
    skip_spaces(text);
  } while (!text.empty());
  if (total > kDurationMaxNs) return {std::nullopt, "is longer than 366d, the longest duration"};
  return {static_cast<std::uint64_t>(total), {}};
}

Parsed<std::uint64_t> parse_count(std::string_view text) {
  const Parsed<Decimal> number = take_decimal(text);
  if (!number.value) return {std::nullopt, number.error};
  const U128 scaled = U128{number.value->digits} * take_count_suffix(text);
  if (!text.empty()) {
    return {std::nullopt, "must be a whole number, with k, M or G after it for larger ones"};
  }
  const std::uint64_t divisor = power_of_ten(number.value->fraction_digits);
  if (scaled % divisor != 0) return {std::nullopt, "must be a whole number"};
  const U128 value = scaled / divisor;
  if (value > std::numeric_limits<std::int64_t>::max()) return {std::nullopt, kTooLarge};
  return {static_cast<std::uint64_t>(value), {}};
}

Parsed<Rate> parse_rate(std::string_view text) {
  const Parsed<Decimal> number = take_decimal(text);
  if (!number.value) return {std::nullopt, number.error};
  const std::uint64_t factor = take_count_suffix(text);
  skip_spaces(text);
  if (text.starts_with('/')) {
    text.remove_prefix(1);
  } else if (text.starts_with("per ")) {
    text.remove_prefix(4);
  } else {
    return {std::nullopt, "must be an amount and a time, like 300/s or 300 per 10s"};
  }
  skip_spaces(text);
  const Parsed<std::uint64_t> period_ns = parse_period_ns(text);
  if (!period_ns.value) return {std::nullopt, period_ns.error};
  if (*period_ns.value < kRatePeriodMinNs || *period_ns.value > kRatePeriodMaxNs) {
    return {std::nullopt, "must have a time of 1us to 31d"};
  }
  // A fraction becomes a longer period: 0.5/s is 1 per 2s.
  const U128 amount = U128{number.value->digits} * factor;
  const std::uint64_t divisor = power_of_ten(number.value->fraction_digits);
  const std::uint64_t common = std::gcd(static_cast<std::uint64_t>(amount % divisor), divisor);
  const U128 reduced_amount = amount / common;
  const U128 reduced_period_ns = U128{*period_ns.value} * (divisor / common);
  if (reduced_amount > std::numeric_limits<std::int64_t>::max()) return {std::nullopt, kTooLarge};
  if (reduced_amount == 0) return {Rate{0, *period_ns.value}, {}};
  if (reduced_period_ns > kRatePeriodMaxNs) {
    return {std::nullopt,
            "has too many digits after the point for its time; a whole amount "
            "per some time is exact, like 1 per 90s"};
  }
  return {Rate{static_cast<std::uint64_t>(reduced_amount),
               static_cast<std::uint64_t>(reduced_period_ns)},
          {}};
}

Parsed<std::uint32_t> parse_permille(std::string_view text) {
  const Parsed<Decimal> number = take_decimal(text);
  if (!number.value) return {std::nullopt, number.error};
  skip_spaces(text);
  const bool zero = number.value->digits == 0;
  if (text != "%" && !(zero && text.empty())) {
    return {std::nullopt, "must be a percentage, like 20%"};
  }
  const U128 scaled = U128{number.value->digits} * 10;
  const std::uint64_t divisor = power_of_ten(number.value->fraction_digits);
  if (scaled >= U128{1000} * divisor) return {std::nullopt, "must be less than 100%"};
  if (scaled % divisor != 0) return {std::nullopt, "may have one digit after the point"};
  return {static_cast<std::uint32_t>(scaled / divisor), {}};
}

std::string format_duration_ns(std::uint64_t duration_ns) {
  if (duration_ns == 0) return "0s";
  std::string text;
  for (const Unit& unit : kUnits) {
    if (unit.name == "w" || duration_ns < unit.ns) continue;
    text += std::to_string(duration_ns / unit.ns);
    text += unit.name;
    duration_ns %= unit.ns;
  }
  return text;
}

std::string format_rate(Rate rate) {
  for (const Unit& unit : kUnits) {
    if (unit.name != "w" && rate.period_ns == unit.ns) {
      return std::to_string(rate.amount) + "/" + std::string{unit.name};
    }
  }
  return std::to_string(rate.amount) + " per " + format_duration_ns(rate.period_ns);
}

std::string format_permille(std::uint32_t permille) {
  const std::string whole = std::to_string(permille / 10);
  return permille % 10 == 0 ? whole + "%" : whole + "." + std::to_string(permille % 10) + "%";
}

std::uint64_t tokens_in(Rate rate, std::uint64_t duration_ns) noexcept {
  if (rate.period_ns == 0) return 0;
  const U128 tokens = (U128{rate.amount} * duration_ns + (rate.period_ns - 1)) / rate.period_ns;
  const U128 most = std::numeric_limits<std::int64_t>::max();
  return static_cast<std::uint64_t>(std::min(tokens, most));
}

bool is_faster(Rate a, Rate b) noexcept {
  return U128{a.amount} * b.period_ns > U128{b.amount} * a.period_ns;
}

std::string rate_problem(Rate rate) {
  if (rate.amount == 0) return {};
  if (is_faster(rate, {kRateMaxPerS, kSecondNs})) return "is above 1G/s, the highest rate";
  if (is_faster({1, kTokenMaxNs}, rate)) {
    return "is too slow: one token would take longer than 24h; for so low a rate use "
           "algorithm fixed_window";
  }
  return {};
}

}  // namespace weir
