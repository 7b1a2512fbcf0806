// What a new start knows of the one before.
#include <fstream>

#include "server/wire_permit.h"
#include "tests/unit/server/server_fixture.h"

namespace weir::server {
namespace {

class RestartTest : public ServerTest {
 protected:
  std::string long_leases(const std::string& limits) const {
    std::string text = file(limits);
    text.replace(text.find("ttl: 1s"), 7, "ttl: 9s");
    return text;
  }
  // A host that holds something, as it would say after a restart of the server.
  v1::ToServer hello_with_claim(RawAgent& agent, const std::string& limit,
                                const lease::Grant& grant) {
    v1::ToServer message = agent.hello();
    v1::Hello& hello = *message.mutable_hello();
    hello.add_claim_limit(lease::limit_id(limit));
    hello.add_claim_rate(static_cast<std::uint64_t>(grant.terms.rate));
    hello.add_claim_burst(static_cast<std::uint64_t>(grant.terms.burst));
    hello.add_claim_tail_rate(static_cast<std::uint64_t>(grant.terms.tail_rate));
    hello.add_claim_tail_burst(static_cast<std::uint64_t>(grant.terms.tail_burst));
    hello.add_claim_proof(grant.proof);
    hello.add_claim_granted_rate(static_cast<std::uint64_t>(grant.terms.rate));
    hello.add_claim_granted_burst(static_cast<std::uint64_t>(grant.terms.burst));
    hello.add_claim_granted_tail_rate(static_cast<std::uint64_t>(grant.terms.tail_rate));
    hello.add_claim_granted_tail_burst(static_cast<std::uint64_t>(grant.terms.tail_burst));
    return message;
  }
  std::optional<lease::Grant> lease_of(RawAgent& agent, lease::Micro rate) {
    std::optional<lease::Grant> grant;
    run_until(io, [&] {
      const auto answer = agent.ask("/api", rate);
      if (!answer) return true;
      for (const lease::Grant& each : answer->grants)
        grant = each;
      run_for(io, 20ms);
      return grant && grant->terms.rate >= rate * lease::kToken;
    });
    return grant;
  }
};

constexpr char kRestartLimit[] = "{name: /api, rate: 300/s}";

TEST_F(RestartTest, TheEpochRises) {
  std::uint64_t epoch = 0;
  for (int each = 0; each < 3; ++each) {
    ASSERT_TRUE(start(file(kRestartLimit)));
    EXPECT_GT(shop().epoch, epoch);
    epoch = shop().epoch;
    server_.reset();
  }
}

TEST_F(RestartTest, WhenAllThatWereKnownHaveComeLearningEnds) {
  ASSERT_TRUE(start(file(kRestartLimit)));
  ASSERT_TRUE(learned());
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  const auto grant = lease_of(a, 100);
  ASSERT_TRUE(grant);
  server_.reset();

  ASSERT_TRUE(start(long_leases(kRestartLimit)));
  EXPECT_TRUE(shop().learning);
  RawAgent back(io, address_, "web-1", 1);
  back.hello_no = a.hello_no;
  back.session = a.session;
  back.epoch_seen = 1;
  const auto welcome = back.greet(hello_with_claim(back, "/api", *grant));

  ASSERT_TRUE(welcome);
  EXPECT_EQ(welcome->withdraw_size(), 0);  // the key is the same, so the proof is good
  EXPECT_FALSE(shop().learning);
  EXPECT_GE(shop().limits.at(0).report.leased_rate, grant->terms.rate);
}

// The welcome waits for the disk. What a host holds of the permits is waited for from its hello on,
// since with the last one of those who were known everything else has been learned.
TEST_F(RestartTest, PermitsOfAHostThatIsNotYetWelcomedAreWaitedFor) {
  std::string text = file(kRestartLimit, "    concurrency: [{name: db, max: 10}]\n");
  ASSERT_TRUE(start(text));
  ASSERT_TRUE(learned());
  RawAgent a = agent("web-1");
  RawAgent b = agent("web-2");
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(b.greet());
  server_.reset();

  text.replace(text.find("ttl: 1s"), 7, "ttl: 9s");
  ASSERT_TRUE(start(text));
  const auto say = [](RawAgent& host, lease::Permits in_flight) {
    v1::ToServer message;
    to_wire(lease::PermitReport{host.session, ++host.seq, false, {{"db", 0, 5, in_flight, 10}}},
            *message.mutable_permit_reports());
    host.send(message);
  };
  const auto hello_again = [](RawAgent& host, const RawAgent& before) {
    host.hello_no = before.hello_no;
    host.session = before.session;
    host.epoch_seen = 1;
    v1::ToServer hello = host.hello();
    hello.mutable_hello()->set_protocol_minor(net::kProtocolMinor);
    return hello;
  };
  const auto has_grants = [](const v1::ToAgent& m) { return m.has_permit_grants(); };
  RawAgent a2 = agent("web-1");
  ASSERT_TRUE(a2.greet(hello_again(a2, a)));
  say(a2, 5);
  ASSERT_TRUE(a2.take(has_grants));

  RawAgent b2 = agent("web-2");
  b2.send(hello_again(b2, b));
  ASSERT_TRUE(learned());

  EXPECT_EQ(shop().permits.at(0).awaited, 1U);
  EXPECT_EQ(shop().permits.at(0).bound, 5);
}

TEST_F(RestartTest, AClaimThatNobodyProvedIsNotBelieved) {
  ASSERT_TRUE(start(file(kRestartLimit)));
  RawAgent a = agent();
  lease::Grant forged;
  forged.terms = {200 * lease::kToken, 200 * lease::kToken, 0, 0};
  forged.proof = 42;

  const auto welcome = a.greet(hello_with_claim(a, "/api", forged));

  ASSERT_TRUE(welcome);
  EXPECT_EQ(welcome->withdraw_size(), 1);
  EXPECT_EQ(shop().limits.at(0).report.leased_rate, 0);
}

TEST_F(RestartTest, TheVeryFirstStartHasNothingToLearn) {
  ASSERT_TRUE(start(long_leases(kRestartLimit)));
  EXPECT_FALSE(shop().learning);
}

// An agent that was served before us is proof that somebody was.
TEST_F(RestartTest, AWipedStateIsNoticedByTheFirstAgentThatComes) {
  ASSERT_TRUE(start(long_leases(kRestartLimit)));
  RawAgent a = agent();
  a.epoch_seen = 5;
  v1::ToServer hello = a.hello();
  a.greet(hello);

  EXPECT_TRUE(shop().learning);
  EXPECT_GT(shop().epoch, 5U);
  server_.reset();
  ASSERT_TRUE(start(long_leases(kRestartLimit)));
  EXPECT_TRUE(shop().learning);
  RawAgent back = agent();
  ASSERT_TRUE(back.greet());
  EXPECT_TRUE(shop().learning);  // there may be others of whom nobody has heard yet
}

// The first start found a damaged list and ended before it had learned for its full time, so the
// second cannot know whom the first had not heard of yet.
TEST_F(RestartTest, AStartThatNeverLearnedLeavesNoListToBeBelieved) {
  ASSERT_TRUE(start(long_leases(kRestartLimit)));
  server_.reset();
  std::ofstream(dir_ + "/state/identities") << "rubbish";
  for (const bool somebody_comes : {true, false, true}) {
    ASSERT_TRUE(start(long_leases(kRestartLimit)));
    EXPECT_TRUE(shop().learning);
    if (somebody_comes) {
      RawAgent a = agent("web-1", 7);
      ASSERT_TRUE(a.greet());
    }
    EXPECT_TRUE(shop().learning);
    server_.reset();
  }
}

TEST_F(RestartTest, WhoNeverCameBackIsForgotten) {
  ASSERT_TRUE(start(file(kRestartLimit)));
  ASSERT_TRUE(learned());
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  server_.reset();
  ASSERT_TRUE(start(file(kRestartLimit)));
  EXPECT_TRUE(shop().learning);
  ASSERT_TRUE(learned());  // by the time alone
  run_for(io, 100ms);
  server_.reset();

  ASSERT_TRUE(start(file(kRestartLimit)));

  EXPECT_FALSE(shop().learning);  // nobody is out there
}

TEST_F(RestartTest, AnAgentThatSawAHigherEpochRaisesOurs) {
  ASSERT_TRUE(start(file(kRestartLimit)));
  RawAgent a = agent();
  a.epoch_seen = 1ULL << 40;

  const auto welcome = a.greet();

  ASSERT_TRUE(welcome);
  EXPECT_EQ(welcome->epoch(), a.epoch_seen + 1);
  EXPECT_EQ(server_->status().epoch, a.epoch_seen + 1);
  server_.reset();
  ASSERT_TRUE(start(file(kRestartLimit)));
  EXPECT_EQ(shop().epoch, a.epoch_seen + 2);
}

// An old copy of the state directory was put back: its list lacks whoever came later.
TEST_F(RestartTest, ARestoredListEndsNoLearningEarly) {
  namespace fs = std::filesystem;
  ASSERT_TRUE(start(file(kRestartLimit)));
  ASSERT_TRUE(learned());
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  server_.reset();
  fs::copy(dir_ + "/state", dir_ + "/backup");
  ASSERT_TRUE(start(file(kRestartLimit)));
  server_.reset();
  fs::remove_all(dir_ + "/state");
  fs::copy(dir_ + "/backup", dir_ + "/state");

  ASSERT_TRUE(start(long_leases(kRestartLimit)));
  RawAgent back = agent();
  back.hello_no = a.hello_no;
  back.epoch_seen = shop().epoch + 9;
  ASSERT_TRUE(back.greet());

  EXPECT_TRUE(shop().learning);
  EXPECT_EQ(shop().epoch, back.epoch_seen + 1);
}

TEST_F(RestartTest, ASecondServerOnTheSameStateIsTurnedAway) {
  ASSERT_TRUE(start(file(kRestartLimit)));
  TokenServer second(io, {});
  const StartResult started = second.start(parsed(file(kRestartLimit)));
  EXPECT_TRUE(started.in_use);
  EXPECT_NE(started.error, "");
}

}  // namespace
}  // namespace weir::server
