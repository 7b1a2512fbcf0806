// Which key pays for a call: a thread that takes from the same key again does not look it up, and
// must find out all the same when the next call is for another one, or its slot is.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "libclient/quota.h"

namespace weir::client {
namespace {

using namespace weir::shm;

// Segments with keys in them, and a client that is attached to them. No agent answers.
class QuotaTake : public testing::Test {
 protected:
  static constexpr std::uint64_t kUnits = 1'000;
  static constexpr std::uint32_t kKeys = 8;

  void SetUp() override { attach(0); }

  void attach(std::size_t which) {
    Memory& memory = memory_[which];
    memory.rules = make(kGeometry.rules_bytes());
    memory.counters = make(kGeometry.counters_bytes());
    Attachment& at = client_.attachments[which];
    at.rules = RulesView(memory.rules.get(), {});
    at.quotas = QuotaView(memory.rules.get(), memory.counters.get(), kGeometry, 99);
    client_.current = &at;
  }
  static void name(weir_client& client, weir_quota& quota, std::string_view name) {
    quota.client = &client;
    quota.quota = QuotaName(name);
  }
  // As the agent: the words of the counter first, then the key, then the generation, then the cell.
  void put(std::uint32_t slot, std::uint32_t generation, std::string_view name,
           std::string_view key) {
    const QuotaView& view = client_.current.load()->quotas;
    const QuotaName quota(name);
    const QuotaText text(key.data(), key.size());
    view.counter(slot).units = quota_word(generation, kUnits);
    view.counter(slot).attributed = quota_word(generation, 0);
    auto& s = const_cast<QuotaSlot&>(view.slot(slot));
    s.name_bytes = static_cast<std::uint32_t>(name.size());
    s.key_bytes = static_cast<std::uint32_t>(key.size());
    for (std::size_t i = 0; i < 2 || i * 8 < name.size(); ++i)
      s.name[i] = quota.words[i];
    for (std::size_t i = 0; i < 2 || i * 8 < key.size(); ++i)
      s.key[i] = text.word(i);
    s.hot = hot_word(generation, kQuotaActive);
    const std::uint64_t hash = view.hash(quota, text);
    std::uint64_t at = hash;
    while (view.cell(at) != 0)
      ++at;
    const_cast<A64&>(view.cell(at)) = quota_cell(hash, slot);
  }
  static weir_status take(weir_quota& quota, std::string_view key, std::uint64_t n = 1) {
    return weir_quota_try(&quota, key.data(), key.size(), n, nullptr);
  }
  // Until the thread no longer looks the key up.
  static void settle_on(weir_quota& quota, std::string_view key) {
    for (int i = 0; i < 8; ++i)
      EXPECT_EQ(take(quota, key), WEIR_ALLOW);
  }
  std::uint64_t taken(std::uint32_t slot) const {
    return kUnits - quota_value(client_.current.load()->quotas.counter(slot).units);
  }

  weir_client client_;

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  using Bytes = std::unique_ptr<std::byte, Free>;
  static Bytes make(std::size_t bytes) {
    Bytes made(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, bytes)));
    std::memset(made.get(), 0, bytes);
    return made;
  }
  static constexpr QuotaGeometry kGeometry{kKeys, 2 * kPageBytes, 0};
  struct Memory {
    Bytes rules, counters;
  };
  Memory memory_[2];
};

