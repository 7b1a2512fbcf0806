// What the agent says of its shares of concurrency limits that the whole cluster has.
#pragma once

#include <string>

#include "agent/upstream/cluster.h"
#include "weir/v1/admin.pb.h"

namespace weir::agent {

// Into the resources of the home domain that have a share.
void fill_shares(const Cluster& cluster, v1::ResourcesResponse& resources);
std::string render_share_metrics(const Cluster& cluster);

}  // namespace weir::agent
