// Publishing rules: slots, generations, tables, windows of the calendar, restarts.
#include "agent/domain.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "shm/bucket.h"
#include "tests/unit/agent/plain_domain.h"

namespace weir::agent {
namespace {

using test::kSecond;

using namespace shm;

class DomainTest : public testing::Test {
 protected:
  Clocks clocks() {
    return {[this] { return now; }, [this] { return wall; }};
  }
  std::unique_ptr<Domain> make(Inherited inherited = {}, bool ran_before = false) {
    DomainOptions options;
    options.limits_max = 8;
    options.clients_max = 4;
    options.cpus = 2;
    options.ran_before = ran_before;
    auto made = Domain::make(rule, options, clocks(), 1, std::move(inherited));
    EXPECT_TRUE(made);
    return std::move(*made);
  }
  static LimitRule limit(const std::string& name, std::uint64_t rate = 10,
                         std::uint64_t burst = 100) {
    LimitRule l;
    l.name = name;
    l.amount = l.fallback.amount = rate;
    l.period_ns = l.fallback.period_ns = kSecond;
    l.burst = l.fallback.burst = burst;
    l.fallback.after_ms = 10'000;
    return l;
  }
  static std::uint64_t take_all(Domain& d, const std::string& name) {
    return spend_up_to(d.counters().slot(static_cast<std::uint32_t>(d.slot_of(name))), kBurstMax);
  }
  static std::uint64_t hot(Domain& d, int slot) {
    return d.rules().hot(static_cast<std::uint32_t>(slot)).load();
  }
  DomainRule rule = [] {
    DomainRule r;
    r.name = "default";
    r.socket = "agent.sock";
    return r;
  }();
  std::int64_t now = 1000 * kSecond;
  std::int64_t wall = 1'700'000'000;
};

TEST_F(DomainTest, ANewLimitStartsFullAndIsFoundByName) {
  auto d = make();
  rule.limits = {limit("a"), limit("b")};
  ASSERT_TRUE(d->publish(rule));
  EXPECT_GE(find_limit(d->rules().view(), "b"), 0);
  EXPECT_EQ(take_all(*d, "a"), 100U);
}

TEST_F(DomainTest, AChangedRateKeepsTheBucketAndItsSlot) {
  auto d = make();
  rule.limits = {limit("a")};
  ASSERT_TRUE(d->publish(rule));
  const int slot = d->slot_of("a");
  const std::uint64_t before = hot(*d, slot);
  take_all(*d, "a");
  rule.limits = {limit("a", 20, 200)};
  ASSERT_TRUE(d->publish(rule));
  EXPECT_EQ(d->slot_of("a"), slot);
  EXPECT_EQ(hot(*d, slot), before) << "handles stay";
  EXPECT_EQ(take_all(*d, "a"), 0U) << "a higher burst is capacity, not tokens";
}

TEST_F(DomainTest, ALowerBurstIsCutAtOnce) {
  auto d = make();
  rule.limits = {limit("a", 10, 100)};
  ASSERT_TRUE(d->publish(rule));
  rule.limits = {limit("a", 10, 5)};
  ASSERT_TRUE(d->publish(rule));
  EXPECT_LE(take_all(*d, "a"), 5U);
}

// A12: what is removed and put back is no refill, and its old handles do not fit any more.
TEST_F(DomainTest, ARemovedLimitComesBackWithWhatItHad) {
  auto d = make();
  rule.limits = {limit("a")};
  ASSERT_TRUE(d->publish(rule));
  const int slot = d->slot_of("a");
  const std::uint64_t before = hot(*d, slot);
  take_all(*d, "a");
  rule.limits = {};
  ASSERT_TRUE(d->publish(rule));
  EXPECT_EQ(hot(*d, slot) & kHotActive, 0U);
  rule.limits = {limit("a")};
  ASSERT_TRUE(d->publish(rule));
  EXPECT_EQ(d->slot_of("a"), slot);
  EXPECT_NE(hot(*d, slot), before);
  EXPECT_EQ(take_all(*d, "a"), 0U);
}

TEST_F(DomainTest, ASlotRestsBeforeAnotherLimitGetsIt) {
  auto d = make();
  for (int i = 0; i < 8; ++i)
    rule.limits.push_back(limit("x" + std::to_string(i)));
  ASSERT_TRUE(d->publish(rule));
  rule.limits.pop_back();
  ASSERT_TRUE(d->publish(rule));
  rule.limits.push_back(limit("new"));
  EXPECT_FALSE(d->has_room_for(rule));
  now += kSlotRestNs + 1;
  EXPECT_TRUE(d->has_room_for(rule));
  EXPECT_TRUE(d->publish(rule));
}

TEST_F(DomainTest, ARestartAdoptsTheCounters) {
  auto d = make();
  rule.limits = {limit("a"), limit("b")};
  ASSERT_TRUE(d->publish(rule));
  take_all(*d, "a");
  d->tick();
  Inherited kept{Fd(::fcntl(d->counters_fd(), F_DUPFD_CLOEXEC, 3)),
                 Fd(::fcntl(d->ledger_fd(), F_DUPFD_CLOEXEC, 3))};
  d.reset();
  now += kSecond;
  auto again = make(std::move(kept), true);
  ASSERT_TRUE(again->adopted());
  ASSERT_TRUE(again->publish(rule));
  EXPECT_LE(take_all(*again, "a"), 10U) << "one second of its rate, not a burst";
  EXPECT_EQ(take_all(*again, "b"), 100U);
}

TEST_F(DomainTest, CountersOfAnotherShapeAreNotAdopted) {
  auto d = make();
  Inherited kept{Fd(::fcntl(d->ledger_fd(), F_DUPFD_CLOEXEC, 3)),
                 Fd(::fcntl(d->counters_fd(), F_DUPFD_CLOEXEC, 3))};
  EXPECT_FALSE(make(std::move(kept))->adopted());
  auto other = make();
  Inherited mixed{Fd(::fcntl(d->counters_fd(), F_DUPFD_CLOEXEC, 3)),
                  Fd(::fcntl(other->ledger_fd(), F_DUPFD_CLOEXEC, 3))};
  EXPECT_FALSE(make(std::move(mixed))->adopted());
}

TEST_F(DomainTest, LostCountersStartEmpty) {
  auto d = make({}, true);
  rule.limits = {limit("a")};
  ASSERT_TRUE(d->publish(rule));
  EXPECT_EQ(take_all(*d, "a"), 0U);
  now += kSecond;
  d->tick();
  EXPECT_EQ(take_all(*d, "a"), 10U);
}

LimitRule monthly(std::uint64_t amount) {
  LimitRule l;
  l.name = "m";
  l.algorithm = Algorithm::fixed_window;
  l.amount = l.burst = l.fallback.amount = l.fallback.burst = amount;
  l.period_ns = l.fallback.period_ns = 31ULL * 86400 * kSecond;
  l.calendar = CalendarUnit::day;
  l.timezone = "UTC";
  return l;
}

TEST_F(DomainTest, ACalendarWindowOpensAtItsEdgeAndNotTwiceWhenTheClockIsSetBack) {
  auto d = make();
  wall = 1'700'000'000;  // 2023-11-14 22:13:20 UTC
  rule.limits = {monthly(50)};
  ASSERT_TRUE(d->publish(rule));
  EXPECT_EQ(take_all(*d, "m"), 50U);
  const auto pass = [&](std::int64_t seconds) {
    for (std::int64_t i = 0; i < seconds; i += 10) {
      now += 10 * kSecond;
      wall += 10;
      d->tick();
      d->refresh();
    }
  };
  pass(6390);  // ten seconds before midnight
  EXPECT_EQ(take_all(*d, "m"), 0U);
  pass(20);
  EXPECT_EQ(take_all(*d, "m"), 50U);
  wall -= 3600;  // the operator sets the clock back over the edge
  pass(7200);
  EXPECT_EQ(take_all(*d, "m"), 0U) << "midnight came twice, its window did not";
}

TEST_F(DomainTest, TheFirstWindowDoesNotOpenAgainWhenTheClockIsSetBackOverItsBeginning) {
  auto d = make();
  wall = 1'700'006'400 + 3600;  // an hour after midnight
  rule.limits = {monthly(50)};
  ASSERT_TRUE(d->publish(rule));
  EXPECT_EQ(take_all(*d, "m"), 50U);
  wall -= 7200;
  for (int i = 0; i < 800; ++i) {
    now += 10 * kSecond;
    wall += 10;
    d->tick();
    d->refresh();
  }
  EXPECT_EQ(take_all(*d, "m"), 0U);
}

TEST_F(DomainTest, AClockSetForwardOverAnEdgeOpensItsWindow) {
  auto d = make();
  rule.limits = {monthly(50)};
  ASSERT_TRUE(d->publish(rule));
  take_all(*d, "m");
  d->tick();
  wall += 86'400;
  now += kSecond;
  d->refresh();
  d->tick();
  EXPECT_EQ(take_all(*d, "m"), 50U);
}

TEST_F(DomainTest, ALimitThatComesAfterLostCountersStartsFull) {
  auto d = make({}, true);
  rule.limits = {limit("a")};
  ASSERT_TRUE(d->publish(rule));
  rule.limits.push_back(limit("later"));
  ASSERT_TRUE(d->publish(rule));
  EXPECT_EQ(take_all(*d, "later"), 100U);
}

TEST_F(DomainTest, AnEdgeThatPassedWithoutAnAgentIsGrantedByTheNext) {
  auto d = make();
  rule.limits = {monthly(50)};
  ASSERT_TRUE(d->publish(rule));
  take_all(*d, "m");
  d->tick();
  Inherited kept{Fd(::fcntl(d->counters_fd(), F_DUPFD_CLOEXEC, 3)),
                 Fd(::fcntl(d->ledger_fd(), F_DUPFD_CLOEXEC, 3))};
  d.reset();
  now += 7200 * kSecond;
  wall += 7200;
  auto again = make(std::move(kept), true);
  ASSERT_TRUE(again->publish(rule));
  EXPECT_EQ(take_all(*again, "m"), 50U);
  again->refresh();
  EXPECT_EQ(take_all(*again, "m"), 0U);
}

TEST_F(DomainTest, StripesAreGivenWhereTheRuleDemandsThem) {
  auto d = make();
  LimitRule l = limit("s", 1'000'000, 1'000'000);
  l.stripes = StripeMode::on;
  rule.limits = {l, limit("plain", 1'000'000, 1'000'000)};
  ASSERT_TRUE(d->publish(rule));
  EXPECT_NE(hot(*d, d->slot_of("s")) & kHotStriped, 0U);
  EXPECT_EQ(hot(*d, d->slot_of("plain")) & kHotStriped, 0U);
  rule.limits[0].stripes = StripeMode::off;
  ASSERT_TRUE(d->publish(rule));
  EXPECT_EQ(hot(*d, d->slot_of("s")) & kHotStriped, 0U);
}

TEST_F(DomainTest, ABusyLimitIsStripedByItself) {
  auto d = make();
  rule.limits = {limit("busy", 50'000'000, 50'000'000)};
  ASSERT_TRUE(d->publish(rule));
  for (int i = 0; i < 4000; ++i) {
    now += kSecond / 1000;
    take_all(*d, "busy");
    d->tick();
    if (i % 250 == 0) d->refresh();
  }
  EXPECT_NE(hot(*d, d->slot_of("busy")) & kHotStriped, 0U);
}

TEST_F(DomainTest, ReservesFollowTheBurst) {
  auto d = make();
  LimitRule l = limit("p", 10, 200);
  l.reserve_permille = {0, 0, 100, 250};
  rule.limits = {l};
  ASSERT_TRUE(d->publish(rule));
  RuleCopy copy;
  ASSERT_TRUE(copy_rule(d->rules().view(), static_cast<std::uint32_t>(d->slot_of("p")), copy));
  EXPECT_EQ(copy.reserve[2], 20U);
  EXPECT_EQ(copy.reserve[3], 50U);
}

}  // namespace
}  // namespace weir::agent
