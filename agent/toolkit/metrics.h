// What the toolkit does, in the text format of Prometheus.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace weir::agent {

class Toolkit;

// Of all domains that have one; empty where no resource and no degradation is configured.
std::string render_toolkit_metrics(
    const std::vector<std::pair<std::string, const Toolkit*>>& toolkits);

}  // namespace weir::agent
