// An oracle that finds nothing is worth nothing: planted violations of one token must be found,
// and what lies exactly on the bound must pass.
#include "tests/support/oracle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace weir::test {
namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr OracleRule kRule{.amount = 1000, .period_ns = 1'000'000'000, .burst = 10};

Admission at(std::int64_t ns, std::uint64_t tokens = 1) { return {ns, ns, tokens}; }

// The largest excess over all pairs, by brute force.
double brute_force(const std::vector<Admission>& calls, const OracleRule& rule) {
  double worst = -1e300;
  for (const Admission& from : calls)
    for (const Admission& to : calls) {
      if (to.end_ns < from.begin_ns) continue;
      double sum = 0;
      for (const Admission& c : calls)
        if (c.begin_ns >= from.begin_ns && c.end_ns <= to.end_ns)
          sum += static_cast<double>(c.tokens);
      if (sum == 0) continue;
      const double window = static_cast<double>(to.end_ns - from.begin_ns);
      worst = std::max(worst, sum - static_cast<double>(rule.burst) -
                                  static_cast<double>(rule.amount) * window /
                                      static_cast<double>(rule.period_ns));
    }
  return worst;
}

// A burst at once, then a token each time that one is earned: exactly on the bound.
std::vector<Admission> saturated() {
  std::vector<Admission> calls(10, at(0));
  for (std::int64_t i = 1; i <= 1000; ++i)
    calls.push_back(at(i * kMs));
  return calls;
}

TEST(Oracle, HoldsOnTheBoundItself) {
  const OracleVerdict verdict = check_bound(saturated(), kRule);
  EXPECT_TRUE(verdict.holds);
  EXPECT_DOUBLE_EQ(verdict.over_tokens, 0);
  EXPECT_EQ(verdict.admitted, 1010U);
}

TEST(Oracle, FindsOneTokenTooMuchAnywhere) {
  for (const std::int64_t where : {0, 1, 499, 500, 999, 1000}) {
    auto calls = saturated();
    calls.push_back(at(where * kMs));
    const OracleVerdict verdict = check_bound(calls, kRule);
    EXPECT_FALSE(verdict.holds) << "planted at " << where << " ms";
    EXPECT_NEAR(verdict.over_tokens, 1, 1e-9);
  }
}

TEST(Oracle, FindsATokenThatCameOneNanosecondEarly) {
  auto calls = saturated();
  calls.back().begin_ns -= 1;
  calls.back().end_ns -= 1;
  EXPECT_FALSE(check_bound(calls, kRule).holds);
}

TEST(Oracle, FindsASecondBurstAfterAFullRest) {
  // 10 at 0, then nothing for a second, then 11: the bucket never held 11.
  std::vector<Admission> calls(10, at(0));
  for (int i = 0; i < 10; ++i)
    calls.push_back(at(1000 * kMs));
  EXPECT_TRUE(check_bound(calls, kRule).holds);
  calls.push_back(at(1000 * kMs));
  const OracleVerdict verdict = check_bound(calls, kRule);
  EXPECT_FALSE(verdict.holds);
  EXPECT_EQ(verdict.from_ns, 1000 * kMs);
  EXPECT_EQ(verdict.to_ns, 1000 * kMs);
}

TEST(Oracle, CountsACallWithManyTokensWhole) {
  EXPECT_TRUE(check_bound({at(0, 10)}, kRule).holds);
  EXPECT_FALSE(check_bound({at(0, 11)}, kRule).holds);
}

TEST(Oracle, LetsACallCountAnywhereInsideItself) {
  // The eleventh call was under way for 1 ms: it may count at its end.
  std::vector<Admission> calls(10, at(0));
  calls.push_back({0, kMs, 1});
  EXPECT_TRUE(check_bound(calls, kRule).holds);
  calls.back().end_ns = kMs - 1;
  EXPECT_FALSE(check_bound(calls, kRule).holds);
}

TEST(Oracle, DoesNotLetACallCountOutsideItself) {
  // Eleven calls whose intervals all overlap, and all lie in half a millisecond.
  std::vector<Admission> calls;
  for (int i = 0; i < 11; ++i)
    calls.push_back({i * 1000, kMs / 2, 1});
  EXPECT_FALSE(check_bound(calls, kRule).holds);
}

TEST(Oracle, AgreesWithBruteForce) {
  std::mt19937_64 random(20240229);
  for (int round = 0; round < 300; ++round) {
    std::vector<Admission> calls;
    const auto count = 1 + random() % 40;
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto begin = static_cast<std::int64_t>(random() % 30) * kMs / 4;
      calls.push_back(
          {begin, begin + static_cast<std::int64_t>(random() % 5) * kMs / 4, 1 + random() % 3});
    }
    EXPECT_NEAR(check_bound(calls, kRule).over_tokens, brute_force(calls, kRule), 1e-6);
  }
}

TEST(Oracle, AnEmptyLogHolds) { EXPECT_TRUE(check_bound({}, kRule).holds); }

}  // namespace
}  // namespace weir::test
