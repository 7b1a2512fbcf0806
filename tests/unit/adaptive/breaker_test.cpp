#include "adaptive/breaker.h"

#include <gtest/gtest.h>

#include <random>

#include "adaptive/breaker_counts.h"

namespace weir::adaptive {
namespace {

constexpr TimeNs kNow = 1'000'000 * kSecond;
constexpr std::uint32_t kMe = 7;
constexpr std::uint32_t kOther = 8;

BreakerWord tripped(const BreakerPolicy& policy = {}, TimeNs now_ns = kNow) {
  return breaker_trip(0, 0, now_ns, 0.5, policy);
}
BreakerVerdict verdict(BreakerWord word, TimeNs now_ns, const BreakerPolicy& policy = {}) {
  return breaker_ask(word, now_ns, kMe, policy).verdict;
}

TEST(Breaker, AllZeroIsClosedAndWritesNothing) {
  EXPECT_TRUE(breaker_passes(0));
  const BreakerStep step = breaker_ask(0, kNow, kMe, {});
  EXPECT_EQ(step.verdict, BreakerVerdict::admit);
  EXPECT_EQ(step.word, 0U);
}

TEST(Breaker, KeepsItsFields) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 1000; ++i) {
    BreakerWord word = random();
    if ((word & 7) > 4) word &= ~BreakerWord{7};
    EXPECT_EQ(breaker_word(breaker_fields(word)), word);
  }
}

// sony/gobreaker's sequence, with its time of 60 s: open until just before the end, then half-open;
// a failed probe opens it again, a good one closes it.
TEST(Breaker, OpensProbesAndCloses) {
  const BreakerPolicy policy{.open_ns = 60 * kSecond, .growth = 1.0, .jitter = 0.0};
  BreakerWord word = tripped(policy);
  EXPECT_FALSE(breaker_passes(word));
  EXPECT_EQ(verdict(word, kNow + 60 * kSecond - 10 * kMs, policy), BreakerVerdict::refuse);

  BreakerStep step = breaker_ask(word, kNow + 61 * kSecond, kMe, policy);
  EXPECT_EQ(step.verdict, BreakerVerdict::probe);
  word = breaker_probed(step.word, breaker_generation(step.word), kMe, false, kNow + 62 * kSecond,
                        0.5, policy);
  EXPECT_EQ(breaker_fields(word).state, BreakerState::open);
  EXPECT_EQ(verdict(word, kNow + 63 * kSecond, policy), BreakerVerdict::refuse);

  step = breaker_ask(word, kNow + 130 * kSecond, kMe, policy);
  EXPECT_EQ(step.verdict, BreakerVerdict::probe);
  word = breaker_probed(step.word, breaker_generation(step.word), kMe, true, kNow + 131 * kSecond,
                        0.5, policy);
  EXPECT_TRUE(breaker_passes(word));
}

TEST(Breaker, OneProbeForTheWholeHost) {
  const TimeNs due_ns = kNow + 10 * kSecond;
  const BreakerStep probe = breaker_ask(tripped(), due_ns, kMe, {});
  EXPECT_EQ(probe.verdict, BreakerVerdict::probe);
  const BreakerStep other = breaker_ask(probe.word, due_ns, kOther, {});
  EXPECT_EQ(other.verdict, BreakerVerdict::refuse);
  EXPECT_EQ(other.word, probe.word);
  EXPECT_GT(other.retry_after_ns, 0);
  EXPECT_LE(other.retry_after_ns, 2 * kSecond + kBreakerUnitNs);
}

