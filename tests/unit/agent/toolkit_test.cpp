// The agent's part of the toolkit over real segments, with a clock that the test owns. What clients
// do is written into the shared words as they would.
#include "agent/toolkit/toolkit.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>

#include "adaptive/breaker.h"
#include "adaptive/in_flight.h"
#include "agent/domain.h"
#include "agent/toolkit/report.h"

namespace weir::agent {
namespace {

using adaptive::BreakerState;

constexpr std::int64_t kMs = 1'000'000;

class ToolkitTest : public testing::Test {
 protected:
  void serve(const std::string& text) {
    rule_ = parsed(text);
    DomainOptions options;
    options.limits_max = 8;
    options.clients_max = 16;
    options.cpus = 2;
    auto made = Domain::make(rule_, options, clocks(), 7, {});
    ASSERT_TRUE(made);
    domain_ = std::move(*made);
    ASSERT_NE(domain_->toolkit(), nullptr);
    ASSERT_TRUE(domain_->publish(rule_));
  }
  DomainRule parsed(const std::string& text) {
    const ParseResult result = parse_rules("version: 1\n" + text, "rules.yaml");
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : to_string(result.problems.front()));
    return result.ok() ? result.rules->domains.at(0) : DomainRule{};
  }
  Clocks clocks() {
    return {[this] { return now_; }, [] { return std::int64_t{1'700'000'000}; }};
  }
  Toolkit& toolkit() { return *domain_->toolkit(); }
  const shm::ToolkitView& view() { return toolkit().view(); }
  std::uint32_t place(const char* name) {
    const std::int32_t found = shm::find_resource(view(), name);
    EXPECT_GE(found, 0) << name;
    return static_cast<std::uint32_t>(std::max(found, 0));
  }
  void pass(std::int64_t span_ns) {
    for (const std::int64_t end = now_ + span_ns; now_ < end;) {
      now_ += 20 * kMs;
      (void)toolkit().tick(now_);
    }
  }
  std::uint64_t breaker() { return view().counter(place("db")).breaker.load(); }
  BreakerState state() { return adaptive::breaker_fields(breaker()).state; }

  std::int64_t now_ = 1'000'000'000'000;
  DomainRule rule_;
  std::unique_ptr<Domain> domain_;
};

TEST_F(ToolkitTest, PublishesWhatTheRulesSay) {
  serve(
      "resources:\n"
      "  - name: db\n"
      "    concurrency: {max: 200, lease: 60s, priority: {sheddable: 20%}, tenants: [{name: t, "
      "max: 50}]}\n"
      "    breaker: {consecutive: 7, growth: 1.5}\n");
  const shm::ResourceRule& db = view().rule(place("db"));
  EXPECT_EQ(db.hot.load() & 0xffffffffU,
            shm::kToolActive | shm::kToolConcurrency | shm::kToolBreaker);
  EXPECT_EQ(db.concurrency.load(), 200U);
  EXPECT_EQ(db.class_reserve[3].load(), 40U);
  EXPECT_EQ(db.class_reserve[1].load(), 0U);
  EXPECT_EQ(db.lease_ns.load(), 60'000'000'000U);
  EXPECT_EQ(db.breaker_consecutive.load(), 7U);
  EXPECT_EQ(db.breaker_growth_permille.load(), 1500U);
  EXPECT_EQ(db.config_version.load() % 2, 0U);
  EXPECT_EQ(view().rule(place("db/t")).concurrency.load(), 50U);
  EXPECT_EQ(db.deadline_max_ns.load(), 0U);
  ASSERT_TRUE(domain_->publish(
      parsed("resources: [{name: db, concurrency: 200, deadline: {default: 1s, max: 7s}}]\n")));
  EXPECT_EQ(db.deadline_default_ns.load(), 1'000'000'000U);
  EXPECT_EQ(db.deadline_max_ns.load(), 7'000'000'000U);
}

TEST_F(ToolkitTest, ALimitChangesLiveAndWhatGoesIsGone) {
  serve("resources: [{name: db, concurrency: 200}, {name: old, concurrency: 1}]\n");
  const std::uint32_t before = place("db");
  const std::uint64_t hot = view().rule(before).hot.load();
  const DomainRule next =
      parsed("resources: [{name: new, concurrency: 3}, {name: db, concurrency: 20}]\n");
  ASSERT_TRUE(domain_->publish(next));
  EXPECT_EQ(place("db"), before);
  EXPECT_EQ(view().rule(before).hot.load(), hot);
  EXPECT_EQ(view().rule(before).concurrency.load(), 20U);
  EXPECT_EQ(shm::find_resource(view(), "old"), -1);
  EXPECT_EQ(view().rule(place("new")).concurrency.load(), 3U);
}

TEST_F(ToolkitTest, ADomainWithoutResourcesDoesNothing) {
  serve("limits: [{name: a, rate: 1/s}]\n");
  EXPECT_FALSE(toolkit().active());
  EXPECT_FALSE(toolkit().tick(now_));
}

TEST_F(ToolkitTest, FailuresOfAllProcessesTogetherOpenTheBreaker) {
  serve("resources: [{name: db, breaker: {volume: 20, error_rate: 50%}}]\n");
  // Ten failures and nine successes a lane, as if of two processes: each alone is below the volume.
  for (std::uint32_t cpu = 0; cpu < 2; ++cpu) {
    view().lane(cpu, place("db")).failed += 6;
    view().lane(cpu, place("db")).succeeded += 3;
  }
  pass(1'200 * kMs);
  EXPECT_EQ(state(), BreakerState::closed) << "below the volume";
  view().lane(0, place("db")).failed += 4;
  pass(1'200 * kMs);
  EXPECT_EQ(state(), BreakerState::open);
  EXPECT_EQ(toolkit().resources()[0]->trips_total(), 1U);
}

TEST_F(ToolkitTest, AnOperatorForcesABreakerAndNobodyElseDoes) {
  serve("resources: [{name: db, breaker: states}]\n");
  ASSERT_TRUE(toolkit().force_breaker("db", BreakerState::forced_open, now_));
  EXPECT_EQ(state(), BreakerState::forced_open);
  EXPECT_EQ(view().rule(place("db")).forced_state.load(),
            static_cast<std::uint32_t>(BreakerState::forced_open));
  // A client writes over it.
  view().counter(place("db")).breaker = 0;
  pass(40 * kMs);
  EXPECT_EQ(state(), BreakerState::forced_open);
  ASSERT_TRUE(toolkit().force_breaker("db", BreakerState::closed, now_));
  EXPECT_EQ(state(), BreakerState::closed);
  // And a client that forges the state of an operator is put right.
  view().counter(place("db")).breaker = adaptive::breaker_force(0, BreakerState::forced_open, now_);
  pass(40 * kMs);
  EXPECT_EQ(state(), BreakerState::closed);
  EXPECT_FALSE(toolkit().force_breaker("none", BreakerState::forced_open, now_));
}

// An operator goes home: what was forced for a time ends with it, in the shared word as well.
TEST_F(ToolkitTest, WhatIsForcedForATimeEndsWithIt) {
  serve(
      "resources: [{name: db, breaker: states}]\n"
      "degrade: [{name: shop, signal: cpu, levels: [{enter: 80%, features: [extras]}]}]\n");
  ASSERT_TRUE(toolkit().force_breaker("db", BreakerState::forced_open, now_, now_ + 500 * kMs));
  ASSERT_TRUE(toolkit().force_level("shop", 1, now_, now_ + 500 * kMs));
  pass(400 * kMs);
  EXPECT_EQ(state(), BreakerState::forced_open);
  EXPECT_EQ(toolkit().degrades()[0].level, 1U);
  pass(200 * kMs);
  EXPECT_EQ(state(), BreakerState::closed);
  EXPECT_EQ(view().rule(place("db")).forced_state.load(), 0U);
  EXPECT_EQ(toolkit().degrades()[0].level, 0U);
  EXPECT_FALSE(toolkit().degrades()[0].forced.has_value());
}

TEST_F(ToolkitTest, AnOrderOutlivesAChangeOfTheRules) {
  serve("degrade: [{name: shop, signal: cpu, levels: [{enter: 80%, features: [extras]}]}]\n");
  ASSERT_TRUE(toolkit().force_level("shop", 1, now_));
  ASSERT_TRUE(domain_->publish(parsed(
      "degrade: [{name: shop, signal: cpu, levels: [{enter: 70%, features: [extras]}]}]\n")));
  pass(100 * kMs);
  EXPECT_EQ(toolkit().degrades()[0].level, 1U);
}

TEST_F(ToolkitTest, ADrillGivesUpAFeatureForAShareAlone) {
  serve("degrade: [{name: shop, signal: cpu, levels: [{enter: 80%, features: [extras]}]}]\n");
  ASSERT_TRUE(toolkit().force_drill("shop", {1, 100}, now_, now_ + 500 * kMs));
  EXPECT_FALSE(toolkit().force_drill("shop", {2, 100}, now_));
  const auto at = static_cast<std::uint32_t>(shm::find_feature(view(), "extras"));
  const auto off = [&] {
    std::uint32_t count = 0;
    for (std::uint32_t draw = 0; draw < adaptive::kShareWhole; ++draw)
      count += adaptive::degraded(view().feature(at).degrade.load(), 1, draw) ? 1 : 0;
    return count;
  };
  EXPECT_EQ(off(), adaptive::kShareWhole / 10);
  EXPECT_EQ(toolkit().degrades()[0].level, 0U);
  pass(600 * kMs);
  EXPECT_EQ(off(), 0U);
}

// Clients trip the breaker and answer its probes; the agent says why from what it sees.
TEST_F(ToolkitTest, TheStoryOfABreakerIsTold) {
  serve("resources: [{name: db, breaker: {volume: 20, error_rate: 50%}}]\n");
  const auto story = [this] { return toolkit().resources()[0]->breaker_story(); };
  EXPECT_STREQ(story().reason, "");
  view().lane(0, place("db")).failed += 30;
  pass(1'500 * kMs);
  EXPECT_EQ(story().state, BreakerState::open);
  EXPECT_STREQ(story().reason, "too large a share of the calls failed");
  EXPECT_GT(story().due_ns, now_);
  EXPECT_EQ(story().opened_total, 1U);
  now_ += 10'000 * kMs;
  adaptive::BreakerPolicy policy;
  shm::A64& word = view().counter(place("db")).breaker;
  word = adaptive::breaker_ask(word, now_, 5, policy).word;
  pass(20 * kMs);
  EXPECT_EQ(story().state, BreakerState::probing);
  word = adaptive::breaker_probed(word, adaptive::breaker_generation(word), 5, true, now_, 0.5,
                                  policy);
  pass(20 * kMs);
  EXPECT_EQ(story().state, BreakerState::closed);
  EXPECT_STREQ(story().reason, "the probe went well");
  word = adaptive::breaker_trip(word, adaptive::breaker_generation(word), now_, 0.5, policy);
  pass(20 * kMs);
  EXPECT_STREQ(story().reason, "too many failures in a row");
  EXPECT_EQ(story().opened_total, 2U);
}

TEST_F(ToolkitTest, ReportsWhatAnOperatorAsksFor) {
  serve(
      "resources:\n"
      "  - name: db\n"
      "    concurrency: {max: 200, priority: {sheddable: 20%}, tenants: [{name: t, max: 50}]}\n"
      "    shed: bbr\n"
      "    breaker: states\n"
      "    deadline: {default: 1s, max: 7s}\n"
      "  - {name: far, breaker: adaptive}\n");
  view().lane(0, place("db")).passed[1] += 30;
  view().lane(0, place("db")).refused[3] += 10;
  pass(900 * kMs);
  view().counter(place("db")).in_flight = 50;  // for one look; the next recount finds nobody
  pass(20 * kMs);
  v1::ResourcesResponse all;
  fill_resources(*domain_, "", now_, all);
  fill_host_load(all);
  ASSERT_EQ(all.resources_size(), 3);
  const v1::ResourceStatus& db = all.resources(0);
  EXPECT_EQ(db.in_flight(), 50U);
  EXPECT_EQ(db.concurrency(), 200U);
  EXPECT_EQ(db.classes(3).room(), 160U);
  EXPECT_EQ(db.classes(0).room(), 200U);
  EXPECT_NEAR(db.classes(3).asked_per_s(), 10.0, 0.1);
  EXPECT_NEAR(db.classes(3).shed_share(), 1.0, 0.001);
  EXPECT_NEAR(db.shed_share(), 0.25, 0.001);
  EXPECT_EQ(db.breaker_state(), "closed");
  EXPECT_EQ(db.deadline_max_ms(), 7000U);
  EXPECT_EQ(all.resources(1).tenant_of(), "db");
  EXPECT_EQ(all.resources(2).breaker(), "adaptive");
  EXPECT_NEAR(all.host().requests_per_s(), 40.0, 0.1);
  EXPECT_NEAR(all.host().utilization(), 1.0 / 0.75, 0.01) << "who sheds is more than full";
  v1::ResourcesResponse one;
  fill_resources(*domain_, "far", now_, one);
  EXPECT_EQ(one.resources_size(), 1);
}

TEST_F(ToolkitTest, SaysWhyAnOrderCannotBe) {
  serve(
      "resources: [{name: db, breaker: states}, {name: far, breaker: adaptive}, {name: c, "
      "concurrency: 1}]\n"
      "degrade: [{name: shop, signal: cpu, levels: [{enter: 80%, features: [extras]}]}]\n");
  const auto breaker = [this](const char* name, v1::ForceBreakerRequest::State state) {
    v1::ForceBreakerRequest request;
    request.set_name(name);
    request.set_state(state);
    request.set_for_ms(UINT64_MAX);
    return force_breaker(toolkit(), request, now_);
  };
  EXPECT_TRUE(breaker("db", v1::ForceBreakerRequest::STATE_OPEN).problem.empty());
  EXPECT_EQ(state(), BreakerState::forced_open);
  EXPECT_NE(breaker("far", v1::ForceBreakerRequest::STATE_OPEN).problem.find("kind: adaptive"),
            std::string::npos);
  EXPECT_NE(breaker("c", v1::ForceBreakerRequest::STATE_OPEN).problem.find("no breaker"),
            std::string::npos);
  EXPECT_NE(breaker("bd", v1::ForceBreakerRequest::STATE_OPEN).problem.find("no resource"),
            std::string::npos);
  EXPECT_FALSE(breaker("db", v1::ForceBreakerRequest::STATE_UNSPECIFIED).problem.empty());
  v1::ForceLevelRequest level;
  level.set_name("shop");
  level.set_level(2);
  EXPECT_NE(force_level(toolkit(), level, now_).problem.find("levels 0 to 1"), std::string::npos);
  level.set_level(0);
  level.set_drill_permille(10);
  EXPECT_NE(force_level(toolkit(), level, now_).problem.find("drill"), std::string::npos);
  level.set_name("shpo");
  EXPECT_NE(force_level(toolkit(), level, now_).problem.find("'shop'"), std::string::npos);
}

TEST_F(ToolkitTest, RetriesAreATenthOfTheRequestsAndTheFloorIsTheHosts) {
  serve("resources: [{name: db, retry_budget: {percent: 10%, floor: 1/s}}]\n");
  shm::A64& tokens = view().counter(place("db")).retry_tokens;
  view().lane(0, place("db")).passed[1] += 1000;
  pass(200 * kMs);
  const std::uint64_t level = tokens.load();
  EXPECT_GE(level, 100U);
  EXPECT_LE(level, 111U) << "100, and the floor of at most ten seconds";
  tokens -= 50;
  pass(40 * kMs);
  EXPECT_LE(tokens.load(), level - 50 + 1);
  tokens = 1'000'000;  // forged
  pass(40 * kMs);
  EXPECT_LE(tokens.load(), level);
  EXPECT_GT(toolkit().resources()[0]->forged_total(), 0U);
}

TEST_F(ToolkitTest, AHotHostShedsAndABlindOneKeepsItsBulkhead) {
  serve("resources: [{name: db, shed: {blind_limit: 9}}]\n");
  pass(3'000 * kMs);  // no sample at all: blind
  const shm::ResourceRule& db = view().rule(place("db"));
  EXPECT_TRUE(toolkit().resources()[0]->figures().blind);
  EXPECT_EQ(adaptive::shed_field(db.shed_limits.load(), adaptive::Criticality::sheddable), 10U);
  CpuSample sample;
  sample.usage_permille = 100;
  sample.capacity_millicpus = 2000;
  for (int i = 0; i < 40; ++i) {
    toolkit().on_sample(now_, sample);
    view().lane(0, place("db")).succeeded += 10;
    view().lane(0, place("db")).succeeded_ns += 10 * 2 * kMs;
    view().lane(0, place("db")).passed[3] += 10;
    pass(100 * kMs);
  }
  EXPECT_FALSE(toolkit().resources()[0]->figures().blind);
  EXPECT_FALSE(toolkit().resources()[0]->figures().shedding) << "a quiet host sheds nothing";
  EXPECT_EQ(db.shed_refusals.load(), 0U);
  sample.usage_permille = 1000;
  for (int i = 0; i < 20; ++i) {
    toolkit().on_sample(now_, sample);
    view().lane(0, place("db")).succeeded += 100;
    view().lane(0, place("db")).succeeded_ns += 100 * 20 * kMs;
    view().lane(0, place("db")).passed[3] += 500;
    view().counter(place("db")).in_flight = 400;
    pass(100 * kMs);
  }
  EXPECT_TRUE(toolkit().resources()[0]->figures().shedding);
  EXPECT_NE(db.shed_limits.load(), 0U);
  EXPECT_EQ(db.shed_mono_ns.load(), now_);
}

TEST_F(ToolkitTest, LevelsFollowTheirSignalAndAnOperator) {
  serve(
      "degrade:\n"
      "  - {name: shop, signal: cpu, hold: 1s, leave_hold: 1s, levels: [{enter: 80%, leave: 50%, "
      "features: [extras]}, {enter: 95%, features: [search]}]}\n");
  const auto off = [this](const char* name) {
    const auto at = static_cast<std::uint32_t>(shm::find_feature(view(), name));
    const shm::FeatureRule& f = view().feature(at);
    return adaptive::degraded(f.degrade.load(), f.hot.load() & 0xffffffffU, 0);
  };
  CpuSample sample;
  sample.usage_permille = 850;
  toolkit().on_sample(now_, sample);
  pass(500 * kMs);
  EXPECT_FALSE(off("extras")) << "not yet for the hold time";
  pass(700 * kMs);
  EXPECT_TRUE(off("extras"));
  EXPECT_FALSE(off("search"));
  ASSERT_TRUE(toolkit().force_level("shop", 2, now_));
  EXPECT_TRUE(off("search"));
  EXPECT_FALSE(toolkit().force_level("shop", 3, now_));
  ASSERT_TRUE(toolkit().force_level("shop", std::nullopt, now_));
  EXPECT_FALSE(off("search"));
  sample.usage_permille = 100;
  toolkit().on_sample(now_, sample);
  pass(1'500 * kMs);
  EXPECT_FALSE(off("extras"));
}

// A client may write any total, forwards and backwards. What cannot have happened in a look's time
// is cut, counted as forged, and moves no figure beyond bounds.
TEST_F(ToolkitTest, ATotalThatCannotBeIsCut) {
  serve("resources: [{name: db, shed: bbr, breaker: states, retry_budget: 10%}]\n");
  const Resource& db = *toolkit().resources()[0];
  shm::OutcomeLane& lane = view().lane(0, place("db"));
  pass(100 * kMs);
  EXPECT_EQ(db.forged_total(), 0U);
  lane.succeeded = UINT64_MAX / 2;
  lane.succeeded_ns = UINT64_MAX / 2;
  pass(300 * kMs);
  EXPECT_GT(db.forged_total(), 0U);
  EXPECT_EQ(db.figures().succeeded_per_s, 1e9);
  const std::uint64_t forged = db.forged_total();
  lane.succeeded = 5;  // backwards: grew by nothing
  pass(300 * kMs);
  EXPECT_GT(db.forged_total(), forged);
  EXPECT_EQ(db.figures().succeeded_per_s, 1e9);
  pass(1'200 * kMs);
  EXPECT_EQ(db.figures().succeeded_per_s, 0.0);
  lane.succeeded += 7;
  pass(200 * kMs);
  EXPECT_EQ(db.figures().succeeded_per_s, 7.0) << "and what is true counts again";
}

// Response times of zero and of hours are response times.
TEST_F(ToolkitTest, ResponsesOfNoTimeAndOfHoursAreTakenAsTheyAre) {
  serve("resources: [{name: db, shed: bbr}, {name: far, shed: gradient}]\n");
  CpuSample sample;
  sample.usage_permille = 1000;
  sample.capacity_millicpus = 2000;
  for (const std::uint64_t each_ns : {std::uint64_t{0}, std::uint64_t{20'000'000'000'000}})
    for (int i = 0; i < 30; ++i) {
      toolkit().on_sample(now_, sample);
      for (const char* name : {"db", "far"}) {
        view().lane(0, place(name)).succeeded += 10;
        view().lane(0, place(name)).succeeded_ns += 10 * each_ns;
        view().lane(0, place(name)).passed[1] += 10;
      }
      pass(100 * kMs);
      for (const auto& each : toolkit().resources()) {
        EXPECT_TRUE(std::isfinite(each->figures().limit));
        EXPECT_GE(each->figures().limit, 0.0);
        EXPECT_LE(each->figures().response_ns, 2e13);
      }
    }
  EXPECT_EQ(toolkit().resources()[0]->figures().response_ns, 2e13);
  EXPECT_EQ(toolkit().resources()[0]->figures().response.p99_ns, 0) << "no cell was counted in";
}

TEST_F(ToolkitTest, QuantilesOfResponsesAreOfTheLastHalfMinute) {
  serve("resources: [{name: db, concurrency: 5}]\n");
  const Resource& db = *toolkit().resources()[0];
  const auto answer = [&](std::uint32_t count, std::int64_t each_ns) {
    view().lane(0, place("db")).succeeded += count;
    view().lane(0, place("db")).succeeded_ns += count * static_cast<std::uint64_t>(each_ns);
    view().counter(place("db")).responses[adaptive::Histogram::cell_of(each_ns)] += count;
  };
  const auto near = [](std::int64_t seen, std::int64_t right) {
    EXPECT_GE(seen, right);
    EXPECT_LE(static_cast<double>(seen), static_cast<double>(right) * 1.126);
  };
  pass(2'000 * kMs);
  EXPECT_EQ(db.figures().response.p99_ns, 0) << "nothing was answered yet";

  answer(90, 2 * kMs);
  answer(8, 30 * kMs);
  answer(2, 700 * kMs);
  pass(1'500 * kMs);
  near(db.figures().response.p50_ns, 2 * kMs);
  near(db.figures().response.p95_ns, 30 * kMs);
  near(db.figures().response.p99_ns, 700 * kMs);

  for (int i = 0; i < 60; ++i) {
    answer(100, 5 * kMs);
    pass(1'000 * kMs);
  }
  near(db.figures().response.p50_ns, 5 * kMs);
  near(db.figures().response.p99_ns, 5 * kMs);
  pass(300'000 * kMs);
  EXPECT_EQ(db.figures().response.p99_ns, 0) << "long past";
}

TEST_F(ToolkitTest, AClockThatJumpsBreaksNothing) {
  serve(
      "resources: [{name: db, concurrency: {max: 5, lease: 1s}, shed: bbr, breaker: {open: 1s}, "
      "retry_budget: 10%}]\n"
      "degrade: [{name: shop, signal: cpu, levels: [{enter: 80%, features: [extras]}]}]\n");
  CpuSample sample;
  sample.usage_permille = 900;
  for (const std::int64_t jump :
       {3'600'000 * kMs, -7'200'000 * kMs, std::int64_t{0}, 86'400'000 * kMs}) {
    now_ = std::max<std::int64_t>(1, now_ + jump);
    toolkit().on_sample(now_, sample);
    view().lane(0, place("db")).failed += 30;
    view().lane(0, place("db")).passed[1] += 30;
    pass(3'000 * kMs);
    EXPECT_TRUE(std::isfinite(toolkit().resources()[0]->figures().asked_per_s));
    EXPECT_LE(toolkit().resources()[0]->figures().asked_per_s, 40.0);
  }
  // From here on everything goes its way again.
  for (int i = 0; i < 60; ++i) {
    toolkit().on_sample(now_, sample);
    pass(100 * kMs);
  }
  EXPECT_EQ(toolkit().degrades()[0].level, 1U);
  view().lane(0, place("db")).passed[1] += 30;
  pass(1'000 * kMs);
  EXPECT_EQ(toolkit().resources()[0]->figures().asked_per_s, 30.0);
}

// Every word that a client can write, with values that nobody would: the agent goes on, and its
// figures stay within what there can be.
TEST_F(ToolkitTest, EveryWordMayBeHostile) {
  serve(
      "resources:\n"
      "  - name: db\n"
      "    concurrency: {max: 5, lease: 1s, tenants: [{name: t, max: 2}]}\n"
      "    shed: bbr\n"
      "    breaker: states\n"
      "    retry_budget: 10%\n"
      "  - {name: far, breaker: adaptive, shed: gradient}\n");
  CpuSample sample;
  sample.usage_permille = 950;
  const shm::ToolkitGeometry& g = view().geometry();
  std::vector<std::pair<std::uint64_t*, std::uint64_t*>> areas;
  const auto area = [&areas](auto& first, std::size_t count) {
    auto* words = reinterpret_cast<std::uint64_t*>(&first);
    areas.emplace_back(words, words + count * sizeof(first) / sizeof(std::uint64_t));
  };
  area(view().counter(0), 4);
  for (std::uint32_t cpu = 0; cpu <= g.cpus; ++cpu)
    area(view().lane(cpu, 0), 4);
  area(view().process(0), g.processes_max);
  area(view().holder(0), 16);
  area(view().holder(g.holders_max - 2), 2);
  std::size_t words = 0;
  for (const auto& [begin, end] : areas)
    for (std::uint64_t* word = begin; word != end; ++word, ++words)
      for (const std::uint64_t value :
           {~std::uint64_t{0}, std::uint64_t{1} << 63, std::uint64_t{0x5555'5555'5555'5555},
            std::uint64_t{0x0001'0001'0001'0001}, std::uint64_t{0}}) {
        std::atomic_ref(*word).store(value);
        now_ += 20 * kMs;
        if (words % 7 == 0) toolkit().on_sample(now_, sample);
        (void)toolkit().tick(now_);
        if (value != 0) continue;
        v1::ResourcesResponse all;
        fill_resources(*domain_, "", now_, all);
        fill_host_load(all);
        for (const v1::ResourceStatus& each : all.resources()) {
          ASSERT_LE(each.in_flight(), shm::kPermitsMax);
          ASSERT_TRUE(std::isfinite(each.asked_per_s()) && each.asked_per_s() >= 0.0);
          ASSERT_TRUE(each.shed_share() >= 0.0 && each.shed_share() <= 1.0);
        }
      }
  EXPECT_GT(words, 500U);
  // And what is honest counts again.
  pass(2'000 * kMs);
  const auto& far = *toolkit().resources().back();
  view().lane(0, far.place()).passed[1] += 5;
  pass(500 * kMs);
  EXPECT_EQ(far.figures().asked_per_s, 5.0);
  EXPECT_EQ(view().counter(place("db")).in_flight.load(), 0);
}

// An agent that comes back to the same counters with other rules: each resource finds its own
// words, and no other's.
TEST_F(ToolkitTest, ResourcesFindTheirWordsAgain) {
  serve("resources: [{name: a, breaker: states}, {name: b, breaker: states}]\n");
  ASSERT_NE(place("a"), place("b"));
  const std::uint32_t before = place("b");
  const std::uint64_t open = adaptive::breaker_trip(0, 0, now_, 0.5, {});
  view().counter(before).breaker = open;
  const DomainRule other =
      parsed("resources: [{name: c, breaker: states}, {name: b, breaker: states}]\n");
  // An agent that starts anew has an empty segment of rules, and the old counters.
  for (const auto& each : toolkit().resources())
    const_cast<shm::ResourceRule&>(view().rule(each->place())).hot = 0;
  Toolkit next(view());

  ASSERT_TRUE(next.publish(other, now_));

  EXPECT_EQ(place("b"), before);
  EXPECT_EQ(view().counter(before).breaker.load(), open);
  EXPECT_EQ(view().counter(place("c")).breaker.load(), 0U);
}

TEST_F(ToolkitTest, MoreThanThereIsRoomForIsRefusedBeforeAnythingChanges) {
  serve("resources: [{name: a, concurrency: 1}]\n");
  std::string text = "resources:\n";
  for (int i = 0; i < 600; ++i)
    text += "  - {name: r" + std::to_string(i) + ", concurrency: 1}\n";
  const DomainRule many = parsed(text);
  EXPECT_NE(domain_->places_problem(many).find("--resources-max 600"), std::string::npos);
  EXPECT_FALSE(domain_->publish(many));
  EXPECT_EQ(view().rule(place("a")).concurrency.load(), 1U);
  EXPECT_TRUE(domain_->places_problem(parsed("resources: [{name: b, concurrency: 1}]\n")).empty());
}

// A process takes a permit and is killed: what it held is free as soon as its end is known.
TEST_F(ToolkitTest, WhatADeadProcessHeldIsTakenBack) {
  serve("resources: [{name: db, concurrency: 5}]\n");
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  std::uint64_t owner = 0;
  const std::int32_t slot = shm::claim_process(view(), static_cast<std::uint32_t>(child), 0,
                                               shm::own_pid_namespace(), now_, &owner);
  ASSERT_GE(slot, 0);
  const auto index = static_cast<std::uint32_t>(slot);
  const shm::HolderClaim claim{index, shm::process_generation(owner), place("db"),
                               toolkit().resources()[0]->generation()};
  const std::int32_t cell = shm::claim_holder(view(), claim);
  ASSERT_GE(cell, 0);
  shm::HolderCell& holder = view().holder(static_cast<std::uint32_t>(cell));
  holder.stripe = adaptive::stripe_entered(holder.stripe.load(), 1);
  view().counter(place("db")).in_flight = 1;
  EXPECT_TRUE(toolkit().owns(index, shm::process_generation(owner), child));
  EXPECT_FALSE(toolkit().owns(index, shm::process_generation(owner), child + 1)) << "another's";

  (void)::waitpid(child, nullptr, 0);
  toolkit().connection_ended(index, owner, shm::Fd(), now_);
  EXPECT_EQ(view().counter(place("db")).in_flight.load(), 0);
  EXPECT_EQ(toolkit().reaped_total(), 1U);
  EXPECT_EQ(toolkit().resources()[0]->reaped_total(), 1U);
  EXPECT_EQ(view().rule(place("db")).reaped_total.load(), 1U);
}

}  // namespace
}  // namespace weir::agent
