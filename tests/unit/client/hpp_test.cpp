// weir.hpp over buckets of this process: what its handles promise beyond the C functions.
#include "weir/weir.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

namespace weir {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

constexpr char kNoSocket[] = "/proc/weir-no-agent.sock";
constexpr auto kAges = std::chrono::hours(1'000'000);

Client lone_client() { return Client::open({.socket_path = kNoSocket}); }

// A Limit is a pointer; what is hot does not throw.
static_assert(std::is_trivially_copyable_v<Limit> && sizeof(Limit) == sizeof(void*));
static_assert(std::is_trivially_destructible_v<Options>);
static_assert(std::is_trivially_destructible_v<LimitOptions>);
static_assert(!std::is_copy_constructible_v<Client> && !std::is_copy_constructible_v<Permit> &&
              !std::is_copy_constructible_v<Wait>);
static_assert(std::is_nothrow_move_constructible_v<Client> &&
              std::is_nothrow_move_assignable_v<Client>);
static_assert(std::is_nothrow_move_constructible_v<Permit> &&
              std::is_nothrow_move_assignable_v<Permit>);
static_assert(noexcept(std::declval<Limit>().try_acquire()));
static_assert(noexcept(std::declval<Limit>().admit()));
static_assert(noexcept(std::declval<Limit>().acquire(1, std::declval<std::chrono::seconds>())));
static_assert(noexcept(std::declval<Limit>().info()));
static_assert(noexcept(std::declval<Permit>().refund()));

TEST(HppClient, ThrowsOrAnswersTheSameError) {
  const Options demanding{.socket_path = kNoSocket, .connect_timeout = 1ms, .require_agent = true};

  const Result<Client> refused = Client::try_open(demanding);

  EXPECT_FALSE(refused);
  EXPECT_EQ(refused.status(), WEIR_E_NO_AGENT);
  try {
    (void)Client::open(demanding);
    FAIL() << "opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), WEIR_E_NO_AGENT);
    EXPECT_STREQ(error.what(), weir_strerror(WEIR_E_NO_AGENT));
  }
  EXPECT_EQ(Client::try_open({.connect_timeout = -1ms}).status(), WEIR_E_INVALID);
}

TEST(HppClient, OpensWithoutAnAgentAndSaysSo) {
  Client client = lone_client();

  EXPECT_TRUE(client);
  EXPECT_FALSE(client.attached());
  EXPECT_EQ(client.state(), WEIR_E_NO_AGENT);
  EXPECT_EQ(client.attach(0s), WEIR_E_NO_AGENT);
  EXPECT_EQ(client.attach(1ns), WEIR_E_NO_AGENT);
}

TEST(HppClient, ALimitOutlivesTheMoveOfItsClient) {
  Client first = lone_client();
  const Limit limit = first.limit("moved", local(2, kAges));

  Client second = std::move(first);
  EXPECT_TRUE(limit.try_acquire());
  Client third;
  third = std::move(second);
  EXPECT_TRUE(limit.try_acquire());
  third = std::move(*&third);

  EXPECT_FALSE(limit.try_acquire());
  EXPECT_TRUE(third);
  EXPECT_FALSE(first);  // NOLINT: what a moved-from client does is the test
  EXPECT_EQ(first.state(), WEIR_E_INVALID);
  EXPECT_EQ(first.try_limit("x").status(), WEIR_E_INVALID);
}

TEST(HppClient, RefusesNamesThatTheAgentCouldNotHave) {
  Client client = lone_client();

  EXPECT_EQ(client.try_limit("").status(), WEIR_E_INVALID);
  EXPECT_EQ(client.try_limit(std::string(128, 'n')).status(), WEIR_E_INVALID);
  EXPECT_EQ(client.try_limit(std::string("a\0b", 3)).status(), WEIR_E_INVALID);
  EXPECT_TRUE(client.try_limit(std::string(127, 'n')));
  EXPECT_EQ(client.try_limit("p", local(1, 0s)).status(), WEIR_E_INVALID);
  EXPECT_EQ(client.try_limit("p", local(1, -1s)).status(), WEIR_E_INVALID);
  EXPECT_EQ(client.try_limit("p", local(0)).status(), WEIR_E_INVALID);
  EXPECT_THROW((void)client.limit(""), Error);
  EXPECT_EQ(client.limit("same"), client.limit("same"));
}

TEST(HppClient, ReadsANameUpToItsLengthOnly) {
  Client client = lone_client();
  const std::string text = "orders and more";

  EXPECT_EQ(client.limit(std::string_view(text).substr(0, 6)), client.limit("orders"));
}

TEST(HppLimit, AnEmptyHandleRefusesEverything) {
  const Limit none;

  EXPECT_FALSE(none);
  EXPECT_FALSE(none.try_acquire());
  EXPECT_FALSE(none.try_acquire(1, Priority::critical_plus));
  EXPECT_FALSE(none.admit());
  EXPECT_EQ(none.acquire(1, 1s).status, WEIR_E_INVALID);
  EXPECT_EQ(none.refund(1), WEIR_E_INVALID);
  EXPECT_EQ(none.drain(), 0U);
  EXPECT_EQ(none.peek(), 0U);
  EXPECT_EQ(none.retry_after(), kForever);
  EXPECT_EQ(none.info().burst, 0U);
  Wait wait(none, 1, 1s);
  EXPECT_EQ(wait.status(), WEIR_E_INVALID);
}

TEST(HppLimit, SpendsAndTells) {
  Client client = lone_client();
  const Limit limit = client.limit("spend", local(1, kAges, 10));

  EXPECT_TRUE(limit.try_acquire(4));
  EXPECT_TRUE(limit.try_acquire(1, Priority::sheddable));
  EXPECT_FALSE(limit.try_acquire(6));
  EXPECT_FALSE(limit.try_acquire(0));
  EXPECT_EQ(limit.peek(), 5U);
  EXPECT_EQ(limit.retry_after(5), 0ns);
  EXPECT_GT(limit.retry_after(6), 1h);
  EXPECT_EQ(limit.retry_after(11), kForever);
  const LimitInfo info = limit.info();
  EXPECT_EQ(info.algorithm, Algorithm::token_bucket);
  EXPECT_EQ(info.amount, 1U);
  EXPECT_EQ(info.period, kAges);
  EXPECT_EQ(info.burst, 10U);
  EXPECT_EQ(info.tokens, 5);
  EXPECT_FALSE(info.shared);
  EXPECT_FALSE(info.agent_alive);
  EXPECT_EQ(limit.drain(), 5U);
}

TEST(HppLimit, ModesWithoutAnAgent) {
  Client client = lone_client();

  EXPECT_TRUE(client.limit("o", open()).try_acquire(1000));
  EXPECT_FALSE(client.limit("c", closed()).try_acquire());
  EXPECT_TRUE(client.limit("by amount", {.amount = 1, .period = kAges}).try_acquire());
  EXPECT_FALSE(client.limit("by amount").try_acquire());
}

TEST(HppAcquire, AnswersWithTheWait) {
  Client client = lone_client();
  const Limit slow = client.limit("slow", local(1, 1h, 1));
  const Limit quick = client.limit("quick", local(500, 1s, 1));
  ASSERT_TRUE(slow.try_acquire());
  ASSERT_TRUE(quick.try_acquire());

  const Acquired refused = slow.acquire(1, 30min);
  EXPECT_FALSE(refused);
  EXPECT_EQ(refused.status, WEIR_DENY);
  EXPECT_GT(refused.waited_or_would_wait, 30min);
  EXPECT_LE(refused.waited_or_would_wait, 1h);
  EXPECT_EQ(slow.acquire(2, 30min).status, WEIR_E_TOO_LARGE);
  EXPECT_EQ(slow.acquire(1, -5s).status, WEIR_DENY);

  const Acquired granted = quick.acquire(1, 10s);
  EXPECT_TRUE(granted);
  EXPECT_TRUE(granted.ok);
  EXPECT_LT(granted.waited_or_would_wait, 10s);
}

TEST(HppDurations, SaturateInsteadOfWrapping) {
  EXPECT_EQ(detail::to_ns(0s), 0U);
  EXPECT_EQ(detail::to_ns(-1s), 0U);
  EXPECT_EQ(detail::to_ns(nanoseconds::min()), 0U);
  EXPECT_EQ(detail::to_ns(1ms), 1'000'000U);
  EXPECT_EQ(detail::to_ns(std::chrono::duration<double>(0.5)), 500'000'000U);
  EXPECT_EQ(detail::to_ns(std::chrono::duration<double, std::pico>(1)), 1U);
  EXPECT_EQ(detail::to_ns(std::chrono::duration<double>(NAN)), 0U);
  EXPECT_EQ(detail::to_ns(std::chrono::duration<double>(INFINITY)), UINT64_MAX);
  EXPECT_EQ(detail::to_ns(std::chrono::hours::max()), UINT64_MAX);
  EXPECT_EQ(detail::to_ns(kForever), UINT64_MAX);
  EXPECT_EQ(detail::from_ns(UINT64_MAX), kForever);
  EXPECT_EQ(detail::from_ns(17), 17ns);
}

TEST(HppPermit, HoldsItsTokensUntilTheyAreRefunded) {
  Client client = lone_client();
  const Limit limit = client.limit("permit", local(1, kAges, 10));

  Permit permit = limit.admit(4);
  ASSERT_TRUE(permit);
  EXPECT_EQ(permit.tokens(), 4U);
  (void)limit.drain();
  // A refund fills the room that the last mint saw. Refused calls mint, at most every 0.25 ms.
  for (const auto until = std::chrono::steady_clock::now() + 1ms;
       std::chrono::steady_clock::now() < until;)
    EXPECT_FALSE(limit.try_acquire());
  EXPECT_FALSE(limit.try_acquire());
  EXPECT_EQ(permit.refund(5), WEIR_E_INVALID);
  EXPECT_EQ(permit.refund(1), WEIR_OK);
  EXPECT_EQ(permit.tokens(), 3U);
  EXPECT_EQ(permit.refund(), WEIR_OK);
  EXPECT_EQ(permit.refund(), WEIR_OK);
  EXPECT_EQ(permit.tokens(), 0U);
  EXPECT_TRUE(permit);

  // What was refunded comes back with the next mint, once.
  std::uint32_t back = 0;
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (back < 4 && std::chrono::steady_clock::now() < until)
    back += limit.try_acquire() ? 1 : 0;
  EXPECT_EQ(back, 4U);
  EXPECT_FALSE(limit.try_acquire());
}

TEST(HppPermit, ItsEndGivesNothingBack) {
  Client client = lone_client();
  const Limit limit = client.limit("spent", local(1, kAges, 1));

  {
    const Permit permit = limit.admit(1, Priority::critical_plus);
    EXPECT_TRUE(permit);
  }

  EXPECT_FALSE(limit.admit());
}

TEST(HppPermit, MovedFromHoldsNothing) {
  Client client = lone_client();
  const Limit limit = client.limit("moved", local(1, kAges, 5));

  Permit first = limit.admit(2);
  Permit second = std::move(first);
  EXPECT_FALSE(first);  // NOLINT: what a moved-from permit does is the test
  EXPECT_EQ(first.tokens(), 0U);
  EXPECT_EQ(first.refund(), WEIR_OK);
  Permit third;
  EXPECT_FALSE(third);
  third = std::move(second);
  third = std::move(*&third);
  EXPECT_TRUE(third);
  EXPECT_EQ(third.tokens(), 2U);
}

TEST(HppPermit, ARefusedOneHoldsNothing) {
  Client client = lone_client();
  Permit permit = client.limit("closed", closed()).admit(3);

  EXPECT_FALSE(permit);
  EXPECT_EQ(permit.status(), WEIR_DENY);
  EXPECT_EQ(permit.tokens(), 0U);
  EXPECT_EQ(permit.refund(), WEIR_OK);
}

TEST(HppWait, IsPolledAndMovedAndCancelled) {
  Client client = lone_client();
  const Limit limit = client.limit("wait", local(500, 1s, 1));
  ASSERT_TRUE(limit.try_acquire());

  Wait first(limit, 1, 10s);
  Wait second = std::move(first);
  EXPECT_FALSE(first.pending());  // NOLINT: what a moved-from wait does is the test
  while (second.poll() == WEIR_PENDING)
    EXPECT_GT(second.poll_after(), 0ns);
  EXPECT_EQ(second.status(), WEIR_ALLOW);

  const Limit dry = client.limit("dry", local(1, kAges, 1));
  ASSERT_TRUE(dry.try_acquire());
  Wait endless(dry, 1, kForever);
  EXPECT_TRUE(endless.pending());
  endless = Wait();
  EXPECT_EQ(endless.status(), WEIR_DENY);
}

}  // namespace
}  // namespace weir
