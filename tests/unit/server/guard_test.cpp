#include "server/guard.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

using lease::kSecond;

int admitted(Guard& guard, lease::TimeNs now_ns, int tries) {
  int count = 0;
  for (int i = 0; i < tries; ++i)
    count += guard.admit(now_ns) ? 1 : 0;
  return count;
}

TEST(Guard, LetsATenthOfASecondInAtOnce) {
  Guard guard(1000);
  EXPECT_EQ(admitted(guard, kSecond, 10'000), 100);
}

TEST(Guard, LetsItsRateThrough) {
  Guard guard(1000);
  int total = 0;
  for (lease::TimeNs now = kSecond; now < 11 * kSecond; now += 10 * lease::kMs)
    total += admitted(guard, now, 100);
  EXPECT_NEAR(total, 10'000, 100);
}

TEST(Guard, NeverSaysNeverToOneASecond) {
  Guard guard(1);
  EXPECT_EQ(admitted(guard, kSecond, 5), 1);
  EXPECT_EQ(admitted(guard, kSecond + kSecond / 2, 5), 0);
  EXPECT_EQ(admitted(guard, 2 * kSecond, 5), 1);
}

TEST(Guard, AClockThatStandsOrLeapsDoesNoHarm) {
  Guard guard(10);
  EXPECT_EQ(admitted(guard, 5 * kSecond, 5), 1);
  EXPECT_EQ(admitted(guard, 4 * kSecond, 5), 0);
  EXPECT_EQ(admitted(guard, lease::kNever, 5), 1);
}

TEST(Guard, ALowerRateHoldsAtOnce) {
  Guard guard(1000);
  guard.set(10);
  EXPECT_EQ(admitted(guard, kSecond, 100), 1);
}

}  // namespace
}  // namespace weir::server
