// Names and labels come from strangers. What reaches the terminal is harmless and keeps its width.
#include "agent/cli/text.h"

#include <gtest/gtest.h>

#include <clocale>
#include <random>

namespace weir::cli {
namespace {

constexpr Charset kUtf8{true};
constexpr Charset kAscii{false};

class Text : public testing::Test {
 protected:
  void SetUp() override { std::setlocale(LC_CTYPE, "C.utf8"); }
};

TEST_F(Text, EscapesWhatDrivesATerminal) {
  EXPECT_EQ(escape("\x1b[2Jgone", kUtf8), "\\x1b[2Jgone");
  EXPECT_EQ(escape("a\nb\tc\rd\x7f", kUtf8), "a\\nb\\tc\\rd\\x7f");
  EXPECT_EQ(escape("\xc2\x9b"
                   "31m",
                   kUtf8),
            "\\u{9b}31m");  // CSI in one character
  EXPECT_EQ(escape(std::string_view{"a\0b", 3}, kUtf8), "a\\x00b");
}

TEST_F(Text, EscapesWhatHidesOrReorders) {
  EXPECT_EQ(escape("pay\xe2\x80\xae"
                   "cod.exe",
                   kUtf8),
            "pay\\u{202e}cod.exe");
  EXPECT_EQ(escape("a\xe2\x80\x8b"
                   "b",
                   kUtf8),
            "a\\u{200b}b");
  EXPECT_EQ(escape("\xef\xbb\xbf", kUtf8), "\\u{feff}");
}

TEST_F(Text, EscapesBytesThatAreNotUtf8) {
  EXPECT_EQ(escape("\xff\xfe", kUtf8), "\\xff\\xfe");
  EXPECT_EQ(escape("\xc0\xaf", kUtf8), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(escape("\xed\xa0\x80", kUtf8), "\\xed\\xa0\\x80");  // surrogate
  EXPECT_EQ(escape("ab\xe2\x82", kUtf8), "ab\\xe2\\x82");       // cut off
  EXPECT_EQ(escape("\xf5\x80\x80\x80", kUtf8), "\\xf5\\x80\\x80\\x80");
}

TEST_F(Text, KeepsWhatTheTerminalCanShow) {
  EXPECT_EQ(escape("größe", kUtf8), "größe");
  EXPECT_EQ(escape("größe", kAscii), "gr\\u{f6}\\u{df}e");
}

TEST_F(Text, KeepsLinesOnlyWhereAsked) { EXPECT_EQ(escape_lines("a\nb\x1b", kUtf8), "a\nb\\x1b"); }

TEST_F(Text, EscapedBytesNeverContainControls) {
  std::mt19937 random{11};
  for (int round = 0; round < 5000; ++round) {
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes)
      byte = static_cast<char>(random());
    for (const Charset charset : {kUtf8, kAscii}) {
      const std::string text = escape(bytes, charset);
      for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        ASSERT_TRUE(byte >= 0x20 && byte != 0x7f);
        if (!charset.utf8) {
          ASSERT_LT(byte, 0x80);
        }
      }
      ASSERT_EQ(escape(text, kUtf8), text);  // UTF-8 throughout
      ASSERT_EQ(columns(fit(text, 12, charset)), 12U);
    }
  }
}

TEST_F(Text, CountsColumnsNotBytes) {
  EXPECT_EQ(columns("größe"), 5U);
  EXPECT_EQ(columns("限制"), 4U);
}

TEST_F(Text, ShortensWithinItsColumns) {
  EXPECT_EQ(shorten("abcdef", 4, kUtf8), "abc…");
  EXPECT_EQ(shorten("abcdef", 4, kAscii), "abc~");
  EXPECT_EQ(shorten("限制限制", 4, kUtf8), "限…");
  EXPECT_EQ(shorten("abc", 3, kUtf8), "abc");
  EXPECT_EQ(shorten("abc", 0, kUtf8), "");
}

TEST_F(Text, FitsExactly) {
  EXPECT_EQ(fit("ab", 4, kUtf8), "ab  ");
  EXPECT_EQ(fit_right("ab", 4, kUtf8), "  ab");
  EXPECT_EQ(fit("限制限制", 4, kUtf8), "限… ");
}

TEST_F(Text, FormatsCounts) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(9999), "9999");
  EXPECT_EQ(format_count(12'345), "12.3k");
  EXPECT_EQ(format_count(999'999), "1M");
  EXPECT_EQ(format_count(UINT64_MAX), "18.4E");
  EXPECT_EQ(format_exact(1'234'567), "1,234,567");
  EXPECT_EQ(format_exact(999), "999");
}

TEST_F(Text, FormatsRates) {
  EXPECT_EQ(format_per_s(0.001), "0");
  EXPECT_EQ(format_per_s(0.25), "0.25");
  EXPECT_EQ(format_per_s(300), "300");
  EXPECT_EQ(format_per_s(1234.5), "1.23k");
  EXPECT_EQ(format_per_s(-1), "0");
  EXPECT_EQ(format_per_s(1e300 * 1e300), "0");
}

TEST_F(Text, FormatsDurations) {
  EXPECT_EQ(format_duration(0), "0 ns");
  EXPECT_EQ(format_duration(1'250'000), "1.25 ms");
  EXPECT_EQ(format_duration(3'200'000'000), "3.2 s");
  EXPECT_EQ(format_duration(59'999'999'999), "60 s");
  EXPECT_EQ(format_duration(125'000'000'000), "2m 5s");
  EXPECT_EQ(format_duration(3'600'000'000'000), "1h");
  EXPECT_EQ(format_duration(UINT64_MAX), "213503d 23h");
  EXPECT_EQ(format_ago(UINT64_MAX), "213503d 23h ago");
}

TEST_F(Text, FormatsBytesAndShares) {
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(1'572'864), "1.5 MiB");
  EXPECT_EQ(format_permille(125), "12.5 %");
  EXPECT_EQ(plural(1, "limit", "limits"), "1 limit");
  EXPECT_EQ(plural(2, "limit", "limits"), "2 limits");
}

}  // namespace
}  // namespace weir::cli
