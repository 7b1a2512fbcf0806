#include "agent/mint/sliding.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "tests/unit/agent/plain_domain.h"

namespace weir::agent {
namespace {

using test::kMs;
using test::kSecond;

TEST(Sliding, TokensComeBackAfterTheWindowAndNotBefore) {
  SlidingRecord record;
  sliding_reset(record, kSecond, 0, 5 * kSecond);
  sliding_expire(record, 5 * kSecond);
  sliding_spend(record, 10);
  EXPECT_EQ(sliding_expire(record, 6 * kSecond - 1), 0U);
  EXPECT_EQ(sliding_expire(record, 6 * kSecond + 2 * kSecond / 254), 10U);
  EXPECT_EQ(record.total, 0U);
}

TEST(Sliding, ARefundTakesTheLatestFirst) {
  SlidingRecord record;
  sliding_reset(record, kSecond, 0, 0);
  sliding_spend(record, 5);
  sliding_expire(record, 500 * kMs);
  sliding_spend(record, 3);
  EXPECT_EQ(sliding_refund(record, 4), 4U);
  EXPECT_EQ(sliding_expire(record, kSecond + 10 * kMs), 4U);
  EXPECT_EQ(sliding_refund(record, 100), 0U);
}

// In every window of the limit's length at most its amount, whatever the demand and the ticks.
class SlidingOracle {
 public:
  SlidingOracle(std::uint64_t amount, std::int64_t window) : amount_(amount), window_(window) {}
  void admit(std::int64_t now, std::uint64_t n) {
    for (std::uint64_t i = 0; i < n; ++i)
      times_.push_back(now);
    while (!times_.empty() && times_.front() <= now - window_)
      times_.pop_front();
    worst_ = std::max<std::uint64_t>(worst_, times_.size());
  }
  bool broken() const { return worst_ > amount_; }
  std::uint64_t worst() const { return worst_; }

 private:
  std::uint64_t amount_;
  std::int64_t window_;
  std::deque<std::int64_t> times_;
  std::uint64_t worst_ = 0;
};

TEST(Sliding, HoldsTheAmountInEveryWindow) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    std::mt19937_64 random(seed);
    test::PlainDomain d;
    const std::uint64_t amount = 1 + random() % 300;
    const auto window = static_cast<std::int64_t>(10 * kMs + random() % kSecond);
    d.add(0, test::terms(shm::Algorithm::sliding_window, amount, window, amount), amount);
    SlidingOracle oracle(amount, window);
    for (int i = 0; i < 3000; ++i) {
      switch (random() % 6) {
        case 0:
          oracle.admit(d.now, d.take_all(0));
          break;
        case 1:
          if (d.take(0)) oracle.admit(d.now, 1);
          break;
        case 2:
          d.now += static_cast<std::int64_t>(random() % (50 * kMs));
          break;
        default:
          d.now += static_cast<std::int64_t>(random() % (2 * kMs));
          d.minter->tick();
          break;
      }
    }
    ASSERT_FALSE(oracle.broken()) << "seed " << seed << ": " << oracle.worst() << " of " << amount;
  }
}

TEST(Sliding, UsesNearlyAllOfTheLimitUnderSteadyDemand) {
  test::PlainDomain d;
  d.add(0, test::terms(shm::Algorithm::sliding_window, 1000, kSecond, 1000), 1000);
  std::uint64_t admitted = 0;
  for (int i = 0; i < 20'000; ++i) {
    d.now += kMs;
    d.minter->tick();
    admitted += d.take_all(0);
  }
  EXPECT_GE(admitted, 19'500U);
  EXPECT_LE(admitted, 21'000U);
}

TEST(Sliding, ARestartedAgentKnowsWhatWasSpentWhen) {
  test::PlainDomain d;
  const auto limit = test::terms(shm::Algorithm::sliding_window, 100, kSecond, 100);
  d.add(0, limit, 100);
  SlidingOracle oracle(100, kSecond);
  oracle.admit(d.now, d.take_all(0));
  d.minter->tick();
  d.now += 900 * kMs;
  d.restart();
  d.now += 300 * kMs;  // the office's term of the old agent has run out
  d.activate(0, limit);
  d.minter->tick();
  const std::uint64_t again = d.take_all(0);
  oracle.admit(d.now, again);
  EXPECT_EQ(again, 100U) << "the window has passed, nothing is lost";
  EXPECT_FALSE(oracle.broken());
}

// Somebody else minted meanwhile: nothing is known of when tokens were spent, so all that is out
// counts as spent this instant.
TEST(Sliding, AStrangersMintCostsAWindowAndNotTheBound) {
  test::PlainDomain d;
  d.add(0, test::terms(shm::Algorithm::sliding_window, 100, kSecond, 100), 100);
  EXPECT_EQ(d.take_all(0), 100U);
  d.minter->tick();
  d.now += 500 * kMs;
  d.counters.slot(0).book = shm::encode_book(d.now, 0);
  d.minter->tick();
  d.now += 600 * kMs;
  d.minter->tick();
  EXPECT_EQ(d.take_all(0), 0U);
  d.now += 500 * kMs;
  d.minter->tick();
  EXPECT_EQ(d.take_all(0), 100U);
}

TEST(Sliding, LargeLevelsAreNotEatenByTheBooksRounding) {
  test::PlainDomain d;
  constexpr std::uint64_t kAmount = 1'000'003;
  d.add(0, test::terms(shm::Algorithm::sliding_window, kAmount, kSecond, kAmount), kAmount);
  ASSERT_TRUE(d.take(0, 100'000));
  for (int i = 0; i < 500; ++i) {
    d.now += kMs;
    d.minter->tick();
  }
  EXPECT_EQ(shm::bucket_level(d.counters.slot(0)), kAmount - 100'000);
  d.now += kSecond;
  d.minter->tick();
  EXPECT_EQ(shm::bucket_level(d.counters.slot(0)), kAmount);
}

}  // namespace
}  // namespace weir::agent
