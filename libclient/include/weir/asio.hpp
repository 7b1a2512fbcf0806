// weir/asio.hpp: waiting for tokens in Boost.Asio (1.81 or newer). The only header of weir that
// needs Boost.
//
//     weir::Acquired got = co_await weir::async_acquire(orders, 1, 50ms, use_awaitable);
//     if (got) handle_it();
//
// async_acquire(limit, n, timeout[, priority], token) completes as
//     void(boost::system::error_code, weir::Acquired)
// on the executor that is associated with the token's handler. The error code is set for a
// cancelled call alone (operation_aborted); a refusal is an answer, see Acquired. A wait that
// would be longer than the timeout is refused at once, with that wait as its answer.
//
// Nothing starts a thread. The calls of an execution context on one limit and class are served in
// the order in which they were made: the first of them has the process's place in the host's
// queue, the others stand behind it. So many waiting calls take a share of a scarce limit by the
// process, not by the call.
//
// Cancellation of every type takes the call out of the queue; tokens that came at the last moment
// go back. As everywhere in Asio, a cancellation must not be emitted while the handler's executor
// runs another part of the same chain: on a strand, or on a context run by one thread.
//
// The limit's client must outlive the calls and, for calls that never completed, the context.
#ifndef WEIR_ASIO_HPP
#define WEIR_ASIO_HPP

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/version.hpp>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

#include "weir/weir.hpp"

static_assert(BOOST_VERSION >= 108100, "weir/asio.hpp needs Boost 1.81 or newer");

namespace weir {
namespace detail {

using AsioClock = std::chrono::steady_clock;

struct WaitRequest {
  Limit limit;
  std::uint32_t tokens = 0;
  std::uint64_t timeout_ns = 0;
  Priority priority = Priority::critical;
};

// One waiting call. Everything here but the constructor and post_answer() is under the line's
// mutex, so that a context may be run by several threads.
class WaitCall : public std::enable_shared_from_this<WaitCall> {
 public:
  explicit WaitCall(const WaitRequest& request) noexcept : request_(request) {}
  virtual ~WaitCall() = default;
  WaitCall(const WaitCall&) = delete;
  WaitCall& operator=(const WaitCall&) = delete;

  const WaitRequest& request() const noexcept { return request_; }
  AsioClock::time_point deadline() const noexcept { return deadline_; }
  std::chrono::nanoseconds waited() const noexcept { return AsioClock::now() - began_; }
  std::chrono::nanoseconds left() const noexcept {
    return deadline_ == AsioClock::time_point::max() ? kForever : deadline_ - AsioClock::now();
  }
  bool answered() const noexcept { return answered_; }
  Wait& wait() noexcept { return wait_; }

  // Wakes the call's line at `when`, on this call's executor.
  virtual void arm(AsioClock::time_point when) = 0;
  virtual void disarm() = 0;

  void answer(boost::system::error_code error, Acquired acquired) {
    answered_ = true;
    wait_.cancel();
    disarm();
    post_answer(error, acquired);
  }

 protected:
  virtual void post_answer(boost::system::error_code error, Acquired acquired) = 0;

 private:
  static AsioClock::time_point deadline_of(AsioClock::time_point now,
                                           std::uint64_t timeout_ns) noexcept {
    const auto room = (AsioClock::time_point::max() - now).count();
    if (timeout_ns > static_cast<std::uint64_t>(room)) return AsioClock::time_point::max();
    return now + std::chrono::nanoseconds(static_cast<std::int64_t>(timeout_ns));
  }

  const WaitRequest request_;
  const AsioClock::time_point began_ = AsioClock::now();
  const AsioClock::time_point deadline_ = deadline_of(began_, request_.timeout_ns);
  Wait wait_;  // begun when the call is the first of its line
  bool answered_ = false;
};

using WaitCallPtr = std::shared_ptr<WaitCall>;

// The calls of one limit and class, first come first served.
class WaitLine {
 public:
  bool empty() const noexcept { return calls_.empty(); }

  void join(const WaitCallPtr& call) {
    if (calls_.empty()) {
      calls_.push_back(call);
      return serve();
    }
    const WaitRequest& request = call->request();
    if (const std::uint64_t would = estimate(request); would > request.timeout_ns)
      return call->answer({}, to_acquired(WEIR_DENY, would));
    calls_.push_back(call);
    call->arm(call->deadline());
  }

