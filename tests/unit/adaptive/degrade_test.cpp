#include "adaptive/degrade.h"

#include <gtest/gtest.h>

#include <cmath>

namespace weir::adaptive {
namespace {

DegradeOptions two_levels() {
  DegradeOptions options;
  options.levels[0] = {.enter = 80, .leave = 60};
  options.levels[1] = {.enter = 95, .leave = 85};
  options.level_count = 2;
  return options;
}

std::size_t run(Degrader& degrader, TimeNs& now_ns, TimeNs span_ns, double value) {
  for (const TimeNs end_ns = now_ns + span_ns; now_ns < end_ns; now_ns += 100 * kMs)
    degrader.on_signal(now_ns, value);
  return degrader.level();
}

TEST(Degrader, EntersAfterTheHoldTimeAndLeavesBelowTheLowerThreshold) {
  Degrader degrader(two_levels());
  TimeNs now_ns = 0;
  EXPECT_EQ(run(degrader, now_ns, 900 * kMs, 85), 0U);
  EXPECT_EQ(run(degrader, now_ns, 300 * kMs, 85), 1U);
  EXPECT_EQ(run(degrader, now_ns, 60 * kSecond, 70), 1U);  // between the thresholds: held
  EXPECT_EQ(run(degrader, now_ns, 9 * kSecond, 50), 1U);
  EXPECT_EQ(run(degrader, now_ns, 2 * kSecond, 50), 0U);
}

TEST(Degrader, AShortSpikeIsNoReason) {
  Degrader degrader(two_levels());
  TimeNs now_ns = 0;
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(run(degrader, now_ns, 500 * kMs, 100), 0U);
    run(degrader, now_ns, 500 * kMs, 70);
  }
}

TEST(Degrader, GoesUpAtOnceAndComesDownLevelByLevel) {
  Degrader degrader(two_levels());
  TimeNs now_ns = 0;
  EXPECT_EQ(run(degrader, now_ns, 1200 * kMs, 100), 2U);
  EXPECT_EQ(run(degrader, now_ns, 11 * kSecond, 0), 1U);
  EXPECT_EQ(run(degrader, now_ns, 8 * kSecond, 0), 1U);
  EXPECT_EQ(run(degrader, now_ns, 3 * kSecond, 0), 0U);
}

// A signal that trembles around a threshold switches once, not each time.
TEST(Degrader, DoesNotFlap) {
  Degrader degrader(two_levels());
  TimeNs now_ns = 0;
  int changes = 0;
  std::size_t before = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::size_t level = degrader.on_signal(now_ns += 100 * kMs, i % 20 < 15 ? 82 : 78);
    if (level != before) ++changes;
    before = level;
  }
  EXPECT_EQ(changes, 1);
}

TEST(Degrader, WithoutASignalItGoesBack) {
  Degrader degrader(two_levels());
  TimeNs now_ns = 0;
  run(degrader, now_ns, 2 * kSecond, 100);
  EXPECT_EQ(degrader.on_signal(now_ns + 29 * kSecond, std::nan("")), 2U);
  EXPECT_EQ(degrader.on_time(now_ns + 31 * kSecond), 0U);
}

TEST(Degrader, NonsenseIsCut) {
  DegradeOptions options = two_levels();
  options.level_count = 1000;
  options.levels[0].leave = 1e9;  // above the threshold to enter
  Degrader degrader(options);
  for (const TimeNs now_ns : {TimeNs{INT64_MAX}, TimeNs{INT64_MIN}, TimeNs{0}})
    EXPECT_LE(degrader.on_signal(now_ns, HUGE_VAL), kDegradeLevelsMax);
}

TEST(DegradeWord, AFeatureIsOffFromItsLevelOn) {
  EXPECT_FALSE(degraded(0, 1, 0));
  const DegradeWord word = degrade_word(2, 0, 0);
  EXPECT_TRUE(degraded(word, 1, 0));
  EXPECT_TRUE(degraded(word, 2, 0));
  EXPECT_FALSE(degraded(word, 3, 0));
  EXPECT_FALSE(degraded(degrade_word(8, 0, 0), 0, 0));  // level 0 is never given up
}

TEST(DegradeWord, ADrillTakesItsShareAndNoMore) {
  const DegradeWord word = degrade_word(0, 2, kShareWhole / 100);
  int drilled = 0;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    drilled += degraded(word, 2, spread(i)) ? 1 : 0;
    EXPECT_FALSE(degraded(word, 3, spread(i)));
  }
  EXPECT_NEAR(drilled, 1000, 20);
}

}  // namespace
}  // namespace weir::adaptive
