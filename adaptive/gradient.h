// A limit on what is in flight that follows the response time alone: for hosts whose CPU tells
// nothing, or whose bottleneck is elsewhere. One for the whole host, run by the agent.
//
// The idea is that of Netflix' Gradient2 and Envoy's adaptive concurrency: compare what requests
// take now with what they take without queueing, and shrink the limit by that ratio. Mended:
//
//   - the response time without queueing is learnt only while nothing is refused and the host is
//     not crowded, so that a long overload does not become the new normal;
//   - the room for bursts is the square root of the limit, not a constant that under a slight
//     overload lets the limit rise for ever;
//   - refusals and failures count: a window in which most requests fail shrinks the limit, and
//     failures are no response times;
//   - the limit starts high, and follows use, until queueing has been seen once: nobody waits for
//     it to climb from a constant;
//   - the least limit is small, and there is one for the host, not one for each process.
#pragma once

#include <cstdint>

#include "adaptive/estimate.h"
#include "adaptive/units.h"

namespace weir::adaptive {

struct GradientOptions {
  double start = 200.0;
  double min = 2.0;
  double max = 60'000.0;
  double tolerance = 1.2;   // how much slower than the baseline is still no queue
  double smoothing = 0.35;  // of a new limit, each window
  TimeNs window_ns = 200 * kMs;
  std::uint64_t samples_min = 20;
  bool freeze_baseline = true;
  bool errors_apart = true;
};

struct GradientTraffic {
  std::uint64_t succeeded = 0;
  std::uint64_t succeeded_ns = 0;
  std::uint64_t failed = 0;
  std::uint64_t refused = 0;
  std::uint64_t in_flight_max = 0;  // the most at any moment since the last call
};

class HostGradient {
 public:
  explicit HostGradient(const GradientOptions& options = {}) noexcept;

  void on_traffic(TimeNs now_ns, const GradientTraffic& traffic) noexcept;
  double limit() const noexcept { return limit_; }
  double baseline_ns() const noexcept { return baseline_.value(); }

 private:
  void close_window(TimeNs at_ns) noexcept;

  GradientOptions options_;
  ForwardTime time_;
  double limit_;
  bool queued_once_ = false;
  Ewma baseline_;
  TimeNs begun_ns_ = 0;
  TimeNs refused_ns_ = -kNever;
  double count_ = 0.0;
  double sum_ns_ = 0.0;
  double failed_ = 0.0;
  double in_flight_max_ = 0.0;
};

}  // namespace weir::adaptive
