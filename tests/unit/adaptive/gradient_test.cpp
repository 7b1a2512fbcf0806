#include "adaptive/gradient.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace weir::adaptive {
namespace {

// Eight cores, ten milliseconds a request: with n in flight each takes n / 8 times as long.
struct Machine {
  explicit Machine(const GradientOptions& options = {}) : limiter(options) {}

  double run(TimeNs span_ns, double wanted_in_flight, std::uint64_t failed = 0) {
    for (const TimeNs end_ns = now_ns + span_ns; now_ns < end_ns;) {
      now_ns += 100 * kMs;
      const double in_flight = std::min(wanted_in_flight, std::floor(limiter.limit()));
      const double response_ns = 10e6 * std::max(1.0, in_flight / 8.0);
      const auto count = static_cast<std::uint64_t>(in_flight / response_ns * 100e6);
      limiter.on_traffic(
          now_ns,
          {.succeeded = count,
           .succeeded_ns = static_cast<std::uint64_t>(static_cast<double>(count) * response_ns),
           .failed = failed,
           .refused = wanted_in_flight > limiter.limit() ? 100U : 0U,
           .in_flight_max = static_cast<std::uint64_t>(in_flight)});
    }
    return limiter.limit();
  }
  TimeNs now_ns = 0;
  HostGradient limiter;
};

TEST(HostGradient, FindsTheLimitOfAnOverloadedHost) {
  Machine machine;
  machine.run(10 * kSecond, 4);
  const double limit = machine.run(10 * kSecond, 1000);
  EXPECT_GT(limit, 9.0);
  EXPECT_LT(limit, 16.0);
}

// Netflix' drifts up for as long as the overload lasts; so does ours with the mend taken out.
TEST(HostGradient, ALongOverloadDoesNotBecomeTheBaseline) {
  Machine with;
  Machine without({.freeze_baseline = false});
  for (Machine* machine : {&with, &without})
    machine->run(10 * kSecond, 4);
  const double early = with.run(20 * kSecond, 1000);
  EXPECT_NEAR(with.run(3600 * kSecond, 1000), early, 1.0);
  EXPECT_GT(without.run(3600 * kSecond, 1000), 100.0);
}

TEST(HostGradient, NobodyWaitsForItToClimb) {
  Machine machine;
  EXPECT_GE(machine.run(kSecond, 6), 100.0);
  GradientOptions low;
  low.start = 10;
  Machine climbing(low);
  EXPECT_GE(climbing.run(kSecond, 6), 12.0);
}

TEST(HostGradient, FailuresShrinkItAndAreNoResponseTimes) {
  Machine machine;
  machine.run(10 * kSecond, 4);
  const double before = machine.limiter.baseline_ns();
  const double limit = machine.limiter.limit();
  EXPECT_LT(machine.run(5 * kSecond, 4, 10'000), limit / 2);
  EXPECT_EQ(machine.limiter.baseline_ns(), before);
}

TEST(HostGradient, AnyNumbersAreTaken) {
  for (const double bad : {std::nan(""), -1.0, 1e300}) {
    HostGradient limiter({.start = bad,
                          .min = bad,
                          .max = bad,
                          .tolerance = bad,
                          .smoothing = bad,
                          .window_ns = INT64_MIN,
                          .samples_min = 0});
    for (const TimeNs now_ns : {TimeNs{0}, TimeNs{INT64_MAX}, TimeNs{INT64_MIN}, kSecond}) {
      limiter.on_traffic(now_ns, {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX});
      limiter.on_traffic(now_ns, {1, 0, 0, 0, 0});
      limiter.on_traffic(now_ns, {});
      EXPECT_TRUE(limiter.limit() >= 1.0 && limiter.limit() <= 1e6) << limiter.limit();
    }
  }
}

}  // namespace
}  // namespace weir::adaptive
