// What the toolkit says of itself to an operator's tools, and what it lets them change.
#pragma once

#include <cstdint>
#include <string>

#include "agent/domain.h"
#include "agent/toolkit/toolkit.h"
#include "weir/v1/admin.pb.h"

namespace weir::agent {

// The resources of that name (all, if it is empty) and the levels of a domain.
void fill_resources(const Domain& domain, const std::string& name, std::int64_t now_ns,
                    v1::ResourcesResponse& out);

// Of the resources and the CPU that stand in the answer already.
void fill_host_load(v1::ResourcesResponse& out);

// Each says what is in force from now on. On failure the problem is not empty, and nothing changed.
struct Forced {
  std::string text;
  std::string problem;
};
Forced force_breaker(Toolkit& toolkit, const v1::ForceBreakerRequest& request, std::int64_t now_ns);
Forced force_level(Toolkit& toolkit, const v1::ForceLevelRequest& request, std::int64_t now_ns);

}  // namespace weir::agent
