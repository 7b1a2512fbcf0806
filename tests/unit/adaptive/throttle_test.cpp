#include "adaptive/throttle.h"

#include <gtest/gtest.h>

#include <cmath>

#include "adaptive/shed_word.h"

namespace weir::adaptive {
namespace {

// Computed from the formula of Google's SRE book, chapter 21, as aegis' sre breaker uses it.
TEST(ThrottleShare, TheFormula) {
  EXPECT_EQ(throttle_share(100, 60, 1 / 0.6), 0.0);
  EXPECT_NEAR(throttle_share(100, 50, 1 / 0.6), 0.165, 0.0005);
  EXPECT_NEAR(throttle_share(200, 0, 1 / 0.6), 0.995, 0.0005);
  EXPECT_NEAR(throttle_share(1000, 300, 1 / 0.6), 0.4995, 0.0005);
}

// go-kratos/aegis, sre_test.go.
TEST(ThrottleShare, AegisVectors) {
  EXPECT_EQ(throttle_share(80, 80, 2, 100), 0.0);
  EXPECT_GT(throttle_share(1e7 + 100, 100, 2, 100), 0.99);
  EXPECT_EQ(throttle_share(99, 0, 2, 100), 0.0);
  EXPECT_GT(throttle_share(100, 0, 2, 100), 0.98);
}

TEST(ThrottleShare, AnyNumbersAreTaken) {
  for (const double bad : {std::nan(""), -5.0, 1e300, HUGE_VAL})
    for (const double other : {0.0, 1.0, bad}) {
      EXPECT_GE(throttle_share(bad, other, bad), 0.0);
      EXPECT_LE(throttle_share(other, bad, bad), 1.0);
    }
  EXPECT_EQ(throttle_share(100, 200, 2), 0.0);  // more accepts than requests
}

TEST(Throttle, AnIdleWindowForgets) {
  Throttle throttle({.window_ns = 3 * kSecond});
  throttle.add(0, 1000, 0);
  EXPECT_GT(throttle.refused(0), 0.9);
  EXPECT_EQ(throttle.refused(5 * kSecond), 0.0);
}

// At no accepts the formula refuses all but one of N + 1; the probes do not hang on that.
TEST(Throttle, ProbesGoOutWhateverTheFormulaSays) {
  Throttle throttle({.probes_per_second = 5.0});
  int passed = 0;
  std::uint64_t counter = 0;
  for (int second = 0; second < 200; ++second) {
    for (int i = 0; i < 1000; ++i) {
      throttle.add(second * kSecond + i * kMs, 1, 0);
      const bool refused =
          spread(++counter) % kShareWhole < throttle.refused_share(second * kSecond + i * kMs);
      if (second >= 150 && !refused) ++passed;
    }
  }
  EXPECT_NEAR(passed, 250, 60);
}

TEST(Throttle, LetsGoWhenTheOtherEndRecovers) {
  Throttle throttle({.window_ns = 10 * kSecond});
  TimeNs now_ns = 0;
  std::uint64_t counter = 0;
  const auto run = [&](int seconds_long, bool healthy) {
    for (int i = 0; i < seconds_long * 1000; ++i) {
      now_ns += kMs;
      const bool refused = spread(++counter) % kShareWhole < throttle.refused_share(now_ns);
      throttle.add(now_ns, 1, healthy && !refused ? 1 : 0);
    }
    return throttle.refused(now_ns);
  };
  EXPECT_EQ(run(20, true), 0.0);
  EXPECT_GT(run(20, false), 0.99);
  EXPECT_LT(run(120, true), 0.01);
}

}  // namespace
}  // namespace weir::adaptive