// resilience4j#903, #935, #544: a probe that never comes back must not wedge it.
TEST(Breaker, AKilledProberIsReplacedAtItsDeadline) {
  const TimeNs due_ns = kNow + 10 * kSecond;
  const BreakerStep lost = breaker_ask(tripped(), due_ns, kMe, {});
  EXPECT_EQ(breaker_ask(lost.word, due_ns + 1900 * kMs, kOther, {}).verdict,
            BreakerVerdict::refuse);
  const BreakerStep next = breaker_ask(lost.word, due_ns + 2100 * kMs, kOther, {});
  EXPECT_EQ(next.verdict, BreakerVerdict::probe);
  EXPECT_EQ(breaker_fields(next.word).owner, kOther);

  // The lost one comes back after all: its answer is too late to count.
  EXPECT_EQ(breaker_probed(next.word, breaker_generation(lost.word), kMe, true,
                           due_ns + 3 * kSecond, 0.5, {}),
            next.word);
}

TEST(Breaker, AProberWhoseDeathIsSeenIsReplacedAtOnce) {
  const TimeNs due_ns = kNow + 10 * kSecond;
  const BreakerStep lost = breaker_ask(tripped(), due_ns, kMe, {});
  EXPECT_EQ(breaker_abandon(lost.word, kOther, due_ns), lost.word);
  const BreakerWord freed = breaker_abandon(lost.word, kMe, due_ns);
  EXPECT_EQ(breaker_ask(freed, due_ns, kOther, {}).verdict, BreakerVerdict::probe);
}

TEST(Breaker, AnAnswerCountsForItsOwnProbeAlone) {
  const TimeNs due_ns = kNow + 10 * kSecond;
  const BreakerWord word = breaker_ask(tripped(), due_ns, kMe, {}).word;
  const std::uint32_t generation = breaker_generation(word);
  EXPECT_EQ(breaker_probed(word, generation, kOther, true, due_ns, 0.5, {}), word);
  EXPECT_EQ(breaker_probed(word, generation - 1, kMe, true, due_ns, 0.5, {}), word);
  EXPECT_EQ(breaker_probed(0, 0, 0, false, due_ns, 0.5, {}), 0U);
  EXPECT_EQ(breaker_trip(word, generation, due_ns, 0.5, {}), word);
}

TEST(Breaker, ResultsOfBeforeDoNotTripIt) {
  const TimeNs due_ns = kNow + 10 * kSecond;
  const BreakerWord probing = breaker_ask(tripped(), due_ns, kMe, {}).word;
  const BreakerWord closed =
      breaker_probed(probing, breaker_generation(probing), kMe, true, due_ns, 0.5, {});
  EXPECT_EQ(breaker_trip(closed, 0, due_ns, 0.5, {}), closed);
  EXPECT_NE(breaker_trip(closed, breaker_generation(closed), due_ns, 0.5, {}), closed);
}

// bytedance/gopkg's sequence: one good probe is not enough where two are wanted.
TEST(Breaker, SeveralGoodProbesInARow) {
  const BreakerPolicy policy{.probes_needed = 2};
  TimeNs now_ns = kNow + 10 * kSecond;
  BreakerStep step = breaker_ask(tripped(policy), now_ns, kMe, policy);
  BreakerWord word =
      breaker_probed(step.word, breaker_generation(step.word), kMe, true, now_ns, 0.5, policy);
  EXPECT_FALSE(breaker_passes(word));
  step = breaker_ask(word, now_ns, kOther, policy);
  EXPECT_EQ(step.verdict, BreakerVerdict::probe);
  word =
      breaker_probed(step.word, breaker_generation(step.word), kOther, true, now_ns, 0.5, policy);
  EXPECT_TRUE(breaker_passes(word));
}

