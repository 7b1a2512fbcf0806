// Between what permit books and desks say and what travels, for both ends; as wire.h is for leases.
#pragma once

#include "lease/permit.h"
#include "weir/v1/lease.pb.h"

namespace weir::server {

void to_wire(const lease::PermitReport& report, v1::PermitReports& message);
void to_wire(const lease::PermitGrants& grants, v1::PermitGrants& message);

// In place of what was there. False when the columns are of different lengths.
[[nodiscard]] bool from_wire(const v1::PermitReports& message, lease::PermitReport& report);
[[nodiscard]] bool from_wire(const v1::PermitGrants& message, lease::PermitGrants& grants);

}  // namespace weir::server
