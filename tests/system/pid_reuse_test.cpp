// A process has died and another one has got its number before the agent looks: what the dead one
// held comes back, and what the other holds stays.
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <string>

#include "tests/support/fixture.h"
#include "weir/toolkit.h"

namespace weir::test {
namespace {

struct PidReuse : ::testing::Test {
  Agent agent{{}};

  void SetUp() override {
    const std::string id = std::to_string(::getuid());
    write_text(agent.rules_file(), "version: 1\ndomains: [{name: default, allow: {users: [" + id +
                                       "]}}]\nresources: [{name: db, concurrency: 9}]\n");
    ASSERT_TRUE(agent.start());
  }
  // As fork, with a number of our choice unless that is 0.
  static pid_t fork_as(pid_t number) {
    struct clone_args args {};
    args.exit_signal = SIGCHLD;
    args.set_tid = number == 0 ? 0 : reinterpret_cast<std::uintptr_t>(&number);
    args.set_tid_size = number == 0 ? 0 : 1;
    const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof(args)));
    if (pid == 0) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
  }
  // A child that enters so often and stays.
  pid_t spawn(int entries, pid_t number = 0) const {
    const pid_t pid = fork_as(number);
    if (pid != 0) return pid;
    const Client client(agent.socket());
    weir_resource* db = nullptr;
    if (client.status() != WEIR_OK || weir_resource_get(client.get(), "db", &db) != WEIR_OK)
      ::_exit(3);
    for (int i = 0; i < entries; ++i) {
      weir_entry entry{};
      if (weir_enter(db, WEIR_CRITICAL, &entry) != WEIR_ALLOW) ::_exit(4);
    }
    for (;;)
      ::pause();
  }
  // The kernel tells when a process started to a hundredth of a second: to the next but one.
  static void await_later_start() {
    constexpr long kTwoTicksNs = 20'000'000;
    struct timespec at {};
    ::clock_gettime(CLOCK_BOOTTIME, &at);
    at.tv_nsec = (at.tv_nsec / kTwoTicksNs + 2) * kTwoTicksNs;
    at.tv_sec += at.tv_nsec / 1'000'000'000;
    at.tv_nsec %= 1'000'000'000;
    ::clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &at, nullptr);
  }
  static void kill9(pid_t pid) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  std::uint64_t in_flight() const {
    const v1::ResourcesResponse shown = agent.resources();
    return shown.resources_size() == 1 ? shown.resources(0).in_flight() : UINT64_MAX;
  }
  // Reached, and kept for longer than the agent's looks are apart: that nothing more comes has no
  // event to wait for.
  bool stays(std::uint64_t entries) const {
    if (!eventually([&] { return in_flight() == entries; })) return false;
    for (int i = 0; i < 30; ++i) {
      ::usleep(20'000);
      if (in_flight() != entries) return false;
    }
    return true;
  }
};

TEST_F(PidReuse, WhileTheAgentStoodStill) {
  for (int round = 0; round < 3; ++round) {
    const pid_t first = spawn(2);
    ASSERT_TRUE(eventually([&] { return in_flight() == 2; }));
    agent.freeze();
    kill9(first);
    const pid_t second = spawn(3, first);
    if (second < 0 && errno == EPERM) GTEST_SKIP() << "may not choose the number of a process";
    ASSERT_EQ(second, first);
    // It has our descriptors; the one with which we look at ours is made up for by its socket.
    ASSERT_TRUE(eventually([&] { return count_fds(second) >= count_fds(::getpid()); }));
    agent.thaw();

    EXPECT_TRUE(stays(3)) << in_flight();
    kill9(second);
    EXPECT_TRUE(stays(0)) << in_flight();
  }
}

TEST_F(PidReuse, WhileThereWasNoAgent) {
  const pid_t first = spawn(2);
  ASSERT_TRUE(eventually([&] { return in_flight() == 2; }));
  agent.kill9();
  kill9(first);
  ASSERT_TRUE(agent.start());
  await_later_start();
  const pid_t second = spawn(3, first);
  if (second < 0 && errno == EPERM) GTEST_SKIP() << "may not choose the number of a process";
  ASSERT_EQ(second, first);

  EXPECT_TRUE(stays(3)) << in_flight();
  kill9(second);
  EXPECT_TRUE(stays(0)) << in_flight();
}

// The worst of it: the new agent finds a slot of the dead one, and a living process of its number,
// which is not even a client.
TEST_F(PidReuse, ByAProcessThatIsNoClientWhileThereWasNoAgent) {
  const pid_t first = spawn(2);
  ASSERT_TRUE(eventually([&] { return in_flight() == 2; }));
  agent.kill9();
  kill9(first);
  await_later_start();
  const pid_t other = fork_as(first);
  while (other == 0)
    ::pause();
  if (other < 0 && errno == EPERM) GTEST_SKIP() << "may not choose the number of a process";
  ASSERT_EQ(other, first);
  ASSERT_TRUE(agent.start());

  EXPECT_TRUE(stays(0)) << in_flight();
  kill9(other);
}

}  // namespace
}  // namespace weir::test
