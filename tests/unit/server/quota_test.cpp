// Chunks of quotas over the wire: whatever fails, what was handed out is never more than the total.
#include <gmock/gmock.h>

#include "tests/unit/server/quota_fixture.h"

namespace weir::server {
namespace {

using lease::QuotaOutcome;
using QuotaTest = QuotaServerTest;
using testing::SizeIs;

const std::string kKey = lease::quota_key("calls", "customer-7");
const char kThousandCalls[] = "{name: calls, total: 1000}";

TEST_F(QuotaTest, AHostGetsAChunkOfAKey) {
  ASSERT_TRUE(serve(quota_file(kThousandCalls)));
  create(kKey, 1000);
  RawAgent a = agent();
  const auto welcome = a.greet();
  ASSERT_TRUE(welcome);
  EXPECT_GE(welcome->protocol_minor(), 1U);

  const auto reply = exchange(a, quota_ask(kKey, 1, 10));

  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->key, kKey);
  EXPECT_EQ(reply->outcome, QuotaOutcome::granted);
  EXPECT_EQ(reply->granted, 10);
  EXPECT_EQ(reply->remaining, 990);
  EXPECT_GT(reply->valid_ms, 0);
  const lease::QuotaView view = read(kKey);
  EXPECT_EQ(view.record.held(), 10);
  ASSERT_EQ(view.holdings.size(), 1U);
  EXPECT_EQ(view.holdings[0].host, "web-1");
  EXPECT_EQ(view.holdings[0].agent_epoch, 1U);
}

// The chunk must outlive the server before the host may spend it.
TEST_F(QuotaTest, NothingLeavesBeforeItIsStored) {
  ASSERT_TRUE(serve(quota_file(kThousandCalls)));
  create(kKey, 1000);
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(a.rules());
  gate->hold = true;

  const lease::QuotaAsk ask = quota_ask(kKey, 1, 10);
  send_ask(a, ask);

  EXPECT_TRUE(a.silent());
  ASSERT_THAT(gate->held, SizeIs(1));
  gate->release();
  const auto reply = take_reply(a, ask.ask_no);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->granted, 10);
}

// The answer was lost, the server too: the same request has the same chunk, and one debit.
TEST_F(QuotaTest, TheSameRequestGetsTheSameChunkOfTheNextServer) {
  ASSERT_TRUE(serve(quota_file(kThousandCalls)));
  create(kKey, 1000);
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(exchange(a, quota_ask(kKey, 1, 10)));
  ASSERT_TRUE(serve(quota_file(kThousandCalls)));
  RawAgent again = agent();
  ASSERT_TRUE(again.greet());

  const auto reply = exchange(again, quota_ask(kKey, 1, 10));

  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->outcome, QuotaOutcome::granted);
  EXPECT_EQ(reply->granted, 10);
  EXPECT_EQ(read(kKey).record.remaining, 990);
}

TEST_F(QuotaTest, WhatComesBackIsCreditedOnce) {
  ASSERT_TRUE(serve(quota_file(kThousandCalls)));
  create(kKey, 1000);
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  const auto chunk = exchange(a, quota_ask(kKey, 1, 10));
  ASSERT_TRUE(chunk);
  const lease::ChunkReport returned{1, chunk->gen, 10, 4, true};

  for (int i = 0; i < 2; ++i) {
    const auto reply = exchange(a, quota_ask(kKey, 0, 0, {returned}));
    ASSERT_TRUE(reply);
    EXPECT_THAT(reply->closed, testing::ElementsAre(1U));
  }

  EXPECT_EQ(read(kKey).record.remaining, 996);
  EXPECT_EQ(read(kKey).record.consumed, 4);
}

TEST_F(QuotaTest, ADiskThatDoesNotWriteMeansBusyAndNothingIsHandedOut) {
  ASSERT_TRUE(serve(quota_file(kThousandCalls)));
  create(kKey, 1000);
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  gate->refuse = true;

  const auto refused = exchange(a, quota_ask(kKey, 1, 10));

  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->outcome, QuotaOutcome::busy);
  EXPECT_EQ(refused->granted, 0);
  gate->refuse = false;
  const auto later = exchange(a, quota_ask(kKey, 1, 10));
  ASSERT_TRUE(later);
  EXPECT_EQ(later->outcome, QuotaOutcome::granted);
  EXPECT_EQ(read(kKey).record.remaining, 990);
}

