// Book and desks together, over a network of half a millisecond: the worked examples, small
// limits, hosts that come and go.
#include <gtest/gtest.h>

#include "tests/unit/lease/pair.h"

namespace weir::lease::test {
namespace {

double share_of(const Cluster& cluster, std::size_t host, std::uint32_t slot = 0) {
  return static_cast<double>(cluster.all[host]->buckets[slot].view.rate) / 1e6;
}

TEST(Cluster, EvenDemandGetsEvenShares) {
  Cluster c({limit_of("a", 300, 300)}, 3);
  for (auto& host : c.all) {
    host->buckets[0].arrivals_per_s = 100;
    c.connect(*host);
  }
  c.run(10 * kSecond);
  const auto before = c.admitted;
  c.run(10 * kSecond);

  EXPECT_GE(c.admitted - before, 2'970U);
  EXPECT_LE(c.admitted - before, 3'010U);
  EXPECT_LE(c.worst_rate, 0);
  EXPECT_LE(c.worst_burst, 0);
}

TEST(Cluster, WhoWantsLessGetsItAllAndTheRestIsDivided) {
  Cluster c({limit_of("a", 300, 300)}, 3);
  const double demand[] = {400, 50, 50};
  for (std::size_t i = 0; i < 3; ++i) {
    c.all[i]->buckets[0].arrivals_per_s = demand[i];
    c.connect(*c.all[i]);
  }
  c.run(10 * kSecond);
  const auto before = c.admitted;
  c.run(10 * kSecond);

  EXPECT_NEAR(share_of(c, 0), 200, 4);
  EXPECT_NEAR(share_of(c, 1), 50, 1);
  EXPECT_NEAR(share_of(c, 2), 50, 1);
  EXPECT_GE(c.admitted - before, 2'970U);
  EXPECT_LE(c.admitted - before, 3'300U);
  EXPECT_LE(c.worst_rate, 0);
  EXPECT_LE(c.worst_burst, 0);
}

TEST(Cluster, AShiftOfDemandIsFollowedWithinTwoRefreshes) {
  Cluster c({limit_of("a", 300, 300)}, 3);
  const double demand[] = {400, 50, 50};
  for (std::size_t i = 0; i < 3; ++i) {
    c.all[i]->buckets[0].arrivals_per_s = demand[i];
    c.connect(*c.all[i]);
  }
  c.run(10 * kSecond);
  c.all[0]->buckets[0].arrivals_per_s = 50;
  c.all[1]->buckets[0].arrivals_per_s = 400;
  c.run(2 * kSecond);

  EXPECT_NEAR(share_of(c, 0), 50, 3);
  EXPECT_NEAR(share_of(c, 1), 200, 10);
  EXPECT_LE(c.worst_rate, 0);
}

TEST(Cluster, TenASecondOverAHundredHostsIsSpentInTurn) {
  Cluster c({limit_of("a", 10, 10)}, 100);
  for (auto& host : c.all) {
    host->buckets[0].arrivals_per_s = 5;
    c.connect(*host);
  }
  c.run(10 * kSecond);
  const auto before = c.admitted;
  c.run(30 * kSecond);

  EXPECT_GE(c.admitted - before, 270U);
  EXPECT_LE(c.admitted - before, 310U);
  EXPECT_LE(c.worst_rate, 0);
  EXPECT_LE(c.worst_burst, 0);
  std::uint64_t least = 1'000, most = 0;
  for (auto& host : c.all) {
    least = std::min(least, host->buckets[0].spent);
    most = std::max(most, host->buckets[0].spent);
  }
  EXPECT_GE(least, 2U) << most;
}

TEST(Cluster, ABurstBelowTheNumberOfHostsGoesRound) {
  Cluster c({limit_of("a", 300, 5)}, 15);
  for (auto& host : c.all) {
    host->buckets[0].arrivals_per_s = 40;
    c.connect(*host);
  }
  c.run(5 * kSecond);
  const auto before = c.admitted;
  c.run(10 * kSecond);

  // Most of such a limit cannot be used: a token of burst serves one host at a time.
  EXPECT_GE(c.admitted - before, 700U);
  EXPECT_LE(c.admitted - before, 3'005U);
  EXPECT_LE(c.worst_rate, 0);
  EXPECT_LE(c.worst_burst, 0);
}

TEST(Cluster, ALostHostsShareComesBackAfterItsTail) {
  Cluster c({limit_of("a", 300, 300)}, 2);
  for (auto& host : c.all) {
    host->buckets[0].arrivals_per_s = 400;
    c.connect(*host);
  }
  c.run(5 * kSecond);
  c.all[1]->up = false;
  c.all[1]->desk.disconnected(c.now);
  c.run(13 * kSecond);

  EXPECT_NEAR(share_of(c, 0), 298, 4);
  EXPECT_EQ(c.all[1]->buckets[0].view.state, LeaseState::ended);
  EXPECT_LE(c.worst_rate, 0);
  EXPECT_LE(c.worst_burst, 0);
}

TEST(Cluster, ARestartedServerGrantsNothingBeyondTheClaims) {
  Cluster c({limit_of("a", 300, 300)}, 3);
  for (auto& host : c.all) {
    host->buckets[0].arrivals_per_s = 200;
    c.connect(*host);
  }
  c.run(5 * kSecond);
  BookOptions options;
  options.epoch = 2;
  for (auto& host : c.all)
    options.known.push_back({"h", host->desk.agent_epoch()});
  for (std::size_t i = 0; i < 3; ++i)
    options.known[i].host = "h" + std::to_string(i);
  c.book = std::make_unique<Book>(options, c.now);
  std::string why;
  ASSERT_TRUE(c.book->set_limits(c.configs, c.now, why));
  c.queue.clear();
  Host& newcomer = c.add_host("new");
  newcomer.buckets[0].arrivals_per_s = 400;
  c.connect(newcomer);
  c.run(500 * kMs);
  EXPECT_TRUE(c.book->learning());
  EXPECT_EQ(newcomer.buckets[0].view.rate, 0);
  for (std::size_t i = 0; i < 3; ++i)
    c.connect(*c.all[i]);
  c.run(100 * kMs);
  EXPECT_FALSE(c.book->learning()) << "all that are known have spoken";
  c.run(3 * kSecond);

  EXPECT_NEAR(share_of(c, 3), 75, 3);
  EXPECT_LE(c.worst_rate, 0);
  EXPECT_LE(c.worst_burst, 0);
}

TEST(Cluster, ATenantsLimitBoundsItsServices) {
  LimitConfig tenant = limit_of("tenant", 100, 100);
  LimitConfig one = limit_of("one", 80, 50);
  LimitConfig two = limit_of("two", 80, 50);
  one.parent = two.parent = "tenant";
  Cluster c({one, two, tenant}, 2);
  for (auto& host : c.all) {
    host->buckets[0].arrivals_per_s = 100;
    host->buckets[1].arrivals_per_s = 100;
    c.connect(*host);
  }
  for (int i = 0; i < 15'000; ++i) {
    c.step();
    const auto [rate, burst] = c.book->counted(limit_id("tenant"));
    ASSERT_LE(rate, tenant.rate);
    ASSERT_LE(burst, tenant.burst);
  }
  const auto before = c.admitted;
  c.run(10 * kSecond);
  EXPECT_GE(c.admitted - before, 950U);
  EXPECT_LE(c.admitted - before, 1'100U);
}

TEST(Cluster, APerHostLimitGrowsWithTheHosts) {
  LimitConfig config = limit_of("a", 50, 50);
  config.threshold = Threshold::per_host;
  Cluster c({config}, 3);
  c.configs[0].rate *= 3;
  c.configs[0].burst *= 3;
  for (auto& host : c.all) {
    host->buckets[0].arrivals_per_s = 100;
    c.connect(*host);
  }
  c.run(5 * kSecond);
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_NEAR(share_of(c, i), 50, 1);
}

}  // namespace
}  // namespace weir::lease::test
