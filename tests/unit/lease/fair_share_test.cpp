// What the division promises, by hand. The vectors of others and the comparison with a slow
// division are in the files beside this one.
#include "lease/fair_share.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace weir::lease {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using Holder = FairShare::Holder;
using Slot = FairShare::Slot;

constexpr std::int64_t kHuge = FairShare::kAmountMax;
constexpr std::int64_t kInt64Max = std::numeric_limits<std::int64_t>::max();

std::vector<std::int64_t> shares_of(const FairShare& fair, const std::vector<Slot>& slots) {
  std::vector<std::int64_t> shares;
  for (const Slot slot : slots)
    shares.push_back(fair.share(slot));
  return shares;
}

std::vector<std::int64_t> divided(std::int64_t capacity, const std::vector<Holder>& holders) {
  FairShare fair;
  fair.set_capacity(capacity);
  std::vector<Slot> slots;
  for (const Holder& holder : holders)
    slots.push_back(fair.add(holder));
  return shares_of(fair, slots);
}

TEST(FairShare, GivesEverybodyWhatItWantsWhereThatFits) {
  EXPECT_THAT(divided(100, {{.want = 30}, {.want = 0}, {.want = 70}}), ElementsAre(30, 0, 70));
  EXPECT_THAT(divided(kInt64Max, {{.want = 30}, {.want = 70}}), ElementsAre(30, 70));
}

TEST(FairShare, WhatSmallWantsLeaveGoesToTheLargeOnes) {
  const std::vector<Holder> holders = {
      {.want = 1}, {.want = 21}, {.want = 25}, {.want = 40}, {.want = 1000}};

  EXPECT_THAT(divided(101, holders), ElementsAre(1, 21, 25, 27, 27));
}

TEST(FairShare, DividesByWeight) {
  const std::vector<Holder> holders = {
      {.want = 500, .weight = 6}, {.want = 500, .weight = 3}, {.want = 500, .weight = 1}};

  EXPECT_THAT(divided(100, holders), ElementsAre(60, 30, 10));
}

TEST(FairShare, AWeightCountsOnlyWhileItsHolderWantsMore) {
  const std::vector<Holder> holders = {{.want = 0, .weight = 1'000'000},
                                       {.want = 7, .weight = 1'000'000},
                                       {.want = 500, .weight = 1},
                                       {.want = 500, .weight = 2}};

  EXPECT_THAT(divided(100, holders), ElementsAre(0, 7, 31, 62));
}

TEST(FairShare, TheLargerBandIsServedFirst) {
  const std::vector<Holder> holders = {
      {.want = 80, .band = 1}, {.want = 30, .band = 7}, {.want = 30, .band = 7}, {.want = 80}};

  EXPECT_THAT(divided(50, holders), ElementsAre(0, 25, 25, 0));
  EXPECT_THAT(divided(100, holders), ElementsAre(40, 30, 30, 0));
  EXPECT_THAT(divided(150, holders), ElementsAre(80, 30, 30, 10));
}

TEST(FairShare, NoWeightBuysAHigherBand) {
  EXPECT_THAT(divided(10, {{.want = 10, .weight = 1'000'000}, {.want = 10, .band = 1}}),
              ElementsAre(0, 10));
}

TEST(FairShare, AFloorIsServedBeforeAHigherBand) {
  const std::vector<Holder> holders = {{.want = 50, .band = 0, .floor = 20},
                                       {.want = 200, .band = 9}};

  EXPECT_THAT(divided(100, holders), ElementsAre(20, 80));
}

TEST(FairShare, AFloorIsPartOfTheShareAndNotOnTopOfIt) {
  EXPECT_THAT(divided(100, {{.want = 500, .floor = 30}, {.want = 500}}), ElementsAre(50, 50));
}

TEST(FairShare, AFloorAboveTheLevelIsTakenFromTheOthers) {
  EXPECT_THAT(divided(100, {{.want = 500, .floor = 70}, {.want = 500}, {.want = 500}}),
              ElementsAre(70, 15, 15));
}

TEST(FairShare, AFloorGivesNobodyMoreThanItWants) {
  EXPECT_THAT(divided(100, {{.want = 5, .floor = 70}, {.want = 500}}), ElementsAre(5, 95));
  EXPECT_THAT(divided(100, {{.want = 0, .floor = 70}, {.want = 500}}), ElementsAre(0, 100));
}

