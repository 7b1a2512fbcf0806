#include "adaptive/shed_classes.h"

#include <gtest/gtest.h>

#include <cmath>

namespace weir::adaptive {
namespace {

constexpr std::array<Criticality, kClasses> kAll{Criticality::critical_plus, Criticality::critical,
                                                 Criticality::sheddable_plus,
                                                 Criticality::sheddable};

std::uint32_t limit_of(const ShedWords& words, std::size_t i) {
  return shed_field(words.limits, kAll[i]) - 1;
}
double refused_of(const ShedWords& words, std::size_t i) {
  return static_cast<double>(shed_field(words.refusals, kAll[i])) / kShareWhole;
}

TEST(ShedWord, AllZeroShedsNothing) {
  for (const Criticality criticality : kAll)
    EXPECT_FALSE(sheds(ShedWords{}, criticality, UINT64_MAX, UINT32_MAX));
}

TEST(ShedWord, ALimitRefusesFromThereOn) {
  const ShedWords words = fixed_words(3);
  for (const Criticality criticality : kAll) {
    EXPECT_FALSE(sheds(words, criticality, 2, 0));
    EXPECT_TRUE(sheds(words, criticality, 3, 0));
    EXPECT_TRUE(sheds(words, criticality, UINT64_MAX - 1, 0));
  }
  EXPECT_EQ(fixed_words(0), ShedWords{});
  EXPECT_FALSE(sheds(fixed_words(UINT32_MAX), Criticality::sheddable, kShedLimitMax - 1, 0));
}

TEST(ShedWord, ACounterSpreadsAShareEvenly) {
  const ShedWords words{.limits = 0, .refusals = pack_classes({0, 0, 0, kShareWhole / 10})};
  int refused = 0;
  int longest = 0;
  int passed = 0;
  for (std::uint64_t i = 1; i <= 10'000; ++i) {
    if (sheds(words, Criticality::sheddable, 0, spread(i))) {
      ++refused;
      passed = 0;
    } else {
      longest = std::max(longest, ++passed);
    }
    EXPECT_FALSE(sheds(words, Criticality::sheddable_plus, 0, spread(i)));
  }
  EXPECT_NEAR(refused, 1000, 5);
  EXPECT_LE(longest, 21);
}

TEST(ShedWord, AClassThatDoesNotExistIsTheLeastImportant) {
  const ShedWords words{.limits = pack_classes({0, 0, 0, 1}), .refusals = 0};
  EXPECT_TRUE(sheds(words, static_cast<Criticality>(200), 0, 0));
}

TEST(ShedClasses, TheLeastImportantGoesFirst) {
  const ShedWords words = plan_classes(12, {800, {200, 400, 400, 800}});
  EXPECT_EQ(refused_of(words, 0), 0.0);
  EXPECT_EQ(refused_of(words, 1), 0.0);
  EXPECT_EQ(refused_of(words, 2), 0.0);  // the capacity ends in it: its limit decides
  EXPECT_EQ(limit_of(words, 2), 12U);
  EXPECT_EQ(refused_of(words, 3), 1.0);
  EXPECT_EQ(limit_of(words, 0), 168U);
  EXPECT_EQ(limit_of(words, 1), 24U);
}

TEST(ShedClasses, ASingleClassHasTheLimitAlone) {
  for (std::size_t i = 0; i < kClasses; ++i) {
    ClassDemand demand{.capacity_per_second = 800, .asked_per_second = {}};
    demand.asked_per_second[i] = 8000;
    const ShedWords words = plan_classes(12, demand);
    EXPECT_EQ(refused_of(words, i), 0.0);
    EXPECT_EQ(limit_of(words, i), 12U);
  }
}

// With each percent more of the upper classes the lower ones lose a little, never all at once.
TEST(ShedClasses, TheChangeIsGradualAndOrdered) {
  ShedWords before = plan_classes(12, {1000, {0, 0, 100, 500}});
  for (double upper = 0; upper <= 3000; upper += 10) {
    const ShedWords words = plan_classes(12, {1000, {upper, 0, 100, 500}});
    for (std::size_t i = 0; i < kClasses; ++i) {
      EXPECT_LE(limit_of(words, i), limit_of(before, i));
      EXPECT_GE(refused_of(words, i), refused_of(before, i));
      EXPECT_LE(refused_of(words, i) - refused_of(before, i), 0.08);
      if (i > 0) {
        EXPECT_LE(limit_of(words, i), limit_of(words, i - 1));
        EXPECT_GE(refused_of(words, i), refused_of(words, i - 1));
      }
    }
    before = words;
  }
  EXPECT_EQ(refused_of(before, 3), 1.0);
}

// Signals that still tell of the time before, or of chance, refuse nothing of what fits well.
TEST(ShedClasses, WhatFitsWellHasTheCalmLimit) {
  const auto limit_at = [](double asked) {
    return limit_of(plan_classes(4, {100, {0, asked, 0, 0}, 20}), 1);
  };
  EXPECT_EQ(limit_at(50), 20U);
  EXPECT_EQ(limit_at(60), 20U);
  EXPECT_LT(limit_at(68), 20U);
  EXPECT_GT(limit_at(68), 8U);
  EXPECT_EQ(limit_at(75), 8U);
  EXPECT_EQ(limit_at(110), 4U);
  // The limit of a class that has more is not lowered by it.
  EXPECT_EQ(limit_of(plan_classes(4, {100, {50, 0, 0, 0}, 20}), 0), 56U);
}

TEST(ShedClasses, WithoutAnEstimateTheLimitDecidesForAll) {
  const ShedWords words = plan_classes(12, {});
  EXPECT_EQ(words, fixed_words(12));
}

TEST(ShedClasses, AnyNumbersAreTaken) {
  const double nan = std::nan("");
  for (const double bad : {nan, -1.0, 1e300, HUGE_VAL}) {
    const ShedWords words =
        plan_classes(bad, {bad, {bad, bad, bad, bad}},
                     {.overshoot = {bad, bad, bad, bad}, .safe_until = bad, .fade = bad});
    EXPECT_FALSE(sheds(words, Criticality::critical_plus, 0, 0));
  }
}

}  // namespace
}  // namespace weir::adaptive
