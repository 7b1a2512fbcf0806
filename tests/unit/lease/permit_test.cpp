// Cluster-wide concurrency limits: what may be in use over all hosts never exceeds the limit, and
// each rule that this rests on is missed when it is taken out.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/unit/lease/permit_world.h"

using namespace weir::lease;

namespace {

int seeds() {
  const char* wanted = std::getenv("WEIR_PERMIT_SEEDS");
  return wanted == nullptr ? 12 : std::max(1, std::atoi(wanted));
}

// By how much the limit was exceeded at worst over some seeds; at most 0 is the promise.
Permits worst_of(WorldOptions options, TimeNs duration_ns = 120 * kSecond) {
  Permits worst = -1'000'000;
  for (int seed = 1; seed <= seeds(); ++seed) {
    options.seed = static_cast<std::uint64_t>(seed);
    PermitWorld world(options);
    world.run(duration_ns);
    worst = std::max(worst, world.worst());
  }
  return worst;
}

}  // namespace

TEST(Permits, NeverMoreInUseThanTheLimitWhateverBreaks) {
  EXPECT_LE(worst_of({}), 0);
  EXPECT_LE(worst_of({.hosts = 5, .max = 3, .eager = 2}), 0);
  EXPECT_EQ(worst_of({.hosts = 3, .max = 60, .eager = 40, .faults = false}), 0) << "and all used";
}

TEST(Permits, MutantsBreakTheLimit) {
  WorldOptions freed;
  freed.book.mutants.free_on_lowering = true;
  EXPECT_GT(worst_of(freed), 0) << "a lowered cap is kept until it is confirmed";
  WorldOptions hasty;
  hasty.book.mutants.any_confirms = true;
  EXPECT_GT(worst_of(hasty), 0) << "a report that did not see the last grant confirms nothing";
  WorldOptions unapplied;
  unapplied.desk.confirm_unapplied = true;
  EXPECT_GT(worst_of(unapplied), 0) << "what is not in force yet is not confirmed";
  WorldOptions unordered;
  unordered.desk.old_numbers = true;
  EXPECT_GT(worst_of(unordered), 0) << "an old grant is not taken again";
}

TEST(Permits, TheSpareIsSpreadAndFollowsTheDemand) {
  PermitWorld world({.hosts = 4, .max = 40, .eager = 0, .faults = false, .rough_wire = false});
  world.run(8 * kSecond);
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_EQ(world.cap(i), 10) << i;

  world.set_demand(0, 100);
  world.run(3 * kSecond);
  EXPECT_EQ(world.in_use(0), 40);

  world.set_demand(1, 100);
  world.run(8 * kSecond);
  EXPECT_EQ(world.cap(0), 20);
  EXPECT_EQ(world.cap(1), 20);
  EXPECT_LE(world.worst(), 0);
}

TEST(Permits, FewerPermitsThanHostsGoRound) {
  const auto least = [](bool no_turns) {
    WorldOptions options{.hosts = 6, .max = 2, .eager = 3, .hold_max_ns = 300 * kMs};
    options.faults = false;
    options.book.mutants.no_turns = no_turns;
    PermitWorld world(options);
    world.run(60 * kSecond);
    EXPECT_LE(world.worst(), 0);
    std::uint64_t fewest = UINT64_MAX, most = 0;
    for (std::size_t i = 0; i < 6; ++i) {
      fewest = std::min(fewest, world.entered(i));
      most = std::max(most, world.entered(i));
    }
    return static_cast<double>(fewest) / static_cast<double>(most);
  };

  EXPECT_GT(least(false), 0.5);
  EXPECT_LT(least(true), 0.1) << "without turns somebody starves";
}

TEST(Permits, ALimitThatIsLoweredIsReachedAsHoldersLeave) {
  PermitWorld world({.hosts = 4, .max = 40, .eager = 20, .faults = false});
  world.run(10 * kSecond);
  EXPECT_EQ(world.in_use(), 40);

  world.set_max(12);
  world.run(20 * kSecond);
  EXPECT_LE(world.in_use(), 12);
  EXPECT_EQ(world.book().bounds_of("db"), 12);
}

TEST(Permits, ALostHostKeepsItsPermitsForAWhileAndThenTheyAreFree) {
  PermitWorld world({.hosts = 2, .max = 10, .eager = 10, .faults = false, .rough_wire = false});
  world.run(10 * kSecond);
  EXPECT_EQ(world.cap(1), 5);

  world.kill_agent(1);  // its processes go on by the cap that it had
  world.run(40 * kSecond);
  EXPECT_EQ(world.cap(0), 5);
  EXPECT_LE(world.worst(), 0);

  world.set_demand(1, 0);  // and now they are gone, too
  world.run(60 * kSecond);
  EXPECT_EQ(world.in_use(0), 10);
}

