// What desks and books of quotas say arrives as it was said.
#include "server/wire_quota.h"

#include <gtest/gtest.h>

#include "net/lease_wire.h"

namespace weir::server {
namespace {

const std::string kKey = lease::quota_key("calls", "customer 7");

static_assert(net::kQuotaUnitsMax == static_cast<std::uint64_t>(lease::kUnitsMax));
static_assert(net::kQuotaChunksMax == static_cast<int>(lease::kChunksMax));
static_assert(net::kQuotaNameBytesMax == lease::kQuotaNameBytesMax);
static_assert(net::kQuotaNameBytesMax + 1 + net::kQuotaKeyBytesMax == lease::kQuotaKeyBytesMax);

TEST(WireQuota, AsksArriveWithTheirChunks) {
  std::vector<lease::QuotaAsk> sent(2);
  sent[0].key = kKey;
  sent[0].ask_no = 3;
  sent[0].seq = UINT64_MAX;
  sent[0].done_seq = 5;
  sent[0].need = 6;
  sent[0].per_s = 7;
  sent[0].refund_gen = 8;
  sent[0].refunded_total = 9;
  sent[0].chunks = {{10, 11, 12, 13, true}, {14, 15, 16, 17, false}};
  sent[1].key = lease::quota_key("other", "b");
  sent[1].chunks = {{18, 19, 20, 21, false}};
  v1::ToServer message;
  for (const lease::QuotaAsk& ask : sent)
    add_to_wire(ask, *message.mutable_quota_asks());

  std::vector<lease::QuotaAsk> got;
  ASSERT_TRUE(from_wire(message.quota_asks(), got));

  EXPECT_FALSE(net::check(message));
  ASSERT_EQ(got.size(), 2U);
  EXPECT_EQ(got[0].key, kKey);
  EXPECT_EQ(got[0].ask_no, 3U);
  EXPECT_EQ(got[0].seq, UINT64_MAX);
  EXPECT_EQ(got[0].done_seq, 5U);
  EXPECT_EQ(got[0].need, 6);
  EXPECT_EQ(got[0].per_s, 7);
  EXPECT_EQ(got[0].refund_gen, 8U);
  EXPECT_EQ(got[0].refunded_total, 9);
  ASSERT_EQ(got[0].chunks.size(), 2U);
  EXPECT_EQ(got[0].chunks[0].seq, 10U);
  EXPECT_TRUE(got[0].chunks[0].returned);
  EXPECT_EQ(got[0].chunks[1].spent, 17);
  EXPECT_FALSE(got[0].chunks[1].returned);
  ASSERT_EQ(got[1].chunks.size(), 1U);
  EXPECT_EQ(got[1].chunks[0].gen, 19U);
  EXPECT_EQ(got[1].chunks[0].granted, 20);
}

TEST(WireQuota, RepliesArriveWithEveryOutcome) {
  v1::ToAgent message;
  constexpr auto kLast = static_cast<unsigned>(lease::QuotaOutcome::bad);
  for (unsigned i = 0; i <= kLast; ++i) {
    lease::QuotaReply reply;
    reply.key = kKey;
    reply.ask_no = i;
    reply.seq = 2;
    reply.outcome = static_cast<lease::QuotaOutcome>(i);
    reply.gen = 3;
    reply.granted = 4;
    reply.remaining = 5;
    reply.valid_ms = 6;
    reply.retry_ms = 7;
    reply.give_back = i % 2 == 0;
    reply.closed.assign(i % 4, 8 + i);
    reply.stop.assign(i % 3, 80 + i);
    add_to_wire(reply, *message.mutable_quota_replies());
  }

  std::vector<lease::QuotaReply> got;
  ASSERT_TRUE(from_wire(message.quota_replies(), got));

  EXPECT_FALSE(net::check(message));
  ASSERT_EQ(got.size(), kLast + 1);
  for (unsigned i = 0; i <= kLast; ++i) {
    EXPECT_EQ(got[i].ask_no, i);
    EXPECT_EQ(got[i].outcome, static_cast<lease::QuotaOutcome>(i));
    EXPECT_EQ(got[i].granted, 4);
    EXPECT_EQ(got[i].valid_ms, 6);
    EXPECT_EQ(got[i].give_back, i % 2 == 0);
    EXPECT_EQ(got[i].closed, std::vector<std::uint64_t>(i % 4, 8 + i));
    EXPECT_EQ(got[i].stop, std::vector<std::uint64_t>(i % 3, 80 + i));
  }
}

// A server of a later version: what is not understood grants nothing.
TEST(WireQuota, AnUnknownOutcomeCountsAsBusy) {
  v1::ToAgent message;
  lease::QuotaReply reply;
  reply.key = kKey;
  add_to_wire(reply, *message.mutable_quota_replies());
  message.mutable_quota_replies()->set_outcome(0, 99);

  std::vector<lease::QuotaReply> got;
  ASSERT_TRUE(from_wire(message.quota_replies(), got));

  EXPECT_EQ(got[0].outcome, lease::QuotaOutcome::busy);
}

TEST(WireQuota, CrookedTablesAreRefusedHereAsWell) {
  v1::QuotaAsks asks;
  add_to_wire(lease::QuotaAsk{.key = kKey, .host = {}, .chunks = {}}, asks);
  asks.set_chunks(0, 1);
  std::vector<lease::QuotaAsk> got;
  EXPECT_FALSE(from_wire(asks, got));
  asks.set_chunks(0, 0);
  EXPECT_TRUE(from_wire(asks, got));
  asks.add_need(1);
  EXPECT_FALSE(from_wire(asks, got));
}

TEST(WireQuota, UsageArrivesRowByRow) {
  v1::ToServer message;
  message.mutable_quota_usage()->set_batch_no(1);
  lease::QuotaEvent event;
  event.action = lease::QuotaAction::refund;
  event.process = "billing";
  event.uid = 33;
  event.amount = 5;
  event.left = 6;
  event.outcome = "timeout";
  event.at_wall_ms = 1'795'338'000'250;
  add_to_wire(kKey, event, *message.mutable_quota_usage());

  std::vector<QuotaUsageRow> got;
  ASSERT_TRUE(from_wire(message.quota_usage(), got));

  EXPECT_FALSE(net::check(message));
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0].key, kKey);
  EXPECT_EQ(got[0].event, event);
}

}  // namespace
}  // namespace weir::server
