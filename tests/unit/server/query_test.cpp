// What operators see: the reports and the metrics.
#include "server/metrics.h"
#include "server/wire_permit.h"
#include "tests/unit/server/server_fixture.h"

namespace weir::server {
namespace {

class QueryTest : public ServerTest {
 protected:
  v1::ClusterReport query(RawAgent& who, v1::ClusterTopic topic, const std::string& limit = {},
                          std::uint32_t rows = 0, const std::string& page = {}) {
    v1::ToServer message;
    v1::ClusterQuery& out = *message.mutable_cluster_query();
    out.set_no(++no_);
    out.set_topic(topic);
    out.set_limit_name(limit);
    out.set_rows_max(rows);
    out.set_page_token(page);
    return send(who, message);
  }
  v1::ClusterReport send(RawAgent& who, const v1::ToServer& message) {
    who.send(message);
    const auto got = who.take([](const v1::ToAgent& m) { return m.has_cluster_report(); });
    EXPECT_TRUE(got);
    return got ? got->cluster_report() : v1::ClusterReport{};
  }
  bool greet_passive(RawAgent& who) {
    v1::ToServer hello = who.hello();
    hello.mutable_hello()->set_passive(true);
    return who.greet(hello).has_value();
  }
  std::uint64_t no_ = 0;
};

TEST_F(QueryTest, AnOperatorsToolTakesNoLeases) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent tool = agent("laptop", 0);
  ASSERT_TRUE(greet_passive(tool));

  const auto report = query(tool, v1::CLUSTER_TOPIC_SERVER);

  EXPECT_EQ(report.no(), 1U);
  EXPECT_EQ(report.error(), "");
  EXPECT_EQ(report.server().name(), "s1");
  EXPECT_EQ(report.server().namespace_name(), "shop");
  EXPECT_EQ(report.server().epoch(), shop().epoch);
  EXPECT_EQ(report.server().limits(), 1U);
  EXPECT_EQ(report.server().hosts(), 0U);
  EXPECT_TRUE(report.server().owner());
  EXPECT_EQ(shop().hosts, 0U);
}

TEST_F(QueryTest, AToolNeedsACredentialAsWell) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent tool = agent("laptop", 0);
  tool.token = "guess";
  EXPECT_FALSE(greet_passive(tool));
}

TEST_F(QueryTest, LimitsAndTheirHostsAreListed) {
  ASSERT_TRUE(start(file("{name: p, rate: 900/s}, {name: /api, rate: 300/s, parent: p, band: 2}")));
  ASSERT_TRUE(learned());
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  EXPECT_TRUE(run_until(io, [&] {
    const auto answer = a.ask("/api", 50);
    run_for(io, 20ms);
    return !answer || shop().limits.at(1).report.leased_rate > 0;
  }));

  ASSERT_TRUE(a.ask("/api", 50));  // and so says that it took what it was offered

  const auto limits = query(a, v1::CLUSTER_TOPIC_LIMITS);
  ASSERT_EQ(limits.limits_size(), 2);
  const v1::LimitReport& limit = limits.limits(1);
  EXPECT_EQ(limit.name(), "/api");
  EXPECT_EQ(limit.parent(), "p");
  EXPECT_EQ(limit.rate(), 300'000'000U);
  EXPECT_GT(limit.leased_rate(), 0U);
  EXPECT_NEAR(static_cast<double>(limit.wanted_rate()), 50e6, 50e4);

  const auto hosts = query(a, v1::CLUSTER_TOPIC_HOSTS, "/api");
  ASSERT_EQ(hosts.hosts_size(), 1);
  EXPECT_EQ(hosts.hosts(0).host(), "web-1");
  EXPECT_EQ(hosts.hosts(0).state(), v1::HOST_STATE_LIVE);
  EXPECT_EQ(hosts.hosts(0).session(), a.session);
  EXPECT_EQ(hosts.hosts(0).version(), "test");
  EXPECT_TRUE(hosts.hosts(0).address().starts_with("127.0.0.1:"));
  EXPECT_GT(hosts.hosts(0).leased_rate(), 0U);
  EXPECT_EQ(query(a, v1::CLUSTER_TOPIC_HOSTS, "nothing").hosts_size(), 0);
}

