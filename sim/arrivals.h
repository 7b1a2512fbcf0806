// When callers come: evenly or by chance (Poisson), at a rate that changes, and in spells.
#pragma once

#include <cstdint>

#include "lease/random.h"
#include "lease/units.h"

namespace weir::sim {

using lease::TimeNs;

class Arrivals {
 public:
  Arrivals() : random_(0) {}
  Arrivals(std::uint64_t seed, bool by_chance, TimeNs now_ns);

  // Calls a second from now on. An even stream keeps its phase.
  void set_rate(double calls_per_s, TimeNs now_ns);
  // Calls come only in spells: on and off for exponential times with these means. Only for a rate
  // that is set once.
  void set_spells(TimeNs on_mean_ns, TimeNs off_mean_ns, TimeNs now_ns);

  TimeNs next_ns() const noexcept { return next_ns_; }
  void pop();  // the next one has come
  double rate() const noexcept { return per_ns_ * 1e9; }

 private:
  double draw();
  TimeNs draw_spell(TimeNs mean_ns);
  void find_next();

  lease::Random random_;
  double per_ns_ = 0;
  double left_ = 0;  // calls that fit between from_ns_ and the next one: 1, or by chance
  TimeNs from_ns_ = 0;
  TimeNs next_ns_ = lease::kNever;
  TimeNs spell_end_ns_ = lease::kNever;
  TimeNs on_mean_ns_ = 0;
  TimeNs off_mean_ns_ = 0;
  bool by_chance_ = false;
  bool on_ = true;
};

}  // namespace weir::sim
