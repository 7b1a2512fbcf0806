#include "rules/calendar.h"

#include <algorithm>
#include <chrono>

namespace weir {
namespace {

constexpr std::int64_t kDayS = 86400;
// Years 2 to 9998: beyond them the date arithmetic would overflow, and nobody lives there.
constexpr std::int64_t kWallMinS = -62'104'060'800;
constexpr std::int64_t kWallMaxS = 253'370'764'799;
// Changes of the clock before this have no bearing on how long a window can get.
constexpr std::int64_t kShiftsFromWallS = 1'577'836'800;  // 2020-01-01
constexpr int kSegmentsMax = 64;

std::int64_t floor_to(std::int64_t value, std::int64_t step) noexcept {
  const std::int64_t rest = value % step;
  return value - (rest < 0 ? rest + step : rest);
}

CalendarWindow clock_window(std::int64_t length_s, const TimeZone& zone,
                            std::int64_t wall_s) noexcept {
  ZoneSegment segment = zone.segment_at(wall_s);
  const std::int64_t offset_s = segment.offset_s;
  CalendarWindow window;
  window.start_wall_s = floor_to(wall_s + offset_s, length_s) - offset_s;
  window.end_wall_s = window.start_wall_s + length_s;
  // A transition that keeps the offset (a new abbreviation) does not cut.
  for (int i = 0; i < kSegmentsMax && segment.start_wall_s > window.start_wall_s; ++i) {
    const std::int64_t edge = segment.start_wall_s;
    segment = zone.segment_at(edge - 1);
    if (segment.offset_s != offset_s) window.start_wall_s = edge;
  }
  segment = zone.segment_at(wall_s);
  for (int i = 0; i < kSegmentsMax && segment.end_wall_s < window.end_wall_s; ++i) {
    const std::int64_t edge = segment.end_wall_s;
    segment = zone.segment_at(edge);
    if (segment.offset_s != offset_s) window.end_wall_s = edge;
  }
  return window;
}

// The first instant at which local time has reached `local_s`. It exists even when the clock
// jumps over `local_s`, and is the earlier one when the clock reads it twice.
std::int64_t first_instant(const TimeZone& zone, std::int64_t local_s) noexcept {
  ZoneSegment segment = zone.segment_at(local_s - kOffsetMaxS - 3600);
  for (int i = 0; i < kSegmentsMax; ++i) {
    const std::int64_t candidate = std::max(segment.start_wall_s, local_s - segment.offset_s);
    if (candidate < segment.end_wall_s) return candidate;
    segment = zone.segment_at(segment.end_wall_s);
  }
  return local_s - segment.offset_s;
}

using std::chrono::days;
using std::chrono::sys_days;
using std::chrono::year_month_day;

// Days since 1970-01-01 of the first day of the day, week or month that `day` lies in.
std::int64_t first_day(CalendarUnit unit, std::int64_t day) noexcept {
  if (unit == CalendarUnit::week) return floor_to(day + 3, 7) - 3;  // 1970-01-01: a Thursday
  if (unit != CalendarUnit::month) return day;
  const year_month_day date{sys_days{days{day}}};
  return sys_days{date.year() / date.month() / 1}.time_since_epoch().count();
}

std::int64_t next_first_day(CalendarUnit unit, std::int64_t first) noexcept {
  if (unit == CalendarUnit::week) return first + 7;
  if (unit != CalendarUnit::month) return first + 1;
  const year_month_day date{sys_days{days{first}}};
  const year_month_day next = date.year() / date.month() / 1 + std::chrono::months{1};
  return sys_days{next}.time_since_epoch().count();
}

CalendarWindow date_window(CalendarUnit unit, const TimeZone& zone, std::int64_t wall_s) noexcept {
  const std::int64_t local_s = wall_s + zone.segment_at(wall_s).offset_s;
  std::int64_t first = first_day(unit, floor_to(local_s, kDayS) / kDayS);
  std::int64_t next = next_first_day(unit, first);
  std::int64_t end = first_instant(zone, next * kDayS);
  // A clock that is set back from just after midnight shows yesterday again; the new day goes on.
  for (int i = 0; i < 4 && end <= wall_s; ++i) {
    first = next;
    next = next_first_day(unit, first);
    end = first_instant(zone, next * kDayS);
  }
  return {first_instant(zone, first * kDayS), end};
}

}  // namespace

CalendarWindow window_at(CalendarUnit unit, const TimeZone& zone, std::int64_t wall_s) noexcept {
  wall_s = std::clamp(wall_s, kWallMinS, kWallMaxS);
  switch (unit) {
    case CalendarUnit::none:
      break;
    case CalendarUnit::minute:
      return clock_window(60, zone, wall_s);
    case CalendarUnit::hour:
      return clock_window(3600, zone, wall_s);
    case CalendarUnit::day:
    case CalendarUnit::week:
    case CalendarUnit::month:
      return date_window(unit, zone, wall_s);
  }
  return {wall_s, wall_s};
}

std::uint64_t longest_window_ns(CalendarUnit unit, const TimeZone& zone) noexcept {
  const std::int64_t back_s = zone.largest_step_back_s(kShiftsFromWallS);
  std::int64_t length_s = 0;
  if (unit == CalendarUnit::minute) length_s = 60;
  if (unit == CalendarUnit::hour) length_s = 3600;
  if (unit == CalendarUnit::day) length_s = kDayS + back_s;
  if (unit == CalendarUnit::week) length_s = 7 * kDayS + back_s;
  if (unit == CalendarUnit::month) length_s = 31 * kDayS + back_s;
  return static_cast<std::uint64_t>(length_s) * 1'000'000'000U;
}

}  // namespace weir
