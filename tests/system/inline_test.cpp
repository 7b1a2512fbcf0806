// What weir.h compiles into programs, and the license under which it refuses: built once as it is
// and once with WEIR_NO_INLINE, so that both ways keep the same promises.
//
// Tried by hand, each fails: a license that is not compared with the heartbeat; one that never
// sends every 256th refusal to the library; one that is given for striped limits; a lane that is
// counted on twice when that call comes; a CPU that takes from another one's stripe.
#include <sched.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/support/fixture.h"

namespace weir::test {
namespace {

constexpr char kDry[] = "name: /t, rate: 1/d, burst: 1, stripes: off";
// More than enough for a license, and not a multiple of anything.
constexpr int kMany = 100'003;

struct Inline : ::testing::Test {
  void start(const std::string& rule) {
    agent = std::make_unique<Agent>(AgentOptions{.rules = rules_of({rule})});
    ASSERT_TRUE(agent->start());
    client = std::make_unique<Client>(agent->socket());
    limit = client->limit("/t");
    ASSERT_NE(limit, nullptr);
  }
  // How many of so many calls were refused.
  int refusals(int calls) const {
    int refused = 0;
    for (int i = 0; i < calls; ++i)
      refused += weir_try_acquire(limit, 1) == WEIR_DENY ? 1 : 0;
    return refused;
  }
  bool admitted() const { return weir_try_acquire(limit, 1) == WEIR_ALLOW; }
  std::unique_ptr<Agent> agent;
  std::unique_ptr<Client> client;
  weir_limit* limit = nullptr;
};

TEST_F(Inline, EveryRefusalIsCountedOnce) {
  start(kDry);
  ASSERT_TRUE(admitted());
  constexpr int kThreads = 4;
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] { refused += refusals(kMany); });
  for (std::thread& each : threads)
    each.join();

  EXPECT_EQ(refused.load(), kThreads * kMany);
  EXPECT_EQ(info_of(limit).refused_total, std::uint64_t{kThreads} * kMany);
}

TEST_F(Inline, NothingMoreThanTheBucketIsAdmitted) {
  start("name: /t, rate: 1/d, burst: 5000, stripes: off");
  constexpr int kThreads = 4;
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] { refused += refusals(kMany); });
  for (std::thread& each : threads)
    each.join();

  EXPECT_EQ(kThreads * kMany - refused.load(), 5000);
}

TEST_F(Inline, StripesGiveNoMoreThanTheBucket) {
  start("name: /t, rate: 1/d, burst: 100000, stripes: on");
  constexpr int kThreads = 4;
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] { refused += refusals(kMany); });
  for (std::thread& each : threads)
    each.join();

  const int admitted = kThreads * kMany - refused.load();
  EXPECT_LE(admitted, 100'000);
  // Two CPUs that take from one stripe lose each other's counts: more is admitted than is gone.
  std::uint64_t left = 0;
  EXPECT_TRUE(eventually(
      [&] {
        (void)weir_peek(limit, &left);
        return left + static_cast<std::uint64_t>(admitted) == 100'000;
      },
      5000))
      << admitted << " admitted, " << left << " left";
}

TEST_F(Inline, NoTokensAndNoLimitAreInvalid) {
  start(kDry);
  EXPECT_EQ(weir_try_acquire(limit, 0), WEIR_E_INVALID);
  EXPECT_EQ(weir_try_acquire(nullptr, 1), WEIR_E_INVALID);
  EXPECT_EQ(weir_try_acquire(nullptr, 2), WEIR_E_INVALID);
}

TEST_F(Inline, TokensThatComeAreSeenByWhoeverWasRefused) {
  start("name: /t, rate: 100/s, burst: 1, stripes: off");
  for (int i = 0; i < 20; ++i)
    EXPECT_TRUE(eventually([&] { return refusals(kMany) < kMany; })) << i;
}

TEST_F(Inline, ANewRuleIsSeenByWhoeverWasRefused) {
  start(kDry);
  ASSERT_TRUE(admitted());
  ASSERT_EQ(refusals(kMany), kMany);

  ASSERT_TRUE(
      agent->apply(rules_of({"name: /t, rate: 1000/s, burst: 1000, stripes: off"})).applied());
  EXPECT_TRUE(eventually([&] { return admitted(); }));

  ASSERT_TRUE(agent->apply(rules_of({"name: /other, rate: 1/d, burst: 1"})).applied());
  EXPECT_TRUE(eventually([&] { return !admitted() && info_of(limit).shared == 0; }))
      << "the limit is gone, and closed is what the code asked for";
}

TEST_F(Inline, AReserveIsThatOfTheRulesInForce) {
  start("name: /t, rate: 1/d, burst: 100, stripes: off, priority: {sheddable: 99%}");
  ASSERT_EQ(weir_try_acquire(limit, 2), WEIR_ALLOW);
  ASSERT_EQ(weir_try_acquire_class(limit, 1, WEIR_SHEDDABLE), WEIR_DENY);
  ASSERT_EQ(weir_try_acquire_class(limit, 1, WEIR_SHEDDABLE), WEIR_DENY);

  ASSERT_TRUE(agent
                  ->apply(rules_of({"name: /t, rate: 1/d, burst: 100, stripes: off, "
                                    "priority: {sheddable: 50%}"}))
                  .applied());

  EXPECT_EQ(weir_try_acquire_class(limit, 49, WEIR_SHEDDABLE), WEIR_DENY);
  EXPECT_EQ(weir_try_acquire_class(limit, 48, WEIR_SHEDDABLE), WEIR_ALLOW);
  EXPECT_EQ(weir_try_acquire_class(limit, 1, WEIR_CRITICAL_PLUS), WEIR_ALLOW);
  EXPECT_EQ(weir_try_acquire_class(limit, 1, WEIR_SHEDDABLE), WEIR_DENY);
}

