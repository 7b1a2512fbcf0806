// Concurrency limits that follow the response time, as published by Netflix' concurrency-limits
// (AIMD, Vegas, Gradient2) and Envoy's adaptive concurrency, with their defaults and their defects:
// they are what ours is measured against.
#pragma once

#include <cstdint>

#include "adaptive/units.h"

namespace weir::adaptive::published {

struct AimdOptions {
  std::int64_t start = 20;
  std::int64_t min = 20;
  std::int64_t max = 200;
  double backoff = 0.9;
  TimeNs timeout_ns = 5 * kSecond;
};
std::int64_t aimd_next(std::int64_t limit, TimeNs rtt_ns, std::int64_t in_flight, bool dropped,
                       const AimdOptions& options = {}) noexcept;

struct VegasOptions {
  double start = 20.0;
  double max = 1000.0;
  double smoothing = 1.0;
  double alpha = 3.0;  // times the common logarithm of the limit
  double beta = 6.0;
  bool halve_on_drop = false;  // a decrease of one logarithm otherwise
};

class Vegas {
 public:
  explicit Vegas(const VegasOptions& options = {}) noexcept
      : options_(options), limit_(options.start) {}
  // `jitter` is drawn from 0..1 by the caller; it sets when the base is measured again.
  void sample(TimeNs rtt_ns, std::int64_t in_flight, bool dropped, double jitter = 0.5) noexcept;
  double limit() const noexcept { return limit_; }

 private:
  VegasOptions options_;
  double limit_;
  TimeNs base_ns_ = 0;
  std::int64_t samples_ = 0;
};

// The mean of the first samples, then exponential.
class ExpAverage {
 public:
  ExpAverage(std::int64_t window, std::int64_t warm_up) noexcept
      : window_(window), warm_up_(warm_up) {}
  double add(double value) noexcept;
  double value() const noexcept { return value_; }
  void scale(double factor) noexcept { value_ *= factor; }

 private:
  std::int64_t window_;
  std::int64_t warm_up_;
  std::int64_t count_ = 0;
  double sum_ = 0.0;
  double value_ = 0.0;
};

struct Gradient2Options {
  double start = 20.0;
  double min = 20.0;
  double max = 200.0;
  double smoothing = 0.2;
  double queue = 4.0;
  double tolerance = 1.5;
  std::int64_t long_window = 600;
};

// One sample is one window of the caller's (a second and ten requests by default).
class Gradient2 {
 public:
  explicit Gradient2(const Gradient2Options& options = {}) noexcept
      : options_(options), limit_(options.start), long_rtt_(options.long_window, 10) {}
  void sample(TimeNs mean_rtt_ns, std::int64_t in_flight) noexcept;
  double limit() const noexcept { return limit_; }

 private:
  Gradient2Options options_;
  double limit_;
  ExpAverage long_rtt_;
};

// A partition may use what others leave; its share counts only once the whole limit is reached.
std::int64_t partition_limit(std::int64_t total, double share) noexcept;
constexpr bool partition_admits(std::int64_t in_flight, std::int64_t total,
                                std::int64_t own_in_flight, std::int64_t own_limit) noexcept {
  return in_flight < total || own_in_flight < own_limit;
}

// Envoy: the limit of the next window.
std::int64_t envoy_gradient_next(std::int64_t limit, TimeNs min_rtt_ns, TimeNs sample_rtt_ns,
                                 double buffer = 0.25, std::int64_t min = 3,
                                 std::int64_t max = 1000) noexcept;

}  // namespace weir::adaptive::published
