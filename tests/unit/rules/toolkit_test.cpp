// Resources and degradation in a rules file: defaults, short forms, every key, what differs.
#include "rules/toolkit.h"

#include <gmock/gmock.h>

#include "rules/diff.h"
#include "rules/duration.h"
#include "tests/unit/rules/testing.h"

namespace weir {
namespace {

using testing::ElementsAre;

DomainRule domain_of(const std::string& text) {
  const ParseResult result = parse("version: 1\n" + text);
  EXPECT_TRUE(result.ok()) << first_problem(result);
  return result.ok() ? result.rules->domains.at(0) : DomainRule{};
}

ResourceConfig resource_of(const std::string& fields) {
  const DomainRule domain = domain_of("resources:\n  - {name: a, " + fields + "}\n");
  return domain.resources.empty() ? ResourceConfig{} : domain.resources[0];
}

TEST(ToolkitRules, ShortFormsTakeTheDefaults) {
  const ResourceConfig a =
      resource_of("concurrency: 200, shed: bbr, breaker: states, retry_budget: 5%, deadline: 2s");

  EXPECT_TRUE(a.concurrency.present);
  EXPECT_EQ(a.concurrency.max, 200U);
  EXPECT_EQ(a.concurrency.lease_ns, 0U);
  EXPECT_EQ(a.shed.kind, ShedKind::bbr);
  EXPECT_EQ(a.shed.cpu_permille, 800U);
  EXPECT_EQ(a.breaker.kind, BreakerKind::states);
  EXPECT_EQ(a.breaker.volume, 20U);
  EXPECT_EQ(a.breaker.consecutive, 5U);
  EXPECT_EQ(a.retry.share_permille, 50U);
  EXPECT_EQ(a.retry.floor_per_s_milli, 1000U);
  EXPECT_EQ(a.deadline.default_ns, 2 * kSecondNs);
  EXPECT_EQ(a.deadline.max_ns, kMinuteNs);
}

TEST(ToolkitRules, WhatIsNotSaidIsOff) {
  const ResourceConfig a = resource_of("concurrency: 200");

  EXPECT_EQ(a.shed.kind, ShedKind::off);
  EXPECT_EQ(a.breaker.kind, BreakerKind::off);
  EXPECT_FALSE(a.retry.present);
  EXPECT_FALSE(a.deadline.present);
}

TEST(ToolkitRules, AnAdaptiveBreakerHasItsOwnDefaults) {
  const BreakerConfig breaker = resource_of("breaker: adaptive").breaker;
  EXPECT_EQ(breaker.window_ns, 120 * kSecondNs);
  EXPECT_EQ(breaker.volume, 100U);
  EXPECT_EQ(breaker.k_permille, 2000U);

  EXPECT_EQ(resource_of("breaker: {kind: adaptive, k: 1.1}").breaker.k_permille, 1100U);
  EXPECT_EQ(resource_of("breaker: {kind: adaptive, k: 1.005}").breaker.k_permille, 1005U);
  EXPECT_EQ(resource_of("breaker: {kind: adaptive, k: 10}").breaker.k_permille, 10'000U);
}

TEST(ToolkitRules, AGateThatIsNotNamedIsNotLookedAt) {
  const ShedConfig shed = resource_of("shed: {gate: [psi], psi: 30%}").shed;

  EXPECT_EQ(shed.cpu_permille, 0U);
  EXPECT_EQ(shed.psi_permille, 300U);
  EXPECT_EQ(shed.throttled_permille, 0U);
}

TEST(ToolkitRules, ClassesLeaveTheirSharesAsInALimit) {
  const ResourceConfig a =
      resource_of("concurrency: {max: 100, priority: {sheddable: 20%, critical: 10%}}");

  EXPECT_THAT(a.concurrency.reserve_permille, ElementsAre(0U, 100U, 100U, 200U));
}

TEST(ToolkitRules, ADefaultAboveTheMaximumRaisesIt) {
  EXPECT_EQ(resource_of("deadline: 2m").deadline.max_ns, 2 * kMinuteNs);
  EXPECT_EQ(resource_of("breaker: {open: 10m}").breaker.open_max_ns, 10 * kMinuteNs);
  EXPECT_EQ(resource_of("retry_budget: {backoff: 30s}").retry.backoff_max_ns, 30 * kSecondNs);
}

TEST(ToolkitRules, ALimitAndAResourceMayHaveOneName) {
  const DomainRule domain =
      domain_of("limits: [{name: a, rate: 1/s}]\nresources: [{name: a, concurrency: 1}]\n");

  EXPECT_EQ(domain.limits.size(), 1U);
  EXPECT_EQ(domain.resources.size(), 1U);
}

TEST(ToolkitRules, ResourcesAreCountedWithTheirTenants) {
  std::string text = "resources:\n";
  for (int i = 0; i < 16'383; ++i)
    text += "  - {name: a" + std::to_string(i) + ", concurrency: 1}\n";
  const std::string last = "  - {name: last, concurrency: 1}\n";
  EXPECT_EQ(domain_of(text + last).resources.size(), 16'384U);

  const ParseResult result =
      parse("version: 1\n" + text +
            "  - {name: last, concurrency: {max: 2, tenants: [{name: t, max: 1}]}}\n");
  EXPECT_EQ(first_problem(result),
            "rules.yaml:16386:12: more than 16384 resources, those of tenants included, in the "
            "domain 'default'");
}

TEST(ToolkitRules, TwentyThousandResourcesAreRefusedAndNotTaken) {
  std::string text = "version: 1\nresources:\n";
  for (int i = 0; i < 20'000; ++i)
    text += "  - {name: a" + std::to_string(i) + ", concurrency: 1}\n";

  const ParseResult result = parse(text);

  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.problems.size() + result.problems_left_out, 20'000U - 16'384U);
}

TEST(ToolkitRules, LevelsAreLeftBelowWhereTheyAreEntered) {
  const DomainRule domain = domain_of(
      "resources: [{name: db, shed: bbr}]\n"
      "degrade:\n"
      "  - name: shop\n"
      "    signal: queue\n"
      "    resource: db\n"
      "    levels: [{enter: 100ms, features: [x, y]}, {enter: 1s, leave: 200ms, features: z}]\n"
      "    drill: {level: 2, share: 0.5%}\n");

  ASSERT_EQ(domain.degrades.size(), 1U);
  const DegradeConfig& shop = domain.degrades[0];
  EXPECT_EQ(shop.signal, DegradeSignal::queue);
  EXPECT_EQ(shop.resource, "db");
  ASSERT_EQ(shop.levels.size(), 2U);
  EXPECT_EQ(shop.levels[0].enter, 100'000'000U);
  EXPECT_EQ(shop.levels[0].leave, 80'000'000U);
  EXPECT_THAT(shop.levels[0].features, ElementsAre("x", "y"));
  EXPECT_EQ(shop.levels[1].leave, 200'000'000U);
  EXPECT_THAT(shop.levels[1].features, ElementsAre("z"));
  EXPECT_EQ(shop.drill_level, 2U);
  EXPECT_EQ(shop.drill_permille, 5U);
}

TEST(ToolkitRules, TheExampleHasEveryFeature) {
  const ParseResult result = parse(slurp(std::string{WEIR_SOURCE_DIR} + "/examples/rules.yaml"));

  ASSERT_TRUE(result.ok()) << first_problem(result);
  const DomainRule& domain = result.rules->domains.at(0);
  ASSERT_EQ(domain.resources.size(), 2U);
  ASSERT_EQ(domain.degrades.size(), 2U);
  EXPECT_EQ(domain.resources[0].concurrency.tenants.size(), 2U);
  // The values that the example shows as defaults are the defaults.
  const ResourceConfig plain = resource_of("shed: bbr, breaker: states, deadline: 5s");
  EXPECT_EQ(domain.resources[0].shed.hold_ns, plain.shed.hold_ns);
  EXPECT_EQ(domain.resources[0].breaker.open_max_ns, plain.breaker.open_max_ns);
  EXPECT_EQ(domain.resources[0].breaker.calm_ns, plain.breaker.calm_ns);
  EXPECT_EQ(domain.resources[0].deadline, plain.deadline);
}

TEST(ToolkitDiff, NamesWhatChangedInTheWordsOfTheFile) {
  EXPECT_THAT(
      diff("resources: [{name: db, concurrency: 10, shed: bbr, breaker: {growth: 1.5}}]",
           "resources: [{name: db, concurrency: {max: 20, lease: 1m}, shed: {gate: [cpu], cpu: "
           "70%}, breaker: {growth: 2, consecutive: 9}}]"),
      ElementsAre("~ default resource db: concurrency.max 10 -> 20, concurrency.lease none -> 1m, "
                  "shed.cpu 80% -> 70%, shed.psi 60% -> off, shed.throttled 25% -> off, "
                  "breaker.consecutive 5 -> 9, breaker.growth 1.5 -> 2"));
}

TEST(ToolkitDiff, ShowsWhatIsNewAndWhatIsGone) {
  EXPECT_THAT(
      diff("resources: [{name: old, deadline: 3s}]",
           "resources: [{name: new, breaker: adaptive}]\n"
           "degrade: [{name: shop, signal: cpu, levels: [{enter: 85%, features: [x]}]}]"),
      ElementsAre(
          "+ default resource new: shed.kind off, breaker.kind adaptive, breaker.window 2m, "
          "breaker.volume 100, breaker.k 2, breaker.probe_rate 1/s",
          "- default resource old: shed.kind off, breaker.kind off, deadline.default 3s, "
          "deadline.max 1m",
          "+ default degrade shop: signal cpu, levels [{enter: 85%, leave: 68%, features: "
          "[x]}], hold 1s, leave_hold 10s"));
}

TEST(ToolkitDiff, TheSameIsNoChange) {
  const std::string text =
      "resources: [{name: db, concurrency: 10}]\n"
      "degrade: [{name: shop, signal: cpu, levels: [{enter: 85%}]}]";
  EXPECT_TRUE(diff(text, "\n# moved\n" + text).empty());
}

}  // namespace
}  // namespace weir
