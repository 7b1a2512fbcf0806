// async_acquire over buckets of this process. Orders and answers are what is tested, not times:
// the tests wait for events, and every wait has an end of its own.
#include "weir/asio.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "weir/weir.hpp"

namespace weir {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using boost::system::error_code;

constexpr auto kAges = std::chrono::hours(1'000'000);

struct Answer {
  error_code error;
  Acquired acquired;
};

class AsioTest : public ::testing::Test {
 protected:
  Limit dry(const char* name, std::uint64_t amount, std::chrono::nanoseconds period,
            std::uint64_t burst = 1) {
    const Limit limit = client_.limit(name, local(amount, period, burst));
    (void)limit.drain();
    return limit;
  }
  // Starts a call whose answer is appended to answers_ with its number.
  void start(int number, Limit limit, std::uint32_t n, std::chrono::nanoseconds timeout,
             Priority priority = Priority::critical) {
    async_acquire(limit, n, timeout, priority,
                  asio::bind_executor(io_.get_executor(),
                                      [this, number](error_code error, Acquired acquired) {
                                        order_.push_back(number);
                                        answers_.push_back({error, acquired});
                                      }));
  }

  Client client_ = Client::open({.socket_path = "/proc/weir-no-agent.sock"});
  asio::io_context io_;
  std::vector<int> order_;
  std::vector<Answer> answers_;
};

asio::awaitable<void> take(Limit limit, std::uint32_t n, std::chrono::nanoseconds timeout,
                           std::optional<Acquired>& out) {
  out = co_await async_acquire(limit, n, timeout, asio::use_awaitable);
}

TEST_F(AsioTest, ACoroutineGetsItsTokens) {
  const Limit limit = client_.limit("there", local(1, kAges, 3));
  std::optional<Acquired> got;

  asio::co_spawn(io_, take(limit, 3, 0ms, got), asio::detached);
  EXPECT_FALSE(got) << "completed inside its initiation";
  io_.run();

  ASSERT_TRUE(got);
  EXPECT_TRUE(got->ok);
}

TEST_F(AsioTest, ACoroutineWaitsForItsTokens) {
  const Limit limit = dry("minted", 500, 1s);
  std::optional<Acquired> got;

  asio::co_spawn(io_, take(limit, 1, 10s, got), asio::detached);
  io_.run();

  ASSERT_TRUE(got);
  EXPECT_TRUE(got->ok);
  EXPECT_GT(got->waited_or_would_wait, 0ns);
  EXPECT_LT(got->waited_or_would_wait, 10s);
}

TEST_F(AsioTest, AWaitThatWouldBeTooLongFailsAtOnceWithItsLength) {
  const Limit limit = dry("slow", 1, 1h);

  start(1, limit, 1, 30min);
  start(2, limit, 2, 30min);
  start(3, limit, 0, 30min);
  io_.run();

  ASSERT_EQ(answers_.size(), 3U);
  EXPECT_FALSE(answers_[0].error);
  EXPECT_EQ(answers_[0].acquired.status, WEIR_DENY);
  EXPECT_GT(answers_[0].acquired.waited_or_would_wait, 30min);
  EXPECT_EQ(answers_[1].acquired.status, WEIR_E_TOO_LARGE);
  EXPECT_EQ(answers_[2].acquired.status, WEIR_E_INVALID);
}

TEST_F(AsioTest, CallsAreServedInTheirOrder) {
  constexpr int kCalls = 40;
  const Limit limit = dry("queue", 2'000, 1s, 4);
  for (int i = 0; i < kCalls; ++i)
    start(i, limit, i % 4 == 0 ? 4 : 1, 20s);

  io_.run();

  ASSERT_EQ(order_.size(), static_cast<std::size_t>(kCalls));
  for (int i = 0; i < kCalls; ++i) {
    EXPECT_EQ(order_[static_cast<std::size_t>(i)], i);
    EXPECT_TRUE(answers_[static_cast<std::size_t>(i)].acquired.ok);
  }
}

TEST_F(AsioTest, ALaterCallIsToldTheWaitOfThoseBeforeIt) {
  const Limit limit = dry("behind", 1, 1h, 1);
  asio::cancellation_signal leave;
  async_acquire(
      limit, 1, kForever,
      asio::bind_cancellation_slot(
          leave.slot(), asio::bind_executor(io_.get_executor(), [](error_code, Acquired) {})));

  start(1, limit, 1, 90min);  // alone it would have to wait for an hour, so two
  io_.run_one();

  ASSERT_EQ(answers_.size(), 1U);
  EXPECT_FALSE(answers_[0].acquired.ok);
  EXPECT_GT(answers_[0].acquired.waited_or_would_wait, 90min);
  leave.emit(asio::cancellation_type::total);
  io_.run();
}

TEST_F(AsioTest, ALaterCallGivesUpAtItsDeadline) {
  // The rule says nothing about how long: the bucket is closed.
  const Limit limit = client_.limit("closed", closed());
  asio::cancellation_signal leave;
  async_acquire(
      limit, 1, kForever,
      asio::bind_cancellation_slot(
          leave.slot(), asio::bind_executor(io_.get_executor(), [](error_code, Acquired) {})));
  start(1, limit, 1, 5ms);

  while (answers_.empty())
    io_.run_one();

  EXPECT_EQ(answers_[0].acquired.status, WEIR_DENY);
  EXPECT_GE(answers_[0].acquired.waited_or_would_wait, 5ms);
  leave.emit(asio::cancellation_type::all);
  io_.run();
}

TEST_F(AsioTest, ACancelledCallLeavesTheQueueToTheNext) {
  const Limit limit = dry("cancel", 20, 1s, 4);
  asio::cancellation_signal signal;
  error_code error;
  async_acquire(limit, 4, kForever,
                asio::bind_cancellation_slot(
                    signal.slot(),
                    asio::bind_executor(io_.get_executor(), [&](error_code e, Acquired acquired) {
                      error = e;
                      EXPECT_FALSE(acquired.ok);
                    })));
  start(2, limit, 1, kForever);

  signal.emit(asio::cancellation_type::terminal);
  io_.run();

  EXPECT_EQ(error, asio::error::operation_aborted);
  ASSERT_EQ(order_, std::vector<int>{2});
  EXPECT_TRUE(answers_[0].acquired.ok);
  signal.emit(asio::cancellation_type::terminal);  // of a call that has completed
}

TEST_F(AsioTest, ACoroutineCanRaceItAgainstATimer) {
  using namespace asio::experimental::awaitable_operators;
  const Limit limit = client_.limit("race", closed());
  bool timer_won = false;

  const auto race = [](Limit closed_limit, bool& won) -> asio::awaitable<void> {
    asio::steady_timer timer(co_await asio::this_coro::executor, 2ms);
    const auto first = co_await (async_acquire(closed_limit, 1, kForever, asio::use_awaitable) ||
                                 timer.async_wait(asio::use_awaitable));
    won = first.index() == 1;
  };
  asio::co_spawn(io_, race(limit, timer_won), asio::detached);
  io_.run();

  EXPECT_TRUE(timer_won);
}

TEST_F(AsioTest, AnErrorIsThrownOrHandedOut) {
  const Limit limit = client_.limit("error", closed());
  asio::cancellation_signal signal;
  std::optional<error_code> error;

  const auto wait = [](Limit closed_limit,
                       std::optional<error_code>& out) -> asio::awaitable<void> {
    const auto [code, acquired] =
        co_await async_acquire(closed_limit, 1, kForever, asio::as_tuple(asio::use_awaitable));
    out = code;
    EXPECT_FALSE(acquired.ok);
  };
  asio::co_spawn(io_, wait(limit, error),
                 asio::bind_cancellation_slot(signal.slot(), asio::detached));
  io_.poll();
  signal.emit(asio::cancellation_type::terminal);
  io_.run();

  ASSERT_TRUE(error);
  EXPECT_EQ(*error, asio::error::operation_aborted);
}

TEST_F(AsioTest, ClassesAndLimitsDoNotWaitForEachOther) {
  const Limit limit = client_.limit("a", closed());
  const Limit other = client_.limit("b", local(1, kAges, 1));
  asio::cancellation_signal leave;
  async_acquire(
      limit, 1, kForever,
      asio::bind_cancellation_slot(
          leave.slot(), asio::bind_executor(io_.get_executor(), [](error_code, Acquired) {})));
  start(1, limit, 1, 0ms, Priority::sheddable);
  start(2, other, 1, 0ms);

  while (order_.size() < 2)
    io_.run_one();

  EXPECT_EQ(order_, (std::vector<int>{1, 2}));
  EXPECT_FALSE(answers_[0].acquired.ok);
  EXPECT_TRUE(answers_[1].acquired.ok);
  leave.emit(asio::cancellation_type::all);
  io_.run();
}

TEST_F(AsioTest, AContextThatEndsDropsTheCallsAndTheirHandlers) {
  const Limit limit = client_.limit("drop", closed());
  const auto token = std::make_shared<int>(0);
  {
    asio::io_context io;
    for (int i = 0; i < 3; ++i)
      async_acquire(limit, 1, kForever,
                    asio::bind_executor(io.get_executor(),
                                        [token](error_code, Acquired) { FAIL() << "called"; }));
    const auto wait = [](Limit l) -> asio::awaitable<void> {
      (void)co_await async_acquire(l, 1, kForever, asio::use_awaitable);
    };
    asio::co_spawn(io, wait(limit), asio::detached);
    io.poll();
    EXPECT_EQ(token.use_count(), 4);
  }
  EXPECT_EQ(token.use_count(), 1);
}

TEST_F(AsioTest, HandlersRunOnTheirOwnExecutor) {
  const Limit limit = dry("strand", 2'000, 1s);
  auto strand = asio::make_strand(io_);
  int on_strand = 0;
  for (int i = 0; i < 4; ++i)
    async_acquire(limit, 1, 10s, asio::bind_executor(strand, [&](error_code, Acquired acquired) {
                    EXPECT_TRUE(acquired.ok);
                    on_strand += strand.running_in_this_thread() ? 1 : 0;
                  }));

  io_.run();

  EXPECT_EQ(on_strand, 4);
}

TEST_F(AsioTest, AContextOfManyThreadsServesEachCallOnce) {
  constexpr int kCalls = 400;
  const Limit limit = client_.limit("threads", local(20'000, 1s, 50));
  asio::thread_pool pool(3);
  std::atomic<int> granted{0}, answered{0};
  const auto call = [](Limit l, std::atomic<int>& ok,
                       std::atomic<int>& all) -> asio::awaitable<void> {
    const Acquired acquired = co_await async_acquire(l, 1, 20s, asio::use_awaitable);
    ok += acquired.ok ? 1 : 0;
    ++all;
  };
  for (int i = 0; i < kCalls; ++i)
    asio::co_spawn(pool, call(limit, granted, answered), asio::detached);

  pool.join();

  EXPECT_EQ(answered.load(), kCalls);
  EXPECT_EQ(granted.load(), kCalls);
}

TEST_F(AsioTest, AFutureWorksToo) {
  const Limit limit = client_.limit("future", local(1, kAges, 1));
  std::thread runner;
  auto work = asio::make_work_guard(io_);

  auto future = asio::co_spawn(
      io_,
      [](Limit l) -> asio::awaitable<bool> {
        const Acquired acquired = co_await async_acquire(l, 1, 1s, asio::use_awaitable);
        co_return acquired.ok;
      }(limit),
      asio::use_future);
  runner = std::thread([&] { io_.run(); });

  EXPECT_TRUE(future.get());
  work.reset();
  runner.join();
}

}  // namespace
}  // namespace weir
