// Taking tokens from a real agent: what only shared memory can show.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_agent.h"

namespace weir::cli {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kStartAttemptsMax = 1000;
constexpr int kStartWaitMs = 10;

// weir-agent in a directory of its own, stopped with the test.
class RealAgent {
 public:
  explicit RealAgent(const std::string& rules) {
    const std::string file = dir_.path() + "/rules.yaml";
    std::ofstream{file} << rules;
    const std::vector<std::string> words{
        WEIR_AGENT_PATH, "--runtime-dir", dir(), "--rules",     file,   "--http",
        "off",           "--clients-max", "8",   "--log-level", "error"};
    std::vector<char*> arguments;
    for (const std::string& word : words)
      arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::execv(arguments[0], arguments.data());
      ::_exit(127);
    }
    for (int i = 0; i < kStartAttemptsMax && run(dir(), {"status"}).exit_code != 0; ++i)
      ::poll(nullptr, 0, kStartWaitMs);
  }
  ~RealAgent() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  RealAgent(const RealAgent&) = delete;
  RealAgent& operator=(const RealAgent&) = delete;
  const std::string& dir() const { return dir_.path(); }

 private:
  TemporaryDir dir_;
  pid_t pid_ = -1;
};

constexpr const char* kRules = R"(version: 1
limits:
  - {name: two an hour, algorithm: fixed_window, window: 1h, limit: 2}
  - {name: off, rate: 0/s}
)";

TEST(TakeForReal, AdmitsWhileThereAreTokens) {
  RealAgent agent{kRules};

  EXPECT_EQ(run(agent.dir(), {"take", "two an hour"}).exit_code, 0);
  EXPECT_EQ(run(agent.dir(), {"take", "two an hour", "--", "job"}).exit_code, 7);
  const Ran refused = run(agent.dir(), {"take", "two an hour", "--", "job"});

  EXPECT_EQ(refused.exit_code, 75);
  EXPECT_THAT(refused.command, IsEmpty());
  EXPECT_THAT(refused.err, HasSubstr("1 token is likely in"));
}

// A misspelt name must not become a limit of this process that admits everything.
TEST(TakeForReal, FailsForANameThatTheAgentDoesNotKnow) {
  RealAgent agent{kRules};

  const Ran ran = run(agent.dir(), {"take", "two a hour", "--", "job"});

  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.command, IsEmpty());
  EXPECT_THAT(ran.err, HasSubstr("no limit 'two a hour'"));
}

TEST(TakeForReal, ALimitThatIsOffRefusesLikeAnEmptyOne) {
  RealAgent agent{kRules};

  const Ran ran = run(agent.dir(), {"take", "off"});

  EXPECT_EQ(ran.exit_code, 75);
  EXPECT_THAT(ran.err, HasSubstr("lets nothing pass"));
}

TEST(TakeForReal, MoreThanTheBucketHoldsIsAMistake) {
  RealAgent agent{kRules};

  const Ran ran = run(agent.dir(), {"take", "two an hour", "-n", "3"});

  EXPECT_EQ(ran.exit_code, 1);
  EXPECT_THAT(ran.err, HasSubstr("can never hold 3 tokens"));
}

}  // namespace
}  // namespace weir::cli
