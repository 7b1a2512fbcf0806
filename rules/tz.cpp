#include "rules/tz.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <utility>

#include "rules/file.h"

namespace weir {
namespace {

constexpr std::int64_t kForeverS = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kHeaderBytes = 44;
constexpr std::uint32_t kTransitionsMax = 4096;
constexpr std::uint32_t kTypesMax = 256;
constexpr std::uint32_t kAbbreviationBytesMax = 4096;
// Earlier or later transitions could overflow the arithmetic of local times.
constexpr std::int64_t kTransitionMaxS = std::int64_t{1} << 60;

struct Header {
  unsigned char version = 0;
  std::uint32_t utc_flags = 0;
  std::uint32_t standard_flags = 0;
  std::uint32_t leaps = 0;
  std::uint32_t transitions = 0;
  std::uint32_t types = 0;
  std::uint32_t abbreviation_bytes = 0;

  std::size_t data_bytes(std::size_t time_bytes) const noexcept {
    return transitions * (time_bytes + 1) + std::size_t{types} * 6 + abbreviation_bytes +
           leaps * (time_bytes + 4) + standard_flags + utc_flags;
  }
};

using Bytes = std::span<const unsigned char>;

std::uint64_t big_endian(Bytes bytes, std::size_t at, std::size_t count) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < count; ++i)
    value = value << 8 | bytes[at + i];
  return value;
}

std::int64_t signed_time(Bytes bytes, std::size_t at, std::size_t count) noexcept {
  const std::uint64_t value = big_endian(bytes, at, count);
  if (count == 4) return static_cast<std::int32_t>(static_cast<std::uint32_t>(value));
  return static_cast<std::int64_t>(value);
}

std::optional<Header> read_header(Bytes bytes, std::string& error) {
  if (bytes.size() < kHeaderBytes || big_endian(bytes, 0, 4) != 0x545a6966) {  // "TZif"
    error = "is not a time zone file";
    return std::nullopt;
  }
  const auto count = [&](std::size_t index) {
    return static_cast<std::uint32_t>(big_endian(bytes, 20 + 4 * index, 4));
  };
  const Header h{bytes[4], count(0), count(1), count(2), count(3), count(4), count(5)};
  if (h.transitions > kTransitionsMax || h.types > kTypesMax || h.types == 0 ||
      h.abbreviation_bytes > kAbbreviationBytesMax || h.standard_flags > h.types ||
      h.utc_flags > h.types || h.leaps > kTransitionsMax) {
    error = "is a damaged time zone file";
    return std::nullopt;
  }
  return h;
}

std::int64_t days_to(int year, unsigned month, unsigned day) noexcept {
  using namespace std::chrono;
  return sys_days{std::chrono::year{year} / std::chrono::month{month} / std::chrono::day{day}}
      .time_since_epoch()
      .count();
}

int year_of(std::int64_t wall_s) noexcept {
  using namespace std::chrono;
  const std::int64_t bounded = std::clamp<std::int64_t>(wall_s, -62'135'596'800, 253'402'300'799);
  return static_cast<int>(year_month_day{floor<days>(sys_seconds{seconds{bounded}})}.year());
}

}  // namespace

std::int64_t YearlyRule::local_s(int year) const noexcept {
  std::int64_t day_number = 0;
  if (form == Form::month_week_day) {
    const std::int64_t first = days_to(year, month, 1);
    const std::int64_t first_weekday = ((first + 4) % 7 + 7) % 7;  // 1970-01-01: a Thursday
    day_number = first + (static_cast<std::int64_t>(weekday) - first_weekday + 7) % 7 +
                 7 * (static_cast<std::int64_t>(week) - 1);
    const std::int64_t next_month =
        month == 12 ? days_to(year + 1, 1, 1) : days_to(year, month + 1, 1);
    if (day_number >= next_month) day_number -= 7;  // week 5 of a month that has four
  } else if (form == Form::julian_without_leap_day) {
    const bool after_leap_day = std::chrono::year{year}.is_leap() && day >= 60;
    day_number = days_to(year, 1, 1) + day - (after_leap_day ? 0 : 1);
  } else {
    day_number = days_to(year, 1, 1) + day;
  }
  return day_number * 86400 + time_s;
}

std::optional<TimeZone> TimeZone::parse(Bytes bytes, std::string& error) {
  std::optional<Header> header = read_header(bytes, error);
  if (!header) return std::nullopt;
  std::size_t time_bytes = 4;
  std::size_t at = kHeaderBytes;
  if (header->version >= '2') {  // the 32-bit block comes first and is skipped
    at += header->data_bytes(4);
    header = at <= bytes.size() ? read_header(bytes.subspan(at), error) : std::nullopt;
    at += kHeaderBytes;
    time_bytes = 8;
  }
  error = "is a damaged time zone file";
  if (!header || bytes.size() < at || bytes.size() - at < header->data_bytes(time_bytes)) {
    return std::nullopt;
  }
  if (header->leaps != 0) {
    error = "counts leap seconds, which the clock does not";
    return std::nullopt;
  }
  TimeZone zone;
  const Bytes data = bytes.subspan(at, header->data_bytes(time_bytes));
  if (!zone.read_transitions(data, time_bytes, header->transitions, header->types)) {
    return std::nullopt;
  }
  if (time_bytes == 8 && !zone.read_footer(bytes.subspan(at + data.size()))) return std::nullopt;
  error.clear();
  return zone;
}

