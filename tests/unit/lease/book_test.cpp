// The server's side, a message at a time.
#include <gtest/gtest.h>

#include "lease/book.h"
#include "tests/unit/lease/pair.h"

namespace weir::lease::test {
namespace {

constexpr TimeNs kStart = 1000 * kSecond;

struct Talk {
  explicit Talk(BookOptions options =
                    [] {
                      BookOptions plain;
                      plain.learn = false;
                      return plain;
                    }())
      : book(options, kStart) {
    std::string why;
    EXPECT_TRUE(book.set_limits({limit_of("a", 300, 300)}, kStart, why)) << why;
  }
  Welcome greet(const std::string& host, std::uint64_t hello_no = 1, SessionId prev = 0,
                std::uint64_t agent_epoch = 5, std::vector<Claim> claims = {}) {
    Hello hello;
    hello.host = host;
    hello.agent_epoch = agent_epoch;
    hello.hello_no = hello_no;
    hello.prev_session = prev;
    hello.claims = std::move(claims);
    const auto greeting = book.hello(hello, now);
    return greeting ? greeting->welcome : Welcome{};
  }
  Request ask(SessionId session, std::uint64_t seq, std::uint64_t accepted, std::int64_t want,
              Micro keep = 0) {
    Request request;
    request.session = session;
    request.seq = seq;
    request.accepted_seq = accepted;
    Want row;
    row.limit = limit_id("a");
    row.rate = want * kToken;
    row.keep_rate = row.keep_burst = keep;
    request.wants.push_back(row);
    return request;
  }
  Micro counted() const { return book.counted(limit_id("a")).first; }
  // What hosts may hold, without the server's own part.
  Micro leased() const { return book.limits(now).at(0).leased_rate; }

