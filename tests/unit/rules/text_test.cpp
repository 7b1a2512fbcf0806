#include "rules/text.h"

#include <gtest/gtest.h>

#include <array>

namespace weir {
namespace {

TEST(Text, OnlyProperUtf8IsUtf8) {
  EXPECT_EQ(first_invalid_utf8("żółć 限制 🙂"), std::string_view::npos);
  for (const char* bad : {"a\x80", "a\xc0\xaf", "a\xe0\x80\x80", "a\xed\xa0\x80",
                          "a\xf4\x90\x80\x80", "a\xf8\x88\x80\x80\x80", "a\xc3", "a\xe2\x82"}) {
    EXPECT_EQ(first_invalid_utf8(bad), 1U);
  }
}

TEST(Text, ControlCharactersIncludeThoseOfTheUpperHalf) {
  EXPECT_TRUE(has_control_character("a\x1b"));
  EXPECT_TRUE(has_control_character("a\x7f"));
  EXPECT_TRUE(has_control_character("a\xc2\x85"));
  EXPECT_FALSE(has_control_character("a\xc2\xa0ż"));
}

// What a stranger wrote must not move the cursor of the one who reads the message.
TEST(Text, QuotesAreShortAndHarmless) {
  EXPECT_EQ(quote("a\x1b[2J\xff"), "'a?[2J?'");
  EXPECT_LE(quote(std::string(10'000, 'x')).size(), 70U);
  EXPECT_EQ(first_invalid_utf8(quote("ż" + std::string(200, 'x') + "ż")), std::string_view::npos);
}

TEST(Text, SuggestsOnlyWhatIsNear) {
  constexpr std::array<std::string_view, 4> kWords{"rate", "burst", "fallback", "on"};
  EXPECT_EQ(did_you_mean("brust", kWords), "burst");
  EXPECT_EQ(did_you_mean("Rate", kWords), "rate");
  EXPECT_EQ(did_you_mean("fallbck", kWords), "fallback");
  EXPECT_EQ(did_you_mean("colour", kWords), "");
  EXPECT_EQ(did_you_mean("xy", kWords), "");
  EXPECT_EQ(did_you_mean(std::string(5000, 'a'), kWords), "");
}

}  // namespace
}  // namespace weir