// A holder that wants less than its floor leaves the rest of the floor to the other floors too.
TEST(FairShare, OnlyTheWantedPartOfAFloorHasToFit) {
  EXPECT_THAT(divided(100, {{.want = 20, .floor = 90}, {.want = 500, .floor = 80}}),
              ElementsAre(20, 80));
}

TEST(FairShare, FloorsThatDoNotFitAreDividedByWeight) {
  const std::vector<Holder> holders = {{.want = 500, .weight = 3, .floor = 100},
                                       {.want = 500, .weight = 1, .floor = 100},
                                       {.want = 500, .weight = 1, .floor = 4},
                                       {.want = 500, .weight = 90}};

  EXPECT_THAT(divided(84, holders), ElementsAre(60, 20, 4, 0));
}

TEST(FairShare, FloorsThatDoNotFitAreServedInTheOrderOfTheirBands) {
  const std::vector<Holder> holders = {{.want = 500, .band = 1, .floor = 50},
                                       {.want = 500, .band = 2, .floor = 50},
                                       {.want = 500, .band = 0, .floor = 50},
                                       {.want = 500, .band = 3}};

  EXPECT_THAT(divided(70, holders), ElementsAre(20, 50, 0, 0));
  EXPECT_THAT(divided(150, holders), ElementsAre(50, 50, 50, 0));
  EXPECT_THAT(divided(151, holders), ElementsAre(50, 50, 50, 1));
}

TEST(FairShare, NothingIsDividedWhereNothingIsThere) {
  EXPECT_THAT(divided(0, {{.want = 5}, {.want = 5, .band = 3}, {.want = 5, .floor = 5}}), Each(0));
  EXPECT_THAT(divided(10, {{.want = 0}, {.want = 0}}), Each(0));
}

TEST(FairShare, RoundsDownSoThatEqualHoldersStayEqual) {
  EXPECT_THAT(divided(11, {{.want = 9}, {.want = 9}, {.want = 9}}), Each(3));
  EXPECT_THAT(divided(2, {{.want = 9}, {.want = 9}, {.want = 9}}), Each(0));
}

