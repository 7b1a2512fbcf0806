// C6. Calls marked [hot] in a signal handler, ten thousand times a second, over a storm of malloc:
// no deadlock, no allocation (malloc aborts inside the handler), errno as it was. The agent dies
// and comes back meanwhile, so that the handler mints and attaches, too.
//
// Tried with an allocation in refused(), and with an errno that is not kept in maintain(): fails.
#include <signal.h>
#include <sys/time.h>

#include <cerrno>
#include <cstdlib>
#include <new>

#include "tests/support/fixture.h"

namespace {
__attribute__((tls_model("initial-exec"))) thread_local volatile sig_atomic_t in_handler = 0;

void refuse_in_handler() {
  if (in_handler == 0) return;
  constexpr char kText[] = "an allocation inside the signal handler\n";
  (void)!::write(2, kText, sizeof(kText) - 1);
  ::abort();
}
}  // namespace

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void __libc_free(void*);
__attribute__((visibility("default"))) void* malloc(std::size_t size) noexcept {
  refuse_in_handler();
  return __libc_malloc(size);
}
__attribute__((visibility("default"))) void* calloc(std::size_t count, std::size_t size) noexcept {
  refuse_in_handler();
  return __libc_calloc(count, size);
}
__attribute__((visibility("default"))) void* realloc(void* old, std::size_t size) noexcept {
  refuse_in_handler();
  return __libc_realloc(old, size);
}
__attribute__((visibility("default"))) void free(void* old) noexcept {
  refuse_in_handler();
  __libc_free(old);
}
}

namespace weir::test {
namespace {

weir_client* the_client = nullptr;
weir_limit* the_limit = nullptr;
volatile std::uint64_t handled = 0, allowed = 0, failed = 0, errno_changed = 0;

void on_alarm(int) {
  in_handler = 1;
  const int kept = errno;
  errno = 4711;
  const weir_status status = weir_try_acquire(the_limit, 1);
  if (status == WEIR_ALLOW) allowed = allowed + 1;
  if (status < 0) failed = failed + 1;
  std::uint64_t number = 0;
  if (weir_try_acquire_class(the_limit, 2, WEIR_SHEDDABLE) == WEIR_ALLOW) weir_refund(the_limit, 2);
  weir_peek(the_limit, &number);
  weir_retry_after(the_limit, 3, &number);
  weir_limit_info info{};
  info.struct_bytes = sizeof(info);
  weir_limit_read(the_limit, &info);
  weir_client_state(the_client);
  if (errno != 4711) errno_changed = errno_changed + 1;
  handled = handled + 1;
  errno = kept;
  in_handler = 0;
}

void block(bool on) {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGALRM);
  ::sigprocmask(on ? SIG_BLOCK : SIG_UNBLOCK, &set, nullptr);
}

// Allocates and frees, and makes the same calls itself, until so many signals were handled.
void storm(std::uint64_t signals) {
  const std::uint64_t until = handled + signals;
  const std::int64_t hang = now_ns() + std::int64_t{kHangMs} * 1'000'000;
  std::vector<std::string> held(64);
  for (std::size_t i = 0; handled < until; ++i) {
    held[i % held.size()].assign(i * 37 % 5000, 'x');
    weir_try_acquire(the_limit, 1);
    ASSERT_LT(now_ns(), hang) << "the handler stands still";
  }
}

TEST(Signal, HotCallsAreSafeInAHandler) {
  Agent agent({.rules = rules_of({"name: /t, rate: 5000/s, burst: 100"})});
  ASSERT_TRUE(agent.start());
  const Client client(agent.socket());
  the_client = client.get();
  the_limit = client.limit("/t");
  ASSERT_NE(the_limit, nullptr);
  struct sigaction action {};
  action.sa_handler = on_alarm;
  action.sa_flags = SA_RESTART;
  ASSERT_EQ(::sigaction(SIGALRM, &action, nullptr), 0);
  const struct itimerval often {
    {0, 100}, { 0, 100 }
  };
  ASSERT_EQ(::setitimer(ITIMER_REAL, &often, nullptr), 0);

  storm(3000);
  block(true);
  agent.kill9();
  block(false);
  storm(6000);  // the heartbeat becomes stale, the handler mints
  block(true);
  ASSERT_TRUE(agent.start());
  block(false);
  storm(3000);
  const auto attached = [&] {
    block(true);
    const bool one = agent.clients() == 1;
    block(false);
    return one;
  };
  const std::int64_t hang = now_ns() + std::int64_t{kHangMs} * 1'000'000;
  while (!attached() && now_ns() < hang)
    storm(200);
  EXPECT_TRUE(attached()) << "nobody attached to the new agent";
  const struct itimerval never {};
  ::setitimer(ITIMER_REAL, &never, nullptr);

  EXPECT_GT(allowed, 0U);
  EXPECT_EQ(failed, 0U);
  EXPECT_EQ(errno_changed, 0U);
}

}  // namespace
}  // namespace weir::test
