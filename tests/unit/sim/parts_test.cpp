// The parts that a run is judged and driven by, each against what can be said without it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "sim/arrivals.h"
#include "sim/clock.h"
#include "sim/events.h"
#include "sim/max_min.h"
#include "sim/network.h"
#include "sim/oracle.h"

namespace weir::sim {
namespace {

using lease::kMs;
using lease::kSecond;
using lease::kToken;

// ---- the oracle

TEST(Meter, BurstAndRateAreFreeAndOneMicroTokenMoreIsTooMuch) {
  Meter meter;
  meter.set({100 * kToken, 10 * kToken}, 0);

  meter.admit(10 * kToken, 0);
  EXPECT_EQ(meter.worst(), 0) << "the whole burst";
  meter.admit(7 * kToken, 70 * kMs);
  EXPECT_EQ(meter.worst(), 0) << "and what the rate brought since";
  meter.admit(1, 70 * kMs);
  EXPECT_EQ(meter.worst(), 1);
  EXPECT_EQ(meter.worst_at_ns(), 70 * kMs);
}

// The meter's answer is that of all windows, tried one by one.
TEST(Meter, SaysTheWorstOfAllWindows) {
  lease::Random random(7);
  for (int run = 0; run < 50; ++run) {
    const Bound bound{random.between(1, 50) * kToken, random.between(1, 20) * kToken};
    Meter meter;
    meter.set(bound, 0);
    std::vector<std::pair<TimeNs, Micro>> all;
    TimeNs at_ns = 0;
    for (int i = 0; i < 60; ++i) {
      at_ns += random.between(0, 200) * kMs;
      all.emplace_back(at_ns, random.between(1, 8) * kToken);
      meter.admit(all.back().second, at_ns);
    }

    Micro worst = -lease::kMicroMax;
    for (std::size_t from = 0; from < all.size(); ++from) {
      Micro sum = 0;
      for (std::size_t to = from; to < all.size(); ++to) {
        sum += all[to].second;
        const TimeNs window_ns = all[to].first - all[from].first;
        worst = std::max(worst, sum - bound.burst - lease::minted(bound.rate, window_ns));
      }
    }
    EXPECT_EQ(meter.worst(), worst);
  }
}

TEST(Meter, ALowerLimitIsJudgedFromThenOn) {
  Meter meter;
  meter.set({100 * kToken, 100 * kToken}, 0);
  meter.admit(100 * kToken, 0);
  meter.set({10 * kToken, 10 * kToken}, kSecond);
  EXPECT_EQ(meter.worst(), 0);
  meter.admit(11 * kToken, 3 * kSecond);

  EXPECT_EQ(meter.worst(), kToken);
}

TEST(InForce, TheLargerLimitCountsUntilItIsForgotten) {
  InForce in_force(5 * kSecond);
  in_force.set({100, 10}, 0);
  in_force.set({50, 20}, 10 * kSecond);

  EXPECT_EQ(in_force.now(), (Bound{50, 20}));
  EXPECT_EQ(in_force.largest(10 * kSecond), (Bound{100, 20}));
  EXPECT_EQ(in_force.next_fall_ns(), 15 * kSecond);
  EXPECT_EQ(in_force.largest(15 * kSecond - 1), (Bound{100, 20}));
  EXPECT_EQ(in_force.largest(15 * kSecond), (Bound{50, 20}));
  EXPECT_EQ(in_force.next_fall_ns(), lease::kNever);
}

TEST(HeldSum, TheServersPartCountsAndTheWorstIsKept) {
  HeldSum held;
  held.change(60, 6);
  held.set_server({40, 4});

  EXPECT_TRUE(held.fits({100, 10}, 1));
  held.change(0, 1);
  EXPECT_FALSE(held.fits({100, 10}, 2));
  held.change(-60, -7);
  EXPECT_TRUE(held.fits({100, 10}, 3));
  EXPECT_EQ(held.worst_rate(), 0);
  EXPECT_EQ(held.worst_burst(), 1);
  EXPECT_EQ(held.worst_at_ns(), 2);
}

TEST(Peak, IsTheMostOfAnySecondNotOfAClocksSeconds) {
  Peak peak;
  peak.admit(5, 900 * kMs);
  peak.admit(7, 1'800 * kMs);
  peak.admit(9, 2'500 * kMs);

  EXPECT_EQ(peak.worst(), 16);
}

// ---- the division that judges the core's

TEST(MaxMin, TheWorkedExamples) {
  const auto shares = [](std::vector<double> wants, double capacity) {
    std::vector<Asker> askers;
    for (const double want : wants)
      askers.push_back({want, 1, 0, 0});
    return max_min(askers, capacity);
  };

  EXPECT_EQ(shares({100, 100, 100}, 300), (std::vector<double>{100, 100, 100}));
  EXPECT_EQ(shares({400, 50, 50}, 300), (std::vector<double>{200, 50, 50}));
  EXPECT_EQ(shares({400, 400, 10}, 300), (std::vector<double>{145, 145, 10}));
  EXPECT_EQ(shares({10, 20}, 300), (std::vector<double>{10, 20}));
}

TEST(MaxMin, BandsAndFloorsComeBeforeWeights) {
  const std::vector<double> shares = max_min({{100, 1, 0, 20}, {60, 1, 1, 0}, {100, 3, 0, 0}}, 120);

  EXPECT_NEAR(shares[1], 60, 1e-9) << "its band is served whole";
  EXPECT_NEAR(shares[0], 20, 1e-9) << "its floor";
  EXPECT_NEAR(shares[2], 40, 1e-9);
}

TEST(Jain, IsOneForAFairDivisionAndLessForAnother) {
  EXPECT_DOUBLE_EQ(jain({10, 20, 30}, {10, 20, 30}, 1), 1);
  EXPECT_NEAR(jain({20, 0}, {10, 10}, 1), 0.5, 1e-9);
  EXPECT_DOUBLE_EQ(jain({20, 0}, {10, 0.5}, 1), 1) << "too small a share is not judged";
}

// ---- the network

struct Sent {
  int arrived = 0, doubled = 0, overtaken = 0;
  TimeNs least_ns = lease::kNever, most_ns = 0;
};

Sent send_many(const NetworkOptions& options, int count) {
  Network network(options, 5);
  network.set_size(1, 1);
  Sent sent;
  TimeNs newest_ns = 0;
  for (int i = 0; i < count; ++i) {
    const TimeNs now_ns = i * 10 * kMs;
    const auto arrivals = network.send(0, 0, true, now_ns);
    sent.arrived += arrivals.count > 0 ? 1 : 0;
    sent.doubled += arrivals.count > 1 ? 1 : 0;
    for (std::size_t at = 0; at < arrivals.count; ++at) {
      sent.least_ns = std::min(sent.least_ns, arrivals.at_ns[at] - now_ns);
      sent.most_ns = std::max(sent.most_ns, arrivals.at_ns[at] - now_ns);
    }
    if (arrivals.count > 0) {
      sent.overtaken += arrivals.at_ns[0] < newest_ns ? 1 : 0;
      newest_ns = std::max(newest_ns, arrivals.at_ns[0]);
    }
  }
  return sent;
}

TEST(Network, AGoodOneDeliversAllInOrderWithinItsDelay) {
  const Sent sent = send_many({}, 2000);

  EXPECT_EQ(sent.arrived, 2000);
  EXPECT_EQ(sent.doubled, 0);
  EXPECT_EQ(sent.overtaken, 0);
  EXPECT_GE(sent.least_ns, NetworkOptions{}.delay_least_ns);
  EXPECT_LE(sent.most_ns, NetworkOptions{}.delay_most_ns);
}

TEST(Network, ABadOneLosesDoublesAndReorders) {
  NetworkOptions options;
  options.lost = 100;
  options.doubled = 50;
  options.slow = 100;
  options.overtaking = 100;
  const Sent sent = send_many(options, 4000);

  EXPECT_NEAR(sent.arrived, 3600, 100);
  EXPECT_NEAR(sent.doubled, 180, 60);
  EXPECT_GT(sent.overtaken, 20);
  EXPECT_GT(sent.most_ns, 50 * kMs);
}

TEST(Network, ALateMessageOutlivesEveryLease) {
  NetworkOptions options;
  options.late = 1000;
  EXPECT_GT(send_many(options, 200).most_ns, 10 * kSecond);
}

TEST(Network, CutsNestAndHaveADirection) {
  Network network({}, 5);
  network.set_size(2, 1);
  network.cut(0, 0, true, false);
  network.cut(0, 0, true, true);
  network.mend(0, 0, true, true);

  EXPECT_EQ(network.send(0, 0, true, 0).count, 0U);
  EXPECT_EQ(network.send(0, 0, false, 0).count, 1U);
  EXPECT_EQ(network.send(1, 0, true, 0).count, 1U) << "the other host's way is whole";
  EXPECT_FALSE(network.reaches(0, 0));
  network.mend(0, 0, true, false);
  EXPECT_TRUE(network.reaches(0, 0));
}

// ---- callers

std::vector<TimeNs> calls_within(Arrivals& arrivals, TimeNs end_ns) {
  std::vector<TimeNs> calls;
  for (; arrivals.next_ns() <= end_ns; arrivals.pop())
    calls.push_back(arrivals.next_ns());
  return calls;
}

TEST(Arrivals, AnEvenStreamIsEven) {
  Arrivals arrivals(3, false, 0);
  arrivals.set_rate(100, 0);
  const std::vector<TimeNs> calls = calls_within(arrivals, 10 * kSecond);

  ASSERT_NEAR(static_cast<double>(calls.size()), 1000, 1);
  for (std::size_t i = 1; i < calls.size(); ++i)
    EXPECT_NEAR(static_cast<double>(calls[i] - calls[i - 1]), 1e7, 2);
}

TEST(Arrivals, AStreamByChanceHasTheMeanAndTheSpreadOfOne) {
  Arrivals arrivals(3, true, 0);
  arrivals.set_rate(100, 0);
  const std::vector<TimeNs> calls = calls_within(arrivals, 200 * kSecond);

  EXPECT_NEAR(static_cast<double>(calls.size()), 20'000, 3 * std::sqrt(20'000.0));
  double squares = 0;
  for (std::size_t i = 1; i < calls.size(); ++i)
    squares += std::pow(static_cast<double>(calls[i] - calls[i - 1]) / 1e7 - 1, 2);
  EXPECT_NEAR(squares / static_cast<double>(calls.size()), 1, 0.1);
}

TEST(Arrivals, AnotherRateKeepsThePhase) {
  Arrivals arrivals(3, false, 0);
  arrivals.set_rate(10, 0);
  const TimeNs first_ns = arrivals.next_ns();
  arrivals.set_rate(20, first_ns / 2);

  EXPECT_NEAR(static_cast<double>(arrivals.next_ns()), static_cast<double>(first_ns) * 0.75, 5);
  arrivals.set_rate(0, first_ns / 2);
  EXPECT_EQ(arrivals.next_ns(), lease::kNever);
}

TEST(Arrivals, SpellsAreOnForTheirPartOfTheTime) {
  Arrivals arrivals(3, false, 0);
  arrivals.set_rate(100, 0);
  arrivals.set_spells(kSecond, 3 * kSecond, 0);
  const std::vector<TimeNs> calls = calls_within(arrivals, 4000 * kSecond);

  EXPECT_NEAR(static_cast<double>(calls.size()), 100'000, 12'000);
  TimeNs longest_ns = 0;
  for (std::size_t i = 1; i < calls.size(); ++i)
    longest_ns = std::max(longest_ns, calls[i] - calls[i - 1]);
  EXPECT_GT(longest_ns, 8 * kSecond);
}

// ---- time

TEST(EventQueue, IsInOrderOfTimeAndThenOfPlanning) {
  EventQueue events;
  lease::Random random(11);
  for (std::uint32_t i = 0; i < 5000; ++i)
    events.push(random.between(0, 300), EventKind::heal, i);
  Event before{-1, 0, 0, 0, EventKind::step};
  int count = 0;
  for (; !events.empty(); ++count) {
    const Event event = events.pop();
    ASSERT_TRUE(before.at_ns < event.at_ns ||
                (before.at_ns == event.at_ns && before.who < event.who));
    before = event;
  }
  EXPECT_EQ(count, 5000);
}

TEST(Clock, RunsAtItsSpeedAndSaysWhenItWillShowATime) {
  Clock clock(1000 * kSecond, 500);
  EXPECT_EQ(clock.local(0), 1000 * kSecond);
  EXPECT_EQ(clock.local(10 * kSecond), 1010 * kSecond + 5 * kMs);

  clock.set_drift(-1000, 10 * kSecond);
  EXPECT_EQ(clock.local(20 * kSecond), 1020 * kSecond + 5 * kMs - 10 * kMs);
  clock.leap(kSecond, 20 * kSecond);
  EXPECT_EQ(clock.local(20 * kSecond), 1021 * kSecond - 5 * kMs);
  const TimeNs later_ns = clock.local(30 * kSecond);
  EXPECT_NEAR(static_cast<double>(clock.when(later_ns)), 30e9, 2);
}

}  // namespace
}  // namespace weir::sim
