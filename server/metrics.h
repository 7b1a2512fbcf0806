// A server's status as a page for Prometheus. Also a part of the page of an agent that carries its
// server.
#pragma once

#include <string>

#include "server/status.h"

namespace weir::server {

inline constexpr char kMetricsContentType[] = "text/plain; version=0.0.4; charset=utf-8";
std::string render_metrics(const ServerStatus& status);

}  // namespace weir::server
