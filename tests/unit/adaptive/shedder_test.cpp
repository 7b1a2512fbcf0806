// What the shedder promises, and for each mend a test that fails without it.
#include "adaptive/shedder.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/adaptive/shed_host.h"

namespace weir::adaptive {
namespace {

constexpr Load kOverload{.per_second = 800,
                         .response_ns = 300 * kMs,
                         .asked_per_second = 4000,
                         .refused_per_second = 3200,
                         .in_flight = 240,
                         .signal = kFull};

// Runs the same story with all mends and with one less.
template <class Story>
auto with_and_without(bool Mends::*mend, Story&& story) {
  ShedderOptions options;
  ShedHost with(options);
  options.mends.*mend = false;
  ShedHost without(options);
  return std::pair{story(with), story(without)};
}

TEST(Shedder, LetsEverythingPassAtHalfLoad) {
  ShedHost host;
  EXPECT_EQ(host.shedder.words(), ShedWords{});
  host.run(30 * kSecond, {});
  const Shedder::View view = host.shedder.view();

  EXPECT_FALSE(view.shedding);
  EXPECT_FALSE(view.blind);
  EXPECT_FALSE(host.sheds_at(20));
  EXPECT_NEAR(view.baseline_ns / kMs, 10.0, 0.01);
  // 400 a second at half use are 800 a second at full use; 8 in flight, and their root more.
  EXPECT_NEAR(view.capacity_per_second, 800.0, 16.0);
  EXPECT_NEAR(view.limit, 8.0 + 2.8, 0.4);
}

TEST(Shedder, HoldsTheLimitOnceTheHostIsFull) {
  ShedHost host;
  host.run(30 * kSecond, {});
  host.run(300 * kMs, kOverload);

  EXPECT_TRUE(host.shedder.view().shedding);
  EXPECT_TRUE(host.sheds_at(12));
  EXPECT_FALSE(host.sheds_at(9));
}

TEST(Shedder, LetsGoWithinTwoSecondsOfTheLastHotMoment) {
  ShedHost host;
  host.run(30 * kSecond, {});
  host.run(30 * kSecond, kOverload);
  host.run(900 * kMs, {});
  EXPECT_TRUE(host.shedder.view().shedding);
  host.run(1100 * kMs, {});
  EXPECT_FALSE(host.shedder.view().shedding);
}

// The first defect of kratos' limiter: an overload becomes its own baseline.
TEST(Shedder, ALongOverloadDoesNotBecomeTheBaseline) {
  const auto [with, without] = with_and_without(&Mends::freeze_baseline, [](ShedHost& host) {
    host.run(30 * kSecond, {});
    host.run(60 * kSecond, kOverload);
    return host.shedder.view().baseline_ns / kMs;
  });
  EXPECT_NEAR(with, 10.0, 0.1);
  EXPECT_GT(without, 250.0);
}

TEST(Shedder, TheOnsetOfAnOverloadDoesNotGetIntoTheBaseline) {
  ShedHost host;
  Load onset = kOverload;
  onset.in_flight = 4;
  onset.signal = {};  // the sampler is late by most of a second
  host.run(30 * kSecond, {});
  host.run(800 * kMs, onset);
  host.run(20 * kSecond, kOverload);
  EXPECT_NEAR(host.shedder.view().baseline_ns / kMs, 10.0, 0.2);
}

// A host that always runs near its threshold has calm moments, and learns in them alone.
TEST(Shedder, ABusyHostLearnsInItsCalmMoments) {
  ShedHost host;
  Load busy{.per_second = 700, .response_ns = 40 * kMs};
  busy.signal = {.cpu_permille = 870,
                 .pressure_permille = 700,
                 .throttled_permille = 0,
                 .capacity_millicpus = 8000};
  Load calm = busy;
  calm.response_ns = 10 * kMs;
  calm.signal.pressure_permille = 30;
  for (int i = 0; i < 60; ++i) {
    host.run(700 * kMs, busy);
    host.run(300 * kMs, calm);
  }
  EXPECT_NEAR(host.shedder.view().baseline_ns / kMs, 10.0, 1.0);
}

TEST(Shedder, ResponsesBelowAMillisecondAreNotAMillisecond) {
  const auto [with, without] = with_and_without(&Mends::fractional_rt, [](ShedHost& host) {
    host.run(30 * kSecond, {.per_second = 50'000, .response_ns = 200 * kUs});
    return host.shedder.view().limit;
  });
  EXPECT_NEAR(with, 20.0 + 4.5, 1.0);
  EXPECT_GT(without, 90.0);
}

// Everything of a second falls into a tenth of it: 100 a second are not 1000 a second.
TEST(Shedder, ABurstIsNotARate) {
  const auto [with, without] = with_and_without(&Mends::second_rates, [](ShedHost& host) {
    for (int i = 0; i < 20; ++i) {
      host.run(100 * kMs, {.per_second = 1000});
      host.run(900 * kMs, {.per_second = 0.001});
    }
    return host.shedder.view().capacity_per_second;
  });
  EXPECT_NEAR(with, 200.0, 25.0);
  EXPECT_GT(without, 900.0);
}

TEST(Shedder, TheHoldCountsFromTheLastHotMoment) {
  const auto [with, without] = with_and_without(&Mends::refresh_hold, [](ShedHost& host) {
    host.run(30 * kSecond, {});
    host.run(10 * kSecond, kOverload);
    // The average of the CPU has to come down first, in both.
    while (host.shedder.view().cpu_permille >= 800.0)
      host.run(10 * kMs, {});
    host.run(500 * kMs, {});
    return host.shedder.view().shedding;
  });
  EXPECT_TRUE(with);
  EXPECT_FALSE(without);
}

TEST(Shedder, AHostWithoutHistoryStartsFromItsCpus) {
  const auto [with, without] = with_and_without(&Mends::sane_cold_start, [](ShedHost& host) {
    host.run(300 * kMs, {.per_second = 10, .in_flight = 1, .signal = kFull});
    EXPECT_TRUE(host.shedder.view().shedding);
    return host.shedder.view().limit;
  });
  EXPECT_GE(with, 8.0);
  EXPECT_LE(without, 3.0);
}

// Another tenant burns the CPU while ours idles: what ours can do is not forgotten.
TEST(Shedder, AnIdleTimeDoesNotForgetTheCapacity) {
  const auto [with, without] = with_and_without(&Mends::sane_cold_start, [](ShedHost& host) {
    host.run(30 * kSecond, {});
    Load idle{.per_second = 20, .in_flight = 0};
    idle.signal.cpu_permille = 20;
    host.run(30 * kSecond, idle);
    return host.shedder.view().capacity_per_second;
  });
  EXPECT_NEAR(with, 800.0, 20.0);
  EXPECT_LT(without, 200.0);
}

TEST(Shedder, FastFailuresAreNoSpeed) {
  const auto [with, without] = with_and_without(&Mends::errors_apart, [](ShedHost& host) {
    host.run(30 * kSecond, {.failed_per_second = 4000, .failed_ns = 50 * kUs});
    return std::pair{host.shedder.view().capacity_per_second, host.shedder.view().baseline_ns};
  });
  EXPECT_NEAR(with.first, 800.0, 20.0);
  EXPECT_NEAR(with.second / kMs, 10.0, 0.1);
  EXPECT_GT(without.first, 8000.0);
  EXPECT_LT(without.second / kMs, 2.0);
}

TEST(Shedder, AFullCpuIsNoticedWithinThreeSamples) {
  const auto [with, without] = with_and_without(&Mends::fast_signal, [](ShedHost& host) {
    host.run(30 * kSecond, {});
    Load full = kOverload;
    full.in_flight = 5;
    full.signal.pressure_permille = -1;  // a kernel without pressure information
    TimeNs passed_ns = 0;
    while (!host.shedder.view().shedding && passed_ns < 60 * kSecond) {
      host.run(100 * kMs, full);
      passed_ns += 100 * kMs;
    }
    return passed_ns;
  });
  EXPECT_LE(with, 300 * kMs);
  EXPECT_GE(without, 5 * kSecond);
}

TEST(Shedder, PressureAndThrottlingOpenTheGateWhateverTheUse) {
  for (const Signal& signal : {Signal{.cpu_permille = 300,
                              .pressure_permille = 700,
                              .throttled_permille = 0,
                              .capacity_millicpus = 8000},
                               Signal{.cpu_permille = 300,
                               .pressure_permille = 0,
                               .throttled_permille = 400,
                               .capacity_millicpus = 8000}}) {
    ShedHost host;
    host.run(30 * kSecond, {});
    host.run(210 * kMs, {.signal = signal});
    EXPECT_TRUE(host.shedder.view().shedding);
  }
}

TEST(Shedder, ASurgeIsMetBeforeTheNextSample) {
  const auto [with, without] = with_and_without(&Mends::surge_gate, [](ShedHost& host) {
    host.run(30 * kSecond, {});
    // Clients refuse at once, by the words alone.
    const bool by_words = host.sheds_at(100);
    host.run(10 * kMs, {.in_flight = 100});
    return by_words && host.shedder.view().shedding;
  });
  EXPECT_TRUE(with);
  EXPECT_FALSE(without);
}

TEST(Shedder, ASurgeThatNoSignalConfirmsIsLetIn) {
  ShedHost host;
  host.run(30 * kSecond, {});
  const double before = host.shedder.view().surge_limit;
  host.run(10 * kMs, {.in_flight = 100});
  EXPECT_TRUE(host.shedder.view().shedding);
  host.run(400 * kMs, {.in_flight = 10});
  EXPECT_FALSE(host.shedder.view().shedding);
  EXPECT_NEAR(host.shedder.view().surge_limit, 2.0 * before, 2.0);
  host.run(11 * kSecond, {});
  EXPECT_NEAR(host.shedder.view().surge_limit, before, 2.0);
}

TEST(Shedder, TheLimitLeavesRoomForTheGapsBetweenArrivals) {
  const auto [with, without] = with_and_without(&Mends::headroom, [](ShedHost& host) {
    host.run(30 * kSecond, {.per_second = 4000});
    return host.shedder.view().limit;
  });
  EXPECT_NEAR(without, 80.0, 2.0);
  EXPECT_NEAR(with, 80.0 + 8.9, 2.0);
}

// The work has become heavier on something else than the CPU: the old limit would leave it idle.
TEST(Shedder, ALimitThatLeavesTheCpuIdleIsRaised) {
  const auto [with, without] = with_and_without(&Mends::use_servo, [](ShedHost& host) {
    host.run(30 * kSecond, {});
    Load starved = kOverload;
    starved.per_second = 400;
    starved.response_ns = 14 * kMs;
    starved.signal.cpu_permille = 500;
    host.run(3 * kSecond, starved);
    return host.shedder.view().limit;
  });
  EXPECT_LT(without, 12.0);
  EXPECT_GT(with, 30.0);
}

// On one core even twice the load leaves gaps: the limit must not climb after them.
TEST(Shedder, ALimitIsNotRaisedWhereWorkQueues) {
  ShedHost host;
  host.run(30 * kSecond, {});
  Load bursty = kOverload;
  bursty.response_ns = 30 * kMs;
  bursty.signal.cpu_permille = 900;
  host.run(30 * kSecond, bursty);
  EXPECT_LT(host.shedder.view().limit, 14.0);
}

// Chance in a tenth of a second is no reason to take the room of a class that fits, and a step must
// not be served by the plan for the time before it.
TEST(Shedder, ChanceInTheDemandIsNoStepAndAStepIsNoChance) {
  ShedHost host;
  host.run(30 * kSecond, {});
  std::mt19937_64 random(3);
  const auto run = [&](TimeNs span_ns, double important_per_second) {
    std::uint32_t least = UINT32_MAX;
    std::poisson_distribution<std::uint64_t> draw(important_per_second / 50.0);
    for (const TimeNs end_ns = host.now_ns + span_ns; host.now_ns < end_ns;) {
      host.now_ns += 20 * kMs;
      if (host.now_ns % (100 * kMs) == 0) host.shedder.on_signal(host.now_ns, kFull);
      Traffic traffic{.succeeded = 16, .succeeded_ns = 16 * 20'000'000ULL, .in_flight = 20};
      traffic.asked = {draw(random), 64, 0, 0};
      host.shedder.on_traffic(host.now_ns, traffic);
      least = std::min(least, shed_field(host.shedder.words().limits, Criticality::critical_plus));
    }
    return least;
  };
  run(2 * kSecond, 680);
  const auto limit = static_cast<std::uint32_t>(host.shedder.view().limit);
  EXPECT_GE(run(60 * kSecond, 680), 9 * limit);
  run(400 * kMs, 2400);
  EXPECT_LE(shed_field(host.shedder.words().limits, Criticality::critical_plus), 2 * limit);
  EXPECT_GE(shed_field(host.shedder.words().refusals, Criticality::critical), kShareWhole - 1);
  run(400 * kMs, 100);
  EXPECT_GE(shed_field(host.shedder.words().limits, Criticality::critical_plus), 12 * limit);
}

TEST(Shedder, WithAllMendsTakenOutItBehavesAsPublished) {
  ShedderOptions options;
  options.mends = Mends::none();
  ShedHost host(options);
  host.run(30 * kSecond, {});
  host.run(5 * kSecond, kOverload);
  EXPECT_FALSE(host.shedder.view().shedding);  // the average has not seen it yet
  host.run(25 * kSecond, kOverload);
  EXPECT_TRUE(host.shedder.view().shedding);
  EXPECT_GT(host.shedder.view().limit, 200.0);  // and by now the overload is the baseline
}

}  // namespace
}  // namespace weir::adaptive
