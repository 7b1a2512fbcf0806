// The division against a slow one that can be checked by reading, over random holders and random
// histories.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "lease/fair_share.h"

namespace weir::lease {
namespace {

__extension__ typedef __int128 Wide;
using Holder = FairShare::Holder;
using Slot = FairShare::Slot;
using Holders = std::vector<Holder>;
using Shares = std::vector<std::int64_t>;

// A level at which a holder of the band starts or stops to get more with it.
struct Breakpoint {
  std::int64_t amount = 0;
  std::uint32_t weight = 1;
};

// clamp(level * weight, floor, want), times the level's denominator.
Wide clamped(const Breakpoint& level, const Holder& holder) {
  return std::clamp(Wide{level.amount} * holder.weight, Wide{holder.floor} * level.weight,
                    Wide{holder.want} * level.weight);
}

// Divides `total` in one band whose floors are within the wants, and fit. The level lies between
// two neighbours among all breakpoints, and who gets more with it does not change between them.
Shares divided_in_band(const Holders& holders, Wide total) {
  std::vector<Breakpoint> levels = {{}};
  for (const Holder& holder : holders) {
    levels.push_back({holder.floor, holder.weight});
    levels.push_back({holder.want, holder.weight});
  }
  std::sort(levels.begin(), levels.end(), [](const Breakpoint& a, const Breakpoint& b) {
    return Wide{a.amount} * b.weight < Wide{b.amount} * a.weight;
  });
  const auto fits = [&](const Breakpoint& level) {
    Wide sum = 0;
    for (const Holder& holder : holders)
      sum += clamped(level, holder);
    return sum <= total * level.weight;
  };
  const auto next = std::partition_point(levels.begin(), levels.end(), fits);
  const Breakpoint& level = *(next - 1);

  Wide left = total;
  Wide weights = 0;
  std::vector<bool> moves;
  for (const Holder& holder : holders) {
    const Wide here = Wide{level.amount} * holder.weight;
    const bool reached_floor = here >= Wide{holder.floor} * level.weight;
    const bool reached_want = here >= Wide{holder.want} * level.weight;
    moves.push_back(reached_floor && !reached_want);
    if (moves.back())
      weights += holder.weight;
    else
      left -= reached_want ? holder.want : holder.floor;
  }
  Shares shares;
  for (std::size_t i = 0; i < holders.size(); ++i) {
    const bool full =
        Wide{level.amount} * holders[i].weight >= Wide{holders[i].want} * level.weight;
    shares.push_back(moves[i] ? static_cast<std::int64_t>(left * holders[i].weight / weights)
                     : full   ? holders[i].want
                              : holders[i].floor);
  }
  return shares;
}

Shares divided_slowly(Holders holders, std::int64_t capacity) {
  Wide floors = 0;
  for (Holder& holder : holders) {
    holder.floor = std::min(holder.floor, holder.want);
    floors += holder.floor;
  }
  Wide rest = capacity - floors;
  if (rest < 0) {  // the floors are all that is divided
    for (Holder& holder : holders)
      holder.want = std::exchange(holder.floor, 0);
    rest = capacity;
  }
  std::map<std::uint32_t, std::vector<std::size_t>, std::greater<>> bands;
  for (std::size_t i = 0; i < holders.size(); ++i)
    bands[holders[i].band].push_back(i);

  Shares shares(holders.size());
  for (const auto& [band, members] : bands) {
    Holders in_band;
    Wide wants = 0;
    Wide held = 0;
    for (const std::size_t i : members) {
      in_band.push_back(holders[i]);
      wants += holders[i].want;
      held += holders[i].floor;
    }
    const Wide given = std::min(rest, wants - held);
    rest -= given;
    const Shares of_band = divided_in_band(in_band, held + given);
    for (std::size_t k = 0; k < members.size(); ++k)
      shares[members[k]] = of_band[k];
  }
  return shares;
}

std::string to_text(const Holders& holders, std::int64_t capacity) {
  std::ostringstream out;
  out << "capacity " << capacity;
  for (const Holder& holder : holders)
    out << "\n  want " << holder.want << " weight " << holder.weight << " band " << holder.band
        << " floor " << holder.floor;
  return std::move(out).str();
}

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}

  std::int64_t up_to(std::int64_t max) { return between(0, max); }
  std::int64_t between(std::int64_t min, std::int64_t max) {
    return std::uniform_int_distribution<std::int64_t>(min, max)(engine_);
  }
  bool one_in(int n) { return up_to(n - 1) == 0; }

 private:
  std::mt19937_64 engine_;
};

// A kind of crowd. Few different numbers make ties and whole levels, large ones find overflows.
struct Crowd {
  std::int64_t want_max = 0;
  std::int64_t weight_max = 0;
  std::int64_t band_max = 0;
  std::int64_t floor_max = 0;
  int floors_one_in = 1;
};

