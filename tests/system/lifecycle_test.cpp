// Starting, killing, reloading: what an operator does to an agent, and what clients see of it.
//
// Tried with these protections taken out, each of which fails here:
//   - no flock in take_lock (SecondAgent); no unlink of the old socket in listen (StaleSocket);
//   - find_slot passing over tombstones (DeletedLimit); put_in_force in spite of problems
//   (BadRules).
#include "tests/support/fixture.h"

namespace weir::test {
namespace {

const char kRule[] = "name: /t, rate: 1/h, burst: 100";

// A5. Two agents would each give out the whole limit.
TEST(Lifecycle, ASecondAgentIsRefusedAndToldWhoHoldsTheDirectory) {
  Agent agent({.rules = rules_of({kRule})});
  ASSERT_TRUE(agent.start());
  SpawnOptions second;
  second.argv = {WEIR_BINARY_DIR "/bin/weir-agent",
                 "--runtime-dir",
                 agent.dir().path(),
                 "--rules",
                 agent.rules_file(),
                 "--http",
                 "off"};
  second.output = agent.dir() / "second.log";

  EXPECT_EQ(Process::spawn(second).exit_code(), 75);

  EXPECT_NE(read_text(second.output).find("pid " + std::to_string(agent.pid())), std::string::npos)
      << read_text(second.output);
  EXPECT_EQ(Client(agent.socket()).status(), WEIR_OK) << "the first one no longer serves";
}

// A6. What a killed agent leaves behind never stands in the way.
TEST(Lifecycle, StartsTheFirstTimeAfterEveryKill) {
  Agent agent({.rules = rules_of({kRule})});
  for (int i = 0; i < 30; ++i) {
    agent.options().store_fds = i % 2 == 0;
    ASSERT_TRUE(agent.start()) << "start " << i;
    EXPECT_EQ(Client(agent.socket()).status(), WEIR_OK);
    agent.kill9();
  }
}

// A7. Identity is the connection: a successor never meets what its predecessor left.
TEST(Lifecycle, AClientMayReturnBeforeItsPredecessorIsReaped) {
  Agent agent({.rules = rules_of({kRule})});
  ASSERT_TRUE(agent.start());
  Crew crew(agent.dir().path(), 2, 1000);
  for (std::uint32_t i = 0; i < 60; ++i) {
    crew.start(i % 2, "spend", {"sock=" + agent.socket(), "require=1", "idle_us=1000"});
    ASSERT_TRUE(crew.wait_started(i % 2, i / 2 + 1)) << "attach " << i;
    if (i > 0) crew.process((i + 1) % 2).kill9();
  }
  crew.finish();
  EXPECT_TRUE(eventually([&] { return agent.clients() == 0; }));
  EXPECT_EQ(crew.log().sum(&Lane::errors), 0U);
  EXPECT_LE(crew.log().sum(&Lane::admitted), 100U);
}

// A11. A file with a mistake changes nothing.
TEST(Lifecycle, BadRulesKeepTheOldOnesInForce) {
  Agent agent({.rules = rules_of({kRule})});
  ASSERT_TRUE(agent.start());
  const Client client(agent.socket());
  weir_limit* limit = client.limit("/t");
  const std::string good = rules_of({"name: /t, rate: 1/h, burst: 7"});
  for (const std::string& bad :
       {std::string("version: 2\n"), std::string("limits: ["), std::string("\x01"),
        good + "  - {name: /t, rate: 5/s}\n",  // the name twice
        good + "  - {name: /u, rate: fast}\n", good + "  - {name: /u}\n"}) {
    write_text(agent.rules_file(), bad);
    agent.process().signal(SIGHUP);
    ASSERT_TRUE(agent.wait_ready());
    EXPECT_NE(agent.status().rules_error(), "") << bad;
    EXPECT_EQ(info_of(limit).burst, 100U) << bad;
    EXPECT_EQ(weir_try_acquire(limit, 1), WEIR_ALLOW);
    SpawnOptions check;
    check.argv = {WEIR_BINARY_DIR "/bin/weir-agent", "--check", "--rules", agent.rules_file()};
    check.output = agent.dir() / "check.log";
    EXPECT_EQ(Process::spawn(check).exit_code(), 78);
  }
  write_text(agent.rules_file(), good);
  agent.process().signal(SIGHUP);
  ASSERT_TRUE(agent.wait_ready());
  EXPECT_EQ(agent.status().rules_error(), "");
  EXPECT_EQ(info_of(limit).burst, 7U);
}

// A12. Taking a limit out and putting it back is no refill.
TEST(Lifecycle, ADeletedLimitComesBackWithWhatWasLeft) {
  Agent agent({.rules = rules_of({kRule, "name: /other, rate: 1/h, burst: 5"})});
  ASSERT_TRUE(agent.start());
  const Client client(agent.socket());
  weir_limit* limit = client.limit("/t", WEIR_MODE_CLOSED);
  weir_limit* other = client.limit("/other");
  ASSERT_EQ(weir_try_acquire(limit, 60), WEIR_ALLOW);

  ASSERT_TRUE(agent.apply(rules_of({"name: /other, rate: 1/h, burst: 5"})).applied());
  EXPECT_EQ(weir_try_acquire(limit, 1), WEIR_DENY) << "closed is what the code asked for";
  EXPECT_EQ(info_of(limit).shared, 0);
  EXPECT_EQ(weir_try_acquire(other, 1), WEIR_ALLOW);

  ASSERT_TRUE(agent.apply(rules_of({"name: /other, rate: 1/h, burst: 5", kRule})).applied());
  EXPECT_EQ(weir_try_acquire(limit, 41), WEIR_DENY) << "it was refilled";
  EXPECT_EQ(weir_try_acquire(limit, 40), WEIR_ALLOW) << "what was left is lost";
  EXPECT_EQ(info_of(limit).shared, 1);
}

// The same over a restart that kept the counters, and one that did not.
TEST(Lifecycle, ARestartIsNoRefill) {
  Agent agent({.rules = rules_of({kRule})});
  ASSERT_TRUE(agent.start());
  {
    const Client client(agent.socket());
    ASSERT_EQ(weir_try_acquire(client.limit("/t"), 60), WEIR_ALLOW);
  }
  agent.kill9();
  ASSERT_TRUE(agent.start());
  {
    const Client client(agent.socket());
    EXPECT_EQ(weir_try_acquire(client.limit("/t"), 41), WEIR_DENY);
    EXPECT_EQ(weir_try_acquire(client.limit("/t"), 40), WEIR_ALLOW);
  }
  EXPECT_TRUE(agent.stop()) << "SIGTERM";
  agent.manager().forget_fds();
  ASSERT_TRUE(agent.start());
  const Client client(agent.socket());
  EXPECT_EQ(weir_try_acquire(client.limit("/t"), 1), WEIR_DENY) << "lost counters start empty";
}

}  // namespace
}  // namespace weir::test
