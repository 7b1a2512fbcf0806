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

}  // namespace
}  // namespace weir::agent::test
