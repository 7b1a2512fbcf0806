// The scripts complete what the program has.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

using testing::HasSubstr;

class BashCompletion : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("bash -c 'exit 0' 2>/dev/null") != 0) GTEST_SKIP() << "there is no bash";
  }

  // What bash offers for a line whose last word is being typed. `weir` is a function that prints
  // the names of two limits and notes how it was called.
  std::string complete(const std::string& words) {
    std::ofstream{dir_.path() + "/script"}
        << run("", {"completion", "bash"}).out << "weir() { echo \"$@\" >" << dir_.path()
        << "/called; printf '%s\\n' /api/order "
        << "'with space'; }\n"
        << "COMP_WORDS=(" << words << "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))\n"
        << "_weir\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n";
    const std::string command = "bash --norc --noprofile " + dir_.path() + "/script 2>&1";
    std::FILE* pipe = ::popen(command.c_str(), "r");
    std::string out;
    std::array<char, 4096> chunk{};
    while (const std::size_t n = std::fread(chunk.data(), 1, chunk.size(), pipe))
      out.append(chunk.data(), n);
    ::pclose(pipe);
    return out;
  }
  std::string called() {
    std::ifstream file{dir_.path() + "/called"};
    std::string line;
    std::getline(file, line);
    return line;
  }

  TemporaryDir dir_;
};

TEST_F(BashCompletion, OffersEveryCommand) {
  const std::string offered = complete("weir ''");

  std::string expected;
  for (const std::string& name : command_names())
    EXPECT_THAT(offered, HasSubstr(name + "\n"));
}

TEST_F(BashCompletion, OffersTheNamesOfLimits) {
  EXPECT_EQ(complete("weir show /a"), "/api/order\n");
  EXPECT_EQ(complete("weir take -n 5 wi"), "with\\ space\n");
}

TEST_F(BashCompletion, AsksTheAgentThatTheLineNames) {
  (void)complete("weir --runtime-dir /x show ''");

  EXPECT_EQ(called(), "--runtime-dir /x list --names");
}

TEST_F(BashCompletion, OffersOptionsAndTheirValues) {
  EXPECT_EQ(complete("weir list --sort re"), "refused\n");
  EXPECT_EQ(complete("weir take --al"), "--allow-without-agent\n");
  EXPECT_EQ(complete("weir rules ap"), "apply\n");
  EXPECT_EQ(complete("weir rules apply --sa"), "--save\n");
}

TEST_F(BashCompletion, LeavesTheCommandOfTakeAlone) {
  EXPECT_EQ(complete("weir take x -- l"), "\n");
}

TEST(ZshCompletion, NamesEveryCommand) {
  const std::string script = run("", {"completion", "zsh"}).out;

  EXPECT_TRUE(script.starts_with("#compdef weir\n"));
  for (const std::string& name : command_names())
    EXPECT_THAT(script, HasSubstr("'" + name + ":"));
}

}  // namespace
}  // namespace weir::cli
