// A machine's boot clock in the simulator: it starts anywhere, runs a little fast or slow, and may
// leap forward. True time is what the oracles judge by; no part of the core ever sees it.
#pragma once

#include "lease/units.h"

namespace weir::sim {

using lease::TimeNs;

class Clock {
  __extension__ typedef __int128 Wide;

 public:
  Clock() = default;
  Clock(TimeNs start_ns, std::int64_t drift_ppm) : local_ns_(start_ns), ppm_(drift_ppm) {}

  TimeNs local(TimeNs true_ns) const noexcept {
    const TimeNs passed_ns = true_ns - true_ns_;
    if (ppm_ == 0) return local_ns_ + passed_ns;
    return local_ns_ + passed_ns + passed_ns * ppm_ / kMillion;
  }

  // The first instant of true time at which the clock shows `local_ns` or more.
  TimeNs when(TimeNs local_ns) const noexcept {
    if (ppm_ == 0) return true_ns_ + (local_ns - local_ns_);
    const auto passed = static_cast<Wide>(local_ns - local_ns_) * kMillion / (kMillion + ppm_);
    TimeNs at_ns = true_ns_ + static_cast<TimeNs>(passed) - 2;
    while (local(at_ns) < local_ns)
      ++at_ns;
    return at_ns;
  }

  void set_drift(std::int64_t ppm, TimeNs true_ns) noexcept {
    local_ns_ = local(true_ns);
    true_ns_ = true_ns;
    ppm_ = ppm;
  }
  void leap(TimeNs forward_ns, TimeNs true_ns) noexcept {
    set_drift(ppm_, true_ns);
    local_ns_ += forward_ns;
  }
  std::int64_t drift_ppm() const noexcept { return ppm_; }

 private:
  static constexpr std::int64_t kMillion = 1'000'000;

  TimeNs true_ns_ = 0;
  TimeNs local_ns_ = 0;
  std::int64_t ppm_ = 0;
};

}  // namespace weir::sim
