#include "adaptive/degrade.h"

#include <algorithm>
#include <cmath>

namespace weir::adaptive {

Degrader::Degrader(const DegradeOptions& options) noexcept : options_(options) {
  options_.level_count = std::min(options.level_count, kDegradeLevelsMax);
  for (DegradeLevel& level : options_.levels)
    level.leave = std::min(level.leave, level.enter);
  above_since_ns_.fill(kNever);
}

std::size_t Degrader::on_signal(TimeNs now_ns, double value) noexcept {
  if (std::isnan(value)) return on_time(now_ns);
  const TimeNs at_ns = time_.at(now_ns);
  signal_ns_ = at_ns;
  for (std::size_t i = 0; i < options_.level_count; ++i) {
    TimeNs& above = above_since_ns_[i];
    if (value < options_.levels[i].enter)
      above = kNever;
    else if (above == kNever)
      above = at_ns;
    if (above != kNever && at_ns - above >= options_.enter_hold_ns && level_ < i + 1) {
      level_ = i + 1;
      below_since_ns_ = kNever;
    }
  }
  if (level_ == 0) return 0;
  if (value >= options_.levels[level_ - 1].leave)
    below_since_ns_ = kNever;
  else if (below_since_ns_ == kNever)
    below_since_ns_ = at_ns;
  if (below_since_ns_ != kNever && at_ns - below_since_ns_ >= options_.leave_hold_ns) {
    --level_;
    // The next step down waits as long again.
    below_since_ns_ = level_ > 0 && value < options_.levels[level_ - 1].leave ? at_ns : kNever;
  }
  return level_;
}

std::size_t Degrader::on_time(TimeNs now_ns) noexcept {
  if (time_.at(now_ns) - signal_ns_ <= options_.stale_ns) return level_;
  level_ = 0;
  above_since_ns_.fill(kNever);
  below_since_ns_ = kNever;
  return level_;
}

}  // namespace weir::adaptive
