// Who decides about admission: one interface, and the contestants behind it.
#pragma once

#include <cstdint>
#include <memory>

#include "sim/overload/scenario.h"

namespace weir::overload {

struct Ask {
  TimeNs now_ns = 0;
  int process = 0;
  adaptive::Criticality criticality = adaptive::Criticality::critical;
};

struct Done {
  TimeNs now_ns = 0;
  int process = 0;
  TimeNs response_ns = 0;
  bool failed = false;  // an error, or cancelled by the client
};

// One sample of the host, each kShedSampleNs.
struct HostSample {
  TimeNs now_ns = 0;
  double use = 0.0;       // of all cores, 0..1
  double pressure = 0.0;  // share of the time in which some work waited for a core
};

class Arm {
 public:
  virtual ~Arm() = default;
  virtual bool admits(const Ask& ask) = 0;
  virtual void done(const Done& done) = 0;
  virtual void sample(const HostSample& /*sample*/) {}
  virtual void tick(TimeNs /*now_ns*/) {}  // each kShedTickNs
  virtual double limit() const { return 0.0; }
};

std::unique_ptr<Arm> make_arm(const Scenario& scenario);

}  // namespace weir::overload
