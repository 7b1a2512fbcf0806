// New rules: refused whole, or in force at once for everybody who is connected.
#include "tests/unit/server/server_fixture.h"

namespace weir::server {
namespace {

using ReloadTest = ServerTest;

TEST_F(ReloadTest, NewRulesGoToEverybody) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  std::vector<std::unique_ptr<RawAgent>> agents;
  for (std::uint64_t i = 1; i <= 20; ++i) {
    agents.push_back(std::make_unique<RawAgent>(io, address_, "web-" + std::to_string(i), i));
    ASSERT_TRUE(agents.back()->greet());
    ASSERT_TRUE(agents.back()->rules());
  }

  EXPECT_EQ(server_->apply(parsed(file("{name: /api, rate: 400/s}, {name: new, rate: 5/s}"))), "");

  for (const auto& each : agents) {
    const auto rules = each->rules();
    ASSERT_TRUE(rules);
    EXPECT_EQ(rules->rules_size(), 2);
    EXPECT_EQ(rules->rules(0).amount(), 400U);
  }
}

TEST_F(ReloadTest, TheSameRulesAreNotSentAgain) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(a.rules());

  EXPECT_EQ(server_->apply(parsed(file("{name: /api, rate: 300/s}"))), "");

  EXPECT_TRUE(a.silent());
}

TEST_F(ReloadTest, WhatNoBookTakesChangesNothing) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  ServerRules wrong = parsed(file("{name: other, rate: 300/s}"));
  wrong.namespaces[0].limits.push_back(wrong.namespaces[0].limits[0]);

  const std::string error = server_->apply(wrong);

  EXPECT_EQ(error, "namespace shop: limit 'other' stands twice");
  const ServerStatus status = server_->status();
  EXPECT_EQ(status.spaces[0].limits.at(0).report.name, "/api");
  EXPECT_EQ(status.reload_failures_total, 1U);
  EXPECT_EQ(status.reload_error, error);
}

TEST_F(ReloadTest, AnAddressThatIsTakenChangesNothing) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  ServerRules rules = parsed(file("{name: other, rate: 300/s}"));
  rules.listen.push_back(address_);  // is in use: by ourselves

  EXPECT_NE(server_->apply(rules), "");

  EXPECT_EQ(shop().limits.at(0).report.name, "/api");
}

TEST_F(ReloadTest, AddressesComeAndGo) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent old = agent();
  ASSERT_TRUE(old.greet());
  ServerRules rules = parsed(file("{name: /api, rate: 300/s}"));
  rules.listen = {"unix:" + dir_ + "/s.sock"};

  ASSERT_EQ(server_->apply(rules), "");

  EXPECT_TRUE(old.ends());
  EXPECT_EQ(server_->addresses(), (std::vector<std::string>{"unix:" + dir_ + "/s.sock"}));
  RawAgent fresh(io, "unix:" + dir_ + "/s.sock", "web-2", 2);
  EXPECT_TRUE(fresh.greet());
}

TEST_F(ReloadTest, NamespacesComeAndGo) {
  const std::string mail = "  mail: {tokens: ['" + std::string(kTokenHash) + "']}\n";
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent a = agent();
  a.name_space = "mail";
  EXPECT_FALSE(a.greet());

  ASSERT_EQ(server_->apply(parsed(file("{name: /api, rate: 300/s}", mail))), "");
  RawAgent b = agent();
  b.name_space = "mail";
  ASSERT_TRUE(b.greet());

  ASSERT_EQ(server_->apply(parsed(file("{name: /api, rate: 300/s}"))), "");
  EXPECT_TRUE(b.ends());
  EXPECT_EQ(server_->status().spaces.size(), 1U);
}

TEST_F(ReloadTest, ATokenThatIsTakenAwayOpensNothingAnyMore) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent connected = agent();
  ASSERT_TRUE(connected.greet());
  ASSERT_TRUE(connected.rules());
  ServerRules rules = parsed(file("{name: /api, rate: 300/s}"));
  rules.namespaces[0].allow.tokens.push_back("sha256:" + std::string(64, '2'));
  ASSERT_EQ(server_->apply(rules), "");
  EXPECT_TRUE(connected.silent());
  rules.namespaces[0].allow.tokens.erase(rules.namespaces[0].allow.tokens.begin());

  ASSERT_EQ(server_->apply(rules), "");

  EXPECT_TRUE(connected.ends());
  RawAgent a = agent("web-2", 2);
  EXPECT_FALSE(a.greet());
}

TEST_F(ReloadTest, AHostThatHoldsTooMuchIsAskedToCome) {
  ASSERT_TRUE(start(file("{name: /api, rate: 1000/s}")));
  ASSERT_TRUE(learned());
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  EXPECT_TRUE(run_until(io, [&] {
    const auto answer = a.ask("/api", 1000);
    return !answer ||
           (!answer->grants.empty() && answer->grants[0].terms.rate > 500 * lease::kToken);
  }));

  ASSERT_EQ(server_->apply(parsed(file("{name: /api, rate: 100/s}"))), "");
  ASSERT_TRUE(a.rules());
  const auto answer = a.ask("/api", 1000);

  ASSERT_TRUE(answer);
  ASSERT_EQ(answer->grants.size(), 1U);
  EXPECT_LE(answer->grants[0].terms.rate, 100 * lease::kToken);
}

}  // namespace
}  // namespace weir::server
