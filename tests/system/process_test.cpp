// C4, C5: what fork and exec make of a client.
//
// Tried without the fork handler: the child never gets a connection of its own and spends under its
// parent's (AChildAttaches). Tried without SOCK_CLOEXEC (NothingIsInherited). Both fail.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/fixture.h"

namespace weir::test {
namespace {

// Runs in a forked child, with a way to tell the parent something and to wait for its word.
class Child {
 public:
  template <class Body>
  explicit Child(const Body& body) {
    if (::pipe(up_) != 0 || ::pipe(down_) != 0) std::abort();
    pid_ = ::fork();
    if (pid_ == 0) ::_exit(body(*this));
  }
  ~Child() {
    for (const int fd : {up_[0], up_[1], down_[0], down_[1]})
      ::close(fd);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  void tell_parent() { (void)!::write(up_[1], "x", 1); }
  void wait_for_parent() {
    char byte;
    (void)!::read(down_[0], &byte, 1);
  }
  void wait_for_child() {
    char byte;
    (void)!::read(up_[0], &byte, 1);
  }
  int let_end() {
    (void)!::write(down_[1], "x", 1);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  pid_t pid() const { return pid_; }

 private:
  int up_[2], down_[2];
  pid_t pid_ = -1;
};

struct ProcessTest : ::testing::Test {
  Agent agent{{.rules = rules_of({"name: /t, rate: 100/s, burst: 100"})}};
  void SetUp() override { ASSERT_TRUE(agent.start()); }
};

TEST_F(ProcessTest, AChildSpendsFromTheSameBucketAndItsEndLeavesTheParentAttached) {
  const Client client(agent.socket());
  weir_limit* limit = client.limit("/t");
  Child child([&](Child& self) {
    const bool allowed = weir_try_acquire(limit, 1) == WEIR_ALLOW;
    const bool shared = info_of(limit).shared == 1;
    self.tell_parent();
    self.wait_for_parent();
    return allowed && shared ? 0 : 1;
  });
  child.wait_for_child();
  EXPECT_EQ(agent.clients(), 1U);
  EXPECT_EQ(child.let_end(), 0);

  EXPECT_EQ(weir_client_state(client.get()), WEIR_OK);
  EXPECT_EQ(agent.clients(), 1U);
  std::uint64_t taken = 0;
  weir_drain(limit, &taken);
  EXPECT_EQ(weir_acquire(limit, 5, 10'000'000'000, nullptr), WEIR_ALLOW) << "the queue is gone";
}

TEST_F(ProcessTest, AChildAttachesByItselfWhenItIsRefused) {
  const Client client(agent.socket());
  weir_limit* limit = client.limit("/t");
  Child child([&](Child& self) {
    const bool attached = eventually([&] {
      while (weir_try_acquire(limit, 1) == WEIR_ALLOW) {
      }
      return agent.clients() == 2;
    });
    const bool waited = weir_acquire(limit, 1, 10'000'000'000, nullptr) == WEIR_ALLOW;
    self.tell_parent();
    self.wait_for_parent();
    weir_close(client.get());  // the child's copy
    return attached && waited ? 0 : 1;
  });
  child.wait_for_child();
  EXPECT_EQ(agent.clients(), 2U);
  EXPECT_EQ(child.let_end(), 0);

  EXPECT_TRUE(eventually([&] { return agent.clients() == 1; }));
  EXPECT_EQ(weir_client_state(client.get()), WEIR_OK);
}

// A forked child may outlive its parent: the connection must not keep the parent alive.
TEST_F(ProcessTest, AParentIsReapedThoughItsChildLives) {
  const Client outer(agent.socket());
  Child parent([&](Child& self) {
    const Client client(agent.socket());
    weir_limit* limit = client.limit("/t");
    const pid_t grandchild = ::fork();
    if (grandchild == 0) {
      self.wait_for_parent();
      ::_exit(0);
    }
    const bool ok = weir_try_acquire(limit, 1) == WEIR_ALLOW;
    self.tell_parent();
    ::_exit(ok ? 0 : 1);
    return 1;
  });
  parent.wait_for_child();
  EXPECT_TRUE(eventually([&] { return agent.clients() == 1; }));
  EXPECT_EQ(parent.let_end(), 0);
}

TEST_F(ProcessTest, NothingIsInheritedOverExec) {
  const auto probe = [&](const std::string& name) {
    // Not by fork, whose handlers would close the connection: as posix_spawn does it.
    const std::string output = agent.dir() / name;
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), O_WRONLY | O_CREAT, 0600);
    std::string program = WEIR_BINARY_DIR "/tests/weir_worker", mode = "probe";
    char* const argv[] = {program.data(), mode.data(), nullptr};
    pid_t pid = -1;
    EXPECT_EQ(::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv, environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    int status = -1;
    ::waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
    return read_text(output);
  };
  const std::string before = probe("before");
  const Client client(agent.socket());
  ASSERT_EQ(weir_try_acquire(client.limit("/t"), 1), WEIR_ALLOW);

  EXPECT_EQ(probe("after"), before);
}

}  // namespace
}  // namespace weir::test
