// A run is its seed; and every scenario holds the rules that it is there to try.
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "sim/cli.h"
#include "sim/report.h"
#include "sim/runner.h"

namespace weir::sim {
namespace {

std::string json_of_run(const std::string& scenario, std::uint64_t seed) {
  Wishes wishes;
  wishes.seed = seed;
  return to_json(run_scenario(scenario, wishes), true);
}

TEST(Run, TheSameSeedIsTheSameRunToTheLastDigit) {
  for (const char* scenario : {"chaos", "heavy-chaos", "owners-in-a-row", "on-off"})
    for (const std::uint64_t seed : {1U, 2U, 3U})
      EXPECT_EQ(json_of_run(scenario, seed), json_of_run(scenario, seed)) << scenario << seed;
}

TEST(Run, AnotherSeedIsAnotherRun) { EXPECT_NE(json_of_run("chaos", 1), json_of_run("chaos", 2)); }

TEST(Run, LookingOnChangesNothing) {
  Wishes wishes;
  wishes.seed = 5;
  const weir::sim::Setup setup = make_setup(*find_scenario("chaos"), wishes);
  std::ostringstream trace;
  RunOptions options;
  options.trace = &trace;
  options.trace_to_s = 1e9;
  const Result traced = run_setup(setup, options);

  EXPECT_EQ(to_json(traced, true), json_of_run("chaos", 5));
  EXPECT_NE(trace.str().find("says request"), std::string::npos);
  EXPECT_NE(trace.str().find("FAULT"), std::string::npos);
}

// What search() prints for a seed that fails is a command that fails in the same way.
TEST(Run, AFailingSeedIsReplayedByTheCommandThatIsPrinted) {
  Wishes wishes;
  wishes.mutants = {"book.forget_offers"};
  wishes.seconds = 10;
  wishes.hosts = 6;
  wishes.burst = 150.5;
  const SearchResult found = search_seeds(*find_scenario("chaos"), wishes, 1, 8, 2);
  ASSERT_FALSE(found.failures.empty());
  const SearchResult::Failure& failure = found.failures.front();

  std::istringstream words(failure.command);
  std::vector<std::string> arguments;
  for (std::string word; words >> word;)
    arguments.push_back(word);
  ASSERT_EQ(arguments.front(), "weir-sim");
  arguments.erase(arguments.begin());
  arguments.emplace_back("--quiet");
  std::ostringstream out, err;
  EXPECT_EQ(run_program(arguments, out, err), 1) << err.str();
  const std::string what = failure.what.substr(0, failure.what.find(':'));
  EXPECT_NE(out.str().find("BROKEN"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find(what), std::string::npos) << out.str();
}

TEST(Run, TheRunsOfASearchAreThoseOfSingleRuns) {
  Wishes wishes;
  wishes.seconds = 10;
  const SearchResult one = search_seeds(*find_scenario("calm-even"), wishes, 1, 4, 1);
  const SearchResult two = search_seeds(*find_scenario("calm-even"), wishes, 1, 4, 2);

  EXPECT_EQ(one.seeds, 4U);
  EXPECT_EQ(one.use.mean, two.use.mean);
  EXPECT_TRUE(one.failures.empty());
}

class EveryScenario : public testing::TestWithParam<Scenario> {};

// Whatever is spent beyond what is promised, or held at an instant, is a violation of the run.
TEST_P(EveryScenario, HoldsItsRules) {
  const Scenario& scenario = GetParam();
  for (const std::uint64_t seed : {1U, 2U}) {
    Wishes wishes;
    wishes.seed = seed;
    wishes.seconds = std::min(scenario.seconds, 60.0);
    wishes.hosts = std::min(scenario.hosts, 40U);
    const weir::sim::Setup setup = make_setup(scenario, wishes);
    const Result result = run_setup(setup);

    EXPECT_TRUE(result.ok()) << replay_command(scenario.name, wishes) << "\n"
                             << to_json(result, true);
    double admitted = 0;
    for (const LimitResult& limit : result.limits) {
      admitted += limit.admitted;
      EXPECT_LE(limit.over_held_rate, 0) << limit.name;
      EXPECT_LE(limit.over_held_burst, 0) << limit.name;
      if (setup.strict_oracle) {
        EXPECT_LE(limit.over_admitted, 0) << limit.name;
      }
    }
    EXPECT_GT(admitted, 100) << "nothing was tried";
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryScenario, testing::ValuesIn(scenarios()),
                         [](const testing::TestParamInfo<Scenario>& one) {
                           std::string name = one.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// ---- what it says of a run

struct Pool {
  double used = 0, contended_s = 0;
  std::vector<double> jains, unfairs, moves;
};

Pool pool_of(const std::string& scenario, std::uint64_t seeds) {
  Pool pool;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    Wishes wishes;
    wishes.seed = seed;
    for (const LimitResult& limit : run_scenario(scenario, wishes).limits) {
      const LimitFigures& figures = limit.figures;
      pool.used += figures.use * figures.contended_s;
      pool.contended_s += figures.contended_s;
      pool.jains.insert(pool.jains.end(), figures.jains.begin(), figures.jains.end());
      pool.unfairs.insert(pool.unfairs.end(), figures.unfairs.begin(), figures.unfairs.end());
      pool.moves.insert(pool.moves.end(), figures.moves.begin(), figures.moves.end());
    }
  }
  return pool;
}

TEST(Figures, ACalmClusterUsesItsLimitFairly) {
  const Pool even = pool_of("calm-even", 3);
  EXPECT_GE(even.used / even.contended_s, 0.99);
  EXPECT_GE(spread_of(even.jains).mean, 0.999);
  const Pool chance = pool_of("calm-poisson", 3);
  EXPECT_GE(chance.used / chance.contended_s, 0.97);
  EXPECT_GE(spread_of(chance.jains).mean, 0.99);
}

TEST(Figures, AShiftIsFollowedWithinARefreshOrThree) {
  const Pool pool = pool_of("moving", 12);
  ASSERT_GT(pool.moves.size(), 100U);
  EXPECT_LE(spread_of(pool.moves).p50, 1.2);
  EXPECT_LE(spread_of(pool.moves).p95, 2.3);
  EXPECT_GE(pool.used / pool.contended_s, 0.97);
}

TEST(Figures, AMishapAMinuteCostsLittle) {
  const Pool steady = pool_of("mishap-a-minute", 3);
  EXPECT_GE(steady.used / steady.contended_s, 0.97);
  const Pool moving = pool_of("mishap-moving", 3);
  EXPECT_GE(moving.used / moving.contended_s, 0.955);
}

TEST(Figures, AStormOfRetriesGrabsNothing) {
  EXPECT_LE(spread_of(pool_of("retry-storm", 3).unfairs).mean, 0.015);
}

}  // namespace
}  // namespace weir::sim
