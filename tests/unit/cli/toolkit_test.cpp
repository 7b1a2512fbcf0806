// Resources, breakers, levels and load: what the commands ask, print and exit with.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

v1::ResourceStatus make_resource(const std::string& name) {
  v1::ResourceStatus r;
  r.set_domain("default");
  r.set_name(name);
  r.set_in_flight(12);
  r.set_concurrency(200);
  for (const char* each : {"critical_plus", "critical", "sheddable_plus", "sheddable"}) {
    v1::ClassStatus& c = *r.add_classes();
    c.set_name(each);
    c.set_room(each == std::string{"sheddable"} ? 160 : 200);
    c.set_asked_per_s(10);
  }
  r.mutable_classes(3)->set_shed_share(0.5);
  r.set_shed("bbr");
  r.set_shedding(true);
  r.set_shed_share(0.125);
  r.set_shed_limit(14);
  r.set_breaker("states");
  r.set_breaker_state("open");
  r.set_breaker_reason("too many failures in a row\x1b[2J");
  r.set_breaker_since_ms(3000);
  r.set_breaker_due_ms(2000);
  r.set_breaker_opened_total(4);
  r.set_retry_budget(true);
  r.set_retries_left(17);
  r.set_asked_per_s(40);
  r.set_refused_per_s(5);
  r.set_response_ns(2'500'000);
  r.set_line(9);
  r.mutable_load()->set_in_flight(12);
  r.mutable_load()->set_limit(200);
  r.mutable_load()->set_utilization(1.14);
  r.mutable_load()->set_orca_text("TEXT rps_fractional=40");
  r.mutable_load()->set_orca_json("JSON {\"rps_fractional\":40}");
  return r;
}

Answers with_resources() {
  Answers answers;
  *answers.resources.add_resources() = make_resource("orders");
  v1::ResourceStatus gold;
  gold.set_domain("default");
  gold.set_name("orders/gold");
  gold.set_tenant_of("orders");
  gold.set_in_flight(3);
  gold.set_concurrency(80);
  gold.set_breaker("off");
  *answers.resources.add_resources() = gold;
  v1::DegradeStatus& shop = *answers.resources.add_degrades();
  shop.set_domain("default");
  shop.set_name("shop");
  shop.set_signal("cpu");
  shop.set_value_text("91%");
  shop.set_level(1);
  auto* level = shop.add_levels();
  level->set_enter_text("85%");
  level->set_leave_text("70%");
  level->add_features("recommendations");
  answers.resources.mutable_host()->set_requests_per_s(40);
  answers.resources.mutable_host()->set_orca_text("TEXT cpu_utilization=0.5");
  answers.force_text = "done\x1b[2J";
  return answers;
}

