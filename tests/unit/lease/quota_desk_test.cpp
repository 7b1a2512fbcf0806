// The quota desk by hand.
#include "lease/quota_desk.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

namespace weir::lease {
namespace {

constexpr std::uint64_t kEpoch = 5;
constexpr std::uint64_t kGen = 100;

// One key and its word, as an agent would have them.
struct Host {
  explicit Host(QuotaDeskMutants mutants = {}) : desk({.host = "h", .agent_epoch = kEpoch}) {
    desk.mutants = mutants;
    desk.add_key(0, "k", now);
    in_force();
  }
  void in_force() {
    for (int i = 0; i < 3; ++i)
      for (const QuotaOrder order : std::vector<QuotaOrder>(desk.take_orders())) {
        if (order.keep) kept = desk.kept(0);
        level += order.add;
        if (order.drain) {
          const Units taken = level;
          level = 0;
          drains += 1;
          desk.drained(0, taken, now);
        }
        gone = gone || order.gone;
      }
  }
  void look(Units need = 0) {
    desk.withdraw(now);
    in_force();
    desk.observe(0, {level, need, refunded}, now);
    in_force();
  }
  std::optional<QuotaAsk> talk() {
    std::vector<QuotaAsk> asks;
    desk.next_asks(now, 10, asks);
    in_force();
    if (asks.empty()) return std::nullopt;
    last = asks[0];
    return asks[0];
  }
  QuotaReply reply(const QuotaAsk& ask, Units granted = 0, std::int64_t valid_ms = 30'000) {
    QuotaReply reply;
    reply.key = "k";
    reply.agent_epoch = kEpoch;
    reply.ask_no = ask.ask_no;
    reply.seq = ask.seq;
    reply.gen = gen;
    reply.granted = granted;
    reply.valid_ms = valid_ms;
    reply.outcome = granted > 0    ? QuotaOutcome::granted
                    : ask.seq != 0 ? QuotaOutcome::exhausted
                                   : QuotaOutcome::heard;
    for (const ChunkReport& report : ask.chunks)
      if (report.returned) reply.closed.push_back(report.seq);
    return reply;
  }
  void hear(const QuotaReply& reply) {
    desk.on_reply(reply, now);
    in_force();
  }
  // One chunk in the word.
  void fill(Units units) {
    look(units);
    const auto ask = talk();
    ASSERT_TRUE(ask.has_value());
    hear(reply(*ask, units));
    look();
  }

  TimeNs now = 1000 * kSecond;
  std::uint64_t gen = kGen;
  QuotaDesk desk;
  QuotaKept kept;
  QuotaAsk last;
  Units level = 0, refunded = 0;
  int drains = 0;
  bool gone = false;
};

TEST(QuotaDesk, AColdKeyAsksAtOnceAndAgainWithTheSameNumber) {
  Host host;
  host.look(3);
  const auto first = host.talk();
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->need, 3);
  EXPECT_FALSE(host.talk().has_value()) << "one request is under way at a time";
  host.now += 200 * kMs;
  const auto again = host.talk();
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->seq, first->seq);

  host.hear(host.reply(*first, 8));
  EXPECT_EQ(host.level, 8);
  host.hear(host.reply(*again, 8));
  EXPECT_EQ(host.level, 8) << "the second answer is not awaited";
}

TEST(QuotaDesk, OnlyAnAwaitedChunkIsTaken) {
  for (const bool mutant : {false, true}) {
    QuotaDeskMutants mutants;
    mutants.accept_any = mutant;
    Host host(mutants);
    host.look(3);
    const auto ask = host.talk();
    host.hear(host.reply(*ask));  // refused
    host.hear(host.reply(*ask, 9));
    EXPECT_EQ(host.level, mutant ? 9 : 0);
  }
}

TEST(QuotaDesk, AChunkIsKeptBeforeItIsSpent) {
  Host host;
  host.look(3);
  const auto ask = host.talk();
  host.desk.on_reply(host.reply(*ask, 8), host.now);
  const std::vector<QuotaOrder> orders = host.desk.take_orders();
  ASSERT_EQ(orders.size(), 1U);
  EXPECT_TRUE(orders[0].keep);
  EXPECT_EQ(orders[0].add, 8);
  EXPECT_TRUE(host.desk.kept(0).chunks.at(0).added);
}

