// Rules that chance rarely tries: for each a trace of a few messages that shows what it is for, and
// that taking it out shows.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lease/book.h"
#include "lease/desk.h"

namespace weir::lease {
namespace {

constexpr TimeNs kStart = 1000 * kSecond;
constexpr TimeNs kTtl = 5 * kSecond;

// A host that was granted 100 tokens a second.
struct Host {
  explicit Host(bool DeskMutants::*mutant = nullptr) : desk(options()) {
    if (mutant != nullptr) desk.mutants.*mutant = true;
    desk.add_limit(0, "a", kStart);
    desk.connected(kStart);
    desk.on_welcome({1, 11, 2, false, false, {}}, kStart);
    request = *desk.next_request(kStart);
  }
  static DeskOptions options() {
    DeskOptions options;
    options.host = "h";
    options.agent_epoch = 7;
    return options;
  }
  bool answered(TimeNs now_ns) {
    Answer answer;
    answer.session = request.session;
    answer.epoch = 2;
    answer.seq = request.seq;
    answer.ttl_ns = answer.tail_ns = kTtl;
    answer.refresh_ns = kSecond;
    answer.grants.push_back(
        {limit_id("a"), {100 * kToken, 10 * kToken, 10 * kToken, kToken}, 0, 0, 1});
    return desk.on_answer(answer, now_ns).has_value();
  }
  LeaseState state() const { return desk.view(0).state; }

  Desk desk;
  Request request;
};

// The server may have a faster clock: it counts the lease as ended a thousandth earlier.
TEST(MutantOfATrace, ALeaseEndsBeforeItsLastThousandth) {
  Host host;
  Host mutant(&DeskMutants::no_shortening);
  host.answered(kStart);
  mutant.answered(kStart);

  EXPECT_EQ(host.desk.lease_end_ns(), kStart + shortened(kTtl));
  EXPECT_GT(mutant.desk.lease_end_ns(), kStart + shortened(kTtl));
}

TEST(MutantOfATrace, AnAnswerThatComesAfterItsLeaseIsNone) {
  Host host;
  Host mutant(&DeskMutants::late_answers);

  EXPECT_FALSE(host.answered(kStart + kTtl));
  EXPECT_EQ(host.state(), LeaseState::none);
  EXPECT_TRUE(mutant.answered(kStart + kTtl));
}

// An owner that slept through its end does not know of the one after it.
TEST(MutantOfATrace, AnOlderServerIsNotHeard) {
  for (const bool out : {false, true}) {
    Host host(out ? &DeskMutants::accept_lower_epoch : nullptr);
    host.desk.connected(kStart);
    const Desk::Reply reply = host.desk.on_welcome({2, 12, 1, false, false, {}}, kStart);

    EXPECT_EQ(reply, out ? Desk::Reply::ok : Desk::Reply::wrong_server);
  }
}

// Nobody else counts any more what has ended during a sleep: it must not be claimed either.
TEST(MutantOfATrace, WhatHasEndedIsWithdrawnBeforeAnythingIsSaid) {
  for (const bool out : {false, true}) {
    Host host(out ? &DeskMutants::talk_first : nullptr);
    host.answered(kStart);
    const Hello hello = host.desk.connected(kStart + 3 * kTtl);

    EXPECT_EQ(hello.claims.size(), out ? 1U : 0U);
  }
}

// The other copy goes on with what both hold.
TEST(MutantOfATrace, ACopyDropsWhatItHolds) {
  for (const bool out : {false, true}) {
    Host host(out ? &DeskMutants::keep_leases : nullptr);
    host.answered(kStart);
    host.desk.connected(kStart);
    EXPECT_EQ(host.desk.on_welcome({2, 0, 2, true, false, {}}, kStart), Desk::Reply::hello_again);

    EXPECT_EQ(host.state(), out ? LeaseState::live : LeaseState::ended);
  }
}

TEST(MutantOfATrace, WhatTheServerDoesNotKnowOfIsDropped) {
  for (const bool out : {false, true}) {
    Host host(out ? &DeskMutants::ignore_withdrawn : nullptr);
    host.answered(kStart);
    host.desk.connected(kStart);
    host.desk.on_welcome({2, 12, 2, false, false, {limit_id("a")}}, kStart);

    EXPECT_EQ(host.state(), out ? LeaseState::live : LeaseState::ended);
  }
}

// ---- the server's side

struct Server {
  explicit Server(bool BookMutants::*mutant, bool learn, std::vector<Identity> known = {})
      : book(options(learn, std::move(known)), kStart) {
    if (mutant != nullptr) book.mutants.*mutant = true;
    LimitConfig limit;
    limit.name = "a";
    limit.rate = limit.burst = 100 * kToken;
    std::string why;
    EXPECT_TRUE(book.set_limits({limit}, kStart, why)) << why;
  }
  static BookOptions options(bool learn, std::vector<Identity> known) {
    BookOptions options;
    options.learn = learn;
    options.known = std::move(known);
    options.ttl_ns = options.tail_ns = kTtl;
    return options;
  }
  std::optional<Book::Greeting> hello(const std::string& host, std::uint64_t hello_no,
                                      SessionId prev, std::vector<Claim> claims = {}) {
    Hello hello;
    hello.host = host;
    hello.agent_epoch = 5;
    hello.hello_no = hello_no;
    hello.prev_session = prev;
    hello.claims = std::move(claims);
    return book.hello(hello, kStart);
  }
  Micro leased() const { return book.limits(kStart).at(0).leased_rate; }
  Micro kept_burst() const { return book.limits(kStart).at(0).server_burst; }
  void poll(TimeNs now_ns) { book.poll(now_ns, due); }

