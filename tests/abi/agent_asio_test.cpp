// async_acquire against a running agent.
#include <gtest/gtest.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "tests/abi/running_agent.h"
#include "weir/asio.hpp"

namespace weir::abi_test {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using boost::system::error_code;

constexpr auto kPatience = 20s;

class AsioWithAgent : public WithAgent {
 protected:
  static Client open_at(const RunningAgent& agent) {
    const std::string socket = agent.socket();
    return Client::open({.socket_path = socket.c_str(),
                         .connect_timeout = std::chrono::milliseconds(kAttachTimeoutMs),
                         .require_agent = true});
  }
};

asio::awaitable<void> take(Limit limit, std::uint32_t n, int number, std::vector<int>& order) {
  const Acquired acquired = co_await async_acquire(limit, n, kPatience, asio::use_awaitable);
  EXPECT_TRUE(acquired.ok) << number << ": " << acquired.status.message();
  order.push_back(number);
}

TEST_F(AsioWithAgent, ServesManyCallsInTheirOrder) {
  constexpr int kCalls = 60;
  RunningAgent agent("  - {name: drip, rate: 1000/s, burst: 5}\n");
  Client client = open_at(agent);
  const Limit limit = client.limit("drip", closed());
  ASSERT_TRUE(limit.info().shared);
  (void)limit.drain();
  asio::io_context io;
  std::vector<int> order;
  for (int i = 0; i < kCalls; ++i)
    asio::co_spawn(io, take(limit, i % 5 == 0 ? 5 : 1, i, order), asio::detached);

  io.run();

  ASSERT_EQ(order.size(), static_cast<std::size_t>(kCalls));
  for (int i = 0; i < kCalls; ++i)
    EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST_F(AsioWithAgent, ACancelledCallLeavesTheHostsQueue) {
  RunningAgent agent("  - {name: slow, rate: 1/h, burst: 5}\n");
  Client client = open_at(agent);
  const Limit limit = client.limit("slow", closed());
  ASSERT_EQ(limit.drain(), 5U);
  asio::io_context io;
  asio::cancellation_signal signal;
  error_code error;
  async_acquire(
      limit, 5, kForever,
      asio::bind_cancellation_slot(
          signal.slot(),
          asio::bind_executor(io.get_executor(), [&](error_code e, Acquired) { error = e; })));
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (limit.info().owed == 0 && std::chrono::steady_clock::now() < until)
    io.run_for(1ms);
  EXPECT_EQ(limit.info().owed, 5U);

  signal.emit(asio::cancellation_type::terminal);
  io.restart();
  io.run();

  EXPECT_EQ(error, asio::error::operation_aborted);
  while (limit.info().owed != 0 && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
  EXPECT_EQ(limit.info().owed, 0U);
}

}  // namespace
}  // namespace weir::abi_test