TEST(QuotaDesk, ASuccessorGoesOnWithWhatIsInTheWord) {
  Host host;
  host.fill(8);
  host.level -= 3;  // spent while no agent is there

  Host next;
  next.desk = QuotaDesk({.host = "h", .agent_epoch = kEpoch});
  next.desk.restore_key(0, host.kept, host.level, next.now);
  next.level = host.level;
  next.in_force();
  const auto told = next.talk();
  ASSERT_TRUE(told.has_value());
  ASSERT_EQ(told->chunks.size(), 1U);
  EXPECT_EQ(told->chunks[0].spent, 3);
  next.look(9);
  next.hear(next.reply(*told));
  next.look(9);
  next.now += kSecond;
  next.look(9);
  const auto more = next.talk();
  ASSERT_TRUE(more.has_value());
  EXPECT_GT(more->seq, host.last.seq) << "no number is used twice";
}

TEST(QuotaDesk, UsageIsTheChunksOwnTotalAndTheOldestGoesFirst) {
  Host host;
  host.fill(8);
  host.level = 2;
  host.look(5);
  const auto ask = host.talk();
  ASSERT_TRUE(ask.has_value());
  EXPECT_EQ(ask->chunks[0].spent, 6);
  host.hear(host.reply(*ask, 10));
  host.level -= 5;
  host.now += kSecond;
  host.look();
  const auto told = host.talk();
  ASSERT_EQ(told->chunks.size(), 2U);
  EXPECT_EQ(told->chunks[0].spent, 8);
  EXPECT_TRUE(told->chunks[0].returned) << "not a unit of it is left";
  EXPECT_EQ(told->chunks[1].spent, 3);
}

TEST(QuotaDesk, NothingIsSpentOnceAReturnIsSaid) {
  for (const bool mutant : {false, true}) {
    QuotaDeskMutants mutants;
    mutants.return_unfrozen = mutant;
    Host host(mutants);
    host.fill(8);
    host.now += 11 * kSecond;
    host.look();
    const auto told = host.talk();
    ASSERT_TRUE(told.has_value());
    EXPECT_TRUE(told->chunks.at(0).returned);
    EXPECT_EQ(host.level, mutant ? 8 : 0);
  }
}

TEST(QuotaDesk, AReturnIsSaidUntilItIsClosed) {
  for (const bool mutant : {false, true}) {
    QuotaDeskMutants mutants;
    mutants.forget_early = mutant;
    Host host(mutants);
    host.fill(8);
    host.desk.drop_key(0, host.now);
    host.in_force();
    EXPECT_EQ(host.gone, mutant);
    if (mutant) continue;
    const auto first = host.talk();
    ASSERT_TRUE(first.has_value());
    host.now += kSecond;
    const auto again = host.talk();
    ASSERT_TRUE(again.has_value());
    EXPECT_TRUE(again->chunks.at(0).returned);
    host.hear(host.reply(*again));
    EXPECT_TRUE(host.gone);
  }
}

