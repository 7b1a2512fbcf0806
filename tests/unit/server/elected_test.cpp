// One of several servers: it says what the election lets it say, and nothing after that.
#include <time.h>

#include "tests/unit/server/server_fixture.h"

namespace weir::server {
namespace {

constexpr const char* kCalls = "{name: a, rate: 100/s}";
constexpr std::int64_t kFarNs = 3'600'000'000'000;

std::int64_t boot_ns() {
  struct timespec now {};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

class ElectedTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerOptions options{.name = "s1", .version = "0", .reconnect_ns = 0};
    options.elected = true;
    options.on_higher_epoch = [this](const std::string&, std::uint64_t seen) { higher_ = seen; };
    server_ = std::make_unique<TokenServer>(io, std::move(options));
    ASSERT_EQ(server_->start(parsed(file(kCalls))).error, "");
    address_ = server_->addresses().at(0);
  }
  static bool is_redirect(const v1::ToAgent& message) { return message.has_redirect(); }

  std::uint64_t higher_ = 0;
};

TEST_F(ElectedTest, AHelloWaitsUntilTheOwnerIsKnown) {
  RawAgent first = agent("web-1");
  first.send(first.hello());
  EXPECT_TRUE(first.silent());

  server_->redirect("shop", {"10.0.0.9:9465"}, "s2 owns it");

  const auto moved = first.take(is_redirect);
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->redirect().addresses(0), "10.0.0.9:9465");
  // It comes back at once: that owner does not answer it, and it waits for the next.
  RawAgent again = agent("web-1");
  again.send(again.hello());
  EXPECT_TRUE(again.silent());
  server_->take_over("shop", 7, true, boot_ns() + kFarNs);
  const auto welcome = again.take([](const v1::ToAgent& m) { return m.has_welcome(); });
  ASSERT_TRUE(welcome);
  EXPECT_EQ(welcome->welcome().epoch(), 7U);
}

TEST_F(ElectedTest, NothingIsSaidAfterTheFence) {
  server_->take_over("shop", 7, true, boot_ns() + kFarNs);
  RawAgent known = agent("web-1");
  ASSERT_TRUE(known.greet());
  ASSERT_TRUE(known.ask("a", 10));

  server_->fence(boot_ns());

  EXPECT_FALSE(known.exchange({known.session, ++known.seq, known.accepted_seq, {}}, 100ms));
  RawAgent late = agent("web-2");
  late.send(late.hello());
  EXPECT_TRUE(late.silent());
  server_->fence(boot_ns() + kFarNs);  // it was heard again
  --known.seq;
  EXPECT_TRUE(known.ask("a", 10));
}

TEST_F(ElectedTest, WhoeverFollowsAnotherOneLearns) {
  server_->take_over("shop", 7, false, boot_ns() + kFarNs);
  EXPECT_TRUE(shop().learning);
  EXPECT_TRUE(learned());
}

// Nobody has owned it before, says etcd; a host that has heard of another server knows better.
TEST_F(ElectedTest, AHostThatHasMetAnotherServerIsBelieved) {
  server_->take_over("shop", 7, true, boot_ns() + kFarNs);
  EXPECT_FALSE(shop().learning);
  RawAgent host = agent("web-1");
  host.epoch_seen = 5;

  ASSERT_TRUE(host.greet());

  EXPECT_TRUE(shop().learning);
}

TEST_F(ElectedTest, AHigherEpochIsRaisedAboveBeforeItsHostIsWelcomed) {
  server_->take_over("shop", 7, false, boot_ns() + kFarNs);
  RawAgent host = agent("web-1");
  host.epoch_seen = 1'000;

  EXPECT_FALSE(host.greet());
  EXPECT_EQ(host.refusal.code(), v1::REFUSED_BUSY);
  EXPECT_EQ(higher_, 1'000U);

  server_->raise_epoch("shop", 1'007);
  RawAgent again = agent("web-1");
  again.epoch_seen = 1'000;
  const auto welcome = again.greet();
  ASSERT_TRUE(welcome);
  EXPECT_EQ(welcome->epoch(), 1'007U);
}

}  // namespace
}  // namespace weir::server
