// Windows that follow the calendar of a time zone. Pure: wall seconds in, wall seconds out.
//
// Minutes and hours are cut where the clock is set, so none is longer than its name: the hour
// that a zone lives through twice in autumn is two windows. Days, weeks (from Monday) and months
// begin at the first instant whose local date has reached theirs, so a day may have 23 or 25 hours
// and never begins twice.
#pragma once

#include <cstdint>

#include "rules/rules.h"
#include "rules/tz.h"

namespace weir {

// The window is [start, end).
struct CalendarWindow {
  std::int64_t start_wall_s = 0;
  std::int64_t end_wall_s = 0;

  bool operator==(const CalendarWindow&) const = default;
};

// CalendarUnit::none gives an empty window at `wall_s`.
CalendarWindow window_at(CalendarUnit unit, const TimeZone& zone, std::int64_t wall_s) noexcept;

// The longest that such a window can be in this zone.
std::uint64_t longest_window_ns(CalendarUnit unit, const TimeZone& zone) noexcept;

}  // namespace weir
