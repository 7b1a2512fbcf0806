// Minting, driven by a clock of the test's own.
#include "shm/mint.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/shm/oracle.h"

namespace weir::shm {
namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kSecond = 1'000 * kMs;
constexpr std::int64_t kStart = 1'000 * kSecond;

LimitTerms bucket(std::uint64_t per_second, std::uint64_t burst) {
  LimitTerms t;
  t.algorithm = Algorithm::token_bucket;
  t.fallback = Fallback::local;
  t.amount = t.safe_amount = per_second;
  t.period_ns = t.safe_period_ns = kSecond;
  t.burst = t.safe_burst = burst;
  t.lease_end_mono_ns = kForever;
  return t;
}

// One limit with a minter and clients, stepped by hand.
struct Bench {
  explicit Bench(LimitTerms t, std::uint64_t level) : terms(t) {
    set_tokens(static_cast<std::int64_t>(level));
    slot.epoch = 1;
    slot.book = encode_book(now, level);
  }
  MintResult tick() {
    const MintResult r = mint(
        slot, terms, [] { return std::uint64_t{0}; }, 0, [&] { return now; });
    finish_mint(slot, r);
    return r;
  }
  void set_tokens(std::int64_t tokens) { slot.tokens = token_word(7, tokens); }
  std::int64_t tokens() const { return tokens_of(slot.tokens.load()); }
  bool take(std::uint64_t n = 1, std::uint64_t reserve = 0) {
    return (n == 1 && reserve == 0 ? spend_one(slot) : spend_many(slot, n, reserve)) == Spend::ok;
  }
  std::uint64_t take_all() {
    std::uint64_t n = 0;
    while (take())
      ++n;
    return n;
  }
  CounterSlot slot{};
  LimitTerms terms;
  std::int64_t now = kStart;
};

// Flaw 1 of simpler buckets: a bucket that was full until just before the tick is paid for the
// time in which it was full.
TEST(Mint, DoesNotPayForTimeInWhichTheBucketWasFull) {
  Bench b(bucket(200'000, 10'000), 10'000);
  test::RateOracle oracle(10'000, 200'000, kSecond);

  b.now += 100 * kMs - 1000;  // idle and full, the tick is late
  oracle.admit(b.now, b.take_all());
  b.now += 1000;
  b.tick();
  oracle.admit(b.now, b.take_all());

  EXPECT_FALSE(oracle.broken()) << oracle.excess();
}

TEST(Mint, PaysTheRateExactlyOverManyTicks) {
  Bench b(bucket(300, 30), 0);
  std::uint64_t admitted = 0;

  for (int i = 0; i < 10'000; ++i) {
    b.now += kMs;
    b.tick();
    admitted += b.take_all();
  }

  // 64 ns at most are lost a mint: of 3000 tokens not one.
  EXPECT_GE(admitted, 2999U);
  EXPECT_LE(admitted, 3000U);
}

TEST(Mint, KeepsTheFractionOfATokenInTheTime) {
  Bench b(bucket(1, 5), 0);
  b.now += 999 * kMs;
  EXPECT_EQ(b.tick().delivered, 0U);
  b.now += 2 * kMs;
  EXPECT_EQ(b.tick().delivered, 1U);
}

// Two minters that read the same book: one claim wins, the interval is paid once.
TEST(Mint, AnIntervalIsPaidOnceWhoeverMintsIt) {
  Bench b(bucket(1000, 1000), 0);
  b.now += 100 * kMs;
  const std::uint64_t book = b.slot.book;
  const MintResult first = b.tick();
  const MintResult second = b.tick();

  EXPECT_EQ(first.delivered, 100U);
  EXPECT_EQ(second.delivered, 0U);
  EXPECT_NE(book, b.slot.book.load());
}

// Another mint runs whole between this one's reading of the words and its claim. The clock is read
// just there, so the test's clock is the place to put it.
TEST(Mint, AnotherMintInTheMiddleIsNotPaidAgain) {
  for (const int at : {1, 2}) {
    Bench b(bucket(1000, 1000), 0);
    b.now += 100 * kMs;
    int reads = 0;
    std::uint64_t admitted = 0;
    const MintResult outer = mint(
        b.slot, b.terms, [] { return std::uint64_t{0}; }, 0,
        [&] {
          if (++reads == at) {
            EXPECT_EQ(b.tick().delivered, 100U);
            admitted += b.take_all();
            b.now += kMs;
          }
          return b.now;
        });
    finish_mint(b.slot, outer);
    b.tick();
    EXPECT_LE(admitted + b.take_all(), 101U) << "at the clock's reading number " << at;
  }
}

// However long a minter stops between its claim and its delivery: once another has put its number
// on the word, what it brings is lost.
TEST(Mint, AMinterThatWasOvertakenDropsWhatItClaimed) {
  Bench b(bucket(1000, 1000), 0);
  b.now += 3 * kMs;
  const std::uint64_t sleeper = fence(b.slot);
  b.tick();
  const std::int64_t before = b.tokens();
  EXPECT_FALSE(deliver(b.slot, sleeper, 1000, 500));
  EXPECT_EQ(b.tokens(), before);
}

TEST(Mint, AMinterThatWasNotOvertakenDeliversPastCallers) {
  Bench b(bucket(1000, 1000), 5);
  const std::uint64_t fenced = fence(b.slot);
  EXPECT_TRUE(b.take());
  EXPECT_TRUE(deliver(b.slot, fenced, 5, 10));
  EXPECT_EQ(b.tokens(), 14);
}

TEST(Mint, CutsTokensThatNobodyMinted) {
  Bench b(bucket(10, 100), 50);
  b.set_tokens(1'000'000);  // a hostile neighbour
  b.tick();
  EXPECT_EQ(b.tokens(), 50);
}

// A minter that was killed between its delivery and the opening of the gate leaves it shut over
// tokens. In a full bucket nothing is ever paid again, so the next mint opens it all the same.
TEST(Mint, AMintThatPaysNothingOpensAGateThatHidesTokens) {
  Bench b(bucket(1000, 10), 0);
  EXPECT_FALSE(b.take());
  EXPECT_TRUE(deliver(b.slot, fence(b.slot), 0, 10));
  b.slot.book = encode_book(b.now, 10);
  EXPECT_FALSE(b.take());
  b.tick();
  EXPECT_TRUE(b.take());
}

TEST(Mint, HealsLosersBelowZeroOnce) {
  Bench b(bucket(1000, 1000), 0);
  b.set_tokens(-37);
  b.now += 10 * kMs;
  b.tick();
  EXPECT_EQ(b.tokens(), 10);
}

// S5: a refund between the minter's reading and its adding must not lift the bucket over its burst.
TEST(Mint, ARefundGoesThroughTheClip) {
  Bench b(bucket(100, 10), 10);
  EXPECT_TRUE(b.take(10));
  b.tick();
  b.slot.returned = 7;
  b.now += kMs;
  b.tick();
  EXPECT_EQ(b.tokens(), 7);
  b.slot.returned = 1000;
  b.now += kMs;
  b.tick();
  EXPECT_EQ(b.tokens(), 10);
  EXPECT_EQ(b.slot.returned.load(), 0U);
}

// A refund that fills the bucket ends the running fraction of a token: the bucket was full. Here it
// was full between the refund and the next call, which the mint cannot see.
TEST(Mint, ARefundThatFillsTheBucketEndsTheFraction) {
  Bench b(bucket(1, 2), 2);
  EXPECT_TRUE(b.take());
  b.tick();
  b.now += 900 * kMs;
  b.slot.returned = 1;
  EXPECT_TRUE(b.take());
  b.tick();
  b.now += 200 * kMs;
  b.tick();
  EXPECT_EQ(b.take_all(), 1U);
}

TEST(Mint, ARefundIntoAFullBucketIsVoid) {
  Bench b(bucket(100, 10), 10);
  b.slot.returned = 1'000'000;
  b.tick();
  b.now += kSecond;
  b.tick();
  EXPECT_EQ(b.tokens(), 10);
  EXPECT_EQ(b.take_all(), 10U);
  b.now += kMs;
  b.tick();
  EXPECT_LE(b.tokens(), 1) << "a void refund does not come back later";
}

TEST(Mint, ALongIntervalIsPaidUpToTheBurst) {
  Bench b(bucket(1000, 64'000), 0);
  b.now += 3600 * kSecond;
  const MintResult r = b.tick();
  EXPECT_EQ(r.delivered, 64'000U);
  EXPECT_EQ(b.tokens(), 64'000);
}

TEST(Mint, TheRateChangesAtTheEndOfTheLeaseAndNotAtTheMint) {
  LimitTerms t = bucket(1000, 10'000);
  t.safe_amount = 10;
  t.safe_burst = 10'000;
  t.lease_end_mono_ns = kStart + kSecond;
  Bench b(t, 0);
  b.now += 2 * kSecond;
  std::uint64_t got = b.tick().delivered;
  EXPECT_GE(got, 1009U);
  EXPECT_LE(got, 1010U);
}

TEST(Mint, AClosedFallbackMintsNothingAfterTheLease) {
  LimitTerms t = bucket(1000, 10'000);
  t.fallback = Fallback::closed;
  t.lease_end_mono_ns = kStart + 100 * kMs;
  Bench b(t, 0);
  b.now += 10 * kSecond;
  EXPECT_LE(b.tick().delivered, 100U);
}

TEST(Mint, ALowerSafeBurstCutsTheLevel) {
  LimitTerms t = bucket(1000, 1000);
  t.safe_amount = 10;
  t.safe_burst = 5;
  t.lease_end_mono_ns = kStart;
  Bench b(t, 1000);
  b.now += kSecond;
  b.tick();
  EXPECT_LE(b.tokens(), 5);
}

// A hostile or damaged book costs its limit tokens and never makes any.
TEST(Mint, AForgedBookNeverPaysMoreThanABurst) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    Bench b(bucket(1'000'000, 1000), 0);
    b.slot.book = random();
    b.slot.tokens = random();
    b.slot.returned = random();
    b.now += static_cast<std::int64_t>(random() % kSecond);
    b.tick();
    ASSERT_LE(b.tokens(), 1000);
    ASSERT_LE(b.tick().delivered, 1000U);
  }
}

TEST(Mint, ExtremeRulesNeverWrapIntoTokens) {
  for (const std::uint64_t amount : {std::uint64_t{0}, std::uint64_t{1}, UINT64_MAX})
    for (const std::uint64_t period : {std::uint64_t{0}, std::uint64_t{1}, UINT64_MAX})
      for (const std::uint64_t burst : {std::uint64_t{0}, std::uint64_t{1}, kBurstMax}) {
        LimitTerms t = bucket(1, burst);
        t.amount = amount;
        t.period_ns = period;
        Bench b(t, 0);
        b.now = INT64_MAX - 5;
        const MintResult r = b.tick();
        EXPECT_LE(r.delivered, burst);
        if (amount == 0) {
          EXPECT_EQ(r.delivered, 0U);
        }
      }
}

LimitTerms window(Algorithm algorithm, std::uint64_t amount, std::int64_t length) {
  LimitTerms t = bucket(amount, amount);
  t.algorithm = algorithm;
  t.period_ns = t.safe_period_ns = static_cast<std::uint64_t>(length);
  t.edge_mono_ns = kStart;
  return t;
}

// S8: what is left at the edge is spent after it, then a whole window more.
TEST(Mint, AFixedWindowGrantsAtTheEdgeWhatItsLastLevelLeavesRoomFor) {
  Bench b(window(Algorithm::fixed_window, 100, kSecond), 100);
  b.now += kSecond - kMs;
  b.tick();
  b.now += 2 * kMs;  // past the edge, before the next mint
  std::uint64_t in_window = b.take_all();
  b.tick();
  in_window += b.take_all();
  EXPECT_EQ(in_window, 100U);
}

TEST(Mint, AFixedWindowAdmitsItsAmountInEachWindow) {
  Bench b(window(Algorithm::fixed_window, 100, kSecond), 100);
  for (int w = 0; w < 5; ++w) {
    std::uint64_t admitted = 0;
    for (int i = 0; i < 1000; ++i) {
      b.tick();
      admitted += b.take_all();
      b.now += kMs;
    }
    EXPECT_EQ(admitted, 100U) << w;
  }
}

TEST(Mint, ASlidingWindowWithoutItsRecordRefillsAfterAQuietWindow) {
  Bench b(window(Algorithm::sliding_window, 100, kSecond), 100);
  EXPECT_EQ(b.take_all(), 100U);
  b.tick();
  b.now += kSecond - kMs;
  EXPECT_EQ(b.tick().delivered, 0U);
  b.now += 2 * kMs;
  EXPECT_EQ(b.tick().delivered, 100U);
}

// Random schedules of ticks, takers of every size, stalls, refunds and lease ends.
TEST(Mint, HoldsTheBoundOnRandomSchedules) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    std::mt19937_64 random(seed);
    const std::uint64_t rate = 1 + random() % 20'000;
    const std::uint64_t burst = 1 + random() % 5000;
    Bench b(bucket(rate, burst), burst);
    test::RateOracle oracle(burst, rate, kSecond);
    for (int i = 0; i < 2000; ++i) {
      switch (random() % 8) {
        case 0:
          b.now += static_cast<std::int64_t>(random() % (200 * kMs));
          break;
        case 1:
          oracle.admit(b.now, b.take_all());
          break;
        case 2: {
          const std::uint64_t n = 1 + random() % (burst + 1);
          if (b.take(n)) oracle.admit(b.now, n);
          break;
        }
        case 3:
          if (b.take()) oracle.admit(b.now, 1);
          break;
        default:
          b.now += static_cast<std::int64_t>(random() % (2 * kMs));
          b.tick();
          break;
      }
    }
    ASSERT_FALSE(oracle.broken()) << "seed " << seed << ": " << oracle.excess() << " over";
  }
}

}  // namespace
}  // namespace weir::shm
