#include "rules/diff.h"

#include <gmock/gmock.h>

#include "tests/unit/rules/testing.h"

namespace weir {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Diff, WhereARuleStandsDoesNotCount) {
  EXPECT_THAT(diff("limits: [{name: a, rate: 1/s}, {name: b, rate: 1/s}]",
                   "\n# moved\nlimits:\n  - {name: b, rate: 1/s}\n  - {name: a, rate: 1/s}\n"),
              IsEmpty());
}

TEST(Diff, ChangedFieldsAreNamedWithBothValues) {
  EXPECT_THAT(
      diff("limits: [{name: /api, rate: 300/s}]",
           "limits: [{name: /api, rate: 400/s, burst: 500, stripes: on, fallback: closed}]"),
      ElementsAre("~ default /api: rate 300/s -> 400/s, burst 300 -> 500, stripes auto -> on, "
                  "fallback.mode local -> closed, fallback.rate 300/s -> none, "
                  "fallback.burst 300 -> none"));
}

TEST(Diff, AnotherAlgorithmHasOtherFields) {
  EXPECT_THAT(diff("limits: [{name: a, rate: 5/s, fallback: open}]",
                   "limits: [{name: a, algorithm: fixed_window, window: 1m, limit: 9, "
                   "fallback: open}]"),
              ElementsAre("~ default a: algorithm token_bucket -> fixed_window, rate 5/s -> none, "
                          "burst 5 -> none, limit none -> 9, window none -> 1m"));
}

TEST(Diff, AddedAndRemovedLimitsAreShownWhole) {
  EXPECT_THAT(diff("limits: [{name: old, rate: 5/s, fallback: closed}]",
                   "limits: [{name: new, rate: 6/s, fallback: open}]"),
              ElementsAre("+ default new: algorithm token_bucket, rate 6/s, burst 6, priority "
                          "{sheddable: 0%, sheddable_plus: 0%, critical: 0%, critical_plus: 0%}, "
                          "stripes auto, fallback.mode open, fallback.after 10s",
                          "- default old: algorithm token_bucket, rate 5/s, burst 5, priority "
                          "{sheddable: 0%, sheddable_plus: 0%, critical: 0%, critical_plus: 0%}, "
                          "stripes auto, fallback.mode closed, fallback.after 10s"));
}

TEST(Diff, DomainsComeAndGoWithTheirLimits) {
  const std::string two =
      "domains: [{name: default}, {name: web, allow: {users: [33]}}]\n"
      "limits: [{name: a, domain: web, rate: 1/s}]";

  const auto added = diff_rules(rules_of(""), rules_of(two));
  const auto removed = diff_rules(rules_of(two), rules_of(""));

  ASSERT_EQ(added.size(), 2U);
  EXPECT_EQ(to_string(added[0]),
            "+ domain web: socket web.sock, allow.users [33], allow.groups []");
  EXPECT_EQ(added[1].limit, "a");
  EXPECT_EQ(added[1].kind, ChangeKind::added);
  ASSERT_EQ(removed.size(), 2U);
  EXPECT_EQ(removed[0].limit, "a");
  EXPECT_EQ(removed[1].kind, ChangeKind::removed);
}

TEST(Diff, WhoIsAllowedCounts) {
  EXPECT_THAT(diff("", "domains: [{name: default, allow: {groups: [weir, ops]}}]"),
              ElementsAre("~ domain default: allow.groups [weir] -> [weir, ops]"));
}

// A line of the log stays one line.
TEST(Diff, DescriptionsWithLineBreaksDoNotBreakTheLog) {
  const auto lines = diff("limits: [{name: a, rate: 1/s}]",
                          "limits: [{name: a, rate: 1/s, description: \"one\\ntwo\"}]");

  EXPECT_THAT(lines, ElementsAre("~ default a: description none -> one two"));
}

}  // namespace
}  // namespace weir
