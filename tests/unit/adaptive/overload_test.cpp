// The shedders against each other in virtual time: short runs of `weir-sim overload`. The full ones
// print the same figures with more seeds.
#include <gtest/gtest.h>

#include <cmath>

#include "sim/overload/host.h"
#include "sim/overload/options.h"

namespace weir::overload {
namespace {

Scenario scenario(ArmKind arm, double load, int processes = 8) {
  Scenario scenario;
  scenario.seed = 5;
  scenario.arm = arm;
  scenario.load = load;
  scenario.processes = processes;
  return scenario;
}

Figures run(const Scenario& scenario) { return Host(scenario).run().figures(); }

TEST(Overload, OneSeedIsOneResult) {
  const Figures first = run(scenario(ArmKind::ours, 2.0));
  const Figures again = run(scenario(ArmKind::ours, 2.0));
  EXPECT_EQ(first.goodput, again.goodput);
  EXPECT_EQ(first.p99_ms, again.p99_ms);
  Scenario other = scenario(ArmKind::ours, 2.0);
  other.seed = 6;
  EXPECT_NE(first.goodput, run(other).goodput);
}

// Erlang's loss formula for eight cores and twelve places at twice the load: 0.5 % of the machine
// idle; refusing as much again costs 1 %.
TEST(Overload, TheMachineDoesWhatQueueingTheorySays) {
  const Figures figures = run(scenario(ArmKind::fixed, 2.0));
  EXPECT_NEAR(figures.goodput, 0.985, 0.012);
  const Figures idle = run(scenario(ArmKind::none, 0.5));
  EXPECT_NEAR(idle.goodput, 0.5, 0.01);
  EXPECT_NEAR(idle.p99_ms, 46.0 * 1.03, 3.0);  // ln 100 times 10 ms, and a little waiting
}

TEST(Overload, OursKeepsTheHostWorkingWhateverTheLoadAndTheProcesses) {
  const std::vector<std::pair<double, double>> bars{{2.0, 0.95}, {5.0, 0.93}, {10.0, 0.88}};
  for (const auto& [load, wanted] : bars) {
    const Figures fixed = run(scenario(ArmKind::fixed, load));
    for (const int processes : {1, 8, 32}) {
      const Figures ours = run(scenario(ArmKind::ours, load, processes));
      EXPECT_GE(ours.goodput, wanted) << load << " " << processes;
      EXPECT_LE(ours.p99_ms, 1.3 * fixed.p99_ms) << load << " " << processes;
      EXPECT_GE(ours.control_seconds, 0.0);
      EXPECT_LE(ours.control_seconds, 1.0) << load << " " << processes;
      EXPECT_GE(ours.recover_seconds, 0.0);
      EXPECT_LE(ours.recover_seconds, 1.0) << load << " " << processes;
      EXPECT_LE(ours.falsely_shed, 0.001);
    }
  }
}

// Other works and disciplines than the ones that it was made with.
TEST(Overload, OursDoesNotHangOnTheKindOfWork) {
  for (const Service service : {Service::lognormal, Service::constant, Service::bimodal}) {
    Scenario story = scenario(ArmKind::ours, 5.0);
    story.service = service;
    EXPECT_GE(run(story).goodput, 0.93);
  }
  Scenario fifo = scenario(ArmKind::ours, 5.0);
  fifo.fifo = true;
  EXPECT_GE(run(fifo).goodput, 0.93);
  Scenario busy = scenario(ArmKind::ours, 5.0);
  busy.base_load = 0.78;
  EXPECT_GE(run(busy).goodput, 0.93);
  Scenario failing = scenario(ArmKind::ours, 2.0);
  failing.failing = 0.3;
  EXPECT_GE(run(failing).goodput, 0.93);
  Scenario neighbour = scenario(ArmKind::ours, 2.0);
  neighbour.neighbour = 0.3;  // for 30 of the 40 seconds that count
  EXPECT_GE(run(neighbour).goodput, 0.93 * (1.0 - 0.3 * 0.75));
}

// Few cores meet more chance: a core of ten requests in a tenth of a second is full by it at half a
// load, and must not refuse for that; with less work, it does as well as many cores.
TEST(Overload, OursDoesNotHangOnTheNumberOfCores) {
  for (const int cores : {1, 2, 4, 16}) {
    Scenario story = scenario(ArmKind::ours, 5.0);
    story.cores = cores;
    for (const std::uint64_t seed : {5U, 6U, 7U}) {
      story.seed = seed;
      const Figures figures = run(story);
      EXPECT_LE(figures.falsely_shed, 0.001) << cores;
      EXPECT_GE(figures.goodput, cores == 1 ? 0.88 : 0.93) << cores;  // of 100 ms and a long work
      EXPECT_GE(figures.control_seconds, 0.0) << cores;
      EXPECT_LE(figures.control_seconds, 1.0) << cores;
    }
  }
  Scenario small = scenario(ArmKind::ours, 2.0);
  small.cores = 1;
  small.work_ns = 2 * kMs;
  small.refuse_ns = 20 * adaptive::kUs;
  const Figures figures = run(small);
  EXPECT_GE(figures.goodput, 0.95);
  EXPECT_GE(figures.recover_seconds, 0.0);
  EXPECT_LE(figures.recover_seconds, 1.0);
  EXPECT_LE(figures.falsely_shed, 0.001);
}

TEST(Overload, ThePublishedOnesFailAsPublished) {
  EXPECT_LT(run(scenario(ArmKind::none, 2.0)).goodput, 0.20);
  EXPECT_LT(run(scenario(ArmKind::kratos, 5.0, 1)).goodput, 0.30);
  EXPECT_GT(run(scenario(ArmKind::gradient, 2.0, 1)).goodput, 0.94);
  EXPECT_LT(run(scenario(ArmKind::gradient, 2.0, 32)).goodput, 0.25);
}

TEST(Overload, TheMostImportantClassIsServed) {
  Scenario story = scenario(ArmKind::ours, 5.0);
  for (const double share : {0.05, 0.10, 0.15, 0.18}) {
    story.mix = {share, (1 - share) * 0.4, (1 - share) * 0.3, (1 - share) * 0.3};
    const Figures figures = run(story);
    EXPECT_GE(figures.answered[0], 0.999) << share;
    EXPECT_GE(figures.possible_of_most, 0.999) << share;
    EXPECT_GT(figures.answered[1], figures.answered[2]);
    EXPECT_GE(figures.answered[2], figures.answered[3]);
    EXPECT_GE(figures.goodput, share > 0.15 ? 0.85 : 0.93);
  }
}

// What does not grow with the load is served whatever the others ask for.
TEST(Overload, AnImportantClassThatStaysAsItIsNoticesNothing) {
  Scenario story = scenario(ArmKind::ours, 10.0);
  story.mix = {0.0, 0.4, 0.3, 0.3};
  story.steady_most = 0.2;
  const Figures figures = run(story);
  EXPECT_GE(figures.answered[0], 0.999);
  EXPECT_GE(figures.goodput, 0.88);
}

// A fifth of five times the capacity is all of it, and refusing the rest costs 4 %.
TEST(Overload, AClassThatWantsTheWholeHostGetsWhatTheRefusalsLeave) {
  Scenario story = scenario(ArmKind::ours, 5.0);
  story.mix = {0.2, 0.32, 0.24, 0.24};
  const Figures figures = run(story);
  EXPECT_NEAR(figures.possible_of_most, 0.96, 0.015);
  EXPECT_GE(figures.answered[0], 0.99 * figures.possible_of_most);
  EXPECT_LE(figures.answered[1], 0.01);
}

// What each mend is worth where it matters; the others have their tests beside the shedder's.
TEST(Overload, WithoutItsMendsItIsLost) {
  Scenario story = scenario(ArmKind::ours, 5.0);
  story.shedder.mends = adaptive::Mends::none();
  EXPECT_LT(run(story).goodput, 0.30);

  const auto without = [](const char* mend, double load) {
    Scenario less = scenario(ArmKind::ours, load);
    EXPECT_TRUE(take_out(less.shedder.mends, mend));
    return run(less);
  };
  EXPECT_GT(without("freeze_baseline", 10.0).p99_ms,
            1.3 * run(scenario(ArmKind::ours, 10.0)).p99_ms);
  EXPECT_GT(without("fast_signal", 5.0).control_seconds, 2.0);
  EXPECT_LT(without("headroom", 2.0).goodput, 0.96);
}

TEST(Overload, NonsenseOnTheCommandLineIsRefused) {
  for (const char* bad : {"--loads", "--nothing", "--seed=3"}) {
    std::string name = "overload";
    std::string option = bad;
    char* arguments[] = {name.data(), option.data()};
    std::string error;
    EXPECT_FALSE(parse_options(2, arguments, error).has_value());
    EXPECT_FALSE(error.empty());
  }
  for (const auto& [option, value] : std::vector<std::pair<std::string, std::string>>{
           {"--loads", "1,x"}, {"--arms", "ours,theirs"}, {"--seeds", "0"}, {"--cores", "nan"}}) {
    std::string name = "overload";
    std::string first = option;
    std::string second = value;
    char* arguments[] = {name.data(), first.data(), second.data()};
    std::string error;
    EXPECT_FALSE(parse_options(3, arguments, error).has_value()) << option;
  }
}

}  // namespace
}  // namespace weir::overload
