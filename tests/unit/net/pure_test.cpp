// The parts of net/ that know no socket: addresses, waits, secrets, and the faults of the seam.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "net/address.h"
#include "net/backoff.h"
#include "net/fault_seam.h"
#include "net/secret.h"

namespace weir::net {
namespace {

using namespace std::chrono_literals;

// ---- addresses

TEST(Address, IsReadAndWrittenTheSameWay) {
  for (const char* text : {"host:1", "10.0.0.7:7117", "[::1]:65535", "[fe80::1%eth0]:7", ":0",
                           "a-b.example_c:80", "unix:/run/weir/server.sock"}) {
    const auto address = parse_address(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(to_string(*address), text);
  }
}

TEST(Address, SaysWhatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> table = {
      {"", "port is missing"},
      {"host", "port is missing"},
      {"host:", "no number"},
      {"host:x", "no number"},
      {"host:65536", "no number"},
      {"host:-1", "no number"},
      {"host:1:2", "needs brackets"},
      {"::1:80", "needs brackets"},
      {"[::1:80", "']' is missing"},
      {"[]:80", "nothing in the brackets"},
      {"[::1]80", "port is missing"},
      {"a b:80", "no host has"},
      {"a\x1b[2J:80", "no host has"},
      {"unix:relative", "begins with '/'"},
      {"unix:/" + std::string(200, 'a'), "at most 107 bytes"},
      {"unix:/a\nb", "control"},
  };
  for (const auto& [text, part] : table) {
    const auto address = parse_address(text);
    ASSERT_FALSE(address) << text;
    EXPECT_NE(address.error().text.find(part), std::string::npos) << address.error().text;
    EXPECT_EQ(address.error().text.find('\x1b'), std::string::npos);
  }
}

// ---- waits

TEST(Backoff, DoublesItsBoundUpToTheMost) {
  Backoff backoff(BackoffOptions{100ms, 10s});
  std::vector<std::int64_t> bounds;
  for (int i = 0; i < 9; ++i) {
    (void)backoff.next(0);
    bounds.push_back(backoff.bound().count());
  }
  EXPECT_EQ(bounds,
            (std::vector<std::int64_t>{200, 400, 800, 1600, 3200, 6400, 10'000, 10'000, 10'000}));
}

TEST(Backoff, WaitsAnythingFromTheLeastToTheBound) {
  for (const std::uint64_t random :
       {std::uint64_t{0}, std::uint64_t{99}, std::uint64_t{100}, UINT64_MAX / 3, UINT64_MAX}) {
    Backoff backoff(BackoffOptions{100ms, 10s});
    for (int i = 0; i < 12; ++i) {
      const auto wait = backoff.next(random);
      EXPECT_GE(wait, 100ms);
      EXPECT_LE(wait, backoff.bound());
    }
  }
  Backoff backoff(BackoffOptions{100ms, 10s});
  EXPECT_EQ(backoff.next(0), 100ms);
  EXPECT_EQ(backoff.next(300), 400ms);  // 301 choices from 100 ms on
  EXPECT_EQ(backoff.next(701), 100ms);
}

TEST(Backoff, BeginsAnewAfterAReset) {
  Backoff backoff;
  for (int i = 0; i < 5; ++i)
    (void)backoff.next(1);
  backoff.reset();
  EXPECT_LE(backoff.next(UINT64_MAX), 200ms);
}

// ---- secrets

constexpr const char* kHashOfAbc =
    "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Secret, ATokenIsKnownByItsHash) {
  EXPECT_EQ(token_hash("abc"), kHashOfAbc);
  EXPECT_TRUE(token_matches("abc", kHashOfAbc));
  EXPECT_TRUE(is_token_hash(kHashOfAbc));
}

TEST(Secret, NothingElseMatches) {
  std::string other = kHashOfAbc;
  other.back() = 'e';
  EXPECT_FALSE(token_matches("abc", other));
  EXPECT_FALSE(token_matches("abd", kHashOfAbc));
  EXPECT_FALSE(token_matches("", token_hash("")));
  for (const std::string& bad : std::vector<std::string>{
           "", "abc", "sha256:", "sha256:ba78", std::string(kHashOfAbc) + "0",
           "md5" + std::string(kHashOfAbc).substr(6), "sha256:" + std::string(64, 'g')}) {
    EXPECT_FALSE(token_matches("abc", bad)) << bad;
    EXPECT_FALSE(is_token_hash(bad)) << bad;
  }
}

// The example of the paper: key 00 to 0f, data 00 to 0e.
TEST(Secret, AMarkIsSipHash) {
  std::array<unsigned char, 16> key{};
  std::array<std::byte, 15> data{};
  for (unsigned i = 0; i < 16; ++i)
    key[i] = static_cast<unsigned char>(i);
  for (unsigned i = 0; i < 15; ++i)
    data[i] = static_cast<std::byte>(i);

  EXPECT_EQ(mac64(key, data), 0xa129ca6149be45e5U);
  EXPECT_EQ(mac64(key, {}), 0x726fdb47dd0e0e31U);
  key[0] = 1;
  EXPECT_NE(mac64(key, data), 0xa129ca6149be45e5U);
}

TEST(Secret, TheKernelGivesBytes) {
  std::array<unsigned char, 32> a{};
  std::array<unsigned char, 32> b{};
  ASSERT_TRUE(random_bytes(a));
  ASSERT_TRUE(random_bytes(b));
  EXPECT_NE(a, b);
}

// ---- faults

TEST(Faults, AreReadFromText) {
  const auto faults =
      parse_faults("delay=5ms..20ms,drop=0.01,in.double=0.02,out.reorder=0.05,cut=1,seed=7");

  ASSERT_TRUE(faults);
  EXPECT_EQ(faults->seed, 7U);
  EXPECT_EQ(faults->in.delay_min, 5ms);
  EXPECT_EQ(faults->out.delay_max, 20ms);
  EXPECT_EQ(faults->in.drop, 0.01);
  EXPECT_EQ(faults->in.twice, 0.02);
  EXPECT_EQ(faults->out.twice, 0.0);
  EXPECT_EQ(faults->in.reorder, 0.0);
  EXPECT_EQ(faults->out.reorder, 0.05);
  EXPECT_EQ(faults->out.cut, 1.0);
  EXPECT_FALSE(parse_faults("")->any());
  EXPECT_EQ(parse_faults("delay=3ms")->in.delay_max, 3ms);
}

TEST(Faults, ABadTextIsNamed) {
  for (const char* text : {"drop", "drop=", "drop=2", "drop=-0.1", "drop=nan", "drop=0.1x",
                           "delay=5", "delay=20ms..5ms", "delay=1h", "delay=90s", "seed=-1",
                           "seed=x", "in.seed=1", "loss=0.1", "in.in.drop=0.1"}) {
    const auto faults = parse_faults(text);
    ASSERT_FALSE(faults) << text;
    EXPECT_NE(faults.error().text.find(text), std::string::npos);
  }
}

TEST(Faults, ComeOutOfTheEnvironmentInTestBuildsAlone) {
  ASSERT_EQ(::setenv("WEIR_NET_FAULTS", "drop=0.5,seed=3", 1), 0);
  const FaultOptions& faults = faults_from_environment();
  ::unsetenv("WEIR_NET_FAULTS");
#ifdef WEIR_FAILPOINTS
  EXPECT_EQ(faults, *parse_faults("drop=0.5,seed=3"));
#else
  EXPECT_FALSE(faults.any());
#endif
}

std::vector<std::string> through(FaultSeam& seam, int messages, std::int64_t step_ns) {
  std::vector<std::string> out;
  std::int64_t now_ns = 0;
  for (int i = 0; i < messages; ++i, now_ns += step_ns) {
    seam.push(std::to_string(i), now_ns);
    while (auto message = seam.pop(now_ns))
      out.push_back(*message);
  }
  while (seam.due_ns() && !seam.cut(now_ns)) {
    now_ns = *seam.due_ns();
    while (auto message = seam.pop(now_ns))
      out.push_back(*message);
  }
  return out;
}

FaultRates rates_of(const char* text) { return parse_faults(text)->in; }

TEST(Faults, NothingHappensWithoutChances) {
  FaultSeam seam({}, 1);
  EXPECT_EQ(through(seam, 4, 0), (std::vector<std::string>{"0", "1", "2", "3"}));
}

TEST(Faults, TheSameSeedDoesTheSame) {
  const FaultRates rates = rates_of("drop=0.2,double=0.2,reorder=0.2,delay=1us..9us");
  FaultSeam a(rates, 7);
  FaultSeam b(rates, 7);
  FaultSeam c(rates, 8);

  const auto first = through(a, 500, 3'000);

  EXPECT_EQ(first, through(b, 500, 3'000));
  EXPECT_NE(first, through(c, 500, 3'000));
}

TEST(Faults, DropLosesItsShare) {
  FaultSeam seam(rates_of("drop=0.25"), 3);
  EXPECT_NEAR(static_cast<double>(through(seam, 4'000, 0).size()), 3'000, 120);
}

TEST(Faults, DoubleRepeatsAtOnce) {
  FaultSeam seam(rates_of("double=1"), 3);
  EXPECT_EQ(through(seam, 2, 0), (std::vector<std::string>{"0", "0", "1", "1"}));
}

TEST(Faults, ReorderLetsTheNextOneOvertake) {
  FaultSeam seam(rates_of("reorder=1"), 3);
  EXPECT_EQ(through(seam, 4, 0), (std::vector<std::string>{"1", "0", "3", "2"}));
}

TEST(Faults, AReorderedMessageDoesNotWaitForEver) {
  FaultSeam seam(rates_of("reorder=1"), 3);
  seam.push("alone", 0);

  EXPECT_FALSE(seam.pop(0));
  ASSERT_TRUE(seam.due_ns());
  EXPECT_EQ(seam.pop(*seam.due_ns()), "alone");
  EXPECT_FALSE(seam.due_ns());
}

TEST(Faults, DelayHoldsBackAndKeepsTheOrder) {
  FaultSeam seam(rates_of("delay=5ms..20ms"), 3);
  for (int i = 0; i < 50; ++i)
    seam.push(std::to_string(i), i * 1'000);

  EXPECT_FALSE(seam.pop(4'999'999));
  EXPECT_GE(*seam.due_ns(), 5'000'000);
  std::vector<std::string> out;
  while (auto message = seam.pop(21'000'000))
    out.push_back(*message);

  ASSERT_EQ(out.size(), 50U);
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ(out[static_cast<std::size_t>(i)], std::to_string(i));
}

TEST(Faults, CutEndsAfterWhatCameBefore) {
  FaultSeam seam(rates_of("cut=0.2"), 5);
  const auto out = through(seam, 100, 0);

  EXPECT_LT(out.size(), 100U);
  EXPECT_TRUE(seam.cut(0));
  EXPECT_FALSE(seam.pop(INT64_MAX));
  for (std::size_t i = 0; i < out.size(); ++i)
    EXPECT_EQ(out[i], std::to_string(i));
}

TEST(Faults, OneChanceDoesNotMoveTheOthers) {
  FaultPlan plain(rates_of("drop=0.3"), 9);
  FaultPlan more(rates_of("drop=0.3,double=0.5,reorder=0.5,delay=1ms..2ms"), 9);
  for (int i = 0; i < 200; ++i)
    EXPECT_EQ(plain.next().drop, more.next().drop);
}

}  // namespace
}  // namespace weir::net
