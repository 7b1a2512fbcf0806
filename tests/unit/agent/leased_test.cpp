// Minting for leased limits: terms that change while tokens are out, whole tokens that come and go,
// and what is told of the demand.
#include <gtest/gtest.h>

#include "tests/unit/agent/plain_domain.h"

namespace weir::agent::test {
namespace {

using namespace shm;

LimitTerms lease(std::uint64_t rate_per_s, std::uint64_t burst, std::int64_t end_ns) {
  LimitTerms t = terms(Algorithm::token_bucket, rate_per_s, kSecond, burst);
  t.safe_amount = t.safe_burst = 0;
  t.lease_end_mono_ns = end_ns;
  t.tail_burst = 0;
  return t;
}

class Leased : public testing::Test {
 protected:
  void start(const LimitTerms& first, std::uint64_t cluster_burst = 1000) {
    d.add(0, first, 0);
    d.minter->limit(0).leased = true;
    d.minter->limit(0).cluster_burst = cluster_burst;
    store_ends(first);
  }
  void store_ends(const LimitTerms& t) {
    d.rules.live(0).lease_end_mono_ns = t.lease_end_mono_ns;
    d.rules.live(0).tail_end_mono_ns = t.tail_end_mono_ns;
  }
  // As Domain::put_leases does it.
  void change(const LimitTerms& t) {
    d.minter->change_terms(0, t);
    store_ends(t);
    d.minter->mint_now(0);
  }
  void pass(std::int64_t ms) {
    for (std::int64_t i = 0; i < ms; ++i) {
      d.now += kMs;
      d.minter->tick();
    }
  }
  std::uint64_t level() { return bucket_level(d.counters.slot(0)); }
  std::int64_t in(std::int64_t seconds) { return d.now + seconds * kSecond; }

