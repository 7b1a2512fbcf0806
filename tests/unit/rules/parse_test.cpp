#include "rules/parse.h"

#include <gmock/gmock.h>

#include <set>

#include "rules/diff.h"
#include "rules/duration.h"
#include "tests/unit/rules/testing.h"

namespace weir {
namespace {

using shm::Algorithm;
using shm::Fallback;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Parse, TheSmallestFileHasTheDefaultDomain) {
  const ParseResult result = parse("version: 1\n");

  ASSERT_TRUE(result.ok()) << first_problem(result);
  ASSERT_EQ(result.rules->domains.size(), 1U);
  const DomainRule& domain = result.rules->domains[0];
  EXPECT_EQ(domain.name, "default");
  EXPECT_EQ(domain.socket, "agent.sock");
  EXPECT_THAT(domain.users, IsEmpty());
  EXPECT_THAT(domain.groups, ElementsAre("weir"));
  EXPECT_THAT(domain.limits, IsEmpty());
  EXPECT_THAT(result.rules->warnings, IsEmpty());
}

TEST(Parse, DomainsTakeTheirDefaults) {
  const ParseResult result = parse(
      "version: 1\n"
      "domains:\n"
      "  - name: default\n"
      "  - name: web\n"
      "    allow: {users: [www-data, 33], groups: []}\n"
      "  - {name: none, allow: {}, socket: nobody.sock}\n"
      "limits:\n"
      "  - {name: a, domain: web, rate: 1/s}\n"
      "  - {name: a, rate: 2/s}\n");

  ASSERT_TRUE(result.ok()) << first_problem(result);
  const auto& domains = result.rules->domains;
  ASSERT_EQ(domains.size(), 3U);
  EXPECT_THAT(domains[0].groups, ElementsAre("weir"));
  EXPECT_EQ(domains[1].socket, "web.sock");
  EXPECT_THAT(domains[1].users, ElementsAre("www-data", "33"));
  EXPECT_EQ(domains[2].socket, "nobody.sock");
  EXPECT_EQ(domains[1].limits.at(0).amount, 1U);
  EXPECT_EQ(domains[0].limits.at(0).amount, 2U);
  EXPECT_EQ(domains[0].limits.at(0).line, 9);
}

TEST(Parse, ATokenBucketTakesItsDefaults) {
  const LimitRule limit = only_limit(parse_limit_fields("rate: 300/s"));

  EXPECT_EQ(limit.algorithm, Algorithm::token_bucket);
  EXPECT_EQ(limit.amount, 300U);
  EXPECT_EQ(limit.period_ns, kSecondNs);
  EXPECT_EQ(limit.burst, 300U);
  EXPECT_EQ(limit.calendar, CalendarUnit::none);
  EXPECT_EQ(limit.timezone, "");
  EXPECT_EQ(limit.stripes, StripeMode::automatic);
  EXPECT_THAT(limit.reserve_permille, ElementsAre(0, 0, 0, 0));
  EXPECT_EQ(limit.fallback, (FallbackRule{Fallback::local, 300, kSecondNs, 300, 10'000}));
}

TEST(Parse, TheDefaultBurstIsASecondOfTheRateOrWhatGivesFullUse) {
  EXPECT_EQ(only_limit(parse_limit_fields("rate: 5/m")).burst, 1U);
  EXPECT_EQ(only_limit(parse_limit_fields("rate: 2.5/s")).burst, 3U);
  EXPECT_EQ(only_limit(parse_limit_fields("rate: 1G/s")).burst, 1'000'000'000U);
  EXPECT_EQ(only_limit(parse_limit_fields("rate: 0/s")).burst, 0U);
}

TEST(Parse, ALeakyBucketHasTheLeastSlackThatGivesFullUse) {
  const auto slack = [](const std::string& rate) {
    return only_limit(parse_limit_fields("algorithm: leaky_bucket, rate: " + rate)).burst;
  };
  EXPECT_EQ(slack("5/s"), 1U);
  EXPECT_EQ(slack("250/s"), 2U);
  EXPECT_EQ(slack("300/s"), 4U);
  EXPECT_EQ(slack("1M/s"), 4002U);
}

TEST(Parse, WindowsHoldTheirLimit) {
  const LimitRule sliding =
      only_limit(parse_limit_fields("algorithm: sliding_window, window: 1m, limit: 1k"));
  EXPECT_EQ(sliding.algorithm, Algorithm::sliding_window);
  EXPECT_EQ(sliding.amount, 1000U);
  EXPECT_EQ(sliding.burst, 1000U);
  EXPECT_EQ(sliding.period_ns, kMinuteNs);
  EXPECT_EQ(sliding.fallback, (FallbackRule{Fallback::local, 1000, kMinuteNs, 1000, 10'000}));

  const LimitRule fixed =
      only_limit(parse_limit_fields("algorithm: fixed_window, window: 31d, limit: 1"));
  EXPECT_EQ(fixed.period_ns, 31 * kDayNs);
}

TEST(Parse, CalendarWindowsAreAsLongAsTheirZoneCanMakeThem) {
  const auto period_ns = [](const std::string& fields) {
    return only_limit(parse_limit_fields("algorithm: fixed_window, limit: 9, " + fields)).period_ns;
  };
  EXPECT_EQ(period_ns("calendar: minute"), kMinuteNs);
  EXPECT_EQ(period_ns("calendar: hour, timezone: Europe/Berlin"), kHourNs);
  EXPECT_EQ(period_ns("calendar: day"), kDayNs);
  EXPECT_EQ(period_ns("calendar: day, timezone: Europe/Berlin"), 25 * kHourNs);
  EXPECT_EQ(period_ns("calendar: day, timezone: Australia/Lord_Howe"), kDayNs + kHourNs / 2);
  EXPECT_EQ(period_ns("calendar: week, timezone: Asia/Kathmandu"), 7 * kDayNs);
  EXPECT_EQ(period_ns("calendar: month, timezone: America/New_York"), 31 * kDayNs + kHourNs);
}

TEST(Parse, PriorityIsInheritedFromTheClassAbove) {
  EXPECT_THAT(
      only_limit(parse_limit_fields("rate: 100/s, priority: {critical: 10%}")).reserve_permille,
      ElementsAre(0, 100, 100, 100));
  EXPECT_THAT(only_limit(parse_limit_fields(
                             "rate: 100/s, priority: {sheddable: 20%, sheddable_plus: 12.5%}"))
                  .reserve_permille,
              ElementsAre(0, 0, 125, 200));
}

TEST(Parse, AFallbackRateBringsItsOwnBurst) {
  const auto fallback = [](const std::string& fields) {
    return only_limit(parse_limit_fields(fields)).fallback;
  };
  EXPECT_EQ(fallback("rate: 300/s, fallback: {rate: 100/s}"),
            (FallbackRule{Fallback::local, 100, kSecondNs, 100, 10'000}));
  EXPECT_EQ(fallback("rate: 300/s, burst: 50, fallback: {rate: 100/s}").burst, 50U);
  EXPECT_EQ(fallback("rate: 10k/s, fallback: {rate: 5 per 1ms}").burst, 22U);
  EXPECT_EQ(fallback("rate: 300/s, fallback: {burst: 7, after: 0s}"),
            (FallbackRule{Fallback::local, 300, kSecondNs, 7, 0}));
  EXPECT_EQ(fallback("rate: 300/s, fallback: {rate: 0/s}").burst, 0U);
  EXPECT_EQ(fallback("rate: 300/s, fallback: {rate: 300/s, after: 1h}").after_ms, 3'600'000U);
}

TEST(Parse, OpenAndClosedHaveNoRate) {
  EXPECT_EQ(only_limit(parse_limit_fields("rate: 300/s, fallback: closed")).fallback,
            (FallbackRule{Fallback::closed, 0, 0, 0, 10'000}));
  EXPECT_EQ(only_limit(parse_limit_fields("rate: 9/s, fallback: {mode: open, after: 1m}")).fallback,
            (FallbackRule{Fallback::open, 0, 0, 0, 60'000}));
}

TEST(Parse, ASmallBurstIsAWarningWithTheShareThatIsLeft) {
  EXPECT_EQ(first_warning(parse_limit_fields("rate: 300/s, burst: 1")),
            "rules.yaml:3:35: burst 1 is small for 300/s: about 60% of the rate can be used, less "
            "on a busy host, because tokens come once a millisecond; burst 4 or more gives all of "
            "it");
  EXPECT_THAT(first_warning(parse_limit_fields("rate: 10k/s, burst: 20")), HasSubstr("about 90%"));
  EXPECT_THAT(first_warning(parse_limit_fields("algorithm: leaky_bucket, rate: 300/s, slack: 1")),
              HasSubstr("slack 1 is small"));
  EXPECT_THAT(first_warning(parse_limit_fields("rate: 300/s, fallback: {rate: 99/s, burst: 1}")),
              HasSubstr("burst 1 is small for 99/s"));
  EXPECT_EQ(first_warning(parse_limit_fields("rate: 300/s, burst: 4")), "");
  EXPECT_EQ(first_warning(parse_limit_fields("rate: 5/s, burst: 1")), "");
}

TEST(Parse, OtherUsesThatFallShortAreWarnings) {
  EXPECT_THAT(
      first_warning(parse_limit_fields("algorithm: sliding_window, window: 10ms, limit: 100")),
      HasSubstr("about 90% of the limit"));
  EXPECT_THAT(first_warning(parse_limit_fields("rate: 1/s, priority: {sheddable: 20%}")),
              HasSubstr("the class sheddable leaves 1 to those above it, so it never gets one"));
}

TEST(Parse, TheBoundsThemselvesAreAllowed) {
  for (const char* fields :
       {"rate: 1/d", "rate: 1G/s", "rate: 1/s, burst: 1099511627776", "rate: 0/s, burst: 0",
        "algorithm: sliding_window, window: 10ms, limit: 1",
        "algorithm: sliding_window, window: 7d, limit: 1099511627776",
        "algorithm: fixed_window, window: 31d, limit: 1",
        "rate: 1/s, fallback: {after: 1h, rate: 60/m}"}) {
    const ParseResult result = parse_limit_fields(fields);
    EXPECT_TRUE(result.ok()) << fields << ": " << first_problem(result);
  }
  const std::string name(shm::kNameBytesMax, 'n');
  EXPECT_TRUE(parse("version: 1\nlimits: [{name: " + name + ", rate: 1/s}]\n").ok());
}

TEST(Parse, YamlInAllItsClothes) {
  EXPECT_TRUE(parse("{\"version\": 1, \"limits\": [{\"name\": \"a\", \"rate\": \"1/s\"}]}").ok());
  EXPECT_TRUE(parse("version: 1\r\nlimits:\r\n  - name: a\r\n    rate: 1/s\r\n").ok());
  EXPECT_TRUE(parse("---\nversion: '1'\n...\n").ok());
  EXPECT_TRUE(parse("# a\n\t# b\nversion: 1\n \t \n").ok());
  EXPECT_EQ(only_limit(parse("version: 1\nlimits:\n  - name: 'it''s'\n    rate: 1/s\n")).name,
            "it's");
  EXPECT_EQ(only_limit(parse("version: 1\nlimits:\n  - name: &n \"a\\\"b: c\"\n    rate: 1/s\n"
                             "    description: *n\n"))
                .description,
            "a\"b: c");
  EXPECT_EQ(only_limit(parse("version: 1\nlimits:\n  - name: 限制\n    rate: 1/s\n"
                             "    description: |\n      one\n      two\n"))
                .description,
            "one\ntwo\n");
}

class Example : public testing::Test {
 protected:
  const std::string path_ = std::string{WEIR_SOURCE_DIR} + "/examples/rules.yaml";
  const ParseResult result_ = load_rules_file(path_, {.zoneinfo_dir = test_zones()});
};

TEST_F(Example, HasNoProblemAndNoWarning) {
  ASSERT_TRUE(result_.ok()) << first_problem(result_);
  EXPECT_EQ(first_warning(result_), "");
}

TEST_F(Example, UsesEveryFeature) {
  ASSERT_TRUE(result_.ok()) << first_problem(result_);
  std::set<std::string> seen;
  for (const DomainRule& domain : result_.rules->domains) {
    if (domain.users.empty()) seen.insert("no users");
    for (const LimitRule& limit : domain.limits) {
      for (const auto& [field, value] : describe(limit))
        seen.insert(field);
      for (const char* field : {"algorithm", "stripes", "fallback.mode"}) {
        for (const auto& [name, value] : describe(limit)) {
          if (name == field) seen.insert(value);
        }
      }
    }
  }
  for (const char* feature :
       {"token_bucket", "leaky_bucket",  "fixed_window",   "sliding_window", "auto",     "on",
        "off",          "local",         "open",           "closed",         "rate",     "burst",
        "slack",        "window",        "limit",          "calendar",       "timezone", "priority",
        "description",  "fallback.rate", "fallback.burst", "fallback.after"}) {
    EXPECT_TRUE(seen.contains(feature)) << feature;
  }
  // And every key is written somewhere, not merely in force by default.
  const std::string text = slurp(path_);
  for (const char* key :
       {"version:",  "domains:",       "limits:",   "name:",           "allow:",     "users:",
        "groups:",   "socket:",        "domain:",   "description:",    "algorithm:", "rate:",
        "burst:",    "slack:",         "window:",   "limit:",          "calendar:",  "timezone:",
        "priority:", "critical_plus:", "critical:", "sheddable_plus:", "sheddable:", "stripes:",
        "fallback:", "mode:",          "after:",    " per ",           ": &",        ": *",
        "0/s"}) {
    EXPECT_THAT(text, HasSubstr(key));
  }
}

TEST_F(Example, UsesEveryFeatureOfTheCluster) {
  ASSERT_TRUE(result_.ok()) << first_problem(result_);
  EXPECT_EQ(result_.rules->cluster.limits.size(), 3U);
  const std::string text =
      slurp(path_) + slurp(std::string{WEIR_SOURCE_DIR} + "/examples/server.yaml");
  for (const char* key :
       {"scope:",       "threshold:",    "parent:",          "weight:",     "band:",
        "floor:",       "hosts:",        "match:",           "server:",     "cluster:",
        "namespace:",   "host:",         "token_file:",      "tls:",        "ca:",
        "certificate:", "key:",          "listen:",          "insecure:",   "allow:",
        "tokens:",      "certificates:", "request_timeout:", "guard:",      "lease:",
        "ttl:",         "tail:",         "refresh:",         "state_dir:",  "http:",
        "clients:",     "namespaces:",   "idle_timeout:",    "server_name:"}) {
    EXPECT_THAT(text, HasSubstr(key));
  }
}

// A rule that is described, defaults and all, means the same when it is read again.
TEST_F(Example, DescriptionsCanBeReadBack) {
  ASSERT_TRUE(result_.ok()) << first_problem(result_);
  for (const DomainRule& domain : result_.rules->domains) {
    for (LimitRule limit : domain.limits) {
      std::string fields;
      std::string fallback;
      for (const auto& [field, value] : describe(limit)) {
        const std::string name = field.starts_with("fallback.") ? field.substr(9) : field;
        (name == field ? fields : fallback) += name + ": " + value + ", ";
      }
      LimitRule again = only_limit(parse_limit_fields(fields + "fallback: {" + fallback + "}"));
      again.name = limit.name;
      again.line = limit.line;

      EXPECT_EQ(again, limit) << fields;
    }
  }
}

}  // namespace
}  // namespace weir
