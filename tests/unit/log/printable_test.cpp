#include "daemon/log/printable.h"

#include <gtest/gtest.h>

#include <string>

#include "daemon/log/escape.h"

namespace weir {
namespace {

std::string json(std::string_view text, std::size_t bytes_max = 4096) {
  std::string out;
  append_json(out, text, bytes_max);
  return out;
}

TEST(Printable, PlainAndForeignTextStaysAsItIs) {
  EXPECT_EQ(printable(""), "");
  EXPECT_EQ(printable("worker-7 (a \"b\" \\c)"), "worker-7 (a \"b\" \\c)");
  EXPECT_EQ(printable("naïve 東京 🚀"), "naïve 東京 🚀");
}

// A label must not be able to move the cursor, add a line or end one.
TEST(Printable, ControlCharactersBecomeEscapes) {
  EXPECT_EQ(printable("\x1b[2Jx"), "\\x1b[2Jx");
  EXPECT_EQ(printable("a\nb\tc\rd"), "a\\nb\\tc\\x0dd");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(printable("\x7f"), "\\x7f");
  EXPECT_EQ(printable("\xc2\x9b[2J"), "\\u{9b}[2J");  // the one-character CSI
}

TEST(Printable, InvisibleAndTurningCharactersBecomeEscapes) {
  EXPECT_EQ(printable("a\u202egnp.exe"), "a\\u{202e}gnp.exe");
  EXPECT_EQ(printable("a\u200bb\u2066c\ufeff"), "a\\u{200b}b\\u{2066}c\\u{feff}");
  EXPECT_EQ(printable("\u2028"), "\\u{2028}");
}

TEST(Printable, BytesThatAreNotUtf8BecomeEscapes) {
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(printable("\xc3"), "\\xc3");                             // cut short
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");                    // not the shortest form
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond the last
}

TEST(Printable, WhatIsPrintableStaysTheSame) {
  const std::string once = printable("a\n\x1b\xff\u202e\\n");

  EXPECT_EQ(printable(once), once);
}

TEST(Printable, LongTextIsCutBetweenCharacters) {
  EXPECT_EQ(printable("abcdefgh", 8), "abcdefgh");
  EXPECT_EQ(printable("abcdefghi", 8), "abcde...");
  EXPECT_EQ(printable("東京東京", 8), "東...");
  EXPECT_EQ(printable("\n\n\n\n\n", 8), "\\n\\n...");
  EXPECT_EQ(printable("abcdef", 2), "..");
}

TEST(Json, EveryByteGivesValidText) {
  EXPECT_EQ(json("a\"b\\c\nd\x01"), R"(a\"b\\c\nd\u0001)");
  EXPECT_EQ(json("\xff"), "\\ufffd");
  EXPECT_EQ(json("\u202e"), "\\u202e");
  EXPECT_EQ(json("\U000e0001"), "\\udb40\\udc01");
  EXPECT_EQ(json("東京"), "東京");
}

// A cut inside an escape would break the line that a machine reads.
TEST(Json, TheCutNeverSplitsAnEscape) {
  for (std::size_t bytes_max = 3; bytes_max < 24; ++bytes_max) {
    const std::string text = json("\x01\x02\x03\x04\x05\x06", bytes_max);

    EXPECT_LE(text.size(), bytes_max);
    EXPECT_EQ((text.size() - 3) % 6, 0U) << text;
    EXPECT_TRUE(text.ends_with("...")) << text;
  }
}

}  // namespace
}  // namespace weir