  PlainDomain d;
};

TEST_F(Leased, ABurstThatGrowsStartsEmpty) {
  start(lease(10, 100, in(3600)));
  pass(60'000);
  ASSERT_EQ(level(), 100U);
  pass(600'000);  // full for ten minutes: time that is not paid, by these terms or by the next

  change(lease(10, 1000, in(3600)));
  EXPECT_EQ(level(), 100U) << "capacity, not tokens";
  pass(1000);
  EXPECT_LE(level(), 111U) << "and filled at the rate, from now on";
}

TEST_F(Leased, ALoweredBurstIsCutAtOnce) {
  start(lease(1000, 100, in(10)));
  pass(200);
  ASSERT_EQ(level(), 100U);

  change(lease(1000, 7, in(10)));

  EXPECT_EQ(level(), 7U);
  EXPECT_EQ(d.counters.slot(0).cut_total.load(), 93U);
}

// What is not yet a whole token was earned at the old rate.
TEST_F(Leased, AFractionKeepsItsWorthWhenTheRateChanges) {
  start(lease(1, 100, in(3600)));
  pass(900);  // nine tenths of a token

  change(lease(1000, 100, in(3600)));
  EXPECT_EQ(level(), 0U) << "not nine hundred of the new ones";
  d.now += 5 * kMs;
  d.minter->mint_now(0);
  EXPECT_EQ(level(), 5U) << "5.9 tokens";
  d.now += kMs / 5;
  d.minter->mint_now(0);
  EXPECT_EQ(level(), 6U);
}

TEST_F(Leased, AChangeEachMillisecondLosesNothing) {
  start(lease(100, 100, in(3600)));
  std::uint64_t taken = 0;
  for (int i = 0; i < 10'000; ++i) {
    change(lease(i % 2 == 0 ? 150 : 50, 100, in(3600)));
    pass(1);
    taken += spend_up_to(d.counters.slot(0), kBurstMax);
  }
  EXPECT_GE(taken, 990U);
  EXPECT_LE(taken, 1001U);
}

TEST_F(Leased, TheLeasesEndCutsTheBucketToTheTailAndThenToNothing) {
  LimitTerms t = lease(1000, 100, in(1));
  t.tail_amount = 100;
  t.tail_period_ns = kSecond;
  t.tail_burst = 10;
  t.tail_end_mono_ns = in(2);
  start(t);
  pass(900);
  ASSERT_EQ(level(), 100U);

  pass(110);
  EXPECT_LE(level(), 11U);
  d.take_all(0);
  std::uint64_t taken = 0;
  for (int i = 0; i < 900; ++i) {
    pass(1);
    taken += d.take_all(0);
  }
  EXPECT_NEAR(static_cast<double>(taken), 90, 2);
  pass(100);
  EXPECT_EQ(level(), 0U);
  pass(1000);
  EXPECT_FALSE(d.take(0));
}

TEST_F(Leased, NobodyRenewsItsLease) {
  start(lease(1000, 100, in(1)));
  const std::int64_t end = d.rules.live(0).lease_end_mono_ns;
  pass(3000);
  EXPECT_EQ(d.rules.live(0).lease_end_mono_ns.load(), end);
}

TEST_F(Leased, AFillComesOnceAndNeverOverTheBurst) {
  start(lease(0, 0, in(10)));
  change(lease(0, 5, in(10)));
  EXPECT_EQ(level(), 0U);

  d.minter->fill(0, 3);
  EXPECT_EQ(level(), 3U);
  d.minter->fill(0, 9);
  EXPECT_EQ(level(), 5U) << "the rest is void";
  EXPECT_EQ(d.minter->drain(0), 5U);
  EXPECT_FALSE(d.take(0));
  pass(100);
  EXPECT_EQ(level(), 0U);
}

TEST_F(Leased, WhatWasDrainedWasNotSpent) {
  start(lease(0, 10, in(10)));
  d.minter->fill(0, 10);
  EXPECT_TRUE(d.take(0));
  EXPECT_EQ(d.minter->drain(0), 9U);

  const lease::Usage& usage = d.minter->usage(0);
  EXPECT_EQ(usage.spent_total, 1U);
  EXPECT_EQ(usage.level, 0U);
}

TEST_F(Leased, DemandIsWhatWasAskedForTheFirstTime) {
  start(lease(0, 0, in(10)));
  (void)d.minter->usage(0);
  for (int i = 0; i < 10; ++i)
    d.counters.lane(0).fetch_add(1);  // ten calls, four of them retries
  d.counters.lane(0, kLaneRetried).fetch_add(4);
  d.counters.lane(0, kLaneExtra).fetch_add(12);  // and the six asked for three tokens each

  const lease::Usage& usage = d.minter->usage(0);
  EXPECT_EQ(usage.refused_total, 18U);
  EXPECT_EQ(usage.need, 3U);
  (void)d.minter->usage(0);
  EXPECT_EQ(usage.need, 0U) << "nobody was refused since";
}

TEST_F(Leased, RefundsAreNoMintingThatTheServerWouldHaveToKnow) {
  start(lease(0, 10, in(10)));
  d.minter->fill(0, 10);
  EXPECT_EQ(d.take_all(0), 10U);
  pass(10);
  const std::uint64_t minted = d.minter->usage(0).minted_total;
  EXPECT_EQ(minted, 10U);

  d.counters.slot(0).returned.fetch_add(4);
  pass(10);
  EXPECT_EQ(level(), 4U);
  EXPECT_EQ(d.minter->usage(0).minted_total, minted);
}

TEST_F(Leased, ForgedLanesStayInRange) {
  start(lease(0, 0, in(10)));
  for (const std::uint64_t forged : {UINT64_MAX, std::uint64_t{1} << 63, std::uint64_t{5}}) {
    d.counters.lane(0).store(forged);
    d.counters.lane(0, kLaneExtra).store(forged * 7);
    const lease::Usage& usage = d.minter->usage(0);
    EXPECT_LE(usage.refused_total, 3'000'000'000U);
    EXPECT_LE(usage.need, kBurstMax);
  }
}

// Without that a dry limit would show its first refusal for ever and no other.
TEST_F(Leased, ADryLimitShowsEachRefusalThatFollowsALook) {
  start(lease(0, 0, in(60)));
  pass(100);
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(d.take(0));
    pass(3);
    EXPECT_TRUE(d.minter->newly_refused());
    int touched = 0;
    d.minter->take_touched([&](std::uint32_t) { return ++touched > 0; });
    (void)d.minter->usage(0);
    EXPECT_EQ(touched, 1);
    EXPECT_FALSE(d.minter->newly_refused());
    pass(100);
  }
}

TEST_F(Leased, AnIdleLimitIsNotTouched) {
  start(lease(1000, 100, in(60)));
  pass(200);
  d.minter->take_touched([](std::uint32_t) { return true; });
  pass(500);
  EXPECT_FALSE(d.minter->any_touched());
}

}  // namespace
}  // namespace weir::agent::test