bool TimeZone::read_transitions(Bytes data, std::size_t time_bytes, std::size_t transitions,
                                std::size_t types) {
  const std::size_t indexes_at = transitions * time_bytes;
  const std::size_t types_at = indexes_at + transitions;
  const auto offset_of = [&](std::size_t type) {
    return signed_time(data, types_at + 6 * type, 4);
  };
  first_offset_s_ = offset_of(0);
  for (std::size_t type = 0; type < types; ++type) {
    if (offset_of(type) < -kOffsetMaxS || offset_of(type) > kOffsetMaxS) return false;
  }
  for (std::size_t i = 0; i < transitions; ++i) {
    const std::int64_t when = signed_time(data, i * time_bytes, time_bytes);
    const std::size_t type = data[indexes_at + i];
    if (type >= types || when < -kTransitionMaxS || when > kTransitionMaxS) {
      return false;
    }
    if (!transitions_.empty() && when <= transitions_.back().at_wall_s) {
      return false;
    }
    transitions_.push_back({when, offset_of(type)});
  }
  return true;
}

bool TimeZone::read_footer(Bytes rest) {
  const std::string_view text{reinterpret_cast<const char*>(rest.data()), rest.size()};
  const std::size_t end = text.size() < 2 ? text.npos : text.find('\n', 1);
  if (text.empty() || text.front() != '\n' || end == text.npos) return false;
  if (end > 1) {
    footer_ = parse_posix_zone(text.substr(1, end - 1));
    if (!footer_) return false;
  }
  return true;
}

ZoneSegment TimeZone::segment_at(std::int64_t wall_s) const noexcept {
  const auto after =
      std::upper_bound(transitions_.begin(), transitions_.end(), wall_s,
                       [](std::int64_t value, const Transition& t) { return value < t.at_wall_s; });
  if (after == transitions_.end()) {
    if (transitions_.empty()) return footer_segment_at(wall_s, -kForeverS, first_offset_s_);
    return footer_segment_at(wall_s, transitions_.back().at_wall_s, transitions_.back().offset_s);
  }
  if (after == transitions_.begin()) return {-kForeverS, after->at_wall_s, first_offset_s_};
  const auto current = after - 1;
  return {current->at_wall_s, after->at_wall_s, current->offset_s};
}

ZoneSegment TimeZone::footer_segment_at(std::int64_t wall_s, std::int64_t first_wall_s,
                                        std::int64_t first_offset_s) const noexcept {
  ZoneSegment segment{first_wall_s, kForeverS, first_offset_s};
  if (!footer_) return segment;
  if (!footer_->has_daylight) {
    if (transitions_.empty()) segment.offset_s = footer_->standard_offset_s;
    return segment;
  }
  // Two changes a year, from the year before to the year after. Daylight time that never ends is
  // written as an end that meets the next start; the end comes first in the order, so it is void.
  std::array<Transition, 6> changes{};
  const int year = std::clamp(year_of(wall_s), 2, 9998);
  for (int i = 0; i < 3; ++i) {
    const std::size_t slot = static_cast<std::size_t>(i) * 2;
    changes[slot] = {footer_->daylight_end.local_s(year - 1 + i) - footer_->daylight_offset_s,
                     footer_->standard_offset_s};
    changes[slot + 1] = {footer_->daylight_start.local_s(year - 1 + i) - footer_->standard_offset_s,
                         footer_->daylight_offset_s};
  }
  std::stable_sort(changes.begin(), changes.end(), [](const Transition& a, const Transition& b) {
    return a.at_wall_s < b.at_wall_s;
  });
  for (const Transition& change : changes) {
    if (change.at_wall_s <= first_wall_s) continue;
    if (change.at_wall_s > wall_s) {
      segment.end_wall_s = change.at_wall_s;
      break;
    }
    segment.start_wall_s = change.at_wall_s;
    segment.offset_s = change.offset_s;
  }
  return segment;
}

std::int64_t TimeZone::largest_step_back_s(std::int64_t from_wall_s) const noexcept {
  std::int64_t largest = 0;
  std::int64_t before = first_offset_s_;
  for (const Transition& transition : transitions_) {
    if (transition.at_wall_s >= from_wall_s) {
      largest = std::max(largest, before - transition.offset_s);
    }
    before = transition.offset_s;
  }
  if (footer_ && footer_->has_daylight) {
    const std::int64_t step = footer_->daylight_offset_s - footer_->standard_offset_s;
    largest = std::max(largest, step < 0 ? -step : step);
  }
  return largest;
}

bool zone_name_is_valid(std::string_view name) noexcept {
  if (name.empty() || name.size() > kZoneNameBytesMax) return false;
  char previous = '/';
  for (const char c : name) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (c == '/' ? previous == '/' : !letter && c != '_' && c != '+' && c != '-') return false;
    previous = c;
  }
  return previous != '/';
}

ZoneResult load_zone(std::string_view name, const std::string& directory) {
  const std::string quoted = "time zone '" + std::string{name.substr(0, kZoneNameBytesMax)} + "'";
  if (!zone_name_is_valid(name)) {
    return {nullptr, quoted + " is not an IANA name such as Europe/Berlin"};
  }
  if (name == "UTC") return {std::make_shared<const TimeZone>(TimeZone::utc()), {}};
  FileText file = read_file(directory + "/" + std::string{name}, kZoneFileBytesMax);
  if (file.missing) {
    return {nullptr, quoted + " is unknown: there is no such file in " + directory +
                         "; allowed: IANA names such as Europe/Berlin"};
  }
  if (!file.error.empty()) return {nullptr, quoted + ": its file " + file.error};
  std::string error;
  std::optional<TimeZone> zone = TimeZone::parse(
      {reinterpret_cast<const unsigned char*>(file.text.data()), file.text.size()}, error);
  if (!zone) return {nullptr, quoted + ": its file " + error};
  return {std::make_shared<const TimeZone>(std::move(*zone)), {}};
}

}  // namespace weir