  // The timer of one of the calls has run out: the first one's to poll, another's to give up.
  void wake(const WaitCallPtr& call) {
    if (call->answered()) return;
    if (call == calls_.front()) return serve();
    if (AsioClock::now() < call->deadline()) return call->arm(call->deadline());
    remove(call);
    call->answer({}, waited_in_vain(*call));
  }

  void cancel(const WaitCallPtr& call) {
    if (call->answered()) return;
    const bool was_first = call == calls_.front();
    remove(call);
    call->answer(boost::asio::error::operation_aborted, waited_in_vain(*call));
    if (was_first) serve();
  }

  void abandon() noexcept {
    for (const WaitCallPtr& call : calls_)
      call->wait().cancel();
    calls_.clear();
  }

 private:
  static Acquired waited_in_vain(const WaitCall& call) noexcept {
    Acquired acquired;
    acquired.waited_or_would_wait = call.waited();
    return acquired;
  }

  // Answers calls from the front for as long as the limit does.
  void serve() {
    while (!calls_.empty()) {
      const WaitCallPtr first = calls_.front();
      const WaitRequest& request = first->request();
      const bool polled = first->wait().pending();
      if (polled) {
        first->wait().poll();
      } else {
        first->wait() = Wait(request.limit, request.tokens, first->left(), request.priority);
      }
      if (first->wait().pending()) {
        const AsioClock::time_point now = AsioClock::now();
        const auto after = first->wait().poll_after();
        return first->arm(after > first->deadline() - now ? first->deadline() : now + after);
      }
      calls_.pop_front();
      const weir_status status = first->wait().status().code();
      const bool at_once = status != WEIR_ALLOW && !polled;
      const auto time = at_once ? first->wait().poll_after() : first->waited();
      Acquired acquired = to_acquired(status, 0);
      acquired.waited_or_would_wait = time;
      first->answer({}, acquired);
    }
  }

  // The least that a call which joins now would wait: for the calls before it, then for its own
  // tokens. A window may bring many tokens at its next edge, so of windows only whole ones count.
  std::uint64_t estimate(const WaitRequest& request) const noexcept {
    const LimitInfo info = request.limit.info();
    if (info.amount == 0 || info.period.count() <= 0) return 0;
    long double missing =
        static_cast<long double>(request.tokens) - static_cast<long double>(info.tokens);
    for (const WaitCallPtr& call : calls_)
      missing += static_cast<long double>(call->request().tokens);
    if (missing <= 0) return 0;
    const auto amount = static_cast<long double>(info.amount);
    const bool in_windows =
        info.algorithm == Algorithm::fixed_window || info.algorithm == Algorithm::sliding_window;
    const long double periods = in_windows ? std::floor((missing - 1) / amount) : missing / amount;
    const long double ns = periods * static_cast<long double>(info.period.count());
    return ns >= 9.2e18L ? UINT64_MAX : static_cast<std::uint64_t>(ns);
  }

  void remove(const WaitCallPtr& call) noexcept {
    for (auto it = calls_.begin(); it != calls_.end(); ++it)
      if (*it == call) {
        calls_.erase(it);
        return;
      }
  }

  std::deque<WaitCallPtr> calls_;
};

// All lines of one execution context.
class WaitService : public boost::asio::execution_context::service {
 public:
  using Place = std::pair<weir_limit*, Priority>;
  using key_type = WaitService;
  static inline boost::asio::execution_context::id id;

  explicit WaitService(boost::asio::execution_context& context) : service(context) {}

  // The line is forgotten when its last call has gone.
  template <class Act>
  void with_line(const WaitRequest& request, const Act& act) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (shut_) return;
    const Place place(request.limit.native_handle(), request.priority);
    const auto at = lines_.try_emplace(place).first;
    act(at->second);
    if (at->second.empty()) lines_.erase(at);
  }

 private:
  void shutdown() noexcept override {
    std::map<Place, WaitLine> abandoned;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      shut_ = true;
      abandoned.swap(lines_);
    }
    for (auto& [place, line] : abandoned)
      line.abandon();
  }

  std::mutex mutex_;
  std::map<Place, WaitLine> lines_;
  bool shut_ = false;
};

// The call with its handler: a timer on the handler's executor, and the answer posted to it.
template <class Handler>
class HandledWaitCall final : public WaitCall {
 public:
  using Executor = boost::asio::associated_executor_t<Handler>;
  static_assert(!std::is_same_v<Executor, boost::asio::system_executor>,
                "bind the handler to an executor (boost::asio::bind_executor): without one it "
                "would run on Asio's own threads");

