// A host's side, a message at a time.
#include "lease/desk.h"

#include <gtest/gtest.h>

namespace weir::lease {
namespace {

constexpr TimeNs kStart = 1000 * kSecond;

struct Side {
  Side() : desk(options()) { desk.add_limit(0, "a", now); }
  static DeskOptions options() {
    DeskOptions o;
    o.host = "h";
    o.seed = 3;
    return o;
  }
  void greet(SessionId session = 11, std::uint64_t epoch = 1) {
    const Hello hello = desk.connected(now);
    Welcome welcome;
    welcome.hello_no = hello.hello_no;
    welcome.session = session;
    welcome.epoch = epoch;
    ASSERT_EQ(desk.on_welcome(welcome, now), Desk::Reply::ok);
  }
  Request ask() {
    const Request* request = desk.next_request(now);
    EXPECT_NE(request, nullptr);
    return request != nullptr ? *request : Request{};
  }
  Answer answer_to(const Request& request, Micro rate, Micro burst) const {
    Answer answer;
    answer.session = request.session;
    answer.seq = request.seq;
    answer.ttl_ns = 5 * kSecond;
    answer.tail_ns = 5 * kSecond;
    answer.refresh_ns = kSecond;
    Grant grant;
    grant.limit = limit_id("a");
    grant.terms = {rate, burst, rate / 4, burst / 4};
    answer.grants.push_back(grant);
    return answer;
  }
  void lease(Micro rate, Micro burst) {
    const Request request = ask();
    ASSERT_TRUE(desk.on_answer(answer_to(request, rate, burst), now).has_value());
  }

