// Many more processes than CPUs, no agent, no pause: every one of them is preempted between reading
// the words and the clock, between claim and delivery, while holding the office. A clock that is
// read before the words takes another's newer book for damage and pays a time twice.
//
// Tried with these protections taken out, each of which fails here:
//   - mint() reading the clock before the book;
//   - the claim as a plain store in place of a compare-and-swap on the book.
#include "tests/support/fixture.h"

namespace weir::test {
namespace {

TEST(Preempt, ManyMintersWithoutAnAgentKeepTheBound) {
  constexpr std::uint32_t kCount = 16;
  constexpr OracleRule kRule{.amount = 20'000, .burst = 200};
  Agent agent({.rules = rules_of({"name: /t, rate: 20k/s, burst: 200"})});
  ASSERT_TRUE(agent.start());
  Crew crew(agent.dir().path(), kCount, 1'000'000);
  for (std::uint32_t i = 0; i < kCount; ++i)
    crew.start(i, "spend", {"sock=" + agent.socket(), "require=1", "idle_us=0"});
  ASSERT_TRUE(crew.wait_all_started());
  agent.kill9();

  const std::int64_t until = now_ns() + static_cast<std::int64_t>(chaos_seconds(4) * 1e9);
  eventually([&] { return now_ns() >= until; }, 3'600'000);
  crew.finish();

  EXPECT_EQ(crew.log().sum(&Lane::errors), 0U);
  expect_bound(crew.log(), kRule, "16 minters on few CPUs");
  EXPECT_GT(crew.log().sum(&Lane::admitted), kRule.burst * 10) << "nobody minted";
}

}  // namespace
}  // namespace weir::test
