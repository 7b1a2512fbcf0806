#include "adaptive/throttle.h"

#include <cmath>

#include "adaptive/shed_word.h"

namespace weir::adaptive {
namespace {

constexpr double kThrottleCountMax = 1e15;

double count_of(double count) noexcept { return within(count, 0.0, kThrottleCountMax, 0.0); }

}  // namespace

double throttle_share(double requests, double accepts, double k,
                      std::uint64_t volume_min) noexcept {
  requests = count_of(requests);
  accepts = std::min(count_of(accepts), requests);
  if (requests < static_cast<double>(volume_min)) return 0.0;
  return std::max(0.0, (requests - within(k, 1.0, 1e6, 2.0) * accepts) / (requests + 1.0));
}

Throttle::Throttle(const ThrottleOptions& options) noexcept
    : options_(options),
      window_(std::clamp<TimeNs>(options.window_ns, kSecond, 24 * 3600 * kSecond) / 40) {}

void Throttle::add(TimeNs now_ns, std::uint64_t requests, std::uint64_t accepts) noexcept {
  Cell& cell = window_.at(now_ns);
  cell.requests = sat_add(cell.requests, requests);
  cell.accepts = sat_add(cell.accepts, std::min(accepts, requests));
}

double Throttle::refused(TimeNs now_ns) noexcept {
  const Cell& current = window_.at(now_ns);
  double requests = static_cast<double>(current.requests);
  double accepts = static_cast<double>(current.accepts);
  window_.each_complete([&](const Cell& cell) {
    requests += static_cast<double>(cell.requests);
    accepts += static_cast<double>(cell.accepts);
  });
  const double share = throttle_share(requests, accepts, options_.k, options_.volume_min);
  if (share <= 0.0) return 0.0;
  // The rate of what is asked, over what the window has seen of its time.
  const double cells = static_cast<double>(std::max<std::size_t>(window_.complete(), 1));
  const double rate = requests / (cells * seconds(window_.cell_ns()));
  const double probes = within(options_.probes_per_second, 0.001, 1e9, 1.0);
  return std::min(share, std::max(0.0, 1.0 - probes / std::max(rate, 1e-9)));
}

std::uint32_t Throttle::refused_share(TimeNs now_ns) noexcept {
  // Rounded down: a share of 65,535 would refuse the probes as well.
  const double share = refused(now_ns) * kShareWhole;
  return std::min(static_cast<std::uint32_t>(share), kShareWhole - 1);
}

namespace published {

double envoy_admission(double requests, double successes, double threshold, double aggression,
                       double max_probability) noexcept {
  const double share = std::max(0.0, (requests - successes / threshold) / (requests + 1.0));
  return std::min(max_probability, std::pow(share, 1.0 / std::max(1.0, aggression)));
}

double failsafe_throttle(double requests, double successes, double threshold,
                         double max_probability) noexcept {
  const double share = std::max(0.0, requests - successes / threshold) / (requests + 1.0);
  return std::min(max_probability, share);
}

double go_zero_throttle(double requests, double accepts, int failing_cells, int working_cells,
                        int cells) noexcept {
  constexpr double kMost = 1.5;
  constexpr double kLeast = 1.1;
  constexpr double kSpared = 5.0;
  const double k =
      std::max(kLeast, kMost - (kMost - kLeast) * static_cast<double>(failing_cells) / cells);
  const double share = std::max(0.0, (requests - kSpared - k * accepts) / (requests + 1.0));
  return share * static_cast<double>(cells - working_cells) / cells;
}

double failsafe_queue(double queued, double first, double last) noexcept {
  if (queued >= last) return queued > first || first == last ? 1.0 : 0.0;
  if (queued <= first) return 0.0;
  return (queued - first) / (last - first);
}

}  // namespace published

}  // namespace weir::adaptive
