// The slots of keys in use, over plain memory: what clients may do to the words, and what an agent
// finds that follows another one.
#include "agent/quota/table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "tests/unit/agent/quota_memory.h"

namespace weir::agent {
namespace {

using namespace weir::shm;

constexpr std::uint64_t kEpoch = 77;

std::string joined(const std::string& key) { return lease::quota_key("calls", key); }

// As a process finds it.
std::optional<QuotaFound> look(const QuotaMemory& memory, const std::string& key) {
  const QuotaName name("calls");
  const QuotaView view = memory.place().view;
  const QuotaText text(key.data(), key.size());
  QuotaFound found;
  if (!view.find(name, text, view.hash(name, text), found)) return std::nullopt;
  return found;
}

QuotaTake take(const QuotaMemory& memory, const QuotaFound& found, std::uint64_t units) {
  std::uint64_t level = 0;
  return quota_take(memory.place().view.counter(found.slot).units, found.generation, units, level);
}

lease::QuotaKept kept_with(const std::string& key, lease::Units granted) {
  lease::QuotaKept kept;
  kept.key = joined(key);
  kept.agent_epoch = kEpoch;
  kept.seq = 3;
  kept.chunks.push_back({3, 1, granted, 0, true, false});
  return kept;
}

// A caller that was stopped between its look and its step must not pay with another key's units.
TEST(QuotaTable, ACallerThatComesLateTakesNothingOfTheNextKey) {
  const QuotaMemory memory(1);
  QuotaTable table(memory.place(), kEpoch);
  const auto slot = table.take(joined("first"));
  ASSERT_TRUE(slot);
  table.add(*slot, 5);
  const auto early = look(memory, "first");
  ASSERT_TRUE(early);

  table.free(*slot);
  ASSERT_EQ(table.take(joined("second")), slot);
  table.add(*slot, 7);

  EXPECT_EQ(take(memory, *early, 1), QuotaTake::moved);
  QuotaCounter& counter = memory.place().view.counter(*slot);
  EXPECT_FALSE(quota_add(counter.refunded, early->generation, 3)) << "nor give units to it";
  EXPECT_FALSE(quota_want(counter.wanted, early->generation, 3));
  EXPECT_EQ(quota_take_some(counter.units, early->generation, 3), 0U);
  EXPECT_EQ(table.level(*slot), 7U);
  EXPECT_FALSE(look(memory, "first"));
  EXPECT_TRUE(look(memory, "second"));
}

TEST(QuotaTable, UnitsThatNobodyPutInAreTakenOut) {
  const QuotaMemory memory(4);
  QuotaTable table(memory.place(), kEpoch);
  const auto slot = table.take(joined("k"));
  ASSERT_TRUE(slot);
  table.add(*slot, 5);
  A64& word = memory.place().view.counter(*slot).units;

  word.fetch_add(1000);
  EXPECT_EQ(table.level(*slot), 5U);
  word.store(~0ULL);
  EXPECT_EQ(table.level(*slot), 0U) << "a word of no generation has lost its units";
  table.add(*slot, 2);
  word.fetch_add(1000);
  EXPECT_EQ(table.drain(*slot), 2U);
  EXPECT_EQ(table.forged_total(), 3U);
  EXPECT_EQ(table.kept_of(*slot).consumed(), 5U);
}

// The agent has one thread: a process that writes all the time must not keep it.
TEST(QuotaTable, AWordThatIsWrittenAllTheTimeStopsNobody) {
  const QuotaMemory memory(1);
  QuotaTable table(memory.place(), kEpoch);
  const auto slot = table.take(joined("k"));
  ASSERT_TRUE(slot);
  QuotaCounter& counter = memory.place().view.counter(*slot);
  std::atomic<bool> done{false};
  std::thread hostile([&] {
    for (std::uint64_t i = 0; !done; ++i) {
      counter.units.store(i * 0x9e3779b97f4a7c15U);
      counter.refunded.fetch_add(1);
      counter.wanted.store(quota_word(table.generation(*slot), i % 2));
    }
  });

  for (int i = 0; i < 20'000; ++i) {
    table.add(*slot, 1);
    (void)table.add_refund(*slot, 1);
    table.want(*slot, 5);
    EXPECT_LE(table.level(*slot), static_cast<std::uint64_t>(i) + 1);
  }
  done = true;
  hostile.join();

  EXPECT_LE(table.kept_of(*slot).consumed(), 20'000U);
}

TEST(QuotaTable, AnAgentThatFollowsFindsWhatIsLeft) {
  const QuotaMemory memory(4);
  std::uint32_t slot = 0;
  {
    QuotaTable table(memory.place(), kEpoch);
    slot = *table.take(joined("k"));
    table.keep(slot, kept_with("k", 10));
    table.add(slot, 10);
  }
  const auto found = look(memory, "k");
  ASSERT_TRUE(found);
  ASSERT_EQ(take(memory, *found, 4), QuotaTake::ok);

  QuotaTable next(memory.place(), kEpoch);

  const auto restored = next.take_restored();
  ASSERT_EQ(restored.size(), 1U);
  EXPECT_EQ(restored[0].slot, slot);
  EXPECT_EQ(restored[0].kept.key, joined("k"));
  EXPECT_EQ(restored[0].kept.seq, 3U);
  EXPECT_EQ(next.level(slot), 6U);
  EXPECT_EQ(take(memory, *found, 1), QuotaTake::ok) << "who looked before goes on";
}

// Its chunks are booked lost by the server: not a unit of them may be spent.
TEST(QuotaTable, AnAgentOfAnotherIdentityLeavesNothingToSpend) {
  const QuotaMemory memory(4);
  {
    QuotaTable table(memory.place(), kEpoch);
    const std::uint32_t slot = *table.take(joined("k"));
    table.keep(slot, kept_with("k", 10));
    table.add(slot, 10);
  }
  const auto found = look(memory, "k");
  ASSERT_TRUE(found);

  QuotaTable next(memory.place(), kEpoch + 1);

  EXPECT_TRUE(next.take_restored().empty());
  EXPECT_EQ(take(memory, *found, 1), QuotaTake::moved);
  EXPECT_FALSE(look(memory, "k"));
}

// Short ones are looked up without a loop: both ways must find the same. Slots had longer ones
// before.
TEST(QuotaTable, NamesAndKeysOfEveryLengthAreFound) {
  const QuotaMemory memory(64);
  QuotaTable table(memory.place(), kEpoch);
  const QuotaView view = memory.place().view;
  constexpr std::size_t kShort = 16;
  const std::string letters = "abcdefghijklmnopqrstuvwxyz0123456789";
  for (std::size_t name_bytes = 20; name_bytes >= 1; --name_bytes)
    for (std::size_t key_bytes = 1; key_bytes <= 36; ++key_bytes) {
      const std::string name = letters.substr(0, name_bytes), key = letters.substr(0, key_bytes);
      const auto slot = table.take(lease::quota_key(name, key));
      ASSERT_TRUE(slot);
      const QuotaName quota(name);
      const QuotaText text(key.data(), key.size());
      QuotaFound any, brief;

      EXPECT_TRUE(view.find(quota, text, view.hash(quota, text), any));
      EXPECT_EQ(any.slot, *slot);
      // Another one in the same cell is another one.
      std::string other_key = key, other_name = name;
      other_key.back() = other_name.back() = '-';
      const QuotaText wrong(other_key.data(), other_key.size());
      const QuotaName other(other_name);
      EXPECT_FALSE(view.find(quota, wrong, view.hash(quota, text), any));
      EXPECT_FALSE(view.find(other, text, view.hash(quota, text), any));
      if (name_bytes <= kShort && key_bytes <= kShort) {
        EXPECT_EQ(view.hash<kShort>(quota, text), view.hash(quota, text));
        EXPECT_TRUE(view.find<kShort>(quota, text, view.hash(quota, text), brief));
        EXPECT_EQ(brief.slot, *slot);
        EXPECT_FALSE(view.find<kShort>(quota, wrong, view.hash(quota, text), brief));
        EXPECT_FALSE(view.find<kShort>(other, text, view.hash(quota, text), brief));
      }
      table.free(*slot);
    }
}

TEST(QuotaTable, KeysAreFoundHoweverOftenSlotsWereUsed) {
  const QuotaMemory memory(64);
  QuotaTable table(memory.place(), kEpoch);
  std::deque<std::string> keys;
  for (int i = 0; i < 5'000; ++i) {
    const std::string key = "key-" + std::to_string(i * 7919);
    if (keys.size() == 48) {
      table.free(*table.find(joined(keys.front())));
      EXPECT_FALSE(look(memory, keys.front()));
      keys.pop_front();
    }
    if (table.take(joined(key))) keys.push_back(key);
  }

  EXPECT_GE(keys.size(), 40U);
  std::set<std::uint32_t> slots;
  for (const std::string& key : keys) {
    const auto found = look(memory, key);
    ASSERT_TRUE(found) << key;
    slots.insert(found->slot);
  }
  EXPECT_EQ(slots.size(), keys.size());
}

}  // namespace
}  // namespace weir::agent
