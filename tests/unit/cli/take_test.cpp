// take without an agent: nothing is started that was not admitted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Take, StartsNothingWithoutAnAgent) {
  TemporaryDir dir;

  const Ran ran = run(dir.path(), {"take", "x", "--", "rm", "-rf"});

  EXPECT_EQ(ran.exit_code, 69);
  EXPECT_THAT(ran.command, IsEmpty());
  EXPECT_THAT(ran.err, HasSubstr("--allow-without-agent"));
}

TEST(Take, StartsTheCommandWithoutAnAgentWhenAllowed) {
  TemporaryDir dir;

  const Ran ran = run(
      dir.path(), {"take", "x", "--allow-without-agent", "--", "sh", "-c", "a b", "--help", "--"});

  EXPECT_EQ(ran.exit_code, 7);  // the command's own
  EXPECT_THAT(ran.command, ElementsAre("sh", "-c", "a b", "--help", "--"));
}

TEST(Take, SaysInJsonWhatItTook) {
  TemporaryDir dir;

  const Ran ran = run(dir.path(), {"-o", "json", "take", "x", "-n", "3", "--allow-without-agent"});

  const auto answer = nlohmann::json::parse(ran.out);
  EXPECT_EQ(answer["limit"], "x");
  EXPECT_EQ(answer["tokens"], 3);
  EXPECT_EQ(answer["admitted"], true);
  EXPECT_EQ(answer["shared"], false);
}

TEST(Take, RefusesWhatIsNoName) {
  TemporaryDir dir;

  const Ran ran =
      run(dir.path(), {"take", std::string(200, 'x'), "--allow-without-agent", "--", "true"});

  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.command, IsEmpty());
}

TEST(RunInPlace, HasTheExitCodesOfAShell) {
  std::ostringstream out;
  std::ostringstream err;
  const Context context{out, err, {}, Output::table, false, true, {true}};

  EXPECT_EQ(run_in_place(context, {"/nonexistent/program"}), 127);
  EXPECT_EQ(run_in_place(context, {"/"}), 126);
  EXPECT_THAT(err.str(), HasSubstr("cannot run '/nonexistent/program'"));
}

}  // namespace
}  // namespace weir::cli