  TimeNs now = kStart;
  Desk desk;
};

TEST(Desk, ALeaseRunsFromWhenItsRequestWasFirstSent) {
  Side s;
  s.greet();
  const Request request = s.ask();
  s.now += 200 * kMs;
  ASSERT_NE(s.desk.next_request(s.now), nullptr) << "the same request again";
  s.now += 100 * kMs;
  s.desk.on_answer(s.answer_to(request, 100 * kToken, 10 * kToken), s.now);

  EXPECT_EQ(s.desk.view(0).end_ns, kStart + shortened(5 * kSecond));
  EXPECT_EQ(s.desk.view(0).rate, 100 * kToken - 100 * kToken / 1'000);
}

TEST(Desk, ARepeatIsTheSameBytes) {
  Side s;
  s.greet();
  const Request first = s.ask();
  s.desk.observe(0, {5, 0, 5, 0, 0}, s.now);
  s.now += 200 * kMs;
  s.desk.observe(0, {50, 90, 50, 0, 1}, s.now);
  const Request again = s.ask();

  EXPECT_EQ(again.seq, first.seq);
  ASSERT_EQ(again.wants.size(), first.wants.size());
  EXPECT_EQ(again.wants[0].spent_total, first.wants[0].spent_total);
  EXPECT_EQ(s.desk.counts().retries_total, 1U);
}

TEST(Desk, OnlyTheAwaitedAnswerIsTaken) {
  Side s;
  s.greet();
  const Request request = s.ask();
  Answer other = s.answer_to(request, 100 * kToken, 10 * kToken);
  other.seq = request.seq + 1;
  EXPECT_FALSE(s.desk.on_answer(other, s.now).has_value());
  other = s.answer_to(request, 100 * kToken, 10 * kToken);
  other.session = 99;
  EXPECT_FALSE(s.desk.on_answer(other, s.now).has_value());
  EXPECT_TRUE(s.desk.on_answer(s.answer_to(request, kToken, kToken), s.now).has_value());
  EXPECT_FALSE(s.desk.on_answer(s.answer_to(request, kToken, kToken), s.now).has_value())
      << "a double";
}

TEST(Desk, AnAnswerThatCameTooLateIsNone) {
  Side s;
  s.greet();
  const Request request = s.ask();
  s.now += 5 * kSecond;
  EXPECT_FALSE(
      s.desk.on_answer(s.answer_to(request, 100 * kToken, 10 * kToken), s.now).has_value());
  EXPECT_EQ(s.desk.view(0).state, LeaseState::none);
}

TEST(Desk, TheLeaseEndsThenItsTailThenAll) {
  Side s;
  s.greet();
  s.lease(100 * kToken, 40 * kToken);
  s.desk.take_changes();
  s.now = kStart + shortened(5 * kSecond);
  s.desk.withdraw(s.now);
  EXPECT_EQ(s.desk.take_changes().size(), 1U);
  EXPECT_EQ(s.desk.view(0).state, LeaseState::tail);
  EXPECT_EQ(s.desk.view(0).rate, 0);
  EXPECT_EQ(s.desk.view(0).tail_burst, 10 * kToken);
  s.now += shortened(5 * kSecond);
  s.desk.withdraw(s.now);
  EXPECT_EQ(s.desk.view(0).state, LeaseState::ended);
  EXPECT_EQ(s.desk.view(0).tail_rate, 0);
}

TEST(Desk, AfterAStallNothingThatHasEndedIsClaimed) {
  Side s;
  s.greet();
  s.lease(100 * kToken, 40 * kToken);
  s.now += 60 * kSecond;
  const Hello hello = s.desk.connected(s.now);

  EXPECT_TRUE(hello.claims.empty());
  EXPECT_EQ(s.desk.view(0).state, LeaseState::ended);
}

TEST(Desk, ANewIdentityHoldsNothing) {
  Side s;
  s.greet();
  s.lease(100 * kToken, 40 * kToken);
  const std::uint64_t before = s.desk.agent_epoch();
  const Hello hello = s.desk.connected(s.now);
  ASSERT_EQ(hello.claims.size(), 1U);
  Welcome welcome;
  welcome.hello_no = hello.hello_no;
  welcome.epoch = 1;
  welcome.new_identity = true;

  EXPECT_EQ(s.desk.on_welcome(welcome, s.now), Desk::Reply::hello_again);
  EXPECT_NE(s.desk.agent_epoch(), before);
  EXPECT_EQ(s.desk.view(0).rate, 0);
  EXPECT_TRUE(s.desk.connected(s.now).claims.empty());
}

TEST(Desk, AnOlderServerIsLeft) {
  Side s;
  s.greet(11, 7);
  const Hello hello = s.desk.connected(s.now);
  EXPECT_EQ(hello.epoch_seen, 7U);
  Welcome old;
  old.hello_no = hello.hello_no;
  old.session = 12;
  old.epoch = 6;
  EXPECT_EQ(s.desk.on_welcome(old, s.now), Desk::Reply::wrong_server);
  EXPECT_FALSE(s.desk.connected());
}

TEST(Desk, WithdrawnClaimsAreDropped) {
  Side s;
  s.greet();
  s.lease(100 * kToken, 40 * kToken);
  const Hello hello = s.desk.connected(s.now);
  Welcome welcome;
  welcome.hello_no = hello.hello_no;
  welcome.session = 12;
  welcome.epoch = 2;
  welcome.withdraw = {limit_id("a")};
  s.desk.on_welcome(welcome, s.now);
  EXPECT_EQ(s.desk.view(0).rate, 0);
}

TEST(Desk, AFastClockIsStoppedByTheServers) {
  Side s;
  s.greet();
  s.lease(100 * kToken, 10 * kToken);
  s.desk.observe(0, {0, 0, 0, 0, 0}, s.now);
  // By the server's clock a second, by ours many: far more was minted than the lease allows.
  s.desk.observe(0, {900, 0, 900, 0, 0}, s.now + kSecond);

  EXPECT_EQ(s.desk.view(0).rate, 0);
  EXPECT_EQ(s.desk.counts().clock_runaway_total, 1U);
}

TEST(Desk, UnspentTokensOfAFillGoBackOnce) {
  Side s;
  s.greet();
  s.desk.observe(0, {0, 1, 0, 0, 2}, s.now);
  const Request request = s.ask();
  EXPECT_EQ(request.wants.at(0).need, 2 * kToken);
  Answer answer = s.answer_to(request, 0, 2 * kToken);
  answer.grants[0].terms.tail_rate = answer.grants[0].terms.tail_burst = 0;
  answer.grants[0].fill = 2 * kToken;
  s.desk.on_answer(answer, s.now);
  bool filled = false;
  for (const Change& change : s.desk.take_changes())
    filled = filled || change.fill == 2 * kToken;
  EXPECT_TRUE(filled);
  s.now += 600 * kMs;
  s.desk.observe(0, {0, 1, 2, 2, 0}, s.now);
  bool drain = false;
  for (const Change& change : s.desk.take_changes())
    drain = drain || change.drain;
  ASSERT_TRUE(drain);
  s.desk.drained(0, 2, s.now);
  s.now += 60 * kMs;
  const Request next = s.ask();
  EXPECT_EQ(next.wants.at(0).returned, 2 * kToken);
  EXPECT_EQ(next.wants.at(0).keep_burst, 0);
}

TEST(Desk, ARefusalAsksBeforeTheRefresh) {
  Side s;
  s.greet();
  s.lease(0, 0);
  s.now += 100 * kMs;
  EXPECT_EQ(s.desk.next_request(s.now), nullptr);
  s.desk.observe(0, {0, 0, 0, 0, 0}, s.now);
  s.desk.observe(0, {0, 1, 0, 0, 1}, s.now + kMs);
  EXPECT_LE(s.desk.next_deadline(s.now + kMs), s.now + kMs);
  EXPECT_NE(s.desk.next_request(s.now + kMs), nullptr);
}

TEST(Desk, StateGoesOnInTheNextAgent) {
  Side s;
  s.greet();
  s.lease(100 * kToken, 40 * kToken);
  const DeskState state = s.desk.state();
  Desk next(Side::options());
  next.restore(state);
  next.add_limit(4, "a", s.now);

  EXPECT_EQ(next.view(4).state, LeaseState::live);
  EXPECT_EQ(next.view(4).rate, s.desk.view(0).rate);
  const Hello hello = next.connected(s.now);
  EXPECT_EQ(hello.prev_session, 11U);
  EXPECT_EQ(hello.claims.size(), 1U);
  EXPECT_GT(hello.hello_no, 1U);
}

TEST(Demand, AnEvenRateIsKnownWithinTwoPercent) {
  Demand demand;
  std::uint64_t total = 0;
  TimeNs now = kStart;
  for (int i = 0; i < 400; ++i, now += 10 * kMs) {
    if (i % 2 == 0) ++total;  // 50 a second
    demand.sample(total, now);
  }
  EXPECT_NEAR(static_cast<double>(demand.rate()) / 1e6, 50, 1);
}

TEST(Demand, AJumpIsFollowedWithinOneWindow) {
  Demand demand;
  std::uint64_t total = 0;
  TimeNs now = kStart;
  for (int i = 0; i < 300; ++i, now += 10 * kMs)
    demand.sample(total += static_cast<std::uint64_t>(i % 2), now);
  for (int i = 0; i < 52; ++i, now += 10 * kMs)
    demand.sample(total += 4, now);
  EXPECT_NEAR(static_cast<double>(demand.rate()) / 1e6, 400, 20);
}

TEST(Demand, TotalsThatStartOverAreNoDemand) {
  Demand demand;
  demand.sample(1'000'000, kStart);
  demand.sample(5, kStart + kSecond);
  EXPECT_EQ(demand.rate(), 0);
}

}  // namespace
}  // namespace weir::lease
