#include "agent/attach/quota.h"

#include <gtest/gtest.h>

#include "tests/unit/agent/plain_domain.h"

namespace weir::agent {
namespace {

using test::kSecond;

using Verdict = AttachQuota::Verdict;
TEST(AttachQuota, OneUsersStormIsSlowedAndAnotherUserIsNot) {
  AttachQuota quota;
  int ok = 0;
  for (int i = 0; i < 10'000; ++i) {
    if (quota.take(1000, kSecond) == Verdict::ok) {
      ++ok;
      quota.give_back(1000);
    }
  }
  EXPECT_EQ(ok, static_cast<int>(kAttachBurst));
  EXPECT_EQ(quota.take(1001, kSecond), Verdict::ok);
  EXPECT_EQ(quota.take(1000, 2 * kSecond), Verdict::ok) << "a second later it may again";
}

TEST(AttachQuota, AUserHoldsSoManyConnectionsAndNoMore) {
  AttachQuota quota;
  std::int64_t now = kSecond;
  for (std::uint32_t i = 0; i < kConnectionsPerUserMax; ++i, now += kSecond)
    ASSERT_EQ(quota.take(7, now), Verdict::ok);
  EXPECT_EQ(quota.take(7, now), Verdict::too_many);
  quota.give_back(7);
  EXPECT_EQ(quota.take(7, now + kSecond), Verdict::ok);
}

TEST(AttachQuota, InventedUsersDoNotGrowItWithoutBound) {
  AttachQuota quota;
  for (uid_t uid = 0; uid < 100'000; ++uid) {
    if (quota.take(uid, kSecond) == Verdict::ok) quota.give_back(uid);
  }
  EXPECT_EQ(quota.take(5, kSecond), Verdict::ok);
  EXPECT_EQ(quota.take(200'000, 100 * kSecond), Verdict::ok) << "idle users are forgotten";
}

}  // namespace
}  // namespace weir::agent
