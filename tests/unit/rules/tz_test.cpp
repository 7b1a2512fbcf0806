#include "rules/tz.h"

#include <gmock/gmock.h>

#include <limits>
#include <string>
#include <vector>

#include "tests/unit/rules/testing.h"

namespace weir {
namespace {

using testing::HasSubstr;

using Bytes = std::vector<unsigned char>;

void put(Bytes& bytes, std::uint64_t value, std::size_t count) {
  for (std::size_t i = count; i-- > 0;) {
    bytes.push_back(static_cast<unsigned char>(value >> (8 * i)));
  }
}

struct File {
  std::vector<std::pair<std::int64_t, std::uint8_t>> transitions{};
  std::vector<std::int32_t> offsets{0};
  std::string footer{};
  std::uint32_t leaps = 0;
  char version = '2';
};

void put_block(Bytes& bytes, const File& file, std::size_t time_bytes, bool empty) {
  const std::uint64_t transitions = empty ? 0 : file.transitions.size();
  const std::uint64_t types = empty ? 1 : file.offsets.size();
  for (const char c : {'T', 'Z', 'i', 'f', file.version}) {
    bytes.push_back(static_cast<unsigned char>(c));
  }
  bytes.insert(bytes.end(), 15, 0);
  for (const std::uint64_t count : {std::uint64_t{0}, std::uint64_t{0}, std::uint64_t{file.leaps},
                                    transitions, types, std::uint64_t{4}}) {
    put(bytes, count, 4);
  }
  for (std::size_t i = 0; i < transitions; ++i) {
    put(bytes, static_cast<std::uint64_t>(file.transitions[i].first), time_bytes);
  }
  for (std::size_t i = 0; i < transitions; ++i)
    bytes.push_back(file.transitions[i].second);
  for (std::size_t i = 0; i < types; ++i) {
    put(bytes, static_cast<std::uint32_t>(empty ? 0 : file.offsets[i]), 4);
    put(bytes, 0, 2);
  }
  put(bytes, 0x41424300, 4);
  bytes.insert(bytes.end(), file.leaps * (time_bytes + 4), 0);
}

// What zic writes: an empty 32-bit block, then the 64-bit one, then the footer.
Bytes make(const File& file) {
  Bytes bytes;
  put_block(bytes, file, 4, file.version != '\0');
  if (file.version == '\0') return bytes;
  put_block(bytes, file, 8, false);
  bytes.push_back('\n');
  bytes.insert(bytes.end(), file.footer.begin(), file.footer.end());
  bytes.push_back('\n');
  return bytes;
}

TimeZone parsed(const File& file) {
  std::string error;
  const auto zone = TimeZone::parse(make(file), error);
  EXPECT_TRUE(zone) << error;
  return zone.value_or(TimeZone{});
}

std::string parse_error(const Bytes& bytes) {
  std::string error;
  return TimeZone::parse(bytes, error) ? std::string{} : error;
}

TEST(TimeZone, UtcNeedsNoFile) {
  const ZoneResult result = load_zone("UTC", "/nowhere");

  ASSERT_TRUE(result.zone);
  EXPECT_EQ(result.zone->segment_at(1'800'000'000).offset_s, 0);
  EXPECT_EQ(result.zone->largest_step_back_s(0), 0);
}

TEST(TimeZone, OldFilesOfOneBlockAreRead) {
  const TimeZone zone =
      parsed({.transitions = {{1000, 1}, {2000, 0}}, .offsets = {0, 3600}, .version = '\0'});

  EXPECT_EQ(zone.segment_at(999).offset_s, 0);
  EXPECT_EQ(zone.segment_at(1000).offset_s, 3600);
  EXPECT_EQ(zone.segment_at(1'000'000).offset_s, 0);
}

TEST(TimeZone, TheFooterRulesWithoutTransitions) {
  const TimeZone zone = parsed({.footer = "CET-1CEST,M3.5.0,M10.5.0/3"});

  EXPECT_EQ(zone.segment_at(1774745999).offset_s, 3600);
  EXPECT_EQ(zone.segment_at(1774746000).offset_s, 7200);
  EXPECT_EQ(zone.segment_at(1774746000).start_wall_s, 1774746000);
  EXPECT_EQ(zone.segment_at(1774746000).end_wall_s, 1792890000);
  EXPECT_EQ(parsed({.footer = "<+0545>-5:45"}).segment_at(0).offset_s, 20700);
}

TEST(TimeZone, TheFooterBeginsAfterTheLastTransition) {
  // The last listed change puts the zone to +2; the rule takes it back to +1 in autumn 2026.
  const TimeZone zone = parsed({.transitions = {{1774746000, 1}},
                                .offsets = {0, 7200},
                                .footer = "CET-1CEST,M3.5.0,M10.5.0/3"});

  EXPECT_EQ(zone.segment_at(1774745999).offset_s, 0);
  EXPECT_EQ(zone.segment_at(1780000000).offset_s, 7200);
  EXPECT_EQ(zone.segment_at(1780000000).end_wall_s, 1792890000);
  EXPECT_EQ(zone.segment_at(1792890000).offset_s, 3600);
}

TEST(TimeZone, DaylightTimeMayLastAllYear) {
  const TimeZone zone = parsed({.footer = "XXX3EDT4,0/0,J365/23"});

  for (std::int64_t t = 1'700'000'000; t < 1'800'000'000; t += 99'999) {
    ASSERT_EQ(zone.segment_at(t).offset_s, -4 * 3600) << t;
  }
}

TEST(TimeZone, DaylightTimeMayBeBehindStandardTime) {
  const TimeZone dublin = parsed({.footer = "IST-1GMT0,M10.5.0,M3.5.0/1"});

  EXPECT_EQ(dublin.segment_at(1782000000).offset_s, 3600);  // June 2026
  EXPECT_EQ(dublin.segment_at(1767225600).offset_s, 0);     // January 2026
  EXPECT_EQ(dublin.largest_step_back_s(0), 3600);
}

TEST(PosixZone, ReadsAllForms) {
  for (const char* text :
       {"UTC0", "EST5EDT,M3.2.0,M11.1.0", "EET-2EEST,M3.4.4/50,M10.4.4/50",
        "<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        "IST-1GMT0,M10.5.0,M3.5.0/1", "AAA0BBB,J60,J300/12:30:15", "AAA0BBB,0,365/-167"}) {
    EXPECT_TRUE(parse_posix_zone(text)) << text;
  }
}

TEST(PosixZone, RefusesTheRest) {
  for (const char* text :
       {"", "UT0", "UTC", "UTC25", "UTC0X", "<>0", "<+1", "EST5EDT", "EST5EDT,M3.2.0",
        "EST5EDT,M13.2.0,M11.1.0", "EST5EDT,M0.2.0,M11.1.0", "EST5EDT,M3.6.0,M11.1.0",
        "EST5EDT,M3.2.7,M11.1.0", "EST5EDT,M3.2.0/168,M11.1.0", "EST5EDT,J0,J10", "EST5EDT,366,10",
        "EST5EDT,M3.2.0,M11.1.0x", "UTC0:60", "UTC99999999999999999999"}) {
    EXPECT_FALSE(parse_posix_zone(text)) << text;
  }
}

TEST(PosixZone, DaysOfTheYearAreCountedBothWays) {
  YearlyRule rule;
  rule.time_s = 0;
  rule.form = YearlyRule::Form::julian_without_leap_day;
  rule.day = 60;  // always 1 March
  EXPECT_EQ(rule.local_s(2023), 1677628800);
  EXPECT_EQ(rule.local_s(2024), 1709251200);
  rule.form = YearlyRule::Form::day_of_year;
  rule.day = 59;  // 1 March, or 29 February in a leap year
  EXPECT_EQ(rule.local_s(2023), 1677628800);
  EXPECT_EQ(rule.local_s(2024), 1709164800);
}

TEST(ZoneNames, CannotLeaveTheDirectory) {
  for (const char* name : {"Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "UTC"}) {
    EXPECT_TRUE(zone_name_is_valid(name)) << name;
  }
  for (const char* name : {"", "/etc/passwd", "../Berlin", "Europe/../Berlin", "Europe//Berlin",
                           "Europe/", "Europe/.", "a b", "a\n", "tzdata.zi"}) {
    EXPECT_FALSE(zone_name_is_valid(name)) << name;
  }
  EXPECT_FALSE(zone_name_is_valid(std::string(65, 'a')));
  EXPECT_FALSE(zone_name_is_valid(std::string_view{"a\0b", 3}));
}

TEST(ZoneFiles, ThatCannotServeSayWhy) {
  EXPECT_THAT(load_zone("Mars/Olympus", test_zones()).error, HasSubstr("is unknown"));
  EXPECT_THAT(load_zone("Europe", test_zones()).error, HasSubstr("its file is a directory"));
  EXPECT_THAT(load_zone("../rules", test_zones()).error, HasSubstr("not an IANA name"));
  EXPECT_EQ(parse_error({}), "is not a time zone file");
  EXPECT_EQ(parse_error({'T', 'Z', 'i', 'f'}), "is not a time zone file");
  EXPECT_EQ(parse_error(make({.leaps = 1})), "counts leap seconds, which the clock does not");
  EXPECT_EQ(parse_error(make({.footer = "nonsense"})), "is a damaged time zone file");
  EXPECT_EQ(parse_error(make({.transitions = {{5, 0}, {5, 0}}})), "is a damaged time zone file");
  EXPECT_EQ(parse_error(make({.transitions = {{5, 1}}})), "is a damaged time zone file");
  EXPECT_EQ(parse_error(make({.offsets = {27 * 3600}})), "is a damaged time zone file");
  EXPECT_EQ(parse_error(make({.transitions = {{std::numeric_limits<std::int64_t>::max(), 0}}})),
            "is a damaged time zone file");
}

// A file that was cut short or overwritten is refused, or read as some other zone; never worse.
TEST(ZoneFiles, DamageDoesNoHarm) {
  const std::string text = slurp(test_zones() + "/Europe/Berlin");
  const Bytes whole{text.begin(), text.end()};
  std::string error;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const Bytes cut{whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)};
    EXPECT_FALSE(TimeZone::parse(cut, error)) << length;
  }
  std::uint32_t state = 7;
  for (int round = 0; round < 5000; ++round) {
    Bytes damaged = whole;
    for (int i = 0; i < 3; ++i) {
      state = state * 1664525 + 1013904223;
      damaged[(state >> 8) % damaged.size()] = static_cast<unsigned char>(state >> 24);
    }
    if (const auto zone = TimeZone::parse(damaged, error)) {
      const ZoneSegment segment = zone->segment_at(1'800'000'000);
      EXPECT_LE(segment.start_wall_s, 1'800'000'000);
      EXPECT_GT(segment.end_wall_s, 1'800'000'000);
    }
  }
}

}  // namespace
}  // namespace weir
