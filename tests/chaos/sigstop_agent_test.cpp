// The agent is stopped for longer than its heartbeat lasts. Clients mint meanwhile; the agent wakes
// in the middle of whatever it did and must not bring anything twice.
//
// Tried with these protections taken out, each of which fails here:
//   - the heartbeat always taken for fresh (clients never mint);
//   - an agent that comes back keeping what it had put by for waiters (lose_put_by).
#include "tests/support/fixture.h"

namespace weir::test {
namespace {

constexpr OracleRule kSigstopAgentRule{.amount = 2000, .burst = 200};

void let_pass(std::int64_t ms) {
  const std::int64_t until = now_ns() + ms * 1'000'000;
  eventually([&] { return now_ns() >= until; }, 3'600'000);
}

TEST(SigstopAgent, ClientsMintMeanwhileAndNothingIsMintedTwice) {
  constexpr std::uint32_t kCount = 4;
  Agent agent({.rules = rules_of({"name: /t, rate: 2000/s, burst: 200"})});
  ASSERT_TRUE(agent.start());
  Crew crew(agent.dir().path(), kCount, 2'000'000);
  for (std::uint32_t i = 0; i < kCount; ++i)
    crew.start(i, "spend", {"sock=" + agent.socket(), "require=1", "idle_us=50"});
  ASSERT_TRUE(crew.wait_all_started());
  Random random(3);
  const std::int64_t until = now_ns() + static_cast<std::int64_t>(chaos_seconds(5) * 1e9);
  while (now_ns() < until) {
    let_pass(random() % 50);
    agent.freeze();
    let_pass(300 + random() % 500);  // the heartbeat is stale after 250 ms
    const std::uint64_t seen = crew.log().sum(&Lane::admitted);
    EXPECT_TRUE(eventually([&] { return crew.log().sum(&Lane::admitted) > seen; }))
        << "nobody minted while the agent was stopped";
    agent.thaw();
    EXPECT_EQ(agent.status().pid(), agent.pid());
  }
  crew.finish();
  EXPECT_EQ(crew.log().sum(&Lane::errors), 0U);
  expect_bound(crew.log(), kSigstopAgentRule, "SIGSTOP of the agent");
}

// Many short stops: each meets another instruction of the tick.
TEST(SigstopAgent, AnywhereInATick) {
  constexpr std::uint32_t kCount = 3;
  Agent agent({.rules = rules_of({"name: /t, rate: 2000/s, burst: 200"})});
  ASSERT_TRUE(agent.start());
  Crew crew(agent.dir().path(), kCount, 2'000'000);
  for (std::uint32_t i = 0; i < kCount; ++i)
    crew.start(i, "spend", {"sock=" + agent.socket(), "require=1", "idle_us=100"});
  ASSERT_TRUE(crew.wait_all_started());
  Random random(4);
  const std::int64_t until = now_ns() + static_cast<std::int64_t>(chaos_seconds(2) * 1e9);
  while (now_ns() < until) {
    agent.process().signal(SIGSTOP);
    const struct timespec pause { 0, static_cast<long>(random() % 3'000'000) };
    ::nanosleep(&pause, nullptr);
    agent.process().signal(SIGCONT);
    const struct timespec run { 0, static_cast<long>(random() % 2'000'000) };
    ::nanosleep(&run, nullptr);
  }
  crew.finish();
  expect_bound(crew.log(), kSigstopAgentRule, "short stops of the agent");
}

// What the agent has put by for a waiter lies in its own memory, where the clients that mint
// meanwhile cannot see it: they fill the whole bucket beside it. On waking it may not come on top.
TEST(SigstopAgent, WhatWasPutByForAWaiterDoesNotComeOnTop) {
  constexpr OracleRule kSlow{.amount = 500, .burst = 500};
  Agent agent({.rules = rules_of({"name: /t, rate: 500/s, burst: 500"})});
  ASSERT_TRUE(agent.start());
  Crew crew(agent.dir().path(), 3, 100'000);
  constexpr std::uint32_t kBig = 0, kWaiter = 1, kSmall = 2;
  const std::string sock = "sock=" + agent.socket();
  {
    const Client drain(agent.socket());
    std::uint64_t taken = 0;
    const std::int64_t begin = now_ns();
    ASSERT_EQ(weir_drain(drain.limit("/t"), &taken), WEIR_OK);
    ASSERT_TRUE(crew.log().append(kSmall, {begin, now_ns(), taken}));
  }
  crew.start(kWaiter, "wait", {sock, "require=1", "n=400", "timeout_ms=60000"});
  ASSERT_TRUE(eventually([&] { return agent.limit("/t")->waiting() == 1; }));
  crew.start(kSmall, "spend", {sock, "require=1", "hold=1", "idle_us=100"});
  crew.start(kBig, "spend", {sock, "require=1", "n=500", "count=1", "idle_us=500"});
  ASSERT_TRUE(crew.wait_all_started());
  ASSERT_TRUE(eventually([&] { return agent.limit("/t")->owed() < 150; })) << "nothing put by";
  agent.freeze();
  crew.process(kWaiter).kill9();  // what was put by is nobody's now

  ASSERT_TRUE(eventually([&] { return crew.log().lane(kBig).admitted.load() == 1; }))
      << "the clients did not mint a whole bucket";
  agent.thaw();
  crew.go();
  ASSERT_TRUE(eventually([&] { return crew.log().lane(kSmall).admitted.load() > 600; }));
  crew.finish();
  expect_bound(crew.log(), kSlow, "put by for a waiter");
}

}  // namespace
}  // namespace weir::test