  Book book;
  Book::Due due;
};

// All that was granted before has ended by then; what is claimed now is a message from long ago.
TEST(MutantOfATrace, AfterLearningNothingIsTakenForHeld) {
  const std::vector<Claim> claims = {{limit_id("a"), {60 * kToken, kToken, 0, 0}, 0, {}}};
  for (const bool out : {false, true}) {
    Server server(out ? &BookMutants::late_claims : nullptr, false);
    const auto greeting = server.hello("h", 1, 0, claims);
    ASSERT_TRUE(greeting);

    EXPECT_EQ(greeting->welcome.withdraw.size(), out ? 0U : 1U);
    EXPECT_EQ(server.leased(), out ? 60 * kToken : 0);
  }
}

// The server before may have been learning, too, and have handed tokens out of the part of the
// burst that is never leased.
TEST(MutantOfATrace, AServerThatLearnsKeepsItsTokensForALease) {
  for (const bool out : {false, true}) {
    Server server(out ? &BookMutants::early_tokens : nullptr, true);
    EXPECT_EQ(server.kept_burst(), out ? kToken : 0);
    server.poll(kStart + kTtl);
    EXPECT_EQ(server.kept_burst(), out ? kToken : 0);

    server.poll(kStart + lengthened(lengthened(kTtl)));
    EXPECT_TRUE(server.book.learning());
    EXPECT_EQ(server.kept_burst(), kToken);
  }
}

// One of two copies has spoken; the other one's hello is older. What that one holds goes on.
TEST(MutantOfATrace, OneCopyDoesNotSpeakForTheOther) {
  for (const bool out : {false, true}) {
    Server server(out ? &BookMutants::twins_spoke : nullptr, true, {{"h", 5}, {"g", 5}});
    EXPECT_TRUE(server.hello("h", 7, 100));
    EXPECT_FALSE(server.hello("h", 4, 200));
    EXPECT_TRUE(server.hello("g", 1, 0));
    EXPECT_EQ(server.book.learning(), !out);

    server.poll(server.book.learning_end_ns());
    EXPECT_FALSE(server.book.learning());
  }
}

// A late double of an older hello is no copy.
TEST(Book, ADoubledHelloDoesNotProlongLearning) {
  Server server(nullptr, true, {{"h", 5}, {"g", 5}});
  EXPECT_TRUE(server.hello("h", 7, 100));
  EXPECT_FALSE(server.hello("h", 6, 100));
  EXPECT_TRUE(server.hello("g", 1, 0));
  EXPECT_FALSE(server.book.learning());
}

// The host may have accepted the tokens and spent them; only its word for it was lost.
TEST(MutantOfATrace, TokensThatWereOfferedAreGoneWhenTheHostGoes) {
  for (const bool out : {false, true}) {
    Server server(out ? &BookMutants::fills_come_back : nullptr, false);
    const SessionId session = server.hello("h", 1, 0)->welcome.session;
    TimeNs now_ns = kStart + 10 * kSecond;
    const Micro before = server.book.server_level(limit_id("a"), now_ns);
    ASSERT_EQ(before, 100 * kToken);
    Request request;
    request.session = session;
    request.seq = 1;
    Want want;
    want.limit = limit_id("a");
    want.rate = 1;
    want.need = 3 * kToken;
    request.wants.push_back(want);
    // Too little for a rate, so that tokens are handed out.
    LimitConfig slow;
    slow.name = "a";
    slow.rate = kToken / 10;
    slow.burst = 100 * kToken;
    std::string why;
    ASSERT_TRUE(server.book.set_limits({slow}, now_ns, why));
    const Answer* answer = server.book.request(request, now_ns);
    ASSERT_NE(answer, nullptr);
    ASSERT_EQ(answer->grants.size(), 1U);
    ASSERT_EQ(answer->grants[0].fill, 3 * kToken);

    server.book.goodbye({session}, now_ns);
    const Micro after = server.book.server_level(limit_id("a"), now_ns);
    EXPECT_EQ(after, out ? 100 * kToken : 97 * kToken);
  }
}

}  // namespace
}  // namespace weir::lease