Crowd random_crowd(Dice& dice) {
  constexpr std::int64_t kMaxima[] = {3, 20, 1'000, 50'000'000'000, FairShare::kAmountMax};
  constexpr std::int64_t kWeights[] = {1, 3, 30, 1'000'000, 4'294'967'295};
  Crowd crowd;
  crowd.want_max = kMaxima[dice.up_to(4)];
  crowd.weight_max = kWeights[dice.up_to(4)];
  crowd.band_max = dice.up_to(3);
  crowd.floor_max = dice.one_in(3) ? 0 : dice.up_to(crowd.want_max);
  crowd.floors_one_in = static_cast<int>(dice.between(1, 3));
  return crowd;
}

Holder random_holder(Dice& dice, const Crowd& crowd) {
  Holder holder;
  holder.want = dice.one_in(6) ? 0 : dice.up_to(crowd.want_max);
  if (dice.one_in(10)) holder.want = crowd.want_max;
  holder.weight = static_cast<std::uint32_t>(dice.between(1, crowd.weight_max));
  holder.band = static_cast<std::uint32_t>(dice.up_to(crowd.band_max));
  if (dice.one_in(crowd.floors_one_in)) holder.floor = dice.up_to(crowd.floor_max);
  return holder;
}

// Often exactly where something ends: at nothing, at the sum of the floors, at the sum of all.
std::int64_t random_capacity(Dice& dice, const Holders& holders) {
  Wide wants = 0;
  Wide floors = 0;
  for (const Holder& holder : holders) {
    wants += holder.want;
    floors += std::min(holder.floor, holder.want);
  }
  const auto cut = [](Wide sum) {
    return static_cast<std::int64_t>(std::min<Wide>(sum, INT64_MAX));
  };
  switch (dice.up_to(9)) {
    case 0:
      return 0;
    case 1:
      return cut(floors);
    case 2:
      return cut(wants);
    case 3:
      return cut(wants + 1);
    case 4:
    case 5:
      return dice.up_to(cut(floors));
    default:
      return dice.up_to(cut(wants));
  }
}

// Holders by their slots, and a division that is told of every change to them.
class Pair {
 public:
  void add(const Holder& holder) {
    const Slot slot = fair_.add(holder);
    if (slot >= holders_.size()) holders_.resize(slot + 1);
    ASSERT_FALSE(holders_[slot]) << "slot " << slot << " was given out twice";
    holders_[slot] = holder;
    ++size_;
  }
  void set(Slot slot, const Holder& holder) {
    fair_.set(slot, holder);
    holders_[slot] = holder;
  }
  void remove(Slot slot) {
    fair_.remove(slot);
    holders_[slot].reset();
    --size_;
  }
  void set_capacity(std::int64_t capacity) { fair_.set_capacity(capacity); }
  std::size_t size() const { return size_; }

  std::optional<Slot> random_slot(Dice& dice) const {
    if (size_ == 0) return {};
    for (;;) {
      const auto slot = static_cast<Slot>(dice.up_to(static_cast<int>(holders_.size()) - 1));
      if (holders_[slot]) return slot;
    }
  }
  Holders holders() const {
    Holders all;
    for (const auto& holder : holders_)
      if (holder) all.push_back(*holder);
    return all;
  }
  Shares shares() const {
    Shares all;
    for (std::size_t slot = 0; slot < holders_.size(); ++slot)
      if (holders_[slot]) all.push_back(fair_.share(static_cast<Slot>(slot)));
    return all;
  }
  // Every share is exact, and the sum of all falls short by less than a unit a holder.
  void check() const {
    const Holders all = holders();
    const Shares got = shares();
    const Shares expected = divided_slowly(all, fair_.capacity());
    if (got != expected) {
      const auto at = std::mismatch(got.begin(), got.end(), expected.begin());
      ADD_FAILURE() << "holder " << at.first - got.begin() << " got " << *at.first << " instead of "
                    << *at.second << "; "
                    << (all.size() < 50 ? to_text(all, fair_.capacity()) : "too many to show");
    }
    Wide sum = 0;
    Wide wants = 0;
    std::uint64_t weights = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      sum += got[i];
      wants += all[i].want;
      weights += all[i].weight;
    }
    const Wide given = std::min<Wide>(fair_.capacity(), wants);
    EXPECT_TRUE(sum <= given &&
                sum > given - static_cast<Wide>(all.size()) - (all.empty() ? 1 : 0));
    EXPECT_EQ(fair_.want_total(), static_cast<std::int64_t>(std::min<Wide>(wants, INT64_MAX)));
    EXPECT_EQ(fair_.weight_total(), weights);
    EXPECT_EQ(fair_.size(), all.size());
  }

 private:
  FairShare fair_;
  std::vector<std::optional<Holder>> holders_;
  std::size_t size_ = 0;
};

