#include "adaptive/published_limiters.h"

#include <algorithm>
#include <cmath>

namespace weir::adaptive::published {
namespace {

double log10_of(double limit) noexcept {
  return std::max(1.0, std::floor(std::log10(std::max(1.0, limit))));
}

}  // namespace

std::int64_t aimd_next(std::int64_t limit, TimeNs rtt_ns, std::int64_t in_flight, bool dropped,
                       const AimdOptions& options) noexcept {
  if (dropped || rtt_ns > options.timeout_ns)
    limit = static_cast<std::int64_t>(static_cast<double>(limit) * options.backoff);
  else if (in_flight * 2 >= limit)
    ++limit;
  return std::clamp(limit, options.min, options.max);
}

void Vegas::sample(TimeNs rtt_ns, std::int64_t in_flight, bool dropped, double jitter) noexcept {
  if (rtt_ns <= 0) return;
  ++samples_;
  // The base is measured again now and then, whatever the load is at that moment.
  if (static_cast<double>(samples_) > (0.5 + jitter / 2.0) * 30.0 * limit_) {
    samples_ = 0;
    base_ns_ = rtt_ns;
    return;
  }
  if (base_ns_ == 0 || rtt_ns < base_ns_) {
    base_ns_ = rtt_ns;
    return;
  }
  const double log = log10_of(limit_);
  const double ratio = static_cast<double>(base_ns_) / static_cast<double>(rtt_ns);
  const double queue = std::ceil(limit_ * (1.0 - ratio));
  double next = limit_;
  if (dropped)
    next = options_.halve_on_drop ? limit_ / 2.0 : limit_ - log;
  else if (static_cast<double>(in_flight) * 2.0 < limit_)
    return;
  else if (queue <= log)
    next = limit_ + options_.beta * log;
  else if (queue < options_.alpha * log)
    next = limit_ + log;
  else if (queue > options_.beta * log)
    next = options_.halve_on_drop ? limit_ / 2.0 : limit_ - log;
  else
    return;
  next = std::clamp(next, 1.0, options_.max);
  limit_ = std::floor((1.0 - options_.smoothing) * limit_ + options_.smoothing * next);
}

double ExpAverage::add(double value) noexcept {
  if (count_ < warm_up_) {
    ++count_;
    sum_ += value;
    value_ = sum_ / static_cast<double>(count_);
  } else {
    const double factor = 2.0 / static_cast<double>(window_ + 1);
    value_ += factor * (value - value_);
  }
  return value_;
}

void Gradient2::sample(TimeNs mean_rtt_ns, std::int64_t in_flight) noexcept {
  const auto shorter = static_cast<double>(mean_rtt_ns);
  if (shorter <= 0.0) return;
  const double longer = long_rtt_.add(shorter);
  if (longer / shorter > 2.0) long_rtt_.scale(0.95);
  if (static_cast<double>(in_flight) < limit_ / 2.0) return;
  const double gradient = std::clamp(options_.tolerance * longer / shorter, 0.5, 1.0);
  const double next = limit_ * gradient + options_.queue;
  limit_ = std::clamp(limit_ * (1.0 - options_.smoothing) + next * options_.smoothing, options_.min,
                      options_.max);
}

std::int64_t partition_limit(std::int64_t total, double share) noexcept {
  if (!(share > 0.0)) return 0;
  return std::max<std::int64_t>(
      1, static_cast<std::int64_t>(std::ceil(static_cast<double>(total) * share - 1e-9)));
}

std::int64_t envoy_gradient_next(std::int64_t limit, TimeNs min_rtt_ns, TimeNs sample_rtt_ns,
                                 double buffer, std::int64_t min, std::int64_t max) noexcept {
  if (sample_rtt_ns <= 0 || min_rtt_ns <= 0) return limit;
  const double gradient = std::clamp(
      static_cast<double>(min_rtt_ns) * (1.0 + buffer) / static_cast<double>(sample_rtt_ns), 0.5,
      2.0);
  const double scaled = static_cast<double>(limit) * gradient;
  return std::clamp(static_cast<std::int64_t>(scaled + std::sqrt(scaled)), min, max);
}

}  // namespace weir::adaptive::published