TEST_F(QuotaTake, EachKeyPaysForItself) {
  weir_quota calls, chats;
  name(client_, calls, "calls");
  name(client_, chats, "chats");
  put(0, 1, "calls", "customer-1");
  put(1, 1, "calls", "customer-2");
  put(2, 1, "chats", "customer-1");
  put(3, 1, "calls", "c");
  put(4, 1, "calls", "customer-of-more-than-two-words");

  for (int i = 0; i < 5; ++i) {
    settle_on(calls, "customer-1");
    EXPECT_EQ(take(calls, "customer-2", 2), WEIR_ALLOW);
    settle_on(calls, "customer-1");
    EXPECT_EQ(take(chats, "customer-1", 3), WEIR_ALLOW);
    settle_on(calls, "customer-1");
    EXPECT_EQ(take(calls, "c", 4), WEIR_ALLOW);
    settle_on(calls, "customer-of-more-than-two-words");
    EXPECT_EQ(take(calls, "customer-of-more-than-two-wordS"), WEIR_E_UNAVAILABLE);
  }
  EXPECT_EQ(taken(0), 5U * 3 * 8);
  EXPECT_EQ(taken(1), 5U * 2);
  EXPECT_EQ(taken(2), 5U * 3);
  EXPECT_EQ(taken(3), 5U * 4);
  EXPECT_EQ(taken(4), 5U * 8);
}

TEST_F(QuotaTake, TheNextKeyOfASlotDoesNotPay) {
  weir_quota calls;
  name(client_, calls, "calls");
  put(0, 1, "calls", "customer-1");
  settle_on(calls, "customer-1");
  put(0, 2, "calls", "customer-2");

  EXPECT_EQ(take(calls, "customer-1"), WEIR_E_UNAVAILABLE);
  EXPECT_EQ(taken(0), 0U);
  EXPECT_EQ(take(calls, "customer-2"), WEIR_ALLOW);
  // The same key has come back, to another slot.
  put(1, 1, "calls", "customer-1");
  settle_on(calls, "customer-1");
  EXPECT_EQ(taken(0), 1U);
  EXPECT_EQ(taken(1), 8U);
}

TEST_F(QuotaTake, AfterAnotherAgentsSegmentsTheirUnitsAreTaken) {
  weir_quota calls;
  name(client_, calls, "calls");
  put(0, 1, "calls", "customer-1");
  settle_on(calls, "customer-1");
  attach(1);
  put(0, 1, "calls", "customer-2");
  put(3, 1, "calls", "customer-1");
  settle_on(calls, "customer-1");

  EXPECT_EQ(taken(0), 0U);
  EXPECT_EQ(taken(3), 8U);
}

TEST_F(QuotaTake, NeitherTheLastUnitsNorTooManyAreTakenTwice) {
  weir_quota calls;
  name(client_, calls, "calls");
  put(0, 1, "calls", "customer-1");
  settle_on(calls, "customer-1");

  EXPECT_EQ(take(calls, "customer-1", kUnits - 7), WEIR_E_UNAVAILABLE);
  EXPECT_EQ(take(calls, "customer-1", kUnits - 8), WEIR_ALLOW);
  EXPECT_EQ(take(calls, "customer-1"), WEIR_E_UNAVAILABLE);
  EXPECT_EQ(taken(0), kUnits);
}

TEST_F(QuotaTake, APermitKnowsItsKey) {
  weir_quota calls;
  name(client_, calls, "calls");
  put(0, 1, "calls", "customer-1");
  put(1, 1, "calls", "customer-2");
  settle_on(calls, "customer-1");
  for (const std::uint32_t slot : {0U, 1U, 0U}) {
    const std::string key = "customer-" + std::to_string(slot + 1);
    weir_quota_permit permit;
    ASSERT_EQ(weir_quota_try(&calls, key.data(), key.size(), 5, &permit), WEIR_ALLOW);
    const auto& known = reinterpret_cast<const QuotaPermit&>(permit);
    EXPECT_EQ(known.slot, slot);
    EXPECT_EQ(known.amount, 5U);
    EXPECT_EQ(std::string_view(known.key, known.key_bytes), key);
  }
  EXPECT_EQ(quota_value(client_.current.load()->quotas.counter(0).attributed), 10U);
  EXPECT_EQ(quota_value(client_.current.load()->quotas.counter(1).attributed), 5U);
}

}  // namespace
}  // namespace weir::client