  HandledWaitCall(Handler handler, const WaitRequest& request)
      : WaitCall(request),
        handler_(std::move(handler)),
        work_(boost::asio::get_associated_executor(handler_)),
        timer_(work_.get_executor()),
        service_(service_of(work_.get_executor())) {}

  void start() {
    const auto self = this->shared_from_this();
    auto slot = boost::asio::get_associated_cancellation_slot(handler_);
    if (slot.is_connected()) slot.assign(Canceller{self});
    service_.with_line(this->request(), [&](WaitLine& line) { line.join(self); });
  }

  void arm(AsioClock::time_point when) override {
    timer_.expires_at(when);
    Waker waker{this->shared_from_this(), &service_};
    timer_.async_wait(std::move(waker));
  }
  void disarm() override { timer_.cancel(); }

 private:
  static WaitService& service_of(const Executor& executor) {
    boost::asio::execution_context& context =
        boost::asio::query(executor, boost::asio::execution::context);
    return boost::asio::use_service<WaitService>(context);
  }

  struct Waker {
    WaitCallPtr call;
    WaitService* service;
    void operator()(boost::system::error_code error) const {
      if (!error) service->with_line(call->request(), [&](WaitLine& line) { line.wake(call); });
    }
  };
  // Weak: a slot may live longer than the call.
  struct Canceller {
    std::weak_ptr<WaitCall> call;
    void operator()(boost::asio::cancellation_type type) const {
      if (type == boost::asio::cancellation_type::none) return;
      if (const WaitCallPtr self = call.lock())
        static_cast<HandledWaitCall&>(*self).service_.with_line(
            self->request(), [&](WaitLine& line) { line.cancel(self); });
    }
  };
  struct Answer {
    std::shared_ptr<HandledWaitCall> call;
    boost::system::error_code error;
    Acquired acquired;
    void operator()() { call->deliver(error, acquired); }
  };

  // Never called before the initiating function has returned: posted, not dispatched.
  void post_answer(boost::system::error_code error, Acquired acquired) override {
    Answer answer{std::static_pointer_cast<HandledWaitCall>(this->shared_from_this()), error,
                  acquired};
    boost::asio::post(work_.get_executor(), std::move(answer));
  }

  void deliver(boost::system::error_code error, Acquired acquired) {
    auto slot = boost::asio::get_associated_cancellation_slot(handler_);
    if (slot.is_connected()) slot.clear();
    Handler handler(std::move(handler_));
    const auto work = std::move(work_);
    std::move(handler)(error, acquired);
  }

  Handler handler_;
  boost::asio::executor_work_guard<Executor> work_;
  boost::asio::basic_waitable_timer<AsioClock, boost::asio::wait_traits<AsioClock>, Executor>
      timer_;
  WaitService& service_;
};

// g++ 12 destroys some temporaries of a co_await expression twice: aggregates and lambdas with
// captures. This object has no members, and what travels beside it is trivial.
struct InitiateAcquire {
  template <class Handler>
  void operator()(Handler&& handler, WaitRequest request) const {
    using Call = HandledWaitCall<std::decay_t<Handler>>;
    std::make_shared<Call>(std::forward<Handler>(handler), request)->start();
  }
};
static_assert(std::is_trivially_destructible_v<WaitRequest>);

}  // namespace detail

// Takes n tokens of class `priority`, waiting in turn for at most `timeout`.
template <class Rep, class Period,
          BOOST_ASIO_COMPLETION_TOKEN_FOR(void(boost::system::error_code, Acquired)) Token>
auto async_acquire(Limit limit, std::uint32_t n, std::chrono::duration<Rep, Period> timeout,
                   Priority priority, Token&& token) {
  const detail::WaitRequest request{limit, n, detail::to_ns(timeout), priority};
  return boost::asio::async_initiate<Token, void(boost::system::error_code, Acquired)>(
      detail::InitiateAcquire(), token, request);
}

template <class Rep, class Period,
          BOOST_ASIO_COMPLETION_TOKEN_FOR(void(boost::system::error_code, Acquired)) Token>
auto async_acquire(Limit limit, std::uint32_t n, std::chrono::duration<Rep, Period> timeout,
                   Token&& token) {
  return async_acquire(limit, n, timeout, Priority::critical, std::forward<Token>(token));
}

}  // namespace weir

#endif  // WEIR_ASIO_HPP
