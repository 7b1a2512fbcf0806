// Limits of a cluster, and where an agent finds its server.
#include <gmock/gmock.h>

#include "rules/address.h"
#include "rules/diff.h"
#include "tests/unit/rules/testing.h"

namespace weir {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Cluster, AFileWithoutItHasAnEmbeddedServerThatServesNothing) {
  const ClusterRule cluster = rules_of("limits: []").cluster;

  EXPECT_FALSE(cluster.present);
  EXPECT_TRUE(cluster.embedded());
  EXPECT_THAT(cluster.limits, IsEmpty());
}

TEST(Cluster, ALimitOfTheClusterStandsApartFromThoseOfTheHost) {
  const RuleSet rules = rules_of(
      "limits:\n"
      "  - {name: own, rate: 5/s}\n"
      "  - {name: shared, rate: 300/s, scope: cluster}\n");

  EXPECT_TRUE(rules.cluster.present);
  ASSERT_EQ(rules.domains[0].limits.size(), 1U);
  EXPECT_EQ(rules.domains[0].limits[0].name, "own");
  ASSERT_EQ(rules.cluster.limits.size(), 1U);
  const LimitRule& shared = rules.cluster.limits[0];
  EXPECT_EQ(shared.scope, LimitScope::cluster);
  EXPECT_EQ(shared.cluster, ClusterLimit{});
  EXPECT_EQ(shared.amount, 300U);
  EXPECT_EQ(shared.burst, 300U);
}

TEST(Cluster, WithoutARateTheFallbackIsTheHostsPartOfTheLimit) {
  const auto fallback = [](const std::string& text) {
    return rules_of("limits: [{name: a, rate: 300/s, scope: cluster" + text + "}]")
        .cluster.limits.at(0)
        .fallback;
  };

  for (const char* text : {"", ", fallback: local", ", fallback: {mode: local}"}) {
    const FallbackRule rule = fallback(text);
    EXPECT_EQ(rule.mode, shm::Fallback::local) << text;
    EXPECT_TRUE(rule.divided) << text;
    EXPECT_EQ(rule.amount, 300U) << text;
    EXPECT_EQ(rule.after_ms, 0U) << text;
  }
  const FallbackRule own = fallback(", fallback: {rate: 100/s}");
  EXPECT_FALSE(own.divided);
  EXPECT_EQ(own.amount, 100U);
  EXPECT_EQ(own.burst, 100U);
  for (const char* text : {", fallback: open", ", fallback: closed"})
    EXPECT_FALSE(fallback(text).divided) << text;
}

TEST(Cluster, ALimitOfAHostNeverDividesItsFallback) {
  EXPECT_FALSE(only_limit(parse_limit_fields("rate: 5/s")).fallback.divided);
}

TEST(Cluster, EveryKeyOfAClusterLimitIsRead) {
  const RuleSet rules = rules_of(
      "limits:\n"
      "  - {name: shop, rate: 900/s, scope: cluster, threshold: per_host}\n"
      "  - name: /api\n"
      "    rate: 300/s\n"
      "    scope: cluster\n"
      "    parent: shop\n"
      "    weight: 3\n"
      "    band: 2\n"
      "    floor: 20/s\n"
      "    hosts:\n"
      "      - {match: 'batch-*', weight: 5, band: 1, floor: 1/s}\n"
      "      - {match: '*'}\n");

  EXPECT_EQ(rules.cluster.limits.at(0).cluster.threshold, LimitThreshold::per_host);
  const ClusterLimit& cluster = rules.cluster.limits.at(1).cluster;
  EXPECT_EQ(cluster.parent, "shop");
  EXPECT_EQ(cluster.weight, 3U);
  EXPECT_EQ(cluster.band, 2U);
  EXPECT_EQ(cluster.floor_amount, 20U);
  EXPECT_EQ(cluster.floor_period_ns, kSecondNs);
  EXPECT_THAT(cluster.hosts,
              ElementsAre(HostShare{"batch-*", 5, 1, 1, kSecondNs}, HostShare{"*", 1, 0, 0, 0}));
}

TEST(Cluster, AParentMayStandBehindItsChildren) {
  EXPECT_EQ(rules_of("limits:\n"
                     "  - {name: a, rate: 5/s, scope: cluster, parent: p}\n"
                     "  - {name: p, rate: 5/s, scope: cluster}\n")
                .cluster.limits.size(),
            2U);
}