TEST(FairShareRandom, EveryDivisionIsTheExactOne) {
  for (std::uint64_t seed = 0; seed < 20'000 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Dice dice(seed);
    const Crowd crowd = random_crowd(dice);
    Pair pair;
    for (std::int64_t n = dice.up_to(12); n > 0; --n)
      pair.add(random_holder(dice, crowd));
    for (int i = 0; i < 3; ++i) {
      pair.set_capacity(random_capacity(dice, pair.holders()));
      pair.check();
    }
  }
}

// One change of a random kind: between `size_min` and `size_max` holders come as often as they go.
void change(Pair& pair, Dice& dice, const Crowd& crowd, std::size_t size_min,
            std::size_t size_max) {
  const std::int64_t kind = dice.up_to(9);
  const std::optional<Slot> slot = pair.random_slot(dice);
  if (!slot || (kind < 3 && pair.size() < size_max) || pair.size() < size_min)
    pair.add(random_holder(dice, crowd));
  else if (kind < 6 && pair.size() > size_min)
    pair.remove(*slot);
  else
    pair.set(*slot, random_holder(dice, crowd));
}

TEST(FairShareRandom, NoHistoryLeavesATrace) {
  for (std::uint64_t seed = 0; seed < 60 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Dice dice(seed);
    Crowd crowd = random_crowd(dice);
    Pair pair;
    for (int step = 0; step < 400 && !testing::Test::HasFailure(); ++step) {
      if (step % 50 == 0) crowd = random_crowd(dice);
      change(pair, dice, crowd, 0, 40);
      if (dice.one_in(3)) pair.set_capacity(random_capacity(dice, pair.holders()));
      pair.check();
    }
  }
}

// Thousands of holders make a tree of several levels; growing, shrinking and churning make nodes
// split, borrow and merge at each of them.
TEST(FairShareRandom, ALargeCrowdThatGrowsAndShrinksIsDividedExactly) {
  for (std::uint64_t seed = 0; seed < 6 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Dice dice(seed);
    const Crowd crowd = {.want_max = 50'000'000'000,
                         .weight_max = seed % 2 == 0 ? 1'000'000 : 3,
                         .band_max = static_cast<std::int64_t>(seed),
                         .floor_max = seed < 2 ? 0 : 10'000'000'000,
                         .floors_one_in = 2};
    Pair pair;
    for (const auto& [size_min, size_max] : {std::pair<std::size_t, std::size_t>{4'000, 4'100},
                                             {20, 60},
                                             {1'000, 1'100},
                                             {0, 0},
                                             {300, 400}}) {
      for (int step = 0; step < 10'000; ++step) {
        change(pair, dice, crowd, size_min, size_max);
        if (step % 500 == 0) {
          pair.set_capacity(random_capacity(dice, pair.holders()));
          pair.check();
        }
        if (step > 1'000 && pair.size() == size_max) break;
      }
      while (pair.size() > size_max)
        pair.remove(*pair.random_slot(dice));
      pair.check();
    }
  }
}

// Wants that only grow or only fall fill the tree from one end and empty it from the other.
TEST(FairShareRandom, OrderedArrivalsAndDeparturesAreDividedExactly) {
  for (const std::int64_t direction : {1, -1}) {
    Pair pair;
    pair.set_capacity(3'000'000);
    for (std::int64_t i = 0; i < 3'000; ++i)
      pair.add({.want = 5'000 + direction * i, .floor = 300 + direction * i / 10});
    pair.check();
    for (Slot slot = 0; slot < 3'000; ++slot) {
      pair.remove(slot);
      if (slot % 250 == 0) pair.check();
    }
    pair.check();
  }
}

TEST(FairShareRandom, ABandForEachHolderIsServedInOrder) {
  Dice dice(1);
  Pair pair;
  for (std::uint32_t i = 0; i < 1'000; ++i)
    pair.add({.want = dice.up_to(1'000), .band = i * 7'919 % 1'000 * 4'000'000, .floor = i % 3});
  for (int i = 0; i < 20; ++i) {
    pair.set_capacity(random_capacity(dice, pair.holders()));
    pair.check();
  }
}

TEST(FairShareRandom, MoreToDivideTakesFromNobody) {
  for (std::uint64_t seed = 0; seed < 2'000 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Dice dice(seed);
    const Crowd crowd = random_crowd(dice);
    Pair pair;
    for (std::int64_t n = dice.between(2, 20); n > 0; --n)
      pair.add(random_holder(dice, crowd));
    const std::int64_t capacity = random_capacity(dice, pair.holders());
    pair.set_capacity(capacity);
    const Shares before = pair.shares();

    pair.set_capacity(capacity + dice.up_to(INT64_MAX - capacity) / 1'000);

    const Shares after = pair.shares();
    for (std::size_t i = 0; i < after.size(); ++i)
      EXPECT_GE(after[i], before[i]) << "holder " << i;
  }
}

}  // namespace
}  // namespace weir::lease
