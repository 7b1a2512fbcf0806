// The formulas of others against the vectors of their own tests (named above each), or against
// figures computed by hand from their published formulas ('computed').
#include <gtest/gtest.h>

#include "adaptive/published_bbr.h"
#include "adaptive/published_limiters.h"
#include "adaptive/throttle.h"

namespace weir::adaptive::published {
namespace {

constexpr TimeNs kCell = 100 * kMs;

// go-kratos/aegis, bbr_test.go.
TEST(PublishedBbr, MaxPassSeesCompleteCellsAlone) {
  Bbr<10> bbr;
  EXPECT_EQ(bbr.max_pass(0), 1);
  TimeNs now_ns = 0;
  for (int i = 1; i <= 10; ++i, now_ns += kCell)
    bbr.add_pass(now_ns, i * 100);
  EXPECT_EQ(bbr.max_pass(now_ns), 1000);

  Bbr<10> cached;
  cached.add_pass(0, 50);
  cached.add_pass(kCell / 2, 50);
  EXPECT_EQ(cached.max_pass(kCell - 1), 1);
  cached.add_pass(kCell, 1);
  EXPECT_EQ(cached.max_pass(2 * kCell - 1), 100);
}

template <class Limiter>
TimeNs fill(Limiter& bbr, int first_pass) {
  TimeNs now_ns = 0;
  for (int i = 0; i < 10; ++i) {
    bbr.add_pass(now_ns, (i + first_pass) * 100);
    for (int ms = i * 10 + 1; ms <= i * 10 + 10; ++ms)
      bbr.add_response_ms(now_ns, ms);
    if (i != 9) now_ns += kCell;
  }
  return now_ns;
}

TEST(PublishedBbr, MinResponseIsRoundedUp) {
  Bbr<10> bbr;
  EXPECT_EQ(bbr.min_response_ms(0), 1);
  EXPECT_EQ(bbr.min_response_ms(fill(bbr, 1)), 6);
}

TEST(PublishedBbr, MaxInFlight) {
  Bbr<10> bbr;
  EXPECT_EQ(bbr.max_in_flight(fill(bbr, 2)), 60);
}

TEST(PublishedBbr, DropsWhenHotAndForASecondAfter) {
  Bbr<10> bbr;
  const TimeNs now_ns = fill(bbr, 1);
  EXPECT_EQ(bbr.max_in_flight(now_ns), 54);
  EXPECT_FALSE(bbr.should_drop(now_ns, 800, 50));
  EXPECT_TRUE(bbr.should_drop(now_ns, 800, 80));
  EXPECT_TRUE(bbr.should_drop(now_ns + 50 * kMs, 700, 80));
  EXPECT_FALSE(bbr.should_drop(now_ns + 2 * kSecond, 700, 80));
}

// Its defects, by name: this is why ours is not this.
TEST(PublishedBbr, ItsHoldIsUsedUpWhenItIsNeeded) {
  Bbr<10> bbr;
  TimeNs now_ns = fill(bbr, 1);
  EXPECT_TRUE(bbr.should_drop(now_ns, 900, 80));
  for (int i = 0; i < 20; ++i)
    bbr.should_drop(now_ns += kCell, 900, 80);
  EXPECT_FALSE(bbr.should_drop(now_ns, 700, 80));
}

TEST(PublishedBbr, AFreshOneLetsOneThroughUnderLoad) {
  Bbr<100> bbr;
  EXPECT_EQ(bbr.max_in_flight(0), 0);
  EXPECT_FALSE(bbr.should_drop(0, 900, 1));
  EXPECT_TRUE(bbr.should_drop(0, 900, 2));
}

int ticks_until(std::int64_t from, std::int64_t permille, std::int64_t wanted) {
  BbrCpu cpu;
  cpu.set(from);
  for (int ticks = 1; ticks <= 1000; ++ticks) {
    cpu.sample(permille);
    if (cpu.value() >= wanted) return ticks;
  }
  return -1;
}

// Computed.
TEST(PublishedBbr, TheAverageOfTheCpuIsSlow) {
  EXPECT_EQ(ticks_until(0, 1000, 800), 33);
  EXPECT_EQ(ticks_until(500, 1000, 800), 19);
  EXPECT_EQ(ticks_until(700, 1000, 800), 9);
  EXPECT_EQ(ticks_until(0, 1000, 900), 47);
  EXPECT_EQ(ticks_until(500, 1000, 900), 33);
}

TEST(PublishedBbr, TheAverageOfTheCpuStops) {
  EXPECT_EQ(ticks_until(0, 818, 800), -1);
  EXPECT_EQ(ticks_until(0, 918, 900), -1);
  for (const auto& [steady, fixpoint] :
       std::vector<std::pair<int, int>>{{818, 799}, {800, 781}, {900, 881}, {1000, 981}}) {
    BbrCpu cpu;
    for (int i = 0; i < 1000; ++i)
      cpu.sample(steady);
    EXPECT_EQ(cpu.value(), fixpoint);
  }
}

// go-zero, adaptiveshedder_test.go.
TEST(PublishedGoZero, Shedder) {
  EXPECT_DOUBLE_EQ(squeezed_max_flight(900, 6, 10), 54.0);
  EXPECT_DOUBLE_EQ(squeezed_max_flight(1, 1000, 1), 1.0);
  EXPECT_DOUBLE_EQ(squeeze(900, 900), 1.0);
  EXPECT_DOUBLE_EQ(squeeze(950, 900), 0.5);
  EXPECT_DOUBLE_EQ(squeeze(1000, 900), 0.1);
  const double limit = 54.0 * squeeze(1000, 900);
  EXPECT_FALSE(squeezed_drop(true, 50, 80, 54));
  EXPECT_FALSE(squeezed_drop(true, 80, limit - 5, limit));
  EXPECT_TRUE(squeezed_drop(true, 80, 80, limit));
  EXPECT_FALSE(squeezed_drop(false, 80, 80, limit));
}

// go-zero, googlebreaker_test.go: five are spared; successes carry failures.
TEST(PublishedGoZero, Breaker) {
  EXPECT_EQ(go_zero_throttle(4, 0, 0, 0), 0.0);
  EXPECT_EQ(go_zero_throttle(280, 200, 0, 0), 0.0);
  EXPECT_GT(go_zero_throttle(400, 100, 0, 0), 0.5);
  EXPECT_EQ(go_zero_throttle(400, 100, 0, 40), 0.0);
}

// Netflix concurrency-limits, AIMDLimitTest.
TEST(PublishedNetflix, Aimd) {
  EXPECT_EQ(aimd_next(20, kMs, 10, false), 21);
  EXPECT_EQ(aimd_next(30, kMs, 0, true), 27);
  EXPECT_EQ(aimd_next(30, 6 * kSecond, 0, false), 27);
  EXPECT_EQ(aimd_next(21, kMs, 100, false, {.max = 21}), 21);
  EXPECT_EQ(aimd_next(10, kMs, 0, false, {.min = 10}), 10);
}

// Netflix concurrency-limits, VegasLimitTest.
TEST(PublishedNetflix, Vegas) {
  const auto after = [](TimeNs rtt_ns, std::int64_t in_flight) {
    Vegas vegas({.start = 10});
    vegas.sample(10 * kMs, 10, false);
    EXPECT_EQ(vegas.limit(), 10.0);
    vegas.sample(rtt_ns, in_flight, false);
    return vegas.limit();
  };
  EXPECT_EQ(after(10 * kMs, 11), 16.0);
  EXPECT_EQ(after(50 * kMs, 11), 9.0);
  EXPECT_EQ(after(14 * kMs, 14), 10.0);
}

TEST(PublishedNetflix, VegasWithSmoothing) {
  for (const auto& [smoothing, first, second] :
       std::vector<std::tuple<double, double, double>>{{0.5, 75, 56}, {1.0, 50, 25}}) {
    Vegas vegas({.start = 100, .max = 200, .smoothing = smoothing, .halve_on_drop = true});
    vegas.sample(10 * kMs, 100, false);
    vegas.sample(20 * kMs, 100, false);
    EXPECT_EQ(vegas.limit(), first);
    vegas.sample(20 * kMs, 100, false);
    EXPECT_EQ(vegas.limit(), second);
  }
  Vegas large({.start = 10000, .max = 20000});
  large.sample(10 * kMs, 5000, false);
  large.sample(10 * kMs, 6000, false);
  EXPECT_EQ(large.limit(), 10024.0);
}

// Netflix concurrency-limits, ExpAvgMeasurementTest.
TEST(PublishedNetflix, ExponentialAverage) {
  ExpAverage average(100, 10);
  for (int i = 0; i < 10; ++i)
    EXPECT_DOUBLE_EQ(average.add(10 + i), 10.0 + i * 0.5);
  EXPECT_NEAR(average.add(100), 16.2, 0.05);
}

// Computed. A limit of 20 with nothing but short responses climbs by the queue, times smoothing.
TEST(PublishedNetflix, Gradient2) {
  Gradient2 limiter;
  limiter.sample(10 * kMs, 20);
  EXPECT_NEAR(limiter.limit(), 20.8, 1e-9);
  limiter.sample(10 * kMs, 5);  // hardly used: held
  EXPECT_NEAR(limiter.limit(), 20.8, 1e-9);
  for (int i = 0; i < 500; ++i)
    limiter.sample(10 * kMs, 200);
  EXPECT_EQ(limiter.limit(), 200.0);
}

// Netflix concurrency-limits, AbstractPartitionedLimiterTest.
TEST(PublishedNetflix, Partitions) {
  EXPECT_EQ(partition_limit(10, 0.3), 3);
  EXPECT_EQ(partition_limit(10, 0.7), 7);
  EXPECT_EQ(partition_limit(20, 0.3), 6);
  EXPECT_EQ(partition_limit(10, 0.0), 0);
  EXPECT_TRUE(partition_admits(9, 10, 9, 3));   // what others leave
  EXPECT_TRUE(partition_admits(16, 10, 6, 7));  // and then 17 are in flight, of 10
  EXPECT_FALSE(partition_admits(17, 10, 7, 7));
}

// Envoy, gradient_controller_test.cc.
TEST(PublishedEnvoy, Gradient) {
  EXPECT_GT(envoy_gradient_next(10, 5 * kMs, 6 * kMs, 0.5, 7), 10);
  EXPECT_LT(envoy_gradient_next(200, 5 * kMs, 6 * kMs, 0.1, 7), 200);
  EXPECT_EQ(envoy_gradient_next(7, 5 * kMs, 600 * kMs, 0.1, 7), 7);
  EXPECT_EQ(envoy_gradient_next(42, 5 * kMs, 0, 0.1, 7), 42);
  EXPECT_EQ(envoy_gradient_next(100, 5 * kMs, 5 * kMs, 0.0, 3), 110);  // computed
}

// Computed.
TEST(PublishedEnvoy, AdmissionControl) {
  EXPECT_EQ(envoy_admission(100, 95, 0.95, 1), 0.0);
  EXPECT_NEAR(envoy_admission(100, 90, 0.95, 1), 0.052, 0.001);
  EXPECT_NEAR(envoy_admission(100, 50, 0.95, 1), 0.469, 0.001);
  EXPECT_NEAR(envoy_admission(100, 50, 0.95, 2), 0.685, 0.001);
}

// failsafe-go, adaptivethrottler_test.go and adaptivelimiter queue tests.
TEST(PublishedFailsafe, ThrottlerAndQueue) {
  EXPECT_NEAR(failsafe_throttle(120, 90, 0.9), 0.1653, 0.0001);
  EXPECT_EQ(failsafe_throttle(100, 95, 0.9), 0.0);
  EXPECT_EQ(failsafe_throttle(1000, 10, 0.9, 0.8), 0.8);
  EXPECT_NEAR(failsafe_throttle(200, 50, 0.9), 0.725, 0.025);
  EXPECT_EQ(failsafe_throttle(1, 0, 0.9), 0.5);
  EXPECT_EQ(failsafe_queue(5, 10, 20), 0.0);
  EXPECT_EQ(failsafe_queue(60, 60, 100), 0.0);
  EXPECT_EQ(failsafe_queue(80, 60, 100), 0.5);
  EXPECT_EQ(failsafe_queue(100, 60, 100), 1.0);
  EXPECT_NEAR(failsafe_queue(11, 10, 20), 0.1, 1e-9);
  EXPECT_EQ(failsafe_queue(3, 3, 3), 1.0);
}

}  // namespace
}  // namespace weir::adaptive::published
