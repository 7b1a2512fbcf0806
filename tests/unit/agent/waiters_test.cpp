// Waiting in turn, with cells as clients leave them.
#include "agent/mint/waiters.h"

#include <gtest/gtest.h>

#include "tests/unit/agent/plain_domain.h"
#include "tests/unit/shm/oracle.h"

namespace weir::agent {
namespace {

using shm::Algorithm;
using shm::WaiterState;
using test::kMs;
using test::kSecond;

class Waiters : public testing::Test {
 protected:
  Waiters() { d.add(0, test::terms(Algorithm::token_bucket, 1000, kSecond, 100), 0); }

  // What libweir writes before it sends its frame.
  void wait(std::uint32_t cell, std::uint64_t tokens, std::uint32_t sequence = 1,
            std::uint32_t limit = 0, std::uint32_t priority = 1) {
    shm::WaiterCell& c = d.counters.waiter(cell);
    c.limit_index = limit;
    c.limit_generation = 1;
    c.priority_class = priority;
    c.tokens = tokens;
    c.state = shm::waiter_word(sequence, WaiterState::waiting);
    d.minter->enqueue(cell / 16, cell, sequence);
  }
  bool granted(std::uint32_t cell, std::uint32_t sequence = 1) {
    return d.counters.waiter(cell).state.load() == shm::waiter_word(sequence, WaiterState::granted);
  }
  void run(std::int64_t ms) {
    for (std::int64_t i = 0; i < ms; ++i) {
      d.now += kMs;
      d.minter->tick();
    }
  }
  test::PlainDomain d;
};

TEST_F(Waiters, AreServedInTheOrderInWhichTheyCame) {
  wait(5, 10);
  wait(3, 1);
  wait(20, 5);
  run(10);
  EXPECT_TRUE(granted(5));
  EXPECT_FALSE(granted(3)) << "a small one behind a large one waits its turn";
  run(1);
  EXPECT_TRUE(granted(3));
  EXPECT_FALSE(granted(20));
  run(5);
  EXPECT_TRUE(granted(20));
}

TEST_F(Waiters, ComeBeforeThoseWhoOnlyTry) {
  wait(1, 50);
  for (int i = 0; i < 49; ++i) {
    run(1);
    EXPECT_EQ(d.take_all(0), 0U);
  }
  run(1);
  EXPECT_TRUE(granted(1));
  run(8);
  std::uint64_t taken = d.take_all(0);  // the first that is refused rings
  run(1);
  taken += d.take_all(0);
  EXPECT_GE(taken, 5U);
}

// A shared ticket counter stops at the first waiter that dies. Here it is passed over.
TEST_F(Waiters, OneThatDiedOrGaveUpHoldsNobodyUp) {
  wait(1, 10);
  wait(17, 10);
  wait(33, 5);
  d.counters.waiter(1).state = shm::waiter_word(1, WaiterState::cancelled);
  d.minter->forget_client(1, 16, 16);  // killed: its connection ended
  run(5);
  EXPECT_TRUE(granted(33));
}

TEST_F(Waiters, TokensPutByForTheDeadGoToTheLiving) {
  wait(1, 100);
  run(60);
  EXPECT_EQ(d.take_all(0), 0U);
  d.minter->forget_client(0, 0, 16);
  d.minter->tick();
  EXPECT_EQ(d.take_all(0), 60U);
  EXPECT_EQ(d.rules.live(0).owed.load(), 0U);
}

// A client minted while the agent was stopped. It could not see what was put by, so that is gone;
// otherwise it would come on top of a bucket that was filled without it.
TEST_F(Waiters, WhatWasPutByIsLostWhenSomebodyElseMinted) {
  wait(1, 80);
  run(50);
  shm::CounterSlot& slot = d.counters.slot(0);
  for (const int stopped_ms : {300, 100}) {
    d.now += stopped_ms * kMs;
    d.counters.header().office = shm::encode_office(77, d.now + 5 * kMs);
    finish_mint(slot, mint(
                          slot, d.minter->limit(0).terms, [] { return std::uint64_t{0}; }, 0,
                          [&] { return d.now; }));
  }
  d.now += 6 * kMs;
  weir::test::RateOracle oracle(100, 1000, kSecond);
  bool served = false;
  oracle.admit(d.now, d.take_all(0));
  for (int i = 0; i < 100; ++i) {
    d.minter->tick();
    if (granted(1) && !served) oracle.admit(d.now, 80);
    served = granted(1);
    oracle.admit(d.now, d.take_all(0));
    d.now += kMs;
  }
  EXPECT_TRUE(served);
  EXPECT_FALSE(oracle.broken()) << oracle.excess();
}

// A cell that was cancelled and used again must not get what its earlier wait was owed.
TEST_F(Waiters, AnAnswerNeverMeetsTheCellsNextWait) {
  wait(1, 10, 1);
  d.counters.waiter(1).state = shm::waiter_word(2, WaiterState::waiting);  // a new wait, not sent
  run(20);
  EXPECT_FALSE(granted(1, 2));
}

TEST_F(Waiters, WhoWantsMoreThanTheBucketHoldsIsNotQueued) {
  wait(1, 101);
  EXPECT_EQ(d.minter->waiting(), 0U);
  wait(2, 0);
  wait(3, 5, 1, 99);
  wait(63, 5, 1, 3);
  d.minter->enqueue(0, 1'000'000, 1);
  EXPECT_EQ(d.minter->waiting(), 0U);
}

TEST_F(Waiters, ALowClassLeavesItsReserveInTheBucket) {
  d.minter->limit(0).reserve[3] = 20;
  wait(1, 5, 1, 0, 3);
  run(20);
  EXPECT_FALSE(granted(1));
  run(6);
  EXPECT_TRUE(granted(1));
  EXPECT_GE(d.take_all(0), 19U) << "what was left for the classes above is in the bucket";
}

TEST_F(Waiters, AtMostFourAreWokenInATick) {
  for (std::uint32_t i = 0; i < 16; ++i)
    wait(i, 1);
  d.now += 50 * kMs;
  d.minter->tick();
  std::uint32_t woken = 0;
  for (std::uint32_t i = 0; i < 16; ++i)
    woken += granted(i) ? 1 : 0;
  EXPECT_EQ(woken, kWakesPerTickMax);
  run(3);
  for (std::uint32_t i = 0; i < 16; ++i)
    EXPECT_TRUE(granted(i)) << i;
}

TEST_F(Waiters, ServingThemKeepsTheBound) {
  std::uint64_t admitted = 0;
  std::uint32_t sequence = 1;
  for (int i = 0; i < 5000; ++i) {
    for (std::uint32_t c = 0; c < 4; ++c) {
      const std::uint32_t state = d.counters.waiter(c).state.load() & 3;
      if (state == static_cast<std::uint32_t>(WaiterState::granted)) {
        admitted += d.counters.waiter(c).tokens.load();
        d.counters.waiter(c).state = 0;
      } else if (state == 0) {
        wait(c, 1 + static_cast<std::uint64_t>(i) % 40, ++sequence);
      }
    }
    admitted += d.take_all(0);
    run(1);
  }
  EXPECT_LE(admitted, 5000U + 100U);
  EXPECT_GE(admitted, 4900U);
}

}  // namespace
}  // namespace weir::agent
