// The pure parts of the agent's side of a cluster: terms, the file of leases, the rules of a
// server.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "agent/upstream/pushed_rules.h"
#include "agent/upstream/saved_leases.h"
#include "agent/upstream/stats.h"
#include "agent/upstream/terms.h"

namespace weir::agent {
namespace {

using namespace shm;
constexpr std::int64_t kSecond = 1'000'000'000;

LimitRule divided(std::uint64_t rate = 300, std::uint64_t burst = 300) {
  LimitRule rule;
  rule.name = "a";
  rule.amount = rule.fallback.amount = rate;
  rule.period_ns = rule.fallback.period_ns = static_cast<std::uint64_t>(kSecond);
  rule.burst = rule.fallback.burst = burst;
  rule.fallback.divided = true;
  rule.scope = LimitScope::cluster;
  return rule;
}

lease::LeaseView live_view() {
  lease::LeaseView view;
  view.state = lease::LeaseState::live;
  view.rate = 199'800'000;
  view.burst = 150'700'000;
  view.tail_rate = 99'900'000;
  view.tail_burst = 50'000'000;
  view.end_ns = 110 * kSecond;
  view.tail_end_ns = 120 * kSecond;
  view.hosts = 3;
  return view;
}

TEST(LeaseTerms, ALiveLeaseThenItsTailThenAPartOfTheLimit) {
  const LimitTerms t =
      lease_terms(divided(), live_view(), {.mono_minus_boot_ns = -10 * kSecond, .hosts = 7});

  const MintRule live = t.at(99 * kSecond), tail = t.at(105 * kSecond), after = t.at(111 * kSecond);
  EXPECT_EQ(live.until_mono_ns, 100 * kSecond) << "on the clock that clients have";
  EXPECT_EQ(live.burst, 150U) << "whole tokens";
  EXPECT_DOUBLE_EQ(static_cast<double>(live.amount) / static_cast<double>(live.period_ns) * 1e9,
                   199.8);
  EXPECT_EQ(tail.burst, 50U);
  EXPECT_DOUBLE_EQ(static_cast<double>(tail.amount) / static_cast<double>(tail.period_ns) * 1e9,
                   99.9);
  EXPECT_EQ(after.amount, 300U);
  EXPECT_EQ(after.period_ns, 3'000'000'000U) << "divided by the hosts of the lease, not rounded";
  EXPECT_EQ(after.burst, 100U);
}

TEST(LeaseTerms, ATailThatHasBegun) {
  lease::LeaseView view = live_view();
  view.state = lease::LeaseState::tail;
  const LimitTerms t = lease_terms(divided(), view, {});
  EXPECT_EQ(t.at(119 * kSecond).burst, 50U);
  EXPECT_GT(t.at(119 * kSecond).amount, 0U);
  EXPECT_EQ(t.at(121 * kSecond).burst, 100U);
}

TEST(LeaseTerms, WithoutALeaseNothingUntilTheFallbackMayBegin) {
  lease::LeaseView view;
  const LimitTerms t =
      lease_terms(divided(), view, {.hosts = 3, .fallback_from_boot_ns = 50 * kSecond});
  EXPECT_EQ(t.at(49 * kSecond).amount, 0U);
  EXPECT_EQ(t.at(49 * kSecond).burst, 0U);
  EXPECT_EQ(t.at(51 * kSecond).burst, 100U) << "also where this process is no more";
}

TEST(LeaseTerms, AClosedFallbackHasNoBucketEither) {
  LimitRule rule = divided();
  rule.fallback = {.mode = Fallback::closed};
  const LimitTerms t = lease_terms(rule, live_view(), {});
  EXPECT_EQ(t.at(200 * kSecond).amount, 0U);
  EXPECT_EQ(t.at(200 * kSecond).burst, 0U);
}

TEST(LeaseTerms, AnOpenFallbackIsOpenWithAndWithoutTheAgent) {
  LimitRule rule = divided();
  rule.fallback = {.mode = Fallback::open};
  const LimitTerms before = lease_terms(rule, live_view(), {});
  EXPECT_FALSE(before.opened(119 * kSecond));
  EXPECT_TRUE(before.opened(121 * kSecond)) << "for clients that find no agent";
  const LimitTerms now = lease_terms(rule, live_view(), {.fallback = true});
  EXPECT_EQ(now.at(121 * kSecond).burst, kBurstMax) << "for those that do";
  EXPECT_EQ(now.at(121 * kSecond).amount, kBurstMax);
}

TEST(LeaseTerms, AHostHasAtLeastOneToken) {
  EXPECT_EQ(local_rate(divided(10, 3), 100).burst, 1U);
  EXPECT_EQ(local_rate(divided(10, 3), 0).burst, 3U) << "nobody known: one host";
}

TEST(LeaseTerms, ALimitPerHostIsNotDivided) {
  LimitRule rule = divided();
  rule.cluster.threshold = LimitThreshold::per_host;
  EXPECT_EQ(local_rate(rule, 3).burst, 300U);
  EXPECT_EQ(local_rate(rule, 3).period_ns, static_cast<std::uint64_t>(kSecond));
}

TEST(LeaseTerms, APeriodTooLongToMultiplyDividesTheAmount) {
  LimitRule rule = divided();
  rule.fallback.period_ns = UINT64_MAX / 4;
  EXPECT_EQ(local_rate(rule, 3).amount, 100U);
}

SavedLeases saved_example() {
  SavedLeases saved;
  saved.boot_id = "b5f4-11";
  saved.counters_id = UINT64_MAX;
  saved.heard_boot_ns = 42;
  saved.ttl_ns = 5 * kSecond;
  saved.desk.agent_epoch = 1ULL << 63;
  saved.desk.hello_no = 3;
  saved.desk.session = 77;
  saved.desk.accepted_seq = 12;
  saved.desk.epoch_seen = 9;
  saved.desk.held.push_back({"with space", {1, 2, 3, 4}, {9, 8, 7, 6}, UINT64_MAX, 10, 20, 3});
  saved.desk.held.push_back({"b", {5, 6, 7, 8}, {}, 0, 30, 40, 0});
  return saved;
}

TEST(SavedLeases, ComeBackAsTheyWere) {
  const auto back = parse_saved_leases(to_text(saved_example()));
  ASSERT_TRUE(back);
  EXPECT_EQ(to_text(*back), to_text(saved_example()));
  EXPECT_EQ(back->boot_id, "b5f4-11");
  ASSERT_EQ(back->desk.held.size(), 2U);
  EXPECT_EQ(back->desk.held[0].name, "with space");
  EXPECT_EQ(back->desk.held[0].granted.tail_burst, 6);
  EXPECT_EQ(back->desk.held[1].terms.tail_burst, 8);
}

// A writer may have been killed anywhere. Half a file is no file.
TEST(SavedLeases, APieceIsNothing) {
  const std::string text = to_text(saved_example());
  for (std::size_t bytes = 0; bytes < text.size(); ++bytes)
    EXPECT_FALSE(parse_saved_leases(text.substr(0, bytes))) << bytes;
  EXPECT_FALSE(parse_saved_leases("weir-leases 1\n" + text.substr(text.find('\n') + 1)));
}

v1::RulePush push(const std::string& name) {
  v1::RulePush push;
  push.set_name(name);
  push.set_amount(300);
  push.set_period_ns(1'000'000'000);
  push.set_burst(600'000'000);
  push.set_fallback(v1::RULE_FALLBACK_LOCAL);
  return push;
}

TEST(PushedRules, ASetIsTakenWhenItsLastPartHasCome) {
  RulesAssembler assembler;
  v1::Rules part;
  part.set_rules_version(9);
  part.set_hosts(4);
  part.set_more(true);
  *part.add_rules() = push("a");
  EXPECT_FALSE(assembler.take(part));
  part.clear_rules();
  *part.add_rules() = push("b");
  part.set_part(1);
  part.set_more(false);

  const auto rules = assembler.take(part);

  ASSERT_TRUE(rules);
  EXPECT_EQ(rules->version, 9U);
  EXPECT_EQ(rules->hosts, 4U);
  ASSERT_EQ(rules->limits.size(), 2U);
  EXPECT_EQ(rules->limits[1].name, "b");
  EXPECT_EQ(rules->limits[0].burst, 600U);
  EXPECT_TRUE(rules->limits[0].fallback.divided);
  EXPECT_EQ(rules->limits[0].scope, LimitScope::cluster);
}

TEST(PushedRules, AMissedPartTakesNothing) {
  RulesAssembler assembler;
  v1::Rules part;
  part.set_rules_version(9);
  part.set_more(true);
  EXPECT_FALSE(assembler.take(part));
  part.set_part(2);
  part.set_more(false);
  EXPECT_FALSE(assembler.take(part));
  part.set_part(1);
  EXPECT_FALSE(assembler.take(part)) << "and what follows belongs to nothing";
}

TEST(PushedRules, WhatMakesNoLimitIsLeftOut) {
  v1::Rules whole;
  *whole.add_rules() = push("good");
  *whole.add_rules() = push("good");
  *whole.add_rules() = push(std::string(200, 'x'));
  whole.add_rules()->set_name("no period");
  *whole.add_rules() = push("huge");
  whole.mutable_rules(4)->set_burst(UINT64_MAX);

  const PushedRules rules = to_rules(whole);

  EXPECT_EQ(rules.limits.size(), 1U);
  EXPECT_EQ(rules.skipped, 4U);
}

TEST(PushedRules, AFallbackThatIsNotKnownIsClosed) {
  v1::Rules whole;
  *whole.add_rules() = push("a");
  whole.mutable_rules(0)->set_fallback(static_cast<v1::RuleFallback>(17));
  EXPECT_EQ(to_rules(whole).limits[0].fallback.mode, Fallback::closed);
}

TEST(PushedRules, AFileKeepsThemForAStartWithoutAServer) {
  char dir[] = "/tmp/weir-pushed-XXXXXX";
  ASSERT_NE(::mkdtemp(dir), nullptr);
  const std::string path = std::string(dir) + "/cluster_rules";
  v1::Rules whole;
  whole.set_rules_version(5);
  whole.set_hosts(3);
  *whole.add_rules() = push("a");
  whole.mutable_rules(0)->set_fallback_amount(7);
  whole.mutable_rules(0)->set_fallback_period_ns(1'000'000'000);
  whole.mutable_rules(0)->set_fallback_burst(9'000'000);
  for (const std::uint32_t permille : {0U, 100U, 200U, 300U})
    whole.mutable_rules(0)->add_reserve_permille(permille);
  const PushedRules rules = to_rules(whole);

  EXPECT_EQ(save_rules(path, rules), "");
  const PushedRules back = load_rules(path);
  EXPECT_EQ(back.version, 5U);
  EXPECT_EQ(back.hosts, 3U);
  EXPECT_EQ(back.limits, rules.limits);
  EXPECT_EQ(load_rules(path + ".none").version, 0U);
  EXPECT_NE(save_rules(std::string(dir) + "/no/such/dir", rules), "");
  std::filesystem::remove_all(dir);
}

TEST(PushedRules, ParentsAreDividedAndNotSpentFrom) {
  std::vector<LimitRule> limits{divided(), divided(), divided()};
  limits[0].name = "all";
  limits[1].name = "part";
  limits[1].cluster.parent = "all";
  const auto leaves = leaves_of(limits);
  ASSERT_EQ(leaves.size(), 2U);
  EXPECT_EQ(leaves[0].name, "part");
}

TEST(RoundTrips, QuantilesAreBoundsOfBuckets) {
  RoundTrips trips;
  for (int i = 0; i < 99; ++i)
    trips.add(100'000);
  trips.add(3'000'000'000);
  EXPECT_EQ(trips.quantile_us(0.5), 128U);
  EXPECT_EQ(trips.quantile_us(0.995), 64U << 16);
  EXPECT_EQ(trips.at_most(0), 0U);
  EXPECT_EQ(trips.at_most(1), 99U);
  trips.add(INT64_MAX);
  EXPECT_EQ(trips.count(), 101U);
}

}  // namespace
}  // namespace weir::agent
