#include "agent/upstream/permit_report.h"

#include <prometheus/metric_family.h>

#include <utility>
#include <vector>

#include "daemon/http/text_page.h"
#include "daemon/log/printable.h"

namespace weir::agent {

namespace {

bool share_of(const Cluster& cluster, const PermitLimit& limit, v1::PermitShare& out) {
  const auto view = cluster.permits().view_of(limit.name);
  if (!view) return false;
  out.set_max(limit.max);
  out.set_permits(static_cast<std::uint64_t>(view->cap));
  out.set_wanted(static_cast<std::uint64_t>(view->want));
  out.set_hosts(view->hosts);
  out.set_leased(view->leased);
  out.set_fallback(view->fallback);
  const std::int64_t now_ns = cluster.permits().boot_ns();
  if (view->leased && view->end_ns > now_ns)
    out.set_left_ms(static_cast<std::uint64_t>(view->end_ns - now_ns) / 1'000'000);
  return true;
}

}  // namespace

void fill_shares(const Cluster& cluster, v1::ResourcesResponse& resources) {
  for (v1::ResourceStatus& resource : *resources.mutable_resources()) {
    if (resource.domain() != cluster.rule().domain) continue;
    for (const PermitLimit& limit : cluster.rule().permits)
      if (limit.name == resource.name() && !share_of(cluster, limit, *resource.mutable_share()))
        resource.clear_share();
  }
}

std::string render_share_metrics(const Cluster& cluster) {
  std::vector<std::pair<std::string, v1::PermitShare>> shares;
  for (const PermitLimit& limit : cluster.rule().permits)
    if (v1::PermitShare share; share_of(cluster, limit, share))
      shares.emplace_back(limit.name, std::move(share));
  if (shares.empty()) return {};
  std::vector<prometheus::MetricFamily> page;
  const auto add = [&](const char* name, const char* help, auto value_of) {
    prometheus::MetricFamily family{name, help, prometheus::MetricType::Gauge, {}};
    for (const auto& [resource, share] : shares) {
      prometheus::ClientMetric& metric = family.metric.emplace_back();
      metric.label = {{"domain", printable(cluster.rule().domain)},
                      {"resource", printable(resource)}};
      metric.gauge.value = static_cast<double>(value_of(share));
    }
    page.push_back(std::move(family));
  };
  add("weir_resource_cluster_permits", "Permits of all hosts together, as this host's rules say.",
      [](const v1::PermitShare& share) { return share.max(); });
  add("weir_resource_share_permits", "Permits that this host may have in flight of them.",
      [](const v1::PermitShare& share) { return share.permits(); });
  add("weir_resource_share_wanted", "Permits that this host asks for.",
      [](const v1::PermitShare& share) { return share.wanted(); });
  add("weir_resource_share_hosts", "Hosts that have a use for it, as the server said last.",
      [](const v1::PermitShare& share) { return share.hosts(); });
  add("weir_resource_share_fallback", "Whether the share is that of the fallback.",
      [](const v1::PermitShare& share) { return share.fallback() ? 1U : 0U; });
  return weir::to_text(page);
}

}  // namespace weir::agent
