#include "adaptive/deadline.h"

#include <gtest/gtest.h>

namespace weir::adaptive {
namespace {

constexpr TimeNs kArrivalNs = 1000 * kSecond;

TEST(Deadline, SayingNothingIsTheDefaultAndADayIsTheMaximum) {
  EXPECT_EQ(Deadline::after(kArrivalNs, 0).remaining_ns(kArrivalNs), 5 * kSecond);
  EXPECT_EQ(Deadline::after(kArrivalNs, 24 * 3600 * kSecond).remaining_ns(kArrivalNs),
            60 * kSecond);
  EXPECT_EQ(Deadline::after(kArrivalNs, INT64_MAX).remaining_ns(kArrivalNs), 60 * kSecond);
  EXPECT_TRUE(Deadline::after(kArrivalNs, -1).passed(kArrivalNs));
  EXPECT_EQ(Deadline::after(kArrivalNs, 0, {.default_ns = kNever, .max_ns = 2 * kSecond})
                .remaining_ns(kArrivalNs),
            2 * kSecond);
}

TEST(Deadline, RemainsAndPasses) {
  const Deadline deadline = Deadline::after(kArrivalNs, kSecond);
  EXPECT_EQ(deadline.remaining_ns(kArrivalNs + 400 * kMs), 600 * kMs);
  EXPECT_EQ(deadline.remaining_ns(kArrivalNs + 2 * kSecond), 0);
  EXPECT_FALSE(deadline.passed(kArrivalNs + kSecond - 1));
  EXPECT_TRUE(deadline.passed(kArrivalNs + kSecond));
  EXPECT_EQ(deadline.earlier(Deadline(kArrivalNs)).at_mono_ns(), kArrivalNs);
}

TEST(Deadline, WorkThatCannotFinishIsNotStarted) {
  const Deadline deadline = Deadline::after(kArrivalNs, 100 * kMs);
  EXPECT_TRUE(deadline.can_finish(kArrivalNs, 100 * kMs));
  EXPECT_FALSE(deadline.can_finish(kArrivalNs, 101 * kMs));
  EXPECT_FALSE(deadline.can_finish(kArrivalNs + 100 * kMs, 0));
  EXPECT_TRUE(deadline.can_wait(kArrivalNs, 60 * kMs, 40 * kMs));
  EXPECT_FALSE(deadline.can_wait(kArrivalNs, 60 * kMs, 41 * kMs));
  EXPECT_FALSE(deadline.can_wait(kArrivalNs, INT64_MAX, INT64_MAX));
  EXPECT_TRUE(deadline.can_finish(kArrivalNs, INT64_MIN));
}

TEST(Deadline, ACallGetsTheLessOfBothAndLeavesAMargin) {
  const Deadline deadline = Deadline::after(kArrivalNs, kSecond);
  EXPECT_EQ(deadline.call_timeout_ns(kArrivalNs, 300 * kMs, 50 * kMs), 300 * kMs);
  EXPECT_EQ(deadline.call_timeout_ns(kArrivalNs + 800 * kMs, 300 * kMs, 50 * kMs), 150 * kMs);
  EXPECT_EQ(deadline.call_timeout_ns(kArrivalNs, 0, 50 * kMs), 950 * kMs);
  EXPECT_EQ(deadline.call_timeout_ns(kArrivalNs + 960 * kMs, 0, 50 * kMs), 0);
}

TEST(Deadline, TheEndsOfTimeAreTaken) {
  for (const TimeNs now_ns : {TimeNs{INT64_MIN}, TimeNs{INT64_MAX}})
    for (const TimeNs at_ns : {TimeNs{INT64_MIN}, TimeNs{INT64_MAX}}) {
      EXPECT_GE(Deadline(at_ns).remaining_ns(now_ns), 0);
      EXPECT_GE(Deadline::after(now_ns, at_ns).call_timeout_ns(at_ns, at_ns, at_ns), 0);
    }
}

TEST(GrpcTimeout, ReadsAndWrites) {
  EXPECT_EQ(parse_grpc_timeout_ns("100m"), 100 * kMs);
  EXPECT_EQ(parse_grpc_timeout_ns("5S"), 5 * kSecond);
  EXPECT_EQ(parse_grpc_timeout_ns("99999999H"), kNever);
  EXPECT_EQ(parse_grpc_timeout_ns("600000H"), 600'000 * (3600 * kSecond));
  for (const char* bad : {"", "S", "5", "-5S", "5 S", "123456789S", "5X", "0x5S", "5.5S"})
    EXPECT_EQ(parse_grpc_timeout_ns(bad), -1) << bad;
  for (const TimeNs timeout_ns : {TimeNs{0}, TimeNs{1}, 100 * kMs, 3600 * kSecond, kNever}) {
    const std::string text = grpc_timeout_text(timeout_ns);
    const TimeNs back_ns = parse_grpc_timeout_ns(text);
    EXPECT_LE(back_ns, timeout_ns) << text;
    EXPECT_GE(static_cast<double>(back_ns), static_cast<double>(timeout_ns) * 0.9999) << text;
  }
  EXPECT_EQ(grpc_timeout_text(-5), "0n");
}

}  // namespace
}  // namespace weir::adaptive
