// What the token server says through the agent: what is asked, printed and exited with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

using nlohmann::json;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

v1::ClusterReport with_server() {
  v1::ClusterReport report;
  v1::ServerReport& server = *report.mutable_server();
  server.set_name("s1");
  server.set_version("0.1.0");
  server.set_epoch(UINT64_MAX);
  server.set_namespace_name("shop");
  server.set_hosts(3);
  server.set_limits(2);
  server.set_ttl_ns(5'000'000'000);
  server.set_owner(true);
  return report;
}

void add_limit(v1::ClusterReport& report, const std::string& name, std::uint64_t wanted_per_s) {
  v1::LimitReport& limit = *report.add_limits();
  limit.set_name(name);
  limit.set_rate(300'000'000);
  limit.set_burst(30'000'000);
  limit.set_hosts(3);
  limit.set_wanted_rate(wanted_per_s * 1'000'000);
  limit.set_leased_rate(290'000'000);
}

void add_concurrency(v1::ClusterReport& report, const std::string& name) {
  v1::ConcurrencyReport& each = *report.add_concurrency();
  each.set_name(name);
  each.set_max(100);
  each.set_in_flight(61);
  each.set_wanted(140);
  each.set_bound(97);
  each.set_hosts(2);
  each.set_lost_hosts(1);
  each.set_awaited(1);
}

// Two pages, as a server sends them: limits first, then concurrency limits.
Answers two_pages() {
  Answers answers;
  answers.cluster = {with_server(), with_server()};
  add_limit(answers.cluster[0], "/api/pay", 100);
  answers.cluster[0].set_next_page_token("1");
  add_limit(answers.cluster[1], "/api/order", 500);
  add_concurrency(answers.cluster[1], "db\x1b[2J");
  return answers;
}

TEST(Cluster, StatusShowsTheServerItsLimitsAndItsConcurrencyLimits) {
  FakeAgent agent{two_pages()};

  const Ran ran = run(agent.dir(), {"cluster", "status"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("s1, weir 0.1.0"));
  EXPECT_THAT(ran.out, ContainsRegex("/api/order +300/s +30 +500/s +290/s"));
  EXPECT_LT(ran.out.find("/api/order"), ran.out.find("/api/pay"));
  EXPECT_THAT(ran.out, ContainsRegex("CONCURRENCY +MAX +IN FLIGHT +WANTED +BOUND +HOSTS +LOST"));
  EXPECT_THAT(ran.out, ContainsRegex(R"(db\\x1b\[2J +100 +61 +140 +97 +2 \(1 silent\) +1)"));
  EXPECT_THAT(ran.out, Not(HasSubstr("\x1b")));
}

TEST(Cluster, StatusAsJsonHasAllPages) {
  FakeAgent agent{two_pages()};

  const Ran ran = run(agent.dir(), {"cluster", "status", "-o", "json"});

  ASSERT_EQ(ran.exit_code, 0) << ran.err;
  const json body = json::parse(ran.out);
  EXPECT_EQ(body["server"]["epoch"], "18446744073709551615");
  EXPECT_EQ(body["limits"].size(), 2U);
  EXPECT_EQ(body["limits"][1]["wanted_per_s"], 500.0);
  const json expected{{"name", "db\x1b[2J"}, {"max", 100},         {"in_flight", 61},
                      {"wanted", 140},       {"bound", 97},        {"hosts", 2},
                      {"lost_hosts", 1},     {"awaited_hosts", 1}, {"learning", false}};
  EXPECT_EQ(body["concurrency"], json::array({expected}));
}

TEST(Cluster, HostsOfAConcurrencyLimitShowWhoHoldsThePermits) {
  Answers answers;
  answers.cluster = {with_server()};
  v1::PermitHostReport& live = *answers.cluster[0].add_permit_hosts();
  live.set_host("web-1");
  live.set_connected(true);
  live.set_cap(40);
  live.set_bound(45);
  live.set_in_flight(44);
  live.set_wanted(90);
  live.set_report_age_ms(300);
  live.set_address("10.0.0.1:4000");
  v1::PermitHostReport& lost = *answers.cluster[0].add_permit_hosts();
  lost.set_host("web-2");
  lost.set_bound(52);
  FakeAgent agent{std::move(answers)};

  const Ran ran = run(agent.dir(), {"cluster", "hosts", "db"});
  const Ran body = run(agent.dir(), {"cluster", "hosts", "db", "-o", "json"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(agent.requests().at(0).cluster().limit_name(), "db");
  EXPECT_EQ(agent.requests().at(0).cluster().topic(), v1::CLUSTER_TOPIC_HOSTS);
  EXPECT_THAT(ran.out, ContainsRegex("web-1 +live +40 +45 +44 +90 .*10.0.0.1:4000"));
  EXPECT_THAT(ran.out, ContainsRegex("web-2 +lost +0 +52 +0 +0"));
  EXPECT_THAT(ran.out, Not(HasSubstr("SHARE")));
  ASSERT_EQ(body.exit_code, 0) << body.err;
  const json hosts = json::parse(body.out)["permit_hosts"];
  EXPECT_EQ(hosts[0]["permits"], 40);
  EXPECT_EQ(hosts[1]["state"], "lost");
}

TEST(Cluster, HostsOfALimitComeByWhatTheyWant) {
  Answers answers;
  answers.cluster = {with_server()};
  for (const std::uint64_t wanted : {50U, 400U}) {
    v1::HostReport& host = *answers.cluster[0].add_hosts();
    host.set_host("wants-" + std::to_string(wanted));
    host.set_state(v1::HOST_STATE_LIVE);
    host.set_wanted_rate(wanted * 1'000'000);
  }
  FakeAgent agent{std::move(answers)};

  const Ran ran = run(agent.dir(), {"cluster", "hosts", "/api/order"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_LT(ran.out.find("wants-400"), ran.out.find("wants-50"));
  EXPECT_THAT(ran.out, Not(HasSubstr("PERMITS")));
}

TEST(Cluster, WithoutAHostItSaysSo) {
  Answers answers;
  answers.cluster = {with_server()};
  FakeAgent agent{std::move(answers)};

  EXPECT_THAT(run(agent.dir(), {"cluster", "hosts", "db"}).err, HasSubstr("no host has asked"));
  EXPECT_THAT(run(agent.dir(), {"cluster", "hosts"}).err, HasSubstr("no host is there"));
}

TEST(Cluster, TopPrintsOneScreenOfBoth) {
  FakeAgent agent{two_pages()};

  const Ran ran = run(agent.dir(), {"cluster", "top", "--once", "--sort", "waiting"});
  const Ran body = run(agent.dir(), {"cluster", "top", "-o", "json"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_LT(ran.out.find("/api/order"), ran.out.find("/api/pay"));
  EXPECT_THAT(ran.out, HasSubstr("IN FLIGHT"));
  EXPECT_NE(body.exit_code, 0);
  EXPECT_THAT(body.err, HasSubstr("weir cluster status -o json"));
}

TEST(Cluster, WhatTheAgentCannotAnswerIsAnError) {
  Answers answers = two_pages();
  answers.error = "there is no token server";
  FakeAgent agent{std::move(answers)};

  const Ran ran = run(agent.dir(), {"cluster", "status"});

  EXPECT_NE(ran.exit_code, 0);
  EXPECT_THAT(ran.err, HasSubstr("there is no token server"));
}

}  // namespace
}  // namespace weir::cli
