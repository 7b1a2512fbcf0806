#include "adaptive/window.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "adaptive/estimate.h"
#include "adaptive/histogram.h"

namespace weir::adaptive {
namespace {

struct Sum {
  std::int64_t value = 0;
};
using Three = Window<Sum, 3>;

std::vector<std::int64_t> complete(const Three& window) {
  std::vector<std::int64_t> values;
  window.each_complete([&](const Sum& cell) { values.push_back(cell.value); });
  return values;
}

// From the tests of go-kratos' rolling window: where the ring stands after these pauses.
TEST(Window, RollsByWholeCellsFromTheFirstUseOn) {
  const std::array<std::pair<std::vector<int>, std::vector<std::size_t>>, 3> cases{{
      {{150, 51}, {1, 2}},
      {{94, 250}, {0, 0}},
      {{150, 300, 600}, {1, 1, 1}},
  }};
  for (const auto& [pauses, places] : cases) {
    Three window(100 * kMs);
    TimeNs now_ns = 5 * kSecond + 37;
    window.at(now_ns);
    for (std::size_t i = 0; i < pauses.size(); ++i) {
      now_ns += pauses[i] * kMs;
      window.at(now_ns);
      EXPECT_EQ(window.head(), places[i]);
    }
  }
}

// The same tests: after a gap the cells in between are empty.
TEST(Window, EmptiesWhatWasMissed) {
  for (const auto& [gap_ms, places] : std::vector<std::pair<int, std::array<std::int64_t, 3>>>{
           {201, {0, 4, 2}}, {501, {0, 4, 0}}}) {
    Three window(100 * kMs);
    for (int i = 0; i < 3; ++i)
      window.at(i * 100 * kMs).value += i;
    window.at((200 + gap_ms) * kMs).value += 4;

    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_EQ(window.place(i).value, places[i]) << gap_ms << " ms, place " << i;
  }
}

TEST(Window, TheCellBeingFilledIsNotAmongTheCompleteOnes) {
  Three window(100 * kMs);
  window.at(0).value = 7;
  EXPECT_TRUE(complete(window).empty());

  window.roll(100 * kMs);
  EXPECT_EQ(complete(window), std::vector<std::int64_t>{7});
}

TEST(Window, AClockThatRunsBackIsNoTimeAtAll) {
  Three window(100 * kMs);
  window.at(3600 * kSecond).value = 1;
  window.at(0).value += 1;
  EXPECT_EQ(window.rolled(), 0U);

  // And it goes on from there at once, not after the hour.
  window.at(150 * kMs).value = 5;
  EXPECT_EQ(complete(window), std::vector<std::int64_t>{2});
}

TEST(Window, ReadingsThatOvertakeEachOtherMakeNoTime) {
  Three window(100 * kMs);
  window.at(kSecond);
  for (int i = 0; i < 1000; ++i) {
    window.roll(kSecond + 50 * kMs);
    window.roll(kSecond);
  }
  EXPECT_EQ(window.rolled(), 0U);
}

TEST(Window, LeapsOfAnyLengthLeaveItEmpty) {
  for (const TimeNs leap_ns : {10 * kSecond, 400 * 24 * 3600 * kSecond, TimeNs{INT64_MAX}}) {
    Three window(100 * kMs);
    window.at(INT64_MIN).value = 9;
    window.at(0).value = 9;
    window.roll(leap_ns);
    EXPECT_EQ(complete(window), (std::vector<std::int64_t>{0, 0}));
  }
}

TEST(Window, SumsOverNeighboursFindTheFullestSecond) {
  Window<Sum, 8> window(100 * kMs);
  TimeNs now_ns = 0;
  for (const int value : {1, 5, 5, 1, 9, 0}) {
    window.at(now_ns).value = value;
    window.roll(now_ns += 100 * kMs);
  }
  const auto value = [](const Sum& cell) { return static_cast<double>(cell.value); };

  EXPECT_EQ(max_sum(window, 1, value), 9.0);
  EXPECT_EQ(max_sum(window, 2, value), 10.0);
  EXPECT_EQ(max_sum(window, 3, value), 15.0);
  EXPECT_EQ(newest_sum(window, 2, value), 9.0);
  EXPECT_EQ(newest_sum(window, 100, value), 21.0);
}

TEST(Ewma, ForgetsByTimeAndNotByTheNumberOfSamples) {
  Ewma seldom(kSecond);
  Ewma often(kSecond);
  seldom.add(0, 0.0);
  often.add(0, 0.0);
  seldom.add(kSecond, 1000.0);
  for (int i = 1; i <= 100; ++i)
    often.add(i * 10 * kMs, 1000.0);

  EXPECT_NEAR(seldom.value(), 1000.0 * (1.0 - std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(often.value(), seldom.value(), 1e-6);
}

// What integers that cut their fraction off never reach: see Published.TheAverageOfTheCpuStops.
TEST(Ewma, ReachesASteadyValue) {
  Ewma cpu(500 * kMs);
  cpu.add(0, 0.0);
  for (int i = 1; i <= 100; ++i)
    cpu.add(i * 100 * kMs, 818.0);
  EXPECT_NEAR(cpu.value(), 818.0, 0.01);
}

TEST(Ewma, NoNumberIsNoSample) {
  Ewma mean(kSecond);
  mean.add(0, std::numeric_limits<double>::quiet_NaN());
  EXPECT_FALSE(mean.known());
  mean.add(0, 5.0);
  mean.add(kSecond, std::numeric_limits<double>::infinity());
  EXPECT_EQ(mean.value(), 5.0);
}

TEST(FadingMin, KeepsTheLeastAndLetsItGoInTime) {
  FadingMin least(kSecond);
  FadingMax most(kSecond);
  for (const double value : {5.0, 3.0, 8.0}) {
    least.add(0, value);
    most.add(0, value);
  }
  EXPECT_EQ(least.value(), 3.0);
  EXPECT_EQ(most.value(), 8.0);

  least.add(20 * kSecond, 10.0);
  EXPECT_NEAR(least.value(), 10.0, 1e-6);
  least.add(kSecond, 9.0);  // the clock ran back: nothing fades, the lesser value counts
  EXPECT_EQ(least.value(), 9.0);
}

TEST(Histogram, APercentileIsRightToOnePartInEight) {
  Histogram histogram;
  for (TimeNs value_ns = 1; value_ns < 3 * 3600 * kSecond; value_ns = value_ns * 5 / 4 + 1) {
    const std::size_t cell = Histogram::cell_of(value_ns);
    EXPECT_GE(Histogram::upper_edge_ns(cell), value_ns);
    EXPECT_LE(static_cast<double>(Histogram::upper_edge_ns(cell)),
              static_cast<double>(value_ns) * 1.125);
    if (cell > 0) {
      EXPECT_LT(Histogram::upper_edge_ns(cell - 1), value_ns);
    }
  }
  for (int i = 1; i <= 1000; ++i)
    histogram.add(i * kMs);
  EXPECT_NEAR(static_cast<double>(histogram.percentile(0.99)) / kMs, 990.0, 990.0 / 8);
  EXPECT_NEAR(static_cast<double>(histogram.percentile(0.5)) / kMs, 500.0, 500.0 / 8);
}

// Envoy's test: the median of 1..5 ms is 3 ms.
TEST(Histogram, FindsTheMedianOfAFewSamples) {
  Histogram histogram;
  for (int i = 1; i <= 5; ++i)
    histogram.add(i * kMs);
  EXPECT_NEAR(static_cast<double>(histogram.percentile(0.5)) / kMs, 3.0, 3.0 / 8);
}

TEST(Histogram, TakesAnyValueAndSaturates) {
  Histogram histogram;
  EXPECT_EQ(histogram.percentile(0.5), 0);
  histogram.add(INT64_MIN);
  histogram.add(INT64_MAX, UINT64_MAX);
  histogram.add(0, UINT64_MAX);
  EXPECT_EQ(histogram.count(), UINT64_MAX);
  EXPECT_EQ(histogram.percentile(-1.0), 0);
  EXPECT_GT(histogram.percentile(2.0), 24 * 3600 * kSecond);
  Histogram other = histogram;
  other.merge(histogram);
  EXPECT_EQ(other.count(), UINT64_MAX);
  other.halve();
  EXPECT_LE(other.count(), UINT64_MAX / 2 + 1);
  EXPECT_GT(other.percentile(std::nan("")), -1);
}

}  // namespace
}  // namespace weir::adaptive
