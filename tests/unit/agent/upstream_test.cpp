// The agent's side of leases against a real book, without sockets and on a clock of the test's own.
#include "tests/unit/agent/cluster_bench.h"

namespace weir::agent::test {
namespace {

TEST(Upstream, AnIdleHostsFirstTokenComesWithinAFewTicks) {
  Cluster c({cluster_limit("a")});
  Host& host = c.add("h1");
  EXPECT_EQ(host.take_all("a"), 0U) << "a new limit has nothing until the server grants";
  c.connect(host);
  c.pass(1500);

  for (int i = 0; i < 5; ++i) {
    ASSERT_FALSE(host.take("a"));
    int ms = 0;
    while (!host.take("a") && ++ms < 1000)
      c.pass(1);
    EXPECT_LE(ms, 4);
    c.pass(20'000);
  }
}

TEST(Upstream, OneHostGetsTheWholeLimit) {
  Cluster c({cluster_limit("a")});
  Host& host = c.add("h1");
  c.connect(host);
  Pace pace(host, "a", 1000);
  c.pass(3000, [&] { pace.ms(); });
  pace.reset();
  c.pass(10'000, [&] { pace.ms(); });

  EXPECT_GT(pace.admitted, 2950U);
  EXPECT_LE(pace.admitted, 3000U + 300U);
}

TEST(Upstream, ThreeHostsShareByMaxMin) {
  Cluster c({cluster_limit("a")});
  std::vector<Pace> paces;
  for (const auto& [name, rate] : {std::pair{"h1", 400.0}, {"h2", 50.0}, {"h3", 50.0}})
    paces.emplace_back(c.add(name), "a", rate);
  for (auto& host : c.hosts)
    c.connect(*host);
  const auto all = [&] {
    for (Pace& pace : paces)
      pace.ms();
  };
  std::uint64_t before = 0;
  c.pass(5000, all);
  for (Pace& pace : paces) {
    before += pace.admitted;
    pace.reset();
  }
  c.pass(20'000, all);

  EXPECT_LE(before, 300U + 5 * 300U);
  EXPECT_NEAR(static_cast<double>(paces[0].admitted) / 20, 200, 4);
  EXPECT_NEAR(static_cast<double>(paces[1].admitted) / 20, 50, 1);
  EXPECT_NEAR(static_cast<double>(paces[2].admitted) / 20, 50, 1);
}

// A burst below the number of hosts: whole tokens, in turn. Callers that wait lose nothing by that.
TEST(Upstream, ASmallLimitIsSharedTokenByToken) {
  Cluster c({cluster_limit("a", 20, 3)});
  std::vector<Pace> paces;
  for (int i = 0; i < 12; ++i)
    paces.emplace_back(c.add("h" + std::to_string(i)), "a", 100);
  for (auto& host : c.hosts)
    c.connect(*host);
  const auto all = [&] {
    for (Pace& pace : paces)
      pace.ms();
  };
  c.pass(5000, all);
  for (Pace& pace : paces)
    pace.reset();
  c.pass(30'000, all);

  std::uint64_t total = 0, least = UINT64_MAX, most = 0;
  for (const Pace& pace : paces) {
    total += pace.admitted;
    least = std::min(least, pace.admitted);
    most = std::max(most, pace.admitted);
  }
  EXPECT_LE(total, 600U + 3U);
  EXPECT_GE(total, 480U) << "of 600";
  EXPECT_GE(least, 20U) << "each is served: fifty would be even";
  EXPECT_LE(most, 100U);
}

TEST(Upstream, ALimitThatIsTakenOutIsGivenBack) {
  Cluster c({cluster_limit("a"), cluster_limit("b")});
  Host& host = c.add("h");
  c.connect(host);
  Pace pace(host, "b", 500);
  c.pass(3000, [&] { pace.ms(); });
  ASSERT_EQ(host.lease("b").state, lease::LeaseState::live);
  host.publish({cluster_limit("a")});
  EXPECT_FALSE(host.upstream->view_of("b"));
  host.publish({cluster_limit("a"), cluster_limit("b")});
  EXPECT_EQ(host.take_all("b"), 0U);
  c.pass(8000, [&] { pace.ms(); });
  EXPECT_EQ(host.lease("b").state, lease::LeaseState::live);
}

TEST(Upstream, AHostsOwnLimitOfTheSameNameIsLeftAlone) {
  Cluster c({cluster_limit("a")});
  Host& host = c.add("h");
  c.connect(host);
  LimitRule own = cluster_limit("a", 5, 5);
  own.scope = LimitScope::host;
  own.fallback.divided = false;
  own.fallback.after_ms = 10'000;
  host.publish({own});
  c.pass(2000);
  EXPECT_EQ(host.take_all("a"), 5U);
  EXPECT_FALSE(host.upstream->view_of("a"));
}

}  // namespace
}  // namespace weir::agent::test