TEST(Cluster, FloorsThatDoNotFitTogetherAreAWarning) {
  const ParseResult result = parse(
      "version: 1\n"
      "limits:\n"
      "  - {name: p, rate: 10/s, scope: cluster}\n"
      "  - {name: a, rate: 10/s, scope: cluster, parent: p, floor: 6/s}\n"
      "  - {name: b, rate: 10/s, scope: cluster, parent: p, floor: 6/s}\n");

  EXPECT_EQ(first_warning(result),
            "rules.yaml:5:51: the floors of the limits of 'p' are together more than its 10/s; "
            "they will be cut alike");
}

TEST(Cluster, AnEntryBehindTheStarIsAWarning) {
  EXPECT_THAT(first_warning(parse("version: 1\n"
                                  "limits: [{name: a, rate: 5/s, scope: cluster, hosts: "
                                  "[{match: '*'}, {match: b}]}]")),
              HasSubstr("match 'b' is never reached"));
}

TEST(Cluster, ServersAreOneOrSeveral) {
  EXPECT_THAT(rules_of("server: embedded").cluster.servers, IsEmpty());
  EXPECT_THAT(rules_of("server: a.example.com:9465").cluster.servers,
              ElementsAre("a.example.com:9465"));
  EXPECT_THAT(rules_of("server: ['[::1]:1', 'unix:/run/w.sock', 10.0.0.1:2]").cluster.servers,
              ElementsAre("[::1]:1", "unix:/run/w.sock", "10.0.0.1:2"));
}

TEST(Cluster, EveryKeyOfARemoteServerIsRead) {
  const ClusterRule cluster =
      rules_of(
          "server: a:1\n"
          "domains: [{name: default}, {name: web, allow: {}}]\n"
          "cluster:\n"
          "  namespace: shop\n"
          "  domain: web\n"
          "  host: web-1\n"
          "  token_file: /etc/weir/token\n"
          "  request_timeout: 300ms\n"
          "  tls: {ca: /ca, certificate: /c, key: /k, server_name: weir.example.com}\n")
          .cluster;

  EXPECT_TRUE(cluster.present);
  EXPECT_FALSE(cluster.embedded());
  EXPECT_EQ(cluster.name_space, "shop");
  EXPECT_EQ(cluster.domain, "web");
  EXPECT_EQ(cluster.host, "web-1");
  EXPECT_EQ(cluster.token_file, "/etc/weir/token");
  EXPECT_EQ(cluster.request_timeout_ms, 300U);
  EXPECT_EQ(cluster.tls, (TlsRule{true, "/ca", "/c", "/k", "weir.example.com", TlsClients::none}));
}

