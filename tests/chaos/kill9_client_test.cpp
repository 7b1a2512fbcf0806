// Clients are killed at any instruction. What they leave is a bucket that every other process can
// still use, a connection that the agent reaps, and at most one token lost.
//
// Tried with these protections taken out, each of which fails here:
//   - minting clipped to the room there is now (left) in place of the room there was (book.level);
//   - the agent forgetting nobody: drop() without erasing the connection.
#include "tests/support/fixture.h"

namespace weir::test {
namespace {

constexpr OracleRule kKill9ClientRule{.amount = 2000, .burst = 200};

class Kill9Client : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(Kill9Client, OthersGoOnAndNothingIsAdmittedTwice) {
  const std::uint32_t count = GetParam();
  Agent agent({.rules = rules_of({"name: /t, rate: 2000/s, burst: 200"})});
  ASSERT_TRUE(agent.start());
  const int fds_before = count_fds(agent.pid());
  Crew crew(agent.dir().path(), count, 4'000'000 / count);
  const auto begin = [&](std::uint32_t lane) {
    crew.start(lane, "spend", {"sock=" + agent.socket(), "require=1", "idle_us=50"});
  };
  for (std::uint32_t i = 0; i < count; ++i)
    begin(i);
  ASSERT_TRUE(crew.wait_all_started());

  Random random(count);
  const std::int64_t until = now_ns() + static_cast<std::int64_t>(chaos_seconds(4) * 1e9);
  int kills = 0;
  for (; now_ns() < until; ++kills) {
    const std::uint32_t lane = random() % count;
    const std::uint64_t incarnation = crew.log().lane(lane).starts.load();
    // Random, so that the kill meets any instruction.
    const struct timespec pause { 0, static_cast<long>(random() % 2'000'000) };
    ::nanosleep(&pause, nullptr);
    crew.process(lane).kill9();
    begin(lane);
    ASSERT_TRUE(crew.wait_started(lane, incarnation + 1)) << "a successor could not begin";
  }
  std::printf("[ chaos    ] %d kills of %u processes\n", kills, count);

  // Nobody needs a repair: every survivor is still given tokens.
  const std::uint64_t seen = crew.log().sum(&Lane::admitted);
  EXPECT_TRUE(eventually([&] { return crew.log().sum(&Lane::admitted) > seen + 50; }));
  EXPECT_EQ(agent.clients(), count);
  crew.finish();
  EXPECT_GT(kills, 50);
  EXPECT_EQ(crew.log().sum(&Lane::errors), 0U);
  expect_bound(crew.log(), kKill9ClientRule, "kill -9 of clients");

  EXPECT_TRUE(agent.process().running());
  EXPECT_TRUE(eventually([&] { return agent.clients() == 0; })) << "dead clients were not reaped";
  EXPECT_TRUE(eventually([&] { return count_fds(agent.pid()) <= fds_before; }))
      << "descriptors were not closed: " << fds_before << " before, " << count_fds(agent.pid());
  EXPECT_EQ(agent.limit("/t")->forged_total(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Processes, Kill9Client, ::testing::Values(2U, 8U));

// Refilling must not lag behind either: tokens that the dead took must not be many.
TEST(Kill9ClientUse, NearlyNothingIsLost) {
  Agent agent({.rules = rules_of({"name: /t, rate: 2000/s, burst: 200"})});
  ASSERT_TRUE(agent.start());
  Crew crew(agent.dir().path(), 1, 1'000'000);
  const auto begin = [&] {
    crew.start(0, "spend", {"sock=" + agent.socket(), "require=1", "idle_us=50"});
  };
  begin();
  Random random(7);
  constexpr int kKills = 60;
  for (int i = 0; i < kKills; ++i) {
    ASSERT_TRUE(crew.wait_started(0, static_cast<std::uint64_t>(i) + 1));
    const std::uint64_t seen = crew.log().lane(0).admitted.load();
    ASSERT_TRUE(eventually([&] { return crew.log().lane(0).admitted.load() > seen; }));
    crew.process(0).kill9();
    begin();
  }
  crew.finish();
  const auto limit = agent.limit("/t");
  const std::uint64_t recorded = crew.log().sum(&Lane::admitted);
  // Each kill may lose the call that was under way, and no more.
  EXPECT_LE(limit->spent_total(), recorded + kKills);
  EXPECT_GE(limit->spent_total() + 1, recorded);
}

}  // namespace
}  // namespace weir::test
