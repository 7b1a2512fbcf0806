#include "adaptive/in_flight.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <span>
#include <vector>

namespace weir::adaptive {
namespace {

constexpr auto kAllAlive = [](std::uint16_t) { return true; };

StripeWord stripe(std::uint32_t count, std::uint16_t owner = 1) {
  return stripe_word({.count = count, .owner = owner});
}

TEST(Stripe, KeepsItsFields) {
  const Stripe stripe{.count = 12345,
                      .moves = 1023,
                      .phase = StripePhase::leaving,
                      .generation = 65535,
                      .owner = 40000};
  const Stripe back = stripe_of(stripe_word(stripe));
  EXPECT_EQ(back.count, 12345U);
  EXPECT_EQ(back.moves, 1023U);
  EXPECT_EQ(back.phase, StripePhase::leaving);
  EXPECT_EQ(back.generation, 65535);
  EXPECT_EQ(back.owner, 40000);
  EXPECT_EQ(stripe_of(UINT64_MAX).phase, StripePhase::idle);
}

TEST(Stripe, CountsWrapAndTheirSumIsRight) {
  // One thread takes and another gives back, more often than a count can say.
  StripeWord taker = stripe((1U << 20) - 2);
  StripeWord giver = stripe(2);
  for (int i = 0; i < 5; ++i)
    taker = stripe_entered(taker, 1);
  for (int i = 0; i < 4; ++i)
    giver = stripe_settled(stripe_leaving(giver, 1));
  EXPECT_EQ(stripe_of(taker).count, 3U);
  EXPECT_EQ(signed_count(stripe_of(giver).count), -2);
  EXPECT_EQ(stripe_of(giver).owner, 1);
  HeadSum sum;
  sum.add(taker, taker, true);
  sum.add(giver, giver, true);
  EXPECT_EQ(sum.sum(100), (Headcount{.high = 1, .low = 1}));
  // A leave and an enter bring the count back, but not the word.
  const StripeWord before = stripe(3);
  EXPECT_NE(stripe_entered(stripe_settled(stripe_leaving(before, 1)), 1), before);
}

Headcount count_all(std::span<const StripeWord> before, std::span<const StripeWord> after,
                    std::uint64_t most, const auto& alive) {
  HeadSum sum;
  for (std::size_t i = 0; i < before.size(); ++i)
    sum.add(before[i], after[i], alive(stripe_of(after[i]).owner));
  return sum.sum(most);
}

TEST(Headcount, TheDeadCountForNothing) {
  const std::array<StripeWord, 3> words{stripe(4, 1), stripe(7, 2), stripe(400'000, 3)};
  const auto sum = count_all(words, words, 104, [](std::uint16_t owner) { return owner != 2; });
  EXPECT_EQ(sum.high, 104U);
  EXPECT_EQ(sum.low, 104U);
  EXPECT_EQ(sum.dead, 7U);
  EXPECT_EQ(sum.moving, 0U);
}

TEST(Headcount, ManyMovesBetweenTheReadingsCastDoubtOnBoth) {
  // Five in and five out again: at the total's reading there may have been five.
  StripeWord after = stripe(0);
  for (int i = 0; i < 5; ++i)
    after = stripe_entered(after, 1);
  for (int i = 0; i < 5; ++i)
    after = stripe_settled(stripe_leaving(after, 1));
  HeadSum there_and_back;
  there_and_back.add(stripe(0), after, true);
  EXPECT_GE(there_and_back.sum(100).moving, 5U);
  // Five in: the total may have been read before any of them, and is then not five too low.
  HeadSum risen;
  risen.add(stripe(0), stripe_entered(stripe(4), 1), true);
  EXPECT_EQ(risen.sum(100).high, 5U);
  EXPECT_EQ(risen.sum(100).low, 0U);
}

TEST(Recount, FindsALeakOnceItIsCertain) {
  const std::array<StripeWord, 2> words{stripe(4), stripe(2)};
  Recount recount;
  for (int i = 0; i < Recount::kLooks; ++i) {
    EXPECT_FALSE(recount.ready());
    recount.look(9, count_all(words, words, 100, kAllAlive));
  }
  EXPECT_EQ(recount.correction(), -3);
  EXPECT_FALSE(recount.ready());
}

TEST(Recount, RaisesATotalThatSomebodyLowered) {
  const std::array<StripeWord, 1> words{stripe(5)};
  for (const std::int64_t total : {0, -3}) {
    Recount recount;
    for (int i = 0; i < Recount::kLooks; ++i)
      recount.look(total, count_all(words, words, 100, kAllAlive));
    EXPECT_EQ(recount.correction(), 5 - total);
  }
}

TEST(Recount, AnyWordsAreTaken) {
  const std::array<StripeWord, 2> words{UINT64_MAX, 0x123456789abcdef0};
  for (const std::int64_t total : {INT64_MAX, INT64_MIN}) {
    Recount recount;
    for (int i = 0; i < Recount::kLooks; ++i)
      recount.look(total, count_all(words, words, 1000, kAllAlive));
    EXPECT_EQ(recount.correction() < 0, total > 0);
  }
}

// One host whose clients are stopped between any two of their stores, and killed there.
struct Host {
  static constexpr std::size_t kStripes = 6;
  std::array<StripeWord, kStripes> words{};
  std::array<bool, kStripes> alive{};
  std::array<int, kStripes> step{};  // 0 idle; 1..2 entering; 3..4 leaving
  std::int64_t total = 0;
  std::mt19937_64 random;

  explicit Host(std::uint64_t seed) : random(seed) {
    for (std::size_t i = 0; i < kStripes; ++i)
      restart(i);
  }
  void restart(std::size_t i) {
    words[i] = stripe_word({.owner = static_cast<std::uint16_t>(i)});
    alive[i] = true;
    step[i] = 0;
  }
  void move(std::size_t i) {
    if (!alive[i]) return;
    switch (step[i]) {
      case 0:
        if (stripe_of(words[i]).count > 0 && random() % 2 == 0) {
          words[i] = stripe_leaving(words[i], 1);
          step[i] = 3;
        } else {
          words[i] = stripe_entering(words[i]);
          step[i] = 1;
        }
        return;
      case 1:
        ++total, step[i] = 2;
        return;
      case 2:
        words[i] = stripe_entered(words[i], 1), step[i] = 0;
        return;
      case 3:
        --total, step[i] = 4;
        return;
      default:
        words[i] = stripe_settled(words[i]), step[i] = 0;
        return;
    }
  }
  // What the total must be if nothing has leaked: counts, plus moves that have touched the total.
  std::int64_t truth() const {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < kStripes; ++i) {
      if (!alive[i]) continue;
      sum += stripe_of(words[i]).count;
      if (step[i] == 2 || step[i] == 3) ++sum;
    }
    return sum;
  }
  void look(Recount& recount) {
    std::array<StripeWord, kStripes> before{};
    std::array<StripeWord, kStripes> after{};
    for (std::size_t i = 0; i < kStripes; ++i)
      before[i] = words[i], move(random() % kStripes);
    const std::int64_t seen = total;
    for (std::size_t i = 0; i < kStripes; ++i)
      move(random() % kStripes), after[i] = words[i];
    recount.look(
        seen, count_all(before, after, 1000, [this](std::uint16_t owner) { return alive[owner]; }));
  }
};

TEST(Recount, NeverTakesOffMoreThanTheLeakAndFindsItWhenItIsQuiet) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Host host(seed);
    for (int round = 0; round < 60; ++round) {
      for (int i = 0; i < 20; ++i)
        host.move(host.random() % Host::kStripes);
      const std::size_t victim = host.random() % Host::kStripes;
      if (round % 7 == 3) host.alive[victim] = false;
      Recount recount;
      for (int i = 0; i < Recount::kLooks; ++i)
        host.look(recount);
      host.total += recount.correction();
      ASSERT_GE(host.total, host.truth()) << "seed " << seed << " round " << round;
      if (round % 7 == 5)
        for (std::size_t i = 0; i < Host::kStripes; ++i)
          if (!host.alive[i]) host.restart(i);
    }
    while (std::any_of(host.step.begin(), host.step.end(), [](int step) { return step != 0; }))
      for (std::size_t i = 0; i < Host::kStripes; ++i)
        if (host.step[i] != 0) host.alive[i] ? host.move(i) : void(host.step[i] = 0);
    Recount recount;
    for (int i = 0; i < Recount::kLooks; ++i)
      recount.look(host.total, count_all(host.words, host.words, 1000,
                                         [&](std::uint16_t owner) { return host.alive[owner]; }));
    EXPECT_EQ(host.total + recount.correction(), host.truth()) << "seed " << seed;
  }
}

TEST(Lease, ExpiresAndAClockSetBackDoesNotMatter) {
  EXPECT_FALSE(lease_expired(0, kSecond, kSecond));
  EXPECT_TRUE(lease_expired(0, kSecond + 1, kSecond));
  EXPECT_FALSE(lease_expired(0, INT64_MAX, 0));
  EXPECT_FALSE(lease_expired(INT64_MAX, INT64_MIN, kSecond));
}

// Netflix' partitions let 17 in where the limit is 10; ours never exceed it.
TEST(Reserved, TheSumStaysTheLimit) {
  std::array<ReservedPart, 2> parts{{{0, 3}, {0, 7}}};
  std::uint64_t in_flight = 0;
  while (reserved_admits(parts, 0, 10))
    ++parts[0].in_flight, ++in_flight;
  EXPECT_EQ(parts[0].in_flight, 3U);
  while (reserved_admits(parts, 1, 10))
    ++parts[1].in_flight, ++in_flight;
  EXPECT_EQ(in_flight, 10U);

  std::array<ReservedPart, 2> loose{{{0, 1}, {0, 2}}};
  while (reserved_admits(loose, 0, 10))
    ++loose[0].in_flight;
  EXPECT_EQ(loose[0].in_flight, 8U);
  EXPECT_TRUE(reserved_admits(loose, 1, 10));
  EXPECT_FALSE(reserved_admits(loose, 2, 10));
}

}  // namespace
}  // namespace weir::adaptive
