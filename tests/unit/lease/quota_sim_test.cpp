// Random troubles over many seeds; and every rule taken out must be seen within some of them.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "tests/unit/lease/quota_sim.h"

namespace weir::lease::test {
namespace {

constexpr std::uint64_t kSeeds = 60;
constexpr std::uint64_t kMutantSeeds = 60;

TEST(QuotaSim, NothingIsHandedOutTwiceWhateverFails) {
  QuotaSim::Totals sums;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimOptions options;
    options.seed = seed;
    options.total = seed % 3 == 0 ? 60 : seed % 3 == 1 ? 1'000 : 10'000;
    QuotaSim sim(options);
    ASSERT_EQ(sim.run(), "");
    sums.handed += sim.totals().handed;
    sums.grants += sim.totals().grants;
    sums.crashes += sim.totals().crashes;
    sums.conflicts += sim.totals().conflicts;
    sums.lost_events += sim.totals().lost_events;
    sums.late_returns += sim.totals().late_returns;
    sums.write_backs += sim.totals().write_backs;
    sums.generations += sim.totals().generations;
  }
  // It would prove little if these had not happened.
  EXPECT_GT(sums.handed, 10'000);
  EXPECT_GT(sums.grants, 5'000U);
  EXPECT_GT(sums.crashes, 50U);
  EXPECT_GT(sums.conflicts, 20U);
  EXPECT_GT(sums.lost_events, 20U);
  EXPECT_GT(sums.late_returns, 20U);
  EXPECT_GT(sums.write_backs, 5U);
  EXPECT_GT(sums.generations, 20U);
}

TEST(QuotaSim, UsageIsCountedToTheUnitWhileNoAgentIsKilled) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SimOptions options;
    options.seed = seed;
    options.agent_crash = 0;
    options.partition = 0;
    options.periods = false;
    options.refunds = false;
    options.total = seed % 2 == 0 ? 200 : 5'000;
    QuotaSim sim(options);
    ASSERT_EQ(sim.run(), "");
  }
}

// Those that do not show in sums have a trace of their own in quota_book_test and quota_desk_test.
// Says which seed saw it, or fails.
void expect_caught(const char* name, const std::function<void(SimOptions&)>& take_out) {
  for (std::uint64_t seed = 1; seed <= kMutantSeeds; ++seed) {
    SimOptions options;
    options.seed = seed;
    options.total = seed % 2 == 0 ? 120 : 2'000;
    take_out(options);
    QuotaSim sim(options);
    if (const std::string wrong = sim.run(); !wrong.empty()) {
      ::testing::Test::RecordProperty(name, wrong);
      std::printf("%-24s %s\n", name, wrong.c_str());
      return;
    }
  }
  ADD_FAILURE() << "the rule behind " << name << " can be taken out unseen";
}

#define CAUGHT(part, rule) expect_caught(#rule, [](SimOptions& o) { o.part.rule = true; })

TEST(QuotaSim, EveryRuleOfTheBookIsNeeded) {
  CAUGHT(book, answer_early);
  CAUGHT(book, no_dedup);
  CAUGHT(book, chunk_not_stored);
  CAUGHT(book, no_expected_version);
  expect_caught("add_reports", [](SimOptions& o) {
    o.book.add_reports = true;
    o.agent_crash = o.partition = 0;
  });
  CAUGHT(book, keep_returned);
  CAUGHT(book, credit_old_gen);
  CAUGHT(book, keep_gen);
  CAUGHT(book, reclaim_unsettled);
  CAUGHT(book, never_reclaim);
  CAUGHT(book, lost_is_free);
  CAUGHT(book, write_back_moves);
  CAUGHT(book, overdraw);
  CAUGHT(book, valid_beyond_edge);
  CAUGHT(book, unknown_is_durable);
  CAUGHT(book, refunds_add);
}

TEST(QuotaSim, EveryRuleOfTheDeskIsNeeded) {
  CAUGHT(desk, return_unfrozen);
  CAUGHT(desk, accept_any);
  CAUGHT(desk, forget_early);
  CAUGHT(desk, never_invalid);
}

}  // namespace
}  // namespace weir::lease::test
