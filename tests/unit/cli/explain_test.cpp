// Every algorithm has its promise in words, and what is exceptional is said only when it is there.
#include "agent/cli/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string explained(const v1::LimitStatus& limit) {
  std::ostringstream out;
  const Context context{out, out, {}, Output::table, false, true, {true}};
  std::string text;
  for (const Paragraph& paragraph : explain(context, limit))
    text += paragraph.title + "=" + paragraph.text + "\n";
  return text;
}

TEST(Explain, TokenBucketStatesItsBound) {
  EXPECT_THAT(explained(make_limit("x")), HasSubstr("at most 600 + 300/s x T"));
}

TEST(Explain, LeakyBucketStatesItsSpacing) {
  auto limit = make_limit("x");
  limit.set_algorithm("leaky_bucket");
  limit.set_amount(100);
  limit.set_burst(3);

  EXPECT_THAT(explained(limit), HasSubstr("one each 10 ms"));
}

TEST(Explain, WindowsStateTheirTokens) {
  auto limit = make_limit("x");
  limit.set_algorithm("fixed_window");
  limit.set_period_ns(60'000'000'000);
  limit.set_next_edge_ms(12'000);
  EXPECT_THAT(explained(limit), HasSubstr("300 tokens in each 1m"));
  EXPECT_THAT(explained(limit), HasSubstr("next window begins in 12 s"));

  limit.set_calendar("day");
  limit.set_timezone("Europe/Berlin");
  EXPECT_THAT(explained(limit), HasSubstr("calendar day of Europe/Berlin"));

  limit.set_algorithm("sliding_window");
  EXPECT_THAT(explained(limit), HasSubstr("wherever it begins"));
}

TEST(Explain, AnAlgorithmOfANewerAgentIsNamed) {
  auto limit = make_limit("x");
  limit.set_algorithm("quota\x1b");

  EXPECT_THAT(explained(limit), HasSubstr("quota\\x1b: 300/s"));
}

TEST(Explain, NamesTheReserveOfEachClass) {
  auto limit = make_limit("x");
  for (const std::uint64_t tokens : {0U, 0U, 60U, 120U})
    limit.add_reserve(tokens);

  EXPECT_THAT(explained(limit), HasSubstr("sheddable_plus leaves the last 60 tokens, sheddable "
                                          "leaves the last 120 tokens to the classes above it"));
}

TEST(Explain, SaysWhatHappensWithoutTheAgent) {
  auto limit = make_limit("x");
  limit.set_fallback_text("100/s, at most 100 at once");
  EXPECT_THAT(explained(limit), HasSubstr("Then local: 100/s, at most 100 at once, for all"));

  limit.set_fallback("open");
  EXPECT_THAT(explained(limit), HasSubstr("Then it is open: everything passes."));

  limit.set_fallback("closed");
  EXPECT_THAT(explained(limit), HasSubstr("Then it is closed: nothing passes once"));
}

TEST(Explain, SaysWhatWasHealedOnlyWhenThereWasSomething) {
  auto limit = make_limit("x");
  EXPECT_THAT(explained(limit), Not(HasSubstr("Healed")));

  limit.set_forged_total(2);

  EXPECT_THAT(explained(limit), HasSubstr("Healed=2 words"));
}

TEST(Explain, AZeroLimitLetsNothingPass) {
  auto limit = make_limit("x");
  limit.set_amount(0);
  limit.set_burst(0);

  EXPECT_THAT(explained(limit), HasSubstr("Lets nothing pass"));
}

}  // namespace
}  // namespace weir::cli
