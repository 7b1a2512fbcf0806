// Quotas, their store and the API's tokens in a server's file.
#include "rules/quota.h"

#include <gmock/gmock.h>

#include "rules/diff.h"
#include "tests/unit/rules/testing.h"

namespace weir {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

QuotaRule only_quota(const std::string& fields) {
  const ServerRules rules =
      server_of("namespaces: {shop: {quotas: [{name: calls, " + fields + "}]}}");
  return rules.namespaces.empty() || rules.namespaces[0].quotas.empty()
             ? QuotaRule{}
             : rules.namespaces[0].quotas[0];
}

TEST(Quota, AServerWithoutQuotasNeedsNoStore) {
  const ServerRules rules = server_of("namespaces: {shop: {}}");

  EXPECT_FALSE(rules.has_quotas());
  EXPECT_THAT(rules.api, IsEmpty());
  EXPECT_EQ(rules.store, StoreRule{});
}

TEST(Quota, WhatIsNotSaidHasADefault) {
  const QuotaRule rule = only_quota("total: 5");

  EXPECT_EQ(rule.kind, QuotaKind::count);
  EXPECT_EQ(rule.total, 5U);
  EXPECT_EQ(rule.every, QuotaEvery::none);
  EXPECT_EQ(rule.timezone, "UTC");
  EXPECT_EQ(rule.rate_per_min, 0U);
  EXPECT_EQ(rule.chunk_min, 1U);
  EXPECT_EQ(rule.chunk_max, kQuotaTotalMax);
  EXPECT_EQ(rule.keys, QuotaKeys::listed);
}

TEST(Quota, EveryKeyIsRead) {
  const QuotaRule rule = only_quota(
      "type: hybrid, total: 100k, period: month, timezone: Europe/Berlin, valid: 30d, "
      "rate: 1/s, burst: 7, chunk: {min: 2, max: 1k}, keys: any");

  EXPECT_EQ(rule.kind, QuotaKind::hybrid);
  EXPECT_EQ(rule.total, 100'000U);
  EXPECT_EQ(rule.every, QuotaEvery::month);
  EXPECT_EQ(rule.timezone, "Europe/Berlin");
  EXPECT_EQ(rule.valid_ns, 30 * 86'400'000'000'000U);
  EXPECT_EQ(rule.rate_per_min, 60U);
  EXPECT_EQ(rule.rate_burst, 7U);
  EXPECT_EQ(rule.chunk_min, 2U);
  EXPECT_EQ(rule.chunk_max, 1'000U);
  EXPECT_EQ(rule.keys, QuotaKeys::any);
}

TEST(Quota, TheStoreAndTheAuditLogAreRead) {
  const StoreRule rule =
      server_of(
          "store: {sync: normal, unsafe: true}\n"
          "audit: {batch: 100, flush: 5s, queue: 20k, retention: off, clean_every: 1h, "
          "clean_batch: 500}\nnamespaces: {shop: {}}")
          .store;

  EXPECT_EQ(rule.sync, StoreSync::normal);
  EXPECT_TRUE(rule.unsafe);
  EXPECT_EQ(rule.audit_batch, 100U);
  EXPECT_EQ(rule.audit_flush_ms, 5'000U);
  EXPECT_EQ(rule.audit_queue, 20'000U);
  EXPECT_EQ(rule.retention_days, 0U);
  EXPECT_EQ(rule.clean_every_h, 1U);
  EXPECT_EQ(rule.clean_batch, 500U);
}

TEST(Quota, TokensOfTheApiHaveRolesAndNamespaces) {
  const std::string hash = "sha256:" + std::string(64, 'a');
  const ServerRules rules = server_of("api: {tokens: [{name: ops, role: operator, token: '" + hash +
                                      "', namespaces: [shop]}]}\nnamespaces: {shop: {}}");

  ASSERT_THAT(rules.api, SizeIs(1));
  EXPECT_EQ(rules.api[0].role, ApiRole::operate);
  EXPECT_EQ(rules.api[0].token, hash);
  EXPECT_THAT(rules.api[0].namespaces, ElementsAre("shop"));
}

TEST(Quota, AChangedQuotaIsAChangeOfItsNamespace) {
  const auto file = [](const char* total) {
    return server_of(std::string("namespaces: {shop: {quotas: [{name: calls, total: ") + total +
                     "}]}}");
  };

  const std::vector<RuleChange> changes = diff_rules(file("5"), file("6"));

  ASSERT_THAT(changes, SizeIs(1));
  EXPECT_THAT(to_string(changes[0]), HasSubstr("count 5"));
  EXPECT_THAT(to_string(changes[0]), HasSubstr("count 6"));
}

}  // namespace
}  // namespace weir
