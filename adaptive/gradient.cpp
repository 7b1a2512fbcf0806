#include "adaptive/gradient.h"

#include <algorithm>
#include <cmath>

namespace weir::adaptive {
namespace {

constexpr double kCountMax = 1e9;
constexpr TimeNs kBaselineTauNs = 10 * kSecond;
constexpr TimeNs kQuietNs = 2 * kSecond;
// A baseline that is far above what requests take now was learnt in a bad hour.
constexpr double kFaster = 0.7;
// A gradient that chance does not bring about.
constexpr double kPlainQueue = 0.67;

}  // namespace

HostGradient::HostGradient(const GradientOptions& options) noexcept
    : options_(options), limit_(options.start), baseline_(kBaselineTauNs) {
  options_.min = within(options.min, 1.0, 1e6, 2.0);
  options_.max = within(options.max, options_.min, 1e6, 60'000.0);
  options_.tolerance = within(options.tolerance, 1.0, 10.0, 1.2);
  options_.smoothing = within(options.smoothing, 0.01, 1.0, 0.35);
  options_.window_ns = std::clamp<TimeNs>(options.window_ns, kMs, 60 * kSecond);
  limit_ = within(options.start, options_.min, options_.max, 200.0);
}

void HostGradient::on_traffic(TimeNs now_ns, const GradientTraffic& traffic) noexcept {
  const TimeNs at_ns = time_.at(now_ns);
  const double succeeded = std::min(static_cast<double>(traffic.succeeded), kCountMax);
  const double failed = std::min(static_cast<double>(traffic.failed), kCountMax);
  const double counted = options_.errors_apart ? succeeded : succeeded + failed;
  count_ += counted;
  sum_ns_ += std::min(static_cast<double>(traffic.succeeded_ns),
                      counted * static_cast<double>(kResponseMaxNs));
  failed_ += failed;
  in_flight_max_ =
      std::max(in_flight_max_, std::min(static_cast<double>(traffic.in_flight_max), kCountMax));
  if (traffic.refused > 0) refused_ns_ = at_ns;
  const double needed = static_cast<double>(options_.samples_min);
  if (at_ns - begun_ns_ < options_.window_ns || count_ + failed_ < needed) return;
  close_window(at_ns);
  begun_ns_ = at_ns;
  count_ = sum_ns_ = failed_ = in_flight_max_ = 0.0;
}

void HostGradient::close_window(TimeNs at_ns) noexcept {
  if (options_.errors_apart && failed_ > count_) {
    // Most of it fails: whatever the reason, less of it is tried at once.
    limit_ = std::max(options_.min, limit_ * 0.9);
    return;
  }
  const double mean_ns = sum_ns_ / std::max(count_, 1.0);
  if (!(mean_ns > 0.0)) return;
  const bool refusing = since(refused_ns_, at_ns) <= kQuietNs;
  const bool slow = baseline_.known() && mean_ns > options_.tolerance * baseline_.value();
  if (!options_.freeze_baseline || (!refusing && !slow) || !baseline_.known())
    baseline_.add(at_ns, mean_ns);
  else if (mean_ns < kFaster * baseline_.value())
    baseline_.add(at_ns, mean_ns);
  else
    baseline_.skip(at_ns);
  const double gradient = std::clamp(options_.tolerance * baseline_.value() / mean_ns, 0.5, 1.0);
  if (gradient < kPlainQueue || (gradient < 1.0 && refusing)) queued_once_ = true;
  if (!queued_once_ && gradient >= 1.0) limit_ = std::max(limit_, 2.0 * in_flight_max_);
  // What nobody uses tells nothing about the limit; and a limit twice above use is no limit.
  if (in_flight_max_ < limit_ / 2.0 && gradient >= 1.0) return;
  const double next = limit_ * gradient + std::sqrt(limit_);
  limit_ = std::clamp(limit_ + options_.smoothing * (next - limit_), options_.min, options_.max);
}

}  // namespace weir::adaptive
