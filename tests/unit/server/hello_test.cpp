// Who is let in, and what a stranger learns: nothing.
#include <fstream>

#include "tests/unit/server/server_fixture.h"

namespace weir::server {
namespace {

constexpr char kLimit[] = "{name: /api, rate: 300/s}";

using HelloTest = ServerTest;

TEST_F(HelloTest, AGoodOneIsWelcomedAndGetsTheRules) {
  ASSERT_TRUE(start(file(kLimit)));
  RawAgent a = agent();

  const auto welcome = a.greet();

  ASSERT_TRUE(welcome);
  EXPECT_NE(welcome->session(), 0U);
  EXPECT_EQ(welcome->epoch(), shop().epoch);
  EXPECT_EQ(welcome->hello_no(), 1U);
  EXPECT_EQ(welcome->server(), "s1");
  EXPECT_EQ(welcome->namespace_name(), "shop");
  EXPECT_FALSE(welcome->new_identity());
  const auto rules = a.rules();
  ASSERT_TRUE(rules);
  ASSERT_EQ(rules->rules_size(), 1);
  EXPECT_EQ(rules->rules(0).name(), "/api");
}

TEST_F(HelloTest, WhoHasTheRulesGetsNone) {
  ASSERT_TRUE(start(file(kLimit)));
  RawAgent a = agent();
  v1::ToServer hello = a.hello();
  hello.mutable_hello()->set_rules_version(shop().rules_version);

  ASSERT_TRUE(a.greet(hello));

  EXPECT_TRUE(a.silent());
}

TEST_F(HelloTest, ANamespaceThatIsNotThereAndAWrongTokenLookTheSame) {
  ASSERT_TRUE(start(file(kLimit)));
  RawAgent nowhere = agent();
  nowhere.name_space = "elsewhere";
  RawAgent wrong = agent();
  wrong.token = "guess";
  RawAgent none = agent();
  none.token = "";

  EXPECT_FALSE(nowhere.greet());
  EXPECT_FALSE(wrong.greet());
  EXPECT_FALSE(none.greet());

  EXPECT_EQ(nowhere.refusal.code(), v1::REFUSED_CREDENTIALS);
  EXPECT_EQ(nowhere.refusal.SerializeAsString(), wrong.refusal.SerializeAsString());
  EXPECT_EQ(nowhere.refusal.SerializeAsString(), none.refusal.SerializeAsString());
  EXPECT_TRUE(nowhere.ends());
  const ServerStatus status = server_->status();
  EXPECT_EQ(status.refused_total[static_cast<std::size_t>(Refusal::name_space)], 1U);
  EXPECT_EQ(status.refused_total[static_cast<std::size_t>(Refusal::credential)], 2U);
  EXPECT_EQ(status.spaces[0].hosts, 0U);
}

TEST_F(HelloTest, ATokenOpensItsOwnNamespaceAlone) {
  ASSERT_TRUE(start(file(
      kLimit, "  mail:\n    tokens: ['sha256:" + std::string(64, '1') + "']\n    limits: []\n")));
  RawAgent a = agent();
  a.name_space = "mail";

  EXPECT_FALSE(a.greet());
}

TEST_F(HelloTest, OurOwnUserNeedsNoTokenOnAUnixSocket) {
  std::string text = file(kLimit);
  text.replace(text.find("127.0.0.1:0"), 11, "unix:" + dir_ + "/s.sock");
  ASSERT_TRUE(start(text));
  RawAgent a = agent();
  a.token = "";

  EXPECT_TRUE(a.greet());
}

TEST_F(HelloTest, TheFirstMessageMustBeAHello) {
  ASSERT_TRUE(start(file(kLimit)));
  RawAgent a = agent();
  v1::ToServer message;
  message.mutable_ack()->set_seq(1);
  a.send(message);

  EXPECT_TRUE(a.ends());
}

TEST_F(HelloTest, AHostNeedsANameAndAnIdentity) {
  ASSERT_TRUE(start(file(kLimit)));
  RawAgent named = agent("web 1");
  EXPECT_FALSE(named.greet());
  EXPECT_EQ(named.refusal.code(), v1::REFUSED_MALFORMED);
  RawAgent nobody = agent("web-1", 0);
  EXPECT_FALSE(nobody.greet());
  RawAgent future = agent();
  future.epoch_seen = UINT64_MAX;
  EXPECT_FALSE(future.greet());
  EXPECT_LT(shop().epoch, 1ULL << 40);
}

TEST_F(HelloTest, AnotherNamespaceNeedsAnotherConnection) {
  ASSERT_TRUE(start(file(kLimit, "  mail: {tokens: ['" + std::string(kTokenHash) + "']}\n")));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  a.name_space = "mail";

  EXPECT_FALSE(a.greet());
}

TEST_F(HelloTest, ANewerConnectionOfAHostTakesTheOldersPlace) {
  ASSERT_TRUE(start(file(kLimit)));
  RawAgent older = agent();
  ASSERT_TRUE(older.greet());
  RawAgent newer = agent();
  newer.hello_no = older.hello_no;
  newer.session = older.session;

  ASSERT_TRUE(newer.greet());

  EXPECT_TRUE(older.ends());
  EXPECT_TRUE(newer.ask("/api", 10));
  EXPECT_EQ(shop().sessions, 1U);
  EXPECT_EQ(shop().hosts, 1U);
  EXPECT_EQ(shop().counts.replaced_total, 1U);
}

TEST_F(HelloTest, ACopyOfAHostIsToldToBecomeSomebodyElse) {
  ASSERT_TRUE(start(file(kLimit)));
  RawAgent original = agent();
  ASSERT_TRUE(original.greet());
  RawAgent copy = agent();
  copy.hello_no = original.hello_no;
  copy.session = 12345;  // of the chain that it was copied from

  const auto told = copy.greet();

  ASSERT_TRUE(told);
  EXPECT_TRUE(told->new_identity());
  EXPECT_TRUE(original.ask("/api", 10));
  copy.agent_epoch = 2;
  copy.session = 0;
  const auto welcome = copy.greet();
  ASSERT_TRUE(welcome);
  EXPECT_FALSE(welcome->new_identity());
  EXPECT_EQ(shop().hosts, 2U);
}

TEST_F(HelloTest, AnOldHelloHasNoAnswer) {
  ASSERT_TRUE(start(file(kLimit)));
  RawAgent a = agent();
  v1::ToServer hello = a.hello();
  ASSERT_TRUE(a.greet(hello));
  ASSERT_TRUE(a.rules());
  a.send(hello);

  EXPECT_TRUE(a.silent());
}

TEST_F(HelloTest, AWelcomeWaitsUntilTheHostIsStored) {
  ASSERT_TRUE(start(file(kLimit)));
  RawAgent a = agent("web-7", 77);
  ASSERT_TRUE(a.greet());

  std::ifstream identities(dir_ + "/state/identities", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(identities), {}};
  EXPECT_TRUE(read_identities(bytes).known.at("shop").identities.contains({"web-7", 77}));
}

TEST_F(HelloTest, ANamespaceThatSomebodyElseOwnsIsPointedTo) {
  ASSERT_TRUE(start(file(kLimit)));
  RawAgent connected = agent();
  ASSERT_TRUE(connected.greet());

  server_->redirect("shop", {"10.0.0.9:9465"}, "s2 owns it");

  const auto moved = connected.take([](const v1::ToAgent& m) { return m.has_redirect(); });
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->redirect().addresses(0), "10.0.0.9:9465");
  EXPECT_TRUE(connected.ends());
  RawAgent late = agent();
  late.send(late.hello());
  EXPECT_TRUE(late.take([](const v1::ToAgent& m) { return m.has_redirect(); }));
  EXPECT_FALSE(shop().owner);

  server_->own("shop");

  EXPECT_TRUE(shop().owner);
  EXPECT_TRUE(shop().learning);
  RawAgent again = agent();
  EXPECT_TRUE(again.greet());
}

TEST_F(HelloTest, AStoppingServerSaysSo) {
  ASSERT_TRUE(start(file(kLimit)));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());

  server_->stop();

  const auto last = a.take([](const v1::ToAgent& m) { return m.has_refused(); });
  ASSERT_TRUE(last);
  EXPECT_EQ(last->refused().code(), v1::REFUSED_STOPPING);
  EXPECT_TRUE(a.ends());
  EXPECT_TRUE(run_until(io, [&] { return server_->drained(); }));
}

}  // namespace
}  // namespace weir::server
