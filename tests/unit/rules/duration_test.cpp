#include "rules/duration.h"

#include <gtest/gtest.h>

#include <limits>
#include <utility>
#include <vector>

namespace weir {
namespace {

TEST(Duration, ReadsWhatPeopleWrite) {
  const std::vector<std::pair<const char*, std::uint64_t>> cases{
      {"0", 0},
      {"0s", 0},
      {"1ns", 1},
      {"250us", 250'000},
      {"500ms", 500'000'000},
      {"10s", 10 * kSecondNs},
      {"1m30s", 90 * kSecondNs},
      {"1m 30s", 90 * kSecondNs},
      {"90 s", 90 * kSecondNs},
      {"1.5h", 90 * kMinuteNs},
      {"0.000000001s", 1},
      {"2h0m5s", 2 * kHourNs + 5 * kSecondNs},
      {"7d", 7 * kDayNs},
      {"1w", 7 * kDayNs},
      {"366d", 366 * kDayNs},
  };
  for (const auto& [text, ns] : cases) {
    EXPECT_EQ(parse_duration_ns(text).value, ns) << text << parse_duration_ns(text).error;
  }
}

TEST(Duration, RefusesTheRest) {
  for (const char* text : {"",
                           "s",
                           "10",
                           "-1s",
                           "+1s",
                           "1x",
                           "1s1m",
                           "1s1s",
                           "1.s",
                           ".5s",
                           "1e3s",
                           "0x1s",
                           "1 s s",
                           "1:30",
                           "0.5ns",
                           "367d",
                           "99999999999999999999s",
                           "999999999999999999d",
                           "nan",
                           "infs",
                           "1.0000000001s",
                           "1s,",
                           "1S",
                           "1 min"}) {
    EXPECT_FALSE(parse_duration_ns(text).value) << text;
    EXPECT_FALSE(parse_duration_ns(text).error.empty()) << text;
  }
}

TEST(Duration, SurvivesARoundTrip) {
  for (const std::uint64_t ns :
       std::vector<std::uint64_t>{0, 1, 999, 1'000, 1'234'567, kSecondNs, 90 * kSecondNs,
                                  kHourNs + 1, kDayNs, 31 * kDayNs + kHourNs, 366 * kDayNs}) {
    EXPECT_EQ(parse_duration_ns(format_duration_ns(ns)).value, ns) << format_duration_ns(ns);
  }
  EXPECT_EQ(format_duration_ns(90 * kSecondNs), "1m30s");
  EXPECT_EQ(format_duration_ns(0), "0s");
}

TEST(Count, ReadsSuffixesExactly) {
  const std::vector<std::pair<const char*, std::uint64_t>> cases{
      {"0", 0},        {"7", 7},        {"007", 7},        {"10k", 10'000},
      {"10K", 10'000}, {"1.5k", 1'500}, {"2M", 2'000'000}, {"1G", 1'000'000'000}};
  for (const auto& [text, count] : cases) {
    EXPECT_EQ(parse_count(text).value, count) << text;
  }
  EXPECT_EQ(parse_count("999999999999999999").value, 999'999'999'999'999'999U);
}

TEST(Count, RefusesTheRest) {
  for (const char* text : {"", "k", "-1", "+1", "1.5", "1.0001k", "1e3", "0x10", "1_000", "1,000",
                           "10kk", "10 k", "10T", "9999999999999999999", "10000000000G", "nan"}) {
    EXPECT_FALSE(parse_count(text).value) << text;
  }
}

TEST(RateText, ReadsWhatPeopleWrite) {
  const std::vector<std::pair<const char*, Rate>> cases{
      {"300/s", {300, kSecondNs}},
      {"10k/s", {10'000, kSecondNs}},
      {"1.5k/s", {1'500, kSecondNs}},
      {"1M/m", {1'000'000, kMinuteNs}},
      {"5/h", {5, kHourNs}},
      {"100/d", {100, kDayNs}},
      {"300 / second", {300, kSecondNs}},
      {"300/10s", {300, 10 * kSecondNs}},
      {"300 per 10s", {300, 10 * kSecondNs}},
      {"5 per 1m30s", {5, 90 * kSecondNs}},
      {"5 per minute", {5, kMinuteNs}},
      {"0.5/s", {1, 2 * kSecondNs}},
      {"2.50/s", {5, 2 * kSecondNs}},
      {"0/s", {0, kSecondNs}},
      {"0.0/m", {0, kMinuteNs}},
      {"1/us", {1, 1'000}},
  };
  for (const auto& [text, rate] : cases) {
    const Parsed<Rate> parsed = parse_rate(text);
    ASSERT_TRUE(parsed.value) << text << ": " << parsed.error;
    EXPECT_EQ(*parsed.value, rate) << text;
  }
}

TEST(RateText, RefusesTheRest) {
  for (const char* text : {"",
                           "300",
                           "/s",
                           "300/",
                           "300 per",
                           "300 per ",
                           "300s",
                           "-1/s",
                           "nan/s",
                           "inf/s",
                           "1e3/s",
                           "300/x",
                           "300/mo",
                           "300//s",
                           "300/s/s",
                           "1/ns",
                           "1 per 32d",
                           "1/0",
                           "1/-1s",
                           "300 pro s",
                           "5m/h",
                           "0.000000001/d",
                           "99999999999999999999/s",
                           "999999999999999999G/s",
                           "300/s "}) {
    EXPECT_FALSE(parse_rate(text).value) << text;
    EXPECT_FALSE(parse_rate(text).error.empty()) << text;
  }
}

TEST(RateText, SurvivesARoundTrip) {
  for (const Rate rate : {Rate{300, kSecondNs}, Rate{0, kSecondNs}, Rate{5, 90 * kSecondNs},
                          Rate{7, kDayNs}, Rate{1, 31 * kDayNs}, Rate{3, 1'001}}) {
    EXPECT_EQ(parse_rate(format_rate(rate)).value, rate) << format_rate(rate);
  }
  EXPECT_EQ(format_rate({300, kSecondNs}), "300/s");
  EXPECT_EQ(format_rate({5, 90 * kSecondNs}), "5 per 1m30s");
}

TEST(RateBounds, HaveWordsForWhatCannotBeMinted) {
  EXPECT_EQ(rate_problem({1, kDayNs}), "");
  EXPECT_EQ(rate_problem({0, kDayNs}), "");
  EXPECT_EQ(rate_problem({kRateMaxPerS, kSecondNs}), "");
  EXPECT_NE(rate_problem({kRateMaxPerS + 1, kSecondNs}), "");
  EXPECT_NE(rate_problem({1, kDayNs + 1}), "");
}

TEST(RateBounds, ComparisonIsExact) {
  EXPECT_FALSE(is_faster({60, kMinuteNs}, {1, kSecondNs}));
  EXPECT_TRUE(is_faster({61, kMinuteNs}, {1, kSecondNs}));
  const std::uint64_t huge = std::numeric_limits<std::int64_t>::max();
  EXPECT_TRUE(is_faster({huge, 31 * kDayNs - 1}, {huge, 31 * kDayNs}));
}

TEST(TokensIn, RoundsUpAndSaturates) {
  EXPECT_EQ(tokens_in({300, kSecondNs}, 4'000'000), 2U);
  EXPECT_EQ(tokens_in({1, kDayNs}, 1), 1U);
  EXPECT_EQ(tokens_in({0, kDayNs}, kDayNs), 0U);
  EXPECT_EQ(tokens_in({std::numeric_limits<std::uint64_t>::max(), 1}, kDayNs),
            static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
}

TEST(Permille, ReadsPercentages) {
  EXPECT_EQ(parse_permille("20%").value, 200U);
  EXPECT_EQ(parse_permille("12.5%").value, 125U);
  EXPECT_EQ(parse_permille("20 %").value, 200U);
  EXPECT_EQ(parse_permille("0").value, 0U);
  EXPECT_EQ(parse_permille("99.9%").value, 999U);
  EXPECT_EQ(format_permille(125), "12.5%");
  EXPECT_EQ(format_permille(200), "20%");
  for (const char* text : {"", "%", "20", "0.2", "100%", "1000%", "-1%", "12.55%", "5%%", "nan%",
                           "999999999999999999%"}) {
    EXPECT_FALSE(parse_permille(text).value) << text;
  }
}

}  // namespace
}  // namespace weir
