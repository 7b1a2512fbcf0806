// The guard: what it asks, in which order, and that nothing stays taken when a later one refuses.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "adaptive/breaker.h"
#include "adaptive/shed_word.h"
#include "tests/unit/client/toolkit_host.h"
#include "weir/toolkit.hpp"

namespace weir::test {
namespace {

struct GuardTest : ::testing::Test {
  ToolkitHost host;
  weir_client* client = nullptr;
  weir_resource* api = nullptr;
  weir_limit* limit = nullptr;

  void SetUp() override {
    host.rule(kApi).concurrency.store(2);
    host.rule(kApi).breaker_consecutive.store(2);
    host.rule(kApi).breaker_probe_ns.store(3'600'000'000'000);
    host.publish(kApi, "api",
                 shm::kToolConcurrency | shm::kToolShed | shm::kToolBreaker | shm::kToolThrottle);
    client = host.client();
    ASSERT_NE(client, nullptr);
    ASSERT_EQ(weir_resource_get(client, "api", &api), WEIR_OK);
    weir_limit_options options{};
    options.struct_bytes = sizeof(options);
    options.mode = WEIR_MODE_LOCAL;
    options.amount = 3;
    options.period_ns = 3'600'000'000'000;
    options.burst = 3;
    ASSERT_EQ(weir_limit_get(client, "limit", &options, &limit), WEIR_OK);
  }
  void TearDown() override { weir_close(client); }
  std::uint64_t tokens() const {
    std::uint64_t left = 0;
    EXPECT_EQ(weir_peek(limit, &left), WEIR_OK);
    return left;
  }
  adaptive::BreakerState state() const {
    return adaptive::breaker_fields(host.view().counter(kApi).breaker.load()).state;
  }
  // An open breaker whose time is up: the next call may probe.
  void open_and_due() {
    host.view().counter(kApi).breaker.store(
        adaptive::breaker_word({.state = adaptive::BreakerState::open}));
  }
};

TEST_F(GuardTest, TakesEverythingAndGivesBackThePermit) {
  const std::uint64_t before = tokens();
  {
    Guard guard({.resource = api, .limit = limit});
    ASSERT_TRUE(guard) << guard.status().message();
    EXPECT_EQ(host.total(kApi), 1);
    EXPECT_EQ(tokens(), before - 1);
    guard.succeeded();
    EXPECT_EQ(host.total(kApi), 0);
    guard.failed();  // a second word does nothing
  }
  const shm::OutcomeTotals seen = shm::outcome_totals(host.view(), kApi);
  EXPECT_EQ(seen.asked[WEIR_CRITICAL], 1U);
  EXPECT_EQ(seen.succeeded, 1U);
  EXPECT_EQ(seen.failed, 0U);
  EXPECT_GT(seen.succeeded_ns, 0U);
}

TEST_F(GuardTest, ALimitThatRefusesGivesThePermitBack) {
  for (int i = 0; i < 3; ++i) {
    Guard guard({.resource = api, .limit = limit});
    EXPECT_TRUE(guard);
  }
  Guard guard({.resource = api, .limit = limit});
  EXPECT_EQ(guard.status(), WEIR_DENY);
  EXPECT_EQ(host.total(kApi), 0);
}

TEST_F(GuardTest, AFullBulkheadTakesNoToken) {
  Entry one(api), two(api);
  ASSERT_TRUE(one && two);
  const std::uint64_t before = tokens();
  Guard guard({.resource = api, .limit = limit});
  EXPECT_EQ(guard.status(), WEIR_DENY_FULL);
  EXPECT_EQ(tokens(), before);
  two.leave();
  EXPECT_TRUE(Guard({.resource = api}));
}

// A tenant's part is full: neither a permit of the whole nor a token is gone for it.
TEST_F(GuardTest, AFullTenantGivesThePermitBackAndTakesNoToken) {
  constexpr std::uint32_t kGold = 3;
  host.rule(kGold).concurrency.store(1);
  host.publish(kGold, "api/gold", shm::kToolConcurrency);
  weir_resource* gold = nullptr;
  ASSERT_EQ(weir_resource_get(client, "api/gold", &gold), WEIR_OK);
  Guard first({.resource = api, .limit = limit, .tenant = gold});
  ASSERT_TRUE(first);
  EXPECT_EQ(host.total(kGold), 1);
  const std::uint64_t before = tokens();

  Guard second({.resource = api, .limit = limit, .tenant = gold});
  EXPECT_EQ(second.status(), WEIR_DENY_FULL);
  EXPECT_EQ(host.total(kApi), 1);
  EXPECT_EQ(host.total(kGold), 1);
  EXPECT_EQ(tokens(), before);
  first.succeeded();
  EXPECT_EQ(host.total(kApi), 0);
  EXPECT_EQ(host.total(kGold), 0);

  while (weir_try_acquire(limit, 1) == WEIR_ALLOW) {
  }
  Guard empty({.resource = api, .limit = limit, .tenant = gold});
  EXPECT_EQ(empty.status(), WEIR_DENY);
  EXPECT_EQ(host.total(kApi), 0);
  EXPECT_EQ(host.total(kGold), 0);
}

// A program of an earlier version passes a shorter structure.
TEST_F(GuardTest, AnOlderCallersOptionsAskForNoTenant) {
  weir_guard_options options{};
  options.struct_bytes = offsetof(weir_guard_options, tenant);
  options.priority_class = WEIR_CRITICAL;
  options.resource = api;
  options.tenant = reinterpret_cast<weir_resource*>(1);  // not the library's to read
  weir_guard guard;
  EXPECT_EQ(weir_guard_begin(&options, &guard), WEIR_ALLOW);
  EXPECT_EQ(weir_guard_end(&guard, WEIR_DONE_OK), WEIR_OK);
  EXPECT_EQ(host.total(kApi), 0);
}

TEST_F(GuardTest, ASheddingHostTakesNoPermit) {
  host.rule(kApi).shed_limits.store(adaptive::pack_classes({1, 1, 1, 1}));
  Guard guard({.resource = api, .limit = limit});
  EXPECT_EQ(guard.status(), WEIR_DENY_SHED);
  EXPECT_EQ(host.total(kApi), 0);
}

TEST_F(GuardTest, AnOpenBreakerRefusesBeforeAnythingIsTaken) {
  host.view().counter(kApi).breaker.store(
      adaptive::breaker_force(0, adaptive::BreakerState::forced_open, 0));
  const std::uint64_t before = tokens();
  for (int i = 0; i < 100; ++i) {
    Guard guard({.resource = api, .limit = limit});
    EXPECT_EQ(guard.status(), WEIR_DENY_OPEN);
  }
  EXPECT_EQ(tokens(), before);
  EXPECT_EQ(host.total(kApi), 0);
  EXPECT_EQ(shm::outcome_totals(host.view(), kApi).broken, 100U);
}

TEST_F(GuardTest, TheProbeIsTakenLastAndNotByACallThatTheLimitRefuses) {
  while (weir_try_acquire(limit, 1) == WEIR_ALLOW) {
  }
  open_and_due();
  Guard refused({.resource = api, .limit = limit});
  EXPECT_EQ(refused.status(), WEIR_DENY);
  EXPECT_EQ(state(), adaptive::BreakerState::open) << "no probe was spent on it";
  Guard probe({.resource = api});
  EXPECT_TRUE(probe);
  EXPECT_EQ(state(), adaptive::BreakerState::probing);
  probe.succeeded();
  EXPECT_EQ(state(), adaptive::BreakerState::closed);
}

TEST_F(GuardTest, WhoLosesTheProbeGivesTokensAndPermitBack) {
  host.rule(kApi).concurrency.store(10);
  open_and_due();
  Guard probe({.resource = api});
  ASSERT_TRUE(probe);
  // Past the look, as if the other had taken the probe in between: the word is due, but the probe
  // is under way, and its time is not.
  Guard second({.resource = api, .limit = limit});
  EXPECT_EQ(second.status(), WEIR_DENY_OPEN);
  EXPECT_EQ(host.total(kApi), 1);
}

// Two look at an open breaker whose time is up, and both go on; one of them gets the probe. The
// other has permit and token already, and gives both back.
TEST_F(GuardTest, WhoIsTooLateForTheProbeKeepsNothing) {
  host.rule(kApi).concurrency.store(10);
  constexpr std::uint64_t kBurst = 10'000;  // and one an hour
  constexpr std::uint64_t kTokens = 5'000;
  weir_limit* wide = nullptr;
  weir_limit_options options{};
  options.struct_bytes = sizeof(options);
  options.mode = WEIR_MODE_LOCAL;
  options.amount = 1;
  options.period_ns = 3'600'000'000'000;
  options.burst = kBurst;
  ASSERT_EQ(weir_limit_get(client, "wide", &options, &wide), WEIR_OK);
  // Half full, so that there is room for what comes back: a full bucket takes nothing.
  const auto take_all = [wide] {
    std::uint64_t taken = 0;
    for (int denied = 0; denied < 20;)
      if (weir_try_acquire(wide, 1) == WEIR_ALLOW)
        ++taken;
      else
        ++denied, ::usleep(200);
    return taken;
  };
  (void)take_all();
  ASSERT_EQ(weir_refund(wide, kTokens), WEIR_OK);
  ASSERT_TRUE(eventually_true([wide] { return weir_try_acquire(wide, 1) == WEIR_ALLOW; }));
  constexpr int kRounds = 1500;
  std::atomic<int> go{0}, through{0}, done{0};
  std::atomic<int> late{0};
  const auto race = [&](int round) {
    while (go.load() != round) {
    }
    weir_guard_options ask{};
    ask.struct_bytes = sizeof(ask);
    ask.priority_class = WEIR_CRITICAL;
    ask.resource = api;
    ask.limit = wide;
    weir_guard guard;
    const weir_status status = weir_guard_begin(&ask, &guard);
    status == WEIR_ALLOW ? ++through : ++late;
    ++done;
    while (done.load() < 2 * round) {
    }
    (void)weir_guard_end(&guard, WEIR_DONE_IGNORED);
  };
  std::thread other([&] {
    for (int round = 1; round <= kRounds; ++round)
      race(round);
  });
  for (int round = 1; round <= kRounds; ++round) {
    open_and_due();
    go.store(round);
    race(round);
  }
  other.join();

  EXPECT_EQ(through.load() + late.load(), 2 * kRounds);
  // What was refunded is there once somebody has asked in vain.
  EXPECT_GE(take_all() + static_cast<std::uint64_t>(through.load()) + 1, kTokens);
  EXPECT_EQ(host.total(kApi), 0);
}

TEST_F(GuardTest, AGuardThatIsDroppedFreesTheProbe) {
  open_and_due();
  { Guard probe({.resource = api}); }
  EXPECT_EQ(state(), adaptive::BreakerState::open);
  // The look is at a clock that may be a tick behind.
  EXPECT_TRUE(eventually_true([&] { return static_cast<bool>(Guard({.resource = api})); }));
}

TEST_F(GuardTest, RefusesWhatCannotFinish) {
  const Deadline deadline = Deadline::after(1'000'000'000);
  // Whoever says nothing, or a day, gets what the agent's rules say.
  constexpr std::int64_t kS = 1'000'000'000;
  EXPECT_GT(weir_deadline_remaining(weir_deadline_for(api, 0)), 4 * kS);
  EXPECT_LE(weir_deadline_remaining(weir_deadline_for(api, 0)), 5 * kS);
  EXPECT_LE(weir_deadline_remaining(weir_deadline_for(nullptr, 3600 * kS)), 60 * kS);
  host.rule(kApi).deadline_default_ns.store(1 * kS);
  host.rule(kApi).deadline_max_ns.store(2 * kS);
  EXPECT_LE(Deadline::of(api, 0).remaining_ns(), 1 * kS);
  EXPECT_GT(Deadline::of(api, 0).remaining_ns(), 0);
  EXPECT_LE(Deadline::of(api, 3600 * kS).remaining_ns(), 2 * kS);
  EXPECT_EQ(Deadline::of(api, -1).remaining_ns(), 0);
  host.rule(kApi).deadline_default_ns.store(UINT64_MAX);
  host.rule(kApi).deadline_max_ns.store(UINT64_MAX);
  EXPECT_LE(Deadline::of(api, INT64_MAX).remaining_ns(), 24 * 3600 * kS);
  EXPECT_TRUE(Guard({.deadline_mono_ns = deadline.at_mono_ns(), .expected_ns = 1000}));
  Guard late(
      {.resource = api, .deadline_mono_ns = deadline.at_mono_ns(), .expected_ns = 10'000'000'000});
  EXPECT_EQ(late.status(), WEIR_DENY_DEADLINE);
  EXPECT_EQ(Guard({.deadline_mono_ns = 1, .expected_ns = 0}).status(), WEIR_DENY_DEADLINE);
  EXPECT_EQ(Guard({.deadline_mono_ns = deadline.at_mono_ns(), .expected_ns = UINT64_MAX}).status(),
            WEIR_DENY_DEADLINE);
}

TEST_F(GuardTest, AMovedGuardLeavesOnce) {
  host.rule(kApi).concurrency.store(10);
  Guard one({.resource = api});
  Guard two(std::move(one));
  EXPECT_TRUE(two);
  Guard three({.resource = api});
  EXPECT_EQ(host.total(kApi), 2);
  three = std::move(two);
  EXPECT_EQ(host.total(kApi), 1);
  three.succeeded();
  EXPECT_EQ(host.total(kApi), 0);
  Entry permit(api);
  Entry other(std::move(permit));
  EXPECT_EQ(host.total(kApi), 1);
  permit = std::move(other);
  EXPECT_EQ(host.total(kApi), 1);
}

TEST_F(GuardTest, TellsBalancersItsLoad) {
  host.rule(kApi).requests_per_s_milli.store(1'500'000);
  host.rule(kApi).errors_per_s_milli.store(2'500);
  host.rule(kApi).shed_permille.store(500);
  host.rule(kApi).figures_mono_ns.store(1);
  Entry permit(api);
  weir_load load{};
  load.struct_bytes = sizeof(load);
  ASSERT_EQ(weir_load_read(api, &load), WEIR_OK);
  EXPECT_EQ(load.in_flight, 1.0);
  EXPECT_EQ(load.limit, 2.0);
  EXPECT_EQ(load.requests_per_second, 1500.0);
  EXPECT_EQ(load.shed_share, 0.5);
  EXPECT_LT(load.cpu_utilization, 0.0) << "never sampled is unknown";
  EXPECT_EQ(load.utilization, 2.0) << "a host that sheds half is twice full";
  char text[256];
  std::size_t needed = 0;
  ASSERT_EQ(weir_orca(api, WEIR_ORCA_TEXT, text, sizeof(text), &needed), WEIR_OK);
  EXPECT_EQ(std::string(text),
            "TEXT application_utilization=2, rps_fractional=1500, eps=2.5, "
            "named_metrics.in_flight=1, named_metrics.limit=2, named_metrics.shed_share=0.5");
  EXPECT_EQ(needed, std::strlen(text) + 1);
  EXPECT_EQ(weir_orca(api, WEIR_ORCA_JSON, text, 5, &needed), WEIR_E_TOO_LARGE);
  EXPECT_EQ(weir_orca(api, 7, text, sizeof(text), nullptr), WEIR_E_INVALID);
  host.freeze();
  ASSERT_EQ(weir_load_read(api, &load), WEIR_OK);
  EXPECT_LT(load.requests_per_second, 0.0) << "figures of an agent that stopped are not known";
  host.thaw();
}

TEST_F(GuardTest, RefusesNonsense) {
  weir_guard guard{};
  weir_guard_options options{};
  EXPECT_EQ(weir_guard_begin(nullptr, &guard), WEIR_E_INVALID);
  EXPECT_EQ(weir_guard_begin(&options, &guard), WEIR_E_INVALID) << "struct_bytes is 0";
  options.struct_bytes = sizeof(options);
  EXPECT_EQ(weir_guard_begin(&options, nullptr), WEIR_E_INVALID);
  options.priority_class = 9;
  EXPECT_EQ(weir_guard_begin(&options, &guard), WEIR_E_INVALID);
  EXPECT_EQ(weir_guard_end(&guard, WEIR_DONE_OK), WEIR_OK);
  EXPECT_EQ(weir_guard_end(&guard, 9), WEIR_E_INVALID);
  EXPECT_EQ(weir_guard_end(nullptr, WEIR_DONE_OK), WEIR_E_INVALID);
}

}  // namespace
}  // namespace weir::test
