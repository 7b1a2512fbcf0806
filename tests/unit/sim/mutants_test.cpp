// Every rule of the core that protects something can be taken out, and here is where that shows:
// for each switch a scenario and a seed that break without the rule and hold with it.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "lease/desk.h"
#include "sim/clock.h"
#include "sim/report.h"
#include "sim/row.h"
#include "sim/runner.h"

namespace weir::sim {
namespace {

constexpr const char* kHeld = "held more than the limit";
constexpr const char* kAdmitted = "admitted more than burst + rate x window";
constexpr const char* kCounted = "the book counts more than the limit";

struct Case {
  const char* mutant;
  const char* scenario;
  std::uint64_t seed;
  const char* broken;  // what a run without the rule violates
  double seconds = 0;  // where that shows long before the scenario ends
};

constexpr Case kCases[] = {
    {"book.forget_offers", "calm-even", 1, kHeld},
    {"book.no_tails", "heal", 4, kHeld},
    {"book.no_learning", "hostile-claims", 1, kHeld},
    {"book.newcomers_lease", "hostile-claims", 1, kHeld},
    {"book.cap_claims", "failover", 2, kHeld},
    {"book.any_session", "chaos", 1, kHeld},
    {"book.full_bursts", "failover", 128, kAdmitted},
    {"book.no_server_lengthening", "chaos", 162, kHeld},
    {"book.repeat_decides", "failover", 1, kHeld},
    {"book.no_fence", "frozen-owner", 1, kHeld},
    {"book.believe_claims", "hostile-claims", 1, kHeld},
    {"book.resume_whole", "liar-links", 1, kCounted},
    {"book.any_order", "chaos", 3, kHeld},
    {"book.any_ack", "chaos", 6, kHeld},
    {"book.grant_target", "calm-even", 1, kCounted},
    {"book.no_ancestors", "hierarchy", 1, kCounted},
    {"book.lease_reserve", "failover", 1, kHeld},
    {"book.short_learning", "failover", 108, kHeld},
    {"book.hasty_learning", "frozen-owner", 1, kHeld},
    {"book.free_fills", "chaos", 14, kAdmitted},
    {"book.full_mint", "drift-server", 1, kAdmitted, 500},
    {"book.offers_end_early", "heal", 444, kHeld},
    {"book.unproved_spoke", "hostile-claims", 1, kHeld},
    {"book.no_marks", "chaos", 1009776, kHeld},
    {"book.hasty_hello", "chaos", 1011174, kHeld},
    {"book.light_fills", "chaos", 1013298, kAdmitted},
    {"desk.end_from_answer", "chaos", 14, kHeld},
    {"desk.full_rate", "drift-one-sided", 1, kAdmitted, 500},
    {"desk.any_answer", "failover", 1, kHeld},
    {"desk.tail_for_ever", "heal", 4, kHeld},
};

Result run_case(const Case& one, bool with_mutant) {
  Wishes wishes;
  wishes.seed = one.seed;
  if (one.seconds > 0) wishes.seconds = one.seconds;
  if (with_mutant) wishes.mutants = {one.mutant};
  return run_scenario(one.scenario, wishes);
}

class Mutant : public testing::TestWithParam<Case> {};

TEST_P(Mutant, IsCaughtByItsSeedWhichIsCleanWithoutIt) {
  const Result without = run_case(GetParam(), true);
  const bool caught =
      std::any_of(without.violations.begin(), without.violations.end(),
                  [](const Violation& one) { return one.what == GetParam().broken; });
  EXPECT_TRUE(caught) << to_json(without, true);

  const Result with = run_case(GetParam(), false);
  EXPECT_TRUE(with.ok()) << to_json(with, true);
}

INSTANTIATE_TEST_SUITE_P(All, Mutant, testing::ValuesIn(kCases),
                         [](const testing::TestParamInfo<Case>& one) {
                           std::string name = one.param.mutant;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

// ---- rules that no bound tells of: what they are worth is a figure

double over_admitted(const char* scenario, const char* mutant) {
  Wishes wishes;
  if (mutant != nullptr) wishes.mutants = {mutant};
  return run_scenario(scenario, wishes).limits.at(0).over_admitted;
}

// A clock that is half as fast again as it should be mints half as much again, for ever; what the
// server's own time allows ends that.
TEST(MutantOfAFigure, ARunawayClockIsStoppedWithinALease) {
  const double lease = 1000 * 5.02 + 2 * 200 + 5 * 4;  // what each of the hosts may be ahead
  EXPECT_LE(over_admitted("runaway", nullptr), lease);
  EXPECT_GT(over_admitted("runaway", "desk.no_spend_bound"), 5 * lease);
}

// Who lies about what it spent has its own part twice; who could give back what it never had would
// have it any number of times.
TEST(MutantOfAFigure, ALiarReturnsNoMoreThanItWasGiven) {
  const double part = 10 * 120 / 10.0;  // of each host, in two minutes
  EXPECT_LE(over_admitted("liar-tokens", nullptr), 1.5 * part);
  EXPECT_GT(over_admitted("liar-tokens", "book.return_counts_always"), 3 * part);
}

double median_of_moves(const char* mutant) {
  std::vector<double> moves;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    Wishes wishes;
    wishes.seed = seed;
    if (mutant != nullptr) wishes.mutants = {mutant};
    const LimitFigures figures = run_scenario("moving", wishes).limits.at(0).figures;
    moves.insert(moves.end(), figures.moves.begin(), figures.moves.end());
  }
  return spread_of(moves).p50;
}

TEST(MutantOfAFigure, WithoutPokesOrEarlyRequestsAShiftIsFollowedLate) {
  EXPECT_LE(median_of_moves(nullptr), 1.2);
  EXPECT_GT(median_of_moves("book.no_pokes"), 1.2);
  EXPECT_GT(median_of_moves("desk.no_early"), 1.2);
}

// ---- rules that one trace shows

// Ten retries of each call that was refused, all marked as such, want nothing more.
TEST(MutantOfATrace, RetriesAreNotWanted) {
  for (const bool counted : {false, true}) {
    Callers callers;
    callers.retries = 10;
    callers.retry_after_ns = 10 * lease::kMs;
    Row row(callers, Arrivals(1, false, 0));
    if (counted) row.count_retries();
    const Clock clock;
    AdmissionLog log;
    row.begin(0, clock);
    row.set_rate(100, 0);
    row.advance(lease::kSecond, clock, true, log);

    const std::uint64_t refused = row.usage(lease::kSecond).refused_total;
    if (counted) {
      EXPECT_GT(refused, 500U);
    } else {
      EXPECT_NEAR(static_cast<double>(refused), 100, 1);
    }
  }
}

// A host asked for a token and then nobody came for it.
TEST(MutantOfATrace, TokensThatNobodyTakesGoBack) {
  for (const bool kept : {false, true}) {
    lease::DeskOptions options;
    options.host = "h";
    options.agent_epoch = 7;
    lease::Desk desk(options);
    desk.mutants.keep_fills = kept;
    lease::TimeNs now_ns = lease::kSecond;
    desk.add_limit(0, "a", now_ns);
    const lease::Hello hello = desk.connected(now_ns);
    desk.on_welcome({hello.hello_no, 11, 1, false, false, {}}, now_ns);
    const lease::Request* request = desk.next_request(now_ns);
    ASSERT_NE(request, nullptr);
    lease::Answer answer;
    answer.session = 11;
    answer.epoch = 1;
    answer.seq = request->seq;
    answer.ttl_ns = answer.tail_ns = 5 * lease::kSecond;
    answer.refresh_ns = lease::kSecond;
    answer.grants.push_back({lease::limit_id("a"), {0, lease::kToken, 0, 0}, lease::kToken, 0, 1});
    ASSERT_TRUE(desk.on_answer(answer, now_ns));
    desk.take_changes();
    now_ns += lease::kSecond;
    desk.observe(0, {0, 1, 1, 1, 0}, now_ns);

    const std::vector<lease::Change>& changes = desk.take_changes();
    const bool drains = std::any_of(changes.begin(), changes.end(),
                                    [](const lease::Change& one) { return one.drain; });
    EXPECT_EQ(drains, !kept);
  }
}

// A new switch needs a case here.
TEST(Mutant, EverySwitchHasACase) {
  std::set<std::string> cases = {
      "desk.no_spend_bound", "book.return_counts_always", "book.no_pokes",
      "desk.no_early",       "desk.count_retries",        "desk.keep_fills",
      "desk.no_shortening",  "desk.late_answers",         "desk.accept_lower_epoch",
      "desk.talk_first",     "desk.keep_leases",          "desk.ignore_withdrawn",
      "book.late_claims",    "book.early_tokens",         "book.twins_spoke",
      "book.fills_come_back"};
  for (const Case& one : kCases)
    cases.insert(one.mutant);
  for (const std::string& name : mutant_names())
    EXPECT_TRUE(cases.contains(name)) << name;
  EXPECT_EQ(cases.size(), mutant_names().size());
}

}  // namespace
}  // namespace weir::sim