TEST(Permits, AHostThatLeavesFreesWhatNobodyHoldsAtOnce) {
  PermitWorld world({.hosts = 2, .max = 10, .eager = 10, .faults = false, .rough_wire = false});
  world.run(10 * kSecond);
  world.set_demand(1, 0);
  world.run(3 * kSecond);

  ASSERT_TRUE(world.leave(1));

  EXPECT_EQ(world.book().hosts(), 1U);
  world.run(2 * kSecond);
  EXPECT_EQ(world.in_use(0), 10);
}

TEST(Permits, AServerThatComesBackLearnsAndDividesAgain) {
  const auto worst_with = [](bool no_learning) {
    WorldOptions options{.hosts = 3, .max = 30, .eager = 30};
    options.faults = false;
    options.book.mutants.no_learning = no_learning;
    PermitWorld world(options);
    world.run(10 * kSecond);
    world.kill_server();
    world.run(2 * kSecond);
    EXPECT_EQ(world.in_use(), 30) << "caps hold without a server";
    world.restart_server();
    world.run(3 * kSecond);
    world.set_demand(0, 0);
    world.run(20 * kSecond);
    EXPECT_EQ(world.in_use(1) + world.in_use(2), 30);
    return world.worst();
  };

  EXPECT_LE(worst_with(false), 0);
  EXPECT_GT(worst_with(true), 0) << "the first to come is given what the others hold";
}

TEST(Permits, WithoutAServerTheFallbackRules) {
  const auto cap_after = [](PermitFallback fallback) {
    PermitWorld world({.hosts = 4,
                       .max = 40,
                       .eager = 20,
                       .faults = false,
                       .fallback = fallback,
                       .rough_wire = false});
    world.set_demand(2, 0);
    world.set_demand(3, 0);
    world.run(10 * kSecond);
    world.kill_server();
    world.run(8 * kSecond);
    EXPECT_GT(world.cap(0), 10) << "a lease lasts";
    world.run(8 * kSecond);
    const Permits cap = world.cap(0);
    world.restart_server();
    world.run(15 * kSecond);
    EXPECT_GT(world.cap(0), 10) << "back by itself";
    EXPECT_LE(world.book().bounds_of("db"), 40);
    return cap;
  };

  EXPECT_EQ(cap_after(PermitFallback::local), 10);
  EXPECT_EQ(cap_after(PermitFallback::open), 40);
  EXPECT_EQ(cap_after(PermitFallback::closed), 0);
}

// ---- the desk by itself

namespace {

struct DeskAlone {
  TimeNs now_ns = 1000 * kSecond;
  PermitDesk desk;

  explicit DeskAlone(PermitDeskOptions::Mutants mutants = {},
                     PermitFallback fallback = PermitFallback::closed)
      : desk({.started_ns = now_ns, .mutants = mutants}) {
    desk.set_resources({{"db", 100, fallback}}, now_ns);
    desk.heard(now_ns);
    desk.opened(7, true, now_ns);
    apply();
  }
  void apply(Permits in_flight = 0) {
    for (const auto& change : desk.changes())
      desk.applied(change.name, in_flight);
  }
  void grant(std::uint64_t seq, std::uint64_t number, Permits cap) {
    desk.heard(now_ns);
    desk.on_grants({7, seq, 10 * kSecond, {{"db", number, cap, 4}}}, now_ns);
  }
  PermitView view() const { return *desk.view("db", now_ns); }
};

}  // namespace

TEST(PermitDesk, ALeaseCountsFromWhenTheReportWasSent) {
  const auto end_after = [](PermitDeskOptions::Mutants mutants) {
    DeskAlone alone(mutants);
    const TimeNs sent_ns = alone.now_ns;
    const PermitReport* report = alone.desk.next_report(alone.now_ns);
    alone.now_ns += 4 * kSecond;
    alone.grant(report->seq, 1, 30);
    return alone.view().end_ns - sent_ns;
  };

  EXPECT_LT(end_after({}), 10 * kSecond);
  EXPECT_GT(end_after({.from_receipt = true}), 10 * kSecond);
}

TEST(PermitDesk, APushLengthensNothing) {
  const auto leased_after = [](PermitDeskOptions::Mutants mutants) {
    DeskAlone alone(mutants);
    alone.grant(alone.desk.next_report(alone.now_ns)->seq, 1, 30);
    EXPECT_EQ(alone.view().cap, 30);
    alone.now_ns += 9 * kSecond;
    alone.grant(0, 2, 40);
    EXPECT_EQ(alone.view().cap, 40);
    alone.now_ns += 2 * kSecond;
    alone.desk.tick(alone.now_ns);
    return alone.view().leased;
  };

  EXPECT_FALSE(leased_after({}));
  EXPECT_TRUE(leased_after({.pushes_lengthen = true}));
}

