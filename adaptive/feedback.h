// What a host tells balancers about its load: the header of the Open Request Cost Aggregation
// standard (ORCA, cncf/xds: xds.data.orca.v3.OrcaLoadReport) in its text and JSON forms.
#pragma once

#include <cstdint>
#include <string>

#include "adaptive/units.h"

namespace weir::adaptive {

inline constexpr const char* kOrcaHeader = "endpoint-load-metrics";

// Negative or not a number: unknown, and left out.
struct LoadReport {
  double cpu_utilization = -1.0;          // 1 is all that the host may use; may exceed 1
  double application_utilization = -1.0;  // in flight, of the limit
  double memory_utilization = -1.0;       // 0..1
  double requests_per_second = -1.0;
  double errors_per_second = -1.0;
  double in_flight = -1.0;
  double limit = -1.0;
  double shed_share = -1.0;  // 0..1, refused of asked
};

// The utilisation that a balancer should weight by: the worst of what is known. A host that sheds
// is full, whatever its CPU says.
double utilization(const LoadReport& report) noexcept;

std::string orca_text(const LoadReport& report);  // "TEXT cpu_utilization=0.3, eps=1, ..."
std::string orca_json(const LoadReport& report);  // "JSON {...}"
std::string load_json(const LoadReport& report);  // the object alone, for our own API

}  // namespace weir::adaptive
