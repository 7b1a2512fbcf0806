// N1 to N3, N5, N7, S4 and U5 of a cluster: networks that lose, double, delay and end, servers that
// are replaced. The sum of what is admitted stays under the limit throughout.
#include "tests/system/cluster_support.h"

namespace weir::test {
namespace {

using Demands = std::vector<std::unique_ptr<Demand>>;
constexpr OracleRule kNetworkRule{300, 1'000'000'000, 300};
constexpr char kNetworkLimit[] = "name: /t, rate: 300/s, burst: 300";

class ClusterNetwork : public ::testing::Test {
 protected:
  void add_agent(const std::string& server, const std::string& env = "") {
    AgentOptions options{.rules = rules_at(server, "h" + std::to_string(agents.size()))};
    if (!env.empty()) options.env["WEIR_NET_FAULTS"] = env;
    agents.push_back(std::make_unique<Agent>(std::move(options)));
    ASSERT_TRUE(agents.back()->start());
  }
  void begin(std::initializer_list<double> wants) {
    for (const auto& agent : agents) {
      ASSERT_TRUE(wait_answering(*agent)) << agent->log();
      ASSERT_TRUE(eventually([&] { return agent->limit("/t").has_value(); }));
    }
    std::size_t i = 0;
    for (const double want : wants)
      demands.push_back(std::make_unique<Demand>(*agents[i++], want));
    ::usleep(3'000'000);
  }
  double sum_over(double seconds) {
    double sum = 0;
    for (const double rate : rates_over(demands, seconds))
      sum += rate;
    return sum;
  }

  std::vector<std::unique_ptr<Agent>> agents;
  Demands demands;
};

// N2, N3, N5. Requests and answers are lost, doubled, late and out of order, and connections end.
TEST_F(ClusterNetwork, ABadNetworkGrantsNothingTwice) {
  constexpr char kBad[] = "delay=1ms..20ms,drop=0.04,double=0.1,reorder=0.1,cut=0.01,seed=";
  Server server({kNetworkLimit}, {.env = {{"WEIR_NET_FAULTS", std::string{kBad} + "1"}}});
  server.start();
  for (int i = 0; i < 3; ++i)
    add_agent(server.address(), std::string{kBad} + std::to_string(i + 2));
  ASSERT_NO_FATAL_FAILURE(begin({400, 400, 50}));

  const double used = sum_over(10);

  std::printf("[ use      ] %.1f of 300/s over a bad network\n", used);
  EXPECT_GT(used, 200) << "what is lost is asked for again";
  std::uint64_t closes = 0, again = 0;
  for (const auto& agent : agents) {
    closes += agent->status().upstream().closes_total();
    again += agent->status().upstream().retries_total();
  }
  EXPECT_GT(closes, 0U) << "no connection was cut: the network was none";
  EXPECT_GT(again, 0U) << "no message was lost";
  expect_cluster_bound(demands, kNetworkRule, "bad network");
}

// N7. The lease's time is counted from when it was asked for; a slow answer is an answer.
TEST_F(ClusterNetwork, ASlowNetworkDoesNotFlap) {
  Server server({kNetworkLimit});
  server.start();
  add_agent(server.address(), "delay=400ms");
  add_agent(server.address());
  ASSERT_NO_FATAL_FAILURE(begin({400, 50}));
  const std::uint64_t starts = agents[0]->status().upstream().fallback_starts_total();

  const auto rates = rates_over(demands, 8);

  std::printf("[ shares   ] %.1f at 800 ms there and back, %.1f near the server\n", rates[0],
              rates[1]);
  EXPECT_GT(rates[0], 225) << "of 250";
  EXPECT_NEAR(rates[1], 50, 2);
  const v1::UpstreamStatus status = agents[0]->status().upstream();
  EXPECT_EQ(status.fallback_starts_total(), starts);
  EXPECT_GT(status.round_trip_p50_us(), 500'000U);
  expect_cluster_bound(demands, kNetworkRule, "slow network");
}

// S4, S5. The server stops, its hosts go to another one, and then it wakes with its old leases.
TEST_F(ClusterNetwork, AServerThatWasReplacedIsNotBelieved) {
  Server old_one({kNetworkLimit});
  Server new_one({kNetworkLimit});
  old_one.start();
  const std::string both = "[\"" + old_one.address() + "\", \"" + new_one.address() + "\"]";
  add_agent(both);
  add_agent(both);
  ASSERT_NO_FATAL_FAILURE(begin({400, 400}));
  const std::uint64_t epoch = agents[0]->status().upstream().epoch();
  new_one.start();

  old_one.freeze();
  ASSERT_TRUE(eventually(
      [&] {
        return agents[0]->status().upstream().address() == new_one.address() &&
               agents[1]->status().upstream().address() == new_one.address();
      },
      20'000));
  ASSERT_TRUE(wait_answering(*agents[0]));
  ASSERT_TRUE(wait_answering(*agents[1]));
  old_one.thaw();
  ::usleep(4'000'000);
  const auto rates = rates_over(demands, 4);

  EXPECT_GT(agents[0]->status().upstream().epoch(), epoch);
  EXPECT_EQ(agents[0]->status().upstream().address(), new_one.address());
  EXPECT_NEAR(rates[0], 150, 6);
  EXPECT_NEAR(rates[1], 150, 6);
  // While neither answered, the fallback of two hosts of two, which is the limit.
  expect_cluster_bound(demands, {300, 1'000'000'000, 300 + 300}, "server replaced");
}

// U5. Hosts keep what they have until the new one knows of it.
TEST_F(ClusterNetwork, ARestartOfTheServerCostsNothing) {
  Server server({kNetworkLimit});
  server.start();
  for (int i = 0; i < 3; ++i)
    add_agent(server.address());
  ASSERT_NO_FATAL_FAILURE(begin({400, 400, 50}));

  for (int restart = 0; restart < 2; ++restart) {
    const std::uint64_t epoch = agents[0]->status().upstream().epoch();
    ASSERT_EQ(server.stop(), 0) << server.log();
    server.start();
    const double used = sum_over(6);
    std::printf("[ use      ] %.1f of 300/s over a restart\n", used);
    EXPECT_GT(used, 285);
    ASSERT_TRUE(wait_answering(*agents[0]));
    EXPECT_GT(agents[0]->status().upstream().epoch(), epoch);
  }
  expect_cluster_bound(demands, kNetworkRule, "server restarted");
}

// Two network namespaces and a cable between them.
class Cable {
 public:
  Cable() {
    made_ = run("ip netns add " + name_) &&
            run("ip link add " + name_ + "a type veth peer name " + name_ + "b") &&
            run("ip link set " + name_ + "b netns " + name_) &&
            run("ip addr add 10.213.77.1/30 dev " + name_ + "a") &&
            run("ip link set " + name_ + "a up") &&
            run("ip netns exec " + name_ + " ip addr add 10.213.77.2/30 dev " + name_ + "b") &&
            run("ip netns exec " + name_ + " ip link set " + name_ + "b up");
  }
  ~Cable() {
    mend();
    (void)run("ip link del " + name_ + "a");
    (void)run("ip netns del " + name_);
  }
  Cable(const Cable&) = delete;
  Cable& operator=(const Cable&) = delete;

  bool made() const { return made_; }
  const std::string& name() const { return name_; }
  // Nothing comes back: neither an answer nor an error.
  bool cut() {
    return run("ip netns exec " + name_ + " ip route replace blackhole 10.213.77.1/32");
  }
  bool mend() { return run("ip netns exec " + name_ + " ip route del blackhole 10.213.77.1/32"); }
  // One way: what is said arrives, and nothing comes back.
  bool lose_answers() {
    return run("ip netns exec " + name_ +
               " ip neigh replace 10.213.77.1 lladdr 02:00:00:00:00:01 nud permanent dev " + name_ +
               "b");
  }
  bool find_answers() {
    return run("ip netns exec " + name_ + " ip neigh del 10.213.77.1 dev " + name_ + "b");
  }

 private:
  static bool run(const std::string& command) {
    return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
  }
  std::string name_ = "wt" + std::to_string(::getpid() % 100'000);
  bool made_ = false;
};

// N1, N2. Real partitions: between two hosts and their server, first both ways and then one way.
TEST_F(ClusterNetwork, APartitionHealsByItself) {
  if (!is_root()) GTEST_SKIP() << "network namespaces need root";
  Cable cable;
  if (!cable.made()) GTEST_SKIP() << "no network namespaces, or no veth, or no ip(8)";
  Server server({kNetworkLimit}, {.address = "10.213.77.2",
                                  .before = {"/usr/bin/env", "ip", "netns", "exec", cable.name()}});
  server.start();
  add_agent(server.address());
  add_agent(server.address());
  ASSERT_NO_FATAL_FAILURE(begin({400, 400}));

  for (const bool one_way : {false, true}) {
    ASSERT_TRUE(one_way ? cable.lose_answers() : cable.cut());
    ::usleep(static_cast<useconds_t>((kLeaseNs + kTailNs) / 1000 + 1'000'000));
    const auto alone = rates_over(demands, 3);
    EXPECT_NEAR(alone[0], 150, 5) << "half of the limit each";
    EXPECT_NEAR(alone[1], 150, 5);
    EXPECT_TRUE(agents[0]->status().upstream().fallback());
    ASSERT_TRUE(one_way ? cable.find_answers() : cable.mend());
    ASSERT_TRUE(wait_answering(*agents[0])) << agents[0]->log();
    ASSERT_TRUE(wait_answering(*agents[1])) << agents[1]->log();
    ::usleep(3'000'000);
    const auto after = rates_over(demands, 3);
    EXPECT_NEAR(after[0] + after[1], 300, 9);
    EXPECT_FALSE(agents[0]->status().upstream().fallback());
  }
  // Each finds its way back at its own time. Until the second has, it goes by its half, of which
  // the server does not know: k of N hosts cut off admit limit x k / N more, and a burst each.
  expect_cluster_bound(demands, {450, 1'000'000'000, 300 + 150}, "partitioned twice");
}

}  // namespace
}  // namespace weir::test
