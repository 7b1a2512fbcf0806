// D1, D4, D5: no memory for a segment, no descriptors left, in the agent and in a client.
//
// Tried with these protections taken out, each of which fails here: accept() failing without a
// pause (the agent spins); a truncated answer taken for whole; its descriptors not closed.
#include <fcntl.h>
#include <sys/resource.h>

#include "tests/support/fixture.h"
#include "tests/support/raw_client.h"

namespace weir::test {
namespace {

// A file size limit is what makes fallocate of a memfd fail without root.
TEST(Resources, NoMemoryForASegmentIsACleanError) {
  Agent agent({.rules = rules_of({"name: /t, rate: 1/s"}),
               .limits = {{RLIMIT_FSIZE, 64 << 10}},
               .in_child = [] { ::signal(SIGXFSZ, SIG_IGN); }});
  agent.launch();
  EXPECT_EQ(agent.process().exit_code(), 70);
  EXPECT_NE(agent.log().find("no memory for a segment"), std::string::npos) << agent.log();
}

TEST(Resources, AnAgentWithoutDescriptorsServesThoseWhoAreAttachedAndDoesNotSpin) {
  Agent agent(
      {.rules = rules_of({"name: /t, rate: 2000/s, burst: 100"}), .limits = {{RLIMIT_NOFILE, 32}}});
  ASSERT_TRUE(agent.start());
  const Client client(agent.socket());
  ASSERT_EQ(client.status(), WEIR_OK);
  weir_limit* limit = client.limit("/t");
  std::vector<std::unique_ptr<RawClient>> many;
  for (int i = 0; i < 30; ++i)
    many.push_back(std::make_unique<RawClient>(agent.socket()));
  ASSERT_TRUE(eventually([&] { return agent.log().find("accept failed") != std::string::npos; }))
      << "its descriptors did not run out";

  // An agent that spins would use all of a CPU; one that ticks, a few percent of it. Idle
  // connections are dropped after a second, so they are renewed.
  const double cpu_before = cpu_seconds(agent.pid());
  const std::int64_t until = now_ns() + 1'000'000'000;
  std::uint64_t allowed = 0;
  while (now_ns() < until) {
    if (weir_try_acquire(limit, 1) == WEIR_ALLOW) ++allowed;
    const struct timespec pause { 0, 200'000 };
    ::nanosleep(&pause, nullptr);
  }
  EXPECT_GT(allowed, 200U) << "who was attached is not served";
  EXPECT_LT(cpu_seconds(agent.pid()) - cpu_before, 0.4) << "it spins";
  EXPECT_EQ(weir_client_state(client.get()), WEIR_OK);

  many.clear();
  EXPECT_TRUE(eventually([&] {
    RawClient late(agent.socket());
    return late.connected() && late.attach();
  })) << "it does not recover";
}

class Truncated : public ::testing::TestWithParam<int> {};

// With room for so many descriptors more: none, the socket alone, the socket and one segment.
TEST_P(Truncated, AClientWithoutDescriptorsOpensNothingAndLeaksNothing) {
  Agent agent({.rules = rules_of({"name: /t, rate: 1/s"})});
  ASSERT_TRUE(agent.start());
  const int fds = count_fds(::getpid());
  struct rlimit kept {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &kept), 0);
  // Descriptors have no holes here: the next one to be given is the limit's first.
  const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::close(next);
  std::vector<weir::shm::Fd> filler;
  struct rlimit small = kept;
  small.rlim_cur = static_cast<rlim_t>(next + 8);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &small), 0);
  for (int fd; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;)
    filler.emplace_back(fd);
  for (int i = 0; i < GetParam(); ++i)
    filler.pop_back();
  weir_status status;
  {
    const Client client(agent.socket());
    status = client.status();
  }
  filler.clear();
  ::setrlimit(RLIMIT_NOFILE, &kept);

  EXPECT_EQ(status, GetParam() < 3 ? WEIR_E_NO_MEMORY : WEIR_OK);
  EXPECT_EQ(count_fds(::getpid()), fds) << "a descriptor is left";
  EXPECT_EQ(Client(agent.socket()).status(), WEIR_OK);
}

INSTANTIATE_TEST_SUITE_P(RoomFor, Truncated, ::testing::Values(0, 1, 2, 3));

}  // namespace
}  // namespace weir::test
