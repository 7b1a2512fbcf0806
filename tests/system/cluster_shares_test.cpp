// One limit for a whole cluster: however the demand is spread, the sum is the limit's, and the
// shares are max-min fair.
#include "tests/system/cluster_support.h"

namespace weir::test {
namespace {

using Demands = std::vector<std::unique_ptr<Demand>>;
constexpr OracleRule kSharesRule{300, 1'000'000'000, 300};

TEST(ClusterShares, AnEmbeddedServerHoldsTheLimitOfOneHost) {
  Agent agent({.rules = rules_embedded({"name: /t, rate: 300/s, burst: 300"}, "one")});
  ASSERT_TRUE(agent.start());
  ASSERT_TRUE(wait_answering(agent)) << agent.log();
  Client client(agent.socket());
  EXPECT_EQ(weir_try_acquire(client.limit("/t"), 100), WEIR_DENY) << "the burst starts empty";

  Demands demands;
  demands.push_back(std::make_unique<Demand>(agent, 1000));
  demands.push_back(std::make_unique<Demand>(agent, 1000));
  ::usleep(1'500'000);
  const auto rates = rates_over(demands, 5);

  EXPECT_NEAR(rates[0] + rates[1], 300, 9);
  expect_cluster_bound(demands, kSharesRule, "one host, embedded server");
}

// 400 + 50 + 50 wanted of 300: 200 + 50 + 50.
TEST(ClusterShares, ThreeHostsGetMaxMinFairShares) {
  Server server({"name: /t, rate: 300/s, burst: 300"});
  server.start();
  std::vector<std::unique_ptr<Agent>> agents;
  for (const char* name : {"a", "b", "c"}) {
    agents.push_back(
        std::make_unique<Agent>(AgentOptions{.rules = rules_at(server.address(), name)}));
    ASSERT_TRUE(agents.back()->start());
  }
  for (const auto& agent : agents)
    ASSERT_TRUE(wait_answering(*agent)) << agent->log();
  Demands demands;
  for (std::size_t i = 0; i < 3; ++i)
    demands.push_back(std::make_unique<Demand>(*agents[i], i == 0 ? 400 : 50));
  ::usleep(4'000'000);

  const auto rates = rates_over(demands, 10);

  std::printf("[ shares   ] %.1f + %.1f + %.1f\n", rates[0], rates[1], rates[2]);
  EXPECT_NEAR(rates[0], 200, 4);
  EXPECT_NEAR(rates[1], 50, 1);
  EXPECT_NEAR(rates[2], 50, 1);
  const auto lease = agents[0]->limit("/t")->lease();
  EXPECT_EQ(lease.state(), "live");
  EXPECT_NEAR(lease.want_per_s(), 400, 60);
  expect_cluster_bound(demands, kSharesRule, "three hosts");
}

TEST(ClusterShares, AnotherAgentMayUseAnEmbeddedServer) {
  const std::string listen = "127.0.0.1:" + std::to_string(free_port());
  Agent first({.rules = rules_embedded({"name: /t, rate: 300/s, burst: 300"}, "first", listen)});
  ASSERT_TRUE(first.start());
  Agent second({.rules = rules_at(listen, "second")});
  ASSERT_TRUE(second.start());
  ASSERT_TRUE(wait_answering(first)) << first.log();
  ASSERT_TRUE(wait_answering(second)) << second.log();
  ASSERT_TRUE(eventually([&] { return second.limit("/t").has_value(); })) << "its rules came";
  Demands demands;
  demands.push_back(std::make_unique<Demand>(first, 250));
  demands.push_back(std::make_unique<Demand>(second, 250));
  ::usleep(4'000'000);

  const auto rates = rates_over(demands, 6);

  EXPECT_NEAR(rates[0], 150, 5);
  EXPECT_NEAR(rates[1], 150, 5);
  expect_cluster_bound(demands, kSharesRule, "two hosts, one of them the server");
}

}  // namespace
}  // namespace weir::test
