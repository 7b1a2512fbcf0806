// One run of everything that is measured: round after round, each item once a round, in an order
// that changes, so that whatever disturbs the machine disturbs a candidate and its floor alike.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "bench/pair.h"

namespace weir::bench {

// What is called; each process makes these for itself.
enum OpIndex : std::size_t {
  kFetchSubAlone,
  kFetchSubShared,
  kLoadCompare,
  kCallAlone,
  kAdmit,
  kRefuse,
  kStriped,
  kSaturated,
  // The same, as programs do that do not compile weir.h: by a call.
  kAdmitCall,
  kRefuseCall,
  kStripedCall,
  kSaturatedCall,
  kOps
};

// Ops are numbered op + kOps * variant.

// What is measured in each round: an op, in one process or in two.
enum ItemIndex : std::size_t {
  kFloor1,
  kFloor2,
  kFloorRead2,
  kCall1,
  kAdmit1,
  kAdmit2,
  kRefuse1,
  kRefuse2,
  kStriped1,
  kStriped2,
  kSaturated2,
  kAdmitCall1,
  kRefuseCall1,
  kStripedCall1,
  kSaturatedCall2,
  kItems
};

struct Effort {
  int rounds = 401;
  double seconds_max = 45;
  std::int64_t idle_ns = 6'000'000'000;
};

double quantile(std::vector<double> values, double which);
inline double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

// Of the rounds in which both counted.
struct Comparison {
  double ns_median = 0;
  double floor_ns_median = 0;
  double ratio = 0;  // the median of the rounds' ratios, not the ratio of the medians
  double ratio_p10 = 0, ratio_p90 = 0;
  std::size_t rounds = 0;
};

class Session {
 public:
  explicit Session(Pair& pair) : pair_(pair) { chunk_calls_.fill(256); }

  // Calls from all processes, unmeasured, so that the agent deals tokens to the stripes. Returns
  // how many were admitted.
  std::uint64_t warm_stripes();
  void run(const Effort& effort);

  Comparison compare(ItemIndex candidate, ItemIndex floor) const;
  std::uint64_t admitted(OpIndex op) const { return admitted_[op]; }
  // Slices whose answers were not all what the limit's rule says.
  std::uint64_t surprises(ItemIndex item) const { return surprises_[item]; }
  std::uint64_t slices_repeated() const { return repeated_; }
  std::uint64_t slices_counted() const { return counted_; }

 private:
  double one(ItemIndex item, std::size_t variant);
  void check_answers(ItemIndex item, const PairSlice& slice);

  Pair& pair_;
  std::array<std::uint64_t, kItems> chunk_calls_{};
  std::array<std::vector<double>, kItems> ns_;  // by round; 0: did not count
  std::array<std::uint64_t, kOps> admitted_{};
  std::array<std::uint64_t, kItems> surprises_{};
  std::uint64_t repeated_ = 0;
  std::uint64_t counted_ = 0;
};

}  // namespace weir::bench
