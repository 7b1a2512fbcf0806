// rules check needs no agent; apply and diff send what they were given, once it is known to be
// good.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

using testing::HasSubstr;

constexpr const char* kGood = "version: 1\nlimits:\n  - name: /api/order\n    rate: 300/s\n";
constexpr const char* kBad = "version: 1\nlimits:\n  - name: x\n    rate: 5/q\n";

class Rules : public testing::Test {
 protected:
  std::string write(const std::string& text) {
    const std::string path = dir_.path() + "/rules.yaml";
    std::ofstream{path} << text;
    return path;
  }
  TemporaryDir dir_;
};

TEST_F(Rules, CheckTakesAGoodFile) {
  const Ran ran = run("/nonexistent", {"rules", "check", write(kGood)});

  EXPECT_EQ(ran.exit_code, 0) << ran.out;
  EXPECT_THAT(ran.out, HasSubstr("ok, 1 limit"));
}

TEST_F(Rules, CheckNamesTheLineOfAProblem) {
  const Ran ran = run("", {"rules", "check", write(kBad)});

  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.out, HasSubstr("rules.yaml:4:11: "));
}

TEST_F(Rules, CheckSaysItInJson) {
  const Ran ran = run("", {"rules", "check", write(kBad), "-o", "json"});

  const auto answer = nlohmann::json::parse(ran.out);
  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_EQ(answer["ok"], false);
  EXPECT_EQ(answer["problems"].size(), 1U);
}

TEST_F(Rules, CheckSaysThatAFileIsMissing) {
  EXPECT_EQ(run("", {"rules", "check", dir_.path() + "/none.yaml"}).exit_code, 1);
}

TEST_F(Rules, ApplyWithoutAFileAsksForAReload) {
  Answers answers;
  answers.apply.set_applied(true);
  answers.apply.add_changes("~ default /api/order: rate 300/s -> 400/s");
  FakeAgent agent{answers};

  const Ran ran = run(agent.dir(), {"rules", "apply"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  EXPECT_EQ(ran.out, "~ default /api/order: rate 300/s -> 400/s\napplied: 1 change\n");
  const auto request = agent.requests().at(0).apply();
  EXPECT_EQ(request.text(), "");
  EXPECT_FALSE(request.dry_run());
}

TEST_F(Rules, ApplySendsTheFileAndSavesIt) {
  Answers answers;
  answers.apply.set_applied(true);
  FakeAgent agent{answers};
  const std::string file = write(kGood);

  const Ran ran = run(agent.dir(), {"rules", "apply", file, "--save"});

  EXPECT_EQ(ran.exit_code, 0) << ran.err;
  const auto request = agent.requests().at(0).apply();
  EXPECT_EQ(request.text(), kGood);
  EXPECT_EQ(request.file_name(), file);
  EXPECT_TRUE(request.write_file());
}

TEST_F(Rules, ApplyWithoutSaveSaysThatTheFileStays) {
  Answers answers;
  answers.apply.set_applied(true);
  FakeAgent agent{answers};

  const Ran ran = run(agent.dir(), {"rules", "apply", write(kGood)});

  EXPECT_FALSE(agent.requests().at(0).apply().write_file());
  EXPECT_THAT(ran.err, HasSubstr("--save"));
}

TEST_F(Rules, ApplyOfABrokenFileNeverReachesTheAgent) {
  FakeAgent agent;

  const Ran ran = run(agent.dir(), {"rules", "apply", write(kBad)});

  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.out, HasSubstr("rules.yaml:4:11: "));
  EXPECT_TRUE(agent.requests().empty());
}

TEST_F(Rules, ApplyPrintsTheProblemsThatTheAgentFinds) {
  Answers answers;
  answers.apply.add_problems("rules.yaml:3:1: unknown user 'x'");
  FakeAgent agent{answers};

  const Ran ran = run(agent.dir(), {"rules", "apply"});

  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.out, HasSubstr("error: rules.yaml:3:1: unknown user 'x'"));
  EXPECT_THAT(ran.err, HasSubstr("nothing was changed"));
}

TEST_F(Rules, SaveNeedsAFile) {
  FakeAgent agent;

  EXPECT_EQ(run(agent.dir(), {"rules", "apply", "--save"}).exit_code, 2);
  EXPECT_TRUE(agent.requests().empty());
}

TEST_F(Rules, DiffChangesNothing) {
  Answers answers;
  answers.apply.add_changes("+ default /api/new");
  FakeAgent agent{answers};
  const std::string file = write(kGood);

  const Ran ran = run(agent.dir(), {"rules", "diff", file});
  const Ran strict = run(agent.dir(), {"rules", "diff", file, "--exit-code"});

  EXPECT_EQ(ran.out, "+ default /api/new\n");
  EXPECT_EQ(ran.exit_code, 0);
  EXPECT_EQ(strict.exit_code, 1);
  EXPECT_TRUE(agent.requests().at(0).apply().dry_run());
}

TEST_F(Rules, NeedAnAgentToApply) {
  EXPECT_EQ(run("/nonexistent", {"rules", "apply", write(kGood)}).exit_code, 69);
}

}  // namespace
}  // namespace weir::cli
