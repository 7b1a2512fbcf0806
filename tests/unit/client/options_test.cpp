// Every function of weir.h, handed what it must refuse.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/unit/client/lone_client.h"

namespace weir::client_test {
namespace {

weir_limit_options limit_options(std::int32_t mode, std::uint64_t amount, std::uint64_t period_ns,
                                 std::uint64_t burst) {
  weir_limit_options options{};
  options.struct_bytes = sizeof(options);
  options.mode = mode;
  options.amount = amount;
  options.period_ns = period_ns;
  options.burst = burst;
  return options;
}

TEST(Open, RefusesBadOptionsAndLeavesTheHandleAlone) {
  const std::string too_long(108, 'x');
  struct Case {
    const char* what;
    std::uint32_t struct_bytes;
    const char* socket_path;
  };
  const Case cases[] = {
      {"struct_bytes 0", 0, nullptr},
      {"struct_bytes that do not hold struct_bytes", 3, nullptr},
      {"a socket path of 108 bytes", sizeof(weir_options), too_long.c_str()},
  };
  for (const Case& c : cases) {
    int mark = 0;
    auto* const untouched = reinterpret_cast<weir_client*>(&mark);
    weir_client* client = untouched;
    weir_options options{};
    options.struct_bytes = c.struct_bytes;
    options.socket_path = c.socket_path;

    EXPECT_EQ(weir_open(&options, &client), WEIR_E_INVALID) << c.what;
    EXPECT_EQ(client, untouched) << c.what;
  }
  EXPECT_EQ(weir_open(nullptr, nullptr), WEIR_E_INVALID);
}

TEST(Open, AcceptsASocketPathOfTheGreatestLength) {
  const std::string longest = "/" + std::string(106, 'x');
  weir_options options{};
  options.struct_bytes = sizeof(options);
  options.socket_path = longest.c_str();
  weir_client* client = nullptr;

  ASSERT_EQ(weir_open(&options, &client), WEIR_OK);
  weir_close(client);
}

TEST(Open, FailsWithoutAnAgentOnlyWhereOneIsDemanded) {
  weir_options options{};
  options.struct_bytes = sizeof(options);
  options.socket_path = kNoSocket;
  options.connect_timeout_ms = 1;
  options.require_agent = 1;
  weir_client* client = nullptr;

  EXPECT_EQ(weir_open(&options, &client), WEIR_E_NO_AGENT);
  EXPECT_EQ(client, nullptr);
}

TEST(LimitGet, RefusesBadNamesAndOptions) {
  const LoneClient client;
  const std::string longest(127, 'n');
  const std::string too_long(128, 'n');
  constexpr std::uint64_t kBurstMax = 1ULL << 40;
  struct Case {
    const char* what;
    const char* name;
    weir_limit_options options;
    weir_status expected;
  };
  weir_limit_options short_struct = limit_options(WEIR_MODE_OPEN, 0, 0, 0);
  short_struct.struct_bytes = 3;
  const std::vector<Case> cases = {
      {"no name", nullptr, limit_options(WEIR_MODE_OPEN, 0, 0, 0), WEIR_E_INVALID},
      {"an empty name", "", limit_options(WEIR_MODE_OPEN, 0, 0, 0), WEIR_E_INVALID},
      {"128 bytes of name", too_long.c_str(), limit_options(WEIR_MODE_OPEN, 0, 0, 0),
       WEIR_E_INVALID},
      {"127 bytes of name", longest.c_str(), limit_options(WEIR_MODE_OPEN, 0, 0, 0), WEIR_OK},
      {"a mode below", "a", limit_options(-1, 0, 0, 0), WEIR_E_INVALID},
      {"a mode above", "a", limit_options(4, 0, 0, 0), WEIR_E_INVALID},
      {"local without an amount", "a", limit_options(WEIR_MODE_LOCAL, 0, 0, 1), WEIR_E_INVALID},
      {"a burst beyond 2^40", "a", limit_options(WEIR_MODE_LOCAL, 1, 0, kBurstMax + 1),
       WEIR_E_INVALID},
      {"a burst of 2^40", "b", limit_options(WEIR_MODE_LOCAL, 1, 0, kBurstMax), WEIR_OK},
      {"a struct that is too short", "a", short_struct, WEIR_E_INVALID},
      {"every mode: default", "c", limit_options(WEIR_MODE_DEFAULT, 0, 0, 0), WEIR_OK},
      {"every mode: closed", "d", limit_options(WEIR_MODE_CLOSED, 0, 0, 0), WEIR_OK},
  };
  for (const Case& c : cases) {
    weir_limit* limit = nullptr;

    EXPECT_EQ(weir_limit_get(client.get(), c.name, &c.options, &limit), c.expected) << c.what;
    EXPECT_EQ(limit != nullptr, c.expected == WEIR_OK) << c.what;
  }
  weir_limit* limit = nullptr;
  EXPECT_EQ(weir_limit_get(nullptr, "a", nullptr, &limit), WEIR_E_INVALID);
  EXPECT_EQ(weir_limit_get(client.get(), "a", nullptr, nullptr), WEIR_E_INVALID);
}

TEST(LimitGet, GivesTheSameHandleForTheSameNameAndKeepsTheFirstOptions) {
  const LoneClient client;
  weir_limit* first = client.slow("twice", 2);
  const weir_limit_options others = limit_options(WEIR_MODE_OPEN, 0, 0, 0);

  EXPECT_EQ(client.limit("twice", &others), first);
  EXPECT_EQ(client.limit("twice"), first);
  EXPECT_NE(client.limit("other"), first);
  EXPECT_EQ(weir_try_acquire(first, 3), WEIR_DENY);  // still the burst of the first options
}

TEST(LimitGet, StopsAtItsNumberOfLimits) {
  constexpr int kLimitsMax = 4096;
  const LoneClient client;
  const weir_limit_options options = limit_options(WEIR_MODE_OPEN, 0, 0, 0);
  weir_limit* limit = nullptr;
  for (int i = 0; i < kLimitsMax; ++i)
    ASSERT_EQ(weir_limit_get(client.get(), std::to_string(i).c_str(), &options, &limit), WEIR_OK);

  EXPECT_EQ(weir_limit_get(client.get(), "one more", &options, &limit), WEIR_E_LIMIT);
  EXPECT_EQ(weir_limit_get(client.get(), "17", &options, &limit), WEIR_OK);
}

TEST(Calls, RefuseNullAndZeroAndUnknownClasses) {
  const LoneClient client;
  weir_limit* limit = client.slow("calls", 5);
  std::uint64_t word = 0;
  weir_limit_info info{};
  weir_wait wait{};
  struct Case {
    const char* what;
    weir_status status;
  };
  const Case cases[] = {
      {"try_acquire null", weir_try_acquire(nullptr, 1)},
      {"try_acquire 0", weir_try_acquire(limit, 0)},
      {"try_acquire_class null", weir_try_acquire_class(nullptr, 1, WEIR_CRITICAL)},
      {"try_acquire_class 0", weir_try_acquire_class(limit, 0, WEIR_CRITICAL)},
      {"try_acquire_class class below", weir_try_acquire_class(limit, 1, -1)},
      {"try_acquire_class class above", weir_try_acquire_class(limit, 1, 4)},
      {"acquire null", weir_acquire(nullptr, 1, 0, &word)},
      {"acquire 0", weir_acquire(limit, 0, 0, &word)},
      {"acquire_class class", weir_acquire_class(limit, 1, 4, 0, nullptr)},
      {"wait_begin null limit", weir_wait_begin(nullptr, 1, WEIR_CRITICAL, 0, &wait, &word)},
      {"wait_begin null wait", weir_wait_begin(limit, 1, WEIR_CRITICAL, 0, nullptr, &word)},
      {"wait_begin 0", weir_wait_begin(limit, 0, WEIR_CRITICAL, 0, &wait, &word)},
      {"wait_begin class", weir_wait_begin(limit, 1, -1, 0, &wait, nullptr)},
      {"wait_poll after that", weir_wait_poll(&wait, &word)},
      {"wait_poll null", weir_wait_poll(nullptr, &word)},
      {"refund null", weir_refund(nullptr, 1)},
      {"refund 0", weir_refund(limit, 0)},
      {"drain null", weir_drain(nullptr, &word)},
      {"peek null", weir_peek(nullptr, &word)},
      {"peek to null", weir_peek(limit, nullptr)},
      {"retry_after null", weir_retry_after(nullptr, 1, &word)},
      {"retry_after 0", weir_retry_after(limit, 0, &word)},
      {"retry_after to null", weir_retry_after(limit, 1, nullptr)},
      {"limit_read null", weir_limit_read(nullptr, &info)},
      {"limit_read to null", weir_limit_read(limit, nullptr)},
      {"limit_read struct_bytes 0", weir_limit_read(limit, &info)},
      {"client_state null", weir_client_state(nullptr)},
      {"attach null", weir_attach(nullptr, 0)},
  };
  for (const Case& c : cases)
    EXPECT_EQ(c.status, WEIR_E_INVALID) << c.what;

  weir_wait_cancel(nullptr);
  weir_close(nullptr);
  std::uint64_t left = 0;
  EXPECT_EQ(weir_peek(limit, &left), WEIR_OK);
  EXPECT_EQ(left, 5U) << "a call that was invalid took tokens";
}

TEST(Text, IsThereForEveryStatus) {
  for (weir_status status = -100; status <= 100; ++status) {
    const char* text = weir_strerror(status);
    ASSERT_NE(text, nullptr) << status;
    EXPECT_NE(*text, '\0') << status;
    EXPECT_EQ(text, weir_strerror(status)) << "the text is not static";
    if (status >= WEIR_E_UNKNOWN && status <= WEIR_PENDING) {
      EXPECT_STRNE(text, weir_strerror(INT32_MIN)) << status << " has no text of its own";
    }
  }
  EXPECT_NE(weir_strerror(INT32_MAX), nullptr);
  const std::string version = std::to_string(WEIR_VERSION_MAJOR) + "." +
                              std::to_string(WEIR_VERSION_MINOR) + "." +
                              std::to_string(WEIR_VERSION_PATCH);
  EXPECT_EQ(weir_version(), version);
}

}  // namespace
}  // namespace weir::client_test
