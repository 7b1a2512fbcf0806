// No function of weir.h touches errno.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>

#include "tests/unit/client/lone_client.h"

namespace weir::client_test {
namespace {

constexpr int kMark = 4711;

// Whether `call` leaves errno as it was.
template <class Call>
bool keeps_errno(const Call& call) {
  errno = kMark;
  call();
  return errno == kMark;
}

TEST(Errno, IsLeftAloneByHotCalls) {
  const LoneClient client;
  weir_limit* limit = client.slow("errno", 3);
  weir_limit* closed = client.in_mode("closed", WEIR_MODE_CLOSED);
  std::uint64_t word = 0;
  weir_limit_info info{};
  info.struct_bytes = sizeof(info);

  // Refusals look for an agent now and then, which makes system calls that fail.
  EXPECT_TRUE(keeps_errno([&] {
    for (int i = 0; i < 1000; ++i)
      (void)weir_try_acquire(limit, 1);
  }));
  EXPECT_TRUE(keeps_errno([&] {
    for (int i = 0; i < 1000; ++i)
      (void)weir_try_acquire_class(closed, 1, WEIR_SHEDDABLE);
  }));
  EXPECT_TRUE(keeps_errno([&] { (void)weir_refund(limit, 1); }));
  EXPECT_TRUE(keeps_errno([&] { (void)weir_drain(limit, &word); }));
  EXPECT_TRUE(keeps_errno([&] { (void)weir_peek(limit, &word); }));
  EXPECT_TRUE(keeps_errno([&] { (void)weir_retry_after(limit, 1, &word); }));
  EXPECT_TRUE(keeps_errno([&] { (void)weir_limit_read(limit, &info); }));
  EXPECT_TRUE(keeps_errno([&] { (void)weir_client_state(client.get()); }));
  EXPECT_TRUE(keeps_errno([&] { (void)weir_strerror(-1); }));
  EXPECT_TRUE(keeps_errno([&] { (void)weir_version(); }));
}

TEST(Errno, IsLeftAloneByWaiting) {
  const LoneClient client;
  weir_limit* limit = client.local("wait", 1'000, 1'000'000'000, 1);
  weir_limit* dry = client.slow("dry", 1);
  (void)weir_try_acquire(dry, 1);
  weir_wait wait;
  std::uint64_t word = 0;

  EXPECT_TRUE(keeps_errno([&] {
    for (int i = 0; i < 5; ++i)
      (void)weir_acquire(limit, 1, 1'000'000'000, &word);
  }));
  EXPECT_TRUE(keeps_errno([&] { (void)weir_acquire(dry, 1, 0, &word); }));
  EXPECT_TRUE(keeps_errno([&] {
    (void)weir_wait_begin(dry, 1, WEIR_CRITICAL, UINT64_MAX, &wait, &word);
    (void)weir_wait_poll(&wait, &word);
    weir_wait_cancel(&wait);
  }));
}

TEST(Errno, IsLeftAloneBySetUp) {
  weir_options options{};
  options.struct_bytes = sizeof(options);
  options.socket_path = kNoSocket;
  weir_client* client = nullptr;
  weir_limit* limit = nullptr;

  EXPECT_TRUE(keeps_errno([&] { (void)weir_open(&options, &client); })) << "weir_open";
  EXPECT_TRUE(keeps_errno([&] { (void)weir_limit_get(client, "a", nullptr, &limit); }));
  EXPECT_TRUE(keeps_errno([&] { (void)weir_attach(client, 1); })) << "weir_attach";
  EXPECT_TRUE(keeps_errno([&] { weir_close(client); })) << "weir_close";
}

}  // namespace
}  // namespace weir::client_test