TEST(PermitDesk, AnAnswerThatComesTooLateIsNotTaken) {
  DeskAlone alone;
  const std::uint64_t seq = alone.desk.next_report(alone.now_ns)->seq;
  alone.now_ns += 10 * kSecond;

  alone.grant(seq, 1, 30);

  EXPECT_EQ(alone.view().cap, 0);
  EXPECT_FALSE(alone.view().leased);
}

TEST(PermitDesk, GrantsOfAnotherSessionAreNotTaken) {
  DeskAlone alone;
  const std::uint64_t seq = alone.desk.next_report(alone.now_ns)->seq;

  alone.desk.on_grants({8, seq, 10 * kSecond, {{"db", 1, 30, 4}}}, alone.now_ns);

  EXPECT_EQ(alone.view().cap, 0);
}

TEST(PermitDesk, ASuccessorSaysWhatItsPredecessorsProcessesGoBy) {
  DeskAlone before;
  before.grant(before.desk.next_report(before.now_ns)->seq, 1, 30);
  before.apply(12);

  PermitDeskOptions options;
  options.started_ns = before.now_ns;
  PermitDesk after(options);
  after.restore(before.desk.state());
  after.set_resources({{"db", 100, PermitFallback::closed}}, before.now_ns);
  after.hold_confirmations(true);
  after.opened(8, true, before.now_ns);
  after.applied("db", 12);
  const PermitReport first = *after.next_report(before.now_ns);
  ASSERT_EQ(first.rows.size(), 1U);
  EXPECT_EQ(first.rows[0].cap, 30);
  EXPECT_EQ(first.rows[0].number, 0U);

  const TimeNs later_ns = before.now_ns + kSecond;
  after.on_grants({8, first.seq, 10 * kSecond, {{"db", 2, 5, 4}}}, later_ns);
  after.applied("db", 4);
  const PermitReport held = *after.next_report(later_ns);
  EXPECT_EQ(held.rows[0].cap, 30) << "processes of before may still enter by the old rules";
  EXPECT_EQ(held.rows[0].number, 0U);

  after.hold_confirmations(false);
  const PermitReport free = *after.next_report(later_ns + kPermitReportMinNs);
  EXPECT_EQ(free.rows[0].cap, 5);
  EXPECT_EQ(free.rows[0].number, 2U);
}

TEST(PermitDesk, AResourceThatTheServerDoesNotKnowGoesByItsFallback) {
  DeskAlone alone({}, PermitFallback::open);
  const std::uint64_t seq = alone.desk.next_report(alone.now_ns)->seq;

  alone.desk.on_grants({7, seq, 10 * kSecond, {}}, alone.now_ns);

  EXPECT_TRUE(alone.view().fallback);
  EXPECT_EQ(alone.view().cap, 100);
}

TEST(PermitBook, AReportOfAnotherSessionOrOfBeforeIsNotHeard) {
  PermitBook book({}, 0);
  book.set_rules({{"db", 10}}, 0);
  book.join({"a", 1}, 5, true, 0);
  PermitGrants answer;

  EXPECT_FALSE(book.report({"a", 1}, {4, 1, false, {}}, 1, answer));
  EXPECT_FALSE(book.report({"b", 1}, {5, 1, false, {}}, 1, answer));
  EXPECT_TRUE(
      book.report({"a", 1}, {5, 1, false, {{"db", 0, 0, 0, 3}, {"x", 0, 0, 0, 3}}}, 1, answer));
  EXPECT_EQ(answer.rows.size(), 1U) << "what it does not know it does not name";
  EXPECT_FALSE(book.report({"a", 1}, {5, 1, false, {}}, 2, answer));
}

// Strangers with ever new names: what is remembered of them has an end, and those who were there
// before are served as ever.
TEST(PermitBook, HostsThatComeAndGoDoNotFillTheMemory) {
  PermitBook book({.hosts_max = 3, .mutants = {}}, 0);
  book.set_rules({{"db", 10}}, 0);
  book.set_learning(false, 0);
  const Identity known{"known", 1};
  book.join(known, 1, true, 0);
  for (std::uint64_t i = 0; i < 100; ++i) {
    const Identity stranger{"stranger", 100 + i};
    book.join(stranger, 100 + i, true, 0);
    book.leave(stranger, 100 + i, 0);
  }
  EXPECT_EQ(book.hosts(), 3U);

  PermitReport report;
  report.session = 1;
  report.seq = 1;
  PermitGrants answer;
  EXPECT_TRUE(book.report(known, report, kSecond, answer));
  for (TimeNs now_ns = kSecond; now_ns < kPermitForgetNs + 60 * kSecond; now_ns += kSecond)
    book.poll(now_ns);
  EXPECT_EQ(book.hosts(), 1U) << "the one that is connected";

  const Identity silent{"silent", 7};
  book.join(silent, 7, false, 0);
  book.leave(silent, 7, 0);
  EXPECT_EQ(book.hosts(), 1U) << "who knows of no permits holds none";
}
