// T2. A client in a time namespace reads a CLOCK_MONOTONIC that is 1000 s ahead. What it writes is
// in the host's time all the same: it knows a living agent, and mints and waits without one.
//
// Tried with an offset that is always 0: the client takes the agent for dead and books time that
// has not come, and its neighbours starve.
#include "tests/support/fixture.h"

namespace weir::test {
namespace {

constexpr std::int64_t kShiftNs = 1'000'000'000'000;
constexpr OracleRule kShiftedRule{.amount = 500, .burst = 50};

SpawnOptions shifted(SpawnOptions spawn) {
  spawn.argv.insert(spawn.argv.begin(), {"/usr/bin/unshare", "--time", "--monotonic", "1000",
                                         "--fork", "--kill-child"});
  return spawn;
}

bool time_namespaces_work(const std::string& dir) {
  SpawnOptions spawn;
  spawn.argv = {"/bin/true"};
  spawn = shifted(spawn);
  spawn.output = dir + "/unshare.log";
  return Process::spawn(spawn).exit_code() == 0;
}

struct Timens : ::testing::Test {
  Agent agent{{.rules = rules_of({"name: /t, rate: 500/s, burst: 50"})}};
  Crew crew{agent.dir().path(), 2, 200'000};
  Process ahead;

  void SetUp() override {
    if (!time_namespaces_work(agent.dir().path()))
      GTEST_SKIP() << "no time namespace for this user: " << read_text(agent.dir() / "unshare.log");
    ASSERT_TRUE(agent.start());
  }
  void begin(const std::string& mode, const std::vector<std::string>& more) {
    std::vector<std::string> words{mode, "sock=" + agent.socket(), "require=1", "lane=0",
                                   "log=" + crew.log().path()};
    words.insert(words.end(), more.begin(), more.end());
    ahead = Process::spawn(shifted(worker(words)));
    ASSERT_TRUE(crew.wait_started(0));
  }
  // Everybody's calls on the host's clock.
  std::vector<Admission> on_host_clock() {
    std::vector<Admission> all = crew.log().admissions_of(0);
    for (Admission& each : all) {
      each.begin_ns -= kShiftNs;
      each.end_ns -= kShiftNs;
    }
    for (const Admission& each : crew.log().admissions_of(1))
      all.push_back(each);
    return all;
  }
};

TEST_F(Timens, TheClientAndItsNeighboursAreServedAndTheBoundHolds) {
  begin("spend", {});
  crew.start(1, "spend", {"sock=" + agent.socket(), "require=1"});
  ASSERT_TRUE(crew.wait_started(1));
  const auto both_gain = [&] {
    const std::uint64_t a = crew.log().lane(0).admitted.load(),
                        b = crew.log().lane(1).admitted.load();
    return eventually([&] {
      return crew.log().lane(0).admitted.load() > a + 20 &&
             crew.log().lane(1).admitted.load() > b + 20;
    });
  };
  EXPECT_TRUE(both_gain()) << "with the agent";
  EXPECT_FALSE(agent.status().domains(0).office_lost()) << "the client took the agent for dead";
  agent.kill9();
  EXPECT_TRUE(both_gain()) << "without the agent";
  const std::int64_t until = now_ns() + 600'000'000;
  eventually([&] { return now_ns() >= until; });
  EXPECT_TRUE(both_gain()) << "without the agent, after a while";
  ASSERT_TRUE(agent.start());
  EXPECT_TRUE(both_gain()) << "with the next agent";
  crew.finish();
  EXPECT_EQ(ahead.exit_code(), 0);
  const OracleVerdict verdict = check_bound(on_host_clock(), kShiftedRule);
  EXPECT_TRUE(verdict.holds) << verdict.over_tokens << " over";
}

TEST_F(Timens, AWaitEndsWhenItsTokensCome) {
  {
    const Client drain(agent.socket());
    std::uint64_t taken = 0;
    weir_drain(drain.limit("/t"), &taken);
  }
  begin("wait", {"n=40", "timeout_ms=10000"});
  EXPECT_EQ(ahead.exit_code(), 0);
  EXPECT_EQ(crew.log().lane(0).a.load(), WEIR_ALLOW);
}

}  // namespace
}  // namespace weir::test
