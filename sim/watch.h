// One limit as the judges see it: what is held and what is admitted, against what is in force.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lease/limit_state.h"
#include "sim/oracle.h"
#include "sim/row.h"

namespace weir::sim {

struct Watch {
  lease::LimitConfig config;  // as configured now
  lease::LimitId id = 0;
  std::uint32_t parent = lease::kNone;
  bool leaf = true;
  InForce in_force;
  Bound bound;  // the largest in force lately
  HeldSum held;
  AdmissionLog log;  // since the oracles looked last; of a leaf
  Meter meter;
  Meter meter_all;  // what was kept apart included
  Peak peak;
  Peak peak_all;
  Micro held_rate_peak = 0;
  bool touched = false;
};

class Watches {
 public:
  Watch& operator[](std::uint32_t limit) { return watches_[limit]; }
  const Watch& operator[](std::uint32_t limit) const { return watches_[limit]; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(watches_.size()); }
  std::vector<Watch>& all() { return watches_; }

  // Limits whose names are new are added; what is in force changes now.
  void configure(const std::vector<lease::LimitConfig>& limits, TimeNs memory_ns);
  // What a host holds has changed, here and above.
  void change_held(std::uint32_t limit, Micro more_rate, Micro more_burst);
  // Hands what was admitted to the oracles, in order of time.
  void judge();
  std::vector<std::uint32_t>& touched() { return touched_; }

 private:
  std::vector<Watch> watches_;
  std::vector<std::uint32_t> touched_;
  std::vector<std::vector<Admission>> gathered_;
  std::vector<std::vector<Admission>> gathered_outside_;
};

}  // namespace weir::sim
