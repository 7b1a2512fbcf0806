// Shedding, throttling, breakers, retries and degradation through the C ABI.
#include <gtest/gtest.h>

#include <array>

#include "adaptive/breaker.h"
#include "adaptive/degrade.h"
#include "adaptive/shed_word.h"
#include "tests/unit/client/toolkit_host.h"

namespace weir::test {
namespace {

constexpr std::int64_t kMs = 1'000'000;

struct Decide : ::testing::Test {
  ToolkitHost host;
  weir_client* client = nullptr;
  weir_resource* api = nullptr;

  void SetUp() override {
    host.publish(kApi, "api",
                 shm::kToolShed | shm::kToolBreaker | shm::kToolThrottle | shm::kToolRetry);
    shm::ResourceRule& rule = host.rule(kApi);
    rule.breaker_open_ns.store(20 * kMs);
    rule.breaker_jitter_permille.store(1);
    rule.breaker_consecutive.store(3);
    rule.breaker_probe_ns.store(40 * kMs);
    client = host.client();
    ASSERT_NE(client, nullptr);
    ASSERT_EQ(weir_resource_get(client, "api", &api), WEIR_OK);
  }
  void TearDown() override { weir_close(client); }
  shm::OutcomeTotals totals() const { return shm::outcome_totals(host.view(), kApi); }
  void shed_at(std::array<std::uint32_t, 4> limits, std::array<std::uint32_t, 4> refusals) {
    host.rule(kApi).shed_limits.store(adaptive::pack_classes(limits));
    host.rule(kApi).shed_refusals.store(adaptive::pack_classes(refusals));
  }
  weir_status call(std::int32_t outcome, std::uint64_t ns = 1000) {
    weir_call one{};
    const weir_status status = weir_call_begin(api, &one, nullptr);
    if (status == WEIR_ALLOW) {
      EXPECT_EQ(weir_call_end_after(&one, outcome, ns), WEIR_OK);
    }
    return status;
  }
  adaptive::BreakerState state() const {
    return adaptive::breaker_fields(host.view().counter(kApi).breaker.load()).state;
  }
  void store_word(std::uint64_t word) { host.view().counter(kApi).breaker.store(word); }
  void trip() {
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(call(WEIR_DONE_FAILED), WEIR_ALLOW);
    ASSERT_EQ(state(), adaptive::BreakerState::open);
  }
};

TEST_F(Decide, ShedsByClassAndWhatIsInFlight) {
  shed_at({0, 101, 51, 1}, {0, 0, 0, 0});
  host.view().counter(kApi).in_flight.store(60);
  EXPECT_EQ(weir_shed(api, WEIR_CRITICAL_PLUS), WEIR_ALLOW);
  EXPECT_EQ(weir_shed(api, WEIR_CRITICAL), WEIR_ALLOW);
  EXPECT_EQ(weir_shed(api, WEIR_SHEDDABLE_PLUS), WEIR_DENY_SHED);
  EXPECT_EQ(weir_shed(api, WEIR_SHEDDABLE), WEIR_DENY_SHED);
  EXPECT_EQ(weir_shed(api, WEIR_SHEDDABLE | WEIR_RETRY), WEIR_DENY_SHED);
  host.view().counter(kApi).in_flight.store(10);
  EXPECT_EQ(weir_shed(api, WEIR_SHEDDABLE_PLUS), WEIR_ALLOW);

  const shm::OutcomeTotals seen = totals();
  EXPECT_EQ(seen.asked[WEIR_CRITICAL], 1U);
  EXPECT_EQ(seen.asked[WEIR_SHEDDABLE_PLUS], 2U);
  EXPECT_EQ(seen.refused[WEIR_SHEDDABLE_PLUS], 1U);
  EXPECT_EQ(seen.asked[WEIR_SHEDDABLE], 1U) << "a retry is not asked again";
  EXPECT_EQ(seen.refused[WEIR_SHEDDABLE], 1U);
}

TEST_F(Decide, ARuleThatChangesLeavesNoGap) {
  shed_at({1, 1, 1, 1}, {0, 0, 0, 0});
  for (std::uint32_t i = 0; i < 100; ++i) {
    EXPECT_EQ(call(WEIR_DONE_OK), WEIR_ALLOW);
    host.publish(kApi, "api", shm::kToolShed | (i % 2 == 0 ? shm::kToolRetry : 0));
    ASSERT_EQ(weir_shed(api, WEIR_CRITICAL), WEIR_DENY_SHED) << i;
  }
}

TEST_F(Decide, ShedsAShareEvenly) {
  shed_at({0, 0, 0, 0}, {0, 0, 0, adaptive::kShareWhole / 4});
  int refused = 0;
  for (int i = 0; i < 10'000; ++i)
    refused += weir_shed(api, WEIR_SHEDDABLE) == WEIR_DENY_SHED;
  EXPECT_NEAR(refused, 2500, 10);
  EXPECT_EQ(totals().refused[WEIR_SHEDDABLE], static_cast<std::uint64_t>(refused));
}

TEST_F(Decide, AnAgentThatStoppedShedsNothingMore) {
  shed_at({1, 1, 1, 1}, {0, 0, 0, 0});
  host.rule(kApi).throttle_share.store(adaptive::kShareWhole);
  EXPECT_EQ(weir_shed(api, WEIR_CRITICAL), WEIR_DENY_SHED);
  host.freeze();
  // The clock is read now and then only: at the latest after 64 calls.
  int shed = 0, throttled = 0;
  for (int i = 0; i < 1000; ++i)
    shed += weir_shed(api, WEIR_CRITICAL) == WEIR_DENY_SHED;
  for (int i = 0; i < 1000; ++i)
    throttled += weir_throttle(api) == WEIR_DENY_THROTTLED;
  EXPECT_LE(shed, 64);
  EXPECT_LE(throttled, 64);
  host.thaw();
  EXPECT_TRUE(eventually_true([&] { return weir_shed(api, WEIR_CRITICAL) == WEIR_DENY_SHED; }));
}

TEST_F(Decide, ThrottlesAShareButNeverAllProbes) {
  host.rule(kApi).throttle_share.store(UINT32_MAX);
  int passed = 0;
  constexpr int kCalls = 400'000;
  for (int i = 0; i < kCalls; ++i)
    passed += weir_throttle(api) == WEIR_ALLOW;
  EXPECT_GT(passed, 0) << "whatever the word says, some go through as probes";
  EXPECT_LT(passed, 100);
  EXPECT_EQ(totals().throttled, static_cast<std::uint64_t>(kCalls - passed));
}

TEST_F(Decide, OutcomesAreCountedByWhatTheyAre) {
  EXPECT_EQ(call(WEIR_DONE_OK, 5000), WEIR_ALLOW);
  EXPECT_EQ(call(WEIR_DONE_FAILED, 7000), WEIR_ALLOW);
  EXPECT_EQ(call(WEIR_DONE_IGNORED, 9000), WEIR_ALLOW);
  host.rule(kApi).breaker_slow_ns.store(1'000'000);
  EXPECT_EQ(call(WEIR_DONE_OK, 2'000'000), WEIR_ALLOW);
  EXPECT_EQ(call(WEIR_DONE_OK, UINT64_MAX), WEIR_ALLOW);
  const shm::OutcomeTotals seen = totals();
  EXPECT_EQ(seen.succeeded, 3U);
  EXPECT_EQ(seen.succeeded_ns, 5000 + 2'000'000 + 86'400'000'000'000) << "a day is the most";
  EXPECT_EQ(seen.failed, 1U);
  EXPECT_EQ(seen.failed_ns, 7000U);
  EXPECT_EQ(seen.slow, 2U);
}

TEST_F(Decide, FailuresInARowTripTheBreakerAndOneProbeClosesIt) {
  EXPECT_EQ(call(WEIR_DONE_FAILED), WEIR_ALLOW);
  EXPECT_EQ(call(WEIR_DONE_FAILED), WEIR_ALLOW);
  EXPECT_EQ(call(WEIR_DONE_OK), WEIR_ALLOW);  // the row is over
  trip();
  weir_call one{};
  std::uint64_t wait_ns = 0;
  EXPECT_EQ(weir_call_begin(api, &one, &wait_ns), WEIR_DENY_OPEN);
  EXPECT_GT(wait_ns, 0U);
  EXPECT_LE(wait_ns, 40'000'000U);
  EXPECT_GE(totals().broken, 1U);
  ASSERT_TRUE(eventually_true([&] { return weir_call_begin(api, &one, nullptr) == WEIR_ALLOW; }));
  EXPECT_EQ(state(), adaptive::BreakerState::probing);
  weir_call other{};
  EXPECT_EQ(weir_call_begin(api, &other, nullptr), WEIR_DENY_OPEN) << "one probe for the host";
  EXPECT_EQ(weir_call_end(&one, WEIR_DONE_OK), WEIR_OK);
  EXPECT_EQ(state(), adaptive::BreakerState::closed);
  EXPECT_EQ(call(WEIR_DONE_OK), WEIR_ALLOW);
}

TEST_F(Decide, AFailedProbeOpensForLonger) {
  trip();
  weir_call one{};
  ASSERT_TRUE(eventually_true([&] { return weir_call_begin(api, &one, nullptr) == WEIR_ALLOW; }));
  weir_call_end(&one, WEIR_DONE_FAILED);
  const auto fields = adaptive::breaker_fields(host.view().counter(kApi).breaker.load());
  EXPECT_EQ(fields.state, adaptive::BreakerState::open);
  EXPECT_EQ(fields.trips, 1U);
}

TEST_F(Decide, AProbeThatIsIgnoredGoesToTheNext) {
  host.rule(kApi).breaker_probe_ns.store(3600'000 * std::uint64_t{kMs});
  trip();
  weir_call one{};
  ASSERT_TRUE(eventually_true([&] { return weir_call_begin(api, &one, nullptr) == WEIR_ALLOW; }));
  weir_call_end(&one, WEIR_DONE_IGNORED);
  EXPECT_TRUE(
      eventually_true([&] { return weir_call_begin(api, &one, nullptr) == WEIR_ALLOW; }, 2000));
}

TEST_F(Decide, AProbeThatNeverReportsIsFollowedAfterItsDeadline) {
  trip();
  weir_call lost{}, next{};
  ASSERT_TRUE(eventually_true([&] { return weir_call_begin(api, &lost, nullptr) == WEIR_ALLOW; }));
  ASSERT_TRUE(eventually_true([&] { return weir_call_begin(api, &next, nullptr) == WEIR_ALLOW; }));
  // The late answer of the first is not taken for the second's.
  weir_call_end(&lost, WEIR_DONE_OK);
  EXPECT_EQ(state(), adaptive::BreakerState::probing);
  weir_call_end(&next, WEIR_DONE_OK);
  EXPECT_EQ(state(), adaptive::BreakerState::closed);
}

TEST_F(Decide, ABreakerGoesOnWithoutAnAgent) {
  host.freeze();
  trip();
  EXPECT_EQ(call(WEIR_DONE_OK), WEIR_DENY_OPEN);
  weir_call one{};
  ASSERT_TRUE(eventually_true([&] { return weir_call_begin(api, &one, nullptr) == WEIR_ALLOW; }));
  weir_call_end(&one, WEIR_DONE_OK);
  EXPECT_EQ(state(), adaptive::BreakerState::closed);
  host.thaw();
}

TEST_F(Decide, AForcedBreakerStaysAsItIs) {
  store_word(adaptive::breaker_force(0, adaptive::BreakerState::forced_open, 0));
  for (int i = 0; i < 300; ++i)
    ASSERT_EQ(call(WEIR_DONE_OK), WEIR_DENY_OPEN);
  store_word(adaptive::breaker_force(0, adaptive::BreakerState::forced_closed, 0));
  for (int i = 0; i < 100; ++i)
    ASSERT_EQ(call(WEIR_DONE_FAILED), WEIR_ALLOW);
  EXPECT_EQ(state(), adaptive::BreakerState::forced_closed);
}

TEST_F(Decide, AnyBreakerWordIsTakenAndHeals) {
  const std::array<std::uint64_t, 6> words{UINT64_MAX,
                                           0x5555555555555555ULL,
                                           0xfffffffffffffff9ULL,
                                           0x8000000000000001ULL,
                                           0x7fffffff00000002ULL,
                                           0x1234567800000005ULL};
  for (const std::uint64_t word : words) {
    store_word(word);
    EXPECT_TRUE(eventually_true([&] { return call(WEIR_DONE_OK) == WEIR_ALLOW; }, 5000))
        << std::hex << word;
  }
}

TEST_F(Decide, RetriesComeOutOfTheHostsBudget) {
  host.view().counter(kApi).retry_tokens.store(2);
  weir_retry_ask ask{};
  ask.struct_bytes = sizeof(ask);
  std::uint64_t wait_ns = UINT64_MAX;
  EXPECT_EQ(weir_retry(api, &ask, &wait_ns), WEIR_ALLOW);
  EXPECT_LE(wait_ns, 25'000'000U);
  ask.hint = WEIR_HINT_OVERLOADED;
  EXPECT_EQ(weir_retry(api, &ask, &wait_ns), WEIR_DENY_SHED);
  ask.hint = WEIR_HINT_USELESS;
  EXPECT_EQ(weir_retry(api, &ask, &wait_ns), WEIR_DENY_RETRY);
  ask.hint = WEIR_HINT_MAY_HELP;
  ask.attempts_made = 3;
  EXPECT_EQ(weir_retry(api, &ask, &wait_ns), WEIR_DENY_RETRY);
  ask.attempts_made = 1;
  ask.deadline_mono_ns = weir_deadline_after(1, 0, 0) - 10;
  EXPECT_EQ(weir_retry(api, &ask, &wait_ns), WEIR_DENY_DEADLINE);
  ask.deadline_mono_ns = 0;
  EXPECT_EQ(host.view().counter(kApi).retry_tokens.load(), 1U) << "nothing is taken in vain";
  EXPECT_EQ(weir_retry(api, &ask, &wait_ns), WEIR_ALLOW);
  EXPECT_EQ(weir_retry(api, &ask, &wait_ns), WEIR_DENY_BUDGET);
  EXPECT_EQ(host.view().counter(kApi).retry_tokens.load(), 0U) << "and never below none";
  ask.hint = 3;
  EXPECT_EQ(weir_retry(api, &ask, &wait_ns), WEIR_E_INVALID);
}

TEST_F(Decide, WithoutAnAgentTheFloorIsOneForTheHost) {
  host.rule(kApi).retry_floor_milli.store(100);  // one in ten seconds
  host.freeze();
  weir_retry_ask ask{};
  ask.struct_bytes = sizeof(ask);
  std::uint64_t wait_ns = 0;
  int allowed = 0;
  for (int i = 0; i < 200; ++i)
    allowed += weir_retry(api, &ask, &wait_ns) == WEIR_ALLOW;
  EXPECT_EQ(allowed, 1);
  host.view().counter(kApi).retry_next_mono_ns.store(INT64_MAX);  // damage
  EXPECT_TRUE(eventually_true([&] { return weir_retry(api, &ask, &wait_ns) == WEIR_ALLOW; }, 500));
  host.thaw();
}

TEST_F(Decide, WithoutARuleRetriesAreATenthOfTheProcessesOwnCalls) {
  weir_resource* other = nullptr;
  ASSERT_EQ(weir_resource_get(client, "other", &other), WEIR_OK);
  for (int i = 0; i < 50; ++i) {
    weir_call one{};
    EXPECT_EQ(weir_call_begin(other, &one, nullptr), WEIR_ALLOW);
    EXPECT_EQ(weir_call_end(&one, WEIR_DONE_FAILED), WEIR_OK);
  }
  weir_retry_ask ask{};
  ask.struct_bytes = sizeof(ask);
  std::uint64_t wait_ns = 0;
  int allowed = 0;
  for (int i = 0; i < 50; ++i)
    allowed += weir_retry(other, &ask, &wait_ns) == WEIR_ALLOW;
  EXPECT_GE(allowed, 6) << "five of fifty, and the first second's";
  EXPECT_LE(allowed, 8);
}

TEST_F(Decide, AFeatureIsOffFromItsLevelOnAndComesBackWithoutAnAgent) {
  host.publish_feature(0, "recommendations", 2);
  weir_feature *some = nullptr, *none = nullptr;
  ASSERT_EQ(weir_feature_get(client, "recommendations", &some), WEIR_OK);
  ASSERT_EQ(weir_feature_get(client, "unheard of", &none), WEIR_OK);
  EXPECT_EQ(weir_degraded(some), 0);
  host.feature(0).degrade.store(adaptive::degrade_word(1, 0, 0));
  EXPECT_EQ(weir_degraded(some), 0);
  host.feature(0).degrade.store(adaptive::degrade_word(2, 0, 0));
  EXPECT_EQ(weir_degraded(some), 1);
  EXPECT_EQ(weir_degraded(none), 0);
  EXPECT_EQ(weir_degraded(nullptr), 0);
  host.feature(0).degrade.store(adaptive::degrade_word(0, 2, adaptive::kShareWhole / 10));
  int drilled = 0;
  for (int i = 0; i < 10'000; ++i)
    drilled += weir_degraded(some);
  EXPECT_NEAR(drilled, 1000, 20);
  host.feature(0).degrade.store(adaptive::degrade_word(8, 0, 0));
  host.freeze();
  int degraded = 0;
  for (int i = 0; i < 1000; ++i)
    degraded += weir_degraded(some);
  EXPECT_LE(degraded, 64);
  host.thaw();
}

TEST_F(Decide, DeadlinesAreBounded) {
  const std::int64_t now = shm::read_mono_ns();
  EXPECT_NEAR(static_cast<double>(weir_deadline_after(0, 0, 0) - now), 5e9, 1e9);
  EXPECT_LE(weir_deadline_after(INT64_MAX, 0, 0) - now, 61'000 * kMs);
  EXPECT_EQ(weir_deadline_remaining(weir_deadline_after(-5, 0, 0)), 0);
  const std::int64_t deadline = weir_deadline_after(10'000 * kMs, 0, 0);
  EXPECT_LE(weir_deadline_call_timeout(deadline, 0, 1000 * kMs), 9000 * kMs);
  EXPECT_EQ(weir_deadline_call_timeout(deadline, 100 * kMs, 0), 100 * kMs);
  EXPECT_EQ(weir_deadline_call_timeout(deadline, 0, 20'000 * kMs), 0);
  EXPECT_EQ(weir_deadline_can_finish(deadline, 1000 * kMs), 1);
  EXPECT_EQ(weir_deadline_can_finish(deadline, 20'000 * kMs), 0);
}

}  // namespace
}  // namespace weir::test