TEST(Breaker, TheTimeGrowsWithEachTripAndIsForgottenInCalm) {
  const BreakerPolicy policy{
      .open_ns = kSecond, .open_max_ns = 6 * kSecond, .jitter = 0.0, .calm_ns = 60 * kSecond};
  EXPECT_EQ(breaker_open_ns(0, 0.5, policy), kSecond);
  EXPECT_EQ(breaker_open_ns(2, 0.5, policy), 4 * kSecond);
  EXPECT_EQ(breaker_open_ns(3, 0.5, policy), 6 * kSecond);
  EXPECT_EQ(breaker_open_ns(UINT32_MAX, 0.5, policy), 6 * kSecond);

  const auto closed_after_trip = [&](BreakerWord word, TimeNs now_ns) {
    const BreakerStep step = breaker_ask(word, now_ns, kMe, policy);
    return breaker_probed(step.word, breaker_generation(step.word), kMe, true, now_ns, 0.5, policy);
  };
  const TimeNs then_ns = kNow + 10 * kSecond;
  const BreakerWord closed = closed_after_trip(tripped(policy), then_ns);
  const auto trips_at = [&](TimeNs now_ns) {
    return breaker_fields(breaker_trip(closed, breaker_generation(closed), now_ns, 0.5, policy))
        .trips;
  };
  EXPECT_EQ(trips_at(then_ns + 5 * kSecond), 1U);
  EXPECT_EQ(trips_at(then_ns + 61 * kSecond), 0U);
}

TEST(Breaker, TheJitterIsTheCallersChance) {
  const BreakerPolicy policy{.open_ns = 8 * kSecond, .jitter = 0.5};
  EXPECT_EQ(breaker_open_ns(0, 0.0, policy), 6 * kSecond);
  EXPECT_EQ(breaker_open_ns(0, 1.0, policy), 10 * kSecond);
  EXPECT_EQ(breaker_open_ns(0, -3.0, policy), 8 * kSecond);
  // Also the longest time with the most jitter is kept, not taken for damage.
  const BreakerPolicy longest{.open_ns = 300 * kSecond, .jitter = 1.0};
  const BreakerWord word = breaker_trip(0, 0, kNow, 1.0, longest);
  EXPECT_EQ(verdict(word, kNow + 440 * kSecond, longest), BreakerVerdict::refuse);
  EXPECT_EQ(verdict(word, kNow + 451 * kSecond, longest), BreakerVerdict::probe);
}

TEST(Breaker, AnOperatorsWordIsFinal) {
  const BreakerWord open = breaker_force(0, BreakerState::forced_open, kNow);
  EXPECT_EQ(verdict(open, kNow + 3600 * kSecond), BreakerVerdict::refuse);
  EXPECT_EQ(breaker_trip(open, breaker_generation(open), kNow, 0.5, {}), open);
  const BreakerWord closed = breaker_force(tripped(), BreakerState::forced_closed, kNow);
  EXPECT_EQ(verdict(closed, kNow), BreakerVerdict::admit);
  EXPECT_EQ(breaker_trip(closed, breaker_generation(closed), kNow, 0.5, {}), closed);
  EXPECT_TRUE(breaker_passes(breaker_force(open, BreakerState::closed, kNow)));
  EXPECT_EQ(breaker_force(open, BreakerState::probing, kNow), open);
}

// Any 64 bits, at any time: somebody gets through within the longest time that the policy allows.
TEST(Breaker, NoWordWedgesIt) {
  std::mt19937_64 random(11);
  const BreakerPolicy policy;
  for (int i = 0; i < 20'000; ++i) {
    const BreakerWord word = random();
    if ((word & 7) == static_cast<unsigned>(BreakerState::forced_open)) continue;
    const TimeNs now_ns = i % 3 == 0 ? static_cast<TimeNs>(random()) : kNow;
    const TimeNs later_ns = bounded(now_ns) / 2 + 400 * kSecond;
    const BreakerStep now = breaker_ask(word, bounded(now_ns) / 2, kMe, policy);
    if (now.verdict != BreakerVerdict::refuse) continue;
    EXPECT_LE(now.retry_after_ns, 376 * kSecond);
    EXPECT_NE(breaker_ask(word, later_ns, kMe, policy).verdict, BreakerVerdict::refuse) << word;
  }
}

TEST(Breaker, AClockSetBackDoesNotKeepItOpen) {
  const BreakerWord word = tripped();
  EXPECT_EQ(verdict(word, kNow - 3600 * kSecond), BreakerVerdict::probe);
}

