// How leases come in force in a domain: by the tables, a few slots at a time, with the ends beside
// them.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "agent/domain.h"
#include "shm/bucket.h"
#include "tests/unit/agent/plain_domain.h"

namespace weir::agent {
namespace {

using namespace shm;
using test::kSecond;

class DomainLease : public testing::Test {
 protected:
  DomainLease() {
    DomainOptions options;
    options.limits_max = 8;
    options.clients_max = 4;
    options.cpus = 2;
    rule.name = "default";
    for (const char* name : {"a", "b", "c", "d", "host"})
      rule.limits.push_back(limit(name));
    rule.limits.back().scope = LimitScope::host;
    auto made =
        Domain::make(rule, options, {[this] { return now; }, [] { return 1'700'000'000; }}, 1, {});
    EXPECT_TRUE(made);
    domain = std::move(*made);
    domain->set_lease_source([this](const LimitRule& r) { return leases[r.name]; });
    EXPECT_TRUE(domain->publish(rule));
  }
  static LimitRule limit(const std::string& name) {
    LimitRule l;
    l.name = name;
    l.amount = l.fallback.amount = 100;
    l.period_ns = l.fallback.period_ns = static_cast<std::uint64_t>(kSecond);
    l.burst = l.fallback.burst = 100;
    l.scope = LimitScope::cluster;
    return l;
  }
  LimitTerms terms(std::uint64_t rate, std::uint64_t burst, std::int64_t seconds = 10) const {
    LimitTerms t;
    t.algorithm = Algorithm::token_bucket;
    t.fallback = Fallback::local;
    t.amount = rate;
    t.period_ns = static_cast<std::uint64_t>(kSecond);
    t.burst = burst;
    t.tail_amount = rate / 2;
    t.tail_period_ns = t.period_ns;
    t.tail_burst = burst / 2;
    t.safe_period_ns = 1;
    t.lease_end_mono_ns = now + seconds * kSecond;
    t.tail_end_mono_ns = t.lease_end_mono_ns + kSecond;
    return t;
  }
  std::uint32_t slot(const std::string& name) const {
    return static_cast<std::uint32_t>(domain->slot_of(name));
  }
  void put(const std::string& name, const LimitTerms& t, std::uint64_t fill = 0) {
    leases[name] = t;
    LeaseUpdate update;
    update.slot = slot(name);
    update.terms = t;
    update.fill = fill;
    domain->put_leases({&update, 1});
  }
  RuleCopy copy(const std::string& name) const {
    RuleCopy rule_copy;
    EXPECT_TRUE(copy_rule(domain->rules().view(), slot(name), rule_copy));
    return rule_copy;
  }
  std::uint64_t flips() const { return domain->rules().header().table_flip.load() >> 1; }
  std::uint64_t level(const std::string& name) const {
    return bucket_level(domain->counters().slot(slot(name)));
  }

  std::int64_t now = 1000 * kSecond;
  std::map<std::string, LimitTerms> leases;
  DomainRule rule;
  std::unique_ptr<Domain> domain;
};

TEST_F(DomainLease, ReadersSeeWhatWasPut) {
  put("b", terms(50, 20));
  const RuleCopy b = copy("b");
  EXPECT_TRUE(same_rates(b.terms, leases["b"]));
  EXPECT_EQ(b.terms.lease_end_mono_ns, leases["b"].lease_end_mono_ns);
  EXPECT_EQ(b.terms.tail_end_mono_ns, leases["b"].tail_end_mono_ns);
  EXPECT_EQ(b.cluster_burst, 100U);
  EXPECT_EQ(copy("host").cluster_burst, 0U);
  EXPECT_EQ(copy("a").terms.amount, 0U);
}

TEST_F(DomainLease, ALaterEndAloneFlipsNothing) {
  put("a", terms(50, 20));
  const std::uint64_t before = flips();
  put("a", terms(50, 20, 15));
  EXPECT_EQ(flips(), before);
  EXPECT_EQ(copy("a").terms.lease_end_mono_ns, now + 15 * kSecond);
}

// The table that is not valid is behind in some slots; a flip must never bring an old rule back.
TEST_F(DomainLease, TheTablesNeverFallBehind) {
  std::mt19937 random(11);
  const std::vector<std::string> names{"a", "b", "c", "d"};
  for (int i = 0; i < 2000; ++i) {
    now += kSecond / 100;
    if (random() % 50 == 0) {
      ASSERT_TRUE(domain->publish(rule));
    } else {
      std::vector<LeaseUpdate> updates;
      for (const std::string& name : names) {
        if (random() % 3 != 0) continue;
        leases[name] = terms(random() % 100, random() % 100, 1 + random() % 5);
        LeaseUpdate& update = updates.emplace_back();
        update.slot = slot(name);
        update.terms = leases[name];
      }
      domain->put_leases(updates);
    }
    for (const std::string& name : names) {
      const RuleCopy seen = copy(name);
      ASSERT_TRUE(same_rates(seen.terms, leases[name])) << name << " after " << i;
      ASSERT_STREQ(seen.name, name.c_str());
    }
    ASSERT_EQ(copy("host").terms.burst, 100U);
    ASSERT_GE(find_limit(domain->rules().view(), "d"), 0);
  }
}

TEST_F(DomainLease, AFillFindsTheBurstThatCameWithIt) {
  put("a", terms(0, 5), 5);
  EXPECT_EQ(level("a"), 5U);
  put("a", terms(0, 0));
  EXPECT_EQ(level("a"), 0U) << "and goes with it";
}

TEST_F(DomainLease, AReloadKeepsTheLease) {
  put("a", terms(100, 50));
  now += kSecond;
  domain->tick();
  ASSERT_EQ(level("a"), 50U);
  rule.limits[0].description = "changed";
  ASSERT_TRUE(domain->publish(rule));
  EXPECT_EQ(level("a"), 50U);
  EXPECT_TRUE(same_rates(copy("a").terms, leases["a"]));
}

TEST_F(DomainLease, ALimitThatBecomesTheClustersHasNothingLeft) {
  ASSERT_EQ(level("host"), 100U);
  rule.limits.back().scope = LimitScope::cluster;
  ASSERT_TRUE(domain->publish(rule));
  EXPECT_EQ(level("host"), 0U);
}

TEST_F(DomainLease, ALimitOfThisHostIsNobodysToLease) {
  put("host", terms(1, 1));
  EXPECT_EQ(copy("host").terms.burst, 100U);
  EXPECT_EQ(level("host"), 100U);
}

TEST_F(DomainLease, ReservesFollowTheLeasesBurst) {
  rule.limits[0].reserve_permille = {0, 0, 100, 500};
  ASSERT_TRUE(domain->publish(rule));
  put("a", terms(10, 40));
  EXPECT_EQ(copy("a").reserve[2], 4U);
  EXPECT_EQ(copy("a").reserve[3], 20U);
  put("a", terms(10, 10));
  EXPECT_EQ(copy("a").reserve[3], 5U);
}

}  // namespace
}  // namespace weir::agent