TEST_F(QuotaTest, NobodyAsksInAnothersSession) {
  ASSERT_TRUE(serve(quota_file(kThousandCalls)));
  create(kKey, 1000);
  RawAgent a = agent("web-1", 1);
  RawAgent b = agent("web-2", 2);
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(b.greet());
  ASSERT_TRUE(b.rules());
  const std::uint64_t own = std::exchange(b.session, a.session);

  send_ask(b, quota_ask(kKey, 1, 10));

  EXPECT_TRUE(b.silent());
  EXPECT_EQ(shop().counts.ignored_total, 1U);
  EXPECT_EQ(read(kKey).record.remaining, 1000);
  b.session = own;
  EXPECT_TRUE(exchange(b, quota_ask(kKey, 1, 10)));
  EXPECT_EQ(read(kKey).holdings.at(0).host, "web-2");
}

TEST_F(QuotaTest, AKeyThatNobodyMadeIsUnknownUnlessTheQuotaIsForAll) {
  ASSERT_TRUE(
      serve(quota_file("{name: calls, total: 1000}, "
                       "{name: open, total: 50, keys: any, chunk: {min: 5, max: 8}}")));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  const std::string open = lease::quota_key("open", "new");

  const auto unknown = exchange(a, quota_ask(kKey, 1, 1));
  const auto made = exchange(a, quota_ask(open, 2, 1));

  ASSERT_TRUE(unknown && made);
  EXPECT_EQ(unknown->outcome, QuotaOutcome::unknown_key);
  EXPECT_EQ(made->outcome, QuotaOutcome::granted);
  EXPECT_EQ(made->granted, 5);
  EXPECT_EQ(read(open).record.total, 50);
  EXPECT_THAT(audit("create").rows, SizeIs(1));
}

// An operator's word holds: what was deleted does not begin anew.
TEST_F(QuotaTest, ADeletedKeyIsNotMadeAgainByItsNextUse) {
  ASSERT_TRUE(serve(quota_file("{name: open, total: 50, keys: any}")));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  const std::string open = lease::quota_key("open", "new");
  ASSERT_TRUE(exchange(a, quota_ask(open, 1, 1)));
  lease::QuotaChange remove;
  remove.kind = lease::QuotaChangeKind::remove;
  remove.key = open;
  ASSERT_EQ(change(remove).outcome, lease::QuotaChangeOutcome::done);

  const auto reply = exchange(a, quota_ask(open, 2, 1));

  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->outcome, QuotaOutcome::unknown_key);
}

TEST_F(QuotaTest, AReloadChangesTheChunksOfKeysThatAreInUse) {
  ASSERT_TRUE(serve(quota_file("{name: calls, total: 1000}")));
  create(kKey, 1000);
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  ASSERT_EQ(exchange(a, quota_ask(kKey, 1, 1)).value().granted, 1);

  ASSERT_EQ(server_->apply(parsed(quota_file("{name: calls, total: 1000, chunk: {min: 20}}"))), "");

  EXPECT_EQ(exchange(a, quota_ask(kKey, 2, 1)).value().granted, 20);
}

TEST_F(QuotaTest, AServerWithoutQuotasSaysSo) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());

  const auto reply = exchange(a, quota_ask(kKey, 1, 1));

  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->outcome, QuotaOutcome::unknown_key);
}

TEST_F(QuotaTest, OverTheGuardTheAnswerIsBusy) {
  ASSERT_TRUE(serve(quota_file(kThousandCalls, "    guard: 10\n")));
  create(kKey, 1000);
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());

  int busy = 0;
  for (std::uint64_t seq = 1; seq <= 20; ++seq) {
    const auto reply = exchange(a, quota_ask(kKey, seq, 1));
    ASSERT_TRUE(reply);
    busy += reply->outcome == QuotaOutcome::busy ? 1 : 0;
  }

  EXPECT_GE(busy, 5);
}

// Whoever owns the namespace now may hand the same units out.
TEST_F(QuotaTest, AServerThatDoesNotOwnTheNamespaceGrantsNothing) {
  ASSERT_TRUE(serve(quota_file(kThousandCalls)));
  create(kKey, 1000);
  server_->redirect("shop", {}, "elsewhere");
  lease::QuotaChange top_up;
  top_up.kind = lease::QuotaChangeKind::top_up;
  top_up.key = kKey;
  top_up.amount = 5;

  EXPECT_EQ(change(top_up).outcome, lease::QuotaChangeOutcome::busy);

  server_->own("shop");
  EXPECT_EQ(change(top_up).outcome, lease::QuotaChangeOutcome::done);
  EXPECT_EQ(read(kKey).record.total, 1005);
}

