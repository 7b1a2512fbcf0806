#include "rules/burst.h"

#include <gtest/gtest.h>

namespace weir {
namespace {

TEST(Burst, FullUseNeedsFourTicksOfTheRateAndTwo) {
  EXPECT_EQ(full_use_burst({300, kSecondNs}), 4U);
  EXPECT_EQ(full_use_burst({10'000, kSecondNs}), 42U);
  EXPECT_EQ(full_use_burst({1'000'000, kSecondNs}), 4002U);
}

TEST(Burst, SlowRatesNeedOneOrTwo) {
  EXPECT_EQ(full_use_burst({1, kDayNs}), 1U);
  EXPECT_EQ(full_use_burst({5, kSecondNs}), 1U);
  EXPECT_EQ(full_use_burst({250, kSecondNs}), 2U);
  EXPECT_EQ(full_use_burst({0, kSecondNs}), 0U);
}

// The shares that processes on a real host measured with bursts of 1, 2 and 4 ticks.
TEST(Burst, TheUsableShareIsNearWhatWasMeasured) {
  EXPECT_NEAR(usable_permille({300, kSecondNs}, 1), 640, 40);
  EXPECT_NEAR(usable_permille({10'000, kSecondNs}, 10), 450, 15);
  EXPECT_NEAR(usable_permille({10'000, kSecondNs}, 20), 905, 15);
  EXPECT_GE(usable_permille({10'000, kSecondNs}, 40), 990U);
  EXPECT_GE(usable_permille({300, kSecondNs}, 10), 990U);
}

TEST(Burst, WhatIsSaidToGiveFullUseGivesIt) {
  for (const std::uint64_t rate : {1U, 4U, 5U, 6U, 11U, 99U, 249U, 250U, 251U, 999U, 12'345U}) {
    EXPECT_GE(usable_permille({rate, kSecondNs}, full_use_burst({rate, kSecondNs})), 985U) << rate;
  }
}

}  // namespace
}  // namespace weir
