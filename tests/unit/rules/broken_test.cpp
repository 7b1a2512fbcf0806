// Every file in broken/ has a mistake, and beside it stands the message that an operator gets.
#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "rules/source_text.h"
#include "tests/unit/rules/testing.h"

namespace weir {
namespace {

std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> stems;
  for (const auto& entry : std::filesystem::directory_iterator{test_dir() + folder}) {
    if (entry.path().extension() == ".yaml") stems.push_back(entry.path().stem().string());
  }
  std::sort(stems.begin(), stems.end());
  return stems;
}

std::vector<std::string> broken_files() { return files_in("/broken"); }
std::vector<std::string> broken_server_files() { return files_in("/broken_server"); }

class Broken : public testing::TestWithParam<std::string> {};

TEST_P(Broken, IsRefusedInTheseWords) {
  const std::string stem = test_dir() + "/broken/" + GetParam();

  const ParseResult result =
      parse_rules(slurp(stem + ".yaml"), GetParam() + ".yaml", {.zoneinfo_dir = test_zones()});

  ASSERT_FALSE(result.ok());
  std::string message = first_problem(result) + "\n";
  if (const auto at = message.find(test_zones()); at != message.npos) {
    message.replace(at, test_zones().size(), "/usr/share/zoneinfo");
  }
  EXPECT_EQ(message, slurp(stem + ".expected"));
}

INSTANTIATE_TEST_SUITE_P(Files, Broken, testing::ValuesIn(broken_files()),
                         [](const auto& param) { return param.param; });

class BrokenServer : public testing::TestWithParam<std::string> {};

TEST_P(BrokenServer, IsRefusedInTheseWords) {
  const std::string stem = test_dir() + "/broken_server/" + GetParam();

  const ServerParseResult result = parse_server_rules(slurp(stem + ".yaml"), GetParam() + ".yaml");

  ASSERT_FALSE(result.ok());
  ASSERT_FALSE(result.problems.empty());
  EXPECT_EQ(to_string(result.problems.front()) + "\n", slurp(stem + ".expected"));
}

INSTANTIATE_TEST_SUITE_P(Files, BrokenServer, testing::ValuesIn(broken_server_files()),
                         [](const auto& param) { return param.param; });

TEST(BrokenFiles, AreMany) {
  EXPECT_GE(broken_files().size(), 120U);
  EXPECT_GE(broken_server_files().size(), 30U);
}

TEST(BrokenFiles, AllMistakesOfAFileAreListedInItsOrder) {
  const ParseResult result = parse(
      "version: 3\n"
      "limits:\n"
      "  - {name: a, rate: 300}\n"
      "  - {name: b, rate: 1/s, brust: 3}\n"
      "  - {rate: 1/s}\n");

  ASSERT_EQ(result.problems.size(), 4U);
  EXPECT_EQ(result.problems[0].line, 1);
  EXPECT_EQ(result.problems[1].line, 3);
  EXPECT_EQ(result.problems[2].line, 4);
  EXPECT_EQ(result.problems[3].line, 5);
}

TEST(BrokenFiles, NoMoreThanTwentyMistakesAreListed) {
  std::string text = "version: 1\nlimits:\n";
  for (int i = 0; i < 33; ++i)
    text += "  - {name: a" + std::to_string(i) + "}\n";

  const ParseResult result = parse(text);

  EXPECT_EQ(result.problems.size(), kProblemsMax);
  EXPECT_EQ(result.problems_left_out, 13U);
}

// Bytes that no editor shows; they would be invisible in a file of broken/.
TEST(BrokenFiles, BytesThatAreNotTextAreNamed) {
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(first_problem(parse("version: 1\nlimits: \0\n"sv)),
            "rules.yaml:2:9: the file holds a NUL byte; is it a text file?");
  EXPECT_EQ(first_problem(parse("version: \x1b[31m1\n"sv)),
            "rules.yaml:1:10: the file holds the control character 0x1b");
  EXPECT_EQ(first_problem(parse("\xff\xfev\0e\0r\0"sv)),
            "rules.yaml:1:1: the file is UTF-16 or UTF-32 by its byte order mark; save it as "
            "UTF-8");
}

TEST(BrokenFiles, AByteOrderMarkIsAWarningAlone) {
  const ParseResult result = parse("\xef\xbb\xbfversion: 1\n");

  ASSERT_TRUE(result.ok());
  EXPECT_EQ(first_warning(result),
            "rules.yaml:1:1: the file starts with a byte order mark, which is ignored; save it as "
            "UTF-8 without one");
}

TEST(BrokenFiles, SizesAreBounded) {
  const std::string large(kRulesFileBytesMax + 1, '#');
  EXPECT_EQ(first_problem(parse(large)),
            "rules.yaml: the file is larger than 4 MiB, the most that a rules file may have");

  std::string long_line = "version: 1 # ";
  long_line.append(300'000, 'x');
  EXPECT_EQ(first_problem(parse(long_line)),
            "rules.yaml:1:1: the line is longer than 256 KiB; break it up");

  std::string brackets;
  for (int i = 0; i < 300'000; ++i)
    brackets += "[,\n";
  EXPECT_EQ(first_problem(parse(brackets)),
            "rules.yaml: the file holds more than 400000 brackets and commas");

  std::string many = "version: 1\nlimits:\n";
  for (int i = 0; i < 100'000; ++i)
    many += " - {a: b}\n";
  EXPECT_THAT(first_problem(parse(many)), testing::HasSubstr("more than 200000 values"));
}

TEST(BrokenFiles, LimitsAndDomainsAreCounted) {
  std::string limits = "version: 1\nlimits:\n";
  for (int i = 0; i < 1024; ++i)
    limits += "  - {name: a" + std::to_string(i) + ", rate: 1/s}\n";
  EXPECT_TRUE(parse(limits).ok());
  EXPECT_EQ(first_problem(parse(limits + "  - {name: b, rate: 1/s}\n")),
            "rules.yaml:1027:5: more than 1024 limits in the domain 'default'");

  std::string domains = "version: 1\ndomains:\n";
  for (int i = 0; i < 16; ++i)
    domains += "  - {name: d" + std::to_string(i) + ", allow: {}}\n";
  EXPECT_TRUE(parse(domains).ok());
  EXPECT_EQ(first_problem(parse(domains + "  - {name: e, allow: {}}\n")),
            "rules.yaml:19:5: more than 16 domains");
}

// An operator's slip of the hand, or a disk's: whatever it makes of the file, the agent lives.
TEST(BrokenFiles, NoDamageToAFileHarmsTheReader) {
  const std::string example = slurp(std::string{WEIR_SOURCE_DIR} + "/examples/rules.yaml");
  const std::string_view junk = "{}[]:,-&*!|>'\"%@`#? \n\t0/.\\";
  std::uint64_t state = 42;
  const auto below = [&state](std::size_t bound) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::size_t>(state >> 33) % bound;
  };
  for (int round = 0; round < 1500; ++round) {
    std::string text = example;
    for (std::size_t i = below(4) + 1; i > 0; --i) {
      const std::size_t at = below(text.size());
      const std::size_t kind = below(4);
      if (kind == 0) text[at] = junk[below(junk.size())];
      if (kind == 1) text.erase(at, below(40) + 1);
      if (kind == 2) text.insert(at, 1, junk[below(junk.size())]);
      if (kind == 3) text.insert(at, text.substr(below(text.size()), below(60)));
    }

    const ParseResult result = parse(text);

    EXPECT_NE(result.ok(), !result.problems.empty());
  }
}

}  // namespace
}  // namespace weir
