#include "daemon/log/limiter.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace weir {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;
constexpr std::uint64_t kStartNs = 500 * kSecondNs;

int written_of(LogLimiter& limiter, std::string_view key, int messages, std::uint64_t now_ns) {
  int written = 0;
  for (int i = 0; i < messages; ++i) {
    if (limiter.admit(key, now_ns)) ++written;
  }
  return written;
}

TEST(LogLimiter, FivePassAtOnceThenOneInTenSeconds) {
  LogLimiter limiter;

  EXPECT_EQ(written_of(limiter, "key", 1'000, kStartNs), 5);
  EXPECT_EQ(written_of(limiter, "key", 1'000, kStartNs + 9 * kSecondNs), 0);
  EXPECT_EQ(written_of(limiter, "key", 1'000, kStartNs + 10 * kSecondNs), 1);
  EXPECT_EQ(written_of(limiter, "key", 1'000, kStartNs + 20 * kSecondNs), 1);
  EXPECT_EQ(written_of(limiter, "key", 1'000, kStartNs + 120 * kSecondNs), 5);
}

TEST(LogLimiter, TheNextMessageSaysWhatWasSuppressed) {
  LogLimiter limiter;
  written_of(limiter, "key", 17, kStartNs);

  const auto first = limiter.admit("key", kStartNs + 10 * kSecondNs);
  const auto second = limiter.admit("key", kStartNs + 20 * kSecondNs);

  EXPECT_EQ(first.suppressed, 12U);
  EXPECT_EQ(first.suffix(), " (suppressed 12 similar)");
  EXPECT_EQ(second.suffix(), "");
  EXPECT_EQ(limiter.suppressed_total(), 12U);
}

TEST(LogLimiter, KeysDoNotDisturbEachOther) {
  LogLimiter limiter;
  written_of(limiter, "loud", 1'000, kStartNs);

  EXPECT_EQ(written_of(limiter, "quiet", 1, kStartNs), 1);
}

TEST(LogLimiter, WorksFromTheFirstNanosecondOfAClock) {
  LogLimiter limiter;

  EXPECT_EQ(written_of(limiter, "key", 10, 0), 5);
}

// A client that invents a key for each message must not get five lines for each.
TEST(LogLimiter, InventedKeysShareOnePlace) {
  LogLimiter limiter;
  int written = 0;
  for (int i = 0; i < 10'000; ++i) {
    written += written_of(limiter, "key" + std::to_string(i), 5, kStartNs);
  }

  EXPECT_EQ(written, 5 * (static_cast<int>(LogLimiter::kKeysMax) + 1));
  EXPECT_EQ(written_of(limiter, "new", 5, kStartNs + 60 * kSecondNs), 5);
}

TEST(LogLimiter, AClockSetBackDoesNotSilenceAKeyForEver) {
  LogLimiter limiter;
  written_of(limiter, "key", 10, kStartNs);

  EXPECT_EQ(written_of(limiter, "key", 10, 1 * kSecondNs), 5);
}

}  // namespace
}  // namespace weir