TEST(QuotaDesk, AChunkIsValidFromTheSendingOn) {
  for (const bool mutant : {false, true}) {
    QuotaDeskMutants mutants;
    mutants.valid_from_answer = mutant;
    Host host(mutants);
    host.look(3);
    const auto ask = host.talk();
    host.now += 100 * kMs;
    host.hear(host.reply(*ask, 8, 1'000));
    host.now += 950 * kMs;
    host.look();
    EXPECT_EQ(host.level, mutant ? 8 : 0);
  }
}

TEST(QuotaDesk, TwoGenerationsAreNeverInOneWord) {
  for (const bool mutant : {false, true}) {
    QuotaDeskMutants mutants;
    mutants.mix_generations = mutant;
    Host host(mutants);
    host.fill(8);
    host.look(20);
    const auto ask = host.talk();
    host.gen = kGen + 1;
    host.hear(host.reply(*ask, 5));
    EXPECT_EQ(host.level, mutant ? 13 : 5);
    EXPECT_EQ(host.drains, mutant ? 0 : 1);
  }
}

TEST(QuotaDesk, OldAnswersDoNotLengthenTheValidity) {
  Host host;
  host.fill(8);
  host.level = 7;
  host.now += kSecond;
  host.look();
  const auto first = host.talk();
  host.level = 6;
  host.now += kSecond;
  host.look();
  const auto second = host.talk();
  host.hear(host.reply(*second, 0, 0));  // suspended
  EXPECT_EQ(host.level, 0);
  host.hear(host.reply(*first, 0, 30'000));
  EXPECT_LE(host.desk.view(0).valid_end_ns, host.now);
}

TEST(QuotaDesk, WhatIsNotNeededGoesToOthersWhenTheyAskForIt) {
  for (const bool mutant : {false, true}) {
    QuotaDeskMutants mutants;
    mutants.hoard = mutant;
    Host host(mutants);
    host.fill(8);
    host.desk.on_poke({kEpoch, "k"}, host.now);
    host.in_force();
    EXPECT_EQ(host.level, mutant ? 8 : 0);
  }
}

TEST(QuotaDesk, ACopyOfAHostReturnsNothing) {
  Host host;
  host.fill(8);
  host.desk.new_identity(host.now);
  host.in_force();
  EXPECT_EQ(host.level, 0);
  EXPECT_NE(host.desk.agent_epoch(), kEpoch);
  EXPECT_TRUE(host.desk.kept(0).chunks.empty());
}

TEST(QuotaDesk, AnAnswerForAKeyThatIsGoneIsGivenBack) {
  Host host;
  host.look(3);
  const auto ask = host.talk();
  host.hear(host.reply(*ask));
  host.desk.drop_key(0, host.now);
  host.in_force();
  ASSERT_TRUE(host.gone);
  host.hear(host.reply(*ask, 9));
  const auto said = host.talk();
  ASSERT_TRUE(said.has_value());
  EXPECT_GE(said->done_seq, ask->seq);
  EXPECT_TRUE(said->chunks.empty());
}

TEST(QuotaDesk, AChunkThatTheServerBelievesHereIsDenied) {
  Host host;
  host.look(3);
  const auto ask = host.talk();
  host.hear(host.reply(*ask));
  host.look();
  host.now += kSecond;
  EXPECT_FALSE(host.talk().has_value()) << "nothing is to be said";
  host.hear(host.reply(*ask, 9));  // a late double
  const auto said = host.talk();
  ASSERT_TRUE(said.has_value());
  EXPECT_GE(said->done_seq, ask->seq);
  host.now += kSecond;
  host.desk.on_poke({kEpoch, "k"}, host.now);
  EXPECT_TRUE(host.talk().has_value());
  host.desk.on_poke({kEpoch, "another"}, host.now);
  EXPECT_EQ(host.talk().value_or(QuotaAsk{}).key, "another");
}

TEST(QuotaDesk, RefundsAreToldAsATotal) {
  Host host;
  host.fill(8);
  host.level = 2;
  host.refunded = 4;
  host.now += kSecond;
  host.look();
  const auto told = host.talk();
  ASSERT_TRUE(told.has_value());
  EXPECT_EQ(told->refunded_total, 4);
  EXPECT_EQ(told->refund_gen, kGen);
  EXPECT_EQ(host.kept.refunded, 4);
}

// To the server it is a total of this agent and generation, however often the key came and went:
// counted from nought again, the next refunds would say nothing new.
TEST(QuotaDesk, RefundsGoOnWhereTheyWereWhenAKeyComesBack) {
  Host host;
  host.fill(8);
  host.level = 0;
  host.refunded = 4;
  host.now += kSecond;
  host.look();
  const auto told = host.talk();
  ASSERT_TRUE(told.has_value());
  QuotaReply closed = host.reply(*told);
  closed.closed.push_back(told->chunks.at(0).seq);
  host.hear(closed);
  host.desk.drop_key(0, host.now);
  host.in_force();
  ASSERT_TRUE(host.gone);

  host.desk.add_key(0, "k", host.now);
  host.refunded = 1;  // the counter of the slot began anew
  host.look(1);
  const auto again = host.talk();

  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->refunded_total, 5);
  EXPECT_EQ(again->refund_gen, kGen);
}

}  // namespace
}  // namespace weir::lease
