// The quotas' messages from whoever reaches the port: tables are whole, keys are keys, and no
// amount leaves its range.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "net/lease_wire.h"
#include "tests/unit/net/decode_again.h"

namespace weir::net {
namespace {

v1::ToServer asks_message(int rows, int chunks) {
  v1::ToServer message;
  v1::QuotaAsks& asks = *message.mutable_quota_asks();
  for (int i = 0; i < rows; ++i) {
    asks.add_quota_name(std::string(kQuotaNameBytesMax, 'n'));
    asks.add_quota_key(std::string(kQuotaKeyBytesMax, 'k'));
    asks.add_ask_no(1);
    asks.add_seq(UINT64_MAX);
    asks.add_done_seq(0);
    asks.add_need(kQuotaUnitsMax);
    asks.add_per_s(kQuotaUnitsMax);
    asks.add_refund_gen(UINT64_MAX);
    asks.add_refunded_total(kQuotaUnitsMax);
    asks.add_chunks(static_cast<std::uint32_t>(chunks));
    for (int k = 0; k < chunks; ++k) {
      asks.add_chunk_seq(1);
      asks.add_chunk_gen(UINT64_MAX);
      asks.add_chunk_granted(kQuotaUnitsMax);
      asks.add_chunk_spent(kQuotaUnitsMax);
      asks.add_chunk_returned(1);
    }
  }
  return message;
}

v1::ToServer usage_message(int rows) {
  v1::ToServer message;
  v1::QuotaUsage& usage = *message.mutable_quota_usage();
  usage.set_batch_no(1);
  for (int i = 0; i < rows; ++i) {
    usage.add_quota_name(std::string(kQuotaNameBytesMax, 'n'));
    usage.add_quota_key(std::string(kQuotaKeyBytesMax, 'k'));
    usage.add_amount(kQuotaUnitsMax);
    usage.add_refund(1);
    usage.add_process(std::string(kQuotaProcessBytesMax, 'p'));
    usage.add_uid(UINT32_MAX);
    usage.add_outcome(std::string(kQuotaReasonBytesMax, 'o'));
    usage.add_left(kQuotaUnitsMax);
    usage.add_at_wall_ms(kWallMsMax);
  }
  return message;
}

v1::ToAgent replies_message(int rows) {
  v1::ToAgent message;
  v1::QuotaReplies& replies = *message.mutable_quota_replies();
  for (int i = 0; i < rows; ++i) {
    replies.add_quota_name(std::string(kQuotaNameBytesMax, 'n'));
    replies.add_quota_key(std::string(kQuotaKeyBytesMax, 'k'));
    replies.add_ask_no(1);
    replies.add_seq(1);
    replies.add_outcome(v1::QUOTA_OUTCOME_GRANTED);
    replies.add_gen(UINT64_MAX);
    replies.add_granted(kQuotaUnitsMax);
    replies.add_remaining(kQuotaUnitsMax);
    replies.add_valid_ms(kWallMsMax);
    replies.add_retry_ms(kWallMsMax);
    replies.add_give_back(1);
    replies.add_closed(kQuotaChunksMax);
    replies.add_stop(kQuotaChunksMax);
    for (int k = 0; k < kQuotaChunksMax; ++k) {
      replies.add_closed_seq(1);
      replies.add_stop_seq(1);
    }
  }
  return message;
}

// With every row, name and chunk as long as it may be.
TEST(QuotaWire, TheLargestMessagesAreTakenAndFitIntoAFrame) {
  for (const auto& message : {asks_message(0, 0), asks_message(kQuotaRowsMax, kQuotaChunksMax),
                              usage_message(0), usage_message(kQuotaUsageRowsMax)}) {
    EXPECT_EQ(decode_again(message).text, "");
    EXPECT_LE(message.ByteSizeLong(), kLeaseFrameBytesMax);
  }
  EXPECT_EQ(decode_again(replies_message(kQuotaRowsMax)).text, "");
  EXPECT_LE(replies_message(kQuotaRowsMax).ByteSizeLong(), kLeaseFrameBytesMax);
}

TEST(QuotaWire, RefusesWhatNoAgentSends) {
  struct Bad {
    const char* name;
    std::function<void(v1::ToServer&)> spoil;
    const char* complaint;
  };
  const auto asks = [](v1::ToServer& m) -> v1::QuotaAsks& {
    m = asks_message(2, 2);
    return *m.mutable_quota_asks();
  };
  const auto usage = [](v1::ToServer& m) -> v1::QuotaUsage& {
    m = usage_message(2);
    return *m.mutable_quota_usage();
  };
  const std::vector<Bad> table = {
      {"rows", [](auto& m) { m = asks_message(kQuotaRowsMax + 1, 0); }, "quota_name has 1025 rows"},
      {"keys", [&](auto& m) { asks(m).mutable_quota_key()->RemoveLast(); }, "quota_key has 1 rows"},
      {"no name", [&](auto& m) { asks(m).set_quota_name(1, ""); }, "quota_name has an empty one"},
      {"no key", [&](auto& m) { asks(m).set_quota_key(1, ""); }, "quota_key has an empty one"},
      {"long name", [&](auto& m) { asks(m).set_quota_name(0, std::string(129, 'n')); },
       "quota_name has 129 bytes"},
      {"long key", [&](auto& m) { asks(m).set_quota_key(0, std::string(4096, 'k')); },
       "quota_key has 4096 bytes"},
      // The separator of name and key in memory: with it one key could pose as another.
      {"separator", [&](auto& m) { asks(m).set_quota_name(0, "a\nb"); }, "no clean UTF-8"},
      {"escape", [&](auto& m) { asks(m).set_quota_key(0, "\x1b[2J"); }, "no clean UTF-8"},
      {"need", [&](auto& m) { asks(m).set_need(1, kQuotaUnitsMax + 1); }, "need has"},
      {"negative", [&](auto& m) { asks(m).set_need(0, static_cast<std::uint64_t>(-1)); },
       "need has 18446744073709551615"},
      {"per_s", [&](auto& m) { asks(m).set_per_s(0, UINT64_MAX); }, "per_s has"},
      {"refunds", [&](auto& m) { asks(m).set_refunded_total(0, UINT64_MAX); }, "refunded_total"},
      {"spent", [&](auto& m) { asks(m).set_chunk_spent(3, UINT64_MAX); }, "chunk_spent has"},
      {"granted", [&](auto& m) { asks(m).set_chunk_granted(3, UINT64_MAX); }, "chunk_granted has"},
      {"returned", [&](auto& m) { asks(m).set_chunk_returned(0, 2); }, "chunk_returned has 2"},
      {"too many chunks", [&](auto& m) { asks(m).set_chunks(0, 5); }, "chunks has 5"},
      {"chunks of nobody", [&](auto& m) { asks(m).set_chunks(0, 1); }, "chunks says 3 rows"},
      {"chunks that are not there", [&](auto& m) { asks(m).set_chunks(0, 3); }, "there are 4"},
      {"chunk column", [&](auto& m) { asks(m).add_chunk_gen(1); }, "chunk_gen has 5 rows"},
      {"batch", [&](auto& m) { usage(m).clear_batch_no(); }, "batch_no is missing"},
      {"usage rows", [](auto& m) { m = usage_message(501); }, "quota_name has 501 rows"},
      {"amount", [&](auto& m) { usage(m).set_amount(0, UINT64_MAX); }, "amount has"},
      {"refund", [&](auto& m) { usage(m).set_refund(0, 7); }, "refund has 7"},
      {"process", [&](auto& m) { usage(m).set_process(0, std::string(65, 'p')); }, "process has"},
      {"reason", [&](auto& m) { usage(m).set_outcome(1, "\xff"); }, "outcome is no clean"},
      {"time", [&](auto& m) { usage(m).set_at_wall_ms(0, UINT64_MAX); }, "at_wall_ms has"},
      {"uid", [&](auto& m) { usage(m).add_uid(1); }, "uid has 3 rows"},
  };
  for (const Bad& bad : table) {
    v1::ToServer message;
    bad.spoil(message);

    const Complaint complaint = decode_again(message);

    EXPECT_NE(complaint.text.find(bad.complaint), std::string::npos)
        << bad.name << ": " << complaint.text;
    EXPECT_EQ(complaint.code, v1::REFUSED_MALFORMED) << bad.name;
    EXPECT_TRUE(is_clean_text(complaint.text)) << bad.name;
  }
}

TEST(QuotaWire, RefusesWhatNoServerSends) {
  struct Bad {
    std::function<void(v1::QuotaReplies&)> spoil;
    const char* complaint;
  };
  const std::vector<Bad> table = {
      {[](auto& m) { m.mutable_quota_key()->RemoveLast(); }, "quota_key has 1 rows"},
      {[](auto& m) { m.set_granted(0, UINT64_MAX); }, "granted has"},
      {[](auto& m) { m.set_remaining(0, UINT64_MAX); }, "remaining has"},
      {[](auto& m) { m.set_valid_ms(1, UINT64_MAX); }, "valid_ms has"},
      {[](auto& m) { m.set_retry_ms(1, UINT64_MAX); }, "retry_ms has"},
      {[](auto& m) { m.set_give_back(1, 2); }, "give_back has 2"},
      {[](auto& m) { m.set_closed(1, 5); }, "closed has 5"},
      {[](auto& m) { m.add_closed_seq(1); }, "closed says 8 rows, and there are 9"},
      {[](auto& m) { m.mutable_stop_seq()->RemoveLast(); }, "stop says 8 rows, and there are 7"},
      {[](auto& m) { m.clear_gen(); }, "gen has 0 rows"},
  };
  for (const Bad& bad : table) {
    v1::ToAgent message = replies_message(2);
    bad.spoil(*message.mutable_quota_replies());

    EXPECT_NE(decode_again(message).text.find(bad.complaint), std::string::npos) << bad.complaint;
  }
  v1::ToAgent pokes;
  pokes.mutable_quota_pokes()->add_quota_name("a");
  EXPECT_NE(decode_again(pokes).text.find("quota_key has 0 rows"), std::string::npos);
}

}  // namespace
}  // namespace weir::net
