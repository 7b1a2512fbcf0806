// The bucket's promises, as scripted interleavings of the steps that real callers take.
#include "shm/bucket.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "shm/mint.h"

namespace weir::shm {
namespace {

TEST(Bucket, AdmitsExactlyWhatItHolds) {
  auto slot_storage = std::make_unique<CounterSlot>();
  CounterSlot& slot = *slot_storage;
  slot.tokens = token_word(1, 3);
  slot.epoch = 1;
  EXPECT_EQ(spend_one(slot), Spend::ok);
  EXPECT_EQ(spend_many(slot, 2, 0), Spend::ok);
  EXPECT_EQ(spend_one(slot), Spend::refused);
}

// S1, S2: a loser that is stopped between its subtraction and an undo would add tokens to a bucket
// that was refilled meanwhile. Losers do not undo: what lies below zero stays there.
TEST(Bucket, ALoserAddsNothingBack) {
  auto slot = std::make_unique<CounterSlot>();
  slot->epoch = 1;
  slot->tokens = token_word(1, 0);
  for (int i = 0; i < 5; ++i) {
    slot->closed = 0;  // five callers that all passed the gate before the first loser shut it
    EXPECT_EQ(spend_one(*slot), Spend::refused);
  }
  EXPECT_EQ(tokens_of(slot->tokens.load()), -5);
}

TEST(Bucket, ARefusalBehindAShutGateWritesNothing) {
  auto slot = std::make_unique<CounterSlot>();
  slot->epoch = 1;
  slot->tokens = token_word(1, 0);
  EXPECT_EQ(spend_one(*slot), Spend::refused);
  const std::uint64_t tokens = slot->tokens;
  const std::uint64_t closed = slot->closed;
  for (int i = 0; i < 1000; ++i)
    EXPECT_EQ(spend_one(*slot), Spend::refused);
  EXPECT_EQ(slot->tokens.load(), tokens);
  EXPECT_EQ(slot->closed.load(), closed);
}

// S3: a large request that finds too little must not shut out small ones.
TEST(Bucket, ALargeRequestDoesNotShutOutASmallOne) {
  auto slot = std::make_unique<CounterSlot>();
  slot->tokens = token_word(1, 20);
  slot->epoch = 1;
  EXPECT_EQ(spend_many(*slot, 50, 0), Spend::refused);
  EXPECT_EQ(spend_one(*slot), Spend::ok);
  EXPECT_EQ(spend_many(*slot, 50, 0), Spend::refused);
}

TEST(Bucket, ALowClassLeavesItsReserve) {
  auto slot = std::make_unique<CounterSlot>();
  slot->tokens = token_word(1, 10);
  slot->epoch = 1;
  int low = 0;
  while (spend_many(*slot, 1, 4) == Spend::ok)
    ++low;
  EXPECT_EQ(low, 6);
  EXPECT_EQ(spend_one(*slot), Spend::ok) << "the gate that the low class shut is not for others";
}

// S4: the epoch is read before the attempt. A loser that read it after a refill that came in
// between would shut the gate over a full bucket.
TEST(Bucket, ALoserOfAnOlderEpochDoesNotShutTheGate) {
  auto slot = std::make_unique<CounterSlot>();
  slot->epoch = 1;
  slot->tokens = token_word(1, 0);
  std::uint64_t epoch = 0;
  ASSERT_FALSE(gate_refuses(*slot, 1, 0, epoch));
  const std::int64_t before = tokens_of(slot->tokens.fetch_sub(1));  // lost
  deliver(*slot, fence(*slot), 0, 100);
  open_gate(*slot);
  shut_gate(*slot, epoch, before);
  EXPECT_EQ(spend_one(*slot), Spend::ok);
}

TEST(Bucket, TokensAreThereBeforeTheGateOpens) {
  auto slot = std::make_unique<CounterSlot>();
  slot->epoch = 1;
  slot->tokens = token_word(1, 0);
  EXPECT_EQ(spend_one(*slot), Spend::refused);
  deliver(*slot, fence(*slot), 0, 5);
  EXPECT_EQ(spend_one(*slot), Spend::refused) << "not open yet";
  open_gate(*slot);
  EXPECT_EQ(spend_one(*slot), Spend::ok);
}

TEST(Bucket, ALevelTooLargeForTheGateDoesNotShutIt) {
  auto slot = std::make_unique<CounterSlot>();
  slot->tokens = token_word(1, std::int64_t{1} << 30);
  slot->epoch = 1;
  EXPECT_EQ(spend_many(*slot, std::uint64_t{1} << 31, 0), Spend::refused);
  EXPECT_EQ(spend_many(*slot, std::uint64_t{1} << 25, 0), Spend::ok);
}

TEST(Bucket, ZeroedMemoryAdmitsNothing) {
  auto slot = std::make_unique<CounterSlot>();
  EXPECT_EQ(spend_one(*slot), Spend::refused);
  EXPECT_EQ(spend_many(*slot, 1, 0), Spend::refused);
  EXPECT_EQ(bucket_level(*slot), 0U);
}

TEST(Bucket, AForgedEpochOrGateOnlyRefusesOrLetsTry) {
  auto slot = std::make_unique<CounterSlot>();
  slot->tokens = token_word(1, 2);
  slot->epoch = UINT64_MAX;
  slot->closed = UINT64_MAX;
  int admitted = 0;
  for (int i = 0; i < 10; ++i)
    admitted += spend_one(*slot) == Spend::ok ? 1 : 0;
  EXPECT_LE(admitted, 2);
}

// Two deliveries that meet must not heal the same losers twice.
TEST(Bucket, HealingIsDoneOnce) {
  auto slot = std::make_unique<CounterSlot>();
  slot->tokens = token_word(1, -10);
  deliver(*slot, fence(*slot), 0, 3);
  deliver(*slot, fence(*slot), 3, 4);
  EXPECT_EQ(tokens_of(slot->tokens.load()), 7);
}

// Threads over one mapping, for ThreadSanitizer as much as for the count.
TEST(Bucket, ThreadsTogetherGetWhatWasMintedAndNoMore) {
  auto slot = std::make_unique<CounterSlot>();
  slot->epoch = 1;
  slot->tokens = token_word(1, 0);
  constexpr std::uint64_t kMinted = 200'000;
  std::atomic<std::uint64_t> admitted{0};
  std::atomic<bool> done{false};
  std::vector<std::thread> spenders;
  for (int t = 0; t < 4; ++t)
    spenders.emplace_back([&, t] {
      std::uint64_t mine = 0;
      while (!done.load()) {
        if (t == 3)
          mine += spend_many(*slot, 3, 0) == Spend::ok ? 3 : 0;
        else
          mine += spend_one(*slot) == Spend::ok ? 1 : 0;
      }
      admitted += mine;
    });
  for (std::uint64_t i = 0; i < kMinted / 10; ++i) {
    deliver(*slot, fence(*slot), kBurstMax, 10);
    open_gate(*slot);
    if (i % 64 == 0) std::this_thread::yield();
  }
  while (bucket_level(*slot) > 2) {
    open_gate(*slot);
    std::this_thread::yield();
  }
  done = true;
  for (std::thread& t : spenders)
    t.join();
  EXPECT_LE(admitted.load(), kMinted);
  EXPECT_GE(admitted.load() + 2, kMinted);
}

}  // namespace
}  // namespace weir::shm
