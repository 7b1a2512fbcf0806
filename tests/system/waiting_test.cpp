// Waiting in turn, over processes: the queue is the agent's, so that no waiter's death stops it.
//
// Tried with these protections taken out, each of which fails here: newcomers put in front of the
// queue; no look at the timeout in begin(); poll_queue that takes the agent for alive;
// kWakesPerTickMax without bound. A WaiterQueue that forgets nobody is not found: the dead client's
// cells are cleared as well, and a cleared cell is passed over.
#include "tests/support/fixture.h"
#include "tests/support/raw_client.h"

namespace weir::test {
namespace {

struct Waiting : ::testing::Test {
  void start(const std::string& rule) {
    agent = std::make_unique<Agent>(AgentOptions{.rules = rules_of({rule})});
    ASSERT_TRUE(agent->start());
    client = std::make_unique<Client>(agent->socket());
    limit = client->limit("/t");
    std::uint64_t taken = 0;
    ASSERT_EQ(weir_drain(limit, &taken), WEIR_OK);
  }
  // Starts a waiter and sees it in the queue.
  void queue(Crew& crew, std::uint32_t lane, const std::string& n,
             const std::string& more = "x=1") {
    const std::uint64_t before = agent->limit("/t")->waiting();
    crew.start(lane, "wait",
               {"sock=" + agent->socket(), "require=1", "n=" + n, "timeout_ms=600000", more});
    ASSERT_TRUE(eventually([&] { return agent->limit("/t")->waiting() == before + 1; }));
  }
  std::unique_ptr<Agent> agent;
  std::unique_ptr<Client> client;
  weir_limit* limit = nullptr;
};

TEST_F(Waiting, AreServedInTheOrderInWhichTheyCame) {
  start("name: /t, rate: 4/s, burst: 8");
  constexpr std::uint32_t kCount = 6;
  Crew crew(agent->dir().path(), kCount, 10);
  // The first one wants more than there will be for a while, so that all of them queue up.
  for (std::uint32_t i = 0; i < kCount; ++i)
    queue(crew, i, i == 0 ? "6" : "1");
  for (std::uint32_t i = 0; i < kCount; ++i)
    EXPECT_EQ(crew.process(i).exit_code(), 0);
  for (std::uint32_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(crew.log().lane(i).a.load(), WEIR_ALLOW);
    if (i > 0) {
      EXPECT_GT(crew.log().lane(i).b.load(), crew.log().lane(i - 1).b.load())
          << "number " << i << " came before the one in front of it";
    }
  }
}

TEST_F(Waiting, ADeadlineThatIsTooShortFailsAtOnceWithTheWait) {
  start("name: /t, rate: 1/m, burst: 10");
  std::uint64_t wait_ns = 0;
  const std::int64_t began = now_ns();

  EXPECT_EQ(weir_acquire(limit, 2, 40'000'000'000, &wait_ns), WEIR_DENY);

  EXPECT_LT(now_ns() - began, 20'000'000'000) << "it waited in vain";
  EXPECT_GT(wait_ns, 60'000'000'000U);
  EXPECT_LE(wait_ns, 120'000'000'000U);
  EXPECT_EQ(agent->limit("/t")->waiting(), 0U);
  EXPECT_EQ(weir_acquire(limit, 11, 40'000'000'000, &wait_ns), WEIR_E_TOO_LARGE);
}

TEST_F(Waiting, AKilledWaiterDoesNotStopThoseBehindIt) {
  start("name: /t, rate: 10/s, burst: 1000");
  Crew crew(agent->dir().path(), 3, 10);
  queue(crew, 0, "900");  // a minute and a half
  queue(crew, 1, "2");
  queue(crew, 2, "2");
  crew.process(0).kill9();
  EXPECT_EQ(crew.process(1).exit_code(), 0);
  EXPECT_EQ(crew.process(2).exit_code(), 0);
  EXPECT_EQ(crew.log().lane(1).a.load(), WEIR_ALLOW);
  EXPECT_EQ(crew.log().lane(2).a.load(), WEIR_ALLOW);
  EXPECT_TRUE(eventually([&] { return agent->limit("/t")->waiting() == 0; }));
}

TEST_F(Waiting, WaitersGoOnByThemselvesWhenTheAgentDies) {
  start("name: /t, rate: 50/s, burst: 100");
  Crew crew(agent->dir().path(), 2, 10);
  const std::int64_t drained = now_ns();
  queue(crew, 0, "60");
  queue(crew, 1, "30");
  agent->kill9();
  EXPECT_EQ(crew.process(0).exit_code(), 0) << "a waiter sleeps for ever";
  EXPECT_EQ(crew.process(1).exit_code(), 0);
  EXPECT_EQ(crew.log().lane(0).a.load(), WEIR_ALLOW);
  EXPECT_EQ(crew.log().lane(1).a.load(), WEIR_ALLOW);
  // 90 tokens since the bucket was empty.
  const std::int64_t last = std::max(crew.log().lane(0).b.load(), crew.log().lane(1).b.load());
  EXPECT_GE(last - drained, 1'700'000'000) << "they were given more than was minted";
}

// And over a restart, with the same cells in the same segment.
TEST_F(Waiting, WaitersSurviveARestartOfTheAgent) {
  start("name: /t, rate: 100/s, burst: 500");
  Crew crew(agent->dir().path(), 4, 2000);
  for (std::uint32_t i = 0; i < 4; ++i)
    queue(crew, i, "20", "count=100000");
  for (int i = 0; i < 6; ++i) {
    agent->kill9();
    ASSERT_TRUE(agent->start());
    const std::uint64_t seen = crew.log().sum(&Lane::admitted);
    EXPECT_TRUE(eventually([&] { return crew.log().sum(&Lane::admitted) > seen + 2; }));
  }
  crew.log().stop();
  for (std::uint32_t i = 0; i < 4; ++i)
    EXPECT_EQ(crew.process(i).exit_code(), 0);
  EXPECT_EQ(crew.log().sum(&Lane::errors), 0U);
  expect_bound(crew.log(), {.amount = 100, .burst = 500}, "waiters over restarts");
}

// A real wake costs the agent microseconds: a thousand waiters at once may not cost it its tick.
TEST_F(Waiting, NoTickWakesMoreThanItsBudget) {
  start("name: /t, rate: 1/h, burst: 1000");
  constexpr std::uint32_t kClients = 6, kCells = 16;
  constexpr std::uint32_t kWakesPerTick = 4;
  constexpr std::int64_t kTickShortestNs = 500'000;
  std::vector<std::unique_ptr<RawClient>> raw;
  for (std::uint32_t i = 0; i < kClients; ++i) {
    raw.push_back(std::make_unique<RawClient>(agent->socket()));
    ASSERT_TRUE(raw.back()->attach());
    for (std::uint32_t cell = 0; cell < kCells; ++cell)
      raw.back()->enqueue(cell, 0, 1);
  }
  ASSERT_TRUE(eventually([&] { return agent->limit("/t")->waiting() == kClients * kCells; }));

  const auto& heartbeat = raw[0]->rules().header().heartbeat_mono_ns;
  const std::int64_t released = heartbeat.load();
  weir_refund(limit, kClients * kCells);
  std::uint32_t granted = 0;
  const std::int64_t hang = now_ns() + std::int64_t{kHangMs} * 1'000'000;
  while (granted < kClients * kCells && now_ns() < hang) {
    granted = 0;
    for (const auto& each : raw)
      for (std::uint32_t cell = 0; cell < kCells; ++cell)
        granted += each->granted(cell) ? 1 : 0;
    // Grants are counted first, so no tick that made one of them is missed here.
    const std::int64_t ticks = (heartbeat.load() - released) / kTickShortestNs + 2;
    ASSERT_LE(granted, kWakesPerTick * static_cast<std::uint32_t>(ticks));
  }
  EXPECT_EQ(granted, kClients * kCells);
}

}  // namespace
}  // namespace weir::test
