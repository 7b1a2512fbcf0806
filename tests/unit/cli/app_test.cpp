// The command line: what is wrong with it is said, with exit code 2, before anything is done.
#include "agent/cli/app.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

TEST(App, ShowsItsHelp) {
  const Ran ran = run("", {"--help"});

  EXPECT_EQ(ran.exit_code, 0);
  for (const std::string& name : command_names())
    EXPECT_THAT(ran.out, HasSubstr("\n  " + name));
}

TEST(App, EveryCommandHasHelp) {
  for (const std::string& name : command_names()) {
    const Ran ran = run("", {name, "--help"});
    EXPECT_EQ(ran.exit_code, 0) << name;
    EXPECT_THAT(ran.out, HasSubstr("Usage: weir " + name));
  }
}

TEST(App, ShowsItsVersion) { EXPECT_THAT(run("", {"--version"}).out, HasSubstr("weir 0.")); }

TEST(App, WrongCommandLinesAreUsageErrors) {
  const std::vector<std::vector<std::string>> kWrong{
      {},
      {"nonsense"},
      {"status", "extra"},
      {"list", "--sort", "size"},
      {"-o", "xml", "list"},
      {"show"},
      {"take"},
      {"take", "x", "--"},
      {"take", "x", "-n", "0"},
      {"take", "x", "-n", "-1"},
      {"take", "x", "-n", "4294967296"},
      {"take", "x", "--wait", "soon"},
      {"take", "x", "--class", "vip"},
      {"rules"},
      {"rules", "make"},
      {"top", "-d", "0"},
      {"completion"},
      {"completion", "fish"},
      {"--color", "red", "status"},
  };
  for (const auto& arguments : kWrong) {
    const Ran ran = run("", arguments);
    EXPECT_EQ(ran.exit_code, 2) << testing::PrintToString(arguments);
    EXPECT_THAT(ran.err, HasSubstr("weir: ")) << testing::PrintToString(arguments);
  }
}

TEST(App, SaysWhereTheCommandOfTakeGoes) {
  EXPECT_THAT(run("", {"take", "x", "ls"}).err, HasSubstr("weir take NAME -- COMMAND"));
}

TEST(App, EscapesWhatItQuotesBack) {
  EXPECT_THAT(run("", {"\x1b[2J"}).err, testing::Not(HasSubstr("\x1b")));
}

TEST(App, GlobalOptionsMayFollowTheCommand) {
  FakeAgent agent;

  const Ran ran = run("", {"list", "--names", "--runtime-dir", agent.dir()});

  EXPECT_EQ(ran.out, "/api/order\n/api/pay\n");
}

TEST(App, ColorsOnlyWhenAskedOrOnATerminal) {
  FakeAgent agent;

  EXPECT_THAT(run(agent.dir(), {"list"}).out, testing::Not(HasSubstr("\x1b[")));
  EXPECT_THAT(run(agent.dir(), {"list", "--color", "always"}).out, HasSubstr("\x1b[1m"));
}

TEST(App, WithoutUtf8PrintsAsciiAlone) {
  Answers answers;
  answers.limits = {make_limit("größe", 5)};
  FakeAgent agent{answers};

  for (const auto& command : std::vector<std::vector<std::string>>{
           {"list"}, {"show", "größe"}, {"top", "--once", "--samples", "1"}}) {
    const Ran ran = run(agent.dir(), command, false);
    EXPECT_EQ(ran.exit_code, 0);
    for (const char c : ran.out)
      EXPECT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f)) << ran.out;
  }
}

}  // namespace
}  // namespace weir::cli
