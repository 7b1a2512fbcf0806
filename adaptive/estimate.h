// Averages and extremes that fade with time, not with the number of samples: an estimator that is
// fed twice as often must not forget twice as fast.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "adaptive/units.h"

namespace weir::adaptive {

// Exponentially weighted mean with the time constant tau. In double: with integers that cut off
// their fraction, a steady 818 permille never reads above 799.
class Ewma {
 public:
  explicit Ewma(TimeNs tau_ns) noexcept : tau_ns_(std::max<TimeNs>(tau_ns, 1)) {}

  void add(TimeNs now_ns, double value) noexcept {
    if (!std::isfinite(value)) return;
    const TimeNs at_ns = time_.at(now_ns);
    if (!known_) {
      known_ = true;
      mean_ = value;
    } else {
      const double elapsed = static_cast<double>(at_ns - last_ns_);
      mean_ += (value - mean_) * -std::expm1(-elapsed / static_cast<double>(tau_ns_));
    }
    last_ns_ = at_ns;
  }
  void set_tau(TimeNs tau_ns) noexcept { tau_ns_ = std::max<TimeNs>(tau_ns, 1); }
  // The time until `now_ns` is not to count: what was frozen goes on from here.
  void skip(TimeNs now_ns) noexcept { last_ns_ = time_.at(now_ns); }
  void forget() noexcept { known_ = false; }
  bool known() const noexcept { return known_; }
  double value(double unknown = 0.0) const noexcept { return known_ ? mean_ : unknown; }

 private:
  TimeNs tau_ns_;
  ForwardTime time_;
  TimeNs last_ns_ = 0;
  double mean_ = 0.0;
  bool known_ = false;
};

// The smallest (or the largest) value seen, which drifts towards the newer ones with the time
// constant tau, so that no single sample rules for ever.
template <bool kSmallest>
class FadingExtreme {
 public:
  explicit FadingExtreme(TimeNs tau_ns) noexcept : tau_ns_(std::max<TimeNs>(tau_ns, 1)) {}

  void add(TimeNs now_ns, double value) noexcept {
    if (!std::isfinite(value)) return;
    const TimeNs at_ns = time_.at(now_ns);
    const double elapsed = static_cast<double>(at_ns - last_ns_);
    last_ns_ = at_ns;
    const bool beats = kSmallest ? value <= best_ : value >= best_;
    if (!known_ || beats) {
      known_ = true;
      best_ = value;
      return;
    }
    best_ += (value - best_) * -std::expm1(-elapsed / static_cast<double>(tau_ns_));
  }
  bool known() const noexcept { return known_; }
  double value(double unknown = 0.0) const noexcept { return known_ ? best_ : unknown; }

 private:
  TimeNs tau_ns_;
  ForwardTime time_;
  TimeNs last_ns_ = 0;
  double best_ = 0.0;
  bool known_ = false;
};

using FadingMin = FadingExtreme<true>;
using FadingMax = FadingExtreme<false>;

}  // namespace weir::adaptive