TEST(Cluster, EveryKeyOfAnEmbeddedServerIsRead) {
  const std::string hash = "sha256:" + std::string(64, 'A');
  const ClusterRule cluster = rules_of(
                                  "cluster:\n"
                                  "  listen: ['10.0.0.1:9465', '127.0.0.1:9465']\n"
                                  "  tls: {ca: /ca, certificate: /c, key: /k}\n"
                                  "  allow: {tokens: ['" +
                                  hash +
                                  "'], certificates: '*.hosts.example.com'}\n"
                                  "  guard: 500\n"
                                  "  lease: {ttl: 9s, tail: 2s, refresh: 3s}\n"
                                  "  state_dir: /var/lib/weir/embedded\n")
                                  .cluster;

  EXPECT_TRUE(cluster.embedded());
  EXPECT_EQ(cluster.listen.size(), 2U);
  EXPECT_THAT(cluster.allow.tokens, ElementsAre("sha256:" + std::string(64, 'a')));
  EXPECT_THAT(cluster.allow.certificates, ElementsAre("*.hosts.example.com"));
  EXPECT_EQ(cluster.tls.clients, TlsClients::optional);  // a token will do as well
  EXPECT_EQ(cluster.guard, 500U);
  EXPECT_EQ(cluster.lease, (LeaseRule{9'000'000'000, 2'000'000'000, 3'000'000'000}));
  EXPECT_EQ(cluster.state_dir, "/var/lib/weir/embedded");
}

TEST(Cluster, ATokenThatTravelsInClearIsAWarning) {
  EXPECT_THAT(first_warning(parse("version: 1\nserver: 10.0.0.1:1\n"
                                  "cluster: {token_file: /t}\n")),
              HasSubstr("unencrypted"));
  EXPECT_EQ(first_warning(parse("version: 1\nserver: 127.0.0.1:1\ncluster: {token_file: /t}\n")),
            "");
  EXPECT_EQ(
      first_warning(parse("version: 1\nserver: 10.0.0.1:1\ncluster: {token_file: /t, tls: {}}\n")),
      "");
}

TEST(Cluster, AShortLeaseHasAShortRefreshByItself) {
  EXPECT_EQ(rules_of("cluster: {lease: {ttl: 1s}}").cluster.lease.refresh_ns, 333'000'000U);
}

TEST(Cluster, ChangesAreShownWithBothValues) {
  const RuleSet none = rules_of("limits: []");
  const RuleSet own = rules_of("limits: [{name: a, rate: 5/s, scope: cluster}]");
  const RuleSet other = rules_of(
      "limits:\n"
      "  - {name: a, rate: 6/s, scope: cluster, threshold: per_host, hosts: [{match: 'b*', weight: "
      "2}], fallback: {rate: 1/s}}\n");
  const RuleSet remote = rules_of("server: a:1\n");
  const auto lines = [](const RuleSet& before, const RuleSet& after) {
    std::vector<std::string> text;
    for (const RuleChange& change : diff_rules(before, after))
      text.push_back(to_string(change));
    return text;
  };

  EXPECT_THAT(lines(own, own), IsEmpty());
  EXPECT_THAT(lines(own, other),
              ElementsAre("~ cluster a: rate 5/s -> 6/s, burst 5 -> 6, threshold global -> "
                          "per_host, fallback.rate the limit divided by the hosts -> 1/s, hosts "
                          "none -> [{match: b*, weight: 2, band: 0}], fallback.burst none -> 1"));
  EXPECT_THAT(lines(none, own), testing::Contains(HasSubstr("+ cluster a: ")));
  EXPECT_THAT(lines(own, remote),
              testing::Contains(HasSubstr("~ cluster: server embedded -> [a:1]")));
  EXPECT_THAT(lines(own, remote), testing::Contains(HasSubstr("- cluster a: ")));
}

TEST(ServerFile, DefaultsAreSafe) {
  const ServerRules rules = server_of("namespaces: {default: {limits: [{name: a, rate: 5/s}]}}");

  EXPECT_THAT(rules.listen, ElementsAre("127.0.0.1:9465"));
  EXPECT_EQ(rules.http, "127.0.0.1:9466");
  EXPECT_EQ(rules.state_dir, "/var/lib/weir");
  EXPECT_FALSE(rules.insecure);
  EXPECT_FALSE(rules.tls.enabled);
  EXPECT_EQ(rules.lease, LeaseRule{});
  EXPECT_EQ(rules.idle_timeout_ms, 600'000U);
  ASSERT_EQ(rules.namespaces.size(), 1U);
  EXPECT_EQ(rules.namespaces[0].guard, 30'000U);
  EXPECT_EQ(rules.namespaces[0].limits.at(0).scope, LimitScope::cluster);
}

TEST(ServerFile, WhetherAgentsShowCertificatesFollowsFromTheCredentials) {
  const std::string tls = "tls: {certificate: /c, key: /k, ca: /ca}\nnamespaces:\n";
  const std::string token = "tokens: ['sha256:" + std::string(64, '0') + "']";
  const std::string name = "certificates: [a.example.com]";

  EXPECT_EQ(server_of(tls + "  a: {" + token + "}").tls.clients, TlsClients::none);
  EXPECT_EQ(server_of(tls + "  a: {" + name + "}").tls.clients, TlsClients::required);
  EXPECT_EQ(server_of(tls + "  a: {" + name + ", " + token + "}").tls.clients,
            TlsClients::optional);
  EXPECT_EQ(server_of(tls + "  a: {" + name + "}\n  b: {" + token + "}").tls.clients,
            TlsClients::optional);
}

TEST(ServerFile, TheApiHasATlsOfItsOwn) {
  const std::string open =
      "http: 0.0.0.0:9466\napi: {tokens: [{name: a, role: reader, token: "
      "'sha256:" +
      std::string(64, '0') + "'}]}\nnamespaces: {a: {}}\n";
  const std::string tls = "http_tls: {certificate: /c, key: /k}\n";
  const ServerRules clear = server_of(open);
  const ServerRules secure = server_of(open + tls);

  EXPECT_FALSE(clear.http_tls.enabled);
  ASSERT_EQ(clear.warnings.size(), 1U);
  EXPECT_THAT(to_string(clear.warnings[0]),
              testing::AllOf(HasSubstr("clear text"), HasSubstr("http_tls")));
  EXPECT_TRUE(secure.http_tls.enabled);
  EXPECT_TRUE(secure.warnings.empty());
  EXPECT_EQ(secure.http_tls.certificate, "/c");
  EXPECT_EQ(secure.http_tls.clients, TlsClients::none);
  EXPECT_FALSE(secure.tls.enabled);
  EXPECT_EQ(server_of(open + "http_tls: {certificate: /c, key: /k, ca: /a}").http_tls.clients,
            TlsClients::required);
  std::string changes;
  for (const RuleChange& change : diff_rules(clear, secure))
    changes += to_string(change);
  EXPECT_THAT(changes, HasSubstr("http_tls off -> on"));
}

TEST(ServerFile, OtherHostsAreLetInOnlyOnPurpose) {
  EXPECT_TRUE(server_of("listen: 0.0.0.0:1\ninsecure: true\nnamespaces: {a: {}}").insecure);
}

TEST(ServerFile, OfTwoNamespacesEachHasItsOwnNames) {
  const ServerRules rules = server_of(
      "namespaces:\n"
      "  a: {limits: [{name: x, rate: 1/s}]}\n"
      "  b: {limits: [{name: x, rate: 2/s}]}\n");

  EXPECT_EQ(rules.namespaces[0].limits[0].amount, 1U);
  EXPECT_EQ(rules.namespaces[1].limits[0].amount, 2U);
}

TEST(ServerFile, ChangesNameTheNamespace) {
  const ServerRules before = server_of(
      "namespaces:\n"
      "  a: {limits: [{name: x, rate: 1/s}]}\n"
      "  b: {}\n");
  const ServerRules after = server_of(
      "http: off\n"
      "namespaces:\n"
      "  a: {guard: 5, limits: [{name: x, rate: 2/s, fallback: closed}]}\n");
  std::vector<std::string> lines;
  for (const RuleChange& change : diff_rules(before, after))
    lines.push_back(to_string(change));

  EXPECT_THAT(lines,
              ElementsAre("~ server: http 127.0.0.1:9466 -> off", "~ namespace a: guard 30000 -> 5",
                          "~ namespace a x: rate 1/s -> 2/s, burst 1 -> 2, fallback.mode "
                          "local -> closed, fallback.rate the limit divided by the hosts "
                          "-> none",
                          "- namespace b: tokens [], certificates [], guard 30000"));
}

TEST(ServerFile, IsToldFromAnAgents) {
  EXPECT_TRUE(looks_like_server_file("version: 1\nnamespaces: {a: {}}"));
  EXPECT_TRUE(looks_like_server_file("namespaces: 3"));
  EXPECT_FALSE(looks_like_server_file("version: 1\nlimits: []"));
  EXPECT_FALSE(looks_like_server_file("version: 1\nlimits: []\nnamespaces: {}"));
  EXPECT_FALSE(looks_like_server_file("["));
  EXPECT_FALSE(looks_like_server_file(""));
}

TEST(ServerFile, OneTextInBothRolesNeverHarmsTheReader) {
  const std::string example = slurp(std::string{WEIR_SOURCE_DIR} + "/examples/server.yaml");
  ASSERT_FALSE(example.empty());
  std::uint64_t state = 7;
  for (int round = 0; round < 1000; ++round) {
    std::string text = example;
    for (int i = 0; i < 3; ++i) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      const auto at = static_cast<std::size_t>(state >> 33) % text.size();
      text[at] = "{}[]:,-&*!|>'\"%@`#? \n\t0/.\\"[(state >> 20) % 27];
    }
    const ServerParseResult result = parse_server_rules(text, "x");
    EXPECT_NE(result.ok(), !result.problems.empty());
    (void)parse(text);
    (void)looks_like_server_file(text);
  }
}

TEST(Addresses, LoopbackIsKnown) {
  const auto loopback = [](const char* text) {
    const auto parsed = parse_address_text(text, AddressUse::listen);
    return parsed.value && parsed.value->loopback;
  };
  EXPECT_TRUE(loopback("127.0.0.1:1"));
  EXPECT_TRUE(loopback("127.9.9.9:1"));
  EXPECT_TRUE(loopback("[::1]:1"));
  EXPECT_TRUE(loopback("localhost:1"));
  EXPECT_TRUE(loopback("unix:/run/x"));
  EXPECT_FALSE(loopback(":1"));
  EXPECT_FALSE(loopback("0.0.0.0:1"));
  EXPECT_FALSE(loopback("[::]:1"));
  EXPECT_FALSE(loopback("128.0.0.1:1"));
  EXPECT_FALSE(loopback("localhost.example.com:1"));
}

}  // namespace
}  // namespace weir
