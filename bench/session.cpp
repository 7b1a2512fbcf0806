#include "bench/session.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "shm/clock.h"

namespace weir::bench {

namespace {

struct Item {
  OpIndex op;
  bool together;
  bool saturated = false;  // long slices that begin with a dry bucket
};
constexpr std::array<Item, kItems> kItemList{{{kFetchSubAlone, false},
                                              {kFetchSubShared, true},
                                              {kLoadCompare, true, true},
                                              {kCallAlone, false},
                                              {kAdmit, false},
                                              {kAdmit, true},
                                              {kRefuse, false},
                                              {kRefuse, true},
                                              {kStriped, false},
                                              {kStriped, true},
                                              {kSaturated, true, true},
                                              {kAdmitCall, false},
                                              {kRefuseCall, false},
                                              {kStripedCall, false},
                                              {kSaturatedCall, true, true}}};

constexpr std::int64_t kWarmNs = 30'000;
constexpr std::int64_t kSliceNs = 200'000;
// Some ticks of the agent fall into each slice, as they fall into a saturated caller's time.
constexpr std::int64_t kSaturatedSliceNs = 1'200'000;
constexpr std::int64_t kChunkNs = 6'000;
constexpr std::uint64_t kChunkCallsMin = 64;
constexpr std::uint64_t kChunkCallsMax = 32'768;
constexpr int kAttemptsMax = 40;

}  // namespace

double quantile(std::vector<double> values, double which) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(which * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

std::uint64_t Session::warm_stripes() {
  SliceSpec spec;
  spec.slice_ns = 4'000'000;
  const PairSlice slice =
      pair_.has_partner() ? pair_.together(kStriped, spec) : pair_.alone(kStriped, spec);
  ::usleep(2'000);  // a tick
  return slice.passed_all();
}

void Session::check_answers(ItemIndex item, const PairSlice& slice) {
  const OpIndex op = kItemList[item].op;
  const bool admits = op == kAdmit || op == kStriped || op == kAdmitCall || op == kStripedCall;
  const bool refuses = op == kRefuse || op == kRefuseCall;
  if ((admits && slice.passed() != slice.calls()) || (refuses && slice.passed() != 0))
    ++surprises_[item];
}

double Session::one(ItemIndex index, std::size_t variant) {
  const Item& item = kItemList[index];
  const std::size_t op = item.op + kOps * variant;
  SliceSpec spec;
  spec.warm_ns = kWarmNs;
  spec.slice_ns = item.saturated ? kSaturatedSliceNs : kSliceNs;
  spec.interruptible = item.saturated;
  spec.warm_until_dry = item.saturated;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    spec.chunk_calls = chunk_calls_[index];
    const PairSlice slice = item.together ? pair_.together(op, spec) : pair_.alone(op, spec);
    admitted_[item.op] += slice.passed_all();
    if (slice.calls() == 0) return 0;
    const double ns = slice.ns_per_call();
    chunk_calls_[index] =
        std::clamp(static_cast<std::uint64_t>(static_cast<double>(kChunkNs) / std::max(ns, 0.01)),
                   kChunkCallsMin, kChunkCallsMax);
    if (slice.counts()) {
      check_answers(index, slice);
      ++counted_;
      return ns;
    }
    ++repeated_;
  }
  return 0;
}

void Session::run(const Effort& effort) {
  const bool progress = ::isatty(STDERR_FILENO) == 1;
  const std::int64_t began = shm::read_mono_ns();
  constexpr int kRoundsWarm = 3;  // these only find the sizes of the chunks
  for (int round = -kRoundsWarm; round < effort.rounds; ++round) {
    const double seconds = static_cast<double>(shm::read_mono_ns() - began) / 1e9;
    if (seconds > effort.seconds_max || pair_.partner_died()) break;
    for (auto& values : ns_)
      if (round >= 0) values.push_back(0);
    for (std::size_t i = 0; i < kItems; ++i) {
      // Rotated, and every other round backwards: no item always follows the same one.
      const auto turn = static_cast<std::size_t>(round + kRoundsWarm);
      const std::size_t at = turn % 2 == 0 ? i : kItems - 1 - i;
      const auto item = static_cast<ItemIndex>((at + turn / 2) % kItems);
      const double ns = one(item, turn % kVariants);
      if (round >= 0) ns_[item].back() = ns;
    }
    if (progress && round % 8 == 0)
      std::fprintf(stderr, "\r  round %d of %d, %.0f s ", std::max(round, 0), effort.rounds,
                   seconds);
  }
  if (progress) std::fprintf(stderr, "\r%40s\r", "");
}

Comparison Session::compare(ItemIndex candidate, ItemIndex floor) const {
  std::vector<double> candidates, floors, ratios;
  for (std::size_t round = 0; round < ns_[candidate].size(); ++round) {
    const double candidate_ns = ns_[candidate][round];
    const double floor_ns = ns_[floor][round];
    if (candidate_ns <= 0 || floor_ns <= 0) continue;
    candidates.push_back(candidate_ns);
    floors.push_back(floor_ns);
    ratios.push_back(candidate_ns / floor_ns);
  }
  Comparison result;
  result.rounds = ratios.size();
  result.ns_median = median(std::move(candidates));
  result.floor_ns_median = median(std::move(floors));
  result.ratio = median(ratios);
  result.ratio_p10 = quantile(ratios, 0.1);
  result.ratio_p90 = quantile(std::move(ratios), 0.9);
  return result;
}

}  // namespace weir::bench
