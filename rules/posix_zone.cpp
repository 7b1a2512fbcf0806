// The POSIX TZ string in the footer of a TZif file, such as CET-1CEST,M3.5.0,M10.5.0/3.
#include "rules/tz.h"

namespace weir {
namespace {

class Cursor {
 public:
  explicit Cursor(std::string_view text) noexcept : text_(text) {}

  bool at_end() const noexcept { return text_.empty(); }
  bool take(char c) noexcept {
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }

  // At most three digits: nothing in a TZ string is longer.
  std::optional<unsigned> number(unsigned min, unsigned max) noexcept {
    unsigned value = 0;
    std::size_t digits = 0;
    while (digits < text_.size() && digits < 3 && is_digit(text_[digits])) {
      value = value * 10 + static_cast<unsigned>(text_[digits] - '0');
      ++digits;
    }
    text_.remove_prefix(digits);
    if (digits == 0 || value < min || value > max) return std::nullopt;
    return value;
  }

  // An abbreviation: three or more letters, or anything readable between < and >.
  bool skip_name() noexcept {
    if (take('<')) {
      const std::size_t end = text_.find('>');
      if (end == text_.npos || end < 3) return false;
      text_.remove_prefix(end + 1);
      return true;
    }
    std::size_t letters = 0;
    while (letters < text_.size() && is_letter(text_[letters]))
      ++letters;
    text_.remove_prefix(letters);
    return letters >= 3;
  }

  // [+-]h[:m[:s]] in seconds.
  std::optional<std::int64_t> time(unsigned hours_max) noexcept {
    const bool negative = take('-');
    if (!negative) take('+');
    const auto hours = number(0, hours_max);
    std::optional<unsigned> minutes = 0U;
    std::optional<unsigned> seconds = 0U;
    if (hours && take(':')) minutes = number(0, 59);
    if (hours && minutes && take(':')) seconds = number(0, 59);
    if (!hours || !minutes || !seconds) return std::nullopt;
    const std::int64_t value = std::int64_t{*hours} * 3600 + *minutes * 60 + *seconds;
    return negative ? -value : value;
  }

 private:
  static bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
  static bool is_letter(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  }

  std::string_view text_;
};

std::optional<YearlyRule> parse_rule(Cursor& cursor) noexcept {
  YearlyRule rule;
  if (!cursor.take(',')) return std::nullopt;
  if (cursor.take('M')) {
    const auto month = cursor.number(1, 12);
    const auto week = month && cursor.take('.') ? cursor.number(1, 5) : std::nullopt;
    const auto weekday = week && cursor.take('.') ? cursor.number(0, 6) : std::nullopt;
    if (!weekday) return std::nullopt;
    rule.month = *month;
    rule.week = *week;
    rule.weekday = *weekday;
  } else {
    const bool julian = cursor.take('J');
    const auto day = cursor.number(julian ? 1 : 0, 365);
    if (!day) return std::nullopt;
    rule.form = julian ? YearlyRule::Form::julian_without_leap_day : YearlyRule::Form::day_of_year;
    rule.day = *day;
  }
  if (cursor.take('/')) {
    const auto time = cursor.time(167);
    if (!time) return std::nullopt;
    rule.time_s = *time;
  }
  return rule;
}

}  // namespace

std::optional<PosixZone> parse_posix_zone(std::string_view text) noexcept {
  Cursor cursor{text};
  PosixZone zone;
  if (!cursor.skip_name()) return std::nullopt;
  // POSIX counts hours west of Greenwich; the rest of the world counts east.
  const auto west = cursor.time(24);
  if (!west) return std::nullopt;
  zone.standard_offset_s = -*west;
  if (cursor.at_end()) return zone;

  if (!cursor.skip_name()) return std::nullopt;
  zone.has_daylight = true;
  zone.daylight_offset_s = zone.standard_offset_s + 3600;
  Cursor ahead = cursor;
  if (!ahead.take(',')) {
    const auto daylight_west = cursor.time(24);
    if (!daylight_west) return std::nullopt;
    zone.daylight_offset_s = -*daylight_west;
  }
  const auto start = parse_rule(cursor);
  const auto end = start ? parse_rule(cursor) : std::nullopt;
  if (!end || !cursor.at_end()) return std::nullopt;
  zone.daylight_start = *start;
  zone.daylight_end = *end;
  return zone;
}

}  // namespace weir
