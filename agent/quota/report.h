// What the agent says of its quotas, to people and to Prometheus.
#pragma once

#include <cstdint>
#include <string>

#include "agent/quota/quotas.h"
#include "weir/v1/admin.pb.h"

namespace weir::agent {

inline constexpr std::uint32_t kQuotaKeysShown = 1'000;  // in one answer, unless more are asked for

void fill_quotas(const Quotas& quotas, const v1::QuotasRequest& request, v1::QuotasResponse& out);
std::string render_quota_metrics(const Quotas& quotas);

}  // namespace weir::agent
