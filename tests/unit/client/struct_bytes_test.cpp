// Structs grow at their end. A program that was built against an older header passes shorter ones,
// one built against a newer header longer ones; both work.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/unit/client/lone_client.h"

namespace weir::client_test {
namespace {

constexpr unsigned char kCanary = 0xa5;

template <class T>
struct Newer {
  T known;
  std::uint64_t unknown[4];
};

TEST(StructBytes, AnOlderProgramsOptionsEndWhereTheyEnd) {
  struct Old {
    std::uint32_t struct_bytes;
    std::uint32_t connect_timeout_ms;
    const char* socket_path;
    unsigned char beyond[sizeof(weir_options)];
  } old{};
  std::memset(old.beyond, kCanary, sizeof(old.beyond));  // require_agent, were it read
  old.struct_bytes = offsetof(weir_options, require_agent);
  old.socket_path = kNoSocket;
  weir_client* client = nullptr;

  ASSERT_EQ(weir_open(reinterpret_cast<const weir_options*>(&old), &client), WEIR_OK);
  weir_close(client);
}

TEST(StructBytes, NothingButTheSizeIsEnough) {
  const LoneClient client;
  weir_limit_options options;
  std::memset(&options, kCanary, sizeof(options));
  options.struct_bytes = sizeof(std::uint32_t);

  weir_limit* limit = client.limit("bare", &options);

  EXPECT_EQ(weir_try_acquire(limit, 1), WEIR_ALLOW);  // open, the default
}

TEST(StructBytes, AnOlderProgramsLimitOptionsEndWhereTheyEnd) {
  const LoneClient client;
  weir_limit_options options;
  std::memset(&options, kCanary, sizeof(options));
  options.struct_bytes = offsetof(weir_limit_options, period_ns);
  options.mode = WEIR_MODE_LOCAL;
  options.amount = 3;

  weir_limit* limit = client.limit("old", &options);

  EXPECT_EQ(weir_try_acquire(limit, 4), WEIR_DENY);
  EXPECT_EQ(weir_try_acquire(limit, 3), WEIR_ALLOW);  // burst 0 means amount
}

TEST(StructBytes, ANewerProgramsOptionsAreReadAsFarAsTheyAreKnown) {
  Newer<weir_options> newer{};
  newer.known.struct_bytes = sizeof(newer);
  newer.known.socket_path = kNoSocket;
  weir_client* client = nullptr;
  ASSERT_EQ(weir_open(&newer.known, &client), WEIR_OK);
  Newer<weir_limit_options> limits{};
  limits.known.struct_bytes = sizeof(limits);
  limits.known.mode = WEIR_MODE_CLOSED;
  weir_limit* limit = nullptr;

  ASSERT_EQ(weir_limit_get(client, "newer", &limits.known, &limit), WEIR_OK);

  EXPECT_EQ(weir_try_acquire(limit, 1), WEIR_DENY);
  weir_close(client);
}

TEST(StructBytes, InfoFillsWhatTheProgramKnowsAndNothingBeyond) {
  const LoneClient client;
  weir_limit* limit = client.slow("info", 7);
  for (std::uint32_t bytes = sizeof(std::uint32_t); bytes <= sizeof(weir_limit_info); bytes += 4) {
    weir_limit_info info;
    std::memset(&info, kCanary, sizeof(info));
    info.struct_bytes = bytes;

    ASSERT_EQ(weir_limit_read(limit, &info), WEIR_OK) << bytes;

    EXPECT_EQ(info.struct_bytes, bytes);
    const auto* raw = reinterpret_cast<const unsigned char*>(&info);
    for (std::size_t i = bytes; i < sizeof(info); ++i)
      ASSERT_EQ(raw[i], kCanary) << "byte " << i << " of a struct of " << bytes;
  }
}

TEST(StructBytes, InfoTellsANewerProgramHowMuchItFilled) {
  const LoneClient client;
  weir_limit* limit = client.slow("info", 7);
  Newer<weir_limit_info> info;
  std::memset(&info, kCanary, sizeof(info));
  info.known.struct_bytes = sizeof(info);

  ASSERT_EQ(weir_limit_read(limit, &info.known), WEIR_OK);

  EXPECT_EQ(info.known.struct_bytes, sizeof(weir_limit_info));
  EXPECT_EQ(info.known.burst, 7U);
  EXPECT_EQ(info.known.tokens, 7);
  EXPECT_EQ(info.known.shared, 0);
  EXPECT_EQ(info.known.agent_alive, 0);
  const auto* unknown = reinterpret_cast<const unsigned char*>(info.unknown);
  for (std::size_t i = 0; i < sizeof(info.unknown); ++i)
    ASSERT_EQ(unknown[i], kCanary);
}

}  // namespace
}  // namespace weir::client_test