TEST_F(QueryTest, LongListsComeInPages) {
  std::string limits;
  for (int i = 0; i < 25; ++i)
    limits += "{name: l" + std::to_string(i) + ", rate: 5/s}, ";
  ASSERT_TRUE(start(file(limits)));
  RawAgent tool = agent("laptop", 0);
  ASSERT_TRUE(greet_passive(tool));
  std::set<std::string> names;
  std::string page;
  int pages = 0;
  do {
    const auto report = query(tool, v1::CLUSTER_TOPIC_LIMITS, "", 10, page);
    for (const v1::LimitReport& each : report.limits())
      names.insert(each.name());
    page = report.next_page_token();
    ++pages;
  } while (!page.empty() && pages < 10);

  EXPECT_EQ(pages, 3);
  EXPECT_EQ(names.size(), 25U);
  EXPECT_EQ(query(tool, v1::CLUSTER_TOPIC_LIMITS, "", 10, "nonsense").limits_size(), 10);
  EXPECT_EQ(query(tool, v1::CLUSTER_TOPIC_LIMITS, "", 10, "99999999999999999999").limits_size(),
            10);
}

TEST_F(QueryTest, AllHostsAreListed) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}")));
  RawAgent a = agent("web-1", 1);
  RawAgent b = agent("web-2", 2);
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(b.greet());

  const auto report = query(a, v1::CLUSTER_TOPIC_HOSTS);

  ASSERT_EQ(report.hosts_size(), 2);
  EXPECT_EQ(report.hosts(1).host(), "web-2");
}

// Two hosts hold permits of one resource, then one of them is gone.
TEST_F(QueryTest, ConcurrencyLimitsAndTheirHostsAreListed) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}",
                         "    concurrency: [{name: db, max: 10}, {name: idle, max: 3}]\n")));
  ASSERT_TRUE(learned());
  RawAgent a = agent("web-1", 1);
  RawAgent b = agent("web-2", 2);
  const auto report = [](RawAgent& host, lease::Permits cap, lease::Permits in_flight) {
    v1::ToServer hello = host.hello();
    hello.mutable_hello()->set_protocol_minor(net::kProtocolMinor);
    ASSERT_TRUE(host.greet(hello));
    v1::ToServer message;
    to_wire(lease::PermitReport{host.session, ++host.seq, false, {{"db", 0, cap, in_flight, 8}}},
            *message.mutable_permit_reports());
    host.send(message);
    ASSERT_TRUE(host.take([](const v1::ToAgent& m) { return m.has_permit_grants(); }));
  };
  report(a, 4, 4);
  {
    RawAgent lost = agent("web-2", 9);
    report(lost, 2, 1);
  }
  report(b, 3, 2);
  ASSERT_TRUE(run_until(io, [&] { return shop().permits.at(0).lost_hosts == 1; }));

  const auto limits = query(a, v1::CLUSTER_TOPIC_LIMITS);
  ASSERT_EQ(limits.limits_size(), 1);
  ASSERT_EQ(limits.concurrency_size(), 2);
  const v1::ConcurrencyReport& db = limits.concurrency(0);
  EXPECT_EQ(db.name(), "db");
  EXPECT_EQ(db.max(), 10U);
  EXPECT_EQ(db.in_flight(), 7U);
  EXPECT_EQ(db.wanted(), 24U);
  EXPECT_LE(db.bound(), 10U);
  EXPECT_GE(db.bound(), 9U);
  EXPECT_EQ(db.hosts(), 2U);
  EXPECT_EQ(limits.concurrency(1).hosts(), 0U);

  const auto hosts = query(a, v1::CLUSTER_TOPIC_HOSTS, "db");
  EXPECT_EQ(hosts.hosts_size(), 0);
  ASSERT_EQ(hosts.permit_hosts_size(), 3);
  EXPECT_EQ(hosts.permit_hosts(0).host(), "web-1");
  EXPECT_EQ(hosts.permit_hosts(0).in_flight(), 4U);
  EXPECT_GE(hosts.permit_hosts(0).bound(), 4U);
  EXPECT_TRUE(hosts.permit_hosts(1).connected());
  EXPECT_TRUE(hosts.permit_hosts(1).address().starts_with("127.0.0.1:"));
  EXPECT_FALSE(hosts.permit_hosts(2).connected());
  EXPECT_EQ(hosts.permit_hosts(2).address(), "");
  std::uint64_t bounds = 0;
  for (const v1::PermitHostReport& host : hosts.permit_hosts())
    bounds += host.bound();
  EXPECT_EQ(bounds, db.bound());

  // Limits first, then concurrency limits, on as many pages as it takes.
  const auto first = query(a, v1::CLUSTER_TOPIC_LIMITS, "", 2);
  EXPECT_EQ(first.limits_size(), 1);
  EXPECT_EQ(first.concurrency_size(), 1);
  const auto second = query(a, v1::CLUSTER_TOPIC_LIMITS, "", 2, first.next_page_token());
  ASSERT_EQ(second.concurrency_size(), 1);
  EXPECT_EQ(second.concurrency(0).name(), "idle");
  EXPECT_EQ(second.next_page_token(), "");

  const std::string page = render_metrics(server_->status());
  for (const char* line :
       {"weir_server_concurrency_max{namespace=\"shop\",resource=\"db\"} 10\n",
        "weir_server_concurrency_in_flight{namespace=\"shop\",resource=\"db\"} 7\n",
        "weir_server_concurrency_lost_hosts{namespace=\"shop\",resource=\"db\"} 1\n"})
    EXPECT_NE(page.find(line), page.npos) << line << "\n" << page;
}

