// A thread may be stopped between its look at a limit and its permit. What the limit was lowered by
// meanwhile is another host's when the agent has said so, and the agent says so after one look at
// the total.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "libclient/room.h"

using namespace weir;
using client::raise_total;
using client::Room;

TEST(Room, ALimitThatWasLoweredMeanwhileIsSeenBeforeAnybodyIsLetIn) {
  shm::ResourceRule rule{};
  shm::S64 total{2};
  rule.concurrency = 10;
  std::int64_t confirmed = -1;

  const bool entered = raise_total(total, Room{&rule, 0}, [&] {
    rule.concurrency = 2;
    confirmed = total.load();
  });

  EXPECT_EQ(confirmed, 2);
  EXPECT_FALSE(entered);
  EXPECT_EQ(total.load(), 2);
}

TEST(Room, NoPermitAtAllIsOneThatEveryClassLeaves) {
  shm::ResourceRule rule{};
  shm::S64 total{0};
  rule.concurrency = 1;
  for (auto& reserve : rule.class_reserve)
    reserve = 1;

  for (std::int32_t each = 0; each < 4; ++each)
    EXPECT_FALSE(raise_total(total, Room{&rule, each}));
  EXPECT_EQ(total.load(), 0);
}

// As the agent and clients race in earnest: what the agent confirmed to be the most is the most.
TEST(Room, WhatTheAgentConfirmsHoldsUnderARace) {
  constexpr int kRounds = 2'000;
  for (int round = 0; round < kRounds; ++round) {
    shm::ResourceRule rule{};
    shm::S64 total{0};
    rule.concurrency = 2;
    std::atomic<int> ready{0};
    std::atomic<int> inside{0};
    const auto client = [&] {
      ++ready;
      while (ready.load() < 3) {
      }
      if (raise_total(total, Room{&rule, 0})) ++inside;
    };
    std::thread one(client), two(client);
    ++ready;
    while (ready.load() < 3) {
    }
    rule.concurrency.store(1);
    const std::int64_t most = std::max<std::int64_t>(1, total.load());
    one.join();
    two.join();
    ASSERT_LE(inside.load(), most) << round;
  }
}