  Book book;
  TimeNs now = kStart;
  Book::Due due;
};

TEST(Book, ARepeatedRequestGetsTheSameAnswer) {
  Talk t;
  const SessionId session = t.greet("h").session;
  const Request request = t.ask(session, 1, 0, 100);
  const Answer first = *t.book.request(request, t.now);
  ASSERT_EQ(first.grants.size(), 1U);
  t.greet("other");
  t.now += 200 * kMs;
  const Answer* again = t.book.request(request, t.now);

  ASSERT_NE(again, nullptr);
  EXPECT_EQ(again->grants[0].terms, first.grants[0].terms);
  EXPECT_EQ(t.leased(), first.grants[0].terms.rate);
}

TEST(Book, ARequestOutOfOrderGetsNothing) {
  Talk t;
  const SessionId session = t.greet("h").session;
  t.book.request(t.ask(session, 1, 0, 100), t.now);

  EXPECT_EQ(t.book.request(t.ask(session, 3, 1, 100), t.now), nullptr);
  EXPECT_EQ(t.book.request(t.ask(session + 1, 2, 1, 100), t.now), nullptr);
}

TEST(Book, WhatIsGivenUpCountsUntilTheHostHasSaidSo) {
  Talk t;
  const SessionId one = t.greet("one").session;
  const SessionId two = t.greet("two").session;
  t.book.request(t.ask(one, 1, 0, 1'000), t.now);
  t.book.ack({one, 1}, t.now);
  const Micro all = t.leased();
  EXPECT_EQ(all, 300 * kToken - 300 * kToken / 10'000 * kReserveRatePer10k);

  const Answer hungry = *t.book.request(t.ask(two, 1, 0, 1'000), t.now);
  EXPECT_TRUE(hungry.grants.empty() || hungry.grants[0].terms.rate == 0);
  const Answer less = *t.book.request(t.ask(one, 2, 1, 1'000, all), t.now);
  ASSERT_EQ(less.grants.size(), 1U);
  EXPECT_LT(less.grants[0].terms.rate, all);
  EXPECT_EQ(t.leased(), all) << "offered less, may still hold all";
  t.book.ack({one, 2}, t.now);
  EXPECT_EQ(t.leased(), less.grants[0].terms.rate);
  t.now += 60 * kMs;
  t.book.poll(t.now, t.due);
  ASSERT_EQ(t.due.poke.size(), 1U) << "the other one is told to come";
  EXPECT_EQ(t.due.poke[0], two);
}

// While a server learns, newcomers queue for whole tokens. One that has a rate by now waits for
// nothing, and asking it to come for ever would be a request each 50 ms.
TEST(Book, WhoHasARateLeavesTheQueueForTokens) {
  BookOptions learning;
  Talk t(learning);
  const SessionId session = t.greet("h").session;
  std::uint64_t seq = 0;
  Answer answer;
  const auto ask = [&](std::int64_t need) {
    Request request = t.ask(session, seq + 1, seq, 100);
    request.wants[0].need = need * kToken;
    answer = *t.book.request(request, t.now);
    t.book.ack({session, ++seq}, t.now);
  };
  while (t.book.learning()) {
    ask(200);  // more than there is yet
    t.now += kSecond;
    t.book.poll(t.now, t.due);
  }
  ask(0);
  ASSERT_EQ(answer.grants.size(), 1U);
  ASSERT_GT(answer.grants[0].terms.rate, 50 * kToken);

  std::size_t pokes = 0;
  for (int i = 0; i < 20; ++i) {
    t.now += 60 * kMs;
    t.book.poll(t.now, t.due);
    pokes += t.due.poke.size();
  }
  EXPECT_LE(pokes, 1U);  // learning has just ended
}

TEST(Book, AnOfferThatWasNotTakenIsTakenBack) {
  Talk t;
  const SessionId session = t.greet("h").session;
  t.book.request(t.ask(session, 1, 0, 100), t.now);
  EXPECT_GT(t.leased(), 0);
  // The host has moved on without the answer to 1; it wants nothing any more.
  t.book.request(t.ask(session, 2, 0, 0), t.now);
  EXPECT_EQ(t.leased(), 0);
}

TEST(Book, ASilentHostKeepsItsTailAndThenNothing) {
  Talk t;
  const SessionId session = t.greet("h").session;
  t.greet("other");
  t.book.request(t.ask(session, 1, 0, 1'000), t.now);
  t.book.ack({session, 1}, t.now);
  const Micro all = t.leased();
  t.now = kStart + lengthened(5 * kSecond) - 1;
  t.book.poll(t.now, t.due);
  EXPECT_EQ(t.leased(), all);
  t.now += 2;
  t.book.poll(t.now, t.due);
  EXPECT_EQ(t.leased(), 150 * kToken) << "limit / hosts";
  t.now += lengthened(5 * kSecond) + 1;
  t.book.poll(t.now, t.due);
  EXPECT_EQ(t.leased(), 0);
  EXPECT_EQ(t.due.forgotten.size(), 2U);
  EXPECT_EQ(t.book.hosts(), 0U);
}

TEST(Book, ACloneBecomesSomebodyElse) {
  Talk t;
  const SessionId first = t.greet("h", 1).session;
  t.book.request(t.ask(first, 1, 0, 100), t.now);
  const SessionId second = t.greet("h", 2, first).session;
  ASSERT_NE(second, 0U);
  t.book.request(t.ask(second, 1, 0, 100), t.now);

  // A copy from the time of the first session.
  const Welcome copy = t.greet("h", 3, first);
  EXPECT_TRUE(copy.new_identity);
  EXPECT_EQ(copy.session, 0U);
  EXPECT_TRUE(t.book.knows(second));
}

TEST(Book, AHelloWhoseWelcomeWasLostIsRepeated) {
  Talk t;
  const SessionId first = t.greet("h", 1).session;
  t.book.request(t.ask(first, 1, 0, 100), t.now);
  const SessionId lost = t.greet("h", 2, first).session;
  const Welcome again = t.greet("h", 3, first);

  EXPECT_FALSE(again.new_identity);
  EXPECT_NE(again.session, lost);
  EXPECT_FALSE(t.book.knows(lost));
}

TEST(Book, AnOldHelloIsNotHeard) {
  Talk t;
  t.greet("h", 7);
  Hello old;
  old.host = "h";
  old.agent_epoch = 5;
  old.hello_no = 7;
  EXPECT_FALSE(t.book.hello(old, t.now).has_value());
}

TEST(Book, BusyExtendsWhatIsHeldAndDecidesNothing) {
  Talk t;
  const SessionId session = t.greet("h").session;
  t.book.request(t.ask(session, 1, 0, 100), t.now);
  t.book.ack({session, 1}, t.now);
  const Micro held = t.leased();
  t.now += 4 * kSecond;
  const Answer* busy = t.book.busy(t.ask(session, 2, 1, 250, held), t.now);
  ASSERT_NE(busy, nullptr);
  EXPECT_TRUE(busy->busy);
  EXPECT_TRUE(busy->grants.empty());
  t.now += 4 * kSecond;
  t.book.poll(t.now, t.due);
  EXPECT_EQ(t.leased(), held);
  const Answer* next = t.book.request(t.ask(session, 3, 2, 250, held), t.now);
  ASSERT_NE(next, nullptr);
  EXPECT_EQ(next->grants.size(), 1U);
}

TEST(Book, NothingIsSaidBehindTheFence) {
  Talk t;
  const SessionId session = t.greet("h").session;
  t.book.set_fence(t.now + kSecond);
  t.now += kSecond;
  EXPECT_EQ(t.book.request(t.ask(session, 1, 0, 100), t.now), nullptr);
  EXPECT_EQ(t.greet("new").session, 0U);
}

TEST(Book, OnlyProvedClaimsAreCounted) {
  BookOptions options;
  options.epoch = 9;
  options.prove = [](const Identity& who, LimitId, const Terms& terms) {
    return static_cast<std::uint64_t>(terms.rate) * 31 + who.agent_epoch;
  };
  Talk t(options);
  const Terms held{100 * kToken, 50 * kToken, 10 * kToken, 5 * kToken};
  const Welcome liar =
      t.greet("liar", 1, 0, 5, {{limit_id("a"), {300 * kToken, 300 * kToken, 0, 0}, 12345}});
  EXPECT_EQ(liar.withdraw.size(), 1U);
  EXPECT_EQ(t.leased(), 0);
  const Welcome honest = t.greet(
      "honest", 1, 0, 6, {{limit_id("a"), held, static_cast<std::uint64_t>(held.rate) * 31 + 6}});
  EXPECT_TRUE(honest.withdraw.empty());
  EXPECT_EQ(t.leased(), held.rate);
}

TEST(Book, AfterLearningClaimsAreWithdrawn) {
  Talk t;
  const Welcome late = t.greet("late", 1, 77, 5, {{limit_id("a"), {kToken, kToken, 0, 0}, 0}});
  EXPECT_EQ(late.withdraw.size(), 1U);
  EXPECT_EQ(t.leased(), 0);
}

TEST(Book, AGoodbyeFreesAtOnce) {
  Talk t;
  const SessionId session = t.greet("h").session;
  t.book.request(t.ask(session, 1, 0, 100), t.now);
  t.book.ack({session, 1}, t.now);
  t.book.goodbye({session}, t.now);
  EXPECT_EQ(t.leased(), 0);
  t.book.poll(t.now, t.due);
  EXPECT_EQ(t.due.forgotten.size(), 1U);
  EXPECT_FALSE(t.book.knows(session));
}

TEST(Book, ALoweredLimitIsNotGrantedAnyMoreAndTheServerMakesRoom) {
  Talk t;
  const SessionId session = t.greet("h").session;
  t.book.request(t.ask(session, 1, 0, 200), t.now);
  t.book.ack({session, 1}, t.now);
  std::string why;
  ASSERT_TRUE(t.book.set_limits({limit_of("a", 30, 30)}, t.now, why));
  const auto report = t.book.limits(t.now).at(0);
  EXPECT_EQ(report.server_rate, 0);
  EXPECT_EQ(report.server_level, 0);
  const Answer* answer = t.book.request(t.ask(session, 2, 1, 200, report.leased_rate), t.now);
  ASSERT_NE(answer, nullptr);
  ASSERT_EQ(answer->grants.size(), 1U);
  EXPECT_LE(answer->grants[0].terms.rate, 30 * kToken);
  t.book.ack({session, 2}, t.now);
  EXPECT_LE(t.counted(), 30 * kToken);
}

TEST(Book, AnEndedLimitIsWithdrawnFromItsHolders) {
  Talk t;
  const SessionId session = t.greet("h").session;
  t.book.request(t.ask(session, 1, 0, 200), t.now);
  t.book.ack({session, 1}, t.now);
  std::string why;
  ASSERT_TRUE(t.book.set_limits({}, t.now, why));
  const Answer* answer = t.book.request(t.ask(session, 2, 1, 200, 200 * kToken), t.now);
  ASSERT_NE(answer, nullptr);
  ASSERT_EQ(answer->grants.size(), 1U);
  EXPECT_EQ(answer->grants[0].terms, Terms{});
}

TEST(Book, WrongRulesChangeNothing) {
  Talk t;
  std::string why;
  LimitConfig orphan = limit_of("b", 1, 1);
  orphan.parent = "nobody";
  EXPECT_FALSE(t.book.set_limits({orphan}, t.now, why));
  EXPECT_NE(why.find("nobody"), std::string::npos);
  LimitConfig ring_one = limit_of("x", 1, 1), ring_two = limit_of("y", 1, 1);
  ring_one.parent = "y";
  ring_two.parent = "x";
  EXPECT_FALSE(t.book.set_limits({ring_one, ring_two}, t.now, why));
  EXPECT_FALSE(t.book.set_limits({limit_of("a", 1, 1), limit_of("a", 2, 2)}, t.now, why));
  EXPECT_EQ(t.book.limits(t.now).at(0).name, "a");
}

TEST(Book, WeightsBandsAndFloorsOfHostsDivide) {
  Talk t;
  LimitConfig config = limit_of("a", 300, 300);
  config.hosts = {{"batch-*", 1, 0, 10 * kToken}, {"web-*", 2, 1, 0}};
  std::string why;
  ASSERT_TRUE(t.book.set_limits({config}, t.now, why));
  const SessionId batch = t.greet("batch-1").session;
  const SessionId web = t.greet("web-1").session;
  t.book.request(t.ask(batch, 1, 0, 1'000), t.now);
  t.book.request(t.ask(web, 1, 0, 1'000), t.now);
  for (const auto& host : t.book.hosts_of(limit_id("a"))) {
    if (host.host == "batch-1") {
      EXPECT_EQ(host.share, 10 * kToken);
    } else {
      EXPECT_GT(host.share, 289 * kToken);
    }
  }
}

}  // namespace
}  // namespace weir::lease::test
