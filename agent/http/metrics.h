// The agent's state in the text format of Prometheus.
#pragma once

#include <string>
#include <string_view>

namespace weir::v1 {
class StatusResponse;
class LimitsResponse;
}  // namespace weir::v1

namespace weir::agent {

inline constexpr std::string_view kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

// Pure: the same messages that the admin socket answers with, and nothing else.
std::string render_metrics(const v1::StatusResponse& status, const v1::LimitsResponse& limits);

}  // namespace weir::agent
