// Heartbeats: what is granted, what is busy, and whose session it is.
#include "tests/unit/server/server_fixture.h"

namespace weir::server {
namespace {

using RequestTest = ServerTest;

TEST_F(RequestTest, AfterLearningAHostGetsWhatItWants) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  ASSERT_TRUE(learned());
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());

  lease::Micro rate = 0;
  for (int i = 0; i < 20 && rate < 100 * lease::kToken; ++i) {
    const auto answer = a.ask("/api", 100);
    ASSERT_TRUE(answer);
    for (const lease::Grant& grant : answer->grants)
      rate = grant.terms.rate;
    run_for(io, 20ms);
  }

  EXPECT_GE(rate, 100 * lease::kToken);
  EXPECT_LE(rate, 300 * lease::kToken);
  EXPECT_GT(shop().counts.grants_total, 0U);
  EXPECT_GE(server_->status().request_times.count(), 1U);
}

TEST_F(RequestTest, AnAnswerSaysHowLongAndHowOften) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());

  const auto answer = a.ask("", 0);

  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->session, a.session);
  EXPECT_EQ(answer->seq, 1U);
  EXPECT_EQ(answer->epoch, shop().epoch);
  EXPECT_EQ(answer->ttl_ns, lease::kSecond);
  EXPECT_EQ(answer->tail_ns, 0);
  EXPECT_EQ(answer->refresh_ns, 100 * lease::kMs);
  EXPECT_FALSE(answer->busy);
}

TEST_F(RequestTest, NobodySpeaksForAnothersSession) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent a = agent("web-1", 1);
  RawAgent b = agent("web-2", 2);
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(b.greet());
  ASSERT_TRUE(b.rules());
  const lease::Request stolen{a.session, 1, 0, {}};

  v1::ToServer message;
  to_wire(stolen, *message.mutable_request());
  b.send(message);
  message.Clear();
  message.mutable_goodbye()->set_session(a.session);
  b.send(message);

  EXPECT_TRUE(b.silent());
  EXPECT_EQ(shop().counts.ignored_total, 1U);
  EXPECT_TRUE(a.ask("/api", 1));
  EXPECT_EQ(shop().hosts, 2U);
}

// Each address has a listener of its own, and all of them one table of sessions.
TEST_F(RequestTest, AgentsAtDifferentAddressesDoNotMeet) {
  std::string text = file("{name: /api, rate: 300/s}");
  text.replace(text.find("127.0.0.1:0"), 11, "['127.0.0.1:0', 'unix:" + dir_ + "/server.sock']");
  ASSERT_TRUE(start(text));
  ASSERT_EQ(server_->addresses().size(), 2U);
  RawAgent a = agent("web-1", 1);
  RawAgent b(io, server_->addresses().at(1), "web-2", 2);
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(b.greet());

  EXPECT_TRUE(a.ask("/api", 1));
  EXPECT_TRUE(b.ask("/api", 1));
  EXPECT_EQ(server_->status().connections, 2U);
  EXPECT_EQ(shop().hosts, 2U);
}

TEST_F(RequestTest, OverTheGuardTheAnswerIsBusyAndNothingEnds) {
  std::string text = file("{name: /api, rate: 300/s}");
  text += "    guard: 10\n";
  ASSERT_TRUE(start(text));
  ASSERT_TRUE(learned());
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());

  int busy = 0;
  for (int i = 0; i < 20; ++i) {
    const auto answer = a.ask("/api", 10);
    ASSERT_TRUE(answer);
    EXPECT_GT(answer->ttl_ns, 0);
    busy += answer->busy ? 1 : 0;
  }

  EXPECT_GE(busy, 15);
  EXPECT_EQ(shop().counts.busy_total, static_cast<std::uint64_t>(busy));
  EXPECT_EQ(shop().counts.requests_total, 20U);
}

TEST_F(RequestTest, ARepeatedRequestHasTheSameAnswer) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  const auto first = a.ask("/api", 5);
  ASSERT_TRUE(first);
  const auto again = a.exchange(
      {a.session, 1, 0, {{lease::limit_id("/api"), 5 * lease::kToken, 0, 0, 0, 0, 0, 0}}});

  ASSERT_TRUE(again);
  EXPECT_EQ(again->seq, first->seq);
  EXPECT_EQ(again->grants.size(), first->grants.size());
}

TEST_F(RequestTest, ASessionThatIsForgottenEndsWithItsConnection) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  EXPECT_TRUE(run_until(io, [&] { return shop().hosts == 0; }));  // its lease and tail ran out

  EXPECT_FALSE(a.ask("/api", 1));

  EXPECT_TRUE(a.ends());
}

TEST_F(RequestTest, AGoodbyeFreesAtOnce) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(a.ask("/api", 1));
  v1::ToServer message;
  message.mutable_goodbye()->set_session(a.session);
  a.send(message);

  EXPECT_TRUE(run_until(
      io, [&] { return shop().hosts == 0; }, 500ms));
}

// Two hosts that both want all of it: each learns by a poke that something is there for it, and in
// the end they share evenly.
TEST_F(RequestTest, TwoHungryHostsShareALimit) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  ASSERT_TRUE(learned());
  RawAgent a = agent("web-1", 1);
  RawAgent b = agent("web-2", 2);
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(b.greet());
  lease::Micro rate_a = 0;
  lease::Micro rate_b = 0;
  const auto step = [&](RawAgent& who, lease::Micro& rate) {
    const auto answer = who.ask("/api", 1000);
    if (!answer) return;
    for (const lease::Grant& grant : answer->grants)
      rate = grant.terms.rate;
  };
  EXPECT_TRUE(run_until(io, [&] {
    step(a, rate_a);
    step(b, rate_b);
    run_for(io, 20ms);
    return rate_a > 145 * lease::kToken && rate_b > 145 * lease::kToken;
  }));
  EXPECT_LE(rate_a + rate_b, 300 * lease::kToken);
}

TEST_F(RequestTest, HostsThatWaitArePoked) {
  ASSERT_TRUE(start(file("{name: slow, rate: 10/s, burst: 10}")));
  ASSERT_TRUE(learned());
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  bool filled = false;
  EXPECT_TRUE(run_until(io, [&] {
    const auto answer = a.ask("slow", 1, 1);
    if (!answer) return true;
    for (const lease::Grant& grant : answer->grants)
      filled = filled || grant.fill > 0 || grant.terms.rate > 0;
    if (filled) return true;
    (void)a.take([](const v1::ToAgent& m) { return m.has_poke(); }, 500ms);
    return false;
  }));
  EXPECT_TRUE(filled);
}

}  // namespace
}  // namespace weir::server
