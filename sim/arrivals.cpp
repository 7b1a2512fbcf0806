#include "sim/arrivals.h"

#include <algorithm>
#include <cmath>

namespace weir::sim {

Arrivals::Arrivals(std::uint64_t seed, bool by_chance, TimeNs now_ns)
    : random_(seed), from_ns_(now_ns), by_chance_(by_chance) {
  // An even stream begins anywhere in its period, so that hosts do not march in step.
  left_ = by_chance_ ? draw() : random_.unit();
}

double Arrivals::draw() { return by_chance_ ? -std::log1p(-random_.unit()) : 1.0; }

TimeNs Arrivals::draw_spell(TimeNs mean_ns) {
  const double length = -std::log1p(-random_.unit()) * static_cast<double>(mean_ns);
  return std::max(lease::kMs, static_cast<TimeNs>(length));
}

void Arrivals::set_rate(double calls_per_s, TimeNs now_ns) {
  if (on_ && now_ns > from_ns_) {
    left_ = std::max(0.0, left_ - static_cast<double>(now_ns - from_ns_) * per_ns_);
    from_ns_ = now_ns;
  }
  per_ns_ = calls_per_s / 1e9;
  find_next();
}

void Arrivals::set_spells(TimeNs on_mean_ns, TimeNs off_mean_ns, TimeNs now_ns) {
  on_mean_ns_ = on_mean_ns;
  off_mean_ns_ = off_mean_ns;
  on_ = random_.unit() * static_cast<double>(on_mean_ns + off_mean_ns) <
        static_cast<double>(on_mean_ns);
  spell_end_ns_ = now_ns + draw_spell(on_ ? on_mean_ns_ : off_mean_ns_);
  from_ns_ = now_ns;
  find_next();
}

void Arrivals::pop() {
  from_ns_ = next_ns_;
  left_ = draw();
  find_next();
}

void Arrivals::find_next() {
  if (per_ns_ <= 0) {
    next_ns_ = lease::kNever;
    return;
  }
  for (;;) {
    if (on_) {
      const double wait = left_ / per_ns_;
      next_ns_ = wait > 1e18 ? lease::kNever : from_ns_ + static_cast<TimeNs>(wait);
      if (next_ns_ < spell_end_ns_) return;
      left_ -= static_cast<double>(spell_end_ns_ - from_ns_) * per_ns_;
      left_ = std::max(0.0, left_);
    }
    if (spell_end_ns_ >= lease::kNever) return;
    from_ns_ = spell_end_ns_;
    on_ = !on_;
    spell_end_ns_ += draw_spell(on_ ? on_mean_ns_ : off_mean_ns_);
  }
}

}  // namespace weir::sim
