#include "server/config.h"

#include <gtest/gtest.h>

#include <set>

#include "lease/book.h"
#include "net/frame.h"
#include "net/lease_wire.h"
#include "rules/duration.h"

namespace weir::server {
namespace {

NamespaceRule rules_of(const std::string& limits) {
  const auto parsed = parse_server_rules(
      "version: 1\nnamespaces: {shop: {limits: [" + limits + "]}}", "server.yaml");
  for (const Problem& problem : parsed.problems)
    ADD_FAILURE() << to_string(problem);
  return parsed.ok() ? parsed.rules->namespaces.at(0) : NamespaceRule{};
}

// The parts as an agent sees them.
std::vector<v1::Rules> parts_of(const RulesPush& push) {
  std::vector<v1::Rules> parts;
  for (const std::string& frame : push.frames) {
    v1::ToAgent message;
    const auto complaint =
        net::decode(std::string_view(frame).substr(net::kFrameHeaderBytes), message);
    EXPECT_FALSE(complaint) << complaint.text;
    parts.push_back(message.rules());
  }
  return parts;
}

TEST(Config, RatesAreRoundedDownAndNeverWrap) {
  EXPECT_EQ(micro_per_s(300, kSecondNs), 300'000'000);
  EXPECT_EQ(micro_per_s(1, kDayNs), 11);
  EXPECT_EQ(micro_per_s(1'000'000'000, 1'000), lease::kMicroMax);
  EXPECT_EQ(micro_per_s(UINT64_MAX, 1), lease::kMicroMax);
  EXPECT_EQ(micro_per_s(5, 0), 0);
}

TEST(Config, ALimitBecomesTheBooks) {
  const NamespaceRule rule = rules_of(
      "{name: p, rate: 900/s}, {name: a, rate: 300/s, burst: 50, parent: p, weight: 2, band: 3, "
      "floor: 7/s, threshold: per_host, hosts: [{match: 'b*', weight: 4, band: 1, floor: 1/s}]}");

  const lease::LimitConfig config = limit_config(rule.limits[1]);

  EXPECT_EQ(config.name, "a");
  EXPECT_EQ(config.rate, 300'000'000);
  EXPECT_EQ(config.burst, 50'000'000);
  EXPECT_EQ(config.threshold, lease::Threshold::per_host);
  EXPECT_EQ(config.parent, "p");
  EXPECT_EQ(config.weight, 2U);
  EXPECT_EQ(config.band, 3U);
  EXPECT_EQ(config.floor, 7'000'000);
  ASSERT_EQ(config.hosts.size(), 1U);
  EXPECT_EQ(config.hosts[0], (lease::HostRule{"b*", 4, 1, 1'000'000}));
}

// The largest numbers that a file may hold are numbers that a book takes.
TEST(Config, TheLargestLimitFits) {
  const NamespaceRule rule = rules_of("{name: a, rate: 1G/s, burst: 1099511627776}");
  EXPECT_EQ(limits_problem(rule), "");
  EXPECT_LE(limit_config(rule.limits[0]).burst, lease::kMicroMax);
}

TEST(Config, ABooksComplaintNamesTheNamespace) {
  NamespaceRule rule = rules_of("{name: a, rate: 1/s}");
  rule.limits.push_back(rule.limits[0]);
  EXPECT_EQ(limits_problem(rule), "namespace shop: limit 'a' stands twice");
}

TEST(Config, AgentsGetWhatTheyCanSpendFrom) {
  const NamespaceRule rule = rules_of(
      "{name: p, rate: 900/s}, {name: a, rate: 1 per 1d, burst: 5, parent: p, description: text, "
      "priority: {sheddable: 20%}}, {name: b, rate: 5/s, fallback: {rate: 1/s}}, {name: c, rate: "
      "5/s, fallback: closed}, {name: d, rate: 5/s, fallback: open, threshold: per_host}");

  const auto parts = parts_of(rules_push(rule.limits, 7));

  ASSERT_EQ(parts.size(), 1U);
  EXPECT_EQ(parts[0].hosts(), 7U);
  EXPECT_FALSE(parts[0].more());
  ASSERT_EQ(parts[0].rules_size(), 4);  // the parent is divided, not spent from
  const v1::RulePush& a = parts[0].rules(0);
  EXPECT_EQ(a.name(), "a");
  EXPECT_EQ(a.limit(), lease::limit_id("a"));
  EXPECT_EQ(a.description(), "text");
  EXPECT_EQ(a.parent(), "p");
  EXPECT_EQ(a.amount(), 1U);
  EXPECT_EQ(a.period_ns(), kDayNs);
  EXPECT_EQ(a.burst(), 5'000'000U);
  EXPECT_EQ(a.fallback(), v1::RULE_FALLBACK_LOCAL);
  EXPECT_EQ(a.fallback_period_ns(), 0U);  // the limit divided by the hosts
  ASSERT_EQ(a.reserve_permille_size(), 4);
  EXPECT_EQ(a.reserve_permille(3), 200U);
  const v1::RulePush& b = parts[0].rules(1);
  EXPECT_EQ(b.fallback_amount(), 1U);
  EXPECT_EQ(b.fallback_period_ns(), kSecondNs);
  EXPECT_EQ(b.reserve_permille_size(), 0);
  EXPECT_EQ(parts[0].rules(2).fallback(), v1::RULE_FALLBACK_CLOSED);
  EXPECT_EQ(parts[0].rules(3).fallback(), v1::RULE_FALLBACK_OPEN);
  EXPECT_TRUE(parts[0].rules(3).per_host());
}

TEST(Config, TheVersionFollowsTheContentsAlone) {
  const NamespaceRule rule = rules_of("{name: a, rate: 1/s}, {name: b, rate: 1/s}");
  const std::uint64_t version = rules_push(rule.limits, 1).version;

  EXPECT_NE(version, 0U);
  EXPECT_EQ(rules_push(rule.limits, 99).version, version);
  EXPECT_EQ(rules_version(rules_of("{name: a, rate: 1/s}, {name: b, rate: 1/s}").limits), version);
  EXPECT_NE(rules_version(rules_of("{name: a, rate: 2/s}, {name: b, rate: 1/s}").limits), version);
  EXPECT_NE(rules_version(rules_of("{name: a, rate: 1/s}").limits), version);
  EXPECT_NE(rules_version({}), 0U);
}

TEST(Config, ManyRulesTravelInParts) {
  NamespaceRule rule = rules_of("{name: a, rate: 1/s}");
  LimitRule limit = rule.limits[0];
  rule.limits.clear();
  for (int i = 0; i < 1024; ++i) {
    limit.name = std::string(120, 'n') + std::to_string(i);
    limit.description = std::string(1024, 'd');
    rule.limits.push_back(limit);
  }

  const RulesPush push = rules_push(rule.limits, 1);
  const auto parts = parts_of(push);

  EXPECT_GT(parts.size(), 4U);
  std::set<std::string> names;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(parts[i].part(), i);
    EXPECT_EQ(parts[i].more(), i + 1 < parts.size());
    EXPECT_EQ(parts[i].rules_version(), push.version);
    for (const v1::RulePush& each : parts[i].rules())
      names.insert(each.name());
  }
  EXPECT_EQ(names.size(), 1024U);
}

TEST(Config, AnEmptySetIsAPartToo) {
  const auto parts = parts_of(rules_push({}, 0));
  ASSERT_EQ(parts.size(), 1U);
  EXPECT_EQ(parts[0].rules_size(), 0);
}

TEST(Config, AnEmbeddedServerServesTheAgentsOwnLimits) {
  ClusterRule cluster;
  cluster.name_space = "shop";
  cluster.listen = {"127.0.0.1:1"};
  cluster.guard = 5;
  cluster.limits = rules_of("{name: a, rate: 1/s}").limits;

  const ServerRules rules = embedded_rules(cluster, "/run/weir/server.sock");

  EXPECT_EQ(rules.listen, (std::vector<std::string>{"127.0.0.1:1", "unix:/run/weir/server.sock"}));
  EXPECT_EQ(rules.http, "");
  EXPECT_EQ(rules.state_dir, "");
  ASSERT_EQ(rules.namespaces.size(), 1U);
  EXPECT_EQ(rules.namespaces[0].name, "shop");
  EXPECT_EQ(rules.namespaces[0].guard, 5U);
  EXPECT_EQ(rules.namespaces[0].limits.size(), 1U);
}

}  // namespace
}  // namespace weir::server
