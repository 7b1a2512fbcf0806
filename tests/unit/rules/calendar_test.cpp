// Instants as `date` of GNU coreutils gives them.
#include "rules/calendar.h"

#include <gtest/gtest.h>

#include "tests/unit/rules/testing.h"

namespace weir {
namespace {

std::shared_ptr<const TimeZone> zone(const std::string& name) {
  ZoneResult result = load_zone(name, test_zones());
  EXPECT_EQ(result.error, "");
  return result.zone != nullptr ? result.zone : std::make_shared<const TimeZone>();
}

struct Case {
  const char* zone;
  CalendarUnit unit;
  std::int64_t wall_s;
  CalendarWindow window;
};

void expect(const Case& c) {
  const auto named = zone(c.zone);
  const CalendarWindow window = window_at(c.unit, *named, c.wall_s);
  EXPECT_EQ(window.start_wall_s, c.window.start_wall_s) << c.zone << " at " << c.wall_s;
  EXPECT_EQ(window.end_wall_s, c.window.end_wall_s) << c.zone << " at " << c.wall_s;
}

using enum CalendarUnit;

TEST(Calendar, DaysAreShortInSpringAndLongInAutumn) {
  expect({"Europe/Berlin", day, 1774746000, {1774738800, 1774821600}});        // 23 hours
  expect({"Europe/Berlin", day, 1792890000, {1792879200, 1792969200}});        // 25 hours
  expect({"America/New_York", day, 1773000000, {1772946000, 1773028800}});     // 23 hours
  expect({"America/New_York", day, 1793520000, {1793505600, 1793595600}});     // 25 hours
  expect({"Australia/Lord_Howe", day, 1775314800, {1775307600, 1775395800}});  // 24.5 hours
  expect({"Australia/Lord_Howe", day, 1791041400, {1791034200, 1791118800}});  // 23.5 hours
  expect({"Antarctica/Troll", day, 1792900000, {1792879200, 1792972800}});     // 26 hours
}

TEST(Calendar, TheHourThatIsLivedTwiceIsTwoWindows) {
  // 02:00 to 03:00 in summer time, then again in winter time.
  expect({"Europe/Berlin", hour, 1792886400, {1792886400, 1792890000}});
  expect({"Europe/Berlin", hour, 1792890000, {1792890000, 1792893600}});
  expect({"America/New_York", hour, 1793509200, {1793509200, 1793512800}});
  expect({"America/New_York", hour, 1793512800, {1793512800, 1793516400}});
}

TEST(Calendar, AnHourInWhichTheClockIsSetIsCut) {
  // Back by half an hour at 02:00: 01:30 to 02:00 comes again.
  expect({"Australia/Lord_Howe", hour, 1775314799, {1775311200, 1775314800}});
  expect({"Australia/Lord_Howe", hour, 1775314800, {1775314800, 1775316600}});
  expect({"Australia/Lord_Howe", hour, 1775316600, {1775316600, 1775320200}});
  // Forward by half an hour at 02:00: the hour from 02:30 on has 30 minutes left.
  expect({"Australia/Lord_Howe", hour, 1791041399, {1791037800, 1791041400}});
  expect({"Australia/Lord_Howe", hour, 1791041400, {1791041400, 1791043200}});
}

TEST(Calendar, OddOffsetsMoveTheHour) {
  expect({"Asia/Kathmandu", day, 1795331700, {1795284900, 1795371300}});
  expect({"Asia/Kathmandu", hour, 1795331700, {1795331700, 1795335300}});
  expect({"Asia/Kathmandu", hour, 1795331699, {1795328100, 1795331700}});
  expect({"Asia/Kathmandu", minute, 1795331730, {1795331700, 1795331760}});
}

TEST(Calendar, WeeksStartOnMonday) {
  expect({"Europe/Berlin", week, 1798758000, {1798412400, 1799017200}});  // over a year's end
  // Monday 26 October to Monday 2 November 2026, an hour longer than others.
  expect({"America/New_York", week, 1793509200, {1792987200, 1793595600}});
  expect({"UTC", week, 0, {-259200, 345600}});  // 1970 began on a Thursday
}

TEST(Calendar, MonthsHaveTheirOwnLengths) {
  expect({"Europe/Berlin", month, 1774746000, {1772319600, 1774994400}});  // 31 days less an hour
  expect({"Europe/Berlin", month, 1798757999, {1796079600, 1798758000}});  // December
  expect({"UTC", month, 951782400, {949363200, 951868800}});               // February 2000
  expect({"UTC", month, 4107456000, {4105123200, 4107542400}});            // February 2100: 28
}

TEST(Calendar, LeapDaysAreDays) {
  expect({"Europe/Berlin", day, 1709200000, {1709161200, 1709247600}});
  expect({"Europe/Berlin", month, 1709200000, {1706742000, 1709247600}});
}

TEST(Calendar, TheRulesGoOnBehindTheLastListedTransition) {
  expect({"Europe/Berlin", day, 2550700000, {2550693600, 2550783600}});  // October 2050
}

TEST(Calendar, ADayThatAZoneSkippedIsNoWindow) {
  // Samoa crossed the date line and had no 30 December 2011.
  expect({"Pacific/Apia", day, 1325239199, {1325152800, 1325239200}});
  expect({"Pacific/Apia", day, 1325239200, {1325239200, 1325325600}});
}

TEST(Calendar, ADayWhoseMidnightIsSkippedStartsAtItsFirstInstant) {
  expect({"America/Sao_Paulo", day, 1541300399, {1541214000, 1541300400}});
  expect({"America/Sao_Paulo", day, 1541300400, {1541300400, 1541383200}});
}

TEST(Calendar, ADayNeverBeginsTwice) {
  // Havana sets its clock from 01:00 back to midnight.
  expect({"America/Havana", day, 1793505600, {1793505600, 1793595600}});
  expect({"America/Havana", day, 1793509200, {1793505600, 1793595600}});
  // St. John's set it from 00:01 back to 23:01 of the day before; the new day goes on.
  expect({"America/St_Johns", day, 1162089000, {1162089000, 1162179000}});
  expect({"America/St_Johns", day, 1162089660, {1162089000, 1162179000}});
}

// The end of the minute, hour and day of 2019-11-11T00:00:30Z, less a millisecond, as Gubernator
// states its Gregorian expiry.
TEST(Calendar, AgreesWithGregorianExpiry) {
  const TimeZone utc = TimeZone::utc();
  const std::int64_t from_s = 1573430430;
  EXPECT_EQ(window_at(minute, utc, from_s).end_wall_s * 1000 - 1, 1573430459999);
  EXPECT_EQ(window_at(hour, utc, from_s).end_wall_s * 1000 - 1, 1573433999999);
  EXPECT_EQ(window_at(day, utc, from_s).end_wall_s * 1000 - 1, 1573516799999);
}

TEST(Calendar, WindowsPartitionTime) {
  for (const char* name : {"Europe/Berlin", "Australia/Lord_Howe", "Antarctica/Troll",
                           "America/St_Johns", "Pacific/Apia", "America/Sao_Paulo"}) {
    const auto named = zone(name);
    for (const CalendarUnit unit : {minute, hour, day, week, month}) {
      for (std::int64_t t = 1136073600; t < 1893456000; t += 604'800 + 1801) {
        const CalendarWindow window = window_at(unit, *named, t);

        ASSERT_LE(window.start_wall_s, t) << name;
        ASSERT_GT(window.end_wall_s, t) << name;
        ASSERT_EQ(window_at(unit, *named, window.start_wall_s), window) << name << t;
        ASSERT_EQ(window_at(unit, *named, window.end_wall_s - 1), window) << name << t;
        ASSERT_EQ(window_at(unit, *named, window.end_wall_s).start_wall_s, window.end_wall_s);
        if (t > 1577836800) {
          ASSERT_LE(
              static_cast<std::uint64_t>(window.end_wall_s - window.start_wall_s) * 1'000'000'000U,
              longest_window_ns(unit, *named));
        }
      }
    }
  }
}

TEST(Calendar, ClocksFarFromTodayDoNoHarm) {
  const auto berlin = zone("Europe/Berlin");
  for (const std::int64_t t : {std::numeric_limits<std::int64_t>::min(), std::int64_t{-1} << 60,
                               std::int64_t{1} << 60, std::numeric_limits<std::int64_t>::max()}) {
    for (const CalendarUnit unit : {minute, hour, day, week, month}) {
      const CalendarWindow window = window_at(unit, *berlin, t);
      EXPECT_LT(window.start_wall_s, window.end_wall_s);
    }
  }
  EXPECT_EQ(window_at(none, *berlin, 5), (CalendarWindow{5, 5}));
}

}  // namespace
}  // namespace weir