TEST(Resources, ListShowsThemBelowTheLimits) {
  FakeAgent agent{with_resources()};

  const Ran ran = run(agent.dir(), {"list"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("/api/order"));
  EXPECT_THAT(ran.out, HasSubstr("12/200"));
  EXPECT_THAT(ran.out, HasSubstr("12.5 %"));
  EXPECT_LT(ran.out.find("/api/order"), ran.out.find("orders/gold"));
}

TEST(Resources, ListCanBeOfThemAlone) {
  FakeAgent agent{with_resources()};

  EXPECT_EQ(run(agent.dir(), {"list", "--resources", "--names"}).out, "orders\norders/gold\n");
  EXPECT_EQ(run(agent.dir(), {"list", "--names"}).out, "/api/order\n/api/pay\n");
  EXPECT_EQ(run(agent.dir(), {"list", "--resources", "--names", "*/gold"}).out, "orders/gold\n");
  EXPECT_THAT(run(agent.dir(), {"list", "--resources", "x*"}).err, HasSubstr("no resource"));
}

TEST(Resources, ShowExplainsWhatProtectsOneAndWhyItRefuses) {
  FakeAgent agent{with_resources()};

  const Ran ran = run(agent.dir(), {"show", "orders"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("12 of 200 permits"));
  EXPECT_THAT(ran.out, HasSubstr("take 160 of them"));
  EXPECT_THAT(ran.out, HasSubstr("gold 3/80"));
  EXPECT_THAT(ran.out, HasSubstr("sheddable 50.0 %"));
  EXPECT_THAT(ran.out, HasSubstr("open since 3 s: too many failures in a row\\x1b[2J"));
  EXPECT_THAT(ran.out, HasSubstr("line 9"));
  EXPECT_THAT(ran.out, Not(HasSubstr("\x1b[2J")));
}

TEST(Resources, ShowSaysWhatTheHostHasOfTheClusters) {
  Answers answers = with_resources();
  v1::PermitShare& share = *answers.resources.mutable_resources(0)->mutable_share();
  share.set_max(600);
  share.set_permits(200);
  share.set_wanted(250);
  share.set_hosts(3);
  share.set_leased(true);
  share.set_left_ms(4'000);
  FakeAgent agent{std::move(answers)};

  const Ran ran = run(agent.dir(), {"show", "orders"});
  const Ran body = run(agent.dir(), {"show", "orders", "-o", "json"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("200 of the cluster's 600 permits; this host wants 250"));
  EXPECT_THAT(ran.out, HasSubstr("of 3 that use it"));
  ASSERT_EQ(body.exit_code, 0) << body.err;
  const json shown = json::parse(body.out)["resources"][0]["share"];
  EXPECT_EQ(shown["permits"], 200);
  EXPECT_EQ(shown["left_ms"], 4'000);
}

TEST(Resources, ShowOfNeitherSaysSo) {
  FakeAgent agent{with_resources()};

  const Ran ran = run(agent.dir(), {"show", "nothing"});

  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.err, HasSubstr("no limit or resource 'nothing'"));
}

TEST(Resources, TopShowsThemToo) {
  FakeAgent agent{with_resources()};

  const Ran both = run(agent.dir(), {"top", "--once", "--samples", "1"});
  const Ran alone = run(agent.dir(), {"top", "--once", "--samples", "1", "--resources"});

  EXPECT_THAT(both.out, HasSubstr("/api/order"));
  EXPECT_THAT(both.out, HasSubstr("12/200"));
  EXPECT_THAT(alone.out, Not(HasSubstr("/api/order")));
  EXPECT_THAT(alone.out, HasSubstr("12/200"));
  for (const char* width : {"40", "60", "200"})
    EXPECT_THAT(run(agent.dir(), {"top", "--once", "--samples", "1", "--width", width}).out,
                HasSubstr("orders"));
}

// An agent of an earlier version does not know the question; its limits are shown all the same.
TEST(Resources, AnOlderAgentHasNone) {
  FakeAgent agent;  // answers nothing where it is asked for resources

  EXPECT_EQ(run(agent.dir(), {"list"}).exit_code, 0);
  EXPECT_EQ(run(agent.dir(), {"show", "/api/order"}).exit_code, 0);
}

TEST(Resources, JsonKeysAreStable) {
  FakeAgent agent{with_resources()};

  const json answer = json::parse(run(agent.dir(), {"show", "orders", "-o", "json"}).out);

  ASSERT_EQ(answer["resources"].size(), 1U);
  std::vector<std::string> keys;
  for (const auto& item : answer["resources"][0].items())
    keys.push_back(item.key());
  EXPECT_THAT(
      keys,
      ElementsAre("asked_per_s", "baseline_ns", "blind", "breaker", "broken_total", "classes",
                  "concurrency", "deadline_default_ms", "deadline_max_ms", "description", "domain",
                  "expired_total", "failed_per_s", "failed_total", "forged_total", "full_total",
                  "in_flight", "lease_ms", "line", "load", "name", "reaped_total", "refused_per_s",
                  "response_ns", "response_p50_ns", "response_p95_ns", "response_p99_ns",
                  "retries_left", "share", "shed", "shed_limit", "shed_share", "shed_total",
                  "shedding", "slow_total", "succeeded_per_s", "succeeded_total", "tenant_of",
                  "throttled_total", "uncounted_total"));
  EXPECT_EQ(answer["resources"][0]["breaker"]["state"], "open");
  EXPECT_EQ(answer["resources"][0]["response_p99_ns"], nullptr);
}

TEST(Breaker, ShowsAllAndWhy) {
  FakeAgent agent{with_resources()};

  const Ran ran = run(agent.dir(), {"breaker"});

  EXPECT_THAT(ran.out, HasSubstr("open"));
  EXPECT_THAT(ran.out, HasSubstr("too many failures in a row\\x1b[2J"));
  EXPECT_THAT(ran.out, Not(HasSubstr("gold")));
  EXPECT_EQ(run(agent.dir(), {"breaker", "nothing"}).exit_code, 1);
}

TEST(Breaker, IsForcedForATime) {
  FakeAgent agent{with_resources()};

  const Ran ran = run(agent.dir(), {"breaker", "orders", "open", "--for", "10m"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(ran.out, "done\\x1b[2J\n");
  const auto asked = agent.requests().back().force_breaker();
  EXPECT_EQ(asked.name(), "orders");
  EXPECT_EQ(asked.state(), v1::ForceBreakerRequest::STATE_OPEN);
  EXPECT_EQ(asked.for_ms(), 600'000U);
  (void)run(agent.dir(), {"breaker", "orders", "close"});
  EXPECT_EQ(agent.requests().back().force_breaker().state(), v1::ForceBreakerRequest::STATE_CLOSED);
  (void)run(agent.dir(), {"breaker", "orders", "auto"});
  EXPECT_EQ(agent.requests().back().force_breaker().state(),
            v1::ForceBreakerRequest::STATE_AUTOMATIC);
}

TEST(Breaker, RefusesWhatItDoesNotUnderstand) {
  FakeAgent agent{with_resources()};

  for (const auto& words :
       std::vector<std::vector<std::string>>{{"breaker", "orders", "half"},
                                             {"breaker", "orders", "--for", "10m"},
                                             {"breaker", "orders", "open", "--for", "soon"},
                                             {"breaker", "orders", "open", "--for", "1us"},
                                             {"degrade", "shop", "9"},
                                             {"degrade", "shop", "up"},
                                             {"degrade", "shop", "--drill", "1%"},
                                             {"degrade", "shop", "0", "--drill", "1%"},
                                             {"degrade", "shop", "auto", "--drill", "1%"},
                                             {"degrade", "shop", "1", "--drill", "101%"},
                                             {"degrade", "shop", "1", "--drill", "0%"}})
    EXPECT_EQ(run(agent.dir(), words).exit_code, 2) << words.back();
  for (const v1::AdminRequest& request : agent.requests())
    EXPECT_FALSE(request.has_force_breaker() || request.has_force_level());
}

TEST(Breaker, SaysWhatTheAgentRefuses) {
  Answers answers = with_resources();
  answers.error = "only root and the agent's own user may force breakers";
  FakeAgent agent{answers};

  const Ran ran = run(agent.dir(), {"breaker", "orders", "open"});

  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.err, HasSubstr("only root"));
}

TEST(Degrade, ShowsTheLevelAndItsSignal) {
  FakeAgent agent{with_resources()};

  EXPECT_THAT(run(agent.dir(), {"degrade"}).out, HasSubstr("91%"));
  EXPECT_THAT(run(agent.dir(), {"degrade", "shop"}).out, HasSubstr("recommendations"));
  EXPECT_EQ(run(agent.dir(), {"degrade", "none"}).exit_code, 1);
  const json answer = json::parse(run(agent.dir(), {"degrade", "-o", "json"}).out);
  EXPECT_EQ(answer["degrades"][0]["levels"][0]["features"][0], "recommendations");
}

TEST(Degrade, OrdersLevelsAndDrills) {
  FakeAgent agent{with_resources()};

  (void)run(agent.dir(), {"degrade", "shop", "1", "--for", "30s"});
  const auto level = agent.requests().back().force_level();
  EXPECT_EQ(level.level(), 1U);
  EXPECT_EQ(level.for_ms(), 30'000U);
  EXPECT_EQ(level.drill_permille(), 0U);
  (void)run(agent.dir(), {"degrade", "shop", "1", "--drill", "2.5%"});
  EXPECT_EQ(agent.requests().back().force_level().drill_permille(), 25U);
  (void)run(agent.dir(), {"degrade", "shop", "auto"});
  EXPECT_TRUE(agent.requests().back().force_level().automatic());
}

TEST(Load, IsATableJsonAndAHeader) {
  FakeAgent agent{with_resources()};

  EXPECT_THAT(run(agent.dir(), {"load"}).out, HasSubstr("114 %"));
  EXPECT_EQ(run(agent.dir(), {"load", "--orca"}).out,
            "endpoint-load-metrics: TEXT cpu_utilization=0.5\n");
  EXPECT_EQ(run(agent.dir(), {"load", "orders", "--orca", "-o", "json"}).out,
            "endpoint-load-metrics: JSON {\"rps_fractional\":40}\n");
  const json answer = json::parse(run(agent.dir(), {"load", "-o", "json"}).out);
  EXPECT_EQ(answer["host"]["requests_per_s"], 40.0);
  EXPECT_EQ(answer["host"]["cpu_utilization"], nullptr) << "not measured is not 0";
  EXPECT_EQ(answer["resources"][0]["limit"], 200.0);
  EXPECT_EQ(run(agent.dir(), {"load", "none"}).exit_code, 1);
}

}  // namespace
}  // namespace weir::cli
