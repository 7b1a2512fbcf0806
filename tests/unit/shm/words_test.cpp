// The packed words: book, office, wide arithmetic, untrusted values.
#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

#include "shm/book.h"
#include "shm/office.h"
#include "shm/quota.h"
#include "shm/untrusted.h"
#include "shm/wide.h"

namespace weir::shm {
namespace {

TEST(Book, SmallLevelsAreExactAndLargeOnesRoundUpByLittle) {
  std::mt19937_64 random(1);
  for (std::uint64_t level = 0; level <= 32'767; ++level)
    ASSERT_EQ(decode_level(encode_level(level)), level);
  for (int i = 0; i < 100'000; ++i) {
    const std::uint64_t level = random() >> (random() % 64);
    const std::uint64_t seen = decode_level(encode_level(level));
    if (level > kLevelMax) {
      ASSERT_EQ(seen, kLevelMax);
      continue;
    }
    ASSERT_GE(seen, level);
    ASSERT_LE(static_cast<double>(seen), static_cast<double>(level) * (1 + 1.0 / 16'384) + 1);
  }
}

TEST(Book, TimesComeBackRoundedUpByAtMostAUnit) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 100'000; ++i) {
    const auto now = static_cast<std::int64_t>(random() >> 2);
    const std::int64_t then =
        now - static_cast<std::int64_t>(random() % (11ULL * 86400 * 1000000000));
    if (then < 0) continue;
    const Book book = decode_book(encode_book(then, 5), now);
    ASSERT_LE(book.time_ns, now);
    ASSERT_GE(book.time_ns, std::min(then, now));
    ASSERT_LT(book.time_ns - then, 128);
  }
}

TEST(Book, ATimeAheadOfNowIsNow) {
  const std::int64_t now = 1'000'000'000'000;
  EXPECT_EQ(decode_book(encode_book(now + 1'000'000'000, 5), now).time_ns, now);
}

TEST(Office, IsTakenOnceUntilItsTermEnds) {
  A64 office{0};
  const Term first = take_office(office, 7, 1'000'000, 5'000'000);
  ASSERT_TRUE(first);
  EXPECT_FALSE(take_office(office, 8, 2'000'000, 5'000'000));
  EXPECT_TRUE(take_office(office, 8, 6'100'000, 5'000'000));
}

TEST(Office, AHolderRenewsItsOwnTermEarly) {
  A64 office{0};
  const Term first = take_office(office, kAgentHolder, 1'000'000, 5'000'000);
  EXPECT_TRUE(take_office(office, kAgentHolder, 2'000'000, 5'000'000, first.word));
  EXPECT_FALSE(take_office(office, kAgentHolder, 2'000'000, 5'000'000, first.word + 1));
}

TEST(Office, LayingDownAfterTheTermLeavesTheSuccessorAlone) {
  A64 office{0};
  const Term first = take_office(office, 7, 1'000'000, 1'000'000);
  const Term second = take_office(office, 8, 3'000'000, 5'000'000);
  ASSERT_TRUE(second);
  lay_down_office(office, first);
  EXPECT_EQ(office.load(), second.word);
}

TEST(Office, AForgedTermThatNeverEndsDoesNotCount) {
  A64 office{encode_office(99, 3'600'000'000'000)};
  EXPECT_TRUE(take_office(office, 8, 1'000'000, 5'000'000));
}

TEST(Wide, AgreesWithThePortableForm) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 200'000; ++i) {
    const std::uint64_t a = random() >> (random() % 64), b = random() >> (random() % 64);
    const std::uint64_t c = std::max<std::uint64_t>(1, random() >> (random() % 64));
    ASSERT_EQ(mul_div_down(a, b, c), detail::mul_div_portable(a, b, c, false))
        << a << " " << b << " " << c;
    ASSERT_EQ(mul_div_up(a, b, c), detail::mul_div_portable(a, b, c, true))
        << a << " " << b << " " << c;
    ASSERT_EQ(fold_product(a, b), detail::fold_portable(a, b)) << a << " " << b;
  }
}

TEST(Wide, SaturatesInsteadOfWrapping) {
  EXPECT_EQ(mul_div_down(UINT64_MAX, UINT64_MAX, 1), UINT64_MAX);
  EXPECT_EQ(mul_div_down(1, 1, 0), UINT64_MAX);
  EXPECT_EQ(mul_div_up(UINT64_MAX, 1, 1), UINT64_MAX);
  EXPECT_EQ(mul_div_up(7, 1, 2), 4U);
}

TEST(Untrusted, GrowthIsClampedAndNeverNegative) {
  EXPECT_EQ(Untrusted::of(5).growth_since(10, 100), 0U);
  EXPECT_EQ(Untrusted::of(1'000'000).growth_since(10, 100), 100U);
  EXPECT_EQ(Untrusted::of(15).growth_since(10, 100), 5U);
  EXPECT_TRUE(Untrusted::of(5).ran_backwards_from(10));
}

// Somebody writes it before every compare-and-swap.
struct WordWrittenAllTheTime {
  std::uint64_t value = 0;
  int steps = 0;

  std::uint64_t load(std::memory_order) const { return value; }
  void store(std::uint64_t to, std::memory_order) { value = to; }
  bool compare_exchange_weak(std::uint64_t& before, std::uint64_t, std::memory_order) {
    if (++steps > 100'000) throw std::runtime_error("no end");  // ends the test: all is noexcept
    before = value;
    return false;
  }
  bool compare_exchange_strong(std::uint64_t& before, std::uint64_t to, std::memory_order order) {
    return compare_exchange_weak(before, to, order);
  }
};

TEST(QuotaWord, OneThatIsWrittenAllTheTimeStopsNobody) {
  WordWrittenAllTheTime word{quota_word(3, 10)};
  std::uint64_t level = 0, forged = 0;

  EXPECT_EQ(quota_take(word, 3, 1, level), QuotaTake::dry);
  EXPECT_EQ(quota_take_some(word, 3, 1), 0U);
  EXPECT_LE(word.steps, 2 * kQuotaAttemptsMax);
  EXPECT_FALSE(quota_add(word, 3, 1));
  EXPECT_FALSE(quota_want(word, 3, 11));
  EXPECT_EQ(quota_value(word.value), 10U);

  EXPECT_EQ(quota_cut(word, 3, 10, forged), 10U);
  EXPECT_EQ(forged, 0U);
  EXPECT_EQ(quota_cut(word, 3, 9, forged), 0U) << "what cannot be cut is not worth a stand still";
  EXPECT_EQ(word.value, quota_word(3, 0));
  word.value = quota_word(4, 5);
  EXPECT_EQ(quota_cut(word, 3, 9, forged), 0U);
  EXPECT_EQ(word.value, quota_word(3, 0));
  EXPECT_GE(forged, 2U);
}

}  // namespace
}  // namespace weir::shm
