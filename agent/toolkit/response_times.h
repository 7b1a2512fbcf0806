// Quantiles of a resource's response times, from the cells that its processes count in.
#pragma once

#include <array>
#include <cstdint>

#include "adaptive/histogram.h"
#include "shm/toolkit.h"

namespace weir::agent {

inline constexpr std::int64_t kResponseLookNs = 1'000'000'000;
// What was counted weighs half after so long, so that quantiles are of the last half minute.
inline constexpr std::int64_t kResponseHalfLifeNs = 10'000'000'000;

struct ResponseQuantiles {
  std::int64_t p50_ns = 0, p95_ns = 0, p99_ns = 0;  // to one part in eight; all 0: no successes
};

class ResponseTimes {
 public:
  static void clear(shm::ResourceCounter& counter) noexcept;  // the cells of a new resource
  // At most once a kResponseLookNs; `busy`: there were successes since the last call.
  void look(const shm::ResourceCounter& counter, std::int64_t now_ns, bool busy) noexcept;
  const ResponseQuantiles& quantiles() const noexcept { return quantiles_; }

 private:
  std::array<std::uint32_t, shm::kResponseCells> seen_{};
  adaptive::Histogram window_;
  ResponseQuantiles quantiles_;
  std::int64_t look_ns_ = 0, halve_ns_ = 0;
  bool busy_ = false;
};

}  // namespace weir::agent
