// Who goes first: turns one limit on what is in flight into limits and refusals by class.
//
// The classes are served in order of importance out of the estimated capacity. A class that fits
// together with all above it is `safe`: it may overshoot the limit, which costs it some waiting and
// spares it refusals. The class in which the capacity ends is `marginal`: it is bounded by the
// limit itself, so that the machine stays full whatever the estimate is worth. What comes after is
// refused outright. Between these the change is gradual, so that a demand that trembles around the
// capacity does not switch a class on and off.
#pragma once

#include <array>

#include "adaptive/shed_word.h"

namespace weir::adaptive {

struct ClassOptions {
  // How many times the limit a safe class may reach. The steps between the classes keep their order
  // in the moments in which all of them are safe and still too many at once.
  std::array<double, kClasses> overshoot{14.0, 2.0, 1.75, 1.5};
  double safe_until = 0.95;  // of the capacity, the class and all above it
  double fade = 0.15;        // the share of capacity over which a class fades out
  // Of the capacity, all classes together; well below 1, or a full host takes chance for calm.
  double calm_until = 0.6;
};

struct ClassDemand {
  double capacity_per_second = 0.0;
  std::array<double, kClasses> asked_per_second{};  // first tries, shed ones included
  // What may be in flight while all that is asked for fits well: the signals still tell of the time
  // before, or of chance, and the limit of a full host would refuse for nothing. 0: the limit.
  double calm_limit = 0.0;
};

ShedWords plan_classes(double limit, const ClassDemand& demand,
                       const ClassOptions& options = {}) noexcept;

}  // namespace weir::adaptive