// hystrix-go: twenty requests and half of them failed.
TEST(BreakerCounts, VolumeAndShare) {
  const BreakerPolicy policy{.consecutive_failures = 0};
  EXPECT_EQ(breaker_should_trip({.succeeded = 0, .failed = 19}, policy), TripReason::none);
  EXPECT_EQ(breaker_should_trip({.succeeded = 10, .failed = 10}, policy), TripReason::failed_share);
  EXPECT_EQ(breaker_should_trip({.succeeded = 11, .failed = 10}, policy), TripReason::none);
}

// sony/gobreaker: five in a row are none too many, the sixth is; and three with three fifths
// failed.
TEST(BreakerCounts, InARow) {
  BreakerPolicy policy{.volume_min = 1000, .consecutive_failures = 6};
  EXPECT_EQ(breaker_should_trip({.failed = 5, .consecutive_failures = 5}, policy),
            TripReason::none);
  EXPECT_EQ(breaker_should_trip({.failed = 6, .consecutive_failures = 6}, policy),
            TripReason::consecutive);
  policy = {.volume_min = 3, .failed_permille = 600, .consecutive_failures = 0};
  EXPECT_EQ(breaker_should_trip({.succeeded = 1, .failed = 1}, policy), TripReason::none);
  EXPECT_EQ(breaker_should_trip({.succeeded = 1, .failed = 2}, policy), TripReason::failed_share);
}

// bytedance/gopkg: a threshold of a thousand. resilience4j: all of a hundred are slow.
TEST(BreakerCounts, ThresholdAndSlowness) {
  BreakerPolicy policy{.volume_min = 0, .failed_permille = 0, .consecutive_failures = 1000};
  EXPECT_EQ(breaker_should_trip({.failed = 999, .consecutive_failures = 999}, policy),
            TripReason::none);
  EXPECT_EQ(breaker_should_trip({.failed = 1000, .consecutive_failures = 1000}, policy),
            TripReason::consecutive);
  policy = {.volume_min = 100, .slow_permille = 1000};
  EXPECT_EQ(breaker_should_trip({.succeeded = 100, .slow = 99}, policy), TripReason::none);
  EXPECT_EQ(breaker_should_trip({.succeeded = 100, .slow = 100}, policy), TripReason::slow_share);
}

TEST(BreakerCounts, TheWindowRollsAndTheGenerationCounts) {
  BreakerPolicy policy{.consecutive_failures = 0};
  BreakerCounts counts(policy);
  counts.begin(0, 1);
  counts.add(0, 0, {.failed = 1000});
  EXPECT_EQ(counts.should_trip(0), TripReason::none);
  counts.add(0, 1, {.failed = 30});
  EXPECT_EQ(counts.should_trip(9 * kSecond), TripReason::failed_share);
  EXPECT_EQ(counts.should_trip(12 * kSecond), TripReason::none);
  counts.add(12 * kSecond, 1, {.failed = UINT64_MAX, .slow = UINT64_MAX});
  counts.add(12 * kSecond, 1, {.succeeded = UINT64_MAX, .failed = UINT64_MAX});
  EXPECT_EQ(counts.should_trip(12 * kSecond), TripReason::failed_share);
  counts.begin(13 * kSecond, 2);
  EXPECT_EQ(counts.should_trip(13 * kSecond), TripReason::none);
}

TEST(BreakerCounts, InARowOverAllProcesses) {
  std::uint64_t word = 0;
  EXPECT_EQ(next_consecutive(word, 3, false), word);  // a healthy resource writes nothing
  for (int i = 0; i < 5; ++i)
    word = next_consecutive(word, 3, true);
  EXPECT_EQ(word & 0xffffffff, 5U);
  EXPECT_EQ(next_consecutive(word, 4, true) & 0xffffffff, 1U);  // of another generation
  EXPECT_EQ(next_consecutive(word, 3, false) & 0xffffffff, 0U);
  EXPECT_EQ(next_consecutive(UINT64_MAX, 0xffffffff, true), UINT64_MAX);
}

}  // namespace
}  // namespace weir::adaptive