TEST_F(QueryTest, AnotherNamespaceStaysClosed) {
  ASSERT_TRUE(start(file("{name: /api, rate: 300/s}", "  mail: {}\n")));
  RawAgent tool = agent("laptop", 0);
  ASSERT_TRUE(greet_passive(tool));
  v1::ToServer message;
  message.mutable_cluster_query()->set_topic(v1::CLUSTER_TOPIC_LIMITS);
  message.mutable_cluster_query()->set_namespace_name("mail");

  const auto report = send(tool, message);

  EXPECT_NE(report.error(), "");
  EXPECT_FALSE(report.has_server());
}

TEST_F(QueryTest, TheMetricsPageSaysWhatHappened) {
  ASSERT_TRUE(start(file("{name: '/a\"b', rate: 300/s}")));
  RawAgent a = agent();
  ASSERT_TRUE(a.greet());
  ASSERT_TRUE(a.ask("/a\"b", 5));
  RawAgent stranger = agent();
  stranger.token = "guess";
  ASSERT_FALSE(stranger.greet());

  const std::string page = render_metrics(server_->status());

  for (const char* line :
       {"weir_server_requests_total{namespace=\"shop\"} 1\n",
        "weir_server_hellos_refused_total{reason=\"credential\"} 1\n",
        "weir_server_sessions{namespace=\"shop\"} 1\n", "weir_server_state_degraded 0\n",
        "weir_server_limit_rate{namespace=\"shop\",limit=\"/a\\\"b\"} 300\n",
        "weir_server_request_seconds_count 1\n",
        "weir_server_request_seconds_bucket{le=\"+Inf\"} 1\n",
        "weir_server_learning{namespace=\"shop\"} 0\n", "weir_server_limits_unlisted 0\n"})
    EXPECT_NE(page.find(line), page.npos) << line << "\n" << page;
}

TEST_F(QueryTest, TheMetricsOfManyLimitsAreBounded) {
  ServerRules rules = parsed(file("{name: /api, rate: 300/s}"));
  const NamespaceRule one = rules.namespaces[0];
  rules.namespaces.clear();
  for (int i = 0; i < 6; ++i) {
    NamespaceRule rule = one;
    rule.name = "n" + std::to_string(i);
    for (int k = 0; k < 1023; ++k) {
      rule.limits.push_back(one.limits[0]);
      rule.limits.back().name += std::to_string(k);
    }
    rules.namespaces.push_back(rule);
  }
  server_ = std::make_unique<TokenServer>(io, ServerOptions{});
  ASSERT_TRUE(server_->start(rules));

  const std::string page = render_metrics(server_->status());

  EXPECT_NE(page.find("weir_server_limits_unlisted 2048\n"), page.npos);
  EXPECT_NE(page.find("limit=\"/api1022\""), page.npos);
}

}  // namespace
}  // namespace weir::server
