// Blind samplers, clocks that leap, counts that nobody can mean, and many resources.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "tests/unit/adaptive/shed_host.h"

namespace weir::adaptive {
namespace {

void expect_sane(const Shedder& shedder) {
  const Shedder::View view = shedder.view();
  EXPECT_TRUE(std::isfinite(view.limit));
  EXPECT_GE(view.limit, 1.0);
  EXPECT_LE(view.limit, kShedLimitMax);
  EXPECT_TRUE(std::isfinite(view.capacity_per_second));
  EXPECT_GE(view.capacity_per_second, 0.0);
  EXPECT_TRUE(std::isfinite(view.baseline_ns));
  EXPECT_GE(view.baseline_ns, 0.0);
  EXPECT_TRUE(std::isfinite(view.cpu_permille));
  // Whatever happened, a host with nothing in flight lets the most important class in.
  EXPECT_FALSE(sheds(shedder.words(), Criticality::critical_plus, 0, 0));
}

TEST(ShedderBlind, WithoutASamplerTheFixedBulkheadHolds) {
  ShedHost host({.blind_limit = 50});
  host.run(10 * kSecond, {});
  EXPECT_FALSE(host.sheds_at(35));
  host.run(3 * kSecond, {.signal = kNoSignal});
  EXPECT_TRUE(host.shedder.view().blind);
  EXPECT_FALSE(host.sheds_at(49));
  EXPECT_TRUE(host.sheds_at(50));
  host.run(200 * kMs, {});
  EXPECT_FALSE(host.shedder.view().blind);
}

TEST(ShedderBlind, WithoutABulkheadSlownessIsTheSignal) {
  ShedHost host;
  host.run(30 * kSecond, {});
  host.run(3 * kSecond, {.signal = kNoSignal});
  EXPECT_FALSE(host.shedder.view().shedding);
  Load slow{.per_second = 800, .response_ns = 100 * kMs, .in_flight = 80, .signal = kNoSignal};
  host.run(2 * kSecond, slow);
  EXPECT_TRUE(host.shedder.view().shedding);
  EXPECT_NEAR(host.shedder.view().baseline_ns / kMs, 10.0, 1.0);
}

TEST(ShedderBlind, ASamplerThatFailsDuringAnOverloadDoesNotEndIt) {
  Load overload{.per_second = 800,
                .response_ns = 100 * kMs,
                .asked_per_second = 4000,
                .refused_per_second = 3200,
                .in_flight = 80,
                .signal = kFull};
  ShedHost host;
  host.run(30 * kSecond, {});
  host.run(5 * kSecond, overload);
  overload.signal = kNoSignal;
  host.run(20 * kSecond, overload);
  EXPECT_TRUE(host.shedder.view().blind);
  EXPECT_TRUE(host.shedder.view().shedding);
  EXPECT_NEAR(host.shedder.view().baseline_ns / kMs, 10.0, 1.0);
  host.run(4 * kSecond, {.signal = kNoSignal});
  EXPECT_FALSE(host.shedder.view().shedding);
}

// The quota of the service is halved while it sheds, and given back.
TEST(ShedderQuota, AQuotaThatChangesLiveIsFollowed) {
  Load overload{.per_second = 800,
                .response_ns = 20 * kMs,
                .asked_per_second = 4000,
                .refused_per_second = 3200,
                .in_flight = 16,
                .signal = kFull};
  ShedHost host;
  host.run(30 * kSecond, {});
  host.run(5 * kSecond, overload);
  const double before = host.shedder.view().limit;
  overload.per_second = 400;
  overload.refused_per_second = 3600;
  overload.signal.capacity_millicpus = 4000;
  host.run(6 * kSecond, overload);
  EXPECT_NEAR(host.shedder.view().capacity_per_second, 400.0, 20.0);
  EXPECT_LT(host.shedder.view().limit, 0.75 * before);
  EXPECT_TRUE(host.sheds_at(10));
  overload.per_second = 800;
  overload.refused_per_second = 3200;
  overload.signal.capacity_millicpus = 8000;
  host.run(2 * kSecond, overload);
  EXPECT_NEAR(host.shedder.view().capacity_per_second, 800.0, 40.0);
  EXPECT_NEAR(host.shedder.view().limit, before, 0.1 * before);
}

TEST(ShedderBlind, AHostThatNeverHadASamplerShedsNothingOnItsOwn) {
  ShedHost host;
  host.run(30 * kSecond, {.signal = kNoSignal});
  EXPECT_FALSE(host.shedder.view().shedding);
  EXPECT_FALSE(host.sheds_at(15));
}

TEST(ShedderClock, ALeapBackIsNoTimeAndALeapForwardForgetsNothing) {
  for (const TimeNs leap_ns : {-3600 * kSecond, 3600 * kSecond, -2 * kSecond, 700 * kMs}) {
    ShedHost host;
    host.run(30 * kSecond, {});
    host.now_ns += leap_ns;
    host.run(3 * kSecond, {});
    expect_sane(host.shedder);
    EXPECT_NEAR(host.shedder.view().capacity_per_second, 800.0, 40.0) << leap_ns;
    EXPECT_NEAR(host.shedder.view().baseline_ns / kMs, 10.0, 0.5) << leap_ns;
    host.run(300 * kMs, {.per_second = 800,
                         .response_ns = 100 * kMs,
                         .asked_per_second = 4000,
                         .refused_per_second = 100,
                         .in_flight = 80,
                         .signal = kFull});
    EXPECT_TRUE(host.shedder.view().shedding) << leap_ns;
  }
}

TEST(ShedderClock, ALeapWhileItShedsNeitherEndsTheOverloadNorOutlivesIt) {
  const Load overload{.per_second = 800,
                      .response_ns = 20 * kMs,
                      .asked_per_second = 4000,
                      .refused_per_second = 3200,
                      .in_flight = 16,
                      .signal = kFull};
  for (const TimeNs leap_ns : {-3600 * kSecond, 3600 * kSecond, -2 * kSecond, 700 * kMs}) {
    ShedHost host;
    host.run(30 * kSecond, {});
    host.run(10 * kSecond, overload);
    host.now_ns += leap_ns;
    host.run(500 * kMs, overload);
    expect_sane(host.shedder);
    EXPECT_TRUE(host.shedder.view().shedding) << leap_ns;
    EXPECT_NEAR(host.shedder.view().baseline_ns / kMs, 10.0, 0.5) << leap_ns;
    host.run(5 * kSecond, {});
    EXPECT_FALSE(host.shedder.view().shedding) << leap_ns;
    EXPECT_FALSE(host.sheds_at(8)) << leap_ns;
  }
}

// The agent slept for ten seconds: what comes in one piece is no rate.
TEST(ShedderClock, CountsOfALongSleepAreNoRate) {
  ShedHost host;
  host.run(30 * kSecond, {});
  host.now_ns += 10 * kSecond;
  host.shedder.on_traffic(host.now_ns, {.succeeded = 4000, .succeeded_ns = 4000ULL * 10'000'000});
  host.run(5 * kSecond, {});
  EXPECT_NEAR(host.shedder.view().capacity_per_second, 800.0, 40.0);
}

TEST(ShedderHostile, ResponseTimesOfZeroAndOfHours) {
  for (const TimeNs response_ns : {TimeNs{0}, TimeNs{1}, 5 * 3600 * kSecond}) {
    ShedHost host;
    host.run(30 * kSecond, {.response_ns = response_ns});
    expect_sane(host.shedder);
    host.run(5 * kSecond, {.response_ns = response_ns, .in_flight = 1'000'000, .signal = kFull});
    expect_sane(host.shedder);
  }
}

TEST(ShedderHostile, AnyNumbersAreTaken) {
  std::mt19937_64 random(7);
  const auto any = [&random]() -> std::uint64_t {
    switch (random() % 4) {
      case 0:
        return 0;
      case 1:
        return UINT64_MAX - random() % 3;
      case 2:
        return random() % 1000;
      default:
        return random();
    }
  };
  for (int round = 0; round < 50; ++round) {
    ShedderOptions options;
    options.hold_ns = static_cast<TimeNs>(any());
    options.signal_tau_ns = static_cast<TimeNs>(any());
    options.signal_stale_ns = static_cast<TimeNs>(any());
    options.limit_min = static_cast<std::uint32_t>(any());
    options.classes.fade = std::numeric_limits<double>::quiet_NaN();
    options.classes.overshoot[0] = -1e300;
    Shedder shedder(options);
    for (int i = 0; i < 300; ++i) {
      const auto at_ns = static_cast<TimeNs>(any());
      shedder.on_signal(at_ns,
                        {static_cast<std::int32_t>(any()), static_cast<std::int32_t>(any()),
                         static_cast<std::int32_t>(any()), static_cast<std::int32_t>(any())});
      shedder.on_traffic(at_ns + (i % 3 == 0 ? 10 * kMs : 0) * (at_ns < kNever ? 1 : 0),
                         {any(),
                          any(),
                          any(),
                          any(),
                          {any(), any(), any(), any()},
                          {any(), any(), any(), any()},
                          any()});
      expect_sane(shedder);
    }
  }
}

TEST(ShedderMany, TenThousandResourcesAreTickedWithinATick) {
  std::vector<std::unique_ptr<Shedder>> shedders;
  for (int i = 0; i < 10'000; ++i)
    shedders.push_back(std::make_unique<Shedder>());
  static_assert(sizeof(Shedder) < 8192);
  TimeNs now_ns = 0;
  for (int tick = 0; tick < 25; ++tick) {
    now_ns += 100 * kMs;
    for (std::size_t i = 0; i < shedders.size(); ++i) {
      shedders[i]->on_signal(now_ns, {.cpu_permille = 500,
                                      .pressure_permille = 10,
                                      .throttled_permille = 0,
                                      .capacity_millicpus = 8000});
      shedders[i]->on_traffic(now_ns,
                              {.succeeded = i % 50 + 1, .succeeded_ns = (i % 50 + 1) * 10'000'000});
    }
  }
  for (std::size_t i = 0; i < shedders.size(); ++i)
    EXPECT_NEAR(shedders[i]->view().capacity_per_second, static_cast<double>(i % 50 + 1) * 20.0,
                1e-6);
}

}  // namespace
}  // namespace weir::adaptive
