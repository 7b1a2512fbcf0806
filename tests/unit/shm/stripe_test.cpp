// Stripes under forced migration. Threads over one mapping stand for processes: the sequence
// knows CPUs, not address spaces.
#include "shm/stripe.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace weir::shm {
namespace {

bool have_rseq() { return kRseqAvailable && rseq_area_offset() != 0; }

TEST(Stripe, WithoutAnAreaTheCentralWordServes) {
  StripeCell cell{};
  cell.granted = 10;
  EXPECT_FALSE(take_from_stripe(0, &cell, 1, 1));
}

// The CPU's number is compared, never masked: a CPU without a stripe gets nothing from another's.
TEST(Stripe, ACpuBeyondTheStripesGetsNothing) {
  if (!have_rseq()) GTEST_SKIP() << "no restartable sequences here";
  StripeCell cell{};
  cell.granted = 1000;
  EXPECT_FALSE(take_from_stripe(rseq_area_offset(), &cell, 0, 1));
  EXPECT_EQ(cell.taken.load(), 0U);
}

TEST(Stripe, ARequestThatWrapsIsRefused) {
  if (!have_rseq()) GTEST_SKIP() << "no restartable sequences here";
  auto cells = std::make_unique<StripeCell[]>(kCpusMax);
  for (std::uint32_t i = 0; i < kCpusMax; ++i)
    cells[i].taken = cells[i].granted = UINT64_MAX - 2;
  EXPECT_FALSE(take_from_stripe(rseq_area_offset(), cells.get(), kCpusMax, 100));
}

TEST(Stripe, AdmitsExactlyWhatWasGrantedWhileThreadsMigrate) {
  if (!have_rseq()) GTEST_SKIP() << "no restartable sequences here";
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer does not see the sequence's stores";
#endif
  constexpr std::uint64_t kEach = 200'000;
  const auto cpus = static_cast<std::uint32_t>(std::thread::hardware_concurrency());
  auto cells = std::make_unique<StripeCell[]>(kCpusMax);
  auto lanes = std::make_unique<A64[]>(16 * (cpus + 1));
  for (std::uint32_t i = 0; i < cpus; ++i)
    cells[i].granted = kEach;
  std::atomic<std::uint64_t> admitted{0}, counted{0};
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      const std::ptrdiff_t area = rseq_area_offset();
      std::uint64_t mine = 0, calls = 0;
      for (std::uint64_t i = 0; i < kEach; ++i) {
        if (i % 4096 == 0) {
          cpu_set_t one;
          CPU_ZERO(&one);
          CPU_SET((t + i / 4096) % cpus, &one);
          ::sched_setaffinity(0, sizeof(one), &one);
        }
        mine += take_from_stripe(area, cells.get(), cpus, 1) ? 1 : 0;
        count_on_lane(area, lanes.get(), 128, cpus);
        ++calls;
      }
      admitted += mine;
      counted += calls;
    });
  for (std::thread& t : threads)
    t.join();
  std::uint64_t taken = 0, lane_sum = 0;
  for (std::uint32_t i = 0; i < cpus; ++i) {
    taken += cells[i].taken;
    EXPECT_LE(cells[i].taken.load(), cells[i].granted.load());
  }
  for (std::uint32_t i = 0; i <= cpus; ++i)
    lane_sum += lanes[16 * i];
  EXPECT_EQ(admitted.load(), taken);
  EXPECT_EQ(lane_sum, counted.load());
}

}  // namespace
}  // namespace weir::shm