TEST_F(QuotaTest, WhoeverHoldsIsAskedToGiveBackWhenNothingIsLeft) {
  ASSERT_TRUE(serve(quota_file("{name: calls, total: 10}")));
  create(kKey, 10);
  RawAgent a = agent("web-1", 1);
  RawAgent b = agent("web-2", 2);
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(b.greet());
  ASSERT_EQ(exchange(a, quota_ask(kKey, 1, 10)).value().granted, 10);

  EXPECT_EQ(exchange(b, quota_ask(kKey, 1, 1)).value().outcome, QuotaOutcome::exhausted);

  const auto poke = a.take([](const v1::ToAgent& m) { return m.has_quota_pokes(); });
  ASSERT_TRUE(poke);
  EXPECT_EQ(poke->quota_pokes().session(), a.session);
  EXPECT_EQ(poke->quota_pokes().quota_key(0), "customer-7");
}

// ------------------------------------------------------------------ the audit log

// Not so long ago that the cleaner would take it.
std::int64_t today_ms() {
  static const std::int64_t now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                                         std::chrono::system_clock::now().time_since_epoch())
                                         .count();
  return now_ms;
}

v1::ToServer usage(const RawAgent& agent, std::uint64_t batch_no, int rows) {
  v1::ToServer message;
  v1::QuotaUsage& out = *message.mutable_quota_usage();
  out.set_session(agent.session);
  out.set_batch_no(batch_no);
  for (int i = 0; i < rows; ++i) {
    lease::QuotaEvent event;
    event.process = "billing";
    event.uid = 33;
    event.amount = i + 1;
    event.outcome = i == 0 ? "timeout" : "ok";
    event.at_wall_ms = today_ms();
    add_to_wire(kKey, event, out);
  }
  return message;
}

std::optional<std::uint64_t> taken(RawAgent& agent) {
  const auto got = agent.take([](const v1::ToAgent& m) { return m.has_quota_usage_taken(); });
  return got ? std::optional(got->quota_usage_taken().batch_no()) : std::nullopt;
}

TEST_F(QuotaTest, UsageIsInTheAuditLogWhenItIsSaidToBeTaken) {
  ASSERT_TRUE(serve(quota_file(kThousandCalls)));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());

  a.send(usage(a, 1, 2));

  EXPECT_EQ(taken(a), 1U);
  const AuditPage page = audit("consume");
  ASSERT_THAT(page.rows, SizeIs(2));
  const AuditRow& first = page.rows[1];
  EXPECT_EQ(first.key, kKey);
  EXPECT_EQ(first.event.host, "web-1");
  EXPECT_EQ(first.event.process, "billing");
  EXPECT_EQ(first.event.uid, 33U);
  EXPECT_EQ(first.event.amount, 1);
  EXPECT_EQ(first.event.outcome, "timeout");
  EXPECT_EQ(first.event.at_wall_ms, today_ms());
}

TEST_F(QuotaTest, ABatchThatComesAgainIsNotWrittenAgainEvenByTheNextServer) {
  ASSERT_TRUE(serve(quota_file(kThousandCalls)));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  for (int i = 0; i < 2; ++i) {
    a.send(usage(a, 1, 3));
    EXPECT_EQ(taken(a), 1U);
  }
  ASSERT_TRUE(serve(quota_file(kThousandCalls)));
  RawAgent again = agent();
  ASSERT_TRUE(again.greet());

  again.send(usage(again, 1, 3));
  EXPECT_EQ(taken(again), 1U);
  again.send(usage(again, 2, 1));
  EXPECT_EQ(taken(again), 2U);

  EXPECT_THAT(audit("consume").rows, SizeIs(4));
}

TEST_F(QuotaTest, EveryDecisionIsInTheAuditLog) {
  ASSERT_TRUE(serve(quota_file(kThousandCalls)));
  create(kKey, 1000);
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  const auto chunk = exchange(a, quota_ask(kKey, 1, 10));
  ASSERT_TRUE(chunk);
  ASSERT_TRUE(exchange(a, quota_ask(kKey, 0, 0, {{1, chunk->gen, 10, 4, true}})));

  const AuditPage page = audit();

  ASSERT_THAT(page.rows, SizeIs(3));
  EXPECT_EQ(page.rows[2].event.action, lease::QuotaAction::create);
  EXPECT_EQ(page.rows[1].event.action, lease::QuotaAction::grant);
  EXPECT_EQ(page.rows[1].event.amount, 10);
  EXPECT_EQ(page.rows[0].event.action, lease::QuotaAction::give_back);
  EXPECT_EQ(page.rows[0].event.amount, 6);
  const ServerStatus status = server_->status();
  ASSERT_TRUE(status.quota_store && status.audit && status.clean);
  EXPECT_GE(status.quota_store->transactions_total, 3U);
}

}  // namespace
}  // namespace weir::server