// A level that is rounded before it meets the weight would lose up to a weight of units.
TEST(FairShare, RoundsTheShareAndNotTheLevel) {
  EXPECT_THAT(divided(999'999, {{.want = kHuge, .weight = 1'000'000}, {.want = kHuge}}),
              ElementsAre(999'998, 0));
}

TEST(FairShare, TheLargestAmountsAndWeightsAreExact) {
  constexpr std::uint32_t kWeight = std::numeric_limits<std::uint32_t>::max();
  const Holder holder = {.want = kHuge, .weight = kWeight};

  EXPECT_THAT(divided(kInt64Max, {holder, holder, holder}), Each(kInt64Max / 3));
  EXPECT_THAT(divided(kInt64Max, {holder, holder}), ElementsAre(kInt64Max / 2, kInt64Max / 2));
  EXPECT_THAT(divided(kInt64Max, {holder}), ElementsAre(kHuge));

  const Holder floored = {.want = kHuge, .weight = kWeight, .floor = kHuge};
  EXPECT_THAT(divided(kHuge, {floored, floored, holder}), ElementsAre(kHuge / 2, kHuge / 2, 0));
}

TEST(FairShare, AmountsOutsideTheirRangeCountAsItsNearestEnd) {
  FairShare fair;
  const Slot low = fair.add({.want = -5, .weight = 0, .floor = -5});
  const Slot high = fair.add({.want = kInt64Max, .floor = kInt64Max});
  fair.set_capacity(-1);

  EXPECT_EQ(fair.capacity(), 0);
  EXPECT_EQ(fair.share(high), 0);
  EXPECT_EQ(fair.holder(low), (Holder{.want = 0, .weight = 1, .floor = 0}));
  EXPECT_EQ(fair.holder(high), (Holder{.want = kHuge, .weight = 1, .floor = kHuge}));

  fair.set_capacity(kInt64Max);
  EXPECT_EQ(fair.share(low), 0);
  EXPECT_EQ(fair.share(high), kHuge);
}

TEST(FairShare, EveryChangeShowsInTheNextShare) {
  FairShare fair;
  fair.set_capacity(90);
  const Slot a = fair.add({.want = 60});
  EXPECT_EQ(fair.share(a), 60);
  const Slot b = fair.add({.want = 60});
  EXPECT_EQ(fair.share(a), 45);
  fair.set(b, {.want = 60, .weight = 2});
  EXPECT_EQ(fair.share(a), 30);
  fair.set(a, {.want = 60, .floor = 50});
  EXPECT_EQ(fair.share(a), 50);
  EXPECT_EQ(fair.share(b), 40);
  fair.set(b, {.want = 60, .band = 1});
  EXPECT_EQ(fair.share(b), 40);
  fair.set(a, {.want = 60});
  EXPECT_EQ(fair.share(b), 60);
  EXPECT_EQ(fair.share(a), 30);
  fair.set_capacity(70);
  EXPECT_EQ(fair.share(a), 10);
  fair.remove(b);
  EXPECT_EQ(fair.share(a), 60);
}

TEST(FairShare, TotalsFollowEveryChange) {
  FairShare fair;
  EXPECT_EQ(fair.size(), 0U);
  EXPECT_EQ(fair.want_total(), 0);
  EXPECT_EQ(fair.weight_total(), 0U);

  const Slot a = fair.add({.want = 60, .weight = 5});
  const Slot b = fair.add({.want = 0, .weight = 7});
  EXPECT_EQ(fair.size(), 2U);
  EXPECT_EQ(fair.want_total(), 60);
  EXPECT_EQ(fair.weight_total(), 12U);

  fair.set(b, {.want = 40, .weight = 1});
  EXPECT_EQ(fair.want_total(), 100);
  EXPECT_EQ(fair.weight_total(), 6U);

  fair.remove(a);
  EXPECT_EQ(fair.size(), 1U);
  EXPECT_EQ(fair.want_total(), 40);
  EXPECT_EQ(fair.weight_total(), 1U);
}

// The sum inside is wider: shares stay exact where the total that is shown has reached its end.
TEST(FairShare, ATotalBeyond64BitsIsShownAsTheLargestNumber) {
  FairShare fair;
  std::vector<Slot> slots;
  for (int i = 0; i < 100; ++i)
    slots.push_back(fair.add({.want = kHuge}));
  fair.set_capacity(kInt64Max);

  EXPECT_EQ(fair.want_total(), kInt64Max);
  EXPECT_THAT(shares_of(fair, slots), Each(kInt64Max / 100));

  for (int i = 99; i > 0; --i)
    fair.remove(slots[static_cast<std::size_t>(i)]);
  EXPECT_EQ(fair.want_total(), kHuge);
  EXPECT_EQ(fair.share(slots[0]), kHuge);
}

TEST(FairShare, AFreedSlotIsGivenOutAgainAndRemembersNothing) {
  FairShare fair;
  fair.set_capacity(100);
  const Slot a = fair.add({.want = 60, .weight = 9, .band = 3, .floor = 40});
  const Slot b = fair.add({.want = 100});
  fair.remove(a);
  EXPECT_EQ(fair.share(b), 100);

  const Slot again = fair.add({.want = 100});

  EXPECT_EQ(again, a);
  EXPECT_EQ(fair.share(again), 50);
  EXPECT_EQ(fair.add({}), 2U);
}

TEST(FairShare, KeepsItsHoldersWhenItIsMoved) {
  FairShare fair;
  fair.set_capacity(90);
  const Slot a = fair.add({.want = 60});
  const Slot b = fair.add({.want = 60});

  FairShare moved = std::move(fair);

  EXPECT_EQ(moved.share(a), 45);
  moved.remove(b);
  EXPECT_EQ(moved.share(a), 60);
}

// The book that asks for a slot it has given back has lost count of its holders.
TEST(FairShareDeathTest, ASlotWithoutAHolderAborts) {
  FairShare fair;
  const Slot slot = fair.add({.want = 60});
  EXPECT_DEATH((void)fair.share(slot + 1), "");
  fair.remove(slot);
  EXPECT_DEATH((void)fair.share(slot), "");
  EXPECT_DEATH(fair.set(slot, {}), "");
  EXPECT_DEATH(fair.remove(slot), "");
}

}  // namespace
}  // namespace weir::lease