TEST_F(Inline, AnAgentThatDiesUnderRefusalsIsNoticed) {
  start("name: /t, rate: 1000/s, burst: 1, stripes: off, fallback: open");
  (void)eventually([&] { return refusals(kMany) > 0; });
  agent->kill9();
  const auto beat_stopped = [&] { return info_of(limit).agent_alive == 0; };
  ASSERT_TRUE(eventually([&] {
    (void)refusals(1000);
    return beat_stopped();
  }));

  // From here on nothing is minted but by those who noticed: a refusal that trusts the last
  // heartbeat for ever never ends.
  for (int i = 0; i < 5; ++i)
    EXPECT_TRUE(eventually([&] { return refusals(1000) < 1000; })) << i;
}

#ifdef WEIR_INLINE

// The words behind the handle, as a program sees them.
const weir_limit_head& head_of(weir_limit* limit) {
  return *reinterpret_cast<const weir_limit_head*>(limit);
}

TEST_F(Inline, TheHeadIsWhereProgramsWereBuiltToFindIt) {
  static_assert(offsetof(weir_limit_head, expected) == 0);
  static_assert(offsetof(weir_limit_head, hot) == 8);
  static_assert(offsetof(weir_limit_head, bucket) == 16);
  static_assert(offsetof(weir_limit_head, stripes) == 24);
  static_assert(offsetof(weir_limit_head, stripe_cpus) == 32);
  static_assert(offsetof(weir_limit_head, form) == 36);
  static_assert(offsetof(weir_limit_head, dry_beat) == 40);
  static_assert(offsetof(weir_limit_head, beat) == 48);
  static_assert(offsetof(weir_limit_head, lanes) == 128);
  static_assert(sizeof(weir_limit_head) == 128 + 8 * 256);
  start(kDry);
  EXPECT_EQ(head_of(limit).form, 1U);
  EXPECT_EQ(*head_of(limit).hot, head_of(limit).expected);
}

TEST_F(Inline, ALicenseIsGivenForWhatIsDryAndNotStriped) {
  start(kDry);
  EXPECT_EQ(head_of(limit).dry_beat, 0U);
  ASSERT_TRUE(admitted());
  EXPECT_EQ(refusals(8), 8);
  if (head_of(limit).lanes[0] == nullptr) GTEST_SKIP() << "no restartable sequences here";
  EXPECT_TRUE(eventually([&] {
    (void)refusals(100);
    return head_of(limit).dry_beat != 0;
  })) << "the program never refuses by itself";
}

TEST_F(Inline, NoLicenseIsGivenForStripes) {
  start("name: /t, rate: 1/d, burst: 1000, stripes: on");
  EXPECT_TRUE(eventually([&] { return refusals(1000) == 1000; }));
  (void)refusals(kMany);
  EXPECT_EQ(head_of(limit).dry_beat, 0U);
}

// A CPU that has no stripe takes from none: a number that is cut down to fit would be another
// CPU's, whose sequence does not end when this one writes.
TEST_F(Inline, ACpuWithoutAStripeTakesFromNoOther) {
  start("name: /t, rate: 1/d, burst: 100000, stripes: on");
  ASSERT_TRUE(eventually([&] { return admitted() && head_of(limit).stripe_cpus >= 1; }));
  cpu_set_t second;
  CPU_ZERO(&second);
  CPU_SET(1, &second);
  if (::sched_setaffinity(0, sizeof(second), &second) != 0) GTEST_SKIP() << "there is no CPU 1";

  // As if the segments were made for a host of one CPU, and its stripe had tokens.
  weir_word* const taken = head_of(limit).stripes;
  weir_word* const granted = taken + 1;
  const_cast<weir_limit_head&>(head_of(limit)).stripe_cpus = 1;
  const std::uint64_t before = __atomic_load_n(taken, __ATOMIC_RELAXED);
  __atomic_store_n(granted, before + 1000, __ATOMIC_RELAXED);
  for (int i = 0; i < 100; ++i)
    (void)weir_try_acquire(limit, 1);
  EXPECT_EQ(__atomic_load_n(taken, __ATOMIC_RELAXED), before) << "taken from another's stripe";
}

// A thread that is stopped for ever by its agent's silence must not go on refusing by itself.
TEST_F(Inline, ALicenseEndsWithASilentAgent) {
  start(kDry);
  ASSERT_TRUE(admitted());
  ASSERT_EQ(refusals(kMany), kMany);
  agent->freeze();
  EXPECT_TRUE(eventually([&] {
    (void)refusals(1000);
    return head_of(limit).dry_beat == 0;
  }));
  agent->thaw();
}

#endif

}  // namespace
}  // namespace weir::test
