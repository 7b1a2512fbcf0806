// The quotas of a host over plain memory and a fake clock: what processes ask and report, what the
// server says, and what is shown of it.
#include "agent/quota/quotas.h"

#include <gmock/gmock.h>

#include <map>

#include "agent/quota/report.h"
#include "server/wire_quota.h"
#include "tests/unit/agent/quota_memory.h"

namespace weir::agent {
namespace {

using lease::QuotaOutcome;
using lease::Units;
using testing::HasSubstr;

constexpr std::uint64_t kAgentEpoch = 77;
constexpr std::uint64_t kSession = 5;

// Grants what is needed, one reply for each ask, and keeps the rows.
class FakeServer final : public QuotaSpeaker {
 public:
  void say(v1::QuotaAsks& asks) override {
    std::vector<lease::QuotaAsk> heard;
    ASSERT_TRUE(server::from_wire(asks, heard));
    for (lease::QuotaAsk& ask : heard)
      asked.push_back(std::move(ask));
  }
  void say(v1::QuotaUsage& usage) override {
    ASSERT_TRUE(server::from_wire(usage, rows));
    batch_no = usage.batch_no();
    ++batches;
  }

  std::vector<lease::QuotaAsk> asked;
  std::vector<server::QuotaUsageRow> rows;  // of the batch before
  std::uint64_t batch_no = 0;
  int batches = 0;
};

class QuotasTest : public testing::Test {
 protected:
  void start(std::uint32_t keys) {
    memory = std::make_unique<QuotaMemory>(keys);
    quotas = std::make_unique<Quotas>(
        QuotasOptions{.host = "h1", .agent_epoch = kAgentEpoch, .mutants = {}},
        QuotaClocks{[this] { return now_ns; }, [this] { return now_ns; }, [] { return 1'000; }},
        server, memory->place());
    quotas->on_welcome(kSession, kAgentEpoch);
  }
  void pass(std::int64_t ns) {
    for (const std::int64_t end_ns = now_ns + ns; now_ns < end_ns;) {
      now_ns += std::min<std::int64_t>(kQuotaLookNs, end_ns - now_ns);
      quotas->tick();
    }
  }
  // All that was asked is answered, with so many units where some are wanted.
  void answer(Units granted) {
    const auto asked = std::exchange(server.asked, {});
    for (const lease::QuotaAsk& ask : asked) {
      lease::QuotaReply reply;
      reply.key = ask.key;
      reply.ask_no = ask.ask_no;
      reply.seq = ask.seq;
      reply.gen = 1;
      reply.valid_ms = 60'000;
      reply.outcome = ask.seq == 0  ? QuotaOutcome::heard
                      : granted > 0 ? QuotaOutcome::granted
                                    : QuotaOutcome::exhausted;
      reply.granted = ask.seq == 0 ? 0 : granted;
      reply.remaining = 900;
      for (const lease::ChunkReport& chunk : ask.chunks)
        if (chunk.returned) reply.closed.push_back(chunk.seq);
      v1::QuotaReplies message;
      message.set_session(kSession);
      server::add_to_wire(reply, message);
      quotas->on_replies(message);
    }
  }
  // Units come to be on this host.
  void bring(const std::string& key, Units units) {
    quotas->on_ask("calls", key, 1);
    answer(units);
    ASSERT_EQ(level(key), units);
  }
  std::uint32_t slot_of(const std::string& key) const {
    return quotas->table().find(lease::quota_key("calls", key)).value_or(UINT32_MAX);
  }
  Units level(const std::string& key) const {
    const std::uint32_t slot = slot_of(key);
    if (slot == UINT32_MAX) return -1;
    return static_cast<Units>(
        shm::quota_value(memory->place().view.counter(slot).units.load(std::memory_order_relaxed)));
  }
  bool take(const std::string& key, std::uint64_t units) {
    const std::uint32_t slot = slot_of(key);
    std::uint64_t before = 0;
    return shm::quota_take(memory->place().view.counter(slot).units,
                           quotas->table().generation(slot), units, before) == shm::QuotaTake::ok;
  }
  // As a call with a permit does.
  bool attribute(const std::string& key, std::uint64_t units) {
    const std::uint32_t slot = slot_of(key);
    return shm::quota_add(memory->place().view.counter(slot).attributed,
                          quotas->table().generation(slot), units);
  }
  // `held`: the permit is of the slot that its key has now.
  void report(const std::string& key, std::uint64_t units, shm::QuotaReportKind kind,
              bool held = false) {
    shm::QuotaFrameTail tail;
    if (held) tail.slot = slot_of(key);
    if (held) tail.generation = quotas->table().generation(tail.slot);
    tail.amount = units;
    tail.kind = static_cast<std::uint16_t>(kind);
    quotas->on_report({"app", 1000}, tail, "calls", key, "");
  }
  // What the server was told of refunds, by key.
  std::map<std::string, Units> refunds() const {
    std::map<std::string, Units> all;
    for (const lease::QuotaAsk& ask : server.asked)
      if (ask.refunded_total > 0)
        all[std::string(lease::split_quota_key(ask.key).second)] = ask.refunded_total;
    return all;
  }

  std::int64_t now_ns = 1'000'000'000'000;
  FakeServer server;
  std::unique_ptr<QuotaMemory> memory;
  std::unique_ptr<Quotas> quotas;
};

TEST_F(QuotasTest, AColdKeyIsAskedForOnceAndWhatComesIsThere) {
  start(4);
  for (int i = 0; i < 10; ++i)
    quotas->on_ask("calls", "k", 3);

  ASSERT_EQ(server.asked.size(), 1U) << "one request under way";
  EXPECT_EQ(server.asked[0].need, 3);
  answer(50);

  EXPECT_EQ(level("k"), 50);
  EXPECT_EQ(quotas->counts().grants_total, 1U);
  EXPECT_EQ(quotas->counts().granted_units, 50U);
}

// The permit outlived its key's slot, and there is no slot now: the units must not vanish.
TEST_F(QuotasTest, ARefundWaitsUntilItsKeyHasASlot) {
  start(1);
  bring("busy", 10);

  report("late", 7, shm::QuotaReportKind::refund_late);
  EXPECT_EQ(slot_of("late"), UINT32_MAX);
  EXPECT_TRUE(refunds().empty());

  // The busy key goes when it has rested for long enough.
  for (int i = 0; i < 400 && refunds().empty(); ++i) {
    answer(0);
    pass(1'000'000'000);
  }

  EXPECT_EQ(refunds(), (std::map<std::string, Units>{{"late", 7}}));
  EXPECT_EQ(quotas->counts().refunds_lost_total, 0U);
}

TEST_F(QuotasTest, RefundsThatWaitAreBoundedAndCounted) {
  start(1);
  bring("busy", 10);

  for (std::size_t i = 0; i < kQuotaLateRefundsMax + 3; ++i)
    report("late-" + std::to_string(i), 1, shm::QuotaReportKind::refund_late);

  EXPECT_EQ(quotas->counts().refunds_lost_total, 3U);
}

TEST_F(QuotasTest, WhatAKeyConsumedIsARowBeforeItsSlotGoes) {
  start(1);
  bring("k", 10);
  ASSERT_TRUE(take("k", 4));

  for (int i = 0; i < 400 && slot_of("k") != UINT32_MAX; ++i) {
    pass(1'000'000'000);
    answer(0);
  }

  ASSERT_EQ(slot_of("k"), UINT32_MAX);
  ASSERT_EQ(server.rows.size(), 1U);
  EXPECT_EQ(server.rows[0].event.amount, 4);
}

// A process took units with a permit and was killed: nobody else will say what they went for.
TEST_F(QuotasTest, WhatWasNeverReportedIsARowOfItsOwn) {
  start(1);
  bring("k", 10);
  ASSERT_TRUE(take("k", 4));
  ASSERT_TRUE(attribute("k", 4));
  report("k", 1, shm::QuotaReportKind::consume, true);
  pass(kUsageFlushNs + kQuotaLookNs);
  ASSERT_EQ(server.rows.size(), 1U);
  v1::QuotaUsageTaken taken;
  taken.set_batch_no(server.batch_no);
  quotas->on_usage_taken(taken);

  pass(kQuotaIdleNs + 1'000'000'000);
  EXPECT_NE(slot_of("k"), UINT32_MAX) << "it may come yet";
  for (int i = 0; i < 900 && slot_of("k") != UINT32_MAX; ++i) {
    pass(1'000'000'000);
    answer(0);
  }

  ASSERT_EQ(slot_of("k"), UINT32_MAX);
  pass(kUsageFlushNs);
  ASSERT_EQ(server.rows.size(), 1U);
  EXPECT_EQ(server.rows[0].event.amount, 3);
  EXPECT_EQ(server.rows[0].event.outcome, "not reported");
}

// The server takes no rows, and the queue is full: what is lost with the slot is counted.
TEST_F(QuotasTest, ARowThatFindsNoRoomWhenItsSlotGoesIsCounted) {
  start(1);
  bring("k", 10);
  for (std::size_t i = 0; i < kUsageRowsMax; ++i)
    report("elsewhere", 1, shm::QuotaReportKind::consume);
  ASSERT_EQ(quotas->usage().lost_total(), 0U);
  ASSERT_TRUE(take("k", 4));

  for (int i = 0; i < 400 && slot_of("k") != UINT32_MAX; ++i) {
    pass(1'000'000'000);
    answer(0);
  }

  ASSERT_EQ(slot_of("k"), UINT32_MAX);
  EXPECT_EQ(quotas->usage().lost_total(), 1U);
}

TEST_F(QuotasTest, RowsGoInBatchesAndAgainUntilTheServerHasThem) {
  start(1);
  for (std::size_t i = 0; i < kUsageBatchMax + 10; ++i)
    report("k", 1, shm::QuotaReportKind::consume);
  pass(kUsageFlushNs);
  ASSERT_EQ(server.rows.size(), kUsageBatchMax);
  const std::uint64_t first = server.batch_no;

  pass(kUsageRetryNs);
  EXPECT_EQ(server.batches, 2);
  EXPECT_EQ(server.batch_no, first) << "the same batch: the server may have it";

  v1::QuotaUsageTaken taken;
  taken.set_batch_no(first);
  quotas->on_usage_taken(taken);
  quotas->on_usage_taken(taken);  // doubled on the way
  pass(kUsageFlushNs);

  EXPECT_EQ(server.batch_no, first + 1);
  EXPECT_EQ(server.rows.size(), 10U);
  EXPECT_EQ(quotas->usage().taken_total(), kUsageBatchMax);
}

TEST_F(QuotasTest, IsShownByKeyAndInSum) {
  start(8);
  bring("b", 20);
  bring("a", 30);
  ASSERT_TRUE(take("a", 12));
  pass(1'000'000'000);
  quotas->on_ask("tokens", "a", 1);

  v1::QuotasResponse all, some, one;
  fill_quotas(*quotas, {}, all);
  v1::QuotasRequest request;
  request.set_quota("calls");
  request.set_keys_max(1);
  fill_quotas(*quotas, request, some);
  request.set_key("b");
  fill_quotas(*quotas, request, one);

  EXPECT_EQ(all.keys(), 3U);
  EXPECT_EQ(all.keys_max(), 8U);
  EXPECT_EQ(all.granted_total(), 50U);
  EXPECT_TRUE(all.connected());
  ASSERT_EQ(all.list_size(), 3);
  EXPECT_EQ(all.list(0).key(), "a");
  EXPECT_EQ(all.list(0).state(), "ok");
  EXPECT_EQ(all.list(0).here(), 18U);
  EXPECT_EQ(all.list(0).consumed_total(), 12U);
  EXPECT_EQ(all.list(0).remaining(), 900U);
  EXPECT_TRUE(all.list(0).has_valid_ms());
  EXPECT_EQ(all.list(2).quota(), "tokens");
  EXPECT_TRUE(all.list(2).waiting());
  ASSERT_EQ(some.list_size(), 1);
  EXPECT_EQ(some.left_out(), 1U);
  ASSERT_EQ(one.list_size(), 1);
  EXPECT_EQ(one.list(0).here(), 20U);

  const std::string page = render_quota_metrics(*quotas);
  EXPECT_THAT(page, HasSubstr("weir_quota_connected 1\n"));
  EXPECT_THAT(page, HasSubstr("weir_quota_granted_units_total 50\n"));
  EXPECT_THAT(page, HasSubstr("weir_quota_units{quota=\"calls\"} 38\n"));
  EXPECT_THAT(page, HasSubstr("weir_quota_consumed_units{quota=\"calls\"} 12\n"));
  EXPECT_THAT(page, HasSubstr("weir_quota_keys{quota=\"tokens\"} 1\n"));
}

}  // namespace
}  // namespace weir::agent
