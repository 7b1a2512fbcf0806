// Keys and figures come in any order; the cursor stays on the list and the list on the screen.
#include "agent/cli/top_model.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

constexpr int key(TopKey named) { return static_cast<int>(named); }

Limits many(std::size_t count) {
  Limits limits;
  for (std::size_t i = 0; i < count; ++i)
    limits.push_back(make_limit("limit" + std::to_string(i), static_cast<double>(i)));
  return limits;
}

std::string name_at(const TopModel& model, std::size_t row) {
  return model.limits()[model.visible()[row]].name();
}

TEST(TopModel, ScrollsThroughAThousandLimits) {
  TopModel model{{}};
  model.set_page_rows(20);
  model.feed(make_status(), many(1000));

  model.on_key(key(TopKey::end));
  EXPECT_EQ(model.cursor(), 999U);
  EXPECT_EQ(model.first_row(), 980U);
  model.on_key(key(TopKey::page_up));
  EXPECT_EQ(model.cursor(), 980U);
  model.on_key(key(TopKey::home));

  EXPECT_EQ(model.first_row(), 0U);
}

TEST(TopModel, SortsByTheBusiestFirst) {
  TopModel model{{}};
  model.feed(make_status(), many(3));
  EXPECT_EQ(name_at(model, 0), "limit2");

  model.on_key('n');
  EXPECT_EQ(name_at(model, 0), "limit0");
  model.on_key('r');
  EXPECT_EQ(name_at(model, 0), "limit2");
}

TEST(TopModel, GoesThroughAllOrders) {
  TopModel model{{}};
  model.feed(make_status(), many(3));
  const SortKey first = model.sort();

  int steps = 0;
  do {
    model.on_key('s');
    ++steps;
  } while (model.sort() != first && steps < 10);

  EXPECT_EQ(steps, 5);
}

TEST(TopModel, FiltersWhileTyping) {
  TopModel model{{}};
  model.feed(make_status(), many(30));
  for (const char c : {'/', 'T', '2', '9', 'q'})
    EXPECT_TRUE(model.on_key(c));
  EXPECT_EQ(model.filter(), "T29q");
  EXPECT_TRUE(model.visible().empty());

  model.on_key(key(TopKey::backspace));
  model.on_key(key(TopKey::enter));

  ASSERT_EQ(model.visible().size(), 1U);
  EXPECT_EQ(name_at(model, 0), "limit29");
  EXPECT_EQ(model.mode(), TopMode::list);
  model.on_key(key(TopKey::escape));
  EXPECT_EQ(model.visible().size(), 30U);
}

TEST(TopModel, BackspaceTakesWholeCharacters) {
  TopModel model{{}};
  model.on_key('/');
  for (const char c : std::string{"aö"})
    model.on_key(static_cast<unsigned char>(c));

  model.on_key(key(TopKey::backspace));

  EXPECT_EQ(model.filter(), "a");
}

TEST(TopModel, KeepsAMinuteOfHistoryForWhatIsThere) {
  TopModel model{{}};
  for (int i = 0; i < 100; ++i)
    model.feed(make_status(), many(2));
  EXPECT_EQ(model.history(model.limits()[0]).size(), kHistorySamples);

  model.feed(make_status(), {});
  model.feed(make_status(), many(1));

  EXPECT_EQ(model.history(model.limits()[0]).size(), 1U);
}

TEST(TopModel, QuitsOnlyFromTheList) {
  TopModel model{{}};
  model.feed(make_status(), many(2));
  model.on_key('?');
  EXPECT_EQ(model.mode(), TopMode::help);
  EXPECT_TRUE(model.on_key('q'));
  EXPECT_EQ(model.mode(), TopMode::list);

  EXPECT_FALSE(model.on_key('q'));
  EXPECT_FALSE(model.on_key(key(TopKey::interrupt)));
}

TEST(TopModel, IntervalsStayInTheirRange) {
  TopModel model{{}};
  for (int i = 0; i < 50; ++i)
    model.on_key('+');
  EXPECT_EQ(model.interval_s(), kIntervalMaxS);
  for (int i = 0; i < 50; ++i)
    model.on_key('-');
  EXPECT_EQ(model.interval_s(), kIntervalMinS);
}

TEST(TopModel, SurvivesAnyKeysAndFigures) {
  std::mt19937 random{3};
  TopModel model{{}};
  for (int i = 0; i < 20'000; ++i) {
    const auto dice = random() % 20;
    if (dice == 0) model.feed(make_status(), many(random() % 50));
    if (dice == 1) model.set_page_rows(random() % 30);
    model.on_key(static_cast<int>(random() % 270));
    const std::size_t shown = model.visible().size();
    ASSERT_TRUE(shown == 0 ? model.cursor() == 0 : model.cursor() < shown);
    ASSERT_LE(model.first_row(), model.cursor());
  }
}

}  // namespace
}  // namespace weir::cli
