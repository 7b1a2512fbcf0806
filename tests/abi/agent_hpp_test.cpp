// weir.hpp against a running agent.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/abi/running_agent.h"
#include "weir/weir.hpp"

namespace weir::abi_test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kPatience = 20s;

Client open_at(const RunningAgent& agent) {
  const std::string socket = agent.socket();
  return Client::open({.socket_path = socket.c_str(),
                       .label = "hpp test",
                       .connect_timeout = std::chrono::milliseconds(kAttachTimeoutMs),
                       .require_agent = true});
}

class HppWithAgent : public WithAgent {};

TEST_F(HppWithAgent, SharesABucketBetweenProcesses) {
  RunningAgent agent("  - {name: spend, rate: 1/h, burst: 20}\n");
  Client client = open_at(agent);
  const Limit limit = client.limit("spend", closed());
  ASSERT_TRUE(limit.info().shared);
  EXPECT_TRUE(limit.info().agent_alive);
  EXPECT_EQ(limit.info().burst, 20U);
  EXPECT_TRUE(client.attached());

  EXPECT_TRUE(limit.try_acquire(6));
  const pid_t child = ::fork();
  if (child == 0) {
    Client own = open_at(agent);
    ::_exit(own.limit("spend", closed()).try_acquire(7) && limit.try_acquire() ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;

  EXPECT_EQ(limit.drain(), 6U);
  EXPECT_FALSE(limit.try_acquire());
}

TEST_F(HppWithAgent, ARefundComesBackThroughTheAgent) {
  RunningAgent agent("  - {name: spend, rate: 1/h, burst: 20}\n");
  Client client = open_at(agent);
  const Limit limit = client.limit("spend", closed());
  Permit permit = limit.admit(20);
  ASSERT_TRUE(permit);

  // A refund fills the room that the last mint saw, so one that comes before the next tick is
  // void; a later one is not.
  bool back = false;
  while (!back && permit.tokens() > 0) {
    EXPECT_EQ(permit.refund(1), WEIR_OK);
    for (const auto until = Clock::now() + kPatience / 20; !back && Clock::now() < until;)
      back = limit.try_acquire();
  }

  EXPECT_TRUE(back);
  EXPECT_FALSE(limit.try_acquire());
}

TEST_F(HppWithAgent, WaitsInTheHostsQueueAndKeepsErrno) {
  // Slow enough for a sleep that ends by its time, and one that ends by the agent's wake.
  RunningAgent agent("  - {name: drip, rate: 25/s, burst: 5}\n");
  Client client = open_at(agent);
  const Limit limit = client.limit("drip", closed());
  (void)limit.drain();
  errno = 4711;

  const Acquired granted = limit.acquire(5, kPatience);
  const int after_wait = errno;
  const Acquired refused = limit.acquire(5, 1ms);

  EXPECT_TRUE(granted) << granted.status.message();
  EXPECT_GT(granted.waited_or_would_wait, 0ns);
  EXPECT_EQ(after_wait, 4711);
  EXPECT_FALSE(refused);
  EXPECT_GT(refused.waited_or_would_wait, 1ms);
  EXPECT_EQ(limit.acquire(6, kPatience).status, WEIR_E_TOO_LARGE);
}

TEST_F(HppWithAgent, KeepsTheBoundWithWaitersAndSpenders) {
  constexpr std::uint64_t kRate = 2'000, kBurst = 10;
  RunningAgent agent("  - {name: drip, rate: 2000/s, burst: 10}\n");
  Client client = open_at(agent);
  const Limit limit = client.limit("drip", closed());
  ASSERT_TRUE(limit.info().shared);
  const auto began = Clock::now();
  std::atomic<std::uint64_t> admitted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      while (Clock::now() - began < 200ms)
        if (t % 2 == 0 ? limit.try_acquire() : limit.acquire(1, 50ms).ok) admitted.fetch_add(1);
    });
  for (std::thread& thread : threads)
    thread.join();
  const auto ran_ns =
      static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - began).count());

  EXPECT_LE(admitted.load(), kBurst + kRate * ran_ns / 1'000'000'000 + 1);
  EXPECT_GT(admitted.load(), kBurst);
}

TEST_F(HppWithAgent, AttachesWhenTheAgentComesAndLivesOnWhenItGoes) {
  RunningAgent agent("  - {name: spend, rate: 1/h, burst: 20}\n");
  agent.stop();
  const std::string socket = agent.socket();
  Client client = Client::open({.socket_path = socket.c_str()});
  const Limit limit = client.limit("spend", local(1, 1h, 2));
  EXPECT_FALSE(limit.info().shared);
  EXPECT_TRUE(limit.try_acquire());

  agent.start();
  EXPECT_EQ(client.attach(kPatience), WEIR_OK) << agent.log();
  ASSERT_TRUE(limit.info().shared);
  EXPECT_TRUE(limit.try_acquire(15));

  agent.stop(SIGKILL);
  for (const auto until = Clock::now() + kPatience;
       limit.info().agent_alive && Clock::now() < until;)
    std::this_thread::yield();
  EXPECT_FALSE(limit.info().agent_alive);
  EXPECT_EQ(client.state(), WEIR_E_NO_AGENT);
  EXPECT_TRUE(limit.try_acquire(5)) << "what was there is gone with the agent";
}

}  // namespace
}  // namespace weir::abi_test
