// A damaged file is no reason to stop, and never a reason to believe that everybody is known.
#include "server/state_file.h"

#include <gtest/gtest.h>

namespace weir::server {
namespace {

Known sample() {
  Known known;
  known["shop"].identities = {{"web-1", 1}, {"web-1", 2}, {"web-2", 0xffffffffffffffffULL}};
  known["shop"].whole = true;
  known["mail"].identities = {{"m", 9}};
  return known;
}

bool any_whole(const Known& known) {
  for (const auto& [name, hosts] : known)
    if (hosts.whole) return true;
  return false;
}

// Everybody in `part` is also in `all`.
void expect_part(const Known& part, const Known& all) {
  for (const auto& [name, hosts] : part) {
    ASSERT_TRUE(all.contains(name));
    for (const Identity& identity : hosts.identities)
      EXPECT_TRUE(all.at(name).identities.contains(identity));
  }
}

TEST(StateFile, WhatIsWrittenIsRead) {
  const IdentitiesRead read = read_identities(identities_file(sample()));

  EXPECT_EQ(read.damage, "");
  EXPECT_EQ(read.known, sample());
  EXPECT_EQ(read.records, 6U);
}

TEST(StateFile, RecordsAreAddedAtTheEnd) {
  std::string bytes = identities_file(sample());
  append_met(bytes, "mail", {"n", 10});
  append_forgotten(bytes, "shop", {"web-1", 1});
  append_forgotten(bytes, "shop", {"nobody", 1});
  append_whole(bytes, "mail", true);

  const IdentitiesRead read = read_identities(bytes);

  EXPECT_EQ(read.damage, "");
  EXPECT_EQ(read.known.at("mail").identities.size(), 2U);
  EXPECT_TRUE(read.known.at("mail").whole);
  EXPECT_EQ(read.known.at("shop").identities.size(), 2U);
}

TEST(StateFile, TruncatedAtAnyByteItKeepsWhatIsWhole) {
  const std::string bytes = identities_file(sample());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const IdentitiesRead read = read_identities(std::string_view(bytes).substr(0, length));

    expect_part(read.known, sample());
    EXPECT_LE(read.good_bytes, length);
    // The record that says so is the last one of its namespace, so it is the first to be lost.
    EXPECT_FALSE(!read.damage.empty() && any_whole(read.known)) << length;
    if (any_whole(read.known)) {
      EXPECT_EQ(read.known.at("shop"), sample().at("shop")) << length;
    }
  }
}

TEST(StateFile, AnyBitThatIsFlippedIsSeen) {
  const std::string bytes = identities_file(sample());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));

    const IdentitiesRead read = read_identities(damaged);

    EXPECT_NE(read.damage, "") << bit;
    EXPECT_FALSE(any_whole(read.known)) << bit;
    expect_part(read.known, sample());
  }
}

TEST(StateFile, RandomBytesDoNoHarm) {
  std::uint64_t state = 3;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes{round % 2 == 0 ? kIdentitiesHeader : std::string_view{}};
    for (int i = 0; i < round % 97; ++i) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      bytes.push_back(static_cast<char>(state >> 33));
    }
    EXPECT_FALSE(any_whole(read_identities(bytes).known));
  }
}

TEST(StateFile, TheEpochIsReadOrItIsNone) {
  const std::string text = epoch_file(1234567890123456789ULL);
  EXPECT_EQ(read_epoch(text), 1234567890123456789ULL);
  EXPECT_EQ(read_epoch(""), 0U);
  for (std::size_t length = 0; length < text.size(); ++length)
    EXPECT_EQ(read_epoch(std::string_view(text).substr(0, length)), 0U) << length;
  for (std::size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string damaged = text;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(read_epoch(damaged), 0U) << bit;
  }
}

TEST(StateFile, TheChecksumIsCrc32c) { EXPECT_EQ(crc32c("123456789"), 0xe3069283U); }

}  // namespace
}  // namespace weir::server
