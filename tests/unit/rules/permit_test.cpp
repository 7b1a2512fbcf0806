// Concurrency limits of a whole cluster: on the hosts a scope, in the server's file a list.
#include <gmock/gmock.h>

#include "rules/diff.h"
#include "tests/unit/rules/testing.h"

namespace weir {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::SizeIs;

ParseResult agent_of(const std::string& text) {
  return parse_rules("version: 1\n" + text, "rules.yaml");
}

TEST(PermitRules, AResourceIsOfTheHostUnlessItSaysCluster) {
  const ParseResult result = agent_of(
      "resources:\n"
      "  - {name: own, concurrency: {max: 5}}\n"
      "  - {name: db, concurrency: {max: 100, scope: cluster}}\n"
      "  - {name: mq, concurrency: {max: 7, scope: cluster, fallback: closed}}\n");

  ASSERT_TRUE(result.ok()) << first_problem(result);
  const auto& resources = result.rules->domains.at(0).resources;
  EXPECT_FALSE(resources[0].concurrency.cluster);
  EXPECT_TRUE(resources[1].concurrency.cluster);
  EXPECT_EQ(resources[1].concurrency.fallback, shm::Fallback::local);
  EXPECT_EQ(resources[2].concurrency.fallback, shm::Fallback::closed);
  ASSERT_THAT(result.rules->cluster.permits, SizeIs(2));
  EXPECT_EQ(result.rules->cluster.permits[0].name, "db");
  EXPECT_EQ(result.rules->cluster.permits[0].max, 100U);
  EXPECT_TRUE(result.rules->cluster.present);
}

TEST(PermitRules, WhatDoesNotFitIsSaidWithItsLine) {
  EXPECT_THAT(first_problem(agent_of("resources:\n  - name: db\n    concurrency: {max: 5, "
                                     "fallback: open}\n")),
              testing::AllOf(HasSubstr("rules.yaml:4"), HasSubstr("scope: cluster alone")));
  EXPECT_THAT(first_problem(agent_of("resources:\n  - name: db\n    concurrency: {max: 5, scope: "
                                     "world}\n")),
              HasSubstr("rules.yaml:4"));
  EXPECT_THAT(first_problem(agent_of(
                  "domains: [{name: a, allow: {users: [0]}}, {name: b, allow: {users: [0]}}]\n"
                  "cluster: {domain: a}\n"
                  "resources:\n"
                  "  - {name: db, domain: b, concurrency: {max: 5, scope: cluster}}\n")),
              testing::AllOf(HasSubstr("rules.yaml:5"), HasSubstr("cluster.domain")));
}

TEST(PermitRules, TheServerHasAListInANamespace) {
  const ServerParseResult result = parse_server(
      "namespaces: {shop: {concurrency: [{name: db, max: 100}, {name: mq, max: 7}]}}\n");

  ASSERT_TRUE(result.ok()) << first_problem(result);
  const auto& permits = result.rules->namespaces.at(0).permits;
  ASSERT_THAT(permits, SizeIs(2));
  EXPECT_EQ(permits[1].name, "mq");
  EXPECT_EQ(permits[1].max, 7U);
}

TEST(PermitRules, TheServersListIsChecked) {
  const auto problem_of = [](const std::string& list) {
    return first_problem(parse_server("namespaces:\n  shop:\n    concurrency: " + list + "\n"));
  };

  EXPECT_THAT(problem_of("5"), HasSubstr("server.yaml:4"));
  EXPECT_THAT(problem_of("[{name: db}]"), HasSubstr("'max'"));
  EXPECT_THAT(problem_of("[{max: 5}]"), HasSubstr("'name'"));
  EXPECT_THAT(problem_of("[{name: db, max: 0}]"), HasSubstr("server.yaml:4"));
  EXPECT_THAT(problem_of("[{name: db, max: 65535}]"), HasSubstr("server.yaml:4"));
  EXPECT_THAT(problem_of("[{name: db, max: 5}, {name: db, max: 6}]"), HasSubstr("exists already"));
  EXPECT_THAT(problem_of("[{name: db, max: 5, scope: host}]"), HasSubstr("scope"));
}

TEST(PermitRules, AChangeIsSeenOnBothSides) {
  const auto changed = [](const std::vector<RuleChange>& changes) {
    std::vector<std::string> texts;
    for (const RuleChange& change : changes)
      texts.push_back(to_string(change));
    return texts;
  };
  const auto host = [](const std::string& fields) {
    return *agent_of("resources:\n  - {name: db, concurrency: {max: 5" + fields + "}}\n").rules;
  };
  const auto server = [](const std::string& max) {
    return *parse_server("namespaces: {shop: {concurrency: [{name: db, max: " + max + "}]}}\n")
                .rules;
  };

  EXPECT_THAT(changed(diff_rules(host(""), host(", scope: cluster"))),
              Contains(HasSubstr("concurrency.scope")));
  EXPECT_THAT(changed(diff_rules(server("5"), server("6"))), Contains(HasSubstr("max 6")));
}

}  // namespace
}  // namespace weir
