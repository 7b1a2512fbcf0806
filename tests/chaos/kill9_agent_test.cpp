// The agent is killed and started again, again and again, under load. No call fails or hangs, the
// limit is kept by the rules that the agent left behind, and clients come back to the new one.
//
// Tried with these protections taken out, each of which fails here:
//   - limits of adopted counters started afresh (full) by the new agent;
//   - buckets without adopted counters started full though an agent ran before (ran_before);
//   - clients that never mint for themselves (serve_alone always refuses);
//   - LimitTerms::opened always false; a rule after the lease that goes on with the lease's rate.
#include "tests/support/fixture.h"

namespace weir::test {
namespace {

constexpr OracleRule kKill9AgentRule{.amount = 2000, .burst = 200};
constexpr std::uint32_t kCrew = 4;

struct Kill9Agent : ::testing::Test {
  void begin(Agent& agent, Crew& crew, const std::vector<std::string>& more = {}) {
    ASSERT_TRUE(agent.start());
    for (std::uint32_t i = 0; i < kCrew; ++i) {
      std::vector<std::string> words{"sock=" + agent.socket(), "require=1", "idle_us=50"};
      words.insert(words.end(), more.begin(), more.end());
      crew.start(i, "spend", words);
    }
    ASSERT_TRUE(crew.wait_all_started());
  }
  void let_pass(std::int64_t ms) {
    const std::int64_t until = now_ns() + ms * 1'000'000;
    eventually([&] { return now_ns() >= until; }, 3'600'000);
  }
  // Everybody is refused now and then, so everybody notices the new agent.
  std::int64_t reattach(Agent& agent, std::int64_t since) {
    EXPECT_TRUE(eventually([&] { return agent.clients() == kCrew; }))
        << "only " << agent.clients() << " clients came back";
    return now_ns() - since;
  }
  void expect_no_failure(Crew& crew) {
    EXPECT_EQ(crew.log().sum(&Lane::errors), 0U) << "a call failed for want of an agent";
    for (std::uint32_t i = 0; i < kCrew; ++i)
      EXPECT_LT(crew.log().lane(i).longest_call_ns.load(), 5'000'000'000) << "a call hung";
  }
};

TEST_F(Kill9Agent, WithADescriptorStoreNothingIsRefilled) {
  Agent agent({.rules = rules_of({"name: /t, rate: 2000/s, burst: 200, "
                                  "fallback: {mode: local, rate: 1000/s, after: 0s}"})});
  Crew crew(agent.dir().path(), kCrew, 2'000'000);
  begin(agent, crew);
  Random random(5);
  const std::int64_t until = now_ns() + static_cast<std::int64_t>(chaos_seconds(6) * 1e9);
  std::int64_t slowest = 0;
  int restarts = 0;
  while (now_ns() < until) {
    let_pass(random() % 200);
    agent.kill9();
    // Often at once, sometimes after the heartbeat is stale, sometimes after the lease's end.
    const int kind = static_cast<int>(random() % 4);
    let_pass(kind < 2 ? 0 : kind == 2 ? 350 : 700);
    const std::int64_t began = now_ns();
    ASSERT_TRUE(agent.start());
    EXPECT_TRUE(agent.status().counters_adopted());
    if (++restarts % 3 == 0) slowest = std::max(slowest, reattach(agent, began));
  }
  slowest = std::max(slowest, reattach(agent, now_ns()));
  crew.finish();
  std::printf("[ chaos    ] %d restarts, slowest return of all clients %.0f ms\n", restarts,
              static_cast<double>(slowest) / 1e6);
  EXPECT_GT(restarts, 3);
  expect_no_failure(crew);
  expect_bound(crew.log(), kKill9AgentRule, "kill -9 of the agent");
}

// Without a store the new agent has new buckets, and they start empty. What the old ones still hold
// is spent as well, and while a client has not noticed the new agent it mints in the old bucket:
// that overlap is the price of having no descriptor store.
TEST_F(Kill9Agent, WithoutADescriptorStoreBucketsStartEmpty) {
  Agent agent({.rules = rules_of(
                   {"name: /t, rate: 2000/s, burst: 200", "name: /slow, rate: 1/m, burst: 1000"}),
               .store_fds = false});
  Crew crew(agent.dir().path(), kCrew, 2'000'000);
  begin(agent, crew);
  EXPECT_EQ(agent.limit("/slow")->level(), 1000U) << "the first agent of a boot starts full";
  std::uint64_t overlap = 0;
  const int restarts = std::max(3, static_cast<int>(chaos_seconds(3)));
  for (int i = 0; i < restarts; ++i) {
    agent.kill9();
    let_pass(i % 2 == 0 ? 0 : 400);
    const std::int64_t began = now_ns();
    ASSERT_TRUE(agent.start());
    EXPECT_FALSE(agent.status().counters_adopted());
    EXPECT_LE(agent.limit("/slow")->level(), 1U) << "a restart refilled the bucket";
    overlap += static_cast<std::uint64_t>(reattach(agent, began));
  }
  crew.finish();
  expect_no_failure(crew);
  const std::uint64_t twice = overlap / 1000 * kKill9AgentRule.amount / 1'000'000;
  expect_bound(crew.log(), with_slack(kKill9AgentRule, twice + 1), "without a store");
}

TEST_F(Kill9Agent, FallbackLocalGoesOnAtItsOwnRate) {
  Agent agent({.rules = rules_of({"name: /t, rate: 2000/s, burst: 200, "
                                  "fallback: {mode: local, rate: 100/s, burst: 10, after: 0s}"})});
  Crew crew(agent.dir().path(), kCrew, 2'000'000);
  begin(agent, crew);
  agent.kill9();
  let_pass(1500);  // past the lease
  const std::uint64_t before = crew.log().sum(&Lane::admitted);
  const std::int64_t from = now_ns();
  let_pass(1000);
  const std::uint64_t got = crew.log().sum(&Lane::admitted) - before;
  const auto elapsed_ms = static_cast<std::uint64_t>((now_ns() - from) / 1'000'000);
  EXPECT_GT(got, 0U) << "nobody minted";
  EXPECT_LE(got, 10 + 100 * (elapsed_ms + 100) / 1000) << "faster than the fallback's rate";
  const std::int64_t began = now_ns();
  ASSERT_TRUE(agent.start());
  (void)reattach(agent, began);
  crew.finish();
  expect_no_failure(crew);
  expect_bound(crew.log(), kKill9AgentRule, "fallback local");
}

TEST_F(Kill9Agent, FallbackOpenLetsEverythingThrough) {
  Agent agent(
      {.rules = rules_of({"name: /t, rate: 100/s, burst: 10, fallback: {mode: open, after: 0s}"})});
  Crew crew(agent.dir().path(), kCrew, 2'000'000);
  begin(agent, crew, {"pace_us=1000"});
  const std::uint64_t before = crew.log().sum(&Lane::admitted);
  agent.kill9();
  EXPECT_TRUE(eventually([&] { return crew.log().sum(&Lane::admitted) > before + 500; }));
  const std::int64_t began = now_ns();
  ASSERT_TRUE(agent.start());
  (void)reattach(agent, began);
  // And the limit is a limit again.
  const std::uint64_t seen = crew.log().sum(&Lane::denied);
  EXPECT_TRUE(eventually([&] { return crew.log().sum(&Lane::denied) > seen + 100; }));
  crew.finish();
  expect_no_failure(crew);
}

TEST_F(Kill9Agent, FallbackClosedLetsNothingThrough) {
  Agent agent({.rules = rules_of(
                   {"name: /t, rate: 2000/s, burst: 200, fallback: {mode: closed, after: 0s}"})});
  Crew crew(agent.dir().path(), kCrew, 2'000'000);
  begin(agent, crew);
  agent.kill9();
  // Half a second is the shortest lease: after it and what was minted until then, nothing.
  let_pass(1500);
  const std::uint64_t seen = crew.log().sum(&Lane::admitted);
  let_pass(700);
  EXPECT_EQ(crew.log().sum(&Lane::admitted), seen);
  const std::int64_t began = now_ns();
  ASSERT_TRUE(agent.start());
  (void)reattach(agent, began);
  EXPECT_TRUE(eventually([&] { return crew.log().sum(&Lane::admitted) > seen + 100; }));
  crew.finish();
  expect_no_failure(crew);
  expect_bound(crew.log(), kKill9AgentRule, "fallback closed");
}

}  // namespace
}  // namespace weir::test
