// What others published or got wrong, as numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "lease/fair_share.h"

namespace weir::lease {
namespace {

struct Fraction {
  std::int64_t numerator = 0;
  std::int64_t denominator = 1;
};

struct MaxMinVector {
  std::int64_t capacity = 0;
  std::vector<std::int64_t> wants;
  std::vector<std::uint32_t> weights;
  std::vector<Fraction> shares;
};

#include "tests/unit/lease/vectors_maxmin.inc"

// Once in whole units, and once in millionths, where rounding down hides almost nothing.
void expect_exact(const MaxMinVector& vector) {
  ASSERT_EQ(vector.wants.size(), vector.weights.size());
  ASSERT_EQ(vector.wants.size(), vector.shares.size());
  for (const std::int64_t unit : {1, 1'000'000}) {
    FairShare fair;
    fair.set_capacity(vector.capacity * unit);
    for (std::size_t i = 0; i < vector.wants.size(); ++i)
      fair.add({.want = vector.wants[i] * unit, .weight = vector.weights[i]});
    for (std::size_t i = 0; i < vector.wants.size(); ++i) {
      const Fraction& share = vector.shares[i];
      EXPECT_EQ(fair.share(static_cast<FairShare::Slot>(i)),
                share.numerator * unit / share.denominator)
          << "holder " << i << " in units of 1/" << unit;
    }
  }
}

void expect_all_exact(const std::vector<MaxMinVector>& vectors) {
  for (std::size_t i = 0; i < vectors.size(); ++i) {
    SCOPED_TRACE("vector " + std::to_string(i));
    expect_exact(vectors[i]);
  }
}

TEST(FairShareVectors, DividesAsDoormanPublishes) {
  ASSERT_EQ(kPublished.size(), 4U);
  expect_all_exact(kPublished);
}

TEST(FairShareVectors, IsExactWhereTwoRoundsOfRedistributionAreNot) {
  ASSERT_EQ(kTraps.size(), 6U);
  expect_all_exact(kTraps);
}

TEST(FairShareVectors, IsExactForEveryDrawnVector) {
  ASSERT_EQ(kRandom.size(), 100U);
  expect_all_exact(kRandom);
}

// TestConciliateFillRate of tikv/pd (pkg/mcs/resourcemanager/server/keyspace_manager_test.go): the
// resource groups of a keyspace share its service limit by priority. Here the service limit is the
// capacity, a group's demand its want, its fill rate its weight and its priority its band.
//
// The override is what a group's fill rate is cut to; kNoOverride leaves it as configured. That
// is not a number of ours: it means that the demand is met in full.
constexpr std::int64_t kNoOverride = -1;

struct PdGroup {
  std::uint32_t priority;
  std::uint32_t fill_rate;
  std::int64_t demand;
  std::int64_t override_fill_rate;
};

struct PdCase {
  std::string name;
  std::int64_t service_limit;
  std::vector<PdGroup> groups;
};

const std::vector<PdCase> kPdCases = {
    {"one priority, enough",
     100,
     {{1, 10, 10, kNoOverride}, {1, 20, 20, kNoOverride}, {1, 30, 30, kNoOverride}}},
    {"one priority, short", 50, {{1, 20, 20, 10}, {1, 30, 30, 15}, {1, 50, 50, 25}}},
    {"many priorities, enough",
     200,
     {{3, 20, 10, kNoOverride},
      {3, 30, 15, kNoOverride},
      {2, 25, 20, kNoOverride},
      {2, 35, 30, kNoOverride},
      {1, 40, 40, kNoOverride}}},
    {"lower band starved",
     80,
     {{3, 30, 30, kNoOverride},
      {3, 20, 20, kNoOverride},
      {2, 30, 30, 30},
      {1, 20, 20, 0},
      {1, 10, 10, 0}}},
    {"top band takes all",
     100,
     {{5, 60, 60, 50}, {5, 60, 60, 50}, {3, 30, 30, 0}, {2, 20, 20, 0}, {1, 10, 10, 0}}},
    {"partial middle band",
     120,
     {{3, 40, 40, kNoOverride},
      {3, 30, 30, kNoOverride},
      {2, 30, 30, 25},
      {2, 30, 30, 25},
      {1, 20, 20, 0}}},
    // Nobody demands anything, so that nothing is divided. A share of 0 is then the whole demand;
    // that a group may still spend its configured rate is up to whoever turns shares into leases.
    {"no demand", 100, {{3, 10, 0, kNoOverride}, {2, 20, 0, kNoOverride}, {1, 30, 0, kNoOverride}}},
};

TEST(FairShareVectors, ServesPrioritiesAsPdDoes) {
  for (const PdCase& pd : kPdCases) {
    FairShare fair;
    fair.set_capacity(pd.service_limit);
    for (const PdGroup& group : pd.groups)
      fair.add({.want = group.demand, .weight = group.fill_rate, .band = group.priority});
    for (std::size_t i = 0; i < pd.groups.size(); ++i) {
      const PdGroup& group = pd.groups[i];
      const std::int64_t expected =
          group.override_fill_rate == kNoOverride ? group.demand : group.override_fill_rate;
      EXPECT_EQ(fair.share(static_cast<FairShare::Slot>(i)), expected)
          << pd.name << ", group " << i;
    }
  }
}

// PD's eighth case, "limit 0 = no conciliation", is left out on purpose: there a service limit of
// 0 means that there is none, and every group keeps its fill rate. A limit of 0 is not unlimited
// here: it admits nothing.
TEST(FairShareVectors, ALimitOfZeroIsNotUnlimitedAsItIsInPd) {
  FairShare fair;
  const FairShare::Slot slot = fair.add({.want = 10, .weight = 10, .band = 3});
  fair.set_capacity(0);

  EXPECT_EQ(fair.share(slot), 0);
}

}  // namespace
}  // namespace weir::lease
