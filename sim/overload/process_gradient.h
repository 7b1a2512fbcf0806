// Netflix' Gradient2 as one process runs it: windows of a second and ten responses, the mean of
// each, and the most that was in flight meanwhile.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "adaptive/published_limiters.h"

namespace weir::overload {

class ProcessGradient {
 public:
  bool admits() noexcept {
    if (static_cast<double>(in_flight_) >= std::floor(limiter_.limit())) return false;
    ++in_flight_;
    in_flight_max_ = std::max(in_flight_max_, in_flight_);
    return true;
  }
  void done(adaptive::TimeNs now_ns, adaptive::TimeNs response_ns) noexcept {
    --in_flight_;
    sum_ns_ += response_ns;
    ++count_;
    if (now_ns < until_ns_ || count_ < kCountMin) return;
    limiter_.sample(sum_ns_ / count_, in_flight_max_);
    until_ns_ = now_ns + adaptive::kSecond;
    sum_ns_ = 0;
    count_ = 0;
    in_flight_max_ = in_flight_;
  }

 private:
  static constexpr std::int64_t kCountMin = 10;

  adaptive::published::Gradient2 limiter_;
  std::int64_t in_flight_ = 0;
  std::int64_t in_flight_max_ = 0;
  adaptive::TimeNs until_ns_ = adaptive::kSecond;
  adaptive::TimeNs sum_ns_ = 0;
  std::int64_t count_ = 0;
};

}  // namespace weir::overload
