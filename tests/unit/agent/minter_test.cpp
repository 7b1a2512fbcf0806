#include "agent/mint/minter.h"

#include <gtest/gtest.h>

#include <random>

#include "shm/stripe.h"
#include "tests/unit/agent/plain_domain.h"
#include "tests/unit/shm/oracle.h"

namespace weir::agent {
namespace {

using shm::Algorithm;
using test::kMs;
using test::kSecond;
using test::PlainDomain;
using test::terms;

TEST(Minter, HoldsTheBoundAndUsesTheRate) {
  PlainDomain d;
  d.add(0, terms(Algorithm::token_bucket, 300, kSecond, 30), 30);
  weir::test::RateOracle oracle(30, 300, kSecond);
  std::uint64_t admitted = 0;
  for (int i = 0; i < 10'000; ++i) {
    d.now += kMs;
    d.minter->tick();
    const std::uint64_t n = d.take_all(0);
    oracle.admit(d.now, n);
    admitted += n;
  }
  EXPECT_FALSE(oracle.broken());
  EXPECT_GE(admitted, 3000U * 99 / 100);
}

TEST(Minter, ALateTickDoesNotPayForAFullBucket) {
  PlainDomain d;
  d.add(0, terms(Algorithm::token_bucket, 200'000, kSecond, 10'000), 10'000);
  d.minter->tick();
  weir::test::RateOracle oracle(10'000, 200'000, kSecond);
  d.now += 100 * kMs;
  oracle.admit(d.now, d.take_all(0));
  d.now += 1000;
  d.minter->tick();
  oracle.admit(d.now, d.take_all(0));
  EXPECT_FALSE(oracle.broken()) << oracle.excess();
}

// While somebody holds the office the agent does not mint; its heartbeat still makes clients stop.
TEST(Minter, WaitsForTheOfficeAndThenGoesOn) {
  PlainDomain d;
  d.add(0, terms(Algorithm::token_bucket, 1000, kSecond, 100), 0);
  d.counters.header().office = shm::encode_office(77, d.now + 5 * kMs);
  d.now += 2 * kMs;
  d.minter->tick();
  EXPECT_TRUE(d.minter->office_lost());
  EXPECT_EQ(d.take_all(0), 0U);
  EXPECT_EQ(d.rules.header().heartbeat_mono_ns.load(), d.now);
  d.now += 4 * kMs;
  d.minter->tick();
  EXPECT_FALSE(d.minter->office_lost());
  EXPECT_EQ(d.take_all(0), 6U);
}

TEST(Minter, ARestartGivesNoFreeRefill) {
  PlainDomain d;
  const auto limit = terms(Algorithm::token_bucket, 10, kSecond, 1000);
  d.add(0, limit, 1000);
  d.minter->tick();
  EXPECT_EQ(d.take_all(0), 1000U);
  d.minter->tick();
  d.restart();
  d.now += 300 * kMs;
  d.activate(0, limit);
  d.minter->tick();
  EXPECT_LE(d.take_all(0), 3U);
}

// T3, A3: after a long stop the time since the last mint is paid by the rules that held in it.
TEST(Minter, AStoppedAgentPaysItsAbsenceByTheRules) {
  PlainDomain d;
  auto limit = terms(Algorithm::token_bucket, 1000, kSecond, 100'000);
  limit.safe_amount = 1;
  d.add(0, limit, 0);
  d.minter->tick();
  d.now += 60 * kSecond;  // the lease ran out after ten
  d.minter->tick();
  const std::uint64_t level = shm::bucket_level(d.counters.slot(0));
  EXPECT_GE(level, 10'049U);
  EXPECT_LE(level, 10'051U);
  d.now += kSecond;
  d.minter->tick();
  EXPECT_GE(shm::bucket_level(d.counters.slot(0)), level + 999) << "and the lease is renewed";
}

TEST(Minter, ReopensAGateThatHidesTokens) {
  PlainDomain d;
  d.add(0, terms(Algorithm::token_bucket, 1, 3600 * kSecond, 100), 50);
  d.minter->tick();
  shm::CounterSlot& slot = d.counters.slot(0);
  slot.closed = slot.epoch.load() << 24;  // a neighbour's lie: dry
  EXPECT_FALSE(d.take(0));
  d.now += kLookCalmNs;
  d.minter->tick();
  EXPECT_TRUE(d.take(0));
}

TEST(Minter, HostileWordsEndInTheirOwnDomain) {
  std::mt19937_64 random(5);
  PlainDomain d;
  d.add(0, terms(Algorithm::token_bucket, 1000, kSecond, 100), 100);
  d.add(1, terms(Algorithm::sliding_window, 1000, kSecond, 1000), 1000);
  d.add(2, terms(Algorithm::fixed_window, 1000, kSecond, 1000), 1000);
  d.minter->assign_stripes(0, 1);
  for (int i = 0; i < 50'000; ++i) {
    shm::CounterSlot& slot = d.counters.slot(static_cast<std::uint32_t>(random() % 3));
    switch (random() % 8) {
      case 0:
        slot.tokens = random();
        break;
      case 1:
        slot.book = random();
        break;
      case 2:
        slot.epoch = random();
        break;
      case 3:
        slot.closed = random();
        break;
      case 4:
        slot.returned = random();
        break;
      case 5:
        slot.minted_total = random();
        break;
      case 6:
        d.counters.stripes(1)[random() % 2].taken = random();
        break;
      default:
        d.counters.stripes(1)[random() % 2].granted = random();
        break;
    }
    if (random() % 4 == 0) d.counters.header().office = random();
    d.now += kMs;
    d.minter->tick();
    if (i % 100 == 0) d.minter->refresh_stats();
    if (!d.minter->office_lost()) {
      ASSERT_LE(shm::bucket_level(d.counters.slot(0)), 100U);
      ASSERT_LE(shm::bucket_level(d.counters.slot(1)), 1000U);
      ASSERT_LE(shm::bucket_level(d.counters.slot(2)), 1000U);
    }
  }
}

TEST(Minter, APoisonedBucketIsWholeAgainWithinABurst) {
  PlainDomain d;
  d.add(0, terms(Algorithm::token_bucket, 1000, kSecond, 50), 50);
  d.minter->tick();
  d.counters.slot(0).tokens = 0;
  d.now += 60 * kMs;
  d.minter->tick();
  d.now += 60 * kMs;
  d.minter->tick();
  EXPECT_GE(d.take_all(0), 40U);
}

// S7: what lies on stripes is part of the level, and is minted once.
TEST(Minter, StripesAndBucketTogetherHoldOneBurst) {
  PlainDomain d;
  constexpr std::uint64_t kBurst = 8000;
  d.add(0, terms(Algorithm::token_bucket, 100'000, kSecond, kBurst), kBurst);
  d.minter->assign_stripes(0, 1);
  weir::test::RateOracle oracle(kBurst, 100'000, kSecond);
  std::mt19937_64 random(3);
  shm::StripeCell* cells = d.counters.stripes(1);
  for (int i = 0; i < 5000; ++i) {
    for (int cpu = 0; cpu < 2; ++cpu) {
      const std::uint64_t there = cells[cpu].granted.load() - cells[cpu].taken.load();
      const std::uint64_t n = random() % 3 == 0 ? there : there / 2;
      cells[cpu].taken += n;
      oracle.admit(d.now, n);
    }
    if (random() % 2 == 0) oracle.admit(d.now, d.take_all(0));
    d.now += static_cast<std::int64_t>(random() % (3 * kMs));
    d.minter->tick();
    ASSERT_LE(shm::bucket_level(d.counters.slot(0)) + shm::striped_level(cells, 2), kBurst);
  }
  for (int i = 0; i < 500; ++i) {  // nobody asks: it fills up, and to one burst
    d.now += kMs;
    d.minter->tick();
  }
  EXPECT_GT(shm::striped_level(cells, 2), 0U);
  EXPECT_EQ(shm::bucket_level(d.counters.slot(0)) + shm::striped_level(cells, 2), kBurst);
  EXPECT_FALSE(oracle.broken()) << oracle.excess();
}

TEST(Minter, AStripeThatForgesItsWordGainsNothingFromTheAgent) {
  PlainDomain d;
  d.add(0, terms(Algorithm::token_bucket, 1000, kSecond, 8000), 8000);
  d.minter->assign_stripes(0, 1);
  d.take_all(0);
  for (int i = 0; i < 1000; ++i) {
    d.now += kMs;
    d.minter->tick();
  }
  shm::StripeCell& cell = d.counters.stripes(1)[0];
  const std::uint64_t granted = cell.granted;
  cell.taken = 0;  // pretends to have given everything back
  d.now += kMs;
  d.minter->tick();
  EXPECT_LE(cell.granted.load(), granted + 1);
}

TEST(Minter, AnIdleFullBucketIsNotTouched) {
  PlainDomain d;
  d.add(0, terms(Algorithm::token_bucket, 1000, kSecond, 50), 50);
  d.minter->tick();
  d.now += kMs;
  EXPECT_FALSE(d.minter->tick());
  const std::uint64_t book = d.counters.slot(0).book;
  for (int i = 0; i < 100; ++i) {
    d.now += kMs;
    EXPECT_FALSE(d.minter->tick());
  }
  EXPECT_EQ(d.counters.slot(0).book.load(), book);
  EXPECT_TRUE(d.take(0));
  d.now += kLookCalmNs;
  EXPECT_TRUE(d.minter->tick()) << "a spent token is demand";
}

// A thousand of them are what an agent has in use. None needs a look each tick.
TEST(Minter, AWellFilledLimitIsLookedAtRarelyAndRings) {
  PlainDomain d;
  d.add(0, terms(Algorithm::token_bucket, 100, kSecond, 100), 100);
  d.minter->tick();
  int due_soon = 0;
  for (int i = 0; i < 1000; ++i) {
    if (i % 100 == 0) {
      EXPECT_TRUE(d.take(0));
    }
    d.now += kMs;
    d.minter->tick();
    due_soon += d.minter->next_due_ns() <= d.now + kMs ? 1 : 0;
  }
  EXPECT_LE(due_soon, 70);
  EXPECT_EQ(d.rules.live(0).rings.load(), 1U);
  EXPECT_LE(d.minter->next_due_ns(), d.now + kLookCalmNs);
}

TEST(Minter, TheFirstRefusalRingsOnceAndIsPaidInTheNextTicks) {
  PlainDomain d;
  d.add(0, terms(Algorithm::token_bucket, 1000, kSecond, 1000), 1000);
  for (int i = 0; i < 200; ++i) {
    d.now += kMs;
    d.minter->tick();
  }
  EXPECT_EQ(d.take_all(0), 1000U);
  EXPECT_EQ(d.rung, 1U);
  EXPECT_LE(d.minter->next_due_ns(), d.now) << "a look is due at once";
  for (int i = 0; i < 3; ++i) {
    d.now += kMs;
    d.minter->tick();
  }
  EXPECT_GE(d.take_all(0), 1U);
  EXPECT_EQ(d.rung, 1U) << "while somebody is refused the agent looks by itself";
}

// From first to last the bound holds, whenever looks come, and a limit that is asked all the time
// gives its rate.
TEST(Minter, RareLooksHoldTheBoundAndGiveTheRate) {
  std::mt19937_64 random(17);
  constexpr std::uint32_t kLimits = 8;
  PlainDomain d(kLimits);
  std::vector<weir::test::RateOracle> oracles;
  std::uint64_t rates[kLimits], admitted[kLimits] = {};
  for (std::uint32_t i = 0; i < kLimits; ++i) {
    rates[i] = 20ULL << i;
    d.add(i, terms(Algorithm::token_bucket, rates[i], kSecond, rates[i]), rates[i]);
    oracles.emplace_back(rates[i], rates[i], kSecond);
  }
  const std::int64_t began = d.now;
  while (d.now < began + 60 * kSecond) {
    const bool quiet = (d.now - began) / (2 * kSecond) % 2 != 0;  // so that buckets fill, and calm
    for (std::uint32_t i = 0; i < kLimits; ++i) {
      // Half of them are asked all the time, half in turns of everything and a little.
      const std::uint64_t most = i % 2 == 0 || !quiet ? UINT64_MAX : random() % 50 == 0 ? 1 : 0;
      for (std::uint64_t n = 0; n < most && d.take(i); ++n) {
        oracles[i].admit(d.now, 1);
        ++admitted[i];
      }
    }
    // As the agent sleeps: until something is due, somebody rings, or for a while.
    const std::int64_t due = std::min(d.minter->next_due_ns(), d.now + kLookCalmNs);
    d.now = std::max(due, d.now + kMs);
    d.minter->tick();
  }
  for (std::uint32_t i = 0; i < kLimits; ++i) {
    EXPECT_FALSE(oracles[i].broken()) << i << ": " << oracles[i].excess();
    if (i % 2 == 0) {
      EXPECT_GE(admitted[i], rates[i] * 60 * 99 / 100) << i;
    }
  }
}

// Numbers in a doorbell frame are a client's word.
TEST(Minter, ADoorbellThatLiesCostsALook) {
  PlainDomain d;
  d.add(0, terms(Algorithm::token_bucket, 100, kSecond, 100), 100);
  d.minter->tick();
  const std::int64_t due = d.minter->next_due_ns();
  for (const std::uint32_t index : {1U, 3U, 4U, 4096U, UINT32_MAX})
    d.minter->attend(index);
  EXPECT_EQ(d.minter->next_due_ns(), due);
  d.minter->attend(0);
  EXPECT_LT(d.minter->next_due_ns(), due);
}

TEST(Minter, CountsWhatWasSpentAndRefused) {
  PlainDomain d;
  d.add(0, terms(Algorithm::token_bucket, 1000, kSecond, 50), 50);
  std::uint64_t admitted = 0;
  for (int i = 0; i < 1000; ++i) {
    d.now += kMs;
    d.minter->tick();
    admitted += d.take_all(0);
  }
  d.counters.lane(0).fetch_add(7);
  d.minter->refresh_stats();
  EXPECT_EQ(d.minter->limit(0).stats.spent_total, admitted);
  EXPECT_EQ(d.minter->limit(0).stats.refused_total, 7U);
}

TEST(Minter, AFixedWindowAdmitsItsAmountInEachWindow) {
  PlainDomain d;
  auto limit = terms(Algorithm::fixed_window, 100, kSecond, 100);
  limit.edge_mono_ns = d.now - 7 * kSecond;
  d.add(0, limit, 100);
  for (int w = 0; w < 5; ++w) {
    std::uint64_t admitted = 0;
    for (int i = 0; i < 1000; ++i) {
      d.minter->tick();
      admitted += d.take_all(0);
      d.now += kMs;
    }
    EXPECT_EQ(admitted, 100U);
  }
}

TEST(Minter, ManyLimitsOfEveryKindHoldTheirBoundsTogether) {
  std::mt19937_64 random(11);
  PlainDomain d(32);
  std::vector<weir::test::RateOracle> oracles;
  for (std::uint32_t i = 0; i < 32; ++i) {
    const std::uint64_t rate = 1 + random() % 100'000, burst = 1 + random() % 2000;
    d.add(i, terms(Algorithm::token_bucket, rate, kSecond, burst), burst);
    oracles.emplace_back(burst, rate, kSecond);
  }
  for (int step = 0; step < 3000; ++step) {
    for (std::uint32_t i = 0; i < 32; ++i) {
      if (random() % 3 == 0) continue;
      const std::uint64_t n = 1 + random() % 50;
      if (d.take(i, n)) oracles[i].admit(d.now, n);
    }
    d.now += static_cast<std::int64_t>(random() % (random() % 50 == 0 ? 100 * kMs : 2 * kMs));
    d.minter->tick();
  }
  for (std::uint32_t i = 0; i < 32; ++i)
    EXPECT_FALSE(oracles[i].broken()) << i;
}

}  // namespace
}  // namespace weir::agent
