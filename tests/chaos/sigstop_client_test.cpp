// Clients are stopped anywhere inside a call and go on much later. What they computed before may
// not be put on top of what happened meanwhile.
//
// What it does not find, because one protection stands behind the other: the office not looked at
// (the mint number holds), the mint number not looked at (the office holds), a loser's late undo
// (the next mint clips it), an epoch read after the subtraction (the next tick reopens the gate).
// The models in tests/models have a mutant for each of these.
#include "tests/support/fixture.h"

namespace weir::test {
namespace {

constexpr OracleRule kSigstopClientRule{.amount = 2000, .burst = 100};
constexpr std::uint32_t kStopped = 8;

// Stops random workers for random times, each a moment after it was last let go.
void stop_at_random(Crew& crew, double seconds, unsigned seed) {
  Random random(seed);
  std::vector<std::int64_t> until(kStopped, 0);
  const std::int64_t end = now_ns() + static_cast<std::int64_t>(seconds * 1e9);
  while (now_ns() < end) {
    for (std::uint32_t i = 0; i < kStopped; ++i) {
      const std::int64_t now = now_ns();
      if (until[i] != 0 && now >= until[i]) {
        crew.process(i).signal(SIGCONT);
        until[i] = 0;
      } else if (until[i] == 0 && random() % 3 == 0) {
        crew.process(i).signal(SIGSTOP);
        until[i] = now + 1'000'000 * static_cast<std::int64_t>(
                                         1 + random() % (random() % 8 == 0 ? 300 : 20));
      }
    }
    const struct timespec pause { 0, static_cast<long>(random() % 1'000'000) };
    ::nanosleep(&pause, nullptr);
  }
  for (std::uint32_t i = 0; i < kStopped; ++i)
    crew.process(i).signal(SIGCONT);
}

struct SigstopClient : ::testing::Test {
  void begin(Agent& agent, Crew& crew) {
    ASSERT_TRUE(agent.start());
    for (std::uint32_t i = 0; i < kStopped; ++i)
      crew.start(i, "spend", {"sock=" + agent.socket(), "require=1", "idle_us=20"});
    ASSERT_TRUE(crew.wait_all_started());
  }
};

TEST_F(SigstopClient, WhileTheAgentMints) {
  Agent agent({.rules = rules_of({"name: /t, rate: 2000/s, burst: 100"})});
  Crew crew(agent.dir().path(), kStopped, 1'000'000);
  begin(agent, crew);
  stop_at_random(crew, chaos_seconds(4), 1);
  const std::uint64_t seen = crew.log().sum(&Lane::admitted);
  EXPECT_TRUE(eventually([&] { return crew.log().sum(&Lane::admitted) > seen + 50; }));
  crew.finish();
  EXPECT_EQ(crew.log().sum(&Lane::errors), 0U);
  expect_bound(crew.log(), kSigstopClientRule, "SIGSTOP of clients");
}

// Now they are the minters, and some are stopped while they hold the office.
TEST_F(SigstopClient, WhileTheClientsMint) {
  Agent agent({.rules = rules_of({"name: /t, rate: 2000/s, burst: 100"})});
  Crew crew(agent.dir().path(), kStopped, 1'000'000);
  begin(agent, crew);
  agent.kill9();
  stop_at_random(crew, chaos_seconds(4), 2);
  const std::uint64_t seen = crew.log().sum(&Lane::admitted);
  EXPECT_TRUE(eventually([&] { return crew.log().sum(&Lane::admitted) > seen + 50; }))
      << "the clients did not mint for themselves";
  crew.finish();
  EXPECT_EQ(crew.log().sum(&Lane::errors), 0U);
  expect_bound(crew.log(), kSigstopClientRule, "SIGSTOP of minting clients");
}

// A slow bucket: one token every 20 ms, large requests beside small ones. The gate must never stay
// shut over tokens that are there.
TEST_F(SigstopClient, ServesAfterTheStops) {
  Agent agent({.rules = rules_of({"name: /t, rate: 50/s, burst: 10"})});
  Crew crew(agent.dir().path(), kStopped, 100'000);
  ASSERT_TRUE(agent.start());
  for (std::uint32_t i = 0; i < kStopped; ++i)
    crew.start(i, "spend",
               {"sock=" + agent.socket(), "require=1", "idle_us=20", i % 2 == 0 ? "n=1" : "n=5"});
  ASSERT_TRUE(crew.wait_all_started());
  stop_at_random(crew, chaos_seconds(1.5), 3);
  crew.finish();
  // Everybody is gone and the bucket fills: the next caller must be served.
  const Client client(agent.socket());
  weir_limit* limit = client.limit("/t");
  ASSERT_TRUE(eventually([&] { return info_of(limit).tokens >= 5; }));
  EXPECT_EQ(weir_try_acquire(limit, 5), WEIR_ALLOW);
  expect_bound(crew.log(), {.amount = 50, .burst = 10}, "SIGSTOP, slow bucket");
}

}  // namespace
}  // namespace weir::test
