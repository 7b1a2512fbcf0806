// Without an agent a limit does what the program asked for: open, closed, or a bucket of its own.
// Time is real here; nothing sleeps for it, and bounds are taken from the clock around the calls.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "shm/clock.h"
#include "tests/unit/client/lone_client.h"

namespace weir::client_test {
namespace {

using shm::read_mono_ns;

TEST(Lone, OpenLetsEverythingThrough) {
  const LoneClient client;
  weir_limit* limit = client.in_mode("open", WEIR_MODE_OPEN);
  std::uint64_t wait_ns = 1;

  for (int i = 0; i < 1000; ++i)
    ASSERT_EQ(weir_try_acquire(limit, UINT32_MAX), WEIR_ALLOW);
  EXPECT_EQ(weir_try_acquire_class(limit, 1, WEIR_SHEDDABLE), WEIR_ALLOW);
  EXPECT_EQ(weir_acquire(limit, UINT32_MAX, 0, &wait_ns), WEIR_ALLOW);
  EXPECT_EQ(wait_ns, 0U);
  EXPECT_EQ(weir_retry_after(limit, UINT32_MAX, &wait_ns), WEIR_OK);
  EXPECT_EQ(wait_ns, 0U);
}

TEST(Lone, NoOptionsMeanOpenAndAnAmountMeansLocal) {
  const LoneClient client;
  weir_limit_options amount{};
  amount.struct_bytes = sizeof(amount);
  amount.amount = 1;
  amount.period_ns = kHourNs;

  EXPECT_EQ(weir_try_acquire(client.limit("none"), 100), WEIR_ALLOW);
  weir_limit* local = client.limit("amount", &amount);
  EXPECT_EQ(weir_try_acquire(local, 1), WEIR_ALLOW);
  EXPECT_EQ(weir_try_acquire(local, 1), WEIR_DENY);
}

TEST(Lone, ClosedLetsNothingThrough) {
  const LoneClient client;
  weir_limit* limit = client.in_mode("closed", WEIR_MODE_CLOSED);
  std::uint64_t wait_ns = 0;

  for (int i = 0; i < 100; ++i)
    ASSERT_EQ(weir_try_acquire(limit, 1), WEIR_DENY);
  EXPECT_EQ(weir_try_acquire_class(limit, 1, WEIR_CRITICAL_PLUS), WEIR_DENY);
  EXPECT_EQ(weir_acquire(limit, 1, 1'000'000'000, &wait_ns), WEIR_DENY);
  EXPECT_EQ(wait_ns, UINT64_MAX);
}

TEST(Lone, LocalGivesItsBurstAndNoMore) {
  const LoneClient client;
  weir_limit* limit = client.slow("local", 5);
  std::uint64_t left = 0;

  EXPECT_EQ(weir_try_acquire(limit, 6), WEIR_DENY);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(weir_try_acquire(limit, 1), WEIR_ALLOW) << i;
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(weir_try_acquire(limit, 1), WEIR_DENY) << i;
  EXPECT_EQ(weir_peek(limit, &left), WEIR_OK);
  EXPECT_EQ(left, 0U);
}

TEST(Lone, LocalNeverExceedsBurstPlusRateTimesTime) {
  constexpr std::uint64_t kRate = 20'000, kBurst = 50;
  constexpr std::int64_t kRunNs = 60'000'000;
  const LoneClient client;
  const std::int64_t began_ns = read_mono_ns();
  weir_limit* limit = client.local("rate", kRate, 1'000'000'000, kBurst);
  std::atomic<std::uint64_t> admitted{0};

  const auto spend = [&] {
    while (read_mono_ns() - began_ns < kRunNs)
      if (weir_try_acquire(limit, 1) == WEIR_ALLOW) admitted.fetch_add(1);
  };
  std::thread other(spend);
  spend();
  other.join();
  const auto ran_ns = static_cast<std::uint64_t>(read_mono_ns() - began_ns);

  EXPECT_LE(admitted.load(), kBurst + kRate * ran_ns / 1'000'000'000);
  EXPECT_GT(admitted.load(), kBurst) << "nothing was minted";
}

TEST(Lone, LocalsWaitIsAnsweredAtOnceWhenItIsTooLong) {
  const LoneClient client;
  weir_limit* limit = client.local("wait", 1, kHourNs, 1);
  ASSERT_EQ(weir_try_acquire(limit, 1), WEIR_ALLOW);
  std::uint64_t wait_ns = 0;
  const std::int64_t began_ns = read_mono_ns();

  EXPECT_EQ(weir_acquire(limit, 1, kHourNs / 2, &wait_ns), WEIR_DENY);

  EXPECT_LT(read_mono_ns() - began_ns, 60'000'000'000) << "it waited";
  EXPECT_GT(wait_ns, kHourNs / 2);
  EXPECT_LE(wait_ns, kHourNs);
  EXPECT_EQ(weir_acquire(limit, 2, kHourNs, &wait_ns), WEIR_E_TOO_LARGE);
  EXPECT_EQ(weir_retry_after(limit, 2, &wait_ns), WEIR_E_TOO_LARGE);
}

TEST(Lone, LocalsAcquireComesBackWithTheTokenAndItsWait) {
  const LoneClient client;
  weir_limit* limit = client.local("wait", 200, 1'000'000'000, 1);
  ASSERT_EQ(weir_try_acquire(limit, 1), WEIR_ALLOW);
  std::uint64_t wait_ns = 0;
  const std::int64_t began_ns = read_mono_ns();

  EXPECT_EQ(weir_acquire(limit, 1, 10'000'000'000, &wait_ns), WEIR_ALLOW);

  EXPECT_LE(wait_ns, static_cast<std::uint64_t>(read_mono_ns() - began_ns));
}

TEST(Lone, AWaitIsPolledToItsEndOrCancelled) {
  const LoneClient client;
  weir_limit* limit = client.local("poll", 200, 1'000'000'000, 1);
  ASSERT_EQ(weir_try_acquire(limit, 1), WEIR_ALLOW);
  weir_wait wait;
  std::uint64_t after_ns = 0;

  weir_status status = weir_wait_begin(limit, 1, WEIR_CRITICAL, 10'000'000'000, &wait, &after_ns);
  while (status == WEIR_PENDING)
    status = weir_wait_poll(&wait, &after_ns);
  EXPECT_EQ(status, WEIR_ALLOW);
  EXPECT_EQ(weir_wait_poll(&wait, &after_ns), WEIR_ALLOW) << "a finished wait changed its mind";
  weir_wait_cancel(&wait);

  weir_limit* dry = client.slow("dry", 1);
  ASSERT_EQ(weir_try_acquire(dry, 1), WEIR_ALLOW);
  status = weir_wait_begin(dry, 1, WEIR_CRITICAL, UINT64_MAX, &wait, &after_ns);
  EXPECT_EQ(status, WEIR_PENDING);
  EXPECT_GT(after_ns, 0U);
  weir_wait_cancel(&wait);
  weir_wait_cancel(&wait);
  EXPECT_EQ(weir_wait_poll(&wait, &after_ns), WEIR_DENY);
}

TEST(Lone, RefundsComeBackWithTheNextMint) {
  const LoneClient client;
  weir_limit* limit = client.slow("refund", 4);
  ASSERT_EQ(weir_try_acquire(limit, 4), WEIR_ALLOW);
  // A refund fills the room that the last mint saw. Refused calls mint, at most every 0.25 ms.
  for (const std::int64_t until_ns = read_mono_ns() + 1'000'000; read_mono_ns() < until_ns;)
    ASSERT_EQ(weir_try_acquire(limit, 1), WEIR_DENY);
  ASSERT_EQ(weir_try_acquire(limit, 1), WEIR_DENY);
  ASSERT_EQ(weir_refund(limit, 2), WEIR_OK);
  const std::int64_t until_ns = read_mono_ns() + 10'000'000'000;

  int admitted = 0;
  while (admitted < 2 && read_mono_ns() < until_ns)
    admitted += weir_try_acquire(limit, 1) == WEIR_ALLOW ? 1 : 0;

  EXPECT_EQ(admitted, 2);
  EXPECT_EQ(weir_try_acquire(limit, 1), WEIR_DENY);
}

TEST(Lone, DrainTakesWhatIsThere) {
  const LoneClient client;
  weir_limit* limit = client.slow("drain", 9);
  std::uint64_t taken = 0;
  ASSERT_EQ(weir_try_acquire(limit, 2), WEIR_ALLOW);

  EXPECT_EQ(weir_drain(limit, &taken), WEIR_OK);
  EXPECT_EQ(taken, 7U);
  EXPECT_EQ(weir_drain(limit, nullptr), WEIR_OK);
  EXPECT_EQ(weir_try_acquire(limit, 1), WEIR_DENY);
}

TEST(Lone, RefusalsAreCounted) {
  const LoneClient client;
  weir_limit* limit = client.in_mode("closed", WEIR_MODE_CLOSED);
  for (int i = 0; i < 12; ++i)
    ASSERT_EQ(weir_try_acquire(limit, 1), WEIR_DENY);
  weir_limit_info info{};
  info.struct_bytes = sizeof(info);

  ASSERT_EQ(weir_limit_read(limit, &info), WEIR_OK);

  EXPECT_EQ(info.refused_total, 12U);
}

TEST(Lone, StateSaysThatThereIsNoAgent) {
  const LoneClient client;

  EXPECT_EQ(weir_client_state(client.get()), WEIR_E_NO_AGENT);
  EXPECT_EQ(weir_attach(client.get(), 0), WEIR_E_NO_AGENT);
}

TEST(Lone, ManyThreadsSpendOneBucketOnce) {
  constexpr std::uint64_t kBurst = 10'000;
  const LoneClient client;
  weir_limit* limit = client.slow("threads", kBurst);
  std::atomic<std::uint64_t> admitted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5'000; ++i) {
        const std::uint32_t n = t % 2 == 0 ? 1 : 3;
        if (weir_try_acquire(limit, n) == WEIR_ALLOW) admitted.fetch_add(n);
      }
    });
  for (std::thread& thread : threads)
    thread.join();

  EXPECT_LE(admitted.load(), kBurst);
  EXPECT_GE(admitted.load(), kBurst - 2);
}

}  // namespace
}  // namespace weir::client_test
