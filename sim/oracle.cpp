#include "sim/oracle.h"

#include <algorithm>

namespace weir::sim {

void InForce::set(const Bound& bound, TimeNs at_ns) {
  if (!spans_.empty() && spans_.back().bound == bound) return;
  spans_.push_back({bound, at_ns});
}

Bound InForce::largest(TimeNs at_ns) {
  // A span ends where the next one begins.
  while (spans_.size() > 1 && spans_[1].from_ns <= at_ns - memory_ns_)
    spans_.pop_front();
  Bound most;
  for (const Span& span : spans_) {
    most.rate = std::max(most.rate, span.bound.rate);
    most.burst = std::max(most.burst, span.bound.burst);
  }
  return most;
}

TimeNs InForce::next_fall_ns() const {
  return spans_.size() < 2 ? lease::kNever : spans_[1].from_ns + memory_ns_;
}

void Meter::drain(TimeNs at_ns) {
  if (at_ns <= at_ns_) return;
  water_ = std::max<Wide>(0, water_ - static_cast<Wide>(bound_.rate) * (at_ns - at_ns_));
  at_ns_ = at_ns;
}

void Meter::set(const Bound& bound, TimeNs at_ns) {
  drain(at_ns);
  bound_ = bound;
  water_ = std::min(water_, static_cast<Wide>(bound.burst) * lease::kSecond);
}

void Meter::admit(Micro amount, TimeNs at_ns) {
  drain(at_ns);
  water_ += static_cast<Wide>(amount) * lease::kSecond;
  admitted_ += amount;
  const auto level = static_cast<Micro>((water_ + lease::kSecond - 1) / lease::kSecond);
  if (level - bound_.burst > worst_) {
    worst_ = level - bound_.burst;
    worst_at_ns_ = at_ns;
  }
}

bool HeldSum::fits(const Bound& bound, TimeNs at_ns) noexcept {
  const Micro over_rate = held_.rate + server_.rate - bound.rate;
  const Micro over_burst = held_.burst + server_.burst - bound.burst;
  if (over_rate > worst_rate_ || over_burst > worst_burst_) {
    if (worst_rate_ == 0 && worst_burst_ == 0) worst_at_ns_ = at_ns;
    worst_rate_ = std::max(worst_rate_, over_rate);
    worst_burst_ = std::max(worst_burst_, over_burst);
  }
  return over_rate <= 0 && over_burst <= 0;
}

void Peak::admit(Micro amount, TimeNs at_ns) {
  const TimeNs slice_ns = at_ns - at_ns % kSliceNs;
  if (slices_.empty() || slices_.back().at_ns != slice_ns) slices_.push_back({slice_ns, 0});
  slices_.back().amount += amount;
  sum_ += amount;
  while (slices_.front().at_ns <= slice_ns - lease::kSecond) {
    sum_ -= slices_.front().amount;
    slices_.pop_front();
  }
  worst_ = std::max(worst_, sum_);
}

}  // namespace weir::sim
