// Adaptive throttling on the client's side: refuse here what the other end would refuse anyway.
// The formula is that of Google's SRE book, chapter 21; the variants of others are for comparison.
//
// Counts are of all processes of the host. The window is two minutes by default. Whatever the
// formula says, so many requests a second go out as probes: at no accepts it would otherwise be a
// matter of luck when the recovery is noticed.
#pragma once

#include <cstdint>

#include "adaptive/units.h"
#include "adaptive/window.h"

namespace weir::adaptive {

struct ThrottleOptions {
  double k = 2.0;  // requests allowed for each accepted one; at least 1
  TimeNs window_ns = 120 * kSecond;
  std::uint64_t volume_min = 100;  // below it nothing is refused
  double probes_per_second = 1.0;  // of the whole host
};

// max(0, (requests - k * accepts) / (requests + 1)), and 0 below the volume.
double throttle_share(double requests, double accepts, double k,
                      std::uint64_t volume_min = 0) noexcept;

class Throttle {
 public:
  explicit Throttle(const ThrottleOptions& options = {}) noexcept;

  // Requests count whether or not they were refused here; accepts are answers that are no refusal
  // by the other end.
  void add(TimeNs now_ns, std::uint64_t requests, std::uint64_t accepts) noexcept;
  // In parts of 65,535, as a client tests it: refused if spread(counter) % kShareWhole is below.
  std::uint32_t refused_share(TimeNs now_ns) noexcept;
  double refused(TimeNs now_ns) noexcept;

 private:
  static constexpr std::size_t kCells = 41;
  struct Cell {
    std::uint64_t requests = 0;
    std::uint64_t accepts = 0;
  };

  ThrottleOptions options_;
  Window<Cell, kCells> window_;
};

namespace published {

// Envoy's admission control: against a threshold of success, sharpened by 1 / aggression.
double envoy_admission(double requests, double successes, double threshold, double aggression,
                       double max_probability = 1.0) noexcept;
// failsafe-go's throttler.
double failsafe_throttle(double requests, double successes, double threshold,
                         double max_probability = 0.9) noexcept;
// go-zero: K shrinks with the number of failing cells; five requests are spared.
double go_zero_throttle(double requests, double accepts, int failing_cells, int working_cells,
                        int cells = 40) noexcept;
// failsafe-go's queue: from 0 at `first` to 1 at `last`.
double failsafe_queue(double queued, double first, double last) noexcept;

}  // namespace published

}  // namespace weir::adaptive
