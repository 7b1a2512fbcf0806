// A weir-agent of the test's own, in a directory of its own. It dies with the test.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

namespace weir::abi_test {

inline constexpr std::uint32_t kAttachTimeoutMs = 20'000;

class RunningAgent {
 public:
  static bool is_built() { return ::access(kBinary, X_OK) == 0; }

  explicit RunningAgent(const std::string& limits) {
    char pattern[] = "/tmp/weir-abi-test-XXXXXX";
    dir_ = ::mkdtemp(pattern);
    std::ofstream(dir_ + "/rules.yaml") << "version: 1\nlimits:\n" << limits;
    start();
  }
  ~RunningAgent() {
    stop();
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  RunningAgent(const RunningAgent&) = delete;
  RunningAgent& operator=(const RunningAgent&) = delete;

  const std::string& dir() const { return dir_; }
  std::string socket() const { return dir_ + "/agent.sock"; }
  std::string log() const {
    std::ostringstream text;
    text << std::ifstream(dir_ + "/log").rdbuf();
    return text.str();
  }

  void start() {
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    const int log = ::open((dir_ + "/log").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    ::execl(kBinary, kBinary, "--runtime-dir", dir_.c_str(), "--rules",
            (dir_ + "/rules.yaml").c_str(), "--http", "off", nullptr);
    ::_exit(127);
  }
  void stop(int signal = SIGTERM) {
    if (pid_ <= 0) return;
    ::kill(pid_, signal);
    // An agent that does not go is the subject of other tests; here it must not keep us.
    for (int i = 0; i < 10'000 && ::waitpid(pid_, nullptr, WNOHANG) == 0; ++i) {
      if (i == 5'000) ::kill(pid_, SIGKILL);
      ::usleep(1'000);
    }
    pid_ = -1;
  }

 private:
  static constexpr char kBinary[] = WEIR_BINARY_DIR "/bin/weir-agent";
  std::string dir_;
  pid_t pid_ = -1;
};

// For tests that need one: skips with the reason where it was not built.
class WithAgent : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!RunningAgent::is_built()) GTEST_SKIP() << "bin/weir-agent is not built yet";
  }
};

}  // namespace weir::abi_test
